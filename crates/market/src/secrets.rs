//! What iExec's secret service would answer. None is kept here: a machine that runs an app can read all that the app is given,
//! and nothing here could prove otherwise. So each is absent, and none is taken.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, head};
use hyper::ext::ReasonPhrase;

use crate::http::refusal;

/// iExec's clients show the reason phrase of an answer and nothing else of it.
const REASON: &[u8] = b"No secret is kept on this network";

/// The routes of secrets, for a router with any state.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let secret = || -> MethodRouter<S> { head(absent).post(refused).put(refused).get(absent) };
    Router::new()
        .route("/secrets/web2", secret())
        .route("/secrets/web3", secret())
        .route("/requesters/{address}/secrets/{name}", secret())
        .route("/apps/{address}/secrets", secret())
        .route("/apps/{address}/secrets/{index}", secret())
}

async fn absent() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is no such secret: none is kept on this network")
}

/// Not 5xx, which clients show as a failure of the server, and not 409, which would say that a secret is there.
async fn refused() -> Response {
    let text = "secrets are not kept on this network: nothing could keep one from the machine that runs the app";
    let mut response = refusal(StatusCode::FORBIDDEN, text).into_response();
    response.extensions_mut().insert(ReasonPhrase::from_static(REASON));
    response
}
