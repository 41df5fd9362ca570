/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A saga's definition as a drawing: its steps in order, beside each what undoes
 * it. With a machine, as of one saga: done, current, undone and remaining steps
 * are told apart. Pure; the text is the caller's.
 */
#include "saga/saga_graph.h"

#include "saga/drawing.h"

static const char *graph_class(const wbi_machine *m, uint32_t i)
{
	if (!m || m->status == 0)
		return "remaining";
	if (m->status != WB_SAGA_COMPLETED &&
	    m->status != WB_SAGA_COMPENSATED && i == m->current)
		return "current";
	switch (m->steps[i].at) {
	case WBI_AT_DONE:
		return "done";
	case WBI_AT_UNDONE:
		return "undone";
	case WBI_AT_REJECTED:
		return "rejected";
	case WBI_AT_NONE:
		return "remaining";
	default:
		return "current";
	}
}

static const char *graph_colour(const char *class)
{
	static const char *const colours[][2] = {{"done", "#c8e6c9"},
						 {"current", "#fff59d"},
						 {"undone", "#ffccbc"},
						 {"rejected", "#ef9a9a"}};

	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		if (!strcmp(colours[i][0], class))
			return colours[i][1];
	return "#ffffff";
}

static const char *graph_kind(const wb_step *step)
{
	return step->kind == WB_PIVOT       ? " (pivot)"
	       : step->kind == WB_RETRIABLE ? " (retriable)"
					    : "";
}

static void graph_step(wbi_drawing *d, const wb_saga *saga,
		       const wbi_machine *m, uint32_t i)
{
	const wb_step *step = &saga->steps[i];
	const char *class = graph_class(m, i);
	bool dot = d->format == WB_GRAPH_DOT;
	const char *undo = step->undo       ? step->undo
			   : step->run_undo ? "undo, here"
					    : NULL;

	wbi_draw(d, dot ? "\ts%u [label=\"%s%s\\n" : "  s%u[\"%s%s<br>", i,
		 step->name, graph_kind(step));
	wbi_draw_label(d, wb_str_from(step->command ? step->command : "here"));
	if (dot)
		wbi_draw(d, "\", style=filled, fillcolor=\"%s\"];\n",
			 graph_colour(class));
	else
		wbi_draw(d, "\"]:::%s\n", class);
	if (i + 1 < saga->count)
		wbi_draw(d, dot ? "\ts%u -> s%u;\n" : "  s%u --> s%u\n", i,
			 i + 1);
	if (!undo)
		return;
	wbi_draw(d, dot ? "\tu%u [label=\"" : "  u%u([\"", i);
	wbi_draw_label(d, wb_str_from(undo));
	wbi_draw(d, dot ? "\", style=rounded];\n" : "\"])\n");
	wbi_draw(d,
		 dot ? "\ts%u -> u%u [style=dashed, constraint=false];\n"
		     : "  s%u -.-> u%u\n",
		 i, i);
}

wb_code wbi_saga_graph(const wb_saga *saga, const wbi_machine *machine,
		       wb_graph_format format, char **ret, wb_error *err)
{
	static const char *const classes[] = {"done", "current", "undone",
					      "rejected", "remaining"};
	wbi_drawing d;

	wbi_drawing_init(&d, format);
	wbi_draw(&d,
		 format == WB_GRAPH_DOT ? "digraph \"%s\" {\n"
					: "flowchart TD\n  %%%% saga %s\n",
		 saga->name);
	for (uint32_t i = 0; i < saga->count; i++)
		graph_step(&d, saga, machine, i);
	if (format == WB_GRAPH_DOT)
		wbi_draw(&d, "}\n");
	else
		for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]);
		     i++)
			wbi_draw(&d, "  classDef %s fill:%s,stroke:#555\n",
				 classes[i], graph_colour(classes[i]));
	return wbi_drawing_done(&d, ret, err);
}

wb_code wb_saga_graph(const wb_saga *saga, wb_graph_format format, char **ret,
		      wb_error *err)
{
	wb_code code = wb_saga_check(saga, NULL, 0, NULL, NULL, err);

	if (code != WB_OK)
		return code;
	return wbi_saga_graph(saga, NULL, format, ret, err);
}
