//! Make the program that a foreign runtime starts: a file of a few kilobytes that does a list of system calls and becomes the
//! task's program.
//!
//! A runtime starts what it is told by rules of its own: it puts `HOME` into the environment, searches `PATH` in its own way, has
//! its own exit codes for what cannot be run, and knows no Landlock. So it is told to start this, which by then has nothing that the
//! runtime was to take away, and which does in the same order what our own process does before it becomes the program (`payload`).
//! No name that an image or a task chose is ever handled by the runtime.
//!
//! It is a static program, since an image need not have any library, and so small that it can be read whole: an interpreter of some
//! thirty instructions, the list, and the texts that the list points to. All addresses are known when it is made.

use std::arch::global_asm;

use landlock::{ABI, Access, AccessFs, AccessNet, Scope};
use nix::errno::Errno;
use nix::libc;
use seccompiler::BpfProgram;

use crate::payload::Program;

/// The descriptor of its own file, and of the pipe in which it says how far it came.
pub(crate) const FILE: i32 = 3;
pub(crate) const PIPE: i32 = 4;
/// What it says first, so that its silence is not taken for a program's. Then it waits until nobody holds a lock on its file.
pub(crate) const BEGUN: u8 = b's';

/// Where it lies in memory, in pages of every size that there is.
const ADDRESS: u64 = 0x40_0000;
const ALIGNMENT: u64 = 0x1_0000;
/// Bytes of the file's header and of an entry of its table (elf(5)).
const HEADER_BYTES: u16 = 64;
const ENTRY_BYTES: u16 = 56;
const ENTRIES: u16 = 2;
/// A path that is longer leads nowhere (PATH_MAX).
const PATH_BYTES_MAX: usize = 4096;

// What becomes of a call that failed.
const GO_ON: u64 = 0;
/// Say the number, and end.
const MUST: u64 = 1;
/// A candidate for the program: the next is tried when there is no such file, or it may not be run.
const BECOME: u64 = 2;
/// Say EACCES, and end.
const MUST_OR_DENIED: u64 = 3;
/// The last in the list: say why the last candidate could not be run, and end.
const END: u64 = 4;

// A step is ten numbers: the call, its six arguments, what becomes of a failure, and where the words for that are and how many.
// The numbers of calls, and those of errors (2 is ENOENT, 13 EACCES, 20 ENOTDIR), are the architecture's.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .rodata.gristmill_starter,\"a\",@progbits",
    ".globl gristmill_starter_begin",
    ".globl gristmill_starter_end",
    "gristmill_starter_begin:",
    "lea r12, [rip + 9f]",
    "mov r13d, 2",
    "2: mov rax, [r12]",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "mov rdx, [r12 + 24]",
    "mov r10, [r12 + 32]",
    "mov r8, [r12 + 40]",
    "mov r9, [r12 + 48]",
    "syscall",
    "mov rcx, [r12 + 56]",
    "cmp rcx, 4",
    "je 5f",
    "test rcx, rcx",
    "jz 4f",
    "test rax, rax",
    "jns 4f",
    "neg rax",
    "cmp rcx, 1",
    "je 6f",
    "cmp rcx, 3",
    "jne 3f",
    "mov eax, 13",
    "jmp 6f",
    "3: cmp eax, 2",
    "je 4f",
    "cmp eax, 20",
    "je 4f",
    "cmp eax, 13",
    "jne 6f",
    "mov r13d, 13",
    "4: add r12, 80",
    "jmp 2b",
    "5: mov eax, r13d",
    "6: push rax",
    "mov rsi, rsp",
    "mov edx, 4",
    "mov edi, 4",
    "mov eax, 1",
    "syscall",
    "test rax, rax",
    "js 7f",
    "mov rsi, [r12 + 64]",
    "mov rdx, [r12 + 72]",
    "mov edi, 4",
    "mov eax, 1",
    "syscall",
    "mov edi, 127",
    "jmp 8f",
    "7: mov edi, 126",
    "8: mov eax, 231",
    "syscall",
    "jmp 8b",
    ".balign 8",
    "9:",
    "gristmill_starter_end:",
    ".popsection",
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .rodata.gristmill_starter,\"a\",@progbits",
    ".balign 8",
    ".globl gristmill_starter_begin",
    ".globl gristmill_starter_end",
    "gristmill_starter_begin:",
    "adr x19, 9f",
    "mov w20, #2",
    "2: ldr x8, [x19]",
    "ldp x0, x1, [x19, #8]",
    "ldp x2, x3, [x19, #24]",
    "ldp x4, x5, [x19, #40]",
    "svc #0",
    "ldr x9, [x19, #56]",
    "cmp x9, #4",
    "b.eq 5f",
    "cbz x9, 4f",
    "tbz x0, #63, 4f",
    "neg x0, x0",
    "cmp x9, #1",
    "b.eq 6f",
    "cmp x9, #3",
    "b.ne 3f",
    "mov x0, #13",
    "b 6f",
    "3: cmp x0, #2",
    "b.eq 4f",
    "cmp x0, #20",
    "b.eq 4f",
    "cmp x0, #13",
    "b.ne 6f",
    "mov w20, #13",
    "4: add x19, x19, #80",
    "b 2b",
    "5: mov w0, w20",
    "6: str x0, [sp, #-16]!",
    "mov x1, sp",
    "mov x2, #4",
    "mov x0, #4",
    "mov x8, #64",
    "svc #0",
    "tbnz x0, #63, 7f",
    "ldp x1, x2, [x19, #64]",
    "mov x0, #4",
    "mov x8, #64",
    "svc #0",
    "mov x0, #127",
    "b 8f",
    "7: mov x0, #126",
    "8: mov x8, #94",
    "svc #0",
    "b 8b",
    ".balign 8",
    "9:",
    "gristmill_starter_end:",
    ".popsection",
);

/// The interpreter; none for architectures that it was not written for.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn interpreter() -> Option<&'static [u8]> {
    unsafe extern "C" {
        static gristmill_starter_begin: u8;
        static gristmill_starter_end: u8;
    }
    let (begin, end) = (&raw const gristmill_starter_begin, &raw const gristmill_starter_end);
    // SAFETY: both names are of one section, which is never written, and all between them is initialised.
    Some(unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) })
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn interpreter() -> Option<&'static [u8]> {
    None
}

/// `e_machine` of this architecture.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// The list, and what it points to.
struct Script {
    steps: Vec<[u64; 10]>,
    data: Vec<u8>,
    /// Which words of the steps are addresses of data, by step and place.
    addresses: Vec<(usize, usize)>,
    /// Where in the data such addresses are.
    pointers: Vec<usize>,
}

/// An argument: a number, or where in the data something is.
#[derive(Clone, Copy)]
enum Word {
    Number(u64),
    Data(usize),
}

impl From<i32> for Word {
    fn from(number: i32) -> Self {
        Self::Number(i64::from(number).cast_unsigned())
    }
}

impl Script {
    fn bytes(&mut self, bytes: &[u8]) -> usize {
        // Numbers lie at multiples of their size.
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        self.data.extend_from_slice(bytes);
        self.data.len() - bytes.len()
    }

    fn text(&mut self, text: &[u8]) -> Word {
        let at = self.bytes(text);
        self.data.push(0);
        Word::Data(at)
    }

    /// Where each of these texts is, one after the other, and a zero.
    fn texts<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>) -> Word {
        let mut places: Vec<u64> = Vec::new();
        for text in texts {
            if let Word::Data(at) = self.text(text) {
                places.push(at as u64);
            }
        }
        let count = places.len();
        places.push(0);
        let at = self.bytes(&places.iter().flat_map(|place| place.to_ne_bytes()).collect::<Vec<_>>());
        self.pointers.extend((0..count).map(|number| at + number * 8));
        Word::Data(at)
    }

    fn step(&mut self, call: i64, arguments: &[Word], rule: u64, words: &str) {
        let mut step = [0; 10];
        step[0] = call.cast_unsigned();
        let said = self.bytes(words.as_bytes());
        let all = arguments.iter().copied().zip(1..).chain([(Word::Data(said), 8)]);
        for (word, place) in all {
            step[place] = match word {
                Word::Number(number) => number,
                Word::Data(at) => {
                    self.addresses.push((self.steps.len(), place));
                    at as u64
                }
            };
        }
        (step[7], step[9]) = (rule, words.len() as u64);
        self.steps.push(step);
    }

    /// The file.
    fn link(mut self, interpreter: &[u8]) -> Vec<u8> {
        let code = usize::from(HEADER_BYTES) + usize::from(ENTRY_BYTES) * usize::from(ENTRIES);
        let list = code + interpreter.len();
        let data = ADDRESS + (list + self.steps.len() * size_of::<[u64; 10]>()) as u64;
        for (step, place) in self.addresses {
            self.steps[step][place] += data;
        }
        for at in self.pointers {
            if let Some(place) = self.data[at..].first_chunk_mut::<8>() {
                *place = (u64::from_ne_bytes(*place) + data).to_ne_bytes();
            }
        }
        let list = self.steps.iter().flatten().flat_map(|word| word.to_ne_bytes());
        let body: Vec<u8> = interpreter.iter().copied().chain(list).chain(self.data).collect();
        let mut file = header(ADDRESS + code as u64, (code + body.len()) as u64);
        file.extend(body);
        file
    }
}

/// What the kernel has to know (elf(5)): the whole file is read and run, nothing of it is written, and no stack is run.
fn header(entry: u64, bytes: u64) -> Vec<u8> {
    const LOAD: u32 = 1;
    const STACK: u32 = 0x6474_e551;
    const RUN: u32 = 1;
    const WRITE: u32 = 2;
    const READ: u32 = 4;
    let endian = if cfg!(target_endian = "little") { 1 } else { 2 };
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, endian, 1];
    file.resize(16, 0);
    // Of kind 2, a program at an address of its own.
    file.extend([2, MACHINE].into_iter().flat_map(u16::to_ne_bytes));
    file.extend(1u32.to_ne_bytes());
    file.extend([entry, u64::from(HEADER_BYTES), 0].into_iter().flat_map(u64::to_ne_bytes));
    file.extend(0u32.to_ne_bytes());
    file.extend([HEADER_BYTES, ENTRY_BYTES, ENTRIES, 0, 0, 0].into_iter().flat_map(u16::to_ne_bytes));
    for (kind, flags, address, bytes, alignment) in
        [(LOAD, READ | RUN, ADDRESS, bytes, ALIGNMENT), (STACK, READ | WRITE, 0, 0, 16)]
    {
        file.extend([kind, flags].into_iter().flat_map(u32::to_ne_bytes));
        file.extend([0, address, address, bytes, bytes, alignment].into_iter().flat_map(u64::to_ne_bytes));
    }
    file
}

/// The file of the program that becomes this one.
pub(crate) fn starter(program: &Program) -> Result<Vec<u8>, String> {
    let interpreter = interpreter()
        .ok_or_else(|| format!("only our own runtime runs programs on {} so far", std::env::consts::ARCH))?;
    let mut script = Script { steps: vec![], data: vec![], addresses: vec![], pointers: vec![] };
    begin(&mut script);
    limits(&mut script, program);
    go_to_work(&mut script, program);
    second_wall(&mut script, landlock_version());
    for filter in &program.filters {
        install(&mut script, filter);
    }
    let argv = script.texts(program.argv.iter().map(|text| text.as_bytes()));
    let env = script.texts(program.env.iter().map(|text| text.as_bytes()));
    for candidate in &program.candidates {
        let path = script.text(candidate.as_bytes());
        script.step(libc::SYS_execve, &[path, argv, env], BECOME, "");
    }
    script.step(libc::SYS_getpid, &[], END, "");
    Ok(script.link(interpreter))
}

/// Says that it begins, and keeps nothing open that a runtime may have left.
fn begin(script: &mut Script) {
    let hello = script.text(&[BEGUN]);
    let pipe = Word::from(PIPE);
    script.step(libc::SYS_write, &[pipe, hello, 1.into()], MUST, "its own files");
    // Nobody but this process is in its namespace now, in which process 1 has something left to do.
    script.step(libc::SYS_flock, &[FILE.into(), libc::LOCK_SH.into()], MUST, "process 1");
    script.step(libc::SYS_fcntl, &[pipe, libc::F_SETFD.into(), libc::FD_CLOEXEC.into()], MUST, "its own files");
    for (first, last) in [(FILE as u64, FILE as u64), (PIPE as u64 + 1, u64::from(u32::MAX))] {
        let range = [Word::Number(first), Word::Number(last), 0.into()];
        script.step(libc::SYS_close_range, &range, MUST, "its own files");
    }
    // Some runtimes did it already.
    script.step(libc::SYS_setsid, &[], GO_ON, "");
    let none = Word::Data(script.bytes(&[0; 8]));
    let all = [libc::SIG_SETMASK.into(), none, 0.into(), 8.into()];
    script.step(libc::SYS_rt_sigprocmask, &all, MUST, "its signals");
}

fn limits(script: &mut Script, program: &Program) {
    for (resource, limit) in program.limits() {
        let both = Word::Data(script.bytes(&[limit, limit].map(u64::to_ne_bytes).concat()));
        script.step(libc::SYS_prlimit64, &[0.into(), (resource as i32).into(), both, 0.into()], MUST, "its limits");
    }
    let nice = [(libc::PRIO_PROCESS as i32).into(), 0.into(), crate::payload::NICE.into()];
    script.step(libc::SYS_setpriority, &nice, GO_ON, "");
}

/// As [`Program`] does it by itself.
fn go_to_work(script: &mut Script, program: &Program) {
    let here = Word::from(libc::AT_FDCWD);
    let (tmp, inside) = (script.text(b"/tmp"), script.text(b"/tmp/."));
    script.step(libc::SYS_mkdirat, &[here, tmp, 0o777.into()], GO_ON, "");
    script.step(libc::SYS_fchmodat, &[here, inside, 0o1777.into()], GO_ON, "");
    let folder = program.working_dir.as_bytes();
    if folder.len() < PATH_BYTES_MAX {
        let ends = (1..=folder.len()).filter(|end| folder.get(*end).is_none_or(|next| *next == b'/'));
        for end in ends {
            let path = script.text(&folder[..end]);
            script.step(libc::SYS_mkdirat, &[here, path, 0o777.into()], GO_ON, "");
        }
    }
    let path = script.text(folder);
    script.step(libc::SYS_chdir, &[path], MUST_OR_DENIED, "");
}

/// The newest rules of Landlock that this kernel knows, as a number; 0 for none.
fn landlock_version() -> i64 {
    /// Asks for the version instead of making rules (landlock_create_ruleset(2)).
    const VERSION: u32 = 1;
    // SAFETY: with this flag there is no structure to point to.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) }
        .max(0)
}

/// As `payload::landlock` does it. What the kernel does not have is left out.
fn second_wall(script: &mut Script, version: i64) {
    const PATH_BENEATH: i32 = 1;
    let abi = match version {
        ..1 => return,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    };
    let files = AccessFs::from_all(abi);
    let allowed = files & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock);
    let asked = [files.bits(), AccessNet::from_all(abi).bits(), Scope::from_all(abi).bits()];
    let asked = &asked[..match version {
        1..4 => 1,
        4..6 => 2,
        _ => 3,
    }];
    let rules = Word::Data(script.bytes(&asked.iter().flat_map(|each| each.to_ne_bytes()).collect::<Vec<_>>()));
    // All past the pipe is closed, so that these are the numbers of what is opened first and second.
    let (ruleset, folder) = (FILE, PIPE + 1);
    let bytes = Word::Number(size_of_val(asked) as u64);
    script.step(libc::SYS_landlock_create_ruleset, &[rules, bytes, 0.into()], GO_ON, "");
    let root = script.text(b"/");
    let flags = (libc::O_PATH | libc::O_CLOEXEC).into();
    script.step(libc::SYS_openat, &[libc::AT_FDCWD.into(), root, flags, 0.into()], GO_ON, "");
    // Packed: the rights and the folder (linux/landlock.h).
    let rule = [&allowed.bits().to_ne_bytes()[..], &folder.to_ne_bytes()[..]].concat();
    let rule = Word::Data(script.bytes(&rule));
    let add = [ruleset.into(), PATH_BENEATH.into(), rule, 0.into()];
    script.step(libc::SYS_landlock_add_rule, &add, GO_ON, "");
    script.step(libc::SYS_landlock_restrict_self, &[ruleset.into(), 0.into()], GO_ON, "");
    for number in [ruleset, folder] {
        script.step(libc::SYS_close, &[number.into()], GO_ON, "");
    }
}

/// A list of system calls on top of the runtime's own: it tells one argument from another, and its numbers of errors are seen.
fn install(script: &mut Script, filter: &BpfProgram) {
    let code: Vec<u8> = filter
        .iter()
        .flat_map(|each| {
            let [code, k] = [each.code.to_ne_bytes().to_vec(), each.k.to_ne_bytes().to_vec()];
            [code, vec![each.jt, each.jf], k].concat()
        })
        .collect();
    let at = script.bytes(&code) as u64;
    // `struct sock_fprog`: how many, and where.
    let head = script.bytes(&[filter.len() as u64, at].map(u64::to_ne_bytes).concat());
    script.pointers.push(head + 8);
    let arguments = [libc::PR_SET_SECCOMP.into(), (libc::SECCOMP_MODE_FILTER as i32).into(), Word::Data(head)];
    script.step(libc::SYS_prctl, &arguments, MUST, "the list of system calls");
}

/// What it said in its pipe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing: it never ran.
    Nothing,
    /// It became the program.
    Became,
    /// What of the sandbox failed, empty when it was the program itself, and the error.
    Failed(String, Errno),
}

/// Reads what it said, to its end.
pub(crate) fn said(bytes: &[u8]) -> Said {
    match bytes.split_first() {
        None => Said::Nothing,
        Some((_, rest)) => match rest.split_first_chunk() {
            None => Said::Became,
            Some((errno, what)) => {
                Said::Failed(String::from_utf8_lossy(what).into_owned(), Errno::from_raw(i32::from_le_bytes(*errno)))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    use super::*;
    use crate::wire::Request;

    /// Starts what the request says by a starter, outside of any container. What it says in its pipe comes with what is printed.
    fn start(argv: &[&str], env: &[(&str, &str)], working_dir: &str) -> (Said, Output) {
        let request = Request {
            layers: vec![],
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: env.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            working_dir: working_dir.to_owned(),
            inputs: vec![],
            output_dir: "/".into(),
            memory_bytes: 1 << 30,
            output_bytes: 0,
            output_files: 0,
            cpu_s: 60,
            core: None,
            memory_is_bounded: false,
            devices: crate::device::Devices::default(),
            has_network: false,
            runtime: None,
            number: 0,
        };
        // Its list of system calls is for those who can get no more rights.
        let file = starter(&Program::new(&request, vec![]).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (path, pipe) = (folder.path().join("starter"), folder.path().join("pipe"));
        std::fs::write(&path, file).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3<\"$1\" 4>\"$2\"; exec \"$1\" ignored", "sh"])
            .arg(&path)
            .arg(&pipe)
            .env("MORE", "x");
        let output = command.output().unwrap();
        (said(&std::fs::read(pipe).unwrap()), output)
    }

    #[test]
    fn it_becomes_the_program_with_its_own_words_and_variables() {
        let (said, output) =
            start(&["env", "-u", "B"], &[("PATH", "/nowhere:/usr/bin:/bin"), ("A", "ä b"), ("B", "")], "");
        assert_eq!((said, output.status.code()), (Said::Became, Some(0)));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "PATH=/nowhere:/usr/bin:/bin\nA=ä b\n");
        let (said, output) =
            start(&["sh", "-c", "pwd; ls /proc/self/fd | wc -l; ulimit -c; exit 7"], &[], "/usr/bin/../lib");
        assert_eq!((said, output.status.code()), (Said::Became, Some(7)));
        // The three, and the listed folder.
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "/usr/lib\n4\n0\n");
    }

    #[test]
    fn what_cannot_be_run_is_told_by_its_number() {
        for (argv, path, working_dir, expected) in [
            (vec!["/nonexistent/program"], "", "", Errno::ENOENT),
            (vec!["no-such-program"], "/bin:/usr/bin", "", Errno::ENOENT),
            (vec!["passwd"], "/nowhere:/etc", "", Errno::EACCES),
            (vec!["/etc"], "", "", Errno::EACCES),
            (vec!["/etc/passwd/inner"], "", "", Errno::ENOENT),
            (vec!["/bin/sh"], "", "/etc/passwd", Errno::EACCES),
        ] {
            let (said, output) = start(&argv, &[("PATH", path)], working_dir);
            assert_eq!(said, Said::Failed(String::new(), expected), "{argv:?}");
            assert_eq!(output.status.code(), Some(127), "{argv:?}");
        }
    }

    #[test]
    fn one_that_becomes_itself_ends() {
        let (said, output) = start(&["/proc/self/exe"], &[], "");
        assert_eq!((said, output.status.code()), (Said::Became, Some(126)));
    }

    #[test]
    fn its_words_are_read() {
        assert_eq!(said(b""), Said::Nothing);
        assert_eq!(said(b"s"), Said::Became);
        assert_eq!(said(b"s\x02\0\0\0"), Said::Failed(String::new(), Errno::ENOENT));
        assert_eq!(said(b"s\x01\0\0\0its limits"), Said::Failed("its limits".to_owned(), Errno::EPERM));
    }
}
