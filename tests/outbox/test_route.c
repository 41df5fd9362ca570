/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <time.h>

#include <waybill/route.h>

#include "lib/base/assert.h"

static wb_routes *make(const wb_route *table, size_t count)
{
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes = NULL;

	assert_ok(wb_routes_new(table, count, &routes, &err), err);
	return routes;
}

static const char *exchange_for(const wb_routes *routes, const char *type)
{
	return wb_routes_match(routes, wb_str_from(type))->exchange;
}

static void without_routes_the_type_is_the_routing_key(void **state)
{
	wb_routes *routes = make(NULL, 0);
	const wb_route *route = wb_routes_match(routes, S("order.placed"));
	wb_event event = {.type = S("order.placed")};
	char key[WB_ROUTING_KEY_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	size_t len;

	(void)state;
	assert_string_equal(route->type, "#");
	assert_string_equal(route->exchange, "events");
	assert_string_equal(route->routing_key, "{type}");
	assert_int_equal(route->unroutable, WB_UNROUTABLE_PARK);
	assert_int_equal(route->order, WB_ORDER_KEY);
	assert_int_equal(route->mode, WB_MODE_BINARY);
	assert_ok(wb_route_key(route, &event, key, &len, &err), err);
	assert_string_equal(key, "order.placed");
	assert_int_equal(len, 12);
	wb_routes_free(routes);
	wb_routes_free(NULL);
}

/* As RabbitMQ's topic exchange sees it. */
static void patterns_are_those_of_a_topic_exchange(void **state)
{
	static const struct {
		const char *pattern, *type;
		bool yes;
	} cases[] = {
		{"#", "a", true},
		{"#", "a.b.c", true},
		{"*", "a", true},
		{"*", "a.b", false},
		{"*.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b", true},
		{"a.*", "a.", true},
		{"a.*", "a.b.c", false},
		{"a.*", "ab.c", false},
		{"a.#", "a", true},
		{"a.#", "a.b.c", true},
		{"a.#", "ab", false},
		{"#.a", "a", true},
		{"#.a", "b.a", true},
		{"#.a", "b.ca", false},
		{"a.#.z", "a.z", true},
		{"a.#.z", "a.b.c.z", true},
		{"a.#.z", "a.z.b", false},
		{"a.#.b.#.c", "a.b.b.c.c", true},
		{"a.#.b.#.c", "a.c.b", false},
		{"#.#", "a", true},
		{"#.*", "a.b", true},
		{"*.#", "a", true},
		{"#.*.#", "a", true},
		{"a.b", "a.b", true},
		{"a.b", "a.b.c", false},
		{"a.b", "a", false},
		{"*.b", "a.b", true},
		{"*.b.*", "a.b", false},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_route table = {.type = cases[i].pattern, .exchange = "hit"};
		wb_routes *routes = make(&table, 1);
		bool hit = !strcmp(exchange_for(routes, cases[i].type), "hit");

		if (hit != cases[i].yes)
			fail_msg("%s on %s: %d", cases[i].pattern,
				 cases[i].type, hit);
		wb_routes_free(routes);
	}
}

static void the_first_match_wins_exact_or_not(void **state)
{
	static const wb_route table[] = {
		{.type = "order.paid", .exchange = "1"},
		{.type = "order.*", .exchange = "2"},
		{.type = "order.placed", .exchange = "3"},
		{.type = "#.placed", .exchange = "4"},
		{.type = "stock.moved", .exchange = "5"},
	};
	wb_routes *routes = make(table, WBI_COUNT(table));

	(void)state;
	assert_string_equal(exchange_for(routes, "order.paid"), "1");
	assert_string_equal(exchange_for(routes, "order.placed"), "2");
	assert_string_equal(exchange_for(routes, "stock.placed"), "4");
	assert_string_equal(exchange_for(routes, "stock.moved"), "5");
	assert_string_equal(exchange_for(routes, "stock.move"), "events");
	wb_routes_free(routes);
}

static void as_many_routes_as_there_may_be(void **state)
{
	static char types[WB_ROUTES_MAX + 1][16];
	static wb_route table[WB_ROUTES_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes;

	(void)state;
	for (size_t i = 0; i <= WB_ROUTES_MAX; i++) {
		snprintf(types[i], sizeof(types[i]), "type.%zu", i);
		table[i].type = table[i].exchange = types[i];
	}
	routes = make(table, WB_ROUTES_MAX);
	for (size_t i = 0; i < WB_ROUTES_MAX; i++)
		assert_string_equal(exchange_for(routes, types[i]), types[i]);
	assert_string_equal(exchange_for(routes, "type.256"), "events");
	wb_routes_free(routes);
	assert_code(wb_routes_new(table, WB_ROUTES_MAX + 1, &routes, &err),
		    WB_EINVAL, err);
}

static void key_by(const char *template, const wb_event *event,
		   const char *expected)
{
	wb_route table = {.routing_key = template};
	wb_routes *routes = make(&table, 1);
	const wb_route *route = wb_routes_match(routes, event->type);
	char key[WB_ROUTING_KEY_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	size_t len;

	assert_ok(wb_route_key(route, event, key, &len, &err), err);
	assert_string_equal(key, expected);
	assert_int_equal(len, strlen(expected));
	wb_routes_free(routes);
}

static void templates_take_what_the_event_says(void **state)
{
	wb_event event = {.type = S("order.placed"),
			  .source = S("/shop"),
			  .subject = S("order/42/7"),
			  .key = S("k")};

	(void)state;
	key_by("{aggregatetype}.{type}", &event, "order.order.placed");
	key_by("{aggregateid}", &event, "42/7");
	key_by("a{source}{subject}{key}z", &event, "a/shoporder/42/7kz");
	key_by("fixed", &event, "fixed");
	key_by("", &event, "");
	event.subject = S("order");
	key_by("{aggregatetype}.{aggregateid}", &event, "order.");
	event.subject = WB_STR_NULL;
	key_by("{aggregatetype}.{aggregateid}", &event, ".");
}

static void a_routing_key_holds_255_bytes(void **state)
{
	static char text[WB_ROUTING_KEY_MAX + 1];
	wb_route table = {.routing_key = "{key}.{type}"};
	wb_routes *routes = make(&table, 1);
	const wb_route *route = wb_routes_match(routes, S("t"));
	wb_event event = {.type = S("t"), .key = {text, 253}};
	char key[WB_ROUTING_KEY_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	size_t len = 0;

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_ok(wb_route_key(route, &event, key, &len, &err), err);
	assert_int_equal(len, 255);
	event.key.len++;
	assert_int_equal(wb_route_key(route, &event, key, &len, &err),
			 WB_ELIMIT);
	assert_non_null(strstr(err.text, "256"));
	assert_non_null(strstr(err.text, "{key}.{type}"));
	assert_int_equal(len, 255);
	wb_routes_free(routes);
}

static void mistakes_name_the_route_and_the_cause(void **state)
{
	static char long_text[600];
	const struct {
		wb_route route;
		const char *says;
	} cases[] = {
		{{.type = ""}, "type is empty"},
		{{.type = "a.b*"}, "whole words"},
		{{.type = "a.##"}, "whole words"},
		{{.type = "a\n"}, "control"},
		{{.type = long_text}, "599 bytes"},
		{{.exchange = long_text}, "exchange"},
		{{.routing_key = long_text}, "routing_key"},
		{{.routing_key = "a{nope}"}, "byte 1"},
		{{.routing_key = "{type"}, "byte 0"},
		{{.routing_key = "a}"}, "byte 1"},
		{{.routing_key = "{key}{key}{key}{key}{key}{key}{key}{key}{key}"
				 "{key}{key}{key}{key}{key}{key}{key}{key}"},
		 "16 parts"},
		{{.order = (wb_order)7}, "order"},
		{{.mode = (wb_mode)7}, "mode"},
		{{.unroutable = (wb_unroutable)7}, "unroutable"},
		{{.type = "first"}, "never used"},
	};
	wb_routes *routes = NULL;

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_route table[] = {{.type = "first"}, cases[i].route};
		wb_error err = WB_ERROR_INIT;

		assert_int_equal(wb_routes_new(table, 2, &routes, &err),
				 WB_EINVAL);
		if (!strstr(err.text, "route 2") ||
		    !strstr(err.text, cases[i].says))
			fail_msg("case %zu: %s", i, err.text);
	}
	assert_null(routes);
}

static void nothing_is_reached_behind_a_route_for_all(void **state)
{
	static const wb_route table[] = {{.type = NULL}, {.type = "a"}};
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes;

	(void)state;
	assert_code(wb_routes_new(table, 2, &routes, &err), WB_EINVAL, err);
}

/* `test_route time`: ns per match. */
static int measure(void)
{
	enum { ROUNDS = 1000000, ROUTES = 64 };
	static char types[ROUTES][32];
	wb_route table[ROUTES] = {{0}};

	for (size_t i = 0; i < ROUTES; i++) {
		snprintf(types[i], sizeof(types[i]),
			 i % 2 ? "t%zu.*" : "t%zu.x", i);
		table[i].type = types[i];
	}
	for (size_t n = 0; n <= ROUTES; n = n ? n * 8 : 1) {
		wb_routes *routes = make(table, n);
		struct timespec a, b;
		uintptr_t sum = 0;

		clock_gettime(CLOCK_MONOTONIC, &a);
		for (int i = 0; i < ROUNDS; i++)
			sum += (uintptr_t)wb_routes_match(routes, S("t63.x"));
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%zu routes: %.1f ns (%zx)\n", n,
		       ((double)(b.tv_sec - a.tv_sec) * 1e9 +
			(double)(b.tv_nsec - a.tv_nsec)) /
			       ROUNDS,
		       (size_t)sum);
		wb_routes_free(routes);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_routes_the_type_is_the_routing_key),
		cmocka_unit_test(patterns_are_those_of_a_topic_exchange),
		cmocka_unit_test(the_first_match_wins_exact_or_not),
		cmocka_unit_test(as_many_routes_as_there_may_be),
		cmocka_unit_test(templates_take_what_the_event_says),
		cmocka_unit_test(a_routing_key_holds_255_bytes),
		cmocka_unit_test(mistakes_name_the_route_and_the_cause),
		cmocka_unit_test(nothing_is_reached_behind_a_route_for_all),
	};

	if (argc == 2 && !strcmp(argv[1], "time"))
		return measure();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
