/* test_foreign.c - a tree from elsewhere that no stores can have is told apart, whatever it is about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/record.h"
#include "lib/replica/foreign.h"

static const struct sr_hash none, some = {{7}};

static struct sr_nodes *new_nodes(void)
{
	static const uint8_t secret[SR_KEY_LEN] = "any will do";
	struct sr_tree_key key;

	sr_tree_key_set(&key, secret);
	return sr_nodes_new(&key);
}

/* The map of one entry below `above`, in whose place it is put. */
static struct sr_entry in(struct sr_nodes *s, struct sr_entry e, const char *name, uint8_t kind, struct sr_bytes attributes)
{
	struct sr_entry out = {.name = sr_bytes_of(name), .kind = kind};

	sr_map_build(s, attributes, &e, 1, &out);
	return out;
}

static struct sr_entry file(const char *name)
{
	return (struct sr_entry){.name = sr_bytes_of(name), .kind = SR_KIND_FILE, .mode = 0644, .hash = some, .leaves = 1, .bytes = 1};
}

static struct sr_entry row(struct sr_bytes key)
{
	return (struct sr_entry){.name = key, .kind = SR_KIND_ROW, .hash = some, .leaves = 1, .bytes = 1};
}

static struct sr_entry table(struct sr_nodes *s, struct sr_entry e, const char *name)
{
	return in(s, e, name, SR_KIND_TABLE, sr_bytes(some.b, SR_HASH_LEN));
}

/* Of a tree with one store, of `kind`, that holds `e`. */
static struct sr_err verdict(struct sr_nodes *s, struct sr_entry e, uint8_t kind)
{
	struct sr_entry root = in(s, in(s, e, "s", kind, sr_bytes(NULL, 0)), "", 0, sr_bytes(NULL, 0));
	struct sr_err err = {0};

	err.code = sr_foreign_check(s, &root.hash, &none, &err);
	return err;
}

static void refused(struct sr_err err, const char *why)
{
	assert_int_equal(err.code, SR_E_DATA);
	assert_non_null(strstr(err.text, why));
}

static struct sr_bytes key_of(struct sr_buf *key, int64_t n)
{
	struct sr_value v = {.class = SR_INT, .i = n};

	sr_buf_clear(key);
	sr_key_encode(key, &v, 1);
	return sr_buf_view(key);
}

static void test_what_stores_hold_passes(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_buf key = {0};

	(void)state;
	assert_int_equal(verdict(s, file("a"), SR_KIND_FILES).code, SR_OK);
	assert_int_equal(verdict(s, in(s, file(".sameroot"), "d", SR_KIND_DIR, sr_bytes(NULL, 0)), SR_KIND_FILES).code, SR_OK); /* not at the top */
	assert_int_equal(verdict(s, table(s, row(key_of(&key, 66)), "users"), SR_KIND_DATABASE).code, SR_OK);
	assert_int_equal(verdict(s, file("sqlite_master"), SR_KIND_FILES).code, SR_OK);
	sr_buf_free(&key);
	sr_nodes_free(s);
}

static void test_what_no_store_holds_is_refused(void **state)
{
	struct sr_nodes *s = new_nodes();
	char long_name[257] = "";
	struct sr_buf key = {0};

	(void)state;
	memset(long_name, 'n', 256);
	refused(verdict(s, file(".sameroot"), SR_KIND_FILES), "store s: path .sameroot: .sameroot is not synchronised");
	refused(verdict(s, file(long_name), SR_KIND_FILES), "a name of over 255 bytes");
	refused(verdict(s, file("a"), SR_KIND_DATABASE), "store s: path a: an entry of kind 1 where it may not be");
	refused(verdict(s, row(key_of(&key, 66)), SR_KIND_FILES), "an entry of kind 3 where it may not be");
	refused(verdict(s, table(s, row(key_of(&key, 66)), "t"), SR_KIND_FILES), "path t: an entry of kind 4 where it may not be");
	refused(verdict(s, table(s, table(s, row(key_of(&key, 66)), "t"), "u"), SR_KIND_DATABASE), "path u%00t: an entry of kind 4 where it may not be");
	refused(verdict(s, table(s, row(key_of(&key, 66)), "sqlite_master"), SR_KIND_DATABASE), "path sqlite_master: a reserved table");
	refused(verdict(s, table(s, row(key_of(&key, 66)), "_SameRoot_x"), SR_KIND_DATABASE), "path _SameRoot_x: a reserved table");
	refused(verdict(s, table(s, row(sr_bytes_of("\xff\xff")), "t"), SR_KIND_DATABASE), "path t%00%FF%FF: key: ");
	refused(verdict(s, in(s, file("a"), "d", SR_KIND_DIR, sr_bytes_of("x")), SR_KIND_FILES), ": 1 bytes of attributes, where no table is");
	refused(verdict(s, in(s, row(key_of(&key, 66)), "t", SR_KIND_TABLE, sr_bytes(NULL, 0)), SR_KIND_DATABASE), "path t: a table with 0 bytes of attributes");
	refused(verdict(s, file("a"), SR_KIND_DIR), "store s: an entry of kind 2, which is no store");
	sr_buf_free(&key);
	sr_nodes_free(s);
}

/* What differs from a good tree is looked at, wherever it is. */
static void test_beside_a_good_tree(void **state)
{
	struct sr_nodes *s = new_nodes();
	struct sr_entry good = in(s, in(s, file("a"), "s", SR_KIND_FILES, sr_bytes(NULL, 0)), "", 0, sr_bytes(NULL, 0));
	struct sr_entry both[] = {file("a"), file(".sameroot")}, store = {.name = sr_bytes_of("s"), .kind = SR_KIND_FILES}, as_tables = store, bad;
	struct sr_err err = {0};

	(void)state;
	assert_int_equal(sr_foreign_check(s, &good.hash, &good.hash, &err), SR_OK);
	assert_int_equal(sr_foreign_check(s, &good.hash, &none, &err), SR_OK);
	sr_map_build(s, sr_bytes(NULL, 0), both, 2, &store);
	bad = in(s, store, "", 0, sr_bytes(NULL, 0));
	assert_int_equal(sr_foreign_check(s, &bad.hash, &good.hash, &err), SR_E_DATA);
	assert_int_equal(sr_map_get(s, &good.hash, sr_bytes_of("s"), &as_tables), SR_OK);
	as_tables.kind = SR_KIND_DATABASE; /* the very map that is good as one of files */
	bad = in(s, as_tables, "", 0, sr_bytes(NULL, 0));
	assert_int_equal(sr_foreign_check(s, &bad.hash, &good.hash, &err), SR_E_DATA);
	sr_nodes_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_stores_hold_passes),
		cmocka_unit_test(test_what_no_store_holds_is_refused),
		cmocka_unit_test(test_beside_a_good_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
