// The load of bench/capture.py: UDP in IPv4 frames onto an interface, by sendmmsg from a packet socket past the queue of
// the interface, at a rate or as fast as it goes.
//
// flood INTERFACE COUNT RATE FRAME_BYTES; RATE 0: no limit. Prints how many were sent, and in how many seconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SMALLEST = 60, LARGEST = 1514, PORT = 9999 };

struct headers {
    struct ether_header ether;
    struct iphdr ip;
    struct udphdr udp;
    unsigned number;
} __attribute__((packed));

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static unsigned short ip_checksum(const void *header) {
    const unsigned char *bytes = header;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(struct iphdr); i += 2) sum += bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return htons(~sum);
}

static void fill(char *frame, size_t size) {
    // To nobody: the other end's stack looks at the address, and drops it.
    struct headers headers = {
        .ether = {{2, 0, 0, 0, 0, 0x99}, {2, 0, 0, 0, 0, 1}, htons(ETHERTYPE_IP)},
        .ip = {.ihl = 5, .version = 4, .tot_len = htons(size - sizeof(struct ether_header)), .ttl = 64,
               .protocol = IPPROTO_UDP, .saddr = htonl(0xc0000201), .daddr = htonl(0xc0000202)},
        .udp = {.source = htons(PORT), .dest = htons(PORT),
                .len = htons(size - sizeof(struct ether_header) - sizeof(struct iphdr))},
    };
    headers.ip.check = ip_checksum(&headers.ip);
    memcpy(frame, &headers, sizeof headers);
}

int main(int count_of_words, char **words) {
    if (count_of_words != 5) {
        fprintf(stderr, "flood INTERFACE COUNT RATE FRAME_BYTES\n");
        return 2;
    }
    long count = atol(words[2]);
    double rate = atof(words[3]);
    size_t size = atol(words[4]);
    if (size > LARGEST || size < SMALLEST) {
        fprintf(stderr, "flood: a frame has %d to %d bytes\n", SMALLEST, LARGEST);
        return 2;
    }
    int fd = socket(AF_PACKET, SOCK_RAW, 0), yes = 1;
    if (fd < 0) fail("socket");
    if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes) < 0) fail("PACKET_QDISC_BYPASS");
    struct sockaddr_ll on = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(words[1])};
    if (!on.sll_ifindex) fail(words[1]);
    if (bind(fd, (struct sockaddr *)&on, sizeof on) < 0) fail("bind");

    static char frames[BATCH][LARGEST];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        fill(frames[i], size);
        parts[i] = (struct iovec){frames[i], size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    double begun = now();
    long sent = 0;
    while (sent < count) {
        int batch = count - sent < BATCH ? (int)(count - sent) : BATCH;
        for (int i = 0; i < batch; i++) {
            unsigned number = htonl(sent + i);
            memcpy(frames[i] + offsetof(struct headers, number), &number, sizeof number);
        }
        int done = sendmmsg(fd, messages, batch, 0);
        if (done < 0 && (errno == EINTR || errno == ENOBUFS)) continue;
        if (done < 0) fail("sendmmsg");
        sent += done;
        if (rate > 0) {
            double ahead = sent / rate - (now() - begun);
            // Short waits are spun: a sleep takes 50 us longer than it is asked for.
            if (ahead > 2e-4) usleep((useconds_t)((ahead - 1e-4) * 1e6));
            while (sent / rate > now() - begun) continue;
        }
    }
    printf("%ld %.6f\n", sent, now() - begun);
    return 0;
}
