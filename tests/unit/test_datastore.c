/* test_datastore.c - a real datastore on real stores, spoken to over HTTP, and crashed by hand. */
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <sqlite3.h>

#include "hashtree/record.h"
#include "http/client.h"
#include "lib/datastore/internal.h"
#include "lib/replica/backup.h"
#include "lib/replica/changes.h"
#include "lib/replica/waiting.h"
#include "lib/state/secret.h"
#include "tests/unit/clock.h"

#define OK(call) ok_at((call), &w->err, __LINE__)

/* --- a world: one datastore in a directory of its own, and one webserver that speaks to it ---------------------------- */

struct world {
	char dir[64];
	struct sr_config *config;
	struct sr_datastore *d;
	struct sr_client *client;
	struct sr_uuid webserver, prev;
	struct sr_push_answer answer;
	int status; /* HTTP, of the last call */
	struct sr_buf body;
	struct sr_err err;
	_Atomic int64_t ahead_ms; /* of the real clock */
	_Atomic int64_t passed_ms; /* of the monotonic one, too */
	char etag[64];    /* of the last check-in that was answered 200 */
};

static void ok_at(enum sr_status rc, const struct sr_err *err, int line)
{
	if (rc != SR_OK)
		fail_msg("line %d: %s: %s", line, sr_status_name(rc), err->text);
}

static void configure(struct world *w)
{
	char *text = sr_format("[global]\nDatastore-Listen-Address=127.0.0.1\nDatastore-Port=0\nDatastore-Insecure-Disable-TLS=true\n"
			       "Control-Auth-File=%1$s/control-auth\nDatastore-State-Directory=%1$s/state\n"
			       "Datastore-User-DB-Path=%1$s/users.db\nDatastore-Web-Store-Path=%1$s/webstore.db\n"
			       "Datastore-Resource-Store=%1$s/resources\n",
			       w->dir);
	FILE *in = fmemopen(text, strlen(text), "r");

	OK(sr_config_parse(&w->config, in, "test", &w->err));
	fclose(in);
	free(text);
}

static void connect_with(struct world *w, const char *secret)
{
	char *url = sr_format("http://%s", sr_datastore_address(w->d));
	struct sr_client_options o = {.url = url, .bearer = secret};

	sr_client_free(w->client);
	OK(sr_client_new(&w->client, &o, &w->err));
	free(url);
}

static void listen_and_connect(struct world *w)
{
	OK(sr_datastore_listen(w->d, &w->err));
	connect_with(w, w->d->admit.control.at[0]);
}

static void open_world(struct world *w)
{
	OK(sr_datastore_open(&w->d, w->config, &w->err));
	OK(sr_datastore_tick(w->d, &w->err));
	listen_and_connect(w);
}

static void shut(struct world *w)
{
	sr_client_free(w->client);
	w->client = NULL;
	sr_datastore_close(w->d);
	w->d = NULL;
}

static const int64_t day = 86400000; /* ms */

static int64_t shifted_now(void *ctx)
{
	return clock_ms(CLOCK_REALTIME) + ((struct world *)ctx)->ahead_ms;
}

static int64_t shifted_ticks(void *ctx)
{
	return clock_ms(CLOCK_MONOTONIC) + ((struct world *)ctx)->passed_ms;
}

static void real_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	assert_int_equal(getentropy(out, n), 0);
}

static int setup_empty(void **state)
{
	struct world *w = sr_alloc(sizeof(*w));

	sr_door_install(&(struct sr_door){.now_ms = shifted_now, .ticks_ms = shifted_ticks, .random = real_random, .ctx = w});

	sr_log_setup("test", SR_LOG_ERROR + 1, false); /* the alarms here are meant */
	snprintf(w->dir, sizeof(w->dir), "/tmp/sameroot-datastore-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->webserver = sr_uuid_random();
	configure(w);
	*state = w;
	return 0;
}

static int setup(void **state)
{
	setup_empty(state);
	open_world(*state);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct world *w = *state;

	shut(w);
	sr_push_answer_free(&w->answer);
	sr_buf_free(&w->body);
	sr_config_free(w->config);
	sr_door_install(NULL);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

static char *path_in(const struct world *w, const char *name)
{
	return sr_format("%s/%s", w->dir, name);
}

static void write_file(const struct world *w, const char *name, const char *text)
{
	char *path = path_in(w, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(path, 0644);
	free(path);
}

/* What a file holds; NULL: there is none.  OWNED BY CALLER. */
static char *read_file(const struct world *w, const char *name)
{
	char *path = path_in(w, name), *text = NULL;
	FILE *f = fopen(path, "r");

	free(path);
	if (!f)
		return NULL;
	text = sr_alloc(4096);
	text[fread(text, 1, 4095, f)] = '\0';
	fclose(f);
	return text;
}

static void assert_file(const struct world *w, const char *name, const char *expected)
{
	char *text = read_file(w, name);

	if (!expected)
		assert_null(text);
	else if (!text)
		fail_msg("%s is not there", name);
	else
		assert_string_equal(text, expected);
	free(text);
}

/* Run SQL beside the datastore; the first column of the last row, or "".  OWNED BY CALLER. */
static char *sql(const struct world *w, const char *db, const char *text)
{
	char *path = path_in(w, db), *out = sr_strdup("");
	sqlite3 *c;

	assert_int_equal(sqlite3_open(path, &c), SQLITE_OK);
	sqlite3_busy_timeout(c, 5000);
	for (const char *rest = text; *rest;) {
		sqlite3_stmt *s = NULL;

		if (sqlite3_prepare_v2(c, rest, -1, &s, &rest) != SQLITE_OK)
			fail_msg("%s: %s", text, sqlite3_errmsg(c));
		while (s && sqlite3_step(s) == SQLITE_ROW) {
			free(out);
			out = sr_strdup((const char *)sqlite3_column_text(s, 0));
		}
		sqlite3_finalize(s);
	}
	sqlite3_close(c);
	free(path);
	return out;
}

static void sql_do(const struct world *w, const char *db, const char *text)
{
	free(sql(w, db, text));
}

static void assert_sql(const struct world *w, const char *db, const char *text, const char *expected)
{
	char *got = sql(w, db, text);

	assert_string_equal(got, expected);
	free(got);
}

static uint64_t seq(struct world *w)
{
	return w->d->at.seq;
}

static size_t archived(struct world *w)
{
	struct sr_archive_usage u;

	sr_archive_usage(w->d->r->archive, &u);
	return u.entries;
}

/* --- versions ------------------------------------------------------------------------------------------------------------ */

static const struct sr_version nothing;

static struct sr_version file_version(struct world *w, const char *text, uint16_t mode)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = mode, .bytes = strlen(text)};

	sr_hash_of(&v.hash, &w->d->r->key, sr_bytes_of(text));
	return v;
}

static struct sr_version dir_version(uint16_t mode)
{
	return (struct sr_version){.kind = SR_KIND_DIR, .mode = mode};
}

/* users(id INTEGER PRIMARY KEY, name): its record, path and version. */
struct row {
	struct sr_buf record, path;
	struct sr_version version;
};

static void make_row(struct world *w, struct row *out, const char *table, int64_t id, const char *name)
{
	struct sr_column columns[] = {{sr_bytes_of("id"), {.class = SR_INT, .i = id}},
				      {sr_bytes_of("name"), {.class = SR_TEXT, .b = sr_bytes_of(name)}}};
	struct sr_value key = {.class = SR_INT, .i = id};

	*out = (struct row){0};
	sr_record_encode(&out->record, columns, 2);
	sr_buf_bytes(&out->path, sr_bytes_of(table));
	sr_buf_byte(&out->path, 0);
	sr_key_encode(&out->path, &key, 1);
	out->version = (struct sr_version){.kind = SR_KIND_ROW, .bytes = out->record.len};
	sr_hash_of(&out->version.hash, &w->d->r->key, sr_buf_view(&out->record));
}

static void free_row(struct row *r)
{
	sr_buf_free(&r->record);
	sr_buf_free(&r->path);
}

static void test_an_epoch_is_above_what_is_not_known(void **state)
{
	struct world *w = *state;

	w->ahead_ms = 1795752000123 - (shifted_now(w) - w->ahead_ms);
	assert_int_equal(sr_epoch_above(1) / 1000000, 20261127); /* and the time of that day */
	assert_int_equal(sr_epoch_above(20261127000000) / 1000000, 20261127);
	assert_int_equal(sr_epoch_above(20300101000000), 20300101000001); /* the clock was wrong then, or is now */
	assert_int_equal(sr_epoch_above(29991231235959), 29991231235960);
	w->ahead_ms -= 1795752000123 - day / 2;
	assert_int_equal(sr_epoch_above(7) / 1000000, 19700101);
	w->ahead_ms -= 2 * day;
	assert_int_equal(sr_epoch_above(7), 8);
}

/* --- pushes ---------------------------------------------------------------------------------------------------------------- */

struct sent {                     /* one leaf of a push */
	const char *store, *path; /* '|' stands for the NUL between components */
	struct sr_version expect, to;
	const char *content;   /* of a file */
	const struct row *row; /* path and record of a row */
	uint32_t flags;
	uint64_t epoch, seq, since_epoch, since_seq;
};

static struct sr_push_head new_head(struct world *w, unsigned try)
{
	return (struct sr_push_head){
		.id = sr_uuid_random(), .prev = w->prev, .webserver = w->webserver, .start = w->d->start, .at = w->d->at, .try = try};
}

static enum sr_status to_buf(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_buf_add(ctx, at, n);
	return SR_OK;
}

static int content_fd(const char *text)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	fputs(text, f);
	fflush(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static void add_sent(struct world *w, struct sr_bundle_writer *b, const struct sent *s)
{
	struct sr_buf path = {0};
	struct sr_leaf leaf = {
		.expect = s->expect, .to = s->to, .flags = s->flags, .epoch = s->epoch, .seq = s->seq, .mtime_ns = 1000000000,
		.since_epoch = s->since_epoch, .since_seq = s->since_seq};
	int fd = s->content ? content_fd(s->content) : -1;
	bool voided;

	if (s->row) {
		sr_buf_bytes(&path, sr_buf_view(&s->row->path));
		if (s->to.kind == SR_KIND_ROW)
			leaf.record = sr_buf_view(&s->row->record);
	} else {
		for (const char *at = s->path; *at; at++)
			sr_buf_byte(&path, *at == '|' ? 0 : (uint8_t)*at);
	}
	leaf.path = sr_buf_view(&path);
	OK(sr_bundle_add(b, s->store, &leaf, fd, &voided, &w->err));
	if (fd >= 0)
		close(fd);
	sr_buf_free(&path);
}

static void build(struct world *w, const struct sr_push_head *head, const struct sent *sent, size_t n, struct sr_buf *out)
{
	struct sr_bundle_writer *b = NULL;
	struct sr_buf text = {0};

	sr_push_head_print(&text, head);
	OK(sr_bundle_writer_new(&b, &w->d->r->key, sr_buf_text(&text), false, to_buf, out, &w->err));
	for (size_t i = 0; i < n; i++)
		add_sent(w, b, &sent[i]);
	OK(sr_bundle_finish(b, &w->err));
	sr_bundle_writer_free(b);
	sr_buf_free(&text);
}

/* Any call; the body of the answer is in w->body. */
static int call(struct world *w, const char *method, const char *target, const char *header, struct sr_bytes body)
{
	const char *headers[] = {header, NULL};
	struct sr_call c = {.method = method, .target = target, .headers = header ? headers : NULL, .body = body};
	struct sr_answer a = {0};

	(void)!sr_client_call(w->client, &c, &a, &w->err);
	w->status = a.status;
	sr_buf_clear(&w->body);
	sr_buf_bytes(&w->body, sr_buf_view(&a.body));
	sr_answer_free(&a);
	return w->status;
}

static enum sr_push_verdict parse_answer(struct world *w)
{
	if (w->status != 200 && w->status != 409)
		fail_msg("HTTP %d: %s", w->status, sr_buf_text(&w->body));
	sr_push_answer_free(&w->answer);
	OK(sr_push_answer_parse(sr_buf_view(&w->body), &w->answer, &w->err));
	return w->answer.verdict;
}

static enum sr_push_verdict send_push(struct world *w, const struct sr_push_head *head, const struct sent *sent, size_t n)
{
	struct sr_buf body = {0};
	enum sr_push_verdict verdict;

	build(w, head, sent, n, &body);
	call(w, "POST", "/api/push", NULL, sr_buf_view(&body));
	sr_buf_free(&body);
	verdict = parse_answer(w);
	if (verdict != SR_VERDICT_STALE)
		w->prev = head->id;
	return verdict;
}

static enum sr_push_verdict push_try(struct world *w, unsigned try, const struct sent *sent, size_t n)
{
	struct sr_push_head head = new_head(w, try);

	return send_push(w, &head, sent, n);
}

#define PUSH(...)  push_try(w, 1, (const struct sent[]){__VA_ARGS__}, sizeof((const struct sent[]){__VA_ARGS__}) / sizeof(struct sent))
#define PUSH3(...) push_try(w, 3, (const struct sent[]){__VA_ARGS__}, sizeof((const struct sent[]){__VA_ARGS__}) / sizeof(struct sent))

/* Why the leaf was refused; -1: it was not. */
static int refused(struct world *w, const char *path)
{
	for (size_t i = 0; i < w->answer.n; i++) {
		struct sr_bytes p = w->answer.refused[i].path;
		size_t len = strlen(path), k = 0;

		while (k < len && k < p.len && (path[k] == '|' ? 0 : (uint8_t)path[k]) == p.at[k])
			k++;
		if (k == len && k == p.len)
			return (int)w->answer.refused[i].why;
	}
	return -1;
}

static void put_file(struct world *w, const char *path, const char *text)
{
	assert_int_equal(PUSH({.store = "resources", .path = path, .to = file_version(w, text, 0644), .content = text}), SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 0);
}

static void as_of_row(struct world *w, const char *path, uint64_t *epoch, uint64_t *s)
{
	struct sr_leaf_row row;
	size_t i;

	assert_non_null(sr_replica_find(w->d->r, sr_bytes_of("resources"), &i));
	OK(sr_state_leaf(w->d->r->state, &w->d->r->stores[i].row, sr_bytes_of(path), &row, &w->err));
	*epoch = row.epoch;
	*s = row.seq;
}

/* --- founding ---------------------------------------------------------------------------------------------------------------- */

static void test_founds(void **state)
{
	struct world *w = *state;
	struct stat st;
	char *path = path_in(w, "control-auth");

	assert_int_equal(w->d->at.epoch, 1);
	assert_int_equal(seq(w), 0);
	assert_false(sr_uuid_none(&w->d->at.instance));
	assert_int_equal(call(w, "GET", "/readyz", NULL, sr_bytes(NULL, 0)), 200);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	free(path);
	path = path_in(w, "resources/.sameroot/marker");
	assert_int_equal(access(path, F_OK), 0);
	free(path);
}

static void test_content_without_state_waits_for_the_operator(void **state)
{
	struct world *w = *state;
	char *dir = path_in(w, "resources");
	char why[256];

	mkdir(dir, 0755);
	free(dir);
	write_file(w, "resources/a", "precious");
	OK(sr_datastore_open(&w->d, w->config, &w->err));
	assert_int_equal(sr_datastore_tick(w->d, &w->err), SR_E_UNAVAILABLE);
	assert_false(sr_datastore_ready(w->d, why));
	assert_non_null(strstr(why, "adopt --union"));
	listen_and_connect(w);
	assert_int_equal(call(w, "GET", "/api/tree", NULL, sr_bytes(NULL, 0)), 503);
	assert_int_equal(call(w, "POST", "/api/admin/adopt", NULL, sr_bytes_of("{\"what\":\"union\"}")), 403);
	connect_with(w, w->d->admit.admin);
	assert_int_equal(call(w, "POST", "/api/admin/adopt", NULL, sr_bytes_of("{\"what\":\"union\"}")), 200);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_true(sr_datastore_ready(w->d, why));
	assert_int_equal(w->d->r->leaves, 1);
	assert_file(w, "resources/a", "precious");
}

static int check_in(struct world *w, const struct sr_check_in *c, bool match);

/* One word is enough for who asked before it; who asks only later is another matter. */
static void test_adopting_content_lets_in_who_asked_before(void **state)
{
	struct world *w = *state;
	struct sr_check_in asked = {.node = sr_uuid_random(), .known = {.instance = sr_uuid_random(), .epoch = 4, .seq = 9}};
	struct sr_check_in later = {.node = sr_uuid_random(), .known = {.instance = sr_uuid_random(), .epoch = 2, .seq = 1}};
	struct sr_check_in fresh = {.node = sr_uuid_random()};
	char *dir = path_in(w, "resources");
	uint64_t epoch, s;

	mkdir(dir, 0755);
	free(dir);
	write_file(w, "resources/a", "precious");
	OK(sr_datastore_open(&w->d, w->config, &w->err));
	listen_and_connect(w);
	assert_int_equal(check_in(w, &later, false), 503); /* it is starting: who knows whether it will wait */
	assert_int_equal(sr_datastore_tick(w->d, &w->err), SR_E_UNAVAILABLE);
	assert_int_equal(check_in(w, &asked, false), 503);
	assert_int_equal(check_in(w, &fresh, false), 503);
	OK(sr_datastore_adopt_union(w->d, &w->err));
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(w->d->at.epoch, 5);
	assert_int_equal(w->d->predecessors_n, 1);
	as_of_row(w, "a", &epoch, &s);
	assert_int_equal(epoch, 1); /* a newer version of a webserver wins */
	assert_int_equal(check_in(w, &asked, false), 200);
	assert_int_equal(sr_ds_webserver(w->d, &asked.node)->verdict, SR_HISTORY_UNION);
	assert_int_equal(check_in(w, &later, false), 200);
	assert_int_equal(sr_ds_webserver(w->d, &later.node)->verdict, SR_HISTORY_FOREIGN);
}

static void test_continues_the_instance_of_a_marker(void **state)
{
	struct world *w = *state;
	struct sr_uuid instance = w->d->at.instance;
	char *dir = path_in(w, "state");
	uint64_t epoch, s;

	put_file(w, "a", "one");
	put_file(w, "b", "two");
	shut(w);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
	open_world(w);
	assert_memory_equal(&instance, &w->d->at.instance, sizeof(instance));
	assert_true(w->d->at.epoch > 20200101000000); /* others may know epochs that were raised after this marker was made */
	assert_int_equal(w->d->r->leaves, 2);
	as_of_row(w, "a", &epoch, &s);
	assert_int_equal(epoch, 1); /* what the marker says, not "ordinary": a newer version of a webserver wins */
	assert_int_equal(s, 2);
}

/* --- pushes ------------------------------------------------------------------------------------------------------------------- */

static void test_push_is_committed(void **state)
{
	struct world *w = *state;

	assert_int_equal(PUSH({.store = "resources", .path = "img", .to = dir_version(0755)},
			      {.store = "resources", .path = "img|a", .to = file_version(w, "hello", 0640), .content = "hello"}),
			 SR_VERDICT_OK);
	assert_int_equal(seq(w), 1);
	assert_int_equal(w->answer.at.seq, 1);
	assert_true(sr_hash_eq(&w->answer.at.root, &w->d->r->root));
	assert_file(w, "resources/img/a", "hello");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(seq(w), 1); /* its own scan finds nothing new */
	assert_int_equal(w->d->at.epoch, 1);
}

/* In a store of files the name of the schema's text is one like others: compared, recorded, in the tree. */
static void test_a_file_called_as_the_schema(void **state)
{
	struct world *w = *state;

	put_file(w, SR_SCHEMA_PATH, "one");
	assert_int_equal(w->d->r->leaves, 1);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(seq(w), 1); /* a scan finds nothing that was not recorded */
	assert_int_equal(PUSH({.store = "resources", .path = SR_SCHEMA_PATH, .to = file_version(w, "two", 0644), .content = "two"}), SR_VERDICT_REFUSED);
	assert_int_equal(refused(w, SR_SCHEMA_PATH), SR_REFUSED_CHANGED);
	assert_file(w, "resources/" SR_SCHEMA_PATH, "one");
}

static void test_repeat_gets_the_stored_answer(void **state)
{
	struct world *w = *state;
	struct sr_push_head head = new_head(w, 1);
	struct sent a = {.store = "resources", .path = "a", .to = file_version(w, "1", 0644), .content = "1"};
	char *first;

	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_OK);
	first = sr_strdup(sr_buf_text(&w->body));
	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_OK);
	assert_string_equal(first, sr_buf_text(&w->body));
	assert_int_equal(seq(w), 1);
	free(first);
}

static void test_stale_pushes(void **state)
{
	struct world *w = *state;
	struct sent a = {.store = "resources", .path = "a", .to = file_version(w, "1", 0644), .content = "1"};
	struct sr_push_head head = new_head(w, 1);

	head.prev = sr_uuid_random();
	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_STALE);
	assert_int_equal(w->status, 409);
	head = new_head(w, 1);
	head.start = sr_uuid_random();
	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_STALE);
	head = new_head(w, 1);
	head.at.epoch++;
	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_STALE);
	assert_int_equal(seq(w), 0);
	assert_file(w, "resources/a", NULL);
	head = new_head(w, 1); /* and the chain goes on where it was */
	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_OK);
}

static void test_refusal_names_the_current_version(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644), mine = file_version(w, "mine", 0644);

	put_file(w, "a", "one");
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = file_version(w, "zero", 0644), .to = mine, .content = "mine"},
			      {.store = "resources", .path = "b", .to = mine, .content = "mine"}),
			 SR_VERDICT_REFUSED);
	assert_int_equal(w->answer.n, 1);
	assert_int_equal(refused(w, "a"), SR_REFUSED_CHANGED);
	assert_true(sr_version_eq(&w->answer.refused[0].current, &one));
	assert_file(w, "resources/a", "one");
	assert_file(w, "resources/b", NULL); /* all or nothing */
	assert_int_equal(seq(w), 1);
}

static void test_third_try_commits_the_rest(void **state)
{
	struct world *w = *state;
	struct sr_version mine = file_version(w, "mine", 0644);

	put_file(w, "a", "one");
	put_file(w, "d", "a file");
	assert_int_equal(PUSH3({.store = "resources", .path = "a", .expect = file_version(w, "zero", 0644), .to = mine, .content = "mine"},
			       {.store = "resources", .path = "b", .to = mine, .content = "mine"},
			       {.store = "resources", .path = "d", .expect = nothing, .to = dir_version(0755)},
			       {.store = "resources", .path = "d|below", .to = mine, .content = "mine"}),
			 SR_VERDICT_OK);
	assert_int_equal(refused(w, "a"), SR_REFUSED_CHANGED);
	assert_int_equal(refused(w, "d"), SR_REFUSED_CHANGED);
	assert_int_equal(refused(w, "d|below"), SR_REFUSED_DEPENDS);
	assert_int_equal(refused(w, "b"), -1);
	assert_file(w, "resources/a", "one");
	assert_file(w, "resources/b", "mine");
	assert_file(w, "resources/d", "a file");
	assert_int_equal(seq(w), 3);
}

static void test_directory_stays_while_something_is_in_it(void **state)
{
	struct world *w = *state;

	assert_int_equal(PUSH({.store = "resources", .path = "d", .to = dir_version(0755)},
			      {.store = "resources", .path = "d|a", .to = file_version(w, "1", 0644), .content = "1"}),
			 SR_VERDICT_OK);
	assert_int_equal(PUSH({.store = "resources", .path = "d", .expect = dir_version(0755)}), SR_VERDICT_REFUSED);
	assert_int_equal(refused(w, "d"), SR_REFUSED_KIND);
	assert_int_equal(PUSH({.store = "resources", .path = "d", .expect = dir_version(0755)},
			      {.store = "resources", .path = "d|a", .expect = file_version(w, "1", 0644)}),
			 SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 0);
	assert_int_equal(w->d->r->leaves, 0);
}

static void test_what_is_there_already_is_no_new_version(void **state)
{
	struct world *w = *state;

	put_file(w, "a", "one");
	assert_int_equal(PUSH({.store = "resources", .path = "a", .to = file_version(w, "one", 0644), .content = "one"}), SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 0);
	assert_int_equal(seq(w), 1);
}

static void test_unseen_direct_edit_is_not_overwritten(void **state)
{
	struct world *w = *state;
	struct sr_version edited = file_version(w, "edited by hand", 0644);

	put_file(w, "a", "one");
	write_file(w, "resources/a", "edited by hand");
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .expect = file_version(w, "one", 0644),
			       .to = file_version(w, "two", 0644),
			       .content = "two"}),
			 SR_VERDICT_REFUSED);
	assert_true(sr_version_eq(&w->answer.refused[0].current, &edited));
	assert_file(w, "resources/a", "edited by hand");
	assert_int_equal(seq(w), 2); /* found on the way, and committed */
}

static void test_direct_edits_are_committed(void **state)
{
	struct world *w = *state;

	write_file(w, "resources/a", "by hand");
	sql_do(w, "users.db", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'ann')");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(seq(w), 2); /* one for each store */
	assert_int_equal(w->d->r->leaves, 2);
	assert_int_equal(w->d->at.epoch, 1);
}

/* --- rows --------------------------------------------------------------------------------------------------------------------- */

static void make_users(struct world *w)
{
	sql_do(w, "users.db",
	       "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO users VALUES (1, 'ann');"
	       "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT REFERENCES users (name));"
	       "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT)");
	OK(sr_datastore_tick(w->d, &w->err));
}

static void test_rows(void **state)
{
	struct world *w = *state;
	struct sr_content old;
	struct sr_buf buf = {0};
	struct row ann, bob, ann2;

	make_users(w);
	make_row(w, &ann, "users", 1, "ann");
	make_row(w, &ann2, "users", 1, "anna");
	make_row(w, &bob, "users", 2, "bob");
	assert_int_equal(PUSH({.store = "users.db", .row = &ann2, .expect = ann.version, .to = ann2.version},
			      {.store = "users.db", .row = &bob, .to = bob.version}),
			 SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 0);
	assert_sql(w, "users.db", "SELECT group_concat(name) FROM (SELECT name FROM users ORDER BY id)", "anna,bob");
	OK(sr_ds_older(w->d, SR_STORE_USERS, sr_buf_view(&ann.path), &ann.version, &buf, &old, &w->err)); /* for older roots */
	assert_true(sr_bytes_eq(old.record, sr_buf_view(&ann.record)));
	assert_int_equal(PUSH({.store = "users.db", .row = &bob, .expect = bob.version}), SR_VERDICT_OK);
	assert_sql(w, "users.db", "SELECT count(*) FROM users", "1");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(seq(w), 3);
	assert_int_equal(w->d->at.epoch, 1);
	sr_buf_free(&buf);
	free_row(&ann);
	free_row(&ann2);
	free_row(&bob);
}

static void test_unique_and_what_depends(void **state)
{
	struct world *w = *state;
	struct row clash, pet, car;

	make_users(w);
	make_row(w, &clash, "users", 2, "ann");
	make_row(w, &pet, "pets", 1, "ann");
	make_row(w, &car, "cars", 1, "ann");
	assert_int_equal(PUSH({.store = "users.db", .row = &clash, .to = clash.version},
			      {.store = "users.db", .row = &pet, .to = pet.version}, {.store = "users.db", .row = &car, .to = car.version}),
			 SR_VERDICT_REFUSED);
	assert_int_equal(w->answer.n, 1);
	assert_int_equal(w->answer.refused[0].why, SR_REFUSED_UNIQUE);
	assert_sql(w, "users.db", "SELECT count(*) FROM cars", "0");
	assert_int_equal(PUSH3({.store = "users.db", .row = &clash, .to = clash.version},
			       {.store = "users.db", .row = &pet, .to = pet.version},
			       {.store = "users.db", .row = &car, .to = car.version}),
			 SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 2);
	assert_sql(w, "users.db", "SELECT count(*) FROM users", "1");
	assert_sql(w, "users.db", "SELECT count(*) FROM pets", "0");
	assert_sql(w, "users.db", "SELECT count(*) FROM cars", "1");
	free_row(&clash);
	free_row(&pet);
	free_row(&car);
}

static void test_foreign_keys(void **state)
{
	struct world *w = *state;
	struct row ann, anna, bob, eve, cat, dog, owl;

	make_users(w);
	make_row(w, &ann, "users", 1, "ann");
	make_row(w, &anna, "users", 1, "anna");
	make_row(w, &bob, "users", 2, "bob");
	make_row(w, &eve, "users", 3, "ann");
	make_row(w, &cat, "pets", 1, "ann");
	make_row(w, &dog, "pets", 2, "bob");
	make_row(w, &owl, "pets", 3, "nobody");
	assert_int_equal(PUSH({.store = "users.db", .row = &cat, .to = cat.version}, {.store = "users.db", .row = &dog, .to = dog.version},
			      {.store = "users.db", .row = &bob, .to = bob.version}),
			 SR_VERDICT_OK);
	/* Nothing is put in that refers to nothing, ... */
	assert_int_equal(PUSH({.store = "users.db", .row = &owl, .to = owl.version}), SR_VERDICT_REFUSED);
	assert_int_equal(w->answer.refused[0].why, SR_REFUSED_DEPENDS);
	/* ... or taken away from what refers to it, or renamed, ... */
	assert_int_equal(PUSH({.store = "users.db", .row = &bob, .expect = bob.version}), SR_VERDICT_REFUSED);
	assert_int_equal(w->answer.refused[0].why, SR_REFUSED_DEPENDS);
	assert_true(sr_version_eq(&w->answer.refused[0].current, &bob.version));
	assert_int_equal(PUSH({.store = "users.db", .row = &anna, .expect = ann.version, .to = anna.version}), SR_VERDICT_REFUSED);
	assert_int_equal(w->answer.refused[0].why, SR_REFUSED_DEPENDS);
	assert_int_equal(PUSH3({.store = "users.db", .row = &bob, .expect = bob.version},
			       {.store = "users.db", .row = &owl, .to = owl.version}),
			 SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 2);
	assert_sql(w, "users.db", "SELECT count(*) FROM pragma_foreign_key_check", "0");
	/* ... unless its children go, too, or are left with another, ... */
	assert_int_equal(PUSH({.store = "users.db", .row = &bob, .expect = bob.version},
			      {.store = "users.db", .row = &dog, .expect = dog.version},
			      {.store = "users.db", .row = &ann, .expect = ann.version},
			      {.store = "users.db", .row = &eve, .to = eve.version}),
			 SR_VERDICT_OK);
	assert_sql(w, "users.db", "SELECT count(*) FROM pragma_foreign_key_check", "0");
	assert_sql(w, "users.db", "SELECT group_concat(id) FROM pets", "1");
	/* ... or the sender has it that way itself. */
	assert_int_equal(PUSH({.store = "users.db", .row = &owl, .to = owl.version, .flags = SR_LEAF_PARENTLESS},
			      {.store = "users.db", .row = &eve, .expect = eve.version, .flags = SR_LEAF_PARENTLESS}),
			 SR_VERDICT_OK);
	assert_sql(w, "users.db", "SELECT count(*) FROM users", "0");
	assert_sql(w, "users.db", "SELECT group_concat(id) FROM pets", "1,3");
	for (struct row *const *r = (struct row *[]){&ann, &anna, &bob, &eve, &cat, &dog, &owl, NULL}; *r; r++)
		free_row(*r);
}

/* --- unions ------------------------------------------------------------------------------------------------------------------- */

static void test_union_fills_and_is_dated(void **state)
{
	struct world *w = *state;
	uint64_t epoch, s;

	OK(sr_ds_adopt(w->d, &w->err));
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .to = file_version(w, "u5", 0644),
			       .content = "u5",
			       .flags = SR_LEAF_UNION,
			       .epoch = 1,
			       .seq = 5}),
			 SR_VERDICT_OK);
	as_of_row(w, "a", &epoch, &s);
	assert_int_equal(epoch, 1);
	assert_int_equal(s, 5);
	/* as old, or older: the datastore's stands */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .to = file_version(w, "x", 0644),
			       .content = "x",
			       .flags = SR_LEAF_UNION,
			       .epoch = 1,
			       .seq = 5}),
			 SR_VERDICT_REFUSED);
	assert_int_equal(refused(w, "a"), SR_REFUSED_NEWER);
	assert_int_equal(archived(w), 0);
	/* newer: it wins, and what it replaces is archived */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .to = file_version(w, "u6", 0644),
			       .content = "u6",
			       .flags = SR_LEAF_UNION,
			       .epoch = 1,
			       .seq = 6}),
			 SR_VERDICT_OK);
	assert_file(w, "resources/a", "u6");
	assert_int_equal(archived(w), 1);
	/* equal and newer: only its date rises, without a new version */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .to = file_version(w, "u6", 0644),
			       .content = "u6",
			       .flags = SR_LEAF_UNION,
			       .epoch = 1,
			       .seq = 9}),
			 SR_VERDICT_OK);
	as_of_row(w, "a", &epoch, &s);
	assert_int_equal(s, 9);
	assert_int_equal(seq(w), 2);
}

/* "a" as `text` in a union, as of (epoch, s). */
static int unite(struct world *w, const char *text, uint64_t epoch, uint64_t s)
{
	return (int)PUSH({.store = "resources",
			  .path = "a",
			  .to = file_version(w, text, 0644),
			  .content = text,
			  .flags = SR_LEAF_UNION,
			  .epoch = epoch,
			  .seq = s});
}

static void test_union_and_the_own_past(void **state)
{
	struct world *w = *state;
	uint64_t epoch, s;

	put_file(w, "a", "one");
	put_file(w, "b", "two"); /* (1, 2) */
	OK(sr_ds_adopt(w->d, &w->err));
	assert_int_equal(w->d->at.epoch, 2);
	put_file(w, "c", "three"); /* (2, 3) */
	assert_int_equal(unite(w, "lost", 1, 7), SR_VERDICT_OK); /* (2, 4), from a history that was lost */
	/* who was in step before that has what it replaced, in this epoch and when the next one is raised */
	assert_int_equal(unite(w, "one", 2, 3), SR_VERDICT_REFUSED);
	OK(sr_ds_adopt(w->d, &w->err));
	assert_int_equal(unite(w, "one", 2, 3), SR_VERDICT_REFUSED);
	assert_int_equal(unite(w, "one", 1, 2), SR_VERDICT_REFUSED);
	assert_int_equal(unite(w, "lost", 2, 4), SR_VERDICT_OK); /* and who has it makes it no newer */
	assert_file(w, "resources/a", "lost");
	/* what was lost later is newer; what it replaces stays replaced, though some were in step with that for longer */
	assert_int_equal(unite(w, "lost later", 1, 8), SR_VERDICT_OK);
	assert_int_equal(unite(w, "lost", 2, 4), SR_VERDICT_REFUSED);
	assert_file(w, "resources/a", "lost later");
	as_of_row(w, "a", &epoch, &s);
	assert_true(epoch == 1 && s == 8);
	/* the ends of the epochs outlive a start */
	sr_ds_ends_free(w->d);
	OK(sr_ds_ends_load(w->d, &w->err));
	assert_true(sr_ds_is_past(w->d, 2, 2, 4) && !sr_ds_is_past(w->d, 2, 2, 5));
	assert_true(sr_ds_is_past(w->d, 2, 1, 2) && !sr_ds_is_past(w->d, 2, 1, 3));
}

static void test_union_is_of_no_later_than_now(void **state)
{
	struct world *w = *state;
	uint64_t epoch, s, now;

	put_file(w, "b", "one");
	now = seq(w);
	assert_int_equal(unite(w, "claimed", UINT64_MAX, UINT64_MAX), SR_VERDICT_OK);
	as_of_row(w, "a", &epoch, &s);
	assert_true(epoch == 1 && s == now);
	/* one that has it since never */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .to = file_version(w, "since", 0644),
			       .content = "since",
			       .flags = SR_LEAF_UNION | SR_LEAF_SINCE,
			       .epoch = UINT64_MAX,
			       .seq = UINT64_MAX,
			       .since_epoch = UINT64_MAX,
			       .since_seq = UINT64_MAX}),
			 SR_VERDICT_OK);
	as_of_row(w, "a", &epoch, &s);
	assert_true(epoch == 1 && s == now + 1);
	/* the same, and only its date to rise */
	assert_int_equal(unite(w, "since", 1, UINT64_MAX), SR_VERDICT_OK);
	as_of_row(w, "a", &epoch, &s);
	assert_true(epoch == 1 && s == now + 2);
	/* what is written after it is newer, in this epoch and the next */
	put_file(w, "c", "two");
	assert_int_equal(unite(w, "later", 1, seq(w)), SR_VERDICT_OK);
	assert_file(w, "resources/a", "later");
	assert_int_equal(unite(w, "claimed", UINT64_MAX, 0), SR_VERDICT_OK);
	put_file(w, "d", "three");
	now = seq(w);
	OK(sr_ds_adopt(w->d, &w->err));
	assert_int_equal(unite(w, "later", 1, now), SR_VERDICT_OK);
	assert_file(w, "resources/a", "later");
}

static void test_union_and_ordinary(void **state)
{
	struct world *w = *state;
	uint64_t epoch, s;

	put_file(w, "a", "ordinary");
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .to = file_version(w, "x", 0644),
			       .content = "x",
			       .flags = SR_LEAF_UNION,
			       .epoch = 9,
			       .seq = 9}),
			 SR_VERDICT_REFUSED);
	assert_int_equal(refused(w, "a"), SR_REFUSED_NEWER);
	/* edited from exactly this version: an ordinary edit */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "a",
			       .expect = file_version(w, "ordinary", 0644),
			       .to = file_version(w, "edit", 0644),
			       .content = "edit",
			       .flags = SR_LEAF_UNION | SR_LEAF_EDITED,
			       .epoch = 1,
			       .seq = 1}),
			 SR_VERDICT_OK);
	as_of_row(w, "a", &epoch, &s);
	assert_int_equal(epoch, 0);
	assert_file(w, "resources/a", "edit");
	OK(sr_ds_adopt(w->d, &w->err));
	/* the lowest as_of there is does not make it an ordinary version */
	assert_int_equal(
		PUSH({.store = "resources", .path = "b", .to = file_version(w, "b", 0644), .content = "b", .flags = SR_LEAF_UNION}),
		SR_VERDICT_OK);
	assert_int_equal(PUSH({.store = "resources",
			       .path = "b",
			       .to = file_version(w, "b2", 0644),
			       .content = "b2",
			       .flags = SR_LEAF_UNION,
			       .epoch = 1,
			       .seq = 9}),
			 SR_VERDICT_OK);
	/* equal, and known to be edited: ordinary from now on */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "b",
			       .to = file_version(w, "b2", 0644),
			       .content = "b2",
			       .flags = SR_LEAF_UNION | SR_LEAF_EDITED}),
			 SR_VERDICT_OK);
	as_of_row(w, "b", &epoch, &s);
	assert_int_equal(epoch + s, 0);
}

static void test_union_deletes_nothing_and_respects_deletions(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644);

	put_file(w, "a", "one"); /* seq 1 */
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = one, .flags = SR_LEAF_UNION, .epoch = 5}), SR_VERDICT_REFUSED);
	assert_file(w, "resources/a", "one");
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = one}), SR_VERDICT_OK); /* seq 2 */
	assert_file(w, "resources/a", NULL);
	assert_int_equal(
		PUSH({.store = "resources", .path = "a", .to = one, .content = "one", .flags = SR_LEAF_UNION, .epoch = 1, .seq = 1}),
		SR_VERDICT_REFUSED);
	assert_int_equal(refused(w, "a"), SR_REFUSED_DELETED);
	assert_int_equal(
		PUSH({.store = "resources", .path = "a", .to = one, .content = "one", .flags = SR_LEAF_UNION, .epoch = 1, .seq = 2}),
		SR_VERDICT_OK);
	assert_file(w, "resources/a", "one");
}

/* Those of which something is left, which nobody deleted. */
static void test_union_brings_back_a_deleted_directory_with_what_is_in_it(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644), dir = dir_version(0755);
	const struct sent back[] = {
		{.store = "resources", .path = "a", .to = dir, .flags = SR_LEAF_UNION, .epoch = 1, .seq = 1},
		{.store = "resources", .path = "a|b", .to = dir, .flags = SR_LEAF_UNION, .epoch = 1, .seq = 1},
		{.store = "resources", .path = "a|b|new", .to = one, .content = "one", .flags = SR_LEAF_UNION, .epoch = 1, .seq = 1},
		{.store = "resources", .path = "a|c", .to = dir, .flags = SR_LEAF_UNION, .epoch = 1, .seq = 1},
	};
	char *b = path_in(w, "resources/a/b"), *c = path_in(w, "resources/a/c");

	assert_int_equal(PUSH({.store = "resources", .path = "a", .to = dir}, {.store = "resources", .path = "a|b", .to = dir},
			      {.store = "resources", .path = "a|c", .to = dir}),
			 SR_VERDICT_OK);
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = dir}, {.store = "resources", .path = "a|b", .expect = dir},
			      {.store = "resources", .path = "a|c", .expect = dir}),
			 SR_VERDICT_OK);
	assert_int_equal(push_try(w, 3, back, 2), SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 2);
	assert_int_not_equal(access(b, F_OK), 0);
	assert_int_equal(push_try(w, 3, back, 4), SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 1);
	assert_int_equal(refused(w, "a|c"), SR_REFUSED_DELETED);
	assert_file(w, "resources/a/b/new", "one");
	assert_int_not_equal(access(c, F_OK), 0);
	free(b);
	free(c);
}

static void test_union_row_is_archived(void **state)
{
	struct world *w = *state;
	struct row old, new;

	make_users(w);
	make_row(w, &old, "cars", 7, "old");
	make_row(w, &new, "cars", 7, "new");
	assert_int_equal(PUSH({.store = "users.db", .row = &old, .to = old.version, .flags = SR_LEAF_UNION, .epoch = 1, .seq = 1}),
			 SR_VERDICT_OK);
	assert_int_equal(PUSH({.store = "users.db", .row = &new, .to = new.version, .flags = SR_LEAF_UNION, .epoch = 1, .seq = 2}),
			 SR_VERDICT_OK);
	assert_sql(w, "users.db", "SELECT name FROM cars", "new");
	assert_int_equal(archived(w), 1);
	free_row(&old);
	free_row(&new);
}

/* --- settling ------------------------------------------------------------------------------------------------------------------ */

static enum sr_push_verdict settle(struct world *w, const struct sr_uuid *id, const struct sr_uuid *prev)
{
	char a[SR_UUID_TEXT] = "all", b[SR_UUID_TEXT], c[SR_UUID_TEXT];
	char *target;

	if (id)
		sr_uuid_text(a, id);
	sr_uuid_text(b, &w->webserver);
	sr_uuid_text(c, prev);
	target = sr_format("/api/push/%s?webserver=%s&prev=%s", a, b, c);
	call(w, "DELETE", target, NULL, sr_bytes(NULL, 0));
	free(target);
	return parse_answer(w);
}

static void test_settling(void **state)
{
	struct world *w = *state;
	struct sent a = {.store = "resources", .path = "a", .to = file_version(w, "1", 0644), .content = "1"};
	struct sent b = {.store = "resources", .path = "b", .to = file_version(w, "2", 0644), .content = "2"};
	struct sr_push_head first = new_head(w, 1), late;

	assert_int_equal(send_push(w, &first, &a, 1), SR_VERDICT_OK);
	assert_int_equal(settle(w, &first.id, &first.prev), SR_VERDICT_OK);
	assert_int_equal(w->answer.at.seq, 1);
	/* one that is still on its way is cancelled; when it comes it is refused */
	late = new_head(w, 1);
	assert_int_equal(settle(w, &late.id, &late.prev), SR_VERDICT_CANCELLED);
	assert_int_equal(send_push(w, &late, &b, 1), SR_VERDICT_CANCELLED);
	assert_file(w, "resources/b", NULL);
	assert_int_equal(settle(w, &late.id, &late.prev), SR_VERDICT_CANCELLED);
	/* the chain went on without the first */
	assert_int_equal(settle(w, &first.id, &first.prev), SR_VERDICT_STALE);
	/* all earlier ones are cancelled */
	late = new_head(w, 1);
	assert_int_equal(settle(w, NULL, &late.prev), SR_VERDICT_CANCELLED);
	assert_int_equal(send_push(w, &late, &b, 1), SR_VERDICT_STALE);
	settle(w, NULL, &late.prev);
	w->prev = w->answer.id;
	late = new_head(w, 1);
	assert_int_equal(send_push(w, &late, &b, 1), SR_VERDICT_OK);
}

static void test_restart_remembers(void **state)
{
	struct world *w = *state;
	struct sr_anchor before;
	struct sr_push_head head = new_head(w, 1);
	struct sent a = {.store = "resources", .path = "a", .to = file_version(w, "1", 0644), .content = "1"};

	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_OK);
	make_users(w);
	before = w->d->at;
	shut(w);
	open_world(w);
	assert_memory_equal(&before, &w->d->at, sizeof(before));
	assert_int_equal(send_push(w, &head, &a, 1), SR_VERDICT_OK); /* a repeat, over the restart */
	assert_int_equal(w->answer.at.seq, 1);
}

/* --- crashes ------------------------------------------------------------------------------------------------------------------- */

/* As commit.c does it up to the point of the crash: the intents of one file are durable; `applied`: and it is in its place. */
static struct sr_push_head crash_in_push(struct world *w, bool applied)
{
	struct sr_ds_push p;
	struct sr_ds_apply a = {.p = &p, .i = SR_STORE_RESOURCES};
	struct sr_replica_store *s = &w->d->r->stores[SR_STORE_RESOURCES];
	struct sr_marker marker = {
		.id = sr_uuid_random(), .node = w->d->r->node, .instance = w->d->at.instance, .epoch = w->d->at.epoch, .seq = seq(w) + 1};
	struct sr_leaf leaf = {.path = sr_bytes_of("a"), .to = file_version(w, "staged", 0644)};
	struct sr_intent_head head = {.marker = marker.id, .epoch = w->d->at.epoch, .seq = seq(w)};
	struct sr_push_head push = new_head(w, 1);
	struct sr_leaves *leaves = sr_leaves_new(NULL);
	struct sr_stage *stage = NULL;
	struct sr_store_row row = s->row;
	struct sr_buf note = {0};
	struct sr_apply_ops ops;

	sr_ds_push_init(&p, w->d);
	p.head = push;
	p.answer = (struct sr_push_answer){.verdict = SR_VERDICT_OK, .id = push.id, .start = w->d->start, .at = w->d->at};
	sr_ds_note_print(&note, &p);
	head.note = sr_buf_view(&note);
	OK(sr_stage_open(&stage, s->store, &w->err));
	OK(sr_stage_write(stage, "staged", 6, &w->err));
	OK(sr_stage_finish(stage, &leaf.to, 0, &leaf, &w->err));
	OK(sr_leaves_add(leaves, &leaf, &w->err));
	sr_stage_free(stage);
	row.pending = marker.id;
	OK(sr_state_store_put(w->d->r->state, &row, &w->err));
	OK(sr_state_intend(w->d->r->state, &row, &head, leaves, &w->err));
	p.parts[SR_STORE_RESOURCES].applied = sr_alloc(2);
	p.parts[SR_STORE_RESOURCES].signature = sr_alloc(2 * sizeof(uint64_t));
	sr_ds_apply_ops(&a, &ops);
	if (applied) {
		OK(sr_apply_prepare(s->store, leaves, &marker, &ops, &w->err));
		OK(sr_apply_commit(s->store, &w->err));
	}
	sr_leaves_free(leaves);
	sr_buf_free(&note);
	sr_ds_push_free(&p);
	return push;
}

static void test_crash_after_the_files(void **state)
{
	struct world *w = *state;
	struct sr_push_head head = crash_in_push(w, true);

	shut(w);
	open_world(w);
	assert_int_equal(seq(w), 1);
	assert_int_equal(w->d->at.epoch, 1);
	assert_file(w, "resources/a", "staged");
	assert_int_equal(settle(w, &head.id, &head.prev), SR_VERDICT_OK);
	assert_int_equal(w->answer.n, 0);
	assert_int_equal(w->answer.at.seq, 1);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(seq(w), 1);
}

static void test_crash_before_the_files(void **state)
{
	struct world *w = *state;
	struct sr_push_head head = crash_in_push(w, false);

	shut(w);
	open_world(w);
	assert_int_equal(seq(w), 0);
	assert_int_equal(w->d->at.epoch, 1);
	assert_file(w, "resources/a", NULL);
	assert_int_equal(settle(w, &head.id, &head.prev), SR_VERDICT_CANCELLED); /* it never was */
}

/* sameroot-restore was killed right after it put a file in place: what it displaced lies in staging, and nobody has looked at it. */
static enum sr_verdict take_it(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	(void)ctx, (void)i, (void)leaf, (void)actual, (void)record;
	return SR_TAKE;
}

static enum sr_status look_away(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	(void)ctx, (void)i, (void)leaf, (void)old, (void)err;
	return SR_OK;
}

static void say_nothing(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	(void)ctx, (void)i, (void)leaf, (void)signature;
}

static void crash_in_restore(struct world *w)
{
	struct sr_replica_store *s = &w->d->r->stores[SR_STORE_RESOURCES];
	struct sr_apply_ops ops = {.edit = sr_uuid_random(), .clash = take_it, .displaced = look_away, .applied = say_nothing};
	struct sr_intent_head head = {.marker = ops.edit, .note = sr_bytes_of("edit")};
	struct sr_leaf leaf = {.path = sr_bytes_of("a"), .expect = file_version(w, "planned", 0644), .to = file_version(w, "staged", 0644)};
	struct sr_leaves *leaves = sr_leaves_new(NULL);
	struct sr_stage *stage = NULL;

	OK(sr_stage_open(&stage, s->store, &w->err));
	OK(sr_stage_write(stage, "staged", 6, &w->err));
	OK(sr_stage_finish(stage, &leaf.to, 0, &leaf, &w->err));
	OK(sr_leaves_add(leaves, &leaf, &w->err));
	sr_stage_free(stage);
	OK(sr_state_intend(w->d->r->state, &s->row, &head, leaves, &w->err));
	OK(sr_apply_prepare(s->store, leaves, NULL, &ops, &w->err));
	OK(sr_apply_commit(s->store, &w->err));
	sr_leaves_free(leaves);
}

static void test_crash_in_a_restore(void **state)
{
	struct world *w = *state;

	write_file(w, "resources/a", "the application's");
	crash_in_restore(w);
	shut(w);
	open_world(w);
	assert_file(w, "resources/a", "staged");
	assert_int_equal(archived(w), 1);
	shut(w);
	open_world(w); /* over and done with */
	assert_int_equal(archived(w), 1);
}

/* --- stores that are not ours, or gone -------------------------------------------------------------------------------------------- */

static void test_lost_store_pauses(void **state)
{
	struct world *w = *state;
	char *here = path_in(w, "resources"), *away = path_in(w, "away");

	put_file(w, "a", "one");
	assert_int_equal(rename(here, away), 0);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(seq(w), 1); /* never "all deleted" */
	assert_int_equal(w->d->r->leaves, 1);
	assert_int_equal(PUSH({.store = "resources", .path = "b", .to = file_version(w, "b", 0644), .content = "b"}), SR_VERDICT_REFUSED);
	assert_int_equal(refused(w, "b"), SR_REFUSED_PAUSED);
	assert_int_equal(rename(away, here), 0);
	OK(sr_datastore_tick(w->d, &w->err));
	put_file(w, "b", "b");
	assert_int_equal(w->d->at.epoch, 1);
	free(here);
	free(away);
}

static void test_copied_store_raises_the_epoch(void **state)
{
	struct world *w = *state;
	struct sr_anchor old;
	char *here = path_in(w, "resources"), *copy = path_in(w, "copy"), *command;
	uint64_t epoch, s;

	put_file(w, "a", "one");
	command = sr_format("cp -a %s %s", here, copy);
	assert_int_equal(system(command), 0);
	free(command);
	put_file(w, "b", "two");
	old = w->d->at;
	nftw(here, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(rename(copy, here), 0); /* restored from a backup */
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(w->d->at.epoch, 2);
	assert_int_equal(w->d->r->leaves, 1);
	pthread_mutex_lock(&w->d->face);
	assert_int_equal(sr_ds_verdict(w->d, &old), SR_HISTORY_UNION);
	pthread_mutex_unlock(&w->d->face);
	as_of_row(w, "a", &epoch, &s);
	assert_int_equal(epoch, 1);
	assert_int_equal(s, 1); /* as of the backup */
	/* what the backup lacks was not deleted: a webserver brings it back */
	assert_int_equal(PUSH({.store = "resources",
			       .path = "b",
			       .to = file_version(w, "two", 0644),
			       .content = "two",
			       .flags = SR_LEAF_UNION,
			       .epoch = 1,
			       .seq = 2}),
			 SR_VERDICT_OK);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(w->d->at.epoch, 2); /* once */
	free(here);
	free(copy);
}

/* --- history -------------------------------------------------------------------------------------------------------------------- */

static void test_verdicts(void **state)
{
	struct world *w = *state;
	struct sr_anchor first = w->d->at, a;

	put_file(w, "a", "one");
	pthread_mutex_lock(&w->d->face);
	a = w->d->at;
	assert_int_equal(sr_ds_verdict(w->d, &a), SR_HISTORY_KNOWN);
	assert_int_equal(sr_ds_verdict(w->d, &first), SR_HISTORY_KNOWN);
	a.seq++;
	assert_int_equal(sr_ds_verdict(w->d, &a), SR_HISTORY_AHEAD);
	a = w->d->at;
	a.root.b[0] ^= 1;
	assert_int_equal(sr_ds_verdict(w->d, &a), SR_HISTORY_FORK);
	a = w->d->at;
	a.instance = sr_uuid_random();
	assert_int_equal(sr_ds_verdict(w->d, &a), SR_HISTORY_FOREIGN);
	a.instance = (struct sr_uuid){0};
	assert_int_equal(sr_ds_verdict(w->d, &a), SR_HISTORY_FIRST);
	pthread_mutex_unlock(&w->d->face);
}

static enum sr_status read_older(struct world *w, const struct sr_version *v)
{
	struct sr_content old = {.fd = -1};
	struct sr_buf buf = {0};
	char text[16] = "";
	enum sr_status rc = sr_ds_older(w->d, SR_STORE_RESOURCES, sr_bytes_of("a"), v, &buf, &old, NULL);

	if (rc == SR_OK) {
		assert_int_equal(read(old.fd, text, sizeof(text)), (ssize_t)v->bytes);
		assert_string_equal(text, "one");
		close(old.fd);
	}
	sr_buf_free(&buf);
	return rc;
}

static bool has_nodes(struct world *w, const struct sr_hash *root)
{
	struct sr_bytes node;

	return sr_nodes_get(w->d->r->nodes, root, &node);
}

static void test_older_roots_stay_readable_for_a_while(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644), two = file_version(w, "two", 0644);
	struct sr_hash root;

	put_file(w, "a", "one");
	root = w->d->at.root;
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = one, .to = two, .content = "two"}), SR_VERDICT_OK);
	assert_int_equal(read_older(w, &one), SR_OK);
	for (int i = 0; i < SR_DS_READABLE; i++) {
		char name[32];

		snprintf(name, sizeof(name), "resources/f%d", i);
		write_file(w, name, "x");
		OK(sr_datastore_tick(w->d, &w->err));
	}
	assert_int_equal(read_older(w, &one), SR_OK); /* young enough */
	assert_true(has_nodes(w, &root));
	w->ahead_ms = SR_DS_READABLE_MS + 1000;
	write_file(w, "resources/last", "x");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_false(has_nodes(w, &root));
	assert_true(has_nodes(w, &w->d->at.root));
	assert_int_equal(read_older(w, &one), SR_OK); /* for Trash-Days */
	w->ahead_ms = w->passed_ms = 7 * day - 60000;
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(read_older(w, &one), SR_OK);
	w->ahead_ms += 120000;
	w->passed_ms += 120000;
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(read_older(w, &one), SR_E_NOTFOUND);
}

/* A clock that is years ahead ends Trash-Days for nothing, be it then or at a later start; if it stays so for a day, it is right. */
static void test_a_clock_that_leaps_ahead(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644), two = file_version(w, "two", 0644);

	put_file(w, "a", "one");
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = one, .to = two, .content = "two"}), SR_VERDICT_OK);
	for (int i = 0; i <= SR_DS_READABLE; i++) {
		char name[32];

		snprintf(name, sizeof(name), "resources/f%d", i);
		write_file(w, name, "x");
		OK(sr_datastore_tick(w->d, &w->err));
	}
	w->ahead_ms = 3000 * day;
	write_file(w, "resources/of the future", "x");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(read_older(w, &one), SR_OK);
	assert_true(w->d->trash_waits);
	shut(w);
	OK(sr_datastore_open(&w->d, w->config, &w->err)); /* now there is a root that is dated by it */
	for (w->passed_ms = 0; w->passed_ms < day; w->passed_ms += day / 2) {
		OK(sr_datastore_tick(w->d, &w->err));
		assert_int_equal(read_older(w, &one), SR_OK);
	}
	w->ahead_ms = day; /* it was set right */
	OK(sr_datastore_tick(w->d, &w->err));
	assert_false(w->d->trash_waits);
	assert_int_equal(read_older(w, &one), SR_OK);
	w->ahead_ms = 30 * day; /* and this is how late it is */
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(read_older(w, &one), SR_OK);
	w->passed_ms += day;
	w->ahead_ms += 120000;
	OK(sr_datastore_tick(w->d, &w->err));
	assert_false(w->d->trash_waits);
	assert_int_equal(read_older(w, &one), SR_E_NOTFOUND);
}

static void *tick(void *ctx)
{
	struct world *w = ctx;

	return sr_datastore_tick(w->d, &w->err) == SR_OK ? w : NULL;
}

/* Who has pinned a root takes the writer no more, so another thread does it: see sr_ds_pin. */
static void tick_elsewhere(struct world *w)
{
	pthread_t thread;
	void *ticked;

	assert_int_equal(pthread_create(&thread, NULL, tick, w), 0);
	assert_int_equal(pthread_join(thread, &ticked), 0);
	OK(ticked ? SR_OK : w->err.code);
}

/* However many roots later, and however much time. */
static void test_a_pinned_root_is_written_out_as_it_was(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644), two = file_version(w, "two", 0644);
	struct sr_buf b = {0};
	struct sr_pin pin = {0};
	struct sr_backup_job job = {.pin = &pin, .serve = &w->d->serve, .exact = true, .write = to_buf, .ctx = &b};
	struct sr_backup_info info = {0};
	struct sr_hash root;
	int lock;

	put_file(w, "a", "one");
	OK(sr_ds_pin(w->d, &pin, &w->err));
	root = w->d->at.root;
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = one, .to = two, .content = "two"}), SR_VERDICT_OK);
	for (int i = 0; i <= SR_DS_READABLE; i++) {
		char name[32];

		snprintf(name, sizeof(name), "resources/f%d", i);
		write_file(w, name, "x");
		tick_elsewhere(w);
	}
	w->ahead_ms = w->passed_ms = 9 * day;
	write_file(w, "resources/last", "x");
	tick_elsewhere(w);
	assert_true(has_nodes(w, &root));
	OK(sr_backup_begin(w->d->r, &lock, &w->err));
	OK(sr_backup_write(&job, &info, &w->err));
	sr_backup_end(lock);
	assert_true(sr_hash_eq(&info.root, &root));
	assert_int_equal(info.missing_count, 0);
	assert_non_null(memmem(b.at, b.len, "one", 3));
	assert_null(memmem(b.at, b.len, "resources/last", 14));
	sr_backup_info_free(&info);
	sr_buf_free(&b);
	/* and not longer than that */
	sr_ds_unpin(w->d, &pin);
	write_file(w, "resources/later", "x");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_false(has_nodes(w, &root));
	assert_int_equal(read_older(w, &one), SR_E_NOTFOUND);
}

/* --- an operator's edit --------------------------------------------------------------------------------------------- */

static enum sr_status edit_file(struct world *w, const char *path, struct sr_version expect, const char *text, bool whole)
{
	struct sr_leaf leaf = {.path = sr_bytes_of(path), .expect = expect};
	struct sr_stage *stage = NULL;
	struct sr_ds_push p;
	enum sr_status rc;

	sr_ds_edit_begin(&p, w->d);
	if (text) {
		leaf.to = file_version(w, text, 0600);
		OK(sr_stage_open(&stage, w->d->r->stores[SR_STORE_RESOURCES].store, &w->err));
		OK(sr_stage_write(stage, text, strlen(text), &w->err));
		OK(sr_stage_finish(stage, &leaf.to, 86400000000000, &leaf, &w->err));
	}
	OK(sr_ds_edit_add(&p, SR_STORE_RESOURCES, &leaf, &w->err));
	sr_stage_free(stage);
	rc = sr_ds_edit_commit(&p, whole, &w->err);
	assert_true(rc != SR_OK || !p.answer.n);
	sr_ds_edit_end(&p);
	return rc;
}

static enum sr_status last_journal(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	(void)err;
	*(struct sr_uuid *)ctx = row->webserver;
	return SR_OK;
}

static void test_an_edit_is_a_commit(void **state)
{
	struct world *w = *state;
	struct sr_version one = file_version(w, "one", 0644);
	struct sr_uuid by = {{0}};
	size_t webservers;
	uint64_t before;

	put_file(w, "a", "one");
	before = seq(w);
	webservers = w->d->webservers_n;
	assert_int_equal(edit_file(w, "a", one, "mine", true), SR_OK);
	assert_int_equal(seq(w), before + 1);
	assert_int_equal(read_older(w, &one), SR_OK);
	OK(sr_state_journal(w->d->r->state, w->d->at.epoch, before, last_journal, &by, &w->err));
	assert_memory_equal(&by, &w->d->r->node, sizeof by);
	assert_int_equal(w->d->webservers_n, webservers); /* it is none */
	assert_int_equal(edit_file(w, "a", one, "late", true), SR_E_CHANGED);
	assert_non_null(strstr(w->err.text, "resources/a"));
	assert_int_equal(seq(w), before + 1);
	put_file(w, "b", "one"); /* the chain of pushes goes on */
	for (int i = 0; i < 12; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%d", i);
		put_file(w, name, "one");
	}
	for (int i = 0; i < 12; i++) { /* no limit */
		char name[16];

		snprintf(name, sizeof name, "f%d", i);
		assert_int_equal(edit_file(w, name, one, NULL, true), SR_OK);
	}
	assert_int_equal(w->d->approved_seq, seq(w)); /* so that webservers do not hold them either */
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(w->d->staging, 0);
}

static int check_in(struct world *w, const struct sr_check_in *c, bool match)
{
	struct sr_buf text = {0}, etag = {0};
	const char *headers[3] = {NULL};
	struct sr_call call_ = {.target = "/api/tree", .headers = headers};
	struct sr_answer a = {0};

	sr_buf_printf(&text, "%s: ", SR_HEADER_CHECK_IN);
	sr_check_in_print(&text, c);
	sr_buf_printf(&etag, "If-None-Match: %s", w->etag);
	headers[0] = sr_buf_text(&text);
	headers[1] = match ? sr_buf_text(&etag) : NULL;
	(void)!sr_client_call(w->client, &call_, &a, &w->err);
	w->status = a.status;
	if (sr_answer_header(&a, "ETag"))
		snprintf(w->etag, sizeof(w->etag), "%s", sr_answer_header(&a, "ETag"));
	sr_buf_clear(&w->body);
	sr_buf_bytes(&w->body, sr_buf_view(&a.body));
	sr_answer_free(&a);
	sr_buf_free(&text);
	sr_buf_free(&etag);
	return w->status;
}

static void test_check_in(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	struct sr_tree_info info;

	put_file(w, "a", "one");
	c.known = w->d->at;
	c.push = w->prev;
	assert_int_equal(check_in(w, &c, false), 200);
	assert_int_equal(check_in(w, &c, true), 304);
	c.push = sr_uuid_random();
	assert_int_equal(check_in(w, &c, true), 200); /* the chain is not where the webserver thinks */
	OK(sr_tree_info_parse(sr_buf_view(&w->body), &info, &w->err));
	assert_memory_equal(&info.push, &w->prev, sizeof(info.push));
	assert_int_equal(info.history, SR_HISTORY_KNOWN);
	assert_false(info.has_key);
	assert_int_equal(info.n, 3);
	sr_tree_info_free(&info);
	c.push = w->prev;
	put_file(w, "b", "two");
	assert_int_equal(check_in(w, &c, true), 200);
}

/* Exclusions are told with the next check-in, whether the root is another or not; what is in the tree stays. */
static void test_reload_tells_exclusions(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	struct sr_config_store *s = &w->config->stores[SR_STORE_RESOURCES];
	char *glob = sr_strdup("cache/");
	struct sr_tree_info info;

	put_file(w, "cache", "one");
	c.known = w->d->at;
	c.push = w->prev;
	assert_int_equal(check_in(w, &c, false), 200);
	s->exclude = (struct sr_config_list){.at = &glob, .count = 1};
	sr_datastore_reload(w->d, w->config);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(check_in(w, &c, true), 200);
	OK(sr_tree_info_parse(sr_buf_view(&w->body), &info, &w->err));
	assert_memory_equal(&info.at, &c.known, sizeof(info.at));
	assert_int_equal(info.stores[SR_STORE_RESOURCES].excludes, 1);
	assert_string_equal(info.stores[SR_STORE_RESOURCES].exclude[0], "cache/");
	sr_tree_info_free(&info);
	assert_int_equal(check_in(w, &c, true), 304);
	s->exclude = (struct sr_config_list){0};
	sr_datastore_reload(w->d, w->config);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(check_in(w, &c, true), 200);
	assert_memory_equal(&w->d->at, &c.known, sizeof(c.known));
	free(glob);
}

/* --- who may ------------------------------------------------------------------------------------------------------------------------ */

static void test_secrets(void **state)
{
	struct world *w = *state;

	assert_int_equal(call(w, "GET", "/api/admin/status", NULL, sr_bytes(NULL, 0)), 403);
	connect_with(w, "0123456789012345678901234567890123456789");
	assert_int_equal(call(w, "GET", "/api/tree", NULL, sr_bytes(NULL, 0)), 401);
	assert_int_equal(call(w, "POST", "/api/push", NULL, sr_bytes_of("x")), 401);
	connect_with(w, NULL);
	assert_int_equal(call(w, "GET", "/api/tree", NULL, sr_bytes(NULL, 0)), 401);
	assert_int_equal(call(w, "GET", "/healthz", NULL, sr_bytes(NULL, 0)), 200);
	connect_with(w, w->d->admit.admin);
	assert_int_equal(call(w, "GET", "/api/admin/status", NULL, sr_bytes(NULL, 0)), 200);
	assert_int_equal(call(w, "GET", "/api/admin/conflicts", NULL, sr_bytes(NULL, 0)), 200);
	assert_string_equal(sr_buf_text(&w->body), "[]");
}

static void test_registry(void **state)
{
	struct world *w = *state;
	char id[SR_UUID_TEXT];
	char *target;
	json_t *list;

	sr_uuid_text(id, &w->webserver);
	target = sr_format("/api/webservers/%s", id);
	assert_int_equal(
		call(w, "PUT", target, NULL, sr_bytes_of("{\"name\":\"web1\",\"external_addr\":\"web1:8080\",\"sync_port\":9406}")), 204);
	assert_int_equal(call(w, "PUT", target, NULL, sr_bytes_of("{\"name\":5}")), 400);
	/* Nothing of what is refused is taken, whatever of it was good. */
	assert_int_equal(call(w, "PUT", target, NULL, sr_bytes_of("{\"name\":\"evil\",\"external_addr\":\"evil:1\",\"sync_port\":1,\"starts\":[7]}")), 400);
	assert_int_equal(call(w, "PUT", target, NULL, sr_bytes_of("{\"sync_port\":1,\"status\":{\"held\":[]},\"interval\":0}")), 400);
	assert_int_equal(call(w, "GET", "/api/webservers", NULL, sr_bytes(NULL, 0)), 200);
	list = json_loadb((const char *)w->body.at, w->body.len, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")), "web1");
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "external_addr")), "web1:8080");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "sync_port")), 9406);
	assert_true(json_is_null(json_object_get(json_array_get(list, 0), "status")));
	json_decref(list);
	shut(w);
	open_world(w);
	assert_int_equal(call(w, "GET", "/api/webservers", NULL, sr_bytes(NULL, 0)), 200);
	list = json_loadb((const char *)w->body.at, w->body.len, 0, NULL);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")), "web1");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "sync_port")), 9406);
	json_decref(list);
	free(target);
}

/* --- tokens ------------------------------------------------------------------------------------------------------------------ */

/* As `addr`, whose token `old` (NULL: none) is number n.  *number: of the new one. */
static int exchange_token(struct world *w, const char *addr, const struct sr_uuid *old, uint64_t n, const struct sr_uuid *new, json_int_t *number)
{
	char id[SR_UUID_TEXT], was[SR_UUID_TEXT] = "", next[SR_UUID_TEXT];
	char *target, *text;
	json_t *said;

	sr_uuid_text(id, &w->webserver);
	sr_uuid_text(next, new);
	if (old)
		sr_uuid_text(was, old);
	target = sr_format("/api/webservers/%s/token", id);
	text = sr_format("{\"old\":%s%s%s,\"n\":%llu,\"new\":\"%s\",\"addr\":\"%s\",\"interval\":60}", old ? "\"" : "", old ? was : "null",
			 old ? "\"" : "", (unsigned long long)n, next, addr);
	call(w, "PUT", target, NULL, sr_bytes_of(text));
	said = json_loadb((const char *)w->body.at, w->body.len, 0, NULL);
	*number = json_integer_value(json_object_get(said, "n"));
	json_decref(said);
	free(text);
	free(target);
	return w->status;
}

/* Those that were refused a moment ago; "": none. */
static void assert_refused(struct world *w, const char *who)
{
	char *clone = sr_ds_clone(w->d, sr_ds_webserver(w->d, &w->webserver));

	assert_string_equal(clone ? clone : "", who);
	free(clone);
}

/* Whatever the wall clock does: who was silent for three intervals is. */
static void test_clones_and_clocks(void **state)
{
	struct world *w = *state;
	struct sr_uuid a = sr_uuid_random(), b = sr_uuid_random(), c = sr_uuid_random();
	json_int_t n;

	assert_int_equal(exchange_token(w, "first", NULL, 0, &a, &n), 200);
	assert_int_equal(n, 1);
	w->ahead_ms = day;
	assert_int_equal(exchange_token(w, "copy", &c, 1, &b, &n), 409);
	assert_refused(w, "copy, from 127.0.0.1");
	w->ahead_ms = 2 * day;
	assert_refused(w, "copy, from 127.0.0.1");
	w->ahead_ms = -day;
	w->passed_ms = 170000;
	assert_int_equal(exchange_token(w, "copy", &c, 1, &b, &n), 409);
	w->passed_ms = 190000;
	assert_refused(w, "copy, from 127.0.0.1"); /* just now */
	assert_int_equal(exchange_token(w, "copy", &c, 1, &b, &n), 200);
	assert_int_equal(n, 2);
	assert_refused(w, "");
	assert_int_equal(exchange_token(w, "first", &a, 1, &c, &n), 409);
	w->passed_ms = 400000;
	assert_refused(w, "");
}

static void test_several_clones_are_named(void **state)
{
	struct world *w = *state;
	struct sr_uuid a = sr_uuid_random(), other = sr_uuid_random(), new = sr_uuid_random();
	json_int_t n;

	assert_int_equal(exchange_token(w, "first", NULL, 0, &a, &n), 200);
	for (int k = 0; k < 2; k++) {
		assert_int_equal(exchange_token(w, "copy", &other, 1, &new, &n), 409);
		assert_int_equal(exchange_token(w, "another", &other, 1, &new, &n), 409);
	}
	assert_refused(w, "copy, from 127.0.0.1; another, from 127.0.0.1");
	w->passed_ms = 1000; /* the one that was refused longest ago gives way */
	for (const char *const *addr = (const char *const[]){"another", "3", "4", "5", NULL}; *addr; addr++)
		assert_int_equal(exchange_token(w, *addr, &other, 1, &new, &n), 409);
	assert_refused(w, "5, from 127.0.0.1; another, from 127.0.0.1; 3, from 127.0.0.1; 4, from 127.0.0.1");
}

static void test_token_numbers_end(void **state)
{
	struct world *w = *state;
	struct sr_uuid a = sr_uuid_random(), b = sr_uuid_random();
	json_int_t n;

	assert_int_equal(exchange_token(w, "first", NULL, INT64_MAX - 1, &a, &n), 400);
	assert_int_equal(exchange_token(w, "first", NULL, SR_TOKEN_NUMBERS, &a, &n), 400);
	assert_int_equal(exchange_token(w, "first", NULL, SR_TOKEN_NUMBERS - 1, &a, &n), 200);
	for (int i = 0; i < 3; i++) { /* nobody is locked out by it */
		assert_int_equal(n, SR_TOKEN_NUMBERS - 1);
		b = sr_uuid_random();
		assert_int_equal(exchange_token(w, "first", &a, (uint64_t)n, &b, &n), 200);
		a = b;
	}
	shut(w);
	sql_do(w, "state/state.db", "UPDATE token SET n = -9223372036854775808"); /* as it may have been left */
	open_world(w);
	b = sr_uuid_random();
	assert_int_equal(exchange_token(w, "first", &a, 7, &b, &n), 200);
	assert_int_equal(n, 8);
}

static int push_raw(struct world *w, const struct sent *sent)
{
	struct sr_push_head head = new_head(w, 3);
	struct sr_buf body = {0};

	build(w, &head, sent, 1, &body);
	call(w, "POST", "/api/push", NULL, sr_buf_view(&body));
	sr_buf_free(&body);
	return w->status;
}

/* What is answered to a push names it, too: told less, a webserver would have been further than the datastore. */
static void test_what_a_turn_committed_is_told_though_it_fails(void **state)
{
	struct world *w = *state;
	char *path = path_in(w, "resources/a");
	json_t *tree;

	write_file(w, "resources/a", "one");
	OK(sr_datastore_tick(w->d, &w->err));
	sql_do(w, "state/state.db", "CREATE TRIGGER full BEFORE INSERT ON meta WHEN NEW.name = 'deletions' BEGIN SELECT RAISE(ABORT, 'full'); END");
	assert_int_equal(unlink(path), 0);
	free(path);
	OK(sr_datastore_tick(w->d, &w->err)); /* a moment later it goes */
	w->passed_ms += 60000;
	assert_int_not_equal(sr_datastore_tick(w->d, &w->err), SR_OK);
	assert_int_equal(call(w, "GET", "/api/tree", NULL, sr_bytes(NULL, 0)), 200);
	tree = json_loadb((const char *)w->body.at, w->body.len, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(tree, "seq")), seq(w));
	json_decref(tree);
	sql_do(w, "state/state.db", "DROP TRIGGER full");
	OK(sr_datastore_tick(w->d, &w->err));
}

static void delete_resources(struct world *w, int from, int to)
{
	for (int i = from; i < to; i++) {
		char name[64];
		char *path;

		snprintf(name, sizeof name, "resources/%d", i);
		path = path_in(w, name);
		assert_int_equal(unlink(path), 0);
		free(path);
	}
}

static bool tick_moves(struct world *w)
{
	uint64_t before = seq(w);

	OK(sr_datastore_tick(w->d, &w->err));
	return seq(w) != before;
}

/* A scan may come in the midst of an `rm -r`, when the first few are gone. */
static void test_what_is_deleted_directly_goes_when_no_more_follow(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 60; i++) {
		char name[64];

		snprintf(name, sizeof name, "resources/%d", i);
		write_file(w, name, "text");
	}
	w->d->interval = 600;
	assert_true(tick_moves(w));

	delete_resources(w, 0, 3);
	assert_false(tick_moves(w));
	delete_resources(w, 3, 13); /* more follow: an `rm -r` */
	w->passed_ms += 60000;
	assert_false(tick_moves(w));
	w->passed_ms += 1001;
	assert_false(tick_moves(w)); /* it was longer than a moment for so many */
	w->passed_ms += 300000;
	assert_true(tick_moves(w));

	delete_resources(w, 13, 14); /* what went does not count again */
	assert_false(tick_moves(w));
	w->passed_ms += 1001;
	delete_resources(w, 14, 15); /* one now and then keeps nothing up */
	assert_true(tick_moves(w));
	assert_false(tick_moves(w));
}

static void test_hostile_bundles(void **state)
{
	struct world *w = *state;
	struct sr_version v = file_version(w, "evil", 0644);
	struct sr_hash root = w->d->r->root;
	struct sr_buf body = {0};
	struct row wrong;
	const struct sent hostile[] = {
		{.store = "resources", .path = "..|evil", .to = v, .content = "evil"},
		{.store = "resources", .path = "a/b", .to = v, .content = "evil"},
		{.store = "resources", .path = ".sameroot|marker", .to = v, .content = "evil"},
		{.store = "nowhere", .path = "a", .to = v, .content = "evil"},
		{.store = "users.db", .path = "sqlite_sequence", .to = {.kind = SR_KIND_TABLE, .hash = v.hash}},
		{.store = "users.db", .path = "_sameroot_meta", .to = {.kind = SR_KIND_TABLE, .hash = v.hash}},
		{.store = "users.db", .path = "a", .to = v, .content = "evil"},
		{.store = "resources", .path = "a", .to = {.kind = SR_KIND_TABLE, .hash = v.hash}},
	};

	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++)
		if (push_raw(w, &hostile[i]) != 400)
			fail_msg("hostile bundle %zu: HTTP %d: %s", i, w->status, sr_buf_text(&w->body));
	assert_int_equal(call(w, "POST", "/api/push", NULL, sr_bytes_of("this is no tar")), 400);
	/* cut short */
	build(w, &(struct sr_push_head){.id = sr_uuid_random(), .webserver = w->webserver, .start = w->d->start, .at = w->d->at, .try = 1},
	      &(struct sent){.store = "resources", .path = "a", .to = v, .content = "evil"}, 1, &body);
	assert_int_equal(call(w, "POST", "/api/push", NULL, sr_bytes(body.at, body.len - 1024)), 400);
	sr_buf_free(&body);
	/* a row under another's name */
	make_users(w);
	root = w->d->r->root;
	make_row(w, &wrong, "cars", 1, "x");
	wrong.path.at[wrong.path.len - 1] = 2;
	assert_int_equal(push_raw(w, &(struct sent){.store = "users.db", .row = &wrong, .to = wrong.version}), 200);
	assert_non_null(strstr(sr_buf_text(&w->body), "\"why\":\"paused\""));
	free_row(&wrong);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_true(sr_hash_eq(&root, &w->d->r->root));
	assert_file(w, "evil", NULL);
}

/* NULL: it is not listed.  OWNED BY CALLER. */
static json_t *listed(struct world *w)
{
	json_t *list = sr_ds_webservers_json(w->d), *row = json_incref(json_array_get(list, 0));

	assert_true(json_array_size(list) <= 1);
	json_decref(list);
	return row;
}

static bool is_listed(struct world *w)
{
	json_t *row = listed(w);

	json_decref(row);
	return row != NULL;
}

static bool is_stale(struct world *w)
{
	json_t *row = listed(w);
	bool stale = json_is_true(json_object_get(row, "stale"));

	json_decref(row);
	return stale;
}

static void tell(struct world *w, const char *body)
{
	char id[SR_UUID_TEXT], *target;

	sr_uuid_text(id, &w->webserver);
	target = sr_format("/api/webservers/%s", id);
	assert_int_equal(call(w, "PUT", target, NULL, sr_bytes_of(body)), 204);
	free(target);
}

static void tell_of(struct world *w, uint8_t which, const char *body)
{
	w->webserver.b[0] = which;
	tell(w, body);
}

static void names_are(struct world *w, const char *path, const char *names)
{
	json_t *list, *all;
	char *text = sr_strdup("");
	size_t i;
	json_t *o;

	assert_int_equal(call(w, "GET", path, NULL, sr_bytes(NULL, 0)), 200);
	all = json_loadb((const char *)w->body.at, w->body.len, 0, NULL);
	list = json_is_array(all) ? all : json_object_get(all, "nodes");
	json_array_foreach(list, i, o) {
		const char *name = json_string_value(json_object_get(o, "name"));
		char *more = sr_format("%s%s ", text, name ? name : "-");

		free(text);
		text = more;
	}
	assert_string_equal(text, names);
	free(text);
	json_decref(all);
}

static void test_who_shares_a_name_is_called_by_the_address(void **state)
{
	struct world *w = *state;

	w->webserver.b[0] = 0;
	tell_of(w, 1, "{\"name\":\"two\",\"external_addr\":\"two:1\"}");
	tell_of(w, 2, "{\"name\":\"one\",\"external_addr\":\"one:1\"}");
	tell_of(w, 3, "{\"name\":\"three\",\"external_addr\":\"three:1\"}");
	tell_of(w, 4, "{\"name\":\"three\"}");
	tell_of(w, 5, "{\"name\":\"two\",\"external_addr\":\"two:2\"}");
	tell_of(w, 6, "{\"name\":\"three\",\"external_addr\":\"three:3\"}");
	tell_of(w, 7, "{}");
	names_are(w, "/api/webservers", "two:1 one three:1 three two:2 three:3 - ");
	names_are(w, "/api/conflicts", "datastore two:1 one three:1 three two:2 three:3 - ");
	for (size_t i = 0; i < w->d->webservers_n; i++)
		if (w->d->webservers[i].row.uuid.b[0] == 5)
			w->d->webservers[i].trimmed = true;
	names_are(w, "/api/webservers", "two one three:1 three three:3 - ");
	names_are(w, "/api/conflicts", "datastore two one three:1 three three:3 - ");
}

static void pass(struct world *w, int64_t ms)
{
	w->passed_ms += ms;
	w->ahead_ms += ms;
	OK(sr_datastore_tick(w->d, &w->err));
}

/* Three of its own intervals, which may be longer than the datastore's; and three after a start. */
static void test_a_webserver_that_does_not_come_is_stale(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	json_t *row;

	assert_int_equal(check_in(w, &c, false), 200);
	pass(w, 20000); /* of 10 s; a slow machine adds some of its own */
	assert_false(is_stale(w));
	pass(w, 13000);
	assert_true(is_stale(w));
	assert_int_equal(check_in(w, &c, false), 200);
	assert_false(is_stale(w));
	tell(w, "{\"name\":\"web1\",\"interval\":60}");
	pass(w, 120000);
	assert_false(is_stale(w));
	w->ahead_ms += 400 * day; /* nobody's wall clock has a say */
	assert_false(is_stale(w));
	w->ahead_ms -= 400 * day;
	pass(w, 64000);
	assert_true(is_stale(w));
	shut(w);
	open_world(w);
	assert_false(is_stale(w));
	row = listed(w);
	assert_true(json_is_string(json_object_get(row, "seen")));
	json_decref(row);
	pass(w, 33000); /* its token would tell its interval, but it has none */
	assert_true(is_stale(w));
}

/* It was told once, and is seen for hours after that: a start knows. */
static void test_when_it_was_seen_outlives_a_start(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	json_t *before, *after;

	assert_int_equal(check_in(w, &c, false), 200);
	tell(w, "{\"name\":\"web1\"}");
	pass(w, day / 2);
	assert_int_equal(check_in(w, &c, false), 200);
	before = listed(w);
	shut(w);
	open_world(w);
	after = listed(w);
	assert_string_equal(json_string_value(json_object_get(before, "seen")), json_string_value(json_object_get(after, "seen")));
	assert_string_equal(json_string_value(json_object_get(after, "name")), "web1");
	json_decref(before);
	json_decref(after);
	pass(w, day / 2);
	assert_int_equal(check_in(w, &c, false), 200);
	OK(sr_datastore_tick(w->d, &w->err)); /* also without an end: written down within minutes */
	assert_int_equal(sr_ds_webserver(w->d, &w->webserver)->kept_ms, sr_ds_webserver(w->d, &w->webserver)->row.seen_ms);
}

/* Off the list after 30 days, by a clock that is believed; and what it does when it comes back is the next in its chain. */
static void test_a_webserver_is_forgotten_in_time_and_loses_nothing(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	struct sr_version one = file_version(w, "one", 0644), two = file_version(w, "two", 0644);
	json_t *row;

	assert_int_equal(check_in(w, &c, false), 200);
	tell(w, "{\"name\":\"web1\"}");
	put_file(w, "a", "one");
	pass(w, 29 * day);
	assert_true(is_listed(w));
	w->ahead_ms += 3000 * day; /* a leap */
	OK(sr_datastore_tick(w->d, &w->err));
	assert_true(is_listed(w));
	w->ahead_ms -= 3000 * day;
	OK(sr_datastore_tick(w->d, &w->err));
	assert_true(is_listed(w));
	pass(w, 2 * day);
	assert_false(is_listed(w));
	assert_int_equal(check_in(w, &c, false), 200); /* with the same start it does not tell again who it is */
	row = listed(w);
	assert_string_equal(json_string_value(json_object_get(row, "name")), "web1");
	json_decref(row);
	OK(sr_datastore_tick(w->d, &w->err));
	shut(w);
	open_world(w);
	assert_true(is_listed(w));
	for (int k = 0; k < 3; k++)
		pass(w, 11 * day);
	assert_false(is_listed(w));
	shut(w);
	open_world(w);
	assert_false(is_listed(w));
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = one, .to = two, .content = "two"}), SR_VERDICT_OK);
	assert_true(is_listed(w));
	assert_memory_equal(&sr_ds_webserver(w->d, &w->webserver)->push, &w->prev, sizeof(w->prev));
}

static int tell_as(struct world *w, unsigned number, const char *body)
{
	char *target = sr_format("/api/webservers/00000000-0000-4000-8000-%012u", number);
	int status = call(w, "PUT", target, NULL, sr_bytes_of(body));

	free(target);
	return status;
}

/* Who tells who it is, and never checks in: stale and trimmed as anybody; as is one whom an earlier version noted as never seen. */
static void test_who_only_tells_is_seen_then(void **state)
{
	struct world *w = *state;

	tell(w, "{\"name\":\"web1\",\"interval\":20,\"status\":{\"held\":[]}}");
	pass(w, 40000);
	assert_false(is_stale(w));
	tell(w, "{\"name\":\"web2\"}");
	pass(w, 40000);
	assert_false(is_stale(w));
	pass(w, 23000);
	assert_true(is_stale(w));
	shut(w);
	open_world(w);
	pass(w, 29 * day);
	assert_true(is_listed(w));
	pass(w, day);
	assert_false(is_listed(w));
	assert_null(sr_ds_webserver(w->d, &w->webserver)->row.status);
	tell(w, "{}");
	sr_ds_webserver(w->d, &w->webserver)->row.seen_ms = 0;
	OK(sr_state_webserver_put(w->d->r->state, &sr_ds_webserver(w->d, &w->webserver)->row, &w->err));
	shut(w);
	open_world(w);
	pass(w, 29 * day);
	assert_true(is_listed(w));
	pass(w, 2 * day);
	assert_false(is_listed(w));
}

/* There is room for 10000; the place of one that is trimmed is the next one's, but where a webserver's next round hangs on it. */
static void test_the_registry_has_an_end_and_places_are_given_back(void **state)
{
	struct world *w = *state;
	struct sr_uuid filler = {0};

	put_file(w, "a", "one"); /* it has a push, and keeps its place */
	assert_int_equal(tell_as(w, 1, "{\"name\":\"web1\"}"), 204);
	for (unsigned k = 2; k < 10000; k++) {
		memcpy(filler.b, &k, sizeof(k));
		sr_ds_webserver(w->d, &filler)->row.name = sr_strdup("filler"); /* never seen, never trimmed */
	}
	assert_int_equal(w->d->webservers_n, 10000);
	assert_int_equal(tell_as(w, 2, "{\"name\":\"web2\"}"), 413);
	assert_non_null(strstr(sr_buf_text(&w->body), "more webservers than Max-Webservers, 10000"));
	pass(w, 31 * day);
	assert_int_equal(tell_as(w, 2, "{\"name\":5}"), 400); /* takes nobody's room */
	assert_int_equal(tell_as(w, 3, "{\"name\":\"web3\"}"), 204);
	assert_int_equal(w->d->webservers_n, 10000);
	assert_memory_equal(&sr_ds_webserver(w->d, &w->webserver)->push, &w->prev, sizeof(w->prev));
	assert_int_equal(tell_as(w, 2, "{\"name\":\"web2\"}"), 204); /* beside one that is listed no more */
	assert_int_equal(w->d->webservers_n, 10001);
	assert_int_equal(tell_as(w, 4, "{\"name\":\"web4\"}"), 413);
}

static void test_a_status_has_an_end(void **state)
{
	struct world *w = *state;
	char *filler = sr_alloc(SR_STATUS_MOST + 1), *body;

	assert_int_equal(tell_as(w, 1, "{\"name\":\"web1\",\"status\":{\"why\":\"small\"}}"), 204);
	memset(filler, 'x', SR_STATUS_MOST - strlen("{\"why\":\"\"}"));
	body = sr_format("{\"status\": {\"why\": \"%s\"}}", filler);
	assert_int_equal(tell_as(w, 2, body), 204);
	free(body);
	body = sr_format("{\"name\":\"evil\",\"status\":{\"why\":\"%sx\"}}", filler);
	assert_int_equal(tell_as(w, 1, body), 413);
	assert_non_null(strstr(sr_buf_text(&w->body), "8192"));
	assert_string_equal(w->d->webservers[0].row.name, "web1");
	assert_string_equal(w->d->webservers[0].row.status, "{\"why\":\"small\"}");
	free(body);
	free(filler);
}

static void test_webserver_trim_days_of_0_list_all_for_ever(void **state)
{
	struct world *w = *state;

	w->d->trim_days = 0;
	assert_int_equal(check_in(w, &(struct sr_check_in){.node = w->webserver}, false), 200);
	for (int k = 0; k < 100; k++)
		pass(w, 3 * day);
	assert_true(is_listed(w));
	w->d->trim_days = 30;
	OK(sr_datastore_tick(w->d, &w->err));
	assert_false(is_listed(w));
}

/* --- check-ins that wait ----------------------------------------------------------------------------------------------------- */

/* --- changes -------------------------------------------------------------------------------------------------------------- */

static int ask_since(struct world *w, const struct sr_anchor *at, const char *more)
{
	char root[SR_HASH_TEXT];
	char *target;
	int status;

	sr_hash_text(root, &at->root);
	target = sr_format("/api/changes?since=%llu&root=%s%s", (unsigned long long)at->seq, root, more);
	status = call(w, "GET", target, NULL, sr_bytes(NULL, 0));
	free(target);
	return status;
}

struct seen { /* of changes */
	size_t n, contents, commits;
};

static enum sr_status see(void *ctx, size_t commit, const struct sr_change *c, struct sr_err *err)
{
	struct seen *s = ctx;

	(void)err;
	s->n++;
	s->contents += c->has_content || c->leaf.record.len;
	s->commits = commit + 1;
	return SR_OK;
}

/* The last answer leads from that point to what is there. */
static struct seen leads_from(struct world *w, const struct sr_anchor *at)
{
	struct seen seen = {0};
	struct sr_bytes json, changes;
	struct sr_tree_info info;
	struct sr_hash got;

	sr_changes_split(sr_buf_view(&w->body), &json, &changes);
	OK(sr_tree_info_parse(json, &info, &w->err));
	assert_memory_equal(&info.at, &w->d->at, sizeof info.at);
	sr_tree_info_free(&info);
	pthread_mutex_lock(&w->d->writer);
	sr_replica_write_lock(w->d->r);
	OK(sr_changes_apply(w->d->r->nodes, &at->root, changes, &got, &w->err));
	sr_replica_unlock(w->d->r);
	pthread_mutex_unlock(&w->d->writer);
	assert_true(sr_hash_eq(&got, &w->d->at.root));
	OK(sr_changes_each(changes, see, &seen, &w->err));
	return seen;
}

static void test_changes_since_a_root(void **state)
{
	struct world *w = *state;
	struct sr_anchor first, second, other;
	struct seen seen;
	struct row row;

	make_users(w);
	put_file(w, "a", "one");
	first = w->d->at;
	assert_int_equal(ask_since(w, &first, ""), 200);
	assert_int_equal(leads_from(w, &first).n, 0);
	make_row(w, &row, "users", 5, "five");
	assert_int_equal(PUSH({.store = "users.db", .row = &row, .to = row.version},
			      {.store = "resources", .path = "a", .expect = file_version(w, "one", 0644), .to = file_version(w, "two", 0644), .content = "two"}),
			 SR_VERDICT_OK);
	second = w->d->at;
	assert_int_equal(ask_since(w, &first, ""), 200);
	seen = leads_from(w, &first);
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.contents, 2);
	write_file(w, "resources/direct", "edit");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(ask_since(w, &first, ""), 200);
	seen = leads_from(w, &first);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.contents, 3);
	assert_int_equal(seen.commits, 2);
	assert_int_equal(ask_since(w, &second, "&epoch=1"), 200);
	assert_int_equal(leads_from(w, &second).n, 1);

	other = first; /* of another history */
	other.root.b[3] ^= 1;
	assert_int_equal(ask_since(w, &other, ""), 409);
	other = first;
	other.seq++;
	assert_int_equal(ask_since(w, &other, ""), 409);
	assert_int_equal(ask_since(w, &first, "&epoch=2"), 409);
	assert_int_equal(ask_since(w, &first, "&epoch=x"), 400);
	assert_int_equal(call(w, "GET", "/api/changes?since=1", NULL, sr_bytes(NULL, 0)), 400);
	assert_int_equal(call(w, "GET", "/api/changes?root=1&since=-1", NULL, sr_bytes(NULL, 0)), 400);

	for (int k = 0; k < 65; k++) { /* too many */
		char name[32];

		snprintf(name, sizeof name, "resources/n%d", k);
		write_file(w, name, "x");
	}
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(ask_since(w, &second, ""), 409);
	second = w->d->at;
	write_file(w, "resources/n1", "y");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(ask_since(w, &second, ""), 200);
	assert_int_equal(leads_from(w, &second).n, 1);

	second = w->d->at; /* a raised epoch, and a start */
	OK(sr_datastore_adopt_union(w->d, &w->err));
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(ask_since(w, &second, "&epoch=1"), 409);
	second = w->d->at;
	write_file(w, "resources/n1", "z");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(ask_since(w, &second, ""), 200);
	shut(w);
	open_world(w);
	assert_int_equal(ask_since(w, &second, ""), 409);
	assert_int_equal(ask_since(w, &w->d->at, ""), 200);
	free_row(&row);
}

/* More commits than are kept, and more than an answer holds. */
static void test_changes_are_kept_for_a_while(void **state)
{
	struct world *w = *state;
	struct sr_anchor first, near = {0};
	char *large = sr_alloc(SR_CHANGES_CONTENT + 2);

	put_file(w, "a", "0");
	first = w->d->at;
	for (int k = 1; k <= SR_DS_CHANGES + 1; k++) {
		char text[16];

		if (k == SR_DS_CHANGES)
			near = w->d->at;
		snprintf(text, sizeof text, "%d", k);
		write_file(w, "resources/a", text);
		OK(sr_ds_scan(w->d, 2, &w->err));
		sr_ds_publish(w->d);
	}
	assert_int_equal(w->d->changes_n, SR_DS_CHANGES);
	assert_int_equal(ask_since(w, &first, ""), 409);
	assert_int_equal(ask_since(w, &near, ""), 200);
	assert_int_equal(leads_from(w, &near).commits, 2);
	memset(large, 'x', SR_CHANGES_CONTENT);
	for (int k = 0; k < 9; k++) {
		char name[32];

		snprintf(name, sizeof name, "resources/l%d", k);
		large[0] = (char)('0' + k);
		write_file(w, name, large);
		if (k == 1)
			near = w->d->at;
		OK(sr_ds_scan(w->d, 2, &w->err));
		sr_ds_publish(w->d);
	}
	assert_int_equal(ask_since(w, &near, ""), 409);
	near = w->d->at;
	large[SR_CHANGES_CONTENT] = 'x'; /* too large to ride along */
	write_file(w, "resources/l0", large);
	OK(sr_ds_scan(w->d, 2, &w->err));
	sr_ds_publish(w->d);
	assert_int_equal(ask_since(w, &near, ""), 200);
	assert_int_equal(leads_from(w, &near).contents, 0);
	for (int k = 0; k < 100; k++) { /* more than there is memory for */
		large[SR_CHANGES_CONTENT] = 0;
		snprintf(large, 8, "%07d", k);
		large[7] = 'x';
		write_file(w, "resources/l1", large);
		OK(sr_ds_scan(w->d, 2, &w->err));
		sr_ds_publish(w->d);
	}
	assert_true(w->d->changes_bytes <= 1 << 20);
	assert_true(w->d->changes_n < 100);
	free(large);
}

struct waiter {
	struct sr_client *client;
	struct sr_check_in c;
	char target[64], match[96];
	pthread_t thread;
	int status; /* HTTP, when it was answered */
	struct sr_anchor at;
	struct sr_buf body; /* of a 200 with changes behind it; to be freed */
};

static void *wait_for_news(void *arg)
{
	struct waiter *v = arg;
	struct sr_buf text = {0};
	const char *headers[3] = {NULL, v->match, NULL};
	struct sr_call call_ = {.target = v->target, .headers = headers, .quiet_s = 30};
	struct sr_answer a = {0};
	struct sr_bytes json, changes;
	struct sr_tree_info info;
	struct sr_err err;

	sr_buf_printf(&text, "%s: ", SR_HEADER_CHECK_IN);
	sr_check_in_print(&text, &v->c);
	headers[0] = sr_buf_text(&text);
	(void)!sr_client_call(v->client, &call_, &a, &err);
	v->status = a.status;
	sr_changes_split(sr_buf_view(&a.body), &json, &changes);
	if (changes.len)
		sr_buf_bytes(&v->body, sr_buf_view(&a.body));
	if (a.status == 200 && sr_tree_info_parse(json, &info, &err) == SR_OK) {
		v->at = info.at;
		sr_tree_info_free(&info);
	}
	sr_answer_free(&a);
	sr_buf_free(&text);
	return NULL;
}

static unsigned parked(struct world *w)
{
	struct sr_server_counts counts;

	sr_server_counts(w->d->server, &counts);
	return counts.parked;
}

static void until_parked(struct world *w, unsigned n)
{
	while (parked(w) != n)
		usleep(1000);
}

/* Who is in step with the datastore, and asks it to wait. */
static void begin_wait_for(struct world *w, struct waiter *v, struct sr_check_in c, const char *what, unsigned s)
{
	char *url = sr_format("http://%s", sr_datastore_address(w->d));
	struct sr_client_options o = {.url = url, .bearer = w->d->admit.control.at[0]};

	c.known = w->d->at;
	assert_int_equal(check_in(w, &c, false), 200);
	*v = (struct waiter){.c = c};
	snprintf(v->target, sizeof v->target, "/api/%s?wait=%u", what, s);
	snprintf(v->match, sizeof v->match, "If-None-Match: %s", w->etag);
	OK(sr_client_new(&v->client, &o, &w->err));
	assert_int_equal(pthread_create(&v->thread, NULL, wait_for_news, v), 0);
	free(url);
}

static void begin_wait(struct world *w, struct waiter *v, struct sr_check_in c, unsigned s)
{
	begin_wait_for(w, v, c, "tree", s);
}

static int end_wait(struct waiter *v)
{
	assert_int_equal(pthread_join(v->thread, NULL), 0);
	sr_client_free(v->client);
	return v->status;
}

/* And what it is told then leads on from there. */
static void test_a_wait_for_changes_goes_on_over_an_own_push(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	struct sr_anchor before;
	struct waiter v;

	put_file(w, "a", "one");
	c.push = w->prev;
	begin_wait_for(w, &v, c, "changes", 3600);
	until_parked(w, 1);
	put_file(w, "b", "mine");
	put_file(w, "c", "mine, too");
	until_parked(w, 1);
	before = w->d->at;
	write_file(w, "resources/d", "theirs");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(end_wait(&v), 200);
	assert_memory_equal(&v.at, &w->d->at, sizeof v.at);
	sr_buf_clear(&w->body);
	sr_buf_bytes(&w->body, sr_buf_view(&v.body));
	assert_int_equal(leads_from(w, &before).n, 1);
	sr_buf_free(&v.body);

	c.push = w->prev; /* a push of its own that came after another's change is news */
	begin_wait_for(w, &v, c, "changes", 3600);
	until_parked(w, 1);
	w->webserver = sr_uuid_random();
	w->prev = (struct sr_uuid){0};
	put_file(w, "e", "theirs");
	assert_int_equal(end_wait(&v), 200);
	sr_buf_free(&v.body);
}

static void test_a_check_in_waits_for_what_is_new(void **state)
{
	struct world *w = *state;
	struct waiter v;
	struct sr_uuid token = sr_uuid_random(), next = sr_uuid_random();
	char *here = path_in(w, "resources"), *away = path_in(w, "away"), *glob = sr_strdup("cache/");
	json_int_t n;

	put_file(w, "a", "one");
#define WAITS() (begin_wait(w, &v, (struct sr_check_in){.node = w->webserver, .push = w->prev, .token = token}, 3600), until_parked(w, 1))
	WAITS(); /* for a root */
	OK(sr_datastore_tick(w->d, &w->err)); /* one turn, and nothing is new */
	assert_int_equal(check_in(w, &v.c, true), 304); /* who does not wait is answered */
	until_parked(w, 1);
	write_file(w, "resources/b", "two");
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(end_wait(&v), 200);
	assert_memory_equal(&v.at, &w->d->at, sizeof v.at);

	WAITS(); /* for an approval */
	OK(sr_datastore_adopt_deletions(w->d, &w->err));
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(end_wait(&v), 200);

	WAITS(); /* for exclusions */
	w->config->stores[SR_STORE_RESOURCES].exclude = (struct sr_config_list){.at = &glob, .count = 1};
	sr_datastore_reload(w->d, w->config);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(end_wait(&v), 200);
	w->config->stores[SR_STORE_RESOURCES].exclude = (struct sr_config_list){0};

	WAITS(); /* for a store that pauses, and goes on: neither is in the root */
	assert_int_equal(rename(here, away), 0);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(end_wait(&v), 200);
	WAITS();
	assert_int_equal(rename(away, here), 0);
	OK(sr_datastore_tick(w->d, &w->err));
	assert_int_equal(end_wait(&v), 200);

	WAITS(); /* for the chain of its own pushes */
	assert_int_equal(PUSH({.store = "resources", .path = "a", .expect = file_version(w, "zero", 0644), .to = file_version(w, "1", 0644), .content = "1"}),
			 SR_VERDICT_REFUSED);
	assert_int_equal(end_wait(&v), 200);
	WAITS();
	assert_int_equal(settle(w, NULL, &w->prev), SR_VERDICT_CANCELLED);
	assert_int_equal(end_wait(&v), 200);
	w->prev = w->answer.id;

	WAITS(); /* for a start of its own, by which it is a copy */
	assert_int_equal(exchange_token(w, "first", &token, 0, &next, &n), 200);
	assert_int_equal(end_wait(&v), 409);
	token = next;

	WAITS(); /* for the datastore to be in no state to answer */
	pthread_mutex_lock(&w->d->writer);
	sr_ds_not_ready(w->d, "it is broken");
	pthread_mutex_unlock(&w->d->writer);
	assert_int_equal(end_wait(&v), 503);
#undef WAITS
	free(here);
	free(away);
	free(glob);
}

/* As long as it asked for, its interval at most; and what is said of it when its time is up is of when it asked. */
static void test_a_check_in_waits_for_a_while(void **state)
{
	struct world *w = *state;
	struct sr_check_in c = {.node = w->webserver};
	struct waiter v;

	begin_wait(w, &v, c, 1);
	assert_int_equal(end_wait(&v), 304);
	begin_wait(w, &v, c, 1000000);
	until_parked(w, 1);
	w->passed_ms += 11000; /* the datastore's interval */
	sr_server_wake(w->d->server);
	assert_int_equal(end_wait(&v), 304);
	tell(w, "{\"name\":\"web1\",\"interval\":3600}");
	begin_wait(w, &v, c, 1000000);
	until_parked(w, 1);
	w->passed_ms += 3590000;
	sr_server_wake(w->d->server);
	until_parked(w, 1);
	assert_false(is_stale(w));
	w->passed_ms += 3 * 3600000;
	sr_server_wake(w->d->server);
	assert_int_equal(end_wait(&v), 304);
	assert_true(is_stale(w)); /* as if it had gone in the meantime */
	assert_int_equal(call(w, "GET", "/api/tree?wait=", NULL, sr_bytes(NULL, 0)), 400);
	assert_int_equal(call(w, "GET", "/api/tree?wait=1x", NULL, sr_bytes(NULL, 0)), 400);
	assert_int_equal(call(w, "GET", "/api/tree?wait=-1", NULL, sr_bytes(NULL, 0)), 400);
	assert_int_equal(call(w, "GET", "/api/tree?wait=99999999999999999999999", NULL, sr_bytes(NULL, 0)), 200);
}

/* Whoever comes back after a cut need not wait for what is left of before. */
static void test_a_webserver_waits_once_at_a_time(void **state)
{
	struct world *w = *state;
	struct waiter first, second, third, stranger;
	struct sr_check_in c = {.node = w->webserver}, other = {.node = sr_uuid_random()};

	begin_wait(w, &first, c, 3600);
	until_parked(w, 1);
	begin_wait(w, &stranger, other, 3600);
	until_parked(w, 2);
	begin_wait(w, &second, c, 3600);
	assert_int_equal(end_wait(&first), 304);
	begin_wait(w, &third, c, 3600);
	assert_int_equal(end_wait(&second), 304);
	until_parked(w, 2);
	sr_server_wake(w->d->server);
	until_parked(w, 2);
	put_file(w, "a", "one");
	assert_int_equal(end_wait(&third), 200);
	assert_int_equal(end_wait(&stranger), 200);
	assert_int_equal(sr_ds_webserver(w->d, &w->webserver)->waiting, 0);
}

/* The requests are sent, and no answer is read. */
static int wait_unread(struct world *w, const char *match)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(sr_datastore_port(w->d)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sr_buf text = {0};

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	for (int k = 0; k < 20; k++)
		sr_buf_printf(&text, "GET /api/tree?wait=3600 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", w->d->admit.control.at[0], match);
	assert_int_equal(send(fd, text.at, text.len, 0), text.len);
	sr_buf_free(&text);
	return fd;
}

/* And as many of them as there are places for are woken by one commit. */
static void test_who_waits_and_reads_nothing_hurts_nobody(void **state)
{
	struct world *w = *state;
	struct waiter v;
	char match[96];
	int fds[60];

	assert_int_equal(check_in(w, &(struct sr_check_in){.node = w->webserver}, false), 200);
	snprintf(match, sizeof match, "If-None-Match: %s", w->etag);
	for (int i = 0; i < 60; i++)
		fds[i] = wait_unread(w, match);
	until_parked(w, 60);
	begin_wait(w, &v, (struct sr_check_in){.node = w->webserver}, 3600);
	until_parked(w, 61);
	put_file(w, "a", "one");
	assert_int_equal(end_wait(&v), 200);
	until_parked(w, 0);
	assert_int_equal(call(w, "GET", "/api/tree", NULL, sr_bytes(NULL, 0)), 200);
	for (int i = 0; i < 60; i++)
		close(fds[i]);
}

/* One that has exchanged its token. */
static struct sr_check_in known_webserver(struct world *w)
{
	struct sr_check_in c = {.node = sr_uuid_random(), .token = sr_uuid_random()};
	json_int_t n;

	w->webserver = c.node;
	assert_int_equal(exchange_token(w, "web", NULL, 0, &c.token, &n), 200);
	return c;
}

static void assert_no_place(struct world *w, struct sr_check_in c)
{
	struct waiter v;

	begin_wait(w, &v, c, 3600);
	assert_int_equal(end_wait(&v), 304);
}

/* Half of the connections are for webservers that wait, and none of these for anybody else, who has an eighth. */
static void test_not_all_connections_wait(void **state)
{
	struct world *w = *state;
	struct waiter others[2], v[8];
	struct sr_check_in first;

	w->config->max_connections = 16;
	open_world(w);
	for (unsigned i = 0; i < 2; i++) {
		begin_wait(w, &others[i], (struct sr_check_in){.node = sr_uuid_random()}, 3600);
		until_parked(w, i + 1);
	}
	assert_no_place(w, (struct sr_check_in){.node = sr_uuid_random()});
	for (unsigned i = 0; i < 8; i++) {
		struct sr_check_in c = known_webserver(w);

		if (!i)
			first = c;
		begin_wait(w, &v[i], c, 3600);
		until_parked(w, 2 + i + 1);
		sr_server_wake(w->d->server); /* who waits keeps its place over that */
		assert_no_place(w, (struct sr_check_in){.node = sr_uuid_random()});
		assert_no_place(w, (struct sr_check_in){.node = c.node}); /* without the token it is nobody, and answers nobody's wait */
		until_parked(w, 2 + i + 1);
	}
	assert_no_place(w, known_webserver(w));
	assert_no_place(w, first);
	until_parked(w, 10);
	put_file(w, "a", "one");
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(end_wait(&v[i]), 200);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(end_wait(&others[i]), 200);
}

/* A datastore that ends answers who waits. */
static void test_who_waits_is_answered_at_the_end(void **state)
{
	struct world *w = *state;
	struct waiter v;
	struct sr_server *server = w->d->server;

	begin_wait(w, &v, (struct sr_check_in){.node = w->webserver}, 3600);
	until_parked(w, 1);
	sr_server_drain(server, "it ends");
	assert_int_equal(end_wait(&v), 304);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_founds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_content_without_state_waits_for_the_operator, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(test_adopting_content_lets_in_who_asked_before, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(test_continues_the_instance_of_a_marker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_epoch_is_above_what_is_not_known, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(test_push_is_committed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_file_called_as_the_schema, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repeat_gets_the_stored_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_pushes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusal_names_the_current_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_third_try_commits_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_stays_while_something_is_in_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_there_already_is_no_new_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unseen_direct_edit_is_not_overwritten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_direct_edits_are_committed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unique_and_what_depends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_fills_and_is_dated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_and_the_own_past, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_is_of_no_later_than_now, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_and_ordinary, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_deletes_nothing_and_respects_deletions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_brings_back_a_deleted_directory_with_what_is_in_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union_row_is_archived, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settling, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart_remembers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash_after_the_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash_before_the_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash_in_a_restore, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_store_pauses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copied_store_raises_the_epoch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verdicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_older_roots_stay_readable_for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_clock_that_leaps_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_only_tells_is_seen_then, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_registry_has_an_end_and_places_are_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_status_has_an_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_webserver_trim_days_of_0_list_all_for_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_webserver_is_forgotten_in_time_and_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_when_it_was_seen_outlives_a_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_webserver_that_does_not_come_is_stale, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_pinned_root_is_written_out_as_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_edit_is_a_commit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check_in, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reload_tells_exclusions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_secrets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_registry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_shares_a_name_is_called_by_the_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clones_and_clocks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_clones_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_token_numbers_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_turn_committed_is_told_though_it_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_deleted_directly_goes_when_no_more_follow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_bundles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_since_a_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_are_kept_for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_wait_for_changes_goes_on_over_an_own_push, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_check_in_waits_for_what_is_new, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_check_in_waits_for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_webserver_waits_once_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_waits_and_reads_nothing_hurts_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_waits_is_answered_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_all_connections_wait, setup_empty, teardown),
	};

	return cmocka_run_group_tests_name("datastore", tests, NULL, NULL);
}
