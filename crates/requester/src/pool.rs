//! Ask pools: who they are, what a job would find there, why something waits, what an app said.

use std::str::FromStr;
use std::time::Duration;

use gristmill_protocol::client::{Timeouts, connect, pool_client};
use gristmill_protocol::convert;
use gristmill_protocol::tls::PoolUrl;
use gristmill_protocol::tonic::transport::Channel;
use gristmill_protocol::tonic::{Request, Response, Status};
use gristmill_protocol::wire::pool_client::PoolClient;
use gristmill_protocol::wire::{
    ExplainReply, ExplainRequest, LogsReply, LogsRequest, QuoteReply, QuoteRequest, StatusReply, StatusRequest,
    explain_request::Subject,
};
use gristmill_types::{Address, TaskId};

use crate::error::RequesterError;
use crate::find::Network;

const CONNECT: Duration = Duration::from_secs(4);
const CALL: Duration = Duration::from_secs(10);

/// A pool that somebody chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolChoice {
    /// By where it listens; its key is checked.
    Url(PoolUrl),
    /// By its address on the ledger.
    Address(Address),
}

impl FromStr for PoolChoice {
    type Err = RequesterError;

    fn from_str(text: &str) -> Result<Self, RequesterError> {
        let bad = || RequesterError::BadPool { text: text.chars().take(120).collect() };
        if text.starts_with("grist:") {
            return Ok(Self::Url(text.parse()?));
        }
        text.parse().map(Self::Address).map_err(|_| bad())
    }
}

/// A connection to a pool.
#[derive(Clone, Debug)]
pub struct PoolLink {
    url: PoolUrl,
    client: PoolClient<Channel>,
    /// Its workerpool on the ledger.
    pub workerpool: Address,
    /// What it said of itself.
    pub status: StatusReply,
}

impl PoolLink {
    /// Dials the pool at `url` and asks who it is.
    ///
    /// # Errors
    /// [`RequesterError::Connect`] when it is not there or has another key, [`RequesterError::Pool`].
    pub async fn dial(url: &PoolUrl) -> Result<Self, RequesterError> {
        let timeouts = Timeouts { connect: CONNECT, ..Timeouts::default() };
        let mut client = pool_client(connect(url, &timeouts).await?);
        let status = answer(url, client.status(limited(StatusRequest {})).await)?;
        let workerpool = convert::address("StatusReply.pool_address", &status.pool_address)
            .map_err(|error| RequesterError::Pool { url: url.to_string(), message: error.to_string() })?;
        Ok(Self { url: url.clone(), client, workerpool, status })
    }

    /// The pool of `network` that has this workerpool; `None` when none of those that answer is it.
    pub async fn of_workerpool(network: &Network, workerpool: Address) -> Option<Self> {
        for url in network.pools() {
            match Self::dial(&url).await {
                Ok(link) if link.workerpool == workerpool => return Some(link),
                Ok(_) => {}
                Err(error) => tracing::debug!(%url, %error, "a pool does not answer"),
            }
        }
        None
    }

    /// The first pool of `network` that says that it takes no new deals, of this workerpool if one is named.
    pub async fn paused(network: &Network, workerpool: Option<Address>) -> Option<Address> {
        for url in network.pools() {
            if let Ok(link) = Self::dial(&url).await
                && link.status.draining
                && workerpool.is_none_or(|workerpool| workerpool == link.workerpool)
            {
                return Some(link.workerpool);
            }
        }
        None
    }

    /// Where it listens.
    pub fn url(&self) -> &PoolUrl {
        &self.url
    }

    /// What a job would find there.
    ///
    /// # Errors
    /// [`RequesterError::Pool`].
    pub async fn quote(&self, request: QuoteRequest) -> Result<QuoteReply, RequesterError> {
        answer(&self.url, self.client.clone().quote(limited(request)).await)
    }

    /// Why something waits.
    ///
    /// # Errors
    /// [`RequesterError::Pool`].
    pub async fn explain(&self, subject: Subject) -> Result<ExplainReply, RequesterError> {
        let request = ExplainRequest { subject: Some(subject) };
        answer(&self.url, self.client.clone().explain(limited(request)).await)
    }

    /// What an app wrote to stderr.
    ///
    /// # Errors
    /// [`RequesterError::Pool`].
    pub async fn logs(&self, task: TaskId) -> Result<LogsReply, RequesterError> {
        let request = LogsRequest { task_id: task.as_bytes().to_vec() };
        answer(&self.url, self.client.clone().logs(limited(request)).await)
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

fn answer<T>(url: &PoolUrl, result: Result<Response<T>, Status>) -> Result<T, RequesterError> {
    result.map(Response::into_inner).map_err(|status| RequesterError::Pool {
        url: url.to_string(),
        message: format!("{} ({:?})", status.message(), status.code()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_chosen_by_url_or_by_address() {
        let address = "0x00000000000000000000000000000000000000aa";
        assert!(matches!(address.parse(), Ok(PoolChoice::Address(_))));
        let url = format!("grist://127.0.0.1:4000/{}", "ab".repeat(32));
        assert!(matches!(url.parse(), Ok(PoolChoice::Url(_))));
        for (text, expected) in [("grist://127.0.0.1:4000", "key's hash is missing"), ("my pool", "names no pool")] {
            let error = text.parse::<PoolChoice>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
