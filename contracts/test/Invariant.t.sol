// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {Test} from "./Test.sol";
import {Consensus} from "../src/hub/lib/Consensus.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";

/// @notice A market in which everybody acts at random: requesters and sponsors match, workers are honest, lie, copy or
/// stay silent, the pool finalizes, withholds, concedes, outsiders reopen and claim, people move money, time passes.
contract Market is HubTest {
    uint256 private constant CREW = 7;
    uint256 private constant DEALS_MAX = 12;

    uint256 private dealsMax = DEALS_MAX;
    bytes32[] private deals;
    uint256[] private sizes;
    bytes32[] private tasks;
    /// @notice How often each step had its effect, for the test that every door is used.
    mapping(bytes4 => uint256) public effects;
    uint256 public consensusCompleted;
    uint256 public soloCompleted;
    uint256 public failed;
    uint256 public recomputations;

    modifier counted() {
        _;
        ++effects[msg.sig];
    }

    /// @notice Leaves room for new deals; the old ones stay and are still checked.
    function newSeason() external {
        dealsMax += DEALS_MAX;
    }

    // ---- steps ----

    function deal(uint256 seed) external counted {
        vm.assume(deals.length < dealsMax);
        uint256[5] memory trusts = [uint256(1), 2, 3, 5, 9];
        Terms memory t = terms();
        t.trust = trusts[seed % 5];
        t.volume = 1 + (seed >> 8) % 2;
        t.appPrice = (seed >> 16) % 3 == 0 ? 0 : uint256(uint32(seed >> 24));
        t.datasetPrice = uint256(uint16(seed >> 56));
        t.poolPrice = (seed >> 72) % 4 == 0 ? 0 : uint256(uint40(seed >> 80));
        bool sponsored = (seed >> 128) % 3 == 0;
        bytes memory data = sponsored
            ? abi.encodeCall(
                hub.sponsorMatchOrders, (appOrder(t), datasetOrder(t), workerpoolOrder(t), requestOrder(t))
            )
            : abi.encodeCall(hub.matchOrders, (appOrder(t), datasetOrder(t), workerpoolOrder(t), requestOrder(t)));
        bytes32 dealid = abi.decode(act(sponsored ? sponsor : outsider, data), (bytes32));
        deals.push(dealid);
        sizes.push(t.volume);
        bytes32 taskid = hub.initialize(dealid, 0);
        tasks.push(taskid);
        knownTasks.push(taskid);
    }

    function initialize(uint256 seed) external counted {
        vm.assume(deals.length > 0);
        uint256 i = seed % deals.length;
        bytes32 taskid = hub.initialize(deals[i], sizes[i] - 1);
        tasks.push(taskid);
        knownTasks.push(taskid);
    }

    function vote(uint256 seed) external counted {
        bytes32 taskid = pick(seed, Core.TaskStatusEnum.ACTIVE);
        uint256 i = (seed >> 64) % CREW;
        uint256 way = (seed >> 128) % 6;
        bytes32 digest = way == 0 ? BAD : GOOD;
        bytes32 seal = way == 1 ? keccak256("copy") : resultSeal(worker(i), taskid, digest);
        bytes memory permit = authorization(worker(i), taskid);
        act(
            worker(i),
            abi.encodeCall(hub.contribute, (taskid, resultHash(taskid, digest), seal, address(0), "", permit))
        );
    }

    function solo(uint256 seed) external counted {
        bytes32 taskid = pick(seed, Core.TaskStatusEnum.ACTIVE);
        uint256 i = (seed >> 64) % CREW;
        bytes memory permit = authorization(worker(i), taskid);
        act(worker(i), abi.encodeCall(hub.contributeAndFinalize, (taskid, GOOD, "r", "", address(0), "", permit)));
        ++soloCompleted;
    }

    /// @dev Some holder opens its commitment, but never worker 6 of the crew: it always stays silent.
    function open(uint256 seed) external counted {
        bytes32 taskid = pick(seed, Core.TaskStatusEnum.REVEALING);
        bytes32 digest = hub.viewTask(taskid).consensusValue == resultHash(taskid, GOOD) ? GOOD : BAD;
        for (uint256 i = 0; i < CREW - 1; ++i) {
            uint256 by = ((seed >> 64) + i) % (CREW - 1);
            Core.Contribution memory c = hub.viewContribution(taskid, worker(by));
            if (c.status != Core.ContributionStatusEnum.CONTRIBUTED) continue;
            if (c.resultSeal != resultSeal(worker(by), taskid, digest)) continue;
            act(worker(by), abi.encodeCall(hub.reveal, (taskid, digest)));
            return;
        }
        vm.assume(false);
    }

    function settle(uint256 seed) external counted {
        bytes32 taskid = pick(seed, Core.TaskStatusEnum.REVEALING);
        address by = (seed >> 64) % 3 == 0 ? worker((seed >> 72) % CREW) : pool;
        act(by, abi.encodeCall(hub.finalize, (taskid, "r", "")));
        if (status(taskid) == 3) ++consensusCompleted;
        else ++recomputations;
    }

    function reopen(uint256 seed) external counted {
        act(outsider, abi.encodeCall(hub.reopen, (pick(seed, Core.TaskStatusEnum.REVEALING))));
    }

    function claim(uint256 seed) external counted {
        Core.TaskStatusEnum wanted = seed % 2 == 0 ? Core.TaskStatusEnum.ACTIVE : Core.TaskStatusEnum.REVEALING;
        act(outsider, abi.encodeCall(hub.claim, (pick(seed >> 1, wanted))));
        ++failed;
    }

    function concede(uint256 seed) external counted {
        vm.assume((seed >> 64) % 4 == 0);
        bytes32 taskid = pick(seed, Core.TaskStatusEnum.ACTIVE);
        act(pool, abi.encodeCall(hub.concede, (taskid)));
        if (status(taskid) == 4) ++failed;
    }

    /// @dev The requester and the sponsor only trade, so that what they spent can be compared with what was completed.
    function bank(uint256 seed) external counted {
        address who = worker(seed % CREW);
        uint256 amount = (seed >> 64) % (stakeOf(who) + 1);
        uint256 way = (seed >> 32) % 4;
        if (way == 0) hub.depositFor(amount % 1e9, who);
        else if (way == 1) act(who, abi.encodeCall(hub.withdraw, (amount / 100)));
        else if (way == 2) act(who, abi.encodeCall(hub.transfer, (worker((seed >> 16) % CREW), amount / 10)));
        else act(pool, abi.encodeCall(hub.transfer, (who, stakeOf(pool) / 1000)));
    }

    function policy(uint256 seed) external counted {
        setPolicy(seed % 120, (seed >> 8) % 101);
    }

    function wait_(uint256 seed) external counted {
        uint256 span = seed % 16 == 0 ? 4 * T : T / 4;
        vm.warp(block.timestamp + (seed >> 8) % (span + 1));
    }

    // ---- what must always hold ----

    function check() external view {
        checkBooks();
        checkLocksHaveOwners();
        for (uint256 i = 0; i < tasks.length; ++i) {
            checkTask(tasks[i]);
        }
    }

    /// @dev Each lock is the price of an open task, the pool's stake in it, or the stake of a live vote; and what the payers
    /// spent is the price of the completed tasks (I6).
    function checkLocksHaveOwners() private view {
        uint256 requesterLock = 0;
        uint256 sponsorLock = 0;
        uint256 poolLock = 0;
        uint256 spent = 0;
        uint256[] memory workerLocks = new uint256[](CREW);
        for (uint256 i = 0; i < deals.length; ++i) {
            Core.Deal memory d = hub.viewDeal(deals[i]);
            uint256 price = d.app.price + d.dataset.price + d.workerpool.price;
            for (uint256 j = 0; j < d.botSize; ++j) {
                bytes32 taskid = keccak256(abi.encodePacked(deals[i], d.botFirst + j));
                uint256 now_ = status(taskid);
                if (now_ == 3) spent += price;
                if (now_ >= 3) continue;
                if (d.sponsor == requester) requesterLock += price;
                else sponsorLock += price;
                poolLock += d.workerpool.price * 30 / 100;
                for (uint256 k = 0; k < CREW; ++k) {
                    uint256 s = voteStatus(taskid, k);
                    if (s == 1 || s == 2) workerLocks[k] += d.workerStake;
                }
            }
        }
        assertEq(lockedOf(requester), requesterLock, "requester's lock");
        assertEq(lockedOf(sponsor), sponsorLock, "sponsor's lock");
        assertEq(lockedOf(pool), poolLock, "pool's lock");
        for (uint256 k = 0; k < CREW; ++k) {
            assertEq(lockedOf(worker(k)), workerLocks[k], "worker's lock");
        }
        uint256 left = stakeOf(requester) + requesterLock + stakeOf(sponsor) + sponsorLock;
        assertEq(2 * FUNDS - left, spent, "I6: only completed tasks are paid for");
    }

    /// @dev Groups, total and counters follow from the votes; a pot exists only while the task is open.
    function checkTask(bytes32 taskid) private view {
        Core.Task memory task = hub.viewTask(taskid);
        assertTrue(task.contributors.length <= hub.max_contributors(), "bounded");
        if (uint256(task.status) >= 3) {
            assertEq(potOf(taskid), 0, "pot of an ended task");
            return;
        }
        uint256[2] memory groups;
        uint256 holders = 0;
        uint256 proved = 0;
        for (uint256 i = 0; i < task.contributors.length; ++i) {
            Core.Contribution memory c = hub.viewContribution(taskid, task.contributors[i]);
            if (c.status == Core.ContributionStatusEnum.REJECTED) continue;
            uint256 side = c.resultHash == resultHash(taskid, GOOD) ? 0 : 1;
            groups[side] = Consensus.join(groups[side], hub.viewWeight(taskid, task.contributors[i]));
            if (c.resultHash != task.consensusValue) continue;
            ++holders;
            if (c.status == Core.ContributionStatusEnum.PROVED) ++proved;
        }
        (uint256 good, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, GOOD));
        (uint256 bad,) = hub.viewConsensus(taskid, resultHash(taskid, BAD));
        assertEq(good, groups[0], "group");
        assertEq(bad, groups[1], "group");
        assertEq(total, 1 + good + bad, "total");
        if (task.status == Core.TaskStatusEnum.REVEALING) {
            assertEq(task.winnerCounter, holders, "winners");
            assertEq(task.revealCounter, proved, "revealed");
            if (proved > 0) {
                assertEq(resultHash(taskid, task.resultDigest), task.consensusValue, "digest of the consensus");
            }
        }
    }

    // ---- helpers ----

    /// @dev Calls the hub as `who`; a refusal makes the step void.
    function act(address who, bytes memory data) private returns (bytes memory) {
        vm.prank(who);
        (bool ok, bytes memory answer) = address(hub).call(data);
        vm.assume(ok);
        return answer;
    }

    /// @dev Some task in that status.
    function pick(uint256 seed, Core.TaskStatusEnum wanted) private view returns (bytes32) {
        uint256 count = tasks.length;
        for (uint256 i = 0; i < count; ++i) {
            bytes32 taskid = tasks[(seed % count + i) % count];
            if (hub.viewTask(taskid).status == wanted) return taskid;
        }
        vm.assume(false);
        return 0;
    }
}

contract InvariantTest is Test {
    Market private market;
    bytes4[] private steps;

    function setUp() public {
        market = new Market();
        market.setUp();
        // Votes and proofs come more often than the rest, so that tasks get somewhere.
        bytes4[24] memory weighted = [
            Market.deal.selector,
            Market.deal.selector,
            Market.initialize.selector,
            Market.vote.selector,
            Market.vote.selector,
            Market.vote.selector,
            Market.vote.selector,
            Market.vote.selector,
            Market.vote.selector,
            Market.open.selector,
            Market.open.selector,
            Market.open.selector,
            Market.open.selector,
            Market.settle.selector,
            Market.settle.selector,
            Market.settle.selector,
            Market.solo.selector,
            Market.reopen.selector,
            Market.claim.selector,
            Market.concede.selector,
            Market.bank.selector,
            Market.policy.selector,
            Market.wait_.selector,
            Market.wait_.selector
        ];
        for (uint256 i = 0; i < weighted.length; ++i) {
            steps.push(weighted[i]);
        }
        targetSelector(address(market), steps);
    }

    /// @notice I1, I2, I4, I6 and the records' own consistency, after every step.
    function invariant_books() public view {
        market.check();
    }

    /// @notice The random market really goes everywhere: every step takes effect, and tasks end in every way.
    function test_marketUsesEveryDoor() public {
        uint256 seed = 0x6d61726b6574;
        for (uint256 round = 0; round < 4; ++round) {
            for (uint256 i = 0; i < 400; ++i) {
                seed = uint256(keccak256(abi.encode(seed)));
                (bool ok,) = address(market).call(abi.encodeWithSelector(steps[seed % steps.length], seed >> 16));
                ok; // a step without effect is part of the game
            }
            market.check();
            market.newSeason();
        }
        for (uint256 i = 0; i < steps.length; ++i) {
            assertTrue(market.effects(steps[i]) > 0, "a step never took effect");
        }
        assertTrue(market.consensusCompleted() > 0, "completed with consensus");
        assertTrue(market.soloCompleted() > 0, "completed alone");
        assertTrue(market.failed() > 2, "failed");
        assertTrue(market.recomputations() > 0, "recomputed");
    }
}
