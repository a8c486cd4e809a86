/* test_elsewhere.c - where a node has the contents of a plan: in the plan itself, in its map when that pays, and never under another length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/replica/elsewhere.h"

#define MIB ((uint64_t)1 << 20)
#define LIT(s) sr_bytes(s, sizeof(s) - 1)

struct world {
	struct sr_nodes *nodes;
	struct sr_hash map;
	struct sr_leaves *plan;
	struct sr_elsewhere *e;
};

static int set_up(void **state)
{
	struct world *w = sr_alloc(sizeof(*w));
	struct sr_tree_key key;

	sr_tree_key_set(&key, (uint8_t[SR_KEY_LEN]){7});
	w->nodes = sr_nodes_new(&key);
	w->plan = sr_leaves_new(NULL);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	sr_elsewhere_free(w->e);
	sr_leaves_free(w->plan);
	sr_nodes_free(w->nodes);
	free(w);
	return 0;
}

static struct sr_version file(uint8_t content, uint64_t bytes)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = bytes};

	memset(v.hash.b, content, sizeof(v.hash.b));
	return v;
}

static void there(struct world *w, struct sr_bytes path, struct sr_version v)
{
	struct sr_edit edit = {.path = path, .to = v};

	assert_int_equal(sr_store_edit(w->nodes, SR_KIND_FILES, &w->map, &edit, 1, &w->map, NULL), SR_OK);
}

static void plan(struct world *w, struct sr_bytes path, struct sr_version expect, struct sr_version to)
{
	assert_int_equal(sr_leaves_add(w->plan, &(struct sr_leaf){.path = path, .expect = expect, .to = to}, NULL), SR_OK);
}

static void look(struct world *w)
{
	sr_elsewhere_free(w->e);
	w->e = NULL;
	assert_int_equal(sr_elsewhere_new(&w->e, w->nodes, &w->map, w->plan, NULL), SR_OK);
}

static void assert_at(struct world *w, struct sr_version v, struct sr_bytes path)
{
	assert_true(sr_bytes_eq(sr_elsewhere_path(w->e, &v), path));
}

static const struct sr_version nothing;

static void test_what_is_moved_is_in_the_plan(void **state)
{
	struct world *w = *state;

	plan(w, LIT("a"), file(1, 5000), nothing);
	plan(w, LIT("b"), nothing, file(1, 5000));
	plan(w, LIT("c"), file(2, 5000), file(3, 5000)); /* and what is overwritten */
	plan(w, LIT("d"), nothing, file(2, 5000));
	look(w);
	assert_at(w, file(1, 5000), LIT("a"));
	assert_at(w, file(2, 5000), LIT("c"));
	assert_at(w, file(3, 5000), LIT(""));
}

static void test_what_is_copied_is_in_the_map(void **state)
{
	struct world *w = *state;

	there(w, LIT("d\0x"), file(1, MIB));
	there(w, LIT("d\0y"), file(2, MIB));
	plan(w, LIT("b"), nothing, file(1, MIB));
	plan(w, LIT("c"), nothing, file(1, MIB));
	look(w);
	assert_at(w, file(1, MIB), LIT("d\0x"));
	assert_at(w, file(2, MIB), LIT("")); /* nobody asked */
}

static void test_a_large_map_is_not_walked_for_little(void **state)
{
	struct world *w = *state;
	char name[8];

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%04d", i);
		there(w, sr_bytes_of(name), file((uint8_t)(i % 200 + 1), 15000));
	}
	plan(w, LIT("b"), nothing, file(100, 15000));
	look(w);
	assert_at(w, file(100, 15000), LIT(""));
	plan(w, LIT("c"), nothing, file(50, 15000));
	look(w);
	assert_int_equal(sr_elsewhere_path(w->e, &(struct sr_version){.kind = SR_KIND_FILE, .bytes = 15000, .hash = file(50, 0).hash}).len, 4);
}

static void test_what_is_not_looked_for(void **state)
{
	struct world *w = *state;
	struct sr_version dir = {.kind = SR_KIND_DIR, .mode = 0755}, mode = file(4, 5000);

	mode.mode = 0600;
	there(w, LIT("small"), file(1, SR_ELSEWHERE_LEAST - 1));
	there(w, LIT("long"), file(2, 6000));
	there(w, LIT("same"), file(4, 5000));
	plan(w, LIT("a"), nothing, file(1, SR_ELSEWHERE_LEAST - 1));
	plan(w, LIT("b"), nothing, file(2, 5000)); /* of another length: one of the two lies */
	plan(w, LIT("c"), nothing, dir);
	plan(w, LIT("same"), file(4, 5000), mode);
	look(w);
	assert_at(w, file(1, SR_ELSEWHERE_LEAST - 1), LIT(""));
	assert_at(w, file(2, 5000), LIT(""));
	assert_at(w, file(2, 6000), LIT(""));
	assert_at(w, dir, LIT(""));
	assert_at(w, mode, LIT(""));
	assert_int_equal(sr_elsewhere_path(NULL, &mode).len, 0);
}

static void test_a_map_that_is_not_whole(void **state)
{
	struct world *w = *state;

	memset(w->map.b, 9, sizeof(w->map.b));
	plan(w, LIT("b"), nothing, file(1, MIB));
	assert_int_equal(sr_elsewhere_new(&w->e, w->nodes, &w->map, w->plan, NULL), SR_E_GONE);
	assert_null(w->e);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_what_is_moved_is_in_the_plan),
		T(test_what_is_copied_is_in_the_map),
		T(test_a_large_map_is_not_walked_for_little),
		T(test_what_is_not_looked_for),
		T(test_a_map_that_is_not_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
