/* sqlite_reshape.c - a table that an application built anew (SQLite's way to change what ALTER TABLE cannot): the same is done here.
 *
 * The new table is made from the CREATE TABLE that came as text, takes the rows with the columns that both have, and is then in the old
 * one's place; indexes and triggers are made as for any other table (sqlite_create.c).  A row that the new table does not take stays away:
 * whoever has it in its new form brings it.  Before anything is changed the table as it is, is kept in a database beside the store's. */
#include "lib/store/sqlite_apply.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OLD "_sameroot_was_" /* nobody else's names begin like this */
#define WAS ".was-"
#define WAS_DIGITS 8 /* of the fingerprint */

static bool is_called(void *ctx, struct sr_bytes table)
{
	return sr_bytes_eq(table, sr_bytes_of(ctx));
}

static bool has_column(const struct sr_sql_table *t, const char *name)
{
	for (size_t i = 0; i < t->all; i++)
		if (!strcmp(t->columns[i].name, name))
			return true;
	return false;
}

static bool lacks_any(const struct sr_sql_table *t, const struct sr_sql_table *of)
{
	for (size_t i = 0; i < of->n; i++)
		if (!has_column(t, of->columns[i].name))
			return true;
	return false;
}

/* --- keeping it ----------------------------------------------------------------------------------------------------- */

char *sr_store_was(const struct sr_store *st, const struct sr_hash *fingerprint)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, fingerprint);
	return sr_format("%s" WAS "%.*s", st->path, WAS_DIGITS, text);
}

/* sr_store_was of some fingerprint, in the directory of `file`? */
static bool is_was(const char *name, const char *file)
{
	size_t n = strlen(file);

	return !strncmp(name, file, n) && !strncmp(name + n, WAS, strlen(WAS)) && strlen(name + n) == strlen(WAS) + WAS_DIGITS &&
	       strspn(name + n + strlen(WAS), "0123456789abcdef") == WAS_DIGITS;
}

void sr_store_expire_was(const struct sr_store *st, int64_t since_ms)
{
	char *path = sr_strdup(st->path), *slash = strrchr(path, '/');
	const char *file = slash ? slash + 1 : path;
	DIR *dir;
	struct dirent *e;
	struct stat sb;

	if (slash)
		*slash = 0;
	dir = opendir(!slash ? "." : *path ? path : "/");
	while (dir && (e = readdir(dir)))
		if (is_was(e->d_name, file) && fstatat(dirfd(dir), e->d_name, &sb, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(sb.st_mode) &&
		    (int64_t)sb.st_mtim.tv_sec * 1000 < since_ms)
			unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
	free(path);
}

/* By a connection of its own, which reads beside our lock: what is kept is durable before anything is changed. */
static enum sr_status keep(const struct sr_store *st, const struct sr_sql_table *t, struct sr_err *err)
{
	char *path = sr_store_was(st, &t->fingerprint), *text;
	struct sr_sql sql = {0};
	enum sr_status status;

	text = sqlite3_mprintf("PRAGMA synchronous=EXTRA; ATTACH %Q AS store; CREATE TABLE \"%w %lld\" AS SELECT * FROM store.\"%w\"", st->path,
			       t->name, (long long)sr_now_ms(), t->name);
	if (sqlite3_open_v2(path, &sql.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK) {
		sqlite3_busy_timeout(sql.db, SR_SQL_BUSY_MS);
		status = sr_sql_exec(&sql, text, err);
	} else {
		status = sr_sql_fail(err, &sql, SQLITE_CANTOPEN, "%s", path);
	}
	sqlite3_close(sql.db);
	sqlite3_free(text);
	free(path);
	return status;
}

/* Each row as it was is told, so that it stays readable: what both sides make of it is merged from there. */
static enum sr_status tell_rows(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_sql_table *t, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_buf path = {0};
	sqlite3_stmt *stmt;
	enum sr_status st = sr_sql_statement(sql, t, SR_SQL_SCAN, &stmt, err);
	int rc = SQLITE_ROW;

	while (st == SR_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct sr_version version = {.kind = SR_KIND_ROW};

		if (!sr_sql_row(sql, t, stmt) || sr_sql_in_bag(sql, t))
			continue;
		version.bytes = sql->record.len;
		sr_hash_of(&version.hash, a->s->st.key, sr_buf_view(&sql->record));
		sr_buf_clear(&path);
		sr_buf_bytes(&path, leaf->path);
		sr_buf_byte(&path, 0);
		sr_buf_bytes(&path, sr_buf_view(&sql->key));
		st = sr_sql_apply_displaced(a, i, leaf, sr_buf_view(&path), &version, sr_buf_view(&sql->record), true, err);
	}
	if (st == SR_OK && rc != SQLITE_DONE)
		st = sr_sql_fail(err, sql, rc, "%s", t->name);
	sqlite3_reset(stmt);
	sr_buf_free(&path);
	return st;
}

/* --- changing it ------------------------------------------------------------------------------------------------------ */

/* Where the column is among those that are carried; want->n: it is none of them. */
static size_t carried(const struct sr_sql_table *want, const char *name)
{
	size_t k = 0;

	while (k < want->n && strcmp(want->columns[k].name, name) != 0)
		k++;
	return k;
}

/* "a","b": carried columns of both. */
static void add_common(struct sr_buf *b, const struct sr_sql_table *t, const struct sr_sql_table *want)
{
	const char *comma = "";

	for (size_t i = 0; i < t->n; i++) {
		if (carried(want, t->columns[i].name) == want->n)
			continue;
		sr_buf_printf(b, "%s", comma);
		sr_sql_add_name(b, t->columns[i].name);
		comma = ",";
	}
}

/* The format may name it twice. */
static enum sr_status exec_named(struct sr_sql *sql, const char *format, const char *name, struct sr_err *err)
{
	char *text = sqlite3_mprintf(format, name, name);
	enum sr_status st = sr_sql_exec(sql, text, err);

	sqlite3_free(text);
	return st;
}

struct move {
	char *name;             /* of the table */
	const char *common;     /* columns, see add_common */
	size_t keys, *key;      /* where the key's columns are among them; 0: not all of them are, or there is no key */
	struct sr_buf shed;     /* rows that the new table does not take: string path, string why */
};

/* The row on which `from` stands is not taken. */
static void note_shed(struct move *m, sqlite3_stmt *from, const char *why)
{
	struct sr_buf path = {0};
	struct sr_value *key = sr_alloc((m->keys + 1) * sizeof *key);

	sr_buf_bytes(&path, sr_bytes_of(m->name));
	for (size_t k = 0; k < m->keys; k++)
		key[k] = sr_sql_value(from, (int)m->key[k], true);
	if (m->keys) {
		sr_buf_byte(&path, 0);
		sr_key_encode(&path, key, m->keys);
	}
	sr_buf_string(&m->shed, sr_buf_view(&path));
	sr_buf_string(&m->shed, sr_bytes_of(why));
	sr_buf_free(&path);
	free(key);
}

/* One after the other, so that each that is not taken can be named. */
static enum sr_status move_each(struct sr_sql *sql, struct move *m, sqlite3_stmt *from, sqlite3_stmt *to, struct sr_err *err)
{
	int rc;

	while ((rc = sqlite3_step(from)) == SQLITE_ROW) {
		for (int k = 0; k < sqlite3_column_count(from); k++)
			sqlite3_bind_value(to, k + 1, sqlite3_column_value(from, k));
		rc = sqlite3_step(to);
		if (rc == SQLITE_MISMATCH || (rc & 0xff) == SQLITE_CONSTRAINT)
			note_shed(m, from, sqlite3_errmsg(sql->db));
		else if (rc != SQLITE_DONE)
			return sr_sql_fail(err, sql, rc, "a row");
		sqlite3_reset(to);
	}
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "rows");
}

static enum sr_status move_rows(struct sr_sql *sql, struct move *m, struct sr_err *err)
{
	const char *name = m->name, *common = m->common;
	char *read = sqlite3_mprintf("SELECT %s FROM main.\"" OLD "%w\"", common, name), *write;
	struct sr_buf places = {0};
	sqlite3_stmt *from = NULL, *to = NULL;
	int rc = sqlite3_prepare_v2(sql->db, read, -1, &from, NULL);
	enum sr_status st;

	for (int k = 0; k < sqlite3_column_count(from); k++)
		sr_buf_printf(&places, k ? ",?" : "?");
	write = sqlite3_mprintf("INSERT OR ABORT INTO main.\"%w\"(%s) VALUES(%s)", name, common, sr_buf_text(&places));
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(sql->db, write, -1, &to, NULL);
	st = rc == SQLITE_OK ? move_each(sql, m, from, to, err) : sr_sql_fail(err, sql, rc, "rows of %s", name);
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	sqlite3_free(read);
	sqlite3_free(write);
	sr_buf_free(&places);
	return st;
}

/* References to the table in foreign keys, views and triggers stay what they are: it is there again in a moment. */
static enum sr_status put_in_place(struct sr_sql *sql, struct sr_bytes text, struct move *m, struct sr_err *err)
{
	char *name = m->name;
	enum sr_status st;

	sqlite3_db_config(sql->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1, NULL);
	st = exec_named(sql, "ALTER TABLE main.\"%w\" RENAME TO \"" OLD "%w\"", name, err);
	sqlite3_db_config(sql->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 0, NULL);
	if (st == SR_OK)
		st = sr_sql_schema_create(sql, text, is_called, name, err);
	if (st == SR_OK)
		st = move_rows(sql, m, err);
	return st == SR_OK ? exec_named(sql, "DROP TABLE main.\"" OLD "%w\"", name, err) : st;
}

/* Its key among the columns of both, in their order.  OWNED BY CALLER (free). */
static size_t *key_places(const struct sr_sql_table *t, const struct sr_sql_table *want, size_t *n)
{
	size_t *places = sr_alloc((t->keys + 1) * sizeof *places);

	*n = 0;
	for (size_t k = 0; k < t->keys; k++) {
		const char *name = t->columns[t->key[k]].name;
		size_t at = 0;

		if (carried(want, name) == want->n)
			return *n = 0, places;
		for (size_t i = 0; i < t->key[k]; i++)
			at += carried(want, t->columns[i].name) < want->n;
		places[(*n)++] = at;
	}
	return places;
}

static void tell_shed(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct move *m)
{
	struct sr_reader in = sr_reader(sr_buf_view(&m->shed));

	while (a->ops->shed && !sr_read_done(&in)) {
		struct sr_bytes path = sr_read_string(&in);
		char *why = sr_text(sr_read_string(&in));

		a->ops->shed(a->ops->ctx, i, leaf, path, why);
		free(why);
	}
}

static bool is_as_wanted(struct sr_sql *sql, const struct sr_store *st, struct sr_bytes table, const struct sr_hash *want)
{
	const struct sr_sql_table *t = sr_sql_schema_again(sql, st, NULL) == SR_OK ? sr_sql_table(sql, table) : NULL;

	return t && t->synced && sr_hash_eq(&t->fingerprint, want);
}

static enum sr_status reshape(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, const struct sr_sql_table *want,
			      struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_sql_table *t = sr_sql_table(sql, leaf->path);
	struct sr_buf common = {0};
	struct move m = {.name = sr_strdup(t->name)};
	enum sr_status st;
	bool done = false;

	m.key = key_places(t, want, &m.keys);
	add_common(&common, t, want);
	st = common.len ? keep(&a->s->st, t, err) : SR_OK;
	if (st == SR_OK)
		st = tell_rows(a, i, leaf, t, err);
	if (st == SR_OK)
		st = sr_sql_exec(sql, "SAVEPOINT sameroot_reshape", err);
	if (st != SR_OK || !common.len)
		goto out;
	m.common = sr_buf_text(&common);
	sr_sql_schema_free(sql); /* no statement of the old table is open */
	done = put_in_place(sql, sr_buf_view(&a->schema), &m, NULL) == SR_OK &&
	       is_as_wanted(sql, &a->s->st, leaf->path, &leaf->to.hash);
	st = sr_sql_exec(sql, done ? "RELEASE sameroot_reshape" : "ROLLBACK TO sameroot_reshape; RELEASE sameroot_reshape", err);
	a->fills |= done; /* full-text indexes are filled anew */
	if (st == SR_OK)
		st = sr_sql_schema_again(sql, &a->s->st, err);
	if (st == SR_OK && done) {
		sr_buf_string(&a->made, leaf->path);
		tell_shed(a, i, leaf, &m);
	}
out:
	free(m.name);
	free(m.key);
	sr_buf_free(&m.shed);
	sr_buf_free(&common);
	return st;
}

enum sr_status sr_sql_reshape(struct sr_sql_apply *a, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	const struct sr_sql_table *t = sr_sql_table(&a->s->main, leaf->path), *want;
	struct sr_sql scratch = {0};
	char *name = sr_text(leaf->path);
	enum sr_status st = sr_sql_scratch(&scratch, err);

	if (st != SR_OK || !t || !t->synced || !(leaf->flags & SR_LEAF_EDITED) || !sr_hash_eq(&t->fingerprint, &leaf->expect.hash))
		goto out;
	if (sr_sql_schema_create(&scratch, sr_buf_view(&a->schema), is_called, name, NULL) != SR_OK ||
	    sr_sql_schema(&scratch, &a->s->st, NULL) != SR_OK)
		goto out;
	want = sr_sql_table(&scratch, leaf->path);
	if (want && want->synced && sr_hash_eq(&want->fingerprint, &leaf->to.hash) &&
	    (leaf->flags & SR_LEAF_APPROVED || !lacks_any(want, t)))
		st = reshape(a, i, leaf, want, err);
out:
	sr_sql_disconnect(&scratch);
	free(name);
	return st;
}

/* --- the same table, with other constraints ----------------------------------------------------------------------------- */

/* All rows, under their rowids: whoever knows them by these still does. */
static enum sr_status put_redefined(struct sr_sql_apply *a, struct move *m, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_bytes text = sr_buf_view(&a->schema);
	enum sr_status st = put_in_place(sql, text, m, err);

	if (st == SR_OK)
		st = sr_sql_schema_again(sql, &a->s->st, err);
	sr_buf_string(&a->made, sr_bytes_of(m->name));
	return st == SR_OK ? sr_sql_schema_complete(sql, text, sr_sql_apply_made, a, err) : st;
}

/* Is it now what was meant?  *why: why not. */
static bool is_redefined(struct sr_sql_apply *a, const struct move *m, const struct sr_hash *fingerprint, enum sr_status st,
			 struct sr_err *err, struct sr_buf *why)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_bytes name = sr_bytes_of(m->name);
	struct sr_reader in = sr_reader(sr_buf_view(&m->shed));

	if (st != SR_OK) {
		sr_buf_printf(why, "%s", err->text);
	} else if (m->shed.len) {
		sr_leaf_path_text(why, a->s->st.name, SR_KIND_DATABASE, sr_read_string(&in));
		sr_buf_printf(why, ": ");
		sr_buf_bytes(why, sr_read_string(&in));
	} else if (!is_as_wanted(sql, &a->s->st, name, fingerprint) ||
		   !sr_sql_is_defined_so(sql, &a->s->st, sr_buf_view(&a->schema), name)) {
		sr_buf_printf(why, "rows of it are not taken by a UNIQUE index, or it would be another");
	}
	return !why->len;
}

enum sr_status sr_sql_redefine(struct sr_sql_apply *a, struct sr_bytes table, struct sr_buf *why, struct sr_err *err)
{
	struct sr_sql *sql = &a->s->main;
	struct sr_sql_table *t = sr_sql_table(sql, table);
	struct sr_hash fingerprint = t->fingerprint;
	struct move m = {.name = sr_strdup(t->name)};
	struct sr_buf columns = {0};
	size_t made = a->made.len;
	struct sr_err no = {0};
	enum sr_status st = sr_sql_exec(sql, "SAVEPOINT sameroot_redefine", err);
	bool done;

	m.key = key_places(t, t, &m.keys);
	sr_sql_add_columns(&columns, t);
	if (t->rowid)
		sr_buf_printf(&columns, ",%s", t->rowid);
	m.common = sr_buf_text(&columns);
	if (st != SR_OK)
		goto out;
	sr_sql_schema_free(sql); /* no statement of the old table is open */
	st = put_redefined(a, &m, &no);
	done = is_redefined(a, &m, &fingerprint, st, &no, why);
	if (!done)
		a->made.len = made;
	st = sr_sql_exec(sql, done ? "RELEASE sameroot_redefine" : "ROLLBACK TO sameroot_redefine; RELEASE sameroot_redefine", err);
	if (st == SR_OK)
		st = sr_sql_schema_again(sql, &a->s->st, err);
out:
	free(m.name);
	free(m.key);
	sr_buf_free(&m.shed);
	sr_buf_free(&columns);
	return st;
}
