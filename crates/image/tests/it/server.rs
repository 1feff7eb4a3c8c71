//! A small registry on this machine. It speaks HTTP by hand, so that it can also lie.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use gristmill_image::{Digest, Reference};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::build::{INDEX, MANIFEST, Made};

/// Bytes that an endless body has at most, so that a client that takes all of it fails the test rather than the machine.
const ENDLESS_BYTES: usize = 256 << 20;
/// The image's name there.
pub const NAME: &str = "some/app";

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub path: String,
    /// What was sent with it; empty for a GET.
    pub body: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// What is said of the body's length; `None`: the truth.
    pub length: Option<u64>,
    /// The connection is closed after so many bytes of the body.
    pub cut: Option<usize>,
    /// The body is repeated without an end, in chunks, after this pause each.
    pub endless: Option<std::time::Duration>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), length: None, cut: None, endless: None }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn moved(to: impl Into<String>) -> Self {
        Self::new(307, "").with("Location", to)
    }
}

/// Listens until the test's process ends.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(answer, None)
    }

    /// With TLS, for `localhost`. Returns the certificate too.
    pub fn start_tls(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Self, Vec<u8>) {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        (Self::listen(answer, Some(Arc::new(config))), certificate.to_vec())
    }

    fn listen(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                // Head and body are written one after the other.
                stream.set_nodelay(true).unwrap();
                let (seen, answer, tls) = (seen.clone(), answer.clone(), tls.clone());
                thread::spawn(move || {
                    // Whatever the client does to the connection, the test looks at the client.
                    let _ = match tls {
                        None => converse(stream, &seen, &*answer),
                        Some(config) => ServerConnection::new(config)
                            .map_err(io::Error::other)
                            .and_then(|tls| converse(StreamOwned::new(tls, stream), &seen, &*answer)),
                    };
                });
            }
        });
        Self { address, asked }
    }

    /// Everything that was asked so far, as it came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The paths of it.
    pub fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }

    /// Names an image of it.
    pub fn reference(&self, digest: Digest) -> Reference {
        format!("{}/{NAME}@{digest}", self.address).parse().unwrap()
    }
}

fn converse(
    stream: impl Read + Write,
    seen: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked) -> Answer + ?Sized),
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream)? {
        seen.lock().unwrap().push(asked.clone());
        if !write(stream.get_mut(), &answer(&asked))? {
            return Ok(());
        }
    }
    Ok(())
}

fn read(stream: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (Some("GET" | "POST"), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::other("neither GET nor POST"));
    };
    let mut asked = Asked { path: path.to_owned(), ..Asked::default() };
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => asked.headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    asked.body = String::from_utf8(body).unwrap();
    Ok(Some(asked))
}

/// Whether the connection is kept.
fn write(stream: &mut impl Write, answer: &Answer) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match (answer.endless, answer.length) {
        (Some(_), None) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        (_, length) => {
            let length = length.unwrap_or(answer.body.len() as u64);
            head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
        }
    }
    stream.write_all(head.as_bytes())?;
    if let Some(pause) = answer.endless {
        for _ in 0..ENDLESS_BYTES / answer.body.len() {
            stream.write_all(format!("{:x}\r\n", answer.body.len()).as_bytes())?;
            stream.write_all(&answer.body)?;
            stream.write_all(b"\r\n")?;
            stream.flush()?;
            thread::sleep(pause);
        }
        return Ok(false);
    }
    stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())])?;
    stream.flush()?;
    Ok(answer.cut.is_none())
}

/// What a registry answers that has this image.
pub fn honest(made: &Made, asked: &Asked) -> Answer {
    let missing = || Answer::new(404, r#"{"errors":[{"code":"UNKNOWN","message":"not here"}]}"#);
    let Some(path) = asked.path.strip_prefix(&format!("/v2/{NAME}/")) else { return missing() };
    let (kind, wanted) = path.split_once('/').unwrap();
    let Some(bytes) = wanted.parse::<Digest>().ok().and_then(|digest| made.blobs.get(&digest)) else {
        return missing();
    };
    match kind {
        "manifests" => {
            let accepted = asked.header("accept").unwrap_or_default();
            assert!(accepted.contains(MANIFEST) && accepted.contains(INDEX), "{accepted}");
            Answer::new(200, bytes.clone())
        }
        "blobs" => blob(bytes, asked),
        _ => missing(),
    }
}

/// A blob, or what of it is asked for.
pub fn blob(bytes: &[u8], asked: &Asked) -> Answer {
    match asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
    {
        None => Answer::new(200, bytes),
        Some(from) => Answer::new(206, &bytes[from..])
            .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
    }
}

pub fn is_blob(asked: &Asked) -> bool {
    asked.path.contains("/blobs/")
}
