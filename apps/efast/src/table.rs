//! Small CSV tables: written with `\n` and a comma, read back strictly.

use crate::error::Failure;
use std::path::Path;

/// Longest table that is read.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// Rows of cells, the header first.
pub type Rows = Vec<Vec<String>>;

/// Joins cells to a line.
pub fn line<C: AsRef<str>>(cells: &[C]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    cells.join(",") + "\n"
}

/// A square table with the tickers as header and as first column.
pub fn square(corner: &str, tickers: &[String], cell: impl Fn(usize, usize) -> String) -> String {
    let mut text = line(&[&[corner.to_string()], tickers].concat());
    for (i, ticker) in tickers.iter().enumerate() {
        let mut cells = vec![ticker.clone()];
        cells.extend((0..tickers.len()).map(|j| cell(i, j)));
        text.push_str(&line(&cells));
    }
    text
}

/// Reads a table and checks that its header is `header` and each row has as many cells.
pub fn read(path: &Path, header: &[&str]) -> Result<Rows, Failure> {
    let rows = read_any(path)?;
    if rows[0] != header {
        return Err(Failure::content(path, format!("its first line is not `{}`", header.join(","))));
    }
    Ok(rows)
}

/// Reads a table with any header; all rows have as many cells as the header, and there is at least the header.
pub fn read_any(path: &Path) -> Result<Rows, Failure> {
    let fail = |cause: std::io::Error| Failure::file(path, "read the task's result", &cause);
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_TABLE_BYTES {
        return Err(Failure::content(path, format!("longer than {MAX_TABLE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let rows: Rows = text.lines().map(|line| line.split(',').map(str::to_string).collect()).collect();
    match rows.first() {
        None => Err(Failure::content(path, "empty")),
        Some(first) if rows.iter().any(|row| row.len() != first.len()) => {
            Err(Failure::content(path, "its lines do not all have the same number of cells"))
        }
        Some(_) => Ok(rows),
    }
}

/// Parses one cell.
pub fn parse<T: std::str::FromStr>(path: &Path, cell: &str) -> Result<T, Failure> {
    cell.parse().map_err(|_| Failure::content(path, format!("`{cell}` is not what belongs there")))
}

/// Writes a file of the result, and its folder if it is not there.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = dir.join(name);
    if !dir.is_dir() {
        std::fs::create_dir_all(dir).map_err(|cause| Failure::file(dir, "make the folder", &cause))?;
    }
    std::fs::write(&path, bytes).map_err(|cause| Failure::file(&path, "write", &cause))
}
