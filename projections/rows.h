/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of waybill's own in a generation (docs/format.md, "Read models"):
 * what the model is, how far it has come, what its projector last said, and
 * the events that could not be applied. Sealed (lib/store/row.h). A generation's
 * user tables hold plain keys and values.
 *
 * Nothing in them but the status depends on a clock: the same journal makes the
 * same rows.
 */
#ifndef WBI_MODEL_ROWS_H
#define WBI_MODEL_ROWS_H

#include "lib/journal/journal.h"
#include "lib/store/row.h"
#include "projections/shape.h"

/* ---- meta: "shape", "checkpoint", "status" ------------------------------- */

wb_code wbi_shape_put(MDB_txn *txn, wbi_table meta, const wbi_shape *shape,
		      wb_error *err);
wb_code wbi_shape_get(MDB_txn *txn, wbi_table meta, wbi_shape *ret,
		      wb_error *err);

typedef struct wbi_checkpoint {
	char origin[WBI_ORIGIN_LEN + 1];
	uint64_t position; /* 0: nothing yet */
	char event_id[256]; /* of the event at `position` */
	uint32_t print;     /* of its message, if the source is a stream */
} wbi_checkpoint;

wb_code wbi_checkpoint_put(MDB_txn *txn, wbi_table meta,
			   const wbi_checkpoint *row, wb_error *err);
wb_code wbi_checkpoint_get(MDB_txn *txn, wbi_table meta, wbi_checkpoint *ret,
			   wb_error *err);

typedef struct wbi_projector_row {
	uint32_t pid;
	uint8_t state; /* enum wb_projector_state */
	int64_t since_us, updated_us;
	uint64_t head;
	int64_t lag_us;
	uint64_t applied, passed, skipped; /* ever, in this generation */
	uint64_t rate_milli;               /* events per 1,000 s */
	uint64_t target;  /* being filled: ready at this position; 0: it is */
	uint64_t missing; /* see wb_projector_stat */
	char error[WB_ERROR_TEXT_MAX];
} wbi_projector_row;

wb_code wbi_projector_row_put(MDB_txn *txn, wbi_table meta,
			      const wbi_projector_row *row, wb_error *err);
/* WB_ENOTFOUND (err untouched): it has not said anything yet. */
wb_code wbi_projector_row_get(MDB_txn *txn, wbi_table meta,
			      wbi_projector_row *ret, wb_error *err);
/* Is this key of `meta` the status row, which is no part of a digest? */
bool wbi_is_projector_row(wb_str key);

/* ---- aside, skipped: by unit of quarantine and position ------------------ */

typedef struct wbi_aside {
	uint32_t code; /* wb_code of the failure; 0: it waits behind one */
	wb_str text;
	wb_str record; /* the event, as the journal has it */
} wbi_aside;

/* Keys as of relay.parked (lib/journal/parked.h). */
wb_code wbi_aside_put(MDB_txn *txn, wbi_table aside, wb_str unit,
		      uint64_t position, const wbi_aside *row, wb_error *err);
wb_code wbi_aside_decode(wb_str row_key, wb_str row, wb_str *ret_unit,
			 uint64_t *ret_position, wbi_aside *ret,
			 wb_error *err);

/* ---- aside_keys: by unit ------------------------------------------------- */

typedef struct wbi_aside_key {
	uint64_t first, count, bytes; /* position of the one that failed */
	uint32_t code;
	wb_str text; /* of the failure; points into the map */
} wbi_aside_key;

wb_code wbi_aside_key_put(MDB_txn *txn, wbi_table keys, wb_str unit,
			  const wbi_aside_key *row, wb_error *err);
wb_code wbi_aside_key_get(MDB_txn *txn, wbi_table keys, wb_str unit,
			  wbi_aside_key *ret, wb_error *err);
wb_code wbi_aside_key_decode(wb_str unit, wb_str row, wbi_aside_key *ret,
			     wb_error *err);

#endif
