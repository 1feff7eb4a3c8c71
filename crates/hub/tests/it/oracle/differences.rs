//! The list of what may differ, and when. It is the table of contracts/README.md: a test holds the two together.

use std::fmt;

use alloy_primitives::{Address, B256, U256};
use gristmill_hub::abi;

use super::lockstep::{Log, Outcome, Refusal};

/// How a difference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both refuse, in other words.
    Words,
    /// PoCo would do it, we refuse. Neither is made to do it, so that the states stay equal.
    OnlyTheirs,
    /// We would do it, PoCo refuses. Neither is made to do it.
    OnlyOurs,
    /// Both do it, and answer differently; nothing is changed by it.
    Answer,
    /// Both do the same, and log it in another order.
    Order,
    /// Both do it, with other effects. The history ends there.
    Effects,
}

impl Kind {
    /// Its name in the table.
    fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::OnlyTheirs => "only PoCo",
            Self::OnlyOurs => "only here",
            Self::Answer => "answer",
            Self::Order => "order",
            Self::Effects => "effects",
        }
    }
}

macro_rules! differences {
    ($($(#[doc = $doc:literal])+ $name:ident, $kind:ident, $text:literal;)*) => {
        /// An intended difference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Difference {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Difference {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind::$kind,)*
                }
            }
        }

        impl fmt::Display for Difference {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

differences! {
    /// Where PoCo reverts without a reason there is a named error here.
    Named, Words, "named refusals";
    /// What has no function is refused by the diamond here, by the escrow's fallback there.
    Unknown, Words, "unknown functions";
    /// The second creation of an asset.
    Recreated, Words, "an asset twice";
    /// A price that no stake could pay is refused before the money is looked at.
    Terms, Words, "bounded terms, price";
    /// `transferFrom` looks at the allowance before anything else.
    Allowance, Words, "the allowance first";
    /// And logs what is left of it first.
    Spent, Order, "the allowance's event first";
    /// A trust of more than 96 bits.
    Trust, OnlyTheirs, "bounded terms, trust";
    /// The owner's levers that are left out.
    Levers, OnlyTheirs, "left out";
    /// `receiveApproval` by somebody who is not the token.
    Approval, OnlyTheirs, "only the token reports approvals";
    /// Stake for the hub itself.
    Held, OnlyTheirs, "the hub holds nothing";
    /// Tokens paid out to the zero address.
    Burnt, OnlyTheirs, "tokens to nobody";
    /// A category whose tasks end when they begin.
    Clock, OnlyTheirs, "no work clock of zero";
    /// The 33rd contributor.
    Crowd, OnlyTheirs, "32 contributors";
    /// Calls with the token's approval: 6.2 matches, or refuses what it does not know; 6.1 ignores them.
    Data, OnlyTheirs, "approval with a call, refused";
    /// The same, when it matches.
    Matched, Effects, "approval with a call, matched";
    /// Bits of an enclave's framework in a dataset order, which 6.2 ignores.
    Enclave, OnlyOurs, "frameworks of datasets";
    /// Reopening by another than the pool's owner.
    Reopened, OnlyOurs, "anybody reopens";
    /// Finalizing by a worker that proved.
    Finalized, OnlyOurs, "the proved finalize";
    /// A finalize that fails its recount pays nobody, so that what it would give to a callback is not looked at.
    Uncalled, OnlyOurs, "the recount, without an answer";
    /// The zero address has signed whatever is no signature.
    Nobody, Answer, "nobody signs";
    /// The first token returns nothing where ours returns true.
    Token, Answer, "the token's own answer";
    /// Who lost at finalize is marked as rejected; PoCo leaves the vote as it was.
    Marked, Answer, "losers are marked";
    /// Silent holders pay when the task is reopened, not when it ends well.
    Silent, Effects, "silence pays at reopen";
    /// A consensus that its proved holders do not carry fails.
    Recount, Effects, "the recount";
    /// Silent holders, and rejected ones of a carried consensus, pay when the task is claimed.
    Claimed, Effects, "silence pays at claim";
    /// The kitty pays the pool's price at most.
    Kitty, Effects, "the kitty's bound";
}

impl Difference {
    /// Its row in the table, as far as the test writes it: name and kind.
    pub fn row(self) -> String {
        format!(" {self} | {} ", self.kind().name())
    }

    /// Whether these two outcomes are this difference and nothing besides. Whether the step is one that may have it, the step
    /// has said before.
    pub fn explains(self, ours: &Outcome, theirs: &Outcome) -> bool {
        match (self.kind(), ours, theirs) {
            (Kind::Words, Outcome::Refused(ours), Outcome::Refused(theirs)) => self.explains_words(ours, theirs),
            // PoCo may find something else to refuse later.
            (Kind::OnlyTheirs, Outcome::Refused(ours), _) => self.explains_refusal(ours),
            (Kind::OnlyOurs, Outcome::Done { .. }, Outcome::Refused(theirs)) => self.explains_theirs(theirs),
            // Here something else may be refused later.
            (Kind::OnlyOurs, _, Outcome::Refused(theirs)) if self == Self::Enclave => self.explains_theirs(theirs),
            (Kind::Answer, Outcome::Done { returned }, Outcome::Done { returned: other }) => {
                self.explains_answer(returned, other)
            }
            _ => false,
        }
    }

    fn explains_words(self, ours: &Refusal, theirs: &Refusal) -> bool {
        match self {
            Self::Named => matches!((ours, theirs), (Refusal::Named(_), Refusal::Wordless)),
            Self::Unknown => {
                // A lever that is left out here is refused there to everybody but the owner.
                (is_said(theirs, "fallback-disabled") || is_said(theirs, "Ownable: caller is not the owner"))
                    && is_named(ours, &["FunctionNotFound"])
            }
            Self::Recreated => is_said(theirs, "Create2: Failed on deploy") && is_named(ours, &["AlreadyCreated"]),
            Self::Allowance => {
                is_said(theirs, "ERC20: transfer to the zero address") && is_named(ours, &["InsufficientAllowance"])
            }
            Self::Terms => {
                is_said(theirs, "IexecEscrow: Transfer amount exceeds balance") && is_named(ours, &["TermTooLarge"])
            }
            _ => false,
        }
    }

    fn explains_refusal(self, ours: &Refusal) -> bool {
        match self {
            Self::Trust => is_named(ours, &["TermTooLarge"]),
            Self::Levers => is_named(ours, &["FunctionNotFound"]),
            Self::Approval => is_said(ours, "wrong-token"),
            Self::Held => is_named(ours, &["HubCannotHold"]),
            Self::Burnt => is_named(ours, &["ERC20InvalidReceiver"]),
            Self::Clock => is_named(ours, &["InvalidTimeRef"]),
            Self::Crowd => is_named(ours, &["TooManyContributors"]),
            // Whatever the match, or its sender, is refused for.
            Self::Data => true,
            _ => false,
        }
    }

    fn explains_theirs(self, theirs: &Refusal) -> bool {
        match self {
            Self::Enclave => {
                is_said(theirs, "iExecV5-matchOrders-0x06") || is_named(theirs, &["IncompatibleDatasetOrder"])
            }
            Self::Reopened | Self::Finalized | Self::Uncalled => *theirs == Refusal::Wordless,
            _ => false,
        }
    }

    fn explains_answer(self, ours: &[u8], theirs: &[u8]) -> bool {
        let (yes, no) = (B256::from(U256::ONE), B256::ZERO);
        match self {
            Self::Nobody => ours == no && theirs == yes,
            Self::Token => ours == yes && theirs.is_empty(),
            Self::Marked => {
                let (rejected, contributed) = (B256::with_last_byte(3), B256::with_last_byte(1));
                ours.starts_with(rejected.as_slice())
                    && theirs.starts_with(contributed.as_slice())
                    && ours[32..] == theirs[32..]
            }
            _ => false,
        }
    }
}

/// What of the effects of one step is known to differ, so that the rest can be compared.
pub struct Effects<'a> {
    pub ours: &'a [Log],
    pub theirs: &'a [Log],
}

const SEIZE: &str = "Seize(address,uint256,bytes32)";
const FAULTY: &str = "FaultyContribution(address,bytes32)";
const TRANSFER: &str = "Transfer(address,address,uint256)";
const REWARD: &str = "Reward(address,uint256,bytes32)";
const LOCK: &str = "Lock(address,uint256)";
const UNLOCK: &str = "Unlock(address,uint256)";

impl Effects<'_> {
    /// Reopen: PoCo only says so; here `silent` are rejected first, each with its event, and their stakes wait in the pot.
    pub fn is_reopen(&self, silent: &[Address]) -> bool {
        let [reopened] = self.theirs else { return false };
        self.ours.last() == Some(reopened)
            && reopened.is("TaskReopen(bytes32)")
            && rejected(self.ours) == silent
            && self.ours.iter().all(|log| *log == *reopened || is_one_of(log, &[SEIZE, FAULTY, REWARD, LOCK]))
    }

    /// Finalize: PoCo completes the task, here it is reopened and `silent` are rejected.
    pub fn is_recount(&self, silent: &[Address]) -> bool {
        let finalized = self.theirs.iter().any(|log| log.is("TaskFinalize(bytes32,bytes)"));
        let reopened = self.ours.last().is_some_and(|log| log.is("TaskReopen(bytes32)"));
        let known = self
            .ours
            .split_last()
            .is_some_and(|(_, rest)| rest.iter().all(|log| is_one_of(log, &[SEIZE, FAULTY, REWARD, LOCK])));
        finalized && reopened && known && rejected(self.ours) == silent
    }

    /// Claim: payer and pool are settled alike; then PoCo returns every stake, and here `liable` lose theirs.
    pub fn is_claim(&self, liable: &[Address]) -> bool {
        let settled = |logs: &[Log]| -> Vec<Log> {
            let end = logs.iter().position(|log| log.is(LOCK)).map_or(0, |place| place + 1);
            logs[..end].to_vec()
        };
        let returned = |logs: &[Log]| -> Vec<Address> {
            let accounts = logs.iter().skip(settled(logs).len()).filter(|log| log.is(UNLOCK));
            accounts.map(|log| Address::from_word(log.word(0))).collect()
        };
        let mut spared = returned(self.theirs);
        spared.retain(|worker| !liable.contains(worker));
        settled(self.ours) == settled(self.theirs)
            && self.ours.last() == self.theirs.last()
            && rejected(self.ours) == liable
            && returned(self.ours) == spared
    }

    /// Success: everything is equal but what the kitty pays to the pool's owner: `ours` here, `theirs` there.
    pub fn is_kitty(&self, kitty: Address, ours: U256, theirs: U256) -> bool {
        let without = |logs: &[Log], draw: U256| -> Option<Vec<Log>> {
            let mut rest = logs.to_vec();
            if draw.is_zero() {
                return Some(rest);
            }
            let is_draw = |log: &Log| {
                log.is(SEIZE) && Address::from_word(log.word(0)) == kitty && U256::from_be_bytes(log.word(1).0) == draw
            };
            let place = rest.iter().position(is_draw)?;
            let taken: Vec<Log> = rest.drain(place..place + 3).collect();
            let paid = |log: &Log, index: usize| U256::from_be_bytes(log.word(index).0) == draw;
            (taken[1].is(TRANSFER) && paid(&taken[1], 0) && taken[2].is(REWARD) && paid(&taken[2], 1)).then_some(rest)
        };
        let (ours, theirs) = (without(self.ours, ours), without(self.theirs, theirs));
        ours.is_some() && ours == theirs
    }

    /// `transferFrom`: the same two events, the other way round.
    pub fn is_spending(&self) -> bool {
        let [approved, moved] = self.ours else { return false };
        approved.is("Approval(address,address,uint256)")
            && moved.is(TRANSFER)
            && self.theirs == [moved.clone(), approved.clone()]
    }

    /// An approval with a call: PoCo deposits; here a match follows.
    pub fn is_match(&self) -> bool {
        self.ours.starts_with(self.theirs)
            && self.ours.iter().any(|log| log.is("OrdersMatched(bytes32,bytes32,bytes32,bytes32,bytes32,uint256)"))
    }
}

/// Who was rejected, in order.
fn rejected(logs: &[Log]) -> Vec<Address> {
    logs.iter().filter(|log| log.is(FAULTY)).map(|log| Address::from_word(log.topics[1])).collect()
}

fn is_one_of(log: &Log, signatures: &[&str]) -> bool {
    signatures.iter().any(|signature| log.is(signature))
}

fn is_said(refusal: &Refusal, words: &str) -> bool {
    matches!(refusal, Refusal::Words(text) if text == words)
}

fn is_named(refusal: &Refusal, names: &[&str]) -> bool {
    match refusal {
        Refusal::Named(data) => {
            abi::error_name([data[0], data[1], data[2], data[3]]).is_some_and(|name| names.contains(&name))
        }
        _ => false,
    }
}
