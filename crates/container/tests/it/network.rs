//! The one way out: real programs in containers, real servers of the test's on the host's loopback, which the policy names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gristmill_container::{Container, Egress, Network, PROXY_PORT};
use gristmill_result::Ending;
use gristmill_sandbox::{Control, Outcome};

use crate::bench::{Bench, kinds, own_kinds};
use crate::devices::libraries_of;
use crate::host::{GONE_WITHIN, STARTED_WITHIN, processes_of, wait_until};

/// To the public, and to this host's loopback.
fn with_loopback() -> Network {
    Network::new(Egress { also: vec!["127.0.0.0/8".parse().unwrap()], ..Egress::default() })
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A web server that answers every request alike, and says what it was asked.
fn web() -> u16 {
    let (listener, port) = listen();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let asked = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let body = format!("you asked: {asked}\n");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes());
}

#[test]
fn what_the_policy_names_is_reached_and_nothing_else_is() {
    let (port, variables) =
        (web(), ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]);
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let plain = format!("talk {PROXY_PORT} GET http://127.0.0.1:{port}/plain HTTP/1.1%0d%0a%0d%0a");
        let connect =
            format!("talk {PROXY_PORT} CONNECT 127.0.0.1:{port} HTTP/1.1%0d%0a%0d%0aGET /inside HTTP/1.1%0d%0a%0d%0a");
        let denied = format!("talk {PROXY_PORT} CONNECT 10.0.0.1:80 HTTP/1.1%0d%0a%0d%0a");
        let secrets = format!("talk {PROXY_PORT} GET http://169.254.169.254/latest/meta-data HTTP/1.1%0d%0a%0d%0a");
        let mail = format!("talk {PROXY_PORT} CONNECT 127.0.0.1:25 HTTP/1.1%0d%0a%0d%0a");
        let direct = format!("reach 127.0.0.1 {port}");
        let mut container =
            bench.probe(&["env", &plain, &connect, &denied, &secrets, &mail, &direct, "reach 1.1.1.1 443", "kinds"]);
        container.env.push(("http_proxy".to_owned(), "http://elsewhere".to_owned()));
        container.network = Some(with_loopback());
        let printed = bench.printed(&container);
        for name in variables {
            assert!(printed.contains(&format!("\n{name}=http://127.0.0.1:{PROXY_PORT}\n")), "{kind:?}: {printed}");
        }
        assert!(!printed.contains("elsewhere"), "{kind:?}: {printed}");
        for expected in ["you asked: GET /plain HTTP/1.1", "you asked: GET /inside HTTP/1.1"] {
            assert!(printed.contains(expected), "{kind:?}: {printed}");
        }
        assert_eq!(printed.matches("HTTP/1.1 403 Forbidden").count(), 3, "{kind:?}: {printed}");
        // The host's own loopback is another one. Landlock says so first, where the kernel has it.
        let tail = &printed[printed.find("tcp 127.0.0.1").unwrap()..];
        let lines: Vec<&str> = tail.lines().collect();
        let refused = |line: &str| ["EACCES", "ECONNREFUSED", "ENETUNREACH"].iter().any(|name| line.ends_with(name));
        assert!(refused(lines[0]) && refused(lines[2]), "{kind:?}: {tail}");
        assert!(lines[3].ends_with("ENETUNREACH"), "{kind:?}: {tail}");
        let made = ["socket 2 1 0", "socket 2 1 6", "socket 2 2 0", "socket 2 2 17"];
        assert_eq!(lines[4..8], made, "{kind:?}: {tail}");
        assert_eq!(lines[8..], ["flags: done", "bind: ENOSYS", "listen: ENOSYS"], "{kind:?}: {tail}");
        let traffic = &container.network.as_ref().unwrap().traffic;
        assert_eq!((traffic.connections(), traffic.refused()), (2, 3), "{kind:?}");
        assert!(traffic.up_bytes() > 50 && traffic.down_bytes() > 100, "{kind:?}: {traffic:?}");
    }
}

#[test]
fn by_default_neither_the_host_nor_its_neighbours_are_reached() {
    let port = web();
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let words: Vec<String> = ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "192.168.0.1", "0x7f.1", "2130706433"]
            .iter()
            .map(|host| format!("talk {PROXY_PORT} CONNECT {host}:{port} HTTP/1.1%0d%0a%0d%0a"))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut container = bench.probe(&words);
        container.network = Some(Network::new(Egress::default()));
        let printed = bench.printed(&container);
        assert_eq!(printed.matches("HTTP/1.1 403 Forbidden").count(), words.len(), "{kind:?}: {printed}");
        let traffic = &container.network.as_ref().unwrap().traffic;
        assert_eq!((traffic.connections(), traffic.refused()), (0, words.len() as u64), "{kind:?}");
    }
}

#[test]
fn without_a_network_nothing_is_there() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let container = bench.probe(&["env", &format!("reach 127.0.0.1 {PROXY_PORT}"), "kinds"]);
        let printed = bench.printed(&container);
        assert!(!printed.to_lowercase().contains("proxy"), "{kind:?}: {printed}");
        let expected = format!(
            "tcp 127.0.0.1 {PROXY_PORT}: EAFNOSUPPORT\nudp 127.0.0.1 {PROXY_PORT}: EAFNOSUPPORT\nflags: EAFNOSUPPORT\nbind: ENOSYS\nlisten: ENOSYS\n"
        );
        assert!(printed.ends_with(&expected), "{kind:?}: {printed}");
    }
}

/// Each run has a network of its own, one after the other.
#[test]
fn every_run_has_its_way_out() {
    let port = web();
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let mut container =
            bench.probe(&[&format!("talk {PROXY_PORT} GET http://127.0.0.1:{port}/ HTTP/1.1%0d%0a%0d%0a")]);
        container.runs = (0..3).map(|index| bench.item(index)).collect();
        container.network = Some(with_loopback());
        let finished = bench.finish(&container);
        assert!(finished.runs.iter().all(|run| run.ending == Ending::Exited(0)), "{kind:?}");
        for run in &container.runs {
            let printed = std::fs::read_to_string(run.output_dir.join("stdout.txt")).unwrap();
            assert!(printed.contains("you asked: GET / HTTP/1.1"), "{kind:?}: {printed}");
        }
        assert_eq!(container.network.unwrap().traffic.connections(), 3, "{kind:?}");
    }
}

/// A server that says something to whoever comes for as long as they listen. What it is sent tells of their end.
fn endless(listener: TcpListener) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(&[1; 10_000]).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

#[test]
fn held_still_nothing_comes_and_cancelled_all_is_over() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let (listener, port) = listen();
        let server = endless(listener);
        let mut container = bench.probe(&[&format!("hear {PROXY_PORT} 127.0.0.1:{port}")]);
        container.network = Some(with_loopback());
        let (control, traffic) = (Control::new(), container.network.as_ref().unwrap().traffic.clone());
        let outcome = std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.run_under(&container, &control));
            wait_until("the first bytes", STARTED_WITHIN, || traffic.down_bytes() > 100_000);
            control.freeze();
            // What was under way when it was told may still be counted.
            std::thread::sleep(Duration::from_millis(300));
            let before = traffic.down_bytes();
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(traffic.down_bytes(), before, "{kind:?}: held still");
            control.thaw();
            wait_until("more bytes", STARTED_WITHIN, || traffic.down_bytes() > before + 100_000);
            control.cancel();
            run.join().unwrap()
        });
        assert_eq!(outcome, Outcome::Cancelled, "{kind:?}");
        wait_until("the server's end", GONE_WITHIN, || server.is_finished());
    }
}

#[test]
fn what_waits_for_the_world_is_out_of_time_like_any_other() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let (listener, port) = listen();
        let mut container = bench.probe(&[&format!("hear {PROXY_PORT} 127.0.0.1:{port}")]);
        container.network = Some(with_loopback());
        container.wall_clock = Duration::from_millis(1500);
        let began = Instant::now();
        let fault = bench.fault(&container);
        assert_eq!(fault.kind, gristmill_sandbox::HostFaultKind::WallClock, "{kind:?}: {fault:?}");
        assert!(began.elapsed() < STARTED_WITHIN, "{kind:?}");
        // The connection that it waited on is over.
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(GONE_WITHIN)).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "{kind:?}");
    }
}

/// Names the worker that a test is to be, in a process of its own that can be killed.
const ROLE: &str = "GRISTMILL_TEST_NETWORK_WORKER";

/// Not a test by itself: what a worker does, in the process that is killed.
#[test]
fn worker_with_a_network_that_will_be_killed() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let fields: Vec<&str> = role.split('|').collect();
    let [folder, kind, user, port] = fields.as_slice() else { panic!("{role}") };
    let kind = own_kinds().into_iter().find(|each| format!("{each:?}") == *kind).unwrap();
    let dir = tempfile::Builder::new().disable_cleanup(true).tempdir_in(folder).unwrap();
    let bench = Bench::at(kind, dir, user.parse().unwrap());
    let mut container = bench.probe(&[&format!("hear {PROXY_PORT} 127.0.0.1:{port}")]);
    container.network = Some(with_loopback());
    container.wall_clock = Duration::from_secs(100_000);
    let _ = bench.runner.run(&container, &Control::new());
}

#[test]
fn no_connection_outlives_a_worker_that_is_killed() {
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let (listener, port) = listen();
        let role = format!("{}|{kind:?}|{}|{port}", bench.dir.path().display(), bench.user().unwrap_or(0));
        let mut worker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "network::worker_with_a_network_that_will_be_killed", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        worker.kill().unwrap();
        worker.wait().unwrap();
        stream.set_read_timeout(Some(GONE_WITHIN)).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "{kind:?}");
        if let Some(user) = bench.user() {
            wait_until(&format!("{kind:?}: processes"), GONE_WITHIN, || processes_of(user).is_empty());
        }
    }
}

/// A container of a program of this host's, with all that it is linked with. None when the host has no such program.
fn host_program(bench: &Bench, name: &str, args: &[&str]) -> Option<Container> {
    let found = ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    let Some(program) = found else {
        println!("skipped: this host has no {name}");
        return None;
    };
    let mut paths: Vec<PathBuf> = libraries_of(&program);
    paths.push(program.clone());
    let files: Vec<(String, Vec<u8>)> =
        paths.iter().map(|path| (path.to_str().unwrap().to_owned(), std::fs::read(path).unwrap())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let argv = std::iter::once(program.to_str().unwrap()).chain(args.iter().copied()).map(str::to_owned).collect();
    let mut container = bench.container(vec![bench.layer(name, &files)], argv);
    container.network = Some(with_loopback());
    Some(container)
}

/// Programs that everybody uses understand the variables, without being told more.
#[test]
fn the_usual_programs_find_the_way_out() {
    let port = web();
    let (first, second) = (format!("http://127.0.0.1:{port}/first"), format!("http://127.0.0.1:{port}/second"));
    let socks = format!("127.0.0.1:{PROXY_PORT}");
    let timeout = "60";
    for kind in own_kinds() {
        let bench = Bench::new(kind);
        let cases: [(&str, Vec<&str>); 4] = [
            ("curl", vec!["-sS", "-m", timeout, &first, &second]),
            ("curl", vec!["-sS", "-m", timeout, "--proxytunnel", &first, &second]),
            ("curl", vec!["-sS", "-m", timeout, "--socks5-hostname", &socks, &first, &second]),
            ("wget", vec!["-q", "-T", timeout, "-O", "-", &first, &second]),
        ];
        for (name, args) in cases {
            let Some(container) = host_program(&bench, name, &args) else { continue };
            let printed = bench.printed(&container);
            let expected = "you asked: GET /first HTTP/1.1\nyou asked: GET /second HTTP/1.1\n";
            assert_eq!(printed, expected, "{kind:?}: {name} {args:?}");
            let traffic = &container.network.as_ref().unwrap().traffic;
            assert_eq!((traffic.connections(), traffic.refused()), (2, 0), "{kind:?}: {name} {args:?}");
        }
    }
}
