//! One request and the head of its answer, over a connection that is kept.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Place;
use super::error::{Fault, RegistryError};

/// How long finding and connecting to a host may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long each of its addresses is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(6);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long a server may think before it answers.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that are kept: the registry's, its login's and its content server's.
const CONNECTIONS_MAX: usize = 8;
/// Bytes of an answer that says no which are read for its words.
const WORDS_BYTES_MAX: usize = 8 << 10;
/// Characters of them that are shown.
const WORDS_CHARS_MAX: usize = 300;
const AGENT: &str = concat!("gristmill/", env!("CARGO_PKG_VERSION"));

/// Who is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Origin {
    /// `near`: whether the registry is on this machine, and may send us to others there without TLS.
    pub fn of(url: &Uri, near: bool) -> Result<Self, RegistryError> {
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") if near && is_near(&host) => false,
            _ => return Err(RegistryError::Plain { url: shown(url) }),
        };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host, port })
    }
}

/// A name of this machine. What it leads to is checked again when it is known.
pub(super) fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// For messages: a query may hold a secret (content servers take signed addresses).
pub(super) fn shown(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    format!("{scheme}://{}{}", url.authority().map_or("", |authority| authority.as_str()), url.path())
}

/// Connections to whoever a registry sends us to.
pub(super) struct Connections {
    /// Made when it is needed first.
    tls: Option<Arc<ClientConfig>>,
    roots: Vec<Vec<u8>>,
    /// Whether a registry of a private network or on this machine may be asked.
    private: bool,
    registry: Origin,
    /// Where the registry lies, once that is known.
    registry_place: Option<Place>,
    open: HashMap<Origin, SendRequest<Full<Bytes>>>,
    /// Whether anybody has ever answered.
    pub reached: bool,
}

impl Connections {
    /// `roots`: certificates to trust besides the system's, as DER.
    pub fn new(registry: Origin, private: bool, roots: Vec<Vec<u8>>) -> Self {
        Self { tls: None, roots, private, registry, registry_place: None, open: HashMap::new(), reached: false }
    }

    fn tls(&mut self) -> Result<Arc<ClientConfig>, RegistryError> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let mut trusted = RootCertStore::empty();
        trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for root in &self.roots {
            let added = trusted.add(CertificateDer::from(root.clone()));
            added.map_err(|error| RegistryError::Roots { what: error.to_string() })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| RegistryError::Roots { what: error.to_string() })?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = Arc::new(tls);
        self.tls = Some(tls.clone());
        Ok(tls)
    }

    /// Asks for `url`, at `origin`, which is its origin.
    pub async fn get(&mut self, url: &Uri, origin: &Origin, headers: HeaderMap) -> Result<Response<Incoming>, Fault> {
        self.ask(url, origin, headers, None).await
    }

    /// Sends a form to `url`, at `origin`, which is its origin.
    pub async fn post(&mut self, url: &Uri, origin: &Origin, form: String) -> Result<Response<Incoming>, Fault> {
        self.ask(url, origin, HeaderMap::new(), Some(form.into())).await
    }

    async fn ask(
        &mut self,
        url: &Uri,
        origin: &Origin,
        headers: HeaderMap,
        form: Option<Bytes>,
    ) -> Result<Response<Incoming>, Fault> {
        loop {
            let kept = self.open.remove(origin).filter(|sender| !sender.is_closed());
            let was_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect(origin).await?,
            };
            let request = request(url, headers.clone(), form.clone())?;
            let answer = timeout(RESPONSE_TIMEOUT, async {
                sender.ready().await?;
                sender.send_request(request).await
            });
            match answer.await {
                Ok(Ok(response)) => {
                    self.reached = true;
                    if self.open.len() >= CONNECTIONS_MAX {
                        self.open.clear();
                    }
                    self.open.insert(origin.clone(), sender);
                    return Ok(response);
                }
                // The server may close a connection that it has kept whenever it likes.
                Ok(Err(_)) if was_kept => {}
                Ok(Err(error)) => {
                    return Err(Fault::passing(RegistryError::Cut { url: shown(url), source: Box::new(error) }));
                }
                Err(_) => {
                    let what = format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs());
                    return Err(Fault::passing(RegistryError::Slow { url: shown(url), what }));
                }
            }
        }
    }

    async fn connect(&mut self, origin: &Origin) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let tls = if origin.secure { Some(self.tls()?) } else { None };
        let reached = self.reached;
        let host = || format!("{}:{}", origin.host, origin.port);
        // Without any network it is better said at once; a network that was there may come back.
        let unreachable = |source| {
            let error = RegistryError::Unreachable { host: host(), source };
            if reached { Fault::passing(error) } else { error.into() }
        };
        let connected = timeout(CONNECT_TIMEOUT, async {
            let tcp = self.tcp(origin).await?.map_err(&unreachable)?;
            let _ = tcp.set_nodelay(true);
            let Some(tls) = tls else {
                return hold(TokioIo::new(tcp)).await.map_err(|error| unreachable(io::Error::other(error)));
            };
            let name =
                ServerName::try_from(origin.host.clone()).map_err(|error| unreachable(io::Error::other(error)))?;
            let tls = TlsConnector::from(tls).connect(name, tcp).await.map_err(&unreachable)?;
            hold(TokioIo::new(tls)).await.map_err(|error| unreachable(io::Error::other(error)))
        });
        match connected.await {
            Ok(connected) => connected,
            Err(_) => Err(unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Connects to the first of the host's addresses that answers and that may be asked.
    async fn tcp(&mut self, origin: &Origin) -> Result<io::Result<TcpStream>, RegistryError> {
        let found = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(addresses) => addresses.take(ADDRESSES_MAX).collect(),
            Err(error) => return Ok(Err(error)),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let place = Place::of(address.ip());
            if !self.may_ask(origin, place) {
                return Err(RegistryError::Private { host: origin.host.clone(), address: address.ip() });
            }
            if !origin.secure && !address.ip().is_loopback() {
                return Err(RegistryError::Plain { url: format!("http://{}:{}", origin.host, origin.port) });
            }
            match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    if *origin == self.registry {
                        self.registry_place = Some(place);
                    }
                    return Ok(Ok(stream));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Ok(Err(last))
    }

    /// The registry is where the reference says; where it sends us to, in a token's realm or a redirection, is not its choice alone.
    fn may_ask(&self, origin: &Origin, place: Place) -> bool {
        match (place, self.private) {
            (Place::Public, _) => true,
            (_, false) => false,
            (_, true) if *origin == self.registry => true,
            (_, true) => self.registry_place.is_some_and(|registry| registry.may_lead_to(place)),
        }
    }
}

/// Speaks HTTP over a connection, which lives as long as what is returned or an answer's body.
async fn hold<C>(connection: C) -> hyper::Result<SendRequest<Full<Bytes>>>
where
    C: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(connection).await?;
    tokio::spawn(async move {
        // Who waits for an answer is told what went wrong.
        let _ = connection.await;
    });
    Ok(sender)
}

fn request(url: &Uri, mut headers: HeaderMap, form: Option<Bytes>) -> Result<Request<Full<Bytes>>, RegistryError> {
    let sense = |what: &dyn std::fmt::Display| RegistryError::Answer { url: shown(url), what: what.to_string() };
    let authority = url.authority().ok_or_else(|| sense(&"it names no host"))?;
    let host = match authority.as_str().rsplit_once('@') {
        Some(_) => return Err(sense(&"it has a login in its address")),
        None => HeaderValue::from_str(authority.as_str()).map_err(|error| sense(&error))?,
    };
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let method = if form.is_some() { Method::POST } else { Method::GET };
    if form.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let request = Request::builder().method(method).uri(path).body(Full::new(form.unwrap_or_default()));
    let mut request = request.map_err(|error| sense(&error))?;
    *request.headers_mut() = headers;
    Ok(request)
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Words>,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an answer that says no comes to. `wanted`: what it says no to.
pub(super) async fn refusal(url: &Uri, wanted: &str, response: Response<Incoming>) -> Fault {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    if status == StatusCode::NOT_FOUND {
        return RegistryError::NotFound { wanted: wanted.to_owned() }.into();
    }
    let body = timeout(RESPONSE_TIMEOUT, Limited::new(response.into_body(), WORDS_BYTES_MAX).collect()).await;
    let bytes = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    let words = match serde_json::from_slice::<Refusal>(&bytes) {
        Ok(Refusal { errors }) => {
            let of = |words: &Words| format!("{} {}", words.code, words.message).trim().to_owned();
            errors.iter().map(of).collect::<Vec<_>>().join("; ")
        }
        Err(_) => status.canonical_reason().unwrap_or("no words").to_owned(),
    };
    let words = words.chars().take(WORDS_CHARS_MAX).flat_map(char::escape_default).collect();
    let error = RegistryError::Refused { url: shown(url), status: status.as_u16(), words };
    let passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    Fault { error, passing, after }
}
