//! Against folders made like the kernel's.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use super::*;

struct Tree {
    folder: tempfile::TempDir,
    roots: Roots,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let roots = Roots { proc: at("proc"), sys: at("sys"), dev: at("dev") };
        Self { folder, roots }
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// (all, busy) ticks of the machine; this process with its children; its child 7; a stranger, 8.
    fn times(&self, idle: u64, busy: u64, own: u64, child: u64) {
        self.write("proc/stat", &format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n"));
        let process = |id: u64, parent: u64, ticks: u64| {
            format!("{id} (a ) b (c) S {parent} 5 5 0 -1 4194560 1 2 3 4 {ticks} 0 0 0 20 0 1 0 9\n")
        };
        self.write("proc/self/stat", &process(5, 1, own));
        self.write("proc/5/stat", &process(5, 1, own));
        self.write("proc/7/stat", &process(7, 5, child));
        self.write("proc/8/stat", &process(8, 1, 1_000_000));
    }

    fn power(&self) -> (Option<bool>, Option<u8>) {
        let power = power::read(&self.roots.sys);
        (power.mains, power.charge)
    }
}

#[test]
fn a_machine_of_which_nothing_is_known_says_nothing() {
    let tree = Tree::new();
    let mut machine = Machine::new(tree.roots.clone());
    let now = machine.moment();
    assert!(now.minute < 1_440);
    assert_eq!(machine.sensors(now), Sensors::default());
}

#[test]
fn the_load_is_that_of_others() {
    for with_children in [true, false] {
        let tree = Tree::new();
        if with_children {
            tree.write("proc/self/task/5/children", "").write("proc/self/task/6/children", "7 ");
            tree.write("proc/7/task/7/children", "");
        }
        let mut meter = cpu::Meter::new(tree.roots.proc.clone());
        tree.times(1_000, 500, 20, 100);
        assert_eq!(meter.load(0), Some(0.0), "nothing to compare with");
        // A hundred ticks of the machine: 60 busy, of which we 10 and our child 20.
        tree.times(1_040, 560, 30, 120);
        assert_eq!(meter.load(500), Some(0.3));
        // Only the child works.
        tree.times(1_040, 660, 30, 220);
        assert_eq!(meter.load(1_000), Some(0.15), "over the second");
        // The child is gone; whoever reaped it has its times.
        fs::remove_dir_all(tree.roots.proc.join("7")).unwrap();
        tree.write("proc/self/stat", "5 (x) S 1 5 5 0 -1 4194560 1 2 3 4 30 0 200 20 20 0 1 0 9\n");
        assert_eq!(meter.load(1_500), Some(0.15));
        // What lies two seconds back does not count.
        tree.write("proc/stat", "cpu  661 0 0 1139 0 0 0 0 0 0\n");
        assert_eq!(meter.load(3_500), Some(0.01));
        fs::write(tree.roots.proc.join("stat"), "nonsense\n").unwrap();
        assert_eq!(meter.load(4_000), None);
    }
}

/// The real one: a thread that spins is the worker's own, another process that spins is not.
#[test]
fn this_machine_has_a_load_between_nothing_and_everything() {
    let mut meter = cpu::Meter::new("/proc".into());
    meter.load(0).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let load = meter.load(100).unwrap();
    assert!((0.0..=1.0).contains(&load), "{load}");
}

#[test]
fn mains_and_battery_are_read_as_laptops_write_them() {
    let tree = Tree::new();
    assert_eq!(tree.power(), (None, None), "a kernel without power supplies");
    fs::create_dir_all(tree.roots.sys.join("class/power_supply")).unwrap();
    assert_eq!(tree.power(), (Some(true), None), "a desktop");
    tree.write("sys/class/power_supply/hidpp_battery_0/type", "Battery\n");
    tree.write("sys/class/power_supply/hidpp_battery_0/scope", "Device\n");
    tree.write("sys/class/power_supply/hidpp_battery_0/capacity", "3\n");
    assert_eq!(tree.power(), (Some(true), None), "a mouse is no battery of the machine");
    let supply = "sys/class/power_supply";
    tree.write(&format!("{supply}/BAT0/type"), "Battery\n").write(&format!("{supply}/BAT0/capacity"), "83\n");
    tree.write(&format!("{supply}/BAT0/status"), "Discharging\n");
    assert_eq!(tree.power(), (Some(false), Some(83)), "the battery itself says that it is used");
    tree.write(&format!("{supply}/AC/type"), "Mains\n").write(&format!("{supply}/AC/online"), "1\n");
    assert_eq!(tree.power(), (Some(true), Some(83)));
    tree.write(&format!("{supply}/AC/online"), "0\n");
    assert_eq!(tree.power(), (Some(false), Some(83)));
    tree.write(&format!("{supply}/ucsi0/type"), "USB\n").write(&format!("{supply}/ucsi0/online"), "1\n");
    assert_eq!(tree.power(), (Some(true), Some(83)));
    tree.write(&format!("{supply}/BAT1/type"), "Battery\n").write(&format!("{supply}/BAT1/capacity"), "17\n");
    assert_eq!(tree.power(), (Some(true), Some(50)), "the mean of two");
}

#[test]
fn the_hottest_part_counts_and_broken_sensors_do_not() {
    let tree = Tree::new();
    assert_eq!(heat::read(&tree.roots.sys), None);
    tree.write("sys/class/thermal/thermal_zone0/temp", "48500\n")
        .write("sys/class/thermal/cooling_device0/temp", "99000\n");
    assert_eq!(heat::read(&tree.roots.sys), Some(48.5));
    tree.write("sys/class/hwmon/hwmon0/temp1_input", "71250\n").write("sys/class/hwmon/hwmon0/temp1_crit", "105000\n");
    assert_eq!(heat::read(&tree.roots.sys), Some(71.25));
    tree.write("sys/class/hwmon/hwmon1/temp1_input", "-273000\n")
        .write("sys/class/hwmon/hwmon1/temp2_input", "255000\n");
    tree.write("sys/class/hwmon/hwmon1/temp3_input", "?\n");
    assert_eq!(heat::read(&tree.roots.sys), Some(71.25));
}

fn event(kind: u16) -> Vec<u8> {
    let mut event = vec![0; 24];
    event[16..18].copy_from_slice(&kind.to_ne_bytes());
    event
}

#[test]
fn a_key_and_a_mouse_are_touches_and_a_sensor_of_motion_is_not() {
    let tree = Tree::new();
    // Terminals are not asked where the devices can be read.
    tree.write("dev/input/event0", "").write("dev/tty1", "");
    let mut watch = touch::Watch::new(&tree.roots);
    assert_eq!(watch.untouched_ms(5_000), Some(0), "who was there before may be there still");
    assert_eq!(watch.untouched_ms(6_000), Some(1_000));
    let mut device = fs::File::options().append(true).open(tree.roots.dev.join("input/event0")).unwrap();
    for kind in [0, 3, 4, 5, 17] {
        device.write_all(&event(kind)).unwrap();
    }
    assert_eq!(watch.untouched_ms(7_000), Some(2_000));
    device.write_all(&event(1)).unwrap();
    assert_eq!(watch.untouched_ms(8_000), Some(0), "a key");
    assert_eq!(watch.untouched_ms(9_000), Some(1_000));
    device.write_all(&[event(0), event(2)].concat()).unwrap();
    assert_eq!(watch.untouched_ms(10_000), Some(0), "a mouse");
    // One that is plugged in later is found within ten seconds.
    tree.write("dev/input/event1", "");
    assert_eq!(watch.untouched_ms(20_000), Some(10_000));
    let mut device = fs::File::options().append(true).open(tree.roots.dev.join("input/event1")).unwrap();
    device.write_all(&event(1)).unwrap();
    assert_eq!(watch.untouched_ms(20_250), Some(0));
}

#[test]
fn terminals_tell_where_devices_cannot_be_read_and_nothing_tells_in_a_graphical_session() {
    let tree = Tree::new();
    tree.write("dev/tty1", "").write("dev/pts/0", "").write("dev/tty", "").write("dev/pts/ptmx", "");
    let read_at = |name: &str, ago: u64| {
        let time = SystemTime::now() - Duration::from_secs(ago);
        let file = fs::File::options().write(true).open(tree.roots.dev.join(name)).unwrap();
        file.set_times(fs::FileTimes::new().set_accessed(time)).unwrap();
    };
    read_at("tty1", 4_000);
    read_at("pts/0", 100);
    let idle = |tree: &Tree| touch::Watch::new(&tree.roots).untouched_ms(0);
    let ms = idle(&tree).unwrap();
    assert!((100_000..110_000).contains(&ms), "{ms}");
    let head = "Num       RefCount Protocol Flags    Type St Inode Path\n";
    tree.write(
        "proc/net/unix",
        &format!("{head}0: 00000002 00000000 00010000 0001 01 1 /run/dbus/system_bus_socket\n"),
    );
    assert!(idle(&tree).is_some());
    for socket in ["@/tmp/.X11-unix/X0", "/run/user/1000/wayland-0"] {
        tree.write("proc/net/unix", &format!("{head}0: 00000002 00000000 00010000 0001 01 1 {socket}\n"));
        assert_eq!(idle(&tree), None, "{socket}");
    }
}

/// What is slow is asked once a second; what must be quick, each time.
#[test]
fn the_whole_machine_is_read_together() {
    let tree = Tree::new();
    tree.write("sys/class/thermal/thermal_zone0/temp", "50000\n").write("dev/input/event0", "");
    tree.times(100, 100, 0, 0);
    tree.write("sys/class/power_supply/AC/type", "Mains\n");
    let mut machine = Machine::new(tree.roots.clone());
    let mut now = machine.moment();
    let sensors = machine.sensors(now);
    let expected =
        Sensors { untouched_ms: Some(0), load: Some(0.0), mains: Some(true), charge: None, temperature: Some(50.0) };
    assert_eq!(sensors, expected);
    tree.write("sys/class/thermal/thermal_zone0/temp", "60000\n");
    now.monotonic_ms += 250;
    assert_eq!(machine.sensors(now).temperature, Some(50.0));
    now.monotonic_ms += 750;
    assert_eq!(machine.sensors(now).temperature, Some(60.0));
}
