use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why something could not be had from a registry. None of it says anything about the image that other hosts would see too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nobody answers.
    #[error("the registry at {host} cannot be reached: is there a network, and is the name right?")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the operating system or TLS says.
        #[source]
        source: io::Error,
    },
    /// It is no public host. Only such may be asked, unless the machine's owner allows others, and even then the registry itself must
    /// be in the same network.
    #[error(
        "{host} is {address}, which is no public address, and images may not be fetched from there unless the owner allows it"
    )]
    Private {
        /// The host.
        host: String,
        /// Where it leads.
        address: IpAddr,
    },
    /// It would be asked without TLS.
    #[error("{url} is without TLS, which only a registry on this machine (localhost) may be")]
    Plain {
        /// The address.
        url: String,
    },
    /// It does not have the image.
    #[error("the registry has no `{wanted}`, or shows it to others only")]
    NotFound {
        /// The reference, or a part of the image.
        wanted: String,
    },
    /// It wants a login that is not to be had.
    #[error("the registry at {host} lets nobody in without a login: {what}")]
    Login {
        /// The registry, or who gives its tokens.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// It says no.
    #[error("{url} answers with {status}: {words}")]
    Refused {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Its own words, escaped and shortened.
        words: String,
    },
    /// It says something that nobody can make sense of.
    #[error("the answer of {url} makes no sense: {what}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// It is too slow, or has stopped.
    #[error("{url} was given up: {what}")]
    Slow {
        /// The address.
        url: String,
        /// What took how long.
        what: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke")]
    Cut {
        /// The address.
        url: String,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It sent something else than was asked for.
    #[error("the registry sent something else than {expected}: what came has the hash {found}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// It sent something of another size than the image says.
    #[error("{digest} should have {expected} bytes, and the registry sends {found}")]
    Size {
        /// What was asked for.
        digest: Digest,
        /// What the image says.
        expected: u64,
        /// What comes, or the first byte too many.
        found: u64,
    },
    /// A bound was passed.
    #[error("{what} would be more than {limit} bytes, the most that is fetched here")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// An image has more parts than any that is fetched.
    #[error("the image has more than {limit} parts, the most that are fetched for an image here")]
    TooMany {
        /// The bound.
        limit: u64,
    },
    /// The file with the logins is not what it should be.
    #[error("{} is no file of logins as `docker login` writes it: {what}", path.display())]
    Logins {
        /// The file.
        path: PathBuf,
        /// What is wrong, without what is in it.
        what: String,
    },
    /// Certificates that were given to be trusted cannot be.
    #[error("a certificate that is to be trusted cannot be: {what}")]
    Roots {
        /// Why.
        what: String,
    },
    /// The file system refuses.
    #[error("cannot use {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// A description cannot be written.
    #[error(transparent)]
    File(#[from] gristmill_datadir::FileError),
    /// Who asked has asked to stop.
    #[error("fetching the image was stopped")]
    Stopped,
}

impl RegistryError {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// How one attempt failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub error: RegistryError,
    /// Whether another attempt may help.
    pub passing: bool,
    /// Seconds that the registry wants to be left alone.
    pub after: Option<u64>,
}

impl Fault {
    pub fn passing(error: RegistryError) -> Self {
        Self { error, passing: true, after: None }
    }
}

impl From<RegistryError> for Fault {
    fn from(error: RegistryError) -> Self {
        Self { error, passing: false, after: None }
    }
}
