//! Speak JSON-RPC over HTTP with a ledger: keep-alive, batches, time limits, bounded retries.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use bytes::Bytes as Buffer;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ledger::{
    Answer, BlockHead, Call, Fees, Finality, LedgerError, LedgerPort, Log, LogQuery, News, NewsQuery, Receipt,
};
use crate::revert::Revert;

mod wire;

use wire::{WireBlock, WireError, WireLog, WireNews, WireReceipt, WireResponse};

/// How patient the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcOptions {
    /// Time to connect, in milliseconds.
    pub connect_ms: u64,
    /// Time for one request and its answer, in milliseconds.
    pub request_ms: u64,
    /// How often a request is tried again after the transport failed, 0 for never.
    pub retries: u32,
    /// The pause before the first retry in milliseconds; each further one is four times as long.
    pub backoff_ms: u64,
    /// Requests in one batch at most; longer lists are cut.
    pub batch_max: usize,
    /// The longest answer that is read, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self {
            connect_ms: 2_000,
            request_ms: 10_000,
            retries: 3,
            backoff_ms: 40,
            batch_max: 100,
            answer_bytes_max: 64 << 20,
        }
    }
}

/// A JSON-RPC client for one server. Clones share its connections.
///
/// Nothing it does waits for ever: the longest wait is `(retries + 1) * (connect_ms + request_ms)` plus the pauses.
#[derive(Clone)]
pub struct RpcClient {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    uri: hyper::Uri,
    client: Client<HttpConnector, Full<Buffer>>,
    next_id: AtomicU64,
    options: RpcOptions,
    /// Once it was asked.
    finality: OnceLock<Finality>,
    /// It is a node of ours, and has no `gristmill_events`: an older one.
    without_news: AtomicBool,
}

/// How our own node's `web3_clientVersion` begins.
const OUR_NODE: &str = "gristmill/";

impl fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcClient").field("url", &self.inner.url).finish_non_exhaustive()
    }
}

/// What a server says to a method that it does not have (JSON-RPC 2.0, section 5.1).
const METHOD_NOT_FOUND: i64 = -32601;

/// One request of a batch.
#[derive(Debug)]
struct Ask {
    method: &'static str,
    params: Value,
}

impl RpcClient {
    /// A client for the server at `url` (`http://HOST:PORT`, a path is allowed). It connects with the first request.
    ///
    /// # Errors
    /// [`LedgerError::BadUrl`].
    pub fn new(url: &str) -> Result<Self, LedgerError> {
        Self::with_options(url, RpcOptions::default())
    }

    /// As [`RpcClient::new`], with its own time limits.
    ///
    /// # Errors
    /// [`LedgerError::BadUrl`].
    pub fn with_options(url: &str, options: RpcOptions) -> Result<Self, LedgerError> {
        let bad = |what: &str| LedgerError::BadUrl { url: url.to_owned(), what: what.to_owned() };
        let uri: hyper::Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("https is not supported; use a local http address")),
            _ => return Err(bad("it does not begin with http://")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("the host is missing"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(options.connect_ms)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        let inner = Inner {
            url: url.to_owned(),
            uri,
            client,
            next_id: AtomicU64::new(1),
            options,
            finality: OnceLock::new(),
            without_news: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The server's address, as given.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Asks one question that this crate has no method for.
    ///
    /// # Errors
    /// [`LedgerError`]; `Malformed` when the answer does not fit `T`.
    pub async fn request<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, LedgerError> {
        let answers = self.exchange(&[Ask { method, params }]).await?;
        parse(method, first(method, answers)?)
    }

    /// One batch; each answer is `T` or its own error.
    async fn batch<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Result<T, LedgerError>>, LedgerError> {
        let asks: Vec<Ask> = params.into_iter().map(|params| Ask { method, params }).collect();
        let mut answers = Vec::with_capacity(asks.len());
        for chunk in asks.chunks(self.inner.options.batch_max.max(1)) {
            answers.extend(self.exchange(chunk).await?);
        }
        Ok(answers.into_iter().map(|answer| parse(method, answer)).collect())
    }

    /// One batch of which every answer has to be good.
    async fn batch_all<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<T>, LedgerError> {
        self.batch(method, params).await?.into_iter().collect()
    }

    /// Sends `asks` as one HTTP request, trying again when the transport fails, and sorts the answers as the questions.
    async fn exchange(&self, asks: &[Ask]) -> Result<Vec<Result<Box<RawValue>, LedgerError>>, LedgerError> {
        let Some(head) = asks.first() else { return Ok(Vec::new()) };
        let first_id = self.inner.next_id.fetch_add(asks.len() as u64, Ordering::Relaxed);
        let body = encode(asks, first_id)?;
        let options = &self.inner.options;
        let mut pause = Duration::from_millis(options.backoff_ms);
        let mut tries = 0;
        let answer = loop {
            match self.post(head.method, body.clone()).await {
                Err(error) if error.is_transient() && tries < options.retries => {
                    tracing::debug!(url = %self.inner.url, method = head.method, tries, %error, "trying again");
                    tries += 1;
                    tokio::time::sleep(pause).await;
                    pause *= 4;
                }
                other => break other?,
            }
        };
        decode(asks, first_id, &answer)
    }

    async fn post(&self, method: &str, body: Buffer) -> Result<Buffer, LedgerError> {
        let limit_ms = self.inner.options.request_ms;
        tokio::time::timeout(Duration::from_millis(limit_ms), self.post_once(method, body)).await.unwrap_or_else(|_| {
            Err(LedgerError::Timeout { url: self.inner.url.clone(), method: method.to_owned(), limit_ms })
        })
    }

    async fn post_once(&self, method: &str, body: Buffer) -> Result<Buffer, LedgerError> {
        let unreachable = |cause: String| LedgerError::Unreachable { url: self.inner.url.clone(), cause };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.inner.uri.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.inner.client.request(request).await.map_err(|error| unreachable(causes(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.inner.options.answer_bytes_max);
        let collected = body.collect().await;
        if status.is_server_error() {
            return Err(unreachable(format!("HTTP status {status}")));
        }
        if !status.is_success() {
            let message = format!("HTTP status {status}; is this the JSON-RPC address of a ledger?");
            return Err(LedgerError::Rpc { method: method.to_owned(), code: i64::from(status.as_u16()), message });
        }
        match collected {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(LedgerError::Malformed {
                method: method.to_owned(),
                what: format!("it is longer than {} bytes", self.inner.options.answer_bytes_max),
            }),
            Err(error) => Err(unreachable(causes(error.as_ref()))),
        }
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn encode(asks: &[Ask], first_id: u64) -> Result<Buffer, LedgerError> {
    #[derive(Serialize)]
    struct WireRequest<'a> {
        jsonrpc: &'static str,
        id: u64,
        method: &'a str,
        params: &'a Value,
    }
    let requests: Vec<WireRequest<'_>> = (first_id..)
        .zip(asks)
        .map(|(id, ask)| WireRequest { jsonrpc: "2.0", id, method: ask.method, params: &ask.params })
        .collect();
    let encoded = match requests.as_slice() {
        [one] => serde_json::to_vec(one),
        many => serde_json::to_vec(many),
    };
    encoded.map(Buffer::from).map_err(|error| malformed(asks[0].method, error))
}

/// Puts each answer at the place of its question.
fn decode(asks: &[Ask], first_id: u64, answer: &[u8]) -> Result<Vec<Result<Box<RawValue>, LedgerError>>, LedgerError> {
    let method = asks[0].method;
    let is_list = answer.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let responses: Vec<WireResponse> = if is_list {
        serde_json::from_slice(answer).map_err(|error| malformed(method, error))?
    } else {
        vec![serde_json::from_slice(answer).map_err(|error| malformed(method, error))?]
    };
    let mut sorted: Vec<Option<Result<Box<RawValue>, LedgerError>>> = asks.iter().map(|_| None).collect();
    for response in responses {
        let place = response.id.and_then(|id| id.checked_sub(first_id)).and_then(|place| usize::try_from(place).ok());
        let ask = place.and_then(|place| asks.get(place)).unwrap_or(&asks[0]);
        let result = match (response.error, response.result) {
            (Some(error), _) => Err(rpc_error(ask.method, error)),
            (None, Some(result)) => Ok(result),
            // `null` and nothing at all read the same; both mean "not there".
            (None, None) => Ok(RawValue::NULL.to_owned()),
        };
        match place.and_then(|place| sorted.get_mut(place)) {
            Some(slot) => *slot = Some(result),
            // An error without a number concerns the whole batch.
            None => return Err(result.err().unwrap_or_else(|| malformed(method, "an answer has no question"))),
        }
    }
    asks.iter()
        .zip(sorted)
        .map(|(ask, slot)| slot.ok_or_else(|| malformed(ask.method, "the answer is missing")))
        .collect()
}

fn rpc_error(method: &str, error: WireError) -> LedgerError {
    if let Some(data) = error.revert_data() {
        return LedgerError::Revert(Revert::decode(data));
    }
    let text = error.message.to_ascii_lowercase();
    if error.code == 3 || text.contains("execution reverted") {
        return LedgerError::Revert(Revert::decode(Bytes::new()));
    }
    LedgerError::Rpc { method: method.to_owned(), code: error.code, message: error.message }
}

fn malformed(method: &str, what: impl fmt::Display) -> LedgerError {
    LedgerError::Malformed { method: method.to_owned(), what: what.to_string() }
}

fn parse<T: DeserializeOwned>(method: &str, answer: Result<Box<RawValue>, LedgerError>) -> Result<T, LedgerError> {
    serde_json::from_str(answer?.get()).map_err(|error| malformed(method, error))
}

fn first<T>(method: &str, answers: Vec<T>) -> Result<T, LedgerError> {
    answers.into_iter().next().ok_or_else(|| malformed(method, "there is none"))
}

fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

fn call_object(call: &Call) -> Value {
    let mut object = serde_json::Map::new();
    if let Some(from) = call.from {
        object.insert("from".into(), json!(from));
    }
    if let Some(to) = call.to {
        object.insert("to".into(), json!(to));
    }
    object.insert("data".into(), json!(call.data));
    if !call.value.is_zero() {
        object.insert("value".into(), json!(call.value));
    }
    if let Some(gas) = call.gas {
        object.insert("gas".into(), json!(quantity(gas)));
    }
    Value::Object(object)
}

impl LedgerPort for RpcClient {
    fn chain_id(&self) -> Answer<'_, u64> {
        Box::pin(async { Ok(self.request::<U64>("eth_chainId", json!([])).await?.to()) })
    }

    fn head(&self) -> Answer<'_, u64> {
        Box::pin(async { Ok(self.request::<U64>("eth_blockNumber", json!([])).await?.to()) })
    }

    fn blocks(&self, numbers: Vec<u64>) -> Answer<'_, Vec<Option<BlockHead>>> {
        Box::pin(async move {
            let params = numbers.iter().map(|&number| json!([quantity(number), false]));
            let blocks: Vec<Option<WireBlock>> = self.batch_all("eth_getBlockByNumber", params).await?;
            Ok(blocks.into_iter().map(|block| block.map(BlockHead::from)).collect())
        })
    }

    fn call(&self, calls: Vec<Call>, block: Option<u64>) -> Answer<'_, Vec<Result<Bytes, LedgerError>>> {
        Box::pin(async move {
            let at = block.map_or_else(|| "latest".to_owned(), quantity);
            self.batch("eth_call", calls.iter().map(|call| json!([call_object(call), at]))).await
        })
    }

    fn estimate(&self, calls: Vec<Call>) -> Answer<'_, Vec<Result<u64, LedgerError>>> {
        Box::pin(async move {
            let params = calls.iter().map(|call| json!([call_object(call)]));
            let answers: Vec<Result<U64, LedgerError>> = self.batch("eth_estimateGas", params).await?;
            Ok(answers.into_iter().map(|answer| answer.map(|gas| gas.to())).collect())
        })
    }

    fn nonce(&self, account: Address, pending: bool) -> Answer<'_, u64> {
        Box::pin(async move {
            let tag = if pending { "pending" } else { "latest" };
            Ok(self.request::<U64>("eth_getTransactionCount", json!([account, tag])).await?.to())
        })
    }

    fn send(&self, raw: Vec<Bytes>) -> Answer<'_, Vec<Result<B256, LedgerError>>> {
        Box::pin(async move {
            self.batch("eth_sendRawTransaction", raw.iter().map(|raw| json!([hex::encode_prefixed(raw)]))).await
        })
    }

    fn receipts(&self, hashes: Vec<B256>) -> Answer<'_, Vec<Option<Receipt>>> {
        Box::pin(async move {
            let params = hashes.iter().map(|hash| json!([hash]));
            let receipts: Vec<Option<WireReceipt>> = self.batch_all("eth_getTransactionReceipt", params).await?;
            Ok(receipts.into_iter().map(|receipt| receipt.map(Receipt::from)).collect())
        })
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<Log>> {
        Box::pin(async move {
            let mut filter = json!({ "fromBlock": quantity(query.from), "toBlock": quantity(query.to) });
            if !query.addresses.is_empty() {
                filter["address"] = json!(query.addresses);
            }
            if !query.events.is_empty() {
                filter["topics"] = json!([query.events]);
            }
            let logs: Vec<WireLog> = self.request("eth_getLogs", json!([filter])).await?;
            Ok(logs.into_iter().map(Log::from).collect())
        })
    }

    fn news(&self, query: NewsQuery) -> Answer<'_, Option<News>> {
        Box::pin(async move {
            // Servers of others refuse a method that they do not know in many ways: they are not asked.
            if self.inner.without_news.load(Ordering::Relaxed) || self.finality().await? != Finality::default() {
                return Ok(None);
            }
            let params = json!([{
                "fromBlock": quantity(query.from),
                "blocks": query.blocks_max,
                "address": query.addresses,
                // Half of its time is left for the answer.
                "waitMs": query.wait_ms.min(self.inner.options.request_ms / 2),
            }]);
            match self.request::<WireNews>("gristmill_events", params).await {
                Ok(news) => Ok(Some(news.into())),
                Err(LedgerError::Rpc { code: METHOD_NOT_FOUND, .. }) => {
                    self.inner.without_news.store(true, Ordering::Relaxed);
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn code(&self, addresses: Vec<Address>) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            self.batch_all("eth_getCode", addresses.iter().map(|address| json!([address, "latest"]))).await
        })
    }

    fn balance(&self, account: Address) -> Answer<'_, U256> {
        Box::pin(async move { self.request("eth_getBalance", json!([account, "latest"])).await })
    }

    fn fees(&self) -> Answer<'_, Fees> {
        Box::pin(async {
            let block: WireBlock = self.request("eth_getBlockByNumber", json!(["latest", false])).await?;
            let base = block.base_fee();
            let method = if base.is_some() { "eth_maxPriorityFeePerGas" } else { "eth_gasPrice" };
            let tip: U256 = self.request(method, json!([])).await?;
            Ok(Fees { base, tip: tip.saturating_to() })
        })
    }

    fn finality(&self) -> Answer<'_, Finality> {
        Box::pin(async {
            if let Some(known) = self.inner.finality.get() {
                return Ok(*known);
            }
            let found = match self.request::<String>("web3_clientVersion", json!([])).await {
                Ok(version) if version.starts_with(OUR_NODE) => Finality::default(),
                // Some servers do not say what they are.
                Ok(_) | Err(LedgerError::Rpc { .. } | LedgerError::Malformed { .. }) => Finality::foreign(),
                Err(error) => return Err(error),
            };
            Ok(*self.inner.finality.get_or_init(|| found))
        })
    }
}

#[cfg(test)]
mod tests;
