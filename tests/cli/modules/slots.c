/* SPDX-License-Identifier: BSD-2-Clause */
/* A projection for tests of the commands: what each slot is, by its state.
 * "poison" cannot be applied, unless compiled with -DMENDED; SLOTS_VERSION is
 * the declaration's. */
#include <waybill/module.h>

#ifndef SLOTS_VERSION
#define SLOTS_VERSION 1
#endif

static wb_code by_state(wb_index_keys *ret, wb_str key, wb_str value,
			wb_error *err)
{
	(void)key;
	return wb_index_key_add(ret, value, err);
}

static wb_code apply(wb_model *model, const wb_event *event, wb_error *err)
{
#ifndef MENDED
	if (wb_str_eq(event->data, wb_str_from("poison")))
		return wb_error_set(err, WB_EREJECTED, 0, __func__, "poison");
#endif
	return wb_model_put(model, 0, event->key, event->data, err);
}

static const char *const types[] = {"slot.*", NULL};
static const wb_model_index indexes[] = {{"by_state", by_state}};
static const wb_model_table tables[] = {{"slots", "text/plain", indexes, 1}};

static const wb_projection slots = {
	.size = sizeof(slots),
	.name = "slots",
	.version = SLOTS_VERSION,
	.source = WB_PROJECTION_OUTBOX,
	.types = types,
	.tables = tables,
	.table_count = 1,
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
