/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A text that grows to a megabyte at most; the first failure ends it and is
 * told at the end, so that what draws need not look after each line.
 */
#include "saga/drawing.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/error.h"

void wbi_drawing_init(wbi_drawing *drawing, wb_graph_format format)
{
	*drawing = (wbi_drawing){.format = format};
	wbi_buffer_init(&drawing->text, WBI_DRAWING_MAX);
}

static void drawing_add(wbi_drawing *drawing, const char *bytes, size_t len)
{
	if (drawing->code == WB_OK)
		drawing->code = wbi_buffer_append(&drawing->text, bytes, len);
}

void wbi_draw(wbi_drawing *drawing, const char *format, ...)
{
	char line[1024];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (len >= (int)sizeof(line))
		len = (int)sizeof(line) - 1;
	if (len > 0)
		drawing_add(drawing, line, (size_t)len);
}

void wbi_draw_label(wbi_drawing *drawing, wb_str text)
{
	bool dot = drawing->format == WB_GRAPH_DOT;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '"')
			wbi_draw(drawing, "%s", dot ? "\\\"" : "#quot;");
		else if (c == '\\' && dot)
			wbi_draw(drawing, "\\\\");
		else if (c == '|' && !dot)
			wbi_draw(drawing, "#124;");
		else if ((unsigned char)c >= ' ')
			drawing_add(drawing, &c, 1);
	}
}

wb_code wbi_drawing_done(wbi_drawing *drawing, char **ret, wb_error *err)
{
	wb_code code;
	char *text = NULL;
	size_t len;

	drawing_add(drawing, "", 1);
	code = drawing->code;
	len = wbi_buffer_len(&drawing->text);
	if (code == WB_OK) {
		text = malloc(len);
		if (!text)
			code = WB_ENOMEM;
	}
	if (code == WB_OK) {
		memcpy(text, wbi_buffer_data(&drawing->text), len);
		*ret = text;
	}
	wbi_buffer_fini(&drawing->text);
	if (code == WB_OK)
		return code;
	return WBI_FAIL(err, code == WB_EAGAIN ? WB_ELIMIT : code, "graph: %s",
			code == WB_ENOMEM ? "out of memory"
					  : "more than a megabyte of text");
}
