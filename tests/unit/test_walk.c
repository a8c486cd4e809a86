/* test_walk.c - a tree carried from one set of nodes to another, by asking and serving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/internal.h"

static uint64_t seed = 20240302;
static const struct sr_hash none;

static uint64_t chance(uint64_t below) /* xorshift64 */
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static struct sr_nodes *new_nodes(void)
{
	struct sr_tree_key key;
	uint8_t secret[SR_KEY_LEN];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(i * 151 + 7);
	sr_tree_key_set(&key, secret);
	return sr_nodes_new(&key);
}

static struct sr_hash some_hash(void)
{
	struct sr_hash h;

	for (size_t i = 0; i < SR_HASH_LEN; i++)
		h.b[i] = (uint8_t)(1 + chance(255));
	return h;
}

/* --- carrying ------------------------------------------------------------------------------------------------------ */

struct carry {
	struct sr_nodes *to;
	uint64_t nodes, bytes, twice, trips;
};

static enum sr_status deliver(void *ctx, const struct sr_hash *hash, struct sr_bytes node)
{
	struct carry *c = ctx;
	struct sr_bytes held;
	struct sr_err err;

	c->twice += sr_nodes_get(c->to, hash, &held);
	c->nodes++;
	c->bytes += node.len;
	return sr_nodes_put(c->to, hash, node, &err);
}

/* Ask and serve until nothing is missing, with at most `max` pairs a question and `limit` bytes for each pair. */
static void carry(struct carry *c, const struct sr_nodes *from, const struct sr_hash *wanted, const struct sr_hash *mine, size_t max,
                  size_t limit)
{
	struct sr_pair *pairs = sr_alloc(max * sizeof *pairs);
	struct sr_err err;
	size_t n;

	for (;; c->trips++) {
		assert_int_equal(sr_walk_missing(c->to, wanted, mine, pairs, max, &n, &err), SR_OK);
		assert_true(n <= max);
		if (n == 0)
			break;
		for (size_t i = 0; i < n; i++)
			assert_int_equal(sr_walk_serve(from, &pairs[i].wanted, &pairs[i].mine, limit, deliver, c, &err), SR_OK);
		assert_true(c->trips < 100000);
	}
	assert_true(sr_nodes_whole(c->to, wanted));
	free(pairs);
}

static enum sr_status ignore(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	(void)ctx;
	(void)path;
	(void)a;
	(void)b;
	return SR_OK;
}

struct list {
	struct sr_hash *at;
	size_t n;
};

static void list_nodes(const struct sr_nodes *s, const struct sr_hash *hash, struct list *list)
{
	struct sr_node node;
	struct sr_err err;

	for (size_t i = 0; i < list->n; i++)
		if (sr_hash_eq(&list->at[i], hash))
			return;
	list->at = sr_realloc(list->at, (list->n + 1) * sizeof *list->at);
	list->at[list->n++] = *hash;
	assert_int_equal(sr_nodes_load(s, hash, NULL, 0, &node, &err), SR_OK);
	for (size_t i = 0; i < node.n; i++)
		if (sr_node_ref(&node, i))
			list_nodes(s, sr_node_ref(&node, i), list);
	sr_node_free(&node);
}

/* How many nodes of `wanted` are not in `mine`, the slow and sure way. */
static size_t nodes_apart(const struct sr_nodes *s, const struct sr_hash *wanted, const struct sr_hash *mine)
{
	struct list a = {0}, b = {0};
	size_t apart = 0;

	list_nodes(s, wanted, &a);
	if (!sr_hash_none(mine))
		list_nodes(s, mine, &b);
	for (size_t i = 0; i < a.n; i++) {
		size_t j = 0;

		while (j < b.n && !sr_hash_eq(&a.at[i], &b.at[j]))
			j++;
		apart += j == b.n;
	}
	free(a.at);
	free(b.at);
	return apart;
}

/* --- trees --------------------------------------------------------------------------------------------------------- */

/* A root map over a file store and a database, from random edits to those of `before`. */
struct stores {
	struct sr_hash files, database, root;
};

static void make_root(struct sr_nodes *s, struct stores *st)
{
	struct sr_entry top, e[2] = {{.name = sr_bytes_of("resources"), .kind = SR_KIND_FILES, .hash = st->files},
	                             {.name = sr_bytes_of("users.db"), .kind = SR_KIND_DATABASE, .hash = st->database}};

	for (int i = 0; i < 2; i++)
		assert_int_equal(sr_map_counts(s, &e[i].hash, &e[i].leaves, &e[i].bytes), SR_OK);
	sr_map_build(s, sr_bytes(NULL, 0), e, 2, &top);
	st->root = top.hash;
	sr_nodes_hold(s, &st->root);
}

static void edit_one(struct sr_nodes *s, uint8_t kind, struct sr_hash *root, const char *path, uint8_t to, uint64_t hash)
{
	struct sr_buf p = {0};
	struct sr_edit e = {.to = {.kind = to, .mode = sr_kind_has_mode(to) ? 0644 : 0}};
	struct sr_err err;

	if (to == SR_KIND_FILE || to == SR_KIND_ROW)
		memcpy(e.to.hash.b, &hash, sizeof hash);
	sr_buf_bytes(&p, sr_bytes_of(path));
	for (size_t i = 0; i < p.len; i++)
		if (p.at[i] == '/')
			p.at[i] = 0;
	e.path = sr_buf_view(&p);
	assert_int_equal(sr_store_edit(s, kind, root, &e, 1, root, &err), SR_OK);
	sr_buf_free(&p);
}

static void start(struct sr_nodes *s, struct stores *st)
{
	sr_store_empty(s, SR_KIND_FILES, &st->files);
	sr_store_empty(s, SR_KIND_DATABASE, &st->database);
	edit_one(s, SR_KIND_DATABASE, &st->database, "users", SR_KIND_TABLE, 0);
	edit_one(s, SR_KIND_DATABASE, &st->database, "items", SR_KIND_TABLE, 0);
}

static void change(struct sr_nodes *s, struct stores *st, int edits)
{
	for (int i = 0; i < edits; i++) {
		char path[64];

		if (chance(2)) {
			snprintf(path, sizeof path, "d%d/e%d/%d", (int)chance(4), (int)chance(3), (int)chance(40));
			if (chance(4) == 0)
				snprintf(path, sizeof path, "wide/%d", (int)chance(500));
			edit_one(s, SR_KIND_FILES, &st->files, path, chance(5) ? SR_KIND_FILE : SR_KIND_NONE, 1 + chance(9));
		} else {
			snprintf(path, sizeof path, "%s/%d", chance(2) ? "users" : "items", (int)chance(500));
			edit_one(s, SR_KIND_DATABASE, &st->database, path, chance(5) ? SR_KIND_ROW : SR_KIND_NONE, 1 + chance(9));
		}
	}
	make_root(s, st);
}

/* --- tests --------------------------------------------------------------------------------------------------------- */

/* Client at one state, server at a later one: the client gets it, and hardly more than it lacked. */
static void test_random_trees(void **state)
{
	static const size_t limits[] = {0, 300, 5000, 1 << 20}, maxes[] = {1, 3, 64, 1000};

	(void)state;
	for (int round = 0; round < 32; round++) {
		struct sr_nodes *server = new_nodes(), *client = new_nodes();
		struct carry c = {.to = client};
		struct stores st;
		struct sr_hash old;
		size_t apart;
		struct sr_err err;

		start(server, &st);
		change(server, &st, 1 + (int)chance(900));
		old = st.root;
		sr_nodes_hold(client, &old);
		carry(&c, server, &old, &none, maxes[chance(4)], limits[round % 4]);
		assert_int_equal(c.nodes - c.twice, nodes_apart(server, &old, &none));
		assert_int_equal(c.twice, 0);

		change(server, &st, 1 + (int)chance(round % 2 ? 5 : 400));
		apart = nodes_apart(server, &st.root, &old);
		c = (struct carry){.to = client};
		sr_nodes_hold(client, &st.root);
		carry(&c, server, &st.root, &old, maxes[round % 4], limits[chance(4)]);
		assert_int_equal(c.nodes - c.twice, apart);
		assert_true(c.twice <= 1 + apart / 4); /* what moved far may come again */

		sr_nodes_release(client, &old);
		sr_nodes_sweep(client);
		assert_int_equal(nodes_apart(client, &st.root, &none), nodes_apart(server, &st.root, &none));
		assert_int_equal(sr_store_diff(client, SR_KIND_DATABASE, &none, &st.database, ignore, NULL, &err), SR_OK);
		assert_int_equal(sr_store_diff(client, SR_KIND_FILES, &none, &st.files, ignore, NULL, &err), SR_OK);
		sr_nodes_free(server);
		sr_nodes_free(client);
	}
}

/* One row of many: only the path to it, in one trip. */
static void test_one_change_of_many(void **state)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct sr_edit *edits = sr_alloc(100001 * sizeof *edits);
	char (*paths)[16] = sr_alloc(100001 * sizeof *paths);
	struct carry c = {.to = client};
	struct sr_hash old, new;
	struct sr_err err;

	(void)state;
	memcpy(paths[0], "t", 2);
	edits[0] = (struct sr_edit){sr_bytes(paths[0], 1), {.kind = SR_KIND_TABLE}};
	for (int i = 1; i <= 100000; i++) {
		memcpy(paths[i], "t", 2);
		snprintf(paths[i] + 2, 14, "%08u", (unsigned)i);
		edits[i] = (struct sr_edit){sr_bytes(paths[i], 10), {.kind = SR_KIND_ROW, .bytes = 40, .hash = some_hash()}};
	}
	assert_int_equal(sr_store_edit(server, SR_KIND_DATABASE, &none, edits, 100001, &old, &err), SR_OK);
	carry(&c, server, &old, &none, 1000, 256 << 10);
	assert_int_equal(c.twice, 0);
	edits[500].to.hash = some_hash();
	assert_int_equal(sr_store_edit(server, SR_KIND_DATABASE, &old, &edits[500], 1, &new, &err), SR_OK);
	c = (struct carry){.to = client};
	carry(&c, server, &new, &old, 1000, 256 << 10);
	assert_int_equal(c.trips, 1);
	assert_int_equal(c.nodes, 4); /* the store, the table, one inner node, one bucket */
	assert_true(c.bytes < 16384);
	free(edits);
	free(paths);
	sr_nodes_free(server);
	sr_nodes_free(client);
}

/* A directory renamed within its parent brings nothing but the parent. */
static void test_rename_moves_no_content(void **state)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct carry c = {.to = client};
	struct sr_hash old, new, dir;
	struct sr_entry e[1], top;

	(void)state;
	sr_store_empty(server, SR_KIND_FILES, &dir);
	for (int i = 0; i < 300; i++) {
		char path[32];

		snprintf(path, sizeof path, "sub%d/%d", i % 10, i);
		edit_one(server, SR_KIND_FILES, &dir, path, SR_KIND_FILE, 1 + (uint64_t)i);
	}
	e[0] = (struct sr_entry){sr_bytes_of("before"), SR_KIND_DIR, 0755, dir, 300, 0};
	sr_map_build(server, sr_bytes(NULL, 0), e, 1, &top);
	old = top.hash;
	e[0].name = sr_bytes_of("after");
	sr_map_build(server, sr_bytes(NULL, 0), e, 1, &top);
	new = top.hash;
	carry(&c, server, &old, &none, 10, 1 << 20);
	assert_int_equal(c.nodes, 12);
	c = (struct carry){.to = client};
	carry(&c, server, &new, &old, 10, 1 << 20);
	assert_int_equal(c.nodes, 1);
	sr_nodes_free(server);
	sr_nodes_free(client);
}

/* A directory of directories passes the size of a bucket, and in one of them a file changes: what lies beside that file is not sent. */
static void check_resized(int before, int after)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct carry c = {.to = client};
	struct sr_hash roots[2];

	for (int k = 0; k < 2; k++) {
		sr_store_empty(server, SR_KIND_FILES, &roots[k]);
		for (int i = 0; i < (k ? after : before); i++) {
			char path[32];

			snprintf(path, sizeof path, "%d/sub/file", i);
			edit_one(server, SR_KIND_FILES, &roots[k], path, SR_KIND_FILE, 1 + (uint64_t)i);
		}
		edit_one(server, SR_KIND_FILES, &roots[k], "99/changed", SR_KIND_FILE, 1000 + (uint64_t)k);
	}
	carry(&c, server, &roots[0], &none, 1000, 1 << 20);
	c = (struct carry){.to = client};
	carry(&c, server, &roots[1], &roots[0], 1000, 1 << 20);
	assert_int_equal(c.twice, 0);
	assert_int_equal(c.nodes, nodes_apart(server, &roots[1], &roots[0]));
	sr_nodes_free(server);
	sr_nodes_free(client);
}

static void test_bucket_beside_inner(void **state)
{
	(void)state;
	check_resized(200, 300);
	check_resized(300, 200);
}

/* The server does not know what the client has: one node a pair, and it comes out right. */
static void test_mine_unknown_to_the_server(void **state)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct carry c = {.to = client};
	struct stores theirs, ours;
	struct sr_hash unknown = some_hash();
	struct sr_err err;

	(void)state;
	start(server, &theirs);
	change(server, &theirs, 800);
	start(client, &ours);
	change(client, &ours, 30);
	assert_int_equal(sr_walk_serve(server, &theirs.root, &unknown, 1 << 20, deliver, &c, &err), SR_OK);
	assert_int_equal(c.nodes, 1);
	carry(&c, server, &theirs.root, &ours.root, 100, 1 << 20);
	assert_int_equal(nodes_apart(client, &theirs.root, &none), nodes_apart(server, &theirs.root, &none));
	sr_nodes_free(server);
	sr_nodes_free(client);
}

static void test_edges(void **state)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct carry c = {.to = client};
	struct sr_pair pair;
	struct stores st;
	struct sr_hash unknown = some_hash();
	struct sr_err err;
	size_t n;

	(void)state;
	start(server, &st);
	change(server, &st, 100);
	assert_int_equal(sr_walk_serve(server, &unknown, &none, 100, deliver, &c, &err), SR_E_GONE);
	assert_int_equal(sr_walk_serve(server, &st.root, &st.root, 100, deliver, &c, &err), SR_OK);
	assert_int_equal(c.nodes, 0);
	assert_int_equal(sr_walk_serve(server, &st.root, &none, 0, deliver, &c, &err), SR_OK);
	assert_int_equal(c.nodes, 1);
	assert_int_equal(sr_walk_missing(client, &none, &none, &pair, 1, &n, &err), SR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(sr_walk_missing(client, &unknown, &unknown, &pair, 1, &n, &err), SR_OK);
	assert_int_equal(n, 1);
	assert_true(sr_hash_eq(&pair.wanted, &unknown) && sr_hash_none(&pair.mine)); /* who lacks it cannot claim to have it */
	sr_nodes_free(server);
	sr_nodes_free(client);
}

/* Directories that hold the one below twice: 2^200 paths, 201 nodes. */
static void test_shared_subtrees_are_walked_once(void **state)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct carry c = {.to = client};
	struct sr_entry top = {0}, e[2];
	struct sr_hash missing = some_hash();

	(void)state;
	sr_map_build(server, sr_bytes(NULL, 0), NULL, 0, &top);
	for (int i = 0; i < 200; i++) {
		e[0] = (struct sr_entry){sr_bytes_of("a"), SR_KIND_DIR, 0755, top.hash, top.leaves + !top.leaves, 0};
		e[1] = e[0];
		e[1].name = sr_bytes_of("b");
		sr_map_build(server, sr_bytes(NULL, 0), e, 2, &top);
	}
	carry(&c, server, &top.hash, &none, 10, 400);
	assert_int_equal(c.nodes, 201);

	top = (struct sr_entry){.hash = missing, .leaves = 2}; /* and with the end of it never to be had */
	for (int i = 0; i < 200; i++) {
		struct sr_pair pairs[10];
		struct sr_err err;
		size_t n;

		e[0] = (struct sr_entry){sr_bytes_of("a"), SR_KIND_DIR, 0755, top.hash, top.leaves, 0};
		e[1] = e[0];
		e[1].name = sr_bytes_of("b");
		sr_map_build(client, sr_bytes(NULL, 0), e, 2, &top);
		assert_int_equal(sr_walk_missing(client, &top.hash, &none, pairs, 10, &n, &err), SR_OK);
		assert_int_equal(n, 1);
		assert_true(sr_hash_eq(&pairs[0].wanted, &missing));
	}
	sr_nodes_free(server);
	sr_nodes_free(client);
}

/* Two names for the same map, 60 levels deep: few nodes, and who reads them as a tree would never end. */
static void twice_each(struct sr_nodes *s, unsigned levels, bool honest, struct sr_entry *top)
{
	struct sr_entry e[2];

	sr_map_build(s, sr_bytes(NULL, 0), NULL, 0, top);
	top->leaves = 1;
	for (unsigned i = 0; i < levels; i++) {
		uint64_t leaves = honest || i % 7 ? top->leaves : 1;

		e[0] = (struct sr_entry){sr_bytes_of("a"), SR_KIND_DIR, 0755, top->hash, leaves, 0};
		e[1] = e[0];
		e[1].name = sr_bytes_of("b");
		sr_map_build(s, sr_bytes(NULL, 0), e, 2, top);
	}
}

/* All nodes of the tree put in from outside, and asked what is missing, until nothing is or it is refused. */
static enum sr_status take_all(struct sr_nodes *server, struct sr_nodes *client, const struct sr_hash *top, struct sr_err *err)
{
	struct sr_pair pairs[10];
	enum sr_status st;
	size_t n;

	for (;;) {
		struct sr_bytes node;

		st = sr_walk_missing(client, top, &none, pairs, 10, &n, err);
		if (st != SR_OK || !n)
			return st;
		for (size_t i = 0; i < n; i++) {
			assert_true(sr_nodes_get(server, &pairs[i].wanted, &node));
			assert_int_equal(sr_nodes_put(client, &pairs[i].wanted, node, err), SR_OK);
		}
	}
}

static void test_few_nodes_and_leaves_without_end(void **state)
{
	struct sr_nodes *server = new_nodes(), *client = new_nodes();
	struct sr_entry top;
	struct sr_err err;

	(void)state;
	twice_each(server, 60, true, &top);
	assert_int_equal(take_all(server, client, &top.hash, &err), SR_OK); /* no limit was set */
	sr_nodes_free(client);
	client = new_nodes();
	sr_nodes_limit(client, 1000);
	assert_int_equal(take_all(server, client, &top.hash, &err), SR_E_LIMIT);
	assert_non_null(strstr(err.text, "1152921504606846976 leaves, and Max-Leaves is 1000"));
	twice_each(server, 9, true, &top);
	assert_int_equal(take_all(server, client, &top.hash, &err), SR_OK);
	twice_each(server, 60, false, &top);
	assert_int_equal(take_all(server, client, &top.hash, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "does not count what is in it"));
	sr_nodes_free(server);
	sr_nodes_free(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_nodes_and_leaves_without_end),
		cmocka_unit_test(test_random_trees),
		cmocka_unit_test(test_one_change_of_many),
		cmocka_unit_test(test_rename_moves_no_content),
		cmocka_unit_test(test_bucket_beside_inner),
		cmocka_unit_test(test_mine_unknown_to_the_server),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_shared_subtrees_are_walked_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
