//! What the two kinds of frames have in common.

use crate::{
    POOL_MESSAGE_BYTES_MAX, WORKER_MESSAGE_BYTES_MAX, check,
    convert::FieldError,
    wire::{Pong, PoolFrame, WorkerFrame, pool_frame, worker_frame},
};

/// Room that a frame needs beside its body: two numbers, with their tags.
const FRAME_OVERHEAD_BYTES: usize = 32;

/// How a body travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Numbered, kept, resent.
    Message,
    /// Only the latest counts.
    Latest,
    /// To be answered with a Pong of this nonce.
    Ping(u64),
    /// The answer.
    Pong,
    /// Part of how a connection begins or ends.
    Handshake,
}

/// A frame of one direction.
pub(crate) trait Frame: Send + Sized + 'static {
    /// What it carries.
    type Body: Clone + Send + 'static;

    fn new(seq: u64, ack: u64, body: Option<Self::Body>) -> Self;
    /// Number, acknowledgement, body.
    fn into_parts(self) -> (u64, u64, Option<Self::Body>);
    fn class(body: &Self::Body) -> Class;
    fn check(body: &Self::Body) -> Result<(), FieldError>;
    fn pong(nonce: u64) -> Self::Body;

    /// [`Frame::check`], and the size of the frame.
    fn check_outgoing(body: &Self::Body) -> Result<(), FieldError>;
}

impl Frame for WorkerFrame {
    type Body = worker_frame::Body;

    fn new(seq: u64, ack: u64, body: Option<Self::Body>) -> Self {
        Self { seq, ack, body }
    }

    fn into_parts(self) -> (u64, u64, Option<Self::Body>) {
        (self.seq, self.ack, self.body)
    }

    fn class(body: &Self::Body) -> Class {
        use worker_frame::Body;
        match body {
            Body::Hello(_) => Class::Handshake,
            Body::Heartbeat(_) => Class::Latest,
            Body::Ping(ping) => Class::Ping(ping.nonce),
            Body::Pong(_) => Class::Pong,
            Body::LeaseAccepted(_)
            | Body::LeaseDeclined(_)
            | Body::LeaseFailed(_)
            | Body::ResultReady(_)
            | Body::Contributed(_)
            | Body::ContributeFailed(_)
            | Body::Revealed(_)
            | Body::Draining(_)
            | Body::Describe(_) => Class::Message,
        }
    }

    fn check(body: &Self::Body) -> Result<(), FieldError> {
        check::worker_body(body)
    }

    fn pong(nonce: u64) -> Self::Body {
        worker_frame::Body::Pong(Pong { nonce })
    }

    fn check_outgoing(body: &Self::Body) -> Result<(), FieldError> {
        check::worker_body(body)?;
        fits("worker frame", body.encoded_len(), WORKER_MESSAGE_BYTES_MAX)
    }
}

impl Frame for PoolFrame {
    type Body = pool_frame::Body;

    fn new(seq: u64, ack: u64, body: Option<Self::Body>) -> Self {
        Self { seq, ack, body }
    }

    fn into_parts(self) -> (u64, u64, Option<Self::Body>) {
        (self.seq, self.ack, self.body)
    }

    fn class(body: &Self::Body) -> Class {
        use pool_frame::Body;
        match body {
            Body::Welcome(_) | Body::Refuse(_) => Class::Handshake,
            Body::Ping(ping) => Class::Ping(ping.nonce),
            Body::Pong(_) => Class::Pong,
            Body::Lease(_) | Body::Authorise(_) | Body::Reveal(_) | Body::Cancel(_) | Body::Forget(_) => Class::Message,
        }
    }

    fn check(body: &Self::Body) -> Result<(), FieldError> {
        check::pool_body(body)
    }

    fn pong(nonce: u64) -> Self::Body {
        pool_frame::Body::Pong(Pong { nonce })
    }

    fn check_outgoing(body: &Self::Body) -> Result<(), FieldError> {
        check::pool_body(body)?;
        fits("pool frame", body.encoded_len(), POOL_MESSAGE_BYTES_MAX)
    }
}

fn fits(field: &'static str, body_bytes: usize, limit: usize) -> Result<(), FieldError> {
    let got = body_bytes + FRAME_OVERHEAD_BYTES;
    if got > limit {
        return Err(FieldError::TooMuch { field, unit: "bytes", limit, got });
    }
    Ok(())
}
