use gristmill_machine::{Lent, Told};
use gristmill_owner::Policy;
use gristmill_types::Address;

use super::*;
use crate::about::About;
use crate::board::Board;

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

/// Asks from a thread that may block.
async fn asked(folder: &Path, what: Ask) -> Result<Status, ControlError> {
    let folder = folder.to_path_buf();
    tokio::task::spawn_blocking(move || ask(&folder, what)).await.unwrap()
}

#[tokio::test]
async fn a_worker_is_asked_and_told_and_remembers_what_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(COMMAND_FILE);
    let listening = listen(folder.path(), reporter()).unwrap();
    let mode = std::fs::metadata(folder.path().join(SOCKET_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(remembered(&file), Command::Run);
    let status = asked(folder.path(), Ask::Status).await.unwrap();
    assert_eq!((status.verdict.as_str(), status.slots, status.worker), ("work", 2, Address::repeat_byte(7)));
    for (what, verdict, kept) in [
        (Ask::Pause, "stop", Command::Pause),
        (Ask::Drain, "finish", Command::Drain),
        (Ask::Resume, "work", Command::Run),
    ] {
        assert_eq!(asked(folder.path(), what).await.unwrap().verdict, verdict);
        assert_eq!(remembered(&file), kept);
    }
    drop(listening);
    let error = asked(folder.path(), Ask::Status).await.unwrap_err();
    assert!(matches!(error, ControlError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_and_a_socket_left_behind_is_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let error = asked(folder.path(), Ask::Status).await.unwrap_err();
    assert!(error.to_string().contains("--data-dir"), "{error}");
    // As kill -9 leaves it.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET_FILE)).unwrap());
    assert!(matches!(asked(folder.path(), Ask::Status).await, Err(ControlError::NotRunning { .. })));
    let _listening = listen(folder.path(), reporter()).unwrap();
    asked(folder.path(), Ask::Status).await.unwrap();
}

#[tokio::test]
async fn a_folder_may_lie_deep() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("x".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let _listening = listen(&deep, reporter()).unwrap();
    assert_eq!(asked(&deep, Ask::Status).await.unwrap().verdict, "work");
}

#[tokio::test]
async fn nonsense_is_answered_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let reporter = reporter();
    let _listening = listen(folder.path(), reporter.clone()).unwrap();
    let long = vec![b'x'; 10_000];
    for (line, word) in [
        (&b"hello\n"[..], "no question"),
        (b"{\"command\":\"stop\"}\n", "no question"),
        (b"{\"command\":\"pause\",\"more\":1}\n", "no question"),
        (b"\n", "no question"),
        (&long, "one line"),
    ] {
        let (line, path) = (line.to_vec(), folder.path().join(SOCKET_FILE));
        let answer = tokio::task::spawn_blocking(move || {
            let stream = UnixStream::connect(path).unwrap();
            // The worker may hang up on a line that is too long before it has all of it.
            let _ = (&stream).write_all(&line);
            let mut answer = String::new();
            BufReader::new(&stream).read_line(&mut answer).unwrap();
            answer
        });
        let answer: Answer = serde_json::from_str(&answer.await.unwrap()).unwrap();
        assert!(matches!(&answer, Answer::Error(text) if text.contains(word)), "{answer:?}");
    }
    assert_eq!(reporter.status().command, "run");
}

#[test]
fn a_word_that_cannot_be_read_is_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(COMMAND_FILE);
    for text in ["", "{}", "{\"command\":\"go\"}"] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(remembered(&file), Command::Pause, "{text:?}");
    }
}
