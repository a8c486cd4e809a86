/* changes.c - what each of the last commits changed, kept in memory for webservers that know the root before it: a check-in that tells them saves
 * them the walk.  A restart forgets it, and what is too much is not kept: then they walk. */
#include "lib/datastore/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/replica/changes.h"

#define MOST_LEAVES 64           /* of a commit that is kept */
#define MOST_ALL    (1u << 20)   /* bytes of all that are */
#define MOST_FRESH  SR_CHANGES_MOST

/* --- records that are at hand ------------------------------------------------------------------------------------------------- */

void sr_ds_changes_fresh(struct sr_datastore *d, const struct sr_leaf *leaf)
{
	if (leaf->to.kind != SR_KIND_ROW || !leaf->record.len || leaf->record.len > SR_CHANGES_CONTENT ||
	    d->fresh.len + leaf->record.len > MOST_FRESH)
		return;
	sr_buf_add(&d->fresh, leaf->to.hash.b, SR_HASH_LEN);
	sr_buf_string(&d->fresh, leaf->record);
}

static struct sr_bytes fresh_record(const struct sr_datastore *d, const struct sr_hash *hash)
{
	struct sr_reader in = sr_reader(sr_buf_view(&d->fresh));

	while (sr_read_left(&in)) {
		struct sr_bytes its = sr_read_bytes(&in, SR_HASH_LEN), record = sr_read_string(&in);

		if (!memcmp(its.at, hash->b, SR_HASH_LEN))
			return record;
	}
	return sr_bytes(NULL, 0);
}

/* --- making one ------------------------------------------------------------------------------------------------------------------ */

struct making {
	struct sr_datastore *d;
	struct sr_leaves *leaves;
	size_t left; /* so many more may follow */
};

static enum sr_status on_differs(void *ctx, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct making *m = ctx;
	struct sr_leaf leaf = {.path = path, .to = *to};

	(void)from;
	if (!m->left)
		return SR_E_LIMIT;
	m->left--;
	return sr_leaves_add(m->leaves, &leaf, NULL);
}

/* A small file that is still what the tree says. */
static bool read_file(struct sr_view *view, const struct sr_tree_key *key, struct sr_leaf *leaf, uint8_t *room)
{
	struct sr_content content = {.fd = -1};
	struct sr_hash hash;
	bool is = false;

	if (sr_view_read(view, leaf->path, &content, NULL) == SR_OK && content.fd >= 0) {
		ssize_t got = pread(content.fd, room, leaf->to.bytes + 1, 0);

		is = got == (ssize_t)leaf->to.bytes;
		if (is)
			sr_hash_of(&hash, key, sr_bytes(room, leaf->to.bytes));
		is = is && sr_hash_eq(&hash, &leaf->to.hash);
		leaf->mtime_ns = content.mtime_ns;
	}
	if (content.fd >= 0)
		close(content.fd);
	return is;
}

static enum sr_status add_leaf(struct making *m, size_t i, struct sr_view **view, struct sr_leaf *leaf, struct sr_buf *out)
{
	struct sr_replica *r = m->d->r;
	uint8_t *room = NULL;
	struct sr_bytes content;
	bool has = false;
	enum sr_status rc = SR_OK;

	if (leaf->to.kind == SR_KIND_ROW)
		leaf->record = fresh_record(m->d, &leaf->to.hash);
	if (leaf->to.kind == SR_KIND_FILE && leaf->to.bytes <= SR_CHANGES_CONTENT && out->len + leaf->to.bytes < SR_CHANGES_MOST) {
		if (!*view)
			rc = sr_view_open(view, r->stores[i].store, SR_VIEW_EXTRA, NULL);
		room = sr_alloc(leaf->to.bytes + 1);
		has = rc == SR_OK && read_file(*view, &r->key, leaf, room);
		content = sr_bytes(room, leaf->to.bytes);
	}
	sr_change_add(out, r->stores[i].name, leaf, has ? &content : NULL);
	free(room);
	return SR_OK;
}

/* What was below a directory or table that is gone, or is a file now, goes with it. */
static bool goes_with(const struct sr_buf *gone, struct sr_bytes path)
{
	return gone->len && sr_path_under(path, sr_buf_view(gone));
}

static enum sr_status add_store(struct making *m, size_t i, struct sr_buf *out)
{
	const struct sr_replica_store *s = &m->d->r->stores[i];
	struct sr_view *view = NULL;
	struct sr_buf gone = {0};
	enum sr_status rc;

	if (sr_hash_eq(&s->map, &m->d->stores[i].map))
		return SR_OK;
	m->leaves = sr_leaves_new(NULL);
	rc = sr_store_diff(m->d->r->nodes, s->kind, &m->d->stores[i].map, &s->map, on_differs, m, NULL);
	if (rc == SR_OK)
		rc = sr_leaves_sort(m->leaves, NULL);
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(m->leaves); k++) {
		struct sr_leaf leaf;

		rc = sr_leaves_at(m->leaves, k, &leaf, NULL);
		if (rc != SR_OK || (leaf.to.kind == SR_KIND_NONE && goes_with(&gone, leaf.path)))
			continue;
		if (leaf.to.kind == SR_KIND_NONE || leaf.to.kind == SR_KIND_FILE) {
			sr_buf_clear(&gone);
			sr_buf_bytes(&gone, leaf.path);
		}
		rc = add_leaf(m, i, &view, &leaf, out);
	}
	sr_view_close(view);
	sr_leaves_free(m->leaves);
	sr_buf_free(&gone);
	return rc;
}

void sr_ds_changes_make(struct sr_datastore *d, struct sr_ds_change *out)
{
	struct making m = {.d = d, .left = MOST_LEAVES};
	struct sr_buf commit = {0};
	enum sr_status rc = SR_OK;

	*out = (struct sr_ds_change){.from = d->shown, .to = d->at};
	if (memcmp(&d->shown.instance, &d->at.instance, sizeof(d->at.instance)) != 0 || sr_uuid_none(&d->at.instance) || d->shown.epoch != d->at.epoch ||
	    sr_hash_eq(&d->shown.root, &d->at.root))
		goto out;
	for (size_t i = 0; rc == SR_OK && i < d->r->n; i++)
		rc = add_store(&m, i, &commit);
	if (rc == SR_OK && commit.len && commit.len < SR_CHANGES_MOST)
		sr_buf_string(&out->commit, sr_buf_view(&commit));
	out->leaves = MOST_LEAVES - m.left;
out:
	sr_buf_clear(&d->fresh);
	sr_buf_free(&commit);
}

/* --- the last of them --------------------------------------------------------------------------------------------------------------- */

static void forget_first(struct sr_datastore *d, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		d->changes_bytes -= d->changes[k].commit.len;
		sr_buf_free(&d->changes[k].commit);
	}
	d->changes_n -= n;
	memmove(d->changes, d->changes + n, d->changes_n * sizeof(*d->changes));
}

void sr_ds_changes_add(struct sr_datastore *d, struct sr_ds_change *change)
{
	if (!memcmp(&change->from, &change->to, sizeof(change->to)))
		return;
	if (!change->commit.len) { /* not all of it is known: nothing leads from before it to what is now */
		forget_first(d, d->changes_n);
		return;
	}
	if (d->changes_n == SR_DS_CHANGES)
		forget_first(d, 1);
	d->changes[d->changes_n++] = *change;
	d->changes_bytes += change->commit.len;
	change->commit = (struct sr_buf){0};
	while (d->changes_bytes > MOST_ALL)
		forget_first(d, 1);
}

bool sr_ds_changes_since(const struct sr_datastore *d, const struct sr_anchor *known, struct sr_buf *out)
{
	size_t k = 0, bytes = 0, leaves = 0;

	while (k < d->changes_n && memcmp(&d->changes[k].from, known, sizeof(*known)) != 0)
		k++;
	if (k == d->changes_n || memcmp(&d->changes[d->changes_n - 1].to, &d->shown, sizeof(d->shown)) != 0)
		return false;
	for (size_t i = k; i < d->changes_n; i++) {
		bytes += d->changes[i].commit.len;
		leaves += d->changes[i].leaves;
	}
	if (bytes > SR_CHANGES_MOST || leaves > SR_CHANGES_LEAVES)
		return false;
	for (size_t i = k; i < d->changes_n; i++)
		sr_buf_bytes(out, sr_buf_view(&d->changes[i].commit));
	return true;
}

void sr_ds_changes_free(struct sr_datastore *d)
{
	forget_first(d, d->changes_n);
	sr_buf_free(&d->fresh);
}
