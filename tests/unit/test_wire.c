/* test_wire.c - every text and frame of the protocol: round trips, refusals, and hostile bytes. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/replica/wire.h"

static struct sr_uuid uuid(uint8_t n)
{
	struct sr_uuid u;

	memset(u.b, n, sizeof u.b);
	u.b[0] = (uint8_t)(n + 1);
	return u;
}

static struct sr_hash hash(uint8_t n)
{
	struct sr_hash h;

	memset(h.b, n, sizeof h.b);
	h.b[15] = (uint8_t)(n ^ 0xa5);
	return h;
}

static struct sr_anchor anchor(void)
{
	return (struct sr_anchor){.instance = uuid(1), .epoch = 3, .seq = INT64_MAX, .root = hash(2)};
}

/* The first `old` in `text` becomes `new`: a message with one fault.  OWNED BY CALLER (free). */
static char *swapped(const char *text, const char *old, const char *new)
{
	const char *at = strstr(text, old);

	if (!at)
		fail_msg("%s is not in %s", old, text);
	return sr_format("%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

#define good(call) \
	do { \
		struct sr_err err = {0}; \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, err.text); \
	} while (0)

/* --- the check-in ------------------------------------------------------------------------------------------------- */

static void check_in_goes_round(void **state)
{
	struct sr_check_in c = {.node = uuid(9), .known = anchor(), .push = uuid(4)}, back;
	struct sr_buf text = {0};

	(void)state;
	sr_check_in_print(&text, &c);
	good(sr_check_in_parse(sr_buf_text(&text), &back, &err));
	assert_memory_equal(&c, &back, sizeof c);
	sr_buf_free(&text);
}

static void check_in_of_the_first_time(void **state)
{
	struct sr_check_in c = {.node = uuid(9)}, back;
	struct sr_buf text = {0};

	(void)state;
	sr_check_in_print(&text, &c);
	assert_string_equal(sr_buf_text(&text) + 32, " - 0 0 - -");
	good(sr_check_in_parse(sr_buf_text(&text), &back, &err));
	assert_memory_equal(&c, &back, sizeof c);
	sr_buf_free(&text);
}

static void check_ins_that_are_refused(void **state)
{
#define NODE "0102030405060708090a0b0c0d0e0f10"
	static const char *const bad[] = {
		"",
		" ",
		NODE,
		NODE " - 0 0 -",
		NODE " - 0 0 - - -",
		NODE " - 0 0 - - ",
		NODE "  - 0 0 - -",
		" " NODE " - 0 0 - -",
		"- - 0 0 - -", /* nobody */
		"00000000000000000000000000000000 - 0 0 - -",
		NODE "11 - 0 0 - -",
		"0102030405060708090a0b0c0d0e0f1 - 0 0 - -",
		"0102030405060708090a0b0c0d0e0fzz - 0 0 - -",
		NODE " - -1 0 - -",
		NODE " - +1 0 - -",
		NODE " - 0x1 0 - -",
		NODE " - 1.0 0 - -",
		NODE " - 9223372036854775808 0 - -",
		NODE " - 0 18446744073709551615 - -",
		NODE " - 0 18446744073709551616 - -",
		NODE " - 0 99999999999999999999999999999999999999999999 - -",
		NODE "\t- 0 0 - -",
		NODE " - 0 0 -- -",
		"01020304-0506-0708-090a-0b0c0d0e0f10 - 0 0 - -",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct sr_check_in c = {.node = uuid(77)}, before = c;
		struct sr_err err = {0};

		if (sr_check_in_parse(bad[i], &c, &err) != SR_E_DATA)
			fail_msg("was taken: '%s'", bad[i]);
		assert_int_equal(err.code, SR_E_DATA);
		assert_true(err.text[0]);
		assert_memory_equal(&c, &before, sizeof c);
	}
}

static void words_have_texts(void **state)
{
	(void)state;
	assert_string_equal(sr_history_text(SR_HISTORY_FIRST), "first");
	assert_string_equal(sr_history_text(SR_HISTORY_FOREIGN), "foreign");
	assert_string_equal(sr_refusal_text(SR_REFUSED_CHANGED), "changed");
	assert_string_equal(sr_refusal_text(SR_REFUSED_DEPENDS), "depends");
}

/* --- GET /api/tree ------------------------------------------------------------------------------------------------ */

static void fill_info(struct sr_tree_info *info)
{
	*info = (struct sr_tree_info){.at = anchor(), .node = uuid(5), .start = uuid(6), .push = uuid(7), .key_id = hash(8), .has_key = true,
				      .history = SR_HISTORY_FORGOTTEN, .n = 2};
	for (size_t i = 0; i < sizeof info->key; i++)
		info->key[i] = (uint8_t)(i * 5 + 1);
	info->stores = sr_alloc(2 * sizeof *info->stores);
	info->stores[0] = (struct sr_tree_store){.name = sr_strdup("users.db"), .kind = SR_KIND_DATABASE, .map = hash(20), .leaves = 17, .bytes = 1234, .epoch = 3, .seq = 4};
	info->stores[1] = (struct sr_tree_store){.name = sr_strdup("resources"), .kind = SR_KIND_FILES, .map = hash(21), .leaves = 1,
						 .bytes = UINT64_MAX, /* a sum that stopped */
						 .paused = sr_strdup("lost: /srv/\xff is \"gone\""), .excludes = 3};
	info->stores[1].exclude = sr_alloc(3 * sizeof(char *));
	info->stores[1].exclude[0] = sr_strdup("tmp/*.[ab]");
	info->stores[1].exclude[1] = sr_strdup("b\xe9ta%41\"\\");
	info->stores[1].exclude[2] = sr_strdup("\xc3\xbc");
}

static char *info_text(void)
{
	struct sr_tree_info info;
	struct sr_buf text = {0};
	char *copy;

	fill_info(&info);
	sr_tree_info_print(&text, &info);
	copy = sr_strdup(sr_buf_text(&text));
	sr_buf_free(&text);
	sr_tree_info_free(&info);
	return copy;
}

static void tree_info_goes_round(void **state)
{
	struct sr_tree_info in, out;
	char *text = info_text();

	(void)state;
	fill_info(&in);
	good(sr_tree_info_parse(sr_bytes_of(text), &out, &err));
	assert_memory_equal(&in.at, &out.at, sizeof in.at);
	assert_memory_equal(&in.node, &out.node, sizeof in.node);
	assert_memory_equal(&in.start, &out.start, sizeof in.start);
	assert_memory_equal(&in.push, &out.push, sizeof in.push);
	assert_memory_equal(&in.key_id, &out.key_id, sizeof in.key_id);
	assert_true(out.has_key);
	assert_memory_equal(in.key, out.key, sizeof in.key);
	assert_int_equal(out.history, SR_HISTORY_FORGOTTEN);
	assert_int_equal(out.n, 2);
	assert_string_equal(out.stores[0].name, "users.db");
	assert_int_equal(out.stores[0].kind, SR_KIND_DATABASE);
	assert_memory_equal(&out.stores[0].map, &in.stores[0].map, sizeof(struct sr_hash));
	assert_int_equal(out.stores[0].leaves, 17);
	assert_int_equal(out.stores[0].bytes, 1234);
	assert_int_equal(out.stores[0].epoch, 3);
	assert_int_equal(out.stores[0].seq, 4);
	assert_int_equal(out.stores[1].epoch + out.stores[1].seq, 0);
	assert_null(out.stores[0].paused);
	assert_int_equal(out.stores[0].excludes, 0);
	assert_int_equal(out.stores[1].kind, SR_KIND_FILES);
	assert_int_equal(out.stores[1].bytes, INT64_MAX);
	assert_int_equal(out.stores[1].excludes, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(out.stores[1].exclude[i], in.stores[1].exclude[i]);
	sr_tree_info_free(&in);
	sr_tree_info_free(&out);
	free(text);
}

/* The webserver must learn that a store is paused, whatever bytes its reason quotes. */
static void a_reason_that_is_no_utf8_is_told(void **state)
{
	struct sr_tree_info out;
	char *text = info_text();

	(void)state;
	good(sr_tree_info_parse(sr_bytes_of(text), &out, &err));
	assert_string_equal(out.stores[1].paused, "lost: /srv/? is \"gone\"");
	sr_tree_info_free(&out);
	free(text);
}

static void tree_info_without_key(void **state)
{
	struct sr_tree_info info = {.key_id = hash(1), .at.root = hash(2)}, out;
	struct sr_buf text = {0};

	(void)state;
	sr_tree_info_print(&text, &info);
	assert_null(strstr(sr_buf_text(&text), "\"key\""));
	good(sr_tree_info_parse(sr_buf_view(&text), &out, &err));
	assert_false(out.has_key);
	assert_int_equal(out.n, 0);
	assert_int_equal(out.history, SR_HISTORY_FIRST);
	assert_true(sr_uuid_none(&out.push) && sr_uuid_none(&out.at.instance));
	sr_tree_info_free(&out);
	sr_buf_free(&text);
}

static void refuse_info(const char *text)
{
	struct sr_tree_info out;
	struct sr_err err = {0};

	if (sr_tree_info_parse(sr_bytes_of(text), &out, &err) != SR_E_DATA)
		fail_msg("was taken: %s", text);
	assert_int_equal(err.code, SR_E_DATA);
	assert_true(err.text[0]);
}

static void tree_infos_that_are_refused(void **state)
{
	static const char *const swaps[][2] = {
		{"\"proto\":1", "\"proto\":2"},
		{"\"proto\":1", "\"proto\":\"1\""},
		{"\"proto\":1,", ""},
		{"\"epoch\":3", "\"epoch\":-3"},
		{"\"epoch\":3", "\"epoch\":3.0"},
		{"\"epoch\":3", "\"epoch\":\"3\""},
		{"\"epoch\":3", "\"epoch\":null"},
		{"\"epoch\":3", "\"epoch\":3,\"epoch\":3"},
		{"\"seq\":9223372036854775807", "\"seq\":9223372036854775808"},
		{"\"instance\":\"", "\"instance\":\"0"},
		{"\"instance\":\"", "\"instance\":7,\"x\":\""},
		{"\"history\":\"forgotten\"", "\"history\":\"forgot\""},
		{"\"history\":\"forgotten\"", "\"history\":2"},
		{"\"root\":\"02", "\"root\":\"zz"},
		{"\"root\":\"02", "\"root\":\""},
		{"\"key\":\"01", "\"key\":\""},
		{"\"key\":\"01", "\"key\":\"0101"},
		{"\"key\":\"", "\"key\":5,\"x\":\""},
		{"\"key_id\"", "\"key_ie\""},
		{"\"stores\":[", "\"stores\":[7,"},
		{"\"stores\":[", "\"stores\":[{},"},
		{"\"stores\":[", "\"stores\":{},\"x\":["},
		{"\"name\":\"users.db\"", "\"name\":\"\""},
		{"\"name\":\"users.db\"", "\"name\":1"},
		{"\"kind\":\"sqlite\"", "\"kind\":\"mysql\""},
		{"\"leaves\":17", "\"leaves\":1e1"},
		{"\"bytes\":1234", "\"bytes\":-1"},
		{"\"paused\":\"", "\"paused\":true,\"x\":\""},
		{"\"exclude\":[", "\"exclude\":[1,"},
		{"\"exclude\":[", "\"exclude\":[\"\","},
		{"\"exclude\":[", "\"exclude\":[\"%0\","},
		{"\"exclude\":[", "\"exclude\":[\"a%00\","},
		{"\"exclude\":[", "\"exclude\":\"\",\"x\":["},
		{"{", "["},
		{"{", ""},
		{"}", ""},
		{"\"node\":\"", "\"node\":\"\xff"},
		{"\"node\":\"", "\"node\":\"\\u0000"},
	};
	char *text = info_text();

	(void)state;
	for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++) {
		char *bad = swapped(text, swaps[i][0], swaps[i][1]);

		refuse_info(bad);
		free(bad);
	}
	refuse_info("");
	refuse_info("null");
	refuse_info("[]");
	refuse_info("\"x\"");
	refuse_info("{}");
	refuse_info("{\"proto\":1}");
	free(text);
}

/* --- pushes ------------------------------------------------------------------------------------------------------- */

static char *head_text(void)
{
	struct sr_push_head h = {.id = uuid(1), .prev = uuid(2), .webserver = uuid(3), .start = uuid(4), .at = anchor(), .try = 3};
	struct sr_buf text = {0};
	char *copy;

	sr_push_head_print(&text, &h);
	copy = sr_strdup(sr_buf_text(&text));
	sr_buf_free(&text);
	return copy;
}

static void push_head_goes_round(void **state)
{
	struct sr_push_head want = {.id = uuid(1), .prev = uuid(2), .webserver = uuid(3), .start = uuid(4), .at = anchor(), .try = 3}, h;
	char *text = head_text(), *first = swapped(text, "\"prev\":\"03", "\"prev\":null,\"x\":\"03");

	(void)state;
	good(sr_push_head_parse(text, &h, &err));
	assert_memory_equal(&h.id, &want.id, sizeof h.id);
	assert_memory_equal(&h.prev, &want.prev, sizeof h.prev);
	assert_memory_equal(&h.webserver, &want.webserver, sizeof h.webserver);
	assert_memory_equal(&h.start, &want.start, sizeof h.start);
	assert_memory_equal(&h.at, &want.at, sizeof h.at);
	assert_int_equal(h.try, 3);
	good(sr_push_head_parse(first, &h, &err));
	assert_true(sr_uuid_none(&h.prev));
	free(text);
	free(first);
}

static void push_heads_that_are_refused(void **state)
{
	static const char *const swaps[][2] = {
		{"\"id\":\"", "\"id\":null,\"x\":\""},
		{"\"webserver\":\"", "\"webserver\":null,\"x\":\""},
		{"\"try\":3", "\"try\":4"},
		{"\"try\":3", "\"try\":0"},
		{"\"try\":3", "\"try\":4294967297"}, /* 1, were it cut */
		{"\"try\":3", "\"try\":\"3\""},
		{"\"try\":3,", ""},
		{"\"epoch\":3,", ""},
		{"\"prev\":\"", "\"prev\":\"-"},
		{"\"start\":\"", "\"start\":[],\"x\":\""},
		{"}", "}}"},
		{"}", "} x"},
	};
	char *text = head_text();

	(void)state;
	for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++) {
		char *bad = swapped(text, swaps[i][0], swaps[i][1]);
		struct sr_push_head h = {.try = 9};
		struct sr_err err = {0};

		if (sr_push_head_parse(bad, &h, &err) != SR_E_DATA)
			fail_msg("was taken: %s", bad);
		assert_true(err.text[0]);
		assert_int_equal(h.try, 9);
		free(bad);
	}
	free(text);
}

static const uint8_t odd_path[] = {'t', 0, 0xff, '/', '%', 0, '"', '\\', '\n', 0xc3, 0xbc, 0};

static void fill_answer(struct sr_push_answer *a)
{
	struct sr_version row = {.kind = SR_KIND_ROW, .bytes = INT64_MAX, .hash = hash(40)};
	struct sr_version file = {.kind = SR_KIND_FILE, .mode = 0777, .bytes = 0, .hash = hash(41)};
	struct sr_version none = {0};

	*a = (struct sr_push_answer){.verdict = SR_VERDICT_REFUSED, .id = uuid(1), .start = uuid(2), .at = anchor()};
	sr_push_answer_refuse(a, "users.db", sr_bytes(odd_path, sizeof odd_path), &row, SR_REFUSED_UNIQUE);
	for (int why = SR_REFUSED_CHANGED; why <= SR_REFUSED_DEPENDS; why++)
		sr_push_answer_refuse(a, "resources", sr_bytes_of("a"), why % 2 ? &file : &none, (enum sr_refusal)why);
	a->text = sr_bytes(sr_strdup("made under \xfe another start"), 26);
}

static char *answer_text(void)
{
	struct sr_push_answer a;
	struct sr_buf text = {0};
	char *copy;

	fill_answer(&a);
	sr_push_answer_print(&text, &a);
	copy = sr_strdup(sr_buf_text(&text));
	sr_buf_free(&text);
	sr_push_answer_free(&a);
	return copy;
}

static void push_answer_goes_round(void **state)
{
	struct sr_push_answer in, out;
	char *text = answer_text();

	(void)state;
	fill_answer(&in);
	assert_true(sr_utf8_valid(sr_bytes_of(text)));
	good(sr_push_answer_parse(sr_bytes_of(text), &out, &err));
	assert_int_equal(out.verdict, SR_VERDICT_REFUSED);
	assert_memory_equal(&in.id, &out.id, sizeof in.id);
	assert_memory_equal(&in.start, &out.start, sizeof in.start);
	assert_memory_equal(&in.at, &out.at, sizeof in.at);
	assert_int_equal(out.n, 10);
	for (size_t i = 0; i < out.n; i++) {
		assert_string_equal(in.refused[i].store, out.refused[i].store);
		assert_true(sr_bytes_eq(in.refused[i].path, out.refused[i].path));
		assert_true(sr_version_eq(&in.refused[i].current, &out.refused[i].current));
		assert_int_equal(in.refused[i].why, out.refused[i].why);
	}
	assert_true(sr_bytes_eq(out.text, sr_bytes_of("made under ? another start")));
	sr_push_answer_free(&in);
	sr_push_answer_free(&out);
	free(text);
}

static void every_verdict_goes_round(void **state)
{
	(void)state;
	for (int v = SR_VERDICT_OK; v <= SR_VERDICT_STALE; v++) {
		struct sr_push_answer a = {.verdict = (enum sr_push_verdict)v, .at.root = hash(1)}, out;
		struct sr_buf text = {0};

		sr_push_answer_print(&text, &a);
		good(sr_push_answer_parse(sr_buf_view(&text), &out, &err));
		assert_int_equal(out.verdict, v);
		assert_int_equal(out.n, 0);
		assert_int_equal(out.text.len, 0);
		sr_push_answer_free(&out);
		sr_buf_free(&text);
	}
}

static void refuse_answer(const char *text)
{
	struct sr_push_answer out;
	struct sr_err err = {0};

	if (sr_push_answer_parse(sr_bytes_of(text), &out, &err) != SR_E_DATA)
		fail_msg("was taken: %s", text);
	assert_true(err.text[0]);
}

static void push_answers_that_are_refused(void **state)
{
	static const char *const swaps[][2] = {
		{"\"verdict\":\"refused\"", "\"verdict\":\"perhaps\""},
		{"\"verdict\":\"refused\"", "\"verdict\":1"},
		{"\"refused\":[", "\"refused\":null,\"x\":["},
		{"\"refused\":[", "\"refused\":[null,"},
		{"\"refused\":[", "\"refused\":[{},"},
		{"\"path\":\"", "\"path\":\"%"},
		{"\"path\":\"", "\"path\":\"%g0"},
		{"\"path\":\"", "\"path\":\"\",\"x\":\""},
		{"\"path\":\"", "\"path\":0,\"x\":\""},
		{"\"why\":\"unique\"", "\"why\":\"\""},
		{"\"kind\":3", "\"kind\":5"},
		{"\"kind\":3", "\"kind\":259"}, /* 3, were it cut */
		{"\"mode\":0", "\"mode\":512"},
		{"\"mode\":0", "\"mode\":65536"},
		{"\"bytes\":9223372036854775807", "\"bytes\":9223372036854775808"},
		{"\"hash\":\"28", "\"hash\":\"2"},
		{"\"store\":\"users.db\"", "\"store\":null"},
		{"\"detail\":\"", "\"detail\":1,\"x\":\""},
		{"\"start\":\"", "\"start\":\"x"},
		{"\"seq\":", "\"seq\":-"},
	};
	char *text = answer_text(), *longer;

	(void)state;
	for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++) {
		char *bad = swapped(text, swaps[i][0], swaps[i][1]);

		refuse_answer(bad);
		free(bad);
	}
	longer = sr_alloc(SR_PATH_MAX + 100);
	strcpy(longer, "\"path\":\"");
	memset(longer + 8, 'a', SR_PATH_MAX);
	char *bad = swapped(text, "\"path\":\"", longer);

	refuse_answer(bad);
	free(bad);
	free(longer);
	free(text);
}

/* --- frames of POST /api/bundle ----------------------------------------------------------------------------------- */

static struct sr_leaf wanted_leaf(const char *path, uint8_t kind)
{
	return (struct sr_leaf){.path = sr_bytes_of(path), .to = {.kind = kind, .mode = 0644, .bytes = 5, .hash = hash(30)}};
}

static void wanted_leaves_go_round(void **state)
{
	struct sr_leaf file = wanted_leaf("img", SR_KIND_FILE), leaf;
	struct sr_buf out = {0};
	struct sr_reader in;
	char *store = NULL;

	(void)state;
	sr_wanted_add(&out, "resources", &file);
	file.path = sr_bytes("a\0b", 3);
	sr_wanted_add(&out, "other", &file);
	in = sr_reader(sr_buf_view(&out));
	good(sr_wanted_next(&in, &store, &leaf, &err));
	assert_string_equal(store, "resources");
	assert_true(sr_bytes_eq(leaf.path, sr_bytes_of("img")));
	assert_true(sr_version_eq(&leaf.to, &file.to));
	free(store);
	good(sr_wanted_next(&in, &store, &leaf, &err));
	assert_string_equal(store, "other");
	assert_true(sr_bytes_eq(leaf.path, sr_bytes("a\0b", 3)));
	free(store);
	assert_true(sr_read_done(&in));
	sr_buf_free(&out);
}

/* A frame of a store's name and raw bytes in the place of a leaf. */
static void refuse_frame(const char *store, size_t store_len, struct sr_bytes leaf, uint32_t longer)
{
	struct sr_buf body = {0}, out = {0};
	struct sr_reader in;
	struct sr_err err = {0};
	struct sr_leaf got;
	char *name = (char *)1;

	sr_buf_string(&body, sr_bytes(store, store_len));
	sr_buf_bytes(&body, leaf);
	sr_buf_be32(&out, (uint32_t)body.len + longer);
	sr_buf_bytes(&out, sr_buf_view(&body));
	in = sr_reader(sr_buf_view(&out));
	assert_int_equal(sr_wanted_next(&in, &name, &got, &err), SR_E_DATA);
	assert_true(err.text[0]);
	assert_ptr_equal(name, (char *)1);
	sr_buf_free(&body);
	sr_buf_free(&out);
}

static void frames_that_are_refused(void **state)
{
	struct sr_leaf file = wanted_leaf("img", SR_KIND_FILE), up = wanted_leaf("..", SR_KIND_FILE), slash = wanted_leaf("a/../b", SR_KIND_FILE);
	struct sr_buf leaf = {0}, bad = {0};

	(void)state;
	sr_leaf_encode(&leaf, &file);
	refuse_frame("res\0urces", 9, sr_buf_view(&leaf), 0);
	refuse_frame("resources", 9, sr_buf_view(&leaf), 1);
	refuse_frame("resources", 9, sr_buf_view(&leaf), UINT32_MAX - 200);
	refuse_frame("resources", 9, sr_bytes(leaf.at, leaf.len - 1), 0);
	refuse_frame("resources", 9, sr_bytes(NULL, 0), 0);
	sr_buf_byte(&leaf, 0);
	refuse_frame("resources", 9, sr_buf_view(&leaf), 0);
	sr_leaf_encode(&bad, &up);
	refuse_frame("resources", 9, sr_buf_view(&bad), 0);
	sr_buf_clear(&bad);
	sr_leaf_encode(&bad, &slash);
	refuse_frame("resources", 9, sr_buf_view(&bad), 0);
	sr_buf_free(&bad);
	sr_buf_free(&leaf);
}

/* --- anything at all ------------------------------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Change, drop, double or splice some bytes. */
static void mutate(struct sr_buf *b, uint64_t *seed)
{
	static const char *const words[] = {"null", "-1", "[]", "{}", "\"", "9223372036854775808", "1e400", "\\u0000", "%00", "\xff", "-", " ", "0"};

	for (uint64_t n = next_random(seed) % 4 + 1; n && b->len; n--) {
		size_t at = next_random(seed) % b->len, rest = b->len - at;

		switch (next_random(seed) % 4) {
		case 0:
			b->at[at] ^= (uint8_t)(1u << next_random(seed) % 8);
			break;
		case 1:
			b->len = at;
			break;
		case 2:
			memmove(b->at + at, b->at + at + 1, rest - 1);
			b->len--;
			break;
		default: {
			const char *word = words[next_random(seed) % (sizeof words / sizeof *words)];
			size_t len = strlen(word);

			sr_buf_room(b, len);
			memmove(b->at + at + len, b->at + at, rest);
			memcpy(b->at + at, word, len);
			b->len += len;
		}
		}
	}
}

static bool take_info(struct sr_bytes in)
{
	struct sr_tree_info a, b;
	struct sr_err err = {0};
	struct sr_buf text = {0};

	if (sr_tree_info_parse(in, &a, &err) != SR_OK)
		return assert_int_equal(err.code, SR_E_DATA), false;
	sr_tree_info_print(&text, &a);
	assert_int_equal(sr_tree_info_parse(sr_buf_view(&text), &b, &err), SR_OK);
	assert_memory_equal(&a.at, &b.at, sizeof a.at);
	assert_int_equal(a.n, b.n);
	sr_buf_free(&text);
	sr_tree_info_free(&a);
	sr_tree_info_free(&b);
	return true;
}

static bool take_answer(struct sr_bytes in)
{
	struct sr_push_answer a, b;
	struct sr_err err = {0};
	struct sr_buf text = {0};

	if (sr_push_answer_parse(in, &a, &err) != SR_OK)
		return assert_int_equal(err.code, SR_E_DATA), false;
	sr_push_answer_print(&text, &a);
	assert_int_equal(sr_push_answer_parse(sr_buf_view(&text), &b, &err), SR_OK);
	assert_int_equal(a.n, b.n);
	for (size_t i = 0; i < a.n; i++)
		assert_true(sr_bytes_eq(a.refused[i].path, b.refused[i].path));
	sr_buf_free(&text);
	sr_push_answer_free(&a);
	sr_push_answer_free(&b);
	return true;
}

static bool take_head(struct sr_bytes in)
{
	char *text = sr_text(in);
	struct sr_push_head h;
	struct sr_err err = {0};
	bool ok = sr_push_head_parse(text, &h, &err) == SR_OK;

	assert_true(ok ? h.try >= 1 && h.try <= 3 && !sr_uuid_none(&h.id) : err.code == SR_E_DATA);
	free(text);
	return ok;
}

static bool take_check_in(struct sr_bytes in)
{
	char *text = sr_text(in);
	struct sr_check_in a, b;
	struct sr_err err = {0};
	struct sr_buf again = {0};
	bool ok = sr_check_in_parse(text, &a, &err) == SR_OK;

	if (ok) {
		sr_check_in_print(&again, &a);
		assert_int_equal(sr_check_in_parse(sr_buf_text(&again), &b, &err), SR_OK);
		assert_memory_equal(&a, &b, sizeof a);
	}
	sr_buf_free(&again);
	free(text);
	return ok;
}

static bool take_wanted(struct sr_bytes in)
{
	struct sr_reader r = sr_reader(in);
	struct sr_err err = {0};
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && sr_read_left(&r)) {
		struct sr_leaf leaf;
		char *store = NULL;

		rc = sr_wanted_next(&r, &store, &leaf, &err);
		free(store);
	}
	assert_true(rc == SR_OK || err.code == SR_E_DATA);
	return rc == SR_OK;
}

static void mutations_are_survived(void **state)
{
	static const struct {
		bool (*take)(struct sr_bytes in);
		char *(*text)(void);
	} kinds[] = {{take_info, info_text}, {take_answer, answer_text}, {take_head, head_text}, {take_check_in, NULL}, {take_wanted, NULL}};
	struct sr_check_in c = {.node = uuid(9), .known = anchor(), .push = uuid(4)};
	struct sr_leaf leaf = wanted_leaf("img", SR_KIND_FILE);
	uint64_t seed = 0x5eed5eed5eed5eed;

	(void)state;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct sr_buf whole = {0};
		size_t taken = 0, refused = 0;

		if (kinds[k].text) {
			char *text = kinds[k].text();

			sr_buf_bytes(&whole, sr_bytes_of(text));
			free(text);
		} else if (kinds[k].take == take_check_in) {
			sr_check_in_print(&whole, &c);
		} else {
			for (int i = 0; i < 3; i++)
				sr_wanted_add(&whole, "resources", &leaf);
		}
		assert_true(kinds[k].take(sr_buf_view(&whole)));
		for (int i = 0; i < 3000; i++) {
			struct sr_buf one = {0};
			uint8_t *exact;

			sr_buf_bytes(&one, sr_buf_view(&whole));
			mutate(&one, &seed);
			exact = malloc(one.len ? one.len : 1); /* a sanitizer sees its end */
			if (one.len)
				memcpy(exact, one.at, one.len);
			kinds[k].take(sr_bytes(exact, one.len)) ? taken++ : refused++;
			free(exact);
			sr_buf_free(&one);
		}
		assert_true(refused > 1000);
		sr_buf_free(&whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_in_goes_round),
		cmocka_unit_test(check_in_of_the_first_time),
		cmocka_unit_test(check_ins_that_are_refused),
		cmocka_unit_test(words_have_texts),
		cmocka_unit_test(tree_info_goes_round),
		cmocka_unit_test(a_reason_that_is_no_utf8_is_told),
		cmocka_unit_test(tree_info_without_key),
		cmocka_unit_test(tree_infos_that_are_refused),
		cmocka_unit_test(push_head_goes_round),
		cmocka_unit_test(push_heads_that_are_refused),
		cmocka_unit_test(push_answer_goes_round),
		cmocka_unit_test(every_verdict_goes_round),
		cmocka_unit_test(push_answers_that_are_refused),
		cmocka_unit_test(wanted_leaves_go_round),
		cmocka_unit_test(frames_that_are_refused),
		cmocka_unit_test(mutations_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
