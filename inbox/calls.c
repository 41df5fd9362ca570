/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A head that says what the file is, then 65 slots of 512 bytes. Each slot has
 * one writer, the thread that makes its calls, and any number of readers in
 * other processes, so it goes by a sequence number: its lower two bits say
 * EMPTY, WRITING or NOTED, the others change with each call. A reader that sees
 * the same NOTED number before and behind its copy has a whole one; a process
 * that dies while WRITING had not begun the call yet.
 *
 * The blocks of the file are allocated when it is made: a store into a hole on
 * a full disk would be a SIGBUS. Nothing is synced. After the machine itself
 * went down whatever the disk has of it is of another boot, and is dropped: no
 * event is to blame for that.
 */
#include "inbox/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"

enum {
	CALLS_VERSION = 2,
	CALLS_SLOT_SIZE = 512,
	CALLS_WORDS = 61, /* of a slot's text */
	CALLS_BOOT_MAX = 64,
	CALLS_TRIES = 64 /* of a reader */
};

static const char calls_magic[8] = "wbcalls";

enum calls_phase { CALLS_EMPTY = 0, CALLS_WRITING = 1, CALLS_NOTED = 2 };

typedef struct calls_head {
	char magic[8];
	uint32_t version, slots, slot_size;
	char boot[CALLS_BOOT_MAX];
	uint32_t crc; /* of all before it */
	uint8_t pad[CALLS_SLOT_SIZE - 8 - 3 * 4 - CALLS_BOOT_MAX - 4];
} calls_head;

/* What a slot says, as it is copied in and out. */
typedef struct calls_text {
	uint32_t crc; /* of all behind it */
	uint32_t deadline_ms;
	int64_t started_us;
	uint64_t position;
	uint8_t lane, due, consumer_len, key_len;
	char strings[WBI_CONSUMER_NAME_MAX + 255];
} calls_text;

/* Words, since a reader may look while the writer writes. */
typedef struct calls_slot {
	_Atomic uint32_t sequence;
	_Atomic uint32_t end; /* enum wbi_call_end; by whoever knows */
	_Atomic uint64_t words[CALLS_WORDS];
	_Atomic uint64_t identity;
	_Atomic uint64_t thread; /* its pthread_self(): no system call */
} calls_slot;

typedef struct calls_page {
	calls_head head;
	calls_slot slots[WBI_CALLS_MAX];
} calls_page;

_Static_assert(sizeof(calls_head) == CALLS_SLOT_SIZE, "head");
_Static_assert(sizeof(calls_slot) == CALLS_SLOT_SIZE, "slot");
_Static_assert(sizeof(calls_text) <= CALLS_WORDS * sizeof(uint64_t), "text");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "no locks in a shared page");

struct wbi_calls {
	calls_page *page;
};

/* ---- the file ----------------------------------------------------------- */

/* Which start of the machine this is; "" if it does not say. */
static void calls_boot(char ret[CALLS_BOOT_MAX])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	memset(ret, 0, CALLS_BOOT_MAX);
	if (fd < 0)
		return;
	n = read(fd, ret, CALLS_BOOT_MAX - 1);
	close(fd);
	if (n < 0)
		ret[0] = '\0';
}

static void calls_head_make(calls_head *head)
{
	memset(head, 0, sizeof(*head));
	memcpy(head->magic, calls_magic, sizeof(head->magic));
	head->version = CALLS_VERSION;
	head->slots = WBI_CALLS_MAX;
	head->slot_size = CALLS_SLOT_SIZE;
	calls_boot(head->boot);
	head->crc = wbi_crc32c(0, head, offsetof(calls_head, crc));
}

/* A file of the right size, all of it on the disk. */
static wb_code calls_file(const char *path, int *ret_fd, wb_error *err)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? errno : 0;

	if (rc == 0 && fstat(fd, &st))
		rc = errno;
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = EINVAL;
	if (rc == 0 && st.st_size > (off_t)sizeof(calls_page) &&
	    ftruncate(fd, 0))
		rc = errno;
	if (rc == 0)
		rc = posix_fallocate(fd, 0, sizeof(calls_page));
	if (rc == 0) {
		*ret_fd = fd;
		return WB_OK;
	}
	if (fd >= 0)
		close(fd);
	return wbi_fail_errno(err, rc, __func__, "%s", path);
}

static void calls_prepare(calls_page *page)
{
	calls_head head;

	calls_head_make(&head);
	if (!memcmp(&page->head, &head, sizeof(head)))
		return;
	memset(page, 0, sizeof(*page));
	page->head = head;
}

wb_code wbi_calls_open(const char *dir, wbi_calls **ret, wb_error *err)
{
	char path[PATH_MAX];
	wbi_calls *calls;
	calls_page *page;
	wb_code code;
	int fd = -1;

	if ((size_t)snprintf(path, sizeof(path), "%s/calls", dir) >=
	    sizeof(path))
		return WBI_FAIL(err, WB_EINVAL, "%s: the path is too long",
				dir);
	calls = calloc(1, sizeof(*calls));
	if (!calls)
		return WBI_FAIL(err, WB_ENOMEM, "%s: no memory", path);
	code = calls_file(path, &fd, err);
	if (code != WB_OK) {
		free(calls);
		return code;
	}
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	if (page == MAP_FAILED) {
		code = wbi_fail_errno(err, errno, __func__, "%s", path);
		close(fd);
		free(calls);
		return code;
	}
	close(fd);
	calls_prepare(page);
	calls->page = page;
	*ret = calls;
	return WB_OK;
}

void wbi_calls_close(wbi_calls *calls)
{
	if (!calls)
		return;
	munmap(calls->page, sizeof(*calls->page));
	free(calls);
}

/* ---- slots -------------------------------------------------------------- */

static calls_slot *calls_slot_of(const wbi_calls *calls, unsigned slot)
{
	WB_ASSERT(slot < WBI_CALLS_MAX);
	return &calls->page->slots[slot];
}

/* The next sequence number of a slot for this phase. */
static uint32_t calls_sequence(calls_slot *slot, enum calls_phase phase)
{
	uint32_t now = atomic_load_explicit(&slot->sequence,
					    memory_order_relaxed);

	return (now & ~3u) + (phase == CALLS_EMPTY ? 4 : 0) + phase;
}

static size_t calls_text_size(const calls_text *text)
{
	return offsetof(calls_text, strings) + text->consumer_len +
	       text->key_len;
}

static uint32_t calls_text_crc(const calls_text *text)
{
	size_t from = offsetof(calls_text, deadline_ms);

	return wbi_crc32c(0, (const char *)text + from,
			  calls_text_size(text) - from);
}

void wbi_calls_identify(wbi_calls *calls, unsigned slot, uint64_t identity)
{
	atomic_store_explicit(&calls_slot_of(calls, slot)->identity, identity,
			      memory_order_relaxed);
}

void wbi_calls_enter(wbi_calls *calls, unsigned slot, const wbi_work_id *id,
		     bool due, uint32_t deadline_ms, int64_t now_us)
{
	calls_slot *s = calls_slot_of(calls, slot);
	uint64_t words[CALLS_WORDS];
	calls_text text = {.deadline_ms = deadline_ms,
			   .started_us = now_us,
			   .position = id->position,
			   .lane = id->lane,
			   .due = due,
			   .consumer_len = (uint8_t)id->consumer.len,
			   .key_len = (uint8_t)id->key.len};
	size_t count;

	WB_ASSERT(id->consumer.len <= WBI_CONSUMER_NAME_MAX);
	WB_ASSERT(id->key.len <= 255);
	if (id->consumer.len > 0)
		memcpy(text.strings, id->consumer.ptr, id->consumer.len);
	if (id->key.len > 0)
		memcpy(text.strings + id->consumer.len, id->key.ptr,
		       id->key.len);
	text.crc = calls_text_crc(&text);
	memcpy(words, &text, sizeof(text));
	count = (calls_text_size(&text) + 7) / 8;

	atomic_store_explicit(&s->sequence, calls_sequence(s, CALLS_WRITING),
			      memory_order_relaxed);
	/* Each of them behind WRITING; no fence, since TSan knows none. */
	atomic_store_explicit(&s->end, WBI_CALL_UNKNOWN, memory_order_release);
	atomic_store_explicit(&s->thread, (uint64_t)pthread_self(),
			      memory_order_release);
	for (size_t i = 0; i < count; i++)
		atomic_store_explicit(&s->words[i], words[i],
				      memory_order_release);
	atomic_store_explicit(&s->sequence, calls_sequence(s, CALLS_NOTED),
			      memory_order_release);
}

void wbi_calls_leave(wbi_calls *calls, unsigned slot)
{
	calls_slot *s = calls_slot_of(calls, slot);

	atomic_store_explicit(&s->sequence, calls_sequence(s, CALLS_EMPTY),
			      memory_order_release);
}

/* A whole copy, or false. */
static bool calls_copy(calls_slot *s, calls_text *ret, uint8_t *ret_end)
{
	uint32_t before = atomic_load_explicit(&s->sequence,
					       memory_order_acquire);
	uint64_t words[CALLS_WORDS];

	if ((before & 3) != CALLS_NOTED)
		return false;
	for (size_t i = 0; i < CALLS_WORDS; i++)
		words[i] = atomic_load_explicit(&s->words[i],
						memory_order_acquire);
	*ret_end = (uint8_t)atomic_load_explicit(&s->end, memory_order_acquire);
	memcpy(ret, words, sizeof(*ret));
	return atomic_load_explicit(&s->sequence, memory_order_relaxed) ==
	       before;
}

bool wbi_calls_get(const wbi_calls *calls, unsigned slot, wbi_call_noted *ret)
{
	calls_slot *s = calls_slot_of(calls, slot);
	calls_text text;
	uint8_t end;
	int tries = 0;

	while (!calls_copy(s, &text, &end))
		if (++tries == CALLS_TRIES)
			return false;
	if (text.consumer_len > WBI_CONSUMER_NAME_MAX ||
	    text.crc != calls_text_crc(&text))
		return false;
	memcpy(ret->strings, text.strings, sizeof(ret->strings));
	ret->id = (wbi_work_id){
		wb_str_n(ret->strings, text.consumer_len), text.lane,
		wb_str_n(ret->strings + text.consumer_len, text.key_len),
		text.position};
	ret->due = text.due != 0;
	ret->end = end <= WBI_CALL_HUNG ? end : WBI_CALL_UNKNOWN;
	ret->started_us = text.started_us;
	ret->deadline_ms = text.deadline_ms;
	ret->identity = atomic_load_explicit(
		&calls_slot_of(calls, slot)->identity, memory_order_relaxed);
	return true;
}

void wbi_calls_mark(wbi_calls *calls, unsigned slot, wbi_call_end end)
{
	atomic_store_explicit(&calls_slot_of(calls, slot)->end, (uint32_t)end,
			      memory_order_relaxed);
}

bool wbi_calls_mark_self(wbi_calls *calls, wbi_call_end end)
{
	uint64_t self = (uint64_t)pthread_self();

	for (unsigned i = 0; i < WBI_CALLS_MAX; i++) {
		calls_slot *s = &calls->page->slots[i];

		if ((atomic_load_explicit(&s->sequence, memory_order_relaxed) &
		     3) != CALLS_NOTED ||
		    atomic_load_explicit(&s->thread, memory_order_relaxed) !=
			    self)
			continue;
		atomic_store_explicit(&s->end, (uint32_t)end,
				      memory_order_relaxed);
		return true;
	}
	return false;
}

void wbi_calls_clear(wbi_calls *calls)
{
	for (unsigned i = 0; i < WBI_CALLS_MAX; i++)
		wbi_calls_leave(calls, i);
}
