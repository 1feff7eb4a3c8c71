// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {HubStorage} from "../HubStorage.sol";
import {Lending} from "../Lending.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";
import {ILoans} from "../interfaces/ILoans.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";

/// @title Who lends stake to whom. What that does to votes is in `Lending`.
contract LoanFacet is ILoans, Lending, ReentrancyGuardTransient {
    function lendStake(address worker, uint256 limit) external nonReentrant {
        if (worker == address(0) || worker == msg.sender || worker == address(this)) revert CannotLend(worker);
        if (limit > type(uint96).max) revert LimitTooLarge(limit);
        HubStorage.state().loanLimits[msg.sender][worker] = limit;
        emit LoanLimit(msg.sender, worker, limit);
    }

    function repayDebt(uint256 amount) external nonReentrant returns (uint256 repaid) {
        HubStorage.State storage $ = HubStorage.state();
        uint256 debt = $.loans[msg.sender].debt;
        if (debt == 0) revert NothingOwed(msg.sender);
        uint256 stake = $.accounts[msg.sender].stake;
        if (amount > debt) amount = debt;
        if (stake < amount) revert IEscrow.InsufficientStake(msg.sender, stake, amount);
        return _repay(msg.sender, amount);
    }

    function viewLoanLimit(address lender, address worker) external view returns (uint256 limit) {
        return HubStorage.state().loanLimits[lender][worker];
    }

    function viewLoan(address worker) external view returns (address lender, uint256 locked, uint256 debt) {
        HubStorage.Loan storage loan = HubStorage.state().loans[worker];
        (locked, debt) = (loan.locked, loan.debt);
        // Who once lent and has all back is nobody's concern.
        if (locked + debt != 0) lender = loan.lender;
    }

    function viewStakeOwner(bytes32 taskid, address worker) external view returns (address) {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Contribution storage vote = task.contributions[worker];
        if (vote.status == IexecLibCore_v5.ContributionStatusEnum.UNSET) return address(0);
        return vote.lent ? HubStorage.state().deals[task.dealid].workerpoolOwner : worker;
    }
}
