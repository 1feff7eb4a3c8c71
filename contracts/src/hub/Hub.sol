// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IRegistry} from "../registries/IRegistry.sol";
import {IDiamond} from "./interfaces/IDiamond.sol";
import {DiamondStorage} from "./DiamondStorage.sol";
import {HubStorage} from "./HubStorage.sol";
import {Categories} from "./lib/Categories.sol";
import {IexecLibCore_v5} from "./lib/IexecLibCore_v5.sol";

/// @title The hub: one address, its facets, and its money.
/// @notice Each call goes to the facet that serves its selector and runs on the hub's own storage.
contract Hub {
    /// @notice What is fixed for good when the hub is deployed.
    struct Settings {
        address token;
        address appRegistry;
        address datasetRegistry;
        address workerpoolRegistry;
        bool simulatedEnclave;
        IexecLibCore_v5.Category[] categories;
    }

    constructor(address owner, IDiamond.FacetCut[] memory cuts, Settings memory settings) {
        HubStorage.State storage $ = HubStorage.state();
        $.token = IERC20(settings.token);
        $.appRegistry = IRegistry(settings.appRegistry);
        $.datasetRegistry = IRegistry(settings.datasetRegistry);
        $.workerpoolRegistry = IRegistry(settings.workerpoolRegistry);
        $.simulatedEnclave = settings.simulatedEnclave;
        $.firstBlock = block.number;
        for (uint256 i = 0; i < settings.categories.length; ++i) {
            Categories.add(settings.categories[i]);
        }
        DiamondStorage.setOwner(owner);
        DiamondStorage.cut(cuts, address(0), "");
    }

    receive() external payable {
        revert("fallback-disabled");
    }

    fallback() external payable {
        address facet = DiamondStorage.state().routes[msg.sig].facet;
        if (facet == address(0)) revert IDiamond.FunctionNotFound(msg.sig);
        assembly ("memory-safe") {
            let data := mload(0x40)
            calldatacopy(data, 0, calldatasize())
            let ok := delegatecall(gas(), facet, data, calldatasize(), 0, 0)
            returndatacopy(data, 0, returndatasize())
            switch ok
            case 0 { revert(data, returndatasize()) }
            default { return(data, returndatasize()) }
        }
    }
}
