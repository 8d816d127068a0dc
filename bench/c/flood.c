// The load of bench/capture.py: UDP datagrams by sendmmsg from one socket, at a rate or as fast as it goes, a number of them.
//
// flood HOST PORT COUNT RATE PAYLOAD_BYTES; RATE 0: no limit. Prints how many were sent and in how many seconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LARGEST = 1472 };

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

int main(int count_of_words, char **words) {
    if (count_of_words != 6) {
        fprintf(stderr, "flood HOST PORT COUNT RATE PAYLOAD_BYTES\n");
        return 2;
    }
    long count = atol(words[3]);
    double rate = atof(words[4]);
    size_t size = atol(words[5]);
    if (size > LARGEST || size < sizeof(long)) {
        fprintf(stderr, "flood: a payload has 8 to %d bytes\n", LARGEST);
        return 2;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    if (inet_pton(AF_INET, words[1], &to.sin_addr) != 1) {
        fprintf(stderr, "flood: no IPv4 address: %s\n", words[1]);
        return 2;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) fail("socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");

    static char payloads[BATCH][LARGEST];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){payloads[i], size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    double begun = now();
    long sent = 0;
    while (sent < count) {
        int batch = count - sent < BATCH ? (int)(count - sent) : BATCH;
        for (int i = 0; i < batch; i++) {
            long number = sent + i;
            memcpy(payloads[i], &number, sizeof number);
        }
        int done = sendmmsg(fd, messages, batch, 0);
        if (done < 0 && (errno == ECONNREFUSED || errno == EINTR || errno == ENOBUFS)) continue;
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
