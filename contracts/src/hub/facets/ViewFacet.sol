// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../../registries/IRegistry.sol";
import {App} from "../../registries/App.sol";
import {Dataset} from "../../registries/Dataset.sol";
import {Workerpool} from "../../registries/Workerpool.sol";
import {HubStorage} from "../HubStorage.sol";
import {Records} from "../Records.sol";
import {IViews} from "../interfaces/IViews.sol";
import {HubConstants} from "../lib/HubConstants.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";
import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";
import {Signatures} from "../lib/Signatures.sol";

/// @title What anybody may read.
contract ViewFacet is IViews {
    function name() external pure returns (string memory) {
        return HubConstants.NAME;
    }

    function symbol() external pure returns (string memory) {
        return HubConstants.SYMBOL;
    }

    function decimals() external pure returns (uint8) {
        return HubConstants.DECIMALS;
    }

    function totalSupply() external view returns (uint256) {
        return HubStorage.state().totalSupply;
    }

    function balanceOf(address account) external view returns (uint256) {
        return HubStorage.state().accounts[account].stake;
    }

    function frozenOf(address account) external view returns (uint256) {
        return HubStorage.state().accounts[account].locked;
    }

    function allowance(address account, address spender) external view returns (uint256) {
        return HubStorage.state().allowances[account][spender];
    }

    function viewAccount(address account) external view returns (IexecLibCore_v5.Account memory) {
        HubStorage.Account storage found = HubStorage.state().accounts[account];
        return IexecLibCore_v5.Account(found.stake, found.locked);
    }

    function token() external view returns (address) {
        return address(HubStorage.state().token);
    }

    function appregistry() external view returns (IRegistry) {
        return HubStorage.state().appRegistry;
    }

    function datasetregistry() external view returns (IRegistry) {
        return HubStorage.state().datasetRegistry;
    }

    function workerpoolregistry() external view returns (IRegistry) {
        return HubStorage.state().workerpoolRegistry;
    }

    function teebroker() external view returns (address) {
        return HubStorage.state().teeBroker;
    }

    function firstBlock() external view returns (uint256) {
        return HubStorage.state().firstBlock;
    }

    function simulatedEnclave() external view returns (bool) {
        return HubStorage.state().simulatedEnclave;
    }

    function callbackgas() external pure returns (uint256) {
        return HubConstants.CALLBACK_GAS;
    }

    function contribution_deadline_ratio() external pure returns (uint256) {
        return HubConstants.CONTRIBUTION_DEADLINE_RATIO;
    }

    function reveal_deadline_ratio() external pure returns (uint256) {
        return HubConstants.REVEAL_DEADLINE_RATIO;
    }

    function final_deadline_ratio() external pure returns (uint256) {
        return HubConstants.FINAL_DEADLINE_RATIO;
    }

    function workerpool_stake_ratio() external pure returns (uint256) {
        return HubConstants.WORKERPOOL_STAKE_RATIO;
    }

    function kitty_ratio() external pure returns (uint256) {
        return HubConstants.KITTY_RATIO;
    }

    function kitty_min() external pure returns (uint256) {
        return HubConstants.KITTY_MIN;
    }

    function kitty_address() external pure returns (address) {
        return HubConstants.KITTY;
    }

    function groupmember_purpose() external pure returns (uint256) {
        return Signatures.GROUPMEMBER_PURPOSE;
    }

    function max_contributors() external pure returns (uint256) {
        return HubConstants.MAX_CONTRIBUTORS;
    }

    function domain() external view returns (IexecLibOrders_v5.EIP712Domain memory) {
        return IexecLibOrders_v5.domain();
    }

    function eip712domain_separator() external view returns (bytes32) {
        return IexecLibOrders_v5.domainSeparator();
    }

    function viewConsumed(bytes32 orderHash) external view returns (uint256 consumed) {
        return HubStorage.state().consumed[orderHash];
    }

    function viewPresigned(bytes32 orderHash) external view returns (address signer) {
        return HubStorage.state().presigned[orderHash];
    }

    function viewDeal(bytes32 dealid) external view returns (IexecLibCore_v5.Deal memory) {
        return Records.deal(dealid);
    }

    function viewTask(bytes32 taskid) external view returns (IexecLibCore_v5.Task memory) {
        return Records.task(taskid);
    }

    function viewContribution(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.Contribution memory)
    {
        return Records.contribution(taskid, worker);
    }

    function viewScore(address worker) external view returns (uint256) {
        return HubStorage.state().scores[worker];
    }

    function viewCategory(uint256 catid) external view returns (IexecLibCore_v5.Category memory) {
        return Records.category(catid);
    }

    function countCategory() external view returns (uint256) {
        return HubStorage.state().categories.length;
    }

    function viewApp(address app) external view returns (IexecLibCore_v5.AppInfo memory info) {
        App found = App(app);
        info.owner = found.owner();
        info.m_appName = found.m_appName();
        info.m_appType = found.m_appType();
        info.m_appMultiaddr = found.m_appMultiaddr();
        info.m_appChecksum = found.m_appChecksum();
        info.m_appMREnclave = found.m_appMREnclave();
    }

    function viewDataset(address dataset) external view returns (IexecLibCore_v5.DatasetInfo memory info) {
        Dataset found = Dataset(dataset);
        info.owner = found.owner();
        info.m_datasetName = found.m_datasetName();
        info.m_datasetMultiaddr = found.m_datasetMultiaddr();
        info.m_datasetChecksum = found.m_datasetChecksum();
    }

    function viewWorkerpool(address workerpool) external view returns (IexecLibCore_v5.WorkerpoolInfo memory info) {
        Workerpool found = Workerpool(workerpool);
        info.owner = found.owner();
        info.m_workerpoolDescription = found.m_workerpoolDescription();
        info.m_workerStakeRatioPolicy = found.m_workerStakeRatioPolicy();
        info.m_schedulerRewardRatioPolicy = found.m_schedulerRewardRatioPolicy();
    }

    function resultFor(bytes32 taskid) external view returns (bytes memory) {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        require(task.status == IexecLibCore_v5.TaskStatusEnum.COMPLETED, "task-pending");
        return task.resultsCallback;
    }

    function viewWeight(bytes32 taskid, address worker) external view returns (uint256) {
        return HubStorage.state().tasks[taskid].contributions[worker].weight;
    }

    function viewConsensus(bytes32 taskid, bytes32 resultHash) external view returns (uint256 group, uint256 total) {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        if (task.status == IexecLibCore_v5.TaskStatusEnum.UNSET) return (0, 0);
        return (task.group[resultHash], 1 + task.groups);
    }

    function viewTaskState(bytes32 taskid)
        external
        view
        returns (bool recomputed, uint256 concededAt, address potAccount, uint256 pot)
    {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        potAccount = HubStorage.potOf(taskid);
        return (task.recomputed, task.concededAt, potAccount, HubStorage.state().accounts[potAccount].locked);
    }
}
