//! What the policy promises, measured in a market in miniature; and that it always holds, for any history.

mod market;
mod properties;
mod replay;
mod schemes;
mod table;
mod targets;

/// Seeds of a measurement: a few, or many where `GRISTMILL_SLOW_TESTS` asks for it.
fn seeds(few: u64) -> std::ops::RangeInclusive<u64> {
    1..=if std::env::var_os("GRISTMILL_SLOW_TESTS").is_some() { 10 } else { few }
}
