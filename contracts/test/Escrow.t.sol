// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {HubTest} from "./HubTest.sol";
import {FalseToken, FeeToken, RefusingSpender} from "./Mocks.sol";
import {IEscrow} from "../src/hub/interfaces/IEscrow.sol";
import {IHub} from "../src/hub/interfaces/IHub.sol";

contract EscrowTest is HubTest {
    event Transfer(address indexed from, address indexed to, uint256 value);

    function test_deposit() public {
        vm.expectEmit(true, true, true, true, address(hub));
        emit Transfer(address(0), address(this), 5);
        assertTrue(hub.deposit(5), "answer");
        assertEq(stakeOf(address(this)), 5, "stake");
        assertEq(hub.balanceOf(address(this)), 5, "balance");
        assertEq(hub.frozenOf(address(this)), 0, "locked");
        (uint256 stake, uint256 locked) = hub.viewAccountABILegacy(address(this));
        assertEq(stake, 5, "legacy stake");
        assertEq(locked, 0, "legacy locked");
        checkBooks();
    }

    function test_depositForArray() public {
        uint256[] memory amounts = new uint256[](2);
        address[] memory targets = new address[](2);
        (amounts[0], amounts[1]) = (3, 4);
        (targets[0], targets[1]) = (appOwner, datasetOwner);
        hub.depositForArray(amounts, targets);
        assertEq(stakeOf(appOwner), 3, "first");
        assertEq(stakeOf(datasetOwner), 4, "second");
        checkBooks();
        expectError("invalid-array-length");
        hub.depositForArray(new uint256[](1), targets);
    }

    function test_deposit_refusals() public {
        vm.expectRevert();
        vm.prank(outsider);
        hub.deposit(1); // no tokens, no allowance
        expectError("ERC20: mint to the zero address");
        hub.depositFor(1, address(0));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.HubCannotHold.selector));
        hub.depositFor(1, address(hub));
    }

    function test_withdraw() public {
        vm.prank(requester);
        hub.withdraw(FUNDS);
        assertEq(token.balanceOf(requester), FUNDS, "tokens");
        assertEq(stakeOf(requester), 0, "stake");
        vm.prank(sponsor);
        hub.withdrawTo(7, outsider);
        assertEq(token.balanceOf(outsider), 7, "to another");
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InsufficientStake.selector, requester, 0, 1));
        vm.prank(requester);
        hub.withdraw(1);
        checkBooks();
    }

    function test_withdraw_lockedStakeStays() public {
        makeDeal(terms());
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InsufficientStake.selector, requester, FUNDS - PRICE, FUNDS));
        vm.prank(requester);
        hub.withdraw(FUNDS);
    }

    function test_recover() public {
        token.transfer(address(hub), 9);
        assertEq(hub.recover(), 9, "answer");
        assertEq(stakeOf(address(this)), 9, "credited to the owner");
        assertEq(hub.recover(), 0, "once");
        checkBooks();
    }

    /// @notice A token that answers false must not pay out on paper only.
    function test_attack_falseToken() public {
        FalseToken money = new FalseToken();
        IHub other = deployHub(address(money), false);
        money.approve(address(other), 100);
        other.deposit(60);
        money.refuse(true);
        expectError("failed-transferFrom");
        other.deposit(40);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(money)));
        other.withdraw(60);
        assertEq(other.balanceOf(address(this)), 60, "stake is kept");
        assertEq(other.totalSupply(), 60, "supply");
    }

    /// @notice A token that keeps a fee would credit more than the hub got.
    function test_attack_feeToken() public {
        FeeToken money = new FeeToken();
        IHub other = deployHub(address(money), false);
        money.approve(address(other), 1000);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.UnexpectedTokenAmount.selector, 1000, 990));
        other.deposit(1000);
    }

    function test_supplyCap() public {
        FalseToken money = new FalseToken();
        IHub other = deployHub(address(money), false);
        // The cap is reached by storage, as no token here has as many units: slot 5 is the total supply.
        uint256 slot = 0xfe88eda4e27b4947c08be7c8e1e6b6cc61ff84606710317a54649b069642fb00 + 5;
        vm.store(address(other), bytes32(slot), bytes32(uint256(type(uint96).max)));
        money.approve(address(other), 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SupplyCapExceeded.selector));
        other.deposit(1);
    }

    function test_transfer() public {
        vm.expectEmit(true, true, true, true, address(hub));
        emit Transfer(requester, outsider, 5);
        vm.prank(requester);
        hub.transfer(outsider, 5);
        vm.prank(requester);
        hub.transfer(requester, 5);
        checkBooks();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InsufficientStake.selector, appOwner, 0, 1));
        vm.prank(appOwner);
        hub.transfer(outsider, 1);
        expectError("ERC20: transfer to the zero address");
        vm.prank(requester);
        hub.transfer(address(0), 1);
    }

    /// @notice I2: a gift to the hub would make its balance differ from the sum of the locks for ever.
    function test_attack_transferToTheHub() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.HubCannotHold.selector));
        vm.prank(requester);
        hub.transfer(address(hub), 1);
    }

    function test_allowance() public {
        vm.prank(requester);
        hub.approve(outsider, 10);
        vm.prank(outsider);
        hub.transferFrom(requester, sponsor, 4);
        assertEq(hub.allowance(requester, outsider), 6, "spent");
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InsufficientAllowance.selector, requester, outsider, 6, 7));
        vm.prank(outsider);
        hub.transferFrom(requester, sponsor, 7);
        vm.prank(requester);
        hub.increaseAllowance(outsider, 3);
        assertEq(hub.allowance(requester, outsider), 9, "more");
        vm.prank(requester);
        hub.decreaseAllowance(outsider, 9);
        assertEq(hub.allowance(requester, outsider), 0, "less");
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InsufficientAllowance.selector, requester, outsider, 0, 1));
        vm.prank(requester);
        hub.decreaseAllowance(outsider, 1);
        expectError("ERC20: approve to the zero address");
        hub.approve(address(0), 1);
        checkBooks();
    }

    function test_approveAndCall_ofStake() public {
        RefusingSpender spender = new RefusingSpender();
        expectError("approval-refused");
        hub.approveAndCall(address(spender), 1, "");
        // The hub takes approvals of its token only, not of its own stake.
        expectError("wrong-token");
        hub.approveAndCall(address(hub), 1, "");
    }

    function testFuzz_depositAndWithdrawConserve(uint256 seed, uint96 first, uint96 second) public {
        uint256 amount = bound(first, 0, token.balanceOf(address(this)));
        address who = people[bound(seed, 0, people.length - 3)];
        uint256 held = token.balanceOf(address(hub));
        hub.depositFor(amount, who);
        uint256 back = bound(second, 0, stakeOf(who));
        vm.prank(who);
        hub.withdraw(back);
        assertEq(token.balanceOf(address(hub)), held + amount - back, "tokens");
        checkBooks();
    }
}
