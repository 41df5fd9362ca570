/* SPDX-License-Identifier: BSD-2-Clause */
/* The benchmarks' projection as a module: a counter per key, for
 * `waybill projection run`. No state of its own. */
#include <string.h>

#include <waybill/module.h>

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

static const char *const types[] = {"#", NULL};
static const wb_model_table tables[] = {{"counts", NULL, NULL, 0}};
static const wb_projection counts = {
	.size = sizeof(counts),
	.name = "counts",
	.version = 1,
	.source = WB_PROJECTION_OUTBOX,
	.types = types,
	.tables = tables,
	.table_count = 1,
	.on_error = WB_ON_ERROR_STOP,
	.apply = count,
};
static const wb_projection *const projections[] = {&counts};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "counts",
	.projections = projections,
	.projection_count = 1,
};
