// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";

/// @title The same records as plain tuples, for clients that cannot decode structs.
interface ILegacyViews {
    function viewAccountABILegacy(address account) external view returns (uint256, uint256);
    function viewCategoryABILegacy(uint256 catid) external view returns (string memory, string memory, uint256);
    function viewDealABILegacy_pt1(bytes32 dealid)
        external
        view
        returns (address, address, uint256, address, address, uint256, address, address, uint256);
    function viewDealABILegacy_pt2(bytes32 dealid)
        external
        view
        returns (uint256, bytes32, address, address, address, string memory);
    function viewConfigABILegacy(bytes32 dealid)
        external
        view
        returns (uint256, uint256, uint256, uint256, uint256, uint256);
    function viewTaskABILegacy(bytes32 taskid)
        external
        view
        returns (
            IexecLibCore_v5.TaskStatusEnum,
            bytes32,
            uint256,
            uint256,
            uint256,
            uint256,
            uint256,
            bytes32,
            uint256,
            uint256,
            address[] memory,
            bytes memory
        );
    function viewContributionABILegacy(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.ContributionStatusEnum, bytes32, bytes32, address);
}
