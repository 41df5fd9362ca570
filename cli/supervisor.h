/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The small process above the worker: it ends a call that hangs, starts the
 * worker anew when it was ended by a signal, and passes on signals, exit codes
 * and words to the service manager. It opens no store.
 */
#ifndef CLI_SUPERVISOR_H
#define CLI_SUPERVISOR_H

#include "cli/command.h"

/* What the worker tells it; with no supervisor, the service manager itself. */
typedef enum cli_word {
	CLI_WORD_READY = 'r',
	CLI_WORD_ACTIVE = 'a', /* the calls in the page are its own */
	CLI_WORD_ALIVE = 'l',
	CLI_WORD_STOPPING = 'e',
	CLI_WORD_STATUS = 's' /* with a text */
} cli_word;

enum { CLI_NO_SUPERVISOR = -1 };

/* From the worker. `channel` is CLI_NO_SUPERVISOR or as given below. */
void cli_tell(int channel, cli_word word, const char *text);

/*
 * Become two: returns true in the process that is to be the worker, with its
 * end of the channel in *ret_channel, and false in the supervisor, when all is
 * over, with the exit code in *ret_code. To be called with one thread, before
 * a store, a module or a connection is opened.
 */
bool cli_supervise(cli_context *ctx, int *ret_channel, int *ret_code);

#endif
