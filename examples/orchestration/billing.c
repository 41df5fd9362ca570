/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * billing takes part: a command comes, runs in the transaction that also keeps
 * its answer, and comes again as often as it likes. So there is no word here
 * about doubles, order or lateness: waybill's barrier has dealt with them, and
 * refund is only called for what was authorized.
 */
#include "examples/orchestration/billing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/orchestration/contract.h"
#include "examples/orchestration/rows.h"

/* ---- rows ---------------------------------------------------------------- */

typedef struct account {
	int64_t balance;
	bool ask;
} account;

typedef struct bill {
	char status[16], account[NAME_LEN_MAX + 1];
	int64_t amount;
	char token[WB_REPLY_TOKEN_MAX + 1];
} bill;

static wb_code account_get(MDB_txn *txn, const billing_tables *t,
			   const char *name, account *ret, wb_error *err)
{
	char row[ROW_MAX], balance[MONEY_TEXT_MAX], how[16];
	wb_code code = row_get(txn, t->accounts, wb_str_from(name), row, err);

	if (code != WB_OK)
		return code;
	if (row[0] == '\0')
		return wb_reject(err, "there is no account %s", name);
	if (sscanf(row, "%23s %15s", balance, how) != 2 ||
	    !money_read(wb_str_from(balance), &ret->balance))
		return wb_stop(err, "an account that is none: \"%s\"", row);
	ret->ask = !strcmp(how, "ask");
	return WB_OK;
}

static wb_code account_add(MDB_txn *txn, const billing_tables *t,
			   const char *name, int64_t amount, wb_error *err)
{
	char balance[MONEY_TEXT_MAX];
	account a;
	wb_code code = account_get(txn, t, name, &a, err);

	if (code != WB_OK)
		return code;
	if (a.balance + amount < 0)
		return wb_reject(err, "account %s has %s", name,
				 money_text(a.balance, balance));
	return row_put(txn, t->accounts, wb_str_from(name), err, "%s %s",
		       money_text(a.balance + amount, balance),
		       a.ask ? "ask" : "at-once");
}

static wb_code bill_get(MDB_txn *txn, const billing_tables *t, wb_str ref,
			bill *ret, wb_error *err)
{
	char row[ROW_MAX], amount[MONEY_TEXT_MAX];
	wb_code code = row_get(txn, t->bills, ref, row, err);

	if (code != WB_OK)
		return code;
	if (row[0] == '\0')
		return wb_reject(err, "there is no such bill");
	if (sscanf(row, "%15s %23s %40s %399s", ret->status, amount,
		   ret->account, ret->token) != 4 ||
	    !money_read(wb_str_from(amount), &ret->amount))
		return wb_stop(err, "a bill that is none: \"%s\"", row);
	return WB_OK;
}

static wb_code bill_put(MDB_txn *txn, const billing_tables *t, wb_str ref,
			const bill *b, wb_error *err)
{
	char amount[MONEY_TEXT_MAX];

	return row_put(txn, t->bills, ref, err, "%s %s %s %s", b->status,
		       money_text(b->amount, amount), b->account, b->token);
}

/* Bills are numbered, and so are their receipts. */
static wb_code receipt_text(MDB_txn *txn, const billing_tables *t,
			    char ret[NAME_LEN_MAX + 1], wb_error *err)
{
	MDB_stat stat;
	int rc = mdb_stat(txn, t->bills, &stat);

	if (rc != 0)
		return wb_store_error(rc, err, "counting bills");
	snprintf(ret, NAME_LEN_MAX + 1, "R-%zu", stat.ms_entries + 1);
	return WB_OK;
}

/* ---- commands ------------------------------------------------------------ */

/* A bill, and its money taken; or a bill that waits for somebody's word. */
static wb_code authorize(wb_call *call, const wb_event *command, wb_error *err)
{
	const billing_tables *t = wb_call_state(call);
	wb_str ref = wb_command_saga(call);
	bill b = {.status = "paid", .token = "-"};
	MDB_txn *txn = wb_call_txn(call);
	char receipt[NAME_LEN_MAX + 1];
	account a;
	request r;
	wb_code code = request_read(command->data, &r, err);

	if (code == WB_OK)
		code = account_get(txn, t, r.account, &a, err);
	if (code != WB_OK)
		return code;
	b.amount = r.amount;
	memcpy(b.account, r.account, sizeof(b.account));
	if (a.ask) {
		snprintf(b.status, sizeof(b.status), "pending");
		code = wb_reply_pending(call, b.token, err);
	} else {
		code = account_add(txn, t, r.account, -r.amount, err);
		if (code == WB_OK)
			code = receipt_text(txn, t, receipt, err);
		if (code == WB_OK)
			code = wb_reply(call, wb_str_from("text/plain"),
					wb_str_from(receipt), err);
	}
	return code == WB_OK ? bill_put(txn, t, ref, &b, err) : code;
}

/* What was paid goes back; what is still pending is never taken. */
static wb_code refund(wb_call *call, const wb_event *command, wb_error *err)
{
	const billing_tables *t = wb_call_state(call);
	wb_str ref = wb_command_saga(call);
	MDB_txn *txn = wb_call_txn(call);
	bool paid;
	bill b;
	wb_code code = bill_get(txn, t, ref, &b, err);

	(void)command;
	if (code != WB_OK)
		return code;
	paid = !strcmp(b.status, "paid");
	snprintf(b.status, sizeof(b.status), paid ? "refunded" : "cancelled");
	snprintf(b.token, sizeof(b.token), "-");
	if (paid)
		code = account_add(txn, t, b.account, b.amount, err);
	return code == WB_OK ? bill_put(txn, t, ref, &b, err) : code;
}

/* ---- a person's answer --------------------------------------------------- */

wb_code billing_answer(wb_store *store, MDB_txn *txn, const billing_tables *t,
		       wb_str ref, bool approve, wb_error *err)
{
	char token[WB_REPLY_TOKEN_MAX + 1], receipt[NAME_LEN_MAX + 1] = "";
	bill b;
	wb_code code = bill_get(txn, t, ref, &b, err);

	if (code != WB_OK)
		return code;
	if (strcmp(b.status, "pending") != 0)
		return wb_reject(err, "the bill is %s, not pending", b.status);
	memcpy(token, b.token, sizeof(token));
	snprintf(b.status, sizeof(b.status), approve ? "paid" : "declined");
	snprintf(b.token, sizeof(b.token), "-");
	if (approve)
		code = account_add(txn, t, b.account, -b.amount, err);
	if (code == WB_OK && approve)
		code = receipt_text(txn, t, receipt, err);
	if (code == WB_OK)
		code = bill_put(txn, t, ref, &b, err);
	if (code != WB_OK)
		return code;
	return wb_reply_later(store, txn, token, approve,
			      wb_str_from("text/plain"), wb_str_from(receipt),
			      err);
}

/* ---- what it takes part in ----------------------------------------------- */

static const wb_command commands[] = {
	{BILLING_AUTHORIZE, BILLING_REFUND, NULL, authorize, refund},
};

wb_code billing_tables_open(MDB_txn *txn, billing_tables *ret, wb_error *err)
{
	int rc = mdb_dbi_open(txn, ACCOUNTS_TABLE, MDB_CREATE, &ret->accounts);

	if (rc == 0)
		rc = mdb_dbi_open(txn, BILLS_TABLE, MDB_CREATE, &ret->bills);
	return wb_store_error(rc, err, "billing's tables");
}

static wb_code billing_open(const wb_handler *self, wb_store *store,
			    MDB_txn *txn, void **ret_state, wb_error *err)
{
	billing_tables *t = calloc(1, sizeof(*t));

	(void)self;
	(void)store;
	if (!t)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	*ret_state = t;
	return billing_tables_open(txn, t, err);
}

const wb_participant billing_participant = {
	.size = sizeof(wb_participant),
	.name = "billing",
	.commands = commands,
	.count = sizeof(commands) / sizeof(commands[0]),
	.open = billing_open,
	.close = free,
};
