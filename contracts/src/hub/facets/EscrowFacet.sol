// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ITokenSpender} from "../../token/Grist.sol";
import {DiamondStorage} from "../DiamondStorage.sol";
import {Escrow} from "../Escrow.sol";
import {HubStorage} from "../HubStorage.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";
import {IMatch} from "../interfaces/IMatch.sol";
import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";

/// @title Money in, money out, and free stake as an ERC-20.
contract EscrowFacet is IEscrow, Escrow, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    function deposit(uint256 amount) external nonReentrant returns (bool) {
        _deposit(msg.sender, amount, msg.sender);
        return true;
    }

    function depositFor(uint256 amount, address target) external nonReentrant returns (bool) {
        _deposit(msg.sender, amount, target);
        return true;
    }

    function depositForArray(uint256[] calldata amounts, address[] calldata targets)
        external
        nonReentrant
        returns (bool)
    {
        require(amounts.length == targets.length, "invalid-array-length");
        for (uint256 i = 0; i < amounts.length; ++i) {
            _deposit(msg.sender, amounts[i], targets[i]);
        }
        return true;
    }

    function withdraw(uint256 amount) external nonReentrant returns (bool) {
        _withdraw(msg.sender, amount);
        return true;
    }

    function withdrawTo(uint256 amount, address target) external nonReentrant returns (bool) {
        _withdraw(target, amount);
        return true;
    }

    function recover() external nonReentrant returns (uint256 surplus) {
        DiamondStorage.requireOwner();
        HubStorage.State storage $ = HubStorage.state();
        surplus = $.token.balanceOf(address(this)) - $.totalSupply;
        _mint(msg.sender, surplus);
    }

    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data)
        external
        returns (bool)
    {
        address known = address(HubStorage.state().token);
        // Only the token itself vouches for `sender`: others could make an approval act at a moment they choose.
        require(token == known && msg.sender == known, "wrong-token");
        _depositApproved(sender, amount);
        if (data.length > 0) _matchFor(sender, data);
        return true;
    }

    function transfer(address recipient, uint256 amount) external nonReentrant returns (bool) {
        _transfer(msg.sender, recipient, amount);
        return true;
    }

    function transferFrom(address sender, address recipient, uint256 amount) external nonReentrant returns (bool) {
        _spend(sender, amount);
        _transfer(sender, recipient, amount);
        return true;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        _approve(spender, amount);
        return true;
    }

    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool) {
        _approve(spender, amount);
        require(ITokenSpender(spender).receiveApproval(msg.sender, amount, address(this), data), "approval-refused");
        return true;
    }

    function increaseAllowance(address spender, uint256 added) external returns (bool) {
        _approve(spender, HubStorage.state().allowances[msg.sender][spender] + added);
        return true;
    }

    function decreaseAllowance(address spender, uint256 subtracted) external returns (bool) {
        uint256 allowed = HubStorage.state().allowances[msg.sender][spender];
        if (allowed < subtracted) revert InsufficientAllowance(msg.sender, spender, allowed, subtracted);
        _approve(spender, allowed - subtracted);
        return true;
    }

    /// @dev A function of its own, so that the guard is free again when the match that may follow takes it.
    function _depositApproved(address sender, uint256 amount) private nonReentrant {
        _deposit(sender, amount, sender);
    }

    function _deposit(address from, uint256 amount, address target) private {
        IERC20 token = HubStorage.state().token;
        uint256 held = token.balanceOf(address(this));
        require(token.transferFrom(from, address(this), amount), "failed-transferFrom");
        uint256 received = token.balanceOf(address(this)) - held;
        if (received != amount) revert UnexpectedTokenAmount(amount, received);
        _mint(target, amount);
    }

    function _withdraw(address target, uint256 amount) private {
        _burn(msg.sender, amount);
        HubStorage.state().token.safeTransfer(target, amount);
    }

    /// @dev Runs `data` on the hub itself. Matching does not look at the caller, so the requester is checked here.
    function _matchFor(address sender, bytes calldata data) private {
        if (bytes4(data) != IMatch.matchOrders.selector) revert UnsupportedOperation(bytes4(data));
        (,,, IexecLibOrders_v5.RequestOrder memory request) = abi.decode(
            data[4:],
            (
                IexecLibOrders_v5.AppOrder,
                IexecLibOrders_v5.DatasetOrder,
                IexecLibOrders_v5.WorkerpoolOrder,
                IexecLibOrders_v5.RequestOrder
            )
        );
        if (request.requester != sender) revert CallerIsNotTheRequester();
        (bool ok, bytes memory answer) = address(this).call(data);
        if (ok) return;
        if (answer.length == 0) revert OperationFailed();
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    function _transfer(address from, address to, uint256 amount) private {
        require(to != address(0), "ERC20: transfer to the zero address");
        _refuseHub(to);
        uint256 stake = HubStorage.state().accounts[from].stake;
        if (stake < amount) revert InsufficientStake(from, stake, amount);
        _move(from, to, amount);
    }

    function _spend(address from, uint256 amount) private {
        uint256 allowed = HubStorage.state().allowances[from][msg.sender];
        if (allowed < amount) revert InsufficientAllowance(from, msg.sender, allowed, amount);
        HubStorage.state().allowances[from][msg.sender] = allowed - amount;
        emit Approval(from, msg.sender, allowed - amount);
    }

    function _approve(address spender, uint256 amount) private {
        require(spender != address(0), "ERC20: approve to the zero address");
        HubStorage.state().allowances[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
    }
}
