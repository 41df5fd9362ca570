/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/inbox/work_rig.h"

void make_consumer(fixture *f, wb_str name)
{
	const wbi_store_info *info = wbi_store_get_info(f->store);
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER, .error = S("")};

	memcpy(row.origin, info->inbox_origin, sizeof(row.origin));
	assert_ok(wbi_consumer_put(f->txn, f->tables->consumers, 'i', name,
				   &row, &f->err),
		  f->err);
}

fixture begin(void **state)
{
	test_place *place = *state;
	fixture f = {.store = test_store_make(place->store),
		     .err = WB_ERROR_INIT};

	f.tables = wbi_store_get_tables(f.store);
	assert_ok(wb_store_begin(f.store, &f.txn, &f.err), f.err);
	make_consumer(&f, H);
	return f;
}

void end(fixture *f)
{
	wb_store_abort(f->txn);
	wb_store_close(f->store);
}

wbi_work_id keyed(const char *key, uint64_t position)
{
	return (wbi_work_id){H, WBI_LANE_KEYED, wb_str_from(key), position};
}

void add(fixture *f, wbi_work_id id, int64_t due_us)
{
	char record[32];
	wbi_work row = {.due_us = due_us, .text = S("why")};
	int len = snprintf(record, sizeof(record), "event %d",
			   (int)id.position);

	row.record = wb_str_n(record, (size_t)len);
	assert_ok(wbi_work_add(f->txn, f->tables, &id, &row, &f->err), f->err);
}

wbi_work get(fixture *f, wbi_work_id id)
{
	wbi_work row;

	assert_ok(wbi_work_get(f->txn, f->tables->work, &id, &row, &f->err),
		  f->err);
	return row;
}

void assert_state(fixture *f, wbi_work_id id, uint8_t state)
{
	assert_int_equal(get(f, id).state, state);
}

void assert_gone(fixture *f, wbi_work_id id)
{
	wbi_work row;

	assert_int_equal(
		wbi_work_get(f->txn, f->tables->work, &id, &row, &f->err),
		WB_ENOTFOUND);
}

uint64_t due(fixture *f, int64_t now)
{
	wbi_row_key buf;
	wbi_work_id id;
	wbi_work row;
	int64_t next;
	wb_code code = wbi_work_first_due(f->txn, f->tables, H, now, &buf, &id,
					  &row, &next, &f->err);

	if (code == WB_ENOTFOUND)
		return 0;
	assert_ok(code, f->err);
	assert_true(next <= now);
	assert_int_equal(row.state, WBI_WORK_WAITING);
	return id.position;
}

int64_t next_us(fixture *f, int64_t now)
{
	wbi_row_key buf;
	wbi_work_id id;
	wbi_work row;
	int64_t next;

	assert_int_equal(wbi_work_first_due(f->txn, f->tables, H, now, &buf,
					    &id, &row, &next, &f->err),
			 WB_ENOTFOUND);
	return next;
}

void change(fixture *f, wbi_work_id id, uint8_t state, int64_t due_us,
		   int64_t now)
{
	wbi_work row = get(f, id);

	row.state = state;
	row.due_us = due_us;
	row.attempts += state == WBI_WORK_WAITING;
	assert_ok(wbi_work_change(f->txn, f->tables, &id, &row, now, &f->err),
		  f->err);
}

void done(fixture *f, wbi_work_id id, int64_t now)
{
	assert_ok(wbi_work_done(f->txn, f->tables, &id, now, &f->err), f->err);
}

uint64_t die(fixture *f, wbi_work_id id, bool blocks, int64_t now)
{
	const wbi_dead dead = {.reason = WBI_DEAD_REJECTED,
			       .blocks = blocks,
			       .attempts = 3,
			       .first_us = 5,
			       .last_us = now,
			       .id = S("id"),
			       .text = S("no"),
			       .bytes = S("the record")};
	uint64_t number;

	assert_ok(wbi_work_die(f->txn, f->tables, &id, &dead, now, &number,
			       &f->err),
		  f->err);
	return number;
}

wbi_consumer consumer(fixture *f)
{
	wbi_consumer row;

	assert_ok(wbi_consumer_get(f->txn, f->tables->consumers, 'i', H, &row,
				   &f->err),
		  f->err);
	return row;
}
