/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The postman of a town: services publish to the exchange "post", and he
 * carries a letter for each listener of an event to that listener's queue, when
 * and as often as the plan says. Who listens to what is the flow's table.
 */
#include "tests/examples/choreography/town.h"

#include <stdlib.h>
#include <string.h>

enum { POST_TURNS = 1000, POST_HEADERS = 64 };

/* ---- the exchange -------------------------------------------------------- */

static bool post_declared(town *t, wb_broker *broker, const wb_declaration *d,
			  size_t count)
{
	wb_broker_event event;
	size_t declared = 0;

	for (int i = 0; i < POST_TURNS && declared < count; i++) {
		wb_broker_step(broker);
		while (wb_broker_next(broker, &event)) {
			for (size_t n = 0;
			     event.kind == WB_BROKER_UP && n < count; n++)
				(void)wb_broker_declare(broker, &d[n], n, NULL);
			declared += event.kind == WB_BROKER_DECLARED;
		}
		fake_clock_advance_us(&t->clock, 1000);
	}
	return declared == count;
}

bool town_post_init(town *t)
{
	const wb_str name = wb_str_from("post");
	const wb_declaration what[] = {
		{.kind = WB_TOPOLOGY_EXCHANGE,
		 .name = name,
		 .exchange_type = wb_str_from("topic")},
		{.kind = WB_TOPOLOGY_QUEUE, .name = name},
		{.kind = WB_TOPOLOGY_BINDING,
		 .name = name,
		 .exchange = name,
		 .binding_key = wb_str_from("#")},
	};
	wb_broker *broker;
	bool good;

	if (wb_memory_connect(t->memory, &broker, &t->err) != WB_OK)
		return false;
	good = wb_broker_connect(broker, &t->err) == WB_OK &&
	       post_declared(t, broker, what, 3);
	wb_broker_free(broker);
	return good;
}

/* ---- collecting ---------------------------------------------------------- */

static bool post_is_in(const char *list, wb_str type)
{
	while (list && *list) {
		size_t len = strcspn(list, "|");

		if (wb_str_eq(wb_str_n(list, len), type))
			return true;
		list += len + (list[len] == '|');
	}
	return false;
}

static bool post_listens(int service, wb_str type)
{
	for (size_t i = 0; i < flow.count; i++) {
		const wb_reaction *r = &flow.reactions[i];

		if (!strcmp(r->service, town_names[service]) &&
		    (post_is_in(r->on, type) || post_is_in(r->awaits, type)))
			return true;
	}
	return false;
}

static void post_add(town *t, uint64_t index, int to, bool alias)
{
	int64_t delay_us = 0;

	if (t->letter_count == t->letter_room) {
		size_t room = t->letter_room ? 2 * t->letter_room : 64;
		void *grown = realloc(t->letters, room * sizeof(*t->letters));

		if (!grown) {
			town_fail(t, "out of memory");
			return;
		}
		t->letters = grown;
		t->letter_room = room;
	}
	if (!t->calm && t->plan.delay_us > 0 &&
	    seeded_random_chance(&t->random, 500))
		delay_us = (int64_t)seeded_random_below(
			&t->random, (uint64_t)t->plan.delay_us);
	t->letters[t->letter_count++] =
		(town_letter){.index = index,
			      .due_us = t->clock.mono_us + delay_us,
			      .to = to,
			      .alias = alias};
}

static void post_collect(town *t)
{
	const wb_message *m;

	while ((m = wb_memory_arrival(t->memory, "post", t->collected))) {
		for (int to = 0; to < TOWN_SERVICES; to++) {
			if (!post_listens(to, m->type))
				continue;
			post_add(t, t->collected, to, false);
			if (!t->calm &&
			    seeded_random_chance(&t->random, t->plan.alias))
				post_add(t, t->collected, to, true);
		}
		t->collected++;
	}
}

/* ---- carrying ------------------------------------------------------------ */

/* "sSLOT:NUMBER", as town_add_customer() makes them. */
static size_t post_customer(wb_str ref)
{
	size_t at = 0, number = 0;

	while (at < ref.len && ref.ptr[at] != ':')
		at++;
	while (++at < ref.len)
		number = number * 10 + (size_t)(ref.ptr[at] - '0');
	return number;
}

bool town_letter_at(const town *t, size_t index, town_delivery *ret)
{
	const wb_message *m;

	if (index >= t->letter_count)
		return false;
	m = wb_memory_arrival(t->memory, "post", t->letters[index].index);
	snprintf(ret->type, sizeof(ret->type), "%.*s", (int)m->type.len,
		 m->type.ptr);
	ret->customer = post_customer(m->correlation_id);
	ret->to = t->letters[index].to;
	return true;
}

static bool post_is(const town *t, size_t index, const town_delivery *what)
{
	town_delivery d;

	return what && town_letter_at(t, index, &d) && d.to == what->to &&
	       d.customer == what->customer && !strcmp(d.type, what->type);
}

static bool post_put(town *t, const wb_message *m, int to)
{
	wb_message copy = *m;
	wb_code code;

	copy.exchange = wb_str_from("");
	copy.routing_key = wb_str_from(town_names[to]);
	code = wb_memory_put(t->memory, &copy, &t->err);
	if (code == WB_OK)
		t->count.deliveries++;
	else if (code != WB_ENOTFOUND && code != WB_EAGAIN)
		town_fail(t, "post: %s", t->err.text);
	wb_error_clear(&t->err);
	return code == WB_OK;
}

/* The same event under another id, as a producer that is no waybill may make
 * of it: the inbox lets it through. */
static bool post_put_alias(town *t, const wb_message *m, int to)
{
	wb_header headers[POST_HEADERS];
	wb_message copy = *m;
	char id[32];

	if (m->header_count > POST_HEADERS)
		return false;
	snprintf(id, sizeof(id), "alias-%llu",
		 (unsigned long long)++t->aliases);
	copy.message_id = wb_str_from(id);
	copy.headers = headers;
	for (size_t i = 0; i < m->header_count; i++) {
		headers[i] = m->headers[i];
		if (wb_str_eq(headers[i].name, wb_str_from("ce-id")))
			headers[i].value = copy.message_id;
	}
	return post_put(t, &copy, to);
}

static void post_deliver(town *t, town_letter *l)
{
	const wb_message *m = wb_memory_arrival(t->memory, "post", l->index);
	uint32_t copies = t->plan.copies ? t->plan.copies : 1;

	if (!t->calm && seeded_random_chance(&t->random, t->plan.duplicate))
		copies++;
	if (l->alias) {
		l->posted = post_put_alias(t, m, l->to);
		return;
	}
	for (uint32_t i = 0; i < copies; i++)
		if (!post_put(t, m, l->to))
			return; /* no queue yet: all of it later */
	for (uint32_t i = 0; i < t->plan.aliases; i++)
		(void)post_put_alias(t, m, l->to);
	l->posted = true;
}

void town_post_step(town *t)
{
	post_collect(t);
	for (size_t i = t->letter_first; i < t->letter_count; i++) {
		town_letter *l = &t->letters[i];

		if (l->posted || l->due_us > t->clock.mono_us)
			continue;
		l->held = !t->released && post_is(t, i, t->plan.held);
		if (!l->held)
			post_deliver(t, l);
		if (l->posted && post_is(t, i, t->plan.before))
			t->before_came = true;
	}
	while (t->letter_first < t->letter_count &&
	       t->letters[t->letter_first].posted)
		t->letter_first++;
}

void town_post_release(town *t)
{
	t->released = true;
	for (size_t i = t->letter_first; i < t->letter_count; i++)
		t->letters[i].held = false;
}

bool town_post_is_empty(const town *t, int64_t *ret_next_us)
{
	bool empty = !wb_memory_arrival(t->memory, "post", t->collected);

	*ret_next_us = INT64_MAX;
	for (size_t i = t->letter_first; i < t->letter_count; i++) {
		if (t->letters[i].posted || t->letters[i].held)
			continue;
		empty = false;
		if (t->letters[i].due_us < *ret_next_us)
			*ret_next_us = t->letters[i].due_us;
	}
	return empty;
}

void town_post_forge(town *t, const char *type, size_t customer, int to)
{
	const wb_header headers[] = {
		{wb_str_from("ce-specversion"), wb_str_from("1.0")},
		{wb_str_from("ce-id"), wb_str_from("forged")},
		{wb_str_from("ce-type"), wb_str_from(type)},
		{wb_str_from("ce-source"), wb_str_from("/forger")},
		{wb_str_from("ce-wbsaga"),
		 wb_str_from(t->customers[customer].ref)},
	};
	wb_message m = {.message_id = wb_str_from("forged"),
			.type = wb_str_from(type),
			.correlation_id =
				wb_str_from(t->customers[customer].ref),
			.persistent = true,
			.headers = headers,
			.header_count = sizeof(headers) / sizeof(headers[0])};

	if (!post_put(t, &m, to))
		town_fail(t, "nobody has a queue for what is forged");
}
