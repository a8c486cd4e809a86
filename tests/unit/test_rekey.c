/* test_rekey.c - another tree key: of what was agreed on, what was edited, deleted or made here since stays known. */
#include "tests/unit/replica_world.h"

#include "lib/sync/internal.h"

static const struct sr_anchor now = {.epoch = 5, .seq = 9};

static void put_base(struct world *w, size_t i, struct sr_bytes path, enum sr_base_state state, const struct sr_version *base)
{
	struct sr_leaf_row row = row_at(w, i, path);

	row.path = path;
	row.base_state = state;
	row.base = *base;
	row.epoch = row.seq = 3;
	ok(sr_state_leaf_put(w->r->state, &w->r->stores[i].row, &row, &w->err));
}

static void agree(struct world *w, size_t i, struct sr_bytes path)
{
	struct sr_version v = version_at(w, i, path);

	put_base(w, i, path, SR_BASE_KNOWN, &v);
}

static void rekey(struct world *w, uint8_t n)
{
	struct sr_sync *s = sr_alloc(sizeof *s);
	uint8_t secret[SR_KEY_LEN];

	s->r = w->r;
	s->info.at = now;
	secret_of(n, secret);
	ok(sr_sync_rekey(s, secret, &w->err));
	free(s);
}

/* Is the hint this, as of the base's time (3, 3) or as of now? */
static void hints_at(struct world *w, size_t i, struct sr_bytes path, const struct sr_version *v, bool as_of_now)
{
	struct sr_leaf_row row = row_at(w, i, path);

	assert_int_equal(row.base_state, SR_BASE_HINT);
	assert_true(sr_version_eq(&row.base, v));
	assert_int_equal(row.epoch, as_of_now ? now.epoch : 3);
	assert_int_equal(row.seq, as_of_now ? now.seq : 3);
}

static void knows_nothing_of(struct world *w, size_t i, struct sr_bytes path)
{
	assert_int_equal(row_at(w, i, path).base_state, SR_BASE_UNKNOWN);
}

/* --- tests -------------------------------------------------------------------------------------------------------------- */

static void test_what_is_as_agreed_is_known_by_the_new_key(void **state)
{
	struct world *w = *state;
	struct sr_version file, row, old;

	scan_all(w);
	agree(w, RESOURCES, file_path("top"));
	agree(w, USERS, user_path(1));
	old = version_at(w, USERS, user_path(1));
	rekey(w, 2);
	file = file_version(w, "top");
	hints_at(w, RESOURCES, file_path("top"), &file, false);
	scan_all(w);
	row = version_at(w, USERS, user_path(1));
	assert_false(sr_version_eq(&row, &old));
	hints_at(w, USERS, user_path(1), &row, false);
	knows_nothing_of(w, USERS, user_path(2)); /* on which nobody agreed */
	knows_nothing_of(w, RESOURCES, file_path("img/a b.png"));
}

/* To the old hash nothing is equal any more. */
static void test_what_was_edited_or_deleted_stays_so(void **state)
{
	struct world *w = *state;
	struct sr_version top, img, row, gone;

	scan_all(w);
	agree(w, RESOURCES, file_path("top"));
	agree(w, RESOURCES, file_path("img/a b.png"));
	agree(w, USERS, user_path(1));
	agree(w, USERS, user_path(2));
	top = version_at(w, RESOURCES, file_path("top"));
	img = version_at(w, RESOURCES, file_path("img/a b.png"));
	row = version_at(w, USERS, user_path(1));
	gone = version_at(w, USERS, user_path(2));
	put(w, "res/top", "edited since the last scan");
	remove(below(w, "res/img/a b.png"));
	sql(w, "users.db", "UPDATE users SET name = 'lovelace' WHERE id = 1; DELETE FROM users WHERE id = 2");
	rekey(w, 2);
	hints_at(w, RESOURCES, file_path("top"), &top, true);
	hints_at(w, RESOURCES, file_path("img/a b.png"), &img, true);
	hints_at(w, USERS, user_path(1), &row, true);
	hints_at(w, USERS, user_path(2), &gone, true);
}

static void test_what_is_new_is_an_edit(void **state)
{
	static const struct sr_version absent;
	struct world *w = *state;

	scan_all(w);
	put_base(w, RESOURCES, file_path("top"), SR_BASE_KNOWN, &absent);
	put_base(w, USERS, user_path(1), SR_BASE_HINT, &absent);
	rekey(w, 2);
	hints_at(w, RESOURCES, file_path("top"), &absent, true);
	hints_at(w, USERS, user_path(1), &absent, true);
}

/* The key comes again, as after a second accident before the union is over: what was an edit stays one. */
static void test_twice(void **state)
{
	struct world *w = *state;
	struct sr_version old, top;

	scan_all(w);
	agree(w, RESOURCES, file_path("top"));
	agree(w, USERS, user_path(1));
	old = version_at(w, USERS, user_path(1));
	sql(w, "users.db", "UPDATE users SET name = 'lovelace' WHERE id = 1");
	rekey(w, 2);
	rekey(w, 3);
	top = file_version(w, "top");
	hints_at(w, RESOURCES, file_path("top"), &top, false);
	hints_at(w, USERS, user_path(1), &old, true);
}

/* Of a store that cannot be looked at nothing is said, and the others are not kept from it. */
static void test_a_paused_store(void **state)
{
	struct world *w = *state;
	struct sr_version top;

	scan_all(w);
	agree(w, RESOURCES, file_path("top"));
	agree(w, USERS, user_path(1));
	remove(below(w, "users.db-wal"));
	remove(below(w, "users.db-shm"));
	put(w, "users.db", "this is no database, and long enough for that to be seen by the one who opens it: it has more than a header's bytes");
	rekey(w, 2);
	top = file_version(w, "top");
	hints_at(w, RESOURCES, file_path("top"), &top, false);
	knows_nothing_of(w, USERS, user_path(1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin_full, world_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_as_agreed_is_known_by_the_new_key),
		TEST(test_what_was_edited_or_deleted_stays_so),
		TEST(test_what_is_new_is_an_edit),
		TEST(test_twice),
		TEST(test_a_paused_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
