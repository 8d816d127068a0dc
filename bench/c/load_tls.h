/* How the load moves bytes over TLS 1.3; load.c has the same functions for TCP.
 *
 * It offers one group, one cipher suite and one kind of signature: every server does the same work or is refused. It
 * never resumes a session. The server's signature is checked, its chain is not: the bench made the certificate. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

enum { RECORDS = 1, READ_AHEAD_BYTES = 1 << 18 };

static SSL_CTX *context;

static void prepare_transport(void) {
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") ||
        !SSL_CTX_set1_sigalgs_list(context, option.signature))
        fail("TLS");
    if (!SSL_CTX_set1_groups_list(context, option.group)) {
        complaint = "this OpenSSL does not have the group";
        fail(option.group);
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF); /* what is missing is counted by whoever wants it */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1); /* one call of the kernel a record instead of two */
    if (!strcmp(option.mode, "download"))
        SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
}

static const char *transport_version(void) { return OpenSSL_version(OPENSSL_VERSION); }

/* As recv and send answer: -1 with EAGAIN says that the kernel must act first, 0 that the other end is done. */
static ssize_t answer(struct connection *connection, int done) {
    if (done > 0)
        return done;
    int why = SSL_get_error(connection->tls, done);
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
    } else if (why != SSL_ERROR_SYSCALL || !errno || errno == EAGAIN) {
        errno = EPROTO;
        complaint = ERR_reason_error_string(ERR_peek_error());
    }
    ERR_clear_error(); /* SSL_get_error reads what an earlier failure left there */
    return -1;
}

/* 1: the handshake is done; 0: not yet; -1: broken. */
static int secure(struct connection *connection) {
    if (!connection->tls) {
        connection->tls = SSL_new(context);
        if (!connection->tls || !SSL_set_fd(connection->tls, connection->fd))
            return -1;
        SSL_set_connect_state(connection->tls);
    }
    if (SSL_is_init_finished(connection->tls))
        return 1;
    return answer(connection, SSL_do_handshake(connection->tls)) > 0 ? 1 : errno == EAGAIN ? 0 : -1;
}

static ssize_t put(struct connection *connection, const char *bytes, size_t size) {
    return answer(connection, SSL_write(connection->tls, bytes, (int)size));
}

static ssize_t take(struct connection *connection, char *bytes, size_t size, bool keep) {
    (void)keep; /* what is encrypted has to be copied anyway */
    return answer(connection, SSL_read(connection->tls, bytes, (int)size));
}

/* Says that nothing follows. 1: so did the other end; 0: not yet; -1: broken. */
static int part(struct connection *connection) {
    char rest[4096]; /* session tickets come before the end */
    if (!(SSL_get_shutdown(connection->tls) & SSL_SENT_SHUTDOWN) && SSL_shutdown(connection->tls) < 0)
        return -1;
    ssize_t got;
    while ((got = take(connection, rest, sizeof rest, true)) > 0) {
    }
    return got == 0 ? 1 : errno == EAGAIN ? 0 : -1;
}

static void hang_up(struct connection *connection) {
    SSL_free(connection->tls);
    connection->tls = NULL;
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
}

/* A ClientHello as it would be sent; its size. */
static size_t client_hello(char *to, size_t room) {
    SSL *tls = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem()), *in = BIO_new(BIO_s_mem());
    if (!tls || !in || !out)
        fail("ClientHello");
    SSL_set_bio(tls, in, out);
    SSL_set_connect_state(tls);
    SSL_do_handshake(tls); /* writes it, and wants the answer */
    int size = BIO_read(out, to, (int)room);
    SSL_free(tls);
    ERR_clear_error();
    if (size <= 0)
        fail("ClientHello");
    return (size_t)size;
}
