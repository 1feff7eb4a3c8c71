//! Order a task on the market, wait for it, bring its result.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use gristmill_datadir::DbError;
use gristmill_hub::HubClient;
use gristmill_pool::OverflowBoard;
use gristmill_requester::{Job, Network as Market, Place, Prepared, Quote, Requester, RequesterError, chain};
use gristmill_result::Digest;
use gristmill_types::{Address, Amount, DealId, TaskId, TaskStatus, Trust};
use gristmill_worker::fetch::Fetcher;
use gristmill_worker::plan::Plan;
use gristmill_worker::{Elsewhere, NotBrought};

use super::book::{Book, Purchase};
use super::turn::Turns;
use super::{is_away, order};

/// The market is waited for so many T of the task; past that the lease is given back. A pool whose `run_limit_ratio` is less takes it
/// before, and gives another: the order is the same.
const WAIT_RATIO: u32 = 5;
/// How often it is asked which tasks are done.
const POLL: Duration = Duration::from_millis(500);
/// Tasks asked for in one request.
const VIEWS_AT_ONCE: usize = 500;
/// How often account and book are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// Orders for one task that the market may give back.
const FAILURES_MAX: u32 = 2;

/// What a buyer works with.
pub struct Terms {
    pub place: Place,
    pub wallet_file: PathBuf,
    pub account: Address,
    pub max_price: Amount,
    pub trust: Trust,
    /// The pool's own ledger.
    pub lab: HubClient,
    pub board: OverflowBoard,
    pub book: Book,
    pub market: Option<Market>,
}

/// Buys. Clones share everything.
#[derive(Clone)]
pub struct Buyer(Arc<Inner>);

struct Inner {
    place: Place,
    wallet_file: PathBuf,
    account: Address,
    max_price: Amount,
    trust: Trust,
    lab: HubClient,
    board: OverflowBoard,
    book: Book,
    /// The market, while it answers.
    market: Mutex<Option<Market>>,
    /// It did not answer the last time that book and account were looked at.
    is_away: AtomicBool,
    /// One order is made at a time: each sees what the ones before have left of the account.
    turns: Turns,
}

impl fmt::Debug for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buyer").field("place", &self.0.place).field("account", &self.0.account).finish_non_exhaustive()
    }
}

impl Elsewhere for Buyer {
    fn bring<'a>(
        &'a self,
        plan: &'a Plan,
        fetcher: &'a Fetcher,
        pack: &'a Path,
    ) -> BoxFuture<'a, Result<Digest, NotBrought>> {
        Box::pin(async move {
            if let Some(why) = order::objection(plan) {
                return Err(NotBrought::Never(why.to_owned()));
            }
            let patience = Duration::from_secs(plan.work_clock_s).saturating_mul(WAIT_RATIO);
            let brought = tokio::time::timeout(patience, self.bring_in_time(plan, fetcher, pack)).await;
            let brought = brought.unwrap_or_else(|_| {
                let text = format!("the market has not done it within {} s; its order stands", patience.as_secs());
                Err(NotBrought::Later(text))
            });
            let trouble = match &brought {
                Err(NotBrought::Later(why)) => Some(why.clone()),
                _ => None,
            };
            self.0.board.say(|status| status.trouble = trouble);
            brought
        })
    }
}

impl Buyer {
    /// One that goes on with what is in its book.
    pub fn new(terms: Terms) -> Self {
        let Terms { place, wallet_file, account, max_price, trust, lab, board, book, market } = terms;
        let (market, turns, is_away) = (Mutex::new(market), Turns::default(), AtomicBool::new(false));
        let inner = Inner { place, wallet_file, account, max_price, trust, lab, board, book, market, is_away, turns };
        inner.tell();
        Self(Arc::new(inner))
    }

    /// Who pays.
    pub fn account(&self) -> Address {
        self.0.account
    }

    /// Where it says what it does.
    pub fn board(&self) -> &OverflowBoard {
        &self.0.board
    }

    /// Looks after orders, account and book for ever.
    pub async fn keep_looking(&self) {
        let ends = async {
            loop {
                tokio::time::sleep(POLL).await;
                // One that does not answer is asked again.
                if let Err(error) = self.0.note_ends().await {
                    tracing::debug!(why = %error, "the market does not say how far it is");
                }
            }
        };
        let sweeps = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                self.sweep().await;
            }
        };
        tokio::join!(ends, sweeps);
    }

    /// Looks once at the account.
    pub async fn look_at_account(&self) {
        let looked = self.0.look_at_account().await.map(drop);
        self.say_trouble(looked);
    }

    /// Looks once at the account, and at what is over here.
    async fn sweep(&self) {
        let swept = self.0.sweep().await;
        self.say_trouble(swept);
    }

    fn say_trouble(&self, looked: Result<(), NotBrought>) {
        let was_away = self.0.is_away.swap(looked.is_err(), Ordering::Relaxed);
        match looked {
            Err(error) => {
                tracing::debug!(why = %error, "what was bought could not be looked after");
                self.0.board.say(|status| status.trouble = Some(error.to_string()));
            }
            Ok(()) if was_away => self.0.board.say(|status| status.trouble = None),
            Ok(()) => {}
        }
    }

    async fn bring_in_time(&self, plan: &Plan, fetcher: &Fetcher, pack: &Path) -> Result<Digest, NotBrought> {
        self.order(plan, fetcher).await?;
        self.0.wait(plan.task).await?;
        self.0.fetch(plan.task, pack).await
    }

    /// Sees to it that the market has one order for this task. Who is dropped before its order is begun orders nothing; one that is
    /// begun is made to the end.
    async fn order(&self, plan: &Plan, fetcher: &Fetcher) -> Result<(), NotBrought> {
        let inner = Arc::clone(&self.0);
        let mut turn = inner.turns.next().await;
        let purchase = inner.book.of(plan.task);
        if purchase.job.is_some() {
            return Ok(());
        }
        if purchase.failures >= FAILURES_MAX {
            return Err(NotBrought::Never(format!("the market gave it back {} times", purchase.failures)));
        }
        let market = inner.market().await?;
        let requester = Requester::new(market.clone(), &inner.wallet_file).map_err(|error| inner.failed(&error))?;
        // Written down already: before a crash it may have been ordered.
        if inner.book.has(plan.task) {
            let (inner, requester, purchase) = (Arc::clone(&inner), requester.clone(), purchase.clone());
            let (same, found) = turn.finish(async move { inner.go_on(&requester, purchase).await }).await?;
            if found? {
                return Ok(());
            }
            turn = same;
        }
        let terms = (&purchase, inner.trust, inner.max_price);
        let prepared = order::prepare(plan, fetcher, (&inner.lab, &market), &requester, terms).await?;
        let quote = requester.quote(&prepared).await.map_err(|error| inner.failed(&error))?;
        requester.check_quote(&prepared, &quote).map_err(|error| inner.failed(&error))?;
        order::check_pools(&quote)?;
        let (_, submitted) =
            turn.finish(async move { inner.submit(&requester, purchase, (prepared, quote)).await }).await?;
        submitted
    }
}

impl Inner {
    /// The market, found anew if it was away.
    async fn market(&self) -> Result<Market, NotBrought> {
        let known = self.market.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(market) = known {
            return Ok(market);
        }
        let found = Market::find(&self.place).await.map_err(|error| self.failed(&error))?;
        *self.market.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }

    /// A step failed. A market that is away is looked for anew: it may come back elsewhere.
    fn failed(&self, error: &RequesterError) -> NotBrought {
        if is_away(error) {
            *self.market.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        order::failed(error)
    }

    /// Goes on with the order of this purchase, if the market's ledger has it; it has a pool then.
    async fn go_on(&self, requester: &Requester, purchase: Purchase) -> Result<bool, NotBrought> {
        let found = async {
            let index = order::settled_index(requester).await?;
            let Some(record) = order::record_of(&index, self.account, &purchase) else { return Ok(None) };
            if let Some(rest) = Job::of(requester.network(), record, None).await?.unmatched() {
                requester.match_rest(&rest).await?;
            }
            Ok(Some(record.hash))
        };
        let Some(job) = found.await.map_err(|error| self.failed(&error))? else { return Ok(false) };
        tracing::info!("task {} was ordered on the market before: {job}", purchase.task);
        self.note(Purchase { job: Some(job), ..purchase })?;
        Ok(true)
    }

    /// Makes the order of this purchase.
    async fn submit(
        &self,
        requester: &Requester,
        purchase: Purchase,
        (prepared, quote): (Prepared, Quote),
    ) -> Result<(), NotBrought> {
        // Synced before anything is ordered.
        self.note(purchase.clone())?;
        let job = requester.submit(&prepared, &quote).await.map_err(|error| self.failed(&error))?;
        tracing::info!("task {} is bought on the market for {}: {job}", purchase.task, quote.total);
        self.note(Purchase { job: Some(job), ..purchase })
    }

    /// Waits until the market has come to an end with a task, as whoever looks after the orders writes it down.
    async fn wait(&self, task: TaskId) -> Result<(), NotBrought> {
        loop {
            let purchase = self.book.of(task);
            if purchase.over {
                return Ok(());
            }
            if purchase.job.is_none() {
                return Err(NotBrought::Later("the market gave it back, and the money".to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Takes down which of the orders that stand the market has come to an end with.
    async fn note_ends(&self) -> Result<(), NotBrought> {
        let standing = self.book.all().into_iter().filter(|purchase| !purchase.over);
        let standing: Vec<_> = standing.filter_map(|purchase| Some((purchase.bought()?, purchase))).collect();
        if standing.is_empty() {
            return Ok(());
        }
        let market = self.market().await?;
        for some in standing.chunks(VIEWS_AT_ONCE) {
            let tasks: Vec<TaskId> = some.iter().map(|((_, task), _)| *task).collect();
            let tasks = market.hub.view_tasks(&tasks).await.map_err(|error| self.failed(&error.into()))?;
            for (((deal, _), purchase), task) in some.iter().zip(tasks) {
                self.note_end(&market, purchase, (*deal, task.status)).await?;
            }
        }
        Ok(())
    }

    /// Takes down what the market has come to with a task, if it has.
    async fn note_end(
        &self,
        market: &Market,
        purchase: &Purchase,
        (deal, status): (DealId, TaskStatus),
    ) -> Result<(), NotBrought> {
        let paid = match status {
            TaskStatus::Completed => {
                let deal = market.hub.view_deal(deal).await.map_err(|error| self.failed(&error.into()))?;
                Some(deal.and_then(|deal| deal.price()).unwrap_or_default())
            }
            TaskStatus::Failed => None,
            _ => return Ok(()),
        };
        self.book.end(purchase, paid).map_err(|error| unwritten(&error))?;
        self.tell();
        Ok(())
    }

    async fn fetch(&self, task: TaskId, pack: &Path) -> Result<Digest, NotBrought> {
        let (market, purchase) = (self.market().await?, self.book.of(task));
        let Some(job) = purchase.job else { return Err(NotBrought::Later("it is not ordered any more".to_owned())) };
        let job = Job::open(&market, job).await.map_err(|error| self.failed(&error))?;
        let brought = job.fetch_pack(pack).await.map_err(|error| self.failed(&error))?;
        brought.map_err(|why| NotBrought::Later(format!("the market's result cannot be had: {why}")))
    }

    /// Says what is left there; the market, which answered.
    async fn look_at_account(&self) -> Result<Market, NotBrought> {
        self.tell();
        let market = self.market().await?;
        let account = market.account(self.account).await.map_err(|error| self.failed(&error))?;
        let left = account.stake.checked_add(account.tokens).unwrap_or(Amount::MAX);
        self.board.say(|status| status.left = Some(left));
        Ok(market)
    }

    async fn sweep(self: &Arc<Self>) -> Result<(), NotBrought> {
        let market = self.look_at_account().await?;
        let tasks: Vec<TaskId> = self.book.all().iter().map(|purchase| purchase.task).collect();
        let mut over = Vec::new();
        for some in tasks.chunks(VIEWS_AT_ONCE) {
            let here = self.lab.view_tasks(some).await;
            let here = here.map_err(|error| NotBrought::Later(format!("the pool's own ledger: {}", chain(&error))))?;
            over.extend(here.iter().filter(|task| task.status.is_final()).map(|task| task.id));
        }
        // While an order is made nothing is forgotten; it is looked again.
        let Some(turn) = self.turns.now() else { return Ok(()) };
        let inner = Arc::clone(self);
        let (_, forgotten) = turn.finish(async move { inner.forget(market, over).await }).await?;
        forgotten
    }

    /// Forgets those of these tasks, which are over here, for which no order stands: what one costs that does is to be known.
    async fn forget(&self, market: Market, over: Vec<TaskId>) -> Result<(), NotBrought> {
        let mut unknown = Vec::new();
        for purchase in over.into_iter().map(|task| self.book.of(task)) {
            if purchase.over {
                self.book.forget(purchase.task).map_err(|error| unwritten(&error))?;
            } else if purchase.job.is_none() {
                unknown.push(purchase);
            }
        }
        if !unknown.is_empty() {
            let requester = Requester::new(market, &self.wallet_file).map_err(|error| self.failed(&error))?;
            // Before a crash or an error it may have been ordered.
            let index = order::settled_index(&requester).await.map_err(|error| self.failed(&error))?;
            for purchase in unknown {
                let record = order::record_of(&index, self.account, &purchase);
                let job = order::withdraw(&requester, record).await.map_err(|error| self.failed(&error))?;
                match job {
                    Some(_) => self.note(Purchase { job, ..purchase })?,
                    None => self.book.forget(purchase.task).map_err(|error| unwritten(&error))?,
                }
            }
        }
        self.tell();
        Ok(())
    }

    /// Writes a purchase down and syncs.
    fn note(&self, purchase: Purchase) -> Result<(), NotBrought> {
        self.book.put(purchase).map_err(|error| unwritten(&error))?;
        self.tell();
        Ok(())
    }

    /// Says what stands in the book.
    fn tell(&self) {
        let (sums, all) = (self.book.sums(), self.book.all());
        let under_way = all.iter().filter(|purchase| purchase.job.is_some() && !purchase.over).count() as u64;
        self.board.set_begun(self.book.begun());
        self.board.say(|status| {
            (status.completed, status.failed, status.spent) = (sums.completed, sums.failed, sums.spent);
            status.under_way = under_way;
        });
    }
}

fn unwritten(error: &DbError) -> NotBrought {
    NotBrought::Later(format!("what is bought cannot be written down, so nothing is: {}", chain(error)))
}
