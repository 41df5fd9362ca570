/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests to the server of read models, over a socket on the loopback: any
 * path and query, or any bytes at all. Every request that is one gets an answer
 * that begins with a status, and the next one is served as well.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <waybill/outbox.h>
#include <waybill/projector.h>

#include "cli/http.h"
#include "lib/base/assert.h"
#include "tests/fuzz/fuzz.h"

enum { ANSWER_MS = 10000, RAW_MS = 5, TRIES = 50, TURNED_AWAY_MS = 100 };

static uint16_t port;

/* ---- a read model to ask for -------------------------------------------- */

static wb_code by_value(wb_index_keys *ret, wb_str key, wb_str value,
			wb_error *err)
{
	(void)key;
	return wb_index_key_add(
		ret, wb_str_n(value.ptr, value.len < 8 ? value.len : 8), err);
}

static wb_code apply(wb_model *model, const wb_event *event, wb_error *err)
{
	return wb_model_put(model, event->data.len % 2, event->key, event->data,
			    err);
}

static const char *const types[] = {"slot.*", NULL};
static const wb_model_index indexes[] = {{"by_value", by_value}};
static const wb_model_table tables[] = {
	{"slots", "application/json", indexes, 1},
	{"others", NULL, NULL, 0},
};
static const wb_projection slots = {
	.size = sizeof(slots),
	.name = "slots",
	.version = 1,
	.source = WB_PROJECTION_OUTBOX,
	.types = types,
	.tables = tables,
	.table_count = 2,
	.on_error = WB_ON_ERROR_STOP,
	.apply = apply,
};

static void append_all(wb_store *store)
{
	static const char *const data[] = {"{\"n\":1}", "[1,2]x", "free", "tak",
					   "\xff\xfe", "{}"};
	wb_outbox *outbox;
	MDB_txn *txn;
	char key[8];

	FUZZ_HOLDS(wb_outbox_open(store, NULL, &outbox, NULL) == WB_OK);
	FUZZ_HOLDS(wb_store_begin(store, &txn, NULL) == WB_OK);
	for (unsigned i = 0; i < 40; i++) {
		wb_event event = {.type = wb_str_from("slot.set"),
				  .key = wb_str_from(key)};

		snprintf(key, sizeof(key), "A-%u", i);
		event.key = wb_str_from(key);
		event.data = wb_str_from(data[i % WBI_COUNT(data)]);
		FUZZ_HOLDS(wb_outbox_append(outbox, txn, &event, NULL, NULL) ==
			   WB_OK);
	}
	FUZZ_HOLDS(wb_store_commit(store, txn, NULL) == WB_OK);
	wb_outbox_close(outbox);
}

static void make_model(const char *dir)
{
	wb_projector_options projector_options = WB_PROJECTOR_OPTIONS_INIT;
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_projector *projector;
	wb_store *store;

	options.service = "fuzz";
	options.map_bytes = 8 << 20;
	projector_options.map_bytes = 8 << 20;
	FUZZ_HOLDS(wb_store_create(dir, &options, NULL) == WB_OK);
	FUZZ_HOLDS(wb_store_open(dir, &options, &store, NULL) == WB_OK);
	append_all(store);
	FUZZ_HOLDS(wb_projector_open(store, &slots, &projector_options,
				     &projector, NULL) == WB_OK);
	FUZZ_HOLDS(wb_projector_run(projector, true, NULL) == WB_OK);
	wb_projector_close(projector);
	wb_store_close(store);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	cli_http_options options = {
		.dir = fuzz_path(fuzz_dir(), "store"), .address = "127.0.0.1"};
	cli_http *http;
	wb_error err = WB_ERROR_INIT;

	(void)argc;
	(void)argv;
	make_model(options.dir);
	if (cli_http_open(&options, &http, &err) == WB_OK)
		port = cli_http_port(http); /* until the process ends */
	else
		fprintf(stderr, "not served: %s\n", err.text);
	return 0;
}

/* ---- asking ------------------------------------------------------------- */

/* A connection; thousands of them in a second may use up what a machine has of
 * port numbers for a moment. */
static int reach(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port)};
	const struct linger at_once = {1, 0};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < TRIES; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		FUZZ_HOLDS(fd >= 0);
		/* Closed by a reset: no port is left waiting. */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once,
			   sizeof(at_once));
		if (!connect(fd, (struct sockaddr *)&to, sizeof(to)))
			return fd;
		perror("connect");
		close(fd);
		poll(NULL, 0, TURNED_AWAY_MS);
	}
	FUZZ_HOLDS(!"it can be reached");
	return -1;
}

/* What comes within the time; 0: nothing. */
static size_t hear(int fd, char *ret, size_t size, int wait_ms)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	ssize_t n = 0;

	if (poll(&readable, 1, wait_ms) == 1)
		n = recv(fd, ret, size, 0);
	return n > 0 ? (size_t)n : 0;
}

/* A path and query between words that make a request of it. */
static void ask(fuzz_in *in, uint8_t how)
{
	static const char *const begins[] = {
		"GET /", "GET /projections/slots?", "GET /projections/slots/",
		"GET /projections/", "HEAD /projections/slots/A-1?"};
	const char *path = fuzz_text(in, fuzz_rest(in));
	char request[2048], answer[64];
	size_t len = 0;
	int fd;

	/* "wait=" would be waited for. */
	if (strpbrk(path, " \r\n") || strstr(path, "wait"))
		return;
	snprintf(request, sizeof(request) - 32, "%s%.1024s",
		 begins[how % WBI_COUNT(begins)], path);
	strcat(request, " HTTP/1.0\r\n\r\n");
	/* Turned away when more are connected than it serves at a time, and it
	 * has not seen yet that they are gone. */
	for (int i = 0; i < TRIES && len == 0; i++) {
		if (i > 0)
			poll(NULL, 0, TURNED_AWAY_MS);
		fd = reach();
		(void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
		len = hear(fd, answer, sizeof(answer), ANSWER_MS);
		close(fd);
	}
	FUZZ_HOLDS(len > 12 && !memcmp(answer, "HTTP/1.", 7));
}

static void say(fuzz_in *in)
{
	wb_str bytes = fuzz_rest(in);
	char answer[64];
	int fd = reach();

	(void)!send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	hear(fd, answer, sizeof(answer), RAW_MS);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how;
	fuzz_in in;

	if (port == 0)
		return 0; /* built without it */
	fuzz_init(&in, data, size);
	how = fuzz_u8(&in);
	if (how >= 240)
		say(&in);
	else
		ask(&in, how);
	fuzz_fini(&in);
	return 0;
}
