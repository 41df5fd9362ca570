/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program does to the files below one directory, recorded in its own
 * process: the calls that change files stand here before libc's, LMDB's
 * included. And what a disk may hold of it after the machine went down.
 *
 * The model of the disk is POSIX's: a write is durable behind the next fsync of
 * its file (or at once, through a descriptor opened with O_DSYNC), a name behind
 * an fsync of its directory. What is not durable may be there, or not, each
 * write for itself; a write may be there in part, by 512 bytes. lock.mdb is no
 * part of it: LMDB makes it anew.
 *
 * One thread; asserts on lack of memory.
 */
#ifndef TESTS_DISK_TRACE_H
#define TESTS_DISK_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DISK_PATH_MAX = 160, DISK_SECTOR = 512 };

typedef enum disk_op_kind {
	DISK_WRITE,
	DISK_TRUNCATE,
	DISK_CREATE,
	DISK_MKDIR,
	DISK_RENAME,
	DISK_UNLINK,
	DISK_SYNC, /* of a file or a directory */
	DISK_MARK  /* the program says how far it is */
} disk_op_kind;

typedef struct disk_op {
	disk_op_kind kind;
	bool durable;            /* by itself: O_DSYNC */
	char path[DISK_PATH_MAX]; /* below the directory */
	char to[DISK_PATH_MAX];   /* RENAME */
	uint64_t at;  /* WRITE, TRUNCATE: offset; MARK: the number */
	size_t len;
	uint8_t *bytes;
} disk_op;

typedef struct disk_trace disk_trace;

/* What is in `dir` now is on the disk; record from here on. One at a time. */
disk_trace *disk_trace_begin(const char *dir);
void disk_trace_end(disk_trace *trace);
void disk_trace_free(disk_trace *trace);
/* In what is being recorded; nothing if nothing is. */
void disk_trace_mark(uint64_t number);

size_t disk_trace_count(const disk_trace *trace);
const disk_op *disk_trace_op(const disk_trace *trace, size_t i);

/* Is op `i` durable once the first `count` ops are done? */
bool disk_trace_is_durable(const disk_trace *trace, size_t i, size_t count);

/* The last mark among the first `count` ops; 0: none. */
uint64_t disk_trace_marked(const disk_trace *trace, size_t count);

/*
 * Which of the first `count` ops are on the disk. `skip` (count entries) leaves
 * some out; of op `torn` (SIZE_MAX: none) only bytes from..to are there.
 */
typedef struct disk_state {
	size_t count;
	const bool *skip;
	size_t torn, from, to;
} disk_state;

/* Write the files as they are then into the new directory `dir`. */
void disk_trace_write(const disk_trace *trace, const disk_state *state,
		      const char *dir);

#endif
