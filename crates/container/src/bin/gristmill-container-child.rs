//! Be the helper process on its own, for tests and for hosts that want the two programs apart. With `as UID` it becomes that user
//! first, as a worker that is not root would be.

use std::process::ExitCode;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, user] = args.as_slice()
        && word == "as"
        && let Ok(number) = user.parse()
    {
        let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
        let became = setgroups(&[]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
        if let Err(error) = became.and_then(|()| nix::sys::prctl::set_dumpable(true)) {
            eprintln!("cannot become user {number}: {error}");
            return ExitCode::FAILURE;
        }
    }
    gristmill_container::child_main()
}
