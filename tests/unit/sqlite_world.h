/* sqlite_world.h - databases in a directory of their own, and what looks into them: for tests of the SQLite store.  Included after
 * cmocka.h, once a program. */
#ifndef SR_TESTS_SQLITE_WORLD_H
#define SR_TESTS_SQLITE_WORLD_H

#include <fcntl.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hashtree/record.h"
#include "lib/store/store.h"
#include "tests/unit/directory.h"

#define HELPER __attribute__((unused)) static

extern char **environ;

struct world {
	char dir[64];
	struct sr_tree_key key;
	struct sr_nodes *nodes;
	struct sr_err err;
	/* sqlite_carry.h: */
	enum sr_verdict in_the_way; /* what an apply is told of rows in its way, */
	size_t displaced, applied;  /* and what it told, since the last `carry` */
	bool rolls_back;	    /* carry prepares, and goes no further */
};

static int setup(void **state)
{
	struct world *w = sr_alloc(sizeof *w);
	uint8_t secret[SR_KEY_LEN];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(i * 7 + 3);
	sr_tree_key_set(&w->key, secret);
	w->nodes = sr_nodes_new(&w->key);
	strcpy(w->dir, "/tmp/sr-sqlite-XXXXXX");
	*state = w;
	return mkdtemp(w->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sr_door_install(NULL);
	remove_all(w->dir, "*");
	rmdir(w->dir);
	sr_nodes_free(w->nodes);
	free(w);
	return 0;
}

#define ok(call)                                                \
	do {                                                    \
		w->err = (struct sr_err){0};                    \
		if ((call) != SR_OK)                            \
			fail_msg("%s: %s", #call, w->err.text); \
	} while (0)

static char *path_of(struct world *w, const char *name)
{
	return sr_format("%s/%s", w->dir, name);
}

/* A database here; of the options, what it is called and what is not as usual. */
static struct sr_store *store_with(struct world *w, struct sr_store_options o)
{
	char *path = path_of(w, o.name);
	struct sr_store *st;

	o.kind = SR_KIND_DATABASE;
	o.path = path;
	o.key = &w->key;
	ok(sr_store_open(&st, &o, &w->err));
	free(path);
	return st;
}

static struct sr_store *store(struct world *w, const char *name, bool ours)
{
	return store_with(w, (struct sr_store_options){.name = name, .ours = ours});
}

/* The application, another process: SQLite's own shell. */
static void other(struct world *w, const char *name, const char *sql)
{
	char *path = path_of(w, name);
	char *argv[] = {"sqlite3", "-bail", "-init", "/dev/null", path, (char *)sql, NULL};
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawnp(&pid, "sqlite3", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	free(path);
	if (status)
		fail_msg("sqlite3 %s: %s", name, sql);
}

/* All that `sql` answers, '|' between columns, a space between rows; on a plain connection of its own.  OWNED BY CALLER (free). */
static char *ask(struct world *w, const char *name, const char *sql)
{
	char *path = path_of(w, name);
	struct sr_buf out = {0};
	sqlite3 *db;
	sqlite3_stmt *stmt;
	int rc;

	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s: %s", name, sql, sqlite3_errmsg(db));
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(stmt); i++)
			sr_buf_printf(&out, "%s%s", i ? "|" : "",
				      sqlite3_column_text(stmt, i) ? (const char *)sqlite3_column_text(stmt, i) : "NULL");
		sr_buf_byte(&out, ' ');
	}
	if (rc != SQLITE_DONE)
		fail_msg("%s: %s: %s", name, sql, sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	free(path);
	if (out.len)
		out.len--;
	sr_buf_byte(&out, 0);
	return (char *)out.at;
}

static void expect(struct world *w, const char *name, const char *sql, const char *answer)
{
	char *got = ask(w, name, sql);

	if (strcmp(got, answer))
		fail_msg("%s: %s\nanswers  %s\ninstead of %s", name, sql, got, answer);
	free(got);
}

HELPER void sound(struct world *w, const char *name)
{
	expect(w, name, "PRAGMA integrity_check", "ok");
	expect(w, name, "PRAGMA foreign_key_check", "");
}

static struct sr_scan scan(struct world *w, struct sr_store *st, const struct sr_hash *before)
{
	struct sr_view *v;
	struct sr_scan s;

	ok(sr_view_open(&v, st, SR_VIEW_MAIN, &w->err));
	ok(sr_view_scan(v, w->nodes, before, NULL, NULL, &s, &w->err));
	sr_view_close(v);
	return s;
}

static struct sr_hash map_of(struct world *w, struct sr_store *st)
{
	struct sr_scan s = scan(w, st, NULL);
	struct sr_hash map = s.map;

	sr_scan_free(&s);
	return map;
}

static struct sr_marker marker_new(void)
{
	return (struct sr_marker){
		.id = sr_uuid_random(), .node = sr_uuid_random(), .instance = sr_uuid_random(), .epoch = 3, .seq = 1ull << 40};
}

/* --- leaves ------------------------------------------------------------------------------------------------------- */

HELPER struct sr_value integer(int64_t i)
{
	return (struct sr_value){.class = SR_INT, .i = i};
}

HELPER struct sr_value text(const char *s)
{
	return (struct sr_value){.class = SR_TEXT, .b = sr_bytes_of(s)};
}

struct difference {
	struct world *w;
	struct sr_view *from;
	struct sr_leaves *l;
};

HELPER enum sr_status add_difference(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct difference *d = ctx;
	struct world *w = d->w;
	struct sr_leaf leaf = {.path = path, .expect = *here, .to = *there};
	struct sr_content c;

	if (there->kind == SR_KIND_ROW) {
		ok(sr_view_read(d->from, path, &c, &w->err));
		assert_true(sr_version_eq(&c.version, there));
		leaf.record = c.record;
	}
	return sr_leaves_add(d->l, &leaf, &w->err);
}

/* All that makes what `from` is out of `here`, a map, as leaves; with from's schema text if `schema`. */
HELPER struct sr_leaves *differences_from(struct world *w, struct sr_store *from, const struct sr_hash *here, bool schema)
{
	struct sr_hash wanted = map_of(w, from);
	struct difference d = {.w = w, .l = sr_leaves_new(NULL)};
	struct sr_leaf leaf = {.path = sr_bytes_of(SR_SCHEMA_PATH)};
	struct sr_content c;

	ok(sr_view_open(&d.from, from, SR_VIEW_EXTRA, &w->err));
	ok(sr_store_diff(w->nodes, SR_KIND_DATABASE, here, &wanted, add_difference, &d, &w->err));
	if (schema) {
		ok(sr_view_read(d.from, leaf.path, &c, &w->err));
		leaf.record = c.record;
		leaf.to = c.version;
		ok(sr_leaves_add(d.l, &leaf, &w->err));
	}
	sr_view_close(d.from);
	ok(sr_leaves_sort(d.l, &w->err));
	return d.l;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
