/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Projections: a read model that follows a journal. Declared once, as static
 * data; thirty lines make one:
 *
 *   enum { COUNTS };
 *   static const wb_model_table tables[] = {{.name = "counts"}};
 *
 *   static wb_code count(wb_model *model, const wb_event *event, wb_error *err)
 *   {
 *           uint64_t n = 0;
 *           wb_str old;
 *           wb_code code = wb_model_get(model, COUNTS, event->type, &old, err);
 *
 *           if (code == WB_OK)
 *                   memcpy(&n, old.ptr, sizeof(n));
 *           else if (code != WB_ENOTFOUND)
 *                   return code;
 *           n++;
 *           return wb_model_put(model, COUNTS, event->type,
 *                               wb_str_n(&n, sizeof(n)), err);
 *   }
 *
 * What an event changes and how far the model has come are one commit, so each
 * event is in it exactly once. `apply` must be a function of the model and the
 * event alone (no clock, no randomness, nothing outside): then a rebuild gives
 * the same model, byte for byte. It cannot send.
 *
 * The model lies in DIR/projections/NAME/, one LMDB environment per generation.
 * <waybill/read.h> reads it; <waybill/projector.h> keeps it up to date.
 */
#ifndef WAYBILL_PROJECTION_H
#define WAYBILL_PROJECTION_H

#include <waybill/event.h>
#include <waybill/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The model in one call of `apply`; valid until that returns. */
typedef struct wb_model wb_model;
/* Where an index function puts its keys; valid until that returns. */
typedef struct wb_index_keys wb_index_keys;

enum {
	WB_MODEL_TABLES_MAX = 16,
	WB_MODEL_INDEXES_MAX = 8,        /* per table */
	WB_MODEL_KEY_MAX = 255,          /* bytes of a row's key, 1 at least */
	WB_MODEL_VALUE_MAX = 16 << 20,   /* of its value */
	WB_MODEL_INDEX_KEY_MAX = 200,    /* of a key in an index */
	WB_MODEL_INDEX_KEYS_MAX = 16     /* per row and index */
};

/*
 * A secondary index: which keys lead to this row? A function of the row alone;
 * kept up with every put and del, in the same commit. Rows of one index key
 * come in order of their own keys.
 */
typedef struct wb_model_index {
	const char *name; /* 1..64 of a-z 0-9 . _ - */
	wb_code (*keys)(wb_index_keys *ret, wb_str key, wb_str value,
			wb_error *err);
} wb_model_index;

typedef struct wb_model_table {
	const char *name;         /* 1..64 of a-z 0-9 . _ - */
	const char *content_type; /* of values, for readers; NULL: bytes. JSON
				     only if it says "application/json" */
	const wb_model_index *indexes;
	size_t index_count;
} wb_model_table;

typedef enum wb_projection_source {
	WB_PROJECTION_OUTBOX = 1, /* the store's own events */
	WB_PROJECTION_INBOX = 2,  /* those that came to it */
	WB_PROJECTION_STREAM = 3  /* a RabbitMQ stream queue, for a reader
				     elsewhere: positions are offsets + 1. What
				     a relay has published twice counts once */
} wb_projection_source;

/*
 * What an event does that cannot be applied. There is no default. Errors of
 * class STOP stop the projection whatever this says, and want of room or memory
 * is not the event's fault: it is applied again when there is some.
 */
typedef enum wb_on_error {
	WB_ON_ERROR_STOP = 1,       /* stay at this event until an operator or
				       a new version mends it */
	WB_ON_ERROR_QUARANTINE_KEY, /* keep it and all later events of its key
				       aside, in order, in the same commit;
				       others go on. Healing applies them in
				       order. Of an event without a key: it
				       alone */
	WB_ON_ERROR_SKIP            /* record it, go on as if it had not been */
} wb_on_error;

/* Static data. */
typedef struct wb_projection {
	size_t size;
	const char *name;  /* 1..64 of a-z 0-9 . _ -; a directory's name */
	uint32_t version;  /* from 1; raise it when `apply`, an index or the
			      tables change: the model is then built anew
			      beside the old one, which is read meanwhile */
	wb_projection_source source;
	const char *const *types; /* patterns as of a topic exchange, NULL
				     behind the last; others pass by */
	const wb_model_table *tables; /* tables of `apply` by their index here */
	size_t table_count;
	wb_on_error on_error;
	wb_code (*apply)(wb_model *model, const wb_event *event, wb_error *err);
	/*
	 * The unit of quarantine: part of the event, or made in `buf` (`size`
	 * is 256). At most 255 bytes; empty: none. All events that touch the
	 * same rows should have the same one, or change them in a way whose
	 * order does not matter. NULL: the event's ordering key.
	 */
	wb_str (*key)(const wb_event *event, char *buf, size_t size);
	/*
	 * The journal begins behind `position`, or streams were truncated up to
	 * there: not all that was there is there any more. Fill the empty model
	 * with what it would be at `position`. NULL: such a journal, and the
	 * first truncated event of `types`, is refused. The model's other
	 * tables are empty; called once per generation, in one transaction of
	 * it. `store` is the projector's, which one of a stream queue may be
	 * without: NULL then.
	 */
	wb_code (*from_snapshot)(wb_model *model, wb_store *store,
				 uint64_t position, wb_error *err);
	void *ctx; /* yours: wb_model_projection(model)->ctx */
} wb_projection;

#define WB_PROJECTION_INIT WB_SIZED_INIT(wb_projection)

/* ---- in a call --------------------------------------------------------- */

WB_API const wb_projection *wb_model_projection(const wb_model *model);
/* Of the event that is being applied, in its journal. */
WB_API uint64_t wb_model_position(const wb_model *model);

/*
 * The value of a row; points into the map and lives until the next put or del
 * of this call. `table` is an index into the declaration's tables.
 *
 * WB_ENOTFOUND, with *err untouched: there is no such row. WB_EINVAL: no such
 * table; an empty key, or one over WB_MODEL_KEY_MAX bytes.
 */
WB_API wb_code wb_model_get(wb_model *model, size_t table, wb_str key,
			    wb_str *ret_value, wb_error *err);

/*
 * Put a row in place of the one that is there, if any; del: take it away
 * (WB_ENOTFOUND, with *err untouched: there is none). `value` must not be what
 * wb_model_get() returned: copy it. After WB_EINVAL, WB_ELIMIT and WB_ENOTFOUND
 * the call may go on; after any other error what it does is taken back,
 * whatever it returns.
 */
WB_API wb_code wb_model_put(wb_model *model, size_t table, wb_str key,
			    wb_str value, wb_error *err);
WB_API wb_code wb_model_del(wb_model *model, size_t table, wb_str key,
			    wb_error *err);

/* In an index function: this key leads to the row. One given twice counts once.
 * WB_ELIMIT: too long, or too many. Keys sort as bytes: big-endian numbers. */
WB_API wb_code wb_index_key_add(wb_index_keys *ret, wb_str key, wb_error *err);

/*
 * Is this a declaration? WB_EINVAL names the field that is missing or wrong,
 * such as on_error, which has no default.
 */
WB_API wb_code wb_projection_check(const wb_projection *projection,
				   wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
