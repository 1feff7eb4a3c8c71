//! Executes the transactions of a block.

use std::collections::HashSet;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{ReceiptEnvelope, Transaction as _, TxEnvelope, Typed2718};
use alloy_eips::eip7685::Requests;
use alloy_evm::block::{BlockExecutionError, BlockExecutor, BlockValidationError};
use alloy_evm::eth::receipt_builder::AlloyReceiptBuilder;
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor};
use alloy_evm::{EthEvmFactory, EvmFactory, FromRecoveredTx};
use alloy_primitives::{Address, B256, Bytes};
use revm::context::TxEnv;
use revm::context_interface::result::InvalidTransaction;
use revm::database::BundleState;
use revm::database::states::bundle_state::BundleRetention;
use revm::database_interface::WrapDatabaseRef;

use crate::schema::StoredReceipt;
use crate::spec::{BlockContext, Rules, extra_data};
use crate::state::State;

/// A signed transaction with its sender.
pub type SignedTransaction = Recovered<TxEnvelope>;

/// A transaction that did not get into a block because it is not valid there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The transaction.
    pub transaction: SignedTransaction,
    /// Why, in the words of Ethereum clients.
    pub reason: String,
}

/// What came of the transactions offered to a block.
#[derive(Debug)]
pub(crate) struct Execution {
    pub included: Vec<SignedTransaction>,
    pub receipts: Vec<StoredReceipt>,
    /// The receipts as they are hashed into the header.
    pub envelopes: Vec<ReceiptEnvelope>,
    pub rejected: Vec<Rejected>,
    /// Valid later, perhaps: the block is full, or the sender's nonce is not there yet.
    pub deferred: Vec<SignedTransaction>,
    pub gas_used: u64,
    pub requests: Requests,
    pub bundle: BundleState,
}

/// What the EVM sees of a transaction: no fee is charged, so its gas price is zero whatever the sender offered.
pub(crate) fn transaction_env(transaction: &SignedTransaction) -> TxEnv {
    let mut env = TxEnv::from_recovered_tx(transaction.inner(), transaction.signer());
    env.gas_price = 0;
    env.gas_priority_fee = env.gas_priority_fee.map(|_| 0);
    env
}

/// Executes `transactions` in order on the state of the parent block.
pub(crate) fn execute(
    parent: &State,
    parent_hash: B256,
    block: BlockContext,
    chain_id: u64,
    transactions: Vec<SignedTransaction>,
) -> Result<Execution, BlockExecutionError> {
    let mut state =
        revm::database::State::builder().with_database(WrapDatabaseRef(parent)).with_bundle_update().build();
    let evm = EthEvmFactory::default().create_evm(&mut state, block.env(chain_id));
    let context = EthBlockExecutionCtx {
        parent_hash,
        parent_beacon_block_root: Some(B256::ZERO),
        ommers: &[],
        withdrawals: None,
        extra_data: extra_data(),
        tx_count_hint: Some(transactions.len()),
        slot_number: None,
    };
    let mut executor = EthBlockExecutor::new(evm, context, Rules, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes()?;

    let mut sorted = Sorted::new(block.gas_limit);
    for transaction in transactions {
        sorted.offer(&mut executor, transaction)?;
    }
    let (_, result) = executor.finish()?;
    state.merge_transitions(BundleRetention::PlainState);
    let bundle = state.take_bundle();
    let receipts = stored_receipts(&result.receipts, &sorted);
    Ok(Execution {
        included: sorted.included,
        receipts,
        envelopes: result.receipts,
        rejected: sorted.rejected,
        deferred: sorted.deferred,
        gas_used: result.gas_used,
        requests: result.requests,
        bundle,
    })
}

/// The transactions offered so far, by what became of them.
struct Sorted {
    gas_left: u64,
    block_gas_limit: u64,
    included: Vec<SignedTransaction>,
    gas_used: Vec<u64>,
    rejected: Vec<Rejected>,
    deferred: Vec<SignedTransaction>,
    /// Senders with a deferred transaction: their later ones wait too.
    waiting: HashSet<Address>,
}

impl Sorted {
    fn new(block_gas_limit: u64) -> Self {
        Self {
            gas_left: block_gas_limit,
            block_gas_limit,
            included: Vec::new(),
            gas_used: Vec::new(),
            rejected: Vec::new(),
            deferred: Vec::new(),
            waiting: HashSet::new(),
        }
    }

    fn offer<E>(&mut self, executor: &mut E, transaction: SignedTransaction) -> Result<(), BlockExecutionError>
    where
        E: BlockExecutor<Transaction = TxEnvelope>,
        E::Evm: alloy_evm::Evm<Tx = TxEnv>,
    {
        if transaction.gas_limit() > self.block_gas_limit {
            self.reject(transaction, "exceeds block gas limit".into());
            return Ok(());
        }
        let sender = transaction.signer();
        if transaction.gas_limit() > self.gas_left || self.waiting.contains(&sender) {
            self.waiting.insert(sender);
            self.deferred.push(transaction);
            return Ok(());
        }
        let env = transaction_env(&transaction);
        match executor.execute_transaction((env, &transaction)) {
            Ok(gas) => {
                self.gas_left = self.gas_left.saturating_sub(gas.tx_gas_used());
                self.gas_used.push(gas.tx_gas_used());
                self.included.push(transaction);
            }
            Err(BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. })) => {
                match error.as_invalid_tx_err() {
                    Some(InvalidTransaction::NonceTooHigh { .. }) => {
                        self.waiting.insert(sender);
                        self.deferred.push(transaction);
                    }
                    Some(error) => self.reject(transaction, reason(error)),
                    None => self.reject(transaction, error.to_string()),
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn reject(&mut self, transaction: SignedTransaction, reason: String) {
        self.rejected.push(Rejected { transaction, reason });
    }
}

fn stored_receipts(envelopes: &[ReceiptEnvelope], sorted: &Sorted) -> Vec<StoredReceipt> {
    let mut first_log_index = 0;
    let mut receipts = Vec::with_capacity(envelopes.len());
    for ((envelope, transaction), gas_used) in envelopes.iter().zip(&sorted.included).zip(&sorted.gas_used) {
        let logs = envelope.logs().to_vec();
        let count = logs.len() as u64;
        receipts.push(StoredReceipt {
            kind: transaction.ty(),
            success: envelope.is_success(),
            gas_used: *gas_used,
            cumulative_gas_used: envelope.cumulative_gas_used(),
            first_log_index,
            logs,
        });
        first_log_index += count;
    }
    receipts
}

/// Says why a transaction is not valid, in the words that Ethereum clients match on.
pub(crate) fn reason(error: &InvalidTransaction) -> String {
    match error {
        InvalidTransaction::NonceTooLow { tx, state } => {
            format!("nonce too low: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::NonceTooHigh { tx, state } => {
            format!("nonce too high: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: balance {balance}, tx cost {fee}")
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: gas {gas_limit}, minimum needed {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: gas {gas_limit}, minimum needed {gas_floor}")
        }
        InvalidTransaction::RejectCallerWithCode => "sender not an eoa".into(),
        InvalidTransaction::CallerGasLimitMoreThanBlock => "exceeds block gas limit".into(),
        InvalidTransaction::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        InvalidTransaction::InvalidChainId => "invalid chain id for signer".into(),
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            "max priority fee per gas higher than max fee per gas".into()
        }
        other => other.to_string(),
    }
}

/// The address of the contract that a transaction creates.
pub(crate) fn created_address(transaction: &SignedTransaction) -> Option<Address> {
    transaction.is_create().then(|| transaction.signer().create(transaction.nonce()))
}

/// New code among the changes of a block, by hash.
pub(crate) fn new_codes(bundle: &BundleState) -> Vec<(B256, Bytes)> {
    let mut codes: Vec<(B256, Bytes)> = bundle
        .contracts
        .iter()
        .map(|(hash, code)| (*hash, code.original_bytes()))
        .filter(|(_, code)| !code.is_empty())
        .collect();
    codes.sort_by_key(|(hash, _)| *hash);
    codes
}
