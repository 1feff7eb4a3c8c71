//! Errors as a client sees them: what happened and what to do, without paths and causes of the server's side.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::StoreError;

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) hint: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { status, error: error.into(), hint: hint.into() }
    }

    pub(super) fn too_large(len: u64, limit: u64) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a blob of {len} bytes or more is past this store's limit of {limit} bytes"),
            "split the data into smaller blobs, or use a store with a higher limit",
        )
    }

    pub(super) fn internal(what: &str) -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            what,
            "try again; if it stays, the operator of the store finds the cause in its log",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let text = error.to_string();
        if error.is_full() {
            tracing::error!(error = &error as &dyn std::error::Error, "the store is full");
            return Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the store is full",
                "use another store, or ask its operator to free space or raise the limit",
            );
        }
        match error {
            StoreError::NotFound { .. } => {
                Problem::new(StatusCode::NOT_FOUND, text, "put it first, or ask another store")
            }
            StoreError::Damaged { content, .. } => Problem::new(
                StatusCode::CONFLICT,
                format!("the stored copy of blob {content} was damaged and has been set aside"),
                "put the blob again, or get it from another store",
            ),
            StoreError::OtherContent { .. } => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                text,
                "check that the file did not change while it was read, and send it again",
            ),
            StoreError::TooLarge { len, limit } => Problem::too_large(len, limit),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                Problem::internal("the store cannot use its disk")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "hint": self.hint });
        let mut response = json_answer(self.status, &body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An answer with a JSON body.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [content_type], format!("{body}\n")).into_response()
}
