/* state_datastore.c - see datastore_state.h.  Both sentences are said once in a while, so that they are prepared each time. */
#include <string.h>

#include "lib/state/datastore_state.h"
#include "lib/state/internal.h"

static enum sr_status fail(struct sr_state *s, const char *what, struct sr_err *err)
{
	enum sr_status code = sqlite3_errcode(s->db) == SQLITE_FULL ? SR_E_FULL : SR_E_IO;

	if (s->in_step)
		s->spoiled = code;
	return sr_err_set(err, code, "%s: %s: %s", s->file, what, sqlite3_errmsg(s->db));
}

enum sr_status sr_state_date_leaves(struct sr_state *s, const struct sr_store_row *st, uint64_t epoch, uint64_t seq, struct sr_err *err)
{
	static const char text[] = "UPDATE leaf SET epoch = ?, seq = ? WHERE store = ? AND local IS NOT NULL AND epoch = 0 AND seq = 0";
	sqlite3_stmt *stmt = NULL;
	bool ok = sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL) == SQLITE_OK &&
		  sqlite3_bind_int64(stmt, 1, (int64_t)epoch) == SQLITE_OK && sqlite3_bind_int64(stmt, 2, (int64_t)seq) == SQLITE_OK &&
		  sqlite3_bind_int64(stmt, 3, st->id) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_DONE;
	enum sr_status rc = ok ? SR_OK : fail(s, "leaf: date", err);

	sqlite3_finalize(stmt);
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
