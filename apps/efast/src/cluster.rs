//! Average-linkage clustering (UPGMA), the cut of a tree into clusters, and the order of its leaves.

/// A square, symmetric table of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Rows, and columns.
    pub size: usize,
    cells: Vec<f64>,
}

impl Matrix {
    /// All zero.
    pub fn zero(size: usize) -> Matrix {
        Matrix { size, cells: vec![0.0; size * size] }
    }

    /// The cell of row `i` and column `j`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.cells[i * self.size + j]
    }

    /// Sets the cell and its mirror image.
    pub fn set(&mut self, i: usize, j: usize, value: f64) {
        self.cells[i * self.size + j] = value;
        self.cells[j * self.size + i] = value;
    }

    /// Each cell changed by `change`.
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Matrix {
        Matrix { size: self.size, cells: self.cells.iter().map(|&cell| change(cell)).collect() }
    }
}

/// One merge of a tree. Leaves are 0 .. n-1; the merge at step t makes node n + t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merge {
    /// The lower of the two nodes.
    pub left: usize,
    /// The higher of the two nodes.
    pub right: usize,
    /// Mean distance between their leaves.
    pub height: f64,
    /// Leaves of the new node.
    pub leaves: usize,
}

/// Joins the two nearest clusters again and again; the distance of two clusters is the mean over their pairs of leaves.
///
/// Clusters live in slots, a merged one in the lower slot of its two. Of equal distances the pair with the lowest slots is taken,
/// the first slot first, so that the tree never depends on chance.
pub fn average_linkage(distance: &Matrix) -> Vec<Merge> {
    let leaves = distance.size;
    let mut distance = distance.clone();
    let mut slots: Vec<usize> = (0..leaves).collect();
    let mut node: Vec<usize> = (0..leaves).collect();
    let mut weight: Vec<usize> = vec![1; leaves];
    let mut merges = Vec::with_capacity(leaves.saturating_sub(1));
    while slots.len() > 1 {
        let (low, high) = nearest(&distance, &slots);
        let (a, b) = (slots[low], slots[high]);
        let height = distance.at(a, b);
        slots.remove(high);
        let (weight_a, weight_b) = (weight[a] as f64, weight[b] as f64);
        for &other in slots.iter().filter(|&&slot| slot != a) {
            let mean = (weight_a * distance.at(a, other) + weight_b * distance.at(b, other)) / (weight_a + weight_b);
            distance.set(a, other, mean);
        }
        weight[a] += weight[b];
        merges.push(Merge { left: node[a].min(node[b]), right: node[a].max(node[b]), height, leaves: weight[a] });
        node[a] = leaves + merges.len() - 1;
    }
    merges
}

/// Positions in `slots` of the nearest two clusters.
fn nearest(distance: &Matrix, slots: &[usize]) -> (usize, usize) {
    let mut best = (0, 1);
    let mut least = f64::INFINITY;
    for (i, &a) in slots.iter().enumerate() {
        for (j, &b) in slots.iter().enumerate().skip(i + 1) {
            let candidate = distance.at(a, b);
            if candidate < least {
                least = candidate;
                best = (i, j);
            }
        }
    }
    best
}

/// Cuts a tree into `count` clusters (all leaves apart if there are fewer): the number of each leaf's cluster, numbered in the order of
/// their first leaves.
pub fn cut(merges: &[Merge], count: usize) -> Vec<usize> {
    let leaves = merges.len() + 1;
    let kept = leaves.saturating_sub(count.max(1));
    let mut parent: Vec<usize> = (0..leaves + kept).collect();
    for (step, merge) in merges.iter().take(kept).enumerate() {
        parent[merge.left] = leaves + step;
        parent[merge.right] = leaves + step;
    }
    let mut roots: Vec<usize> = Vec::new();
    (0..leaves)
        .map(|leaf| {
            let mut node = leaf;
            while parent[node] != node {
                node = parent[node];
            }
            roots.iter().position(|&root| root == node).unwrap_or_else(|| {
                roots.push(node);
                roots.len() - 1
            })
        })
        .collect()
}

/// Orders the leaves so that no branch crosses another and neighbours are as near as turning whole branches allows: each merge picks
/// of its four turns the one whose touching leaves are nearest (the first of equals).
pub fn leaf_order(merges: &[Merge], distance: &Matrix) -> Vec<usize> {
    let leaves = distance.size;
    let mut branch: Vec<Vec<usize>> = (0..leaves).map(|leaf| vec![leaf]).collect();
    for merge in merges {
        let (left, right) = (std::mem::take(&mut branch[merge.left]), std::mem::take(&mut branch[merge.right]));
        branch.push(join_nearest(left, right, distance));
    }
    branch.pop().unwrap_or_default()
}

fn join_nearest(left: Vec<usize>, right: Vec<usize>, distance: &Matrix) -> Vec<usize> {
    let mut best: Option<(f64, bool, bool)> = None;
    for (turn_left, turn_right) in [(false, false), (false, true), (true, false), (true, true)] {
        let from = if turn_left { left[0] } else { left[left.len() - 1] };
        let to = if turn_right { right[right.len() - 1] } else { right[0] };
        let gap = distance.at(from, to);
        if best.map_or(true, |(least, _, _)| gap < least) {
            best = Some((gap, turn_left, turn_right));
        }
    }
    let (turn_left, turn_right) = best.map_or((false, false), |(_, l, r)| (l, r));
    let mut joined = left;
    if turn_left {
        joined.reverse();
    }
    let mut tail = right;
    if turn_right {
        tail.reverse();
    }
    joined.extend(tail);
    joined
}
