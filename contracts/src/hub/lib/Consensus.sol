// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title The arithmetic of Proof-of-Contribution.
/// @notice A vote of a worker with score s weighs w = max(s / 3, 3) - 1, so a newcomer weighs 2. The votes for one hash
/// multiply (a group), the total is 1 plus the sum of the groups, and a hash is credible at trust t when
/// group / total > 1 - 1 / t. Everything is in integers. An overflow reverts the vote that causes it; it cannot happen
/// later, as each later product is bounded by one that the last vote already computed.
library Consensus {
    /// @notice Exact weight of the vote of a worker with this score; 2 at least.
    function voteWeight(uint256 score) internal pure returns (uint256) {
        return Math.max(score / 3, 3) - 1;
    }

    /// @notice Share of a vote in the workers' reward; 1 at least.
    function rewardWeight(uint256 weight) internal pure returns (uint256) {
        return Math.log2(weight);
    }

    /// @notice The group after one more vote; an empty group is 0.
    function join(uint256 group, uint256 weight) internal pure returns (uint256) {
        return Math.max(group, 1) * weight;
    }

    /// @notice Whether `group` is credible against `total` (1 plus the sum of all groups, this one included).
    function reached(uint256 group, uint256 total, uint256 trust) internal pure returns (bool) {
        return group * trust > total * (trust - 1);
    }

    /// @notice Score after a rejected contribution.
    function punished(uint256 score) internal pure returns (uint256) {
        return (score * 2) / 3;
    }
}
