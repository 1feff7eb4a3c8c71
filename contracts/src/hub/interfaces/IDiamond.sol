// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title One address, many facets (EIP-2535), and the owner who may change them (ERC-173).
interface IDiamond {
    enum FacetCutAction {
        Add,
        Replace,
        Remove
    }

    struct FacetCut {
        address facetAddress;
        FacetCutAction action;
        bytes4[] functionSelectors;
    }

    struct Facet {
        address facetAddress;
        bytes4[] functionSelectors;
    }

    event DiamondCut(FacetCut[] diamondCut, address init, bytes data);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    error FunctionNotFound(bytes4 selector);
    error NoSelectorsProvidedForFacetForCut(address facet);
    error NoBytecodeAtAddress(address target);
    error RemoveFacetAddressMustBeZeroAddress(address facet);
    error CannotAddFunctionToDiamondThatAlreadyExists(bytes4 selector);
    error CannotReplaceFunctionThatDoesNotExists(bytes4 selector);
    error CannotReplaceFunctionWithTheSameFunctionFromTheSameFacet(bytes4 selector);
    error CannotRemoveFunctionThatDoesNotExist(bytes4 selector);
    error InitializationFunctionReverted(address init, bytes data);

    /// @notice Adds, replaces or removes selectors, then runs `data` at `init` in the hub's context unless `init` is
    /// zero. Owner only.
    function diamondCut(FacetCut[] calldata cuts, address init, bytes calldata data) external;

    /// @notice Every facet and the selectors it serves.
    function facets() external view returns (Facet[] memory);

    function facetFunctionSelectors(address facet) external view returns (bytes4[] memory);

    function facetAddresses() external view returns (address[] memory);

    /// @notice The facet that serves `selector`; zero if none does.
    function facetAddress(bytes4 selector) external view returns (address);

    function supportsInterface(bytes4 interfaceId) external view returns (bool);

    function owner() external view returns (address);

    /// @notice Hands the hub over at once. Owner only; the zero address is refused (see `renounceOwnership`).
    function transferOwnership(address newOwner) external;

    /// @notice Freezes the facets and the categories for good. Owner only.
    function renounceOwnership() external;
}
