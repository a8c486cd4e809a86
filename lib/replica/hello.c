/* hello.c - see hello.h. */
#include "lib/replica/hello.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/door.h"

#define PREFIX "sameroot hello 1" /* no other use of the secret signs what begins so */
#define PROTO  1
#define BYTES  32 /* of a nonce, and of a proof */

static void to_hex(char out[SR_HELLO_TEXT], const uint8_t raw[BYTES])
{
	struct sr_buf hex = {0};

	sr_hex(&hex, sr_bytes(raw, BYTES));
	memcpy(out, sr_buf_text(&hex), SR_HELLO_TEXT);
	sr_buf_free(&hex);
}

void sr_hello_nonce(char out[SR_HELLO_TEXT])
{
	uint8_t raw[BYTES];

	sr_random(raw, sizeof raw);
	to_hex(out, raw);
}

enum sr_status sr_hello_prove(const char *secret, const char *nonce, const char *pin, char out[SR_HELLO_TEXT], struct sr_err *err)
{
	uint8_t raw[BYTES];
	struct sr_buf message = {0};
	int rc;

	if (!sr_unhex(raw, sizeof raw, sr_bytes_of(nonce)))
		return sr_err_set(err, SR_E_DATA, "a nonce is %d hex digits", 2 * BYTES);
	sr_buf_printf(&message, PREFIX "%s%s", nonce, pin);
	rc = gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, strlen(secret), message.at, message.len, raw);
	sr_buf_free(&message);
	if (rc < 0)
		return sr_err_set(err, SR_E_INTERNAL, "HMAC-SHA256: %s", gnutls_strerror(rc));
	to_hex(out, raw);
	return SR_OK;
}

/* --- the asker ------------------------------------------------------------------------------------------------------------- */

static bool proves(const json_t *o, const char *member, const char *expect)
{
	const char *proof = json_string_value(json_object_get(o, member));

	return proof && sr_bytes_same_secret(sr_bytes_of(expect), sr_bytes_of(proof));
}

static enum sr_status check(const json_t *o, const char *expect, const char *role, struct sr_err *err)
{
	const char *theirs = json_string_value(json_object_get(o, "role"));
	json_int_t proto = json_integer_value(json_object_get(o, "proto"));

	if (!json_is_string(json_object_get(o, "proof")) || !theirs)
		return sr_err_set(err, SR_E_DATA, "no answer to a hello");
	if (!proves(o, "proof", expect) && !proves(o, "second", expect))
		return sr_err_set(err, SR_E_AUTH, "the proof is wrong");
	if (proto != PROTO)
		return sr_err_set(err, SR_E_CONFIG, "it speaks protocol %lld, and this program protocol %d: upgrade the older of both", (long long)proto, PROTO);
	if (strcmp(theirs, role) != 0)
		return sr_err_set(err, SR_E_CONFIG, "it is a %.40s, not a %s", theirs, role);
	return SR_OK;
}

enum sr_status sr_hello_check(const char *secret, const char *nonce, const char *pin, const char *role, struct sr_bytes answer,
			      struct sr_err *err)
{
	char expect[SR_HELLO_TEXT];
	json_t *o = json_loadb(answer.len ? (const char *)answer.at : "", answer.len, JSON_REJECT_DUPLICATES, NULL);
	enum sr_status rc = sr_hello_prove(secret, nonce, pin, expect, err);

	if (rc == SR_OK)
		rc = check(o, expect, role, err);
	json_decref(o);
	return rc;
}

/* --- the server ------------------------------------------------------------------------------------------------------------ */

static enum sr_status get_hello(void *ctx, struct sr_request *req, struct sr_err *err)
{
	const struct sr_hello *h = ctx;
	const char *nonce = sr_request_query_text(req, "nonce"), *pin = sr_server_pin(sr_request_server(req));
	struct sr_secrets secrets = {0};
	char proof[SR_HELLO_TEXT], second[SR_HELLO_TEXT] = "", *text;
	enum sr_status rc;

	if (!pin)
		return sr_err_set(err, SR_E_NOTFOUND, "this server speaks plain HTTP: it has no key to prove");
	h->secrets(h->ctx, &secrets);
	rc = sr_hello_prove(secrets.at[0], nonce ? nonce : "", pin, proof, err);
	if (rc == SR_OK && secrets.at[1])
		rc = sr_hello_prove(secrets.at[1], nonce, pin, second, err);
	sr_secrets_free(&secrets);
	if (rc != SR_OK)
		return rc;
	text = sr_format("{\"proof\":\"%s\"%s%s%s,\"proto\":%d,\"role\":\"%s\"}", proof, second[0] ? ",\"second\":\"" : "", second, second[0] ? "\"" : "",
			 PROTO, h->role);
	sr_reply_header(req, "Cache-Control", "no-store");
	sr_reply_bytes(req, 200, "application/json", sr_bytes_of(text));
	free(text);
	return SR_OK;
}

static const struct sr_route routes[] = {
	{"GET", "/api/hello", get_hello, SR_ROUTE_QUICK | SR_ROUTE_OPEN | SR_ROUTE_LAST, 0},
};

const struct sr_route *sr_hello_routes(size_t *n)
{
	*n = sizeof routes / sizeof *routes;
	return routes;
}
