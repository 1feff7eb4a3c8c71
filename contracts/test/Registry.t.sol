// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IERC721Enumerable} from "@openzeppelin/contracts/token/ERC721/extensions/IERC721Enumerable.sol";
import {HubTest} from "./HubTest.sol";
import {App} from "../src/registries/App.sol";
import {Dataset} from "../src/registries/Dataset.sol";
import {IRegistry} from "../src/registries/IRegistry.sol";
import {Workerpool} from "../src/registries/Workerpool.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";

contract RegistryTest is HubTest {
    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    event PolicyUpdate(uint256 oldStake, uint256 newStake, uint256 oldReward, uint256 newReward);

    function test_app_createdWhereItWasPredicted() public {
        address predicted = address(apps.predictApp(outsider, "n", "DOCKER", "m", bytes32(uint256(7)), "e"));
        assertTrue(!apps.isRegistered(predicted), "not yet");
        vm.expectEmit(true, true, true, true, address(apps));
        emit Transfer(address(0), outsider, uint256(uint160(predicted)));
        App made = apps.createApp(outsider, "n", "DOCKER", "m", bytes32(uint256(7)), "e");
        assertEq(address(made), predicted, "address");
        assertTrue(apps.isRegistered(predicted), "registered");
        assertEq(made.owner(), outsider, "owner");
        assertEq(address(made.registry()), address(apps), "registry");
        assertEq(made.m_appName(), "n", "name");
        assertEq(made.m_appType(), "DOCKER", "type");
        assertEq(made.m_appMultiaddr(), bytes("m"), "multiaddr");
        assertEq(made.m_appChecksum(), bytes32(uint256(7)), "checksum");
        assertEq(made.m_appMREnclave(), bytes("e"), "mrenclave");
        Core.AppInfo memory info = hub.viewApp(predicted);
        assertEq(info.owner, outsider, "view owner");
        assertEq(info.m_appMultiaddr, bytes("m"), "view multiaddr");
    }

    function test_dataset_createdWhereItWasPredicted() public {
        address predicted = address(datasets.predictDataset(outsider, "n", "m", bytes32(uint256(7))));
        Dataset made = datasets.createDataset(outsider, "n", "m", bytes32(uint256(7)));
        assertEq(address(made), predicted, "address");
        assertEq(made.owner(), outsider, "owner");
        assertEq(made.m_datasetName(), "n", "name");
        Core.DatasetInfo memory info = hub.viewDataset(predicted);
        assertEq(info.m_datasetMultiaddr, bytes("m"), "multiaddr");
        assertEq(info.m_datasetChecksum, bytes32(uint256(7)), "checksum");
    }

    function test_workerpool_startsWithDefaultPolicies() public {
        address predicted = address(workerpools.predictWorkerpool(outsider, "d"));
        Workerpool made = workerpools.createWorkerpool(outsider, "d");
        assertEq(address(made), predicted, "address");
        Core.WorkerpoolInfo memory info = hub.viewWorkerpool(predicted);
        assertEq(info.owner, outsider, "owner");
        assertEq(info.m_workerpoolDescription, "d", "description");
        assertEq(info.m_workerStakeRatioPolicy, 30, "stake ratio");
        assertEq(info.m_schedulerRewardRatioPolicy, 1, "reward ratio");
    }

    function test_create_twiceIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AlreadyCreated.selector, app));
        apps.createApp(appOwner, "app", "DOCKER", "wasm:00", bytes32(uint256(1)), "");
        // Another owner of the same description is another app.
        apps.createApp(outsider, "app", "DOCKER", "wasm:00", bytes32(uint256(1)), "");
    }

    function test_initialize_onlyOnce() public {
        expectError("already initialized");
        App(app).initialize("x", "x", "x", 0, "x");
        address master = apps.master();
        expectError("already initialized");
        App(master).initialize("x", "x", "x", 0, "x");
        expectError("already initialized");
        Workerpool(workerpool).initialize("x");
    }

    function test_owner_followsTheToken() public {
        vm.prank(appOwner);
        apps.safeTransferFrom(appOwner, outsider, uint256(uint160(app)));
        assertEq(App(app).owner(), outsider, "new owner");
        assertEq(apps.balanceOf(outsider), 1, "balance");
        assertEq(apps.tokenOfOwnerByIndex(outsider, 0), uint256(uint160(app)), "by index");
    }

    function test_changePolicy() public {
        vm.expectEmit(true, true, true, true, workerpool);
        emit PolicyUpdate(30, 40, 1, 5);
        setPolicy(40, 5);
        assertEq(Workerpool(workerpool).m_workerStakeRatioPolicy(), 40, "stake");
        assertEq(Workerpool(workerpool).m_schedulerRewardRatioPolicy(), 5, "reward");
        vm.expectRevert(abi.encodeWithSelector(Workerpool.RewardRatioTooHigh.selector, 101));
        vm.prank(pool);
        Workerpool(workerpool).changePolicy(0, 101);
        expectError("caller is not the owner");
        Workerpool(workerpool).changePolicy(0, 0);
    }

    function test_supportsInterfaces() public view {
        assertTrue(apps.supportsInterface(type(IERC721).interfaceId), "ERC-721");
        assertTrue(apps.supportsInterface(type(IERC721Enumerable).interfaceId), "enumerable");
        assertTrue(!apps.supportsInterface(0xffffffff), "nothing else");
    }
}
