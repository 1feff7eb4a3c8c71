// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {DiamondStorage} from "../src/hub/DiamondStorage.sol";
import {HubStorage} from "../src/hub/HubStorage.sol";
import {IAdmin} from "../src/hub/interfaces/IAdmin.sol";
import {IDiamond} from "../src/hub/interfaces/IDiamond.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";

contract NewFacet {
    function name() external pure returns (string memory) {
        return "changed";
    }

    function novelty() external pure returns (uint256) {
        return 42;
    }

    function breakDown() external pure {
        revert("broken");
    }

    function failSilently() external pure {
        assembly {
            revert(0, 0)
        }
    }
}

interface INovelty {
    function novelty() external view returns (uint256);
}

contract DiamondTest is HubTest {
    event CreateCategory(uint256 catid, string name, string description, uint256 workClockTimeRef);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    uint256 private constant MADE_IN = 77;
    NewFacet private facet;

    function setUp() public override {
        vm.roll(MADE_IN);
        super.setUp();
        vm.roll(MADE_IN + 5);
        facet = new NewFacet();
    }

    function test_slots() public pure {
        assertEq(DiamondStorage.SLOT, namespace("gristmill.storage.Diamond"), "diamond");
        assertEq(HubStorage.SLOT, namespace("gristmill.storage.Hub"), "hub");
    }

    function test_loupe_listsEverySelectorOnce() public view {
        IDiamond.Facet[] memory facets = hub.facets();
        address[] memory addresses = hub.facetAddresses();
        assertEq(facets.length, 9, "facets");
        uint256 selectors = 0;
        for (uint256 i = 0; i < facets.length; ++i) {
            assertEq(facets[i].facetAddress, addresses[i], "order");
            assertTrue(facets[i].facetAddress.code.length <= 24576, "code size");
            bytes4[] memory list = hub.facetFunctionSelectors(addresses[i]);
            assertEq(list.length, facets[i].functionSelectors.length, "selectors");
            selectors += list.length;
            for (uint256 j = 0; j < list.length; ++j) {
                assertEq(hub.facetAddress(list[j]), addresses[i], "route");
            }
        }
        assertEq(selectors, 104, "functions of the hub");
        assertTrue(hub.supportsInterface(0x01ffc9a7), "ERC-165");
        assertTrue(hub.supportsInterface(0x48e2b093), "loupe");
        assertTrue(!hub.supportsInterface(0xffffffff), "nothing else");
    }

    function test_fallback() public {
        vm.expectRevert(abi.encodeWithSelector(IDiamond.FunctionNotFound.selector, INovelty.novelty.selector));
        INovelty(address(hub)).novelty();
        assertEq(hub.facetAddress(INovelty.novelty.selector), address(0), "no route");
        (bool ok, bytes memory answer) = address(hub).call{value: 1}("");
        assertTrue(!ok, "ether is refused");
        assertEq(answer, abi.encodeWithSignature("Error(string)", "fallback-disabled"), "reason");
    }

    function test_cut_addReplaceRemove() public {
        cut(IDiamond.FacetCutAction.Add, address(facet), facet.novelty.selector);
        assertEq(INovelty(address(hub)).novelty(), 42, "added");
        cut(IDiamond.FacetCutAction.Replace, address(facet), facet.name.selector);
        assertEq(hub.name(), "changed", "replaced");
        cut(IDiamond.FacetCutAction.Remove, address(0), facet.novelty.selector);
        assertEq(hub.facetAddress(facet.novelty.selector), address(0), "removed");
        // Removing from the middle keeps every other route.
        cut(IDiamond.FacetCutAction.Remove, address(0), hub.facetAddresses.selector);
        assertEq(hub.symbol(), "SGRIST", "others stay");
        assertEq(hub.facets().length, 10, "one more facet");
    }

    function test_cut_refusals() public {
        refused(
            IDiamond.FacetCutAction.Add,
            address(facet),
            hub.name.selector,
            abi.encodeWithSelector(IDiamond.CannotAddFunctionToDiamondThatAlreadyExists.selector, hub.name.selector)
        );
        refused(
            IDiamond.FacetCutAction.Replace,
            address(facet),
            facet.novelty.selector,
            abi.encodeWithSelector(IDiamond.CannotReplaceFunctionThatDoesNotExists.selector, facet.novelty.selector)
        );
        address current = hub.facetAddress(hub.name.selector);
        refused(
            IDiamond.FacetCutAction.Replace,
            current,
            hub.name.selector,
            abi.encodeWithSelector(
                IDiamond.CannotReplaceFunctionWithTheSameFunctionFromTheSameFacet.selector, hub.name.selector
            )
        );
        refused(
            IDiamond.FacetCutAction.Remove,
            address(0),
            facet.novelty.selector,
            abi.encodeWithSelector(IDiamond.CannotRemoveFunctionThatDoesNotExist.selector, facet.novelty.selector)
        );
        refused(
            IDiamond.FacetCutAction.Remove,
            address(facet),
            hub.name.selector,
            abi.encodeWithSelector(IDiamond.RemoveFacetAddressMustBeZeroAddress.selector, address(facet))
        );
        refused(
            IDiamond.FacetCutAction.Add,
            outsider,
            facet.novelty.selector,
            abi.encodeWithSelector(IDiamond.NoBytecodeAtAddress.selector, outsider)
        );
        IDiamond.FacetCut[] memory cuts = new IDiamond.FacetCut[](1);
        cuts[0].facetAddress = address(facet);
        vm.expectRevert(abi.encodeWithSelector(IDiamond.NoSelectorsProvidedForFacetForCut.selector, address(facet)));
        hub.diamondCut(cuts, address(0), "");
    }

    function test_cut_initialiser() public {
        IDiamond.FacetCut[] memory none = new IDiamond.FacetCut[](0);
        hub.diamondCut(none, address(facet), abi.encodeCall(facet.novelty, ()));
        expectError("broken");
        hub.diamondCut(none, address(facet), abi.encodeCall(facet.breakDown, ()));
        bytes memory data = abi.encodeCall(facet.failSilently, ());
        vm.expectRevert(abi.encodeWithSelector(IDiamond.InitializationFunctionReverted.selector, address(facet), data));
        hub.diamondCut(none, address(facet), data);
        vm.expectRevert(abi.encodeWithSelector(IDiamond.NoBytecodeAtAddress.selector, outsider));
        hub.diamondCut(none, outsider, "");
    }

    function test_onlyTheOwner() public {
        IDiamond.FacetCut[] memory none = new IDiamond.FacetCut[](0);
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.diamondCut(none, address(0), "");
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.createCategory("n", "d", 1);
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.setTeeBroker(outsider);
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.transferOwnership(outsider);
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.renounceOwnership();
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.recover();
    }

    function test_ownership() public {
        expectError("Ownable: new owner is the zero address");
        hub.transferOwnership(address(0));
        vm.expectEmit(true, true, true, true, address(hub));
        emit OwnershipTransferred(address(this), outsider);
        hub.transferOwnership(outsider);
        assertEq(hub.owner(), outsider, "handed over");
        vm.prank(outsider);
        hub.renounceOwnership();
        assertEq(hub.owner(), address(0), "frozen");
        expectError("Ownable: caller is not the owner");
        vm.prank(outsider);
        hub.createCategory("n", "d", 1);
    }

    function test_categories() public {
        assertEq(hub.countCategory(), 2, "of the genesis");
        Core.Category memory first = hub.viewCategory(0);
        assertEq(first.name, "TEST", "name");
        assertEq(first.workClockTimeRef, T, "T");
        vm.expectEmit(true, true, true, true, address(hub));
        emit CreateCategory(2, "XL", "long", 36000);
        assertEq(hub.createCategory("XL", "long", 36000), 2, "id");
        (string memory name, string memory description, uint256 t) = hub.viewCategoryABILegacy(2);
        assertEq(name, "XL", "name");
        assertEq(description, "long", "description");
        assertEq(t, 36000, "T");
        vm.expectRevert(bytes(""));
        hub.viewCategory(3);
        vm.expectRevert(abi.encodeWithSelector(IAdmin.InvalidTimeRef.selector, 0));
        hub.createCategory("zero", "", 0);
        vm.expectRevert(abi.encodeWithSelector(IAdmin.InvalidTimeRef.selector, 2 ** 32));
        hub.createCategory("long", "", 2 ** 32);
    }

    function test_constants() public view {
        assertEq(hub.name(), "Staked GRIST", "name");
        assertEq(hub.symbol(), "SGRIST", "symbol");
        assertEq(hub.decimals(), 9, "decimals");
        assertEq(hub.token(), address(token), "token");
        assertEq(address(hub.appregistry()), address(apps), "apps");
        assertEq(address(hub.datasetregistry()), address(datasets), "datasets");
        assertEq(address(hub.workerpoolregistry()), address(workerpools), "workerpools");
        assertEq(hub.firstBlock(), MADE_IN, "first block");
        assertEq(hub.callbackgas(), 200_000, "callback gas");
        assertEq(hub.contribution_deadline_ratio(), 7, "contribution");
        assertEq(hub.reveal_deadline_ratio(), 2, "reveal");
        assertEq(hub.final_deadline_ratio(), 10, "final");
        assertEq(hub.workerpool_stake_ratio(), 30, "stake");
        assertEq(hub.kitty_ratio(), 10, "kitty ratio");
        assertEq(hub.kitty_min(), 1e9, "kitty min");
        assertEq(hub.kitty_address(), KITTY, "kitty");
        assertEq(hub.groupmember_purpose(), 4, "purpose");
        assertEq(hub.max_contributors(), 32, "contributors");
        assertEq(hub.domain().name, "iExecODB", "domain");
        assertEq(hub.domain().version, "5.0.0", "version");
        assertEq(hub.domain().chainId, block.chainid, "chain");
        assertEq(hub.domain().verifyingContract, address(hub), "contract");
    }

    function cut(IDiamond.FacetCutAction action, address target, bytes4 selector) private {
        hub.diamondCut(cutList(action, target, selector), address(0), "");
    }

    function refused(IDiamond.FacetCutAction action, address target, bytes4 selector, bytes memory reason) private {
        IDiamond.FacetCut[] memory cuts = cutList(action, target, selector);
        vm.expectRevert(reason);
        hub.diamondCut(cuts, address(0), "");
    }

    function cutList(IDiamond.FacetCutAction action, address target, bytes4 selector)
        private
        pure
        returns (IDiamond.FacetCut[] memory cuts)
    {
        cuts = new IDiamond.FacetCut[](1);
        cuts[0].facetAddress = target;
        cuts[0].action = action;
        cuts[0].functionSelectors = new bytes4[](1);
        cuts[0].functionSelectors[0] = selector;
    }

    function namespace(string memory id) private pure returns (bytes32) {
        return keccak256(abi.encode(uint256(keccak256(bytes(id))) - 1)) & ~bytes32(uint256(0xff));
    }
}
