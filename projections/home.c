/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The directory of a read model and the generations that this process has open
 * there.
 *
 * What says which generation is live is one small file, replaced by a rename:
 * a crash leaves the old one or the new one. Numbers of generations are never
 * used twice (`next` is durable before a directory is made), so that whoever
 * still reads a removed one cannot take another for it.
 *
 * The list of open generations is under a mutex; a generation is used without.
 */
#include "projections/home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/store/place.h"

enum { HOME_OPEN_MAX = 8 };

typedef struct home_open {
	wbi_generation *gen;
	unsigned refs;
} home_open;

struct wbi_home {
	char dir[PATH_MAX];
	char name[WBI_MODEL_NAME_MAX + 1];
	int lock_fd;
	pthread_mutex_t lock;
	unsigned refs;              /* under the lock */
	home_open open[HOME_OPEN_MAX]; /* likewise */
};

const char *wbi_home_dir(const wbi_home *home)
{
	return home->dir;
}

const char *wbi_home_name(const wbi_home *home)
{
	return home->name;
}

/* ---- open ---------------------------------------------------------------- */

static wb_code home_dir(const char *base, const char *name, bool make,
			char ret[PATH_MAX], wb_error *err)
{
	char parent[PATH_MAX];
	bool made = false;
	wb_code code;

	code = wbi_place_join(base, "projections", parent, sizeof(parent), err);
	if (code == WB_OK)
		code = wbi_place_join(parent, name, ret, PATH_MAX, err);
	if (code == WB_OK && strlen(ret) + 64 > PATH_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "the path is too long");
	if (code == WB_OK && make) {
		code = wbi_place_make_dir(parent, &made, err);
		if (code == WB_OK && made)
			code = wbi_place_sync_parent(parent, err);
		if (code == WB_OK)
			code = wbi_place_make_dir(ret, &made, err);
		if (code == WB_OK && made)
			code = wbi_place_sync_parent(ret, err);
	}
	if (code == WB_OK && access(ret, F_OK) != 0)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"no projection %s in \"%s\": it is made by "
				"whoever runs it first",
				name, base);
	if (code == WB_OK)
		code = wbi_place_check_dir(ret, NULL, err);
	return code;
}

static wb_code home_lock(wbi_home *home, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	char path[PATH_MAX];
	wb_code code = wbi_place_join(home->dir, "open.lock", path,
				      sizeof(path), err);

	if (code != WB_OK)
		return code;
	code = wbi_place_lock(path, &home->lock_fd, &cause);
	if (code == WB_EBUSY)
		return WBI_FAIL(err, code,
				"this process has the projection %s open "
				"already: read through what has it "
				"(wb_read_open_projector, "
				"wb_read_open_beside)",
				home->name);
	return code == WB_OK
		       ? WB_OK
		       : WBI_FAIL_FOREIGN(err, code, cause.foreign, "%s",
					  cause.text);
}

wb_code wbi_home_open(const char *dir, const char *name, bool make,
		      wbi_home **ret, wb_error *err)
{
	char path[PATH_MAX];
	wbi_home *home;
	wb_code code;

	if (!dir || !wbi_model_name_ok(name))
		return WBI_FAIL(err, WB_EINVAL,
				"a projection is named by a directory and 1 to "
				"%d of a-z 0-9 . _ -",
				WBI_MODEL_NAME_MAX);
	code = home_dir(dir, name, make, path, err);
	if (code != WB_OK)
		return code;
	home = calloc(1, sizeof(*home));
	if (!home)
		return WBI_FAIL(err, WB_ENOMEM, "open a projection");
	if (!realpath(path, home->dir)) {
		code = wbi_fail_errno(err, errno, __func__, "\"%s\"", path);
		free(home);
		return code;
	}
	snprintf(home->name, sizeof(home->name), "%s", name);
	home->refs = 1;
	code = home_lock(home, err);
	if (code != WB_OK) {
		free(home);
		return code;
	}
	pthread_mutex_init(&home->lock, NULL);
	*ret = home;
	return WB_OK;
}

wbi_home *wbi_home_ref(wbi_home *home)
{
	pthread_mutex_lock(&home->lock);
	home->refs++;
	pthread_mutex_unlock(&home->lock);
	return home;
}

void wbi_home_unref(wbi_home *home)
{
	unsigned left;

	if (!home)
		return;
	pthread_mutex_lock(&home->lock);
	left = --home->refs;
	pthread_mutex_unlock(&home->lock);
	if (left > 0)
		return;
	for (size_t i = 0; i < HOME_OPEN_MAX; i++)
		WB_ASSERT(!home->open[i].gen);
	pthread_mutex_destroy(&home->lock);
	close(home->lock_fd);
	free(home);
}

/* ---- small files --------------------------------------------------------- */

static void home_path(const wbi_home *home, const char *file, const char *more,
		      char ret[PATH_MAX])
{
	int n = snprintf(ret, PATH_MAX, "%s/%s%s", home->dir, file, more);

	WB_ASSERT(n > 0 && n < PATH_MAX);
}

bool wbi_home_has(const wbi_home *home, const char *file)
{
	char path[PATH_MAX];

	home_path(home, file, "", path);
	return access(path, F_OK) == 0;
}

wb_code wbi_home_read(const wbi_home *home, const char *file,
		      char ret[WBI_HOME_FILE_MAX], wb_error *err)
{
	char path[PATH_MAX];
	ssize_t len;
	int fd, failed;

	home_path(home, file, "", path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return WB_ENOTFOUND;
	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", path);
	len = read(fd, ret, WBI_HOME_FILE_MAX - 1);
	failed = len < 0 ? errno : 0;
	close(fd);
	if (failed)
		return wbi_fail_errno(err, failed, __func__, "\"%s\"", path);
	ret[len] = '\0';
	return WB_OK;
}

static int home_write_file(const char *path, const char *text)
{
	size_t len = strlen(text);
	int failed = 0;
	int fd = open(path,
		      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		      0600);

	if (fd < 0)
		return errno;
	errno = EIO; /* for a short write */
	if (write(fd, text, len) != (ssize_t)len || fsync(fd))
		failed = errno;
	close(fd);
	return failed;
}

wb_code wbi_home_write(const wbi_home *home, const char *file, const char *text,
		       wb_error *err)
{
	char path[PATH_MAX], temporary[PATH_MAX], suffix[32];
	int failed;

	WB_ASSERT(strlen(text) < WBI_HOME_FILE_MAX);
	snprintf(suffix, sizeof(suffix), ".%ld.new", (long)getpid());
	home_path(home, file, "", path);
	home_path(home, file, suffix, temporary);
	failed = home_write_file(temporary, text);
	if (!failed && rename(temporary, path))
		failed = errno;
	if (failed) {
		unlink(temporary);
		return wbi_fail_errno(err, failed, __func__, "write \"%s\"",
				      path);
	}
	return wbi_place_sync_dir(home->dir, err);
}

wb_code wbi_home_unlink(const wbi_home *home, const char *file, wb_error *err)
{
	char path[PATH_MAX];

	home_path(home, file, "", path);
	if (unlink(path)) {
		if (errno == ENOENT)
			return WB_OK;
		return wbi_fail_errno(err, errno, __func__, "remove \"%s\"",
				      path);
	}
	return wbi_place_sync_dir(home->dir, err);
}

/* ---- the pointer --------------------------------------------------------- */

#define HOME_POINTER_TEXT                                                     \
	"waybill read model 1\nlive %u\nformer %u\nnext %u\nrolled-back %u\n"

wb_code wbi_home_pointer(const wbi_home *home, wbi_pointer *ret, wb_error *err)
{
	char text[WBI_HOME_FILE_MAX], again[WBI_HOME_FILE_MAX];
	unsigned live, former, next, back;
	wb_code code = wbi_home_read(home, "current", text, err);

	if (code == WB_ENOTFOUND) {
		*ret = (wbi_pointer){.next = 1};
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	/* NOLINTNEXTLINE(cert-err34-c): it must read the same, written again */
	if (sscanf(text, HOME_POINTER_TEXT, &live, &former, &next, &back) == 4) {
		snprintf(again, sizeof(again), HOME_POINTER_TEXT, live, former,
			 next, back);
		if (!strcmp(text, again) && back <= 1 && live < next &&
		    former < next) {
			*ret = (wbi_pointer){live, former, next, back == 1};
			return WB_OK;
		}
	}
	return WBI_FAIL(err, WB_ECORRUPT,
			"\"%s/current\" is damaged: it should say which "
			"generation is live; remove the directory, and the "
			"model is made anew",
			home->dir);
}

wb_code wbi_home_flip(const wbi_home *home, const wbi_pointer *pointer,
		      wb_error *err)
{
	char text[WBI_HOME_FILE_MAX];

	WB_ASSERT(pointer->live < pointer->next);
	WB_ASSERT(pointer->former < pointer->next);
	snprintf(text, sizeof(text), HOME_POINTER_TEXT, pointer->live,
		 pointer->former, pointer->next, pointer->rolled_back);
	return wbi_home_write(home, "current", text, err);
}

wbi_stamp wbi_home_stamp(const wbi_home *home)
{
	wbi_stamp stamp = {0, 0};
	char path[PATH_MAX];
	struct stat st;

	home_path(home, "current", "", path);
	if (stat(path, &st) == 0) {
		stamp.inode = st.st_ino;
		stamp.time_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
				(uint64_t)st.st_mtim.tv_nsec;
	}
	return stamp;
}

/* ---- generations --------------------------------------------------------- */

static void home_generation_path(const wbi_home *home, uint32_t number,
				 const char *file, char ret[PATH_MAX])
{
	char name[64];

	snprintf(name, sizeof(name), "gen-%u%s", number, file);
	home_path(home, name, "", ret);
}

/* Under the lock. NULL: every place is taken. */
static home_open *home_find(wbi_home *home, uint32_t number)
{
	home_open *free_one = NULL;

	for (size_t i = 0; i < HOME_OPEN_MAX; i++) {
		home_open *o = &home->open[i];

		if (o->gen && o->gen->number == number)
			return o;
		if (!o->gen && !free_one)
			free_one = o;
	}
	return free_one;
}

static wb_code home_take_locked(wbi_home *home, uint32_t number,
				const wbi_generation_options *options,
				wbi_generation **ret, wb_error *err)
{
	home_open *o = home_find(home, number);
	char path[PATH_MAX];
	wb_code code;

	if (!o)
		return WBI_FAIL(err, WB_ELIMIT,
				"projection %s: %d generations are open "
				"already",
				home->name, HOME_OPEN_MAX);
	if (!o->gen) {
		home_generation_path(home, number, "", path);
		code = wbi_generation_open(path, number, options, &o->gen, err);
		if (code != WB_OK)
			return code;
	}
	o->refs++;
	*ret = o->gen;
	return WB_OK;
}

wb_code wbi_home_take(wbi_home *home, uint32_t number,
		      const wbi_generation_options *options,
		      wbi_generation **ret, wb_error *err)
{
	wb_code code;

	pthread_mutex_lock(&home->lock);
	code = home_take_locked(home, number, options, ret, err);
	pthread_mutex_unlock(&home->lock);
	return code;
}

wb_code wbi_home_make(wbi_home *home, uint32_t number, const wbi_shape *shape,
		      const char *origin, const wbi_generation_options *options,
		      wbi_generation **ret, wb_error *err)
{
	char path[PATH_MAX];
	wbi_generation *made = NULL;
	home_open *o;
	wb_code code = wbi_home_remove(home, number, err);

	home_generation_path(home, number, "", path);
	if (code == WB_OK)
		code = wbi_place_make_dir(path, NULL, err);
	if (code == WB_OK)
		code = wbi_place_sync_dir(home->dir, err);
	if (code != WB_OK)
		return code;
	pthread_mutex_lock(&home->lock);
	o = home_find(home, number);
	WB_ASSERT(!o || !o->gen);
	if (!o)
		code = WBI_FAIL(err, WB_ELIMIT,
				"projection %s: %d generations are open "
				"already",
				home->name, HOME_OPEN_MAX);
	else
		code = wbi_generation_make(path, number, shape, origin, options,
					   &o->gen, err);
	if (code == WB_OK) {
		o->refs = 1;
		made = o->gen;
	}
	pthread_mutex_unlock(&home->lock);
	if (code == WB_OK)
		code = wbi_place_sync_dir(path, err);
	if (code == WB_OK)
		*ret = made;
	else
		wbi_home_give(home, made);
	return code;
}

void wbi_home_give(wbi_home *home, wbi_generation *gen)
{
	home_open *o;

	if (!gen)
		return;
	pthread_mutex_lock(&home->lock);
	o = home_find(home, gen->number);
	WB_ASSERT(o && o->gen == gen && o->refs > 0);
	if (--o->refs == 0) {
		wbi_generation_close(gen);
		o->gen = NULL;
	}
	pthread_mutex_unlock(&home->lock);
}

static int home_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

wb_code wbi_home_list(const wbi_home *home, uint32_t *ret, size_t max,
		      size_t *ret_count, wb_error *err)
{
	DIR *dir = opendir(home->dir);
	struct dirent *entry;
	size_t count = 0;
	unsigned number;
	char end;

	if (!dir)
		return wbi_fail_errno(err, errno, __func__, "\"%s\"",
				      home->dir);
	while (count < max && (entry = readdir(dir)) != NULL)
		/* NOLINTNEXTLINE(cert-err34-c): others have no such names */
		if (sscanf(entry->d_name, "gen-%u%c", &number, &end) == 1)
			ret[count++] = number;
	closedir(dir);
	qsort(ret, count, sizeof(*ret), home_compare);
	*ret_count = count;
	return WB_OK;
}

wb_code wbi_home_remove(wbi_home *home, uint32_t number, wb_error *err)
{
	static const char *const files[] = {"/data.mdb", "/lock.mdb"};
	char path[PATH_MAX];

	for (size_t i = 0; i < WBI_COUNT(files); i++) {
		home_generation_path(home, number, files[i], path);
		if (unlink(path) && errno != ENOENT)
			return wbi_fail_errno(err, errno, __func__,
					      "remove \"%s\"", path);
	}
	home_generation_path(home, number, "", path);
	if (rmdir(path) && errno != ENOENT)
		return wbi_fail_errno(err, errno, __func__, "remove \"%s\"",
				      path);
	return WB_OK;
}
