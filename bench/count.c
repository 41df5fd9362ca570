/* SPDX-License-Identifier: BSD-2-Clause */
/* See count.h. No state of its own. */
#include "bench/count.h"

#include <string.h>

const char *const bench_count_types[] = {"#", NULL};
const wb_model_table bench_count_tables[1] = {{"counts", NULL, NULL, 0}};

wb_code bench_count(wb_model *model, const wb_event *event, wb_error *err)
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
