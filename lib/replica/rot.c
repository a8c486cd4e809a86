/* rot.c - see rot.h. */
#include "lib/replica/rot.h"

#include <stdlib.h>

#include "lib/base/log.h"

#define META "rotten:%s" /* of a store: leaves (lib/leaf/leaf.h), each as a string; none: the row is not there */

void sr_rot_found(struct sr_replica *r, size_t i, struct sr_leaves *leaves)
{
	struct sr_replica_store *s = &r->stores[i];

	sr_replica_write_lock(r);
	sr_leaves_free(s->rot_found);
	s->rot_found = leaves;
	sr_replica_unlock(r);
}

/* TAKES leaves. */
static void set(struct sr_replica_store *s, struct sr_leaves *leaves)
{
	sr_leaves_free(s->rot);
	s->rot = leaves;
	sr_store_rots(s->store, sr_leaves_count(leaves));
}

static enum sr_status write(struct sr_replica *r, const struct sr_replica_store *s, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_buf all = {0}, one = {0};
	char *name = sr_format(META, s->name);
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(leaves, k, &leaf, err);
		sr_buf_clear(&one);
		if (rc == SR_OK)
			sr_leaf_encode(&one, &leaf);
		sr_buf_string(&all, sr_buf_view(&one));
	}
	if (rc == SR_OK)
		rc = all.len ? sr_state_put(r->state, name, sr_buf_view(&all), err) : sr_state_drop(r->state, name, err);
	free(name);
	sr_buf_free(&all);
	sr_buf_free(&one);
	return rc;
}

/* Taken, or NULL. */
static struct sr_leaves *take_found(struct sr_replica *r, struct sr_replica_store *s)
{
	struct sr_leaves *found;

	sr_replica_write_lock(r);
	found = s->rot_found;
	s->rot_found = NULL;
	sr_replica_unlock(r);
	return found;
}

enum sr_status sr_rot_keep(struct sr_replica *r, size_t i, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct sr_leaves *found = take_found(r, s);
	enum sr_status rc = SR_OK;

	if (!found)
		return SR_OK;
	if (sr_leaves_count(found) || sr_leaves_count(s->rot)) {
		rc = sr_leaves_sort(found, err);
		if (rc == SR_OK)
			rc = write(r, s, found, err);
	}
	if (rc == SR_OK) {
		set(s, found);
		return SR_OK;
	}
	sr_replica_write_lock(r);
	if (s->rot_found)
		sr_leaves_free(found); /* it is out of date */
	else
		s->rot_found = found;
	sr_replica_unlock(r);
	return sr_err_context(err, "store %s: what has rotted cannot be written down", s->name);
}

static bool find(struct sr_replica_store *s, struct sr_bytes path, struct sr_leaf *out)
{
	size_t at;

	return sr_leaves_count(s->rot) && sr_leaves_find(s->rot, path, &at, out, NULL) == SR_OK && at < sr_leaves_count(s->rot);
}

bool sr_rot_is(struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *said, const struct sr_version *actual)
{
	struct sr_leaf known;

	return find(&r->stores[i], path, &known) && sr_version_eq(&known.to, actual) && sr_version_eq(&known.expect, said);
}

bool sr_rot_grew(struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *said, const struct sr_version *actual)
{
	struct sr_view *view = r->stores[i].view;
	struct sr_content content = {.fd = -1};
	struct sr_leaf known;

	return find(&r->stores[i], path, &known) && sr_version_eq(&known.expect, said) && known.to.kind == SR_KIND_ROW &&
	       actual->kind == SR_KIND_ROW && sr_view_read(view, path, &content, NULL) == SR_OK && sr_version_eq(&content.version, actual) &&
	       sr_view_is_grown(view, path, content.record, &known.to);
}

bool sr_rot_named(struct sr_replica *r, size_t i, struct sr_bytes text, struct sr_buf *path)
{
	struct sr_replica_store *s = &r->stores[i];
	struct sr_buf name = {0};
	bool found = false;

	for (size_t k = 0; !found && k < sr_leaves_count(s->rot); k++) {
		struct sr_leaf leaf;

		if (sr_leaves_at(s->rot, k, &leaf, NULL) != SR_OK)
			break;
		sr_buf_clear(&name);
		sr_leaf_path_text(&name, s->name, s->kind, leaf.path);
		found = sr_bytes_eq(sr_buf_view(&name), text);
		if (found)
			sr_buf_bytes(path, leaf.path);
	}
	sr_buf_free(&name);
	return found;
}

/* Both sorted. */
static bool are_same(struct sr_leaves *a, struct sr_leaves *b)
{
	size_t n = sr_leaves_count(a), k = 0;
	bool same = n == sr_leaves_count(b);

	for (; same && k < n; k++) {
		struct sr_leaf x, y;

		same = sr_leaves_at(a, k, &x, NULL) == SR_OK && sr_leaves_at(b, k, &y, NULL) == SR_OK && sr_bytes_eq(x.path, y.path) &&
		       sr_version_eq(&x.to, &y.to);
	}
	return same;
}

enum sr_status sr_rot_still(struct sr_replica *r, size_t i, struct sr_leaves *still, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	enum sr_status rc = sr_leaves_sort(still, err);

	if (rc == SR_OK && are_same(still, s->rot)) {
		sr_leaves_free(still);
		return SR_OK;
	}
	if (rc == SR_OK)
		rc = write(r, s, still, err);
	if (rc == SR_OK)
		set(s, still);
	else
		sr_leaves_free(still);
	return rc;
}

enum sr_status sr_rot_gone(struct sr_replica *r, size_t i, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_replica_store *s = &r->stores[i];
	struct sr_leaves *still;
	enum sr_status rc = SR_OK;

	if (!sr_leaves_count(s->rot))
		return SR_OK;
	still = sr_leaves_new(sr_state_dir(r->state));
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(s->rot); k++) {
		struct sr_leaf leaf, put;
		size_t at;

		rc = sr_leaves_at(s->rot, k, &leaf, err);
		if (rc == SR_OK)
			rc = sr_leaves_find(leaves, leaf.path, &at, &put, err);
		if (rc == SR_OK && at == sr_leaves_count(leaves))
			rc = sr_leaves_add(still, &leaf, err);
	}
	if (rc == SR_OK)
		return sr_rot_still(r, i, still, err);
	sr_leaves_free(still);
	return rc;
}

enum sr_status sr_rot_load(struct sr_replica *r, struct sr_replica_store *s, struct sr_err *err)
{
	struct sr_buf all = {0};
	struct sr_reader in;
	char *name = sr_format(META, s->name);
	bool there = false;
	enum sr_status rc = sr_state_get(r->state, name, &all, &there, err);

	s->rot = sr_leaves_new(sr_state_dir(r->state));
	in = sr_reader(sr_buf_view(&all));
	while (rc == SR_OK && there && sr_read_left(&in)) {
		struct sr_bytes one = sr_read_string(&in);
		struct sr_leaf leaf;

		rc = sr_leaf_decode(one, &leaf, err);
		if (rc == SR_OK)
			rc = sr_leaves_add(s->rot, &leaf, err);
	}
	if (rc == SR_OK)
		rc = sr_leaves_sort(s->rot, err);
	sr_store_rots(s->store, sr_leaves_count(s->rot));
	free(name);
	sr_buf_free(&all);
	return rc;
}

void sr_rot_free(struct sr_replica_store *s)
{
	sr_leaves_free(s->rot);
	sr_leaves_free(s->rot_found);
}
