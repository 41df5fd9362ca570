/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See fuzz.h. A process has one directory, in memory where that is a file
 * system; one that crashes leaves it behind, as evidence.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/kit/scratch.h"

void fuzz_init(fuzz_in *in, const uint8_t *data, size_t size)
{
	in->at = data;
	in->left = size;
	in->block_count = 0;
}

void fuzz_fini(fuzz_in *in)
{
	while (in->block_count > 0)
		free(in->blocks[--in->block_count]);
}

static uint64_t fuzz_number(fuzz_in *in, size_t bytes)
{
	uint64_t n = 0;

	for (size_t i = 0; i < bytes && in->left > 0; i++, in->left--)
		n |= (uint64_t)*in->at++ << (8 * i);
	return n;
}

uint8_t fuzz_u8(fuzz_in *in)
{
	return (uint8_t)fuzz_number(in, 1);
}

uint16_t fuzz_u16(fuzz_in *in)
{
	return (uint16_t)fuzz_number(in, 2);
}

uint32_t fuzz_u32(fuzz_in *in)
{
	return (uint32_t)fuzz_number(in, 4);
}

uint64_t fuzz_u64(fuzz_in *in)
{
	return fuzz_number(in, 8);
}

uint8_t *fuzz_block(fuzz_in *in, size_t size)
{
	uint8_t *block = in->block_count < FUZZ_BLOCKS ? malloc(size) : NULL;

	if (block)
		in->blocks[in->block_count++] = block;
	return block;
}

wb_str fuzz_take(fuzz_in *in, size_t len)
{
	uint8_t *block;

	if (len > in->left)
		len = in->left;
	block = len > 0 ? fuzz_block(in, len) : NULL;
	if (!block)
		return WB_STR_NULL;
	memcpy(block, in->at, len);
	in->at += len;
	in->left -= len;
	return wb_str_n(block, len);
}

wb_str fuzz_short(fuzz_in *in)
{
	return fuzz_take(in, fuzz_u8(in));
}

wb_str fuzz_long(fuzz_in *in)
{
	return fuzz_take(in, fuzz_u16(in));
}

wb_str fuzz_rest(fuzz_in *in)
{
	return fuzz_take(in, in->left);
}

const char *fuzz_text(fuzz_in *in, wb_str from)
{
	size_t len = from.len > 0 ? strnlen(from.ptr, from.len) : 0;
	char *text = (char *)fuzz_block(in, len + 1);

	if (!text)
		return "";
	if (len > 0)
		memcpy(text, from.ptr, len);
	text[len] = '\0';
	return text;
}

/* ---- where stores are --------------------------------------------------- */

static char fuzz_home[PATH_MAX];

static void fuzz_leave(void)
{
	kit_scratch_remove(fuzz_home);
}

const char *fuzz_dir(void)
{
	if (fuzz_home[0] != '\0')
		return fuzz_home;
	if (!kit_scratch_make(kit_scratch_base(), fuzz_home)) {
		perror("a directory for the stores");
		abort();
	}
	atexit(fuzz_leave);
	return fuzz_home;
}

const char *fuzz_path(const char *dir, const char *name)
{
	size_t size = strlen(dir) + 1 + strlen(name) + 1;
	char *path = malloc(size);

	if (!path)
		abort();
	snprintf(path, size, "%s/%s", dir, name);
	return path;
}
