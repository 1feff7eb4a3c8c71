//! Hostile tasks that ask the kernel for what they are not to have: kinds 4 and 12 of the operator's bar.

use crate::bench::{Bench, kinds};

#[test]
fn no_socket_can_be_had() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["sockets", "network", "cat /etc/resolv.conf"]);
        let expected = [
            "sockets opened: 0",
            // Asked of its stdin, since there is no socket to ask.
            "127.0.0.1: ENOSYS",
            "169.254.169.254: ENOSYS",
            "8.8.8.8: ENOSYS",
            "127.0.0.53: ENOSYS",
            "cat: ENOENT",
        ];
        assert_eq!(lines, expected, "{kind:?}");
    }
}

#[test]
fn a_pair_of_sockets_is_a_pipe_and_no_more() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["pair"]);
        let expected = [
            "pair: done",
            "pair says hi",
            "bind to a path: ENOSYS",
            "bind to a hidden name: ENOSYS",
            "connect: ENOSYS",
            "listen: ENOSYS",
            "accept: ENOSYS",
        ];
        assert_eq!(lines[..expected.len()], expected, "{kind:?}");
        assert!(lines.last().unwrap().starts_with("send to: E"), "{kind:?}: {lines:?}");
    }
}

#[test]
fn calls_that_reach_beyond_the_program_are_refused() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["calls"]);
        let given: Vec<&String> =
            lines.iter().filter(|line| !line.ends_with(": ENOSYS") && !line.ends_with(": EPERM")).collect();
        assert_eq!(given, Vec::<&String>::new(), "{kind:?}");
        assert!(lines.len() > 100, "{kind:?}: only {} calls were tried", lines.len());
        for name in [
            "ptrace",
            "io_uring_setup",
            "bpf",
            "userfaultfd",
            "mount",
            "clone3 user",
            "unshare user",
            "open_by_handle_at",
        ] {
            assert!(lines.contains(&format!("{name}: ENOSYS")), "{kind:?}: {name}: {lines:?}");
        }
        for name in ["clone user", "clone user above 32 bits", "TIOCSTI", "TIOCSTI above 32 bits", "personality"] {
            assert!(lines.contains(&format!("{name}: EPERM")), "{kind:?}: {name}: {lines:?}");
        }
    }
}

#[test]
fn signals_reach_nobody_else() {
    for kind in kinds() {
        let bench = Bench::new(kind);
        let lines = bench.lines(&["kill", "echo still here"]);
        assert_eq!(lines[0], "processes that a signal reaches: 0", "{kind:?}");
        // Process 1 of a namespace is deaf to what it does not listen to, and another wall may refuse first.
        assert!(
            lines.iter().any(|line| line == &format!("parent {}", kind.parent()))
                && lines.last().unwrap() == "still here",
            "{kind:?}: {lines:?}"
        );
    }
}
