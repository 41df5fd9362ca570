/* SPDX-License-Identifier: BSD-2-Clause */
/* Where commands and replies go without anybody saying so, and when somebody
 * does. */
#include "tests/support/testing.h"

#include <waybill/saga.h>

static wb_code done(wb_call *call, wb_error *err)
{
	(void)call;
	(void)err;
	return WB_OK;
}

static wb_code carry_out(wb_call *call, const wb_event *command, wb_error *err)
{
	(void)call;
	(void)command;
	(void)err;
	return WB_OK;
}

static const wb_step steps[] = {
	{"create", .run = done, .run_undo = done},
	{"block", .command = "parking.block", .undo = "parking.unblock"},
	{"again", .command = "parking.block", .undo = "parking.unblock",
	 .probe = "parking.status"},
	{"pay", WB_PIVOT, .command = "billing.pay"}};
static const wb_saga booking = {
	.size = sizeof(wb_saga), .name = "booking", .steps = steps, .count = 4};
static const wb_saga *const sagas[] = {&booking};

static const wb_command commands[] = {
	{"garden.water", "garden.dry", "garden.look", carry_out, carry_out}};
static const wb_participant garden = {.size = sizeof(wb_participant),
				      .name = "garden",
				      .commands = commands,
				      .count = 1};
static const wb_participant *const participants[] = {&garden};

static wb_routes *routes_of(const wb_route *own, size_t count)
{
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes;

	routing.own = own;
	routing.own_count = count;
	routing.sagas = sagas;
	routing.saga_count = 1;
	routing.participants = participants;
	routing.participant_count = 1;
	assert_ok(wb_saga_routes_new(&routing, &routes, &err), err);
	return routes;
}

static void assert_goes(const wb_routes *routes, const char *type,
			const char *exchange, const char *key)
{
	wb_event event = {.type = wb_str_from(type), .reply_to = S("q")};
	const wb_route *route = wb_routes_match(routes, event.type);
	char text[WB_ROUTING_KEY_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	size_t len;

	assert_string_equal(route->exchange, exchange);
	assert_ok(wb_route_key(route, &event, text, &len, &err), err);
	assert_string_equal(text, key);
}

static void commands_and_replies_find_their_way_by_themselves(void **state)
{
	wb_routes *routes = routes_of(NULL, 0);

	(void)state;
	assert_goes(routes, "parking.block", "commands", "parking.block");
	assert_goes(routes, "parking.unblock", "commands", "parking.unblock");
	assert_goes(routes, "parking.status", "commands", "parking.status");
	assert_goes(routes, "billing.pay", "commands", "billing.pay");
	assert_goes(routes, "garden.water.reply", "", "q");
	assert_goes(routes, "garden.dry.reply", "", "q");
	assert_goes(routes, "garden.look.reply", "", "q");
	assert_goes(routes, "booking.done", "events", "booking.done");
	assert_goes(routes, "my.reply", "events", "my.reply");
	assert_int_equal(wb_routes_count(routes), 4 + 3 + 1);
	wb_routes_free(routes);
}

static void a_route_that_names_them_is_followed(void **state)
{
	const wb_route own[] = {{.type = "parking.*", .exchange = "garage"},
				{.type = "*.look.reply", .exchange = "seen"}};
	wb_routes *routes = routes_of(own, 2);

	(void)state;
	assert_goes(routes, "parking.block", "garage", "parking.block");
	assert_goes(routes, "billing.pay", "commands", "billing.pay");
	assert_goes(routes, "garden.look.reply", "seen", "garden.look.reply");
	assert_goes(routes, "garden.dry.reply", "", "q");
	wb_routes_free(routes);
}

static void a_route_for_all_the_rest_takes_the_rest_only(void **state)
{
	const wb_route own[] = {{.exchange = "all"}};
	wb_routes *routes = routes_of(own, 1);

	(void)state;
	assert_goes(routes, "parking.block", "commands", "parking.block");
	assert_goes(routes, "garden.dry.reply", "", "q");
	assert_goes(routes, "booking.done", "all", "booking.done");
	wb_routes_free(routes);
}

static void what_is_wrong_is_named(void **state)
{
	const wb_route own[] = {{.type = "#"}, {.type = "a.b"}};
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;
	wb_route many[WB_ROUTES_MAX];
	char types[WB_ROUTES_MAX][16];
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes = NULL;

	(void)state;
	routing.own = own;
	routing.own_count = 2;
	assert_int_equal(wb_saga_routes_new(&routing, &routes, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "route 2: never used"));
	for (int i = 0; i < WB_ROUTES_MAX; i++) {
		snprintf(types[i], sizeof(types[i]), "t%d", i);
		many[i] = (wb_route){.type = types[i]};
	}
	routing.own = many;
	routing.own_count = WB_ROUTES_MAX;
	routing.sagas = sagas;
	routing.saga_count = 1;
	wb_error_clear(&err);
	assert_int_equal(wb_saga_routes_new(&routing, &routes, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "give one of your own for many"));
	routing.size = 1;
	assert_code(wb_saga_routes_new(&routing, &routes, NULL), WB_EINVAL,
		    err);
	assert_null(routes);
}

static void a_list_that_is_not_there_is_named(void **state)
{
	wb_saga_routing wrong[3] = {WB_SAGA_ROUTING_INIT, WB_SAGA_ROUTING_INIT,
				    WB_SAGA_ROUTING_INIT};
	char longer[251];
	const wb_command command = {.type = longer};
	const wb_participant p = {.commands = &command, .count = 1};
	const wb_participant *const list[] = {&p, NULL};
	wb_saga_routing routing = WB_SAGA_ROUTING_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes = NULL;

	(void)state;
	wrong[0].own_count = 1;
	wrong[1].saga_count = 1;
	wrong[2].participant_count = 1;
	for (int i = 0; i < 3; i++)
		assert_code(wb_saga_routes_new(&wrong[i], &routes, &err),
			    WB_EINVAL, err);
	assert_code(wb_saga_routes_new(NULL, &routes, &err), WB_EINVAL, err);
	assert_code(wb_saga_routes_new(&routing, NULL, &err), WB_EINVAL, err);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	routing.participants = list;
	routing.participant_count = 1;
	assert_int_equal(wb_saga_routes_new(&routing, &routes, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "longer than 249 bytes"));
	wb_error_clear(&err);
	longer[249] = '\0';
	routing.participant_count = 2; /* one that is NULL has none */
	routing.commands = "";
	assert_ok(wb_saga_routes_new(&routing, &routes, &err), err);
	wb_routes_free(routes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			commands_and_replies_find_their_way_by_themselves),
		cmocka_unit_test(a_route_that_names_them_is_followed),
		cmocka_unit_test(a_route_for_all_the_rest_takes_the_rest_only),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(a_list_that_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
