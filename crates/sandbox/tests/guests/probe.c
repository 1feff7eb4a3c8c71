/* A guest for the sandbox's tests: carries out the commands given as arguments, one after the other, and prints what
 * came of each. Every command is one argument: a verb and its operands, separated by spaces.
 * Build: see README.md in this folder. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char word[4][4200];

static int split(const char *text) {
    int count = 0;
    while (*text && count < 4) {
        size_t length = count == 3 ? strlen(text) : strcspn(text, " ");
        if (length >= sizeof word[0]) length = sizeof word[0] - 1;
        memcpy(word[count], text, length);
        word[count++][length] = 0;
        text += length;
        while (*text == ' ') text++;
    }
    for (int i = count; i < 4; i++) word[i][0] = 0;
    return count;
}

static void say(int outcome) {
    if (outcome < 0) printf("%s %s: %s\n", word[0], word[1], strerror(errno));
    else printf("%s %s: ok\n", word[0], word[1]);
}

static void cat(const char *path) {
    char buffer[4096];
    int fd = open(path, O_RDONLY);
    if (fd < 0) return say(-1);
    printf("cat %s: ", path);
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, (size_t)got, stdout);
    if (got < 0) printf("%s", strerror(errno));
    printf("\n");
    close(fd);
}

static void put(const char *path, const char *text, int flags) {
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);
    if (fd < 0) return say(-1);
    ssize_t put = write(fd, text, strlen(text));
    say(put < 0 ? -1 : close(fd));
}

static void ls(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return say(-1);
    printf("ls %s:", path);
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir))) printf(" %s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
    printf(errno ? " %s\n" : "\n", strerror(errno));
    closedir(dir);
}

static void show_stat(const char *path) {
    struct stat s;
    if (stat(path, &s) < 0) return say(-1);
    printf("stat %s: %s size %lld links %d mtime %lld inode %llx\n", path, S_ISDIR(s.st_mode) ? "dir" : "file",
           (long long)s.st_size, (int)s.st_nlink, (long long)s.st_mtim.tv_sec, (unsigned long long)s.st_ino);
}

static void many(const char *prefix, int count) {
    char name[64];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s%d", prefix, i);
        int fd = open(name, O_WRONLY | O_CREAT, 0644);
        if (fd < 0) return say(-1);
        close(fd);
    }
    say(0);
}

/* Appends `count` blocks of 64 KiB to a file. */
static void blocks(const char *path, long count) {
    static char block[65536];
    memset(block, 'x', sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) return say(-1);
    for (long i = 0; i < count; i++)
        if (write(fd, block, sizeof block) < 0) return say(-1);
    say(close(fd));
}

static void seeks(const char *path) {
    char buffer[16] = {0};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return say(-1);
    write(fd, "0123456789", 10);
    long end = lseek(fd, 0, SEEK_CUR);
    long back = lseek(fd, -4, SEEK_END);
    read(fd, buffer, 2);
    pwrite(fd, "AB", 2, 1);
    long here = lseek(fd, 0, SEEK_CUR);
    char front[5] = {0};
    pread(fd, front, 4, 0);
    int before = lseek(fd, -1, SEEK_SET) < 0 ? errno : 0;
    ftruncate(fd, 20);
    struct stat s;
    fstat(fd, &s);
    printf("seeks: end %ld back %ld read %s here %ld front %s before-start %s size %lld\n", end, back, buffer, here,
           front, strerror(before), (long long)s.st_size);
    close(fd);
}

static void clocks(void) {
    struct timespec wall, mono, later;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &mono);
    struct timespec nap = {5, 0};
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &later);
    printf("clocks: %lld.%09ld %lld.%09ld later %lld.%09ld\n", (long long)wall.tv_sec, wall.tv_nsec,
           (long long)mono.tv_sec, mono.tv_nsec, (long long)later.tv_sec, later.tv_nsec);
}

static void randoms(void) {
    unsigned char bytes[8];
    getentropy(bytes, sizeof bytes);
    printf("random:");
    for (size_t i = 0; i < sizeof bytes; i++) printf(" %02x", bytes[i]);
    printf("\n");
}

/* Names in a folder that is being emptied while it is read. */
static void empty(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return say(-1);
    struct dirent *entry;
    char name[600];
    int removed = 0;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) == 0) removed++;
    }
    closedir(dir);
    printf("empty %s: %d removed\n", path, removed);
}

/* A removed file can be used for as long as it is open. */
static void ghost(const char *path) {
    char buffer[8] = {0};
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    if (fd < 0) return say(-1);
    write(fd, "ghost", 5);
    unlink(path);
    lseek(fd, 0, SEEK_SET);
    read(fd, buffer, 5);
    printf("ghost %s: %s, then %s\n", path, buffer, access(path, F_OK) < 0 ? strerror(errno) : "there");
    close(fd);
}

static void polls(void) {
    struct pollfd fds[2] = {{0, POLLIN, 0}, {1, POLLOUT, 0}};
    int ready = poll(fds, 2, 1000);
    printf("polls: %d %d %d\n", ready, fds[0].revents != 0, fds[1].revents != 0);
}

static void opens(const char *path, int count) {
    int i = 0;
    while (i < count && open(path, O_RDONLY) >= 0) i++;
    printf("opens %s: %d %s\n", path, i, i < count ? strerror(errno) : "ok");
}

/* Asks for memory and uses its last byte; a plain malloc would be optimised away. */
static void grow(size_t bytes) {
    char *volatile memory = malloc(bytes);
    if (!memory) return say(-1);
    memory[bytes - 1] = 1;
    say(0);
}

static void run(const char *command) {
    split(command);
    const char *verb = word[0];
    if (!strcmp(verb, "cat")) cat(word[1]);
    else if (!strcmp(verb, "put")) put(word[1], word[2], O_TRUNC);
    else if (!strcmp(verb, "add")) put(word[1], word[2], O_APPEND);
    else if (!strcmp(verb, "new")) put(word[1], word[2], O_EXCL);
    else if (!strcmp(verb, "ls")) ls(word[1]);
    else if (!strcmp(verb, "stat")) show_stat(word[1]);
    else if (!strcmp(verb, "mkdir")) say(mkdir(word[1], 0755));
    else if (!strcmp(verb, "rmdir")) say(rmdir(word[1]));
    else if (!strcmp(verb, "rm")) say(unlink(word[1]));
    else if (!strcmp(verb, "mv")) say(rename(word[1], word[2]));
    else if (!strcmp(verb, "ln")) say(link(word[1], word[2]));
    else if (!strcmp(verb, "symlink")) say(symlink(word[2], word[1]));
    else if (!strcmp(verb, "truncate")) say(truncate(word[1], atol(word[2])));
    else if (!strcmp(verb, "many")) many(word[1], atoi(word[2]));
    else if (!strcmp(verb, "blocks")) blocks(word[1], atol(word[2]));
    else if (!strcmp(verb, "seeks")) seeks(word[1]);
    else if (!strcmp(verb, "clocks")) clocks();
    else if (!strcmp(verb, "random")) randoms();
    else if (!strcmp(verb, "empty")) empty(word[1]);
    else if (!strcmp(verb, "ghost")) ghost(word[1]);
    else if (!strcmp(verb, "polls")) polls();
    else if (!strcmp(verb, "opens")) opens(word[1], atoi(word[2]));
    else if (!strcmp(verb, "touch-stdin")) printf("stdin: %d\n", getchar());
    else if (!strcmp(verb, "complain")) fprintf(stderr, "%s %s\n", word[1], word[2]);
    else if (!strcmp(verb, "getenv")) printf("%s=%s\n", word[1], getenv(word[1]) ? getenv(word[1]) : "(none)");
    else if (!strcmp(verb, "env")) for (char **e = environ; *e; e++) printf("%s\n", *e);
    else if (!strcmp(verb, "grow")) grow((size_t)atol(word[1]));
    else if (!strcmp(verb, "abort")) abort();
    else if (!strcmp(verb, "exit")) exit(atoi(word[1]));
    else if (!strcmp(verb, "null")) printf("%s\n", *(char *volatile *)0x7fffff00);
    else if (!strcmp(verb, "spin")) for (volatile unsigned i = 0;; i++) {}
    else if (!strcmp(verb, "echo")) printf("%s %s %s\n", word[1], word[2], word[3]);
    else printf("%s?\n", verb);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) run(argv[i]);
    return fflush(stdout) ? 1 : 0;
}
