/* test_health.c - who is told of a change may set the health check anew, as a reload does: no lock is held meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/node/health.h"

#define MOST_S 60 /* far beyond what it takes */

struct node {
	struct sr_health *health;
	pthread_t starter;
	sem_t started, told; /* health is known; the thread of the health check has told of something */
};

static int64_t too_late(void *ctx)
{
	(void)ctx;
	return 3600000;
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s) != 0)
		;
}

static void changed(void *ctx)
{
	struct node *n = ctx;

	if (pthread_equal(pthread_self(), n->starter))
		return;
	wait_for(&n->started);
	sr_health_set(n->health, NULL, 1);
	sem_post(&n->started);
	sem_post(&n->told);
}

static void no_lock_is_held_while_others_are_told(void **state)
{
	struct node n = {.starter = pthread_self()};
	struct sr_health_options o = {.lag_ms = too_late, .ctx = &n};
	struct sr_err err;

	(void)state;
	alarm(MOST_S); /* instead of waiting for ever */
	sr_log_setup("test_health", SR_LOG_ERROR, false);
	sem_init(&n.started, 0, 0);
	sem_init(&n.told, 0, 0);
	assert_int_equal(sr_balance_open(&o.balance, "/nowhere", changed, &n, &err), SR_OK);
	assert_int_equal(sr_health_start(&n.health, &o, "http://127.0.0.1:1/", 1, &err), SR_OK);
	sem_post(&n.started);
	wait_for(&n.told); /* that it is late: which takes the health check away */
	wait_for(&n.told); /* that the application is well, for nobody asks it any more */
	sr_health_stop(n.health);
	sr_balance_close(o.balance);
	sem_destroy(&n.started);
	sem_destroy(&n.told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_lock_is_held_while_others_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
