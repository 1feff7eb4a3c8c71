// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Changes of the hub, in the open and after a delay.
/// @notice It owns the hub, so that facets, categories, the broker of enclaves, and the hub's owner change through it alone.
/// Its own delay and proposer change the same way. Times in seconds.
interface ITimelock {
    /// @notice A contract and keccak256 of its code, as EXTCODEHASH gives it.
    struct Code {
        address target;
        bytes32 codeHash;
    }

    /// @notice `data` will be called at `target`; `text` says what and why, for people; `codes` is the code that the change
    /// trusts.
    struct Proposal {
        address target;
        bytes data;
        string text;
        Code[] codes;
    }

    enum Status {
        Unknown,
        Waiting,
        Ready,
        Expired,
        Executed,
        Cancelled
    }

    event Proposed(uint256 indexed id, address indexed target, bytes data, string text, Code[] codes, uint256 readyAt);
    event Executed(uint256 indexed id);
    event Cancelled(uint256 indexed id);
    event DelayChanged(uint256 oldDelay, uint256 newDelay);
    event ProposerChanged(address indexed oldProposer, address indexed newProposer);

    error NotTheProposer(address caller);
    /// @notice This is for the timelock itself: propose it.
    error OnlyByProposal();
    /// @notice A text has 1 to 4096 bytes.
    error TextLength(uint256 length);
    /// @notice A proposal names 32 contracts at most.
    error TooManyCodes(uint256 count);
    error NoCode(address target);
    /// @notice A cut installs a facet, or runs an initialiser, whose code the proposal does not name.
    error CodeNotNamed(address target);
    error CodeDiffers(address target, bytes32 expected, bytes32 found);
    error WrongStatus(uint256 id, Status status);
    /// @notice A delay is 1 second to 365 days.
    error InvalidDelay(uint256 delay);
    /// @notice The call failed without a reason; with one, that reason is passed on.
    error CallFailed(uint256 id);

    /// @notice Announces a change. Proposer only. The code of every facet that a `diamondCut` adds or replaces, and of its
    /// initialiser, has to be named.
    function propose(address target, bytes calldata data, string calldata text, Code[] calldata codes)
        external
        returns (uint256 id);

    /// @notice Makes an announced change: from its delay on, for 30 days, once, if all named code is what it was. Anybody.
    function execute(uint256 id) external returns (bytes memory answer);

    /// @notice Gives up a change that is not made yet. Proposer only.
    function cancel(uint256 id) external;

    /// @notice How long later proposals wait. By proposal only. It should be longer than any task, 10 T: then deals made
    /// before an announcement end by the rules they were made under.
    function setDelay(uint256 newDelay) external;

    /// @notice Hands the right to propose over. By proposal only.
    function setProposer(address newProposer) external;

    function proposer() external view returns (address);
    function delay() external view returns (uint256);
    /// @notice How long an announced change can be made once it is ready.
    function grace() external view returns (uint256);
    function countProposals() external view returns (uint256);
    /// @notice Proposals have the ids 0, 1, ...; an unknown one has status Unknown.
    function viewProposal(uint256 id) external view returns (Proposal memory proposal, Status found, uint256 readyAt);
    function status(uint256 id) external view returns (Status);
}
