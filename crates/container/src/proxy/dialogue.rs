//! Understand what a program asks of a proxy: HTTP `CONNECT` and requests with a whole address (RFC 9110, 9112), SOCKS 5 (RFC 1928).
//!
//! Nothing is read or written here: bytes in, what to do out, however the bytes are cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a name (RFC 1035).
const NAME_BYTES_MAX: usize = 253;
/// Fields of a request that are between its sender and this proxy (RFC 9110, 7.6.1). The name of the host is written anew.
const DROPPED: [&str; 7] =
    ["connection", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "upgrade"];
const SOCKS: u8 = 5;
/// To a greeting: no password is wanted.
const SOCKS_WELCOME: [u8; 2] = [SOCKS, 0];
/// To one that offers passwords only.
const SOCKS_UNWELCOME: [u8; 2] = [SOCKS, 0xff];

/// To whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// In which way it was asked, which is the way to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// HTTP `CONNECT`.
    Connect,
    /// A plain request, passed on.
    Plain,
    Socks,
}

/// A connection that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) dialect: Dialect,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Goes ahead of all that follows.
    pub(crate) first: Vec<u8>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Malformed(&'static str),
    /// The head does not end.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// Something else than a connection is wanted, or by another protocol.
    Unknown(&'static str),
    /// The policy does not allow it.
    Denied,
    /// The name has no address.
    NoAddress,
    Unreachable,
    Refused,
    /// Nobody answered.
    Silent,
    /// Too many want something at once.
    Busy,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for more bytes.
    More,
    /// Take so many bytes away, and say this.
    Say(usize, Vec<u8>),
    /// Take so many bytes away, and connect.
    Connect(usize, Order),
    /// Say this, and close.
    End(Vec<u8>),
}

/// One program, before it is connected.
#[derive(Debug)]
pub(crate) struct Dialogue {
    head_bytes: usize,
    /// The SOCKS greeting is over.
    greeted: bool,
}

impl Dialogue {
    pub(crate) fn new(head_bytes: usize) -> Self {
        Self { head_bytes, greeted: false }
    }

    /// What to do when these are all bytes that have come and were not taken away.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Step {
        match bytes.first() {
            None => Step::More,
            Some(_) if self.greeted => socks_request(bytes),
            Some(&SOCKS) => self.socks_greeting(bytes),
            Some(first) if !is_token(*first) => http_end(&Failure::Malformed("this is no request of HTTP or SOCKS 5")),
            Some(_) => self.http(bytes),
        }
    }

    /// What to say when no more comes, or not in time.
    pub(crate) fn give_up(&self, bytes: &[u8], failure: &Failure) -> Vec<u8> {
        match bytes.first() {
            None => Vec::new(),
            Some(_) if self.greeted => socks_reply(failure),
            Some(&SOCKS) => SOCKS_UNWELCOME.to_vec(),
            Some(_) => http_reply(failure),
        }
    }

    fn http(&self, bytes: &[u8]) -> Step {
        let Some(length) = head_length(&bytes[..bytes.len().min(self.head_bytes)]) else {
            return if bytes.len() >= self.head_bytes { http_end(&Failure::TooLarge) } else { Step::More };
        };
        match order(&bytes[..length]) {
            Ok(order) => Step::Connect(length, order),
            Err(failure) => http_end(&failure),
        }
    }

    fn socks_greeting(&mut self, bytes: &[u8]) -> Step {
        let Some(methods) = bytes.get(1).and_then(|count| bytes.get(2..2 + usize::from(*count))) else {
            return Step::More;
        };
        if !methods.contains(&0) {
            return Step::End(SOCKS_UNWELCOME.to_vec());
        }
        self.greeted = true;
        Step::Say(2 + methods.len(), SOCKS_WELCOME.to_vec())
    }
}

impl Dialect {
    /// What the program is told when the connection stands. To a plain request the other side answers.
    pub(crate) fn done(self) -> Vec<u8> {
        match self {
            Self::Connect => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
            Self::Plain => Vec::new(),
            Self::Socks => socks_says(0),
        }
    }

    /// What it is told when there is none.
    pub(crate) fn failed(self, failure: &Failure) -> Vec<u8> {
        match self {
            Self::Connect | Self::Plain => http_reply(failure),
            Self::Socks => socks_reply(failure),
        }
    }
}

impl Failure {
    fn status(&self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(what) => ("400 Bad Request", what),
            Self::TooLarge => ("431 Request Header Fields Too Large", "the request's head is too long"),
            Self::TooSlow => ("408 Request Timeout", "the request did not come in time"),
            Self::Unknown(what) => ("501 Not Implemented", what),
            Self::Denied => {
                ("403 Forbidden", "that address or port is not open to tasks: only the public internet is, and no mail")
            }
            Self::NoAddress => ("502 Bad Gateway", "the name has no address"),
            Self::Unreachable => ("502 Bad Gateway", "the address cannot be reached"),
            Self::Refused => ("502 Bad Gateway", "the connection was refused"),
            Self::Silent => ("504 Gateway Timeout", "nobody answered in time"),
            Self::Busy => ("503 Service Unavailable", "too many names are looked up at once"),
        }
    }
}

fn http_end(failure: &Failure) -> Step {
    Step::End(http_reply(failure))
}

fn http_reply(failure: &Failure) -> Vec<u8> {
    let (status, why) = failure.status();
    let length = why.len() + 1;
    let head = "Content-Type: text/plain\r\nConnection: close\r\nProxy-Connection: close\r\nVia: 1.1 gristmill";
    format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{why}\n").into_bytes()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Length of a head with the empty line that ends it; a line may end without a carriage return.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut line_begins = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\n' {
            continue;
        }
        if matches!(&bytes[line_begins..at], b"" | b"\r") && line_begins > 0 {
            return Some(at + 1);
        }
        line_begins = at + 1;
    }
    None
}

fn order(head: &[u8]) -> Result<Order, Failure> {
    let malformed = Failure::Malformed;
    let head = std::str::from_utf8(head).map_err(|_| malformed("the request's head is no text"))?;
    let mut lines = head.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err(malformed("the request's first line is not METHOD TARGET VERSION"));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(malformed("the method is no word"));
    }
    if !matches!(*version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Failure::Unknown("HTTP 1.0 and 1.1 are spoken here"));
    }
    // Whoever else reads these must read the same.
    if head.bytes().any(|byte| byte == 0) || head.contains("\r\r") {
        return Err(malformed("the request's head has a character that none may have"));
    }
    if *method == "CONNECT" {
        let (host, port) = authority(target)?;
        let port = port.ok_or(malformed("CONNECT wants host:port"))?;
        return Ok(Order { dialect: Dialect::Connect, host, port, first: Vec::new() });
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(malformed("this is a proxy: the request's target has to be a whole address"));
    };
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Failure::Unknown("plain requests are passed on for http:// alone; others go by CONNECT"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (name, path) = rest.split_at(end);
    let (host, port) = authority(name)?;
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut first = format!("{method} {slash}{path} {version}\r\nHost: {name}\r\n");
    for line in fields(lines)? {
        first.push_str(line);
        first.push_str("\r\n");
    }
    // One connection serves one request, so that nothing of a next one, to somebody else perhaps, has to be found in what follows.
    first.push_str("Connection: close\r\n\r\n");
    Ok(Order { dialect: Dialect::Plain, host, port: port.unwrap_or(80), first: first.into_bytes() })
}

/// The fields that are for the other side.
fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, Failure> {
    let mut found = Vec::new();
    let mut also_dropped: Vec<String> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) =
            line.split_once(':').filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
        else {
            return Err(Failure::Malformed("a field of the request's head is not NAME: value"));
        };
        if name.eq_ignore_ascii_case("connection") {
            also_dropped.extend(value.split(',').map(|word| word.trim().to_ascii_lowercase()));
        }
        found.push((name.to_ascii_lowercase(), line));
    }
    let is_kept = |name: &String| !DROPPED.contains(&name.as_str()) && !is_dropped(name, &also_dropped);
    Ok(found.into_iter().filter(|(name, _)| is_kept(name)).map(|(_, line)| line).collect())
}

/// What `Connection` names; not what says where the request ends, whatever it is called.
fn is_dropped(name: &str, named: &[String]) -> bool {
    !matches!(name, "content-length" | "transfer-encoding") && named.iter().any(|other| other == name)
}

/// `host:port`, `host`, `[address]:port`.
fn authority(text: &str) -> Result<(Host, Option<u16>), Failure> {
    let malformed = Err(Failure::Malformed("the host or the port makes no sense"));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let Ok(address) = address.parse::<Ipv6Addr>() else { return malformed };
            (Host::Address(address.into()), port)
        }
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let Some(host) = host(name) else { return malformed };
            (host, port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, None)),
        Some("") => Ok((host, None)),
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => match number.parse() {
            Ok(number @ 1..) => Ok((host, Some(number))),
            _ => malformed,
        },
        _ => malformed,
    }
}

/// A name or an IPv4 address. What resolvers take for addresses beside that (`0x7f.1`) is a name here, and is checked as what it
/// turns out to be.
fn host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(Host::Address(address.into()));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_good =
        !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_name) && !text.starts_with('-');
    is_good.then(|| Host::Name(text.to_owned()))
}

fn socks_request(bytes: &[u8]) -> Step {
    let [version, command, _, kind, rest @ ..] = bytes else { return Step::More };
    if *version != SOCKS {
        return Step::End(socks_says(1));
    }
    let end = |failure: Failure| Step::End(socks_reply(&failure));
    let (address, rest) = match kind {
        1 => match rest.split_first_chunk::<4>() {
            Some((address, rest)) => (Host::Address(Ipv4Addr::from(*address).into()), rest),
            None => return Step::More,
        },
        4 => match rest.split_first_chunk::<16>() {
            Some((address, rest)) => (Host::Address(Ipv6Addr::from(*address).into()), rest),
            None => return Step::More,
        },
        3 => {
            let Some((name, rest)) =
                rest.split_first().and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)))
            else {
                return Step::More;
            };
            let name = std::str::from_utf8(name).ok().and_then(|name| match name.parse::<IpAddr>() {
                Ok(address) => Some(Host::Address(address)),
                Err(_) => host(name),
            });
            match name {
                Some(name) => (name, rest),
                None => return end(Failure::Malformed("")),
            }
        }
        _ => return Step::End(socks_says(8)),
    };
    let Some((port, rest)) = rest.split_first_chunk::<2>() else { return Step::More };
    if *command != 1 {
        return end(Failure::Unknown(""));
    }
    let order = Order { dialect: Dialect::Socks, host: address, port: u16::from_be_bytes(*port), first: Vec::new() };
    Step::Connect(bytes.len() - rest.len(), order)
}

fn socks_reply(failure: &Failure) -> Vec<u8> {
    socks_says(match failure {
        Failure::Malformed(_) | Failure::TooLarge | Failure::TooSlow | Failure::Busy => 1,
        Failure::Denied => 2,
        Failure::NoAddress | Failure::Unreachable => 4,
        Failure::Refused => 5,
        Failure::Silent => 6,
        Failure::Unknown(_) => 7,
    })
}

/// With no address of ours: what it is, is nobody's business.
fn socks_says(code: u8) -> Vec<u8> {
    vec![SOCKS, code, 0, 1, 0, 0, 0, 0, 0, 0]
}
