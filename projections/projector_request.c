/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Doing what operators ask for. A request that cannot be done is taken away
 * with a line of log and of status: it must not come again for ever.
 */
#include <stdio.h>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "projections/projector.h"

static wb_code request_rebuild(wb_projector *p, const wbi_request *r,
			       wb_error *err)
{
	wb_code code;

	if (p->fill.gen && p->building.version == p->shape.version)
		return WBI_FAIL(err, WB_ESTATE,
				"projection %s: generation %u is being filled "
				"already: promote or discard it",
				p->projection->name, p->building.generation);
	code = wbi_projector_fill_begin(p, r->promote, r->rate, err);
	p->promote = code == WB_OK && r->promote;
	return code;
}

static wb_code request_promote(wb_projector *p, wb_error *err)
{
	wbi_building b = p->building;
	wb_code code;

	if (!p->fill.gen)
		return WBI_FAIL(err, WB_ESTATE,
				"projection %s: no generation is being filled: "
				"ask for a rebuild first",
				p->projection->name);
	b.promote = true;
	code = wbi_building_write(p->home, &b, err);
	if (code == WB_OK) {
		p->building = b;
		p->promote = true;
	}
	return code;
}

static void request_heal(wb_projector *p, const wbi_request *r)
{
	p->heal = (wbi_heal){.active = true,
			     .one = r->key_len > 0,
			     .unit_len = r->key_len};
	memcpy(p->heal.unit, r->key, r->key_len);
	p->fill_heal = p->heal;
	p->fill_heal.active = p->fill.gen != NULL;
}

/* Look again, as if it had just been started. */
static wb_code request_resume(wb_projector *p, wb_error *err)
{
	wb_error_clear(&p->fill.stuck);
	p->retry_at_us = 0;
	p->look = true;
	if (p->state != WB_PROJECTOR_STUCK)
		return WB_OK;
	wbi_projector_close_track(p, &p->live);
	return wbi_projector_open_live(p, err);
}

static wb_code request_do(wb_projector *p, const wbi_request *r, wb_error *err)
{
	switch (r->verb) {
	case WB_PROJECTION_REBUILD:
		return request_rebuild(p, r, err);
	case WB_PROJECTION_PROMOTE:
		return request_promote(p, err);
	case WB_PROJECTION_ROLLBACK:
		return wbi_projector_rollback(p, err);
	case WB_PROJECTION_DISCARD:
		return wbi_projector_fill_discard(p, err);
	case WB_PROJECTION_HEAL:
		request_heal(p, r);
		return WB_OK;
	case WB_PROJECTION_RESUME:
		return request_resume(p, err);
	case WB_PROJECTION_PAUSE:
		break;
	}
	return WB_OK;
}

wb_code wbi_projector_requests(wb_projector *p, wb_error *err)
{
	wb_error failed = WB_ERROR_INIT;
	wbi_request request;
	bool any;
	wb_code code;

	if (p->now_us < p->request_at_us)
		return WB_OK;
	p->request_at_us = p->now_us + PROJECTOR_REQUEST_MS * 1000L;
	p->paused = wbi_home_has(p->home, "paused");
	code = wbi_request_next(p->home, &request, &any, err);
	if (code != WB_OK || !any)
		return code;
	code = request_do(p, &request, &failed);
	/* No room: it stays, and is done when there is some. */
	if (wbi_wants_room(code))
		return WB_OK;
	if (code != WB_OK)
		wbi_log(p->log, WB_LOG_WARN, "%s", failed.text);
	p->status_dirty = true;
	p->request_at_us = 0; /* perhaps there is another */
	return wbi_request_done(p->home, request.verb, err);
}

wb_code wb_projector_ask(wb_projector *p, const wb_projection_request *request,
			 wb_error *err)
{
	wb_code code = wbi_home_ask(p->home, request, err);

	p->request_at_us = 0;
	return code;
}
