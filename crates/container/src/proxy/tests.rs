//! Real sockets, real threads; only names are looked up in a way of the tests' own.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill_sandbox::Control;

use super::Proxy;
use super::dialogue::{Dialect, Dialogue, Failure, Host, Order, Step};
use super::resolve::Resolver;
use crate::network::{AddressRange, Direction, Egress, Network};

/// Nothing of these tests takes so long, not on a busy machine either.
const LONG: Duration = Duration::from_secs(30);

fn loopback() -> AddressRange {
    "127.0.0.0/8".parse().unwrap()
}

fn names(name: &str) -> std::io::Result<Vec<IpAddr>> {
    static TURN: AtomicU32 = AtomicU32::new(0);
    match name {
        "here.test" => Ok(vec![Ipv4Addr::new(10, 9, 9, 9).into(), Ipv4Addr::LOCALHOST.into()]),
        "private.test" => Ok(vec![Ipv4Addr::new(10, 0, 0, 1).into(), "fd00::1".parse().unwrap()]),
        // Another address each time it is asked for.
        "turning.test" => Ok(vec![match TURN.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Ipv4Addr::LOCALHOST.into(),
            _ => Ipv4Addr::new(169, 254, 169, 254).into(),
        }]),
        "slow.test" => {
            std::thread::sleep(Duration::from_secs(5));
            Ok(vec![])
        }
        _ => Err(std::io::Error::other("no such name")),
    }
}

struct Bench {
    proxy: Option<Proxy>,
    address: SocketAddr,
    network: Network,
    control: Control,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Network)) -> Self {
        let mut network = Network::new(Egress { also: vec![loopback()], ..Egress::default() });
        change(&mut network);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, control) = (listener.local_addr().unwrap(), Control::new());
        let own: fn() -> Vec<AddressRange> = || vec!["9.9.9.0/24".parse().unwrap()];
        let proxy =
            Proxy::start_with(listener.into(), network.clone(), control.clone(), Resolver::by(names), own).unwrap();
        Self { proxy: Some(proxy), address, network, control }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// All that comes back for these bytes, after which nothing more is sent.
    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // One that was refused may have been closed before all was sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    fn ask_for(&self, text: &str) -> String {
        String::from_utf8(self.ask(text.as_bytes())).unwrap()
    }
}

/// A server that tells everybody what it was told, after the other said all.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut heard = Vec::new();
                if stream.read_to_end(&mut heard).is_ok() {
                    let _ = stream.write_all(&[b"heard: ", heard.as_slice()].concat());
                }
            });
        }
    });
    port
}

const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[test]
fn all_three_ways_lead_out() {
    let (bench, port) = (Bench::new(|_| {}), echo());
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nand more");
    assert_eq!(bench.ask_for(&connect), format!("{ESTABLISHED}heard: and more"));
    let named = format!("CONNECT here.test:{port} HTTP/1.0\n\nand more");
    assert_eq!(bench.ask_for(&named), format!("{ESTABLISHED}heard: and more"));
    let plain = format!(
        "POST http://here.test:{port}/a?b=c#d HTTP/1.1\r\nhost: other\r\nProxy-Connection: keep-alive\r\nConnection: X-Mine, \
         content-length\r\nX-Mine: 1\r\nContent-Length: 4\r\nProxy-Authorization: secret\r\n\r\nbody"
    );
    let expected = format!(
        "heard: POST /a?b=c HTTP/1.1\r\nHost: here.test:{port}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
    );
    assert_eq!(bench.ask_for(&plain), expected);
    let mut socks = vec![5, 2, 2, 0, 5, 1, 0, 1, 127, 0, 0, 1];
    socks.extend(port.to_be_bytes());
    socks.extend(b"by socks");
    let done = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(bench.ask(&socks), [&done[..], b"heard: by socks"].concat());
    let mut socks = vec![5, 1, 0, 5, 1, 0, 3, 9];
    socks.extend(b"here.test");
    socks.extend(port.to_be_bytes());
    assert_eq!(bench.ask(&socks), [&done[..], b"heard: "].concat());
    let traffic = &bench.network.traffic;
    assert_eq!((traffic.connections(), traffic.refused()), (5, 0));
    let plain_bytes = expected.len() - "heard: ".len();
    assert_eq!(traffic.up_bytes(), (8 + 8 + plain_bytes + 8) as u64);
    assert_eq!(traffic.down_bytes(), traffic.up_bytes() + 5 * 7);
}

#[test]
fn what_the_policy_forbids_is_refused() {
    let bench = Bench::new(|network| network.egress.also = vec!["127.0.0.1".parse().unwrap()]);
    for target in [
        "127.0.0.2:80",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "[::1]:80",
        "[::ffff:10.0.0.1]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "9.9.9.9:443",
        "private.test:80",
        "private.test:25",
        "127.0.0.1:25",
        "127.0.0.1:465",
        "1.1.1.1:587",
    ] {
        let answer = bench.ask_for(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{target}: {answer}");
        let answer = bench.ask_for(&format!("GET http://{target}/ HTTP/1.1\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{target}: {answer}");
    }
    assert_eq!(bench.ask(&[5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 0, 80]), [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
    let unknown = bench.ask_for("CONNECT nobody.test:80 HTTP/1.1\r\n\r\n");
    assert!(unknown.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && unknown.ends_with("no address\n"), "{unknown}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = bench.ask_for(&format!("CONNECT 127.0.0.1:{closed} HTTP/1.1\r\n\r\n"));
    assert!(refused.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && refused.ends_with("refused\n"), "{refused}");
    let traffic = &bench.network.traffic;
    assert_eq!((traffic.connections(), traffic.refused(), traffic.up_bytes()), (0, 25, 0));
}

/// A name that is public when it is checked and private when it is used: it is asked for once, and what was checked is used.
#[test]
fn a_name_that_turns_is_asked_for_once() {
    let (bench, port) = (Bench::new(|_| {}), echo());
    for round in 0..20 {
        let answer = bench.ask_for(&format!("CONNECT turning.test:{port} HTTP/1.1\r\n\r\nx"));
        match round % 2 {
            0 => assert_eq!(answer, format!("{ESTABLISHED}heard: x"), "{round}"),
            _ => assert!(answer.starts_with("HTTP/1.1 403"), "{round}: {answer}"),
        }
    }
}

#[test]
fn nonsense_is_refused_at_once() {
    let bench = Bench::new(|_| {});
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "400"),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "400"),
        (b"\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET  http://a/ HTTP/1.1\r\n\r\n", "400"),
        (b"GET http://a/ HTTP/2.0\r\n\r\n", "501"),
        (b"GET https://a/ HTTP/1.1\r\n\r\n", "501"),
        (b"GET ftp://a/ HTTP/1.1\r\n\r\n", "501"),
        (b"GET http:///x HTTP/1.1\r\n\r\n", "400"),
        (b"GET http://user:secret@a/ HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT a HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT a:0 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT a:65536 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT a:+80 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT :80 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT [::1:80 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT [fe80::1%lo]:80 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT a/b:80 HTTP/1.1\r\n\r\n", "400"),
        (b"GET http://a/ HTTP/1.1\r\nno field\r\n\r\n", "400"),
        (b"GET http://a/ HTTP/1.1\r\n folded: x\r\n\r\n", "400"),
        (b"GET http://a/ HTTP/1.1\r\nA: x\0y\r\n\r\n", "400"),
        (b"GET http://a/ HTTP/1.1\r\nA: \xff\r\n\r\n", "400"),
        (b"GET http://a/\r HTTP/1.1\r\r\n\r\n", "501"),
    ] {
        let answer = String::from_utf8(bench.ask(bytes)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer}", bytes.escape_ascii());
    }
    for (bytes, answer) in [
        (&[5, 1, 2][..], &[5, 0xff][..]),
        (&[5, 0], &[5, 0xff]),
        (&[5, 1, 0, 4, 1, 0, 1], &[5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 2, 0, 1, 1, 1, 1, 1, 0, 80], &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 1, 0, 2, 1, 1], &[5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 1, 0, 3, 0, 0, 80], &[5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 1, 0, 3, 1, b'/', 0, 80], &[5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
        // Whoever ends in the middle is told nothing.
        (&[5], &[]),
        (&[5, 1, 0, 5, 1, 0], &[5, 0]),
    ] {
        assert_eq!(bench.ask(bytes), answer, "{bytes:?}");
    }
    assert_eq!(bench.ask(b""), b"");
    assert_eq!(bench.network.traffic.connections(), 0);
}

#[test]
fn a_head_is_bounded_in_bytes_and_time() {
    let bench = Bench::new(|network| network.egress.head_time = Duration::from_millis(700));
    let long = format!("GET http://a/ HTTP/1.1\r\n{}", "A: x\r\n".repeat(4_000));
    assert!(bench.ask_for(&long).starts_with("HTTP/1.1 431 "));
    let endless = "G".repeat(1 << 20);
    assert!(bench.ask_for(&endless).starts_with("HTTP/1.1 431 "));
    // A byte now and then does not make the time longer.
    let mut stream = bench.connect();
    let began = Instant::now();
    let mut sent = 0;
    for byte in b"GET http://a/ HTTP/1.1\r\n".iter().cycle() {
        if stream.write_all(&[*byte]).is_err() || began.elapsed() > LONG {
            break;
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(sent > 3 && began.elapsed() < LONG, "{sent} in {:?}", began.elapsed());
    // And one that says nothing at all has no place for longer.
    let mut silent = bench.connect();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let order = |dialect, host, first: &[u8]| Order { dialect, host, port: 80, first: first.to_vec() };
    let name = || Host::Name("a.b".to_owned());
    let six = Host::Address("2001:db8::1".parse().unwrap());
    let plain = b"GET / HTTP/1.1\r\nHost: a.b\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    let mut socks_six = vec![5, 1, 0, 5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80];
    socks_six.extend(b"rest");
    for (bytes, said, expected) in [
        (&b"CONNECT a.b:80 HTTP/1.1\r\nA: b\r\n\r\nrest"[..], &b""[..], order(Dialect::Connect, name(), b"")),
        (b"GET http://a.b HTTP/1.1\r\nAccept: */*\r\n\r\nrest", b"", order(Dialect::Plain, name(), plain)),
        (b"\x05\x02\x01\x00\x05\x01\x00\x03\x03a.b\x00\x50rest", b"\x05\x00", order(Dialect::Socks, name(), b"")),
        (&socks_six, b"\x05\x00", order(Dialect::Socks, six, b"")),
    ] {
        for piece in 1..=bytes.len() {
            let mut dialogue = Dialogue::new(1 << 10);
            let (mut waiting, mut answer, mut found) = (Vec::new(), Vec::new(), None);
            for chunk in bytes.chunks(piece) {
                waiting.extend_from_slice(chunk);
                while found.is_none() {
                    match dialogue.next(&waiting) {
                        Step::More => break,
                        Step::Say(taken, text) => {
                            waiting.drain(..taken);
                            answer.extend(text);
                        }
                        Step::Connect(taken, order) => {
                            waiting.drain(..taken);
                            found = Some(order);
                        }
                        Step::End(text) => panic!("{}", text.escape_ascii()),
                    }
                }
            }
            assert_eq!((found.as_ref(), answer.as_slice()), (Some(&expected), said), "in pieces of {piece}");
            assert_eq!(waiting, b"rest", "in pieces of {piece}");
        }
    }
}

/// Anything at all is answered or waited for: it never panics, and never asks to take more than there is.
#[test]
fn random_bytes_do_no_harm() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut state = seed | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let pieces: [&[u8]; 16] = [
        b"CONNECT ",
        b"GET ",
        b"http://",
        b"a.b",
        b":80",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b"[::1]",
        b"\x05\x01\x00",
        b"\x05\x01\x00\x03",
        b"\x04a.bc",
        b"\0",
        b"\xff",
        b"Connection: x",
        b"\n",
    ];
    for _ in 0..200_000 {
        let bytes: Vec<u8> = (0..random(12)).flat_map(|_| pieces[random(pieces.len())].to_vec()).collect();
        let (mut dialogue, mut at) = (Dialogue::new(64), 0);
        for _ in 0..4 {
            match dialogue.next(&bytes[at..]) {
                Step::Say(taken, _) => at += taken,
                Step::Connect(taken, _) => {
                    assert!(at + taken <= bytes.len(), "{}", bytes.escape_ascii());
                    break;
                }
                Step::More | Step::End(_) => break,
            }
        }
        dialogue.give_up(&bytes, &Failure::TooSlow);
    }
}

#[test]
fn each_way_ends_by_itself_and_much_goes_through() {
    const BYTES: usize = 20 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // It says all, and only then hears.
        stream.write_all(&vec![7; BYTES]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard.len()
    });
    let bench = Bench::new(|_| {});
    let mut stream = bench.connect();
    stream.write_all(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), ESTABLISHED.len() + BYTES);
    stream.write_all(&vec![8; BYTES]).unwrap();
    drop(stream);
    assert_eq!(server.join().unwrap(), BYTES);
    let traffic = &bench.network.traffic;
    assert_eq!((traffic.up_bytes(), traffic.down_bytes()), (BYTES as u64, BYTES as u64));
}

#[test]
fn a_bandwidth_holds_back() {
    let asked = Arc::new(AtomicUsize::new(0));
    let bench = Bench::new(|network| {
        let asked = asked.clone();
        // A mebibyte a second downwards, each piece on its own.
        network.pace = Some(Arc::new(move |direction, bytes: u64| {
            asked.fetch_add(1, Ordering::Relaxed);
            Duration::from_micros(if direction == Direction::Down { bytes } else { 0 })
        }));
    });
    let port = echo();
    let began = Instant::now();
    let text = "x".repeat(500_000);
    let answer = bench.ask_for(&format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n{text}"));
    assert_eq!(answer.len(), ESTABLISHED.len() + 7 + text.len());
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    assert!(asked.load(Ordering::Relaxed) >= 2);
}

#[test]
fn connections_past_the_bound_wait() {
    let bench = Bench::new(|network| network.egress.connections = 2);
    let port = echo();
    let request = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n");
    let open = || {
        let mut stream = bench.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let mut first = [open(), open()];
    for stream in &mut first {
        stream.read_exact(&mut [0; ESTABLISHED.len()]).unwrap();
    }
    let mut third = open();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    third.read(&mut [0; 10]).unwrap_err();
    drop(first);
    third.set_read_timeout(Some(LONG)).unwrap();
    third.read_exact(&mut [0; ESTABLISHED.len()]).unwrap();
    assert_eq!(bench.network.traffic.connections(), 3);
}

#[test]
fn nothing_moves_while_it_is_held_still() {
    let bench = Bench::new(|network| {
        network.egress.idle_time = Duration::from_millis(1500);
        network.egress.head_time = Duration::from_millis(1500);
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stream = bench.connect();
    stream.write_all(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; ESTABLISHED.len()]).unwrap();
    bench.control.freeze();
    server.write_all(b"hello").unwrap();
    let mut second = bench.connect();
    second.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    for waiting in [&stream, &second] {
        waiting.set_read_timeout(Some(Duration::from_millis(1200))).unwrap();
        let error = (&mut &*waiting).read(&mut [0; 10]).unwrap_err();
        assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
        waiting.set_read_timeout(Some(LONG)).unwrap();
    }
    bench.control.thaw();
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // Then its time goes on, and it is over when nothing comes for so long.
    assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0);
}

/// Whatever it is at: told nothing yet, half of a request, looking a name up, connecting, passing on, held back, held still.
#[test]
fn the_end_is_the_end_of_all() {
    let (silent, port) = (TcpListener::bind("127.0.0.1:0").unwrap(), echo());
    let silent_port = silent.local_addr().unwrap().port();
    for frozen in [false, true] {
        let mut bench = Bench::new(|network| {
            let wait = |direction, _| if direction == Direction::Down { LONG * 10 } else { Duration::ZERO };
            network.pace = Some(Arc::new(wait));
        });
        let mut streams: Vec<TcpStream> = [
            String::new(),
            "GET http://a".to_owned(),
            "CONNECT slow.test:80 HTTP/1.1\r\n\r\n".to_owned(),
            // The kernel answers for a server that does not look.
            format!("CONNECT 127.0.0.1:{silent_port} HTTP/1.1\r\n\r\n"),
            format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\nx"),
        ]
        .into_iter()
        .map(|text| {
            let mut stream = bench.connect();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
        streams[4].shutdown(Shutdown::Write).unwrap();
        let traffic = bench.network.traffic.clone();
        let began = Instant::now();
        while traffic.connections() < 2 || traffic.down_bytes() < 8 {
            assert!(began.elapsed() < LONG, "{traffic:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        if frozen {
            bench.control.freeze();
        }
        let began = Instant::now();
        drop(bench.proxy.take());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        for stream in &mut streams {
            let mut rest = Vec::new();
            // Its end, in one way or the other.
            let _ = stream.read_to_end(&mut rest);
            let more = stream.write_all(b"x").and_then(|()| stream.read(&mut [0; 1]));
            assert!(more.is_err() || more.is_ok_and(|count| count == 0));
        }
        TcpStream::connect(bench.address).unwrap_err();
        // The other side is told too.
        let (mut server, _) = silent.accept().unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(server.read(&mut [0; 10]).unwrap_or(0), 0);
    }
}
