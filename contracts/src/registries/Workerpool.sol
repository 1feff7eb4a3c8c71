// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RegistryEntry} from "./RegistryEntry.sol";

/// @title A pool of workers. Its owner is its scheduler on the ledger.
/// @notice The two policies are percentages of the pool's price: what each worker stakes on a task, and what the scheduler
/// keeps of the reward. A deal records both when it is made.
contract Workerpool is RegistryEntry {
    uint256 private constant DEFAULT_STAKE_RATIO = 30;
    uint256 private constant DEFAULT_REWARD_RATIO = 1;

    string public m_workerpoolDescription;
    uint256 public m_workerStakeRatioPolicy;
    uint256 public m_schedulerRewardRatioPolicy;

    event PolicyUpdate(
        uint256 oldWorkerStakeRatioPolicy,
        uint256 newWorkerStakeRatioPolicy,
        uint256 oldSchedulerRewardRatioPolicy,
        uint256 newSchedulerRewardRatioPolicy
    );

    /// @notice The scheduler cannot keep more than the whole reward.
    error RewardRatioTooHigh(uint256 ratio);

    function initialize(string calldata description) external onlyOnce {
        m_workerpoolDescription = description;
        m_workerStakeRatioPolicy = DEFAULT_STAKE_RATIO;
        m_schedulerRewardRatioPolicy = DEFAULT_REWARD_RATIO;
    }

    /// @notice Sets the terms of the deals to come. Owner only.
    function changePolicy(uint256 newWorkerStakeRatio, uint256 newSchedulerRewardRatio) external onlyOwner {
        if (newSchedulerRewardRatio > 100) revert RewardRatioTooHigh(newSchedulerRewardRatio);
        emit PolicyUpdate(
            m_workerStakeRatioPolicy, newWorkerStakeRatio, m_schedulerRewardRatioPolicy, newSchedulerRewardRatio
        );
        m_workerStakeRatioPolicy = newWorkerStakeRatio;
        m_schedulerRewardRatioPolicy = newSchedulerRewardRatio;
    }
}
