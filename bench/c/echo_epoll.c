/* The floor under every echo server: edge-triggered epoll, one thread, no allocation while the peer keeps up.
 *
 * A connection whose peer does not read is not read either until the rest of its echo is in the kernel, so memory
 * per connection is bounded by one buffer. */
#define _GNU_SOURCE
#include "listener.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BUFFER_BYTES = 262144 };

struct connection {
    int fd;
    char *rest; /* what the kernel had no room for; NULL: nothing waits */
    size_t rest_at, rest_bytes;
};

static char buffer[BUFFER_BYTES];

static void accept_all(int epoll, int listener) {
    for (int fd; (fd = accept_one(listener)) >= 0;) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            fail("calloc");
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
            fail("epoll_ctl");
    }
}

static void drop(struct connection *connection) {
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

/* 1: the rest is out; 0: it still waits; -1: the connection is gone. */
static int send_rest(struct connection *connection) {
    while (connection->rest_at < connection->rest_bytes) {
        ssize_t sent = send(connection->fd, connection->rest + connection->rest_at,
                            connection->rest_bytes - connection->rest_at, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->rest_at += (size_t)sent;
    }
    free(connection->rest);
    connection->rest = NULL;
    return 1;
}

/* As send_rest, for bytes that lie in the shared buffer. */
static int echo(struct connection *connection, size_t bytes) {
    ssize_t sent = send(connection->fd, buffer, bytes, MSG_NOSIGNAL);
    if (sent == (ssize_t)bytes)
        return 1;
    if (sent < 0 && errno != EAGAIN)
        return -1;
    size_t done = sent < 0 ? 0 : (size_t)sent;
    connection->rest = malloc(bytes - done);
    if (!connection->rest)
        fail("malloc");
    memcpy(connection->rest, buffer + done, bytes - done);
    connection->rest_at = 0;
    connection->rest_bytes = bytes - done;
    return send_rest(connection); /* so that the edge which says "writable" is certainly still to come */
}

static void serve(struct connection *connection) {
    int state = connection->rest ? send_rest(connection) : 1;
    while (state == 1) {
        ssize_t got = recv(connection->fd, buffer, BUFFER_BYTES, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            drop(connection);
            return;
        }
        state = echo(connection, (size_t)got);
        if (state == 1 && got < BUFFER_BYTES)
            return; /* a short read of a stream empties it (man 7 epoll): the next bytes are a new edge */
    }
    if (state < 0)
        drop(connection);
}

int main(void) {
    int listener = open_listener(), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL}, events[EVENTS];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                accept_all(epoll, listener);
        }
    }
}
