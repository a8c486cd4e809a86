/* state_datastore.c - see datastore_state.h.  Both sentences are said once in a while, so that they are prepared each time. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/state/datastore_state.h"
#include "lib/state/internal.h"

static enum sr_status fail(struct sr_state *s, const char *what, struct sr_err *err)
{
	enum sr_status code = sqlite3_errcode(s->db) == SQLITE_FULL ? SR_E_FULL : SR_E_IO;

	if (s->in_step)
		s->spoiled = code;
	return sr_err_set(err, code, "%s: %s: %s", s->file, what, sqlite3_errmsg(s->db));
}

enum sr_status sr_state_date_leaves(struct sr_state *s, const struct sr_store_row *st, const char *store, uint64_t epoch, uint64_t seq,
				    struct sr_err *err)
{
	static const char text[] = "UPDATE leaf SET epoch = ?1, seq = ?2 WHERE store = ?3 AND local IS NOT NULL AND epoch = 0 AND seq = 0 AND path NOT IN "
				   "(SELECT path FROM journal WHERE (epoch, seq) > (?1, ?2) AND store = ?4 AND path IS NOT NULL)";
	sqlite3_stmt *stmt = NULL;
	bool ok = sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL) == SQLITE_OK &&
		  sqlite3_bind_int64(stmt, 1, (int64_t)epoch) == SQLITE_OK && sqlite3_bind_int64(stmt, 2, (int64_t)seq) == SQLITE_OK &&
		  sqlite3_bind_int64(stmt, 3, st->id) == SQLITE_OK && sqlite3_bind_text(stmt, 4, store, -1, SQLITE_STATIC) == SQLITE_OK &&
		  sqlite3_step(stmt) == SQLITE_DONE;
	enum sr_status rc = ok ? SR_OK : fail(s, "leaf: date", err);

	sqlite3_finalize(stmt);
	return rc;
}

/* --- dates that sameroot-restore left ------------------------------------------------------------------------------ */

enum sr_status sr_state_dated_put(struct sr_state *s, const char *store, const struct sr_uuid *marker, struct sr_leaves *leaves,
				  struct sr_err *err)
{
	char *name = sr_format("dated %s", store);
	size_t n = leaves ? sr_leaves_count(leaves) : 0;
	struct sr_buf buf = {0};
	enum sr_status rc = SR_OK;

	sr_buf_add(&buf, marker->b, sizeof(marker->b));
	for (size_t j = 0; rc == SR_OK && j < n; j++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(leaves, j, &leaf, err);
		if (rc != SR_OK)
			break;
		sr_buf_string(&buf, leaf.path);
		sr_buf_be64(&buf, leaf.epoch);
		sr_buf_be64(&buf, leaf.seq);
	}
	if (rc == SR_OK)
		rc = n ? sr_state_put(s, name, sr_buf_view(&buf), err) : sr_state_drop(s, name, err);
	sr_buf_free(&buf);
	free(name);
	return rc;
}

static bool date_one(sqlite3_stmt *stmt, int64_t store, struct sr_bytes path, uint64_t epoch, uint64_t seq)
{
	bool ok = sqlite3_bind_int64(stmt, 1, (int64_t)epoch) == SQLITE_OK && sqlite3_bind_int64(stmt, 2, (int64_t)seq) == SQLITE_OK &&
		  sqlite3_bind_int64(stmt, 3, store) == SQLITE_OK &&
		  sqlite3_bind_blob64(stmt, 4, path.at, path.len, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_DONE;

	sqlite3_reset(stmt);
	return ok;
}

static enum sr_status date_listed(struct sr_state *s, const struct sr_store_row *st, struct sr_reader *r, uint64_t *epoch, uint64_t *seq,
				  struct sr_err *err)
{
	static const char text[] = "UPDATE leaf SET epoch = ?, seq = ? WHERE store = ? AND path = ? AND local IS NOT NULL";
	sqlite3_stmt *stmt = NULL;
	bool ok = sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL) == SQLITE_OK;
	enum sr_status rc;

	while (ok && !r->bad && sr_read_left(r)) {
		struct sr_bytes path = sr_read_string(r);
		uint64_t e = sr_read_be64(r), q = sr_read_be64(r);

		if (r->bad)
			break;
		ok = date_one(stmt, st->id, path, e, q);
		if (ok && (e < *epoch || (e == *epoch && q < *seq))) {
			*epoch = e;
			*seq = q;
		}
	}
	rc = ok ? SR_OK : fail(s, "leaf: date some", err);
	sqlite3_finalize(stmt);
	return rc == SR_OK && r->bad ? sr_err_set(err, SR_E_DATA, "%s: the dates of restored leaves are malformed", s->file) : rc;
}

enum sr_status sr_state_date_some(struct sr_state *s, const struct sr_store_row *st, const char *store, const struct sr_uuid *marker,
				  uint64_t *epoch, uint64_t *seq, struct sr_err *err)
{
	char *name = sr_format("dated %s", store);
	struct sr_buf buf = {0};
	struct sr_reader r;
	struct sr_bytes id;
	bool found = false;
	enum sr_status rc = sr_state_get(s, name, &buf, &found, err);

	if (rc == SR_OK && found) {
		r = sr_reader(sr_buf_view(&buf));
		id = sr_read_bytes(&r, sizeof(marker->b));
		if (!r.bad && memcmp(id.at, marker->b, sizeof(marker->b)) == 0)
			rc = date_listed(s, st, &r, epoch, seq, err);
		if (rc == SR_OK)
			rc = sr_state_drop(s, name, err);
	}
	sr_buf_free(&buf);
	free(name);
	return rc;
}

static bool take_uuid(sqlite3_stmt *stmt, int column, struct sr_uuid *out)
{
	if (sqlite3_column_bytes(stmt, column) != sizeof(out->b))
		return false;
	memcpy(out->b, sqlite3_column_blob(stmt, column), sizeof(out->b));
	return true;
}

enum sr_status sr_state_last_pushes(struct sr_state *s, sr_last_push_fn *fn, void *ctx, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum sr_status rc = SR_OK;
	int step = SQLITE_DONE;

	if (sqlite3_prepare_v2(s->db, "SELECT webserver, id FROM push_result", -1, &stmt, NULL) != SQLITE_OK)
		return fail(s, "push_result: list", err);
	while (rc == SR_OK && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct sr_uuid webserver, id;

		if (take_uuid(stmt, 0, &webserver) && take_uuid(stmt, 1, &id))
			rc = fn(ctx, &webserver, &id, err);
	}
	if (rc == SR_OK && step != SQLITE_DONE)
		rc = fail(s, "push_result: list", err);
	sqlite3_finalize(stmt);
	return rc;
}

enum sr_status sr_state_token_put(struct sr_state *s, const struct sr_token_row *row, struct sr_err *err)
{
	static const char text[] = "INSERT OR REPLACE INTO token (webserver, token, n, interval, addr) VALUES (?, ?, ?, ?, ?)";
	sqlite3_stmt *stmt = NULL;
	bool ok = sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL) == SQLITE_OK &&
		  sqlite3_bind_blob(stmt, 1, row->webserver.b, sizeof(row->webserver.b), SQLITE_STATIC) == SQLITE_OK &&
		  sqlite3_bind_blob(stmt, 2, row->token.b, sizeof(row->token.b), SQLITE_STATIC) == SQLITE_OK &&
		  sqlite3_bind_int64(stmt, 3, (int64_t)row->n) == SQLITE_OK && sqlite3_bind_int64(stmt, 4, (int64_t)row->interval) == SQLITE_OK &&
		  sqlite3_bind_text(stmt, 5, row->addr, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_DONE;
	enum sr_status rc = ok ? SR_OK : fail(s, "token: write", err);

	sqlite3_finalize(stmt);
	return rc;
}

enum sr_status sr_state_tokens(struct sr_state *s, sr_token_fn *fn, void *ctx, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum sr_status rc = SR_OK;
	int step = SQLITE_DONE;

	if (sqlite3_prepare_v2(s->db, "SELECT webserver, token, n, interval, addr FROM token", -1, &stmt, NULL) != SQLITE_OK)
		return fail(s, "token: list", err);
	while (rc == SR_OK && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *addr = (const char *)sqlite3_column_text(stmt, 4);
		struct sr_token_row row = {.n = (uint64_t)sqlite3_column_int64(stmt, 2),
					   .interval = (uint64_t)sqlite3_column_int64(stmt, 3),
					   .addr = (char *)(uintptr_t)(addr ? addr : "")};

		if (take_uuid(stmt, 0, &row.webserver) && take_uuid(stmt, 1, &row.token))
			rc = fn(ctx, &row, err);
	}
	if (rc == SR_OK && step != SQLITE_DONE)
		rc = fail(s, "token: list", err);
	sqlite3_finalize(stmt);
	return rc;
}

/* --- an epoch -------------------------------------------------------------------------------------------------------- */

uint64_t sr_epoch_above(uint64_t known)
{
	time_t now = (time_t)(sr_now_ms() / 1000);
	uint64_t epoch = 0;
	struct tm t;

	if (now > 0 && gmtime_r(&now, &t) && t.tm_year < 9999 - 1900) {
		epoch = (uint64_t)t.tm_year + 1900;
		epoch = (epoch * 100 + (uint64_t)t.tm_mon + 1) * 100 + (uint64_t)t.tm_mday;
		epoch = ((epoch * 100 + (uint64_t)t.tm_hour) * 100 + (uint64_t)t.tm_min) * 100 + (uint64_t)t.tm_sec;
	}
	return epoch > known ? epoch : known + 1;
}
