/* The proof of GET /api/hello: what it is over, what is refused, and the route over TLS and plain HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/certificate.h"
#include "lib/base/log.h"
#include "lib/replica/hello.h"

#define SECRET "a secret of thirty-two characters"
#define NONCE  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PIN    "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

/* --- the proof ------------------------------------------------------------------------------------------------------------- */

static void test_proof(void **state)
{
	/* printf 'sameroot hello 1%s%s' NONCE PIN | openssl dgst -sha256 -hmac SECRET */
	static const char known[] = "80c12cf0e07442f7e6d6c0ca44e137fba140d5a89518521c4bd07d7401290b0d";
	char proof[SR_HELLO_TEXT], other[SR_HELLO_TEXT];
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_hello_prove(SECRET, NONCE, PIN, proof, &err), SR_OK);
	assert_string_equal(proof, known);
	assert_int_equal(sr_hello_prove(SECRET "x", NONCE, PIN, other, &err), SR_OK);
	assert_string_not_equal(other, known);
}

static void test_nonces(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		NONCE "0",
		NONCE "00",
		&NONCE[1],
		&NONCE[2],
		"g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		" 123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"0x23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	};
	char one[SR_HELLO_TEXT], two[SR_HELLO_TEXT], proof[SR_HELLO_TEXT] = "untouched";
	struct sr_err err;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(sr_hello_prove(SECRET, bad[i], PIN, proof, &err), SR_E_DATA);
	assert_string_equal(proof, "untouched");
	sr_hello_nonce(one);
	sr_hello_nonce(two);
	assert_string_not_equal(one, two);
	assert_int_equal(sr_hello_prove(SECRET, one, PIN, proof, &err), SR_OK);
}

static enum sr_status check(const char *answer, struct sr_err *err)
{
	return sr_hello_check(SECRET, NONCE, PIN, "datastore", sr_bytes_of(answer), err);
}

static void test_check(void **state)
{
	static const char *const senseless[] = {
		"", "{", "[]", "null", "{}", "{\"role\":\"datastore\",\"proto\":1}", "{\"proof\":1,\"role\":\"datastore\",\"proto\":1}",
	};
	char proof[SR_HELLO_TEXT], other[SR_HELLO_TEXT], *answer;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_hello_prove(SECRET, NONCE, PIN, proof, &err), SR_OK);
	answer = sr_format("{\"proof\":\"%s\",\"proto\":1,\"role\":\"datastore\"}", proof);
	assert_int_equal(check(answer, &err), SR_OK);
	assert_int_equal(sr_hello_check("another", NONCE, PIN, "datastore", sr_bytes_of(answer), &err), SR_E_AUTH);
	sr_hello_nonce(other); /* an old answer */
	assert_int_equal(sr_hello_check(SECRET, other, PIN, "datastore", sr_bytes_of(answer), &err), SR_E_AUTH);
	assert_int_equal(sr_hello_check(SECRET, NONCE, "sha256//" "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "datastore",
	                                sr_bytes_of(answer), &err), SR_E_AUTH); /* one that was relayed */
	assert_int_equal(sr_hello_check(SECRET, NONCE, PIN, "webserver", sr_bytes_of(answer), &err), SR_E_CONFIG);
	free(answer);
	answer = sr_format("{\"proof\":\"%s\",\"proto\":2,\"role\":\"datastore\"}", proof);
	assert_int_equal(check(answer, &err), SR_E_CONFIG);
	free(answer);
	for (int len = 0; len <= 65; len += len ? 2 : 63) { /* none, one digit short, one too many */
		answer = sr_format("{\"proof\":\"%.*s%s\",\"proto\":1,\"role\":\"datastore\"}", len, proof, len > 64 ? "0" : "");
		assert_int_equal(check(answer, &err), SR_E_AUTH);
		free(answer);
	}
	for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++)
		assert_int_equal(check(senseless[i], &err), SR_E_DATA);
}

/* Of two proofs the one by the secret of the asker counts, and by no other of his. */
static void test_second(void **state)
{
	static const char other[] = "the secret that comes next, as long";
	char first[SR_HELLO_TEXT], second[SR_HELLO_TEXT], *answer;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_hello_prove(SECRET, NONCE, PIN, first, &err), SR_OK);
	assert_int_equal(sr_hello_prove(other, NONCE, PIN, second, &err), SR_OK);
	answer = sr_format("{\"proof\":\"%s\",\"second\":\"%s\",\"proto\":1,\"role\":\"datastore\"}", second, first);
	assert_int_equal(check(answer, &err), SR_OK);
	assert_int_equal(sr_hello_check(other, NONCE, PIN, "datastore", sr_bytes_of(answer), &err), SR_OK);
	assert_int_equal(sr_hello_check("a third", NONCE, PIN, "datastore", sr_bytes_of(answer), &err), SR_E_AUTH);
	free(answer);
	answer = sr_format("{\"proof\":\"%s\",\"second\":7,\"proto\":1,\"role\":\"datastore\"}", second);
	assert_int_equal(check(answer, &err), SR_E_AUTH);
	free(answer);
}

/* --- the route --------------------------------------------------------------------------------------------------------------- */

struct site {
	char dir[64], cert[96], key[96];
	struct sr_server *server;
	struct sr_client *client;
	struct sr_answer answer;
};

static enum sr_status no_one(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	(void)ctx, (void)req, (void)route;
	return sr_err_set(err, SR_E_AUTH, "no one may");
}

static void two_secrets(void *ctx, struct sr_secrets *out)
{
	(void)ctx;
	*out = (struct sr_secrets){.at = {sr_strdup(SECRET), sr_strdup("the secret that was")}};
}

static void open_site(struct site *t, bool tls)
{
	static const struct sr_hello hello = {.secrets = two_secrets, .role = "datastore"};
	struct sr_routes routes = {.ctx = (void *)(uintptr_t)&hello};
	struct sr_server_options o = {.address = "127.0.0.1", .routes = &routes, .routes_count = 1, .authorize = no_one};
	struct sr_err err;
	char *url;

	sr_log_setup("test_hello", SR_LOG_ERROR, false);
	strcpy(t->dir, "/tmp/sameroot-hello-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->cert, sizeof t->cert, "%s/certificate.pem", t->dir);
	snprintf(t->key, sizeof t->key, "%s/key.pem", t->dir);
	assert_int_equal(sr_certificate_ensure(t->cert, t->key, NULL, &err), SR_OK);
	o.certificate = tls ? t->cert : NULL;
	o.key = tls ? t->key : NULL;
	routes.at = sr_hello_routes(&routes.n);
	assert_int_equal(sr_server_start(&t->server, &o, &err), SR_OK);
	url = sr_format("%s://127.0.0.1:%u", tls ? "https" : "http", sr_server_port(t->server));
	assert_int_equal(sr_client_new(&t->client, &(struct sr_client_options){.url = url, .insecure = true}, &err), SR_OK);
	free(url);
}

static void close_site(struct site *t)
{
	sr_answer_free(&t->answer);
	sr_client_free(t->client);
	sr_server_stop(t->server, 1000);
	unlink(t->cert);
	unlink(t->key);
	rmdir(t->dir);
}

static int ask(struct site *t, const char *target)
{
	struct sr_err err;

	(void)!sr_client_call(t->client, &(struct sr_call){.target = target}, &t->answer, &err);
	return t->answer.status;
}

static void test_route(void **state)
{
	static const char *const bad[] = {
		"/api/hello", "/api/hello?nonce=", "/api/hello?nonce=" NONCE "0", "/api/hello?nonce=00", "/api/hello?Nonce=" NONCE,
	};
	struct site t = {0};
	char pin[SR_PIN_TEXT];
	struct sr_err err;

	(void)state;
	open_site(&t, true);
	assert_int_equal(ask(&t, "/api/hello?nonce=" NONCE), 200); /* whoever asks */
	assert_true(sr_client_seen_pin(t.client, pin));
	assert_int_equal(sr_hello_check(SECRET, NONCE, pin, "datastore", sr_buf_view(&t.answer.body), &err), SR_OK);
	assert_int_equal(sr_hello_check("the secret that was", NONCE, pin, "datastore", sr_buf_view(&t.answer.body), &err), SR_OK);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(ask(&t, bad[i]), 400);
	/* What it serves is what it loaded, whatever lies in the file since. */
	assert_int_equal(unlink(t.cert) || unlink(t.key), 0);
	assert_int_equal(sr_certificate_ensure(t.cert, t.key, NULL, &err), SR_OK);
	assert_int_equal(ask(&t, "/api/hello?nonce=" NONCE), 200);
	assert_int_equal(sr_hello_check(SECRET, NONCE, pin, "datastore", sr_buf_view(&t.answer.body), &err), SR_OK);
	close_site(&t);
}

static void test_plain(void **state)
{
	struct site t = {0};

	(void)state;
	open_site(&t, false);
	assert_int_equal(ask(&t, "/api/hello?nonce=" NONCE), 404);
	close_site(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proof), cmocka_unit_test(test_nonces), cmocka_unit_test(test_check), cmocka_unit_test(test_second),
		cmocka_unit_test(test_route), cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
