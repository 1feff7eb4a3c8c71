// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IAdmin} from "./IAdmin.sol";
import {IDiamond} from "./IDiamond.sol";
import {IEscrow} from "./IEscrow.sol";
import {ILegacyViews} from "./ILegacyViews.sol";
import {ILoans} from "./ILoans.sol";
import {IMatch} from "./IMatch.sol";
import {IOrders} from "./IOrders.sol";
import {ITasks} from "./ITasks.sol";
import {IViews} from "./IViews.sol";

/// @title Everything the hub answers to: the ABI for clients.
interface IHub is IDiamond, IAdmin, IEscrow, IOrders, IMatch, ITasks, ILoans, IViews, ILegacyViews {
    /// @notice Raised by every function that changes state when it is called from within another one.
    error ReentrancyGuardReentrantCall();
}
