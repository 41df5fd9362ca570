/* SPDX-License-Identifier: BSD-2-Clause */
/* See scratch.h. A simulator that is killed leaves its directory behind. */
#include "config.h" /* first: it asks for nftw */

#include "tests/kit/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *kit_scratch_base(void)
{
	const char *tmp = getenv("TMPDIR");

	if (access("/dev/shm", W_OK) == 0)
		return "/dev/shm";
	return tmp ? tmp : "/tmp";
}

bool kit_scratch_make(const char *base, char dir[PATH_MAX])
{
	snprintf(dir, PATH_MAX, "%s/waybill-sim-XXXXXX", base);
	if (mkdtemp(dir))
		return true;
	dir[0] = '\0';
	return false;
}

static int scratch_remove(const char *path, const struct stat *st, int kind,
			  struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void kit_scratch_remove(const char *dir)
{
	if (dir[0] != '\0')
		nftw(dir, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}
