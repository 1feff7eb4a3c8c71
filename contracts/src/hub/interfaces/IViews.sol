// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../../registries/IRegistry.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";
import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";

/// @title What anybody may read. Unknown ids give records of zeros.
interface IViews {
    function name() external view returns (string memory);
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
    function totalSupply() external view returns (uint256);
    /// @notice Free stake.
    function balanceOf(address account) external view returns (uint256);
    /// @notice Locked stake.
    function frozenOf(address account) external view returns (uint256);
    function allowance(address account, address spender) external view returns (uint256);
    function viewAccount(address account) external view returns (IexecLibCore_v5.Account memory);

    function token() external view returns (address);
    function appregistry() external view returns (IRegistry);
    function datasetregistry() external view returns (IRegistry);
    function workerpoolregistry() external view returns (IRegistry);
    function teebroker() external view returns (address);
    /// @notice Whether deals may ask for an enclave that is only simulated (development networks).
    function simulatedEnclave() external view returns (bool);
    /// @notice The block the hub was made in: its log has nothing older. (As the chain's contracts count blocks: some count another
    /// chain's, which is then no help.)
    function firstBlock() external view returns (uint256);
    function callbackgas() external pure returns (uint256);
    function contribution_deadline_ratio() external pure returns (uint256);
    function reveal_deadline_ratio() external pure returns (uint256);
    function final_deadline_ratio() external pure returns (uint256);
    function workerpool_stake_ratio() external pure returns (uint256);
    function kitty_ratio() external pure returns (uint256);
    function kitty_min() external pure returns (uint256);
    function kitty_address() external pure returns (address);
    function groupmember_purpose() external pure returns (uint256);
    function max_contributors() external pure returns (uint256);
    function domain() external view returns (IexecLibOrders_v5.EIP712Domain memory);
    function eip712domain_separator() external view returns (bytes32);

    function viewConsumed(bytes32 orderHash) external view returns (uint256 consumed);
    function viewPresigned(bytes32 orderHash) external view returns (address signer);
    function viewDeal(bytes32 dealid) external view returns (IexecLibCore_v5.Deal memory);
    function viewTask(bytes32 taskid) external view returns (IexecLibCore_v5.Task memory);
    function viewContribution(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.Contribution memory);
    function viewScore(address worker) external view returns (uint256);
    function viewCategory(uint256 catid) external view returns (IexecLibCore_v5.Category memory);
    function countCategory() external view returns (uint256);
    function viewApp(address app) external view returns (IexecLibCore_v5.AppInfo memory);
    function viewDataset(address dataset) external view returns (IexecLibCore_v5.DatasetInfo memory);
    function viewWorkerpool(address workerpool) external view returns (IexecLibCore_v5.WorkerpoolInfo memory);
    /// @notice The callback's bytes of a completed task; reverts "task-pending" before.
    function resultFor(bytes32 taskid) external view returns (bytes memory);

    /// @notice Exact weight of a vote; `viewContribution` gives its logarithm.
    function viewWeight(bytes32 taskid, address worker) external view returns (uint256);
    /// @notice The two sides of the consensus rule for a hash: its group, and the total (1 plus all groups; 0 for an
    /// unknown task).
    function viewConsensus(bytes32 taskid, bytes32 resultHash) external view returns (uint256 group, uint256 total);
    /// @notice What PoCo's record has no room for: whether a finalize has failed, when an announced concession takes
    /// effect (0: none), and the pot with the account that holds it.
    function viewTaskState(bytes32 taskid)
        external
        view
        returns (bool recomputed, uint256 concededAt, address potAccount, uint256 pot);
}
