//! Calls without a signature, and gas estimates.

use std::collections::BTreeMap;

use alloy_eips::BlockId;
use alloy_primitives::{Bytes, TxKind};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_eth::state::StateOverride;
use gristmill_evm::{AccountOverride, CallBlock, CallRequest, StateOverrides, View};
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;

use crate::rpc::convert::{self, Arguments, At};
use crate::rpc::{Context, RpcResult, add, errors};

pub(crate) fn register(module: &mut RpcModule<Context>) {
    add(module, "eth_call", call);
    add(module, "eth_estimateGas", estimate_gas);
}

fn call(context: &Context, params: Params<'_>) -> RpcResult<Bytes> {
    let (view, request, at, overrides) = arguments(context, &params)?;
    let outcome = view.call(&request, at, &overrides).map_err(errors::call)?;
    Ok(outcome.output)
}

fn estimate_gas(context: &Context, params: Params<'_>) -> RpcResult<String> {
    let (view, request, at, overrides) = arguments(context, &params)?;
    let gas = view.estimate_gas(&request, at, &overrides).map_err(errors::call)?;
    Ok(convert::quantity(gas))
}

fn arguments(context: &Context, params: &Params<'_>) -> RpcResult<(View, CallRequest, CallBlock, StateOverrides)> {
    let mut arguments = Arguments::of(params);
    let request: TransactionRequest = arguments.next()?;
    let id: Option<BlockId> = arguments.optional()?;
    let overrides: Option<StateOverride> = arguments.optional()?;
    let view = context.view()?;
    let at = match convert::block_at(&view, id)? {
        At::Latest => CallBlock::Next { clock: context.source.now() },
        At::Number(number) => CallBlock::Number(number),
    };
    Ok((view, call_request(request)?, at, state_overrides(overrides.unwrap_or_default())?))
}

fn call_request(request: TransactionRequest) -> RpcResult<CallRequest> {
    let input = match (request.input.input, request.input.data) {
        (Some(input), Some(data)) if input != data => {
            return Err(errors::invalid("both \"data\" and \"input\" are set and not equal"));
        }
        (input, data) => input.or(data).unwrap_or_default(),
    };
    Ok(CallRequest {
        from: request.from,
        to: match request.to {
            Some(TxKind::Call(to)) => Some(to),
            Some(TxKind::Create) | None => None,
        },
        gas: request.gas,
        value: request.value.unwrap_or_default(),
        input,
        access_list: request.access_list,
        authorizations: request.authorization_list.unwrap_or_default(),
    })
}

fn state_overrides(overrides: StateOverride) -> RpcResult<StateOverrides> {
    let mut accounts = BTreeMap::new();
    for (address, account) in overrides {
        if account.move_precompile_to.is_some() {
            return Err(errors::invalid("precompiles cannot be moved"));
        }
        if account.state.is_some() && account.state_diff.is_some() {
            return Err(errors::invalid("both \"state\" and \"stateDiff\" are set"));
        }
        let account = AccountOverride {
            balance: account.balance,
            nonce: account.nonce,
            code: account.code,
            state: account.state.map(|slots| slots.into_iter().collect()),
            state_diff: account.state_diff.unwrap_or_default().into_iter().collect(),
        };
        accounts.insert(address, account);
    }
    Ok(accounts)
}
