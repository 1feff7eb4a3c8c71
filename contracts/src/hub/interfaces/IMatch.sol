// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IEscrowEvents} from "./IEscrowEvents.sol";
import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";

/// @title Four orders become a deal.
/// @notice Incompatible orders revert with iExec PoCo's strings "iExecV5-matchOrders-0xNN".
interface IMatch is IEscrowEvents {
    event SchedulerNotice(address indexed workerpool, bytes32 dealid);
    event OrdersMatched(
        bytes32 dealid,
        bytes32 appHash,
        bytes32 datasetHash,
        bytes32 workerpoolHash,
        bytes32 requestHash,
        uint256 volume
    );
    event DealSponsored(bytes32 dealId, address sponsor);

    error IncompatibleDatasetOrder(string reason);
    /// @notice A term of the orders is past what a deal can record: trust or worker stake above 2^96 - 1, or a request
    /// of more than 2^48 - 1 tasks.
    error TermTooLarge(uint256 value);
    /// @notice The deal asks for an enclave, which this ledger cannot prove.
    error EnclaveNotSupported(bytes32 tag);

    /// @notice Makes a deal of as many tasks as all orders have left, paid by the requester. Anybody may call.
    function matchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external returns (bytes32 dealid);

    /// @notice As `matchOrders`, paid by the caller.
    function sponsorMatchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external returns (bytes32 dealid);

    /// @notice Number of tasks the orders would make now. Checks neither signatures nor compatibility.
    function computeDealVolume(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external view returns (uint256);

    /// @notice Reverts with `IncompatibleDatasetOrder` unless the order allows its dataset in that deal.
    function assertDatasetDealCompatibility(IexecLibOrders_v5.DatasetOrder calldata datasetorder, bytes32 dealid)
        external
        view;

    function verifySignature(address identity, bytes32 hash, bytes calldata signature) external view returns (bool);
    function verifyPresignature(address identity, bytes32 hash) external view returns (bool);
    function verifyPresignatureOrSignature(address identity, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bool);
}
