//! Who is asking: iExec's challenge, signed once by the key that wants to publish.
//!
//! A client fetches a challenge for its address, signs it as typed data, and sends `authorization: <hash>_<signature>_<address>`.
//! A challenge is good for one request and [`CHALLENGE_LIFE`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, hex};
use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use gristmill_wallet::recover;
use serde_json::{Value, json};

/// How long a challenge may wait for its answer.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(300);
/// Challenges that wait; the oldest makes room.
pub const CHALLENGES_MAX: usize = 4_096;

sol! {
    /// What is signed.
    #[derive(Debug)]
    struct Challenge {
        string challenge;
    }
}

/// Why somebody is not who he says, or does not say it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// There is no header.
    #[error("the header `authorization` is missing: sign a challenge of `GET /challenge?chainId=..&address=..`")]
    Missing,
    /// It is not `<hash>_<signature>_<address>`.
    #[error("the header `authorization` is not `<hash>_<signature>_<address>`")]
    Malformed,
    /// No such challenge waits.
    #[error("this challenge was used already, is too old, or was given to another address: ask for a new one")]
    Unknown,
    /// Signed by another key.
    #[error("the challenge is not signed by {address}")]
    Signature {
        /// Who should have.
        address: Address,
    },
}

/// The challenges that wait for an answer.
#[derive(Debug, Default)]
pub struct Challenges {
    waiting: BTreeMap<B256, (Address, Instant)>,
    /// In the order they were given; may name some that were answered.
    order: VecDeque<B256>,
}

impl Challenges {
    /// A new challenge for `address`, as typed data.
    pub fn give(&mut self, chain_id: u64, address: Address, now: Instant) -> Value {
        let challenge = Challenge { challenge: hex::encode_prefixed(rand::random::<[u8; 32]>()) };
        self.waiting.insert(challenge.eip712_signing_hash(&domain(chain_id)), (address, now));
        self.order.push_back(challenge.eip712_signing_hash(&domain(chain_id)));
        while self.order.len() > CHALLENGES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.waiting.remove(&oldest);
            }
        }
        json!({
            "types": {
                "EIP712Domain": [
                    { "name": "name", "type": "string" },
                    { "name": "version", "type": "string" },
                    { "name": "chainId", "type": "uint256" },
                ],
                "Challenge": [{ "name": "challenge", "type": "string" }],
            },
            "domain": { "name": DOMAIN_NAME, "version": DOMAIN_VERSION, "chainId": chain_id },
            "primaryType": "Challenge",
            "message": { "challenge": challenge.challenge },
        })
    }

    /// Who sent this header. The challenge is used up, whatever comes out.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn answer(&mut self, header: Option<&str>, now: Instant) -> Result<Address, AuthError> {
        let mut parts = header.ok_or(AuthError::Missing)?.split('_');
        let (Some(hash), Some(signature), Some(address), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AuthError::Malformed);
        };
        let (Ok(hash), Ok(signature), Ok(address)) =
            (hash.parse::<B256>(), hex::decode(signature), address.parse::<Address>())
        else {
            return Err(AuthError::Malformed);
        };
        let waiting = self.waiting.remove(&hash);
        let fits = |(to, given): &(Address, Instant)| *to == address && now.duration_since(*given) < CHALLENGE_LIFE;
        if !waiting.as_ref().is_some_and(fits) {
            return Err(AuthError::Unknown);
        }
        match recover(hash, &signature) {
            Ok(signer) if signer == address => Ok(address),
            _ => Err(AuthError::Signature { address }),
        }
    }
}

const DOMAIN_NAME: &str = "iExec Gateway";
const DOMAIN_VERSION: &str = "1";

fn domain(chain_id: u64) -> Eip712Domain {
    alloy_sol_types::eip712_domain! { name: DOMAIN_NAME, version: DOMAIN_VERSION, chain_id: chain_id, }
}

#[cfg(test)]
mod tests {
    use gristmill_wallet::Wallet;

    use super::*;

    fn header(wallet: &Wallet, typed: &Value) -> String {
        let challenge = Challenge { challenge: typed["message"]["challenge"].as_str().unwrap().to_owned() };
        let signature = hex::encode_prefixed(wallet.sign_typed(&challenge, &domain(7)));
        format!("{}_{signature}_{}", challenge.eip712_signing_hash(&domain(7)), wallet.address())
    }

    #[test]
    fn a_challenge_is_answered_once_by_its_own_key_and_in_time() {
        let (wallet, other, now) = (Wallet::generate(), Wallet::generate(), Instant::now());
        let mut challenges = Challenges::default();
        let typed = challenges.give(7, wallet.address(), now);
        let good = header(&wallet, &typed);
        assert_eq!(challenges.answer(Some(&good), now), Ok(wallet.address()));
        assert_eq!(challenges.answer(Some(&good), now), Err(AuthError::Unknown));
        // Another key, for its own address or for the first one's.
        let typed = challenges.give(7, wallet.address(), now);
        assert_eq!(challenges.answer(Some(&header(&other, &typed)), now), Err(AuthError::Unknown));
        let typed = challenges.give(7, wallet.address(), now);
        let forged = header(&other, &typed).replace(&other.address().to_string(), &wallet.address().to_string());
        assert_eq!(challenges.answer(Some(&forged), now), Err(AuthError::Signature { address: wallet.address() }));
        let typed = challenges.give(7, wallet.address(), now);
        assert_eq!(challenges.answer(Some(&header(&wallet, &typed)), now + CHALLENGE_LIFE), Err(AuthError::Unknown));
    }

    #[test]
    fn nonsense_is_refused_and_floods_are_bounded() {
        let mut challenges = Challenges::default();
        let now = Instant::now();
        assert_eq!(challenges.answer(None, now), Err(AuthError::Missing));
        for text in ["", "_", "a_b_c", "0x12_0x34_0x56_0x78", "é_é_é"] {
            assert_eq!(challenges.answer(Some(text), now), Err(AuthError::Malformed), "{text}");
        }
        for _ in 0..CHALLENGES_MAX + 10 {
            challenges.give(7, Address::ZERO, now);
        }
        assert_eq!((challenges.waiting.len(), challenges.order.len()), (CHALLENGES_MAX, CHALLENGES_MAX));
    }
}
