// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {BadCallback} from "./Mocks.sol";
import {Test, Vm} from "./Test.sol";
import {Consensus} from "../src/hub/lib/Consensus.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

/// @notice A market in which everybody follows a conduct of its own, at random moments: a requester and a sponsor order; of
/// the workers three are honest, one lies, one copies public hashes, one votes and stays silent, and two have nothing and vote
/// with the pool's stake, one of them lying; the pool finalizes, withholds, concedes and lends; a contract that is called back
/// tries to come in again; an outsider reopens, claims, and tries what it must not; people move money; time passes.
contract Market is HubTest {
    uint256 private constant HONEST = 3;
    uint256 private constant LIAR = 3;
    uint256 private constant COPIER = 4;
    uint256 private constant SILENT = 5;
    uint256 private constant BORROWER = 6;
    uint256 private constant LYING_BORROWER = 7;
    uint256 private constant CREW = 8;
    uint256 private constant OPEN_MAX = 10;
    uint256 private constant POOL_VOLUME = 3;
    /// @dev What the digests are of: a callback is given it.
    bytes private constant GOOD_PREIMAGE = "the right digest";
    bytes private constant BAD_PREIMAGE = "a wrong digest";

    bytes32 private constant REWARD = keccak256("Reward(address,uint256,bytes32)");
    bytes32 private constant SEIZE = keccak256("Seize(address,uint256,bytes32)");
    bytes32 private constant STAKE_LOST = keccak256("StakeLost(bytes32,address,address,uint256)");
    bytes32 private constant DEBT_REPAID = keccak256("DebtRepaid(address,address,uint256)");

    /// @dev A task that has not ended, and where it stands.
    struct Job {
        bytes32 dealid;
        bytes32 taskid;
        uint256 index;
        Core.TaskStatusEnum status;
    }

    /// @dev What is locked for open tasks.
    struct Locks {
        uint256 requester;
        uint256 sponsor;
        uint256 pool;
        uint256[CREW] own;
        uint256[CREW] lent;
    }

    Job[] private jobs;
    BadCallback private callback;
    /// @dev The pool's last order, encoded, and the price in it.
    bytes private poolOrder;
    uint256 private poolPrice;
    mapping(bytes32 order => uint256) private used;
    bytes32 private lastPoolOrder;
    bytes32 private lastRequest;
    uint256 private lastVolume;

    /// @dev Price of the tasks that were completed.
    uint256 private spent;
    mapping(bytes32 taskid => uint256) private cameIn;
    mapping(bytes32 taskid => uint256) private wentOut;
    mapping(bytes32 taskid => mapping(address => uint256)) private payments;
    mapping(address worker => uint256) private owed;
    mapping(address worker => uint256) private score;
    uint256 private idleStakes;
    /// @dev What was found wrong within a step; a step's own revert would go unnoticed.
    string[] public breaches;

    /// @notice How often each step had its effect, for the test that every door is used.
    mapping(bytes4 => uint256) public effects;
    uint256 public consensusCompleted;
    uint256 public soloCompleted;
    uint256 public failed;
    uint256 public recomputations;
    uint256 public lost;

    modifier counted() {
        _;
        ++effects[msg.sig];
    }

    function setUp() public override {
        super.setUp();
        callback = new BadCallback(BadCallback.Way.Reenter, hub);
        for (uint256 i = BORROWER; i < CREW; ++i) {
            vm.prank(worker(i));
            hub.withdraw(FUNDS);
        }
        // Most people of the tests never act here: they are counted once.
        idleStakes = (WORKERS - CREW) * FUNDS;
        for (uint256 i = 0; i < people.length;) {
            if (stakeOf(people[i]) == FUNDS && isIdle(people[i])) {
                people[i] = people[people.length - 1];
                people.pop();
            } else {
                ++i;
            }
        }
    }

    // ---- requester and sponsor ----

    function requesterOrders(uint256 seed) external counted {
        _order(seed, false);
    }

    function sponsorOrders(uint256 seed) external counted {
        _order(seed, true);
    }

    function anybodyInitializes(uint256 seed) external counted {
        Job memory job = pick(seed, Core.TaskStatusEnum.UNSET);
        step(outsider, abi.encodeCall(hub.initialize, (job.dealid, job.index)), job);
        knownTasks.push(job.taskid);
    }

    // ---- workers ----

    function honestVotes(uint256 seed) external counted {
        _vote(seed, (seed >> 64) % HONEST, GOOD, false);
    }

    function liarVotes(uint256 seed) external counted {
        _vote(seed, LIAR, BAD, false);
    }

    function copierVotes(uint256 seed) external counted {
        _vote(seed, COPIER, (seed >> 64) % 4 == 0 ? BAD : GOOD, true);
    }

    function silentVotes(uint256 seed) external counted {
        _vote(seed, SILENT, GOOD, false);
    }

    function borrowerVotes(uint256 seed) external counted {
        _vote(seed, BORROWER, GOOD, false);
    }

    function lyingBorrowerVotes(uint256 seed) external counted {
        _vote(seed, LYING_BORROWER, BAD, (seed >> 64) % 3 == 0);
    }

    function someoneWorksAlone(uint256 seed) external counted {
        Job memory job = pickForOne(seed);
        uint256 i = (seed >> 64) % CREW;
        bytes memory permit = authorization(worker(i), job.taskid);
        bytes memory answer = answerFor(job, GOOD);
        step(
            worker(i),
            abi.encodeCall(hub.contributeAndFinalize, (job.taskid, GOOD, "r", answer, address(0), "", permit)),
            job
        );
        ++soloCompleted;
    }

    /// @dev Whoever can and would: not the silent one, and copiers cannot.
    function holderReveals(uint256 seed) external counted {
        Job memory job = pick(seed, Core.TaskStatusEnum.REVEALING);
        bytes32 digest = winner(job.taskid);
        for (uint256 i = 0; i < CREW; ++i) {
            uint256 by = ((seed >> 64) + i) % CREW;
            if (by == SILENT) continue;
            Core.Contribution memory c = hub.viewContribution(job.taskid, worker(by));
            if (c.status != Core.ContributionStatusEnum.CONTRIBUTED) continue;
            if (c.resultSeal != resultSeal(worker(by), job.taskid, digest)) continue;
            if (c.resultHash != resultHash(job.taskid, digest)) continue;
            step(worker(by), abi.encodeCall(hub.reveal, (job.taskid, digest)), job);
            return;
        }
        vm.assume(false);
    }

    function workerFinalizes(uint256 seed) external counted {
        _finalize(seed, worker((seed >> 72) % CREW));
    }

    function debtorRepays(uint256 seed) external counted {
        address who = worker(BORROWER + (seed >> 8) % (CREW - BORROWER));
        (,, uint256 debt) = hub.viewLoan(who);
        vm.assume(debt != 0);
        // With what it brings, or what it has: a debtor is seldom richer than its debt.
        uint256 amount = 1 + (seed >> 16) % (2 * debt);
        if (seed % 2 == 0) hub.depositFor(amount, who);
        Job memory none;
        step(who, abi.encodeCall(hub.repayDebt, (amount)), none);
    }

    // ---- the pool ----

    function poolFinalizes(uint256 seed) external counted {
        _finalize(seed, pool);
    }

    function poolConcedes(uint256 seed) external counted {
        vm.assume((seed >> 64) % 4 == 0);
        Job memory job = pick(seed, Core.TaskStatusEnum.ACTIVE);
        step(pool, abi.encodeCall(hub.concede, (job.taskid)), job);
        if (status(job.taskid) == 4) ++failed;
    }

    function poolLends(uint256 seed) external counted {
        address who = worker(BORROWER + seed % (CREW - BORROWER));
        uint256 limit = (seed >> 8) % 8 == 0 ? 0 : uint256(uint40(seed >> 16));
        Job memory none;
        step(pool, abi.encodeCall(hub.lendStake, (who, limit)), none);
    }

    function poolSetsPolicy(uint256 seed) external counted {
        setPolicy(seed % 120, (seed >> 8) % 101);
    }

    // ---- outsiders ----

    function outsiderReopens(uint256 seed) external counted {
        Job memory job = pick(seed, Core.TaskStatusEnum.REVEALING);
        step(outsider, abi.encodeCall(hub.reopen, (job.taskid)), job);
    }

    function outsiderClaims(uint256 seed) external counted {
        Core.TaskStatusEnum wanted = seed % 2 == 0 ? Core.TaskStatusEnum.ACTIVE : Core.TaskStatusEnum.REVEALING;
        Job memory job = pick(seed >> 1, wanted);
        step(outsider, abi.encodeCall(hub.claim, (job.taskid)), job);
        ++failed;
    }

    /// @dev What an outsider must never be able to do, whatever the state of the market.
    function outsiderTries(uint256 seed) external counted {
        vm.assume(jobs.length > 0);
        bytes32 taskid = jobs[(seed >> 8) % jobs.length].taskid;
        bytes memory permit = authorization(worker(0), taskid);
        bytes[12] memory tries = [
            abi.encodeCall(hub.contribute, (taskid, GOOD, GOOD, address(0), "", permit)),
            abi.encodeCall(hub.contributeAndFinalize, (taskid, GOOD, "", "", address(0), "", permit)),
            abi.encodeCall(hub.reveal, (taskid, GOOD)),
            abi.encodeCall(hub.finalize, (taskid, "", "")),
            abi.encodeCall(hub.concede, (taskid)),
            abi.encodeCall(hub.transferFrom, (pool, outsider, 1)),
            abi.encodeCall(hub.transfer, (address(hub), 0)),
            abi.encodeCall(hub.receiveApproval, (pool, 1, address(token), "")),
            abi.encodeCall(hub.withdraw, (FUNDS + 1)),
            abi.encodeCall(hub.repayDebt, (1)),
            abi.encodeCall(hub.setTeeBroker, (outsider)),
            abi.encodeCall(hub.createCategory, ("n", "d", 1))
        ];
        vm.prank(outsider);
        (bool ok,) = address(hub).call(tries[seed % tries.length]);
        if (ok) breaches.push("an outsider did what it must not");
    }

    /// @dev The requester and the sponsor only trade, so that what they spent can be compared with what was completed; and
    /// the borrowers stay poor.
    function peopleMoveMoney(uint256 seed) external counted {
        address who = worker(seed % BORROWER);
        uint256 amount = (seed >> 64) % (stakeOf(who) + 1);
        uint256 way = (seed >> 32) % 4;
        Job memory none;
        if (way == 0) hub.depositFor(amount % 1e9, who);
        else if (way == 1) step(who, abi.encodeCall(hub.withdraw, (amount / 100)), none);
        else if (way == 2) step(who, abi.encodeCall(hub.transfer, (worker((seed >> 16) % BORROWER), amount / 10)), none);
        else step(pool, abi.encodeCall(hub.transfer, (who, stakeOf(pool) / 1000)), none);
    }

    function timePasses(uint256 seed) external counted {
        uint256 span = seed % 16 == 0 ? 4 * T : T / 4;
        vm.warp(block.timestamp + (seed >> 8) % (span + 1));
    }

    // ---- what must always hold ----

    function check() external view {
        assertEq(breaches.length, 0, breaches.length == 0 ? "" : breaches[0]);
        assertEq(callback.reentered(), 0, "a callback came in again");
        Locks memory locks;
        for (uint256 i = 0; i < jobs.length; ++i) {
            addLocks(locks, jobs[i]);
        }
        checkMoney(locks);
        checkWorkers(locks);
        checkVolumes();
    }

    /// @dev I1, I2; each lock is the price of an open task, the pool's stake in it, or the stake of a live vote, own or lent;
    /// and what the payers spent is the price of the completed tasks (I6).
    function checkMoney(Locks memory locks) private view {
        assertEq(lockedOf(requester), locks.requester, "requester's lock");
        assertEq(lockedOf(sponsor), locks.sponsor, "sponsor's lock");
        assertEq(lockedOf(pool), locks.pool, "pool's lock");
        uint256 left = stakeOf(requester) + locks.requester + stakeOf(sponsor) + locks.sponsor;
        assertEq(2 * FUNDS - left, spent, "I6: only completed tasks are paid for");
        uint256 stakes = stakeOf(address(hub)) + idleStakes;
        uint256 locked = 0;
        for (uint256 i = 0; i < people.length; ++i) {
            Core.Account memory account = hub.viewAccount(people[i]);
            stakes += account.stake;
            locked += account.locked;
        }
        for (uint256 i = 0; i < knownTasks.length; ++i) {
            locked += lockedOf(address(uint160(uint256(knownTasks[i]))));
        }
        assertEq(stakes, hub.totalSupply(), "I1: stakes and supply");
        assertTrue(hub.totalSupply() <= token.balanceOf(address(hub)), "I1: supply and tokens");
        assertEq(stakeOf(address(hub)), locked, "I2: hub and locks");
    }

    /// @dev What is lent is under live votes, what is owed is what was lost and not repaid, and scores are what the rules made
    /// of them.
    function checkWorkers(Locks memory locks) private view {
        for (uint256 k = 0; k < CREW; ++k) {
            address who = worker(k);
            assertEq(lockedOf(who), locks.own[k], "worker's lock");
            assertEq(hub.viewScore(who), score[who], "score");
            (address lender, uint256 locked, uint256 debt) = hub.viewLoan(who);
            assertEq(locked, locks.lent[k], "lent");
            assertEq(debt, owed[who], "owed");
            assertEq(lender, locked + debt == 0 ? address(0) : pool, "lender");
        }
    }

    /// @dev I7, of the orders that were used last.
    function checkVolumes() private view {
        assertEq(hub.viewConsumed(lastPoolOrder), used[lastPoolOrder], "used of the pool's order");
        assertTrue(used[lastPoolOrder] <= POOL_VOLUME, "I7: the pool's order");
        assertEq(hub.viewConsumed(lastRequest), used[lastRequest], "used of the request");
        assertTrue(used[lastRequest] <= lastVolume, "I7: the request");
    }

    /// @dev Adds what a task locks; and its groups, total and counters follow from its votes.
    function addLocks(Locks memory locks, Job memory job) private view {
        Core.Deal memory d = hub.viewDeal(job.dealid);
        uint256 price = d.app.price + d.dataset.price + d.workerpool.price;
        if (d.sponsor == requester) locks.requester += price;
        else locks.sponsor += price;
        locks.pool += d.workerpool.price * 30 / 100;

        Core.Task memory task = hub.viewTask(job.taskid);
        assertTrue(task.status == job.status && uint256(task.status) < 3, "where it stands");
        if (task.status == Core.TaskStatusEnum.UNSET) return;
        assertTrue(task.contributors.length <= CREW, "a vote each");
        uint256[2] memory groups;
        uint256 holders = 0;
        uint256 proved = 0;
        for (uint256 i = 0; i < task.contributors.length; ++i) {
            address who = task.contributors[i];
            Core.Contribution memory c = hub.viewContribution(job.taskid, who);
            if (c.status == Core.ContributionStatusEnum.REJECTED) continue;
            addStake(locks, job.taskid, who, d.workerStake);
            uint256 side = c.resultHash == resultHash(job.taskid, GOOD) ? 0 : 1;
            groups[side] = Consensus.join(groups[side], hub.viewWeight(job.taskid, who));
            if (c.resultHash != task.consensusValue) continue;
            ++holders;
            if (c.status == Core.ContributionStatusEnum.PROVED) ++proved;
        }
        checkGroups(job.taskid, groups);
        if (task.status == Core.TaskStatusEnum.REVEALING) {
            assertEq(task.winnerCounter, holders, "winners");
            assertEq(task.revealCounter, proved, "revealed");
            if (proved > 0) {
                assertEq(resultHash(job.taskid, task.resultDigest), task.consensusValue, "digest of the consensus");
            }
        }
    }

    function addStake(Locks memory locks, bytes32 taskid, address who, uint256 stake) private view {
        bool lent = hub.viewStakeOwner(taskid, who) == pool;
        if (lent) locks.pool += stake;
        for (uint256 k = 0; k < CREW; ++k) {
            if (worker(k) != who) continue;
            if (lent) locks.lent[k] += stake;
            else locks.own[k] += stake;
        }
    }

    function checkGroups(bytes32 taskid, uint256[2] memory groups) private view {
        (uint256 good, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, GOOD));
        (uint256 bad,) = hub.viewConsensus(taskid, resultHash(taskid, BAD));
        assertEq(good, groups[0], "group");
        assertEq(bad, groups[1], "group");
        assertEq(total, 1 + good + bad, "total");
    }

    // ---- helpers ----

    function _order(uint256 seed, bool sponsored) private {
        vm.assume(jobs.length < OPEN_MAX);
        Terms memory t = orderTerms(seed);
        if (hub.viewConsumed(lastPoolOrder) == POOL_VOLUME || poolOrder.length == 0) newPoolOrder(t);
        t.poolPrice = poolPrice;
        Orders.RequestOrder memory r = requestOrder(t);
        Orders.DatasetOrder memory d;
        if ((seed >> 136) % 3 == 0) {
            r.dataset = address(0);
            r = signed(r);
        } else {
            d = datasetOrder(t);
        }
        Orders.WorkerpoolOrder memory w = abi.decode(poolOrder, (Orders.WorkerpoolOrder));
        bytes memory data = sponsored
            ? abi.encodeCall(hub.sponsorMatchOrders, (appOrder(t), d, w, r))
            : abi.encodeCall(hub.matchOrders, (appOrder(t), d, w, r));
        vm.prank(sponsored ? sponsor : outsider);
        (bool ok, bytes memory answer) = address(hub).call(data);
        vm.assume(ok);
        noteDeal(abi.decode(answer, (bytes32)), hashOf(r), t.volume);
    }

    function orderTerms(uint256 seed) private view returns (Terms memory t) {
        uint256[5] memory trusts = [uint256(1), 2, 3, 5, 9];
        t = terms();
        t.trust = trusts[seed % 5];
        t.volume = 1 + (seed >> 8) % 3;
        t.appPrice = (seed >> 16) % 3 == 0 ? 0 : uint256(uint32(seed >> 24));
        t.datasetPrice = uint256(uint16(seed >> 56));
        t.poolPrice = (seed >> 72) % 4 == 0 ? 0 : uint256(uint40(seed >> 80));
        if ((seed >> 128) % 3 == 0) t.callback = address(callback);
    }

    function newPoolOrder(Terms memory t) private {
        Orders.WorkerpoolOrder memory w = workerpoolOrder(t);
        w.volume = POOL_VOLUME;
        w = signed(w);
        poolOrder = abi.encode(w);
        poolPrice = t.poolPrice;
        lastPoolOrder = hashOf(w);
    }

    function noteDeal(bytes32 dealid, bytes32 request, uint256 volume) private {
        Core.Deal memory made = hub.viewDeal(dealid);
        used[lastPoolOrder] += made.botSize;
        used[request] += made.botSize;
        (lastRequest, lastVolume) = (request, volume);
        for (uint256 i = made.botFirst; i < made.botFirst + made.botSize; ++i) {
            jobs.push(Job(dealid, keccak256(abi.encodePacked(dealid, i)), i, Core.TaskStatusEnum.UNSET));
        }
    }

    function _vote(uint256 seed, uint256 i, bytes32 digest, bool copied) private {
        Job memory job = pick(seed, Core.TaskStatusEnum.ACTIVE);
        bytes32 seal = copied ? keccak256("copy") : resultSeal(worker(i), job.taskid, digest);
        bytes memory permit = authorization(worker(i), job.taskid);
        bytes32 hash = resultHash(job.taskid, digest);
        step(worker(i), abi.encodeCall(hub.contribute, (job.taskid, hash, seal, address(0), "", permit)), job);
    }

    function _finalize(uint256 seed, address by) private {
        Job memory job = pick(seed, Core.TaskStatusEnum.REVEALING);
        bytes memory answer = answerFor(job, winner(job.taskid));
        step(by, abi.encodeCall(hub.finalize, (job.taskid, "r", answer)), job);
        if (status(job.taskid) == 3) ++consensusCompleted;
        else ++recomputations;
    }

    function winner(bytes32 taskid) private view returns (bytes32) {
        return hub.viewTask(taskid).consensusValue == resultHash(taskid, GOOD) ? GOOD : BAD;
    }

    function answerFor(Job memory job, bytes32 digest) private view returns (bytes memory) {
        if (hub.viewDeal(job.dealid).callback == address(0)) return "";
        return digest == GOOD ? GOOD_PREIMAGE : BAD_PREIMAGE;
    }

    /// @dev Calls the hub as `who`; a refusal makes the step void. What the call did to money and votes is held against the
    /// rules; `job` is the task it was for, if any.
    function step(address who, bytes memory data, Job memory job) private {
        bool[CREW] memory rejected;
        for (uint256 k = 0; k < CREW && uint256(job.status) != 0; ++k) {
            rejected[k] = voteStatus(job.taskid, k) == 3;
        }
        vm.recordLogs();
        vm.prank(who);
        (bool ok,) = address(hub).call(data);
        vm.assume(ok);
        noteMoney(vm.getRecordedLogs(), job.taskid);
        if (job.taskid == 0) return;
        noteScores(rejected, job.taskid);
        for (uint256 i = 0; i < jobs.length; ++i) {
            if (jobs[i].taskid != job.taskid) continue;
            jobs[i].status = hub.viewTask(job.taskid).status;
            if (uint256(jobs[i].status) >= 3) close(i);
            break;
        }
    }

    /// @dev I4: nobody is paid twice for a task, every payment is for the task at hand.
    function noteMoney(Vm.Log[] memory logs, bytes32 taskid) private {
        address pot = address(uint160(uint256(taskid)));
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 kind = logs[i].topics[0];
            if (kind == STAKE_LOST) {
                owed[address(uint160(uint256(logs[i].topics[2])))] += abi.decode(logs[i].data, (uint256));
                ++lost;
            } else if (kind == DEBT_REPAID) {
                owed[address(uint160(uint256(logs[i].topics[1])))] -= abi.decode(logs[i].data, (uint256));
            }
            if (kind != REWARD && kind != SEIZE) continue;
            (address owner, uint256 amount, bytes32 ref) = abi.decode(logs[i].data, (address, uint256, bytes32));
            if (ref != taskid) breaches.push("a payment for another task");
            if (kind == SEIZE) {
                // What a pot gives was counted when it was seized.
                if (owner != pot) cameIn[taskid] += amount;
                continue;
            }
            wentOut[taskid] += amount;
            if (owner != pool && owner != KITTY && ++payments[taskid][owner] > 1) breaches.push("I4: paid twice");
        }
    }

    /// @dev The rules: one up for a proved holder of a task that is completed and had several contributors, a third down for a
    /// vote that is rejected, nothing else.
    function noteScores(bool[CREW] memory rejected, bytes32 taskid) private {
        Core.Task memory task = hub.viewTask(taskid);
        bool rated = task.status == Core.TaskStatusEnum.COMPLETED && task.contributors.length > 1;
        for (uint256 i = 0; i < task.contributors.length; ++i) {
            address who = task.contributors[i];
            Core.Contribution memory c = hub.viewContribution(taskid, who);
            if (rated && c.status == Core.ContributionStatusEnum.PROVED && c.resultHash == task.consensusValue) {
                ++score[who];
            }
            if (c.status != Core.ContributionStatusEnum.REJECTED) continue;
            for (uint256 k = 0; k < CREW; ++k) {
                if (worker(k) == who && !rejected[k]) score[who] = score[who] * 2 / 3;
            }
        }
    }

    /// @dev An ended task leaves the list: its money adds up and its pot is empty.
    function close(uint256 place) private {
        Job memory job = jobs[place];
        Core.Deal memory d = hub.viewDeal(job.dealid);
        if (uint256(job.status) == 3) spent += d.app.price + d.dataset.price + d.workerpool.price;
        if (cameIn[job.taskid] != wentOut[job.taskid]) breaches.push("I4: a task's money does not add up");
        if (potOf(job.taskid) != 0) breaches.push("the pot of an ended task");
        jobs[place] = jobs[jobs.length - 1];
        jobs.pop();
        for (uint256 i = 0; i < knownTasks.length; ++i) {
            if (knownTasks[i] != job.taskid) continue;
            knownTasks[i] = knownTasks[knownTasks.length - 1];
            knownTasks.pop();
            break;
        }
    }

    /// @dev One of the workers that the tests have and this market does not.
    function isIdle(address who) private view returns (bool) {
        for (uint256 i = CREW; i < WORKERS; ++i) {
            if (worker(i) == who) return true;
        }
        return false;
    }

    /// @dev Some task that one worker may do alone.
    function pickForOne(uint256 seed) private view returns (Job memory none) {
        uint256 count = jobs.length;
        for (uint256 i = 0; i < count; ++i) {
            Job memory job = jobs[(seed % count + i) % count];
            if (job.status != Core.TaskStatusEnum.ACTIVE || hub.viewDeal(job.dealid).trust != 1) continue;
            if (hub.viewTask(job.taskid).contributors.length == 0) return job;
        }
        vm.assume(false);
    }

    /// @dev Some open task in that status.
    function pick(uint256 seed, Core.TaskStatusEnum wanted) private view returns (Job memory none) {
        uint256 count = jobs.length;
        for (uint256 i = 0; i < count; ++i) {
            Job memory job = jobs[(seed % count + i) % count];
            if (job.status == wanted) return job;
        }
        vm.assume(false);
    }
}

contract InvariantTest is Test {
    Market private market;
    bytes4[] private steps;

    function setUp() public {
        market = new Market();
        market.setUp();
        // Votes and proofs come more often than the rest, so that tasks get somewhere.
        add(Market.requesterOrders.selector, 1);
        add(Market.sponsorOrders.selector, 1);
        add(Market.anybodyInitializes.selector, 3);
        add(Market.honestVotes.selector, 6);
        add(Market.liarVotes.selector, 1);
        add(Market.copierVotes.selector, 1);
        add(Market.silentVotes.selector, 1);
        add(Market.borrowerVotes.selector, 2);
        add(Market.lyingBorrowerVotes.selector, 1);
        add(Market.someoneWorksAlone.selector, 1);
        add(Market.holderReveals.selector, 8);
        add(Market.poolFinalizes.selector, 3);
        add(Market.workerFinalizes.selector, 2);
        add(Market.debtorRepays.selector, 1);
        add(Market.poolConcedes.selector, 1);
        add(Market.poolLends.selector, 1);
        add(Market.poolSetsPolicy.selector, 1);
        add(Market.outsiderReopens.selector, 1);
        add(Market.outsiderClaims.selector, 2);
        add(Market.outsiderTries.selector, 1);
        add(Market.peopleMoveMoney.selector, 1);
        add(Market.timePasses.selector, 3);
        targetSelector(address(market), steps);
    }

    /// @notice I1, I2, I4, I6, I7, scores, and the records' own consistency, after every step.
    function invariant_books() public view {
        market.check();
    }

    /// @notice The random market really goes everywhere: every step takes effect, and tasks end in every way.
    function test_marketUsesEveryDoor() public {
        uint256 seed = 0x6d61726b6574;
        for (uint256 i = 0; i < 2400; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            (bool ok,) = address(market).call(abi.encodeWithSelector(steps[seed % steps.length], seed >> 16));
            ok; // a step without effect is part of the game
            if (i % 100 == 0) market.check();
        }
        market.check();
        for (uint256 i = 0; i < steps.length; ++i) {
            assertTrue(
                market.effects(steps[i]) > 0,
                string.concat("a step never took effect: ", vm.toString(abi.encodePacked(steps[i])))
            );
        }
        assertTrue(market.consensusCompleted() > 0, "completed with consensus");
        assertTrue(market.soloCompleted() > 0, "completed alone");
        assertTrue(market.failed() > 2, "failed");
        assertTrue(market.recomputations() > 0, "recomputed");
        assertTrue(market.lost() > 0, "lost a lent stake");
    }

    function add(bytes4 selector, uint256 weight) private {
        for (uint256 i = 0; i < weight; ++i) {
            steps.push(selector);
        }
    }
}
