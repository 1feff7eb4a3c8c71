// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {IDiamond} from "../src/hub/interfaces/IDiamond.sol";
import {ITasks} from "../src/hub/interfaces/ITasks.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

/// @notice Whatever bytes arrive, from whomever: the documented refusal or nothing, and nobody's money or task moves.
contract BadInputTest is HubTest {
    bytes32 private taskid;
    bytes4[] private selectors;

    function setUp() public override {
        super.setUp();
        taskid = makeTask(5);
        contributeMany(0, 2, taskid, GOOD);
        IDiamond.Facet[] memory facets = hub.facets();
        for (uint256 i = 0; i < facets.length; ++i) {
            for (uint256 j = 0; j < facets[i].functionSelectors.length; ++j) {
                selectors.push(facets[i].functionSelectors[j]);
            }
        }
        openBooks();
    }

    /// @notice Every function with no arguments, with a cut word, with words of ones and with words of zeros, from somebody who
    /// owns nothing here.
    function test_badInput_everyFunction() public {
        for (uint256 i = 0; i < selectors.length; ++i) {
            attempt(abi.encodePacked(selectors[i]));
            attempt(abi.encodePacked(selectors[i], bytes31(0)));
            attempt(abi.encodePacked(selectors[i], ones(32 * 20)));
            attempt(abi.encodePacked(selectors[i], new bytes(32 * 20)));
            attempt(abi.encodePacked(selectors[i], uint256(32), ones(32 * 20)));
            attempt(abi.encodePacked(selectors[i], taskid, ones(32 * 20)));
        }
        unchanged();
    }

    /// @notice Any function with any bytes.
    function testFuzz_badInput_anyCalldata(uint256 which, bytes calldata data) public {
        attempt(abi.encodePacked(selectors[which % selectors.length], data));
        unchanged();
    }

    /// @notice An order whose words are not of their types: an address with more than 160 bits, an operation that does not exist.
    function test_badInput_mistypedOrders() public {
        Terms memory t = terms();
        bytes memory good =
            abi.encodeCall(hub.matchOrders, (appOrder(t), datasetOrder(t), workerpoolOrder(t), requestOrder(t)));
        // The four offsets come first; the app order's first word, its app, is 4 words behind its place.
        bytes memory bad = bytes.concat(good);
        bad[4 + 4 * 32] = 0x01;
        attempt(bad);
        bytes memory cut = new bytes(good.length - 200);
        for (uint256 i = 0; i < cut.length; ++i) {
            cut[i] = good[i];
        }
        attempt(cut);
        unchanged();
        (bool ok,) = address(hub).call(good);
        assertTrue(ok, "and the same orders unspoiled do match");

        Orders.AppOrder memory a = appOrder(t);
        bytes memory operation =
            abi.encodeCall(hub.manageAppOrder, (Orders.AppOrderOperation(a, Orders.OrderOperationEnum.CLOSE, "")));
        // Offset, then the operation's own: order, operation, sign.
        assertEq(uint256(uint8(operation[4 + 32 + 32 + 31])), 1, "CLOSE");
        operation[4 + 32 + 32 + 31] = 0x02;
        vm.prank(appOwner);
        (ok,) = address(hub).call(operation);
        assertTrue(!ok, "there is no such operation");
        assertEq(hub.viewConsumed(hashOf(a)), 0, "not closed");
    }

    /// @notice Tasks and deals that do not exist, and the ends of every range.
    function test_badInput_unknownAndExtreme() public {
        bytes32[3] memory ids = [bytes32(0), bytes32(type(uint256).max), keccak256("no task")];
        for (uint256 i = 0; i < ids.length; ++i) {
            refusedAs(abi.encodeCall(hub.reveal, (ids[i], GOOD)), ITasks.WrongTaskStatus.selector);
            refusedAs(abi.encodeCall(hub.reopen, (ids[i])), ITasks.WrongTaskStatus.selector);
            refusedAs(abi.encodeCall(hub.finalize, (ids[i], "", "")), ITasks.WrongTaskStatus.selector);
            refusedAs(abi.encodeCall(hub.claim, (ids[i])), ITasks.WrongTaskStatus.selector);
            refusedAs(abi.encodeCall(hub.concede, (ids[i])), ITasks.NotAllowed.selector);
            refusedAs(abi.encodeCall(hub.initialize, (ids[i], 0)), ITasks.IndexOutOfDeal.selector);
            refusedAs(abi.encodeCall(hub.initialize, (ids[i], type(uint256).max)), ITasks.IndexOutOfDeal.selector);
            refusedAs(
                abi.encodeCall(hub.contribute, (ids[i], GOOD, GOOD, address(0), "", "")),
                ITasks.WrongTaskStatus.selector
            );
            refusedAs(
                abi.encodeCall(hub.contributeAndFinalize, (ids[i], GOOD, "", "", address(0), "", "")),
                ITasks.WrongTaskStatus.selector
            );
            assertEq(status(ids[i]), 0, "unknown");
        }
        bytes32[] memory one = new bytes32[](1);
        uint256[] memory two = new uint256[](2);
        refusedAs(abi.encodeCall(hub.initializeArray, (one, two)), ITasks.ArrayLengthMismatch.selector);
        refusedAs(abi.encodeCall(hub.initializeAndClaimArray, (one, two)), ITasks.ArrayLengthMismatch.selector);
        attempt(abi.encodeCall(hub.withdraw, (type(uint256).max)));
        attempt(abi.encodeCall(hub.deposit, (type(uint256).max)));
        attempt(abi.encodeCall(hub.transfer, (requester, type(uint256).max)));
        attempt(abi.encodeCall(hub.transferFrom, (requester, outsider, type(uint256).max)));
        attempt(abi.encodeCall(hub.lendStake, (worker(0), type(uint256).max)));
        attempt(abi.encodeCall(hub.repayDebt, (type(uint256).max)));
        unchanged();
    }

    /// @notice A request of nothing makes no deal; one without a price does, and moves no money.
    function test_badInput_zeros() public {
        Terms memory t = terms();
        t.volume = 0;
        (Orders.AppOrder memory a, Orders.DatasetOrder memory d) = (appOrder(t), datasetOrder(t));
        (Orders.WorkerpoolOrder memory w, Orders.RequestOrder memory r) = (workerpoolOrder(t), requestOrder(t));
        expectError("iExecV5-matchOrders-0x60");
        hub.matchOrders(a, d, w, r);
        unchanged();
        (t.volume, t.appPrice, t.datasetPrice, t.poolPrice, t.trust) = (1, 0, 0, 0, 0);
        bytes32 free = makeTask(t);
        bytes memory permit = authorization(worker(5), free);
        vm.prank(worker(5));
        hub.contributeAndFinalize(free, 0, "", "", address(0), "", permit);
        assertEq(status(free), 3, "completed");
        unchanged();
    }

    // ---- helpers ----

    /// @dev Whether it is refused does not matter here; what it leaves behind does.
    function attempt(bytes memory data) private returns (bool ok) {
        vm.prank(address(0xBAD));
        (ok,) = address(hub).call(data);
    }

    function refusedAs(bytes memory data, bytes4 selector) private {
        vm.prank(address(0xBAD));
        (bool ok, bytes memory answer) = address(hub).call(data);
        assertTrue(!ok, "refused");
        assertEq(bytes32(bytes4(answer)), bytes32(selector), "as documented");
    }

    function unchanged() private view {
        for (uint256 i = 0; i < people.length; ++i) {
            assertEq(gained(people[i]), 0, "somebody's stake");
        }
        assertEq(status(taskid), 1, "the task");
        assertEq(hub.viewTask(taskid).contributors.length, 2, "its votes");
        assertEq(lockedOf(worker(0)), WORKER_STAKE, "a worker's lock");
        assertEq(hub.owner(), address(this), "the owner");
        assertEq(hub.countCategory(), 2, "categories");
        assertEq(hub.facets().length, 9, "facets");
        checkBooks();
    }

    function ones(uint256 length) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            data[i] = 0xff;
        }
    }
}
