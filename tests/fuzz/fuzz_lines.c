/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NDJSON on standard input, through the shipped `waybill append` and its store.
 * Whatever comes, it says how it ended, and what is in the store afterwards can
 * be read back.
 */
#include "config.h" /* first: it asks for memfd_create */

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/command.h"
#include "lib/journal/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/kit/scratch.h"

enum { FRESH = 256 }; /* inputs into one store */

static const char *store_dir;
static unsigned inputs;
static int null_fd = -1;

static void make_store(void)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;

	if (store_dir)
		kit_scratch_remove(store_dir);
	else
		store_dir = fuzz_path(fuzz_dir(), "store");
	options.service = "fuzz";
	options.map_bytes = 64 << 20;
	FUZZ_HOLDS(wb_store_create(store_dir, &options, NULL) == WB_OK);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	FUZZ_HOLDS(null_fd >= 0);
	return 0;
}

/* Standard input is the bytes; what is printed is nobody's. */
static void stdio_begin(const uint8_t *data, size_t size, int saved[2])
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	FUZZ_HOLDS(fd >= 0);
	FUZZ_HOLDS(write(fd, data, size) == (ssize_t)size);
	lseek(fd, 0, SEEK_SET);
	fflush(stdout);
	saved[0] = dup(STDOUT_FILENO);
	saved[1] = dup(STDERR_FILENO);
	dup2(fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	dup2(null_fd, STDERR_FILENO);
	close(fd);
}

static void stdio_end(int saved[2])
{
	fflush(stdout);
	fflush(stderr);
	dup2(saved[0], STDOUT_FILENO);
	dup2(saved[1], STDERR_FILENO);
	close(saved[0]);
	close(saved[1]);
}

static void run_append(void)
{
	char name[] = "append", flag[] = "--store", batch[] = "--batch",
	     number[] = "3", *dir = strdup(store_dir);
	char *argv[] = {name, flag, dir, batch, number, NULL};
	cli_context ctx = {.program = "waybill",
			   .command = &cli_command_append};
	bool done = false;
	int code = cli_parse(&ctx, 5, argv, &done);

	if (code == CLI_OK && !done)
		code = ctx.command->run(&ctx);
	cli_context_fini(&ctx);
	free(dir);
	FUZZ_HOLDS(code == CLI_OK || code == CLI_NOT_ALL || code == CLI_FAILED);
}

static void read_back(void)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wbi_reader reader;
	wbi_journal outbox;
	wb_store *store;
	MDB_txn *txn;
	wb_event event;
	wb_str record;
	wb_code code;

	FUZZ_HOLDS(wb_store_open(store_dir, &options, &store, NULL) == WB_OK);
	outbox = wbi_journal_of(store, WBI_OUTBOX);
	FUZZ_HOLDS(wbi_txn_begin(wb_store_env(store), false, &txn, NULL) ==
		   WB_OK);
	FUZZ_HOLDS(wbi_reader_open(&reader, &outbox, txn, 0, NULL) == WB_OK);
	do
		code = wbi_reader_next(&reader, &event, &record, NULL);
	while (code == WB_OK);
	FUZZ_HOLDS(code == WB_ENOTFOUND);
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
	wb_store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int saved[2];

	if (inputs++ % FRESH == 0)
		make_store();
	stdio_begin(data, size, saved);
	run_append();
	stdio_end(saved);
	if (inputs % 4 == 0)
		read_back();
	return 0;
}
