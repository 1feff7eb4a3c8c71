//! Container images from the command line: an archive, and an image that is pulled from a registry.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gristmill_image::{Digest, Host, PackedLayer, Run, Times, Writer};

use crate::harness::{Up, alone, text, wait_until};
use crate::owner::Owned;

/// Copies its item to an output, shouting; prints its arguments; says something that is not compared; ends with the code that the
/// item says.
const PROGRAM: &str = r#"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    FILE *item = fopen("/iexec_in/item", "r"), *out = fopen("/iexec_out/shout", "w");
    int letter, code = 0;
    while ((letter = getc(item)) != EOF) {
        if (isdigit(letter)) code = letter - '0';
        putc(toupper(letter), out);
    }
    for (int at = 1; at < argc; at++) puts(argv[at]);
    fprintf(stderr, "heard in %s\n", getenv("PLACE"));
    return code;
}
"#;

/// An image with nothing but the program in it; its archive and its digest.
fn image(folder: &Path) -> (PathBuf, Digest) {
    let root = folder.join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::write(folder.join("shout.c"), PROGRAM).unwrap();
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(root.join("bin/shout"))
        .arg(folder.join("shout.c"))
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", text(&built));
    let layer = PackedLayer::of_folder(&root, Times::Zero, folder).unwrap();
    let run =
        Run { entrypoint: vec!["/bin/shout".to_owned()], env: vec!["PLACE=a container".to_owned()], ..Run::default() };
    let archive = folder.join("shout.oci.tar");
    let digest = Writer::new(Host::this()).layer(&layer).write(&archive, "shout", &run).unwrap();
    (archive, digest)
}

/// Runs the image over three items, one of which fails, and looks at what comes.
fn shouts(up: &Up, app: &str, more: &[&str], folder: &Path) {
    let items = folder.join("words");
    std::fs::write(&items, "alpha\nbeta 3\ngamma\n").unwrap();
    let (items, out) = (items.display().to_string(), folder.join("out").display().to_string());
    let args = [&["run", app, "--items", &items, "--tasks", "1", "--out", &out, "--json"], more].concat();
    let ran = up.command(&args).args(["--", "one", "--two"]).output().unwrap();
    // A job with a failed item does not exit well.
    assert_eq!(ran.status.code(), Some(3), "{}", text(&ran));
    for (index, word) in ["ALPHA", "BETA 3", "GAMMA"].into_iter().enumerate() {
        let folder = folder.join(format!("out/{index:06}"));
        assert_eq!(std::fs::read_to_string(folder.join("shout")).unwrap().trim(), word, "{}", text(&ran));
        assert_eq!(std::fs::read_to_string(folder.join("stdout.txt")).unwrap(), "one\n--two\n");
    }
    let done: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let logs = up.run(&["job", "logs", done["job"].as_str().unwrap()]);
    assert!(text(&logs).contains("heard in a container"), "{}", text(&logs));
    up.assert_invariants();
}

#[test]
fn an_image_in_an_archive_runs_as_a_module_does() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (archive, _) = image(folder.path());
    let up = Up::start(&folder.path().join("net"), &["--workers", "3"]);
    shouts(&up, &archive.display().to_string(), &[], folder.path());
}

/// Answers as a registry does, with what lies in an image layout. Counts the blobs that were asked for.
fn registry(layout: PathBuf, blobs: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (layout, blobs) = (layout.clone(), Arc::clone(&blobs));
            thread::spawn(move || answer(stream, &layout, &blobs));
        }
    });
    port
}

fn answer(mut stream: TcpStream, layout: &Path, blobs: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        lines.by_ref().find(String::is_empty);
        let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let digest = path.rsplit("sha256:").next().unwrap_or_default();
        let body = std::fs::read(layout.join("blobs/sha256").join(digest)).unwrap_or_default();
        blobs.fetch_add(usize::from(path.contains("/blobs/")), Ordering::Relaxed);
        let status = if path == "/v2/" || !body.is_empty() { "200 OK" } else { "404 Not Found" };
        let kind = match path.contains("/manifests/") {
            true => "application/vnd.oci.image.manifest.v1+json",
            false => "application/octet-stream",
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

#[test]
fn an_image_of_a_registry_is_pulled_once_and_only_where_the_owner_allows_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (archive, digest) = image(folder.path());
    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout).output().expect("tar");
    assert!(unpacked.status.success(), "{}", text(&unpacked));
    let blobs = Arc::new(AtomicUsize::new(0));
    let reference = format!("localhost:{}/test/shout@{digest}", registry(layout, Arc::clone(&blobs)));

    let up = Up::start(&folder.path().join("net"), &["--workers", "0"]);
    let careful = Owned::start(&up.pool(), &folder.path().join("careful"), "");
    let items = folder.path().join("quiet");
    std::fs::write(&items, "quiet\n").unwrap();
    let items = items.display().to_string();
    let ordered = up.json(&["run", &reference, "--items", &items, "--trust", "1", "--detach"]);
    wait_until("the careful one to fail", || careful.ask("status").unwrap()["counters"]["failures"] != 0);
    assert_eq!(blobs.load(Ordering::Relaxed), 0, "it has not knocked");
    drop(careful);

    let _open = Owned::start(&up.pool(), &folder.path().join("open"), "[registries]\nprivate = true\n");
    let waited = up.run(&["job", "wait", ordered["job"].as_str().unwrap()]);
    assert!(waited.status.success(), "{}", text(&waited));
    let job = folder.path().join("job");
    std::fs::create_dir(&job).unwrap();
    shouts(&up, &reference, &["--trust", "1"], &job);
    let first = blobs.load(Ordering::Relaxed);
    assert!(first > 0);
    let again = folder.path().join("again");
    std::fs::create_dir(&again).unwrap();
    shouts(&up, &reference, &["--trust", "1"], &again);
    assert_eq!(blobs.load(Ordering::Relaxed), first, "what is unpacked is not fetched again");
}
