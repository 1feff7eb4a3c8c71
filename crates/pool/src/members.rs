//! Know who belongs to a pool: its users and their groups, what is owned and who may use it, and the invitations that let more in.
//!
//! Rights are those of XtremWeb-HEP, and of files: a worker, an app or a dataset has an owner, a group and a [`Mode`]; of each of its three
//! digits only the x bit means something: may use. A *private* pool takes work and workers of members only; rights and quotas hold in any.
//!
//! The state is pure: each method says what would change, as [`Change`]s, which are written (`Journal::write_members`) before they are
//! [applied](Members::apply) and anybody is told.

mod admin;
mod invite;
mod mode;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::Address;
use gristmill_protocol::join::TokenHash;
use serde::{Deserialize, Serialize};

pub use admin::{Deed, MembersError};
pub use invite::{Invite, Join, JoinError, Joined, Redeemed, Terms};
pub use mode::Mode;
pub use names::Names;

/// Users, expelled ones too.
pub const USERS_MAX: usize = 2_000;
/// Groups.
pub const GROUPS_MAX: usize = 256;
/// Groups of one user, besides the first.
pub const USER_GROUPS_MAX: usize = 16;
/// Keys with which one user asks for work: a key a machine.
pub const USER_KEYS_MAX: usize = 16;
/// Workers, apps and datasets of which it is known whose they are.
pub const OWNED_MAX: usize = 8_000;
/// Invitations that are kept, used up and expired ones too.
pub const INVITATIONS_MAX: usize = 500;
/// Days over which computing time is counted for a quota.
pub const QUOTA_DAYS: u64 = 30;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// How much somebody may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Tasks that are not over, at a time; `None`: as many as they like.
    pub tasks: Option<u64>,
    /// Hours of leases within the last [`QUOTA_DAYS`] days; `None`: as many as they like.
    pub cpu_hours: Option<u64>,
}

/// Somebody with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What people say.
    pub name: String,
    /// The keys with which work is asked for.
    pub keys: BTreeSet<Address>,
    /// The group that reports and quotas count the user under.
    pub group: Option<String>,
    /// Further groups, for rights.
    pub groups: BTreeSet<String>,
    /// How much it may have.
    pub quota: Quota,
    /// No member any more; kept so that reports still have the name.
    pub expelled: bool,
    /// When it joined, in milliseconds of Unix time.
    pub since_unix_ms: u64,
}

impl User {
    /// Whether it is in a group, whichever comes first.
    pub fn is_in(&self, group: &str) -> bool {
        self.group.as_deref() == Some(group) || self.groups.contains(group)
    }
}

/// Users that are counted, or trusted, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What people say.
    pub name: String,
    /// How much its users may have together.
    pub quota: Quota,
}

/// What can be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A machine that works for the pool.
    Worker,
    /// An app on the ledger.
    App,
    /// A dataset on the ledger.
    Dataset,
}

impl Kind {
    /// A word for people and for keys on the disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::App => "app",
            Self::Dataset => "dataset",
        }
    }
}

/// Whose something is, and who may use it. A worker is a member by having one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// What it is.
    pub kind: Kind,
    /// Where it is on the ledger.
    pub address: Address,
    /// What people call a worker; empty for what has a name on the ledger.
    pub name: String,
    /// The user whose it is; `None`: nobody's here.
    pub owner: Option<String>,
    /// The group to which the middle digit applies.
    pub group: Option<String>,
    /// Who may use it.
    pub mode: Mode,
}

/// Something that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A user, by its name.
    User(User),
    /// A group, by its name.
    Group(Group),
    /// Something owned, by its kind and address.
    Owned(Owned),
    /// An invitation, by its token's hash.
    Invite(TokenHash, Invite),
}

/// What a step changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This holds now, in place of what had its key.
    Put(Record),
    /// An invitation is forgotten.
    Forget(TokenHash),
}

/// What the users have now, which quotas are held against; by key.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Tasks that are not over.
    pub open: BTreeMap<Address, u64>,
    /// Milliseconds of leases within [`QUOTA_DAYS`] days.
    pub spent_ms: BTreeMap<Address, u64>,
}

/// A deal, or what may become one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Who asks.
    pub requester: Address,
    /// The app; zero for one that is not on the ledger yet.
    pub app: Address,
    /// The dataset; zero for none.
    pub dataset: Address,
    /// How many tasks.
    pub tasks: u64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Members {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
    owned: BTreeMap<(Kind, Address), Owned>,
    invites: BTreeMap<TokenHash, Invite>,
    /// INVARIANT: each key of a user, and nothing else, with the user's name.
    users_by_key: BTreeMap<Address, String>,
}

impl Members {
    /// Takes in what was written.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Put(Record::User(user)) => {
                    self.users_by_key.retain(|_, name| *name != user.name);
                    self.users_by_key.extend(user.keys.iter().map(|key| (*key, user.name.clone())));
                    self.users.insert(user.name.clone(), user);
                }
                Change::Put(Record::Group(group)) => drop(self.groups.insert(group.name.clone(), group)),
                Change::Put(Record::Owned(owned)) => drop(self.owned.insert((owned.kind, owned.address), owned)),
                Change::Put(Record::Invite(hash, invite)) => drop(self.invites.insert(hash, invite)),
                Change::Forget(hash) => drop(self.invites.remove(&hash)),
            }
        }
    }

    /// Whether nothing was ever said of anybody.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.owned.is_empty() && self.invites.is_empty()
    }

    /// The users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// The groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// What is owned, by kind and address.
    pub fn owned(&self) -> impl Iterator<Item = &Owned> {
        self.owned.values()
    }

    /// The invitations.
    pub fn invites(&self) -> impl Iterator<Item = (&TokenHash, &Invite)> {
        self.invites.iter()
    }

    /// The member with this key.
    pub fn user_of(&self, key: Address) -> Option<&User> {
        self.users_by_key.get(&key).and_then(|name| self.users.get(name)).filter(|user| !user.expelled)
    }

    /// A worker that was invited, and whose owner is still a member.
    pub fn worker(&self, worker: Address) -> Option<&Owned> {
        let owned = self.owned.get(&(Kind::Worker, worker))?;
        let is_expelled = |name: &String| self.users.get(name).is_none_or(|user| user.expelled);
        (!owned.owner.as_ref().is_some_and(is_expelled)).then_some(owned)
    }

    /// Something that is owned.
    pub fn owned_at(&self, kind: Kind, address: Address) -> Option<&Owned> {
        self.owned.get(&(kind, address))
    }

    /// Whether a user, or a stranger, may use something: as with files, the first digit is for the owner, the second for its group, the
    /// third for all others.
    pub fn may_use(user: Option<&User>, owned: &Owned) -> bool {
        let is_owner = user.is_some_and(|user| owned.owner.as_ref() == Some(&user.name));
        let is_in_group = owned.group.as_ref().is_some_and(|group| user.is_some_and(|user| user.is_in(group)));
        match (is_owner, is_in_group) {
            (true, _) => owned.mode.owner_may(),
            (false, true) => owned.mode.group_may(),
            (false, false) => owned.mode.others_may(),
        }
    }

    /// Whose tasks a worker may be given; `None`: everybody's.
    pub fn served_by(&self, worker: Address) -> Option<Arc<BTreeSet<Address>>> {
        let owned = self.owned.get(&(Kind::Worker, worker))?;
        if owned.mode.others_may() {
            return None;
        }
        let members = self.users.values().filter(|user| !user.expelled && Self::may_use(Some(user), owned));
        Some(Arc::new(members.flat_map(|user| user.keys.iter().copied()).collect()))
    }

    /// Why the pool does not take a deal, if so: who asks is a stranger to a private pool, may not use the app or the data, or has too
    /// much already.
    pub fn refusal(&self, is_private: bool, wish: &Wish, usage: &Usage) -> Option<String> {
        let user = self.user_of(wish.requester);
        if is_private && user.is_none() {
            return Some(NOT_INVITED.to_owned());
        }
        for (kind, address) in [(Kind::App, wish.app), (Kind::Dataset, wish.dataset)] {
            let Some(owned) = self.owned.get(&(kind, address)).filter(|owned| !Self::may_use(user, owned)) else {
                continue;
            };
            let who = user.map_or("strangers", |user| user.name.as_str());
            let (kind, rights) = (kind.name(), owned.rights());
            return Some(format!(
                "rights: {who} may not use the {kind} {address} here ({rights}): ask its owner, or the pool's operator (`gristmill pool chmod`)"
            ));
        }
        self.over_quota(user?, wish.tasks, usage)
    }

    /// The first of the user's and its group's quotas that more tasks would break.
    fn over_quota(&self, user: &User, more: u64, usage: &Usage) -> Option<String> {
        let group = user.group.as_ref().and_then(|name| self.groups.get(name));
        let of_user = (format!("user {}", user.name), user.quota, [user].to_vec());
        let of_group = group.map(|group| {
            let users = self.users.values().filter(|other| other.group.as_ref() == Some(&group.name)).collect();
            (format!("group {}", group.name), group.quota, users)
        });
        let checks: [Option<(String, Quota, Vec<&User>)>; 2] = [Some(of_user), of_group];
        checks.into_iter().flatten().find_map(|(who, quota, users)| {
            let keys = || users.iter().flat_map(|user| user.keys.iter());
            let open: u64 = keys().filter_map(|key| usage.open.get(key)).sum();
            if let Some(most) = quota.tasks
                && open.saturating_add(more) > most
            {
                return Some(format!(
                    "quota: {who} may have {most} open tasks and has {open}, {more} more are too many: ask for fewer, or wait until some are over"
                ));
            }
            let spent: u64 = keys().filter_map(|key| usage.spent_ms.get(key)).sum();
            quota.cpu_hours.filter(|hours| spent >= hours.saturating_mul(HOUR_MS)).map(|hours| {
                format!("quota: {who} has had its {hours} CPU-hours of the last {QUOTA_DAYS} days: wait, or ask the pool's operator for more")
            })
        })
    }
}

impl Owned {
    /// Owner, group and mode in words.
    pub fn rights(&self) -> String {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        format!("owner {}, group {}, mode {}", name(&self.owner), name(&self.group), self.mode)
    }
}

/// What strangers to a private pool are told of their deals.
const NOT_INVITED: &str = "members only: this pool is private, and who asks is no member: ask its operator for an invitation \
                           (`gristmill pool invite`), redeem it with `gristmill join`, and run the job again";

#[cfg(test)]
mod tests;
