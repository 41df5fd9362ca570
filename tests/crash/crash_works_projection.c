/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A read model is filled, built anew beside itself, and flipped. Whatever the
 * disk holds then, a reader finds a whole model or none, and a projector goes on
 * to what a fresh one makes.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/crash/crash_points.h"
#include "tests/crash/disk_trace.h"
#include "tests/projections/rig.h"

/* What the projector has said by then, and what holds from there on. */
enum { SAID_APPLIED = 1, SAID_PROMOTED };

static void projection_prepare(const char *dir)
{
	test_place place;
	rig r;

	snprintf(place.dir, sizeof(place.dir), "%s", dir);
	snprintf(place.store, sizeof(place.store), "%s/store", dir);
	rig_init(&r, &place, WB_ON_ERROR_STOP);
	rig_append_many(&r, 30, 4);
	rig_open(&r);
	rig_settle(&r);
	rig_append_many(&r, 20, 4);
	rig_fini(&r);
}

/* As rig_init(), but the store is there. */
static void projection_open(rig *r, test_place *place, const char *dir)
{
	wb_error err = WB_ERROR_INIT;

	snprintf(place->dir, sizeof(place->dir), "%s", dir);
	snprintf(place->store, sizeof(place->store), "%s-unused", dir);
	rig_init(r, place, WB_ON_ERROR_STOP);
	wb_store_close(r->store);
	test_remove_tree(place->store);
	snprintf(place->store, sizeof(place->store), "%s/store", dir);
	assert_ok(wb_store_open(place->store, NULL, &r->store, &err), err);
	rig_open(r);
}

static void projection_run(const char *dir)
{
	test_place place;
	rig r;

	projection_open(&r, &place, dir);
	rig_settle(&r);
	disk_trace_mark(SAID_APPLIED);
	rig_rebuild(&r, true);
	rig_settle(&r);
	disk_trace_mark(SAID_PROMOTED);
	rig_fini(&r);
}

/* The model is there from before the crash: never gone, nor older than what was
 * seen to be applied. */
static void projection_is_readable(const char *dir, uint64_t marked)
{
	uint64_t least = marked >= SAID_APPLIED ? 50 : 30;
	wb_error err = WB_ERROR_INIT;
	wb_read *read = NULL;

	assert_ok(wb_read_open(test_path(dir, "store"), "things", NULL, &read,
			       &err),
		  err);
	assert_ok(wb_read_begin(read, &err), err);
	assert_true(wb_read_position(read) >= least);
	wb_read_end(read);
	wb_read_close(read);
}

/* The generation that readers are sent to. */
static unsigned projection_live(const char *dir)
{
	const char *path = test_path(dir, "store/projections/things/current");
	unsigned live = 0;
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "waybill read model 1 live %u", &live), 1);
	assert_int_equal(fclose(file), 0);
	return live;
}

/* It is another boot of the machine: what the note of a rebuild says must not be
 * this one, as it is where the machine only seems to have gone down. */
static void projection_reboot(const char *dir)
{
	const char *path = test_path(dir, "store/projections/things/building");
	FILE *file = fopen(path, "r+");
	char text[512] = "";
	char *boot;

	if (!file)
		return; /* nothing was being built */
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	boot = strstr(text, "boot ");
	if (boot) {
		assert_int_equal(fseek(file, boot - text + 5, SEEK_SET), 0);
		assert_int_equal(fputc(boot[5] == 'x' ? 'y' : 'x', file),
				 boot[5] == 'x' ? 'y' : 'x');
	}
	assert_int_equal(fclose(file), 0);
}

static void projection_check(const char *dir, uint64_t marked)
{
	char model[33], fresh[33];
	test_place place;
	rig r;

	crash_assert_sound(test_path(dir, "store"));
	projection_is_readable(dir, marked);
	if (marked == SAID_PROMOTED)
		assert_true(projection_live(dir) == 2);
	projection_reboot(dir);
	projection_open(&r, &place, dir);
	rig_settle(&r);
	rig_digest(&r, 0, model);
	rig_fresh_digest(&r, fresh);
	assert_string_equal(model, fresh);
	rig_rebuild(&r, true);
	rig_settle(&r);
	rig_digest(&r, 0, model);
	assert_string_equal(model, fresh);
	rig_fini(&r);
}

const crash_work crash_projection = {"projection", projection_prepare,
				     projection_run, projection_check};
