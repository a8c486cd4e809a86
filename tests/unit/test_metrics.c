/* What is written for Prometheus: names and values of any kind, histograms; and that a node tells it over HTTP. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/client.h"
#include "lib/base/beneath.h"
#include "lib/base/log.h"
#include "lib/node/metrics.h"
#include "lib/replica/admit.h"

static const struct sr_metric labelled = {"test_labelled", "With labels.", SR_METRIC_GAUGE},
			      number = {"test_numbers", "Numbers.", SR_METRIC_GAUGE},
			      took = {"test_seconds", "A histogram.", SR_METRIC_HISTOGRAM},
			      none = {"test_none_total", "Nothing yet.", SR_METRIC_COUNTER};

static void tell(void *ctx, struct sr_metrics_page *p)
{
	static const int64_t times[] = {0, 10, 11, 100, 60000, 3600000};
	struct sr_histogram h = {0};

	(void)ctx;
	sr_metrics_begin(p, &labelled);
	sr_metrics_add(p, (const char *const[]){"a", "plain", "b", "", NULL}, 1);
	sr_metrics_add(p, (const char *const[]){"a", "\"\\\n{}", "b", "n\303\244me", NULL}, 2);
	sr_metrics_add(p, (const char *const[]){"a", "\377\303", "b", "x", NULL}, 3);
	sr_metrics_begin(p, &number);
	sr_metrics_add(p, NULL, 0.125);
	sr_metrics_add(p, NULL, -3);
	sr_metrics_add(p, NULL, 9007199254740991.0);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		sr_histogram_add(&h, times[i]);
	sr_metrics_histogram(p, &took, &h);
	sr_metrics_begin(p, &none);
}

static const char expected[] = "# HELP test_labelled With labels.\n"
			       "# TYPE test_labelled gauge\n"
			       "test_labelled{a=\"plain\",b=\"\"} 1\n"
			       "test_labelled{a=\"\\\"\\\\\\n{}\",b=\"n\303\244me\"} 2\n"
			       "test_labelled{a=\"??\",b=\"x\"} 3\n"
			       "# HELP test_numbers Numbers.\n"
			       "# TYPE test_numbers gauge\n"
			       "test_numbers 0.125\n"
			       "test_numbers -3\n"
			       "test_numbers 9.00719925474099e+15\n"
			       "# HELP test_seconds A histogram.\n"
			       "# TYPE test_seconds histogram\n"
			       "test_seconds_bucket{le=\"0.01\"} 2\n"
			       "test_seconds_bucket{le=\"0.05\"} 3\n"
			       "test_seconds_bucket{le=\"0.1\"} 4\n"
			       "test_seconds_bucket{le=\"0.5\"} 4\n"
			       "test_seconds_bucket{le=\"1\"} 4\n"
			       "test_seconds_bucket{le=\"5\"} 4\n"
			       "test_seconds_bucket{le=\"10\"} 4\n"
			       "test_seconds_bucket{le=\"60\"} 5\n"
			       "test_seconds_bucket{le=\"600\"} 5\n"
			       "test_seconds_bucket{le=\"+Inf\"} 6\n"
			       "test_seconds_sum 3660.121\n"
			       "test_seconds_count 6\n"
			       "# HELP test_none_total Nothing yet.\n"
			       "# TYPE test_none_total counter\n";

static void test_page(void **state)
{
	char dir[] = "/tmp/sameroot-metrics.XXXXXX";
	struct sr_admit admit = {.lock = PTHREAD_MUTEX_INITIALIZER, .seconds = 7};
	struct sr_metrics m = {.role = "webserver", .admit = &admit, .tell = tell};
	struct sr_routes routes = {.ctx = &m};
	struct sr_server_options o = {.address = "127.0.0.1", .routes = &routes, .routes_count = 1};
	struct sr_call call = {.target = "/metrics"};
	struct sr_answer answer = {0};
	struct sr_server *server = NULL;
	struct sr_client *client = NULL;
	struct sr_err err;
	const char *text;
	char *url;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(sr_archive_open(&m.archive, dir, &err), SR_OK);
	assert_int_equal(sr_balance_open(&m.balance, dir, NULL, NULL, &err), SR_OK);
	routes.at = sr_metrics_routes(&routes.n);
	assert_int_equal(sr_server_start(&server, &o, &err), SR_OK);
	url = sr_format("http://127.0.0.1:%u", sr_server_port(server));
	assert_int_equal(sr_client_new(&client, &(struct sr_client_options){.url = url}, &err), SR_OK);
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	text = sr_buf_text(&answer.body);
	assert_non_null(strstr(text, "sameroot_build_info{version="));
	assert_non_null(strstr(text, "sameroot_balancer_state{state=\"starting\"} 1\n"));
	assert_non_null(strstr(text, "sameroot_archive_entries 0\n"));
	assert_non_null(strstr(text, "sameroot_http_second_secret_total 7\n"));
	assert_string_equal(strstr(text, "# HELP test_labelled"), expected);
	sr_answer_free(&answer);
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	assert_non_null(strstr(sr_buf_text(&answer.body), "sameroot_http_requests_total{route=\"/metrics\",method=\"GET\",code=\"200\"} 1\n"));
	sr_answer_free(&answer);
	sr_client_free(client);
	sr_server_stop(server, 1000);
	sr_balance_close(m.balance);
	sr_archive_close(m.archive);
	assert_int_equal(sr_remove_beneath(AT_FDCWD, dir + strlen("/tmp/")), 0);
	free(url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_page)};

	sr_log_setup("test_metrics", SR_LOG_ERROR, false);
	if (chdir("/tmp"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
