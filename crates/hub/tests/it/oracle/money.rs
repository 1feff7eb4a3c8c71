//! Steps of money, assets and settings, and questions.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::sol;
use gristmill_hub::abi::{AppRegistry, DatasetRegistry, Grist, IHub, WorkerpoolRegistry};
use gristmill_types::Amount;
use gristmill_wallet::Wallet;

use super::differences::Difference;
use super::history::{History, Rule, Step};
use super::lockstep::{Both, OURS, Side, new_app, new_dataset, to};

/// An amount that nobody has, and one unit of it.
const HALF_GRIST: u64 = 500_000_000;

sol! {
    /// The owner's levers of PoCo that are left out here.
    interface Levers {
        function setCallbackGas(uint256 gas) external;
        function changeRegistries(address apps, address datasets, address workerpools) external;
        function updateDomainSeparator() external;
        function nothingOfThisName() external;
    }
}

impl History {
    fn amount(&mut self) -> U256 {
        match self.random.below(40) {
            0 => U256::MAX,
            1 => U256::ZERO,
            _ => U256::from(self.random.below(80) * HALF_GRIST),
        }
    }

    /// An account: a person, nobody, or the hub itself.
    fn account(&mut self) -> [Address; 2] {
        match self.random.below(30) {
            0 => [Address::ZERO; 2],
            1 | 2 => self.lockstep.both(|side| side.client.hub),
            _ => [self.anybody().address(); 2],
        }
    }

    pub fn money(&mut self) -> Step {
        let (mut sender, mut other, amount) = (self.anybody(), self.account(), self.amount());
        let kind = self.random.below(18);
        let mut owner = self.anybody().address();
        // Allowances are between few, so that some are used.
        if (9..=13).contains(&kind) && self.random.chance(80) {
            let few = self.people[..2].to_vec();
            (sender, owner) = (self.random.pick(&few), self.random.pick(&few).address());
            if self.random.chance(50) {
                other = [self.random.pick(&few).address(); 2];
            }
        }
        let holds = other[OURS] == self.lockstep.sides[OURS].client.hub;
        let receiver = self.lockstep.bystanders.receiver;
        let hubs = |door, calls| Step::new(door, sender.clone(), calls);
        let mut step = match kind {
            0 => {
                let amount = Amount::from_ngrist(amount.saturating_to());
                let calls = self.lockstep.both(|side| side.client.deposit(amount));
                let mut step = hubs("approveAndCall", calls);
                step.through_token = true;
                step
            }
            1 | 2 => {
                let make = |side: &Side| {
                    to(side.client.token, &Grist::approveCall { spender: side.client.hub, value: amount })
                };
                hubs("approve, of the token", self.lockstep.both(make))
            }
            3 => hubs("deposit", self.lockstep.hubs(|_, _| IHub::depositCall { amount })),
            4 => hubs("depositFor", self.lockstep.hubs(|side, _| IHub::depositForCall { amount, target: other[side] })),
            5 => {
                let short = self.random.chance(20);
                let calls = self.lockstep.hubs(|side, _| IHub::depositForArrayCall {
                    amounts: vec![amount; if short { 1 } else { 2 }],
                    targets: vec![owner, other[side]],
                });
                hubs("depositForArray", calls)
            }
            6 => hubs("withdraw", self.lockstep.hubs(|_, _| IHub::withdrawCall { amount })),
            7 => hubs("withdrawTo", self.lockstep.hubs(|side, _| IHub::withdrawToCall { amount, target: other[side] })),
            8..=12 | 16 | 17 => self.stake(kind, &sender, owner, other, amount),
            13 => {
                let calls = self.lockstep.hubs(|_, _| IHub::approveAndCallCall {
                    spender: receiver,
                    amount,
                    data: Bytes::from_static(b"something"),
                });
                hubs("approveAndCall, of the hub", calls)
            }
            14 => hubs("recover", self.lockstep.hubs(|_, _| IHub::recoverCall {})),
            _ => {
                let calls = self.lockstep.hubs(|_, side| IHub::receiveApprovalCall {
                    sender: owner,
                    amount,
                    token: side.client.token,
                    data: Bytes::new(),
                });
                let mut step = hubs("receiveApproval", calls);
                step.may.push(Difference::Approval);
                step
            }
        };
        let to_nobody = step.door == "withdrawTo" && other[OURS] == Address::ZERO;
        step.may.extend(to_nobody.then_some(Difference::Burnt));
        step.may.extend(holds.then_some(Difference::Held));
        step
    }

    /// Free stake as an ERC-20.
    fn stake(&self, kind: u64, sender: &Wallet, owner: Address, other: Both<Address>, amount: U256) -> Step {
        let step = |door, calls| Step::new(door, sender.clone(), calls);
        match kind {
            8 => step("transfer", self.lockstep.hubs(|side, _| IHub::transferCall { recipient: other[side], amount })),
            9 | 16 => {
                let calls = self.lockstep.hubs(|side, _| IHub::transferFromCall {
                    sender: owner,
                    recipient: other[side],
                    amount,
                });
                let mut spending = step("transferFrom", calls);
                spending.may.push(Difference::Allowance);
                spending.rules.push(Rule::Spending);
                spending
            }
            10 | 17 => {
                step("approve", self.lockstep.hubs(|side, _| IHub::approveCall { spender: other[side], amount }))
            }
            11 => {
                let calls =
                    self.lockstep.hubs(|side, _| IHub::increaseAllowanceCall { spender: other[side], added: amount });
                step("increaseAllowance", calls)
            }
            _ => {
                let calls = self
                    .lockstep
                    .hubs(|side, _| IHub::decreaseAllowanceCall { spender: other[side], subtracted: amount });
                step("decreaseAllowance", calls)
            }
        }
    }

    /// Assets: registered, registered twice, foretold; the pool's terms.
    pub fn assets(&mut self) -> Step {
        let owner = self.anybody().address();
        // Few names, so that some come twice.
        let name = format!("number {}", self.random.below(2));
        let (app, dataset) = (new_app(owner, &name), new_dataset(owner, &name));
        let foretold = self.random.chance(50);
        let sender = self.anybody();
        let ratios = [U256::from(self.random.below(110)), U256::from(self.random.below(110))];
        let (doors, foretell, create): (_, Both<_>, Both<_>) = match self.random.below(4) {
            0 => {
                let call = AppRegistry::predictAppCall {
                    owner,
                    name: app.name.clone(),
                    kind: app.kind.clone(),
                    multiaddr: app.multiaddr.clone(),
                    checksum: app.checksum,
                    mrenclave: app.mrenclave.clone(),
                };
                let foretell = self.lockstep.both(|side| to(side.client.app_registry, &call));
                (["predictApp", "createApp"], foretell, self.lockstep.both(|side| side.client.create_app(&app)))
            }
            1 => {
                let call = DatasetRegistry::predictDatasetCall {
                    owner,
                    name: dataset.name.clone(),
                    multiaddr: dataset.multiaddr.clone(),
                    checksum: dataset.checksum,
                };
                let foretell = self.lockstep.both(|side| to(side.client.dataset_registry, &call));
                let create = self.lockstep.both(|side| side.client.create_dataset(&dataset));
                (["predictDataset", "createDataset"], foretell, create)
            }
            2 => {
                let call = WorkerpoolRegistry::predictWorkerpoolCall { owner, description: name.clone() };
                let foretell = self.lockstep.both(|side| to(side.client.workerpool_registry, &call));
                let create = self.lockstep.both(|side| side.client.create_workerpool(owner, &name));
                (["predictWorkerpool", "createWorkerpool"], foretell, create)
            }
            _ => {
                let call = gristmill_hub::abi::IWorkerpool::changePolicyCall {
                    newWorkerStakeRatio: ratios[0],
                    newSchedulerRewardRatio: ratios[1],
                };
                let sender = if self.random.chance(70) { self.pool_owner() } else { sender };
                return Step::new("changePolicy", sender, self.lockstep.both(|side| to(side.pool, &call)));
            }
        };
        self.lockstep.foretell(&foretell);
        if foretold { Step::new(doors[0], sender, foretell) } else { Step::new(doors[1], sender, create) }
    }

    /// What only the owner may do, by the owner or somebody else.
    pub fn settings(&mut self) -> Step {
        let sender = if self.random.chance(60) { self.lockstep.owner.clone() } else { self.anybody() };
        let by_owner = sender.address() == self.lockstep.owner.address();
        let clock = self.random.below(3);
        let none = Address::ZERO;
        let kind = self.random.below(6);
        let calls = match kind {
            0 => self.lockstep.hubs(|_, _| IHub::createCategoryCall {
                name: "another".to_owned(),
                description: "{}".to_owned(),
                workClockTimeRef: U256::from(clock * 100),
            }),
            1 => self.lockstep.hubs(|_, _| IHub::setTeeBrokerCall { broker: none }),
            2 => self.lockstep.hubs(|_, _| Levers::setCallbackGasCall { gas: U256::from(1) }),
            3 => self.lockstep.hubs(|_, _| Levers::changeRegistriesCall {
                apps: none,
                datasets: none,
                workerpools: none,
            }),
            4 => self.lockstep.hubs(|_, _| Levers::updateDomainSeparatorCall {}),
            _ => self.lockstep.hubs(|_, _| Levers::nothingOfThisNameCall {}),
        };
        let doors = [
            "createCategory",
            "setTeeBroker",
            "setCallbackGas",
            "changeRegistries",
            "updateDomainSeparator",
            "no function",
        ];
        let mut step = Step::new(doors[kind as usize], sender, calls);
        step.may.extend(match kind {
            0 if clock == 0 => Some(Difference::Clock),
            2 | 3 if !by_owner => Some(Difference::Unknown),
            2..=4 => Some(Difference::Levers),
            5 => Some(Difference::Unknown),
            _ => None,
        });
        step
    }

    /// Whether something is signed, by whom it may be.
    pub fn signatures(&mut self) -> Step {
        let (signer, asked) = (self.anybody(), self.anybody());
        let hash = keccak256(self.random.below(1_000).to_be_bytes());
        let mut signature = signer.sign_hash(hash).to_vec();
        match self.random.below(6) {
            0 => signature.truncate(64),
            1 => signature.truncate(10),
            2 => signature[64] = 3,
            3 => {
                // The other solution of the curve.
                let order = U256::from_be_slice(&alloy_primitives::hex!(
                    "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
                ));
                let s = order - U256::from_be_slice(&signature[32..64]);
                signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
                signature[64] = 55 - signature[64];
            }
            _ => {}
        }
        let contract = self.lockstep.bystanders.signer;
        let identity = match self.random.below(10) {
            0 => Address::ZERO,
            1 => contract,
            2..5 => asked.address(),
            _ => signer.address(),
        };
        if identity == contract && self.random.chance(70) {
            signature = keccak256(self.random.pick(&["valid-signature", "invalid-signature"])).to_vec();
        }
        let signature = Bytes::from(signature);
        let order: Both<B256> = match self.orders.requests.last() {
            Some(order) => self.lockstep.hashes(order).map(|hash| hash.0),
            None => [hash; 2],
        };
        let (door, calls) = match self.random.below(3) {
            0 => {
                let make =
                    |_: usize, _: &Side| IHub::verifySignatureCall { identity, hash, signature: signature.clone() };
                ("verifySignature", self.lockstep.hubs(make))
            }
            1 => {
                let make = |side: usize, _: &Side| IHub::verifyPresignatureCall { identity, hash: order[side] };
                ("verifyPresignature", self.lockstep.hubs(make))
            }
            _ => {
                let make = |_: usize, _: &Side| IHub::verifyPresignatureOrSignatureCall {
                    identity,
                    hash,
                    signature: signature.clone(),
                };
                ("verifyPresignatureOrSignature", self.lockstep.hubs(make))
            }
        };
        let mut step = Step::new(door, self.anybody(), calls);
        if identity == Address::ZERO {
            step.may.push(Difference::Nobody);
        }
        step
    }
}
