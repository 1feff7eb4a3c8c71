// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title What the owner may set. Deals already made keep their terms.
interface IAdmin {
    event CreateCategory(uint256 catid, string name, string description, uint256 workClockTimeRef);

    /// @notice T is zero, or longer than 2^32 - 1 seconds.
    error InvalidTimeRef(uint256 workClockTimeRef);

    /// @notice Adds a size class; T in seconds. Categories never change. Owner only.
    function createCategory(string calldata name, string calldata description, uint256 workClockTimeRef)
        external
        returns (uint256 catid);

    /// @notice Who authorises contributions that come with an enclave challenge; zero for the pool owner. Owner only.
    function setTeeBroker(address broker) external;
}
