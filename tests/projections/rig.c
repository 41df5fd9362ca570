/* SPDX-License-Identifier: BSD-2-Clause */
/* The projection that the tests of projections run. */
#include "tests/projections/rig.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <waybill/outbox.h>

#include "lib/base/bytes.h"
#include "projections/home.h"
#include "projections/projector.h"

static const char *const rig_types[] = {"thing.*", NULL};

static wb_code rig_by_count(wb_index_keys *ret, wb_str key, wb_str value,
			    wb_error *err)
{
	uint8_t number[8];

	(void)key;
	wbi_put_be64(number, strtoull(value.ptr, NULL, 10));
	return wb_index_key_add(ret, wb_str_n(number, sizeof(number)), err);
}

/* The last data's first word, if it has one. */
static wb_code rig_by_word(wb_index_keys *ret, wb_str key, wb_str value,
			   wb_error *err)
{
	const char *space = memchr(value.ptr, ' ', value.len);

	(void)key;
	if (!space)
		return WB_OK;
	return wb_index_key_add(
		ret, wb_str_n(value.ptr, (size_t)(space - value.ptr)), err);
}

static const wb_model_index rig_count_indexes[] = {{"by_count", rig_by_count}};
static const wb_model_index rig_last_indexes[] = {{"by_word", rig_by_word}};
static const wb_model_table rig_tables[] = {
	{"counts", "text/plain", rig_count_indexes, 1},
	{"last", NULL, rig_last_indexes, 1},
};

static wb_code rig_apply(wb_model *model, const wb_event *event, wb_error *err)
{
	rig *r = wb_model_projection(model)->ctx;
	char text[24];
	wb_str old;
	wb_code code;

	r->calls++;
	code = wb_model_get(model, RIG_COUNTS, event->key, &old, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	/* Values are terminated, so that strtoull() may read them. */
	snprintf(text, sizeof(text), "%llu",
		 code == WB_OK ? strtoull(old.ptr, NULL, 10) + 1 : 1);
	code = wb_model_put(model, RIG_COUNTS, event->key,
			    wb_str_n(text, strlen(text) + 1), err);
	if (code != WB_OK)
		return code;
	code = wb_model_put(model, RIG_LAST, event->key, event->data, err);
	if (code != WB_OK)
		return code;
	/* After the puts, so that they have to be taken back. */
	if (wb_str_eq(event->data, S("poison")) && !r->mended)
		return wb_error_set(err, WB_EREJECTED, 0, __func__, "poison");
	return WB_OK;
}

void rig_init(rig *r, test_place *place, wb_on_error on_error)
{
	memset(r, 0, sizeof(*r));
	r->place = place;
	r->store = test_store_make(place->store);
	r->options = (wb_projector_options)WB_PROJECTOR_OPTIONS_INIT;
	r->options.map_bytes = 64 << 20;
	r->projection = (wb_projection){.size = sizeof(r->projection),
					.name = "things",
					.version = 1,
					.source = WB_PROJECTION_OUTBOX,
					.types = rig_types,
					.tables = rig_tables,
					.table_count = 2,
					.on_error = on_error,
					.apply = rig_apply,
					.ctx = r};
}

void rig_open(rig *r)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_projector_open(r->store, &r->projection, &r->options,
				    &r->projector, &err),
		  err);
}

void rig_close(rig *r)
{
	wb_projector_close(r->projector);
	r->projector = NULL;
}

void rig_fini(rig *r)
{
	rig_close(r);
	wb_store_close(r->store);
}

static void rig_step(rig *r)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_projector_step(r->projector, true, &err), err);
	/* Deadlines of a real clock would only make tests wait. */
	r->projector->request_at_us = 0;
	r->projector->own_at_us = 0;
}

void rig_settle(rig *r)
{
	for (int i = 0; i < 100000; i++) {
		rig_step(r);
		/* A request is looked for in each step: one more finds none. */
		if (wb_projector_get_stat(r->projector).idle) {
			rig_step(r);
			if (wb_projector_get_stat(r->projector).idle)
				return;
		}
	}
	fail_msg("not idle: %s: %s",
		 wb_projector_state_name(r->projector->state),
		 r->projector->error.text);
}

void rig_until(rig *r, wb_projector_state state)
{
	for (int i = 0; i < 10000; i++) {
		rig_step(r);
		if (wb_projector_get_stat(r->projector).state == state)
			return;
	}
	fail_msg("%s, not %s", wb_projector_state_name(r->projector->state),
		 wb_projector_state_name(state));
}

/* ---- events -------------------------------------------------------------- */

static uint64_t rig_put(rig *r, MDB_txn *txn, wb_outbox *outbox,
			const char *type, const char *key, const char *data)
{
	wb_error err = WB_ERROR_INIT;
	wb_event event = {.type = wb_str_from(type),
			  .key = wb_str_from(key),
			  .data = wb_str_from(data)};
	uint64_t position;

	assert_ok(wb_outbox_append(outbox, txn, &event, &position, &err), err);
	(void)r;
	return position;
}

uint64_t rig_append(rig *r, const char *key, const char *data)
{
	wb_error err = WB_ERROR_INIT;
	wb_outbox *outbox;
	uint64_t position;
	MDB_txn *txn;

	assert_ok(wb_outbox_open(r->store, NULL, &outbox, &err), err);
	assert_ok(wb_store_begin(r->store, &txn, &err), err);
	position = rig_put(r, txn, outbox, "thing.seen", key, data);
	assert_ok(wb_store_commit(r->store, txn, &err), err);
	wb_outbox_close(outbox);
	return position;
}

void rig_append_many(rig *r, unsigned count, unsigned keys)
{
	wb_error err = WB_ERROR_INIT;
	char key[24], data[32];
	wb_outbox *outbox;
	MDB_txn *txn;

	assert_ok(wb_outbox_open(r->store, NULL, &outbox, &err), err);
	assert_ok(wb_store_begin(r->store, &txn, &err), err);
	for (unsigned i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "k%u", i % keys);
		snprintf(data, sizeof(data), "w%u %u", i % 7, i);
		/* Each tenth is of a type that passes by. */
		rig_put(r, txn, outbox, i % 10 == 9 ? "other" : "thing.seen",
			key, data);
	}
	assert_ok(wb_store_commit(r->store, txn, &err), err);
	wb_outbox_close(outbox);
}

/* ---- requests ------------------------------------------------------------ */

static void rig_request(rig *r, wb_projection_request request)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_projector_ask(r->projector, &request, &err), err);
}

void rig_ask(rig *r, wb_projection_verb verb)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;

	request.verb = verb;
	rig_request(r, request);
}

void rig_rebuild(rig *r, bool promote)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;

	request.verb = WB_PROJECTION_REBUILD;
	request.promote = promote;
	rig_request(r, request);
}

/* ---- looking ------------------------------------------------------------- */

wb_read *rig_read(rig *r)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read;

	assert_ok(wb_read_open_projector(r->projector, NULL, &read, &err), err);
	return read;
}

unsigned rig_count(rig *r, const char *key)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read = rig_read(r);
	unsigned count = 0;
	wb_str value;
	wb_code code;

	assert_ok(wb_read_begin(read, &err), err);
	code = wb_read_get(read, "counts", wb_str_from(key), &value, &err);
	if (code == WB_OK)
		count = (unsigned)strtoul(value.ptr, NULL, 10);
	else
		assert_int_equal(code, WB_ENOTFOUND);
	wb_read_close(read);
	return count;
}

void rig_digest(rig *r, uint32_t generation, char ret[33])
{
	wb_error err = WB_ERROR_INIT;
	wbi_generation *gen;
	MDB_txn *txn;

	if (generation == 0)
		generation = r->projector->pointer.live;
	assert_ok(wbi_home_take(r->projector->home, generation, NULL, &gen,
				&err),
		  err);
	assert_ok(wbi_txn_begin(gen->env, false, &txn, &err), err);
	assert_ok(wbi_projection_digest(gen, txn, ret, NULL, &err), err);
	wbi_txn_abort(txn);
	wbi_home_give(r->projector->home, gen);
}

void rig_fresh_digest(rig *r, char ret[33])
{
	const char *dir = test_path(r->place->dir, "fresh");
	rig other = *r;

	test_remove_tree(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	other.options.dir = dir;
	other.projection.ctx = &other;
	rig_open(&other);
	rig_settle(&other);
	rig_digest(&other, 0, ret);
	rig_close(&other);
}
