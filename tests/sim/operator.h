/* SPDX-License-Identifier: BSD-2-Clause */
/* What an operator sees of a store, and the verbs. One thread. */
#ifndef TESTS_SIM_OPERATOR_H
#define TESTS_SIM_OPERATOR_H

#include <waybill/store.h>

enum { SIM_PARKED_MAX = 2048 };

typedef struct sim_parked_row {
	char key[16], id[32];
	uint64_t position;
	uint64_t behind; /* rows of its key before this one */
} sim_parked_row;

typedef struct sim_parked_list {
	sim_parked_row rows[SIM_PARKED_MAX]; /* the first of them */
	size_t count;
	uint64_t total;
} sim_parked_list;

wb_code sim_operator_list(wb_store *store, sim_parked_list *ret,
			  wb_error *err);

/* How many exchanges are held. */
wb_code sim_operator_held(wb_store *store, uint64_t *ret, wb_error *err);

/* WB_OK also if there is no such row any more. */
wb_code sim_operator_retry(wb_store *store, const sim_parked_row *row,
			   wb_error *err);

/* *ret: it is gone. It may also have left the list, or be too young. */
wb_code sim_operator_discard(wb_store *store, const sim_parked_row *row,
			     bool *ret, wb_error *err);

#endif
