// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IEscrowEvents} from "./IEscrowEvents.sol";
import {IexecLibCore_v5} from "../lib/IexecLibCore_v5.sol";

/// @title The life of a task: vote, consensus, proof, payment.
/// @notice T is the category's time unit. Where iExec PoCo reverts without a reason, these errors give one.
interface ITasks is IEscrowEvents {
    event TaskInitialize(bytes32 indexed taskid, address indexed workerpool);
    event TaskContribute(bytes32 indexed taskid, address indexed worker, bytes32 hash);
    event TaskConsensus(bytes32 indexed taskid, bytes32 consensus);
    event TaskReveal(bytes32 indexed taskid, address indexed worker, bytes32 digest);
    event TaskReopen(bytes32 indexed taskid);
    event TaskFinalize(bytes32 indexed taskid, bytes results);
    event TaskClaimed(bytes32 indexed taskid);
    /// @notice The pool gives the task up; from `effectiveAt` on it can be claimed.
    event TaskConcede(bytes32 indexed taskid, uint256 effectiveAt);
    event AccurateContribution(address indexed worker, bytes32 indexed taskid);
    event FaultyContribution(address indexed worker, bytes32 indexed taskid);

    error IndexOutOfDeal(bytes32 dealid, uint256 index);
    error ArrayLengthMismatch();
    error WrongTaskStatus(bytes32 taskid, IexecLibCore_v5.TaskStatusEnum status);
    /// @notice The time for this is over since `deadline`.
    error DeadlinePassed(bytes32 taskid, uint256 deadline);
    /// @notice This is possible from `from` on.
    error TooEarly(bytes32 taskid, uint256 from);
    error AlreadyContributed(bytes32 taskid, address worker);
    error TooManyContributors(bytes32 taskid);
    /// @notice The task already has a contributor.
    error NotFirst(bytes32 taskid);
    error TrustNotOne(bytes32 taskid, uint256 trust);
    error EnclaveChallengeMissing(bytes32 taskid);
    error InvalidAuthorization(bytes32 taskid, address worker);
    error InvalidEnclaveSignature(bytes32 taskid, address enclaveChallenge);
    /// @notice The caller holds no unproven vote for the consensus of the task.
    error NotAHolder(bytes32 taskid, address worker);
    /// @notice The digest does not open the hash, or the seal, that the caller committed to.
    error DigestMismatch(bytes32 taskid, bytes32 digest);
    /// @notice The callback's bytes are not the preimage of the digest.
    error CallbackMismatch(bytes32 taskid);
    /// @notice Nobody has revealed yet.
    error NothingRevealed(bytes32 taskid);
    /// @notice Somebody has revealed: the task can only be finalized or claimed.
    error AlreadyRevealed(bytes32 taskid);
    error NotAllowed(bytes32 taskid, address caller);
    error AlreadyConceded(bytes32 taskid, uint256 effectiveAt);
    /// @notice Too little gas is left to hand the callback its share.
    error InsufficientCallbackGas();

    /// @notice UNSET to ACTIVE. Anybody, once.
    function initialize(bytes32 dealid, uint256 index) external returns (bytes32 taskid);

    /// @notice Commits the caller to a digest it keeps secret, and locks its stake. ACTIVE, before the contribution
    /// deadline. `resultHash` = keccak256(taskid, digest), `resultSeal` = keccak256(worker, taskid, digest);
    /// `authorizationSign` is the pool owner's (or the broker's) message over keccak256(worker, taskid, challenge);
    /// `enclaveSign` is the challenge's message over keccak256(resultHash, resultSeal).
    function contribute(
        bytes32 taskid,
        bytes32 resultHash,
        bytes32 resultSeal,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external;

    /// @notice Opens the caller's commitment. REVEALING, before the reveal deadline, holders of the consensus.
    function reveal(bytes32 taskid, bytes32 resultDigest) external;

    /// @notice Back to ACTIVE after a reveal window in which nobody revealed. Anybody, before the final deadline.
    function reopen(bytes32 taskid) external;

    /// @notice Pays a task whose consensus its revealed holders alone carry, and calls back; otherwise slashes the silent
    /// holders and reopens the task. The pool owner once all holders revealed, or one did and the reveal deadline is
    /// past; a revealed holder from T/2 after the reveal deadline. Before the final deadline.
    function finalize(bytes32 taskid, bytes calldata results, bytes calldata resultsCallback) external;

    /// @notice Commit, proof and payment in one, for a deal of trust 1 and its first contributor.
    function contributeAndFinalize(
        bytes32 taskid,
        bytes32 resultDigest,
        bytes calldata results,
        bytes calldata resultsCallback,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external;

    /// @notice Fails a task that can no longer complete and refunds it. Anybody: from the final deadline on; from the
    /// contribution deadline on if a finalize has failed; once a concession is effective.
    function claim(bytes32 taskid) external;

    /// @notice The pool owner gives a task up: before the first contribution (effective T/2 later, unless one lands
    /// meanwhile), or without consensus after the contribution deadline (at once).
    function concede(bytes32 taskid) external;

    function initializeArray(bytes32[] calldata dealids, uint256[] calldata indexes) external returns (bool);
    function claimArray(bytes32[] calldata taskids) external returns (bool);
    function initializeAndClaimArray(bytes32[] calldata dealids, uint256[] calldata indexes) external returns (bool);
}
