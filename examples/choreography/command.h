/* SPDX-License-Identifier: BSD-2-Clause */
/* What the three command lines share: a store, a transaction around each
 * command, and what to say once it is committed. */
#ifndef COMMAND_H
#define COMMAND_H

#include "examples/choreography/flow.h"

typedef struct service {
	wb_store *store;
	wb_choreography *flow; /* its part in it, to begin and complete steps */
	const void *tables;
	MDB_txn *txn; /* for writing if the command writes */
	int64_t now_us;
	char said[256]; /* printed behind the commit */
	wb_error err;
} service;

typedef struct command {
	const char *name, *args;
	int count; /* of arguments */
	bool writes;
	wb_code (*run)(service *s, char **args);
} command;

/* One service's program. `open` finds its tables in `tables`. */
typedef struct program {
	const char *name;      /* of the service */
	const char *store_env; /* the variable that says where the store is */
	const wb_flow_part *part;
	const command *commands;
	size_t count;
	wb_code (*open)(MDB_txn *txn, void *tables, wb_error *err);
	void *tables;
} program;

/* For main(). The store is made if it is not there. Exit code 1: the command
 * was refused, and has changed nothing; 2: wrong usage. */
int program_main(const program *p, int argc, char **argv);

#endif
