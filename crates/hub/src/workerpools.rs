//! Go through the register of pools, whatever strangers have registered in it.

use std::ops::Range;

use alloy_primitives::{Address, B256, U256};

use crate::abi::{IHub, WorkerpoolRegistry};
use crate::client::HubClient;
use crate::error::HubError;
use crate::views::{WorkerpoolInfo, number};

/// Pools looked up in one request.
const LOOKUP_MAX: usize = 100;
/// Gas that reading one pool's record may take. A word of its description costs 2,100, so a description of more than about 5 KiB
/// cannot be read, and 10,000 pools cannot make anybody read more than some 100 MiB.
const RECORD_GAS: u64 = 400_000;

impl HubClient {
    /// How many pools are registered.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn count_workerpools(&self) -> Result<u64, HubError> {
        number(self.view(self.workerpool_registry, WorkerpoolRegistry::totalSupplyCall {}).await?)
    }

    /// The pools with these numbers, the first registered being number 0; all must be below [`HubClient::count_workerpools`].
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn workerpools(&self, numbers: Range<u64>) -> Result<Vec<Address>, HubError> {
        let numbers: Vec<u64> = numbers.collect();
        let mut found = Vec::with_capacity(numbers.len());
        for page in numbers.chunks(LOOKUP_MAX) {
            let call = |&number: &u64| WorkerpoolRegistry::tokenByIndexCall { index: U256::from(number) };
            let calls = page.iter().map(|number| (self.workerpool_registry, call(number))).collect();
            for token in self.views(calls).await? {
                found.push(Address::from_word(B256::from(token?)));
            }
        }
        Ok(found)
    }

    /// The records of many registered pools. `None` for one that cannot be read: its description is too long, or a policy of its is
    /// no number that makes sense.
    ///
    /// # Errors
    /// When the ledger could not be asked.
    pub async fn view_workerpools(&self, pools: &[Address]) -> Result<Vec<Option<WorkerpoolInfo>>, HubError> {
        let mut found = Vec::with_capacity(pools.len());
        for page in pools.chunks(LOOKUP_MAX) {
            let calls = page.iter().map(|&workerpool| (self.hub, IHub::viewWorkerpoolCall { workerpool })).collect();
            let answers = self.views_within(RECORD_GAS, calls).await?;
            for (address, answer) in page.iter().zip(answers) {
                found.push(match answer {
                    Ok(record) => WorkerpoolInfo::read(*address, record).ok(),
                    Err(error) if is_its_own_fault(&error) => None,
                    Err(error) => return Err(error),
                });
            }
        }
        Ok(found)
    }
}

/// Whether a record could not be read because of what is in it.
fn is_its_own_fault(error: &HubError) -> bool {
    match error {
        HubError::Malformed { .. } => true,
        HubError::Ledger(error) => error.revert().is_some() || error.is_out_of_gas(),
        HubError::NoHub { .. } => false,
    }
}
