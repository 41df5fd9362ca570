/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory broker against RabbitMQ 3.10: scripts of operations, drawn from a
 * seed, run on both, one operation at a time, through the same interface. After
 * each, what the clients were told must agree (model_side.h says what that is).
 * Skipped without a broker.
 *
 * WAYBILL_MODEL_SCRIPTS: how many (10); WAYBILL_MODEL_SEED: the first (1). A
 * failure prints its seed and the last operations.
 *
 * Not drawn, because a client cannot know what comes of it: two consumers of a
 * queue that is not single-active (who gets which message is open); more than
 * one message at a time for a queue that is limited and has a consumer (whether
 * the second finds the first still there is open); a consumer that loses its
 * channel by a publish behind others (whether one of these was on its way to it
 * is open); dead-lettering, expiry and quorum queues, which the model does not
 * have.
 */
#include "tests/conformance/memory_fixture.h"
#include "tests/conformance/model_side.h"
#include "tests/conformance/rabbit_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"

enum {
	SCRIPT_OPS = 80,
	SCRIPT_NAMES = 4, /* of each: exchanges, queues */
	SCRIPT_TOLD = 200,
	QUIET_MODEL_US = 8000,
	QUIET_REAL_US = 30000, /* until a dead client's messages are back */
	BODY_LARGE = 140000,   /* more than a frame holds */
	NOBODY = -1
};

typedef enum op_kind {
	OP_EXCHANGE,
	OP_CHECK,
	OP_QUEUE,
	OP_BIND,
	OP_DELETE_EXCHANGE,
	OP_DELETE_QUEUE,
	OP_PUBLISH,
	OP_CONSUME,
	OP_ACK,
	OP_REJECT,
	OP_REOPEN,
	OP_RECONNECT,
	OP_DIE
} op_kind;

static const char *const op_names[] = {
	"exchange", "check",  "queue",   "bind",   "delete exchange",
	"delete queue", "publish", "consume", "ack", "reject",
	"reopen",   "reconnect", "die"};

typedef struct op {
	op_kind kind;
	size_t connection;
	unsigned a, b, c; /* what they are, the kind says */
	bool flag;
	uint64_t token;
} op;

typedef struct queue_state {
	bool exists, single, limited;
	unsigned consumers;
} queue_state;

typedef struct script {
	uint64_t seed;
	seeded_random random;
	side model, real;
	char prefix[40];
	op ops[SCRIPT_OPS];
	size_t op_count;
	uint64_t token;
	/* What the model was seen to be. */
	bool exchanges[SCRIPT_NAMES];
	queue_state queues[SCRIPT_NAMES];
	int consuming[SIDE_CONNECTIONS]; /* a queue, or NOBODY */
	bool shut[SIDE_CONNECTIONS];
	size_t base[SIDE_CONNECTIONS]; /* deliveries before it are void */
	size_t seen[SIDE_CONNECTIONS]; /* notes */
	bool open[SIDE_TOKENS];
} script;

static const char *const keys[] = {"a", "a.b", "b", "b.c.d", "c"};
static const char *const patterns[] = {"a",   "a.*", "#",  "*.b",
				       "b.#", "b",   "a.b"};
static const char *const types[] = {"direct", "fanout", "topic"};

/* ---- an operation, on either side ---------------------------------------- */

static wb_str name_of(const script *s, char kind, unsigned i, char buf[64])
{
	int len = snprintf(buf, 64, "%s-%c%u", s->prefix, kind, i);

	return wb_str_n(buf, (size_t)len);
}

static wb_code do_exchange(const script *s, const op *o, wb_broker *broker)
{
	char name[64], other[64];
	const wb_argument alternate = {
		.name = S("alternate-exchange"),
		.text = name_of(s, 'e', o->c % SCRIPT_NAMES, other)};
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = name_of(s, 'e', o->a, name),
		.exchange_type = wb_str_from(types[o->b]),
		.arguments = &alternate,
		.argument_count = o->flag,
	};

	return wb_broker_declare(broker, &what, o->token, NULL);
}

static wb_code do_check(const script *s, const op *o, wb_broker *broker)
{
	char name[64];
	const wb_declaration what = {
		.kind = o->flag ? WB_TOPOLOGY_EXCHANGE : WB_TOPOLOGY_QUEUE,
		.name = name_of(s, o->flag ? 'e' : 'q', o->a, name),
		.exchange_type = S("topic"),
		.check_only = true,
	};

	return wb_broker_declare(broker, &what, o->token, NULL);
}

/* b: 0, 1 plain; 2 single active; 3 drops its head; 4 rejects */
static wb_code do_queue(const script *s, const op *o, wb_broker *broker)
{
	const wb_argument single = {.name = S("x-single-active-consumer"),
				    .is_bool = true,
				    .number = 1};
	const wb_argument limit[2] = {
		{.name = S("x-max-length"),
		 .is_number = true,
		 .number = 1 + o->c % 3},
		{.name = S("x-overflow"), .text = S("reject-publish")}};
	char name[64];
	wb_declaration what = {.kind = WB_TOPOLOGY_QUEUE,
			       .name = name_of(s, 'q', o->a, name)};

	if (o->b == 2) {
		what.arguments = &single;
		what.argument_count = 1;
	} else if (o->b > 2) {
		what.arguments = limit;
		what.argument_count = o->b - 2;
	}
	return wb_broker_declare(broker, &what, o->token, NULL);
}

static wb_code do_bind(const script *s, const op *o, wb_broker *broker)
{
	char queue[64], exchange[64];
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_BINDING,
		.name = name_of(s, 'q', o->a, queue),
		.exchange = name_of(s, 'e', o->b, exchange),
		.binding_key = wb_str_from(patterns[o->c]),
	};

	return wb_broker_declare(broker, &what, o->token, NULL);
}

/* What a message has by its number: none, some or all properties, no or two
 * headers, no body, a short one, one of several frames. */
typedef struct dressing {
	char text[300];
	wb_header headers[2];
} dressing;

static void dress_message(wb_message *m, unsigned n, dressing *d)
{
	static const char large[BODY_LARGE] = {'x'};

	memset(d->text, 'a' + (int)(n % 26), sizeof(d->text));
	d->headers[0] = (wb_header){S("of"), wb_str_n(d->text, n % 300)};
	d->headers[1] = (wb_header){S("empty"), S("")};
	m->headers = d->headers;
	m->header_count = n % 3;
	m->persistent = n % 4 > 0;
	m->timestamp_s = n % 2 ? 1700000000 + (int64_t)n : 0;
	m->type = n % 3 ? wb_str_n(d->text, 255) : WB_STR_NULL;
	m->app_id = n % 5 ? S("app") : WB_STR_NULL;
	m->content_type = n % 7 ? S("text/plain") : WB_STR_NULL;
	m->correlation_id = n % 2 ? wb_str_n(d->text, 9) : WB_STR_NULL;
	m->reply_to = n % 6 ? WB_STR_NULL : S("somewhere");
	m->body = wb_str_n(d->text, n % 23);
	if (n % 41 == 0)
		m->body = wb_str_n(large, sizeof(large));
}

/* a: exchange, SCRIPT_NAMES: the default one; b: key or queue; c: how many. With
 * `flag` the last one goes to an exchange that is not there. */
static wb_code do_publish(const script *s, const op *o, wb_broker *broker)
{
	char exchange[64], queue[64], id[32];
	wb_code code = WB_OK;
	dressing dress;

	for (unsigned i = 0; code == WB_OK && i < o->c; i++) {
		wb_message m = {.persistent = false};
		bool last = i + 1 == o->c;

		snprintf(id, sizeof(id), "m%d", (int)(o->token + i));
		m.message_id = wb_str_from(id);
		dress_message(&m, (unsigned)o->token + i, &dress);
		m.exchange = o->a < SCRIPT_NAMES
				     ? name_of(s, 'e', o->a, exchange)
				     : WB_STR_NULL;
		m.routing_key =
			o->a < SCRIPT_NAMES
				? wb_str_from(keys[(o->b + i) %
						   WBI_COUNT(keys)])
				: name_of(s, 'q', o->b % SCRIPT_NAMES, queue);
		if (last && o->flag)
			m.exchange = S("waybill-there-is-none");
		code = wb_broker_publish(broker, &m, o->token + i, NULL);
	}
	wb_broker_flush(broker);
	return code;
}

static wb_code do_consume(const script *s, const op *o, wb_broker *broker)
{
	char queue[64];

	return wb_broker_consume(broker, name_of(s, 'q', o->a, queue),
				 (uint16_t)o->b, o->token, NULL);
}

static wb_code do_settle(const op *o, const side_connection *c)
{
	uint64_t tag = o->a < c->delivered ? c->deliveries[o->a].tag : 0;

	if (o->kind == OP_ACK)
		return wb_broker_ack(c->broker, tag, o->flag, NULL);
	return wb_broker_reject(c->broker, tag, o->flag, NULL);
}

static wb_code do_delete(const script *s, const op *o,
			 const conformance_fixture *f)
{
	char name[64];

	name_of(s, o->kind == OP_DELETE_QUEUE ? 'q' : 'e', o->a, name);
	if (o->kind == OP_DELETE_QUEUE)
		return f->delete_queue(f->ctx, name) ? WB_OK : WB_EIO;
	return f->delete_exchange(f->ctx, name) ? WB_OK : WB_EIO;
}

static wb_code apply(const script *s, const op *o, side *to)
{
	side_connection *c = &to->connections[o->connection];

	switch (o->kind) {
	case OP_EXCHANGE:
		return do_exchange(s, o, c->broker);
	case OP_CHECK:
		return do_check(s, o, c->broker);
	case OP_QUEUE:
		return do_queue(s, o, c->broker);
	case OP_BIND:
		return do_bind(s, o, c->broker);
	case OP_DELETE_EXCHANGE:
	case OP_DELETE_QUEUE:
		return do_delete(s, o, to->fixture);
	case OP_PUBLISH:
		return do_publish(s, o, c->broker);
	case OP_CONSUME:
		return do_consume(s, o, c->broker);
	case OP_ACK:
	case OP_REJECT:
		return do_settle(o, c);
	case OP_REOPEN:
		return wb_broker_reopen(c->broker, NULL);
	case OP_RECONNECT:
		side_reconnect(to, o->connection);
		return WB_OK;
	case OP_DIE:
		break;
	}
	side_replace(to, o->connection);
	return WB_OK;
}

/* ---- drawing one -------------------------------------------------------- */

static unsigned draw(script *s, unsigned below)
{
	return (unsigned)seeded_random_below(&s->random, below);
}

static bool limited_is_consumed(const script *s)
{
	for (size_t i = 0; i < SCRIPT_NAMES; i++)
		if (s->queues[i].limited && s->queues[i].consumers)
			return true;
	return false;
}

/* One that is there, if there is one nearby; now and then any. */
static unsigned draw_exchange(script *s)
{
	unsigned at = draw(s, SCRIPT_NAMES);

	for (unsigned i = 0; i < SCRIPT_NAMES && draw(s, 20) > 0; i++, at++)
		if (s->exchanges[at % SCRIPT_NAMES])
			break;
	return at % SCRIPT_NAMES;
}

static unsigned draw_queue(script *s)
{
	unsigned at = draw(s, SCRIPT_NAMES);

	for (unsigned i = 0; i < SCRIPT_NAMES && draw(s, 20) > 0; i++, at++)
		if (s->queues[at % SCRIPT_NAMES].exists)
			break;
	return at % SCRIPT_NAMES;
}

static void draw_publish(script *s, op *o)
{
	o->kind = OP_PUBLISH;
	o->a = draw(s, 5) ? draw_exchange(s) : SCRIPT_NAMES;
	o->b = draw(s, 20);
	o->c = limited_is_consumed(s) ? 1 : 1 + draw(s, 4);
	o->flag = draw(s, 40) == 0;
	if (o->flag && s->consuming[o->connection] != NOBODY)
		o->c = 1;
	s->token += o->c;
}

static bool draw_consume(script *s, op *o)
{
	o->kind = OP_CONSUME;
	o->a = draw_queue(s);
	o->b = 1 + draw(s, 4);
	return !s->queues[o->a].consumers || s->queues[o->a].single;
}

static bool draw_settle(script *s, op *o)
{
	size_t c = o->connection;
	size_t count = s->model.connections[c].delivered - s->base[c];

	if (count == 0)
		return false;
	o->kind = draw(s, 3) ? OP_ACK : OP_REJECT;
	/* Mostly one of the last, which are likely to be outstanding. */
	o->a = (unsigned)(s->base[c] +
			  (count > 4 && draw(s, 8) ? count - 1 - draw(s, 4)
						   : draw(s, (unsigned)count)));
	o->flag = draw(s, 2);
	return true;
}

static bool draw_declaration(script *s, op *o)
{
	static const op_kind kinds[] = {OP_EXCHANGE, OP_EXCHANGE, OP_CHECK,
					OP_QUEUE,    OP_QUEUE,	  OP_BIND,
					OP_BIND,     OP_BIND};

	o->kind = kinds[draw(s, WBI_COUNT(kinds))];
	o->a = draw(s, SCRIPT_NAMES);
	o->flag = draw(s, 4) == 0;
	if (o->kind == OP_EXCHANGE) {
		o->b = draw(s, WBI_COUNT(types));
		o->c = o->a + 1 + draw(s, SCRIPT_NAMES - 1);
	} else if (o->kind == OP_QUEUE) {
		o->b = draw(s, 5);
		o->c = o->a; /* so that it is mostly the same again */
	} else if (o->kind == OP_BIND) {
		o->a = draw_queue(s);
		o->b = draw_exchange(s);
		o->c = draw(s, WBI_COUNT(patterns));
	}
	return true;
}

static bool draw_deletion(script *s, op *o)
{
	o->a = draw(s, SCRIPT_NAMES);
	o->kind = draw(s, 2) ? OP_DELETE_QUEUE : OP_DELETE_EXCHANGE;
	return o->kind == OP_DELETE_QUEUE ? s->queues[o->a].exists
					  : s->exchanges[o->a];
}

/* False: not this one; draw again. */
static bool draw_one(script *s, op *o)
{
	unsigned what = draw(s, 100);

	*o = (op){.connection = draw(s, SIDE_CONNECTIONS),
		  .token = s->token + 1};
	if (s->shut[o->connection] && what % 8) {
		o->kind = OP_REOPEN;
		return true;
	}
	if (s->op_count < 16 || what < 12)
		return draw_declaration(s, o);
	if (what < 50) {
		draw_publish(s, o);
		return true;
	}
	if (what < 62)
		return draw_consume(s, o);
	if (what < 91)
		return draw_settle(s, o);
	if (what < 95)
		return draw_deletion(s, o);
	o->kind = what < 97 ? OP_RECONNECT : OP_DIE;
	return true;
}

/* ---- what it has done, by the model ------------------------------------- */

static void forget_consumer(script *s, size_t connection)
{
	if (s->consuming[connection] != NOBODY)
		s->queues[s->consuming[connection]].consumers &=
			~(1u << connection);
	s->consuming[connection] = NOBODY;
}

static void see_declared(script *s, const op *o)
{
	queue_state *q = &s->queues[o->a];

	if (o->kind == OP_EXCHANGE)
		s->exchanges[o->a] = true;
	if (o->kind != OP_QUEUE || q->exists)
		return;
	*q = (queue_state){.exists = true,
			   .single = o->b == 2,
			   .limited = o->b > 2};
}

static void see_note(script *s, const op *o, size_t connection,
		     const side_note *note)
{
	switch (note->kind) {
	case WB_BROKER_DECLARED:
		see_declared(s, o);
		break;
	case WB_BROKER_CONSUMING:
		s->consuming[connection] = (int)o->a;
		s->queues[o->a].consumers |= 1u << connection;
		break;
	case WB_BROKER_CANCELLED:
		forget_consumer(s, connection);
		break;
	case WB_BROKER_CHANNEL_CLOSED:
	case WB_BROKER_DOWN:
		forget_consumer(s, connection);
		s->shut[connection] = note->kind == WB_BROKER_CHANNEL_CLOSED;
		s->base[connection] = s->model.connections[connection].delivered;
		break;
	case WB_BROKER_CHANNEL_OPEN:
		s->shut[connection] = false;
		break;
	default:
		break;
	}
}

static void see(script *s, const op *o)
{
	if (o->kind == OP_DELETE_QUEUE)
		s->queues[o->a] = (queue_state){.exists = false};
	if (o->kind == OP_DELETE_EXCHANGE)
		s->exchanges[o->a] = false;
	if (o->kind == OP_DIE) {
		forget_consumer(s, o->connection);
		s->shut[o->connection] = false;
		s->base[o->connection] =
			s->model.connections[o->connection].delivered;
	}
	for (size_t i = 0; i < SIDE_CONNECTIONS; i++)
		for (; s->seen[i] < s->model.connections[i].noted; s->seen[i]++)
			see_note(s, o, i,
				 &s->model.connections[i].notes[s->seen[i]]);
}

/* ---- a script ----------------------------------------------------------- */

static void tell(const script *s, const char *why)
{
	size_t first = s->op_count > SCRIPT_TOLD ? s->op_count - SCRIPT_TOLD : 0;

	for (size_t i = first; i < s->op_count; i++) {
		const op *o = &s->ops[i];

		print_error("%3zu connection %zu: %s %u %u %u%s token %d\n", i,
			    o->connection, op_names[o->kind], o->a, o->b, o->c,
			    o->flag ? " flag" : "", (int)o->token);
	}
	fail_msg("seed %d: %s: repeat with WAYBILL_MODEL_SEED=%d "
		 "WAYBILL_MODEL_SCRIPTS=1",
		 (int)s->seed, why, (int)s->seed);
}

/* Does the broker have to do something of its own behind this? */
static bool goes_on_behind(const op *o)
{
	return o->kind == OP_DIE || o->kind == OP_RECONNECT ||
	       (o->kind == OP_PUBLISH && o->flag);
}

static void run_one(script *s)
{
	op *o = &s->ops[s->op_count];
	char why[512];
	wb_code model, real;

	while (!draw_one(s, o))
		;
	s->op_count++;
	s->token += o->kind != OP_PUBLISH;
	if (o->kind == OP_PUBLISH)
		for (unsigned i = 0; i < o->c; i++)
			s->open[o->token + i] = o->flag || (o->a < SCRIPT_NAMES &&
							    !s->exchanges[o->a]);
	model = apply(s, o, &s->model);
	side_settle(&s->model, QUIET_MODEL_US);
	real = apply(s, o, &s->real);
	if (model != real) {
		snprintf(why, sizeof(why), "%s gave %s in the model, %s of the "
					   "broker",
			 op_names[o->kind], wb_code_name(model),
			 wb_code_name(real));
		tell(s, why);
	}
	if (goes_on_behind(o))
		side_settle(&s->real, QUIET_REAL_US);
	side_reach(&s->real, &s->model, s->open);
	if (!side_same(&s->model, &s->real, s->open, why, sizeof(why)))
		tell(s, why);
	see(s, o);
}

static void clean(const script *s)
{
	const conformance_fixture *f = s->real.fixture;
	char name[64];

	for (unsigned i = 0; i < SCRIPT_NAMES; i++) {
		name_of(s, 'q', i, name);
		if (s->queues[i].exists)
			f->delete_queue(f->ctx, name);
		name_of(s, 'e', i, name);
		if (s->exchanges[i])
			f->delete_exchange(f->ctx, name);
	}
}

static size_t run_script(uint64_t seed, const conformance_fixture *real)
{
	script *s = calloc(1, sizeof(*s));
	conformance_fixture model;
	memory_fixture memory;
	char why[512];
	size_t events;

	assert_non_null(s);
	s->seed = seed;
	seeded_random_init(&s->random, seed);
	assert_true(memory_fixture_init(&memory, seed, &model));
	snprintf(s->prefix, sizeof(s->prefix), "wb-model-%d-%d", (int)getpid(),
		 (int)seed);
	side_init(&s->model, &model);
	side_init(&s->real, real);
	for (size_t i = 0; i < SIDE_CONNECTIONS; i++)
		s->consuming[i] = NOBODY;
	while (s->op_count < SCRIPT_OPS && s->token < SIDE_TOKENS - 16)
		run_one(s);
	side_settle(&s->real, QUIET_REAL_US);
	if (!side_same(&s->model, &s->real, s->open, why, sizeof(why)))
		tell(s, why);
	events = s->real.events;
	clean(s);
	side_fini(&s->model);
	side_fini(&s->real);
	memory_fixture_fini(&memory);
	free(s);
	return events;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void scripts_agree_on_model_and_broker(void **state)
{
	uint64_t first = number_of("WAYBILL_MODEL_SEED", 1);
	uint64_t count = number_of("WAYBILL_MODEL_SCRIPTS", 10);
	size_t events = 0;

	for (uint64_t i = 0; i < count; i++)
		events += run_script(first + i, *state);
	print_message("model: %d scripts of %d operations, %zu events on "
		      "either side, no difference\n",
		      (int)count, (int)SCRIPT_OPS, events);
}

int main(void)
{
	conformance_fixture fixture;
	rabbit_fixture r;
	int code = rabbit_fixture_init(&r, &fixture);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(scripts_agree_on_model_and_broker,
					  &fixture),
	};

	if (code != 0)
		return code;
	code = cmocka_run_group_tests_name("model", tests, NULL, NULL);
	rabbit_fixture_fini(&r);
	return code;
}
