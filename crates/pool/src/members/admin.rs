//! What the operator changes.

use alloy_primitives::Address;
use gristmill_protocol::join::name_objection;
use serde::{Deserialize, Serialize};

use super::invite::{enter, founder};
use super::{
    Change, GROUPS_MAX, Group, Kind, Members, Mode, OWNED_MAX, Owned, Quota, Record, USER_GROUPS_MAX, USER_KEYS_MAX,
    USERS_MAX, User,
};

/// Names that stand for something else in reports.
const RESERVED: [&str; 3] = ["total", "other", "none"];

/// What the operator has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// Says who may use something.
    Chmod {
        /// What.
        kind: Kind,
        /// Where it is on the ledger.
        address: Address,
        /// Who owns it there: its owner here, unless it has one.
        ledger_owner: Option<Address>,
        /// Who may.
        mode: Mode,
    },
    /// Says whose something is.
    Chown {
        /// What.
        kind: Kind,
        /// Where it is on the ledger.
        address: Address,
        /// As for [`Deed::Chmod`].
        ledger_owner: Option<Address>,
        /// The user; `None`: as it was.
        owner: Option<String>,
        /// The group; `None`: as it was.
        group: Option<String>,
    },
    /// Puts a user into a group, which is made if there is none.
    Enter {
        /// Who.
        user: String,
        /// Where.
        group: String,
    },
    /// Takes a user out of a group.
    Leave {
        /// Who.
        user: String,
        /// Where.
        group: String,
    },
    /// Says how much a group, or a user, may have.
    Quota {
        /// The name.
        name: String,
        /// Of a user, not of a group.
        of_user: bool,
        /// How much; `None` as in [`Quota`].
        quota: Quota,
    },
    /// Expels a user, and its workers.
    Expel {
        /// Who.
        user: String,
    },
}

/// Something that cannot be done, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// A name that is none.
    #[error("{name:?} cannot name a {what}: {why}")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// Nobody is called that.
    #[error("there is no {what} {name} here: `gristmill pool members` shows who is")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A user is not in the group.
    #[error("{user} is not in the group {group}")]
    NotIn {
        /// Who.
        user: String,
        /// Where.
        group: String,
    },
    /// A worker that never joined.
    #[error("the worker {address} is no member here: it has to join first (`gristmill pool invite`)")]
    NoWorker {
        /// Which.
        address: Address,
    },
    /// No room.
    #[error("there is no room for more {what}: {max} is the most")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// An invitation to nothing.
    #[error("an invitation is for who asks for work, for workers, or for both")]
    NoRole,
    /// A group's worker without a group.
    #[error("--exclusive makes workers that serve one group alone: say which with --group")]
    NoGroupToServe,
    /// Uses out of range.
    #[error("an invitation is for 1 to {max} machines, not {got}")]
    Uses {
        /// What was asked for.
        got: u32,
        /// The bound.
        max: u32,
    },
    /// A time that is over, or far away.
    #[error("an invitation is good for a second to a year")]
    Expiry,
}

/// Whether a name stands for something else in reports.
pub(super) fn reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Whether somebody or something can be called that.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), MembersError> {
    let why = name_objection(name).or(reserved(name).then_some("it stands for something else in reports"));
    let shown = || name.chars().take(64).collect();
    why.map_or(Ok(()), |why| Err(MembersError::Name { what, name: shown(), why }))
}

impl Members {
    /// What the operator's deed changes.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn perform(&self, deed: &Deed) -> Result<Vec<Change>, MembersError> {
        match deed {
            Deed::Chmod { kind, address, ledger_owner, mode } => {
                let owned = self.owned_or_new(*kind, *address, *ledger_owner)?;
                Ok(vec![Change::Put(Record::Owned(Owned { mode: *mode, ..owned }))])
            }
            Deed::Chown { kind, address, ledger_owner, owner, group } => {
                let mut owned = self.owned_or_new(*kind, *address, *ledger_owner)?;
                if let Some(owner) = owner {
                    owned.owner = Some(self.member(owner)?.name.clone());
                }
                if let Some(group) = group {
                    owned.group = Some(self.group(group)?.name.clone());
                }
                Ok(vec![Change::Put(Record::Owned(owned))])
            }
            Deed::Enter { user, group } => {
                let mut user = self.member(user)?.clone();
                let mut changes: Vec<Change> = self.group_or_new(group)?.into_iter().collect();
                enter(&mut user, group);
                if user.groups.len() > USER_GROUPS_MAX {
                    return Err(MembersError::Full { what: "groups of this user", max: USER_GROUPS_MAX });
                }
                changes.push(Change::Put(Record::User(user)));
                Ok(changes)
            }
            Deed::Leave { user, group } => self.leave(user, group),
            Deed::Quota { name, of_user: true, quota } => {
                let user = User { quota: *quota, ..self.member(name)?.clone() };
                Ok(vec![Change::Put(Record::User(user))])
            }
            Deed::Quota { name, of_user: false, quota } => {
                let group = Group { quota: *quota, ..self.group(name)?.clone() };
                Ok(vec![Change::Put(Record::Group(group))])
            }
            Deed::Expel { user } => {
                let user = User { expelled: true, ..self.member(user)?.clone() };
                Ok(vec![Change::Put(Record::User(user))])
            }
        }
    }

    /// Takes out of a group; the next one, if there is any, is then counted for the user.
    fn leave(&self, user: &str, group: &str) -> Result<Vec<Change>, MembersError> {
        let mut user = self.member(user)?.clone();
        if user.group.as_deref() == Some(group) {
            user.group = user.groups.pop_first();
        } else if !user.groups.remove(group) {
            return Err(MembersError::NotIn { user: user.name, group: group.chars().take(64).collect() });
        }
        Ok(vec![Change::Put(Record::User(user))])
    }

    /// Makes sure that the one who runs the pool, and its own workers, are members; what is known of them already stays as it is.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn found(
        &self,
        name: &str,
        key: Address,
        workers: &[(Address, String)],
        now_ms: u64,
    ) -> Result<Vec<Change>, MembersError> {
        check_name("user", name)?;
        let mut changes = Vec::new();
        let owner = match self.users_by_key.get(&key) {
            Some(owner) => owner.clone(),
            None => {
                let mut user = self.users.get(name).cloned().unwrap_or_else(|| founder(name, now_ms));
                user.keys.insert(key);
                if user.group.is_none() {
                    changes.extend(self.group_or_new(name)?);
                    user.group = Some(name.to_owned());
                }
                if user.keys.len() > USER_KEYS_MAX || self.users.len() >= USERS_MAX {
                    return Err(MembersError::Full { what: "users", max: USERS_MAX });
                }
                changes.push(Change::Put(Record::User(user)));
                name.to_owned()
            }
        };
        let fresh = workers.iter().filter(|(worker, _)| self.owned_at(Kind::Worker, *worker).is_none());
        changes.extend(fresh.map(|(worker, name)| {
            let (owner, group) = (Some(owner.clone()), None);
            let (kind, address, name) = (Kind::Worker, *worker, name.clone());
            Change::Put(Record::Owned(Owned { kind, address, name, owner, group, mode: Mode::PUBLIC }))
        }));
        Ok(changes)
    }

    /// A worker by its name.
    pub fn worker_named(&self, name: &str) -> Option<&Owned> {
        self.owned.values().find(|owned| owned.kind == Kind::Worker && owned.name == name)
    }

    /// Makes the group if there is none.
    pub(super) fn group_or_new(&self, name: &str) -> Result<Option<Change>, MembersError> {
        if self.groups.contains_key(name) {
            return Ok(None);
        }
        check_name("group", name)?;
        if self.groups.len() >= GROUPS_MAX {
            return Err(MembersError::Full { what: "groups", max: GROUPS_MAX });
        }
        Ok(Some(Change::Put(Record::Group(Group { name: name.to_owned(), quota: Quota::default() }))))
    }

    fn member(&self, name: &str) -> Result<&User, MembersError> {
        let user = self.users.get(name).filter(|user| !user.expelled);
        user.ok_or_else(|| MembersError::Unknown { what: "user", name: name.chars().take(64).collect() })
    }

    fn group(&self, name: &str) -> Result<&Group, MembersError> {
        let group = self.groups.get(name);
        group.ok_or_else(|| MembersError::Unknown { what: "group", name: name.chars().take(64).collect() })
    }

    /// What is known of something; everybody may use what nothing is known of.
    fn owned_or_new(&self, kind: Kind, address: Address, ledger_owner: Option<Address>) -> Result<Owned, MembersError> {
        if let Some(owned) = self.owned_at(kind, address) {
            return Ok(owned.clone());
        }
        if kind == Kind::Worker {
            return Err(MembersError::NoWorker { address });
        }
        if self.owned.len() >= OWNED_MAX {
            return Err(MembersError::Full { what: "workers, apps and datasets", max: OWNED_MAX });
        }
        let user = ledger_owner.and_then(|key| self.user_of(key));
        let (owner, group) = (user.map(|user| user.name.clone()), user.and_then(|user| user.group.clone()));
        Ok(Owned { kind, address, name: String::new(), owner, group, mode: Mode::PUBLIC })
    }
}
