/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Framing is done here, since the checks need the whole frame: type, channel
 * and size are looked at as soon as seven bytes are there, before anything is
 * kept; the end octet and the inside (codec_scan.c) when all are. Then the
 * library gets the frame in one piece. Body frames and heartbeats never reach
 * it: there is nothing in them to decode.
 *
 * Memory: at most one partial frame, grown by bytes that have come, never by
 * a size that was announced. The library's pools are released after each
 * frame. After any refusal of the library its object is destroyed at once.
 */
#include "broker-adapters/amqp/codec.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"

enum { METHOD_MIN = 4, CONTENT_HEADER_MIN = 14 };

wb_code wbi_codec_init(wbi_codec *codec, wbi_codec_role role, wb_error *err)
{
	*codec = (wbi_codec){.role = role, .frame_max = WBI_FRAME_MAX_FIRST};
	wbi_buffer_init(&codec->partial, WBI_FRAME_MAX_FIRST);
	codec->library = amqp_new_connection();
	if (!codec->library)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for the AMQP codec");
	return WB_OK;
}

static void codec_drop_library(wbi_codec *codec)
{
	if (codec->library)
		amqp_destroy_connection(codec->library);
	codec->library = NULL;
}

void wbi_codec_fini(wbi_codec *codec)
{
	codec_drop_library(codec);
	wbi_buffer_fini(&codec->partial);
}

wb_code wbi_codec_tune(wbi_codec *codec, uint32_t frame_max, wb_error *err)
{
	WB_ASSERT(frame_max >= AMQP_FRAME_MIN_SIZE && frame_max < INT32_MAX);
	codec->frame_max = frame_max;
	codec->partial.max = frame_max;
	if (!codec->library ||
	    amqp_tune_connection(codec->library, WBI_CHANNEL_MAX,
				 (int)frame_max, 0) == AMQP_STATUS_OK)
		return WB_OK;
	codec_drop_library(codec);
	return WBI_FAIL(err, WB_ENOMEM, "no memory for frames of %u bytes",
			frame_max);
}

/* Bytes that are no frame: say what the other side may be. */
static wb_code codec_not_a_frame(const wbi_codec *codec, const uint8_t *p,
				 wb_error *err)
{
	if (!codec->seen_frame && memcmp(p, "AMQP", 4) == 0)
		return WBI_FAIL(err, WB_EPROTO,
				"the peer refuses AMQP 0-9-1 and offers "
				"protocol %u.%u of its own: is it a broker "
				"with AMQP 0-9-1 enabled?",
				p[5], p[6]);
	if (!codec->seen_frame && memcmp(p, "HTTP", 4) == 0)
		return WBI_FAIL(err, WB_EPROTO,
				"the peer speaks HTTP: 5672 is RabbitMQ's AMQP "
				"port, 15672 its management's");
	if (!codec->seen_frame && (p[0] == 0x15 || p[0] == 0x16))
		return WBI_FAIL(err, WB_EPROTO,
				"the peer speaks TLS: use amqps://");
	return WBI_FAIL(err, WB_EPROTO,
			"a frame of unknown type %u from the peer", p[0]);
}

/* The seven bytes in front; *ret_total is the length of the whole frame. */
static wb_code codec_check_header(const wbi_codec *codec, const uint8_t *p,
				  size_t *ret_total, wb_error *err)
{
	uint8_t type = p[0];
	uint16_t channel = wbi_get_be16(p + 1);
	uint32_t size = wbi_get_be32(p + 3);

	if (type != AMQP_FRAME_METHOD && type != AMQP_FRAME_HEADER &&
	    type != AMQP_FRAME_BODY && type != AMQP_FRAME_HEARTBEAT)
		return codec_not_a_frame(codec, p, err);
	if (channel > WBI_CHANNEL_MAX)
		return WBI_FAIL(err, WB_EPROTO,
				"a frame on channel %u, which was never opened",
				channel);
	if (size > codec->frame_max - WBI_FRAME_OVERHEAD)
		return WBI_FAIL(err, WB_EPROTO,
				"a frame of %u bytes, more than the %u that "
				"were agreed",
				size, codec->frame_max);
	if ((type == AMQP_FRAME_METHOD && size < METHOD_MIN) ||
	    (type == AMQP_FRAME_HEADER && size < CONTENT_HEADER_MIN) ||
	    (type == AMQP_FRAME_HEARTBEAT && (size > 0 || channel > 0)))
		return WBI_FAIL(err, WB_EPROTO,
				"a frame of type %u cannot have %u bytes", type,
				size);
	*ret_total = size + WBI_FRAME_OVERHEAD;
	return WB_OK;
}

/* A whole frame at the front of `bytes`, or gathered in `partial`; *ret_frame
 * stays NULL as long as there is none. */
static wb_code codec_gather(wbi_codec *codec, const uint8_t *bytes, size_t len,
			    size_t *ret_used, const uint8_t **ret_frame,
			    size_t *ret_total, wb_error *err)
{
	wbi_buffer *partial = &codec->partial;
	size_t want, held;
	wb_code code;

	if (wbi_buffer_len(partial) == 0 && len >= WBI_FRAME_HEADER) {
		code = codec_check_header(codec, bytes, ret_total, err);
		if (code != WB_OK)
			return code;
		if (len >= *ret_total) {
			*ret_frame = bytes;
			*ret_used = *ret_total;
			return WB_OK;
		}
	}
	for (;;) {
		held = wbi_buffer_len(partial);
		want = WBI_FRAME_HEADER;
		if (held >= WBI_FRAME_HEADER) {
			code = codec_check_header(
				codec, wbi_buffer_data(partial), &want, err);
			if (code != WB_OK)
				return code;
			if (held == want)
				break;
		}
		want = want - held < len ? want - held : len;
		if (want == 0)
			return WB_OK;
		code = wbi_buffer_append(partial, bytes, want);
		if (code != WB_OK)
			return WBI_FAIL(err, code, "no memory for a frame");
		bytes += want;
		len -= want;
		*ret_used += want;
	}
	*ret_total = held;
	*ret_frame = wbi_buffer_data(partial);
	return WB_OK;
}

/* Let the library decode one frame that has passed the scan. */
static wb_code codec_by_library(wbi_codec *codec, const uint8_t *bytes,
				size_t len, wbi_frame *ret, wb_error *err)
{
	amqp_bytes_t input = wbi_amqp_bytes(wb_str_n(bytes, len));
	amqp_frame_t frame;
	int used = amqp_handle_input(codec->library, input, &frame);
	int bad_data = AMQP_STATUS_BAD_AMQP_DATA;

	if (used < 0 || (size_t)used != len || frame.frame_type != ret->type) {
		codec_drop_library(codec);
		return WBI_FAIL_FOREIGN(
			err,
			used == AMQP_STATUS_NO_MEMORY ? WB_ENOMEM : WB_EPROTO,
			used, "a frame that cannot be decoded: %s",
			amqp_error_string2(used < 0 ? used : bad_data));
	}
	if (ret->type == AMQP_FRAME_METHOD) {
		ret->method = frame.payload.method.id;
		ret->decoded = frame.payload.method.decoded;
	} else {
		ret->properties = frame.payload.properties.decoded;
	}
	return WB_OK;
}

static wb_code codec_method(wbi_codec *codec, const uint8_t *bytes, size_t len,
			    wbi_frame *ret, wb_error *err)
{
	const uint8_t *payload = bytes + WBI_FRAME_HEADER;
	amqp_method_number_t id = wbi_get_be32(payload);
	size_t args_len = len - WBI_FRAME_OVERHEAD - METHOD_MIN;
	const char *why = wbi_scan_method(codec->role, id,
					  payload + METHOD_MIN, args_len);

	if (why)
		return WBI_FAIL(err, WB_EPROTO,
				"method %u.%u from the peer: %s", id >> 16,
				id & 0xffff, why);
	return codec_by_library(codec, bytes, len, ret, err);
}

static wb_code codec_content_header(wbi_codec *codec, const uint8_t *bytes,
				    size_t len, wbi_frame *ret, wb_error *err)
{
	const uint8_t *payload = bytes + WBI_FRAME_HEADER;

	if (wbi_get_be16(payload) != AMQP_BASIC_CLASS)
		return WBI_FAIL(err, WB_EPROTO,
				"a content header of class %u from the peer",
				wbi_get_be16(payload));
	ret->body_size = wbi_get_be64(payload + 4);
	ret->undecoded =
		wbi_scan_properties(payload + 12, len - WBI_FRAME_OVERHEAD - 12,
				    &codec->scanned);
	ret->properties = &codec->scanned;
	if (ret->undecoded)
		return WB_OK;
	return codec_by_library(codec, bytes, len, ret, err);
}

wb_code wbi_codec_decode(wbi_codec *codec, const uint8_t *bytes, size_t len,
			 size_t *ret_used, wbi_frame *ret, wb_error *err)
{
	const uint8_t *frame = NULL;
	size_t total = 0;
	wb_code code;

	*ret_used = 0;
	*ret = (wbi_frame){0};
	if (!codec->library)
		return WBI_FAIL(err, WB_EPROTO, "the AMQP codec is broken");
	code = codec_gather(codec, bytes, len, ret_used, &frame, &total, err);
	if (code != WB_OK || !frame)
		return code;
	if (frame[total - 1] != AMQP_FRAME_END)
		return WBI_FAIL(err, WB_EPROTO,
				"a frame from the peer does not end where it "
				"says: bytes were lost or changed");
	codec->seen_frame = true;
	ret->type = frame[0];
	ret->channel = wbi_get_be16(frame + 1);
	if (ret->type == AMQP_FRAME_METHOD)
		return codec_method(codec, frame, total, ret, err);
	if (ret->type == AMQP_FRAME_HEADER)
		return codec_content_header(codec, frame, total, ret, err);
	ret->body = frame + WBI_FRAME_HEADER;
	ret->body_len = total - WBI_FRAME_OVERHEAD;
	return WB_OK;
}

void wbi_codec_release(wbi_codec *codec, const wbi_frame *frame)
{
	if (frame->type == 0)
		return;
	wbi_buffer_clear(&codec->partial);
	if (codec->library && (frame->type == AMQP_FRAME_METHOD ||
			       frame->type == AMQP_FRAME_HEADER))
		amqp_maybe_release_buffers_on_channel(codec->library,
						      frame->channel);
}

void wbi_codec_put_header(uint8_t *to, uint8_t type, uint16_t channel,
			  size_t payload_len)
{
	to[0] = type;
	wbi_put_be16(to + 1, channel);
	wbi_put_be32(to + 3, (uint32_t)payload_len);
}

wb_code wbi_codec_put_method(const wbi_codec *codec, wbi_buffer *out,
			     uint16_t channel, amqp_method_number_t id,
			     void *method, wb_error *err)
{
	enum { FRONT = WBI_FRAME_HEADER + METHOD_MIN };
	size_t most = codec->frame_max;
	wb_code code = WB_OK;

	for (size_t room = 128, last = 0; room > last;
	     last = room, room = room < most / 4 ? room * 4 : most) {
		uint8_t *to = wbi_buffer_room(out, room, &code);
		amqp_bytes_t space;
		int len;

		if (!to)
			return WBI_FAIL(err, code,
					"no room in the output buffer");
		space = wbi_amqp_bytes(wb_str_n(to + FRONT, room - FRONT - 1));
		len = amqp_encode_method(id, method, space);
		if (len >= 0) {
			wbi_codec_put_header(to, AMQP_FRAME_METHOD, channel,
					     METHOD_MIN + (size_t)len);
			wbi_put_be32(to + WBI_FRAME_HEADER, id);
			to[FRONT + len] = AMQP_FRAME_END;
			wbi_buffer_added(out, FRONT + (size_t)len + 1);
			return WB_OK;
		}
	}
	return WBI_FAIL(err, WB_ELIMIT,
			"an AMQP method that does not fit into a frame of %u "
			"bytes, or a string in it over 255 bytes",
			codec->frame_max);
}

wb_code wbi_codec_put_heartbeat(wbi_buffer *out, wb_error *err)
{
	uint8_t frame[WBI_FRAME_OVERHEAD];
	wb_code code;

	wbi_codec_put_header(frame, AMQP_FRAME_HEARTBEAT, 0, 0);
	frame[WBI_FRAME_HEADER] = AMQP_FRAME_END;
	code = wbi_buffer_append(out, frame, sizeof(frame));
	if (code != WB_OK)
		return WBI_FAIL(err, code, "no room in the output buffer");
	return WB_OK;
}
