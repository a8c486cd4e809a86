/* repair.c - see repair.h. */
#include "lib/replica/repair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/replica/edit.h"
#include "lib/replica/pin.h"
#include "lib/replica/place.h"
#include "lib/replica/rot.h"
#include "lib/replica/wire.h"

#define CHUNK   (256u << 10)
#define NO_SEAL 1 /* a signature that no file has */

/* A table is none, nor is a database. */
static enum sr_status find_row(struct sr_repair *p, struct sr_bytes text, struct sr_err *err)
{
	enum sr_status rc = sr_rot_keep(p->r, p->i, err);

	sr_buf_clear(&p->path);
	if (rc == SR_OK && !sr_rot_named(p->r, p->i, text, &p->path))
		rc = sr_err_set(err, SR_E_NOTFOUND, "no row of that name is known to have rotted");
	if (rc == SR_OK && !memchr(p->path.at, 0, p->path.len))
		rc = sr_err_set(err, SR_E_NOTFOUND, "a database in which more has rotted than rows is healed by restoring the store");
	return rc;
}

/* What the tree says of it, and with which stat a file was seen. */
static enum sr_status find(struct sr_repair *p, struct sr_bytes text, struct sr_err *err)
{
	struct sr_replica_store *s = NULL;
	struct sr_leaf_row row;
	enum sr_status rc = sr_place_parse(p->r, text, &s, &p->i, &p->path, err);

	if (rc != SR_OK)
		return rc;
	p->indexes = s && s->kind == SR_KIND_DATABASE && !p->path.len;
	if (!s || (!p->path.len && !p->indexes))
		return sr_err_set(err, SR_E_NOTFOUND, "that is no file and no row");
	if (p->indexes)
		rc = sr_rot_keep(p->r, p->i, err);
	else if (s->kind == SR_KIND_DATABASE)
		rc = find_row(p, text, err);
	if (rc != SR_OK)
		return rc;
	if (s->mode != SR_MODE_READY)
		return sr_err_set(err, SR_E_UNAVAILABLE, "store %s is paused: %s", s->name, s->why);
	if (p->indexes)
		return SR_OK;
	p->leaf.path = sr_buf_view(&p->path);
	sr_replica_read_lock(p->r);
	rc = sr_store_get(p->r->nodes, s->kind, &s->map, p->leaf.path, &p->leaf.to, err);
	sr_replica_unlock(p->r);
	if (rc != SR_OK || s->kind == SR_KIND_DATABASE)
		return rc;
	if (p->leaf.to.kind != SR_KIND_FILE)
		return sr_err_set(err, SR_E_NOTFOUND, "the tree has no such file");
	if (rc == SR_OK)
		rc = sr_state_leaf(p->r->state, &s->row, p->leaf.path, &row, err);
	if (rc == SR_OK && sr_version_eq(&row.local, &p->leaf.to))
		p->signature = row.signature;
	return rc;
}

static enum sr_status hash_all(struct sr_repair *p, int fd, uint64_t bytes, struct sr_hash *out, struct sr_err *err)
{
	struct sr_hasher *hasher = sr_hasher_new(&p->r->key);
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;
	uint64_t done = 0;

	while (rc == SR_OK && done < bytes) {
		ssize_t n = pread(fd, chunk, bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = sr_err_sys(err, SR_E_IO, "it cannot be read");
		else if (!n)
			rc = sr_err_set(err, SR_E_CHANGED, "it is being written to");
		else
			sr_hasher_add(hasher, chunk, (size_t)n);
		done += n > 0 ? (uint64_t)n : 0;
	}
	sr_hasher_get(hasher, out);
	free(chunk);
	sr_hasher_free(hasher);
	return rc;
}

/* What is expected there is a version that nobody has, and of which the stat cache says, without reading, that it is there: as long as its stat is this. */
static void stand_in(struct sr_repair *p, const struct stat *st)
{
	p->rotten = p->unreadable = true;
	p->leaf.expect = (struct sr_version){.kind = SR_KIND_FILE, .mode = st->st_mode & 0777, .bytes = (uint64_t)st->st_size};
	sr_random(&p->leaf.expect.hash, sizeof p->leaf.expect.hash);
	p->stand_in = sr_files_signature(&p->r->key, st, &p->leaf.expect.hash);
}

static enum sr_status read_it(struct sr_repair *p, int fd, struct sr_err *err)
{
	struct stat st, after;
	struct sr_hash hash;
	enum sr_status rc;

	if (fstat(fd, &st))
		return sr_err_sys(err, SR_E_IO, "fstat");
	if (!p->signature || p->signature != sr_files_signature(&p->r->key, &st, &p->leaf.to.hash))
		return sr_err_set(err, SR_E_CHANGED, "it was changed in an ordinary way, or written a moment ago: the next scan sees to that");
	rc = hash_all(p, fd, (uint64_t)st.st_size, &hash, err);
	if (rc == SR_E_IO && err->sys == EIO) {
		stand_in(p, &st);
		return SR_OK;
	}
	if (rc == SR_OK && (fstat(fd, &after) || p->signature != sr_files_signature(&p->r->key, &after, &p->leaf.to.hash)))
		rc = sr_err_set(err, SR_E_CHANGED, "it is being written to");
	if (rc != SR_OK)
		return rc;
	p->rotten = !sr_hash_eq(&hash, &p->leaf.to.hash);
	p->leaf.expect = (struct sr_version){.kind = SR_KIND_FILE, .mode = st.st_mode & 0777, .bytes = (uint64_t)st.st_size, .hash = hash};
	return SR_OK;
}

static enum sr_status look_at_row(struct sr_repair *p, struct sr_err *err)
{
	struct sr_content c = {.fd = -1};
	struct sr_view *view = NULL;
	enum sr_status rc = sr_view_open(&view, p->r->stores[p->i].store, SR_VIEW_EXTRA, err);

	if (rc == SR_OK)
		rc = sr_view_read(view, p->leaf.path, &c, err);
	sr_view_close(view);
	if (rc != SR_OK && rc != SR_E_NOTFOUND)
		return rc;
	p->leaf.expect = c.version;
	p->rotten = !sr_version_eq(&p->leaf.expect, &p->leaf.to);
	if (p->rotten && !sr_rot_is(p->r, p->i, p->leaf.path, &p->leaf.to, &p->leaf.expect))
		return sr_err_set(err, SR_E_CHANGED, "it was changed in an ordinary way: the next scan sees to that");
	return SR_OK;
}

static enum sr_status look_at_file(struct sr_repair *p, struct sr_err *err)
{
	struct sr_content c = {.fd = -1};
	struct sr_view *view = NULL;
	enum sr_status rc = sr_view_open(&view, p->r->stores[p->i].store, SR_VIEW_EXTRA, err);

	if (rc == SR_OK)
		rc = sr_view_read(view, p->leaf.path, &c, err);
	if (rc == SR_OK && c.fd < 0)
		rc = sr_err_set(err, SR_E_CHANGED, "it is no file any more: the next scan sees to that");
	if (rc == SR_OK)
		rc = read_it(p, c.fd, err);
	if (c.fd >= 0)
		close(c.fd);
	sr_view_close(view);
	return rc;
}

enum sr_status sr_repair_begin(struct sr_repair *out, struct sr_replica *r, struct sr_bytes path, struct sr_err *err)
{
	enum sr_status rc;

	*out = (struct sr_repair){.r = r};
	rc = find(out, path, err);
	out->rotten = out->indexes;
	if (rc != SR_OK || out->indexes)
		return rc;
	return r->stores[out->i].kind == SR_KIND_FILES ? look_at_file(out, err) : look_at_row(out, err);
}

bool sr_repair_fetches(const struct sr_repair *p)
{
	return p->leaf.to.kind != SR_KIND_NONE;
}

static void fetched(void *ctx, uint64_t bytes)
{
	(void)ctx, (void)bytes;
}

static enum sr_status got_row(void *ctx, const char *store, const struct sr_leaf *leaf, bool has_content, struct sr_err *err)
{
	struct sr_repair *p = ctx;

	(void)has_content;
	if (strcmp(store, p->r->stores[p->i].name) != 0 || !sr_bytes_eq(leaf->path, p->leaf.path))
		return sr_err_set(err, SR_E_DATA, "another row came than was asked for");
	if (leaf->flags & SR_LEAF_GONE)
		return sr_err_set(err, SR_E_NOTFOUND, "it does not have that row, either");
	if (!sr_version_eq(&leaf->to, &p->leaf.to) || !leaf->record.len)
		return sr_err_set(err, SR_E_DATA, "another version came than was asked for");
	sr_buf_clear(&p->record);
	sr_buf_bytes(&p->record, leaf->record);
	return SR_OK;
}

static enum sr_status fetch_row(struct sr_repair *p, struct sr_client *client, struct sr_err *err)
{
	struct sr_bundle_sink sink = {.ctx = p, .leaf = got_row};
	struct sr_leaf wanted = {.path = p->leaf.path, .to = p->leaf.to};
	struct sr_buf text = {0};
	enum sr_status rc;

	sr_buf_clear(&p->record);
	sr_wanted_add(&text, p->r->stores[p->i].name, &wanted);
	rc = sr_fetch_bundle(client, &p->r->key, &p->r->root, sr_buf_view(&text), 1, p->leaf.to.bytes, &sink, err);
	sr_buf_free(&text);
	if (rc == SR_OK && !p->record.len)
		rc = sr_err_set(err, SR_E_DATA, "an empty bundle came");
	p->leaf.record = sr_buf_view(&p->record);
	return rc;
}

enum sr_status sr_repair_fetch(struct sr_repair *p, struct sr_client *client, struct sr_err *err)
{
	if (p->r->stores[p->i].kind == SR_KIND_DATABASE)
		return fetch_row(p, client, err);
	sr_stage_free(p->stage);
	p->stage = NULL;
	return sr_fetch_file(client, p->r->stores[p->i].store, &p->leaf, p->leaf.path, fetched, NULL, &p->stage, &p->leaf, err);
}

/* Does the tree still say so?  What is there the edit compares. */
static enum sr_status is_still(struct sr_repair *p, struct sr_err *err)
{
	return sr_replica_is_current(p->r, p->i, p->leaf.path, &p->leaf.to) ? SR_OK : sr_err_set(err, SR_E_CHANGED, "it was changed meanwhile");
}

/* The stat cache would vouch for what has rotted; only in memory is it told not to, so that after a crash it is not taken for an edit, either. */
static enum sr_status put_file(struct sr_repair *p, struct sr_leaves *leaves, struct sr_err *err)
{
	struct sr_store *store = p->r->stores[p->i].store;
	enum sr_status rc;

	sr_store_remember(store, p->leaf.path, p->unreadable ? p->stand_in : NO_SEAL);
	rc = sr_replica_edit(p->r, p->i, leaves, err);
	if (rc != SR_OK)
		sr_store_remember(store, p->leaf.path, p->signature);
	return rc;
}

static enum sr_status put_row(struct sr_repair *p, struct sr_leaves *leaves, struct sr_err *err)
{
	enum sr_status rc = sr_replica_heal(p->r, p->i, leaves, err);

	return rc == SR_OK ? sr_rot_gone(p->r, p->i, leaves, err) : rc;
}

enum sr_status sr_repair_finish(struct sr_repair *p, struct sr_err *err)
{
	struct sr_leaves *leaves;
	enum sr_status rc;

	if (p->indexes)
		return sr_replica_reindex(p->r, p->i, err);
	leaves = sr_leaves_new(sr_state_dir(p->r->state));
	rc = is_still(p, err);
	p->leaf.flags = p->unreadable ? 0 : SR_LEAF_ARCHIVE;
	if (rc == SR_OK)
		rc = sr_leaves_add(leaves, &p->leaf, err);
	if (rc == SR_OK)
		rc = p->r->stores[p->i].kind == SR_KIND_FILES ? put_file(p, leaves, err) : put_row(p, leaves, err);
	sr_leaves_free(leaves);
	return rc;
}

void sr_repair_free(struct sr_repair *p)
{
	sr_stage_free(p->stage);
	sr_buf_free(&p->path);
	sr_buf_free(&p->record);
	*p = (struct sr_repair){0};
}
