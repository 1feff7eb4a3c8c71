//! Find a network: from the address file of a data folder, or from a ledger's own answer.

use futures_util::future::BoxFuture;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gristmill_hub::{HubClient, HubError, RpcClient};
use gristmill_protocol::tls::PoolUrl;
use gristmill_store::Client as StoreClient;
use gristmill_types::AddressBook;
use gristmill_wallet::Wallet;

use crate::error::{RequesterError, at};

/// The file of a data folder that clients read.
pub const ADDRESS_FILE: &str = "address.json";
/// The largest address file that is read, in bytes.
const ADDRESS_FILE_BYTES_MAX: u64 = 1 << 20;

/// `$XDG_DATA_HOME/gristmill`, else `~/.local/share/gristmill`: where `gristmill up` keeps its network.
///
/// # Errors
/// [`RequesterError::NoHome`].
pub fn default_data_dir() -> Result<PathBuf, RequesterError> {
    below("XDG_DATA_HOME", ".local/share").map(|base| base.join("gristmill"))
}

/// `$XDG_CONFIG_HOME/gristmill/wallet.json`, else `~/.config/gristmill/wallet.json`: the user's own wallet.
///
/// # Errors
/// [`RequesterError::NoHome`].
pub fn default_wallet_file() -> Result<PathBuf, RequesterError> {
    below("XDG_CONFIG_HOME", ".config").map(|base| base.join("gristmill").join("wallet.json"))
}

fn below(variable: &str, fallback: &str) -> Result<PathBuf, RequesterError> {
    let absolute = |path: &PathBuf| path.is_absolute();
    if let Some(base) = env::var_os(variable).map(PathBuf::from).filter(absolute) {
        return Ok(base);
    }
    let home = env::var_os("HOME").map(PathBuf::from).filter(absolute);
    home.map(|home| home.join(fallback)).ok_or(RequesterError::NoHome)
}

/// Where a network is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the data folder of `gristmill up`.
    DataDir(PathBuf),
    /// At a ledger's JSON-RPC, `http://HOST:PORT`, which says where the rest is.
    Rpc(String),
}

/// A network that answers: its addresses, its hub and its store. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Network {
    /// Where its parts are.
    pub book: AddressBook,
    /// Its hub.
    pub hub: HubClient,
    /// Its store.
    pub store: StoreClient,
    /// Where it was found, if that was a data folder.
    data_dir: Option<PathBuf>,
}

impl Network {
    /// Finds and connects to a network.
    ///
    /// # Errors
    /// [`RequesterError::NoNetwork`], [`RequesterError::NotRunning`], [`RequesterError::BadAddressBook`], or the ledger does
    /// not answer.
    pub fn find(place: &Place) -> BoxFuture<'_, Result<Self, RequesterError>> {
        Box::pin(async move {
            match place {
                Place::Rpc(url) => Self::connect(book_of_rpc(url).await?).await,
                Place::DataDir(path) => {
                    let book = read_address_book(path)?;
                    let mut network = Self::connect(book).await.map_err(|error| match error {
                        RequesterError::Hub(source) if source.is_transient() => {
                            RequesterError::NotRunning { path: path.clone(), source }
                        }
                        other => other,
                    })?;
                    network.data_dir = Some(path.clone());
                    Ok(network)
                }
            }
        })
    }

    /// Connects to the network at these addresses.
    ///
    /// # Errors
    /// As [`Network::find`].
    pub fn connect(book: AddressBook) -> BoxFuture<'static, Result<Self, RequesterError>> {
        Box::pin(async move {
            let hub = HubClient::connect(&book.rpc, book.hub).await?;
            if hub.chain_id() != book.chain_id {
                let (url, expected, found) = (book.rpc.clone(), book.chain_id, hub.chain_id());
                return Err(RequesterError::OtherChain { url, expected, found });
            }
            let store = StoreClient::new(&book.store)?;
            Ok(Self { book, hub, store, data_dir: None })
        })
    }

    /// The pools it names, those whose address can be read.
    pub fn pools(&self) -> Vec<PoolUrl> {
        self.book.pools.iter().filter_map(|url| url.parse().ok()).collect()
    }

    /// The wallet to use: the one named, else the network's own for its user, else the user's default.
    ///
    /// # Errors
    /// [`RequesterError::NoHome`].
    pub fn wallet_file(&self, named: Option<&Path>) -> Result<PathBuf, RequesterError> {
        if let Some(path) = named {
            return Ok(path.to_path_buf());
        }
        match &self.book.wallet {
            Some(path) => Ok(self.data_dir.as_deref().unwrap_or(Path::new("")).join(path)),
            None => default_wallet_file(),
        }
    }
}

/// Loads the wallet at `path`.
///
/// # Errors
/// [`RequesterError::NoWallet`] or [`RequesterError::Wallet`].
pub fn load_wallet(path: &Path) -> Result<Wallet, RequesterError> {
    Wallet::load(path).map_err(|error| match error.is_not_found() {
        true => RequesterError::NoWallet { path: path.to_path_buf() },
        false => error.into(),
    })
}

fn read_address_book(data_dir: &Path) -> Result<AddressBook, RequesterError> {
    let path = data_dir.join(ADDRESS_FILE);
    let bad = |reason: String| RequesterError::BadAddressBook { origin: path.display().to_string(), reason };
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RequesterError::NoNetwork { path: data_dir.to_path_buf() });
        }
        Err(error) => return Err(at("read", &path)(error)),
    };
    if length > ADDRESS_FILE_BYTES_MAX {
        return Err(bad(format!("it has {length} bytes")));
    }
    let text = fs::read_to_string(&path).map_err(at("read", &path))?;
    serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
}

async fn book_of_rpc(url: &str) -> Result<AddressBook, RequesterError> {
    let bad = |reason: String| RequesterError::BadAddressBook { origin: url.to_owned(), reason };
    let client = RpcClient::new(url)?;
    let answer: serde_json::Value =
        client.request("gristmill_network", serde_json::json!([])).await.map_err(|error| match error {
            gristmill_hub::LedgerError::Rpc { message, .. } => bad(format!("it answered: {message}")),
            other => HubError::from(other).into(),
        })?;
    let mut book: AddressBook = serde_json::from_value(answer).map_err(|error| bad(error.to_string()))?;
    // What a server says of files on this machine is not believed, and the ledger was reached at this address.
    book.wallet = None;
    book.rpc = url.to_owned();
    Ok(book)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_without_a_network_says_how_to_start_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_address_book(folder.path()).unwrap_err();
        assert!(matches!(error, RequesterError::NoNetwork { .. }));
        assert!(error.to_string().contains("gristmill up"), "{error}");
        fs::write(folder.path().join(ADDRESS_FILE), "{}").unwrap();
        let error = read_address_book(folder.path()).unwrap_err();
        assert!(matches!(error, RequesterError::BadAddressBook { .. }), "{error}");
        assert!(error.to_string().contains(ADDRESS_FILE), "{error}");
    }

    #[tokio::test]
    async fn a_network_that_does_not_run_is_told_from_one_that_never_was() {
        let folder = tempfile::tempdir().unwrap();
        // A port that was free a moment ago: nobody answers there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let book = AddressBook {
            rpc: format!("http://127.0.0.1:{port}"),
            chain_id: 1,
            hub: gristmill_types::Address::ZERO,
            pools: vec![],
            store: format!("http://127.0.0.1:{port}"),
            market: None,
            wallet: None,
        };
        fs::write(folder.path().join(ADDRESS_FILE), serde_json::to_vec(&book).unwrap()).unwrap();
        let error = Network::find(&Place::DataDir(folder.path().to_path_buf())).await.unwrap_err();
        assert!(matches!(error, RequesterError::NotRunning { .. }), "{error}");
        assert!(error.to_string().contains("does not run"), "{error}");
    }

    #[test]
    fn an_absent_wallet_says_how_to_make_one() {
        let error = load_wallet(Path::new("/nowhere/wallet.json")).unwrap_err();
        assert!(error.to_string().contains("gristmill wallet new"), "{error}");
    }
}
