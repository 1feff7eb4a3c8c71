//! Against machines that are made of files.

mod ads;
mod hostile;
mod hosts;
mod power;

use std::fs;
use std::path::Path;

use crate::{Machine, Places, Told};

/// A made-up machine.
struct Host {
    folder: tempfile::TempDir,
    places: Places,
}

impl Host {
    fn new(architecture: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { root: folder.path().join("root"), data: folder.path().join("none"), architecture };
        Self { folder, places }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.places.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.places.root.join(path)
    }

    /// As many processors of a kind, `name: value` lines each.
    fn processors(&self, count: u32, lines: &str) -> &Self {
        let one = |number| format!("processor\t: {number}\n{lines}\n\n");
        self.write("proc/cpuinfo", (0..count).map(one).collect::<String>())
    }

    /// In this group, with a tree of groups mounted at the usual place; `root` is which group is seen there.
    fn group_v2(&self, group: &str, root: &str) -> &Self {
        self.write("proc/self/cgroup", format!("0::{group}\n"));
        self.write(
            "proc/self/mountinfo",
            format!(
                "{ROOT_MOUNT}29 22 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
            ),
        )
    }

    fn look(&self) -> Machine {
        Machine::look(&self.places, &Told::default())
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }
}

const ROOT_MOUNT: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n";

/// Flags of a processor, by level.
const V1: &str = "fpu vme de tsc msr cx8 cmov mmx fxsr sse sse2 ht syscall nx lm";
const V2: &str = "pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm";
const V3: &str = "fma movbe xsave avx f16c abm bmi1 avx2 bmi2 aes";
const V4: &str = "avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni";
