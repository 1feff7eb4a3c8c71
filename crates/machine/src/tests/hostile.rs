//! Files that make no sense: what they should have said is unknown, and nothing panics.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;

use super::*;
use crate::places::FILE_BYTES_MAX;
use crate::{AD_BYTES_MAX, Extras};

/// All files that are read, on any machine.
const FILES: &[&str] = &[
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/self/status",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/sys/kernel/osrelease",
    "proc/device-tree/model",
    "proc/driver/nvidia/gpus/0000:01:00.0/information",
    "proc/xen/capabilities",
    "sys/hypervisor/type",
    "sys/devices/system/cpu/online",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/memory.high",
    "sys/fs/cgroup/memory.limit_in_bytes",
    "sys/fs/cgroup/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu.cfs_period_us",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/drm/card0/device/vendor",
    "sys/class/drm/card0/device/device",
    "sys/class/drm/card0/device/uevent",
    "sys/class/drm/card0/device/mem_info_vram_total",
    "etc/os-release",
    "etc/cdi/a.json",
    "etc/cdi/b.yaml",
    "sys/class/powercap/intel-rapl:0/name",
    "sys/class/powercap/intel-rapl:0/energy_uj",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
];

fn hollow(architecture: &'static str) -> Host {
    let host = Host::new(architecture);
    host.write("sys/class/drm/card0/device/drm/renderD128/dev", "")
        .write("dev/dri/renderD128", "")
        .write("dev/nvidia0", "");
    host
}

/// Looks, and makes an ad that can be read again.
fn look(places: &Places) -> Machine {
    let machine = Machine::look(places, &Told::default());
    let ad = machine.ad(&Extras::default()).unwrap();
    let text = ad.to_string();
    assert!(text.len() <= AD_BYTES_MAX);
    assert_eq!(gristmill_classad::ClassAd::parse(&text).unwrap(), ad);
    if let Ok(watts) = crate::Watts::begin(places) {
        let _ = watts.end_after(std::time::Duration::from_secs(1));
    }
    machine
}

/// Nothing is known of it.
fn assert_unknown(machine: &Machine, what: &str) {
    let nothing = Machine::look(&hollow(machine.architecture).places, &Told::default());
    assert_eq!(*machine, nothing, "{what}");
    assert_eq!((machine.cores, machine.memory_mib, machine.cpu.level), (None, None, None));
}

#[test]
fn files_of_nonsense_say_nothing() {
    for architecture in ["x86_64", "aarch64", "riscv64"] {
        let host = hollow(architecture);
        let cases: [(&str, &[u8]); 9] = [
            ("empty", b""),
            ("white space", b" \n\t\n "),
            ("zeros", &[0; 300]),
            ("no text", &[0xff, 0xfe, 0x80, b'\n']),
            ("a truncated character", "processor : 0\nMemTotal: 5 kB\n\u{e9}".as_bytes().split_last().unwrap().1),
            ("colons", b":::::\n: :\n::\n"),
            ("signs", b"-1\n- -\n=\n/\n0x\n"),
            ("a bracket", b"{"),
            ("below zero", b"processor\t: -1\nMemTotal: -5 kB\nCpus_allowed_list: -3\n-100000 -100000"),
        ];
        for (what, content) in cases {
            FILES.iter().for_each(|file| _ = host.write(file, content));
            let machine = look(&host.places);
            assert_eq!((machine.cores, machine.memory_mib, machine.cpu_quota), (None, None, None), "{what}");
            assert_eq!((machine.cpu.level, machine.cdi_devices.len()), (None, 0), "{what}");
        }
    }
}

#[test]
fn no_file_at_all_is_an_unknown_machine() {
    let machine = look(&Host::new("x86_64").places);
    assert_eq!((machine.cores, machine.gpus.len(), machine.substrate.clone()), (None, 0, None));
    assert_unknown(&look(&hollow("aarch64").places), "nothing but nodes");
}

#[test]
fn folders_and_pipes_in_place_of_files_say_nothing() {
    let (folders, pipes) = (hollow("x86_64"), hollow("x86_64"));
    for file in FILES {
        fs::create_dir_all(folders.path(file)).unwrap();
        fs::create_dir_all(pipes.path(file).parent().unwrap()).unwrap();
        mkfifo(&pipes.path(file), Mode::S_IRWXU).unwrap();
    }
    assert_unknown(&look(&folders.places), "folders");
    assert_unknown(&look(&pipes.places), "pipes, which must not be waited for");
}

#[test]
fn files_in_place_of_folders_say_nothing() {
    let host = Host::new("x86_64");
    for name in ["proc", "sys", "dev", "etc", "var"] {
        host.write(name, "x");
    }
    assert_eq!(look(&host.places).cores, None);
}

#[test]
fn huge_files_say_nothing() {
    let host = hollow("x86_64");
    let line = format!("flags\t\t: {V1}\nMemTotal: 1024 kB\nprocessor : 1\n");
    let huge = line.repeat(FILE_BYTES_MAX as usize / line.len() + 1);
    host.write("proc/cpuinfo", &huge).write("proc/meminfo", &huge).write("etc/cdi/b.yaml", &huge);
    assert_unknown(&look(&host.places), "huge");
}

#[test]
fn huge_numbers_say_nothing() {
    let host = hollow("x86_64");
    for list in ["0-4294967295", "0-99999999999999999999", "8192", "3-1", "1,,2", "0-1-2", "a-b"] {
        host.write("sys/devices/system/cpu/online", list)
            .write("proc/self/status", format!("Cpus_allowed_list:\t{list}\n"));
        assert_eq!(look(&host.places).cores, None, "{list}");
    }
    host.write("proc/meminfo", "MemTotal: 18446744073709551615 kB\n");
    assert_eq!(look(&host.places).memory_mib, None);
    host.write("proc/meminfo", "MemTotal: 0 kB\n");
    assert_eq!(look(&host.places).memory_mib, None);
    host.write("sys/devices/system/cpu/online", "0-8191").write("proc/self/status", "");
    host.group_v2("/", "/");
    for (limit, cores) in [
        ("18446744073709551615 1", 8_192),
        ("1 18446744073709551615", 1),
        ("100000 0", 8_192),
        ("0 100000", 8_192),
        ("150000", 8_192),
        ("-1 100000", 8_192),
        ("99999999999999999999 1", 8_192),
    ] {
        assert_eq!(look(&host.write("sys/fs/cgroup/cpu.max", limit).places).cores, Some(cores), "{limit}");
    }
    // Processors that are allowed and none of which is online.
    host.write("sys/devices/system/cpu/online", "0").write("proc/self/status", "Cpus_allowed_list:\t5\n");
    assert_eq!(look(&host.places).cpu.allowed, None);
}

#[test]
fn a_machine_that_boasts_makes_a_small_ad() {
    let host = hollow("x86_64");
    let long = "\"\\ é\u{1b}[2J".repeat(10_000);
    host.processors(1, &format!("model name\t: {long}\nmicrocode\t: {long}\nflags\t: {}", [V1, V2, V3, V4].join(" ")));
    host.write("etc/os-release", format!("ID={long}\nNAME={long}\nPRETTY_NAME={long}\nVERSION_ID=9.9\n"));
    host.write("proc/sys/kernel/osrelease", &long);
    for number in 0..40 {
        let card = format!("sys/class/drm/card{number}/device");
        host.write(&format!("{card}/uevent"), format!("DRIVER={long}\nOF_COMPATIBLE_0={long}\nPCI_SLOT_NAME={long}\n"));
        host.write(&format!("{card}/drm/renderD128/dev"), "").write(&format!("dev/nvidia{number}"), "");
    }
    let devices: Vec<String> = (0..1_000).map(|number| format!(r#"{{"name":"{number}{}"}}"#, "x".repeat(90))).collect();
    host.write("etc/cdi/a.json", format!(r#"{{"kind":"a.com/b","devices":[{}]}}"#, devices.join(",")));
    let machine = look(&host.places);
    assert_eq!(machine.gpus.len(), 80);
    assert_eq!(machine.cdi_devices.len(), 32);
    let model = machine.cpu.model.unwrap();
    assert!(model.len() <= 128 && !model.contains('\u{1b}'), "{model}");
}

#[test]
fn devices_with_names_that_nobody_may_have_are_left_out() {
    let host = hollow("x86_64");
    let yaml = "kind: a.com/b\ndevices:\n- name: ../x\n- name: ok\n- name: \"a b\"\n- name: -x\n- name:\n- name: a=b\n  name: twice\n- [name: flow]\n";
    host.write("etc/cdi/b.yaml", yaml);
    assert_eq!(look(&host.places).cdi_devices, ["a.com/b=ok", "a.com/b=twice"]);
    for kind in ["", "b", "/b", "a.com/", "a.com/b/c", "a com/b", "-a/b"] {
        host.write("etc/cdi/b.yaml", format!("kind: {kind}\ndevices:\n- name: ok\n"));
        assert_eq!(look(&host.places).cdi_devices, Vec::<String>::new(), "{kind}");
    }
}

/// Pieces of what such files contain, in any order.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "processor",
        "flags",
        "Features",
        "model name",
        "CPU implementer",
        "CPU part",
        "MemTotal",
        "kB",
        "Cpus_allowed_list",
        "0::/",
        "4:memory,cpu:/a/b",
        " - cgroup2 c rw",
        " - cgroup c rw,cpu,memory",
        "30 29 0:26 / /sys/fs/cgroup rw",
        "max",
        "100000",
        "-1",
        "0-3",
        "18446744073709551615",
        "0x10de",
        "0x",
        "DRIVER=",
        "PCI_SLOT_NAME=",
        "OF_COMPATIBLE_0=a,b",
        "Device Minor",
        "Model",
        "ID=",
        "VERSION_ID=",
        "kind",
        "devices",
        "- ",
        "-",
        "name",
        "a.com/b",
        "{\"kind\":\"a/b\",\"devices\":[{\"name\":\"0\"}]}",
        "package-0",
        ":",
        "=",
        " ",
        "\n",
        "\t",
        "\"",
        "'",
        "..",
        "/",
        "#",
        "\u{0}",
        "é",
        "7",
    ]);
    let pieces = prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes());
    prop_oneof![3 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

#[test]
fn whatever_the_files_say_the_ad_is_one() {
    // One machine that changes: making its folders takes longer than looking at it.
    let host = hollow("x86_64");
    FILES.iter().for_each(|file| _ = host.write(file, ""));
    let architectures = prop::sample::select(vec!["x86_64", "aarch64", "riscv64"]);
    let contents = prop::collection::vec(content(), FILES.len());
    proptest!(ProptestConfig { cases: 48, ..ProptestConfig::default() }, |(contents in contents, architecture in architectures)| {
        for (file, content) in FILES.iter().zip(&contents) {
            fs::write(host.path(file), content).unwrap();
        }
        let machine = look(&Places { architecture, ..host.places.clone() });
        prop_assert!(machine.cores.is_none_or(|cores| cores >= 1));
        prop_assert!(machine.memory_mib <= machine.memory_detected_mib);
    });
}
