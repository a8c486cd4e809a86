/* backup.c - see backup.h. */
#include "lib/replica/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/version.h"

#define SMALL      (1u << 20) /* read before it is written: it is never void */
#define CHUNK      (256u << 10)
#define TRIES      5          /* to read one file while nobody writes to it */
#define EDITS_MOST 4096

struct job {
	const struct sr_backup_job *o;
	struct sr_pin *pin;
	struct sr_replica *r;
	struct sr_backup_writer *w;
	struct sr_backup_info *info;
	struct sr_nodes *nodes; /* of copies, and of what became of maps */
	struct sr_hasher *hasher;
	struct sr_marker marker;
	struct sr_buf name, older;
	uint8_t *chunk; /* SMALL */

	/* the directory tree in hand */
	size_t i;
	struct sr_view *view;
	bool edited; /* `map` is in `nodes` */
	struct sr_hash map;
	struct sr_edit *edits;
	size_t n_edits;
};

/* --- names ---------------------------------------------------------------------------------------------------------- */

static struct sr_bytes tar_name(struct job *j, struct sr_bytes path)
{
	sr_buf_clear(&j->name);
	sr_buf_bytes(&j->name, sr_bytes_of(j->pin->stores[j->i].name));
	if (path.len)
		sr_buf_byte(&j->name, '/');
	for (size_t k = 0; k < path.len; k++)
		sr_buf_byte(&j->name, path.at[k] ? path.at[k] : '/');
	return sr_buf_view(&j->name);
}

static void leave_out(struct job *j, struct sr_bytes path, const char *why, bool missing)
{
	struct sr_buf text = {0};

	sr_leaf_path_text(&text, j->pin->stores[j->i].name, j->pin->stores[j->i].kind, path);
	sr_backup_leave_out(j->info, sr_buf_text(&text), why, missing);
	sr_buf_free(&text);
}

/* --- what became of a map while it was read ------------------------------------------------------------------------- */

static enum sr_status take_node(void *ctx, const struct sr_hash *hash, struct sr_bytes node)
{
	struct job *j = ctx;

	return sr_nodes_put(j->nodes, hash, node, NULL);
}

/* The pinned map, as one that can be edited. */
static enum sr_status own_map(struct job *j, struct sr_err *err)
{
	struct sr_hash none = {0};
	enum sr_status rc;

	if (j->edited)
		return SR_OK;
	j->edited = true;
	sr_nodes_hold(j->nodes, &j->map);
	sr_replica_read_lock(j->r);
	rc = sr_walk_serve(j->r->nodes, &j->map, &none, SIZE_MAX, take_node, j, err);
	sr_replica_unlock(j->r);
	return rc;
}

static enum sr_status flush_edits(struct job *j, struct sr_err *err)
{
	struct sr_hash next;
	enum sr_status rc = j->n_edits ? own_map(j, err) : SR_OK;

	if (rc == SR_OK && j->n_edits)
		rc = sr_store_edit(j->nodes, SR_KIND_FILES, &j->map, j->edits, j->n_edits, &next, err);
	if (rc == SR_OK && j->n_edits) {
		sr_nodes_hold(j->nodes, &next);
		sr_nodes_release(j->nodes, &j->map);
		sr_nodes_sweep(j->nodes);
		j->map = next;
	}
	for (size_t k = 0; k < j->n_edits; k++)
		free((void *)(uintptr_t)j->edits[k].path.at);
	j->n_edits = 0;
	return rc;
}

static enum sr_status note_edit(struct job *j, struct sr_bytes path, const struct sr_version *to, struct sr_err *err)
{
	struct sr_buf copy = {0};

	if (j->o->exact)
		return SR_OK;
	if (!j->edits)
		j->edits = sr_alloc(EDITS_MOST * sizeof *j->edits);
	sr_buf_bytes(&copy, path);
	j->edits[j->n_edits++] = (struct sr_edit){.path = sr_buf_view(&copy), .to = *to};
	return j->n_edits == EDITS_MOST ? flush_edits(j, err) : SR_OK;
}

/* --- one file ------------------------------------------------------------------------------------------------------- */

struct reading { /* of one file */
	struct sr_bytes path;
	const struct sr_version *want;
	struct sr_content c;
	struct stat before;
	bool written;        /* it is in the tar, whole */
	struct sr_version is; /* what was written */
};

/* What the pinned root has may be in the store still, or be kept.  Otherwise whatever is there now. */
static enum sr_status open_content(struct job *j, struct reading *f, bool kept, struct sr_err *err)
{
	const struct sr_serve *sv = j->o->serve;

	f->c = (struct sr_content){.fd = -1};
	if (kept)
		return sv && sv->older ? sv->older(sv->ctx, j->i, f->path, f->want, &j->older, &f->c, err) : SR_E_NOTFOUND;
	return sr_view_read(j->view, f->path, &f->c, err);
}

static bool moved(const struct stat *a, const struct stat *b)
{
	return a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec ||
	       a->st_ctim.tv_sec != b->st_ctim.tv_sec || a->st_ctim.tv_nsec != b->st_ctim.tv_nsec;
}

static size_t read_at(int fd, uint8_t *at, size_t n, uint64_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, at + done, n - done, (off_t)(offset + done));

		if (got == 0 || (got < 0 && errno != EINTR))
			break;
		done += got > 0 ? (size_t)got : 0;
	}
	return done;
}

/* As it was read: is that what was wanted, or at least something whole? */
static bool is_good(struct job *j, struct reading *f, bool whole)
{
	struct stat after;

	sr_hasher_get(j->hasher, &f->is.hash);
	if (!whole)
		return false;
	if (j->o->exact)
		return sr_hash_eq(&f->is.hash, &f->want->hash);
	return !fstat(f->c.fd, &after) && !moved(&f->before, &after);
}

static enum sr_status write_small(struct job *j, struct reading *f, struct sr_err *err)
{
	size_t n = (size_t)f->is.bytes, got = read_at(f->c.fd, j->chunk, n, 0);
	enum sr_status rc;

	sr_hasher_reset(j->hasher);
	sr_hasher_add(j->hasher, j->chunk, got);
	if (!is_good(j, f, got == n))
		return SR_OK;
	rc = sr_backup_begin_file(j->w, tar_name(j, f->path), f->is.mode, f->c.mtime_ns, n, err);
	if (rc == SR_OK)
		rc = sr_backup_add_data(j->w, j->chunk, n, err);
	if (rc == SR_OK)
		rc = sr_backup_end_file(j->w, true, err);
	f->written = rc == SR_OK;
	return rc;
}

static enum sr_status write_large(struct job *j, struct reading *f, struct sr_err *err)
{
	bool whole = true, good = false;
	enum sr_status rc = sr_backup_begin_file(j->w, tar_name(j, f->path), f->is.mode, f->c.mtime_ns, f->is.bytes, err);

	sr_hasher_reset(j->hasher);
	for (uint64_t done = 0; rc == SR_OK && done < f->is.bytes;) {
		size_t n = f->is.bytes - done < CHUNK ? (size_t)(f->is.bytes - done) : CHUNK;
		size_t got = whole ? read_at(f->c.fd, j->chunk, n, done) : 0;

		whole = whole && got == n;
		memset(j->chunk + got, 0, n - got);
		sr_hasher_add(j->hasher, j->chunk, n);
		rc = sr_backup_add_data(j->w, j->chunk, n, err);
		done += n;
	}
	if (rc != SR_OK)
		return rc;
	good = is_good(j, f, whole);
	rc = sr_backup_end_file(j->w, good, err);
	f->written = good && rc == SR_OK;
	return rc;
}

/* One attempt; f->written says whether it came to something. */
static enum sr_status try_file(struct job *j, struct reading *f, bool kept, struct sr_err *err)
{
	enum sr_status rc = open_content(j, f, kept, err);
	bool worth_it;

	if (rc != SR_OK)
		return rc;
	if (f->c.fd < 0 || fstat(f->c.fd, &f->before)) /* it is a directory now */
		return f->c.fd < 0 ? SR_E_NOTFOUND : (close(f->c.fd), sr_err_sys(err, SR_E_IO, "fstat"));
	f->is = (struct sr_version){.kind = SR_KIND_FILE, .mode = f->before.st_mode & 0777, .bytes = (uint64_t)f->before.st_size};
	if (j->o->exact)
		f->is.mode = f->want->mode;
	worth_it = !j->o->exact || f->is.bytes == f->want->bytes;
	if (worth_it)
		rc = f->is.bytes <= SMALL ? write_small(j, f, err) : write_large(j, f, err);
	close(f->c.fd);
	return rc;
}

/* Failures of reading are the file's own; those of writing are everything's, and the writer remembers them. */
static bool is_own_fault(enum sr_status rc, const struct sr_err *err)
{
	return rc == SR_E_NOTFOUND || rc == SR_E_CHANGED || (rc == SR_E_IO && err->sys && err->sys != ENOSPC);
}

static enum sr_status file_exactly(struct job *j, struct reading *f, struct sr_err *err)
{
	struct sr_err own = {0};
	bool current = sr_replica_is_current(j->r, j->i, f->path, f->want);
	enum sr_status rc = SR_OK;

	for (int k = 0; k < 3 && !f->written; k++) {
		bool kept = current ? k == 1 : k != 1; /* a commit may come between; and a kept one may not be kept yet */

		rc = try_file(j, f, kept, &own);
		if (rc != SR_OK && !is_own_fault(rc, &own))
			return *err = own, rc;
	}
	if (!f->written)
		leave_out(j, f->path, "it is not here any more as the tree says: it was changed past the datastore, or is damaged", true);
	return SR_OK;
}

static enum sr_status file_as_it_is(struct job *j, struct reading *f, struct sr_err *err)
{
	struct sr_err own = {0};
	struct sr_version gone = {0};
	enum sr_status rc = SR_OK;

	for (int k = 0; k < TRIES && !f->written && rc == SR_OK; k++) {
		if (f->is.bytes > SMALL && k == 3)
			break; /* three large ones in the tar are enough */
		rc = try_file(j, f, false, &own);
		if (rc != SR_OK && !is_own_fault(rc, &own))
			return *err = own, rc;
	}
	if (f->written)
		return sr_version_eq(&f->is, f->want) ? SR_OK : note_edit(j, f->path, &f->is, err);
	if (rc == SR_E_NOTFOUND)
		leave_out(j, f->path, "it was removed or renamed while the backup was written", false);
	else
		leave_out(j, f->path, rc == SR_OK ? "it changed each time it was read" : own.text, true);
	return note_edit(j, f->path, &gone, err);
}

/* --- directory trees ------------------------------------------------------------------------------------------------ */

static enum sr_status write_item(struct job *j, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct reading f = {.path = leaf->path, .want = &leaf->to};

	if (leaf->to.kind == SR_KIND_DIR)
		return sr_backup_add_dir(j->w, tar_name(j, leaf->path), leaf->to.mode, j->info->taken_ms * 1000000, err);
	return j->o->exact ? file_exactly(j, &f, err) : file_as_it_is(j, &f, err);
}

/* The store's own directory, and its marker. */
static enum sr_status write_top(struct job *j, struct sr_err *err)
{
	struct sr_buf text = {0};
	int64_t now_ns = j->info->taken_ms * 1000000;
	struct stat st;
	uint16_t mode = 0755;
	enum sr_status rc;

	if (!stat(sr_store_path(j->r->stores[j->i].store), &st))
		mode = st.st_mode & 0777;
	rc = sr_backup_add_dir(j->w, tar_name(j, sr_bytes(NULL, 0)), mode, now_ns, err);
	if (rc == SR_OK)
		rc = sr_backup_add_dir(j->w, tar_name(j, sr_bytes_of(".sameroot")), 0700, now_ns, err);
	sr_marker_text(&text, &j->marker, j->r->stores[j->i].name);
	if (rc == SR_OK)
		rc = sr_backup_begin_file(j->w, tar_name(j, sr_bytes(SR_MARKER_PATH, sizeof SR_MARKER_PATH - 1)), 0600, now_ns, text.len, err);
	if (rc == SR_OK)
		rc = sr_backup_add_data(j->w, text.at, text.len, err);
	if (rc == SR_OK)
		rc = sr_backup_end_file(j->w, true, err);
	sr_buf_free(&text);
	return rc;
}

static enum sr_status write_items(struct job *j, struct sr_err *err)
{
	struct sr_leaves *items = NULL;
	enum sr_status rc = sr_replica_items(j->r, j->i, &j->map, sr_bytes(NULL, 0), &items, err);

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(items); k++) {
		struct sr_leaf leaf;

		if (sr_replica_awaited(j->r))
			rc = sr_err_set(err, SR_E_UNAVAILABLE, "the stores are opened anew: make the backup again");
		if (rc == SR_OK)
			rc = sr_leaves_at(items, k, &leaf, err);
		if (rc == SR_OK)
			rc = write_item(j, &leaf, err);
	}
	sr_leaves_free(items);
	return rc;
}

static void count(struct job *j, struct sr_nodes *nodes, const struct sr_hash *map)
{
	struct sr_backup_store *s = &j->info->stores[j->info->n++];

	*s = (struct sr_backup_store){.name = sr_strdup(j->pin->stores[j->i].name), .kind = j->pin->stores[j->i].kind, .map = *map};
	if (sr_map_counts(nodes, map, &s->leaves, &s->bytes) != SR_OK)
		abort(); /* our own map is always whole */
}

static enum sr_status write_files(struct job *j, struct sr_err *err)
{
	enum sr_status rc = sr_view_open(&j->view, j->r->stores[j->i].store, SR_VIEW_EXTRA, err);

	if (rc != SR_OK)
		return rc;
	j->map = j->pin->stores[j->i].map;
	j->edited = false;
	rc = write_top(j, err);
	if (rc == SR_OK)
		rc = write_items(j, err);
	sr_view_close(j->view);
	j->view = NULL;
	if (rc == SR_OK)
		rc = flush_edits(j, err);
	if (rc != SR_OK)
		return rc;
	if (j->edited) {
		count(j, j->nodes, &j->map);
	} else {
		sr_replica_read_lock(j->r);
		count(j, j->r->nodes, &j->map);
		sr_replica_unlock(j->r);
	}
	return SR_OK;
}

/* --- databases ------------------------------------------------------------------------------------------------------ */

static enum sr_status stream_file(struct job *j, int fd, const struct stat *like, struct sr_err *err)
{
	struct stat st;
	enum sr_status rc;

	if (fstat(fd, &st))
		return sr_err_sys(err, SR_E_IO, "fstat");
	rc = sr_backup_begin_file(j->w, tar_name(j, sr_bytes(NULL, 0)), like->st_mode & 0777, j->info->taken_ms * 1000000,
				  (uint64_t)st.st_size, err);
	for (uint64_t done = 0; rc == SR_OK && done < (uint64_t)st.st_size;) {
		size_t n = (uint64_t)st.st_size - done < CHUNK ? (size_t)((uint64_t)st.st_size - done) : CHUNK;

		if (read_at(fd, j->chunk, n, done) != n)
			rc = sr_err_sys(err, SR_E_IO, "the copy of %s", j->pin->stores[j->i].name);
		else
			rc = sr_backup_add_data(j->w, j->chunk, n, err);
		done += n;
	}
	return rc == SR_OK ? sr_backup_end_file(j->w, true, err) : rc;
}

static void count_difference(void *ctx, const char *path, const struct sr_leaf *leaf)
{
	struct sr_buf *first = ctx;

	(void)leaf;
	if (!first->len)
		sr_buf_printf(first, "%s", path);
}

/* What was copied is held against the tree, too. */
static enum sr_status check_database(struct job *j, const struct sr_scan *scan, struct sr_err *err)
{
	struct sr_pin_store *s = &j->pin->stores[j->i];
	struct sr_buf first = {0};
	enum sr_status rc;

	if (!j->o->exact)
		return SR_OK;
	rc = sr_backup_compare(j->pin, j->i, j->nodes, scan, count_difference, &first, err);
	if (rc == SR_OK && first.len) {
		char *why = sr_format("what is in it is not what the tree says, %s among others%s%s", sr_buf_text(&first),
				      s->why[0] ? ": " : "", s->why);

		leave_out(j, sr_bytes(NULL, 0), why, true);
		free(why);
	}
	sr_buf_free(&first);
	return rc;
}

static enum sr_status write_database(struct job *j, struct sr_err *err)
{
	struct sr_scan scan = {0};
	struct stat like = {.st_mode = 0640};
	int fd = -1;
	enum sr_status rc = sr_backup_database(j->pin, j->i, &j->marker, j->nodes, &scan, &fd, err);

	stat(sr_store_path(j->r->stores[j->i].store), &like);
	if (rc == SR_OK)
		rc = check_database(j, &scan, err);
	if (rc == SR_OK)
		rc = stream_file(j, fd, &like, err);
	if (rc == SR_OK)
		count(j, j->nodes, &scan.map);
	if (fd >= 0)
		close(fd);
	sr_scan_free(&scan);
	return rc;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static bool takes(struct job *j, size_t i, bool databases)
{
	const struct sr_pin_store *s = &j->pin->stores[i];

	j->i = i;
	return s->readable && (s->kind == SR_KIND_DATABASE) == databases && sr_backup_store_name(sr_bytes_of(s->name));
}

static enum sr_status write_stores(struct job *j, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < j->pin->n; i++) /* those that keep their application waiting come first, and all at once */
		if (takes(j, i, true) && sr_view_blocks(j->pin->stores[i].view))
			rc = sr_backup_database(j->pin, i, NULL, NULL, NULL, NULL, err);
	for (size_t i = 0; rc == SR_OK && i < j->pin->n; i++)
		if (takes(j, i, true))
			rc = write_database(j, err);
	for (size_t i = 0; rc == SR_OK && i < j->pin->n; i++)
		if (takes(j, i, false))
			rc = write_files(j, err);
	return rc;
}

/* The root of what is here. */
static void own_root(struct job *j)
{
	struct sr_entry *entries = sr_alloc((j->info->n + 1) * sizeof *entries), root = {0};

	for (size_t i = 0; i < j->info->n; i++) {
		const struct sr_backup_store *s = &j->info->stores[i];

		entries[i] = (struct sr_entry){
			.name = sr_bytes_of(s->name), .kind = s->kind, .hash = s->map, .leaves = s->leaves, .bytes = s->bytes};
	}
	sr_map_build(j->nodes, sr_bytes(NULL, 0), entries, j->info->n, &root);
	j->info->root = root.hash;
	free(entries);
}

static void fill_info(struct job *j)
{
	struct sr_backup_info *info = j->info;

	info->role = sr_strdup(j->r->role == SR_ROLE_DATASTORE ? "datastore" : "webserver");
	info->version = sr_strdup(SR_VERSION);
	info->node = j->r->node;
	info->instance = j->pin->at.instance;
	info->epoch = j->pin->at.epoch;
	info->seq = j->pin->at.seq;
	info->root = j->pin->at.root;
	info->key_id = j->r->key.id;
	info->taken_ms = sr_now_ms();
	info->stores = sr_alloc((j->pin->n + 1) * sizeof *info->stores);
	for (size_t i = 0; i < j->pin->n; i++) {
		const struct sr_pin_store *s = &j->pin->stores[i];

		if (!s->readable)
			sr_backup_leave_out(info, s->name, s->why, !s->fresh);
		else if (!sr_backup_store_name(sr_bytes_of(s->name)))
			sr_backup_leave_out(info, s->name, "a backup has members of this name", j->o->exact);
	}
	for (size_t i = 0; i < j->pin->unknown.left_out_n; i++)
		sr_backup_leave_out(info, j->pin->unknown.left_out[i].path, j->pin->unknown.left_out[i].why, false);
	info->left_out_count += j->pin->unknown.left_out_count - j->pin->unknown.left_out_n;
	j->marker = (struct sr_marker){.id = sr_uuid_random(),
				       .node = sr_uuid_random(),
				       .instance = info->instance,
				       .epoch = info->epoch,
				       .seq = info->seq};
}

static void free_job(struct job *j)
{
	for (size_t k = 0; k < j->n_edits; k++)
		free((void *)(uintptr_t)j->edits[k].path.at);
	free(j->edits);
	free(j->chunk);
	sr_buf_free(&j->name);
	sr_buf_free(&j->older);
	sr_hasher_free(j->hasher);
	sr_nodes_free(j->nodes);
	sr_backup_writer_free(j->w);
}

enum sr_status sr_backup_write(const struct sr_backup_job *o, struct sr_backup_info *info, struct sr_err *err)
{
	struct sr_backup_info made = {0};
	struct sr_err own = {0};
	struct job j = {.o = o, .pin = o->pin, .r = o->pin->r, .info = &made};
	enum sr_status rc;

	j.nodes = sr_nodes_new(&j.r->key);
	j.hasher = sr_hasher_new(&j.r->key);
	j.chunk = sr_alloc(SMALL);
	rc = sr_backup_writer_new(&j.w, o->zstd, sr_state_dir(j.r->state), o->write, o->ctx, &own);
	if (rc == SR_OK) {
		fill_info(&j);
		rc = write_stores(&j, &own);
		if (rc == SR_OK && !o->exact)
			own_root(&j);
		if (rc == SR_OK)
			rc = sr_backup_finish(j.w, &made, &own);
		else
			sr_backup_fail(j.w, &own);
	}
	free_job(&j);
	if (rc == SR_OK)
		*info = made;
	else
		sr_backup_info_free(&made);
	if (rc != SR_OK && err)
		*err = own;
	return rc;
}

/* --- HTTP ----------------------------------------------------------------------------------------------------------- */

struct answer {
	struct sr_request *req;
	bool gone; /* nobody reads it any more */
};

static enum sr_status to_reply(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct answer *a = ctx;
	enum sr_status rc = sr_reply_write(a->req, at, n, err);

	a->gone |= rc != SR_OK;
	return rc;
}

enum sr_status sr_backup_reply(struct sr_request *req, struct sr_pin *pin, const struct sr_serve *serve, bool exact, struct sr_err *err)
{
	const char *zstd = sr_request_query_text(req, "zstd");
	struct answer answer = {.req = req};
	struct sr_backup_job job = {
		.pin = pin, .serve = serve, .exact = exact, .zstd = zstd && !strcmp(zstd, "1"), .write = to_reply, .ctx = &answer};
	struct sr_backup_info info = {0};
	enum sr_status rc;

	sr_reply_start(req, 200, job.zstd ? "application/zstd" : "application/x-tar", -1);
	rc = sr_backup_write(&job, &info, err);
	sr_backup_info_free(&info);
	if (answer.gone)
		return rc;
	if (rc != SR_OK)
		sr_warn("backup: %s", err->text); /* and the backup says so itself */
	sr_reply_end(req);
	return SR_OK;
}
