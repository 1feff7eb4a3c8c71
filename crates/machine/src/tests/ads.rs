//! The ad of a machine.

use gristmill_classad::{ClassAd, Expr, Value, matches};

use super::*;
use crate::{
    AD_BYTES_MAX, AdError, BENCHMARK_VERSION, Benchmark, EXPRESSION_BYTES_MAX, Extras, Fingerprint, GPUS_MAX, History,
    Lent, ToldError,
};

fn server() -> Host {
    let host = Host::new("x86_64");
    let flags = [V1, V2, V3, "hypervisor"].join(" ");
    host.processors(
        4,
        &format!("cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nmicrocode\t: 0x1\nflags\t\t: {flags}"),
    );
    host.write("proc/meminfo", "MemTotal:        8388608 kB\n").write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
    host.write("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n");
    host.write("dev/nvidia0", "").write("etc/cdi/n.yaml", "kind: nvidia.com/gpu\ndevices:\n- name: all\n");
    host
}

fn told() -> Told {
    Told { region: Some("eu-west".into()), watts: None }
}

fn benchmark() -> Benchmark {
    let (version, fingerprint) = (BENCHMARK_VERSION, Fingerprint::default());
    Benchmark { version, integer: 1.0, float: 2.0, memory: 4.0, measured_at_ms: 1, fingerprint }
}

fn full() -> Extras {
    Extras {
        lent: Lent { cores: Some(2), memory_mib: Some(4_096), disk_mib: Some(1) },
        benchmark: Some(benchmark()),
        watts_measured: Some(42.06),
        score: Some(7),
        history: Some(History { tasks_done: 99, tasks_failed: 1 }),
        profiles: vec!["wasmtime-1/x86-64-v3/nan-canonical/host-1".into()],
        guarantees_missing: vec!["a bound of processes by cgroup".into()],
        start: Some(Expr::parse("Memory > TARGET.RequestMemory").unwrap()),
        requirements: None,
    }
}

#[test]
fn an_ad_says_all_that_is_known() {
    let machine = Machine::look(&server().places, &told());
    let ad = machine.ad(&full()).unwrap();
    let expected = concat!(
        r#"[ Arch = "X86_64"; CDIDevices = { "nvidia.com/gpu=all" }; CpuFamily = 25; CpuModel = 1; CpuModelName = "AMD EPYC"; "#,
        r#"Cpus = 2; DetectedCpus = 4; DetectedMemory = 8192; "#,
        r#"Features = { "abm", "aes", "avx", "avx2", "bmi1", "bmi2", "cx16", "f16c", "fma", "lahf_lm", "movbe", "pni", "popcnt", "#,
        r#""sse4_1", "sse4_2", "ssse3", "xsave" }; "#,
        r#"GPUDevices = { [ Driver = "nvidia"; Vendor = "nvidia"; VendorId = 4318 ] }; GPUs = 1; "#,
        r#"GristmillVersion = "0.1.0"; GuaranteesMissing = { "a bound of processes by cgroup" }; "#,
        r#"has_avx = true; has_avx2 = true; has_avx512_vnni = false; has_avx512dq = false; has_avx512f = false; "#,
        r#"has_sse4_1 = true; has_sse4_2 = true; has_ssse3 = true; "#,
        r#"Memory = 4096; Microarch = "x86_64-v3"; MyType = "Machine"; OpSys = "LINUX"; OpSysAndVer = "Debian12"; "#,
        r#"OpSysLongName = "Debian GNU/Linux 12 (bookworm)"; OpSysMajorVer = 12; OpSysName = "Debian"; OpSysVer = 1200; "#,
        r#"Profiles = { "wasmtime-1/x86-64-v3/nan-canonical/host-1" }; Region = "eu-west"; Requirements = Start; Score = 7; "#,
        r#"Speed = 2.0; SpeedFloat = 2.0; SpeedInteger = 1.0; SpeedMemory = 4.0; Start = Memory > TARGET.RequestMemory; "#,
        r#"TasksDone = 99; TasksFailed = 1; TotalCpus = 4; TotalMemory = 8192; UtsnameRelease = "6.1.0-18-amd64"; "#,
        r#"VirtualMachine = true; Watts = 42.1; WattsSource = "rapl" ]"#,
    );
    let expected = expected.replace("0.1.0", env!("CARGO_PKG_VERSION"));
    assert_eq!(ad.to_string(), expected);
    assert_eq!(ClassAd::parse(&expected).unwrap(), ad);
    assert_eq!(machine.ad(&full()).unwrap().to_string(), expected, "again the same");
}

#[test]
fn jobs_find_what_they_ask_for() {
    let ad = Machine::look(&server().places, &told()).ad(&full()).unwrap();
    let asks = |requirements: &str, memory: u32| {
        let job = ClassAd::parse(&format!("[ RequestMemory = {memory}; Requirements = {requirements} ]")).unwrap();
        matches(&ad, &job)
    };
    assert!(asks("Arch == \"x86_64\" && Microarch >= \"x86_64-v3\" && Cpus >= 2 && Region == \"EU-West\"", 2_048));
    assert!(asks(
        "member(\"avx2\", Features) && has_avx2 && !has_avx512f && member(\"nvidia.com/gpu=all\", CDIDevices)",
        1
    ));
    assert!(asks("GPUs >= 1 && GPUDevices[0].Vendor == \"nvidia\"", 1));
    assert!(asks("Speed > 1.5 && TasksDone > 10 * TasksFailed && Watts < 100 && size(GuaranteesMissing) <= 1", 1));
    assert!(!asks("true", 4_096), "Start has its say through Requirements");
    assert!(!asks("Cpus > 2", 1), "only what is lent counts");
}

#[test]
fn requirements_are_the_owners_then_start_then_none() {
    let machine = server().look();
    let ad = |start: Option<&str>, requirements: Option<&str>| {
        let parse = |text: Option<&str>| text.map(|text| Expr::parse(text).unwrap());
        machine.ad(&Extras { start: parse(start), requirements: parse(requirements), ..Extras::default() }).unwrap()
    };
    assert_eq!(ad(None, None).get("Requirements").unwrap().to_string(), "true");
    assert_eq!(ad(Some("false"), None).evaluate("Requirements"), Value::Boolean(false));
    assert_eq!(ad(Some("false"), Some("true || Start")).evaluate("Requirements"), Value::Boolean(true));
    let long = format!("{:?}", "x".repeat(EXPRESSION_BYTES_MAX));
    let long = Extras { start: Some(Expr::parse(&long).unwrap()), ..Extras::default() };
    assert_eq!(machine.ad(&long), Err(AdError::Expression { attribute: "Start", got: EXPRESSION_BYTES_MAX + 2 }));
}

#[test]
fn what_is_lent_is_no_more_than_there_is() {
    let lent = Lent { cores: Some(64), memory_mib: Some(u64::MAX), disk_mib: Some(u64::MAX) };
    let mut host = server();
    host.places.data = host.data().to_path_buf();
    let ad = host.look().ad(&Extras { lent, ..Extras::default() }).unwrap();
    assert_eq!(ad.evaluate("Cpus"), Value::Integer(4));
    assert_eq!(ad.evaluate("Memory"), Value::Integer(8_192));
    assert_eq!(ad.evaluate("Disk"), ad.evaluate("TotalDisk"));
    assert!(ad.evaluate("Disk").number().unwrap() > 0.0);
}

#[test]
fn what_is_not_known_is_undefined() {
    let ad = Host::new("aarch64").look().ad(&Extras::default()).unwrap();
    for name in [
        "Cpus",
        "Memory",
        "Disk",
        "Microarch",
        "Features",
        "has_avx",
        "Speed",
        "Watts",
        "WattsSource",
        "Region",
        "OpSysAndVer",
        "VirtualMachine",
        "Score",
        "CpuQuota",
    ] {
        assert_eq!(ad.evaluate(name), Value::Undefined, "{name}");
    }
    assert_eq!(ad.evaluate("Arch"), Value::string("aarch64"));
    assert_eq!(ad.evaluate("GPUs"), Value::Integer(0));
}

#[test]
fn what_the_owner_tells_goes_before_what_is_measured() {
    let watts = |told: Option<f64>, measured: Option<f64>| {
        let machine = Machine::look(&server().places, &Told { region: None, watts: told });
        let ad = machine.ad(&Extras { watts_measured: measured, ..Extras::default() }).unwrap();
        (ad.evaluate("Watts"), ad.evaluate("WattsSource"))
    };
    assert_eq!(watts(Some(65.0), Some(20.0)), (Value::Real(65.0), Value::string("told")));
    assert_eq!(watts(Some(f64::NAN), Some(20.0)), (Value::Real(20.0), Value::string("rapl")), "nonsense is not told");
    assert_eq!(watts(Some(-1.0), Some(-1.0)), (Value::Undefined, Value::Undefined));
    assert_eq!(watts(None, Some(f64::INFINITY)), (Value::Undefined, Value::Undefined));
}

#[test]
fn the_owners_words_are_checked() {
    let region = |region: &str| Told { region: Some(region.into()), watts: None }.check();
    assert_eq!(region("CH/zh-1_a.b"), Ok(()));
    for bad in ["", "eu west", "eu\"", "é", &"x".repeat(65)] {
        assert_eq!(region(bad), Err(ToldError::Region { region: bad.into() }));
        assert_eq!(
            Machine::look(&server().places, &Told { region: Some(bad.into()), watts: Some(5.0) }).told,
            Told { region: None, watts: Some(5.0) }
        );
    }
    for watts in [0.0, -1.0, f64::INFINITY, 100_000.5] {
        assert_eq!(Told { region: None, watts: Some(watts) }.check(), Err(ToldError::Watts { watts }));
    }
    assert!(Told { region: None, watts: Some(f64::NAN) }.check().is_err());
}

/// All that a caller can add at its longest still fits.
#[test]
fn an_ad_is_never_too_long() {
    let quotes = "\"\\".repeat(1_000);
    let host = server();
    host.processors(1, &format!("model name\t: {quotes}\nflags\t\t: {} {V4}", [V1, V2, V3].join(" ")));
    host.write("etc/os-release", format!("NAME={quotes}\nPRETTY_NAME=x{quotes}\n"))
        .write("proc/sys/kernel/osrelease", &quotes);
    for number in 0..20 {
        let card = format!("sys/class/drm/card{number}/device");
        host.write(
            &format!("{card}/uevent"),
            format!("DRIVER={quotes}\nOF_COMPATIBLE_0={quotes},\nPCI_SLOT_NAME={quotes}\n"),
        );
        host.write(&format!("{card}/drm/renderD128/dev"), "").write("dev/dri/renderD128", "");
        host.write(&format!("{card}/mem_info_vram_total"), u64::MAX.to_string());
    }
    let devices: String = (100..200).map(|number| format!("- name: {}{number}\n", "x".repeat(100))).collect();
    host.write("etc/cdi/n.yaml", format!("kind: some-vendor.com/gpu\ndevices:\n{devices}"));
    // 2,048 bytes as they are printed, which is twice as many as there are.
    let wish = Expr::constant(Value::from("\"".repeat(EXPRESSION_BYTES_MAX / 2 - 1)));
    let extras = Extras {
        profiles: vec![quotes.clone(); 1_000],
        guarantees_missing: vec![quotes; 1_000],
        start: Some(wish.clone()),
        requirements: Some(wish),
        score: Some(u64::MAX),
        history: Some(History { tasks_done: u64::MAX, tasks_failed: u64::MAX }),
        ..full()
    };
    let ad = Machine::look(&host.places, &told()).ad(&extras).unwrap();
    assert_eq!(ad.evaluate("GPUs"), Value::Integer(21));
    assert!(matches!(ad.evaluate("GPUDevices"), Value::List(devices) if devices.len() == GPUS_MAX));
    let length = ad.to_string().len();
    assert!(length > AD_BYTES_MAX / 2 && length <= AD_BYTES_MAX, "{length}");
    assert_eq!(ClassAd::parse(&ad.to_string()).unwrap(), ad);
}
