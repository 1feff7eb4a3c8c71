//! Be the sandbox's child process on its own, for tests and for hosts that want the two programs apart.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill_sandbox::child_main()
}
