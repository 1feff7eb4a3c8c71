//! Draws a scene as pixels, with smooth edges: how much of a pixel a thing covers is how much of its colour the pixel takes.

use crate::font;
use crate::scene::{Anchor, Colour, Item, Point, Scene, Step, Text};

/// Straight pieces a curve is drawn with.
const CURVE_PIECES: u32 = 16;

/// Pixels, row by row from the top.
pub struct Canvas {
    /// Pixels in a row.
    pub width: usize,
    height: usize,
    /// Red, green and blue of each pixel.
    pub pixels: Vec<u8>,
}

/// Draws the scene with `scale` pixels a unit.
pub fn draw(scene: &Scene, scale: f64) -> Canvas {
    let (width, height) = ((scene.width * scale) as usize, (scene.height * scale) as usize);
    let mut canvas = Canvas { width, height, pixels: vec![255; width * height * 3] };
    let place = |(x, y): Point| (x * scale, y * scale);
    for item in &scene.items {
        match item {
            Item::Shape { outline, fill, opacity } => canvas.fill(&flatten(outline, place), *fill, *opacity),
            Item::Line { points, width, colour } => {
                let points: Vec<Point> = points.iter().map(|&p| place(p)).collect();
                canvas.stroke(&[points], width * scale, *colour);
            }
            Item::Text(text) => canvas.text(text, scale),
        }
    }
    canvas
}

/// Straight lines for an outline; each `Move` begins a new one.
fn flatten(outline: &[Step], place: impl Fn(Point) -> Point) -> Vec<Vec<Point>> {
    let mut lines: Vec<Vec<Point>> = Vec::new();
    for step in outline {
        match *step {
            Step::Move(p) => lines.push(vec![place(p)]),
            Step::Line(p) => lines.last_mut().into_iter().for_each(|line| line.push(place(p))),
            Step::Curve(a, b, p) => {
                if let Some(line) = lines.last_mut() {
                    let from = line[line.len() - 1];
                    line.extend(curve(from, place(a), place(b), place(p)));
                }
            }
        }
    }
    lines
}

fn curve(from: Point, a: Point, b: Point, to: Point) -> impl Iterator<Item = Point> {
    (1..=CURVE_PIECES).map(move |piece| {
        let t = f64::from(piece) / f64::from(CURVE_PIECES);
        let u = 1.0 - t;
        let (w0, w1, w2, w3) = (u * u * u, 3.0 * u * u * t, 3.0 * u * t * t, t * t * t);
        let mix = |p: f64, q: f64, r: f64, s: f64| w0 * p + w1 * q + w2 * r + w3 * s;
        (mix(from.0, a.0, b.0, to.0), mix(from.1, a.1, b.1, to.1))
    })
}

/// A rectangle of pixels with a coverage each.
struct Mask {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    cover: Vec<f64>,
}

impl Canvas {
    /// An empty mask around the points, `margin` wider on each side, cut off at the canvas.
    fn mask(&self, lines: &[Vec<Point>], margin: f64) -> Mask {
        let (mut low, mut high) = ((f64::MAX, f64::MAX), (f64::MIN, f64::MIN));
        for &(x, y) in lines.iter().flatten() {
            low = (low.0.min(x), low.1.min(y));
            high = (high.0.max(x), high.1.max(y));
        }
        let begin = |value: f64, end: usize| ((value - margin).max(0.0) as usize).min(end);
        let end = |value: f64, end: usize| ((value + margin).max(0.0) as usize + 1).min(end);
        let (left, top) = (begin(low.0, self.width), begin(low.1, self.height));
        let (width, height) =
            (end(high.0, self.width).saturating_sub(left), end(high.1, self.height).saturating_sub(top));
        Mask { left, top, width, height, cover: vec![0.0; width * height] }
    }

    /// Fills closed outlines that do not cross themselves.
    fn fill(&mut self, lines: &[Vec<Point>], colour: Colour, opacity: f64) {
        let mut mask = self.mask(lines, 1.0);
        for line in lines {
            for (place, &from) in line.iter().enumerate() {
                mask.edge(from, line[(place + 1) % line.len()]);
            }
        }
        for row in mask.cover.chunks_exact_mut(mask.width.max(1)) {
            let mut sum = 0.0;
            for cell in row {
                sum += *cell;
                *cell = sum.abs().min(1.0);
            }
        }
        self.blend(&mask, colour, opacity);
    }

    /// Draws lines with a round pen.
    fn stroke(&mut self, lines: &[Vec<Point>], width: f64, colour: Colour) {
        let mut mask = self.mask(lines, width);
        for line in lines {
            line.windows(2).for_each(|ends| mask.pen(ends[0], ends[1], width / 2.0));
        }
        self.blend(&mask, colour, 1.0);
    }

    fn text(&mut self, text: &Text, scale: f64) {
        let length = font::width(&text.words, text.size);
        let shift = match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => length / 2.0,
            Anchor::End => length,
        };
        let (x, y) = text.at;
        let place = |(along, down): Point| {
            let along = along - shift;
            let (right, down) = if text.upright { (down, -along) } else { (along, down) };
            ((x + right) * scale, (y + down) * scale)
        };
        for letter in font::strokes(&text.words, text.size) {
            let lines = flatten(&letter, place);
            if !lines.is_empty() {
                self.stroke(&lines, font::pen(text.size, text.bold) * scale, text.colour);
            }
        }
    }

    fn blend(&mut self, mask: &Mask, colour: Colour, opacity: f64) {
        let colour = [f64::from(colour.0), f64::from(colour.1), f64::from(colour.2)];
        for y in 0..mask.height {
            for x in 0..mask.width {
                let share = mask.cover[y * mask.width + x] * opacity;
                if share > 0.0 {
                    let at = ((mask.top + y) * self.width + mask.left + x) * 3;
                    for (byte, wanted) in self.pixels[at..at + 3].iter_mut().zip(colour) {
                        let old = f64::from(*byte);
                        *byte = (old + (wanted - old) * share + 0.5) as u8;
                    }
                }
            }
        }
    }
}

impl Mask {
    /// Adds one edge of an outline: after a running sum along each row, a cell holds the share of its pixel inside the outline.
    fn edge(&mut self, from: Point, to: Point) {
        if from.1 == to.1 || self.width == 0 {
            return;
        }
        let (sign, upper, lower) = if from.1 < to.1 { (1.0, from, to) } else { (-1.0, to, from) };
        let slope = (lower.0 - upper.0) / (lower.1 - upper.1);
        let first = (upper.1.max(0.0) as usize).max(self.top);
        let last = (lower.1.max(0.0) as usize + 1).min(self.top + self.height);
        for row in first..last {
            let y0 = upper.1.max(row as f64);
            let y1 = lower.1.min((row + 1) as f64);
            if y1 > y0 {
                let x0 = upper.0 + (y0 - upper.1) * slope - self.left as f64;
                let x1 = upper.0 + (y1 - upper.1) * slope - self.left as f64;
                self.edge_in_row(row - self.top, (x0.min(x1), x0.max(x1)), sign * (y1 - y0));
            }
        }
    }

    /// Part of an edge within one row of pixels: it goes from `x.0` to `x.1` and is `height` (with its direction's sign) high.
    fn edge_in_row(&mut self, row: usize, x: (f64, f64), height: f64) {
        let limit = self.width as f64;
        let (x0, x1) = (x.0.clamp(0.0, limit), x.1.clamp(0.0, limit));
        let cells = &mut self.cover[row * self.width..(row + 1) * self.width];
        let first = x0 as usize;
        if first >= cells.len() {
            return;
        }
        let mut covered = 0.0;
        for (place, cell) in cells.iter_mut().enumerate().skip(first) {
            let total = area_right_of(x0, x1, (place + 1) as f64) * height;
            *cell += total - covered;
            covered = total;
            if (place as f64) > x1 {
                break;
            }
        }
    }

    /// Raises the coverage near a line to that of a round pen of the given radius.
    fn pen(&mut self, from: Point, to: Point, radius: f64) {
        let reach = radius + 1.0;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let square = dx * dx + dy * dy;
        let range = |low: f64, high: f64, offset: usize, length: usize| {
            let begin = ((low - reach).max(0.0) as usize).max(offset) - offset;
            let end = ((high + reach).max(0.0) as usize + 1).max(offset) - offset;
            begin.min(length)..end.min(length)
        };
        let columns = range(from.0.min(to.0), from.0.max(to.0), self.left, self.width);
        for row in range(from.1.min(to.1), from.1.max(to.1), self.top, self.height) {
            for column in columns.clone() {
                let (x, y) = ((self.left + column) as f64 + 0.5 - from.0, (self.top + row) as f64 + 0.5 - from.1);
                let along = if square > 0.0 { ((x * dx + y * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
                let (off_x, off_y) = (x - along * dx, y - along * dy);
                let cover = (radius + 0.5 - (off_x * off_x + off_y * off_y).sqrt()).clamp(0.0, 1.0);
                let cell = &mut self.cover[row * self.width + column];
                if cover > *cell {
                    *cell = cover;
                }
            }
        }
    }
}

/// Mean over the edge's points x in [x0, x1] of how much of the pixel ending at `end` lies right of x: running sums of its differences
/// are what one row of an edge adds.
fn area_right_of(x0: f64, x1: f64, end: f64) -> f64 {
    let reach = |x: f64| {
        let inside = (end - x).clamp(0.0, 1.0);
        // Integral of min(1, max(0, end - x)) from x on to the right.
        inside * inside / 2.0 + (end - x - 1.0).max(0.0)
    };
    if x1 - x0 < 1e-9 {
        (end - x0).clamp(0.0, 1.0)
    } else {
        (reach(x0) - reach(x1)) / (x1 - x0)
    }
}
