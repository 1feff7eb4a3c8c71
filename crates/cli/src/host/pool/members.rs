//! `gristmill pool invite` and all that is said of a pool's members.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use gristmill_pool::control::{self, Answer, Ask, InviteAsk};
use gristmill_pool::members::{Deed, Kind, Mode, Quota, User};
use gristmill_pool::status::Roster;
use gristmill_requester::{Network, Place, catalog};
use gristmill_types::Address;

use super::{FolderArgs, ask};
use crate::exit::Exit;
use crate::host::join::parse_name;
use crate::output;

const MS_PER_HOUR: f64 = 3_600_000.0;

/// Print one line that lets a machine join the pool: its address, the hash of its key, and a token
///
/// Whoever has the line may join, so hand it over as you would a password. The pool keeps only the hash of the token. Typed on the machine,
/// `gristmill join` redeems it over an encrypted connection that only this pool can have answered.
#[derive(Debug, Args)]
pub struct InviteArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Put whoever joins into this group, which is made if there is none
    #[arg(long, value_name = "GROUP", value_parser = parse_name)]
    group: Option<String>,
    /// Let this user in: for a second machine of somebody who is a member, or for a name that you choose [default: somebody new]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    user: Option<String>,
    /// Machines that it lets in
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,
    /// For how long it is good, such as 30m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_time)]
    expires: u64,
    /// Only for asking for work, not for lending machines [default: for both]
    #[arg(long, conflicts_with = "worker")]
    requester: bool,
    /// Only for lending machines, not for asking for work
    #[arg(long)]
    worker: bool,
    /// The machines that join work for the group alone (mode 750), not for every member (755)
    #[arg(long, requires = "group")]
    exclusive: bool,
    /// Invite users of this machine, though no other machine can dial the pool
    #[arg(long)]
    this_machine: bool,
}

#[derive(Debug, Args)]
pub struct InvitationsArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Withdraw the invitation with this id: nobody else comes in by it
    #[arg(long, value_name = "ID")]
    withdraw: Option<String>,
}

#[derive(Debug, Args)]
pub struct ChmodArgs {
    /// Three digits, for owner, group and others: 755 everybody, 750 the group, 700 its owner. Only the x bit (1) of each counts
    mode: Mode,
    #[command(flatten)]
    what: WhatArgs,
}

#[derive(Debug, Args)]
pub struct ChownArgs {
    /// The user, or the user and the group
    #[arg(value_name = "USER[:GROUP]")]
    owner: String,
    #[command(flatten)]
    what: WhatArgs,
}

#[derive(Debug, Args)]
pub struct ChgrpArgs {
    /// The group
    #[arg(value_parser = parse_name)]
    group: String,
    #[command(flatten)]
    what: WhatArgs,
}

/// Something that is owned.
#[derive(Debug, Args)]
pub struct WhatArgs {
    /// What it is
    #[arg(value_enum)]
    kind: What,
    /// Its name or its address
    #[arg(value_name = "NAME|ADDRESS")]
    id: String,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A machine that works for the pool
    Worker,
    /// An app on the ledger
    App,
    /// A dataset on the ledger
    Dataset,
}

/// Put a user into a group, or take one out
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Put a user into a group, which is made if there is none. A user's first group is the one that reports and quotas count it under
    Add(GroupArgs),
    /// Take a user out of a group
    Remove(GroupArgs),
}

#[derive(Debug, Args)]
pub struct GroupArgs {
    /// The user
    user: String,
    /// The group
    group: String,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Debug, Args)]
pub struct QuotaArgs {
    /// The group, or with --user the user
    name: String,
    /// NAME is a user
    #[arg(long)]
    user: bool,
    /// Tasks that may be open at a time; deals past it are refused [default: as many as they like]
    #[arg(long, value_name = "N")]
    tasks: Option<u64>,
    /// CPU-hours in 30 days; deals are refused when they are used up [default: as many as they like]
    #[arg(long, value_name = "H")]
    cpu_hours: Option<u64>,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The user
    user: String,
    #[command(flatten)]
    folder: FolderArgs,
}

/// `45s`, `30m`, `12h`, `7d`: in seconds.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no time: a whole number and s, m, h or d, such as 30m, 12h or 7d");
    let at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(bad)?;
    let (number, unit) = text.split_at(at);
    let seconds =
        [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)].iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(bad)
}

pub fn invite(args: InviteArgs, json: bool) -> anyhow::Result<Exit> {
    let folder = args.folder.pool()?;
    let invite = InviteAsk {
        group: args.group,
        user: args.user,
        requester: !args.worker,
        worker: !args.requester,
        exclusive: args.exclusive,
        uses: args.uses,
        expires_s: args.expires,
        this_machine: args.this_machine,
    };
    let Answer::Invited(invited) = control::ask(&folder, &Ask::Invite(invite))? else {
        return Err(control::other_question(&folder).into());
    };
    let worker = if invited.worker { " --worker" } else { "" };
    let command = format!("gristmill join '{}'{worker}", invited.line);
    let value = serde_json::json!({
        "command": command, "line": invited.line, "uses": invited.uses, "expires_unix_ms": invited.expires_unix_ms,
    });
    output::either(json, &value, |_| format!("{command}\n"))?;
    let (uses, until) = (output::count(invited.uses.into(), "machine"), output::when(invited.expires_unix_ms / 1_000));
    output::note(&format!("a secret: it lets {uses} in, and expires {until}"));
    Ok(Exit::Ok)
}

/// Who belongs to the pool.
fn roster(folder: &Path) -> anyhow::Result<Roster> {
    match control::ask(folder, &Ask::Members)? {
        Answer::Members(roster) => Ok(*roster),
        _ => Err(control::other_question(folder).into()),
    }
}

pub fn users(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let roster = roster(folder)?;
    output::either(json, &serde_json::json!({ "users": roster.users }), |_| users_text(&roster))?;
    Ok(Exit::Ok)
}

pub fn groups(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let roster = roster(folder)?;
    output::either(json, &serde_json::json!({ "groups": roster.groups }), |_| groups_text(&roster))?;
    Ok(Exit::Ok)
}

pub fn members(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let roster = roster(folder)?;
    output::either(json, &roster, |roster| {
        let open = roster.invitations.iter().filter(|invitation| invitation.is_open).count() as u64;
        let kind = if roster.private { "private: work and workers of members only" } else { "open to everybody" };
        let fields = output::fields([("pool", kind.to_owned()), ("invitations", format!("{open} open"))]);
        [fields, users_text(roster), groups_text(roster), owned_text(roster)].join("\n")
    })?;
    Ok(Exit::Ok)
}

pub fn invitations(args: &InvitationsArgs, json: bool) -> anyhow::Result<Exit> {
    let folder = args.folder.pool()?;
    if let Some(id) = &args.withdraw {
        return ask::explain(&folder, &Ask::Withdraw { id: id.to_lowercase() }, json);
    }
    let roster = roster(&folder)?;
    output::either(json, &serde_json::json!({ "invitations": roster.invitations }), |_| invitations_text(&roster))?;
    Ok(Exit::Ok)
}

fn dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

fn of_most(has: impl ToString, most: Option<u64>) -> String {
    let has = has.to_string();
    most.map_or(has.clone(), |most| format!("{has} of {most}"))
}

fn users_text(roster: &Roster) -> String {
    let rows = roster.users.iter().map(|row| {
        let User { name, group, groups, quota, expelled, since_unix_ms, .. } = &row.user;
        let more = groups.iter().cloned().collect::<Vec<_>>().join(" ");
        vec![
            name.clone(),
            dash(group.clone()),
            dash(Some(more)),
            of_most(row.open_tasks, quota.tasks),
            of_most(format!("{:.3}", row.spent_ms as f64 / MS_PER_HOUR), quota.cpu_hours),
            output::when(since_unix_ms / 1_000),
            if *expelled { "expelled" } else { "member" }.to_owned(),
        ]
    });
    output::table(
        &["user", "group", "more groups", "open tasks", "CPU-hours in 30 days", "joined", "is"],
        &rows.collect::<Vec<_>>(),
    )
}

fn groups_text(roster: &Roster) -> String {
    let rows = roster.groups.iter().map(|group| {
        let of =
            |row: &&gristmill_pool::status::UserRow| row.user.group.as_ref() == Some(&group.name) && !row.user.expelled;
        let counted = || roster.users.iter().filter(of);
        let (open, spent) =
            (counted().map(|row| row.open_tasks).sum::<u64>(), counted().map(|row| row.spent_ms).sum::<u64>());
        vec![
            group.name.clone(),
            roster.users.iter().filter(|row| row.user.is_in(&group.name) && !row.user.expelled).count().to_string(),
            of_most(open, group.quota.tasks),
            of_most(format!("{:.3}", spent as f64 / MS_PER_HOUR), group.quota.cpu_hours),
        ]
    });
    output::table(&["group", "users", "open tasks", "CPU-hours in 30 days"], &rows.collect::<Vec<_>>())
}

fn owned_text(roster: &Roster) -> String {
    let rows = roster.owned.iter().map(|owned| {
        let name = Some(owned.name.clone()).filter(|name| !name.is_empty());
        vec![
            owned.kind.name().to_owned(),
            name.unwrap_or_else(|| owned.address.to_string()),
            dash(owned.owner.clone()),
            dash(owned.group.clone()),
            owned.mode.to_string(),
        ]
    });
    output::table(&["what", "name", "owner", "group", "mode"], &rows.collect::<Vec<_>>())
}

fn invitations_text(roster: &Roster) -> String {
    let rows = roster.invitations.iter().map(|row| {
        let role = match (row.terms.requester, row.terms.worker) {
            (true, true) => "work and machines",
            (true, false) => "work",
            _ => "machines",
        };
        vec![
            row.id.clone(),
            if row.is_open { "open" } else { "closed" }.to_owned(),
            role.to_owned(),
            dash(row.terms.group.clone()),
            dash(row.terms.user.clone()),
            format!("{} of {}", row.uses_left, row.terms.uses),
            output::when(row.terms.expires_unix_ms / 1_000),
            dash(Some(row.users.join(" "))),
        ]
    });
    let head = ["invitation", "is", "for", "group", "user", "uses left", "expires", "came in"];
    output::table(&head, &rows.collect::<Vec<_>>())
}

/// The address of a worker that is named so or has that address.
pub fn worker(folder: &Path, id: &str) -> anyhow::Result<Address> {
    if let Ok(address) = id.parse() {
        return Ok(address);
    }
    let roster = roster(folder)?;
    let found = roster.owned.iter().find(|owned| owned.kind == Kind::Worker && owned.name == id);
    found.map(|owned| owned.address).ok_or_else(|| {
        anyhow::anyhow!("no worker is called {id:?}: `gristmill pool members` and `gristmill pool workers` show their names and addresses")
    })
}

impl WhatArgs {
    /// What it is, where, and who owns it on the ledger.
    async fn find(&self) -> anyhow::Result<(PathBuf, Kind, Address, Option<Address>)> {
        let folder = self.folder.pool()?;
        if self.kind == What::Worker {
            let address = worker(&folder, &self.id)?;
            return Ok((folder, Kind::Worker, address, None));
        }
        let root = folder.parent().unwrap_or(&folder).to_path_buf();
        let hub = Network::find(&Place::DataDir(root)).await?.hub;
        let (kind, (address, owner)) = match self.kind {
            What::App => (Kind::App, catalog::app_and_owner(&hub, &self.id).await?),
            _ => (Kind::Dataset, catalog::dataset_and_owner(&hub, &self.id).await?),
        };
        Ok((folder, kind, address, Some(owner)))
    }
}

pub async fn chmod(args: ChmodArgs, json: bool) -> anyhow::Result<Exit> {
    let (folder, kind, address, ledger_owner) = args.what.find().await?;
    deed(&folder, Deed::Chmod { kind, address, ledger_owner, mode: args.mode }, json)
}

pub async fn chown(args: ChownArgs, json: bool) -> anyhow::Result<Exit> {
    let (owner, group) = match args.owner.split_once(':') {
        Some((owner, group)) => (Some(owner.to_owned()).filter(|owner| !owner.is_empty()), Some(group.to_owned())),
        None => (Some(args.owner.clone()), None),
    };
    let (folder, kind, address, ledger_owner) = args.what.find().await?;
    deed(&folder, Deed::Chown { kind, address, ledger_owner, owner, group }, json)
}

pub async fn chgrp(args: ChgrpArgs, json: bool) -> anyhow::Result<Exit> {
    let (folder, kind, address, ledger_owner) = args.what.find().await?;
    deed(&folder, Deed::Chown { kind, address, ledger_owner, owner: None, group: Some(args.group) }, json)
}

pub fn group(command: GroupCommand, json: bool) -> anyhow::Result<Exit> {
    match command {
        GroupCommand::Add(GroupArgs { user, group, folder }) => {
            deed(&folder.pool()?, Deed::Enter { user, group }, json)
        }
        GroupCommand::Remove(GroupArgs { user, group, folder }) => {
            deed(&folder.pool()?, Deed::Leave { user, group }, json)
        }
    }
}

pub fn quota(args: QuotaArgs, json: bool) -> anyhow::Result<Exit> {
    let quota = Quota { tasks: args.tasks, cpu_hours: args.cpu_hours };
    deed(&args.folder.pool()?, Deed::Quota { name: args.name, of_user: args.user, quota }, json)
}

pub fn remove(args: RemoveArgs, json: bool) -> anyhow::Result<Exit> {
    deed(&args.folder.pool()?, Deed::Expel { user: args.user }, json)
}

fn deed(folder: &Path, deed: Deed, json: bool) -> anyhow::Result<Exit> {
    ask::explain(folder, &Ask::Deed(deed), json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_said_to_be_wrong() {
        assert_eq!(["30m", "12h", "7d"].map(|text| parse_time(text).unwrap()), [1_800, 43_200, 604_800]);
        for text in ["", "7", "d", "0d", "-1d", "7w", "1.5h", "7ä", "99999999999999999d"] {
            assert!(parse_time(text).unwrap_err().contains("7d"), "{text}");
        }
    }
}
