/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host name to addresses without blocking. getaddrinfo(3) has no deadline, so
 * it runs on a thread of its own: the one hidden thread in the library. It
 * lives as long as that one look-up and touches nothing but its request.
 */
#ifndef WBI_AMQP_RESOLVE_H
#define WBI_AMQP_RESOLVE_H

#include <netdb.h>

#include <waybill/base.h>

/* How many look-ups given up by one resolver may still be running. */
enum { WBI_RESOLVE_ABANDONED_MAX = 4 };

typedef struct wbi_resolver wbi_resolver;

/* getaddrinfo(3), or what a test puts in its place; the answer is freed with
 * freeaddrinfo(3) either way. */
typedef int (*wbi_lookup_fn)(const char *host, const char *service,
			     const struct addrinfo *hints,
			     struct addrinfo **ret);

/* `lookup` NULL: getaddrinfo. WB_ENOMEM. */
wb_code wbi_resolver_new(wbi_lookup_fn lookup, wbi_resolver **ret,
			 wb_error *err);

/* Gives up what is running; never waits for it. NULL allowed. */
void wbi_resolver_free(wbi_resolver *resolver);

/*
 * Begin to look up a name or a numeric address; a numeric one is ready at
 * once. One at a time: an earlier one is given up. WB_EAGAIN: too many
 * look-ups hang already. WB_ENOMEM and what pthread_create says.
 */
wb_code wbi_resolver_start(wbi_resolver *resolver, const char *host,
			   uint16_t port, wb_error *err);

/* Readable once the answer is there; -1: no thread is needed or none runs.
 * Valid until take succeeds or fails, cancel, start or free. */
int wbi_resolver_fd(const wbi_resolver *resolver);

/*
 * WB_EAGAIN: not yet. WB_OK: *ret is the answer; free it with
 * freeaddrinfo(3). WB_EUNREACHABLE: the name has no address, or the
 * name server fails.
 */
wb_code wbi_resolver_take(wbi_resolver *resolver, struct addrinfo **ret,
			  wb_error *err);

void wbi_resolver_cancel(wbi_resolver *resolver);

#endif
