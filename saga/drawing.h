/* SPDX-License-Identifier: BSD-2-Clause */
/* Text of a drawing, Mermaid or Graphviz, in a bounded buffer. */
#ifndef WBI_DRAWING_H
#define WBI_DRAWING_H

#include <waybill/choreography.h>

#include "lib/base/buffer.h"

typedef struct wbi_drawing {
	wb_graph_format format;
	wbi_buffer text;
	wb_code code; /* the first failure; later calls do nothing */
} wbi_drawing;

enum { WBI_DRAWING_MAX = 1024 * 1024 };

void wbi_drawing_init(wbi_drawing *drawing, wb_graph_format format);
void wbi_draw(wbi_drawing *drawing, const char *format, ...) WB_PRINTF(2, 3);
/* Text from outside, as it may stand between double quotes. */
void wbi_draw_label(wbi_drawing *drawing, wb_str text);
/* End it: *ret is terminated and the caller's to free(). */
wb_code wbi_drawing_done(wbi_drawing *drawing, char **ret, wb_error *err);

#endif
