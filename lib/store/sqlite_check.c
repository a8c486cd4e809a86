/* sqlite_check.c - is a database whole?  As SQLite itself sees it. */
#include "lib/store/sqlite_internal.h"

#include <string.h>

enum sr_status sr_sql_check(struct sr_store *st, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	sqlite3_stmt *stmt = NULL;
	const char *text = "";
	enum sr_status status = sr_sql_main(s, err);
	int rc;

	if (status != SR_OK)
		return status;
	rc = sqlite3_prepare_v2(s->main.db, "PRAGMA main.integrity_check(1)", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		text = (const char *)sqlite3_column_text(stmt, 0);
	if (rc != SQLITE_ROW)
		status = sr_sql_fail(err, &s->main, rc, "integrity_check");
	else if (!text || strcmp(text, "ok") != 0)
		status = sr_err_set(err, SR_E_DATA, "integrity_check: %s", text ? text : "no answer");
	sqlite3_finalize(stmt);
	return status;
}
