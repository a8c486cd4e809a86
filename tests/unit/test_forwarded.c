/* test_forwarded.c - what a proxy says of a request, whom it is believed, and whose page had a browser ask: over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/client.h"
#include "lib/replica/forwarded.h"

static enum sr_status get_origin(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_origin from;
	char *text;

	(void)err;
	sr_origin_of(ctx, req, &from);
	text = sr_format("%s%s%s%s", from.peer, from.here ? " here" : "", from.tls ? " tls" : "", from.strange_proxy ? " strange" : "");
	sr_reply_text(req, 200, text);
	free(text);
	return SR_OK;
}

static enum sr_status put_change(void *ctx, struct sr_request *req, struct sr_err *err)
{
	enum sr_status rc = sr_same_origin(ctx, req, err);

	if (rc == SR_OK)
		sr_reply_text(req, 200, "changed");
	return rc;
}

static const struct sr_route own_routes[] = {{"GET", "/origin", get_origin, SR_ROUTE_OPEN, 0},
					     {"PUT", "/change", put_change, SR_ROUTE_OPEN, 0}};

/* What a server that trusts `trusted` answers, its error's text if it does not. */
static char *ask(char *trusted, const char *method, const char *target, const char *const *headers)
{
	struct sr_config_list names = {.at = &trusted, .count = trusted != NULL};
	struct sr_proxies proxies;
	struct sr_routes routes = {.at = own_routes, .n = 2, .ctx = &proxies};
	struct sr_server *server = NULL;
	struct sr_client *client = NULL;
	struct sr_answer answer = {0};
	struct sr_call call = {.method = method, .target = target, .headers = headers};
	struct sr_err err = {0};
	char *url, *out;

	sr_proxies_open(&proxies, &names);
	assert_int_equal(
		sr_server_start(&server, &(struct sr_server_options){.address = "127.0.0.1", .routes = &routes, .routes_count = 1}, &err),
		SR_OK);
	url = sr_format("http://%s", sr_server_address(server));
	assert_int_equal(sr_client_new(&client, &(struct sr_client_options){.url = url}, &err), SR_OK);
	out = sr_client_call(client, &call, &answer, &err) == SR_OK ? sr_text(sr_buf_view(&answer.body)) : sr_strdup(err.text);
	sr_answer_free(&answer);
	sr_client_free(client);
	sr_server_stop(server, 1000);
	sr_proxies_close(&proxies);
	free(url);
	return out;
}

#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect(const char *trusted, const char *const *headers, const char *expected)
{
	char *name = trusted ? sr_strdup(trusted) : NULL, *said = ask(name, "GET", "/origin", headers);

	assert_string_equal(said, expected);
	free(said);
	free(name);
}

static void nobody_is_believed(void **state)
{
	(void)state;
	expect(NULL, LINES("X-Else: 1"), "127.0.0.1 here");
	expect(NULL, LINES("X-Forwarded-For: 203.0.113.9"), "127.0.0.1 strange");
	expect(NULL, LINES("X-Forwarded-Proto: https"), "127.0.0.1 strange");
	expect("192.0.2.0/24", LINES("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https"), "127.0.0.1 strange");
	expect(NULL, LINES("Forwarded: for=203.0.113.9;proto=https"), "127.0.0.1 strange");
}

static void a_trusted_one_is(void **state)
{
	(void)state;
	expect("127.0.0.1", LINES("X-Else: 1"), "127.0.0.1 here");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9"), "203.0.113.9");
	expect("127.0.0.0/8", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"), "203.0.113.9 tls");
	expect("127.0.0.1", LINES("X-Forwarded-For: 2001:db8::1", "X-Forwarded-Proto: http"), "2001:db8::1");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https, http"), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http, https"), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https, "), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https https"), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"), "203.0.113.9 tls");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https , HTTPS"), "203.0.113.9 tls");
	expect("127.0.0.1", LINES("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"), "127.0.0.1 here");
}

/* What is the loopback to a proxy elsewhere is not this machine's; and of whom a proxy says nothing may be anybody. */
static void what_is_here_to_a_proxy_elsewhere_is_not(void **state)
{
	(void)state;
	expect("0.0.0.0/0", LINES("X-Forwarded-For: 127.0.0.1, 198.51.100.7"), "127.0.0.1");
	expect("0.0.0.0/0", LINES("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"), "127.0.0.1 tls");
	expect("127.0.0.1", LINES("X-Forwarded-For: 127.0.0.1, ::1"), "::1 here");
	expect("127.0.0.0/8", LINES("X-Forwarded-For: 127.0.0.3, 127.0.0.2"), "127.0.0.3 here");
	expect("127.0.0.1", LINES("X-Forwarded-Proto: http"), "127.0.0.1");
	expect("127.0.0.1", LINES("Forwarded: for=203.0.113.9"), "127.0.0.1");
	expect("127.0.0.1", LINES("X-Forwarded-For;"), "unknown");
}

/* What a client has written there itself stands on the left, or in a line before. */
static void what_a_client_made_up_is_not(void **state)
{
	(void)state;
	expect("127.0.0.1", LINES("X-Forwarded-For: 127.0.0.1, 203.0.113.9"), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 198.51.100.1,203.0.113.9 , 127.0.0.1"), "203.0.113.9");
	expect("127.0.0.1", LINES("X-Forwarded-For: 127.0.0.1, who knows"), "unknown");
	expect("127.0.0.1", LINES("X-Forwarded-For: 127.0.0.1, "), "unknown");
	expect("127.0.0.1", LINES("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"), "203.0.113.9");
}

static void change(const char *trusted, const char *const *headers, const char *expected)
{
	char *name = trusted ? sr_strdup(trusted) : NULL, *said = ask(name, "PUT", "/change", headers);

	if (!strstr(said, expected))
		fail_msg("%s, where it should say: %s", said, expected);
	free(said);
	free(name);
}

static void what_is_no_browser_may(void **state)
{
	(void)state;
	change(NULL, LINES("X-Else: 1"), "changed");
}

#define HOST "Host: ops.example.org"
#define OURS SR_PAGE_HEADER ": 1"

static void our_own_page_may(void **state)
{
	(void)state;
	change(NULL, LINES(HOST, OURS, "Sec-Fetch-Site: same-origin", "Origin: http://ops.example.org"), "changed");
	change(NULL, LINES(HOST, OURS, "Sec-Fetch-Site: same-origin"), "changed");
	change(NULL, LINES(HOST, OURS, "Origin: https://OPS.example.org:443"), "changed");
	change(NULL, LINES(HOST ":443", OURS, "Origin: https://ops.example.org"), "changed");
	change(NULL, LINES(HOST ":9405", OURS, "Origin: http://ops.example.org:9405"), "changed");
	change(NULL, LINES(HOST, OURS, "Referer: http://ops.example.org/ops/sameroot/"), "changed");
	change("127.0.0.1", LINES("Host: inside:9405", "X-Forwarded-Host: ops.example.org", OURS, "Origin: https://ops.example.org"),
	       "changed");
}

static void no_other_page_may(void **state)
{
	(void)state;
	change(NULL, LINES(HOST, OURS, "Sec-Fetch-Site: cross-site"), "another site");
	change(NULL, LINES(HOST, OURS, "Sec-Fetch-Site: same-site", "Origin: http://ops.example.org"), "another site");
	change(NULL, LINES(HOST, OURS, "Origin: https://evil.example"), "evil.example");
	change(NULL, LINES(HOST, OURS, "Sec-Fetch-Site: same-origin", "Origin: https://evil.example"), "evil.example");
	change(NULL, LINES(HOST, OURS, "Origin: null"), "another host");
	change(NULL, LINES(HOST, OURS, "Origin: http://ops.example.org:8080"), "another host");
	change(NULL, LINES(HOST, OURS, "Origin: http://ops.example.org.evil.example"), "another host");
	change(NULL, LINES(HOST, OURS, "Referer: https://evil.example/?http://ops.example.org"), "another host");
	change(NULL, LINES("Host: inside:9405", "X-Forwarded-Host: ops.example.org", OURS, "Origin: https://ops.example.org"),
	       "Trusted-Proxies");
	change(NULL, LINES(HOST, "Sec-Fetch-Site: same-origin", "Origin: http://ops.example.org"), SR_PAGE_HEADER);
	change(NULL, LINES(HOST, "Sec-Fetch-Site: none"), SR_PAGE_HEADER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_believed),
		cmocka_unit_test(a_trusted_one_is),
		cmocka_unit_test(what_is_here_to_a_proxy_elsewhere_is_not),
		cmocka_unit_test(what_a_client_made_up_is_not),
		cmocka_unit_test(what_is_no_browser_may),
		cmocka_unit_test(our_own_page_may),
		cmocka_unit_test(no_other_page_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
