//! Give each run a core, the least used one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The cores of this process, with how many runs are on each. Clones share one count.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    used: Arc<Mutex<Vec<(usize, u32)>>>,
}

/// A core, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Core {
    cores: Cores,
    pub(crate) number: usize,
}

impl Cores {
    /// Those that this process may use.
    pub(crate) fn of_this_process() -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let numbers = (0..CpuSet::count()).filter(|number| allowed.is_set(*number).unwrap_or(false));
        Self { used: Arc::new(Mutex::new(numbers.map(|number| (number, 0)).collect())) }
    }

    /// None when it is not known which there are.
    pub(crate) fn take(&self) -> Option<Core> {
        let mut used = self.lock();
        let least = used.iter_mut().min_by_key(|(_, runs)| *runs)?;
        least.1 += 1;
        Some(Core { number: least.0, cores: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, u32)>> {
        // INVARIANT: no code that can panic runs under this lock, so a poisoned one is still consistent.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some((_, runs)) = self.cores.lock().iter_mut().find(|(number, _)| *number == self.number) {
            *runs -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_spread_and_cores_come_back() {
        let cores = Cores { used: Arc::new(Mutex::new(vec![(2, 0), (5, 0)])) };
        let (first, second) = (cores.take().unwrap(), cores.take().unwrap());
        assert_eq!((first.number, second.number), (2, 5));
        let third = cores.take().unwrap();
        drop(first);
        assert_eq!(third.number, 2);
        drop((second, third));
        assert!(cores.lock().iter().all(|(_, runs)| *runs == 0));
        assert!(!Cores::of_this_process().lock().is_empty());
    }
}
