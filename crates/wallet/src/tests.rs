//! Known keys and signatures, files that must be refused, and secrets that must not show.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use alloy_primitives::{Address, B256, Signature, U256, address, b256, hex, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};

use crate::{KeyError, RecoverError, Wallet, WalletFileError, recover, recover_message, recover_typed};

/// The key and address that the documentation of Ethereum's JavaScript libraries uses.
const DOCS_KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
const DOCS_ADDRESS: Address = address!("2c7536E3605D9C16a7a3D7b1898e529396a65c23");

/// The order of the curve secp256k1.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

fn docs_wallet() -> Wallet {
    Wallet::import_hex(DOCS_KEY).unwrap()
}

/// The whole chain of messages of an error, as the program prints it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

#[test]
fn known_keys_have_known_addresses() {
    let cases = [
        (DOCS_KEY, DOCS_ADDRESS),
        (
            "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
            address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        ),
        (
            "  0X0000000000000000000000000000000000000000000000000000000000000001\r\n",
            address!("7E5F4552091A69125d5DfCb7b8C2659029395Bdf"),
        ),
    ];
    for (key, address) in cases {
        assert_eq!(Wallet::import_hex(key).unwrap().address(), address);
        assert_eq!(Wallet::import_reader(key.as_bytes()).unwrap().address(), address);
    }
}

#[test]
fn numbers_that_are_no_keys_are_refused_and_not_repeated() {
    let mut last_key = ORDER.to_owned();
    last_key.replace_range(62.., "40");
    assert!(Wallet::import_hex(&last_key).is_ok(), "the order less one is a key");

    for text in [&"0".repeat(64), ORDER, &"f".repeat(64)] {
        assert!(matches!(Wallet::import_hex(text), Err(KeyError::OutOfRange)), "{text}");
    }
    for (text, digits) in [("", 0), ("0x", 0), (&DOCS_KEY[..63], 63), (&"é".repeat(64)[..64], 32)] {
        let error = Wallet::import_hex(text).unwrap_err();
        assert!(matches!(error, KeyError::Length { digits: got } if got == digits), "{error}");
    }
    let mut bad = DOCS_KEY.to_owned();
    bad.replace_range(9..10, "g");
    let error = Wallet::import_hex(&bad).unwrap_err();
    assert!(matches!(error, KeyError::NotHex { position: 10 }), "{error}");
    assert!(!chain(&error).contains(&DOCS_KEY[..8]));

    let long = Wallet::import_reader(std::io::repeat(b'a')).unwrap_err();
    assert!(matches!(long, KeyError::Length { .. }), "{long}");
    assert!(Wallet::import_reader(&[0xff_u8; 64][..]).is_err());
}

#[test]
fn a_known_message_has_a_known_signature() {
    let expected = hex!(
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    );
    assert_eq!(docs_wallet().sign_message(b"Some data"), expected);
    assert_eq!(recover_message(b"Some data", &expected).unwrap(), DOCS_ADDRESS);
}

sol! {
    struct Person {
        string name;
        address wallet;
    }
    struct Mail {
        Person from;
        Person to;
        string contents;
    }
}

/// The example of EIP-712, signed with the key keccak256("cow").
#[test]
fn the_example_of_eip_712_has_its_signature() {
    let cow = Wallet::import_hex(&hex::encode(keccak256("cow"))).unwrap();
    assert_eq!(cow.address(), address!("CD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"));
    let domain: Eip712Domain = eip712_domain! {
        name: "Ether Mail",
        version: "1",
        chain_id: 1,
        verifying_contract: address!("CcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"),
    };
    let mail = Mail {
        from: Person { name: "Cow".into(), wallet: cow.address() },
        to: Person { name: "Bob".into(), wallet: address!("bBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB") },
        contents: "Hello, Bob!".into(),
    };
    assert_eq!(
        mail.eip712_signing_hash(&domain),
        b256!("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2")
    );
    let expected = hex!(
        "4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b915621c"
    );
    assert_eq!(cow.sign_typed(&mail, &domain), expected);
    assert_eq!(recover_typed(&mail, &domain, &expected).unwrap(), cow.address());

    let other = Mail { contents: "Hello, Eve!".into(), ..mail };
    assert_ne!(recover_typed(&other, &domain, &expected).ok(), Some(cow.address()));
}

#[test]
fn every_signature_is_low_and_leads_back_to_its_wallet() {
    let half_order = U256::from_str_radix(ORDER, 16).unwrap() >> 1;
    for number in 0_u32..64 {
        let wallet = Wallet::import_hex(&hex::encode(keccak256(number.to_be_bytes()))).unwrap();
        let hash = keccak256(wallet.address());
        let signature = wallet.sign_hash(hash);
        assert!(matches!(signature[64], 27 | 28));
        assert!(U256::from_be_slice(&signature[32..64]) <= half_order);
        assert_eq!(recover(hash, &signature), Ok(wallet.address()));
        assert_eq!(wallet.sign_hash(hash), signature, "the same hash gives the same signature");
        assert_eq!(wallet.sign_hash_parts(hash).as_bytes(), signature);
        assert_ne!(recover(keccak256(hash), &signature), Ok(wallet.address()));
    }
}

#[test]
fn the_library_in_c_signs_and_recovers_as_the_one_in_rust() {
    let mut hash = keccak256("grist");
    for _ in 0..1_000 {
        let wallet = Wallet::import_hex(&hex::encode(hash)).unwrap();
        hash = keccak256(hash);
        let (signature, recovery) = wallet.key.sign_prehash_recoverable(hash.as_slice()).unwrap();
        let expected = Signature::from_signature_and_parity(signature, recovery.is_y_odd()).normalized_s();
        assert_eq!(wallet.sign_hash_parts(hash), expected, "{hash}");
        assert_eq!(expected.recover_address_from_prehash(&hash).ok(), Some(wallet.address()), "{hash}");
        assert_eq!(recover(hash, &expected.as_bytes()), Ok(wallet.address()), "{hash}");
    }
}

#[test]
fn twins_and_broken_signatures_are_refused() {
    let wallet = docs_wallet();
    let hash = keccak256("flour");
    let good = wallet.sign_hash(hash);

    assert_eq!(recover(hash, &good[..64]), Err(RecoverError::Length { got: 64 }));
    for byte in [0, 1, 26, 29, 255] {
        let mut bad = good;
        bad[64] = byte;
        assert_eq!(recover(hash, &bad), Err(RecoverError::RecoveryByte { got: byte }));
    }

    let order = U256::from_str_radix(ORDER, 16).unwrap();
    let mut twin = good;
    let high = order - U256::from_be_slice(&good[32..64]);
    twin[32..64].copy_from_slice(&high.to_be_bytes::<32>());
    twin[64] = 55 - good[64];
    assert_eq!(recover(hash, &twin), Err(RecoverError::HighS));

    let mut zero = [0; 65];
    zero[64] = 27;
    assert_eq!(recover(hash, &zero), Err(RecoverError::NoKey));
    assert_eq!(recover(B256::ZERO, &zero), Err(RecoverError::NoKey));
}

#[test]
fn a_saved_wallet_is_private_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    let wallet = Wallet::generate();
    wallet.save(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(Wallet::load(&path).unwrap().address(), wallet.address());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");

    let value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["address"], wallet.address().to_string());
    assert_eq!(value["key"].as_str().unwrap().len(), 66);
}

#[test]
fn a_wallet_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    let first = Wallet::load_or_generate(&path).unwrap();
    let error = Wallet::generate().save(&path).unwrap_err();
    assert!(matches!(error, WalletFileError::Exists { .. }), "{error}");
    assert_eq!(Wallet::load_or_generate(&path).unwrap().address(), first.address());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn two_at_once_get_one_wallet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    let addresses: Vec<Address> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..2).map(|_| scope.spawn(|| Wallet::load_or_generate(&path).map(|wallet| wallet.address()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert_eq!(addresses[0], addresses[1]);
}

#[test]
fn a_wallet_that_others_can_see_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet.json");
    docs_wallet().save(&path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Wallet::load(&path).unwrap_err();
        assert!(matches!(error, WalletFileError::TooOpen { mode: got, .. } if got == mode), "{error}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Wallet::load(&path).is_ok(), "stricter is fine");
}

/// Writes `text` as a private wallet file and loads it.
fn load_text(text: &[u8]) -> (Result<Wallet, WalletFileError>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("wallet.json");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (Wallet::load(&path), folder)
}

#[test]
fn damaged_files_are_refused_without_showing_the_key() {
    let address = DOCS_ADDRESS;
    let cases = [
        String::new(),
        "not json".to_owned(),
        DOCS_KEY.to_owned(),
        format!(r#"{{"version":1,"address":"{address}"}}"#),
        format!(r#"{{"version":"0x{DOCS_KEY}","address":"{address}","key":"0x{DOCS_KEY}"}}"#),
        format!(r#"{{"version":1,"address":"0x{DOCS_KEY}","key":"0x{DOCS_KEY}"}}"#),
        format!(r#"{{"version":1,"address":"{address}","key":"0x{DOCS_KEY}","0x{DOCS_KEY}":1}}"#),
        format!(r#"{{"version":2,"address":"{address}","key":"0x{DOCS_KEY}"}}"#),
        format!(r#"{{"version":1,"address":"{address}","key":"0x{}"}}"#, &DOCS_KEY[1..]),
        format!(r#"{{"version":1,"address":"{address}","key":"0x{}zz"}}"#, &DOCS_KEY[2..]),
        format!(r#"{{"version":1,"address":"{}","key":"0x{DOCS_KEY}"}}"#, Address::ZERO),
    ];
    for text in cases {
        let (loaded, _folder) = load_text(text.as_bytes());
        let shown = chain(&loaded.expect_err(&text));
        assert!(!shown.contains(&DOCS_KEY[2..12]), "leaks: {shown}");
        assert!(shown.contains("wallet.json"), "{shown}");
    }
    assert!(load_text(&vec![b' '; 1 << 20]).0.is_err());
    assert!(load_text(&[0xff; 100]).0.is_err());
}

#[test]
fn a_missing_file_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let error = Wallet::load(folder.path().join("none.json")).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(docs_wallet().save(folder.path().join("no/such/folder.json")).is_err());
    assert!(docs_wallet().save("/").is_err());
}

#[test]
fn debug_shows_the_address_only() {
    let shown = format!("{:?} {:#?}", docs_wallet(), docs_wallet());
    assert!(shown.contains(&DOCS_ADDRESS.to_string()));
    assert!(!shown.to_lowercase().contains(&DOCS_KEY[..8]));
}
