/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One thread polls everything. A direction of a connection ("pipe") holds at
 * most one block: it reads only when that is empty, so the sender feels the
 * receiver's pressure as on a direct connection. The lock is held by the
 * thread except while it polls.
 */
#include "tests/support/cut_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PROXY_BLOCK = 65536, PROXY_POLL_MS = 200, PROXY_FRAME_HEAD = 7 };

typedef struct proxy_pipe {
	uint8_t block[PROXY_BLOCK];
	size_t start, end;
	uint64_t passed;
	int64_t not_before_ms; /* for delay_ms */
	bool ended;            /* the sender is done */
} proxy_pipe;

typedef struct proxy_connection {
	bool used, is_last;
	int fd[CUT_DIRECTIONS]; /* [d]: where pipe d ends */
	proxy_pipe pipe[CUT_DIRECTIONS];
} proxy_connection;

/* Finds the ends of frames in a stream of bytes. */
typedef struct frame_finder {
	uint8_t head[PROXY_FRAME_HEAD];
	size_t have;
	uint64_t skip; /* bytes left of the present frame */
	uint64_t at;
	uint64_t *ends;
	size_t count;
} frame_finder;

struct cut_proxy {
	cut_proxy_options options;
	pthread_t thread;
	pthread_mutex_t lock;
	int listener, wake;
	uint16_t port;
	bool stop, hold, cut_now;
	unsigned cuts, accepted;
	uint64_t cut_after[CUT_DIRECTIONS];
	uint64_t last_passed[CUT_DIRECTIONS];
	frame_finder finder[CUT_DIRECTIONS];
	proxy_connection connection[CUT_PROXY_CONNECTIONS_MAX];
};

static int64_t proxy_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- frames ------------------------------------------------------------ */

static void finder_reset(frame_finder *f, cut_direction direction)
{
	f->have = f->count = 0;
	f->at = 0;
	f->skip = direction == CUT_TO_BROKER ? 8 : 0; /* "AMQP" 0 0 9 1 */
}

static void finder_feed(frame_finder *f, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		f->at++;
		if (f->skip == 0) {
			f->head[f->have++] = bytes[i];
			if (f->have < PROXY_FRAME_HEAD)
				continue;
			f->have = 0;
			f->skip = ((uint64_t)f->head[3] << 24 |
				   (uint64_t)f->head[4] << 16 |
				   (uint64_t)f->head[5] << 8 | f->head[6]) +
				  1; /* the end octet */
			continue;
		}
		if (--f->skip == 0 && f->count < CUT_PROXY_FRAMES_MAX)
			f->ends[f->count++] = f->at;
	}
}

/* ---- connections ------------------------------------------------------- */

static void connection_close(proxy_connection *c, bool reset)
{
	const struct linger now = {1, 0};

	for (int d = 0; d < CUT_DIRECTIONS; d++) {
		if (reset)
			setsockopt(c->fd[d], SOL_SOCKET, SO_LINGER, &now,
				   sizeof(now));
		close(c->fd[d]);
	}
	c->used = false;
}

static void connection_cut(cut_proxy *p, proxy_connection *c)
{
	connection_close(c, p->options.reset);
	p->cuts++;
}

static int connect_to_broker(uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof(in))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void proxy_accept(cut_proxy *p)
{
	int client = accept(p->listener, NULL, NULL);
	int broker =
		client >= 0 ? connect_to_broker(p->options.broker_port) : -1;
	proxy_connection *c = NULL;
	const int one = 1;

	for (int i = 0; i < CUT_PROXY_CONNECTIONS_MAX; i++) {
		p->connection[i].is_last = false;
		if (!p->connection[i].used)
			c = &p->connection[i];
	}
	if (client < 0 || broker < 0 || !c) {
		if (client >= 0)
			close(client);
		if (broker >= 0)
			close(broker);
		return;
	}
	memset(c, 0, sizeof(*c));
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(broker, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->used = c->is_last = true;
	c->fd[CUT_TO_BROKER] = broker;
	c->fd[CUT_TO_CLIENT] = client;
	for (int d = 0; d < CUT_DIRECTIONS; d++) {
		finder_reset(&p->finder[d], (cut_direction)d);
		p->last_passed[d] = 0;
	}
	p->accepted++;
}

static void pipe_read(proxy_connection *c, int d)
{
	proxy_pipe *pipe = &c->pipe[d];
	ssize_t n = recv(c->fd[!d], pipe->block, PROXY_BLOCK, MSG_DONTWAIT);

	if (n > 0) {
		pipe->start = 0;
		pipe->end = (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		pipe->ended = true;
		shutdown(c->fd[d], SHUT_WR);
	}
}

/* Pass on what is due; false: the connection was cut. */
static bool pipe_write(cut_proxy *p, proxy_connection *c, int d)
{
	proxy_pipe *pipe = &c->pipe[d];
	size_t len = pipe->end - pipe->start;
	uint64_t left = p->cut_after[d] - pipe->passed;
	ssize_t n = 0;

	if (p->options.chunk_max && len > p->options.chunk_max)
		len = p->options.chunk_max;
	if (p->cut_after[d] != UINT64_MAX && pipe->passed <= p->cut_after[d] &&
	    len > left)
		len = (size_t)left;
	if (len > 0)
		n = send(c->fd[d], pipe->block + pipe->start, len,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		connection_close(c, false);
		return false;
	}
	if (n > 0) {
		if (c->is_last)
			finder_feed(&p->finder[d], pipe->block + pipe->start,
				    (size_t)n);
		pipe->start += (size_t)n;
		pipe->passed += (uint64_t)n;
		pipe->not_before_ms = proxy_now_ms() + p->options.delay_ms;
	}
	if (c->is_last)
		p->last_passed[d] = pipe->passed;
	if (pipe->passed == p->cut_after[d]) {
		p->cut_after[d] = UINT64_MAX;
		connection_cut(p, c);
		return false;
	}
	return true;
}

/* ---- the thread -------------------------------------------------------- */

/* What to poll for this connection; two entries. */
static void connection_poll(const cut_proxy *p, const proxy_connection *c,
			    struct pollfd *fds, int *timeout_ms)
{
	int64_t now_ms = proxy_now_ms();

	fds[0] = (struct pollfd){c->used ? c->fd[0] : -1, 0, 0};
	fds[1] = (struct pollfd){c->used ? c->fd[1] : -1, 0, 0};
	for (int d = 0; d < CUT_DIRECTIONS && c->used && !p->hold; d++) {
		const proxy_pipe *pipe = &c->pipe[d];

		if (pipe->start == pipe->end) {
			fds[!d].events |= pipe->ended ? 0 : POLLIN;
		} else if (pipe->not_before_ms <= now_ms) {
			fds[d].events |= POLLOUT;
		} else if (pipe->not_before_ms - now_ms < *timeout_ms) {
			*timeout_ms = (int)(pipe->not_before_ms - now_ms);
		}
	}
	/* A socket that is only hung up would wake us for ever. */
	for (int d = 0; d < CUT_DIRECTIONS; d++)
		if (fds[d].events == 0)
			fds[d].fd = -1;
}

static void connection_serve(cut_proxy *p, proxy_connection *c,
			     const struct pollfd *fds)
{
	for (int d = 0; d < CUT_DIRECTIONS && c->used; d++) {
		proxy_pipe *pipe = &c->pipe[d];

		if (fds[!d].revents && pipe->start == pipe->end && !pipe->ended)
			pipe_read(c, d);
		if (pipe->start < pipe->end &&
		    pipe->not_before_ms <= proxy_now_ms() &&
		    !pipe_write(p, c, d))
			return;
	}
	if (c->used && c->pipe[0].ended && c->pipe[1].ended)
		connection_close(c, false);
}

static void proxy_cut_all(cut_proxy *p)
{
	for (int i = 0; i < CUT_PROXY_CONNECTIONS_MAX; i++)
		if (p->connection[i].used)
			connection_cut(p, &p->connection[i]);
	p->cut_now = false;
}

static void *proxy_main(void *arg)
{
	cut_proxy *p = arg;
	struct pollfd fds[2 + 2 * CUT_PROXY_CONNECTIONS_MAX];
	uint64_t count;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		int timeout_ms = PROXY_POLL_MS;

		fds[0] = (struct pollfd){p->listener, POLLIN, 0};
		fds[1] = (struct pollfd){p->wake, POLLIN, 0};
		for (int i = 0; i < CUT_PROXY_CONNECTIONS_MAX; i++)
			connection_poll(p, &p->connection[i], &fds[2 + 2 * i],
					&timeout_ms);
		pthread_mutex_unlock(&p->lock);
		poll(fds, 2 + 2 * CUT_PROXY_CONNECTIONS_MAX, timeout_ms);
		if (fds[1].revents && read(p->wake, &count, sizeof(count)) < 0)
			count = 0;
		pthread_mutex_lock(&p->lock);
		if (p->cut_now)
			proxy_cut_all(p);
		for (int i = 0; i < CUT_PROXY_CONNECTIONS_MAX && !p->hold; i++)
			if (p->connection[i].used)
				connection_serve(p, &p->connection[i],
						 &fds[2 + 2 * i]);
		if (fds[0].revents)
			proxy_accept(p);
	}
	for (int i = 0; i < CUT_PROXY_CONNECTIONS_MAX; i++)
		if (p->connection[i].used)
			connection_close(&p->connection[i], false);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---- calls ------------------------------------------------------------- */

static void proxy_free(cut_proxy *p)
{
	if (p->listener >= 0)
		close(p->listener);
	if (p->wake >= 0)
		close(p->wake);
	for (int d = 0; d < CUT_DIRECTIONS; d++)
		free(p->finder[d].ends);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static bool proxy_listen(cut_proxy *p)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(in);

	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->listener < 0 ||
	    bind(p->listener, (struct sockaddr *)&in, sizeof(in)) ||
	    listen(p->listener, 16) ||
	    getsockname(p->listener, (struct sockaddr *)&in, &size))
		return false;
	p->port = ntohs(in.sin_port);
	return true;
}

cut_proxy *cut_proxy_start(const cut_proxy_options *options)
{
	cut_proxy *p = calloc(1, sizeof(*p));
	bool ok = true;

	if (!p)
		return NULL;
	p->options = *options;
	pthread_mutex_init(&p->lock, NULL);
	for (int d = 0; d < CUT_DIRECTIONS; d++) {
		p->cut_after[d] = UINT64_MAX;
		p->finder[d].ends =
			calloc(CUT_PROXY_FRAMES_MAX, sizeof(uint64_t));
		ok = ok && p->finder[d].ends;
	}
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!proxy_listen(p) || p->wake < 0 || !ok ||
	    pthread_create(&p->thread, NULL, proxy_main, p)) {
		proxy_free(p);
		return NULL;
	}
	return p;
}

static void proxy_wake_and_unlock(cut_proxy *p)
{
	const uint64_t one = 1;

	/* It can only fail where the thread is about to wake anyway. */
	ssize_t n = write(p->wake, &one, sizeof(one));

	(void)n;
	pthread_mutex_unlock(&p->lock);
}

void cut_proxy_stop(cut_proxy *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	proxy_wake_and_unlock(p);
	pthread_join(p->thread, NULL);
	proxy_free(p);
}

uint16_t cut_proxy_port(const cut_proxy *p)
{
	return p->port;
}

void cut_proxy_cut_after(cut_proxy *p, cut_direction direction, uint64_t bytes)
{
	pthread_mutex_lock(&p->lock);
	p->cut_after[direction] = bytes;
	proxy_wake_and_unlock(p);
}

void cut_proxy_cut_now(cut_proxy *p)
{
	pthread_mutex_lock(&p->lock);
	p->cut_now = true;
	proxy_wake_and_unlock(p);
}

void cut_proxy_hold(cut_proxy *p, bool hold)
{
	pthread_mutex_lock(&p->lock);
	p->hold = hold;
	proxy_wake_and_unlock(p);
}

unsigned cut_proxy_cuts(cut_proxy *p)
{
	unsigned cuts;

	pthread_mutex_lock(&p->lock);
	cuts = p->cuts;
	pthread_mutex_unlock(&p->lock);
	return cuts;
}

unsigned cut_proxy_accepted(cut_proxy *p)
{
	unsigned accepted;

	pthread_mutex_lock(&p->lock);
	accepted = p->accepted;
	pthread_mutex_unlock(&p->lock);
	return accepted;
}

uint64_t cut_proxy_passed(cut_proxy *p, cut_direction direction)
{
	uint64_t passed;

	pthread_mutex_lock(&p->lock);
	passed = p->last_passed[direction];
	pthread_mutex_unlock(&p->lock);
	return passed;
}

size_t cut_proxy_frame_ends(cut_proxy *p, cut_direction direction,
			    uint64_t *ret_ends, size_t max)
{
	const frame_finder *f = &p->finder[direction];
	size_t count;

	pthread_mutex_lock(&p->lock);
	count = f->count;
	if (max > 0)
		memcpy(ret_ends, f->ends,
		       (count < max ? count : max) * sizeof(*ret_ends));
	pthread_mutex_unlock(&p->lock);
	return count;
}
