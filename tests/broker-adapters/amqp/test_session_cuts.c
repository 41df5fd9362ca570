/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One whole conversation (handshake, publishes of every fate, a channel closed
 * and reopened, declarations, deliveries, close), cut at every byte in either
 * direction, and its bytes damaged at random. Whatever happens, the session
 * ends DOWN or goes on, and settles no token twice. So it does with a broker
 * that stops, or does not answer, at a bad moment.
 */
#include "tests/broker-adapters/amqp/session_rig.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 8 };

/* What the owner saw. */
typedef struct story {
	unsigned ups, downs, settled[TOKENS];
	wb_broker_event_kind fate[TOKENS];
	unsigned closed, reopened, declared, deliveries;
} story;

static void story_drain(session_rig *rig, story *seen)
{
	wb_broker_event event;

	while (wbi_session_next(rig->session, &event)) {
		assert_int_equal(seen->downs, 0);
		switch (event.kind) {
		case WB_BROKER_UP:
			seen->ups++;
			break;
		case WB_BROKER_DOWN:
			seen->downs++;
			assert_int_not_equal(event.error.code, WB_OK);
			break;
		case WB_BROKER_ACKED:
		case WB_BROKER_NACKED:
		case WB_BROKER_RETURNED:
			assert_true(event.token < TOKENS);
			assert_int_equal(seen->settled[event.token]++, 0);
			seen->fate[event.token] = event.kind;
			break;
		case WB_BROKER_CHANNEL_CLOSED:
			seen->closed++;
			break;
		case WB_BROKER_CHANNEL_OPEN:
			seen->reopened++;
			break;
		case WB_BROKER_DECLARED:
			seen->declared++;
			break;
		case WB_BROKER_DELIVERY:
			seen->deliveries++;
			wbi_session_ack(rig->session, event.delivery, false,
					NULL);
			break;
		default:
			break;
		}
	}
}

static void story_pump(session_rig *rig, story *seen)
{
	rig_pump(rig);
	story_drain(rig, seen);
	rig_pump(rig);
	story_drain(rig, seen);
}

static void story_tell(session_rig *rig, story *seen)
{
	static const char *const ids[] = {"a0", "n1", "r2", "a3", "m4",
					  "a5", "r6", "a7"};
	wb_header header = {S("ce-id"), S("1")};
	wb_message delivery = {.exchange = S("events"),
			       .routing_key = S("k"),
			       .message_id = S("d"),
			       .headers = &header,
			       .header_count = 1,
			       .body = S("delivered")};
	wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE, .name = S("q")};

	*seen = (story){0};
	story_pump(rig, seen);
	wbi_session_declare(rig->session, &queue, 1, NULL);
	for (uint64_t i = 0; i < 5; i++)
		rig_publish(rig, ids[i], "a body", i);
	story_pump(rig, seen);
	wbi_session_reopen(rig->session, NULL);
	story_pump(rig, seen);
	rig_consume(rig->session, S("q"), 10, 1, NULL);
	for (uint64_t i = 5; i < TOKENS; i++)
		rig_publish(rig, ids[i], "a body", i);
	story_pump(rig, seen);
	if (amqp_peer_look(rig->peer)->consuming) {
		amqp_peer_deliver(rig->peer, &delivery, false);
		amqp_peer_block(rig->peer, "memory");
		amqp_peer_unblock(rig->peer);
		amqp_peer_heartbeat(rig->peer);
	}
	story_pump(rig, seen);
	wbi_session_close(rig->session, rig->now_us);
	story_pump(rig, seen);
}

/* The owner's deadlines must bring even a silent end within a minute. */
static void story_wait(session_rig *rig, story *seen)
{
	int64_t end = rig->now_us + 60 * 1000000;

	while (!wbi_session_is_over(rig->session)) {
		int64_t deadline = wbi_session_deadline_us(rig->session);

		assert_true(deadline <= end);
		rig->now_us = deadline;
		wbi_session_tick(rig->session, deadline);
		wbi_buffer_clear(wbi_session_output(rig->session));
	}
	story_drain(rig, seen);
	assert_int_equal(seen->downs, 1);
}

static void check_whole(const session_rig *rig, const story *seen)
{
	assert_string_equal(amqp_peer_look(rig->peer)->error, "");
	assert_int_equal(seen->downs, 1);
	assert_int_equal(seen->ups, 1);
	assert_int_equal(seen->closed, 1);
	assert_int_equal(seen->reopened, 1);
	assert_int_equal(seen->declared, 1);
	assert_int_equal(seen->deliveries, 1);
	for (int i = 0; i < TOKENS; i++)
		assert_int_equal(seen->settled[i], i == 4 ? 0 : 1);
	assert_int_equal(seen->fate[1], WB_BROKER_NACKED);
	assert_int_equal(seen->fate[2], WB_BROKER_RETURNED);
	assert_int_equal(seen->fate[6], WB_BROKER_RETURNED);
	assert_int_equal(amqp_peer_count(rig->peer), TOKENS - 1);
}

/* No token is settled of which the peer has no message. */
static void check_cut(const session_rig *rig, const story *seen)
{
	unsigned settled = 0;

	for (int i = 0; i < TOKENS; i++)
		settled += seen->settled[i];
	assert_true(settled <= amqp_peer_count(rig->peer));
}

static const amqp_peer_options peer_options = {.judge = rig_judge};

static void a_cut_at_every_byte_ends_in_good_order(void **state)
{
	session_rig rig;
	story seen;
	size_t to_peer, to_session;

	(void)state;
	rig_begin(&rig, NULL, &peer_options);
	story_tell(&rig, &seen);
	check_whole(&rig, &seen);
	to_peer = rig.to_peer;
	to_session = rig.to_session;
	rig_end(&rig);
	for (size_t cut = 0; cut < to_peer + to_session; cut++) {
		rig_begin(&rig, NULL, &peer_options);
		if (cut < to_peer)
			rig.cut_to_peer = cut;
		else
			rig.cut_to_session = cut - to_peer;
		story_tell(&rig, &seen);
		check_cut(&rig, &seen);
		if (cut % 2)
			wbi_session_fail(rig.session, WB_ECLOSED, "reset");
		story_wait(&rig, &seen);
		rig_end(&rig);
	}
	print_message("cut at %zu + %zu offsets\n", to_peer, to_session);
}

static void every_chunk_size_tells_the_same_story(void **state)
{
	session_rig rig;
	story seen;

	(void)state;
	for (size_t chunk = 1; chunk < 64; chunk += 3) {
		rig_begin(&rig, NULL, &peer_options);
		rig.chunk = chunk;
		story_tell(&rig, &seen);
		check_whole(&rig, &seen);
		rig_end(&rig);
	}
}

/* splitmix64: any seed gives a good stream. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Change, drop, repeat or insert a few bytes. Returns the new length; `to` has
 * room for len + 64. */
static size_t damage(uint8_t *to, const uint8_t *from, size_t len,
		     uint64_t *random)
{
	unsigned changes = 1 + next_random(random) % 4;
	size_t at;

	memcpy(to, from, len);
	while (changes-- > 0) {
		at = next_random(random) % len;
		switch (next_random(random) % 4) {
		case 0:
			to[at] ^= (uint8_t)(1u << next_random(random) % 8);
			break;
		case 1:
			to[at] = (uint8_t)next_random(random);
			break;
		case 2:
			memmove(to + at, to + at + 1, len - at - 1);
			len--;
			break;
		default:
			memmove(to + at + 1, to + at, len - at);
			to[at] = (uint8_t)next_random(random);
			len++;
			break;
		}
	}
	return len;
}

/* Feed damaged bytes to a session that does what its owner would do. */
static void live_through(const uint8_t *bytes, size_t len, size_t chunk)
{
	wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE, .name = S("q")};
	wbi_session_options options = rig_options();
	wb_error err = WB_ERROR_INIT;
	story seen = {0};
	session_rig rig = {.now_us = 1000000};
	uint64_t token = 0;

	assert_ok(wbi_session_new(&options, 1000000, &rig.session, &err), err);
	for (size_t at = 0; at < len; at += chunk) {
		size_t n = len - at < chunk ? len - at : chunk;
		uint8_t *exact = malloc(n);

		assert_non_null(exact);
		memcpy(exact, bytes + at, n);
		wbi_session_feed(rig.session, exact, n, 1000000);
		free(exact);
		story_drain(&rig, &seen);
		if (token < TOKENS &&
		    rig_publish(&rig, "r2", "b", token) == WB_OK)
			token++;
		wbi_session_declare(rig.session, &queue, 1, NULL);
		wbi_session_reopen(rig.session, NULL);
		rig_consume(rig.session, S("q"), 10, 1, NULL);
		wbi_buffer_clear(wbi_session_output(rig.session));
	}
	wbi_session_fail(rig.session, WB_ECLOSED, "end of input");
	story_drain(&rig, &seen);
	assert_int_equal(seen.downs, 1);
	wbi_session_free(rig.session);
}

static void damaged_bytes_never_do_harm(void **state)
{
	enum { ROUNDS = 6000 };
	uint64_t random = 20260101;
	session_rig rig;
	uint8_t *bytes;
	story seen;
	size_t whole;

	(void)state;
	rig_begin(&rig, NULL, &peer_options);
	story_tell(&rig, &seen);
	whole = wbi_buffer_len(&rig.heard);
	bytes = malloc(whole + 64);
	assert_non_null(bytes);
	for (int round = 0; round < ROUNDS; round++) {
		size_t len = damage(bytes, wbi_buffer_data(&rig.heard), whole,
				    &random);

		live_through(bytes, len, 1 + next_random(&random) % 200);
	}
	free(bytes);
	rig_end(&rig);
}

/* ---- a broker that is there and does not answer ------------------------ */

static void a_block_before_up_is_told_behind_it(void **state)
{
	session_rig rig;

	(void)state;
	rig_begin(&rig, NULL, NULL);
	/* channel.open waits while the broker's alarm goes off */
	for (rig.cut_to_peer = 0; !amqp_peer_look(rig.peer)->vhost[0];
	     rig.cut_to_peer++)
		rig_pump(&rig);
	amqp_peer_block(rig.peer, "low on memory");
	rig_expect_nothing(&rig);
	rig.cut_to_peer = SIZE_MAX;
	rig_expect(&rig, WB_BROKER_UP, NULL);
	rig_expect(&rig, WB_BROKER_BLOCKED, NULL);
	amqp_peer_unblock(rig.peer);
	rig_expect(&rig, WB_BROKER_UNBLOCKED, NULL);
	rig_end(&rig);
}

static void a_stopped_flow_ends_with_its_channel(void **state)
{
	static const uint8_t stop[] = {1, 0, 1, 0, 0, 0, 5,
				       0, 20, 0, 20, 0, 0xce};
	session_rig rig;

	(void)state;
	rig_up(&rig, NULL, NULL);
	amqp_peer_raw(rig.peer, stop, sizeof(stop));
	rig_expect(&rig, WB_BROKER_BLOCKED, NULL);
	wbi_buffer_clear(wbi_session_output(rig.session)); /* flow-ok */
	amqp_peer_close_channel(rig.peer, 1, 404, "NOT_FOUND");
	rig_expect(&rig, WB_BROKER_CHANNEL_CLOSED, NULL);
	rig_expect(&rig, WB_BROKER_UNBLOCKED, NULL);
	rig_end(&rig);
}

static void an_answer_that_does_not_come_ends_the_session(void **state)
{
	wb_broker_event event;
	session_rig rig;
	int64_t begin;

	(void)state;
	rig_up(&rig, NULL, NULL);
	amqp_peer_close_channel(rig.peer, 1, 404, "NOT_FOUND");
	rig_expect(&rig, WB_BROKER_CHANNEL_CLOSED, NULL);
	assert_int_equal(wbi_session_reopen(rig.session, NULL), WB_OK);
	rig.cut_to_peer = rig.to_peer; /* channel.open is never seen */
	begin = rig.now_us;
	while (!wbi_session_is_over(rig.session)) {
		int64_t next = wbi_session_deadline_us(rig.session);

		assert_true(next > rig.now_us && next <= begin + 60000000);
		rig.now_us = next;
		amqp_peer_heartbeat(rig.peer);
		rig_pump(&rig);
		wbi_session_tick(rig.session, rig.now_us);
	}
	assert_int_equal(rig.now_us, begin + 60000000);
	rig_expect(&rig, WB_BROKER_DOWN, &event);
	assert_int_equal(event.error.code, WB_ETIMEOUT);
	assert_int_equal(event.error.class_, WB_CLASS_RETRY);
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_at_every_byte_ends_in_good_order),
		cmocka_unit_test(every_chunk_size_tells_the_same_story),
		cmocka_unit_test(damaged_bytes_never_do_harm),
		cmocka_unit_test(a_block_before_up_is_told_behind_it),
		cmocka_unit_test(a_stopped_flow_ends_with_its_channel),
		cmocka_unit_test(an_answer_that_does_not_come_ends_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
