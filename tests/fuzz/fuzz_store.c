/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store whose files were damaged: bytes changed, pages copied over others,
 * the end cut off. LMDB trusts its pages with the process's memory (0.9.24), so
 * the promise is what fsck makes: its walk neither crashes nor hangs, in this
 * very process, and what it calls sound can be opened, read and written to.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <waybill/outbox.h>
#include <waybill/stream.h>

#include "lib/base/assert.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"
#include "lib/journal/walk.h"
#include "tests/fuzz/fuzz.h"

enum { FILES = 2, EDITS_MAX = 16, PAGE = 4096 };

typedef struct image {
	const char *path;
	uint8_t *bytes;
	size_t size;
} image;

static const char *store_dir;
static image images[FILES];

/* ---- a store with something in each part of it -------------------------- */

/* WB_OK or WB_EMAPFULL. */
static wb_code append_some(wb_store *store, unsigned count)
{
	wb_outbox *outbox;
	MDB_txn *txn;
	wb_code code = WB_OK;
	char data[9000];

	memset(data, 'x', sizeof(data));
	FUZZ_HOLDS(wb_outbox_open(store, NULL, &outbox, NULL) == WB_OK);
	FUZZ_HOLDS(wb_store_begin(store, &txn, NULL) == WB_OK);
	for (unsigned i = 0; i < count && code == WB_OK; i++) {
		wb_event event = {.type = wb_str_from("thing.done"),
				  .key = wb_str_from(i % 2 ? "a" : "b")};

		event.data = wb_str_n(data, i == 3 ? sizeof(data) : 20 * i);
		code = wb_outbox_append(outbox, txn, &event, NULL, NULL);
	}
	if (code == WB_OK)
		code = wb_store_commit(store, txn, NULL);
	else
		wb_store_abort(txn);
	FUZZ_HOLDS(code == WB_OK || code == WB_EMAPFULL);
	wb_outbox_close(outbox);
	return code;
}

static void fill_relay(wb_store *store)
{
	const wbi_relay_tables *t = wbi_store_relay_tables(store);
	wbi_audit audit = {.who = wb_str_from("me"),
			   .what = wb_str_from("retry"),
			   .why = wb_str_from("x")};
	wbi_held held = {.first_position = 3, .text = wb_str_from("missing")};
	MDB_txn *txn;

	FUZZ_HOLDS(wbi_txn_begin(wbi_store_relay_env(store), true, &txn,
				 NULL) == WB_OK);
	FUZZ_HOLDS(wbi_held_put(txn, t->held, wb_str_from("events"), &held,
				NULL) == WB_OK);
	for (int i = 0; i < 40; i++)
		FUZZ_HOLDS(wbi_audit_add(txn, t->audit, &audit, NULL, NULL) ==
			   WB_OK);
	FUZZ_HOLDS(wbi_count_add(txn, t->status, wb_str_from("unrouted/a"), 7,
				 NULL) == WB_OK);
	FUZZ_HOLDS(wbi_txn_commit(txn, NULL) == WB_OK);
}

static void load(image *ret, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	FUZZ_HOLDS(fd >= 0 && !fstat(fd, &st));
	ret->path = path;
	ret->size = (size_t)st.st_size;
	ret->bytes = malloc(ret->size);
	FUZZ_HOLDS(ret->bytes);
	FUZZ_HOLDS(read(fd, ret->bytes, ret->size) ==
		   (ssize_t)ret->size);
	close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_store *store;

	(void)argc;
	(void)argv;
	store_dir = fuzz_path(fuzz_dir(), "store");
	options.service = "fuzz";
	options.map_bytes = 8 << 20;
	FUZZ_HOLDS(wb_store_create(store_dir, &options, NULL) == WB_OK);
	FUZZ_HOLDS(wb_store_open(store_dir, &options, &store, NULL) == WB_OK);
	for (unsigned i = 0; i < 6; i++)
		FUZZ_HOLDS(append_some(store, 12) == WB_OK);
	fill_relay(store);
	wb_store_close(store);
	load(&images[0], fuzz_path(store_dir, "data.mdb"));
	load(&images[1], fuzz_path(store_dir, "relay/data.mdb"));
	return 0;
}

/* ---- damage ------------------------------------------------------------- */

static void write_bytes(const image *to, size_t at, const void *bytes,
			size_t len)
{
	int fd;

	if (at >= to->size || len == 0)
		return;
	if (len > to->size - at)
		len = to->size - at;
	fd = open(to->path, O_WRONLY | O_CLOEXEC);
	FUZZ_HOLDS(fd >= 0);
	FUZZ_HOLDS(pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len);
	close(fd);
}

static void restore(const image *to)
{
	FUZZ_HOLDS(truncate(to->path, (off_t)to->size) == 0);
	write_bytes(to, 0, to->bytes, to->size);
}

static void edit(fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);
	const image *to = &images[what & 1];
	size_t pages = to->size / PAGE, page = fuzz_u8(in) % pages, at;
	wb_str bytes;

	switch (what >> 1 & 7) {
	case 0: /* one page over another */
		at = fuzz_u8(in) % pages;
		write_bytes(to, page * PAGE, to->bytes + at * PAGE, PAGE);
		break;
	case 1: /* the end is gone */
		FUZZ_HOLDS(truncate(to->path, (off_t)(page * PAGE +
						      fuzz_u16(in) % PAGE)) ==
			   0);
		break;
	case 2: /* a page's header, or a slot behind it */
	case 3:
		at = page * PAGE + fuzz_u8(in) % 64;
		bytes = fuzz_take(in, 1 + (what >> 4) % 8);
		write_bytes(to, at, bytes.ptr, bytes.len);
		break;
	default:
		at = page * PAGE + fuzz_u16(in) % PAGE;
		bytes = fuzz_take(in, 1 + (what >> 4) % 16);
		write_bytes(to, at, bytes.ptr, bytes.len);
	}
}

/* ---- what must hold ----------------------------------------------------- */

static void count_finding(void *ctx, const wbi_finding *finding)
{
	FUZZ_HOLDS(finding->code != WB_OK && finding->text[0] != '\0');
	*(unsigned *)ctx += 1;
}

static void count_nothing(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	(void)done;
	(void)total;
}

/* Findings; UINT_MAX: it could not be looked at. */
static unsigned walk(void)
{
	unsigned findings = 0;
	const wbi_walk_output output = {count_finding, count_nothing,
					&findings};
	wbi_check_result result;
	wb_error err = WB_ERROR_INIT;

	memset(&result, 0, sizeof(result));
	if (wbi_walk_store(store_dir, &output, &result, &err) != WB_OK)
		return UINT_MAX;
	return findings;
}

static void read_all(wb_store *store)
{
	wbi_journal outbox = wbi_journal_of(store, WBI_OUTBOX);
	wbi_reader reader;
	MDB_txn *txn;
	wb_event event;
	wb_str record;
	wb_code code;

	FUZZ_HOLDS(wbi_txn_begin(wb_store_env(store), false, &txn, NULL) ==
		   WB_OK);
	FUZZ_HOLDS(wbi_reader_open(&reader, &outbox, txn, 0, NULL) == WB_OK);
	do
		code = wbi_reader_next(&reader, &event, &record, NULL);
	while (code == WB_OK);
	FUZZ_HOLDS(code == WB_ENOTFOUND);
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
}

static void go_on(void)
{
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	if (wb_store_open(store_dir, NULL, &store, &err) != WB_OK) {
		fprintf(stderr, "called sound: %s\n", err.text);
		abort();
	}
	read_all(store);
	append_some(store, 12); /* or a meta page says that the map is small */
	read_all(store);
	wb_store_close(store);
	FUZZ_HOLDS(walk() == 0);
}

/* A meta page that is wrong is looked at again for some milliseconds, for a
 * commit may be going on; nobody else writes to this file. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
	(void)wanted;
	(void)left;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_in in;

	restore(&images[0]);
	restore(&images[1]);
	fuzz_init(&in, data, size);
	for (int i = 0; i < EDITS_MAX && in.left > 0; i++)
		edit(&in);
	fuzz_fini(&in);
	if (walk() == 0)
		go_on();
	return 0;
}
