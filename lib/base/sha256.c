/* sha256.c - see sha256.h. */
#include "lib/base/sha256.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

struct sr_sha256 {
	gnutls_hash_hd_t handle;
};

struct sr_sha256 *sr_sha256_new(void)
{
	struct sr_sha256 *h = sr_alloc(sizeof *h);

	if (gnutls_hash_init(&h->handle, GNUTLS_DIG_SHA256) != 0)
		abort();
	return h;
}

void sr_sha256_add(struct sr_sha256 *h, const void *at, size_t n)
{
	if (n && gnutls_hash(h->handle, at, n) != 0)
		abort();
}

void sr_sha256_mark(const struct sr_sha256 *h, uint8_t out[SR_SHA256_LEN])
{
	gnutls_hash_hd_t copy = gnutls_hash_copy(h->handle);

	if (!copy)
		abort();
	gnutls_hash_deinit(copy, out);
}

void sr_sha256_end(struct sr_sha256 *h, uint8_t out[SR_SHA256_LEN])
{
	gnutls_hash_output(h->handle, out);
}

void sr_sha256_free(struct sr_sha256 *h)
{
	if (!h)
		return;
	gnutls_hash_deinit(h->handle, NULL);
	free(h);
}

void sr_sha256_text(char out[SR_SHA256_TEXT], const uint8_t digest[SR_SHA256_LEN])
{
	struct sr_buf hex = {0};

	sr_hex(&hex, sr_bytes(digest, SR_SHA256_LEN));
	memcpy(out, sr_buf_text(&hex), SR_SHA256_TEXT);
	sr_buf_free(&hex);
}
