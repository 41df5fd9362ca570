/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_SAGA_GRAPH_H
#define WBI_SAGA_GRAPH_H

#include "saga/machine.h"

/* As wb_saga_graph(), and with `machine` (may be NULL) as of one saga. The
 * definition must be sound. */
wb_code wbi_saga_graph(const wb_saga *saga, const wbi_machine *machine,
		       wb_graph_format format, char **ret, wb_error *err);

#endif
