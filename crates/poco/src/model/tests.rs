//! The rules where the hub is stricter than PoCo, one by one.

use gristmill_types::Trust;

use super::*;
use crate::books::{KITTY, Resource, pot_of};

const T: u64 = 100;
const HUB: Address = Address::repeat_byte(0xaa);
const PAYER: Address = Address::repeat_byte(0xb0);
const POOL: Address = Address::repeat_byte(0xb1);
const APP: Address = Address::repeat_byte(0xb2);

fn grist(amount: u64) -> Amount {
    Amount::from_grist(amount)
}

fn worker(index: u8) -> Address {
    Address::repeat_byte(index + 1)
}

fn truth() -> B256 {
    B256::repeat_byte(0x11)
}

fn lie() -> B256 {
    B256::repeat_byte(0x66)
}

/// One deal of one task: pool price 10, app price 2, worker stake 3; the deal is made at time 1000.
struct Case {
    model: Model,
    id: TaskId,
}

impl Case {
    fn new(trust: u64) -> Self {
        let mut model = Model::new(HUB);
        for account in (0..40).map(worker).chain([PAYER, POOL]) {
            model.deposit(account, grist(100)).unwrap();
        }
        let terms = DealTerms {
            app: Resource { pointer: Address::repeat_byte(0xc0), owner: APP, price: grist(2) },
            workerpool: Resource { pointer: Address::repeat_byte(0xc1), owner: POOL, price: grist(10) },
            trust: Trust::new(trust),
            work_clock_s: T,
            requester: PAYER,
            sponsor: PAYER,
            worker_stake: grist(3),
            scheduler_reward_percent: 1,
            ..DealTerms::default()
        };
        let order = |byte: u8| OrderUse { hash: OrderHash(B256::repeat_byte(byte)), volume: 1 };
        let (app, workerpool, request) = (order(1), order(2), order(3));
        let matching = Matching { app, dataset: None, workerpool, request, terms };
        let (deal, _) = model.match_orders(1000, matching).unwrap();
        model.initialize(deal, 0).unwrap();
        Self { model, id: deal.task(0) }
    }

    fn contribute(&mut self, now: u64, by: u8, digest: B256) -> Outcome {
        let (hash, seal) = (result_hash(self.id, digest), result_seal(worker(by), self.id, digest));
        self.model.contribute(worker(by), now, self.id, hash, seal, true)
    }

    fn reveal(&mut self, now: u64, by: u8, digest: B256) -> Outcome {
        self.model.reveal(worker(by), now, self.id, digest)
    }

    fn finalize(&mut self, now: u64, by: Address) -> Outcome {
        self.model.finalize(by, now, self.id, Bytes::from_static(b"here"), &[])
    }

    fn task(&self) -> &Task {
        &self.model.books().tasks[&self.id]
    }

    fn free(&self, account: Address) -> Amount {
        self.model.books().account(account).stake
    }

    fn locked(&self, account: Address) -> Amount {
        self.model.books().account(account).locked
    }

    /// Trust 5, three newcomers agree at 1001: consensus, revealing until 1201.
    fn agreed() -> Self {
        let mut case = Self::new(5);
        for by in 0..3 {
            case.contribute(1001, by, truth()).unwrap();
        }
        assert_eq!(case.task().status, TaskStatus::Revealing);
        case
    }
}

#[test]
fn everybody_is_paid_when_all_reveal() {
    let mut case = Case::agreed();
    for by in 0..3 {
        case.reveal(1002, by, truth()).unwrap();
    }
    assert_eq!(case.finalize(1003, worker(0)), Err(Revert::TooEarly(1201 + T / 2)));
    case.finalize(1003, POOL).unwrap();
    assert_eq!(case.task().status, TaskStatus::Completed);
    // 99 % of 10 GRIST in three equal parts; the pool owner gets its percent.
    for by in 0..3 {
        assert_eq!(case.free(worker(by)), Amount::from_ngrist(103_300_000_000));
        assert_eq!(case.model.books().score(worker(by)), 1);
    }
    assert_eq!(case.free(POOL), Amount::from_ngrist(100_100_000_000));
    assert_eq!((case.free(PAYER), case.free(APP)), (grist(88), grist(2)));
    assert_eq!(case.free(HUB), Amount::ZERO);
}

#[test]
fn a_copied_hash_under_a_bogus_seal_gains_nothing() {
    let mut case = Case::new(5);
    case.contribute(1001, 0, truth()).unwrap();
    // Worker 1 copies the public hash; its seal is of a digest that it guessed wrong.
    let (hash, seal) = (result_hash(case.id, truth()), result_seal(worker(1), case.id, lie()));
    case.model.contribute(worker(1), 1001, case.id, hash, seal, true).unwrap();
    case.contribute(1001, 2, truth()).unwrap();
    assert_eq!(case.task().status, TaskStatus::Revealing);
    case.reveal(1002, 0, truth()).unwrap();
    case.reveal(1002, 2, truth()).unwrap();
    // It learns the digest from the others' reveals, and cannot use it.
    assert_eq!(case.reveal(1003, 1, truth()), Err(Revert::DigestMismatch));

    assert_eq!(case.finalize(1200, POOL), Err(Revert::TooEarly(1201)));
    case.finalize(1201, POOL).unwrap();
    // Two newcomers do not carry trust 5: back to work, the copier slashed, its stake waits in the pot.
    assert_eq!((case.task().status, case.task().recomputed), (TaskStatus::Active, true));
    assert_eq!((case.free(worker(1)), case.locked(worker(1))), (grist(97), Amount::ZERO));
    assert_eq!(case.locked(pot_of(case.id)), grist(3));
    assert_eq!((case.task().winner_counter, case.task().consensus), (0, None));

    // A fourth, whose result the pool held before, completes it: the two that had revealed need not again.
    case.contribute(1202, 3, truth()).unwrap();
    assert_eq!((case.task().winner_counter, case.task().reveal_counter), (3, 2));
    case.reveal(1203, 3, truth()).unwrap();
    case.finalize(1204, POOL).unwrap();
    // 99 % of price and the copier's stake.
    let part = Amount::from_ngrist(13_000_000_000 * 99 / 100 / 3);
    for by in [0, 2, 3] {
        assert_eq!(case.free(worker(by)), grist(100).checked_add(part).unwrap());
    }
    assert_eq!(case.model.books().score(worker(1)), 0);
}

#[test]
fn losers_pay_when_the_recount_holds() {
    let mut case = Case::new(5);
    case.contribute(1001, 9, lie()).unwrap();
    for by in 0..3 {
        case.contribute(1001, by, truth()).unwrap();
        assert_eq!(case.task().status, TaskStatus::Active, "a liar needs four honest against it");
    }
    case.contribute(1001, 3, truth()).unwrap();
    for by in 0..4 {
        case.reveal(1002, by, truth()).unwrap();
    }
    case.finalize(1003, POOL).unwrap();
    assert_eq!(case.task().contributions[&worker(9)].status, ContributionStatus::Rejected);
    assert_eq!((case.free(worker(9)), case.locked(worker(9))), (grist(97), Amount::ZERO));
    let part = Amount::from_ngrist(13_000_000_000 * 99 / 100 / 4);
    assert_eq!(case.free(worker(0)), grist(100).checked_add(part).unwrap());
}

#[test]
fn anybody_reopens_what_nobody_reveals_and_the_silent_lose() {
    let mut case = Case::agreed();
    assert_eq!(case.model.reopen(1200, case.id), Err(Revert::TooEarly(1201)));
    case.model.reopen(1201, case.id).unwrap();
    assert_eq!((case.task().status, case.task().recomputed), (TaskStatus::Active, false));
    assert_eq!(case.task().tally.total(), alloy_primitives::U256::ONE);
    assert_eq!(case.locked(pot_of(case.id)), grist(9));
    assert_eq!(case.contribute(1202, 0, truth()), Err(Revert::AlreadyContributed(worker(0))));
    // Without anybody who proved, the pot goes to the kitty with the pool's stake.
    assert_eq!(case.model.claim(1999, case.id), Err(Revert::TooEarly(2000)));
    case.model.claim(2000, case.id).unwrap();
    assert_eq!((case.locked(KITTY), case.free(PAYER)), (grist(12), grist(100)));
    for by in 0..3 {
        assert_eq!(case.free(worker(by)), grist(97));
    }
}

#[test]
fn who_revealed_may_finalize_when_the_pool_does_not() {
    let mut case = Case::new(2);
    case.contribute(1001, 0, truth()).unwrap();
    case.reveal(1002, 0, truth()).unwrap();
    assert_eq!(case.model.reopen(1201, case.id), Err(Revert::AlreadyRevealed));
    assert_eq!(case.finalize(1250, worker(0)), Err(Revert::TooEarly(1251)));
    assert_eq!(case.finalize(1251, worker(5)), Err(Revert::NotAllowed(worker(5))));
    case.finalize(1251, worker(0)).unwrap();
    assert_eq!(case.task().status, TaskStatus::Completed);
}

#[test]
fn the_silent_lose_their_stake_at_a_claim_too_and_pay_who_revealed() {
    let mut case = Case::agreed();
    case.reveal(1002, 0, truth()).unwrap();
    case.model.claim(2000, case.id).unwrap();
    assert_eq!(case.task().status, TaskStatus::Failed);
    assert_eq!(case.free(PAYER), grist(100));
    assert_eq!(case.free(worker(0)), grist(106));
    assert_eq!((case.free(worker(1)), case.free(worker(2))), (grist(97), grist(97)));
}

#[test]
fn without_consensus_every_stake_returns() {
    let mut case = Case::new(5);
    case.contribute(1001, 0, truth()).unwrap();
    case.contribute(1001, 1, lie()).unwrap();
    case.model.claim(2000, case.id).unwrap();
    assert_eq!((case.free(worker(0)), case.free(worker(1))), (grist(100), grist(100)));
    assert_eq!((case.locked(KITTY), case.free(POOL)), (grist(3), grist(97)));
}

#[test]
fn a_failed_recount_is_claimable_when_contribution_time_is_over() {
    let mut case = Case::agreed();
    case.reveal(1002, 0, truth()).unwrap();
    case.finalize(1201, POOL).unwrap();
    assert_eq!(case.model.claim(1699, case.id), Err(Revert::TooEarly(1700)));
    case.model.claim(1700, case.id).unwrap();
    // Both silent stakes to the one who revealed.
    assert_eq!(case.free(worker(0)), grist(106));
}

#[test]
fn a_pool_concedes_early_only_before_the_first_contribution() {
    let mut case = Case::new(5);
    assert_eq!(case.model.concede(PAYER, 1001, case.id), Err(Revert::NotAllowed(PAYER)));
    case.model.concede(POOL, 1001, case.id).unwrap();
    assert_eq!(case.model.concede(POOL, 1002, case.id), Err(Revert::AlreadyConceded(1051)));
    assert_eq!(case.model.claim(1050, case.id), Err(Revert::TooEarly(1051)));
    assert_eq!(case.contribute(1051, 0, truth()), Err(Revert::AlreadyConceded(1051)));
    case.model.claim(1051, case.id).unwrap();
    assert_eq!((case.free(PAYER), case.free(POOL), case.locked(KITTY)), (grist(100), grist(97), grist(3)));
}

#[test]
fn a_contribution_cancels_a_concession() {
    let mut case = Case::new(5);
    case.model.concede(POOL, 1001, case.id).unwrap();
    case.contribute(1050, 0, truth()).unwrap();
    assert_eq!(case.model.claim(1100, case.id), Err(Revert::TooEarly(2000)));
    assert_eq!(case.model.concede(POOL, 1100, case.id), Err(Revert::TooEarly(1700)));
    case.model.concede(POOL, 1700, case.id).unwrap();
    assert_eq!((case.task().status, case.free(worker(0))), (TaskStatus::Failed, grist(100)));
}

#[test]
fn the_thirty_third_contributor_is_refused() {
    let mut case = Case::new(1_000_000_000);
    for by in 0..CONTRIBUTORS_MAX as u8 {
        let digest = B256::with_last_byte(by + 1);
        case.contribute(1001, by, digest).unwrap();
    }
    assert_eq!(case.contribute(1001, 33, truth()), Err(Revert::TooManyContributors));
}

#[test]
fn the_kitty_gives_no_more_than_the_pools_price() {
    let kitty_after = |kitty: u64, price: u64| {
        let mut case = Case::new(1);
        case.model.books.accounts.entry(KITTY).or_default().locked = grist(kitty);
        let free = case.free(HUB).checked_add(grist(kitty)).unwrap();
        case.model.books.accounts.entry(HUB).or_default().stake = free;
        let deal = case.task().deal;
        let terms = &mut case.model.books.deals.get_mut(&deal).unwrap().terms;
        // The payer's and the pool's locks stay as they were made, for price 10 and 2.
        terms.app.price = grist(2 + 10 - price);
        terms.workerpool.price = grist(price);
        let proof = SoloProof { digest: truth(), results: Bytes::new(), callback: &[] };
        case.model.contribute_and_finalize(worker(0), 1001, case.id, proof, true).unwrap();
        case.locked(KITTY)
    };
    assert_eq!(kitty_after(0, 10), Amount::ZERO);
    // At least 1 GRIST, if there is one.
    assert_eq!(kitty_after(5, 10), grist(4));
    // A tenth, if that is more.
    assert_eq!(kitty_after(50, 10), grist(45));
    // Never more than the price.
    assert_eq!(kitty_after(500, 10), grist(490));
    assert_eq!(kitty_after(500, 0), grist(500));
}

#[test]
fn alone_only_at_trust_one_and_first() {
    let proof = || SoloProof { digest: truth(), results: Bytes::new(), callback: &[] };
    let mut case = Case::new(2);
    let refused = case.model.contribute_and_finalize(worker(0), 1001, case.id, proof(), true);
    assert_eq!(refused, Err(Revert::TrustNotOne(2)));
    let mut case = Case::new(1);
    case.contribute(1001, 1, lie()).unwrap();
    let refused = case.model.contribute_and_finalize(worker(0), 1001, case.id, proof(), true);
    assert_eq!(refused, Err(Revert::WrongTaskStatus(TaskStatus::Revealing)));
    let mut case = Case::new(1);
    case.model.contribute_and_finalize(worker(0), 1001, case.id, proof(), true).unwrap();
    assert_eq!((case.free(worker(0)), case.model.books().score(worker(0))), (Amount::from_ngrist(109_900_000_000), 0));
}

#[test]
fn a_callback_must_be_the_preimage() {
    let mut case = Case::new(1);
    let deal = case.task().deal;
    case.model.books.deals.get_mut(&deal).unwrap().terms.callback = Address::repeat_byte(7);
    let digest = keccak256(b"answer");
    let proof = |callback| SoloProof { digest, results: Bytes::new(), callback };
    let refused = case.model.contribute_and_finalize(worker(0), 1001, case.id, proof(b""), true);
    assert_eq!(refused, Err(Revert::CallbackMismatch));
    case.model.contribute_and_finalize(worker(0), 1001, case.id, proof(b"answer"), true).unwrap();
}

/// A case in which worker 0 has nothing, and the pool lends it one stake.
fn lent() -> Case {
    let mut case = Case::new(5);
    let all = case.free(worker(0));
    case.model.withdraw(worker(0), all).unwrap();
    case.model.lend_stake(POOL, worker(0), grist(3)).unwrap();
    case
}

#[test]
fn a_pool_lends_a_newcomer_its_stake() {
    let mut case = lent();
    let before = case.free(POOL);
    case.contribute(1001, 0, truth()).unwrap();
    assert_eq!(case.free(POOL), before.saturating_sub(grist(3)));
    assert_eq!((case.locked(worker(0)), case.locked(POOL)), (Amount::ZERO, grist(6)));
    let loan = case.model.books().loans[&worker(0)];
    assert_eq!((loan.lender, loan.locked, loan.debt), (POOL, grist(3), Amount::ZERO));
    for by in 1..3 {
        case.contribute(1001, by, truth()).unwrap();
    }
    for by in 0..3 {
        case.reveal(1002, by, truth()).unwrap();
    }
    case.finalize(1003, POOL).unwrap();
    assert_eq!(case.free(worker(0)), Amount::from_ngrist(3_300_000_000));
    assert_eq!(case.locked(POOL), Amount::ZERO);
    assert!(case.model.books().loans.is_empty());
}

#[test]
fn a_lent_stake_is_lost_to_the_kitty_and_owed() {
    let mut case = lent();
    case.contribute(1001, 0, lie()).unwrap();
    for by in 1..5 {
        case.contribute(1001, by, truth()).unwrap();
    }
    for by in 1..5 {
        case.reveal(1002, by, truth()).unwrap();
    }
    case.finalize(1003, POOL).unwrap();
    // The others share the price alone.
    assert_eq!(case.free(worker(1)), Amount::from_ngrist(102_475_000_000));
    assert_eq!(case.locked(KITTY), grist(3));
    assert_eq!(case.model.books().loans[&worker(0)].debt, grist(3));

    assert_eq!(case.model.repay_debt(worker(1), grist(1)), Err(Revert::NothingOwed(worker(1))));
    assert!(matches!(case.model.repay_debt(worker(0), grist(1)), Err(Revert::InsufficientStake { .. })));
    case.model.deposit(worker(0), grist(5)).unwrap();
    let before = case.free(POOL);
    case.model.repay_debt(worker(0), grist(4)).unwrap();
    assert_eq!(case.free(worker(0)), grist(2), "no more than is owed");
    assert_eq!(case.free(POOL), before.checked_add(grist(3)).unwrap());
    assert!(case.model.books().loans.is_empty());
}

#[test]
fn a_loan_has_bounds() {
    let mut case = lent();
    for borrower in [Address::ZERO, POOL, HUB] {
        assert_eq!(case.model.lend_stake(POOL, borrower, grist(1)), Err(Revert::CannotLend(borrower)));
    }
    let past = crate::books::SUPPLY_MAX.checked_add(Amount::from_ngrist(1)).unwrap();
    assert_eq!(case.model.lend_stake(POOL, worker(0), past), Err(Revert::LimitTooLarge));
    case.model.lend_stake(POOL, worker(0), Amount::from_ngrist(2_999_999_999)).unwrap();
    assert_eq!(case.contribute(1001, 0, truth()), Err(Revert::BalanceExceeded));
    // Somebody else's offer does not bind this pool.
    case.model.lend_stake(PAYER, worker(0), grist(50)).unwrap();
    assert_eq!(case.contribute(1001, 0, truth()), Err(Revert::BalanceExceeded));
    case.model.lend_stake(POOL, worker(0), grist(3)).unwrap();
    let free = case.free(POOL).saturating_sub(grist(2));
    case.model.withdraw(POOL, free).unwrap();
    assert_eq!(case.contribute(1001, 0, truth()), Err(Revert::BalanceExceeded));
    case.model.deposit(POOL, grist(1)).unwrap();
    case.contribute(1001, 0, truth()).unwrap();
}
