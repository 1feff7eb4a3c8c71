//! Print: one JSON object, or plain words.

use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gristmill_requester::chain;
use serde::Serialize;

/// Prints `value` as the one object on standard output.
///
/// # Errors
/// Standard output is closed.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    text_out(&(text + "\n"))
}

/// Prints `value` as JSON if that is wanted, and else `text` of it.
///
/// # Errors
/// Standard output is closed.
pub fn either<T: Serialize>(as_json: bool, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    if as_json { json(value) } else { text_out(&text(value)) }
}

/// Prints text. A reader that went away (`| head`) is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn text_out(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints an error with its causes: on standard error, and as JSON if that is wanted.
pub fn error(error: &(dyn Error + 'static), as_json: bool) {
    let text = chain(error);
    note(&format!("gristmill: {text}"));
    if as_json {
        // Nothing better can be done when standard output is closed too.
        let _ = json(&serde_json::json!({ "error": text }));
    }
}

/// Prints a line on standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Lines of `name  value`, the values in one column.
pub fn fields<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<(&str, String)> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// A table with a head; columns as wide as they must be.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|text| text.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// `1 task`, `3 tasks`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A duration in the unit that fits it.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.1} s"),
        seconds if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

/// How long ago a time in Unix seconds was, or how far ahead it is.
pub fn when(unix_s: u64) -> String {
    let then = UNIX_EPOCH + Duration::from_secs(unix_s);
    match SystemTime::now().duration_since(then) {
        Ok(since) => format!("{} ago", seconds(since.as_secs_f64())),
        Err(ahead) => format!("in {}", seconds(ahead.duration().as_secs_f64())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        assert_eq!(fields([("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2\n");
        let rows = [vec!["x".to_owned(), "longer".to_owned()], vec!["yy".to_owned(), "z".to_owned()]];
        assert_eq!(table(&["id", "what"], &rows), "id  what\nx   longer\nyy  z\n");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!((count(1, "task"), count(0, "item")), ("1 task".into(), "0 items".into()));
        assert_eq!(
            [seconds(0.25), seconds(150.0), seconds(9_000.0)],
            ["0.2 s".to_owned(), "2 min".into(), "2.5 h".into()]
        );
    }
}
