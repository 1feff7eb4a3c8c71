// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC5313} from "@openzeppelin/contracts/interfaces/IERC5313.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IRegistry} from "../../registries/IRegistry.sol";
import {Workerpool} from "../../registries/Workerpool.sol";
import {Escrow} from "../Escrow.sol";
import {HubStorage} from "../HubStorage.sol";
import {IMatch} from "../interfaces/IMatch.sol";
import {HubConstants} from "../lib/HubConstants.sol";
import {IexecLibOrders_v5} from "../lib/IexecLibOrders_v5.sol";
import {Signatures} from "../lib/Signatures.sol";

/// @title Four orders become a deal.
contract MatchFacet is IMatch, Escrow, ReentrancyGuardTransient {
    using IexecLibOrders_v5 for *;

    bytes32 private constant TEE_BIT = bytes32(uint256(0x1));
    /// @dev Bits that name a framework of enclaves; a dataset's order does not choose it.
    bytes32 private constant FRAMEWORK_BITS = bytes32(uint256(0xe));

    /// @dev Hashes and owners of the orders that make a deal; the dataset's are zero if there is none.
    struct Matching {
        bytes32 appHash;
        bytes32 datasetHash;
        bytes32 workerpoolHash;
        bytes32 requestHash;
        address appOwner;
        address datasetOwner;
        address workerpoolOwner;
        address sponsor;
        bytes32 tag;
        uint256 volume;
        uint256 first;
    }

    function matchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external nonReentrant returns (bytes32) {
        return _match(apporder, datasetorder, workerpoolorder, requestorder, requestorder.requester);
    }

    function sponsorMatchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external nonReentrant returns (bytes32 dealid) {
        dealid = _match(apporder, datasetorder, workerpoolorder, requestorder, msg.sender);
        emit DealSponsored(dealid, msg.sender);
    }

    function computeDealVolume(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external view returns (uint256 volume) {
        volume = _remaining(apporder.hash().typedDataHash(), apporder.volume);
        if (datasetorder.dataset != address(0)) {
            volume = Math.min(volume, _remaining(datasetorder.hash().typedDataHash(), datasetorder.volume));
        }
        volume = Math.min(volume, _remaining(workerpoolorder.hash().typedDataHash(), workerpoolorder.volume));
        volume = Math.min(volume, _remaining(requestorder.hash().typedDataHash(), requestorder.volume));
    }

    function assertDatasetDealCompatibility(IexecLibOrders_v5.DatasetOrder calldata datasetorder, bytes32 dealid)
        external
        view
    {
        HubStorage.Deal storage deal = HubStorage.state().deals[dealid];
        bytes32 orderHash = datasetorder.hash().typedDataHash();
        if (_remaining(orderHash, datasetorder.volume) == 0) {
            revert IncompatibleDatasetOrder("Dataset order is revoked or fully consumed");
        }
        if (!_isSigned(IERC5313(datasetorder.dataset).owner(), orderHash, datasetorder.sign)) {
            revert IncompatibleDatasetOrder("Invalid dataset order signature");
        }
        if (deal.requester == address(0)) revert IncompatibleDatasetOrder("Deal not found");
        if (deal.dataset != address(0)) revert IncompatibleDatasetOrder("Deal already has a dataset");
        if (!Signatures.isAuthorized(datasetorder.apprestrict, deal.app)) {
            revert IncompatibleDatasetOrder("App restriction not satisfied");
        }
        if (!Signatures.isAuthorized(datasetorder.workerpoolrestrict, deal.workerpool)) {
            revert IncompatibleDatasetOrder("Workerpool restriction not satisfied");
        }
        if (!Signatures.isAuthorized(datasetorder.requesterrestrict, deal.requester)) {
            revert IncompatibleDatasetOrder("Requester restriction not satisfied");
        }
        if (datasetorder.tag & ~FRAMEWORK_BITS & ~deal.tag != 0) {
            revert IncompatibleDatasetOrder("Tag compatibility not satisfied");
        }
    }

    function verifySignature(address identity, bytes32 hash, bytes calldata signature) external view returns (bool) {
        return Signatures.isValid(identity, hash, signature);
    }

    function verifyPresignature(address identity, bytes32 hash) external view returns (bool) {
        return _isPresigned(identity, hash);
    }

    function verifyPresignatureOrSignature(address identity, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bool)
    {
        return _isSigned(identity, hash, signature);
    }

    function _match(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder,
        address sponsor
    ) private returns (bytes32 dealid) {
        Matching memory m;
        m.sponsor = sponsor;
        m.tag = _checkTerms(apporder, datasetorder, workerpoolorder, requestorder);
        _checkRestrictions(apporder, datasetorder, workerpoolorder, requestorder);
        _authenticate(m, apporder, datasetorder, workerpoolorder, requestorder);
        _consume(m, apporder, datasetorder, workerpoolorder, requestorder);

        dealid = keccak256(abi.encodePacked(m.requestHash, m.first));
        _recordAssets(m, HubStorage.state().deals[dealid], apporder, datasetorder, workerpoolorder);
        _recordRequest(m, HubStorage.state().deals[dealid], requestorder);
        _lockPayment(m, HubStorage.state().deals[dealid], apporder, datasetorder, workerpoolorder);

        emit SchedulerNotice(workerpoolorder.workerpool, dealid);
        emit OrdersMatched(dealid, m.appHash, m.datasetHash, m.workerpoolHash, m.requestHash, m.volume);
    }

    /// @dev Category, trust, prices and tags. Returns the deal's tag.
    function _checkTerms(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) private view returns (bytes32 tag) {
        require(requestorder.category == workerpoolorder.category, "iExecV5-matchOrders-0x00");
        require(requestorder.category < HubStorage.state().categories.length, "iExecV5-matchOrders-0x01");
        require(requestorder.trust <= workerpoolorder.trust, "iExecV5-matchOrders-0x02");
        require(requestorder.appmaxprice >= apporder.appprice, "iExecV5-matchOrders-0x03");
        require(requestorder.datasetmaxprice >= datasetorder.datasetprice, "iExecV5-matchOrders-0x04");
        require(requestorder.workerpoolmaxprice >= workerpoolorder.workerpoolprice, "iExecV5-matchOrders-0x05");

        tag = apporder.tag | (datasetorder.tag & ~FRAMEWORK_BITS) | requestorder.tag;
        require(tag & ~workerpoolorder.tag == 0, "iExecV5-matchOrders-0x06");
        require((tag ^ apporder.tag) & TEE_BIT == 0, "iExecV5-matchOrders-0x07");
        if (tag & (TEE_BIT | FRAMEWORK_BITS) != 0 && !HubStorage.state().simulatedEnclave) {
            revert EnclaveNotSupported(tag);
        }
    }

    function _checkRestrictions(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) private view {
        address app = apporder.app;
        address dataset = datasetorder.dataset;
        address workerpool = workerpoolorder.workerpool;
        address requester = requestorder.requester;
        require(requestorder.app == app, "iExecV5-matchOrders-0x10");
        require(requestorder.dataset == dataset, "iExecV5-matchOrders-0x11");
        require(Signatures.isAuthorized(requestorder.workerpool, workerpool), "iExecV5-matchOrders-0x12");
        require(Signatures.isAuthorized(apporder.datasetrestrict, dataset), "iExecV5-matchOrders-0x13");
        require(Signatures.isAuthorized(apporder.workerpoolrestrict, workerpool), "iExecV5-matchOrders-0x14");
        require(Signatures.isAuthorized(apporder.requesterrestrict, requester), "iExecV5-matchOrders-0x15");
        require(Signatures.isAuthorized(datasetorder.apprestrict, app), "iExecV5-matchOrders-0x16");
        require(Signatures.isAuthorized(datasetorder.workerpoolrestrict, workerpool), "iExecV5-matchOrders-0x17");
        require(Signatures.isAuthorized(datasetorder.requesterrestrict, requester), "iExecV5-matchOrders-0x18");
        require(Signatures.isAuthorized(workerpoolorder.apprestrict, app), "iExecV5-matchOrders-0x19");
        require(Signatures.isAuthorized(workerpoolorder.datasetrestrict, dataset), "iExecV5-matchOrders-0x1a");
        require(Signatures.isAuthorized(workerpoolorder.requesterrestrict, requester), "iExecV5-matchOrders-0x1b");
    }

    /// @dev Assets are registered, owners have signed; notes hashes and owners in `m`.
    function _authenticate(
        Matching memory m,
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) private view {
        HubStorage.State storage $ = HubStorage.state();
        m.appHash = apporder.hash().typedDataHash();
        require($.appRegistry.isRegistered(apporder.app), "iExecV5-matchOrders-0x20");
        m.appOwner = _ownerOf($.appRegistry, apporder.app);
        require(_isSigned(m.appOwner, m.appHash, apporder.sign), "iExecV5-matchOrders-0x21");

        if (datasetorder.dataset != address(0)) {
            m.datasetHash = datasetorder.hash().typedDataHash();
            require($.datasetRegistry.isRegistered(datasetorder.dataset), "iExecV5-matchOrders-0x30");
            m.datasetOwner = _ownerOf($.datasetRegistry, datasetorder.dataset);
            require(_isSigned(m.datasetOwner, m.datasetHash, datasetorder.sign), "iExecV5-matchOrders-0x31");
        }

        m.workerpoolHash = workerpoolorder.hash().typedDataHash();
        require($.workerpoolRegistry.isRegistered(workerpoolorder.workerpool), "iExecV5-matchOrders-0x40");
        m.workerpoolOwner = _ownerOf($.workerpoolRegistry, workerpoolorder.workerpool);
        require(_isSigned(m.workerpoolOwner, m.workerpoolHash, workerpoolorder.sign), "iExecV5-matchOrders-0x41");

        m.requestHash = requestorder.hash().typedDataHash();
        require(_isSigned(requestorder.requester, m.requestHash, requestorder.sign), "iExecV5-matchOrders-0x50");
    }

    /// @dev Takes the deal's volume, the least that any order has left, off each of them.
    function _consume(
        Matching memory m,
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) private {
        mapping(bytes32 => uint256) storage consumed = HubStorage.state().consumed;
        uint256 volume = _remaining(m.appHash, apporder.volume);
        if (m.datasetHash != 0) volume = Math.min(volume, _remaining(m.datasetHash, datasetorder.volume));
        volume = Math.min(volume, _remaining(m.workerpoolHash, workerpoolorder.volume));
        volume = Math.min(volume, _remaining(m.requestHash, requestorder.volume));
        require(volume > 0, "iExecV5-matchOrders-0x60");

        m.volume = volume;
        m.first = consumed[m.requestHash];
        if (m.first + volume > type(uint48).max) revert TermTooLarge(m.first + volume);
        consumed[m.appHash] += volume;
        if (m.datasetHash != 0) consumed[m.datasetHash] += volume;
        consumed[m.workerpoolHash] += volume;
        consumed[m.requestHash] += volume;
    }

    function _recordAssets(
        Matching memory m,
        HubStorage.Deal storage deal,
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder
    ) private {
        Workerpool pool = Workerpool(workerpoolorder.workerpool);
        uint256 stake = workerpoolorder.workerpoolprice * pool.m_workerStakeRatioPolicy() / 100;
        // The prices are cut to 96 bits unchecked: `_lockPayment` reverts unless a stake, which is less, covers them.
        deal.app = apporder.app;
        deal.appPrice = uint96(apporder.appprice);
        deal.appOwner = m.appOwner;
        deal.schedulerRewardRatio = uint8(pool.m_schedulerRewardRatioPolicy());
        if (m.datasetHash != 0) {
            deal.dataset = datasetorder.dataset;
            deal.datasetPrice = uint96(datasetorder.datasetprice);
            deal.datasetOwner = m.datasetOwner;
        }
        deal.workerpool = address(pool);
        deal.workerpoolPrice = uint96(workerpoolorder.workerpoolprice);
        deal.workerpoolOwner = m.workerpoolOwner;
        deal.workerStake = _term(stake);
    }

    function _recordRequest(
        Matching memory m,
        HubStorage.Deal storage deal,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) private {
        deal.startTime = uint40(block.timestamp);
        deal.timeref = uint32(HubStorage.state().categories[requestorder.category].workClockTimeRef);
        deal.category = uint32(requestorder.category);
        deal.requester = requestorder.requester;
        deal.trust = _term(Math.max(requestorder.trust, 1));
        deal.beneficiary = requestorder.beneficiary;
        deal.botFirst = uint48(m.first);
        deal.botSize = uint48(m.volume);
        // A fresh record is zero: what stays so is not written.
        if (requestorder.callback != address(0)) deal.callback = requestorder.callback;
        if (m.sponsor != requestorder.requester) deal.sponsor = m.sponsor;
        if (m.tag != 0) deal.tag = m.tag;
        deal.params = requestorder.params;
    }

    /// @dev The payer's price and the pool's stake for all tasks of the deal, in full-width checked arithmetic.
    function _lockPayment(
        Matching memory m,
        HubStorage.Deal storage deal,
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder
    ) private {
        uint256 poolPrice = workerpoolorder.workerpoolprice;
        uint256 price = apporder.appprice + poolPrice;
        if (m.datasetHash != 0) price += datasetorder.datasetprice;
        _lock(m.sponsor, price * m.volume);
        // Rounded down for one task, then multiplied: each task settles its own share.
        _lock(deal.workerpoolOwner, (poolPrice * HubConstants.WORKERPOOL_STAKE_RATIO / 100) * m.volume);
    }

    function _remaining(bytes32 orderHash, uint256 volume) private view returns (uint256) {
        return volume - HubStorage.state().consumed[orderHash];
    }

    function _ownerOf(IRegistry registry, address entry) private view returns (address) {
        return registry.ownerOf(uint256(uint160(entry)));
    }

    function _isPresigned(address identity, bytes32 hash) private view returns (bool) {
        return identity != address(0) && identity == HubStorage.state().presigned[hash];
    }

    function _isSigned(address identity, bytes32 hash, bytes calldata signature) private view returns (bool) {
        return _isPresigned(identity, hash) || Signatures.isValid(identity, hash, signature);
    }

    function _term(uint256 value) private pure returns (uint96) {
        if (value > type(uint96).max) revert TermTooLarge(value);
        return uint96(value);
    }
}
