/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a binding can ask of its call (waybill/choreography.h, "in a call of a
 * binding"). On the thread of the call; what is handed out lives until it ends.
 */
#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "saga/react.h"

static wbi_flow_call *flow_call(const wb_call *call, const char *where,
				wb_error *err)
{
	wbi_flow_call *f = wbi_extra_of(call, WBI_EXTRA_FLOW);

	if (!f)
		wb_error_set(err, WB_EINVAL, 0, where,
			     "not a call of a flow's binding");
	return f;
}

wb_str wb_flow_saga(const wb_call *call)
{
	const wbi_flow_call *f = flow_call(call, __func__, NULL);

	return f ? f->saga : WB_STR_NULL;
}

wb_str wb_flow_kept(const wb_call *call)
{
	const wbi_flow_call *f = flow_call(call, __func__, NULL);

	return f ? f->kept : WB_STR_NULL;
}

wb_step_state wb_flow_undoing(const wb_call *call)
{
	const wbi_flow_call *f = flow_call(call, __func__, NULL);

	return f ? f->undoing : WB_STEP_NONE;
}

wb_code wb_flow_emit(wb_call *call, const wb_event *event, wb_error *err)
{
	wbi_flow_call *f = flow_call(call, __func__, err);
	wb_header *headers;
	wb_event e;
	wb_code code;

	if (!f)
		return WB_EINVAL;
	if (!event || event->header_count >= WBI_FLOW_HEADERS)
		return WBI_FAIL(err, WB_EINVAL, "flow: %s",
				event ? "too many headers"
				      : "the event is NULL");
	code = wbi_flow_check_emit(f->choreography, f->row, event->type, err);
	if (code != WB_OK)
		return code;
	headers = calloc(event->header_count + 1, sizeof(*headers));
	if (!headers)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	e = wbi_flow_event(event, f->saga, headers);
	code = wb_emit(call, &e, err);
	free(headers);
	if (code == WB_OK)
		wbi_flow_words_add(&f->out, event->type);
	return code;
}

wb_code wb_flow_refusal(wb_call *call, wb_str content_type, wb_str data,
			wb_error *err)
{
	wbi_flow_call *f = flow_call(call, __func__, err);
	uint8_t *bytes;

	if (!f)
		return WB_EINVAL;
	if (content_type.len > 255 || data.len > 1024UL * 1024)
		return WBI_FAIL(err, WB_ELIMIT,
				"flow: a refusal of %zu bytes, %zu of them its "
				"type",
				content_type.len + data.len, content_type.len);
	bytes = malloc(content_type.len + data.len + 1);
	if (!bytes)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	if (content_type.len > 0)
		memcpy(bytes, content_type.ptr, content_type.len);
	if (data.len > 0)
		memcpy(bytes + content_type.len, data.ptr, data.len);
	free(f->refusal);
	f->refusal = bytes;
	f->refusal_type_len = content_type.len;
	f->refusal_len = data.len;
	return WB_OK;
}

wb_code wb_flow_keep(wb_call *call, wb_str undo, wb_error *err)
{
	wbi_flow_call *f = flow_call(call, __func__, err);
	char *bytes;

	if (!f)
		return WB_EINVAL;
	if (undo.len > WBI_FLOW_KEEP_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"flow: %zu bytes for an undo; %d at most",
				undo.len, WBI_FLOW_KEEP_MAX);
	bytes = wbi_text_dup(undo);
	if (!bytes)
		return WBI_FAIL(err, WB_ENOMEM, "flow: out of memory");
	free(f->keep);
	f->keep = bytes;
	f->keep_len = undo.len;
	return WB_OK;
}

wb_code wb_flow_pending(wb_call *call, wb_error *err)
{
	wbi_flow_call *f = flow_call(call, __func__, err);
	const wb_reaction *r;

	if (!f)
		return WB_EINVAL;
	r = f->choreography->flow->rows[f->row].reaction;
	if (!r->later)
		return WBI_FAIL(err, WB_EINVAL,
				"flow %s: step %s is not declared `later`",
				f->choreography->part->flow->name, r->step);
	f->pending = true;
	return WB_OK;
}
