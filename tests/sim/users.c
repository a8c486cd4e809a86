/* users.c - what people and applications do to the stores: rows and files, each with a value that exists once (a token).
 *
 * A user of a machine writes keys of its own ("web1-3") and keys that all write ("shared-2").  What was there before is seen in the same step - in the transaction, or as
 * what an exchange of names displaced - so that nothing is judged by a guess.  A change is done when the call that makes it durable says so; when that fails, it is
 * in doubt. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "tests/sim/sim.h"

enum { KEYS = 6, SHARED = 4, DIRECTORIES = 2, MOST_CHANGES = 3 };

struct user {
	struct sim_machine *m;
	sqlite3 *db[2];
	uint64_t before[3]; /* per store: a value that the last change of ... */
	char last[3][24];   /* ... this key replaced, 0: none: to be undone */
	uint64_t fresh[KEYS]; /* the value that was made for this file of its own, and is at no other key: 0: none */
};

struct sim_users sim_users;
static unsigned users;
static uint64_t tokens;

uint64_t sim_token_of(const char *text)
{
	unsigned long long token;

	return text && sscanf(text, "<T-%llu>", &token) == 1 ? token : 0;
}

static void choose_key(const struct user *u, char key[24])
{
	if (sim_chance(300))
		snprintf(key, 24, "shared-%u", (unsigned)sim_below(SHARED));
	else
		snprintf(key, 24, "%s-%u", u->m->name, (unsigned)sim_below(KEYS));
}

/* A new value; or an undo: what the last change of this store replaced. */
static uint64_t choose_value(struct user *u, unsigned store, char key[24])
{
	if (u->last[store][0] && sim_chance(150)) {
		strcpy(key, u->last[store]);
		u->last[store][0] = '\0';
		return u->before[store];
	}
	choose_key(u, key);
	return sim_chance(120) ? 0 : ++tokens;
}

static void remember(struct user *u, unsigned store, const char *key, uint64_t from)
{
	strcpy(u->last[store], key);
	u->before[store] = from;
}

/* --- rows -------------------------------------------------------------------------------------------------------------------- */

static const char *const schema[] = {
	"PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, value TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
};

static void shut(struct user *u)
{
	for (int i = 0; i < 2; i++) {
		sqlite3_close(u->db[i]);
		u->db[i] = NULL;
	}
}

static bool open_db(struct user *u, unsigned store)
{
	int flags = SQLITE_OPEN_READWRITE | (u->m->number ? SQLITE_OPEN_CREATE : 0); /* what the datastore has, webservers brought */

	if (u->db[store])
		return true;
	if (sqlite3_open_v2(u->m->store[store].path, &u->db[store], flags, NULL) == SQLITE_OK) {
		sqlite3_busy_timeout(u->db[store], 5000);
		if (sqlite3_exec(u->db[store], "PRAGMA synchronous=EXTRA", NULL, NULL, NULL) == SQLITE_OK &&
		    sqlite3_exec(u->db[store], schema[store], NULL, NULL, NULL) == SQLITE_OK)
			return true;
	}
	sqlite3_close(u->db[store]);
	u->db[store] = NULL;
	return false;
}

/* A file that was put in the place of the one that is open is another application's: this one starts again. */
static void reopen_if_moved(struct user *u, unsigned store)
{
	int moved = 0;

	if (u->db[store] && (sqlite3_file_control(u->db[store], "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || moved)) {
		sqlite3_close(u->db[store]);
		u->db[store] = NULL;
	}
}

static bool run(sqlite3 *db, const char *sql, const char *key, const char *value, char found[40])
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	if (rc == SQLITE_OK && key)
		rc = sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && value)
		rc = sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc == SQLITE_ROW && found)
		snprintf(found, 40, "%s", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	return rc == SQLITE_DONE || rc == SQLITE_ROW;
}

static bool change_row(struct user *u, unsigned store, const char *key, uint64_t value, uint64_t *from)
{
	sqlite3 *db = u->db[store];
	char found[40] = "", text[40];

	if (!run(db, "SELECT value FROM kept WHERE key = ?1", key, NULL, found))
		return false;
	*from = sim_token_of(found);
	snprintf(text, sizeof text, "<T-%llu>", (unsigned long long)value);
	if (!value)
		return run(db, "DELETE FROM kept WHERE key = ?1", key, NULL, NULL);
	return run(db, "INSERT INTO kept VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2", key, text, NULL);
}

static void rows(struct user *u, unsigned store)
{
	struct {
		char key[24];
		uint64_t from, to;
	} c[MOST_CHANGES];
	unsigned n = 1 + (unsigned)sim_below(MOST_CHANGES), k = 0;
	bool well;

	reopen_if_moved(u, store);
	if (!open_db(u, store) || !run(u->db[store], "BEGIN IMMEDIATE", NULL, NULL, NULL))
		return;
	for (well = true; well && k < n; k += well) {
		c[k].to = choose_value(u, store, c[k].key);
		well = change_row(u, store, c[k].key, c[k].to, &c[k].from);
	}
	if (!well) {
		(void)run(u->db[store], "ROLLBACK", NULL, NULL, NULL);
		return;
	}
	well = run(u->db[store], "COMMIT", NULL, NULL, NULL);
	if (!well && sqlite3_get_autocommit(u->db[store]) == 0)
		(void)run(u->db[store], "ROLLBACK", NULL, NULL, NULL);
	for (k = 0; k < n; k++)
		if (c[k].from != c[k].to) {
			sim_note(u->m, store, c[k].key, c[k].from, c[k].to, well ? SIM_DONE : SIM_DOUBT);
			remember(u, store, c[k].key, c[k].from);
		}
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

static bool sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool well = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return well;
}

/* Some are long enough that it pays to copy them where they are (lib/replica/elsewhere.h). */
static bool write_new(const char *path, uint64_t value)
{
	char text[1600];
	int more = (int)(value % 2 ? value % 100 : 1100 + value % 300);
	int n = snprintf(text, sizeof text, "<T-%llu>\n%*s", (unsigned long long)value, more, ".");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool well = fd >= 0 && write(fd, text, (size_t)n) == n && fchmod(fd, 0644) == 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return well;
}

static uint64_t read_value(const char *path)
{
	char text[200] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	return n > 0 ? sim_token_of(text) : 0;
}

/* Of the key: always the same one. */
static unsigned directory_of(const char *key)
{
	return (unsigned)key[strlen(key) - 1] % DIRECTORIES;
}

static const char *path_of(const struct user *u, const char *key, char path[200])
{
	snprintf(path, 200, "%s/d%u/%s", u->m->store[2].path, directory_of(key), key);
	return path;
}

static bool make_directory(const char *path)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST;
}

/* What is in a store is each application's own affair; that the store is there is not. */
static bool make_store(const struct sim_machine *m)
{
	return mkdir(m->store[2].path, 0755) == 0 ? sync_directory(m->dir) : errno == EEXIST;
}

static bool put_file(const char *new, const char *path, bool *replaced)
{
	*replaced = true;
	if (renameat2(AT_FDCWD, new, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
		return true;
	*replaced = false;
	return errno == ENOENT && renameat2(AT_FDCWD, new, AT_FDCWD, path, RENAME_NOREPLACE) == 0;
}

static void change_file(struct user *u, const char *key, uint64_t to)
{
	char dir[160], path[200], new[128], beside[128];
	uint64_t from;
	bool done, replaced = true, durable;

	snprintf(beside, sizeof beside, "%s/new", u->m->dir);
	snprintf(new, sizeof new, "%s/new/file", u->m->dir);
	snprintf(dir, sizeof dir, "%s/d%u", u->m->store[2].path, directory_of(key));
	path_of(u, key, path);
	if (!make_directory(beside) || (u->m->number ? !make_store(u->m) : access(u->m->store[2].path, F_OK)) || !make_directory(dir))
		return;
	if (to && !write_new(new, to))
		return;
	from = read_value(path);
	done = to ? put_file(new, path, &replaced) : rename(path, new) == 0;
	if (!done && sim_is_down(u->m) && to != from) /* it may have been the last that happened */
		sim_note(u->m, 2, key, from, to, SIM_DOUBT);
	if (!done)
		return;
	from = replaced ? read_value(new) : 0;
	durable = sync_directory(dir) && sync_directory(beside) && sync_directory(u->m->store[2].path) && sync_directory(u->m->dir);
	unlink(new);
	sim_note(u->m, 2, key, from, to, durable ? SIM_DONE : SIM_DOUBT);
	remember(u, 2, key, from);
}

/* What a file of its own has goes to another, as one value that still is made for one key, and there for one more: moved or copied. */
static void spread_file(struct user *u)
{
	unsigned from = (unsigned)sim_below(KEYS), to = (unsigned)sim_below(KEYS);
	char key[24], path[200];
	uint64_t value = u->fresh[from];

	snprintf(key, sizeof key, "%s-%u", u->m->name, from);
	for (unsigned i = 1; i < KEYS && !value; i++) {
		from = (from + 1) % KEYS;
		value = u->fresh[from];
	}
	if (from == to || !value || read_value(path_of(u, key, path)) != value)
		return;
	u->fresh[from] = u->fresh[to] = 0;
	if (sim_chance(500))
		change_file(u, key, 0);
	snprintf(key, sizeof key, "%s-%u", u->m->name, to);
	change_file(u, key, value);
}

static void file(struct user *u)
{
	char key[24];
	uint64_t made = tokens, to;
	unsigned own;

	if (sim_chance(400)) {
		spread_file(u);
		return;
	}
	to = choose_value(u, 2, key);
	change_file(u, key, to);
	if (sscanf(key + strlen(u->m->name), "-%u", &own) == 1 && !strncmp(key, u->m->name, strlen(u->m->name)))
		u->fresh[own] = to > made ? to : 0;
}

/* --- a user ------------------------------------------------------------------------------------------------------------------ */

void sim_change(struct sim_machine *m, unsigned store, const char *key, bool value)
{
	struct user u = {.m = m};
	struct sim_machine *before = sim_visit(m);
	uint64_t from = 0, to = value ? ++tokens : 0;
	bool well;

	if (store == 2) {
		change_file(&u, key, to);
	} else {
		well = open_db(&u, store) && run(u.db[store], "BEGIN IMMEDIATE", NULL, NULL, NULL) && change_row(&u, store, key, to, &from) &&
		       run(u.db[store], "COMMIT", NULL, NULL, NULL);
		shut(&u);
		sim_note(m, store, key, from, to, well ? SIM_DONE : SIM_DOUBT);
	}
	sim_return(before);
}

static void change(struct user *u)
{
	uint64_t what = sim_below(3);

	if (what == 2)
		file(u);
	else
		rows(u, (unsigned)what);
	if (sim_chance(200))
		shut(u);
}

static void *live(void *arg)
{
	struct user *u = arg;

	for (;;) {
		if (sim_users.work && !sim_is_down(u->m)) {
			struct sim_machine *before = sim_visit(u->m);

			while (sim_users.work && !sim_is_down(u->m)) {
				change(u);
				if (!sim_is_down(u->m))
					sim_sleep((int64_t)sim_below(2 * (uint64_t)sim_users.pause_us));
			}
			shut(u);
			sim_return(before);
		}
		sim_users.restful++;
		while (!sim_users.work || sim_is_down(u->m))
			sim_sleep(SIM_S / 2);
		sim_users.restful--;
	}
	return NULL;
}

void sim_users_begin(void)
{
	for (unsigned i = 0; i < sim_count; i++) {
		struct user *u = sr_alloc(sizeof *u);

		u->m = &sim_machines[i];
		users++;
		sim_spawn(NULL, "user", live, u, 0);
	}
}

bool sim_users_rest(void)
{
	return sim_users.restful == users;
}
