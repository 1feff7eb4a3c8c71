// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Dataset} from "./Dataset.sol";
import {Registry} from "./Registry.sol";

/// @title The register of datasets.
contract DatasetRegistry is Registry {
    constructor() Registry(address(new Dataset()), "Gristmill Datasets", "GRISTDATA") {}

    /// @notice Creates a dataset for `owner`; its address is also the token id of the `Transfer` event.
    function createDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        returns (Dataset)
    {
        return Dataset(_create(owner, abi.encodeCall(Dataset.initialize, (name, multiaddr, checksum))));
    }

    /// @notice The address `createDataset` gives these arguments.
    function predictDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        view
        returns (Dataset)
    {
        return Dataset(_predict(owner, abi.encodeCall(Dataset.initialize, (name, multiaddr, checksum))));
    }
}
