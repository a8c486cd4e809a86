/* sqlite_capture.c - Change-Capture=triggers: which rows have changed since the last scan, by a log that triggers write in the application's
 * own transactions.
 *
 * The log is the table _sameroot_log: seq, rising without a gap from 1; the table's name; the key of the row.  Its first row is the *anchor*:
 * no table, and a number made at random by whoever made or trimmed the log.  A scan's *position* is (anchor, seq).  What was scanned goes with
 * the next transaction of ours, the rest is numbered anew behind another anchor, so that a log that was emptied, or came back with an older
 * file, is not taken for the one that is known.
 *
 * Triggers are named _sameroot_<what>_<table>.  A table whose rows have a key gets
 *   i, u, d   AFTER INSERT, UPDATE, DELETE: the key of the new row, the old one, or both;
 *   r, s      BEFORE INSERT, UPDATE: the keys of rows that stand in the new one's way by a UNIQUE constraint, or by the rowid.  REPLACE removes
 *             them, and tells no trigger (recursive_triggers is off).
 * Of any other table - without a key, or with a unique index that is partial, or of expressions, of generated columns, of a collation of the
 * application's, or of a column that is NOT NULL with a default, which REPLACE puts in after such triggers - only that it changed is told: all its
 * rows are read.  So it is where a key has a NULL in it.  Of tables that are not synchronised it is told, too: a commit that is in the log nowhere
 * may be of somebody who fires no triggers - sqlite3_blob_write(), a connection that has them off - and is looked for by a full scan.
 *
 * A scan by the log reads what the log names, and takes all else from the map before, if that is the map of the last scan or of an apply since,
 * and the schema's version has not moved: then the triggers are those that were looked at.  Our own applies fire none.  The net is a full scan
 * after Full-Scan-Interval, and after each start.  Without a daemon the log ends at SR_SQL_LOG_MOST rows. */
#include "lib/store/sqlite_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/store/watch.h"

#define PREFIX    "_sameroot_"
#define KEYS_MOST 6 /* columns of a key that the log has room for */
#define TRIM_AT   1000

static const char log_text[] = "CREATE TABLE " SR_SQL_LOG "(seq INTEGER PRIMARY KEY, tab, k1, k2, k3, k4, k5, k6)";

/* --- texts --------------------------------------------------------------------------------------------------------- */

struct plan { /* of a table */
	bool keyed;
	struct sr_buf rows;    /* statements: log the rows in the way of NEW */
	struct sr_buf differs; /* OLD differs from NEW in what they look at */
};

struct wanted { /* a trigger */
	char *name, *table, *text; /* OWNED */
	bool there;
};

struct all {
	struct wanted *at;
	size_t n;
};

static void add_string(struct sr_buf *b, const char *s)
{
	sr_buf_byte(b, '\'');
	for (; *s; s++) {
		if (*s == '\'')
			sr_buf_byte(b, '\'');
		sr_buf_byte(b, (uint8_t)*s);
	}
	sr_buf_byte(b, '\'');
}

/* of: "OLD.", "NEW." or "". */
static void add_key(struct sr_buf *b, const struct sr_sql_table *t, const char *of)
{
	for (size_t i = 0; i < t->keys; i++) {
		sr_buf_printf(b, ",%s", of);
		sr_sql_add_name(b, t->columns[t->key[i]].name);
	}
}

static void add_into(struct sr_buf *b, const struct sr_sql_table *t, bool keyed, const char *how)
{
	sr_buf_printf(b, "INSERT INTO " SR_SQL_LOG "(tab");
	for (size_t i = 0; keyed && i < t->keys; i++)
		sr_buf_printf(b, ",k%zu", i + 1);
	sr_buf_printf(b, ") %s", how);
	add_string(b, t->name);
}

/* Log the row, by OLD or NEW. */
static void add_log(struct sr_buf *b, const struct sr_sql_table *t, bool keyed, const char *of)
{
	add_into(b, t, keyed, "VALUES(");
	if (keyed)
		add_key(b, t, of);
	sr_buf_printf(b, ");");
}

/* Log rows of a SELECT, of which the rest follows. */
static void add_log_rows(struct sr_buf *b, const struct sr_sql_table *t, const char *of)
{
	add_into(b, t, true, "SELECT ");
	add_key(b, t, of);
}

static void add_old_if_another(struct sr_buf *b, const struct sr_sql_table *t)
{
	add_log_rows(b, t, "OLD.");
	for (size_t i = 0; i < t->keys; i++) {
		sr_buf_printf(b, i ? " OR OLD." : " WHERE OLD.");
		sr_sql_add_name(b, t->columns[t->key[i]].name);
		sr_buf_printf(b, " COLLATE BINARY IS NOT NEW.");
		sr_sql_add_name(b, t->columns[t->key[i]].name);
	}
	sr_buf_printf(b, ";");
}

static void add_wanted(struct all *all, const struct sr_sql_table *t, char what, const char *moment, const struct sr_buf *when,
		       const struct sr_buf *body)
{
	struct sr_buf text = {0};
	struct wanted *w;

	all->at = sr_realloc(all->at, (all->n + 1) * sizeof *all->at);
	w = &all->at[all->n++];
	*w = (struct wanted){.name = sr_format(PREFIX "%c_%s", what, t->name), .table = sr_strdup(t->name)};
	sr_buf_printf(&text, "CREATE TRIGGER ");
	sr_sql_add_name(&text, w->name);
	sr_buf_printf(&text, " %s ON ", moment);
	sr_sql_add_name(&text, t->name);
	sr_buf_printf(&text, " WHEN NOT EXISTS (SELECT 1 FROM " SR_SQL_LOG " WHERE seq=%d)", SR_SQL_LOG_MOST);
	if (when && when->len) {
		sr_buf_printf(&text, " AND (");
		sr_buf_bytes(&text, sr_buf_view(when));
		sr_buf_byte(&text, ')');
	}
	sr_buf_printf(&text, " BEGIN ");
	sr_buf_bytes(&text, sr_buf_view(body));
	sr_buf_printf(&text, " END");
	w->text = sr_strdup(sr_buf_text(&text));
	sr_buf_free(&text);
}

static void all_free(struct all *all)
{
	for (size_t i = 0; i < all->n; i++) {
		free(all->at[i].name);
		free(all->at[i].table);
		free(all->at[i].text);
	}
	free(all->at);
}

static void add_differs(struct sr_buf *b, const char *column)
{
	sr_buf_printf(b, "%sOLD.", b->len ? " OR " : "");
	sr_sql_add_name(b, column);
	sr_buf_printf(b, " COLLATE BINARY IS NOT NEW."); /* the finest there is, whichever the column or the index has */
	sr_sql_add_name(b, column);
}

/* Rows of the same rowid as NEW; of a new row that has none yet it is -1. */
static void look_by_rowid(struct plan *p, const struct sr_sql_table *t)
{
	add_log_rows(&p->rows, t, "");
	sr_buf_printf(&p->rows, " FROM ");
	sr_sql_add_name(&p->rows, t->name);
	sr_buf_printf(&p->rows, " WHERE %s=NEW.%s;", t->rowid, t->rowid);
	add_differs(&p->differs, t->rowid);
}

/* --- what a table gets ------------------------------------------------------------------------------------------------- */

static const struct sr_sql_column *column_called(const struct sr_sql_table *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++) /* not those that are generated */
		if (!strcmp(t->columns[i].name, name))
			return &t->columns[i];
	return NULL;
}

static bool is_known(const char *collation)
{
	return !sqlite3_stricmp(collation, "BINARY") || !sqlite3_stricmp(collation, "NOCASE") || !sqlite3_stricmp(collation, "RTRIM");
}

/* Rows that are equal to NEW by that unique index.  *fits false: they cannot be looked for by it. */
static enum sr_status look_by_index(struct sr_sql *sql, struct plan *p, const struct sr_sql_table *t, const char *index, bool *fits,
				    struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	const char *and = " WHERE ";
	int rc = sr_sql_prepare(sql, "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key = 1 ORDER BY seqno", index, &stmt);

	add_log_rows(&p->rows, t, "");
	sr_buf_printf(&p->rows, " FROM ");
	sr_sql_add_name(&p->rows, t->name);
	while (*fits && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
		const struct sr_sql_column *c;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		c = sqlite3_column_text(stmt, 0) ? column_called(t, sr_sql_text_at(stmt, 0)) : NULL;
		*fits = c && !c->fills_in && is_known(sr_sql_text_at(stmt, 1));
		if (!*fits)
			break;
		sr_buf_printf(&p->rows, "%s", and);
		sr_sql_add_name(&p->rows, c->name);
		sr_buf_printf(&p->rows, " COLLATE %s=NEW.", sr_sql_text_at(stmt, 1));
		sr_sql_add_name(&p->rows, c->name);
		add_differs(&p->differs, c->name);
		and = " AND ";
	}
	sqlite3_finalize(stmt);
	sr_buf_printf(&p->rows, ";");
	return !*fits || rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "index %s", index);
}

static enum sr_status plan_table(struct sr_sql *sql, const struct sr_sql_table *t, struct plan *p, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum sr_status st = SR_OK;
	int rc;

	p->keyed = t->synced && t->keys && t->keys <= KEYS_MOST;
	if (!p->keyed)
		return SR_OK;
	if (t->rowid)
		look_by_rowid(p, t);
	rc = sr_sql_prepare(sql, "SELECT name, partial FROM pragma_index_list(?1, 'main') WHERE \"unique\" AND origin <> 'pk' ORDER BY name",
			    t->name, &stmt);
	while (st == SR_OK && p->keyed && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		p->keyed = !sqlite3_column_int(stmt, 1);
		if (p->keyed)
			st = look_by_index(sql, p, t, sr_sql_text_at(stmt, 0), &p->keyed, err);
	}
	sqlite3_finalize(stmt);
	return st != SR_OK || !p->keyed || rc == SQLITE_DONE ? st : sr_sql_fail(err, sql, rc, "indexes of %s", t->name);
}

static enum sr_status want_table(struct sr_sql *sql, const struct sr_sql_table *t, struct all *all, size_t *keyed, struct sr_err *err)
{
	static const struct {
		char what;
		const char *moment, *of;
	} events[] = {{'i', "AFTER INSERT", "NEW."}, {'u', "AFTER UPDATE", "NEW."}, {'d', "AFTER DELETE", "OLD."}};
	struct plan p = {0};
	enum sr_status st = plan_table(sql, t, &p, err);

	for (size_t i = 0; st == SR_OK && i < sizeof events / sizeof *events; i++) {
		struct sr_buf body = {0};

		add_log(&body, t, p.keyed, events[i].of);
		if (p.keyed && events[i].what == 'u')
			add_old_if_another(&body, t);
		add_wanted(all, t, events[i].what, events[i].moment, NULL, &body);
		sr_buf_free(&body);
	}
	if (st == SR_OK && p.keyed && p.rows.len) {
		add_wanted(all, t, 'r', "BEFORE INSERT", NULL, &p.rows);
		add_wanted(all, t, 's', "BEFORE UPDATE", &p.differs, &p.rows);
	}
	*keyed += st == SR_OK && p.keyed;
	sr_buf_free(&p.rows);
	sr_buf_free(&p.differs);
	return st;
}

static enum sr_status want_all(struct sr_sql *sql, struct all *all, size_t *tables, size_t *keyed, struct sr_err *err)
{
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && i < sql->schema->n; i++) {
		const struct sr_sql_table *t = &sql->schema->tables[i];

		if (t->hidden || !*t->name)
			continue;
		++*tables;
		st = want_table(sql, t, all, keyed, err);
	}
	return st;
}

/* --- is it as it should be? ------------------------------------------------------------------------------------------------ */

/* Statements that make it so are added to *todo, strings. */
static enum sr_status compare_triggers(struct sr_sql *sql, struct all *all, struct sr_buf *todo, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql, "SELECT name, tbl_name, sql FROM main.sqlite_master WHERE type = 'trigger' AND name " SR_SQL_LIKE_OURS,
				NULL, &stmt);
	struct sr_buf text = {0};

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		bool wanted = false;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		for (size_t i = 0; !wanted && i < all->n; i++)
			all->at[i].there |= wanted = !strcmp(all->at[i].name, sr_sql_text_at(stmt, 0)) &&
						     !strcmp(all->at[i].table, sr_sql_text_at(stmt, 1)) &&
						     !strcmp(all->at[i].text, sr_sql_text_at(stmt, 2));
		if (wanted)
			continue;
		sr_buf_clear(&text);
		sr_buf_printf(&text, "DROP TRIGGER main.");
		sr_sql_add_name(&text, sr_sql_text_at(stmt, 0));
		sr_buf_string(todo, sr_buf_view(&text));
	}
	sqlite3_finalize(stmt);
	sr_buf_free(&text);
	for (size_t i = 0; i < all->n; i++)
		if (!all->at[i].there)
			sr_buf_string(todo, sr_bytes_of(all->at[i].text));
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "triggers");
}

/* One of that name that is not as we make it, or has triggers of its own, goes. */
static enum sr_status compare_log(struct sr_sql *sql, struct sr_buf *todo, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql, "SELECT type, sql IS ?1 AND NOT EXISTS (SELECT 1 FROM main.sqlite_master WHERE tbl_name = '" SR_SQL_LOG
				     "' COLLATE NOCASE AND type <> 'table') FROM main.sqlite_master WHERE name = '" SR_SQL_LOG "' COLLATE NOCASE",
				log_text, &stmt);
	bool there = false, table = false, ours = false;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	there = rc == SQLITE_ROW;
	if (there) {
		table = !strcmp(sr_sql_text_at(stmt, 0), "table");
		ours = sqlite3_column_int(stmt, 1);
	}
	sqlite3_finalize(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return sr_sql_fail(err, sql, rc, SR_SQL_LOG);
	if (there && !table)
		return sr_err_set(err, SR_E_DATA, "what is called " SR_SQL_LOG " is no table");
	if (there && !ours)
		sr_buf_string(todo, sr_bytes_of("DROP TABLE main." SR_SQL_LOG));
	if (!ours)
		sr_buf_string(todo, sr_bytes_of(log_text));
	return SR_OK;
}

/* *anchor: none, when the log is not one that goes on. */
static enum sr_status read_anchor(struct sr_sql *sql, int64_t *anchor, int64_t *last, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql, "SELECT k1, (SELECT max(seq) FROM main." SR_SQL_LOG ") FROM main." SR_SQL_LOG " WHERE seq=1 AND tab='' AND typeof(k1)='integer'",
				NULL, &stmt);

	*anchor = *last = 0;
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*anchor = sqlite3_column_int64(stmt, 0);
		*last = sqlite3_column_int64(stmt, 1);
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, SR_SQL_LOG);
}

static int64_t new_anchor(void)
{
	int64_t n;

	sr_random(&n, sizeof n);
	return n ? n : 1;
}

/* What is to be done, strings; tables first, for triggers name the log. */
static enum sr_status compare(struct sr_sql_store *s, struct sr_buf *todo, struct sr_err *err)
{
	struct sr_sql *sql = &s->main;
	struct all all = {0};
	int64_t anchor = 0, last;
	size_t tables = 0, keyed = 0;
	enum sr_status st = compare_log(sql, todo, err);

	if (st == SR_OK && !todo->len)
		st = read_anchor(sql, &anchor, &last, err);
	if (st == SR_OK && !anchor) {
		char *text = sr_format("INSERT INTO main." SR_SQL_LOG "(seq, tab, k1) VALUES(1, '', %lld)", (long long)new_anchor());

		if (!todo->len)
			sr_buf_string(todo, sr_bytes_of("DELETE FROM main." SR_SQL_LOG));
		sr_buf_string(todo, sr_bytes_of(text));
		free(text);
	}
	if (st == SR_OK)
		st = want_all(sql, &all, &tables, &keyed, err);
	if (st == SR_OK)
		st = compare_triggers(sql, &all, todo, err);
	s->capture.tables = tables;
	s->capture.keyed = keyed;
	all_free(&all);
	return st;
}

static enum sr_status run_all(struct sr_sql *sql, const struct sr_buf *todo, struct sr_err *err)
{
	struct sr_reader r = sr_reader(sr_buf_view(todo));
	enum sr_status st = SR_OK;

	while (st == SR_OK && !sr_read_done(&r)) {
		char *text = sr_text(sr_read_string(&r));

		st = sr_sql_exec(sql, text, err);
		free(text);
	}
	return st;
}

static void leave(struct sr_sql *sql)
{
	if (!sqlite3_get_autocommit(sql->db))
		sqlite3_exec(sql->db, "ROLLBACK", NULL, NULL, NULL);
}

/* --- made and removed ------------------------------------------------------------------------------------------------------ */

static enum sr_status look(struct sr_sql_store *s, struct sr_buf *todo, struct sr_err *err)
{
	struct sr_sql *sql = &s->main;
	enum sr_status st = sr_sql_schema(sql, &s->st, err);

	sr_buf_clear(todo);
	if (st == SR_OK && sr_sql_empty(sql))
		return sr_err_set(err, SR_E_NOTFOUND, "there is no table yet");
	if (st == SR_OK && !sql->schema->utf8)
		return sr_err_set(err, SR_E_DATA, "its text is UTF-16");
	return st == SR_OK ? compare(s, todo, err) : st;
}

static enum sr_status make(struct sr_sql_store *s, struct sr_err *err)
{
	struct sr_sql *sql = &s->main;
	struct sr_buf todo = {0};
	enum sr_status st = sr_sql_exec(sql, "BEGIN", err);

	if (st == SR_OK)
		st = look(s, &todo, err);
	if (st == SR_OK && todo.len) {
		leave(sql);
		st = sr_sql_begin(sql, &s->st, err);
		if (st == SR_OK)
			st = look(s, &todo, err);
		if (st == SR_OK)
			st = run_all(sql, &todo, err);
	}
	if (st == SR_OK)
		st = sr_sql_int(sql, "PRAGMA main.schema_version", &s->capture.version, err);
	if (st == SR_OK)
		st = sr_sql_exec(sql, "COMMIT", err);
	leave(sql);
	if (st != SR_OK && todo.len)
		sr_sql_schema_free(sql); /* it may be of what was rolled back */
	sr_buf_free(&todo);
	return st;
}

static enum sr_status count_ours(struct sr_sql *sql, int64_t *n, struct sr_err *err)
{
	return sr_sql_int(sql, "SELECT count(*) FROM main.sqlite_master WHERE (type = 'trigger' AND name " SR_SQL_LIKE_OURS ") OR "
			       "(type = 'table' AND name = '" SR_SQL_LOG "')", n, err);
}

static enum sr_status remove_in(struct sr_sql *sql, struct sr_err *err)
{
	struct all none = {0};
	struct sr_buf todo = {0};
	enum sr_status st = compare_triggers(sql, &none, &todo, err);

	if (st == SR_OK)
		st = run_all(sql, &todo, err);
	if (st == SR_OK)
		st = sr_sql_exec(sql, "DROP TABLE IF EXISTS main." SR_SQL_LOG, err);
	sr_buf_free(&todo);
	return st;
}

static enum sr_status unmake(struct sr_sql_store *s, struct sr_err *err)
{
	struct sr_sql *sql = &s->main;
	int64_t n = 0;
	enum sr_status st = count_ours(sql, &n, err);

	if (st == SR_OK && n) {
		st = sr_sql_begin(sql, &s->st, err);
		if (st == SR_OK)
			st = remove_in(sql, err);
		if (st == SR_OK)
			st = sr_sql_exec(sql, "COMMIT", err);
		leave(sql);
		if (st == SR_OK)
			sr_info("store %s: the triggers of Change-Capture are removed", s->st.name);
	}
	return st == SR_OK ? sr_sql_int(sql, "PRAGMA main.schema_version", &s->capture.version, err) : st;
}

static void say(struct sr_sql_store *s, const char *why, bool aloud)
{
	struct sr_sql_capture *c = &s->capture;

	if (aloud && strcmp(why, c->why) != 0)
		sr_info("store %s: %s: %s", s->st.name,
			c->mode == SR_CAPTURE_TRIGGERS ? "changed rows are found by reading its tables" : "the triggers of Change-Capture stay", why);
	snprintf(c->why, sizeof c->why, "%.159s", why);
}

static enum sr_status trim_alone(struct sr_sql_store *s, struct sr_err *err)
{
	struct sr_sql_trim trim = {0};
	enum sr_status st = sr_sql_begin(&s->main, &s->st, err);

	if (st == SR_OK)
		st = sr_sql_capture_trim(s, &trim, err);
	if (st == SR_OK)
		st = sr_sql_exec(&s->main, "COMMIT", err);
	if (st == SR_OK)
		sr_sql_capture_trimmed(s, &trim);
	leave(&s->main);
	return st;
}

void sr_sql_capture_tend(struct sr_sql_store *s)
{
	struct sr_sql_capture *c = &s->capture;
	struct sr_err err = {0};
	int64_t version;
	enum sr_status st;

	if (c->mode == SR_CAPTURE_LEAVE)
		return;
	st = sr_sql_int(&s->main, "PRAGMA main.schema_version", &version, &err);
	if (st == SR_OK && c->well && c->version == version) {
		if (c->mode == SR_CAPTURE_TRIGGERS && c->taken > TRIM_AT)
			(void)trim_alone(s, &err); /* it goes with another */
		return;
	}
	if (st == SR_OK)
		st = c->mode == SR_CAPTURE_TRIGGERS ? make(s, &err) : unmake(s, &err);
	c->well = st == SR_OK;
	say(s, st == SR_OK ? "" : err.text, st != SR_OK && st != SR_E_NOTFOUND);
}

void sr_sql_capture_forget(struct sr_sql_store *s)
{
	s->capture.well = s->capture.known = false;
	s->capture.taken = 0;
}

/* --- trimmed ------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_sql_capture_trim(struct sr_sql_store *s, struct sr_sql_trim *trim, struct sr_err *err)
{
	const struct sr_sql_capture *c = &s->capture;
	struct sr_sql *sql = &s->main;
	int64_t anchor, last;
	char *text;
	enum sr_status st;

	*trim = (struct sr_sql_trim){0};
	if (c->mode != SR_CAPTURE_TRIGGERS || !c->well || !c->known || c->taken < 2)
		return SR_OK;
	if (read_anchor(sql, &anchor, &last, NULL) != SR_OK || anchor != c->anchor || last < c->taken)
		return SR_OK; /* it is another: the next scan will see */
	*trim = (struct sr_sql_trim){.anchor = new_anchor(), .upto = c->taken};
	text = sr_format("DELETE FROM main." SR_SQL_LOG " WHERE seq<=%lld; UPDATE main." SR_SQL_LOG " SET seq=seq-%lld; "
			 "INSERT INTO main." SR_SQL_LOG "(seq, tab, k1) VALUES(1, '', %lld)",
			 (long long)trim->upto, (long long)trim->upto - 1, (long long)trim->anchor);
	st = sr_sql_exec(sql, text, err);
	free(text);
	return st;
}

void sr_sql_capture_trimmed(struct sr_sql_store *s, const struct sr_sql_trim *trim)
{
	struct sr_sql_capture *c = &s->capture;

	if (!trim->anchor)
		return;
	c->anchor = trim->anchor;
	c->seen -= trim->upto - 1;
	c->taken = 1;
}

/* --- scans by the log -------------------------------------------------------------------------------------------------------- */

bool sr_sql_capture_is_full_due(const struct sr_sql_store *s)
{
	const struct sr_sql_capture *c = &s->capture;
	int64_t full_ms = s->st.watch ? sr_watch_full_ms(s->st.watch) : c->full_ms;

	return c->mode == SR_CAPTURE_TRIGGERS && c->narrowed && sr_ticks_ms() - c->full_at >= full_ms;
}

/* In the scan's own view: where the log is, if it is one to go by. */
static enum sr_status find_position(struct sr_sql_store *s, struct sr_sql *sql, struct sr_sql_position *p, struct sr_err *err)
{
	struct sr_sql_capture *c = &s->capture;
	enum sr_status st;

	*p = (struct sr_sql_position){0};
	if (c->mode != SR_CAPTURE_TRIGGERS || !c->well || c->version != sql->schema->version)
		return SR_OK;
	st = read_anchor(sql, &p->anchor, &p->last, err);
	p->version = sql->schema->version;
	if (st == SR_OK && !p->anchor)
		c->well = false; /* to be made anew */
	return st;
}

struct key {
	size_t table, at, len; /* the path, in `paths` */
};

struct reading {
	struct sr_sql *sql;
	struct sr_sql_narrow *n;
	struct sr_buf paths;
	struct key *keys;
	size_t count, cap;
};

/* A table that was not in the map before, or in another shape, or in which not every row can be named, is read whole. */
static void judge_tables(struct sr_sql *sql, struct sr_nodes *nodes, const struct sr_hash *before, const struct sr_scan *seen, bool *whole)
{
	for (size_t i = 0; i < sql->schema->n; i++) {
		const struct sr_sql_table *t = &sql->schema->tables[i];
		struct sr_bytes attrs;
		struct sr_entry e;

		whole[i] = !t->synced || sr_map_get(nodes, before, sr_bytes_of(t->name), &e) != SR_OK || e.kind != SR_KIND_TABLE ||
			   sr_map_attrs(nodes, &e.hash, &attrs) != SR_OK ||
			   !sr_bytes_eq(attrs, sr_bytes(t->fingerprint.b, sizeof t->fingerprint.b));
	}
	for (size_t k = 0; k < seen->unknowns; k++) {
		struct sr_bytes path = seen->unknown[k].path, table, key;
		const struct sr_sql_table *t = sr_sql_table(sql, sr_sql_path_split(path, &table, &key) ? table : path);

		if (t)
			whole[t - sql->schema->tables] = true;
	}
}

/* The row of the log on which `stmt` stands. */
static bool take_row(struct reading *r, sqlite3_stmt *stmt)
{
	struct sr_sql *sql = r->sql;
	struct sr_sql_table *t = sr_sql_table(sql, sr_bytes_of(sr_sql_text_at(stmt, 0)));
	size_t i = t ? (size_t)(t - sql->schema->tables) : 0;

	if (!t)
		return false;
	if (r->n->whole[i])
		return true;
	if (!t->keys || t->keys > KEYS_MOST) {
		r->n->whole[i] = true;
		return true;
	}
	sr_sql_room(sql, t->n);
	for (size_t k = 0; k < t->keys; k++)
		sql->columns[t->key[k]].value = sr_sql_value(stmt, (int)k + 1, sql->schema->utf8);
	if (!sr_sql_name(sql, t)) { /* a row of its bag, or one that cannot be named, or all that is told is that it changed */
		r->n->whole[i] = true;
		return true;
	}
	if (r->count == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->keys = sr_realloc(r->keys, r->cap * sizeof *r->keys);
	}
	r->keys[r->count] = (struct key){.table = i, .at = r->paths.len};
	sr_buf_bytes(&r->paths, sr_bytes_of(t->name));
	sr_buf_byte(&r->paths, 0);
	sr_buf_bytes(&r->paths, sr_buf_view(&sql->key));
	r->keys[r->count].len = r->paths.len - r->keys[r->count].at;
	r->count++;
	return true;
}

static enum sr_status read_log(struct reading *r, int64_t after, bool *known, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(r->sql, "SELECT tab, k1, k2, k3, k4, k5, k6 FROM main." SR_SQL_LOG " WHERE seq>?1 ORDER BY seq", NULL, &stmt);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 1, after);
	while (*known && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			*known = take_row(r, stmt);
	}
	sqlite3_finalize(stmt);
	return !*known || rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, r->sql, rc, SR_SQL_LOG);
}

static struct sr_bytes path_of(const struct reading *r, const struct key *k)
{
	return sr_bytes(r->paths.at + k->at, k->len);
}

static int by_path(const void *a, const void *b, void *ctx)
{
	return sr_bytes_cmp(path_of(ctx, a), path_of(ctx, b));
}

/* The rows as they are now, each once, but for those of tables that are read whole. */
static enum sr_status read_rows(struct reading *r, const struct sr_store *st, struct sr_scan *out, struct sr_edit *edits, size_t *n, struct sr_err *err)
{
	enum sr_status status = SR_OK;

	*n = 0;
	if (r->count)
		qsort_r(r->keys, r->count, sizeof *r->keys, by_path, r);
	for (size_t i = 0; status == SR_OK && i < r->count; i++) {
		struct sr_bytes path = path_of(r, &r->keys[i]), table, key;
		struct sr_edit *e = &edits[*n];

		if (r->n->whole[r->keys[i].table] || (*n && sr_bytes_eq(edits[*n - 1].path, path)) || !sr_sql_path_split(path, &table, &key))
			continue;
		e->path = path;
		status = sr_sql_row_read(r->sql, st, &r->sql->schema->tables[r->keys[i].table], key, &e->to, err);
		out->rows_read++;
		out->hashed += status == SR_OK && e->to.kind == SR_KIND_ROW;
		out->hashed_bytes += status == SR_OK ? e->to.bytes : 0;
		++*n;
	}
	return status;
}

static enum sr_status narrow(struct sr_sql_store *s, struct sr_sql *sql, struct sr_nodes *nodes, const struct sr_hash *before, struct sr_scan *out,
			     struct sr_sql_narrow *n, bool *done, struct sr_err *err)
{
	struct reading r = {.sql = sql, .n = n};
	struct sr_edit *edits = NULL;
	size_t count = 0;
	bool known = true;
	enum sr_status st;

	n->whole = sr_alloc(sql->schema->n * sizeof *n->whole);
	judge_tables(sql, nodes, before, &s->gate.seen, n->whole);
	st = read_log(&r, s->capture.seen, &known, err);
	if (st == SR_OK && known) {
		edits = sr_alloc((r.count + 1) * sizeof *edits);
		st = read_rows(&r, &s->st, out, edits, &count, err);
	}
	/* A map that does not take them is not the one that it should be: then all is read. */
	*done = st == SR_OK && known && sr_store_edit(nodes, SR_KIND_DATABASE, before, edits, count, &n->map, NULL) == SR_OK;
	if (!*done) {
		free(n->whole);
		n->whole = NULL;
		out->rows_read = out->hashed = out->hashed_bytes = 0;
	}
	free(edits);
	free(r.keys);
	sr_buf_free(&r.paths);
	return st;
}

enum sr_status sr_sql_capture_narrow(struct sr_sql_store *s, struct sr_sql *sql, struct sr_nodes *nodes, const struct sr_hash *before, bool trusted,
				     struct sr_scan *out, struct sr_sql_narrow *n, struct sr_err *err)
{
	struct sr_sql_capture *c = &s->capture;
	bool done = false;
	enum sr_status st;

	*n = (struct sr_sql_narrow){0};
	st = find_position(s, sql, &n->position, err);
	if (st != SR_OK || !n->position.anchor || !trusted || !c->known || n->position.anchor != c->anchor || n->position.version != c->scanned ||
	    n->position.last < c->seen || n->position.last >= SR_SQL_LOG_MOST)
		return st;
	if (n->position.last == c->seen && !s->gate.carried) /* whoever committed has fired no trigger */
		return SR_OK;
	return narrow(s, sql, nodes, before, out, n, &done, err);
}

void sr_sql_capture_scanned(struct sr_sql_store *s, struct sr_sql_narrow *n)
{
	struct sr_sql_capture *c = &s->capture;

	c->known = n->position.anchor;
	c->anchor = n->position.anchor;
	c->seen = n->position.last;
	c->scanned = n->position.version;
	c->taken = 0;
	c->narrowed = n->whole;
	if (n->whole)
		c->by_log++;
	else
		c->full++;
	if (!n->whole)
		c->full_at = sr_ticks_ms();
	free(n->whole);
	n->whole = NULL;
}

/* --- asked for --------------------------------------------------------------------------------------------------------------- */

void sr_sql_capture_set(struct sr_store *st, enum sr_capture mode, int64_t full_ms)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	if (s->capture.mode != mode)
		sr_sql_capture_forget(s);
	s->capture.mode = mode;
	s->capture.full_ms = full_ms;
}

void sr_sql_capture_taken(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	if (s->capture.known)
		s->capture.taken = s->capture.seen;
}

void sr_sql_capture_report(const struct sr_store *st, struct sr_capture_report *out)
{
	const struct sr_sql_capture *c = &((const struct sr_sql_store *)st)->capture;

	*out = (struct sr_capture_report){.asked = c->mode == SR_CAPTURE_TRIGGERS, .on = c->mode == SR_CAPTURE_TRIGGERS && c->well,
					  .tables = c->tables, .keyed = c->keyed, .full = c->full, .by_log = c->by_log};
	snprintf(out->why, sizeof out->why, "%s", c->why);
}

enum sr_status sr_database_capture(const char *path, bool removes, struct sr_capture_found *out, struct sr_err *err)
{
	const struct sr_store st = {.path = (char *)path};
	struct sr_capture_found found = {0};
	struct sr_sql sql = {0};
	int64_t n = 0, rows = 0, log = 0;
	enum sr_status status = sr_sql_connect(&sql, &st, SR_VIEW_MAIN, err);

	if (status == SR_OK)
		status = removes ? sr_sql_begin(&sql, &st, err) : sr_sql_exec(&sql, "BEGIN", err);
	if (status == SR_OK)
		status = count_ours(&sql, &n, err);
	if (status == SR_OK)
		status = sr_sql_int(&sql, "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = '" SR_SQL_LOG "'", &log, err);
	if (status == SR_OK && log)
		status = sr_sql_int(&sql, "SELECT max(0, count(*) - 1) FROM main." SR_SQL_LOG, &rows, err);
	found = (struct sr_capture_found){.triggers = (uint64_t)(n - log), .rows = (uint64_t)rows, .log = log};
	if (status == SR_OK && removes && n)
		status = remove_in(&sql, err);
	if (status == SR_OK)
		status = sr_sql_exec(&sql, "COMMIT", err);
	if (status == SR_OK)
		status = sr_sql_sync(&sql, err);
	if (sql.db)
		leave(&sql);
	sr_sql_disconnect(&sql);
	if (status == SR_OK)
		*out = found;
	return status;
}
