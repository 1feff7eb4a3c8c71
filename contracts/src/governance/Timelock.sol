// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IDiamond} from "../hub/interfaces/IDiamond.sol";
import {ITimelock} from "./ITimelock.sol";

/// @title The owner of the hub: what an owner may do is announced, and done no sooner than a delay later.
/// @notice Proposals lie here as they are: what is called, why, and which code is trusted with it. A facet whose code is not
/// named cannot be installed, and neither can one whose code has changed since it was announced.
contract Timelock is ITimelock {
    /// @dev A proposal that nobody wanted for so long was not meant for the hub of that day.
    uint256 private constant GRACE = 30 days;
    /// @dev Longer delays are mistakes, and could never be taken back.
    uint256 private constant DELAY_MAX = 365 days;
    uint256 private constant TEXT_MAX = 4096;
    uint256 private constant CODES_MAX = 32;

    address private currentProposer;
    uint256 private currentDelay;
    Proposal[] private proposals;
    mapping(uint256 id => Progress) private progress;

    /// @dev A proposal waits until `readyAt`; `ended` once it was executed or cancelled.
    struct Progress {
        uint64 readyAt;
        Status ended;
    }

    modifier onlyProposer() {
        if (msg.sender != currentProposer) revert NotTheProposer(msg.sender);
        _;
    }

    modifier onlySelf() {
        if (msg.sender != address(this)) revert OnlyByProposal();
        _;
    }

    constructor(address proposer_, uint256 delay_) {
        _setProposer(proposer_);
        _setDelay(delay_);
    }

    function propose(address target, bytes calldata data, string calldata text, Code[] calldata codes)
        external
        onlyProposer
        returns (uint256 id)
    {
        if (bytes(text).length == 0 || bytes(text).length > TEXT_MAX) revert TextLength(bytes(text).length);
        if (codes.length > CODES_MAX) revert TooManyCodes(codes.length);
        if (target.code.length == 0) revert NoCode(target);
        _requireCodes(codes);
        _requireNamed(data, codes);

        id = proposals.length;
        Proposal storage made = proposals.push();
        made.target = target;
        made.data = data;
        made.text = text;
        for (uint256 i = 0; i < codes.length; ++i) {
            made.codes.push(codes[i]);
        }
        uint64 readyAt = uint64(block.timestamp + currentDelay);
        progress[id] = Progress(readyAt, Status.Unknown);
        emit Proposed(id, target, data, text, codes, readyAt);
    }

    function execute(uint256 id) external returns (bytes memory answer) {
        _requireStatus(id, Status.Ready);
        Proposal storage made = proposals[id];
        _requireCodes(made.codes);
        // Noted first: a call that comes back in finds it done.
        progress[id].ended = Status.Executed;
        emit Executed(id);
        bool ok;
        (ok, answer) = made.target.call(made.data);
        if (ok) return answer;
        if (answer.length == 0) revert CallFailed(id);
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    function cancel(uint256 id) external onlyProposer {
        Status found = status(id);
        if (found != Status.Waiting) _requireStatus(id, Status.Ready);
        progress[id].ended = Status.Cancelled;
        emit Cancelled(id);
    }

    function setDelay(uint256 delay_) external onlySelf {
        _setDelay(delay_);
    }

    function setProposer(address proposer_) external onlySelf {
        _setProposer(proposer_);
    }

    function proposer() external view returns (address) {
        return currentProposer;
    }

    function delay() external view returns (uint256) {
        return currentDelay;
    }

    function grace() external pure returns (uint256) {
        return GRACE;
    }

    function countProposals() external view returns (uint256) {
        return proposals.length;
    }

    function viewProposal(uint256 id) external view returns (Proposal memory proposal, Status found, uint256 readyAt) {
        if (id >= proposals.length) return (proposal, Status.Unknown, 0);
        return (proposals[id], status(id), progress[id].readyAt);
    }

    function status(uint256 id) public view returns (Status) {
        if (id >= proposals.length) return Status.Unknown;
        Progress storage found = progress[id];
        if (found.ended != Status.Unknown) return found.ended;
        if (block.timestamp < found.readyAt) return Status.Waiting;
        return block.timestamp < found.readyAt + GRACE ? Status.Ready : Status.Expired;
    }

    function _setDelay(uint256 delay_) private {
        if (delay_ == 0 || delay_ > DELAY_MAX) revert InvalidDelay(delay_);
        emit DelayChanged(currentDelay, delay_);
        currentDelay = delay_;
    }

    function _setProposer(address proposer_) private {
        if (proposer_ == address(0)) revert NotTheProposer(proposer_);
        emit ProposerChanged(currentProposer, proposer_);
        currentProposer = proposer_;
    }

    function _requireStatus(uint256 id, Status wanted) private view {
        Status found = status(id);
        if (found != wanted) revert WrongStatus(id, found);
    }

    function _requireCodes(Code[] memory codes) private view {
        for (uint256 i = 0; i < codes.length; ++i) {
            bytes32 found = codes[i].target.codehash;
            if (found != codes[i].codeHash) revert CodeDiffers(codes[i].target, codes[i].codeHash, found);
        }
    }

    /// @dev A cut names the code of each facet that it installs, and of the contract that runs once in the hub's context.
    function _requireNamed(bytes calldata data, Code[] calldata codes) private pure {
        if (bytes4(data) != IDiamond.diamondCut.selector) return;
        (IDiamond.FacetCut[] memory cuts, address init,) = abi.decode(data[4:], (IDiamond.FacetCut[], address, bytes));
        for (uint256 i = 0; i < cuts.length; ++i) {
            if (cuts[i].action != IDiamond.FacetCutAction.Remove) _requireListed(cuts[i].facetAddress, codes);
        }
        if (init != address(0)) _requireListed(init, codes);
    }

    function _requireListed(address target, Code[] calldata codes) private pure {
        for (uint256 i = 0; i < codes.length; ++i) {
            if (codes[i].target == target) return;
        }
        revert CodeNotNamed(target);
    }
}
