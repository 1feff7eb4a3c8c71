//! Reach the files behind the trees: a locked-down process can open none itself.

use std::fs::File;

use crate::stop::Stop;
use crate::wire::Placed;

/// Whoever opens and moves files for a run. Each call ends the run when it fails: a host that cannot do it is no result.
pub(crate) trait Storage {
    /// The input file of this number, open for reading, if it is still what was listed.
    fn input(&self, number: u32) -> Result<File, Stop>;

    /// A scratch file of the run under way, open for reading and writing; `create` when it must not be there yet.
    fn scratch(&self, number: u64, create: bool) -> Result<File, Stop>;

    /// Removes a scratch file.
    fn remove(&self, number: u64) -> Result<(), Stop>;

    /// Puts files and folders at their names, folders before what lies in them. `bytes` are those of the files that were in memory,
    /// one after the other.
    fn place(&self, entries: Vec<Placed>, bytes: Vec<u8>) -> Result<(), Stop>;

    /// Removes the scratch folder; nothing is placed after that.
    fn clear(&self) -> Result<(), Stop>;
}
