// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The hub's fixed numbers.
/// @notice Deadlines are multiples of the category's T, counted from the start of the deal (the reveal window from the
/// moment of consensus). Ratios are percentages.
library HubConstants {
    uint256 internal constant CONTRIBUTION_DEADLINE_RATIO = 7;
    uint256 internal constant REVEAL_DEADLINE_RATIO = 2;
    uint256 internal constant FINAL_DEADLINE_RATIO = 10;
    /// @notice Share of its price that a pool stakes on each task.
    uint256 internal constant WORKERPOOL_STAKE_RATIO = 30;
    /// @notice Share of the kitty that a completed task may draw.
    uint256 internal constant KITTY_RATIO = 10;
    /// @notice Least draw, in nGRIST, if the kitty holds it and the price of the task allows it.
    uint256 internal constant KITTY_MIN = 1e9;
    /// @notice Account whose locked balance is the kitty. Nobody moves it but the rules.
    address internal constant KITTY = 0x99c2268479b93fDe36232351229815DF80837e23;
    /// @notice Gas handed to a callback, no more and no less.
    uint256 internal constant CALLBACK_GAS = 200_000;
    /// @notice Contributors of a task, so that finalize and claim always fit a block.
    uint256 internal constant MAX_CONTRIBUTORS = 32;
    /// @notice Longest T of a category, in seconds (136 years): keeps every deadline inside 40 bits.
    uint256 internal constant MAX_TIMEREF = type(uint32).max;
    uint8 internal constant DECIMALS = 9;
    string internal constant NAME = "Staked GRIST";
    string internal constant SYMBOL = "SGRIST";
}
