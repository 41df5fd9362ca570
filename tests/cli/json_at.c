/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of the commands: read one JSON value (or with -l one a line,
 * all of which must parse) and print what stands at a path such as
 * events.0.state. Exit 1: not JSON, or nothing there.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json_t *step(const json_t *at, const char *name)
{
	if (json_is_array(at))
		return json_array_get(at, (size_t)atol(name));
	return json_object_get(at, name);
}

static int print_at(const json_t *root, char *path)
{
	const json_t *at = root;

	for (char *name = strtok(path, "."); name && at;
	     name = strtok(NULL, "."))
		at = step(at, name);
	if (!at)
		return 1;
	if (json_is_string(at))
		printf("%s\n", json_string_value(at));
	else if (json_is_array(at))
		printf("%zu\n", json_array_size(at)); /* how many */
	else if (json_dumpf(at, stdout, JSON_ENCODE_ANY | JSON_COMPACT) == 0)
		printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	int lines = argc > 1 && !strcmp(argv[1], "-l");
	size_t flags = JSON_REJECT_DUPLICATES |
		       (lines ? JSON_DISABLE_EOF_CHECK : 0);
	json_error_t error;
	json_t *root, *last = NULL;
	int code;

	for (;;) {
		root = json_loadf(stdin, flags, &error);
		if (!root)
			break;
		json_decref(last);
		last = root;
		if (!lines)
			break;
	}
	if (!last || (lines && !feof(stdin))) {
		fprintf(stderr, "not JSON: %s\n", error.text);
		return 1;
	}
	code = argc > 1 + lines ? print_at(last, argv[1 + lines]) : 0;
	json_decref(last);
	return code;
}
