/* rekey.c - the datastore has another tree key: all hashes are meaningless, but what was edited here since the last agreement is still known.
 *
 * Before the old key goes every store is scanned by it once more.  A leaf that is as it was agreed on is hashed by the new key in the same
 * view: that is its hint from now on.  Of one that was edited the hint keeps its old hash, to which nothing is equal any more, and it is as
 * of now: in the union that follows it stands against what the datastore has from copies and other webservers, but not against what is
 * pushed to it.  So it is with one that was deleted here and is made anew before the union, and with one that is new here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/sync/internal.h"

#define CHUNK 65536

struct carrying {
	struct sr_sync *s;
	size_t i;
	struct sr_hasher *was, *will; /* by the old key, by the new one */
	const struct sr_tree_key *key;
	struct sr_leaves *hints; /* path, to: the hint; epoch, seq */
};

/* Both hashes of what the file holds; false: it cannot be read. */
static bool hash_file(struct carrying *c, int fd, struct sr_hash *was, struct sr_hash *will)
{
	uint8_t at[CHUNK];
	ssize_t n;

	sr_hasher_reset(c->was);
	sr_hasher_reset(c->will);
	while ((n = read(fd, at, sizeof at)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		sr_hasher_add(c->was, at, (size_t)n);
		sr_hasher_add(c->will, at, (size_t)n);
	}
	sr_hasher_get(c->was, was);
	sr_hasher_get(c->will, will);
	return n == 0;
}

/* version, which is here, by the new key; false: it is not here any more. */
static bool translate(struct carrying *c, struct sr_bytes path, struct sr_version *version)
{
	struct sr_content content = {.fd = -1};
	struct sr_hash old = version->hash, was;
	bool same;

	if (sr_view_read(c->s->r->stores[c->i].view, path, &content, NULL) != SR_OK)
		return false;
	if (version->kind == SR_KIND_ROW) {
		sr_hash_of(&version->hash, c->key, content.record);
		return true; /* the view is the one that was scanned */
	}
	same = content.fd >= 0 && hash_file(c, content.fd, &was, &version->hash) && sr_hash_eq(&was, &old);
	if (content.fd >= 0)
		close(content.fd);
	return same;
}

static bool is_leaf(const struct sr_version *v)
{
	return v->kind == SR_KIND_ROW || v->kind == SR_KIND_FILE;
}

static enum sr_status carry(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct carrying *c = ctx;
	struct sr_leaf hint = {.path = row->path, .to = row->base, .epoch = row->epoch, .seq = row->seq};
	bool here = is_leaf(&row->local), gone = row->local.kind == SR_KIND_NONE && is_leaf(&row->base);

	if (row->base_state == SR_BASE_UNKNOWN || sr_path_is_bag(row->path) || (!here && !gone))
		return SR_OK;
	if (gone || !sr_version_eq(&row->local, &row->base) || !translate(c, row->path, &hint.to)) {
		hint.to = row->base;
		hint.epoch = c->s->info.at.epoch;
		hint.seq = c->s->info.at.seq;
	}
	return sr_leaves_add(c->hints, &hint, err);
}

/* NULL: nothing can be said of this store. */
static struct sr_leaves *hints_of(struct sr_sync *s, size_t i, const struct sr_tree_key *key)
{
	struct sr_replica *r = s->r;
	struct carrying c = {.s = s, .i = i, .key = key};
	struct sr_err err;

	if (r->stores[i].mode != SR_MODE_READY || sr_replica_scan(r, i, true, NULL, NULL, &err) != SR_OK)
		return NULL;
	c.was = sr_hasher_new(&r->key);
	c.will = sr_hasher_new(key);
	c.hints = sr_leaves_new(sr_state_dir(r->state));
	if (sr_state_leaves(r->state, &r->stores[i].row, false, carry, &c, &err) != SR_OK) {
		sr_warn("store %s: what was edited here cannot be told under the datastore's new tree key: %s", r->stores[i].name, err.text);
		sr_leaves_free(c.hints);
		c.hints = NULL;
	}
	sr_hasher_free(c.was);
	sr_hasher_free(c.will);
	return c.hints;
}

static enum sr_status keep(struct sr_sync *s, size_t i, struct sr_leaves *hints, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(hints); k++) {
		struct sr_leaf hint;
		struct sr_leaf_row row = {.base_state = SR_BASE_HINT};

		rc = sr_leaves_at(hints, k, &hint, err);
		row.path = hint.path;
		row.base = hint.to;
		row.epoch = hint.epoch;
		row.seq = hint.seq;
		if (rc == SR_OK)
			rc = sr_state_leaf_put(s->r->state, &s->r->stores[i].row, &row, err);
	}
	return rc;
}

static enum sr_status keep_all(struct sr_sync *s, struct sr_leaves **hints, struct sr_err *err)
{
	enum sr_status rc = sr_state_begin(s->r->state, err);

	if (rc != SR_OK)
		return rc;
	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++)
		if (hints[i])
			rc = keep(s, i, hints[i], err);
	for (size_t i = 0; rc == SR_OK && i < s->r->n; i++) /* by the old key, and the new one's datastore never had it */
		rc = sr_state_given_up_drop(s->r->state, &s->r->stores[i].row, err);
	if (rc == SR_OK)
		return sr_state_commit(s->r->state, err);
	sr_state_rollback(s->r->state);
	return rc;
}

enum sr_status sr_sync_rekey(struct sr_sync *s, const uint8_t secret[SR_KEY_LEN], struct sr_err *err)
{
	struct sr_replica *r = s->r;
	struct sr_leaves **hints = sr_alloc((r->n + 1) * sizeof *hints);
	struct sr_tree_key key;
	size_t n = r->n;
	enum sr_status rc;

	sr_tree_key_set(&key, secret);
	sr_replica_look(r);
	for (size_t i = 0; i < n; i++)
		hints[i] = hints_of(s, i, &key);
	sr_replica_unview(r);
	rc = sr_replica_start(r, secret, err);
	if (rc == SR_OK)
		rc = keep_all(s, hints, err);
	for (size_t i = 0; i < n; i++)
		sr_leaves_free(hints[i]);
	free(hints);
	explicit_bzero(&key, sizeof key);
	return rc;
}
