// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {Consensus} from "../src/hub/lib/Consensus.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";

/// @notice The arithmetic of the rule, alone and in the hub, against a second formulation of it.
contract ConsensusTest is HubTest {
    function test_weights() public pure {
        uint256[6] memory scores = [uint256(0), 9, 11, 12, 300, 3_000_000];
        uint256[6] memory exact = [uint256(2), 2, 2, 3, 99, 999_999];
        uint256[6] memory logs = [uint256(1), 1, 1, 1, 6, 19];
        for (uint256 i = 0; i < scores.length; ++i) {
            assertEq(Consensus.voteWeight(scores[i]), exact[i], "weight");
            assertEq(Consensus.rewardWeight(exact[i]), logs[i], "log");
        }
    }

    /// @notice k newcomers who agree carry trust t exactly when 2^k > t - 1.
    function test_newcomers() public pure {
        for (uint256 k = 1; k <= 32; ++k) {
            uint256 group = 2 ** k;
            assertTrue(Consensus.reached(group, 1 + group, group), "trust 2^k");
            assertTrue(!Consensus.reached(group, 1 + group, group + 1), "trust 2^k + 1");
        }
    }

    function test_trustOne_anyVoteCarries() public pure {
        assertTrue(Consensus.reached(1, 1000, 1), "a vote");
        assertTrue(!Consensus.reached(0, 1000, 1), "no vote");
    }

    /// @notice group / total > 1 - 1 / t, seen from the other side: t times all that is not the group is less than the total.
    function testFuzz_reached_otherForm(uint128 group, uint64 others, uint64 trust) public pure {
        vm.assume(trust > 0);
        uint256 total = 1 + uint256(group) + others;
        assertEq(
            Consensus.reached(group, total, trust) ? 1 : 0,
            uint256(trust) * (total - group) < total ? 1 : 0,
            "two forms of one rule"
        );
    }

    /// @notice Once carried, a hash stays carried when more agree, and taking votes away never helps it.
    function testFuzz_reached_isMonotone(uint64 group, uint64 others, uint32 trust, uint16 score) public pure {
        vm.assume(trust > 0);
        uint256 weight = Consensus.voteWeight(score);
        uint256 more = Consensus.join(group, weight);
        if (Consensus.reached(group, 1 + uint256(others) + group, trust)) {
            assertTrue(Consensus.reached(more, 1 + uint256(others) + more, trust), "more agree");
        }
        if (Consensus.reached(more, 1 + uint256(others) + more + 7, trust)) {
            assertTrue(Consensus.reached(more, 1 + uint256(others) + more, trust), "fewer disagree");
        }
    }

    /// @notice The hub's groups, total and status after each vote equal those of the written-out rule, for any scores,
    /// any order of three hashes and any trust.
    function testFuzz_hubFollowsTheRule(uint16[10] memory scores, uint8[10] memory choices, uint32 trust) public {
        bytes32 taskid = makeTask(bound(trust, 1, 1_000_000));
        uint256[3] memory groups;
        for (uint256 i = 0; i < scores.length; ++i) {
            setScore(worker(i), scores[i]);
            uint256 choice = choices[i] % 3;
            contribute(i, taskid, digest(choice));
            uint256 weight = scores[i] < 12 ? 2 : uint256(scores[i]) / 3 - 1;
            groups[choice] = groups[choice] == 0 ? weight : groups[choice] * weight;
            uint256 total = 1 + groups[0] + groups[1] + groups[2];
            (uint256 group, uint256 found) = hub.viewConsensus(taskid, resultHash(taskid, digest(choice)));
            assertEq(group, groups[choice], "group");
            assertEq(found, total, "total");
            uint256 effective = hub.viewDeal(hub.viewTask(taskid).dealid).trust;
            if (groups[choice] * effective > total * (effective - 1)) {
                assertEq(status(taskid), 2, "carried");
                return;
            }
            assertEq(status(taskid), 1, "not yet");
        }
    }

    /// @notice finalize completes exactly when the product of the proved weights carries what is left of the total.
    function testFuzz_recomputation(uint16[6] memory scores, uint8 revealed, uint16 trust) public {
        bytes32 taskid = makeTask(bound(trust, 2, 5000));
        uint256 count = 0;
        contribute(9, taskid, BAD);
        for (; count < scores.length && status(taskid) == 1; ++count) {
            setScore(worker(count), scores[count]);
            contribute(count, taskid, GOOD);
        }
        if (status(taskid) != 2 || hub.viewTask(taskid).consensusValue != resultHash(taskid, GOOD)) return;
        uint256 product = 0;
        for (uint256 i = 0; i < count; ++i) {
            if ((revealed >> i) & 1 == 0) continue;
            reveal(i, taskid, GOOD);
            uint256 weight = scores[i] < 12 ? 2 : uint256(scores[i]) / 3 - 1;
            product = product == 0 ? weight : product * weight;
        }
        if (product == 0) return;
        vm.warp(START + 2 * T);
        finalize(taskid);
        uint256 effective = hub.viewDeal(hub.viewTask(taskid).dealid).trust;
        // 1 + the liar's 2 + the proved.
        bool carried = product * effective > (3 + product) * (effective - 1);
        assertEq(status(taskid), carried ? 3 : 1, "completed or reopened");
        checkBooks();
    }

    function digest(uint256 choice) private pure returns (bytes32) {
        return keccak256(abi.encode("digest", choice));
    }
}
