/* The one load generator of all benches: it drives every peer in the same way and prints one JSON line.
 *
 *   load echo  --port P --connections N --size S [--seconds T | --messages M]   closed loop, one message outstanding each
 *   load churn --port P --connections K --size S [--seconds T | --messages M]   connect, echo one message, close; K in flight
 *   load idle  --port P --connections N --size S      open N, echo one message on each, hold until stdin ends
 *   load stall --port P --connections N --hello silent|half|whole   open N, send that much of a ClientHello, hold likewise
 *   load download --port P --size S     ask once, as HTTP does, and count what comes until the end: S bytes at least
 *   load upload   --port P --size S     send S bytes, and wait for one in return
 *   load version                        what TLS comes from
 *   load bulk  --size S --seconds T --direction forward|back|both
 *              opens the far end itself, prints its port, reads "PORT PID" of the relay from stdin, then pumps through it
 *
 * Common: --host A, --warmup T (not measured), --cpu-of PID (the CPU time of that process within the measured window),
 * --spin (poll without sleeping: more load, the server pays for no wake-ups; never with the server on the same core).
 * server_waited and load_waited are the shares of the window in which that process and this one were ready to run and
 * did not, stolen is what a hypervisor kept of their two cores: with a core for each, the figures are worth nothing
 * unless all three are near 0.
 * Built with -DTLS, all but bulk speak TLS 1.3 (load_tls.h) with --group and --signature; churn with --size 0 then
 * exchanges nothing but the handshake and the ends.
 * One thread, edge-triggered epoll. Everything ends by itself: a hung server yields few messages, not a hung bench. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 1024,
    BUFFER_BYTES = 1 << 20,
    SETUP_MS = 5000,       /* one connect and first echo may take this long */
    VERIFY_BYTES = 16384,  /* up to this size every echo is compared; above it the first of each connection */
    SOURCES = 64,          /* churn leaves from 127.0.0.1..64: one address runs out of ports (TIME_WAIT) within seconds */
};

static struct {
    const char *mode, *host, *direction, *hello, *group, *signature;
    int port, connections, cpu_of;
    size_t size;
    double seconds, warmup;
    uint64_t messages;
    int spin;
} option = {.host = "127.0.0.1", .direction = "forward", .hello = "whole", .group = "X25519", .signature = "ed25519",
            .connections = 1, .size = 64, .seconds = 1, .warmup = 0.1};

struct connection {
    int fd;
    struct ssl_st *tls; /* NULL in the plain build, and before the handshake */
    size_t sent, got;
    uint64_t begun_ns;
    bool verified, idle;
};

static char *message, *buffer;
static int epoll_fd, outstanding;
static struct sockaddr_in there;

static const char *complaint; /* of TLS; NULL: errno says it */

#include "window.h"

/* ---- how bytes move ---- */

#ifdef TLS
#include "load_tls.h"
#else

enum { RECORDS = 0 };

static void prepare_transport(void) {}

static const char *transport_version(void) { return "none"; }

static int secure(struct connection *connection) {
    (void)connection;
    return 1;
}

static ssize_t put(struct connection *connection, const char *bytes, size_t size) {
    return send(connection->fd, bytes, size, MSG_NOSIGNAL);
}

/* Unless they are kept, the kernel drops the bytes instead of copying them; the load must not be what is measured. */
static ssize_t take(struct connection *connection, char *bytes, size_t size, bool keep) {
    return recv(connection->fd, bytes, size, keep ? 0 : MSG_TRUNC);
}

static int part(struct connection *connection) {
    (void)connection;
    return 1;
}

static void hang_up(struct connection *connection) {
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
}

static size_t client_hello(char *to, size_t room) {
    (void)to, (void)room;
    return 0;
}

#endif

static void report(uint64_t total) {
    report_messages(total);
    report_window();
}

/* ---- one connection ---- */

static int wait_for(int fd, short events) {
    struct pollfd one = {.fd = fd, .events = events};
    return poll(&one, 1, SETUP_MS) == 1 ? 0 : -1;
}

static int open_connection(bool spread) {
    static unsigned opened;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (spread) {
        struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened++ % SOURCES)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&here, sizeof here))
            goto refused;
    }
    if (!connect(fd, (struct sockaddr *)&there, sizeof there) || errno == EINPROGRESS)
        return fd;
refused:
    close(fd);
    return -1;
}

static int watch(struct connection *connection) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event);
}

/* 0: all sent, or the kernel is full and will say when it is not; -1: broken. */
static int send_more(struct connection *connection) {
    int ready = secure(connection);
    if (ready != 1)
        return ready;
    while (connection->sent < option.size) {
        ssize_t sent = put(connection, message + connection->sent, option.size - connection->sent);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->sent += (size_t)sent;
    }
    return 0;
}

/* 1: the whole echo is here; 0: not yet; -1: broken, ended or not what was sent. */
static int receive_more(struct connection *connection) {
    while (connection->got < option.size) {
        size_t wanted = option.size - connection->got;
        if (wanted > BUFFER_BYTES)
            wanted = BUFFER_BYTES;
        bool verify = option.size <= VERIFY_BYTES || !connection->verified;
        ssize_t got = take(connection, buffer, wanted, verify);
        if (got < 0)
            return errno == EAGAIN ? 0 : -1;
        if (got == 0 || (verify && memcmp(buffer, message + connection->got, (size_t)got)))
            return -1;
        connection->got += (size_t)got;
        if ((size_t)got < wanted && !RECORDS)
            return 0; /* a short read of a stream empties it; a record says nothing about the next one */
    }
    connection->verified = true;
    return 1;
}

static int begin_message(struct connection *connection, uint64_t now) {
    connection->sent = connection->got = 0;
    connection->begun_ns = now;
    return send_more(connection);
}

static void give_up(struct connection *connection) {
    errors++;
    outstanding--;
    hang_up(connection);
}

static void open_plain(struct connection *connection) {
    connection->fd = open_connection(false);
    if (connection->fd < 0 || wait_for(connection->fd, POLLOUT))
        fail("connect");
}

static void open_secured(struct connection *connection) {
    open_plain(connection);
    for (int state; (state = secure(connection)) != 1;)
        if (state < 0 || wait_for(connection->fd, POLLIN))
            fail("handshake");
}

/* Connected, and one verified echo done: the server's handler exists and no accept queue ever overflows. */
static void open_proven(struct connection *connection) {
    open_secured(connection);
    if (option.size && begin_message(connection, 0))
        fail("first message");
    for (int state; option.size && (state = receive_more(connection)) != 1;)
        if (state < 0 || send_more(connection) ||
            wait_for(connection->fd, connection->sent < option.size ? POLLIN | POLLOUT : POLLIN))
            fail("first echo");
}

/* ---- modes ---- */

static void echo_on(struct connection *connection, uint64_t *now) {
    if (connection->fd < 0 || connection->idle)
        return;
    int state = send_more(connection) ? -1 : receive_more(connection);
    if (state == 1) {
        *now = now_ns();
        record(*now - connection->begun_ns);
        if (draining) {
            connection->idle = true;
            outstanding--;
        } else if (begin_message(connection, *now))
            state = -1;
    }
    if (state < 0)
        give_up(connection);
}

static void run_echo(struct connection *all) {
    for (int i = 0; i < option.connections; i++)
        open_proven(&all[i]);
    uint64_t begun = now_ns(), now = begun, total = 0;
    struct epoll_event events[EVENTS];
    outstanding = option.connections;
    for (int i = 0; i < option.connections; i++)
        if (watch(&all[i]) || begin_message(&all[i], now_ns()))
            give_up(&all[i]);
    for (;;) {
        if (!draining)
            total = completed;
        if (!tick(now, begun) || !outstanding)
            break;
        int ready = epoll_wait(epoll_fd, events, EVENTS, option.spin ? 0 : 100);
        now = now_ns();
        for (int i = 0; i < ready; i++)
            echo_on(events[i].data.ptr, &now);
    }
    report(total);
    for (int i = 0; i < option.connections; i++)
        if (all[i].fd >= 0)
            part(&all[i]); /* otherwise a TLS server has to call the end a broken connection */
}

static void churn_begin(struct connection *connection) {
    connection->fd = open_connection(true);
    connection->verified = false;
    /* On loopback the handshake is mostly over when connect() returns: sending at once saves a wake-up. */
    if (connection->fd < 0 || watch(connection) || begin_message(connection, now_ns()))
        give_up(connection);
}

/* 1: done; 0: not yet; -1: broken. */
static int exchange(struct connection *connection) {
    if (option.size)
        return send_more(connection) ? -1 : receive_more(connection);
    int ready = secure(connection);
    return ready == 1 ? part(connection) : ready;
}

static void churn_on(struct connection *connection, uint64_t *now) {
    if (connection->fd < 0)
        return;
    int state = exchange(connection);
    if (state == 0)
        return;
    if (state < 0) {
        give_up(connection);
    } else {
        hang_up(connection);
        *now = now_ns();
        record(*now - connection->begun_ns);
        outstanding--;
    }
    if (!draining && errors < ERRORS_MAX) {
        outstanding++;
        churn_begin(connection);
    }
}

static void run_churn(struct connection *all) {
    uint64_t begun = now_ns(), now = begun, total = 0;
    struct epoll_event events[EVENTS];
    outstanding = option.connections;
    for (int i = 0; i < option.connections; i++)
        churn_begin(&all[i]);
    for (;;) {
        if (!draining)
            total = completed;
        if (!tick(now, begun) || !outstanding)
            break;
        int ready = epoll_wait(epoll_fd, events, EVENTS, option.spin ? 0 : 100);
        now = now_ns();
        for (int i = 0; i < ready; i++)
            churn_on(events[i].data.ptr, &now);
    }
    report(total);
}

/* Until stdin ends. The second line counts the connections that the other end has closed by then. */
static void hold(struct connection *all) {
    char sink[256];
    int lost = 0;
    printf("{\"mode\": \"%s\", \"connections\": %d}\n", option.mode, option.connections);
    fflush(stdout);
    while (read(STDIN_FILENO, sink, sizeof sink) > 0) {
    }
    for (int i = 0; i < option.connections; i++) {
        struct pollfd one = {.fd = all[i].fd, .events = POLLRDHUP};
        lost += poll(&one, 1, 0) != 0;
    }
    printf("{\"mode\": \"%s\", \"connections\": %d, \"lost\": %d}\n", option.mode, option.connections, lost);
}

static void run_idle(struct connection *all) {
    for (int i = 0; i < option.connections; i++)
        open_proven(&all[i]);
    hold(all);
}

static void run_stall(struct connection *all) {
    bool half = !strcmp(option.hello, "half"), whole = !strcmp(option.hello, "whole");
    size_t bytes = half || whole ? client_hello(buffer, BUFFER_BYTES) : 0;
    if (half)
        bytes /= 2;
    for (int i = 0; i < option.connections; i++) {
        open_plain(&all[i]);
        if (send(all[i].fd, buffer, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
            fail("ClientHello");
    }
    for (int i = 0; whole && i < option.connections; i++)
        if (wait_for(all[i].fd, POLLIN))
            fail("ServerHello");
    hold(all);
}

/* One end of a bulk transfer: bytes go in at `from` and are counted where they come out, at `to`. */
struct flow {
    int from, to;
    bool active;
};

/* A few calls a turn, so that neither end starves the other; false: both ends must wait. */
static bool pump(struct flow *flow) {
    bool moved = false;
    for (int i = 0; i < 4; i++) {
        ssize_t sent = send(flow->from, message, option.size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            fail("bulk send");
        if (sent < (ssize_t)option.size)
            break;
        moved = true;
    }
    for (int i = 0; i < 4; i++) {
        ssize_t got = recv(flow->to, buffer, BUFFER_BYTES, MSG_TRUNC);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0)
            fail("bulk receive");
        completed += (uint64_t)got;
        moved = true;
    }
    return moved;
}

static void report_bulk(void) {
    double seconds = (double)(window_end_ns - window_begin_ns) / 1e9, gigabytes = (double)completed / 1e9;
    printf("{\"mode\": \"%s\", \"bytes\": %llu, \"gbit_per_second\": %.4f, \"cpu_ms_per_gigabyte\": %.3f, ",
           option.mode, (unsigned long long)completed, gigabytes * 8 / seconds,
           gigabytes > 0 ? (double)(cpu_end_ns - cpu_begin_ns) / 1e6 / gigabytes : 0.0);
    report_window();
}

static void run_bulk(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = 0;
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, length) || listen(listener, 16) ||
        getsockname(listener, (struct sockaddr *)&here, &length))
        fail("listen");
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    if (scanf("%d %d", &port, &option.cpu_of) != 2)
        fail("the relay's port and process on stdin");
    there.sin_port = htons((uint16_t)port);

    struct connection near = {.fd = open_connection(false)}, far = {.fd = -1};
    if (near.fd < 0 || wait_for(near.fd, POLLOUT) || wait_for(listener, POLLIN))
        fail("connect through the relay");
    far.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (far.fd < 0 || watch(&near) || watch(&far))
        fail("accept from the relay");

    struct flow forward = {near.fd, far.fd, strcmp(option.direction, "back") != 0};
    struct flow back = {far.fd, near.fd, strcmp(option.direction, "forward") != 0};
    struct epoll_event events[4];
    uint64_t begun = now_ns();
    while (tick(now_ns(), begun)) {
        bool moved = forward.active && pump(&forward);
        moved |= back.active && pump(&back);
        if (!moved)
            epoll_wait(epoll_fd, events, 4, 100);
    }
    report_bulk();
}

static void send_all(struct connection *connection, const char *bytes, size_t size) {
    while (size) {
        ssize_t sent = put(connection, bytes, size);
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno != EAGAIN || wait_for(connection->fd, POLLOUT)) {
            fail("send");
        }
    }
}

/* What came; 0: the end. */
static size_t receive_some(struct connection *connection) {
    for (;;) {
        ssize_t got = take(connection, buffer, BUFFER_BYTES, false);
        if (got >= 0)
            return (size_t)got;
        if (errno != EAGAIN || wait_for(connection->fd, POLLIN))
            fail("receive");
    }
}

static void run_download(struct connection *connection) {
    static const char request[] = "GET /bulk HTTP/1.0\r\n\r\n"; /* so that a web server can be asked, too */
    open_secured(connection);
    open_window();
    send_all(connection, request, sizeof request - 1);
    for (size_t got; (got = receive_some(connection));)
        completed += got;
    close_window();
    if (completed < option.size) {
        fprintf(stderr, "load: %llu bytes came instead of %zu\n", (unsigned long long)completed, option.size);
        exit(1);
    }
    report_bulk();
}

static void run_upload(struct connection *connection) {
    open_secured(connection);
    open_window();
    while (completed < option.size) {
        size_t rest = option.size - completed, size = rest < BUFFER_BYTES ? rest : BUFFER_BYTES;
        send_all(connection, buffer, size);
        completed += size;
    }
    if (!receive_some(connection)) { /* the whole was taken, not only queued */
        errno = ECONNRESET;
        fail("upload");
    }
    close_window();
    report_bulk();
}

/* ---- the command line ---- */

static void parse(int count, char **arguments) {
    static const struct option names[] = {
        {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},   {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'},
        {"seconds", 1, 0, 't'}, {"warmup", 1, 0, 'w'}, {"messages", 1, 0, 'm'},    {"cpu-of", 1, 0, 'u'},
        {"direction", 1, 0, 'd'}, {"hello", 1, 0, 'l'}, {"group", 1, 0, 'g'}, {"signature", 1, 0, 'k'},
        {"spin", 0, &option.spin, 1}, {0, 0, 0, 0}};
    for (int name; (name = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (name) {
        case 'h': option.host = optarg; break;
        case 'p': option.port = atoi(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 's': option.size = strtoull(optarg, NULL, 10); break;
        case 't': option.seconds = atof(optarg); break;
        case 'w': option.warmup = atof(optarg); break;
        case 'm': option.messages = strtoull(optarg, NULL, 10); break;
        case 'u': option.cpu_of = atoi(optarg); break;
        case 'd': option.direction = optarg; break;
        case 'l': option.hello = optarg; break;
        case 'g': option.group = optarg; break;
        case 'k': option.signature = optarg; break;
        case 0: break; /* a flag */
        default: exit(2);
        }
    }
    option.mode = optind < count ? arguments[optind] : "";
    there = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    if (option.connections < 1 || inet_pton(AF_INET, option.host, &there.sin_addr) != 1) {
        fprintf(stderr, "load: --connections is at least 1 and --host an IPv4 address\n");
        exit(2);
    }
}

int main(int count, char **arguments) {
    parse(count, arguments);
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    bool transfer = !strcmp(option.mode, "download") || !strcmp(option.mode, "upload");
    struct connection *all = calloc((size_t)option.connections, sizeof *all);
    message = malloc(transfer ? 1 : option.size + 1); /* a transfer is sent from the buffer */
    buffer = calloc(1, BUFFER_BYTES);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!all || !message || !buffer || epoll_fd < 0)
        fail("start");
    for (size_t i = 0; i < option.size && !transfer; i++)
        message[i] = (char)(i * 31 + (i >> 8));
    prepare_transport();

    if (!strcmp(option.mode, "echo"))
        run_echo(all);
    else if (!strcmp(option.mode, "churn"))
        run_churn(all);
    else if (!strcmp(option.mode, "idle"))
        run_idle(all);
    else if (!strcmp(option.mode, "bulk"))
        run_bulk();
    else if (!strcmp(option.mode, "stall"))
        run_stall(all);
    else if (!strcmp(option.mode, "download"))
        run_download(all);
    else if (!strcmp(option.mode, "upload"))
        run_upload(all);
    else if (!strcmp(option.mode, "version"))
        puts(transport_version());
    else {
        fprintf(stderr, "load: the mode is echo, churn, idle, stall, download, upload, bulk or version\n");
        return 2;
    }
    return 0;
}
