// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title What moves in the escrow.
/// @notice A balance follows from `Transfer` alone: mint from zero at deposit, burn to zero at withdrawal. A locked
/// amount follows from `Lock` (plus), `Unlock` and `Seize` (minus) alone. `Reward` explains a transfer out of the hub.
/// The kitty and the pots are locked amounts of accounts nobody holds, so the hub's own balance always equals the sum
/// of all locked amounts.
interface IEscrowEvents {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event Lock(address owner, uint256 amount);
    event Unlock(address owner, uint256 amount);
    event Reward(address owner, uint256 amount, bytes32 ref);
    event Seize(address owner, uint256 amount, bytes32 ref);
}
