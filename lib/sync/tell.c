/* tell.c - what waits for the operator on this webserver, and telling the datastore's registry: who this webserver is, and how.
 *
 * The registry is told when what it would be told is not what it was told last, or that was a day ago - it may have forgotten who was away for longer -,
 * or the datastore has started anew; so a quiet round stays one request.  A round that is held tells it, too: it is at the datastore that most operators look. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/node/balance.h"
#include "lib/replica/waiting.h"
#include "lib/sync/internal.h"

#define TELL_AGAIN_MS INT64_C(86400000)

/* --- what waits ----------------------------------------------------------------------------------------------------------- */

/* A datastore that does not answer is no decision of anybody's: it is waited for. */
static bool round_is_held(const struct sr_sync *s)
{
	return s->trouble[0] && s->trouble_code != SR_E_UNAVAILABLE && s->trouble_code != SR_E_BUSY;
}

static void add_skipped(json_t *waiting, const char *store, uint64_t n, const char *why, int64_t since_ms)
{
	char *text = sr_format("%llu item%s left alone: %s", (unsigned long long)n, n == 1 ? " that differs is" : "s that differ are",
			       why ? why : "it does not say why");

	sr_waiting_pause(waiting, SR_ROLE_WEBSERVER, store, text, since_ms);
	free(text);
}

static void add_store(json_t *waiting, const struct sr_sync *s, size_t i)
{
	const struct sr_replica_store *st = &s->r->stores[i];
	const struct sr_store_plan *p = &s->plans[i];
	struct sr_buf text = {0};
	json_t *held;

	sr_ledger_report(s->ledger, st->name, &text);
	held = json_loadb((const char *)text.at, text.len, 0, NULL);
	sr_waiting_deletions(waiting, st->name, held);
	json_decref(held);
	sr_buf_free(&text);
	if (st->mode == SR_MODE_PAUSED)
		sr_waiting_pause(waiting, SR_ROLE_WEBSERVER, st->name, st->why, st->since_ms);
	if (p->failed)
		sr_waiting_pause(waiting, SR_ROLE_WEBSERVER, st->name, p->trouble, p->failed_ms);
	if (p->skipped > p->skipped_held)
		add_skipped(waiting, st->name, p->skipped - p->skipped_held, p->first_skip, p->skipped_ms);
}

json_t *sr_sync_waiting(const struct sr_sync *s)
{
	json_t *o = sr_waiting_new();
	struct sr_archive_usage u;
	const struct sr_tree_store *stranger;

	if (round_is_held(s))
		sr_waiting_hold(o, SR_ROLE_WEBSERVER, "round", s->trouble, s->trouble_since_ms);
	for (size_t i = 0; s->r->keyed && i < s->r->n; i++)
		add_store(o, s, i);
	for (size_t k = 0; (stranger = sr_sync_stranger(s, &k));)
		sr_waiting_pause(o, SR_ROLE_WEBSERVER, stranger->name, SR_STRANGER, 0);
	sr_archive_usage(s->r->archive, &u);
	json_object_set_new(o, "conflicts", json_pack("{sIsI}", "entries", (json_int_t)u.entries, "bytes", (json_int_t)u.bytes));
	return o;
}

/* --- the registry ----------------------------------------------------------------------------------------------------------- */

/* Where the datastore's history left ours can be told by the starts of it that were met. */
static json_t *starts_json(const struct sr_sync *s)
{
	json_t *list = json_array();
	char text[SR_UUID_TEXT];

	for (size_t k = 0; k < s->starts_n; k++) {
		sr_uuid_text(text, &s->starts[k]);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

/* OWNED BY CALLER. */
static char *print_self(struct sr_sync *s)
{
	const struct sr_config *c = s->config;
	json_t *o = json_object(), *status = sr_sync_waiting(s);
	char *text;

	json_object_set_new(o, "name", json_string(c->external.host ? c->external.host : ""));
	json_object_set_new(o, "external_addr", json_string(c->external.text ? c->external.text : ""));
	json_object_set_new(o, "sync_port", json_integer(s->port));
	if (s->port) /* else there is no server, and nothing is known of its key */
		json_object_set_new(o, "pin", s->pin[0] ? json_string(s->pin) : json_null());
	json_object_set_new(o, "version", json_string(s->version));
	json_object_set_new(o, "interval", json_integer((json_int_t)s->exclusions->update_interval));
	if (s->have_info && s->info.history >= SR_HISTORY_AHEAD)
		json_object_set_new(o, "starts", starts_json(s));
	if (sr_lag_since(&s->lag))
		json_object_set_new(status, "behind_since_ms", json_integer((json_int_t)sr_lag_since(&s->lag)));
	if (s->balance)
		json_object_set_new(status, "balancer", sr_balance_report(s->balance));
	sr_waiting_fit(status, SR_STATUS_MOST);
	json_object_set_new(o, "status", status);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static bool is_told(const struct sr_sync *s, const char *text)
{
	return s->told && !strcmp(s->told, text) && !memcmp(&s->told_to, &s->info.start, sizeof s->told_to) && sr_now_ms() - s->told_ms < TELL_AGAIN_MS;
}

enum sr_status sr_sync_tell(struct sr_sync *s, struct sr_err *err)
{
	char node[SR_UUID_TEXT], *target, *text = print_self(s);
	struct sr_answer answer = {0};
	struct sr_call call = {.method = "PUT", .body = sr_bytes_of(text)};
	enum sr_status rc;

	if (is_told(s, text)) {
		free(text);
		return SR_OK;
	}
	sr_uuid_text(node, &s->r->node);
	target = sr_format("/api/webservers/%s", node);
	call.target = target;
	rc = sr_client_call(s->client, &call, &answer, err);
	free(s->told);
	s->told = rc == SR_OK ? text : NULL;
	s->told_to = s->info.start;
	s->told_ms = sr_now_ms();
	if (rc != SR_OK)
		free(text);
	sr_answer_free(&answer);
	free(target);
	return rc;
}
