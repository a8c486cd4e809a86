/* test_trash.c - what commits replaced and the journal of them in state.db: how long they stay, what they weigh; and a state.db of format 1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/state/internal.h"
#include "lib/state/trash.h"

#define LIT(s) sr_bytes(s, sizeof(s) - 1)

struct fixture {
	char dir[64];
	struct sr_state *s;
	struct sr_err err;
};

#define OK(call) \
	do { \
		f->err = (struct sr_err){0}; \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, f->err.text); \
	} while (0)

static void open_state(struct fixture *f)
{
	bool fresh;

	OK(sr_state_open(&f->s, f->dir, &fresh, &f->err));
}

static int set_up(void **state)
{
	struct fixture *f = sr_alloc(sizeof *f);

	strcpy(f->dir, "/tmp/sr-trash-XXXXXX");
	*state = f;
	if (!mkdtemp(f->dir))
		return -1;
	open_state(f);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char *command = sr_format("rm -rf '%s'", f->dir);
	int rc;

	sr_state_close(f->s);
	rc = system(command);
	free(command);
	free(f);
	return rc;
}

static struct sr_hash hash(uint8_t n)
{
	struct sr_hash h = {{0}};

	h.b[SR_HASH_LEN - 1] = n;
	return h;
}

static void add_record(struct fixture *f, uint8_t n, size_t bytes, uint64_t seq, int64_t at_ms)
{
	char *text = sr_alloc(bytes + 1);
	struct sr_replaced r = {.hash = hash(n), .epoch = 1, .seq = seq, .at_ms = at_ms};

	memset(text, 'x', bytes);
	r.record = sr_bytes(text, bytes);
	OK(sr_state_replaced_add(f->s, &r, &f->err));
	free(text);
}

static void add_file(struct fixture *f, uint8_t n, uint64_t bytes, uint64_t seq, int64_t at_ms)
{
	struct sr_replaced r = {.hash = hash(n), .file = true, .bytes = bytes, .epoch = 1, .seq = seq, .at_ms = at_ms};

	OK(sr_state_replaced_add(f->s, &r, &f->err));
}

static bool is_kept(struct fixture *f, uint8_t n)
{
	struct sr_hash h = hash(n);
	struct sr_buf record = {0};
	bool found = false;

	OK(sr_state_replaced(f->s, &h, &record, &found, &f->err));
	sr_buf_free(&record);
	return found;
}

/* How many files went. */
static size_t trim(struct fixture *f, struct sr_trash_rule rule)
{
	struct sr_buf files = {0};
	bool more = true;
	size_t n;

	rule.most = rule.most ? rule.most : 100;
	while (more)
		OK(sr_state_trash_trim(f->s, &rule, &files, &more, &f->err));
	n = files.len / SR_HASH_LEN;
	sr_buf_free(&files);
	return n;
}

static void assert_trash(struct fixture *f, uint64_t files, uint64_t records, uint64_t bytes)
{
	struct sr_trash t;

	OK(sr_state_trash(f->s, &t, &f->err));
	assert_int_equal(t.files, files);
	assert_int_equal(t.records, records);
	assert_int_equal(t.bytes, bytes);
}

/* --- what is replaced ------------------------------------------------------------------------------------------------------- */

static void it_is_counted(void **state)
{
	struct fixture *f = *state;

	assert_trash(f, 0, 0, 0);
	add_record(f, 1, 10, 5, 1000);
	add_file(f, 2, 700, 6, 2000);
	add_record(f, 1, 10, 9, 3000); /* once more: it is there once */
	assert_trash(f, 1, 1, 710);
	OK(sr_state_begin(f->s, &f->err));
	add_file(f, 3, 5, 7, 2000);
	sr_state_rollback(f->s);
	assert_trash(f, 1, 1, 710);
	assert_int_equal(trim(f, (struct sr_trash_rule){.epoch = 2, .since_ms = 5000, .bytes = UINT64_MAX}), 1);
	assert_trash(f, 0, 0, 0);
}

static void the_latest_replacement_counts(void **state)
{
	struct fixture *f = *state;
	struct sr_trash_rule rule = {.epoch = 1, .seq = 9, .since_ms = 2500, .bytes = UINT64_MAX};

	add_record(f, 1, 3, 5, 1000);
	add_record(f, 2, 3, 6, 2000);
	add_record(f, 1, 3, 8, 3000);
	add_record(f, 1, 3, 7, 1000); /* told late */
	(void)trim(f, rule);
	assert_true(is_kept(f, 1));
	assert_false(is_kept(f, 2));
}

static void what_readable_roots_need_stays(void **state)
{
	struct fixture *f = *state;
	struct sr_trash_rule rule = {.epoch = 1, .seq = 7, .since_ms = 10000, .bytes = 0};

	add_file(f, 1, 100, 6, 1000);
	add_file(f, 2, 100, 7, 1000);
	assert_int_equal(trim(f, rule), 1);
	assert_false(is_kept(f, 1));
	assert_true(is_kept(f, 2));
}

static void the_newest_short_records_stay(void **state)
{
	struct fixture *f = *state;
	struct sr_trash_rule rule = {.epoch = 2, .records = 2, .since_ms = 10000, .bytes = 0};

	for (uint8_t n = 1; n <= 4; n++)
		add_record(f, n, 3, n, n * 1000);
	add_record(f, 9, 16385, 4, 4000);
	(void)trim(f, rule);
	assert_false(is_kept(f, 1) || is_kept(f, 2) || is_kept(f, 9));
	assert_true(is_kept(f, 3) && is_kept(f, 4));
}

static void the_oldest_go_when_there_is_too_much(void **state)
{
	struct fixture *f = *state;
	struct sr_trash_rule rule = {.epoch = 2, .since_ms = 0, .bytes = 250, .most = 1};

	for (uint8_t n = 1; n <= 5; n++)
		add_file(f, n, 100, n, n * 1000);
	assert_int_equal(trim(f, rule), 3);
	assert_false(is_kept(f, 1) || is_kept(f, 2) || is_kept(f, 3));
	assert_true(is_kept(f, 4) && is_kept(f, 5));
	assert_trash(f, 2, 0, 200);
	assert_int_equal(trim(f, rule), 0);
}

/* --- the journal --------------------------------------------------------------------------------------------------------------- */

static void journal(struct fixture *f, uint64_t seq, struct sr_bytes path, int64_t at_ms)
{
	struct sr_journal_row row = {.epoch = 1, .seq = seq, .store = "resources", .path = path, .at_ms = at_ms, .mtime_ns = 77};

	row.from = (struct sr_version){.kind = SR_KIND_FILE, .mode = 0644, .bytes = seq, .hash = hash(7)};
	OK(sr_state_journal_add(f->s, &row, &f->err));
}

struct seen {
	uint64_t n, seq[8];
	int64_t mtime_ns;
};

static enum sr_status on_row(void *ctx, const struct sr_journal_row *row, struct sr_err *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (seen->n < 8)
		seen->seq[seen->n] = row->seq;
	seen->n++;
	seen->mtime_ns = row->mtime_ns;
	return SR_OK;
}

static struct seen back(struct fixture *f, const char *store, struct sr_bytes top, int64_t since_ms, uint64_t most)
{
	struct seen seen = {0};

	OK(sr_state_journal_back(f->s, store, top, since_ms, most, on_row, &seen, &f->err));
	return seen;
}

static void it_is_read_backwards(void **state)
{
	struct fixture *f = *state;
	struct seen seen;

	journal(f, 1, LIT("a"), 1000);
	journal(f, 2, LIT("a\0b"), 2000);
	journal(f, 3, LIT("a\1"), 3000);
	journal(f, 4, LIT("ab"), 4000);
	journal(f, 5, LIT("a\0c\0d"), 5000);
	seen = back(f, "resources", LIT("a"), 0, 100);
	assert_int_equal(seen.n, 3);
	assert_true(seen.seq[0] == 5 && seen.seq[1] == 2 && seen.seq[2] == 1 && seen.mtime_ns == 77);
	assert_int_equal(back(f, "resources", LIT("a"), 2000, 100).n, 2);
	assert_int_equal(back(f, "resources", LIT("a\0c\0d"), 0, 100).n, 1);
	assert_int_equal(back(f, "users.db", LIT("a"), 0, 100).n, 0);
	assert_int_equal(back(f, NULL, LIT(""), 0, 100).n, 5);
	assert_int_equal(back(f, NULL, LIT(""), 0, 2).n, 2);
}

/* The clock was ten minutes ahead at 3, and an hour behind at 6 and 7. */
static void a_time_that_the_clock_makes_uncertain_is_refused(void **state)
{
	static const int64_t at[] = {5001000, 5002000, 5603000, 5004000, 5005000, 1406000, 1407000, 5008000};
	struct fixture *f = *state;
	struct sr_root_row row;
	bool found = false;

	for (uint64_t seq = 1; seq <= 8; seq++)
		journal(f, seq, LIT("a"), at[seq - 1]);
	for (uint64_t seq = 1; seq <= 8; seq++)
		if (at[seq - 1] != 5603000)
			assert_int_equal(sr_state_journal_at(f->s, at[seq - 1], &row, &found, &f->err), SR_E_CONFLICT);
	assert_non_null(strstr(f->err.text, "--at @SEQ"));
	OK(sr_state_journal_at(f->s, 5603000, &row, &found, &f->err));
	assert_true(found && row.seq == 8);
	OK(sr_state_journal_at(f->s, 1405999, &row, &found, &f->err));
	assert_false(found);
}

static void a_time_is_found(void **state)
{
	struct fixture *f = *state;
	struct sr_root_row row;
	bool found = true, trimmed = true;

	OK(sr_state_journal_at(f->s, 5000, &row, &found, &f->err));
	assert_false(found);
	OK(sr_state_journal_first(f->s, &row, &trimmed, &found, &f->err));
	assert_false(found || trimmed);
	for (uint64_t seq = 1; seq <= 100; seq++)
		for (int i = 0; i < 3; i++)
			journal(f, seq, LIT("a"), (int64_t)seq * 1000);
	OK(sr_state_journal_at(f->s, 999, &row, &found, &f->err));
	assert_false(found);
	for (uint64_t seq = 1; seq <= 100; seq++) {
		OK(sr_state_journal_at(f->s, (int64_t)seq * 1000 + 999, &row, &found, &f->err));
		assert_true(found && row.seq == seq && row.epoch == 1);
	}
	OK(sr_state_journal_first(f->s, &row, &trimmed, &found, &f->err));
	assert_true(found && !trimmed && row.seq == 1 && row.at_ms == 1000);
}

static void it_is_kept_by_time_and_by_rows(void **state)
{
	struct fixture *f = *state;
	struct sr_root_row row;
	bool found, trimmed;

	f->s->journal_keep = 100;
	f->s->journal_most = 1500;
	sr_state_journal_retain(f->s, 500 * 1000); /* that of seq 500 is young enough */
	OK(sr_state_begin(f->s, &f->err));
	for (uint64_t seq = 1; seq <= 1024; seq++) /* to a trim */
		journal(f, seq, LIT("a"), (int64_t)seq * 1000);
	OK(sr_state_commit(f->s, &f->err));
	OK(sr_state_journal_first(f->s, &row, &trimmed, &found, &f->err));
	assert_true(found && trimmed && row.seq == 500);
	sr_state_journal_retain(f->s, 0);
	OK(sr_state_begin(f->s, &f->err));
	for (uint64_t seq = 1025; seq <= 3072; seq++)
		journal(f, seq, LIT("a"), (int64_t)seq * 1000);
	OK(sr_state_commit(f->s, &f->err));
	OK(sr_state_journal_first(f->s, &row, &trimmed, &found, &f->err));
	assert_int_equal(row.seq, 3072 - 1500 + 1);
}

/* --- an older file ---------------------------------------------------------------------------------------------------------------- */

static void read_old_format(struct fixture *f)
{
	const char *source = getenv("SR_SOURCE");
	char *command = sr_format("rm -f '%s'/state.db* && sqlite3 '%s/state.db' <'%s/tests/golden/state/format-1.sql'", f->dir, f->dir,
				  source ? source : ".");

	sr_state_close(f->s);
	f->s = NULL;
	assert_int_equal(system(command), 0);
	free(command);
}

static int64_t number(struct fixture *f, const char *sql)
{
	sqlite3_stmt *st;
	int64_t v;

	assert_int_equal(sqlite3_prepare_v2(f->s->db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

static void format_1_is_brought_to_ours(void **state)
{
	struct fixture *f = *state;
	struct sr_state *reader = NULL;
	struct sr_trash t;

	read_old_format(f);
	OK(sr_state_reader(&reader, f->dir, &f->err)); /* which changes nothing */
	sr_state_close(reader);
	open_state(f);
	assert_int_equal(number(f, "PRAGMA user_version"), 3);
	assert_int_equal(number(f, "PRAGMA application_id"), 0x53525354);
	OK(sr_state_trash(f->s, &t, &f->err));
	assert_true(t.files == 1 && t.records == 1 && t.bytes == 3);
	assert_true(t.oldest_ms > 1600000000000); /* as of now */
	assert_int_equal(back(f, "users.db", LIT("users"), 0, 100).n, 2);
	assert_int_equal(back(f, "users.db", LIT("users"), 0, 100).mtime_ns, 0);
	journal(f, 8, LIT("a"), 3000);
	add_file(f, 3, 10, 8, 1);
	assert_trash(f, 2, 1, 13);
	sr_state_close(f->s);
	open_state(f);
	assert_trash(f, 2, 1, 13);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(it_is_counted),
		TEST(the_latest_replacement_counts),
		TEST(what_readable_roots_need_stays),
		TEST(the_newest_short_records_stay),
		TEST(the_oldest_go_when_there_is_too_much),
		TEST(it_is_read_backwards),
		TEST(a_time_is_found),
		TEST(a_time_that_the_clock_makes_uncertain_is_refused),
		TEST(it_is_kept_by_time_and_by_rows),
		TEST(format_1_is_brought_to_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
