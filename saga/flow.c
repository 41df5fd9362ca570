/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the table of a flow to a graph. Event types become numbers, so that the
 * rules in flow_check.c are walks over small arrays. What is refused here
 * could not be reasoned about; what is merely wrong is for the check.
 *
 * Owned by the caller; strings are borrowed from the declaration, which is
 * static data.
 */
#include "saga/flow.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

static bool flow_name_is_good(const char *name, size_t max)
{
	size_t len = name ? strlen(name) : 0;

	return len > 0 && len <= max &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

bool wbi_flow_next_type(const char **rest, wb_str *ret)
{
	const char *from = *rest;
	size_t len;

	if (!from)
		return false;
	len = strcspn(from, "|");
	*ret = wb_str_n(from, len);
	*rest = from[len] ? from + len + 1 : NULL;
	return true;
}

int wbi_flow_event_of(const wbi_flow *flow, wb_str type)
{
	for (int i = 0; i < flow->event_count; i++)
		if (wb_str_eq(flow->events[i], type))
			return i;
	return WBI_FLOW_EVENT_NONE;
}

int wbi_flow_row_of(const wbi_flow *flow, wb_str step)
{
	for (int i = 0; i < flow->row_count; i++)
		if (wb_str_eq(wb_str_from(flow->rows[i].reaction->step), step))
			return i;
	return WBI_FLOW_EVENT_NONE;
}

static wb_code flow_event(wbi_flow *flow, int row, wb_str type, int *ret,
			  wb_error *err)
{
	int at = wbi_flow_event_of(flow, type);

	if (type.len == 0 || type.len > 255 ||
	    memchr(type.ptr, '*', type.len) || memchr(type.ptr, '#', type.len))
		return WBI_FAIL(
			err, WB_EINVAL,
			"flow %s: row %d (step %s): \"%.*s\" is no event "
			"type: 1 to 255 bytes, no pattern",
			flow->flow->name, row + 1,
			flow->rows[row].reaction->step,
			(int)(type.len < 64 ? type.len : 64), type.ptr);
	if (at == WBI_FLOW_EVENT_NONE) {
		if (flow->event_count == WBI_FLOW_EVENTS_MAX)
			return WBI_FAIL(err, WB_EINVAL,
					"flow %s: more than %d event types",
					flow->flow->name, WBI_FLOW_EVENTS_MAX);
		at = flow->event_count++;
		flow->events[at] = type;
	}
	*ret = at;
	return WB_OK;
}

static wb_code flow_list(wbi_flow *flow, int row, const char *list, bool *set,
			 wb_error *err)
{
	wb_code code = WB_OK;
	wb_str type;
	int at;

	while (code == WB_OK && wbi_flow_next_type(&list, &type)) {
		code = flow_event(flow, row, type, &at, err);
		if (code == WB_OK)
			set[at] = true;
	}
	return code;
}

static wb_code flow_one(wbi_flow *flow, int row, const char *type, int *ret,
			wb_error *err)
{
	*ret = WBI_FLOW_EVENT_NONE;
	return type ? flow_event(flow, row, wb_str_from(type), ret, err)
		    : WB_OK;
}

static wb_code flow_row(wbi_flow *flow, int i, wb_error *err)
{
	wbi_flow_row *row = &flow->rows[i];
	const wb_reaction *r = row->reaction;
	size_t service = r->service ? strlen(r->service) : 0;
	wb_code code;

	if (!flow_name_is_good(r->step, WBI_FLOW_STEP_MAX))
		return WBI_FAIL(
			err, WB_EINVAL,
			"flow %s: row %d: its step needs a name of 1 to "
			"%d of a-z 0-9 . _ -",
			flow->flow->name, i + 1, WBI_FLOW_STEP_MAX);
	if (service == 0 || service > 255)
		return WBI_FAIL(
			err, WB_EINVAL,
			"flow %s: row %d (step %s): it names no service",
			flow->flow->name, i + 1, r->step);
	code = flow_one(flow, i, r->on, &row->on, err);
	if (code == WB_OK)
		code = flow_one(flow, i, r->silence, &row->silence, err);
	if (code == WB_OK)
		code = flow_list(flow, i, r->emits, row->emits, err);
	if (code == WB_OK)
		code = flow_list(flow, i, r->refuses, row->refuses, err);
	if (code == WB_OK)
		code = flow_list(flow, i, r->awaits, row->awaits, err);
	return code;
}

/* Once all rows are known. An unknown name stays NONE: for the check. */
static void flow_link(wbi_flow *flow)
{
	for (int i = 0; i < flow->row_count; i++) {
		const char *undoes = flow->rows[i].reaction->undoes;

		flow->rows[i].undoes = WBI_FLOW_EVENT_NONE;
		if (undoes)
			flow->rows[i].undoes =
				wbi_flow_row_of(flow, wb_str_from(undoes));
	}
}

wb_code wbi_flow_new(const wb_flow *flow, wbi_flow **ret, wb_error *err)
{
	wb_code code = WB_OK;
	wbi_flow *f;

	if (!flow || flow->size != sizeof(*flow))
		return WBI_FAIL(err, WB_EINVAL,
				"flow: start from WB_FLOW_INIT");
	if (!flow_name_is_good(flow->name, WBI_FLOW_NAME_MAX))
		return WBI_FAIL(err, WB_EINVAL,
				"flow: it needs a name of 1 to %d of a-z 0-9 "
				". _ -",
				WBI_FLOW_NAME_MAX);
	if (!flow->reactions || flow->count == 0 ||
	    flow->count > WBI_FLOW_ROWS_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"flow %s: %zu rows; 1 to %d are possible",
				flow->name, flow->count, WBI_FLOW_ROWS_MAX);
	f = calloc(1, sizeof(*f));
	if (f)
		f->rows = calloc(flow->count, sizeof(*f->rows));
	if (!f || !f->rows) {
		free(f);
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	}
	f->flow = flow;
	f->row_count = (int)flow->count;
	for (int i = 0; i < f->row_count; i++)
		f->rows[i].reaction = &flow->reactions[i];
	for (int i = 0; code == WB_OK && i < f->row_count; i++)
		code = flow_row(f, i, err);
	if (code != WB_OK) {
		wbi_flow_free(f);
		return code;
	}
	flow_link(f);
	*ret = f;
	return WB_OK;
}

void wbi_flow_free(wbi_flow *flow)
{
	if (!flow)
		return;
	free(flow->rows);
	free(flow);
}
