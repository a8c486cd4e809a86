/* test_hash.c - the keyed hash: one answer however it is fed and whatever the processor. */
#define XXH_INLINE_ALL /* the plain, undispatched functions, private to this file */
#include <xxhash.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hashtree/hash.h"

static void make_key(struct sr_tree_key *key, uint8_t first)
{
	uint8_t secret[SR_KEY_LEN];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(first + i * 167 + i / 7);
	sr_tree_key_set(key, secret);
}

static uint8_t *make_data(size_t n)
{
	uint8_t *data = sr_alloc(n);
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = (uint8_t)x;
	}
	return data;
}

static void hash_plain(struct sr_hash *out, const struct sr_tree_key *key, const uint8_t *at, size_t n)
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, XXH3_128bits_withSecret(at, n, key->secret, SR_KEY_LEN));
	memcpy(out->b, c.digest, SR_HASH_LEN);
}

/* Feed in pieces of `step`, asking for the hash on the way: that must not disturb what follows. */
static void hash_streamed(struct sr_hash *out, struct sr_hasher *h, const uint8_t *at, size_t n, size_t step)
{
	sr_hasher_reset(h);
	for (size_t i = 0; i < n; i += step) {
		sr_hasher_add(h, at + i, n - i < step ? n - i : step);
		sr_hasher_get(h, out);
	}
	sr_hasher_get(h, out);
}

static void test_streaming_equals_one_shot(void **state)
{
	static const size_t lengths[] = {1023, 1024, 1025, 4096, 65537, 1 << 20};
	uint8_t *data = make_data(1 << 20);
	struct sr_hash one, plain, streamed;
	struct sr_hasher *h;
	struct sr_tree_key key;
	size_t steps[] = {1, 63, 64, 100, 256, 1 << 20};

	(void)state;
	make_key(&key, 3);
	h = sr_hasher_new(&key);
	for (size_t i = 0; i < 700 + sizeof lengths / sizeof *lengths; i++) {
		size_t n = i < 700 ? i : lengths[i - 700];

		sr_hash_of(&one, &key, sr_bytes(data, n));
		hash_plain(&plain, &key, data, n);
		assert_true(sr_hash_eq(&one, &plain));
		for (size_t k = n > 5000; k < sizeof steps / sizeof *steps; k++) {
			hash_streamed(&streamed, h, data, n, steps[k]);
			assert_true(sr_hash_eq(&one, &streamed));
		}
	}
	sr_hasher_free(h);
	free(data);
}

static void test_key_matters(void **state)
{
	struct sr_tree_key a, b;
	struct sr_hash ha, hb;

	(void)state;
	make_key(&a, 1);
	make_key(&b, 2);
	assert_false(sr_hash_eq(&a.id, &b.id));
	for (size_t n = 0; n < 300; n++) {
		uint8_t zeros[300] = {0};

		sr_hash_of(&ha, &a, sr_bytes(zeros, n));
		sr_hash_of(&hb, &b, sr_bytes(zeros, n));
		assert_false(sr_hash_eq(&ha, &hb));
		assert_false(sr_hash_none(&ha));
	}
}

static void test_key_id(void **state)
{
	struct sr_tree_key key, again;
	struct sr_hash id;

	(void)state;
	make_key(&key, 9);
	sr_hash_of(&id, &key, sr_bytes(key.secret, SR_KEY_LEN));
	assert_true(sr_hash_eq(&id, &key.id));
	again = key;
	sr_tree_key_set(&again, again.secret); /* in place */
	assert_memory_equal(&again, &key, sizeof key);
}

static void test_text(void **state)
{
	struct sr_hash h, back;
	char text[SR_HASH_TEXT];

	(void)state;
	for (size_t i = 0; i < SR_HASH_LEN; i++)
		h.b[i] = (uint8_t)(0xf0 + i * 17);
	sr_hash_text(text, &h);
	assert_string_equal(text, "f00112233445566778899aabbccddeef");
	assert_int_equal(strlen(text), SR_HASH_TEXT - 1);
	assert_true(sr_hash_parse(&back, sr_bytes_of(text)));
	assert_true(sr_hash_eq(&h, &back));
	assert_false(sr_hash_parse(&back, sr_bytes_of("")));
	assert_false(sr_hash_parse(&back, sr_bytes(text, 31)));
	text[5] = 'g';
	assert_false(sr_hash_parse(&back, sr_bytes_of(text)));
	assert_true(sr_hash_eq(&h, &back)); /* a refusal writes nothing */
}

static void test_none(void **state)
{
	struct sr_hash h = {{0}};

	(void)state;
	assert_true(sr_hash_none(&h));
	h.b[15] = 1;
	assert_false(sr_hash_none(&h));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streaming_equals_one_shot),
		cmocka_unit_test(test_key_matters),
		cmocka_unit_test(test_key_id),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
