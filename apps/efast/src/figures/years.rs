//! How the clusters changed: a column for each window with its own clusters as blocks, a ribbon for each stock from column to column,
//! coloured by the cluster it belongs to over all years. Below, how much all stocks moved together.

use super::{cluster_colour, HAIRLINE, INK, PALE_INK};
use crate::outcome::decimal;
use crate::reduce::{Consensus, Period};
use crate::report::{cluster_name, own_groups, years};
use crate::scene::{Anchor, Colour, Point, Scene, Step};

const WIDTH: f64 = 1280.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 104.0;
const TOP: f64 = 176.0;
/// Height of all ribbons of a column, without the gaps between its blocks.
const RIBBONS_HEIGHT: f64 = 440.0;
const RIBBON_MOST: f64 = 22.0;
const RIBBON_LEAST: f64 = 3.0;
const GAP: f64 = 12.0;
/// Half the width of a block.
const BLOCK: f64 = 5.0;
/// Most windows shown; of more, so many are picked evenly.
const COLUMNS_MOST: usize = 16;
const BARS_HEIGHT: f64 = 84.0;
const RIBBON_OPACITY: f64 = 0.62;

struct Layout<'a> {
    consensus: &'a Consensus,
    columns: Vec<Column<'a>>,
    ribbon: f64,
    bottom: f64,
}

struct Column<'a> {
    period: &'a Period,
    x: f64,
    /// Upper edge of each stock's ribbon.
    tops: Vec<f64>,
    /// Upper and lower edge of each block, and whether it holds exactly the stocks of one final cluster.
    blocks: Vec<Block>,
}

struct Block {
    top: f64,
    bottom: f64,
    /// The final cluster all its stocks belong to, if it is one.
    label: Option<usize>,
}

/// The picture.
pub fn scene(consensus: &Consensus) -> Scene {
    let ribbon = (RIBBONS_HEIGHT / consensus.tickers.len() as f64).clamp(RIBBON_LEAST, RIBBON_MOST);
    let periods = picked(&consensus.periods);
    let most_blocks = periods.iter().map(|period| own_groups(period).len()).max().unwrap_or(1);
    let height = ribbon * consensus.tickers.len() as f64 + GAP * most_blocks.saturating_sub(1) as f64;
    let spread = (WIDTH - LEFT - RIGHT) / periods.len().saturating_sub(1).max(1) as f64;
    let columns = periods
        .iter()
        .enumerate()
        .map(|(place, period)| Column::new(consensus, period, LEFT + spread * place as f64, ribbon, height));
    let layout = Layout { consensus, columns: columns.collect(), ribbon, bottom: TOP + height };
    let mut scene = Scene::new(WIDTH, TOP + height + BARS_HEIGHT + 122.0, "How the clusters changed over the years");
    layout.heading(&mut scene);
    layout.ribbons(&mut scene);
    layout.blocks(&mut scene);
    layout.names(&mut scene);
    layout.correlations(&mut scene);
    scene
}

fn picked(periods: &[Period]) -> Vec<&Period> {
    let shown = periods.len().min(COLUMNS_MOST);
    let step = |place: usize| {
        if shown > 1 {
            place * (periods.len() - 1) / (shown - 1)
        } else {
            0
        }
    };
    (0..shown).map(|place| &periods[step(place)]).collect()
}

impl<'a> Column<'a> {
    fn new(consensus: &Consensus, period: &'a Period, x: f64, ribbon: f64, height: f64) -> Column<'a> {
        let stocks = consensus.tickers.len();
        let mut rank = vec![0usize; stocks];
        consensus.order.iter().enumerate().for_each(|(place, &stock)| rank[stock] = place);
        let mut groups = own_groups(period);
        groups.iter_mut().for_each(|group| group.sort_by_key(|&stock| rank[stock]));
        // By the mean rank of the members, compared without division: a block lies where its stocks lie in the final order.
        let total = |group: &[usize]| group.iter().map(|&stock| rank[stock]).sum::<usize>();
        groups.sort_by(|a, b| (total(a) * b.len()).cmp(&(total(b) * a.len())).then(rank[a[0]].cmp(&rank[b[0]])));
        let used = ribbon * stocks as f64 + GAP * (groups.len() - 1) as f64;
        let mut y = TOP + (height - used) / 2.0;
        let mut tops = vec![0.0; stocks];
        let mut blocks = Vec::new();
        for group in &groups {
            let top = y;
            for &stock in group {
                tops[stock] = y;
                y += ribbon;
            }
            let label = consensus.labels[group[0]];
            let pure = group.iter().all(|&stock| consensus.labels[stock] == label);
            blocks.push(Block { top, bottom: y, label: if pure { Some(label) } else { None } });
            y += GAP;
        }
        Column { period, x, tops, blocks }
    }
}

impl Layout<'_> {
    fn heading(&self, scene: &mut Scene) {
        scene.bold_text((32.0, 46.0), 26.0, Anchor::Start, INK, "How the clusters changed over the years");
        let lines = [
            "Each column is a window of time, each block a cluster found in it, each ribbon a stock.",
            "A ribbon's colour is the stock's cluster over all years; a dark block mixes stocks of several.",
        ];
        for (place, line) in lines.iter().enumerate() {
            scene.text((32.0, 72.0 + 22.0 * place as f64), 15.0, Anchor::Start, PALE_INK, line);
        }
        let mut x = 32.0;
        for (label, cluster) in self.consensus.clusters.iter().enumerate() {
            let names = self.consensus.names(&cluster.members).join(" ");
            let words = format!("{} {names}", cluster_name(label));
            scene.rect((x, 113.0), (12.0, 12.0), cluster_colour(label));
            scene.text((x + 18.0, 124.0), 12.5, Anchor::Start, INK, &words);
            x += 18.0 + crate::font::width(&words, 12.5) + 22.0;
        }
    }

    fn colour(&self, stock: usize) -> Colour {
        cluster_colour(self.consensus.labels[stock])
    }

    fn ribbons(&self, scene: &mut Scene) {
        for pair in self.columns.windows(2) {
            for &stock in &self.consensus.order {
                let from = (pair[0].x + BLOCK, pair[0].tops[stock]);
                let to = (pair[1].x - BLOCK, pair[1].tops[stock]);
                scene.shape(ribbon(from, to, self.ribbon - 1.0), self.colour(stock), RIBBON_OPACITY);
            }
        }
    }

    fn blocks(&self, scene: &mut Scene) {
        for column in &self.columns {
            for block in &column.blocks {
                let colour = block.label.map_or(INK, cluster_colour);
                scene.rect((column.x - BLOCK, block.top), (2.0 * BLOCK, block.bottom - block.top - 1.0), colour);
            }
            scene.bold_text((column.x, TOP - 18.0), 13.0, Anchor::Middle, INK, &years(column.period));
        }
    }

    /// The tickers beside the first and the last column.
    fn names(&self, scene: &mut Scene) {
        let size = (self.ribbon * 0.66).clamp(4.0, 14.0);
        let ends =
            [(self.columns.first(), -BLOCK - 8.0, Anchor::End), (self.columns.last(), BLOCK + 8.0, Anchor::Start)];
        for (column, shift, anchor) in ends {
            for (stock, ticker) in self.consensus.tickers.iter().enumerate() {
                if let Some(column) = column {
                    let y = column.tops[stock] + self.ribbon / 2.0 + size * 0.33;
                    scene.bold_text((column.x + shift, y), size, anchor, self.colour(stock), ticker);
                }
            }
        }
    }

    /// Bars of the mean correlation, below the columns.
    fn correlations(&self, scene: &mut Scene) {
        let base = self.bottom + 62.0 + BARS_HEIGHT;
        let words = "Mean correlation of two stocks in the window, the market's common move included: how little spreading money helps";
        scene.text((32.0, self.bottom + 40.0), 13.0, Anchor::Start, PALE_INK, words);
        let most = self.columns.iter().fold(0.05, |most: f64, column| most.max(column.period.outcome.mean_correlation));
        scene.line(&[(LEFT - 30.0, base), (WIDTH - RIGHT + 30.0, base)], 1.0, HAIRLINE);
        for column in &self.columns {
            let value = column.period.outcome.mean_correlation;
            let height = (value / most).max(0.0) * (BARS_HEIGHT - 22.0);
            let shade = Colour(0xc4, 0xcf, 0xda).towards(INK, (value / most).clamp(0.0, 1.0) * 0.75);
            scene.rect((column.x - 16.0, base - height), (32.0, height), shade);
            scene.text((column.x, base - height - 6.0), 12.0, Anchor::Middle, INK, &decimal(value, 2));
            scene.text((column.x, base + 18.0), 11.0, Anchor::Middle, PALE_INK, &years(column.period));
        }
    }
}

/// A band of the given thickness from the upper left corner `from` to the upper right corner `to`, level at both ends.
fn ribbon(from: Point, to: Point, thickness: f64) -> Vec<Step> {
    let half = (from.0 + to.0) / 2.0;
    vec![
        Step::Move(from),
        Step::Curve((half, from.1), (half, to.1), to),
        Step::Line((to.0, to.1 + thickness)),
        Step::Curve((half, to.1 + thickness), (half, from.1 + thickness), (from.0, from.1 + thickness)),
    ]
}
