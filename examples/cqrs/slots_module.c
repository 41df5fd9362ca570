/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The projection: from parking's events to what is asked. Two tables:
 *
 *   slots    slot → {"state":"free","booking":"","changes":1}, with an index by
 *            state
 *   totals   state → how many slots
 *
 * cc -shared -fPIC -o slots.so slots_module.c $(pkg-config --cflags waybill)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/module.h>

enum { SLOTS, TOTALS };

/* The text behind "name":" in JSON that parking, or this file, has written. */
static wb_str member(wb_str json, const char *name)
{
	char wanted[32];
	size_t len = (size_t)snprintf(wanted, sizeof(wanted), "\"%s\":\"", name);

	for (size_t at = 0; at + len <= json.len; at++) {
		const char *text = json.ptr + at + len, *end;

		if (memcmp(json.ptr + at, wanted, len) != 0)
			continue;
		end = memchr(text, '"', json.len - at - len);
		return wb_str_n(text, end ? (size_t)(end - text) : 0);
	}
	return WB_STR_NULL;
}

static unsigned changes_of(wb_str row)
{
	wb_str text = member(row, "changes");
	unsigned n = 0;

	for (size_t i = 0; i < text.len; i++)
		n = n * 10 + (unsigned)(text.ptr[i] - '0');
	return n;
}

static wb_code by_state(wb_index_keys *ret, wb_str key, wb_str value,
			wb_error *err)
{
	(void)key;
	return wb_index_key_add(ret, member(value, "state"), err);
}

/* One slot more, or one less, in this state. */
static wb_code count(wb_model *model, wb_str state, int by, wb_error *err)
{
	char text[16];
	int n = 0;
	wb_str old;
	wb_code code = wb_model_get(model, TOTALS, state, &old, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	for (size_t i = 0; code == WB_OK && i < old.len; i++)
		n = n * 10 + (old.ptr[i] - '0');
	snprintf(text, sizeof(text), "%d", n + by);
	return wb_model_put(model, TOTALS, state, wb_str_from(text), err);
}

static wb_code apply(wb_model *model, const wb_event *event, wb_error *err)
{
	bool reserved = wb_str_eq(event->type, wb_str_from("slot.reserved"));
	wb_str state = wb_str_from(reserved ? "reserved" : "free");
	wb_str booking = member(event->data, "booking"), old = WB_STR_NULL;
	char before[16] = "", row[256];
	unsigned changes;
	wb_code code = wb_model_get(model, SLOTS, event->key, &old, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	/* What get returned lives until the next put: take what is needed. */
	snprintf(before, sizeof(before), "%.*s", (int)member(old, "state").len,
		 member(old, "state").ptr ? member(old, "state").ptr : "");
	changes = changes_of(old) + 1;
	snprintf(row, sizeof(row),
		 "{\"state\":\"%s\",\"booking\":\"%.*s\",\"changes\":\"%u\"}",
		 state.ptr, (int)booking.len, booking.ptr ? booking.ptr : "",
		 changes);
	code = wb_model_put(model, SLOTS, event->key, wb_str_from(row), err);
	if (code == WB_OK && before[0])
		code = count(model, wb_str_from(before), -1, err);
	if (code == WB_OK)
		code = count(model, state, 1, err);
	return code;
}

static const char *const types[] = {"slot.*", NULL};
static const wb_model_index indexes[] = {{"by_state", by_state}};
static const wb_model_table tables[] = {
	{"slots", "application/json", indexes, 1},
	{"totals", "text/plain", NULL, 0},
};

static const wb_projection slots = {
	.size = sizeof(wb_projection),
	.name = "slots",
	.version = 1, /* raise it when any of this changes */
	.source = WB_PROJECTION_OUTBOX,
	.types = types,
	.tables = tables,
	.table_count = 2,
	/* A slot that cannot be applied is kept aside; the others go on. */
	.on_error = WB_ON_ERROR_QUARANTINE_KEY,
	.apply = apply,
};

static const wb_projection *const projections[] = {&slots};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "slots",
	.projections = projections,
	.projection_count = 1,
};
