/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A command is one transaction: rows, sagas and replies, all of it or nothing.
 * So a command line that is killed has done it, or has not.
 */
#include "examples/orchestration/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/orchestration/rows.h"

static wb_code service_tables(service *s, const program *p)
{
	MDB_txn *txn;
	int rc = 0;
	wb_code code = wb_store_begin(s->store, &txn, &s->err);

	if (code != WB_OK)
		return code;
	for (int i = 0; i < COMMAND_TABLES_MAX && rc == 0; i++)
		if (p->tables[i])
			rc = mdb_dbi_open(txn, p->tables[i], MDB_CREATE,
					  &s->tables[i]);
	if (rc == 0)
		return wb_store_commit(s->store, txn, &s->err);
	wb_store_abort(txn);
	return wb_store_error(rc, &s->err, "opening tables");
}

static wb_code service_open(service *s, const program *p)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	const char *dir = getenv(p->store_env);
	wb_code code;

	if (!dir)
		return wb_error_set(&s->err, WB_EINVAL, 0, __func__,
				    "say where the store is: %s=DIR",
				    p->store_env);
	options.service = p->name;
	code = wb_store_create(dir, &options, &s->err);
	if (code != WB_OK && code != WB_EEXISTS)
		return code;
	wb_error_clear(&s->err);
	code = wb_store_open(dir, NULL, &s->store, &s->err);
	return code == WB_OK ? service_tables(s, p) : code;
}

static wb_code service_write(service *s, const command *c, char **args)
{
	wb_code code = wb_store_begin(s->store, &s->txn, &s->err);

	if (code != WB_OK)
		return code;
	code = c->run(s, args);
	if (code == WB_OK)
		return wb_store_commit(s->store, s->txn, &s->err);
	wb_store_abort(s->txn);
	return code;
}

static wb_code service_read(service *s, const command *c, char **args)
{
	int rc = mdb_txn_begin(wb_store_env(s->store), NULL, MDB_RDONLY,
			       &s->txn);
	wb_code code = wb_store_error(rc, &s->err, "reading");

	if (code != WB_OK)
		return code;
	code = c->run(s, args);
	mdb_txn_abort(s->txn);
	return code;
}

static int program_run(const program *p, const command *c, char **args)
{
	service s = {.err = WB_ERROR_INIT};
	wb_code code = service_open(&s, p);

	if (code == WB_OK)
		code = c->writes ? service_write(&s, c, args)
				 : service_read(&s, c, args);
	wb_store_close(s.store);
	if (code == WB_OK && s.said[0])
		puts(s.said);
	if (code == WB_OK)
		return 0;
	fprintf(stderr, "%s: %s\n", p->name, s.err.text);
	return 1;
}

int program_main(const program *p, int argc, char **argv)
{
	for (size_t i = 0; i < p->count && argc > 1; i++)
		if (!strcmp(argv[1], p->commands[i].name) &&
		    argc - 2 == p->commands[i].count)
			return program_run(p, &p->commands[i], argv + 2);
	fprintf(stderr, "usage: %s=DIR %s COMMAND\n", p->store_env, p->name);
	for (size_t i = 0; i < p->count; i++)
		fprintf(stderr, "  %s %s\n", p->commands[i].name,
			p->commands[i].args);
	return 2;
}

wb_code print_row(service *s, int table, const char *key, const char *what)
{
	char row[ROW_MAX];
	wb_code code = row_get(s->txn, s->tables[table], wb_str_from(key), row,
			       &s->err);

	if (code != WB_OK)
		return code;
	if (row[0] == '\0')
		return wb_error_set(&s->err, WB_ENOTFOUND, 0, __func__,
				    "there is no such %s", what);
	printf("%s  %s\n", key, row);
	return WB_OK;
}

wb_code print_rows(service *s, int table)
{
	return rows_print(s->txn, s->tables[table], &s->err);
}
