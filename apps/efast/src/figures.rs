//! The two pictures: the heat map of stability with its tree, and how the clusters changed over the years. Each as SVG and PNG.

mod heatmap;
mod years;

use crate::reduce::Consensus;
use crate::scene::{Colour, Scene};
use crate::{png, raster, svg};

/// Pixels of the PNG for a unit of the picture.
const PIXELS_A_UNIT: f64 = 1.5;

const INK: Colour = Colour(0x1f, 0x29, 0x33);
const PALE_INK: Colour = Colour(0x6b, 0x77, 0x85);
const HAIRLINE: Colour = Colour(0xd9, 0xdf, 0xe5);
const WHITE: Colour = Colour(0xff, 0xff, 0xff);
/// Colours of the clusters; past the last they begin again.
const CLUSTER_COLOURS: [Colour; 10] = [
    Colour(0x2f, 0x6f, 0xa8),
    Colour(0xe0, 0x7b, 0x1f),
    Colour(0x3c, 0x91, 0x57),
    Colour(0x8a, 0x5a, 0xa8),
    Colour(0xcf, 0x44, 0x46),
    Colour(0x2a, 0x9d, 0x9b),
    Colour(0xc9, 0xa2, 0x27),
    Colour(0x8b, 0x5e, 0x3c),
    Colour(0xd9, 0x73, 0x9f),
    Colour(0x5b, 0x68, 0x78),
];

/// The picture files of the final result: name and content.
pub fn files(consensus: &Consensus) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (name, scene) in [("heatmap", heatmap::scene(consensus)), ("years", years::scene(consensus))] {
        files.push((format!("{name}.svg"), svg::write(&scene).into_bytes()));
        files.push((format!("{name}.png"), pixels(&scene)));
    }
    files
}

fn pixels(scene: &Scene) -> Vec<u8> {
    let canvas = raster::draw(scene, PIXELS_A_UNIT);
    png::encode(canvas.width, &canvas.pixels)
}

fn cluster_colour(label: usize) -> Colour {
    CLUSTER_COLOURS[label % CLUSTER_COLOURS.len()]
}
