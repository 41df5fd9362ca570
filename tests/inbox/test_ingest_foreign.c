/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever anybody publishes: two thousand messages, good ones broken in every
 * way that comes to mind, from one seed. Each is taken in or set aside, none is
 * lost, none comes twice, and what was set aside is there byte for byte.
 */
#include <stdlib.h>

#include "lib/event/raw.h"
#include "tests/inbox/ingest_rig.h"
#include "tests/support/testing.h"

enum {
	FOREIGN_COUNT = 2000,
	FOREIGN_HEADERS_MAX = 160,
	FOREIGN_ROOM = 1 << 20
};

/* One message in the making; everything it borrows lies in `room`. */
typedef struct foreign {
	seeded_random *random;
	wb_message message;
	wb_header headers[FOREIGN_HEADERS_MAX + 1];
	char *room;
	size_t used;
} foreign;

static uint64_t draw(foreign *f, uint64_t below)
{
	return seeded_random_below(f->random, below);
}

static wb_str keep(foreign *f, const void *bytes, size_t len)
{
	char *to = f->room + f->used;

	assert_true(f->used + len <= FOREIGN_ROOM);
	if (len > 0)
		memcpy(to, bytes, len);
	f->used += len;
	return wb_str_n(to, len);
}

/* ---- bytes of all kinds ----------------------------------------------- */

static wb_str noise(foreign *f, size_t len)
{
	char *to = f->room + f->used;

	assert_true(f->used + len <= FOREIGN_ROOM);
	for (size_t i = 0; i < len; i++)
		to[i] = (char)seeded_random_next(f->random);
	f->used += len;
	return wb_str_n(to, len);
}

static wb_str repeated(foreign *f, const char *text, size_t times)
{
	size_t len = strlen(text), from = f->used;

	for (size_t i = 0; i < times; i++)
		keep(f, text, len);
	return wb_str_n(f->room + from, len * times);
}

static wb_str any_text(foreign *f)
{
	static const char *const texts[] = {"",
					    "1",
					    "-1",
					    "18446744073709551616",
					    "true",
					    "null",
					    "2026-01-02T03:04:05Z",
					    "2026-13-40T99:99:99Z",
					    "\xff\xfe",
					    "\xed\xa0\x80",
					    "\xc0\x80",
					    "a\nb",
					    "\x01",
					    "\x7f",
					    "caf\xc3\xa9",
					    "order/42",
					    "1.0",
					    "0.3",
					    "9e999"};

	switch (draw(f, 6)) {
	case 0:
		return noise(f, draw(f, 300));
	case 1:
		return repeated(f, "long ", draw(f, 80));
	case 2: /* with a zero byte in it */
		return keep(f, "a\0b", 3);
	default:
		return wb_str_from(
			texts[draw(f, sizeof(texts) / sizeof(texts[0]))]);
	}
}

static wb_str any_name(foreign *f)
{
	static const char *const names[] = {"ce-id",
					    "CE-ID",
					    "ce-type",
					    "ce-source",
					    "ce-time",
					    "ce-specversion",
					    "ce-sequence",
					    "ce-partitionkey",
					    "ce-wborigin",
					    "ce-wbposition",
					    "ce-wbsaga",
					    "ce-data",
					    "ce-",
					    "id",
					    "type",
					    "source",
					    "specversion",
					    "cloudEvents:id",
					    "cloudEvents_specversion",
					    "cloudEvents:specversion",
					    "traceparent",
					    "tracestate",
					    "x-death",
					    "x-delivery-count",
					    "UPPER",
					    "wborigin",
					    "wbposition",
					    "",
					    WB_HEADER_UNDECODED};

	if (draw(f, 8) == 0)
		return noise(f, draw(f, 255));
	return wb_str_from(names[draw(f, sizeof(names) / sizeof(names[0]))]);
}

/* ---- bodies ----------------------------------------------------------- */

static wb_str json_event(foreign *f)
{
	static const char *const forms[] = {
		"{\"specversion\":\"1.0\",\"id\":\"s-%u\",\"source\":\"/s\","
		"\"type\":\"t\",\"data\":{\"a\":[1,2,{\"b\":null}]}}",
		"{\"specversion\":\"1.0\",\"id\":\"s-%u\",\"id\":\"twice\","
		"\"source\":\"/s\",\"type\":\"t\"}",
		"{\"specversion\":\"1.0\",\"id\":%u,\"source\":{},\"type\":[]}",
		"{\"specversion\":\"1.0\",\"id\":\"b-%u\",\"source\":\"/s\","
		"\"type\":\"t\",\"data_base64\":\"AAEC\"}",
		"{\"specversion\":\"1.0\",\"id\":\"b-%u\",\"source\":\"/s\","
		"\"type\":\"t\",\"data_base64\":\"!!\",\"data\":1}",
		"{\"id\":\"\\ud800-%u\",\"source\":\"/"
		"s\",\"type\":\"\\u0000\"}",
		"[%u]",
		"\"%u\"",
		"%u",
		"{%u}",
	};
	size_t form = draw(f, sizeof(forms) / sizeof(forms[0]));
	char text[512];
	int len;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	len = snprintf(text, sizeof(text), forms[form],
		       (unsigned)draw(f, 1000000));
#pragma GCC diagnostic pop
	if (draw(f, 3) == 0)
		len = (int)draw(f, (uint64_t)len + 1); /* cut off */
	return keep(f, text, (size_t)len);
}

static wb_str any_body(foreign *f)
{
	switch (draw(f, 8)) {
	case 0:
		return noise(f, draw(f, 2000));
	case 1: /* over the limit of the test */
		return repeated(f, "0123456789", draw(f, 1000));
	case 2: /* deep */
		return repeated(
			f, draw(f, 2) ? "[" : "{\"a\":", 1 + draw(f, 20000));
	case 3: /* wide */
		return repeated(f, "[],", draw(f, 2000));
	case 4:
		return WB_STR_NULL;
	default:
		return json_event(f);
	}
}

/* ---- messages --------------------------------------------------------- */

static void add_header(foreign *f, wb_str name, wb_str value)
{
	size_t at = f->message.header_count;

	if (at == FOREIGN_HEADERS_MAX)
		return;
	f->headers[at].name = name;
	f->headers[at].value = value;
	f->message.header_count++;
}

static void make_good(foreign *f, unsigned number)
{
	char id[32];
	int len = snprintf(id, sizeof(id), "id-%u", number);
	wb_str text = keep(f, id, (size_t)len);

	f->message = (wb_message){.exchange = S("events"),
				  .routing_key = S("order.placed"),
				  .message_id = text,
				  .type = S("order.placed"),
				  .app_id = S("shop"),
				  .content_type = S("application/json"),
				  .headers = f->headers,
				  .body = S("{\"a\":1}")};
	add_header(f, S("ce-specversion"), S("1.0"));
	add_header(f, S("ce-id"), text);
	add_header(f, S("ce-source"), S("/shop"));
	add_header(f, S("ce-type"), S("order.placed"));
}

static void break_property(foreign *f)
{
	wb_str *const properties[] = {
		&f->message.message_id,     &f->message.type,
		&f->message.app_id,         &f->message.content_type,
		&f->message.correlation_id, &f->message.reply_to};

	*properties[draw(f, 6)] = any_text(f);
	if (draw(f, 4) == 0)
		f->message.timestamp_s = (int64_t)seeded_random_next(f->random);
}

static void break_it(foreign *f)
{
	switch (draw(f, 9)) {
	case 0:
		f->message.body = any_body(f);
		break;
	case 1:
	case 2: /* structured, more or less */
		f->message.content_type =
			draw(f, 5) ? S("application/cloudevents+json; x=y")
				   : S("application/cloudevents+xml");
		f->message.header_count = 0;
		f->message.body = any_body(f);
		break;
	case 3:
		f->headers[draw(f, f->message.header_count + 1)].value =
			any_text(f);
		break;
	case 4:
		f->headers[draw(f, f->message.header_count + 1)].name =
			any_name(f);
		break;
	case 5: /* too many */
		for (uint64_t n = draw(f, 150); n > 0; n--)
			add_header(f, any_name(f), any_text(f));
		break;
	case 6: /* without CloudEvents at all, perhaps without any id */
		f->message.header_count = 0;
		if (draw(f, 2))
			f->message.message_id = WB_STR_NULL;
		break;
	case 7:
		add_header(f, any_name(f), any_text(f));
		break;
	default:
		break_property(f);
		break;
	}
}

/* Values beyond header_count are written to above, never read. */
static void make(foreign *f, unsigned number)
{
	f->used = 0;
	memset(f->headers, 0, sizeof(f->headers));
	make_good(f, number);
	for (uint64_t times = draw(f, 4); times > 0; times--)
		break_it(f);
}

/* ---- the test --------------------------------------------------------- */

/* What is set aside must be one of the messages, whole. */
static void check_dead(ingest_rig *rig)
{
	const wbi_store_tables *tables = wbi_store_get_tables(rig->store);
	wb_header headers[FOREIGN_HEADERS_MAX];
	wb_error err = WB_ERROR_INIT;
	uint64_t count = ingest_rig_dead(rig);
	MDB_txn *txn;

	assert_ok(wbi_txn_begin(wb_store_env(rig->store), false, &txn, &err),
		  err);
	for (uint64_t i = 1; i <= count; i++) {
		wb_message message;
		wbi_dead dead;

		assert_ok(wbi_dead_get(txn, tables->dead, i, &dead, &err), err);
		assert_true(dead.reason == WBI_DEAD_MALFORMED ||
			    dead.reason == WBI_DEAD_TOO_LARGE);
		assert_true(dead.text.len > 0);
		assert_ok(wbi_raw_decode(dead.bytes, headers,
					 FOREIGN_HEADERS_MAX, &message, &err),
			  err);
		assert_true(wb_str_eq(message.exchange, S("events")));
	}
	wbi_txn_abort(txn);
}

/* Every event that was taken in can be read back, and could be published. */
static void check_inbox(ingest_rig *rig)
{
	uint64_t count = ingest_rig_count(rig);

	for (uint64_t i = 1; i <= count; i++) {
		const wb_event *event = ingest_rig_event(rig, i);

		assert_true(event->id.len > 0 && event->type.len > 0);
		assert_true(event->source.len > 0);
	}
}

static void all_of_it_is_taken_in_or_set_aside(void **state)
{
	test_place *place = *state;
	wbi_ingest_stat stat;
	ingest_rig rig;
	foreign f = {.random = &rig.random};

	f.room = malloc(FOREIGN_ROOM);
	assert_non_null(f.room);
	ingest_rig_init(&rig, place->store, 20260101);
	rig.options.limits.body_bytes = 8000;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	for (unsigned i = 1; i <= FOREIGN_COUNT; i++) {
		make(&f, i);
		ingest_rig_publish(&rig, &f.message);
		if (i % 100 == 0)
			ingest_rig_settle(&rig);
	}
	ingest_rig_settle(&rig);
	stat = ingest_rig_stat(&rig);
	assert_int_equal(stat.received, FOREIGN_COUNT);
	assert_int_equal(stat.appended + stat.duplicates + stat.refused,
			 FOREIGN_COUNT);
	assert_int_equal(ingest_rig_count(&rig), stat.appended);
	assert_int_equal(ingest_rig_dead(&rig), stat.refused);
	assert_int_equal(stat.connects, 1);
	assert_true(stat.appended > 500 && stat.refused > 300);
	check_dead(&rig);
	check_inbox(&rig);
	ingest_rig_fini(&rig);
	free(f.room);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(all_of_it_is_taken_in_or_set_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
