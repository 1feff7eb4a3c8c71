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
use gristmill_requester::{Job, JobIndex, Network as Market, Place, Requester, RequesterError, chain};
use gristmill_result::Digest;
use gristmill_types::{Address, Amount, OrderHash, TaskId, TaskStatus, Trust};
use gristmill_worker::fetch::Fetcher;
use gristmill_worker::plan::Plan;
use gristmill_worker::{Elsewhere, NotBrought};

use super::book::{Book, Purchase};
use super::{is_away, order};

/// The market is waited for so many T of the task; past that the lease is given back, before the pool takes it.
const WAIT_RATIO: u32 = 5;
/// How often it is asked whether a task is done.
const POLL: Duration = Duration::from_millis(500);
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
    buying: tokio::sync::Mutex<()>,
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
        let (market, buying, is_away) = (Mutex::new(market), tokio::sync::Mutex::new(()), AtomicBool::new(false));
        let inner = Inner { place, wallet_file, account, max_price, trust, lab, board, book, market, is_away, buying };
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

    /// Looks after book and account for ever.
    pub async fn keep_sweeping(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.sweep().await;
        }
    }

    /// Looks once at the account, at what the market has done, and at what is over here.
    pub async fn sweep(&self) {
        let swept = self.0.sweep().await;
        let is_away = swept.is_err();
        let was_away = self.0.is_away.swap(is_away, Ordering::Relaxed);
        match swept {
            Err(error) => {
                tracing::debug!(why = %error, "what was bought could not be looked after");
                self.0.board.say(|status| status.trouble = Some(error.to_string()));
            }
            Ok(()) if was_away => self.0.board.say(|status| status.trouble = None),
            Ok(()) => {}
        }
    }

    async fn bring_in_time(&self, plan: &Plan, fetcher: &Fetcher, pack: &Path) -> Result<Digest, NotBrought> {
        let (inner, ordered, files) = (Arc::clone(&self.0), plan.clone(), fetcher.clone());
        // Not to be dropped in the middle of an order.
        let ordering = tokio::spawn(async move { inner.order(&ordered, &files).await });
        match ordering.await {
            Ok(ordered) => ordered?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(NotBrought::Cancelled),
        }
        self.0.wait(plan.task).await?;
        self.0.fetch(plan.task, pack).await
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

    /// Sees to it that the market has one order for this task.
    async fn order(&self, plan: &Plan, fetcher: &Fetcher) -> Result<(), NotBrought> {
        let _one_at_a_time = self.buying.lock().await;
        let purchase = self.book.of(plan.task);
        if purchase.job.is_some() {
            return Ok(());
        }
        if purchase.failures >= FAILURES_MAX {
            return Err(NotBrought::Never(format!("the market gave it back {} times", purchase.failures)));
        }
        let market = self.market().await?;
        let requester = Requester::new(market.clone(), &self.wallet_file).map_err(|error| self.failed(&error))?;
        // Written down already: before a crash it may have been ordered.
        if self.book.has(plan.task)
            && let Some(job) = self.find(&requester, &purchase).await.map_err(|error| self.failed(&error))?
        {
            tracing::info!("task {} was ordered on the market before: {job}", plan.task);
            return self.note(Purchase { job: Some(job), ..purchase });
        }
        let terms = (&purchase, self.trust, self.max_price);
        let prepared = order::prepare(plan, fetcher, (&self.lab, &market), &requester, terms).await?;
        let quote = requester.quote(&prepared).await.map_err(|error| self.failed(&error))?;
        order::check(&quote, self.max_price)?;
        // Synced before anything is ordered.
        self.note(purchase.clone())?;
        let job = requester.submit(&prepared, &quote).await.map_err(|error| self.failed(&error))?;
        tracing::info!("task {} is bought on the market for {}: {job}", plan.task, quote.total);
        self.note(Purchase { job: Some(job), ..purchase })
    }

    /// The order of this purchase, if the market's ledger has it; it has a pool then.
    async fn find(&self, requester: &Requester, purchase: &Purchase) -> Result<Option<OrderHash>, RequesterError> {
        requester.settle().await?;
        let network = requester.network();
        let index = JobIndex::read(&network.hub).await?;
        let is_it = |record: &&gristmill_requester::RequestRecord| {
            record.signed.as_ref().is_some_and(|signed| signed.order.salt == purchase.salt)
        };
        let Some(record) = index.jobs(Some(self.account)).into_iter().find(is_it) else { return Ok(None) };
        if let Some(rest) = Job::of(network, record, None).await?.unmatched() {
            requester.match_rest(&rest).await?;
        }
        Ok(Some(record.hash))
    }

    /// Waits until the market has come to an end with a task.
    async fn wait(&self, task: TaskId) -> Result<(), NotBrought> {
        loop {
            let purchase = self.book.of(task);
            if purchase.over {
                return Ok(());
            }
            if purchase.job.is_none() {
                return Err(NotBrought::Later("the market gave it back, and the money".to_owned()));
            }
            // One that does not answer is asked again until the patience with it ends.
            if let Ok(market) = self.market().await
                && let Err(error) = self.look(&market, &purchase).await
            {
                tracing::debug!(%task, why = %error, "the market does not say how far a task is");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Takes down what the market has come to with a task, if it has.
    async fn look(&self, market: &Market, purchase: &Purchase) -> Result<(), NotBrought> {
        let Some((deal, bought)) = purchase.bought().filter(|_| !purchase.over) else { return Ok(()) };
        let failed = |error| self.failed(&RequesterError::from(error));
        let status = market.hub.view_task(bought).await.map_err(failed)?.status;
        let paid = match status {
            TaskStatus::Completed => {
                let deal = market.hub.view_deal(deal).await.map_err(failed)?;
                Some(deal.and_then(|deal| deal.price()).unwrap_or_default())
            }
            TaskStatus::Failed => None,
            _ => return Ok(()),
        };
        self.book.end(purchase.task, paid).map_err(|error| unwritten(&error))?;
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

    async fn sweep(&self) -> Result<(), NotBrought> {
        let purchases = self.book.all();
        let tasks: Vec<TaskId> = purchases.iter().map(|purchase| purchase.task).collect();
        let here = self.lab.view_tasks(&tasks).await;
        let here = here.map_err(|error| NotBrought::Later(format!("the pool's own ledger: {}", chain(&error))))?;
        for (purchase, here) in purchases.iter().zip(here) {
            // Whose order is not over there is kept, so that what it costs is known.
            if here.status.is_final() && (purchase.over || purchase.job.is_none()) && self.buying.try_lock().is_ok() {
                self.book.forget(purchase.task).map_err(|error| unwritten(&error))?;
            }
        }
        self.tell();
        let market = self.market().await?;
        let account = market.account(self.account).await.map_err(|error| self.failed(&error))?;
        let left = account.stake.checked_add(account.tokens).unwrap_or(Amount::MAX);
        self.board.say(|status| status.left = Some(left));
        for purchase in &self.book.all() {
            self.look(&market, purchase).await?;
        }
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
