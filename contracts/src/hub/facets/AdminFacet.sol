// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DiamondStorage} from "../DiamondStorage.sol";
import {HubStorage} from "../HubStorage.sol";
import {IAdmin} from "../interfaces/IAdmin.sol";
import {Categories} from "../lib/Categories.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";

/// @title What the owner may set.
contract AdminFacet is IAdmin {
    function createCategory(string calldata name, string calldata description, uint256 workClockTimeRef)
        external
        returns (uint256 catid)
    {
        DiamondStorage.requireOwner();
        return Categories.add(IexecLibCore_v5.Category(name, description, workClockTimeRef));
    }

    function setTeeBroker(address broker) external {
        DiamondStorage.requireOwner();
        HubStorage.state().teeBroker = broker;
    }
}
