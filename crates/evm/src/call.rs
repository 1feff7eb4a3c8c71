//! Executes calls that leave no trace, and finds how much gas a transaction needs.

use std::collections::BTreeMap;

use alloy_consensus::TxType;
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use revm::bytecode::Bytecode;
use revm::context::TxEnv;
use revm::context_interface::either::Either;
use revm::context_interface::result::{EVMError, ExecutionResult, HaltReason};
use revm::database::CacheDB;
use revm::database_interface::DatabaseRef;

use crate::error::{CallError, StoreError};
use crate::execute;
use crate::spec::BlockContext;
use crate::state::State;
use crate::view::View;

/// Gas of the cheapest transaction.
const TRANSFER_GAS: u64 = 21_000;

/// Gas that a call inside a call is given for free when it moves value.
const CALL_STIPEND: u64 = 2_300;

/// An estimate may be too high by this share of itself (0.015, as other nodes allow), in thousandths.
const ESTIMATE_TOLERANCE_THOUSANDTHS: u64 = 15;

/// A message to execute without a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallRequest {
    /// The sender; the zero address if it is not given.
    pub from: Option<Address>,
    /// The contract, or `None` to execute `input` as code that makes a contract.
    pub to: Option<Address>,
    /// Gas limit; the block's if it is not given, and never more than that.
    pub gas: Option<u64>,
    /// Value to move, in the smallest unit of the chain's coin. The sender must have it.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
    /// Addresses and slots that are warm from the start.
    pub access_list: Option<AccessList>,
    /// Delegations of EIP-7702.
    pub authorizations: Vec<SignedAuthorization>,
}

/// Where a call is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallBlock {
    /// On the last state, in the block that would follow it when the clock shows this (seconds since 1970).
    Next {
        /// What the clock shows.
        clock: u64,
    },
    /// On the state after this block, with this block's own number and time.
    Number(u64),
}

/// What a call pretends about one account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountOverride {
    /// Balance instead of the real one.
    pub balance: Option<U256>,
    /// Nonce instead of the real one.
    pub nonce: Option<u64>,
    /// Code instead of the real one.
    pub code: Option<Bytes>,
    /// The whole storage instead of the real one.
    pub state: Option<BTreeMap<B256, B256>>,
    /// Single slots instead of the real ones.
    pub state_diff: BTreeMap<B256, B256>,
}

/// What a call pretends about the state.
pub type StateOverrides = BTreeMap<Address, AccountOverride>;

/// A call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutcome {
    /// What it returned.
    pub output: Bytes,
    /// Gas it used, after refunds.
    pub gas_used: u64,
    /// Highest gas in use at any time, before refunds.
    pub gas_spent: u64,
}

impl View {
    /// Executes a call.
    ///
    /// # Errors
    /// [`CallError::Reverted`] with the contract's data, and the other cases of [`CallError`].
    pub fn call(
        &self,
        request: &CallRequest,
        at: CallBlock,
        overrides: &StateOverrides,
    ) -> Result<CallOutcome, CallError> {
        let session = self.call_session(request, at, overrides)?;
        session.run(session.gas_limit)
    }

    /// Finds a gas limit with which a transaction like this call succeeds, about 1.5 % above the least one.
    ///
    /// # Errors
    /// [`CallError::Reverted`] when it fails with any gas, [`CallError::GasExceedsAllowance`] when the limit given (or the
    /// block's) is too small.
    pub fn estimate_gas(
        &self,
        request: &CallRequest,
        at: CallBlock,
        overrides: &StateOverrides,
    ) -> Result<u64, CallError> {
        let session = self.call_session(request, at, overrides)?;
        let mut high = session.gas_limit;
        if request.input.is_empty()
            && high >= TRANSFER_GAS
            && session.is_plain_transfer()?
            && session.run(TRANSFER_GAS).is_ok()
        {
            return Ok(TRANSFER_GAS);
        }
        let outcome = match session.run(high) {
            Err(CallError::Halted { reason }) if reason == OUT_OF_GAS => {
                return Err(CallError::GasExceedsAllowance { allowance: high });
            }
            Err(CallError::Invalid { reason }) if reason.contains("minimum needed") => {
                return Err(CallError::GasExceedsAllowance { allowance: high });
            }
            outcome => outcome?,
        };
        let mut low = outcome.gas_used.saturating_sub(1);
        // Most contracts need what they used at the peak, and one 64th more for each level of calls.
        let guess = (outcome.gas_spent + CALL_STIPEND).saturating_mul(64) / 63;
        if guess < high {
            if session.succeeds(guess)? { high = guess } else { low = guess }
        }
        while low + 1 < high {
            if (high - low).saturating_mul(1000) < high * ESTIMATE_TOLERANCE_THOUSANDTHS {
                break;
            }
            // The answer is near the lower end far more often than in the middle.
            let middle = (low + (high - low) / 2).min(low.saturating_mul(2).max(low + 1));
            if session.succeeds(middle)? { high = middle } else { low = middle }
        }
        Ok(high)
    }

    fn call_session(
        &self,
        request: &CallRequest,
        at: CallBlock,
        overrides: &StateOverrides,
    ) -> Result<CallSession, CallError> {
        let (number, context) = match at {
            CallBlock::Next { clock } => {
                let head = self.head_header()?;
                (head.number, BlockContext::after(&head, head.hash(), clock))
            }
            CallBlock::Number(number) => {
                let header = self.header(number)?.ok_or(StoreError::UnknownBlock { number, head: self.head() })?;
                (number, BlockContext::of(&header))
            }
        };
        let mut env = context.env(self.chain_id());
        env.cfg_env.disable_nonce_check = true;
        env.cfg_env.disable_eip3607 = true;
        env.cfg_env.disable_block_gas_limit = true;
        let gas_limit = request.gas.unwrap_or(context.gas_limit).min(context.gas_limit);
        let transaction = call_env(request, self.chain_id());
        let state = overridden(self.state(number)?, overrides)?;
        Ok(CallSession { env, state, transaction, gas_limit })
    }
}

/// A call that can be tried with several gas limits.
struct CallSession {
    env: EvmEnv,
    state: CacheDB<State>,
    transaction: TxEnv,
    gas_limit: u64,
}

impl CallSession {
    fn run(&self, gas_limit: u64) -> Result<CallOutcome, CallError> {
        let database = CacheDB::new(&self.state);
        let mut evm = EthEvmFactory::default().create_evm(database, self.env.clone());
        let transaction = TxEnv { gas_limit, ..self.transaction.clone() };
        match evm.transact(transaction) {
            Ok(result) => outcome(result.result),
            Err(EVMError::Transaction(error)) => Err(CallError::Invalid { reason: execute::reason(&error) }),
            Err(EVMError::Database(error)) => Err(CallError::Store(error)),
            Err(error) => Err(CallError::Invalid { reason: error.to_string() }),
        }
    }

    fn succeeds(&self, gas_limit: u64) -> Result<bool, CallError> {
        match self.run(gas_limit) {
            Ok(_) => Ok(true),
            Err(error @ CallError::Store(_)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn is_plain_transfer(&self) -> Result<bool, CallError> {
        let TxKind::Call(to) = self.transaction.kind else { return Ok(false) };
        let special = !self.transaction.authorization_list.is_empty();
        let account = self.state.basic_ref(to)?;
        Ok(!special && account.is_none_or(|account| account.is_empty_code_hash()))
    }
}

const OUT_OF_GAS: &str = "out of gas";

fn outcome(result: ExecutionResult) -> Result<CallOutcome, CallError> {
    match result {
        ExecutionResult::Success { gas, output, .. } => Ok(CallOutcome {
            output: output.into_data(),
            gas_used: gas.tx_gas_used(),
            gas_spent: gas.total_gas_spent(),
        }),
        ExecutionResult::Revert { output, .. } => Err(CallError::Reverted { data: output }),
        ExecutionResult::Halt { reason, .. } => Err(CallError::Halted {
            reason: match reason {
                HaltReason::OutOfGas(_) => OUT_OF_GAS.into(),
                HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "invalid opcode".into(),
                reason => reason.to_string(),
            },
        }),
    }
}

fn call_env(request: &CallRequest, chain_id: u64) -> TxEnv {
    let kind = if !request.authorizations.is_empty() {
        TxType::Eip7702
    } else if request.access_list.is_some() {
        TxType::Eip2930
    } else {
        TxType::Legacy
    };
    TxEnv {
        tx_type: kind as u8,
        caller: request.from.unwrap_or_default(),
        gas_price: 0,
        gas_priority_fee: (kind == TxType::Eip7702).then_some(0),
        kind: request.to.map_or(TxKind::Create, TxKind::Call),
        value: request.value,
        data: request.input.clone(),
        chain_id: Some(chain_id),
        access_list: request.access_list.clone().unwrap_or_default(),
        authorization_list: request.authorizations.iter().cloned().map(Either::Left).collect(),
        ..TxEnv::default()
    }
}

fn overridden(state: State, overrides: &StateOverrides) -> Result<CacheDB<State>, CallError> {
    let mut state = CacheDB::new(state);
    for (address, account) in overrides {
        let mut info = state.basic_ref(*address)?.unwrap_or_default();
        if let Some(balance) = account.balance {
            info.balance = balance;
        }
        if let Some(nonce) = account.nonce {
            info.nonce = nonce;
        }
        if let Some(code) = &account.code {
            let code = Bytecode::new_raw_checked(code.clone())
                .map_err(|error| CallError::Invalid { reason: error.to_string() })?;
            info.code_hash = code.hash_slow();
            info.code = Some(code);
        }
        state.insert_account_info(*address, info);
        let number = |word: &B256| U256::from_be_bytes(word.0);
        if let Some(slots) = &account.state {
            let slots = slots.iter().map(|(slot, value)| (number(slot), number(value))).collect();
            state.replace_account_storage(*address, slots).map_err(CallError::Store)?;
        }
        for (slot, value) in &account.state_diff {
            state.insert_account_storage(*address, number(slot), number(value)).map_err(CallError::Store)?;
        }
    }
    Ok(state)
}
