//! Bounds of JSON-RPC.

use std::time::Duration;

/// What `web3_clientVersion` answers.
pub const CLIENT_VERSION: &str = concat!("gristmill/v", env!("CARGO_PKG_VERSION"));

/// Bytes of one request, or of one batch of requests.
pub const REQUEST_BYTES_MAX: u32 = 8 << 20;

/// Bytes of one response.
pub const RESPONSE_BYTES_MAX: u32 = 64 << 20;

/// Requests in one batch.
pub const BATCH_REQUESTS_MAX: u32 = 1_000;

/// Connections at a time.
pub const CONNECTIONS_MAX: u32 = 1_024;

/// Subscriptions of one connection.
pub const CONNECTION_SUBSCRIPTIONS_MAX: u32 = 256;

/// Messages that wait for a slow connection; past it, a subscription waits, and may miss blocks and end.
pub const CONNECTION_MESSAGES_MAX: u32 = 1_024;

/// Logs in one answer.
pub const LOGS_MAX: usize = 20_000;

/// Blocks that one `eth_getLogs` may span when it names neither a contract nor a topic.
pub const OPEN_LOGS_BLOCKS_MAX: u64 = 10_000;

/// Addresses, or topics of one position, in one log filter.
pub const FILTER_TERMS_MAX: usize = 1_000;

/// Blocks in one `eth_feeHistory`.
pub const FEE_HISTORY_BLOCKS_MAX: u64 = 1_024;

/// Storage slots in one `eth_getProof`.
pub const PROOF_SLOTS_MAX: usize = 1_024;

/// Filters installed at a time.
pub const FILTERS_MAX: usize = 10_000;

/// A filter that nobody asks about for this long is removed.
pub const FILTER_LIFETIME: Duration = Duration::from_secs(300);

/// How long `eth_sendRawTransactionSync` waits for the receipt if the caller does not say.
pub const SYNC_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long `gristmill_events` waits for a block at most.
pub const EVENTS_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a node that shuts down waits for the requests in progress.
pub const SHUTDOWN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long `eth_sendRawTransactionSync` waits at most.
pub const SYNC_TIMEOUT_MAX: Duration = Duration::from_secs(60);
