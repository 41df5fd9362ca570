/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Definitions and machines as bytes (definition.h). Little-endian numbers, and
 * texts behind a 16-bit length; a text that is not there has length 65,535.
 * Reading is bounds-checked; the rows around them have the checksums. No
 * state, any thread.
 */
#include "saga/definition.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/buffer.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/event/body_hash.h"

enum {
	DEFINITION_VERSION = 1,
	MACHINE_VERSION = 1,
	TEXT_NONE = 65535,
	STEP_RUNS = 1,
	STEP_RUNS_UNDO = 2,
	STEP_KEEPS = 4
};

/* ---- writing ------------------------------------------------------------- */

typedef struct writer {
	wbi_buffer bytes;
	wb_code code;
} writer;

static void write_bytes(writer *w, const void *bytes, size_t len)
{
	if (w->code == WB_OK)
		w->code = wbi_buffer_append(&w->bytes, bytes, len);
}

static void write_u8(writer *w, uint8_t v)
{
	write_bytes(w, &v, 1);
}

static void write_u32(writer *w, uint32_t v)
{
	uint8_t b[4];

	wbi_put_le32(b, v);
	write_bytes(w, b, sizeof(b));
}

static void write_u64(writer *w, uint64_t v)
{
	uint8_t b[8];

	wbi_put_le64(b, v);
	write_bytes(w, b, sizeof(b));
}

static void write_text(writer *w, const char *text)
{
	size_t len = text ? strlen(text) : TEXT_NONE;
	uint8_t b[2];

	WB_ASSERT(len <= TEXT_NONE);
	wbi_put_le16(b, (uint16_t)len);
	write_bytes(w, b, sizeof(b));
	if (text)
		write_bytes(w, text, len);
}

static void write_step(writer *w, const wb_step *step, size_t at)
{
	write_text(w, step->name);
	write_u8(w, (uint8_t)step->kind);
	write_u8(w, at > 0 ? 1 : 0); /* how many it comes after ... */
	if (at > 0)
		write_u8(w, (uint8_t)(at - 1)); /* ... and which */
	write_text(w, step->command);
	write_text(w, step->undo);
	write_text(w, step->probe);
	write_u8(w, (uint8_t)((step->run ? STEP_RUNS : 0) |
			      (step->run_undo ? STEP_RUNS_UNDO : 0) |
			      (step->keeps ? STEP_KEEPS : 0)));
	write_u32(w, step->deadline_ms);
	write_u32(w, step->attempts_max);
	write_u32(w, step->undo_attempts_max);
	write_u32(w, step->backoff_min_ms);
	write_u32(w, step->backoff_max_ms);
}

wb_code wbi_definition_encode(const wb_saga *saga, uint8_t **ret,
			      size_t *ret_len,
			      char ret_hash[WBI_SAGA_HASH_LEN + 1],
			      wb_error *err)
{
	writer w = {.code = WB_OK};
	uint8_t *bytes = NULL;
	size_t len;

	wbi_buffer_init(&w.bytes, WBI_DEFINITION_MAX);
	write_u8(&w, DEFINITION_VERSION);
	write_text(&w, saga->name);
	write_u64(&w, saga->deadline_ms);
	write_u8(&w, (uint8_t)saga->count);
	for (size_t i = 0; i < saga->count; i++)
		write_step(&w, &saga->steps[i], i);
	len = wbi_buffer_len(&w.bytes);
	if (w.code == WB_OK)
		bytes = malloc(len);
	if (!bytes) {
		wbi_buffer_fini(&w.bytes);
		return WBI_FAIL(err, WB_ENOMEM, "saga: out of memory");
	}
	memcpy(bytes, wbi_buffer_data(&w.bytes), len);
	wbi_buffer_fini(&w.bytes);
	w.code = wbi_body_hash(wb_str_n(bytes, len), ret_hash, err);
	if (w.code != WB_OK) {
		free(bytes);
		return w.code;
	}
	*ret = bytes;
	*ret_len = len;
	return WB_OK;
}

/* ---- reading ------------------------------------------------------------- */

typedef struct reader {
	const uint8_t *at, *end;
	char *texts; /* where the next text goes; NULL: it is only measured */
	size_t text_bytes;
	bool torn;
} reader;

static const uint8_t *read_bytes(reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->torn || (size_t)(r->end - r->at) < len) {
		r->torn = true;
		return NULL;
	}
	r->at += len;
	return at;
}

static uint8_t read_u8(reader *r)
{
	const uint8_t *b = read_bytes(r, 1);

	return b ? *b : 0;
}

static uint32_t read_u32(reader *r)
{
	const uint8_t *b = read_bytes(r, 4);

	return b ? wbi_get_le32(b) : 0;
}

static uint64_t read_u64(reader *r)
{
	const uint8_t *b = read_bytes(r, 8);

	return b ? wbi_get_le64(b) : 0;
}

static const char *read_text(reader *r)
{
	const uint8_t *b = read_bytes(r, 2), *text;
	size_t len = b ? wbi_get_le16(b) : TEXT_NONE;
	char *copy;

	if (len == TEXT_NONE)
		return NULL;
	text = read_bytes(r, len);
	if (!text || memchr(text, 0, len)) {
		r->torn = true;
		return NULL;
	}
	r->text_bytes += len + 1;
	if (!r->texts)
		return NULL;
	copy = r->texts;
	memcpy(copy, text, len);
	copy[len] = '\0';
	r->texts += len + 1;
	return copy;
}

/* Stand for functions that are in a module. */
static wb_code read_run(wb_call *call, wb_error *err)
{
	(void)call;
	return WBI_FAIL(err, WB_ESTATE, "a stored definition cannot be run");
}

static void read_step(reader *r, wb_step *step)
{
	uint8_t after, flags;

	step->name = read_text(r);
	step->kind = (wb_step_kind)read_u8(r);
	for (after = read_u8(r); after > 0; after--)
		read_u8(r);
	step->command = read_text(r);
	step->undo = read_text(r);
	step->probe = read_text(r);
	flags = read_u8(r);
	step->run = flags & STEP_RUNS ? read_run : NULL;
	step->run_undo = flags & STEP_RUNS_UNDO ? read_run : NULL;
	step->keeps = (flags & STEP_KEEPS) != 0;
	step->deadline_ms = read_u32(r);
	step->attempts_max = read_u32(r);
	step->undo_attempts_max = read_u32(r);
	step->backoff_min_ms = read_u32(r);
	step->backoff_max_ms = read_u32(r);
}

static void read_all(reader *r, wbi_definition *d)
{
	d->saga = (wb_saga)WB_SAGA_INIT;
	d->saga.name = read_text(r);
	d->saga.deadline_ms = read_u64(r);
	d->saga.count = read_u8(r);
	d->saga.steps = d->steps;
	if (d->saga.count == 0 || d->saga.count > WBI_SAGA_STEPS_MAX)
		r->torn = true;
	for (size_t i = 0; i < d->saga.count && !r->torn; i++)
		read_step(r, &d->steps[i]);
	if (r->at != r->end)
		r->torn = true;
}

wb_code wbi_definition_decode(wb_str bytes, wbi_definition **ret, wb_error *err)
{
	const uint8_t *start = (const uint8_t *)bytes.ptr;
	reader r = {.at = start, .end = start + bytes.len};
	uint8_t version = read_u8(&r);
	wbi_definition *d;

	if (version != DEFINITION_VERSION)
		return WBI_FAIL(err, bytes.len ? WB_EVERSION : WB_ECORRUPT,
				"a saga's definition of version %u", version);
	d = calloc(1, sizeof(*d));
	if (!d)
		return WBI_FAIL(err, WB_ENOMEM, "saga: out of memory");
	read_all(&r, d); /* only measures */
	if (!r.torn) {
		d->texts = malloc(r.text_bytes);
		r = (reader){.at = start + 1,
			     .end = start + bytes.len,
			     .texts = d->texts};
		if (d->texts)
			read_all(&r, d);
	}
	if (r.torn || !d->texts ||
	    wb_saga_check(&d->saga, NULL, 0, NULL, NULL, NULL) != WB_OK) {
		bool memory = !r.torn && !d->texts;

		wbi_definition_free(d);
		return WBI_FAIL(err, memory ? WB_ENOMEM : WB_ECORRUPT,
				memory ? "saga: out of memory"
				       : "a stored definition is damaged; run "
					 "waybill fsck");
	}
	*ret = d;
	return WB_OK;
}

void wbi_definition_free(wbi_definition *definition)
{
	if (!definition)
		return;
	free(definition->texts);
	free(definition);
}

/* ---- machines ------------------------------------------------------------ */

size_t wbi_machine_encode(const wbi_machine *machine,
			  uint8_t ret[WBI_MACHINE_BYTES_MAX])
{
	const wbi_machine *m = machine;
	uint8_t *at = ret;

	WB_ASSERT(m->count <= WBI_SAGA_STEPS_MAX);
	*at++ = MACHINE_VERSION;
	*at++ = m->status;
	*at++ = m->parking;
	*at++ = m->before;
	*at++ = m->overdue;
	*at++ = (uint8_t)m->count;
	*at++ = (uint8_t)m->current;
	wbi_put_le32(at, m->epoch);
	wbi_put_le32(at + 4, m->serial);
	at += 8;
	for (uint32_t i = 0; i < m->count; i++) {
		*at++ = m->steps[i].at;
		*at++ = m->steps[i].skipped;
		wbi_put_le32(at, m->steps[i].attempts);
		wbi_put_le32(at + 4, m->steps[i].undo_attempts);
		at += 8;
	}
	WB_ASSERT((size_t)(at - ret) <= WBI_MACHINE_BYTES_MAX);
	return (size_t)(at - ret);
}

static bool read_bool(reader *r)
{
	uint8_t v = read_u8(r);

	r->torn = r->torn || v > 1;
	return v == 1;
}

wb_code wbi_machine_decode(wb_str bytes, wbi_machine *ret, wb_error *err)
{
	const uint8_t *start = (const uint8_t *)bytes.ptr;
	reader r = {.at = start, .end = start + bytes.len};
	wbi_machine m = {0};
	uint8_t version = read_u8(&r);

	m.status = read_u8(&r);
	m.parking = read_u8(&r);
	m.before = read_u8(&r);
	m.overdue = read_bool(&r);
	m.count = read_u8(&r);
	m.current = read_u8(&r);
	m.epoch = read_u32(&r);
	m.serial = read_u32(&r);
	if (m.count > WBI_SAGA_STEPS_MAX || (m.count && m.current >= m.count))
		r.torn = true;
	for (uint32_t i = 0; i < m.count && !r.torn; i++) {
		m.steps[i].at = read_u8(&r);
		m.steps[i].skipped = read_bool(&r);
		m.steps[i].attempts = read_u32(&r);
		m.steps[i].undo_attempts = read_u32(&r);
		if (m.steps[i].at >= WBI_AT_END)
			r.torn = true;
	}
	if (version != MACHINE_VERSION || r.torn || r.at != r.end ||
	    m.status > WB_SAGA_ABANDONED || m.before > WB_SAGA_ABANDONED ||
	    m.parking > WBI_PARKING_DEFINITION)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a saga's state is damaged; run waybill fsck");
	*ret = m;
	return WB_OK;
}
