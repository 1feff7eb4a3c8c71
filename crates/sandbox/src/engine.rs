//! Configure the engine so that replicas agree bit for bit.
//!
//! What is not compiled in at all: Winch (one code generator means one meaning of fuel and of traps, and half of the bugs), threads
//! (their interleaving is no function of the inputs), the component model and asynchronous calls (guests are preview1 commands that
//! run to their end), garbage collection and stack switching (no command of today's compilers needs them, and each is a large
//! surface), profiling, core dumps and the module cache of wasmtime's own.
//!
//! What is off by configuration besides: several memories and 64-bit ones (bounds checks would cost instructions), exceptions,
//! backtraces (nobody reads them), and relaxed SIMD. The engine has a deterministic form of the latter, but the NaNs of its fused
//! multiplications are not made canonical: with and without FMA in the processor their bits differ, which the probes of the tests
//! found. No compiler uses it unless told to. The engine's own fuel and canonical NaNs are off too: [`crate::meter`] does both.

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, Trap, WasmFeatures};

use crate::preview1::{TABLE_ENTRIES_MAX, TABLES_MAX};
#[cfg(target_arch = "x86_64")]
use crate::profile::CpuFeatures;
use crate::profile::EngineProfile;

/// Native stack of a guest. Deeper recursion is a fault of the host, since frames differ between code generators.
pub(crate) const WASM_STACK_BYTES: usize = 4 << 20;
/// Address space reserved for a linear memory, so that bounds checks need no instructions.
pub(crate) const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Bytes of an instance's own bookkeeping: 100,000 functions that are all in a table take 3 MB.
const INSTANCE_BYTES_MAX: usize = 256 << 20;
/// Bytes at the start of a linear memory that are cleared rather than given back between two runs: clearing them is quicker than
/// the page faults would be.
const MEMORY_KEPT_BYTES: usize = 256 << 10;
/// As that, of a table.
const TABLE_KEPT_BYTES: usize = 16 << 10;

/// CPU features of x86-64-v3 that the code generator knows, by its own names.
#[cfg(target_arch = "x86_64")]
const X86_64_V3: [&str; 11] = [
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

/// What a module may use: what the compilers of C, C++, Rust, Zig and Go turn on for a command.
const FEATURES: [WasmFeatures; 12] = [
    WasmFeatures::FLOATS,
    WasmFeatures::MUTABLE_GLOBAL,
    WasmFeatures::SATURATING_FLOAT_TO_INT,
    WasmFeatures::SIGN_EXTENSION,
    WasmFeatures::REFERENCE_TYPES,
    WasmFeatures::CALL_INDIRECT_OVERLONG,
    WasmFeatures::MULTI_VALUE,
    WasmFeatures::BULK_MEMORY,
    WasmFeatures::BULK_MEMORY_OPT,
    WasmFeatures::SIMD,
    WasmFeatures::TAIL_CALL,
    WasmFeatures::EXTENDED_CONST,
];

/// What the code of an [`Ending::Trapped`](gristmill_result::Ending::Trapped) means, in words; none for a code that this
/// engine does not give.
pub fn describe_trap(code: u32) -> Option<String> {
    let trap = Trap::from_u8(u8::try_from(code).ok()?)?;
    Some(trap.to_string().trim_start_matches("wasm trap: ").to_owned())
}

/// An engine that compiles for a profile.
pub(crate) fn compiler(profile: EngineProfile) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.strategy(Strategy::Cranelift);
    #[cfg(target_arch = "x86_64")]
    pin_cpu(&mut config, profile.cpu)?;
    Engine::new(&config)
}

/// An engine that runs what [`compiler`] made for any profile. It has no compiler, which takes a while to set up.
pub(crate) fn runtime() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.enable_compiler(false);
    Engine::new(&config)
}

/// What compiled code and the engine that runs it must have in common.
fn config() -> Config {
    let mut config = Config::new();
    config.wasm_features(WasmFeatures::all(), false);
    for feature in FEATURES {
        config.wasm_features(feature, true);
    }
    config.wasm_backtrace_max_frames(None);
    // The second is not used, but the engine insists that it is not the smaller one.
    config.max_wasm_stack(WASM_STACK_BYTES).async_stack_size(WASM_STACK_BYTES);
    config.memory_reservation(MEMORY_RESERVATION_BYTES);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(slots()));
    config
}

/// Room for one guest at a time, reserved once: a fresh instance then costs a microsecond.
fn slots() -> PoolingAllocationConfig {
    let mut slots = PoolingAllocationConfig::new();
    slots.total_core_instances(1).total_memories(1).total_tables(TABLES_MAX as u32);
    slots.max_core_instance_size(INSTANCE_BYTES_MAX);
    slots.max_memories_per_module(1).max_memory_size(MEMORY_RESERVATION_BYTES as usize);
    slots.max_tables_per_module(TABLES_MAX as u32).table_elements(TABLE_ENTRIES_MAX);
    slots.linear_memory_keep_resident(MEMORY_KEPT_BYTES).table_keep_resident(TABLE_KEPT_BYTES);
    slots
}

/// Generates code for exactly the profile's CPU features, whatever else this host has.
#[cfg(target_arch = "x86_64")]
fn pin_cpu(config: &mut Config, cpu: CpuFeatures) -> wasmtime::Result<()> {
    config.target("x86_64-unknown-linux-gnu")?;
    if cpu == CpuFeatures::X86_64V3 {
        for flag in X86_64_V3 {
            // SAFETY: code that uses a feature this CPU lacks is never run: a profile that is not supported is refused before
            // anything is compiled, and the engine checks the features again when the code is loaded.
            unsafe { config.cranelift_flag_enable(flag) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_have_words_and_other_numbers_have_none() {
        assert_eq!(describe_trap(7).as_deref(), Some("integer divide by zero"));
        assert_eq!((describe_trap(200), describe_trap(1 << 20)), (None, None));
    }
}
