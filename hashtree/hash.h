/* hash.h - the keyed hash of everything: XXH3-128 with a 192-byte secret (the tree key), canonical big-endian.
 *
 * Pure and thread-safe.  The secret keeps an application's users from forging equal hashes or unbalanced trees; it is
 * not a cryptographic promise against someone who knows it. */
#ifndef SR_HASHTREE_HASH_H
#define SR_HASHTREE_HASH_H

#include <string.h>

#include "lib/base/bytes.h"

#define SR_HASH_LEN 16
#define SR_KEY_LEN 192

struct sr_hash {
	uint8_t b[SR_HASH_LEN]; /* all zero: no hash */
};

struct sr_tree_key {
	uint8_t secret[SR_KEY_LEN];
	struct sr_hash id; /* hash of the secret under itself: travels with roots and base */
};

void sr_tree_key_set(struct sr_tree_key *key, const uint8_t secret[SR_KEY_LEN]); /* fills id */

static inline bool sr_hash_eq(const struct sr_hash *a, const struct sr_hash *b)
{
	return memcmp(a->b, b->b, SR_HASH_LEN) == 0;
}

static inline bool sr_hash_none(const struct sr_hash *h)
{
	const struct sr_hash none = {{0}};

	return sr_hash_eq(h, &none);
}

#define SR_HASH_TEXT 33
void sr_hash_text(char out[SR_HASH_TEXT], const struct sr_hash *h); /* lower-case hex */
SR_MUST bool sr_hash_parse(struct sr_hash *out, struct sr_bytes hex);

void sr_hash_of(struct sr_hash *out, const struct sr_tree_key *key, struct sr_bytes in);

struct sr_hasher; /* streaming; equal to sr_hash_of over the concatenation */
struct sr_hasher *sr_hasher_new(const struct sr_tree_key *key); /* BORROWS key */
void sr_hasher_reset(struct sr_hasher *h);
void sr_hasher_add(struct sr_hasher *h, const void *at, size_t n);
void sr_hasher_get(const struct sr_hasher *h, struct sr_hash *out);
void sr_hasher_free(struct sr_hasher *h);

#endif
