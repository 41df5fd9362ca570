/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzz targets share. A target is one file with the function below:
 * libFuzzer calls it with what it made up, replay.c with what it has found.
 * What must hold is asserted: a broken promise ends the process, as a crash
 * does. `make fuzz` and `make fuzz-corpus`; see docs/proof.md.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/base.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A promise that the input has broken. */
#define FUZZ_HOLDS(condition) fuzz_holds((condition), #condition, __LINE__)

static inline void fuzz_holds(bool holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "line %d: this does not hold: %s\n", line, what);
	abort();
}

/*
 * The input, taken apart from its front; at its end everything is 0 and empty.
 * Strings are copied into blocks of their own size, so that a sanitizer sees
 * each byte that is read behind one; they live until fuzz_fini().
 */
enum { FUZZ_BLOCKS = 256 };

typedef struct fuzz_in {
	const uint8_t *at;
	size_t left;
	void *blocks[FUZZ_BLOCKS];
	size_t block_count;
} fuzz_in;

void fuzz_init(fuzz_in *in, const uint8_t *data, size_t size);
void fuzz_fini(fuzz_in *in);

uint8_t fuzz_u8(fuzz_in *in);
uint16_t fuzz_u16(fuzz_in *in);
uint32_t fuzz_u32(fuzz_in *in);
uint64_t fuzz_u64(fuzz_in *in);
/* `len` bytes, or what is left. */
wb_str fuzz_take(fuzz_in *in, size_t len);
/* Behind a length of one byte; of two. */
wb_str fuzz_short(fuzz_in *in);
wb_str fuzz_long(fuzz_in *in);
wb_str fuzz_rest(fuzz_in *in);
/* The same, terminated, without zeros before its end. */
const char *fuzz_text(fuzz_in *in, wb_str from);
/* Any bytes as a block of their own. */
uint8_t *fuzz_block(fuzz_in *in, size_t size);

/* A directory of the process's own, for stores; removed when it ends in good
 * order. */
const char *fuzz_dir(void);
/* "DIR/NAME"; for the life of the process. */
const char *fuzz_path(const char *dir, const char *name);

#endif
