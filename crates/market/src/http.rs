//! The order book on a socket.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use gristmill_types::OrderHash;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::AuthError;
use crate::book::{Entry, PutError, Source, Status, now_ms};
use crate::order::{Kind, Order};
use crate::query::{FieldError, Fields, Filter, address};
use crate::service::Shared;
use crate::verdict::{Objection, judge};
use crate::{follow, results, secrets};

/// Bytes of a request's body: an order with the longest params, and room.
const BODY_BYTES_MAX: usize = 64 * 1024;

type Context = State<Arc<Shared>>;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/challenge", get(challenge))
        .route("/version", get(version))
        .route("/ipfs/{cid}", get(results::download))
        .route("/ipfs/{cid}/{name}", get(results::download_named));
    for kind in Kind::ALL {
        let list = get(move |context, fields| list(kind, context, fields))
            .post(move |context, fields, headers, body| publish(kind, context, fields, headers, body))
            .put(move |context, fields, headers, body| unpublish(kind, context, fields, headers, body));
        let one = get(move |context, path, fields| show(kind, context, path, fields));
        router = router.route(&format!("/{kind}s"), list).route(&format!("/{kind}s/{{hash}}"), one);
    }
    router
        .merge(secrets::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

/// An answer that is an error, as iExec's clients read it.
pub(crate) fn refusal(status: StatusCode, error: impl Into<String>) -> Response {
    answer(status, &json!({ "ok": false, "error": error.into() }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let nosniff = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (status, [content_type, nosniff], body.to_string()).into_response()
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this market is on chain {served}, not on `{asked}`")]
    Chain { served: u64, asked: String },
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("the request's body is not what it should be: {0}")]
    Body(#[from] serde_json::Error),
    #[error("{kind} {hash} is not published here")]
    NotFound { kind: Kind, hash: String },
    #[error("{caller} may not do this: the order is signed by {signer}")]
    NotOwner { caller: gristmill_types::Address, signer: gristmill_types::Address },
    #[error(transparent)]
    Objection(#[from] Objection),
    #[error(transparent)]
    Put(PutError),
    #[error("the ledger cannot be asked now: try again")]
    Ledger(#[from] gristmill_hub::HubError),
    #[error("the market cannot use its disk; its operator finds the cause in its log")]
    Disk(#[from] gristmill_datadir::DbError),
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Db(error) => Self::Disk(error),
            error => Self::Put(error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Auth(_) => StatusCode::UNAUTHORIZED,
            Self::NotOwner { .. } => StatusCode::FORBIDDEN,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Ledger(error) => {
                tracing::warn!(%error, "the market cannot ask the ledger");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Disk(error) => {
                tracing::error!(%error, "the market cannot use its disk");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::BAD_REQUEST,
        };
        refusal(status, self.to_string())
    }
}

fn check_chain(shared: &Shared, fields: &Fields) -> Result<(), Refusal> {
    let served = shared.hub.chain_id();
    match fields.get("chainId") {
        Some(asked) if *asked != served.to_string() => {
            Err(Refusal::Chain { served, asked: asked.chars().take(32).collect() })
        }
        _ => Ok(()),
    }
}

async fn challenge(State(shared): Context, Query(fields): Query<Fields>) -> Result<Response, Refusal> {
    check_chain(&shared, &fields)?;
    let address = address(&fields, "address")?;
    let typed = shared.challenges().give(shared.hub.chain_id(), address, Instant::now());
    Ok(answer(StatusCode::OK, &json!({ "ok": true, "data": typed })))
}

async fn version() -> Response {
    answer(StatusCode::OK, &json!({ "ok": true, "version": env!("CARGO_PKG_VERSION"), "service": "gristmill-market" }))
}

async fn list(kind: Kind, State(shared): Context, Query(fields): Query<Fields>) -> Result<Response, Refusal> {
    check_chain(&shared, &fields)?;
    let filter = Filter::read(kind, &fields)?;
    let found = follow::listed(&shared, kind, |entry| filter.shows(entry));
    let start = filter.page.saturating_mul(filter.page_size);
    let page: Vec<Value> =
        found.iter().skip(start).take(filter.page_size).map(|(hash, entry)| entry.to_json(*hash)).collect();
    let more = found.len() > start.saturating_add(page.len());
    let mut body = json!({ "ok": true, "count": found.len(), "orders": page });
    if more {
        body["nextPage"] = json!(filter.page.saturating_add(1));
    }
    Ok(answer(StatusCode::OK, &body))
}

async fn show(
    kind: Kind,
    State(shared): Context,
    Path(hash): Path<String>,
    Query(fields): Query<Fields>,
) -> Result<Response, Refusal> {
    check_chain(&shared, &fields)?;
    let unknown = || Refusal::NotFound { kind, hash: hash.chars().take(80).collect() };
    let id: OrderHash = hash.parse().map_err(|_| unknown())?;
    let body = shared.book().get(id).filter(|entry| entry.order.kind() == kind).map(|entry| entry.to_json(id));
    let mut body = body.ok_or_else(unknown)?;
    body["ok"] = json!(true);
    Ok(answer(StatusCode::OK, &body))
}

fn caller(shared: &Shared, headers: &HeaderMap) -> Result<gristmill_types::Address, AuthError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    shared.challenges().answer(header, Instant::now())
}

async fn publish(
    kind: Kind,
    State(shared): Context,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        order: Value,
    }
    check_chain(&shared, &fields)?;
    let caller = caller(&shared, &headers)?;
    let body: Body = serde_json::from_slice(&body)?;
    let (order, sign) = Order::from_json(kind, body.order)?;
    let hash = order.hash(&shared.hub);
    let verdicts = judge(&shared.hub, shared.simulated_enclave, &[(hash, &order, &sign)]).await?;
    // One order, one verdict.
    let verdict = verdicts.into_iter().next().unwrap_or(Err(Objection::Consumed))?;
    if verdict.signer != caller {
        return Err(Refusal::NotOwner { caller, signer: verdict.signer });
    }
    let entry = Entry {
        order,
        sign,
        signer: verdict.signer,
        remaining: verdict.remaining,
        status: Status::Open,
        source: Source::Published,
        published_ms: now_ms(),
    };
    blocking(move || shared.book().put(hash, entry)).await?;
    Ok(answer(StatusCode::OK, &json!({ "ok": true, "published": { "orderHash": hash } })))
}

/// Which orders are to be taken off the list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unpublish {
    target: Target,
    order_hash: Option<OrderHash>,
    app: Option<gristmill_types::Address>,
    dataset: Option<gristmill_types::Address>,
    workerpool: Option<gristmill_types::Address>,
    requester: Option<gristmill_types::Address>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum Target {
    #[serde(rename = "unpublish_orderHash")]
    Hash,
    #[serde(rename = "unpublish_last")]
    Last,
    #[serde(rename = "unpublish_all")]
    All,
}

async fn unpublish(
    kind: Kind,
    State(shared): Context,
    Query(fields): Query<Fields>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_chain(&shared, &fields)?;
    let caller = caller(&shared, &headers)?;
    let body: Unpublish = serde_json::from_slice(&body)?;
    let leaving = match body.target {
        Target::Hash => vec![own_order(&shared, kind, body.order_hash, caller)?],
        Target::Last | Target::All => {
            let subject = match kind {
                Kind::App => body.app,
                Kind::Dataset => body.dataset,
                Kind::Workerpool => body.workerpool,
                Kind::Request => body.requester,
            };
            let book = shared.book();
            let own = book.open_orders().filter(|(_, entry)| {
                entry.order.kind() == kind && entry.signer == caller && Some(entry.order.subject()) == subject
            });
            let mut own: Vec<(u64, OrderHash)> = own.map(|(hash, entry)| (entry.published_ms, hash)).collect();
            own.sort_unstable();
            let skip = if body.target == Target::Last { own.len().saturating_sub(1) } else { 0 };
            own.into_iter().skip(skip).map(|(_, hash)| hash).collect()
        }
    };
    if leaving.is_empty() {
        return Err(Refusal::NotFound { kind, hash: format!("of {caller}") });
    }
    let hashes = leaving.clone();
    blocking(move || shared.book().remove(&leaving)).await?;
    Ok(answer(StatusCode::OK, &json!({ "ok": true, "unpublished": hashes })))
}

fn own_order(
    shared: &Shared,
    kind: Kind,
    hash: Option<OrderHash>,
    caller: gristmill_types::Address,
) -> Result<OrderHash, Refusal> {
    let unknown =
        || Refusal::NotFound { kind, hash: hash.map_or_else(|| "without a hash".to_owned(), |hash| hash.to_string()) };
    let id = hash.ok_or_else(unknown)?;
    let book = shared.book();
    let entry = book.get(id).filter(|entry| entry.order.kind() == kind).ok_or_else(unknown)?;
    if entry.signer != caller {
        return Err(Refusal::NotOwner { caller, signer: entry.signer });
    }
    Ok(id)
}

/// Runs disk work where it may block.
async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn no_route(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(120).collect();
    refusal(StatusCode::NOT_FOUND, format!("there is nothing at `{path}`: this market serves orders and results only"))
}

async fn no_method(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(120).collect();
    refusal(StatusCode::METHOD_NOT_ALLOWED, format!("`{path}` does not take this method"))
}
