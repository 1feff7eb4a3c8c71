// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Escrow} from "./Escrow.sol";
import {HubStorage} from "./HubStorage.sol";
import {ILoanEvents} from "./interfaces/ILoanEvents.sol";

/// @title The stake of a vote, be it the worker's own or lent by the owner of the pool.
/// @notice INVARIANT: a worker's loan has under lock exactly the stakes of its lent votes in tasks that have not ended, and a
/// worker is marked as indebted while, and only while, it owes something.
abstract contract Lending is Escrow, ILoanEvents {
    /// @dev Locks the stake of the caller's vote. Own stake goes first, so that who has some bears the risk itself.
    function _lockStake(address poolOwner, uint256 amount) internal returns (bool lent) {
        HubStorage.State storage $ = HubStorage.state();
        lent = $.accounts[msg.sender].stake < amount && _lends(poolOwner, msg.sender, amount);
        if (!lent) {
            _lock(msg.sender, amount);
            return false;
        }
        HubStorage.Loan storage loan = $.loans[msg.sender];
        loan.lender = poolOwner;
        // What is locked is within the supply, 96 bits.
        loan.locked += uint96(amount);
        _lock(poolOwner, amount);
    }

    /// @dev Gives the stake of a vote back to whose it is.
    function _returnStake(bytes32 taskid, address worker, bool lent, address poolOwner, uint256 amount) internal {
        if (!lent) return _unlock(worker, amount);
        HubStorage.state().loans[worker].locked -= uint96(amount);
        _unlock(poolOwner, amount);
        emit StakeReturned(taskid, worker, poolOwner, amount);
    }

    /// @dev Takes the stake of a rejected vote. An own one is left in the hub for whoever it will be given to; a lent one goes
    /// to the kitty at once: were it shared among other contributors, a pool could pay its own identities with it.
    function _takeStake(bytes32 taskid, address worker, bool lent, address poolOwner, uint256 amount) internal {
        if (!lent) return _seize(worker, amount, taskid);
        HubStorage.Loan storage loan = HubStorage.state().loans[worker];
        loan.locked -= uint96(amount);
        loan.debt += uint96(amount);
        HubStorage.state().accounts[worker].indebted = true;
        _seize(poolOwner, amount, taskid);
        _feedKitty(amount, taskid);
        emit StakeLost(taskid, worker, poolOwner, amount);
    }

    /// @dev Pays a worker for its work; who owes, repays first.
    function _earn(address worker, uint256 amount, bytes32 taskid) internal {
        _reward(worker, amount, taskid);
        if (HubStorage.state().accounts[worker].indebted) _repay(worker, amount);
    }

    /// @dev Pays the debt of `worker`, `amount` at most, from its free stake, which covers it.
    function _repay(address worker, uint256 amount) internal returns (uint256 repaid) {
        HubStorage.Loan storage loan = HubStorage.state().loans[worker];
        uint256 debt = loan.debt;
        repaid = Math.min(amount, debt);
        if (repaid == 0) return 0;
        loan.debt = uint96(debt - repaid);
        if (repaid == debt) HubStorage.state().accounts[worker].indebted = false;
        address lender = loan.lender;
        _move(worker, lender, repaid);
        emit DebtRepaid(worker, lender, repaid);
    }

    /// @dev Whether the lender's limit covers this much more, and nobody else has lent to the worker.
    function _lends(address lender, address worker, uint256 amount) private view returns (bool) {
        HubStorage.Loan storage loan = HubStorage.state().loans[worker];
        uint256 outstanding = uint256(loan.locked) + loan.debt;
        if (outstanding != 0 && loan.lender != lender) return false;
        return outstanding + amount <= HubStorage.state().loanLimits[lender][worker];
    }
}
