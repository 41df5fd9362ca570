/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libcyaml loads by schema but cannot say exactly where: for an unknown key
 * it names the end of the value before it, and for a value that it took and
 * we refuse it says nothing. So after a failure, and only then, the text is
 * read once more by libyaml (which libcyaml stands on) and the path walked
 * down its nodes, which carry their marks. Keeps nothing; any thread.
 */
#include "lib/config/where.h"

#include <stdio.h>
#include <yaml.h>

void wbi_yaml_path_key(wbi_yaml_path *path, const char *key)
{
	if (path->count < WBI_YAML_PATH_MAX)
		snprintf(path->steps[path->count++].key,
			 sizeof(path->steps[0].key), "%s", key);
}

void wbi_yaml_path_index(wbi_yaml_path *path, size_t index)
{
	if (path->count < WBI_YAML_PATH_MAX) {
		path->steps[path->count].key[0] = '\0';
		path->steps[path->count++].index = index;
	}
}

static bool scalar_is(const yaml_node_t *node, const char *text)
{
	return node && node->type == YAML_SCALAR_NODE &&
	       wb_str_eq(wb_str_n(node->data.scalar.value,
				  node->data.scalar.length),
			 wb_str_from(text));
}

/* One step from *node; its mark in *mark. False if there is no such thing. */
static bool step_down(yaml_document_t *doc, const wbi_yaml_step *step,
		      yaml_node_t **node, yaml_mark_t *mark)
{
	yaml_node_t *from = *node;
	bool found = false;

	if (from->type == YAML_SEQUENCE_NODE && !step->key[0]) {
		yaml_node_item_t *items = from->data.sequence.items.start;

		if (step->index >=
		    (size_t)(from->data.sequence.items.top - items))
			return false;
		*node = yaml_document_get_node(doc, items[step->index]);
		*mark = (*node)->start_mark;
		return true;
	}
	if (from->type != YAML_MAPPING_NODE || !step->key[0])
		return false;
	for (yaml_node_pair_t *pair = from->data.mapping.pairs.start;
	     pair < from->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = yaml_document_get_node(doc, pair->key);

		if (!scalar_is(key, step->key))
			continue;
		*mark = key->start_mark;
		*node = yaml_document_get_node(doc, pair->value);
		found = true;
	}
	return found;
}

void wbi_yaml_where(wb_str yaml, const wbi_yaml_path *path, size_t *ret_line,
		    size_t *ret_column, const char **ret_problem)
{
	yaml_mark_t mark = {0, 0, 0};
	yaml_document_t doc;
	yaml_parser_t parser;
	yaml_node_t *node;

	*ret_line = *ret_column = 1;
	*ret_problem = NULL;
	if (!yaml_parser_initialize(&parser))
		return;
	yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.ptr,
				     yaml.len);
	if (!yaml_parser_load(&parser, &doc)) {
		*ret_problem = parser.problem ? parser.problem : "not YAML";
		mark = parser.problem_mark;
	} else {
		node = yaml_document_get_root_node(&doc);
		if (node)
			mark = node->start_mark;
		for (size_t i = 0; node && i < path->count; i++)
			if (!step_down(&doc, &path->steps[i], &node, &mark))
				break;
		yaml_document_delete(&doc);
	}
	yaml_parser_delete(&parser);
	*ret_line = mark.line + 1;
	*ret_column = mark.column + 1;
}
