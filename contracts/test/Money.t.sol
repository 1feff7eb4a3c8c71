// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";

/// @notice Who gains and who pays, to the last nGRIST, on each way a task can end. contracts/README.md has the table.
contract MoneyTest is HubTest {
    function test_money_consensus() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeMany(1, 4, taskid, GOOD);
        revealMany(1, 4, taskid, GOOD);
        finalize(taskid);
        uint256 base = POOL_PRICE + WORKER_STAKE;
        uint256 share = (base * 99 / 100) / 4;
        assertEq(gained(appOwner), int256(APP_PRICE), "app");
        assertEq(gained(datasetOwner), int256(DATASET_PRICE), "dataset");
        assertEq(gained(worker(0)), -int256(WORKER_STAKE), "liar");
        for (uint256 i = 1; i < 5; ++i) {
            assertEq(gained(worker(i)), int256(share), "winner");
            assertEq(hub.viewScore(worker(i)), 1, "score");
        }
        assertEq(gained(pool), int256(POOL_STAKE + base - 4 * share), "pool: its stake and the rest");
        assertEq(gained(requester), 0, "requester paid with what was locked");
        assertEq(lockedOf(requester), 0, "nothing left locked");
        checkBooks();
    }

    function test_money_sharesFollowTheLogarithm() public {
        setScore(worker(0), 60); // weight 19, log2 4
        setScore(worker(1), 15); // weight 4, log2 2
        bytes32 taskid = makeTask(100);
        openBooks();
        contribute(1, taskid, GOOD);
        contribute(0, taskid, GOOD);
        contribute(2, taskid, GOOD); // weight 2, log2 1
        assertEq(status(taskid), 2, "19 * 4 * 2 carries trust 100");
        revealMany(0, 3, taskid, GOOD);
        finalize(taskid);
        uint256 reward = POOL_PRICE * 99 / 100;
        assertEq(gained(worker(0)), int256(reward * 4 / 7), "four parts");
        assertEq(gained(worker(1)), int256(reward * 2 / 7), "two parts");
        assertEq(gained(worker(2)), int256(reward * 1 / 7), "one part");
        checkBooks();
    }

    function test_money_schedulerTakesAll() public {
        setPolicy(0, 100);
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, GOOD);
        assertEq(lockedOf(worker(0)), 0, "no stake asked");
        revealMany(0, 3, taskid, GOOD);
        finalize(taskid);
        assertEq(gained(worker(0)), 0, "nothing for the workers");
        assertEq(gained(pool), int256(POOL_STAKE + POOL_PRICE), "all for the pool");
        checkBooks();
    }

    function test_money_policyOfTheDealHolds() public {
        bytes32 taskid = makeTask(5);
        setPolicy(500, 100);
        openBooks();
        contributeMany(0, 3, taskid, GOOD);
        assertEq(lockedOf(worker(0)), WORKER_STAKE, "the stake of the deal");
        revealMany(0, 3, taskid, GOOD);
        finalize(taskid);
        assertEq(gained(worker(0)), int256((POOL_PRICE * 99 / 100) / 3), "the share of the deal");
    }

    function test_money_solo() public {
        bytes32 taskid = makeTask(1);
        openBooks();
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        uint256 reward = POOL_PRICE * 99 / 100;
        assertEq(gained(worker(0)), int256(reward), "worker");
        assertEq(gained(pool), int256(POOL_STAKE + POOL_PRICE - reward), "pool");
        assertEq(gained(appOwner), int256(APP_PRICE), "app");
        assertEq(gained(datasetOwner), int256(DATASET_PRICE), "dataset");
        checkBooks();
    }

    function test_money_sponsorPaysAndIsRefunded() public {
        Terms memory t = terms();
        (t.trust, t.volume) = (1, 2);
        vm.prank(sponsor);
        bytes32 dealid = hub.sponsorMatchOrders(appOrder(t), datasetOrder(t), workerpoolOrder(t), requestOrder(t));
        openBooks();
        bytes32 first = hub.initialize(dealid, 0);
        bytes memory permit = authorization(worker(0), first);
        vm.prank(worker(0));
        hub.contributeAndFinalize(first, GOOD, "", "", address(0), "", permit);
        assertEq(lockedOf(sponsor), PRICE, "one task paid");
        bytes32 second = hub.initialize(dealid, 1);
        vm.warp(START + 10 * T);
        hub.claim(second);
        assertEq(lockedOf(sponsor), 0, "one task refunded");
        assertEq(gained(sponsor), int256(PRICE), "to the sponsor");
        assertEq(gained(requester), 0, "not to the requester");
        checkBooks();
    }

    function test_money_claimWithoutContributors() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertEq(gained(requester), int256(PRICE), "refund in full");
        assertEq(gained(pool), 0, "stake lost");
        assertEq(lockedOf(pool), 0, "and gone");
        assertEq(lockedOf(KITTY), POOL_STAKE, "to the kitty");
        checkBooks();
    }

    /// @notice A pool that is its own requester, app owner and worker moves money in a circle and gains nothing.
    function test_money_circle() public {
        Terms memory t = terms();
        t.trust = 1;
        bytes32 taskid = makeTask(t);
        uint256 before = stakeOf(pool) + lockedOf(pool) + stakeOf(requester) + lockedOf(requester) + stakeOf(worker(0))
            + stakeOf(appOwner) + stakeOf(datasetOwner);
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        uint256 then_ = stakeOf(pool) + lockedOf(pool) + stakeOf(requester) + lockedOf(requester) + stakeOf(worker(0))
            + stakeOf(appOwner) + stakeOf(datasetOwner);
        assertEq(then_, before, "a circle");
    }

    /// @notice Any prices, any policy, any split of honest, lying and silent workers: the books close to the last unit and
    /// all of the task's money has an owner.
    function testFuzz_money_conserved(
        uint64[3] memory prices,
        uint8 stakeRatio,
        uint8 rewardRatio,
        uint8 liars,
        uint8 silent,
        uint16[8] memory scores
    ) public {
        setPolicy(stakeRatio, bound(rewardRatio, 0, 100));
        Terms memory t = terms();
        t.appPrice = bound(prices[0], 0, 1000e9);
        t.datasetPrice = bound(prices[1], 0, 1000e9);
        t.poolPrice = bound(prices[2], 0, 1000e9);
        t.trust = 3;
        for (uint256 i = 0; i < scores.length; ++i) {
            setScore(worker(i), scores[i]);
        }
        bytes32 taskid = makeTask(t);
        uint256 lying = bound(liars, 0, 3);
        for (uint256 i = 0; i < 8 && status(taskid) == 1; ++i) {
            contribute(i, taskid, i < lying ? BAD : GOOD);
        }
        if (status(taskid) == 2) {
            bytes32 winner = hub.viewTask(taskid).consensusValue == resultHash(taskid, GOOD) ? GOOD : BAD;
            address[] memory voters = hub.viewTask(taskid).contributors;
            uint256 quiet = bound(silent, 0, voters.length);
            for (uint256 i = 0; i < voters.length; ++i) {
                bool holder = hub.viewContribution(taskid, voters[i]).resultHash == resultHash(taskid, winner);
                if (!holder) continue;
                if (quiet > 0) {
                    --quiet;
                    continue;
                }
                vm.prank(voters[i]);
                hub.reveal(taskid, winner);
            }
            vm.warp(START + 2 * T);
            if (hub.viewTask(taskid).revealCounter > 0) finalize(taskid);
            else hub.reopen(taskid);
            checkBooks();
        }
        if (status(taskid) < 3) {
            vm.warp(START + 10 * T);
            hub.claim(taskid);
        }
        checkBooks();
        assertEq(potOf(taskid), 0, "pot");
        assertEq(lockedOf(requester), 0, "requester");
        assertEq(lockedOf(pool), 0, "pool");
        for (uint256 i = 0; i < 8; ++i) {
            assertEq(lockedOf(worker(i)), 0, "worker");
        }
    }
}
