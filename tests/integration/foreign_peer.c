/* SPDX-License-Identifier: BSD-2-Clause */
/* See foreign_peer.h. */
#include "tests/integration/foreign_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifdef HAVE_RABBITMQ_C_AMQP_H
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

enum {
	PEER_TIMEOUT_S = 10,
	PEER_DEPTH_MAX = 40,
	PEER_HEADERS_MAX = 200,
	PEER_LARGE = 3 << 20
};

struct foreign_peer {
	amqp_connection_state_t connection;
	amqp_table_entry_t headers[PEER_HEADERS_MAX];
	int header_count;
	amqp_table_entry_t nested[PEER_DEPTH_MAX];
	amqp_field_value_t listed[PEER_DEPTH_MAX];
	char names[PEER_HEADERS_MAX][16];
	char id[32];
	char *large;
};

static int peer_login(foreign_peer *p, char *uri)
{
	struct timeval limit = {PEER_TIMEOUT_S, 0};
	struct amqp_connection_info info;
	amqp_socket_t *socket;

	if (amqp_parse_url(uri, &info) != AMQP_STATUS_OK)
		return 0;
	amqp_set_rpc_timeout(p->connection, &limit);
	socket = amqp_tcp_socket_new(p->connection);
	return socket &&
	       amqp_socket_open_noblock(socket, info.host, info.port, &limit) ==
		       AMQP_STATUS_OK &&
	       amqp_login(p->connection, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE,
			  0, AMQP_SASL_METHOD_PLAIN, info.user, info.password)
			       .reply_type == AMQP_RESPONSE_NORMAL &&
	       amqp_channel_open(p->connection, 1) != NULL;
}

foreign_peer *foreign_peer_open(const char *uri)
{
	foreign_peer *p = calloc(1, sizeof(*p));
	char *copy = strdup(uri);
	int up = 0;

	if (p) {
		p->connection = amqp_new_connection();
		p->large = calloc(1, PEER_LARGE);
	}
	if (p && p->connection && p->large && copy)
		up = peer_login(p, copy);
	free(copy);
	if (up)
		return p;
	foreign_peer_close(p);
	return NULL;
}

void foreign_peer_close(foreign_peer *peer)
{
	if (!peer)
		return;
	if (peer->connection)
		amqp_destroy_connection(peer->connection);
	free(peer->large);
	free(peer);
}

/* ---- headers ---------------------------------------------------------- */

static amqp_field_value_t *peer_header(foreign_peer *p, const char *name,
				       char kind)
{
	amqp_table_entry_t *entry = &p->headers[p->header_count++];

	entry->key = amqp_cstring_bytes(name);
	entry->value.kind = (uint8_t)kind;
	return &entry->value;
}

static void peer_text(foreign_peer *p, const char *name, const char *text)
{
	peer_header(p, name, AMQP_FIELD_KIND_UTF8)->value.bytes =
		amqp_cstring_bytes(text);
}

static void peer_deep_table(foreign_peer *p, const char *name, unsigned depth)
{
	amqp_table_t table = {0, NULL};

	for (unsigned i = 0; i < depth; i++) {
		p->nested[i].key = amqp_cstring_bytes("in");
		p->nested[i].value.kind = AMQP_FIELD_KIND_TABLE;
		p->nested[i].value.value.table = table;
		table.num_entries = 1;
		table.entries = &p->nested[i];
	}
	peer_header(p, name, AMQP_FIELD_KIND_TABLE)->value.table = table;
}

static void peer_deep_array(foreign_peer *p, const char *name, unsigned depth)
{
	amqp_array_t array = {0, NULL};

	for (unsigned i = 0; i < depth; i++) {
		p->listed[i].kind = AMQP_FIELD_KIND_ARRAY;
		p->listed[i].value.array = array;
		array.num_entries = 1;
		array.entries = &p->listed[i];
	}
	peer_header(p, name, AMQP_FIELD_KIND_ARRAY)->value.array = array;
}

static void peer_many(foreign_peer *p)
{
	while (p->header_count < PEER_HEADERS_MAX) {
		char *name = p->names[p->header_count];

		snprintf(name, sizeof(p->names[0]), "h%d", p->header_count);
		peer_text(p, name, "v");
	}
}

/* An event, before something is done to it. */
static void peer_event(foreign_peer *p)
{
	peer_text(p, "ce-specversion", "1.0");
	peer_text(p, "ce-id", p->id);
	peer_text(p, "ce-source", "/foreign");
	peer_text(p, "ce-type", "foreign");
}

/* ---- messages --------------------------------------------------------- */

static amqp_bytes_t peer_structured(foreign_peer *p,
				    amqp_basic_properties_t *properties,
				    unsigned number)
{
	static const char *const bodies[] = {
		"{\"specversion\":\"1.0\",\"id\":\"s\",\"source\":\"/f\",\"ty",
		"{\"id\":\"s\",\"id\":\"t\",\"source\":\"/f\",\"type\":\"t\"}",
		"{\"specversion\":\"1.0\",\"id\":{},\"source\":1,\"type\":[]}",
		"\xff\xfe"};

	properties->_flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
	properties->content_type =
		amqp_cstring_bytes("application/cloudevents+json");
	p->header_count = 0;
	if (number % 5 < 4)
		return amqp_cstring_bytes(bodies[number % 5]);
	memset(p->large, '[', 100000);
	return (amqp_bytes_t){100000, p->large};
}

static amqp_bytes_t peer_make(foreign_peer *p, unsigned number,
			      amqp_basic_properties_t *properties)
{
	unsigned some = number / 10;

	peer_event(p);
	switch (number % 10) {
	case 1:
		peer_deep_table(p, "deep", some % PEER_DEPTH_MAX);
		break;
	case 2:
		p->headers[1].value.kind = AMQP_FIELD_KIND_I64;
		p->headers[1].value.value.i64 = number;
		break;
	case 3:
		p->header_count = 1;
		peer_deep_table(p, "ce-id", some % 4);
		break;
	case 4:
		p->headers[1].value.kind = AMQP_FIELD_KIND_BYTES;
		p->headers[1].value.value.bytes =
			(amqp_bytes_t){some % 300, p->large};
		break;
	case 5:
		peer_deep_array(p, "list", some % PEER_DEPTH_MAX);
		break;
	case 6:
		p->header_count = 0; /* no id at all */
		break;
	case 7:
		peer_many(p);
		break;
	case 8:
		return peer_structured(p, properties, some);
	case 9:
		properties->_flags |=
			AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG;
		properties->message_id = amqp_cstring_bytes("\xff\x80");
		properties->timestamp = UINT64_MAX - some;
		if (some % 50 == 0)
			return (amqp_bytes_t){PEER_LARGE, p->large};
		break;
	default:
		break;
	}
	return amqp_cstring_bytes("body");
}

int foreign_peer_send(foreign_peer *peer, const char *exchange, unsigned number)
{
	amqp_basic_properties_t properties = {._flags =
						      AMQP_BASIC_HEADERS_FLAG};
	amqp_bytes_t body;

	peer->header_count = 0;
	memset(peer->large, 0, 200000);
	snprintf(peer->id, sizeof(peer->id), "f-%u", number);
	body = peer_make(peer, number, &properties);
	properties.headers.num_entries = peer->header_count;
	properties.headers.entries = peer->headers;
	return amqp_basic_publish(peer->connection, 1,
				  amqp_cstring_bytes(exchange),
				  amqp_cstring_bytes("foreign"), 0, 0,
				  &properties, body) == AMQP_STATUS_OK;
}
