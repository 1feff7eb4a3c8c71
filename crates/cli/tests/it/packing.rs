//! Items are packed by what a pool has measured of their app.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Up, alone, probe, text};

const ITEMS: usize = 200;

/// Has the probe write a word for each item; how many tasks that took, and what was said.
fn run(up: &Up, items: &Path, out: &Path, more: &[&str]) -> (u64, String) {
    let (probe, items) = (probe().display().to_string(), items.display().to_string());
    let out = out.display().to_string();
    let args = ["run", &probe, "--items", &items, "--trust", "1", "--arg", "put /iexec_out/word x", "--out", &out];
    let output = up.run(&[&args[..], more].concat());
    assert!(output.status.success(), "{}", text(&output));
    let is_receipt = |name: &str| name.len() == "task-000000.json".len() && name.ends_with(".json");
    let names = std::fs::read_dir(Path::new(&out).join("receipts")).unwrap();
    let tasks = names.filter(|entry| is_receipt(&entry.as_ref().unwrap().file_name().to_string_lossy())).count();
    (tasks as u64, text(&output))
}

#[test]
fn the_second_run_of_an_app_is_packed_by_what_the_first_took() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines: Vec<String> = (0..ITEMS).map(|index| format!("line {index}")).collect();
    std::fs::write(path("items"), lines.join("\n")).unwrap();
    let net = path("net");
    let mut up = Up::start(&net, &["--workers", "2"]);
    let (tasks, said) = run(&up, &path("items"), &path("first"), &[]);
    assert_eq!(tasks, 32, "nothing is known of the app: {said}");
    assert!(!said.contains("an item takes"), "{said}");

    // Two slots get four runs each; where the machine is so busy that an item takes long there are more, smaller ones.
    let (tasks, said) = run(&up, &path("items"), &path("second"), &[]);
    assert!((8..32).contains(&tasks), "{tasks}: {said}");
    let packed = format!("{ITEMS} items in {tasks} tasks of {}: an item takes ", ITEMS.div_ceil(tasks as usize));
    assert!(said.contains(&packed) && said.contains("a settlement 25 ms"), "{packed}: {said}");
    // The user's word goes before.
    let (tasks, said) = run(&up, &path("items"), &path("third"), &["--tasks", "3"]);
    assert_eq!(tasks, 3, "{said}");
    assert!(!said.contains("an item takes"), "{said}");

    // What was measured survives the pool.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    up.kill();
    let up = Up::start(&net, &["--workers", "2"]);
    let (probe, items) = (probe().display().to_string(), path("items").display().to_string());
    let quote: Value = up.json(&["run", &probe, "--items", &items, "--trust", "1", "--dry-run"]);
    assert_eq!(
        (&quote["packing"]["items"], &quote["packing"]["settlement_ms"]),
        (&ITEMS.into(), &25.0.into()),
        "{quote:#}"
    );
    assert!(quote["packing"]["item_ms"].as_f64().unwrap() > 0.0 && quote["tasks"].as_u64().unwrap() < 32, "{quote:#}");
}
