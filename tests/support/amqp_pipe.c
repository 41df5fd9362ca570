/* SPDX-License-Identifier: BSD-2-Clause */
/* See amqp_pipe.h. A cut is what a reset looks like: bytes already on their
 * way to the adapter are still read, then both directions fail. */
#include "tests/support/amqp_pipe.h"

#include "lib/base/assert.h"
#include "lib/base/error.h"

void amqp_pipe_init(amqp_pipe *pipe)
{
	*pipe = (amqp_pipe){.room = SIZE_MAX,
			    .cut_to_peer = SIZE_MAX,
			    .cut_to_adapter = SIZE_MAX,
			    .stall_to_peer = SIZE_MAX,
			    .stall_to_adapter = SIZE_MAX,
			    .wake_at_us = INT64_MAX};
}

static wb_code pipe_open(void *self, const wbi_amqp_host *host,
			 int64_t deadline_us, wb_error *err)
{
	amqp_pipe *p = self;

	WB_ASSERT(p->port == 0);
	WB_ASSERT(host->port >= 1 && host->port <= AMQP_PIPE_HOSTS_MAX);
	p->opens++;
	if (p->fate[host->port] == AMQP_PIPE_REFUSES_AT_ONCE)
		return WBI_FAIL(err, WB_EUNREACHABLE, "refused at once");
	p->port = host->port;
	p->deadline_us = deadline_us;
	p->to_peer = p->to_adapter = 0;
	return WB_OK;
}

static wb_code pipe_advance(void *self, int64_t now_us, wb_error *err)
{
	amqp_pipe *p = self;

	WB_ASSERT(p->port != 0);
	switch (p->fate[p->port]) {
	case AMQP_PIPE_OPENS:
		amqp_peer_reconnect(p->peer[p->port]);
		return WB_OK;
	case AMQP_PIPE_IS_SILENT:
		if (now_us < p->deadline_us)
			return WB_EAGAIN;
		return WBI_FAIL(err, WB_ETIMEOUT, "timed out");
	default:
		return WBI_FAIL(err, WB_EUNREACHABLE, "refused");
	}
}

static int64_t pipe_deadline_us(void *self)
{
	const amqp_pipe *p = self;

	return p->fate[p->port] == AMQP_PIPE_IS_SILENT ? p->deadline_us : 0;
}

static bool pipe_is_cut(const amqp_pipe *p)
{
	return p->to_peer >= p->cut_to_peer ||
	       p->to_adapter >= p->cut_to_adapter;
}

/* How many of `len` bytes go through, of a direction that has carried so many,
 * is cut after so many and stalls after so many. */
static size_t pipe_share(const amqp_pipe *p, size_t len, size_t carried,
			 size_t cut, size_t stall)
{
	size_t end = cut < stall ? cut : stall;
	size_t left = end > carried ? end - carried : 0;

	if (len > left)
		len = left;
	return p->chunk && len > p->chunk ? p->chunk : len;
}

static wb_code pipe_read(void *self, uint8_t *to, size_t size, size_t *ret_len,
			 wb_error *err)
{
	amqp_pipe *p = self;
	wbi_buffer *out = amqp_peer_output(p->peer[p->port]);
	size_t len = wbi_buffer_len(out);

	p->reads++;
	len = pipe_share(p, len < size ? len : size, p->to_adapter,
			 p->cut_to_adapter, p->stall_to_adapter);
	if (len == 0 && pipe_is_cut(p))
		return WBI_FAIL(err, WB_ECLOSED, "connection lost: cut");
	if (len == 0 && amqp_peer_is_closed(p->peer[p->port]))
		return WBI_FAIL(err, WB_ECLOSED, "end of file");
	if (len == 0)
		return WB_EAGAIN;
	memcpy(to, wbi_buffer_data(out), len);
	wbi_buffer_consume(out, len);
	p->to_adapter += len;
	*ret_len = len;
	return WB_OK;
}

static wb_code pipe_write(void *self, const uint8_t *from, size_t len,
			  size_t *ret_len, wb_error *err)
{
	amqp_pipe *p = self;

	p->writes++;
	if (pipe_is_cut(p))
		return WBI_FAIL(err, WB_ECLOSED, "broken pipe");
	len = pipe_share(p, len < p->room ? len : p->room, p->to_peer,
			 p->cut_to_peer, p->stall_to_peer);
	if (len == 0)
		return WB_EAGAIN;
	amqp_peer_feed(p->peer[p->port], from, len);
	p->room -= p->room == SIZE_MAX ? 0 : len;
	p->to_peer += len;
	*ret_len = len;
	return WB_OK;
}

static void pipe_shut(void *self)
{
	amqp_pipe *p = self;

	p->shuts++;
	p->port = 0;
}

static int pipe_fd(void *self)
{
	(void)self;
	return -1;
}

static void pipe_wake_at(void *self, int64_t at_us, int64_t now_us)
{
	amqp_pipe *p = self;

	(void)now_us;
	p->wake_at_us = at_us;
}

static void pipe_free(void *self)
{
	amqp_pipe *p = self;

	WB_ASSERT(!p->freed);
	p->freed = true;
	p->port = 0;
}

wbi_transport amqp_pipe_transport(amqp_pipe *pipe)
{
	static const wbi_transport_ops ops = {
		pipe_open, pipe_advance, pipe_deadline_us,
		pipe_read, pipe_write,   pipe_shut,
		pipe_fd,   pipe_wake_at, pipe_free};

	return (wbi_transport){&ops, pipe};
}
