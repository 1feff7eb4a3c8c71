// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The part of the hub that a contract needs to order work. One file, so that it can be taken along.
/// @notice Names, types and field order are iExec PoCo 6's. Amounts are in nGRIST (1e-9 GRIST), times in seconds.
interface IGristmill {
    struct AppOrder {
        address app;
        uint256 appprice;
        uint256 volume;
        bytes32 tag;
        address datasetrestrict;
        address workerpoolrestrict;
        address requesterrestrict;
        bytes32 salt;
        bytes sign;
    }

    struct DatasetOrder {
        address dataset;
        uint256 datasetprice;
        uint256 volume;
        bytes32 tag;
        address apprestrict;
        address workerpoolrestrict;
        address requesterrestrict;
        bytes32 salt;
        bytes sign;
    }

    struct WorkerpoolOrder {
        address workerpool;
        uint256 workerpoolprice;
        uint256 volume;
        bytes32 tag;
        uint256 category;
        uint256 trust;
        address apprestrict;
        address datasetrestrict;
        address requesterrestrict;
        bytes32 salt;
        bytes sign;
    }

    struct RequestOrder {
        address app;
        uint256 appmaxprice;
        address dataset;
        uint256 datasetmaxprice;
        address workerpool;
        uint256 workerpoolmaxprice;
        address requester;
        uint256 volume;
        bytes32 tag;
        uint256 category;
        uint256 trust;
        address beneficiary;
        address callback;
        string params;
        bytes32 salt;
        bytes sign;
    }

    enum OrderOperation {
        SIGN,
        CLOSE
    }

    struct RequestOrderOperation {
        RequestOrder order;
        OrderOperation operation;
        bytes sign;
    }

    struct Resource {
        address pointer;
        address owner;
        uint256 price;
    }

    struct Deal {
        Resource app;
        Resource dataset;
        Resource workerpool;
        uint256 trust;
        uint256 category;
        bytes32 tag;
        address requester;
        address beneficiary;
        address callback;
        string params;
        uint256 startTime;
        uint256 botFirst;
        uint256 botSize;
        uint256 workerStake;
        uint256 schedulerRewardRatio;
        address sponsor;
    }

    enum TaskStatus {
        UNSET,
        ACTIVE,
        REVEALING,
        COMPLETED,
        FAILED
    }

    struct Task {
        TaskStatus status;
        bytes32 dealid;
        uint256 idx;
        uint256 timeref;
        uint256 contributionDeadline;
        uint256 revealDeadline;
        uint256 finalDeadline;
        bytes32 consensusValue;
        uint256 revealCounter;
        uint256 winnerCounter;
        address[] contributors;
        bytes32 resultDigest;
        bytes results;
        uint256 resultsTimestamp;
        bytes resultsCallback;
    }

    /// @notice With SIGN, the caller, who is the requester, signs an order by being there.
    function manageRequestOrder(RequestOrderOperation calldata operation) external;

    /// @notice Makes a deal; the requester's account pays.
    function matchOrders(
        AppOrder calldata apporder,
        DatasetOrder calldata datasetorder,
        WorkerpoolOrder calldata workerpoolorder,
        RequestOrder calldata requestorder
    ) external returns (bytes32 dealid);

    function initialize(bytes32 dealid, uint256 index) external returns (bytes32 taskid);
    function viewTask(bytes32 taskid) external view returns (Task memory);
    function viewDeal(bytes32 dealid) external view returns (Deal memory);
    /// @notice What the callback was given; reverts before the task is completed.
    function resultFor(bytes32 taskid) external view returns (bytes memory);
    /// @notice The free stake of an account: what it can pay with.
    function balanceOf(address account) external view returns (uint256);
    /// @notice The money itself, an ERC-20.
    function token() external view returns (address);
    function depositFor(uint256 amount, address target) external returns (bool);
    function withdrawTo(uint256 amount, address target) external returns (bool);
}

/// @notice What the hub calls when a task whose deal names a callback is completed: with 200,000 gas, once, and whatever
/// happens in it does not hold up the payment of the workers.
interface IResultReceiver {
    function receiveResult(bytes32 taskid, bytes calldata resultsCallback) external;
}
