// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {DiamondStorage} from "../DiamondStorage.sol";
import {IDiamond} from "../interfaces/IDiamond.sol";

/// @title Facets, selectors and ownership.
contract DiamondFacet is IDiamond {
    /// @dev Interface ids that tools ask for: EIP-2535's cut and loupe, and ERC-173.
    bytes4 private constant DIAMOND_CUT_ID = 0x1f931c1c;
    bytes4 private constant DIAMOND_LOUPE_ID = 0x48e2b093;
    bytes4 private constant OWNERSHIP_ID = 0x7f5828d0;

    function diamondCut(FacetCut[] calldata cuts, address init, bytes calldata data) external {
        DiamondStorage.requireOwner();
        DiamondStorage.cut(cuts, init, data);
    }

    function facets() external view returns (Facet[] memory list) {
        address[] memory addresses = facetAddresses();
        list = new Facet[](addresses.length);
        for (uint256 i = 0; i < addresses.length; ++i) {
            list[i] = Facet(addresses[i], facetFunctionSelectors(addresses[i]));
        }
    }

    function facetFunctionSelectors(address facet) public view returns (bytes4[] memory list) {
        DiamondStorage.State storage $ = DiamondStorage.state();
        bytes4[] memory all = $.selectors;
        list = new bytes4[](all.length);
        uint256 count = 0;
        for (uint256 i = 0; i < all.length; ++i) {
            if ($.routes[all[i]].facet == facet) list[count++] = all[i];
        }
        assembly ("memory-safe") {
            mstore(list, count)
        }
    }

    function facetAddresses() public view returns (address[] memory list) {
        DiamondStorage.State storage $ = DiamondStorage.state();
        bytes4[] memory all = $.selectors;
        list = new address[](all.length);
        uint256 count = 0;
        for (uint256 i = 0; i < all.length; ++i) {
            address facet = $.routes[all[i]].facet;
            uint256 seen = 0;
            while (seen < count && list[seen] != facet) ++seen;
            if (seen == count) list[count++] = facet;
        }
        assembly ("memory-safe") {
            mstore(list, count)
        }
    }

    function facetAddress(bytes4 selector) external view returns (address) {
        return DiamondStorage.state().routes[selector].facet;
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId || interfaceId == DIAMOND_CUT_ID
            || interfaceId == DIAMOND_LOUPE_ID || interfaceId == OWNERSHIP_ID;
    }

    function owner() external view returns (address) {
        return DiamondStorage.state().owner;
    }

    function transferOwnership(address newOwner) external {
        DiamondStorage.requireOwner();
        require(newOwner != address(0), "Ownable: new owner is the zero address");
        DiamondStorage.setOwner(newOwner);
    }

    function renounceOwnership() external {
        DiamondStorage.requireOwner();
        DiamondStorage.setOwner(address(0));
    }
}
