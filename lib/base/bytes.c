/* bytes.c - see bytes.h. */
#include "lib/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sr_bytes sr_bytes_of(const char *text)
{
	return sr_bytes(text, strlen(text));
}

int sr_bytes_cmp(struct sr_bytes a, struct sr_bytes b)
{
	size_t least = a.len < b.len ? a.len : b.len;
	int order = least ? memcmp(a.at, b.at, least) : 0; /* an empty view may have no address */

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool sr_bytes_eq(struct sr_bytes a, struct sr_bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool sr_bytes_same_secret(struct sr_bytes a, struct sr_bytes b)
{
	volatile uint8_t differ = a.len != b.len; /* volatile: no early way out for the compiler to find */

	for (size_t i = 0; i < a.len; i++)
		differ |= (uint8_t)(a.at[i] ^ (b.len ? b.at[i % b.len] : 0xff));
	return !differ;
}

static void out_of_memory(size_t n)
{
	fprintf(stderr, "out of memory: %zu bytes asked for\n", n);
	abort();
}

void *sr_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		out_of_memory(n);
	return p;
}

void *sr_realloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);

	if (!q)
		out_of_memory(n);
	return q;
}

char *sr_strdup(const char *s)
{
	return sr_text(sr_bytes_of(s));
}

char *sr_text(struct sr_bytes b)
{
	char *text = sr_realloc(NULL, b.len + 1);

	if (b.len)
		memcpy(text, b.at, b.len);
	text[b.len] = '\0';
	return text;
}

char *sr_format(const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		out_of_memory(0);
	va_end(ap);
	return text;
}

/* ---- the growing buffer ---- */

void sr_buf_free(struct sr_buf *b)
{
	free(b->at);
	*b = (struct sr_buf){0};
}

uint8_t *sr_buf_grow(struct sr_buf *b, size_t n)
{
	size_t need, cap = b->cap ? b->cap : 64;

	if (__builtin_add_overflow(b->len, n, &need) || need > SIZE_MAX / 2)
		out_of_memory(n);
	while (cap < need)
		cap *= 2;
	b->at = sr_realloc(b->at, cap);
	b->cap = cap;
	return b->at + b->len;
}

void sr_buf_add(struct sr_buf *b, const void *at, size_t n)
{
	if (!n)
		return;
	memcpy(sr_buf_room(b, n), at, n);
	b->len += n;
}

void sr_buf_bytes(struct sr_buf *b, struct sr_bytes s)
{
	sr_buf_add(b, s.at, s.len);
}

static void add_be(struct sr_buf *b, uint64_t v, unsigned bytes)
{
	uint8_t *at = sr_buf_room(b, bytes);

	for (unsigned i = bytes; i-- > 0; v >>= 8)
		at[i] = (uint8_t)v;
	b->len += bytes;
}

void sr_buf_be16(struct sr_buf *b, uint16_t v)
{
	add_be(b, v, 2);
}

void sr_buf_be32(struct sr_buf *b, uint32_t v)
{
	add_be(b, v, 4);
}

void sr_buf_be64(struct sr_buf *b, uint64_t v)
{
	add_be(b, v, 8);
}

void sr_buf_varint(struct sr_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		sr_buf_byte(b, (uint8_t)(v | 0x80));
	sr_buf_byte(b, (uint8_t)v);
}

void sr_buf_string(struct sr_buf *b, struct sr_bytes s)
{
	sr_buf_varint(b, s.len);
	sr_buf_bytes(b, s);
}

void sr_buf_printf(struct sr_buf *b, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(0);
	sr_buf_add(b, text, (size_t)n);
	free(text);
}

char *sr_buf_text(struct sr_buf *b)
{
	*sr_buf_room(b, 1) = '\0';
	return (char *)b->at;
}

/* ---- the bounded reader ---- */

static uint64_t read_be(struct sr_reader *r, unsigned bytes)
{
	const uint8_t *at = sr_read_take(r, bytes);
	uint64_t v = 0;

	for (unsigned i = 0; at && i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

uint16_t sr_read_be16(struct sr_reader *r)
{
	return (uint16_t)read_be(r, 2);
}

uint32_t sr_read_be32(struct sr_reader *r)
{
	return (uint32_t)read_be(r, 4);
}

uint64_t sr_read_be64(struct sr_reader *r)
{
	return read_be(r, 8);
}

uint64_t sr_read_long_varint(struct sr_reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = sr_read_byte(r);

		if (r->bad || (shift == 63 && byte > 1) || (shift && byte == 0))
			break; /* cut short, over 64 bits, or not the shortest form */
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return v;
	}
	r->bad = true;
	return 0;
}

struct sr_bytes sr_read_string(struct sr_reader *r)
{
	uint64_t n = sr_read_varint(r);

	if (n > sr_read_left(r)) {
		r->bad = true;
		n = 0;
	}
	return sr_read_bytes(r, (size_t)n);
}

/* ---- hex, percent, UTF-8 ---- */

void sr_hex(struct sr_buf *out, struct sr_bytes in)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t *at = sr_buf_room(out, in.len * 2);

	for (size_t i = 0; i < in.len; i++) {
		at[2 * i] = (uint8_t)digits[in.at[i] >> 4];
		at[2 * i + 1] = (uint8_t)digits[in.at[i] & 15];
	}
	out->len += in.len * 2;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sr_unhex(uint8_t *out, size_t n, struct sr_bytes hex)
{
	if (hex.len / 2 != n || hex.len % 2)
		return false;
	for (size_t i = 0; i < hex.len; i++)
		if (hex_digit(hex.at[i]) < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(hex_digit(hex.at[2 * i]) << 4 | hex_digit(hex.at[2 * i + 1]));
	return true;
}

static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void sr_base64url(struct sr_buf *out, struct sr_bytes in)
{
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < in.len; i++) {
		bits = bits << 8 | in.at[i];
		for (have += 8; have >= 6; have -= 6)
			sr_buf_byte(out, (uint8_t)base64url_digits[bits >> (have - 6) & 63]);
	}
	if (have)
		sr_buf_byte(out, (uint8_t)base64url_digits[bits << (6 - have) & 63]);
}

bool sr_unbase64url(struct sr_buf *out, struct sr_bytes text)
{
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < text.len; i++) {
		const char *digit = text.at[i] ? strchr(base64url_digits, text.at[i]) : NULL;

		if (!digit)
			return false;
		bits = bits << 6 | (uint32_t)(digit - base64url_digits);
		have += 6;
		if (have >= 8) {
			have -= 8;
			sr_buf_byte(out, (uint8_t)(bits >> have));
		}
	}
	return have < 6 && !(bits & ((1u << have) - 1));
}

static bool stays_itself(uint8_t c, const char *keep)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c && (strchr("._~-", c) || (keep && strchr(keep, c))));
}

void sr_percent(struct sr_buf *out, struct sr_bytes in, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.at[i];

		if (stays_itself(c, keep))
			sr_buf_byte(out, c);
		else
			sr_buf_add(out, (char[3]){'%', digits[c >> 4], digits[c & 15]}, 3);
	}
}

bool sr_unpercent(struct sr_buf *out, struct sr_bytes in)
{
	size_t before = out->len;

	for (size_t i = 0; i < in.len; i++) {
		uint8_t byte = in.at[i];

		if (byte == '%') {
			if (in.len - i < 3 || !sr_unhex(&byte, 1, sr_bytes(in.at + i + 1, 2))) {
				out->len = before;
				return false;
			}
			i += 2;
		}
		sr_buf_byte(out, byte);
	}
	return true;
}

/* The length of the sequence that starts at s, 0 if there is none: no surrogates, no overlong forms, nothing over U+10FFFF. */
static size_t utf8_sequence(const uint8_t *s, size_t left)
{
	uint8_t low = 0x80, high = 0xbf; /* what the second byte may be */
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	if (s[0] == 0xed)
		high = 0x9f;
	if (s[0] == 0xf0)
		low = 0x90;
	if (s[0] == 0xf4)
		high = 0x8f;
	if (left < n || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

bool sr_utf8_valid(struct sr_bytes b)
{
	for (size_t i = 0, n; i < b.len; i += n) {
		n = utf8_sequence(b.at + i, b.len - i);
		if (!n)
			return false;
	}
	return true;
}
