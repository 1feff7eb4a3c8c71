/* The program of the tests: each argument is a command, done in order; a failure is printed with its number in words, and is no
 * end. What it tries is what a hostile task would try. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *word(char **rest) {
    char *start = *rest;
    char *end = strchr(start, ' ');
    if (end) {
        *end = 0;
        *rest = end + 1;
    } else {
        *rest = start + strlen(start);
    }
    return start;
}

static void say(const char *what, long result) {
    printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
}

static void make_folders(const char *path) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *at = copy + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(copy, 0755);
        *at = '/';
    }
}

static int print_file(const char *path) {
    static char buffer[65536];
    int file = open(path, O_RDONLY);
    if (file < 0) return -1;
    fflush(stdout);
    ssize_t count;
    while ((count = read(file, buffer, sizeof buffer)) > 0)
        if (write(1, buffer, count) != count) exit(9);
    close(file);
    return (int)count;
}

int main(int count, char **commands) {
    for (int i = 1; i < count; i++) {
        char *rest = commands[i];
        char *name = word(&rest);
        if (!strcmp(name, "echo")) {
            printf("%s\n", rest);
        } else if (!strcmp(name, "log")) {
            fprintf(stderr, "%s\n", rest);
        } else if (!strcmp(name, "cat")) {
            if (print_file(rest) < 0) say("cat", -1);
        } else if (!strcmp(name, "write")) {
            char *path = word(&rest);
            make_folders(path);
            int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
            if (file < 0 || write(file, rest, strlen(rest)) < 0) say("write", -1);
            if (file >= 0) close(file);
        } else {
            fprintf(stderr, "no command %s\n", name);
            return 99;
        }
    }
    return 0;
}
