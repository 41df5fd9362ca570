/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy between two sockets of this test: it must cut where it says. */
#include "tests/support/testing.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/cut_proxy.h"

typedef struct line {
	cut_proxy *proxy;
	int listener, client, broker;
} line;

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void line_begin(line *l, cut_proxy_options options)
{
	struct sockaddr_in in = loopback(0);
	socklen_t size = sizeof(in);

	l->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(l->listener, (void *)&in, sizeof(in)), 0);
	assert_int_equal(listen(l->listener, 1), 0);
	getsockname(l->listener, (void *)&in, &size);
	options.broker_port = ntohs(in.sin_port);
	l->proxy = cut_proxy_start(&options);
	assert_non_null(l->proxy);
}

static void line_connect(line *l)
{
	struct sockaddr_in in = loopback(cut_proxy_port(l->proxy));

	l->client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(l->client, (void *)&in, sizeof(in)), 0);
	l->broker = accept(l->listener, NULL, NULL);
}

static void line_end(line *l)
{
	close(l->client);
	close(l->broker);
	close(l->listener);
	cut_proxy_stop(l->proxy);
}

static size_t read_to_the_end(int fd)
{
	char bytes[256];
	size_t got = 0;
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		got += (size_t)n;
	return got;
}

static void exactly_so_many_bytes_arrive(void **state)
{
	static const char bytes[100];
	line l;

	(void)state;
	line_begin(&l, (cut_proxy_options){.chunk_max = 7});
	for (int d = 0; d < CUT_DIRECTIONS; d++)
		for (size_t at = 0; at < 100; at += 9) {
			line_connect(&l);
			cut_proxy_cut_after(l.proxy, (cut_direction)d, at);
			assert_int_equal(
				write(d == CUT_TO_BROKER ? l.client : l.broker,
				      bytes, sizeof(bytes)),
				sizeof(bytes));
			assert_int_equal(read_to_the_end(d == CUT_TO_BROKER
								 ? l.broker
								 : l.client),
					 at);
			assert_int_equal(
				cut_proxy_passed(l.proxy, (cut_direction)d),
				at);
			close(l.client);
			close(l.broker);
		}
	assert_int_equal(cut_proxy_cuts(l.proxy), 24);
	assert_int_equal(cut_proxy_accepted(l.proxy), 24);
	line_connect(&l);
	line_end(&l);
}

static void it_knows_where_frames_end(void **state)
{
	static const char to_broker[] = "AMQP\0\0\x09\x01"
					"\x01\0\0\0\0\0\x02xy\xce"
					"\x08\0\0\0\0\0\0\xce";
	char got[64];
	uint64_t ends[8];
	size_t len = sizeof(to_broker) - 1, have = 0;
	line l;

	(void)state;
	line_begin(&l, (cut_proxy_options){.chunk_max = 3});
	line_connect(&l);
	assert_int_equal(write(l.client, to_broker, len), len);
	while (have < len)
		have += (size_t)read(l.broker, got + have, sizeof(got) - have);
	assert_memory_equal(got, to_broker, len);
	assert_int_equal(write(l.broker, to_broker + 18, 8), 8);
	assert_int_equal(read(l.client, got, 1), 1);
	while (cut_proxy_passed(l.proxy, CUT_TO_CLIENT) < 8)
		usleep(1000);
	assert_int_equal(cut_proxy_frame_ends(l.proxy, CUT_TO_BROKER, ends, 8),
			 3);
	assert_int_equal(ends[0], 8);
	assert_int_equal(ends[1], 18);
	assert_int_equal(ends[2], 26);
	assert_int_equal(cut_proxy_frame_ends(l.proxy, CUT_TO_CLIENT, ends, 8),
			 1);
	assert_int_equal(ends[0], 8);
	line_end(&l);
}

static void held_bytes_come_when_released(void **state)
{
	char got;
	line l;

	(void)state;
	line_begin(&l, (cut_proxy_options){.delay_ms = 1});
	line_connect(&l);
	cut_proxy_hold(l.proxy, true);
	assert_int_equal(write(l.client, "x", 1), 1);
	usleep(20000);
	assert_int_equal(recv(l.broker, &got, 1, MSG_DONTWAIT), -1);
	cut_proxy_hold(l.proxy, false);
	assert_int_equal(read(l.broker, &got, 1), 1);
	cut_proxy_cut_now(l.proxy);
	assert_int_equal(read_to_the_end(l.client), 0);
	line_end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exactly_so_many_bytes_arrive),
		cmocka_unit_test(it_knows_where_frames_end),
		cmocka_unit_test(held_bytes_come_when_released),
	};

	alarm(60); /* no wait without an end */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
