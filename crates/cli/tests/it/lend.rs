//! What is lent besides processors: the network, for images that ask for it and owners who allow it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gristmill_image::{Host, PackedLayer, Run, Times, Writer};

use crate::harness::{Up, alone, text};
use crate::owner::Owned;

/// Asks the proxy that `http_proxy` names for each of its arguments, and writes the answers' first lines and bodies down, one an
/// output. Without a proxy it tries the way by itself, and writes down that there is none.
const PROGRAM: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *proxy = getenv("http_proxy");
    for (int at = 1; at < argc; at++) {
        char path[64], answer[4096];
        snprintf(path, sizeof path, "/iexec_out/%d", at);
        FILE *out = fopen(path, "w");
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        to.sin_port = htons(proxy ? atoi(strrchr(proxy, ':') + 1) : 80);
        int wire = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(wire, (struct sockaddr *)&to, sizeof to) != 0) {
            fprintf(out, "no way out%s\n", proxy ? " by the proxy" : "");
            fclose(out);
            continue;
        }
        dprintf(wire, "GET %s HTTP/1.1\r\nHost: there\r\nConnection: close\r\n\r\n", argv[at]);
        FILE *in = fdopen(wire, "r");
        fgets(answer, sizeof answer, in);
        fputs(answer, out);
        while (fgets(answer, sizeof answer, in) && strcmp(answer, "\r\n") != 0) {}
        while (fgets(answer, sizeof answer, in)) fputs(answer, out);
        fclose(in);
        fclose(out);
    }
    return 0;
}
"#;

fn image(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::write(folder.join("fetch.c"), PROGRAM).unwrap();
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(root.join("bin/fetch"))
        .arg(folder.join("fetch.c"))
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", text(&built));
    let layer = PackedLayer::of_folder(&root, Times::Zero, folder).unwrap();
    let run = Run { entrypoint: vec!["/bin/fetch".to_owned()], ..Run::default() };
    let archive = folder.join("fetch.oci.tar");
    Writer::new(Host::this()).layer(&layer).write(&archive, "fetch", &run).unwrap();
    archive
}

/// A page on this machine, and how often it was asked for.
fn page() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.find(String::is_empty);
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n");
        }
    });
    (port, asked)
}

#[test]
fn an_image_reaches_the_network_where_its_requester_asks_for_it_and_the_owner_lends_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let app = image(folder.path()).display().to_string();
    let (port, asked) = page();
    let (here, elsewhere) = (format!("http://127.0.0.1:{port}/page"), format!("http://127.0.0.2:{port}/page"));
    let out = |name: &str| folder.path().join(name).display().to_string();
    let written =
        |name: &str, file: &str| std::fs::read_to_string(folder.path().join(name).join("000000").join(file)).unwrap();
    let run = |up: &Up, more: &[&str], to: &str| {
        let (out, args) = (out(to), ["run", &app, "--trust", "1", "--json"]);
        let mut command = up.command(&[&args, more, &["--out", &out]].concat());
        command.args(["--", &here, &elsewhere]).output().unwrap()
    };

    // A pool that does not offer it.
    let up = Up::start(&folder.path().join("plain"), &["--workers", "1"]);
    let refused = run(&up, &["--network"], "refused");
    assert!(!refused.status.success() && text(&refused).contains("with the network"), "{}", text(&refused));
    assert!(text(&refused).contains("--lend-network"), "{}", text(&refused));
    let ran = run(&up, &[], "without");
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(written("without", "1"), "no way out\n");
    drop(up);

    // One that does, with a worker whose owner does not lend it, then with one who does, and a private address besides.
    let up = Up::start(&folder.path().join("open"), &["--workers", "0", "--lend-network"]);
    let careful = Owned::start(&up.pool(), &folder.path().join("careful"), "");
    let mut order = up.command(&["run", &app, "--trust", "1", "--network", "--json", "--detach"]);
    let ordered = order.args(["--", &here, &elsewhere]).output().unwrap();
    let ordered: serde_json::Value =
        serde_json::from_slice(&ordered.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&ordered)));
    let job = ordered["job"].as_str().unwrap();
    crate::harness::wait_until("the pool to say what is missing", || {
        let why = text(&up.run(&["job", "explain", job]));
        why.contains("no free worker offers the network") && why.contains("[lend]")
    });
    drop(careful);
    let lends = "[lend]\nnetwork = true\nprivate = [\"127.0.0.1\"]\n";
    let _open = Owned::start(&up.pool(), &folder.path().join("lends"), lends);
    let waited = up.run(&["job", "wait", job]);
    assert!(waited.status.success(), "{}", text(&waited));
    let fetched = up.run(&["job", "fetch", job, "--out", &out("with")]);
    assert!(fetched.status.success(), "{}", text(&fetched));
    assert_eq!(written("with", "1"), "HTTP/1.1 200 OK\r\nhello\n");
    assert!(written("with", "2").starts_with("HTTP/1.1 403"), "{}", written("with", "2"));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // The same image without the tag has none, on the same worker.
    let ran = run(&up, &[], "again");
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(written("again", "1"), "no way out\n");
    up.assert_invariants();
}
