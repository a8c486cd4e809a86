/* sim_histories.c - run simulated histories, and say which of them broke a promise.
 *
 *   sim_histories                       TAP, for tests/run: the kept seeds, one seed twice, and COUNT more
 *   sim_histories --seed N [--trace]    one; --trace prints all of it
 *   sim_histories --from N --count N [--jobs N]     many, over all processors
 *   sim_histories --first --from N --count N        one after the other, up to the first that broke a promise; exit status 0: there is one
 *
 * With --restores some machines are put back to a backup, which changes all histories.
 * Each history is a process of its own.  Exit status: 0, or 1 if there was a violation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "tests/sim/play.h"
#include "tests/sim/sim.h"

enum { CHECK_COUNT = 150, CHECK_RESTORES = 50 };

/* --- many -------------------------------------------------------------------------------------------------------------------- */

static void say_violation(uint64_t seed, const struct sim_outcome *o)
{
	if (o->status == 3)
		printf("# seed %llu: %s\n", (unsigned long long)seed, o->text);
	else
		printf("# seed %llu: status %d: %s\n", (unsigned long long)seed, o->status, o->text);
	printf("#   replay: build/tests/sim_histories --seed %llu%s --trace\n", (unsigned long long)seed,
	       sim_restores ? " --restores" : "");
	fflush(stdout);
}

/* Every jobs-th seed.  Returns how many broke a promise. */
static unsigned run_share(uint64_t from, uint64_t count, unsigned job, unsigned jobs)
{
	unsigned broken = 0;

	for (uint64_t k = job; k < count; k += jobs) {
		struct sim_outcome o = sim_play(sim_history, from + k);

		if (o.status) {
			say_violation(from + k, &o);
			broken++;
		}
	}
	return broken;
}

static int run_many(uint64_t from, uint64_t count, unsigned jobs)
{
	unsigned broken = 0;
	struct timespec a, b;
	int fds[2];
	double s;

	if (pipe(fds))
		abort();
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned j = 0; j < jobs; j++)
		if (fork() == 0) {
			unsigned mine = run_share(from, count, j, jobs);

			_exit(write(fds[1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
		}
	for (unsigned j = 0; j < jobs; j++) {
		unsigned its = 0;

		if (read(fds[0], &its, sizeof its) != (ssize_t)sizeof its)
			its = 1;
		broken += its;
	}
	while (wait(NULL) > 0)
		;
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("# %llu histories, seeds %llu to %llu: %u violations; %.1f s, %.1f a second\n", (unsigned long long)count, (unsigned long long)from,
	       (unsigned long long)(from + count - 1), broken, s, (double)count / s);
	return broken ? 1 : 0;
}

/* --- for tests/run ----------------------------------------------------------------------------------------------------------- */

static void same_twice(uint64_t seed)
{
	struct sim_outcome a = sim_play(sim_history, seed), b = sim_play(sim_history, seed);

	sim_tap(a.status == b.status && a.text[0] && !strcmp(a.text, b.text), "seed %llu, twice the same history (%s)", (unsigned long long)seed, a.text);
}

/* tests/sim/seeds: a line is a seed, and what it found. */
static void kept_seeds(void)
{
	const char *source = getenv("SAMEROOT_SOURCE");
	char *path = sr_format("%s/tests/sim/seeds", source ? source : "."), line[400];
	FILE *in = fopen(path, "r");

	while (in && fgets(line, sizeof line, in)) {
		char *what;
		uint64_t seed = strtoull(line, &what, 10);
		struct sim_outcome o;

		if (line[0] == '#' || what == line)
			continue;
		what[strcspn(what, "\n")] = '\0';
		o = sim_play(sim_history, seed);
		sim_tap(o.status == 0, "seed %llu:%s%s%s", (unsigned long long)seed, what, o.status ? ": " : "", o.status ? o.text : "");
	}
	if (in)
		fclose(in);
	free(path);
}

static int check(void)
{
	if (!sim_may_run())
		return 0;
	same_twice(1);
	same_twice(2);
	kept_seeds();
	sim_tap(run_many(1, CHECK_COUNT, 1) == 0, "%d histories keep every promise", CHECK_COUNT);
	sim_restores = true;
	sim_tap(run_many(1, CHECK_RESTORES, 1) == 0, "%d in which backups are put back keep what they can", CHECK_RESTORES);
	return sim_tap_end();
}

/* --- planted bugs ------------------------------------------------------------------------------------------------------------ */

static int run_to_first(uint64_t from, uint64_t count)
{
	for (uint64_t k = 0; k < count; k++) {
		struct sim_outcome o = sim_play(sim_history, from + k);

		if (!o.status)
			continue;
		printf("found by the history %llu, of seed %llu: %s\n", (unsigned long long)(k + 1), (unsigned long long)(from + k), o.text);
		return 0;
	}
	printf("NOT found by %llu histories\n", (unsigned long long)count);
	return 1;
}

/* --- arguments --------------------------------------------------------------------------------------------------------------- */

static uint64_t number(int argc, char **argv, const char *name, uint64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return strtoull(argv[i + 1], NULL, 10);
	return otherwise;
}

static bool flag(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	sim_tracing = flag(argc, argv, "--trace");
	sim_restores = flag(argc, argv, "--restores");
	if (flag(argc, argv, "--seed"))
		return sim_show(sim_history, number(argc, argv, "--seed", 1), flag(argc, argv, "--log"));
	if (flag(argc, argv, "--first"))
		return run_to_first(number(argc, argv, "--from", 1), number(argc, argv, "--count", 1));
	if (flag(argc, argv, "--count"))
		return run_many(number(argc, argv, "--from", 1), number(argc, argv, "--count", 1),
				(unsigned)number(argc, argv, "--jobs", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN)));
	return check();
}
