// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IDiamond} from "./interfaces/IDiamond.sol";

/// @title Which facet serves which selector, and who may change that (namespace `gristmill.storage.Diamond`).
library DiamondStorage {
    struct Route {
        address facet;
        uint32 position;
    }

    struct State {
        address owner;
        // INVARIANT: selectors[routes[s].position] == s for every routed s, and nothing else is in `selectors`.
        mapping(bytes4 selector => Route) routes;
        bytes4[] selectors;
    }

    /// @dev keccak256(abi.encode(uint256(keccak256("gristmill.storage.Diamond")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 internal constant SLOT = 0x0a0f01b9c4005ed263ae212d6d0283ac927f1c0418be65ad62b66f7da715d500;

    function state() internal pure returns (State storage $) {
        bytes32 slot = SLOT;
        assembly ("memory-safe") {
            $.slot := slot
        }
    }

    function requireOwner() internal view {
        require(msg.sender == state().owner, "Ownable: caller is not the owner");
    }

    function setOwner(address owner) internal {
        State storage $ = state();
        emit IDiamond.OwnershipTransferred($.owner, owner);
        $.owner = owner;
    }

    /// @notice Applies the cuts in order, then runs `data` in the hub's context at `init` unless that is zero.
    function cut(IDiamond.FacetCut[] memory cuts, address init, bytes memory data) internal {
        for (uint256 i = 0; i < cuts.length; ++i) {
            _cutFacet(cuts[i]);
        }
        emit IDiamond.DiamondCut(cuts, init, data);
        if (init == address(0)) return;
        _requireCode(init);
        (bool ok, bytes memory answer) = init.delegatecall(data);
        if (!ok) {
            if (answer.length == 0) revert IDiamond.InitializationFunctionReverted(init, data);
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    function _cutFacet(IDiamond.FacetCut memory one) private {
        if (one.functionSelectors.length == 0) revert IDiamond.NoSelectorsProvidedForFacetForCut(one.facetAddress);
        bool removing = one.action == IDiamond.FacetCutAction.Remove;
        if (removing) {
            if (one.facetAddress != address(0)) revert IDiamond.RemoveFacetAddressMustBeZeroAddress(one.facetAddress);
        } else {
            _requireCode(one.facetAddress);
        }
        for (uint256 i = 0; i < one.functionSelectors.length; ++i) {
            bytes4 selector = one.functionSelectors[i];
            if (removing) _remove(selector);
            else if (one.action == IDiamond.FacetCutAction.Add) _add(selector, one.facetAddress);
            else _replace(selector, one.facetAddress);
        }
    }

    function _add(bytes4 selector, address facet) private {
        State storage $ = state();
        if ($.routes[selector].facet != address(0)) {
            revert IDiamond.CannotAddFunctionToDiamondThatAlreadyExists(selector);
        }
        $.routes[selector] = Route(facet, uint32($.selectors.length));
        $.selectors.push(selector);
    }

    function _replace(bytes4 selector, address facet) private {
        Route storage route = state().routes[selector];
        if (route.facet == address(0)) revert IDiamond.CannotReplaceFunctionThatDoesNotExists(selector);
        if (route.facet == facet) {
            revert IDiamond.CannotReplaceFunctionWithTheSameFunctionFromTheSameFacet(selector);
        }
        route.facet = facet;
    }

    function _remove(bytes4 selector) private {
        State storage $ = state();
        Route memory route = $.routes[selector];
        if (route.facet == address(0)) revert IDiamond.CannotRemoveFunctionThatDoesNotExist(selector);
        bytes4 last = $.selectors[$.selectors.length - 1];
        $.selectors[route.position] = last;
        $.routes[last].position = route.position;
        $.selectors.pop();
        delete $.routes[selector];
    }

    /// @dev An account that delegates to code (EIP-7702) has none of its own: its key could delegate to other code at any time.
    function _requireCode(address target) private view {
        bytes memory code = target.code;
        bool delegated = code.length == 23 && bytes3(code) == 0xef0100;
        if (code.length == 0 || delegated) revert IDiamond.NoBytecodeAtAddress(target);
    }
}
