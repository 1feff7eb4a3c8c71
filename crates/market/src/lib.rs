//! Offer the market to iExec's clients: an order book, and results to download.
//!
//! [`start`] serves, on one address, what the iExec SDK and CLI expect of three:
//!
//! | request | answer |
//! |---|---|
//! | `GET /challenge?chainId&address` | typed data to sign: see [`auth`] |
//! | `POST /{kind}orders?chainId` | publishes `{order}`, checked by the hub |
//! | `PUT /{kind}orders?chainId` | unpublishes: `{target, orderHash or app, dataset, workerpool, requester}` |
//! | `GET /{kind}orders?chainId&...` | a page of open orders: see [`query`] |
//! | `GET /{kind}orders/{hash}?chainId` | one order, whatever its status |
//! | `GET`, `HEAD /ipfs/{CID}` | the files of an accepted result as a zip; with `?format=raw` the result pack itself |
//! | `HEAD`, `POST`, `PUT` on secrets | absent, and refused: no secret is kept here |
//!
//! An order is listed while the hub would take it: the book follows the hub, and what was broadcast on the ledger is listed
//! as if it had been published. A result is served only when the ledger has accepted it and the store's bytes hash to the
//! ledger's digest.

pub mod auth;
pub mod book;
mod error;
mod follow;
mod http;
pub mod order;
pub mod query;
pub mod results;
mod secrets;
mod service;
pub mod verdict;
mod zip;

pub use error::MarketError;
pub use service::{DATA_KIND, DATA_VERSION, MarketConfig, MarketHandle, start};
