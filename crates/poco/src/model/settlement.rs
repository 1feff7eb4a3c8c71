//! The money and the scores of each way a round of a task can end.

use alloy_primitives::{Address, Bytes, U256};
use gristmill_types::{Amount, ContributionStatus, TaskId, TaskStatus};

use super::{Model, Revert};
use crate::books::{Account, Contribution, DealTerms, KITTY, KITTY_DRAW_MIN, KITTY_PERCENT, Loan, Recount, pot_of};
use crate::consensus::{log2_weight, score_after_fault};
use crate::event::HubEvent;

impl Model {
    /// Slashes the silent holders into the pot and opens the task for more contributions.
    pub(super) fn restart(&mut self, id: TaskId, product: U256) -> Result<(), Revert> {
        let terms = self.terms_of(id);
        let task = self.task_mut(id);
        let consensus = task.consensus;
        let is_silent = |status, hash| status == ContributionStatus::Contributed && Some(hash) == consensus;
        let silent = task.votes().filter(|(_, vote)| is_silent(vote.status, vote.hash));
        let silent = silent.map(|(worker, vote)| (worker, *vote)).collect::<Vec<_>>();
        let mut seized = Amount::ZERO;
        for (worker, vote) in silent {
            seized = plus(seized, self.reject(id, &terms, worker, vote));
        }
        if !seized.is_zero() {
            self.hold(pot_of(id), seized);
        }
        self.task_mut(id).restart(product)?;
        self.emit(HubEvent::TaskReopen { task: id });
        Ok(())
    }

    /// Success with consensus: everybody is paid, the losers pay.
    pub(super) fn complete(&mut self, id: TaskId, recount: Recount, results: Bytes) {
        let terms = self.terms_of(id);
        let task = self.task_mut(id);
        task.status = TaskStatus::Completed;
        task.results = results.clone();
        self.settle_deal(id, &terms);
        self.pay_workers(id, &terms, recount);
        self.emit(HubEvent::TaskFinalize { task: id, results });
    }

    /// Success of one worker at trust 1.
    pub(super) fn complete_alone(&mut self, sender: Address, id: TaskId, results: Bytes) {
        let terms = self.terms_of(id);
        let task = self.task_mut(id);
        task.status = TaskStatus::Completed;
        task.results = results.clone();
        let (hash, digest) = (task.consensus.unwrap_or_default(), task.digest.unwrap_or_default());
        self.settle_deal(id, &terms);
        let price = terms.workerpool.price;
        let reward = workers_part(price, &terms);
        self.earn(sender, reward, id);
        self.reward(terms.workerpool.owner, price.saturating_sub(reward), id);
        self.emit(HubEvent::TaskContribute { task: id, worker: sender, hash });
        self.emit(HubEvent::TaskConsensus { task: id, hash });
        self.emit(HubEvent::TaskReveal { task: id, worker: sender, digest });
        self.emit(HubEvent::TaskFinalize { task: id, results });
    }

    /// The end without a result: the payer gets all back, the pool's stake feeds the kitty, and who is known to have lied
    /// or stayed silent pays those who proved.
    pub(super) fn fail(&mut self, id: TaskId) -> Result<(), Revert> {
        let terms = self.terms_of(id);
        let task = self.task_mut(id);
        let revealing = task.status == TaskStatus::Revealing;
        let carried = revealing && task.recount(terms.trust)?.carried;
        task.status = TaskStatus::Failed;
        let consensus = task.consensus;
        let votes = task.votes().map(|(worker, vote)| (worker, *vote)).collect::<Vec<_>>();
        self.refund_deal(id, &terms);

        let mut pot = self.take_pot(id);
        let mut shares = Vec::new();
        for (worker, vote) in votes {
            if vote.status == ContributionStatus::Rejected {
                continue;
            }
            let holder = Some(vote.hash) == consensus;
            let proved = vote.status == ContributionStatus::Proved;
            if revealing && if holder { !proved } else { carried } {
                pot = plus(pot, self.reject(id, &terms, worker, vote));
            } else {
                self.return_stake(id, &terms, worker, vote);
                if proved && (holder || !revealing) {
                    shares.push((worker, u64::from(log2_weight(vote.weight))));
                }
            }
        }
        self.share_pot(id, pot, &shares);
        self.emit(HubEvent::TaskClaimed { task: id });
        Ok(())
    }

    fn settle_deal(&mut self, id: TaskId, terms: &DealTerms) {
        self.seize(terms.sponsor, one_price(terms), id);
        if !terms.app.price.is_zero() {
            self.reward(terms.app.owner, terms.app.price, id);
        }
        if !terms.dataset.price.is_zero() {
            self.reward(terms.dataset.owner, terms.dataset.price, id);
        }
        let owner = terms.workerpool.owner;
        self.unlock(owner, one_pool_stake(terms));
        // Bounded by the pool's price: matching one's own orders at price zero draws nothing.
        let kitty = self.books.account(KITTY).locked;
        let draw = share(kitty, KITTY_PERCENT, 100).max(KITTY_DRAW_MIN).min(kitty).min(terms.workerpool.price);
        if !draw.is_zero() {
            self.seize(KITTY, draw, id);
            self.reward(owner, draw, id);
        }
    }

    fn refund_deal(&mut self, id: TaskId, terms: &DealTerms) {
        self.unlock(terms.sponsor, one_price(terms));
        let stake = one_pool_stake(terms);
        self.seize(terms.workerpool.owner, stake, id);
        self.feed_kitty(stake, id);
    }

    /// Winners share price, seized stakes and pot by the logarithm of their weight; the rest is the pool owner's.
    fn pay_workers(&mut self, id: TaskId, terms: &DealTerms, recount: Recount) {
        let seized = plus(times(terms.worker_stake, recount.losers), self.take_pot(id));
        let mut left = plus(terms.workerpool.price, seized);
        let reward = workers_part(left, terms);
        let task = self.task_mut(id);
        let several = task.contributors.len() > 1;
        let live = task.votes().filter(|(_, vote)| vote.status != ContributionStatus::Rejected);
        let live = live.map(|(worker, vote)| (worker, task.is_proved_holder(vote), *vote)).collect::<Vec<_>>();
        for (worker, wins, vote) in live {
            if !wins {
                self.reject(id, terms, worker, vote);
                continue;
            }
            let part = share(reward, u128::from(log2_weight(vote.weight)), u128::from(recount.shares));
            left = left.saturating_sub(part);
            self.return_stake(id, terms, worker, vote);
            self.earn(worker, part, id);
            if several {
                *self.books.scores.entry(worker).or_default() += 1;
                self.emit(HubEvent::AccurateContribution { worker, task: id });
            }
        }
        self.reward(terms.workerpool.owner, left, id);
    }

    fn share_pot(&mut self, id: TaskId, pot: Amount, shares: &[(Address, u64)]) {
        if pot.is_zero() {
            return;
        }
        let total = shares.iter().map(|(_, share)| u128::from(*share)).sum::<u128>();
        let mut left = pot;
        for (worker, weight) in shares.iter().filter(|_| total > 0) {
            let part = share(pot, u128::from(*weight), total);
            left = left.saturating_sub(part);
            self.earn(*worker, part, id);
        }
        if !left.is_zero() {
            self.feed_kitty(left, id);
        }
    }

    /// Returns what of the stake is left for others: all of an own one, nothing of a lent one.
    fn reject(&mut self, id: TaskId, terms: &DealTerms, worker: Address, vote: Contribution) -> Amount {
        if let Some(vote) = self.task_mut(id).contributions.get_mut(&worker) {
            vote.status = ContributionStatus::Rejected;
        }
        let stake = terms.worker_stake;
        if vote.lent {
            self.lose_lent(id, terms.workerpool.owner, worker, stake);
        } else {
            self.seize(worker, stake, id);
        }
        let score = self.books.score(worker);
        self.books.scores.insert(worker, score_after_fault(score));
        self.emit(HubEvent::FaultyContribution { worker, task: id });
        if vote.lent { Amount::ZERO } else { stake }
    }

    /// A lent stake goes to the kitty, and the worker owes it.
    fn lose_lent(&mut self, task: TaskId, lender: Address, worker: Address, amount: Amount) {
        self.change_loan(worker, lender, |loan| {
            loan.locked = minus(loan.locked, amount);
            loan.debt = plus(loan.debt, amount);
        });
        self.seize(lender, amount, task);
        self.feed_kitty(amount, task);
        self.emit(HubEvent::StakeLost { task, worker, lender, amount });
    }

    fn return_stake(&mut self, task: TaskId, terms: &DealTerms, worker: Address, vote: Contribution) {
        let (lender, amount) = (terms.workerpool.owner, terms.worker_stake);
        if !vote.lent {
            self.unlock(worker, amount);
            return;
        }
        self.change_loan(worker, lender, |loan| loan.locked = minus(loan.locked, amount));
        self.unlock(lender, amount);
        self.emit(HubEvent::StakeReturned { task, worker, lender, amount });
    }

    /// Pays a worker for its work; who owes, repays first.
    fn earn(&mut self, worker: Address, amount: Amount, task: TaskId) {
        self.reward(worker, amount, task);
        self.repay(worker, amount);
    }

    /// Pays the worker's debt, `amount` at most, from its free stake, which covers it.
    pub(super) fn repay(&mut self, worker: Address, amount: Amount) {
        let Some(loan) = self.books.loans.get(&worker).copied() else { return };
        let amount = amount.min(loan.debt);
        if amount.is_zero() {
            return;
        }
        self.change_loan(worker, loan.lender, |loan| loan.debt = minus(loan.debt, amount));
        self.shift(worker, loan.lender, amount);
        self.emit(HubEvent::DebtRepaid { worker, lender: loan.lender, amount });
    }

    pub(super) fn borrow(&mut self, worker: Address, lender: Address, amount: Amount) {
        self.change_loan(worker, lender, |loan| loan.locked = plus(loan.locked, amount));
    }

    fn change_loan(&mut self, worker: Address, lender: Address, change: impl FnOnce(&mut Loan)) {
        let changed: Result<(), std::convert::Infallible> = self.books.change_loan(worker, lender, |loan| {
            change(loan);
            Ok(())
        });
        let Ok(()) = changed;
    }

    fn take_pot(&mut self, id: TaskId) -> Amount {
        let pot = self.books.account(pot_of(id)).locked;
        if !pot.is_zero() {
            self.seize(pot_of(id), pot, id);
        }
        pot
    }

    fn terms_of(&mut self, id: TaskId) -> DealTerms {
        let deal = self.task_mut(id).deal;
        self.books.deals.get(&deal).map(|deal| deal.terms.clone()).expect("a task is initialised of a deal that exists")
    }

    pub(super) fn lock(&mut self, owner: Address, amount: Amount) {
        self.shift(owner, self.books.hub, amount);
        self.hold(owner, amount);
    }

    fn hold(&mut self, owner: Address, amount: Amount) {
        self.change_account(owner, |account| account.locked = plus(account.locked, amount));
        self.emit(HubEvent::Lock { owner, amount });
    }

    fn unlock(&mut self, owner: Address, amount: Amount) {
        self.shift(self.books.hub, owner, amount);
        self.release(owner, amount);
        self.emit(HubEvent::Unlock { owner, amount });
    }

    fn seize(&mut self, owner: Address, amount: Amount, task: TaskId) {
        self.release(owner, amount);
        self.emit(HubEvent::Seize { owner, amount, task });
    }

    fn reward(&mut self, owner: Address, amount: Amount, task: TaskId) {
        self.shift(self.books.hub, owner, amount);
        self.emit(HubEvent::Reward { owner, amount, task });
    }

    fn feed_kitty(&mut self, amount: Amount, task: TaskId) {
        self.emit(HubEvent::Reward { owner: KITTY, amount, task });
        self.hold(KITTY, amount);
    }

    fn release(&mut self, owner: Address, amount: Amount) {
        self.change_account(owner, |account| account.locked = minus(account.locked, amount));
    }

    pub(super) fn shift(&mut self, from: Address, to: Address, value: Amount) {
        self.debit(from, value);
        self.credit(to, value);
        self.emit(HubEvent::Transfer { from, to, value });
    }

    pub(super) fn credit(&mut self, owner: Address, amount: Amount) {
        self.change_account(owner, |account| account.stake = plus(account.stake, amount));
    }

    pub(super) fn debit(&mut self, owner: Address, amount: Amount) {
        self.change_account(owner, |account| account.stake = minus(account.stake, amount));
    }

    fn change_account(&mut self, owner: Address, change: impl FnOnce(&mut Account)) {
        let changed: Result<(), std::convert::Infallible> = self.books.change_account(owner, |account| {
            change(account);
            Ok(())
        });
        let Ok(()) = changed;
    }
}

fn workers_part(amount: Amount, terms: &DealTerms) -> Amount {
    share(amount, u128::from(100u64.saturating_sub(terms.scheduler_reward_percent)), 100)
}

fn one_price(terms: &DealTerms) -> Amount {
    terms.price().expect("matching has computed the price of the whole deal")
}

fn one_pool_stake(terms: &DealTerms) -> Amount {
    terms.pool_stake().expect("matching has computed the stake of the whole deal")
}

// Everything below is within the supply, 96 bits: an overflow or a negative balance is a broken invariant, not an input.

fn plus(left: Amount, right: Amount) -> Amount {
    left.checked_add(right).expect("a sum of escrowed amounts is within the supply")
}

fn minus(left: Amount, right: Amount) -> Amount {
    left.checked_sub(right).expect("no more is taken from an account than it holds")
}

fn times(amount: Amount, factor: u64) -> Amount {
    amount.checked_mul(factor).expect("a multiple of locked stakes is within the supply")
}

fn share(amount: Amount, numerator: u128, denominator: u128) -> Amount {
    amount.checked_ratio(numerator, denominator).expect("a share of an escrowed amount fits, and somebody has a share")
}
