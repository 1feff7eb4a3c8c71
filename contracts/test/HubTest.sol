// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Grist} from "../src/token/Grist.sol";
import {AppRegistry} from "../src/registries/AppRegistry.sol";
import {DatasetRegistry} from "../src/registries/DatasetRegistry.sol";
import {WorkerpoolRegistry} from "../src/registries/WorkerpoolRegistry.sol";
import {Workerpool} from "../src/registries/Workerpool.sol";
import {Hub} from "../src/hub/Hub.sol";
import {AdminFacet} from "../src/hub/facets/AdminFacet.sol";
import {DiamondFacet} from "../src/hub/facets/DiamondFacet.sol";
import {EscrowFacet} from "../src/hub/facets/EscrowFacet.sol";
import {LegacyViewFacet} from "../src/hub/facets/LegacyViewFacet.sol";
import {LoanFacet} from "../src/hub/facets/LoanFacet.sol";
import {MatchFacet} from "../src/hub/facets/MatchFacet.sol";
import {OrderFacet} from "../src/hub/facets/OrderFacet.sol";
import {TaskFacet} from "../src/hub/facets/TaskFacet.sol";
import {ViewFacet} from "../src/hub/facets/ViewFacet.sol";
import {IDiamond} from "../src/hub/interfaces/IDiamond.sol";
import {IHub} from "../src/hub/interfaces/IHub.sol";
import {IexecLibCore_v5 as Core} from "../src/hub/lib/IexecLibCore_v5.sol";
import {IexecLibOrders_v5 as Orders} from "../src/hub/lib/IexecLibOrders_v5.sol";
import {Test} from "./Test.sol";

/// @notice A hub with its assets, a few people with money, and the steps they take.
abstract contract HubTest is Test {
    /// @dev iExec's published type hashes: written out, so that a change in the sources shows.
    bytes32 internal constant APP_TYPEHASH = 0x60815a0eeec47dddf1615fe53b31d016c31444e01b9d796db365443a6445d008;
    bytes32 internal constant DATASET_TYPEHASH = 0x6cfc932a5a3d22c4359295b9f433edff52b60703fa47690a04a83e40933dd47c;
    bytes32 internal constant WORKERPOOL_TYPEHASH = 0xaa3429fb281b34691803133d3d978a75bb77c617ed6bc9aa162b9b30920022bb;
    bytes32 internal constant REQUEST_TYPEHASH = 0xf24e853034a3a450aba845a82914fbb564ad85accca6cf62be112a154520fae0;
    bytes32 internal constant DOMAIN_TYPEHASH = 0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f;

    uint256 internal constant APP_KEY = 0xA1;
    uint256 internal constant DATASET_KEY = 0xA2;
    uint256 internal constant POOL_KEY = 0xA3;
    uint256 internal constant REQUESTER_KEY = 0xA4;
    uint256 internal constant SPONSOR_KEY = 0xA5;
    uint256 internal constant WORKER_KEY = 0xB000;
    uint256 internal constant WORKERS = 40;

    uint256 internal constant SUPPLY = 87_000_000e9;
    uint256 internal constant FUNDS = 100_000e9;
    uint256 internal constant START = 1_700_000_000;
    /// @dev T of the category that tests use, odd so that T/2 rounds.
    uint256 internal constant T = 301;

    // Prime prices, so that every division leaves a remainder.
    uint256 internal constant APP_PRICE = 1_000_003;
    uint256 internal constant DATASET_PRICE = 500_009;
    uint256 internal constant POOL_PRICE = 3_000_000_019;
    uint256 internal constant PRICE = APP_PRICE + DATASET_PRICE + POOL_PRICE;
    uint256 internal constant POOL_STAKE = 900_000_005;
    uint256 internal constant WORKER_STAKE = 900_000_005;
    address internal constant KITTY = 0x99c2268479b93fDe36232351229815DF80837e23;

    bytes32 internal constant GOOD = keccak256("the right digest");
    bytes32 internal constant BAD = keccak256("a wrong digest");

    IHub internal hub;
    Grist internal token;
    AppRegistry internal apps;
    DatasetRegistry internal datasets;
    WorkerpoolRegistry internal workerpools;
    address internal app;
    address internal dataset;
    address internal workerpool;

    address internal appOwner = vm.addr(APP_KEY);
    address internal datasetOwner = vm.addr(DATASET_KEY);
    address internal pool = vm.addr(POOL_KEY);
    address internal requester = vm.addr(REQUESTER_KEY);
    address internal sponsor = vm.addr(SPONSOR_KEY);
    address internal outsider = address(0x0707);

    address[] internal people;
    address[] private workers;
    bytes32[] internal knownTasks;
    mapping(address => uint256) private stakeBefore;
    uint256 private salt;

    /// @dev What a test changes in the four orders it matches.
    struct Terms {
        uint256 trust;
        uint256 volume;
        uint256 appPrice;
        uint256 datasetPrice;
        uint256 poolPrice;
        address callback;
        bytes32 tag;
    }

    function setUp() public virtual {
        vm.warp(START);
        token = new Grist(address(this), SUPPLY);
        apps = new AppRegistry();
        datasets = new DatasetRegistry();
        workerpools = new WorkerpoolRegistry();
        hub = deployHub(address(token), true);
        app = address(apps.createApp(appOwner, "app", "DOCKER", "wasm:00", bytes32(uint256(1)), ""));
        dataset = address(datasets.createDataset(datasetOwner, "data", "blake3:00", bytes32(uint256(2))));
        workerpool = address(workerpools.createWorkerpool(pool, "pool"));

        people.push(appOwner);
        people.push(datasetOwner);
        people.push(pool);
        people.push(requester);
        people.push(sponsor);
        people.push(outsider);
        for (uint256 i = 0; i < WORKERS; ++i) {
            workers.push(vm.addr(WORKER_KEY + i));
            people.push(workers[i]);
        }
        token.approve(address(hub), type(uint256).max);
        for (uint256 i = 2; i < people.length; ++i) {
            hub.depositFor(FUNDS, people[i]);
        }
        people.push(KITTY);
        people.push(address(this));
    }

    function deployHub(address money, bool simulatedEnclave) internal returns (IHub) {
        IDiamond.FacetCut[] memory cuts = new IDiamond.FacetCut[](9);
        cuts[0] = cutOf(address(new DiamondFacet()), "DiamondFacet");
        cuts[1] = cutOf(address(new AdminFacet()), "AdminFacet");
        cuts[2] = cutOf(address(new EscrowFacet()), "EscrowFacet");
        cuts[3] = cutOf(address(new OrderFacet()), "OrderFacet");
        cuts[4] = cutOf(address(new MatchFacet()), "MatchFacet");
        cuts[5] = cutOf(address(new TaskFacet()), "TaskFacet");
        cuts[6] = cutOf(address(new ViewFacet()), "ViewFacet");
        cuts[7] = cutOf(address(new LegacyViewFacet()), "LegacyViewFacet");
        cuts[8] = cutOf(address(new LoanFacet()), "LoanFacet");
        Core.Category[] memory categories = new Core.Category[](2);
        categories[0] = Core.Category("TEST", "odd T", T);
        categories[1] = Core.Category("DEV", "two seconds", 2);
        Hub.Settings memory settings =
            Hub.Settings(money, address(apps), address(datasets), address(workerpools), simulatedEnclave, categories);
        return IHub(address(new Hub(address(this), cuts, settings)));
    }

    /// @dev A facet with all its selectors, from the compiler's own list.
    function cutOf(address facet, string memory name) internal view returns (IDiamond.FacetCut memory) {
        string memory json = vm.readFile(string.concat("out/", name, ".sol/", name, ".json"));
        string[] memory signatures = vm.parseJsonKeys(json, "$.methodIdentifiers");
        bytes4[] memory selectors = new bytes4[](signatures.length);
        for (uint256 i = 0; i < signatures.length; ++i) {
            selectors[i] = bytes4(keccak256(bytes(signatures[i])));
        }
        return IDiamond.FacetCut(facet, IDiamond.FacetCutAction.Add, selectors);
    }

    // ---- people ----

    function worker(uint256 i) internal view returns (address) {
        return workers[i];
    }

    function signature(uint256 key, bytes32 hash) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, hash);
        return abi.encodePacked(r, s, v);
    }

    function messageSignature(uint256 key, bytes32 message) internal pure returns (bytes memory) {
        return signature(key, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", message)));
    }

    /// @dev Writes a score straight into the hub's storage (the thirteenth slot of its namespace).
    function setScore(address who, uint256 score) internal {
        uint256 slot = 0xfe88eda4e27b4947c08be7c8e1e6b6cc61ff84606710317a54649b069642fb00 + 12;
        vm.store(address(hub), keccak256(abi.encode(who, slot)), bytes32(score));
        assertEq(hub.viewScore(who), score, "score slot");
    }

    // ---- orders ----

    function terms() internal pure returns (Terms memory) {
        return Terms(5, 1, APP_PRICE, DATASET_PRICE, POOL_PRICE, address(0), 0);
    }

    function appOrder(Terms memory t) internal returns (Orders.AppOrder memory o) {
        o.app = app;
        o.appprice = t.appPrice;
        o.volume = 1000;
        o.tag = t.tag & bytes32(uint256(1));
        o.salt = nextSalt();
        return signed(o);
    }

    function datasetOrder(Terms memory t) internal returns (Orders.DatasetOrder memory o) {
        o.dataset = dataset;
        o.datasetprice = t.datasetPrice;
        o.volume = 1000;
        o.salt = nextSalt();
        return signed(o);
    }

    function workerpoolOrder(Terms memory t) internal returns (Orders.WorkerpoolOrder memory o) {
        o.workerpool = workerpool;
        o.workerpoolprice = t.poolPrice;
        o.volume = 1000;
        o.tag = bytes32(uint256(0x10f));
        o.trust = type(uint256).max;
        o.salt = nextSalt();
        return signed(o);
    }

    function requestOrder(Terms memory t) internal returns (Orders.RequestOrder memory o) {
        o.app = app;
        o.appmaxprice = t.appPrice;
        o.dataset = dataset;
        o.datasetmaxprice = t.datasetPrice;
        o.workerpool = workerpool;
        o.workerpoolmaxprice = t.poolPrice;
        o.requester = requester;
        o.volume = t.volume;
        o.tag = t.tag;
        o.trust = t.trust;
        o.beneficiary = requester;
        o.callback = t.callback;
        o.params = '{"iexec_args":"42"}';
        o.salt = nextSalt();
        return signed(o);
    }

    function nextSalt() internal returns (bytes32) {
        return bytes32(++salt);
    }

    function signed(Orders.AppOrder memory o) internal view returns (Orders.AppOrder memory) {
        o.sign = signature(APP_KEY, hashOf(o));
        return o;
    }

    function signed(Orders.DatasetOrder memory o) internal view returns (Orders.DatasetOrder memory) {
        o.sign = signature(DATASET_KEY, hashOf(o));
        return o;
    }

    function signed(Orders.WorkerpoolOrder memory o) internal view returns (Orders.WorkerpoolOrder memory) {
        o.sign = signature(POOL_KEY, hashOf(o));
        return o;
    }

    function signed(Orders.RequestOrder memory o) internal view returns (Orders.RequestOrder memory) {
        o.sign = signature(REQUESTER_KEY, hashOf(o));
        return o;
    }

    function hashOf(Orders.AppOrder memory o) internal view returns (bytes32) {
        bytes memory head = abi.encode(APP_TYPEHASH, o.app, o.appprice, o.volume, o.tag);
        return typed(
            keccak256(
                bytes.concat(head, abi.encode(o.datasetrestrict, o.workerpoolrestrict, o.requesterrestrict, o.salt))
            )
        );
    }

    function hashOf(Orders.DatasetOrder memory o) internal view returns (bytes32) {
        bytes memory head = abi.encode(DATASET_TYPEHASH, o.dataset, o.datasetprice, o.volume, o.tag);
        return typed(
            keccak256(bytes.concat(head, abi.encode(o.apprestrict, o.workerpoolrestrict, o.requesterrestrict, o.salt)))
        );
    }

    function hashOf(Orders.WorkerpoolOrder memory o) internal view returns (bytes32) {
        bytes memory head =
            abi.encode(WORKERPOOL_TYPEHASH, o.workerpool, o.workerpoolprice, o.volume, o.tag, o.category, o.trust);
        return
            typed(
                keccak256(bytes.concat(head, abi.encode(o.apprestrict, o.datasetrestrict, o.requesterrestrict, o.salt)))
            );
    }

    function hashOf(Orders.RequestOrder memory o) internal view returns (bytes32) {
        bytes memory head = abi.encode(
            REQUEST_TYPEHASH, o.app, o.appmaxprice, o.dataset, o.datasetmaxprice, o.workerpool, o.workerpoolmaxprice
        );
        bytes memory tail = abi.encode(o.requester, o.volume, o.tag, o.category, o.trust, o.beneficiary, o.callback);
        return typed(keccak256(bytes.concat(head, tail, abi.encode(keccak256(bytes(o.params)), o.salt))));
    }

    function typed(bytes32 structHash) internal view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("iExecODB"), keccak256("5.0.0"), block.chainid, address(hub))
        );
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    // ---- steps ----

    function makeDeal(Terms memory t) internal returns (bytes32) {
        return hub.matchOrders(appOrder(t), datasetOrder(t), workerpoolOrder(t), requestOrder(t));
    }

    /// @dev A deal of one task, initialised.
    function makeTask(Terms memory t) internal returns (bytes32 taskid) {
        taskid = hub.initialize(makeDeal(t), 0);
        knownTasks.push(taskid);
    }

    function makeTask(uint256 trust) internal returns (bytes32) {
        Terms memory t = terms();
        t.trust = trust;
        return makeTask(t);
    }

    function resultHash(bytes32 taskid, bytes32 digest) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(taskid, digest));
    }

    function resultSeal(address who, bytes32 taskid, bytes32 digest) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(who, taskid, digest));
    }

    function authorization(address who, bytes32 taskid) internal pure returns (bytes memory) {
        return messageSignature(POOL_KEY, keccak256(abi.encodePacked(who, taskid, address(0))));
    }

    function contribute(uint256 i, bytes32 taskid, bytes32 digest) internal {
        contributeRaw(i, taskid, resultHash(taskid, digest), resultSeal(worker(i), taskid, digest));
    }

    /// @dev With a hash and a seal that need not belong together, as somebody who copies would send.
    function contributeRaw(uint256 i, bytes32 taskid, bytes32 hash, bytes32 seal) internal {
        bytes memory permit = authorization(worker(i), taskid);
        vm.prank(worker(i));
        hub.contribute(taskid, hash, seal, address(0), "", permit);
    }

    function reveal(uint256 i, bytes32 taskid, bytes32 digest) internal {
        vm.prank(worker(i));
        hub.reveal(taskid, digest);
    }

    function finalize(bytes32 taskid) internal {
        vm.prank(pool);
        hub.finalize(taskid, "results", "");
    }

    /// @dev Workers `first` to `first + count - 1` contribute the same digest.
    function contributeMany(uint256 first, uint256 count, bytes32 taskid, bytes32 digest) internal {
        for (uint256 i = first; i < first + count; ++i) {
            contribute(i, taskid, digest);
        }
    }

    function revealMany(uint256 first, uint256 count, bytes32 taskid, bytes32 digest) internal {
        for (uint256 i = first; i < first + count; ++i) {
            reveal(i, taskid, digest);
        }
    }

    function setPolicy(uint256 stakeRatio, uint256 rewardRatio) internal {
        vm.prank(pool);
        Workerpool(workerpool).changePolicy(stakeRatio, rewardRatio);
    }

    /// @dev What the hub returns to raw calldata.
    function answerTo(bytes memory data) internal view returns (bytes memory) {
        (bool ok, bytes memory answer) = address(hub).staticcall(data);
        assertTrue(ok, "call");
        return answer;
    }

    // ---- books ----

    function stakeOf(address who) internal view returns (uint256) {
        return hub.viewAccount(who).stake;
    }

    function lockedOf(address who) internal view returns (uint256) {
        return hub.viewAccount(who).locked;
    }

    function potOf(bytes32 taskid) internal view returns (uint256 pot) {
        (,,, pot) = hub.viewTaskState(taskid);
    }

    /// @dev Notes everybody's free stake, for `gained`.
    function openBooks() internal {
        for (uint256 i = 0; i < people.length; ++i) {
            stakeBefore[people[i]] = stakeOf(people[i]);
        }
    }

    /// @dev What `who` gained in free stake since `openBooks`.
    function gained(address who) internal view returns (int256) {
        return int256(stakeOf(who)) - int256(stakeBefore[who]);
    }

    /// @dev I1 and I2: nothing made, nothing lost, and the hub holds what is locked.
    function checkBooks() internal view {
        uint256 stakes = stakeOf(address(hub));
        uint256 locks = 0;
        for (uint256 i = 0; i < people.length; ++i) {
            stakes += stakeOf(people[i]);
            locks += lockedOf(people[i]);
        }
        for (uint256 i = 0; i < knownTasks.length; ++i) {
            locks += potOf(knownTasks[i]);
        }
        assertEq(stakes, hub.totalSupply(), "I1: stakes and supply");
        assertTrue(hub.totalSupply() <= token.balanceOf(address(hub)), "I1: supply and tokens");
        assertEq(stakeOf(address(hub)), locks, "I2: hub and locks");
    }

    function status(bytes32 taskid) internal view returns (uint256) {
        return uint256(hub.viewTask(taskid).status);
    }

    function voteStatus(bytes32 taskid, uint256 i) internal view returns (uint256) {
        return uint256(hub.viewContribution(taskid, worker(i)).status);
    }
}
