/* Sockets to the way out, and devices that were given. */
#include "probe.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

static long connected(const char *ip, int port, int type) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(ip)};
    int file = socket(AF_INET, type, 0);
    if (file < 0 || connect(file, (struct sockaddr *)&to, sizeof to) < 0) return -1;
    return file;
}

/* Says something at a port of its own loopback, and prints all that comes back. %41 is A. */
static void talk(char *rest) {
    int port = atoi(word(&rest));
    static char text[4096], answer[65536];
    size_t length = 0;
    for (char *at = rest; *at && length < sizeof text; at++) {
        unsigned byte = (unsigned char)*at;
        if (*at == '%' && sscanf(at + 1, "%2x", &byte) == 1) at += 2;
        text[length++] = (char)byte;
    }
    long file = connected("127.0.0.1", port, SOCK_STREAM);
    if (file < 0) {
        say("talk", -1);
        return;
    }
    if (send(file, text, length, MSG_NOSIGNAL) < 0) say("send", -1);
    shutdown(file, SHUT_WR);
    fflush(stdout);
    ssize_t count;
    while ((count = read(file, answer, sizeof answer)) > 0)
        if (write(1, answer, count) != count) exit(9);
    if (count < 0) say("answer", -1);
    printf("\n");
    close(file);
}

/* As `talk`, but hears for ever and keeps nothing. */
static void hear(char *rest) {
    int port = atoi(word(&rest));
    static char answer[65536];
    char text[200];
    int length = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\n\r\n", rest);
    long file = connected("127.0.0.1", port, SOCK_STREAM);
    if (file < 0 || send(file, text, length, MSG_NOSIGNAL) < 0) say("hear", -1);
    while (file >= 0 && read(file, answer, sizeof answer) > 0) {}
}

static void reach(char *rest) {
    const char *ip = word(&rest);
    int port = atoi(rest);
    char what[100];
    snprintf(what, sizeof what, "tcp %s %d", ip, port);
    say(what, connected(ip, port, SOCK_STREAM));
    snprintf(what, sizeof what, "udp %s %d", ip, port);
    say(what, connected(ip, port, SOCK_DGRAM));
}

/* Sockets that can be made, by family, kind and protocol. */
static void kinds(char *rest) {
    (void)rest;
    static const int protocols[] = {0, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_RAW, 262};
    for (int family = 0; family < 64; family++)
        for (int kind = 0; kind < 16; kind++)
            for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
                int file = socket(family, kind, protocols[i]);
                if (file < 0) continue;
                printf("socket %d %d %d\n", family, kind, protocols[i]);
                close(file);
            }
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in any = {.sin_family = AF_INET};
    say("flags", file);
    say("bind", bind(file, (struct sockaddr *)&any, sizeof any));
    say("listen", listen(file, 1));
}

static void device(char *path) {
    int file = open(path, O_RDWR);
    struct stat stat;
    int waiting = 0;
    if (file < 0 || fstat(file, &stat) < 0) {
        say(path, -1);
        return;
    }
    printf("%s is %u:%u\n", path, major(stat.st_rdev), minor(stat.st_rdev));
    say("ioctl", ioctl(file, FIONREAD, &waiting));
    char byte = 1;
    say("read", read(file, &byte, 1));
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    say("mmap", memory == MAP_FAILED ? -1 : 0);
    close(file);
}

static void limits(char *rest) {
    (void)rest;
    struct rlimit data, locked;
    getrlimit(RLIMIT_DATA, &data);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    printf("data %lld, locked %lld\n", (long long)data.rlim_cur, (long long)locked.rlim_cur);
}

const struct command reach_commands[] = {
    {"talk", talk},     {"hear", hear},   {"reach", reach}, {"kinds", kinds},
    {"device", device}, {"limits", limits}, {NULL, NULL},
};
