//! Look at money and move it.

use futures_util::future::BoxFuture;
use gristmill_hub::OrderOperation;
use gristmill_types::{Address, Amount, OrderHash};
use serde::Serialize;

use crate::error::RequesterError;
use crate::fetch::Stage;
use crate::find::Network;
use crate::job::{Job, Part};
use crate::sender::{Notice, Requester};
use crate::submit::salt;

/// What somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// Who.
    pub address: Address,
    /// Free at the hub: pays jobs, may be withdrawn.
    pub stake: Amount,
    /// Held by the hub for what is under way.
    pub locked: Amount,
    /// Tokens outside the hub.
    pub tokens: Amount,
    /// Reputation as a worker.
    pub score: u64,
}

/// A request that was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// Which step.
    pub stage: Stage,
    /// The request.
    pub request: OrderHash,
    /// Tasks of it that will not be done.
    pub tasks: u64,
}

impl Network {
    /// What `address` has.
    ///
    /// # Errors
    /// The ledger cannot be asked.
    pub fn account(&self, address: Address) -> BoxFuture<'_, Result<AccountView, RequesterError>> {
        Box::pin(async move {
            let account = self.hub.view_account(address).await?;
            Ok(AccountView {
                address,
                stake: account.stake,
                locked: account.locked,
                tokens: self.hub.token_balance(address).await?,
                score: self.hub.view_score(address).await?,
            })
        })
    }
}

impl Requester {
    /// Moves tokens of the wallet into the account.
    ///
    /// # Errors
    /// [`RequesterError::Money`] when the wallet has fewer.
    pub fn deposit(&self, amount: Amount) -> BoxFuture<'_, Result<AccountView, RequesterError>> {
        Box::pin(async move {
            let view = self.network.account(self.address()).await?;
            if view.tokens < amount {
                let missing = amount.saturating_sub(view.tokens);
                let fix =
                    format!("get GRIST for {} first (on your own network: `gristmill up --fund {0}`)", view.address);
                return Err(not_enough(&view, amount, missing, fix));
            }
            self.report(Notice::Depositing(amount));
            self.send(self.network.hub.deposit(amount), "deposit").await
        })
    }

    /// Pays free stake out as tokens.
    ///
    /// # Errors
    /// [`RequesterError::Money`] when less is free.
    pub fn withdraw(&self, amount: Amount) -> BoxFuture<'_, Result<AccountView, RequesterError>> {
        Box::pin(async move {
            let view = self.network.account(self.address()).await?;
            if view.stake < amount {
                let missing = amount.saturating_sub(view.stake);
                let fix = format!("withdraw {} at most; {} is held for work under way", view.stake, view.locked);
                return Err(not_enough(&view, amount, missing, fix));
            }
            self.send(self.network.hub.withdraw(amount), "withdraw").await
        })
    }

    async fn send(&self, call: gristmill_hub::CallData, name: &str) -> Result<AccountView, RequesterError> {
        let sender = self.sender().await?;
        // Each order of the user's is one of its own, however often the same sum is moved.
        let sent = sender.execute(call, &format!("{name}:{:x}", salt())).await;
        sender.close().await;
        sent?;
        self.network.account(self.address()).await
    }

    /// Closes what of a job has no pool yet, a waiting reduce included. What has one goes on, and is paid or refunded.
    ///
    /// # Errors
    /// [`RequesterError::NotYours`]; the ledger cannot be asked.
    pub fn cancel<'a>(&'a self, job: &'a mut Job) -> BoxFuture<'a, Result<Vec<Closed>, RequesterError>> {
        Box::pin(async move {
            let status = job.refresh().await?;
            if status.requester != self.address() {
                return Err(RequesterError::NotYours {
                    job: job.id(),
                    owner: status.requester,
                    wallet: self.address(),
                });
            }
            let parts =
                std::iter::once((Stage::Task, &job.map)).chain(job.reduce.iter().map(|part| (Stage::Reduce, part)));
            let open: Vec<(Stage, &Part)> = parts.filter(|(_, part)| part.unmatched > 0).collect();
            if open.is_empty() {
                return Ok(Vec::new());
            }
            let sender = self.sender().await?;
            let mut closed = Vec::new();
            // The reduce first: it must not begin between the two.
            for (stage, part) in open.into_iter().rev() {
                let Some(signed) = &part.signed else { continue };
                let call = self.network.hub.manage_request_order(signed, OrderOperation::Close);
                match sender.execute(call, &format!("close:{}", part.hash)).await {
                    Ok(_) => closed.push(Closed { stage, request: part.hash, tasks: part.unmatched }),
                    Err(error) => {
                        sender.close().await;
                        return Err(error);
                    }
                }
            }
            sender.close().await;
            job.refresh().await?;
            closed.reverse();
            Ok(closed)
        })
    }
}

fn not_enough(view: &AccountView, amount: Amount, missing: Amount, fix: String) -> RequesterError {
    let AccountView { address: account, stake, tokens, .. } = *view;
    RequesterError::Money { amount, account, stake, tokens, missing, fix }
}
