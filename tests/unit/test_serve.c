/* test_serve.c - a node's read side over real HTTP: nodes, listings, bundles, blobs, and who may ask. */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "http/client.h"
#include "http/server.h"
#include "lib/replica/admit.h"
#include "lib/replica/report.h"
#include "lib/replica/serve.h"
#include "lib/replica/wire.h"
#include "lib/state/secret.h"
#include "tests/unit/replica_world.h"

struct site { /* a world with a server and a client */
	struct world *w;
	struct sr_serve serve;
	struct sr_admit admit;
	struct sr_server *server;
	struct sr_client *client;
	struct sr_answer answer;
	atomic_bool ready;
	const char *kept; /* what `older` gives for a file or row */
	struct sr_err err;
};

/* --- the site -------------------------------------------------------------------------------------------------------- */

static bool is_ready(void *ctx, char why[256])
{
	struct site *t = ctx;

	snprintf(why, 256, "still looking");
	return atomic_load(&t->ready);
}

static enum sr_status older(void *ctx, size_t store, struct sr_bytes path, const struct sr_version *version, struct sr_buf *buf,
			    struct sr_content *out, struct sr_err *err)
{
	struct site *t = ctx;

	(void)store, (void)path;
	*out = (struct sr_content){.fd = -1, .version = *version, .mtime_ns = 1};
	if (!t->kept)
		return sr_err_set(err, SR_E_NOTFOUND, "nothing is kept");
	if (version->kind == SR_KIND_FILE) {
		out->fd = open(below(t->w, t->kept), O_RDONLY);
		return out->fd >= 0 ? SR_OK : SR_E_NOTFOUND;
	}
	sr_buf_clear(buf);
	sr_buf_bytes(buf, sr_bytes_of(t->kept));
	out->record = sr_buf_view(buf);
	return SR_OK;
}

static enum sr_status whoami(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)ctx, (void)err;
	sr_reply_text(req, 200, "an admin");
	return SR_OK;
}

static const struct sr_route admin_routes[] = {
	{"GET", "/admin", whoami, SR_ROUTE_ADMIN, 0},
	{"GET", "/open", whoami, SR_ROUTE_OPEN, 0},
};

static void start_server(struct site *t)
{
	struct world *w = t->w;
	struct sr_routes routes[2] = {{.ctx = &t->serve}, {.at = admin_routes, .n = 2, .ctx = t}};
	struct sr_server_options o = {.address = "127.0.0.1", .routes = routes, .routes_count = 2, .authorize = sr_admit_check,
				      .authorize_ctx = &t->admit};
	struct sr_client_options c = {.bearer = t->admit.control.at[0]};
	char *url;

	routes[0].at = sr_serve_routes(&routes[0].n);
	ok(sr_server_start(&t->server, &o, &w->err));
	url = sr_format("http://127.0.0.1:%u", sr_server_port(t->server));
	c.url = url;
	ok(sr_client_new(&t->client, &c, &w->err));
	free(url);
}

static int begin(void **state)
{
	struct site *t = sr_alloc(sizeof *t);
	struct world *w;
	void *inner = NULL;

	if (world_begin_full(&inner))
		return -1;
	w = t->w = inner;
	scan_all(w);
	ok(sr_secret_ensure(below(w, "control-auth"), NULL, &w->err));
	ok(sr_admit_open(&t->admit, w->config, below(w, "state"), NULL, &w->err));
	t->serve = (struct sr_serve){.replica = w->r, .ready = is_ready, .older = older, .ctx = t};
	atomic_store(&t->ready, true);
	start_server(t);
	*state = t;
	return 0;
}

static int end(void **state)
{
	struct site *t = *state;
	void *inner = t->w;

	sr_answer_free(&t->answer);
	sr_client_free(t->client);
	sr_server_stop(t->server, 1000);
	sr_admit_close(&t->admit);
	free(t);
	return world_end(&inner);
}

static int call(struct site *t, const char *method, const char *target, struct sr_bytes body, const char *header)
{
	const char *headers[2] = {header, NULL};
	struct sr_call c = {.method = method, .target = target, .body = body, .headers = header ? headers : NULL};

	sr_answer_free(&t->answer);
	t->err = (struct sr_err){0};
	if (sr_client_call(t->client, &c, &t->answer, &t->err) != SR_OK && !t->answer.status)
		fail_msg("%s %s: %s", method, target, t->err.text);
	return t->answer.status;
}

static int get(struct site *t, const char *target)
{
	return call(t, "GET", target, sr_bytes(NULL, 0), NULL);
}

static int post(struct site *t, const char *target, const struct sr_buf *body)
{
	return call(t, "POST", target, sr_buf_view(body), NULL);
}

static void body_is(struct site *t, const char *text)
{
	assert_true(sr_bytes_eq(sr_buf_view(&t->answer.body), sr_bytes_of(text)));
}

/* --- who may ask -------------------------------------------------------------------------------------------------------- */

static void secrets_are_asked_for(void **state)
{
	struct site *t = *state;

	assert_int_equal(get(t, "/api/tree/list"), 200);
	assert_int_equal(get(t, "/admin"), 403);
	sr_client_set_bearer(t->client, NULL);
	assert_int_equal(get(t, "/api/tree/list"), 401);
	assert_int_equal(get(t, "/admin"), 401);
	assert_int_equal(get(t, "/open"), 200);
	assert_int_equal(call(t, "GET", "/api/tree/list", sr_bytes(NULL, 0), "Authorization: Basic YTpi"), 401);
	sr_client_set_bearer(t->client, "wrong-wrong-wrong-wrong-wrong-wrong-wrong");
	assert_int_equal(get(t, "/api/tree/list"), 401);
	assert_null(strstr(t->err.text, "wrong-wrong")); /* what was sent is not told */
	sr_client_set_bearer(t->client, t->admit.admin);
	assert_int_equal(get(t, "/admin"), 200);
	assert_int_equal(get(t, "/api/tree/list"), 200);
	t->admit.control.at[0][strlen(t->admit.control.at[0]) - 1] ^= 1;
	sr_client_set_bearer(t->client, t->admit.control.at[0]); /* both have it */
	assert_int_equal(get(t, "/api/tree/list"), 200);
	t->admit.control.at[0][strlen(t->admit.control.at[0]) - 1] ^= 1;
	assert_int_equal(get(t, "/api/tree/list"), 401);
}

static void the_admin_token_is_made_once(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_admit again;
	struct stat st;

	assert_int_equal(stat(below(w, "state/" SR_ADMIN_TOKEN), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	ok(sr_admit_open(&again, w->config, below(w, "state"), NULL, &w->err));
	assert_string_equal(again.admin, t->admit.admin);
	assert_string_equal(again.control.at[0], t->admit.control.at[0]);
	assert_string_not_equal(again.admin, again.control.at[0]);
	sr_admit_close(&again);
	assert_null(again.admin);
	unlink(below(w, "control-auth"));
	assert_int_equal(sr_admit_open(&again, w->config, below(w, "state"), NULL, &w->err), SR_E_NOINPUT);
	assert_true(w->err.text[0]);
}

static void not_ready_is_said(void **state)
{
	static const char *const targets[] = {"/api/tree/node/00112233445566778899aabbccddeeff", "/api/tree/list", "/api/bundle",
					      "/api/blob/00112233445566778899aabbccddeeff"};
	struct site *t = *state;
	struct sr_buf pair = {0};

	atomic_store(&t->ready, false);
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
		assert_int_equal(get(t, targets[i]), 503);
		assert_non_null(strstr(t->err.text, "still looking"));
	}
	for (int i = 0; i < 32; i++)
		sr_buf_byte(&pair, 1);
	assert_int_equal(post(t, "/api/tree/nodes", &pair), 503);
	sr_buf_clear(&pair);
	assert_int_equal(post(t, "/api/bundle", &pair), 503);
	sr_buf_free(&pair);
}

static void without_a_key_there_is_nothing(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;

	w->r->keyed = false;
	assert_int_equal(get(t, "/api/tree/list"), 503);
	w->r->keyed = true;
}

/* --- nodes -------------------------------------------------------------------------------------------------------------- */

static void one_node(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	char hex[SR_HASH_TEXT], target[96];
	struct sr_bytes node;

	sr_hash_text(hex, &w->r->root);
	snprintf(target, sizeof target, "/api/tree/node/%s", hex);
	assert_int_equal(get(t, target), 200);
	assert_non_null(strstr(sr_answer_header(&t->answer, "Cache-Control"), "immutable"));
	assert_true(sr_nodes_get(w->r->nodes, &w->r->root, &node));
	assert_true(sr_bytes_eq(node, sr_buf_view(&t->answer.body)));
	assert_int_equal(get(t, "/api/tree/node/00112233445566778899aabbccddeeff"), 404);
	assert_int_equal(get(t, "/api/tree/node/0011"), 400);
	assert_int_equal(get(t, "/api/tree/node/zz112233445566778899aabbccddeeff"), 400);
}

static void put_frames(struct site *t, struct sr_nodes *nodes, size_t *n)
{
	struct world *w = t->w;
	struct sr_reader in = sr_reader(sr_buf_view(&t->answer.body));

	while (sr_read_left(&in)) {
		uint32_t len = sr_read_be32(&in);
		struct sr_bytes frame = sr_read_bytes(&in, len);
		struct sr_hash hash;

		assert_false(in.bad);
		assert_true(frame.len > SR_HASH_LEN);
		memcpy(hash.b, frame.at, SR_HASH_LEN);
		ok(sr_nodes_put(nodes, &hash, sr_bytes(frame.at + SR_HASH_LEN, frame.len - SR_HASH_LEN), &w->err));
		++*n;
	}
}

/* As a webserver does it.  How many nodes came; *trips. */
static size_t walk(struct site *t, struct sr_nodes *nodes, const struct sr_hash *mine, int *trips)
{
	static struct sr_pair pairs[SR_WALK_PAIRS];
	struct world *w = t->w;
	size_t n, came = 0;

	sr_nodes_hold(nodes, &w->r->root);
	for (*trips = 0;; ++*trips) {
		struct sr_buf body = {0};

		ok(sr_walk_missing(nodes, &w->r->root, mine, pairs, SR_WALK_PAIRS, &n, &w->err));
		if (!n)
			return came;
		assert_true(*trips < 50);
		for (size_t i = 0; i < n; i++) {
			sr_buf_add(&body, pairs[i].wanted.b, SR_HASH_LEN);
			sr_buf_add(&body, pairs[i].mine.b, SR_HASH_LEN);
		}
		assert_int_equal(post(t, "/api/tree/nodes", &body), 200);
		put_frames(t, nodes, &came);
		sr_buf_free(&body);
	}
}

static void fill_wide(struct world *w, int n)
{
	char name[64];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "res/img/%d", i);
		put(w, name, name);
	}
}

static void a_walk_from_nothing_and_from_a_close_tree(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_nodes *nodes = sr_nodes_new(&w->r->key);
	struct sr_hash none = {0}, old;
	uint64_t here, there, bytes;
	size_t came;
	int trips;

	fill_wide(w, 1500);
	sql(w, "users.db", "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) INSERT INTO users SELECT i, "
			   "'user ' || i FROM n");
	scan_all(w);
	came = walk(t, nodes, &none, &trips);
	sr_nodes_count(w->r->nodes, &here, &bytes);
	sr_nodes_sweep(nodes);
	sr_nodes_count(nodes, &there, &bytes);
	assert_int_equal(came, there);
	assert_true(came > 50 && there <= here);
	assert_true(bytes > SR_WALK_BYTES); /* more than one answer's worth */
	assert_true(trips > 1);

	old = w->r->root;
	sr_nodes_hold(w->r->nodes, &old); /* an older root that is still readable */
	put(w, "res/img/7", "changed");
	scan_all(w);
	came = walk(t, nodes, &old, &trips);
	assert_int_equal(trips, 1);
	assert_true(came >= 4 && came <= 6); /* root, resources, img: inner and bucket */
	assert_int_equal(walk(t, nodes, &old, &trips), 0);
	sr_nodes_free(nodes);
}

static void a_walk_that_asks_for_what_is_gone(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_hash old = w->r->root;
	struct sr_buf body = {0};
	uint8_t none[SR_HASH_LEN] = {0};

	put(w, "res/top", "changed");
	scan_all(w);
	sr_buf_add(&body, old.b, SR_HASH_LEN);
	sr_buf_add(&body, none, SR_HASH_LEN);
	assert_int_equal(post(t, "/api/tree/nodes", &body), 410);
	/* Behind one that is here it is not reached. */
	sr_buf_clear(&body);
	sr_buf_add(&body, w->r->root.b, SR_HASH_LEN);
	sr_buf_add(&body, none, SR_HASH_LEN);
	sr_buf_add(&body, old.b, SR_HASH_LEN);
	sr_buf_add(&body, none, SR_HASH_LEN);
	assert_int_equal(post(t, "/api/tree/nodes", &body), 200);
	assert_true(t->answer.body.len > 0);
	sr_buf_free(&body);
}

static void pairs_that_are_none(void **state)
{
	struct site *t = *state;
	struct sr_buf body = {0};

	assert_int_equal(post(t, "/api/tree/nodes", &body), 400);
	for (int i = 0; i < 31; i++)
		sr_buf_byte(&body, 1);
	assert_int_equal(post(t, "/api/tree/nodes", &body), 400);
	while (body.len < (SR_WALK_PAIRS + 1) * 32)
		sr_buf_byte(&body, 1);
	assert_int_equal(post(t, "/api/tree/nodes", &body), 413);
	sr_buf_free(&body);
}

/* --- listings ------------------------------------------------------------------------------------------------------------ */

static json_t *list(struct site *t, const char *path, const char *more)
{
	struct sr_buf target = {0};
	json_t *o;

	sr_buf_printf(&target, "/api/tree/list?path=");
	sr_percent(&target, sr_bytes_of(path), "/");
	sr_buf_printf(&target, "%s", more);
	if (get(t, sr_buf_text(&target)) != 200)
		fail_msg("%s: %s", sr_buf_text(&target), t->err.text);
	o = json_loadb((const char *)t->answer.body.at, t->answer.body.len, 0, NULL);
	assert_non_null(o);
	sr_buf_free(&target);
	return o;
}

static const json_t *entry(const json_t *o, size_t i)
{
	return json_array_get(json_object_get(o, "entries"), i);
}

static const char *text_of(const json_t *o, size_t i, const char *name)
{
	return json_string_value(json_object_get(entry(o, i), name));
}

static int64_t number_of(const json_t *o, size_t i, const char *name)
{
	return json_integer_value(json_object_get(entry(o, i), name));
}

static void listings_of_every_level(void **state)
{
	struct site *t = *state;
	json_t *o = list(t, "", "");

	assert_int_equal(json_array_size(json_object_get(o, "entries")), 3);
	assert_string_equal(text_of(o, 0, "path"), "resources"); /* in order of their paths */
	assert_string_equal(text_of(o, 0, "kind"), "files");
	assert_int_equal(number_of(o, 0, "leaves"), 4);
	assert_string_equal(text_of(o, 1, "path"), "users.db");
	assert_string_equal(text_of(o, 1, "kind"), "sqlite");
	assert_true(json_is_false(json_object_get(o, "more")));
	json_decref(o);

	o = list(t, "resources", "");
	assert_int_equal(json_array_size(json_object_get(o, "entries")), 3);
	assert_string_equal(text_of(o, 0, "path"), "resources/empty");
	assert_string_equal(text_of(o, 1, "path"), "resources/img");
	assert_string_equal(text_of(o, 1, "kind"), "dir");
	assert_int_equal(number_of(o, 1, "mode"), 0755);
	assert_string_equal(text_of(o, 2, "path"), "resources/top");
	assert_int_equal(number_of(o, 2, "bytes"), 3);
	json_decref(o);

	o = list(t, "users.db/", "");
	assert_string_equal(text_of(o, 0, "path"), "users.db/users");
	assert_string_equal(text_of(o, 0, "kind"), "table");
	assert_int_equal(number_of(o, 0, "leaves"), 2);
	json_decref(o);

	o = list(t, "users.db/users", "");
	assert_string_equal(text_of(o, 0, "path"), "users.db/users/1");
	assert_string_equal(text_of(o, 1, "path"), "users.db/users/2");
	assert_string_equal(text_of(o, 1, "kind"), "row");
	json_decref(o);

	o = list(t, "//resources///empty//", "");
	assert_int_equal(json_array_size(json_object_get(o, "entries")), 0);
	json_decref(o);
}

/* What a listing says can be asked for again. */
static void odd_names_go_round(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	json_t *o;

	make_dir(w, "res/b + %41&\xc3\xbc");
	put(w, "res/b + %41&\xc3\xbc/\xfe?#\n", "x");
	scan_all(w);
	o = list(t, "resources", "");
	assert_string_equal(text_of(o, 0, "path"), "resources/b%20%2B%20%2541%26%C3%BC");
	json_decref(o);
	o = list(t, "resources/b%20%2B%20%2541%26%C3%BC", "");
	assert_string_equal(text_of(o, 0, "path"), "resources/b%20%2B%20%2541%26%C3%BC/%FE%3F%23%0A");
	assert_string_equal(text_of(o, 0, "kind"), "file");
	json_decref(o);
	o = list(t, "resources/img", "");
	assert_string_equal(text_of(o, 0, "path"), "resources/img/%FF");
	assert_string_equal(text_of(o, 1, "path"), "resources/img/a%20b.png");
	json_decref(o);
	/* A person's way of writing it. */
	assert_int_equal(get(t, "/api/tree/list?path=resources/b+%2B+%25254541"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources%2Fimg"), 200);
}

static void places_that_are_none(void **state)
{
	struct site *t = *state;

	assert_int_equal(get(t, "/api/tree/list?path=nothing"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources/nothing"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources/top"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources/top/deeper"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources/.."), 404);
	assert_int_equal(get(t, "/api/tree/list?path=../etc"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=users.db/users/1"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources/%2541%25"), 404);
	assert_int_equal(get(t, "/api/tree/list?path=resources/%2500"), 404);
}

static void limits_of_a_listing(void **state)
{
	struct site *t = *state;
	json_t *o;

	fill_wide(t->w, 300);
	scan_all(t->w);
	o = list(t, "resources/img", "&limit=5");
	assert_int_equal(json_array_size(json_object_get(o, "entries")), 5);
	assert_true(json_is_true(json_object_get(o, "more")));
	for (size_t i = 1; i < 5; i++)
		assert_true(strcmp(text_of(o, i - 1, "path"), text_of(o, i, "path")) < 0);
	json_decref(o);
	o = list(t, "resources/img", "&limit=302");
	assert_int_equal(json_array_size(json_object_get(o, "entries")), 302);
	assert_true(json_is_false(json_object_get(o, "more")));
	json_decref(o);
	o = list(t, "resources/img", "&limit=0");
	assert_int_equal(json_array_size(json_object_get(o, "entries")), 0);
	assert_true(json_is_true(json_object_get(o, "more")));
	json_decref(o);
	o = list(t, "resources/img", "&limit=99999999999999999999999");
	assert_int_equal(json_array_size(json_object_get(o, "entries")), 302);
	json_decref(o);
	assert_int_equal(get(t, "/api/tree/list?limit=-1"), 400);
	assert_int_equal(get(t, "/api/tree/list?limit=5x"), 400);
	assert_int_equal(get(t, "/api/tree/list?limit="), 400);
}

/* --- POST /api/bundle ------------------------------------------------------------------------------------------------------ */

struct got { /* what a bundle held */
	struct world *w;
	size_t at; /* read so far */
	struct sr_bytes body;
	char text[1024]; /* a line a leaf: store, path, flags or content */
	struct sr_buf content;
};

static enum sr_status read_body(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct got *g = ctx;

	(void)err;
	*got = g->body.len - g->at < n ? g->body.len - g->at : n;
	memcpy(at, g->body.at + g->at, *got);
	g->at += *got;
	return SR_OK;
}

static void note(struct got *g, const char *store, const struct sr_leaf *leaf, const char *what)
{
	struct sr_buf path = {0};
	size_t len = strlen(g->text);

	sr_leaf_path_text(&path, store, strcmp(store, "resources") ? SR_KIND_DATABASE : SR_KIND_FILES, leaf->path);
	snprintf(g->text + len, sizeof g->text - len, "%s: %s\n", sr_buf_text(&path), what);
	sr_buf_free(&path);
}

static enum sr_status got_leaf(void *ctx, const char *store, const struct sr_leaf *leaf, bool has_content, struct sr_err *err)
{
	struct got *g = ctx;
	struct sr_buf json = {0};

	if (leaf->flags & SR_LEAF_GONE) {
		assert_int_equal(leaf->to.kind, SR_KIND_NONE);
		assert_int_not_equal(leaf->expect.kind, SR_KIND_NONE);
		note(g, store, leaf, "gone");
	} else if (leaf->to.kind == SR_KIND_ROW) {
		assert_int_equal(sr_record_json(&json, leaf->record, err), SR_OK);
		note(g, store, leaf, sr_buf_text(&json));
	} else if (leaf->to.kind == SR_KIND_FILE && !has_content) {
		note(g, store, leaf, "there");
	} else if (leaf->to.kind == SR_KIND_TABLE) {
		note(g, store, leaf, leaf->record.len ? "schema" : "table");
	} else if (!has_content) {
		note(g, store, leaf, leaf->to.kind == SR_KIND_DIR ? "dir" : "void");
	}
	sr_buf_free(&json);
	return SR_OK;
}

static enum sr_status got_begin(void *ctx, const char *store, const struct sr_leaf *leaf, struct sr_err *err)
{
	(void)store, (void)leaf, (void)err;
	sr_buf_clear(&((struct got *)ctx)->content);
	return SR_OK;
}

static enum sr_status got_data(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_buf_add(&((struct got *)ctx)->content, at, n);
	return SR_OK;
}

static enum sr_status got_end(void *ctx, const char *store, const struct sr_leaf *leaf, bool good, struct sr_err *err)
{
	struct got *g = ctx;

	(void)err;
	assert_true(leaf->mtime_ns != 0);
	note(g, store, leaf, good ? sr_buf_text(&g->content) : "void");
	return SR_OK;
}

/* The answer's leaves, as lines.  VALID UNTIL the next call. */
static const char *unpacked(struct site *t)
{
	static struct got g;
	struct world *w = t->w;
	struct sr_bundle_limits most = {.bytes = UINT64_MAX, .leaves = UINT64_MAX, .file = UINT64_MAX, .frame = UINT64_MAX};
	struct sr_bundle_sink sink = {&g, got_leaf, got_begin, got_data, got_end};
	struct sr_bundle_reader *r;

	g = (struct got){.w = w, .body = sr_buf_view(&t->answer.body)};
	ok(sr_bundle_reader_new(&r, &w->r->key, &most, read_body, &g, &w->err));
	ok(sr_bundle_read(r, &sink, &w->err));
	sr_bundle_reader_free(r);
	sr_buf_free(&g.content);
	return g.text;
}

static void want(struct site *t, struct sr_buf *out, size_t i, struct sr_bytes path)
{
	struct sr_leaf leaf = {.path = path, .to = version_at(t->w, i, path)};

	sr_wanted_add(out, t->w->r->stores[i].name, &leaf);
}

static void a_bundle_of_all_kinds(void **state)
{
	struct site *t = *state;
	struct sr_buf body = {0};
	struct sr_leaf schema = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to = {.kind = SR_KIND_TABLE}};

	want(t, &body, RESOURCES, file_path("top"));
	want(t, &body, USERS, user_path(2));
	want(t, &body, RESOURCES, file_path("img/\xff"));
	want(t, &body, RESOURCES, file_path("empty"));
	want(t, &body, USERS, sr_bytes_of("users"));
	sr_wanted_add(&body, "users.db", &schema);
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	/* Contents come behind their leaves. */
	assert_string_equal(unpacked(t), "resources/top: top\nusers.db/users/2: {\"id\": 2, \"name\": \"bob\"}\nresources/img/%FF: odd\n"
					 "resources/empty: dir\nusers.db/users: table\nusers.db/sqlite_master: schema\n");
	sr_buf_clear(&body);
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	assert_string_equal(unpacked(t), "");
	sr_buf_free(&body);
}

static void a_file_that_is_there_comes_without_content(void **state)
{
	struct site *t = *state;
	struct sr_leaf leaf = {.path = file_path("top"), .to = version_at(t->w, RESOURCES, file_path("top"))};
	struct sr_buf body = {0};

	leaf.expect = leaf.to;
	sr_wanted_add(&body, "resources", &leaf);
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	assert_string_equal(unpacked(t), "resources/top: there\n");
	unlink(below(t->w, "res/top"));
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	assert_string_equal(unpacked(t), "resources/top: gone\n");
	sr_buf_free(&body);
}

static void what_is_gone_meanwhile_is_named(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_buf body = {0};
	const char *all;

	want(t, &body, RESOURCES, file_path("top"));
	want(t, &body, USERS, user_path(1));
	want(t, &body, USERS, user_path(2));
	want(t, &body, RESOURCES, file_path("img/a b.png"));
	unlink(below(w, "res/top"));
	put(w, "res/img/a b.png", "pictura");
	sql(w, "users.db", "DELETE FROM users WHERE id = 1; UPDATE users SET name = 'eve'");
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	all = unpacked(t);
	assert_non_null(strstr(all, "resources/top: gone\n"));
	assert_non_null(strstr(all, "users.db/users/1: gone\n"));
	assert_non_null(strstr(all, "users.db/users/2: gone\n"));
	assert_non_null(strstr(all, "resources/img/a%20b.png: void\n")); /* it changed since the scan */

	scan_all(w);
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	all = unpacked(t);
	assert_non_null(strstr(all, "resources/img/a%20b.png: gone\n"));
	sr_buf_free(&body);
}

static void older_versions_come_from_where_they_are_kept(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_buf body = {0};

	want(t, &body, RESOURCES, file_path("top"));
	put(w, "kept", "top");
	put(w, "res/top", "another");
	scan_all(w);
	t->kept = "kept";
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	assert_string_equal(unpacked(t), "resources/top: top\n");
	sr_buf_free(&body);
}

static void nothing_is_read_from_a_paused_store(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_uuid id = sr_uuid_random();
	struct sr_buf body = {0};

	want(t, &body, RESOURCES, file_path("top"));
	want(t, &body, USERS, user_path(1));
	ok(sr_replica_mark(w->r, RESOURCES, &id, &id, 1, 1, &w->err));
	remove_tree(below(w, "res"));
	sr_replica_look(w->r);
	assert_int_equal(w->r->stores[RESOURCES].mode, SR_MODE_PAUSED);
	assert_int_equal(post(t, "/api/bundle", &body), 200);
	assert_string_equal(unpacked(t), "resources/top: gone\nusers.db/users/1: {\"id\": 1, \"name\": \"ada\"}\n");
	/* A tar that lacks it without a word would be taken for the whole. */
	assert_int_equal(get(t, "/api/bundle"), 503);
	assert_non_null(strstr(t->err.text, "resources"));
	assert_int_equal(get(t, "/api/bundle?path=resources/img"), 503);
	assert_int_equal(get(t, "/api/bundle?path=users.db"), 200);
	sr_buf_free(&body);
}

static void refuse_wanted(struct site *t, const char *store, const char *path, uint8_t kind, int status)
{
	struct sr_leaf leaf = {.path = sr_bytes_of(path), .to = {.kind = kind, .bytes = 1, .hash = {{1}}}};
	struct sr_buf body = {0};

	want(t, &body, RESOURCES, file_path("top")); /* found before the answer begins */
	sr_wanted_add(&body, store, &leaf);
	assert_int_equal(post(t, "/api/bundle", &body), status);
	sr_buf_free(&body);
}

static void lists_of_wanted_leaves_that_are_refused(void **state)
{
	struct site *t = *state;
	struct sr_leaf leaf = {.path = sr_bytes_of("x"), .to = {.kind = SR_KIND_DIR}};
	struct sr_buf body = {0};

	refuse_wanted(t, "nothing", "x", SR_KIND_FILE, 404);
	refuse_wanted(t, "resources", "..", SR_KIND_FILE, 400);
	refuse_wanted(t, "resources", "../../etc/passwd", SR_KIND_FILE, 400);
	refuse_wanted(t, "resources", "/etc/passwd", SR_KIND_FILE, 400);
	refuse_wanted(t, "resources", ".sameroot", SR_KIND_DIR, 400);
	refuse_wanted(t, "users.db", "x/y", SR_KIND_FILE, 400);
	refuse_wanted(t, "users.db", "_sameroot_meta", SR_KIND_TABLE, 400);
	want(t, &body, RESOURCES, file_path("top"));
	body.len--;
	assert_int_equal(post(t, "/api/bundle", &body), 400);
	sr_buf_clear(&body);
	for (int i = 0; i <= SR_BUNDLE_WANTED; i++)
		sr_wanted_add(&body, "resources", &leaf);
	assert_int_equal(post(t, "/api/bundle", &body), 413);
	sr_buf_free(&body);
}

/* --- GET /api/bundle --------------------------------------------------------------------------------------------------------- */

static int system_in(struct world *w, const char *command)
{
	char *text = sr_format("cd %s && %s", w->dir, command);
	int status = system(text);

	free(text);
	return status;
}

static void extract(struct site *t)
{
	put_bytes(t->w, "tar", t->answer.body.at, t->answer.body.len);
	assert_int_equal(system_in(t->w, "rm -rf out && mkdir out && tar --warning=none -C out -xf tar"), 0);
}

static const char *file_text(struct world *w, const char *name)
{
	static char text[4096];
	int fd = open(below(w, name), O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void tar_extracts_a_bundle(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct stat st, was;

	assert_int_equal(chmod(below(w, "res/top"), 0640), 0);
	scan_all(w);
	assert_int_equal(get(t, "/api/bundle"), 200);
	extract(t);
	assert_string_equal(file_text(w, "out/resources/top"), "top");
	assert_string_equal(file_text(w, "out/resources/img/a b.png"), "picture");
	assert_string_equal(file_text(w, "out/resources/img/\xff"), "odd");
	assert_int_equal(stat(below(w, "out/resources/empty"), &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(stat(below(w, "out/resources/top"), &st), 0);
	assert_int_equal(stat(below(w, "res/top"), &was), 0);
	assert_int_equal(st.st_mode, was.st_mode);
	assert_int_equal(st.st_mtim.tv_sec, was.st_mtim.tv_sec);
	assert_string_equal(file_text(w, "out/users.db/users.jsonl"), "{\"id\": 1, \"name\": \"ada\"}\n{\"id\": 2, \"name\": \"bob\"}\n");
	assert_string_equal(file_text(w, "out/webstore.db/items.jsonl"), "{\"n\": 1, \"sku\": \"a\"}\n");
}

static void tar_extracts_a_part(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct stat st;

	assert_int_equal(get(t, "/api/bundle?path=resources/img"), 200);
	extract(t);
	assert_string_equal(file_text(w, "out/resources/img/a b.png"), "picture");
	assert_int_not_equal(stat(below(w, "out/resources/top"), &st), 0);
	assert_int_not_equal(stat(below(w, "out/users.db"), &st), 0);
	assert_int_equal(get(t, "/api/bundle?path=resources/top"), 200);
	extract(t);
	assert_string_equal(file_text(w, "out/resources/top"), "top");
	assert_int_equal(get(t, "/api/bundle?path=users.db/users"), 200);
	extract(t);
	assert_non_null(file_text(w, "out/users.db/users.jsonl"));
	assert_int_equal(get(t, "/api/bundle?path=resources/to"), 404);
	assert_int_equal(get(t, "/api/bundle?path=resources/top/x"), 404);
	assert_int_equal(get(t, "/api/bundle?path=nothing"), 404);
	assert_int_equal(get(t, "/api/bundle?path=users.db/none"), 404);
}

/* A table may be called anything; its member stays below its database. */
static void a_table_with_a_path_for_a_name(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct stat st;

	sql(w, "users.db", "CREATE TABLE \"../../up\" (id INTEGER PRIMARY KEY); INSERT INTO \"../../up\" VALUES (1)");
	scan_all(w);
	assert_int_equal(get(t, "/api/bundle?path=users.db"), 200);
	extract(t);
	assert_string_equal(file_text(w, "out/users.db/..%2F..%2Fup.jsonl"), "{\"id\": 1}\n");
	assert_int_not_equal(stat(below(w, "up.jsonl"), &st), 0);
}

static void equal_rows_are_as_many_lines(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;

	sql(w, "users.db", "CREATE TABLE log (a); INSERT INTO log VALUES (1), (1), (1)");
	scan_all(w);
	assert_int_equal(get(t, "/api/bundle?path=users.db/log"), 200);
	extract(t);
	assert_string_equal(file_text(w, "out/users.db/log.jsonl"), "{\"a\": 1}\n{\"a\": 1}\n{\"a\": 1}\n");
}

/* What is more than is held in memory, between tables that are not. */
static void a_large_table_is_whole(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;

	sql(w, "users.db", "CREATE TABLE log (a); CREATE TABLE mass (id INTEGER PRIMARY KEY, a);"
			   "INSERT INTO log VALUES (1);"
			   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO mass SELECT i, hex(zeroblob(50000)) FROM n;"
			   "CREATE TABLE nil (a); INSERT INTO nil SELECT a FROM mass WHERE id < 40; CREATE TABLE few (a); INSERT INTO few VALUES (2)");
	scan_all(w);
	assert_int_equal(get(t, "/api/bundle?path=users.db"), 200);
	extract(t);
	assert_string_equal(file_text(w, "out/users.db/log.jsonl"), "{\"a\": 1}\n");
	assert_string_equal(file_text(w, "out/users.db/few.jsonl"), "{\"a\": 2}\n");
	assert_int_equal(system_in(w, "seq 50 | awk '{ printf \"{\\\"a\\\": \\\"%0100000d\\\", \\\"id\\\": %d}\\n\", 0, $1 }' | LC_ALL=C sort >wanted && "
				      "LC_ALL=C sort out/users.db/mass.jsonl | cmp - wanted"), 0);
	assert_int_equal(system_in(w, "seq 39 | awk '{ printf \"{\\\"a\\\": \\\"%0100000d\\\"}\\n\", 0 }' | cmp - out/users.db/nil.jsonl"), 0);
}

static void a_large_file_is_streamed(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_buf big = {0};

	for (int i = 0; i < 900000; i++)
		sr_buf_byte(&big, (uint8_t)(i * 7 >> 3));
	put_bytes(w, "res/big", big.at, big.len);
	scan_all(w);
	assert_int_equal(get(t, "/api/bundle?path=resources/big"), 200);
	extract(t);
	assert_int_equal(system_in(w, "cmp res/big out/resources/big"), 0);
	sr_buf_free(&big);
}

/* --- blobs ----------------------------------------------------------------------------------------------------------------- */

static int get_blob(struct site *t, const struct sr_hash *hash, const char *range)
{
	char hex[SR_HASH_TEXT], target[64];

	sr_hash_text(hex, hash);
	snprintf(target, sizeof target, "/api/blob/%s", hex);
	return call(t, "GET", target, sr_bytes(NULL, 0), range);
}

static void blobs_whole_and_in_part(void **state)
{
	static const struct {
		const char *range, *content, *says;
	} cases[] = {
		{"Range: bytes=0-", "picture", "bytes 0-6/7"},       {"Range: bytes=2-3", "ct", "bytes 2-3/7"},
		{"Range: bytes=6-6", "e", "bytes 6-6/7"},            {"Range: bytes=4-99999999999999999999999", "ure", "bytes 4-6/7"},
		{"Range: bytes=7-", "picture", NULL},                {"Range: bytes=99999999999999999999999-", "picture", NULL},
		{"Range: bytes=3-2", "picture", NULL},               {"Range: bytes=-3", "picture", NULL},
		{"Range: bytes=0-1,3-4", "picture", NULL},           {"Range: bytes=0--5", "picture", NULL},
		{"Range: bytes= 0-1", "picture", NULL},              {"Range: lines=0-1", "picture", NULL},
		{"Range: bytes=", "picture", NULL},                  {"Range: bytes=-", "picture", NULL},
	};
	struct site *t = *state;
	struct sr_hash hash = version_at(t->w, RESOURCES, file_path("img/a b.png")).hash;

	assert_int_equal(get_blob(t, &hash, NULL), 200);
	body_is(t, "picture");
	assert_null(sr_answer_header(&t->answer, "Content-Range"));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(get_blob(t, &hash, cases[i].range), cases[i].says ? 206 : 200);
		body_is(t, cases[i].content);
		if (cases[i].says)
			assert_string_equal(sr_answer_header(&t->answer, "Content-Range"), cases[i].says);
		else
			assert_null(sr_answer_header(&t->answer, "Content-Range"));
	}
}

static void a_record_is_a_blob(void **state)
{
	struct site *t = *state;
	struct sr_version row = version_at(t->w, USERS, user_path(2));
	struct sr_hash seen;

	assert_int_equal(get_blob(t, &row.hash, NULL), 200);
	sr_hash_of(&seen, &t->w->r->key, sr_buf_view(&t->answer.body));
	assert_true(sr_hash_eq(&seen, &row.hash));
	assert_int_equal(get_blob(t, &row.hash, "Range: bytes=1-2"), 206);
	assert_int_equal(t->answer.body.len, 2);
}

static void a_blob_where_it_should_be(void **state)
{
	struct site *t = *state;
	struct sr_hash hash = version_at(t->w, RESOURCES, file_path("img/a b.png")).hash;
	char hex[SR_HASH_TEXT], target[96];

	sr_hash_text(hex, &hash);
	snprintf(target, sizeof target, "/api/blob/%s?path=resources/img/a%%2520b.png", hex);
	assert_int_equal(get(t, target), 200);
	body_is(t, "picture");
	assert_non_null(sr_answer_header(&t->answer, SR_HEADER_MTIME));
	snprintf(target, sizeof target, "/api/blob/%s?path=resources/top", hex); /* it is in the tree, but not there */
	assert_int_equal(get(t, target), 404);
	snprintf(target, sizeof target, "/api/blob/%s?path=nothing/top", hex);
	assert_int_equal(get(t, target), 404);
	put(t->w, "kept", "picture");
	t->kept = "kept";
	unlink(below(t->w, "res/img/a b.png"));
	scan_all(t->w);
	snprintf(target, sizeof target, "/api/blob/%s?path=resources/img/a%%2520b.png", hex);
	assert_int_equal(call(t, "GET", target, sr_bytes(NULL, 0), "Range: bytes=2-"), 206); /* only an older root has it */
	body_is(t, "cture");
	assert_string_equal(sr_answer_header(&t->answer, "Content-Range"), "bytes 2-6/7");
}

static void blobs_that_are_not_there(void **state)
{
	struct site *t = *state;
	struct sr_hash none = {{1}}, top = version_at(t->w, RESOURCES, file_path("top")).hash;

	assert_int_equal(get_blob(t, &none, NULL), 404);
	assert_int_equal(get(t, "/api/blob/12"), 400);
	unlink(below(t->w, "res/top"));
	assert_int_equal(get_blob(t, &top, NULL), 404);
	put(t->w, "res/top", "longer than it was");
	assert_int_equal(get_blob(t, &top, NULL), 404);
	put(t->w, "res/empty/zero", "");
	scan_all(t->w);
	top = version_at(t->w, RESOURCES, file_path("empty/zero")).hash;
	assert_int_equal(get_blob(t, &top, "Range: bytes=0-"), 200);
	assert_int_equal(t->answer.body.len, 0);
}

/* --- conflicts ---------------------------------------------------------------------------------------------------------------- */

static void conflicts_are_reported(void **state)
{
	struct site *t = *state;
	struct world *w = t->w;
	struct sr_loser loser = {.store = "resources", .store_kind = SR_KIND_FILES, .path = file_path("img/\xff"),
				 .version = {.kind = SR_KIND_DIR, .mode = 0755}, .reason = "kind"};
	struct sr_buf out = {0};
	json_t *o;

	ok(sr_report_conflicts(w->r->archive, &out, &w->err));
	assert_string_equal(sr_buf_text(&out), "[]");
	ok(sr_archive_bare(w->r->archive, &loser, &w->err));
	sr_buf_clear(&out);
	ok(sr_report_conflicts(w->r->archive, &out, &w->err));
	o = json_loadb((const char *)out.at, out.len, 0, NULL);
	assert_int_equal(json_array_size(o), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(o, 0), "reason")), "kind");
	assert_string_equal(json_string_value(json_object_get(json_array_get(o, 0), "path")), "resources/img/%FF");
	assert_string_equal(json_string_value(json_object_get(json_array_get(o, 0), "store")), "resources");
	json_decref(o);
	sr_buf_free(&out);
}

/* --- another key while someone reads ------------------------------------------------------------------------------------------- */

struct fetcher {
	struct site *t;
	atomic_bool stop;
	uint64_t whole, refused, cut;
};

static void *fetch_again_and_again(void *ctx)
{
	struct fetcher *f = ctx;

	do {
		struct sr_answer answer = {0};
		struct sr_call c = {.target = "/api/bundle"};
		struct sr_err err = {0};

		if (sr_client_call(f->t->client, &c, &answer, &err) == SR_OK)
			f->whole++;
		else if (answer.status == 503)
			f->refused++;
		else
			f->cut++;
		sr_answer_free(&answer);
	} while (!atomic_load(&f->stop));
	return NULL;
}

static void the_key_may_change_under_a_transfer(void **state)
{
	struct site *t = *state;
	struct fetcher f = {.t = t};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, fetch_again_and_again, &f), 0);
	for (uint8_t i = 2; i < 12; i++) {
		start_with(t->w, i);
		scan_all(t->w);
	}
	atomic_store(&f.stop, true);
	pthread_join(thread, NULL);
	assert_true(f.whole + f.refused + f.cut > 0);
	assert_int_equal(get(t, "/api/bundle"), 200);
	extract(t);
	assert_string_equal(file_text(t->w, "out/resources/top"), "top");
}

int main(void)
{
#define site_test(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		site_test(secrets_are_asked_for),
		site_test(the_admin_token_is_made_once),
		site_test(not_ready_is_said),
		site_test(without_a_key_there_is_nothing),
		site_test(one_node),
		site_test(a_walk_from_nothing_and_from_a_close_tree),
		site_test(a_walk_that_asks_for_what_is_gone),
		site_test(pairs_that_are_none),
		site_test(listings_of_every_level),
		site_test(odd_names_go_round),
		site_test(places_that_are_none),
		site_test(limits_of_a_listing),
		site_test(a_bundle_of_all_kinds),
		site_test(a_file_that_is_there_comes_without_content),
		site_test(what_is_gone_meanwhile_is_named),
		site_test(older_versions_come_from_where_they_are_kept),
		site_test(nothing_is_read_from_a_paused_store),
		site_test(lists_of_wanted_leaves_that_are_refused),
		site_test(tar_extracts_a_bundle),
		site_test(tar_extracts_a_part),
		site_test(a_table_with_a_path_for_a_name),
		site_test(equal_rows_are_as_many_lines),
		site_test(a_large_table_is_whole),
		site_test(a_large_file_is_streamed),
		site_test(blobs_whole_and_in_part),
		site_test(a_record_is_a_blob),
		site_test(a_blob_where_it_should_be),
		site_test(blobs_that_are_not_there),
		site_test(conflicts_are_reported),
		site_test(the_key_may_change_under_a_transfer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
