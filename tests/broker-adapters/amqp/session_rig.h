/* SPDX-License-Identifier: BSD-2-Clause */
/* A session and a scripted peer, wired by hand, and the clock they share. */
#ifndef TESTS_SESSION_RIG_H
#define TESTS_SESSION_RIG_H

#include "broker-adapters/amqp/session.h"
#include "tests/support/amqp_peer.h"
#include "tests/support/testing.h"

typedef struct session_rig {
	wbi_session *session;
	amqp_peer *peer;
	int64_t now_us;
	size_t chunk; /* bytes moved at a time; 0: all */
	/* The wire is cut after this many bytes; SIZE_MAX: never. */
	size_t cut_to_peer, cut_to_session;
	size_t to_peer, to_session; /* bytes moved so far */
	wbi_buffer heard; /* all that the session was fed, for replays */
} session_rig;

/* Sensible options: vhost "/", user and password, small limits. */
wbi_session_options rig_options(void);

void rig_begin(session_rig *rig, const wbi_session_options *options,
	       const amqp_peer_options *peer);
void rig_end(session_rig *rig);

/* Move bytes both ways until both sides are quiet. */
void rig_pump(session_rig *rig);

/* Pump, then the next event must be of this kind. */
void rig_expect(session_rig *rig, wb_broker_event_kind kind,
		wb_broker_event *ret);
/* There must be none. */
void rig_expect_nothing(session_rig *rig);

/* Begin, and go through the handshake to UP. NULL: the defaults. */
void rig_up(session_rig *rig, const wbi_session_options *options,
	    const amqp_peer_options *peer);

/* Publish to exchange "events", key "k". */
wb_code rig_publish(session_rig *rig, const char *id, const char *body,
		    uint64_t token);
/* For a peer's `judge`: by the first letter of the message's id it is nacked
 * (n), returned (r), of a missing exchange (m), or else acked. */
amqp_peer_verdict rig_judge(void *ctx, const amqp_published *message);

wb_code rig_consume(wbi_session *session, wb_str queue, uint16_t prefetch,
		    uint64_t token, wb_error *err);

#endif
