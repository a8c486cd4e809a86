/* test_edit.c - edits as the application's own: real databases and files; what the next scan finds, and what it must not. */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/replica/edit.h"
#include "tests/unit/replica_world.h"

/* --- leaves ------------------------------------------------------------------------------------------------------------ */

static struct sr_leaves *none(void)
{
	return sr_leaves_new(NULL);
}

static void add_user(struct world *w, struct sr_leaves *leaves, int64_t id, const char *name, const struct sr_version *expect)
{
	struct sr_column columns[] = {
		{.name = sr_bytes_of("id"), .value = {.class = SR_INT, .i = id}},
		{.name = sr_bytes_of("name"), .value = {.class = SR_TEXT, .b = sr_bytes_of(name)}},
	};
	struct sr_buf record = {0};
	struct sr_leaf leaf = {.path = user_path(id), .to = {.kind = SR_KIND_ROW}};

	sr_record_encode(&record, columns, 2);
	leaf.expect = expect ? *expect : version_at(w, USERS, leaf.path);
	leaf.record = sr_buf_view(&record);
	leaf.to.bytes = record.len;
	sr_hash_of(&leaf.to.hash, &w->r->key, leaf.record);
	ok(sr_leaves_add(leaves, &leaf, &w->err));
	sr_buf_free(&record);
}

static void add_deletion(struct world *w, struct sr_leaves *leaves, size_t i, struct sr_bytes path)
{
	struct sr_leaf leaf = {.path = path, .expect = version_at(w, i, path)};

	ok(sr_leaves_add(leaves, &leaf, &w->err));
}

static void add_file(struct world *w, struct sr_leaves *leaves, const char *name, const char *content)
{
	struct sr_store *st = w->r->stores[RESOURCES].store;
	struct sr_leaf leaf = {.path = file_path(name), .to = file_version(w, content), .mtime_ns = 86400000000000};
	struct sr_stage *stage = NULL;

	leaf.expect = version_at(w, RESOURCES, leaf.path);
	ok(sr_stage_open(&stage, st, &w->err));
	ok(sr_stage_write(stage, content, strlen(content), &w->err));
	ok(sr_stage_finish(stage, &leaf.to, leaf.mtime_ns, &leaf, &w->err));
	ok(sr_leaves_add(leaves, &leaf, &w->err));
	sr_stage_free(stage);
}

/* --- what is found afterwards --------------------------------------------------------------------------------------------- */

struct seen {
	size_t changes, deletions;
};

static enum sr_status count_change(void *ctx, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to,
				   struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)i, (void)path, (void)from, (void)err;
	seen->changes++;
	seen->deletions += to->kind == SR_KIND_NONE;
	return SR_OK;
}

static struct seen scan_counting(struct world *w, size_t i)
{
	struct seen seen = {0};

	ok(sr_replica_scan(w->r, i, true, count_change, &seen, &w->err));
	sr_replica_unview(w->r);
	return seen;
}

static struct sr_uuid marked(struct world *w, size_t i)
{
	struct sr_uuid id = sr_uuid_random(), instance = sr_uuid_random();

	ok(sr_replica_mark(w->r, i, &id, &instance, 1, 2, &w->err));
	return id;
}

static void assert_marker(struct world *w, size_t i, const struct sr_uuid *id)
{
	sr_replica_look_at(w->r, i);
	assert_memory_equal(&w->r->stores[i].marker.id, id, sizeof *id);
}

static uint64_t archived(struct world *w)
{
	struct sr_archive_usage u;

	sr_archive_usage(w->r->archive, &u);
	return u.entries;
}

static char *content_of(struct world *w, const char *name)
{
	static char text[256];
	FILE *in = fopen(below(w, name), "r");

	if (!in)
		return NULL;
	text[fread(text, 1, sizeof text - 1, in)] = '\0';
	fclose(in);
	return text;
}

static size_t staged_files(struct world *w)
{
	char *command = sr_format("test -z \"$(find %s/res/.sameroot/stage -type f -size +0 2>/dev/null)\"", w->dir);
	int rc = system(command);

	free(command);
	return rc != 0;
}

/* --- rows ----------------------------------------------------------------------------------------------------------------- */

static void rows_are_edited_and_found(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();
	struct sr_leaf_row before, after;
	struct sr_version base;
	struct sr_uuid id;
	struct seen seen;

	scan_all(w);
	id = marked(w, USERS);
	before = row_at(w, USERS, user_path(1));
	base = before.base;
	add_user(w, leaves, 1, "lovelace", NULL);
	add_user(w, leaves, 7, "new", NULL);
	add_deletion(w, leaves, USERS, user_path(2));
	ok(sr_replica_edit(w->r, USERS, leaves, &w->err));
	sr_leaves_free(leaves);
	assert_marker(w, USERS, &id);
	seen = scan_counting(w, USERS);
	assert_int_equal(seen.changes, 3);
	assert_int_equal(seen.deletions, 1);
	assert_int_equal(version_at(w, USERS, user_path(7)).kind, SR_KIND_ROW);
	assert_int_equal(version_at(w, USERS, user_path(2)).kind, SR_KIND_NONE);
	after = row_at(w, USERS, user_path(1));
	assert_int_equal(after.base_state, before.base_state);
	assert_true(sr_version_eq(&after.base, &base)); /* so it is pushed */
	assert_int_equal(archived(w), 0);
	assert_int_equal(scan_counting(w, USERS).changes, 0);
}

static void a_row_that_changed_meanwhile_stops_all_of_it(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();

	scan_all(w);
	add_user(w, leaves, 1, "lovelace", NULL);
	add_user(w, leaves, 2, "carl", NULL);
	sql(w, "users.db", "UPDATE users SET name = 'bert' WHERE id = 2");
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_CHANGED);
	assert_non_null(strstr(w->err.text, "users.db/users/2"));
	sr_leaves_free(leaves);
	assert_int_equal(scan_counting(w, USERS).changes, 1); /* the application's own */
}

/* What would have been archived had it gone through is not: it is where it was. */
static void of_an_edit_that_is_refused_nothing_is_archived(void **state)
{
	struct world *w = *state;
	struct sr_leaves *given = none(), *leaves = none();
	struct sr_leaf leaf;

	scan_all(w);
	add_user(w, given, 1, "Other", NULL);
	add_user(w, given, 2, "Another", NULL);
	for (size_t k = 0; k < 2; k++) {
		ok(sr_leaves_at(given, k, &leaf, &w->err));
		leaf.flags = SR_LEAF_ARCHIVE;
		ok(sr_leaves_add(leaves, &leaf, &w->err));
	}
	sql(w, "users.db", "UPDATE users SET name = 'meanwhile' WHERE id = 2");
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_CHANGED);
	assert_int_equal(archived(w), 0);
	sr_leaves_free(leaves);
	sr_leaves_free(given);
}

/* Nor is anything said to be done that is not. */
static void a_row_without_its_table_stops_all_of_it(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();

	scan_all(w);
	add_user(w, leaves, 1, "Other", NULL);
	sql(w, "users.db", "ALTER TABLE users RENAME TO aside");
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_CHANGED);
	assert_non_null(strstr(w->err.text, "its table is not here"));
	sr_leaves_free(leaves);
}

static void a_unique_value_and_a_parent_are_asked_for(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();

	sql(w, "users.db",
	    "CREATE UNIQUE INDEX names ON users(name); CREATE TABLE notes (id INTEGER PRIMARY KEY, user INTEGER REFERENCES users(id)); "
	    "INSERT INTO notes VALUES (1, 2)");
	scan_all(w);
	add_user(w, leaves, 7, "ada", NULL);
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_CHANGED);
	assert_non_null(strstr(w->err.text, "users.db/users/7"));
	assert_non_null(strstr(w->err.text, "users.db/users/1"));
	sr_leaves_free(leaves);
	leaves = none();
	add_deletion(w, leaves, USERS, user_path(2));
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_CHANGED);
	assert_non_null(strstr(w->err.text, "users.db/notes/1"));
	sr_leaves_free(leaves);
	assert_int_equal(scan_counting(w, USERS).changes, 0);
}

static void note_left(void *ctx, const char *why)
{
	struct sr_buf *told = ctx;

	sr_buf_printf(told, "%s\n", why);
}

/* Nor what would have a place only if another had not been left out: 1 keeps the name that 2 was to have. */
static void what_has_no_place_is_left_out_and_told(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();
	struct sr_buf told = {0};

	sql(w, "users.db",
	    "CREATE UNIQUE INDEX names ON users(name); ALTER TABLE users ADD COLUMN grade INTEGER CHECK (name <> 'bad'); "
	    "INSERT INTO users(id, name) VALUES (3, 'cyril')");
	scan_all(w);
	add_user(w, leaves, 1, "cyril", NULL);
	add_user(w, leaves, 2, "ada", NULL);
	add_user(w, leaves, 8, "bad", NULL);
	add_user(w, leaves, 9, "fine", NULL);
	ok(sr_replica_edit_most(w->r, USERS, leaves, note_left, &told, &w->err));
	assert_non_null(strstr(sr_buf_text(&told), "users.db/users/1 has a UNIQUE value, or a key, that is needed by users.db/users/3\n"));
	assert_non_null(strstr(sr_buf_text(&told), "users.db/users/2 "));
	assert_non_null(strstr(sr_buf_text(&told), "users.db/users/8 is not written: CHECK constraint failed: "));
	assert_null(strstr(sr_buf_text(&told), "users.db/users/9"));
	assert_int_equal(scan_counting(w, USERS).changes, 1);
	assert_int_equal(version_at(w, USERS, user_path(9)).kind, SR_KIND_ROW);
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_CHANGED);
	sr_buf_free(&told);
	sr_leaves_free(leaves);
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static void files_are_edited_and_found(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();
	struct sr_uuid id;
	struct stat st;
	struct seen seen;

	scan_all(w);
	id = marked(w, RESOURCES);
	add_file(w, leaves, "top", "another");
	add_file(w, leaves, "fresh/below/x", "new");
	add_deletion(w, leaves, RESOURCES, file_path("img/a b.png"));
	ok(sr_replica_edit(w->r, RESOURCES, leaves, &w->err));
	sr_leaves_free(leaves);
	assert_marker(w, RESOURCES, &id);
	assert_string_equal(content_of(w, "res/top"), "another");
	assert_int_equal(stat(below(w, "res/top"), &st), 0);
	assert_int_equal(st.st_mtime, 86400);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_string_equal(content_of(w, "res/fresh/below/x"), "new");
	assert_null(content_of(w, "res/img/a b.png"));
	assert_int_equal(staged_files(w), 0);
	assert_int_equal(archived(w), 0);
	seen = scan_counting(w, RESOURCES);
	assert_int_equal(seen.changes, 5); /* two directories came */
	assert_int_equal(seen.deletions, 1);
}

static void a_file_that_changed_meanwhile_stops_the_others(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();

	scan_all(w);
	add_file(w, leaves, "img/a b.png", "another");
	add_file(w, leaves, "top", "another");
	put(w, "res/top", "the application's");
	assert_int_equal(sr_replica_edit(w->r, RESOURCES, leaves, &w->err), SR_E_CHANGED);
	assert_non_null(strstr(w->err.text, "resources/top"));
	sr_leaves_free(leaves);
	assert_string_equal(content_of(w, "res/top"), "the application's");
	assert_string_equal(content_of(w, "res/img/a b.png"), "picture");
	assert_int_equal(staged_files(w), 0);
}

/* Before the first exchange the application writes `dying_file`, and after it the process is gone. */
static const char *dying_file;

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
	FILE *out = dying_file && flags == RENAME_EXCHANGE ? fopen(dying_file, "w") : NULL;
	int rc;

	if (out) {
		fputs("the application's", out);
		fclose(out);
	}
	rc = (int)syscall(SYS_renameat2, from, old, to, new, flags);
	if (out)
		_exit(9);
	return rc;
}

/* In another process, for the locks are this one's. */
static void edit_and_die(struct world *w)
{
	struct sr_leaves *leaves = none();
	int status;
	pid_t child;

	close_replica(w);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		open_replica(w);
		sr_replica_look(w->r);
		ok(sr_replica_scan(w->r, RESOURCES, true, NULL, NULL, &w->err));
		sr_replica_unview(w->r);
		add_file(w, leaves, "top", "another");
		dying_file = below(w, "res/top");
		_exit(sr_replica_edit(w->r, RESOURCES, leaves, &w->err) == SR_OK ? 0 : 1);
	}
	sr_leaves_free(leaves);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	open_replica(w);
	sr_replica_look(w->r);
	assert_int_equal(archived(w), 0);
}

static void what_came_between_is_archived_after_a_crash(void **state)
{
	struct world *w = *state;
	struct sr_uuid id;

	scan_all(w);
	id = marked(w, RESOURCES);
	edit_and_die(w);
	sr_replica_edit_sweep(w->r, RESOURCES); /* the evidence stays */
	for (int turn = 0; turn < 2; turn++) { /* once */
		ok(sr_replica_edit_recover(w->r, RESOURCES, &w->err));
		sr_replica_edit_sweep(w->r, RESOURCES);
		assert_int_equal(archived(w), 1);
		assert_int_equal(staged_files(w), 0);
	}
	assert_string_equal(content_of(w, "res/top"), "another");
	assert_marker(w, RESOURCES, &id);
	assert_int_equal(scan_counting(w, RESOURCES).changes, 1); /* an ordinary one */
}

static void the_next_edit_ends_the_one_before(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();

	scan_all(w);
	marked(w, RESOURCES);
	edit_and_die(w);
	ok(sr_replica_scan(w->r, RESOURCES, true, NULL, NULL, &w->err));
	sr_replica_unview(w->r);
	add_file(w, leaves, "top", "a third");
	ok(sr_replica_edit(w->r, RESOURCES, leaves, &w->err));
	sr_leaves_free(leaves);
	assert_int_equal(archived(w), 1);
	assert_string_equal(content_of(w, "res/top"), "a third");
	assert_int_equal(staged_files(w), 0);
}

/* --- when it may not --------------------------------------------------------------------------------------------------------- */

static void a_round_that_was_cut_short_comes_first(void **state)
{
	struct world *w = *state;
	struct sr_intent_head head = {.marker = sr_uuid_random()};
	struct sr_leaves *leaves = none(), *nothing = none();

	scan_all(w);
	ok(sr_state_intend(w->r->state, &w->r->stores[USERS].row, &head, nothing, &w->err));
	sr_leaves_free(nothing);
	add_user(w, leaves, 1, "lovelace", NULL);
	assert_int_equal(sr_replica_edit(w->r, USERS, leaves, &w->err), SR_E_BUSY);
	sr_leaves_free(leaves);
	assert_int_equal(scan_counting(w, USERS).changes, 0);
}

static void a_paused_store_is_left_alone(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = none();

	scan_all(w);
	marked(w, RESOURCES);
	add_file(w, leaves, "top", "another");
	remove_tree(below(w, "res"));
	sr_replica_look(w->r);
	assert_int_equal(sr_replica_edit(w->r, RESOURCES, leaves, &w->err), SR_E_UNAVAILABLE);
	assert_non_null(strstr(w->err.text, "lost"));
	sr_leaves_free(leaves);
}

int main(void)
{
#define full_test(f) cmocka_unit_test_setup_teardown(f, world_begin_full, world_end)
	const struct CMUnitTest tests[] = {
		full_test(rows_are_edited_and_found),
		full_test(a_row_that_changed_meanwhile_stops_all_of_it),
		full_test(of_an_edit_that_is_refused_nothing_is_archived),
		full_test(a_row_without_its_table_stops_all_of_it),
		full_test(a_unique_value_and_a_parent_are_asked_for),
		full_test(what_has_no_place_is_left_out_and_told),
		full_test(files_are_edited_and_found),
		full_test(a_file_that_changed_meanwhile_stops_the_others),
		full_test(what_came_between_is_archived_after_a_crash),
		full_test(the_next_edit_ends_the_one_before),
		full_test(a_round_that_was_cut_short_comes_first),
		full_test(a_paused_store_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
