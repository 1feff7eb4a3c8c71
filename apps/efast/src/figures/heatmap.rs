//! The stability matrix as a heat map, its rows ordered by the tree that is drawn beside it.

use super::{cluster_colour, HAIRLINE, INK, PALE_INK, WHITE};
use crate::reduce::Consensus;
use crate::report::{cluster_name, percent, thousands};
use crate::scene::{Anchor, Colour, Point, Scene};

const LEFT: f64 = 32.0;
const TREE_WIDTH: f64 = 180.0;
const LABEL_WIDTH: f64 = 66.0;
const TOP: f64 = 152.0;
const SIDE_WIDTH: f64 = 168.0;
/// Edge of the whole matrix, when its cells are not cut off at their limits.
const MATRIX_EDGE: f64 = 640.0;
const CELL_LEAST: f64 = 5.0;
const CELL_MOST: f64 = 34.0;
/// Smallest cell with its percentage written in it.
const CELL_WITH_NUMBER: f64 = 24.0;

/// Colours from never together to always together.
const SCALE: [Colour; 6] = [
    Colour(0xf4, 0xf7, 0xfa),
    Colour(0xd3, 0xe4, 0xf0),
    Colour(0x96, 0xc3, 0xdd),
    Colour(0x4a, 0x93, 0xc1),
    Colour(0x1d, 0x60, 0x98),
    Colour(0x0b, 0x30, 0x5e),
];

struct Layout<'a> {
    consensus: &'a Consensus,
    cell: f64,
    /// Upper left corner of the matrix.
    corner: Point,
    edge: f64,
}

/// The picture.
pub fn scene(consensus: &Consensus) -> Scene {
    let stocks = consensus.tickers.len() as f64;
    let cell = (MATRIX_EDGE / stocks).clamp(CELL_LEAST, CELL_MOST);
    let edge = cell * stocks;
    let corner = (LEFT + TREE_WIDTH + LABEL_WIDTH, TOP);
    let layout = Layout { consensus, cell, corner, edge };
    let mut scene = Scene::new(corner.0 + edge + SIDE_WIDTH, TOP + edge + 84.0, "How surely stocks belong together");
    layout.heading(&mut scene);
    layout.cells(&mut scene);
    layout.labels(&mut scene);
    layout.frames(&mut scene);
    layout.tree(&mut scene);
    layout.legend(&mut scene);
    scene
}

/// Colour of a share of samples.
fn heat(share: f64) -> Colour {
    let place = share.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let low = (place as usize).min(SCALE.len() - 2);
    SCALE[low].towards(SCALE[low + 1], place - low as f64)
}

impl Layout<'_> {
    fn heading(&self, scene: &mut Scene) {
        let (first_day, last_day) = self.consensus.days();
        scene.bold_text((LEFT, 46.0), 26.0, Anchor::Start, INK, "How surely stocks belong together");
        let subtitle = format!(
            "Percent of {} bootstrap samples in which two stocks fall into one cluster",
            thousands(self.consensus.samples)
        );
        scene.text((LEFT, 72.0), 15.0, Anchor::Start, PALE_INK, &subtitle);
        let windows = format!("{} windows, {first_day} to {last_day}", self.consensus.periods.len());
        scene.text((LEFT, 94.0), 15.0, Anchor::Start, PALE_INK, &windows);
    }

    /// Middle of a row or column, counted from the matrix's corner.
    fn middle(&self, place: usize) -> f64 {
        (place as f64 + 0.5) * self.cell
    }

    fn cells(&self, scene: &mut Scene) {
        let (x0, y0) = self.corner;
        let gap = if self.cell >= CELL_WITH_NUMBER { 1.0 } else { 0.0 };
        for (row, &i) in self.consensus.order.iter().enumerate() {
            for (column, &j) in self.consensus.order.iter().enumerate() {
                let share = self.consensus.share.at(i, j);
                let (x, y) = (x0 + column as f64 * self.cell, y0 + row as f64 * self.cell);
                scene.rect((x, y), (self.cell - gap, self.cell - gap), heat(share));
                let text = percent(share);
                if self.cell >= CELL_WITH_NUMBER && i != j && text != "0" {
                    let ink = if share > 0.5 { WHITE } else { INK };
                    let size = self.cell * 0.36;
                    let at = (x0 + self.middle(column) - gap / 2.0, y0 + self.middle(row) + size * 0.35);
                    scene.text(at, size, Anchor::Middle, ink, &text);
                }
            }
        }
    }

    fn labels(&self, scene: &mut Scene) {
        let (x0, y0) = self.corner;
        let size = (self.cell * 0.5).clamp(4.0, 15.0);
        for (place, &stock) in self.consensus.order.iter().enumerate() {
            let colour = cluster_colour(self.consensus.labels[stock]);
            let ticker = &self.consensus.tickers[stock];
            let along = self.middle(place) + size * 0.35;
            scene.bold_text((x0 - 10.0, y0 + along), size, Anchor::End, colour, ticker);
            scene.upright_text((x0 + along, y0 - 10.0), size, Anchor::Start, colour, ticker);
        }
    }

    /// A frame around each cluster, and its name and stability on the right.
    fn frames(&self, scene: &mut Scene) {
        let (x0, y0) = self.corner;
        let mut start = 0;
        for (label, cluster) in self.consensus.clusters.iter().enumerate() {
            let end = start + cluster.members.len();
            let (low, high) = (start as f64 * self.cell - 0.5, end as f64 * self.cell - 0.5);
            let colour = cluster_colour(label);
            let corners = [(low, low), (high, low), (high, high), (low, high), (low, low)];
            let points: Vec<Point> = corners.iter().map(|(x, y)| (x0 + x, y0 + y)).collect();
            scene.line(&points, 2.4, colour);
            let right = x0 + self.edge + 12.0;
            scene.line(&[(right, y0 + low + 3.0), (right, y0 + high - 3.0)], 3.0, colour);
            let middle = y0 + (low + high) / 2.0;
            scene.bold_text((right + 14.0, middle + 6.0), 17.0, Anchor::Start, colour, &cluster_name(label));
            let words = if cluster.members.len() > 1 { "together" } else { "alone" };
            let text = format!("{} % {words}", percent(cluster.stability));
            scene.text((right + 38.0, middle + 5.0), 13.0, Anchor::Start, INK, &text);
            start = end;
        }
    }

    /// The tree: its leaves touch the labels, its root is on the left; a merge lies where its share of samples is on the scale below.
    fn tree(&self, scene: &mut Scene) {
        let leaves = self.consensus.tickers.len();
        let right = LEFT + TREE_WIDTH;
        let across = |height: f64| right - height.clamp(0.0, 1.0) * TREE_WIDTH;
        let bottom = TOP + self.edge;
        for tick in 0..=4u32 {
            let height = f64::from(tick) / 4.0;
            scene.line(&[(across(height), TOP), (across(height), bottom)], 0.8, HAIRLINE);
            scene.text((across(height), bottom + 18.0), 11.0, Anchor::Middle, PALE_INK, &percent(1.0 - height));
        }
        scene.text(
            (LEFT + TREE_WIDTH / 2.0, bottom + 36.0),
            12.0,
            Anchor::Middle,
            PALE_INK,
            "percent of samples together",
        );
        let mut nodes: Vec<(f64, f64, Option<usize>)> = vec![(0.0, 0.0, None); leaves];
        for (place, &stock) in self.consensus.order.iter().enumerate() {
            nodes[stock] = (right, TOP + self.middle(place), Some(self.consensus.labels[stock]));
        }
        for merge in &self.consensus.tree {
            let (a, b) = (nodes[merge.left], nodes[merge.right]);
            let x = across(merge.height);
            let label = if a.2 == b.2 { a.2 } else { None };
            let colour = label.map_or(PALE_INK, cluster_colour);
            for (node, label) in [(a, a.2), (b, b.2)] {
                let own = label.map_or(PALE_INK, cluster_colour);
                scene.line(&[(node.0, node.1), (x, node.1)], 1.8, own);
            }
            scene.line(&[(x, a.1), (x, b.1)], 1.8, colour);
            nodes.push((x, (a.1 + b.1) / 2.0, label));
        }
    }

    fn legend(&self, scene: &mut Scene) {
        let (x0, y) = (self.corner.0, TOP + self.edge + 24.0);
        let steps = 60u32;
        let width = 240.0;
        let step = width / f64::from(steps);
        for place in 0..steps {
            let share = f64::from(place) / f64::from(steps - 1);
            scene.rect((x0 + f64::from(place) * step, y), (step + 0.2, 12.0), heat(share));
        }
        for tick in 0..=4u32 {
            let share = f64::from(tick) / 4.0;
            let text = percent(share) + if tick == 4 { " %" } else { "" };
            scene.text((x0 + share * width, y + 28.0), 11.0, Anchor::Middle, PALE_INK, &text);
        }
    }
}
