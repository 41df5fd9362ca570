/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Routes: which exchange an event goes to, under which routing key, and what
 * holds for it there. The first route whose pattern matches the event's type
 * is used; the last, implicit one matches everything.
 */
#ifndef WAYBILL_ROUTE_H
#define WAYBILL_ROUTE_H

#include <waybill/event.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum wb_unroutable {
	WB_UNROUTABLE_PARK,  /* a returned event parks with its key */
	WB_UNROUTABLE_ACCEPT /* it counts as "accepted unrouted", by type */
} wb_unroutable;

typedef enum wb_order {
	WB_ORDER_KEY, /* at most one unconfirmed event per ordering key */
	WB_ORDER_NONE /* no order here: G3 is withdrawn for this route */
} wb_order;

typedef enum wb_mode {
	WB_MODE_BINARY,    /* CloudEvents attributes in headers */
	WB_MODE_STRUCTURED /* application/cloudevents+json body */
} wb_mode;

/* Strings are copied by whoever takes a route. */
typedef struct wb_route {
	/* Topic pattern over the type: words between dots, * for one word, #
	 * for any number (RabbitMQ, "Topics"). NULL: "#". */
	const char *type;
	const char *exchange;    /* NULL: "events"; "": the default one */
	/* Template: text and {type} {source} {subject} {key} {reply_to}
	 * {aggregatetype} {aggregateid}, 16 parts at most; NULL: "{type}". subject is split at
	 * its first '/'; what the event does not have is empty. */
	const char *routing_key;
	wb_unroutable unroutable;
	wb_order order;
	wb_mode mode;
} wb_route;

typedef struct wb_routes wb_routes;

enum { WB_ROUTES_MAX = 256 };

/*
 * Compile a table of routes; WB_EINVAL names the route by number (from 1) and
 * what is wrong in it; a route that an earlier one leaves nothing to do is
 * wrong too. `count` 0 gives the implicit route alone. Immutable afterwards:
 * may be shared between threads. Free with wb_routes_free().
 */
WB_API wb_code wb_routes_new(const wb_route *routes, size_t count,
			     wb_routes **ret, wb_error *err);
WB_API void wb_routes_free(wb_routes *routes);

/* The route for a type, with its defaults filled in; never NULL; borrowed from
 * `routes`. */
WB_API const wb_route *wb_routes_match(const wb_routes *routes, wb_str type);

/* Walk the table: `index` is 0 .. count - 1, the last one is the implicit
 * route. index_of() is for a route that wb_routes_match() gave. */
WB_API size_t wb_routes_count(const wb_routes *routes);
WB_API const wb_route *wb_routes_at(const wb_routes *routes, size_t index);
WB_API size_t wb_routes_index_of(const wb_routes *routes,
				 const wb_route *route);

enum { WB_ROUTING_KEY_MAX = 255 };

/*
 * The routing key for an event by a route that wb_routes_match() returned.
 * WB_ELIMIT if it would be longer than 255 bytes (AMQP short string).
 * *ret_len excludes the NUL.
 */
WB_API wb_code wb_route_key(const wb_route *route, const wb_event *event,
			    char ret[WB_ROUTING_KEY_MAX + 1], size_t *ret_len,
			    wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
