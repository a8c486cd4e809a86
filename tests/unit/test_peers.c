/* What a node knows of the other webservers: how old it may be, what is kept when the datastore does not answer, and who gets the secret.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/server.h"
#include "lib/base/door.h"
#include "lib/node/peers.h"

#define SECRET "a secret of thirty-two characters"
#define A      "00000000-0000-4000-8000-00000000000a"
#define B      "00000000-0000-4000-8000-00000000000b"
#define C      "00000000-0000-4000-8000-00000000000c"
#define PIN    "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define OF(uuid, name, addr, port, pin) \
	"{\"uuid\":\"" uuid "\",\"name\":" name ",\"external_addr\":" addr ",\"sync_port\":" port ",\"pin\":" pin "}"

struct world {
	const char *answer; /* NULL: the datastore does not */
	unsigned asked;
	int64_t ticks;
	struct sr_peers *peers;
};

static enum sr_status ask(void *ctx, struct sr_buf *out, struct sr_err *err)
{
	struct world *w = ctx;

	w->asked++;
	if (!w->answer)
		return sr_err_set(err, SR_E_UNAVAILABLE, "nobody there");
	sr_buf_bytes(out, sr_bytes_of(w->answer));
	return SR_OK;
}

static int64_t ticks(void *ctx)
{
	return ((struct world *)ctx)->ticks;
}

static int64_t now(void *ctx)
{
	return ((struct world *)ctx)->ticks;
}

static int begin(void **state)
{
	struct world *w = sr_alloc(sizeof *w);
	struct sr_door door = {.now_ms = now, .ticks_ms = ticks, .ctx = w};

	w->ticks = 1000000;
	w->answer = "[" OF(A, "\"a\"", "\"a.example:80\"", "9406", "\"" PIN "\"") "," OF(B, "\"B.example\"", "\"[::1]:80\"", "9407",
											 "null") "," OF(C, "null", "null", "0", "null") "]";
	w->peers = sr_peers_new(&(struct sr_peers_options){.ask = ask, .ctx = w, .self = A, .secret = SECRET});
	sr_door_install(&door);
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;

	sr_door_install(NULL);
	sr_peers_free(w->peers);
	free(w);
	return 0;
}

static void test_rows(void **state)
{
	struct world *w = *state;
	struct sr_err err;
	struct sr_peer_list *list = sr_peers_take(w->peers, 0, &err);

	assert_int_equal(err.code, SR_OK);
	assert_int_equal(list->n, 3);
	assert_true(list->at[0].self);
	assert_string_equal(list->at[0].host, "a.example");
	assert_string_equal(list->at[0].pin, PIN);
	assert_false(list->at[1].self);
	assert_string_equal(list->at[1].host, "::1");
	assert_int_equal(list->at[1].sync_port, 9407);
	assert_null(list->at[1].pin);
	assert_string_equal(list->at[2].name, C);
	assert_null(list->at[2].host);
	assert_ptr_equal(sr_peer_find(list, "b.EXAMPLE"), &list->at[1]);
	assert_ptr_equal(sr_peer_find(list, "a.example:80"), &list->at[0]);
	assert_ptr_equal(sr_peer_find(list, C), &list->at[2]);
	assert_null(sr_peer_find(list, "nobody"));
	sr_peer_list_free(list);
}

static void test_ages(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	sr_peer_list_free(sr_peers_take(w->peers, 5000, &err));
	w->ticks += 5000;
	sr_peer_list_free(sr_peers_take(w->peers, 5000, &err));
	assert_int_equal(w->asked, 1);
	w->ticks += 1;
	sr_peer_list_free(sr_peers_take(w->peers, 5000, &err));
	assert_int_equal(w->asked, 2);
}

static void test_old_is_better_than_nothing(void **state)
{
	struct world *w = *state;
	struct sr_err err;
	struct sr_peer_list *first = sr_peers_take(w->peers, 5000, &err), *list;

	w->ticks += 6000;
	w->answer = NULL;
	list = sr_peers_take(w->peers, 5000, &err);
	assert_int_equal(err.code, SR_E_UNAVAILABLE);
	assert_ptr_equal(list, first);
	sr_peer_list_free(list);
	list = sr_peers_take(w->peers, 5000, &err);
	assert_int_equal(err.code, SR_E_UNAVAILABLE);
	assert_int_equal(w->asked, 2); /* not at once again */
	sr_peer_list_free(list);

	w->answer = "[{\"uuid\":1}]";
	w->ticks += 1001;
	list = sr_peers_take(w->peers, 5000, &err);
	assert_int_equal(err.code, SR_E_DATA);
	assert_int_equal(list->n, 3);
	sr_peer_list_free(list);

	w->answer = "[]";
	w->ticks += 1001;
	list = sr_peers_take(w->peers, 5000, &err);
	assert_int_equal(err.code, SR_OK);
	assert_int_equal(list->n, 0);
	assert_int_equal(first->n, 3); /* what was handed out stays */
	sr_peer_list_free(list);
	sr_peer_list_free(first);
}

static void test_never_learnt(void **state)
{
	struct world *w = *state;
	struct sr_err err;
	struct sr_peer_list *list;

	w->answer = NULL;
	list = sr_peers_take(w->peers, 5000, &err);
	assert_int_equal(err.code, SR_E_UNAVAILABLE);
	assert_int_equal(list->n, 0);
	assert_int_equal(list->learnt_ms, 0);
	sr_peer_list_free(list);
	assert_int_equal(sr_peers_learn(w->peers, sr_bytes_of("{}"), &err), SR_E_DATA);
	assert_int_equal(sr_peers_learn(w->peers, sr_bytes_of("[" OF(B, "\"b\"", "\"b\"", "1", "null") "]"), &err), SR_OK);
	list = sr_peers_take(w->peers, 5000, &err);
	assert_int_equal(err.code, SR_OK);
	assert_int_equal(list->n, 1);
	sr_peer_list_free(list);
}

static void test_clients(void **state)
{
	struct world *w = *state;
	struct sr_client *client = NULL;
	struct sr_err err;
	struct sr_peer_list *list = sr_peers_take(w->peers, 5000, &err);
	struct sr_peers *plain = sr_peers_new(&(struct sr_peers_options){.ask = ask, .ctx = w, .secret = SECRET, .plain = true});

	assert_int_equal(sr_peer_client(w->peers, &list->at[0], NULL, &client, &err), SR_OK);
	assert_string_equal(sr_client_url(client), "https://a.example:9406");
	sr_client_free(client);
	assert_int_equal(sr_peer_client(w->peers, &list->at[1], NULL, &client, &err), SR_E_AUTH);
	assert_non_null(strstr(err.text, "Insecure-Disable-HTTPS"));
	assert_int_equal(sr_peer_client(plain, &list->at[1], NULL, &client, &err), SR_OK);
	assert_string_equal(sr_client_url(client), "http://[::1]:9407");
	sr_client_free(client);
	assert_int_equal(sr_peer_client(plain, &list->at[2], NULL, &client, &err), SR_E_UNAVAILABLE);
	sr_peers_free(plain);
	sr_peer_list_free(list);
}

/* --- what is sent -------------------------------------------------------------------------------------------------------- */

static enum sr_status tell(void *ctx, struct sr_request *req, struct sr_err *err)
{
	const char *given = sr_request_header(req, "Authorization");

	(void)ctx, (void)err;
	sr_reply_text(req, 200, given ? given : "");
	return SR_OK;
}

static void called(struct sr_peers *p, const struct sr_peer *peer, const struct sr_peer_call *how, const char *authorization)
{
	struct sr_call call = {.target = "/"};
	struct sr_answer answer = {0};
	struct sr_client *client = NULL;
	struct sr_err err;

	assert_int_equal(sr_peer_client(p, peer, how, &client, &err), SR_OK);
	assert_int_equal(sr_client_call(client, &call, &answer, &err), SR_OK);
	assert_string_equal(sr_buf_text(&answer.body), authorization);
	sr_answer_free(&answer);
	sr_client_free(client);
}

static void test_calls(void **state)
{
	static const struct sr_route route = {"GET", "/", tell, 0, 0};
	struct sr_routes routes = {.at = &route, .n = 1};
	struct sr_server_options o = {.address = "127.0.0.1", .routes = &routes, .routes_count = 1};
	struct sr_peers *p = sr_peers_new(&(struct sr_peers_options){.ask = ask, .ctx = *state, .secret = SECRET, .plain = true});
	struct sr_server *server = NULL;
	struct sr_peer_list *list;
	struct sr_err err;
	char *json;

	sr_door_install(NULL);
	assert_int_equal(sr_server_start(&server, &o, &err), SR_OK);
	json = sr_format("[{\"uuid\":\"" A "\",\"external_addr\":\"127.0.0.1:1\",\"sync_port\":%u}]", sr_server_port(server));
	assert_int_equal(sr_peers_learn(p, sr_bytes_of(json), &err), SR_OK);
	list = sr_peers_take(p, 60000, &err);
	called(p, &list->at[0], NULL, "Bearer " SECRET);
	called(p, &list->at[0], &(struct sr_peer_call){.basic = "ada:pw"}, "Basic YWRhOnB3");
	sr_peer_list_free(list);
	sr_server_stop(server, 1000);
	sr_peers_free(p);
	free(json);
}

/* What a restart without a datastore finds; and whoever doubts asks again. */
static void test_file(void **state)
{
	struct world *w = *state;
	char path[] = "/tmp/test_peers.XXXXXX";
	struct sr_peers_options o = {.ask = ask, .ctx = w, .self = A, .file = path};
	struct sr_peers *first, *second;
	struct sr_peer_list *list;
	struct sr_err err;

	assert_true(mkdtemp(path) && rmdir(path) == 0);
	first = sr_peers_new(&o);
	list = sr_peers_take(first, 1000, &err);
	assert_int_equal(list->n, 3);
	sr_peer_list_free(list);
	assert_int_equal(w->asked, 1);
	sr_peers_doubt(first);
	sr_peer_list_free(sr_peers_take(first, 1000, &err));
	sr_peer_list_free(sr_peers_take(first, 1000, &err));
	assert_int_equal(w->asked, 2);

	w->answer = NULL;
	second = sr_peers_new(&o);
	list = sr_peers_take(second, 0, &err);
	assert_int_equal(err.code, SR_E_UNAVAILABLE);
	assert_int_equal(list->n, 3);
	assert_true(list->learnt_ms && list->learnt_ms < w->ticks);
	assert_true(sr_peer_find(list, "b.example") && sr_peer_find(list, A)->self);
	sr_peer_list_free(list);
	sr_peers_free(second);

	assert_int_equal(truncate(path, 10), 0);
	second = sr_peers_new(&o);
	list = sr_peers_take(second, 0, &err);
	assert_int_equal(list->n, 0);
	assert_int_equal(list->learnt_ms, 0);
	sr_peer_list_free(list);
	sr_peers_free(second);
	sr_peers_free(first);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, begin, end),
		cmocka_unit_test_setup_teardown(test_ages, begin, end),
		cmocka_unit_test_setup_teardown(test_old_is_better_than_nothing, begin, end),
		cmocka_unit_test_setup_teardown(test_never_learnt, begin, end),
		cmocka_unit_test_setup_teardown(test_file, begin, end),
		cmocka_unit_test_setup_teardown(test_clients, begin, end),
		cmocka_unit_test_setup_teardown(test_calls, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
