//! Size classes of tasks and the limits that follow from them.

use serde::{Deserialize, Serialize};

/// A size class of tasks, as the hub stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// The hub's index of it.
    pub id: u64,
    /// What people call it: XS, S, M, L, XL; DEV on development networks.
    pub name: String,
    /// A sentence on it.
    pub description: String,
    /// T: the compute time of a task on the reference machine, in seconds. The hub's deadlines are multiples of it.
    pub work_clock_s: u64,
}

/// The categories a local network is born with: name and T in seconds. The index is the category's id.
pub const GENESIS_CATEGORIES: [(&str, u64); 6] =
    [("XS", 300), ("S", 1_200), ("M", 3_600), ("L", 10_800), ("XL", 36_000), ("DEV", 2)];

/// The contribution deadline of a task is so many T after the deal began.
pub const CONTRIBUTION_DEADLINE_RATIO: u64 = 7;
/// The reveal deadline is so many T after consensus.
pub const REVEAL_DEADLINE_RATIO: u64 = 2;
/// The final deadline of a task is so many T after the deal began.
pub const FINAL_DEADLINE_RATIO: u64 = 10;

/// Limits that replicas must agree on, because hitting one is a result like any other. Fixed by the category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Fuel of one run of the app (about one unit a WASM instruction).
    pub fuel: u64,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
    /// Bytes written below `IEXEC_OUT` by a task, all its items together.
    pub output_bytes: u64,
    /// Files and folders below `IEXEC_OUT` of a task, all its items together.
    pub output_files: u64,
}

/// Fuel granted for a second of T. What a machine burns in a second depends on the program: 1e9 to 2.4e10 were measured. The
/// figure lets the slowest loop reach its limit within 6 T of wall clock, so that looping is a result and not a time-out.
const FUEL_PER_SECOND: u64 = 5_000_000_000;
const MIB: u64 = 1 << 20;

impl ResourceLimits {
    /// The limits of tasks whose category has T = `work_clock_s` seconds.
    pub fn of_work_clock(work_clock_s: u64) -> Self {
        Self {
            fuel: work_clock_s.saturating_mul(FUEL_PER_SECOND),
            memory_bytes: if work_clock_s < 1_200 { 512 * MIB } else { 2_048 * MIB },
            output_bytes: if work_clock_s < 1_200 { 256 * MIB } else { 1_024 * MIB },
            output_files: 10_000,
        }
    }
}
