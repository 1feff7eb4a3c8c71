// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {ITasks} from "../src/hub/interfaces/ITasks.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";

/// @notice The rules that are stricter than iExec PoCo's, each with the attack it stops. contracts/README.md lists them.
contract StrictTest is HubTest {
    event TaskReopen(bytes32 indexed taskid);
    event TaskConcede(bytes32 indexed taskid, uint256 effectiveAt);
    event FaultyContribution(address indexed worker, bytes32 indexed taskid);
    event Seize(address owner, uint256 amount, bytes32 ref);
    event Lock(address owner, uint256 amount);

    int256 private constant STAKE = int256(WORKER_STAKE);

    // ---- rule 1: exact weights, bounded contributors ----

    function test_weight_isTheOneOfTheVote() public {
        setScore(worker(0), 100);
        bytes32 taskid = makeTask(1000);
        contribute(0, taskid, GOOD);
        setScore(worker(0), 3000);
        assertEq(hub.viewWeight(taskid, worker(0)), 32, "100/3 - 1");
        assertEq(hub.viewContribution(taskid, worker(0)).weight, 5, "log2");
    }

    /// @notice Without a bound, a pool could stuff a task until its finalize fits no block, and lock the requester's money.
    function test_attack_stuffedTask() public {
        // The highest trust at which 32 newcomers agree.
        bytes32 taskid = makeTask(2 ** 32);
        contributeMany(0, 31, taskid, GOOD);
        assertEq(status(taskid), 1, "31 are too few");
        contribute(31, taskid, GOOD);
        revealMany(0, 32, taskid, GOOD);
        uint256 before = gasleft();
        finalize(taskid);
        assertTrue(before - gasleft() < 2_500_000, "finalize of a full task");
        checkBooks();

        taskid = makeTask(2 ** 40);
        contributeMany(0, 32, taskid, GOOD);
        bytes memory permit = authorization(worker(32), taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooManyContributors.selector, taskid));
        vm.prank(worker(32));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        vm.warp(START + 10 * T);
        before = gasleft();
        hub.claim(taskid);
        assertTrue(before - gasleft() < 2_500_000, "claim of a full task");
        checkBooks();
    }

    // ---- rule 2: a vote counts when it is proven ----

    /// @notice One honest worker commits; two others copy the public hash under seals they cannot open. With the copies
    /// the hash is credible at trust 5, without them it is not: the copies are slashed and the task goes on.
    function test_attack_copiedVotes() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        setScore(worker(1), 9);
        contribute(0, taskid, GOOD);
        contributeRaw(1, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        contributeRaw(2, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        assertEq(status(taskid), 2, "credible with the copies");
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T);

        expect();
        emit Seize(worker(1), WORKER_STAKE, taskid);
        expect();
        emit FaultyContribution(worker(1), taskid);
        (,, address potAccount,) = hub.viewTaskState(taskid);
        expect();
        emit Lock(potAccount, 2 * WORKER_STAKE);
        expect();
        emit TaskReopen(taskid);
        finalize(taskid);

        (bool recomputed,,, uint256 pot) = hub.viewTaskState(taskid);
        assertEq(status(taskid), 1, "open again");
        assertTrue(recomputed, "flag");
        assertEq(pot, 2 * WORKER_STAKE, "pot");
        assertEq(potAccount, address(uint160(uint256(taskid))), "pot account");
        assertEq(hub.viewScore(worker(1)), 6, "score * 2/3");
        assertEq(voteStatus(taskid, 0), 2, "the honest one stays proved");
        assertEq(voteStatus(taskid, 1), 3, "the copy is rejected");
        (uint256 group, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, GOOD));
        assertEq(group, 2, "group of the proved");
        assertEq(total, 3, "total without the silent");
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(task.resultDigest, bytes32(0), "no digest");
        assertEq(task.revealCounter, 0, "no reveals");
        checkBooks();

        // Two more honest ones carry it; the first counts without revealing again, and the pot is paid out.
        contributeMany(3, 2, taskid, GOOD);
        task = hub.viewTask(taskid);
        assertEq(task.winnerCounter, 3, "winners");
        assertEq(task.revealCounter, 1, "one is already proved");
        assertEq(task.resultDigest, GOOD, "its digest is back");
        revealMany(3, 2, taskid, GOOD);
        finalize(taskid);
        assertEq(status(taskid), 3, "completed");
        uint256 base = POOL_PRICE + 2 * WORKER_STAKE;
        uint256 share = (base * 99 / 100) / 3;
        assertEq(gained(worker(0)), int256(share), "first");
        assertEq(gained(worker(3)), int256(share), "second");
        assertEq(gained(worker(1)), -STAKE, "a copy costs its stake");
        assertEq(gained(pool), int256(POOL_STAKE + base - 3 * share), "pool");
        assertEq(potOf(taskid), 0, "pot is empty");
        checkBooks();
    }

    /// @notice When the proved ones carry the consensus without the silent, the task completes and the silent pay.
    function test_silentWinner_paysWhenTheRestCarries() public {
        setScore(worker(0), 90); // weight 29
        bytes32 taskid = makeTask(9);
        openBooks();
        contribute(2, taskid, BAD);
        contribute(1, taskid, GOOD);
        contribute(0, taskid, GOOD);
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T);
        finalize(taskid);
        assertEq(status(taskid), 3, "completed");
        uint256 base = POOL_PRICE + 2 * WORKER_STAKE;
        assertEq(gained(worker(0)), int256(base * 99 / 100), "all for the one who proved");
        assertEq(gained(worker(1)), -STAKE, "silent");
        assertEq(gained(worker(2)), -STAKE, "liar");
        assertEq(voteStatus(taskid, 1), 3, "silent rejected");
        assertEq(voteStatus(taskid, 2), 3, "liar rejected");
        checkBooks();
    }

    /// @notice A failed recomputation leaves holders of other hashes alone: nobody knows yet who lied.
    function test_failedRecomputation_sparesTheOthers() public {
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, BAD);
        contributeRaw(1, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        contributeRaw(2, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        contributeRaw(3, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        contribute(4, taskid, GOOD);
        reveal(4, taskid, GOOD);
        vm.warp(START + 2 * T);
        finalize(taskid);
        assertEq(voteStatus(taskid, 0), 1, "still a vote");
        assertEq(lockedOf(worker(0)), WORKER_STAKE, "still its stake");
        (uint256 group, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, BAD));
        assertEq(group, 2, "its group");
        assertEq(total, 1 + 2 + 2, "total");
        checkBooks();
    }

    /// @notice Colluders who proved a lie in a round that failed are still liars when the truth wins.
    function test_provedOfAnEarlierRound_isRejectedWhenAnotherHashWins() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeRaw(1, taskid, resultHash(taskid, BAD), keccak256("copy"));
        contributeRaw(2, taskid, resultHash(taskid, BAD), keccak256("copy"));
        reveal(0, taskid, BAD);
        vm.warp(START + 2 * T);
        finalize(taskid);
        // Round two: the lie is worth 2, so four honest ones are needed.
        contributeMany(3, 4, taskid, GOOD);
        assertEq(hub.viewTask(taskid).revealCounter, 0, "proved lies do not count for the truth");
        revealMany(3, 4, taskid, GOOD);
        finalize(taskid);
        assertEq(voteStatus(taskid, 0), 3, "rejected");
        uint256 base = POOL_PRICE + 3 * WORKER_STAKE;
        uint256 share = (base * 99 / 100) / 4;
        assertEq(gained(worker(0)), -STAKE, "lost");
        assertEq(gained(worker(3)), int256(share), "won");
        assertEq(gained(pool), int256(POOL_STAKE + base - 4 * share), "pool");
        checkBooks();
    }

    /// @notice Each hash keeps the digest it was proved with, so a later round cannot be finalized with another's.
    function test_digestsOfRounds_areNotMixedUp() public {
        bytes32 taskid = makeTask(3);
        contribute(0, taskid, GOOD);
        contributeRaw(1, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T);
        finalize(taskid); // GOOD has one proved holder
        contribute(2, taskid, BAD);
        contribute(3, taskid, BAD);
        contributeRaw(4, taskid, resultHash(taskid, BAD), keccak256("copy"));
        assertEq(hub.viewTask(taskid).consensusValue, resultHash(taskid, BAD), "the lie leads");
        reveal(2, taskid, BAD);
        vm.warp(START + 4 * T);
        finalize(taskid); // BAD has one proved holder
        assertEq(status(taskid), 1, "fails again");
        contributeMany(5, 2, taskid, GOOD);
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(task.consensusValue, resultHash(taskid, GOOD), "the truth leads");
        assertEq(task.resultDigest, GOOD, "with its own digest");
        assertEq(task.revealCounter, 1, "and its own proof");
        revealMany(5, 2, taskid, GOOD);
        finalize(taskid);
        assertEq(hub.viewTask(taskid).resultDigest, GOOD, "digest");
        checkBooks();
    }

    /// @notice A pool that takes the result and then does nothing cannot keep the workers from being paid.
    function test_attack_poolWithholdsFinalize() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, GOOD);
        revealMany(0, 3, taskid, GOOD);
        uint256 from = START + 2 * T + T / 2;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, from));
        vm.prank(worker(1));
        hub.finalize(taskid, "r", "");
        vm.warp(from);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAllowed.selector, taskid, worker(9)));
        vm.prank(worker(9));
        hub.finalize(taskid, "r", "");
        vm.prank(worker(1));
        hub.finalize(taskid, "r", "");
        assertEq(status(taskid), 3, "completed");
        assertTrue(gained(worker(1)) > 0, "paid");
        checkBooks();
    }

    function test_workerFinalize_silentHolderMayNot() public {
        setScore(worker(0), 90);
        bytes32 taskid = makeTask(9);
        contribute(1, taskid, GOOD);
        contribute(0, taskid, GOOD);
        reveal(0, taskid, GOOD);
        vm.warp(START + 3 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAllowed.selector, taskid, worker(1)));
        vm.prank(worker(1));
        hub.finalize(taskid, "r", "");
        vm.prank(worker(0));
        hub.finalize(taskid, "r", "");
        assertEq(status(taskid), 3, "completed");
    }

    // ---- rule 3: anyone may reopen ----

    /// @notice Colluders who reach consensus and never reveal would stop the task at no cost.
    function test_attack_noReveal() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        setScore(worker(0), 3);
        contributeMany(0, 3, taskid, BAD);
        vm.warp(START + 2 * T);
        vm.prank(outsider);
        hub.reopen(taskid);
        assertEq(potOf(taskid), 3 * WORKER_STAKE, "their stakes wait in the pot");
        assertEq(hub.viewScore(worker(0)), 2, "score * 2/3");
        (bool recomputed,,,) = hub.viewTaskState(taskid);
        assertTrue(!recomputed, "no recomputation took place");
        checkBooks();
        contributeMany(3, 3, taskid, GOOD);
        revealMany(3, 3, taskid, GOOD);
        finalize(taskid);
        uint256 base = POOL_PRICE + 3 * WORKER_STAKE;
        assertEq(gained(worker(3)), int256((base * 99 / 100) / 3), "the honest get it");
        assertEq(gained(worker(0)), -STAKE, "the silent lose it");
        checkBooks();
    }

    // ---- rule 4: claim ----

    function test_claim_silentStakesGoToTheKittyWhenNobodyProved() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, BAD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertEq(gained(requester), int256(PRICE), "refund");
        assertEq(gained(worker(0)), -STAKE, "silent");
        assertEq(gained(pool), 0, "pool lost what it had locked");
        assertEq(lockedOf(KITTY), POOL_STAKE + 3 * WORKER_STAKE, "kitty");
        assertEq(voteStatus(taskid, 0), 3, "rejected");
        checkBooks();
    }

    /// @notice The pool lets a task die after the reveals: the silent pay those who proved, others get back what is theirs.
    function test_claim_provedAreCompensated() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeMany(1, 4, taskid, GOOD);
        reveal(1, taskid, GOOD);
        reveal(2, taskid, GOOD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        // P = 4, total' = 1 + 2 + 4: not carried, so the other hash keeps its stake.
        assertEq(gained(worker(0)), 0, "other hash");
        assertEq(gained(worker(1)), STAKE, "half of two stakes");
        assertEq(gained(worker(2)), STAKE, "half of two stakes");
        assertEq(gained(worker(3)), -STAKE, "silent");
        assertEq(lockedOf(KITTY), POOL_STAKE, "kitty");
        checkBooks();
    }

    function test_claim_liarsPayWhenTheProvedCarry() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeMany(1, 4, taskid, GOOD);
        revealMany(1, 4, taskid, GOOD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertEq(gained(worker(0)), -STAKE, "liar");
        assertEq(gained(worker(1)), STAKE / 4, "quarter of one stake");
        assertEq(lockedOf(KITTY), POOL_STAKE + WORKER_STAKE % 4, "kitty gets the remainder");
        assertEq(hub.viewScore(worker(1)), 0, "no score for a failed task");
        assertEq(gained(requester), int256(PRICE), "refund");
        checkBooks();
    }

    function test_claim_withoutConsensusAllStakesReturn() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeMany(1, 2, taskid, GOOD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(gained(worker(i)), 0, "returned");
            assertEq(voteStatus(taskid, i), 1, "not rejected");
        }
        checkBooks();
    }

    function test_claim_afterFailedRecomputation_fromTheContributionDeadline() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, GOOD);
        contributeRaw(1, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        contributeRaw(2, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T);
        finalize(taskid);
        vm.warp(START + 7 * T - 1);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 7 * T));
        hub.claim(taskid);
        vm.warp(START + 7 * T);
        hub.claim(taskid);
        assertEq(gained(worker(0)), 2 * STAKE, "the pot pays who proved");
        assertEq(gained(requester), int256(PRICE), "refund");
        assertEq(lockedOf(KITTY), POOL_STAKE, "kitty");
        checkBooks();
    }

    /// @notice After a reopen (nobody proved, nothing recomputed) the pool has until the final deadline.
    function test_claim_afterReopen_waitsForTheFinalDeadline() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, BAD);
        vm.warp(START + 2 * T);
        hub.reopen(taskid);
        vm.warp(START + 7 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 10 * T));
        hub.claim(taskid);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertEq(lockedOf(KITTY), POOL_STAKE + 3 * WORKER_STAKE, "the pot has no owner: kitty");
        checkBooks();
    }

    // ---- rule 5: concede ----

    function test_concede_beforeTheFirstVote() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        expect();
        emit TaskConcede(taskid, START + T / 2);
        vm.prank(pool);
        hub.concede(taskid);
        (, uint256 concededAt,,) = hub.viewTaskState(taskid);
        assertEq(concededAt, START + T / 2, "announced");
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + T / 2));
        hub.claim(taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.AlreadyConceded.selector, taskid, START + T / 2));
        vm.prank(pool);
        hub.concede(taskid);
        vm.warp(START + T / 2);
        hub.claim(taskid);
        assertEq(gained(requester), int256(PRICE), "refund at once");
        assertEq(lockedOf(KITTY), POOL_STAKE, "the pool pays its stake");
        checkBooks();
    }

    function test_concede_aVoteCancelsIt() public {
        bytes32 taskid = makeTask(5);
        vm.prank(pool);
        hub.concede(taskid);
        vm.warp(START + T / 2 - 1);
        contribute(0, taskid, GOOD);
        (, uint256 concededAt,,) = hub.viewTaskState(taskid);
        assertEq(concededAt, 0, "cancelled");
        vm.warp(START + T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 10 * T));
        hub.claim(taskid);
    }

    function test_concede_effectiveTakesNoMoreVotes() public {
        bytes32 taskid = makeTask(1);
        vm.prank(pool);
        hub.concede(taskid);
        vm.warp(START + T / 2);
        bytes memory permit = authorization(worker(0), taskid);
        bytes memory reason = abi.encodeWithSelector(ITasks.AlreadyConceded.selector, taskid, START + T / 2);
        vm.expectRevert(reason);
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        vm.expectRevert(reason);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
    }

    function test_concede_soloCancelsIt() public {
        bytes32 taskid = makeTask(1);
        vm.prank(pool);
        hub.concede(taskid);
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        assertEq(status(taskid), 3, "completed");
    }

    /// @notice A result cannot be taken and not paid for: with a vote on the table the pool may not give up in time.
    function test_attack_concedeAfterAVote() public {
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 7 * T));
        vm.prank(pool);
        hub.concede(taskid);
        contributeMany(1, 2, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.WrongTaskStatus.selector, taskid, Core.TaskStatusEnum.REVEALING));
        vm.prank(pool);
        hub.concede(taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAllowed.selector, taskid, outsider));
        vm.prank(outsider);
        hub.concede(taskid);
    }

    function test_concede_withoutConsensusAfterTheContributionDeadline() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, GOOD);
        vm.warp(START + 7 * T);
        expect();
        emit TaskConcede(taskid, START + 7 * T);
        vm.prank(pool);
        hub.concede(taskid);
        assertEq(status(taskid), 4, "failed at once");
        assertEq(gained(worker(0)), 0, "stake returned");
        assertEq(gained(requester), int256(PRICE), "refund");
        checkBooks();
    }

    // ---- rule 6: the kitty ----

    /// @notice Matching one's own orders at price zero drew max(10 %, 1 GRIST) of the kitty each time.
    function test_attack_kittyDrained() public {
        fillKitty(100e9);
        uint256 kitty = lockedOf(KITTY);
        Terms memory t = terms();
        (t.trust, t.appPrice, t.datasetPrice, t.poolPrice) = (1, 0, 0, 0);
        for (uint256 i = 0; i < 5; ++i) {
            solo(makeTask(t));
        }
        assertEq(lockedOf(KITTY), kitty, "untouched");
        checkBooks();
    }

    function test_kitty_draw() public {
        fillKitty(100e9); // 30 % of it: the kitty holds 30e9
        Terms memory t = terms();
        (t.trust, t.appPrice, t.datasetPrice, t.poolPrice) = (1, 0, 0, 5e9);
        assertEq(drawn(t), 3e9, "a tenth");
        t.poolPrice = 2e9;
        assertEq(drawn(t), 2e9, "bounded by the price");
        t.poolPrice = 1;
        assertEq(drawn(t), 1, "bounded by the price");
    }

    function test_kitty_leastDraw() public {
        fillKitty(10e9);
        Terms memory t = terms();
        (t.trust, t.appPrice, t.datasetPrice, t.poolPrice) = (1, 0, 0, 5e9);
        assertEq(drawn(t), 1e9, "a tenth is less than the least");
        assertEq(drawn(t), 1e9, "again");
        assertEq(drawn(t), 1e9, "and the last of it");
        assertEq(drawn(t), 0, "nothing left");
    }

    // ---- what the rules cannot stop, measured ----

    /// @notice A pool that authorises three fresh identities of its own passes trust 5 with any result. It gains the
    /// price it was paid; what stands against it is outside the ledger (the requester's choice of pool, receipts, checks).
    function test_measure_poolOfSybils() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, BAD);
        revealMany(0, 3, taskid, BAD);
        finalize(taskid);
        int256 gain = gained(pool) + gained(worker(0)) + gained(worker(1)) + gained(worker(2));
        assertEq(gain, int256(POOL_PRICE + POOL_STAKE), "the pool's price, and its own stake back");
    }

    /// @notice At price zero a pool can raise the score of its workers by working for itself: one a task.
    function test_measure_selfDealingForScore() public {
        Terms memory t = terms();
        (t.trust, t.appPrice, t.datasetPrice, t.poolPrice) = (3, 0, 0, 0);
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 taskid = makeTask(t);
            contributeMany(0, 2, taskid, GOOD);
            revealMany(0, 2, taskid, GOOD);
            finalize(taskid);
        }
        assertEq(hub.viewScore(worker(0)), 3, "one a task, for gas alone");
        assertEq(stakeOf(worker(0)), FUNDS, "and no money");
    }

    function fillKitty(uint256 poolPrice) private {
        Terms memory t = terms();
        (t.appPrice, t.datasetPrice, t.poolPrice) = (0, 0, poolPrice);
        bytes32 taskid = makeTask(t);
        vm.warp(block.timestamp + 10 * T);
        hub.claim(taskid);
        assertEq(lockedOf(KITTY), poolPrice * 30 / 100, "kitty");
    }

    function drawn(Terms memory t) private returns (uint256) {
        uint256 kitty = lockedOf(KITTY);
        bytes32 taskid = makeTask(t);
        openBooks();
        solo(taskid);
        uint256 drew = kitty - lockedOf(KITTY);
        uint256 price = t.poolPrice;
        assertEq(gained(pool), int256(price * 30 / 100 + price - price * 99 / 100 + drew), "to the pool");
        checkBooks();
        return drew;
    }

    function solo(bytes32 taskid) private {
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
    }

    function expect() private {
        vm.expectEmit(true, true, true, true, address(hub));
    }
}
