use std::sync::Arc;

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

#[test]
fn a_word_that_cannot_be_read_is_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(COMMAND_FILE);
    for text in ["", "{}", "{\"command\":\"go\"}"] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(remembered(&file), Command::Pause, "{text:?}");
    }
}
