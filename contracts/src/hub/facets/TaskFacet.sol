// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {HubStorage} from "../HubStorage.sol";
import {Settlement} from "../Settlement.sol";
import {ITasks} from "../interfaces/ITasks.sol";
import {Commitments} from "../lib/Commitments.sol";
import {Consensus} from "../lib/Consensus.sol";
import {HubConstants} from "../lib/HubConstants.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";
import {Signatures} from "../lib/Signatures.sol";

/// @title The life of a task: who may do what, when. The money of each way it can end is in `Settlement`.
/// @notice Every function that changes state holds one guard, so a callback cannot come back in.
contract TaskFacet is Settlement, ReentrancyGuardTransient {
    function initialize(bytes32 dealid, uint256 index) external nonReentrant returns (bytes32) {
        return _initialize(dealid, index);
    }

    function initializeArray(bytes32[] calldata dealids, uint256[] calldata indexes)
        external
        nonReentrant
        returns (bool)
    {
        if (dealids.length != indexes.length) revert ArrayLengthMismatch();
        for (uint256 i = 0; i < dealids.length; ++i) {
            _initialize(dealids[i], indexes[i]);
        }
        return true;
    }

    function contribute(
        bytes32 taskid,
        bytes32 resultHash,
        bytes32 resultSeal,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external nonReentrant {
        HubStorage.Task storage task = _requireOpen(taskid);
        if (task.contributions[msg.sender].status != UNVOTED) revert AlreadyContributed(taskid, msg.sender);
        if (task.contributorCount == HubConstants.MAX_CONTRIBUTORS) revert TooManyContributors(taskid);
        uint256 weight = Consensus.voteWeight(HubStorage.state().scores[msg.sender]);
        Vote memory vote = Vote(resultHash, resultSeal, enclaveChallenge, weight);
        _authorize(taskid, vote, enclaveSign, authorizationSign);
        _count(taskid, task, vote);
    }

    function contributeAndFinalize(
        bytes32 taskid,
        bytes32 resultDigest,
        bytes calldata results,
        bytes calldata resultsCallback,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external nonReentrant {
        _requireAlone(taskid, resultDigest, resultsCallback);
        bytes32 resultHash = Commitments.resultHash(taskid, resultDigest);
        bytes32 resultSeal = Commitments.resultSeal(msg.sender, taskid, resultDigest);
        Vote memory vote = Vote(resultHash, resultSeal, enclaveChallenge, 0);
        _authorize(taskid, vote, enclaveSign, authorizationSign);
        _proveAlone(taskid, resultDigest, enclaveChallenge);
        _completeAlone(taskid, resultDigest, results, resultsCallback);
    }

    function reveal(bytes32 taskid, bytes32 resultDigest) external nonReentrant {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Contribution storage vote = task.contributions[msg.sender];
        _requireStatus(taskid, task, REVEALING);
        if (block.timestamp >= task.revealDeadline) revert DeadlinePassed(taskid, task.revealDeadline);
        bytes32 resultHash = vote.resultHash;
        if (vote.status != CONTRIBUTED || resultHash != task.consensusValue) revert NotAHolder(taskid, msg.sender);
        if (
            resultHash != Commitments.resultHash(taskid, resultDigest)
                || vote.resultSeal != Commitments.resultSeal(msg.sender, taskid, resultDigest)
        ) revert DigestMismatch(taskid, resultDigest);
        vote.status = PROVED;
        ++task.revealCounter;
        task.resultDigest = resultDigest;
        emit TaskReveal(taskid, msg.sender, resultDigest);
    }

    function reopen(bytes32 taskid) external nonReentrant {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        _requireStatus(taskid, task, REVEALING);
        _requireBeforeFinal(taskid, deal);
        if (task.revealCounter != 0) revert AlreadyRevealed(taskid);
        if (block.timestamp < task.revealDeadline) revert TooEarly(taskid, task.revealDeadline);
        _restart(taskid, task, deal, 0);
    }

    function finalize(bytes32 taskid, bytes calldata results, bytes calldata resultsCallback) external nonReentrant {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        _requireStatus(taskid, task, REVEALING);
        _requireBeforeFinal(taskid, deal);
        _requireFinalizer(taskid, task, deal);
        Tally memory tally = _tally(task, deal);
        if (tally.carried) {
            _checkCallback(taskid, deal, task.resultDigest, resultsCallback);
            _complete(taskid, task, deal, tally, results, resultsCallback);
        } else {
            task.recomputed = true;
            task.revealed[task.consensusValue] = task.resultDigest;
            _restart(taskid, task, deal, tally.product);
        }
    }

    function claim(bytes32 taskid) external nonReentrant {
        _claim(taskid);
    }

    function claimArray(bytes32[] calldata taskids) external nonReentrant returns (bool) {
        for (uint256 i = 0; i < taskids.length; ++i) {
            _claim(taskids[i]);
        }
        return true;
    }

    function initializeAndClaimArray(bytes32[] calldata dealids, uint256[] calldata indexes)
        external
        nonReentrant
        returns (bool)
    {
        if (dealids.length != indexes.length) revert ArrayLengthMismatch();
        for (uint256 i = 0; i < dealids.length; ++i) {
            _claim(_initialize(dealids[i], indexes[i]));
        }
        return true;
    }

    function concede(bytes32 taskid) external nonReentrant {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        if (msg.sender != deal.workerpoolOwner) revert NotAllowed(taskid, msg.sender);
        _requireStatus(taskid, task, ACTIVE);
        uint256 deadline = _contributionDeadline(deal);
        if (block.timestamp >= deadline) {
            emit TaskConcede(taskid, block.timestamp);
            _fail(taskid, task, deal);
            return;
        }
        if (task.contributorCount != 0) revert TooEarly(taskid, deadline);
        if (task.concededAt != 0) revert AlreadyConceded(taskid, task.concededAt);
        uint256 effectiveAt = block.timestamp + deal.timeref / 2;
        task.concededAt = uint40(effectiveAt);
        emit TaskConcede(taskid, effectiveAt);
    }

    function _initialize(bytes32 dealid, uint256 index) private returns (bytes32 taskid) {
        HubStorage.State storage $ = HubStorage.state();
        HubStorage.Deal storage deal = $.deals[dealid];
        uint256 first = deal.botFirst;
        if (index < first || index >= first + deal.botSize) revert IndexOutOfDeal(dealid, index);
        taskid = keccak256(abi.encodePacked(dealid, index));
        HubStorage.Task storage task = $.tasks[taskid];
        _requireStatus(taskid, task, IexecLibCore_v5.TaskStatusEnum.UNSET);
        task.dealid = dealid;
        task.status = ACTIVE;
        task.idx = uint48(index);
        emit TaskInitialize(taskid, deal.workerpool);
    }

    function _claim(bytes32 taskid) private {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        bool active = task.status == ACTIVE;
        if (!active) _requireStatus(taskid, task, REVEALING);
        uint256 from = _finalDeadline(deal);
        if (active && task.recomputed) from = _contributionDeadline(deal);
        if (active && task.concededAt != 0) from = task.concededAt;
        if (block.timestamp < from) revert TooEarly(taskid, from);
        _fail(taskid, task, deal);
    }

    /// @dev Counts a vote, and moves on to the reveal if its hash has become credible.
    function _count(bytes32 taskid, HubStorage.Task storage task, Vote memory vote) private {
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        bytes32 resultHash = vote.resultHash;
        bool lent = _lockStake(deal.workerpoolOwner, deal.workerStake);
        _record(task, vote, lent);
        // A vote that lands in time takes back an announced concession.
        task.concededAt = 0;
        emit TaskContribute(taskid, msg.sender, resultHash);
        if (lent) emit StakeLent(taskid, msg.sender, deal.workerpoolOwner, deal.workerStake);

        uint256 group = task.group[resultHash];
        uint256 joined = Consensus.join(group, vote.weight);
        uint256 groups = task.groups + joined - group;
        task.group[resultHash] = joined;
        task.groups = groups;
        if (Consensus.reached(joined, 1 + groups, deal.trust)) _startReveal(taskid, task, deal, resultHash);
    }

    function _startReveal(
        bytes32 taskid,
        HubStorage.Task storage task,
        HubStorage.Deal storage deal,
        bytes32 resultHash
    ) private {
        uint8 winners = 0;
        uint8 proved = 0;
        uint256 count = task.contributorCount;
        for (uint256 i = 0; i < count; ++i) {
            HubStorage.Contribution storage vote = task.contributions[task.contributors[i]];
            if (vote.resultHash != resultHash || vote.status == REJECTED) continue;
            ++winners;
            if (vote.status == PROVED) ++proved;
        }
        task.status = REVEALING;
        task.consensusValue = resultHash;
        task.revealDeadline = _revealDeadline(deal);
        task.winnerCounter = winners;
        task.revealCounter = proved;
        // A hash that was proved in an earlier round comes back with the digest it was proved with.
        if (proved != 0) task.resultDigest = task.revealed[resultHash];
        emit TaskConsensus(taskid, resultHash);
    }

    /// @dev Trust 1, nobody has contributed yet, and the callback's bytes fit the digest.
    function _requireAlone(bytes32 taskid, bytes32 resultDigest, bytes calldata resultsCallback) private view {
        HubStorage.Task storage task = _requireOpen(taskid);
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        if (task.contributorCount != 0) revert NotFirst(taskid);
        if (deal.trust != 1) revert TrustNotOne(taskid, deal.trust);
        _checkCallback(taskid, deal, resultDigest, resultsCallback);
    }

    /// @dev What one worker's proof leaves in the task's record.
    function _proveAlone(bytes32 taskid, bytes32 resultDigest, address enclaveChallenge) private {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        task.contributors[0] = msg.sender;
        if (enclaveChallenge != address(0)) task.contributions[msg.sender].enclaveChallenge = enclaveChallenge;
        task.resultDigest = resultDigest;
        task.status = COMPLETED;
        task.alone = true;
        task.contributorCount = 1;
        task.winnerCounter = 1;
        task.revealCounter = 1;
        task.revealDeadline = _revealDeadline(HubStorage.state().deals[task.dealid]);
        task.concededAt = 0;
    }

    function _record(HubStorage.Task storage task, Vote memory vote, bool lent) private {
        uint256 count = task.contributorCount;
        task.contributors[count] = msg.sender;
        task.contributorCount = uint8(count + 1);
        // A score grows by one a task, so a weight is far below 2^80.
        task.contributions[msg.sender] = HubStorage.Contribution(
            vote.resultHash, vote.resultSeal, vote.enclaveChallenge, CONTRIBUTED, lent, uint80(vote.weight)
        );
    }

    /// @dev The pool (or the broker of enclaves) lets this worker contribute, and the enclave, if one is named, vouches
    /// for the result.
    function _authorize(bytes32 taskid, Vote memory vote, bytes calldata enclaveSign, bytes calldata authorizationSign)
        private
        view
    {
        HubStorage.State storage $ = HubStorage.state();
        HubStorage.Deal storage deal = $.deals[$.tasks[taskid].dealid];
        address challenge = vote.enclaveChallenge;
        address authorizer = deal.workerpoolOwner;
        if (challenge == address(0)) {
            if (uint256(deal.tag) & 1 != 0) revert EnclaveChallengeMissing(taskid);
        } else if ($.teeBroker != address(0)) {
            authorizer = $.teeBroker;
        }
        bytes32 message = keccak256(abi.encodePacked(msg.sender, taskid, challenge));
        if (!Signatures.isValidMessage(authorizer, message, authorizationSign)) {
            revert InvalidAuthorization(taskid, msg.sender);
        }
        if (challenge == address(0)) return;
        message = keccak256(abi.encodePacked(vote.resultHash, vote.resultSeal));
        if (!Signatures.isValidMessage(challenge, message, enclaveSign)) {
            revert InvalidEnclaveSignature(taskid, challenge);
        }
    }

    /// @dev The pool owner when all holders revealed, or one did and the window is over; a revealed holder when the pool
    /// let another T/2 pass, so that nobody can take a result and not pay for it.
    function _requireFinalizer(bytes32 taskid, HubStorage.Task storage task, HubStorage.Deal storage deal)
        private
        view
    {
        if (task.revealCounter == 0) revert NothingRevealed(taskid);
        uint256 from = task.revealDeadline;
        if (msg.sender == deal.workerpoolOwner) {
            if (task.revealCounter == task.winnerCounter || block.timestamp >= from) return;
        } else {
            HubStorage.Contribution storage vote = task.contributions[msg.sender];
            if (vote.status != PROVED || vote.resultHash != task.consensusValue) revert NotAllowed(taskid, msg.sender);
            from += deal.timeref / 2;
            if (block.timestamp >= from) return;
        }
        revert TooEarly(taskid, from);
    }

    /// @dev ACTIVE, in time, and not given up by the pool.
    function _requireOpen(bytes32 taskid) private view returns (HubStorage.Task storage task) {
        task = HubStorage.state().tasks[taskid];
        _requireStatus(taskid, task, ACTIVE);
        uint256 deadline = _contributionDeadline(HubStorage.state().deals[task.dealid]);
        if (block.timestamp >= deadline) revert DeadlinePassed(taskid, deadline);
        uint256 concededAt = task.concededAt;
        if (concededAt != 0 && block.timestamp >= concededAt) revert AlreadyConceded(taskid, concededAt);
    }

    function _requireStatus(bytes32 taskid, HubStorage.Task storage task, IexecLibCore_v5.TaskStatusEnum expected)
        private
        view
    {
        if (task.status != expected) revert WrongTaskStatus(taskid, task.status);
    }

    function _requireBeforeFinal(bytes32 taskid, HubStorage.Deal storage deal) private view {
        uint256 deadline = _finalDeadline(deal);
        if (block.timestamp >= deadline) revert DeadlinePassed(taskid, deadline);
    }

    /// @dev A callback gets the preimage of the digest; without one, none may be given unless it is that preimage.
    function _checkCallback(
        bytes32 taskid,
        HubStorage.Deal storage deal,
        bytes32 resultDigest,
        bytes calldata resultsCallback
    ) private view {
        if (resultsCallback.length == 0 && deal.callback == address(0)) return;
        if (keccak256(resultsCallback) != resultDigest) revert CallbackMismatch(taskid);
    }

    function _contributionDeadline(HubStorage.Deal storage deal) private view returns (uint256) {
        return deal.startTime + deal.timeref * HubConstants.CONTRIBUTION_DEADLINE_RATIO;
    }

    function _finalDeadline(HubStorage.Deal storage deal) private view returns (uint256) {
        return deal.startTime + deal.timeref * HubConstants.FINAL_DEADLINE_RATIO;
    }

    /// @dev Of a consensus that is reached now.
    function _revealDeadline(HubStorage.Deal storage deal) private view returns (uint40) {
        return uint40(block.timestamp + deal.timeref * HubConstants.REVEAL_DEADLINE_RATIO);
    }
}
