// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC5313} from "@openzeppelin/contracts/interfaces/IERC5313.sol";
import {HubStorage} from "../HubStorage.sol";
import {IOrders} from "../interfaces/IOrders.sol";
import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";
import {Signatures} from "../lib/Signatures.sol";

/// @title Orders signed, closed and published on the ledger.
/// @notice An order of an asset that is not registered may be managed by whoever that contract calls its owner; it is of
/// no use, since matching refuses it.
contract OrderFacet is IOrders {
    using IexecLibOrders_v5 for *;

    function manageAppOrder(IexecLibOrders_v5.AppOrderOperation calldata operation) external {
        address owner = IERC5313(operation.order.app).owner();
        _requireSender(owner, operation.hash(), operation.sign);
        bytes32 orderHash = operation.order.hash().typedDataHash();
        if (_apply(operation.operation, orderHash, owner, operation.order.volume)) emit SignedAppOrder(orderHash);
        else emit ClosedAppOrder(orderHash);
    }

    function manageDatasetOrder(IexecLibOrders_v5.DatasetOrderOperation calldata operation) external {
        address owner = IERC5313(operation.order.dataset).owner();
        _requireSender(owner, operation.hash(), operation.sign);
        bytes32 orderHash = operation.order.hash().typedDataHash();
        if (_apply(operation.operation, orderHash, owner, operation.order.volume)) emit SignedDatasetOrder(orderHash);
        else emit ClosedDatasetOrder(orderHash);
    }

    function manageWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrderOperation calldata operation) external {
        address owner = IERC5313(operation.order.workerpool).owner();
        _requireSender(owner, operation.hash(), operation.sign);
        bytes32 orderHash = operation.order.hash().typedDataHash();
        if (_apply(operation.operation, orderHash, owner, operation.order.volume)) {
            emit SignedWorkerpoolOrder(orderHash);
        } else {
            emit ClosedWorkerpoolOrder(orderHash);
        }
    }

    function manageRequestOrder(IexecLibOrders_v5.RequestOrderOperation calldata operation) external {
        address owner = operation.order.requester;
        _requireSender(owner, operation.hash(), operation.sign);
        bytes32 orderHash = operation.order.hash().typedDataHash();
        if (_apply(operation.operation, orderHash, owner, operation.order.volume)) emit SignedRequestOrder(orderHash);
        else emit ClosedRequestOrder(orderHash);
    }

    function broadcastAppOrder(IexecLibOrders_v5.AppOrder calldata order) external {
        emit BroadcastAppOrder(order);
    }

    function broadcastDatasetOrder(IexecLibOrders_v5.DatasetOrder calldata order) external {
        emit BroadcastDatasetOrder(order);
    }

    function broadcastWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrder calldata order) external {
        emit BroadcastWorkerpoolOrder(order);
    }

    function broadcastRequestOrder(IexecLibOrders_v5.RequestOrder calldata order) external {
        emit BroadcastRequestOrder(order);
    }

    function _requireSender(address owner, bytes32 operationHash, bytes calldata signature) private view {
        require(
            owner == msg.sender || Signatures.isValid(owner, operationHash.typedDataHash(), signature),
            "invalid-sender-or-signature"
        );
    }

    /// @dev Returns whether the operation was SIGN.
    function _apply(IexecLibOrders_v5.OrderOperationEnum operation, bytes32 orderHash, address owner, uint256 volume)
        private
        returns (bool)
    {
        HubStorage.State storage $ = HubStorage.state();
        if (operation == IexecLibOrders_v5.OrderOperationEnum.SIGN) {
            $.presigned[orderHash] = owner;
            return true;
        }
        $.consumed[orderHash] = volume;
        return false;
    }
}
