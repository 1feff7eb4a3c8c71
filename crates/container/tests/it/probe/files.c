/* Files: what can be read, written, linked and found. */
#include "probe.h"
#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

/* %41 is A: paths that no command line could hold. */
static char *plain(char *text) {
    char *to = text;
    for (char *from = text; *from; from++) {
        unsigned byte;
        if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1) {
            *to++ = (char)byte;
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
    return text;
}

static void cat(char *path) {
    static char buffer[65536];
    int file = open(path, O_RDONLY);
    if (file < 0) {
        say("cat", -1);
        return;
    }
    fflush(stdout);
    ssize_t count;
    while ((count = read(file, buffer, sizeof buffer)) > 0)
        if (write(1, buffer, count) != count) exit(9);
    if (count < 0) say("cat", -1);
    close(file);
}

/* Whether a path can be read: a folder by being listed. */
static void can_read(char *path) {
    char byte;
    int file = open(path, O_RDONLY | O_NONBLOCK);
    long result = file;
    if (file >= 0) {
        struct stat stat;
        fstat(file, &stat);
        if (!S_ISDIR(stat.st_mode)) result = read(file, &byte, 1);
        close(file);
    }
    printf("read ");
    say(path, result);
}

static void write_file(char *rest) {
    char *path = plain(word(&rest));
    make_folders(path);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, rest, strlen(rest)) < 0) say("write", -1);
    if (file >= 0) close(file);
}

/* Whether a new file can be made in a folder, or a byte be written to an old one. */
static void can_write(char *path) {
    char name[4096];
    struct stat stat_;
    int is_folder = stat(path, &stat_) == 0 && S_ISDIR(stat_.st_mode);
    snprintf(name, sizeof name, is_folder ? "%s/written-by-the-probe" : "%s", path);
    int file = open(name, O_WRONLY | O_NONBLOCK | (is_folder ? O_CREAT : 0), 0644);
    long result = file < 0 ? -1 : write(file, "x", 1);
    int error = errno;
    if (file >= 0) close(file);
    if (file >= 0 && is_folder) unlink(name);
    errno = error;
    printf("write ");
    say(path, result);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(char *path) {
    DIR *dir = opendir(path);
    if (!dir) {
        say("list", -1);
        return;
    }
    static char *names[100000];
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) && count < 100000)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names[count++] = strdup(entry->d_name);
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    printf("list %s:", path);
    for (int i = 0; i < count; i++) {
        printf(" %s", names[i]);
        free(names[i]);
    }
    printf("\n");
}

static void make_symlink(char *rest) {
    char *target = word(&rest);
    make_folders(plain(rest));
    if (symlink(target, rest) < 0) say("symlink", -1);
}

static void make_link(char *rest) {
    char *from = word(&rest);
    printf("link %s", from);
    say("", link(from, plain(rest)));
}

static void make_fifo(char *path) {
    if (mkfifo(plain(path), 0644) < 0) say("mkfifo", -1);
}

static void make_folder(char *path) {
    path = plain(path);
    make_folders(path);
    if (mkdir(path, 0755) < 0) say("mkdir", -1);
}

static void change_mode(char *rest) {
    char *mode = word(&rest);
    if (chmod(rest, strtol(mode, NULL, 8)) < 0) say("chmod", -1);
}

static void remove_it(char *path) {
    if (remove(path) < 0) say("remove", -1);
}

static void move_it(char *rest) {
    char *from = word(&rest);
    if (rename(from, rest) < 0) say("rename", -1);
}

static void tell_of(char *path) {
    struct stat stat;
    if (lstat(path, &stat) < 0) {
        say("stat", -1);
        return;
    }
    printf("stat %s: %o %u:%u %ld\n", path, stat.st_mode, stat.st_uid, stat.st_gid, (long)stat.st_size);
}

static void read_link(char *path) {
    char target[4096];
    ssize_t count = readlink(path, target, sizeof target - 1);
    if (count < 0) {
        say("readlink", -1);
        return;
    }
    target[count] = 0;
    printf("readlink %s: %s\n", path, target);
}

/* Device nodes: of a disk and of memory. */
static void devices(char *rest) {
    (void)rest;
    static const struct { const char *name; mode_t kind; int major, minor; } tries[] = {
        {"/tmp/disk", S_IFBLK, 8, 0}, {"/tmp/vda", S_IFBLK, 254, 0}, {"/tmp/mem", S_IFCHR, 1, 1}, {"/tmp/kmsg", S_IFCHR, 1, 11},
        {"/tmp/null", S_IFCHR, 1, 3},
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        long result = mknod(tries[i].name, tries[i].kind | 0666, makedev(tries[i].major, tries[i].minor));
        if (result == 0) result = open(tries[i].name, O_RDONLY | O_NONBLOCK);
        printf("device ");
        say(tries[i].name, result);
    }
}

/* Every descriptor past the three. */
static void descriptors(char *rest) {
    (void)rest;
    int found = 0;
    for (int number = 3; number < 65536; number++)
        if (fcntl(number, F_GETFD) >= 0) {
            printf("descriptor %d is open\n", number);
            found++;
        }
    printf("descriptors past 2: %d\n", found);
}

/* Up and out: the same folder must be met again, whatever is tried. */
static void upwards(char *rest) {
    (void)rest;
    struct stat root, here;
    stat("/", &root);
    int old = open("/", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 200; i++)
        if (chdir("..") < 0) break;
    stat(".", &here);
    printf("up: %s\n", here.st_ino == root.st_ino && here.st_dev == root.st_dev ? "still inside" : "OUT");
    mkdir("/tmp/jail", 0755);
    say("chroot", chroot("/tmp/jail"));
    if (fchdir(old) < 0) say("fchdir", -1);
    for (int i = 0; i < 200; i++)
        if (chdir("..") < 0) break;
    stat(".", &here);
    printf("up after chroot: %s\n", here.st_ino == root.st_ino && here.st_dev == root.st_dev ? "still inside" : "OUT");
    close(old);
}

/* What every other process of this /proc shows to us. */
static void others(char *rest) {
    (void)rest;
    static const char *const files[] = {"mem", "environ", "maps", "root/etc", "cwd/etc", "exe", "fd", "fd/0", "map_files", "auxv"};
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    int seen = 0, open_ = 0;
    while (dir && (entry = readdir(dir))) {
        int pid = atoi(entry->d_name);
        if (!pid || pid == getpid()) continue;
        seen++;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            char path[300];
            snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
            int file = open(path, O_RDONLY | O_NONBLOCK);
            if (file < 0) continue;
            char byte;
            struct stat stat;
            fstat(file, &stat);
            /* Files that open and do not read are no loss. */
            if (S_ISDIR(stat.st_mode) || read(file, &byte, 1) > 0) {
                printf("open: %s\n", path);
                open_++;
            }
            close(file);
        }
    }
    if (dir) closedir(dir);
    printf("others: %d seen, %d files of theirs open\n", seen, open_);
}

const struct command file_commands[] = {
    {"cat", cat},           {"read", can_read},       {"write", write_file},   {"can-write", can_write}, {"list", list},
    {"symlink", make_symlink}, {"link", make_link},   {"fifo", make_fifo},     {"mkdir", make_folder},   {"chmod", change_mode},
    {"remove", remove_it},  {"rename", move_it},      {"stat", tell_of},       {"readlink", read_link},  {"devices", devices},
    {"descriptors", descriptors}, {"upwards", upwards}, {"others", others},    {NULL, NULL},
};
