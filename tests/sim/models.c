/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See models.h. The projections count events and bytes per key and in all, and
 * remember the last event of each key; some events are poison until the code is
 * mended. From what was committed the models' beginnings can be made, too, for
 * journals that have let go of theirs.
 *
 * Draws from randomness of its own.
 */
#include "tests/sim/models.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <waybill/read.h>

#include "lib/base/bytes.h"
#include "projections/inspect.h"
#include "projections/projector.h"
#include "tests/sim/content.h"
#include "tests/sim/disk.h"
#include "tests/sim/world.h"

enum { MODEL_COUNTS, MODEL_LAST, MODEL_ALL, MODEL_TABLES };
enum { MODELS_POISON = 41, MODELS_REST_TURNS = 60, MODELS_CALM_TURNS = 30000 };

/* ---- what the models are ------------------------------------------------- */

static wb_code models_by_count(wb_index_keys *ret, wb_str key, wb_str value,
			       wb_error *err)
{
	(void)key;
	return wb_index_key_add(ret, wb_str_n(value.ptr, 8), err);
}

static const wb_model_index models_indexes[] = {{"by-count", models_by_count}};
static const wb_model_table models_tables[MODEL_TABLES] = {
	{"counts", NULL, models_indexes, 1},
	{"last", NULL, NULL, 0},
	{"all", NULL, NULL, 0},
};
static const char *const models_types[] = {"order.#", "stock.#", "doc.#",
					   "audit.#", NULL};

static bool models_take(wb_str type)
{
	return type.len > 0 && type.ptr[0] != 'm'; /* metric.read passes by */
}

static bool models_poison(uint64_t number)
{
	return number % MODELS_POISON == MODELS_POISON / 2;
}

/* Two big-endian numbers: events and bytes. */
static wb_code models_add(wb_model *model, size_t table, wb_str key,
			  uint64_t size, wb_error *err)
{
	uint8_t sums[16] = {0};
	wb_str old;
	wb_code code = wb_model_get(model, table, key, &old, err);

	if (code == WB_OK)
		memcpy(sums, old.ptr, sizeof(sums));
	else if (code != WB_ENOTFOUND)
		return code;
	wbi_put_be64(sums, wbi_get_be64(sums) + 1);
	wbi_put_be64(sums + 8, wbi_get_be64(sums + 8) + size);
	return wb_model_put(model, table, key, wb_str_n(sums, sizeof(sums)),
			    err);
}

static wb_code models_fold(wb_model *model, uint64_t number, wb_str key,
			   uint64_t size, wb_error *err)
{
	wb_str name = key.len ? key : wb_str_from("-");
	uint8_t bytes[8];
	wb_code code = models_add(model, MODEL_COUNTS, name, size, err);

	if (code == WB_OK)
		code = models_add(model, MODEL_ALL, wb_str_from("all"), size,
				  err);
	wbi_put_be64(bytes, number);
	/* Those without a key have no order. */
	if (code == WB_OK && key.len > 0)
		code = wb_model_put(model, MODEL_LAST, key,
				    wb_str_n(bytes, sizeof(bytes)), err);
	return code;
}

static wb_code models_apply(wb_model *model, const wb_event *event,
			    wb_error *err)
{
	const wb_projection *projection = wb_model_projection(model);
	const sim_models *m = projection->ctx;
	uint64_t number = sim_event_number(event->id);
	bool for_ever = projection->on_error == WB_ON_ERROR_SKIP;
	const char *changed;
	wb_code code = models_fold(model, number, event->key, event->data.len,
				   err);

	if (code != WB_OK)
		return code;
	changed = sim_content_differs(event);
	if (changed)
		sim_fail(m->world, "%s: '%.*s' has changed on its way: %s",
			 projection->name, (int)event->id.len, event->id.ptr,
			 changed);
	if (models_poison(number) && (for_ever || !m->mended))
		return wb_error_set(err, WB_EREJECTED, 0, __func__, "poison");
	return WB_OK;
}

static wb_code models_from_snapshot(wb_model *model, wb_store *store,
				    uint64_t position, wb_error *err)
{
	sim_models *m = wb_model_projection(model)->ctx;
	wb_code code = WB_OK;

	(void)store;
	m->tally.snapshots++;
	for (uint64_t i = 0; i < position && code == WB_OK; i++) {
		const sim_fact *fact = &m->facts[i];

		if (fact->taken)
			code = models_fold(model, fact->number,
					   wb_str_from(fact->key), fact->size,
					   err);
	}
	return code;
}

/* ---- what was committed -------------------------------------------------- */

void sim_models_note(sim_models *m, const char *id, wb_str type,
		     const char *key, size_t size)
{
	size_t room = m->fact_room ? 2 * m->fact_room : 1024;
	sim_fact *grown;

	if (m->fact_count == m->fact_room) {
		grown = realloc(m->facts, room * sizeof(*grown));
		if (!grown) {
			sim_fail(m->world, "out of memory");
			return;
		}
		m->facts = grown;
		m->fact_room = room;
	}
	m->facts[m->fact_count] = (sim_fact){
		.number = sim_event_number(wb_str_from(id)),
		.size = (uint32_t)size,
		.taken = models_take(type)};
	snprintf(m->facts[m->fact_count++].key, SIM_MODEL_KEY_MAX, "%s", key);
}

void sim_models_restored(sim_models *m, uint64_t head)
{
	for (size_t i = 0; i < SIM_MODELS; i++)
		m->each[i].position = 0;
	m->fact_count = head;
}

/* ---- deaths -------------------------------------------------------------- */

static void models_die(sim_models *m)
{
	m->dead = true;
	if (m->live)
		kit_mortal_kill(m->live);
}

kit_commit_fate sim_models_judge_commit(sim_models *m)
{
	uint64_t luck;

	if (m->dead)
		return (kit_commit_fate){false, ENOSPC};
	if (m->calm || !seeded_random_chance(&m->random, m->commit_trouble))
		return (kit_commit_fate){true, 0};
	luck = seeded_random_below(&m->random, 10);
	if (luck == 0)
		return (kit_commit_fate){false, ENOSPC};
	m->tally.deaths_in_commit++;
	sim_log(m->world, "a projector's commit %s",
		luck % 2 ? "was durable, and the last" : "was the last call");
	models_die(m);
	return (kit_commit_fate){.durable = luck % 2, .rc = ENOSPC};
}

/* A rename or a removal: before it, or behind it. */
static bool models_judge_file(void *ctx, const char *path)
{
	sim_models *m = ctx;

	if (m->dead)
		return false;
	if (m->calm || !seeded_random_chance(&m->random, m->commit_trouble))
		return true;
	m->tally.deaths_at_files++;
	sim_log(m->world, "a projector dies at %s", path);
	models_die(m);
	return seeded_random_chance(&m->random, 500);
}

static void models_watch(sim_models *m, bool stepping)
{
	m->stepping = stepping;
	sim_disk_watch(stepping ? models_judge_file : NULL, m);
}

void sim_models_bury(sim_models *m)
{
	if (!m->running)
		return;
	m->tally.deaths++;
	sim_log(m->world, "the projectors die");
	models_die(m); /* nothing of what it does from here on stays */
	models_watch(m, true);
	for (size_t i = 0; i < SIM_MODELS; i++) {
		wb_projector_close(m->each[i].projector);
		m->each[i].projector = NULL;
	}
	models_watch(m, false);
	wb_broker_free(kit_mortal_broker(m->live));
	wb_broker_free(kit_mortal_broker(m->rebuild));
	m->live = m->rebuild = NULL;
	m->running = m->dead = false;
}

static void models_cut(sim_models *m, const char *name)
{
	char path[PATH_MAX];

	for (unsigned n = 1; n < 256; n++) {
		snprintf(path, sizeof(path),
			 "%.3000s/models0/projections/%s/gen-%u/data.mdb",
			 m->world->dir, name, n);
		m->tally.torn += sim_disk_cut(path);
	}
}

static void models_power_cut(sim_models *m)
{
	sim_models_bury(m);
	sim_log(m->world, "the power fails under the projectors");
	m->tally.power_cuts++;
	m->boot++;
	for (size_t i = 0; i < SIM_MODELS; i++)
		models_cut(m, m->each[i].projection.name);
	sim_disk_forget();
}

/* ---- life ---------------------------------------------------------------- */

static kit_mortal *models_connect(sim_models *m, uint64_t life)
{
	sim_world *w = m->world;
	kit_mortal *mortal = NULL;
	wb_broker *broker;

	if (wb_memory_connect(w->memory, &broker, &w->err) == WB_OK) {
		mortal = kit_mortal_new(broker, life);
		if (!mortal)
			wb_broker_free(broker);
	}
	if (!mortal)
		sim_fail(w, "no connection for the projectors");
	return mortal;
}

static void models_open(sim_models *m, sim_model *model)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	model->options.broker = kit_mortal_broker(m->live);
	model->options.rebuild_broker = kit_mortal_broker(m->rebuild);
	models_watch(m, true);
	code = wb_projector_open(m->world->store, &model->projection,
				 &model->options, &model->projector, &err);
	models_watch(m, false);
	if (code != WB_OK)
		sim_fail(m->world, "projector: %s", err.text);
	else
		snprintf(model->projector->boot, sizeof(model->projector->boot),
			 "boot-%u", m->boot);
}

static void models_start(sim_models *m)
{
	uint64_t life =
		m->calm ? 0 : 500 + seeded_random_below(&m->random, 20000);

	m->live = models_connect(m, life);
	m->rebuild = models_connect(m, life);
	if (m->world->failed)
		return;
	kit_mortal_pair(m->live, m->rebuild);
	sim_log(m->world, "the projectors start");
	m->running = true;
	for (size_t i = 0; i < SIM_MODELS; i++)
		if (!m->world->failed)
			models_open(m, &m->each[i]);
}

/* What is promoted has all that readers may have seen, unless that was of a
 * history that is no more. An older one may be gone back to, and a new one
 * promoted over that in the same step. */
static void models_see_position(sim_models *m, sim_model *model,
				const wb_projector_stat *stat)
{
	bool mismatch = stat->state == WB_PROJECTOR_STUCK &&
			stat->error.code == WB_EMISMATCH;

	if (stat->generation > model->newest && !model->may_go_back &&
	    stat->position < model->position)
		sim_fail(m->world,
			 "%s: generation %u is live at %llu, %llu was seen",
			 model->projection.name, stat->generation,
			 (unsigned long long)stat->position,
			 (unsigned long long)model->position);
	if (stat->generation > model->newest)
		model->newest = stat->generation;
	if (stat->generation != model->generation)
		model->may_go_back = false;
	model->position = mismatch ? 0 : stat->position;
}

static void models_see(sim_models *m, sim_model *model)
{
	wb_projector_stat stat = wb_projector_get_stat(model->projector);

	if (stat.state == WB_PROJECTOR_BLOCKED && stat.position == 0)
		return; /* it may not even have opened what is live */
	models_see_position(m, model, &stat);
	if (stat.generation != model->generation && model->generation > 0) {
		m->tally.flips++;
		sim_log(m->world, "%s: generation %u is live at %llu",
			model->projection.name, stat.generation,
			(unsigned long long)stat.position);
	}
	model->generation = stat.generation;
}

static void models_step(sim_models *m, sim_model *model)
{
	bool wake = m->calm || seeded_random_chance(&m->random, 700);
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	if (!m->running || m->world->failed)
		return;
	models_watch(m, true);
	code = wb_projector_step(model->projector, wake, &err);
	models_watch(m, false);
	m->dead = m->dead || kit_mortal_is_dead(m->live);
	if (m->dead)
		sim_models_bury(m);
	else if (code != WB_OK && code != WB_ENOSPC)
		sim_fail(m->world, "projector %s: %s", model->projection.name,
			 err.text);
	else
		models_see(m, model);
}

/* ---- the operator -------------------------------------------------------- */

static void models_ask(sim_models *m, sim_model *model, wb_projection_verb verb)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	request.verb = verb;
	request.promote = m->calm || seeded_random_chance(&m->random, 600);
	if (!m->calm && seeded_random_chance(&m->random, 300))
		request.rate =
			50 + (uint32_t)seeded_random_below(&m->random, 500);
	code = wb_projector_ask(model->projector, &request, &err);
	m->tally.requests += code == WB_OK;
	if (code == WB_OK && verb == WB_PROJECTION_ROLLBACK)
		model->may_go_back = true;
	if (code != WB_OK && code != WB_EBUSY)
		sim_fail(m->world, "asking the projector: %s", err.text);
	sim_log(m->world, "%s: asked for %d", model->projection.name,
		(int)verb);
}

static void models_operate(sim_models *m)
{
	static const wb_projection_verb verbs[] = {
		WB_PROJECTION_REBUILD,	WB_PROJECTION_REBUILD,
		WB_PROJECTION_REBUILD,	WB_PROJECTION_PROMOTE,
		WB_PROJECTION_PROMOTE,	WB_PROJECTION_ROLLBACK,
		WB_PROJECTION_DISCARD,	WB_PROJECTION_PAUSE,
		WB_PROJECTION_RESUME,	WB_PROJECTION_RESUME,
		WB_PROJECTION_HEAL};
	size_t which = seeded_random_below(&m->random, SIM_MODELS);

	if (!m->running)
		return;
	models_ask(m, &m->each[which],
		   verbs[seeded_random_below(
			   &m->random, sizeof(verbs) / sizeof(verbs[0]))]);
}

/* What is beyond repair is built anew, as its error says. */
static void models_repair(sim_models *m, sim_model *model)
{
	wb_projector_stat stat = wb_projector_get_stat(model->projector);

	if (stat.state != WB_PROJECTOR_STUCK ||
	    stat.error.code != WB_EMISMATCH)
		return;
	m->tally.mismatches++;
	models_ask(m, model,
		   stat.building > 0 ? WB_PROJECTION_PROMOTE
				     : WB_PROJECTION_REBUILD);
}

/* ---- looking at any moment ----------------------------------------------- */

static uint64_t models_expected(const sim_models *m, const sim_model *model,
				uint64_t position)
{
	bool skips = model->projection.on_error == WB_ON_ERROR_SKIP;
	uint64_t events = 0;

	for (uint64_t i = 0; i < position && i < m->fact_count; i++)
		events += m->facts[i].taken &&
			  !(skips && models_poison(m->facts[i].number));
	return events;
}

static uint64_t models_total(sim_models *m, wb_read *read)
{
	wb_error err = WB_ERROR_INIT;
	wb_str value;
	wb_code code = wb_read_get(read, "all", wb_str_from("all"), &value,
				   &err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		sim_fail(m->world, "reading a model: %s", err.text);
	return code == WB_OK ? wbi_get_be64((const uint8_t *)value.ptr) : 0;
}

/* The local one has as many events as were committed up to its position. */
static void models_look(sim_models *m)
{
	sim_model *model = &m->each[SIM_LOCAL];
	wb_projector_stat stat;
	wb_error err = WB_ERROR_INIT;
	uint64_t total, position, expected;
	wb_read *read;

	if (!m->running || m->world->failed)
		return;
	stat = wb_projector_get_stat(model->projector);
	if (!model->projector->live.gen ||
	    strcmp(model->projector->live.at.origin,
		   model->projector->journal.origin) != 0)
		return;
	if (wb_read_open_projector(model->projector, NULL, &read, &err) !=
	    WB_OK) {
		sim_fail(m->world, "reader: %s", err.text);
		return;
	}
	if (wb_read_begin(read, &err) != WB_OK)
		sim_fail(m->world, "reader: %s", err.text);
	position = wb_read_position(read);
	total = models_total(m, read) + stat.quarantined_events;
	expected = models_expected(m, model, position);
	if (total != expected || position > m->fact_count)
		sim_fail(m->world,
			 "the model has %llu events at %llu, not %llu",
			 (unsigned long long)total,
			 (unsigned long long)position,
			 (unsigned long long)expected);
	wb_read_close(read);
	m->tally.looks++;
}

void sim_models_turn(sim_models *m)
{
	seeded_random *random = &m->random;

	if (m->world->failed || m->absent)
		return;
	if (!m->running && seeded_random_chance(random, 200))
		models_start(m);
	else if (m->running && seeded_random_chance(random, 4))
		sim_models_bury(m);
	if (seeded_random_chance(random, 5))
		models_power_cut(m);
	if (seeded_random_chance(random, 40))
		models_operate(m);
	if (seeded_random_chance(random, 5))
		m->mended = !m->mended;
	for (size_t i = 0; i < SIM_MODELS; i++)
		models_step(m, &m->each[i]);
	if (m->running && seeded_random_chance(random, 100))
		models_repair(m, &m->each[SIM_LOCAL]);
	if (seeded_random_chance(random, 60))
		models_look(m);
}

/* ---- the end ------------------------------------------------------------- */

static bool models_model_rests(sim_models *m, sim_model *model)
{
	wb_projector_stat stat;

	models_step(m, model);
	if (m->world->failed)
		return true;
	stat = wb_projector_get_stat(model->projector);
	models_repair(m, model);
	return stat.idle && stat.quarantined_events == 0;
}

static void models_say_restless(sim_models *m)
{
	for (size_t i = 0; i < SIM_MODELS && !m->world->failed; i++) {
		wb_projector_stat stat =
			wb_projector_get_stat(m->each[i].projector);

		if (!stat.idle || stat.quarantined_events > 0)
			sim_fail(m->world,
				 "model %s does not rest: %s at %llu of %llu, "
				 "aside %llu, building %u at %llu: %s",
				 m->each[i].projection.name,
				 wb_projector_state_name(stat.state),
				 (unsigned long long)stat.position,
				 (unsigned long long)stat.head,
				 (unsigned long long)stat.quarantined_events,
				 stat.building,
				 (unsigned long long)stat.building_position,
				 stat.error.text);
	}
}

static void models_settle(sim_models *m)
{
	int rested = 0;

	for (int turn = 0; rested < MODELS_REST_TURNS && !m->world->failed;
	     turn++) {
		bool rest = true;

		for (size_t i = 0; i < SIM_MODELS; i++)
			rest = models_model_rests(m, &m->each[i]) && rest;
		rested = rest ? rested + 1 : 0;
		fake_clock_advance_us(&m->world->clock, 10000);
		if (turn == MODELS_CALM_TURNS)
			models_say_restless(m);
	}
}

static void models_digest(sim_models *m, sim_model *model, uint32_t generation,
			  char ret[33])
{
	wbi_home *home = model->projector->home;
	wb_error err = WB_ERROR_INIT;
	wbi_generation *gen = NULL;
	MDB_txn *txn;
	wb_code code = wbi_home_take(home, generation, NULL, &gen, &err);

	if (code == WB_OK)
		code = wbi_txn_begin(gen->env, false, &txn, &err);
	if (code == WB_OK) {
		code = wbi_projection_digest(gen, txn, ret, NULL, &err);
		wbi_txn_abort(txn);
	}
	wbi_home_give(home, gen);
	if (code != WB_OK)
		sim_fail(m->world, "digest: %s", err.text);
}

/* All generations of a model that go along, in one text. */
static void models_digests(sim_models *m, char live[SIM_MODELS][33],
			   char built[SIM_MODELS][33])
{
	for (size_t i = 0; i < SIM_MODELS && !m->world->failed; i++) {
		wb_projector_stat stat =
			wb_projector_get_stat(m->each[i].projector);

		models_digest(m, &m->each[i], stat.generation, live[i]);
		built[i][0] = '\0';
		if (stat.building > 0 && !m->world->failed)
			models_digest(m, &m->each[i], stat.building, built[i]);
	}
}

/* The stream has each event at least once; the model has it once. */
static void models_compare_stream(sim_models *m)
{
	sim_model *model = &m->each[SIM_REMOTE];
	bool skips = model->projection.on_error == WB_ON_ERROR_SKIP;
	bool *seen = calloc(SIM_EVENTS_MAX, sizeof(*seen));
	uint64_t distinct = 0, total = 0;
	wb_error err = WB_ERROR_INIT;
	const wb_message *message;
	wb_read *read = NULL;

	for (uint64_t i = 0; seen && (message = wb_memory_arrival(
						  m->world->memory, SIM_HISTORY,
						  i));
	     i++) {
		size_t number = sim_event_number(message->message_id);

		if (number >= SIM_EVENTS_MAX || seen[number] ||
		    !models_take(message->type) ||
		    (skips && models_poison(number)))
			continue;
		seen[number] = true;
		distinct++;
	}
	free(seen);
	if (wb_read_open_projector(model->projector, NULL, &read, &err) ==
		    WB_OK &&
	    wb_read_begin(read, &err) == WB_OK)
		total = models_total(m, read);
	else
		sim_fail(m->world, "reader: %s", err.text);
	wb_read_close(read);
	if (total != distinct)
		sim_fail(m->world,
			 "the model of the stream has %llu events, the stream "
			 "has %llu",
			 (unsigned long long)total,
			 (unsigned long long)distinct);
}

/* The same models, made anew in another directory. */
static void models_make_anew(sim_models *m)
{
	sim_models_bury(m);
	sim_world_path(m->world, "models", 1, m->dir);
	if (mkdir(m->dir, 0700) != 0)
		sim_fail(m->world, "%s cannot be made", m->dir);
	models_start(m);
	for (size_t i = 0; i < SIM_MODELS; i++) {
		m->each[i].generation = m->each[i].newest = 0;
		m->each[i].position = 0;
	}
	models_settle(m);
}

static void models_compare(sim_models *m)
{
	char live[SIM_MODELS][33], built[SIM_MODELS][33];
	char fresh[SIM_MODELS][33], none[SIM_MODELS][33];

	models_digests(m, live, built);
	if (!m->world->failed && m->world->tally.restores == 0)
		models_compare_stream(m);
	models_make_anew(m);
	models_digests(m, fresh, none);
	for (size_t i = 0; i < SIM_MODELS && !m->world->failed; i++) {
		const char *name = m->each[i].projection.name;

		if (strcmp(live[i], fresh[i]) != 0)
			sim_fail(m->world, "model %s is not what one made anew "
					   "is", name);
		if (built[i][0] && strcmp(built[i], fresh[i]) != 0)
			sim_fail(m->world, "what is built of %s is not what "
					   "one made anew is", name);
		m->tally.compared++;
	}
}

void sim_models_judge(sim_models *m)
{
	if (m->absent)
		return;
	m->calm = m->mended = true;
	sim_models_bury(m);
	models_start(m);
	for (size_t i = 0; i < SIM_MODELS && !m->world->failed; i++) {
		models_ask(m, &m->each[i], WB_PROJECTION_RESUME);
		models_ask(m, &m->each[i], WB_PROJECTION_HEAL);
	}
	models_settle(m);
	if (!m->world->failed)
		models_look(m);
	if (!m->world->failed)
		models_compare(m);
	sim_models_bury(m);
}

/* ---- the whole ----------------------------------------------------------- */

static void models_choose(sim_models *m, sim_model *model, bool may_skip)
{
	static const uint32_t batch[] = {1, 3, 10, 100};

	model->projection = (wb_projection){
		.size = sizeof(model->projection),
		.version = 1,
		.types = models_types,
		.tables = models_tables,
		.table_count = MODEL_TABLES,
		.on_error = seeded_random_chance(&m->random, 150)
				    ? WB_ON_ERROR_STOP
				    : WB_ON_ERROR_QUARANTINE_KEY,
		.apply = models_apply,
		.ctx = m};
	if (may_skip && seeded_random_chance(&m->random, 300))
		model->projection.on_error = WB_ON_ERROR_SKIP;
	model->options = (wb_projector_options)WB_PROJECTOR_OPTIONS_INIT;
	model->options.map_bytes = 16 << 20;
	model->options.batch_max = batch[seeded_random_below(&m->random, 4)];
	model->options.hold_events =
		1 + (uint32_t)seeded_random_below(&m->random, 50);
	model->options.keep_generations =
		1 + (uint32_t)seeded_random_below(&m->random, 4);
	model->options.queue = SIM_HISTORY;
	model->options.prefetch =
		2 + (uint32_t)seeded_random_below(&m->random, 60);
	model->options.clock = &m->world->clock.clock;
}

bool sim_models_init(sim_models *m, struct sim_world *w)
{
	m->world = w;
	seeded_random_init(&m->random, w->seed ^ 0x6d6f64656c73u);
	sim_disk_forget();
	m->absent = w->seed % 4 == 3;
	m->commit_trouble =
		seeded_random_chance(&m->random, 300)
			? 0
			: (uint16_t)seeded_random_below(&m->random, 60);
	m->mended = seeded_random_chance(&m->random, 300);
	/* Of what the journal lets go of, nobody knows what was skipped. */
	models_choose(m, &m->each[SIM_LOCAL], w->keeps_all && !w->streams);
	m->each[SIM_LOCAL].projection.name = "local";
	m->each[SIM_LOCAL].projection.source = WB_PROJECTION_OUTBOX;
	m->each[SIM_LOCAL].projection.from_snapshot = models_from_snapshot;
	models_choose(m, &m->each[SIM_REMOTE], true);
	m->each[SIM_REMOTE].projection.name = "remote";
	m->each[SIM_REMOTE].projection.source = WB_PROJECTION_STREAM;
	sim_world_path(w, "models", 0, m->dir);
	if (mkdir(m->dir, 0700) != 0) {
		sim_fail(w, "%s cannot be made", m->dir);
		return false;
	}
	for (size_t i = 0; i < SIM_MODELS; i++) {
		m->each[i].options.dir = m->dir;
		m->each[i].options.log = w->log ? &w->relay_log : NULL;
	}
	return true;
}

void sim_models_fini(sim_models *m)
{
	sim_models_bury(m);
	free(m->facts);
}
