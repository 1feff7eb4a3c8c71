// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

/// @notice What each step costs as a transaction of its own; the figures are kept in snapshots/GasTest.json.
/// forge-config: default.isolate = true
/// forge-config: slow.isolate = true
contract GasTest is HubTest {
    uint256 private spent;

    function test_gas_soloTask() public {
        Terms memory t = terms();
        t.trust = 1;
        bytes32 taskid = matchAndInitialize(t);
        bytes memory permit = authorization(worker(0), taskid);
        vm.prank(worker(0));
        hub.contributeAndFinalize(taskid, GOOD, RESULTS, "", address(0), "", permit);
        uint256 solo = vm.snapshotGasLastCall("contributeAndFinalize");
        assertTrue(solo <= 250_000, "contributeAndFinalize");
    }

    function test_gas_threeReplicas() public {
        bytes32 taskid = matchAndInitialize(terms());
        for (uint256 i = 0; i < 3; ++i) {
            contribute(i, taskid, GOOD);
            spent += vm.snapshotGasLastCall(string.concat("contribute ", vm.toString(i + 1)));
        }
        for (uint256 i = 0; i < 3; ++i) {
            reveal(i, taskid, GOOD);
            spent += vm.snapshotGasLastCall(string.concat("reveal ", vm.toString(i + 1)));
        }
        vm.prank(pool);
        hub.finalize(taskid, RESULTS, "");
        spent += vm.snapshotGasLastCall("finalize");
        assertTrue(spent <= 1_300_000, "a three-replica task, initialize included");
    }

    function test_gas_claim() public {
        bytes32 taskid = matchAndInitialize(terms());
        vm.warp(START + 10 * T);
        hub.claim(taskid);
        vm.snapshotGasLastCall("claim without contributors");
    }

    bytes private constant RESULTS =
        '{"storage":"gristmill","location":"/v1/blobs/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}';

    function matchAndInitialize(Terms memory t) private returns (bytes32 taskid) {
        Orders.AppOrder memory a = appOrder(t);
        Orders.DatasetOrder memory d = datasetOrder(t);
        Orders.WorkerpoolOrder memory w = workerpoolOrder(t);
        Orders.RequestOrder memory r = requestOrder(t);
        bytes32 dealid = hub.matchOrders(a, d, w, r);
        assertTrue(vm.snapshotGasLastCall("matchOrders") <= 480_000, "matchOrders");
        taskid = hub.initialize(dealid, 0);
        spent = vm.snapshotGasLastCall("initialize");
        assertTrue(spent <= 120_000, "initialize");
    }
}
