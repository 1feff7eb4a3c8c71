//! The one task that owns an outbox's state: it stores, sends, and asks what became of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use gristmill_wallet::Wallet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::book::{Book, Flight, LedgerName};
use super::transaction::{Signer, Verdict, call_of, verdict, with_margin};
use super::{Intent, OutboxConfig, OutboxError, Outcome, TxResult, blocking};
use crate::ledger::{Answer, Call, Fees, LedgerError, LedgerPort, Receipt};
use crate::revert::Revert;

/// The pause after the ledger could not be reached, in milliseconds; doubled up to [`PAUSE_MS_MAX`].
const PAUSE_MS: u64 = 20;
const PAUSE_MS_MAX: u64 = 2_000;
/// How often the user is told that the account cannot pay for gas.
const POVERTY_WARNING: Duration = Duration::from_secs(60);
/// Fees are asked again after so long.
const FEES_FOR: Duration = Duration::from_secs(5);
/// Signed transactions handed in at once, and their bytes: servers bound both.
const SEND_MAX: usize = 100;
const SEND_BYTES_MAX: usize = 2 << 20;
/// Transactions that offer more at once: the others wait for these, so their own offers need not be changed.
const OUTBID_MAX: usize = 32;
/// Everything ever signed at a nonce: each attempt is one more hash to look for.
const ATTEMPTS_MAX: usize = 32;

pub(super) type Settled = oneshot::Sender<Result<Outcome, OutboxError>>;
pub(super) type Stored = oneshot::Sender<Result<(), OutboxError>>;

/// An intent and who waits for it.
pub(super) struct Submission {
    intent: Intent,
    waiter: Waiter,
    /// An earlier try that had no effect does not count.
    again: bool,
}

enum Waiter {
    Settled(Settled),
    Stored(Stored),
}

impl Submission {
    pub fn settled(settled: Settled, again: bool) -> impl FnOnce(Intent) -> Self {
        move |intent| Self { intent, waiter: Waiter::Settled(settled), again }
    }

    pub fn stored(stored: Stored) -> impl FnOnce(Intent) -> Self {
        |intent| Self { intent, waiter: Waiter::Stored(stored), again: false }
    }
}

impl Waiter {
    fn refuse(self, error: OutboxError) {
        match self {
            Self::Settled(settled) => drop(settled.send(Err(error))),
            Self::Stored(stored) => drop(stored.send(Err(error))),
        }
    }
}

/// What else may be asked of an engine.
pub(super) enum Control {
    Wait { key: String, reply: Settled },
    Abandon { key: String, reason: String, reply: Stored },
    Count { reply: oneshot::Sender<usize> },
    Stop,
}

/// A flight and what this process knows of it.
struct Live {
    flight: Flight,
    waiters: Vec<Settled>,
    phase: Phase,
    /// Since when its nonce is used and it has no receipt, and the newest block then.
    missing_since: Option<(Instant, u64)>,
    /// Since when the ledger has the newest attempt.
    taken_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be sent, now or after a pause.
    Unsent,
    /// The ledger said that it has it.
    Sent { at: Instant },
}

pub(super) struct Engine {
    book: Book,
    wallet: Wallet,
    ledger: Arc<dyn LedgerPort>,
    config: OutboxConfig,
    chain_id: u64,
    fees: Fees,
    fees_at: Instant,
    /// INVARIANT: each nonce below it was reserved durably or used before; none of them is reserved again.
    next_nonce: u64,
    /// The ledger's own count when it was last asked: every nonce below it is used.
    used: u64,
    /// INVARIANT: the same as the durable flights.
    live: BTreeMap<u64, Live>,
    by_key: HashMap<String, u64>,
    submissions: mpsc::Receiver<Submission>,
    control: mpsc::Receiver<Control>,
    next_poll: Instant,
    next_send: Instant,
    pause_ms: u64,
    /// Blocks after a transaction's own before it counts.
    confirmations: u64,
    /// When the user was last told that the account has no coins.
    warned: Option<Instant>,
    /// Outcomes that are [`TxResult::Displaced`].
    displaced: Arc<AtomicU64>,
}

impl Engine {
    /// Ties the book to the ledger and takes up what it holds.
    pub async fn new(
        book: Book,
        wallet: Wallet,
        ledger: Arc<dyn LedgerPort>,
        config: OutboxConfig,
        submissions: mpsc::Receiver<Submission>,
        control: mpsc::Receiver<Control>,
    ) -> Result<Self, OutboxError> {
        let chain_id = ledger.chain_id().await?;
        let genesis = ledger.blocks(vec![0]).await?.into_iter().flatten().next().map(|block| block.hash);
        let name = LedgerName { chain_id, genesis: genesis.unwrap_or_default() };
        let opened = book.clone();
        let contents = blocking(move || {
            opened.claim_ledger(&name)?;
            opened.contents()
        })
        .await?;
        let used = ledger.nonce(wallet.address(), false).await?;
        let pending = ledger.nonce(wallet.address(), true).await?.max(used);
        let fees = ledger.fees().await?;
        let finality = ledger.finality().await?;
        let config = OutboxConfig { poll_ms: config.poll_ms.max(finality.poll_ms), ..config };
        if let Some(reserved) = contents.next_nonce {
            let confirmed = contents.flights.first().map_or(reserved, |flight| flight.nonce);
            if used < confirmed {
                return Err(OutboxError::WentBack { address: wallet.address(), confirmed, found: used });
            }
        }
        let by_key = contents.flights.iter().map(|flight| (flight.key.clone(), flight.nonce)).collect();
        let live = contents.flights.into_iter().map(|flight| (flight.nonce, Live::new(flight))).collect();
        let now = Instant::now();
        let mut engine = Self {
            confirmations: config.confirmations.unwrap_or(finality.confirmations),
            warned: None,
            displaced: Arc::default(),
            book,
            wallet,
            ledger,
            config,
            chain_id,
            fees,
            fees_at: now,
            next_nonce: contents.next_nonce.unwrap_or(0).max(pending),
            used,
            live,
            by_key,
            submissions,
            control,
            next_poll: now,
            next_send: now,
            pause_ms: PAUSE_MS,
        };
        engine.poll().await?;
        engine.drop_dead_head().await?;
        Ok(engine)
    }

    /// Counts the transactions whose numbers another program used.
    pub fn displaced(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.displaced)
    }

    /// Works until it is told to stop, all handles are gone, or the disk fails.
    pub async fn run(mut self, fate: Arc<OnceLock<OutboxError>>) {
        if let Err(error) = self.work().await {
            tracing::error!(address = %self.wallet.address(), %error, "the outbox stopped");
            let _ = fate.set(error);
        }
    }

    async fn work(&mut self) -> Result<(), OutboxError> {
        while let Some(batch) = self.gather().await? {
            self.admit(batch).await?;
            self.send().await?;
            self.poll().await?;
        }
        Ok(())
    }

    /// Waits for something to do, and takes all submissions that came meanwhile. `None` when it is time to stop.
    async fn gather(&mut self) -> Result<Option<Vec<Submission>>, OutboxError> {
        let room = self.config.in_flight_max.saturating_sub(self.live.len()).min(self.config.batch_max.max(1));
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            control = self.control.recv() => match control {
                None | Some(Control::Stop) => return Ok(None),
                Some(control) => self.obey(control).await?,
            },
            submission = self.submissions.recv(), if room > 0 => match submission {
                None => return Ok(None),
                Some(submission) => batch.push(submission),
            },
            () = tokio::time::sleep_until(self.next_poll), if !self.live.is_empty() => {}
        }
        while batch.len() < room
            && let Ok(submission) = self.submissions.try_recv()
        {
            batch.push(submission);
        }
        Ok(Some(batch))
    }

    async fn obey(&mut self, control: Control) -> Result<(), OutboxError> {
        match control {
            Control::Count { reply } => drop(reply.send(self.live.len())),
            Control::Wait { key, reply } => match self.live_of(&key) {
                Some(live) => live.waiters.push(reply),
                None => {
                    let known = self.outcome(&key).await?;
                    drop(reply.send(known.ok_or(OutboxError::UnknownKey { key })));
                }
            },
            Control::Abandon { key, reason, reply } => match self.by_key.get(&key).copied() {
                Some(nonce) => {
                    self.fill(&[(nonce, reason)]).await?;
                    drop(reply.send(Ok(())));
                }
                None => drop(reply.send(Err(OutboxError::UnknownKey { key }))),
            },
            Control::Stop => {}
        }
        Ok(())
    }

    fn live_of(&mut self, key: &str) -> Option<&mut Live> {
        let nonce = self.by_key.get(key)?;
        self.live.get_mut(nonce)
    }

    async fn outcome(&self, key: &str) -> Result<Option<Outcome>, OutboxError> {
        let (book, key) = (self.book.clone(), key.to_owned());
        blocking(move || book.outcome(&key)).await
    }

    /// Reserves nonces for the new ones among `batch`, durably and all at once. The others join what they repeat.
    async fn admit(&mut self, batch: Vec<Submission>) -> Result<(), OutboxError> {
        let fresh = self.sort_out_known(batch).await?;
        if fresh.is_empty() {
            return Ok(());
        }
        let priced = self.price(fresh).await;
        if priced.is_empty() {
            return Ok(());
        }
        self.refresh_fees().await;
        let (first, signer, book) = (self.next_nonce, self.signer(), self.book.clone());
        let intents: Vec<(Intent, u64)> = priced.iter().map(|(work, gas)| (work.intent.clone(), *gas)).collect();
        let flights = blocking(move || {
            let flights: Vec<Flight> = (first..)
                .zip(&intents)
                .map(|(nonce, (intent, gas))| Flight {
                    nonce,
                    key: intent.key.clone(),
                    attempts: vec![signer.sign(nonce, intent, *gas)],
                    abandoned: None,
                })
                .collect();
            book.reserve(&flights, first + flights.len() as u64)?;
            Ok(flights)
        })
        .await?;
        self.next_nonce += flights.len() as u64;
        for (flight, (work, _)) in flights.into_iter().zip(priced) {
            self.by_key.insert(flight.key.clone(), flight.nonce);
            let nonce = flight.nonce;
            self.live.insert(nonce, Live::new(flight));
            for waiter in work.waiters {
                self.join(nonce, waiter);
            }
        }
        Ok(())
    }

    /// Answers, or joins to what is under way, the submissions that repeat an earlier one.
    async fn sort_out_known(&mut self, batch: Vec<Submission>) -> Result<Vec<Work>, OutboxError> {
        let mut fresh: Vec<Work> = Vec::new();
        for Submission { intent, waiter, again } in batch {
            if let Some(&nonce) = self.by_key.get(&intent.key) {
                self.join(nonce, waiter);
            } else if let Some(same) = fresh.iter_mut().find(|work| work.intent.key == intent.key) {
                same.waiters.push(waiter);
            } else if let Some(outcome) = self.book.outcome(&intent.key)?
                && !(again && outcome.result != TxResult::Success)
            {
                match waiter {
                    Waiter::Settled(settled) => drop(settled.send(Ok(outcome))),
                    Waiter::Stored(stored) => drop(stored.send(Ok(()))),
                }
            } else {
                fresh.push(Work { intent, waiters: vec![waiter] });
            }
        }
        Ok(fresh)
    }

    fn join(&mut self, nonce: u64, waiter: Waiter) {
        match (waiter, self.live.get_mut(&nonce)) {
            (Waiter::Settled(settled), Some(live)) => live.waiters.push(settled),
            (Waiter::Stored(stored), _) => drop(stored.send(Ok(()))),
            (Waiter::Settled(settled), None) => drop(settled.send(Err(OutboxError::Stopped))),
        }
    }

    /// Finds the gas limit of each; those that would be refused are refused now.
    async fn price(&self, works: Vec<Work>) -> Vec<(Work, u64)> {
        let calls = |wanted: &dyn Fn(&Intent) -> bool| -> Vec<Call> {
            let wanted = works.iter().map(|work| &work.intent).filter(|intent| wanted(intent));
            wanted.map(|intent| call_for(self.wallet.address(), intent)).collect()
        };
        let (estimated, tried) = (calls(&|intent| intent.gas.is_none()), calls(&is_tried));
        let estimates = self.ask(estimated, |calls| self.ledger.estimate(calls)).await;
        let tries = self.ask(tried, |calls| self.ledger.call(calls, None)).await;
        let (mut estimates, mut tries) = (estimates.into_iter(), tries.into_iter());
        let mut priced = Vec::with_capacity(works.len());
        for work in works {
            let gas = match work.intent.gas {
                None => estimates.next().unwrap_or(Err(missing())).map(with_margin),
                Some(gas) if is_tried(&work.intent) => tries.next().unwrap_or(Err(missing())).map(|_| gas),
                Some(gas) => Ok(gas),
            };
            match gas {
                Ok(gas) => priced.push((work, gas)),
                Err(error) => work.refuse(error),
            }
        }
        priced
    }

    /// One request for all of `calls`; an outage is everybody's answer.
    async fn ask<'a, T>(
        &'a self,
        calls: Vec<Call>,
        request: impl FnOnce(Vec<Call>) -> Answer<'a, Vec<Result<T, LedgerError>>>,
    ) -> Vec<Result<T, LedgerError>> {
        let count = calls.len();
        if count == 0 {
            return Vec::new();
        }
        request(calls).await.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
    }

    async fn refresh_fees(&mut self) {
        if self.fees_at.elapsed() < FEES_FOR {
            return;
        }
        self.fees_at = Instant::now();
        match self.ledger.fees().await {
            Ok(fees) => self.fees = fees,
            Err(error) => tracing::debug!(%error, "the old fees stay"),
        }
    }

    /// Hands in what is not sent yet, in the order of the nonces.
    async fn send(&mut self) -> Result<(), OutboxError> {
        let now = Instant::now();
        if now < self.next_send {
            return Ok(());
        }
        let mut unsent: VecDeque<(u64, Bytes)> = self
            .live
            .values()
            .filter(|live| live.phase == Phase::Unsent && live.flight.nonce >= self.used)
            .filter_map(|live| Some((live.flight.nonce, live.flight.attempts.last()?.raw.clone())))
            .collect();
        let mut dead = Vec::new();
        let mut later = false;
        while !unsent.is_empty() && !later {
            let chunk = take_chunk(&mut unsent);
            let answers = match self.ledger.send(chunk.iter().map(|(_, raw)| raw.clone()).collect()).await {
                Ok(answers) => answers,
                Err(error) => {
                    tracing::debug!(%error, "sending later");
                    later = true;
                    break;
                }
            };
            for ((nonce, _), answer) in chunk.iter().zip(answers) {
                let moves_coins = answer.is_err() && self.moves_coins(*nonce);
                self.warn_of_poverty(answer.as_ref().err());
                match answer.map_or_else(|error| verdict(&error, moves_coins), |_| Verdict::Taken) {
                    Verdict::Taken => self.set_phase(*nonce, Phase::Sent { at: now }),
                    Verdict::Later => later = true,
                    Verdict::Never(reason) => dead.push((*nonce, reason)),
                }
            }
        }
        if later {
            self.pause();
        }
        if dead.is_empty() {
            return Ok(());
        }
        self.bury(dead).await
    }

    fn moves_coins(&self, nonce: u64) -> bool {
        let attempt = self.live.get(&nonce).and_then(|live| live.flight.attempts.last());
        let call = attempt.and_then(|attempt| call_of(self.wallet.address(), &attempt.raw));
        call.is_some_and(|call| !call.value.is_zero())
    }

    /// Fills the nonces of transactions that the ledger will never take. When even the filler is refused there is nothing
    /// better than to try again.
    async fn bury(&mut self, dead: Vec<(u64, String)>) -> Result<(), OutboxError> {
        let mut fresh = Vec::new();
        for (nonce, reason) in dead {
            let filled = self.live.get(&nonce).is_some_and(|live| live.flight.abandoned.is_some());
            let key = self.live.get(&nonce).map(|live| live.flight.key.as_str());
            tracing::warn!(nonce, key, reason, filled, "a transaction was refused for good");
            if filled {
                self.pause();
            } else {
                fresh.push((nonce, reason));
            }
        }
        self.fill(&fresh).await
    }

    fn pause(&mut self) {
        self.next_send = Instant::now() + Duration::from_millis(self.pause_ms);
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
    }

    fn set_phase(&mut self, nonce: u64, phase: Phase) {
        if let Some(live) = self.live.get_mut(&nonce) {
            live.phase = phase;
            if let Phase::Sent { at } = phase {
                live.taken_at.get_or_insert(at);
            }
        }
    }

    fn signer(&self) -> Signer {
        let Self { wallet, chain_id, fees, config, .. } = self;
        Signer { wallet: wallet.clone(), chain_id: *chain_id, fees: *fees, price_max: config.gas_price_max }
    }

    /// Nothing goes on until somebody sends the account coins, and only its owner can.
    fn warn_of_poverty(&mut self, error: Option<&LedgerError>) {
        let is_poor = error.is_some_and(super::transaction::is_poor);
        if is_poor && self.warned.is_none_or(|at| at.elapsed() >= POVERTY_WARNING) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                address = %self.wallet.address(), chain = self.chain_id,
                "this account has too few coins to pay for gas: send it some; what waits goes on then"
            );
        }
    }

    /// Signs a transfer of nothing at each of these nonces, stores it, and has it sent instead.
    async fn fill(&mut self, dead: &[(u64, String)]) -> Result<(), OutboxError> {
        let mut amended = Vec::new();
        for (nonce, reason) in dead {
            let Some(live) = self.live.get(nonce) else { continue };
            if live.flight.abandoned.is_some() {
                continue;
            }
            let mut flight = live.flight.clone();
            flight.attempts.push(self.signer().sign_filler(*nonce, live.flight.attempts.last()));
            flight.abandoned = Some(reason.clone());
            amended.push(flight);
        }
        if amended.is_empty() {
            return Ok(());
        }
        self.amend(amended).await
    }

    /// Stores new attempts and has them sent.
    async fn amend(&mut self, amended: Vec<Flight>) -> Result<(), OutboxError> {
        let (book, stored) = (self.book.clone(), amended.clone());
        blocking(move || book.amend(&stored)).await?;
        for flight in amended {
            if let Some(live) = self.live.get_mut(&flight.nonce) {
                (live.flight, live.phase, live.taken_at) = (flight, Phase::Unsent, None);
            }
        }
        Ok(())
    }

    /// Signs what stays out of the blocks again, with a higher offer.
    async fn outbid(&mut self) -> Result<(), OutboxError> {
        let patience = Duration::from_millis(self.config.outbid_ms);
        let is_stuck = |live: &&Live| {
            live.taken_at.is_some_and(|at| at.elapsed() >= patience) && live.flight.attempts.len() < ATTEMPTS_MAX
        };
        let stuck: Vec<Flight> = self
            .live
            .range(self.used..)
            .map(|(_, live)| live)
            .take(OUTBID_MAX)
            .filter(is_stuck)
            .map(|live| live.flight.clone())
            .collect();
        if stuck.is_empty() {
            return Ok(());
        }
        self.refresh_fees().await;
        let signer = self.signer();
        let mut amended = Vec::new();
        for mut flight in stuck {
            let Some(better) = flight.attempts.last().and_then(|attempt| signer.outbid(attempt)) else { continue };
            tracing::info!(
                nonce = flight.nonce,
                key = flight.key,
                "a transaction stays out of the blocks: offering more for gas"
            );
            flight.attempts.push(better);
            amended.push(flight);
        }
        if amended.is_empty() {
            return Ok(());
        }
        self.amend(amended).await
    }

    /// After a restart: the first transaction that is not in a block runs on exactly the newest state, so an estimate that
    /// says it would be refused is the truth, and nobody waits for a refusal.
    async fn drop_dead_head(&mut self) -> Result<(), OutboxError> {
        let Some(live) = self.live.values().find(|live| live.flight.nonce >= self.used) else { return Ok(()) };
        let nonce = live.flight.nonce;
        let attempt = live.flight.attempts.last().filter(|attempt| !attempt.filler);
        let Some(call) = attempt.and_then(|attempt| call_of(self.wallet.address(), &attempt.raw)) else {
            return Ok(());
        };
        match self.ledger.estimate(vec![call]).await.as_deref() {
            Ok([Err(error)]) if error.revert().is_some() => self.fill(&[(nonce, error.to_string())]).await,
            _ => Ok(()),
        }
    }

    /// Asks which nonces are used, and settles them.
    async fn poll(&mut self) -> Result<(), OutboxError> {
        let now = Instant::now();
        if self.live.is_empty() || now < self.next_poll {
            return Ok(());
        }
        self.next_poll = now + Duration::from_millis(self.config.poll_ms.max(1));
        match self.ledger.nonce(self.wallet.address(), false).await {
            Ok(used) if used > self.used => {
                // What waited for those before it may go now.
                (self.used, self.next_send, self.pause_ms) = (used, now, PAUSE_MS);
            }
            Ok(used) if used < self.used && self.confirmations > 0 => self.step_back(used),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "asking later");
                self.next_poll = now + Duration::from_millis(self.pause_ms.max(self.config.poll_ms));
                return Ok(());
            }
        }
        self.resend_late(now);
        self.outbid().await?;
        let outcomes = self.collect().await;
        if outcomes.is_empty() {
            return Ok(());
        }
        let (book, stored, outcomes_max) = (self.book.clone(), outcomes.clone(), self.config.outcomes_max);
        blocking(move || book.settle(&stored, outcomes_max)).await?;
        for outcome in outcomes {
            if outcome.result == TxResult::Displaced {
                self.displaced.fetch_add(1, Ordering::Relaxed);
                let (address, nonce, key) = (self.wallet.address(), outcome.nonce, &outcome.key);
                tracing::error!(%address, nonce, key, "another program sends transactions with this key: stop one of the two");
            }
            self.by_key.remove(&outcome.key);
            let Some(live) = self.live.remove(&outcome.nonce) else { continue };
            for waiter in live.waiters {
                let _ = waiter.send(Ok(outcome.clone()));
            }
        }
        Ok(())
    }

    /// A reorganisation took transactions out of the blocks: they are sent again. What was settled lies deeper than that.
    fn step_back(&mut self, used: u64) {
        let unsettled = self.live.keys().next().copied().unwrap_or(self.next_nonce);
        let undone = used.max(unsettled);
        tracing::info!(from = undone, to = self.used, "the ledger reorganised: sending again what it dropped");
        for (_, live) in self.live.range_mut(undone..) {
            (live.phase, live.missing_since) = (Phase::Unsent, None);
        }
        self.used = undone;
    }

    fn resend_late(&mut self, now: Instant) {
        let patience = Duration::from_millis(self.config.resend_ms);
        for live in self.live.values_mut().filter(|live| live.flight.nonce >= self.used) {
            if matches!(live.phase, Phase::Sent { at } if now.duration_since(at) >= patience) {
                live.phase = Phase::Unsent;
            }
        }
    }

    /// The outcomes of the flights whose nonce is used, as far as receipts are there.
    async fn collect(&mut self) -> Vec<Outcome> {
        let used: Vec<&Live> = self.live.range(..self.used).map(|(_, live)| live).collect();
        let hashes: Vec<_> =
            used.iter().flat_map(|live| live.flight.attempts.iter().map(|attempt| attempt.hash)).collect();
        if hashes.is_empty() {
            return Vec::new();
        }
        let head = if self.confirmations > 0 { self.ledger.head().await } else { Ok(u64::MAX) };
        let (receipts, head) = match (self.ledger.receipts(hashes).await, head) {
            (Ok(receipts), Ok(head)) => (receipts, head),
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "asking for receipts later");
                return Vec::new();
            }
        };
        let mut found: HashMap<_, Receipt> =
            receipts.into_iter().flatten().map(|receipt| (receipt.tx_hash, receipt)).collect();
        let nonces: Vec<u64> = used.iter().map(|live| live.flight.nonce).collect();
        let (patience, depth) = (Duration::from_millis(self.config.displaced_ms), self.confirmations);
        let mut outcomes = Vec::new();
        for nonce in nonces {
            let Some(live) = self.live.get_mut(&nonce) else { continue };
            let attempts = live.flight.attempts.iter();
            let receipt = attempts.clone().find_map(|attempt| found.remove(&attempt.hash));
            match receipt {
                Some(receipt) if receipt.block.saturating_add(depth) > head => live.missing_since = None,
                Some(receipt) => {
                    let flight = live.flight.clone();
                    outcomes.push(self.conclude(&flight, receipt).await);
                }
                None => outcomes.extend(live.displaced(patience, depth, head)),
            }
        }
        outcomes
    }

    async fn conclude(&self, flight: &Flight, receipt: Receipt) -> Outcome {
        let attempt = flight.attempts.iter().find(|attempt| attempt.hash == receipt.tx_hash);
        let result = match attempt {
            Some(attempt) if attempt.filler => TxResult::Abandoned(flight.abandoned.clone().unwrap_or_default()),
            _ if receipt.success => TxResult::Success,
            Some(attempt) => TxResult::Reverted(self.why(&attempt.raw, receipt.block).await),
            None => TxResult::Displaced,
        };
        Outcome {
            key: flight.key.clone(),
            nonce: flight.nonce,
            tx_hash: receipt.tx_hash,
            block: receipt.block,
            gas_used: receipt.gas_used,
            contract: receipt.contract,
            result,
        }
    }

    /// Receipts do not say why: asks for the same call on the state after that block, which nearly always gives the same
    /// refusal.
    async fn why(&self, raw: &Bytes, block: u64) -> Revert {
        let silent = || Revert::decode(Bytes::new());
        let Some(call) = call_of(self.wallet.address(), raw) else { return silent() };
        for at in [Some(block), None] {
            if let Ok(answers) = self.ledger.call(vec![call.clone()], at).await
                && let Some(Err(error)) = answers.into_iter().next()
                && let Some(revert) = error.revert()
            {
                return revert.clone();
            }
        }
        silent()
    }
}

/// The first of `unsent` that go into one request.
fn take_chunk(unsent: &mut VecDeque<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while let Some((_, raw)) = unsent.front() {
        bytes += raw.len();
        if !chunk.is_empty() && (chunk.len() == SEND_MAX || bytes > SEND_BYTES_MAX) {
            break;
        }
        chunk.extend(unsent.pop_front());
    }
    chunk
}

/// An intent that is new, and all who wait for it.
struct Work {
    intent: Intent,
    waiters: Vec<Waiter>,
}

impl Work {
    fn refuse(self, error: LedgerError) {
        let error = match error {
            LedgerError::Revert(revert) => OutboxError::WouldRevert { key: self.intent.key, revert: Box::new(revert) },
            error => OutboxError::Ledger(error),
        };
        self.waiters.into_iter().for_each(|waiter| waiter.refuse(error.clone()));
    }
}

/// Whether an intent is tried before it is stored. One whose gas is estimated is tried by that.
fn is_tried(intent: &Intent) -> bool {
    intent.preflight && intent.gas.is_some()
}

fn call_for(from: Address, intent: &Intent) -> Call {
    let Intent { to, data, value, gas, .. } = intent.clone();
    Call { from: Some(from), to, data, value, gas }
}

fn missing() -> LedgerError {
    LedgerError::Malformed { method: "a batch".to_owned(), what: "an answer is missing".to_owned() }
}

impl Live {
    fn new(flight: Flight) -> Self {
        Self { flight, waiters: Vec::new(), phase: Phase::Unsent, missing_since: None, taken_at: None }
    }

    /// A used nonce without a receipt: the ledger may be late with it, or reorganising, or somebody else used the nonce.
    fn displaced(&mut self, patience: Duration, depth: u64, head: u64) -> Option<Outcome> {
        let (since, seen) = *self.missing_since.get_or_insert_with(|| (Instant::now(), head));
        (since.elapsed() >= patience && (depth == 0 || head > seen.saturating_add(depth))).then(|| Outcome {
            key: self.flight.key.clone(),
            nonce: self.flight.nonce,
            tx_hash: self.flight.attempts.first().map(|attempt| attempt.hash).unwrap_or_default(),
            block: 0,
            gas_used: 0,
            contract: None,
            result: TxResult::Displaced,
        })
    }
}
