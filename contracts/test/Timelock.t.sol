// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {ITimelock} from "../src/governance/ITimelock.sol";
import {Timelock} from "../src/governance/Timelock.sol";
import {IDiamond} from "../src/hub/interfaces/IDiamond.sol";

contract FirstFacet {
    function novelty() external pure returns (uint256) {
        return 1;
    }
}

contract SecondFacet {
    function novelty() external pure returns (uint256) {
        return 2;
    }

    function breakSilently() external pure {
        assembly {
            revert(0, 0)
        }
    }
}

/// @notice Calls back into the timelock from within an execution.
contract Impatient {
    function again(ITimelock timelock, uint256 id) external returns (bool ok) {
        (ok,) = address(timelock).call(abi.encodeCall(timelock.execute, (id)));
    }
}

/// @notice The hub belongs to a timelock: nothing of it changes unannounced.
contract TimelockTest is HubTest {
    event Proposed(
        uint256 indexed id, address indexed target, bytes data, string text, ITimelock.Code[] codes, uint256 readyAt
    );
    event Executed(uint256 indexed id);
    event Cancelled(uint256 indexed id);

    uint256 private constant DELAY = 5 days;
    address private council = address(0xC0);
    ITimelock private timelock;
    FirstFacet private first;
    SecondFacet private second;

    function setUp() public override {
        super.setUp();
        timelock = ITimelock(address(new Timelock(council, DELAY)));
        hub.transferOwnership(address(timelock));
        first = new FirstFacet();
        second = new SecondFacet();
    }

    // ---- the way of a change ----

    function test_timelock_addsACategory() public {
        bytes memory data = abi.encodeCall(hub.createCategory, ("XL", "a day", 86400));
        ITimelock.Code[] memory none = new ITimelock.Code[](0);
        vm.expectEmit(true, true, true, true, address(timelock));
        emit Proposed(0, address(hub), data, "days are needed", none, START + DELAY);
        uint256 id = propose(address(hub), data, none);
        (ITimelock.Proposal memory p, ITimelock.Status found, uint256 readyAt) = timelock.viewProposal(id);
        assertEq(p.target, address(hub), "target");
        assertEq(p.data, data, "data");
        assertEq(p.text, "days are needed", "text");
        assertEq(p.codes.length, 0, "codes");
        assertEq(uint256(found), 1, "waiting");
        assertEq(readyAt, START + DELAY, "ready");
        assertEq(timelock.countProposals(), 1, "one");

        vm.warp(START + DELAY - 1);
        expectStatus(id, ITimelock.Status.Waiting);
        timelock.execute(id);
        vm.warp(START + DELAY);
        vm.expectEmit(true, true, true, true, address(timelock));
        emit Executed(id);
        vm.prank(outsider);
        bytes memory answer = timelock.execute(id);
        assertEq(abi.decode(answer, (uint256)), 2, "the new id");
        assertEq(hub.viewCategory(2).workClockTimeRef, 86400, "there it is");
        expectStatus(id, ITimelock.Status.Executed);
        timelock.execute(id);
    }

    function test_timelock_replacesAFacet() public {
        uint256 id = propose(address(hub), cutData(IDiamond.FacetCutAction.Add, address(first)), named(address(first)));
        vm.warp(START + DELAY);
        timelock.execute(id);
        assertEq(FirstFacet(address(hub)).novelty(), 1, "added");
        id = propose(address(hub), cutData(IDiamond.FacetCutAction.Replace, address(second)), named(address(second)));
        vm.warp(START + 2 * DELAY);
        timelock.execute(id);
        assertEq(FirstFacet(address(hub)).novelty(), 2, "replaced");
        // A removal installs no code.
        id = propose(address(hub), cutData(IDiamond.FacetCutAction.Remove, address(0)), new ITimelock.Code[](0));
        vm.warp(START + 3 * DELAY);
        timelock.execute(id);
        assertEq(hub.facetAddress(first.novelty.selector), address(0), "removed");
    }

    function test_timelock_changesItself() public {
        bytes memory shorter = abi.encodeCall(timelock.setDelay, (1 days));
        uint256 id = propose(address(timelock), shorter, new ITimelock.Code[](0));
        uint256 other =
            propose(address(timelock), abi.encodeCall(timelock.setProposer, (outsider)), new ITimelock.Code[](0));
        vm.warp(START + DELAY);
        timelock.execute(id);
        timelock.execute(other);
        assertEq(timelock.delay(), 1 days, "delay");
        assertEq(timelock.proposer(), outsider, "proposer");
        vm.expectRevert(abi.encodeWithSelector(ITimelock.NotTheProposer.selector, council));
        propose(address(timelock), shorter, new ITimelock.Code[](0));
    }

    /// @notice Deals keep their terms through a change that is made while their tasks run.
    function test_timelock_runningTasksKeepTheirTerms() public {
        bytes32 taskid = makeTask(1);
        uint256 id = propose(address(hub), abi.encodeCall(hub.setTeeBroker, (vm.addr(0xB0))), new ITimelock.Code[](0));
        vm.warp(START + DELAY);
        timelock.execute(id);
        assertEq(hub.teebroker(), vm.addr(0xB0), "changed");
        hub.claim(taskid);
        assertEq(lockedOf(requester), 0, "refunded as agreed");
        checkBooks();
    }

    // ---- refusals ----

    function test_timelock_refusals() public {
        ITimelock.Code[] memory none = new ITimelock.Code[](0);
        bytes memory data = abi.encodeCall(hub.setTeeBroker, (outsider));
        vm.expectRevert(abi.encodeWithSelector(ITimelock.NotTheProposer.selector, outsider));
        vm.prank(outsider);
        timelock.propose(address(hub), data, "text", none);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.TextLength.selector, 0));
        vm.prank(council);
        timelock.propose(address(hub), data, "", none);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.TextLength.selector, 4097));
        vm.prank(council);
        timelock.propose(address(hub), data, string(new bytes(4097)), none);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.NoCode.selector, outsider));
        vm.prank(council);
        timelock.propose(outsider, data, "text", none);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.TooManyCodes.selector, 33));
        vm.prank(council);
        timelock.propose(address(hub), data, "text", new ITimelock.Code[](33));
        vm.expectRevert(abi.encodeWithSelector(ITimelock.OnlyByProposal.selector));
        vm.prank(council);
        timelock.setDelay(1);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.OnlyByProposal.selector));
        vm.prank(council);
        timelock.setProposer(outsider);
        expectStatus(0, ITimelock.Status.Unknown);
        timelock.execute(0);
        (, ITimelock.Status found,) = timelock.viewProposal(7);
        assertEq(uint256(found), 0, "unknown");
        vm.expectRevert(abi.encodeWithSelector(ITimelock.InvalidDelay.selector, 0));
        new Timelock(council, 0);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.InvalidDelay.selector, 365 days + 1));
        new Timelock(council, 365 days + 1);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.NotTheProposer.selector, address(0)));
        new Timelock(address(0), 1);
    }

    function test_timelock_expires() public {
        uint256 id = propose(address(hub), abi.encodeCall(hub.setTeeBroker, (outsider)), new ITimelock.Code[](0));
        vm.warp(START + DELAY + timelock.grace());
        expectStatus(id, ITimelock.Status.Expired);
        timelock.execute(id);
        expectStatus(id, ITimelock.Status.Expired);
        vm.prank(council);
        timelock.cancel(id);
    }

    function test_timelock_cancel() public {
        uint256 id = propose(address(hub), abi.encodeCall(hub.setTeeBroker, (outsider)), new ITimelock.Code[](0));
        vm.expectRevert(abi.encodeWithSelector(ITimelock.NotTheProposer.selector, outsider));
        vm.prank(outsider);
        timelock.cancel(id);
        vm.expectEmit(true, true, true, true, address(timelock));
        emit Cancelled(id);
        vm.prank(council);
        timelock.cancel(id);
        vm.warp(START + DELAY);
        expectStatus(id, ITimelock.Status.Cancelled);
        timelock.execute(id);
        // One that is ready can still be given up.
        id = propose(address(hub), abi.encodeCall(hub.setTeeBroker, (outsider)), new ITimelock.Code[](0));
        vm.warp(START + 3 * DELAY);
        vm.prank(council);
        timelock.cancel(id);
        expectStatus(id, ITimelock.Status.Cancelled);
        vm.prank(council);
        timelock.cancel(id);
    }

    /// @notice A change that the hub refuses leaves everything as it was, the proposal included.
    function test_timelock_aRefusedChangeChangesNothing() public {
        uint256 id = propose(address(hub), abi.encodeCall(hub.createCategory, ("n", "d", 0)), new ITimelock.Code[](0));
        uint256 silent = propose(address(second), abi.encodeCall(second.breakSilently, ()), new ITimelock.Code[](0));
        vm.warp(START + DELAY);
        vm.expectPartialRevert(bytes4(keccak256("InvalidTimeRef(uint256)")));
        timelock.execute(id);
        assertEq(uint256(timelock.status(id)), uint256(ITimelock.Status.Ready), "still ready");
        vm.expectRevert(abi.encodeWithSelector(ITimelock.CallFailed.selector, silent));
        timelock.execute(silent);
    }

    // ---- attacks ----

    /// @notice The one who proposes cannot change the hub by itself, nor in time, nor by taking the hub back first.
    function test_attack_ownerChangesAtOnce() public {
        expectError("Ownable: caller is not the owner");
        vm.prank(council);
        hub.setTeeBroker(council);
        expectError("Ownable: caller is not the owner");
        hub.diamondCut(new IDiamond.FacetCut[](0), address(0), "");
        uint256 id = propose(address(hub), abi.encodeCall(hub.transferOwnership, (council)), new ITimelock.Code[](0));
        expectStatus(id, ITimelock.Status.Waiting);
        vm.prank(council);
        timelock.execute(id);
        assertEq(hub.owner(), address(timelock), "still the timelock's");
    }

    /// @notice Code that nobody was shown cannot be installed: neither as a facet nor as an initialiser.
    function test_attack_codeNotNamed() public {
        vm.expectRevert(abi.encodeWithSelector(ITimelock.CodeNotNamed.selector, address(first)));
        propose(address(hub), cutData(IDiamond.FacetCutAction.Add, address(first)), named(address(second)));
        vm.expectRevert(abi.encodeWithSelector(ITimelock.CodeNotNamed.selector, address(first)));
        propose(address(hub), cutData(IDiamond.FacetCutAction.Replace, address(first)), new ITimelock.Code[](0));
        bytes memory data = abi.encodeCall(hub.diamondCut, (new IDiamond.FacetCut[](0), address(second), ""));
        vm.expectRevert(abi.encodeWithSelector(ITimelock.CodeNotNamed.selector, address(second)));
        propose(address(hub), data, named(address(first)));
    }

    /// @notice Code that is announced under the hash of other code, or that changes while it waits, is not installed.
    function test_attack_codeChanges() public {
        ITimelock.Code[] memory lie = named(address(first));
        lie[0].codeHash = address(second).codehash;
        vm.expectRevert(
            abi.encodeWithSelector(
                ITimelock.CodeDiffers.selector, address(first), address(second).codehash, address(first).codehash
            )
        );
        propose(address(hub), cutData(IDiamond.FacetCutAction.Add, address(first)), lie);

        uint256 id = propose(address(hub), cutData(IDiamond.FacetCutAction.Add, address(first)), named(address(first)));
        bytes32 announced = address(first).codehash;
        vm.etch(address(first), address(second).code);
        vm.warp(START + DELAY);
        vm.expectRevert(
            abi.encodeWithSelector(ITimelock.CodeDiffers.selector, address(first), announced, address(second).codehash)
        );
        timelock.execute(id);
    }

    /// @notice An account that delegates to code (EIP-7702) can delegate to other code at any time: it is no facet.
    function test_attack_delegatedAccountAsFacet() public {
        vm.etch(outsider, abi.encodePacked(hex"ef0100", address(first)));
        uint256 id = propose(address(hub), cutData(IDiamond.FacetCutAction.Add, outsider), named(outsider));
        vm.warp(START + DELAY);
        vm.expectRevert(abi.encodeWithSelector(IDiamond.NoBytecodeAtAddress.selector, outsider));
        timelock.execute(id);
    }

    /// @notice A change is made once, even if what it calls comes back.
    function test_attack_executeTwice() public {
        Impatient impatient = new Impatient();
        uint256 id =
            propose(address(impatient), abi.encodeCall(impatient.again, (timelock, 0)), new ITimelock.Code[](0));
        assertEq(id, 0, "the first");
        vm.warp(START + DELAY);
        bytes memory answer = timelock.execute(id);
        assertTrue(!abi.decode(answer, (bool)), "refused from within");
    }

    // ---- helpers ----

    function propose(address target, bytes memory data, ITimelock.Code[] memory codes) private returns (uint256) {
        vm.prank(council);
        return timelock.propose(target, data, "days are needed", codes);
    }

    function cutData(IDiamond.FacetCutAction action, address target) private view returns (bytes memory) {
        IDiamond.FacetCut[] memory cuts = new IDiamond.FacetCut[](1);
        cuts[0].facetAddress = target;
        cuts[0].action = action;
        cuts[0].functionSelectors = new bytes4[](1);
        cuts[0].functionSelectors[0] = first.novelty.selector;
        return abi.encodeCall(hub.diamondCut, (cuts, address(0), ""));
    }

    function named(address target) private view returns (ITimelock.Code[] memory codes) {
        codes = new ITimelock.Code[](1);
        codes[0] = ITimelock.Code(target, target.codehash);
    }

    function expectStatus(uint256 id, ITimelock.Status found) private {
        vm.expectRevert(abi.encodeWithSelector(ITimelock.WrongStatus.selector, id, found));
    }
}
