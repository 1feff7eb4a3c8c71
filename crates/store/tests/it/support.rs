//! Stores, servers and peers for the tests. Everything listens on 127.0.0.1 and a free port.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gristmill_datadir::Db;
use gristmill_store::server::{ServerHandle, ServerLimits};
use gristmill_store::{Client, ClientLimits, MinimumRate, SEGMENT_BYTES, Store, StoreLimits};
use gristmill_types::ContentId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const SEGMENT: usize = SEGMENT_BYTES;

/// Bytes that differ from place to place and with `seed`.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        // Weyl sequence and a multiply-shift mix: no two pieces alike.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        out.extend_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    out.truncate(len);
    out
}

pub struct TestStore {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

pub fn store() -> TestStore {
    store_with(StoreLimits::default())
}

pub fn store_with(limits: StoreLimits) -> TestStore {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), limits).unwrap();
    TestStore { folder, store }
}

impl TestStore {
    /// The file of a blob of more than 64 KiB; the layout is part of the store's documentation.
    pub fn file(&self, content: ContentId) -> PathBuf {
        let hex = content.to_string();
        self.folder.path().join("blobs").join(&hex[..2]).join(hex)
    }

    /// Changes the stored bytes of a large blob behind the store's back, in place.
    pub fn damage(&self, content: ContentId, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.file(content);
        let mut stored = fs::read(&path).unwrap();
        change(&mut stored);
        fs::write(&path, stored).unwrap();
    }

    /// Changes the stored bytes of any blob while the store is closed.
    pub fn damage_closed(self, content: ContentId, change: impl FnOnce(&mut Vec<u8>)) -> TestStore {
        let TestStore { folder, store } = self;
        let limits = store.limits();
        drop(store);
        let db = Db::open(folder.path().join("small.redb")).unwrap();
        let table = db.table("blobs");
        let small = table.get(content.as_bytes()).unwrap();
        match small {
            Some(mut stored) => {
                change(&mut stored);
                table.put(content.as_bytes(), &stored).unwrap();
            }
            None => {
                let hex = content.to_string();
                let path = folder.path().join("blobs").join(&hex[..2]).join(hex);
                let mut stored = fs::read(&path).unwrap();
                change(&mut stored);
                fs::write(&path, stored).unwrap();
            }
        }
        drop((table, db));
        let store = Store::open(folder.path(), limits).unwrap();
        TestStore { folder, store }
    }

    /// The number of files being received.
    pub fn incoming(&self) -> usize {
        fs::read_dir(self.folder.path().join("incoming")).unwrap().count()
    }

    /// Closes the store and opens it again.
    pub fn reopen(self) -> TestStore {
        let TestStore { folder, store } = self;
        let limits = store.limits();
        drop(store);
        let store = Store::open(folder.path(), limits).unwrap();
        TestStore { folder, store }
    }
}

pub async fn serve(store: &Store) -> ServerHandle {
    serve_with(store, ServerLimits::default()).await
}

pub async fn serve_with(store: &Store, limits: ServerLimits) -> ServerHandle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ServerHandle::start(listener, store.clone(), limits).unwrap()
}

/// Server limits under which waiting tests end soon.
pub fn hasty_server() -> ServerLimits {
    ServerLimits {
        queue_timeout: Duration::from_millis(150),
        head_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(300),
        ..ServerLimits::default()
    }
}

/// Client limits under which waiting tests end soon.
pub fn hasty_client() -> ClientLimits {
    ClientLimits {
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_millis(400),
        stall_timeout: Duration::from_millis(300),
        attempts_max: 3,
        backoff_first: Duration::from_millis(10),
        backoff_max: Duration::from_millis(50),
        ..ClientLimits::default()
    }
}

/// A rate that a peer sending a few bytes at a time does not reach.
pub fn quick_rate() -> MinimumRate {
    MinimumRate { bytes_per_second: 100_000, grace: Duration::from_millis(200) }
}

pub fn client(address: SocketAddr) -> Client {
    Client::with_limits(&format!("http://{address}"), hasty_client()).unwrap()
}

/// Sends `request` as it is and reads until the server closes or `request` said so.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A cut connection is an outcome to look at, not a failure of the test.
    let _ = stream.read_to_end(&mut answer).await;
    Answer::parse(&answer)
}

/// `METHOD path` with more header lines, on a connection that is closed after it.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    raw(address, request.as_bytes()).await
}

pub async fn put(address: SocketAddr, content: ContentId, body: &[u8]) -> Answer {
    let head = format!(
        "PUT /v1/blobs/{content} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat()).await
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(answer: &[u8]) -> Answer {
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Answer { status: 0, head: String::new(), body: Vec::new() };
        };
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: answer[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Asserts that this is an error with its JSON body, and returns what it says.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        for key in ["error", "hint"] {
            assert!(!body[key].as_str().unwrap().is_empty(), "{body}");
        }
        body.to_string()
    }
}

/// What a scripted peer does after it has read the head of a request.
pub enum Act {
    Send(Vec<u8>),
    /// Sends the bytes one by one with this pause after each.
    Drip(Vec<u8>, Duration),
    Wait(Duration),
}

/// A server that answers the n-th connection (from 0) and its request's head as `script` says, then closes.
pub async fn scripted(script: impl Fn(u64, &str) -> Vec<Act> + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(play(stream, number, script.clone()));
        }
    });
    (address, count)
}

async fn play(
    mut stream: TcpStream,
    number: u64,
    script: Arc<impl Fn(u64, &str) -> Vec<Act> + Send + Sync + 'static>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    for act in script(number, &String::from_utf8_lossy(&head).to_lowercase()) {
        match act {
            Act::Send(bytes) => stream.write_all(&bytes).await?,
            Act::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Act::Wait(time) => tokio::time::sleep(time).await,
        }
    }
    stream.shutdown().await
}

/// An answer with its length stated.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A proxy before `server` that cuts each of the first `cuts` connections after `budget` bytes of answers, and counts
/// the bytes that clients send.
pub async fn cutting_proxy(server: SocketAddr, cuts: u64, budget: usize) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((near, _)) = listener.accept().await {
            let budget = if number < cuts { budget } else { usize::MAX };
            number += 1;
            let far = TcpStream::connect(server).await.unwrap();
            let (mut near_read, mut near_write) = near.into_split();
            let (mut far_read, mut far_write) = far.into_split();
            let counted = counted.clone();
            let up = tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(len @ 1..) = near_read.read(&mut buffer).await {
                    counted.fetch_add(len as u64, Ordering::SeqCst);
                    if far_write.write_all(&buffer[..len]).await.is_err() {
                        return;
                    }
                }
            });
            tokio::spawn(async move {
                let mut left = budget;
                let mut buffer = vec![0; 16 << 10];
                while left > 0 {
                    let Ok(len @ 1..) = far_read.read(&mut buffer).await else { break };
                    let len = len.min(left);
                    left -= len;
                    if near_write.write_all(&buffer[..len]).await.is_err() {
                        break;
                    }
                }
                up.abort();
            });
        }
    });
    (address, sent)
}
