// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {Group} from "./Mocks.sol";
import {IMatch} from "../src/hub/interfaces/IMatch.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

contract MatchTest is HubTest {
    event SchedulerNotice(address indexed workerpool, bytes32 dealid);
    event OrdersMatched(
        bytes32 dealid,
        bytes32 appHash,
        bytes32 datasetHash,
        bytes32 workerpoolHash,
        bytes32 requestHash,
        uint256 volume
    );
    event DealSponsored(bytes32 dealId, address sponsor);

    Orders.AppOrder private a;
    Orders.DatasetOrder private d;
    Orders.WorkerpoolOrder private w;
    Orders.RequestOrder private r;

    function setUp() public override {
        super.setUp();
        fresh();
    }

    function test_deal_recordsTheTerms() public {
        r.volume = 3;
        r.callback = address(0xCA11);
        r.tag = bytes32(uint256(0x100));
        r.trust = 7;
        sign();
        bytes32 dealid = keccak256(abi.encodePacked(hashOf(r), uint256(0)));
        vm.expectEmit(true, true, true, true, address(hub));
        emit SchedulerNotice(workerpool, dealid);
        vm.expectEmit(true, true, true, true, address(hub));
        emit OrdersMatched(dealid, hashOf(a), hashOf(d), hashOf(w), hashOf(r), 3);
        assertEq(hub.matchOrders(a, d, w, r), dealid, "deal id");

        Core.Deal memory deal = hub.viewDeal(dealid);
        assertEq(deal.app.pointer, app, "app");
        assertEq(deal.app.owner, appOwner, "app owner");
        assertEq(deal.app.price, APP_PRICE, "app price");
        assertEq(deal.dataset.pointer, dataset, "dataset");
        assertEq(deal.dataset.owner, datasetOwner, "dataset owner");
        assertEq(deal.dataset.price, DATASET_PRICE, "dataset price");
        assertEq(deal.workerpool.pointer, workerpool, "workerpool");
        assertEq(deal.workerpool.owner, pool, "pool owner");
        assertEq(deal.workerpool.price, POOL_PRICE, "pool price");
        assertEq(deal.trust, 7, "trust");
        assertEq(deal.category, 0, "category");
        assertEq(deal.tag, bytes32(uint256(0x100)), "tag");
        assertEq(deal.requester, requester, "requester");
        assertEq(deal.beneficiary, requester, "beneficiary");
        assertEq(deal.callback, address(0xCA11), "callback");
        assertEq(deal.params, '{"iexec_args":"42"}', "params");
        assertEq(deal.startTime, START, "start");
        assertEq(deal.botFirst, 0, "first");
        assertEq(deal.botSize, 3, "size");
        assertEq(deal.workerStake, WORKER_STAKE, "worker stake");
        assertEq(deal.schedulerRewardRatio, 1, "reward ratio");
        assertEq(deal.sponsor, requester, "sponsor");
        assertLegacyViews(dealid, deal);
        assertEq(hub.viewConsumed(hashOf(a)), 3, "of the app order");
        assertEq(hub.viewConsumed(hashOf(d)), 3, "of the dataset order");
        assertEq(hub.viewConsumed(hashOf(w)), 3, "of the pool's order");
        assertEq(hub.viewConsumed(hashOf(r)), 3, "of the request");
        assertEq(lockedOf(requester), PRICE * 3, "price locked");
        assertEq(lockedOf(pool), POOL_STAKE * 3, "pool stake locked");
        checkBooks();
    }

    function test_deal_withoutDataset() public {
        noDataset();
        bytes32 dealid = hub.matchOrders(a, d, w, r);
        Core.Deal memory deal = hub.viewDeal(dealid);
        assertEq(deal.dataset.pointer, address(0), "none");
        assertEq(deal.dataset.price, 0, "no price");
        assertEq(lockedOf(requester), APP_PRICE + POOL_PRICE, "not paid for");
        assertEq(hub.viewConsumed(bytes32(0)), 0, "nothing consumed");
    }

    function test_deal_trustZeroIsOne() public {
        r.trust = 0;
        sign();
        assertEq(hub.viewDeal(hub.matchOrders(a, d, w, r)).trust, 1, "trust");
    }

    function test_sponsor_pays() public {
        bytes32 dealid = keccak256(abi.encodePacked(hashOf(r), uint256(0)));
        vm.expectEmit(true, true, true, true, address(hub));
        emit DealSponsored(dealid, sponsor);
        vm.prank(sponsor);
        hub.sponsorMatchOrders(a, d, w, r);
        assertEq(lockedOf(sponsor), PRICE, "sponsor");
        assertEq(lockedOf(requester), 0, "requester");
        assertEq(hub.viewDeal(dealid).sponsor, sponsor, "recorded");
        checkBooks();
    }

    function test_volume_isTheLeastRemaining() public {
        a.volume = 5;
        r.volume = 8;
        w.volume = 6;
        d.volume = 7;
        sign();
        assertEq(hub.computeDealVolume(a, d, w, r), 5, "computed");
        Core.Deal memory deal = hub.viewDeal(hub.matchOrders(a, d, w, r));
        assertEq(deal.botSize, 5, "first deal");
        expectError("iExecV5-matchOrders-0x60");
        hub.matchOrders(a, d, w, r);
        // Another app order goes on where the first stopped; then the pool's order is used up, then the request.
        a.volume = 100;
        a.salt = nextSalt();
        sign();
        bytes32 second = hub.matchOrders(a, d, w, r);
        assertEq(second, keccak256(abi.encodePacked(hashOf(r), uint256(5))), "deal id");
        deal = hub.viewDeal(second);
        assertEq(deal.botFirst, 5, "first");
        assertEq(deal.botSize, 1, "size");
        assertEq(hub.viewConsumed(hashOf(r)), 6, "consumed");
        assertEq(hub.viewConsumed(hashOf(w)), 6, "consumed");
        checkBooks();
    }

    // ---- each refusal ----

    function test_refusal_terms() public {
        r.category = 1;
        refused("00");
        r.category = w.category = 2;
        refused("01");
        w.trust = 4;
        refused("02");
        r.appmaxprice = APP_PRICE - 1;
        refused("03");
        r.datasetmaxprice = DATASET_PRICE - 1;
        refused("04");
        r.workerpoolmaxprice = POOL_PRICE - 1;
        refused("05");
        r.tag = bytes32(uint256(0x200));
        refused("06");
        d.tag = bytes32(uint256(0x200));
        refused("06");
        r.tag = bytes32(uint256(1));
        refused("07");
    }

    function test_refusal_identities() public {
        r.app = outsider;
        refused("10");
        r.dataset = address(0);
        refused("11");
        r.workerpool = outsider;
        refused("12");
        a.datasetrestrict = outsider;
        refused("13");
        a.workerpoolrestrict = outsider;
        refused("14");
        a.requesterrestrict = outsider;
        refused("15");
        d.apprestrict = outsider;
        refused("16");
        d.workerpoolrestrict = outsider;
        refused("17");
        d.requesterrestrict = outsider;
        refused("18");
        w.apprestrict = outsider;
        refused("19");
        w.datasetrestrict = outsider;
        refused("1a");
        w.requesterrestrict = outsider;
        refused("1b");
    }

    function test_refusal_authenticity() public {
        a.app = r.app = outsider;
        refused("20");
        a.app = r.app = dataset; // registered elsewhere
        refused("20");
        fresh();
        a.sign = signature(POOL_KEY, hashOf(a));
        expectCode("21");
        d.dataset = r.dataset = app;
        refused("30");
        d.sign = signature(POOL_KEY, hashOf(d));
        expectCode("31");
        w.workerpool = r.workerpool = app;
        refused("40");
        w.sign = signature(APP_KEY, hashOf(w));
        expectCode("41");
        r.sign = signature(APP_KEY, hashOf(r));
        expectCode("50");
        r.params = "changed after signing";
        expectCode("50");
        r.volume = 0;
        refused("60");
    }

    function test_refusal_money() public {
        vm.prank(requester);
        hub.withdraw(FUNDS - PRICE + 1);
        expectError("IexecEscrow: Transfer amount exceeds balance");
        hub.matchOrders(a, d, w, r);
        hub.depositFor(1, requester);
        vm.prank(pool);
        hub.withdraw(FUNDS - POOL_STAKE + 1);
        expectError("IexecEscrow: Transfer amount exceeds balance");
        hub.matchOrders(a, d, w, r);
        hub.depositFor(1, pool);
        hub.matchOrders(a, d, w, r);
    }

    function test_refusal_maximalValues() public {
        a.appprice = r.appmaxprice = type(uint256).max;
        sign();
        vm.expectRevert(); // the sum overflows
        hub.matchOrders(a, d, w, r);
        fresh();
        // 2^96 cuts to a price of zero in storage: the full amount must be asked for.
        a.appprice = r.appmaxprice = 2 ** 96;
        sign();
        expectError("IexecEscrow: Transfer amount exceeds balance");
        hub.matchOrders(a, d, w, r);
        fresh();
        r.trust = 2 ** 96;
        sign();
        vm.expectRevert(abi.encodeWithSelector(IMatch.TermTooLarge.selector, 2 ** 96));
        hub.matchOrders(a, d, w, r);
        fresh();
        setPolicy(2 ** 96, 1);
        vm.expectPartialRevert(IMatch.TermTooLarge.selector);
        hub.matchOrders(a, d, w, r);
        setPolicy(30, 1);
        a.volume = d.volume = w.volume = r.volume = 2 ** 48;
        a.appprice = d.datasetprice = w.workerpoolprice = 0;
        sign();
        vm.expectRevert(abi.encodeWithSelector(IMatch.TermTooLarge.selector, 2 ** 48));
        hub.matchOrders(a, d, w, r);
    }

    // ---- groups, tags ----

    function test_restriction_group() public {
        Group group = new Group();
        a.requesterrestrict = address(group);
        sign();
        expectError("iExecV5-matchOrders-0x15");
        hub.matchOrders(a, d, w, r);
        group.add(requester);
        hub.matchOrders(a, d, w, r);
    }

    function test_tag_datasetDoesNotChooseTheFramework() public {
        d.tag = bytes32(uint256(0x10e));
        w.tag = bytes32(uint256(0x100));
        sign();
        assertEq(hub.viewDeal(hub.matchOrders(a, d, w, r)).tag, bytes32(uint256(0x100)), "tag");
    }

    /// @notice Nothing here can prove an enclave: without the development flag a deal cannot ask for one.
    function test_enclave_onlyWhenSimulated() public {
        assertTrue(hub.simulatedEnclave(), "flag");
        a.tag = r.tag = bytes32(uint256(9));
        sign();
        hub.matchOrders(a, d, w, r);
        hub = deployHub(address(token), false);
        assertTrue(!hub.simulatedEnclave(), "flag");
        fresh();
        a.tag = r.tag = bytes32(uint256(9));
        sign();
        vm.expectRevert(abi.encodeWithSelector(IMatch.EnclaveNotSupported.selector, bytes32(uint256(9))));
        hub.matchOrders(a, d, w, r);
    }

    function test_datasetCompatibility() public {
        noDataset();
        bytes32 dealid = hub.matchOrders(a, d, w, r);
        Orders.DatasetOrder memory o = datasetOrder(terms());
        hub.assertDatasetDealCompatibility(o, dealid);

        incompatible(o, bytes32(0), "Deal not found");
        o.sign = new bytes(65);
        incompatible(o, dealid, "Invalid dataset order signature");
        o.volume = 0;
        incompatible(o, dealid, "Dataset order is revoked or fully consumed");
        o = datasetOrder(terms());
        o.apprestrict = outsider;
        incompatible(signed(o), dealid, "App restriction not satisfied");
        o = datasetOrder(terms());
        o.workerpoolrestrict = outsider;
        incompatible(signed(o), dealid, "Workerpool restriction not satisfied");
        o = datasetOrder(terms());
        o.requesterrestrict = outsider;
        incompatible(signed(o), dealid, "Requester restriction not satisfied");
        o = datasetOrder(terms());
        o.tag = bytes32(uint256(0x100));
        incompatible(signed(o), dealid, "Tag compatibility not satisfied");
        o.tag = bytes32(uint256(0x0e)); // frameworks do not count
        hub.assertDatasetDealCompatibility(signed(o), dealid);
        fresh();
        bytes32 full = hub.matchOrders(a, d, w, r);
        incompatible(signed(o), full, "Deal already has a dataset");
    }

    /// forge-config: default.fuzz.runs = 64
    /// @notice I7: whatever the volumes and the interleaving, no order is consumed past its volume.
    function testFuzz_volumeNeverExceeded(uint8[12] memory volumes) public {
        r.volume = 1 + uint256(volumes[0]) % 40;
        sign();
        uint256 matched = 0;
        for (uint256 i = 1; i < volumes.length; ++i) {
            a.volume = 1 + uint256(volumes[i]) % 10;
            if (volumes[i] & 1 == 0) a.salt = nextSalt();
            sign();
            uint256 expected = hub.computeDealVolume(a, d, w, r);
            if (expected == 0) continue;
            Core.Deal memory deal = hub.viewDeal(hub.matchOrders(a, d, w, r));
            assertEq(deal.botSize, expected, "size");
            assertEq(deal.botFirst, matched, "first");
            matched += expected;
            assertTrue(hub.viewConsumed(hashOf(a)) <= a.volume, "app order");
        }
        assertTrue(matched <= r.volume, "request order");
        assertEq(hub.viewConsumed(hashOf(r)), matched, "consumed");
        assertEq(hub.viewConsumed(hashOf(d)), matched, "of the dataset order too");
        assertEq(lockedOf(requester), PRICE * matched, "locked");
        checkBooks();
    }

    function fresh() private {
        Terms memory t = terms();
        a = appOrder(t);
        d = datasetOrder(t);
        w = workerpoolOrder(t);
        r = requestOrder(t);
    }

    function sign() private {
        a.sign = signature(APP_KEY, hashOf(a));
        d.sign = signature(DATASET_KEY, hashOf(d));
        w.sign = signature(POOL_KEY, hashOf(w));
        r.sign = signature(REQUESTER_KEY, hashOf(r));
    }

    function noDataset() private {
        Orders.DatasetOrder memory none;
        d = none;
        r.dataset = address(0);
        r.sign = signature(REQUESTER_KEY, hashOf(r));
    }

    /// @dev Signs what the test changed, expects the code, and starts over with good orders.
    function refused(string memory code) private {
        sign();
        expectCode(code);
    }

    function expectCode(string memory code) private {
        expectError(string.concat("iExecV5-matchOrders-0x", code));
        hub.matchOrders(a, d, w, r);
        fresh();
    }

    function incompatible(Orders.DatasetOrder memory o, bytes32 dealid, string memory reason) private {
        vm.expectRevert(abi.encodeWithSelector(IMatch.IncompatibleDatasetOrder.selector, reason));
        hub.assertDatasetDealCompatibility(o, dealid);
    }

    /// @dev The tuples are compared as bytes: they have more members than the stack has room for.
    function assertLegacyViews(bytes32 dealid, Core.Deal memory deal) private view {
        assertEq(
            answerTo(abi.encodeCall(hub.viewDealABILegacy_pt1, (dealid))),
            abi.encode(deal.app, deal.dataset, deal.workerpool),
            "pt1"
        );
        assertEq(
            answerTo(abi.encodeCall(hub.viewDealABILegacy_pt2, (dealid))),
            abi.encode(deal.trust, deal.tag, deal.requester, deal.beneficiary, deal.callback, deal.params),
            "pt2"
        );
        assertEq(
            answerTo(abi.encodeCall(hub.viewConfigABILegacy, (dealid))),
            bytes.concat(
                abi.encode(deal.category, deal.startTime, deal.botFirst),
                abi.encode(deal.botSize, deal.workerStake, deal.schedulerRewardRatio)
            ),
            "config"
        );
    }
}
