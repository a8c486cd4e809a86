/* play.c - see play.h. */
#include "tests/sim/play.h"

#include <errno.h>
#include <ftw.h>
#include <malloc.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "tests/sim/sim.h"

static const char *where(void)
{
	return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static _Noreturn void run_history(void (*history)(uint64_t seed, const char *dir), uint64_t seed, const char *dir, bool logs)
{
	signal(SIGPIPE, SIG_IGN);
	mallopt(M_MMAP_THRESHOLD, 256 * 1024); /* what is large and hardly used costs nothing then */
	sr_log_setup("sim", logs ? SR_LOG_DEBUG : SR_LOG_ERROR + 1, false);
	sqlite3_initialize();
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed % 2000000000) + 1, NULL);
	history(seed, dir);
	printf("%016llx\n", (unsigned long long)sim_trace_hash());
	fflush(stdout);
	_exit(0);
}

/* out < 0: what it prints is passed on. */
static int run_one(void (*history)(uint64_t seed, const char *dir), uint64_t seed, int out, bool logs)
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
		run_history(history, seed, dir, logs);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!getenv("SIM_KEEP"))
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct sim_outcome sim_play(void (*history)(uint64_t seed, const char *dir), uint64_t seed)
{
	struct sim_outcome o = {0};
	int fds[2];
	ssize_t n;

	if (pipe(fds))
		abort();
	o.status = run_one(history, seed, fds[1], false);
	close(fds[1]);
	n = read(fds[0], o.text, sizeof o.text - 1);
	close(fds[0]);
	o.text[n < 0 ? 0 : n] = '\0';
	o.text[strcspn(o.text, "\n")] = '\0';
	return o;
}

int sim_show(void (*history)(uint64_t seed, const char *dir), uint64_t seed, bool logs)
{
	return run_one(history, seed, -1, logs);
}

/* --- for tests/run ----------------------------------------------------------------------------------------------------------- */

static unsigned tests, failed;

void sim_tap(bool well, const char *fmt, ...)
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

int sim_tap_end(void)
{
	printf("1..%u\n", tests);
	return failed != 0;
}

bool sim_may_run(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	printf("ok 1 # SKIP a sanitizer stands before the same calls of libc as the simulator\n1..1\n");
	return false;
#else
	return true;
#endif
}
