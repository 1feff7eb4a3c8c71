//! Put a job on the ledger: uploads, app, deposit, orders, deals.
//!
//! Every step has a name that follows from what it does, and the outbox never does a step of one name twice. So whatever
//! crashes in the middle, nothing is paid twice, and [`Requester::match_rest`] finishes what was begun.

use alloy_primitives::{Address, B256, U256};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use gristmill_hub::{OpenOrder, OrderBook, sign};
use gristmill_types::{Amount, AppOrder, DatasetOrder, JobParams, OrderHash, RequestOrder, Signed, Trust};

use crate::catalog::AppChoice;
use crate::error::{RequesterError, needs_clause};
use crate::inputs::LocalFile;
use crate::offers::Fit;
use crate::prepare::Prepared;
use crate::quote::Quote;
use crate::sender::{Notice, Requester, Sender};

/// Tasks that the order of a requester's own app offers: more than it will ever run.
const APP_VOLUME: u64 = 1_000_000_000_000;
/// Deals that one request may be matched into.
const DEALS_MAX: u32 = 1_000;

/// Packs of items that are on their way to the store at once.
const UPLOADS_MAX: usize = 8;

/// A request with everything it is matched with but a pool.
struct Matchable {
    hash: OrderHash,
    request: Signed<RequestOrder>,
    app: Signed<AppOrder>,
    /// [`sign::no_dataset`] for none.
    dataset: Signed<DatasetOrder>,
}

/// What a request order is made of, beside what all of ours have in common.
struct RequestTerms<'a> {
    app: &'a AppChoice,
    app_price: U256,
    dataset: Option<&'a Signed<DatasetOrder>>,
    pool_price: U256,
    tag: B256,
    volume: u64,
    params: &'a JobParams,
}

impl Requester {
    /// Submits a prepared and priced job; returns its id, the hash of the map's request. When this returns, every task of the
    /// map has a pool.
    ///
    /// # Errors
    /// Before anything is spent: [`RequesterError::TooDear`], [`RequesterError::NotEnough`], [`RequesterError::PoolRefuses`],
    /// [`RequesterError::ChangedSince`], the store does not take a file. Later: the hub refuses, or the ledger cannot be
    /// reached; what was done stays, and [`Requester::match_rest`] or [`Requester::cancel`] goes on from there.
    pub fn submit<'a>(
        &'a self,
        prepared: &'a Prepared,
        quote: &'a Quote,
    ) -> BoxFuture<'a, Result<OrderHash, RequesterError>> {
        Box::pin(async move {
            self.check_quote(prepared, quote)?;
            self.upload(prepared).await?;
            let sender = self.sender().await?;
            let submitted = self.submit_with(&sender, prepared, quote).await;
            sender.close().await;
            submitted
        })
    }

    /// Refuses a job that no machine can do as long as those there are stay as they are, that its pool would refuse, or that is dearer
    /// than allowed or than can be paid.
    ///
    /// # Errors
    /// [`RequesterError::NoMachine`], [`RequesterError::PoolRefuses`], [`RequesterError::TooDear`], [`RequesterError::NotEnough`].
    pub fn check_quote(&self, prepared: &Prepared, quote: &Quote) -> Result<(), RequesterError> {
        if let Some(pool) = quote.pools.iter().find(|pool| !pool.unmet.is_empty()) {
            let workerpool = pool.workerpool;
            return Err(RequesterError::NoMachine { workerpool, unmet: pool.unmet.clone() });
        }
        if let Some(max) = prepared.max_price
            && quote.total > max
        {
            return Err(RequesterError::TooDear { price: quote.total, max });
        }
        if let Some(pool) = quote.pools.iter().find(|pool| !pool.refusal.is_empty()) {
            return Err(RequesterError::PoolRefuses { why: told(&pool.refusal) });
        }
        match quote.missing.is_zero() {
            true => Ok(()),
            false => Err(self.not_enough(quote.total, quote.stake, quote.tokens, quote.missing)),
        }
    }

    async fn submit_with(
        &self,
        sender: &Sender,
        prepared: &Prepared,
        quote: &Quote,
    ) -> Result<OrderHash, RequesterError> {
        let hub = &self.network.hub;
        let app = self.offered(sender, &prepared.app).await?;
        let dataset = prepared.dataset.as_ref().map(|(_, open)| &open.signed);
        let map = self.request(
            prepared,
            RequestTerms {
                app: &prepared.app,
                app_price: app.order.appprice,
                dataset,
                pool_price: quote.map_price_max,
                tag: prepared.needs.tag(),
                volume: prepared.tasks,
                params: &prepared.params,
            },
        )?;
        let hash = hub.order_hash(&map.order);
        let reduce = match &prepared.reduce {
            None => None,
            Some(reduce) => {
                let app = self.offered(sender, &reduce.app).await?;
                let params = reduce.params(hash);
                Some(self.request(
                    prepared,
                    RequestTerms {
                        app: &reduce.app,
                        app_price: app.order.appprice,
                        dataset: None,
                        pool_price: quote.reduce_price_max,
                        tag: B256::ZERO,
                        volume: 1,
                        params: &params,
                    },
                )?)
            }
        };
        self.deposit_missing(sender, prepared, quote, hash).await?;
        // Both orders stand on the ledger before the first deal: from then on nobody needs this process any more.
        self.report(Notice::Ordering(hash));
        sender.execute(hub.broadcast_request_order(&map), &format!("broadcast:{hash}")).await?;
        self.report(Notice::Ordered(hash));
        if let Some(reduce) = &reduce {
            let key = format!("broadcast:{}", hub.order_hash(&reduce.order));
            sender.execute(hub.broadcast_request_order(reduce), &key).await?;
        }
        let dataset = dataset.cloned().unwrap_or_else(sign::no_dataset);
        self.match_all(sender, &Matchable { hash, request: map, app, dataset }).await?;
        Ok(hash)
    }

    /// Finds pools for the tasks of a broadcast request that have none; returns how many got one. For a job that a crash or
    /// a lack of offers interrupted.
    ///
    /// # Errors
    /// [`RequesterError::NoOffer`]; the app is not offered any more; the hub refuses.
    pub fn match_rest<'a>(
        &'a self,
        request: &'a OpenOrder<RequestOrder>,
    ) -> BoxFuture<'a, Result<u64, RequesterError>> {
        Box::pin(async move {
            let order = &request.signed.order;
            let mut book = OrderBook::new(self.network.hub.clone());
            book.refresh().await?;
            let not_offered = |kind, address| RequesterError::NotOffered { kind, address };
            let app = book.app_order_of(order.app).await?.ok_or_else(|| not_offered("app", order.app))?.signed;
            let dataset = if order.dataset.is_zero() {
                sign::no_dataset()
            } else {
                let open = book.dataset_order_of(order.dataset).await?;
                open.ok_or_else(|| not_offered("dataset", order.dataset))?.signed
            };
            let matchable = Matchable { hash: request.hash, request: request.signed.clone(), app, dataset };
            let sender = self.sender().await?;
            let matched = self.match_all(&sender, &matchable).await;
            sender.close().await;
            matched.map(|()| request.remaining)
        })
    }

    async fn match_all(&self, sender: &Sender, matchable: &Matchable) -> Result<(), RequesterError> {
        let hub = &self.network.hub;
        let volume = matchable.request.order.volume;
        let mut book = OrderBook::new(hub.clone());
        for _ in 0..DEALS_MAX {
            let consumed = hub.view_consumed(matchable.hash).await?;
            let (matched, volume) = (consumed.saturating_to::<u64>(), volume.saturating_to::<u64>());
            self.report(Notice::Matched { matched, volume });
            if matched >= volume {
                return Ok(());
            }
            book.refresh().await?;
            self.match_once(sender, &book, matchable, matched).await?;
        }
        let reason = format!(
            "it was cut into {DEALS_MAX} deals and still has tasks without a pool; cancel it and make larger offers"
        );
        Err(RequesterError::Job { job: matchable.hash, reason })
    }

    /// Makes one deal with the cheapest offer that the hub takes.
    async fn match_once(
        &self,
        sender: &Sender,
        book: &OrderBook,
        matchable: &Matchable,
        matched: u64,
    ) -> Result<(), RequesterError> {
        let hub = &self.network.hub;
        let Matchable { hash, request, app, dataset } = matchable;
        let order = &request.order;
        let trust = Trust::new(order.trust.saturating_to());
        let category = order.category.saturating_to::<u64>();
        let fit = Fit {
            app: order.app,
            app_order: Some(&app.order),
            dataset_order: (!dataset.order.dataset.is_zero()).then_some(&dataset.order),
            requester: order.requester,
            tag: order.tag,
            pool: (!order.workerpool.is_zero()).then_some(order.workerpool),
            max_price: order.workerpoolmaxprice,
        };
        let mut refusal = None;
        for offer in book.open_workerpool_orders(category, trust).await? {
            if !fit.takes(&offer.signed.order) {
                continue;
            }
            let call = hub.match_orders(app, dataset, &offer.signed, request);
            // The key names the place in the request, not the offer: after a crash the same place is never matched twice.
            match sender.execute(call, &format!("match:{hash}:{matched}")).await {
                Ok(_) => return Ok(()),
                Err(RequesterError::Outbox(error)) if error.revert().is_some() => {
                    tracing::debug!(offer = %offer.hash, %error, "the hub refuses an offer");
                    refusal = Some(RequesterError::Outbox(error));
                }
                Err(error) => return Err(error),
            }
        }
        let missing = order.volume.saturating_to::<u64>().saturating_sub(matched);
        let at_most = match Amount::try_from(order.workerpoolmaxprice) {
            Ok(amount) => format!(" for {amount} at most"),
            Err(_) => String::new(),
        };
        Err(refusal.unwrap_or_else(|| RequesterError::NoOffer {
            missing,
            category: category.to_string(),
            confidence: trust.to_string(),
            with: needs_clause(order.tag | app.order.tag),
            at_most,
            fix: format!("wait and run `gristmill job wait {hash}`, or `gristmill job cancel {hash}`"),
        }))
    }

    /// Signs a request of ours.
    fn request(&self, prepared: &Prepared, terms: RequestTerms<'_>) -> Result<Signed<RequestOrder>, RequesterError> {
        let order = RequestOrder {
            app: terms.app.address,
            appmaxprice: terms.app_price,
            dataset: terms.dataset.map_or(Address::ZERO, |signed| signed.order.dataset),
            datasetmaxprice: terms.dataset.map_or(U256::ZERO, |signed| signed.order.datasetprice),
            workerpool: prepared.pool.unwrap_or_default(),
            workerpoolmaxprice: terms.pool_price,
            requester: self.address(),
            volume: U256::from(terms.volume),
            tag: terms.tag,
            category: U256::from(prepared.category.id),
            trust: U256::from(prepared.trust.value()),
            beneficiary: self.address(),
            callback: Address::ZERO,
            params: terms.params.encode()?,
            salt: prepared.salt.unwrap_or_else(salt),
        };
        Ok(sign::order(&self.wallet, order, self.network.hub.domain()))
    }

    /// The order that offers an app; registers and offers a module of ours first.
    async fn offered(&self, sender: &Sender, app: &AppChoice) -> Result<Signed<AppOrder>, RequesterError> {
        if let Some(open) = &app.order {
            return Ok(open.signed.clone());
        }
        let hub = &self.network.hub;
        if let Some(new) = &app.new {
            self.report(Notice::Registering { name: app.name.clone(), address: app.address });
            // The map and the reduce may be one module.
            if !hub.is_registered(hub.app_registry, app.address).await? {
                sender.execute(hub.create_app(new), &format!("create-app:{}", app.address)).await?;
            }
        }
        let mut book = OrderBook::new(hub.clone());
        book.refresh().await?;
        if let Some(open) = book.app_order_of(app.address).await?
            && open.signed.order.appprice.is_zero()
            && open.signed.order.requesterrestrict.is_zero()
        {
            return Ok(open.signed);
        }
        let order = AppOrder {
            app: app.address,
            appprice: U256::ZERO,
            volume: U256::from(APP_VOLUME),
            tag: B256::ZERO,
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: salt(),
        };
        let signed = sign::order(&self.wallet, order, hub.domain());
        let key = format!("broadcast:{}", hub.order_hash(&signed.order));
        sender.execute(hub.broadcast_app_order(&signed), &key).await?;
        Ok(signed)
    }

    /// Deposits what is missing. Asked again here, with the key held: another job of this wallet may have used what was free
    /// when this one was priced.
    async fn deposit_missing(
        &self,
        sender: &Sender,
        prepared: &Prepared,
        quote: &Quote,
        job: OrderHash,
    ) -> Result<(), RequesterError> {
        let hub = &self.network.hub;
        let mut book = OrderBook::new(hub.clone());
        book.refresh().await?;
        let needed = quote.total.checked_add(self.reserved(&book).await?).unwrap_or(Amount::MAX);
        let stake = hub.view_account(self.address()).await?.stake;
        let lacking = needed.saturating_sub(stake);
        if lacking.is_zero() {
            return Ok(());
        }
        let tokens = hub.token_balance(self.address()).await?;
        if !prepared.may_deposit || tokens < lacking {
            return Err(self.not_enough(
                quote.total,
                stake,
                tokens,
                lacking.saturating_sub(tokens).max(Amount::from_ngrist(1)),
            ));
        }
        self.report(Notice::Depositing(lacking));
        sender.execute(hub.deposit(lacking), &format!("deposit:{job}")).await?;
        Ok(())
    }

    fn not_enough(&self, price: Amount, stake: Amount, tokens: Amount, missing: Amount) -> RequesterError {
        let account = self.address();
        let fix = if tokens >= missing {
            "deposit it with `gristmill account deposit AMOUNT`, or let the job do it (leave --no-deposit out)"
                .to_owned()
        } else {
            format!("get GRIST for {account} (on your own network: `gristmill up --fund {account}`), or ask for less")
        };
        RequesterError::NotEnough { price, account, stake, tokens, missing, fix }
    }

    /// Puts app, inputs and items into the store; what is there already is not sent again.
    async fn upload(&self, prepared: &Prepared) -> Result<(), RequesterError> {
        let store = &self.network.store;
        let apps = [Some(&prepared.app), prepared.reduce.as_ref().map(|reduce| &reduce.app)];
        let files = apps.into_iter().flatten().flat_map(|app| &app.files).chain(&prepared.inputs);
        for file in files {
            self.upload_file(file).await?;
        }
        let Some(items) = &prepared.items else { return Ok(()) };
        let count = items.packs.len();
        let mut uploads: Vec<BoxFuture<'_, Result<(), RequesterError>>> = Vec::with_capacity(count);
        for (number, (pack, entry)) in items.packs.iter().zip(&items.index.tasks).enumerate() {
            uploads.push(Box::pin(async move {
                self.report(Notice::Uploading { what: format!("items {} of {count}", number + 1), bytes: entry.size });
                store.put_bytes(pack.clone()).await?;
                Ok(())
            }));
        }
        // The store syncs each of them: side by side they wait together.
        stream::iter(uploads).buffer_unordered(UPLOADS_MAX).try_collect::<()>().await?;
        store.put_bytes(items.index.encode()).await?;
        Ok(())
    }

    async fn upload_file(&self, file: &LocalFile) -> Result<(), RequesterError> {
        self.report(Notice::Uploading { what: file.name.clone(), bytes: file.size });
        let content = match self.network.store.put_file(&file.path).await {
            Err(gristmill_store::ClientError::FileChanged { path }) => {
                return Err(RequesterError::ChangedSince { path });
            }
            content => content?,
        };
        if content == file.content { Ok(()) } else { Err(RequesterError::ChangedSince { path: file.path.clone() }) }
    }
}

/// Characters of a pool's words that are shown.
const TOLD_CHARS_MAX: usize = 1_000;

/// What a pool said, fit for a terminal.
fn told(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TOLD_CHARS_MAX).collect()
}

/// Makes equal jobs different.
pub(crate) fn salt() -> B256 {
    B256::from(rand::random::<[u8; 32]>())
}
