//! What a guest sees of files, and what it cannot reach.

use std::os::unix::fs::symlink;

use gristmill_result::Ending;
use gristmill_sandbox::{HostFaultKind, Input, SandboxError};

use crate::bench::{Bench, tree};

/// Runs the probe with some inputs and compares what it printed, line by line.
fn check(commands: &[(&str, &str)]) {
    let bench = Bench::new();
    let mut execution = bench.probe(&commands.iter().map(|(command, _)| *command).collect::<Vec<_>>());
    execution.inputs = vec![
        bench.input("a.txt", "alpha"),
        bench.input("b.txt", "beta"),
        bench.input("sub/c.txt", "gamma"),
        bench.input("sub/deeper/d.txt", "delta"),
    ];
    let printed = bench.printed(&execution);
    let expected: Vec<&str> = commands.iter().map(|(_, line)| *line).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn inputs_can_be_read_and_not_changed() {
    check(&[
        ("cat /iexec_in/a.txt", "cat /iexec_in/a.txt: alpha"),
        ("cat /iexec_in/sub/deeper/d.txt", "cat /iexec_in/sub/deeper/d.txt: delta"),
        ("put /iexec_in/a.txt x", "put /iexec_in/a.txt: Read-only file system"),
        ("put /iexec_in/new x", "put /iexec_in/new: Read-only file system"),
        ("mkdir /iexec_in/new", "mkdir /iexec_in/new: Read-only file system"),
        ("rm /iexec_in/a.txt", "rm /iexec_in/a.txt: Read-only file system"),
        ("rmdir /iexec_in/sub", "rmdir /iexec_in/sub: Directory not empty"),
        ("mv /iexec_in/a.txt /iexec_out/a.txt", "mv /iexec_in/a.txt: Read-only file system"),
        ("cat /iexec_in/none", "cat /iexec_in/none: No such file or directory"),
        ("cat /iexec_in/a.txt/x", "cat /iexec_in/a.txt/x: Not a directory"),
        ("ls /iexec_in", "ls /iexec_in: ./ ../ a.txt b.txt sub/"),
        ("ls /iexec_in/a.txt", "ls /iexec_in/a.txt: Not a directory"),
    ]);
}

#[test]
fn the_working_folder_lays_outputs_over_inputs() {
    check(&[
        ("ls .", "ls .: ./ ../ a.txt b.txt sub/"),
        ("cat a.txt", "cat a.txt: alpha"),
        ("add a.txt +more", "add a.txt: ok"),
        ("cat a.txt", "cat a.txt: alpha+more"),
        ("cat /iexec_in/a.txt", "cat /iexec_in/a.txt: alpha"),
        ("cat /iexec_out/a.txt", "cat /iexec_out/a.txt: alpha+more"),
        ("put b.txt new", "put b.txt: ok"),
        ("cat b.txt", "cat b.txt: new"),
        ("put sub/e.txt epsilon", "put sub/e.txt: ok"),
        ("ls sub", "ls sub: ./ ../ c.txt deeper/ e.txt"),
        ("ls /iexec_out", "ls /iexec_out: ./ ../ a.txt b.txt sub/"),
        ("ls /iexec_out/sub", "ls /iexec_out/sub: ./ ../ e.txt"),
        ("rm sub/c.txt", "rm sub/c.txt: Read-only file system"),
        ("rm a.txt", "rm a.txt: ok"),
        ("cat a.txt", "cat a.txt: alpha"),
        ("mv sub elsewhere", "mv sub: Read-only file system"),
        ("mv sub/e.txt sub/c.txt", "mv sub/e.txt: ok"),
        ("cat sub/c.txt", "cat sub/c.txt: epsilon"),
        ("new sub/deeper/d.txt x", "new sub/deeper/d.txt: File exists"),
    ]);
}

#[test]
fn outputs_behave_like_files() {
    check(&[
        ("mkdir /iexec_out/d", "mkdir /iexec_out/d: ok"),
        ("mkdir /iexec_out/d", "mkdir /iexec_out/d: File exists"),
        ("put /iexec_out/d/x one", "put /iexec_out/d/x: ok"),
        ("new /iexec_out/d/x two", "new /iexec_out/d/x: File exists"),
        ("rmdir /iexec_out/d", "rmdir /iexec_out/d: Directory not empty"),
        ("rm /iexec_out/d", "rm /iexec_out/d: Is a directory"),
        ("mv /iexec_out/d /iexec_out/d/below", "mv /iexec_out/d: Invalid argument"),
        ("mv /iexec_out/d /iexec_out/e", "mv /iexec_out/d: ok"),
        ("ls /iexec_out", "ls /iexec_out: ./ ../ e/"),
        ("put /iexec_out/f two", "put /iexec_out/f: ok"),
        ("mv /iexec_out/f /iexec_out/e", "mv /iexec_out/f: Is a directory"),
        ("mv /iexec_out/e /iexec_out/f", "mv /iexec_out/e: Not a directory"),
        ("mv /iexec_out/f /iexec_out/e/x", "mv /iexec_out/f: ok"),
        ("cat /iexec_out/e/x", "cat /iexec_out/e/x: two"),
        ("mv /iexec_out/e/x /iexec_out/e/x", "mv /iexec_out/e/x: ok"),
        ("truncate /iexec_out/e/x 1", "truncate /iexec_out/e/x: ok"),
        ("cat /iexec_out/e/x", "cat /iexec_out/e/x: t"),
        ("rm /iexec_out/e/x", "rm /iexec_out/e/x: ok"),
        ("rmdir /iexec_out/e", "rmdir /iexec_out/e: ok"),
        ("ls /iexec_out", "ls /iexec_out: ./ ../"),
        ("seeks /iexec_out/s", "seeks: end 10 back 6 read 67 here 8 front 0AB3 before-start Invalid argument size 20"),
        ("ghost /iexec_out/g", "ghost /iexec_out/g: ghost, then No such file or directory"),
        ("ln /iexec_out/s /iexec_out/t", "ln /iexec_out/s: Not supported"),
        ("symlink /iexec_out/l s", "symlink /iexec_out/l: Not supported"),
        ("polls", "polls: 2 1 1"),
        ("touch-stdin", "stdin: -1"),
    ]);
}

#[test]
fn nothing_outside_is_reached() {
    check(&[
        ("cat /etc/passwd", "cat /etc/passwd: No such file or directory"),
        ("cat ../../../../etc/passwd", "cat ../../../../etc/passwd: Operation not permitted"),
        ("cat /iexec_in/../../etc/passwd", "cat /iexec_in/../../etc/passwd: Operation not permitted"),
        ("cat sub/../../a.txt", "cat sub/../../a.txt: Operation not permitted"),
        ("cat sub/../a.txt", "cat sub/../a.txt: alpha"),
        ("put /iexec_out/../x y", "put /iexec_out/../x: Operation not permitted"),
        ("mv /iexec_out/../a /iexec_out/b", "mv /iexec_out/../a: Operation not permitted"),
        ("put /iexec_out/\u{1b}[2J x", "put /iexec_out/\u{1b}[2J: Illegal byte sequence"),
        ("put /iexec_out/a\\b x", "put /iexec_out/a\\b: Illegal byte sequence"),
        ("mkdir /iexec_out/.gristmill-scratch", "mkdir /iexec_out/.gristmill-scratch: Operation not permitted"),
    ]);
}

#[test]
fn names_have_the_same_limits_everywhere() {
    let bench = Bench::new();
    let long = "n".repeat(256);
    let folder = "d".repeat(200);
    let mut commands = vec![format!("put {long} x"), format!("put {} x", &long[..255])];
    let mut path = String::new();
    for _ in 0..6 {
        path = format!("{path}{folder}/");
        commands.push(format!("mkdir {path}"));
    }
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let printed = bench.printed(&bench.probe(&commands));
    let endings: Vec<&str> = printed.lines().map(|line| line.rsplit(": ").next().unwrap()).collect();
    let too_long = "Filename too long";
    assert_eq!(endings, [too_long, "ok", "ok", "ok", "ok", "ok", "ok", too_long]);
}

#[test]
fn a_folder_can_be_emptied_while_it_is_read() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["mkdir many", "many many/file 3000", "empty many", "rmdir many", "ls ."]);
    execution.limits.output_files = 4000;
    let printed = bench.printed(&execution);
    assert_eq!(printed, "mkdir many: ok\nmany many/file: ok\nempty many: 3000 removed\nrmdir many: ok\nls .: ./ ../\n");
}

#[test]
fn descriptors_run_out_as_an_error_the_guest_sees() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["opens a.txt 300"]);
    execution.inputs = vec![bench.input("a.txt", "x")];
    assert_eq!(bench.printed(&execution), "opens a.txt: 250 No file descriptors available\n");
}

#[test]
fn symbolic_links_among_the_inputs_are_refused_not_followed() {
    let bench = Bench::new();
    bench.write("secret", "top");
    bench.write("given/plain", "x");
    symlink(bench.path("secret"), bench.path("given/link")).unwrap();
    let mut execution = bench.probe(&["cat /iexec_in/link"]);
    execution.inputs = vec![Input { at: String::new(), host: bench.path("given") }];
    let fault = bench.fault(&execution);
    assert_eq!(fault.kind, HostFaultKind::Io);
    assert!(fault.reason.contains("given/link: it is a symbolic link"), "{fault}");

    let mut execution = bench.probe(&[]);
    execution.inputs = vec![Input { at: "name".into(), host: bench.path("given/link") }];
    let error = bench.try_run(&execution).unwrap_err();
    assert!(matches!(&error, SandboxError::Input { problem, .. } if problem.contains("symbolic link")), "{error}");
}

#[test]
fn missing_inputs_and_used_output_folders_are_refused_before_the_run() {
    let bench = Bench::new();
    let mut execution = bench.probe(&[]);
    execution.inputs = vec![Input { at: "x".into(), host: bench.path("nowhere") }];
    let error = bench.try_run(&execution).unwrap_err();
    assert!(error.to_string().contains("nowhere: No such file"), "{error}");

    let mut execution = bench.probe(&[]);
    execution.inputs = vec![Input { at: "../x".into(), host: bench.write("file", "") }];
    assert!(matches!(bench.try_run(&execution), Err(SandboxError::Input { .. })));

    let execution = bench.probe(&[]);
    bench.write("out/left-over", "");
    let error = bench.try_run(&execution).unwrap_err();
    assert!(error.to_string().ends_with("out: it is not empty"), "{error}");
}

#[test]
fn each_item_sees_its_own_inputs_over_the_shared_ones() {
    let bench = Bench::new();
    let mut execution = bench.probe(&["cat item", "cat shared", "getenv GRISTMILL_ITEM_INDEX", "ls ."]);
    execution.inputs = vec![bench.input("shared", "common"), bench.input("item", "none")];
    execution.runs = (0..3)
        .map(|index| {
            let mut item = bench.item(index, &format!("out/{index:06}"));
            item.env = vec![("GRISTMILL_ITEM_INDEX".into(), index.to_string())];
            if index > 0 {
                let host = bench.write(&format!("items/{index}"), format!("item {index}"));
                item.inputs = vec![Input { at: "item".into(), host }];
            }
            item
        })
        .collect();
    let finished = bench.finish(&execution);
    assert!(finished.runs.iter().all(|run| run.ending == Ending::Exited(0)));
    let tree = tree(&bench.path("out"));
    for (index, item) in ["none", "item 1", "item 2"].iter().enumerate() {
        let printed = String::from_utf8(tree[&format!("{index:06}/stdout.txt")].clone()).unwrap();
        let expected =
            format!("cat item: {item}\ncat shared: common\nGRISTMILL_ITEM_INDEX={index}\nls .: ./ ../ item shared\n");
        assert_eq!(printed, expected);
    }
}

#[test]
fn a_program_keeps_a_file_it_calls_stdout_txt_itself() {
    let bench = Bench::new();
    let (ending, files) = bench.outcome(&bench.probe(&["put stdout.txt mine", "echo printed"]));
    assert_eq!(ending, Ending::Exited(0));
    assert_eq!(files["stdout.txt"], b"mine");
    assert_eq!(files.len(), 1);
}
