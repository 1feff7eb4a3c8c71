use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolError;

use super::{Reason, Revert};
use crate::abi::{IHub, error_name};

fn decode(data: impl Into<Bytes>) -> Revert {
    Revert::decode(data.into())
}

#[test]
fn each_kind_of_refusal_is_read() {
    let message = Revert::message("iExecV5-matchOrders-0x60");
    assert_eq!(decode(message.data.clone()), message);
    assert_eq!(message.code(), "iExecV5-matchOrders-0x60");
    let panic = hex::decode(format!("4e487b71{:064x}", 0x11)).unwrap();
    assert_eq!(decode(panic).reason, Reason::Panic(0x11));
    let custom = IHub::NotFirst { taskid: B256::ZERO }.abi_encode();
    assert_eq!(decode(custom).reason, Reason::Custom("NotFirst".to_owned()));
    assert_eq!(decode(vec![1, 2, 3, 4, 5]).reason, Reason::Unknown([1, 2, 3, 4]));
    for short in [vec![], vec![1, 2, 3]] {
        assert_eq!(decode(short).reason, Reason::Silent);
    }
    // An `Error(string)` that is cut short is none.
    let cut = decode(message.data.slice(..40));
    assert!(matches!(cut.reason, Reason::Unknown(_)), "{cut:?}");
}

#[test]
fn a_refusal_survives_being_stored() {
    let revert = decode(IHub::HubCannotHold {}.abi_encode());
    let text = serde_json::to_string(&revert).unwrap();
    assert_eq!(serde_json::from_str::<Revert>(&text).unwrap(), revert);
}

#[test]
fn what_people_read_says_what_to_do() {
    let used_up = Revert::message("iExecV5-matchOrders-0x60").to_string();
    assert!(
        used_up.contains("take or sign a fresh one") && used_up.ends_with("(iExecV5-matchOrders-0x60)"),
        "{used_up}"
    );
    let account = Address::repeat_byte(5);
    let error = IHub::InsufficientStake { account, available: U256::from(5), needed: U256::from(2_000_000_000) };
    let poor = decode(error.abi_encode()).to_string();
    assert!(poor.contains("2 GRIST are needed: deposit more") && poor.contains(&account.to_string()), "{poor}");
    let done = decode(IHub::WrongTaskStatus { taskid: B256::ZERO, status: 3 }.abi_encode()).to_string();
    assert!(done.contains("is completed"), "{done}");
    assert!(decode(vec![]).to_string().contains("without a reason"));
    assert!(Revert::message("a word of another contract").to_string().contains("a word of another contract"));
}

/// Every refusal of `matchOrders`, and every error of the hub that a user can cause, has a sentence.
#[test]
fn no_refusal_of_a_user_is_left_without_a_sentence() {
    let sources = ["MatchFacet", "TaskFacet", "EscrowFacet"].map(|name| {
        let path = format!("{}/../../contracts/src/hub/facets/{name}.sol", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    });
    let mut seen = 0;
    for text in sources.iter().flat_map(|source| source.split('"')) {
        if text.starts_with("iExecV5-matchOrders-0x") {
            seen += 1;
            assert!(Revert::message(text).advice().is_some(), "{text}");
        }
    }
    assert_eq!(seen, 28);
    // What only clients' mistakes cause, or dataset attachments, which no command makes.
    let left_out = [
        "ArrayLengthMismatch",
        "UnexpectedTokenAmount",
        "UnsupportedOperation",
        "OperationFailed",
        "IncompatibleDatasetOrder",
    ];
    for source in &sources {
        for error in source.split("revert ").skip(1) {
            let name: String = error.chars().take_while(char::is_ascii_alphanumeric).collect();
            if left_out.contains(&name.as_str()) {
                continue;
            }
            let advised = super::advice::of(&name).is_some() || NUMBERED.contains(&name.as_str());
            assert!(advised, "{name} has no sentence");
        }
    }
    for name in NUMBERED {
        let known = IHub::IHubErrors::SELECTORS.iter().any(|selector| error_name(*selector) == Some(name));
        assert!(known, "{name} is no error of the hub");
    }
}

/// Those whose sentence is made from their numbers.
const NUMBERED: [&str; 7] = [
    "InsufficientStake",
    "InsufficientAllowance",
    "DeadlinePassed",
    "TooEarly",
    "WrongTaskStatus",
    "AlreadyConceded",
    "TrustNotOne",
];
