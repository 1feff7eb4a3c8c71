//! Which system calls a program may make.
//!
//! The list is of what programs of images need; all others fail with `ENOSYS`, as on a kernel that does not know them, so that
//! libraries fall back to older ones (`clone3` to `clone`, whose flags can be looked at). Left out are those that reach beyond the
//! process (ptrace, process_vm_*, kcmp, pidfd_getfd), that change the system (mount, module, clock, swap, reboot), namespaces, keys,
//! bpf, io_uring, userfaultfd, perf events, file handles and NUMA policies; and those that give a socket a name or call one by its
//! name, for the only sockets there are come in pairs. Whoever has a network may make sockets of IPv4 and call by them, not more.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// A list of numbers, and one of their names: what other programs are told the list by.
macro_rules! listed {
    ($(#[$what:meta])* $numbers:ident, $names:ident: $($number:path,)*) => {
        $(#[$what])*
        const $numbers: &[i64] = &[$($number),*];
        $(#[$what])*
        const $names: &[&str] = &[$(stringify!($number)),*];
    };
}

listed! { ALLOWED, ALLOWED_NAMES:
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_chdir,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_getxattr,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ioctl,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_kill,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_lgetxattr,
    libc::SYS_linkat,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lseek,
    libc::SYS_lsetxattr,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mq_getsetattr,
    libc::SYS_mq_notify,
    libc::SYS_mq_open,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_unlink,
    libc::SYS_mremap,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_personality,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pipe2,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_remap_file_pages,
    libc::SYS_removexattr,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setitimer,
    libc::SYS_setpgid,
    libc::SYS_setpriority,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setrlimit,
    libc::SYS_setsid,
    libc::SYS_setsockopt,
    libc::SYS_setuid,
    libc::SYS_setxattr,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_shmget,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_sysinfo,
    libc::SYS_tee,
    libc::SYS_tgkill,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_tkill,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_vmsplice,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
}

listed! {
    /// Those that only the older architecture has.
    #[cfg(target_arch = "x86_64")]
    ALLOWED_HERE, ALLOWED_NAMES_HERE:
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_fork,
    libc::SYS_futimesat,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_inotify_init,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_signalfd,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_vfork,
}
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_NAMES_HERE: &[&str] = &[];

/// The names of the system calls that are allowed, those included of which some arguments are not.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALLOWED_NAMES.iter().chain(ALLOWED_NAMES_HERE).map(|name| name.trim_start_matches("libc::SYS_"))
}

/// Those that a program needs to use its way out.
const ALLOWED_IN_NETWORK: [i64; 1] = [libc::SYS_connect];

/// Puts a character into a terminal's input.
const TIOCSTI: u64 = 0x5412;
/// Commands of the virtual console, one of which pastes.
const TIOCLINUX: u64 = 0x541c;
/// Asks for the personality, without changing it.
const PERSONALITY_QUERY: u64 = 0xffff_ffff;

/// The filters, to be installed in this order. The kernel does what the strictest says, and of two that refuse the last one's
/// number is seen; so what fails with a number of its own is on the list too.
pub(crate) fn filters(has_network: bool) -> Result<Vec<BpfProgram>, String> {
    let forbidden = BTreeMap::from([
        (libc::SYS_clone, namespaces()?),
        (libc::SYS_ioctl, vec![equal(1, TIOCSTI)?, equal(1, TIOCLINUX)?]),
        (libc::SYS_personality, vec![rule(0, SeccompCmpOp::Ne, PERSONALITY_QUERY)?]),
    ]);
    let families = BTreeMap::from([
        (libc::SYS_socket, if has_network { other_sockets()? } else { vec![] }),
        // A pair is a pipe that goes both ways; it reaches nobody.
        (libc::SYS_socketpair, vec![rule(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?]),
    ]);
    // The program has one core, whatever it asks for; one that insists is told that it was done.
    let pretended = BTreeMap::from([(libc::SYS_sched_setaffinity, vec![])]);
    Ok(vec![
        refusing(pretended, SeccompAction::Errno(0))?,
        refusing(families, SeccompAction::Errno(libc::EAFNOSUPPORT as u32))?,
        refusing(forbidden, SeccompAction::Errno(libc::EPERM as u32))?,
        allow_list(if has_network { &ALLOWED_IN_NETWORK } else { &[] })?,
    ])
}

/// All that are allowed, and `ENOSYS` for the others.
///
/// The kernel looks at a list for each number that there is when it is installed, so it is made short and searched by halves: what
/// `seccompiler` makes of it, five instructions a call one after the other, took half a millisecond of each start.
fn allow_list(more: &[i64]) -> Result<BpfProgram, String> {
    // The check of the architecture, before what is decided.
    let mut filter = refusing(BTreeMap::new(), SeccompAction::KillProcess)?;
    filter.pop();
    filter.push(instruction(BPF_LOAD, 0, 0, NUMBER_OFFSET));
    filter.extend(search(&ranges(ALLOWED.iter().chain(ALLOWED_HERE).chain(more))?));
    Ok(filter)
}

/// Numbers that follow each other, from and to.
type Range = (u32, u32);

fn ranges<'a>(numbers: impl Iterator<Item = &'a i64>) -> Result<Vec<Range>, String> {
    let mut numbers: Vec<u32> = numbers
        .map(|number| u32::try_from(*number).map_err(|_| format!("{number} is no system call")))
        .collect::<Result<_, _>>()?;
    numbers.sort_unstable();
    let mut ranges: Vec<Range> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number <= *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    Ok(ranges)
}

/// What is done with a number that was loaded, when these are the ranges it may be in.
fn search(ranges: &[Range]) -> BpfProgram {
    let deny = instruction(BPF_RETURN, 0, 0, SeccompAction::Errno(libc::ENOSYS as u32).into());
    match ranges {
        [] => vec![deny],
        [(first, last)] => vec![
            instruction(BPF_IF_AT_LEAST, 0, 2, *first),
            instruction(BPF_IF_MORE, 1, 0, *last),
            instruction(BPF_RETURN, 0, 0, SeccompAction::Allow.into()),
            deny,
        ],
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let (from, below) = (above[0].0, search(below));
            // There are fewer instructions than numbers of 32 bits.
            let skip = instruction(BPF_JUMP, 0, 0, below.len() as u32);
            let mut both = vec![instruction(BPF_IF_AT_LEAST, 0, 1, from), skip];
            both.extend(below);
            both.extend(search(above));
            both
        }
    }
}

/// Where the number lies in what a filter looks at (`struct seccomp_data`, seccomp(2)).
const NUMBER_OFFSET: u32 = 0;
// Classes, operations and modes together (linux/bpf_common.h).
const BPF_LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const BPF_JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const BPF_IF_MORE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const BPF_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const BPF_RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// With how many instructions are left out when it is true, and when it is not.
fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> sock_filter {
    sock_filter { code, jt: if_true, jf: if_false, k: value }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn refusing(rules: Rules, how: SeccompAction) -> Result<BpfProgram, String> {
    program(rules, SeccompAction::Allow, how)
}

fn program(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, matching, arch).map_err(|error| error.to_string())?;
    filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
}

fn rule(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, String> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value);
    condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(|error| error.to_string())
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, String> {
    rule(argument, SeccompCmpOp::Eq, value)
}

/// All sockets but TCP's and UDP's of IPv4. UDP reaches nobody, but some C libraries ask by it which addresses there are.
fn other_sockets() -> Result<Vec<SeccompRule>, String> {
    /// Bits of the kind, before flags.
    const KIND: u64 = 0xf;
    let condition = |argument, how, value: i32| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value).map_err(|error| error.to_string())
    };
    let protocols = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
    let others =
        protocols.map(|number| condition(2, SeccompCmpOp::Ne, number)).into_iter().collect::<Result<_, _>>()?;
    let mut rules = vec![
        rule(0, SeccompCmpOp::Ne, libc::AF_INET as u64)?,
        SeccompRule::new(others).map_err(|error| error.to_string())?,
    ];
    let kinds = (0..=KIND).filter(|kind| ![libc::SOCK_STREAM as u64, libc::SOCK_DGRAM as u64].contains(kind));
    for kind in kinds {
        rules.push(rule(1, SeccompCmpOp::MaskedEq(KIND), kind)?);
    }
    Ok(rules)
}

/// Any flag of `clone` that makes a namespace.
fn namespaces() -> Result<Vec<SeccompRule>, String> {
    let flags = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let masked = |flag: i32| {
        let flag = u64::from(flag.cast_unsigned());
        rule(0, SeccompCmpOp::MaskedEq(flag), flag)
    };
    flags.into_iter().map(masked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter of the instructions used here says of a number, as seccomp(2) and bpf(2) have it.
    fn ask(filter: &[sock_filter], number: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let here = &filter[at];
            let go = |is: bool| usize::from(if is { here.jt } else { here.jf });
            at += 1;
            match here.code {
                BPF_LOAD => loaded = number,
                BPF_IF_MORE => at += go(loaded > here.k),
                BPF_IF_AT_LEAST => at += go(loaded >= here.k),
                BPF_JUMP => at += here.k as usize,
                BPF_RETURN => return here.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn exactly_those_of_the_list_are_allowed() {
        let whole = allow_list(&[]).unwrap();
        let begin = whole.iter().position(|it| it.code == BPF_LOAD && it.k == NUMBER_OFFSET).unwrap();
        let (allow, deny) = (u32::from(SeccompAction::Allow), u32::from(SeccompAction::Errno(libc::ENOSYS as u32)));
        // The other ABI's numbers, those of x32, have bit 30.
        for number in (0..2_000).chain((0..2_000).map(|number| number | 1 << 30)).chain([u32::MAX, i32::MAX as u32]) {
            let is_listed = ALLOWED.iter().chain(ALLOWED_HERE).any(|it| *it == i64::from(number));
            assert_eq!(ask(&whole[begin..], number), if is_listed { allow } else { deny }, "{number}");
        }
        // Architecture, kill, and what follows.
        assert_eq!(whole[..begin], refusing(BTreeMap::new(), SeccompAction::KillProcess).unwrap()[..begin]);
        assert_eq!(whole[begin - 1].k, u32::from(SeccompAction::KillProcess));
    }
}
