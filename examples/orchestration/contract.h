/* SPDX-License-Identifier: BSD-2-Clause */
/* What the three services agree on: which commands there are, what a command
 * carries, and how an amount is written. In life each would have its own copy,
 * in its own language. */
#ifndef ORCHESTRATION_CONTRACT_H
#define ORCHESTRATION_CONTRACT_H

#include <waybill/handler.h>

/* parking: take the slot out of the offer, give it back, hand it over */
#define PARKING_BLOCK "parking.block"
#define PARKING_UNBLOCK "parking.unblock"
#define PARKING_RESERVE "parking.reserve"
#define PARKING_RESERVATION "parking.reservation" /* did it happen? */
/* billing: take the money, give it back */
#define BILLING_AUTHORIZE "billing.authorize_payment"
#define BILLING_REFUND "billing.refund"

enum { NAME_LEN_MAX = 40, REF_LEN_MAX = 100, MONEY_TEXT_MAX = 24 };

/* Money is in minor units: 100.00 is 10000. Exact, never floating point.
 * "12", "12.5" or "12.50" are read; two digits are written. */
bool money_read(wb_str text, int64_t *ret);
const char *money_text(int64_t minor, char ret[MONEY_TEXT_MAX]);

/* 1 to 40 letters, digits and '-': they go into JSON and shell commands. */
bool is_name(wb_str text);

/* The body of every command:
 * {"slot":"A1","account":"alice","amount":"100.00"} */
typedef struct request {
	char slot[NAME_LEN_MAX + 1];
	char account[NAME_LEN_MAX + 1];
	int64_t amount;
} request;

enum { REQUEST_TEXT_MAX = 200 };

/* Class REJECT: it is not that. */
wb_code request_read(wb_str body, request *ret, wb_error *err);
wb_str request_text(const request *r, char ret[REQUEST_TEXT_MAX]);

#endif
