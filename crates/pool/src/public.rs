//! Be found: a public pool's description says where it is, and its policy on the ledger what it keeps.

use std::net::{IpAddr, SocketAddr};

use alloy_primitives::Address;
use gristmill_hub::{HubClient, Outbox};
use gristmill_protocol::public::PublicPool;
use gristmill_protocol::tls::{PoolUrl, ServerTls};

use crate::config::PoolConfig;
use crate::error::PoolError;

/// Other workerpools of the owner that are told of.
const OTHERS_MAX: u64 = 16;

/// Where others dial the pool that listens on `local`.
pub fn url(config: &PoolConfig, tls: &ServerTls, local: SocketAddr) -> PoolUrl {
    let host = config.advertised_host.clone().unwrap_or_else(|| local.ip().to_string());
    tls.url(host, local.port())
}

/// What the workerpool is called on the ledger: where it is dialled, if it is public.
///
/// # Errors
/// [`PoolError::PublicName`], or [`PoolError::PublicHost`] for an address that nobody can dial.
pub fn description(config: &PoolConfig, url: &PoolUrl) -> Result<String, PoolError> {
    let Some(name) = &config.public else { return Ok(config.description.clone()) };
    if url.host.parse::<IpAddr>().is_ok_and(|host| host.is_unspecified()) {
        return Err(PoolError::PublicHost { host: url.host.clone() });
    }
    Ok(PublicPool::new(name, url.clone())?.to_string())
}

/// Sets the pool's fee on the ledger if it is another one there; `None`: leaves it. Deals that were made keep theirs.
pub async fn set_fee(
    fee_percent: Option<u64>,
    hub: &HubClient,
    outbox: &Outbox,
    workerpool: Address,
) -> Result<(), PoolError> {
    let Some(fee_percent) = fee_percent else { return Ok(()) };
    let Some(there) = hub.view_workerpool(workerpool).await? else { return Ok(()) };
    if there.scheduler_reward_ratio != fee_percent {
        let call = hub.change_policy(workerpool, there.worker_stake_ratio, fee_percent);
        // A key of its own for each change: the same fee may be wanted again.
        let key = format!("policy:{}", alloy_primitives::B256::new(rand::random()));
        outbox.execute(call.intent(key)).await?;
    }
    Ok(())
}

/// Says which other workerpools a newly registered one's owner has: nobody looks after their deals now.
pub async fn warn_of_others(hub: &HubClient, owner: Address, workerpool: Address) -> Result<(), PoolError> {
    let mut others = hub.assets_of(hub.workerpool_registry, owner, OTHERS_MAX).await?;
    others.retain(|other| *other != workerpool);
    if !others.is_empty() {
        tracing::warn!(
            %workerpool,
            ?others,
            "this pool is registered anew, under another description or address; tasks of its earlier workerpools that are not over \
             are refunded after their deadlines, unless it starts once more as it was"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gristmill_types::Amount;
    use gristmill_wallet::Wallet;

    use super::*;

    #[test]
    fn a_public_pool_says_where_it_is_and_another_one_does_not() {
        let mut config = PoolConfig {
            data_dir: "pool".into(),
            wallet: Wallet::import_hex(&format!("{:064x}", 1)).unwrap(),
            rpc_url: String::new(),
            hub: Address::ZERO,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised_host: None,
            store_url: String::new(),
            description: "local pool".to_owned(),
            public: None,
            fee_percent: None,
            prices: Vec::new(),
            stake_target: Amount::ZERO,
            metrics: None,
            policy: gristmill_scheduler::Policy::default(),
            credibility: None,
            settings: crate::settings::Sources::default(),
            newcomers: None,
            overflow: None,
            private: None,
            founder: None,
            offers: gristmill_types::Needs::default(),
        };
        let at = |host: &str| PoolUrl { host: host.to_owned(), ..format!("grist://h:1/{:064x}", 7).parse().unwrap() };
        assert_eq!(description(&config, &at("0.0.0.0")).unwrap(), "local pool");
        config.public = Some("The mill".to_owned());
        let text = description(&config, &at("pool.example")).unwrap();
        assert_eq!(PublicPool::read(&text).unwrap().url(), &at("pool.example"));
        for host in ["0.0.0.0", "::"] {
            assert!(matches!(description(&config, &at(host)), Err(PoolError::PublicHost { .. })), "{host}");
        }
        config.public = Some("\u{1b}[31m".to_owned());
        assert!(matches!(description(&config, &at("pool.example")), Err(PoolError::PublicName(_))));
    }
}
