/* SPDX-License-Identifier: BSD-2-Clause */
/* The real transport against sockets of this test, all on loopback. */
#include "tests/support/testing.h"

#include <arpa/inet.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker-adapters/amqp/transport.h"
#include "lib/base/assert.h"
#include "tests/broker-adapters/amqp/tls_peer.h"

static int64_t now_us(void)
{
	return wb_system_clock()->mono_us(NULL);
}

/* ---- helpers ----------------------------------------------------------- */

static int listen_on(const char *address, uint16_t *ret_port)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t size = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, size), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

typedef struct collected {
	char lines[1024];
	wb_log log;
} collected;

static void collect(void *ctx, wb_log_level level, const char *line)
{
	collected *c = ctx;
	size_t used = strlen(c->lines);

	snprintf(c->lines + used, sizeof(c->lines) - used, "%d %s\n", level,
		 line);
}

static wbi_transport make(wbi_lookup_fn lookup, collected *c)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t;

	if (c) {
		memset(c, 0, sizeof(*c));
		c->log = (wb_log){collect, c, WB_LOG_DEBUG};
	}
	assert_ok(
		wbi_socket_transport_new(c ? &c->log : NULL, lookup, &t, &err),
		err);
	return t;
}

/* Wait as a host would: for the descriptor, or the deadline. */
static void wait_for(wbi_transport t, int64_t deadline_us)
{
	struct pollfd fd = {t.ops->fd(t.self), POLLIN, 0};
	int64_t left = deadline_us - now_us();

	if (deadline_us == INT64_MAX || left > 5000000)
		left = 5000000;
	poll(&fd, 1, left > 0 ? (int)(left / 1000 + 1) : 0);
}

static wb_code finish(wbi_transport t, wb_error *err)
{
	wb_code code;

	while ((code = t.ops->advance(t.self, now_us(), err)) == WB_EAGAIN)
		wait_for(t, t.ops->deadline_us(t.self));
	return code;
}

static wb_code open_within(wbi_transport t, const wbi_amqp_host *host, int ms,
			   wb_error *err)
{
	wb_code code = t.ops->open(t.self, host, now_us() + ms * 1000, err);

	return code == WB_OK ? finish(t, err) : code;
}

static wb_code read_some(wbi_transport t, void *to, size_t size,
			 size_t *ret_len, wb_error *err)
{
	wb_code code;

	while ((code = t.ops->read(t.self, to, size, ret_len, err)) ==
	       WB_EAGAIN)
		wait_for(t, INT64_MAX);
	return code;
}

static bool is_readable(wbi_transport t, int timeout_ms)
{
	struct pollfd fd = {t.ops->fd(t.self), POLLIN, 0};

	return poll(&fd, 1, timeout_ms) == 1;
}

static wbi_amqp_host plain_host(const char *name, uint16_t port)
{
	return (wbi_amqp_host){.host = (char *)name, .port = port};
}

/* ---- look-ups ---------------------------------------------------------- */

static int lookup_one(const char *address, const char *service,
		      struct addrinfo **ret)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};

	return getaddrinfo(address, service, &hints, ret);
}

static int lookup_localhost(const char *host, const char *service,
			    const struct addrinfo *hints, struct addrinfo **ret)
{
	(void)host, (void)hints;
	return lookup_one("127.0.0.1", service, ret);
}

/* 127.0.0.2, where nothing listens, then 127.0.0.1. */
static int lookup_two(const char *host, const char *service,
		      const struct addrinfo *hints, struct addrinfo **ret)
{
	(void)host, (void)hints;
	return lookup_one("127.0.0.2", service, ret) ||
	       lookup_one("127.0.0.1", service, &(*ret)->ai_next);
}

static int lookup_nobody(const char *host, const char *service,
			 const struct addrinfo *hints, struct addrinfo **ret)
{
	(void)host, (void)service, (void)hints, (void)ret;
	return EAI_NONAME;
}

static sem_t hanging_release, hanging_done;

static int lookup_hangs(const char *host, const char *service,
			const struct addrinfo *hints, struct addrinfo **ret)
{
	int status;

	(void)host, (void)hints;
	sem_wait(&hanging_release);
	status = lookup_one("127.0.0.1", service, ret);
	sem_post(&hanging_done);
	return status;
}

/* ---- connecting -------------------------------------------------------- */

static void a_refused_connection_says_so(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(NULL, NULL);
	uint16_t port;
	wbi_amqp_host host;

	(void)state;
	close(listen_on("127.0.0.1", &port));
	host = plain_host("127.0.0.1", port);
	assert_int_equal(open_within(t, &host, 2000, &err), WB_EUNREACHABLE);
	assert_non_null(strstr(err.text, "refused"));
	assert_non_null(strstr(err.text, "is the broker running?"));
	assert_int_equal(err.class_, WB_CLASS_RETRY);
	t.ops->free(t.self);
}

/* Fills the listener's queue, after which the kernel drops what comes. */
static void a_silent_address_times_out(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport filler[3], t = make(NULL, NULL);
	uint16_t port;
	int fd = listen_on("127.0.0.1", &port);
	wbi_amqp_host host = plain_host("127.0.0.1", port);
	int64_t start;

	(void)state;
	for (int i = 0; i < 3; i++) {
		filler[i] = make(NULL, NULL);
		assert_int_equal(filler[i].ops->open(filler[i].self, &host,
						     INT64_MAX / 2, &err),
				 WB_OK);
		filler[i].ops->advance(filler[i].self, now_us(), NULL);
	}
	start = now_us();
	assert_int_equal(open_within(t, &host, 80, &err), WB_ETIMEOUT);
	assert_in_range(now_us() - start, 80000, 1000000);
	assert_non_null(strstr(err.text, "nothing answers"));
	for (int i = 0; i < 3; i++)
		filler[i].ops->free(filler[i].self);
	t.ops->free(t.self);
	close(fd);
}

static void the_next_address_is_tried(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(lookup_two, NULL);
	uint16_t port;
	int fd = listen_on("127.0.0.1", &port);
	wbi_amqp_host host = plain_host("two.example", port);

	(void)state;
	assert_ok(open_within(t, &host, 2000, &err), err);
	t.ops->shut(t.self);
	close(fd);
	assert_int_equal(open_within(t, &host, 2000, &err), WB_EUNREACHABLE);
	assert_non_null(strstr(err.text, "127.0.0.2"));
	assert_non_null(strstr(err.text, "127.0.0.1"));
	t.ops->free(t.self);
}

static void an_unknown_name_says_so(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(lookup_nobody, NULL);
	wbi_amqp_host host = plain_host("nobody.example", 1);

	(void)state;
	assert_int_equal(open_within(t, &host, 2000, &err), WB_EUNREACHABLE);
	assert_non_null(strstr(err.text, "nobody.example"));
	t.ops->free(t.self);
}

static void a_hanging_lookup_is_given_up_and_bounded(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(lookup_hangs, NULL);
	wbi_amqp_host host = plain_host("slow.example", 1);
	int running = 0;
	wb_code code;

	(void)state;
	sem_init(&hanging_release, 0, 0);
	sem_init(&hanging_done, 0, 0);
	while ((code = open_within(t, &host, 5, &err)) == WB_ETIMEOUT) {
		assert_non_null(strstr(err.text, "look-up"));
		wb_error_clear(&err);
		t.ops->shut(t.self);
		running++;
	}
	assert_int_equal(code, WB_EAGAIN);
	assert_int_equal(running, WBI_RESOLVE_ABANDONED_MAX + 1);
	assert_non_null(strstr(err.text, "name server"));
	assert_false(is_readable(t, 0));
	t.ops->free(t.self); /* the threads outlive it */
	for (int i = 0; i < running; i++)
		sem_post(&hanging_release);
	for (int i = 0; i < running; i++)
		sem_wait(&hanging_done);
}

static void a_late_answer_of_a_lookup_is_taken(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(lookup_hangs, NULL);
	uint16_t port;
	int fd = listen_on("127.0.0.1", &port);
	wbi_amqp_host host = plain_host("slow.example", port);

	(void)state;
	sem_init(&hanging_release, 0, 0);
	sem_init(&hanging_done, 0, 0);
	assert_ok(t.ops->open(t.self, &host, now_us() + 5000000, &err), err);
	assert_int_equal(t.ops->advance(t.self, now_us(), &err), WB_EAGAIN);
	assert_false(is_readable(t, 0));
	sem_post(&hanging_release);
	assert_true(is_readable(t, 5000));
	assert_ok(finish(t, &err), err);
	t.ops->free(t.self);
	close(fd);
}

/* ---- bytes ------------------------------------------------------------- */

static void bytes_go_both_ways_and_the_end_is_seen(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(NULL, NULL);
	uint16_t port;
	int listener = listen_on("127.0.0.1", &port), peer;
	wbi_amqp_host host = plain_host("127.0.0.1", port);
	uint8_t bytes[64];
	size_t len = 0;
	int fd = t.ops->fd(t.self);

	(void)state;
	for (int round = 0; round < 3; round++) {
		assert_ok(open_within(t, &host, 2000, &err), err);
		assert_int_equal(t.ops->fd(t.self), fd);
		peer = accept(listener, NULL, NULL);
		assert_false(is_readable(t, 0));
		assert_int_equal(t.ops->read(t.self, bytes, 64, &len, &err),
				 WB_EAGAIN);
		assert_ok(t.ops->write(t.self, (void *)"ping", 4, &len, &err),
			  err);
		assert_int_equal(read(peer, bytes, 64), 4);
		assert_int_equal(write(peer, "pong!", 5), 5);
		assert_true(is_readable(t, 2000));
		assert_ok(read_some(t, bytes, 64, &len, &err), err);
		assert_int_equal(len, 5);
		close(peer);
		assert_code(read_some(t, bytes, 64, &len, &err), WB_ECLOSED,
			    err);
		/* The first write meets a reset; SIGPIPE would end the test. */
		t.ops->write(t.self, (void *)"x", 1, &len, NULL);
		usleep(1000);
		assert_code(t.ops->write(t.self, (void *)"x", 1, &len, &err),
			    WB_ECLOSED, err);
		t.ops->shut(t.self);
		assert_false(is_readable(t, 0));
	}
	t.ops->free(t.self);
	close(listener);
}

static void a_full_socket_wakes_when_there_is_room(void **state)
{
	static uint8_t block[1 << 20];
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(NULL, NULL);
	uint16_t port;
	int listener = listen_on("127.0.0.1", &port), peer;
	wbi_amqp_host host = plain_host("127.0.0.1", port);
	size_t len = 0, sent = 0, got = 0;
	wb_code code;

	(void)state;
	assert_ok(open_within(t, &host, 2000, &err), err);
	peer = accept(listener, NULL, NULL);
	while ((code = t.ops->write(t.self, block, sizeof(block), &len,
				    &err)) == WB_OK)
		sent += len;
	assert_int_equal(code, WB_EAGAIN);
	assert_false(is_readable(t, 0));
	while (got < sent)
		got += (size_t)read(peer, block, sizeof(block));
	assert_true(is_readable(t, 2000));
	assert_ok(t.ops->write(t.self, block, 1, &len, &err), err);
	assert_false(is_readable(t, 0));
	t.ops->free(t.self);
	close(peer);
	close(listener);
}

static void time_makes_the_descriptor_readable(void **state)
{
	wbi_transport t = make(NULL, NULL);
	int64_t start = now_us();

	(void)state;
	assert_false(is_readable(t, 0));
	t.ops->wake_at(t.self, start + 20000, start);
	t.ops->wake_at(t.self, start + 90000000, start); /* not moved */
	assert_false(is_readable(t, 0));
	assert_true(is_readable(t, 5000));
	assert_true(now_us() - start >= 20000);
	t.ops->wake_at(t.self, INT64_MAX, now_us());
	assert_false(is_readable(t, 0));
	t.ops->wake_at(t.self, 0, now_us());
	assert_true(is_readable(t, 5000));
	t.ops->wake_at(t.self, now_us() + 90000000, now_us());
	assert_false(is_readable(t, 0));
	t.ops->free(t.self);
}

/* ---- TLS --------------------------------------------------------------- */

static char directory[] = "/tmp/waybill-tls-XXXXXX";
static char ca_path[64], other_path[64], client_path[64];
static tls_identity ca, other_ca, good, expired, elsewhere, nameless,
	client;

static int make_identities(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", directory);
	snprintf(other_path, sizeof(other_path), "%s/other.pem", directory);
	snprintf(client_path, sizeof(client_path), "%s/client.pem", directory);
	ca = tls_identity_new("test CA", NULL, 3600, NULL);
	other_ca = tls_identity_new("another CA", NULL, 3600, NULL);
	good = tls_identity_new("broker", "DNS:broker.example,IP:127.0.0.1",
				3600, &ca);
	expired = tls_identity_new("broker", "DNS:broker.example", -60, &ca);
	elsewhere =
		tls_identity_new("broker", "DNS:elsewhere.example", 3600, &ca);
	nameless = tls_identity_new("broker.example", "IP:127.0.0.2", 3600,
				    &ca);
	client = tls_identity_new("client", "DNS:client.example", 3600, &ca);
	tls_identity_write(&ca, ca_path);
	tls_identity_write(&other_ca, other_path);
	tls_identity_write(&client, client_path);
	return 0;
}

static int remove_identities(void **state)
{
	tls_identity *all[] = {&ca,      &other_ca,  &good,
			       &expired, &elsewhere, &nameless, &client};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(all); i++)
		tls_identity_free(all[i]);
	unlink(ca_path);
	unlink(other_path);
	unlink(client_path);
	return rmdir(directory);
}

static wbi_amqp_host tls_host(const char *name)
{
	return (wbi_amqp_host){
		.tls = true, .host = (char *)name, .ca_file = ca_path};
}

/* One TLS connection to a server with this identity; echoes 100 KB if it
 * stands. */
static wb_code tls_try(wbi_amqp_host host, const tls_identity *identity,
		       const tls_identity *client_ca, collected *c,
		       wb_error *err)
{
	static uint8_t out[100000], in[100000];
	wbi_transport t = make(lookup_localhost, c);
	int listener = listen_on("127.0.0.1", &host.port);
	tls_peer *peer = tls_peer_start(listener, identity, client_ca);
	size_t sent = 0, got = 0, len = 0;
	wb_code code = open_within(t, &host, 5000, err);

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 256);
	while (code == WB_OK && got < sizeof(in)) {
		wb_code w =
			sent == sizeof(out)
				? WB_EAGAIN
				: t.ops->write(t.self, out + sent,
					       sizeof(out) - sent, &len, err);

		if (w == WB_OK)
			sent += len;
		code = t.ops->read(t.self, in + got, sizeof(in) - got, &len,
				   err);
		if (code == WB_OK)
			got += len;
		if (code == WB_EAGAIN) {
			if (w == WB_EAGAIN)
				wait_for(t, INT64_MAX);
			code = WB_OK;
		}
	}
	if (code == WB_OK)
		assert_memory_equal(in, out, sizeof(in));
	t.ops->free(t.self);
	tls_peer_join(peer);
	close(listener);
	return code;
}

static void a_good_certificate_is_accepted_by_name_and_address(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host host = tls_host("any.example");
	collected c;

	(void)state;
	assert_ok(tls_try(tls_host("broker.example"), &good, NULL, &c, &err),
		  err);
	assert_ok(tls_try(tls_host("127.0.0.1"), &good, NULL, &c, &err), err);
	host.server_name = (char *)"broker.example";
	assert_ok(tls_try(host, &good, NULL, &c, &err), err);
	assert_string_equal(c.lines, "");
}

static void bad_certificates_are_refused_with_the_cure(void **state)
{
	const struct {
		const char *name;
		const char *ca;
		const tls_identity *identity;
		const char *word, *cure;
	} cases[] = {
		{"broker.example", other_path, &good, "issuer", "tls_ca_file"},
		{"broker.example", NULL, &good, "issuer", "tls_ca_file"},
		{"broker.example", ca_path, &expired, "expired", "renew"},
		{"broker.example", ca_path, &elsewhere, "mismatch",
		 "tls_server_name"},
		{"127.0.0.1", ca_path, &elsewhere, "mismatch",
		 "tls_server_name"},
		{"broker.example", ca_path, &nameless, "mismatch",
		 "subjectAltName"},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;
		wbi_amqp_host host = tls_host(cases[i].name);

		host.ca_file = (char *)cases[i].ca;
		assert_int_equal(
			tls_try(host, cases[i].identity, NULL, NULL, &err),
			WB_EACCESS);
		if (!strstr(err.text, cases[i].word) ||
		    !strstr(err.text, cases[i].cure) ||
		    !strstr(err.text, cases[i].name))
			fail_msg("case %zu: %s", i, err.text);
	}
}

static void no_verification_is_a_warning_on_each_connect(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host host = tls_host("broker.example");
	collected c;

	(void)state;
	host.insecure = true;
	assert_ok(tls_try(host, &expired, NULL, &c, &err), err);
	assert_non_null(strstr(c.lines, "1 amqp: broker.example"));
	assert_non_null(strstr(c.lines, "not verified"));
}

static void a_client_certificate_is_shown(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host host = tls_host("broker.example");

	(void)state;
	assert_code(tls_try(host, &good, &ca, NULL, &err), WB_ECLOSED, err);
	host.cert_file = host.key_file = client_path;
	assert_ok(tls_try(host, &good, &ca, NULL, &err), err);
	host.key_file = (char *)"/nonexistent/key.pem";
	assert_int_equal(tls_try(host, &good, NULL, NULL, &err), WB_ENOTFOUND);
	assert_non_null(strstr(err.text, "/nonexistent/key.pem"));
}

/* What is in the way is a file, so its name is said. */
static void a_file_that_holds_something_else_is_named(void **state)
{
	char text_path[PATH_MAX], long_name[300];
	wbi_amqp_host hosts[4];
	static const char *const words[] = {
		"holds no certificate in PEM", "not a PEM certificate",
		"not an unencrypted PEM key", "cannot use"};
	FILE *text;

	(void)state;
	snprintf(text_path, sizeof(text_path), "%s/text", directory);
	text = fopen(text_path, "w");
	assert_non_null(text);
	fputs("hello\n", text);
	fclose(text);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i < WBI_COUNT(hosts); i++)
		hosts[i] = tls_host("broker.example");
	hosts[0].ca_file = text_path;
	hosts[1].cert_file = hosts[1].key_file = text_path;
	hosts[2].cert_file = client_path;
	hosts[2].key_file = ca_path;
	hosts[3].server_name = long_name;
	for (size_t i = 0; i < WBI_COUNT(hosts); i++) {
		wb_error err = WB_ERROR_INIT;

		assert_int_equal(tls_try(hosts[i], &good, NULL, NULL, &err),
				 WB_EINVAL);
		if (!strstr(err.text, words[i]))
			fail_msg("%s: no %s", err.text, words[i]);
	}
	unlink(text_path);
}

/* The peer wants a certificate, gets none and hangs up; SIGPIPE would end the
 * test. */
static void a_broken_tls_connection_raises_no_signal(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(lookup_localhost, NULL);
	wbi_amqp_host host = tls_host("broker.example");
	int listener = listen_on("127.0.0.1", &host.port);
	tls_peer *peer = tls_peer_start(listener, &good, &ca);
	wb_code code;
	size_t len;

	(void)state;
	assert_ok(open_within(t, &host, 5000, &err), err);
	tls_peer_join(peer);
	/* The first may succeed, the second meet a reset. */
	for (int i = 0; i < 4; i++) {
		code = t.ops->write(t.self, (void *)"x", 1, &len, NULL);
		usleep(1000);
	}
	assert_string_equal(wb_code_name(code), "WB_ECLOSED");
	t.ops->free(t.self);
	close(listener);
}

static void a_peer_without_tls_is_told_apart(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_transport t = make(lookup_localhost, NULL);
	wbi_amqp_host host = tls_host("broker.example");
	int listener = listen_on("127.0.0.1", &host.port), peer;
	struct pollfd asked = {listener, POLLIN, 0};

	(void)state;
	/* silent */
	assert_int_equal(open_within(t, &host, 50, &err), WB_ETIMEOUT);
	assert_non_null(strstr(err.text, "TLS handshake"));
	wb_error_clear(&err);
	t.ops->shut(t.self);
	close(accept(listener, NULL, NULL));
	/* speaks AMQP */
	assert_ok(t.ops->open(t.self, &host, now_us() + 5000000, &err), err);
	while (t.ops->advance(t.self, now_us(), &err) == WB_EAGAIN &&
	       poll(&asked, 1, 1) == 0)
		;
	peer = accept(listener, NULL, NULL);
	assert_int_equal(write(peer, "AMQP\0\0\x09\x01", 8), 8);
	assert_int_equal(finish(t, &err), WB_EPROTO);
	assert_non_null(strstr(err.text, "5671"));
	t.ops->free(t.self);
	close(peer);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_connection_says_so),
		cmocka_unit_test(a_silent_address_times_out),
		cmocka_unit_test(the_next_address_is_tried),
		cmocka_unit_test(an_unknown_name_says_so),
		cmocka_unit_test(a_hanging_lookup_is_given_up_and_bounded),
		cmocka_unit_test(a_late_answer_of_a_lookup_is_taken),
		cmocka_unit_test(bytes_go_both_ways_and_the_end_is_seen),
		cmocka_unit_test(a_full_socket_wakes_when_there_is_room),
		cmocka_unit_test(time_makes_the_descriptor_readable),
		cmocka_unit_test(
			a_good_certificate_is_accepted_by_name_and_address),
		cmocka_unit_test(bad_certificates_are_refused_with_the_cure),
		cmocka_unit_test(no_verification_is_a_warning_on_each_connect),
		cmocka_unit_test(a_client_certificate_is_shown),
		cmocka_unit_test(a_file_that_holds_something_else_is_named),
		cmocka_unit_test(a_broken_tls_connection_raises_no_signal),
		cmocka_unit_test(a_peer_without_tls_is_told_apart),
	};

	signal(SIGALRM, SIG_DFL);
	alarm(60); /* no wait without an end */
	return cmocka_run_group_tests(tests, make_identities,
				      remove_identities);
}
