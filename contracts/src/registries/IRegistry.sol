// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC721Enumerable} from "@openzeppelin/contracts/token/ERC721/extensions/IERC721Enumerable.sol";

/// @title A register of assets: each is a contract, and its token's id is its address.
interface IRegistry is IERC721Enumerable {
    /// @notice The same owner already created an asset of the same description.
    error AlreadyCreated(address entry);

    /// @notice Whether this registry created `entry`.
    function isRegistered(address entry) external view returns (bool);

    /// @notice The code all assets of this registry share.
    function master() external view returns (address);
}
