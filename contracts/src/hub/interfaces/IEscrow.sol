// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IEscrowEvents} from "./IEscrowEvents.sol";

/// @title Deposits, withdrawals, and the free stake as an ERC-20.
/// @notice The base token must move exactly the amount asked for; a transfer that moves another amount is refused.
/// Reverts with strings where iExec PoCo does.
interface IEscrow is IEscrowEvents {
    /// @notice The token moved `received` instead of `expected`.
    error UnexpectedTokenAmount(uint256 expected, uint256 received);
    /// @notice The account holds less free stake than the operation needs.
    error InsufficientStake(address account, uint256 available, uint256 needed);
    error InsufficientAllowance(address owner, address spender, uint256 available, uint256 needed);
    /// @notice The hub itself cannot be credited: its balance is the sum of all locked amounts.
    error HubCannotHold();
    /// @notice The escrow would hold more than 2^96 - 1.
    error SupplyCapExceeded();
    /// @notice `receiveApproval` was given calldata of another function than `matchOrders`.
    error UnsupportedOperation(bytes4 selector);
    error CallerIsNotTheRequester();
    error OperationFailed();

    /// @notice Moves tokens from the caller (who approved the hub) and credits the same amount of stake.
    function deposit(uint256 amount) external returns (bool);
    function depositFor(uint256 amount, address target) external returns (bool);
    function depositForArray(uint256[] calldata amounts, address[] calldata targets) external returns (bool);

    /// @notice Burns free stake of the caller and pays the tokens out.
    function withdraw(uint256 amount) external returns (bool);
    function withdrawTo(uint256 amount, address target) external returns (bool);

    /// @notice Credits the owner with tokens that were sent to the hub past the escrow. Owner only.
    function recover() external returns (uint256);

    /// @notice Endpoint of the token's `approveAndCall`: deposits `amount` for `sender`; with `matchOrders` calldata, for
    /// a request of `sender`, it matches these orders next. Only the token may call.
    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data) external returns (bool);

    function transfer(address recipient, uint256 amount) external returns (bool);
    function transferFrom(address sender, address recipient, uint256 amount) external returns (bool);
    function approve(address spender, uint256 amount) external returns (bool);
    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool);
    function increaseAllowance(address spender, uint256 added) external returns (bool);
    function decreaseAllowance(address spender, uint256 subtracted) external returns (bool);
}
