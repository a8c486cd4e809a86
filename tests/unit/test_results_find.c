/* Who of many has a result: asked a few at a time, those first that are there, with no more of anything than these need. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "http/server.h"
#include "lib/base/door.h"
#include "lib/node/results_find.h"

#define MANY 1000
#define MS   10000 /* never waited for, but where a test fails */

struct world {
	struct sr_server *server; /* of the one that has the result, */
	unsigned open;            /* and how many files were, when it was asked */
	int silent;               /* where connections are taken, and nothing is answered */
	unsigned silent_port;
	struct sr_peers *peers;
	struct sr_finder *finder;
};

static enum sr_status never(void *ctx, struct sr_buf *out, struct sr_err *err)
{
	(void)ctx, (void)out;
	return sr_err_set(err, SR_E_UNAVAILABLE, "nobody there");
}

static unsigned count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static enum sr_status tell(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct world *w = ctx;

	(void)err;
	w->open = count_open();
	sr_reply_text(req, 200, "here");
	return SR_OK;
}

static int begin(void **state)
{
	static const struct sr_route route = {"GET", "/api/results/{}/{}", tell, 0, 0};
	struct world *w = sr_alloc(sizeof *w);
	struct sr_routes routes = {.at = &route, .n = 1, .ctx = w};
	struct sr_server_options o = {.address = "127.0.0.1", .routes = &routes, .routes_count = 1};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	struct sr_err err;

	assert_int_equal(sr_server_start(&w->server, &o, &err), SR_OK);
	w->silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->silent, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(w->silent, 1024), 0);
	assert_int_equal(getsockname(w->silent, (struct sockaddr *)&at, &len), 0);
	w->silent_port = ntohs(at.sin_port);
	w->peers = sr_peers_new(&(struct sr_peers_options){.ask = never, .secret = "a secret of thirty-two characters", .plain = true});
	w->finder = sr_finder_new();
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;

	close(w->silent); /* and whoever waits for an answer has none */
	sr_finder_free(w->finder);
	sr_peers_free(w->peers);
	sr_server_stop(w->server, 1000);
	free(w);
	return 0;
}

/* The one that has it, and `n` others at that port. */
static struct sr_peer_list *learn(struct world *w, unsigned n, unsigned port, bool last, const char *stale)
{
	struct sr_buf json = {0};
	struct sr_err err;

	for (unsigned i = 0; i <= n; i++)
		if (i == (last ? n : 0))
			sr_buf_printf(&json, ",{\"uuid\":\"the owner\",\"external_addr\":\"127.0.0.1:80\",\"sync_port\":%u}", sr_server_port(w->server));
		else
			sr_buf_printf(&json, ",{\"uuid\":\"%u\",\"external_addr\":\"127.0.0.1:80\",\"sync_port\":%u,\"stale\":%s}", i, port, stale);
	json.at[0] = '[';
	sr_buf_byte(&json, ']');
	assert_int_equal(sr_peers_learn(w->peers, sr_buf_view(&json), &err), SR_OK);
	sr_buf_free(&json);
	return sr_peers_take(w->peers, UINT32_MAX, &err);
}

static void assert_found(struct world *w, const struct sr_peer_list *list)
{
	struct sr_question q = {.method = "GET", .target = "/api/results/q1/out"};
	struct sr_search *s;
	enum sr_found found = sr_search_run(&s, w->finder, w->peers, list, NULL, &q, MS);

	if (found != SR_FOUND_FILE)
		fail_msg("not found (%d): %s", found, sr_search_silent(s));
	assert_string_equal(sr_search_uuid(s), "the owner");
	sr_search_free(s);
}

/* A client has some descriptors. */
static void a_long_registry_takes_no_more_than_those_that_are_asked(void **state)
{
	struct world *w = *state;
	struct sr_peer_list *list = learn(w, MANY, w->silent_port, false, "false");
	unsigned before = count_open();

	assert_found(w, list);
	assert_in_range(w->open, before + 1, before + 8 * SR_ASKED_AT_ONCE);
	sr_peer_list_free(list);
}

static void who_is_stale_is_asked_last(void **state)
{
	struct world *w = *state;
	struct sr_peer_list *list = learn(w, 2 * SR_ASKED_AT_ONCE, w->silent_port, true, "true");

	assert_found(w, list);
	sr_peer_list_free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_long_registry_takes_no_more_than_those_that_are_asked, begin, end),
		cmocka_unit_test_setup_teardown(who_is_stale_is_asked_last, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
