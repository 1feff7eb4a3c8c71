/* What the parts of the tests' program share. */
#ifndef PROBE_H
#define PROBE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* A command: its name, and what is done with the rest of its line. */
struct command {
    const char *name;
    void (*run)(char *rest);
};

extern const struct command file_commands[], call_commands[], bomb_commands[], fact_commands[],
    reach_commands[];

/* Cuts the next word off. */
char *word(char **rest);
/* Prints how a try ended: `done`, or the error's name. */
void say(const char *what, long result);
void make_folders(const char *path);

#endif
