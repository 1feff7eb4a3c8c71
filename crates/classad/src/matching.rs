//! Two ads that suit each other.

use std::sync::LazyLock;

use crate::ad::ClassAd;
use crate::eval::Evaluation;
use crate::name::Name;
use crate::value::Value;

pub(crate) static REQUIREMENTS: LazyLock<Name> = LazyLock::new(|| Name::known("Requirements"));
pub(crate) static RANK: LazyLock<Name> = LazyLock::new(|| Name::known("Rank"));

/// Whether two ads match: the `Requirements` of each are true of the other. An ad without `Requirements` matches nothing; one that
/// takes anything says `true`.
pub fn matches(left: &ClassAd, right: &ClassAd) -> bool {
    accepts(left, right) && accepts(right, left)
}

/// Whether the `Requirements` of an ad are true of another.
pub fn accepts(ad: &ClassAd, target: &ClassAd) -> bool {
    ad.lookup(&REQUIREMENTS)
        .is_some_and(|requirements| Evaluation::of(ad).with_target(Some(target)).holds(requirements))
}

/// How much an ad likes another: its `Rank`, and 0 if that is no number.
pub fn rank(ad: &ClassAd, target: &ClassAd) -> f64 {
    ad.lookup(&RANK).map_or(0.0, |rank| as_rank(&Evaluation::of(ad).with_target(Some(target)).evaluate(rank)))
}

pub(crate) fn as_rank(value: &Value) -> f64 {
    value.number().filter(|rank| !rank.is_nan()).unwrap_or(0.0)
}
