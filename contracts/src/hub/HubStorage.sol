// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IRegistry} from "../registries/IRegistry.sol";
import {IexecLibCore_v5} from "./lib/IexecLibCore_v5.sol";

/// @title Where the hub keeps its state (ERC-7201 namespace `gristmill.storage.Hub`).
/// @notice Packed records; clients see the records of `IexecLibCore_v5`. Only append to these structs.
library HubStorage {
    /// @dev Both fit 96 bits because the escrow never holds more (see `Escrow._mint`).
    struct Account {
        uint96 stake;
        uint96 locked;
        /// @dev Whether its loan has a debt: who is paid need not look there otherwise.
        bool indebted;
    }

    /// @dev What a worker has of a pool owner's stake, and owes it. One lender at a time.
    struct Loan {
        address lender;
        uint96 locked;
        uint96 debt;
    }

    /// @dev A price fits 96 bits, as an account does. Members are grouped by who reads
    /// them together; those that most deals leave at zero (callback, sponsor, tag) share no slot with others, so that they
    /// cost nothing to store.
    struct Deal {
        address app;
        uint96 appPrice;
        address appOwner;
        uint40 startTime;
        /// @dev T of the category, which never changes: deadlines are read from one slot.
        uint32 timeref;
        uint8 schedulerRewardRatio;
        address dataset;
        uint96 datasetPrice;
        address datasetOwner;
        uint48 botFirst;
        uint48 botSize;
        address workerpool;
        uint96 workerpoolPrice;
        address workerpoolOwner;
        uint96 workerStake;
        address requester;
        uint96 trust;
        address beneficiary;
        uint32 category;
        address callback;
        /// @dev Zero when the requester pays.
        address sponsor;
        bytes32 tag;
        string params;
    }

    struct Contribution {
        bytes32 resultHash;
        bytes32 resultSeal;
        address enclaveChallenge;
        IexecLibCore_v5.ContributionStatusEnum status;
        /// @dev Its stake is the pool owner's (see `Lending`).
        bool lent;
        /// @dev Exact weight of the vote.
        uint80 weight;
    }

    struct Task {
        bytes32 dealid;
        // INVARIANT: `winnerCounter` and `revealCounter` count the holders of `consensusValue` that are CONTRIBUTED or
        // PROVED, and PROVED; both are zero while there is no consensus.
        IexecLibCore_v5.TaskStatusEnum status;
        bool recomputed;
        /// @dev Done by `contributeAndFinalize`: its one contributor proved the digest, and what follows from that (the
        /// consensus, the vote's hash, seal and status) is not stored. `Records` says it.
        bool alone;
        uint8 contributorCount;
        uint8 winnerCounter;
        uint8 revealCounter;
        uint48 idx;
        uint40 revealDeadline;
        /// @dev When an announced concession takes effect; zero if none is announced.
        uint40 concededAt;
        bytes32 consensusValue;
        bytes32 resultDigest;
        // INVARIANT: group[h] is the product of the weights of the CONTRIBUTED and PROVED holders of h, or zero if
        // there are none; `groups` is the sum of all of them. The total of the rule is 1 + groups.
        uint256 groups;
        mapping(bytes32 resultHash => uint256 weight) group;
        /// @dev The digest behind a hash revealed in a round that failed; a later round may come back to that hash.
        mapping(bytes32 resultHash => bytes32 digest) revealed;
        mapping(address worker => Contribution) contributions;
        address[32] contributors;
        /// @dev The hint of where the result is, if it has the usual form (see `ResultsHint`); else zero, and `results` has it.
        bytes32 resultsContent;
        bytes results;
        bytes resultsCallback;
    }

    struct State {
        IERC20 token;
        IRegistry appRegistry;
        IRegistry datasetRegistry;
        IRegistry workerpoolRegistry;
        address teeBroker;
        bool simulatedEnclave;
        uint256 totalSupply;
        mapping(address account => Account) accounts;
        mapping(address owner => mapping(address spender => uint256)) allowances;
        mapping(bytes32 orderHash => address signer) presigned;
        mapping(bytes32 orderHash => uint256 volume) consumed;
        mapping(bytes32 dealid => Deal) deals;
        mapping(bytes32 taskid => Task) tasks;
        mapping(address worker => uint256) scores;
        IexecLibCore_v5.Category[] categories;
        mapping(address lender => mapping(address worker => uint256)) loanLimits;
        mapping(address worker => Loan) loans;
        /// @dev The block of the constructor: who reads the hub's log begins there.
        uint256 firstBlock;
    }

    /// @dev keccak256(abi.encode(uint256(keccak256("gristmill.storage.Hub")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 internal constant SLOT = 0xfe88eda4e27b4947c08be7c8e1e6b6cc61ff84606710317a54649b069642fb00;

    function state() internal pure returns (State storage $) {
        bytes32 slot = SLOT;
        assembly ("memory-safe") {
            $.slot := slot
        }
    }

    /// @notice Who pays a deal.
    function payer(Deal storage deal) internal view returns (address) {
        address sponsor = deal.sponsor;
        return sponsor == address(0) ? deal.requester : sponsor;
    }

    /// @notice Account whose locked balance is the pot of a task: stakes seized before the task has ended. It is the
    /// low 20 bytes of the task's id; nobody holds its key, and only the rules move it.
    function potOf(bytes32 taskid) internal pure returns (address) {
        return address(uint160(uint256(taskid)));
    }
}
