/* world.h - a real datastore for fuzz targets, in a directory of tmpfs: two databases and some files, on a clock and a chance of its own, so that the same
 * inputs do the same.
 *
 * It lives over many inputs and is made anew after WORLD_INPUTS of them.  What was fed to it since then lies in DIR/inputs, in order: with the input that
 * fails this is what fails again (build/tests/fuzz_X DIR/inputs INPUT).  The directory is removed at the end, but not after a failure. */
#ifndef SR_TESTS_FUZZ_WORLD_H
#define SR_TESTS_FUZZ_WORLD_H

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/datastore/internal.h"

#define WORLD_INPUTS 200

enum { USERS, WEBSTORE, RESOURCES }; /* stores, as the configuration has them */

struct world {
	char dir[64];
	struct sr_config *config;
	struct sr_datastore *d;
	unsigned inputs;
	uint64_t random;
	int64_t ms;
};

#define must(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)

#define HELPER __attribute__((unused)) static

HELPER void must_ok(enum sr_status rc, const struct sr_err *err)
{
	if (rc == SR_OK)
		return;
	fprintf(stderr, "%s\n", err->text);
	abort();
}

/* --- clock and chance ------------------------------------------------------------------------------------------------- */

HELPER int64_t world_now(void *ctx)
{
	return ((struct world *)ctx)->ms++;
}

HELPER void world_random(void *ctx, void *out, size_t n)
{
	struct world *w = ctx;

	for (size_t i = 0; i < n; i++) {
		w->random = w->random * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(w->random >> 56);
	}
}

/* --- its life ----------------------------------------------------------------------------------------------------------- */

HELPER char *world_path(const struct world *w, const char *name)
{
	return sr_format("%s/%s", w->dir, name);
}

HELPER void world_sql(const struct world *w, const char *name, const char *text)
{
	char *path = world_path(w, name);
	sqlite3 *db;

	must(sqlite3_open(path, &db) == SQLITE_OK);
	must(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
	sqlite3_close(db);
	free(path);
}

HELPER void world_put(const struct world *w, const char *name, const void *at, size_t n)
{
	char *path = world_path(w, name);
	FILE *f = fopen(path, "wb");

	must(f && fwrite(at, 1, n, f) == n && fclose(f) == 0);
	free(path);
}

HELPER void world_dir(const struct world *w, const char *name)
{
	char *path = world_path(w, name);

	must(mkdir(path, 0755) == 0);
	free(path);
}

HELPER void world_fill(const struct world *w)
{
	world_sql(w, "users.db",
		  "PRAGMA journal_mode=WAL; CREATE TABLE groups (gid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
		  "CREATE TABLE users (uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, gid INT REFERENCES groups(gid) ON DELETE CASCADE);"
		  "CREATE TABLE log (line TEXT); CREATE TABLE changes (n INT);"
		  "CREATE TRIGGER count_users AFTER INSERT ON users BEGIN INSERT INTO changes VALUES (1); END;"
		  "CREATE VIEW names AS SELECT name FROM users;"
		  "INSERT INTO groups VALUES (1, 'staff'), (2, 'guests'); INSERT INTO users VALUES (1, 'Ada', 1), (2, 'Bert', 2);"
		  "INSERT INTO log VALUES ('one'), ('one'), ('two')");
	world_sql(w, "webstore.db",
		  "CREATE TABLE items (sku TEXT PRIMARY KEY, n REAL, body BLOB) WITHOUT ROWID; INSERT INTO items VALUES ('a', 1.5, x'00'), ('b', 2, NULL);"
		  "CREATE VIRTUAL TABLE words USING fts5(line)");
	world_dir(w, "resources");
	world_dir(w, "resources/img");
	world_dir(w, "resources/empty");
	world_put(w, "resources/top", "top", 3);
	world_put(w, "resources/img/logo", "picture", 7);
}

HELPER struct sr_config *world_config(const struct world *w)
{
	char *text = sr_format("[global]\nControl-Auth=0123456789abcdef0123456789abcdef\nDatastore-State-Directory=%1$s/state\nDatastore-User-DB-Path=%1$s/users.db\n"
			       "Datastore-Web-Store-Path=%1$s/webstore.db\nDatastore-Resource-Store=%1$s/resources\nResource-Max-Size=100000\n",
			       w->dir);
	FILE *in = fmemopen(text, strlen(text), "r");
	struct sr_config *config = NULL;
	struct sr_err err;

	must_ok(sr_config_parse(&config, in, "fuzz", &err), &err);
	fclose(in);
	free(text);
	return config;
}

HELPER int world_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

HELPER void world_close(struct world *w)
{
	sr_datastore_close(w->d);
	sr_config_free(w->config);
	w->d = NULL;
	nftw(w->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

HELPER void world_tick(struct world *w)
{
	struct sr_err err = {0};

	must_ok(sr_datastore_tick(w->d, &err), &err);
}

HELPER void world_open(struct world *w)
{
	struct sr_err err;

	*w = (struct world){.ms = 4000000000000}; /* the files' times are long ago, so that they are trusted */
	sr_door_install(&(struct sr_door){.now_ms = world_now, .ticks_ms = world_now, .random = world_random, .ctx = w});
	sr_log_setup("fuzz", SR_LOG_ERROR + 1, false);
	umask(022);
	snprintf(w->dir, sizeof w->dir, "%s/sameroot-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	must(mkdtemp(w->dir));
	world_dir(w, "inputs");
	world_fill(w);
	w->config = world_config(w);
	must_ok(sr_datastore_open(&w->d, w->config, &err), &err);
	must(sr_datastore_tick(w->d, &err) != SR_OK); /* content without a state: it asks */
	must_ok(sr_datastore_adopt_union(w->d, &err), &err);
	world_tick(w);
	must(!sr_datastore_broken(w->d, NULL));
}

HELPER struct world *world_of_process(void)
{
	static struct world w;

	return &w;
}

HELPER void world_at_exit(void)
{
	world_close(world_of_process());
}

/* The world for this input, which is kept for the case that it fails. */
HELPER struct world *world_for(const uint8_t *data, size_t size)
{
	struct world *w = world_of_process();
	char name[32];

	if (!w->d)
		atexit(world_at_exit);
	if (w->d && w->inputs == WORLD_INPUTS)
		world_close(w);
	if (!w->d)
		world_open(w);
	snprintf(name, sizeof name, "inputs/%06u", w->inputs++);
	world_put(w, name, data, size);
	return w;
}

#endif
