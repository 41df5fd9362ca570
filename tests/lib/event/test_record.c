/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The record is a promise to files that exist: golden files hold it byte for
 * byte. `test_record write DIR` writes them; it was needed once.
 */
#include "tests/lib/event/sample.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/event/record.h"

static const struct {
	const char *file;
	wb_event (*make)(void);
	uint64_t position;
	uint8_t flags;
} golden[] = {
	{"minimal.record", sample_minimal, 1, 0},
	{"full.record", sample_full, 4294967297, 0},
	{"binary.record", sample_binary, UINT64_MAX, 0},
	{"stream.record", sample_full, 2, WBI_RECORD_STREAM},
	{"stub.record", sample_stub, 2, WBI_RECORD_STREAM | WBI_RECORD_STUB},
};

static uint8_t *encode_as(const wb_event *event, uint64_t position,
			  uint8_t flags, size_t *ret_size)
{
	uint8_t *bytes;

	*ret_size = wbi_record_size(event);
	bytes = malloc(*ret_size);
	assert_non_null(bytes);
	wbi_record_encode_as(event, position, flags, bytes, *ret_size);
	return bytes;
}

static uint8_t *encode(const wb_event *event, uint64_t position,
		       size_t *ret_size)
{
	return encode_as(event, position, 0, ret_size);
}

/* Decode a copy of exactly `size` bytes on the heap, where a sanitizer sees
 * the first byte read past it; headers too. */
static wb_code decode_copy(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size + !size);
	wb_error err = WB_ERROR_INIT;
	wb_header *headers = NULL;
	uint64_t position;
	wb_event event;
	wb_code code;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	code = wbi_record_decode(copy, size, &event, &position, &err);
	if (code == WB_OK) {
		headers = calloc(event.header_count + 1, sizeof(*headers));
		assert_non_null(headers);
		code = wbi_record_headers(copy, size, &event, headers, &err);
	}
	assert_int_equal(code, err.code);
	free(headers);
	free(copy);
	return code;
}

static FILE *golden_open(const char *dir, const char *file, const char *mode)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return fopen(path, mode);
}

static void golden_files_are_read_and_written_unchanged(void **state)
{
	const char *srcdir = getenv("srcdir");
	char dir[2048];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/tests/lib/event/golden",
		 srcdir ? srcdir : ".");
	for (size_t i = 0; i < WBI_COUNT(golden); i++) {
		wb_event want = golden[i].make(), got;
		uint8_t stored[4096], *bytes;
		wb_error err = WB_ERROR_INIT;
		wb_header headers[8];
		uint64_t position;
		size_t size, len;
		FILE *f = golden_open(dir, golden[i].file, "rb");

		if (!f)
			fail_msg("cannot open %s/%s", dir, golden[i].file);
		len = fread(stored, 1, sizeof(stored), f);
		fclose(f);
		bytes = encode_as(&want, golden[i].position, golden[i].flags,
				  &size);
		assert_int_equal(size, len);
		assert_memory_equal(bytes, stored, size);
		free(bytes);
		assert_ok(wbi_record_decode(stored, len, &got, &position, &err),
			  err);
		assert_true(position == golden[i].position);
		assert_int_equal(wbi_record_flags(wb_str_n(stored, len)),
				 golden[i].flags);
		assert_null(got.headers);
		assert_ok(wbi_record_headers(stored, len, &got, headers, &err),
			  err);
		assert_same_event(&got, &want);
	}
}

static void every_flipped_bit_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < WBI_COUNT(golden); i++) {
		wb_event event = golden[i].make();
		size_t size;
		uint8_t *bytes = encode(&event, 9, &size);

		for (size_t bit = 0; bit < size * 8; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_true(decode_copy(bytes, size) != WB_OK);
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_int_equal(decode_copy(bytes, size), WB_OK);
		free(bytes);
	}
}

static void every_truncation_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < WBI_COUNT(golden); i++) {
		wb_event event = golden[i].make();
		size_t size;
		uint8_t *bytes = encode(&event, 9, &size);

		for (size_t len = 0; len < size; len++)
			assert_int_equal(decode_copy(bytes, len), WB_ECORRUPT);
		free(bytes);
	}
}

/* Whoever repairs the checksum after the damage still gets no further. */
static void resum(uint8_t *bytes, size_t size)
{
	wbi_put_le32(bytes, wbi_crc32c(0, bytes + 4, size - 4));
}

static void trailing_bytes_are_refused(void **state)
{
	wb_event event = sample_full();
	size_t size = wbi_record_size(&event);
	uint8_t *bytes = calloc(1, size + 1);

	(void)state;
	assert_non_null(bytes);
	wbi_record_encode(&event, 9, bytes, size);
	assert_int_equal(decode_copy(bytes, size + 1), WB_ECORRUPT);
	resum(bytes, size + 1);
	assert_int_equal(decode_copy(bytes, size + 1), WB_ECORRUPT);
	free(bytes);
}

static void another_version_is_refused_by_name(void **state)
{
	wb_event event = sample_full();
	size_t size;
	uint8_t *bytes = encode(&event, 9, &size);

	(void)state;
	bytes[4] = 2;
	resum(bytes, size);
	assert_int_equal(decode_copy(bytes, size), WB_EVERSION);
	free(bytes);
}

/* With a right checksum the lengths alone stand between us and a wild read:
 * every byte of every length and of the headers, every value. */
static void no_length_is_believed(void **state)
{
	wb_event event = sample_full();
	size_t size, from, to;
	uint8_t *bytes = encode(&event, 9, &size);

	(void)state;
	from = 32;
	to = size - event.data.len;
	for (size_t i = from; i < to; i++) {
		uint8_t was = bytes[i];

		for (int v = 0; v < 256; v++) {
			bytes[i] = (uint8_t)v;
			resum(bytes, size);
			(void)decode_copy(bytes, size);
			if (i < WBI_RECORD_FIXED && v != was)
				assert_int_equal(decode_copy(bytes, size),
						 WB_ECORRUPT);
		}
		bytes[i] = was;
	}
	free(bytes);
}

static void constants_and_position_are_checked(void **state)
{
	static const size_t constants[] = {6, 7, 66, 67};
	wb_event event = sample_full();
	size_t size;
	uint8_t *bytes = encode(&event, 9, &size);

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(constants); i++) {
		bytes[constants[i]] ^= 1;
		resum(bytes, size);
		assert_int_equal(decode_copy(bytes, size), WB_ECORRUPT);
		bytes[constants[i]] ^= 1;
	}
	wbi_put_le64(bytes + 8, 0);
	resum(bytes, size);
	assert_int_equal(decode_copy(bytes, size), WB_ECORRUPT);
	wbi_put_le64(bytes + 8, 1);
	resum(bytes, size);
	assert_int_equal(decode_copy(bytes, size), WB_OK);
	free(bytes);
}

/* `want` is what decoding `event` gives when the flags in it say `flags`. */
static void assert_flags(const wb_event *event, uint8_t flags, wb_code want)
{
	size_t size;
	uint8_t *bytes = encode(event, 9, &size);

	bytes[5] = flags;
	resum(bytes, size);
	assert_int_equal(decode_copy(bytes, size), want);
	free(bytes);
}

static void flags_must_fit_what_they_are_on(void **state)
{
	const wb_event full = sample_full(), stub = sample_stub();
	wb_event nameless = sample_stub(), unnumbered = sample_stub();

	(void)state;
	nameless.subject = WB_STR_NULL;
	unnumbered.sequence = 0;
	assert_flags(&full, 1, WB_OK);
	assert_flags(&stub, 1, WB_OK);
	assert_flags(&stub, 3, WB_OK);
	assert_flags(&full, 3, WB_ECORRUPT);
	assert_flags(&nameless, 1, WB_ECORRUPT);
	assert_flags(&unnumbered, 1, WB_ECORRUPT);
	for (int flags = 0; flags < 256; flags++)
		if (flags == 2 || flags > 3)
			assert_flags(&stub, (uint8_t)flags, WB_ECORRUPT);
}

static void lengths_that_cancel_out_are_found(void **state)
{
	wb_event event = sample_full();
	size_t size;
	uint8_t *bytes = encode(&event, 9, &size);
	uint32_t data = wbi_get_le32(bytes + 32);
	uint32_t headers = wbi_get_le32(bytes + 36);

	(void)state;
	for (uint32_t shift = 1; shift <= data; shift++) {
		wbi_put_le32(bytes + 32, data - shift);
		wbi_put_le32(bytes + 36, headers + shift);
		resum(bytes, size);
		assert_int_equal(decode_copy(bytes, size), WB_ECORRUPT);
	}
	wbi_put_le32(bytes + 32, data + headers);
	wbi_put_le32(bytes + 36, 0);
	resum(bytes, size);
	assert_int_equal(decode_copy(bytes, size), WB_ECORRUPT);
	free(bytes);
}

static int write_golden(const char *dir)
{
	for (size_t i = 0; i < WBI_COUNT(golden); i++) {
		wb_event event = golden[i].make();
		size_t size = wbi_record_size(&event);
		uint8_t bytes[4096];
		FILE *f = golden_open(dir, golden[i].file, "wb");

		if (!f || size > sizeof(bytes))
			return 1;
		wbi_record_encode_as(&event, golden[i].position,
				     golden[i].flags, bytes, size);
		if (fwrite(bytes, 1, size, f) != size || fclose(f) != 0)
			return 1;
	}
	return 0;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* `test_record time`: ns per record of 256 bytes of data. */
static int measure(void)
{
	enum { ROUNDS = 1000000 };
	static const char data[256];
	wb_event event = sample_full(), got;
	uint8_t bytes[4096];
	uint64_t position, sum = 0;
	int64_t t0, t1, t2;
	size_t size;

	event.headers = NULL;
	event.header_count = 0;
	event.data = wb_str_n(data, sizeof(data));
	size = wbi_record_size(&event);
	t0 = now_ns();
	for (uint64_t i = 1; i <= ROUNDS; i++)
		wbi_record_encode(&event, i, bytes, size);
	t1 = now_ns();
	for (int i = 0; i < ROUNDS; i++) {
		if (wbi_record_decode(bytes, size, &got, &position, NULL))
			return 1;
		sum += position + got.data.len;
	}
	t2 = now_ns();
	printf("%zu bytes: encode %.1f ns, decode %.1f ns (%llu)\n", size,
	       (double)(t1 - t0) / ROUNDS, (double)(t2 - t1) / ROUNDS,
	       (unsigned long long)sum);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_files_are_read_and_written_unchanged),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(every_truncation_is_found),
		cmocka_unit_test(trailing_bytes_are_refused),
		cmocka_unit_test(another_version_is_refused_by_name),
		cmocka_unit_test(no_length_is_believed),
		cmocka_unit_test(constants_and_position_are_checked),
		cmocka_unit_test(flags_must_fit_what_they_are_on),
		cmocka_unit_test(lengths_that_cancel_out_are_found),
	};

	if (argc == 3 && !strcmp(argv[1], "write"))
		return write_golden(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "time"))
		return measure();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
