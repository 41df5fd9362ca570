/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes to and from one broker host, never blocking. The adapter drives a
 * wbi_transport; wbi_socket_transport_new() makes the real one, tests and the
 * simulator put an in-memory pipe in its place.
 */
#ifndef WBI_AMQP_TRANSPORT_H
#define WBI_AMQP_TRANSPORT_H

#include "broker-adapters/amqp/resolve.h"
#include "broker-adapters/amqp/uri.h"

/*
 * Life: open() → advance() until it is WB_OK → read() and write() → shut(),
 * and again. All times are monotonic microseconds of the adapter's clock.
 * WB_EAGAIN from any slot sets no error text.
 */
typedef struct wbi_transport_ops {
	/*
	 * Begin to connect. `host` stays valid until shut(). By deadline_us
	 * advance() has succeeded or failed.
	 */
	wb_code (*open)(void *self, const wbi_amqp_host *host,
			int64_t deadline_us, wb_error *err);

	/* WB_EAGAIN: still connecting. WB_OK: open. Else: failed, and why;
	 * shut() is due. */
	wb_code (*advance)(void *self, int64_t now_us, wb_error *err);

	/* When advance() must be called even if fd() stays quiet. */
	int64_t (*deadline_us)(void *self);

	/* At least one byte, or WB_EAGAIN, or why no more will come. With
	 * WBI_TRANSPORT_READ_MIN bytes of room or more, what is left behind
	 * keeps fd() readable. */
	wb_code (*read)(void *self, uint8_t *to, size_t size, size_t *ret_len,
			wb_error *err);

	/* At least one byte written, or WB_EAGAIN (fd() then becomes readable
	 * when there is room again), or why no more can be sent. */
	wb_code (*write)(void *self, const uint8_t *from, size_t len,
			 size_t *ret_len, wb_error *err);

	/* Drop the connection at once. Any state. */
	void (*shut)(void *self);

	/* One descriptor for everything waited for; constant; -1: none. */
	int (*fd)(void *self);

	/* Let fd() be readable at `at_us`, perhaps also earlier; INT64_MAX:
	 * for no such reason. To be called once per step, since it also ends
	 * the readability that an earlier time has caused. */
	void (*wake_at)(void *self, int64_t at_us, int64_t now_us);

	void (*free)(void *self);
} wbi_transport_ops;

enum { WBI_TRANSPORT_READ_MIN = 16384 };

typedef struct wbi_transport {
	const wbi_transport_ops *ops;
	void *self;
} wbi_transport;

/*
 * TCP, or TLS over it. `log` is copied and may be NULL;
 * `lookup` NULL: getaddrinfo. WB_ENOMEM, and what epoll and timerfd say.
 */
wb_code wbi_socket_transport_new(const wb_log *log, wbi_lookup_fn lookup,
				 wbi_transport *ret, wb_error *err);

#endif
