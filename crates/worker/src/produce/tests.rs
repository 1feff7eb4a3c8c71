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
    Run { item, ending: Ending::Exited(0), output_dir }
}

fn header_of(produced: &Produced) -> Header {
    let mut plain = Vec::new();
    let mut sealed = File::open(&produced.sealed_file).unwrap();
    open(produced.digest, task(), WORKER, &mut sealed, &mut plain).unwrap();
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
