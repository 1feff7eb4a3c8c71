// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {HubStorage} from "./HubStorage.sol";
import {Lending} from "./Lending.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {Commitments} from "./lib/Commitments.sol";
import {Consensus} from "./lib/Consensus.sol";
import {HubConstants} from "./lib/HubConstants.sol";
import {IexecLibCore_v5} from "./lib/IexecLibCore_v5.sol";
import {ResultsHint} from "./lib/ResultsHint.sol";

/// @notice A contract that takes the results of tasks (EIP-1154).
interface IOracleConsumer {
    function receiveResult(bytes32 id, bytes calldata result) external;
}

/// @title The money and the scores of each way a round of a task can end.
/// @notice Contributor lists are bounded, so every loop here is. A stake seized while the task goes on waits in the
/// task's pot; when the task ends, the pot is paid out with it.
abstract contract Settlement is ITasks, Lending {
    IexecLibCore_v5.TaskStatusEnum internal constant ACTIVE = IexecLibCore_v5.TaskStatusEnum.ACTIVE;
    IexecLibCore_v5.TaskStatusEnum internal constant REVEALING = IexecLibCore_v5.TaskStatusEnum.REVEALING;
    IexecLibCore_v5.TaskStatusEnum internal constant COMPLETED = IexecLibCore_v5.TaskStatusEnum.COMPLETED;
    IexecLibCore_v5.TaskStatusEnum internal constant FAILED = IexecLibCore_v5.TaskStatusEnum.FAILED;
    IexecLibCore_v5.ContributionStatusEnum internal constant UNVOTED = IexecLibCore_v5.ContributionStatusEnum.UNSET;
    IexecLibCore_v5.ContributionStatusEnum internal constant CONTRIBUTED =
    IexecLibCore_v5.ContributionStatusEnum.CONTRIBUTED;
    IexecLibCore_v5.ContributionStatusEnum internal constant PROVED = IexecLibCore_v5.ContributionStatusEnum.PROVED;
    IexecLibCore_v5.ContributionStatusEnum internal constant REJECTED = IexecLibCore_v5.ContributionStatusEnum.REJECTED;

    /// @dev The callback's own gas, and enough on top for the call itself and for what follows it.
    uint256 private constant CALLBACK_RESERVE = HubConstants.CALLBACK_GAS * 64 / 63 + 10_000;

    /// @dev A contribution on its way into the record.
    struct Vote {
        bytes32 resultHash;
        bytes32 resultSeal;
        address enclaveChallenge;
        uint256 weight;
    }

    /// @dev The consensus as its PROVED holders alone see it.
    struct Tally {
        /// Product of their exact weights; zero if there are none.
        uint256 product;
        /// Sum of their reward weights.
        uint256 shares;
        /// All others whose own stake is still locked.
        uint256 losers;
        /// Whether the PROVED holders carry the consensus when silent holders leave both sides of the rule.
        bool carried;
    }

    function _tally(HubStorage.Task storage task, HubStorage.Deal storage deal)
        internal
        view
        returns (Tally memory tally)
    {
        bytes32 consensus = task.consensusValue;
        uint256 count = task.contributorCount;
        for (uint256 i = 0; i < count; ++i) {
            HubStorage.Contribution storage vote = task.contributions[task.contributors[i]];
            if (vote.status == PROVED && vote.resultHash == consensus) {
                tally.product = Consensus.join(tally.product, vote.weight);
                tally.shares += Consensus.rewardWeight(vote.weight);
            } else if (vote.status != REJECTED && !vote.lent) {
                ++tally.losers;
            }
        }
        uint256 total = 1 + task.groups - task.group[consensus] + tally.product;
        tally.carried = Consensus.reached(tally.product, total, deal.trust);
    }

    /// @dev Slashes the silent holders of the consensus into the pot and opens the task for more votes; `product` is what
    /// the PROVED holders leave in the group.
    function _restart(bytes32 taskid, HubStorage.Task storage task, HubStorage.Deal storage deal, uint256 product)
        internal
    {
        bytes32 consensus = task.consensusValue;
        uint256 seized = 0;
        uint256 count = task.contributorCount;
        for (uint256 i = 0; i < count; ++i) {
            address worker = task.contributors[i];
            HubStorage.Contribution storage vote = task.contributions[worker];
            if (vote.status != CONTRIBUTED || vote.resultHash != consensus) continue;
            seized += _reject(taskid, deal, vote, worker);
        }
        if (seized != 0) _hold(HubStorage.potOf(taskid), seized);

        task.groups = task.groups - task.group[consensus] + product;
        task.group[consensus] = product;
        task.status = ACTIVE;
        task.consensusValue = 0;
        task.resultDigest = 0;
        task.revealDeadline = 0;
        task.winnerCounter = 0;
        task.revealCounter = 0;
        emit TaskReopen(taskid);
    }

    /// @dev Success with consensus: everybody is paid, the losers pay.
    function _complete(
        bytes32 taskid,
        HubStorage.Task storage task,
        HubStorage.Deal storage deal,
        Tally memory tally,
        bytes calldata results,
        bytes calldata resultsCallback
    ) internal {
        task.status = COMPLETED;
        _keepResults(task, results, resultsCallback);
        _settleDeal(taskid, deal);
        _payWorkers(taskid, task, deal, tally);
        emit TaskFinalize(taskid, results);
        _callBack(taskid, deal.callback, resultsCallback);
    }

    /// @dev Success of one worker at trust 1: no stake, no score.
    function _completeAlone(
        bytes32 taskid,
        bytes32 resultDigest,
        bytes calldata results,
        bytes calldata resultsCallback
    ) internal {
        HubStorage.Task storage task = HubStorage.state().tasks[taskid];
        HubStorage.Deal storage deal = HubStorage.state().deals[task.dealid];
        _keepResults(task, results, resultsCallback);
        _settleDeal(taskid, deal);
        uint256 price = deal.workerpoolPrice;
        uint256 workersReward = price * (100 - deal.schedulerRewardRatio) / 100;
        _earn(msg.sender, workersReward, taskid);
        _reward(deal.workerpoolOwner, price - workersReward, taskid);

        bytes32 consensus = Commitments.resultHash(taskid, resultDigest);
        emit TaskContribute(taskid, msg.sender, consensus);
        emit TaskConsensus(taskid, consensus);
        emit TaskReveal(taskid, msg.sender, resultDigest);
        emit TaskFinalize(taskid, results);
        _callBack(taskid, deal.callback, resultsCallback);
    }

    /// @dev The end without a result: the payer gets all back, the pool's stake feeds the kitty, and who is known to have
    /// lied or stayed silent pays those who proved.
    function _fail(bytes32 taskid, HubStorage.Task storage task, HubStorage.Deal storage deal) internal {
        bool revealing = task.status == REVEALING;
        bool carried = revealing && _tally(task, deal).carried;
        task.status = FAILED;
        _refundDeal(taskid, deal);

        bytes32 consensus = task.consensusValue;
        uint256 pot = _takePot(taskid);
        uint256 shares = 0;
        uint256 count = task.contributorCount;
        for (uint256 i = 0; i < count; ++i) {
            address worker = task.contributors[i];
            HubStorage.Contribution storage vote = task.contributions[worker];
            if (vote.status == REJECTED) continue;
            bool holder = vote.resultHash == consensus;
            if (revealing && (holder ? vote.status == CONTRIBUTED : carried)) {
                pot += _reject(taskid, deal, vote, worker);
            } else {
                _returnStake(taskid, worker, vote.lent, deal.workerpoolOwner, deal.workerStake);
                if (vote.status == PROVED && (holder || !revealing)) shares += Consensus.rewardWeight(vote.weight);
            }
        }
        _sharePot(taskid, task, revealing, pot, shares);
        emit TaskClaimed(taskid);
    }

    /// @dev What is empty is not written: a fresh record is.
    function _keepResults(HubStorage.Task storage task, bytes calldata results, bytes calldata resultsCallback)
        private
    {
        bytes32 content = ResultsHint.contentOf(results);
        if (content != 0) task.resultsContent = content;
        else if (results.length != 0) task.results = results;
        if (resultsCallback.length != 0) task.resultsCallback = resultsCallback;
    }

    /// @dev The payer's lock becomes the price of app and dataset; the pool gets its stake back and its share of the kitty.
    /// The price of the pool is left in the hub for the rewards that follow.
    function _settleDeal(bytes32 taskid, HubStorage.Deal storage deal) private {
        uint256 appPrice = deal.appPrice;
        uint256 datasetPrice = deal.datasetPrice;
        uint256 poolPrice = deal.workerpoolPrice;
        address poolOwner = deal.workerpoolOwner;
        _seize(HubStorage.payer(deal), appPrice + datasetPrice + poolPrice, taskid);
        if (appPrice > 0) _reward(deal.appOwner, appPrice, taskid);
        if (datasetPrice > 0) _reward(deal.datasetOwner, datasetPrice, taskid);
        _unlock(poolOwner, poolPrice * HubConstants.WORKERPOOL_STAKE_RATIO / 100);

        // Bounded by the pool's price: matching one's own orders at price zero draws nothing.
        uint256 kitty = HubStorage.state().accounts[HubConstants.KITTY].locked;
        uint256 draw = Math.max(kitty * HubConstants.KITTY_RATIO / 100, HubConstants.KITTY_MIN);
        draw = Math.min(Math.min(draw, kitty), poolPrice);
        if (draw == 0) return;
        _seize(HubConstants.KITTY, draw, taskid);
        _reward(poolOwner, draw, taskid);
    }

    function _refundDeal(bytes32 taskid, HubStorage.Deal storage deal) private {
        uint256 poolPrice = deal.workerpoolPrice;
        uint256 poolStake = poolPrice * HubConstants.WORKERPOOL_STAKE_RATIO / 100;
        _unlock(HubStorage.payer(deal), uint256(deal.appPrice) + deal.datasetPrice + poolPrice);
        _seize(deal.workerpoolOwner, poolStake, taskid);
        _feedKitty(poolStake, taskid);
    }

    /// @dev Winners share price, seized stakes and pot by the logarithm of their weight; what rounding leaves, and the
    /// scheduler's share, go to the pool owner.
    function _payWorkers(bytes32 taskid, HubStorage.Task storage task, HubStorage.Deal storage deal, Tally memory tally)
        private
    {
        uint256 left = deal.workerpoolPrice + tally.losers * deal.workerStake + _takePot(taskid);
        uint256 workersReward = left * (100 - deal.schedulerRewardRatio) / 100;
        bytes32 consensus = task.consensusValue;
        uint256 count = task.contributorCount;
        for (uint256 i = 0; i < count; ++i) {
            address worker = task.contributors[i];
            HubStorage.Contribution storage vote = task.contributions[worker];
            if (vote.status == REJECTED) continue;
            if (vote.status != PROVED || vote.resultHash != consensus) {
                _reject(taskid, deal, vote, worker);
                continue;
            }
            uint256 share = workersReward * Consensus.rewardWeight(vote.weight) / tally.shares;
            left -= share;
            _returnStake(taskid, worker, vote.lent, deal.workerpoolOwner, deal.workerStake);
            _earn(worker, share, taskid);
            if (count > 1) {
                ++HubStorage.state().scores[worker];
                emit AccurateContribution(worker, taskid);
            }
        }
        _reward(deal.workerpoolOwner, left, taskid);
    }

    /// @dev The pot of a failed task goes to those who proved the consensus (without one, to all who ever proved), the
    /// remainder to the kitty.
    function _sharePot(bytes32 taskid, HubStorage.Task storage task, bool revealing, uint256 pot, uint256 shares)
        private
    {
        if (pot == 0) return;
        uint256 left = pot;
        bytes32 consensus = task.consensusValue;
        uint256 count = shares == 0 ? 0 : task.contributorCount;
        for (uint256 i = 0; i < count; ++i) {
            address worker = task.contributors[i];
            HubStorage.Contribution storage vote = task.contributions[worker];
            if (vote.status != PROVED || (revealing && vote.resultHash != consensus)) continue;
            uint256 share = pot * Consensus.rewardWeight(vote.weight) / shares;
            left -= share;
            _earn(worker, share, taskid);
        }
        if (left != 0) _feedKitty(left, taskid);
    }

    /// @dev Returns what of the stake is left in the hub for others: all of an own one, nothing of a lent one.
    function _reject(bytes32 taskid, HubStorage.Deal storage deal, HubStorage.Contribution storage vote, address worker)
        private
        returns (uint256 seized)
    {
        bool lent = vote.lent;
        uint256 stake = deal.workerStake;
        vote.status = REJECTED;
        _takeStake(taskid, worker, lent, deal.workerpoolOwner, stake);
        seized = lent ? 0 : stake;
        mapping(address => uint256) storage scores = HubStorage.state().scores;
        scores[worker] = Consensus.punished(scores[worker]);
        emit FaultyContribution(worker, taskid);
    }

    function _takePot(bytes32 taskid) private returns (uint256 pot) {
        address account = HubStorage.potOf(taskid);
        pot = HubStorage.state().accounts[account].locked;
        if (pot != 0) _seize(account, pot, taskid);
    }

    /// @dev The last thing a payment does. The callback gets exactly its gas or the whole call reverts, its answer is not
    /// copied, and its failure changes nothing.
    function _callBack(bytes32 taskid, address target, bytes calldata resultsCallback) private {
        if (target == address(0)) return;
        bytes memory data = abi.encodeCall(IOracleConsumer.receiveResult, (taskid, resultsCallback));
        if (gasleft() < CALLBACK_RESERVE) revert InsufficientCallbackGas();
        uint256 callbackGas = HubConstants.CALLBACK_GAS;
        assembly ("memory-safe") {
            pop(call(callbackGas, target, 0, add(data, 0x20), mload(data), 0, 0))
        }
    }
}
