/* test_shutdown.c - the process comes to its end, whatever hangs.  Each case is a process of its own, all at the same time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/server.h"
#include "lib/admin/cli.h"
#include "lib/admin/signals.h"
#include "lib/node/shutdown.h"

#define MOST_S 60 /* far beyond what any of them takes */

#ifdef __SANITIZE_THREAD__
/* A process that ends in the midst of something has threads. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_thread_leaks=0";
}
#endif

static void hang(void *ctx)
{
	(void)ctx;
	for (;;)
		pause();
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void no_flush(void *ctx, int64_t until_ms)
{
	(void)ctx;
	(void)until_ms;
}

static bool is_flushed(void *ctx)
{
	(void)ctx;
	return true;
}

/* --- the cases: each is what such a process does until it ends ------------------------------------------------------------------ */

/* changed: called when the balancer status changes, first of all that a shutdown does. */
static struct sr_shutdown *node(unsigned timeout_s, void (*changed)(void *ctx), void (*hurry)(void *ctx))
{
	struct sr_routes routes = {0};
	static struct sr_config config;
	static struct sr_shutdown_steps steps;
	struct sr_server_options o = {.address = "127.0.0.1", .routes = &routes, .routes_count = 1};
	struct sr_balance *balance;
	struct sr_server *server;
	struct sr_shutdown *s;
	struct sr_err err;

	routes.at = sr_balance_routes(&routes.n);
	config.shutdown_timeout = timeout_s;
	steps = (struct sr_shutdown_steps){.flush = no_flush, .is_flushed = is_flushed, .hurry = hurry};
	if (sr_server_start(&server, &o, &err) != SR_OK || sr_balance_open(&balance, "/nowhere", changed, NULL, &err) != SR_OK)
		_exit(1);
	s = sr_shutdown_new(&config, "webserver");
	sr_shutdown_attach(s, balance, server, &steps, NULL);
	return s;
}

static void a_step_hangs(void)
{
	sr_shutdown_begin(node(0, nothing, hang), "a test");
	hang(NULL);
}

static void its_beginning_hangs(void)
{
	sr_shutdown_begin(node(0, hang, nothing), "a test");
	hang(NULL);
}

static void its_beginning_hangs_and_it_is_told_to_hurry(void)
{
	struct sr_shutdown *s = node(3600, hang, nothing);

	sr_shutdown_signal(s, SIGTERM);
	sr_shutdown_signal(s, SIGTERM);
	hang(NULL);
}

static void nobody_reads_its_log(void)
{
	struct sr_shutdown *s = node(0, nothing, nothing);
	int ends[2];

	if (pipe2(ends, O_NONBLOCK) != 0)
		_exit(1);
	while (write(ends[1], "x", 1) == 1)
		;
	fcntl(ends[1], F_SETFL, 0);
	dup2(ends[1], STDERR_FILENO);
	sr_shutdown_begin(s, "a test");
	hang(NULL);
}

static void its_main_function_hangs(void)
{
	struct sr_shutdown *s = node(0, nothing, nothing);

	sr_shutdown_begin(s, "a test");
	sr_shutdown_detach(s);
	hang(NULL);
}

static sem_t reached;

static void reach(void *ctx)
{
	(void)ctx;
	sem_post(&reached);
}

static void reach_and_hang(void *ctx)
{
	reach(ctx);
	hang(ctx);
}

static void send_and_wait(int sig)
{
	kill(getpid(), sig);
	while (sem_wait(&reached) != 0)
		;
}

static void a_reload_hangs_and_it_is_told_to_stop(void)
{
	struct sr_signals *signals;
	struct sr_err err;
	sigset_t set;

	sem_init(&reached, 0, 0);
	sr_cli_block_signals(&set);
	if (sr_signals_start(&signals, &set, node(3600, reach, nothing), reach_and_hang, nothing, NULL, &err) != SR_OK)
		_exit(1);
	send_and_wait(SIGHUP);
	send_and_wait(SIGTERM);
	kill(getpid(), SIGTERM);
	sr_signals_mute(signals);
}

/* --- the test ---------------------------------------------------------------------------------------------------------------------- */

static pid_t start(void (*live)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(MOST_S);
		live();
		_exit(1);
	}
	assert_true(pid > 0);
	return pid;
}

static void whatever_hangs_it_ends(void **state)
{
	static const struct {
		const char *name;
		void (*live)(void);
	} cases[] = {
		{"a step hangs", a_step_hangs},
		{"its beginning hangs", its_beginning_hangs},
		{"its beginning hangs, and it is told to hurry", its_beginning_hangs_and_it_is_told_to_hurry},
		{"nobody reads its log", nobody_reads_its_log},
		{"its main function hangs", its_main_function_hangs},
		{"a reload hangs, and it is told to stop, twice", a_reload_hangs_and_it_is_told_to_stop},
	};
	enum { N = sizeof cases / sizeof *cases };
	pid_t pid[N];
	int status[N];

	(void)state;
	for (size_t i = 0; i < N; i++)
		pid[i] = start(cases[i].live);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(waitpid(pid[i], &status[i], 0), pid[i]);
	for (size_t i = 0; i < N; i++)
		if (status[i])
			fail_msg("%s: it ended with %#x", cases[i].name, (unsigned)status[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_hangs_it_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
