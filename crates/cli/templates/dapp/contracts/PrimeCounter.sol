// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Certified} from "./gristmill/Certified.sol";
import {GristmillDapp} from "./gristmill/GristmillDapp.sol";
import {IGristmill} from "./gristmill/IGristmill.sol";

/// @title How many primes are there below n? Too much to compute here, so the network does it.
/// @notice The owner asks, since the contract pays. Whoever reads `primesBelow` reads what several machines that do not trust
/// each other agreed on.
contract PrimeCounter is GristmillDapp {
    /// @notice What work is ordered, of whom, and for how much: decided when the contract is made, so that nobody who calls
    /// can choose a pool that lies for him.
    struct Terms {
        address app;
        address workerpool;
        uint256 workerpoolMaxPrice;
        uint256 category;
        uint256 trust;
    }

    event PrimesCounted(uint256 indexed n, uint256 count);

    error OnlyTheOwner(address caller);
    error NotCounted(uint256 n);

    address public immutable owner;
    Terms public terms;
    mapping(bytes32 taskid => uint256) public askedFor;
    /// @dev One more than the count, so that zero is unknown.
    mapping(uint256 n => uint256) private found;

    constructor(address hub, Terms memory terms_) GristmillDapp(hub) {
        owner = msg.sender;
        terms = terms_;
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert OnlyTheOwner(msg.sender);
        _;
    }

    /// @notice Has it counted. The orders are the app's and the pool's offers; the price comes from this contract's account at
    /// the hub.
    function count(
        uint256 n,
        IGristmill.AppOrder calldata appOrder,
        IGristmill.WorkerpoolOrder calldata workerpoolOrder
    ) external onlyOwner returns (bytes32 taskid) {
        string memory params = string.concat('{"iexec_args":"', decimal(n), '"}');
        taskid = _ask(
            Request(terms.app, 0, terms.workerpool, terms.workerpoolMaxPrice, terms.category, terms.trust, params),
            appOrder,
            workerpoolOrder
        );
        askedFor[taskid] = n;
    }

    function primesBelow(uint256 n) external view returns (uint256) {
        if (found[n] == 0) revert NotCounted(n);
        return found[n] - 1;
    }

    /// @notice Pays out what no task has locked.
    function withdraw(uint256 amount) external onlyOwner {
        _withdraw(owner, amount);
    }

    /// @dev The app's answer is (uint256 n, uint256 count): see app/main.rs. An app that was given a bad n has none.
    function _onAnswer(bytes32 taskid, Certified.Result memory result) internal override {
        if (result.answer.length != 64) return;
        (uint256 n, uint256 primes) = abi.decode(result.answer, (uint256, uint256));
        if (n != askedFor[taskid]) return;
        found[n] = primes + 1;
        emit PrimesCounted(n, primes);
    }

    function decimal(uint256 value) private pure returns (string memory) {
        uint256 digits = 1;
        for (uint256 rest = value; rest >= 10; rest /= 10) ++digits;
        bytes memory text = new bytes(digits);
        for (uint256 i = digits; i > 0; --i) {
            text[i - 1] = bytes1(uint8(48 + value % 10));
            value /= 10;
        }
        return string(text);
    }
}
