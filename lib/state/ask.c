/* ask.c - questions to the database, their faults, and steps.  See internal.h. */
#include <errno.h>
#include <string.h>

#include "lib/state/internal.h"

static const struct {
	const char *what, *text;
} sentences[SR_SQL_COUNT] = {
#define SENTENCE(name, what, text) [SR_SQL_##name] = {what, text},
	SR_SQL_LIST(SENTENCE)
#undef SENTENCE
};

/* ---- faults ---- */

/* Nothing in it is the only copy of anything: without it the stores' markers and content say what is to be known (design section 6). */
#define DAMAGED "; move it aside with its -wal and -shm while the daemon is stopped, and start that: see sameroot-recovery(7), A state.db is damaged"

static enum sr_status status_of(const struct sr_state *s, int rc, int sys)
{
	if (sys == ENOSPC || sys == EDQUOT)
		return SR_E_FULL; /* SQLite says IOERR when it could not make room for the -shm */
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return SR_E_FULL;
	case SQLITE_BUSY:
		return SR_E_BUSY;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return SR_E_DATA;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_PROTOCOL:
		return SR_E_IO;
	case SQLITE_READONLY:
		return s->reader ? SR_E_INTERNAL : SR_E_IO;
	}
	return SR_E_INTERNAL;
}

enum sr_status sr_state_fault(const struct sr_state *s, int rc, const char *what, const char *why, struct sr_err *err)
{
	bool disk = !why && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN);
	int sys = (rc & 0xff) == SQLITE_FULL ? ENOSPC : disk && s->db ? sqlite3_system_errno(s->db) : 0; /* that is of the last fault, whenever it was */
	enum sr_status status = status_of(s, rc, sys);

	if (!why)
		why = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc);
	sr_err_set(err, status, "%s: %s: %s%s%s%s", s->file, what, why, sys ? ": " : "", sys ? strerror(sys) : "", status == SR_E_DATA ? DAMAGED : "");
	if (err)
		err->sys = sys;
	return status;
}

/* ---- questions ---- */

bool sr_ask_good(const struct sr_ask *q)
{
	return q->rc == SQLITE_OK || q->rc == SQLITE_ROW || q->rc == SQLITE_DONE;
}

static struct sr_ask ask(struct sr_state *s, enum sr_sql sql, bool fresh)
{
	struct sr_ask q = {.s = s, .sql = sql, .fresh = fresh};

	if (s->in_step && s->spoiled) {
		q.rc = SQLITE_ABORT;
		q.why = "this step has failed already";
		return q;
	}
	if (!fresh)
		q.st = s->cached[sql];
	if (!q.st)
		q.rc = sqlite3_prepare_v3(s->db, sentences[sql].text, -1, fresh ? 0 : SQLITE_PREPARE_PERSISTENT, &q.st, NULL);
	if (!fresh)
		s->cached[sql] = q.st;
	return q;
}

struct sr_ask sr_ask(struct sr_state *s, enum sr_sql sql)
{
	return ask(s, sql, false);
}

struct sr_ask sr_ask_fresh(struct sr_state *s, enum sr_sql sql)
{
	return ask(s, sql, true);
}

void sr_give_i64(struct sr_ask *q, int64_t v)
{
	q->given++;
	if (sr_ask_good(q))
		q->rc = sqlite3_bind_int64(q->st, q->given, v);
}

void sr_give_u64(struct sr_ask *q, uint64_t v)
{
	sr_give_i64(q, (int64_t)v);
}

void sr_give_order(struct sr_ask *q, uint64_t v)
{
	sr_give_i64(q, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

static void give_null(struct sr_ask *q)
{
	q->given++; /* an unbound parameter is NULL */
}

void sr_give_bytes(struct sr_ask *q, struct sr_bytes b)
{
	q->given++;
	if (sr_ask_good(q))
		q->rc = sqlite3_bind_blob64(q->st, q->given, b.len ? b.at : (const void *)"", b.len, SQLITE_STATIC);
}

void sr_give_text(struct sr_ask *q, const char *text)
{
	q->given++;
	if (sr_ask_good(q) && text)
		q->rc = sqlite3_bind_text(q->st, q->given, text, -1, SQLITE_STATIC);
}

void sr_give_uuid(struct sr_ask *q, const struct sr_uuid *u)
{
	if (sr_uuid_none(u))
		give_null(q);
	else
		sr_give_bytes(q, sr_bytes(u->b, sizeof(u->b)));
}

void sr_give_hash(struct sr_ask *q, const struct sr_hash *h)
{
	if (sr_hash_none(h))
		give_null(q);
	else
		sr_give_bytes(q, sr_bytes(h->b, sizeof(h->b)));
}

void sr_give_version(struct sr_ask *q, const struct sr_buf *packed)
{
	if (packed->len)
		sr_give_bytes(q, sr_buf_view(packed));
	else
		give_null(q);
}

bool sr_ask_row(struct sr_ask *q)
{
	if (!sr_ask_good(q))
		return false;
	q->rc = sqlite3_step(q->st);
	return q->rc == SQLITE_ROW;
}

uint64_t sr_take_u64(struct sr_ask *q, int column)
{
	return (uint64_t)sqlite3_column_int64(q->st, column);
}

struct sr_bytes sr_take_bytes(struct sr_ask *q, int column)
{
	const void *at = sqlite3_column_blob(q->st, column); /* before the length: a conversion changes it */

	return sr_bytes(at, (size_t)sqlite3_column_bytes(q->st, column));
}

char *sr_take_text(struct sr_ask *q, int column)
{
	return (char *)sqlite3_column_text(q->st, column);
}

static void take_16(struct sr_ask *q, int column, uint8_t out[16])
{
	struct sr_bytes b = sr_take_bytes(q, column);

	memset(out, 0, 16);
	if (b.len == 16)
		memcpy(out, b.at, 16);
	else if (b.len)
		sr_ask_fault(q, "an id or hash that is not 16 bytes");
}

void sr_take_uuid(struct sr_ask *q, int column, struct sr_uuid *out)
{
	take_16(q, column, out->b);
}

void sr_take_hash(struct sr_ask *q, int column, struct sr_hash *out)
{
	take_16(q, column, out->b);
}

void sr_version_pack(struct sr_buf *out, const struct sr_version *v)
{
	sr_buf_clear(out);
	if (v->kind == SR_KIND_NONE)
		return;
	sr_buf_byte(out, v->kind);
	sr_buf_varint(out, v->mode);
	sr_buf_varint(out, v->bytes);
	if (!sr_hash_none(&v->hash))
		sr_buf_add(out, v->hash.b, sizeof(v->hash.b));
}

void sr_take_version(struct sr_ask *q, int column, struct sr_version *out)
{
	struct sr_reader r = sr_reader(sr_take_bytes(q, column));
	struct sr_bytes hash;
	uint64_t mode;

	*out = (struct sr_version){.kind = SR_KIND_NONE};
	if (!sr_read_left(&r))
		return;
	out->kind = sr_read_byte(&r);
	mode = sr_read_varint(&r);
	out->mode = (uint16_t)mode;
	out->bytes = sr_read_varint(&r);
	hash = sr_read_bytes(&r, sr_read_left(&r) ? sizeof(out->hash.b) : 0);
	if (!sr_read_done(&r) || mode > 0777 || out->kind == SR_KIND_NONE)
		sr_ask_fault(q, "a malformed version");
	else if (hash.len)
		memcpy(out->hash.b, hash.at, sizeof(out->hash.b));
}

void sr_ask_fault(struct sr_ask *q, const char *why)
{
	if (!sr_ask_good(q))
		return;
	q->rc = SQLITE_CORRUPT;
	q->why = why;
}

enum sr_status sr_ask_end(struct sr_ask *q, struct sr_err *err)
{
	struct sr_state *s = q->s;
	enum sr_status status = SR_OK;

	if (!sr_ask_good(q)) {
		status = sr_state_fault(s, q->rc, sentences[q->sql].what, q->why, err);
		if (s->in_step && s->spoiled)
			status = s->spoiled; /* for the caller it is still the disk that is full, not our bug */
		if (err)
			err->code = status;
		if (s->in_step)
			s->spoiled = status;
	}
	if (q->fresh) {
		sqlite3_finalize(q->st);
	} else if (q->st) {
		sqlite3_reset(q->st);
		sqlite3_clear_bindings(q->st);
	}
	q->st = NULL;
	return status;
}

enum sr_status sr_ask_run(struct sr_ask *q, struct sr_err *err)
{
	(void)sr_ask_row(q);
	return sr_ask_end(q, err);
}

/* ---- steps ---- */

enum sr_status sr_state_begin(struct sr_state *s, struct sr_err *err)
{
	struct sr_ask q;
	enum sr_status status;

	if (s->in_step)
		return sr_err_set(err, SR_E_INTERNAL, "%s: begin within a step", s->file);
	q = sr_ask(s, s->reader ? SR_SQL_BEGIN_READ : SR_SQL_BEGIN_WRITE);
	status = sr_ask_run(&q, err);
	if (status == SR_OK) {
		s->in_step = true;
		s->spoiled = SR_OK;
	}
	return status;
}

enum sr_status sr_state_commit(struct sr_state *s, struct sr_err *err)
{
	struct sr_ask q;
	enum sr_status status;

	if (!s->in_step)
		return sr_err_set(err, SR_E_INTERNAL, "%s: commit without a step", s->file);
	q = sr_ask(s, SR_SQL_COMMIT); /* refused when the step is spoiled: SQLite may have rolled it back by itself */
	status = sr_ask_run(&q, err);
	if (status != SR_OK)
		sr_state_rollback(s);
	s->in_step = false;
	return status;
}

void sr_state_rollback(struct sr_state *s)
{
	struct sr_ask q;

	if (!s->in_step)
		return;
	s->in_step = false;
	if (sqlite3_get_autocommit(s->db))
		return; /* a full disk or an I/O error has done it */
	q = sr_ask(s, SR_SQL_ROLLBACK);
	(void)sr_ask_row(&q);
	if (sr_ask_end(&q, NULL) != SR_OK)
		return; /* nothing is lost: what was not committed never is */
}

enum sr_status sr_state_enter(struct sr_state *s, bool *own, struct sr_err *err)
{
	*own = !s->in_step;
	return *own ? sr_state_begin(s, err) : SR_OK;
}

enum sr_status sr_state_leave(struct sr_state *s, bool own, enum sr_status status, struct sr_err *err)
{
	if (own && status == SR_OK)
		return sr_state_commit(s, err);
	if (own)
		sr_state_rollback(s);
	return status;
}
