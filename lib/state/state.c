/* state.c - open, lock and schema; meta and store rows.  See state.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/state/feed.h"
#include "lib/state/internal.h"
#include "lib/state/swap.h"

#define STATE_FILE "state.db"
#define LOCK_FILE "lock"
#define APPLICATION_ID 0x53525354 /* "SRST" */
#define FORMAT 3                  /* user_version */
#define BUSY_MS 5000              /* a reader may meet the writer's recovery or its last close; nobody holds longer */

#define JOURNAL_KEEP 1000000  /* rows, however old */
#define JOURNAL_MOST 10000000 /* rows, however young */
#define DELETED_KEEP 1000000

/* Format 1.  Explained in sameroot-state(5).  uuids and hashes are 16 bytes, NULL when none; versions are packed (sr_version_pack), NULL when
 * absent. */
static const char schema[] =
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE store (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, inode INTEGER NOT NULL DEFAULT 0, marker BLOB, pending "
	"BLOB, "
	"node BLOB, base_known INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE leaf (store INTEGER, path BLOB, local BLOB, signature INTEGER, base_state INTEGER, base BLOB, epoch INTEGER, seq "
	"INTEGER, "
	"PRIMARY KEY (store, path)) WITHOUT ROWID;"
	"CREATE INDEX leaf_open ON leaf (store, path) WHERE base_state <> 3;"
	"CREATE TABLE intent_head (store INTEGER PRIMARY KEY, marker BLOB, epoch INTEGER, seq INTEGER, note BLOB);"
	"CREATE TABLE intent (store INTEGER, n INTEGER, leaf BLOB, PRIMARY KEY (store, n)) WITHOUT ROWID;"
	"CREATE TABLE outbox (only INTEGER PRIMARY KEY CHECK (only = 1), id BLOB, prev BLOB, instance BLOB, epoch INTEGER, seq INTEGER, "
	"start BLOB);"
	"CREATE TABLE outbox_leaf (store INTEGER, n INTEGER, leaf BLOB, PRIMARY KEY (store, n)) WITHOUT ROWID;"
	"CREATE TABLE root (epoch INTEGER, seq INTEGER, root BLOB, at_ms INTEGER, PRIMARY KEY (epoch, seq)) WITHOUT ROWID;"
	"CREATE TABLE journal (n INTEGER PRIMARY KEY, epoch INTEGER, seq INTEGER, store TEXT, path BLOB, before BLOB, after BLOB, "
	"webserver BLOB, "
	"at_ms INTEGER);"
	"CREATE INDEX journal_seq ON journal (epoch, seq);"
	"CREATE TABLE replaced (hash BLOB NOT NULL UNIQUE, record BLOB, epoch INTEGER, seq INTEGER);"
	"CREATE INDEX replaced_short ON replaced (epoch, seq) WHERE length(record) = 0 OR length(record) > 16384;"
	"CREATE TABLE deleted (n INTEGER PRIMARY KEY, store INTEGER, path BLOB, epoch INTEGER, seq INTEGER, UNIQUE (store, path));"
	"CREATE TABLE push_result (webserver BLOB PRIMARY KEY, id BLOB, kind INTEGER, epoch INTEGER, seq INTEGER, root BLOB, answer BLOB) "
	"WITHOUT ROWID;"
	"CREATE TABLE webserver (uuid BLOB PRIMARY KEY, name TEXT, external_addr TEXT, peer TEXT, version TEXT, pin TEXT, sync_port "
	"INTEGER, "
	"epoch INTEGER, seq INTEGER, root BLOB, seen_ms INTEGER, status TEXT) WITHOUT ROWID;";

/* From each format to the next; a new file goes through them, too, so that there is one form of each table. */
static const char *const upgrades[FORMAT - 1] = {
	"CREATE INDEX leaf_absent ON leaf (store) WHERE local IS NULL;"
	"ALTER TABLE journal ADD COLUMN mtime INTEGER;"
	"ALTER TABLE replaced ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE replaced ADD COLUMN file INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE replaced ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;"
	"UPDATE replaced SET at_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000, file = length(record) = 0, bytes = length(record);"
	"DROP INDEX replaced_short;"
	"CREATE INDEX replaced_age ON replaced (at_ms, file, bytes);"
	"CREATE TABLE trash (only INTEGER PRIMARY KEY CHECK (only = 1), files INTEGER, records INTEGER, bytes INTEGER);"
	"INSERT INTO trash SELECT 1, ifnull(sum(file), 0), count(*) - ifnull(sum(file), 0), ifnull(sum(bytes), 0) FROM replaced;"
	"CREATE TRIGGER replaced_added AFTER INSERT ON replaced BEGIN "
	"UPDATE trash SET files = files + new.file, records = records + 1 - new.file, bytes = bytes + new.bytes; END;"
	"CREATE TRIGGER replaced_gone AFTER DELETE ON replaced BEGIN "
	"UPDATE trash SET files = files - old.file, records = records - 1 + old.file, bytes = bytes - old.bytes; END;"
	"CREATE TABLE conflict (webserver BLOB, id TEXT, entry BLOB, PRIMARY KEY (webserver, id)) WITHOUT ROWID;"
	"CREATE TABLE conflict_report (webserver BLOB PRIMARY KEY, token BLOB, total INTEGER, bytes INTEGER, at_ms INTEGER) WITHOUT ROWID;"
	"CREATE TABLE token (webserver BLOB PRIMARY KEY, token BLOB, n INTEGER, interval INTEGER, addr TEXT) WITHOUT ROWID;",
	"ALTER TABLE store ADD COLUMN written INTEGER NOT NULL DEFAULT 0; ALTER TABLE store ADD COLUMN born INTEGER NOT NULL DEFAULT 0;",
};

/* ---- directory and lock ---- */

static enum sr_status make_dir(const char *dir, struct sr_err *err)
{
	char *path = sr_strdup(dir);
	size_t len = strlen(path);
	enum sr_status status = SR_OK;

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	for (size_t i = 1; i < len; i++) {
		if (path[i] != '/')
			continue;
		path[i] = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST) {
			status = sr_err_sys(err, SR_E_IO, "%s", path);
			goto out;
		}
		path[i] = '/';
	}
	if (mkdir(path, 0700) == 0 ? chmod(path, 0700) != 0 : errno != EEXIST) /* the umask may have taken from it */
		status = sr_err_sys(err, SR_E_IO, "%s", path);
out:
	free(path);
	return status;
}

/* fd: the lock file; -1: it was removed. */
static enum sr_status lock_is_held(int fd, const char *dir, struct sr_err *err)
{
	char pid[24];
	ssize_t n = fd < 0 ? 0 : pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? n : 0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	if (!pid[0]) /* or it is about to write it */
		return sr_err_set(err, SR_E_BUSY, "%s: in use by another process", dir);
	return sr_err_set(err, SR_E_BUSY, "%s: in use by process %s", dir, pid);
}

/* The lock file can be removed under its holder, and the next one would make another; the directory stays the same.  Where a file system knows no
 * locks of directories, there is the file's. */
static enum sr_status lock_dir(struct sr_state *s, int dirfd, struct sr_err *err)
{
	enum sr_status status;
	int fd;

	s->dir_lock = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_lock < 0)
		return sr_err_sys(err, SR_E_IO, "%s", s->dir);
	if (flock(s->dir_lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return SR_OK;
	fd = openat(dirfd, LOCK_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	status = lock_is_held(fd, s->dir, err);
	if (fd >= 0)
		close(fd);
	return status;
}

/* The lock goes with the last descriptor of this open file, so with the process at the latest; the file stays. */
static enum sr_status lock_file(struct sr_state *s, int dirfd, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	char pid[24];
	int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	int fd = openat(dirfd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return sr_err_sys(err, SR_E_IO, "%s/" LOCK_FILE, s->dir);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		status = errno == EWOULDBLOCK ? lock_is_held(fd, s->dir, err) : sr_err_sys(err, SR_E_IO, "%s/" LOCK_FILE ": flock", s->dir);
	else if (fchmod(fd, 0600) != 0 || ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
		status = sr_err_sys(err, SR_E_IO, "%s/" LOCK_FILE, s->dir);
	if (status == SR_OK)
		s->lock = fd;
	else
		close(fd);
	return status;
}

/* A live process of that id comes first: the lock is tried only where it is most likely not to be had, so that no daemon that starts stumbles over it. */
long sr_state_holder(const char *dir)
{
	char *path = sr_format("%s/" LOCK_FILE, dir), text[24] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	long pid = 0;

	free(path);
	if (fd < 0)
		return 0;
	if (pread(fd, text, sizeof text - 1, 0) > 0)
		pid = strtol(text, NULL, 10);
	if (pid <= 0 || (kill((pid_t)pid, 0) != 0 && errno != EPERM) || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		pid = 0;
	close(fd);
	return pid;
}

/* An empty file, 0600 whatever the umask; SQLite gives -wal and -shm the same mode.  One that is there is never opened here: closing it
 * would drop the locks that a reader in this process holds. */
static enum sr_status make_file(struct sr_state *s, int dirfd, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	int fd = openat(dirfd, STATE_FILE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno == EEXIST ? SR_OK : sr_err_sys(err, SR_E_IO, "%s", s->file);
	if (fchmod(fd, 0600) != 0 || fsync(dirfd) != 0)
		status = sr_err_sys(err, SR_E_IO, "%s", s->file);
	close(fd);
	return status;
}

/* ---- the database ---- */

static enum sr_status run(struct sr_state *s, const char *what, const char *sql, struct sr_err *err)
{
	int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? SR_OK : sr_state_fault(s, rc, what, NULL, err);
}

static enum sr_status number(struct sr_state *s, const char *what, const char *sql, int64_t *out, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	else
		status = sr_state_fault(s, rc, what, NULL, err);
	sqlite3_finalize(st);
	return status;
}

/* Whose file is it?  *empty: nobody's, no table was ever committed.  Reads only: a stranger's file stays as it is. */
static enum sr_status check_format(struct sr_state *s, bool *empty, int64_t *format, struct sr_err *err)
{
	int64_t application = 0, tables = 0;
	enum sr_status status = number(s, "application_id", "PRAGMA application_id", &application, err);

	if (status == SR_OK)
		status = number(s, "user_version", "PRAGMA user_version", format, err);
	if (status == SR_OK)
		status = number(s, "sqlite_master", "SELECT count(*) FROM sqlite_master", &tables, err);
	if (status != SR_OK)
		return status;
	*empty = application == 0 && *format == 0 && tables == 0;
	if (*empty || (application == APPLICATION_ID && *format >= 1 && *format <= FORMAT))
		return SR_OK;
	if (application != APPLICATION_ID)
		return sr_err_set(err, SR_E_DATA, "%s: a database, but not a state.db", s->file);
	return sr_err_set(err, SR_E_DATA, "%s: its format is %" PRId64 ", this program knows 1 to %d", s->file, *format, FORMAT);
}

/* From `format` (0: an empty file) to ours, or not at all. */
static enum sr_status upgrade(struct sr_state *s, int64_t format, struct sr_err *err)
{
	struct sr_buf sql = {0};
	enum sr_status status;

	sr_buf_printf(&sql, "BEGIN IMMEDIATE; %s", format == 0 ? schema : "");
	for (size_t i = format ? (size_t)format - 1 : 0; i < FORMAT - 1; i++)
		sr_buf_printf(&sql, "%s", upgrades[i]);
	sr_buf_printf(&sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION_ID, FORMAT);
	status = run(s, format == 0 ? "make tables" : "bring to this program's format", sr_buf_text(&sql), err);
	sr_buf_free(&sql);
	return status;
}

/* Only the writer checkpoints: two checkpointers can corrupt a WAL before SQLite 3.51.3, and a read-only connection never is one. */
static enum sr_status open_database(struct sr_state *s, struct sr_err *err)
{
	int flags = (s->reader ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
	int rc = sqlite3_open_v2(s->file, &s->db, flags, NULL);

	if (rc != SQLITE_OK)
		return sr_state_fault(s, rc, "open", NULL, err);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, BUSY_MS);
	if (!s->reader && sqlite3_db_readonly(s->db, "main"))
		return sr_err_set(err, SR_E_IO, "%s: may not be written", s->file);
	rc = s->reader ? SQLITE_OK : sr_feed_attach(s);
	return rc == SQLITE_OK ? SR_OK : sr_state_fault(s, rc, "open", NULL, err);
}

/* A large step's WAL is given back to the disk; 16 MiB of cache are enough, for leaves come in path order. */
static enum sr_status settings(struct sr_state *s, struct sr_err *err)
{
	sqlite3_stmt *st = NULL;
	enum sr_status status = SR_OK;
	const char *mode;
	int rc = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (rc != SQLITE_ROW)
		status = sr_state_fault(s, rc, "journal_mode", NULL, err);
	else if (!mode || strcmp(mode, "wal") != 0)
		status = sr_err_set(err, SR_E_IO, "%s: no write-ahead log is possible here (a network file system?)", s->file);
	sqlite3_finalize(st);
	if (status != SR_OK)
		return status;
	return run(s, "settings", "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384", err);
}

static struct sr_state *new_state(const char *dir, bool reader)
{
	struct sr_state *s = sr_alloc(sizeof(*s));

	s->dir = sr_strdup(dir);
	s->file = sr_format("%s/" STATE_FILE, dir);
	s->lock = s->dir_lock = -1;
	s->reader = reader;
	s->journal_keep = JOURNAL_KEEP;
	s->journal_most = JOURNAL_MOST;
	s->journal_since_ms = INT64_MAX;
	s->deleted_keep = DELETED_KEEP;
	return s;
}

enum sr_status sr_state_open(struct sr_state **out, const char *dir, bool *fresh, struct sr_err *err)
{
	struct sr_state *s = new_state(dir, false);
	enum sr_status status = make_dir(dir, err);
	bool empty = false;
	int64_t format = FORMAT;
	int dirfd = -1;

	if (status != SR_OK)
		goto out;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		status = sr_err_sys(err, SR_E_IO, "%s", dir);
		goto out;
	}
	status = lock_dir(s, dirfd, err);
	if (status == SR_OK)
		status = lock_file(s, dirfd, err);
	if (status == SR_OK) /* before state.db is looked at: it may be among what is put in place */
		status = sr_swap_finish(dir, NULL, err);
	if (status == SR_OK)
		status = make_file(s, dirfd, err);
	if (status == SR_OK)
		status = open_database(s, err);
	if (status == SR_OK)
		status = check_format(s, &empty, &format, err);
	if (status == SR_OK)
		status = settings(s, err);
	if (status == SR_OK && format < FORMAT)
		status = upgrade(s, format, err);
	if (status == SR_OK && fsync(dirfd) != 0)
		status = sr_err_sys(err, SR_E_IO, "%s", dir);
out:
	if (dirfd >= 0)
		close(dirfd);
	if (status != SR_OK) {
		sr_state_close(s);
		return status;
	}
	*out = s;
	*fresh = empty;
	return SR_OK;
}

enum sr_status sr_state_reader(struct sr_state **out, const char *dir, struct sr_err *err)
{
	struct sr_state *s = new_state(dir, true);
	enum sr_status status;
	bool empty = false;
	int64_t format;
	struct stat st;

	if (stat(s->file, &st) != 0)
		status = sr_err_sys(err, errno == ENOENT || errno == ENOTDIR ? SR_E_NOINPUT : SR_E_IO, "%s", s->file);
	else
		status = open_database(s, err);
	if (status == SR_OK)
		status = check_format(s, &empty, &format, err);
	if (status == SR_OK && empty)
		status = sr_err_set(err, SR_E_NOINPUT, "%s: nothing in it yet", s->file);
	if (status != SR_OK) {
		sr_state_close(s);
		return status;
	}
	*out = s;
	return SR_OK;
}

bool sr_state_is_one(const char *file)
{
	struct sr_state *s = new_state("", true);
	int64_t application = 0;
	struct sr_err ignored;
	struct stat there;
	bool yes;

	free(s->file);
	s->file = sr_strdup(file);
	yes = stat(file, &there) == 0 && S_ISREG(there.st_mode) && open_database(s, &ignored) == SR_OK &&
	      number(s, "application_id", "PRAGMA application_id", &application, &ignored) == SR_OK && application == APPLICATION_ID;
	sr_state_close(s);
	return yes;
}

void sr_state_close(struct sr_state *s)
{
	if (!s)
		return;
	if (s->db)
		sr_state_rollback(s);
	for (size_t i = 0; i < SR_SQL_COUNT; i++)
		sqlite3_finalize(s->cached[i]);
	sqlite3_close(s->db);
	if (s->lock >= 0)
		close(s->lock);
	if (s->dir_lock >= 0)
		close(s->dir_lock);
	sr_buf_free(&s->path);
	sr_buf_free(&s->note);
	sr_buf_free(&s->pack[0]);
	sr_buf_free(&s->pack[1]);
	free(s->dir);
	free(s->file);
	free(s);
}

const char *sr_state_dir(const struct sr_state *s)
{
	return s->dir;
}

/* ---- meta ---- */

enum sr_status sr_state_get(struct sr_state *s, const char *name, struct sr_buf *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_META_GET);
	bool row;

	sr_give_text(&q, name);
	row = sr_ask_row(&q);
	if (row) {
		sr_buf_clear(out);
		sr_buf_bytes(out, sr_take_bytes(&q, 0));
	}
	if (sr_ask_good(&q))
		*found = row;
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_put(struct sr_state *s, const char *name, struct sr_bytes value, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_META_PUT);

	sr_give_text(&q, name);
	sr_give_bytes(&q, value);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_get_u64(struct sr_state *s, const char *name, uint64_t *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_META_GET);
	bool row;

	sr_give_text(&q, name);
	row = sr_ask_row(&q);
	if (row && sqlite3_column_type(q.st, 0) != SQLITE_INTEGER)
		sr_ask_fault(&q, "not a number");
	else if (row)
		*out = sr_take_u64(&q, 0);
	if (sr_ask_good(&q))
		*found = row;
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_put_u64(struct sr_state *s, const char *name, uint64_t value, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_META_PUT);

	sr_give_text(&q, name);
	sr_give_u64(&q, value);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_drop(struct sr_state *s, const char *name, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_META_DROP);

	sr_give_text(&q, name);
	return sr_ask_run(&q, err);
}

/* ---- store ---- */

static void take_store(struct sr_ask *q, struct sr_store_row *out)
{
	uint64_t absence = sr_take_u64(q, 5);

	out->id = (int64_t)sr_take_u64(q, 0);
	out->inode = sr_take_u64(q, 1);
	sr_take_uuid(q, 2, &out->marker);
	sr_take_uuid(q, 3, &out->pending);
	sr_take_uuid(q, 4, &out->node);
	out->base_known = absence == SR_ABSENT_KNOWN;
	out->absent_hint = absence == SR_ABSENT_HINT;
	out->epoch = sr_take_u64(q, 6);
	out->seq = sr_take_u64(q, 7);
	out->written_ns = (int64_t)sr_take_u64(q, 8);
	out->born_ns = (int64_t)sr_take_u64(q, 9);
}

static enum sr_status find_store(struct sr_state *s, const char *name, struct sr_store_row *out, bool *found, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_STORE_GET);
	struct sr_store_row row;

	sr_give_text(&q, name);
	*found = sr_ask_row(&q);
	if (*found) {
		take_store(&q, &row);
		if (sr_ask_good(&q))
			*out = row;
	}
	return sr_ask_end(&q, err);
}

enum sr_status sr_state_stores(struct sr_state *s, struct sr_store_row **out, size_t *n, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_STORE_EACH);
	struct sr_store_row *rows = NULL;
	size_t count = 0;
	enum sr_status status;

	while (sr_ask_row(&q)) {
		rows = sr_realloc(rows, (count + 1) * sizeof(*rows));
		take_store(&q, &rows[count++]);
	}
	status = sr_ask_end(&q, err);
	if (status != SR_OK) {
		free(rows);
		return status;
	}
	*out = rows;
	*n = count;
	return SR_OK;
}

enum sr_status sr_state_store(struct sr_state *s, const char *name, struct sr_store_row *out, struct sr_err *err)
{
	bool found = false;
	enum sr_status status = find_store(s, name, out, &found, err);
	struct sr_ask q;

	if (status != SR_OK || found)
		return status;
	if (s->reader)
		return sr_err_set(err, SR_E_NOTFOUND, "%s: it has no store \"%s\"", s->file, name);
	q = sr_ask(s, SR_SQL_STORE_NEW);
	sr_give_text(&q, name);
	status = sr_ask_run(&q, err);
	if (status == SR_OK)
		status = find_store(s, name, out, &found, err);
	return status;
}

/* When the meaning of absence turns, or the store comes to be as of later, rows that have come to say just that go. */
static enum sr_status purge_absent(struct sr_state *s, const struct sr_store_row *row, struct sr_err *err)
{
	struct sr_ask q = sr_ask(s, SR_SQL_STORE_WAS);
	enum sr_status status;
	bool turned = false, dated = false;

	sr_give_i64(&q, row->id);
	if (sr_ask_row(&q)) {
		turned = (sr_take_u64(&q, 0) == SR_ABSENT_KNOWN) != row->base_known;
		dated = row->base_known && (sr_take_u64(&q, 1) != row->epoch || sr_take_u64(&q, 2) != row->seq);
	}
	status = sr_ask_end(&q, err);
	if (status != SR_OK || (!turned && !dated))
		return status;
	q = sr_ask(s, SR_SQL_LEAF_PURGE);
	sr_give_i64(&q, row->id);
	sr_give_i64(&q, row->base_known ? SR_BASE_SAME : SR_BASE_UNKNOWN);
	sr_give_u64(&q, row->base_known ? row->epoch : INT64_MAX);
	sr_give_u64(&q, row->base_known ? row->seq : INT64_MAX);
	return sr_ask_run(&q, err);
}

enum sr_status sr_state_store_put(struct sr_state *s, const struct sr_store_row *row, struct sr_err *err)
{
	struct sr_ask q;
	bool own;
	enum sr_status status = sr_state_enter(s, &own, err);

	if (status != SR_OK)
		return status;
	status = purge_absent(s, row, err);
	if (status != SR_OK)
		goto out;
	q = sr_ask(s, SR_SQL_STORE_PUT);
	sr_give_u64(&q, row->inode);
	sr_give_uuid(&q, &row->marker);
	sr_give_uuid(&q, &row->pending);
	sr_give_uuid(&q, &row->node);
	sr_give_i64(&q, row->base_known ? SR_ABSENT_KNOWN : row->absent_hint ? SR_ABSENT_HINT : SR_ABSENT_UNKNOWN);
	sr_give_u64(&q, row->epoch);
	sr_give_u64(&q, row->seq);
	sr_give_i64(&q, row->written_ns);
	sr_give_i64(&q, row->born_ns);
	sr_give_i64(&q, row->id);
	status = sr_ask_run(&q, err);
out:
	return sr_state_leave(s, own, status, err);
}
