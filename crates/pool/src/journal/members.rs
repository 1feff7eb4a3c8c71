//! What the journal keeps of a pool's members, of what was decided on their deals, and of how much they had.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use gristmill_datadir::DbError;
use gristmill_protocol::join::TokenHash;
use gristmill_types::DealId;

use super::Journal;
use crate::members::{Change, Invite, Members, Owned, QUOTA_DAYS, Record};

/// Milliseconds of leases by (requester, day of Unix time).
pub type SpentTable = BTreeMap<(Address, u32), u64>;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600_000;

/// The day of a time, in days of Unix time.
pub fn day(unix_ms: u64) -> u32 {
    u32::try_from(unix_ms / DAY_MS).unwrap_or(u32::MAX)
}

pub(super) fn spent_key(requester: Address, day: u32) -> Vec<u8> {
    [requester.as_slice(), &day.to_be_bytes()].concat()
}

fn parse_spent_key(key: &[u8]) -> Option<(Address, u32)> {
    let day = key.get(20..)?.try_into().ok()?;
    Some((Address::from_slice(key.get(..20)?), u32::from_be_bytes(day)))
}

impl Journal {
    /// Writes what has changed about the pool's members, all or none, with one sync. Blocks for the disk.
    ///
    /// # Errors
    /// [`DbError`]; then nothing has changed.
    pub fn write_members(&self, changes: &[Change]) -> Result<(), DbError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = self.db.batch();
        for change in changes {
            batch = match change {
                Change::Put(Record::User(user)) => {
                    batch.put_json(&self.members, format!("user:{}", user.name).as_bytes(), user)?
                }
                Change::Put(Record::Group(group)) => {
                    batch.put_json(&self.members, format!("group:{}", group.name).as_bytes(), group)?
                }
                Change::Put(Record::Owned(owned)) => {
                    let key = format!("owned:{}:{}", owned.kind.name(), owned.address);
                    batch.put_json(&self.members, key.as_bytes(), owned)?
                }
                Change::Put(Record::Invite(hash, invite)) => {
                    batch.put_json(&self.members, format!("invite:{hash}").as_bytes(), invite)?
                }
                Change::Forget(hash) => batch.delete(&self.members, format!("invite:{hash}").as_bytes()),
            };
        }
        batch.commit()
    }

    /// The pool's members.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn members(&self) -> Result<Members, DbError> {
        let mut members = Members::default();
        for entry in self.members.iter()? {
            let (key, value) = entry?;
            let key = String::from_utf8_lossy(&key);
            let record = match key.split_once(':') {
                Some(("user", _)) => Record::User(self.members.parse_json(&value)?),
                Some(("group", _)) => Record::Group(self.members.parse_json(&value)?),
                Some(("owned", _)) => Record::Owned(self.members.parse_json::<Owned>(&value)?),
                Some(("invite", hash)) => match hash.parse::<TokenHash>() {
                    Ok(hash) => Record::Invite(hash, self.members.parse_json::<Invite>(&value)?),
                    Err(_) => continue,
                },
                // Of a later version: what it means is not known here.
                _ => continue,
            };
            members.apply([Change::Put(record)]);
        }
        Ok(members)
    }

    /// How long the leases of requesters lasted, by day; days before the last [`QUOTA_DAYS`] are forgotten.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn spent(&self, now_ms: u64) -> Result<SpentTable, DbError> {
        let today = u64::from(day(now_ms));
        let (mut found, mut batch) = (SpentTable::new(), self.db.batch());
        let mut has_old = false;
        for entry in self.spent.iter()? {
            let (key, value) = entry?;
            let Some((requester, day)) = parse_spent_key(&key) else { continue };
            if u64::from(day) + QUOTA_DAYS <= today {
                batch = batch.delete(&self.spent, &key);
                has_old = true;
            } else {
                found.insert((requester, day), self.spent.parse_json(&value)?);
            }
        }
        if has_old {
            batch.commit()?;
        }
        Ok(found)
    }

    /// Remembers why the pool does not take a deal, or that it does.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn set_verdict(&self, deal: DealId, refusal: &Option<String>) -> Result<(), DbError> {
        self.verdicts.put_json(deal.as_bytes(), refusal)
    }

    /// What was remembered of a deal, if anything was.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn verdict(&self, deal: DealId) -> Result<Option<Option<String>>, DbError> {
        self.verdicts.get(deal.as_bytes())?.map(|bytes| self.verdicts.parse_json(&bytes)).transpose()
    }

    /// Remembers whether the pool is for members only.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn set_private(&self, private: bool) -> Result<(), DbError> {
        self.meta.put_json(b"private", &private)
    }

    /// Whether the pool is for members only.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn is_private(&self) -> Result<bool, DbError> {
        Ok(self.meta.get_json(b"private")?.unwrap_or(false))
    }
}
