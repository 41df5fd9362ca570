/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON that came from outside, kept from growing over our heads. */
#ifndef WBI_JSON_H
#define WBI_JSON_H

#include <jansson.h>

#include <waybill/base.h>

/*
 * Parse any JSON value, after a look at its depth and at how many values it
 * has (WBI_JSON_DEPTH, WBI_JSON_VALUES). Keys twice are refused. Every number
 * comes back as a real, so that one of any size passes (up to 1e308); use its
 * text. WB_EINVAL, WB_ELIMIT, WB_ENOMEM. Free with json_decref().
 */
wb_code wbi_json_parse(wb_str text, json_t **ret, wb_error *err);

/*
 * The bytes of the values of an object that wbi_json_parse() has accepted, one
 * after the other: *at is 0 before the first, and no more calls than members.
 */
wb_str wbi_json_next_member(wb_str text, size_t *at);

#endif
