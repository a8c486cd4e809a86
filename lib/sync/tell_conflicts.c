/* tell_conflicts.c - telling the datastore what lies in the conflict archive here: of each entry what a list shows, never its content.
 *
 * What is told is what came and what went since the last time, under a name of our own that the datastore repeats by keeping it: where it knows
 * another, or none, all is told anew.  The newest SR_CONFLICTS_TOLD are told, and how many there are.  It is for people: that it could not be told
 * fails no round, and is tried again at the next. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/replica/report.h"
#include "lib/sync/internal.h"

#define BATCH 2000 /* entries that come in one request */

struct telling {
	struct sr_sync *s;
	struct sr_archive_usage usage;
	struct sr_archive_ids now;
	size_t from;  /* now.id[from] is the first that is told */
	size_t old, new; /* how far both lists have been compared */
};

static json_t *token_json(const struct sr_told_conflicts *told)
{
	char text[SR_UUID_TEXT];

	sr_uuid_text(text, &told->token);
	return sr_uuid_none(&told->token) ? json_null() : json_string(text);
}

static enum sr_status add_entry(void *ctx, const struct sr_archived *e, struct sr_err *err)
{
	(void)err;
	json_array_append_new(ctx, sr_report_conflict(e));
	return SR_OK;
}

/* The next of both lists, until enough has come. */
static enum sr_status compare(struct telling *t, json_t *added, json_t *removed, struct sr_err *err)
{
	const struct sr_archive_ids *old = &t->s->told_conflicts.ids;
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && json_array_size(added) + json_array_size(removed) < BATCH && (t->old < old->n || t->new < t->now.n)) {
		int order = t->old == old->n ? 1 : t->new == t->now.n ? -1 : strcmp(old->id[t->old], t->now.id[t->new]);

		if (order > 0)
			rc = sr_archive_one(t->s->r->archive, t->now.id[t->new], add_entry, added, err);
		else if (order < 0)
			json_array_append_new(removed, json_string(old->id[t->old]));
		t->old += order <= 0;
		t->new += order >= 0;
		if (rc == SR_E_NOTFOUND || rc == SR_E_DATA) /* it went meanwhile, or is no good: a list shows it no more than this */
			rc = SR_OK;
	}
	return rc;
}

static enum sr_status put(struct telling *t, json_t *added, json_t *removed, struct sr_err *err)
{
	struct sr_told_conflicts *told = &t->s->told_conflicts;
	struct sr_uuid token = sr_uuid_random();
	char node[SR_UUID_TEXT], next[SR_UUID_TEXT], *target, *text;
	struct sr_answer answer = {0};
	struct sr_call call = {.method = "PUT"};
	json_t *o = json_object();
	enum sr_status rc;

	sr_uuid_text(node, &t->s->r->node);
	sr_uuid_text(next, &token);
	json_object_set_new(o, "base", token_json(told));
	json_object_set_new(o, "token", json_string(next));
	json_object_set_new(o, "total", json_integer((json_int_t)t->usage.entries));
	json_object_set_new(o, "bytes", json_integer((json_int_t)t->usage.bytes));
	json_object_set(o, "added", added);
	json_object_set(o, "removed", removed);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	target = sr_format("/api/webservers/%s/conflicts", node);
	call.target = target;
	call.body = sr_bytes_of(text);
	rc = sr_client_call(t->s->client, &call, &answer, err);
	if (rc == SR_OK)
		told->token = token;
	sr_answer_free(&answer);
	free(target);
	free(text);
	return rc;
}

static void forget(struct sr_told_conflicts *told)
{
	sr_archive_ids_free(&told->ids);
	*told = (struct sr_told_conflicts){0};
}

/* The first request goes out even with nothing in it: it asks whether the datastore still knows the last one. */
static enum sr_status tell(struct telling *t, struct sr_err *err)
{
	enum sr_status rc;

	do {
		json_t *added = json_array(), *removed = json_array();

		rc = compare(t, added, removed, err);
		if (rc == SR_OK)
			rc = put(t, added, removed, err);
		json_decref(added);
		json_decref(removed);
	} while (rc == SR_OK && (t->old < t->s->told_conflicts.ids.n || t->new < t->now.n));
	return rc;
}

static enum sr_status tell_all(struct telling *t, struct sr_err *err)
{
	struct sr_told_conflicts *told = &t->s->told_conflicts;
	enum sr_status rc;

	for (int tries = 0;; tries++) {
		t->old = 0;
		t->new = t->from;
		rc = tell(t, err);
		if (rc == SR_OK || tries)
			break;
		forget(told); /* it knows another one, or a part of this */
		if (rc != SR_E_CONFLICT)
			break;
	}
	if (rc != SR_OK) {
		forget(told);
		return rc;
	}
	sr_archive_ids_free(&told->ids);
	for (size_t k = t->from; k < t->now.n; k++)
		sr_archive_ids_add(&told->ids, t->now.id[k]);
	told->is = true;
	told->generation = t->usage.generation;
	told->to = t->s->info.start;
	return SR_OK;
}

void sr_sync_tell_conflicts(struct sr_sync *s)
{
	struct sr_told_conflicts *told = &s->told_conflicts;
	struct telling t = {.s = s};
	struct sr_err err;
	enum sr_status rc;

	sr_archive_usage(s->r->archive, &t.usage);
	if (told->is && told->generation == t.usage.generation && !memcmp(&told->to, &s->info.start, sizeof told->to))
		return;
	rc = sr_archive_ids(s->r->archive, &t.now, &err);
	if (rc == SR_OK) {
		t.from = t.now.n > SR_CONFLICTS_TOLD ? t.now.n - SR_CONFLICTS_TOLD : 0;
		rc = tell_all(&t, &err);
	}
	if (rc != SR_OK)
		sr_debug("the datastore was not told of the conflict archive: %s", err.text);
	sr_archive_ids_free(&t.now);
}
