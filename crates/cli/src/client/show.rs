//! `gristmill task show` and `gristmill deal show`.

use clap::{Args, Subcommand};
use gristmill_requester::{DealDetail, JobIndex, TaskDetail, task_word};
use gristmill_types::{ContributionStatus, DealId, TaskId};

use super::{PlaceArgs, Session, enclave_text};
use crate::exit::Exit;
use crate::output::{self, when};

/// Look at single tasks
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Show a task and everybody who worked at it
    Show(IdArgs),
}

/// Look at single deals
#[derive(Debug, Subcommand)]
pub enum DealCommand {
    /// Show a deal: its prices, its parameters, its tasks
    Show(IdArgs),
}

/// Which one.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Its id or its first digits
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub async fn task(command: TaskCommand, session: &Session) -> anyhow::Result<Exit> {
    let TaskCommand::Show(args) = command;
    let network = args.place.network().await?;
    let id = match args.id.parse::<TaskId>() {
        Ok(id) => id,
        Err(_) => JobIndex::read(&network.hub).await?.resolve_task(&args.id)?,
    };
    output::either(session.json, &network.task_detail(id).await?, render_task)?;
    Ok(Exit::Ok)
}

pub async fn deal(command: DealCommand, session: &Session) -> anyhow::Result<Exit> {
    let DealCommand::Show(args) = command;
    let network = args.place.network().await?;
    let id = match args.id.parse::<DealId>() {
        Ok(id) => id,
        Err(_) => JobIndex::read(&network.hub).await?.resolve_deal(&args.id)?.id,
    };
    output::either(session.json, &network.deal_detail(id).await?, render_deal)?;
    Ok(Exit::Ok)
}

fn render_task(task: &TaskDetail) -> String {
    let time = |at: u64| if at == 0 { "not begun".to_owned() } else { when(at) };
    let mut fields = vec![
        ("task", task.task.to_string()),
        ("deal", task.deal.to_string()),
        ("index", task.index.to_string()),
        ("state", task_word(task.status).to_owned()),
        ("fingerprint", task.digest.map_or("none yet".to_owned(), |digest| digest.to_string())),
        ("result at", task.location.clone().unwrap_or_else(|| "nowhere yet".to_owned())),
        ("work until", time(task.contribution_deadline)),
        ("refund from", time(task.final_deadline)),
    ];
    fields.extend(task.answer.as_ref().map(|answer| ("answer", answer.to_string())));
    fields.extend(task.enclave.map(|enclave| ("enclave", enclave_text(enclave))));
    let mut text = output::fields(fields);
    let word = |status, agrees| match (status, agrees) {
        (ContributionStatus::Unset, _) => "none",
        (ContributionStatus::Contributed, _) => "committed",
        (ContributionStatus::Proved, true) => "accepted",
        (ContributionStatus::Proved, false) => "revealed",
        (ContributionStatus::Rejected, _) => "rejected: wrong or silent, stake lost",
    };
    let rows: Vec<Vec<String>> = task
        .contributions
        .iter()
        .map(|vote| {
            vec![
                vote.worker.to_string(),
                word(vote.status, vote.agrees).to_owned(),
                vote.score.to_string(),
                vote.result_hash.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text += "\n";
        text += &output::table(&["worker", "contribution", "score", "result hash"], &rows);
    }
    text
}

fn render_deal(deal: &DealDetail) -> String {
    let dataset = match deal.dataset.is_zero() {
        true => "none".to_owned(),
        false => format!("{} at {} a task", deal.dataset, deal.dataset_price),
    };
    let mut fields = vec![
        ("deal", deal.deal.to_string()),
        ("app", format!("{} at {} a task", deal.app, deal.app_price)),
        ("dataset", dataset),
        ("pool", format!("{} at {} a task", deal.workerpool, deal.workerpool_price)),
        ("requester", deal.requester.to_string()),
        ("payer", deal.sponsor.to_string()),
        ("confidence", format!("{} (trust {})", deal.confidence, deal.trust)),
        ("stake", format!("{} of a worker on each task", deal.worker_stake)),
        ("params", deal.params.clone()),
        ("made", when(deal.start_time)),
    ];
    fields.extend(deal.callback.map(|callback| ("answers", callback.to_string())));
    fields.extend(deal.enclave.map(|enclave| ("enclave", enclave_text(enclave))));
    let mut text = output::fields(fields);
    let rows: Vec<Vec<String>> = deal
        .tasks
        .iter()
        .map(|task| vec![task.index.to_string(), task.task.to_string(), task_word(task.status).to_owned()])
        .collect();
    text += "\n";
    text + &output::table(&["", "task", "state"], &rows)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};
    use gristmill_requester::{ContributionDetail, SIMULATED_ENCLAVE};
    use gristmill_types::TaskStatus;

    use super::*;

    #[test]
    fn a_rejected_worker_is_told_from_an_accepted_one() {
        let vote = |byte, status, agrees| ContributionDetail {
            worker: Address::repeat_byte(byte),
            status,
            result_hash: B256::ZERO,
            agrees,
            score: 3,
        };
        let task = TaskDetail {
            task: TaskId::default(),
            deal: DealId::default(),
            index: 0,
            status: TaskStatus::Completed,
            digest: None,
            location: None,
            answer: Some(vec![0x2a].into()),
            enclave: Some(SIMULATED_ENCLAVE),
            contribution_deadline: 0,
            final_deadline: 0,
            contributions: vec![
                vote(1, ContributionStatus::Proved, true),
                vote(2, ContributionStatus::Rejected, false),
            ],
        };
        let text = render_task(&task);
        let line = |byte: u8| {
            let worker = Address::repeat_byte(byte).to_string();
            text.lines().find(|line| line.starts_with(&worker)).map(str::to_owned).unwrap_or_default()
        };
        assert!(text.contains("simulated enclave") && text.contains("0x2a"), "{text}");
        assert!(line(1).contains("accepted") && line(2).contains("stake lost"), "{text}");
    }
}
