// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A contract that takes tokens in the call that approves them.
interface ITokenSpender {
    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data) external returns (bool);
}

/// @title GRIST, the token the network pays in.
/// @notice 9 decimals; the smallest unit is the nGRIST. The supply is fixed at deployment and nobody can mint.
contract Grist is ERC20 {
    /// @notice Mints the whole supply, in nGRIST, to `holder`.
    constructor(address holder, uint256 supply) ERC20("Gristmill", "GRIST") {
        _mint(holder, supply);
    }

    function decimals() public pure override returns (uint8) {
        return 9;
    }

    /// @notice Approves `spender` and lets it act at once. Reverts "approval-refused" if it answers false.
    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool) {
        _approve(msg.sender, spender, amount);
        require(ITokenSpender(spender).receiveApproval(msg.sender, amount, address(this), data), "approval-refused");
        return true;
    }
}
