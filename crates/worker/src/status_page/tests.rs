use std::path::Path;
use std::sync::Arc;

use gristmill_machine::{Lent, Told};
use gristmill_owner::{Command, Policy};
use gristmill_sandbox::Control;
use gristmill_types::{Address, TaskId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::about::About;
use crate::board::{Board, Job};

fn reporter() -> Reporter {
    Reporter {
        worker: Address::repeat_byte(7),
        pool_urls: vec!["grist://h:1/0".to_owned()],
        since_unix_ms: 0,
        board: Board::new(Policy::default(), 2, Command::Run, 1),
        counters: Arc::default(),
        about: About::open(Path::new("."), Told::default(), Lent::default()),
    }
}

async fn request(page: &Pages, text: &str) -> String {
    let mut stream = TcpStream::connect(page.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(page: &Pages, path: &str, host: &str) -> String {
    request(page, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn the_page_shows_the_status_and_only_to_this_machine() {
    let reporter = reporter();
    let lease = gristmill_protocol::convert::LeaseId([1; 16]);
    let task = TaskId([5; 32].into());
    reporter.board.seat(0).add(lease, Job::new(task, Control::new(), Arc::default(), 60_000));
    reporter.board.set_pool(0, |pool| pool.trouble = Some("<b>no & \"nobody\"</b>".to_owned()));
    reporter.board.command(Command::Pause);
    let page = serve(0, reporter.clone()).unwrap();
    assert!(page.address().ip().is_loopback());
    let port = page.address().port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        let shown = get(&page, "/", &host).await;
        assert!(shown.starts_with("HTTP/1.1 200"), "{shown}");
        for part in ["paused, 1 task frozen", "gristmill worker resume", &task.to_string(), "http-equiv=\"refresh\""] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("&lt;b&gt;no &amp; &quot;nobody&quot;&lt;/b&gt;") && !shown.contains("<b>"), "{shown}");
        assert!(!shown.contains("<script") && shown.contains("content-security-policy: default-src 'none'"), "{shown}");
    }
    let json = get(&page, "/status.json", &format!("localhost:{port}")).await;
    let body = json.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Status>(body).unwrap(), reporter.status());
    for host in ["evil.example".to_owned(), format!("evil.example:{port}"), "127.0.0.1:1".to_owned(), String::new()] {
        let shown = get(&page, "/status.json", &host).await;
        assert!(shown.starts_with("HTTP/1.1 421") && !shown.contains("verdict"), "{host}: {shown}");
    }
    assert!(get(&page, "/other", &format!("localhost:{port}")).await.starts_with("HTTP/1.1 404"));
    let post = format!("POST / HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(request(&page, &post).await.starts_with("HTTP/1.1 405"));
    assert_eq!(reporter.status().command, "pause");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let page = serve(0, reporter()).unwrap();
    let Err(error) = serve(page.address().port(), reporter()) else { panic!("two pages at one port") };
    assert!(error.to_string().contains("--status-page"), "{error}");
}
