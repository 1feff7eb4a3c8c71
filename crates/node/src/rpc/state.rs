//! Methods about accounts and storage.

use alloy_eips::BlockId;
use alloy_primitives::Bytes;
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use gristmill_evm::State;
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;

use crate::rpc::convert::{self, Arguments, At};
use crate::rpc::{Context, RpcResult, add, errors, limits};

pub(crate) fn register(module: &mut RpcModule<Context>) {
    add(module, "eth_getBalance", balance);
    add(module, "eth_getCode", code);
    add(module, "eth_getStorageAt", storage);
    add(module, "eth_getTransactionCount", nonce);
    add(module, "eth_getProof", proof);
}

fn state(context: &Context, id: Option<BlockId>) -> RpcResult<State> {
    let view = context.view()?;
    let number = match convert::block_at(&view, id)? {
        At::Latest => view.head(),
        At::Number(number) => number,
    };
    view.state(number).map_err(errors::store)
}

fn balance(context: &Context, params: Params<'_>) -> RpcResult<U256> {
    let mut arguments = Arguments::of(&params);
    let address: Address = arguments.next()?;
    state(context, arguments.optional()?)?.balance(address).map_err(errors::store)
}

fn code(context: &Context, params: Params<'_>) -> RpcResult<Bytes> {
    let mut arguments = Arguments::of(&params);
    let address: Address = arguments.next()?;
    state(context, arguments.optional()?)?.code(address).map_err(errors::store)
}

fn storage(context: &Context, params: Params<'_>) -> RpcResult<B256> {
    let mut arguments = Arguments::of(&params);
    let (address, slot): (Address, U256) = (arguments.next()?, arguments.next()?);
    let value = state(context, arguments.optional()?)?.storage(address, slot);
    value.map(B256::from).map_err(errors::store)
}

fn nonce(context: &Context, params: Params<'_>) -> RpcResult<String> {
    let mut arguments = Arguments::of(&params);
    let address: Address = arguments.next()?;
    let id: Option<BlockId> = arguments.optional()?;
    let mined = state(context, id)?.nonce(address).map_err(errors::store)?;
    let nonce = match id {
        Some(id) if id.is_pending() => context.source.pool().next_nonce(address, mined),
        _ => mined,
    };
    Ok(convert::quantity(nonce))
}

fn proof(context: &Context, params: Params<'_>) -> RpcResult<EIP1186AccountProofResponse> {
    let mut arguments = Arguments::of(&params);
    let (address, slots): (Address, Vec<U256>) = (arguments.next()?, arguments.next()?);
    if slots.len() > limits::PROOF_SLOTS_MAX {
        return Err(errors::limit(format!("more than {} slots", limits::PROOF_SLOTS_MAX)));
    }
    let view = context.view()?;
    match convert::block_at(&view, arguments.optional()?)? {
        At::Number(number) if number > view.head() => return Err(errors::no_block()),
        At::Number(number) if number < view.head() => {
            return Err(errors::server("proofs are given for the last block only"));
        }
        _ => {}
    }
    let proof = view.proof(address, &slots).map_err(errors::store)?;
    let slots = proof.slots.into_iter().map(|(slot, value, proof)| EIP1186StorageProof {
        key: B256::from(slot).into(),
        value,
        proof,
    });
    Ok(EIP1186AccountProofResponse {
        address,
        balance: proof.balance,
        code_hash: proof.code_hash,
        nonce: proof.nonce,
        storage_hash: proof.storage_root,
        account_proof: proof.account_nodes,
        storage_proof: slots.collect(),
    })
}
