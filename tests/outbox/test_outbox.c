/* SPDX-License-Identifier: BSD-2-Clause */
/* G2 begins here: what the caller's transaction does not commit is not in the
 * outbox, and what is refused leaves that transaction as it was. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <waybill/outbox.h>

#include "lib/base/assert.h"

static char long_text[2 * 1024 * 1024];

static wb_outbox *open_outbox(wb_store *store, const wb_outbox_options *options)
{
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox = NULL;

	assert_ok(wb_outbox_open(store, options, &outbox, &err), err);
	return outbox;
}

static MDB_txn *begin(wb_store *store)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_ok(wb_store_begin(store, &txn, &err), err);
	return txn;
}

static void commit(wb_store *store, MDB_txn *txn)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_store_commit(store, txn, &err), err);
}

static void append(wb_outbox *outbox, MDB_txn *txn, const wb_event *event,
		   uint64_t expected)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t position = 0;

	assert_ok(wb_outbox_append(outbox, txn, event, &position, &err), err);
	assert_true(position == expected);
}

static uint64_t head_of(wb_store *store)
{
	uint64_t first, head;

	test_range(store, &first, &head);
	return head;
}

/* What position `at` holds must have this type and source. */
static void assert_at(wb_store *store, uint64_t at, const char *type,
		      const char *source)
{
	wbi_journal journal = wbi_journal_of(store, WBI_OUTBOX);
	wb_error err = WB_ERROR_INIT;
	wbi_reader reader;
	MDB_txn *txn = NULL;
	wb_event event;
	wb_str record;

	assert_ok(wbi_txn_begin(wb_store_env(store), false, &txn, &err), err);
	assert_ok(wbi_reader_open(&reader, &journal, txn, at - 1, &err), err);
	assert_ok(wbi_reader_next(&reader, &event, &record, &err), err);
	assert_true(wb_str_eq(event.type, wb_str_from(type)));
	assert_true(wb_str_eq(event.source, wb_str_from(source)));
	assert_true(event.id.len > 0 && event.time_us > 0);
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
}

static void positions_follow_on_commit_only(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_outbox *outbox = open_outbox(store, NULL);
	wb_event event = {.type = S("a.b")};
	MDB_txn *txn = begin(store);

	append(outbox, txn, &event, 1);
	append(outbox, txn, &event, 2);
	wb_store_abort(txn);
	assert_true(head_of(store) == 0);
	txn = begin(store);
	append(outbox, txn, &event, 1);
	event.source = S("/mine");
	append(outbox, txn, &event, 2);
	commit(store, txn);
	assert_true(head_of(store) == 2);
	assert_at(store, 1, "a.b", "/test");
	assert_at(store, 2, "a.b", "/mine");
	wb_outbox_close(outbox);
	wb_outbox_close(NULL);
	wb_store_close(store);
}

static void a_nested_transaction_is_one_too(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_outbox *outbox = open_outbox(store, NULL);
	wb_event event = {.type = S("a.b")};
	MDB_txn *txn = begin(store), *child = NULL;

	append(outbox, txn, &event, 1);
	assert_int_equal(mdb_txn_begin(wb_store_env(store), txn, 0, &child), 0);
	append(outbox, child, &event, 2);
	mdb_txn_abort(child);
	assert_int_equal(mdb_txn_begin(wb_store_env(store), txn, 0, &child), 0);
	append(outbox, child, &event, 2);
	assert_int_equal(mdb_txn_commit(child), 0);
	append(outbox, txn, &event, 3);
	commit(store, txn);
	assert_true(head_of(store) == 3);
	wb_outbox_close(outbox);
	wb_store_close(store);
}

struct refusal {
	wb_event event;
	wb_code code;
	const char *says;
};

static void a_refused_event_leaves_the_transaction_usable(void **state)
{
	static const wb_header no_name = {{"Bad", 3}, {"v", 1}};
	const struct refusal cases[] = {
		{{.data = S("x")}, WB_EINVAL, "attribute type"},
		{{.type = {long_text, 256}}, WB_ELIMIT, "attribute type"},
		{{.type = S("a"), .id = {long_text, 256}}, WB_ELIMIT, "id"},
		{{.type = S("a"), .key = {long_text, 256}}, WB_ELIMIT, "key"},
		{{.type = S("a"), .subject = S("\xff")}, WB_EINVAL, "subject"},
		{{.type = S("a"), .data = {long_text, 1048577}},
		 WB_ELIMIT,
		 "1048576"},
		{{.type = S("a"), .headers = &no_name, .header_count = 1},
		 WB_EINVAL,
		 "header"},
	};
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_outbox *outbox = open_outbox(store, NULL);
	wb_event good = {.type = S("good")};

	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;
		uint64_t before = head_of(store), position = 77;
		MDB_txn *txn = begin(store);

		append(outbox, txn, &good, before + 1);
		assert_int_equal(wb_outbox_append(outbox, txn, &cases[i].event,
						  &position, &err),
				 cases[i].code);
		assert_true(position == 77);
		assert_int_equal(err.class_, WB_CLASS_REJECT);
		if (!strstr(err.text, cases[i].says))
			fail_msg("case %zu: %s", i, err.text);
		append(outbox, txn, &good, before + 2);
		commit(store, txn);
		assert_true(head_of(store) == before + 2);
	}
	wb_outbox_close(outbox);
	wb_store_close(store);
}

static void a_routing_key_that_is_too_long_is_refused_at_append(void **state)
{
	static const wb_route route = {.routing_key = "{source}.{key}.{type}"};
	wb_outbox_options options = WB_OUTBOX_OPTIONS_INIT;
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_event event = {.type = S("t"), .key = {long_text, 255}};
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes = NULL;
	wb_outbox *outbox;
	MDB_txn *txn;

	assert_ok(wb_routes_new(&route, 1, &routes, &err), err);
	options.routes = routes;
	outbox = open_outbox(store, &options);
	txn = begin(store);
	/* "/test" is filled in only later, but counts already */
	event.key.len = 255 - 8;
	append(outbox, txn, &event, 1);
	event.key.len++;
	assert_code(wb_outbox_append(outbox, txn, &event, NULL, &err),
		    WB_ELIMIT, err);
	commit(store, txn);
	wb_outbox_close(outbox);
	wb_routes_free(routes);
	wb_store_close(store);
}

static void structured_mode_wants_json_at_append(void **state)
{
	static const wb_route route = {.type = "s.#",
				       .mode = WB_MODE_STRUCTURED};
	wb_outbox_options options = WB_OUTBOX_OPTIONS_INIT;
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_event event = {.type = S("s.t"),
			  .data = S("{]"),
			  .content_type = S("application/json")};
	wb_error err = WB_ERROR_INIT;
	wb_routes *routes = NULL;
	wb_outbox *outbox;
	MDB_txn *txn;

	assert_ok(wb_routes_new(&route, 1, &routes, &err), err);
	options.routes = routes;
	outbox = open_outbox(store, &options);
	txn = begin(store);
	assert_code(wb_outbox_append(outbox, txn, &event, NULL, &err),
		    WB_EINVAL, err);
	event.type = S("t");
	append(outbox, txn, &event, 1);
	commit(store, txn);
	wb_outbox_close(outbox);
	wb_routes_free(routes);
	wb_store_close(store);
}

static void a_batch_goes_in_whole_or_not_at_all(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_outbox *outbox = open_outbox(store, NULL);
	wb_event events[3] = {
		{.type = S("a")}, {.type = S("b")}, {.key = S("k")}};
	wb_error err = WB_ERROR_INIT;
	uint64_t first = 0;
	size_t failed = 0;
	MDB_txn *txn = begin(store);

	assert_int_equal(wb_outbox_append_batch(outbox, txn, events, 3, &first,
						&failed, &err),
			 WB_EINVAL);
	assert_int_equal(failed, 2);
	assert_true(first == 0);
	assert_non_null(strstr(err.text, "event 3 of 3: attribute type"));
	wb_error_clear(&err);
	events[2].type = S("c");
	assert_ok(wb_outbox_append_batch(outbox, txn, events, 3, &first,
					 &failed, &err),
		  err);
	assert_true(first == 1);
	append(outbox, txn, &events[0], 4);
	commit(store, txn);
	assert_at(store, 2, "b", "/test");
	assert_at(store, 3, "c", "/test");
	assert_true(head_of(store) == 4);
	wb_outbox_close(outbox);
	wb_store_close(store);
}

static void the_quota_refuses_before_anything_is_written(void **state)
{
	wb_store_options options = test_store_options();
	test_place *place = *state;
	wb_event event = {.type = S("a"), .data = {long_text, 100000}};
	wb_event small = {.type = S("a")};
	wb_error err = WB_ERROR_INIT;
	uint64_t position = 0;
	wb_store *store;
	wb_outbox *outbox;
	wb_code code = WB_OK;
	MDB_txn *txn;

	options.quota_bytes = 2 << 20;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	store = test_store_open(place->store);
	outbox = open_outbox(store, NULL);
	txn = begin(store);
	append(outbox, txn, &small, 1);
	for (int i = 0; i < 100 && code == WB_OK; i++)
		code = wb_outbox_append(outbox, txn, &event, &position, &err);
	assert_int_equal(code, WB_EQUOTA);
	assert_int_equal(err.class_, WB_CLASS_RETRY);
	assert_in_range(position, 10, 25);
	commit(store, txn);
	assert_true(head_of(store) == position);
	wb_outbox_close(outbox);
	wb_store_close(store);
}

static void misuse_is_refused_by_name(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_store *other = test_store_make(test_path(place->dir, "other"));
	wb_outbox_options options = WB_OUTBOX_OPTIONS_INIT;
	wb_outbox *outbox = open_outbox(store, NULL), *none = NULL;
	wb_event event = {.type = S("a")};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = begin(other), *reader = NULL;

	assert_code(wb_outbox_append(outbox, txn, &event, NULL, &err),
		    WB_EINVAL, err);
	wb_store_abort(txn);
	assert_code(wb_outbox_append(outbox, NULL, &event, NULL, &err),
		    WB_EINVAL, err);
	assert_ok(wbi_txn_begin(wb_store_env(store), false, &reader, &err),
		  err);
	assert_code(wb_outbox_append(outbox, reader, &event, NULL, &err),
		    WB_EACCESS, err);
	wbi_txn_abort(reader);
	txn = begin(store);
	assert_code(wb_outbox_append(NULL, txn, &event, NULL, &err), WB_EINVAL,
		    err);
	assert_code(wb_outbox_append(outbox, txn, NULL, NULL, &err), WB_EINVAL,
		    err);
	assert_code(wb_outbox_append_batch(outbox, txn, &event, 0, NULL, NULL,
					   &err),
		    WB_EINVAL, err);
	append(outbox, txn, &event, 1);
	commit(store, txn);
	options.size = 8;
	assert_code(wb_outbox_open(store, &options, &none, &err), WB_EINVAL,
		    err);
	options.size = sizeof(options);
	options.source = "";
	assert_code(wb_outbox_open(store, &options, &none, &err), WB_EINVAL,
		    err);
	options.source = "a\nb";
	assert_code(wb_outbox_open(store, &options, &none, &err), WB_EINVAL,
		    err);
	assert_code(wb_outbox_open(NULL, NULL, &none, &err), WB_EINVAL, err);
	wb_outbox_close(outbox);
	wb_store_close(other);
	wb_store_close(store);
}

/* ---- a host service with an environment of its own --------------------- */

struct host {
	MDB_env *env;
	MDB_dbi orders;
	wb_store *store;
	wb_outbox *outbox;
};

static void host_open(struct host *host, const char *dir)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn = NULL;

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(mdb_env_create(&host->env), 0);
	mdb_env_set_mapsize(host->env, 64 << 20);
	mdb_env_set_maxdbs(host->env, 1 + WB_STORE_TABLES);
	assert_int_equal(mdb_env_open(host->env, dir, MDB_NOTLS, 0600), 0);
	assert_int_equal(mdb_txn_begin(host->env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "orders", MDB_CREATE, &host->orders),
			 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	assert_ok(wb_store_attach(host->env, &options, &host->store, &err),
		  err);
	host->outbox = open_outbox(host->store, NULL);
}

static void host_close(struct host *host)
{
	wb_outbox_close(host->outbox);
	wb_store_close(host->store);
	mdb_env_close(host->env);
}

/* The service's own row and the event about it, in the service's own txn. */
static MDB_txn *host_place_order(struct host *host)
{
	wb_event event = {.type = S("order.placed"), .key = S("42")};
	char id[] = "42", state[] = "open";
	MDB_val key = {2, id}, value = {4, state};
	MDB_txn *txn = NULL;

	assert_int_equal(mdb_txn_begin(host->env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_put(txn, host->orders, &key, &value, 0), 0);
	append(host->outbox, txn, &event, 1);
	return txn;
}

static bool host_has_order(struct host *host)
{
	char id[] = "42";
	MDB_val key = {2, id}, value;
	MDB_txn *txn = NULL;
	int rc;

	assert_int_equal(mdb_txn_begin(host->env, NULL, MDB_RDONLY, &txn), 0);
	rc = mdb_get(txn, host->orders, &key, &value);
	mdb_txn_abort(txn);
	return rc == 0;
}

static void row_and_event_are_both_there_or_neither(void **state)
{
	test_place *place = *state;
	struct host host;

	host_open(&host, test_path(place->dir, "host"));
	mdb_txn_abort(host_place_order(&host));
	assert_false(host_has_order(&host));
	assert_true(head_of(host.store) == 0);
	assert_int_equal(mdb_txn_commit(host_place_order(&host)), 0);
	assert_true(host_has_order(&host));
	assert_true(head_of(host.store) == 1);
	assert_at(host.store, 1, "order.placed", "/test");
	host_close(&host);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(positions_follow_on_commit_only),
		T(a_nested_transaction_is_one_too),
		T(a_refused_event_leaves_the_transaction_usable),
		T(a_routing_key_that_is_too_long_is_refused_at_append),
		T(structured_mode_wants_json_at_append),
		T(a_batch_goes_in_whole_or_not_at_all),
		T(the_quota_refuses_before_anything_is_written),
		T(misuse_is_refused_by_name),
		T(row_and_event_are_both_there_or_neither),
	};

	memset(long_text, 'x', sizeof(long_text));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
