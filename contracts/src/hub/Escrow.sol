// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubStorage} from "./HubStorage.sol";
import {IEscrow} from "./interfaces/IEscrow.sol";
import {IEscrowEvents} from "./interfaces/IEscrowEvents.sol";
import {HubConstants} from "./lib/HubConstants.sol";

/// @title The book of accounts: every movement of money in the hub is one of these.
/// @notice INVARIANT: the sum of all stakes, the hub's own included, is the total supply, and the hub's own stake is the
/// sum of all locked amounts.
abstract contract Escrow is IEscrowEvents {
    /// @dev Moves free stake of `account` under lock.
    function _lock(address account, uint256 amount) internal {
        _move(account, address(this), amount);
        _hold(account, amount);
    }

    /// @dev Gives locked stake back to its account.
    function _unlock(address account, uint256 amount) internal {
        _move(address(this), account, amount);
        HubStorage.state().accounts[account].locked -= uint96(amount);
        emit Unlock(account, amount);
    }

    /// @dev Takes locked stake away; the amount stays in the hub for the rewards (or holds) that follow.
    function _seize(address account, uint256 amount, bytes32 ref) internal {
        HubStorage.state().accounts[account].locked -= uint96(amount);
        emit Seize(account, amount, ref);
    }

    /// @dev Pays what was seized.
    function _reward(address account, uint256 amount, bytes32 ref) internal {
        _move(address(this), account, amount);
        emit Reward(account, amount, ref);
    }

    /// @dev Puts what was seized under lock for `account`, which is the kitty or a pot.
    function _hold(address account, uint256 amount) internal {
        HubStorage.state().accounts[account].locked += uint96(amount);
        emit Lock(account, amount);
    }

    function _feedKitty(uint256 amount, bytes32 ref) internal {
        emit Reward(HubConstants.KITTY, amount, ref);
        _hold(HubConstants.KITTY, amount);
    }

    function _mint(address account, uint256 amount) internal {
        require(account != address(0), "ERC20: mint to the zero address");
        _refuseHub(account);
        HubStorage.State storage $ = HubStorage.state();
        uint256 supply = $.totalSupply + amount;
        // Prices and stakes are stored in 96 bits; what cannot be deposited cannot be locked.
        if (supply > type(uint96).max) revert IEscrow.SupplyCapExceeded();
        $.totalSupply = supply;
        $.accounts[account].stake += uint96(amount);
        emit Transfer(address(0), account, amount);
    }

    function _burn(address account, uint256 amount) internal {
        HubStorage.State storage $ = HubStorage.state();
        uint256 stake = $.accounts[account].stake;
        if (stake < amount) revert IEscrow.InsufficientStake(account, stake, amount);
        $.accounts[account].stake = uint96(stake - amount);
        $.totalSupply -= amount;
        emit Transfer(account, address(0), amount);
    }

    /// @dev The hub's stake is the sum of all locks, so nobody may add to it from outside.
    function _refuseHub(address account) internal view {
        if (account == address(this)) revert IEscrow.HubCannotHold();
    }

    function _move(address from, address to, uint256 amount) internal {
        require(from != address(0), "IexecEscrow: Transfer from empty address");
        require(to != address(0), "IexecEscrow: Transfer to empty address");
        HubStorage.State storage $ = HubStorage.state();
        uint256 stake = $.accounts[from].stake;
        require(amount <= stake, "IexecEscrow: Transfer amount exceeds balance");
        // The amount is within a stake and every stake is within the supply cap: 96 bits hold each of them.
        unchecked {
            $.accounts[from].stake = uint96(stake - amount);
            $.accounts[to].stake += uint96(amount);
        }
        emit Transfer(from, to, amount);
    }
}
