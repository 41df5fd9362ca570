/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One non-blocking TCP socket, under TLS if the host says so. The descriptor
 * that is handed out is an epoll set that lives as long as the transport; in
 * it are the timer, for ever, and in turn the look-up's eventfd and the
 * socket. All are level-triggered and nobody calls epoll_wait: the set is only
 * polled by the host, and each source is quieted where it is used.
 *
 * Waiting for room to write costs a change of the set only when a write has
 * come up short. The timer is moved only if it would come too late: waking
 * too early now and then is cheaper than a system call per step. Descriptors
 * leave the set by being closed.
 *
 * Each of a name's addresses is tried in turn and gets an equal share of the
 * time that is left. Owned by one thread.
 */
#include "broker-adapters/amqp/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "broker-adapters/amqp/tls.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum { SOCKET_FAILURES_MAX = 384 };

typedef enum socket_state {
	SOCKET_SHUT,
	SOCKET_RESOLVING,
	SOCKET_CONNECTING,
	SOCKET_HANDSHAKING, /* TLS */
	SOCKET_OPEN
} socket_state;

typedef struct socket_transport {
	socket_state state;
	int epoll_fd, timer_fd;
	int fd; /* the socket, or -1 */
	bool wants_write;
	int64_t armed_us; /* of the timer; INT64_MAX: not armed */
	const wbi_amqp_host *host;
	int64_t deadline_us;         /* for the host */
	int64_t address_deadline_us; /* for the present address */
	wbi_resolver *resolver;
	struct addrinfo *list; /* all addresses; owned */
	struct addrinfo *at;   /* the present one */
	wbi_tls *tls;
	wb_log log;
	wb_code last_code; /* of the addresses tried */
	int last_errno;
	char failures[SOCKET_FAILURES_MAX]; /* "address: reason; ..." */
} socket_transport;

/* ---- the epoll set ----------------------------------------------------- */

static int socket_watch(socket_transport *t, int op, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events};

	return epoll_ctl(t->epoll_fd, op, fd, &event);
}

static void socket_want_write(socket_transport *t, bool wants)
{
	uint32_t events = EPOLLIN | (wants ? (uint32_t)EPOLLOUT : 0);

	if (t->wants_write == wants)
		return;
	t->wants_write = wants;
	WB_ASSERT(socket_watch(t, EPOLL_CTL_MOD, t->fd, events) == 0);
}

static void socket_set_timer(socket_transport *t, int64_t at_us, int64_t now_us)
{
	struct itimerspec when = {.it_value = {0, 0}}; /* disarmed */
	int64_t left_us = at_us > now_us ? at_us - now_us : 0;

	if (at_us != INT64_MAX) {
		when.it_value.tv_sec = (time_t)(left_us / 1000000);
		when.it_value.tv_nsec = (long)(left_us % 1000000) * 1000;
		if (left_us == 0)
			when.it_value.tv_nsec = 1;
	}
	WB_ASSERT(timerfd_settime(t->timer_fd, 0, &when, NULL) == 0);
	t->armed_us = at_us;
}

static void socket_wake_at(void *self, int64_t at_us, int64_t now_us)
{
	socket_transport *t = self;
	bool expired = t->armed_us <= now_us;

	if (expired || at_us < t->armed_us)
		socket_set_timer(t, at_us, now_us);
}

/* ---- one address after the other --------------------------------------- */

static void socket_drop(socket_transport *t)
{
	wbi_tls_free(t->tls);
	t->tls = NULL;
	if (t->fd >= 0)
		close(t->fd); /* leaves the epoll set by itself */
	t->fd = -1;
	t->wants_write = false;
}

static void socket_address_text(const struct addrinfo *at, char *ret,
				size_t size)
{
	if (getnameinfo(at->ai_addr, at->ai_addrlen, ret, (socklen_t)size, NULL,
			0, NI_NUMERICHOST))
		snprintf(ret, size, "?");
}

/* Note that the present address did not work, and why. */
static void socket_note(socket_transport *t, int errnum)
{
	char address[INET6_ADDRSTRLEN + 20] = "";
	char reason[96];
	size_t used = strlen(t->failures);

	socket_address_text(t->at, address, sizeof(address));
	if (strerror_r(errnum, reason, sizeof(reason)))
		snprintf(reason, sizeof(reason), "error %d", errnum);
	snprintf(t->failures + used, sizeof(t->failures) - used, "%s%s: %s",
		 used > 0 ? "; " : "", address, reason);
	t->last_code = errnum == ETIMEDOUT ? WB_ETIMEOUT : WB_EUNREACHABLE;
	t->last_errno = errnum;
}

static wb_code socket_give_up(socket_transport *t, wb_error *err)
{
	const char *cure = "";

	if (t->last_errno == ECONNREFUSED)
		cure = "; nothing listens there: is the broker running?";
	else if (t->last_errno == ETIMEDOUT)
		cure = "; nothing answers: is the address right, does a "
		       "firewall drop it?";
	return wb_error_set(err, t->last_code, t->last_errno, __func__,
			    "cannot connect to %s port %u: %s%s", t->host->host,
			    t->host->port, t->failures, cure);
}

/* The present address gets its share of the time left for the host. */
static int64_t socket_share_us(const socket_transport *t, int64_t now_us)
{
	int64_t left = t->deadline_us - now_us;
	int64_t count = 0;

	for (const struct addrinfo *a = t->at; a; a = a->ai_next)
		count++;
	return left > 0 && count > 0 ? now_us + left / count : now_us;
}

/* socket(2) and connect(2) for the present address; 0 or an errno. */
static int socket_begin(socket_transport *t, int64_t now_us)
{
	const int one = 1;
	int status;

	t->fd = socket(t->at->ai_family,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd < 0)
		return errno;
	setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* An EINTR here means that the connection goes on being made. */
	status = connect(t->fd, t->at->ai_addr, t->at->ai_addrlen);
	if (status && errno != EINPROGRESS && errno != EINTR)
		return errno;
	if (socket_watch(t, EPOLL_CTL_ADD, t->fd, EPOLLIN | EPOLLOUT))
		return errno;
	t->wants_write = true;
	t->address_deadline_us = socket_share_us(t, now_us);
	return 0;
}

/* From t->at on, begin with the first address that does not fail at once. */
static wb_code socket_begin_next(socket_transport *t, int64_t now_us,
				 wb_error *err)
{
	for (; t->at; t->at = t->at->ai_next) {
		int errnum = socket_begin(t, now_us);

		if (errnum == 0) {
			t->state = SOCKET_CONNECTING;
			return WB_EAGAIN;
		}
		socket_note(t, errnum);
		socket_drop(t);
	}
	return socket_give_up(t, err);
}

static wb_code socket_resolved(socket_transport *t, int64_t now_us,
			       wb_error *err)
{
	wb_code code = wbi_resolver_take(t->resolver, &t->list, err);

	if (code == WB_EAGAIN && now_us >= t->deadline_us)
		return wb_error_set(err, WB_ETIMEOUT, 0, __func__,
				    "cannot connect to %s port %u: the look-up "
				    "of the name has timed out; is the name "
				    "server reachable?",
				    t->host->host, t->host->port);
	if (code != WB_OK)
		return code;
	t->at = t->list;
	return socket_begin_next(t, now_us, err);
}

static bool socket_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)address;

		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)address;

		return IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
	}
	return false;
}

/* TCP stands. */
static wb_code socket_connected(socket_transport *t, wb_error *err)
{
	const wbi_amqp_host *host = t->host;

	socket_want_write(t, false);
	if (!host->tls) {
		if (!host->external_auth && !socket_is_loopback(t->at->ai_addr))
			wbi_log(&t->log, WB_LOG_WARN,
				"amqp: %s port %u: the password goes over the "
				"network unencrypted; use amqps://",
				host->host, host->port);
		t->state = SOCKET_OPEN;
		return WB_OK;
	}
	if (host->insecure)
		wbi_log(&t->log, WB_LOG_WARN,
			"amqp: %s port %u: the broker's certificate is not "
			"verified, as configured; anyone in between can read "
			"and change everything",
			host->host, host->port);
	t->state = SOCKET_HANDSHAKING;
	return wbi_tls_new(host, t->fd, &t->tls, err);
}

static wb_code socket_connecting(socket_transport *t, int64_t now_us,
				 wb_error *err)
{
	struct pollfd ready = {t->fd, POLLOUT, 0};
	socklen_t size = sizeof(int);
	int errnum = 0;

	if (poll(&ready, 1, 0) == 1) {
		if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &errnum, &size))
			errnum = errno;
		if (errnum == 0)
			return socket_connected(t, err);
	} else if (now_us < t->address_deadline_us) {
		return WB_EAGAIN;
	} else {
		errnum = ETIMEDOUT;
	}
	socket_note(t, errnum);
	socket_drop(t);
	t->at = t->at->ai_next;
	return socket_begin_next(t, now_us, err);
}

static wb_code socket_handshaking(socket_transport *t, int64_t now_us,
				  wb_error *err)
{
	wb_code code = wbi_tls_handshake(t->tls, err);

	if (code == WB_OK) {
		socket_want_write(t, false);
		t->state = SOCKET_OPEN;
	}
	if (code != WB_EAGAIN)
		return code;
	if (now_us >= t->deadline_us)
		return wb_error_set(err, WB_ETIMEOUT, 0, __func__,
				    "%s port %u: the TLS handshake has timed "
				    "out; is it a TLS port (usually 5671)?",
				    t->host->host, t->host->port);
	socket_want_write(t, wbi_tls_wants_write(t->tls));
	return WB_EAGAIN;
}

/* ---- the slots --------------------------------------------------------- */

static wb_code socket_open(void *self, const wbi_amqp_host *host,
			   int64_t deadline_us, wb_error *err)
{
	socket_transport *t = self;
	wb_code code;
	int fd;

	if (t->state != SOCKET_SHUT)
		return WBI_FAIL(err, WB_ESTATE, "the transport is open");
	t->host = host;
	t->deadline_us = deadline_us;
	t->failures[0] = '\0';
	t->last_code = WB_EUNREACHABLE;
	t->last_errno = 0;
	code = wbi_resolver_start(t->resolver, host->host, host->port, err);
	if (code != WB_OK)
		return code;
	fd = wbi_resolver_fd(t->resolver);
	if (fd >= 0 && socket_watch(t, EPOLL_CTL_ADD, fd, EPOLLIN)) {
		wbi_resolver_cancel(t->resolver);
		return wbi_fail_errno(err, errno, __func__,
				      "cannot watch a look-up");
	}
	t->state = SOCKET_RESOLVING;
	return WB_OK;
}

static wb_code socket_advance(void *self, int64_t now_us, wb_error *err)
{
	socket_transport *t = self;
	wb_code code = WB_OK;

	/* Each state may fall into the next at once. */
	if (t->state == SOCKET_SHUT)
		return WBI_FAIL(err, WB_ESTATE, "the transport is shut");
	if (t->state == SOCKET_RESOLVING)
		code = socket_resolved(t, now_us, err);
	if (t->state == SOCKET_CONNECTING)
		code = socket_connecting(t, now_us, err);
	if (t->state == SOCKET_HANDSHAKING && code == WB_OK)
		code = socket_handshaking(t, now_us, err);
	return code;
}

static int64_t socket_deadline_us(void *self)
{
	const socket_transport *t = self;

	switch (t->state) {
	case SOCKET_RESOLVING:
		/* A numeric address is ready now, with nothing to poll. */
		return wbi_resolver_fd(t->resolver) < 0 ? 0 : t->deadline_us;
	case SOCKET_CONNECTING:
		return t->address_deadline_us;
	case SOCKET_HANDSHAKING:
		return t->deadline_us;
	default:
		return INT64_MAX;
	}
}

static wb_code socket_read(void *self, uint8_t *to, size_t size,
			   size_t *ret_len, wb_error *err)
{
	socket_transport *t = self;
	ssize_t n;

	if (t->state != SOCKET_OPEN)
		return WBI_FAIL(err, WB_ESTATE, "the transport is not open");
	if (t->tls)
		return wbi_tls_read(t->tls, to, size, ret_len, err);
	do
		n = recv(t->fd, to, size, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return WB_EAGAIN;
	if (n < 0)
		return wbi_fail_errno(err, errno, __func__, "connection lost");
	if (n == 0)
		return WBI_FAIL(err, WB_ECLOSED,
				"the broker closed the connection");
	*ret_len = (size_t)n;
	return WB_OK;
}

static wb_code socket_send(socket_transport *t, const uint8_t *from, size_t len,
			   size_t *ret_len, wb_error *err)
{
	ssize_t n;

	do
		n = send(t->fd, from, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return WB_EAGAIN;
	if (n < 0)
		return wbi_fail_errno(err, errno, __func__, "connection lost");
	*ret_len = (size_t)n;
	return WB_OK;
}

static wb_code socket_write(void *self, const uint8_t *from, size_t len,
			    size_t *ret_len, wb_error *err)
{
	socket_transport *t = self;
	wb_code code;

	if (t->state != SOCKET_OPEN)
		return WBI_FAIL(err, WB_ESTATE, "the transport is not open");
	if (t->tls)
		code = wbi_tls_write(t->tls, from, len, ret_len, err);
	else
		code = socket_send(t, from, len, ret_len, err);
	if (code == WB_OK || code == WB_EAGAIN)
		socket_want_write(
			t, code == WB_EAGAIN &&
				   (!t->tls || wbi_tls_wants_write(t->tls)));
	return code;
}

static void socket_shut(void *self)
{
	socket_transport *t = self;
	int fd = wbi_resolver_fd(t->resolver);

	/* The look-up's thread may keep its eventfd open: take it out. */
	if (fd >= 0)
		socket_watch(t, EPOLL_CTL_DEL, fd, 0);
	wbi_resolver_cancel(t->resolver);
	if (t->tls)
		wbi_tls_goodbye(t->tls);
	socket_drop(t);
	if (t->list)
		freeaddrinfo(t->list);
	t->list = t->at = NULL;
	t->host = NULL;
	t->state = SOCKET_SHUT;
}

static int socket_fd(void *self)
{
	return ((socket_transport *)self)->epoll_fd;
}

static void socket_free(void *self)
{
	socket_transport *t = self;

	if (t->resolver)
		socket_shut(t);
	wbi_resolver_free(t->resolver);
	if (t->timer_fd >= 0)
		close(t->timer_fd);
	if (t->epoll_fd >= 0)
		close(t->epoll_fd);
	free(t);
}

wb_code wbi_socket_transport_new(const wb_log *log, wbi_lookup_fn lookup,
				 wbi_transport *ret, wb_error *err)
{
	static const wbi_transport_ops ops = {
		socket_open, socket_advance, socket_deadline_us,
		socket_read, socket_write,   socket_shut,
		socket_fd,   socket_wake_at, socket_free};
	socket_transport *t = calloc(1, sizeof(*t));
	wb_code code;

	if (!t)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	t->fd = t->timer_fd = -1;
	t->armed_us = INT64_MAX;
	if (log)
		t->log = *log;
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll_fd >= 0)
		t->timer_fd = timerfd_create(CLOCK_MONOTONIC,
					     TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer_fd < 0 ||
	    socket_watch(t, EPOLL_CTL_ADD, t->timer_fd, EPOLLIN)) {
		code = wbi_fail_errno(err, errno, __func__,
				      "cannot make the connection's "
				      "descriptors");
		socket_free(t);
		return code;
	}
	code = wbi_resolver_new(lookup, &t->resolver, err);
	if (code != WB_OK) {
		socket_free(t);
		return code;
	}
	*ret = (wbi_transport){&ops, t};
	return WB_OK;
}
