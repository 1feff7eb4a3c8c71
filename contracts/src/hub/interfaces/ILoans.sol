// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ILoanEvents} from "./ILoanEvents.sol";

/// @title Stake that a pool lends to a worker.
/// @notice A vote locks the worker's own stake if it has enough; if not, and the owner of the task's pool lends it that much,
/// the pool owner's. A lent stake goes back to the pool owner where an own one would go back to the worker. Where the worker
/// would lose it, the pool owner loses it to the kitty, never to other contributors, and the worker owes it: whatever the
/// worker is paid for work, in any pool, repays the debt first. A worker has one lender at a time. All amounts in nGRIST.
interface ILoans is ILoanEvents {
    /// @notice Nobody lends to itself, to nobody, or to the hub.
    error CannotLend(address worker);
    /// @notice A limit above 2^96 - 1, which the escrow cannot hold.
    error LimitTooLarge(uint256 limit);
    /// @notice The caller has no debt.
    error NothingOwed(address worker);

    /// @notice Sets how much of the caller's free stake votes of `worker` on tasks of the caller's pools may lock, less what
    /// they have lost of it and the worker still owes: the most the caller can lose by this worker. Zero ends it; what is
    /// lent stays lent until its task ends.
    function lendStake(address worker, uint256 limit) external;

    /// @notice Pays the caller's debt, or `amount` of it, from its free stake. Returns what was paid.
    function repayDebt(uint256 amount) external returns (uint256 repaid);

    function viewLoanLimit(address lender, address worker) external view returns (uint256 limit);

    /// @notice What the worker has of somebody else's stake under lock, what it owes, and to whom; zeros if neither.
    function viewLoan(address worker) external view returns (address lender, uint256 locked, uint256 debt);

    /// @notice Whose stake a vote locked: the worker's or its pool owner's; zero without a vote, or for one without stake
    /// (`contributeAndFinalize`).
    function viewStakeOwner(bytes32 taskid, address worker) external view returns (address owner);
}
