/* The program of the tests: each argument is a command, done in order; a failure is printed with its number in words, and is no
 * end. What it tries is what a hostile task would try. */
#include "probe.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

char *word(char **rest) {
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

void say(const char *what, long result) {
    const char *name = strerrorname_np(errno);
    printf("%s: %s\n", what, result < 0 ? (name ? name : "?") : "done");
}

void make_folders(const char *path) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *at = copy + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(copy, 0755);
        *at = '/';
    }
}

static void echo(char *rest) { printf("%s\n", rest); }

static void log_it(char *rest) { fprintf(stderr, "%s\n", rest); }

static void leave(char *rest) { exit(atoi(rest)); }

static void by_signal(char *rest) {
    fflush(stdout);
    kill(getpid(), atoi(rest));
    pause();
}

static void take_a_nap(char *rest) {
    fflush(stdout);
    long ms = atol(rest);
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR) {}
}

static void where(char *rest) {
    (void)rest;
    char path[4096];
    if (syscall(SYS_getcwd, path, sizeof path) < 0) say("cwd", -1);
    else printf("cwd %s\n", path);
}

extern char **environ;

static void variables(char *rest) {
    (void)rest;
    for (char **variable = environ; *variable; variable++) printf("%s\n", *variable);
}

/* Runs another program and prints how it ended; `-` for no words. */
static void run_program(char *rest) {
    char *words[16], *path;
    int count = 0;
    for (char *each = strtok(rest, " "); each && count < 15; each = strtok(NULL, " ")) words[count++] = each;
    words[count] = NULL;
    path = words[0];
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        say("fork", -1);
        return;
    }
    if (child == 0) {
        execv(path, words);
        say("exec", -1);
        fflush(stdout);
        _exit(126);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("killed by %d\n", WTERMSIG(status));
    else printf("exited %d\n", WEXITSTATUS(status));
}

/* Where things lie in memory. */
static void addresses(char *rest) {
    int on_the_stack;
    printf("%p %p %p\n", (void *)addresses, (void *)&on_the_stack, malloc(10));
    (void)rest;
}

static const struct command basic_commands[] = {
    {"echo", echo},   {"log", log_it},     {"exit", leave},     {"signal", by_signal},      {"sleep", take_a_nap},
    {"cwd", where},   {"env", variables},  {"run", run_program}, {"addresses", addresses},  {NULL, NULL},
};

static int run(const struct command *commands, const char *name, char *rest) {
    for (; commands->name; commands++) {
        if (strcmp(commands->name, name)) continue;
        commands->run(rest);
        return 1;
    }
    return 0;
}

int main(int count, char **commands) {
    for (int i = 1; i < count; i++) {
        char *rest = commands[i];
        char *name = word(&rest);
        if (!run(basic_commands, name, rest) && !run(file_commands, name, rest) && !run(call_commands, name, rest)
            && !run(bomb_commands, name, rest) && !run(fact_commands, name, rest) && !run(reach_commands, name, rest)) {
            fprintf(stderr, "no command %s\n", name);
            return 99;
        }
        fflush(stdout);
    }
    return 0;
}
