/* The floor under every TLS server: OpenSSL over epoll, one thread.
 *
 *   echo_tls PEM          echoes
 *   echo_tls PEM BYTES    bulk: who begins with GET gets BYTES and the end; of others BYTES are counted, then answered
 *                         with one byte
 *
 * PEM holds the key and the certificate. A connection whose peer does not read is not read either. Level-triggered: a
 * record says nothing about whether the kernel holds more, and asking it until it says no would cost a call a message. */
#define _GNU_SOURCE
#include "listener.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BUFFER_BYTES = 262144 };

struct connection {
    int fd;
    SSL *tls;
    char *rest; /* of an echo, what the kernel had no room for; NULL: nothing waits */
    size_t rest_at, rest_bytes;
    size_t counted; /* bulk: what has come */
    size_t owed;    /* bulk: what has still to go out */
    bool begun, writing;
};

static char buffer[BUFFER_BYTES];
static size_t bulk_bytes;
static int epoll_fd;
static SSL_CTX *context;

static void accept_all(int listener) {
    for (int fd; (fd = accept_one(listener)) >= 0;) {
        struct connection *connection = calloc(1, sizeof *connection);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (!connection || !(connection->tls = SSL_new(context)) || !SSL_set_fd(connection->tls, fd) ||
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
            fail("accept");
        connection->fd = fd;
        SSL_set_accept_state(connection->tls);
    }
}

static void drop(struct connection *connection) {
    SSL_free(connection->tls);
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

/* A connection either reads or writes. */
static void watch_for(struct connection *connection, bool writing) {
    if (connection->writing == writing)
        return;
    connection->writing = writing;
    struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event))
        fail("epoll_ctl");
}

/* The bytes that OpenSSL moved; 0: it waits for the kernel; -1: over, and the peer has been told if it still listens. */
static int moved(struct connection *connection, int done) {
    if (done > 0)
        return done;
    int why = SSL_get_error(connection->tls, done);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        watch_for(connection, why == SSL_ERROR_WANT_WRITE);
        return 0;
    }
    if (why == SSL_ERROR_ZERO_RETURN)
        SSL_shutdown(connection->tls);
    ERR_clear_error();
    return -1;
}

/* 1: the rest is out; 0: it still waits; -1: the connection is over. */
static int send_rest(struct connection *connection) {
    while (connection->rest_at < connection->rest_bytes) {
        int sent = moved(connection, SSL_write(connection->tls, connection->rest + connection->rest_at,
                                               (int)(connection->rest_bytes - connection->rest_at)));
        if (sent <= 0)
            return sent;
        connection->rest_at += (size_t)sent;
    }
    free(connection->rest);
    connection->rest = NULL;
    return 1;
}

/* As send_rest, for bytes that lie in the shared buffer. */
static int echo(struct connection *connection, size_t bytes) {
    int sent = moved(connection, SSL_write(connection->tls, buffer, (int)bytes));
    if (sent < 0 || (size_t)sent == bytes)
        return sent < 0 ? -1 : 1;
    connection->rest_at = 0;
    connection->rest_bytes = bytes - (size_t)sent;
    connection->rest = malloc(connection->rest_bytes);
    if (!connection->rest)
        fail("malloc");
    memcpy(connection->rest, buffer + sent, connection->rest_bytes);
    return send_rest(connection);
}

/* 1: it is out, and the end of the connection with it; the others as send_rest. */
static int send_owed(struct connection *connection) {
    while (connection->owed) {
        size_t size = connection->owed < BUFFER_BYTES ? connection->owed : BUFFER_BYTES;
        int sent = moved(connection, SSL_write(connection->tls, buffer, (int)size));
        if (sent <= 0)
            return sent;
        connection->owed -= (size_t)sent;
    }
    SSL_shutdown(connection->tls);
    return -1;
}

static int bulk(struct connection *connection, size_t bytes) {
    if (!connection->begun && bytes >= 3 && !memcmp(buffer, "GET", 3))
        connection->owed = bulk_bytes;
    connection->begun = true;
    connection->counted += bytes;
    if (!connection->owed && connection->counted >= bulk_bytes)
        connection->owed = 1;
    return connection->owed ? send_owed(connection) : 1;
}

static void serve(struct connection *connection) {
    int state = connection->rest ? send_rest(connection) : connection->owed ? send_owed(connection) : 1;
    while (state == 1) {
        watch_for(connection, false);
        int got = moved(connection, SSL_read(connection->tls, buffer, BUFFER_BYTES));
        state = got <= 0 ? got : bulk_bytes ? bulk(connection, (size_t)got) : echo(connection, (size_t)got);
        if (state == 1 && !SSL_has_pending(connection->tls))
            return;
    }
    if (state < 0)
        drop(connection);
}

static void prepare(const char *pem) {
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        SSL_CTX_use_certificate_chain_file(context, pem) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, pem, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "echo_tls PEM [BYTES]\n");
        return 2;
    }
    prepare(arguments[1]);
    bulk_bytes = count > 2 ? strtoull(arguments[2], NULL, 10) : 0;
    int listener = open_listener();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL}, events[EVENTS];
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                accept_all(listener);
        }
    }
}
