// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {HubTest} from "./HubTest.sol";
import {ContractWallet, HostileWallet} from "./Mocks.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";

contract OrdersTest is HubTest {
    event SignedAppOrder(bytes32 appHash);
    event SignedDatasetOrder(bytes32 datasetHash);
    event SignedWorkerpoolOrder(bytes32 workerpoolHash);
    event SignedRequestOrder(bytes32 requestHash);
    event ClosedAppOrder(bytes32 appHash);
    event ClosedDatasetOrder(bytes32 datasetHash);
    event ClosedWorkerpoolOrder(bytes32 workerpoolHash);
    event ClosedRequestOrder(bytes32 requestHash);
    event BroadcastAppOrder(Orders.AppOrder apporder);
    event BroadcastDatasetOrder(Orders.DatasetOrder datasetorder);
    event BroadcastWorkerpoolOrder(Orders.WorkerpoolOrder workerpoolorder);
    event BroadcastRequestOrder(Orders.RequestOrder requestorder);

    Orders.OrderOperationEnum private constant SIGN = Orders.OrderOperationEnum.SIGN;
    Orders.OrderOperationEnum private constant CLOSE = Orders.OrderOperationEnum.CLOSE;

    function test_sign_byTheOwner() public {
        Orders.AppOrder memory a = appOrder(terms());
        Orders.DatasetOrder memory d = datasetOrder(terms());
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        Orders.RequestOrder memory r = requestOrder(terms());
        (a.sign, d.sign, w.sign, r.sign) = ("", "", "", "");
        expect();
        emit SignedAppOrder(hashOf(a));
        vm.prank(appOwner);
        hub.manageAppOrder(Orders.AppOrderOperation(a, SIGN, ""));
        expect();
        emit SignedDatasetOrder(hashOf(d));
        vm.prank(datasetOwner);
        hub.manageDatasetOrder(Orders.DatasetOrderOperation(d, SIGN, ""));
        expect();
        emit SignedWorkerpoolOrder(hashOf(w));
        vm.prank(pool);
        hub.manageWorkerpoolOrder(Orders.WorkerpoolOrderOperation(w, SIGN, ""));
        expect();
        emit SignedRequestOrder(hashOf(r));
        vm.prank(requester);
        hub.manageRequestOrder(Orders.RequestOrderOperation(r, SIGN, ""));

        assertEq(hub.viewPresigned(hashOf(a)), appOwner, "presigned");
        assertTrue(hub.verifyPresignature(requester, hashOf(r)), "presignature");
        assertTrue(!hub.verifyPresignature(outsider, hashOf(r)), "of another");
        assertTrue(!hub.verifyPresignature(address(0), keccak256("nothing")), "of nobody");
        assertTrue(hub.verifyPresignatureOrSignature(requester, hashOf(r), ""), "either");
        hub.matchOrders(a, d, w, r);
    }

    function test_sign_doesNotSurviveASale() public {
        Orders.AppOrder memory a = appOrder(terms());
        a.sign = "";
        vm.prank(appOwner);
        hub.manageAppOrder(Orders.AppOrderOperation(a, SIGN, ""));
        vm.prank(appOwner);
        apps.transferFrom(appOwner, outsider, uint256(uint160(app)));
        a.sign = new bytes(65);
        Orders.DatasetOrder memory d = datasetOrder(terms());
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        Orders.RequestOrder memory r = requestOrder(terms());
        expectError("iExecV5-matchOrders-0x21");
        hub.matchOrders(a, d, w, r);
    }

    function test_close_byTheOwner() public {
        Orders.AppOrder memory a = appOrder(terms());
        Orders.DatasetOrder memory d = datasetOrder(terms());
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        Orders.RequestOrder memory r = requestOrder(terms());
        expect();
        emit ClosedAppOrder(hashOf(a));
        vm.prank(appOwner);
        hub.manageAppOrder(Orders.AppOrderOperation(a, CLOSE, ""));
        expect();
        emit ClosedDatasetOrder(hashOf(d));
        vm.prank(datasetOwner);
        hub.manageDatasetOrder(Orders.DatasetOrderOperation(d, CLOSE, ""));
        expect();
        emit ClosedWorkerpoolOrder(hashOf(w));
        vm.prank(pool);
        hub.manageWorkerpoolOrder(Orders.WorkerpoolOrderOperation(w, CLOSE, ""));
        expect();
        emit ClosedRequestOrder(hashOf(r));
        vm.prank(requester);
        hub.manageRequestOrder(Orders.RequestOrderOperation(r, CLOSE, ""));
        assertEq(hub.viewConsumed(hashOf(a)), a.volume, "used up");
        assertEq(hub.computeDealVolume(a, d, w, r), 0, "nothing left");
        expectError("iExecV5-matchOrders-0x60");
        hub.matchOrders(a, d, w, r);
    }

    /// @notice Anybody may bring the owner's signature of the operation; the type hashes are iExec's.
    function test_operation_bySignature() public {
        Orders.RequestOrder memory r = requestOrder(terms());
        bytes32 structHash = keccak256(
            abi.encode(
                bytes32(0x0ded7b52c2d77595a40d242eca751df172b18e686326dbbed3f4748828af77c7), structHashOf(r), CLOSE
            )
        );
        bytes memory good = signature(REQUESTER_KEY, typed(structHash));
        vm.prank(outsider);
        hub.manageRequestOrder(Orders.RequestOrderOperation(r, CLOSE, good));
        assertEq(hub.viewConsumed(hashOf(r)), r.volume, "closed");
        // The same signature does not sign the other operation.
        expectError("invalid-sender-or-signature");
        vm.prank(outsider);
        hub.manageRequestOrder(Orders.RequestOrderOperation(r, SIGN, good));

        Orders.AppOrder memory a = appOrder(terms());
        bytes32 appOp = 0x0638bb0702457e2b4b01be8a202579b8bf97e587fb4f2cc4d4aad01f21a06ee0;
        bytes memory sign = signature(APP_KEY, typed(keccak256(abi.encode(appOp, structHashOf(a), CLOSE))));
        hub.manageAppOrder(Orders.AppOrderOperation(a, CLOSE, sign));
        Orders.DatasetOrder memory d = datasetOrder(terms());
        bytes32 datasetOp = 0x075eb6f7578ff4292c241bd2484cd5c1d5e6ecc2ddd3317e1d8176b5a45865ec;
        sign = signature(DATASET_KEY, typed(keccak256(abi.encode(datasetOp, structHashOf(d), CLOSE))));
        hub.manageDatasetOrder(Orders.DatasetOrderOperation(d, CLOSE, sign));
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        bytes32 poolOp = 0x322d980b7d7a6a1f7c39ff0c5445da6ae1d8e0393ff0dd468c8be3e2c8644388;
        sign = signature(POOL_KEY, typed(keccak256(abi.encode(poolOp, structHashOf(w), CLOSE))));
        hub.manageWorkerpoolOrder(Orders.WorkerpoolOrderOperation(w, CLOSE, sign));
    }

    function test_operation_refusals() public {
        Orders.AppOrder memory a = appOrder(terms());
        bytes memory wrong = signature(REQUESTER_KEY, hashOf(a));
        expectError("invalid-sender-or-signature");
        hub.manageAppOrder(Orders.AppOrderOperation(a, CLOSE, wrong));
        expectError("invalid-signature-format");
        hub.manageAppOrder(Orders.AppOrderOperation(a, CLOSE, ""));
        a.app = outsider;
        vm.expectRevert();
        hub.manageAppOrder(Orders.AppOrderOperation(a, CLOSE, wrong));
    }

    function test_broadcast() public {
        Orders.AppOrder memory a = appOrder(terms());
        Orders.DatasetOrder memory d = datasetOrder(terms());
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        Orders.RequestOrder memory r = requestOrder(terms());
        expect();
        emit BroadcastAppOrder(a);
        hub.broadcastAppOrder(a);
        expect();
        emit BroadcastDatasetOrder(d);
        hub.broadcastDatasetOrder(d);
        expect();
        emit BroadcastWorkerpoolOrder(w);
        hub.broadcastWorkerpoolOrder(w);
        expect();
        emit BroadcastRequestOrder(r);
        hub.broadcastRequestOrder(r);
    }

    // ---- signatures ----

    function test_verifySignature_shortForm() public view {
        bytes32 hash = keccak256("x");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(REQUESTER_KEY, hash);
        bytes memory short = abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        assertTrue(hub.verifySignature(requester, hash, short), "64 bytes");
        assertTrue(hub.verifySignature(requester, hash, abi.encodePacked(r, s, v)), "65 bytes");
        assertTrue(!hub.verifySignature(outsider, hash, short), "another");
        assertTrue(!hub.verifySignature(requester, keccak256("y"), short), "another hash");
    }

    /// @notice The mirror image of a signature (n - s) would be a second one for the same order.
    function test_attack_malleableSignature() public view {
        bytes32 hash = keccak256("x");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(REQUESTER_KEY, hash);
        uint256 n = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes memory mirrored = abi.encodePacked(r, bytes32(n - uint256(s)), v == 27 ? 28 : 27);
        assertTrue(!hub.verifySignature(requester, hash, mirrored), "high s");
    }

    /// @notice A failed recovery gives address zero, which must not count as a signer.
    function test_attack_nobodySigned() public {
        assertTrue(!hub.verifySignature(address(0), keccak256("x"), new bytes(65)), "zero signer");
        Orders.RequestOrder memory r = requestOrder(terms());
        r.requester = address(0);
        r.sign = new bytes(65);
        Orders.AppOrder memory a = appOrder(terms());
        Orders.DatasetOrder memory d = datasetOrder(terms());
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        expectError("iExecV5-matchOrders-0x50");
        hub.matchOrders(a, d, w, r);
    }

    function test_verifySignature_ofContracts() public {
        ContractWallet wallet = new ContractWallet(requester);
        bytes32 hash = keccak256("x");
        assertTrue(hub.verifySignature(address(wallet), hash, signature(REQUESTER_KEY, hash)), "ERC-1271");
        assertTrue(!hub.verifySignature(address(wallet), hash, signature(APP_KEY, hash)), "wrong key");
        assertTrue(!hub.verifySignature(address(new HostileWallet(true)), hash, ""), "burns gas");
        assertTrue(!hub.verifySignature(address(new HostileWallet(false)), hash, ""), "long answer");
        assertTrue(!hub.verifySignature(address(token), hash, "1"), "not a wallet");
    }

    /// @notice An account that delegates its code (EIP-7702) still signs with its key.
    function test_verifySignature_ofDelegatedAccount() public {
        vm.etch(requester, abi.encodePacked(hex"ef0100", address(token)));
        bytes32 hash = keccak256("x");
        assertTrue(hub.verifySignature(requester, hash, signature(REQUESTER_KEY, hash)), "key");
    }

    /// @notice The whole network of a requester that is a contract.
    function test_contractRequester() public {
        ContractWallet wallet = new ContractWallet(requester);
        hub.depositFor(PRICE, address(wallet));
        Orders.RequestOrder memory r = requestOrder(terms());
        r.requester = address(wallet);
        r.sign = signature(REQUESTER_KEY, hashOf(r));
        hub.matchOrders(appOrder(terms()), datasetOrder(terms()), workerpoolOrder(terms()), r);
        assertEq(lockedOf(address(wallet)), PRICE, "pays");
    }

    // ---- replay ----

    /// @notice An order signed for one hub or one chain is void on another.
    function test_attack_replayElsewhere() public {
        Orders.AppOrder memory a = appOrder(terms());
        Orders.DatasetOrder memory d = datasetOrder(terms());
        Orders.WorkerpoolOrder memory w = workerpoolOrder(terms());
        Orders.RequestOrder memory r = requestOrder(terms());
        assertEq(hub.eip712domain_separator(), separator(), "separator");
        vm.chainId(999);
        assertEq(hub.eip712domain_separator(), separator(), "follows the chain id");
        expectError("iExecV5-matchOrders-0x21");
        hub.matchOrders(a, d, w, r);
        vm.chainId(31337);
        hub.matchOrders(a, d, w, r);
        hub = deployHub(address(token), true);
        expectError("iExecV5-matchOrders-0x21");
        hub.matchOrders(a, d, w, r);
    }

    function separator() private view returns (bytes32) {
        return
            keccak256(
                abi.encode(DOMAIN_TYPEHASH, keccak256("iExecODB"), keccak256("5.0.0"), block.chainid, address(hub))
            );
    }

    function expect() private {
        vm.expectEmit(true, true, true, true, address(hub));
    }

    function structHashOf(Orders.AppOrder memory o) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                APP_TYPEHASH,
                o.app,
                o.appprice,
                o.volume,
                o.tag,
                o.datasetrestrict,
                o.workerpoolrestrict,
                o.requesterrestrict,
                o.salt
            )
        );
    }

    function structHashOf(Orders.DatasetOrder memory o) private pure returns (bytes32) {
        bytes memory head = abi.encode(DATASET_TYPEHASH, o.dataset, o.datasetprice, o.volume, o.tag);
        return
            keccak256(bytes.concat(head, abi.encode(o.apprestrict, o.workerpoolrestrict, o.requesterrestrict, o.salt)));
    }

    function structHashOf(Orders.WorkerpoolOrder memory o) private pure returns (bytes32) {
        bytes memory head =
            abi.encode(WORKERPOOL_TYPEHASH, o.workerpool, o.workerpoolprice, o.volume, o.tag, o.category, o.trust);
        return keccak256(bytes.concat(head, abi.encode(o.apprestrict, o.datasetrestrict, o.requesterrestrict, o.salt)));
    }

    function structHashOf(Orders.RequestOrder memory o) private pure returns (bytes32) {
        bytes memory head = abi.encode(
            REQUEST_TYPEHASH, o.app, o.appmaxprice, o.dataset, o.datasetmaxprice, o.workerpool, o.workerpoolmaxprice
        );
        bytes memory tail = abi.encode(o.requester, o.volume, o.tag, o.category, o.trust, o.beneficiary, o.callback);
        return keccak256(bytes.concat(head, tail, abi.encode(keccak256(bytes(o.params)), o.salt)));
    }
}
