/* sqlite.c - connections to a database, what there is, its marker, its creation, a WAL that is not its own. */
#include "lib/store/sqlite_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/store/watch.h"

#define CLEARLY_LATER_MS 50
#define QUIET_MS      60000 /* nobody committed for so long: a checkpoint meets no other one */
#define NEW_FILE_MODE 0640

/* --- results ---------------------------------------------------------------------------------------------------- */

static enum sr_status status_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return SR_E_BUSY;
	case SQLITE_FULL:
		return SR_E_FULL;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_ERROR:
		return SR_E_DATA;
	case SQLITE_TOOBIG:
		return SR_E_LIMIT;
	case SQLITE_SCHEMA:
		return SR_E_CHANGED;
	case SQLITE_NOMEM:
	case SQLITE_MISUSE:
	case SQLITE_INTERNAL:
		return SR_E_INTERNAL;
	default:
		return SR_E_IO;
	}
}

static bool is_damage(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

enum sr_status sr_sql_fail(struct sr_err *err, struct sr_sql *sql, int rc, const char *fmt, ...)
{
	struct sr_buf what = {0};
	char *text;
	enum sr_status st;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	/* The connection's message belongs to its last failure: to this one, unless the code is another. */
	sr_buf_printf(&what, "%s: %s", text ? text : "database",
		      sql->db && (sqlite3_errcode(sql->db) & 0xff) == (rc & 0xff) ? sqlite3_errmsg(sql->db) : sqlite3_errstr(rc));
	if (status_of(rc) == SR_E_FULL) /* as a full disk is called everywhere else */
		sr_buf_printf(&what, ": %s", strerror(ENOSPC));
	st = sr_err_set(err, status_of(rc), "%s", sr_buf_text(&what));
	if (err && is_damage(rc))
		err->sys = EUCLEAN;
	free(text);
	sr_buf_free(&what);
	return st;
}

enum sr_status sr_sql_exec(struct sr_sql *sql, const char *text, struct sr_err *err)
{
	int rc = sqlite3_exec(sql->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? SR_OK : sr_sql_fail(err, sql, rc, "%.40s", text);
}

enum sr_status sr_sql_int(struct sr_sql *sql, const char *text, int64_t *out, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(sql->db, text, -1, &stmt, NULL);
	int64_t v = 0;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		v = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return sr_sql_fail(err, sql, rc, "%.40s", text);
	*out = v;
	return SR_OK;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* With FULL the journal of the last transaction may be back after a power cut, and rolls it back: what was committed before it, ours or the
 * application's, is durable only when its removal is. */
#define DURABLE "PRAGMA synchronous=EXTRA"

/* With a write-ahead log COMMIT need not wait for the disk while it holds the lock: synchronous=NORMAL, and the log is synced when the lock
 * is free.  Nobody can switch from WAL to a rollback journal while we are connected to it. */
enum sr_status sr_sql_begin(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(sql->db, "PRAGMA main.journal_mode", -1, &stmt, NULL);
	enum sr_status status;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	sql->log = !st->ours && rc == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(stmt, 0), "wal");
	sqlite3_finalize(stmt);
	if (rc != SQLITE_ROW)
		return sr_sql_fail(err, sql, rc, "journal_mode");
	status = sr_sql_exec(sql, sql->log ? "PRAGMA synchronous=NORMAL" : DURABLE, err);
	return status == SR_OK ? sr_sql_exec(sql, "BEGIN IMMEDIATE", err) : status;
}

enum sr_status sr_sql_sync(struct sr_sql *sql, struct sr_err *err)
{
	sqlite3_file *log = NULL;
	int rc;

	if (!sql->log)
		return SR_OK;
	rc = sqlite3_file_control(sql->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
	if (rc == SQLITE_OK)
		rc = log && log->pMethods ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : SQLITE_IOERR_FSYNC;
	return rc == SQLITE_OK ? SR_OK : sr_sql_fail(err, sql, rc, "write-ahead log");
}

/* --- connections ------------------------------------------------------------------------------------------------ */

/* No path of ours is a URI or ":memory:", whatever SQLite was built to make of them. */
static char *plain_path(const struct sr_store *st)
{
	return sr_format("%s%s", st->path[0] == '/' ? "" : "./", st->path);
}

/* By the door's clock, which sqlite3_busy_timeout() does not know. */
static int wait_for_lock(void *ctx, int tries)
{
	struct sr_sql *sql = ctx;
	int64_t now = sr_ticks_ms();

	if (tries == 0)
		sql->busy_since = now;
	if (now - sql->busy_since >= SR_SQL_BUSY_MS)
		return 0;
	sqlite3_sleep(tries < 20 ? 1 + tries : 20);
	return 1;
}

static void configure(struct sr_sql *sql, bool may_checkpoint)
{
	sqlite3 *db = sql->db;
	static const struct {
		int option, value;
	} options[] = {
		{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
		{SQLITE_DBCONFIG_ENABLE_FKEY, 0},
		/* Not trusted, SQLite 3.40 takes even its own JSON functions for unsafe in a CHECK or an index.  There are no other functions
		 * than SQLite's on our connections, and those with side effects it keeps out of schemas in any case. */
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1},
		{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
		{SQLITE_DBCONFIG_DEFENSIVE, 1},
	};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		sqlite3_db_config(db, options[i].option, options[i].value, NULL);
	if (!may_checkpoint) { /* two checkpointers can corrupt a WAL before SQLite 3.51.3 */
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_wal_autocheckpoint(db, 0);
	}
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_busy_handler(db, wait_for_lock, sql);
}

/* The first lock stays until the connection is closed; of a new file and of one that is in another mode after a crash alike. */
static enum sr_status lock_for_good(struct sr_sql *sql, struct sr_err *err)
{
	enum sr_status status = sr_sql_exec(sql, "PRAGMA locking_mode=EXCLUSIVE", err);

	return status == SR_OK ? sr_sql_exec(sql, "PRAGMA journal_mode=WAL", err) : status;
}

enum sr_status sr_sql_connect(struct sr_sql *sql, const struct sr_store *st, enum sr_view_kind kind, struct sr_err *err)
{
	char *path = plain_path(st);
	enum sr_status status;
	int rc;

	assert(!sql->db);
	sql->tree_key = st->key;
	rc = sqlite3_open_v2(path, &sql->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	free(path);
	if (rc != SQLITE_OK) {
		status = sr_sql_fail(err, sql, rc, "%s", st->path);
		sr_sql_disconnect(sql);
		return status;
	}
	configure(sql, st->ours && kind == SR_VIEW_MAIN);
	status = sr_sql_exec(sql, "PRAGMA mmap_size=0", err);
	if (status == SR_OK && st->alone)
		status = lock_for_good(sql, err);
	if (status == SR_OK)
		status = sr_sql_exec(sql, kind == SR_VIEW_EXTRA ? "PRAGMA query_only=1" : DURABLE, err);
	if (status != SR_OK) {
		sr_sql_disconnect(sql);
		sr_err_context(err, "%s", st->path);
	}
	return status;
}

enum sr_status sr_sql_scratch(struct sr_sql *sql, struct sr_err *err)
{
	int rc = sqlite3_open_v2(":memory:", &sql->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	enum sr_status status;

	if (rc == SQLITE_OK) {
		configure(sql, true);
		return SR_OK;
	}
	status = sr_sql_fail(err, sql, rc, "a database in memory");
	sr_sql_disconnect(sql);
	return status;
}

void sr_sql_disconnect(struct sr_sql *sql)
{
	sr_sql_schema_free(sql);
	sr_buf_free(&sql->record);
	sr_buf_free(&sql->key);
	sr_buf_free(&sql->fold);
	free(sql->columns);
	free(sql->values);
	if (sql->db && sqlite3_close(sql->db) != SQLITE_OK)
		assert(!"a statement was left open");
	*sql = (struct sr_sql){0};
}

static bool moved(struct sr_sql *sql)
{
	int yes = 0;

	return sqlite3_file_control(sql->db, "main", SQLITE_FCNTL_HAS_MOVED, &yes) != SQLITE_OK || yes;
}

static void forget_connection(struct sr_sql_store *s)
{
	sr_sql_disconnect(&s->main);
	sr_sql_gate_open(&s->gate);
	sr_sql_capture_forget(s);
	s->quiet_version = -1;
}

enum sr_status sr_sql_main(struct sr_sql_store *s, struct sr_err *err)
{
	struct stat sb;

	if (s->main.db)
		return moved(&s->main) ? sr_err_set(err, SR_E_CHANGED, "%s: another file is there now", s->st.path) : SR_OK;
	if (stat(s->st.path, &sb) < 0)
		return sr_err_sys(err, errno == ENOENT || errno == ENOTDIR ? SR_E_NOINPUT : SR_E_IO, "%s", s->st.path);
	return sr_sql_connect(&s->main, &s->st, SR_VIEW_MAIN, err);
}

/* --- the marker ------------------------------------------------------------------------------------------------- */

static bool has_meta(struct sr_sql *sql, struct sr_err *err, enum sr_status *st)
{
	int64_t n = 0;

	*st = sr_sql_int(sql, "SELECT count(*) FROM sqlite_master WHERE type='table' AND name='" SR_SQL_META "'", &n, err);
	return *st == SR_OK && n;
}

/* Of anything but an integer, or a negative one: a number that no marker has. */
static uint64_t marker_number(sqlite3_stmt *stmt)
{
	return sqlite3_column_type(stmt, 1) == SQLITE_INTEGER ? (uint64_t)sqlite3_column_int64(stmt, 1) : SR_MARKER_END;
}

/* One row of the marker.  What we did not write ourselves is ignored: no marker is the safe reading. */
static void marker_take(struct sr_marker *m, struct sr_buf *kept, const char *key, sqlite3_stmt *stmt)
{
	const char *text;

	if (!strcmp(key, "kept")) {
		const void *at = sqlite3_column_blob(stmt, 1);

		if (kept)
			sr_buf_add(kept, at, (size_t)sqlite3_column_bytes(stmt, 1));
		return;
	}
	if (!strcmp(key, "epoch"))
		m->epoch = marker_number(stmt);
	else if (!strcmp(key, "seq"))
		m->seq = marker_number(stmt);
	text = (const char *)sqlite3_column_text(stmt, 1);
	if (!text)
		return;
	if (!strcmp(key, "id") && sr_uuid_parse(&m->id, text) < 0)
		m->id = (struct sr_uuid){0};
	else if (!strcmp(key, "node") && sr_uuid_parse(&m->node, text) < 0)
		m->node = (struct sr_uuid){0};
	else if (!strcmp(key, "instance") && sr_uuid_parse(&m->instance, text) < 0)
		m->instance = (struct sr_uuid){0};
	else if (!strcmp(key, "store"))
		snprintf(m->store, sizeof m->store, "%s", text);
}

enum sr_status sr_sql_marker_read(struct sr_sql *sql, struct sr_marker *marker, struct sr_buf *kept, struct sr_err *err)
{
	struct sr_marker m = {0};
	sqlite3_stmt *stmt = NULL;
	enum sr_status st;
	int rc;

	*marker = m;
	if (!has_meta(sql, err, &st))
		return st;
	rc = sqlite3_prepare_v2(sql->db, "SELECT key, value FROM main." SR_SQL_META, -1, &stmt, NULL);
	if (rc == SQLITE_ERROR)
		return SR_OK; /* a table of that name with other columns */
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW && sqlite3_column_text(stmt, 0))
			marker_take(&m, kept, (const char *)sqlite3_column_text(stmt, 0), stmt);
	}
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return sr_sql_fail(err, sql, rc, SR_SQL_META);
	if (!sr_uuid_none(&m.id) && m.epoch < SR_MARKER_END && m.seq < SR_MARKER_END)
		*marker = m;
	return SR_OK;
}

#define PUT_MARKER                                                                                                                       \
	"INSERT INTO main." SR_SQL_META "(key, value) VALUES('id',?1),('node',?2),('instance',?3),('epoch',?4),('seq',?5),('kept',?6),"   \
	"('store',?7) ON CONFLICT(key) DO UPDATE SET value=excluded.value"

/* Is there a table, view or index of the marker's name that is not as we make it?  *why then says what is wrong with it. */
static enum sr_status find_in_the_way(struct sr_sql *sql, bool *found, char why[256], struct sr_err *err)
{
	static const char of_that_name[] = "SELECT count(*) FROM sqlite_master WHERE name='" SR_SQL_META "' COLLATE NOCASE";
	static const char ours[] = "SELECT count(*) FROM sqlite_master WHERE type='table' AND name='" SR_SQL_META "'";
	int64_t n = 0, tables = 0;
	sqlite3_stmt *stmt = NULL;
	enum sr_status st = sr_sql_int(sql, of_that_name, &n, err);
	int rc;

	*found = false;
	if (st == SR_OK && n)
		st = sr_sql_int(sql, ours, &tables, err);
	if (st != SR_OK || !n)
		return st;
	rc = tables ? sqlite3_prepare_v2(sql->db, PUT_MARKER, -1, &stmt, NULL) : SQLITE_OK;
	sqlite3_finalize(stmt);
	*found = !tables || (rc & 0xff) == SQLITE_ERROR;
	snprintf(why, 256, "%.255s", !tables ? "what is called " SR_SQL_META " is no table" : sqlite3_errmsg(sql->db));
	return *found || rc == SQLITE_OK ? SR_OK : sr_sql_fail(err, sql, rc, SR_SQL_META);
}

enum sr_status sr_sql_marker_write(struct sr_sql *sql, const struct sr_marker *marker, const char *store,
				   const struct sr_buf *kept, struct sr_err *err)
{
	char id[SR_UUID_TEXT], node[SR_UUID_TEXT], instance[SR_UUID_TEXT];
	sqlite3_stmt *stmt = NULL;
	enum sr_status st;
	int rc;

	st = sr_sql_exec(sql, "CREATE TABLE IF NOT EXISTS main." SR_SQL_META "(key TEXT PRIMARY KEY, value) WITHOUT ROWID", err);
	if (st == SR_OK) /* SQLite does not write a page that would not change, and then the commit makes nothing durable */
		st = sr_sql_exec(sql, "DELETE FROM main." SR_SQL_META " WHERE key='kept'", err);
	if (st != SR_OK)
		return st;
	sr_uuid_text(id, &marker->id);
	sr_uuid_text(node, &marker->node);
	sr_uuid_text(instance, &marker->instance);
	rc = sqlite3_prepare_v2(sql->db, PUT_MARKER, -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
		sqlite3_bind_text(stmt, 2, node, -1, SQLITE_STATIC);
		sqlite3_bind_text(stmt, 3, instance, -1, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 4, (int64_t)marker->epoch);
		sqlite3_bind_int64(stmt, 5, (int64_t)marker->seq);
		if (kept && kept->len)
			sqlite3_bind_blob64(stmt, 6, kept->at, kept->len, SQLITE_STATIC);
		sqlite3_bind_text(stmt, 7, store, -1, SQLITE_STATIC);
		rc = sqlite3_step(stmt);
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "marker");
}

static enum sr_status mark(struct sr_store *st, const struct sr_marker *marker, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_sql_trim trim = {0};
	enum sr_status status = sr_sql_main(s, err);

	(void)leaves; /* one transaction makes all durable */
	if (status == SR_OK)
		status = sr_sql_begin(&s->main, st, err);
	if (status != SR_OK)
		return status;
	status = sr_sql_marker_write(&s->main, marker, st->name, NULL, err);
	if (status == SR_OK)
		status = sr_sql_capture_trim(s, &trim, err);
	if (status == SR_OK)
		status = sr_sql_exec(&s->main, "COMMIT", err);
	if (status == SR_OK)
		sr_sql_capture_trimmed(s, &trim);
	if (!sqlite3_get_autocommit(s->main.db))
		sqlite3_exec(s->main.db, "ROLLBACK", NULL, NULL, NULL);
	return status == SR_OK ? sr_sql_sync(&s->main, err) : status;
}

static enum sr_status settle(struct sr_store *st, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	enum sr_status status = sr_sql_main(s, err);
	int rc;

	assert(st->alone);
	if (status != SR_OK)
		return status;
	rc = sqlite3_wal_checkpoint_v2(s->main.db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	return rc == SQLITE_OK ? SR_OK : sr_sql_fail(err, &s->main, rc, "checkpoint");
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

/* The exception to "we do not checkpoint": an application that only reads never does it, and our own commits let the WAL grow.  PASSIVE
 * waits for nobody, and a quiet minute keeps us apart from the application's own. */
static void checkpoint_when_quiet(struct sr_sql_store *s)
{
	int64_t version, now = sr_ticks_ms();
	struct stat sb;
	char *wal;

	if (s->st.ours || !s->st.wal_limit || s->viewed || s->apply || sr_sql_int(&s->main, "PRAGMA data_version", &version, NULL) != SR_OK)
		return;
	if (version != s->quiet_version) {
		s->quiet_version = version;
		s->quiet_since = now;
		return;
	}
	wal = sr_format("%s-wal", s->st.path);
	s->idle = now - s->quiet_since >= QUIET_MS;
	if (now - s->quiet_since >= QUIET_MS && stat(wal, &sb) == 0 && (uint64_t)sb.st_size > s->st.wal_limit) {
		sqlite3_wal_checkpoint_v2(s->main.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL); /* not done: another minute */
		s->quiet_since = now;
	}
	free(wal);
}

static bool checkpoint_may_be_due(const struct sr_sql_store *s)
{
	return !s->st.ours && s->st.wal_limit && !s->idle && sr_ticks_ms() - s->quiet_since >= QUIET_MS;
}

/* Our own commits, a marker's among them, are told of as anybody's are; but data_version is not moved by them. */
static bool has_moved(struct sr_sql_store *s)
{
	int64_t version;
	bool moved = sr_sql_int(&s->main, "PRAGMA main.data_version", &version, NULL) != SR_OK || version != s->gate.data_version;

	s->idle = false;
	sr_watch_looked_at(s->st.watch, moved);
	return moved;
}

static bool has_news(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	if (!sr_watch_was_written(st->watch, true))
		return false;
	return !s->main.db || s->viewed || s->apply || !s->gate.closed || has_moved(s);
}

static bool is_quiet(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	if (!s->main.db || s->viewed || s->apply || !s->gate.closed || checkpoint_may_be_due(s) || sr_sql_capture_is_full_due(s))
		return false;
	if (sr_watch_is_quiet(st->watch))
		return true;
	return sr_watch_was_written(st->watch, false) && !has_moved(s);
}

static enum sr_presence presence_of(const struct sr_err *err, char why[256])
{
	snprintf(why, 256, "%.255s", err->text);
	return err->code == SR_E_DATA ? SR_CORRUPT : SR_BLOCKED;
}

static enum sr_presence look_inside(struct sr_sql_store *s, struct sr_marker *marker, bool *has_content, char why[256])
{
	static const char count[] = "SELECT count(*) FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
				    "AND name NOT " SR_SQL_LIKE_OURS;
	struct sr_err err = {0};
	int64_t tables = 0;
	bool in_the_way;

	if (!s->main.db && sr_sql_connect(&s->main, &s->st, SR_VIEW_MAIN, &err) != SR_OK)
		return presence_of(&err, why);
	if (sr_sql_int(&s->main, count, &tables, &err) != SR_OK || sr_sql_marker_read(&s->main, marker, NULL, &err) != SR_OK)
		return presence_of(&err, why);
	*has_content = tables > 0;
	if (find_in_the_way(&s->main, &in_the_way, why, &err) != SR_OK)
		return presence_of(&err, why);
	if (in_the_way)
		return SR_UNMARKABLE;
	checkpoint_when_quiet(s);
	if (!tables && sr_uuid_none(&marker->id)) {
		snprintf(why, 256, "no table and no marker in it");
		return SR_ABSENT;
	}
	return SR_PRESENT;
}

static enum sr_presence look(struct sr_store *st, struct sr_marker *marker, bool *has_content, char why[256])
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	bool idle = !s->viewed && !s->apply;
	enum sr_presence presence;
	struct stat sb;

	if (s->main.db && idle && moved(&s->main))
		forget_connection(s);
	if (stat(st->path, &sb) < 0) {
		snprintf(why, 256, "%s", strerror(errno));
		return errno == ENOENT || errno == ENOTDIR ? SR_ABSENT : SR_BLOCKED;
	}
	if (!S_ISREG(sb.st_mode)) {
		snprintf(why, 256, "not a regular file");
		return SR_CORRUPT;
	}
	if (sb.st_size == 0) {
		if (idle)
			forget_connection(s);
		snprintf(why, 256, "an empty file");
		return SR_ABSENT;
	}
	presence = look_inside(s, marker, has_content, why);
	if (idle && (presence == SR_CORRUPT || presence == SR_BLOCKED))
		forget_connection(s); /* it is suspect as well: connect anew at the next look */
	return presence;
}

static int64_t ns_of(const struct timespec *t)
{
	return sr_file_ns(t->tv_sec, t->tv_nsec);
}

static int64_t ns_of_statx(const struct statx_timestamp *t)
{
	return sr_file_ns(t->tv_sec, t->tv_nsec);
}

static struct sr_store_seen seen_now(struct sr_store *st)
{
	struct statx sx;

	if (statx(AT_FDCWD, st->path, 0, STATX_INO | STATX_MTIME | STATX_BTIME, &sx) < 0)
		return (struct sr_store_seen){0};
	return (struct sr_store_seen){.inode = sx.stx_ino,
				      .born_ns = sx.stx_mask & STATX_BTIME ? ns_of_statx(&sx.stx_btime) : 0,
				      .written_ns = ns_of_statx(&sx.stx_mtime)};
}

static bool is_same_file(const struct sr_store_seen *seen, const struct sr_store_seen *now)
{
	return now->inode == seen->inode && (!seen->born_ns || !now->born_ns || now->born_ns == seen->born_ns);
}

/* --- moving aside ----------------------------------------------------------------------------------------------- */

static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash == path ? sr_strdup("/") : sr_text(sr_bytes(path, (size_t)(slash - path))) : sr_strdup(".");
}

static enum sr_status sync_directory(const struct sr_store *st, struct sr_err *err)
{
	char *dir = directory_of(st->path);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum sr_status status = SR_OK;

	if (fd < 0 || fsync(fd) < 0)
		status = sr_err_sys(err, SR_E_IO, "%s", dir);
	if (fd >= 0)
		close(fd);
	free(dir);
	return status;
}

static const char *const suffixes[] = {"-wal", "-shm", "-journal"};

/* To <name>.stale-<time>: nothing is thrown away, for we might be wrong. */
static enum sr_status move_aside(const struct sr_store *st, bool *any, struct sr_err *err)
{
	enum sr_status status = SR_OK;

	for (size_t i = 0; status == SR_OK && i < sizeof suffixes / sizeof *suffixes; i++) {
		char *from = sr_format("%s%s", st->path, suffixes[i]);
		char *to = sr_format("%s.stale-%" PRId64, from, sr_now_ms());

		if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
			*any = true;
		else if (errno != ENOENT)
			status = sr_err_sys(err, SR_E_IO, "%s to %s", from, to);
		free(from);
		free(to);
	}
	return status == SR_OK && *any ? sync_directory(st, err) : status;
}

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* File times are coarse, up to some 10 ms: a checkpoint and the first frame of the log's next turn may carry the same one. */
static bool well_after(const struct timespec *late, const struct timespec *early)
{
	return (late->tv_sec - early->tv_sec) * 1000 + (late->tv_nsec - early->tv_nsec) / 1000000 >= CLEARLY_LATER_MS;
}

/* Was it last written before it was made?  Then it is a copy that kept its time, as cp -a, rsync -a and tar make it: nobody wrote to it here. */
static bool is_copy(const char *path)
{
	struct statx sx;
	struct timespec made, written;

	if (statx(AT_FDCWD, path, 0, STATX_BTIME | STATX_MTIME, &sx) < 0 || !(sx.stx_mask & STATX_BTIME))
		return false;
	made = (struct timespec){.tv_sec = sx.stx_btime.tv_sec, .tv_nsec = sx.stx_btime.tv_nsec};
	written = (struct timespec){.tv_sec = sx.stx_mtime.tv_sec, .tv_nsec = sx.stx_mtime.tv_nsec};
	return well_after(&made, &written);
}

/* Is there a -wal or -journal with content that was last written before the database file was put here?  One that was not belongs
 * to the file, whoever's marker the file carries: that of the node from which it was once copied stays in it until the next checkpoint.  So
 * does one that was copied as the file was: both came with their directory.
 * times: of the file and of the older log. */
static bool leftovers(const struct sr_store *st, struct timespec times[2])
{
	struct stat db, sb;
	bool yes = false;

	if (stat(st->path, &db) < 0 || !S_ISREG(db.st_mode) || db.st_size == 0)
		return false;
	times[0] = db.st_ctim;
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		char *path = sr_format("%s%s", st->path, suffixes[i]);

		if (strcmp(suffixes[i], "-shm") && stat(path, &sb) == 0 && sb.st_size > 0) {
			if (!before(&sb.st_mtim, &db.st_ctim) || (is_copy(st->path) && is_copy(path))) {
				free(path);
				return false;
			}
			times[1] = sb.st_mtim;
			yes = true;
		}
		free(path);
	}
	return yes;
}

/* A checkpoint, too, leaves a log that is older than the file.  It is judged once: that costs the connection, and with it a scan. */
static bool judged(struct sr_sql_store *s, const struct timespec times[2])
{
	for (size_t i = 0; i < 2; i++)
		if (before(&s->judged[i], &times[i]) || before(&times[i], &s->judged[i])) {
			memcpy(s->judged, times, sizeof s->judged);
			return false;
		}
	return true;
}

/* A connection that sees the database file alone, without -wal or -journal, and takes no lock by itself. */
static enum sr_status connect_alone(struct sr_sql *sql, const struct sr_store *st, struct sr_err *err)
{
	struct sr_buf uri = {0};
	char *path = plain_path(st);
	enum sr_status status = SR_OK;
	int rc;

	sr_buf_printf(&uri, "file:");
	sr_percent(&uri, sr_bytes_of(path), "/");
	sr_buf_printf(&uri, "?immutable=1");
	rc = sqlite3_open_v2(sr_buf_text(&uri), &sql->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK)
		status = sr_sql_fail(err, sql, rc, "%s", st->path);
	else
		configure(sql, false);
	sr_buf_free(&uri);
	free(path);
	return status;
}

/* Nobody else has the database open, and nobody can open it as long as this connection lives: who uses a WAL holds a shared lock on the
 * database file all the time, who writes a journal a RESERVED one. */
static bool lock_out_others(struct sr_sql *sql)
{
	sqlite3_file *file = NULL;

	return sqlite3_file_control(sql->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK && file && file->pMethods &&
	       file->pMethods->xLock(file, SQLITE_LOCK_SHARED) == SQLITE_OK &&
	       file->pMethods->xLock(file, SQLITE_LOCK_EXCLUSIVE) == SQLITE_OK;
}

/* What was read without a lock is evidence only if nobody has opened, emptied or written the log meanwhile: an application that comes, works and
 * goes leaves a log whose newest frames are not in the file, as it should be. */
static bool nobody_came(const struct sr_store *st, const struct timespec before[2])
{
	struct timespec now[2] = {0};

	return leftovers(st, now) && !memcmp(now, before, sizeof now) && !sr_sql_log_in_use(st->path);
}

/* Was the file itself written to since it was seen, by whoever put another content in it?  By cp it was; cp -p gives it the time of what was copied,
 * which is not the one that was seen.  Its owner, its mode, another link and another name are no matter: they change no content, only the time at
 * which it "came".  A checkpoint writes it as well, but then the log is in it (sqlite_log.c), unless the log began anew since.  How its time and the log's
 * compare says something only if it is not known when it was seen: a clock that was set back makes a newer log older. */
static bool was_written(const struct timespec *log, const struct sr_store_seen *seen, const struct sr_store_seen *now, bool clearly)
{
	if (seen->written_ns)
		return now->written_ns != seen->written_ns;
	return now->written_ns - ns_of(log) > (clearly ? CLEARLY_LATER_MS * 1000000 - 1 : 0);
}

/* What the last scan saw, for the next connection, if it finds it by the log; else all is read anew. */
static void forget_but_gate(struct sr_sql_store *s)
{
	struct sr_sql_capture capture = s->capture;
	struct sr_sql_gate gate = s->gate;
	int64_t version;

	if (!s->main.db || !gate.closed || !capture.known) {
		forget_connection(s);
		return;
	}
	gate.carried = sr_sql_int(&s->main, "PRAGMA main.data_version", &version, NULL) == SR_OK && version == gate.data_version;
	gate.data_version = -1;
	s->gate = (struct sr_sql_gate){0};
	forget_connection(s);
	capture.well = false;
	s->capture = capture;
	s->gate = gate;
}

static enum sr_status shed_stale_wal(struct sr_store *st, const struct sr_store_seen *seen, const struct sr_uuid *node, bool *any, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct sr_store_seen now = seen_now(st);
	struct timespec times[2] = {0};
	struct sr_marker marker;
	struct sr_sql alone = {0};
	bool written;
	enum sr_status status = SR_OK;

	*any = false;
	if (!seen->inode || !node || sr_uuid_none(node) || s->viewed || s->apply || atomic_load(&s->extras))
		return SR_OK;
	if (!leftovers(st, times)) {
		st->overwritten = false;
		return SR_OK;
	}
	if (judged(s, times))
		return SR_OK;
	if (is_same_file(seen, &now))
		forget_but_gate(s);
	else
		forget_connection(s);
	if (sr_sql_log_in_use(st->path))
		return SR_OK;
	written = is_same_file(seen, &now) && was_written(&times[1], seen, &now, false) && sr_sql_overwritten(st) && nobody_came(st, times);
	st->overwritten = written && was_written(&times[1], seen, &now, true);
	/* Whatever cannot be read is no evidence. */
	if (connect_alone(&alone, st, NULL) == SR_OK && sr_sql_marker_read(&alone, &marker, NULL, NULL) == SR_OK &&
	    !sr_uuid_none(&marker.id) && (!is_same_file(seen, &now) || (written && memcmp(&marker.node, node, sizeof *node))) &&
	    lock_out_others(&alone))
		status = move_aside(st, any, err);
	if (*any || st->overwritten)
		forget_connection(s);
	if (*any)
		st->overwritten = false; /* what its marker says is what it is */
	sr_sql_disconnect(&alone);
	return status;
}

static bool doubtful(struct sr_store *st, const struct sr_store_seen *seen)
{
	struct sr_store_seen now = seen_now(st);
	struct timespec times[2];

	return is_same_file(seen, &now) ? st->overwritten : leftovers(st, times);
}

/* --- creating --------------------------------------------------------------------------------------------------- */

/* To whom Owner= and Group= say, else to whom its directory belongs; without the right to, and not asked to, it stays ours. */
static enum sr_status own_file(const struct sr_store *st, int fd, struct sr_err *err)
{
	char *dir = directory_of(st->path);
	struct stat sb;
	enum sr_status status = SR_OK;

	if (stat(dir, &sb) < 0 || (fchown(fd, st->has_owner ? st->owner : sb.st_uid, st->has_group ? st->group : sb.st_gid) < 0 &&
				   (errno != EPERM || st->has_owner || st->has_group)))
		status = sr_err_sys(err, SR_E_IO, "chown %s", st->path);
	free(dir);
	return status;
}

/* An empty file; SQLite gives -wal and -shm to the same. */
static enum sr_status create_file(const struct sr_store *st, struct sr_err *err)
{
	enum sr_status status;
	int fd = open(st->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, NEW_FILE_MODE);

	if (fd < 0)
		return errno == EEXIST ? SR_OK : sr_err_sys(err, SR_E_IO, "%s", st->path);
	status = own_file(st, fd, err);
	close(fd); /* nobody holds a lock on a file that is this new */
	if (status != SR_OK)
		unlink(st->path); /* or the next attempt would take it as it is */
	return status;
}

static enum sr_status create(struct sr_store *st, struct sr_err *err)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;
	struct stat sb;
	bool there, any = false;
	enum sr_status status = sr_make_parents(st, err);

	if (status != SR_OK)
		return status;
	there = stat(st->path, &sb) == 0;
	if (there && sb.st_size > 0)
		return SR_OK; /* a database already; its journal mode is the application's */
	forget_connection(s);
	/* SQLite would delete the WAL of a database that is gone; it may hold the only copy of something. */
	if (!there)
		status = move_aside(st, &any, err);
	if (status == SR_OK)
		status = create_file(st, err);
	if (status == SR_OK)
		status = sr_sql_connect(&s->main, st, SR_VIEW_MAIN, err);
	if (status == SR_OK)
		status = sr_sql_exec(&s->main, "PRAGMA journal_mode=WAL", err);
	if (status == SR_OK)
		status = sync_directory(st, err);
	if (status != SR_OK || !st->alone) /* nobody gets in between */
		sr_sql_disconnect(&s->main);
	return status;
}

/* --- the table of operations ------------------------------------------------------------------------------------ */

static void close_store(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	sr_sql_apply_rollback(st);
	assert(!s->viewed && !atomic_load(&s->extras));
	forget_connection(s);
}

/* Which tables are left out is part of the schema as it was loaded. */
static void reconsider(struct sr_store *st)
{
	struct sr_sql_store *s = (struct sr_sql_store *)st;

	assert(!s->viewed && !s->apply && !atomic_load(&s->extras));
	sr_sql_schema_free(&s->main);
	sr_sql_gate_open(&s->gate);
	sr_sql_capture_forget(s);
}

static void grafted(struct sr_store *st)
{
	((struct sr_sql_store *)st)->gate.edited = true;
}

static void rots(struct sr_store *st, bool any)
{
	((struct sr_sql_store *)st)->rots = any;
}

static const struct sr_store_impl sqlite_impl = {
	.close = close_store,
	.look = look,
	.create = create,
	.mark = mark,
	.check = sr_sql_check,
	.settle = settle,
	.shed_stale_wal = shed_stale_wal,
	.doubtful = doubtful,
	.seen = seen_now,
	.is_quiet = is_quiet,
	.has_news = has_news,
	.view_open = sr_sql_view_open,
	.view_close = sr_sql_view_close,
	.view_copy = sr_sql_view_copy,
	.view_blocks = sr_sql_view_blocks,
	.view_scan = sr_sql_view_scan,
	.view_read = sr_sql_view_read,
	.view_dangling = sr_sql_view_dangling,
	.view_is_grown = sr_sql_view_is_grown,
	.view_carry = sr_sql_view_carry,
	.view_grow = sr_sql_view_grow,
	.view_schema_version = sr_sql_view_schema_version,
	.reconsider = reconsider,
	.apply_prepare = sr_sql_apply_prepare,
	.apply_commit = sr_sql_apply_commit,
	.apply_rollback = sr_sql_apply_rollback,
	.apply_held_ms = sr_sql_apply_held_ms,
	.rank = sr_sql_rank,
	.grafted = grafted,
	.taken = sr_sql_capture_taken,
	.capture = sr_sql_capture_set,
	.capture_report = sr_sql_capture_report,
	.rots = rots,
	.apply_recover = sr_sql_apply_recover,
};

enum sr_status sr_sqlite_open(struct sr_store **out, const struct sr_store_options *options, struct sr_err *err)
{
	struct sr_sql_store *s = sr_alloc(sizeof *s);
	enum sr_status st = sr_store_init(&s->st, &sqlite_impl, options, err);

	if (st != SR_OK) {
		free(s);
		return st;
	}
	s->quiet_version = -1;
	*out = &s->st;
	return SR_OK;
}
