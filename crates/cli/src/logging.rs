//! What the program says of itself, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that says what is logged.
const VARIABLE: &str = "GRISTMILL_LOG";

/// What is logged by most commands: warnings and errors.
pub const DEFAULT: &str = "warn";

/// Begins logging, `default` unless [`VARIABLE`] says otherwise.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    lines.with_ansi(is_terminal).init();
}
