/* sqlite_fts.c - full-text indexes follow what an apply writes.
 *
 * An apply fires no trigger of the application's (sqlite.c), for what they did came along as rows.  What they did to a virtual table did
 * not: each database has its own.  TEMP triggers fire all the same, so that for the length of an apply
 *   - each trigger on a synchronised table has a TEMP copy of those of its statements that write to fts3, fts4, fts5 or rtree tables and to
 *     nothing else, with the moment, the columns and the WHEN that it has itself;
 *   - an FTS5 table with external content that no trigger names gets three of our own, if it goes by the rowid of a synchronised table.
 * An authorizer says what a copy does, as SQLite sees it: it is made, a statement that fires it is prepared, and it is gone again.  What
 * was found to be harmless is kept with the schema and made anew by every apply.  Where all tables are new the same statements are run for
 * all rows at once at the end, by a trigger on a view: row by row an index is flushed for each.
 *
 * An index may have been out of step before, or broken.  A row that it cannot follow is written without it, and the others follow. */
#include "lib/store/sqlite_internal.h"

#include <stdlib.h>
#include <string.h>

#define TRIAL       "_sameroot_fts" /* the trigger that is being looked at; those in use have a number behind it */
#define FEED        "_sameroot_feed" /* a view of a table, by which all its rows are given to its indexes at once */
#define MISSES_MAX  1000	    /* statements of an apply for which a copy that failed is made again */
#define EVENTS      3	    /* INSERT, UPDATE, DELETE */
#define APPLICATIONS "type = 'trigger' AND name NOT " SR_SQL_LIKE_OURS

struct sr_sql_fts {
	struct copy {
		char *make;   /* OWNED; CREATE TEMP TRIGGER name ... */
		char *fill;   /* OWNED; INSERT: the same on FEED; else NULL */
		size_t table; /* place in the schema */
		bool off;     /* dropped, for one statement or for the rest of the apply */
	} *copies;
	size_t n;
	size_t suspect; /* the copy that failed last */
	struct sr_buf indexes; /* strings: their names */
	size_t misses;	       /* statements that were run without one */
	bool on;	       /* within an apply */
};

void sr_sql_fts_free(struct sr_sql_fts *fts)
{
	if (!fts)
		return;
	for (size_t i = 0; i < fts->n; i++) {
		free(fts->copies[i].make);
		free(fts->copies[i].fill);
	}
	free(fts->copies);
	sr_buf_free(&fts->indexes);
	free(fts);
}

/* --- what SQLite says that a trigger does ----------------------------------------------------------------------- */

struct look {
	struct sr_sql *sql;
	struct sr_sql_fts *fts;
	struct sr_buf readable; /* strings: the tables and views of this database */
	struct sr_buf unsafe;   /* strings: functions that SQLite keeps out of schemas; it does not keep them out of TEMP triggers */
	struct index {
		char *name;
		char *text; /* its CREATE */
	} *indexes;
	size_t n;
	bool making; /* the trigger; else a statement that fires it */
	bool feeds;  /* an index was written */
};

static bool listed(const struct sr_buf *names, const char *name)
{
	struct sr_reader r = sr_reader(sr_buf_view(names));

	while (!sr_read_done(&r)) {
		struct sr_bytes one = sr_read_string(&r);

		if (one.len == strlen(name) && !sqlite3_strnicmp((const char *)one.at, name, (int)one.len))
			return true;
	}
	return false;
}

static bool is_index(const struct look *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!sqlite3_stricmp(l->indexes[i].name, name))
			return true;
	return false;
}

static int authorize_making(int action, const char *a)
{
	switch (action) {
	case SQLITE_CREATE_TEMP_TRIGGER:
		return !strcmp(a, TRIAL) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_READ:
		return !strcmp(a, "sqlite_master") || !strcmp(a, "sqlite_temp_master") ? SQLITE_OK : SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

/* `via`: the trigger, or a view within it.  Without one it is the firing statement itself, or a virtual table that opens its own. */
static int authorize(void *ctx, int action, const char *a, const char *b, const char *db, const char *via)
{
	struct look *l = ctx;

	if (l->making)
		return authorize_making(action, a);
	if (!via)
		return SQLITE_OK;
	switch (action) {
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
		if (!db || strcmp(db, "main") || !is_index(l, a))
			return SQLITE_DENY;
		l->feeds = true;
		return SQLITE_OK;
	case SQLITE_READ:
		return listed(&l->readable, a) || !strcmp(a, "json_each") || !strcmp(a, "json_tree") ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_SELECT:
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	case SQLITE_FUNCTION:
		return listed(&l->unsafe, b) ? SQLITE_DENY : SQLITE_OK;
	default:
		return SQLITE_DENY;
	}
}

/* Prepare one statement, and run it if `run`. */
static bool accepted(struct look *l, const char *text, bool run)
{
	sqlite3_stmt *stmt = NULL;
	const char *tail = "";
	bool good = sqlite3_prepare_v2(l->sql->db, text, -1, &stmt, &tail) == SQLITE_OK && !*tail;

	if (good && run)
		good = sqlite3_step(stmt) == SQLITE_DONE;
	sqlite3_finalize(stmt);
	return good;
}

/* A statement that fires all triggers for `event` on the table. */
static void add_firing(struct sr_buf *out, const struct sr_sql_table *t, const char *event)
{
	sr_buf_printf(out, !strcmp(event, "INSERT") ? "INSERT INTO main." : !strcmp(event, "DELETE") ? "DELETE FROM main." : "UPDATE main.");
	sr_sql_add_name(out, t->name);
	if (!strcmp(event, "INSERT"))
		sr_buf_printf(out, " DEFAULT VALUES");
	for (size_t i = 0; !strcmp(event, "UPDATE") && i < t->n; i++) {
		sr_buf_printf(out, i ? ", " : " SET ");
		sr_sql_add_name(out, t->columns[i].name);
		sr_buf_byte(out, '=');
		sr_sql_add_name(out, t->columns[i].name);
	}
}

/* Does the trigger - all of its text behind the name - feed indexes and do nothing else? */
static bool harmless(struct look *l, const struct sr_sql_table *t, const char *event, struct sr_bytes trigger)
{
	struct sr_buf make = {0}, fire = {0};
	bool good;

	sr_buf_printf(&make, "CREATE TEMP TRIGGER " TRIAL " ");
	sr_buf_bytes(&make, trigger);
	add_firing(&fire, t, event);
	l->feeds = false;
	sqlite3_set_authorizer(l->sql->db, authorize, l);
	l->making = true;
	good = accepted(l, sr_buf_text(&make), true);
	l->making = false;
	good = good && accepted(l, sr_buf_text(&fire), false) && l->feeds;
	sqlite3_set_authorizer(l->sql->db, NULL, NULL);
	sqlite3_exec(l->sql->db, "DROP TRIGGER IF EXISTS temp." TRIAL, NULL, NULL, NULL);
	sr_buf_free(&make);
	sr_buf_free(&fire);
	return good;
}

/* `body`: what stands behind the table's name. */
static void keep(struct look *l, const struct sr_sql_table *t, const char *event, struct sr_bytes trigger, struct sr_bytes body)
{
	struct sr_sql_fts *fts = l->fts;
	struct sr_buf text = {0};
	struct copy copy = {.table = (size_t)(t - l->sql->schema->tables)};

	sr_buf_printf(&text, "CREATE TEMP TRIGGER IF NOT EXISTS " TRIAL "_%zu ", fts->n);
	sr_buf_bytes(&text, trigger);
	copy.make = sr_strdup(sr_buf_text(&text));
	if (!strcmp(event, "INSERT")) {
		sr_buf_clear(&text);
		sr_buf_printf(&text, "CREATE TEMP TRIGGER " FEED "_%zu INSTEAD OF INSERT ON main." FEED " ", fts->n);
		sr_buf_bytes(&text, body);
		copy.fill = sr_strdup(sr_buf_text(&text));
	}
	fts->copies = sr_realloc(fts->copies, (fts->n + 1) * sizeof *fts->copies);
	fts->copies[fts->n++] = copy;
	sr_buf_free(&text);
}

/* --- the application's triggers ------------------------------------------------------------------------------------ */

/* CREATE TRIGGER name [moment] ON table [head] statement; ...; END */
struct trigger {
	const char *event;	   /* INSERT, UPDATE, DELETE */
	struct sr_bytes moment;	   /* "AFTER UPDATE OF a, b" */
	struct sr_bytes head;	   /* "FOR EACH ROW WHEN new.a BEGIN" */
	struct sr_bytes statements; /* up to the end */
};

static struct sr_bytes between(const uint8_t *from, const uint8_t *to)
{
	return sr_bytes(from, (size_t)(to - from));
}

/* Up to ON, which is no name without quotes. */
static bool cut_moment(struct sr_bytes *rest, struct trigger *out)
{
	static const char *const events[] = {"INSERT", "UPDATE", "DELETE"};
	const uint8_t *start = rest->at;
	struct sr_sql_token t;

	for (;;) {
		t = sr_sql_token(rest);
		if (!t.kind || sr_sql_token_is(&t, "INSTEAD"))
			return false;
		if (sr_sql_token_is(&t, "ON"))
			break;
		for (size_t i = 0; i < EVENTS && !out->event; i++)
			out->event = sr_sql_token_is(&t, events[i]) ? events[i] : NULL;
	}
	out->moment = between(start, t.text.at);
	return out->event;
}

/* Up to the BEGIN that a statement follows: `begin` may be a column's name. */
static bool cut_head(struct sr_bytes *rest, struct trigger *out)
{
	static const char *const starts[] = {"INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT", "WITH"};
	const uint8_t *start = rest->at;

	for (;;) {
		struct sr_sql_token t = sr_sql_token(rest), next;
		struct sr_bytes ahead = *rest;

		if (!t.kind)
			return false;
		if (!sr_sql_token_is(&t, "BEGIN"))
			continue;
		next = sr_sql_token(&ahead);
		for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
			if (sr_sql_token_is(&next, starts[i])) {
				out->head = between(start, t.text.at + t.text.len);
				out->statements = *rest;
				return true;
			}
	}
}

static bool cut_trigger(struct sr_bytes text, struct trigger *out)
{
	struct sr_sql_token t;
	struct sr_bytes ahead;

	*out = (struct trigger){0};
	for (size_t i = 0; i < 3; i++)
		t = sr_sql_token(&text); /* CREATE TRIGGER name: sqlite_master has it no other way */
	if (!t.kind || !cut_moment(&text, out))
		return false;
	sr_sql_token(&text); /* the table, which may be called main.table */
	ahead = text;
	t = sr_sql_token(&ahead);
	if (t.kind == '.') {
		sr_sql_token(&ahead);
		text = ahead;
	}
	return cut_head(&text, out) && !sr_sql_text_names(out->head, "RAISE");
}

/* Returns where in *out the part behind the table's name begins. */
static size_t compose(struct sr_buf *out, const struct trigger *cut, const struct sr_sql_table *t, struct sr_bytes statements)
{
	size_t body;

	sr_buf_clear(out);
	sr_buf_bytes(out, cut->moment);
	sr_buf_printf(out, " ON main.");
	sr_sql_add_name(out, t->name);
	sr_buf_byte(out, ' ');
	body = out->len;
	sr_buf_bytes(out, cut->head);
	sr_buf_byte(out, ' ');
	sr_buf_bytes(out, statements);
	sr_buf_printf(out, " END");
	return body;
}

static bool names_an_index(const struct look *l, struct sr_bytes text)
{
	for (size_t i = 0; i < l->n; i++)
		if (sr_sql_text_names(text, l->indexes[i].name))
			return true;
	return false;
}

/* Copy what feeds indexes.  A statement that may RAISE does not: the row has been accepted where it was written. */
static void copy_trigger(struct look *l, const struct sr_sql_table *t, struct sr_bytes text)
{
	struct sr_buf copy = {0}, kept = {0};
	struct sr_bytes one;
	struct trigger cut;

	if (!cut_trigger(text, &cut))
		return;
	while (sr_sql_part(&cut.statements, ';', &one)) {
		size_t before = kept.len;

		if (!names_an_index(l, one) || sr_sql_text_names(one, "RAISE"))
			continue;
		sr_buf_bytes(&kept, one);
		sr_buf_printf(&kept, "; ");
		compose(&copy, &cut, t, sr_bytes(kept.at + before, kept.len - before));
		if (!harmless(l, t, cut.event, sr_buf_view(&copy)))
			kept.len = before;
	}
	if (kept.len) {
		size_t body = compose(&copy, &cut, t, sr_buf_view(&kept));

		keep(l, t, cut.event, sr_buf_view(&copy), sr_bytes(copy.at + body, copy.len - body));
	}
	sr_buf_free(&copy);
	sr_buf_free(&kept);
}

/* --- our own, for external content ----------------------------------------------------------------------------------- */

struct content {
	const struct index *x;
	const struct sr_sql_table *t;
	const char *rowid;
	struct sr_buf columns; /* strings: of the index */
};

/* "INSERT INTO x(x, rowid, columns...) VALUES('delete', old.rowid, old.columns...); " */
static void add_step(struct sr_buf *out, struct content *c, bool removes)
{
	const char *row = removes ? "old." : "new.";

	sr_buf_printf(out, "INSERT INTO ");
	sr_sql_add_name(out, c->x->name);
	sr_buf_byte(out, '(');
	if (removes) {
		sr_sql_add_name(out, c->x->name);
		sr_buf_byte(out, ',');
	}
	for (int values = 0; values < 2; values++) {
		struct sr_reader r = sr_reader(sr_buf_view(&c->columns));

		sr_buf_printf(out, "%s", !values ? "rowid" : removes ? ") VALUES('delete', old." : ") VALUES(new.");
		if (values)
			sr_sql_add_name(out, c->rowid);
		while (!sr_read_done(&r)) {
			char *column = sr_text(sr_read_string(&r));

			sr_buf_printf(out, ", %s", values ? row : "");
			sr_sql_add_name(out, column);
			free(column);
		}
	}
	sr_buf_printf(out, "); ");
}

static void feed(struct look *l, struct content *c)
{
	static const char *const events[EVENTS] = {"DELETE", "UPDATE", "INSERT"};
	struct sr_buf text[EVENTS] = {{0}};
	size_t body[EVENTS];
	bool good = true;

	for (size_t i = 0; i < EVENTS; i++) {
		sr_buf_printf(&text[i], "AFTER %s ON main.", events[i]);
		sr_sql_add_name(&text[i], c->t->name);
		sr_buf_byte(&text[i], ' ');
		body[i] = text[i].len;
		sr_buf_printf(&text[i], "BEGIN ");
		if (i <= 1)
			add_step(&text[i], c, true);
		if (i >= 1)
			add_step(&text[i], c, false);
		sr_buf_printf(&text[i], "END");
		good = good && harmless(l, c->t, events[i], sr_buf_view(&text[i]));
	}
	for (size_t i = 0; i < EVENTS; i++) {
		if (good)
			keep(l, c->t, events[i], sr_buf_view(&text[i]), sr_bytes(text[i].at + body[i], text[i].len - body[i]));
		sr_buf_free(&text[i]);
	}
}

static bool has_column(const struct sr_sql_table *t, const char *name)
{
	for (size_t i = 0; i < t->all; i++)
		if (!sqlite3_stricmp(t->columns[i].name, name))
			return true;
	return false;
}

/* Is that what the table calls its rowid? */
static bool is_rowid(const struct sr_sql_table *t, const char *name)
{
	if (t->alias && !sqlite3_stricmp(t->columns[t->key[0]].name, name))
		return true;
	return !t->without_rowid && !has_column(t, name) &&
	       (!sqlite3_stricmp(name, "rowid") || !sqlite3_stricmp(name, "_rowid_") || !sqlite3_stricmp(name, "oid"));
}

static const struct sr_sql_table *synced_table(const struct sr_sql *sql, const char *name)
{
	for (size_t i = 0; i < sql->schema->n; i++)
		if (sql->schema->tables[i].synced && !sqlite3_stricmp(sql->schema->tables[i].name, name))
			return &sql->schema->tables[i];
	return NULL;
}

/* Add the answers of a query, strings.  False: there was no answer to be had. */
static bool add_answers(struct sr_sql *sql, const char *query, const char *arg, struct sr_buf *out)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(sql, query, arg, &stmt);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			sr_buf_string(out, sr_bytes_of(sr_sql_text_at(stmt, 0)));
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE;
}

static void feed_content(struct look *l, const struct index *x)
{
	struct sr_sql_index cut;
	struct content c = {.x = x};
	char *content = NULL, *rowid = NULL;

	if (!sr_sql_index(sr_bytes_of(x->text), &cut) || strcmp(cut.module, "fts5"))
		return;
	content = sr_sql_index_option(&cut, "content");
	rowid = sr_sql_index_option(&cut, "content_rowid");
	c.rowid = rowid ? rowid : "rowid";
	c.t = content && *content ? synced_table(l->sql, content) : NULL;
	if (c.t && is_rowid(c.t, c.rowid) &&
	    add_answers(l->sql, "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0", x->name, &c.columns))
		feed(l, &c);
	sr_buf_free(&c.columns);
	free(content);
	free(rowid);
}

/* --- all of them ------------------------------------------------------------------------------------------------------- */

static enum sr_status find_indexes(struct look *l, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sr_sql_prepare(
		l->sql, "SELECT name, sql FROM main.sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL %' ORDER BY name", NULL,
		&stmt);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		struct sr_sql_index x;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW || !sr_sql_index(sr_bytes_of(sr_sql_text_at(stmt, 1)), &x))
			continue;
		l->indexes = sr_realloc(l->indexes, (l->n + 1) * sizeof *l->indexes);
		l->indexes[l->n].name = sr_strdup(sr_sql_text_at(stmt, 0));
		l->indexes[l->n++].text = sr_strdup(sr_sql_text_at(stmt, 1));
		sr_buf_string(&l->fts->indexes, sr_bytes_of(sr_sql_text_at(stmt, 0)));
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, l->sql, rc, "virtual tables");
}

/* The text of each trigger is copied first: while one is tried, no statement may be under way. */
static enum sr_status find_triggers(struct look *l, struct sr_buf *tables, struct sr_buf *texts, struct sr_err *err)
{
	if (!add_answers(l->sql, "SELECT tbl_name FROM main.sqlite_master WHERE " APPLICATIONS " ORDER BY rowid", NULL, tables) ||
	    !add_answers(l->sql, "SELECT sql FROM main.sqlite_master WHERE " APPLICATIONS " ORDER BY rowid", NULL, texts) ||
	    !add_answers(l->sql, "SELECT name FROM main.sqlite_master WHERE type IN ('table', 'view')", NULL, &l->readable) ||
	    !add_answers(l->sql, "SELECT DISTINCT name FROM pragma_function_list WHERE flags & 0x80000" /* SQLITE_DIRECTONLY */, NULL,
			 &l->unsafe))
		return sr_sql_fail(err, l->sql, sqlite3_errcode(l->sql->db), "triggers");
	return SR_OK;
}

static bool names_it(const struct sr_buf *texts, const char *name)
{
	struct sr_reader r = sr_reader(sr_buf_view(texts));
	bool yes = false;

	while (!yes && !sr_read_done(&r))
		yes = sr_sql_text_names(sr_read_string(&r), name);
	return yes;
}

static void look_at_triggers(struct look *l, const struct sr_buf *tables, const struct sr_buf *texts)
{
	struct sr_reader on = sr_reader(sr_buf_view(tables)), text = sr_reader(sr_buf_view(texts));

	while (!sr_read_done(&on)) {
		struct sr_bytes table = sr_read_string(&on), trigger = sr_read_string(&text);
		const struct sr_sql_table *t = sr_sql_table(l->sql, table);

		if (t && t->synced && names_an_index(l, trigger))
			copy_trigger(l, t, trigger);
	}
	for (size_t i = 0; i < l->n; i++)
		if (!names_it(texts, l->indexes[i].name))
			feed_content(l, &l->indexes[i]);
}

static enum sr_status look(struct sr_sql *sql, struct sr_err *err)
{
	struct look l = {.sql = sql, .fts = sr_alloc(sizeof *l.fts)};
	struct sr_buf tables = {0}, texts = {0};
	enum sr_status st = find_indexes(&l, err);

	if (st == SR_OK && l.n)
		st = find_triggers(&l, &tables, &texts, err);
	if (st == SR_OK && l.n)
		look_at_triggers(&l, &tables, &texts);
	if (st == SR_OK)
		sql->schema->fts = l.fts;
	else
		sr_sql_fts_free(l.fts);
	for (size_t i = 0; i < l.n; i++) {
		free(l.indexes[i].name);
		free(l.indexes[i].text);
	}
	free(l.indexes);
	sr_buf_free(&l.readable);
	sr_buf_free(&l.unsafe);
	sr_buf_free(&tables);
	sr_buf_free(&texts);
	return st;
}

/* --- within an apply -------------------------------------------------------------------------------------------------- */

static enum sr_status make(struct sr_sql *sql, size_t i, struct sr_err *err)
{
	struct copy *copy = &sql->schema->fts->copies[i];
	enum sr_status st = sr_sql_exec(sql, copy->make, err);

	copy->off = st != SR_OK;
	return st;
}

static enum sr_status drop(struct sr_sql *sql, size_t i, struct sr_err *err)
{
	char *text = sr_format("DROP TRIGGER IF EXISTS temp." TRIAL "_%zu", i);
	enum sr_status st = sr_sql_exec(sql, text, err);

	sql->schema->fts->copies[i].off = st == SR_OK;
	free(text);
	return st;
}

enum sr_status sr_sql_fts_begin(struct sr_sql *sql, struct sr_err *err)
{
	enum sr_status st = sql->schema->fts ? SR_OK : look(sql, err);
	struct sr_sql_fts *fts = sql->schema->fts;

	for (size_t i = 0; st == SR_OK && i < fts->n; i++)
		st = make(sql, i, err);
	if (st == SR_OK) {
		fts->on = fts->n;
		fts->misses = 0;
	}
	return st;
}

enum sr_status sr_sql_fts_end(struct sr_sql *sql, struct sr_err *err)
{
	struct sr_sql_fts *fts = sql->schema->fts;
	enum sr_status st = SR_OK;

	for (size_t i = 0; st == SR_OK && fts && fts->on && i < fts->n; i++)
		st = drop(sql, i, err);
	if (fts)
		fts->on = false;
	return st;
}

/* --- all rows at once ------------------------------------------------------------------------------------------------- */

/* The table as a view, with its rowid under the names that a trigger may call it by.  In main: on a TEMP view not even TEMP triggers fire.
 */
static void add_feed(struct sr_buf *out, const struct sr_sql_table *t)
{
	static const char *const names[] = {"rowid", "_rowid_", "oid"};

	sr_buf_printf(out, "CREATE VIEW main." FEED " AS SELECT ");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (is_rowid(t, names[i]) && !has_column(t, names[i]))
			sr_buf_printf(out, "%s AS %s, ", names[i], names[i]);
	sr_buf_printf(out, "* FROM main.");
	sr_sql_add_name(out, t->name);
}

static bool fill(struct sr_sql *sql, const struct copy *copy)
{
	struct sr_buf view = {0};
	bool good;

	add_feed(&view, &sql->schema->tables[copy->table]);
	good = sr_sql_exec(sql, sr_buf_text(&view), NULL) == SR_OK && sr_sql_exec(sql, copy->fill, NULL) == SR_OK &&
	       sr_sql_exec(sql, "INSERT INTO main." FEED " SELECT * FROM main." FEED "; DROP VIEW main." FEED, NULL) == SR_OK;
	sr_buf_free(&view);
	return good;
}

enum sr_status sr_sql_fts_fill(struct sr_sql *sql, struct sr_err *err)
{
	enum sr_status st = sql->schema->fts ? SR_OK : look(sql, err);

	for (size_t i = 0; st == SR_OK && i < sql->schema->fts->n; i++) {
		bool good;

		if (!sql->schema->fts->copies[i].fill)
			continue;
		st = sr_sql_exec(sql, "SAVEPOINT sameroot_fill", err);
		if (st != SR_OK)
			break;
		good = fill(sql, &sql->schema->fts->copies[i]); /* not good: the rows are there without it */
		st = sr_sql_exec(sql, good ? "RELEASE sameroot_fill" : "ROLLBACK TO sameroot_fill; RELEASE sameroot_fill", err);
	}
	return st;
}

/* --- one row ------------------------------------------------------------------------------------------------------------ */

/* A UNIQUE constraint of the table itself names its columns or its index.  FTS names nothing, an R-tree its own column. */
static bool unique_of_table(struct sr_sql *sql)
{
	static const char start[] = "UNIQUE constraint failed: ";
	const char *what = sqlite3_errmsg(sql->db);
	struct sr_reader r = sr_reader(sr_buf_view(&sql->schema->fts->indexes));

	if (strncmp(what, start, sizeof start - 1))
		return false;
	what += sizeof start - 1;
	while (!sr_read_done(&r)) {
		struct sr_bytes name = sr_read_string(&r);

		if (!strncmp(what, (const char *)name.at, name.len) && what[name.len] == '.')
			return false;
	}
	return true;
}

/* Did the statement fail by what an index said? */
static bool index_failed(struct sr_sql *sql, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		return !unique_of_table(sql);
	case SQLITE_ERROR:
	case SQLITE_CORRUPT:
	case SQLITE_MISMATCH:
	case SQLITE_TOOBIG:
	case SQLITE_READONLY:
		return true;
	default:
		return false;
	}
}

/* It failed: by which of them?  Each alone is left out in its turn, and then all of them. */
static int step_without(struct sr_sql *sql, sqlite3_stmt *stmt)
{
	struct sr_sql_fts *fts = sql->schema->fts;
	int rc;

	fts->misses++;
	for (size_t k = 0; k < fts->n; k++) {
		size_t i = (fts->suspect + k) % fts->n;

		sqlite3_reset(stmt);
		if (fts->copies[i].off || drop(sql, i, NULL) != SR_OK)
			continue;
		rc = sqlite3_step(stmt);
		if (!index_failed(sql, rc)) {
			fts->suspect = i;
			return rc;
		}
		sqlite3_reset(stmt);
		if (make(sql, i, NULL) != SR_OK)
			break;
	}
	sqlite3_reset(stmt);
	for (size_t i = 0; i < fts->n; i++)
		if (drop(sql, i, NULL) != SR_OK)
			break;
	return sqlite3_step(stmt);
}

int sr_sql_fts_step(struct sr_sql *sql, sqlite3_stmt *stmt)
{
	struct sr_sql_fts *fts = sql->schema->fts;
	int rc;

	for (size_t i = 0; fts && fts->on && fts->misses < MISSES_MAX && i < fts->n; i++)
		if (fts->copies[i].off)
			(void)!make(sql, i, NULL); /* it stays off */
	rc = sqlite3_step(stmt);
	return fts && fts->on && index_failed(sql, rc) ? step_without(sql, stmt) : rc;
}
