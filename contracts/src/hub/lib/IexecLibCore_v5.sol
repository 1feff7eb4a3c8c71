// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The records a client reads from the hub.
/// @notice Field names, types and order are iExec PoCo 6's, so that existing clients decode them. How the hub stores
/// them is its own affair (`HubStorage`). All amounts are in nGRIST (1e-9 GRIST), all times in seconds.
library IexecLibCore_v5 {
    /// @notice Escrow account: `stake` is free, `locked` is held by the hub for running deals.
    struct Account {
        uint256 stake;
        uint256 locked;
    }

    /// @notice Size class of tasks; `workClockTimeRef` is T, the unit of every deadline, in seconds.
    struct Category {
        string name;
        string description;
        uint256 workClockTimeRef;
    }

    struct DatasetInfo {
        address owner;
        string m_datasetName;
        bytes m_datasetMultiaddr;
        bytes32 m_datasetChecksum;
    }

    struct AppInfo {
        address owner;
        string m_appName;
        string m_appType;
        bytes m_appMultiaddr;
        bytes32 m_appChecksum;
        bytes m_appMREnclave;
    }

    struct WorkerpoolInfo {
        address owner;
        string m_workerpoolDescription;
        uint256 m_workerStakeRatioPolicy;
        uint256 m_schedulerRewardRatioPolicy;
    }

    /// @notice An asset of a deal, its owner when the deal was made, and its price for one task.
    struct Resource {
        address pointer;
        address owner;
        uint256 price;
    }

    /// @notice Matched orders: tasks `botFirst` to `botFirst + botSize - 1` on the same terms.
    struct Deal {
        Resource app;
        Resource dataset;
        Resource workerpool;
        uint256 trust;
        uint256 category;
        bytes32 tag;
        address requester;
        address beneficiary;
        address callback;
        string params;
        uint256 startTime;
        uint256 botFirst;
        uint256 botSize;
        uint256 workerStake;
        uint256 schedulerRewardRatio;
        address sponsor;
    }

    enum TaskStatusEnum {
        UNSET,
        ACTIVE,
        REVEALING,
        COMPLETED,
        FAILED
    }

    struct Task {
        TaskStatusEnum status;
        bytes32 dealid;
        uint256 idx;
        uint256 timeref;
        uint256 contributionDeadline;
        uint256 revealDeadline;
        uint256 finalDeadline;
        bytes32 consensusValue;
        uint256 revealCounter;
        uint256 winnerCounter;
        address[] contributors;
        bytes32 resultDigest;
        bytes results;
        uint256 resultsTimestamp;
        bytes resultsCallback;
    }

    enum ContributionStatusEnum {
        UNSET,
        CONTRIBUTED,
        PROVED,
        REJECTED
    }

    /// @notice `weight` is floor(log2) of the vote's exact weight: the share in the reward.
    struct Contribution {
        ContributionStatusEnum status;
        bytes32 resultHash;
        bytes32 resultSeal;
        address enclaveChallenge;
        uint256 weight;
    }
}
