//! Workers that lie, copy, stay silent or never answer: each ends unpaid, with score and stake as the rules say, and the
//! requester gets the right result.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::Address;
use gristmill_network::{Audit, Network, NetworkConfig, WorkerPlan};
use gristmill_poco::bill::{Role, bill};
use gristmill_requester::{AppSource, Job, JobRequest, Place, Requester};
use gristmill_sandbox::ChildCommand;
use gristmill_types::{Amount, ContributionStatus, Trust};
use gristmill_worker::Conduct;

use crate::harness::{GRISTMILL, alone, probe};

/// What became of the one worker that misbehaved.
struct Fate {
    paid: Amount,
    lost: Amount,
    score: u64,
    proved: usize,
    rejected: usize,
    contributions: usize,
}

/// [`fate_among`] five honest workers of a pool as pools are.
fn fate_of(conduct: Conduct, tasks: u64) -> Fate {
    fate_among(conduct, &[Conduct::Honest; 5], tasks, false)
}

/// Runs a job of `tasks` tasks in category DEV (T = 2 s) at 80 % with one worker of `conduct`, first in line, and these
/// others, asserts that the result is right and that I1 to I8 hold, and returns what became of the one. A pool that goes by the hub
/// alone asks those who are first in line; any other draws.
fn fate_among(conduct: Conduct, others: &[Conduct], tasks: u64, by_hub_alone: bool) -> Fate {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let child = ChildCommand { program: GRISTMILL.into(), args: vec!["sandbox-child".into()] };
        let mut config = NetworkConfig::new(folder.path().join("net"), 0, child);
        config.workers =
            [&[conduct], others].concat().into_iter().map(|conduct| WorkerPlan { conduct, slots: 1 }).collect();
        config.by_hub_alone = by_hub_alone;
        let network = Network::start(config).await.unwrap();
        let crook = network.worker_plans()[0].0;
        settle_funds(&network).await;
        let out = folder.path().join("out");
        let deals = run_job(&network, tasks, &out).await;
        for index in 0..tasks {
            let printed = std::fs::read_to_string(out.join(format!("{index:06}/stdout.txt"))).unwrap();
            assert_eq!(printed, "right  \n", "the requester got the right result");
        }
        let audit = Audit::read(network.hub()).await.unwrap();
        audit.check(&network.store_client().unwrap(), true).await.unwrap();
        let fate = read_fate(&audit, &deals, crook);
        network.shutdown().await.unwrap();
        fate
    })
}

/// Waits until every worker has its stake, so that all of them are asked.
async fn settle_funds(network: &Network) {
    for _ in 0..200 {
        let accounts = network.hub().view_accounts(&network.worker_addresses()).await.unwrap();
        if accounts.iter().all(|account| !account.stake.is_zero()) {
            // The pool reads the stakes once a second.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the workers were not funded");
}

async fn run_job(network: &Network, tasks: u64, out: &Path) -> Vec<gristmill_types::DealId> {
    let place = Place::DataDir(network.data_dir().to_path_buf());
    let found = gristmill_requester::Network::find(&place).await.unwrap();
    let wallet = found.wallet_file(None).unwrap();
    let requester = Requester::new(found, &wallet).unwrap();
    let request = JobRequest {
        args: vec!["echo right".to_owned()],
        tasks: Some(tasks),
        trust: Trust::new(5),
        category: Some("DEV".to_owned()),
        ..JobRequest::new(AppSource::File(probe()))
    };
    let prepared = requester.prepare(&request).await.unwrap();
    let quote = requester.quote(&prepared).await.unwrap();
    let id = requester.submit(&prepared, &quote).await.unwrap();
    let mut job = Job::open(requester.network(), id).await.unwrap();
    let status = job.wait(Duration::from_millis(100), |_| {}).await.unwrap();
    assert_eq!(status.tasks_completed, tasks, "{status:?}");
    let delivery = job.fetch(out, |_, _| {}).await.unwrap();
    assert!(delivery.is_success());
    job.deals()
}

fn read_fate(audit: &Audit, deals: &[gristmill_types::DealId], crook: Address) -> Fate {
    let bill = bill(audit.replay(), deals).unwrap();
    let sum = |role: Role| -> Amount {
        bill.lines.iter().filter(|line| line.account == crook && line.role == role).map(|line| line.amount).sum()
    };
    let books = audit.replay().books();
    let votes: Vec<ContributionStatus> =
        books.tasks.values().filter_map(|task| task.contributions.get(&crook)).map(|vote| vote.status).collect();
    let count = |wanted| votes.iter().filter(|status| **status == wanted).count();
    Fate {
        paid: sum(Role::Worker),
        lost: sum(Role::SlashedWorker),
        score: books.score(crook),
        proved: count(ContributionStatus::Proved),
        rejected: count(ContributionStatus::Rejected),
        contributions: votes.len(),
    }
}

#[test]
fn a_liar_is_outvoted_and_loses_its_stake() {
    let _alone = alone();
    let fate = fate_of(Conduct::Liar, 12);
    assert!(fate.contributions > 0, "the liar was never asked: the test shows nothing");
    assert_eq!((fate.paid, fate.proved, fate.score), (Amount::ZERO, 0, 0));
    assert_eq!(fate.rejected, fate.contributions);
    assert!(!fate.lost.is_zero());
}

#[test]
fn a_copier_cannot_reveal_and_loses_its_stake() {
    let _alone = alone();
    // As with the silent one: it copies the first vote at once, and the slow one is the reserve.
    let fate = fate_among(Conduct::Copier, &[Conduct::Honest, Conduct::Honest, Conduct::Slow], 1, true);
    assert!(fate.contributions > 0, "the copier never contributed: the test shows nothing");
    assert_eq!((fate.paid, fate.proved, fate.score), (Amount::ZERO, 0, 0));
    assert_eq!(fate.rejected, fate.contributions);
    assert!(!fate.lost.is_zero());
}

#[test]
fn a_copier_fails_no_task_of_a_busy_pool() {
    let _alone = alone();
    // More tasks than the workers can begin at once: the reserve that makes up for it must be waited for.
    let fate = fate_among(Conduct::Copier, &[Conduct::Honest; 5], 3, true);
    assert_eq!((fate.paid, fate.proved, fate.score), (Amount::ZERO, 0, 0));
    assert_eq!(fate.rejected, fate.contributions);
}

/// Nothing is on the ledger before those who are enough are bound to their results.
#[test]
fn a_copier_finds_nothing_to_copy() {
    let _alone = alone();
    let fate = fate_of(Conduct::Copier, 3);
    assert_eq!((fate.paid, fate.proved, fate.score), (Amount::ZERO, 0, 0));
    assert_eq!(fate.rejected, fate.contributions);
}

#[test]
fn a_silent_worker_loses_its_stake() {
    let _alone = alone();
    // Three newcomers must agree. The slow one comes to the task when the three others have agreed already: so the silent one
    // is surely among those, and the slow one is the reserve that makes up for it.
    let fate = fate_among(Conduct::Silent, &[Conduct::Honest, Conduct::Honest, Conduct::Slow], 1, true);
    assert!(fate.contributions > 0, "the silent worker never contributed: the test shows nothing");
    assert_eq!((fate.paid, fate.proved, fate.score), (Amount::ZERO, 0, 0));
    assert_eq!(fate.rejected, fate.contributions);
    assert!(!fate.lost.is_zero());
}

#[test]
fn a_silent_worker_costs_no_task() {
    let _alone = alone();
    let fate = fate_of(Conduct::Silent, 6);
    assert_eq!((fate.paid, fate.proved, fate.score), (Amount::ZERO, 0, 0));
    assert_eq!(fate.rejected, fate.contributions);
}

#[test]
fn a_worker_that_never_answers_is_not_waited_for() {
    let _alone = alone();
    let fate = fate_of(Conduct::Mute, 3);
    assert_eq!((fate.paid, fate.lost, fate.score, fate.contributions), (Amount::ZERO, Amount::ZERO, 0, 0));
}
