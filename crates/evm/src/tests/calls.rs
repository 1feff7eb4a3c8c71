//! Calls and gas estimates.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};

use super::support::*;
use crate::{AccountOverride, CallBlock, CallError, CallRequest, StateOverrides};

const NEXT: CallBlock = CallBlock::Next { clock: START + 100 };

struct Setup {
    chain: TestChain,
    contract: Address,
    sender: Sender,
}

fn setup() -> Setup {
    let chain = TestChain::new();
    let mut sender = Sender::new(1);
    let (deploy, contract) = sender.deploy();
    chain.block(vec![deploy]);
    Setup { chain, contract, sender }
}

impl Setup {
    fn request(&self, input: impl Into<Bytes>) -> CallRequest {
        CallRequest {
            from: Some(self.sender.address),
            to: Some(self.contract),
            input: input.into(),
            ..CallRequest::default()
        }
    }

    fn call(&self, request: &CallRequest, at: CallBlock) -> Result<Bytes, CallError> {
        let view = self.chain.chain.view().expect("view");
        view.call(request, at, &StateOverrides::new()).map(|outcome| outcome.output)
    }

    fn estimate(&self, request: &CallRequest) -> Result<u64, CallError> {
        self.chain.chain.view().expect("view").estimate_gas(request, NEXT, &StateOverrides::new())
    }
}

#[test]
fn calls_see_the_time_of_the_next_block() {
    let setup = setup();
    let time = |at| U256::from_be_slice(&setup.call(&setup.request([3]), at).expect("answers"));
    assert_eq!(time(NEXT), U256::from(START + 100));
    // The clock may be behind the last block; time is not.
    assert_eq!(time(CallBlock::Next { clock: 5 }), U256::from(START));
    assert_eq!(time(CallBlock::Number(1)), U256::from(START));
}

#[test]
fn calls_leave_no_trace() {
    let setup = setup();
    let before = setup.chain.chain.head();
    setup.call(&setup.request([1]), NEXT).expect("answers");
    assert_eq!(setup.call(&setup.request([]), NEXT).expect("answers").as_ref(), word(0));
    assert_eq!(setup.chain.chain.head().hash(), before.hash());
}

#[test]
fn failures_say_what_ethereum_clients_expect() {
    let setup = setup();
    let error = setup.call(&setup.request([2, 0xde, 0xad]), NEXT).expect_err("reverts");
    assert!(matches!(&error, CallError::Reverted { data } if data.as_ref() == [0xde, 0xad]));
    assert_eq!(error.to_string(), "execution reverted");

    let endless = CallRequest { gas: Some(100_000), ..setup.request([5]) };
    let error = setup.call(&endless, NEXT).expect_err("runs out of gas");
    assert_eq!(error.to_string(), "out of gas");

    let poor = CallRequest { from: Some(Address::repeat_byte(0x66)), value: U256::from(1), ..setup.request([]) };
    let error = setup.call(&poor, NEXT).expect_err("has nothing");
    assert!(error.to_string().starts_with("insufficient funds for gas * price + value"), "{error}");
    // The zero address, which calls without a sender, needs no funds for gas.
    setup.call(&CallRequest { from: None, ..setup.request([]) }, NEXT).expect("answers");
}

#[test]
fn overrides_replace_code_balance_and_storage() {
    let setup = setup();
    let view = setup.chain.chain.view().expect("view");
    let fake = Address::repeat_byte(0x55);
    let overrides: StateOverrides = [
        (
            fake,
            AccountOverride {
                code: Some(CONTRACT.to_vec().into()),
                state: Some([(B256::ZERO, B256::with_last_byte(42))].into()),
                ..AccountOverride::default()
            },
        ),
        (
            setup.contract,
            AccountOverride {
                state_diff: [(B256::ZERO, B256::with_last_byte(7))].into(),
                ..AccountOverride::default()
            },
        ),
    ]
    .into();
    let read = |to| {
        let request = CallRequest { to: Some(to), ..CallRequest::default() };
        view.call(&request, NEXT, &overrides).expect("answers").output
    };
    assert_eq!(read(fake).as_ref(), word(42));
    assert_eq!(read(setup.contract).as_ref(), word(7));

    let rich = AccountOverride { balance: Some(U256::from(9)), ..AccountOverride::default() };
    let request = CallRequest {
        from: Some(fake),
        to: Some(Address::repeat_byte(1)),
        value: U256::from(9),
        ..CallRequest::default()
    };
    view.call(&request, NEXT, &[(fake, rich)].into()).expect("has enough");
}

#[test]
fn estimates_are_enough_and_not_much_more() {
    let mut setup = setup();
    let inputs: [Bytes; 4] = [vec![1].into(), vec![].into(), store(9, 9), store(9, 0)];
    for input in inputs {
        let request = setup.request(input.clone());
        let estimate = setup.estimate(&request).expect("an estimate");
        let works = |gas| setup.call(&CallRequest { gas: Some(gas), ..request.clone() }, NEXT).is_ok();
        assert!(works(estimate), "{input}: {estimate} is not enough");
        let least = (21_000..=estimate).find(|gas| works(*gas)).expect("some gas is enough");
        assert!(estimate - least <= estimate * 15 / 1000 + 1, "{input}: {estimate}, least {least}");
        let sender = &mut setup.sender;
        let transaction = sender.send(TxKind::Call(setup.contract), U256::ZERO, input.clone(), estimate);
        assert!(setup.chain.block(vec![transaction]).receipts[0].success, "{input}");
    }
}

#[test]
fn estimates_of_transfers_deployments_and_failures() {
    let setup = setup();
    let transfer = CallRequest { to: Some(Address::repeat_byte(3)), value: U256::from(1), ..setup.request([]) };
    assert_eq!(setup.estimate(&transfer).expect("an estimate"), 21_000);
    let deploy = CallRequest { to: None, ..setup.request(init_code()) };
    let estimate = setup.estimate(&deploy).expect("an estimate");
    assert!((70_000..90_000).contains(&estimate), "{estimate}");

    let error = setup.estimate(&setup.request([2, 7])).expect_err("reverts");
    assert!(matches!(error, CallError::Reverted { data } if data.as_ref() == [7]));
    let endless = CallRequest { gas: Some(90_000), ..setup.request([5]) };
    let error = setup.estimate(&endless).expect_err("no gas is enough");
    assert_eq!(error.to_string(), "gas required exceeds allowance (90000)");
    let tight = CallRequest { gas: Some(20_000), ..setup.request([1]) };
    let error = setup.estimate(&tight).expect_err("less than the least");
    assert_eq!(error.to_string(), "gas required exceeds allowance (20000)");
}
