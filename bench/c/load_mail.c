/* The load of the mail bench: it drives every peer in the same way and prints one JSON line.
 *
 *   load_mail kept   --port P --connections N --size S    closed loop: mail after mail on each connection, no pipelining
 *   load_mail fresh  --port P --connections N --size S    a connection for each mail, N at once: connect to 221
 *
 * Common: --seconds T, --warmup T, --cpu-of PID as in load.c. One thread; everything ends by itself. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    REPLY_BYTES = 4096,
    SOURCES = 64, /* fresh leaves from 127.0.0.1..64: one address runs out of ports (TIME_WAIT) within seconds */
};

static struct {
    const char *mode;
    int port, connections, cpu_of;
    size_t size;
    double seconds, warmup;
    uint64_t messages;
} option = {.connections = 1, .size = 1024, .seconds = 1, .warmup = 0.2};

enum step { GREETING, HELLO, MAIL, RCPT, DATA, CONTENT, QUIT };

struct connection {
    int fd;
    enum step step;
    size_t got;
    uint64_t begun_ns;
    char reply[REPLY_BYTES];
};

static int epoll_fd, outstanding;
static unsigned opened;
static const char *complaint;
static struct sockaddr_in there;
static char *content;
static size_t content_bytes;

#include "window.h"

static const char *const COMMANDS[] = {
    [GREETING] = "EHLO load.example\r\n",
    [HELLO] = "MAIL FROM:<ann@load.example>\r\n",
    [MAIL] = "RCPT TO:<bob@load.example>\r\n",
    [RCPT] = "DATA\r\n",
};
static const char EXPECTED[] = {[GREETING] = '2', [HELLO] = '2', [MAIL] = '2',   [RCPT] = '2',
                                [DATA] = '3',     [CONTENT] = '2', [QUIT] = '2'};

static void open_connection(struct connection *one) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened++ % SOURCES)};
    int on = 1;
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    one->step = GREETING;
    one->got = 0;
    one->begun_ns = now_ns();
    setsockopt(one->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (one->fd < 0 || bind(one->fd, (struct sockaddr *)&here, sizeof here) ||
        connect(one->fd, (struct sockaddr *)&there, sizeof there) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, one->fd, &event))
        fail("connect");
}

/* Small enough for the kernel's buffer, which is empty: the server has answered everything before. */
static bool say(struct connection *one, const char *bytes, size_t count) {
    return send(one->fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count;
}

static bool stop(struct connection *one) {
    close(one->fd);
    one->fd = -1;
    outstanding--;
    return true;
}

static bool begin_mail(struct connection *one) {
    one->begun_ns = now_ns();
    one->step = MAIL;
    return say(one, COMMANDS[HELLO], strlen(COMMANDS[HELLO]));
}

/* A whole reply has come; false when it is not the one that was expected. */
static bool answer(struct connection *one, char code) {
    if (code != EXPECTED[one->step])
        return false;
    bool fresh = !strcmp(option.mode, "fresh");
    switch (one->step) {
    case GREETING:
        one->step = HELLO;
        return say(one, COMMANDS[GREETING], strlen(COMMANDS[GREETING]));
    case HELLO:
        if (fresh) {
            one->step = MAIL;
            return say(one, COMMANDS[HELLO], strlen(COMMANDS[HELLO]));
        }
        return begin_mail(one);
    case MAIL:
        one->step = RCPT;
        return say(one, COMMANDS[MAIL], strlen(COMMANDS[MAIL]));
    case RCPT:
        one->step = DATA;
        return say(one, COMMANDS[RCPT], strlen(COMMANDS[RCPT]));
    case DATA:
        one->step = CONTENT;
        return say(one, content, content_bytes);
    case CONTENT:
        if (!fresh) {
            record(now_ns() - one->begun_ns);
            return draining ? stop(one) : begin_mail(one);
        }
        one->step = QUIT;
        return say(one, "QUIT\r\n", 6);
    case QUIT:
        record(now_ns() - one->begun_ns);
        close(one->fd);
        if (draining) {
            one->fd = -1;
            outstanding--;
        } else
            open_connection(one);
        return true;
    }
    return false;
}

static void hear(struct connection *one) {
    ssize_t got = recv(one->fd, one->reply + one->got, REPLY_BYTES - one->got, 0);
    if (got <= 0) {
        errors++;
        close(one->fd);
        if (draining)
            outstanding--;
        else
            open_connection(one);
        return;
    }
    one->got += (size_t)got;
    if (one->got < 2 || one->reply[one->got - 1] != '\n')
        return;
    /* The last line of a reply has a space behind its code. */
    size_t line = one->got - 1;
    while (line && one->reply[line - 1] != '\n')
        line--;
    if (one->got - line < 4 || one->reply[line + 3] == '-')
        return;
    char code = one->reply[line];
    one->got = 0;
    if (!answer(one, code)) {
        complaint = "an answer that was not expected";
        errors++;
        close(one->fd);
        if (draining)
            outstanding--;
        else
            open_connection(one);
    }
}

static void make_content(void) {
    static const char head[] = "From: Ann <ann@load.example>\r\nTo: bob@load.example\r\nSubject: a mail of the bench\r\n"
                               "Date: Mon, 2 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@load.example>\r\n\r\n";
    content = malloc(option.size + sizeof head + 128);
    if (!content)
        fail("memory");
    content_bytes = sizeof head - 1;
    memcpy(content, head, content_bytes);
    while (content_bytes < option.size) {
        memset(content + content_bytes, 'x', 70);
        memcpy(content + content_bytes + 70, "\r\n", 2);
        content_bytes += 72;
    }
    memcpy(content + content_bytes, ".\r\n", 3);
    content_bytes += 3;
}

static void run(void) {
    struct connection *all = calloc((size_t)option.connections, sizeof *all);
    if (!all)
        fail("memory");
    uint64_t begun = now_ns(), now = begun, total = 0;
    outstanding = option.connections;
    for (int i = 0; i < option.connections; i++)
        open_connection(&all[i]);
    struct epoll_event events[EVENTS];
    for (;;) {
        if (!draining)
            total = completed;
        if (!tick(now, begun))
            break;
        int ready = epoll_wait(epoll_fd, events, EVENTS, 10);
        for (int i = 0; i < ready; i++)
            hear(events[i].data.ptr);
        now = now_ns();
    }
    report_messages(total);
    report_window();
}

int main(int count, char **words) {
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},    {"connections", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 's'},    {"seconds", required_argument, NULL, 't'},
        {"warmup", required_argument, NULL, 'w'},  {"cpu-of", required_argument, NULL, 'u'},
        {NULL, 0, NULL, 0},
    };
    for (int found; (found = getopt_long(count, words, "", known, NULL)) != -1;) {
        switch (found) {
        case 'p': option.port = atoi(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 's': option.size = strtoul(optarg, NULL, 10); break;
        case 't': option.seconds = atof(optarg); break;
        case 'w': option.warmup = atof(optarg); break;
        case 'u': option.cpu_of = atoi(optarg); break;
        default: return 2;
        }
    }
    option.mode = optind < count ? words[optind] : "";
    if ((strcmp(option.mode, "kept") && strcmp(option.mode, "fresh")) || option.connections < 1 || option.size > 32768) {
        fprintf(stderr, "load: the mode is kept or fresh, --connections at least 1, --size at most 32768\n");
        return 2;
    }
    there = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        fail("epoll");
    make_content();
    run();
    return 0;
}
