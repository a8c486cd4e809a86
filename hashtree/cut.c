/* cut.c - see cut.h.
 *
 * The rolling hash is h = 2h + gear[byte]: after 64 bytes one is forgotten, and the high bits, which are looked at, know the most of them.
 * It is rolled from 64 bytes before the earliest cut on, so that where that was makes no difference to what follows. */
#include "hashtree/cut.h"

#include <assert.h>
#include <string.h>

#define WINDOW 64

void sr_gear_set(struct sr_gear *gear, const struct sr_tree_key *key)
{
	uint8_t in[] = "gear .";

	for (unsigned i = 0; i < 256; i++) {
		struct sr_hash h;
		struct sr_reader r;

		in[sizeof in - 2] = (uint8_t)i;
		sr_hash_of(&h, key, sr_bytes(in, sizeof in - 1));
		r = sr_reader(sr_bytes(h.b, sizeof h.b));
		gear->of[i] = sr_read_be64(&r);
	}
}

static uint64_t below(unsigned zero_bits)
{
	return UINT64_C(1) << (64 - zero_bits);
}

void sr_cutter_set(struct sr_cutter *c, const struct sr_gear *gear, uint32_t unit)
{
	unsigned lg = 0;

	assert(unit == SR_CUT_SPAN || unit == SR_CUT_CHUNK || unit == SR_CUT_BLOCK);
	while (UINT32_C(1) << lg < unit)
		lg++;
	*c = (struct sr_cutter){.gear = gear,
				.warm = SR_CUT_LEAST(unit) - WINDOW,
				.least = SR_CUT_LEAST(unit),
				.normal = unit / 4 * 3,
				.most = SR_CUT_MOST(unit),
				.strict = below(lg + 2),
				.loose = below(lg - 2)};
}

/* Up to `until` bytes of the piece. */
static size_t roll(struct sr_cutter *c, const uint8_t *at, size_t n, uint32_t until, uint64_t limit, bool *end)
{
	const uint64_t *gear = c->gear->of;
	uint64_t h = c->hash;
	size_t k = 0;

	if (c->length >= until)
		return 0;
	if (n > until - c->length)
		n = until - c->length;
	while (k < n) {
		h = (h << 1) + gear[at[k++]];
		if (h < limit) {
			*end = true;
			break;
		}
	}
	c->hash = h;
	c->length += (uint32_t)k;
	return k;
}

size_t sr_cutter_take(struct sr_cutter *c, const void *from, size_t n, bool *end)
{
	const uint8_t *at = from;
	size_t k = 0;

	*end = false;
	if (c->length < c->warm) {
		k = c->warm - c->length < n ? c->warm - c->length : n;
		c->length += (uint32_t)k;
	}
	k += roll(c, at + k, n - k, c->least - 1, 0, end);
	k += roll(c, at + k, n - k, c->normal, c->strict, end);
	if (!*end)
		k += roll(c, at + k, n - k, c->most, c->loose, end);
	*end |= c->length == c->most;
	if (*end) {
		c->length = 0;
		c->hash = 0;
	}
	return k;
}
