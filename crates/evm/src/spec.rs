//! The rules of the chain: Ethereum's Prague, from block 0, without fees and without blobs.

use alloy_consensus::Header;
use alloy_evm::EvmEnv;
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::context::{BlockEnv, CfgEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::primitives::hardfork::SpecId;

/// The fork whose rules every block follows.
pub const SPEC: SpecId = SpecId::PRAGUE;

/// What every header carries as extra data.
pub const EXTRA_DATA: &[u8] = b"gristmill";

/// Tells the block executor that all forks up to Prague hold from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules;

impl EthereumHardforks for Rules {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        match fork {
            // The DAO fork moved balances of one chain; it has no meaning on another.
            EthereumHardfork::Dao => ForkCondition::Never,
            fork if fork > EthereumHardfork::Prague => ForkCondition::Never,
            fork if fork >= EthereumHardfork::Shanghai => ForkCondition::Timestamp(0),
            _ => ForkCondition::Block(0),
        }
    }
}

impl EthExecutorSpec for Rules {
    fn deposit_contract_address(&self) -> Option<Address> {
        None
    }
}

/// The fields of a block that its execution sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockContext {
    pub number: u64,
    /// Seconds since 1970.
    pub timestamp: u64,
    pub gas_limit: u64,
    pub randomness: B256,
}

impl BlockContext {
    /// The block that follows `parent` at `timestamp`.
    pub fn after(parent: &Header, parent_hash: B256, timestamp: u64) -> Self {
        Self {
            number: parent.number + 1,
            timestamp: timestamp.max(parent.timestamp),
            gas_limit: parent.gas_limit,
            randomness: randomness_after(parent_hash),
        }
    }

    /// The block of `header` itself.
    pub fn of(header: &Header) -> Self {
        Self {
            number: header.number,
            timestamp: header.timestamp,
            gas_limit: header.gas_limit,
            randomness: header.mix_hash,
        }
    }

    /// The EVM's environment for this block.
    pub fn env(&self, chain_id: u64) -> EvmEnv {
        let config = CfgEnv::new_with_spec(SPEC).with_chain_id(chain_id);
        let block = BlockEnv {
            number: U256::from(self.number),
            beneficiary: Address::ZERO,
            timestamp: U256::from(self.timestamp),
            gas_limit: self.gas_limit,
            basefee: 0,
            difficulty: U256::ZERO,
            prevrandao: Some(self.randomness),
            blob_excess_gas_and_price: Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: 1 }),
            ..BlockEnv::default()
        };
        EvmEnv::new(config, block)
    }
}

/// What PREVRANDAO gives in the block after `parent_hash`: it differs from block to block, and anybody can foresee it.
fn randomness_after(parent_hash: B256) -> B256 {
    keccak256([parent_hash.as_slice(), b"gristmill randomness"].concat())
}

/// Extra data as the header wants it.
pub(crate) fn extra_data() -> Bytes {
    Bytes::from_static(EXTRA_DATA)
}
