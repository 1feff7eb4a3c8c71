//! A picture before it is drawn: shapes, lines and words, in the order in which they are laid over each other. It is drawn twice, as SVG
//! ([`crate::svg`]) and as pixels ([`crate::raster`]), so that both show the same.

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// The colour `share` (0 to 1) of the way to `other`.
    pub fn towards(self, other: Colour, share: f64) -> Colour {
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share + 0.5) as u8;
        Colour(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }
}

/// A place: x to the right, y down, in units of the picture.
pub type Point = (f64, f64);

/// One step of an outline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Begin here.
    Move(Point),
    /// A straight line to here.
    Line(Point),
    /// A cubic Bézier curve with two control points to the third.
    Curve(Point, Point, Point),
}

/// Which part of a text lies at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// Words on the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Where the anchor lies, on the baseline.
    pub at: Point,
    /// Height of a line.
    pub size: f64,
    /// What lies at `at`.
    pub anchor: Anchor,
    /// Thicker strokes.
    pub bold: bool,
    /// Reads from the bottom to the top.
    pub upright: bool,
    /// Colour of the letters.
    pub colour: Colour,
    /// The words.
    pub words: String,
}

/// One thing on the picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A filled outline.
    Shape { outline: Vec<Step>, fill: Colour, opacity: f64 },
    /// A line through points, with round ends and corners.
    Line { points: Vec<Point>, width: f64, colour: Colour },
    /// Words.
    Text(Text),
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Width in units.
    pub width: f64,
    /// Height in units.
    pub height: f64,
    /// What it says to people who cannot see it.
    pub title: String,
    /// What is on it, the lowest first.
    pub items: Vec<Item>,
}

impl Scene {
    /// An empty white picture.
    pub fn new(width: f64, height: f64, title: &str) -> Scene {
        Scene { width, height, title: title.into(), items: Vec::new() }
    }

    /// Adds a filled rectangle.
    pub fn rect(&mut self, corner: Point, size: Point, fill: Colour) {
        let (x, y) = corner;
        let (right, bottom) = (x + size.0, y + size.1);
        let outline =
            vec![Step::Move((x, y)), Step::Line((right, y)), Step::Line((right, bottom)), Step::Line((x, bottom))];
        self.shape(outline, fill, 1.0);
    }

    /// Adds a filled outline.
    pub fn shape(&mut self, outline: Vec<Step>, fill: Colour, opacity: f64) {
        self.items.push(Item::Shape { outline, fill, opacity });
    }

    /// Adds a line.
    pub fn line(&mut self, points: &[Point], width: f64, colour: Colour) {
        self.items.push(Item::Line { points: points.to_vec(), width, colour });
    }

    /// Adds words.
    pub fn text(&mut self, at: Point, size: f64, anchor: Anchor, colour: Colour, words: &str) {
        self.items.push(Item::Text(Text {
            at,
            size,
            anchor,
            bold: false,
            upright: false,
            colour,
            words: words.into(),
        }));
    }

    /// Adds words in thick strokes.
    pub fn bold_text(&mut self, at: Point, size: f64, anchor: Anchor, colour: Colour, words: &str) {
        self.items.push(Item::Text(Text { at, size, anchor, bold: true, upright: false, colour, words: words.into() }));
    }

    /// Adds words that read from the bottom to the top.
    pub fn upright_text(&mut self, at: Point, size: f64, anchor: Anchor, colour: Colour, words: &str) {
        self.items.push(Item::Text(Text { at, size, anchor, bold: false, upright: true, colour, words: words.into() }));
    }
}
