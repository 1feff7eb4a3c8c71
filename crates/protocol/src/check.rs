//! The bounds of every message between a worker and a pool.
//!
//! [`crate::link`] checks each message as it arrives and as it is sent, so whoever takes one from a link may rely on
//! the lengths of its ids and on the bounds below.

use crate::{
    convert::{FieldError, fixed},
    wire::{
        Dataset, Heartbeat, Hello, Input, ItemsPack, Lease, PlainInput, QuoteRequest, ResultInput, ResultReady,
        Welcome, input, pool_frame, worker_frame,
    },
};

/// Most bytes of a text for people.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a machine's ad.
pub const AD_BYTES_MAX: usize = 32 << 10;
/// Most bytes of a name, a version, an engine profile or a kind of app.
pub const NAME_BYTES_MAX: usize = 256;
/// Most bytes of a URL.
pub const URL_BYTES_MAX: usize = 2 << 10;
/// Most bytes of an app's arguments.
pub const ARGS_BYTES_MAX: usize = 64 << 10;
/// Most input files of a task.
pub const INPUTS_MAX: usize = 16_384;
/// Most items of a job, as they are packed.
pub const ITEMS_MAX: u64 = 1_000_000;
/// Most leases that one heartbeat reports; with them it fits a worker's message.
pub const HEARTBEAT_LEASES_MAX: usize = 1_024;
/// Most slots of one worker.
pub const SLOTS_MAX: u32 = HEARTBEAT_LEASES_MAX as u32;
/// Most GPUs of one worker.
pub const GPUS_MAX: u32 = 64;

/// Checks what a worker says.
///
/// # Errors
/// [`FieldError`] naming the first field that is wrong.
pub fn worker_body(body: &worker_frame::Body) -> Result<(), FieldError> {
    use worker_frame::Body;
    match body {
        Body::Hello(hello) => check_hello(hello),
        Body::Heartbeat(heartbeat) => check_heartbeat(heartbeat),
        Body::LeaseAccepted(message) => id::<16>("lease_accepted.lease_id", &message.lease_id),
        Body::LeaseDeclined(message) => {
            id::<16>("lease_declined.lease_id", &message.lease_id)?;
            text("lease_declined.text", &message.text, TEXT_BYTES_MAX)
        }
        Body::LeaseFailed(message) => {
            id::<16>("lease_failed.lease_id", &message.lease_id)?;
            text("lease_failed.text", &message.text, TEXT_BYTES_MAX)
        }
        Body::ResultReady(message) => check_result_ready(message),
        Body::Contributed(message) => {
            id::<32>("contributed.task_id", &message.task_id)?;
            id::<32>("contributed.tx_hash", &message.tx_hash)
        }
        Body::ContributeFailed(message) => {
            id::<32>("contribute_failed.task_id", &message.task_id)?;
            text("contribute_failed.text", &message.text, TEXT_BYTES_MAX)
        }
        Body::Revealed(message) => {
            id::<32>("revealed.task_id", &message.task_id)?;
            id::<32>("revealed.tx_hash", &message.tx_hash)
        }
        Body::Describe(message) => text("describe.ad", &message.ad, AD_BYTES_MAX),
        Body::Draining(_) | Body::Ping(_) | Body::Pong(_) => Ok(()),
    }
}

/// Checks what a pool says to a worker.
///
/// # Errors
/// [`FieldError`] naming the first field that is wrong.
pub fn pool_body(body: &pool_frame::Body) -> Result<(), FieldError> {
    use pool_frame::Body;
    match body {
        Body::Welcome(welcome) => check_welcome(welcome),
        Body::Lease(lease) => check_lease(lease),
        Body::Authorise(message) => {
            id::<32>("authorise.task_id", &message.task_id)?;
            id::<16>("authorise.lease_id", &message.lease_id)?;
            id::<65>("authorise.signature", &message.signature)
        }
        Body::Reveal(message) => id::<32>("reveal.task_id", &message.task_id),
        Body::Cancel(message) => {
            id::<16>("cancel.lease_id", &message.lease_id)?;
            text("cancel.text", &message.text, TEXT_BYTES_MAX)
        }
        Body::Forget(message) => id::<32>("forget.task_id", &message.task_id),
        Body::Refuse(message) => text("refuse.text", &message.text, TEXT_BYTES_MAX),
        Body::Ping(_) | Body::Pong(_) => Ok(()),
    }
}

/// Checks what a client asks for a price.
///
/// # Errors
/// [`FieldError`] naming the first field that is wrong.
pub fn quote_request(request: &QuoteRequest) -> Result<(), FieldError> {
    text("quote.app_type", &request.app_type, NAME_BYTES_MAX)?;
    let addresses =
        [("quote.requester", &request.requester), ("quote.app", &request.app), ("quote.dataset", &request.dataset)];
    addresses.into_iter().filter(|(_, bytes)| !bytes.is_empty()).try_for_each(|(field, bytes)| id::<20>(field, bytes))
}

/// Shortens a text for people to [`TEXT_BYTES_MAX`], at a character's boundary.
pub fn shorten(text: impl Into<String>) -> String {
    let mut text = text.into();
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn check_hello(hello: &Hello) -> Result<(), FieldError> {
    if !hello.session_id.is_empty() {
        id::<16>("hello.session_id", &hello.session_id)?;
    }
    id::<16>("hello.new_session_id", &hello.new_session_id)?;
    id::<20>("hello.worker_address", &hello.worker_address)?;
    id::<65>("hello.signature", &hello.signature)?;
    line("hello.engine_profile", &hello.engine_profile)?;
    line("hello.software_version", &hello.software_version)?;
    if hello.slots == 0 || hello.slots > SLOTS_MAX {
        let got = hello.slots.into();
        return Err(FieldError::Range { field: "hello.slots", expected: "between 1 and 1024", got });
    }
    if hello.gpus > GPUS_MAX {
        let got = hello.gpus.into();
        return Err(FieldError::Range { field: "hello.gpus", expected: "at most 64", got });
    }
    Ok(())
}

fn check_heartbeat(heartbeat: &Heartbeat) -> Result<(), FieldError> {
    count("heartbeat.leases", heartbeat.leases.len(), HEARTBEAT_LEASES_MAX)?;
    heartbeat.leases.iter().try_for_each(|lease| id::<16>("heartbeat.leases.lease_id", &lease.lease_id))
}

fn check_result_ready(message: &ResultReady) -> Result<(), FieldError> {
    id::<16>("result_ready.lease_id", &message.lease_id)?;
    id::<32>("result_ready.task_id", &message.task_id)?;
    id::<32>("result_ready.result_hash", &message.result_hash)?;
    id::<32>("result_ready.result_seal", &message.result_seal)?;
    id::<32>("result_ready.sealed_cid", &message.sealed_cid)?;
    if message.items > ITEMS_MAX {
        let expected = "as many items as a job may have";
        return Err(FieldError::Range { field: "result_ready.items", expected, got: message.items });
    }
    Ok(())
}

fn check_welcome(welcome: &Welcome) -> Result<(), FieldError> {
    text("welcome.rpc_url", &welcome.rpc_url, URL_BYTES_MAX)?;
    text("welcome.store_url", &welcome.store_url, URL_BYTES_MAX)?;
    id::<20>("welcome.hub_address", &welcome.hub_address)?;
    id::<20>("welcome.pool_address", &welcome.pool_address)?;
    id::<20>("welcome.pool_owner", &welcome.pool_owner)?;
    if welcome.heartbeat_ms == 0 {
        return Err(FieldError::Range { field: "welcome.heartbeat_ms", expected: "above 0", got: 0 });
    }
    Ok(())
}

fn check_lease(lease: &Lease) -> Result<(), FieldError> {
    id::<16>("lease.lease_id", &lease.lease_id)?;
    id::<32>("lease.task_id", &lease.task_id)?;
    id::<32>("lease.deal_id", &lease.deal_id)?;
    id::<32>("lease.app_cid", &lease.app_cid)?;
    text("lease.app_type", &lease.app_type, NAME_BYTES_MAX)?;
    text("lease.args", &lease.args, ARGS_BYTES_MAX)?;
    count("lease.inputs", lease.inputs.len(), INPUTS_MAX)?;
    lease.inputs.iter().try_for_each(check_input)?;
    if let Some(ItemsPack { cid, .. }) = &lease.items {
        id::<32>("lease.items.cid", cid)?;
    }
    if let Some(Dataset { address, name, cid, .. }) = &lease.dataset {
        id::<20>("lease.dataset.address", address)?;
        text("lease.dataset.name", name, NAME_BYTES_MAX)?;
        id::<32>("lease.dataset.cid", cid)?;
    }
    Ok(())
}

fn check_input(input: &Input) -> Result<(), FieldError> {
    text("lease.inputs.name", &input.name, NAME_BYTES_MAX)?;
    id::<32>("lease.inputs.cid", &input.cid)?;
    match &input.kind {
        Some(input::Kind::Plain(PlainInput {})) => Ok(()),
        Some(input::Kind::Result(ResultInput { digest, task_id, .. })) => {
            id::<32>("lease.inputs.result.digest", digest)?;
            id::<32>("lease.inputs.result.task_id", task_id)
        }
        None => Err(FieldError::Missing { field: "lease.inputs.kind" }),
    }
}

fn id<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<(), FieldError> {
    fixed::<N>(field, bytes).map(drop)
}

fn text(field: &'static str, text: &str, limit: usize) -> Result<(), FieldError> {
    if text.len() > limit {
        return Err(FieldError::TooMuch { field, unit: "bytes", limit, got: text.len() });
    }
    Ok(())
}

/// A short text that becomes one line of something signed: a line break in it could forge the next line.
pub(crate) fn line(field: &'static str, value: &str) -> Result<(), FieldError> {
    text(field, value, NAME_BYTES_MAX)?;
    match value.chars().find(|character| character.is_control()) {
        Some(control) => {
            Err(FieldError::Range { field, expected: "free of control characters", got: u32::from(control).into() })
        }
        None => Ok(()),
    }
}

fn count(field: &'static str, got: usize, limit: usize) -> Result<(), FieldError> {
    if got > limit {
        return Err(FieldError::TooMuch { field, unit: "entries", limit, got });
    }
    Ok(())
}
