// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {RefusingSpender} from "./Mocks.sol";
import {IEscrow} from "../src/hub/interfaces/IEscrow.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

contract TokenTest is HubTest {
    function test_describesItself() public view {
        assertEq(token.name(), "Gristmill", "name");
        assertEq(token.symbol(), "GRIST", "symbol");
        assertEq(token.decimals(), 9, "decimals");
        assertEq(token.totalSupply(), SUPPLY, "supply");
    }

    function test_approveAndCall_deposits() public {
        token.approve(address(hub), 0);
        token.approveAndCall(address(hub), 77, "");
        assertEq(stakeOf(address(this)), 77, "credited");
        assertEq(token.allowance(address(this), address(hub)), 0, "allowance used");
        checkBooks();
    }

    function test_approveAndCall_refusedBySpender() public {
        RefusingSpender spender = new RefusingSpender();
        expectError("approval-refused");
        token.approveAndCall(address(spender), 1, "");
    }

    function test_receiveApproval_onlyFromTheToken() public {
        // An approval given for later use must not be turned into a deposit by a third party.
        expectError("wrong-token");
        vm.prank(outsider);
        hub.receiveApproval(address(this), 1, address(token), "");
        expectError("wrong-token");
        vm.prank(address(token));
        hub.receiveApproval(address(this), 1, address(0xBAD), "");
    }

    function test_approveAndCall_depositsAndMatches() public {
        (Orders.RequestOrder memory request, bytes memory data) = matchCall();
        vm.prank(requester);
        hub.withdraw(FUNDS);
        vm.prank(requester);
        token.approveAndCall(address(hub), PRICE, data);
        assertEq(stakeOf(requester), 0, "all of it locked");
        assertEq(lockedOf(requester), PRICE, "locked");
        assertEq(hub.viewConsumed(hashOf(request)), 1, "matched");
        checkBooks();
    }

    function test_approveAndCall_matchesOnlyOnesOwnRequest() public {
        (, bytes memory data) = matchCall();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.CallerIsNotTheRequester.selector));
        token.approveAndCall(address(hub), PRICE, data);
    }

    function test_approveAndCall_noOtherOperation() public {
        bytes memory data = abi.encodeCall(hub.withdraw, (1));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.UnsupportedOperation.selector, hub.withdraw.selector));
        token.approveAndCall(address(hub), 1, data);
    }

    function test_approveAndCall_failedMatchTakesNothing() public {
        (, bytes memory data) = matchCall();
        vm.prank(requester);
        hub.withdraw(FUNDS);
        expectError("IexecEscrow: Transfer amount exceeds balance");
        vm.prank(requester);
        token.approveAndCall(address(hub), PRICE - 1, data);
        assertEq(token.balanceOf(requester), FUNDS, "tokens untouched");
    }

    function matchCall() private returns (Orders.RequestOrder memory request, bytes memory data) {
        Terms memory t = terms();
        request = requestOrder(t);
        data = abi.encodeCall(hub.matchOrders, (appOrder(t), datasetOrder(t), workerpoolOrder(t), request));
    }
}
