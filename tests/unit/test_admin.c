/* The commands of `sameroot` as far as they need no daemon: addresses, tables, judging a status, differences, and what is told from state.db alone. */
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/admin/admin.h"
#include "lib/admin/diff.h"
#include "lib/admin/progress_line.h"
#include "lib/admin/status.h"
#include "lib/admin/table.h"
#include "lib/base/log.h"
#include "lib/replica/address.h"
#include "lib/replica/replica.h"
#include "lib/replica/waiting.h"
#include "lib/state/secret.h"

/* --- a place to be ---------------------------------------------------------------------------------------------------- */

struct place {
	char dir[64];
	struct sr_config *config;
	char *out, *notes; /* what a command wrote */
	int status;
	struct sr_err err;
};

static int start(void **state)
{
	struct place *p = sr_alloc(sizeof *p);

	strcpy(p->dir, "/tmp/sameroot-admin-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	*state = p;
	return 0;
}

static int finish(void **state)
{
	struct place *p = *state;
	char *command = sr_format("rm -rf %s", p->dir);

	assert_int_equal(system(command), 0);
	free(command);
	sr_config_free(p->config);
	free(p->out);
	free(p->notes);
	free(p);
	return 0;
}

static void configure(struct place *p, bool webserver)
{
	char *text = sr_format("%sDatastore-Insecure-Disable-TLS=true\nInsecure-Disable-HTTPS=true\nSync-Port=0\nDatastore-Port=0\n"
	                       "State-Directory=%s/state\nDatastore-State-Directory=%s/dstate\n"
	                       "User-DB-Path=%s/users.db\nWeb-Store-Path=%s/webstore.db\nWebserver-Resource-Store=%s/resources\n"
	                       "Control-Auth=0123456789abcdef0123456789abcdef\n",
	                       webserver ? "Datastore=127.0.0.1:1\nExternal-Addr=web1:80\n" : "", p->dir, p->dir, p->dir, p->dir, p->dir);
	FILE *in = fmemopen(text, strlen(text), "r");
	struct sr_err err;

	assert_int_equal(sr_config_parse(&p->config, in, "test", &err), SR_OK);
	fclose(in);
	free(text);
}

/* A state directory in which a daemon has run. */
static void make_token(const struct place *p, const char *name)
{
	char *path = sr_format("%s/%s/admin-token", p->dir, name);
	struct sr_err err;

	assert_int_equal(sr_secret_ensure(path, NULL, &err), SR_OK);
	free(path);
}

static enum sr_status run(struct place *p, sr_admin_command *command, struct sr_admin a)
{
	size_t n, m;
	enum sr_status rc;

	free(p->out);
	free(p->notes);
	a.config = p->config;
	a.out = open_memstream(&p->out, &n);
	a.notes = open_memstream(&p->notes, &m);
	p->status = -1;
	memset(&p->err, 0, sizeof p->err);
	rc = command(&a, &p->status, &p->err);
	fclose(a.out);
	fclose(a.notes);
	return rc;
}

/* --- address ------------------------------------------------------------------------------------------------------------ */

static void expect_address(const char *dir, bool tls, const char *listening, const char *url)
{
	struct sr_err err;
	char *got = NULL;

	assert_int_equal(sr_address_write(dir, tls, listening, &err), SR_OK);
	assert_int_equal(sr_address_read(dir, &got, &err), SR_OK);
	assert_string_equal(got, url);
	free(got);
}

static void an_address_is_read_as_it_was_written(void **state)
{
	const struct place *p = *state;
	char *path = sr_format("%s/" SR_ADDRESS_FILE, p->dir), *got = NULL;
	struct sr_err err;
	struct stat st;

	assert_int_equal(sr_address_read(p->dir, &got, &err), SR_E_NOINPUT);
	expect_address(p->dir, false, "127.0.0.1:9405", "http://127.0.0.1:9405");
	expect_address(p->dir, true, "[fe80::1]:9406", "https://[fe80::1]:9406");
	/* nobody can call "all interfaces" */
	expect_address(p->dir, true, "[::]:9406", "https://127.0.0.1:9406");
	expect_address(p->dir, false, "0.0.0.0:80", "http://127.0.0.1:80");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	sr_address_remove(p->dir);
	assert_int_equal(sr_address_read(p->dir, &got, &err), SR_E_NOINPUT);
	sr_address_remove(p->dir);
	assert_int_equal(sr_address_write(p->dir, true, "nowhere", &err), SR_E_INTERNAL);
	free(path);
}

static void a_file_that_holds_no_address_is_refused(void **state)
{
	static const char *const bad[] = {"", "\n", "127.0.0.1:80\n", "http://127.0.0.1\n", "http://:80\n", "ftp://h:80\n", "http://h:80/path\n", "http://h:80\nmore\n",
	                                  "http://a@h:80\n", "http://h:80x\n"};
	const struct place *p = *state;
	char *path = sr_format("%s/" SR_ADDRESS_FILE, p->dir), *got = NULL;
	struct sr_err err;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		FILE *f = fopen(path, "w");

		fputs(bad[i], f);
		fclose(f);
		assert_int_equal(sr_address_read(p->dir, &got, &err), SR_E_DATA);
	}
	free(path);
}

/* --- tables ---------------------------------------------------------------------------------------------------------------- */

static void columns_are_aligned_and_say_nothing_to_the_terminal(void **state)
{
	struct sr_table t;
	char *text, when[SR_WHEN_TEXT];
	size_t n;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	sr_table_start(&t, "lrl");
	for (const char *const *c = (const char *const[]){"a", "1", "x\033[2Jy", "\xc3\xa4\xc3\xb6", "1000", "", "last", NULL}; *c; c++)
		sr_table_add(&t, "%s", *c);
	sr_table_print(&t, out, "> ");
	sr_table_start(&t, "ll");
	sr_table_print(&t, out, "> ");
	fclose(out);
	assert_string_equal(text, "> a        1  x?[2Jy\n> \xc3\xa4\xc3\xb6    1000  \n> last\n");
	free(text);
	sr_when_text(when, 1795332173165);
	assert_string_equal(when, "2026-11-22T07:22:53Z");
	sr_when_text(when, 0);
	assert_string_equal(when, "-");
}

/* --- status ------------------------------------------------------------------------------------------------------------------ */

static int judge(const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	int status;

	assert_non_null(o);
	status = sr_status_judge(o);
	json_decref(o);
	return status;
}

static void a_status_is_judged(void **state)
{
	(void)state;
	/* a webserver */
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"trouble\":null,\"stores\":[{\"state\":\"ready\",\"skipped\":0,\"trouble\":null}]}"), 0);
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"stores\":[{\"state\":\"union\"},{\"state\":\"new\"}]}"), 0);
	assert_int_equal(judge("{\"role\":\"webserver\",\"stores\":[]}"), 1); /* no round yet */
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"stores\":[{\"state\":\"ready\"},{\"state\":\"paused\"}]}"), 1);
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"stores\":[{\"state\":\"ready\",\"skipped\":1}]}"), 1);
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"stores\":[{\"state\":\"ready\",\"trouble\":\"disk\"}]}"), 1);
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"trouble\":\"held: ...\",\"trouble_code\":\"held\"}"), 1);
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"trouble\":\"refused\",\"trouble_code\":\"unavailable\"}"), 75);
	assert_int_equal(judge("{\"role\":\"webserver\",\"rounds\":3,\"trouble\":\"refused\",\"trouble_code\":\"unavailable\",\"stores\":[{\"state\":\"paused\"}]}"), 1);
	/* the datastore */
	assert_int_equal(judge("{\"role\":\"datastore\",\"ready\":true,\"stores\":[{\"mode\":\"ready\"}],\"webservers\":[{\"history\":\"known\"}]}"), 0);
	assert_int_equal(judge("{\"role\":\"datastore\",\"ready\":false,\"stores\":[]}"), 1);
	assert_int_equal(judge("{\"role\":\"datastore\",\"ready\":true,\"stores\":[{\"mode\":\"paused\"}]}"), 1);
	assert_int_equal(judge("{\"role\":\"datastore\",\"ready\":true,\"webservers\":[{\"history\":\"known\"},{\"history\":\"fork\"}]}"), 1);
	/* nobody there */
	assert_int_equal(judge("{\"role\":\"datastore\",\"running\":false,\"stores\":[]}"), 75);
}

static void a_status_says_what_is_held_and_what_to_do(void **state)
{
	json_t *o = json_pack("{s:s, s:i, s:b, s:s, s:I, s:[{s:s, s:s, s:s, s:s, s:I, s:i, s:[{s:s, s:s}]}], s:i}", "role", "webserver", "rounds", 1, "in_sync", 0,
	                      "trouble", "held: the history is foreign", "trouble_since_ms", (json_int_t)1795332100000, "stores", "name", "users.db", "kind", "sqlite", "state",
	                      "paused", "why", "lost: nothing is there", "since_ms", (json_int_t)1795332173165, "unknown_count", 7, "unknown", "path", "users.db/t", "why",
	                      "no key", "conflicts", 2);
	json_t *waiting = sr_waiting_new(),
	       *held = json_pack("[{s:s, s:s, s:i, s:i, s:I}]", "table", "history", "way", "push", "deletions", 12, "leaves", 20, "since_ms", (json_int_t)1795332174000);
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	assert_non_null(o);
	sr_waiting_hold(waiting, SR_ROLE_WEBSERVER, "round", "held: the datastore's history is foreign", 1795332100000);
	sr_waiting_deletions(waiting, "webstore.db", held);
	sr_waiting_pause(waiting, SR_ROLE_WEBSERVER, "users.db", "lost: nothing is there", 1795332173165);
	json_object_set_new(o, "status", waiting);
	json_decref(held);
	sr_status_show(o, 1795332180000, out);
	fclose(out);
	for (const char *const *want = (const char *const[]){"held: the history is foreign", "since 2026-11-22T07:21:40Z;", "since 2026-11-22T07:22:53Z\n", "in sync       no\n", "lost: nothing is there",
	                                                      "put it back where it was",
	                                                      "sameroot-restore webserver --from-datastore --store users.db", "adopt --mirror", "webstore.db  table history: 12 of 20 rows would be deleted everywhere", "adopt --deletions", "adopt --mirror --store webstore.db", "7 paths are not synchronised", "users.db/t", "\n  and 6 more\n", "sameroot conflicts list", NULL};
	     *want; want++)
		if (!strstr(text, *want))
			fail_msg("\"%s\" is missing in:\n%s", *want, text);
	json_decref(o);
	free(text);
}

static void a_datastore_shows_what_its_webservers_told(void **state)
{
	json_t *o = json_pack("{s:s, s:b, s:[{s:s, s:s}, {s:s, s:s}]}", "role", "datastore", "ready", 1, "webservers", "name", "web1", "history", "foreign", "name", "web2", "history", "known"),
	       *waiting = sr_waiting_new();
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	json_object_del(json_array_get(json_object_get(o, "webservers"), 0), "history");
	assert_int_equal(sr_status_judge(o), 0);
	sr_waiting_pause(waiting, SR_ROLE_WEBSERVER, "resources", "corrupt: \033[2Jno", 0);
	json_object_set_new(json_array_get(json_object_get(o, "webservers"), 1), "status", waiting);
	assert_int_equal(sr_status_judge(o), 1);
	json_object_set_new(json_array_get(json_object_get(o, "webservers"), 0), "history", json_string("foreign"));
	sr_status_show(o, 1795332180000, out);
	fclose(out);
	for (const char *const *want = (const char *const[]){"web1             held: its history is foreign to this datastore", "`sameroot adopt --union` on the datastore", "web2: resources  corrupt: ?[2Jno", "--store resources", NULL};
	     *want; want++)
		if (!strstr(text, *want))
			fail_msg("\"%s\" is missing in:\n%s", *want, text);
	json_decref(o);
	free(text);
}

static size_t length_of(const json_t *o)
{
	return json_dumpb(o, NULL, 0, JSON_COMPACT);
}

static json_t *waiting_of(unsigned held, unsigned paused)
{
	json_t *o = sr_waiting_new();

	for (unsigned k = 0; k < held; k++)
		sr_waiting_hold(o, SR_ROLE_WEBSERVER, "round", "held: the datastore's history is foreign", 1);
	for (unsigned k = 0; k < paused; k++)
		sr_waiting_pause(o, SR_ROLE_WEBSERVER, "resources", "corrupt: \"quoted\"", 1);
	return o;
}

/* Who tells more than the registry keeps would be refused. */
static void what_waits_is_told_as_far_as_there_is_room(void **state)
{
	json_t *few = waiting_of(1, 1), *same = json_deep_copy(few), *many = waiting_of(64, 64), *most = waiting_of(64, 64), *paused;
	size_t n, room = length_of(many) * 3 / 4;

	(void)state;
	sr_waiting_fit(few, length_of(few));
	assert_true(json_equal(few, same));
	sr_waiting_fit(many, room);
	assert_in_range(length_of(many), room - 1000, room);
	assert_int_equal(json_array_size(json_object_get(many, "held")), 64);
	paused = json_object_get(many, "paused");
	n = json_array_size(paused);
	assert_int_equal(strtoul(json_string_value(json_object_get(json_array_get(paused, n - 1), "why")), NULL, 10), 64 - (n - 1));
	sr_waiting_fit(most, 2000); /* it is still known that something is held, and what */
	assert_true(length_of(most) <= 2000);
	assert_in_range(json_array_size(json_object_get(most, "held")), 1, 63);
	assert_int_equal(json_array_size(json_object_get(most, "paused")), 1);
	json_decref(most);
	json_decref(few);
	json_decref(same);
	json_decref(many);
}

static void each_reason_has_its_command(void **state)
{
	static const struct {
		enum sr_role role;
		const char *why, *command;
	} cases[] = {
		{SR_ROLE_WEBSERVER, "lost: nothing is there", "sameroot-restore webserver --from-datastore --store s"},
		{SR_ROLE_DATASTORE, "lost: nothing is there", "sameroot-restore datastore --from https://WEBSERVER:9406 --store s"},
		{SR_ROLE_WEBSERVER, "corrupt: database disk image is malformed", "sameroot-restore webserver --from-datastore --store s"},
		{SR_ROLE_DATASTORE, "its marker has no place: table main._sameroot_meta has no column named key", "DROP TABLE"},
		{SR_ROLE_WEBSERVER, "cannot be looked at: /srv: Permission denied", "owner"},
		{SR_ROLE_WEBSERVER, "held: the datastore's history is ahead: it is at", "sameroot adopt --mirror` on the webserver"},
		{SR_ROLE_DATASTORE, "held: its history is fork to this datastore", "sameroot adopt --union` on the datastore"},
		{SR_ROLE_WEBSERVER, "1 item that differs is left alone: users.db/t: its schema was changed elsewhere: it waits", "upgrade the application"},
		{SR_ROLE_WEBSERVER, "1 item that differs is left alone: it is paused at the datastore", "sameroot status` on the datastore"},
		{SR_ROLE_WEBSERVER, "the conflict archive is full", "sameroot conflicts remove"},
		{SR_ROLE_DATASTORE, "held: 5 of 6 leaves were deleted directly", "with sameroot-datastore stopped, `sameroot-restore datastore --from https://WEBSERVER:9406 --store s`"},
		{SR_ROLE_DATASTORE, "held: 5 of 6 leaves were deleted directly", "`sameroot adopt --deletions` lets them through, and what went then is kept nowhere"},
		{SR_ROLE_WEBSERVER, "3 items that differ are left alone: users.db/t: it is gone at the datastore", "sameroot adopt --union` on the datastore"},
		{SR_ROLE_WEBSERVER, "1 item that differs is left alone: users.db/t: it is gone here", "make the table again (the application does at its start), and its rows come back"},
		{SR_ROLE_WEBSERVER, "1 item that differs is left alone: it is of another kind at the datastore", "Kind="},
		{SR_ROLE_WEBSERVER, "store users.db: write: No space left on device", "make room"},
		{SR_ROLE_WEBSERVER, "the server at d does not hold this cluster's Control-Auth: it is an impostor; no secret was sent to it", "copy control-auth from a webserver there"},
		{SR_ROLE_WEBSERVER, "what it answers to /api/hello is not Sameroot's; no secret was sent to it", "sameroot join LINE"},
		{SR_ROLE_WEBSERVER, "check-in: the secret is wrong: it is not this node's Control-Auth", "copy control-auth from a webserver there"},
		{SR_ROLE_WEBSERVER, "run `sameroot join --new-key` on this webserver", "sameroot join --new-key --yes"},
		{SR_ROLE_WEBSERVER, "something new", "see to what the reason names"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text = sr_remedy(cases[i].role, cases[i].why, "s");

		if (!strstr(text, cases[i].command))
			fail_msg("%s: %s", cases[i].why, text);
		free(text);
	}
}

/* --- differences ---------------------------------------------------------------------------------------------------------------- */

struct item {
	const char *path; /* '/' for the NUL between parts */
	struct sr_version to;
};

static struct sr_version file(struct sr_nodes *nodes, const char *content)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = strlen(content)};

	sr_hash_of(&v.hash, sr_nodes_key(nodes), sr_bytes_of(content));
	return v;
}

/* The entry of a store that holds these, in rising order. */
static struct sr_entry store(struct sr_nodes *nodes, const char *name, uint8_t kind, const struct item *items, size_t n)
{
	struct sr_entry e = {.name = sr_bytes_of(name), .kind = kind};
	struct sr_edit *edits = sr_alloc((n + 1) * sizeof *edits);
	char *paths[8];
	struct sr_hash empty;
	struct sr_err err;

	sr_store_empty(nodes, kind, &empty);
	for (size_t i = 0; i < n; i++) {
		paths[i] = sr_strdup(items[i].path);
		edits[i] = (struct sr_edit){.path = sr_bytes(paths[i], strlen(paths[i])), .to = items[i].to};
		for (char *at = paths[i]; (at = strchr(at, '/'));)
			*at = '\0';
	}
	assert_int_equal(sr_store_edit(nodes, kind, &empty, edits, n, &e.hash, &err), SR_OK);
	assert_int_equal(sr_map_counts(nodes, &e.hash, &e.leaves, &e.bytes), SR_OK);
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
	free(edits);
	return e;
}

static struct sr_hash root(struct sr_nodes *nodes, struct sr_entry *stores, size_t n)
{
	struct sr_entry top;

	sr_map_build(nodes, sr_bytes(NULL, 0), stores, n, &top);
	return top.hash;
}

static void differences_name_every_path_and_no_other(void **state)
{
	static const char *const want[] = {"empty|files|none", "files/a|file|file", "files/dir|dir|none", "files/dir/b%20b|file|none", "files/z|none|file", "kinds|files|sqlite",
	                                   "there/only|none|file"};
	static const char *const words[] = {"none", "file", "dir", "row", "table", "files", "sqlite"};
	struct sr_tree_key key;
	uint8_t secret[SR_KEY_LEN] = {1};
	struct sr_nodes *nodes;
	struct sr_hash here, there;
	struct sr_differences d = {0};
	struct sr_err err;
	char *text;
	size_t n;
	FILE *out;

	(void)state;
	sr_tree_key_set(&key, secret);
	nodes = sr_nodes_new(&key);
	{
		struct sr_version dir = {.kind = SR_KIND_DIR, .mode = 0755};
		struct item mine[] = {{"a", file(nodes, "1")}, {"dir", dir}, {"dir/b b", file(nodes, "2")}, {"same", file(nodes, "s")}};
		struct item theirs[] = {{"a", file(nodes, "other")}, {"same", file(nodes, "s")}, {"z", file(nodes, "3")}};
		struct item only[] = {{"only", file(nodes, "x")}};
		struct sr_entry h[] = {store(nodes, "files", SR_KIND_FILES, mine, 4), store(nodes, "kinds", SR_KIND_FILES, NULL, 0), store(nodes, "empty", SR_KIND_FILES, NULL, 0)};
		struct sr_entry t[] = {store(nodes, "files", SR_KIND_FILES, theirs, 3), store(nodes, "kinds", SR_KIND_DATABASE, NULL, 0), store(nodes, "there", SR_KIND_FILES, only, 1)};

		here = root(nodes, h, 3);
		there = root(nodes, t, 3);
	}
	assert_int_equal(sr_differences_find(nodes, &here, &there, NULL, NULL, &d, &err), SR_OK);
	assert_int_equal(d.n, sizeof want / sizeof *want);
	for (size_t i = 0; i < d.n; i++) {
		text = sr_format("%s|%s|%s", d.at[i].path, words[d.at[i].here.kind], words[d.at[i].there.kind]);
		assert_string_equal(text, want[i]);
		free(text);
	}
	out = open_memstream(&text, &n);
	sr_differences_show(&d, out);
	fclose(out);
	assert_non_null(strstr(text, "differs                files/a          file 0644, 1 bytes  file 0644, 5 bytes\n"));
	assert_non_null(strstr(text, "only here              files/dir        dir 0755"));
	assert_non_null(strstr(text, "only at the datastore  files/z"));
	free(text);
	out = open_memstream(&text, &n);
	sr_differences_json(&d, out);
	fclose(out);
	{
		json_t *list = json_loads(text, 0, NULL), *first = json_array_get(list, 1), *last = json_array_get(list, 4);

		assert_int_equal(json_array_size(list), d.n);
		assert_int_equal(json_object_size(first), 3);
		assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "there"), "bytes")), 5);
		assert_true(json_is_null(json_object_get(last, "here")));
		json_decref(list);
	}
	free(text);
	sr_differences_free(&d);
	assert_int_equal(sr_differences_find(nodes, &here, &here, NULL, NULL, &d, &err), SR_OK);
	assert_int_equal(d.n, 0);
	sr_nodes_free(nodes);
}

/* --- commands without a daemon ------------------------------------------------------------------------------------------------------ */

static void where_nothing_ever_ran_nothing_is_made(void **state)
{
	struct place *p = *state;
	char *path = sr_format("%s/state", p->dir);

	configure(p, true);
	for (sr_admin_command *const *c = (sr_admin_command *const[]){sr_admin_status, sr_admin_ls, sr_admin_diff, sr_admin_conflicts_list, NULL}; *c; c++) {
		assert_int_equal(run(p, *c, (struct sr_admin){0}), SR_E_UNAVAILABLE);
		assert_non_null(strstr(p->err.text, "is not running, and never ran"));
		assert_string_equal(p->out, "");
	}
	assert_int_equal(access(path, F_OK), -1);
	free(path);
}

/* A webserver that has run: one file, and a conflict. */
static void make_node(struct place *p)
{
	struct sr_replica *r;
	struct sr_err err;
	uint8_t secret[SR_KEY_LEN] = {7};
	char *path = sr_format("%s/resources", p->dir), *name = sr_format("%s/a b", path);
	struct sr_loser loser = {.store = "resources", .store_kind = SR_KIND_FILES, .path = sr_bytes_of("gone"), .version = {.kind = SR_KIND_DIR, .mode = 0755}, .reason = "kind"};
	FILE *f;

	make_token(p, "state");
	assert_int_equal(mkdir(path, 0755), 0);
	f = fopen(name, "w");
	fputs("text", f);
	fclose(f);
	assert_int_equal(chmod(name, 0640), 0);
	assert_int_equal(sr_replica_open(&r, p->config, SR_ROLE_WEBSERVER, &err), SR_OK);
	assert_int_equal(sr_replica_start(r, secret, &err), SR_OK);
	sr_replica_look(r);
	for (size_t i = 0; i < r->n; i++)
		if (r->stores[i].mode == SR_MODE_READY)
			assert_int_equal(sr_replica_scan(r, i, true, NULL, NULL, &err), SR_OK);
	sr_replica_unview(r);
	assert_int_equal(sr_archive_bare(r->archive, &loser, &err), SR_OK);
	sr_replica_close(r);
	free(path);
	free(name);
}

static void without_a_daemon_state_db_is_told(void **state)
{
	struct place *p = *state;
	json_t *o, *s;

	configure(p, true);
	make_node(p);
	assert_int_equal(run(p, sr_admin_status, (struct sr_admin){.json = true}), SR_OK);
	assert_int_equal(p->status, 75);
	assert_non_null(strstr(p->notes, "the sync daemon is not running"));
	o = json_loads(p->out, 0, NULL);
	assert_true(json_is_false(json_object_get(o, "running")));
	s = json_array_get(json_object_get(o, "stores"), SR_STORE_RESOURCES);
	assert_int_equal(json_integer_value(json_object_get(s, "leaves")), 1);
	assert_int_equal(json_integer_value(json_object_get(s, "bytes")), 4);
	json_decref(o);

	assert_int_equal(run(p, sr_admin_ls, (struct sr_admin){.path = "resources/"}), SR_OK);
	assert_string_equal(p->out, "file  0640  1  4  resources/a%20b\n");
	assert_int_equal(run(p, sr_admin_ls, (struct sr_admin){.path = "resources/a%20b"}), SR_OK);
	assert_string_equal(p->out, "file  0640  1  4  resources/a%20b\n");
	assert_int_equal(run(p, sr_admin_ls, (struct sr_admin){.path = "resources/nothing"}), SR_E_NOTFOUND);
	assert_int_equal(run(p, sr_admin_ls, (struct sr_admin){.json = true}), SR_OK);
	o = json_loads(p->out, 0, NULL);
	assert_int_equal(json_array_size(o), 3);
	json_decref(o);

	/* there is no datastore to compare with */
	assert_int_equal(run(p, sr_admin_diff, (struct sr_admin){0}), SR_E_UNAVAILABLE);
	assert_non_null(strstr(p->err.text, "the datastore's tree"));
}

static void conflicts_have_just_the_fields_that_are_promised(void **state)
{
	static const char *const names[] = {"id", "store", "path", "when", "reason", "kind", "size"};
	struct place *p = *state;
	json_t *list, *o;
	const char *key;
	json_t *value;
	size_t i = 0;

	configure(p, true);
	make_node(p);
	assert_int_equal(run(p, sr_admin_conflicts_list, (struct sr_admin){.json = true}), SR_OK);
	assert_int_equal(p->status, 0);
	list = json_loads(p->out, 0, NULL);
	assert_int_equal(json_array_size(list), 1);
	o = json_array_get(list, 0);
	assert_int_equal(json_object_size(o), 7);
	json_object_foreach (o, key, value)
		assert_string_equal(key, names[i++]);
	assert_string_equal(json_string_value(json_object_get(o, "path")), "resources/gone");
	json_decref(list);
	assert_int_equal(run(p, sr_admin_conflicts_list, (struct sr_admin){0}), SR_OK);
	assert_non_null(strstr(p->out, "kind"));
	assert_non_null(strstr(p->out, "resources/gone\n"));
}

/* Looking must not tell the next round that these changes were seen. */
static void looking_changes_nothing(void **state)
{
	struct place *p = *state;
	char *name = sr_format("%s/resources/new", p->dir);
	FILE *f;

	configure(p, true);
	make_node(p);
	f = fopen(name, "w");
	fputs("more", f);
	fclose(f);
	assert_int_equal(run(p, sr_admin_diff, (struct sr_admin){0}), SR_E_UNAVAILABLE); /* scanned, then no datastore */
	assert_int_equal(run(p, sr_admin_ls, (struct sr_admin){.path = "resources"}), SR_OK);
	assert_string_equal(p->out, "file  0640  1  4  resources/a%20b\n");
	free(name);
}

static void adopt_is_asked_about_and_run_in_its_place(void **state)
{
	struct place *p = *state;

	configure(p, true);
	assert_int_equal(run(p, sr_admin_adopt, (struct sr_admin){.yes = true}), SR_E_USAGE);
	assert_non_null(strstr(p->err.text, "--union"));
	assert_int_equal(run(p, sr_admin_adopt, (struct sr_admin){.adopt_union = true, .yes = true}), SR_E_USAGE);
	assert_non_null(strstr(p->err.text, "run it on 127.0.0.1"));
	make_token(p, "dstate");
	assert_int_equal(run(p, sr_admin_adopt, (struct sr_admin){.adopt_union = true, .yes = true}), SR_E_UNAVAILABLE);
	assert_non_null(strstr(p->err.text, "start it first"));
}

static void says(const char *want, struct sr_progress p, int64_t ms)
{
	struct sr_buf text = {0};

	sr_progress_text(&text, &p, ms);
	assert_string_equal(sr_buf_text(&text), want);
	sr_buf_free(&text);
}

static void progress_says_how_far_how_fast_and_how_long(void **state)
{
	(void)state;
	says("scanning", (struct sr_progress){.what = "scanning"}, 5000);
	says("sending: 0 of 4 items, 0.0 of 8.0 MB, 0.0 MB/s", (struct sr_progress){.what = "sending", .leaves_total = 4, .bytes_total = 8000000}, 0);
	/* by what is further behind: a quarter of the items, half of the bytes */
	says("sending: 1 of 4 items, 4.0 of 8.0 MB, 0.4 MB/s, 0:30 left",
	     (struct sr_progress){.what = "sending", .leaves_done = 1, .leaves_total = 4, .bytes_done = 4000000, .bytes_total = 8000000}, 10000);
	says("fetching: 9 of 10 items, 1.0 of 1000.0 MB, 0.1 MB/s, 2:46:30 left",
	     (struct sr_progress){.what = "fetching", .leaves_done = 9, .leaves_total = 10, .bytes_done = 1000000, .bytes_total = 1000000000},
	     10000);
	says("sending: 4 of 4 items, waiting for the end", (struct sr_progress){.what = "sending", .leaves_done = 4, .leaves_total = 4}, 9000);
}

static void of_who_is_stale_it_is_told_what_it_was(void **state)
{
	json_t *runs = json_pack("{ss, ss}", "answer", "ALIVE", "state", "running"), *ends = json_pack("{ss, ss}", "answer", "DEAD", "state", "shutting down");
	const struct {
		const json_t *of;
		bool stale;
		const char *answer, *state;
	} rows[] = {{runs, false, "ALIVE", "running"},      {runs, true, "stale, was ALIVE", "was running"}, {ends, false, "DEAD", "shutting down"},
		    {ends, true, "stale, stopped", "stopped"}, {NULL, true, "stale, was -", "-"}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *answer = sr_balancer_heard(rows[i].of, rows[i].stale), *what = sr_balancer_state(rows[i].of, rows[i].stale);

		assert_string_equal(answer, rows[i].answer);
		assert_string_equal(what, rows[i].state);
		free(answer);
		free(what);
	}
	json_decref(runs);
	json_decref(ends);
}

static void progress_is_shown_to_people_only(void **state)
{
	int ends[2], terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_false(sr_progress_line_wanted(ends[1], false));
	if (terminal >= 0) { /* there may be none here */
		assert_true(sr_progress_line_wanted(terminal, false));
		assert_false(sr_progress_line_wanted(terminal, true));
		close(terminal);
	}
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_address_is_read_as_it_was_written, start, finish),
		cmocka_unit_test_setup_teardown(a_file_that_holds_no_address_is_refused, start, finish),
		cmocka_unit_test(columns_are_aligned_and_say_nothing_to_the_terminal),
		cmocka_unit_test(a_status_is_judged),
		cmocka_unit_test(of_who_is_stale_it_is_told_what_it_was),
		cmocka_unit_test(progress_says_how_far_how_fast_and_how_long),
		cmocka_unit_test(progress_is_shown_to_people_only),
		cmocka_unit_test(a_status_says_what_is_held_and_what_to_do),
		cmocka_unit_test(a_datastore_shows_what_its_webservers_told),
		cmocka_unit_test(what_waits_is_told_as_far_as_there_is_room),
		cmocka_unit_test(each_reason_has_its_command),
		cmocka_unit_test(differences_name_every_path_and_no_other),
		cmocka_unit_test_setup_teardown(where_nothing_ever_ran_nothing_is_made, start, finish),
		cmocka_unit_test_setup_teardown(without_a_daemon_state_db_is_told, start, finish),
		cmocka_unit_test_setup_teardown(conflicts_have_just_the_fields_that_are_promised, start, finish),
		cmocka_unit_test_setup_teardown(looking_changes_nothing, start, finish),
		cmocka_unit_test_setup_teardown(adopt_is_asked_about_and_run_in_its_place, start, finish),
	};

	sr_log_setup("test_admin", SR_LOG_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
