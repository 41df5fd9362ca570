/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into a program under test, this library counts the program's calls
 * of LMDB and of the kernel's calls that change a file or talk to a socket,
 * and ends the process by SIGKILL right before or right after one of them:
 *
 *   KILLPOINT_N      at which call; 0 or unset: none, only count
 *   KILLPOINT_WHEN   before | after | partial: do half of a write, then die
 *   KILLPOINT_LOG    a file to add to: with N, one line on where it died, else
 *                    one line per call
 *
 * A line is "ordinal function nth txn unconfirmed unacked handling": the call's
 * number, its name, which call of that function it is, how many write
 * transactions were open, how many messages had left without a confirm and how
 * many had come without an ack, and how many calls of handlers were in
 * progress. For the messages the bytes on sockets are read as AMQP frames: one
 * connection that publishes, one that consumes. A handler under test that
 * knows of this library says itself when it is called (killpoint_handling).
 *
 * Nothing is allocated. The state is global: a preloaded library has nowhere
 * else to keep it. Its own lines go out by syscall(2), past itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define KILLPOINT __attribute__((visibility("default")))

enum killpoint_when { BEFORE, AFTER, PARTIAL };

enum { KILLPOINT_NAMES = 40, TAGS_MAX = 8192,
       WRITERS_MAX = 8, FDS_MAX = 64 };

/* One function: where the next library has it, and how often it was called. */
typedef struct point {
	const char *name;
	void *real;
	unsigned long count;
} point;

/* Reads AMQP frames as they pass; only the head of each matters. */
typedef struct frames {
	uint8_t head[7 + 4 + 9]; /* frame, class and method, tag and bits */
	size_t have;
	uint64_t skip;
} frames;

static point points[KILLPOINT_NAMES];
static size_t point_count;
static atomic_ulong calls;
static unsigned long kill_at;
static enum killpoint_when kill_when;
static int log_fd = -1;
static MDB_txn *writers[WRITERS_MAX]; /* open, not nested */
static frames to_broker[FDS_MAX], to_client[FDS_MAX]; /* by descriptor */
static bool confirmed[TAGS_MAX];
static uint64_t published, delivered, acked;
static int publisher = -1, consumer = -1; /* their sockets */
static atomic_flag naming = ATOMIC_FLAG_INIT;

KILLPOINT extern atomic_int killpoint_handling;
atomic_int killpoint_handling;

__attribute__((constructor)) static void killpoint_init(void)
{
	const char *n = getenv("KILLPOINT_N"), *when = getenv("KILLPOINT_WHEN");
	const char *path = getenv("KILLPOINT_LOG");

	kill_at = n ? strtoul(n, NULL, 10) : 0;
	if (when && !strcmp(when, "after"))
		kill_when = AFTER;
	if (when && !strcmp(when, "partial"))
		kill_when = PARTIAL;
	if (path)
		log_fd = (int)syscall(SYS_openat, AT_FDCWD, path,
				      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
				      0600);
}

/* ---- what the socket says ----------------------------------------------- */

static uint64_t frames_number(const uint8_t *at, size_t size)
{
	uint64_t n = 0;

	while (size-- > 0)
		n = n << 8 | *at++;
	return n;
}

static unsigned frames_unconfirmed(void)
{
	unsigned n = 0;

	for (uint64_t tag = 1; tag <= published && tag < TAGS_MAX; tag++)
		n += !confirmed[tag];
	return n;
}

static void frames_confirm(uint64_t tag, bool multiple)
{
	for (uint64_t t = multiple ? 1 : tag; t <= tag && t < TAGS_MAX; t++)
		confirmed[t] = true;
}

/* Tags count from 1, where publishing or consuming begins. */
static void frames_sent(uint32_t method, uint64_t tag, int fd)
{
	if (method == (60 << 16 | 40)) { /* basic.publish */
		if (++published < TAGS_MAX)
			confirmed[published] = false;
	} else if (method == (85 << 16 | 10)) { /* confirm.select */
		publisher = fd;
		published = 0;
	} else if (method == (60 << 16 | 20)) { /* basic.consume */
		consumer = fd;
		delivered = acked = 0;
	} else if (method == (60 << 16 | 80) && tag > acked) { /* basic.ack */
		acked = tag;
	}
}

/* The first bytes of a frame are there. */
static void frames_take(const frames *f, bool sent, int fd)
{
	uint32_t method = (uint32_t)frames_number(f->head + 7, 4);
	uint64_t tag = frames_number(f->head + 11, 8);

	if (f->head[0] != 1)
		return;
	if (sent)
		frames_sent(method, tag, fd);
	else if (method == (60 << 16 | 60)) /* basic.deliver */
		delivered++;
	else if (method == (60 << 16 | 80) || method == (60 << 16 | 120))
		frames_confirm(tag, f->head[19] & 1);
}

static void frames_feed(frames *all, int fd, const uint8_t *bytes, size_t len,
			bool sent)
{
	frames *f;

	if (fd < 0 || fd >= FDS_MAX)
		return;
	f = &all[fd];
	for (size_t i = 0; i < len; i++) {
		size_t want = 7;

		if (f->skip > 0) {
			f->skip--;
			continue;
		}
		f->head[f->have++] = bytes[i];
		if (sent && f->have == 4 && !memcmp(f->head, "AMQP", 4)) {
			f->have = 0;
			f->skip = 4;
			continue;
		}
		if (f->have >= 7)
			want += frames_number(f->head + 3, 4) + 1;
		if (want > sizeof(f->head))
			want = sizeof(f->head);
		if (f->have < want || f->have < 8)
			continue;
		frames_take(f, sent, fd);
		f->skip = 7 + frames_number(f->head + 3, 4) + 1 - f->have;
		f->have = 0;
	}
}

static void frames_reset(int fd)
{
	if (fd < 0 || fd >= FDS_MAX)
		return;
	to_broker[fd] = to_client[fd] = (frames){.have = 0};
	if (fd == publisher)
		published = 0;
	if (fd == consumer)
		delivered = acked = 0;
}

/* ---- write transactions -------------------------------------------------- */

static void writers_replace(MDB_txn *from, MDB_txn *to)
{
	for (size_t i = 0; i < WRITERS_MAX; i++) {
		if (writers[i] != from)
			continue;
		writers[i] = to;
		return;
	}
}

static int writers_count(void)
{
	int n = 0;

	for (size_t i = 0; i < WRITERS_MAX; i++)
		n += writers[i] != NULL;
	return n;
}

/* ---- counting and dying -------------------------------------------------- */

static point *point_find(const char *name)
{
	for (size_t i = 0; i < point_count; i++)
		if (!strcmp(points[i].name, name))
			return &points[i];
	if (point_count == KILLPOINT_NAMES)
		abort();
	points[point_count].name = name;
	points[point_count].real = dlsym(RTLD_NEXT, name);
	return &points[point_count++];
}

static point *point_of(const char *name)
{
	point *p;

	while (atomic_flag_test_and_set(&naming))
		;
	p = point_find(name);
	atomic_flag_clear(&naming);
	return p;
}

static void point_log(unsigned long ordinal, const point *p)
{
	char line[160];
	int n;

	if (log_fd < 0)
		return;
	n = snprintf(line, sizeof(line), "%lu %s %lu %d %u %u %d\n",
		     ordinal, p->name, p->count, writers_count(),
		     frames_unconfirmed(), (unsigned)(delivered - acked),
		     atomic_load(&killpoint_handling));
	syscall(SYS_write, log_fd, line, (size_t)n);
}

static void point_die(unsigned long ordinal, const point *p)
{
	point_log(ordinal, p);
	for (;;)
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

/* Count a call of p; the call's number, for point_after. */
static unsigned long point_before(point *p)
{
	unsigned long ordinal = atomic_fetch_add(&calls, 1) + 1;

	p->count++;
	if (kill_at == 0)
		point_log(ordinal, p);
	else if (ordinal == kill_at && kill_when == BEFORE)
		point_die(ordinal, p);
	return ordinal;
}

/* Does this call die half way? Then the caller does half of it first. */
static bool point_is_partial(unsigned long ordinal)
{
	return ordinal == kill_at && kill_when == PARTIAL;
}

static void point_after(unsigned long ordinal, const point *p)
{
	if (ordinal == kill_at)
		point_die(ordinal, p);
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* ---- LMDB ---------------------------------------------------------------- */

KILLPOINT int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
			    MDB_txn **txn)
{
	point *p = point_of("mdb_txn_begin");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_env *, MDB_txn *, unsigned, MDB_txn **))
			  p->real)(env, parent, flags, txn);

	if (rc == 0 && !(flags & MDB_RDONLY) && !parent)
		writers_replace(NULL, *txn);
	point_after(n, p);
	return rc;
}

KILLPOINT int mdb_txn_commit(MDB_txn *txn)
{
	point *p = point_of("mdb_txn_commit");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_txn *))p->real)(txn);

	writers_replace(txn, NULL);
	point_after(n, p);
	return rc;
}

KILLPOINT void mdb_txn_abort(MDB_txn *txn)
{
	point *p = point_of("mdb_txn_abort");
	unsigned long n = point_before(p);

	((void (*)(MDB_txn *))p->real)(txn);
	writers_replace(txn, NULL);
	point_after(n, p);
}

KILLPOINT void mdb_txn_reset(MDB_txn *txn)
{
	point *p = point_of("mdb_txn_reset");
	unsigned long n = point_before(p);

	((void (*)(MDB_txn *))p->real)(txn);
	point_after(n, p);
}

KILLPOINT int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
	point *p = point_of("mdb_get");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *))
			  p->real)(txn, dbi, key, data);

	point_after(n, p);
	return rc;
}

KILLPOINT int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data,
		      unsigned flags)
{
	point *p = point_of("mdb_put");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned))
			  p->real)(txn, dbi, key, data, flags);

	point_after(n, p);
	return rc;
}

KILLPOINT int mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
	point *p = point_of("mdb_del");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *))
			  p->real)(txn, dbi, key, data);

	point_after(n, p);
	return rc;
}

KILLPOINT int mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			     MDB_cursor_op op)
{
	point *p = point_of("mdb_cursor_get");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_cursor *, MDB_val *, MDB_val *, MDB_cursor_op))
			  p->real)(cursor, key, data, op);

	point_after(n, p);
	return rc;
}

KILLPOINT int mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data,
			     unsigned flags)
{
	point *p = point_of("mdb_cursor_put");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_cursor *, MDB_val *, MDB_val *, unsigned))
			  p->real)(cursor, key, data, flags);

	point_after(n, p);
	return rc;
}

KILLPOINT int mdb_cursor_del(MDB_cursor *cursor, unsigned flags)
{
	point *p = point_of("mdb_cursor_del");
	unsigned long n = point_before(p);
	int rc = ((int (*)(MDB_cursor *, unsigned))p->real)(cursor, flags);

	point_after(n, p);
	return rc;
}

/* ---- files --------------------------------------------------------------- */

KILLPOINT ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	point *p = point_of("pwrite");
	unsigned long n = point_before(p);
	ssize_t rc = ((ssize_t(*)(int, const void *, size_t, off_t))p->real)(
		fd, bytes, point_is_partial(n) ? len / 2 : len, at);

	point_after(n, p);
	return rc;
}

KILLPOINT ssize_t write(int fd, const void *bytes, size_t len)
{
	point *p = point_of("write");
	unsigned long n = point_before(p);
	ssize_t rc = ((ssize_t(*)(int, const void *, size_t))p->real)(
		fd, bytes, point_is_partial(n) ? len / 2 : len);

	point_after(n, p);
	return rc;
}

KILLPOINT ssize_t writev(int fd, const struct iovec *parts, int count)
{
	point *p = point_of("writev");
	unsigned long n = point_before(p);
	ssize_t (*real)(int, const struct iovec *, int) = p->real;
	struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
	ssize_t rc;

	if (point_is_partial(n) && count > 1)
		rc = real(fd, parts, count / 2);
	else if (point_is_partial(n))
		rc = real(fd, &half, 1);
	else
		rc = real(fd, parts, count);
	point_after(n, p);
	return rc;
}

KILLPOINT int fdatasync(int fd)
{
	point *p = point_of("fdatasync");
	unsigned long n = point_before(p);
	int rc = ((int (*)(int))p->real)(fd);

	point_after(n, p);
	return rc;
}

KILLPOINT int fsync(int fd)
{
	point *p = point_of("fsync");
	unsigned long n = point_before(p);
	int rc = ((int (*)(int))p->real)(fd);

	point_after(n, p);
	return rc;
}

KILLPOINT int msync(void *at, size_t len, int flags)
{
	point *p = point_of("msync");
	unsigned long n = point_before(p);
	int rc = ((int (*)(void *, size_t, int))p->real)(at, len, flags);

	point_after(n, p);
	return rc;
}

KILLPOINT int ftruncate(int fd, off_t len)
{
	point *p = point_of("ftruncate");
	unsigned long n = point_before(p);
	int rc = ((int (*)(int, off_t))p->real)(fd, len);

	point_after(n, p);
	return rc;
}

KILLPOINT int flock(int fd, int operation)
{
	point *p = point_of("flock");
	unsigned long n = point_before(p);
	int rc = ((int (*)(int, int))p->real)(fd, operation);

	point_after(n, p);
	return rc;
}

KILLPOINT int rename(const char *from, const char *to)
{
	point *p = point_of("rename");
	unsigned long n = point_before(p);
	int rc = ((int (*)(const char *, const char *))p->real)(from, to);

	point_after(n, p);
	return rc;
}

/* ---- sockets ------------------------------------------------------------- */

KILLPOINT int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	point *p = point_of("connect");
	unsigned long n = point_before(p);
	int rc = ((int (*)(int, const struct sockaddr *, socklen_t))p->real)(
		fd, to, len);

	frames_reset(fd);
	point_after(n, p);
	return rc;
}

KILLPOINT ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	point *p = point_of("send");
	unsigned long n = point_before(p);
	ssize_t rc = ((ssize_t(*)(int, const void *, size_t, int))p->real)(
		fd, bytes, point_is_partial(n) ? len / 2 : len, flags);

	if (rc > 0)
		frames_feed(to_broker, fd, bytes, (size_t)rc, true);
	point_after(n, p);
	return rc;
}

static ssize_t receive(const char *name, int fd, void *bytes, size_t len,
		       int flags)
{
	point *p = point_of(name);
	unsigned long n = point_before(p);
	ssize_t rc = recvfrom(fd, bytes, len, flags, NULL, NULL);

	if (rc > 0)
		frames_feed(to_client, fd, bytes, (size_t)rc, false);
	point_after(n, p);
	return rc;
}

KILLPOINT ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	return receive("recv", fd, bytes, len, flags);
}

/* What recv and read become under _FORTIFY_SOURCE. */
KILLPOINT ssize_t __recv_chk(int fd, void *bytes, size_t len, size_t size,
			     int flags);
ssize_t __recv_chk(int fd, void *bytes, size_t len, size_t size, int flags)
{
	(void)size;
	return receive("recv", fd, bytes, len, flags);
}

KILLPOINT ssize_t read(int fd, void *bytes, size_t len)
{
	if (is_socket(fd))
		return receive("recv", fd, bytes, len, 0);
	return (ssize_t)syscall(SYS_read, fd, bytes, len);
}
