/* replica_world.h - a world for the tests of lib/replica: a directory of its own, a configuration, a webserver's three stores, and a clock
 * that is ahead of the files', so that their signatures are trusted. */
#ifndef SR_TESTS_REPLICA_WORLD_H
#define SR_TESTS_REPLICA_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hashtree/record.h"
#include "lib/base/log.h"
#include "lib/replica/replica.h"

enum { USERS, WEBSTORE, RESOURCES }; /* stores, as the configuration has them */

struct world {
	char dir[64];
	struct sr_config *config;
	struct sr_replica *r;
	struct sr_err err;
};

#define ok(call) \
	do { \
		w->err = (struct sr_err){0}; \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, w->err.text); \
	} while (0)

#define HELPER __attribute__((unused)) static

HELPER int64_t an_hour_ahead(void *ctx)
{
	struct timespec t;

	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + 3600000;
}

HELPER int64_t real_ticks(void *ctx)
{
	struct timespec t;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

HELPER void real_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	while (n) {
		size_t part = n < 256 ? n : 256;

		if (getrandom(out, part, 0) != (ssize_t)part)
			abort();
		out = (uint8_t *)out + part;
		n -= part;
	}
}

/* --- files and databases --------------------------------------------------------------------------------------------- */

/* VALID UNTIL the second next call. */
HELPER char *below(struct world *w, const char *name)
{
	static char text[2][512];
	static unsigned next;
	char *out = text[next++ % 2];

	snprintf(out, sizeof text[0], "%s/%s", w->dir, name);
	return out;
}

HELPER void put_bytes(struct world *w, const char *name, const void *at, size_t n)
{
	int fd = open(below(w, name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		fail_msg("%s: %s", name, strerror(errno));
	assert_int_equal(write(fd, at, n), n);
	assert_int_equal(fchmod(fd, 0644), 0);
	close(fd);
}

HELPER void put(struct world *w, const char *name, const char *content)
{
	put_bytes(w, name, content, strlen(content));
}

HELPER void make_dir(struct world *w, const char *name)
{
	assert_int_equal(mkdir(below(w, name), 0755), 0);
	assert_int_equal(chmod(below(w, name), 0755), 0);
}

HELPER void sql(struct world *w, const char *name, const char *text)
{
	sqlite3 *db;
	char *fault = NULL;

	assert_int_equal(sqlite3_open(below(w, name), &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	if (sqlite3_exec(db, text, NULL, NULL, &fault) != SQLITE_OK)
		fail_msg("%s: %s", text, fault);
	sqlite3_close(db);
}

HELPER int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

HELPER void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* users.db with two users, webstore.db with nothing but a table, resources with three files below two directories. */
HELPER void fill_stores(struct world *w)
{
	sql(w, "users.db",
	    "PRAGMA journal_mode=WAL; CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'ada'), (2, 'bob')");
	sql(w, "webstore.db", "CREATE TABLE items (sku TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID; INSERT INTO items VALUES ('a', 1)");
	make_dir(w, "res");
	make_dir(w, "res/img");
	make_dir(w, "res/empty");
	put(w, "res/top", "top");
	put(w, "res/img/a b.png", "picture");
	put(w, "res/img/\xff", "odd");
}

/* --- the replica ------------------------------------------------------------------------------------------------------ */

HELPER struct sr_config *world_config(struct world *w)
{
	char *text = sr_format("State-Directory=%s/state\nDatastore-State-Directory=%s/ds-state\nControl-Auth-File=%s/control-auth\n"
			       "User-DB-Path=%s/users.db\nWeb-Store-Path=%s/webstore.db\nWebserver-Resource-Store=%s/res\n"
			       "Datastore-User-DB-Path=%s/d-users.db\nDatastore-Web-Store-Path=%s/d-webstore.db\n"
			       "Datastore-Resource-Store=%s/d-res\nResource-Max-Size=1000000\n",
			       w->dir, w->dir, w->dir, w->dir, w->dir, w->dir, w->dir, w->dir, w->dir);
	FILE *in = fmemopen(text, strlen(text), "r");
	struct sr_config *config = NULL;

	ok(sr_config_parse(&config, in, "test", &w->err));
	fclose(in);
	free(text);
	return config;
}

HELPER void secret_of(uint8_t n, uint8_t secret[SR_KEY_LEN])
{
	for (size_t i = 0; i < SR_KEY_LEN; i++)
		secret[i] = (uint8_t)(i * 7 + n);
}

HELPER void start_with(struct world *w, uint8_t n)
{
	uint8_t secret[SR_KEY_LEN];

	secret_of(n, secret);
	ok(sr_replica_start(w->r, secret, &w->err));
}

HELPER void open_replica(struct world *w)
{
	ok(sr_replica_open(&w->r, w->config, SR_ROLE_WEBSERVER, &w->err));
}

HELPER void close_replica(struct world *w)
{
	sr_replica_close(w->r);
	w->r = NULL;
}

HELPER void restart_replica(struct world *w)
{
	close_replica(w);
	open_replica(w);
}

HELPER void scan_one(struct world *w, size_t i)
{
	ok(sr_replica_scan(w->r, i, true, NULL, NULL, &w->err));
	sr_replica_unview(w->r);
}

HELPER void scan_all(struct world *w)
{
	sr_replica_look(w->r);
	for (size_t i = 0; i < w->r->n; i++)
		if (w->r->stores[i].mode == SR_MODE_READY)
			scan_one(w, i);
	sr_replica_reroot(w->r);
}

/* A fresh directory with configuration and stores, the replica open and started. */
HELPER int world_begin(void **state)
{
	static const struct sr_door ahead = {.now_ms = an_hour_ahead, .ticks_ms = real_ticks, .random = real_random};
	struct world *w = sr_alloc(sizeof *w);

	sr_door_install(&ahead);
	sr_log_setup("test", SR_LOG_ERROR, false);
	umask(022);
	strcpy(w->dir, "/tmp/sr-replica-XXXXXX");
	*state = w;
	if (!mkdtemp(w->dir))
		return -1;
	w->config = world_config(w);
	return 0;
}

HELPER int world_begin_full(void **state)
{
	struct world *w;

	if (world_begin(state))
		return -1;
	w = *state;
	fill_stores(w);
	open_replica(w);
	start_with(w, 1);
	return 0;
}

HELPER int world_end(void **state)
{
	struct world *w = *state;

	sr_replica_close(w->r);
	sr_config_free(w->config);
	remove_tree(w->dir);
	free(w);
	return 0;
}

/* "a/b" as a path within a file store.  VALID UNTIL the fourth next call. */
HELPER struct sr_bytes file_path(const char *text)
{
	static char room[4][512];
	static unsigned next;
	char *out = room[next++ % 4];
	size_t n = strlen(text);

	memcpy(out, text, n + 1);
	for (size_t i = 0; i < n; i++)
		if (out[i] == '/')
			out[i] = 0;
	return sr_bytes(out, n);
}

/* "table", NUL, the key of one integer or text.  VALID UNTIL the fourth next call. */
HELPER struct sr_bytes row_path(const char *table, const struct sr_value *key)
{
	static uint8_t room[4][512];
	static unsigned next;
	uint8_t *out = room[next++ % 4];
	struct sr_buf path = {0};
	size_t n;

	sr_buf_bytes(&path, sr_bytes_of(table));
	sr_buf_byte(&path, 0);
	sr_key_encode(&path, key, 1);
	n = path.len;
	memcpy(out, path.at, n);
	sr_buf_free(&path);
	return sr_bytes(out, n);
}

HELPER struct sr_bytes user_path(int64_t id)
{
	return row_path("users", &(struct sr_value){.class = SR_INT, .i = id});
}

/* What the current map has at a path. */
HELPER struct sr_version version_at(struct world *w, size_t i, struct sr_bytes path)
{
	struct sr_version v;

	ok(sr_store_get(w->r->nodes, w->r->stores[i].kind, &w->r->stores[i].map, path, &v, &w->err));
	return v;
}

HELPER struct sr_leaf_row row_at(struct world *w, size_t i, struct sr_bytes path)
{
	struct sr_leaf_row row;

	ok(sr_state_leaf(w->r->state, &w->r->stores[i].row, path, &row, &w->err));
	return row;
}

HELPER struct sr_version file_version(struct world *w, const char *content)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = strlen(content)};

	sr_hash_of(&v.hash, &w->r->key, sr_bytes_of(content));
	return v;
}

#endif
