//! Other settings, while the pool runs.

use std::sync::atomic::Ordering;

use gristmill_scheduler::Event;

use super::Engine;
use super::operator::Reply;
use crate::control::{Answer, Reloaded};
use crate::keeper::Wanted;
use crate::service::{stake_needed, told};
use crate::settings::{Change, SettingsError};

impl Engine {
    /// Reads the settings again: all that they say holds, or nothing changes. Answers when what they want of the ledger stands there, or
    /// when it could not be put there at once: then that is tried again, and again after a restart.
    pub(super) fn reload(&mut self, reply: Reply) {
        let changes = match self.hold_anew() {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "the settings are refused, nothing is changed");
                let _ = reply.send(Err(error.to_string()));
                return;
            }
        };
        for change in &changes {
            tracing::info!(key = change.key, "the operator changes a setting: {change}");
        }
        if changes.is_empty() {
            tracing::info!("the settings were read again: nothing is different");
        }
        let on_ledger = self.parts.keeping.want(Wanted::of(&self.parts.base, &self.parts.held.settings));
        tokio::spawn(async move {
            let trouble = on_ledger.await;
            let _ = reply.send(Ok(Answer::Reloaded(Reloaded { changes, trouble })));
        });
    }

    fn hold_anew(&mut self) -> Result<Vec<Change>, SettingsError> {
        let new = self.parts.base.read()?;
        let changes = self.parts.held.changes(&new)?;
        let settings = &new.settings;
        if settings.scheduler != self.parts.held.settings.scheduler {
            let policy = self.parts.base.policy(settings);
            self.pending.push(Event::PolicyChanged(Box::new(policy)));
        }
        self.parts.stake_needed = stake_needed(&self.parts.base.prices(settings));
        self.parts.stake_told.store(told(self.parts.stake_needed), Ordering::Release);
        self.parts.held = new;
        Ok(changes)
    }
}
