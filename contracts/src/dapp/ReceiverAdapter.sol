// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Certified} from "./Certified.sol";
import {IGristmill, IResultReceiver} from "./IGristmill.sol";

/// @title For receivers that were written for iExec, where a callback is handed the app's answer alone.
/// @notice Orders name this contract as their callback. It stands between hub and receiver, and to the receiver it is the
/// hub: it passes the bare answer on, `resultFor` and `viewTask` give it too (with its own hash as the digest, which is what
/// receivers compare), and whatever else is read here is read from the hub. So a receiver that knows its hub by address is
/// given the adapter's.
contract ReceiverAdapter is IResultReceiver {
    error NoCode(address account);
    error OnlyTheHub(address caller);
    error NotOurTask(bytes32 taskid);
    error AlreadyDelivered(bytes32 taskid);
    error NotOver(bytes32 taskid);
    error NotAResult(bytes32 taskid);

    event Delivered(bytes32 indexed taskid);

    IGristmill public immutable hub;
    IResultReceiver public immutable receiver;
    mapping(bytes32 taskid => bool) public delivered;

    constructor(address hub_, address receiver_) {
        if (hub_.code.length == 0) revert NoCode(hub_);
        if (receiver_.code.length == 0) revert NoCode(receiver_);
        (hub, receiver) = (IGristmill(hub_), IResultReceiver(receiver_));
    }

    /// @notice Called by the hub.
    function receiveResult(bytes32 taskid, bytes calldata resultsCallback) external {
        if (msg.sender != address(hub)) revert OnlyTheHub(msg.sender);
        _deliver(taskid, resultsCallback);
    }

    /// @notice Hands over what the receiver missed in the callback, with as much gas as the caller gives. Anybody may call.
    function deliver(bytes32 taskid) external {
        IGristmill.Task memory task = hub.viewTask(taskid);
        if (task.status != IGristmill.TaskStatus.COMPLETED) revert NotOver(taskid);
        if (hub.viewDeal(task.dealid).callback != address(this)) revert NotOurTask(taskid);
        _deliver(taskid, task.resultsCallback);
    }

    function resultFor(bytes32 taskid) external view returns (bytes memory) {
        return _answer(taskid, hub.resultFor(taskid));
    }

    /// @notice The hub's record; of a completed task with a callback, the bare answer and its hash.
    function viewTask(bytes32 taskid) external view returns (IGristmill.Task memory task) {
        task = hub.viewTask(taskid);
        if (task.resultsCallback.length != 0) {
            task.resultsCallback = _answer(taskid, task.resultsCallback);
            task.resultDigest = keccak256(task.resultsCallback);
        }
    }

    /// @notice All else that can be read of the hub.
    fallback(bytes calldata data) external returns (bytes memory) {
        (bool ok, bytes memory answer) = address(hub).staticcall(data);
        if (ok) return answer;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    function _deliver(bytes32 taskid, bytes memory preimage) private {
        if (delivered[taskid]) revert AlreadyDelivered(taskid);
        delivered[taskid] = true;
        emit Delivered(taskid);
        receiver.receiveResult(taskid, _answer(taskid, preimage));
    }

    function _answer(bytes32 taskid, bytes memory preimage) private pure returns (bytes memory) {
        (bool ok, Certified.Result memory result) = Certified.unwrap(preimage);
        if (!ok) revert NotAResult(taskid);
        return result.answer;
    }
}
