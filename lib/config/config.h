/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration of the commands. One table (table.c) is the only place where
 * a key is defined: the YAML key, the flag, the environment variable, the
 * default, the range and the help text all come from it.
 *
 * Who says it, strongest first: flag, environment, file, default. A list given
 * by a stronger one replaces the whole list of a weaker one.
 */
#ifndef WBI_CONFIG_H
#define WBI_CONFIG_H

#include <waybill/base.h>
#include <waybill/broker.h>
#include <waybill/route.h>

enum {
	WBI_CONFIG_FILE_MAX = 1024 * 1024, /* bytes of a file that is read */
	WBI_CONFIG_TEXT_MAX = 4096,        /* bytes of one value */
	WBI_CONFIG_ENTRIES_MAX = 256,      /* entries of one list */
	WBI_CONFIG_KEYS = 57               /* rows of the table */
};

typedef enum wbi_log_format { WBI_LOG_TEXT, WBI_LOG_JSON } wbi_log_format;

/* Some of a kind; `items` points to an array of what the comment beside each
 * use says. */
typedef struct wbi_config_items {
	void *items;
	size_t count;
} wbi_config_items;

typedef struct wbi_config_exchange {
	char *name;
	char *type;                 /* "topic" unless given */
	wbi_config_items arguments; /* char *: "x-name=value" */
} wbi_config_exchange;

typedef struct wbi_config_binding {
	char *exchange, *key;
} wbi_config_binding;

typedef struct wbi_config_queue {
	char *name;
	uint64_t delivery_limit;
	char *dead_letter_exchange; /* name + ".dead" unless given */
	char *dead_letter_queue;    /* the same */
	wbi_config_items arguments; /* char *: "x-name=value" */
	wbi_config_items bind;      /* wbi_config_binding */
} wbi_config_queue;

typedef enum wbi_config_source {
	WBI_CONFIG_DEFAULT,
	WBI_CONFIG_FILE,
	WBI_CONFIG_ENV,
	WBI_CONFIG_FLAG
} wbi_config_source;

/* All strings belong to the config; NULL where nothing was said. */
typedef struct wbi_config {
	char *store;
	char *amqp, *amqp_user, *amqp_password, *amqp_password_file;
	char *connection_name;
	char *tls_ca_file, *tls_cert_file, *tls_key_file, *tls_server_name;
	bool tls_insecure, external_auth;
	uint64_t connect_timeout_ms, heartbeat_s;
	uint64_t window, commit_ms, batch_bytes, poll_ms;
	uint64_t backoff_min_ms, backoff_max_ms, confirm_timeout_ms, probe_ms;
	uint64_t drain_ms, parked_max_bytes;
	uint64_t body_max_bytes, headers_max, header_bytes_max;
	wbi_config_items modules, bind; /* char * */
	char *queue, *exchange, *commands;
	uint64_t delivery_limit, prefetch, dedupe_s;
	bool id_from_body, no_relay, no_supervisor;
	uint64_t batch_max, txn_us, txn_alone_us, pause_us, threads;
	uint64_t calls_drain_ms;
	uint64_t restart_min_ms, restart_max_ms;
	int log_level;                   /* wb_log_level */
	int log_format;                  /* wbi_log_format */
	int declare;                     /* wb_declare_policy */
	wbi_config_items routes;         /* wb_route */
	wbi_config_items exchanges;      /* wbi_config_exchange */
	wbi_config_items queues;         /* wbi_config_queue */
	uint8_t source[WBI_CONFIG_KEYS]; /* wbi_config_source, by key */
} wbi_config;

/* ---- the table --------------------------------------------------------- */

typedef enum wbi_config_kind {
	WBI_CONFIG_TEXT,
	WBI_CONFIG_NUMBER,
	WBI_CONFIG_SIZE, /* a number with an optional K, M, G or T behind it */
	WBI_CONFIG_BOOL,
	WBI_CONFIG_CHOICE,
	WBI_CONFIG_TEXTS, /* several texts; in list entries only */
	WBI_CONFIG_BINDS, /* several bindings; in list entries only */
	WBI_CONFIG_LIST
} wbi_config_kind;

/* What a command may be told; help shows only its own groups. */
enum wbi_config_group {
	WBI_GROUP_STORE = 1,
	WBI_GROUP_BROKER = 2,
	WBI_GROUP_RELAY = 4,
	WBI_GROUP_LIMITS = 8,
	WBI_GROUP_ROUTES = 16,
	WBI_GROUP_TOPOLOGY = 32,
	WBI_GROUP_LOG = 64,
	WBI_GROUP_WORKER = 128,
	WBI_GROUP_MODULE = 256,
	/* The worker's --queue and --exchange are what it consumes: what else
	 * there is to declare, it takes from the file only. */
	WBI_GROUPS_RELAY = WBI_GROUP_WORKER - 1,
	WBI_GROUPS_WORKER = WBI_GROUPS_RELAY - WBI_GROUP_TOPOLOGY +
			    WBI_GROUP_WORKER + WBI_GROUP_MODULE
};

/* A value, or a field of a list's entry. */
typedef struct wbi_config_field {
	const char *name; /* as in YAML; of a flag with '-' for '_' */
	wbi_config_kind kind;
	size_t offset; /* in wbi_config, or in the entry */
	uint64_t min, max;
	const char *const *choices; /* CHOICE: NULL-terminated, value = index */
	const char *init;           /* the default as text, or NULL */
	const char *arg;            /* what help calls the value */
	const char *help;
	bool required; /* in a list's entry */
} wbi_config_field;

typedef struct wbi_config_list {
	const wbi_config_field *fields;
	size_t field_count;
	size_t entry_size;
	bool plain; /* an entry is its one field, a text, and written so */
} wbi_config_list;

typedef struct wbi_config_key {
	wbi_config_field field;
	const wbi_config_list *list; /* LIST only */
	const char *flag;            /* NULL: none (secrets) */
	bool in_file;
	unsigned group;
} wbi_config_key;

/* The `i`-th row; NULL from WBI_CONFIG_KEYS on. Static. */
const wbi_config_key *wbi_config_key_at(size_t i);
/* By YAML name; -1 if there is none. */
int wbi_config_find(wb_str name);
/* The name that is nearest to a mistyped one; NULL if none is near. */
const char *wbi_config_nearest(wb_str name, const wbi_config_list *list);
/* "WAYBILL_..." of a key; returns ret. */
char *wbi_config_env_name(const wbi_config_key *key, char *ret, size_t size);

/* ---- values ------------------------------------------------------------ */

/* All defaults. fini frees what it holds and wipes the password. */
wb_code wbi_config_init(wbi_config *ret, wb_error *err);
void wbi_config_fini(wbi_config *config);

/*
 * Say one value; for a list, one entry as "field=value,field=value" ("\,"
 * for a comma in it). A value that a stronger source has given already is
 * checked and dropped. WB_EINVAL, WB_ELIMIT (out of range): the text begins
 * with the cause, not with the key.
 */
wb_code wbi_config_set(wbi_config *config, int key, const char *text,
		       wbi_config_source source, wb_error *err);

/* Every WAYBILL_... variable that is set and not empty; lists have ';'
 * between their entries. The error begins with the variable's name. */
wb_code wbi_config_read_env(wbi_config *config, wb_error *err);

/* A YAML file. The error begins with "FILE:LINE:COLUMN: ". WB_EINVAL,
 * WB_ELIMIT, WB_ENOTFOUND, WB_EACCESS, WB_EIO, WB_ENOMEM. */
wb_code wbi_config_read_file(wbi_config *config, const char *path,
			     wb_error *err);

/* The same from memory; `name` stands for the path in errors. */
wb_code wbi_config_read_yaml(wbi_config *config, const char *name, wb_str yaml,
			     wb_error *err);

/* What only shows when all is known: values that contradict each other. */
wb_code wbi_config_check(const wbi_config *config, wb_error *err);

/* "1..65536", "64K..1T", "text | json"; returns ret. For help and manual. */
char *wbi_config_range_text(const wbi_config_field *field, char *ret,
			    size_t size);

/*
 * Parse one value into the field of the struct at `base`, for tables of fields
 * outside this one; a text that was there is freed. fini frees what it holds.
 */
wb_code wbi_config_parse(const wbi_config_field *field, const char *text,
			 void *base, wb_error *err);
void wbi_config_field_fini(const wbi_config_field *field, void *base);

/* ---- between the files of this directory ------------------------------- */

/* One more text or "exchange:key" for a field of kind TEXTS or BINDS. */
wb_code wbi_config_add(const wbi_config_field *field, const char *text,
		       void *base, wb_error *err);
/* A list's entry from one text; see wbi_config_set(). */
wb_code wbi_config_set_entry(wbi_config *config, int key, const char *text,
			     wbi_config_source source, wb_error *err);
/* Room for an entry of any list. */
typedef union wbi_config_entry {
	wb_route route;
	wbi_config_exchange exchange;
	wbi_config_queue queue;
	char *text;
} wbi_config_entry;

/* Numbers and choices get their defaults first; then set fields; then fill
 * in the texts that are missing and check that what is required is there. */
wb_code wbi_config_entry_begin(const wbi_config_list *list, void *entry,
			       wb_error *err);
wb_code wbi_config_entry_done(const wbi_config_list *list, void *entry,
			      wb_error *err);
void wbi_config_entry_fini(const wbi_config_list *list, void *entry);
/* Take over *entry as one more (its memory becomes the config's), or free it
 * if a stronger source has spoken. */
wb_code wbi_config_list_add(wbi_config *config, int key, void *entry,
			    wbi_config_source source, wb_error *err);

#endif
