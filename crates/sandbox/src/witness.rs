//! Hash what a run cannot have without having been run: its fuel and its final memory.

/// Memory is looked at in pieces of this size; pieces of zeros are left out.
const PIECE_BYTES: usize = 4096;
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// The witness of the runs so far.
pub(crate) struct WitnessHasher(blake3::Hasher);

impl WitnessHasher {
    /// The witness of no run.
    pub(crate) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(gristmill_result::WITNESS_CONTEXT))
    }

    /// Adds a run: its index, the fuel it used and the linear memory it left.
    ///
    /// Of the memory, only the longest stretches of pieces that are not zero are hashed, each after its start and
    /// length, so that a guest which asked for 2 GiB and used 1 MiB costs no more than it should. Start and length
    /// make two memories with different contents different inputs of the hash.
    pub(crate) fn add(&mut self, index: u64, fuel: u64, memory: &[u8]) {
        for number in [index, fuel, memory.len() as u64] {
            self.0.update(&number.to_le_bytes());
        }
        let mut at = 0;
        while at < memory.len() {
            let start = at;
            while at < memory.len() && !is_zero(piece(memory, at)) {
                at += PIECE_BYTES;
            }
            let end = at.min(memory.len());
            if end > start {
                self.stretch(start, &memory[start..end]);
            }
            while at < memory.len() && is_zero(piece(memory, at)) {
                at += PIECE_BYTES;
            }
        }
        // No stretch is empty: this ends the run.
        self.stretch(0, &[]);
    }

    /// The witness.
    pub(crate) fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    fn stretch(&mut self, start: usize, bytes: &[u8]) {
        self.0.update(&(start as u64).to_le_bytes());
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

fn piece(memory: &[u8], at: usize) -> &[u8] {
    &memory[at..memory.len().min(at + PIECE_BYTES)]
}

fn is_zero(bytes: &[u8]) -> bool {
    // Against zeros rather than byte for byte: the system's comparison is several times as fast, and most memory is zero.
    bytes == &ZEROS[..bytes.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(runs: &[(u64, u64, &[u8])]) -> [u8; 32] {
        let mut hasher = WitnessHasher::new();
        for (index, fuel, memory) in runs {
            hasher.add(*index, *fuel, memory);
        }
        hasher.finish()
    }

    #[test]
    fn every_part_of_a_run_counts() {
        let mut memory = vec![0u8; 3 * 65536];
        memory[70_000] = 1;
        let base = witness(&[(0, 10, &memory)]);
        assert_eq!(base, witness(&[(0, 10, &memory.clone())]));
        let mut moved = vec![0u8; 3 * 65536];
        moved[70_001] = 1;
        let mut page_on = vec![0u8; 3 * 65536];
        page_on[70_000 + 4096] = 1;
        let others = [
            witness(&[(1, 10, &memory)]),
            witness(&[(0, 11, &memory)]),
            witness(&[(0, 10, &memory[..2 * 65536])]),
            witness(&[(0, 10, &moved)]),
            witness(&[(0, 10, &page_on)]),
            witness(&[(0, 10, &memory), (0, 10, &memory)]),
            witness(&[]),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(&base, other, "{number}");
        }
    }

    #[test]
    fn the_order_of_runs_counts() {
        assert_ne!(witness(&[(0, 1, &[]), (1, 1, &[])]), witness(&[(1, 1, &[]), (0, 1, &[])]));
    }
}
