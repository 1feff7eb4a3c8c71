// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Orders, their operations, and their EIP-712 hashes.
/// @notice Names, types and field order are iExec PoCo 6's: a signature made by its clients is valid here.
/// A restriction (`*restrict`, and `workerpool` in a request) is zero for anybody, an address for that one, or an
/// ERC-734 group contract for its members.
library IexecLibOrders_v5 {
    enum OrderOperationEnum {
        SIGN,
        CLOSE
    }

    struct EIP712Domain {
        string name;
        string version;
        uint256 chainId;
        address verifyingContract;
    }

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

    struct AppOrderOperation {
        AppOrder order;
        OrderOperationEnum operation;
        bytes sign;
    }

    struct DatasetOrderOperation {
        DatasetOrder order;
        OrderOperationEnum operation;
        bytes sign;
    }

    struct WorkerpoolOrderOperation {
        WorkerpoolOrder order;
        OrderOperationEnum operation;
        bytes sign;
    }

    struct RequestOrderOperation {
        RequestOrder order;
        OrderOperationEnum operation;
        bytes sign;
    }

    string private constant APP_ORDER_TYPE = "AppOrder(address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,"
        "address workerpoolrestrict,address requesterrestrict,bytes32 salt)";
    string private constant DATASET_ORDER_TYPE = "DatasetOrder(address dataset,uint256 datasetprice,uint256 volume,bytes32 tag,address apprestrict,"
        "address workerpoolrestrict,address requesterrestrict,bytes32 salt)";
    string private constant WORKERPOOL_ORDER_TYPE = "WorkerpoolOrder(address workerpool,uint256 workerpoolprice,uint256 volume,bytes32 tag,uint256 category,"
        "uint256 trust,address apprestrict,address datasetrestrict,address requesterrestrict,bytes32 salt)";
    string private constant REQUEST_ORDER_TYPE = "RequestOrder(address app,uint256 appmaxprice,address dataset,uint256 datasetmaxprice,address workerpool,"
        "uint256 workerpoolmaxprice,address requester,uint256 volume,bytes32 tag,uint256 category,uint256 trust,"
        "address beneficiary,address callback,string params,bytes32 salt)";

    bytes32 internal constant APP_ORDER_TYPEHASH = keccak256(bytes(APP_ORDER_TYPE));
    bytes32 internal constant DATASET_ORDER_TYPEHASH = keccak256(bytes(DATASET_ORDER_TYPE));
    bytes32 internal constant WORKERPOOL_ORDER_TYPEHASH = keccak256(bytes(WORKERPOOL_ORDER_TYPE));
    bytes32 internal constant REQUEST_ORDER_TYPEHASH = keccak256(bytes(REQUEST_ORDER_TYPE));
    bytes32 internal constant APP_OPERATION_TYPEHASH =
        keccak256(bytes.concat("AppOrderOperation(AppOrder order,uint256 operation)", bytes(APP_ORDER_TYPE)));
    bytes32 internal constant DATASET_OPERATION_TYPEHASH = keccak256(
        bytes.concat("DatasetOrderOperation(DatasetOrder order,uint256 operation)", bytes(DATASET_ORDER_TYPE))
    );
    bytes32 internal constant WORKERPOOL_OPERATION_TYPEHASH = keccak256(
        bytes.concat("WorkerpoolOrderOperation(WorkerpoolOrder order,uint256 operation)", bytes(WORKERPOOL_ORDER_TYPE))
    );
    bytes32 internal constant REQUEST_OPERATION_TYPEHASH = keccak256(
        bytes.concat("RequestOrderOperation(RequestOrder order,uint256 operation)", bytes(REQUEST_ORDER_TYPE))
    );
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    /// @notice EIP-712 struct hash of an order. The static members of a calldata struct lie in a row, so they are
    /// copied as one block behind the type hash; `sign` is the last member and is left out.
    function hash(AppOrder calldata order) internal pure returns (bytes32) {
        uint256 offset;
        assembly ("memory-safe") {
            offset := order
        }
        return _hashWords(APP_ORDER_TYPEHASH, offset, 8);
    }

    function hash(DatasetOrder calldata order) internal pure returns (bytes32) {
        uint256 offset;
        assembly ("memory-safe") {
            offset := order
        }
        return _hashWords(DATASET_ORDER_TYPEHASH, offset, 8);
    }

    function hash(WorkerpoolOrder calldata order) internal pure returns (bytes32) {
        uint256 offset;
        assembly ("memory-safe") {
            offset := order
        }
        return _hashWords(WORKERPOOL_ORDER_TYPEHASH, offset, 10);
    }

    /// @notice As above; `params` is the 14th word and is replaced by its hash.
    function hash(RequestOrder calldata order) internal pure returns (bytes32 result) {
        bytes32 typehash = REQUEST_ORDER_TYPEHASH;
        bytes32 paramsHash = keccak256(bytes(order.params));
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, typehash)
            calldatacopy(add(words, 0x20), order, 0x1e0)
            mstore(add(words, 0x1c0), paramsHash)
            result := keccak256(words, 0x200)
        }
    }

    function hash(AppOrderOperation calldata op) internal pure returns (bytes32) {
        return _hashOperation(APP_OPERATION_TYPEHASH, hash(op.order), op.operation);
    }

    function hash(DatasetOrderOperation calldata op) internal pure returns (bytes32) {
        return _hashOperation(DATASET_OPERATION_TYPEHASH, hash(op.order), op.operation);
    }

    function hash(WorkerpoolOrderOperation calldata op) internal pure returns (bytes32) {
        return _hashOperation(WORKERPOOL_OPERATION_TYPEHASH, hash(op.order), op.operation);
    }

    function hash(RequestOrderOperation calldata op) internal pure returns (bytes32) {
        return _hashOperation(REQUEST_OPERATION_TYPEHASH, hash(op.order), op.operation);
    }

    /// @notice The domain of this contract on this chain, read at each call: after a fork of the chain a signature
    /// made for the other branch is void here.
    function domain() internal view returns (EIP712Domain memory) {
        return EIP712Domain("iExecODB", "5.0.0", block.chainid, address(this));
    }

    function domainSeparator() internal view returns (bytes32) {
        return
            keccak256(
                abi.encode(DOMAIN_TYPEHASH, keccak256("iExecODB"), keccak256("5.0.0"), block.chainid, address(this))
            );
    }

    /// @notice What is signed for a struct hash under this hub's domain.
    function typedDataHash(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    function _hashWords(bytes32 typehash, uint256 offset, uint256 count) private pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, typehash)
            calldatacopy(add(words, 0x20), offset, mul(count, 0x20))
            result := keccak256(words, mul(add(count, 1), 0x20))
        }
    }

    function _hashOperation(bytes32 typehash, bytes32 order, OrderOperationEnum operation)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(typehash, order, operation));
    }
}
