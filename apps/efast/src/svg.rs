//! Writes a scene as SVG 1.1.

use crate::scene::{Anchor, Colour, Item, Point, Scene, Step, Text};

/// Fonts of the words, the first one that is there.
const FONTS: &str = "Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif";

/// The scene as the text of an SVG file.
pub fn write(scene: &Scene) -> String {
    let (width, height) = (number(scene.width), number(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"{FONTS}\" role=\"img\">\n<title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        escape(&scene.title)
    );
    for item in &scene.items {
        out.push_str(&match item {
            Item::Shape { outline, fill, opacity } => shape(outline, *fill, *opacity),
            Item::Line { points, width, colour } => line(points, *width, *colour),
            Item::Text(text) => words(text),
        });
    }
    out.push_str("</svg>\n");
    out
}

fn shape(outline: &[Step], fill: Colour, opacity: f64) -> String {
    let path: String = outline
        .iter()
        .map(|step| match step {
            Step::Move(p) => format!("M{}", point(*p)),
            Step::Line(p) => format!("L{}", point(*p)),
            Step::Curve(a, b, p) => format!("C{} {} {}", point(*a), point(*b), point(*p)),
        })
        .collect();
    let opacity = if opacity < 1.0 { format!(" fill-opacity=\"{}\"", number(opacity)) } else { String::new() };
    format!("<path d=\"{path}Z\" fill=\"{}\"{opacity}/>\n", colour(fill))
}

fn line(points: &[Point], width: f64, stroke: Colour) -> String {
    let points: Vec<String> = points.iter().map(|&p| point(p)).collect();
    format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linecap=\"round\" stroke-linejoin=\"round\"/>\n",
        points.join(" "),
        colour(stroke),
        number(width)
    )
}

fn words(text: &Text) -> String {
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let (x, y) = (number(text.at.0), number(text.at.1));
    let turn = if text.upright { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
    let weight = if text.bold { " font-weight=\"600\"" } else { "" };
    format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\"{weight}{turn}>{}</text>\n",
        number(text.size),
        colour(text.colour),
        escape(&text.words)
    )
}

fn point((x, y): Point) -> String {
    format!("{},{}", number(x), number(y))
}

/// At most two decimals, no zeros at the end.
fn number(value: f64) -> String {
    let text = crate::outcome::decimal(value, 2);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn colour(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
