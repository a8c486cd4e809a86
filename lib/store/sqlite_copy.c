/* sqlite_copy.c - what a view sees, as a database file of its own. */
#include <stdlib.h>
#include <string.h>

#include "lib/store/sqlite_internal.h"

#define PAGES_A_STEP 4096
#define STEPS        100000 /* of SQLite's machine, between two questions */

/* Inside the view's transaction nobody can change what is copied, so that it never begins anew. */
static int copy_pages(const struct sr_view *v, sqlite3 *to, sqlite3 *from)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
	int rc = b ? SQLITE_OK : sqlite3_errcode(to);
	bool stopped = false;

	while (rc == SQLITE_OK && !(stopped = v->stop && v->stop(v->stop_ctx)))
		rc = sqlite3_backup_step(b, PAGES_A_STEP);
	if (stopped) {
		sqlite3_backup_finish(b);
		return SQLITE_INTERRUPT;
	}
	return b ? sqlite3_backup_finish(b) : rc;
}

enum sr_status sr_sql_view_copy(struct sr_view *v, const char *path, struct sr_err *err)
{
	struct sr_sql *from = sr_sql_of_view(v), to = {0};
	enum sr_status status = SR_OK;
	int rc = sqlite3_open_v2(path, &to.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

	if (rc == SQLITE_OK) /* nobody reads it before it is whole, and a crash leaves only a file that is swept */
		rc = sqlite3_exec(to.db, "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = copy_pages(v, to.db, from->db);
	if (rc == SQLITE_INTERRUPT)
		status = sr_err_set(err, SR_E_UNAVAILABLE, "%s: the copy was broken off", v->st->name);
	else if (rc != SQLITE_OK)
		status = sr_sql_fail(err, &to, rc, "%s: copied to %s", v->st->name, path);
	sr_sql_disconnect(&to);
	return status;
}

bool sr_sql_view_blocks(struct sr_view *v)
{
	sqlite3_stmt *stmt = NULL;
	bool log = sqlite3_prepare_v2(sr_sql_of_view(v)->db, "PRAGMA main.journal_mode", -1, &stmt, NULL) == SQLITE_OK &&
		   sqlite3_step(stmt) == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(stmt, 0), "wal");

	sqlite3_finalize(stmt);
	return !log;
}

enum sr_status sr_database_check(const char *path, struct sr_err *err)
{
	struct sr_sql sql = {0};
	sqlite3_stmt *stmt = NULL;
	enum sr_status status = SR_OK;
	int rc = sqlite3_open_v2(path, &sql.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(sql.db, "PRAGMA integrity_check(1)", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW && strcmp(sr_sql_text_at(stmt, 0), "ok") != 0)
		status = sr_err_set(err, SR_E_DATA, "%s: %.300s", path, sr_sql_text_at(stmt, 0));
	else if (rc != SQLITE_ROW)
		status = sr_sql_fail(err, &sql, rc, "%s", path);
	sqlite3_finalize(stmt);
	sr_sql_disconnect(&sql);
	return status;
}

/* An application may hold such rows. */
static bool is_of_rows(const char *line)
{
	return !strncmp(line, "NULL value in ", 14) || !strncmp(line, "CHECK constraint failed ", 24);
}

struct stopping {
	sr_stop_fn *stop;
	void *ctx;
};

static int on_progress(void *ctx)
{
	struct stopping *s = ctx;

	return s->stop(s->ctx);
}

enum sr_status sr_database_sound(const char *path, sr_stop_fn *stop, void *ctx, struct sr_buf *what, struct sr_err *err)
{
	struct stopping s = {.stop = stop, .ctx = ctx};
	struct sr_sql sql = {0};
	sqlite3_stmt *stmt = NULL;
	enum sr_status status = SR_OK;
	int rc = sqlite3_open_v2(path, &sql.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

	if (rc == SQLITE_OK)
		sqlite3_progress_handler(sql.db, STEPS, on_progress, &s);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sql.db, "PRAGMA ignore_check_constraints=ON", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(sql.db, "PRAGMA integrity_check", -1, &stmt, NULL);
	while (rc == SQLITE_OK && !what->len && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *line = sr_sql_text_at(stmt, 0);

		rc = SQLITE_OK;
		if (strcmp(line, "ok") != 0 && !is_of_rows(line))
			sr_buf_printf(what, "%.300s", line);
	}
	for (size_t k = 0; k < what->len; k++)
		if (what->at[k] == '\n')
			what->at[k] = ' ';
	if (rc != SQLITE_OK && rc != SQLITE_DONE)
		status = sr_sql_fail(err, &sql, rc, "%s", path);
	sqlite3_finalize(stmt);
	sr_sql_disconnect(&sql);
	return status;
}
