//! The reference of the command line, `docs/cli.md`, made from the definitions.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Set it to anything to write the reference anew.
const REFRESH: &str = "GRISTMILL_REFRESH";
const WIDTH: usize = 100;

fn reference() -> String {
    let mut root = Cli::command().term_width(WIDTH).disable_help_subcommand(true);
    root.build();
    let mut text = String::from(
        "# The command line\n\nMade from the program's own definitions: do not edit. A test compares them; with \
         `GRISTMILL_REFRESH=1` it writes this page anew\n(`GRISTMILL_REFRESH=1 cargo test --release -p gristmill-cli reference`).\n",
    );
    chapter(&mut root, "", &mut text);
    text
}

fn chapter(command: &mut Command, above: &str, text: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{above}{}", command.get_name());
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    *text += &format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    for inner in command.get_subcommands_mut() {
        chapter(inner, &format!("{name} "), text);
    }
}

#[test]
fn the_reference_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let wanted = reference();
    if std::env::var_os(REFRESH).is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/cli.md is out of date: run `{REFRESH}=1 cargo test --release -p gristmill-cli reference` and look at the difference"
    );
}
