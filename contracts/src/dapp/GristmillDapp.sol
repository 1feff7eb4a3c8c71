// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Certified} from "./Certified.sol";
import {IGristmill, IResultReceiver} from "./IGristmill.sol";

/// @title A contract that orders work and gets the certified answer.
/// @notice Inherit, call `_ask`, and do in `_onAnswer` what the answer is for. The contract is the requester: it signs its
/// order by being there, and the price comes from its own account at the hub, which anybody may fill (`depositFor`).
///
/// Whoever chooses the pool can have any answer certified, because a pool chooses its workers; whoever sets the price can
/// empty the account. So a request names one pool (or an ERC-734 group of pools) and the most that is paid, and both should
/// come from the contract's own settings, never from whoever happens to call.
abstract contract GristmillDapp is IResultReceiver {
    enum Status {
        /// Not one of ours.
        NONE,
        /// The network works at it, or has ended and `settle` is due.
        PENDING,
        /// `_onAnswer` has had the answer.
        ANSWERED,
        /// The task failed, and its price is in the contract's account again.
        FAILED
    }

    /// @notice What is asked for, of whom, on which terms. Prices in nGRIST for one task.
    /// @param workerpool who may do it: a pool, or an ERC-734 group contract. Zero, anybody, is refused.
    /// @param category size class, with its time T and its resources.
    /// @param trust how sure: the odds of a wrong answer are below 1 in `trust`, given the workers' histories.
    /// @param params as of any order: {"iexec_args":"..."}.
    struct Request {
        address app;
        uint256 appMaxPrice;
        address workerpool;
        uint256 workerpoolMaxPrice;
        uint256 category;
        uint256 trust;
        string params;
    }

    event TaskAsked(bytes32 indexed taskid, bytes32 indexed dealid);
    event TaskAnswered(bytes32 indexed taskid, bytes32 root, bytes32 witness, bytes answer);
    event TaskFailed(bytes32 indexed taskid);

    error NoHub(address hub);
    error AnyPoolWouldDo();
    error OnlyTheHub(address caller);
    error NotPending(bytes32 taskid);
    error NotOver(bytes32 taskid);

    IGristmill public immutable hub;
    mapping(bytes32 taskid => Status) public statusOf;
    uint256 private asked;

    constructor(address hub_) {
        if (hub_.code.length == 0) revert NoHub(hub_);
        hub = IGristmill(hub_);
    }

    /// @notice Called by the hub when a task is completed.
    function receiveResult(bytes32 taskid, bytes calldata resultsCallback) external {
        if (msg.sender != address(hub)) revert OnlyTheHub(msg.sender);
        // Anybody can make a deal of his own whose callback is this contract.
        if (statusOf[taskid] != Status.PENDING) revert NotPending(taskid);
        _accept(taskid, resultsCallback);
    }

    /// @notice Takes notice of how a task ended, if the callback could not: it had too little gas, or `_onAnswer` reverted,
    /// or the task failed, which no callback says. Anybody may call.
    function settle(bytes32 taskid) external {
        if (statusOf[taskid] != Status.PENDING) revert NotPending(taskid);
        IGristmill.Task memory task = hub.viewTask(taskid);
        if (task.status == IGristmill.TaskStatus.COMPLETED) {
            _accept(taskid, task.resultsCallback);
        } else if (task.status == IGristmill.TaskStatus.FAILED) {
            _fail(taskid);
        } else {
            revert NotOver(taskid);
        }
    }

    /// @notice Orders one task, now: the offers of app and pool come from an order book or from the ledger's log; that they
    /// fit the request, the hub checks. The price is locked in this contract's account.
    function _ask(
        Request memory request,
        IGristmill.AppOrder calldata appOrder,
        IGristmill.WorkerpoolOrder calldata workerpoolOrder
    ) internal returns (bytes32 taskid) {
        if (request.workerpool == address(0)) revert AnyPoolWouldDo();
        IGristmill.RequestOrder memory order = _order(request);
        hub.manageRequestOrder(IGristmill.RequestOrderOperation(order, IGristmill.OrderOperation.SIGN, ""));
        IGristmill.DatasetOrder memory noDataset;
        bytes32 dealid = hub.matchOrders(appOrder, noDataset, workerpoolOrder, order);
        taskid = keccak256(abi.encode(dealid, uint256(0)));
        statusOf[taskid] = Status.PENDING;
        emit TaskAsked(taskid, dealid);
    }

    /// @notice The answer to a task of ours. In the callback there are less than 200,000 gas, and what reverts here can be
    /// repeated with more by `settle`.
    function _onAnswer(bytes32 taskid, Certified.Result memory result) internal virtual;

    /// @notice A task of ours ended without an answer.
    function _onFailure(bytes32 taskid) internal virtual {}

    /// @notice Pays out what the account at the hub holds and no task has locked.
    function _withdraw(address to, uint256 amount) internal {
        hub.withdrawTo(amount, to);
    }

    function _accept(bytes32 taskid, bytes memory preimage) private {
        (bool ok, Certified.Result memory result) = Certified.unwrap(preimage);
        // Certified, but nothing that a worker of ours makes: only a pool that lies comes here.
        if (!ok) return _fail(taskid);
        // Before the hook, so that it cannot come back in.
        statusOf[taskid] = Status.ANSWERED;
        emit TaskAnswered(taskid, result.root, result.witness, result.answer);
        _onAnswer(taskid, result);
    }

    function _fail(bytes32 taskid) private {
        statusOf[taskid] = Status.FAILED;
        emit TaskFailed(taskid);
        _onFailure(taskid);
    }

    function _order(Request memory request) private returns (IGristmill.RequestOrder memory order) {
        order.app = request.app;
        order.appmaxprice = request.appMaxPrice;
        order.workerpool = request.workerpool;
        order.workerpoolmaxprice = request.workerpoolMaxPrice;
        order.category = request.category;
        order.trust = request.trust;
        order.params = request.params;
        order.requester = address(this);
        order.beneficiary = address(this);
        order.callback = address(this);
        order.volume = 1;
        // Two requests on the same terms are two orders.
        order.salt = bytes32(++asked);
    }
}
