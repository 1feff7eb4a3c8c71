use gristmill_result::pack::verify_pack;
use gristmill_result::seal::open;

use super::*;

const WORKER: Address = Address::repeat_byte(8);

fn task() -> TaskId {
    TaskId(B256::repeat_byte(4))
}

fn run(folder: &Path, item: Option<u64>, files: &[(&str, &str)]) -> Run {
    let output_dir = folder.join(format!("out-{item:?}"));
    for (path, text) in files {
        let path = output_dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(&output_dir).unwrap();
    Run { item, ending: Ending::Exited(0), files: RunFiles::OnDisk(output_dir) }
}

/// The same files, in memory.
fn small_run(item: Option<u64>, files: &[(&str, &str)]) -> Run {
    let file = |(path, text): &(&str, &str)| SmallFile { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() };
    Run { item, ending: Ending::Exited(0), files: RunFiles::InMemory(files.iter().map(file).collect()) }
}

/// The digest and the content id of the pack that these runs make.
fn produced(folder: &Path, runs: &[Run]) -> (Digest, ContentId) {
    let control = gristmill_sandbox::Control::new();
    let produced = produce(task(), WORKER, runs, Witness::default(), vec![], folder, &control).unwrap();
    header_of(&produced);
    (produced.digest, produced.pack)
}

#[test]
fn files_in_memory_give_the_same_pack_as_files_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let computed = r#"{"deterministic-output-path":"/iexec_out/kept","callback-data":"0x2a"}"#;
    let counted = [("kept/b", "2"), ("kept/a", "1"), ("date.txt", "now"), ("computed.json", computed)];
    for files in [&[("b.txt", "two"), ("a/x", "one")][..], &counted, &[]] {
        let on_disk = run(&folder.path().join(files.len().to_string()), None, files);
        assert_eq!(produced(folder.path(), &[small_run(None, files)]), produced(folder.path(), &[on_disk]));
    }
    // One on the disk among others in memory, as when the last files were too many.
    let texts = ["7", "8", "1000000"];
    let items = [7, 8, 1_000_000];
    let on_disk: Vec<Run> =
        items.iter().zip(&texts).map(|(item, text)| run(folder.path(), Some(*item), &[("r", text)])).collect();
    let mut mixed: Vec<Run> =
        items.iter().zip(&texts).map(|(item, text)| small_run(Some(*item), &[("r", text)])).collect();
    mixed[1] = on_disk[1].clone();
    assert_eq!(produced(folder.path(), &mixed), produced(folder.path(), &on_disk));
}

#[test]
fn a_pack_that_is_too_large_for_memory_is_sealed_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "x".repeat(PACK_IN_MEMORY_BYTES_MAX as usize + 1);
    let on_disk = run(folder.path(), None, &[("large", &text)]);
    produced(folder.path(), &[on_disk]);
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [format!("{:x}.sealed", task().0), "out-None".to_owned()]);
}

fn header_of(produced: &Produced) -> Header {
    let mut plain = Vec::new();
    open(produced.digest, task(), WORKER, &mut produced.sealed.read().as_slice(), &mut plain).unwrap();
    assert_eq!(ContentId(*blake3::hash(&plain).as_bytes()), produced.pack);
    verify_pack(&mut plain.as_slice(), produced.digest).unwrap()
}

#[test]
fn the_same_files_give_the_same_digest_from_any_folder() {
    let digest = || {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path(), None, &[("b.txt", "two"), ("a/x", "one")]);
        let produced = produce(
            task(),
            WORKER,
            &[run],
            Witness::default(),
            b"log".to_vec(),
            folder.path(),
            &gristmill_sandbox::Control::new(),
        )
        .unwrap();
        let header = header_of(&produced);
        assert_eq!(header.manifest.files().map(|(path, _)| path).collect::<Vec<_>>(), ["a/x", "b.txt"]);
        assert_eq!(header.log, b"log");
        produced.digest
    };
    assert_eq!(digest(), digest());
}

#[test]
fn only_the_deterministic_path_counts_and_the_answer_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let computed = r#"{"deterministic-output-path":"/iexec_out/kept","callback-data":"0x2a"}"#;
    let run =
        run(folder.path(), None, &[("kept/a", "1"), ("kept2", "no"), ("date.txt", "now"), ("computed.json", computed)]);
    let produced =
        produce(task(), WORKER, &[run], Witness::default(), vec![], folder.path(), &gristmill_sandbox::Control::new())
            .unwrap();
    let header = header_of(&produced);
    assert_eq!(header.manifest.files().map(|(path, _)| path).collect::<Vec<_>>(), ["kept/a"]);
    assert_eq!(produced.commitment.answer, [0x2a]);
}

#[test]
fn items_keep_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        run(folder.path(), Some(7), &[("r", "7")]),
        run(folder.path(), Some(8), &[]),
        run(folder.path(), Some(9), &[("r", "9")]),
    ];
    let produced =
        produce(task(), WORKER, &runs, Witness::default(), vec![], folder.path(), &gristmill_sandbox::Control::new())
            .unwrap();
    let header = header_of(&produced);
    assert_eq!(header.manifest.parts().len(), 3);
    assert_eq!(header.manifest.files().map(|(path, _)| path).collect::<Vec<_>>(), ["000007/r", "000009/r"]);
}
