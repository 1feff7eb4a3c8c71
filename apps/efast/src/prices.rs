//! Reads the prices: one row a trading day, one column a stock.

use crate::error::Failure;
use crate::inflate;
use std::path::Path;

/// Most stocks in a file: the clustering takes the cube of it.
pub const MAX_TICKERS: usize = 200;
/// Longest name of a stock.
const MAX_TICKER_LENGTH: usize = 16;

/// Daily closing prices.
pub struct Prices {
    /// Names of the stocks, in the file's order.
    pub tickers: Vec<String>,
    /// The days, `YYYY-MM-DD`, ascending.
    pub days: Vec<String>,
    /// Prices of all stocks on the first day, then on the second, ...
    rows: Vec<f64>,
    /// CRC-32 of the unpacked file: tells whether two tasks read the same prices.
    pub crc: u32,
}

impl Prices {
    /// Prices of one day.
    pub fn row(&self, day: usize) -> &[f64] {
        let width = self.tickers.len();
        &self.rows[day * width..(day + 1) * width]
    }
}

/// Reads a CSV file, plain or gzip.
pub fn load(path: &Path) -> Result<Prices, Failure> {
    let bytes = std::fs::read(path).map_err(|cause| Failure::file(path, "read the prices file", &cause))?;
    let text = if inflate::is_gzip(&bytes) {
        inflate::gunzip(&bytes).map_err(|cause| Failure::content(path, cause.to_string()))?
    } else {
        bytes
    };
    let crc = inflate::crc32(&text);
    let text = String::from_utf8(text).map_err(|_| Failure::content(path, "not a text file"))?;
    parse(&text, crc).map_err(|problem| Failure::content(path, problem))
}

/// Parses the text of a CSV file: a header `Date,TICKER,...`, then a day a line.
pub fn parse(text: &str, crc: u32) -> Result<Prices, String> {
    let mut lines = text.lines();
    let tickers = header(lines.next().unwrap_or_default())?;
    let mut prices = Prices { tickers, days: Vec::new(), rows: Vec::new(), crc };
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        day(&mut prices, line).map_err(|problem| format!("line {}: {problem}", number + 2))?;
    }
    if prices.days.len() < 3 {
        return Err("fewer than three days of prices".into());
    }
    Ok(prices)
}

fn header(line: &str) -> Result<Vec<String>, String> {
    let line = line.trim_start_matches('\u{feff}');
    let mut cells = line.split(',').map(str::trim);
    if !cells.next().map_or(false, |first| first.eq_ignore_ascii_case("date")) {
        return Err("the first line must be `Date` and then a ticker a column".into());
    }
    let tickers: Vec<String> = cells.map(str::to_string).collect();
    if tickers.len() < 2 || tickers.len() > MAX_TICKERS {
        return Err(format!("{} stocks: from 2 to {MAX_TICKERS} are possible", tickers.len()));
    }
    for (place, ticker) in tickers.iter().enumerate() {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_^/=".contains(letter);
        if ticker.is_empty() || ticker.len() > MAX_TICKER_LENGTH || !ticker.chars().all(plain) {
            return Err(format!("`{ticker}` is not a ticker: 1 to {MAX_TICKER_LENGTH} letters, digits or .-_^/="));
        }
        if tickers[..place].contains(ticker) {
            return Err(format!("two columns `{ticker}`"));
        }
    }
    Ok(tickers)
}

fn day(prices: &mut Prices, line: &str) -> Result<(), String> {
    let mut cells = line.split(',').map(str::trim);
    let date = cells.next().unwrap_or_default();
    if !is_date(date) {
        return Err(format!("`{date}` is not a date YYYY-MM-DD"));
    }
    if let Some(before) = prices.days.last() {
        if before.as_str() >= date {
            return Err(format!("{date} comes after {before}: the days must ascend"));
        }
    }
    let width = prices.tickers.len();
    let found = cells.clone().count();
    if found != width {
        return Err(format!("{found} prices for {width} stocks"));
    }
    for (ticker, cell) in prices.tickers.iter().zip(cells) {
        match cell.parse::<f64>() {
            Ok(price) if price.is_normal() && price > 0.0 => prices.rows.push(price),
            _ => return Err(format!("`{cell}` is not a price of {ticker}")),
        }
    }
    prices.days.push(date.to_string());
    Ok(())
}

fn is_date(text: &str) -> bool {
    let shape = text.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    text.len() == 10 && shape
}
