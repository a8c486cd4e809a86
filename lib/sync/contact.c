/* contact.c - see contact.h. */
#include "lib/sync/contact.h"

#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/certificate.h"
#include "lib/base/log.h"
#include "lib/replica/hello.h"
#include "lib/replica/keypair.h"

#define META_PIN    "datastore-pin" /* "PIN MILLISECONDS HOST:PORT" */
#define ROLE        "datastore"
#define HELLO_MS    10000
#define MOST_ANSWER 4096

enum trust { TRUST_PLAIN, TRUST_PIN, TRUST_ANY, TRUST_FIRST_CONTACT, TRUST_CA };

struct sr_contact {
	struct sr_contact_to to;
	char *url;
	const char *address; /* HOST:PORT, within url */
	pthread_mutex_t lock; /* what the owner changes of the four below, others read */
	unsigned generation;
	char *secret;
	enum trust trust;
	char *pin;         /* TRUST_PIN (several with ';' between), TRUST_FIRST_CONTACT; else NULL */
	int64_t pinned_ms; /* TRUST_FIRST_CONTACT */
	struct sr_client *client;
	atomic_bool forget;
	struct sr_keypair pair; /* what to.certificate and to.key name, if they are ours */
};

static void set_trust(struct sr_contact *c, enum trust trust, const char *pin, int64_t pinned_ms)
{
	pthread_mutex_lock(&c->lock);
	free(c->pin);
	c->generation++;
	c->trust = trust;
	c->pin = pin ? sr_strdup(pin) : NULL;
	c->pinned_ms = pinned_ms;
	pthread_mutex_unlock(&c->lock);
}

/* --- what is remembered ------------------------------------------------------------------------------------------------------ */

/* text is taken apart in place.  false: that is not what remember() writes. */
static bool parse_pin(char *text, char **pin, int64_t *ms, char **address)
{
	char *end, *number = strchr(text, ' ');

	if (!number)
		return false;
	*number++ = '\0';
	*pin = text;
	*ms = strtoll(number, &end, 10);
	*address = end + 1;
	return end > number && *end == ' ' && sr_pin_valid(text);
}

/* The pin of another address is kept, but says nothing about this one. */
static enum sr_status recall(struct sr_contact *c, struct sr_state *state, struct sr_err *err)
{
	struct sr_buf text = {0};
	char *pin, *address;
	bool found = false;
	int64_t ms;
	enum sr_status rc = sr_state_get(state, META_PIN, &text, &found, err);

	if (rc != SR_OK || !found)
		goto out;
	if (!parse_pin(sr_buf_text(&text), &pin, &ms, &address)) {
		rc = sr_err_set(err, SR_E_DATA, "state.db: meta " META_PIN " is not a pin, a time and an address");
	} else if (strcmp(address, c->address) == 0) {
		set_trust(c, TRUST_FIRST_CONTACT, pin, ms);
	}
out:
	sr_buf_free(&text);
	return rc;
}

static enum sr_status remember(struct sr_contact *c, struct sr_state *state, const char *pin, struct sr_err *err)
{
	int64_t now = sr_now_ms();
	char *text = sr_format("%s %" PRId64 " %s", pin, now, c->address);
	enum sr_status rc = sr_state_put(state, META_PIN, sr_bytes_of(text), err);

	free(text);
	if (rc != SR_OK)
		return rc;
	set_trust(c, TRUST_FIRST_CONTACT, pin, now);
	sr_client_set_pin(c->client, c->pin);
	return SR_OK;
}

/* --- open, close --------------------------------------------------------------------------------------------------------------- */

static char *url_of(const struct sr_contact_to *to)
{
	const struct sr_config_address *a = to->datastore;
	bool v6 = strchr(a->host, ':') != NULL;

	return sr_format("%s://%s%s%s:%u", to->disable_tls ? "http" : "https", v6 ? "[" : "", a->host, v6 ? "]" : "", a->port ? a->port : 9405);
}

static enum sr_status choose(struct sr_contact *c, struct sr_state *state, struct sr_err *err)
{
	set_trust(c, TRUST_CA, NULL, 0);
	if (c->to.disable_tls)
		set_trust(c, TRUST_PLAIN, NULL, 0);
	else if (c->to.key_pin)
		set_trust(c, TRUST_PIN, c->to.key_pin, 0);
	else if (c->to.ca_file)
		return SR_OK;
	else if (c->to.skip_verify)
		set_trust(c, TRUST_ANY, NULL, 0);
	else if (state)
		return recall(c, state, err);
	return SR_OK;
}

/* With the lock held, or while nobody else has it: the trust of this moment, and no secret. */
static struct sr_client_options options_of(const struct sr_contact *c)
{
	return (struct sr_client_options){
		.url = c->url,
		.pin = c->pin,
		.insecure = c->trust == TRUST_ANY,
		.ca_file = c->to.ca_file,
		.certificate = c->to.certificate,
		.key = c->to.key,
	};
}

enum sr_status sr_contact_open_to(struct sr_contact **out, const struct sr_contact_to *to, struct sr_state *state, struct sr_err *err)
{
	struct sr_contact *c = sr_alloc(sizeof *c);
	struct sr_client_options o = {0};
	enum sr_status rc;

	pthread_mutex_init(&c->lock, NULL);
	c->to = *to;
	c->url = url_of(to);
	c->address = strstr(c->url, "//") + 2;
	rc = choose(c, state, err);
	o = options_of(c);
	o.total_ms = to->total_ms;
	if (rc == SR_OK)
		rc = sr_client_new(&c->client, &o, err);
	if (rc == SR_OK)
		*out = c;
	else
		sr_contact_close(c);
	return rc;
}

enum sr_status sr_contact_open(struct sr_contact **out, const struct sr_config *config, struct sr_state *state, struct sr_err *err)
{
	struct sr_contact_to to = {
		.datastore = &config->datastore,
		.disable_tls = config->datastore_insecure_disable_tls,
		.skip_verify = config->datastore_insecure_skip_tls_verify,
		.key_pin = config->datastore_key_pin,
		.ca_file = config->datastore_ca_file,
		.file = config->file,
		.renewed = "run `sameroot join --new-key` on this webserver",
		.secret = "copy the datastore's control-auth to this machine",
	};
	struct sr_keypair pair = {0};
	enum sr_status rc = sr_keypair_shown(config, false, &pair, err);

	to.certificate = pair.certificate;
	to.key = pair.key;
	if (rc == SR_OK)
		rc = sr_contact_open_to(out, &to, state, err);
	if (rc == SR_OK)
		(*out)->pair = pair;
	else
		sr_keypair_free(&pair);
	return rc;
}

static void forget_secret(struct sr_contact *c)
{
	if (c->secret)
		explicit_bzero(c->secret, strlen(c->secret));
	free(c->secret);
}

void sr_contact_close(struct sr_contact *c)
{
	if (!c)
		return;
	sr_client_free(c->client);
	forget_secret(c);
	free(c->pin);
	free(c->url);
	sr_keypair_free(&c->pair);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void sr_contact_set_secret(struct sr_contact *c, const char *secret)
{
	pthread_mutex_lock(&c->lock);
	forget_secret(c);
	c->generation++;
	c->secret = sr_strdup(secret);
	pthread_mutex_unlock(&c->lock);
	sr_client_set_bearer(c->client, secret);
}

enum sr_status sr_contact_another(struct sr_contact *c, unsigned total_ms, struct sr_client **out, struct sr_err *err)
{
	struct sr_client_options o;
	enum sr_status rc;

	pthread_mutex_lock(&c->lock);
	o = options_of(c);
	o.total_ms = total_ms;
	o.bearer = c->secret;
	rc = sr_client_new(out, &o, err);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

unsigned sr_contact_generation(struct sr_contact *c)
{
	unsigned n;

	pthread_mutex_lock(&c->lock);
	n = c->generation;
	pthread_mutex_unlock(&c->lock);
	return n;
}

struct sr_client *sr_contact_client(const struct sr_contact *c)
{
	return c->client;
}

/* --- first contact --------------------------------------------------------------------------------------------------------------- */

static enum sr_status no_hello(const struct sr_contact *c, const struct sr_answer *answer, struct sr_err *err)
{
	if (!answer->status || answer->status >= 500)
		return sr_err_context(err, "first contact");
	return sr_err_set(err, SR_E_AUTH,
			  "the server at %s has a certificate that no CA of this machine vouches for, and cannot prove itself: it answers "
			  "%d to /api/hello, so it is another program or an older one; no secret was sent to it",
			  c->address, answer->status);
}

/* What the server answers to the nonce, and the pin of the key that it answers under. */
static enum sr_status ask(const struct sr_contact *c, const char *nonce, struct sr_buf *body, char pin[SR_PIN_TEXT], struct sr_err *err)
{
	/* Of its own, and without a secret: what is said to a key that is not trusted ends here. */
	struct sr_client_options o = {.url = c->url, .insecure = true, .total_ms = HELLO_MS};
	struct sr_call call = {.max_answer = MOST_ANSWER};
	struct sr_answer answer = {0};
	struct sr_client *client = NULL;
	char *target = sr_format("/api/hello?nonce=%s", nonce);
	enum sr_status rc = sr_client_new(&client, &o, err);

	call.target = target;
	if (rc == SR_OK) {
		rc = sr_client_call(client, &call, &answer, err);
		if (rc != SR_OK)
			no_hello(c, &answer, err);
	}
	if (rc == SR_OK && !sr_client_seen_pin(client, pin))
		rc = sr_err_set(err, SR_E_AUTH, "the server at %s showed no key", c->address);
	if (rc == SR_OK)
		sr_buf_bytes(body, sr_buf_view(&answer.body));
	sr_answer_free(&answer);
	sr_client_free(client);
	free(target);
	return rc == SR_OK ? rc : err->code;
}

static enum sr_status unproven(const struct sr_contact *c, enum sr_status rc, struct sr_err *err)
{
	if (rc == SR_E_AUTH)
		return sr_err_set(err, rc,
				  "the server at %s does not hold this cluster's Control-Auth: it is an impostor, or the secrets differ (%s); no secret was "
				  "sent to it",
				  c->address, c->to.secret);
	if (rc == SR_E_DATA)
		return sr_err_set(err, SR_E_AUTH,
				  "the server at %s has a certificate that no CA of this machine vouches for, and does not prove itself: what it "
				  "answers to /api/hello is not Sameroot's; no secret was sent to it",
				  c->address);
	return sr_err_context(err, "the server at %s cannot be the datastore", c->address);
}

/* *pin: of the key under which it proved that it is this cluster's datastore. */
static enum sr_status take_proof(const struct sr_contact *c, char pin[SR_PIN_TEXT], struct sr_err *err)
{
	char nonce[SR_HELLO_TEXT];
	struct sr_buf body = {0};
	enum sr_status rc;

	if (!c->secret)
		return sr_err_set(err, SR_E_INTERNAL, "first contact without Control-Auth");
	sr_hello_nonce(nonce);
	rc = ask(c, nonce, &body, pin, err);
	if (rc == SR_OK) {
		rc = sr_hello_check(c->secret, nonce, pin, ROLE, sr_buf_view(&body), err);
		if (rc != SR_OK)
			rc = unproven(c, rc, err);
	}
	sr_buf_free(&body);
	return rc;
}

static enum sr_status first_contact(struct sr_contact *c, struct sr_state *state, struct sr_err *err)
{
	char pin[SR_PIN_TEXT];
	enum sr_status rc = take_proof(c, pin, err);

	if (rc == SR_OK)
		rc = remember(c, state, pin, err);
	if (rc == SR_OK)
		sr_info("first contact: the datastore at %s holds this cluster's Control-Auth; its key is pinned: %s", c->address, pin);
	return rc;
}

/* --- a key that is not trusted ------------------------------------------------------------------------------------------------------ */

static enum sr_status other_key(const struct sr_contact *c, struct sr_err *err)
{
	time_t s = (time_t)(c->pinned_ms / 1000);
	char date[32] = "an unknown day";
	struct tm tm;

	if (gmtime_r(&s, &tm))
		strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return sr_err_set(err, SR_E_AUTH,
			  "the key of the server at %s is not the one that was pinned at first contact on %s (%s); nothing was sent to it; "
			  "if the datastore was set up anew, or its certificate replaced on purpose, %s; if not, someone is in between",
			  c->address, date, c->pin, c->to.renewed);
}

enum sr_status sr_contact_explain(const struct sr_contact *c, struct sr_err *err)
{
	if (!sr_client_distrusts(c->client))
		return err->code;
	if (c->trust == TRUST_FIRST_CONTACT)
		return other_key(c, err);
	if (c->trust == TRUST_PIN)
		return sr_err_set(err, SR_E_AUTH,
				  "the key of the server at %s is not Datastore-Key-Pin (%s); nothing was sent to it; if the datastore was set "
				  "up anew, or its certificate replaced on purpose, change Datastore-Key-Pin in %s",
				  c->address, c->pin, c->to.file);
	if (c->to.ca_file)
		return sr_err_set(err, SR_E_AUTH, "the certificate of the server at %s is not one that Datastore-CA-File (%s) vouches for; nothing was sent to it",
				  c->address, c->to.ca_file);
	return sr_err_set(err, SR_E_AUTH,
			  "no CA of this machine vouches for the certificate of the server at %s, and its key is not pinned yet: "
			  "sameroot-sync makes first contact",
			  c->address);
}

enum sr_status sr_contact_retry(struct sr_contact *c, struct sr_state *state, struct sr_err *err)
{
	if (c->trust == TRUST_CA && !c->to.ca_file && sr_client_distrusts(c->client))
		return first_contact(c, state, err);
	return sr_contact_explain(c, err);
}

enum sr_status sr_contact_prove(struct sr_contact *c, char pin[SR_PIN_TEXT], struct sr_err *err)
{
	enum sr_status rc = c->trust == TRUST_PLAIN ? SR_OK : take_proof(c, pin, err);

	if (rc == SR_OK && c->trust == TRUST_PLAIN)
		pin[0] = '\0';
	if (rc == SR_OK && c->trust == TRUST_CA)
		sr_client_set_pin(c->client, pin);
	return rc;
}

enum sr_status sr_contact_forget(struct sr_contact *c, struct sr_state *state, struct sr_err *err)
{
	enum sr_status rc = sr_state_drop(state, META_PIN, err);

	if (rc != SR_OK || c->trust != TRUST_FIRST_CONTACT)
		return rc;
	set_trust(c, TRUST_CA, NULL, 0);
	sr_client_set_pin(c->client, NULL);
	return SR_OK;
}

void sr_contact_forget_soon(struct sr_contact *c)
{
	atomic_store(&c->forget, true);
}

enum sr_status sr_contact_begin(struct sr_contact *c, struct sr_state *state, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (!atomic_exchange(&c->forget, false))
		return SR_OK;
	rc = sr_contact_forget(c, state, err);
	if (rc == SR_OK)
		sr_info("the key of the datastore at %s is forgotten, as an admin said", c->address);
	else
		sr_contact_forget_soon(c);
	return rc;
}

/* --- the report ------------------------------------------------------------------------------------------------------------------ */

void sr_contact_report(const struct sr_contact *c, json_t *o)
{
	static const char *const words[] = {
		[TRUST_PLAIN] = "plain",
		[TRUST_PIN] = "pin",
		[TRUST_ANY] = "any",
		[TRUST_FIRST_CONTACT] = "first-contact",
		[TRUST_CA] = "ca",
	};

	json_object_set_new(o, "url", json_string(c->url));
	json_object_set_new(o, "trust", json_string(words[c->trust]));
	json_object_set_new(o, "pin", c->pin ? json_string(c->pin) : json_null());
	json_object_set_new(o, "pinned_ms", c->pinned_ms ? json_integer(c->pinned_ms) : json_null());
}
