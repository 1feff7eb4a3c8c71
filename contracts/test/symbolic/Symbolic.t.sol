// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "../Test.sol";
import {Lending} from "../../src/hub/Lending.sol";
import {HubStorage} from "../../src/hub/HubStorage.sol";
import {Consensus} from "../../src/hub/lib/Consensus.sol";
import {HubConstants} from "../../src/hub/lib/HubConstants.sol";

/// @notice The book of accounts and the loans, each movement a door of its own.
contract Books is Lending {
    function set(address who, uint96 stake, uint96 locked) external {
        HubStorage.Account storage found = HubStorage.state().accounts[who];
        (found.stake, found.locked) = (stake, locked);
    }

    function setLoan(address worker, address lender, uint96 locked, uint96 debt, uint96 limit) external {
        HubStorage.state().loans[worker] = HubStorage.Loan(lender, locked, debt);
        HubStorage.state().accounts[worker].indebted = debt != 0;
        HubStorage.state().loanLimits[lender][worker] = limit;
    }

    function setSupply(uint256 amount) external {
        HubStorage.state().totalSupply = amount;
    }

    function account(address who) external view returns (uint256 stake, uint256 locked) {
        HubStorage.Account storage found = HubStorage.state().accounts[who];
        return (found.stake, found.locked);
    }

    function loan(address worker) external view returns (uint256 locked, uint256 debt, bool indebted) {
        HubStorage.Loan storage found = HubStorage.state().loans[worker];
        return (found.locked, found.debt, HubStorage.state().accounts[worker].indebted);
    }

    function supply() external view returns (uint256) {
        return HubStorage.state().totalSupply;
    }

    function lock(address who, uint256 amount) external {
        _lock(who, amount);
    }

    function unlock(address who, uint256 amount) external {
        _unlock(who, amount);
    }

    function seizeAndReward(address from, address to, uint256 amount) external {
        _seize(from, amount, 0);
        _reward(to, amount, 0);
    }

    function move(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }

    function mint(address who, uint256 amount) external {
        _mint(who, amount);
    }

    function burn(address who, uint256 amount) external {
        _burn(who, amount);
    }

    function lockStake(address lender, uint256 amount) external returns (bool) {
        return _lockStake(lender, amount);
    }

    function takeStake(address worker, bool lent, address lender, uint256 amount) external {
        _takeStake(0, worker, lent, lender, amount);
    }

    function returnStake(address worker, bool lent, address lender, uint256 amount) external {
        _returnStake(0, worker, lent, lender, amount);
    }

    function earn(address worker, uint256 amount) external {
        _earn(worker, amount, 0);
    }
}

/// @notice Properties for all inputs, which halmos proves instead of trying some (`cargo xtask test --slow`). Where the
/// solver gives no answer at full width the unknowns are narrower: scores of 24 bits, groups of 64 or 8 bits at eight values of trust,
/// and locks of 64 bits; every other amount has its 96.
contract SymbolicTest is Test {
    Books private books;
    address private constant A = address(0xA);
    address private constant B = address(0xB);

    function setUp() public {
        books = new Books();
    }

    // ---- the arithmetic of the vote ----

    function check_weight_growsWithTheScore(uint24 low, uint24 high) public pure {
        vm.assume(low <= high);
        uint256 weight = Consensus.voteWeight(low);
        assert(weight >= 2);
        assert(weight <= Consensus.voteWeight(high));
        assert((weight == 2) == (low < 12));
    }

    function check_punished_takesAThird(uint24 score) public pure {
        uint256 left = Consensus.punished(score);
        assert(left <= score);
        assert(score == 0 || left < score);
        assert(3 * left + 2 >= 2 * uint256(score));
    }

    function check_reached_atTrustOneByAnyVote(uint256 group, uint256 total) public pure {
        assert(Consensus.reached(group, total, 1) == (group > 0));
    }

    /// @dev The form in which docs/verification.md explains the rule.
    function check_reached_otherForm(uint8 group, uint8 others, uint8 which) public pure {
        uint256 trust = trustOf(which);
        bool reached = Consensus.reached(group, 1 + uint256(group) + others, trust);
        assert(reached == (group > (1 + uint256(others)) * (trust - 1)));
    }

    /// @dev From trust 2 on no two hashes can be the consensus.
    function check_reached_byOneHashOnly(uint64 left, uint64 right, uint64 others, uint8 which) public pure {
        uint256 trust = trustOf(which);
        vm.assume(trust >= 2);
        uint256 total = 1 + uint256(left) + right + others;
        assert(!(Consensus.reached(left, total, trust) && Consensus.reached(right, total, trust)));
    }

    /// @dev What the proved holders carry had been reached with the silent ones: a recount never makes a consensus.
    function check_recount_isStricter(uint8 group, uint8 proved, uint8 others, uint8 which) public pure {
        uint256 trust = trustOf(which);
        vm.assume(proved <= group);
        bool carried = Consensus.reached(proved, 1 + uint256(others) + proved, trust);
        bool reached = Consensus.reached(group, 1 + uint256(others) + group, trust);
        assert(!carried || reached);
    }

    /// @dev More votes for other hashes never help.
    function check_reached_othersOnlyHurt(uint64 group, uint64 others, uint64 more, uint8 which) public pure {
        uint256 trust = trustOf(which);
        bool before = Consensus.reached(group, 1 + uint256(group) + others, trust);
        bool then_ = Consensus.reached(group, 1 + uint256(group) + others + more, trust);
        assert(before || !then_);
    }

    // ---- the escrow ----

    function check_lock(uint64 stake, uint64 locked, uint64 held, uint64 amount) public {
        within(stake, locked, held);
        books.set(A, stake, locked);
        books.set(address(books), held, 0);
        try books.lock(A, amount) {
            assert(amount <= stake);
            expect(A, uint256(stake) - amount, uint256(locked) + amount);
            expect(address(books), uint256(held) + amount, 0);
        } catch {
            assert(amount > stake);
        }
    }

    function check_unlock(uint64 stake, uint64 locked, uint64 held, uint64 amount) public {
        within(stake, held, 0);
        vm.assume(locked <= held);
        books.set(A, stake, locked);
        books.set(address(books), held, 0);
        try books.unlock(A, amount) {
            assert(amount <= locked);
            expect(A, uint256(stake) + amount, uint256(locked) - amount);
            expect(address(books), uint256(held) - amount, 0);
        } catch {
            assert(amount > locked);
        }
    }

    function check_seizeAndReward(uint64 locked, uint64 held, uint64 stake, uint64 amount) public {
        within(stake, held, 0);
        vm.assume(locked <= held);
        books.set(A, 0, locked);
        books.set(B, stake, 0);
        books.set(address(books), held, 0);
        try books.seizeAndReward(A, B, amount) {
            assert(amount <= locked);
            expect(A, 0, uint256(locked) - amount);
            expect(B, uint256(stake) + amount, 0);
            expect(address(books), uint256(held) - amount, 0);
        } catch {
            assert(amount > locked);
        }
    }

    function check_move_makesNothing(uint96 from, uint96 to, uint256 amount) public {
        within(from, to, 0);
        books.set(A, from, 0);
        books.set(B, to, 0);
        try books.move(A, B, amount) {
            assert(amount <= from);
            expect(A, from - amount, 0);
            expect(B, to + amount, 0);
        } catch {
            assert(amount > from);
        }
    }

    function check_move_toOneself(uint96 stake, uint256 amount) public {
        books.set(A, stake, 0);
        try books.move(A, A, amount) {
            assert(amount <= stake);
            expect(A, stake, 0);
        } catch {
            assert(amount > stake);
        }
    }

    function check_mintAndBurn(uint96 supply, uint96 stake, uint256 amount) public {
        vm.assume(stake <= supply);
        books.setSupply(supply);
        books.set(A, stake, 0);
        try books.mint(A, amount) {
            assert(books.supply() == supply + amount && books.supply() <= type(uint96).max);
            expect(A, stake + amount, 0);
            books.burn(A, amount);
            assert(books.supply() == supply);
            expect(A, stake, 0);
        } catch {
            assert(amount > type(uint96).max - uint256(supply));
        }
    }

    // ---- lent stake ----

    /// @dev This contract is the worker. Its own stake goes first; a lent one stays within limit and lender's stake.
    function check_lockStake(uint96 own, uint96 lenders, uint96 owed, uint96 limit, uint96 amount) public {
        within(own, lenders, 0);
        books.set(address(this), own, 0);
        books.set(A, lenders, 0);
        books.setLoan(address(this), A, 0, owed, limit);
        try books.lockStake(A, amount) returns (bool lent) {
            (uint256 locked, uint256 debt,) = books.loan(address(this));
            assert(debt == owed);
            if (lent) {
                assert(own < amount && uint256(owed) + amount <= limit && amount <= lenders);
                expect(A, uint256(lenders) - amount, amount);
                expect(address(this), own, 0);
                assert(locked == amount);
            } else {
                assert(amount <= own);
                expect(address(this), uint256(own) - amount, amount);
                expect(A, lenders, 0);
                assert(locked == 0);
            }
        } catch {
            assert(own < amount && (uint256(owed) + amount > limit || amount > lenders));
        }
    }

    /// @dev A lent stake that is lost goes to the kitty to the last unit, and is owed to the last unit.
    function check_takeStake_lent(uint96 lenders, uint96 kitty, uint96 owed, uint96 amount) public {
        within(lenders, kitty, amount);
        vm.assume(uint256(owed) + amount <= type(uint96).max && amount <= lenders);
        books.set(A, 0, lenders);
        books.set(HubConstants.KITTY, 0, kitty);
        books.set(address(books), lenders, 0);
        books.setLoan(B, A, amount, owed, 0);
        books.takeStake(B, true, A, amount);
        (uint256 locked, uint256 debt, bool indebted) = books.loan(B);
        assert(locked == 0 && debt == uint256(owed) + amount);
        assert(indebted || amount == 0);
        expect(A, 0, uint256(lenders) - amount);
        expect(HubConstants.KITTY, 0, uint256(kitty) + amount);
        expect(address(books), lenders, 0);
    }

    /// @dev Earnings repay first, and exactly: what the worker keeps and what the lender gets is what was earned.
    function check_earn(uint96 own, uint96 lenders, uint96 owed, uint96 amount) public {
        within(own, lenders, amount);
        books.set(A, lenders, 0);
        books.set(B, own, 0);
        books.set(address(books), amount, 0);
        books.setLoan(B, A, 0, owed, 0);
        books.earn(B, amount);
        uint256 repaid = amount < owed ? amount : owed;
        expect(B, uint256(own) + amount - repaid, 0);
        expect(A, uint256(lenders) + repaid, 0);
        (, uint256 debt, bool indebted) = books.loan(B);
        assert(debt == owed - repaid);
        assert(indebted == (debt != 0));
    }

    // ---- helpers ----

    /// @dev The trusts of the confidences that can be asked for by name, and the small ones.
    function trustOf(uint8 which) private pure returns (uint256) {
        if (which == 0) return 1;
        if (which == 1) return 2;
        if (which == 2) return 3;
        if (which == 3) return 5;
        if (which == 4) return 10;
        if (which == 5) return 20;
        if (which == 6) return 100;
        vm.assume(which == 7);
        return 1000;
    }

    /// @dev Everything in the escrow is within its supply.
    function within(uint256 a, uint256 b, uint256 c) private pure {
        vm.assume(a + b + c <= type(uint96).max);
    }

    function expect(address who, uint256 stake, uint256 locked) private view {
        (uint256 stake_, uint256 locked_) = books.account(who);
        assert(stake_ == stake && locked_ == locked);
    }
}
