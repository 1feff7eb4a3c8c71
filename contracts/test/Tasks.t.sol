// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {BadCallback, ContractWallet, GoodCallback} from "./Mocks.sol";
import {ITasks} from "../src/hub/interfaces/ITasks.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";

/// @notice The life of a task step by step: who may do what, when, and what each refusal says.
contract TasksTest is HubTest {
    event TaskInitialize(bytes32 indexed taskid, address indexed workerpool);
    event TaskContribute(bytes32 indexed taskid, address indexed worker, bytes32 hash);
    event TaskConsensus(bytes32 indexed taskid, bytes32 consensus);
    event TaskReveal(bytes32 indexed taskid, address indexed worker, bytes32 digest);
    event TaskReopen(bytes32 indexed taskid);
    event TaskFinalize(bytes32 indexed taskid, bytes results);
    event TaskClaimed(bytes32 indexed taskid);

    // ---- initialize ----

    function test_initialize() public {
        Terms memory t = terms();
        t.volume = 2;
        bytes32 dealid = makeDeal(t);
        bytes32 expected = keccak256(abi.encodePacked(dealid, uint256(1)));
        vm.warp(START + 50);
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskInitialize(expected, workerpool);
        vm.prank(outsider);
        assertEq(hub.initialize(dealid, 1), expected, "task id");
        Core.Task memory task = hub.viewTask(expected);
        assertEq(uint256(task.status), 1, "status");
        assertEq(task.dealid, dealid, "deal");
        assertEq(task.idx, 1, "index");
        assertEq(task.timeref, T, "T");
        assertEq(task.contributionDeadline, START + 7 * T, "contribution deadline");
        assertEq(task.revealDeadline, 0, "reveal deadline");
        assertEq(task.finalDeadline, START + 10 * T, "final deadline");
        assertEq(task.contributors.length, 0, "contributors");
        (uint256 group, uint256 total) = hub.viewConsensus(expected, 0);
        assertEq(group, 0, "group");
        assertEq(total, 1, "total");
    }

    function test_initialize_refusals() public {
        bytes32 dealid = makeDeal(terms());
        vm.expectRevert(abi.encodeWithSelector(ITasks.IndexOutOfDeal.selector, dealid, 1));
        hub.initialize(dealid, 1);
        vm.expectRevert(abi.encodeWithSelector(ITasks.IndexOutOfDeal.selector, bytes32(uint256(7)), 0));
        hub.initialize(bytes32(uint256(7)), 0);
        bytes32 taskid = hub.initialize(dealid, 0);
        expectStatus(taskid, 1);
        hub.initialize(dealid, 0);
    }

    function test_initializeArray() public {
        Terms memory t = terms();
        t.volume = 2;
        bytes32 dealid = makeDeal(t);
        bytes32[] memory dealids = new bytes32[](2);
        uint256[] memory indexes = new uint256[](2);
        (dealids[0], dealids[1], indexes[1]) = (dealid, dealid, 1);
        assertTrue(hub.initializeArray(dealids, indexes), "answer");
        assertEq(status(keccak256(abi.encodePacked(dealid, uint256(1)))), 1, "second");
        vm.expectRevert(abi.encodeWithSelector(ITasks.ArrayLengthMismatch.selector));
        hub.initializeArray(dealids, new uint256[](1));
        vm.expectRevert(abi.encodeWithSelector(ITasks.ArrayLengthMismatch.selector));
        hub.initializeAndClaimArray(dealids, new uint256[](1));
    }

    function test_initializeAndClaimArray() public {
        Terms memory t = terms();
        t.volume = 2;
        bytes32 dealid = makeDeal(t);
        bytes32[] memory dealids = new bytes32[](2);
        uint256[] memory indexes = new uint256[](2);
        (dealids[0], dealids[1], indexes[1]) = (dealid, dealid, 1);
        vm.warp(START + 10 * T);
        assertTrue(hub.initializeAndClaimArray(dealids, indexes), "answer");
        assertEq(lockedOf(requester), 0, "refunded");
        assertEq(lockedOf(KITTY), POOL_STAKE * 2, "kitty");
        checkBooks();
    }

    // ---- contribute ----

    function test_contribute() public {
        bytes32 taskid = makeTask(5);
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskContribute(taskid, worker(0), resultHash(taskid, GOOD));
        contribute(0, taskid, GOOD);
        Core.Contribution memory vote = hub.viewContribution(taskid, worker(0));
        assertEq(uint256(vote.status), 1, "status");
        assertEq(vote.resultHash, resultHash(taskid, GOOD), "hash");
        assertEq(vote.resultSeal, resultSeal(worker(0), taskid, GOOD), "seal");
        assertEq(vote.enclaveChallenge, address(0), "challenge");
        assertEq(vote.weight, 1, "log2 of 2");
        assertEq(hub.viewWeight(taskid, worker(0)), 2, "exact weight");
        assertEq(lockedOf(worker(0)), WORKER_STAKE, "stake locked");
        assertEq(
            answerTo(abi.encodeCall(hub.viewContributionABILegacy, (taskid, worker(0)))),
            abi.encode(vote.status, vote.resultHash, vote.resultSeal, vote.enclaveChallenge),
            "legacy"
        );
        checkBooks();
    }

    function test_contribute_refusals() public {
        bytes32 taskid = makeTask(5);
        bytes memory permit = authorization(worker(0), taskid);

        vm.expectRevert(abi.encodeWithSelector(ITasks.InvalidAuthorization.selector, taskid, worker(1)));
        vm.prank(worker(1)); // somebody else's permit
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        expectError("invalid-signature-format");
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", "");
        bytes memory other = authorization(worker(0), bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(ITasks.InvalidAuthorization.selector, taskid, worker(0)));
        vm.prank(worker(0)); // a permit of another task
        hub.contribute(taskid, GOOD, GOOD, address(0), "", other);

        contribute(0, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.AlreadyContributed.selector, taskid, worker(0)));
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);

        permit = authorization(worker(1), taskid);
        vm.prank(worker(1));
        hub.withdraw(FUNDS - WORKER_STAKE + 1);
        expectError("IexecEscrow: Transfer amount exceeds balance");
        vm.prank(worker(1));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);

        permit = authorization(worker(2), taskid);
        vm.warp(START + 7 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DeadlinePassed.selector, taskid, START + 7 * T));
        vm.prank(worker(2));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
        expectStatus(bytes32(0), 0);
        vm.prank(worker(2));
        hub.contribute(bytes32(0), GOOD, GOOD, address(0), "", permit);
    }

    function test_contribute_untilTheLastSecond() public {
        bytes32 taskid = makeTask(5);
        vm.warp(START + 7 * T - 1);
        contribute(0, taskid, GOOD);
    }

    function test_contribute_notAfterConsensus() public {
        bytes32 taskid = makeTask(1);
        contribute(0, taskid, GOOD);
        bytes memory permit = authorization(worker(1), taskid);
        expectStatus(taskid, 2);
        vm.prank(worker(1));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);
    }

    function test_contribute_authorisedByAContractPool() public {
        ContractWallet wallet = new ContractWallet(pool);
        vm.prank(pool);
        workerpools.transferFrom(pool, address(wallet), uint256(uint160(workerpool)));
        hub.depositFor(POOL_STAKE, address(wallet));
        people.push(address(wallet));
        bytes32 taskid = makeTask(1);
        contribute(0, taskid, GOOD);
        reveal(0, taskid, GOOD);
        wallet.act(address(hub), abi.encodeCall(hub.finalize, (taskid, "r", "")));
        assertEq(status(taskid), 3, "completed");
        assertEq(hub.viewScore(worker(0)), 0, "a lone contributor earns no score");
        checkBooks();
    }

    // ---- enclaves ----

    function test_enclave() public {
        Terms memory t = terms();
        t.tag = bytes32(uint256(1));
        bytes32 taskid = makeTask(t);
        bytes memory permit = authorization(worker(0), taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.EnclaveChallengeMissing.selector, taskid));
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, address(0), "", permit);

        address enclave = vm.addr(0xE1);
        bytes32 hash = resultHash(taskid, GOOD);
        bytes32 seal = resultSeal(worker(0), taskid, GOOD);
        permit = messageSignature(POOL_KEY, keccak256(abi.encodePacked(worker(0), taskid, enclave)));
        bytes memory wrong = messageSignature(0xE2, keccak256(abi.encodePacked(hash, seal)));
        vm.expectRevert(abi.encodeWithSelector(ITasks.InvalidEnclaveSignature.selector, taskid, enclave));
        vm.prank(worker(0));
        hub.contribute(taskid, hash, seal, enclave, wrong, permit);

        bytes memory vouched = messageSignature(0xE1, keccak256(abi.encodePacked(hash, seal)));
        vm.prank(worker(0));
        hub.contribute(taskid, hash, seal, enclave, vouched, permit);
        assertEq(hub.viewContribution(taskid, worker(0)).enclaveChallenge, enclave, "recorded");
    }

    function test_enclave_broker() public {
        hub.setTeeBroker(vm.addr(0xB0));
        assertEq(hub.teebroker(), vm.addr(0xB0), "broker");
        bytes32 taskid = makeTask(5);
        address enclave = vm.addr(0xE1);
        bytes32 message = keccak256(abi.encodePacked(worker(0), taskid, enclave));
        bytes memory vouched = messageSignature(0xE1, keccak256(abi.encodePacked(GOOD, GOOD)));
        bytes memory permit = messageSignature(POOL_KEY, message);
        vm.expectRevert(abi.encodeWithSelector(ITasks.InvalidAuthorization.selector, taskid, worker(0)));
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, enclave, vouched, permit);
        permit = messageSignature(0xB0, message);
        vm.prank(worker(0));
        hub.contribute(taskid, GOOD, GOOD, enclave, vouched, permit);
        // Without a challenge the pool still decides.
        contribute(1, taskid, GOOD);
    }

    // ---- consensus, reveal ----

    function test_consensus_trust5NeedsThreeNewcomers() public {
        bytes32 taskid = makeTask(5);
        contributeMany(0, 2, taskid, GOOD);
        assertEq(status(taskid), 1, "two do not");
        vm.warp(START + 10);
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskConsensus(taskid, resultHash(taskid, GOOD));
        contribute(2, taskid, GOOD);
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(uint256(task.status), 2, "three do");
        assertEq(task.consensusValue, resultHash(taskid, GOOD), "hash");
        assertEq(task.revealDeadline, START + 10 + 2 * T, "window");
        assertEq(task.winnerCounter, 3, "winners");
        assertEq(task.revealCounter, 0, "revealed");
        (uint256 group, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, GOOD));
        assertEq(group, 8, "group");
        assertEq(total, 9, "total");
    }

    function test_consensus_oneLiarNeedsFourHonest() public {
        bytes32 taskid = makeTask(5);
        contribute(0, taskid, BAD);
        contributeMany(1, 3, taskid, GOOD);
        assertEq(status(taskid), 1, "three do not");
        contribute(4, taskid, GOOD);
        assertEq(status(taskid), 2, "four do");
    }

    function test_reveal() public {
        bytes32 taskid = revealing();
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskReveal(taskid, worker(0), GOOD);
        reveal(0, taskid, GOOD);
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(task.revealCounter, 1, "counted");
        assertEq(task.resultDigest, GOOD, "digest");
        assertEq(voteStatus(taskid, 0), 2, "proved");
    }

    function test_reveal_refusals() public {
        bytes32 taskid = makeTask(5);
        expectStatus(taskid, 1);
        reveal(0, taskid, GOOD);
        contribute(3, taskid, BAD);
        // A copy of the public hash under a seal of one's own making.
        contributeRaw(4, taskid, resultHash(taskid, GOOD), keccak256("bogus"));
        contributeMany(0, 3, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DigestMismatch.selector, taskid, BAD));
        reveal(0, taskid, BAD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAHolder.selector, taskid, worker(3)));
        reveal(3, taskid, BAD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DigestMismatch.selector, taskid, GOOD));
        reveal(4, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAHolder.selector, taskid, outsider));
        vm.prank(outsider);
        hub.reveal(taskid, GOOD);
        reveal(0, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAHolder.selector, taskid, worker(0)));
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T - 1);
        reveal(1, taskid, GOOD);
        vm.warp(START + 2 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DeadlinePassed.selector, taskid, START + 2 * T));
        reveal(2, taskid, GOOD);
    }

    // ---- finalize ----

    function test_finalize() public {
        bytes32 taskid = revealing();
        revealMany(0, 3, taskid, GOOD);
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskFinalize(taskid, "results");
        finalize(taskid);
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(uint256(task.status), 3, "completed");
        assertEq(task.results, bytes("results"), "results");
        assertEq(task.resultsTimestamp, 0, "timestamp");
        assertEq(hub.resultFor(taskid), bytes(""), "no callback bytes");
        assertEq(hub.viewScore(worker(0)), 1, "score");
        bytes memory head = abi.encode(task.status, task.dealid, task.idx, task.timeref, task.contributionDeadline);
        bytes memory answer = answerTo(abi.encodeCall(hub.viewTaskABILegacy, (taskid)));
        for (uint256 i = 0; i < head.length; ++i) {
            assertTrue(answer[i] == head[i], "legacy view");
        }
    }

    function test_finalize_refusals() public {
        bytes32 taskid = makeTask(5);
        expectStatus(taskid, 1);
        finalize(taskid);
        contributeMany(0, 3, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NothingRevealed.selector, taskid));
        finalize(taskid);
        reveal(0, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 2 * T));
        finalize(taskid);
        reveal(1, taskid, GOOD);
        reveal(2, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotAllowed.selector, taskid, outsider));
        vm.prank(outsider);
        hub.finalize(taskid, "", "");
        vm.expectRevert(abi.encodeWithSelector(ITasks.CallbackMismatch.selector, taskid));
        vm.prank(pool);
        hub.finalize(taskid, "", "bytes nobody asked for");
        expectError("task-pending");
        hub.resultFor(taskid);
        vm.warp(START + 10 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DeadlinePassed.selector, taskid, START + 10 * T));
        finalize(taskid);
    }

    function test_finalize_onlyOnce() public {
        bytes32 taskid = completed();
        expectStatus(taskid, 3);
        finalize(taskid);
        vm.warp(START + 10 * T);
        expectStatus(taskid, 3);
        hub.claim(taskid);
    }

    // ---- solo ----

    function test_contributeAndFinalize() public {
        bytes32 taskid = makeTask(1);
        bytes memory permit = authorization(worker(0), taskid);
        vm.warp(START + 5);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "results", "", address(0), "", permit);
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(uint256(task.status), 3, "completed");
        assertEq(task.consensusValue, resultHash(taskid, GOOD), "consensus");
        assertEq(task.revealDeadline, START + 5 + 2 * T, "reveal deadline");
        assertEq(task.revealCounter, 1, "revealed");
        assertEq(task.winnerCounter, 1, "winners");
        assertEq(task.contributors[0], worker(0), "contributor");
        assertEq(task.resultDigest, GOOD, "digest");
        assertEq(voteStatus(taskid, 0), 2, "proved");
        assertEq(hub.viewScore(worker(0)), 0, "a solo task builds no score");
        assertEq(lockedOf(worker(0)), 0, "no stake");
        Core.Contribution memory vote = hub.viewContribution(taskid, worker(0));
        assertEq(vote.resultHash, resultHash(taskid, GOOD), "hash of the vote");
        assertEq(vote.resultSeal, resultSeal(worker(0), taskid, GOOD), "seal of the vote");
        assertEq(vote.enclaveChallenge, address(0), "no enclave");
        assertEq(vote.weight, 0, "nobody weighed it");
        assertEq(hub.viewWeight(taskid, worker(0)), 0, "nobody weighed it");
        (uint256 group, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, GOOD));
        assertEq(group, 0, "no group");
        assertEq(total, 1, "no groups");
        assertEq(hub.viewContribution(taskid, worker(1)).resultHash, bytes32(0), "nobody else voted");
        assertEq(voteStatus(taskid, 1), 0, "nobody else voted");
        checkBooks();
    }

    function test_contributeAndFinalize_keepsTheEnclave() public {
        Terms memory t = terms();
        (t.trust, t.tag) = (1, bytes32(uint256(1)));
        bytes32 taskid = makeTask(t);
        address enclave = vm.addr(0xE1);
        bytes memory permit = messageSignature(POOL_KEY, keccak256(abi.encodePacked(worker(0), taskid, enclave)));
        bytes memory vouched = vouch(taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", enclave, vouched, permit);
        assertEq(hub.viewContribution(taskid, worker(0)).enclaveChallenge, enclave, "recorded");
        assertEq(voteStatus(taskid, 0), 2, "proved");
        assertEq(hub.viewTask(taskid).results, "", "no hint");
    }

    function vouch(bytes32 taskid) private view returns (bytes memory) {
        bytes32 seal = resultSeal(worker(0), taskid, GOOD);
        return messageSignature(0xE1, keccak256(abi.encodePacked(resultHash(taskid, GOOD), seal)));
    }

    // ---- the hint of where the result is ----

    /// @notice The usual hint is kept as one word, and whoever asks sees the bytes that were sent.
    function testFuzz_results_usualHint(bytes32 content, bool alone) public {
        bytes memory hint = usualHint(content);
        if (alone) {
            assertEq(kept(hint), hint, "as it was sent");
            return;
        }
        bytes32 taskid = makeTask(1);
        contribute(0, taskid, GOOD);
        reveal(0, taskid, GOOD);
        vm.prank(pool);
        hub.finalize(taskid, hint, "");
        assertEq(hub.viewTask(taskid).results, hint, "as it was sent");
    }

    /// @notice Whatever else is sent, however much it looks like the usual hint, comes back as it was.
    function testFuzz_results_anyOther(bytes32 content, uint8 place, bytes1 other) public {
        bytes memory hint = usualHint(content);
        hint[place % hint.length] = other;
        assertEq(kept(hint), hint, "one byte changed");
    }

    function test_results_others() public {
        bytes memory hint = usualHint(keccak256("content"));
        assertEq(kept(""), "", "none");
        assertEq(kept("r"), "r", "short");
        assertEq(kept(bytes.concat(hint, " ")), bytes.concat(hint, " "), "longer");
        assertEq(kept(usualHint(0)), usualHint(0), "the content id that stands for none");
        bytes memory upper = bytes(hint);
        for (uint256 i = 45; i < 109; ++i) {
            if (upper[i] > "9") upper[i] = bytes1(uint8(upper[i]) - 32);
        }
        assertEq(kept(upper), upper, "upper case");
        bytes memory long = new bytes(4096);
        assertEq(kept(long), long, "long");
    }

    function usualHint(bytes32 content) private pure returns (bytes memory) {
        bytes memory digits = bytes(vm.toString(content));
        bytes memory hint = '{"storage":"gristmill","location":"/v1/blobs/';
        for (uint256 i = 2; i < 66; ++i) {
            hint = bytes.concat(hint, digits[i]);
        }
        return bytes.concat(hint, '"}');
    }

    /// @dev What the hub says of a task that was completed with this hint.
    function kept(bytes memory hint) private returns (bytes memory) {
        bytes32 taskid = makeTask(1);
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, hint, "", address(0), "", permit);
        return hub.viewTask(taskid).results;
    }

    function test_contributeAndFinalize_refusals() public {
        bytes32 taskid = makeTask(2);
        bytes memory permit = authorization(worker(0), taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TrustNotOne.selector, taskid, 2));
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        contribute(1, taskid, GOOD); // consensus at once: no longer ACTIVE
        expectStatus(taskid, 2);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);

        taskid = makeTask(1);
        vm.expectRevert(abi.encodeWithSelector(ITasks.InvalidAuthorization.selector, taskid, worker(0)));
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        permit = authorization(worker(0), taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.CallbackMismatch.selector, taskid));
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "x", address(0), "", permit);
        contribute(1, taskid, GOOD);
        vm.warp(START + 2 * T);
        hub.reopen(taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.NotFirst.selector, taskid));
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
        vm.warp(START + 7 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DeadlinePassed.selector, taskid, START + 7 * T));
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, "", "", address(0), "", permit);
    }

    // ---- callback ----

    function test_callback_getsThePreimage() public {
        GoodCallback target = new GoodCallback();
        bytes memory answer = abi.encode(bytes32("root"), bytes32("witness"), bytes("42"));
        bytes32 taskid = completeWithCallback(address(target), answer);
        assertEq(target.id(), taskid, "id");
        assertEq(target.result(), answer, "bytes");
        assertTrue(target.gasGiven() > 195_000 && target.gasGiven() <= 200_000, "gas");
        assertEq(hub.resultFor(taskid), answer, "resultFor");
    }

    function test_callback_mustBeThePreimage() public {
        bytes memory answer = "42";
        Terms memory t = terms();
        t.trust = 1;
        t.callback = address(new GoodCallback());
        bytes32 taskid = makeTask(t);
        contribute(0, taskid, keccak256(answer));
        reveal(0, taskid, keccak256(answer));
        vm.expectRevert(abi.encodeWithSelector(ITasks.CallbackMismatch.selector, taskid));
        finalize(taskid);
        vm.expectRevert(abi.encodeWithSelector(ITasks.CallbackMismatch.selector, taskid));
        vm.prank(pool);
        hub.finalize(taskid, "", "43");
        vm.prank(pool);
        hub.finalize(taskid, "", answer);
    }

    /// @notice A callback that reverts, burns its gas, returns a bomb, or has no code must not hold up payment.
    function test_attack_callbackBlocksPayment() public {
        for (uint256 i = 0; i < 3; ++i) {
            BadCallback target = new BadCallback(BadCallback.Way(i), hub);
            openBooks();
            completeWithCallback(address(target), "42");
            assertEq(gained(appOwner), int256(APP_PRICE), "paid");
            checkBooks();
        }
        completeWithCallback(address(0xD00D), "42");
    }

    function test_attack_callbackReenters() public {
        BadCallback target = new BadCallback(BadCallback.Way.Reenter, hub);
        completeWithCallback(address(target), "42");
        assertEq(target.reentered(), 0, "no door opened");
        checkBooks();
    }

    /// @notice A finalizer that keeps the gas short must not be able to starve the callback and still be paid.
    function test_attack_callbackStarved() public {
        GoodCallback target = new GoodCallback();
        Terms memory t = terms();
        t.trust = 1;
        t.callback = address(target);
        bytes32 taskid = makeTask(t);
        contribute(0, taskid, keccak256("42"));
        reveal(0, taskid, keccak256("42"));
        uint256 starved = 0;
        for (uint256 gasLimit = 200_000; gasLimit <= 700_000; gasLimit += 20_000) {
            vm.prank(pool);
            (bool ok,) = address(hub).call{gas: gasLimit}(abi.encodeCall(hub.finalize, (taskid, "r", bytes("42"))));
            if (!ok) {
                ++starved;
                continue;
            }
            assertTrue(target.gasGiven() > 195_000, "all of its gas");
            assertTrue(starved > 3, "low limits failed");
            return;
        }
        assertTrue(false, "never finalized");
    }

    // ---- reopen, claim ----

    function test_reopen() public {
        bytes32 taskid = revealing();
        vm.warp(START + 2 * T);
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskReopen(taskid);
        vm.prank(outsider);
        hub.reopen(taskid);
        Core.Task memory task = hub.viewTask(taskid);
        assertEq(uint256(task.status), 1, "active");
        assertEq(task.consensusValue, bytes32(0), "no consensus");
        assertEq(task.revealDeadline, 0, "no window");
        assertEq(task.winnerCounter, 0, "no winners");
        assertEq(task.contributionDeadline, START + 7 * T, "same deadline");
        (uint256 group, uint256 total) = hub.viewConsensus(taskid, resultHash(taskid, GOOD));
        assertEq(group, 0, "group");
        assertEq(total, 1, "total");
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(voteStatus(taskid, i), 3, "rejected");
        }
    }

    function test_reopen_refusals() public {
        bytes32 taskid = makeTask(5);
        expectStatus(taskid, 1);
        hub.reopen(taskid);
        contributeMany(0, 3, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 2 * T));
        hub.reopen(taskid);
        reveal(0, taskid, GOOD);
        vm.warp(START + 2 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.AlreadyRevealed.selector, taskid));
        hub.reopen(taskid);
        vm.warp(START + 10 * T);
        vm.expectRevert(abi.encodeWithSelector(ITasks.DeadlinePassed.selector, taskid, START + 10 * T));
        hub.reopen(taskid);
    }

    function test_claim() public {
        bytes32 taskid = makeTask(5);
        contributeMany(0, 2, taskid, GOOD);
        vm.expectRevert(abi.encodeWithSelector(ITasks.TooEarly.selector, taskid, START + 10 * T));
        hub.claim(taskid);
        vm.warp(START + 10 * T);
        vm.expectEmit(true, true, true, true, address(hub));
        emit TaskClaimed(taskid);
        vm.prank(outsider);
        hub.claim(taskid);
        assertEq(status(taskid), 4, "failed");
        expectStatus(taskid, 4);
        hub.claim(taskid);
        expectStatus(bytes32(0), 0);
        hub.claim(bytes32(0));
    }

    function test_claimArray() public {
        bytes32[] memory taskids = new bytes32[](2);
        (taskids[0], taskids[1]) = (makeTask(5), makeTask(5));
        vm.warp(START + 10 * T);
        assertTrue(hub.claimArray(taskids), "answer");
        assertEq(status(taskids[1]), 4, "failed");
        checkBooks();
    }

    function revealing() private returns (bytes32 taskid) {
        taskid = makeTask(5);
        contributeMany(0, 3, taskid, GOOD);
    }

    function completed() private returns (bytes32 taskid) {
        taskid = revealing();
        revealMany(0, 3, taskid, GOOD);
        finalize(taskid);
    }

    function completeWithCallback(address target, bytes memory answer) private returns (bytes32 taskid) {
        Terms memory t = terms();
        t.trust = 1;
        t.callback = target;
        taskid = makeTask(t);
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, keccak256(answer), "", answer, address(0), "", permit);
    }

    function expectStatus(bytes32 taskid, uint256 found) private {
        vm.expectRevert(abi.encodeWithSelector(ITasks.WrongTaskStatus.selector, taskid, Core.TaskStatusEnum(found)));
    }
}
