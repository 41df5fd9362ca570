/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flow as a drawing: a box per service, a node per step, an arrow per event
 * from the row that emits it to each that listens. Failures are dashed, what
 * an undo takes back is a dotted line. Pure; the text is the caller's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "saga/drawing.h"
#include "saga/flow.h"

static const wb_reaction *graph_reaction(const wbi_flow *flow, int row)
{
	return flow->rows[row].reaction;
}

/* Is this the first row of its service? */
static bool graph_begins_service(const wbi_flow *flow, int row)
{
	for (int i = 0; i < row; i++)
		if (!strcmp(graph_reaction(flow, i)->service,
			    graph_reaction(flow, row)->service))
			return false;
	return true;
}

static void graph_node(wbi_drawing *d, const wbi_flow *flow, int row)
{
	const wb_reaction *r = graph_reaction(flow, row);
	bool dot = d->format == WB_GRAPH_DOT;
	char time[48] = "";

	if (r->within_ms)
		snprintf(time, sizeof(time), "%swithin %g s",
			 dot ? "\\n" : "<br>", r->within_ms / 1000.0);
	if (dot)
		wbi_draw(d, "\t\tr%d [label=\"%s%s\"%s];\n", row, r->step, time,
			 r->undoes ? ", style=rounded" : "");
	else
		wbi_draw(d,
			 r->undoes ? "    r%d([\"%s%s\"])\n"
				   : "    r%d[\"%s%s\"]\n",
			 row, r->step, time);
}

static void graph_service(wbi_drawing *d, const wbi_flow *flow, int first)
{
	const char *service = graph_reaction(flow, first)->service;
	bool dot = d->format == WB_GRAPH_DOT;

	wbi_draw(d,
		 dot ? "\tsubgraph cluster_%d {\n\t\tlabel=\""
		     : "  subgraph s%d[\"",
		 first);
	wbi_draw_label(d, wb_str_from(service));
	wbi_draw(d, dot ? "\";\n" : "\"]\n");
	for (int i = first; i < flow->row_count; i++)
		if (!strcmp(graph_reaction(flow, i)->service, service))
			graph_node(d, flow, i);
	wbi_draw(d, dot ? "\t}\n" : "  end\n");
}

static void graph_arrow(wbi_drawing *d, const wbi_flow *flow, int from, int to,
			int event)
{
	bool fails = !flow->rows[from].emits[event];
	bool dot = d->format == WB_GRAPH_DOT;

	wbi_draw(d,
		 dot     ? "\tr%d -> r%d [label=\""
		 : fails ? "  r%d -. \""
			 : "  r%d -- \"",
		 from, to);
	wbi_draw_label(d, flow->events[event]);
	if (dot)
		wbi_draw(d, "\"%s];\n", fails ? ", style=dashed" : "");
	else
		wbi_draw(d, fails ? "\" .-> r%d\n" : "\" --> r%d\n", to);
}

static void graph_arrows(wbi_drawing *d, const wbi_flow *flow, int from)
{
	const wbi_flow_row *row = &flow->rows[from];
	bool dot = d->format == WB_GRAPH_DOT;

	for (int e = 0; e < flow->event_count; e++)
		for (int to = 0; to < flow->row_count; to++)
			if (wbi_flow_may_emit(row, e) && flow->rows[to].on == e)
				graph_arrow(d, flow, from, to, e);
	if (row->undoes >= 0)
		wbi_draw(d,
			 dot ? "\tr%d -> r%d [label=\"undoes\", "
			       "style=dotted, constraint=false];\n"
			     : "  r%d -. undoes .-> r%d\n",
			 from, row->undoes);
}

wb_code wb_flow_graph(const wb_flow *flow, wb_graph_format format, char **ret,
		      wb_error *err)
{
	wbi_flow *graph;
	wbi_drawing d;
	wb_code code = wbi_flow_new(flow, &graph, err);

	if (code != WB_OK)
		return code;
	wbi_drawing_init(&d, format);
	wbi_draw(&d,
		 format == WB_GRAPH_DOT ? "digraph \"%s\" {\n"
					: "flowchart LR\n  %%%% flow %s\n",
		 flow->name);
	for (int i = 0; i < graph->row_count; i++)
		if (graph_begins_service(graph, i))
			graph_service(&d, graph, i);
	for (int i = 0; i < graph->row_count; i++)
		graph_arrows(&d, graph, i);
	if (format == WB_GRAPH_DOT)
		wbi_draw(&d, "}\n");
	wbi_flow_free(graph);
	return wbi_drawing_done(&d, ret, err);
}
