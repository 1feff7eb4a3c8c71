//! From the bytes of a message to typed ids, with errors that name the field.

use std::fmt;

use gristmill_types::{Address, ContentId, DealId, OrderHash, TaskId};

/// A field of a message that cannot be what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// An id or a signature of the wrong length.
    #[error("{field} has {got} bytes, {expected} are needed")]
    Length {
        /// The field, as `message.field`.
        field: &'static str,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// A text, list or message past its bound.
    #[error("{field} has {got} {unit}, at most {limit} are allowed")]
    TooMuch {
        /// The field, as `message.field`.
        field: &'static str,
        /// What is counted.
        unit: &'static str,
        /// The bound.
        limit: usize,
        /// How many there are.
        got: usize,
    },
    /// A field that must be set is not.
    #[error("{field} is missing")]
    Missing {
        /// The field, as `message.field`.
        field: &'static str,
    },
    /// A number outside its range.
    #[error("{field} is {got}, which is not {expected}")]
    Range {
        /// The field, as `message.field`.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What came.
        got: u64,
    },
}

/// Name of a lease: 16 bytes, drawn by the pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub [u8; 16]);

impl LeaseId {
    /// The bytes for a message.
    pub fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LeaseId({self})")
    }
}

/// Exactly `N` bytes.
///
/// # Errors
/// [`FieldError::Length`] naming `field`.
pub fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], FieldError> {
    bytes.try_into().map_err(|_| FieldError::Length { field, expected: N, got: bytes.len() })
}

/// A lease id.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 16 bytes.
pub fn lease_id(field: &'static str, bytes: &[u8]) -> Result<LeaseId, FieldError> {
    fixed(field, bytes).map(LeaseId)
}

/// A task id.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 32 bytes.
pub fn task_id(field: &'static str, bytes: &[u8]) -> Result<TaskId, FieldError> {
    fixed::<32>(field, bytes).map(|id| TaskId(id.into()))
}

/// A deal id.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 32 bytes.
pub fn deal_id(field: &'static str, bytes: &[u8]) -> Result<DealId, FieldError> {
    fixed::<32>(field, bytes).map(|id| DealId(id.into()))
}

/// The EIP-712 hash of an order.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 32 bytes.
pub fn order_hash(field: &'static str, bytes: &[u8]) -> Result<OrderHash, FieldError> {
    fixed::<32>(field, bytes).map(|id| OrderHash(id.into()))
}

/// A content id.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 32 bytes.
pub fn content_id(field: &'static str, bytes: &[u8]) -> Result<ContentId, FieldError> {
    fixed(field, bytes).map(ContentId)
}

/// A ledger address.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 20 bytes.
pub fn address(field: &'static str, bytes: &[u8]) -> Result<Address, FieldError> {
    fixed::<20>(field, bytes).map(Address::from)
}

/// A 65-byte signature.
///
/// # Errors
/// [`FieldError::Length`] naming `field`, unless there are 65 bytes.
pub fn signature(field: &'static str, bytes: &[u8]) -> Result<[u8; 65], FieldError> {
    fixed(field, bytes)
}
