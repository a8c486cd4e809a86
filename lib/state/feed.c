/* feed.c - see feed.h.  An eponymous virtual table: it is there without being created, and stands in no schema. */
#include "lib/state/feed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct value {
	enum { NOTHING, NUMBER, BYTES } class;
	int64_t n;
	struct sr_bytes b;
};

struct sr_feed {
	sr_feed_fn *next;
	void *ctx;
	struct value row[SR_FEED_COLUMNS];
	sqlite3_int64 rows;
	bool more;
	enum sr_status rc; /* of next() */
	struct sr_err *err;
};

struct table {
	sqlite3_vtab base; /* first */
	struct sr_state *s;
};

struct cursor {
	sqlite3_vtab_cursor base; /* first */
	struct sr_feed *feed;
};

void sr_feed_number(struct sr_feed *f, int column, int64_t v)
{
	f->row[column] = (struct value){.class = NUMBER, .n = v};
}

void sr_feed_bytes(struct sr_feed *f, int column, struct sr_bytes b)
{
	f->row[column] = (struct value){.class = BYTES, .b = b};
}

void sr_feed_version(struct sr_feed *f, int column, const struct sr_buf *packed)
{
	if (packed->len)
		sr_feed_bytes(f, column, sr_buf_view(packed));
}

/* ---- the table ---- */

static int on_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **why)
{
	struct table *t;
	int rc = sqlite3_declare_vtab(db, "CREATE TABLE feed (c0, c1, c2, c3, c4, c5, c6, c7)");

	(void)argc, (void)argv, (void)why;
	if (rc != SQLITE_OK)
		return rc;
	t = sr_alloc(sizeof *t);
	t->s = aux;
	*out = &t->base;
	return SQLITE_OK;
}

static int on_disconnect(sqlite3_vtab *vtab)
{
	free(vtab);
	return SQLITE_OK;
}

static int on_plan(sqlite3_vtab *vtab, sqlite3_index_info *plan)
{
	(void)vtab;
	plan->estimatedCost = 1e6;
	return SQLITE_OK;
}

static int on_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **out)
{
	struct cursor *c = sr_alloc(sizeof *c);

	c->feed = ((struct table *)vtab)->s->feed;
	*out = &c->base;
	return SQLITE_OK;
}

static int on_close(sqlite3_vtab_cursor *cursor)
{
	free(cursor);
	return SQLITE_OK;
}

static int on_next(sqlite3_vtab_cursor *cursor)
{
	struct sr_feed *f = ((struct cursor *)cursor)->feed;

	memset(f->row, 0, sizeof f->row);
	f->more = false;
	f->rc = f->next(f->ctx, f, &f->more, f->err);
	f->rows++;
	return f->rc == SR_OK ? SQLITE_OK : SQLITE_ABORT;
}

static int on_filter(sqlite3_vtab_cursor *cursor, int plan, const char *text, int argc, sqlite3_value **argv)
{
	(void)plan, (void)text, (void)argc, (void)argv;
	return ((struct cursor *)cursor)->feed ? on_next(cursor) : SQLITE_MISUSE;
}

static int on_eof(sqlite3_vtab_cursor *cursor)
{
	return !((struct cursor *)cursor)->feed->more;
}

static int on_column(sqlite3_vtab_cursor *cursor, sqlite3_context *out, int column)
{
	const struct value *v = &((struct cursor *)cursor)->feed->row[column];

	if (v->class == NUMBER)
		sqlite3_result_int64(out, v->n);
	else if (v->class == BYTES)
		sqlite3_result_blob64(out, v->b.len ? (const void *)v->b.at : "", v->b.len, SQLITE_STATIC);
	return SQLITE_OK;
}

static int on_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *out)
{
	*out = ((struct cursor *)cursor)->feed->rows;
	return SQLITE_OK;
}

int sr_feed_attach(struct sr_state *s)
{
	static const sqlite3_module module = {
		.xConnect = on_connect, .xBestIndex = on_plan, .xDisconnect = on_disconnect, .xOpen = on_open, .xClose = on_close,
		.xFilter = on_filter, .xNext = on_next, .xEof = on_eof, .xColumn = on_column, .xRowid = on_rowid};

	return sqlite3_create_module(s->db, "sr_feed", &module, s);
}

/* ---- the question ---- */

enum sr_status sr_feed_run(struct sr_ask *q, sr_feed_fn *next, void *ctx, struct sr_err *err)
{
	struct sr_feed feed = {.next = next, .ctx = ctx, .err = err};
	struct sr_state *s = q->s;
	enum sr_status rc;

	assert(!s->feed);
	s->feed = &feed;
	(void)sr_ask_row(q);
	s->feed = NULL;
	rc = sr_ask_end(q, feed.rc == SR_OK ? err : NULL);
	if (feed.rc == SR_OK)
		return rc;
	if (s->in_step) /* what was written of it does not stand */
		s->spoiled = feed.rc;
	return feed.rc;
}
