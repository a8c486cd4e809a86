/* load.c - many webservers in one process, each with stores, a state and rounds of its own, against one real datastore.
 *
 *   load DIRECTORY HOST:PORT PID [WEBSERVERS [SECONDS [CHANGES]]]
 *
 * WEBSERVERS [200] threads do a round a second, the product's own, while a user commits CHANGES [5] a second, each at a webserver that is drawn: rows, files,
 * deletions.  What lies in DIRECTORY/web000 is the first one's.  PID is the datastore's: its memory, open files and processor time are looked at every second.  At the end nothing more changes, and all
 * have to hold the same.
 *
 * A line every 30 s; exit 1: a round failed, a change is not everywhere, roots differ, or the datastore grew. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/config.h"
#include "lib/base/door.h"
#include "lib/base/log.h"
#include "lib/sync/sync.h"

#define SECRET_FILE  "control-auth"
#define SAY_S        30
#define WARM_S       60                 /* from then on the datastore may not grow ... */
#define GROWTH       (32u << 20)        /* ... by more than this, bytes, ... */
#define FILES_GROWTH 16                 /* ... and open files */
#define REST_S       120                /* for the last changes to be everywhere */
#define SLOWEST_MS   60000
#define STACK        (512u << 10)

struct webserver {
	unsigned number;
	char dir[256];
	pthread_t thread;
	struct sr_config *config;
	struct sr_sync *sync;
	sqlite3 *db;
	uint8_t *seen; /* of each change, by id */
	unsigned next; /* all before it were seen */
	atomic_bool ready, rests;
	struct sr_hash root; /* as of its last round */
};

static struct {
	const char *dir, *datastore, *secret;
	pid_t pid;
	unsigned webservers, seconds, changes, most; /* most: ids */
	struct webserver *all;
	int64_t *made; /* ticks of each change that is a row; 0: is none, or not made yet */
	atomic_uint last;
	atomic_bool quiet, stop;
	atomic_ulong rounds, failed, slow, pulled, pushed, conflicts, requests;
	atomic_ulong arrived[SLOWEST_MS / 10 + 1]; /* of changes at webservers, by tens of ms */
	atomic_ulong took[SLOWEST_MS / 10 + 1];    /* of rounds */
} load;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "load: %s: %s\n", what, why);
	exit(2);
}

static void count(atomic_ulong *histogram, int64_t ms)
{
	histogram[ms < 0 ? 0 : ms >= SLOWEST_MS ? SLOWEST_MS / 10 : ms / 10]++;
}

/* In ms: at most `part` in 1000 took longer. */
static unsigned quantile(const atomic_ulong *histogram, unsigned part)
{
	unsigned long all = 0, rest;
	unsigned i = SLOWEST_MS / 10;

	for (unsigned j = 0; j <= SLOWEST_MS / 10; j++)
		all += histogram[j];
	for (rest = all * part / 1000; i > 0 && rest >= histogram[i]; i--)
		rest -= histogram[i];
	return all ? (i + 1) * 10 : 0;
}

static void nap(int64_t ms)
{
	if (ms > 0)
		usleep((useconds_t)ms * 1000);
}

/* --- webservers -------------------------------------------------------------------------------------------------------------- */

static void configure(struct webserver *w)
{
	char *text = sr_format("[global]\nDatastore=%s\nExternal-Addr=127.0.0.1:%u\nControl-Auth=%s\nDatastore-Update-Interval=1\nState-Directory=%s/state\n"
			       "User-DB-Path=%s/users.db\nWeb-Store-Path=%s/webstore.db\nWebserver-Resource-Store=%s/resources\n",
			       load.datastore, 20000 + w->number, load.secret, w->dir, w->dir, w->dir, w->dir);
	FILE *in = fmemopen(text, strlen(text), "r");
	struct sr_err err;

	if (!in || sr_config_parse(&w->config, in, "load", &err) != SR_OK)
		die(w->dir, err.text);
	fclose(in);
	free(text);
}

static void run_sql(struct webserver *w, const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(w->db, sql, NULL, NULL, &why) != SQLITE_OK)
		die(w->dir, why);
}

/* As an application does; the first webserver's makes the table. */
static void open_database(struct webserver *w)
{
	char *path = sr_format("%s/webstore.db", w->dir);

	if (sqlite3_open(path, &w->db) != SQLITE_OK)
		die(path, sqlite3_errmsg(w->db));
	sqlite3_busy_timeout(w->db, 30000);
	run_sql(w, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS changes(id INTEGER PRIMARY KEY, text TEXT)");
	free(path);
}

/* Which changes have come since the last look? */
static void look(struct webserver *w)
{
	int64_t now = sr_ticks_ms();
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(w->db, "SELECT id FROM changes WHERE id >= ?", -1, &s, NULL) != SQLITE_OK)
		die(w->dir, sqlite3_errmsg(w->db));
	sqlite3_bind_int64(s, 1, w->next);
	while (sqlite3_step(s) == SQLITE_ROW) {
		unsigned id = (unsigned)sqlite3_column_int64(s, 0);

		if (id < load.most && !w->seen[id]) {
			w->seen[id] = 1;
			count(load.arrived, now - load.made[id]);
		}
	}
	sqlite3_finalize(s);
	while (w->next < load.last && (w->seen[w->next] || !load.made[w->next]))
		w->next++;
}

static void do_round(struct webserver *w)
{
	int64_t from = sr_ticks_ms();
	struct sr_sync_result result = {0};
	struct sr_err err = {0};
	enum sr_status rc = sr_sync_round(w->sync, &result, &err);

	load.rounds++;
	count(load.took, sr_ticks_ms() - from);
	if (rc != SR_OK && ++load.failed <= 20)
		fprintf(stderr, "load: webserver %u: round failed: %s\n", w->number, err.text);
	load.pulled += result.pulled;
	load.pushed += result.pushed;
	load.conflicts += result.conflicts;
	load.requests += result.requests;
	w->rests = rc == SR_OK && result.in_sync && load.quiet;
}

static void *live(void *arg)
{
	struct webserver *w = arg;
	struct sr_sync_options o = {.config = w->config, .version = "load"};
	int64_t due = sr_ticks_ms() + w->number * 1000 / load.webservers;
	struct sr_err err = {0};

	if (sr_sync_open(&w->sync, &o, &err) != SR_OK)
		die(w->dir, err.text);
	sr_sync_set_secret(w->sync, load.secret);
	sr_sync_set_server(w->sync, 30000 + w->number, NULL);
	while (!load.stop) {
		nap(due - sr_ticks_ms());
		do_round(w);
		if (!w->db)
			open_database(w);
		w->ready = true;
		look(w);
		due += 1000;
		if (due < sr_ticks_ms()) {
			load.slow++;
			due = sr_ticks_ms();
		}
	}
	sr_sync_close(w->sync);
	sqlite3_close(w->db);
	return NULL;
}

static void start(struct webserver *w)
{
	pthread_attr_t a;

	snprintf(w->dir, sizeof w->dir, "%s/web%03u", load.dir, w->number);
	if (mkdir(w->dir, 0700) && errno != EEXIST)
		die(w->dir, "cannot be made");
	w->seen = sr_alloc(load.most);
	w->next = 1;
	configure(w);
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK);
	if (pthread_create(&w->thread, &a, live, w))
		die(w->dir, "no thread");
	pthread_attr_destroy(&a);
}

/* --- the user ---------------------------------------------------------------------------------------------------------------- */

static void write_file(const struct webserver *w, unsigned name, unsigned size)
{
	char path[512];
	FILE *out;

	snprintf(path, sizeof path, "%s/resources/page%u.html", w->dir, name);
	out = fopen(path, "w");
	if (!out)
		die(path, "cannot be written");
	for (unsigned i = 0; i < size; i++)
		fprintf(out, "%u %u\n", i, size);
	if (fclose(out))
		die(path, "cannot be written");
}

/* Most are rows; each seventh a new file, each thirteenth a file that is written again, each seventeenth a row less. */
static void change(unsigned id)
{
	struct webserver *w = &load.all[rand() % load.webservers];
	char sql[256];

	if (id % 7 == 0) {
		write_file(w, id, id % 400);
	} else if (id % 13 == 0) {
		write_file(w, (id - 100) / 7 * 7, id % 300 + 1);
	} else if (id % 17 == 0 && id > 200) {
		snprintf(sql, sizeof sql, "DELETE FROM changes WHERE id = (SELECT max(id) FROM changes WHERE id < %u)", id - 100);
		run_sql(w, sql);
	} else {
		load.made[id] = sr_ticks_ms();
		snprintf(sql, sizeof sql, "INSERT INTO changes VALUES(%u, printf('%%.*c', %u, 'x'))", id, 20 + id % 200);
		run_sql(w, sql);
	}
	load.last = id + 1;
}

/* --- the datastore ----------------------------------------------------------------------------------------------------------- */

struct sight {
	unsigned long rss, cpu_ticks; /* bytes */
	unsigned files;
};

static struct sight watch(void)
{
	struct sight s = {0};
	char path[64], line[512];
	unsigned long user = 0, kernel = 0;
	FILE *in;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/status", load.pid);
	for (in = fopen(path, "r"); in && fgets(line, sizeof line, in);)
		if (sscanf(line, "VmRSS: %lu", &s.rss) == 1)
			s.rss *= 1024;
	if (!in)
		die("the datastore", "it is gone");
	fclose(in);
	snprintf(path, sizeof path, "/proc/%d/stat", load.pid);
	in = fopen(path, "r");
	if (in && fgets(line, sizeof line, in))
		sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
	if (in)
		fclose(in);
	s.cpu_ticks = user + kernel;
	snprintf(path, sizeof path, "/proc/%d/fd", load.pid);
	d = opendir(path);
	while (d && readdir(d))
		s.files++;
	if (d)
		closedir(d);
	s.files -= s.files > 2 ? 2 : 0;
	return s;
}

/* --- the run ----------------------------------------------------------------------------------------------------------------- */

static int64_t longest_lag(void)
{
	int64_t most = 0;

	for (unsigned i = 0; i < load.webservers; i++) {
		int64_t ms = sr_sync_lag_ms(load.all[i].sync);

		most = ms > most ? ms : most;
	}
	return most;
}

static void say(unsigned second, const struct sight *now, const struct sight *before)
{
	printf("%4u s  %lu rounds, %lu failed, %lu late; a round %u ms (99%%: %u); %u changes, at a webserver after %u ms (99%%: %u); most lag %" PRId64
	       " ms; datastore %.1f MiB, %u open files, %.0f%% of a processor\n",
	       second, load.rounds, load.failed, load.slow, quantile(load.took, 500), quantile(load.took, 10), load.last - 1, quantile(load.arrived, 500),
	       quantile(load.arrived, 10), longest_lag(), (double)now->rss / (1 << 20), now->files,
	       (double)(now->cpu_ticks - before->cpu_ticks) * 100 / (double)sysconf(_SC_CLK_TCK) / SAY_S);
	fflush(stdout);
}

/* Until all have what was founded by the first. */
static void begin(void)
{
	load.all = sr_alloc(load.webservers * sizeof(*load.all));
	for (unsigned i = 0; i < load.webservers; i++) {
		load.all[i].number = i;
		start(&load.all[i]);
		while (i == 0 && !load.all[0].ready)
			nap(10);
		if (i == 0)
			nap(2500); /* its application's table is pushed */
	}
	for (unsigned i = 0; i < load.webservers; i++)
		while (!load.all[i].ready)
			nap(10);
}

static bool is_everywhere(void)
{
	for (unsigned i = 0; i < load.webservers; i++)
		if (!load.all[i].rests || load.all[i].next < load.last)
			return false;
	return true;
}

static bool same_roots(void)
{
	struct sr_hash first = {0};
	bool same = true;

	for (unsigned i = 0; i < load.webservers; i++) {
		struct sr_tree_info info = {0};
		struct sr_buf json = {0};
		struct sr_err err;

		if (sr_sync_tree(load.all[i].sync, false, &json, &err) != SR_OK ||
		    sr_tree_info_parse(sr_buf_view(&json), &info, &err) != SR_OK)
			die("tree", err.text);
		if (i == 0)
			first = info.at.root;
		same &= memcmp(&first, &info.at.root, sizeof first) == 0;
		sr_tree_info_free(&info);
		sr_buf_free(&json);
	}
	return same;
}

int main(int argc, char **argv)
{
	struct rlimit files = {65536, 65536};
	struct sight first, warm, now, before;
	bool everywhere, same;
	unsigned id = 1;

	if (argc < 4)
		die("usage", "load DIRECTORY HOST:PORT PID [WEBSERVERS [SECONDS [CHANGES]]]");
	load.dir = argv[1];
	load.datastore = argv[2];
	load.pid = atoi(argv[3]);
	load.secret = getenv("SECRET");
	load.webservers = argc > 4 ? (unsigned)atoi(argv[4]) : 200;
	load.seconds = argc > 5 ? (unsigned)atoi(argv[5]) : 600;
	load.changes = argc > 6 ? (unsigned)atoi(argv[6]) : 5;
	if (!load.secret || !load.webservers || load.pid <= 0)
		die("usage", "SECRET is the datastore's Control-Auth");
	load.most = load.seconds * load.changes + 2;
	load.made = sr_alloc(load.most * sizeof(*load.made));
	load.last = 1;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	sr_log_setup("load", SR_LOG_ERROR, false);

	begin();
	first = warm = before = watch();
	for (unsigned tick = 0; tick < load.seconds * load.changes; tick++) {
		change(id++);
		nap(1000 / load.changes);
		if (tick % load.changes)
			continue;
		now = watch();
		if (tick / load.changes == WARM_S)
			warm = now;
		if (tick / load.changes % SAY_S == 0 && tick) {
			say(tick / load.changes, &now, &before);
			before = now;
		}
	}
	load.quiet = true;
	for (unsigned i = 0; i < REST_S * 10 && !is_everywhere(); i++)
		nap(100);
	everywhere = is_everywhere();
	same = same_roots();
	now = watch();
	load.stop = true;
	for (unsigned i = 0; i < load.webservers; i++)
		pthread_join(load.all[i].thread, NULL);
	printf("%u webservers, %u s: %lu rounds, %lu failed, %lu late, %lu requests, %lu leaves pushed, %lu pulled, %lu conflicts\n", load.webservers, load.seconds,
	       load.rounds, load.failed, load.slow, load.requests, load.pushed, load.pulled, load.conflicts);
	printf("the datastore at the start, after %u s, at the end: %.1f, %.1f, %.1f MiB; %u, %u, %u open files\n", WARM_S, (double)first.rss / (1 << 20),
	       (double)warm.rss / (1 << 20), (double)now.rss / (1 << 20), first.files, warm.files, now.files);
	printf("%s; roots %s\n", everywhere ? "every change is everywhere" : "CHANGES ARE MISSING", same ? "equal" : "DIFFER");
	return load.failed || !everywhere || !same || (load.seconds > WARM_S && (now.rss > warm.rss + GROWTH || now.files > warm.files + FILES_GROWTH));
}
