//! Small files that never touch the disk.

use std::collections::BTreeMap;

use gristmill_result::Ending;
use gristmill_sandbox::{
    Control, Execution, Finished, Left, Outcome, RunOptions, SMALL_FILE_BYTES_MAX, SandboxError, SmallFile,
};

use crate::bench::{Bench, tree};

fn small(path: &str, bytes: impl AsRef<[u8]>) -> SmallFile {
    SmallFile { path: path.into(), bytes: bytes.as_ref().to_vec() }
}

fn try_small(
    bench: &Bench,
    execution: &Execution,
    files: &[Vec<SmallFile>],
) -> Result<(Outcome, Vec<Left>), SandboxError> {
    bench.runner.run_small(execution, &RunOptions::new(), files, &Control::new(), &mut |_| {})
}

fn finish(bench: &Bench, execution: &Execution, files: &[Vec<SmallFile>]) -> (Finished, Vec<Left>) {
    match try_small(bench, execution, files).unwrap() {
        (Outcome::Finished(finished), left) => (finished, left),
        (other, _) => panic!("did not finish: {other:?}"),
    }
}

#[test]
fn a_run_is_the_same_whether_its_files_are_on_the_disk_or_not() {
    let bench = Bench::new();
    let commands = ["cat item", "cat shared", "mkdir d", "put d/x in-a-folder", "put y top", "mkdir empty", "ls ."];
    let mut execution = bench.probe(&commands);
    execution.inputs = vec![bench.input("shared", "common"), bench.input("item", "nobody's")];
    execution.limits.output_files = 1000;
    let mut on_disk = execution.clone();
    execution.runs = (0..70).map(|index| bench.item(index, &format!("small/{index}"))).collect();
    on_disk.runs = (0..70)
        .map(|index| {
            let mut item = bench.item(index, &format!("disk/{index}"));
            item.inputs = vec![gristmill_sandbox::Input {
                at: "item".into(),
                host: bench.write(&format!("items/{index}"), format!("item {index}")),
            }];
            item
        })
        .collect();
    let files: Vec<_> = (0..70).map(|index| vec![small("item", format!("item {index}"))]).collect();
    let (in_memory, left) = finish(&bench, &execution, &files);
    assert_eq!(in_memory, bench.finish(&on_disk));
    assert!(!bench.path("small").exists(), "no folder was made");
    assert_eq!(left.len(), 70);
    for (index, left) in left.into_iter().enumerate() {
        let Left::InMemory(files) = left else { panic!("run {index} is on the disk") };
        let files: BTreeMap<String, Vec<u8>> = files.into_iter().map(|file| (file.path, file.bytes)).collect();
        let mut expected = tree(&bench.path(&format!("disk/{index}")));
        expected.retain(|path, _| !path.ends_with('/'));
        assert_eq!(files, expected);
        assert!(String::from_utf8_lossy(&files["stdout.txt"]).starts_with(&format!("cat item: item {index}\n")));
    }
}

#[test]
fn what_is_too_large_for_memory_goes_to_the_disk_with_all_that_the_run_left() {
    let bench = Bench::new();
    let large = format!("truncate large {}", SMALL_FILE_BYTES_MAX + 1);
    let mut execution = bench.probe(&["put large x", &large, "put little x"]);
    execution.runs = vec![bench.item(0, "out/0")];
    let (finished, left) = finish(&bench, &execution, &[vec![]]);
    assert_eq!(finished.runs[0].ending, Ending::Exited(0), "{}", String::from_utf8_lossy(&finished.log));
    assert_eq!(left, [Left::OnDisk]);
    let tree = tree(&bench.path("out/0"));
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["large", "little", "stdout.txt"]);
    assert_eq!((tree["large"].len(), tree["little"].as_slice()), (SMALL_FILE_BYTES_MAX + 1, &b"x"[..]));
}

#[test]
fn many_files_are_more_than_a_report_carries() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["mkdir many", "many many/file 3000"]);
    execution.limits.output_files = 4000;
    let (_, left) = finish(&bench, &execution, &[vec![]]);
    assert_eq!(left, [Left::OnDisk]);
    assert_eq!(tree(&bench.path("out")).len(), 3002);
    assert_eq!(
        bench.outcome(&Execution { runs: vec![bench.item(0, "again")], ..execution }).1,
        tree(&bench.path("out"))
    );
}

#[test]
fn small_files_that_are_none_are_refused() {
    let bench = Bench::new();
    let execution = bench.probe(&[]);
    let full = || small("x", vec![0; SMALL_FILE_BYTES_MAX]);
    for (files, why) in [
        (vec![], "there are 1 runs and small files of 0"),
        (vec![vec![small("x", vec![0; SMALL_FILE_BYTES_MAX + 1])]], "a small file has more than 65536 bytes"),
        (vec![vec![full(), full(), full(), full(), small("y", "1")]], "the small files of a run have more than 262144"),
        (vec![vec![small("../x", "")]], "`../x`, leads elsewhere"),
        (vec![vec![small("", "")]], "leads elsewhere"),
    ] {
        let error = try_small(&bench, &execution, &files).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
