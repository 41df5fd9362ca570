/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A participant with a mood: the example's functions, behind one that may
 * refuse, ask for time, or die first. What it does it does in the call's own
 * transaction, so that a death there takes everything back.
 */
#include <string.h>

#include "tests/sim/town.h"

static const wb_command *trouble_find(const town_service *s, wb_str type,
				      bool *ret_undo)
{
	for (size_t i = 0; i < s->example->count; i++) {
		const wb_command *c = &s->example->commands[i];

		*ret_undo = c->undo && wb_str_eq(type, wb_str_from(c->undo));
		if (*ret_undo || wb_str_eq(type, wb_str_from(c->type)))
			return c;
	}
	return NULL;
}

static wb_code trouble_do(wb_call *call, const wb_event *command, wb_error *err)
{
	town_service *s = wb_call_handler(call)->ctx;
	town *t = s->town;
	bool undo;
	const wb_command *c = trouble_find(s, command->type, &undo);

	if (s->mood.crash && seeded_random_chance(&t->random, s->mood.crash)) {
		town_log(t, "%s dies inside %s", s->name, c->type);
		kit_mortal_kill(s->consumer);
	}
	if (t->clock.real_us < s->mood.retry_until_us)
		return wb_retry(err, "%s has no time now", s->name);
	if (undo && t->clock.real_us < s->mood.refuse_undo_until_us)
		return wb_reject(err, "%s will not take it back", s->name);
	if (!undo && s->mood.refuse &&
	    seeded_random_chance(&t->random, s->mood.refuse))
		return wb_reject(err, "%s does not feel like it", s->name);
	return undo ? c->run_undo(call, command, err)
		    : c->run(call, command, err);
}

void town_wrap(town_service *s, const wb_participant *example)
{
	s->example = example;
	s->participant = *example;
	for (size_t i = 0; i < example->count && i < TOWN_COMMANDS_MAX; i++) {
		s->commands[i] = example->commands[i];
		s->commands[i].run = trouble_do;
		if (s->commands[i].run_undo)
			s->commands[i].run_undo = trouble_do;
	}
	s->participant.commands = s->commands;
	s->participant.ctx = s;
}
