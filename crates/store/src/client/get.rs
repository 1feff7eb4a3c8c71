//! Downloads: bounded, resumed where they were cut, checked before anybody sees them.

use std::path::Path;

use axum::http::{HeaderMap, Response, StatusCode, header};
use gristmill_types::ContentId;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::error::{AttemptError, ClientError};
use super::http::{Failure, Http};
use super::retry::Retry;
use super::target::{Finished, Target};

const GET: &str = "GET";

pub(super) async fn get_bytes(http: &Http, content: ContentId, max: u64) -> Result<Vec<u8>, ClientError> {
    let mut target = Target::Memory(Vec::new());
    fill(http, content, &mut target, max).await?;
    finish(http, content, target).await
}

pub(super) async fn get_file(http: &Http, content: ContentId, path: &Path, max: u64) -> Result<u64, ClientError> {
    let mut target = Target::file(path, content);
    match fill(http, content, &mut target, max).await {
        Ok(len) => finish(http, content, target).await.map(|_| len),
        Err(error) => {
            target.abandon().await;
            Err(error)
        }
    }
}

async fn finish(http: &Http, content: ContentId, target: Target) -> Result<Vec<u8>, ClientError> {
    match target.finish(content).await? {
        Finished::Good(bytes) => Ok(bytes),
        Finished::Corrupt(got) => Err(ClientError::Corrupt { url: http.blob_url(content), got }),
    }
}

/// Gets all bytes into `target`, over as many connections as it takes, and returns their number.
async fn fill(http: &Http, content: ContentId, target: &mut Target, max: u64) -> Result<u64, ClientError> {
    let url = http.blob_url(content);
    let mut retry = Retry::new(http.limits, GET, &url);
    loop {
        let before = target.len();
        match attempt(http, content, &url, target, max).await {
            Ok(()) => return Ok(target.len()),
            Err(failure) => retry.after(failure, target.len() - before).await?,
        }
    }
}

/// One request for what is still missing.
async fn attempt(http: &Http, content: ContentId, url: &str, target: &mut Target, max: u64) -> Result<(), Failure> {
    let start = target.len();
    let response = http.ask(GET, url, start).await?;
    let plan = match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => plan(&response, start)
            .map_err(|detail| ClientError::Protocol { method: GET, url: url.to_owned(), detail })?,
        _ => return Err(http.refusal(GET, url, content, response).await),
    };
    let too_large = |len| ClientError::TooLarge { url: url.to_owned(), len, max };
    if let Some(total) = plan.total.filter(|total| *total > max) {
        return Err(too_large(total).into());
    }
    let mut body = response.into_body();
    let mut skip = plan.skip;
    let mut watch = http.limits.rate_min.start();
    while let Some(mut bytes) = next_bytes(http, &mut body).await? {
        let moved = bytes.len() as u64;
        let skipped = skip.min(moved);
        skip -= skipped;
        // Fits: at most the length of the piece.
        let bytes = bytes.split_off(skipped as usize);
        let len = target.len() + bytes.len() as u64;
        if len > max || plan.total.is_some_and(|total| len > total) {
            return Err(too_large(len).into());
        }
        target.push(bytes).await?;
        tokio::time::sleep(http.bandwidth.pause_down(moved)).await;
        if watch.is_too_slow_after(moved) {
            let bytes_per_second = http.limits.rate_min.bytes_per_second;
            return Err(AttemptError::TooSlow { bytes_per_second }.into());
        }
    }
    match plan.total {
        Some(expected) if target.len() < expected => Err(AttemptError::Cut { got: target.len(), expected }.into()),
        _ => Ok(()),
    }
}

async fn next_bytes(http: &Http, body: &mut Incoming) -> Result<Option<bytes::Bytes>, Failure> {
    let stall = http.limits.stall_timeout;
    loop {
        let frame = tokio::time::timeout(stall, body.frame()).await.map_err(|_| AttemptError::Stalled(stall))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(AttemptError::Connection(Box::new(error)).into()),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// How to read an answer.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Bytes at the front that are here already.
    skip: u64,
    /// The length of the whole blob, when it is stated.
    total: Option<u64>,
}

/// Reads the head of a successful answer to a request for the bytes from `start` on.
fn plan(response: &Response<Incoming>, start: u64) -> Result<Plan, String> {
    plan_of(response.status(), response.headers(), start)
}

fn plan_of(status: StatusCode, headers: &HeaderMap, start: u64) -> Result<Plan, String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if status == StatusCode::OK {
        // All of it, whatever was asked for.
        let total = text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok());
        return Ok(Plan { skip: start, total });
    }
    if start == 0 {
        return Err("a part was sent where all was asked for".to_owned());
    }
    let range = text(header::CONTENT_RANGE).ok_or("a part without its range")?;
    let parsed = range.strip_prefix("bytes ").and_then(|range| {
        let (range, total) = range.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    match parsed {
        Some((first, last, total)) if first == start && last < total && last + 1 == total => {
            Ok(Plan { skip: 0, total: Some(total) })
        }
        _ => Err(format!("bytes from {start} on were asked for, {:.80?} were sent", range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_for(status: u16, headers: &[(&'static str, &str)], start: u64) -> Result<Plan, String> {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        plan_of(StatusCode::from_u16(status).unwrap(), &headers, start)
    }

    #[test]
    fn answers_are_read_or_refused() {
        assert_eq!(plan_for(200, &[("content-length", "9")], 0), Ok(Plan { skip: 0, total: Some(9) }));
        assert_eq!(plan_for(200, &[("content-length", "9")], 4), Ok(Plan { skip: 4, total: Some(9) }));
        assert_eq!(plan_for(200, &[], 0), Ok(Plan { skip: 0, total: None }));
        let range = |value| plan_for(206, &[("content-range", value)], 4);
        assert_eq!(range("bytes 4-8/9"), Ok(Plan { skip: 0, total: Some(9) }));
        for bad in [
            "bytes 3-8/9",
            "bytes 4-7/9",
            "bytes 4-9/9",
            "bytes 4-8/*",
            "bytes */9",
            "bytes 4-18446744073709551615/18446744073709551615",
            "4-8/9",
            "",
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert!(plan_for(206, &[], 4).is_err());
        assert!(plan_for(206, &[("content-range", "bytes 0-8/9")], 0).is_err());
    }
}
