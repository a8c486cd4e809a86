/* test_users.c - lib/users against real databases: the reference schema, an application's own, passwords, and logins with their limits. */
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/door.h"
#include "lib/users/login.h"
#include "lib/users/password.h"
#include "lib/users/users.h"
#include "tests/unit/directory.h"

struct world {
	char dir[64];
	char *path;
	struct sr_users *users;
	struct sr_err err;
};

static int64_t now_ms = 1700000000000, ticks = 1000000;

static int64_t the_time(void *ctx)
{
	(void)ctx;
	return now_ms;
}

static int64_t the_ticks(void *ctx)
{
	(void)ctx;
	return ticks;
}

static void chance(void *ctx, void *out, size_t n)
{
	static uint8_t next;

	(void)ctx;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = next++;
}

static int set_up(void **state)
{
	struct world *w = sr_alloc(sizeof *w);
	static const struct sr_door door = {.now_ms = the_time, .ticks_ms = the_ticks, .random = chance};

	sr_door_install(&door);
	strcpy(w->dir, "/tmp/test-users-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->path = sr_format("%s/users.db", w->dir);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	sr_users_close(w->users);
	remove_all(w->dir, "*");
	rmdir(w->dir);
	free(w->path);
	free(w);
	sr_door_install(NULL);
	return 0;
}

#define OK(call) \
	do { \
		w->err = (struct sr_err){0}; \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, w->err.text); \
	} while (0)

static void sql(struct world *w, const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void open_ours(struct world *w)
{
	OK(sr_users_make(w->path, &w->err));
	OK(sr_users_open(&w->users, w->path, NULL, &w->err));
	assert_true(sr_users_ours(w->users));
}

static enum sr_status add_name(void *ctx, const struct sr_user *user, struct sr_err *err)
{
	struct sr_buf *out = ctx;

	(void)err;
	sr_buf_printf(out, "%s%s%s ", user->name, user->admin ? "+" : "", user->enabled ? "" : "-");
	return SR_OK;
}

static void expect_all(struct world *w, const char *names)
{
	struct sr_buf out = {0};

	OK(sr_users_each(w->users, add_name, &out, &w->err));
	assert_string_equal(sr_buf_text(&out), names);
	sr_buf_free(&out);
}

/* --- the reference -------------------------------------------------------------------------------------------------------- */

static void test_users_are_made_changed_and_deleted(void **state)
{
	struct world *w = *state;
	struct sr_user user;
	bool found;

	open_ours(w);
	OK(sr_users_add(w->users, "ada", "hash a", true, &w->err));
	OK(sr_users_add(w->users, "grace", "hash g", false, &w->err));
	expect_all(w, "ada+ grace ");
	assert_int_equal(sr_users_add(w->users, "ADA", "x", false, &w->err), SR_E_DATA);
	OK(sr_users_find(w->users, "Ada", &user, &found, &w->err));
	assert_true(found && user.admin);
	assert_string_equal(user.name, "ada");
	assert_string_equal(user.hash, "hash a");
	sr_user_free(&user);
	OK(sr_users_set_enabled(w->users, "ada", false, &w->err));
	OK(sr_users_find(w->users, "ada", &user, &found, &w->err));
	assert_false(found);
	OK(sr_users_set_admin(w->users, "grace", true, &w->err));
	OK(sr_users_set_hash(w->users, "grace", "another", &w->err));
	expect_all(w, "ada+- grace+ ");
	OK(sr_users_find(w->users, "grace", &user, &found, &w->err));
	assert_string_equal(user.hash, "another");
	sr_user_free(&user);
	OK(sr_users_delete(w->users, "ada", &w->err));
	expect_all(w, "grace+ ");
	assert_int_equal(sr_users_delete(w->users, "ada", &w->err), SR_E_NOINPUT);
	assert_int_equal(sr_users_set_admin(w->users, "nobody", true, &w->err), SR_E_NOINPUT);
}

static void test_memberships_go_with_their_user(void **state)
{
	struct world *w = *state;

	open_ours(w);
	OK(sr_users_add(w->users, "ada", "h", true, &w->err));
	sql(w, "INSERT INTO groups VALUES ('g', 'ops'); INSERT INTO members SELECT 'g', id FROM users");
	OK(sr_users_delete(w->users, "ada", &w->err));

	sql(w, "CREATE TABLE none(n CHECK (n = 0)); INSERT INTO none SELECT count(*) FROM members");
}

static void test_names(void **state)
{
	char longest[SR_USER_NAME_MOST + 2] = "";

	(void)state;
	memset(longest, 'a', SR_USER_NAME_MOST + 1);
	assert_non_null(sr_user_name_fault(longest));
	assert_null(sr_user_name_fault(longest + 1));
	assert_null(sr_user_name_fault("Ada Lovelace"));
	assert_null(sr_user_name_fault("Zo\xc3\xab"));
	assert_non_null(sr_user_name_fault(""));
	assert_non_null(sr_user_name_fault("a:b"));
	assert_non_null(sr_user_name_fault("a\nb"));
	assert_non_null(sr_user_name_fault(" a"));
	assert_non_null(sr_user_name_fault("\xff"));
}

static void test_there_are_tables_already(void **state)
{
	struct world *w = *state;

	sql(w, "CREATE TABLE mine(a)");
	OK(sr_users_make(w->path, &w->err));
	assert_int_equal(sr_users_open(&w->users, w->path, NULL, &w->err), SR_E_CONFIG);
	assert_non_null(strstr(w->err.text, "Admin-Query"));
}

static void test_the_web_store(void **state)
{
	struct world *w = *state;

	OK(sr_webstore_make(w->path, &w->err));
	sql(w, "INSERT INTO dashboards VALUES ('d', 'u', 'Disks', '{}', ''); INSERT INTO preferences VALUES ('u', 'theme', 'dark');"
	       "INSERT INTO search_history VALUES ('s', 'u', 'error', '')");
}

static void test_no_file(void **state)
{
	struct world *w = *state;

	assert_int_equal(sr_users_open(&w->users, w->path, NULL, &w->err), SR_E_NOINPUT);
	assert_int_equal(access(w->path, F_OK), -1);
}

/* It is no question of tables then: with the schema nobody has to do anything. */
static void test_what_cannot_be_read_is_no_other_schema(void **state)
{
	static const char *const queries[] = {NULL, "SELECT name, password, is_admin FROM users"};
	struct world *w = *state;
	sqlite3 *application;
	FILE *out;

	OK(sr_users_make(w->path, &w->err));
	sql(w, "PRAGMA journal_mode = DELETE");
	assert_int_equal(sqlite3_open(w->path, &application), SQLITE_OK);
	assert_int_equal(sqlite3_exec(application, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		assert_int_equal(sr_users_open(&w->users, w->path, queries[i], &w->err), SR_E_BUSY);
		assert_non_null(strstr(w->err.text, "database is locked"));
	}
	sqlite3_close(application);
	out = fopen(w->path, "w");
	assert_non_null(out);
	fprintf(out, "%4096s", "no database");
	fclose(out);
	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		assert_int_equal(sr_users_open(&w->users, w->path, queries[i], &w->err), SR_E_IO);
		assert_non_null(strstr(w->err.text, "not a database"));
	}
}

/* --- an application's own --------------------------------------------------------------------------------------------------- */

static void test_an_applications_own_schema(void **state)
{
	struct world *w = *state;
	struct sr_user user;
	bool found;

	sql(w, "CREATE TABLE people(login TEXT, secret TEXT, role TEXT); INSERT INTO people VALUES ('root', 'h', 'admin'), ('guest', 'g', NULL), (NULL, 'x', '')");
	OK(sr_users_open(&w->users, w->path, "SELECT login, secret, role = 'admin' FROM people;", &w->err));
	assert_false(sr_users_ours(w->users));
	expect_all(w, "root+ guest ");
	OK(sr_users_find(w->users, "GUEST", &user, &found, &w->err));
	assert_true(found && !user.admin);
	sr_user_free(&user);
	assert_int_equal(sr_users_add(w->users, "ada", "h", true, &w->err), SR_E_CONFIG);
	assert_int_equal(sr_users_delete(w->users, "root", &w->err), SR_E_CONFIG);
}

static void test_a_query_only_reads(void **state)
{
	static const char *const bad[] = {"DELETE FROM t", "SELECT 1, 2", "SELECT 1, 2, 3; DROP TABLE t", "PRAGMA user_version", "", "nonsense",
					  "SELECT a, a, load_extension('x') FROM t", "ATTACH '/tmp/x' AS y", "SELECT 1, 2, 3 FROM absent"};
	struct world *w = *state;

	sql(w, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (sr_users_open(&w->users, w->path, bad[i], &w->err) != SR_E_CONFIG)
			fail_msg("taken: %s", bad[i]);
	OK(sr_users_open(&w->users, w->path, "SELECT a, a, a FROM t", &w->err));
}

static int64_t hurrying_ticks(void *ctx)
{
	(void)ctx;
	return ticks += 1000;
}

/* Who asks is anybody: a query without an end must not keep him, nor us. */
static void test_a_query_has_an_end(void **state)
{
	static const struct sr_door hurrying = {.now_ms = the_time, .ticks_ms = hurrying_ticks, .random = chance};
	struct world *w = *state;
	struct sr_user user;
	bool found;

	sql(w, "CREATE TABLE t(a)");
	OK(sr_users_open(&w->users, w->path, "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT i, i, i FROM r WHERE i < 0", &w->err));
	sr_door_install(&hurrying);
	assert_int_equal(sr_users_find(w->users, "ada", &user, &found, &w->err), SR_E_UNAVAILABLE);
	assert_non_null(strstr(w->err.text, "Admin-Query"));
	assert_false(found);
}

/* --- passwords ---------------------------------------------------------------------------------------------------------------- */

static void test_passwords(void **state)
{
	struct world *w = *state;
	char *hash = NULL, *again = NULL;

	OK(sr_password_hash(&hash, "correct horse", &w->err));
	OK(sr_password_hash(&again, "correct horse", &w->err));
	assert_memory_equal(hash, "$y$", 3);
	assert_string_not_equal(hash, again);
	assert_true(sr_password_is("correct horse", hash));
	assert_true(sr_password_is("correct horse", again));
	assert_false(sr_password_is("correct horsf", hash));
	assert_false(sr_password_is("", hash));
	free(hash);
	free(again);
	/* Of crypt(5)'s other methods an application may have one: SHA-512, with "Hello world!" from its specification. */
	assert_true(sr_password_is("Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"));
	assert_false(sr_password_is("x", NULL));
	assert_false(sr_password_is("x", "x"));
	assert_false(sr_password_is("x", ""));
	assert_false(sr_password_is("*0", "*0"));
	assert_int_equal(sr_password_hash(&hash, "short", &w->err), SR_E_USAGE);
	assert_int_equal(sr_password_hash(&hash, "with\ta tab in it", &w->err), SR_E_USAGE);
}

/* --- logins ------------------------------------------------------------------------------------------------------------------- */

static enum sr_status login(struct world *w, struct sr_login *l, const char *name, const char *password, const char *peer, bool *admin)
{
	struct sr_login_who who = {0};
	unsigned wait = 0;
	enum sr_status rc = sr_login_check(l, name, password, peer, &who, &wait, &w->err);

	*admin = who.admin;
	assert_true((rc == SR_E_AGAIN) == (wait > 0));
	return rc;
}

static void test_logins(void **state)
{
	struct world *w = *state;
	struct sr_login *l = sr_login_new(w->path, NULL);
	char *hash = NULL;
	bool admin;

	assert_int_equal(login(w, l, "ada", "a password", "192.0.2.1", &admin), SR_E_AUTH); /* without a users.db nobody may */
	open_ours(w);
	OK(sr_password_hash(&hash, "a password", &w->err));
	OK(sr_users_add(w->users, "ada", hash, true, &w->err));
	free(hash);
	assert_int_equal(login(w, l, "Ada", "a password", "192.0.2.1", &admin), SR_OK);
	assert_true(admin);
	OK(sr_users_set_admin(w->users, "ada", false, &w->err)); /* seen at once, though the login is remembered */
	assert_int_equal(login(w, l, "ada", "a password", "192.0.2.1", &admin), SR_OK);
	assert_false(admin);
	OK(sr_users_set_enabled(w->users, "ada", false, &w->err));
	assert_int_equal(login(w, l, "ada", "a password", "192.0.2.1", &admin), SR_E_AUTH);
	OK(sr_users_set_enabled(w->users, "ada", true, &w->err));
	for (int i = 0; i < SR_LOGIN_TRIES - 1; i++)
		assert_int_equal(login(w, l, "ADA", "guess", "192.0.2.1", &admin), SR_E_AUTH);
	assert_int_equal(login(w, l, "ada", "a password", "192.0.2.1", &admin), SR_E_AGAIN); /* the right one, too */
	assert_int_equal(login(w, l, "ada", "a password", "192.0.2.2", &admin), SR_OK);      /* he himself is not locked out */
	ticks += SR_LOGIN_WINDOW_S * 1000 + 1;
	assert_int_equal(login(w, l, "ada", "a password", "192.0.2.1", &admin), SR_OK);
	sr_login_free(l);
}

static void test_many_names_from_one_address(void **state)
{
	struct world *w = *state;
	struct sr_login *l;
	char name[32];
	bool admin;

	sql(w, "CREATE TABLE t(n, h, a); INSERT INTO t VALUES ('ada', '$5$x$no', 1)");
	l = sr_login_new(w->path, "SELECT n, h, a FROM t");
	for (int i = 0; i < 10 * SR_LOGIN_TRIES; i++) {
		snprintf(name, sizeof name, "user %d", i);
		assert_int_equal(login(w, l, name, "guess", "192.0.2.1", &admin), SR_E_AUTH);
	}
	assert_int_equal(login(w, l, "another", "guess", "192.0.2.1", &admin), SR_E_AGAIN);
	assert_int_equal(login(w, l, "another", "guess", "192.0.2.2", &admin), SR_E_AUTH);
	sr_login_free(l);
}

/* Whoever fills what is remembered with other names does not make it forget his guesses at one. */
static void test_a_flood_of_names_hides_no_guesses(void **state)
{
	struct world *w = *state;
	struct sr_login *l;
	char name[32], peer[32];
	bool admin;

	sql(w, "CREATE TABLE t(n, h, a); WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < 400) "
	       "INSERT INTO t SELECT iif(i = 400, 'ada', 'user ' || i), '$5$rounds=1000$x$no', 1 FROM k");
	l = sr_login_new(w->path, "SELECT n, h, a FROM t");
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof name, "user %d", i);
		snprintf(peer, sizeof peer, "192.0.2.%d", i / 40);
		assert_int_equal(login(w, l, name, "guess", peer, &admin), SR_E_AUTH);
	}
	for (int i = 0; i < 10 * SR_LOGIN_TRIES; i++) {
		snprintf(peer, sizeof peer, "198.51.100.%d", i);
		assert_int_equal(login(w, l, "ada", "guess", peer, &admin), SR_E_AUTH);
	}
	assert_int_equal(login(w, l, "ada", "guess", "203.0.113.1", &admin), SR_E_AGAIN);
	sr_login_free(l);
}

struct crowd {
	struct sr_login *login;
	pthread_mutex_t lock;
	pthread_cond_t done;
	int sent_away, others;
};

static void *crowding(void *ctx)
{
	struct crowd *c = ctx;
	struct sr_login_who who;
	struct sr_err err = {0};
	unsigned wait = 0;
	enum sr_status rc = sr_login_check(c->login, "ada", "guess", "192.0.2.1", &who, &wait, &err);

	pthread_mutex_lock(&c->lock);
	if (rc == SR_E_AGAIN && strstr(err.text, "at once"))
		c->sent_away++;
	else
		c->others++;
	pthread_cond_signal(&c->done);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* A hash costs memory: few are made at once, few wait - here for users.db - and the rest is sent away meanwhile. */
static void test_a_crowd(void **state)
{
	enum { ALL = 40, STAY = 18 };
	struct world *w = *state;
	struct crowd c = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
	pthread_t threads[ALL];
	sqlite3 *db = NULL;

	sql(w, "CREATE TABLE t(n, h, a)");
	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	c.login = sr_login_new(w->path, "SELECT n, h, a FROM t");
	for (int i = 0; i < ALL; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowding, &c), 0);
	pthread_mutex_lock(&c.lock);
	while (c.sent_away < ALL - STAY && !c.others)
		pthread_cond_wait(&c.done, &c.lock);
	pthread_mutex_unlock(&c.lock);
	assert_int_equal(c.sent_away, ALL - STAY);
	sqlite3_close(db);
	for (int i = 0; i < ALL; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.others, STAY);
	sr_login_free(c.login);
}

static void test_the_header(void **state)
{
	static const char *const bad[] = {"Basic", "Basic ", "Bearer QTpi", "Basic !!!!", "Basic QUI", "Basic QToA"};
	struct world *w = *state;
	char *name, *password;

	OK(sr_login_credentials("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", &name, &password, &w->err)); /* of RFC 7617 */
	assert_string_equal(name, "Aladdin");
	assert_string_equal(password, "open sesame");
	sr_login_credentials_free(name, password);
	OK(sr_login_credentials("basic  dGVzdDoxMjPCow==", &name, &password, &w->err));
	assert_string_equal(password, "123\xc2\xa3");
	sr_login_credentials_free(name, password);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (sr_login_credentials(bad[i], &name, &password, &w->err) != SR_E_AUTH)
			fail_msg("taken: %s", bad[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(test_users_are_made_changed_and_deleted),
		T(test_memberships_go_with_their_user),
		T(test_names),
		T(test_there_are_tables_already),
		T(test_the_web_store),
		T(test_no_file),
		T(test_what_cannot_be_read_is_no_other_schema),
		T(test_an_applications_own_schema),
		T(test_a_query_only_reads),
		T(test_a_query_has_an_end),
		T(test_passwords),
		T(test_logins),
		T(test_many_names_from_one_address),
		T(test_a_flood_of_names_hides_no_guesses),
		T(test_a_crowd),
		T(test_the_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
