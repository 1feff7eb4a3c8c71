//! How many primes are there below N? The example of an app that answers a contract.
//!
//! Besides its file it writes `computed.json`, whose `callback-data` is what the contract gets: the ABI encoding of
//! `(uint256 n, uint256 count)`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// The largest N: less than a minute of work.
const N_MAX: u64 = 10_000_000_000;
/// Numbers that are sieved at a time; what fits a cache.
const SEGMENT: u64 = 1 << 18;

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let n = match (words.next().map(|word| word.parse::<u64>()), words.next()) {
        (Some(Ok(n)), None) if n <= N_MAX => n,
        _ => {
            eprintln!("usage: primes N, with N from 0 to {}", N_MAX);
            return ExitCode::from(2);
        }
    };
    match report(n, count_below(n)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("primes: the result cannot be written: {}", error);
            ExitCode::FAILURE
        }
    }
}

fn report(n: u64, count: u64) -> std::io::Result<()> {
    let folder = PathBuf::from(env::var_os("IEXEC_OUT").unwrap_or_else(|| ".".into()));
    fs::write(folder.join("primes.txt"), format!("{} primes below {}\n", count, n))?;
    // Two words of 32 bytes, big-endian.
    let answer = format!("0x{:064x}{:064x}", n, count);
    let computed = format!(
        "{{\"deterministic-output-path\":\"{}\",\"callback-data\":\"{}\"}}\n",
        folder.display(),
        answer
    );
    fs::write(folder.join("computed.json"), computed)
}

/// A segmented sieve of Eratosthenes over the odd numbers.
fn count_below(n: u64) -> u64 {
    if n <= 2 {
        return 0;
    }
    let mut root = 1;
    while (root + 1) * (root + 1) < n {
        root += 1;
    }
    let small = small_odd_primes(root);
    let mut count = 1;
    let mut low = 3;
    while low < n {
        let high = (low + SEGMENT).min(n);
        // Place k is the odd number low + 2 k.
        let mut composite = vec![false; ((high - low + 1) / 2) as usize];
        for &prime in small.iter().take_while(|prime| *prime * *prime < high) {
            let first = prime.max((low + prime - 1) / prime) * prime;
            let mut multiple = if first % 2 == 0 { first + prime } else { first };
            while multiple < high {
                composite[((multiple - low) / 2) as usize] = true;
                multiple += 2 * prime;
            }
        }
        count += composite.iter().filter(|composite| !**composite).count() as u64;
        low += SEGMENT;
    }
    count
}

fn small_odd_primes(to: u64) -> Vec<u64> {
    let mut primes: Vec<u64> = Vec::new();
    for number in (3..=to).step_by(2) {
        if primes.iter().take_while(|prime| *prime * *prime <= number).all(|prime| number % prime != 0) {
            primes.push(number);
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_counts_come_out() {
        // pi(10^k), OEIS A006880; no power of ten is a prime.
        for (power, count) in [(1, 4), (2, 25), (3, 168), (4, 1_229), (5, 9_592), (6, 78_498), (7, 664_579)] {
            assert_eq!(count_below(10u64.pow(power)), count, "10^{}", power);
        }
    }

    #[test]
    fn every_small_number_is_right() {
        let is_prime = |number: u64| number > 1 && (2..number).all(|divisor| number % divisor != 0);
        let mut count = 0;
        for n in 0..2_000 {
            assert_eq!(count_below(n), count, "below {}", n);
            count += u64::from(is_prime(n));
        }
    }

    #[test]
    fn segments_meet() {
        let around = 3 + SEGMENT;
        for n in around - 4..around + 5 {
            let step = count_below(n + 1) - count_below(n);
            let is_prime = (2..n).take_while(|divisor| divisor * divisor <= n).all(|divisor| n % divisor != 0);
            assert_eq!(step, u64::from(is_prime), "{}", n);
        }
    }
}
