//! Voting and spot-checking in closed form: Sarmenta's formulas, for tests, for the reader, and to hold measurements against.
//!
//! "Sabotage-tolerance mechanisms for volunteer computing systems" (L. F. G. Sarmenta, CCGrid 2001; FGCS 18(4), 2002). Names are
//! his: `f` is the fraction of saboteurs, `s` the rate at which they cheat, `phi` = f s the raw error rate, `m` the matching
//! results that voting waits for, `q` the rate of spot-checks, `n` the work entries per worker, `k` the checks passed.
//!
//! Powers have whole exponents and are multiplied out, so that every machine gives the same bits.

/// `base` to the power of `exponent`, by multiplication.
fn power(base: f64, exponent: u32) -> f64 {
    let (mut result, mut square, mut left) = (1.0, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result *= square;
        }
        square *= square;
        left >>= 1;
    }
    result
}

/// The error rate of majority voting with `2m - 1` votes, and of m-first voting, when all wrong results are equal:
/// `sum over j from m to 2m-1 of C(2m-1, j) phi^j (1-phi)^(2m-1-j)`. Of `m` = 0, and of a `phi` outside 0 to 1, it says 1.
pub fn voting_error(phi: f64, m: u32) -> f64 {
    if m == 0 || !(0.0..=1.0).contains(&phi) {
        return 1.0;
    }
    let votes = 2 * m - 1;
    let (mut choose, mut error) = (1.0, 0.0);
    for wrong in 0..=votes {
        if wrong >= m {
            error += choose * power(phi, wrong) * power(1.0 - phi, votes - wrong);
        }
        choose = choose * f64::from(votes - wrong) / f64::from(wrong + 1);
    }
    error
}

/// The fewest matching results to wait for so that what is accepted is wrong with a probability of at most `error`; `None` if more
/// than `m_max` would be needed.
pub fn voting_matches(phi: f64, error: f64, m_max: u32) -> Option<u32> {
    (1..=m_max).find(|m| voting_error(phi, *m) <= error)
}

/// Results a job that m-first voting computes in the mean, roughly: `m / (1 - phi)`.
pub fn voting_redundancy(phi: f64, m: u32) -> f64 {
    f64::from(m) / (1.0 - phi)
}

/// The error rate of spot-checking with blacklisting, over a batch of `n` entries a worker:
/// `s f (1-qs)^n / ((1-f) + f (1-qs)^n)`.
pub fn spot_check_error(f: f64, s: f64, q: f64, n: u32) -> f64 {
    let surviving = f * power(1.0 - q * s, n);
    s * surviving / ((1.0 - f) + surviving)
}

/// The bound of [`spot_check_error`] over all `s`: `f/(1-f) * 1/(q n e)`.
pub fn spot_check_bound(f: f64, q: f64, n: u32) -> f64 {
    f / (1.0 - f) / (q * f64::from(n) * std::f64::consts::E)
}

/// How often a worker's result is right after it passed `k` spot-checks, where who fails one is never seen again:
/// `1 - f`, then `1 - f/(1-f) * 1/(k e)`.
pub fn credibility_blacklisting(f: f64, k: u32) -> f64 {
    match k {
        0 => 1.0 - f,
        _ => 1.0 - (f / (1.0 - f) / (f64::from(k) * std::f64::consts::E)).min(f),
    }
}

/// The same where who fails one comes back under a new name: `1 - f`, then `1 - f/k`.
pub fn credibility_no_blacklisting(f: f64, k: u32) -> f64 {
    1.0 - f / f64::from(k.max(1))
}

/// Spot-checks after which one result is enough, with blacklisting: `k >= f/(1-f) / (e error)`.
pub fn checks_for_one_result(f: f64, error: f64) -> f64 {
    (f / (1.0 - f) / (std::f64::consts::E * error)).ceil()
}

/// The probability that each of several groups of equal results is the right one, given the credibilities of its members and
/// that the results are what they are. With `P_a` the product of the members' credibilities of group a and `B_a` that of one
/// minus them: `Cr(a) = P_a prod_{i != a} B_i / (prod_j B_j + sum_j P_j prod_{i != j} B_i)`. Results are taken for independent.
pub fn group_credibilities(groups: &[Vec<f64>]) -> Vec<f64> {
    let right = groups.iter().map(|group| group.iter().product::<f64>()).collect::<Vec<_>>();
    let wrong = groups.iter().map(|group| group.iter().map(|credibility| 1.0 - credibility).product::<f64>());
    let wrong = wrong.collect::<Vec<_>>();
    let only = |a: usize| {
        let others = wrong.iter().enumerate().filter(|(i, _)| *i != a).map(|(_, wrong)| *wrong).product::<f64>();
        right[a] * others
    };
    let none = wrong.iter().product::<f64>();
    let total = none + (0..groups.len()).map(only).sum::<f64>();
    (0..groups.len()).map(|a| only(a) / total).collect()
}

#[cfg(test)]
mod tests;
