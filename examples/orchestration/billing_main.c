/* SPDX-License-Identifier: BSD-2-Clause */
/* billing's command line: accounts, bills, and somebody who approves. */
#include <stdio.h>
#include <string.h>

#include "examples/orchestration/billing.h"
#include "examples/orchestration/command.h"
#include "examples/orchestration/contract.h"
#include "examples/orchestration/rows.h"

enum { ACCOUNTS, BILLS };

static wb_code create_account(service *s, char **args)
{
	char row[ROW_MAX], text[MONEY_TEXT_MAX];
	wb_str name = wb_str_from(args[0]);
	int64_t balance;
	wb_code code;

	if (!is_name(name) || !money_read(wb_str_from(args[1]), &balance) ||
	    (strcmp(args[2], "ask") != 0 && strcmp(args[2], "at-once") != 0))
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "an account has a name of letters, digits "
				    "and '-', a balance as 12, 12.5 or 12.50, "
				    "and pays at-once, or we ask");
	code = row_get(s->txn, s->tables[ACCOUNTS], name, row, &s->err);
	if (code == WB_OK && row[0] != '\0')
		return wb_error_set(&s->err, WB_EEXISTS, 0, __func__,
				    "there is an account %s already", args[0]);
	if (code != WB_OK)
		return code;
	return row_put(s->txn, s->tables[ACCOUNTS], name, &s->err, "%s %s",
		       money_text(balance, text), args[2]);
}

static wb_code answer(service *s, const char *ref, bool approve)
{
	billing_tables t = {s->tables[ACCOUNTS], s->tables[BILLS]};
	wb_code code = billing_answer(s->store, s->txn, &t, wb_str_from(ref),
				      approve, &s->err);

	if (code == WB_OK)
		snprintf(s->said, sizeof(s->said), "%s",
			 approve ? "paid" : "declined");
	return code;
}

static wb_code approve(service *s, char **args)
{
	return answer(s, args[0], true);
}

static wb_code decline(service *s, char **args)
{
	return answer(s, args[0], false);
}

static wb_code accounts(service *s, char **args)
{
	(void)args;
	return print_rows(s, ACCOUNTS);
}

static wb_code one_account(service *s, char **args)
{
	return print_row(s, ACCOUNTS, args[0], "account");
}

static wb_code bills(service *s, char **args)
{
	(void)args;
	return print_rows(s, BILLS);
}

static wb_code one_bill(service *s, char **args)
{
	return print_row(s, BILLS, args[0], "bill");
}

int main(int argc, char **argv)
{
	static const command commands[] = {
		{"create-account", "NAME BALANCE at-once|ask", 3, true,
		 create_account},
		{"accounts", "", 0, false, accounts},
		{"account", "NAME", 1, false, one_account},
		{"bills", "", 0, false, bills},
		{"bill", "REF", 1, false, one_bill},
		{"approve-bill", "REF", 1, true, approve},
		{"decline-bill", "REF", 1, true, decline},
	};
	static const program p = {
		.name = "billing",
		.store_env = "BILLING_STORE",
		.tables = {ACCOUNTS_TABLE, BILLS_TABLE},
		.commands = commands,
		.count = sizeof(commands) / sizeof(commands[0]),
	};

	return program_main(&p, argc, argv);
}
