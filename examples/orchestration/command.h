/* SPDX-License-Identifier: BSD-2-Clause */
/* What the three command lines share: a store, a transaction around each
 * command, and what to say once it is committed. */
#ifndef ORCHESTRATION_COMMAND_H
#define ORCHESTRATION_COMMAND_H

#include <waybill/store.h>

enum { COMMAND_TABLES_MAX = 2 };

typedef struct service {
	wb_store *store;
	MDB_txn *txn; /* for writing if the command writes */
	MDB_dbi tables[COMMAND_TABLES_MAX];
	char said[200]; /* printed behind the commit */
	wb_error err;
} service;

typedef struct command {
	const char *name, *args;
	int count; /* of arguments */
	bool writes;
	wb_code (*run)(service *s, char **args);
} command;

/* One service's program. */
typedef struct program {
	const char *name;      /* of the service */
	const char *store_env; /* the variable that says where the store is */
	const char *tables[COMMAND_TABLES_MAX];
	const command *commands;
	size_t count;
} program;

/* For main(). The store is made if it is not there. Exit code 1: the command
 * was refused, and has changed nothing; 2: wrong usage. */
int program_main(const program *p, int argc, char **argv);

/* One row, or all of them, to standard output. WB_ENOTFOUND: "there is no such
 * WHAT". */
wb_code print_row(service *s, int table, const char *key, const char *what);
wb_code print_rows(service *s, int table);

#endif
