// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";

/// @title Signing and closing orders on the ledger, and publishing them in its log.
interface IOrders {
    event SignedAppOrder(bytes32 appHash);
    event SignedDatasetOrder(bytes32 datasetHash);
    event SignedWorkerpoolOrder(bytes32 workerpoolHash);
    event SignedRequestOrder(bytes32 requestHash);
    event ClosedAppOrder(bytes32 appHash);
    event ClosedDatasetOrder(bytes32 datasetHash);
    event ClosedWorkerpoolOrder(bytes32 workerpoolHash);
    event ClosedRequestOrder(bytes32 requestHash);
    event BroadcastAppOrder(IexecLibOrders_v5.AppOrder apporder);
    event BroadcastDatasetOrder(IexecLibOrders_v5.DatasetOrder datasetorder);
    event BroadcastWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrder workerpoolorder);
    event BroadcastRequestOrder(IexecLibOrders_v5.RequestOrder requestorder);

    /// @notice SIGN counts as the owner's signature from now on; CLOSE makes the remaining volume zero. The caller is the
    /// asset's owner (the requester, for a request), or anybody who brings its signature of the operation.
    function manageAppOrder(IexecLibOrders_v5.AppOrderOperation calldata operation) external;
    function manageDatasetOrder(IexecLibOrders_v5.DatasetOrderOperation calldata operation) external;
    function manageWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrderOperation calldata operation) external;
    function manageRequestOrder(IexecLibOrders_v5.RequestOrderOperation calldata operation) external;

    /// @notice Writes an order into the log, for order books that follow the ledger. Checks nothing, changes nothing.
    function broadcastAppOrder(IexecLibOrders_v5.AppOrder calldata order) external;
    function broadcastDatasetOrder(IexecLibOrders_v5.DatasetOrder calldata order) external;
    function broadcastWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrder calldata order) external;
    function broadcastRequestOrder(IexecLibOrders_v5.RequestOrder calldata order) external;
}
