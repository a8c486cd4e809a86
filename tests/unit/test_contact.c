/* Trust in a datastore, against a real server: first contact, what is remembered, a key that changes, and to whom the secret goes. */
#include <jansson.h>
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
#include "lib/sync/contact.h"

#define SECRET "a secret of thirty-two characters"

#define ZEROS  "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

struct site {
	char dir[64], pin[SR_PIN_TEXT];
	uint16_t port;
	struct sr_hello hello;
	const char *holds[SR_SECRETS_MOST]; /* Control-Auth */
	bool deaf; /* it knows no hello */
	struct sr_server *server;
	unsigned secrets; /* requests that brought one */
	struct sr_config *config;
	struct sr_state *state;
	struct sr_contact *contact;
	struct sr_err err;
};

#define OK(call) \
	do { \
		t->err = (struct sr_err){0}; \
		if ((call) != SR_OK) \
			fail_msg("%s: %s", #call, t->err.text); \
	} while (0)

static const char *below(const struct site *t, const char *name)
{
	static char room[2][128];
	static unsigned next;
	char *out = room[next++ % 2];

	snprintf(out, sizeof room[0], "%s/%s", t->dir, name);
	return out;
}

/* --- the datastore ------------------------------------------------------------------------------------------------------------ */

static enum sr_status get_tree(void *ctx, struct sr_request *req, struct sr_err *err)
{
	(void)ctx, (void)err;
	sr_reply_text(req, 200, "a tree");
	return SR_OK;
}

static enum sr_status count_secrets(void *ctx, struct sr_request *req, const struct sr_route *route, struct sr_err *err)
{
	struct site *t = ctx;
	const char *given = sr_request_header(req, "Authorization");

	(void)route;
	t->secrets += given != NULL;
	return given && !strcmp(given, "Bearer " SECRET) ? SR_OK : sr_err_set(err, SR_E_AUTH, "no secret");
}

static const struct sr_route tree_routes[] = {{"GET", "/api/tree", get_tree, 0, 0}};

/* At the port where it was before; with another key if its files are gone. */
static void serve(struct site *t)
{
	struct sr_routes routes[2] = {{.at = tree_routes, .n = 1, .ctx = t}, {.ctx = &t->hello}};
	struct sr_server_options o = {.address = "127.0.0.1", .port = t->port, .routes = routes, .routes_count = t->deaf ? 1 : 2,
				      .authorize = count_secrets, .authorize_ctx = t};

	routes[1].at = sr_hello_routes(&routes[1].n);
	o.certificate = below(t, "certificate.pem");
	o.key = below(t, "key.pem");
	OK(sr_certificate_ensure(o.certificate, o.key, NULL, &t->err));
	OK(sr_certificate_pin(o.certificate, t->pin, &t->err));
	OK(sr_server_start(&t->server, &o, &t->err));
	t->port = sr_server_port(t->server);
}

static void restart(struct site *t, bool new_key)
{
	sr_server_stop(t->server, 1000);
	if (new_key)
		assert_int_equal(unlink(below(t, "certificate.pem")) || unlink(below(t, "key.pem")), 0);
	serve(t);
}

/* --- the webserver ------------------------------------------------------------------------------------------------------------ */

static void configure(struct site *t, const char *host, const char *more)
{
	char *text = sr_format("Datastore=%s:%u\nExternal-Addr=web1:80\n%s", host, t->port, more);
	FILE *in = fmemopen(text, strlen(text), "r");

	sr_config_free(t->config);
	OK(sr_config_parse(&t->config, in, "test.conf", &t->err));
	fclose(in);
	free(text);
}

static void reopen(struct site *t)
{
	sr_contact_close(t->contact);
	OK(sr_contact_open(&t->contact, t->config, t->state, &t->err));
	sr_contact_set_secret(t->contact, SECRET);
}

/* What the server holds. */
static void the_secrets(void *ctx, struct sr_secrets *out)
{
	const struct site *t = ctx;

	for (size_t i = 0; i < SR_SECRETS_MOST; i++)
		out->at[i] = t->holds[i] ? sr_strdup(t->holds[i]) : NULL;
}

static int begin(void **state)
{
	struct site *t = sr_alloc(sizeof *t);
	bool fresh;

	sr_log_setup("test_contact", SR_LOG_ERROR, false);
	strcpy(t->dir, "/tmp/sameroot-contact-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	t->holds[0] = SECRET;
	t->hello = (struct sr_hello){.secrets = the_secrets, .ctx = t, .role = "datastore"};
	serve(t);
	OK(sr_state_open(&t->state, below(t, "state"), &fresh, &t->err));
	configure(t, "127.0.0.1", "");
	reopen(t);
	*state = t;
	return 0;
}

static int end(void **state)
{
	struct site *t = *state;
	char *command = sr_format("rm -rf %s", t->dir);

	sr_contact_close(t->contact);
	sr_server_stop(t->server, 1000);
	sr_state_close(t->state);
	sr_config_free(t->config);
	assert_int_equal(system(command), 0);
	free(command);
	free(t);
	return 0;
}

static enum sr_status get(struct site *t)
{
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(sr_contact_client(t->contact), &(struct sr_call){.target = "/api/tree"}, &answer, &t->err);

	sr_answer_free(&answer);
	return rc;
}

/* As a round does it. */
static enum sr_status meet(struct site *t)
{
	enum sr_status rc = get(t);

	if (rc != SR_OK)
		rc = sr_contact_retry(t->contact, t->state, &t->err);
	return rc == SR_OK ? get(t) : rc;
}

static void assert_report(const struct site *t, const char *trust, const char *pin)
{
	json_t *o = json_object();

	sr_contact_report(t->contact, o);
	assert_string_equal(json_string_value(json_object_get(o, "trust")), trust);
	if (pin)
		assert_string_equal(json_string_value(json_object_get(o, "pin")), pin);
	else
		assert_true(json_is_null(json_object_get(o, "pin")));
	assert_int_equal(json_is_integer(json_object_get(o, "pinned_ms")), !strcmp(trust, "first-contact"));
	json_decref(o);
}

static void assert_says(const struct site *t, const char *text)
{
	if (!strstr(t->err.text, text))
		fail_msg("no \"%s\" in: %s", text, t->err.text);
}

/* --- tests -------------------------------------------------------------------------------------------------------------------- */

static void test_first_contact(void **state)
{
	struct site *t = *state;

	assert_report(t, "ca", NULL);
	assert_int_equal(get(t), SR_E_AUTH);
	assert_int_equal(t->secrets, 0);
	OK(meet(t));
	assert_int_equal(t->secrets, 1);
	assert_report(t, "first-contact", t->pin);
	/* It is remembered: no hello is needed any more. */
	t->deaf = true;
	restart(t, false);
	reopen(t);
	assert_report(t, "first-contact", t->pin);
	OK(get(t));
	/* Of this very address, and no other. */
	configure(t, "localhost", "");
	reopen(t);
	assert_report(t, "ca", NULL);
	configure(t, "127.0.0.1", "");
	reopen(t);
	OK(get(t));
}

/* While the secret is changed, the datastore may be a step behind or ahead. */
static void test_two_secrets(void **state)
{
	struct site *t = *state;

	t->holds[0] = "another secret of as many characters";
	t->holds[1] = SECRET;
	OK(meet(t));
	assert_int_equal(t->secrets, 1);
}

static void test_impostors(void **state)
{
	struct site *t = *state;

	t->holds[0] = "another secret of as many characters";
	assert_int_equal(meet(t), SR_E_AUTH);
	assert_says(t, "does not hold this cluster's Control-Auth");
	t->holds[0] = SECRET;
	t->hello.role = "webserver";
	assert_int_equal(meet(t), SR_E_CONFIG);
	assert_says(t, "it is a webserver, not a datastore");
	t->hello.role = "data\"";
	assert_int_equal(meet(t), SR_E_AUTH);
	assert_says(t, "is not Sameroot's");
	t->deaf = true;
	restart(t, false);
	assert_int_equal(meet(t), SR_E_AUTH);
	assert_says(t, "404 to /api/hello");
	sr_server_stop(t->server, 1000);
	t->server = NULL;
	assert_int_equal(meet(t), SR_E_UNAVAILABLE);
	assert_int_equal(t->secrets, 0);
	assert_report(t, "ca", NULL);
	reopen(t);
	assert_report(t, "ca", NULL);
}

static void test_another_key(void **state)
{
	struct site *t = *state;
	char old[SR_PIN_TEXT];

	OK(meet(t));
	memcpy(old, t->pin, sizeof old);
	restart(t, true);
	for (int i = 0; i < 2; i++) { /* within one life, and in the next one */
		assert_int_equal(meet(t), SR_E_AUTH);
		assert_says(t, "is not the one that was pinned at first contact on 2");
		assert_says(t, old);
		assert_says(t, "`sameroot join --new-key`");
		assert_true(strlen(t->err.text) < 480); /* the report keeps 500 */
		reopen(t);
	}
	assert_int_equal(t->secrets, 1);
	sr_contact_forget_soon(t->contact);
	assert_report(t, "first-contact", old);
	OK(sr_contact_begin(t->contact, t->state, &t->err));
	assert_report(t, "ca", NULL);
	OK(meet(t));
	assert_report(t, "first-contact", t->pin);
	OK(sr_contact_begin(t->contact, t->state, &t->err)); /* once */
	assert_report(t, "first-contact", t->pin);
	OK(sr_contact_forget(t->contact, t->state, &t->err));
	assert_int_equal(get(t), SR_E_AUTH); /* forgotten at once */
	reopen(t);
	assert_report(t, "ca", NULL);
}

static void test_configured(void **state)
{
	struct site *t = *state;
	char *line = sr_format("Datastore-Key-Pin=%s", t->pin), *lines = sr_format("Datastore-Key-Pin=\"" ZEROS ";%s\"", t->pin);

	configure(t, "127.0.0.1", lines);
	reopen(t);
	OK(get(t));
	configure(t, "127.0.0.1", "");
	reopen(t);
	OK(meet(t));
	configure(t, "127.0.0.1", line);
	reopen(t);
	assert_report(t, "pin", t->pin);
	OK(get(t));
	restart(t, true);
	assert_int_equal(meet(t), SR_E_AUTH); /* no first contact: the operator has said which key */
	assert_says(t, "is not Datastore-Key-Pin");
	configure(t, "127.0.0.1", "Datastore-Insecure-Skip-TLS-Verify=true");
	reopen(t);
	assert_report(t, "any", NULL);
	OK(get(t));
	configure(t, "127.0.0.1", "Datastore-Insecure-Disable-TLS=true");
	reopen(t);
	assert_report(t, "plain", NULL);
	free(line);
	free(lines);
}

static void test_others_fault(void **state)
{
	struct site *t = *state;

	OK(meet(t));
	sr_contact_set_secret(t->contact, "not the secret that it should have been");
	assert_int_equal(meet(t), SR_E_AUTH); /* a 401: the key is well, and the text is the datastore's */
	assert_says(t, "no secret");
}

static void test_damage(void **state)
{
	static const char *const bad[] = {
		"", "x", "sha256//x 1 a:1", ZEROS, ZEROS " 1", ZEROS " x a:1", ZEROS "  a:1",
	};
	struct site *t = *state;
	struct sr_contact *c = NULL;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		OK(sr_state_put(t->state, "datastore-pin", sr_bytes_of(bad[i]), &t->err));
		assert_int_equal(sr_contact_open(&c, t->config, t->state, &t->err), SR_E_DATA);
	}
	assert_null(c);
}

static void test_reader(void **state)
{
	struct site *t = *state;
	struct sr_state *reader = NULL;

	sr_contact_close(t->contact);
	OK(sr_contact_open(&t->contact, t->config, NULL, &t->err));
	assert_int_equal(get(t), SR_E_AUTH);
	assert_int_equal(sr_contact_explain(t->contact, &t->err), SR_E_AUTH);
	assert_says(t, "its key is not pinned yet");
	reopen(t);
	OK(meet(t));
	sr_contact_close(t->contact);
	OK(sr_state_reader(&reader, below(t, "state"), &t->err));
	OK(sr_contact_open(&t->contact, t->config, reader, &t->err));
	sr_state_close(reader);
	sr_contact_set_secret(t->contact, SECRET);
	OK(get(t));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_first_contact), TEST(test_impostors), TEST(test_two_secrets), TEST(test_another_key), TEST(test_configured),
		TEST(test_others_fault), TEST(test_damage), TEST(test_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
