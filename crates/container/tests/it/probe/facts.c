/* What a program can find out about where it is: what is the same everywhere, and what is not. */
#include "probe.h"
#include <dirent.h>
#include <limits.h>
#include <locale.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

static void hexadecimal(const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) printf("%02x", bytes[i]);
    printf("\n");
}

/* Names in the order in which the kernel tells them, or with the numbers of what they name. */
static void read_folder(char *path, int with_numbers) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    printf("%s:", path);
    while (dir && (entry = readdir(dir))) {
        struct stat stat;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        printf(" %s", entry->d_name);
        if (with_numbers && fstatat(dirfd(dir), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0)
            printf("=%lu", (unsigned long)stat.st_ino);
    }
    printf("\n");
    if (dir) closedir(dir);
}

static void order(char *path) { read_folder(path, 0); }

static void numbers(char *path) { read_folder(path, 1); }

static void times(char *path) {
    struct stat stat;
    if (lstat(path, &stat) < 0) {
        say("times", -1);
        return;
    }
    printf("times %s: modified %ld.%09ld changed %ld.%09ld\n", path, stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec, stat.st_ctim.tv_sec,
           stat.st_ctim.tv_nsec);
}

/* Numbers of processes, users and descriptors. */
static void who(char *rest) {
    (void)rest;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
    int first = open("/dev/null", O_RDONLY), ends[2];
    if (pipe(ends) < 0) say("pipe", -1);
    gid_t groups[32];
    printf("process %d of %d, group %d, session %d, child %d\n", getpid(), getppid(), getpgrp(), getsid(0), child);
    printf("user %d %d, group %d %d, groups %d\n", getuid(), geteuid(), getgid(), getegid(), getgroups(32, groups));
    printf("descriptors %d %d %d\n", first, ends[0], ends[1]);
    close(first);
    close(ends[0]);
    close(ends[1]);
}

static void machine(char *rest) {
    (void)rest;
    struct utsname name;
    cpu_set_t cores;
    uname(&name);
    sched_getaffinity(0, sizeof cores, &cores);
    printf("host %s, domain %s, machine %s, system %s\n", name.nodename, name.domainname, name.machine, name.sysname);
    printf("cores that it may use %d, page %ld, ticks %ld\n", CPU_COUNT(&cores), sysconf(_SC_PAGESIZE), sysconf(_SC_CLK_TCK));
}

static void cores_online(char *rest) {
    (void)rest;
    printf("cores online %ld, there %ld\n", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
}

static void core(char *rest) {
    (void)rest;
    printf("core %d\n", sched_getcpu());
}

static void kernel(char *rest) {
    (void)rest;
    struct utsname name;
    struct sysinfo info = {0};
    uname(&name);
    sysinfo(&info);
    printf("kernel %s %s, memory %lu\n", name.release, name.version, info.totalram);
}

/* Masks, limits, priorities, signals: what a program inherits. */
static void inherited(char *rest) {
    (void)rest;
    mode_t mask = umask(0);
    umask(mask);
    printf("umask %03o, nice %d, policy %d\n", mask, getpriority(PRIO_PROCESS, 0), sched_getscheduler(0));
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        if (getrlimit(resource, &limit) == 0) printf("limit %d: %ld %ld\n", resource, (long)limit.rlim_cur, (long)limit.rlim_max);
    }
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int signal = 1; signal < 32; signal++) {
        struct sigaction action;
        sigaction(signal, NULL, &action);
        if (sigismember(&blocked, signal) || action.sa_handler != SIG_DFL) printf("signal %d is not as ever\n", signal);
    }
    for (int number = 0; number < 3; number++) {
        struct stat stat;
        if (fstat(number, &stat) == 0) printf("file %d: %o flags %o terminal %d\n", number, stat.st_mode, fcntl(number, F_GETFL), isatty(number));
    }
}

static void place(char *rest) {
    (void)rest;
    time_t zero = 0;
    char text[64];
    strftime(text, sizeof text, "%Y-%m-%d %H:%M %Z", localtime(&zero));
    printf("1970 began at %s, locale %s\n", text, setlocale(LC_ALL, ""));
}

/* Where everything lies: lines of the kernel's list without the numbers of files. */
static void layout(char *rest) {
    (void)rest;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[PATH_MAX + 100], range[64], rights[8], name[PATH_MAX];
    while (maps && fgets(line, sizeof line, maps)) {
        name[0] = 0;
        if (sscanf(line, "%63s %7s %*s %*s %*s %4095s", range, rights, name) >= 2 && name[0] != '[') printf("%s %s %s\n", range, rights, name);
        else if (!strcmp(name, "[stack]") || !strcmp(name, "[heap]")) printf("%s ends at %s\n", name, strchr(range, '-') + 1);
    }
    if (maps) fclose(maps);
}

static void room(char *path) {
    struct statfs stat;
    if (statfs(path, &stat) < 0) say("room", -1);
    else printf("room %s: kind %lx block %ld blocks %lu names %ld\n", path, (long)stat.f_type, (long)stat.f_bsize, (long)stat.f_blocks, (long)stat.f_namelen);
}

static void clocks(char *rest) {
    (void)rest;
    struct timespec wall, up;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &up);
    printf("clocks %ld.%09ld %ld.%09ld\n", wall.tv_sec, wall.tv_nsec, up.tv_sec, up.tv_nsec);
}

static void random_bytes(char *rest) {
    unsigned char bytes[16] = {0};
    if (*rest) {
        int file = open(rest, O_RDONLY);
        if (file < 0 || read(file, bytes, sizeof bytes) < 0) say("random", -1);
        close(file);
    } else if (getrandom(bytes, sizeof bytes, 0) < 0) {
        say("random", -1);
    }
    hexadecimal(bytes, sizeof bytes);
}

/* The sixteen bytes that the kernel gives each program for its stack's guard and its hash tables. */
static void start_random(char *rest) {
    (void)rest;
    hexadecimal((const unsigned char *)getauxval(AT_RANDOM), 16);
}

static void start_values(char *rest) {
    (void)rest;
    printf("page %lu, ticks %lu, secure %lu, user %lu, program %s\n", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK), getauxval(AT_SECURE),
           getauxval(AT_UID), (const char *)getauxval(AT_EXECFN));
}

static void features(char *rest) {
    (void)rest;
    printf("features %lx %lx\n", getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
}

const struct command fact_commands[] = {
    {"order", order},       {"numbers", numbers},     {"times", times},       {"who", who},
    {"machine", machine},   {"core", core},           {"cores-online", cores_online}, {"kernel", kernel},       {"inherited", inherited}, {"place", place},
    {"layout", layout},     {"room", room},           {"clocks", clocks},     {"random", random_bytes},
    {"start-random", start_random}, {"start-values", start_values}, {"features", features}, {NULL, NULL},
};
