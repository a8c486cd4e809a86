/* test_golden.c - the formats as frozen bytes: tests/golden/{node,record}/{valid,invalid}/ *.hex and hash.txt.
 *
 * The .hex files were written from the manual by another program, never by this code.  Read below $SR_SOURCE (default ".").
 * `test_golden --print` writes what hash.txt should say; it changes no file. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/internal.h"
#include "hashtree/record.h"

static char *golden_path(const char *name)
{
	const char *source = getenv("SR_SOURCE");

	return sr_format("%s/tests/golden/%s", source ? source : ".", name);
}

static struct sr_buf read_file(const char *path)
{
	struct sr_buf b = {0};
	FILE *f = fopen(path, "rb");
	int c;

	if (!f)
		fail_msg("%s cannot be read", path);
	while ((c = getc(f)) != EOF)
		sr_buf_byte(&b, (uint8_t)c);
	fclose(f);
	return b;
}

static struct sr_buf read_hex(const char *path)
{
	struct sr_buf text = read_file(path), digits = {0}, out = {0};

	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] != '\n')
			sr_buf_byte(&digits, text.at[i]);
	if (!sr_unhex(sr_buf_room(&out, digits.len / 2 + 1), digits.len / 2, sr_buf_view(&digits)))
		fail_msg("%s is not hex", path);
	out.len = digits.len / 2;
	sr_buf_free(&text);
	sr_buf_free(&digits);
	return out;
}

typedef enum sr_status round_trip_fn(struct sr_bytes in, struct sr_buf *again, struct sr_err *err);

static enum sr_status node_round_trip(struct sr_bytes in, struct sr_buf *again, struct sr_err *err)
{
	struct sr_node node;
	enum sr_status st = sr_node_decode(in, &node, err);

	if (st != SR_OK)
		return st;
	sr_node_encode(again, &node);
	sr_node_free(&node);
	return SR_OK;
}

static enum sr_status record_round_trip(struct sr_bytes in, struct sr_buf *again, struct sr_err *err)
{
	struct sr_column *columns;
	size_t n;
	enum sr_status st = sr_record_decode(in, &columns, &n, err);

	if (st != SR_OK)
		return st;
	sr_record_encode(again, columns, n);
	free(columns);
	return SR_OK;
}

static void check_file(const char *path, bool valid, round_trip_fn *fn)
{
	struct sr_buf in = read_hex(path), again = {0};
	struct sr_err err = {0};
	enum sr_status st = fn(sr_buf_view(&in), &again, &err);

	if (valid && st != SR_OK)
		fail_msg("%s: refused: %s", path, err.text);
	if (valid && !sr_bytes_eq(sr_buf_view(&in), sr_buf_view(&again)))
		fail_msg("%s: encoded otherwise", path);
	if (!valid && (st != SR_E_DATA || !err.text[0]))
		fail_msg("%s: not refused", path);
	sr_buf_free(&in);
	sr_buf_free(&again);
}

static void check_directory(const char *name, bool valid, round_trip_fn *fn)
{
	char *path = golden_path(name);
	DIR *dir = opendir(path);
	struct dirent *entry;
	int files = 0;

	if (!dir)
		fail_msg("%s cannot be read", path);
	while ((entry = readdir(dir))) {
		char *file;

		if (entry->d_name[0] == '.')
			continue;
		file = sr_format("%s/%s", path, entry->d_name);
		check_file(file, valid, fn);
		free(file);
		files++;
	}
	closedir(dir);
	if (files == 0)
		fail_msg("%s is empty", path);
	free(path);
}

static void test_nodes(void **state)
{
	(void)state;
	check_directory("node/valid", true, node_round_trip);
	check_directory("node/invalid", false, node_round_trip);
}

static void test_records(void **state)
{
	(void)state;
	check_directory("record/valid", true, record_round_trip);
	check_directory("record/invalid", false, record_round_trip);
}

/* --- hash.txt: lines of "what number hash" ------------------------------------------------------------------------- */

static void add_line(struct sr_buf *out, const char *what, size_t n, const struct sr_hash *hash)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, hash);
	sr_buf_printf(out, "%s %zu %s\n", what, n, text);
}

/* The top of a table of n rows: row i is called be32(i), its hash is that of its name. */
static void add_table(struct sr_buf *out, const struct sr_tree_key *key, size_t n)
{
	struct sr_nodes *s = sr_nodes_new(key);
	struct sr_entry *entries = sr_alloc((n + 1) * sizeof *entries), top;
	struct sr_buf names = {0};

	for (size_t i = 0; i < n; i++)
		sr_buf_be32(&names, (uint32_t)i);
	for (size_t i = 0; i < n; i++) {
		entries[i] = (struct sr_entry){.name = sr_bytes(names.at + 4 * i, 4), .kind = SR_KIND_ROW, .leaves = 1, .bytes = i};
		sr_hash_of(&entries[i].hash, key, entries[i].name);
	}
	sr_map_build(s, sr_bytes(key->id.b, SR_HASH_LEN), entries, n, &top);
	add_line(out, "table", n, &top.hash);
	sr_buf_free(&names);
	free(entries);
	sr_nodes_free(s);
}

/* Secret: byte i is 151 * i + 7.  Data: byte i is 31 * i + 1. */
static void hash_lines(struct sr_buf *out)
{
	static const size_t lengths[] = {0, 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1024, 1025, 100000};
	static const size_t tables[] = {0, 1, 256, 257, 100000};
	uint8_t secret[SR_KEY_LEN], data[100000];
	struct sr_tree_key key;
	struct sr_hash hash;

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(151 * i + 7);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(31 * i + 1);
	sr_tree_key_set(&key, secret);
	add_line(out, "key", SR_KEY_LEN, &key.id);
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		sr_hash_of(&hash, &key, sr_bytes(data, lengths[i]));
		add_line(out, "data", lengths[i], &hash);
	}
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		add_table(out, &key, tables[i]);
}

static void test_hashes(void **state)
{
	char *path = golden_path("hash.txt");
	struct sr_buf frozen = read_file(path), now = {0};

	(void)state;
	hash_lines(&now);
	assert_string_equal(sr_buf_text(&now), sr_buf_text(&frozen));
	sr_buf_free(&frozen);
	sr_buf_free(&now);
	free(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_hashes),
	};

	if (argc == 2 && strcmp(argv[1], "--print") == 0) {
		struct sr_buf out = {0};

		hash_lines(&out);
		fputs(sr_buf_text(&out), stdout);
		sr_buf_free(&out);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
