/* scan.c - direct edits of the datastore's own files, committed like pushes; and what older roots need, kept and forgotten. */
#include "lib/datastore/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"

struct found {
	struct sr_datastore *d;
	struct sr_anchor next;
	int64_t now_ms;
	size_t changes;
	bool quiet;
};

/* A direct edit is an ordinary version: as of now. */
static enum sr_status make_ordinary(struct sr_datastore *d, const struct sr_store_row *st, struct sr_bytes path, struct sr_err *err)
{
	struct sr_leaf_row row;
	enum sr_status rc = sr_state_leaf(d->r->state, st, path, &row, err);

	if (rc != SR_OK)
		return rc;
	row.path = path;
	row.base_state = SR_BASE_KNOWN;
	row.base = row.local;
	row.epoch = row.seq = 0;
	return sr_state_leaf_put(d->r->state, st, &row, err);
}

static enum sr_status on_change(void *ctx, size_t i, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to,
				struct sr_err *err)
{
	struct found *f = ctx;
	struct sr_replica_store *s = &f->d->r->stores[i];
	struct sr_journal_row row = {
		.epoch = f->next.epoch, .seq = f->next.seq, .store = s->name, .path = path, .from = *from, .to = *to, .at_ms = f->now_ms};
	enum sr_status rc = make_ordinary(f->d, &s->row, path, err);

	f->changes++;
	if (f->quiet || rc != SR_OK)
		return rc;
	rc = sr_state_journal_add(f->d->r->state, &row, err);
	if (rc == SR_OK && to->kind == SR_KIND_NONE)
		rc = sr_state_deleted_add(f->d->r->state, &s->row, path, f->next.epoch, f->next.seq, err);
	return rc;
}

/* Inside a state transaction whose memory half is done: from here on a failure leaves memory ahead of the disk. */
static enum sr_status finish(struct sr_datastore *d, struct sr_anchor *next, bool is_new_root, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	if (is_new_root) {
		sr_replica_reroot(d->r);
		next->root = d->r->root;
		rc = sr_ds_identity_put(d, next, err);
	}
	if (rc == SR_OK)
		rc = sr_state_commit(d->r->state, err);
	else
		sr_state_rollback(d->r->state);
	if (rc != SR_OK)
		return sr_ds_break(d, err);
	if (is_new_root)
		d->at = *next;
	return SR_OK;
}

static enum sr_status scan(struct sr_datastore *d, size_t i, bool quiet, struct sr_err *err)
{
	struct found f = {.d = d, .next = d->at, .now_ms = sr_now_ms(), .quiet = quiet};
	enum sr_status rc = sr_state_begin(d->r->state, err);

	if (rc != SR_OK)
		return rc;
	f.next.seq++;
	d->judging = !quiet;
	rc = sr_replica_scan(d->r, i, false, on_change, &f, err);
	d->judging = false;
	sr_replica_unview(d->r);
	if (rc != SR_OK) {
		const char *held = rc == SR_E_HELD ? strstr(err->text, "held:") : NULL; /* for the operator, as it is */

		sr_state_rollback(d->r->state);
		if (!d->fault[i][0])
			sr_warn("%s", err->text);
		snprintf(d->fault[i], sizeof(d->fault[i]), "%.250s", held ? held : err->text);
		return rc;
	}
	d->fault[i][0] = '\0';
	if (f.changes && !quiet)
		sr_info("store %s: %zu entries were changed directly", d->r->stores[i].name, f.changes);
	return finish(d, &f.next, f.changes && !quiet, err);
}

enum sr_status sr_ds_scan(struct sr_datastore *d, size_t i, struct sr_err *err)
{
	return scan(d, i, false, err);
}

enum sr_status sr_ds_scan_quietly(struct sr_datastore *d, size_t i, struct sr_err *err)
{
	return scan(d, i, true, err);
}

enum sr_status sr_ds_advance(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_anchor next = d->at;
	enum sr_status rc;

	if (sr_hash_eq(&d->r->root, &d->at.root))
		return SR_OK;
	next.seq++;
	rc = sr_state_begin(d->r->state, err);
	return rc == SR_OK ? finish(d, &next, true, err) : rc;
}

/* --- what older roots need ---------------------------------------------------------------------------------------- */

int sr_ds_kept_dir(struct sr_datastore *d, size_t i, bool make)
{
	char *path = sr_format("%s/.sameroot/kept", sr_store_path(d->r->stores[i].store));
	int fd;

	if (make)
		mkdir(path, 0700); /* its failure shows in the open */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	free(path);
	return fd;
}

static void trim_kept(struct sr_datastore *d, size_t i)
{
	int fd = sr_ds_kept_dir(d, i, false);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct sr_buf record = {0};
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir))) {
		struct sr_hash hash;
		bool found = true;

		if (!sr_hash_parse(&hash, sr_bytes_of(e->d_name)))
			continue;
		sr_buf_clear(&record);
		if (sr_state_replaced(d->r->state, &hash, &record, &found, NULL) == SR_OK && !found)
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	closedir(dir);
	sr_buf_free(&record);
}

enum sr_status sr_ds_trim(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_ds_root oldest;
	enum sr_status rc;

	if (!sr_ds_oldest_readable(d, &oldest) || (oldest.epoch == d->trimmed_epoch && oldest.seq == d->trimmed_seq))
		return SR_OK;
	/* What the commit of seq replaced is in the roots before it. */
	rc = sr_state_replaced_trim(d->r->state, oldest.epoch, oldest.seq + 1, SR_DS_RECORDS, err);
	if (rc == SR_OK)
		rc = sr_state_roots_trim(d->r->state, SR_DS_ROOTS, err);
	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		if (d->r->stores[i].kind == SR_KIND_FILES && d->r->stores[i].mode == SR_MODE_READY)
			trim_kept(d, i);
	d->trimmed_epoch = oldest.epoch;
	d->trimmed_seq = oldest.seq;
	return rc;
}

static enum sr_status older_file(struct sr_datastore *d, size_t store, const struct sr_version *version, struct sr_content *out,
				 struct sr_err *err)
{
	char name[SR_HASH_TEXT];
	struct stat st;
	int dir = sr_ds_kept_dir(d, store, false), fd;

	sr_hash_text(name, &version->hash);
	fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		close(dir);
	if (fd < 0 || fstat(fd, &st)) {
		if (fd >= 0)
			close(fd);
		return sr_err_set(err, SR_E_NOTFOUND, "no file with hash %s is kept", name);
	}
	out->fd = fd;
	out->version = *version;
	out->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	return SR_OK;
}

static enum sr_status older_row(struct sr_datastore *d, const struct sr_version *version, struct sr_buf *buf, struct sr_content *out,
				struct sr_err *err)
{
	bool found = false;
	enum sr_status rc = SR_OK;

	sr_buf_clear(buf);
	pthread_mutex_lock(&d->old_lock);
	if (!d->old)
		rc = sr_state_reader(&d->old, d->config->datastore_state_directory, err);
	if (rc == SR_OK)
		rc = sr_state_replaced(d->old, &version->hash, buf, &found, err);
	pthread_mutex_unlock(&d->old_lock);
	if (rc != SR_OK)
		return rc;
	if (!found || !buf->len)
		return sr_err_set(err, SR_E_NOTFOUND, "no such record is kept");
	out->record = sr_buf_view(buf);
	out->version = *version;
	out->fd = -1;
	return SR_OK;
}

enum sr_status sr_ds_older(void *ctx, size_t store, struct sr_bytes path, const struct sr_version *version, struct sr_buf *buf,
			   struct sr_content *out, struct sr_err *err)
{
	struct sr_datastore *d = ctx;

	(void)path;
	*out = (struct sr_content){.fd = -1};
	if (version->kind == SR_KIND_FILE)
		return older_file(d, store, version, out, err);
	if (version->kind == SR_KIND_ROW)
		return older_row(d, version, buf, out, err);
	return sr_err_set(err, SR_E_NOTFOUND, "only files and rows have content");
}
