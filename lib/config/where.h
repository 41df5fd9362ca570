/* SPDX-License-Identifier: BSD-2-Clause */
/* Where in a YAML text something stands. */
#ifndef WBI_WHERE_H
#define WBI_WHERE_H

#include <waybill/base.h>

enum { WBI_YAML_PATH_MAX = 8 };

/* One step down: into a mapping by key, or into a sequence by number. */
typedef struct wbi_yaml_step {
	char key[64]; /* "": then `index`, from 0 */
	size_t index;
} wbi_yaml_step;

typedef struct wbi_yaml_path {
	wbi_yaml_step steps[WBI_YAML_PATH_MAX];
	size_t count;
} wbi_yaml_path;

/* A step more; further ones than fit are dropped. */
void wbi_yaml_path_key(wbi_yaml_path *path, const char *key);
void wbi_yaml_path_index(wbi_yaml_path *path, size_t index);

/*
 * Line and column, from 1, of what `path` leads to: of the key where the last
 * step is one (the last of that name if it is there twice), else of the
 * entry. What is not there: of the nearest thing above it. A text that is not
 * YAML: of the offence, and its description in *ret_problem (static).
 */
void wbi_yaml_where(wb_str yaml, const wbi_yaml_path *path, size_t *ret_line,
		    size_t *ret_column, const char **ret_problem);

#endif
