/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `show` of any kind is made of: members of a JSON object, or lines of a
 * name and a value for people. What is empty or 0 is left out; every text is
 * made printable first.
 */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <jansson.h>

#include <waybill/event.h>

/* A line of a status: a name and what is said of it. */
void cli_print_line(const char *name, const char *format, ...) WB_PRINTF(2, 3);

void cli_put_text(json_t *object, const char *name, wb_str text);
void cli_put_time(json_t *object, const char *name, int64_t time_us);
void cli_put_number(json_t *object, const char *name, uint64_t number);
/* The same bytes in base64 under NAME_base64, if they are no text. */
void cli_put_data(json_t *object, const char *name, wb_str data);
/* An event's own members, but for its headers. */
void cli_put_event(json_t *object, const wb_event *event);
void cli_put_headers(json_t *object, const wb_header *headers, size_t count);

/* Its value; -1: it is none, lower-case or upper-case. */
int cli_hex_digit(char c);

void cli_print_text(const char *name, wb_str text);
void cli_print_time(const char *name, int64_t time_us);
void cli_print_number(const char *name, uint64_t number);
void cli_print_event(const wb_event *event);
void cli_print_headers(const wb_header *headers, size_t count);
/* As text if it is that and short; else how many, and the first of them in
 * hexadecimal if they are no text. */
void cli_print_data(const char *name, wb_str data);

#endif
