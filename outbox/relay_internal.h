/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's parts share this. Three lanes send events, and each settles its
 * own tokens:
 *
 *   MAIN     the journal behind the cursor, but for held exchanges
 *   DRAIN    the journal from a hold's first position up to where MAIN has
 *            looked, that exchange's events only, once it exists again
 *   RELEASE  parked events that an operator has released, key by key
 */
#ifndef WBI_RELAY_INTERNAL_H
#define WBI_RELAY_INTERNAL_H

#include <stdatomic.h>

#include <waybill/relay.h>

#include "lib/base/backoff.h"
#include "lib/base/loop.h"
#include "lib/event/envelope.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"
#include "outbox/relay_report.h"
#include "outbox/window.h"

enum {
	RELAY_EXCHANGES_MAX = WB_ROUTES_MAX + 1,
	RELAY_RELEASES_MAX = 64,
	RELAY_UNROUTED_MAX = 64, /* types counted between two commits */
	RELAY_EVENTS_PER_STEP = 65536,
	RELAY_OWN_RETRY_MS = 200,
	RELAY_STATUS_MS = 1000,
	RELAY_REFUSED_MS = 1000, /* between commits that found no room */
	RELAY_READERS_MS = 60000,
	RELAY_LOOK_MIN_US = 50, /* to see a commit that is on its way ... */
	RELAY_LOOK_MAX_US = 1000, /* ... twice as long each time */
	RELAY_CLOSE_US = 100000, /* the broker's goodbye is awaited so long */
	RELAY_NACK_MIN_MS = 5,
	RELAY_NACK_MAX_MS = 5000
};

typedef enum relay_lane_id {
	RELAY_MAIN = 0,
	RELAY_DRAIN = 1,
	RELAY_RELEASE = 2
} relay_lane_id;

#define RELAY_TOKEN(lane, at) ((uint64_t)(lane) << 62 | (at))
#define RELAY_TOKEN_LANE(token) ((relay_lane_id)((token) >> 62))
#define RELAY_TOKEN_AT(token) ((token) & (((uint64_t)1 << 62) - 1))

typedef struct relay_lane {
	relay_lane_id id;
	wbi_window *window;
	bool active;
	uint16_t only; /* DRAIN: the exchange it drains */
} relay_lane;

typedef enum relay_exchange_state {
	RELAY_OPEN,
	RELAY_HELD,     /* missing, or refused to us */
	RELAY_FOUND,    /* there again; waits for the drain lane */
	RELAY_DRAINING
} relay_exchange_state;

typedef struct relay_exchange {
	char name[256];
	relay_exchange_state state;
	bool suspect;       /* the channel closed on it, perhaps: being asked */
	bool asked;         /* a probe is on its way */
	bool dirty;         /* its row has changed */
	bool row;           /* it has a row in relay.held */
	uint64_t first;     /* HELD and later: nothing of it before here */
	int64_t since_us;   /* real time */
	int64_t probe_at_us; /* monotonic */
	char text[256];     /* the broker's words */
} relay_exchange;

typedef enum relay_release_state {
	RELAY_RELEASE_FREE,
	RELAY_RELEASE_READY, /* the next row may go, not before due_us */
	RELAY_RELEASE_SENT,
	RELAY_RELEASE_PAUSED, /* no further row in sight: see next commit */
	RELAY_RELEASE_HELD,   /* its exchange is: over with the next commit, and
				 begun again when that is found */
	RELAY_RELEASE_FAILED  /* parks again with the next commit */
} relay_release_state;

typedef struct relay_release {
	relay_release_state state;
	char key[256];
	size_t key_len;     /* 0: one unordered event, `position` */
	uint16_t exchange;
	uint64_t position;  /* in flight, or failed */
	uint64_t begin, done; /* delivered, rows not yet deleted; 0: none */
	int64_t due_us;
	uint32_t nacks;
	bool exposed;       /* `position` was sent before */
	bool accept;        /* its route accepts what is not routed */
	char type[256];     /* then: for the count */
	uint16_t reply_code;
	uint8_t reason;
} relay_release;

typedef struct relay_unrouted {
	char type[256];
	uint64_t count;
} relay_unrouted;

struct wb_relay {
	wb_store *store;
	wb_broker *broker;
	const wb_routes *routes;
	wb_routes *own_routes; /* when the caller gave none */
	wb_relay_options options;
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
	wbi_journal journal;
	uint64_t hash_seed;

	/* ownership and state */
	int owner_fd;
	bool owner;
	wb_relay_state state;
	atomic_int stop_asked;
	int64_t stop_deadline_us;
	bool stopped_closing;
	int64_t now_us; /* monotonic, at the start of this step */
	int64_t deadline_us;
	int64_t own_at_us;
	bool told_waiting;
	int64_t readers_at_us;

	/* connection */
	bool up, channel_open, blocked, connecting;
	wbi_backoff connect_backoff;
	int64_t connect_at_us;
	wbi_backoff channel_backoff;
	int64_t reopen_at_us; /* INT64_MAX: no reopen wanted */
	int64_t progress_us;  /* last settlement, or first send after none */
	char why[256];        /* last trouble, for people */

	/* after a channel was closed for an unknown reason: one at a time */
	uint32_t careful;
	uint64_t last_token;

	/* what there is to send */
	relay_lane lanes[2];
	uint64_t head;
	bool look;           /* the store may have more than `head` */
	int64_t look_at_us[2]; /* after an empty wake */
	int64_t look_pause_us; /* of a commit that cannot be seen yet */
	relay_exchange *exchanges; /* RELAY_EXCHANGES_MAX */
	size_t exchange_count;
	uint16_t route_exchange[WB_ROUTES_MAX + 1]; /* by route */
	char *routes_text; /* the routes, as holds remember them */
	size_t routes_len;
	uint32_t suspects;
	relay_release releases[RELAY_RELEASES_MAX];
	uint32_t release_sent, release_exposed;
	bool release_more; /* rows may be released that are not in `releases` */
	bool release_full; /* some were, and there was no room for them */

	/* the relay's environment */
	MDB_env *env;
	uint64_t env_txn;    /* last transaction there that was looked at */
	uint64_t parked_keys; /* rows of relay.keys */
	int64_t commit_at_us; /* not before, unless the window presses */
	int64_t commit_soon_us; /* nor before this when all is settled */
	int64_t commit_cost_us;
	bool commit_refused; /* the last one failed: wait for commit_at_us */
	uint64_t floor;
	bool park_full; /* parked_max_bytes is reached */
	bool status_dirty;
	int64_t status_at_us;
	int64_t since_us; /* real time of the last change of state */
	uint64_t totals[WBI_STATUS_COUNTERS]; /* before this run */
	relay_unrouted unrouted[RELAY_UNROUTED_MAX];
	size_t unrouted_count;
	uint8_t *actions; /* two lanes' slots: scratch of a commit */
	int64_t pid;

	wb_relay_stat stat;

	/* scratch for one message */
	wb_header headers[WBI_RECORD_HEADERS_MAX];
	wb_header message_headers[WBI_RECORD_HEADERS_MAX +
				  WBI_ENVELOPE_HEADERS];
	char *names; /* WBI_RECORD_HEADERS_MAX names with prefix */
	size_t names_size;
	char scratch[WBI_ENVELOPE_SCRATCH];
	bool again;          /* the batch was the limit: step again at once */
	bool choked;         /* the adapter could take no more just now */
	uint32_t batch_left; /* bytes that may still go in this step */

	/* the loop: see relay_loop.c */
	wbi_loop loop;
	int store_watch;
	int64_t poll_at_us; /* look at the store then, hint or no hint */
};

/* relay_start.c */
wb_code wbi_relay_own(wb_relay *relay, wb_error *err);
void wbi_relay_disown(wb_relay *relay);

/* relay_reroute.c */
wb_code wbi_relay_describe_routes(wb_relay *relay, wb_error *err);
wb_code wbi_relay_reroute(wb_relay *relay, wb_str exchange,
			  const wbi_held *row, wb_error *err);

/* relay_send.c */
wb_code wbi_relay_pump(wb_relay *relay, wb_error *err);
wb_code wbi_relay_send(wb_relay *relay, uint64_t token, uint64_t position,
		       wb_event *event, wb_str record, wb_error *err);
uint16_t wbi_relay_exchange_of(const wb_relay *relay, const wb_route *route);
uint64_t wbi_relay_hash(const wb_relay *relay, const wb_route *route,
			wb_str key);
uint32_t wbi_relay_sent(const wb_relay *relay);
bool wbi_relay_may_send(const wb_relay *relay);
bool wbi_relay_room(const wb_relay *relay, bool lowest);

/* relay_hold.c */
void wbi_relay_channel_closed(wb_relay *relay, const wb_broker_event *event);
void wbi_relay_probe_answer(wb_relay *relay, const wb_broker_event *event);
void wbi_relay_probe(wb_relay *relay);
void wbi_relay_holds_lost(wb_relay *relay);
void wbi_relay_drain_check(wb_relay *relay);
/* Is a held exchange about to be asked for, found or drained? */
bool wbi_relay_hold_undecided(const wb_relay *relay);
uint64_t wbi_relay_floor(const wb_relay *relay, uint64_t cursor);

/* relay_release.c */
wb_code wbi_relay_release_refill(wb_relay *relay, MDB_txn *env_txn,
				 wb_error *err);
wb_code wbi_relay_release_pump(wb_relay *relay, MDB_txn *env_txn,
			       wb_error *err);
void wbi_relay_release_settle(wb_relay *relay, size_t index,
			      const wb_broker_event *event);
void wbi_relay_release_lost(wb_relay *relay);
bool wbi_relay_release_sent_to(const wb_relay *relay, uint16_t exchange);
void wbi_relay_release_refused(wb_relay *relay, size_t index,
			       uint16_t reply_code);
wb_code wbi_relay_release_delete(wb_relay *relay, MDB_txn *txn, wb_error *err);
wb_code wbi_relay_release_park(wb_relay *relay, MDB_txn *txn, wb_error *err);
wb_code wbi_relay_release_committed(wb_relay *relay, MDB_txn *env_txn,
				    wb_error *err);
bool wbi_relay_release_dirty(const wb_relay *relay);
bool wbi_relay_release_active(const wb_relay *relay);
bool wbi_relay_release_can_go(const wb_relay *relay);
int64_t wbi_relay_release_due_us(const wb_relay *relay);

/* relay_commit.c */
wb_code wbi_relay_commit_if_due(wb_relay *relay, wb_error *err);
wb_code wbi_relay_commit(wb_relay *relay, wb_error *err);
int64_t wbi_relay_commit_due_us(const wb_relay *relay);

/* relay.c */
void wbi_relay_lost(wb_relay *relay);
void wbi_relay_trouble(wb_relay *relay, wb_log_level level, const char *format,
		       ...) WB_PRINTF(3, 4);
void wbi_relay_trouble_over(wb_relay *relay);
int64_t wbi_relay_nack_due(wb_relay *relay, uint32_t nacks);
void wbi_relay_count_unrouted(wb_relay *relay, wb_str type);

#endif
