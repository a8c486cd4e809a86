/* upload.c - the large files of a push, before the push: each under its hash, from where the datastore's part of it ends.
 *
 * Of one of which the datastore has an older version only what is new goes (upload_delta.c); if that does not work out, it goes whole.  What it has
 * at another path does not go, unless that takes so long to copy that a request should not wait for it: then it goes as a delta of that.
 *
 * Nothing is promised by it: the push that follows names them, and the datastore hashes what it has then.  A file that cannot be sent now
 * is left out of the push, whose other leaves do not wait for it. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/sync/internal.h"

#define COPIED_MOST (8ull << 30) /* bytes, at the datastore while the push waits */

struct sending {
	struct sr_sync *s;
	size_t i; /* the store */
	struct sr_view *view;
	const char *left_out; /* why this file is, or NULL */
	bool changed;         /* some file is not what was planned any more */

	int fd; /* of the file in hand */
	struct stat before;
	uint64_t at;
};

bool sr_sync_uploads(const struct sr_leaf *leaf)
{
	return leaf->to.kind == SR_KIND_FILE && leaf->to.bytes >= SR_PART_MIN;
}

struct sr_bytes sr_sync_is_elsewhere(const struct sr_store_plan *p, const struct sr_leaf *leaf)
{
	return leaf->to.bytes <= COPIED_MOST ? sr_elsewhere_path(p->elsewhere, &leaf->to) : sr_bytes(NULL, 0);
}

/* The content stands at its path there: only its mode changes. */
static bool is_there(const struct sr_leaf *leaf)
{
	return leaf->expect.kind == SR_KIND_FILE && sr_hash_eq(&leaf->expect.hash, &leaf->to.hash) && !(leaf->flags & SR_LEAF_EDITED);
}

/* --- one file ------------------------------------------------------------------------------------------------------------ */

static enum sr_status has_changed(struct sending *u, struct sr_err *err)
{
	u->left_out = "it changes just now";
	u->changed = true;
	return sr_err_set(err, SR_E_CHANGED, "the file changes while it is sent");
}

static bool moved(const struct sending *u)
{
	struct stat now;

	return fstat(u->fd, &now) || now.st_size != u->before.st_size || now.st_mtim.tv_sec != u->before.st_mtim.tv_sec ||
	       now.st_mtim.tv_nsec != u->before.st_mtim.tv_nsec || now.st_ctim.tv_sec != u->before.st_ctim.tv_sec ||
	       now.st_ctim.tv_nsec != u->before.st_ctim.tv_nsec;
}

static enum sr_status read_file(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct sending *u = ctx;
	ssize_t have;

	do
		have = pread(u->fd, at, n, (off_t)u->at);
	while (have < 0 && errno == EINTR);
	if (have < 0)
		return sr_err_sys(err, SR_E_IO, "upload: read");
	if (moved(u) || (!have && u->at < (uint64_t)u->before.st_size))
		return has_changed(u, err);
	u->at += (uint64_t)have;
	*got = (size_t)have;
	sr_progress_add(&u->s->progress, 0, *got);
	return SR_OK;
}

static enum sr_status parse_have(struct sr_bytes body, uint64_t *out, struct sr_err *err)
{
	json_t *o = json_loadb((const char *)body.at, body.len, 0, NULL), *have = json_object_get(o, "have");
	bool ok = json_is_integer(have) && json_integer_value(have) >= 0;

	if (ok)
		*out = (uint64_t)json_integer_value(have);
	json_decref(o);
	return ok ? SR_OK : sr_err_set(err, SR_E_DATA, "upload: the datastore does not say how much it has");
}

/* "/api/upload/HASH?store=NAME..."; OWNED BY CALLER. */
static char *target(const struct sending *u, const struct sr_leaf *leaf, const char *rest)
{
	struct sr_buf store = {0};
	char hash[SR_HASH_TEXT], *out;

	sr_hash_text(hash, &leaf->to.hash);
	sr_percent(&store, sr_bytes_of(u->s->r->stores[u->i].name), "");
	out = sr_format("/api/upload/%s?store=%s%s", hash, sr_buf_text(&store), rest);
	sr_buf_free(&store);
	return out;
}

/* How much of it is there. */
static enum sr_status ask(struct sending *u, const struct sr_leaf *leaf, int *http, struct sr_err *err)
{
	uint64_t have = 0;
	char *to = target(u, leaf, "");
	struct sr_call call = {.target = to, .quiet_s = 300};
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(u->s->client, &call, &answer, err);

	*http = answer.status;
	if (rc == SR_OK)
		rc = parse_have(sr_buf_view(&answer.body), &have, err);
	u->at = have <= leaf->to.bytes ? have : 0;
	sr_answer_free(&answer);
	free(to);
	return rc;
}

static enum sr_status put(struct sending *u, const struct sr_leaf *leaf, int *http, struct sr_err *err)
{
	char *rest = sr_format("&size=%" PRIu64 "&offset=%" PRIu64, leaf->to.bytes, u->at), *to = target(u, leaf, rest);
	struct sr_call call = {.method = "PUT",
			       .target = to,
			       .read = read_file,
			       .read_ctx = u,
			       .length = (int64_t)(leaf->to.bytes - u->at),
			       .quiet_s = 300};
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(u->s->client, &call, &answer, err);

	*http = answer.status;
	sr_answer_free(&answer);
	free(to);
	free(rest);
	return rc;
}

/* *done: all of it is there, or it is not to be sent.  Else what the delta was good for is there. */
static enum sr_status put_delta(struct sending *u, const struct sr_leaf *leaf, int *http, bool *done, struct sr_err *err)
{
	struct sr_bytes from = sr_elsewhere_path(u->s->plans[u->i].elsewhere, &leaf->to);
	struct sr_upload_delta d = {.s = u->s,
				    .i = u->i,
				    .leaf = leaf,
				    .old = from.len ? &leaf->to : &leaf->expect,
				    .old_path = from.len ? from : leaf->path,
				    .read = read_file,
				    .ctx = u,
				    .fd = u->fd,
				    .at = &u->at};
	enum sr_status rc;

	*done = false;
	if (d.old->kind != SR_KIND_FILE)
		return SR_OK;
	rc = sr_sync_upload_delta(&d, http, err);
	*done = rc == SR_OK || u->left_out || rc == SR_E_UNAVAILABLE || rc == SR_E_AUTH || rc == SR_E_FULL || *http == 409;
	return *done ? rc : ask(u, leaf, http, err);
}

/* What concerns this file alone leaves it out; anything else ends the round. */
static enum sr_status judge(struct sending *u, enum sr_status rc, int http, struct sr_err *err)
{
	if (rc == SR_OK || u->left_out)
		return SR_OK;
	if (rc == SR_E_UNAVAILABLE || rc == SR_E_AUTH)
		return rc;
	if (http == 409) {
		u->left_out = "another webserver is sending the same content";
		return SR_OK;
	}
	u->left_out = "the datastore did not take it";
	(void)sr_err_context(err, "store %s", u->s->r->stores[u->i].name);
	sr_sync_trouble(u->s, u->i, err);
	return SR_OK;
}

static enum sr_status send_open(struct sending *u, const struct sr_leaf *leaf, struct sr_err *err)
{
	bool done = false;
	int http = 0;
	enum sr_status rc = SR_OK;

	if (fstat(u->fd, &u->before) || (uint64_t)u->before.st_size != leaf->to.bytes) {
		(void)has_changed(u, err);
		return SR_OK;
	}
	if (is_there(leaf) || sr_sync_is_elsewhere(&u->s->plans[u->i], leaf).len) {
		sr_progress_add(&u->s->progress, 0, leaf->to.bytes);
		return SR_OK;
	}
	rc = ask(u, leaf, &http, err);
	if (rc == SR_OK)
		sr_progress_add(&u->s->progress, 0, u->at);
	if (rc == SR_OK && u->at < leaf->to.bytes)
		rc = put_delta(u, leaf, &http, &done, err);
	if (rc == SR_OK && !done && u->at < leaf->to.bytes)
		rc = put(u, leaf, &http, err);
	return judge(u, rc, http, err);
}

static enum sr_status send_file(struct sending *u, struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	enum sr_status rc;

	u->left_out = NULL;
	if (sr_view_read(u->view, leaf->path, &content, err) != SR_OK || content.fd < 0) { /* gone since the plan */
		(void)has_changed(u, err);
		return SR_OK;
	}
	leaf->mtime_ns = content.mtime_ns;
	u->fd = content.fd;
	rc = send_open(u, leaf, err);
	close(content.fd);
	return rc;
}

/* --- a store's ----------------------------------------------------------------------------------------------------------- */

static bool any_large(struct sr_leaves *push)
{
	struct sr_leaf leaf;

	for (size_t k = 0; k < sr_leaves_count(push); k++)
		if (sr_leaves_at(push, k, &leaf, NULL) == SR_OK && sr_sync_uploads(&leaf))
			return true;
	return false;
}

/* What can go into the push, large files with the time that goes along. */
static enum sr_status send_store(struct sending *u, struct sr_leaves *ready, struct sr_err *err)
{
	struct sr_store_plan *p = &u->s->plans[u->i];
	struct sr_leaf leaf;
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(p->push); k++) {
		rc = sr_leaves_at(p->push, k, &leaf, err);
		u->left_out = NULL;
		if (rc == SR_OK && sr_sync_uploads(&leaf))
			rc = send_file(u, &leaf, err);
		if (rc == SR_OK && !u->left_out)
			rc = sr_leaves_add(ready, &leaf, err);
		else if (rc == SR_OK)
			p->first_skip = p->skipped++ ? p->first_skip : u->left_out;
	}
	return rc;
}

enum sr_status sr_sync_upload(struct sr_sync *s, bool *changed, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	*changed = false;
	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++) {
		struct sending u = {.s = s, .i = i};
		struct sr_store_plan *p = &s->plans[i];
		struct sr_leaves *ready;

		if (!p->push || s->r->stores[i].kind != SR_KIND_FILES || !any_large(p->push))
			continue;
		ready = sr_leaves_new(sr_state_dir(s->r->state));
		rc = sr_view_open(&u.view, s->r->stores[i].store, SR_VIEW_MAIN, err);
		if (rc == SR_OK)
			rc = send_store(&u, ready, err);
		sr_view_close(u.view);
		*changed |= u.changed;
		if (rc == SR_OK) {
			sr_leaves_free(p->push);
			p->push = ready;
		} else {
			sr_leaves_free(ready);
		}
	}
	return rc;
}
