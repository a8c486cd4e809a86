/* test_plan.c - the planner over every combination of versions, and the shapes of trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/sync/plan.h"

/* Versions: 0 absent, 1..3 files of different content. */
static struct sr_version file(int v)
{
	struct sr_version out = {0};

	if (v) {
		out.kind = SR_KIND_FILE;
		out.mode = 0644;
		out.bytes = 1;
		out.hash.b[0] = (uint8_t)v;
	}
	return out;
}

static struct sr_version dir(unsigned mode)
{
	return (struct sr_version){.kind = SR_KIND_DIR, .mode = (uint16_t)mode};
}

static struct sr_item item(int l, int b, int r, int base_state)
{
	struct sr_item it = {.local = file(l), .remote = file(r), .base = file(b), .base_state = (uint8_t)base_state};

	sr_plan_item(&it);
	return it;
}

/* Design section 7's table, for all versions. */
static void test_known_base(void **state)
{
	(void)state;
	for (int l = 0; l < 4; l++)
		for (int b = 0; b < 4; b++)
			for (int r = 0; r < 4; r++) {
				struct sr_item it = item(l, b, r, SR_BASE_KNOWN);

				if (l == r)
					assert_int_equal(it.act, l == b ? SR_ACT_NOTHING : SR_ACT_AGREE);
				else if (l == b)
					assert_int_equal(it.act, SR_ACT_PULL);
				else if (r == b)
					assert_int_equal(it.act, SR_ACT_PUSH);
				else
					assert_int_equal(it.act, SR_ACT_PULL);
				/* A local version that is nobody's base is never let go without a copy. */
				assert_int_equal(it.archive, it.act == SR_ACT_PULL && l && l != b);
				assert_int_equal(it.flags, 0);
			}
}

/* The datastore's state as it is: never a push, and what is not known to have been there is kept. */
static void test_mirror(void **state)
{
	static const int states[] = {SR_BASE_KNOWN, SR_BASE_UNKNOWN, SR_BASE_HINT};

	(void)state;
	for (int l = 0; l < 4; l++)
		for (int b = 0; b < 4; b++)
			for (int r = 0; r < 4; r++)
				for (size_t k = 0; k < 3; k++) {
					struct sr_item it = item(l, b, r, states[k]);
					bool known = states[k] == SR_BASE_KNOWN && l == b;

					sr_plan_mirror(&it);
					assert_int_equal(it.act, l != r ? SR_ACT_PULL : known ? SR_ACT_NOTHING : SR_ACT_AGREE);
					assert_int_equal(it.archive, l != r && l && !known);
					assert_int_equal(it.flags, 0);
					if (it.archive)
						assert_string_equal(it.why, "mirror");
				}
}

/* A union deletes nothing, unless the datastore said that the name was deleted since. */
static void test_unknown_base(void **state)
{
	(void)state;
	for (int l = 0; l < 4; l++)
		for (int r = 0; r < 4; r++) {
			struct sr_item it = item(l, 0, r, SR_BASE_UNKNOWN);

			if (l == r) {
				assert_int_equal(it.act, SR_ACT_AGREE);
			} else if (!l) {
				assert_int_equal(it.act, SR_ACT_PULL);
				assert_int_equal(sr_plan_outcome(&it)->hash.b[0], r);
			} else if (!r) {
				assert_int_equal(it.act, SR_ACT_PUSH);
				assert_int_equal(it.flags, SR_LEAF_UNION);
				it.note = SR_NOTE_DELETED;
				sr_plan_item(&it);
				assert_int_equal(it.act, SR_ACT_PULL);
				assert_true(it.archive);
			} else {
				assert_int_equal(it.act, SR_ACT_PULL); /* never dated: the datastore's stands */
				assert_true(it.archive);
				it.dated = true;
				sr_plan_item(&it);
				assert_int_equal(it.act, SR_ACT_PUSH); /* the datastore judges */
				it.note = SR_NOTE_NEWER;
				sr_plan_item(&it);
				assert_int_equal(it.act, SR_ACT_PULL);
				assert_true(it.archive);
			}
		}
}

/* The datastore would not have it, for the sake of rows that depend on what it has. */
static void test_refused_for_others(void **state)
{
	(void)state;
	for (int l = 0; l < 3; l++)
		for (int b = 1; b < 3; b++)
			for (int r = 1; r < 3; r++) {
				struct sr_item it = item(l, b, r, SR_BASE_KNOWN), noted = it;

				noted.note = SR_NOTE_NEWER;
				sr_plan_item(&noted);
				if (it.act != SR_ACT_PUSH) {
					assert_int_equal(noted.act, it.act);
					continue;
				}
				assert_int_equal(noted.act, SR_ACT_PULL);
				assert_int_equal(sr_plan_outcome(&noted)->hash.b[0], r);
				assert_int_equal(noted.archive, l != 0);
				assert_int_equal(noted.flags, 0);
			}
}

static void test_hint(void **state)
{
	struct sr_item it = item(2, 1, 1, SR_BASE_HINT);

	(void)state;
	assert_int_equal(it.act, SR_ACT_PUSH);
	assert_int_equal(it.flags, SR_LEAF_UNION | SR_LEAF_EDITED);
	it = item(2, 1, 2, SR_BASE_HINT); /* a copy of ours lies there: that it is an edit only we can tell */
	assert_int_equal(it.act, SR_ACT_PUSH);
	assert_int_equal(it.flags, SR_LEAF_UNION | SR_LEAF_EDITED);
	it = item(1, 1, 1, SR_BASE_HINT);
	assert_int_equal(it.act, SR_ACT_AGREE);
	it.newer = true; /* than the datastore can know: it is told, for an older version elsewhere must not win over it */
	sr_plan_item(&it);
	assert_int_equal(it.act, SR_ACT_PUSH);
	assert_int_equal(it.flags, SR_LEAF_UNION);
	it.base_state = SR_BASE_KNOWN;
	sr_plan_item(&it);
	assert_int_equal(it.act, SR_ACT_NOTHING);
	it = item(1, 1, 2, SR_BASE_HINT);
	assert_int_equal(it.act, SR_ACT_PULL);
	assert_true(it.archive);
}

static struct sr_item at(const char *path, size_t len, struct sr_version l, struct sr_version b, struct sr_version r)
{
	struct sr_item it = {.path = sr_bytes(path, len), .local = l, .base = b, .remote = r, .base_state = SR_BASE_KNOWN};

	sr_plan_item(&it);
	return it;
}
#define AT(path, l, b, r) at(path, sizeof(path) - 1, l, b, r)

/* Here a file took the directory's place; there something was added to the directory: the datastore's subtree stands, the file is kept. */
static void test_file_against_directory(void **state)
{
	struct sr_version none = {0};
	struct sr_item items[] = {
		AT("x", file(1), dir(0755), dir(0755)),
		AT("x\0a", none, file(2), file(2)),
		AT("x\0b", none, none, file(3)),
	};

	(void)state;
	assert_int_equal(items[0].act, SR_ACT_PUSH);
	sr_plan_shape(items, 3);
	for (int k = 0; k < 3; k++)
		assert_int_equal(items[k].act, SR_ACT_PULL);
	assert_true(items[0].archive);
	assert_string_equal(items[0].why, "kind");
	assert_false(items[1].archive);
}

/* The other way round: there a file took its place, here something was added. */
static void test_directory_against_file(void **state)
{
	struct sr_version none = {0};
	struct sr_item items[] = {
		AT("x", dir(0755), dir(0755), file(1)),
		AT("x\0a", file(2), file(2), none),
		AT("x\0b", file(3), none, none),
	};

	(void)state;
	sr_plan_shape(items, 3);
	for (int k = 0; k < 3; k++)
		assert_int_equal(items[k].act, SR_ACT_PULL);
	assert_false(items[1].archive);
	assert_true(items[2].archive); /* nobody else has it */
}

/* A directory in which something stays is kept, whoever deleted it. */
static void test_directory_kept(void **state)
{
	struct sr_version none = {0};
	struct sr_item deleted_there[] = {AT("x", dir(0755), dir(0755), none), AT("x\0a", file(2), file(1), file(1))};
	struct sr_item deleted_here[] = {AT("x", none, dir(0755), dir(0755)), AT("x\0a", none, file(1), file(2))};

	(void)state;
	sr_plan_shape(deleted_there, 2);
	assert_int_equal(deleted_there[0].act, SR_ACT_PUSH);
	assert_int_equal(deleted_there[1].act, SR_ACT_PUSH);
	sr_plan_shape(deleted_here, 2);
	assert_int_equal(deleted_here[0].act, SR_ACT_PULL);
	assert_int_equal(deleted_here[1].act, SR_ACT_PULL);
}

/* --- random trees: whatever is planned, the outcome is a tree, and nothing is let go without a copy ------------------------ */

static uint64_t seed = 20261122;

static unsigned below(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 16) % n;
}

/* Paths: every chain of up to three components from {a, b}, parents first. */
static const char *const paths[] = {"a", "a\0a", "a\0a\0a", "a\0a\0b", "a\0b", "a\0b\0a", "a\0b\0b", "b", "b\0a", "b\0b"};
static const size_t lengths[] = {1, 3, 5, 5, 3, 5, 5, 1, 3, 3};
#define N 10

static int parent_of(int k)
{
	for (int p = k - 1; p >= 0; p--)
		if (lengths[p] + 2 == lengths[k] && memcmp(paths[p], paths[k], lengths[p]) == 0)
			return p;
	return -1;
}

static void random_tree(struct sr_version *v)
{
	for (int k = 0; k < N; k++) {
		int p = parent_of(k);
		bool can = p < 0 || v[p].kind == SR_KIND_DIR;
		unsigned what = can ? below(6) : 0;

		v[k] = what == 0 ? (struct sr_version){0} : what < 4 ? dir(what == 1 ? 0700 : 0755) : file((int)what - 2);
	}
}

/* An edited copy: a few items changed, and what lost its directory gone. */
static void edit_tree(struct sr_version *v, const struct sr_version *from)
{
	struct sr_version other[N];

	random_tree(other);
	for (int k = 0; k < N; k++) {
		int p = parent_of(k);

		v[k] = below(3) ? from[k] : other[k];
		if (p >= 0 && v[p].kind != SR_KIND_DIR)
			v[k] = (struct sr_version){0};
	}
}

static void check_outcome(const struct sr_version *l, const struct sr_version *b, const struct sr_version *r)
{
	struct sr_item items[N];
	struct sr_version out[N];
	size_t n = 0;

	for (int k = 0; k < N; k++)
		out[k] = l[k];
	for (int k = 0; k < N; k++)
		if (!sr_version_eq(&l[k], &r[k]) || !sr_version_eq(&l[k], &b[k]))
			items[n++] = at(paths[k], lengths[k], l[k], b[k], r[k]);
	sr_plan_shape(items, n);
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < N; k++)
			if (items[i].path.at == (const uint8_t *)paths[k]) {
				out[k] = *sr_plan_outcome(&items[i]);
				/* a local edit is pushed, or already there, or archived */
				if (l[k].kind != SR_KIND_NONE && !sr_version_eq(&l[k], &b[k]) && !sr_version_eq(&l[k], &r[k]) &&
				    items[i].act == SR_ACT_PULL)
					assert_true(items[i].archive);
				/* a remote edit is never pushed over */
				if (items[i].act == SR_ACT_PUSH && !sr_version_eq(&r[k], &b[k]))
					assert_true(r[k].kind == SR_KIND_NONE && l[k].kind == SR_KIND_DIR);
			}
	for (int k = 0; k < N; k++) {
		int p = parent_of(k);

		if (out[k].kind != SR_KIND_NONE && p >= 0)
			assert_int_equal(out[p].kind, SR_KIND_DIR);
	}
}

static void test_random_shapes(void **state)
{
	(void)state;
	for (int round = 0; round < 200000; round++) {
		struct sr_version l[N], b[N], r[N];

		random_tree(b);
		edit_tree(l, b);
		edit_tree(r, b);
		check_outcome(l, b, r);
	}
}

/* --- tables --------------------------------------------------------------------------------------------------------------- */

static struct sr_version table(int fingerprint)
{
	struct sr_version v = {.kind = SR_KIND_TABLE};

	v.hash.b[0] = (uint8_t)fingerprint;
	return v;
}

static struct sr_version row(int v)
{
	struct sr_version out = file(v);

	if (v) {
		out.kind = SR_KIND_ROW;
		out.mode = 0;
	}
	return out;
}

static void test_tables(void **state)
{
	struct sr_version none = {0};
	struct sr_item differ[] = {AT("t", table(1), table(2), table(2)), AT("t\0k", row(1), none, none), AT("u\0k", row(1), none, none)};
	struct sr_item waits[] = {AT("t", table(1), table(1), table(2)), AT("t\0k", row(1), none, none)};
	struct sr_item fresh[] = {AT("t", none, none, table(1)), AT("t\0k", none, none, row(1))};
	struct sr_item dropped[] = {AT("t", none, table(1), table(1)), AT("t\0k", none, row(1), row(1))};
	struct sr_item made[] = {AT("t", table(1), none, none), AT("t\0k", row(1), none, none)};
	struct sr_item gone[] = {AT("t", table(1), table(1), none), AT("t\0k", row(1), row(1), none)};

	(void)state;
	sr_plan_tables(differ, 3, false);
	assert_int_equal(differ[0].act, SR_ACT_PUSH); /* it may be an added column */
	assert_int_equal(differ[1].act, SR_ACT_SKIP); /* after it */
	assert_int_equal(differ[2].act, SR_ACT_PUSH);
	differ[0].note = SR_NOTE_DECLINED;
	sr_plan_tables(differ, 3, false);
	assert_int_equal(differ[0].act, SR_ACT_SKIP);
	assert_int_equal(differ[1].act, SR_ACT_SKIP);
	sr_plan_tables(waits, 2, false);
	assert_int_equal(waits[0].act, SR_ACT_SKIP); /* changed elsewhere */
	assert_int_equal(waits[1].act, SR_ACT_SKIP);
	sr_plan_tables(fresh, 2, true);
	assert_int_equal(fresh[0].act, SR_ACT_PULL);
	assert_int_equal(fresh[1].act, SR_ACT_PULL);
	fresh[0] = AT("t", none, none, table(1));
	sr_plan_tables(fresh, 2, false);
	assert_int_equal(fresh[0].act, SR_ACT_SKIP);
	assert_int_equal(fresh[1].act, SR_ACT_SKIP);
	sr_plan_tables(dropped, 2, false);
	assert_int_equal(dropped[1].act, SR_ACT_SKIP); /* a dropped table deletes no row elsewhere */
	sr_plan_tables(made, 2, false);
	assert_int_equal(made[0].act, SR_ACT_PUSH);
	assert_int_equal(made[1].act, SR_ACT_PUSH);
	sr_plan_tables(gone, 2, false);
	assert_int_equal(gone[0].act, SR_ACT_SKIP); /* nor here, where it is the datastore's */
	assert_int_equal(gone[1].act, SR_ACT_SKIP);
	for (int k = 0; k < 2; k++) {
		gone[k].base_state = dropped[k].base_state = SR_BASE_HINT;
		sr_plan_item(&gone[k]);
		sr_plan_item(&dropped[k]);
	}
	sr_plan_tables(gone, 2, false);
	sr_plan_tables(dropped, 2, false);
	assert_int_equal(gone[0].act, SR_ACT_PUSH); /* a union brings it back there, */
	assert_int_equal(gone[1].act, SR_ACT_PUSH);
	assert_int_equal(dropped[0].act, SR_ACT_SKIP); /* and not where the application dropped it */
	assert_int_equal(dropped[1].act, SR_ACT_SKIP);
}

/* --- rows ----------------------------------------------------------------------------------------------------------------- */

static void test_merges(void **state)
{
	struct sr_item it = {.path = {(const uint8_t *)"t\0k", 3}, .local = row(1), .base = row(2), .remote = row(3), .base_state = SR_BASE_KNOWN};
	struct sr_version none = {0};

	(void)state;
	sr_plan_item(&it);
	assert_int_equal(it.act, SR_ACT_MERGE);
	assert_true(it.archive); /* if it comes to nothing */
	it.note = SR_NOTE_CONFLICT;
	sr_plan_item(&it);
	assert_int_equal(it.act, SR_ACT_PULL);
	assert_true(it.archive);
	it.note = SR_NOTE_NONE;
	it.base = none; /* two new rows of one key have nothing to merge with */
	sr_plan_item(&it);
	assert_int_equal(it.act, SR_ACT_PULL);
	it.base = row(2);
	it.remote = none;
	sr_plan_item(&it);
	assert_int_equal(it.act, SR_ACT_PULL);
	assert_true(it.archive);
	it.remote = row(3);
	it.base_state = SR_BASE_HINT;
	sr_plan_item(&it);
	assert_int_not_equal(it.act, SR_ACT_MERGE);
}

static struct sr_version times(uint64_t n)
{
	struct sr_version v = n ? row(1) : (struct sr_version){0};

	v.bytes = n;
	return v;
}

/* max(0, R + L - B), in all combinations of small counts. */
static void test_bags(void **state)
{
	static const char path[] = "t\0\2\0\4\20" "0123456789abcdef";
	struct sr_item it = {.path = {(const uint8_t *)path, sizeof path - 1}};

	(void)state;
	for (uint64_t l = 0; l < 4; l++)
		for (uint64_t b = 0; b < 4; b++)
			for (uint64_t r = 0; r < 4; r++) {
				uint64_t want = r + l > b ? r + l - b : 0;

				it.local = times(l), it.base = times(b), it.remote = times(r);
				it.base_state = SR_BASE_KNOWN;
				sr_plan_item(&it);
				assert_int_equal(sr_plan_count(&it), want);
				assert_false(it.archive);
				assert_int_equal(it.act, l == want && r == want ? b == want ? SR_ACT_NOTHING : SR_ACT_AGREE
							 : r == want            ? SR_ACT_PULL
							 : l == want            ? SR_ACT_PUSH
										: SR_ACT_MERGE);
				it.base_state = SR_BASE_UNKNOWN; /* deletes nothing */
				sr_plan_item(&it);
				assert_int_equal(it.act, l == r ? SR_ACT_AGREE : l < r ? SR_ACT_PULL : SR_ACT_PUSH);
				assert_int_equal(it.flags, it.act == SR_ACT_PUSH ? SR_LEAF_UNION : 0);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_base),
		cmocka_unit_test(test_mirror), cmocka_unit_test(test_unknown_base),
		cmocka_unit_test(test_refused_for_others),
		cmocka_unit_test(test_hint),
		cmocka_unit_test(test_file_against_directory),
		cmocka_unit_test(test_directory_against_file),
		cmocka_unit_test(test_directory_kept),
		cmocka_unit_test(test_random_shapes),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_merges),
		cmocka_unit_test(test_bags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
