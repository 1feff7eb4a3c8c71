/* Too much of everything. */
#include "probe.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MIB (1ul << 20)

static void spin(char *rest) {
    (void)rest;
    fflush(stdout);
    for (volatile unsigned long i = 0;; i++) {}
}

/* Forks for as long as the host lets it; the children stay. Then it waits, so that it is seen. */
static void fork_bomb(char *rest) {
    int made = 0;
    fflush(stdout);
    while (made < 100000) {
        pid_t child = fork();
        if (child == 0) {
            for (;;) pause();
        }
        if (child < 0) break;
        made++;
    }
    say("fork", -1);
    printf("forked %s\n", made < 600 ? "less than 600" : "TOO MANY");
    (void)rest;
}

/* Every child forks too, and nobody ever stops. */
static void fork_for_ever(char *rest) {
    (void)rest;
    fflush(stdout);
    for (;;) fork();
}

/* A child that ends at once, again and again: many to be reaped, few at a time. */
static void fork_and_end(char *rest) {
    (void)rest;
    fflush(stdout);
    for (int i = 0; i < 8; i++) {
        if (fork() != 0) continue;
        for (;;) {
            pid_t child = fork();
            if (child == 0) {
                /* An orphan: process 1 has to reap it. */
                fork();
                _exit(0);
            }
            waitpid(-1, NULL, WNOHANG);
        }
    }
    for (;;) pause();
}

static void *wait_for_ever(void *none) {
    for (;;) pause();
    return none;
}

static void thread_bomb(char *rest) {
    (void)rest;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    int made = 0, error = 0;
    pthread_t thread;
    while (made < 100000 && !(error = pthread_create(&thread, &small, wait_for_ever, NULL))) made++;
    printf("threads: %s, %s\n", made < 600 ? "less than 600" : "TOO MANY", strerrorname_np(error));
}

static void *touched(void *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 4096) ((char *)at)[i] = 1;
    return at;
}

static void malloc_bomb(char *rest) {
    unsigned long most = strtoul(rest, NULL, 10), taken = 0;
    void *at;
    while (taken < most && (at = malloc(MIB))) {
        touched(at, MIB);
        taken++;
    }
    printf("malloc: %s\n", taken < most ? "refused" : "ALL GIVEN");
}

/* Memory that is shared with nobody, or with all: no process is charged for it by limits of its own. */
static void shared_bomb(char *rest) {
    unsigned long most = strtoul(rest, NULL, 10);
    fflush(stdout);
    for (unsigned long taken = 0; taken < most; taken += 16) {
        void *at = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) {
            say("shared", -1);
            return;
        }
        touched(at, 16 * MIB);
        /* The pages stay; that they are ours is not to be seen any more. */
        madvise(at, 16 * MIB, MADV_DONTNEED);
    }
    printf("shared: ALL GIVEN\n");
}

static void memfd_bomb(char *rest) {
    unsigned long most = strtoul(rest, NULL, 10);
    static char block[1 << 20];
    memset(block, 1, sizeof block);
    fflush(stdout);
    int file = memfd_create("bomb", 0);
    if (file < 0) {
        say("memfd", -1);
        return;
    }
    for (unsigned long taken = 0; taken < most; taken++)
        if (write(file, block, sizeof block) < (ssize_t)sizeof block) {
            say("memfd", -1);
            return;
        }
    printf("memfd: ALL GIVEN\n");
}

static void sysv_bomb(char *rest) {
    unsigned long most = strtoul(rest, NULL, 10);
    fflush(stdout);
    for (unsigned long taken = 0; taken < most; taken += 16) {
        int segment = shmget(IPC_PRIVATE, 16 * MIB, 0600);
        void *at = segment < 0 ? (void *)-1 : shmat(segment, NULL, 0);
        if (at == (void *)-1) {
            say("sysv", -1);
            return;
        }
        touched(at, 16 * MIB);
        shmdt(at);
    }
    printf("sysv: ALL GIVEN\n");
}

/* Many processes, none of which has much. */
static void many_bomb(char *rest) {
    unsigned long each = strtoul(word(&rest), NULL, 10), processes = strtoul(rest, NULL, 10);
    fflush(stdout);
    for (unsigned long i = 0; i < processes; i++)
        if (fork() == 0) {
            void *at = mmap(NULL, each * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (at != MAP_FAILED) touched(at, each * MIB);
            for (;;) pause();
        }
    for (;;) pause();
}

/* A child that is killed for memory, and a parent that goes on as if nothing had been. */
static void child_bomb(char *rest) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        shared_bomb(rest);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("the child ended with %d\n", status);
}

/* Messages that nobody takes: memory of the kernel. */
static void message_bomb(char *rest) {
    (void)rest;
    static struct { long kind; char text[8192]; } message = {1, ""};
    unsigned long bytes = 0;
    for (int queues = 0; queues < 100000; queues++) {
        int queue = msgget(IPC_PRIVATE, 0600);
        if (queue < 0) break;
        while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) bytes += sizeof message.text;
    }
    printf("messages: %s\n", bytes < 32 * MIB ? "less than 32 MiB" : "TOO MANY");
}

/* Pipes and pairs full of bytes: memory of the kernel. */
static void pipe_bomb(char *rest) {
    (void)rest;
    int opened = 0, pair[2];
    while (opened < 100000 && pipe2(pair, O_NONBLOCK) == 0) opened += 2;
    say("pipes", -1);
    printf("pipes: %s\n", opened < 5000 ? "less than 5000" : "TOO MANY");
}

/* Writes until no more goes. */
static void fill(char *path) {
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    make_folders(path);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    unsigned long bytes = 0;
    ssize_t count = 0;
    while (file >= 0 && bytes < (8ul << 30) && (count = write(file, block, sizeof block)) > 0) bytes += count;
    printf("fill");
    say("", count > 0 ? 0 : -1);
    if (file >= 0) close(file);
}

static void stdout_bomb(char *rest) {
    (void)rest;
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    unsigned long bytes = 0;
    ssize_t count;
    while (bytes < (8ul << 30) && (count = write(1, block, sizeof block)) > 0) bytes += count;
    fprintf(stderr, "stdout ended with %s\n", strerrorname_np(errno));
}

static void stderr_bomb(char *rest) {
    static char line[1000];
    memset(line, 'e', sizeof line);
    line[sizeof line - 1] = '\n';
    for (unsigned long bytes = 0; bytes < strtoul(rest, NULL, 10) * MIB; bytes += sizeof line)
        if (write(2, line, sizeof line) < 0) return;
    fprintf(stderr, "the end\n");
}

/* Files of one byte, as many as go. */
static void many_files(char *rest) {
    char *folder = word(&rest);
    long most = atol(rest), made = 0;
    char path[4096];
    snprintf(path, sizeof path, "%s/", folder);
    make_folders(path);
    int file = 0;
    for (; made < most; made++) {
        snprintf(path, sizeof path, "%s/%ld", folder, made);
        file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (file < 0 || write(file, "x", 1) < 0) break;
        close(file);
    }
    printf("files");
    say("", made < most ? -1 : 0);
}

static void sparse(char *rest) {
    char *path = word(&rest);
    make_folders(path);
    int file = open(path, O_WRONLY | O_CREAT, 0644);
    printf("sparse");
    say("", ftruncate(file, atoll(rest)));
    close(file);
}

static void deep(char *rest) {
    char *start = word(&rest);
    long depth = atol(rest), made = 0;
    make_folders(start);
    mkdir(start, 0755);
    if (chdir(start) < 0) say("chdir", -1);
    for (; made < depth && mkdir("d", 0755) == 0 && chdir("d") == 0; made++) {}
    int file = open("bottom", O_WRONLY | O_CREAT, 0644);
    if (file >= 0) close(file);
    if (chdir("/") < 0) exit(9);
    printf("deep: %s\n", made < depth ? "refused" : "done");
}

/* Twice forked, a session of its own, deaf to signals: what a service does to outlive who started it. */
static void daemon_(char *rest) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() > 0) _exit(0);
        for (int number = 1; number < 65; number++) signal(number, SIG_IGN);
        for (int file = 0; file < 3; file++) close(file);
        make_folders(rest);
        for (unsigned long beat = 0;; beat++) {
            int file = open(rest, O_WRONLY | O_CREAT | O_APPEND, 0644);
            if (file >= 0) {
                if (write(file, ".", 1) < 0) _exit(0);
                close(file);
            }
            usleep(1000);
        }
    }
    waitpid(child, NULL, 0);
    printf("daemon started\n");
}

/* Descriptors under way in a pair, past those that a process may have. */
static void flight_bomb(char *rest) {
    (void)rest;
    int pair[2], sent = 0, carried = open("/dev/null", O_RDONLY);
    while (sent < 100000) {
        if (sent % 64 == 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) < 0) break;
        char byte = 'x', space[CMSG_SPACE(sizeof carried)] = "";
        struct iovec bytes = {&byte, 1};
        struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof carried);
        memcpy(CMSG_DATA(head), &carried, sizeof carried);
        if (sendmsg(pair[0], &message, 0) < 0 && errno != EAGAIN) break;
        sent++;
    }
    printf("descriptors under way: %s\n", sent < 20000 ? "less than 20000" : "TOO MANY");
}

const struct command bomb_commands[] = {
    {"spin", spin},           {"fork-bomb", fork_bomb},     {"fork-for-ever", fork_for_ever}, {"fork-and-end", fork_and_end},
    {"thread-bomb", thread_bomb}, {"malloc-bomb", malloc_bomb}, {"shared-bomb", shared_bomb}, {"memfd-bomb", memfd_bomb},
    {"sysv-bomb", sysv_bomb}, {"many-bomb", many_bomb},     {"child-bomb", child_bomb},       {"message-bomb", message_bomb},
    {"pipe-bomb", pipe_bomb}, {"fill", fill},               {"stdout-bomb", stdout_bomb},     {"stderr-bomb", stderr_bomb},
    {"files", many_files},    {"sparse", sparse},           {"deep", deep},                   {"daemon", daemon_},
    {"flight-bomb", flight_bomb}, {NULL, NULL},
};
