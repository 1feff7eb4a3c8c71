// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title What is lent, lost and owed.
/// @notice A worker's loan follows from these alone: under lock are `StakeLent` less `StakeReturned` and `StakeLost`, owed are
/// `StakeLost` less `DebtRepaid`. The money itself moves by the events of the escrow that come with them.
interface ILoanEvents {
    /// @notice `lender` is ready to have `limit` locked for, or owed by, `worker`.
    event LoanLimit(address indexed lender, address indexed worker, uint256 limit);
    /// @notice The stake of this vote is the lender's.
    event StakeLent(bytes32 indexed taskid, address indexed worker, address indexed lender, uint256 amount);
    event StakeReturned(bytes32 indexed taskid, address indexed worker, address indexed lender, uint256 amount);
    /// @notice The vote was rejected: the kitty has the stake, and the worker owes it.
    event StakeLost(bytes32 indexed taskid, address indexed worker, address indexed lender, uint256 amount);
    event DebtRepaid(address indexed worker, address indexed lender, uint256 amount);
}
