//! Invitations, and how one is redeemed.

use alloy_primitives::Address;
use gristmill_protocol::join::{NAME_CHARS_MAX, TokenHash};
use serde::{Deserialize, Serialize};

use super::admin::{MembersError, reserved};
use super::{
    Change, INVITATIONS_MAX, Kind, Members, Mode, OWNED_MAX, Owned, Quota, Record, USER_GROUPS_MAX, USER_KEYS_MAX,
    USERS_MAX, User,
};
use crate::config::FOUNDER;

/// Most machines that one invitation lets in.
pub const USES_MAX: u32 = 500;
/// Longest time for which an invitation is good, in milliseconds: a year.
pub const EXPIRY_MS_MAX: u64 = 366 * 24 * 3_600_000;
/// Numbers that are tried behind a name that is taken.
const NUMBERED_MAX: u32 = 10_000;

/// What an invitation lets its holder do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Whoever redeems it is in this group.
    pub group: Option<String>,
    /// Whoever redeems it is this user; `None`: a new one.
    pub user: Option<String>,
    /// Lets a key in that asks for work.
    pub requester: bool,
    /// Lets a worker in.
    pub worker: bool,
    /// Its workers are for the group alone at first (mode 750), not for everybody.
    pub exclusive: bool,
    /// Machines that it lets in; up to `USES_MAX`.
    pub uses: u32,
    /// Until when it is good, in milliseconds of Unix time.
    pub expires_unix_ms: u64,
}

/// A machine that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeemed {
    /// Its key that asks for work.
    pub requester: Option<Address>,
    /// Its worker.
    pub worker: Option<Address>,
    /// Whose it is.
    pub user: String,
}

/// An invitation. Its token is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// What it lets its holder do.
    pub terms: Terms,
    /// Who came in by it.
    pub redeemed: Vec<Redeemed>,
}

impl Invite {
    /// Machines that it still lets in.
    pub fn uses_left(&self) -> u32 {
        self.terms.uses.saturating_sub(u32::try_from(self.redeemed.len()).unwrap_or(u32::MAX))
    }

    /// Whether it lets more machines in.
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.uses_left() > 0 && now_ms < self.terms.expires_unix_ms
    }
}

/// Somebody with a token. Whose keys they are was checked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Of the token.
    pub hash: TokenHash,
    /// What the user wants to be called; empty for whatever is free.
    pub user: String,
    /// The user chose that, so that nothing like it will do.
    pub user_chosen: bool,
    /// What the machine is called; empty for whatever is free.
    pub machine: String,
    /// A key to ask for work with.
    pub requester: Option<Address>,
    /// A worker.
    pub worker: Option<Address>,
}

/// Who came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What the user is called.
    pub user: String,
    /// The group it is counted under.
    pub group: Option<String>,
    /// Whether the key may ask for work.
    pub requester: bool,
    /// What the worker is called, if it came in.
    pub worker: Option<String>,
}

/// An invitation that lets nobody in, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It is not this pool's.
    #[error(
        "this pool has no such invitation: the line is not whole, or the invitation was withdrawn; ask the pool's operator for a new one (`gristmill pool invite`)"
    )]
    Unknown,
    /// Its time is over.
    #[error("this invitation has expired: ask the pool's operator for a new one (`gristmill pool invite`)")]
    Expired,
    /// As many as it was for came in.
    #[error(
        "this invitation is used up, {uses} came in by it: ask the pool's operator for a new one (`gristmill pool invite`, with --uses for more than one machine)"
    )]
    UsedUp {
        /// How many it was for.
        uses: u32,
    },
    /// It is only for workers.
    #[error(
        "this invitation is for a machine that works, not for one that asks for work: add --worker, or ask the pool's operator for another one"
    )]
    WorkersOnly,
    /// It is only for who asks for work.
    #[error(
        "this invitation is for asking for work, not for lending a machine: leave --worker out, or ask the pool's operator for another one"
    )]
    RequestersOnly,
    /// Somebody else has the name.
    #[error(
        "the name {name} is taken here: choose another one with --name; or, if {name} is you, ask the pool's operator for an invitation of yours (`gristmill pool invite --user {name}`)"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The key is somebody else's.
    #[error(
        "this machine's key is {name}'s here, and the invitation is for somebody else: choose another folder with --data-dir"
    )]
    KeyTaken {
        /// Whose it is.
        name: String,
    },
    /// The user was expelled.
    #[error(
        "{name} was expelled from this pool: only its operator can take {name} in again (`gristmill pool invite --user {name}`)"
    )]
    Expelled {
        /// Who.
        name: String,
    },
    /// No room.
    #[error("the pool has no room for more {what}, it has {max}: its operator has to make some")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The disk.
    #[error("the pool could not write that down, and nobody came in: try again, or tell its operator ({0})")]
    NotWritten(String),
}

impl Members {
    /// Makes an invitation whose token has this hash.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn invite(&self, hash: TokenHash, terms: Terms, now_ms: u64) -> Result<Vec<Change>, MembersError> {
        if !terms.requester && !terms.worker {
            return Err(MembersError::NoRole);
        }
        if terms.exclusive && terms.group.is_none() {
            return Err(MembersError::NoGroupToServe);
        }
        if terms.uses == 0 || terms.uses > USES_MAX {
            return Err(MembersError::Uses { got: terms.uses, max: USES_MAX });
        }
        if terms.expires_unix_ms <= now_ms || terms.expires_unix_ms - now_ms > EXPIRY_MS_MAX {
            return Err(MembersError::Expiry);
        }
        if let Some(user) = &terms.user {
            super::admin::check_name("user", user)?;
        }
        let mut changes = Vec::new();
        if let Some(group) = &terms.group {
            changes.extend(self.group_or_new(group)?);
        }
        if self.invites.len() >= INVITATIONS_MAX {
            // The one that is good for nothing any more, and was for the longest.
            let closed = self.invites.iter().filter(|(_, invite)| !invite.is_open(now_ms));
            let oldest = closed.min_by_key(|(_, invite)| invite.terms.expires_unix_ms);
            let (hash, _) = oldest.ok_or(MembersError::Full { what: "invitations", max: INVITATIONS_MAX })?;
            changes.push(Change::Forget(*hash));
        }
        changes.push(Change::Put(Record::Invite(hash, Invite { terms, redeemed: Vec::new() })));
        Ok(changes)
    }

    /// Lets somebody in. A machine that came in already by this invitation is told the same again, and takes no use; one that left a key
    /// out then may bring it now.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn redeem(&self, join: &Join, now_ms: u64) -> Result<(Vec<Change>, Joined), JoinError> {
        let invite = self.invites.get(&join.hash).ok_or(JoinError::Unknown)?;
        let before = invite.redeemed.iter().position(|redeemed| redeemed.is_of(join));
        let granted = granted(join, &invite.terms)?;
        if let Some(at) = before {
            let entry = &invite.redeemed[at];
            if let Some(joined) = self.joined_before(&granted, entry)? {
                return Ok((Vec::new(), joined));
            }
        }
        if now_ms >= invite.terms.expires_unix_ms {
            return Err(JoinError::Expired);
        }
        if before.is_none() && invite.uses_left() == 0 {
            return Err(JoinError::UsedUp { uses: invite.terms.uses });
        }
        let mut user = self.user_for(&granted, &invite.terms, now_ms)?;
        if let Some(requester) = granted.requester {
            user.keys.insert(requester);
            if user.keys.len() > USER_KEYS_MAX {
                return Err(JoinError::Full { what: "keys of this user", max: USER_KEYS_MAX });
            }
        }
        if let Some(group) = &invite.terms.group {
            enter(&mut user, group);
            if user.groups.len() > USER_GROUPS_MAX {
                return Err(JoinError::Full { what: "groups of this user", max: USER_GROUPS_MAX });
            }
        }
        let mut joined = Joined {
            user: user.name.clone(),
            group: user.group.clone(),
            requester: granted.requester.is_some(),
            worker: None,
        };
        let mut invite = invite.clone();
        let entry = Redeemed { requester: granted.requester, worker: granted.worker, user: user.name.clone() };
        match before {
            Some(at) => invite.redeemed[at].complete(entry),
            None => invite.redeemed.push(entry),
        }
        let mut changes = Vec::new();
        if let Some(worker) = granted.worker {
            let owned = self.worker_for(worker, join, &user, &invite.terms)?;
            joined.worker = Some(owned.name.clone());
            changes.push(Change::Put(Record::Owned(owned)));
        }
        changes.push(Change::Put(Record::User(user)));
        changes.push(Change::Put(Record::Invite(join.hash, invite)));
        Ok((changes, joined))
    }

    /// What a machine was told before, if it brings no new key.
    fn joined_before(&self, join: &Join, entry: &Redeemed) -> Result<Option<Joined>, JoinError> {
        let user = self.users.get(&entry.user).ok_or(JoinError::Unknown)?;
        if user.expelled {
            return Err(JoinError::Expelled { name: user.name.clone() });
        }
        let is_new = |key: Option<Address>, before: Option<Address>| key.is_some() && before.is_none();
        if is_new(join.requester, entry.requester) || is_new(join.worker, entry.worker) {
            return Ok(None);
        }
        let worker = join.worker.and_then(|worker| self.owned_at(Kind::Worker, worker)).map(|owned| owned.name.clone());
        let requester = join.requester.is_some();
        Ok(Some(Joined { user: user.name.clone(), group: user.group.clone(), requester, worker }))
    }

    /// The user that whoever joins is, or will be.
    fn user_for(&self, join: &Join, terms: &Terms, now_ms: u64) -> Result<User, JoinError> {
        let by_key = join.requester.and_then(|key| self.users_by_key.get(&key).cloned());
        let by_worker = || join.worker.and_then(|worker| self.owned_at(Kind::Worker, worker)?.owner.clone());
        let known = by_key.or_else(by_worker);
        if let (Some(name), Some(invited)) = (&known, &terms.user)
            && name != invited
        {
            return Err(JoinError::KeyTaken { name: name.clone() });
        }
        let known = known.or_else(|| terms.user.clone().filter(|name| self.users.contains_key(name)));
        if let Some(user) = known.and_then(|name| self.users.get(&name)) {
            if user.expelled && terms.user.is_none() {
                return Err(JoinError::Expelled { name: user.name.clone() });
            }
            return Ok(User { expelled: false, ..user.clone() });
        }
        if self.users.len() >= USERS_MAX {
            return Err(JoinError::Full { what: "users", max: USERS_MAX });
        }
        let name = match &terms.user {
            Some(name) => name.clone(),
            None => self.free_user_name(join)?,
        };
        let (keys, groups, quota) = Default::default();
        Ok(User { name, keys, group: None, groups, quota, expelled: false, since_unix_ms: now_ms })
    }

    fn free_user_name(&self, join: &Join) -> Result<String, JoinError> {
        let wanted = if join.user.is_empty() { "user" } else { join.user.as_str() };
        // Whoever runs the pool may come later, and nobody is to be there before under that name.
        let is_taken = |name: &str| self.users.contains_key(name) || reserved(name) || name == FOUNDER;
        if join.user_chosen && is_taken(wanted) {
            return Err(JoinError::NameTaken { name: wanted.to_owned() });
        }
        numbered(wanted, is_taken).ok_or_else(|| JoinError::NameTaken { name: wanted.to_owned() })
    }

    /// What is known of the worker from now on.
    fn worker_for(&self, worker: Address, join: &Join, user: &User, terms: &Terms) -> Result<Owned, JoinError> {
        if let Some(owned) = self.owned_at(Kind::Worker, worker) {
            return match owned.owner.as_ref().filter(|owner| **owner != user.name) {
                Some(name) => Err(JoinError::KeyTaken { name: name.clone() }),
                None => Ok(Owned { owner: Some(user.name.clone()), ..owned.clone() }),
            };
        }
        if self.owned.len() >= OWNED_MAX {
            return Err(JoinError::Full { what: "workers", max: OWNED_MAX });
        }
        let wanted = if join.machine.is_empty() { "worker" } else { join.machine.as_str() };
        let is_taken = |name: &str| self.owned.values().any(|owned| owned.kind == Kind::Worker && owned.name == name);
        let name = numbered(wanted, is_taken).ok_or(JoinError::Full { what: "workers", max: OWNED_MAX })?;
        Ok(Owned {
            kind: Kind::Worker,
            address: worker,
            name,
            owner: Some(user.name.clone()),
            group: terms.group.clone().or_else(|| user.group.clone()),
            mode: if terms.exclusive { Mode::GROUP } else { Mode::PUBLIC },
        })
    }
}

/// The join without the keys that the invitation is not for.
fn granted(join: &Join, terms: &Terms) -> Result<Join, JoinError> {
    let requester = join.requester.filter(|_| terms.requester);
    let worker = join.worker.filter(|_| terms.worker);
    match (requester, worker) {
        (None, None) if terms.worker => Err(JoinError::WorkersOnly),
        (None, None) => Err(JoinError::RequestersOnly),
        _ => Ok(Join { requester, worker, ..join.clone() }),
    }
}

impl Redeemed {
    /// Whether it was this machine: a key of it is the same, and none is another one.
    fn is_of(&self, join: &Join) -> bool {
        let same = |one: Option<Address>, two: Option<Address>| one.is_some() && one == two;
        let other = |one: Option<Address>, two: Option<Address>| one.is_some() && two.is_some() && one != two;
        let requester = (self.requester, join.requester);
        let worker = (self.worker, join.worker);
        (same(requester.0, requester.1) || same(worker.0, worker.1))
            && !other(requester.0, requester.1)
            && !other(worker.0, worker.1)
    }

    fn complete(&mut self, more: Self) {
        self.requester = self.requester.or(more.requester);
        self.worker = self.worker.or(more.worker);
    }
}

/// Puts a user into a group: as its first if it has none.
pub(super) fn enter(user: &mut User, group: &str) {
    match &user.group {
        None => user.group = Some(group.to_owned()),
        Some(first) if first == group => {}
        Some(_) => drop(user.groups.insert(group.to_owned())),
    }
}

/// The name, or the first with a number behind it that is free.
fn numbered(wanted: &str, is_taken: impl Fn(&str) -> bool) -> Option<String> {
    let with = |number: u32| {
        let end = format!("-{number}");
        let room = wanted.len().min(NAME_CHARS_MAX - end.len());
        format!("{}{end}", wanted.get(..room).unwrap_or("user"))
    };
    if !is_taken(wanted) {
        return Some(wanted.to_owned());
    }
    (2..NUMBERED_MAX).map(with).find(|name| !is_taken(name))
}

/// What a user begins with who is there from the start.
pub(super) fn founder(name: &str, now_ms: u64) -> User {
    let (keys, groups) = Default::default();
    User {
        name: name.to_owned(),
        keys,
        group: None,
        groups,
        quota: Quota::default(),
        expelled: false,
        since_unix_ms: now_ms,
    }
}
