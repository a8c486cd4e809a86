/* learner.c - see learner.h. */
#include "lib/lb/learner.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/wait.h"
#include "lib/lb/resolver.h"
#include "lib/replica/keypair.h"
#include "lib/state/secret.h"
#include "lib/sync/contact.h"

#define META_KNOWN  "lb-webservers" /* {"webservers": [...], "addresses": {...}} */
#define CALL_MS     10000
#define RETRY_S     5 /* after a failure, where the interval is longer */
#define MOST_ANSWER (16u << 20)
#define PATIENCE_MS 3000 /* with the DNS: a name that takes longer stays where it was, and is known at the next turn */

struct known {
	json_t *webservers; /* as the datastore said it last; NULL: never */
	json_t *addresses;  /* by host */
};

struct sr_lb_learner {
	const struct sr_lb_conf *conf;
	struct sr_state *state;
	pthread_t thread, owner;
	int sig;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake;
	bool stop, now;
	struct sr_client *client; /* that of the contact, to be interrupted */
	bool have_fresh;
	struct sr_lb_list fresh;
	/* the thread's own */
	struct known known;
	struct sr_contact *contact;
	struct sr_lb_resolver *resolver;
	char *trouble; /* as it was logged; NULL: none */
	char *left;    /* as they were logged; NULL: nothing was left out */
};

/* --- what is kept -------------------------------------------------------------------------------------------------------------------- */

static void forget(struct known *k)
{
	json_decref(k->webservers);
	json_decref(k->addresses);
	*k = (struct known){0};
}

static enum sr_status recall(struct sr_state *state, struct known *k, struct sr_err *err)
{
	struct sr_buf text = {0};
	json_t *o = NULL, *webservers, *addresses;
	bool found = false;
	enum sr_status rc = state ? sr_state_get(state, META_KNOWN, &text, &found, err) : SR_OK;

	if (rc == SR_OK && found)
		o = json_loadb((const char *)text.at, text.len, 0, NULL);
	webservers = json_object_get(o, "webservers");
	addresses = json_object_get(o, "addresses");
	k->webservers = json_is_array(webservers) ? json_incref(webservers) : NULL;
	k->addresses = json_is_object(addresses) ? json_incref(addresses) : json_object();
	json_decref(o);
	sr_buf_free(&text);
	return rc;
}

/* Only what a list is made of: what a webserver knows of itself otherwise changes all the time. */
static json_t *essence(const json_t *answer)
{
	static const char *const members[] = {"uuid", "name", "external_addr", "sync_port", "pin", "seen", "stale"};
	json_t *all = json_array(), *o;
	size_t i;

	json_array_foreach(answer, i, o) {
		json_t *kept = json_object();

		for (size_t m = 0; m < sizeof members / sizeof *members; m++)
			if (json_object_get(o, members[m]))
				json_object_set(kept, members[m], json_object_get(o, members[m]));
		json_array_append_new(all, kept);
	}
	return all;
}

static void keep(struct sr_lb_learner *l)
{
	json_t *o = json_pack("{sO?sO}", "webservers", l->known.webservers, "addresses", l->known.addresses);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	struct sr_err err;

	if (text && sr_state_put(l->state, META_KNOWN, sr_bytes_of(text), &err) != SR_OK)
		sr_warn("the list of webservers cannot be kept for the next start: %s", err.text);
	free(text);
	json_decref(o);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------------ */

static enum sr_status open_contact(struct sr_contact **out, const struct sr_lb_conf *c, struct sr_state *state, struct sr_err *err)
{
	struct sr_contact_to to = {
		.datastore = &c->datastore,
		.disable_tls = c->datastore_disable_tls,
		.skip_verify = c->datastore_skip_tls_verify,
		.key_pin = c->datastore_key_pin,
		.ca_file = c->datastore_ca_file,
		.certificate = c->client_certificate_file,
		.key = c->client_key_file,
		.file = c->file,
		.renewed = "give its pin, which `sameroot join --line` shows on the datastore, as Datastore-Key-Pin in loadbalancer.conf",
		.secret = "give the datastore's Control-Auth as Control-Secret, or its file as Control-Secret-File, in loadbalancer.conf",
		.total_ms = CALL_MS,
	};
	char *secret = NULL;
	enum sr_status rc = sr_lb_conf_secret(c, &secret, err);

	if (rc == SR_OK && sr_keypair_check(c->client_certificate_file, c->client_key_file, err) != SR_OK)
		rc = sr_err_context(err, "Client-Certificate-File");
	if (rc == SR_OK)
		rc = sr_contact_open_to(out, &to, state, err);
	if (rc == SR_OK)
		sr_contact_set_secret(*out, secret);
	sr_secret_free(secret);
	return rc;
}

/* Of a list in which one entry is none nothing is believed. */
static bool is_list(const json_t *all)
{
	struct sr_uuid uuid;
	const json_t *o;
	size_t i;

	json_array_foreach(all, i, o) {
		const char *text = json_string_value(json_object_get(o, "uuid"));

		if (!text || sr_uuid_parse(&uuid, text) != 0)
			return false;
	}
	return json_is_array(all);
}

static enum sr_status call(struct sr_contact *contact, json_t **out, struct sr_err *err)
{
	struct sr_answer answer = {0};
	json_t *list = NULL;
	enum sr_status rc = sr_client_call(sr_contact_client(contact),
					   &(struct sr_call){.target = "/api/webservers", .max_answer = MOST_ANSWER}, &answer, err);

	if (rc == SR_OK)
		list = json_loadb((const char *)answer.body.at, answer.body.len, 0, NULL);
	if (rc == SR_OK && !is_list(list)) {
		json_decref(list);
		rc = sr_err_set(err, SR_E_DATA, "the datastore's list of webservers is malformed");
	}
	if (rc == SR_OK)
		*out = list;
	sr_answer_free(&answer);
	return rc;
}

/* state NULL: a key that is proven is trusted for this once, and not kept. */
static enum sr_status fetch(struct sr_contact *contact, struct sr_state *state, bool keeps, json_t **out, struct sr_err *err)
{
	enum sr_status rc = call(contact, out, err);
	char pin[SR_PIN_TEXT];

	if (rc == SR_OK || !sr_client_distrusts(sr_contact_client(contact)))
		return rc;
	rc = keeps ? sr_contact_retry(contact, state, err) : sr_contact_prove(contact, pin, err);
	if (rc != SR_OK)
		return rc;
	rc = call(contact, out, err);
	return rc == SR_OK || keeps ? rc : sr_contact_explain(contact, err);
}

/* An emptied datastore is no reason to send everyone away: health checks find out who is there. */
static bool is_emptied(const json_t *known, const json_t *answer)
{
	return sr_lb_list_any(known) && !sr_lb_list_any(answer);
}

static void take_answer(struct sr_lb_learner *l, json_t *answer)
{
	if (is_emptied(l->known.webservers, answer)) {
		sr_warn("the datastore knows no webserver any more: the last known list, of %zu, is kept", json_array_size(l->known.webservers));
	} else {
		json_decref(l->known.webservers);
		l->known.webservers = essence(answer);
	}
	json_decref(answer);
}

static void tell_trouble(struct sr_lb_learner *l, enum sr_status rc, const struct sr_err *err)
{
	const char *text = rc == SR_OK ? NULL : err->text;

	if (text && (!l->trouble || strcmp(l->trouble, text) != 0))
		sr_warn("the datastore does not tell its webservers, the %zu last known stay: %s", json_array_size(l->known.webservers), text);
	else if (!text && l->trouble)
		sr_info("the datastore tells its webservers again");
	free(l->trouble);
	l->trouble = text ? sr_strdup(text) : NULL;
}

static enum sr_status begin_contact(struct sr_lb_learner *l, struct sr_err *err)
{
	enum sr_status rc = open_contact(&l->contact, l->conf, l->state, err);

	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&l->lock);
	l->client = sr_contact_client(l->contact);
	if (l->stop)
		sr_client_interrupt(l->client);
	pthread_mutex_unlock(&l->lock);
	return SR_OK;
}

static bool is_over(struct sr_lb_learner *l)
{
	bool over;

	pthread_mutex_lock(&l->lock);
	over = l->stop;
	pthread_mutex_unlock(&l->lock);
	return over;
}

static enum sr_status ask(struct sr_lb_learner *l)
{
	struct sr_err err = {0};
	json_t *answer = NULL;
	enum sr_status rc = SR_OK;

	if (!l->contact)
		rc = begin_contact(l, &err);
	if (rc == SR_OK)
		rc = fetch(l->contact, l->state, true, &answer, &err);
	if (rc == SR_OK)
		take_answer(l, answer);
	if (!is_over(l)) /* else that is why */
		tell_trouble(l, rc, &err);
	return rc;
}

/* --- the thread ------------------------------------------------------------------------------------------------------------------------------ */

static void tell_left(struct sr_lb_learner *l, const struct sr_lb_list *list)
{
	struct sr_buf text = {0};

	for (size_t i = 0; i < list->left_n; i++)
		sr_buf_printf(&text, "%s%s", i ? "; " : "", list->left[i]);
	if (text.len && (!l->left || strcmp(l->left, sr_buf_text(&text)) != 0))
		sr_warn("left out: %s", sr_buf_text(&text));
	free(l->left);
	l->left = text.len ? sr_strdup(sr_buf_text(&text)) : NULL;
	sr_buf_free(&text);
}

static void resolve(struct sr_lb_resolver *r, const struct sr_lb_conf *conf, const json_t *registry, json_t *addresses)
{
	json_t *hosts = sr_lb_list_hosts(conf, registry);

	sr_lb_resolver_turn(r, hosts, addresses, PATIENCE_MS);
	json_decref(hosts);
}

static void hand_over(struct sr_lb_learner *l)
{
	struct sr_lb_list list;
	struct sr_err err;
	const json_t *registry = sr_lb_conf_asks(l->conf) ? l->known.webservers : NULL;

	resolve(l->resolver, l->conf, registry, l->known.addresses);
	if (is_over(l)) /* and not all is known that would be */
		return;
	if (sr_lb_list_make(&list, l->conf, registry, l->known.addresses, &err) != SR_OK) {
		sr_warn("%s", err.text);
		return;
	}
	tell_left(l, &list);
	pthread_mutex_lock(&l->lock);
	if (l->have_fresh)
		sr_lb_list_free(&l->fresh);
	l->fresh = list;
	l->have_fresh = true;
	pthread_mutex_unlock(&l->lock);
	pthread_kill(l->owner, l->sig);
}

/* false: it is over. */
static bool wait_for(struct sr_lb_learner *l, uint64_t seconds)
{
	struct timespec end = sr_after_ms((int64_t)seconds * 1000);
	bool on;

	pthread_mutex_lock(&l->lock);
	while (!l->stop && !l->now && pthread_cond_timedwait(&l->wake, &l->lock, &end) != ETIMEDOUT)
		;
	l->now = false;
	on = !l->stop;
	pthread_mutex_unlock(&l->lock);
	return on;
}

static void *run(void *arg)
{
	struct sr_lb_learner *l = arg;
	uint64_t interval = l->conf->update_interval;
	bool asks = sr_lb_conf_asks(l->conf);

	if (asks && json_array_size(l->known.webservers) > 0)
		hand_over(l);
	do {
		bool good = !asks || ask(l) == SR_OK;

		hand_over(l); /* also without news: a name may have got another address */
		if (good)
			keep(l);
		interval = good || l->conf->update_interval < RETRY_S ? l->conf->update_interval : RETRY_S;
	} while (wait_for(l, interval));
	return NULL;
}

/* --- start, stop --------------------------------------------------------------------------------------------------------------------------------- */

static void free_learner(struct sr_lb_learner *l)
{
	if (l->have_fresh)
		sr_lb_list_free(&l->fresh);
	sr_contact_close(l->contact);
	sr_lb_resolver_free(l->resolver);
	forget(&l->known);
	free(l->trouble);
	free(l->left);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

enum sr_status sr_lb_learner_start(struct sr_lb_learner **out, const struct sr_lb_conf *conf, struct sr_state *state, int sig,
				   struct sr_err *err)
{
	struct sr_lb_learner *l = sr_alloc(sizeof *l);
	enum sr_status rc;

	l->conf = conf;
	l->state = state;
	l->owner = pthread_self();
	l->sig = sig;
	pthread_mutex_init(&l->lock, NULL);
	sr_cond_init(&l->wake);
	l->resolver = sr_lb_resolver_new(NULL, NULL);
	rc = recall(state, &l->known, err);
	if (rc == SR_OK && pthread_create(&l->thread, NULL, run, l) != 0)
		rc = sr_err_set(err, SR_E_INTERNAL, "no thread can be started");
	if (rc == SR_OK)
		*out = l;
	else
		free_learner(l);
	return rc;
}

static void nudge(struct sr_lb_learner *l, bool *what)
{
	pthread_mutex_lock(&l->lock);
	*what = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

void sr_lb_learner_now(struct sr_lb_learner *l)
{
	nudge(l, &l->now);
}

void sr_lb_learner_stop(struct sr_lb_learner *l)
{
	if (!l)
		return;
	nudge(l, &l->stop);
	sr_lb_resolver_stop(l->resolver);
	pthread_mutex_lock(&l->lock);
	if (l->client)
		sr_client_interrupt(l->client);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	free_learner(l);
}

bool sr_lb_learner_take(struct sr_lb_learner *l, struct sr_lb_list *out)
{
	bool there;

	pthread_mutex_lock(&l->lock);
	there = l->have_fresh;
	if (there)
		*out = l->fresh;
	l->have_fresh = false;
	pthread_mutex_unlock(&l->lock);
	return there;
}

enum sr_status sr_lb_learn_once(const struct sr_lb_conf *conf, struct sr_state *state, struct sr_lb_list *out, char **old, struct sr_err *err)
{
	struct known known = {0};
	struct sr_lb_resolver *resolver = sr_lb_resolver_new(NULL, NULL);
	struct sr_contact *contact = NULL;
	json_t *answer = NULL;
	const json_t *registry;
	enum sr_status rc = recall(state, &known, err);
	bool kept = known.webservers != NULL;

	*old = NULL;
	if (rc == SR_OK && sr_lb_conf_asks(conf)) {
		rc = open_contact(&contact, conf, state, err);
		if (rc == SR_OK)
			rc = fetch(contact, state, false, &answer, err);
		if (rc != SR_OK && kept)
			*old = sr_strdup(err->text);
		else if (rc == SR_OK && is_emptied(known.webservers, answer))
			*old = sr_strdup("it knows no webserver any more");
		if (*old)
			rc = SR_OK;
	}
	registry = answer && !*old ? answer : sr_lb_conf_asks(conf) ? known.webservers : NULL;
	if (rc == SR_OK) {
		resolve(resolver, conf, registry, known.addresses);
		rc = sr_lb_list_make(out, conf, registry, known.addresses, err);
	}
	sr_lb_resolver_free(resolver);
	json_decref(answer);
	sr_contact_close(contact);
	forget(&known);
	return rc;
}
