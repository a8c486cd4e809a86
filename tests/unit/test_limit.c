/* test_limit.c - the deletion limit: the rule as a table, moves, and the ledger over an hour and over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/replica/limit.h"
#include "lib/replica/tally.h"
#include "tests/unit/directory.h"

static void test_rule(void **state)
{
	static const struct {
		struct sr_limit_case c; /* deletions, leaves, count, percent */
		bool held;
	} cases[] = {
		{{0, 0, 0, 0}, false},
		/* more than the count and more than the percentage */
		{{100, 1000, 100, 10}, false},
		{{101, 1000, 100, 10}, true},
		{{101, 1010, 100, 10}, false},
		{{101, 1009, 100, 10}, true},
		{{500, 10000, 100, 10}, false},
		{{1, 1000000, 0, 0}, true},
		{{10, 19, 100, 0}, true},
		/* more than half of at least ten */
		{{5, 10, 100, 10}, false},
		{{6, 10, 100, 10}, true},
		{{9, 9, 100, 10}, false},
		{{6, 11, 100, 10}, true},
		{{5, 11, 100, 10}, false},
		{{50, 99, 1000, 99}, true},
		/* 100 percent switches both off */
		{{1000, 1000, 0, 100}, false},
		{{1000, 10, 0, 100}, false},
		/* no overflow */
		{{UINT64_MAX, UINT64_MAX, 0, 99}, true},
		{{UINT64_MAX / 2, UINT64_MAX, 0, 99}, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (sr_limit_holds(&cases[i].c) != cases[i].held)
			fail_msg("case %zu", i);
}

static struct sr_hash hash(uint8_t b)
{
	return (struct sr_hash){.b = {b}};
}

static void test_moves(void **state)
{
	struct sr_hash deleted[] = {hash(1), hash(1), hash(2), hash(3)}, created[] = {hash(3), hash(1), hash(9)};
	bool net[4];

	(void)state;
	assert_int_equal(sr_limit_net(deleted, 4, created, 3, net), 2);
	assert_false(net[0]); /* one of two copies reappears */
	assert_true(net[1]);
	assert_true(net[2]);
	assert_false(net[3]);
	assert_int_equal(sr_limit_net(deleted, 4, NULL, 0, net), 4);
	assert_int_equal(sr_limit_net(NULL, 0, created, 3, NULL), 0);
}

/* --- the ledger ------------------------------------------------------------------------------------------------------- */

struct world {
	char dir[64];
	struct sr_state *state;
	struct sr_ledger *l;
	int64_t now_ms;
	struct sr_err err;
};

static int64_t told_time(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static void no_chance(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 7, n);
}

static void open_ledger(struct world *w)
{
	bool fresh;

	assert_int_equal(sr_state_open(&w->state, w->dir, &fresh, &w->err), SR_OK);
	assert_int_equal(sr_ledger_open(&w->l, w->state, &w->err), SR_OK);
}

static void reopen(struct world *w)
{
	assert_int_equal(sr_ledger_save(w->l, &w->err), SR_OK);
	sr_ledger_close(w->l);
	sr_state_close(w->state);
	open_ledger(w);
}

static int setup(void **state)
{
	struct world *w = sr_alloc(sizeof *w);

	strcpy(w->dir, "/tmp/test_limit.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->now_ms = 1000000000000;
	sr_door_install(&(struct sr_door){.now_ms = told_time, .ticks_ms = told_time, .random = no_chance, .ctx = w});
	open_ledger(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sr_ledger_close(w->l);
	sr_state_close(w->state);
	sr_door_install(NULL);
	remove_all(w->dir, "*");
	rmdir(w->dir);
	free(w);
	return 0;
}

static const struct sr_config_store limits = {.max_delete_percent = {.value = 10}, .max_delete_count = {.value = 100}};

static enum sr_limit_verdict judge(struct world *w, uint64_t n, uint64_t leaves)
{
	struct sr_unit u = {.store = "s", .table = sr_bytes_of("t"), .way = SR_WAY_PUSH};

	return sr_ledger_judge(w->l, &u, &limits, n, leaves, SR_LIMIT_COUNTED);
}

static void done(struct world *w, uint64_t n, uint64_t leaves, bool approved)
{
	struct sr_unit u = {.store = "s", .table = sr_bytes_of("t"), .way = SR_WAY_PUSH};

	sr_ledger_done(w->l, &u, n, leaves, approved);
}

/* Small steps add up, for an hour; a restart forgets none. */
static void test_an_hour(void **state)
{
	struct world *w = *state;

	assert_int_equal(judge(w, 40, 100), SR_LIMIT_PASS);
	done(w, 40, 100, false);
	reopen(w);
	w->now_ms += 3599000;
	assert_int_equal(judge(w, 11, 60), SR_LIMIT_HELD); /* 51 of 100 */
	assert_int_equal(judge(w, 10, 60), SR_LIMIT_PASS);
	w->now_ms += 2000;
	assert_int_equal(judge(w, 11, 60), SR_LIMIT_PASS);
}

static void test_approval(void **state)
{
	struct world *w = *state;
	struct sr_buf text = {0};

	assert_int_equal(judge(w, 60, 100), SR_LIMIT_HELD);
	assert_true(sr_ledger_holds(w->l, "s"));
	assert_false(sr_ledger_holds(w->l, "other"));
	reopen(w);
	sr_ledger_sample(w->l, &(struct sr_unit){.store = "s", .table = sr_bytes_of("t"), .way = SR_WAY_PUSH}, sr_bytes_of("/t/1\n/t/2\n"));
	reopen(w);
	sr_ledger_report(w->l, "s", &text);
	assert_string_equal(sr_buf_text(&text), "[{\"table\":\"t\",\"way\":\"push\",\"deletions\":60,\"leaves\":100,\"since_ms\":1000000000000,\"paths\":[\"s/t/1\",\"s/t/2\"]}]");
	sr_buf_free(&text);
	assert_int_equal(sr_ledger_approve(w->l), 1);
	reopen(w);
	assert_int_equal(judge(w, 61, 100), SR_LIMIT_HELD); /* more than was seen: asked again */
	assert_int_equal(sr_ledger_approve(w->l), 1);
	assert_int_equal(judge(w, 61, 100), SR_LIMIT_APPROVED);
	done(w, 61, 100, true);
	assert_int_equal(judge(w, 10, 39), SR_LIMIT_PASS); /* what was approved does not count against what follows */
	done(w, 10, 39, false);
	assert_int_equal(judge(w, 20, 29), SR_LIMIT_HELD); /* which does */
}

/* What was put back is held no more, and its approval gone. */
static void test_settling(void **state)
{
	struct world *w = *state;

	assert_int_equal(judge(w, 60, 100), SR_LIMIT_HELD);
	sr_ledger_settle(w->l, "s", SR_WAY_PUSH);
	assert_true(sr_ledger_holds(w->l, "s"));
	sr_ledger_settle(w->l, "s", SR_WAY_PULL);
	assert_true(sr_ledger_holds(w->l, "s"));
	sr_ledger_approve(w->l);
	sr_ledger_settle(w->l, "s", SR_WAY_PUSH);
	assert_int_equal(judge(w, 60, 100), SR_LIMIT_HELD);
	reopen(w);
	sr_ledger_settle(w->l, "s", SR_WAY_PUSH); /* not judged since the start */
	assert_false(sr_ledger_holds(w->l, "s"));
}

/* All that there was: others bring some of it back, and the rest is held as before, until it is put back or let go. */
static void test_emptied(void **state)
{
	struct world *w = *state;
	struct sr_unit u = {.store = "s", .table = sr_bytes_of("t"), .way = SR_WAY_PUSH};

	assert_int_equal(sr_ledger_judge(w->l, &u, &limits, 4, 5, SR_LIMIT_EMPTIES), SR_LIMIT_HELD);
	reopen(w);
	assert_int_equal(judge(w, 3, 5), SR_LIMIT_HELD);
	assert_int_equal(sr_ledger_approve(w->l), 1);
	assert_int_equal(judge(w, 3, 5), SR_LIMIT_APPROVED);
	done(w, 3, 5, true);
	assert_int_equal(sr_ledger_judge(w->l, &u, &limits, 2, 2, SR_LIMIT_EMPTIES), SR_LIMIT_HELD);
	sr_ledger_settle(w->l, "s", SR_WAY_PUSH);
	sr_ledger_settle(w->l, "s", SR_WAY_PUSH); /* put back */
	assert_int_equal(judge(w, 1, 2), SR_LIMIT_PASS);
}

static void test_limits_of_tables(void **state)
{
	struct sr_config_table_limit history = {.table = "History", .value = 100};
	struct sr_config_store c = {.max_delete_percent = {.value = 10, .tables = &history, .count = 1}, .max_delete_count = {.value = 100}};
	struct world *w = *state;
	struct sr_unit u = {.store = "s", .table = sr_bytes_of("history"), .way = SR_WAY_SCAN};

	assert_int_equal(sr_ledger_judge(w->l, &u, &c, 100, 100, SR_LIMIT_COUNTED), SR_LIMIT_PASS);
	assert_int_equal(sr_ledger_judge(w->l, &u, &c, 1, 100, SR_LIMIT_ELSEWHERE), SR_LIMIT_HELD); /* as another node has it */
	u.table = sr_bytes_of("users");
	assert_int_equal(sr_ledger_judge(w->l, &u, &c, 100, 100, SR_LIMIT_COUNTED), SR_LIMIT_HELD);
	assert_false(sr_limit_judges(&c));
	assert_true(sr_limit_judges(&limits));
}

/* --- the tally --------------------------------------------------------------------------------------------------------- */

#define ROWS 20

/* A database with one table of ROWS rows, and another one of 3. */
static struct sr_nodes *two_tables(struct sr_tree_key *key, struct sr_hash *map)
{
	static char paths[2 + ROWS + 3][8];
	struct sr_edit edits[2 + ROWS + 3];
	uint8_t secret[SR_KEY_LEN] = {1};
	struct sr_nodes *nodes;
	struct sr_err err;
	size_t n = 0;

	sr_tree_key_set(key, secret);
	nodes = sr_nodes_new(key);
	for (int table = 0; table < 2; table++) {
		strcpy(paths[n], table ? "u" : "t");
		edits[n] = (struct sr_edit){.path = sr_bytes_of(paths[n]), .to = {.kind = SR_KIND_TABLE, .hash = hash(9)}};
		n++;
		for (int i = 0; i < (table ? 3 : ROWS); i++, n++) {
			paths[n][0] = table ? 'u' : 't';
			paths[n][2] = (char)(i + 1);
			edits[n] = (struct sr_edit){.path = sr_bytes(paths[n], 3), .to = {.kind = SR_KIND_ROW, .hash = hash((uint8_t)(i + 1)), .bytes = 1}};
		}
	}
	if (sr_store_edit(nodes, SR_KIND_DATABASE, &(struct sr_hash){0}, edits, n, map, &err) != SR_OK)
		fail_msg("%s", err.text);
	return nodes;
}

static void test_tables_are_judged_apart(void **state)
{
	static const struct sr_version row = {.kind = SR_KIND_ROW, .bytes = 1}, none;
	struct world *w = *state;
	struct sr_tree_key key;
	struct sr_hash map;
	struct sr_nodes *nodes = two_tables(&key, &map);
	struct sr_tally t = {0};
	struct sr_buf text = {0};

	for (size_t i = 0; i < 12; i++)
		sr_tally_add(&t, i, SR_KIND_DATABASE, sr_bytes("t\0x", 3), &row, &none);
	sr_tally_add(&t, 12, SR_KIND_DATABASE, sr_bytes("t\0y", 3), &none, &row); /* one comes: the table shrinks by 11 */
	for (size_t i = 13; i < 16; i++)
		sr_tally_add(&t, i, SR_KIND_DATABASE, sr_bytes("u\0x", 3), &row, &none);
	sr_tally_judge(&t, w->l, "s", &limits, SR_WAY_PULL, nodes, &map, NULL, false);
	assert_int_equal(t.units_n, 2);
	assert_true(t.held);
	assert_int_equal(t.units[0].verdict, SR_LIMIT_HELD);
	assert_int_equal(t.units[0].leaves, ROWS);
	assert_int_equal(t.units[1].verdict, SR_LIMIT_PASS); /* all of 3 */
	sr_tally_text(&t, &text);
	assert_string_equal(sr_buf_text(&text), "11 of 20 rows of table t");
	sr_tally_done(&t, w->l, "s", SR_WAY_PULL);
	assert_true(sr_ledger_holds(w->l, "s")); /* what is held was not done */
	sr_tally_free(&t);

	for (size_t i = 0; i < 11; i++)
		sr_tally_add(&t, i, SR_KIND_DATABASE, sr_bytes("t\0x", 3), &row, &none);
	t.units[0].approved = true; /* by the sender's operator */
	sr_tally_judge(&t, w->l, "s", &limits, SR_WAY_PULL, nodes, &map, NULL, false);
	assert_false(t.held);
	sr_tally_done(&t, w->l, "s", SR_WAY_PULL);
	assert_false(sr_ledger_holds(w->l, "s"));
	sr_tally_free(&t);
	sr_buf_free(&text);
	sr_nodes_free(nodes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule),
		cmocka_unit_test(test_moves),
		cmocka_unit_test_setup_teardown(test_an_hour, setup, teardown),
		cmocka_unit_test_setup_teardown(test_approval, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settling, setup, teardown),
		cmocka_unit_test_setup_teardown(test_emptied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_of_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables_are_judged_apart, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
