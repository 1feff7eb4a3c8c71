// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RegistryEntry} from "./RegistryEntry.sol";

/// @title An application: what to run. Immutable but for its owner.
contract App is RegistryEntry {
    string public m_appName;
    string public m_appType;
    bytes public m_appMultiaddr;
    bytes32 public m_appChecksum;
    bytes public m_appMREnclave;

    function initialize(
        string calldata name,
        string calldata kind,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external onlyOnce {
        m_appName = name;
        m_appType = kind;
        m_appMultiaddr = multiaddr;
        m_appChecksum = checksum;
        m_appMREnclave = mrenclave;
    }
}
