//! The bounds of parsing and evaluation: whoever sends an ad decides what is in it, and must not decide how long it takes to read.

/// Bytes of source that are parsed at once: 1 MiB. A machine's ad has a few thousand.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Levels of an expression, from its root to its deepest leaf. Chains of `&&` and `||` are one level, however long.
pub const EXPRESSION_DEPTH_MAX: usize = 200;
/// Attributes of one ad.
pub const ATTRIBUTES_MAX: usize = 4_096;
/// Bytes of an attribute's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Nodes that one evaluation may visit, work on strings and lists counted in.
pub const EVALUATION_STEPS_MAX: u32 = 100_000;
/// Levels of evaluation at once: of operators, functions and attributes that refer to attributes.
pub const EVALUATION_DEPTH_MAX: u32 = 400;
/// Bytes of a string that an evaluation makes.
pub const STRING_BYTES_MAX: usize = 1 << 16;
/// Elements of a list that an evaluation makes.
pub const LIST_ELEMENTS_MAX: usize = 10_000;
/// Bytes of a pattern of a regular expression.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Bytes of memory that a compiled pattern may take.
pub const PATTERN_MEMORY_MAX: usize = 1 << 16;

/// Nodes of the program that an ad's requirements and rank are compiled to; what goes beyond is evaluated as it stands.
pub const CODE_NODES_MAX: usize = 2_000;
/// Names that get a number; further ones are looked up by their text.
pub const SYMBOLS_MAX: usize = 1_024;

/// Bytes of text that cost as much as one node.
pub(crate) const BYTES_PER_STEP: usize = 32;
/// Sizes of compiled patterns, and how many bytes of text one step pays for then: a large pattern may look at each byte often.
pub(crate) const PATTERN_CLASSES: [(usize, usize); 3] = [(1 << 13, 8), (1 << 15, 2), (PATTERN_MEMORY_MAX, 1)];
/// Bytes of tables that matching may build on the way.
pub(crate) const PATTERN_TABLES_MAX: usize = 1 << 18;
/// Steps that compiling a pattern costs, whatever its length.
pub(crate) const PATTERN_STEPS: usize = 500;
