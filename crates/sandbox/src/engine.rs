//! Configure the engine so that replicas agree bit for bit, and name that configuration.

use wasmtime::{Config, Engine, Strategy, Trap, WasmFeatures};

/// The engine's version. Part of the profile: another version may count fuel differently.
pub const WASMTIME_VERSION: &str = "48.0.8";
/// Version of the host interface of this crate: the functions offered, their fuel, the virtual world, the witness.
/// Whoever changes what a guest can notice raises it.
pub const HOST_VERSION: u32 = 1;

/// Native stack of a guest. Deeper recursion is a fault of the host, since frames differ between code generators.
pub(crate) const WASM_STACK_BYTES: usize = 4 << 20;
/// Address space reserved for a linear memory, so that bounds checks need no instructions.
pub(crate) const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

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

/// What a module may use. Threads, several memories, 64-bit memories, garbage collection, exceptions and components
/// are left out: no command-line program of today's compilers needs them by default.
const FEATURES: [WasmFeatures; 13] = [
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
    WasmFeatures::RELAXED_SIMD,
    WasmFeatures::TAIL_CALL,
    WasmFeatures::EXTENDED_CONST,
];

/// The engine profile of this host, which names all that the outcome of a run can depend on apart from its inputs.
/// Replicas of a task must have the same.
pub fn engine_profile() -> String {
    format!("wasmtime-{WASMTIME_VERSION}/{}/nan-canonical/host-{HOST_VERSION}", cpu_profile())
}

fn cpu_profile() -> &'static str {
    if cfg!(target_arch = "x86_64") { if has_v3() { "x86-64-v3" } else { "x86-64" } } else { std::env::consts::ARCH }
}

#[cfg(target_arch = "x86_64")]
fn has_v3() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2")
        && has!("popcnt")
        && has!("avx")
        && has!("avx2")
        && has!("fma")
        && has!("bmi1")
        && has!("bmi2")
        && has!("lzcnt")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_v3() -> bool {
    false
}

/// What the code of an [`Ending::Trapped`](gristmill_result::Ending::Trapped) means, in words; none for a code that this
/// engine does not give.
pub fn describe_trap(code: u32) -> Option<String> {
    let trap = Trap::from_u8(u8::try_from(code).ok()?)?;
    Some(trap.to_string().trim_start_matches("wasm trap: ").to_owned())
}

/// The engine of this host's profile.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.strategy(Strategy::Cranelift);
    config.wasm_features(WasmFeatures::all(), false);
    for feature in FEATURES {
        config.wasm_features(feature, true);
    }
    config.relaxed_simd_deterministic(true);
    config.cranelift_nan_canonicalization(true);
    config.consume_fuel(true);
    // The second is not used, but the engine insists that it is not the smaller one.
    config.max_wasm_stack(WASM_STACK_BYTES).async_stack_size(WASM_STACK_BYTES);
    config.memory_reservation(MEMORY_RESERVATION_BYTES);
    #[cfg(target_arch = "x86_64")]
    pin_cpu(&mut config)?;
    Engine::new(&config)
}

/// Generates code for exactly the profile's CPU features, whatever else this host has.
#[cfg(target_arch = "x86_64")]
fn pin_cpu(config: &mut Config) -> wasmtime::Result<()> {
    config.target("x86_64-unknown-linux-gnu")?;
    if has_v3() {
        for flag in X86_64_V3 {
            // SAFETY: each of these features was just found on this CPU by `has_v3`, so code that uses it runs here;
            // the engine checks it again when the code is loaded.
            unsafe { config.cranelift_flag_enable(flag) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_the_engine_that_is_linked() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry), "WASMTIME_VERSION is not the version in Cargo.lock");
        assert_eq!(describe_trap(7).as_deref(), Some("integer divide by zero"));
        assert_eq!((describe_trap(200), describe_trap(1 << 20)), (None, None));
        assert!(engine_profile().starts_with(&format!("wasmtime-{WASMTIME_VERSION}/")));
    }
}
