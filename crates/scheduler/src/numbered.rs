//! Things by their numbers in the order of coming, most of which are neighbours: such as the tasks of a deal that wait in line.

use std::collections::BTreeMap;

/// Numbers of which a chunk has room.
const CHUNK: u64 = 32;

/// A map by number in about the bytes of its values, where numbers are dense.
#[derive(Clone, Debug)]
pub(crate) struct Numbered<T> {
    /// By their first number, in steps of [`CHUNK`].
    // INVARIANT: none is empty.
    chunks: BTreeMap<u64, Chunk<T>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Chunk<T> {
    /// A bit for each number that is there, the first one's lowest.
    present: u32,
    /// What these numbers have, in order.
    values: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }
}

/// The chunk of a number, and its place there.
fn place(number: u64) -> (u64, u32) {
    (number - number % CHUNK, (number % CHUNK) as u32)
}

impl<T> Chunk<T> {
    fn has(&self, at: u32) -> bool {
        self.present >> at & 1 == 1
    }

    /// How many there are below a place.
    fn rank(&self, at: u32) -> usize {
        (self.present & ((1 << at) - 1)).count_ones() as usize
    }

    /// Its first one from a place on.
    fn first(&self, at: u32) -> Option<(u32, &T)> {
        let rest = self.present & (u32::MAX << at);
        (rest != 0).then(|| rest.trailing_zeros()).and_then(|at| Some((at, self.values.get(self.rank(at))?)))
    }

    /// Its last one before a place.
    fn last(&self, at: u32) -> Option<(u32, &T)> {
        let rest = self.present & ((1 << at) - 1);
        (rest != 0)
            .then(|| u32::BITS - 1 - rest.leading_zeros())
            .and_then(|at| Some((at, self.values.get(self.rank(at))?)))
    }
}

impl<T: Copy> Numbered<T> {
    /// Puts one in, in the place of the one with this number.
    pub fn insert(&mut self, number: u64, value: T) {
        let (first, at) = place(number);
        let chunk = self.chunks.entry(first).or_insert_with(|| Chunk { present: 0, values: Vec::new() });
        let rank = chunk.rank(at);
        if chunk.has(at) {
            chunk.values[rank] = value;
            return;
        }
        chunk.present |= 1 << at;
        chunk.values.insert(rank, value);
        self.len += 1;
    }

    /// Takes one out; whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let (first, at) = place(number);
        let Some(chunk) = self.chunks.get_mut(&first).filter(|chunk| chunk.has(at)) else { return false };
        chunk.values.remove(chunk.rank(at));
        chunk.present &= !(1 << at);
        self.len -= 1;
        if chunk.present == 0 {
            self.chunks.remove(&first);
        }
        true
    }

    /// The first from this number on.
    pub fn first_from(&self, number: u64) -> Option<(u64, T)> {
        let (first, at) = place(number);
        let here = self.chunks.get(&first).and_then(|chunk| chunk.first(at)).map(|(at, value)| (first, at, value));
        let next = || {
            let (first, chunk) = self.chunks.range(first.checked_add(CHUNK)?..).next()?;
            chunk.first(0).map(|(at, value)| (*first, at, value))
        };
        here.or_else(next).map(|(first, at, value)| (first + u64::from(at), *value))
    }

    /// The last before this number.
    pub fn last_before(&self, number: u64) -> Option<(u64, T)> {
        let (first, at) = place(number);
        let here = self.chunks.get(&first).and_then(|chunk| chunk.last(at)).map(|(at, value)| (first, at, value));
        let before = || {
            let (first, chunk) = self.chunks.range(..first).next_back()?;
            let at = u32::BITS - 1 - chunk.present.leading_zeros();
            Some((*first, at, chunk.values.last()?))
        };
        here.or_else(before).map(|(first, at, value)| (first + u64::from(at), *value))
    }

    /// All of them, by number.
    pub fn values(&self) -> impl Iterator<Item = T> {
        self.chunks.values().flat_map(|chunk| chunk.values.iter().copied())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        for seed in 0..60u64 {
            let mut state = seed;
            let mut roll = |sides: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % sides
            };
            // Some lie at the end of the numbers, some far apart.
            let (base, step) = ([0, 31, u64::MAX - 200 * 40][seed as usize % 3], [1, 1, 7, 40][seed as usize % 4]);
            let (mut numbered, mut model) = (Numbered::default(), BTreeMap::new());
            for turn in 0..600 {
                let number = base + roll(200) * step;
                if roll(2) == 0 {
                    numbered.insert(number, turn);
                    model.insert(number, turn);
                } else {
                    assert_eq!(numbered.remove(number), model.remove(&number).is_some(), "seed {seed}");
                }
                let at = [base.saturating_add(roll(220) * step), 0, u64::MAX][roll(20).saturating_sub(17) as usize];
                let (next, before) = (model.range(at..).next(), model.range(..at).next_back());
                assert_eq!(numbered.first_from(at), next.map(|(number, turn)| (*number, *turn)), "seed {seed}");
                assert_eq!(numbered.last_before(at), before.map(|(number, turn)| (*number, *turn)), "seed {seed}");
                assert_eq!((numbered.len(), numbered.is_empty()), (model.len(), model.is_empty()), "seed {seed}");
            }
            assert!(numbered.values().eq(model.values().copied()), "seed {seed}");
            assert!(numbered.chunks.values().all(|chunk| chunk.present != 0), "seed {seed}");
        }
    }
}
