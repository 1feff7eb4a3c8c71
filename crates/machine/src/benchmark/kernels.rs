//! What is timed: three kernels, each a round of some two milliseconds whose answer is known.
//!
//! Plain code for any architecture, so that a figure means the same everywhere: integers wrap, and floating point is nothing but
//! additions, products, quotients and roots, which every processor rounds alike.

use std::hint::black_box;

/// Numbers below which primes are counted.
const SIEVE_BELOW: usize = 1 << 15;
const SIEVES: u32 = 8;
/// Instructions that are interpreted.
const INSTRUCTIONS: u32 = 100_000;
/// Rounds of mixing sixteen words.
const MIXES: u32 = 22_500;

/// Rows of the matrices.
const ROWS: usize = 96;
const PRODUCTS: u32 = 4;
const BODIES: usize = 8;
const STEPS: u32 = 4_000;

/// Where pseudo-random numbers begin.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// A line of the cache.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line {
    next: u32,
    /// Its number on the way.
    rank: u32,
}

/// Lines that are followed, 64 bytes each: 32 MiB, more than a second-level cache has.
pub(super) const LINES: usize = 1 << 19;
/// Steps of a round from line to line.
const CHASE: u32 = 4_096;
/// Words of eight bytes that are streamed over: 16 MiB.
pub(super) const WORDS: usize = 1 << 21;
/// Words of a round.
const STREAM: usize = 1 << 19;

/// What [`integer`] and [`float`] give everywhere; a program in another language gives the same.
const INTEGER_ANSWER: u64 = 0x8bee_9b65_25a0_7d8a;
const FLOAT_ANSWER: u64 = 0xc090_1c1f_8814_4dcf;

/// An answer, and what it must be.
pub(super) struct Answer {
    pub(super) got: u64,
    pub(super) expected: u64,
}

/// Whole numbers and branches: a sieve, an interpreter whose jumps nobody foresees, and mixing as hash functions do it.
pub(super) fn integer() -> Answer {
    let mut sum = 0_u64;
    for _ in 0..SIEVES {
        sum = sum.wrapping_mul(31).wrapping_add(primes(black_box(SIEVE_BELOW)));
    }
    sum = sum.wrapping_mul(31).wrapping_add(interpret(black_box(INSTRUCTIONS)));
    sum = sum.wrapping_mul(31).wrapping_add(mix(black_box(MIXES)));
    Answer { got: sum, expected: INTEGER_ANSWER }
}

pub(super) fn primes(below: usize) -> u64 {
    let mut composite = vec![false; below];
    let mut count = 0;
    for number in 2..below {
        if composite[number] {
            continue;
        }
        count += 1;
        for multiple in (number * number..below).step_by(number) {
            composite[multiple] = true;
        }
    }
    count
}

fn interpret(instructions: u32) -> u64 {
    let (mut left, mut right, mut random) = (1_u64, 2_u64, SEED);
    for _ in 0..instructions {
        random = next(random);
        match random >> 61 {
            0 => left = left.wrapping_add(random),
            1 => left ^= right.rotate_left(13),
            2 => right = right.wrapping_mul(left | 1),
            3 => (left, right) = (right, left),
            4 => right = right.wrapping_sub(left >> 7),
            5 if left > right => left -= right,
            5 => right ^= left,
            6 => left = !left,
            _ => right = right.rotate_right((left & 63) as u32),
        }
    }
    left ^ right
}

/// The next of a row of numbers that look random (xorshift).
fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^ random << 17
}

fn mix(rounds: u32) -> u64 {
    let mut words: [u32; 16] = std::array::from_fn(|at| 0x9e37_79b9_u32.wrapping_mul(at as u32 + 1));
    for round in 0..rounds {
        for at in 0..16 {
            let (left, right) = (words[(at + 5) % 16], words[(at + 11) % 16]);
            words[at] = (words[at].wrapping_add(left) ^ right).rotate_left(7).wrapping_add(round);
        }
    }
    words.iter().fold(0, |sum, word| sum << 5 ^ sum >> 59 ^ u64::from(*word))
}

/// Floating point: products of matrices, and bodies that attract each other.
pub(super) fn float() -> Answer {
    let product = matrices(black_box(PRODUCTS));
    let way = bodies(black_box(STEPS));
    Answer { got: product.to_bits() ^ way.to_bits().rotate_left(1), expected: FLOAT_ANSWER }
}

fn matrices(products: u32) -> f64 {
    let cell = |seed: usize| move |at: usize| ((at * seed) % 17) as f64 / 17.0;
    let left: Vec<f64> = (0..ROWS * ROWS).map(cell(7)).collect();
    let mut right: Vec<f64> = (0..ROWS * ROWS).map(cell(5)).collect();
    let mut result = vec![0.0; ROWS * ROWS];
    for _ in 0..products {
        result.fill(0.0);
        for (from, to) in left.chunks_exact(ROWS).zip(result.chunks_exact_mut(ROWS)) {
            for (factor, row) in from.iter().zip(right.chunks_exact(ROWS)) {
                for (sum, value) in to.iter_mut().zip(row) {
                    *sum += factor * value;
                }
            }
        }
        // Kept small, so that further products say something.
        for (value, sum) in right.iter_mut().zip(&result) {
            *value = sum / ROWS as f64;
        }
    }
    right.iter().sum()
}

fn bodies(steps: u32) -> f64 {
    let mut places: [[f64; 3]; BODIES] =
        std::array::from_fn(|at| [at as f64, (at * at % 5) as f64, (at * 3 % 7) as f64].map(|it| it / 2.0));
    let mut speeds = [[0.0_f64; 3]; BODIES];
    for _ in 0..steps {
        for one in 0..BODIES {
            for other in one + 1..BODIES {
                let apart: [f64; 3] = std::array::from_fn(|axis| places[other][axis] - places[one][axis]);
                // The hundredth keeps bodies that meet from flying away.
                let square = apart[0] * apart[0] + apart[1] * apart[1] + apart[2] * apart[2] + 0.01;
                let pull = 0.001 / (square * square.sqrt());
                for axis in 0..3 {
                    speeds[one][axis] += apart[axis] * pull;
                    speeds[other][axis] -= apart[axis] * pull;
                }
            }
        }
        for (place, speed) in places.iter_mut().zip(&speeds) {
            for (coordinate, step) in place.iter_mut().zip(speed) {
                *coordinate += step * 0.01;
            }
        }
    }
    // Squares: the plain sum stays what it was, as nothing pushes from outside.
    places.iter().flatten().map(|coordinate| coordinate * coordinate).sum()
}

/// Memory: a way from line to line through all of a large buffer, in an order that no prefetcher foresees, and a stream over another.
pub(super) struct Memory {
    lines: Vec<Line>,
    at: u32,
    way: u64,
    words: Vec<u64>,
    window: usize,
    /// Times that each window has been passed before.
    passes: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        let mut order: Vec<u32> = (0..LINES as u32).collect();
        let mut random = SEED;
        for last in (1..LINES).rev() {
            random = next(random);
            order.swap(last, (random % (last as u64 + 1)) as usize);
        }
        let mut lines = vec![Line { next: 0, rank: 0 }; LINES];
        for (rank, at) in order.iter().enumerate() {
            lines[*at as usize] = Line { next: order[(rank + 1) % LINES], rank: rank as u32 };
        }
        Self { lines, at: order[0], way: 0, words: vec![1; WORDS], window: 0, passes: 1 }
    }

    /// Follows the way for a while, and streams for about as long. The answer: how far on the way it is, plus the stream's sum.
    pub(super) fn round(&mut self) -> Answer {
        let expected = (self.way + u64::from(CHASE)) % LINES as u64 + self.passes * STREAM as u64;
        Answer { got: self.chase() + self.stream(), expected }
    }

    fn chase(&mut self) -> u64 {
        for _ in 0..CHASE {
            self.at = self.lines[self.at as usize].next;
        }
        self.way += u64::from(CHASE);
        u64::from(self.lines[self.at as usize].rank)
    }

    fn stream(&mut self) -> u64 {
        let sum = self.words[self.window..self.window + STREAM].iter_mut().fold(0, |sum, word| {
            let before = *word;
            *word = before + 1;
            sum + before
        });
        self.window += STREAM;
        if self.window == WORDS {
            (self.window, self.passes) = (0, self.passes + 1);
        }
        black_box(sum)
    }
}
