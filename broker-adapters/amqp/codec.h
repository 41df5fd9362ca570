/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames from bytes and bytes from methods. rabbitmq-c decodes and encodes; it
 * sees a frame only after the whole of it is here and has passed the checks of
 * codec_scan.c, so that no peer can reach the library's unbounded recursion.
 *
 * A client's codec reads what brokers send, a server's what clients send (the
 * tests' scripted broker). An object belongs to one thread.
 */
#ifndef WBI_AMQP_CODEC_H
#define WBI_AMQP_CODEC_H

#include "config.h"

#ifdef HAVE_RABBITMQ_C_AMQP_H
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#include "lib/base/buffer.h"

enum {
	WBI_FRAME_HEADER = 7,	  /* type, channel, size */
	WBI_FRAME_OVERHEAD = 8,	  /* and the end octet */
	WBI_FRAME_MAX_FIRST = 65536, /* accepted before tune */
	WBI_CHANNEL_MAX = 2,
	/* What a header table may be; see wbi_scan_properties(). */
	WBI_TABLE_DEPTH_MAX = 8,
	WBI_TABLE_TOP_KEYS_MAX = 128,
	WBI_TABLE_KEYS_MAX = 64,
	WBI_TABLE_FIELDS_MAX = 1024
};

typedef enum wbi_codec_role {
	WBI_CODEC_CLIENT = 1, /* takes a broker's methods */
	WBI_CODEC_SERVER = 2  /* takes a client's methods */
} wbi_codec_role;

/* One frame. Everything in it lives until wbi_codec_release(). */
typedef struct wbi_frame {
	uint8_t type; /* AMQP_FRAME_*; 0: none, more bytes are needed */
	uint16_t channel;
	/* METHOD */
	amqp_method_number_t method;
	void *decoded; /* the library's struct for this method */
	/* HEADER */
	uint64_t body_size;
	const amqp_basic_properties_t *properties;
	const char *undecoded; /* static: why `properties` has no headers, and
				  perhaps not all else; NULL: all is there */
	/* BODY */
	const uint8_t *body;
	size_t body_len;
} wbi_frame;

typedef struct wbi_codec {
	amqp_connection_state_t library; /* NULL once it has refused a frame */
	wbi_codec_role role;
	wbi_buffer partial; /* the beginning of a frame, until it is whole */
	uint32_t frame_max;
	bool seen_frame;
	amqp_basic_properties_t scanned; /* of a frame that is undecoded */
} wbi_codec;

wb_code wbi_codec_init(wbi_codec *codec, wbi_codec_role role, wb_error *err);
void wbi_codec_fini(wbi_codec *codec); /* a zeroed one is allowed */

/* From now on frames of up to `frame_max` bytes, in all. */
wb_code wbi_codec_tune(wbi_codec *codec, uint32_t frame_max, wb_error *err);

/*
 * Take at most one frame off the front of `bytes`; *ret_used is how many bytes
 * it took. ret->type 0: all bytes were taken and the frame is not whole yet.
 * Call wbi_codec_release() before the next call.
 *
 * WB_EPROTO, WB_ENOMEM: the connection is over; the codec must not be fed
 * again (and takes care not to feed the library).
 */
wb_code wbi_codec_decode(wbi_codec *codec, const uint8_t *bytes, size_t len,
			 size_t *ret_used, wbi_frame *ret, wb_error *err);
void wbi_codec_release(wbi_codec *codec, const wbi_frame *frame);

/*
 * Append one method frame. `method` is the library's struct for `id`. All or
 * nothing. WB_EAGAIN, WB_ENOMEM: no room; WB_ELIMIT: a string over 255 bytes
 * or more than one frame holds.
 */
wb_code wbi_codec_put_method(const wbi_codec *codec, wbi_buffer *out,
			     uint16_t channel, amqp_method_number_t id,
			     void *method, wb_error *err);
wb_code wbi_codec_put_heartbeat(wbi_buffer *out, wb_error *err);

/* Write a frame's first seven bytes, for those who encode in place. */
void wbi_codec_put_header(uint8_t *to, uint8_t type, uint16_t channel,
			  size_t payload_len);

/* codec_scan.c: is this method one that the role may get, and is it well
 * formed? NULL, or what is wrong (static). `args` follow the method's id. */
const char *wbi_scan_method(wbi_codec_role role, amqp_method_number_t id,
			    const uint8_t *args, size_t len);

/*
 * Walk a basic content header's property flags and list. NULL: well formed
 * and within the limits, the library may decode it. Otherwise what is wrong
 * (static), and *ret holds what could be read all the same, never headers.
 *
 * The header table may hold 128 keys (64 extension attributes, waybill's own
 * and the broker's), a nested one 64, all together 1,024 fields, eight deep.
 */
const char *wbi_scan_properties(const uint8_t *bytes, size_t len,
				amqp_basic_properties_t *ret);

static inline amqp_bytes_t wbi_amqp_bytes(wb_str s)
{
	amqp_bytes_t bytes = {s.len, (void *)(uintptr_t)s.ptr};
	return bytes;
}

static inline wb_str wbi_amqp_str(amqp_bytes_t bytes)
{
	return wb_str_n(bytes.bytes, bytes.len);
}

#endif
