/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The choreography example as processes on a real broker: waybill-worker with
 * the three modules, and the shipped commands. Each of them is killed at store
 * and broker calls, over and over, while customers book and pay; each event is
 * delivered a second time, later, by an echo. Then all are left alone, and what
 * the stores hold is counted (tests/examples/choreography/town_count.c).
 *
 *   choreography_faults [--naive] [KILLS [CUSTOMERS [SLOTS]]]
 *
 * WAYBILL_TEST_AMQP names the broker, which is its own. With --naive the naive
 * form goes through the same: its count is printed, and need not be good.
 */
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "examples/choreography/rows.h"
#include "tests/crash/child.h"
#include "tests/crash/doom.h"
#include "tests/examples/choreography/town.h"
#include "tests/faults/echo.h"
#include "tests/kit/scratch.h"

enum {
	COMMANDS = TOWN_SERVICES, /* victims: behind the services */
	VICTIMS,
	DEADLINE_MS = 60000,
	READY_MS = 20000,
	SETTLE_ROUNDS = 600,
	EXPIRE_ROUNDS = 50,
	STILL_ROUNDS = 50, /* without a change: it is at rest */
	ROUND_US = 100000,
	LIVES = 4,        /* a life is up to so many measured ones */
	CROWD = 32,       /* customers at a time, while services die */
	EXPIRES_EVERY = 7 /* who pays a part, and no more */
};

typedef struct faults {
	char dir[PATH_MAX], bin[PATH_MAX], top[PATH_MAX], out[PATH_MAX + 16];
	char stores[TOWN_SERVICES][PATH_MAX + 16];
	const char *uri;
	bool simple; /* the naive form */
	unsigned wanted, customers, slots;
	unsigned refused, adopted;
	unsigned unsure; /* bookings: by commands that died, and not seen */
	char libs[PATH_MAX + 64]; /* where the library is */
	town town; /* its customers, and the stores, opened to be read */
	doom doom[VICTIMS];
	pid_t pids[TOWN_SERVICES];
	bool doomed;
	echo echo;
} faults;

static bool faults_fail(const char *what, const char *why)
{
	fprintf(stderr, "choreography_faults: %s: %s\n", what, why);
	return false;
}

/* The program itself and not libtool's script around it, where there is one. */
static void faults_program(const faults *f, const char *dir, const char *name,
			   char ret[PATH_MAX + 64])
{
	snprintf(ret, PATH_MAX + 64, "%s/%s/.libs/%s", f->top, dir, name);
	if (access(ret, X_OK) != 0)
		snprintf(ret, PATH_MAX + 64, "%s/%s/%s", f->top, dir, name);
}

/* ---- services ------------------------------------------------------------ */

static pid_t faults_start_service(faults *f, int which,
				  const char *const doomed[])
{
	char program[PATH_MAX + 64], module[PATH_MAX + 64], amqp[400];
	char store[PATH_MAX + 64];
	const char *shipped[] = {program,
				 "--store",
				 f->stores[which],
				 "--module",
				 module,
				 "--queue",
				 town_names[which],
				 "--no-supervisor",
				 "--delivery-limit",
				 "1000000",
				 "--batch-max",
				 "7",
				 "--prefetch",
				 "40",
				 "--commit-ms",
				 "2",
				 "--backoff-min-ms",
				 "5",
				 "--log-level",
				 "error",
				 NULL};
	const char *simple[] = {program, town_names[which], "run", NULL};
	const char *env[10] = {amqp, store, f->libs};
	size_t n = 3;

	snprintf(amqp, sizeof(amqp), "WAYBILL_AMQP=%s", f->uri);
	snprintf(store, sizeof(store), "NAIVE_STORE=%s", f->stores[which]);
	snprintf(module, sizeof(module), "%s/.libs/choreo_%s.so", f->bin,
		 town_names[which]);
	if (f->simple)
		faults_program(f, "examples/choreography/naive", "naive",
			       program);
	else
		faults_program(f, ".", "waybill-worker", program);
	for (size_t i = 0; doomed && doomed[i]; i++)
		env[n++] = doomed[i];
	return child_start(f->simple ? simple : shipped, env, f->out);
}

/* Dead ones are started anew, to die again as long as it goes on. */
static bool faults_tend(faults *f)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		if (f->pids[i] > 0 && child_alive(f->pids[i]))
			continue;
		if (f->pids[i] > 0) {
			int status = child_wait(f->pids[i], 1000);

			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
				return faults_fail(town_names[i],
						   "it ended by itself");
			if (!doom_note(&f->doom[i]))
				return false;
		}
		f->pids[i] = faults_start_service(
			f, i, f->doomed ? doom_next(&f->doom[i]) : NULL);
	}
	return true;
}

static void faults_stop_all(faults *f)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		child_kill(f->pids[i]);
		f->pids[i] = 0;
	}
}

static unsigned faults_kills(const faults *f)
{
	unsigned kills = 0;

	for (int v = 0; v < VICTIMS; v++)
		kills += f->doom[v].kills;
	return kills;
}

/* ---- commands ------------------------------------------------------------ */

/* Its answer, one line; false: it was refused or killed (*ret_killed). */
static bool faults_command(faults *f, int which, const char *verb,
			   const char *a, const char *b, bool *ret_killed,
			   char *answer, size_t size)
{
	char program[PATH_MAX + 64], amqp[400], store[PATH_MAX + 64],
		stores[64];
	char out[PATH_MAX + 64], own[PATH_MAX + 100];
	const char *shipped[] = {program, verb, a, b, NULL};
	const char *simple[] = {program, town_names[which], verb, a, b, NULL};
	const char *env[10] = {amqp, store, own, f->libs};
	const char *const *doomed =
		f->doomed ? doom_next(&f->doom[COMMANDS]) : NULL;
	size_t n = 4;
	FILE *file;
	int status;

	snprintf(stores, sizeof(stores), "%s",
		 which == TOWN_BOOKING   ? "BOOKING_STORE"
		 : which == TOWN_BILLING ? "BILLING_STORE"
					 : "PARKING_STORE");
	snprintf(own, sizeof(own), "%s=%s", stores, f->stores[which]);
	snprintf(amqp, sizeof(amqp), "WAYBILL_AMQP=%s", f->uri);
	snprintf(store, sizeof(store), "NAIVE_STORE=%s", f->stores[which]);
	faults_program(f,
		       f->simple ? "examples/choreography/naive"
				 : "examples/choreography",
		       f->simple ? "naive" : town_names[which], program);
	snprintf(out, sizeof(out), "%s/answer", f->dir);
	for (size_t i = 0; doomed && doomed[i]; i++)
		env[n++] = doomed[i];
	unlink(out);
	status = child_run(f->simple ? simple : shipped, env, out, DEADLINE_MS);
	*ret_killed = status >= 0 && WIFSIGNALED(status);
	if (*ret_killed && f->doomed)
		doom_note(&f->doom[COMMANDS]);
	else if (f->doomed)
		f->doom[COMMANDS].missed++;
	answer[0] = '\0';
	file = fopen(out, "r");
	if (file) {
		if (fgets(answer, (int)size, file))
			answer[strcspn(answer, "\n")] = '\0';
		fclose(file);
	}
	return status == 0;
}

/* ---- what the stores hold ------------------------------------------------ */

static bool faults_open_stores(faults *f)
{
	town *t = &f->town;

	for (int i = 0; i < TOWN_SERVICES; i++) {
		wb_store_options o = WB_STORE_OPTIONS_INIT;
		MDB_txn *txn;
		wb_code code;

		o.service = town_names[i];
		code = wb_store_create(f->stores[i], &o, &t->err);
		if (code == WB_OK)
			code = wb_store_open(f->stores[i], NULL,
					     &t->services[i].store, &t->err);
		if (code == WB_OK)
			code = wb_store_begin(t->services[i].store, &txn,
					      &t->err);
		if (code != WB_OK)
			return faults_fail(f->stores[i], t->err.text);
		code = i == TOWN_BOOKING ? booking_open(txn, &t->booking, NULL)
		       : i == TOWN_BILLING
			       ? billing_open(txn, &t->billing, NULL)
			       : parking_open(txn, &t->parking, NULL);
		for (unsigned n = 0;
		     i == TOWN_PARKING && n < f->slots && code == WB_OK; n++) {
			char name[32], uuid[WB_UUID_TEXT_LEN + 1];

			snprintf(name, sizeof(name), "s%u", n);
			wb_uuid7(wb_system_clock(), wb_system_random(), uuid);
			code = parking_add(&t->parking, txn, wb_str_from(name),
					   uuid, &t->err);
		}
		if (code != WB_OK || wb_store_commit(t->services[i].store, txn,
						     &t->err) != WB_OK)
			return faults_fail(f->stores[i], t->err.text);
	}
	return true;
}

/* ---- customers ----------------------------------------------------------- */

typedef struct adoption {
	faults *f;
	char found[FLOW_REF_MAX];
} adoption;

static wb_code adopt_see(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	adoption *a = ctx;
	const town *t = &a->f->town;

	(void)row;
	(void)err;
	for (size_t i = t->customer_count; i-- > 0;)
		if (wb_str_eq(wb_str_from(t->customers[i].ref), ref))
			return WB_OK;
	rows_text(a->found, sizeof(a->found), ref);
	return WB_OK;
}

/* The command died: has it booked? Whoever asks looks first. */
static void faults_adopt(faults *f, const char *prefix, char *ref, size_t size)
{
	adoption a = {.f = f};
	town *t = &f->town;
	MDB_txn *txn;

	if (mdb_txn_begin(wb_store_env(t->services[TOWN_BOOKING].store), NULL,
			  MDB_RDONLY, &txn))
		return;
	(void)rows_each(txn, t->booking.bookings, wb_str_from(prefix),
			sizeof(booking), adopt_see, &a, NULL);
	mdb_txn_abort(txn);
	snprintf(ref, size, "%s", a.found);
	f->adopted += a.found[0] != '\0';
}

/* Books until it is booked. */
static void faults_book(faults *f, size_t i)
{
	town_customer *c = &f->town.customers[i];
	char name[32], ref[FLOW_REF_MAX + 32], prefix[40];
	bool killed = false;

	snprintf(name, sizeof(name), "s%zu", i % f->slots);
	snprintf(prefix, sizeof(prefix), "%s:", name);
	if (f->simple)
		snprintf(ref, sizeof(ref), "%s:%zu", name, i);
	if (f->simple) {
		char answer[256];

		/* It would say its reference itself: whether it is booked is
		 * seen in the store. */
		(void)faults_command(f, TOWN_BOOKING, "create-booking", ref,
				     NULL, &killed, answer, sizeof(answer));
		faults_adopt(f, prefix, ref, sizeof(ref));
	} else if (!faults_command(f, TOWN_BOOKING, "create-booking", name,
				   NULL, &killed, ref, sizeof(ref))) {
		ref[0] = '\0';
		faults_adopt(f, prefix, ref, sizeof(ref));
	}
	c->booked = ref[0] != '\0';
	f->unsure += !c->booked && killed;
	snprintf(c->ref, sizeof(c->ref), "%.*s", FLOW_REF_MAX - 1, ref);
}

/* A booking that was not seen when its command had died (see faults_pay), and
 * is there all the same: then somebody booked twice. */
static void faults_adopt_unsure(faults *f)
{
	town *t = &f->town;

	while (f->unsure > 0 && !t->failed) {
		char ref[FLOW_REF_MAX];

		faults_adopt(f, "", ref, sizeof(ref));
		if (!ref[0])
			return;
		f->unsure--;
		town_add_customer(t, 0, TOWN_PAYS);
		snprintf(t->customers[t->customer_count - 1].ref, sizeof(ref),
			 "%s", ref);
		t->customers[t->customer_count - 1].booked = true;
	}
}

/* He is told, or he is not sure. He cannot just look: a commit whose process
 * died behind its last write is seen by others when the next writer has
 * recovered LMDB's lock, and not before. */
static void faults_pay(faults *f, size_t i, const char *amount)
{
	town_customer *c = &f->town.customers[i];
	int64_t minor = 0;
	char answer[256];
	bool killed;

	(void)money_read(wb_str_from(amount), &minor);
	if (faults_command(f, TOWN_BILLING, "pay-bill", c->ref, amount, &killed,
			   answer, sizeof(answer)))
		c->paid += minor;
	else if (killed)
		c->unsure += minor;
	else
		f->refused++;
}

/* In the end the bill says which of the unsure payments were made; more than
 * them, or less than the others, stays wrong. */
static void faults_make_sure(faults *f)
{
	for (size_t i = 0; i < f->town.customer_count; i++) {
		town_customer *c = &f->town.customers[i];
		bill b;

		if (c->unsure > 0 && town_look_at_bill(&f->town, i, &b) &&
		    b.paid >= c->paid && b.paid <= c->paid + c->unsure)
			c->paid = b.paid;
	}
}

/* One thing that this customer does; false: he has nothing to do now. */
static bool faults_turn(faults *f, size_t i)
{
	town_customer *c = &f->town.customers[i];
	bool parts = i % EXPIRES_EVERY == 3 && !f->simple;
	bill b;

	if (!c->booked) {
		faults_book(f, i);
		return true;
	}
	if (!town_look_at_bill(&f->town, i, &b) || b.state != BILL_PENDING ||
	    (parts && b.paid > 0))
		return false;
	faults_pay(f, i,
		   parts                       ? "30"
		   : b.paid == 0 && i % 5 == 0 ? "60"
		   : b.paid == 0               ? "100"
					       : "40");
	return true;
}

/* The last `most` of them. */
static bool faults_customers(faults *f, size_t most)
{
	size_t count = f->town.customer_count;
	bool any = false;

	for (size_t i = count > most ? count - most : 0; i < count; i++) {
		any = faults_turn(f, i) || any;
		if (!faults_tend(f) || !echo_step(&f->echo))
			return false;
	}
	if (!any)
		usleep(20000);
	return true;
}

/* ---- to the end ---------------------------------------------------------- */

/* Bills that are paid in part expire now, as if their day had come. Later ones
 * do so `again`: a timer may be under way then. */
static bool faults_expire(faults *f, bool again)
{
	for (size_t i = 0; i < f->town.customer_count; i++) {
		char program[PATH_MAX + 32], name[FLOW_REF_MAX + 16];
		const char *argv[] = {program,
				      "timer",
				      "move",
				      "--store",
				      f->stores[TOWN_BILLING],
				      "--handler",
				      "flow.reservation",
				      "--name",
				      name,
				      "--to",
				      "1s",
				      "--why",
				      "test",
				      NULL};
		bill b;

		if (!town_look_at_bill(&f->town, i, &b) ||
		    b.state != BILL_PENDING)
			continue;
		snprintf(program, sizeof(program), "%s/waybill", f->top);
		snprintf(name, sizeof(name), "%s/bill",
			 f->town.customers[i].ref);
		if (child_run(argv, NULL, f->out, DEADLINE_MS) != 0 && !again)
			return faults_fail(name, "its timer cannot be moved");
	}
	return true;
}

static bool faults_count(faults *f)
{
	faults_make_sure(f);
	f->town.count = (town_count){.deaths = faults_kills(f)};
	town_counting(&f->town);
	return !f->town.failed;
}

/* Until the count is good, or nothing changes any more. */
static bool faults_settle(faults *f)
{
	town_count last = {.deaths = 0};
	int still = 0;

	for (int i = 0; i < SETTLE_ROUNDS; i++) {
		/* A bill may have come after its customer had gone. */
		if (!f->simple && i % EXPIRE_ROUNDS == 0 &&
		    !faults_expire(f, i > 0))
			return false;
		if (!faults_tend(f) || !echo_step(&f->echo) || !faults_count(f))
			return false;
		if (town_count_is_good(&f->town.count) &&
		    echo_is_done(&f->echo))
			return true;
		still = memcmp(&last, &f->town.count, sizeof(last)) ? 0
								    : still + 1;
		last = f->town.count;
		if (still > STILL_ROUNDS && f->simple)
			return true;
		usleep(ROUND_US);
	}
	return true;
}

static bool faults_act(faults *f)
{
	f->doomed = true;
	/* Customers come in one after the other, and it goes on until there
	 * were enough kills. */
	while (faults_kills(f) < f->wanted ||
	       f->town.customer_count < f->customers) {
		if (f->town.customer_count < f->customers)
			town_add_customer(&f->town, 0, TOWN_PAYS);
		if (!faults_customers(f, CROWD))
			return false;
	}
	f->doomed = false;
	faults_stop_all(f);
	for (int i = 0; i < 40; i++) {
		faults_adopt_unsure(f);
		if (!faults_customers(f, SIZE_MAX))
			return false;
	}
	if (!faults_settle(f))
		return false;
	/* What comes again now finds it done. */
	echo_repeat_all(&f->echo);
	for (int i = 0; i < 30; i++) {
		if (!faults_tend(f) || !echo_step(&f->echo))
			return false;
		usleep(ROUND_US);
	}
	return faults_count(f);
}

/* How many calls each makes in a life of about a second. */
static bool faults_measure(faults *f)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		pid_t pid =
			faults_start_service(f, i, doom_counted(&f->doom[i]));

		usleep(1500000);
		child_kill(pid);
		if (!doom_measure(&f->doom[i], 0))
			return false;
		f->doom[i].calls *= LIVES;
	}
	f->doom[COMMANDS].calls = 200;
	return true;
}

/* ---- the whole ----------------------------------------------------------- */

static bool faults_open(faults *f, const char *self)
{
	static const char *const names[VICTIMS] = {"booking", "billing",
						   "parking", "command"};
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX], crash[PATH_MAX + 32];

	f->town.running = TOWN_NOBODY;
	f->town.plan.doom.service = TOWN_NOBODY;
	if (!realpath(self, path))
		return false;
	snprintf(f->bin, sizeof(f->bin), "%s", dirname(path));
	snprintf(f->top, sizeof(f->top), "%.4000s/../..", f->bin);
	snprintf(f->libs, sizeof(f->libs), "LD_LIBRARY_PATH=%s/.libs", f->top);
	snprintf(crash, sizeof(crash), "%s/tests/crash", f->top);
	snprintf(f->dir, sizeof(f->dir), "%.4000s/waybill-choreography-XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(f->dir))
		return false;
	snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
	for (int v = 0; v < VICTIMS; v++)
		if (!doom_init(&f->doom[v], names[v], crash, f->dir))
			return false;
	snprintf(path, sizeof(path), "%s", f->dir);
	for (int i = 0; i < TOWN_SERVICES; i++)
		snprintf(f->stores[i], sizeof(f->stores[i]), "%.4000s/%s", path,
			 town_names[i]);
	return faults_open_stores(f) && faults_measure(f) &&
	       echo_open(&f->echo, f->uri);
}

static void faults_close(faults *f, bool good)
{
	faults_stop_all(f);
	echo_close(&f->echo);
	for (int i = 0; i < TOWN_SERVICES; i++)
		wb_store_close(f->town.services[i].store);
	for (int v = 0; v < VICTIMS; v++)
		doom_fini(&f->doom[v]);
	free(f->town.customers);
	if (good)
		kit_scratch_remove(f->dir);
	else
		fprintf(stderr, "choreography_faults: files are in %s\n",
			f->dir);
}

static bool faults_report(faults *f)
{
	size_t points = 0;
	bool good;

	for (int v = 0; v < VICTIMS; v++) {
		doom_print(&f->doom[v]);
		points += f->doom[v].point_count;
	}
	f->town.count.deaths = faults_kills(f);
	f->town.count.deliveries = f->echo.again;
	good = town_count_is_good(&f->town.count);
	printf("choreography_faults: %u kills at %zu distinct points, %u of "
	       "commands; %u bookings of commands that were killed; %" PRIu64
	       " events heard, %" PRIu64 " delivered again\n",
	       faults_kills(f), points, f->doom[COMMANDS].kills, f->adopted,
	       f->echo.heard, f->echo.again);
	town_count_print(&f->town.count,
			 f->simple ? "naive" : "choreography_faults", stdout);
	return good || f->simple;
}

static unsigned faults_number(int argc, char **argv, int at, unsigned other)
{
	return argc > at ? (unsigned)strtoul(argv[at], NULL, 10) : other;
}

int main(int argc, char **argv)
{
	static faults f;
	bool ok;
	int at = 1;

	f.uri = getenv("WAYBILL_TEST_AMQP");
	if (!f.uri) {
		fprintf(stderr, "choreography_faults: WAYBILL_TEST_AMQP names "
				"no broker\n");
		return 77;
	}
	f.simple = argc > 1 && !strcmp(argv[1], "--naive");
	at += f.simple;
	f.wanted = faults_number(argc, argv, at, 60);
	f.customers = faults_number(argc, argv, at + 1, 40);
	f.slots = faults_number(argc, argv, at + 2, 10);
	ok = f.slots > 0 && faults_open(&f, argv[0]) && faults_act(&f);
	if (f.town.failed)
		fprintf(stderr, "choreography_faults: %s\n", f.town.why);
	ok = ok && faults_report(&f);
	faults_close(&f, ok);
	printf("%s\n", ok ? "choreography_faults: passed"
			  : "choreography_faults: FAILED");
	return !ok;
}
