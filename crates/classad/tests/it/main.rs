//! The language as its users see it.

mod bounds;
mod functional;
mod logic;
mod matching;
mod oracle;
mod properties;
mod vectors;

/// What HTCondor's library answers, expression by expression.
#[test]
fn values_are_those_of_htcondor() {
    let (count, differences) = vectors::check(include_str!("../data/vectors.txt"));
    let shown: Vec<String> = differences
        .iter()
        .map(|vectors::Difference { expression, expected, got, trouble }| {
            format!("{expression}\n  library: {expected}\n  ours: {got} {trouble:?}")
        })
        .collect();
    assert!(shown.is_empty(), "{} of {count}:\n{}", shown.len(), shown.join("\n"));
    assert!(count >= 5_000, "{count} vectors");
}
