//! The applications that every local network knows by name, and the data of the demonstration.

use gristmill_types::Amount;

/// An application inside the binary.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinApp {
    /// Its name on the ledger.
    pub name: &'static str,
    /// Its module.
    pub wasm: &'static [u8],
    /// What its provider asks for a task.
    pub price: Amount,
}

/// E-FAST: clusters of stocks (white paper, section 6). Source and recipe in `apps/efast`.
pub const EFAST: BuiltinApp = BuiltinApp {
    name: "efast",
    wasm: include_bytes!("../../../apps/efast/efast.wasm"),
    price: Amount::from_ngrist(20_000_000),
};

/// Everything that is registered when a network is born.
pub const APPS: [BuiltinApp; 1] = [EFAST];

/// Daily prices of 20 constituents of the S&P 500, 1990 to 2022; source and licence in `apps/efast/data`.
pub const PRICES: &[u8] = include_bytes!("../../../apps/efast/data/sp500_prices.csv.gz");
/// The name under which an app finds [`PRICES`].
pub const PRICES_NAME: &str = "sp500_prices.csv.gz";
