//! What the groups around this process allow it: a worker in a container must not offer its host's cores and memory.

use std::path::{Component, Path};

use crate::places::Places;

/// Groups above one another that are looked at.
const DEPTH_MAX: usize = 32;
/// Mounts and groups of a process that are looked at.
const LINES_MAX: usize = 4_096;

/// The narrowest limits of this process's group and of those around it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    /// Cores' worth of time.
    pub(crate) cores: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
}

/// A mounted tree of groups.
struct Tree<'a> {
    /// Which group is seen at the mount point: `/`, or that of a container.
    root: &'a Path,
    point: &'a Path,
    /// Version 2: one tree for all controllers.
    unified: bool,
    /// Version 1: options, the controllers among them.
    options: &'a str,
}

impl Limits {
    pub(crate) fn look(places: &Places) -> Self {
        let groups = places.text("proc/self/cgroup").unwrap_or_default();
        let mounts = places.text("proc/self/mountinfo").unwrap_or_default();
        let trees: Vec<Tree<'_>> = mounts.lines().take(LINES_MAX).filter_map(Tree::parse).collect();
        let mut limits = Self::default();
        for line in groups.lines().take(LINES_MAX) {
            // `4:memory:/path`, and `0::/path` in version 2.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
            for tree in trees.iter().filter(|tree| tree.serves(controllers)) {
                limits.narrow(places, tree, Path::new(group));
            }
        }
        limits
    }

    /// Takes in what the group and those around it, as far as they are seen, say.
    fn narrow(&mut self, places: &Places, tree: &Tree<'_>, group: &Path) {
        // A group that is not below the mounted one is seen at the mount point, if at all; so is one outside the own namespace.
        let inside = group.strip_prefix(tree.root).unwrap_or(Path::new(""));
        let inside = if plain(inside) { inside } else { Path::new("") };
        for folder in inside.ancestors().take(DEPTH_MAX) {
            let folder = tree.point.join(folder);
            let number = |name: &str| places.number(folder.join(name).to_str()?);
            let text = |name: &str| places.text(folder.join(name).to_str()?);
            if tree.unified {
                self.cores = least(self.cores, text("cpu.max").as_deref().and_then(share));
                // Above `high` a group is slowed down until it is of no use.
                self.memory_bytes = least(self.memory_bytes, number("memory.max"));
                self.memory_bytes = least(self.memory_bytes, number("memory.high"));
            } else {
                let quota = number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us"));
                self.cores = least(self.cores, quota.and_then(|(quota, period)| ratio(quota, period)));
                self.memory_bytes = least(self.memory_bytes, number("memory.limit_in_bytes"));
            }
        }
    }
}

impl<'a> Tree<'a> {
    /// Reads a line of `mountinfo`: `id parent device root point options... - type source options`.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (Path::new(place.next()?), Path::new(place.next()?));
        let mut kind = kind.split(' ');
        let unified = match kind.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options = kind.nth(1).unwrap_or_default();
        (point.is_absolute() && root.is_absolute() && plain(point)).then_some(Self { root, point, unified, options })
    }

    fn serves(&self, controllers: &str) -> bool {
        let here = |name: &str| self.options.split(',').any(|option| option == name);
        self.unified == controllers.is_empty()
            && (self.unified || controllers.split(',').any(|name| matches!(name, "cpu" | "memory") && here(name)))
    }
}

fn plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir))
}

/// `150000 100000` of `cpu.max`; `max 100000` is no limit.
fn share(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    ratio(quota.parse().ok()?, period.trim().parse().ok()?)
}

fn ratio(quota: u64, period: u64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

fn least<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (known, None) | (None, known) => known,
    }
}
