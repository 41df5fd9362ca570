/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames: gathered from any pieces, refused before the library sees them. */
#include "broker-adapters/amqp/codec.h"

#include <stdlib.h>

#include "lib/base/bytes.h"
#include "tests/support/testing.h"

static void codec_begin(wbi_codec *codec, wbi_codec_role role)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_codec_init(codec, role, &err), err);
}

/* Decode from a block of exactly this size, so that a sanitizer watches. */
static wb_code decode(wbi_codec *codec, const void *bytes, size_t len,
		      size_t *ret_used, wbi_frame *ret, wb_error *err)
{
	uint8_t *exact = malloc(len);
	wb_code code;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	code = wbi_codec_decode(codec, exact, len, ret_used, ret, err);
	free(exact);
	return code;
}

static void refused(const void *bytes, size_t len, const char *hint)
{
	wb_error err = WB_ERROR_INIT;
	wbi_codec codec;
	wbi_frame frame;
	size_t used;

	codec_begin(&codec, WBI_CODEC_CLIENT);
	assert_int_equal(decode(&codec, bytes, len, &used, &frame, &err),
			 WB_EPROTO);
	if (!strstr(err.text, hint))
		fail_msg("'%s' says nothing of '%s'", err.text, hint);
	wbi_codec_fini(&codec);
}

static void what_is_encoded_decodes_from_any_pieces(void **state)
{
	amqp_connection_tune_t tune = {2047, 131072, 60};
	const amqp_connection_tune_t *got;
	wb_error err = WB_ERROR_INIT;
	wbi_buffer out;
	wbi_codec codec;
	wbi_frame frame;
	size_t used, at;

	(void)state;
	wbi_buffer_init(&out, 4096);
	codec_begin(&codec, WBI_CODEC_CLIENT);
	assert_ok(wbi_codec_put_method(&codec, &out, 0,
				       AMQP_CONNECTION_TUNE_METHOD, &tune,
				       &err),
		  err);
	assert_ok(wbi_codec_put_heartbeat(&out, &err), err);
	assert_int_equal(wbi_buffer_len(&out), 8 + 12 + 8);
	for (size_t piece = 1; piece <= 20; piece++) {
		for (at = 0; at < 20; at += used) {
			size_t n = 20 - at < piece ? 20 - at : piece;

			assert_ok(wbi_codec_decode(&codec,
						   wbi_buffer_data(&out) + at,
						   n, &used, &frame, &err),
				  err);
			assert_int_equal(used, n);
			assert_int_equal(frame.type, at + n == 20 ? 1 : 0);
		}
		got = frame.decoded;
		assert_int_equal(frame.method, AMQP_CONNECTION_TUNE_METHOD);
		assert_int_equal(got->frame_max, 131072);
		wbi_codec_release(&codec, &frame);
	}
	assert_ok(wbi_codec_decode(&codec, wbi_buffer_data(&out) + 20, 8, &used,
				   &frame, &err),
		  err);
	assert_int_equal(frame.type, AMQP_FRAME_HEARTBEAT);
	wbi_codec_release(&codec, &frame);
	wbi_codec_fini(&codec);
	wbi_buffer_fini(&out);
}

static void a_size_is_refused_before_a_byte_of_it_is_awaited(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_codec codec;
	wbi_frame frame;
	size_t used;

	(void)state;
	refused("\3\0\1\xff\xff\xff\xff", 7, "more than");
	refused("\3\0\1\x7f\xff\xff\xff", 7, "more than");
	refused("\3\0\1\0\0\xff\xf9", 7, "more than");
	codec_begin(&codec, WBI_CODEC_CLIENT);
	assert_ok(decode(&codec, "\3\0\1\0\0\xff\xf8", 7, &used, &frame, &err),
		  err);
	assert_int_equal(frame.type, 0);
	wbi_codec_fini(&codec);
}

static void frames_that_cannot_be_are_refused(void **state)
{
	(void)state;
	refused("\2\0\3\0\0\0\1", 7, "channel 3");
	refused("\1\0\0\0\0\0\3\0\0\0\xce", 11, "cannot have 3");
	refused("\2\0\1\0\0\0\14", 7, "cannot have 12");
	refused("\10\0\0\0\0\0\1", 7, "cannot have 1");
	refused("\10\0\1\0\0\0\0", 7, "cannot have 0");
	refused("\7\0\0\0\0\0\0", 7, "unknown type");
	refused("\10\0\0\0\0\0\0\xcd", 8, "does not end");
	refused("\2\0\1\0\0\0\16\0\12\0\0\0\0\0\0\0\0\0\0\0\0\xce", 22,
		"class 10");
}

/* A method frame on channel 0 around these argument bytes. */
static size_t method_frame(uint8_t *to, uint32_t id, const void *args,
			   size_t len)
{
	wbi_codec_put_header(to, AMQP_FRAME_METHOD, 0, 4 + len);
	wbi_put_be32(to + 7, id);
	memcpy(to + 11, args, len);
	to[11 + len] = AMQP_FRAME_END;
	return 12 + len;
}

static void methods_are_walked_before_they_are_decoded(void **state)
{
	uint8_t frame[64];
	size_t len;

	(void)state;
	len = method_frame(frame, AMQP_CONNECTION_TUNE_METHOD, "\0\1\0", 3);
	refused(frame, len, "10.30 from the peer: a field runs over");
	len = method_frame(frame, AMQP_CONNECTION_TUNE_METHOD,
			   "\0\1\0\2\0\0\0\0!", 9);
	refused(frame, len, "bytes behind the end");
	len = method_frame(frame, AMQP_BASIC_PUBLISH_METHOD, "\0\0\0\0\0", 5);
	refused(frame, len, "does not belong here");
	len = method_frame(frame, 0x00ff00ff, "", 0);
	refused(frame, len, "does not belong here");
	len = method_frame(frame, AMQP_CONNECTION_BLOCKED_METHOD, "\5abc", 4);
	refused(frame, len, "runs over");
}

static void a_deep_table_in_a_method_is_refused(void **state)
{
	enum { LEVELS = 6000, LEN = 2 + 4 + 2 + LEVELS * 5 };
	static uint8_t args[LEN + 8], frame[LEN + 32];
	uint8_t *p = args;
	size_t len;

	(void)state;
	*p++ = 0;
	*p++ = 9;
	wbi_put_be32(p, 2 + LEVELS * 5);
	p += 4;
	memcpy(p, "\1x", 2);
	p += 2;
	for (size_t i = 0; i < LEVELS; i++, p += 5) {
		p[0] = 'A';
		wbi_put_be32(p + 1, (uint32_t)(LEVELS - 1 - i) * 5);
	}
	memcpy(p, "\0\0\0\0\0\0\0\0", 8);
	len = method_frame(frame, AMQP_CONNECTION_START_METHOD, args, LEN + 8);
	refused(frame, len, "deeper than 8");
}

/* Every method of either side, with garbage for arguments: the scan must be
 * at least as strict as the library, or that would be where the two part. */
static void random_arguments_never_reach_a_crash(void **state)
{
	enum { ROUNDS = 60000, ARGS = 40 };
	static const uint32_t ids[] = {
		0x000A000A, 0x000A000B, 0x000A001E, 0x000A0028, 0x000A0032,
		0x000A003C, 0x0014000A, 0x00140014, 0x00140028, 0x0028000A,
		0x0032000A, 0x0032000B, 0x00320014, 0x003C0014, 0x003C0015,
		0x003C001E, 0x003C0028, 0x003C0032, 0x003C003C, 0x003C0050};
	uint8_t args[ARGS], bytes[ARGS + 16];
	unsigned random = 42, accepted = 0;
	wbi_codec codecs[2];
	wbi_frame frame;
	size_t used;

	(void)state;
	codec_begin(&codecs[0], WBI_CODEC_CLIENT);
	codec_begin(&codecs[1], WBI_CODEC_SERVER);
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t n = i % ARGS;

		for (size_t k = 0; k < n; k++) {
			random = random * 1103515245u + 12345u;
			args[k] = (uint8_t)(random >> 16 & (i & 1 ? 7u : 0x57u));
		}
		n = method_frame(bytes, ids[i % 20], args, n);
		if (decode(&codecs[i / 20 % 2], bytes, n, &used, &frame,
			   NULL) == WB_OK)
			accepted++;
		wbi_codec_release(&codecs[i / 20 % 2], &frame);
	}
	/* What the scan let through, the library has taken: it lives. */
	assert_true(accepted > 100);
	assert_non_null(codecs[0].library);
	assert_non_null(codecs[1].library);
	wbi_codec_fini(&codecs[0]);
	wbi_codec_fini(&codecs[1]);
}

static void properties_are_read_even_around_a_bad_table(void **state)
{
	static const char bytes[] = "\xb0\xe8" "\2ct"  /* content type */
				    "\0\0\0\3\1x?"     /* headers */
				    "\2"	       /* delivery mode */
				    "\2id"	       /* message id */
				    "\0\0\0\0\0\0\0\5" /* timestamp */
				    "\1t" "\3app";
	amqp_basic_properties_t p;
	const char *why;

	(void)state;
	why = wbi_scan_properties((const uint8_t *)bytes, sizeof(bytes) - 1,
				  &p);
	assert_string_equal(why, "a table field of unknown type");
	assert_true(wb_str_eq(wbi_amqp_str(p.content_type), S("ct")));
	assert_true(wb_str_eq(wbi_amqp_str(p.message_id), S("id")));
	assert_true(wb_str_eq(wbi_amqp_str(p.app_id), S("app")));
	assert_int_equal(p.timestamp, 5);
	assert_int_equal(p.delivery_mode, 2);
	for (size_t len = 0; len < sizeof(bytes) - 1; len++) {
		uint8_t *exact = malloc(len + 1);

		assert_non_null(exact);
		memcpy(exact + 1, bytes, len);
		assert_non_null(wbi_scan_properties(exact + 1, len, &p));
		free(exact);
	}
	assert_non_null(wbi_scan_properties((const uint8_t *)"\0\1", 2, &p));
	assert_null(wbi_scan_properties((const uint8_t *)"\0\0", 2, &p));
}

static void a_broken_codec_stays_broken(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_codec codec;
	wbi_frame frame;
	size_t used;

	(void)state;
	codec_begin(&codec, WBI_CODEC_CLIENT);
	amqp_destroy_connection(codec.library);
	codec.library = NULL; /* as after a refusal of the library */
	assert_code(decode(&codec, "\10\0\0\0\0\0\0\xce", 8, &used, &frame,
			   &err),
		    WB_EPROTO, err);
	wbi_codec_release(&codec, &frame);
	wbi_codec_fini(&codec);
}

static void a_method_must_fit_its_frame_and_its_strings(void **state)
{
	static char text[300];
	amqp_channel_close_t close = {.reply_text = {255, text}};
	wb_error err = WB_ERROR_INIT;
	wbi_buffer out;
	wbi_codec codec;

	(void)state;
	memset(text, 'x', sizeof(text));
	wbi_buffer_init(&out, 1024 * 1024);
	codec_begin(&codec, WBI_CODEC_CLIENT);
	assert_ok(wbi_codec_put_method(&codec, &out, 1,
				       AMQP_CHANNEL_CLOSE_METHOD, &close, &err),
		  err);
	close.reply_text.len = 256;
	assert_code(wbi_codec_put_method(&codec, &out, 1,
					 AMQP_CHANNEL_CLOSE_METHOD, &close,
					 &err),
		    WB_ELIMIT, err);
	wbi_codec_fini(&codec);
	wbi_buffer_fini(&out);
	wbi_buffer_init(&out, 100);
	codec_begin(&codec, WBI_CODEC_CLIENT);
	assert_code(wbi_codec_put_method(&codec, &out, 1,
					 AMQP_CHANNEL_CLOSE_METHOD, &close,
					 &err),
		    WB_EAGAIN, err);
	wbi_codec_fini(&codec);
	wbi_buffer_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_decodes_from_any_pieces),
		cmocka_unit_test(
			a_size_is_refused_before_a_byte_of_it_is_awaited),
		cmocka_unit_test(frames_that_cannot_be_are_refused),
		cmocka_unit_test(methods_are_walked_before_they_are_decoded),
		cmocka_unit_test(a_deep_table_in_a_method_is_refused),
		cmocka_unit_test(random_arguments_never_reach_a_crash),
		cmocka_unit_test(properties_are_read_even_around_a_bad_table),
		cmocka_unit_test(a_broken_codec_stays_broken),
		cmocka_unit_test(a_method_must_fit_its_frame_and_its_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
