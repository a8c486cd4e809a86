/* users.c - see users.h. */
#include "lib/users/users.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/door.h"

#define BUSY_MS    5000
#define QUERY_MS   5000  /* a query that is not done by then never is, and who asks is unknown */
#define QUERY_LOOK 10000 /* so many steps of SQLite's machine between looks at the clock: about 0.1 ms */

static const char users_schema[] =
	"CREATE TABLE users(\n"
	"\tid TEXT PRIMARY KEY NOT NULL,\n"
	"\tname TEXT NOT NULL UNIQUE COLLATE NOCASE,\n"
	"\tpassword TEXT NOT NULL,\n"
	"\tfull_name TEXT,\n"
	"\temail TEXT,\n"
	"\tis_admin INTEGER NOT NULL DEFAULT 0,\n"
	"\tis_enabled INTEGER NOT NULL DEFAULT 1,\n"
	"\tcreated_at TEXT NOT NULL\n"
	");\n"
	"CREATE TABLE groups(\n"
	"\tid TEXT PRIMARY KEY NOT NULL,\n"
	"\tname TEXT NOT NULL UNIQUE COLLATE NOCASE\n"
	");\n"
	"CREATE TABLE members(\n"
	"\tgroup_id TEXT NOT NULL REFERENCES groups(id) ON DELETE CASCADE,\n"
	"\tuser_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,\n"
	"\tPRIMARY KEY(group_id, user_id)\n"
	") WITHOUT ROWID;\n"
	"CREATE INDEX members_by_user ON members(user_id);\n";

static const char webstore_schema[] =
	"CREATE TABLE dashboards(\n"
	"\tid TEXT PRIMARY KEY NOT NULL,\n"
	"\towner TEXT NOT NULL,\n"
	"\ttitle TEXT NOT NULL,\n"
	"\tdefinition TEXT NOT NULL,\n"
	"\tchanged_at TEXT NOT NULL\n"
	");\n"
	"CREATE TABLE preferences(\n"
	"\tuser_id TEXT NOT NULL,\n"
	"\tname TEXT NOT NULL,\n"
	"\tvalue TEXT NOT NULL,\n"
	"\tPRIMARY KEY(user_id, name)\n"
	") WITHOUT ROWID;\n"
	"CREATE TABLE search_history(\n"
	"\tid TEXT PRIMARY KEY NOT NULL,\n"
	"\tuser_id TEXT NOT NULL,\n"
	"\tquery TEXT NOT NULL,\n"
	"\tsearched_at TEXT NOT NULL\n"
	");\n"
	"CREATE INDEX search_history_by_user ON search_history(user_id, searched_at);\n";

#define OURS_LOGIN "SELECT name, password, is_admin FROM users WHERE is_enabled"

struct sr_users {
	sqlite3 *db;
	char *path, *query;
	bool ours;
};

/* --- connections ------------------------------------------------------------------------------------------------------ */

static enum sr_status fail(struct sr_err *err, sqlite3 *db, const char *path, const char *what)
{
	int rc = sqlite3_errcode(db) & 0xff;

	return sr_err_set(err, rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? SR_E_BUSY : rc == SQLITE_FULL ? SR_E_FULL : SR_E_IO, "%s: %s: %s", path, what,
			  sqlite3_errmsg(db));
}

/* "" and ":memory:" are names of files here. */
static enum sr_status connect(sqlite3 **out, const char *path, int flags, struct sr_err *err)
{
	char *plain = sr_format("%s%s", path[0] == '/' ? "" : "./", path);
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(plain, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	enum sr_status status = SR_OK;

	free(plain);
	if (rc != SQLITE_OK) {
		status = rc == SQLITE_NOMEM ? sr_err_set(err, SR_E_INTERNAL, "%s: out of memory", path) : fail(err, db, path, "open");
		sqlite3_close(db);
		return status;
	}
	sqlite3_busy_timeout(db, BUSY_MS);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* two checkpointers can corrupt a WAL before SQLite 3.51.3 */
	sqlite3_wal_autocheckpoint(db, 0);
	*out = db;
	return SR_OK;
}

static enum sr_status run(sqlite3 *db, const char *path, const char *text, struct sr_err *err)
{
	return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? SR_OK : fail(err, db, path, "write");
}

/* --- the reference ------------------------------------------------------------------------------------------------------ */

/* Tables that are not SQLite's and not our own marker's. */
static enum sr_status has_tables(sqlite3 *db, const char *path, bool *yes, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
					"AND name NOT LIKE '\\_sameroot\\_%' ESCAPE '\\' LIMIT 1",
				    -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	*yes = rc == SQLITE_ROW;
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SR_OK : fail(err, db, path, "read");
}

/* Another program may make its own at the same time. */
static enum sr_status make_in(sqlite3 *db, const char *path, const char *schema, struct sr_err *err)
{
	bool there = true;
	enum sr_status rc = run(db, path, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE", err);

	if (rc == SR_OK)
		rc = has_tables(db, path, &there, err);
	if (rc == SR_OK && !there)
		rc = run(db, path, schema, err);
	return rc == SR_OK ? run(db, path, "COMMIT", err) : rc;
}

static enum sr_status make(const char *path, const char *schema, struct sr_err *err)
{
	sqlite3 *db = NULL;
	bool there = true;
	enum sr_status rc = connect(&db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);

	if (rc != SR_OK)
		return rc;
	rc = has_tables(db, path, &there, err); /* first: the journal mode of an application's database is its own */
	if (rc == SR_OK && !there)
		rc = make_in(db, path, schema, err);
	sqlite3_close(db);
	return rc;
}

enum sr_status sr_users_make(const char *path, struct sr_err *err)
{
	return make(path, users_schema, err);
}

enum sr_status sr_webstore_make(const char *path, struct sr_err *err)
{
	return make(path, webstore_schema, err);
}

static enum sr_status is_ours(sqlite3 *db, const char *path, bool *yes, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT id, name, password, full_name, email, is_admin, is_enabled, created_at FROM users", -1, &stmt, NULL);

	*yes = rc == SQLITE_OK;
	sqlite3_finalize(stmt);
	return rc == SQLITE_OK || (rc & 0xff) == SQLITE_ERROR ? SR_OK : fail(err, db, path, "read");
}

/* --- asking -------------------------------------------------------------------------------------------------------------- */

/* What a query may do is read: no PRAGMA, no ATTACH, and no function that reaches beyond the database. */
static int may(void *ctx, int action, const char *a, const char *b, const char *database, const char *trigger)
{
	(void)ctx, (void)a, (void)database, (void)trigger;
	if (action == SQLITE_FUNCTION)
		return !b || sqlite3_stricmp(b, "load_extension") != 0 ? SQLITE_OK : SQLITE_DENY;
	return action == SQLITE_SELECT || action == SQLITE_READ || action == SQLITE_RECURSIVE ? SQLITE_OK : SQLITE_DENY;
}

static enum sr_status prepare_query(struct sr_users *u, sqlite3_stmt **out, struct sr_err *err)
{
	const char *rest = NULL;
	int rc;

	sqlite3_set_authorizer(u->db, may, NULL);
	rc = sqlite3_prepare_v2(u->db, u->query, -1, out, &rest);
	sqlite3_set_authorizer(u->db, NULL, NULL);
	if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_IOERR)
		return fail(err, u->db, u->path, "read");
	if (rc != SQLITE_OK)
		return sr_err_set(err, SR_E_CONFIG, "Admin-Query: %s: %s", u->path, sqlite3_errmsg(u->db));
	while (rest && (*rest == ' ' || *rest == '\n' || *rest == '\t' || *rest == ';'))
		rest++;
	if (!*out || !sqlite3_stmt_readonly(*out) || (rest && *rest))
		return sr_err_set(err, SR_E_CONFIG, "Admin-Query: one SELECT is needed");
	if (sqlite3_column_count(*out) != 3)
		return sr_err_set(err, SR_E_CONFIG, "Admin-Query: it gives %d columns, where name, password and is-admin are needed", sqlite3_column_count(*out));
	return SR_OK;
}

/* Why nobody can be looked up without a query. */
static enum sr_status not_ours(sqlite3 *db, const char *path, struct sr_err *err)
{
	bool any = false;
	enum sr_status rc = has_tables(db, path, &any, err);

	if (rc != SR_OK)
		return rc;
	if (!any)
		return sr_err_set(err, SR_E_CONFIG, "%s has no tables yet: they come with a round, from an application, or with the first `sameroot user add`", path);
	return sr_err_set(err, SR_E_CONFIG, "%s has not Sameroot's own table of users: Admin-Query= tells how to find who may log in", path);
}

enum sr_status sr_users_open(struct sr_users **out, const char *path, const char *query, struct sr_err *err)
{
	struct sr_users *u = sr_alloc(sizeof *u);
	sqlite3_stmt *stmt = NULL;
	enum sr_status rc;

	u->path = sr_strdup(path);
	u->query = sr_strdup(query ? query : OURS_LOGIN);
	if (access(path, F_OK) < 0)
		rc = sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_IO, "%s", path);
	else
		rc = connect(&u->db, path, SQLITE_OPEN_READWRITE, err);
	if (rc == SR_OK)
		rc = is_ours(u->db, path, &u->ours, err);
	if (rc == SR_OK && !query && !u->ours)
		rc = not_ours(u->db, path, err);
	if (rc == SR_OK)
		rc = prepare_query(u, &stmt, err);
	sqlite3_finalize(stmt);
	if (rc == SR_OK)
		*out = u;
	else
		sr_users_close(u);
	return rc;
}

void sr_users_close(struct sr_users *u)
{
	if (!u)
		return;
	sqlite3_close(u->db);
	free(u->path);
	free(u->query);
	free(u);
}

bool sr_users_ours(const struct sr_users *u)
{
	return u->ours;
}

static char *text_of(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return text ? sr_strdup(text) : NULL;
}

void sr_user_free(struct sr_user *user)
{
	free(user->id);
	free(user->name);
	if (user->hash)
		explicit_bzero(user->hash, strlen(user->hash));
	free(user->hash);
	free(user->full_name);
	free(user->email);
	free(user->created);
	memset(user, 0, sizeof *user);
}

static struct sr_user login_of(sqlite3_stmt *stmt)
{
	return (struct sr_user){.name = text_of(stmt, 0), .hash = text_of(stmt, 1), .admin = sqlite3_column_int(stmt, 2) != 0, .enabled = true};
}

/* sqlite3_progress_handler's: not 0 interrupts. */
static int is_late(void *ctx)
{
	const int64_t *end = ctx;

	return sr_ticks_ms() > *end;
}

static enum sr_status fail_query(struct sr_users *u, struct sr_err *err)
{
	if ((sqlite3_errcode(u->db) & 0xff) == SQLITE_INTERRUPT)
		return sr_err_set(err, SR_E_UNAVAILABLE, "Admin-Query: %s: it takes longer than %d s", u->path, QUERY_MS / 1000);
	return fail(err, u->db, u->path, "read");
}

/* Each row in turn, until fn says no (false). */
static enum sr_status each_login(struct sr_users *u, bool (*fn)(void *ctx, struct sr_user *user), void *ctx, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum sr_status rc = prepare_query(u, &stmt, err);
	int64_t end = sr_ticks_ms() + QUERY_MS;
	int step = SQLITE_DONE;
	bool more = rc == SR_OK;

	sqlite3_progress_handler(u->db, QUERY_LOOK, is_late, &end);
	while (more && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct sr_user user = login_of(stmt);

		more = !user.name || fn(ctx, &user);
		sr_user_free(&user);
	}
	if (rc == SR_OK && step != SQLITE_ROW && step != SQLITE_DONE)
		rc = fail_query(u, err);
	sqlite3_finalize(stmt);
	sqlite3_progress_handler(u->db, 0, NULL, NULL);
	return rc;
}

struct search {
	const char *name;
	struct sr_user *out;
	bool found;
};

static bool on_login(void *ctx, struct sr_user *user)
{
	struct search *s = ctx;

	if (sqlite3_stricmp(user->name, s->name) != 0)
		return true;
	*s->out = *user;
	memset(user, 0, sizeof *user);
	s->found = true;
	return false;
}

enum sr_status sr_users_find(struct sr_users *u, const char *name, struct sr_user *out, bool *found, struct sr_err *err)
{
	struct search s = {.name = name, .out = out};
	enum sr_status rc;

	memset(out, 0, sizeof *out);
	rc = each_login(u, on_login, &s, err);
	*found = rc == SR_OK && s.found;
	return rc;
}

struct listing {
	sr_user_fn *fn;
	void *ctx;
	struct sr_err *err;
	enum sr_status said;
};

static bool on_listed(void *ctx, struct sr_user *user)
{
	struct listing *l = ctx;

	l->said = l->fn(l->ctx, user, l->err);
	return l->said == SR_OK;
}

static enum sr_status each_of_ours(struct sr_users *u, sr_user_fn *fn, void *ctx, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum sr_status rc = SR_OK;
	int step = sqlite3_prepare_v2(u->db, "SELECT id, name, password, full_name, email, created_at, is_admin, is_enabled FROM users ORDER BY name", -1, &stmt,
				      NULL);

	while (rc == SR_OK && (step == SQLITE_OK || step == SQLITE_ROW) && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct sr_user user = {.id = text_of(stmt, 0), .name = text_of(stmt, 1), .hash = text_of(stmt, 2), .full_name = text_of(stmt, 3),
				       .email = text_of(stmt, 4), .created = text_of(stmt, 5), .admin = sqlite3_column_int(stmt, 6) != 0,
				       .enabled = sqlite3_column_int(stmt, 7) != 0};

		rc = fn(ctx, &user, err);
		sr_user_free(&user);
	}
	if (rc == SR_OK && step != SQLITE_DONE)
		rc = fail(err, u->db, u->path, "read");
	sqlite3_finalize(stmt);
	return rc;
}

enum sr_status sr_users_each(struct sr_users *u, sr_user_fn *fn, void *ctx, struct sr_err *err)
{
	struct listing l = {.fn = fn, .ctx = ctx, .err = err};
	enum sr_status rc;

	if (u->ours)
		return each_of_ours(u, fn, ctx, err);
	rc = each_login(u, on_listed, &l, err);
	return rc == SR_OK ? l.said : rc;
}

/* --- changing ------------------------------------------------------------------------------------------------------------ */

const char *sr_user_name_fault(const char *name)
{
	size_t len = strlen(name);

	if (!len)
		return "it is empty";
	if (len > SR_USER_NAME_MOST)
		return "it is longer than 128 bytes";
	if (!sr_utf8_valid(sr_bytes_of(name)))
		return "it is no UTF-8";
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 127 || name[i] == ':')
			return name[i] == ':' ? "a colon cannot be sent in a login" : "a control character is in it";
	if (name[0] == ' ' || name[len - 1] == ' ')
		return "a blank is at its start or end";
	return NULL;
}

/* One statement, with n texts; *changed: rows. */
static enum sr_status change(struct sr_users *u, const char *text, const char *const *values, int n, int *changed, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc;

	if (!u->ours)
		return sr_err_set(err, SR_E_CONFIG, "%s has an application's own schema: its users are made and changed by that application", u->path);
	rc = sqlite3_prepare_v2(u->db, text, -1, &stmt, NULL);
	for (int i = 0; rc == SQLITE_OK && i < n; i++)
		rc = sqlite3_bind_text(stmt, i + 1, values[i], -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return (sqlite3_extended_errcode(u->db)) == SQLITE_CONSTRAINT_UNIQUE ? sr_err_set(err, SR_E_DATA, "there is a user of that name already")
										    : fail(err, u->db, u->path, "write");
	*changed = sqlite3_changes(u->db);
	return SR_OK;
}

static enum sr_status change_one(struct sr_users *u, const char *text, const char *name, const char *value, struct sr_err *err)
{
	int changed = 0;
	enum sr_status rc = change(u, text, (const char *[]){name, value}, value ? 2 : 1, &changed, err);

	return rc == SR_OK && !changed ? sr_err_set(err, SR_E_NOINPUT, "no user is called %s", name) : rc;
}

enum sr_status sr_users_add(struct sr_users *u, const char *name, const char *hash, bool admin, struct sr_err *err)
{
	struct sr_uuid uuid = sr_uuid_random();
	time_t now = (time_t)(sr_now_ms() / 1000);
	char id[SR_UUID_TEXT], when[32];
	const char *fault = sr_user_name_fault(name);
	struct tm tm;
	int changed = 0;

	if (fault)
		return sr_err_set(err, SR_E_USAGE, "this cannot be a user's name: %s", fault);
	sr_uuid_text(id, &uuid);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	return change(u, "INSERT INTO users(id, name, password, is_admin, created_at) VALUES (?, ?, ?, CAST(? AS INTEGER), ?)",
		      (const char *[]){id, name, hash, admin ? "1" : "0", when}, 5, &changed, err);
}

enum sr_status sr_users_set_hash(struct sr_users *u, const char *name, const char *hash, struct sr_err *err)
{
	return change_one(u, "UPDATE users SET password = ?2 WHERE name = ?1", name, hash, err);
}

enum sr_status sr_users_set_admin(struct sr_users *u, const char *name, bool admin, struct sr_err *err)
{
	return change_one(u, "UPDATE users SET is_admin = CAST(?2 AS INTEGER) WHERE name = ?1", name, admin ? "1" : "0", err);
}

enum sr_status sr_users_set_enabled(struct sr_users *u, const char *name, bool enabled, struct sr_err *err)
{
	return change_one(u, "UPDATE users SET is_enabled = CAST(?2 AS INTEGER) WHERE name = ?1", name, enabled ? "1" : "0", err);
}

enum sr_status sr_users_delete(struct sr_users *u, const char *name, struct sr_err *err)
{
	return change_one(u, "DELETE FROM users WHERE name = ?1", name, NULL, err);
}
