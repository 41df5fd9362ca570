/* SPDX-License-Identifier: BSD-2-Clause */
/* billing's command line: bills, and customers who pay them. */
#include <stdio.h>

#include "examples/choreography/billing.h"
#include "examples/choreography/command.h"
#include "examples/choreography/rows.h"

static wb_code pay_bill(service *s, char **args)
{
	char paid[MONEY_TEXT_MAX], total[MONEY_TEXT_MAX];
	wb_str ref = wb_str_from(args[0]);
	int64_t amount;
	bill b;
	wb_code code;

	if (!money_read(wb_str_from(args[1]), &amount))
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "\"%.40s\" is no amount: 12, 12.5 or 12.50",
				    args[1]);
	code = billing_pay(s->tables, s->flow, s->txn, ref, amount, s->now_us,
			   &s->err);
	if (code == WB_OK)
		code = billing_get(s->tables, s->txn, ref, &b, &s->err);
	if (code == WB_OK)
		snprintf(s->said, sizeof(s->said), "%s, %s of %s",
			 bill_state_name(b.state), money_text(b.paid, paid),
			 money_text(b.total, total));
	return code;
}

static wb_code show(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	char paid[MONEY_TEXT_MAX], total[MONEY_TEXT_MAX], back[MONEY_TEXT_MAX];
	const bill *b = row;

	(void)ctx;
	(void)err;
	printf("%.*s  %s, paid %s of %s, back %s\n", (int)ref.len, ref.ptr,
	       bill_state_name(b->state), money_text(b->paid, paid),
	       money_text(b->total, total), money_text(b->back, back));
	return WB_OK;
}

static wb_code show_payment(void *ctx, wb_str key, const void *row,
			    wb_error *err)
{
	const payment *p = row;
	char text[MONEY_TEXT_MAX];

	(void)ctx;
	(void)key;
	(void)err;
	printf("  %s\n", money_text(p->amount, text));
	return WB_OK;
}

static wb_code bills(service *s, char **args)
{
	const billing_tables *t = s->tables;

	(void)args;
	return rows_each(s->txn, t->bills, WB_STR_NULL, sizeof(bill), show,
			 NULL, &s->err);
}

static wb_code one_bill(service *s, char **args)
{
	const billing_tables *t = s->tables;
	char prefix[FLOW_REF_MAX + 2];
	bill b;
	wb_code code =
		billing_get(t, s->txn, wb_str_from(args[0]), &b, &s->err);

	if (code != WB_OK)
		return code;
	snprintf(prefix, sizeof(prefix), "%.100s#", args[0]);
	show(NULL, wb_str_from(args[0]), &b, NULL);
	return rows_each(s->txn, t->payments, wb_str_from(prefix),
			 sizeof(payment), show_payment, NULL, &s->err);
}

static wb_code open_tables(MDB_txn *txn, void *tables, wb_error *err)
{
	return billing_open(txn, tables, err);
}

int main(int argc, char **argv)
{
	static const command commands[] = {
		{"pay-bill", "REF AMOUNT", 2, true, pay_bill},
		{"bills", "", 0, false, bills},
		{"bill", "REF", 1, false, one_bill},
	};
	billing_tables tables;
	program p = {.name = "billing",
		     .store_env = "BILLING_STORE",
		     .part = &billing_part,
		     .commands = commands,
		     .count = sizeof(commands) / sizeof(commands[0]),
		     .open = open_tables,
		     .tables = &tables};

	return program_main(&p, argc, argv);
}
