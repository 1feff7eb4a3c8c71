// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubStorage} from "../HubStorage.sol";
import {IAdmin} from "../interfaces/IAdmin.sol";
import {HubConstants} from "./HubConstants.sol";
import {IexecLibCore_v5} from "./IexecLibCore_v5.sol";

/// @title The list of size classes, appended to at deployment and by the owner.
library Categories {
    function add(IexecLibCore_v5.Category memory category) internal returns (uint256 catid) {
        uint256 timeref = category.workClockTimeRef;
        if (timeref == 0 || timeref > HubConstants.MAX_TIMEREF) revert IAdmin.InvalidTimeRef(timeref);
        IexecLibCore_v5.Category[] storage categories = HubStorage.state().categories;
        catid = categories.length;
        categories.push(category);
        emit IAdmin.CreateCategory(catid, category.name, category.description, timeref);
    }
}
