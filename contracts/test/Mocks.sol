// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IHub} from "../src/hub/interfaces/IHub.sol";

/// @notice A contract account whose signatures are those of one key (ERC-1271); it can also act on the hub.
contract ContractWallet {
    address private immutable signer;

    constructor(address signer_) {
        signer = signer_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recoverCalldata(hash, signature) == signer ? this.isValidSignature.selector : bytes4(0);
    }

    function act(address target, bytes calldata data) external {
        (bool ok, bytes memory answer) = target.call(data);
        if (!ok) {
            assembly {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }
}

/// @notice Answers every static call with megabytes, or burns all gas.
contract HostileWallet {
    bool private immutable burn;

    constructor(bool burn_) {
        burn = burn_;
    }

    fallback() external {
        if (burn) while (true) {}
        assembly {
            return(0, 1000000)
        }
    }
}

/// @notice An identity contract with one group (ERC-734).
contract Group {
    mapping(address => bool) public members;

    function add(address member) external {
        members[member] = true;
    }

    function keyHasPurpose(bytes32 key, uint256 purpose) external view returns (bool) {
        return purpose == 4 && members[address(uint160(uint256(key)))];
    }
}

/// @notice Keeps what it is called back with, and how much gas it had.
contract GoodCallback {
    bytes32 public id;
    bytes public result;
    uint256 public gasGiven;

    function receiveResult(bytes32 id_, bytes calldata result_) external {
        gasGiven = gasleft();
        id = id_;
        result = result_;
    }
}

/// @notice Misbehaves in the way it is told.
contract BadCallback {
    enum Way {
        Revert,
        Burn,
        Bomb,
        Reenter
    }

    Way private immutable way;
    IHub private immutable hub;
    uint256 public reentered;

    constructor(Way way_, IHub hub_) {
        way = way_;
        hub = hub_;
    }

    function receiveResult(bytes32 id, bytes calldata) external {
        if (way == Way.Revert) revert("no");
        if (way == Way.Burn) while (true) {}
        if (way == Way.Bomb) {
            assembly {
                revert(0, 50000)
            }
        }
        // Every door that moves money or tasks is tried; one that opens is counted.
        _try(abi.encodeCall(hub.finalize, (id, "", "")));
        _try(abi.encodeCall(hub.claim, (id)));
        _try(abi.encodeCall(hub.withdraw, (0)));
        _try(abi.encodeCall(hub.deposit, (0)));
        _try(abi.encodeCall(hub.transfer, (address(1), 0)));
    }

    function _try(bytes memory data) private {
        (bool ok,) = address(hub).call(data);
        if (ok) ++reentered;
    }
}

/// @notice A token that answers false instead of moving anything, once it is told to.
contract FalseToken is ERC20 {
    bool public refusing;

    constructor() ERC20("False", "FALSE") {
        _mint(msg.sender, 1e18);
    }

    function refuse(bool refusing_) external {
        refusing = refusing_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return refusing ? false : super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return refusing ? false : super.transferFrom(from, to, amount);
    }
}

/// @notice A token that keeps a hundredth of each transfer.
contract FeeToken is ERC20 {
    constructor() ERC20("Fee", "FEE") {
        _mint(msg.sender, 1e18);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        _burn(to, amount / 100);
        return true;
    }
}

/// @notice Answers an approval with false.
contract RefusingSpender {
    function receiveApproval(address, uint256, address, bytes calldata) external pure returns (bool) {
        return false;
    }
}
