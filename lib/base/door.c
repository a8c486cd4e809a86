/* door.c - see door.h. */
#include "lib/base/door.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lib/base/bytes.h"

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t real_now_ms(void *ctx)
{
	(void)ctx;
	return clock_ms(CLOCK_REALTIME);
}

static int64_t real_ticks_ms(void *ctx)
{
	(void)ctx;
	return clock_ms(CLOCK_MONOTONIC);
}

static void real_random(void *ctx, void *out, size_t n)
{
	uint8_t *at = out;

	(void)ctx;
	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) { /* no secret is better than a guessable one */
			fprintf(stderr, "getrandom: %s\n", strerror(errno));
			abort();
		}
		at += got;
		n -= (size_t)got;
	}
}

static const struct sr_door real_door = {real_now_ms, real_ticks_ms, real_random, NULL};

/* The one mutable static of the product, with the log's settings: time and chance are asked for at the bottom of every room, and handing a
 * door through each call would be noise in all of them for the sake of one test program.  Set before any thread starts. */
static struct sr_door door = {real_now_ms, real_ticks_ms, real_random, NULL};

void sr_door_install(const struct sr_door *replacement)
{
	door = replacement ? *replacement : real_door;
}

int64_t sr_now_ms(void)
{
	return door.now_ms(door.ctx);
}

int64_t sr_ticks_ms(void)
{
	return door.ticks_ms(door.ctx);
}

void sr_random(void *out, size_t n)
{
	door.random(door.ctx, out, n);
}

uint64_t sr_random_below(uint64_t n)
{
	uint64_t v, skew;

	assert(n > 0);
	skew = -n % n; /* 2^64 mod n: so many values would make the low results likelier */
	do
		sr_random(&v, sizeof(v));
	while (v < skew);
	return v % n;
}

struct sr_uuid sr_uuid_random(void)
{
	struct sr_uuid u;

	sr_random(u.b, sizeof(u.b));
	u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* version 4 */
	u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80); /* RFC 9562 variant */
	return u;
}

static int dash_before(int byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void sr_uuid_text(char out[SR_UUID_TEXT], const struct sr_uuid *u)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++) {
		if (dash_before(i))
			*out++ = '-';
		*out++ = digits[u->b[i] >> 4];
		*out++ = digits[u->b[i] & 15];
	}
	*out = '\0';
}

int sr_uuid_parse(struct sr_uuid *out, const char *text)
{
	struct sr_uuid u;

	if (strlen(text) != SR_UUID_TEXT - 1)
		return -1;
	for (int i = 0; i < 16; i++, text += 2) {
		if (dash_before(i) && *text++ != '-')
			return -1;
		if (!sr_unhex(&u.b[i], 1, sr_bytes(text, 2)))
			return -1;
	}
	*out = u;
	return 0;
}

int sr_uuid_none(const struct sr_uuid *u)
{
	static const struct sr_uuid none;

	return memcmp(u, &none, sizeof(none)) == 0;
}
