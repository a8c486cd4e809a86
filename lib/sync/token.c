/* token.c - who this webserver is: each start exchanges the token of the one before for a new one, at the datastore, which so tells it from a
 * copy of this machine (lib/datastore/clones.c).
 *
 * In state.db's meta: `token`, what the datastore is known to have, with its number; `token-next`, what it was asked to take.  The next one is on
 * disk before it is asked, and stays until the answer is there: whatever crashes, it is asked for the same again.  A start that finds the
 * exchange of an earlier one open ends that first, and then makes its own: else two copies that were made in between would share it.
 *
 * A datastore without room cannot keep the next one.  Then the webserver checks in as who it is there as yet, and takes what is new, but pushes nothing
 * before the exchange: who shows an older token than the one that counts does not get past the check-in.  A copy that was made since the last
 * exchange gets no more by it than with room, where it would take the place of the other one. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

#define META_TOKEN "token"      /* 16 bytes, be64 number */
#define META_NEXT  "token-next" /* 16 bytes */
#define META_NEW   "new-uuid"   /* is there: this machine shall have an identity of its own */

/* --- what is remembered ---------------------------------------------------------------------------------------------------- */

enum sr_status sr_sync_token_load(struct sr_sync *s, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found = false;
	enum sr_status rc = sr_state_get(s->r->state, META_TOKEN, &buf, &found, err);

	if (rc == SR_OK && found && buf.len == 24) {
		struct sr_reader in = sr_reader(sr_buf_view(&buf));

		memcpy(s->token.b, sr_read_bytes(&in, 16).at, 16);
		s->token_n = sr_read_be64(&in);
		if (s->token_n >= SR_TOKEN_NUMBERS) /* it is none; the token itself is what counts */
			s->token_n = 0;
	}
	if (rc == SR_OK)
		rc = sr_state_get(s->r->state, META_NEXT, &buf, &found, err);
	if (rc == SR_OK && found && buf.len == 16)
		memcpy(s->token_next.b, buf.at, 16);
	sr_buf_free(&buf);
	return rc;
}

static enum sr_status keep_next(struct sr_sync *s, struct sr_err *err)
{
	struct sr_uuid next = sr_uuid_random();
	enum sr_status rc = sr_state_put(s->r->state, META_NEXT, sr_bytes(next.b, sizeof next.b), err);

	if (rc == SR_OK) {
		s->token_next = next;
		s->token_fresh = true;
	}
	return rc;
}

static enum sr_status keep_token(struct sr_sync *s, uint64_t n, struct sr_err *err)
{
	struct sr_buf buf = {0};
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	sr_buf_add(&buf, s->token_next.b, 16);
	sr_buf_be64(&buf, n);
	rc = sr_state_put(s->r->state, META_TOKEN, sr_buf_view(&buf), err);
	if (rc == SR_OK)
		rc = sr_state_drop(s->r->state, META_NEXT, err);
	if (rc == SR_OK)
		rc = sr_state_commit(s->r->state, err);
	else
		sr_state_rollback(s->r->state);
	if (rc == SR_OK) {
		s->token = s->token_next;
		s->token_n = n;
		s->token_next = (struct sr_uuid){0};
	}
	sr_buf_free(&buf);
	return rc;
}

/* --- the exchange ------------------------------------------------------------------------------------------------------------ */

static json_t *uuid_json(const struct sr_uuid *u)
{
	char text[SR_UUID_TEXT];

	sr_uuid_text(text, u);
	return sr_uuid_none(u) ? json_null() : json_string(text);
}

static enum sr_status take_number(const struct sr_answer *answer, uint64_t *n, struct sr_err *err)
{
	json_t *said = json_loadb((const char *)answer->body.at, answer->body.len, 0, NULL);
	const json_t *number = json_object_get(said, "n");

	*n = json_is_integer(number) && json_integer_value(number) > 0 ? (uint64_t)json_integer_value(number) : SR_TOKEN_NUMBERS;
	json_decref(said);
	return *n < SR_TOKEN_NUMBERS ? SR_OK : sr_err_set(err, SR_E_DATA, "the datastore's answer has no number that a token can have");
}

static enum sr_status ask(struct sr_sync *s, uint64_t *n, struct sr_err *err)
{
	char node[SR_UUID_TEXT], *target, *text;
	struct sr_buf check = {0}; /* a datastore that waits for the operator's word shows them who asks */
	struct sr_buf speaks = {0};
	const char *headers[3] = {0};
	struct sr_answer answer = {0};
	struct sr_call call = {.method = "PUT", .headers = headers};
	json_t *o = json_object();
	enum sr_status rc;

	sr_sync_check_in_header(s, &check);
	headers[0] = sr_buf_text(&check);
	sr_protocol_header(&speaks, s->version);
	headers[1] = sr_buf_text(&speaks);

	sr_uuid_text(node, &s->r->node);
	target = sr_format("/api/webservers/%s/token", node);
	json_object_set_new(o, "old", uuid_json(&s->token));
	json_object_set_new(o, "n", json_integer((json_int_t)s->token_n));
	json_object_set_new(o, "new", uuid_json(&s->token_next));
	json_object_set_new(o, "addr", json_string(s->config->external.text ? s->config->external.text : ""));
	json_object_set_new(o, "interval", json_integer((json_int_t)s->config->update_interval));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	call.target = target;
	call.body = sr_bytes_of(text);
	rc = sr_client_call(s->client, &call, &answer, err);
	if (rc == SR_OK)
		rc = take_number(&answer, n, err);
	sr_answer_free(&answer);
	sr_buf_free(&check);
	sr_buf_free(&speaks);
	free(target);
	free(text);
	return rc;
}

static enum sr_status exchange(struct sr_sync *s, struct sr_err *err)
{
	uint64_t n = 0;
	enum sr_status rc = sr_uuid_none(&s->token_next) ? keep_next(s, err) : SR_OK;

	if (rc == SR_OK) {
		rc = ask(s, &n, err);
		s->no_room_there = rc == SR_E_FULL;
		if (s->no_room_there)
			snprintf(s->no_room, sizeof s->no_room, "%.300s", err->text);
	}
	return rc == SR_OK ? keep_token(s, n, err) : rc;
}

enum sr_status sr_sync_token_exchange(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	s->no_room_there = false;
	while (rc == SR_OK && !s->token_exchanged) {
		rc = exchange(s, err);
		s->token_exchanged = rc == SR_OK && s->token_fresh;
	}
	return rc == SR_OK ? rc : sr_err_context(err, "check-in");
}

enum sr_status sr_sync_may_push(struct sr_sync *s, struct sr_err *err)
{
	if (!s->no_room_there)
		return SR_OK;
	return sr_err_set(err, SR_E_FULL, "only what is new at the datastore is taken, until it can take this webserver's check-in: %s", s->no_room);
}

enum sr_status sr_sync_token_again(struct sr_sync *s, struct sr_err *err)
{
	s->token_exchanged = false;
	return sr_sync_token_exchange(s, err);
}

/* --- an identity of its own ------------------------------------------------------------------------------------------------------ */

enum sr_status sr_new_uuid_put(struct sr_state *state, struct sr_err *err)
{
	return sr_state_put_u64(state, META_NEW, 1, err);
}

/* What it agreed on with the datastore, and what it was about to push, is as true of a copy as of the other one: hints, which tell its edits.  But
 * what is missing in a copy may be what was not copied, so that it deletes nothing.  Bases go first: a crash in the middle begins anew. */
static enum sr_status renew(struct sr_sync *s, struct sr_err *err)
{
	struct sr_uuid none = {0};
	enum sr_status rc = sr_sync_forget_bases(s, true, err);

	if (rc == SR_OK)
		rc = sr_state_outbox_give_up(s->r->state, err);
	if (rc == SR_OK)
		rc = sr_state_begin(s->r->state, err);
	if (rc != SR_OK)
		return rc;
	rc = sr_replica_renew(s->r, err);
	if (rc == SR_OK)
		rc = sr_sync_set_last_push(s, &none, err);
	for (const char *const *name = (const char *const[]){META_TOKEN, META_NEXT, META_NEW, NULL}; rc == SR_OK && *name; name++)
		rc = sr_state_drop(s->r->state, *name, err);
	if (rc == SR_OK)
		return sr_state_commit(s->r->state, err);
	sr_state_rollback(s->r->state);
	return rc;
}

enum sr_status sr_sync_renew(struct sr_sync *s, struct sr_err *err)
{
	char node[SR_UUID_TEXT];
	uint64_t wanted = 0;
	bool found = false;
	enum sr_status rc = sr_state_get_u64(s->r->state, META_NEW, &wanted, &found, err);

	if (rc != SR_OK || !found)
		return rc;
	rc = renew(s, err);
	if (rc != SR_OK)
		return rc;
	s->token = s->token_next = (struct sr_uuid){0};
	s->token_n = 0;
	s->token_exchanged = s->token_fresh = false;
	free(s->told);
	s->told = NULL;
	sr_uuid_text(node, &s->r->node);
	sr_warn("this webserver has an identity of its own now: %s; what it and the datastore have is united, nothing is deleted", node);
	return SR_OK;
}

enum sr_status sr_sync_new_uuid(struct sr_sync *s, struct sr_err *err)
{
	enum sr_status rc = sr_new_uuid_put(s->r->state, err);

	return rc == SR_OK ? sr_sync_renew(s, err) : rc;
}
