// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Certified} from "../src/dapp/Certified.sol";
import {GristmillDapp} from "../src/dapp/GristmillDapp.sol";
import {IGristmill, IResultReceiver} from "../src/dapp/IGristmill.sol";
import {ReceiverAdapter} from "../src/dapp/ReceiverAdapter.sol";
import {IEscrow} from "../src/hub/interfaces/IEscrow.sol";
import {IHub} from "../src/hub/interfaces/IHub.sol";
import {IMatch} from "../src/hub/interfaces/IMatch.sol";
import {IOrders} from "../src/hub/interfaces/IOrders.sol";
import {ITasks} from "../src/hub/interfaces/ITasks.sol";
import {IViews} from "../src/hub/interfaces/IViews.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";
import {HubTest} from "./HubTest.sol";
import {Vm} from "./Test.sol";

/// @notice A dapp that keeps the last answer, and can be made to misbehave in its hook.
contract Asker is GristmillDapp {
    enum Mood {
        Good,
        Revert,
        Reenter,
        Expensive
    }

    Mood public mood;
    uint256 public answers;
    uint256 public failures;
    bytes public last;
    bytes32 public lastRoot;
    mapping(uint256 => uint256) private filler;

    constructor(address hub_) GristmillDapp(hub_) {}

    function ask(
        Request memory request,
        IGristmill.AppOrder calldata appOrder,
        IGristmill.WorkerpoolOrder calldata poolOrder
    ) external returns (bytes32) {
        return _ask(request, appOrder, poolOrder);
    }

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    function withdraw(address to, uint256 amount) external {
        _withdraw(to, amount);
    }

    function _onAnswer(bytes32 taskid, Certified.Result memory result) internal override {
        require(mood != Mood.Revert, "not now");
        if (mood == Mood.Reenter) this.settle(taskid);
        if (mood == Mood.Expensive) {
            for (uint256 i = 1; i <= 12; ++i) filler[i] = i;
        }
        ++answers;
        (last, lastRoot) = (result.answer, result.root);
    }

    function _onFailure(bytes32) internal override {
        ++failures;
    }
}

/// @notice As iExec's own receivers are written: it asks its hub for the task, and compares.
contract OldReceiver is IResultReceiver {
    address public proxy;
    bytes public last;
    uint256 public calls;
    bool public broken;

    function setProxy(address proxy_) external {
        proxy = proxy_;
    }

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function receiveResult(bytes32 taskid, bytes calldata result) external {
        require(msg.sender == proxy, "not the hub");
        require(!broken, "broken");
        IGristmill.Task memory task = IGristmill(proxy).viewTask(taskid);
        require(keccak256(result) == task.resultDigest, "digest");
        require(keccak256(IGristmill(proxy).resultFor(taskid)) == task.resultDigest, "resultFor");
        require(IGristmill(proxy).viewDeal(task.dealid).callback == proxy, "deal");
        ++calls;
        last = result;
    }
}

/// @notice Contracts that order work.
contract DappTest is HubTest {
    Asker private dapp;
    bytes private constant ANSWER = hex"000000000000000000000000000000000000000000000000000000000000002a";

    function setUp() public override {
        super.setUp();
        dapp = new Asker(address(hub));
        hub.depositFor(FUNDS, address(dapp));
        people.push(address(dapp));
    }

    function preimage(bytes memory answer) private pure returns (bytes memory) {
        return abi.encode(bytes32("root"), bytes32("witness"), answer);
    }

    function request() private view returns (GristmillDapp.Request memory r) {
        r = GristmillDapp.Request(app, APP_PRICE, workerpool, POOL_PRICE, 0, 1, '{"iexec_args":"42"}');
    }

    function offers() private returns (IGristmill.AppOrder memory a, IGristmill.WorkerpoolOrder memory w) {
        Orders.AppOrder memory appOffer = appOrder(terms());
        Orders.WorkerpoolOrder memory poolOffer = workerpoolOrder(terms());
        a = abi.decode(abi.encode(appOffer), (IGristmill.AppOrder));
        w = abi.decode(abi.encode(poolOffer), (IGristmill.WorkerpoolOrder));
    }

    /// @dev Asked by somebody, with offers that fit, and initialised.
    function ask(GristmillDapp.Request memory r) private returns (bytes32 taskid) {
        (IGristmill.AppOrder memory a, IGristmill.WorkerpoolOrder memory w) = offers();
        vm.recordLogs();
        taskid = dapp.ask(r, a, w);
        assertStatus(taskid, GristmillDapp.Status.PENDING);
        bytes32 dealid;
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == GristmillDapp.TaskAsked.selector) dealid = logs[i].topics[2];
        }
        assertEq(hub.initialize(dealid, 0), taskid, "the id is known before the task is there");
        knownTasks.push(taskid);
    }

    /// @dev A worker proves `data`, and the pool finalises, which calls back.
    function complete(bytes32 taskid, bytes memory data) private {
        contribute(0, taskid, keccak256(data));
        reveal(0, taskid, keccak256(data));
        vm.prank(pool);
        hub.finalize(taskid, "", data);
        assertEq(status(taskid), uint256(Core.TaskStatusEnum.COMPLETED), "paid, whatever the callback does");
    }

    function assertStatus(bytes32 taskid, GristmillDapp.Status expected) private view {
        assertEq(uint256(dapp.statusOf(taskid)), uint256(expected), "status");
    }

    function test_answer() public {
        openBooks();
        bytes32 taskid = ask(request());
        assertEq(hub.viewDeal(hub.viewTask(taskid).dealid).requester, address(dapp), "the contract asks");
        complete(taskid, preimage(ANSWER));
        assertStatus(taskid, GristmillDapp.Status.ANSWERED);
        assertEq(dapp.last(), ANSWER, "answer");
        assertEq(dapp.lastRoot(), bytes32("root"), "root");
        assertEq(dapp.answers(), 1, "once");
        assertEq(gained(address(dapp)), -int256(APP_PRICE + POOL_PRICE), "the contract paid");
        checkBooks();
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.NotPending.selector, taskid));
        dapp.settle(taskid);
    }

    function test_answer_ofThreeWorkers() public {
        GristmillDapp.Request memory r = request();
        r.trust = 5;
        bytes32 taskid = ask(r);
        bytes memory data = preimage("");
        contributeMany(0, 3, taskid, keccak256(data));
        revealMany(0, 3, taskid, keccak256(data));
        vm.prank(pool);
        hub.finalize(taskid, "", data);
        assertStatus(taskid, GristmillDapp.Status.ANSWERED);
        assertEq(dapp.last(), "", "an app may have no answer; the root is there");
    }

    /// @notice The longest answer that fits the callback's gas, and one that does not: neither is lost.
    function test_answer_tooMuchForTheCallback() public {
        bytes32 taskid = ask(request());
        dapp.setMood(Asker.Mood.Expensive);
        complete(taskid, preimage(ANSWER));
        assertStatus(taskid, GristmillDapp.Status.PENDING);
        vm.prank(outsider);
        dapp.settle(taskid);
        assertStatus(taskid, GristmillDapp.Status.ANSWERED);
        assertEq(dapp.last(), ANSWER, "answer");
    }

    function test_answer_whenTheHookReverts() public {
        bytes32 taskid = ask(request());
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.NotOver.selector, taskid));
        dapp.settle(taskid);
        dapp.setMood(Asker.Mood.Revert);
        complete(taskid, preimage(ANSWER));
        assertStatus(taskid, GristmillDapp.Status.PENDING);
        expectError("not now");
        dapp.settle(taskid);
        dapp.setMood(Asker.Mood.Good);
        dapp.settle(taskid);
        assertEq(dapp.last(), ANSWER, "answer");
    }

    function test_failure_givesThePriceBack() public {
        openBooks();
        bytes32 taskid = ask(request());
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertStatus(taskid, GristmillDapp.Status.PENDING);
        dapp.settle(taskid);
        assertStatus(taskid, GristmillDapp.Status.FAILED);
        assertEq(dapp.failures(), 1, "told");
        assertEq(gained(address(dapp)), 0, "refunded");
        dapp.withdraw(outsider, FUNDS);
        assertEq(token.balanceOf(outsider), FUNDS, "withdrawn");
        checkBooks();
    }

    function test_twoRequestsAlikeAreTwoTasks() public {
        bytes32 first = ask(request());
        assertTrue(first != ask(request()), "two tasks");
    }

    function test_attack_notTheHub() public {
        bytes32 taskid = ask(request());
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.OnlyTheHub.selector, outsider));
        vm.prank(outsider);
        dapp.receiveResult(taskid, preimage("forged"));
    }

    /// @notice Somebody's own task, whose callback is the dapp: its answer is not for it.
    function test_attack_foreignTask() public {
        Terms memory t = terms();
        (t.trust, t.callback) = (1, address(dapp));
        bytes32 taskid = makeTask(t);
        complete(taskid, preimage("forged"));
        assertEq(dapp.answers(), 0, "not ours");
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.NotPending.selector, taskid));
        dapp.settle(taskid);
    }

    function test_attack_hookComesBack() public {
        bytes32 taskid = ask(request());
        dapp.setMood(Asker.Mood.Reenter);
        complete(taskid, preimage(ANSWER));
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.NotPending.selector, taskid));
        dapp.settle(taskid);
        assertEq(dapp.answers(), 0, "never twice");
    }

    /// @notice Whoever calls brings offers, and the request's own terms bound them.
    function test_attack_offersOfTheCaller() public {
        (IGristmill.AppOrder memory a, IGristmill.WorkerpoolOrder memory w) = offers();
        GristmillDapp.Request memory r = request();
        r.workerpool = address(0);
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.AnyPoolWouldDo.selector));
        dapp.ask(r, a, w);
        r = request();
        r.workerpoolMaxPrice = POOL_PRICE - 1;
        expectError("iExecV5-matchOrders-0x05");
        dapp.ask(r, a, w);
        r = request();
        r.workerpool = address(0xBAD);
        vm.expectRevert();
        dapp.ask(r, a, w);
        vm.expectRevert(abi.encodeWithSelector(GristmillDapp.NoHub.selector, address(0xBAD)));
        new Asker(address(0xBAD));
    }

    /// @notice Bytes that only a lying consensus can certify end the task, and lock nothing up.
    function testFuzz_certifiedNonsense(bytes memory nonsense) public {
        vm.assume(nonsense.length > 0);
        bytes32 taskid = ask(request());
        complete(taskid, nonsense);
        (bool ok,) = Certified.unwrap(nonsense);
        assertTrue(!ok, "no encoding comes by chance");
        assertStatus(taskid, GristmillDapp.Status.FAILED);
    }

    function testFuzz_unwrap(bytes32 root, bytes32 witness, bytes memory answer, uint256 place, uint8 flip) public pure {
        bytes memory data = abi.encode(root, witness, answer);
        (bool ok, Certified.Result memory result) = Certified.unwrap(data);
        assertTrue(ok && result.root == root && result.witness == witness, "parts");
        assertEq(result.answer, answer, "answer");
        // Where the answer begins and how long it is has one form.
        place = 64 + place % 64;
        data[place] = bytes1(uint8(data[place]) ^ (flip == 0 ? 1 : flip));
        (ok,) = Certified.unwrap(data);
        // A shorter length within the same last word is another answer, not nonsense.
        assertTrue(!ok || place == 127, "offset and length");
    }

    // ---- receivers of iExec's ----

    function adapter() private returns (OldReceiver receiver, ReceiverAdapter between) {
        receiver = new OldReceiver();
        between = new ReceiverAdapter(address(hub), address(receiver));
        receiver.setProxy(address(between));
    }

    function taskWithCallback(address callback) private returns (bytes32) {
        Terms memory t = terms();
        (t.trust, t.callback) = (1, callback);
        return makeTask(t);
    }

    function test_adapter() public {
        (OldReceiver receiver, ReceiverAdapter between) = adapter();
        bytes32 taskid = taskWithCallback(address(between));
        complete(taskid, preimage(ANSWER));
        assertEq(receiver.last(), ANSWER, "the bare answer");
        vm.expectRevert(abi.encodeWithSelector(ReceiverAdapter.AlreadyDelivered.selector, taskid));
        between.deliver(taskid);
        assertEq(receiver.calls(), 1, "once");
        assertEq(IHub(address(between)).viewScore(worker(0)), hub.viewScore(worker(0)), "reads on");
        vm.expectRevert();
        IHub(address(between)).withdraw(1);
    }

    function test_adapter_deliversWhatWasMissed() public {
        (OldReceiver receiver, ReceiverAdapter between) = adapter();
        bytes32 taskid = taskWithCallback(address(between));
        vm.expectRevert(abi.encodeWithSelector(ReceiverAdapter.NotOver.selector, taskid));
        between.deliver(taskid);
        receiver.setBroken(true);
        complete(taskid, preimage(ANSWER));
        expectError("broken");
        between.deliver(taskid);
        receiver.setBroken(false);
        between.deliver(taskid);
        assertEq(receiver.last(), ANSWER, "answer");
    }

    function test_attack_adapter() public {
        (OldReceiver receiver, ReceiverAdapter between) = adapter();
        bytes32 foreign = taskWithCallback(address(dapp));
        complete(foreign, preimage(ANSWER));
        vm.expectRevert(abi.encodeWithSelector(ReceiverAdapter.NotOurTask.selector, foreign));
        between.deliver(foreign);
        vm.expectRevert(abi.encodeWithSelector(ReceiverAdapter.OnlyTheHub.selector, address(this)));
        between.receiveResult(foreign, preimage(ANSWER));
        bytes32 nonsense = taskWithCallback(address(between));
        complete(nonsense, "nonsense");
        vm.expectRevert(abi.encodeWithSelector(ReceiverAdapter.NotAResult.selector, nonsense));
        between.deliver(nonsense);
        assertEq(receiver.calls(), 0, "nothing came through");
        vm.expectRevert(abi.encodeWithSelector(ReceiverAdapter.NoCode.selector, outsider));
        new ReceiverAdapter(address(hub), outsider);
    }

    /// @notice What dapps take along says the same as the hub's own interfaces.
    function test_interface() public pure {
        assertTrue(
            IGristmill.matchOrders.selector == IMatch.matchOrders.selector
                && IGristmill.manageRequestOrder.selector == IOrders.manageRequestOrder.selector
                && IGristmill.initialize.selector == ITasks.initialize.selector
                && IGristmill.viewTask.selector == IViews.viewTask.selector
                && IGristmill.viewDeal.selector == IViews.viewDeal.selector
                && IGristmill.resultFor.selector == IViews.resultFor.selector
                && IGristmill.balanceOf.selector == IViews.balanceOf.selector
                && IGristmill.token.selector == IViews.token.selector
                && IGristmill.depositFor.selector == IEscrow.depositFor.selector
                && IGristmill.withdrawTo.selector == IEscrow.withdrawTo.selector,
            "selectors"
        );
    }
}
