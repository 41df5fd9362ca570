/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Routes, compiled once. A pattern without a wildcard is an entry of a hash
 * table; the others are tried in order, each behind a comparison of the bytes
 * before its first wildcard. So a type costs one hash and, in the worst case,
 * a look at each wildcard route that stands before the one found; the implicit
 * route alone costs nothing.
 *
 * A table never changes after wb_routes_new(): any thread may read it. It owns
 * its copies of all strings. No state outlives a crash, since there is none.
 */
#include <waybill/route.h>

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/text.h"
#include "lib/base/topic.h"

enum {
	ROUTE_TEXT_MAX = 255,     /* pattern and exchange: short strings */
	ROUTE_TEMPLATE_MAX = 512, /* bytes of a routing key's template */
	ROUTE_PIECES_MAX = 16,
	ROUTE_SLOTS = 1024, /* twice the routes and more: never full */
	ROUTE_SEED = 0x7761
};

typedef enum piece_kind {
	PIECE_LITERAL,
	PIECE_TYPE,
	PIECE_SOURCE,
	PIECE_SUBJECT,
	PIECE_KEY,
	PIECE_REPLY_TO,
	PIECE_AGGREGATE_TYPE,
	PIECE_AGGREGATE_ID
} piece_kind;

typedef struct piece {
	piece_kind kind;
	wb_str text; /* LITERAL: points into the route's template */
} piece;

/* `route` comes first: wb_route_key() is given that and finds the rest. */
typedef struct compiled {
	wb_route route;
	wbi_topic topic;
	size_t piece_count;
	piece pieces[ROUTE_PIECES_MAX];
} compiled;

struct wb_routes {
	size_t count; /* without the implicit one, which is at the end */
	size_t exact_count, wild_count;
	uint16_t wild[WB_ROUTES_MAX + 1]; /* indexes, in order */
	uint16_t slots[ROUTE_SLOTS];      /* index + 1 of exact routes; 0 */
	compiled table[];
};

/* ---- matching ----------------------------------------------------------- */

/* Where the search for a type begins; it ends at the first empty slot. */
static size_t slot_of(wb_str type)
{
	return wbi_hash(ROUTE_SEED, type.ptr, type.len) % ROUTE_SLOTS;
}

/* The exact route for this type; routes->count if there is none. */
static size_t find_exact(const wb_routes *routes, wb_str type)
{
	size_t slot = slot_of(type);

	if (routes->exact_count == 0)
		return routes->count;
	for (; routes->slots[slot] != 0; slot = (slot + 1) % ROUTE_SLOTS) {
		size_t index = routes->slots[slot] - 1u;

		if (wb_str_eq(routes->table[index].topic.pattern, type))
			return index;
	}
	return routes->count;
}

const wb_route *wb_routes_match(const wb_routes *routes, wb_str type)
{
	size_t found;

	if (routes->count == 0)
		return &routes->table[0].route;
	found = find_exact(routes, type);
	for (size_t i = 0; i < routes->wild_count; i++) {
		size_t index = routes->wild[i];

		if (index > found)
			break;
		if (wbi_topic_takes(&routes->table[index].topic, type))
			found = index;
	}
	return &routes->table[found].route;
}

/* ---- routing keys ------------------------------------------------------ */

static wb_str piece_text(const piece *part, const wb_event *event)
{
	wb_str subject = event->subject;
	const char *slash = NULL;
	size_t head;

	if (subject.len > 0)
		slash = memchr(subject.ptr, '/', subject.len);
	head = slash ? (size_t)(slash - subject.ptr) : subject.len;
	switch (part->kind) {
	case PIECE_LITERAL:
		return part->text;
	case PIECE_TYPE:
		return event->type;
	case PIECE_SOURCE:
		return event->source;
	case PIECE_SUBJECT:
		return subject;
	case PIECE_KEY:
		return event->key;
	case PIECE_REPLY_TO:
		return event->reply_to;
	case PIECE_AGGREGATE_TYPE:
		return wb_str_n(subject.ptr, head);
	case PIECE_AGGREGATE_ID:
		return slash ? wb_str_n(slash + 1, subject.len - head - 1)
			     : WB_STR_NULL;
	}
	WB_ASSERT(false); /* every kind is listed */
	return WB_STR_NULL;
}

wb_code wb_route_key(const wb_route *route, const wb_event *event,
		     char ret[WB_ROUTING_KEY_MAX + 1], size_t *ret_len,
		     wb_error *err)
{
	const compiled *c = (const compiled *)route;
	wb_str texts[ROUTE_PIECES_MAX];
	size_t len = 0;
	char *p = ret;

	for (size_t i = 0; i < c->piece_count; i++) {
		texts[i] = piece_text(&c->pieces[i], event);
		len += texts[i].len;
	}
	if (len > WB_ROUTING_KEY_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"routing key: %zu bytes by the template "
				"\"%.200s\", at most %d fit into an AMQP short "
				"string; shorten what it is made of",
				len, route->routing_key,
				(int)WB_ROUTING_KEY_MAX);
	for (size_t i = 0; i < c->piece_count; i++) {
		/* cppcheck-suppress uninitvar ; as many as were filled above */
		if (texts[i].len > 0)
			memcpy(p, texts[i].ptr, texts[i].len);
		p += texts[i].len;
	}
	*p = '\0';
	*ret_len = len;
	return WB_OK;
}

/* ---- compiling --------------------------------------------------------- */

static wb_code check_text(size_t number, const char *what, const char *text,
			  size_t max, wb_error *err)
{
	wb_str s = wb_str_from(text);
	char shown[128];

	wbi_text_show(s, shown, sizeof(shown));
	if (s.len > max)
		return WBI_FAIL(
			err, WB_EINVAL,
			"route %zu: %s \"%s...\" has %zu bytes, at most "
			"%zu are accepted",
			number, what, shown, s.len, max);
	if (!wbi_text_is_clean(s, NULL))
		return WBI_FAIL(
			err, WB_EINVAL,
			"route %zu: %s \"%s\" is not UTF-8 text without "
			"control characters",
			number, what, shown);
	return WB_OK;
}

static wb_code compile_pattern(compiled *c, size_t number, wb_error *err)
{
	wb_str pattern = wb_str_from(c->route.type);
	wb_code code =
		check_text(number, "type", c->route.type, ROUTE_TEXT_MAX, err);

	if (code != WB_OK)
		return code;
	if (pattern.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"route %zu: type is empty; \"#\" matches every "
				"event",
				number);
	if (!wbi_topic_compile(&c->topic, pattern))
		return WBI_FAIL(err, WB_EINVAL,
				"route %zu: type \"%s\": * and # stand for "
				"whole words between dots",
				number, c->route.type);
	return WB_OK;
}

static bool field_of(wb_str name, piece_kind *ret)
{
	static const struct {
		const char *name;
		piece_kind kind;
	} fields[] = {
		{"type", PIECE_TYPE},
		{"source", PIECE_SOURCE},
		{"subject", PIECE_SUBJECT},
		{"key", PIECE_KEY},
		{"reply_to", PIECE_REPLY_TO},
		{"aggregatetype", PIECE_AGGREGATE_TYPE},
		{"aggregateid", PIECE_AGGREGATE_ID},
	};

	for (size_t i = 0; i < WBI_COUNT(fields); i++) {
		if (wb_str_eq(name, wb_str_from(fields[i].name))) {
			*ret = fields[i].kind;
			return true;
		}
	}
	return false;
}

/* The piece at `at` of a template; returns where it ends, 0 if it is none. */
static size_t compile_piece(wb_str template, size_t at, piece *ret)
{
	size_t end = at;

	if (template.ptr[at] != '{') {
		while (end < template.len && template.ptr[end] != '{' &&
		       template.ptr[end] != '}')
			end++;
		ret->kind = PIECE_LITERAL;
		ret->text = wb_str_n(template.ptr + at, end - at);
		return end; /* == at, thus no progress, on a lone '}' */
	}
	while (end < template.len && template.ptr[end] != '}')
		end++;
	if (end == template.len ||
	    !field_of(wb_str_n(template.ptr + at + 1, end - at - 1),
		      &ret->kind))
		return 0;
	return end + 1;
}

static wb_code compile_template(compiled *c, size_t number, wb_error *err)
{
	wb_str template = wb_str_from(c->route.routing_key);
	wb_code code = check_text(number, "routing_key", c->route.routing_key,
				  ROUTE_TEMPLATE_MAX, err);
	size_t at = 0;

	while (code == WB_OK && at < template.len) {
		size_t end;

		if (c->piece_count == ROUTE_PIECES_MAX)
			return WBI_FAIL(err, WB_EINVAL,
					"route %zu: routing_key has more than "
					"%d parts",
					number, (int)ROUTE_PIECES_MAX);
		end = compile_piece(template, at, &c->pieces[c->piece_count]);
		if (end <= at)
			return WBI_FAIL(err, WB_EINVAL,
					"route %zu: routing_key \"%.100s\": at "
					"byte %zu must be one of {type} "
					"{source} {subject} {key} {reply_to} "
					"{aggregatetype} {aggregateid}",
					number, c->route.routing_key, at);
		c->piece_count++;
		at = end;
	}
	return code;
}

static wb_code check_choices(const wb_route *route, size_t number,
			     wb_error *err)
{
	if (route->unroutable != WB_UNROUTABLE_PARK &&
	    route->unroutable != WB_UNROUTABLE_ACCEPT)
		return WBI_FAIL(err, WB_EINVAL,
				"route %zu: unroutable is %d, neither park nor "
				"accept",
				number, (int)route->unroutable);
	if (route->order != WB_ORDER_KEY && route->order != WB_ORDER_NONE)
		return WBI_FAIL(err, WB_EINVAL,
				"route %zu: order is %d, neither key nor none",
				number, (int)route->order);
	if (route->mode != WB_MODE_BINARY && route->mode != WB_MODE_STRUCTURED)
		return WBI_FAIL(err, WB_EINVAL,
				"route %zu: mode is %d, neither binary nor "
				"structured",
				number, (int)route->mode);
	return WB_OK;
}

/* Copies; each is freed by wb_routes_free() also if a later one fails. */
static bool copy_route(wb_route *to, const wb_route *from)
{
	*to = *from;
	to->type = strdup(from->type ? from->type : "#");
	to->exchange = strdup(from->exchange ? from->exchange : "events");
	to->routing_key =
		strdup(from->routing_key ? from->routing_key : "{type}");
	return to->type && to->exchange && to->routing_key;
}

static wb_code compile(compiled *c, const wb_route *from, size_t number,
		       wb_error *err)
{
	wb_code code = check_choices(from, number, err);

	if (code != WB_OK)
		return code;
	if (!copy_route(&c->route, from))
		return WBI_FAIL(err, WB_ENOMEM, "routes: out of memory");
	code = check_text(number, "exchange", c->route.exchange, ROUTE_TEXT_MAX,
			  err);
	if (code == WB_OK)
		code = compile_pattern(c, number, err);
	if (code == WB_OK)
		code = compile_template(c, number, err);
	return code;
}

/* A route that can never be reached is a mistake of whoever wrote it. */
static wb_code check_reachable(const wb_routes *routes, size_t index,
			       wb_error *err)
{
	const compiled *c = &routes->table[index];

	for (size_t i = 0; i < index; i++) {
		wb_str before = routes->table[i].topic.pattern;

		if (wb_str_eq(before, wb_str_from("#")) ||
		    wb_str_eq(before, c->topic.pattern))
			return WBI_FAIL(err, WB_EINVAL,
					"route %zu: never used, since route "
					"%zu (type \"%s\") takes its events; "
					"put the narrower one first",
					index + 1, i + 1,
					routes->table[i].route.type);
	}
	return WB_OK;
}

static void index_route(wb_routes *routes, size_t index)
{
	const compiled *c = &routes->table[index];
	size_t slot;

	if (!c->topic.exact) {
		routes->wild[routes->wild_count++] = (uint16_t)index;
		return;
	}
	slot = slot_of(c->topic.pattern);
	while (routes->slots[slot] != 0)
		slot = (slot + 1) % ROUTE_SLOTS;
	routes->slots[slot] = (uint16_t)(index + 1);
	routes->exact_count++;
}

wb_code wb_routes_new(const wb_route *from, size_t count, wb_routes **ret,
		      wb_error *err)
{
	static const wb_route implicit = {.type = "#"};
	wb_routes *routes;
	wb_code code = WB_OK;

	if (!ret || (count > 0 && !from))
		return WBI_FAIL(err, WB_EINVAL, "routes: NULL");
	if (count > WB_ROUTES_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"routes: %zu of them, at most %d are accepted",
				count, (int)WB_ROUTES_MAX);
	routes = calloc(1, sizeof(*routes) +
				   (count + 1) * sizeof(routes->table[0]));
	if (!routes)
		return WBI_FAIL(err, WB_ENOMEM, "routes: out of memory");
	routes->count = count;
	for (size_t i = 0; code == WB_OK && i < count; i++) {
		code = compile(&routes->table[i], &from[i], i + 1, err);
		if (code == WB_OK)
			code = check_reachable(routes, i, err);
		if (code == WB_OK)
			index_route(routes, i);
	}
	if (code == WB_OK)
		code = compile(&routes->table[count], &implicit, count + 1,
			       err);
	if (code == WB_OK)
		*ret = routes;
	else
		wb_routes_free(routes);
	return code;
}

size_t wb_routes_count(const wb_routes *routes)
{
	return routes->count + 1;
}

const wb_route *wb_routes_at(const wb_routes *routes, size_t index)
{
	return &routes->table[index].route;
}

size_t wb_routes_index_of(const wb_routes *routes, const wb_route *route)
{
	return (size_t)((const compiled *)(const void *)route - routes->table);
}

void wb_routes_free(wb_routes *routes)
{
	if (!routes)
		return;
	for (size_t i = 0; i <= routes->count; i++) {
		wb_route *route = &routes->table[i].route;

		free((char *)route->type);
		free((char *)route->exchange);
		free((char *)route->routing_key);
	}
	free(routes);
}
