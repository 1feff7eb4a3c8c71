// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubStorage} from "../HubStorage.sol";
import {Records} from "../Records.sol";
import {ILegacyViews} from "../interfaces/ILegacyViews.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";

/// @title The records as plain tuples.
contract LegacyViewFacet is ILegacyViews {
    function viewAccountABILegacy(address account) external view returns (uint256, uint256) {
        HubStorage.Account storage found = HubStorage.state().accounts[account];
        return (found.stake, found.locked);
    }

    function viewCategoryABILegacy(uint256 catid) external view returns (string memory, string memory, uint256) {
        IexecLibCore_v5.Category memory found = Records.category(catid);
        return (found.name, found.description, found.workClockTimeRef);
    }

    function viewDealABILegacy_pt1(bytes32 dealid)
        external
        view
        returns (address, address, uint256, address, address, uint256, address, address, uint256)
    {
        IexecLibCore_v5.Deal memory d = Records.deal(dealid);
        return (
            d.app.pointer,
            d.app.owner,
            d.app.price,
            d.dataset.pointer,
            d.dataset.owner,
            d.dataset.price,
            d.workerpool.pointer,
            d.workerpool.owner,
            d.workerpool.price
        );
    }

    function viewDealABILegacy_pt2(bytes32 dealid)
        external
        view
        returns (uint256, bytes32, address, address, address, string memory)
    {
        IexecLibCore_v5.Deal memory d = Records.deal(dealid);
        return (d.trust, d.tag, d.requester, d.beneficiary, d.callback, d.params);
    }

    function viewConfigABILegacy(bytes32 dealid)
        external
        view
        returns (uint256, uint256, uint256, uint256, uint256, uint256)
    {
        IexecLibCore_v5.Deal memory d = Records.deal(dealid);
        return (d.category, d.startTime, d.botFirst, d.botSize, d.workerStake, d.schedulerRewardRatio);
    }

    function viewTaskABILegacy(bytes32 taskid)
        external
        view
        returns (
            IexecLibCore_v5.TaskStatusEnum,
            bytes32,
            uint256,
            uint256,
            uint256,
            uint256,
            uint256,
            bytes32,
            uint256,
            uint256,
            address[] memory,
            bytes memory
        )
    {
        IexecLibCore_v5.Task memory t = Records.task(taskid);
        return (
            t.status,
            t.dealid,
            t.idx,
            t.timeref,
            t.contributionDeadline,
            t.revealDeadline,
            t.finalDeadline,
            t.consensusValue,
            t.revealCounter,
            t.winnerCounter,
            t.contributors,
            t.results
        );
    }

    function viewContributionABILegacy(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.ContributionStatusEnum, bytes32, bytes32, address)
    {
        IexecLibCore_v5.Contribution memory c = Records.contribution(taskid, worker);
        return (c.status, c.resultHash, c.resultSeal, c.enclaveChallenge);
    }
}
