use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gristmill_store::{Bandwidth, Client, ClientError, StoreLimits, content_id};

use crate::support::{SEGMENT, bytes, client, cutting_proxy, serve, store, store_with};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn blobs_and_files_go_and_come() {
    let test = store();
    let server = serve(&test.store).await;
    let client = Client::new(&server.url()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (seed, len) in (0..).zip([0, 1, 70_000, SEGMENT + 1, 9 * SEGMENT + 1]) {
        let data = bytes(len, seed);
        let content = content_id(&data);
        assert!(!client.has(content).await.unwrap());
        assert_eq!(client.put_bytes(data.clone()).await.unwrap(), content);
        assert_eq!(client.len(content).await.unwrap(), Some(len as u64));
        assert_eq!(client.get_bytes(content, len as u64).await.unwrap(), data);

        let data = bytes(len, seed + 100);
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, &data).unwrap();
        let content = client.put_file(&from).await.unwrap();
        assert_eq!(content, content_id(&data));
        assert_eq!(client.put_file(&from).await.unwrap(), content, "again");
        assert_eq!(client.get_file(content, &to, u64::MAX).await.unwrap(), len as u64);
        assert_eq!(fs::read(&to).unwrap(), data);
    }
    assert_eq!(names(folder.path()), ["from", "to"], "nothing else is left");
    server.stop().await;
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut() {
    let test = store();
    let server = serve(&test.store).await;
    let data = bytes(12 << 20, 1);
    let content = test.store.put_bytes(&data).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");

    // Each connection gives 2 MiB: more than the three attempts in a row that this client makes without progress.
    let (proxy, _) = cutting_proxy(server.address(), 100, 2 << 20).await;
    assert_eq!(client(proxy).get_file(content, &path, u64::MAX).await.unwrap(), data.len() as u64);
    assert!(fs::read(&path).unwrap() == data);
    assert!(client(proxy).get_bytes(content, u64::MAX).await.unwrap() == data);
    assert_eq!(names(folder.path()), ["file"]);

    // A store that cuts after a few bytes each time is given up.
    let (proxy, _) = cutting_proxy(server.address(), 100, 1000).await;
    let error = client(proxy).get_bytes(content, u64::MAX).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn an_upload_that_is_cut_is_sent_again() {
    let test = store();
    let server = serve(&test.store).await;
    let (proxy, _) = cutting_proxy(server.address(), 2, 0).await;
    let data = bytes(3000, 1);
    let content = client(proxy).put_bytes(data.clone()).await.unwrap();
    assert_eq!(test.store.get_bytes(content, u64::MAX).unwrap(), data);
}

#[tokio::test]
async fn what_the_store_has_is_not_sent_again() {
    let test = store();
    let server = serve(&test.store).await;
    let (proxy, sent) = cutting_proxy(server.address(), 0, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes(4 << 20, 1)).unwrap();
    client(proxy).put_file(&path).await.unwrap();
    let first = sent.load(Ordering::SeqCst);
    assert!(first > 4 << 20);
    client(proxy).put_file(&path).await.unwrap();
    assert!(sent.load(Ordering::SeqCst) - first < 10_000, "only a question was sent");
}

#[tokio::test]
async fn a_blob_past_the_stores_limit_is_not_sent() {
    let test = store_with(StoreLimits { blob_max_bytes: 1 << 20, total_max_bytes: 1 << 20 });
    let server = serve(&test.store).await;
    let (proxy, sent) = cutting_proxy(server.address(), 0, 0).await;
    let error = client(proxy).put_bytes(bytes(2 << 20, 1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 413, .. }), "{error}");
    assert!(error.to_string().contains("past this store's limit of 1048576 bytes"), "{error}");
    assert!(sent.load(Ordering::SeqCst) < 10_000);

    // A full store is a clear refusal too, at once and not after many attempts.
    client(proxy).put_bytes(bytes(900_000, 1)).await.unwrap();
    let error = client(proxy).put_bytes(bytes(900_000, 2)).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { status: 507, hint, .. } if !hint.is_empty()), "{error}");
}

#[tokio::test]
async fn what_is_missing_or_too_large_is_said() {
    let test = store();
    let server = serve(&test.store).await;
    let client = client(server.address());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let missing = content_id(b"missing");
    let error = client.get_file(missing, &path, 99).await.unwrap_err();
    assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains(&client.blob_url(missing)), "{error}");

    let content = client.put_bytes(bytes(1000, 1)).await.unwrap();
    for error in
        [client.get_bytes(content, 999).await.unwrap_err(), client.get_file(content, &path, 999).await.unwrap_err()]
    {
        assert!(matches!(error, ClientError::TooLarge { len: 1000, max: 999, .. }), "{error}");
    }
    let error = client.put_file(folder.path().join("none")).await.unwrap_err();
    assert!(matches!(&error, ClientError::File { action: "read", .. }), "{error}");
    // The small one fails at its end, the large one while it comes.
    let large = client.put_bytes(bytes(8 << 20, 2)).await.unwrap();
    for content in [content, large] {
        let error = client.get_file(content, folder.path().join("no/folder"), u64::MAX).await.unwrap_err();
        assert!(matches!(&error, ClientError::File { action: "write", .. }), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn a_damaged_blob_is_refused_and_an_older_file_stays() {
    let test = store();
    let server = serve(&test.store).await;
    let client = client(server.address());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "older").unwrap();
    let content = test.store.put_bytes(&bytes(5 * SEGMENT, 1)).unwrap();
    test.damage(content, |stored| stored[3 * SEGMENT] ^= 1);
    client.get_file(content, &path, u64::MAX).await.unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"older");
    assert_eq!(names(folder.path()), ["file"]);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_is_named() {
    let test = store();
    let server = serve(&test.store).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing");
    fs::write(&path, bytes(24 << 20, 1)).unwrap();
    let client = Client::new(&server.url()).unwrap();
    let sending = tokio::spawn({
        let path = path.clone();
        async move { client.put_file(path).await }
    });
    // Writes into it all the time, from before it is hashed until it is refused.
    let mut number = 0_u64;
    while !sending.is_finished() {
        number += 1;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, &number.to_le_bytes(), 12 << 20).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match sending.await.unwrap() {
        Err(ClientError::FileChanged { path: named }) => assert_eq!(named, path),
        // By chance the bytes read twice were the same; then they are stored under their own hash.
        Ok(content) => assert!(test.store.holds_good_copy(content).unwrap()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_download_that_is_dropped_leaves_nothing() {
    let test = store();
    let server = serve(&test.store).await;
    let content = test.store.put_bytes(&bytes(64 << 20, 1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let client = Client::new(&server.url()).unwrap();
    let running = tokio::spawn({
        let path = path.clone();
        async move { client.get_file(content, path, u64::MAX).await }
    });
    while names(folder.path()).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.abort();
    let _ = running.await;
    for _ in 0..200 {
        if names(folder.path()).iter().all(|name| name == "file") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left: {:?}", names(folder.path()));
}

#[tokio::test]
async fn a_thousand_small_blobs_go_through_quickly() {
    let test = store();
    let server = serve(&test.store).await;
    let client = Client::new(&server.url()).unwrap();
    let started = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8_u64 {
        let client = client.clone();
        tasks.spawn(async move {
            for number in 0..125 {
                let data = bytes(200, worker * 1000 + number);
                let content = client.put_bytes(data.clone()).await.unwrap();
                assert_eq!(client.get_bytes(content, 200).await.unwrap(), data);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let took = started.elapsed();
    println!("1000 small blobs put and got over HTTP: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test]
async fn transfers_together_stay_below_the_ceiling() {
    let test = store();
    let server = serve(&test.store).await;
    let ceiling = 1 << 20;
    let client = Client::new(&server.url()).unwrap().with_bandwidth(Bandwidth::new(Some(ceiling), Some(ceiling)));
    let data = [1, 2].map(|seed| bytes(512 << 10, seed));
    let started = Instant::now();
    let (first, second) = tokio::join!(client.put_bytes(data[0].clone()), client.put_bytes(data[1].clone()));
    assert!(started.elapsed() >= Duration::from_millis(900), "1 MiB went in {:?}", started.elapsed());
    let started = Instant::now();
    let (other, first, second) = (client.clone(), first.unwrap(), second.unwrap());
    let (one, two) = tokio::join!(client.get_bytes(first, u64::MAX), other.get_bytes(second, u64::MAX));
    assert!(started.elapsed() >= Duration::from_millis(900), "1 MiB came in {:?}", started.elapsed());
    assert!(one.unwrap() == data[0] && two.unwrap() == data[1]);
    server.stop().await;
}
