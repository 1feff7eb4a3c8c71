//! The filters of a list, as iExec's clients write them.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};

use crate::book::Entry;
use crate::order::Kind;

/// Orders of a page unless the client says otherwise.
pub const PAGE_SIZE: usize = 20;
/// The largest page.
pub const PAGE_SIZE_MAX: usize = 1_000;

/// The fields of a query string.
pub type Fields = BTreeMap<String, String>;

/// A field that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {expected}, not `{got}`")]
pub struct FieldError {
    field: &'static str,
    expected: &'static str,
    got: String,
}

/// Which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Any,
    This(Address),
}

/// To whom an order may be restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Restriction {
    kind: Kind,
    /// `None`: only orders for everybody.
    who: Option<Who>,
    /// Only orders that are restricted to exactly this one.
    strict: bool,
}

/// What a list is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    kind: Kind,
    subject: Option<Address>,
    owner: Option<Address>,
    beneficiary: Option<Address>,
    restrictions: Vec<Restriction>,
    tag_min: Option<B256>,
    tag_max: Option<B256>,
    trust_min: Option<U256>,
    trust_max: Option<U256>,
    volume_min: Option<U256>,
    category: Option<U256>,
    /// The page, from 0.
    pub page: usize,
    /// Its size.
    pub page_size: usize,
}

impl Filter {
    /// Reads the filters for orders of `kind`. Fields that nobody knows are no filters.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn read(kind: Kind, fields: &Fields) -> Result<Self, FieldError> {
        let others = Kind::ALL.into_iter().filter(|other| *other != kind);
        let restrictions = others.map(|other| {
            let strict = match other {
                Kind::App => "isAppStrict",
                Kind::Dataset => "isDatasetStrict",
                Kind::Workerpool => "isWorkerpoolStrict",
                Kind::Request => "isRequesterStrict",
            };
            let strict = fields.get(strict).is_some_and(|value| value == "true");
            Ok(Restriction { kind: other, who: who(fields, other.subject())?, strict })
        });
        let owner = match kind {
            Kind::App => "appOwner",
            Kind::Dataset => "datasetOwner",
            Kind::Workerpool => "workerpoolOwner",
            Kind::Request => "requester",
        };
        let only = |found: Option<Who>| match found {
            Some(Who::This(address)) => Some(address),
            Some(Who::Any) | None => None,
        };
        let page = number(fields, "pageIndex")?.unwrap_or_default();
        let page_size = number(fields, "pageSize")?.unwrap_or(U256::from(PAGE_SIZE));
        Ok(Self {
            kind,
            subject: only(who(fields, kind.subject())?),
            owner: only(who(fields, owner)?),
            beneficiary: only(who(fields, "beneficiary")?),
            restrictions: restrictions.collect::<Result<_, FieldError>>()?,
            tag_min: tag(fields, "minTag")?,
            tag_max: tag(fields, "maxTag")?,
            trust_min: number(fields, "minTrust")?,
            trust_max: number(fields, "maxTrust")?,
            volume_min: number(fields, "minVolume")?,
            category: number(fields, "category")?,
            page: page.saturating_to(),
            page_size: page_size.saturating_to::<usize>().clamp(1, PAGE_SIZE_MAX),
        })
    }

    /// Whether an order is to be shown. Those that are not open never are.
    pub fn shows(&self, entry: &Entry) -> bool {
        let order = &entry.order;
        if order.kind() != self.kind {
            return false;
        }
        let subject = self.subject.is_none_or(|subject| order.subject() == subject);
        let owner = self.owner.is_none_or(|owner| entry.signer == owner);
        let beneficiary = self.beneficiary.is_none_or(|wanted| match order {
            crate::order::Order::Request(request) => request.beneficiary == wanted,
            _ => true,
        });
        let tag = order.tag();
        let tag_min = self.tag_min.is_none_or(|least| tag & least == least);
        let tag_max = self.tag_max.is_none_or(|most| tag & most == tag);
        let trust_min = self.trust_min.is_none_or(|least| order.trust().is_none_or(|trust| trust >= least));
        let trust_max = self.trust_max.is_none_or(|most| order.trust().is_none_or(|trust| trust <= most));
        let volume = self.volume_min.is_none_or(|least| entry.remaining >= least);
        let category = self.category.is_none_or(|wanted| order.category().is_none_or(|category| category == wanted));
        let restrictions = self.restrictions.iter().all(|restriction| self.admits(restriction, entry));
        subject
            && owner
            && beneficiary
            && tag_min
            && tag_max
            && trust_min
            && trust_max
            && volume
            && category
            && restrictions
    }

    fn admits(&self, wanted: &Restriction, entry: &Entry) -> bool {
        let Some(restricted_to) = entry.order.restriction(wanted.kind) else { return true };
        // A request always names its app; and whoever lists requests without a pool wants to see those for any pool.
        let unasked = self.kind == Kind::Request && wanted.kind != Kind::Workerpool;
        match wanted.who {
            Some(Who::Any) => !wanted.strict || !restricted_to.is_zero(),
            Some(Who::This(address)) => restricted_to == address || (!wanted.strict && restricted_to.is_zero()),
            None => unasked || restricted_to.is_zero(),
        }
    }
}

fn who(fields: &Fields, field: &'static str) -> Result<Option<Who>, FieldError> {
    let Some(text) = fields.get(field) else { return Ok(None) };
    if text == "any" {
        return Ok(Some(Who::Any));
    }
    let bad = |_| FieldError { field, expected: "an address or `any`", got: shorten(text) };
    text.parse().map(|address| Some(Who::This(address))).map_err(bad)
}

fn tag(fields: &Fields, field: &'static str) -> Result<Option<B256>, FieldError> {
    let Some(text) = fields.get(field) else { return Ok(None) };
    let bad = |_| FieldError { field, expected: "32 bytes in hexadecimal", got: shorten(text) };
    text.parse().map(Some).map_err(bad)
}

fn number(fields: &Fields, field: &'static str) -> Result<Option<U256>, FieldError> {
    let Some(text) = fields.get(field) else { return Ok(None) };
    let bad = |_| FieldError { field, expected: "a whole number of 0 or more", got: shorten(text) };
    text.parse().map(Some).map_err(bad)
}

/// Reads an address that must be there.
///
/// # Errors
/// [`FieldError`].
pub fn address(fields: &Fields, field: &'static str) -> Result<Address, FieldError> {
    let text = fields.get(field).map_or("", String::as_str);
    text.parse().map_err(|_| FieldError { field, expected: "an address", got: shorten(text) })
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
