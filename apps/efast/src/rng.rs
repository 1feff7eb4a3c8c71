//! A counter-based random generator: the stream of (seed, task, sample) is the same everywhere and in any order of work.

/// The odd constant of SplitMix64: 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood 2014), one stream a bootstrap sample.
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of one sample of one task.
    pub fn stream(seed: u64, task: u64, sample: u64) -> Rng {
        let mut state = scramble(seed.wrapping_add(STEP));
        state = scramble((state ^ task).wrapping_add(STEP));
        state = scramble((state ^ sample).wrapping_add(STEP));
        Rng { state }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        scramble(self.state)
    }

    /// A number below `bound`. The bias of the multiply-and-shift is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
