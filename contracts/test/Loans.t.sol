// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {IEscrow} from "../src/hub/interfaces/IEscrow.sol";
import {ILoans} from "../src/hub/interfaces/ILoans.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

/// @notice Stake that a pool lends to workers who have none: how far it goes, who bears the loss, and that nobody gains by
/// losing it.
contract LoansTest is HubTest {
    event LoanLimit(address indexed lender, address indexed worker, uint256 limit);
    event StakeLent(bytes32 indexed taskid, address indexed worker, address indexed lender, uint256 amount);
    event StakeReturned(bytes32 indexed taskid, address indexed worker, address indexed lender, uint256 amount);
    event StakeLost(bytes32 indexed taskid, address indexed worker, address indexed lender, uint256 amount);
    event DebtRepaid(address indexed worker, address indexed lender, uint256 amount);

    int256 private constant STAKE = int256(WORKER_STAKE);

    // ---- a newcomer without money ----

    function test_loan_voteOfAnEmptyWallet() public {
        empty(0);
        expect();
        emit LoanLimit(pool, worker(0), WORKER_STAKE);
        vm.prank(pool);
        hub.lendStake(worker(0), WORKER_STAKE);
        assertEq(hub.viewLoanLimit(pool, worker(0)), WORKER_STAKE, "limit");
        bytes32 taskid = makeTask(5);
        openBooks();
        expect();
        emit StakeLent(taskid, worker(0), pool, WORKER_STAKE);
        contribute(0, taskid, GOOD);
        assertEq(lockedOf(worker(0)), 0, "nothing of its own");
        assertEq(lockedOf(pool), POOL_STAKE + WORKER_STAKE, "the pool's stake in the task, and the lent one");
        assertEq(gained(pool), -STAKE, "out of its free stake");
        checkLoan(0, pool, WORKER_STAKE, 0);
        assertEq(hub.viewStakeOwner(taskid, worker(0)), pool, "whose stake");
        checkBooks();

        contributeMany(1, 2, taskid, GOOD);
        assertEq(hub.viewStakeOwner(taskid, worker(1)), worker(1), "its own");
        assertEq(hub.viewStakeOwner(taskid, worker(3)), address(0), "no vote");
        revealMany(0, 3, taskid, GOOD);
        expect();
        emit StakeReturned(taskid, worker(0), pool, WORKER_STAKE);
        finalize(taskid);
        uint256 share = (POOL_PRICE * 99 / 100) / 3;
        assertEq(gained(worker(0)), int256(share), "all of its share");
        assertEq(gained(worker(1)), int256(share), "as anybody");
        assertEq(gained(pool), int256(POOL_STAKE + POOL_PRICE - 3 * share), "as without a loan");
        assertEq(hub.viewScore(worker(0)), 1, "and its score");
        checkLoan(0, address(0), 0, 0);
        checkBooks();
    }

    function test_loan_ownStakeGoesFirst() public {
        vm.prank(pool);
        hub.lendStake(worker(0), 10 * WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, GOOD);
        assertEq(lockedOf(worker(0)), WORKER_STAKE, "its own");
        assertEq(hub.viewStakeOwner(taskid, worker(0)), worker(0), "its own");
        checkLoan(0, address(0), 0, 0);
    }

    function test_loan_aPartOfOnesOwnIsNotEnough() public {
        lend(0, WORKER_STAKE);
        hub.depositFor(WORKER_STAKE - 1, worker(0));
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, GOOD);
        assertEq(stakeOf(worker(0)), WORKER_STAKE - 1, "untouched");
        assertEq(hub.viewStakeOwner(taskid, worker(0)), pool, "all of it is lent");
    }

    function test_loan_returnsWhenTheTaskFails() public {
        lend(0, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, GOOD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertEq(gained(pool), 0, "the lent stake is back; the one in the task is gone");
        assertEq(lockedOf(KITTY), POOL_STAKE, "kitty");
        checkLoan(0, address(0), 0, 0);
        checkBooks();
    }

    // ---- refusals ----

    function test_lendStake_refusals() public {
        address[3] memory wrong = [address(0), pool, address(hub)];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ILoans.CannotLend.selector, wrong[i]));
            vm.prank(pool);
            hub.lendStake(wrong[i], 1);
        }
        vm.expectRevert(abi.encodeWithSelector(ILoans.LimitTooLarge.selector, 2 ** 96));
        vm.prank(pool);
        hub.lendStake(worker(0), 2 ** 96);
        vm.prank(pool);
        hub.lendStake(worker(0), 2 ** 96 - 1);
    }

    function test_loan_withoutALimitAnEmptyWalletCannotWork() public {
        empty(0);
        bytes32 taskid = makeTask(5);
        refused(0, taskid);
        // Somebody else's offer does not bind this pool, and does not lock that somebody's stake either.
        vm.prank(sponsor);
        hub.lendStake(worker(0), WORKER_STAKE);
        refused(0, taskid);
        lend(0, WORKER_STAKE - 1);
        refused(0, taskid);
        lend(0, WORKER_STAKE);
        lend(0, 0);
        refused(0, taskid);
        lend(0, WORKER_STAKE);
        contribute(0, taskid, GOOD);
    }

    function test_loan_theLimitIsForAllTasksTogether() public {
        lend(0, 2 * WORKER_STAKE);
        bytes32[3] memory ids = [makeTask(5), makeTask(5), makeTask(5)];
        contribute(0, ids[0], GOOD);
        contribute(0, ids[1], GOOD);
        refused(0, ids[2]);
        checkLoan(0, pool, 2 * WORKER_STAKE, 0);
        // The limit ends; what is lent stays lent.
        vm.prank(pool);
        hub.lendStake(worker(0), 0);
        vm.warp(START + 10 * T);
        hub.claim(ids[0]);
        checkLoan(0, pool, WORKER_STAKE, 0);
        hub.claim(ids[1]);
        checkLoan(0, address(0), 0, 0);
        checkBooks();
    }

    function test_loan_aPoolLendsOnlyWhatItHas() public {
        lend(0, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        uint256 free = stakeOf(pool);
        vm.prank(pool);
        hub.withdraw(free - WORKER_STAKE + 1);
        refused(0, taskid);
        hub.depositFor(1, pool);
        contribute(0, taskid, GOOD);
        assertEq(stakeOf(pool), 0, "the last of it");
    }

    function test_loan_noStakeAskedNoneLent() public {
        setPolicy(0, 1);
        empty(0);
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, GOOD);
        assertEq(hub.viewStakeOwner(taskid, worker(0)), worker(0), "its own nothing");
        checkLoan(0, address(0), 0, 0);
    }

    // ---- the loss ----

    /// @notice A liar with lent stake: the pool bears the loss, the kitty gets it, the honest get what they would have got, and
    /// the liar's next earnings are the pool's.
    function test_loan_lostByALiar() public {
        lend(0, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeMany(1, 4, taskid, GOOD);
        revealMany(1, 4, taskid, GOOD);
        expect();
        emit StakeLost(taskid, worker(0), pool, WORKER_STAKE);
        finalize(taskid);
        uint256 share = (POOL_PRICE * 99 / 100) / 4;
        assertEq(gained(worker(1)), int256(share), "nothing of the lent stake");
        assertEq(gained(pool), int256(POOL_STAKE + POOL_PRICE - 4 * share) - STAKE, "the pool lost it");
        assertEq(lockedOf(KITTY), WORKER_STAKE, "to the kitty");
        assertEq(hub.viewStakeOwner(taskid, worker(0)), pool, "whose it was");
        assertEq(voteStatus(taskid, 0), 3, "rejected");
        checkLoan(0, pool, 0, WORKER_STAKE);
        checkBooks();

        // The debt uses the limit up.
        taskid = makeTask(5);
        refused(0, taskid);

        // The next earnings repay, be it alone or with others, until nothing is owed.
        uint256 reward = POOL_PRICE * 99 / 100;
        assertTrue(reward > WORKER_STAKE, "one is enough");
        taskid = makeTask(1);
        openBooks();
        bytes memory permit = authorization(worker(0), taskid);
        expect();
        emit DebtRepaid(worker(0), pool, WORKER_STAKE);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        assertEq(gained(worker(0)), int256(reward - WORKER_STAKE), "the rest is the worker's");
        checkLoan(0, address(0), 0, 0);
        checkBooks();
    }

    /// @notice Small earnings repay bit by bit, in any pool.
    function test_loan_repaidBitByBitInAnotherPool() public {
        owe(0);
        address other = address(workerpools.createWorkerpool(sponsor, "another pool"));
        uint256 debt = WORKER_STAKE;
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 taskid = taskOf(other, 200_000_000);
            bytes memory permit = sponsorsPermit(worker(0), taskid);
            openBooks();
            vm.prank(worker(0));
            hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
            debt -= 198_000_000;
            checkLoan(0, pool, 0, debt);
            assertEq(gained(worker(0)), 0, "all of it repays");
            assertEq(gained(pool), 198_000_000, "the lender, not the other pool");
        }
        checkBooks();
    }

    function test_loan_winnersWhoOweRepayAtFinalizeAndAtClaim() public {
        owe(0);
        hub.depositFor(10 * WORKER_STAKE, worker(0));
        bytes32 taskid = makeTask(3);
        openBooks();
        contributeMany(0, 2, taskid, GOOD);
        revealMany(0, 2, taskid, GOOD);
        finalize(taskid);
        uint256 share = (POOL_PRICE * 99 / 100) / 2;
        assertEq(gained(worker(0)), int256(share - WORKER_STAKE), "earned less what it owed");
        assertEq(gained(worker(1)), int256(share), "who owes nothing");
        checkLoan(0, address(0), 0, 0);

        // What a failed task pays those who proved is earned too.
        owe(2);
        hub.depositFor(10 * WORKER_STAKE, worker(2));
        taskid = makeTask(5);
        contribute(2, taskid, GOOD);
        contributeMany(3, 2, taskid, GOOD);
        reveal(2, taskid, GOOD);
        vm.warp(block.timestamp + 10 * T);
        openBooks();
        hub.claim(taskid);
        // Two silent stakes are its share, its own comes back, one stake is owed.
        assertEq(gained(worker(2)), 2 * STAKE, "own stake, two others, less the debt");
        checkLoan(2, address(0), 0, 0);
        checkBooks();
    }

    /// @notice A silent holder with lent stake: it goes to the kitty when it is slashed, and the task's pot has only what others
    /// lost of their own.
    function test_loan_lostBySilence() public {
        lend(1, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, GOOD);
        contributeRaw(1, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        contributeRaw(2, taskid, resultHash(taskid, GOOD), keccak256("copy"));
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T);
        finalize(taskid);
        assertEq(status(taskid), 1, "open again");
        assertEq(potOf(taskid), WORKER_STAKE, "of the copier who lost its own");
        assertEq(lockedOf(KITTY), WORKER_STAKE, "the lent one");
        checkLoan(1, pool, 0, WORKER_STAKE);
        checkBooks();

        // And when nobody reveals at all, at the claim.
        contributeMany(3, 2, taskid, GOOD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        checkBooks();
    }

    function test_loan_lostAtClaim() public {
        lend(0, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, GOOD);
        reveal(1, taskid, GOOD);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        assertEq(gained(worker(1)), STAKE, "the stake of the one who was silent with its own");
        assertEq(lockedOf(KITTY), POOL_STAKE + WORKER_STAKE, "the lent one");
        assertEq(gained(pool), -STAKE, "at the pool's loss");
        checkLoan(0, pool, 0, WORKER_STAKE);
        checkBooks();
    }

    function test_repayDebt() public {
        vm.expectRevert(abi.encodeWithSelector(ILoans.NothingOwed.selector, worker(0)));
        vm.prank(worker(0));
        hub.repayDebt(1);
        owe(0);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InsufficientStake.selector, worker(0), 0, 1));
        vm.prank(worker(0));
        hub.repayDebt(1);
        hub.depositFor(2 * WORKER_STAKE, worker(0));
        openBooks();
        vm.prank(worker(0));
        assertEq(hub.repayDebt(5), 5, "as much as was asked");
        checkLoan(0, pool, 0, WORKER_STAKE - 5);
        expect();
        emit DebtRepaid(worker(0), pool, WORKER_STAKE - 5);
        vm.prank(worker(0));
        assertEq(hub.repayDebt(type(uint256).max), WORKER_STAKE - 5, "no more than is owed");
        checkLoan(0, address(0), 0, 0);
        assertEq(gained(pool), STAKE, "to the lender");
        checkBooks();
        // Its good name is restored: the limit is open again.
        vm.prank(worker(0));
        hub.withdraw(WORKER_STAKE);
        contribute(0, makeTask(5), GOOD);
        checkLoan(0, pool, WORKER_STAKE, 0);
    }

    // ---- attacks ----

    /// @notice A pool lends to identities of its own and has them slashed, to fill the kitty and draw it with tasks that it
    /// orders from itself. All it can ever draw is what it lost, and whoever else completes a task draws of that too.
    function test_attack_poolLendsItsSybils() public {
        lend(0, 10 * WORKER_STAKE);
        uint256 before = attackers();
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 taskid = makeTask(5);
            contribute(0, taskid, BAD);
            contributeMany(1, 4, taskid, GOOD);
            revealMany(1, 4, taskid, GOOD);
            finalize(taskid);
        }
        assertTrue(lockedOf(KITTY) > 0, "the kitty is fed");
        assertEq(attackers() + lockedOf(KITTY), before, "by them, and by nobody else");
        // An honest pool completes one task in between.
        address other = address(workerpools.createWorkerpool(sponsor, "another pool"));
        bytes32 honest = taskOf(other, 5e9);
        bytes memory permit = sponsorsPermit(worker(9), honest);
        vm.prank(worker(9));
        hub.contributeAndFinalize(honest, GOOD, "", "", address(0), "", permit);
        Terms memory t = terms();
        (t.trust, t.poolPrice) = (1, 5e9);
        for (uint256 i = 0; i < 10 && lockedOf(KITTY) > 0; ++i) {
            bytes32 taskid = makeTask(t);
            permit = authorization(worker(1), taskid);
            vm.prank(worker(1));
            hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        }
        assertEq(lockedOf(KITTY), 0, "drained");
        // The honest task was bought by the same requester, which is one of them here: its price went to the others.
        assertTrue(attackers() < before - 5e9, "and they are poorer");
        checkBooks();
    }

    /// @notice A worker that burns its lender's stake on purpose costs it the limit, and no more, over any number of tasks.
    function test_attack_borrowerBurnsTheLimit() public {
        uint256 limit = 3 * WORKER_STAKE + WORKER_STAKE / 2;
        lend(0, limit);
        uint256 lost = 0;
        for (uint256 i = 0; i < 6; ++i) {
            bytes32 taskid = makeTask(5);
            if (lost + WORKER_STAKE > limit) {
                refused(0, taskid);
                continue;
            }
            contribute(0, taskid, BAD);
            contributeMany(1, 4, taskid, GOOD);
            revealMany(1, 4, taskid, GOOD);
            finalize(taskid);
            lost += WORKER_STAKE;
        }
        assertEq(lost, 3 * WORKER_STAKE, "three times");
        checkLoan(0, pool, 0, lost);
        assertTrue(lost <= limit, "within the limit");
    }

    /// @notice A worker cannot borrow from a second pool what it owes the first, nor run from its debt there.
    function test_attack_twoLenders() public {
        owe(0);
        address other = address(workerpools.createWorkerpool(sponsor, "another pool"));
        vm.prank(sponsor);
        hub.lendStake(worker(0), FUNDS);
        bytes32 taskid = taskOf(other, POOL_PRICE);
        bytes memory permit = sponsorsPermit(worker(0), taskid);
        expectError("IexecEscrow: Transfer amount exceeds balance");
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        hub.depositFor(WORKER_STAKE, worker(0));
        vm.prank(worker(0));
        hub.repayDebt(WORKER_STAKE);
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        checkLoan(0, sponsor, WORKER_STAKE, 0);
        checkBooks();
    }

    /// @notice Nobody can have a pool's stake locked by its offer alone: the vote needs the pool's authorisation.
    function test_attack_borrowWithoutAuthorisation() public {
        lend(0, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        bytes memory permit = authorization(worker(1), taskid);
        vm.expectRevert();
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        assertEq(lockedOf(pool), POOL_STAKE, "only its own stake in the task");
    }

    // ---- any mixture ----

    /// @notice Whoever borrows, lies, stays silent or proves: the books close, every lock has an owner, lent stakes only ever
    /// go back or to the kitty, and what is owed is what was lost.
    function testFuzz_loans_conserved(uint8 borrowers, uint8 liars, uint8 silent, uint8 end) public {
        for (uint256 i = 0; i < 8; ++i) {
            if (borrowers & (1 << i) != 0) lend(i, WORKER_STAKE);
        }
        bytes32 taskid = makeTask(9);
        openBooks();
        for (uint256 i = 0; i < 8 && status(taskid) == 1; ++i) {
            contribute(i, taskid, liars & (1 << i) != 0 ? BAD : GOOD);
        }
        if (status(taskid) == 2) {
            bytes32 winner = hub.viewTask(taskid).consensusValue == resultHash(taskid, GOOD) ? GOOD : BAD;
            for (uint256 i = 0; i < 8; ++i) {
                if (hub.viewContribution(taskid, worker(i)).resultHash != resultHash(taskid, winner)) continue;
                if (silent & (1 << i) == 0) reveal(i, taskid, winner);
            }
            checkBooks();
            vm.warp(START + 2 * T);
            if (end % 3 == 0) vm.warp(START + 10 * T);
            else if (hub.viewTask(taskid).revealCounter > 0) finalize(taskid);
            else hub.reopen(taskid);
            checkBooks();
        }
        if (status(taskid) < 3) {
            vm.warp(START + 10 * T);
            hub.claim(taskid);
        }
        checkBooks();
        assertEq(lockedOf(pool), 0, "nothing of the pool's stays locked");
        uint256 owed = 0;
        for (uint256 i = 0; i < 8; ++i) {
            (address lender, uint256 locked, uint256 debt) = hub.viewLoan(worker(i));
            assertEq(locked, 0, "nothing stays lent");
            bool lost = hub.viewStakeOwner(taskid, worker(i)) == pool && voteStatus(taskid, i) == 3;
            assertEq(debt, lost ? WORKER_STAKE : 0, "what was lost is owed");
            assertEq(lender, lost ? pool : address(0), "to the pool");
            assertEq(lockedOf(worker(i)), 0, "worker");
            owed += debt;
        }
        assertTrue(lockedOf(KITTY) >= owed, "the kitty has what was lost");
    }

    // ---- helpers ----

    /// @dev The worker has nothing of its own, and the pool lends it up to `limit`.
    function lend(uint256 i, uint256 limit) private {
        empty(i);
        vm.prank(pool);
        hub.lendStake(worker(i), limit);
    }

    function empty(uint256 i) private {
        uint256 free = stakeOf(worker(i));
        vm.prank(worker(i));
        hub.withdraw(free);
    }

    /// @dev The worker loses one lent stake.
    function owe(uint256 i) private {
        lend(i, WORKER_STAKE);
        bytes32 taskid = makeTask(5);
        contribute(i, taskid, BAD);
        contributeMany(20, 4, taskid, GOOD);
        revealMany(20, 4, taskid, GOOD);
        finalize(taskid);
        checkLoan(i, pool, 0, WORKER_STAKE);
    }

    function refused(uint256 i, bytes32 taskid) private {
        bytes memory permit = authorization(worker(i), taskid);
        expectError("IexecEscrow: Transfer amount exceeds balance");
        vm.prank(worker(i));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
    }

    /// @dev A task of trust 1 of the sponsor's own pool.
    function taskOf(address other, uint256 price) private returns (bytes32 taskid) {
        Terms memory t = terms();
        (t.trust, t.poolPrice) = (1, price);
        Orders.WorkerpoolOrder memory w = workerpoolOrder(t);
        w.workerpool = other;
        w.sign = signature(SPONSOR_KEY, hashOf(w));
        Orders.RequestOrder memory r = requestOrder(t);
        r.workerpool = other;
        taskid = hub.initialize(hub.matchOrders(appOrder(t), datasetOrder(t), w, signed(r)), 0);
        knownTasks.push(taskid);
    }

    function sponsorsPermit(address who, bytes32 taskid) private pure returns (bytes memory) {
        return messageSignature(SPONSOR_KEY, keccak256(abi.encodePacked(who, taskid, address(0))));
    }

    /// @dev What the pool and everybody that could be it has: its workers 0 to 4, the requester, the owners of app and dataset.
    function attackers() private view returns (uint256 sum) {
        address[4] memory others = [pool, requester, appOwner, datasetOwner];
        for (uint256 i = 0; i < 4; ++i) {
            sum += stakeOf(others[i]) + lockedOf(others[i]);
        }
        for (uint256 i = 0; i < 5; ++i) {
            sum += stakeOf(worker(i)) + lockedOf(worker(i));
        }
    }

    function checkLoan(uint256 i, address lender, uint256 locked, uint256 debt) private view {
        (address lender_, uint256 locked_, uint256 debt_) = hub.viewLoan(worker(i));
        assertEq(lender_, lender, "lender");
        assertEq(locked_, locked, "lent");
        assertEq(debt_, debt, "owed");
    }

    function expect() private {
        vm.expectEmit(true, true, true, true, address(hub));
    }
}
