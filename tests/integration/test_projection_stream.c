/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model of a stream queue of a real broker: each event once, though it was
 * published twice and the connection is cut again and again; a stream that was
 * deleted and made anew is named. WAYBILL_TEST_AMQP names the broker; for the
 * deletion also WAYBILL_TEST_RABBITMQCTL.
 */
#include "tests/support/testing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <waybill/read.h>

#include "lib/event/envelope.h"
#include "projections/projector.h"
#include "tests/integration/peer.h"
#include "tests/support/cut_proxy.h"
#include "tests/support/place.h"

enum { MANY = 20000, KEYS = 50 };

static const char origin[] = "0199a000-0000-7000-8000-00000000000b";

/* ---- the model: how many events of each key ------------------------------ */

static wb_code count(wb_model *model, const wb_event *event, wb_error *err)
{
	uint64_t n = 0;
	wb_str old;
	wb_code code = wb_model_get(model, 0, event->key, &old, err);

	if (code == WB_OK)
		memcpy(&n, old.ptr, sizeof(n));
	else if (code != WB_ENOTFOUND)
		return code;
	n++;
	return wb_model_put(model, 0, event->key, wb_str_n(&n, sizeof(n)), err);
}

static const char *const types[] = {"thing.*", NULL};
static const wb_model_table tables[] = {{"counts", NULL, NULL, 0}};
static const wb_projection counts = {
	.size = sizeof(counts),
	.name = "counts",
	.version = 1,
	.source = WB_PROJECTION_STREAM,
	.types = types,
	.tables = tables,
	.table_count = 1,
	.on_error = WB_ON_ERROR_STOP,
	.apply = count,
};

/* ---- the stream ---------------------------------------------------------- */

typedef struct scene {
	test_place *place;
	char queue[64];
	peer publisher;
	wb_broker *live, *rebuild;
	wb_projector *projector;
	wb_amqp_options amqp;
} scene;

static void declare_with(scene *s, int64_t bytes, int64_t segment_bytes)
{
	const wb_argument arguments[] = {
		{.name = S("x-queue-type"), .text = S("stream")},
		{.name = S("x-max-length-bytes"),
		 .is_number = true,
		 .number = bytes},
		{.name = S("x-stream-max-segment-size-bytes"),
		 .is_number = true,
		 .number = segment_bytes}};
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = wb_str_from(s->queue),
				      .arguments = arguments,
				      .argument_count = bytes > 0 ? 3 : 1};

	assert_int_equal(peer_declare(&s->publisher, &queue).kind,
			 WB_BROKER_DECLARED);
}

static void declare(scene *s)
{
	declare_with(s, 0, 0);
}

static wb_code publish_one(scene *s, uint64_t at)
{
	char id[64], key[32], names[64], scratch[WBI_ENVELOPE_SCRATCH];
	wbi_envelope_context context = {S("test"), wb_str_from(origin), at};
	wb_header headers[WBI_ENVELOPE_HEADERS];
	wb_event event = {.type = S("thing.seen"),
			  .source = S("/test"),
			  .time_us = 1767225600000000,
			  .data = S("{}")};
	wb_message message;

	snprintf(id, sizeof(id), "id-%" PRIu64, at);
	snprintf(key, sizeof(key), "k%" PRIu64, at % KEYS);
	event.id = wb_str_from(id);
	event.key = wb_str_from(key);
	wbi_envelope_binary(&event, &context, headers, names, scratch,
			    &message);
	message.routing_key = wb_str_from(s->queue);
	return wb_broker_publish(s->publisher.broker, &message, at, NULL);
}

static void publish(scene *s, uint64_t from, uint64_t to)
{
	uint64_t sent = 0, acked = 0, total = to - from + 1;

	while (acked < total) {
		while (sent < total && sent - acked < 1000 &&
		       publish_one(s, from + sent) == WB_OK)
			sent++;
		wb_broker_flush(s->publisher.broker);
		peer_wait(&s->publisher, WB_BROKER_ACKED);
		acked++;
	}
}

/* ---- the projector ------------------------------------------------------- */

static void open_projector(scene *s)
{
	wb_projector_options o = WB_PROJECTOR_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_amqp_new(&s->amqp, &s->live, &err), err);
	assert_ok(wb_amqp_new(&s->amqp, &s->rebuild, &err), err);
	o.dir = s->place->dir;
	o.queue = s->queue;
	o.broker = s->live;
	o.rebuild_broker = s->rebuild;
	o.map_bytes = 64 << 20;
	assert_ok(wb_projector_open(NULL, &counts, &o, &s->projector, &err),
		  err);
}

static void close_projector(scene *s)
{
	wb_projector_close(s->projector);
	wb_broker_free(s->live);
	wb_broker_free(s->rebuild);
	s->projector = NULL;
	s->live = s->rebuild = NULL;
}

static void run(scene *s)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_projector_run(s->projector, true, &err), err);
}

static void run_to_mismatch(scene *s, const char *words)
{
	wb_error err = WB_ERROR_INIT;

	assert_int_equal(wb_projector_run(s->projector, true, &err),
			 WB_EMISMATCH);
	if (!strstr(err.text, words))
		fail_msg("%s", err.text);
}

static void assert_counts(scene *s, uint64_t each)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t n;
	wb_read *read;
	wb_str value;
	char key[32];

	assert_ok(wb_read_open_projector(s->projector, NULL, &read, &err), err);
	assert_ok(wb_read_begin(read, &err), err);
	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_ok(wb_read_get(read, NULL, wb_str_from(key), &value,
				      &err),
			  err);
		memcpy(&n, value.ptr, sizeof(n));
		assert_true(n == each);
	}
	wb_read_close(read);
}

/* A scene whose queue is not declared yet. */
static void scene_begin(scene *s, test_place *place)
{
	static int number;

	memset(s, 0, sizeof(*s));
	s->place = place;
	s->amqp = peer_options();
	snprintf(s->queue, sizeof(s->queue), "history-%d-%d", (int)getpid(),
		 ++number);
	peer_up(&s->publisher, &s->amqp);
}

static void scene_open(scene *s, test_place *place)
{
	scene_begin(s, place);
	declare(s);
}

static void scene_close(scene *s)
{
	close_projector(s);
	peer_free(&s->publisher);
}

static void a_stream_of_a_real_broker_is_projected_once(void **state)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	wb_error err = WB_ERROR_INIT;
	scene s;

	scene_open(&s, *state);
	publish(&s, 1, MANY);
	open_projector(&s);
	run(&s);
	assert_counts(&s, MANY / KEYS);
	close_projector(&s);
	publish(&s, MANY - 999, MANY + 1000); /* again, in part */
	open_projector(&s);
	run(&s);
	assert_counts(&s, (MANY + 1000) / KEYS);
	assert_true(wb_projector_get_stat(s.projector).position == MANY + 2000);
	assert_true(wb_projector_get_stat(s.projector).missing == 0);
	request.verb = WB_PROJECTION_REBUILD;
	request.promote = true;
	assert_ok(wb_projector_ask(s.projector, &request, &err), err);
	run(&s);
	assert_int_equal(wb_projector_get_stat(s.projector).generation, 2);
	assert_counts(&s, (MANY + 1000) / KEYS);
	scene_close(&s);
}

/* ---- connections that break ---------------------------------------------- */

static void cut_connections_lose_and_double_nothing(void **state)
{
	const cut_proxy_options how = {
		.broker_port = (uint16_t)atoi(
			strrchr(getenv("WAYBILL_TEST_AMQP"), ':') + 1)};
	cut_proxy *proxy = cut_proxy_start(&how);
	wb_error err = WB_ERROR_INIT;
	char uri[128];
	scene s;

	assert_non_null(proxy);
	scene_open(&s, *state);
	publish(&s, 1, MANY);
	snprintf(uri, sizeof(uri), "amqp://guest:guest@127.0.0.1:%u",
		 cut_proxy_port(proxy));
	s.amqp.uri = uri;
	open_projector(&s);
	for (int i = 0; i < 200; i++) {
		wb_projector_stat stat;

		assert_ok(wb_projector_dispatch(s.projector, &err), err);
		usleep(2000);
		stat = wb_projector_get_stat(s.projector);
		if (i % 25 == 24)
			cut_proxy_cut_now(proxy);
		if (stat.position >= MANY)
			break;
	}
	run(&s);
	assert_counts(&s, MANY / KEYS);
	close_projector(&s);
	cut_proxy_stop(proxy);
	peer_free(&s.publisher);
}

/* ---- another stream of the same name ------------------------------------- */

static bool delete_queue(const char *queue)
{
	const char *ctl = getenv("WAYBILL_TEST_RABBITMQCTL");
	char command[512];

	snprintf(command, sizeof(command),
		 "'%s' delete_queue '%s' >/dev/null 2>&1", ctl ? ctl : "",
		 queue);
	return ctl && system(command) == 0;
}

static void a_stream_that_was_made_anew_is_named(void **state)
{
	scene s;

	scene_open(&s, *state);
	publish(&s, 1, 100);
	open_projector(&s);
	run(&s);
	close_projector(&s);
	if (!delete_queue(s.queue)) {
		peer_free(&s.publisher);
		skip();
	}
	declare(&s);
	publish(&s, 1001, 1050);
	open_projector(&s);
	run_to_mismatch(&s, "ends at offset 49, before offset 99");
	close_projector(&s);
	publish(&s, 1051, 1200);
	open_projector(&s);
	run_to_mismatch(&s, "another event stands at offset 99");
	scene_close(&s);
}

/* Deleted and made anew while it is read: the consumer is cancelled, and what it
 * finds when it comes again is not what it left. */
static void a_stream_made_anew_under_its_reader_is_named(void **state)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	wb_error err = WB_ERROR_INIT;
	scene s;

	scene_open(&s, *state);
	publish(&s, 1, 100);
	open_projector(&s);
	run(&s);
	if (!delete_queue(s.queue)) {
		scene_close(&s);
		skip();
	}
	declare(&s);
	publish(&s, 1001, 1150);
	run_to_mismatch(&s, "another event stands at offset 99");
	request.verb = WB_PROJECTION_REBUILD;
	request.promote = true;
	assert_ok(wb_projector_ask(s.projector, &request, &err), err);
	run(&s);
	assert_counts(&s, 150 / KEYS);
	assert_true(wb_projector_get_stat(s.projector).position == 150);
	scene_close(&s);
}

static void an_emptied_stream_is_named(void **state)
{
	scene s;

	scene_open(&s, *state);
	publish(&s, 1, 100);
	open_projector(&s);
	run(&s);
	close_projector(&s);
	if (!delete_queue(s.queue)) {
		peer_free(&s.publisher);
		skip();
	}
	declare(&s);
	open_projector(&s);
	run_to_mismatch(&s, "is empty");
	scene_close(&s);
}

/* ---- a stream that forgets ----------------------------------------------- */

static void a_trimmed_stream_is_named(void **state)
{
	scene s;

	scene_begin(&s, *state);
	declare_with(&s, 1 << 20, 256 << 10);
	publish(&s, 1, 100);
	open_projector(&s);
	run(&s);
	close_projector(&s);
	publish(&s, 101, MANY);
	open_projector(&s);
	run_to_mismatch(&s, "was trimmed: offsets 100 to ");
	assert_counts(&s, 100 / KEYS);
	close_projector(&s);
	/* A new model cannot begin there without a snapshot. */
	test_remove_tree(test_path(s.place->dir, "projections"));
	open_projector(&s);
	run_to_mismatch(&s, "the stream begins at ");
	scene_close(&s);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_stream_of_a_real_broker_is_projected_once),
		T(cut_connections_lose_and_double_nothing),
		T(a_stream_that_was_made_anew_is_named),
		T(a_stream_made_anew_under_its_reader_is_named),
		T(an_emptied_stream_is_named),
		T(a_trimmed_stream_is_named),
	};

	if (!getenv("WAYBILL_TEST_AMQP")) {
		fprintf(stderr, "SKIP: WAYBILL_TEST_AMQP names no broker\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
