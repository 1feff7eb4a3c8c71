//! The key of a pool.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gristmill_datadir::secret::{self, SecretError};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ParsedCertificate,
};

use super::{ALPN, KeyHash, PoolUrl};

/// Name in the certificate. Nobody checks it: the key's hash is what identifies a pool.
const CERTIFICATE_NAME: &str = "gristmill-pool";

/// A pool's key, with what a listener needs to use it.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    key_hash: KeyHash,
}

/// A pool's key that could not be read, made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] SecretError),
    /// The file does not hold a key.
    #[error("{} does not hold the key of a pool: restore it, or move it away to get a new key (workers then need the new address)", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The key could not be made.
    #[error("the key of the pool could not be made")]
    Generate(#[source] rcgen::Error),
    /// The TLS library refused the key.
    #[error("the key of the pool could not be used")]
    Tls(#[from] rustls::Error),
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration holds the private key, which is never shown.
        formatter.debug_struct("ServerTls").field("key_hash", &self.key_hash).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the key at `path` (mode 0600), or makes one and keeps it there. The certificate is made anew each time:
    /// only the key counts.
    ///
    /// # Errors
    /// [`IdentityError`] when the file cannot be read or written, others may read it, or it holds something else.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        match secret::read(path) {
            Ok(pem) => {
                let not_a_key = || IdentityError::NotAKey { path: path.to_owned() };
                let pem = String::from_utf8(pem).map_err(|_| not_a_key())?;
                Self::new(&KeyPair::from_pem(&pem).map_err(|_| not_a_key())?)
            }
            Err(error) if error.is_not_found() => {
                let key = KeyPair::generate().map_err(IdentityError::Generate)?;
                secret::write(path, key.serialize_pem().as_bytes())?;
                Self::new(&key)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A key that lives as long as this value.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] or [`IdentityError::Tls`] when the libraries fail.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        Self::new(&KeyPair::generate().map_err(IdentityError::Generate)?)
    }

    fn new(key: &KeyPair) -> Result<Self, IdentityError> {
        let parameters = CertificateParams::new([CERTIFICATE_NAME.to_owned()]).map_err(IdentityError::Generate)?;
        let certificate = parameters.self_signed(key).map_err(IdentityError::Generate)?.der().clone();
        // Taken from the certificate exactly as a client takes it, so that both hash the same bytes.
        let key_hash = KeyHash::of(ParsedCertificate::try_from(&certificate)?.subject_public_key_info().as_ref());
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config), key_hash })
    }

    /// Hash of the key, which pools' addresses carry.
    pub fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// The address of a pool with this key that can be dialled at `host` and `port`.
    pub fn url(&self, host: impl Into<String>, port: u16) -> PoolUrl {
        PoolUrl { host: host.into(), port, key: self.key_hash }
    }
}
