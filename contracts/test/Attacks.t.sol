// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {IDiamond} from "../src/hub/interfaces/IDiamond.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

/// @notice Attacks that audits and readers of iExec PoCo found, where no other test has them: either they lose
/// (`test_attack_*`), or nothing at this ABI can stop them and what they gain is measured (`test_measure_*`).
/// contracts/README.md has the whole list.
contract AttacksTest is HubTest {
    int256 private constant STAKE = int256(WORKER_STAKE);

    // ---- found by audits ----

    /// @notice Levers of PoCo's owner that do not exist here: gas of callbacks, so that a finalize fails; the registries, so
    /// that anything counts as an asset; scores of an older hub, so that a bad name is washed off.
    function test_attack_leversOfTheOwner() public {
        string[5] memory levers = [
            "setCallbackGas(uint256)",
            "importScore(address)",
            "changeRegistries(address,address,address)",
            "configure(address,string,string,uint8,address,address,address,address)",
            "updateDomainSeparator()"
        ];
        for (uint256 i = 0; i < levers.length; ++i) {
            bytes4 selector = bytes4(keccak256(bytes(levers[i])));
            assertEq(hub.facetAddress(selector), address(0), levers[i]);
            (bool ok, bytes memory answer) = address(hub).call(abi.encodePacked(selector, new bytes(256)));
            assertTrue(!ok, levers[i]);
            assertEq(answer, abi.encodeWithSelector(IDiamond.FunctionNotFound.selector, selector), "nobody serves it");
        }
    }

    /// @notice A pool that raises its share, or the stake it asks for, after workers have begun.
    function test_attack_policyAfterTheDeal() public {
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, GOOD);
        setPolicy(500, 100);
        openBooks();
        contributeMany(1, 2, taskid, GOOD);
        assertEq(lockedOf(worker(1)), WORKER_STAKE, "the stake of the deal");
        revealMany(0, 3, taskid, GOOD);
        finalize(taskid);
        assertEq(gained(worker(1)), int256((POOL_PRICE * 99 / 100) / 3), "the share of the deal");
    }

    /// @notice Nobody takes the kitty but a completed task: its account has no door, not even for the owner.
    function test_attack_kittyTakenDirectly() public {
        bytes32 taskid = makeTask(5);
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        uint256 kitty = lockedOf(KITTY);
        assertTrue(kitty > 0, "there is something");
        assertEq(hub.recover(), 0, "it is no surplus");
        // Even its key, which nobody has, would find nothing free.
        vm.prank(KITTY);
        (bool ok,) = address(hub).call(abi.encodeCall(hub.withdraw, (1)));
        assertTrue(!ok, "locked");
        assertEq(lockedOf(KITTY), kitty, "untouched");
    }

    // ---- who pays ----

    /// @notice Nobody pays for a match but who signed the request, or who calls to sponsor it.
    function test_attack_payForSomebodyElsesMatch() public {
        Terms memory t = terms();
        openBooks();
        makeDeal(t);
        assertEq(gained(requester), -int256(PRICE), "who signed the request");
        assertEq(gained(address(this)), 0, "not who sent it");
        assertEq(gained(sponsor), 0, "nor anybody else");

        // A request in the name of somebody who did not sign it.
        Orders.RequestOrder memory r = requestOrder(t);
        r.requester = sponsor;
        r.sign = signature(REQUESTER_KEY, hashOf(r));
        Orders.AppOrder memory a = appOrder(t);
        Orders.DatasetOrder memory d = datasetOrder(t);
        Orders.WorkerpoolOrder memory w = workerpoolOrder(t);
        expectError("iExecV5-matchOrders-0x50");
        hub.matchOrders(a, d, w, r);
        // Nor can it be signed on the ledger in that name.
        Orders.RequestOrderOperation memory operation =
            Orders.RequestOrderOperation(r, Orders.OrderOperationEnum.SIGN, r.sign);
        expectError("invalid-sender-or-signature");
        vm.prank(requester);
        hub.manageRequestOrder(operation);
        assertEq(gained(sponsor), 0, "never");
        checkBooks();
    }

    /// @notice Whoever sees a sponsored match coming can match first: the requester pays instead of the sponsor, never more
    /// than it signed. Whoever wants to be sponsored keeps no stake at the hub; then the early match is refused.
    function test_measure_frontRunSponsoredMatch() public {
        Terms memory t = terms();
        Orders.AppOrder memory a = appOrder(t);
        Orders.DatasetOrder memory d = datasetOrder(t);
        Orders.WorkerpoolOrder memory w = workerpoolOrder(t);
        Orders.RequestOrder memory r = requestOrder(t);
        openBooks();
        vm.prank(outsider);
        hub.matchOrders(a, d, w, r);
        assertEq(gained(requester), -int256(PRICE), "what it signed");
        expectError("iExecV5-matchOrders-0x60");
        vm.prank(sponsor);
        hub.sponsorMatchOrders(a, d, w, r);
        assertEq(gained(sponsor), 0, "the sponsor paid nothing");

        uint256 free = stakeOf(requester);
        vm.prank(requester);
        hub.withdraw(free);
        (a, d, w, r) = (appOrder(t), datasetOrder(t), workerpoolOrder(t), requestOrder(t));
        expectError("IexecEscrow: Transfer amount exceeds balance");
        vm.prank(outsider);
        hub.matchOrders(a, d, w, r);
        vm.prank(sponsor);
        hub.sponsorMatchOrders(a, d, w, r);
        assertEq(gained(sponsor), -int256(PRICE), "now it pays");
    }

    // ---- what nothing here can stop ----

    /// @notice At trust 1 one vote is the consensus: a lie is paid as the truth is. A requester that minds asks for more.
    function test_measure_lieAtTrustOne() public {
        bytes32 taskid = makeTask(1);
        openBooks();
        contribute(0, taskid, BAD);
        reveal(0, taskid, BAD);
        finalize(taskid);
        assertEq(gained(worker(0)), int256(POOL_PRICE * 99 / 100), "the whole reward, for nothing");
        // At the default confidence the same lie needs three identities, or loses its stake to two honest ones more.
        taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        contributeMany(1, 4, taskid, GOOD);
        revealMany(1, 4, taskid, GOOD);
        finalize(taskid);
        assertEq(gained(worker(0)), -STAKE, "a stake");
    }

    /// @notice A task done alone is paid when its digest is: the bytes behind it may never appear. The gain is the reward; the
    /// worker has no stake in it and loses no score.
    function test_measure_bytesWithheldInASoloTask() public {
        bytes32 taskid = makeTask(1);
        bytes32 nothing = keccak256("no bytes hash to this");
        openBooks();
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, nothing, "nowhere", "", address(0), "", permit);
        assertEq(gained(worker(0)), int256(POOL_PRICE * 99 / 100), "the whole reward");
        assertEq(hub.viewScore(worker(0)), 0, "and no reputation for it");
        assertEq(lockedOf(requester), 0, "the requester has paid");
    }

    /// @notice A requester that is among the workers of its own task and stays silent reads the result for a stake: the others'
    /// reveals make the digest public, and the recount fails without it. It works if the pool authorised it and holds no
    /// reserve replica; the pool then loses its stake too.
    function test_measure_requestersSilentWorker() public {
        bytes32 taskid = makeTask(5);
        openBooks();
        contributeMany(0, 3, taskid, GOOD); // worker 2 is the requester's
        revealMany(0, 2, taskid, GOOD);
        assertEq(hub.viewTask(taskid).resultDigest, GOOD, "the digest, with which the sealed bytes open");
        vm.warp(START + 2 * T);
        finalize(taskid);
        assertEq(status(taskid), 1, "not carried");
        vm.warp(START + 7 * T);
        hub.claim(taskid);
        int256 cost = -(gained(requester) + gained(worker(2)) - int256(PRICE));
        assertEq(cost, STAKE, "a stake instead of the price");
        assertTrue(cost < int256(PRICE), "which is less, at a stake of 30 %");
        assertEq(gained(worker(0)), STAKE / 2, "the honest share it");

        // With one replica in reserve, whose sealed result the pool held before the first reveal, it pays price and stake.
        taskid = makeTask(5);
        openBooks();
        contributeMany(4, 3, taskid, GOOD); // worker 6 is the requester's
        revealMany(4, 2, taskid, GOOD);
        vm.warp(block.timestamp + 2 * T);
        finalize(taskid);
        contribute(7, taskid, GOOD);
        reveal(7, taskid, GOOD);
        finalize(taskid);
        assertEq(status(taskid), 3, "completed by the reserve");
        assertEq(gained(requester) + gained(worker(6)), -STAKE, "the price stays paid, and a stake is lost");
    }

    /// @notice An answer of few possibilities, without a witness in its digest, is guessed from the public hash of another's
    /// vote: the copier seals it as its own and is paid like the others. The sandbox's witness stops it for WASM programs:
    /// then the digest has 256 bits that only a run gives.
    function test_measure_lowEntropyGuess() public {
        bytes32 taskid = makeTask(5);
        bytes32 truth = answerDigest(0, "yes");
        openBooks();
        contributeMany(0, 2, taskid, truth);
        bytes32 seen = hub.viewContribution(taskid, worker(0)).resultHash;
        string[2] memory guesses = ["no", "yes"];
        for (uint256 i = 0; i < 2; ++i) {
            bytes32 guess = answerDigest(0, guesses[i]);
            if (resultHash(taskid, guess) == seen) contribute(2, taskid, guess);
        }
        revealMany(0, 3, taskid, truth);
        finalize(taskid);
        assertEq(gained(worker(2)), int256((POOL_PRICE * 99 / 100) / 3), "a full share, for a guess");

        // With a witness no guess fits.
        taskid = makeTask(5);
        contribute(0, taskid, answerDigest(keccak256("fuel and memory of the run"), "yes"));
        seen = hub.viewContribution(taskid, worker(0)).resultHash;
        for (uint256 i = 0; i < 2; ++i) {
            assertTrue(resultHash(taskid, answerDigest(0, guesses[i])) != seen, "not without the witness");
        }
    }

    /// @notice A copy that is only sealed after the digest is public is worth nothing: votes end with the consensus, and after
    /// a failed recount they cost a stake that nobody gives back for free.
    function test_attack_copyAfterTheReveal() public {
        bytes32 taskid = makeTask(5);
        contributeMany(0, 3, taskid, GOOD);
        reveal(0, taskid, GOOD);
        bytes memory permit = authorization(worker(3), taskid);
        vm.expectRevert();
        vm.prank(worker(3));
        hub.contribute(taskid, resultHash(taskid, GOOD), resultSeal(worker(3), taskid, GOOD), address(0), "", permit);
        assertEq(hub.viewTask(taskid).contributors.length, 3, "no more votes");
    }

    /// @notice A score is built by honest work and spent by one lie: with the weight it gave, a liar carries trust 5 alone, once,
    /// and one honest group more takes a third of it away.
    function test_measure_spentReputation() public {
        setScore(worker(0), 18); // weight 5
        bytes32 taskid = makeTask(5);
        openBooks();
        contribute(0, taskid, BAD);
        assertEq(status(taskid), 2, "it carries trust 5 alone");
        reveal(0, taskid, BAD);
        finalize(taskid);
        assertEq(gained(worker(0)), int256(POOL_PRICE * 99 / 100), "the whole reward");
        // At trust 100 it does not, and pays with stake and score.
        taskid = makeTask(100);
        openBooks();
        contribute(0, taskid, BAD);
        for (uint256 i = 1; status(taskid) == 1; ++i) {
            contribute(i, taskid, GOOD);
        }
        revealMany(1, hub.viewTask(taskid).contributors.length - 1, taskid, GOOD);
        finalize(taskid);
        assertEq(gained(worker(0)), -STAKE, "a stake");
        assertEq(hub.viewScore(worker(0)), 12, "and a third of its score");
    }

    function answerDigest(bytes32 witness, string memory answer) private pure returns (bytes32) {
        return keccak256(abi.encode(bytes32("root of the files"), witness, bytes(answer)));
    }
}
