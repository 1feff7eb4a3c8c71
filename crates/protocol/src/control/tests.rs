use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const MILL: Service = Service { name: "mill", start: "mill run", time_max: Duration::from_secs(5) };

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Add(u32),
    Fail,
}

fn start(folder: &Path) -> (Listening, Arc<AtomicU32>) {
    let sum = Arc::new(AtomicU32::new(0));
    let shared = Arc::clone(&sum);
    let listening = listen(MILL, folder, move |order| {
        let sum = Arc::clone(&shared);
        async move {
            match order {
                Order::Add(more) => Ok(sum.fetch_add(more, Ordering::Relaxed) + more),
                Order::Fail => Err("no water".to_owned()),
            }
        }
    });
    (listening.unwrap(), sum)
}

/// Asks from a thread that may block.
async fn asked(folder: &Path, order: Order) -> Result<u32, ControlError> {
    let folder = folder.to_path_buf();
    tokio::task::spawn_blocking(move || ask(MILL, &folder, &order)).await.unwrap()
}

#[tokio::test]
async fn who_asks_is_answered_and_a_refusal_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (listening, _) = start(folder.path());
    let mode = std::fs::metadata(folder.path().join(SOCKET_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(asked(folder.path(), Order::Add(2)).await.unwrap(), 2);
    assert_eq!(asked(folder.path(), Order::Add(3)).await.unwrap(), 5);
    let error = asked(folder.path(), Order::Fail).await.unwrap_err();
    assert!(error.to_string().ends_with("answers: no water"), "{error}");
    drop(listening);
    let error = asked(folder.path(), Order::Add(1)).await.unwrap_err();
    assert!(error.is_not_running() && error.to_string().contains("start it with `mill run`"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_and_a_socket_left_behind_is_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let error = asked(folder.path(), Order::Add(1)).await.unwrap_err();
    assert!(error.to_string().contains("--data-dir"), "{error}");
    // As kill -9 leaves it.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET_FILE)).unwrap());
    assert!(asked(folder.path(), Order::Add(1)).await.unwrap_err().is_not_running());
    let _listening = start(folder.path());
    asked(folder.path(), Order::Add(1)).await.unwrap();
}

#[tokio::test]
async fn a_folder_may_lie_deep() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("x".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let _listening = start(&deep);
    assert_eq!(asked(&deep, Order::Add(7)).await.unwrap(), 7);
}

#[tokio::test]
async fn nonsense_is_answered_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_listening, sum) = start(folder.path());
    let long = vec![b'x'; 10_000];
    for (line, word) in [
        (&b"hello\n"[..], "no question"),
        (b"{\"command\":\"stop\"}\n", "no question"),
        (b"{\"command\":{\"add\":1},\"more\":1}\n", "no question"),
        (b"\n", "no question"),
        (&long, "one line"),
    ] {
        let (line, path) = (line.to_vec(), folder.path().join(SOCKET_FILE));
        let answer = tokio::task::spawn_blocking(move || {
            let stream = UnixStream::connect(path).unwrap();
            // The service may hang up on a line that is too long before it has all of it.
            let _ = (&stream).write_all(&line);
            let mut answer = String::new();
            BufReader::new(&stream).read_line(&mut answer).unwrap();
            answer
        });
        let answer: Refusal = serde_json::from_str(&answer.await.unwrap()).unwrap();
        assert!(answer.error.contains(word), "{}", answer.error);
    }
    assert_eq!(sum.load(Ordering::Relaxed), 0);
}
