//! Who belongs to the pool: lets them in, holds deals against their rights and quotas, and does what the operator says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::PoisonError;

use alloy_primitives::Address;
use gristmill_protocol::join::{Invitation, Token};
use gristmill_protocol::link::refuse;
use gristmill_protocol::tls::PoolUrl;
use gristmill_protocol::wire::RefuseReason;
use gristmill_scheduler::{Event, WorkerId};
use gristmill_types::DealId;

use super::{Engine, unix_ms};
use crate::book::DealBook;
use crate::control::{Answer, InviteAsk};
use crate::error::PoolError;
use crate::joining::not_invited;
use crate::journal::day;
use crate::members::{Change, Deed, Join, JoinError, Joined, Kind, Members, QUOTA_DAYS, Terms, Usage, Wish};
use crate::status::{Cause, InviteRow, Invited, Roster, UserRow};

/// Characters of an invitation's hash by which the operator names it.
const INVITE_ID_CHARS: usize = 12;

impl Engine {
    pub(super) fn members(&self) -> std::sync::RwLockReadGuard<'_, Members> {
        self.parts.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes changes, then does them and tells the core whom its workers serve now. What is told holds, whatever crashes.
    fn change_members(&mut self, changes: Vec<Change>) -> Result<(), String> {
        self.parts.journal.write_members(&changes).map_err(|error| error.to_string())?;
        self.parts.members.write().unwrap_or_else(PoisonError::into_inner).apply(changes);
        let connected: Vec<Address> =
            self.workers.iter().filter(|(_, entry)| entry.connected).map(|(worker, _)| *worker).collect();
        for worker in connected {
            let (is_member, serves) = (self.members().worker(worker).is_some(), self.members().served_by(worker));
            if self.parts.is_private && !is_member && !self.buys(worker) {
                self.send_away(worker);
            } else {
                self.pending.push(Event::WorkerServes { worker: WorkerId(worker), serves });
            }
        }
        Ok(())
    }

    /// Whether this is the worker that has tasks run on a market.
    pub(super) fn buys(&self, worker: Address) -> bool {
        self.parts.overflow.as_ref().is_some_and(|overflow| overflow.worker == worker)
    }

    /// Ends the connection of a worker that is no member any more; it may come back when it is one again.
    fn send_away(&mut self, worker: Address) {
        tracing::info!(%worker, "a worker is no member any more");
        self.parts.links.dismiss(worker, refuse(RefuseReason::NotMember, not_invited()));
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.connected = false;
        }
        self.pending.push(Event::WorkerLeft { worker: WorkerId(worker) });
    }

    /// Redeems an invitation: written before it is answered, so that a crash between neither loses nor doubles a use.
    pub(super) fn join(&mut self, join: &Join) -> Result<Joined, JoinError> {
        let (changes, joined) = self.members().redeem(join, unix_ms())?;
        let is_new = !changes.is_empty();
        let keys = [join.requester.filter(|_| joined.requester), join.worker.filter(|_| joined.worker.is_some())];
        self.change_members(changes).map_err(JoinError::NotWritten)?;
        if let Some(newcomers) = &self.parts.newcomers {
            // Where gas costs something they need some. A full queue is no loss: they may join again.
            for key in keys.into_iter().flatten() {
                let _ = newcomers.try_send(key);
            }
        }
        if is_new {
            let worker = joined.worker.as_deref().unwrap_or("-");
            tracing::info!(user = joined.user, group = joined.group, worker, "somebody joined");
        }
        Ok(joined)
    }

    /// Makes an invitation. Its token is in the answer and nowhere else.
    pub(super) fn invite(&mut self, ask: InviteAsk) -> Result<Answer, String> {
        if !ask.this_machine {
            self.reachable()?;
        }
        let (token, now) = (Token(rand::random()), unix_ms());
        let expires_unix_ms = now.saturating_add(ask.expires_s.saturating_mul(1_000));
        let InviteAsk { group, user, requester, worker, exclusive, uses, .. } = ask;
        let terms = Terms { group, user, requester, worker, exclusive, uses, expires_unix_ms };
        let changes = self.members().invite(token.hash(), terms, now).map_err(|error| error.to_string())?;
        let pool: PoolUrl = self.parts.about.url.parse().map_err(|error| format!("{error}"))?;
        self.change_members(changes).map_err(not_written)?;
        Ok(Answer::Invited(Invited { line: Invitation { pool, token }.line(), worker, uses, expires_unix_ms }))
    }

    /// Whether other machines can dial the pool, the ledger and the store.
    fn reachable(&self) -> Result<(), String> {
        let about = &self.parts.about;
        let parts = [("pool", &about.url), ("ledger", &about.rpc), ("store", &about.store)];
        let hidden = parts.iter().find(|(_, url)| !is_dialled_by_others(url));
        hidden.map_or(Ok(()), |(part, url)| {
            Err(format!(
                "no other machine can dial the {part} at {url}, so that an invitation would be of no use there: stop the pool, and start it \
                 again with the name or address of this machine that others dial, as in `gristmill up --private --host lab-server` (or add \
                 --this-machine, for the other users of this machine)"
            ))
        })
    }

    /// Withdraws an invitation; who came in by it stays.
    pub(super) fn withdraw(&mut self, id: &str) -> Result<Answer, String> {
        let found: Vec<_> = {
            let members = self.members();
            let is_called = |hash: &String| id.len() >= 4 && hash.starts_with(id);
            members.invites().map(|(hash, _)| *hash).filter(|hash| is_called(&hash.to_string())).collect()
        };
        let [hash] = found[..] else {
            return Err(format!("no single invitation is called {id:?}: `gristmill pool invitations` shows them"));
        };
        self.change_members(vec![Change::Forget(hash)]).map_err(not_written)?;
        Ok(done("the invitation is withdrawn: nobody else comes in by it"))
    }

    /// Does what the operator says.
    pub(super) fn do_deed(&mut self, deed: &Deed) -> Result<Answer, String> {
        let changes = self.members().perform(deed).map_err(|error| error.to_string())?;
        self.change_members(changes).map_err(not_written)?;
        self.step(Vec::new());
        tracing::info!(?deed, "the operator changes who may what");
        let text = match deed {
            Deed::Chmod { kind, address, .. } | Deed::Chown { kind, address, .. } => {
                let members = self.members();
                let owned = members.owned_at(*kind, *address);
                let rights = owned.map_or_else(String::new, |owned| owned.rights());
                let name = owned.filter(|owned| !owned.name.is_empty());
                let name = name.map_or_else(|| address.to_string(), |owned| owned.name.clone());
                format!("{} {name}: {rights}", kind.name())
            }
            Deed::Enter { user, group } => format!("{user} is in the group {group}"),
            Deed::Leave { user, group } => format!("{user} is not in the group {group} any more"),
            Deed::Quota { name, quota, .. } => {
                let most = |most: Option<u64>| most.map_or_else(|| "any number of".to_owned(), |most| most.to_string());
                let (tasks, hours) = (most(quota.tasks), most(quota.cpu_hours));
                format!("{name} may have {tasks} open tasks, and {hours} CPU-hours in {QUOTA_DAYS} days")
            }
            Deed::Expel { user } => {
                format!("{user} is no member any more, nor are its workers; tasks that were taken are finished")
            }
        };
        Ok(done(&text))
    }

    /// Why the pool does not take a deal. What was said of it once holds, also after a restart.
    pub(super) fn verdict(&mut self, deal: &DealBook, open: u64) -> Result<Option<String>, PoolError> {
        if !self.parts.is_private && self.members().is_empty() {
            return Ok(None);
        }
        let id: DealId = deal.deal.id;
        if let Some(verdict) = self.parts.journal.verdict(id)? {
            return Ok(verdict);
        }
        let (requester, app, dataset) = (deal.deal.requester, deal.deal.app.address, deal.deal.dataset.address);
        let wish = Wish { requester, app, dataset, tasks: open };
        let verdict = self.members().refusal(self.parts.is_private, &wish, &self.usage());
        self.parts.journal.set_verdict(id, &verdict)?;
        if let Some(why) = &verdict {
            tracing::info!(deal = %id, why, "a deal is refused");
        }
        Ok(verdict)
    }

    /// What the users have now.
    pub(super) fn usage(&self) -> Usage {
        let mut usage = Usage { open: BTreeMap::new(), spent_ms: BTreeMap::new() };
        for deal in self.book.deals.values().filter(|deal| deal.open > 0 && deal.refusal.is_none()) {
            *usage.open.entry(deal.deal.requester).or_default() += deal.open as u64;
        }
        let today = u64::from(day(unix_ms()));
        for ((requester, day), ms) in &self.records.spent {
            if u64::from(*day) + QUOTA_DAYS > today {
                *usage.spent_ms.entry(*requester).or_default() += ms;
            }
        }
        usage
    }

    /// Who belongs to the pool.
    pub(super) fn roster(&self) -> Roster {
        let (members, usage, now) = (self.members(), self.usage(), unix_ms());
        let sum = |counts: &BTreeMap<Address, u64>, keys: &mut dyn Iterator<Item = &Address>| {
            keys.filter_map(|key| counts.get(key)).sum::<u64>()
        };
        let users = members.users().map(|user| UserRow {
            open_tasks: sum(&usage.open, &mut user.keys.iter()),
            spent_ms: sum(&usage.spent_ms, &mut user.keys.iter()),
            user: user.clone(),
        });
        let invites = members.invites().map(|(hash, invite)| InviteRow {
            id: hash.to_string().chars().take(INVITE_ID_CHARS).collect(),
            is_open: invite.is_open(now),
            uses_left: invite.uses_left(),
            users: invite.redeemed.iter().map(|redeemed| redeemed.user.clone()).collect(),
            terms: invite.terms.clone(),
        });
        Roster {
            private: self.parts.is_private,
            users: users.collect(),
            groups: members.groups().cloned().collect(),
            owned: members.owned().cloned().collect(),
            invitations: invites.collect(),
        }
    }

    /// What people call who asks for work, if it is a member.
    pub(super) fn user_name(&self, requester: Address) -> Option<String> {
        self.members().user_of(requester).map(|user| user.name.clone())
    }

    /// Why a worker does not serve who asks, for a price that is asked for.
    pub(super) fn serves(&self, worker: Address, requester: Address) -> bool {
        let members = self.members();
        let owned = members.owned_at(Kind::Worker, worker);
        owned.is_none_or(|owned| Members::may_use(members.user_of(requester), owned))
    }
}

fn not_written(error: String) -> String {
    format!("that could not be written, nothing is done: {error}")
}

fn done(text: &str) -> Answer {
    Answer::Explain(Cause { code: "done".to_owned(), text: text.to_owned(), fix: String::new() })
}

/// Whether the host of a URL is one that means the same on other machines.
fn is_dialled_by_others(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => !address.is_loopback() && !address.is_unspecified(),
        Err(_) => !host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_machine_can_dial_is_told_apart() {
        for url in ["http://10.0.0.5:80", "grist://lab.example:1/ab", "http://[2001:db8::1]:80/x"] {
            assert!(is_dialled_by_others(url), "{url}");
        }
        for url in
            ["http://127.0.0.1:80", "grist://localhost:1/ab", "http://[::1]:80", "http://0.0.0.0:80", "http://[::]:1"]
        {
            assert!(!is_dialled_by_others(url), "{url}");
        }
    }
}
