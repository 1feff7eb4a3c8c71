// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PrimeCounter} from "../contracts/PrimeCounter.sol";
import {GristmillDapp} from "../contracts/gristmill/GristmillDapp.sol";
import {IGristmill} from "../contracts/gristmill/IGristmill.sol";

/// @notice Stands in for the hub, so that the contract's own logic is tested in a second. What it does with a real hub and
/// real workers, `npm run ask` shows.
contract StandIn {
    IGristmill.RequestOrder private order;
    IGristmill.Task private task;

    function manageRequestOrder(IGristmill.RequestOrderOperation calldata operation) external {
        require(operation.order.requester == msg.sender, "the requester signs");
        order = operation.order;
    }

    function matchOrders(
        IGristmill.AppOrder calldata,
        IGristmill.DatasetOrder calldata,
        IGristmill.WorkerpoolOrder calldata,
        IGristmill.RequestOrder calldata request
    ) external view returns (bytes32) {
        require(request.salt == order.salt, "signed before");
        return request.salt;
    }

    function viewTask(bytes32) external view returns (IGristmill.Task memory) {
        return task;
    }

    function lastOrder() external view returns (IGristmill.RequestOrder memory) {
        return order;
    }

    function end(bytes32 taskid, IGristmill.TaskStatus status, bytes calldata preimage) external {
        (task.status, task.resultsCallback) = (status, preimage);
        if (status == IGristmill.TaskStatus.COMPLETED) {
            // As the hub does: whatever happens in there, the task is completed.
            try GristmillDapp(order.callback).receiveResult{gas: 200_000}(taskid, preimage) {} catch {}
        }
    }
}

contract PrimeCounterTest {
    // forge recognises a test contract by this name.
    bool public constant IS_TEST = true;

    StandIn private hub;
    PrimeCounter private counter;

    function setUp() public {
        hub = new StandIn();
        counter = new PrimeCounter(address(hub), PrimeCounter.Terms(address(0xA), address(0xB), 1e9, 0, 5));
    }

    function ask(uint256 n) private returns (bytes32) {
        IGristmill.AppOrder memory appOrder;
        IGristmill.WorkerpoolOrder memory workerpoolOrder;
        return counter.count(n, appOrder, workerpoolOrder);
    }

    function preimage(uint256 n, uint256 primes) private pure returns (bytes memory) {
        return abi.encode(bytes32("root"), bytes32("witness"), abi.encode(n, primes));
    }

    function test_theOrderSaysWhatIsWanted() public {
        ask(1_000_000);
        IGristmill.RequestOrder memory order = hub.lastOrder();
        require(keccak256(bytes(order.params)) == keccak256('{"iexec_args":"1000000"}'), "params");
        require(order.callback == address(counter) && order.workerpool == address(0xB), "to whom");
        require(order.workerpoolmaxprice == 1e9 && order.trust == 5 && order.volume == 1, "terms");
    }

    function test_theAnswerIsKept() public {
        bytes32 taskid = ask(100);
        hub.end(taskid, IGristmill.TaskStatus.COMPLETED, preimage(100, 25));
        require(counter.primesBelow(100) == 25, "answer");
        require(counter.statusOf(taskid) == GristmillDapp.Status.ANSWERED, "status");
    }

    function test_noPrimesIsAnAnswerToo() public {
        hub.end(ask(2), IGristmill.TaskStatus.COMPLETED, preimage(2, 0));
        require(counter.primesBelow(2) == 0, "answer");
    }

    function test_anAnswerToAnotherQuestionIsNone() public {
        hub.end(ask(100), IGristmill.TaskStatus.COMPLETED, preimage(1_000, 168));
        (bool ok,) = address(counter).call(abi.encodeCall(counter.primesBelow, (1_000)));
        require(!ok, "not counted");
    }

    function test_aTaskThatFailedIsSettled() public {
        bytes32 taskid = ask(100);
        hub.end(taskid, IGristmill.TaskStatus.FAILED, "");
        counter.settle(taskid);
        require(counter.statusOf(taskid) == GristmillDapp.Status.FAILED, "status");
    }

    function test_onlyTheOwnerSpends() public {
        Stranger stranger = new Stranger();
        require(!stranger.tries(address(counter), abi.encodeCall(counter.withdraw, (1))), "withdrew");
        bytes memory answer = abi.encodeCall(counter.receiveResult, (bytes32(0), preimage(1, 1)));
        require(!stranger.tries(address(counter), answer), "answered");
    }
}

contract Stranger {
    function tries(address target, bytes calldata data) external returns (bool ok) {
        (ok,) = target.call(data);
    }
}
