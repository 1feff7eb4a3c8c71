//! Logarithm, random numbers, clustering, and the golden cases that scipy made (`check/check.py golden`).

use super::json::{self, Json};
use super::real_prices;
use crate::args::Settings;
use crate::cluster::{average_linkage, cut, leaf_order, Matrix, Merge};
use crate::maths::ln;
use crate::outcome::decimal;
use crate::rng::Rng;
use crate::window::{distance, study};

const GOLDEN: &str = include_str!("../../check/golden.json");
/// scipy adds in another order: its heights may differ in the last digits.
const HEIGHT_TOLERANCE: f64 = 1e-9;

#[test]
fn ln_is_within_two_units_in_the_last_place() {
    let mut rng = Rng::stream(7, 0, 0);
    for _ in 0..200_000 {
        // Every normal exponent, and many numbers near 1, as daily returns are.
        let bits = (rng.next() >> 12) | ((1 + rng.below(2046)) as u64) << 52;
        for x in [f64::from_bits(bits), 1.0 + (rng.next() >> 40) as f64 * 1e-8, 0.7 + (rng.next() >> 40) as f64 * 4e-8]
        {
            let (ours, theirs) = (ln(x), x.ln());
            let unit = f64::from_bits(theirs.abs().to_bits() + 1) - theirs.abs();
            assert!((ours - theirs).abs() <= 2.0 * unit, "seed 7: ln {x:e} = {ours:e}, not {theirs:e}");
        }
    }
    assert_eq!(ln(1.0).to_bits(), 0.0f64.to_bits());
    assert_eq!(ln(2.0), std::f64::consts::LN_2);
}

#[test]
fn random_numbers_stay_below_their_bound_and_differ_by_stream() {
    let mut counts = [0u32; 10];
    let mut rng = Rng::stream(1, 2, 3);
    (0..100_000).for_each(|_| counts[rng.below(10)] += 1);
    assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
    let firsts: Vec<u64> =
        [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)].map(|(a, b, c)| Rng::stream(a, b, c).next()).to_vec();
    assert!((1..4).all(|i| !firsts[..i].contains(&firsts[i])));
    assert_eq!(Rng::stream(1, 2, 3).next(), firsts[0]);
}

fn matrix(rows: &[&[f64]]) -> Matrix {
    let mut matrix = Matrix::zero(rows.len());
    rows.iter().enumerate().for_each(|(i, row)| row.iter().enumerate().for_each(|(j, &cell)| matrix.set(i, j, cell)));
    matrix
}

/// Worked out by hand: 0 and 1 join at 1; then 3 and 4 at 2; then 2 joins {0, 1} at (3 + 4) / 2; the rest at the mean of six distances.
#[test]
fn a_small_tree_is_that_of_the_hand() {
    let distance = matrix(&[&[0.0], &[1.0, 0.0], &[3.0, 4.0, 0.0], &[6.0, 7.0, 8.0, 0.0], &[6.0, 7.0, 5.0, 2.0, 0.0]]);
    let merge = |left, right, height, leaves| Merge { left, right, height, leaves };
    let tree = average_linkage(&distance);
    assert_eq!(tree, [merge(0, 1, 1.0, 2), merge(3, 4, 2.0, 2), merge(2, 5, 3.5, 3), merge(6, 7, 6.5, 5)]);
    assert_eq!(cut(&tree, 1), [0, 0, 0, 0, 0]);
    assert_eq!(cut(&tree, 2), [0, 0, 0, 1, 1]);
    assert_eq!(cut(&tree, 3), [0, 0, 1, 2, 2]);
    assert_eq!(cut(&tree, 9), [0, 1, 2, 3, 4]);
    assert_eq!(leaf_order(&tree, &distance), [3, 4, 2, 0, 1]);
}

#[test]
fn ties_go_to_the_first_pair() {
    let distance = Matrix::zero(4).map(|_| 1.0);
    let pairs: Vec<(usize, usize)> = average_linkage(&distance).iter().map(|merge| (merge.left, merge.right)).collect();
    assert_eq!(pairs, [(0, 1), (2, 4), (3, 5)]);
}

#[test]
fn the_order_of_the_leaves_keeps_each_branch_together() {
    let mut rng = Rng::stream(11, 0, 0);
    for size in 2..40usize {
        let mut distance = Matrix::zero(size);
        (0..size).for_each(|i| (0..i).for_each(|j| distance.set(i, j, rng.below(1000) as f64)));
        let tree = average_linkage(&distance);
        let order = leaf_order(&tree, &distance);
        for count in 1..=size {
            let labels = cut(&tree, count);
            let changes = order.windows(2).filter(|pair| labels[pair[0]] != labels[pair[1]]).count();
            assert_eq!(changes, count - 1, "seed 11: {size} leaves in {count} clusters");
        }
        assert!(tree.windows(2).all(|pair| pair[0].height <= pair[1].height), "heights ascend");
    }
}

#[test]
fn distance_is_that_of_the_formula() {
    assert_eq!((distance(1.0), distance(-1.0), distance(0.5)), (0.0, 2.0, 1.0));
}

#[test]
fn decimals_round_halves_away_from_zero() {
    let cases =
        [(0.5, 0, "1"), (2.5, 0, "3"), (-0.4, 0, "0"), (1.005, 2, "1.00"), (-1.25, 1, "-1.3"), (12.0, 3, "12.000")];
    cases.iter().for_each(|&(value, places, text)| assert_eq!(decimal(value, places), text));
}

fn number(case: &Json, key: &str) -> u64 {
    case.get(key).number() as u64
}

fn settings(case: &Json) -> Settings {
    Settings { window_days: number(case, "window_days") as usize, samples: 1, ..Settings::default() }
}

#[test]
fn trees_of_real_windows_are_those_of_scipy() {
    let prices = real_prices();
    let golden = json::parse(GOLDEN);
    let cases = golden.get("trees").list();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = case.get("name").text();
        let settings = Settings { remove_market: case.get("market").text() == "remove", ..settings(case) };
        let study = study(&prices, &settings, number(case, "task"), number(case, "tasks")).expect(name);
        let rows = case.get("linkage").list();
        assert_eq!(study.tree.len(), rows.len(), "{name}");
        for (ours, row) in study.tree.iter().zip(rows) {
            let theirs: Vec<f64> = row.list().iter().map(Json::number).collect();
            assert_eq!(
                [ours.left as f64, ours.right as f64, ours.leaves as f64],
                [theirs[0], theirs[1], theirs[3]],
                "{name}"
            );
            assert!((ours.height - theirs[2]).abs() < HEIGHT_TOLERANCE, "{name}: {} and {}", ours.height, theirs[2]);
        }
    }
}

#[test]
fn counts_of_a_real_window_are_those_of_scipy() {
    let golden = json::parse(GOLDEN);
    let case = golden.get("counts");
    let settings = Settings {
        samples: number(case, "samples"),
        block_days: number(case, "block_days") as usize,
        clusters: number(case, "clusters") as usize,
        seed: number(case, "seed"),
        ..settings(case)
    };
    let study = study(&real_prices(), &settings, number(case, "task"), number(case, "tasks")).expect("the window");
    for (i, row) in case.get("together").list().iter().enumerate() {
        for (j, count) in row.list().iter().enumerate() {
            assert_eq!(study.together.at(i, j), count.number(), "{} and {}", study.tickers[i], study.tickers[j]);
        }
    }
    let alone: Vec<u64> = case.get("alone").list().iter().map(|count| count.number() as u64).collect();
    assert_eq!(study.alone, alone);
}
