/* SPDX-License-Identifier: BSD-2-Clause */
/* A directory of a world's own, for its stores. */
#ifndef TESTS_KIT_SCRATCH_H
#define TESTS_KIT_SCRATCH_H

#include <limits.h>
#include <stdbool.h>

/* Where memory is a file system, else where TMPDIR says; static. */
const char *kit_scratch_base(void);

/* A new directory below `base`; false: there is none, and *dir is "". */
bool kit_scratch_make(const char *base, char dir[PATH_MAX]);

/* With all that is in it. "" is allowed. */
void kit_scratch_remove(const char *dir);

#endif
