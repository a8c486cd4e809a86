/* test_changes.c - changes lead from one root to the next, and what leads elsewhere, or is none, is told apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/replica/changes.h"

struct world {
	struct sr_tree_key key;
	struct sr_nodes *nodes;
	struct sr_hash files, database, root; /* of 300 files in a directory, and of a database with a table */
	struct sr_err err;
};

static struct sr_version file(struct world *w, const char *text)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = 0644, .bytes = strlen(text)};

	sr_hash_of(&v.hash, &w->key, sr_bytes_of(text));
	return v;
}

static struct sr_leaf a_file(struct world *w, const char *path, const char *text)
{
	return (struct sr_leaf){.path = sr_bytes_of(path), .to = file(w, text), .mtime_ns = 5};
}

static struct sr_leaf gone(const char *path)
{
	return (struct sr_leaf){.path = sr_bytes_of(path)};
}

static void edit(struct world *w, uint8_t kind, struct sr_hash *map, const struct sr_leaf *leaf)
{
	struct sr_edit one = {.path = leaf->path, .to = leaf->to};

	assert_int_equal(sr_store_edit(w->nodes, kind, map, &one, 1, map, &w->err), SR_OK);
}

static struct sr_hash root_of(struct world *w)
{
	struct sr_entry stores[] = {{.name = sr_bytes_of("resources"), .kind = SR_KIND_FILES, .hash = w->files},
				    {.name = sr_bytes_of("users.db"), .kind = SR_KIND_DATABASE, .hash = w->database}};
	struct sr_entry out;

	for (size_t i = 0; i < 2; i++)
		assert_int_equal(sr_map_counts(w->nodes, &stores[i].hash, &stores[i].leaves, &stores[i].bytes), SR_OK);
	sr_map_build(w->nodes, sr_bytes(NULL, 0), stores, 2, &out);
	return out.hash;
}

static int setup(void **state)
{
	static const uint8_t secret[SR_KEY_LEN] = "any will do";
	struct world *w = sr_alloc(sizeof *w);
	struct sr_leaf table = {.path = sr_bytes_of("users"), .to = {.kind = SR_KIND_TABLE, .hash = {{7}}}};
	char path[16];

	sr_tree_key_set(&w->key, secret);
	w->nodes = sr_nodes_new(&w->key);
	sr_store_empty(w->nodes, SR_KIND_FILES, &w->files);
	sr_store_empty(w->nodes, SR_KIND_DATABASE, &w->database);
	edit(w, SR_KIND_DATABASE, &w->database, &table);
	for (int i = 0; i < 300; i++) {
		struct sr_leaf leaf;

		memcpy(path, "d\0f", 3);
		snprintf(path + 3, sizeof path - 3, "%03d", i);
		leaf = (struct sr_leaf){.path = sr_bytes(path, 6), .to = file(w, path + 2)};
		edit(w, SR_KIND_FILES, &w->files, &leaf);
	}
	w->root = root_of(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sr_nodes_free(w->nodes);
	free(w);
	return 0;
}

static void add_commit(struct sr_buf *changes, struct sr_buf *commit)
{
	sr_buf_string(changes, sr_buf_view(commit));
	sr_buf_clear(commit);
}

static enum sr_status apply(struct world *w, const struct sr_buf *changes, struct sr_hash *out)
{
	return sr_changes_apply(w->nodes, &w->root, sr_buf_view(changes), out, &w->err);
}

static void test_they_lead_to_the_next_root(void **state)
{
	struct world *w = *state;
	struct sr_buf commit = {0}, changes = {0};
	struct sr_bytes content = sr_bytes_of("new");
	struct sr_leaf one = a_file(w, "a", "new"), two = a_file(w, "d", "a file"), three = a_file(w, "a", "newer"), last = gone("a"),
		       table = {.path = sr_bytes_of("more"), .to = {.kind = SR_KIND_TABLE, .hash = {{8}}}};
	struct sr_hash from = w->root, want, got;

	sr_change_add(&commit, "resources", &one, &content);
	sr_change_add(&commit, "resources", &two, NULL); /* in the place of 300 files */
	sr_change_add(&commit, "users.db", &table, NULL);
	add_commit(&changes, &commit);
	edit(w, SR_KIND_FILES, &w->files, &one);
	edit(w, SR_KIND_FILES, &w->files, &two);
	edit(w, SR_KIND_DATABASE, &w->database, &table);
	want = root_of(w);
	assert_int_equal(apply(w, &changes, &got), SR_OK);
	assert_true(sr_hash_eq(&got, &want));
	assert_false(sr_hash_eq(&got, &from));

	sr_change_add(&commit, "resources", &three, NULL); /* the same once more, in a commit of its own */
	add_commit(&changes, &commit);
	sr_change_add(&commit, "resources", &last, NULL);
	add_commit(&changes, &commit);
	edit(w, SR_KIND_FILES, &w->files, &last);
	want = root_of(w);
	assert_int_equal(apply(w, &changes, &got), SR_OK);
	assert_true(sr_hash_eq(&got, &want));

	sr_buf_clear(&changes); /* none */
	assert_int_equal(apply(w, &changes, &got), SR_OK);
	assert_true(sr_hash_eq(&got, &from));
	sr_buf_free(&changes);
	sr_buf_free(&commit);
}

static void refused(struct world *w, enum sr_status rc, struct sr_buf *commit)
{
	struct sr_buf changes = {0};
	struct sr_hash got = {{1}}, before = got;

	add_commit(&changes, commit);
	if (apply(w, &changes, &got) != rc)
		fail_msg("%s", w->err.text);
	assert_true(sr_hash_eq(&got, &before));
	assert_true(w->err.text[0]);
	sr_buf_free(&changes);
}

static void test_what_is_none_is_refused(void **state)
{
	struct world *w = *state;
	struct sr_buf commit = {0}, leaf = {0};
	struct sr_leaf b = a_file(w, "b", "b"), a = a_file(w, "a", "a"), row = {.path = sr_bytes_of("users\0x"), .to = {.kind = SR_KIND_DIR}},
		       up = a_file(w, "..", "x"), schema = {.path = sr_bytes_of(SR_SCHEMA_PATH), .to = {.kind = SR_KIND_TABLE, .hash = {{1}}}};
	struct sr_bytes content = sr_bytes_of("b");
	char name[8];

	sr_change_add(&commit, "nosuch", &b, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "resources", &b, NULL); /* out of order, */
	sr_change_add(&commit, "resources", &a, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "resources", &b, NULL); /* and twice */
	sr_change_add(&commit, "resources", &b, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "users.db", &b, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "users.db", &row, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "users.db", &schema, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "resources", &up, NULL);
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "resources", &b, &content);
	commit.len--;
	refused(w, SR_E_DATA, &commit);
	sr_change_add(&commit, "resources", &b, NULL);
	commit.at[commit.len - 1] = 2;
	refused(w, SR_E_DATA, &commit);
	b.flags = SR_LEAF_UNION;
	sr_leaf_encode(&leaf, &b);
	sr_buf_string(&commit, sr_bytes_of("resources"));
	sr_buf_string(&commit, sr_buf_view(&leaf));
	sr_buf_byte(&commit, 0);
	refused(w, SR_E_DATA, &commit);
	for (int i = 0; i <= SR_CHANGES_LEAVES; i++) {
		snprintf(name, sizeof name, "%03d", i);
		b = a_file(w, name, "x");
		sr_change_add(&commit, "resources", &b, NULL);
	}
	refused(w, SR_E_LIMIT, &commit);
	memset(sr_buf_room(&commit, SR_CHANGES_MOST), 0, SR_CHANGES_MOST);
	commit.len = SR_CHANGES_MOST;
	refused(w, SR_E_LIMIT, &commit);
	sr_nodes_limit(w->nodes, 300);
	b = a_file(w, "one more", "x");
	sr_change_add(&commit, "resources", &b, NULL);
	refused(w, SR_E_LIMIT, &commit);
	sr_buf_free(&leaf);
	sr_buf_free(&commit);
}

static void test_an_answer_is_taken_apart(void **state)
{
	struct sr_bytes json, changes;

	(void)state;
	sr_changes_split(sr_bytes_of("{}"), &json, &changes);
	assert_int_equal(json.len, 2);
	assert_int_equal(changes.len, 0);
	sr_changes_split(sr_bytes("{}\0\1\0", 5), &json, &changes);
	assert_int_equal(json.len, 2);
	assert_memory_equal(changes.at, "\1\0", 2);
	assert_int_equal(changes.len, 2);
	sr_changes_split(sr_bytes(NULL, 0), &json, &changes);
	assert_int_equal(json.len + changes.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_they_lead_to_the_next_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_none_is_refused, setup, teardown),
		cmocka_unit_test(test_an_answer_is_taken_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
