/* sim_histories.c - run simulated histories, and say which of them broke a promise.
 *
 *   sim_histories                       TAP, for tests/run: the kept seeds, one seed twice, and COUNT more
 *   sim_histories --seed N [--trace]    one; --trace prints all of it
 *   sim_histories --from N --count N [--jobs N]     many, over all processors
 *
 * Each history is a process of its own.  Exit status: 0, or 1 if there was a violation. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/log.h"
#include "tests/sim/sim.h"

enum { CHECK_COUNT = 200, TEXT = 600 };

struct outcome {
	int status;          /* of the process: 0, 3 (a violation), or a signal's */
	char text[TEXT];     /* what it printed */
};

static const char *where(void)
{
	return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static _Noreturn void run_history(uint64_t seed, const char *dir, bool logs)
{
	sr_log_setup("sim", logs ? SR_LOG_DEBUG : SR_LOG_ERROR + 1, false);
	sqlite3_initialize();
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed % 2000000000) + 1, NULL);
	sim_history(seed, dir);
	printf("%016llx\n", (unsigned long long)sim_trace_hash());
	fflush(stdout);
	_exit(0);
}

/* In a process of its own; what it prints goes to `out`, or is passed on. */
static int run_one(uint64_t seed, int out, bool logs)
{
	char dir[64];
	int status = 0;
	pid_t pid;

	snprintf(dir, sizeof dir, "%s/sameroot-sim.XXXXXX", where());
	if (!mkdtemp(dir)) {
		perror(dir);
		exit(1);
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		run_history(seed, dir, logs);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!getenv("SIM_KEEP"))
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static struct outcome outcome_of(uint64_t seed)
{
	struct outcome o = {0};
	int fds[2];
	ssize_t n;

	if (pipe(fds))
		abort();
	o.status = run_one(seed, fds[1], false);
	close(fds[1]);
	n = read(fds[0], o.text, sizeof o.text - 1);
	close(fds[0]);
	o.text[n < 0 ? 0 : n] = '\0';
	o.text[strcspn(o.text, "\n")] = '\0';
	return o;
}

/* --- many -------------------------------------------------------------------------------------------------------------------- */

static void say_violation(uint64_t seed, const struct outcome *o)
{
	if (o->status == 3)
		printf("# seed %llu: %s\n", (unsigned long long)seed, o->text);
	else
		printf("# seed %llu: status %d: %s\n", (unsigned long long)seed, o->status, o->text);
	printf("#   replay: build/tests/sim_histories --seed %llu --trace\n", (unsigned long long)seed);
	fflush(stdout);
}

/* Every jobs-th seed.  Returns how many broke a promise. */
static unsigned run_share(uint64_t from, uint64_t count, unsigned job, unsigned jobs)
{
	unsigned broken = 0;

	for (uint64_t k = job; k < count; k += jobs) {
		struct outcome o = outcome_of(from + k);

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

static unsigned tests, failed;

static void tap(bool well, const char *fmt, ...) SR_PRINTF(2, 3);
static void tap(bool well, const char *fmt, ...)
{
	va_list args;

	printf("%sok %u - ", well ? "" : "not ", ++tests);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	failed += !well;
}

static void same_twice(uint64_t seed)
{
	struct outcome a = outcome_of(seed), b = outcome_of(seed);

	tap(a.status == b.status && a.text[0] && !strcmp(a.text, b.text), "seed %llu, twice the same history (%s)", (unsigned long long)seed, a.text);
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
		struct outcome o;

		if (line[0] == '#' || what == line)
			continue;
		what[strcspn(what, "\n")] = '\0';
		o = outcome_of(seed);
		tap(o.status == 0, "seed %llu:%s%s%s", (unsigned long long)seed, what, o.status ? ": " : "", o.status ? o.text : "");
	}
	if (in)
		fclose(in);
	free(path);
}

static int check(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	printf("ok 1 # SKIP a sanitizer stands before the same calls of libc as the simulator\n1..1\n");
	return 0;
#endif
	same_twice(1);
	same_twice(2);
	kept_seeds();
	tap(run_many(1, CHECK_COUNT, 1) == 0, "%d histories keep every promise", CHECK_COUNT);
	printf("1..%u\n", tests);
	return failed != 0;
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
	signal(SIGPIPE, SIG_IGN);
	mallopt(M_MMAP_THRESHOLD, 256 * 1024); /* what is large and hardly used costs nothing then */
	sim_tracing = flag(argc, argv, "--trace");
	if (flag(argc, argv, "--seed"))
		return run_one(number(argc, argv, "--seed", 1), -1, flag(argc, argv, "--log"));
	if (flag(argc, argv, "--count"))
		return run_many(number(argc, argv, "--from", 1), number(argc, argv, "--count", 1),
				(unsigned)number(argc, argv, "--jobs", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN)));
	return check();
}
