// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubStorage} from "./HubStorage.sol";
import {Commitments} from "./lib/Commitments.sol";
import {Consensus} from "./lib/Consensus.sol";
import {HubConstants} from "./lib/HubConstants.sol";
import {IexecLibCore_v5} from "./lib/IexecLibCore_v5.sol";
import {ResultsHint} from "./lib/ResultsHint.sol";

/// @title The stored records in the shape clients know.
library Records {
    function deal(bytes32 dealid) internal view returns (IexecLibCore_v5.Deal memory found) {
        HubStorage.Deal storage stored = HubStorage.state().deals[dealid];
        found.app = IexecLibCore_v5.Resource(stored.app, stored.appOwner, stored.appPrice);
        found.dataset = IexecLibCore_v5.Resource(stored.dataset, stored.datasetOwner, stored.datasetPrice);
        found.workerpool = IexecLibCore_v5.Resource(stored.workerpool, stored.workerpoolOwner, stored.workerpoolPrice);
        found.trust = stored.trust;
        found.category = stored.category;
        found.tag = stored.tag;
        found.requester = stored.requester;
        found.beneficiary = stored.beneficiary;
        found.callback = stored.callback;
        found.params = stored.params;
        found.startTime = stored.startTime;
        found.botFirst = stored.botFirst;
        found.botSize = stored.botSize;
        found.workerStake = stored.workerStake;
        found.schedulerRewardRatio = stored.schedulerRewardRatio;
        found.sponsor = HubStorage.payer(stored);
    }

    function task(bytes32 taskid) internal view returns (IexecLibCore_v5.Task memory found) {
        HubStorage.Task storage stored = HubStorage.state().tasks[taskid];
        HubStorage.Deal storage terms = HubStorage.state().deals[stored.dealid];
        found.status = stored.status;
        found.dealid = stored.dealid;
        found.idx = stored.idx;
        found.timeref = terms.timeref;
        found.contributionDeadline = terms.startTime + found.timeref * HubConstants.CONTRIBUTION_DEADLINE_RATIO;
        found.revealDeadline = stored.revealDeadline;
        found.finalDeadline = terms.startTime + found.timeref * HubConstants.FINAL_DEADLINE_RATIO;
        found.revealCounter = stored.revealCounter;
        found.winnerCounter = stored.winnerCounter;
        found.contributors = new address[](stored.contributorCount);
        for (uint256 i = 0; i < found.contributors.length; ++i) {
            found.contributors[i] = stored.contributors[i];
        }
        found.resultDigest = stored.resultDigest;
        found.consensusValue = stored.alone ? Commitments.resultHash(taskid, found.resultDigest) : stored.consensusValue;
        found.results = results(stored);
        found.resultsCallback = stored.resultsCallback;
    }

    function results(HubStorage.Task storage stored) internal view returns (bytes memory) {
        bytes32 content = stored.resultsContent;
        return content == 0 ? stored.results : ResultsHint.render(content);
    }

    function contribution(bytes32 taskid, address worker)
        internal
        view
        returns (IexecLibCore_v5.Contribution memory found)
    {
        HubStorage.Task storage stored = HubStorage.state().tasks[taskid];
        HubStorage.Contribution storage vote = stored.contributions[worker];
        found.enclaveChallenge = vote.enclaveChallenge;
        if (stored.alone) {
            if (worker != stored.contributors[0]) return found;
            found.status = IexecLibCore_v5.ContributionStatusEnum.PROVED;
            found.resultHash = Commitments.resultHash(taskid, stored.resultDigest);
            found.resultSeal = Commitments.resultSeal(worker, taskid, stored.resultDigest);
            return found;
        }
        found.status = vote.status;
        found.resultHash = vote.resultHash;
        found.resultSeal = vote.resultSeal;
        if (vote.weight != 0) found.weight = Consensus.rewardWeight(vote.weight);
    }

    /// @dev An unknown category reverts without a reason, as clients of iExec expect.
    function category(uint256 catid) internal view returns (IexecLibCore_v5.Category memory) {
        IexecLibCore_v5.Category[] storage categories = HubStorage.state().categories;
        require(catid < categories.length);
        return categories[catid];
    }
}
