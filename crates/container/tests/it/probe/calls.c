/* System calls that no program of an image needs, and sockets. */
#include "probe.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/reboot.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>

static void try_sockets(char *rest) {
    (void)rest;
    static const struct { const char *name; int family; } families[] = {
        {"unix", AF_UNIX}, {"inet", AF_INET}, {"inet6", AF_INET6}, {"netlink", AF_NETLINK}, {"packet", AF_PACKET}, {"vsock", AF_VSOCK},
        {"alg", AF_ALG}, {"bluetooth", AF_BLUETOOTH}, {"xdp", AF_XDP}, {"can", AF_CAN}, {"tipc", AF_TIPC}, {"key", AF_KEY},
        {"qipcrtr", 42}, {"smc", 43}, {"rds", AF_RDS}, {"kcm", AF_KCM},
    };
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    int opened = 0;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (size_t type = 0; type < sizeof types / sizeof *types; type++) {
            int pair[2];
            if (socket(families[i].family, types[type], 0) >= 0) {
                printf("socket %s %d: done\n", families[i].name, types[type]);
                opened++;
            } else if (errno != EAFNOSUPPORT) {
                say(families[i].name, -1);
            }
            if (families[i].family != AF_UNIX && socketpair(families[i].family, types[type], 0, pair) >= 0) {
                printf("socketpair %s %d: done\n", families[i].name, types[type]);
                opened++;
            }
        }
    for (int family = 0; family < 64; family++)
        if (socket(family, SOCK_DGRAM, 0) >= 0) opened++;
    printf("sockets opened: %d\n", opened);
}

/* A pair of the one family that is allowed must reach nobody: no name is given to it, no other name is called by it. */
static void try_pair(char *rest) {
    (void)rest;
    int pair[2];
    char text[3] = "";
    say("pair", socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    if (write(pair[0], "hi", 2) == 2 && read(pair[1], text, 2) == 2) printf("pair says %s\n", text);
    struct sockaddr_un name = {AF_UNIX, "/tmp/a-socket"}, hidden = {AF_UNIX, "\0gristmill-probe"};
    say("bind to a path", bind(pair[0], (struct sockaddr *)&name, sizeof name));
    say("bind to a hidden name", bind(pair[0], (struct sockaddr *)&hidden, sizeof hidden));
    say("connect", connect(pair[1], (struct sockaddr *)&hidden, sizeof hidden));
    say("listen", listen(pair[1], 1));
    say("accept", accept(pair[1], NULL, NULL));
    say("send to", sendto(pair[0], "x", 1, 0, (struct sockaddr *)&hidden, sizeof hidden));
}

/* An address of the network, of this host, and of the cloud's secrets. */
static void try_network(char *rest) {
    (void)rest;
    static const struct { const char *ip; int port, type; } tries[] = {
        {"127.0.0.1", 22, SOCK_STREAM}, {"169.254.169.254", 80, SOCK_STREAM}, {"8.8.8.8", 53, SOCK_DGRAM}, {"127.0.0.53", 53, SOCK_DGRAM},
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(tries[i].port), .sin_addr.s_addr = inet_addr(tries[i].ip)};
        int file = socket(AF_INET, tries[i].type, 0);
        /* Without a socket of its own it may still have been lent one. */
        say(tries[i].ip, connect(file < 0 ? 0 : file, (struct sockaddr *)&to, sizeof to));
    }
}

struct clone_arguments {
    unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static long clone_with(int flags) {
    long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    return child;
}

static long clone3_with(unsigned long long flags) {
    struct clone_arguments arguments = {.flags = flags, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0) _exit(0);
    return child;
}

static void try_namespaces(void) {
    static const struct { const char *name; int flag; } kinds[] = {
        {"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC},
        {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char what[60];
        snprintf(what, sizeof what, "unshare %s", kinds[i].name);
        say(what, unshare(kinds[i].flag));
        snprintf(what, sizeof what, "clone %s", kinds[i].name);
        say(what, clone_with(kinds[i].flag));
        snprintf(what, sizeof what, "clone %s above 32 bits", kinds[i].name);
        long child = syscall(SYS_clone, 0xffffffff00000000ul | (unsigned)kinds[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (child == 0) _exit(0);
        say(what, child);
        snprintf(what, sizeof what, "clone3 %s", kinds[i].name);
        say(what, clone3_with(kinds[i].flag));
        snprintf(what, sizeof what, "setns %s", kinds[i].name);
        say(what, setns(0, kinds[i].flag));
    }
    say("unshare time", unshare(0x80));
    say("clone user with a stranger flag", clone_with(CLONE_NEWUSER | CLONE_NEWPID | CLONE_FS));
}

static void try_calls(char *rest) {
    (void)rest;
    char memory[64] = "", handle[128] = "";
    struct iovec here = {memory, sizeof memory}, there = {memory, sizeof memory};
    struct timeval now = {0, 0};
    struct timespec then = {0, 0};
    try_namespaces();
#define TRY(name, ...) say(#name, syscall(SYS_##name, ##__VA_ARGS__))
    TRY(ptrace, PTRACE_ATTACH, 1, 0, 0);
    say("ptrace traceme", syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
    TRY(process_vm_readv, 1, &here, 1, &there, 1, 0);
    TRY(process_vm_writev, 1, &here, 1, &there, 1, 0);
    TRY(kcmp, 1, getpid(), 0, 0, 0);
    TRY(pidfd_getfd, 0, 0, 0);
    TRY(process_madvise, 0, &here, 1, MADV_COLD, 0);
    TRY(process_mrelease, 0, 0);
    TRY(io_uring_setup, 8, memory);
    TRY(io_uring_enter, 0, 1, 0, 0, 0, 0);
    TRY(io_uring_register, 0, 0, 0, 0);
    TRY(bpf, 0, memory, sizeof memory);
    TRY(userfaultfd, 1);
    TRY(add_key, "user", "probe", "x", 1, -3);
    TRY(request_key, "user", "probe", 0, -3);
    TRY(keyctl, 0, -3, 1);
    TRY(mount, "none", "/tmp", "tmpfs", 0, 0);
    say("bind mount", syscall(SYS_mount, "/", "/tmp", 0, MS_BIND, 0));
    say("remount", syscall(SYS_mount, 0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    TRY(umount2, "/proc", MNT_DETACH);
    say("umount the input", syscall(SYS_umount2, "/iexec_in", MNT_DETACH));
    TRY(open_tree, AT_FDCWD, "/", 1);
    TRY(move_mount, 0, "", AT_FDCWD, "/tmp", 4);
    TRY(fsopen, "tmpfs", 0);
    TRY(fsmount, 0, 0, 0);
    TRY(fspick, AT_FDCWD, "/", 0);
    TRY(mount_setattr, AT_FDCWD, "/", 0, memory, 32);
    TRY(chroot, "/tmp");
    TRY(pivot_root, "/tmp", "/tmp");
    TRY(name_to_handle_at, AT_FDCWD, "/", handle, memory, 0);
    TRY(open_by_handle_at, AT_FDCWD, handle, O_RDONLY);
    TRY(perf_event_open, memory, 0, -1, -1, 0);
    TRY(kexec_load, 0, 0, 0, 0);
    TRY(kexec_file_load, -1, -1, 0, 0, 0);
    TRY(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, 0);
    TRY(init_module, memory, sizeof memory, "");
    TRY(finit_module, 0, "", 0);
    TRY(delete_module, "loop", 0);
    TRY(swapon, "/tmp/swap", 0);
    TRY(swapoff, "/tmp/swap");
    TRY(settimeofday, &now, 0);
    TRY(clock_settime, CLOCK_REALTIME, &then);
    TRY(adjtimex, memory);
    TRY(clock_adjtime, CLOCK_REALTIME, memory);
    TRY(sethostname, "owned", 5);
    TRY(setdomainname, "owned", 5);
    TRY(acct, "/tmp/acct");
    TRY(quotactl, 0, 0, 0, 0);
    TRY(syslog, 3, memory, sizeof memory);
    TRY(vhangup);
    TRY(nfsservctl, 0, 0, 0);
    TRY(lookup_dcookie, 0, memory, sizeof memory);
    TRY(fanotify_init, 0, 0);
    TRY(mbind, 0, 0, 0, 0, 0, 0);
    TRY(set_mempolicy, 0, 0, 0);
    TRY(get_mempolicy, 0, 0, 0, 0, 0);
    TRY(migrate_pages, 1, 0, 0, 0);
    TRY(move_pages, 1, 0, 0, 0, 0, 0);
    TRY(ioperm, 0, 1, 1);
    TRY(iopl, 3);
    TRY(modify_ldt, 0, memory, sizeof memory);
    TRY(uselib, "/tmp/x");
    TRY(ustat, 0, memory);
    TRY(sysfs, 1, "proc");
    TRY(memfd_secret, 0);
    TRY(personality, ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC);
    say("TIOCSTI", ioctl(0, TIOCSTI, "x"));
    say("TIOCSTI above 32 bits", syscall(SYS_ioctl, 0, 0xffffffff00000000ul | TIOCSTI, "x"));
    say("TIOCLINUX", ioctl(0, TIOCLINUX, memory));
    say("x32", syscall(0x40000000 | SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
}

/* Its own rights, and whether they grow. */
static void try_rights(char *rest) {
    (void)rest;
    say("setuid 1000", setuid(1000));
    say("setgroups", syscall(SYS_setgroups, 0, NULL));
    say("raise a capability", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
    say("securebits", prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
    say("new privileges again", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("nice", setpriority(0, 0, -20));
    struct sched_param first = {50};
    say("real time", sched_setscheduler(0, SCHED_FIFO, &first));
}

/* Signals to everybody that can be named. */
static void try_kill(char *rest) {
    (void)rest;
    int reached = 0;
    for (int pid = 2; pid < 70000; pid++)
        if (pid != getpid() && kill(pid, 0) == 0) reached++;
    printf("processes that a signal reaches: %d\n", reached);
    say("kill process 1", kill(1, SIGKILL));
    say("stop process 1", kill(1, SIGSTOP));
    say("kill all others", kill(-1, SIGKILL));
    printf("parent %d\n", getppid());
}

static void identity(char *rest) {
    (void)rest;
    struct utsname name;
    cpu_set_t cores;
    uname(&name);
    printf("host %s\n", name.nodename);
    sched_getaffinity(0, sizeof cores, &cores);
    printf("cores %d\n", CPU_COUNT(&cores));
    memset(&cores, 0xff, sizeof cores);
    say("more cores", sched_setaffinity(0, sizeof cores, &cores));
    sched_getaffinity(0, sizeof cores, &cores);
    printf("cores %d\n", CPU_COUNT(&cores));
    printf("user %d %d group %d %d\n", getuid(), geteuid(), getgid(), getegid());
}

const struct command call_commands[] = {
    {"sockets", try_sockets}, {"pair", try_pair}, {"network", try_network}, {"calls", try_calls}, {"rights", try_rights},
    {"kill", try_kill},       {"identity", identity}, {NULL, NULL},
};
