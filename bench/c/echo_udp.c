/* The floor under every datagram server: recvmmsg and sendmmsg, one thread, no loop.
 *
 *   echo_udp batch    echoes, up to 64 a call
 *   echo_udp gro      the same, and segments of one peer in trains: UDP_GRO in, UDP_SEGMENT out
 *   echo_udp sink     counts, and answers a question for the count */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include "datagram.h"

static void fail(const char *operation) {
    perror(operation);
    exit(1);
}

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, length) || getsockname(fd, (struct sockaddr *)&here, &length))
        fail("bind");
    widen(fd);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    return fd;
}

static void send_batch(int fd, struct batch *batch, unsigned count) {
    for (unsigned done = 0; done < count;) {
        int sent = sendmmsg(fd, batch->messages + done, count - done, 0);
        done += sent > 0 ? (unsigned)sent : 1; /* a peer that is gone: its answer is dropped */
    }
}

static unsigned long long count_batch(struct batch *batch, unsigned count) {
    unsigned long long counted = 0;
    for (unsigned i = 0; i < count; i++)
        counted += batch->messages[i].msg_len != QUESTION_BYTES;
    return counted;
}

static void answer(int fd, struct batch *batch, unsigned i, unsigned long long total) {
    char text[QUESTION_BYTES + 1];
    snprintf(text, sizeof text, "%0*llu", QUESTION_BYTES, total);
    sendto(fd, text, QUESTION_BYTES, 0, (struct sockaddr *)&batch->peers[i], sizeof batch->peers[i]);
}

int main(int count, char **arguments) {
    static struct batch batch;
    const char *mode = count > 1 ? arguments[1] : "";
    bool gro = !strcmp(mode, "gro"), sink = !strcmp(mode, "sink");
    if (!gro && !sink && strcmp(mode, "batch")) {
        fprintf(stderr, "echo_udp batch|gro|sink\n");
        return 2;
    }
    int fd = open_socket();
    if (gro)
        accept_trains(fd);
    reserve(&batch, gro ? TRAIN_BYTES : 2048);
    for (unsigned long long total = 0;;) {
        reset(&batch);
        int got = recvmmsg(fd, batch.messages, BATCH, MSG_WAITFORONE, NULL);
        if (got < 0)
            continue; /* an ICMP error of a peer that is gone */
        if (sink) {
            total += count_batch(&batch, (unsigned)got);
            if (batch.messages[got - 1].msg_len == QUESTION_BYTES)
                answer(fd, &batch, (unsigned)got - 1, total);
            continue;
        }
        for (int i = 0; i < got; i++)
            fill(&batch, (unsigned)i, batch.messages[i].msg_len, segment_bytes(&batch.messages[i]));
        send_batch(fd, &batch, (unsigned)got);
    }
}
