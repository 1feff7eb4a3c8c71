// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RegistryEntry} from "./RegistryEntry.sol";

/// @title A dataset: what to run on. Immutable but for its owner.
contract Dataset is RegistryEntry {
    string public m_datasetName;
    bytes public m_datasetMultiaddr;
    bytes32 public m_datasetChecksum;

    function initialize(string calldata name, bytes calldata multiaddr, bytes32 checksum) external onlyOnce {
        m_datasetName = name;
        m_datasetMultiaddr = multiaddr;
        m_datasetChecksum = checksum;
    }
}
