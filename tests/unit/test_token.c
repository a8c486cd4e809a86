/* test_token.c - a webserver's exchange of tokens against a real server: what is kept of an answer, and which answers are none. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/server.h"
#include "lib/base/log.h"
#include "lib/sync/internal.h"

struct world {
	char dir[64];
	struct sr_server *server;
	const char *answer; /* to the next exchange */
	unsigned status;
	char old[SR_UUID_TEXT], new[SR_UUID_TEXT]; /* that it brought; "": null */
	json_int_t n;
	unsigned calls;
	struct sr_config *config;
	struct sr_replica replica; /* no more of one than what tells who this is */
	struct sr_sync sync;
	struct sr_err err;
};

#define OK(call) \
	do { \
		w->err = (struct sr_err){0}; \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, w->err.text); \
	} while (0)

static void take_uuid(char out[SR_UUID_TEXT], const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	snprintf(out, SR_UUID_TEXT, "%s", text ? text : "");
}

static enum sr_status put_token(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct world *w = ctx;
	struct sr_buf body = {0};
	enum sr_status rc = sr_request_read_all(req, &body, 4096, err);
	json_t *o = rc == SR_OK ? json_loadb((const char *)body.at, body.len, 0, NULL) : NULL;

	take_uuid(w->old, o, "old");
	take_uuid(w->new, o, "new");
	w->n = json_integer_value(json_object_get(o, "n"));
	w->calls++;
	json_decref(o);
	sr_buf_free(&body);
	if (rc == SR_OK && w->status == 409)
		rc = sr_err_set(err, SR_E_HELD, "another machine runs with this identity");
	else if (rc == SR_OK)
		sr_reply_text(req, w->status, w->answer);
	return rc;
}

static const struct sr_route routes_at[] = {{"PUT", "/api/webservers/{}/token", put_token, SR_ROUTE_OPEN, 4096}};

/* As the daemon starts, with what state.db has. */
static void start(struct world *w)
{
	char *url = sr_format("http://%s", sr_server_address(w->server));
	struct sr_client_options o = {.url = url};

	sr_client_free(w->sync.client);
	w->sync = (struct sr_sync){.config = w->config, .r = &w->replica};
	OK(sr_client_new(&w->sync.client, &o, &w->err));
	OK(sr_sync_token_load(&w->sync, &w->err));
	free(url);
}

static int begin(void **state)
{
	static const char text[] = "Datastore=127.0.0.1:1\nExternal-Addr=web1:80\n";
	struct world *w = sr_alloc(sizeof *w);
	FILE *in = fmemopen((char *)text, sizeof text - 1, "r");
	struct sr_routes routes = {.at = routes_at, .n = 1, .ctx = w};
	struct sr_server_options o = {.address = "127.0.0.1", .routes = &routes, .routes_count = 1};
	bool fresh;

	sr_log_setup("test_token", SR_LOG_ERROR, false);
	strcpy(w->dir, "/tmp/sameroot-token-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	OK(sr_config_parse(&w->config, in, "test.conf", &w->err));
	fclose(in);
	OK(sr_state_open(&w->replica.state, w->dir, &fresh, &w->err));
	w->replica.node = sr_uuid_random();
	OK(sr_server_start(&w->server, &o, &w->err));
	start(w);
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;
	char *command = sr_format("rm -rf %s", w->dir);

	sr_client_free(w->sync.client);
	sr_server_stop(w->server, 1000);
	sr_state_close(w->replica.state);
	sr_config_free(w->config);
	assert_int_equal(system(command), 0);
	free(command);
	free(w);
	return 0;
}

static enum sr_status exchange(struct world *w, unsigned status, const char *answer)
{
	w->status = status;
	w->answer = answer;
	w->err = (struct sr_err){0};
	return sr_sync_token_exchange(&w->sync, &w->err);
}

/* --- tests -------------------------------------------------------------------------------------------------------------------- */

static void test_each_start_exchanges_once(void **state)
{
	struct world *w = *state;
	char first[SR_UUID_TEXT];

	OK(exchange(w, 200, "{\"n\":7}"));
	assert_string_equal(w->old, "");
	assert_int_equal(w->n, 0);
	strcpy(first, w->new);
	OK(exchange(w, 500, "not asked"));
	assert_int_equal(w->calls, 1);
	start(w);
	OK(exchange(w, 200, "{\"n\":8}"));
	assert_string_equal(w->old, first);
	assert_int_equal(w->n, 7);
	assert_string_not_equal(w->new, first);
}

/* It is asked for the same again until there is an answer; one that an earlier start began is ended first, and then its own made. */
static void test_an_answer_that_is_none_changes_nothing(void **state)
{
	static const char *const none[] = {
		"", "7", "null", "[]", "{}", "{\"n\":null}", "{\"n\":\"7\"}", "{\"n\":7.5}", "{\"n\":0}", "{\"n\":-1}", "{\"n\":7", "{\"m\":7}",
		"{\"n\":9223372036854775807}", "{\"n\":9223372036854775808}", "<html>welcome</html>",
	};
	struct world *w = *state;
	char asked[SR_UUID_TEXT] = "", held[SR_UUID_TEXT];
	struct sr_uuid token;
	char *most = sr_format("{\"n\":%llu}", (unsigned long long)SR_TOKEN_NUMBERS);

	OK(exchange(w, 200, "{\"n\":7}"));
	strcpy(held, w->new);
	token = w->sync.token;
	start(w);
	for (size_t i = 0; i <= sizeof none / sizeof *none; i++) {
		const char *answer = i < sizeof none / sizeof *none ? none[i] : most;

		if (exchange(w, 200, answer) != SR_E_DATA)
			fail_msg("%s: %s", answer, w->err.text);
		assert_non_null(strstr(w->err.text, "check-in: "));
		assert_string_equal(w->old, held);
		assert_int_equal(w->n, 7);
		assert_true(!*asked || !strcmp(asked, w->new));
		strcpy(asked, w->new);
		assert_memory_equal(&w->sync.token, &token, sizeof token);
		assert_false(w->sync.token_exchanged);
	}
	free(most);
	start(w);
	w->calls = 0;
	OK(exchange(w, 200, "{\"n\":9}"));
	assert_int_equal(w->calls, 2);
	assert_string_equal(w->old, asked);
	assert_int_equal(w->n, 9);
}

static void test_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(exchange(w, 409, NULL), SR_E_HELD);
	assert_false(w->sync.token_exchanged);
	assert_int_not_equal(exchange(w, 500, "{\"n\":7}"), SR_OK);
	assert_int_not_equal(exchange(w, 204, ""), SR_OK);
	assert_true(sr_uuid_none(&w->sync.token));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_start_exchanges_once, begin, end),
		cmocka_unit_test_setup_teardown(test_an_answer_that_is_none_changes_nothing, begin, end),
		cmocka_unit_test_setup_teardown(test_refused, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
