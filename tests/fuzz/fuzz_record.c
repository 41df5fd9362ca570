/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes that are read from a journal: records, whole messages, and what becomes
 * of an event that was read, as the relay does it. Checksums are made right,
 * else none of it would ever be looked at. What decodes and is an event is
 * encoded again, into the same bytes.
 */
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/event/attribute.h"
#include "lib/event/envelope.h"
#include "lib/event/raw.h"
#include "lib/event/record.h"
#include "tests/fuzz/fuzz.h"

enum { CRC = 4 };

/* The input behind a checksum of its own. */
static uint8_t *sealed(fuzz_in *in, size_t *ret_size)
{
	size_t size = in->left + CRC;
	uint8_t *bytes = fuzz_block(in, size);

	if (in->left > 0)
		memcpy(bytes + CRC, in->at, in->left);
	wbi_put_le32(bytes, wbi_crc32c(0, bytes + CRC, size - CRC));
	*ret_size = size;
	return bytes;
}

static void send_on(fuzz_in *in, const wb_event *event, uint64_t position)
{
	wbi_envelope_context context = {wb_str_from("fuzz"),
					 wb_str_from("origin"), position};
	size_t count = event->header_count + WBI_ENVELOPE_HEADERS, bytes = 0;
	wb_header *headers = (wb_header *)(void *)fuzz_block(
		in, count * sizeof(*headers));
	char scratch[WBI_ENVELOPE_SCRATCH], *names, *body = NULL;
	wb_message message;

	for (size_t i = 0; i < event->header_count; i++)
		bytes += event->headers[i].name.len + 3;
	names = (char *)fuzz_block(in, bytes + (bytes == 0));
	wbi_envelope_binary(event, &context, headers, names, scratch, &message);
	FUZZ_HOLDS(message.header_count <= count);
	if (wbi_envelope_structured(event, &context, &message, &body, NULL) ==
	    WB_OK)
		free(body);
}

static void again(fuzz_in *in, const wb_event *event, uint64_t position,
		  const uint8_t *bytes, size_t size)
{
	uint8_t *copy;

	FUZZ_HOLDS(wbi_record_size(event) == size);
	copy = fuzz_block(in, size);
	wbi_record_encode_as(event, position,
			     wbi_record_flags(wb_str_n(bytes, size)), copy,
			     size);
	FUZZ_HOLDS(memcmp(copy, bytes, size) == 0);
}

static void record(fuzz_in *in)
{
	wb_error err = WB_ERROR_INIT;
	wb_header *headers;
	uint64_t position;
	wb_event event = {.time_us = 0};
	uint8_t *bytes;
	size_t size;

	bytes = sealed(in, &size);
	if (wbi_record_decode(bytes, size, &event, &position, &err) != WB_OK)
		return;
	headers = (wb_header *)(void *)fuzz_block(
		in, (event.header_count + 1) * sizeof(*headers));
	if (wbi_record_headers(bytes, size, &event, headers, &err) != WB_OK)
		return;
	send_on(in, &event, position);
	if (wbi_event_check_own(&event, NULL, &err) == WB_OK)
		again(in, &event, position, bytes, size);
}

static void raw(fuzz_in *in)
{
	wb_header headers[16];
	wb_message message;
	uint8_t *bytes, *copy;
	size_t size;

	bytes = sealed(in, &size);
	if (wbi_raw_decode(wb_str_n(bytes, size), headers, WBI_COUNT(headers),
			   &message, NULL) != WB_OK)
		return;
	FUZZ_HOLDS(wbi_raw_size(&message) == size);
	copy = fuzz_block(in, size);
	wbi_raw_encode(&message, copy, size);
	FUZZ_HOLDS(memcmp(copy, bytes, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_in in;

	fuzz_init(&in, data, size);
	if (fuzz_u8(&in) % 2)
		raw(&in);
	else
		record(&in);
	fuzz_fini(&in);
	return 0;
}
