/* hash.c - see hash.h. */
#include "hashtree/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#ifdef __has_include
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> /* the plain symbols are SSE2; these choose AVX2 or AVX-512 at run time, with equal hashes */
#endif
#endif

static void canonical(struct sr_hash *out, XXH128_hash_t h)
{
	XXH128_canonical_t c;

	_Static_assert(sizeof c.digest == SR_HASH_LEN, "XXH128 is 16 bytes");
	XXH128_canonicalFromHash(&c, h);
	memcpy(out->b, c.digest, SR_HASH_LEN);
}

void sr_tree_key_set(struct sr_tree_key *key, const uint8_t secret[SR_KEY_LEN])
{
	memmove(key->secret, secret, SR_KEY_LEN);
	sr_hash_of(&key->id, key, sr_bytes(key->secret, SR_KEY_LEN));
}

void sr_hash_text(char out[SR_HASH_TEXT], const struct sr_hash *h)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SR_HASH_LEN; i++) {
		out[2 * i] = digits[h->b[i] >> 4];
		out[2 * i + 1] = digits[h->b[i] & 15];
	}
	out[SR_HASH_TEXT - 1] = '\0';
}

bool sr_hash_parse(struct sr_hash *out, struct sr_bytes hex)
{
	struct sr_hash h;

	if (!sr_unhex(h.b, SR_HASH_LEN, hex))
		return false;
	*out = h;
	return true;
}

void sr_hash_of(struct sr_hash *out, const struct sr_tree_key *key, struct sr_bytes in)
{
	canonical(out, XXH3_128bits_withSecret(in.len ? in.at : (const uint8_t *)"", in.len, key->secret, SR_KEY_LEN));
}

struct sr_hasher {
	XXH3_state_t *state; /* apart, because it wants an alignment that malloc does not promise */
	const struct sr_tree_key *key;
};

struct sr_hasher *sr_hasher_new(const struct sr_tree_key *key)
{
	struct sr_hasher *h = sr_alloc(sizeof *h);

	h->state = XXH3_createState();
	if (!h->state)
		abort(); /* as sr_alloc */
	h->key = key;
	sr_hasher_reset(h);
	return h;
}

void sr_hasher_reset(struct sr_hasher *h)
{
	XXH_errorcode e = XXH3_128bits_reset_withSecret(h->state, h->key->secret, SR_KEY_LEN);

	assert(e == XXH_OK); /* it fails only for a secret that is too short */
	(void)e;
}

void sr_hasher_add(struct sr_hasher *h, const void *at, size_t n)
{
	if (n)
		XXH3_128bits_update(h->state, at, n);
}

void sr_hasher_get(const struct sr_hasher *h, struct sr_hash *out)
{
	canonical(out, XXH3_128bits_digest(h->state));
}

void sr_hasher_free(struct sr_hasher *h)
{
	if (!h)
		return;
	XXH3_freeState(h->state);
	free(h);
}
