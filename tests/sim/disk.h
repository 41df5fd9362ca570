/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk below read models: which files have bytes that a power cut would
 * take, and renames and removals that a dying process may not come to. Its
 * pwrite(), writev(), fdatasync(), fsync(), rename() and unlink() stand before
 * libc's; they do as those do while nobody watches.
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include <stdbool.h>

/* May this process still change that name? */
typedef bool sim_disk_judge(void *ctx, const char *path);

/* Watch what is written from here on; NULL: no more. What was noted stays. */
void sim_disk_watch(sim_disk_judge *judge, void *ctx);
/* The power fails: what was written to the file and not synced is gone. Who has
 * it open must have closed it. True: there was something. */
bool sim_disk_cut(const char *path);
void sim_disk_forget(void);

#endif
