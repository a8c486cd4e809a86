/* bytes.h - byte strings, a growing buffer, a bounded reader, hex, base64url and percent texts.
 *
 * Names and values are bytes, never C strings: they may hold NUL and anything that is not UTF-8.
 * Allocation failure ends the process: sizes that come from outside are capped before they get here.  What every value of a million leaves goes
 * through stands here, to be inlined. */
#ifndef SR_BASE_BYTES_H
#define SR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct sr_bytes { /* BORROWED view */
	const uint8_t *at;
	size_t len;
};

static inline struct sr_bytes sr_bytes(const void *at, size_t len)
{
	return (struct sr_bytes){.at = at, .len = len};
}

struct sr_bytes sr_bytes_of(const char *text); /* without its NUL */
int sr_bytes_cmp(struct sr_bytes a, struct sr_bytes b); /* memcmp order, the shorter first */
bool sr_bytes_eq(struct sr_bytes a, struct sr_bytes b);
bool sr_bytes_same_secret(struct sr_bytes a, struct sr_bytes b); /* constant time in the length of a */

void *sr_alloc(size_t n); /* zeroed; never NULL */
void *sr_realloc(void *p, size_t n);
char *sr_strdup(const char *s);
char *sr_text(struct sr_bytes b);                             /* a NUL-terminated copy; OWNED BY CALLER (free) */
char *sr_format(const char *fmt, ...) SR_PRINTF(1, 2);        /* OWNED BY CALLER (free) */

struct sr_buf { /* {0} is an empty one; sr_buf_free when done */
	uint8_t *at;
	size_t len, cap;
};

void sr_buf_free(struct sr_buf *b); /* and back to {0} */
uint8_t *sr_buf_grow(struct sr_buf *b, size_t n); /* sr_buf_room where it takes more memory */

/* Keeps the memory. */
static inline void sr_buf_clear(struct sr_buf *b)
{
	b->len = 0;
}

/* Room for n more at the end; b->len is the caller's to raise. */
static inline uint8_t *sr_buf_room(struct sr_buf *b, size_t n)
{
	return b->at && n <= b->cap - b->len ? b->at + b->len : sr_buf_grow(b, n);
}

void sr_buf_add(struct sr_buf *b, const void *at, size_t n);
void sr_buf_bytes(struct sr_buf *b, struct sr_bytes s);
static inline void sr_buf_byte(struct sr_buf *b, uint8_t v)
{
	*sr_buf_room(b, 1) = v;
	b->len++;
}

void sr_buf_be16(struct sr_buf *b, uint16_t v);
void sr_buf_be32(struct sr_buf *b, uint32_t v);
void sr_buf_be64(struct sr_buf *b, uint64_t v);
void sr_buf_varint(struct sr_buf *b, uint64_t v); /* LEB128, shortest form */
void sr_buf_string(struct sr_buf *b, struct sr_bytes s); /* varint length, bytes */
void sr_buf_printf(struct sr_buf *b, const char *fmt, ...) SR_PRINTF(2, 3);
/* VALID UNTIL the next change of b. */
static inline struct sr_bytes sr_buf_view(const struct sr_buf *b)
{
	return sr_bytes(b->at, b->len);
}
char *sr_buf_text(struct sr_buf *b); /* NUL-terminated in place (the NUL is not counted); VALID UNTIL the next change */

/* Reads from the front; the first fault sets `bad` and every read from then on gives zero. */
struct sr_reader {
	struct sr_bytes in;
	size_t pos;
	bool bad;
};

static inline struct sr_reader sr_reader(struct sr_bytes in)
{
	return (struct sr_reader){.in = in};
}

/* The next n bytes, or NULL and bad. */
static inline const uint8_t *sr_read_take(struct sr_reader *r, size_t n)
{
	const uint8_t *at = r->in.at + r->pos;

	if (r->bad || n > r->in.len - r->pos) {
		r->bad = true;
		return NULL;
	}
	r->pos += n;
	return at;
}

static inline uint8_t sr_read_byte(struct sr_reader *r)
{
	const uint8_t *at = sr_read_take(r, 1);

	return at ? *at : 0;
}

uint16_t sr_read_be16(struct sr_reader *r);
uint32_t sr_read_be32(struct sr_reader *r);
uint64_t sr_read_be64(struct sr_reader *r);
uint64_t sr_read_long_varint(struct sr_reader *r); /* sr_read_varint of any length */

/* A longer than shortest form is bad. */
static inline uint64_t sr_read_varint(struct sr_reader *r)
{
	if (!r->bad && r->pos < r->in.len && r->in.at[r->pos] < 0x80) /* nearly all of them */
		return r->in.at[r->pos++];
	return sr_read_long_varint(r);
}

static inline struct sr_bytes sr_read_bytes(struct sr_reader *r, size_t n)
{
	const uint8_t *at = n ? sr_read_take(r, n) : NULL;

	return sr_bytes(at, at ? n : 0);
}

struct sr_bytes sr_read_string(struct sr_reader *r); /* varint length, bytes; BORROWS the input */

static inline size_t sr_read_left(const struct sr_reader *r)
{
	return r->bad ? 0 : r->in.len - r->pos;
}

/* All read, nothing bad. */
static inline bool sr_read_done(const struct sr_reader *r)
{
	return !r->bad && r->pos == r->in.len;
}

void sr_hex(struct sr_buf *out, struct sr_bytes in);
SR_MUST bool sr_unhex(uint8_t *out, size_t n, struct sr_bytes hex); /* exactly 2n digits */

/* base64url, without padding. */
void sr_base64url(struct sr_buf *out, struct sr_bytes in);
SR_MUST bool sr_unbase64url(struct sr_buf *out, struct sr_bytes text); /* exactly what sr_base64url writes; else *out may have grown */

/* Percent-encode all but [A-Za-z0-9._~-] and the bytes of `keep`. */
void sr_percent(struct sr_buf *out, struct sr_bytes in, const char *keep);
SR_MUST bool sr_unpercent(struct sr_buf *out, struct sr_bytes in);

bool sr_utf8_valid(struct sr_bytes b);

#endif
