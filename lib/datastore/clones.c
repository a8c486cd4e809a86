/* clones.c - one identity, two machines: which of them is the webserver (design section 8).
 *
 * A webserver shows a token at each check-in, and each of its starts exchanges the one before for a new one: PUT /api/webservers/ID/token.
 * Both sides keep it durably, and a webserver has the new one on its disk before it asks, so that it always knows the one that counts here, or
 * the next: a crash on either side locks nobody out.  Who shows an older one is a copy of the machine, or was restored from one.  It is refused
 * while the other one is alive; when that has been silent for three of its intervals it is let in, and its pushes of before are cancelled, which
 * makes hints of its bases.
 * Tokens are numbered, so that a datastore that was itself restored from a backup does not take the future for the past.  After a start everyone
 * counts as alive for that long; nobody's wall clock has a say. */
#include "lib/datastore/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/state/datastore_state.h"

#define MOST_BODY    4096
#define MOST_SECONDS 86400 /* of an interval */
#define INTERVALS    3

static bool same_uuid(const struct sr_uuid *a, const struct sr_uuid *b)
{
	return sr_bytes_same_secret(sr_bytes(a->b, sizeof(a->b)), sr_bytes(b->b, sizeof(b->b))); /* a token is for its owner alone */
}

/* --- load ---------------------------------------------------------------------------------------------------------- */

static enum sr_status load_token(void *ctx, const struct sr_token_row *row, struct sr_err *err)
{
	struct sr_ds_webserver *w = sr_ds_webserver(ctx, &row->webserver);

	(void)err;
	if (!w)
		return SR_OK;
	w->token = *row;
	if (w->token.n >= SR_TOKEN_NUMBERS) /* of an earlier version, which let it grow over */
		w->token.n = 0;
	w->token.addr = sr_strdup(row->addr);
	w->token_ticks = sr_ticks_ms();
	return SR_OK;
}

enum sr_status sr_ds_tokens_load(struct sr_datastore *d, struct sr_err *err)
{
	return sr_state_tokens(d->r->state, load_token, d, err);
}

/* --- who is it? -------------------------------------------------------------------------------------------------------- */

static bool is_alive(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	uint64_t interval = w->token.interval > d->interval ? w->token.interval : d->interval;

	return sr_ticks_ms() - w->token_ticks < (int64_t)(interval * INTERVALS * 1000);
}

/* It is noted again, or in the place of the one that was refused longest ago.  `who` is CONSUMED. */
static void note_clone(struct sr_ds_webserver *w, char *who)
{
	struct sr_ds_refused *place = w->clones;

	for (size_t k = 0; k < SR_DS_CLONES; k++) {
		struct sr_ds_refused *c = &w->clones[k];

		if (c->who && strcmp(c->who, who) == 0) {
			place = c;
			break;
		}
		if (place->who && (!c->who || c->ticks < place->ticks))
			place = c;
	}
	free(place->who);
	*place = (struct sr_ds_refused){who, sr_ticks_ms()};
}

static enum sr_status refuse(struct sr_ds_webserver *w, const char *peer, const char *addr, struct sr_err *err)
{
	char node[SR_UUID_TEXT], *who = sr_format("%s%s%s", addr && *addr ? addr : peer, addr && *addr ? ", from " : "", addr && *addr ? peer : "");
	enum sr_status rc;

	sr_uuid_text(node, &w->row.uuid);
	rc = sr_err_set(err, SR_E_HELD,
			"held: two machines run as webserver %.8s: %s%s%s is the one that started last, and this one is %s; restored from an older image, it is let in when the "
			"other has been silent for three intervals; if this one or the other is a copy, `sameroot join --new-uuid` on the copy gives it an identity of its own; nothing is changed here meanwhile",
			node, w->token.addr && *w->token.addr ? w->token.addr : "the other", w->token_peer ? ", from " : "",
			w->token_peer ? w->token_peer : "", who);
	note_clone(w, who);
	return rc;
}

char *sr_ds_clone(const struct sr_datastore *d, const struct sr_ds_webserver *w)
{
	uint64_t interval = w->token.interval > d->interval ? w->token.interval : d->interval;
	char *all = NULL;

	for (size_t k = 0; k < SR_DS_CLONES; k++) {
		const struct sr_ds_refused *c = &w->clones[k];
		char *more;

		if (!c->who || sr_ticks_ms() - c->ticks >= (int64_t)(interval * INTERVALS * 1000))
			continue;
		more = sr_format("%s%s%s", all ? all : "", all ? "; " : "", c->who);
		free(all);
		all = more;
	}
	return all;
}

void sr_ds_forget_clones(struct sr_ds_webserver *w)
{
	for (size_t k = 0; k < SR_DS_CLONES; k++)
		free(w->clones[k].who);
	memset(w->clones, 0, sizeof w->clones);
}

enum sr_status sr_ds_token_check(struct sr_ds_webserver *w, const struct sr_uuid *token, const char *peer, struct sr_err *err)
{
	if (!sr_uuid_none(token) && !sr_uuid_none(&w->token.token) && !same_uuid(token, &w->token.token))
		return sr_err_set(err, SR_E_CHANGED, "the token of this webserver is another by now");
	if (sr_uuid_none(token) || !peer)
		return SR_OK;
	w->token.token = *token; /* none was known: of a datastore that lost its state */
	w->token_ticks = sr_ticks_ms();
	if (!w->token_peer || strcmp(w->token_peer, peer) != 0) {
		free(w->token_peer);
		w->token_peer = sr_strdup(peer);
	}
	return SR_OK;
}

/* --- the exchange -------------------------------------------------------------------------------------------------------- */

struct exchange {
	struct sr_uuid webserver, old, new;
	uint64_t n, interval;
	const char *addr, *peer;
	bool silent; /* the one that was current has been silent: it is to unite */
	uint64_t next; /* the number of the new one */
};

/* With face held.  *same: it is a repeat. */
static enum sr_status judge(struct sr_datastore *d, struct exchange *x, bool *same, struct sr_err *err)
{
	struct sr_ds_webserver *w = sr_ds_webserver(d, &x->webserver);
	bool known;

	if (!w)
		return sr_err_set(err, SR_E_LIMIT, "more webservers than Max-Webservers, %" PRIu64, d->config->max_webservers);
	*same = same_uuid(&w->token.token, &x->new);
	known = sr_uuid_none(&w->token.token) || same_uuid(&w->token.token, &x->old) || x->n > w->token.n;
	x->next = *same ? w->token.n : (x->n > w->token.n ? x->n : w->token.n) + 1;
	if (x->next >= SR_TOKEN_NUMBERS)
		x->next = SR_TOKEN_NUMBERS - 1;
	x->silent = !known && !*same;
	return x->silent && is_alive(d, w) ? refuse(w, x->peer, x->addr, err) : SR_OK;
}

/* With face held. */
static void take(struct sr_datastore *d, const struct exchange *x)
{
	struct sr_ds_webserver *w = sr_ds_webserver(d, &x->webserver);

	if (!w) /* its place, which was nobody's yet, was taken by the last one that there is room for */
		return;
	free(w->token.addr);
	free(w->token_peer);
	sr_ds_forget_clones(w);
	w->token = (struct sr_token_row){
		.webserver = x->webserver, .token = x->new, .n = x->next, .interval = x->interval, .addr = sr_strdup(x->addr)};
	w->token_peer = sr_strdup(x->peer);
	w->token_ticks = sr_ticks_ms();
}

static enum sr_status keep(struct sr_datastore *d, const struct exchange *x, struct sr_err *err)
{
	struct sr_token_row row = {.webserver = x->webserver, .token = x->new, .n = x->next, .interval = x->interval, .addr = (char *)(uintptr_t)x->addr};
	enum sr_status rc = sr_state_begin(d->r->state, err);

	if (rc != SR_OK)
		return rc;
	rc = sr_state_token_put(d->r->state, &row, err);
	if (rc == SR_OK && x->silent)
		rc = sr_ds_cancel_pushes(d, &x->webserver, err);
	if (rc == SR_OK)
		return sr_state_commit(d->r->state, err);
	sr_state_rollback(d->r->state);
	return rc;
}

static enum sr_status exchange(struct sr_datastore *d, struct exchange *x, struct sr_err *err)
{
	bool same = false;
	enum sr_status rc;

	pthread_mutex_lock(&d->writer);
	pthread_mutex_lock(&d->face);
	rc = judge(d, x, &same, err);
	pthread_mutex_unlock(&d->face);
	if (rc == SR_OK && !same)
		rc = keep(d, x, err);
	pthread_mutex_lock(&d->face);
	if (rc == SR_OK)
		take(d, x);
	pthread_mutex_unlock(&d->face);
	if (rc == SR_OK) /* who shows the one of before is not it any more */
		sr_ds_wake(d);
	pthread_mutex_unlock(&d->writer);
	return rc;
}

static bool take_number(const json_t *o, const char *name, uint64_t *out)
{
	const json_t *v = json_object_get(o, name);

	*out = json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : UINT64_MAX;
	return *out != UINT64_MAX;
}

static bool take_uuid(const json_t *o, const char *name, bool needed, struct sr_uuid *out)
{
	const json_t *v = json_object_get(o, name);

	if (!needed && (!v || json_is_null(v)))
		return true;
	return json_is_string(v) && sr_ds_parse_uuid(json_string_value(v), out) && !sr_uuid_none(out);
}

static enum sr_status parse(const json_t *o, struct exchange *x, struct sr_err *err)
{
	x->addr = json_string_value(json_object_get(o, "addr"));
	if (!x->addr || strlen(x->addr) > 1000 || !take_uuid(o, "old", false, &x->old) || !take_uuid(o, "new", true, &x->new) ||
	    !take_number(o, "n", &x->n) || !take_number(o, "interval", &x->interval) || x->n >= SR_TOKEN_NUMBERS)
		return sr_err_set(err, SR_E_DATA, "a token is {\"old\": UUID or null, \"n\": N, \"new\": UUID, \"addr\": TEXT, \"interval\": N}");
	if (x->interval > MOST_SECONDS)
		x->interval = MOST_SECONDS;
	return SR_OK;
}

/* It asks for a token first, and comes no further while this datastore is not ready: so its check-in comes with it. */
static enum sr_status not_ready(struct sr_datastore *d, struct sr_request *req, const char *why, struct sr_err *err)
{
	const char *text = sr_request_header(req, SR_HEADER_CHECK_IN);
	struct sr_check_in c;
	enum sr_status rc = text ? sr_check_in_parse(text, &c, err) : SR_OK;

	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&d->face);
	if (text)
		sr_ds_note_early(d, &c);
	pthread_mutex_unlock(&d->face);
	return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
}

enum sr_status sr_ds_token_tell(struct sr_datastore *d, const struct sr_uuid *webserver, struct sr_bytes json, const char *peer, uint64_t *next,
				struct sr_err *err)
{
	struct exchange x = {.peer = peer, .webserver = *webserver};
	json_t *o = json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES, NULL);
	enum sr_status rc = o ? parse(o, &x, err) : sr_err_set(err, SR_E_DATA, "the body is not JSON");

	if (rc == SR_OK)
		rc = exchange(d, &x, err);
	if (rc == SR_OK)
		*next = x.next;
	json_decref(o);
	return rc;
}

enum sr_status sr_ds_token_put(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	struct sr_buf body = {0};
	struct sr_uuid webserver;
	uint64_t next = 0;
	char why[256];
	enum sr_status rc = sr_ds_protocol_check(d, req, err);

	if (rc == SR_OK)
		rc = sr_request_read_all(req, &body, MOST_BODY, err);
	if (rc == SR_OK)
		rc = sr_ds_webserver_uuid(d, sr_request_arg_text(req, 0), &webserver, err);
	if (rc == SR_OK && !sr_datastore_ready(d, why))
		rc = not_ready(d, req, why, err);
	if (rc == SR_OK)
		rc = sr_ds_token_tell(d, &webserver, sr_buf_view(&body), sr_request_peer(req), &next, err);
	if (rc == SR_E_FULL)
		sr_ds_note_full(d, err->text);
	if (rc == SR_OK)
		sr_ds_reply_json(req, 200, json_pack("{sI}", "n", (json_int_t)next));
	sr_buf_free(&body);
	return rc;
}
