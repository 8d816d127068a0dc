/* What the load and the C server of the datagram bench share: batches of messages, and trains of segments. */
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BATCH = 64,
    TRAIN_BYTES = 65507,      /* the largest datagram, and what the segments of a train make together at most */
    QUEUE_BYTES = 1 << 20,    /* of receive buffer at both ends, and of every peer: the kernel's default may hold 90 */
    QUESTION_BYTES = 20,      /* a datagram of this size asks a one-way receiver how many it has; so long is the answer */
};

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in peers[BATCH];
    char controls[BATCH][CMSG_SPACE(sizeof(int))], *bytes[BATCH];
    size_t room;
    unsigned count; /* of those that wait to be sent */
};

static void fail(const char *operation);

static void widen(int fd) {
    int bytes = QUEUE_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes))
        fail("SO_RCVBUF");
}

static void accept_trains(int fd) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on))
        fail("UDP_GRO");
}

static void reserve(struct batch *batch, size_t room) {
    char *bytes = malloc(BATCH * room);
    if (!bytes)
        fail("malloc");
    memset(bytes, 0, BATCH * room);
    batch->room = room;
    for (int i = 0; i < BATCH; i++) {
        batch->bytes[i] = bytes + (size_t)i * room;
        batch->vectors[i] = (struct iovec){batch->bytes[i], room};
        batch->messages[i].msg_hdr.msg_iov = &batch->vectors[i];
        batch->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

/* Before receiving: all room is free again. */
static void reset(struct batch *batch) {
    for (int i = 0; i < BATCH; i++) {
        struct msghdr *header = &batch->messages[i].msg_hdr;
        batch->vectors[i].iov_len = batch->room;
        header->msg_name = &batch->peers[i];
        header->msg_namelen = sizeof batch->peers[i];
        header->msg_control = batch->controls[i];
        header->msg_controllen = sizeof batch->controls[i];
    }
}

/* Before sending: the size of message i and, unless 0, of the segments that it is to be cut into. */
static void fill(struct batch *batch, unsigned i, size_t size, size_t segment) {
    struct msghdr *header = &batch->messages[i].msg_hdr;
    batch->vectors[i].iov_len = size;
    header->msg_control = NULL;
    header->msg_controllen = 0;
    if (segment && segment < size) {
        uint16_t value = (uint16_t)segment;
        header->msg_control = batch->controls[i];
        header->msg_controllen = CMSG_SPACE(sizeof value);
        struct cmsghdr *control = CMSG_FIRSTHDR(header);
        *control = (struct cmsghdr){CMSG_LEN(sizeof value), IPPROTO_UDP, UDP_SEGMENT};
        memcpy(CMSG_DATA(control), &value, sizeof value);
    }
}

/* Of a received message: the size of its segments, or its own. */
static size_t segment_bytes(struct mmsghdr *message) {
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message->msg_hdr); at; at = CMSG_NXTHDR(&message->msg_hdr, at)) {
        if (at->cmsg_level == IPPROTO_UDP && at->cmsg_type == UDP_GRO) {
            int bytes;
            memcpy(&bytes, CMSG_DATA(at), sizeof bytes);
            return (size_t)bytes;
        }
    }
    return message->msg_len;
}
