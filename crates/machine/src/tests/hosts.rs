//! Machines as one meets them.

use std::os::unix::fs::symlink;

use super::*;
use crate::{Gpu, Level, Substrate};

const MIB: u64 = 1 << 20;

#[test]
fn a_laptop() {
    let host = Host::new("x86_64");
    let flags = [V1, V2, V3].join(" ");
    host.processors(8, &format!("vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 140\nmodel name\t: 11th Gen Intel(R) Core(TM) i5-1135G7 @ 2.40GHz\nmicrocode\t: 0xb8\nflags\t\t: {flags}"));
    host.write("proc/meminfo", "MemTotal:       16131580 kB\nMemFree:          204800 kB\n");
    host.write("sys/devices/system/cpu/online", "0-7\n")
        .write("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-15\n");
    host.write("proc/sys/kernel/osrelease", "6.8.0-45-generic\n");
    host.write(
        "etc/os-release",
        "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
    );
    host.write("sys/class/dmi/id/sys_vendor", "LENOVO\n").write("sys/class/dmi/id/product_name", "20XXS3HC00\n");
    host.write("sys/class/power_supply/BAT0/type", "Battery\n");
    host.group_v2("/user.slice/user-1000.slice/session-2.scope", "/");
    host.write("sys/fs/cgroup/user.slice/memory.max", "max\n")
        .write("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
    let card = "sys/class/drm/card1/device";
    host.write(&format!("{card}/vendor"), "0x8086\n").write(&format!("{card}/device"), "0x9a49\n");
    host.write(
        &format!("{card}/uevent"),
        "DRIVER=i915\nPCI_CLASS=30000\nPCI_ID=8086:9A49\nPCI_SLOT_NAME=0000:00:02.0\n",
    );
    host.write(&format!("{card}/drm/renderD128/dev"), "226:128\n").write("dev/dri/renderD128", "");
    host.write("sys/class/drm/card1-eDP-1/status", "connected\n").write("sys/class/drm/version", "drm 1.1.0\n");

    let machine = host.look();
    assert_eq!(machine.cpu.model.as_deref(), Some("11th Gen Intel(R) Core(TM) i5-1135G7 @ 2.40GHz"));
    assert_eq!((machine.cpu.family, machine.cpu.model_number), (Some(6), Some(140)));
    assert_eq!(machine.cpu.level, Some(Level::V3));
    assert!(machine.cpu.features.contains(&"avx2") && !machine.cpu.features.contains(&"vme"));
    assert!(machine.cpu.features.is_sorted());
    // The kernel allows also processors that could be plugged in one day.
    assert_eq!((machine.cpu.online, machine.cores, machine.cpu_quota), (Some(8), Some(8), None));
    assert_eq!((machine.memory_detected_mib, machine.memory_mib), (Some(15_753), Some(15_753)));
    assert_eq!(machine.substrate, Some(Substrate::Bare));
    assert_eq!(machine.system.name.as_deref(), Some("Ubuntu"));
    assert_eq!((machine.system.major, machine.system.minor), (Some(24), Some(4)));
    let gpu = Gpu {
        vendor: Some("intel".into()),
        vendor_id: Some(0x8086),
        device_id: Some(0x9a49),
        bus: Some("0000:00:02.0".into()),
        driver: Some("i915".into()),
        ..Gpu::default()
    };
    assert_eq!(machine.gpus, [gpu]);
    let fingerprint = machine.fingerprint();
    assert_eq!(fingerprint.microcode.as_deref(), Some("0xb8"));
    assert_eq!((fingerprint.cores, fingerprint.kernel.as_deref()), (Some(8), Some("6.8.0-45-generic")));
}

/// A container in a virtual machine: 1.5 cores of four, 2 GiB of eight, in groups within groups.
#[test]
fn a_container_of_version_2() {
    let host = Host::new("x86_64");
    let flags = [V1, V2, V3, V4, "hypervisor"].join(" ");
    host.processors(4, &format!("model name\t: Intel Xeon Processor (Icelake)\nflags\t\t: {flags}"));
    host.write("proc/meminfo", "MemTotal:        8192000 kB\n").write("proc/self/status", "Cpus_allowed_list:\t0-3\n");
    host.write("sys/class/dmi/id/sys_vendor", "QEMU\n");
    // Seen from a namespace of its own the container's group is the root.
    host.group_v2("/", "/");
    host.write("sys/fs/cgroup/cpu.max", "150000 100000\n").write("sys/fs/cgroup/memory.max", "2147483648\n");
    let machine = host.look();
    assert_eq!((machine.cpu.online, machine.cpu_quota, machine.cores), (Some(4), Some(1.5), Some(1)));
    assert_eq!((machine.memory_detected_mib, machine.memory_mib), (Some(8_000), Some(2_048)));
    assert_eq!(machine.cpu.level, Some(Level::V4));
    assert_eq!(machine.substrate, Some(Substrate::Virtual(Some("kvm"))));

    // The narrowest of all groups around counts, `high` too.
    host.group_v2("/pod/box", "/").write("sys/fs/cgroup/pod/box/memory.high", "1073741824\n");
    host.write("sys/fs/cgroup/pod/cpu.max", "300000 100000\n").write("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n");
    host.write("sys/fs/cgroup/cpu.max", "max 100000\n");
    let machine = host.look();
    assert_eq!((machine.cpu_quota, machine.cores, machine.memory_mib), (Some(3.0), Some(3), Some(1_024)));

    // Less than a core is still one: a task runs, slowly.
    host.write("sys/fs/cgroup/cpu.max", "20000 100000\n");
    assert_eq!((host.look().cpu_quota, host.look().cores), (Some(0.2), Some(1)));

    // What is seen from outside the namespace has dots in it, and is looked for at the mount point.
    host.group_v2("/../../other", "/").write("other/memory.max", "1048576\n");
    assert_eq!(host.look().memory_mib, Some(2_048));
}

/// Version 1 without a namespace: the group's whole path is told, but only the group itself is mounted.
#[test]
fn a_container_of_version_1() {
    let host = Host::new("x86_64");
    host.processors(16, &format!("flags\t\t: {V1}"));
    host.write("proc/meminfo", "MemTotal:       65536000 kB\n")
        .write("proc/self/status", "Cpus_allowed_list:\t2-3,8\n");
    host.write(
        "proc/self/cgroup",
        "7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice\n",
    );
    let tree = |id: u32, name: &str| {
        format!("{id} 31 0:30 /docker/abc /sys/fs/cgroup/{name} ro,nosuid - cgroup cgroup rw,{name}\n")
    };
    host.write("proc/self/mountinfo", [ROOT_MOUNT.to_owned(), tree(40, "memory"), tree(41, "cpu,cpuacct")].concat());
    let (cpu, memory) = ("sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory");
    host.write(&format!("{memory}/memory.limit_in_bytes"), format!("{}\n", 512 * MIB));
    host.write(&format!("{cpu}/cpu.cfs_quota_us"), "-1\n").write(&format!("{cpu}/cpu.cfs_period_us"), "100000\n");
    let machine = host.look();
    assert_eq!((machine.cores, machine.cpu_quota), (Some(3), None), "three of sixteen are allowed");
    // A group below our own with the same path says nothing of us.
    host.write(&format!("{memory}/docker/abc/memory.limit_in_bytes"), "1048576\n");
    let machine = host.look();
    assert_eq!(machine.memory_mib, Some(512));
    assert_eq!(machine.cpu.level, Some(Level::V1));

    host.write(&format!("{cpu}/cpu.cfs_quota_us"), "250000\n");
    // No limit is a huge number.
    host.write(&format!("{memory}/memory.limit_in_bytes"), "9223372036854771712\n");
    let machine = host.look();
    assert_eq!((machine.cores, machine.cpu_quota), (Some(2), Some(2.5)));
    assert_eq!(machine.memory_mib, Some(64_000));
}

#[test]
fn a_board_of_arm() {
    let host = Host::new("aarch64");
    let core = |number: u32, part: &str, features: &str| {
        format!(
            "processor\t: {number}\nBogoMIPS\t: 48.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n\n"
        )
    };
    let (small, large) =
        ("fp asimd evtstrm aes pmull sha1 sha2 crc32", "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics asimddp");
    host.write("proc/cpuinfo", [core(0, "0xd05", small), core(1, "0xd05", small), core(2, "0xd0b", large)].concat());
    host.write("proc/device-tree/model", "Radxa ROCK 5B\0").write("proc/meminfo", "MemTotal:        3884340 kB\n");
    host.write("etc/os-release", "ID=debian\nVERSION_ID=12\nNAME='Debian GNU/Linux'\n");
    let card = "sys/class/drm/card0/device";
    host.write(&format!("{card}/uevent"), "DRIVER=panthor\nOF_NAME=gpu\nOF_COMPATIBLE_0=rockchip,rk3588-mali\n");
    host.write(&format!("{card}/drm/renderD128/dev"), "").write("dev/dri/renderD128", "");
    let machine = host.look();
    assert_eq!(machine.cpu.model.as_deref(), Some("ARM 0x41:0xd05 0x41:0xd0b"));
    assert_eq!((machine.cpu.level, machine.cpu.under_hypervisor), (None, None));
    assert_eq!(machine.cpu.features, ["aes", "asimd", "crc32", "fp", "pmull", "sha1", "sha2"], "what every core has");
    assert_eq!((machine.cpu.online, machine.cores), (Some(3), Some(3)));
    assert_eq!(machine.substrate, Some(Substrate::Bare));
    assert_eq!(machine.gpus[0].vendor.as_deref(), Some("rockchip"));
    assert_eq!(machine.gpus[0].name.as_deref(), Some("rockchip,rk3588-mali"));

    host.write("proc/device-tree/model", "linux,dummy-virt\0");
    assert_eq!(host.look().substrate, Some(Substrate::Virtual(Some("kvm"))));
    host.write("proc/device-tree/hypervisor/compatible", "xen,xen-4.17\0");
    host.write("proc/device-tree/model", "XENVM-4.17\0");
    assert_eq!(host.look().substrate, Some(Substrate::Virtual(None)));
}

#[test]
fn a_server_of_graphics_processors() {
    let host = Host::new("x86_64");
    // The driver shows its devices in its own way, and one of them as a graphics card too.
    for (minor, bus) in [(0, "0000:07:00.0"), (1, "0000:0f:00.0")] {
        let about = format!(
            "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 1{minor}\nGPU UUID: \t GPU-1b2c\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
        );
        host.write(&format!("proc/driver/nvidia/gpus/{bus}/information"), about);
    }
    for node in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "dri/renderD128", "dri/renderD130"] {
        host.write(&format!("dev/{node}"), "");
    }
    let card = |number: u32, bus: &str, vendor: &str, render: &str| {
        let folder = format!("sys/devices/pci0000:00/{bus}");
        host.write(&format!("{folder}/vendor"), format!("{vendor}\n")).write(&format!("{folder}/device"), "0x20b0\n");
        host.write(&format!("{folder}/uevent"), format!("PCI_SLOT_NAME={bus}\n"));
        host.write(&format!("{folder}/drm/{render}/dev"), "").write(&format!("{folder}/drm/card{number}/dev"), "");
        std::fs::create_dir_all(host.path(&format!("sys/class/drm/card{number}"))).unwrap();
        symlink(format!("../../../devices/pci0000:00/{bus}"), host.path(&format!("sys/class/drm/card{number}/device")))
            .unwrap();
    };
    card(0, "0000:02:00.0", "0x1a03", "card0");
    card(1, "0000:0f:00.0", "0x10de", "renderD128");
    card(2, "0000:41:00.0", "0x1002", "renderD129");
    card(3, "0000:42:00.0", "0x1002", "renderD130");
    host.write("sys/devices/pci0000:00/0000:42:00.0/mem_info_vram_total", "68702699520\n");
    host.write("etc/cdi/nvidia.yaml", NVIDIA_CDI);
    host.write("var/run/cdi/amd.json", r#"{"cdiVersion":"0.6.0","kind":"amd.com/gpu","devices":[{"name":"0","containerEdits":{"deviceNodes":[{"path":"/dev/kfd"}]}},{"name":"all"}],"containerEdits":{}}"#);
    let machine = host.look();
    let seen: Vec<_> = machine
        .gpus
        .iter()
        .map(|gpu| (gpu.bus.as_deref().unwrap(), gpu.vendor_id.unwrap(), gpu.device_id, gpu.memory_mib))
        .collect();
    let expected = [
        ("0000:07:00.0", 0x10de, None, None),
        ("0000:0f:00.0", 0x10de, Some(0x20b0), None),
        // The console's card drives a screen only, and one of AMD's is not given to this container.
        ("0000:42:00.0", 0x1002, Some(0x20b0), Some(65_520)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(machine.gpus[1].name.as_deref(), Some("NVIDIA A100-SXM4-40GB"));
    assert_eq!(
        machine.cdi_devices,
        ["amd.com/gpu=0", "amd.com/gpu=all", "nvidia.com/gpu=0", "nvidia.com/gpu=1:0", "nvidia.com/gpu=all"]
    );

    // Without the driver's folder: which card is which is not known, but not one is counted twice.
    std::fs::remove_dir_all(host.path("proc/driver")).unwrap();
    assert_eq!(host.look().gpus.len(), 3);
}

const NVIDIA_CDI: &str = r#"---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - args:
    - nvidia-ctk
    hookName: createContainer
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      name: "not this"
  name: "0"
-   name: '1:0'   # a part of a device
    containerEdits:
        deviceNodes:
        - name: nor this
          path: /dev/nvidia1
-
  name: all
kind: "nvidia.com/gpu"
annotations:
- name: nor that
"#;

#[test]
fn drivers_of_software_are_no_graphics_processors() {
    let host = Host::new("x86_64");
    host.write("sys/class/drm/card0/device/uevent", "DRIVER=vgem\n")
        .write("sys/class/drm/card0/device/drm/renderD128/dev", "");
    host.write("dev/dri/renderD128", "");
    assert!(host.look().gpus.is_empty());
}

#[test]
fn virtual_machines_by_what_firmware_says() {
    for (vendor, product, architecture, flags, expected) in [
        ("Microsoft Corporation", "Virtual Machine", "x86_64", "hypervisor", Some(Substrate::Virtual(Some("hyperv")))),
        ("Microsoft Corporation", "Surface Laptop 5", "x86_64", "", Some(Substrate::Bare)),
        ("VMware, Inc.", "VMware7,1", "x86_64", "hypervisor", Some(Substrate::Virtual(Some("vmware")))),
        ("Amazon EC2", "m7i.large", "x86_64", "hypervisor", Some(Substrate::Virtual(None))),
        ("Amazon EC2", "m7i.metal-24xl", "x86_64", "", Some(Substrate::Bare)),
        ("QEMU", "QEMU Virtual Machine", "aarch64", "", Some(Substrate::Virtual(Some("kvm")))),
        ("GIGABYTE", "R272-P30-JG", "aarch64", "", None),
    ] {
        let host = Host::new(architecture);
        host.processors(1, &format!("flags\t\t: {V1} {flags}"));
        host.write("sys/class/dmi/id/sys_vendor", vendor).write("sys/class/dmi/id/product_name", product);
        assert_eq!(host.look().substrate, expected, "{product}");
    }
    let host = Host::new("x86_64");
    host.processors(1, &format!("flags\t\t: {V1}")).write("sys/hypervisor/type", "xen\n");
    assert_eq!(host.look().substrate, Some(Substrate::Virtual(Some("xen"))));
    host.write("proc/xen/capabilities", "control_d\n");
    assert_eq!(host.look().substrate, Some(Substrate::Bare), "the domain that governs the others");
}

#[test]
fn distributions() {
    let host = Host::new("x86_64");
    for (release, name, major, minor) in [
        ("ID=\"rocky\"\nVERSION_ID=\"9.4\"\n", Some("Rocky"), Some(9), Some(4)),
        ("NAME=\"Arch Linux\"\nID=arch\n", Some("Arch"), None, None),
        ("NAME=\"Solus\"\nID=solus\nVERSION_ID=\"4.5\"", Some("Solus"), Some(4), Some(5)),
        ("ID=debian\nVERSION_ID=\"trixie/sid\"\n", Some("Debian"), None, None),
        ("ID=debian\nVERSION_ID=99999999999999999999.-1\n", Some("Debian"), None, None),
        ("", None, None, None),
    ] {
        let system = host.write("etc/os-release", release).look().system;
        assert_eq!((system.name.as_deref(), system.major, system.minor), (name, major, minor), "{release}");
    }
}

#[test]
fn levels_need_all_of_their_features() {
    let host = Host::new("x86_64");
    let level = |flags: &str| host.processors(1, &format!("flags\t\t: {flags}")).look().cpu.level;
    assert_eq!(level(&[V1, V2].join(" ")), Some(Level::V2));
    assert_eq!(level(&[V1, V3].join(" ")), Some(Level::V1), "a level is nothing without the one below");
    assert_eq!(level(&[V1, V2, &V3.replace("xsave", "")].join(" ")), Some(Level::V2), "the kernel does not use AVX");
    assert_eq!(level("fpu tsc"), None);
    // A processor that lacks something counts for all.
    let mixed = format!("processor\t: 0\nflags\t: {V1} {V2}\n\nprocessor\t: 1\nflags\t: {V1}\n");
    assert_eq!(host.write("proc/cpuinfo", mixed).look().cpu.level, Some(Level::V1));
}

#[test]
fn the_disk_is_that_of_the_data_folder() {
    let mut host = Host::new("x86_64");
    assert_eq!(host.look().disk_free_mib, None);
    host.places.data = host.data().to_path_buf();
    assert!(host.look().disk_free_mib.unwrap() > 0);
}

/// The real one.
#[test]
fn this_machine() {
    let machine = Machine::look(&Places::of_this_machine(std::env::temp_dir()), &Told::default());
    assert!(machine.cores.unwrap() >= 1 && machine.cores <= machine.cpu.online);
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let allowed = (0..nix::sched::CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).count();
    assert!(machine.cpu.allowed.unwrap() as usize <= allowed);
    assert!(machine.memory_mib.unwrap() > 16 && machine.memory_mib <= machine.memory_detected_mib);
    assert!(machine.disk_free_mib.is_some() && machine.system.kernel.is_some());
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(machine.cpu.features.contains(&"avx2"), std::is_x86_feature_detected!("avx2"));
        assert_eq!(machine.cpu.features.contains(&"sse4_2"), std::is_x86_feature_detected!("sse4.2"));
        assert!(machine.cpu.level.is_some());
        assert!(machine.cpu.level < Some(Level::V3) || std::is_x86_feature_detected!("bmi2"));
    }
}
