/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory broker's insides, shared by its files only.
 *
 *   message.c     a message with its bytes in one piece, counted
 *   topology.c    exchanges, queues, bindings: declare, delete, route
 *   queue.c       what waits, what is unacked, the log of arrivals
 *   connection.c  the client's half: the slots of wb_broker_ops
 *   server.c      the broker's half: reading, settling, closing, cutting
 *   script.c      the public script, chaos and inspection calls
 *
 * A publish is one item for its whole life: buffer -> wire -> outcome. What a
 * connection may still have to say is reserved in its ring of events when a
 * call is accepted, so that a step never fails for want of memory.
 */
#ifndef WBI_MEMORY_MODEL_H
#define WBI_MEMORY_MODEL_H

#include <waybill/memory.h>

enum {
	WBI_MEM_REQUESTS_MAX = 131072, /* requests not yet read, per link */
	WBI_MEM_SPARE_EVENTS = 16,     /* room for what no call announces */
	WBI_MEM_NAME_MAX = 255,
	WBI_MEM_TEXT_MAX = 256 /* a short string, as replies have */
};

typedef struct wbi_mem_queue wbi_mem_queue;
typedef struct wbi_mem_link wbi_mem_link;

typedef struct wbi_mem_message {
	uint32_t refs;
	size_t charge; /* bytes, for the buffer's bound */
	wb_message view;
} wbi_mem_message;

/* One message in one queue: in `ready`, or in a link's `unacked`. */
typedef struct wbi_mem_entry {
	struct wbi_mem_entry *next, *prev;
	wbi_mem_message *message;
	uint64_t place; /* order within the queue, for ever */
	uint64_t tag;   /* while unacked */
	bool redelivered;
	bool duplicate; /* goes away without trace when it is settled */
	bool asked; /* the client has settled it; the broker read that not yet
		     */
} wbi_mem_entry;

typedef struct wbi_mem_list {
	wbi_mem_entry *first, *last;
	uint64_t count;
} wbi_mem_list;

struct wbi_mem_queue {
	char name[WBI_MEM_NAME_MAX + 1];
	char *arguments; /* as one comparable text */
	bool exists;     /* false: deleted; its log stays */
	bool single_active;
	bool reject_publish;
	bool stream; /* argument x-queue-type: read and never taken from */
	int64_t max_length; /* -1: none */
	uint64_t next_place;
	uint64_t routed_by; /* number of the last routing that chose it */
	wbi_mem_list ready;
	wb_memory_queue_stat stat;
	wbi_mem_link *consumers[WB_MEMORY_CONNECTIONS_MAX];
	size_t consumer_count;
	wbi_mem_message **log;
	size_t log_count, log_capacity;
};

typedef enum wbi_mem_type {
	WBI_MEM_DIRECT,
	WBI_MEM_FANOUT,
	WBI_MEM_TOPIC
} wbi_mem_type;

typedef struct wbi_mem_exchange {
	char name[WBI_MEM_NAME_MAX + 1];
	wbi_mem_type type;
	char alternate[WBI_MEM_NAME_MAX + 1]; /* argument alternate-exchange, "":
					none */
	int64_t hidden_until_us; /* missing before this time */
} wbi_mem_exchange;

typedef struct wbi_mem_binding {
	wbi_mem_exchange *exchange;
	wbi_mem_queue *queue;
	char key[WBI_MEM_NAME_MAX + 1];
} wbi_mem_binding;

/* A message on its way, or its outcome. */
typedef struct wbi_mem_item {
	struct wbi_mem_item *next;
	wbi_mem_message *message;
	uint64_t token;
	int64_t due_us; /* of the outcome; of a straggler's arrival */
	uint64_t rank;  /* among outcomes due at the same time */
	wb_broker_event_kind outcome;
} wbi_mem_item;

typedef struct wbi_mem_items {
	wbi_mem_item *first, *last;
	size_t count;
	size_t bytes;
} wbi_mem_items;

typedef enum wbi_mem_request_kind {
	WBI_MEM_DECLARE,
	WBI_MEM_CONSUME,
	WBI_MEM_ACK,
	WBI_MEM_REJECT,
	WBI_MEM_REOPEN
} wbi_mem_request_kind;

typedef struct wbi_mem_request {
	struct wbi_mem_request *next;
	wbi_mem_request_kind kind;
	uint64_t token;
	uint64_t delivery;
	bool flag; /* ACK: multiple; REJECT: requeue */
	uint16_t prefetch;
	wb_declaration
		declaration; /* strings follow the struct; CONSUME: name */
} wbi_mem_request;

/* What `next` will tell; smaller than wb_broker_event by far. */
typedef struct wbi_mem_event {
	wb_broker_event_kind kind;
	wb_code code;
	uint16_t reply_code;
	bool redelivered;
	uint64_t token;
	uint64_t delivery;
	wbi_mem_message *message; /* a reference, or NULL */
	bool of_stream;
	uint64_t offset; /* in it */
	char text[WBI_MEM_TEXT_MAX];
} wbi_mem_event;

typedef struct wbi_mem_cut {
	bool set;
	wbi_mem_link *link; /* NULL: any */
	uint64_t publishes; /* still to be read; 0: by time */
	int64_t due_us;
	uint32_t take_max, take_late_us, confirm_max;
} wbi_mem_cut;

typedef enum wbi_mem_state {
	WBI_MEM_DOWN,
	WBI_MEM_CONNECTING,
	WBI_MEM_UP,
	WBI_MEM_CLOSING
} wbi_mem_state;

typedef enum wbi_mem_channel {
	WBI_MEM_OPEN,
	WBI_MEM_SHUT,
	WBI_MEM_OPENING
} wbi_mem_channel;

/* One connection, both halves. */
struct wbi_mem_link {
	wb_broker broker; /* what the caller holds */
	wb_memory *memory;
	wbi_mem_state state;
	wbi_mem_channel channel;
	int64_t since_us; /* of connect or close, for their timeouts */
	bool blocked;
	int event_fd; /* -1: not made, -2: cannot be made */
	bool signalled;

	wbi_mem_items buffer;   /* published, not flushed */
	wbi_mem_items wire;     /* flushed, not read */
	wbi_mem_item **settles; /* read: a heap by (due_us, rank) */
	size_t settle_count, settle_capacity;
	int64_t last_due_us;
	uint64_t reads;

	wbi_mem_request *requests, **requests_end;
	size_t request_count;

	wbi_mem_event *events; /* a ring */
	size_t event_first, event_count, event_capacity;
	wbi_mem_message *told; /* of the event that was taken last */
	wb_header *told_headers; /* its headers, and the offset */
	char told_offset[24];
	char told_text[WBI_MEM_TEXT_MAX];

	wbi_mem_queue *queue; /* consumed; NULL: none */
	uint64_t consumer;    /* its token */
	uint16_t prefetch;
	uint64_t stream_next; /* offset of a stream's next delivery */
	bool cancelled; /* the queue is gone; to be told */
	wbi_mem_list unacked;
	uint64_t last_tag; /* never starts again: a tag means one delivery */
	wbi_mem_list orphans; /* unacked, of queues that were deleted */

	wbi_mem_cut cut;     /* asked for; done in the next step */
	uint16_t close_code; /* likewise; 0: none */
};

struct wb_memory {
	const wb_clock *clock;
	const wb_random *random;
	wb_memory_settings settings; /* no zero where that means a default */
	wb_memory_chaos chaos;
	wb_memory_stat stat;

	wbi_mem_link *links[WB_MEMORY_CONNECTIONS_MAX];
	size_t link_count;
	wbi_mem_exchange *exchanges[WB_MEMORY_EXCHANGES_MAX];
	size_t exchange_count;
	wbi_mem_queue *queues[WB_MEMORY_QUEUES_MAX];
	size_t queue_count;
	wbi_mem_binding *bindings[WB_MEMORY_BINDINGS_MAX];
	size_t binding_count;
	uint64_t routings;

	wbi_mem_items stragglers; /* by due_us */
	wbi_mem_cut cuts[WB_MEMORY_CUTS_MAX];
	uint32_t nack_next, return_next, refuse_next, duplicate_next;
	bool frozen, blocked;
	int64_t frozen_since_us;
	int64_t thaw_us, unblock_us; /* of chaos; INT64_MAX: by script */
};

/* message.c */
wb_code wbi_mem_message_check(const wb_message *message, wb_error *err);
wbi_mem_message *wbi_mem_message_copy(const wb_message *message);
wbi_mem_message *wbi_mem_message_ref(wbi_mem_message *message);
void wbi_mem_message_unref(wbi_mem_message *message); /* NULL allowed */
wbi_mem_request *wbi_mem_request_copy(const wb_declaration *declaration);

/* topology.c */
wbi_mem_exchange *wbi_mem_find_exchange(const wb_memory *memory, wb_str name,
					int64_t now_us);
wbi_mem_queue *wbi_mem_find_queue(const wb_memory *memory, wb_str name);
void wbi_mem_unbind(wb_memory *memory, const wbi_mem_exchange *exchange,
		    const wbi_mem_queue *queue); /* NULL: any */
/* Returns an AMQP reply code, 0 for success, with the reason in *err. */
uint16_t wbi_mem_declare(wb_memory *memory, const wb_declaration *what,
			 int64_t now_us, wb_error *err);
/* Put it into every queue it is for. *ret_refused: some queue was full. Returns
 * how many queues it was for. */
size_t wbi_mem_route(wb_memory *memory, const wbi_mem_exchange *exchange,
		     wbi_mem_message *message, int64_t now_us,
		     bool *ret_refused);

/* queue.c */
bool wbi_mem_queue_put(wb_memory *memory, wbi_mem_queue *queue,
		       wbi_mem_message *message);
bool wbi_mem_queue_has_work(const wbi_mem_link *link);
void wbi_mem_queue_deliver(wbi_mem_link *link);
void wbi_mem_queue_join(wbi_mem_queue *queue, wbi_mem_link *link);
/* Where a consumer of a stream begins, by its argument; false: it is none. */
bool wbi_mem_stream_begin(const wbi_mem_queue *queue, const wb_declaration *how,
			  uint64_t *ret);
void wbi_mem_queue_leave(wbi_mem_link *link); /* requeues what is unacked */
/* Note that the client settles this one, or all up to it; false: there is none
 * outstanding. */
bool wbi_mem_queue_ask(wbi_mem_link *link, uint64_t tag, bool multiple);
/* The broker has read it. No effect if the delivery is gone by now. */
void wbi_mem_queue_ack(wbi_mem_link *link, uint64_t tag, bool multiple);
void wbi_mem_queue_reject(wbi_mem_link *link, uint64_t tag, bool requeue);
void wbi_mem_queue_delete(wbi_mem_queue *queue);
/* Its channel is closed: nothing of a deleted queue can be settled now. */
void wbi_mem_queue_forget_orphans(wbi_mem_link *link);
void wbi_mem_queue_free(wbi_mem_queue *queue);

/* connection.c */
void wbi_mem_items_push(wbi_mem_items *items, wbi_mem_item *item);
wbi_mem_item *wbi_mem_items_pop(wbi_mem_items *items); /* NULL: empty */
void wbi_mem_item_free(wbi_mem_item *item);            /* NULL allowed */
/* A new event at the end; the caller fills it in. NULL only if `spare`, for
 * what can be said later as well. */
wbi_mem_event *wbi_mem_tell(wbi_mem_link *link, wb_broker_event_kind kind,
			    bool spare);
/* The eventfds of all links say what is so. */
void wbi_mem_signal(wb_memory *memory);

/* server.c */
void wbi_mem_step(wbi_mem_link *link);
int64_t wbi_mem_deadline_us(const wbi_mem_link *link);
void wbi_mem_drop_outstanding(wbi_mem_link *link);
/* The connection's half-sent messages when it is gone: `take` are routed at
 * `due_us`, the rest are lost. */
void wbi_mem_strand(wbi_mem_link *link, size_t take, int64_t due_us);
void wbi_mem_put_settle(wbi_mem_link *link, wbi_mem_item *item);
wbi_mem_item *wbi_mem_take_settle(wbi_mem_link *link);

/* script.c */
int64_t wbi_mem_now_us(const wb_memory *memory);
uint64_t wbi_mem_draw(wb_memory *memory, uint64_t below); /* 0 for 0 */
bool wbi_mem_chance(wb_memory *memory, uint16_t permille);
int64_t wbi_mem_outage_us(wb_memory *memory);

#endif
