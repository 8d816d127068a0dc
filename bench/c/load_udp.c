/* The load of the datagram bench: it drives every peer in the same way and prints one JSON line.
 *
 *   load_udp echo    --port P --sources N --size S --window W [--segments K]
 *                    closed loop: each source has W datagrams on the way, or W trains of K that leave in one call (GSO)
 *                    and come back however they do (GRO). One whose echo has not come after RETRY_MS is sent anew and
 *                    counted as lost, so that a loss does not stall the loop.
 *   load_udp oneway  --port P --sources N --size S --rate R
 *                    open loop: R datagrams a second, whatever becomes of them. Lost is what the kernel dropped at
 *                    the receiver's socket within the window, and what `vanished` behind it: the receiver is asked
 *                    before and after how many it has taken.
 *
 * Common: --seconds T, --warmup T, --cpu-of PID as in load.c; --from P: the port of the first source, for a server that
 * is connected to it; --spin: echo polls without sleeping (oneway always does). One thread; everything ends by itself. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "datagram.h"

enum {
    EVENTS = 64,
    RETRY_MS = 100,
    SCAN_MS = 10,        /* how often the loop looks for what was lost */
    HEADER_BYTES = 8,    /* slot and sequence, so that a late echo is not taken for the one that is awaited */
    SPREAD = 4,          /* oneway from several sources: that many from one before it is the next one's turn */
    BEHIND_MAX = 1024,   /* oneway: a rate that the load cannot reach is not made up for later */
    ASK_MS = 100,
    ASKS = 50,
};

static struct {
    const char *mode;
    int port, from, sources, window, segments, cpu_of;
    size_t size;
    double seconds, warmup, rate;
    uint64_t messages;
    int spin;
} option = {.sources = 1, .window = 64, .segments = 1, .size = 64, .seconds = 1, .warmup = 0.1, .rate = 100000};

struct slot {
    uint64_t begun_ns;
    uint32_t sequence, missing; /* echoes that have not come; 0: nothing on the way */
};

struct source {
    int fd;
    struct slot *slots;
};

static int epoll_fd, outstanding;
static uint64_t lost, late;
static const char *complaint;
static struct sockaddr_in there;

#include "window.h"

/* ---- sources ---- */

static void open_source(struct source *source, int port) {
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    source->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    source->slots = calloc((size_t)option.window, sizeof *source->slots);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (source->fd < 0 || !source->slots || bind(source->fd, (struct sockaddr *)&here, sizeof here) ||
        connect(source->fd, (struct sockaddr *)&there, sizeof there) ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event))
        fail("source");
    widen(source->fd);
    if (option.segments > 1)
        accept_trains(source->fd);
}

/* ---- echo ---- */

static struct batch out, in;
static char *pattern;

static void flush(struct source *source) {
    for (unsigned done = 0; done < out.count;) {
        int sent = sendmmsg(source->fd, out.messages + done, out.count - done, 0);
        if (sent < 0) {
            errors += errno != EAGAIN; /* such as an ICMP error; either way the slots are tried again */
            break;
        }
        done += (unsigned)sent;
    }
    out.count = 0;
}

static void stage(struct source *source, struct slot *slot, uint64_t now) {
    uint32_t header[2] = {(uint32_t)(slot - source->slots), ++slot->sequence};
    slot->missing = (uint32_t)option.segments;
    slot->begun_ns = now;
    char *to = out.bytes[out.count];
    for (int i = 0; i < option.segments; i++)
        memcpy(to + (size_t)i * option.size, header, HEADER_BYTES);
    if (++out.count == BATCH)
        flush(source);
}

static void take_echo(struct source *source, const char *bytes, size_t size, uint64_t now) {
    uint32_t header[2];
    if (size != option.size || memcmp(bytes + HEADER_BYTES, pattern + HEADER_BYTES, size - HEADER_BYTES)) {
        errors++;
        return;
    }
    memcpy(header, bytes, HEADER_BYTES);
    struct slot *slot = &source->slots[header[0] % (uint32_t)option.window];
    if (slot->sequence != header[1] || !slot->missing) {
        late++;
        return;
    }
    record(now - slot->begun_ns);
    if (--slot->missing)
        return;
    if (draining)
        outstanding--;
    else
        stage(source, slot, now);
}

static void echo_on(struct source *source) {
    reset(&in);
    int got = recvmmsg(source->fd, in.messages, BATCH, 0, NULL);
    if (got < 0)
        errors += errno != EAGAIN;
    uint64_t now = now_ns();
    for (int i = 0; i < got; i++) {
        size_t size = in.messages[i].msg_len, each = segment_bytes(&in.messages[i]);
        for (size_t at = 0; at < size; at += each)
            take_echo(source, in.bytes[i] + at, size - at < each ? size - at : each, now);
    }
    flush(source);
}

static void retry(struct source *all, uint64_t now) {
    for (struct source *source = all; source < all + option.sources; source++) {
        for (struct slot *slot = source->slots; slot < source->slots + option.window; slot++) {
            if (!slot->missing || !passed(now, slot->begun_ns, RETRY_MS / 1e3))
                continue;
            lost += measuring ? slot->missing : 0;
            slot->missing = 0;
            if (draining)
                outstanding--;
            else
                stage(source, slot, now);
        }
        flush(source);
    }
}

static void run_echo(struct source *all) {
    size_t train = option.size * (size_t)option.segments;
    reserve(&out, train);
    reserve(&in, option.segments > 1 ? TRAIN_BYTES : option.size + 1); /* + 1: too long an echo is seen */
    pattern = out.bytes[0];
    for (int i = 0; i < BATCH; i++) {
        for (size_t j = 0; j < train; j++)
            out.bytes[i][j] = (char)(j % option.size * 31);
        fill(&out, (unsigned)i, train, option.segments > 1 ? option.size : 0);
    }
    uint64_t begun = now_ns(), now = begun, scanned = begun, total = 0;
    outstanding = option.sources * option.window;
    for (int i = 0; i < option.sources; i++) {
        for (int j = 0; j < option.window; j++)
            stage(&all[i], &all[i].slots[j], now);
        flush(&all[i]);
    }
    struct epoll_event events[EVENTS];
    for (;;) {
        if (!draining)
            total = completed;
        if (!tick(now, begun))
            break;
        int ready = epoll_wait(epoll_fd, events, EVENTS, option.spin ? 0 : SCAN_MS);
        for (int i = 0; i < ready; i++)
            echo_on(events[i].data.ptr);
        now = now_ns();
        if (passed(now, scanned, SCAN_MS / 1e3)) {
            scanned = now;
            retry(all, now);
        }
    }
    report_messages(total);
    printf("\"lost\": %llu, \"late\": %llu, ", (unsigned long long)lost, (unsigned long long)late);
    report_window();
}

/* ---- one way ---- */

static uint64_t drops_in(struct inet_diag_msg *one, size_t size) {
    uint32_t memory[SK_MEMINFO_VARS];
    for (struct rtattr *at = (struct rtattr *)(one + 1); RTA_OK(at, size); at = RTA_NEXT(at, size)) {
        if (at->rta_type == INET_DIAG_SKMEMINFO && RTA_PAYLOAD(at) >= sizeof memory) {
            memcpy(memory, RTA_DATA(at), sizeof memory);
            return memory[SK_MEMINFO_DROPS];
        }
    }
    return 0;
}

/* How many datagrams the kernel has dropped at the server's socket for want of room. By netlink: the column of
 * /proc/net/udp does not see the counters by NUMA node that Linux 6.18 has. */
static uint64_t dropped(void) {
    static char answer[1 << 16] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } question = {{sizeof question, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0},
                  {.sdiag_family = AF_INET,
                   .sdiag_protocol = IPPROTO_UDP,
                   .idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
                   .idiag_states = ~0u}};
    static int fd = -1;
    if (fd < 0)
        fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    uint64_t count = 0;
    bool found = false;
    if (fd < 0 || send(fd, &question, sizeof question, 0) < 0)
        fail("sock_diag");
    for (;;) {
        ssize_t size = recv(fd, answer, sizeof answer, 0);
        struct nlmsghdr *at = (struct nlmsghdr *)answer;
        if (size <= 0)
            fail("sock_diag");
        for (; NLMSG_OK(at, size); at = NLMSG_NEXT(at, size)) {
            if (at->nlmsg_type == NLMSG_DONE && found)
                return count;
            if (at->nlmsg_type == NLMSG_DONE || at->nlmsg_type == NLMSG_ERROR) {
                complaint = "the server's socket is not among those of the kernel (CONFIG_INET_UDP_DIAG)";
                fail("drops");
            }
            struct inet_diag_msg *one = NLMSG_DATA(at);
            if (one->id.idiag_sport == there.sin_port) {
                found = true;
                count = drops_in(one, at->nlmsg_len - NLMSG_LENGTH(sizeof *one));
            }
        }
    }
}

/* How many datagrams the server says that it has taken: whatever was queued before the question is in it. */
static uint64_t ask(struct source *source) {
    char question[QUESTION_BYTES] = {0}, answer[QUESTION_BYTES + 1] = {0};
    struct pollfd one = {.fd = source->fd, .events = POLLIN};
    while (recv(source->fd, answer, sizeof answer, 0) >= 0) {
        /* the answer to an earlier question, which was asked twice */
    }
    for (int i = 0; i < ASKS; i++) {
        if (send(source->fd, question, sizeof question, 0) == sizeof question && poll(&one, 1, ASK_MS) == 1 &&
            recv(source->fd, answer, sizeof answer, 0) == QUESTION_BYTES) {
            answer[QUESTION_BYTES] = '\0';
            return strtoull(answer, NULL, 10);
        }
    }
    complaint = "no answer";
    fail("count");
    return 0;
}

static unsigned send_some(struct source *source, unsigned count) {
    int sent = sendmmsg(source->fd, out.messages, count, 0);
    if (sent < 0)
        errors += errno != EAGAIN;
    return sent < 0 ? 0 : (unsigned)sent;
}

static void run_oneway(struct source *all) {
    reserve(&out, option.size);
    for (unsigned i = 0; i < BATCH; i++)
        fill(&out, i, option.size, 0);
    unsigned most = option.sources > 1 ? SPREAD : BATCH;
    uint64_t counted = ask(all), drops_before = dropped(), drops_begin = drops_before, sent = 0;
    uint64_t begun = now_ns(), now = begun, due_from = begun, since = 0, in_window = 0;
    for (unsigned turn = 0;; now = now_ns()) {
        bool was = measuring;
        if (!tick(now, begun))
            break;
        if (measuring && !was)
            drops_begin = dropped();
        double due = (double)(now - due_from) * option.rate / 1e9 - (double)since;
        if (due > BEHIND_MAX) {
            due_from = now;
            since = 0;
        }
        if (due < 1)
            continue;
        unsigned count = send_some(&all[turn++ % (unsigned)option.sources], due < most ? (unsigned)due : most);
        since += count;
        sent += count;
        in_window += measuring ? count : 0;
    }
    uint64_t drops_end = dropped();
    uint64_t arrived = sent - (drops_end - drops_before), taken = ask(all) - counted;
    double vanished = arrived > taken ? (double)(arrived - taken) : 0;
    errors += taken > arrived ? taken - arrived : 0; /* one that counts what was never sent */
    double lost_in_window = (double)(drops_end - drops_begin) + vanished * (double)in_window / (double)sent;
    report_messages(lost_in_window < (double)in_window ? in_window - (uint64_t)lost_in_window : 0);
    printf("\"sent_per_second\": %.1f, \"loss\": %.6f, \"vanished\": %.0f, ",
           (double)in_window / ((double)(window_end_ns - window_begin_ns) / 1e9), lost_in_window / (double)in_window,
           vanished);
    report_window();
}

/* ---- the command line ---- */

static void parse(int count, char **arguments) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'},     {"from", 1, 0, 'f'},    {"sources", 1, 0, 'n'}, {"size", 1, 0, 's'},
        {"seconds", 1, 0, 't'},  {"warmup", 1, 0, 'w'},  {"window", 1, 0, 'o'},  {"segments", 1, 0, 'k'},
        {"rate", 1, 0, 'r'},     {"cpu-of", 1, 0, 'u'},  {"spin", 0, &option.spin, 1}, {0, 0, 0, 0}};
    for (int name; (name = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (name) {
        case 'p': option.port = atoi(optarg); break;
        case 'f': option.from = atoi(optarg); break;
        case 'n': option.sources = atoi(optarg); break;
        case 's': option.size = strtoull(optarg, NULL, 10); break;
        case 't': option.seconds = atof(optarg); break;
        case 'w': option.warmup = atof(optarg); break;
        case 'o': option.window = atoi(optarg); break;
        case 'k': option.segments = atoi(optarg); break;
        case 'r': option.rate = atof(optarg); break;
        case 'u': option.cpu_of = atoi(optarg); break;
        case 0: break; /* a flag */
        default: exit(2);
        }
    }
    option.mode = optind < count ? arguments[optind] : "";
    there = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)option.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (option.sources < 1 || option.window < 1 || option.segments < 1 || option.size <= QUESTION_BYTES ||
        option.size * (size_t)option.segments > TRAIN_BYTES || option.rate < 1) {
        fprintf(stderr, "load: a size of %d bytes at least, %d by train at most; the others at least 1\n",
                QUESTION_BYTES + 1, TRAIN_BYTES);
        exit(2);
    }
}

int main(int count, char **arguments) {
    parse(count, arguments);
    struct source *all = calloc((size_t)option.sources, sizeof *all);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!all || epoll_fd < 0)
        fail("start");
    for (int i = 0; i < option.sources; i++)
        open_source(&all[i], i ? 0 : option.from);
    if (!strcmp(option.mode, "echo"))
        run_echo(all);
    else if (!strcmp(option.mode, "oneway"))
        run_oneway(all);
    else {
        fprintf(stderr, "load: the mode is echo or oneway\n");
        return 2;
    }
    return 0;
}
