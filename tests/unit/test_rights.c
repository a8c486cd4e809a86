/* test_rights.c - who may ask what: each route that the two daemons really serve, with each credential that there is.
 *
 * A route that is new stands in the table below, or this fails; so does a line whose route is gone. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/datastore/internal.h"
#include "lib/node/shutdown.h"
#include "lib/sync/daemon_internal.h"
#include "lib/users/password.h"
#include "lib/users/users.h"

enum who {
	ANYONE,
	USERS,      /* whoever may log in, and machines */
	MACHINES,   /* Control-Auth; and admins, who may all */
	CHECKED_IN, /* the same, but no login: it is answered where no password can be checked */
	ADMINS,
};
enum { DATASTORE = 1, WEBSERVER = 2, BOTH = 3 };

static const struct line {
	int of;
	const char *methods, *path;
	enum who who;
} table[] = {
	{BOTH, "GET", "/healthz", ANYONE},
	{BOTH, "GET", "/readyz", ANYONE},
	{BOTH, "GET", "/api/hello", ANYONE},
	{BOTH, "GET", "/api/system/lbstatus", ANYONE},
	{BOTH, "GET", "/", USERS},
	{BOTH, "GET", "/page.css", USERS},
	{BOTH, "GET", "/page.js", USERS},
	{BOTH, "GET", "/page.svg", USERS},
	{BOTH, "GET", "/api/page", USERS},
	{BOTH, "GET", "/metrics", USERS},
	{BOTH, "GET", "/api/results/{}/{}", USERS},
	{DATASTORE, "GET", "/api/tree", CHECKED_IN},
	{DATASTORE, "GET", "/api/changes", CHECKED_IN},
	{WEBSERVER, "GET", "/api/tree", MACHINES},
	{BOTH, "GET", "/api/tree/node/{}", MACHINES},
	{BOTH, "POST", "/api/tree/nodes", MACHINES},
	{BOTH, "GET", "/api/tree/list", MACHINES},
	{BOTH, "GET", "/api/bundle", MACHINES},
	{BOTH, "POST", "/api/bundle", MACHINES},
	{BOTH, "GET", "/api/blob/{}", MACHINES},
	{BOTH, "POST", "/api/blob/{}/pieces", MACHINES},
	{BOTH, "POST", "/api/blob/{}/parts", MACHINES},
	{BOTH, "GET", "/api/webservers", MACHINES},
	{DATASTORE, "GET", "/api/log", MACHINES},
	{DATASTORE, "GET", "/api/conflicts", MACHINES},
	{DATASTORE, "POST", "/api/push", MACHINES},
	{DATASTORE, "DELETE", "/api/push/{}", MACHINES},
	{DATASTORE, "GET", "/api/upload/{}", MACHINES},
	{DATASTORE, "PUT", "/api/upload/{}", MACHINES},
	{DATASTORE, "PUT", "/api/upload/{}/delta", MACHINES},
	{DATASTORE, "PUT", "/api/webservers/{}", MACHINES},
	{DATASTORE, "PUT", "/api/webservers/{}/conflicts", MACHINES},
	{DATASTORE, "PUT", "/api/webservers/{}/token", MACHINES},
	{DATASTORE, "DELETE", "/api/webservers/{}", ADMINS},
	{BOTH, "GET", "/api/admin/status", ADMINS},
	{BOTH, "GET", "/api/admin/backup", ADMINS},
	{BOTH, "GET", "/api/admin/verify", ADMINS},
	{BOTH, "POST", "/api/admin/repair", ADMINS},
	{BOTH, "POST", "/api/admin/adopt", ADMINS},
	{DATASTORE, "POST", "/api/admin/restore", ADMINS},
	{WEBSERVER, "POST", "/api/admin/sync", ADMINS},
	{WEBSERVER, "POST", "/api/admin/forget-key", ADMINS},
	{BOTH, "GET", "/api/admin/conflicts", ADMINS},
	{BOTH, "GET", "/api/admin/conflicts/{}", ADMINS},
	{BOTH, "GET", "/api/admin/conflicts/{}/content", ADMINS},
	{BOTH, "POST", "/api/admin/conflicts/remove", ADMINS},
	{BOTH, "POST", "/api/admin/conflicts/restore", ADMINS},
	{BOTH, "PUT", "/api/system/lbstatus/override/{}", ADMINS},
	{BOTH, "PUT", "/api/webservers/{}/lbstatus/override/{}", ADMINS}, /* of another node by a login alone: overrides.bats */
	{BOTH, "POST", "/api/webservers/{}/shutdown", ADMINS},
	{BOTH, "POST", "/api/system/shutdown/shutdown", ADMINS}, /* the last one: it is done */
};
#define LINES (sizeof table / sizeof *table)

/* Those that may less come first: what an admin asks for is done. */
enum credential { NONE, WRONG, TOKEN_OF_ANOTHER, USER, CONTROL_AUTH, ADMIN, TOKEN, CREDENTIALS };
static const char *const called[] = {"nothing", "a wrong secret", "another node's admin token", "a user's login", "Control-Auth", "an admin's login", "the admin token"};

/* --- the two daemons ------------------------------------------------------------------------------------------------------------- */

struct world {
	char *dir;
	struct sr_config *config;
	struct sr_shutdown *shutdown[2]; /* datastore, webserver */
	struct sr_datastore *datastore;
	struct sr_sync_daemon *webserver;
	pthread_t rounds;
	struct sr_err err;
};

#define OK(call) \
	do { \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, w->err.text); \
	} while (0)

static void add_user(struct world *w, struct sr_users *users, const char *name, bool admin)
{
	char *hash = NULL;

	OK(sr_password_hash(&hash, "a good password", &w->err));
	OK(sr_users_add(users, name, hash, admin, &w->err));
	free(hash);
}

static void make_users(struct world *w, const char *path)
{
	struct sr_users *users = NULL;

	OK(sr_users_make(path, &w->err));
	OK(sr_users_open(&users, path, NULL, &w->err));
	add_user(w, users, "ada", true);
	add_user(w, users, "grace", false);
	sr_users_close(users);
}

static void configure(struct world *w, unsigned port)
{
	char *text = sr_format("Datastore=127.0.0.1:%2$u\nExternal-Addr=127.0.0.1:1\nDatastore-Listen-Address=127.0.0.1\nSync-Listen-Address=127.0.0.1\n"
			       "Datastore-Port=0\nSync-Port=0\nDatastore-Insecure-Disable-TLS=true\nInsecure-Disable-HTTPS=true\nControl-Auth-File=%1$s/auth\n"
			       "Datastore-State-Directory=%1$s/ds-state\nDatastore-User-DB-Path=%1$s/ds-users.db\nDatastore-Web-Store-Path=%1$s/ds-web.db\n"
			       "Datastore-Resource-Store=%1$s/ds-resources\nState-Directory=%1$s/state\nUser-DB-Path=%1$s/users.db\nWeb-Store-Path=%1$s/web.db\n"
			       "Webserver-Resource-Store=%1$s/resources\nLb-Recognition-Period=0\nShutdown-Timeout=1\n",
			       w->dir, port);
	FILE *in = fmemopen(text, strlen(text), "r");

	sr_config_free(w->config);
	w->config = NULL;
	OK(sr_config_parse(&w->config, in, "test", &w->err));
	fclose(in);
	free(text);
}

static void *run_rounds(void *ctx)
{
	sr_sync_daemon_run(ctx);
	return NULL;
}

static int begin(void **state)
{
	struct world *w = sr_alloc(sizeof *w);
	char *path;

	sr_log_setup("test_rights", SR_LOG_ERROR, false);
	OK(sr_file_tmp_dir(&w->dir, "sameroot-rights", &w->err));
	path = sr_format("%s/users.db", w->dir);
	make_users(w, path);
	free(path);
	configure(w, 1); /* nobody is there: a webserver serves all the same */
	w->shutdown[0] = sr_shutdown_new(w->config, "datastore");
	w->shutdown[1] = sr_shutdown_new(w->config, "webserver");
	OK(sr_datastore_open(&w->datastore, w->config, &w->err));
	sr_datastore_set_shutdown(w->datastore, w->shutdown[0]);
	OK(sr_datastore_tick(w->datastore, &w->err)); /* it founds its history, and then there is content */
	path = sr_format("%s/ds-users.db", w->dir);
	make_users(w, path);
	free(path);
	OK(sr_datastore_listen(w->datastore, &w->err));
	OK(sr_datastore_start(w->datastore, &w->err));
	OK(sr_sync_daemon_open(&w->webserver, w->config, "test", w->shutdown[1], &w->err));
	assert_int_equal(pthread_create(&w->rounds, NULL, run_rounds, w->webserver), 0);
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;
	char *remove = sr_format("rm -rf '%s'", w->dir);

	for (size_t i = 0; i < 2; i++)
		sr_shutdown_begin(w->shutdown[i], "the test's end");
	pthread_join(w->rounds, NULL);
	sr_sync_daemon_close(w->webserver);
	sr_datastore_close(w->datastore);
	for (size_t i = 0; i < 2; i++)
		sr_shutdown_free(w->shutdown[i]);
	sr_config_free(w->config);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(w->dir);
	free(w);
	return 0;
}

/* --- asking ---------------------------------------------------------------------------------------------------------------------- */

struct node {
	struct world *w;
	int which; /* DATASTORE, WEBSERVER */
	struct sr_server *server;
	struct sr_client *as[CREDENTIALS];
	bool seen[LINES];
	unsigned asked;
};

static void open_node(struct node *n, struct world *w, int which)
{
	const struct sr_admit *ours = which == DATASTORE ? &w->datastore->admit : &w->webserver->admit;
	const struct sr_admit *other = which == DATASTORE ? &w->webserver->admit : &w->datastore->admit;
	const struct sr_client_options as[CREDENTIALS] = {
		[WRONG] = {.bearer = "a-wrong-secret-that-is-as-long-as-a-right-one"},
		[TOKEN_OF_ANOTHER] = {.bearer = other->admin},
		[USER] = {.basic = "grace:a good password"},
		[CONTROL_AUTH] = {.bearer = ours->control.at[0]},
		[ADMIN] = {.basic = "ada:a good password"},
		[TOKEN] = {.bearer = ours->admin},
	};
	char *url;

	*n = (struct node){.w = w, .which = which, .server = which == DATASTORE ? w->datastore->server : w->webserver->server};
	url = sr_format("http://%s", sr_server_address(n->server));
	for (size_t c = 0; c < CREDENTIALS; c++) {
		struct sr_client_options o = as[c];

		o.url = url;
		OK(sr_client_new(&n->as[c], &o, &w->err));
	}
	free(url);
}

static void close_node(struct node *n)
{
	for (size_t c = 0; c < CREDENTIALS; c++)
		sr_client_free(n->as[c]);
}

/* With something in place of each {}. */
static char *target_of(const char *path)
{
	struct sr_buf out = {0};
	char *text;

	for (; *path; path++)
		if (*path == '{')
			sr_buf_byte(&out, 'x');
		else if (*path != '}')
			sr_buf_byte(&out, (uint8_t)*path);
	text = sr_text(sr_buf_view(&out));
	sr_buf_free(&out);
	return text;
}

static int ask(struct node *n, enum credential as, const char *method, const char *target)
{
	struct sr_call call = {.method = method, .target = target};
	struct sr_answer answer = {0};
	struct sr_err err;
	int status;

	(void)!sr_client_call(n->as[as], &call, &answer, &err);
	status = answer.status;
	sr_answer_free(&answer);
	n->asked++;
	return status;
}

/* 401, 403, or 0: anything else. */
static int refusal(enum who who, enum credential as)
{
	static const int by[][CREDENTIALS] = {
		/*               NONE WRONG OTHER USER CONTROL ADMIN TOKEN */
		[ANYONE] =      {0,   0,    0,    0,   0,      0,    0},
		[USERS] =       {401, 401,  401,  0,   0,      0,    0},
		[MACHINES] =    {401, 401,  401,  403, 0,      0,    0},
		[CHECKED_IN] =  {401, 401,  401,  401, 0,      401,  0},
		[ADMINS] =      {401, 401,  401,  403, 403,    0,    0},
	};

	return by[who][as];
}

static void try_line(struct node *n, const struct line *l)
{
	char *target = target_of(l->path);

	for (enum credential as = NONE; as < CREDENTIALS; as++) {
		int status = ask(n, as, l->methods, target), wanted = refusal(l->who, as);

		if (!status || (status == 401 || status == 403 ? status : 0) != wanted)
			fail_msg("%s %s of a %s, by %s: %d, not %d", l->methods, l->path, n->which == DATASTORE ? "datastore" : "webserver", called[as], status,
				 wanted);
	}
	free(target);
}

static void find_line(void *ctx, const struct sr_route *route)
{
	struct node *n = ctx;
	bool found = false;

	for (size_t i = 0; i < LINES; i++)
		if (table[i].of & n->which && strcmp(table[i].path, route->path) == 0 && strcmp(table[i].methods, route->methods) == 0)
			found = n->seen[i] = true;
	if (!found)
		fail_msg("%s %s of a %s is new: who may ask for it?  Say it in the table of this test", route->methods, route->path,
			 n->which == DATASTORE ? "datastore" : "webserver");
}

static void each_route_by_each_credential(struct world *w, int which)
{
	struct node n;

	open_node(&n, w, which);
	sr_server_each_route(n.server, find_line, &n);
	for (size_t i = 0; i < LINES; i++)
		if (table[i].of & which && !n.seen[i])
			fail_msg("%s %s is in the table, and not served", table[i].methods, table[i].path);
	for (size_t i = 0; i < LINES; i++)
		if (table[i].of & which)
			try_line(&n, &table[i]);
	assert_true(n.asked >= 7 * 30);
	close_node(&n);
}

static void test_datastore(void **state)
{
	each_route_by_each_credential(*state, DATASTORE);
}

static void test_webserver(void **state)
{
	each_route_by_each_credential(*state, WEBSERVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_datastore, begin, end),
					   cmocka_unit_test_setup_teardown(test_webserver, begin, end)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
