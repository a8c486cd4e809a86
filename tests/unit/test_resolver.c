/* Host names to addresses while the DNS hangs: who waits goes on with what he knew. */
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/lb/resolver.h"

#define LONG 600000 /* ms, never waited for */

static struct dns { /* of the test: it outlives resolvers, as the system's does */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool hangs;
	unsigned hanging;
} dns = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

/* "hang..." takes its time, "gone..." has no address, and the address of any other is the one before, or 10.0.0.1. */
static char *look_up(void *ctx, const char *host, const char *before)
{
	(void)ctx;
	pthread_mutex_lock(&dns.lock);
	dns.hanging++;
	pthread_cond_broadcast(&dns.moved);
	while (dns.hangs && !strncmp(host, "hang", 4))
		pthread_cond_wait(&dns.moved, &dns.lock);
	dns.hanging--;
	pthread_cond_broadcast(&dns.moved);
	pthread_mutex_unlock(&dns.lock);
	return strncmp(host, "gone", 4) ? sr_strdup(before ? before : "10.0.0.1") : NULL;
}

static void set_hangs(bool hangs)
{
	pthread_mutex_lock(&dns.lock);
	dns.hangs = hangs;
	pthread_cond_broadcast(&dns.moved);
	pthread_mutex_unlock(&dns.lock);
}

static void wait_for_hanging(unsigned n)
{
	pthread_mutex_lock(&dns.lock);
	while (dns.hanging != n)
		pthread_cond_wait(&dns.moved, &dns.lock);
	pthread_mutex_unlock(&dns.lock);
}

static int begin(void **state)
{
	(void)state;
	dns.hangs = true;
	return 0;
}

static int end(void **state)
{
	(void)state;
	set_hangs(false);
	wait_for_hanging(0);
	return 0;
}

static void assert_address(const json_t *addresses, const char *host, const char *want)
{
	const char *have = json_string_value(json_object_get(addresses, host));

	assert_string_equal(have ? have : "none", want);
}

static void what_hangs_stays_where_it_was_and_holds_up_nobody_else(void **state)
{
	struct sr_lb_resolver *r = sr_lb_resolver_new(look_up, NULL);
	json_t *hosts = json_pack("{snsnsnsnsn}", "hang1", "hang2", "hang3", "quick", "gone"), *quick = json_pack("{sn}", "quick"),
	       *addresses = json_pack("{ssssss}", "hang1", "10.1.1.1", "gone", "10.2.2.2", "quick", "10.3.3.3");

	(void)state;
	sr_lb_resolver_turn(r, hosts, addresses, 50);
	assert_address(addresses, "hang1", "10.1.1.1");
	assert_address(addresses, "hang2", "none");
	assert_address(addresses, "gone", "10.2.2.2");
	sr_lb_resolver_turn(r, quick, addresses, LONG);
	assert_address(addresses, "quick", "10.3.3.3");
	sr_lb_resolver_turn(r, hosts, addresses, 50);
	wait_for_hanging(3); /* each once, however often it is asked for */
	set_hangs(false);
	sr_lb_resolver_turn(r, hosts, addresses, LONG);
	assert_address(addresses, "hang1", "10.1.1.1");
	assert_address(addresses, "hang2", "10.0.0.1");
	sr_lb_resolver_free(r);
	json_decref(hosts);
	json_decref(quick);
	json_decref(addresses);
}

static void more_than_there_are_threads_are_all_known_in_the_end(void **state)
{
	struct sr_lb_resolver *r = sr_lb_resolver_new(look_up, NULL);
	json_t *hosts = json_object(), *addresses = json_object();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		char *host = sr_format("hang%u", i);

		json_object_set_new(hosts, host, json_null());
		free(host);
	}
	sr_lb_resolver_turn(r, hosts, addresses, 0);
	assert_int_equal(json_object_size(addresses), 0);
	wait_for_hanging(16);
	set_hangs(false);
	sr_lb_resolver_turn(r, hosts, addresses, LONG);
	assert_int_equal(json_object_size(addresses), 100);
	sr_lb_resolver_free(r);
	json_decref(hosts);
	json_decref(addresses);
}

static void *stop(void *r)
{
	wait_for_hanging(1);
	sr_lb_resolver_stop(r);
	return NULL;
}

/* A reload, a shutdown: the lookup is left alone, and who waited for it is not. */
static void who_waits_can_be_told_to_stop(void **state)
{
	struct sr_lb_resolver *r = sr_lb_resolver_new(look_up, NULL);
	json_t *hosts = json_pack("{sn}", "hang"), *addresses = json_object();
	pthread_t other;

	(void)state;
	assert_int_equal(pthread_create(&other, NULL, stop, r), 0);
	sr_lb_resolver_turn(r, hosts, addresses, LONG);
	pthread_join(other, NULL);
	sr_lb_resolver_free(r);
	wait_for_hanging(1);
	assert_int_equal(json_object_size(addresses), 0);
	json_decref(hosts);
	json_decref(addresses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_hangs_stays_where_it_was_and_holds_up_nobody_else, begin, end),
		cmocka_unit_test_setup_teardown(more_than_there_are_threads_are_all_known_in_the_end, begin, end),
		cmocka_unit_test_setup_teardown(who_waits_can_be_told_to_stop, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
