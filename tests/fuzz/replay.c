/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls a fuzz target once for each file that it is given, or that is in a
 * directory it is given, in order of name. For compilers without libFuzzer.
 * The last line is the figure: how many inputs it took.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

/* A target that has nothing to prepare has no function for it. */
#pragma weak LLVMFuzzerInitialize

static unsigned long replay_count;

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = NULL;
	struct stat st;
	int failed = 1;

	if (file && !fstat(fileno(file), &st)) {
		bytes = malloc((size_t)st.st_size + (st.st_size == 0));
		if (bytes && fread(bytes, 1, (size_t)st.st_size, file) ==
				     (size_t)st.st_size)
			failed = 0;
	}
	if (file)
		fclose(file);
	if (failed) {
		perror(path);
	} else {
		if (getenv("WAYBILL_FUZZ_VERBOSE"))
			fprintf(stderr, "%s\n", path);
		LLVMFuzzerTestOneInput(bytes, (size_t)st.st_size);
		replay_count++;
	}
	free(bytes);
	return failed;
}

static int replay(const char *path)
{
	struct dirent **names;
	int failed = 0, count;
	struct stat st;

	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return replay_file(path);
	count = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		char file[PATH_MAX];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			failed |= replay_file(file);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	return failed || count < 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	printf("%lu inputs\n", replay_count);
	return failed;
}
