//! Values with a range. What is out of it is an error of the file's reader, which names line and key.

use gristmill_credibility as credibility;
use gristmill_scheduler::Policy;
use gristmill_types::Amount;
use gristmill_types::category::GENESIS_CATEGORIES;
use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::{DURATION_S_MAX, HOSTS_MAX, Jobs, Saboteurs, TASKS_MAX};

/// The largest number that a file may name where no other bound is said: past it products lose their meaning.
const NUMBER_MAX: f64 = 1e12;

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// A number above 0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Positive(pub f64);

/// A number from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct NonNegative(pub f64);

/// A TOML number, with or without a point.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number was expected")]
enum Number {
    Whole(i64),
    Real(f64),
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(match Number::deserialize(deserializer)? {
        // Whole numbers of a configuration are small: those past 2^53 are out of every range here.
        Number::Whole(whole) => whole as f64,
        Number::Real(real) => real,
    })
}

macro_rules! ranged {
    ($name:ident, $fits:expr, $range:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = number(deserializer)?;
                let fits: fn(f64) -> bool = $fits;
                if fits(value) {
                    Ok(Self(value))
                } else {
                    Err(D::Error::custom(format!("{value} is out of range: it must be {}", $range)))
                }
            }
        }
    };
}

ranged!(Share, |value| (0.0..=1.0).contains(&value), "from 0 to 1");
ranged!(Positive, |value| value > 0.0 && value <= NUMBER_MAX, "above 0, and 1e12 at most");
ranged!(NonNegative, |value| (0.0..=NUMBER_MAX).contains(&value), "from 0 to 1e12");

fn whole<'de, D: Deserializer<'de>>(deserializer: D, min: u32, max: u32) -> Result<u32, D::Error> {
    let value = i64::deserialize(deserializer)?;
    let fits = u32::try_from(value).ok().filter(|value| (min..=max).contains(value));
    fits.ok_or_else(|| D::Error::custom(format!("{value} is out of range: it must be from {min} to {max}")))
}

pub(super) fn host_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, 1, HOSTS_MAX)
}

pub(super) fn slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, 1, 256)
}

pub(super) fn bags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, 1, 1_000_000)
}

pub(super) fn bag_tasks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, 1, 1_000_000)
}

pub(super) fn transactions_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer, 1, u32::MAX)
}

pub(super) fn block_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    whole(deserializer, 1, 3_600_000).map(u64::from)
}

pub(super) fn duration_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    whole(deserializer, 1, DURATION_S_MAX).map(u64::from)
}

/// "1.5 GRIST", as everywhere.
pub(super) fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

pub(super) fn category<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if GENESIS_CATEGORIES.iter().any(|(known, _)| *known == name) {
        return Ok(name);
    }
    let known = GENESIS_CATEGORIES.map(|(name, _)| name).join(", ");
    Err(D::Error::custom(format!("`{name}` is no category: write one of {known}")))
}

/// The scheduler's policy with one default of our own.
pub(super) fn default_policy() -> Policy {
    Policy { lease_duration_ms: 900_000, ..Policy::default() }
}

pub(super) fn policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    let mut table = toml::Table::deserialize(deserializer)?;
    table.entry("lease_duration_ms").or_insert(toml::Value::Integer(900_000));
    Policy::deserialize(table.into_deserializer()).map_err(D::Error::custom)
}

pub(super) fn credibility<'de, D: Deserializer<'de>>(deserializer: D) -> Result<credibility::Policy, D::Error> {
    credibility::Policy::deserialize(deserializer)?.checked().map_err(D::Error::custom)
}

pub(super) fn jobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Jobs>, D::Error> {
    let jobs = Vec::<Jobs>::deserialize(deserializer)?;
    let tasks = jobs.iter().map(|jobs| u64::from(jobs.bags) * u64::from(jobs.tasks)).sum::<u64>();
    if tasks <= TASKS_MAX {
        return Ok(jobs);
    }
    Err(D::Error::custom(format!("`bags` times `tasks` of all jobs make {tasks} tasks; {TASKS_MAX} are allowed")))
}

pub(super) fn saboteurs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Saboteurs>, D::Error> {
    let saboteurs = Vec::<Saboteurs>::deserialize(deserializer)?;
    let total = saboteurs.iter().map(|saboteurs| saboteurs.fraction.0).sum::<f64>();
    // Fractions such as 0.7 + 0.2 + 0.1 are a hair more than 1.
    if total <= 1.0 + 1e-9 {
        return Ok(saboteurs);
    }
    Err(D::Error::custom(format!("`fraction` of all saboteurs adds up to {total}; it must be 1 at most")))
}

pub(super) fn one_mb() -> NonNegative {
    NonNegative(1.0)
}

pub(super) fn one_grist() -> Amount {
    Amount::from_grist(1)
}

pub(super) fn stake() -> Amount {
    Amount::from_ngrist(300_000_000)
}

pub(super) fn always() -> Share {
    Share(1.0)
}
