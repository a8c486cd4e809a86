/* chance.c - the one source of chance, and the trace that shows whether two runs of a seed are one history. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"

bool sim_tracing;
static uint64_t state[2];
static uint64_t hash = 0xcbf29ce484222325u;

static uint64_t mix(uint64_t *x) /* splitmix64 */
{
	uint64_t z = *x += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

void sim_seed(uint64_t seed)
{
	state[0] = mix(&seed);
	state[1] = mix(&seed);
}

uint64_t sim_random(void) /* xoroshiro128+ */
{
	uint64_t a = state[0], b = state[1], sum = a + b;

	b ^= a;
	state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
	state[1] = b << 37 | b >> 27;
	return sum;
}

uint64_t sim_below(uint64_t n)
{
	return (uint64_t)((unsigned __int128)sim_random() * n >> 64);
}

bool sim_chance(unsigned per_mille)
{
	return sim_below(1000) < per_mille;
}

void sim_bytes(void *out, size_t n)
{
	uint8_t *at = out;

	for (size_t i = 0; i < n; i += 8) {
		uint64_t r = sim_random();

		memcpy(at + i, &r, n - i < 8 ? n - i : 8);
	}
}

/* Messages of the product may name the directory of this run (play.c), which is no part of the history. */
static void hide_directory(char *line)
{
	static const char name[] = "/sameroot-sim.";

	for (char *at = line; (at = strstr(at, name));) {
		at += strlen(name);
		for (int i = 0; i < 6 && *at; i++)
			*at++ = 'X';
	}
}

void sim_trace(const char *fmt, ...)
{
	char line[1200];
	const struct sim_machine *m = sim_here();
	int n = snprintf(line, sizeof line, "%10.4f %-9s ", (double)sim_now() / 1e6, m ? m->name : "-"), more;
	va_list args;

	va_start(args, fmt);
	more = vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
	va_end(args);
	n += more < 0 ? 0 : more;
	if ((size_t)n >= sizeof line)
		n = sizeof line - 1;
	hide_directory(line);
	for (int i = 0; i < n; i++)
		hash = (hash ^ (uint8_t)line[i]) * 0x100000001b3u;
	if (sim_tracing)
		printf("%s\n", line);
}

uint64_t sim_trace_hash(void)
{
	return hash;
}

void sim_violation(const char *kind, const char *fmt, ...)
{
	va_list args;

	printf("violation: %s: ", kind);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(3);
}
