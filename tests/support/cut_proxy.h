/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TCP proxy on loopback that passes bytes between a client and a broker on
 * this machine, and can break a connection after any byte, dribble, delay or
 * hold everything back. It knows where AMQP 0-9-1 frames end, so that a test
 * can cut at each of them. It runs on a thread of its own; every call here may
 * come from another thread.
 */
#ifndef TESTS_CUT_PROXY_H
#define TESTS_CUT_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cut_proxy cut_proxy;

typedef enum cut_direction {
	CUT_TO_BROKER,
	CUT_TO_CLIENT,
	CUT_DIRECTIONS
} cut_direction;

typedef struct cut_proxy_options {
	uint16_t broker_port; /* on 127.0.0.1 */
	size_t chunk_max;     /* bytes passed at a time; 0: as they come */
	int delay_ms;         /* before each chunk */
	bool reset;           /* cut by a reset instead of an orderly end */
} cut_proxy_options;

enum { CUT_PROXY_CONNECTIONS_MAX = 8, CUT_PROXY_FRAMES_MAX = 65536 };

/* Starts listening; NULL, with errno set, if that fails. */
cut_proxy *cut_proxy_start(const cut_proxy_options *options);
void cut_proxy_stop(cut_proxy *proxy); /* ends every connection */

/* Where to connect to, on 127.0.0.1. */
uint16_t cut_proxy_port(const cut_proxy *proxy);

/*
 * Cut the first connection in which `bytes` bytes have passed in this
 * direction: exactly so many arrive, and nothing more in either direction.
 * Happens once per call; UINT64_MAX: not any more.
 */
void cut_proxy_cut_after(cut_proxy *proxy, cut_direction direction,
			 uint64_t bytes);

/* Cut everything now. */
void cut_proxy_cut_now(cut_proxy *proxy);

/* Pass nothing on, but keep the connections and accept new ones. */
void cut_proxy_hold(cut_proxy *proxy, bool hold);

/* How many cuts were made, and connections accepted. */
unsigned cut_proxy_cuts(cut_proxy *proxy);
unsigned cut_proxy_accepted(cut_proxy *proxy);

/* Bytes passed in the connection accepted last, and the offsets behind each
 * of its frames (the protocol header counts as one), at most `max` of them;
 * returns how many there are. */
uint64_t cut_proxy_passed(cut_proxy *proxy, cut_direction direction);
size_t cut_proxy_frame_ends(cut_proxy *proxy, cut_direction direction,
			    uint64_t *ret_ends, size_t max);

#endif
