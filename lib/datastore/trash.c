/* trash.c - what was replaced or deleted: kept for roots that are still readable, for merging, and for Trash-Days within Trash-Max-Bytes.
 *
 * state.db says what is kept (lib/state/trash.h); the content of files lies in <store>/.sameroot/kept, named by its hash.  A name comes there
 * before state.db knows of it, and goes when state.db has forgotten it, so a crash leaves one too many, which the first look at the
 * directory removes.  No other look is taken.  A table that was built anew lies beside its database as it was (sr_store_was), for Trash-Days. */
#include "lib/datastore/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/state/trash.h"

#define FORGET_AT_ONCE 20000     /* entries, while pushes wait */
#define LOOK_EVERY_MS  60000     /* time passes for what is kept though nothing changes */
#define DAY_MS         86400000ll
#define STATE_ROOM     (1u << 20) /* bytes that a commit needs in the state directory ... */
#define LEAF_ROOM      2048       /* ... and more for each leaf: its row, journal and intent, in the write-ahead log and behind it */

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

static bool holds_files(const struct sr_replica_store *s)
{
	return s->kind == SR_KIND_FILES && s->mode == SR_MODE_READY;
}

/* --- forgetting --------------------------------------------------------------------------------------------------- */

static void remove_kept(struct sr_datastore *d, size_t i, struct sr_bytes hashes)
{
	int fd = hashes.len ? sr_ds_kept_dir(d, i, false) : -1;
	struct sr_reader in = sr_reader(hashes);

	while (fd >= 0 && sr_read_left(&in)) {
		char name[SR_HASH_TEXT];
		struct sr_hash hash;

		memcpy(hash.b, sr_read_bytes(&in, SR_HASH_LEN).at, SR_HASH_LEN);
		sr_hash_text(name, &hash);
		unlinkat(fd, name, 0); /* it may be another store's, or have lost its way */
	}
	if (fd >= 0)
		close(fd);
}

/* What a crash left, or a state.db that is gone. */
static void sweep_kept(struct sr_datastore *d, size_t i)
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
		if (sr_state_replaced(d->r->state, &hash, &record, &found, NULL) == SR_OK && !found)
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	closedir(dir);
	sr_buf_free(&record);
}

static void sweep_once(struct sr_datastore *d)
{
	for (size_t i = 0; i < d->r->n; i++)
		if (holds_files(&d->r->stores[i]) && !d->swept[i]) {
			sweep_kept(d, i);
			d->swept[i] = true;
		}
}

static void expire_tables(struct sr_datastore *d)
{
	for (size_t i = 0; i < d->r->n; i++)
		if (d->r->stores[i].kind == SR_KIND_DATABASE)
			sr_store_expire_was(d->r->stores[i].store, sr_ds_kept_since_ms(d));
}

static enum sr_status forget(struct sr_datastore *d, const struct sr_trash_rule *rule, bool *more, struct sr_err *err)
{
	struct sr_buf files = {0};
	enum sr_status rc = sr_state_trash_trim(d->r->state, rule, &files, more, err);

	for (size_t i = 0; i < d->r->n && rc == SR_OK; i++)
		if (holds_files(&d->r->stores[i]))
			remove_kept(d, i, sr_buf_view(&files));
	sr_buf_free(&files);
	return rc;
}

int64_t sr_ds_kept_since_ms(const struct sr_datastore *d)
{
	return d->clock.ms - (int64_t)d->trash_days * DAY_MS;
}

/* What the commit of seq replaced is in the roots before it. */
static bool rule_of(struct sr_datastore *d, struct sr_trash_rule *out)
{
	struct sr_ds_root oldest;

	if (!sr_ds_oldest_readable(d, &oldest))
		return false;
	*out = (struct sr_trash_rule){.epoch = oldest.epoch,
				      .seq = oldest.seq + 1,
				      .records = SR_DS_RECORDS,
				      .since_ms = sr_ds_kept_since_ms(d),
				      .bytes = d->trash_max_bytes,
				      .most = FORGET_AT_ONCE};
	return true;
}

enum sr_status sr_ds_trim(struct sr_datastore *d, struct sr_err *err)
{
	int64_t now_ms = sr_now_ms();
	struct sr_trash_rule rule;
	bool more = false;
	enum sr_status rc = sr_ds_clock_look(d, err);

	if (rc != SR_OK || !rule_of(d, &rule) || (rule.epoch == d->trimmed_epoch && rule.seq == d->trimmed_seq && now_ms >= d->trimmed_ms &&
				   now_ms - d->trimmed_ms < LOOK_EVERY_MS))
		return rc;
	sweep_once(d);
	expire_tables(d);
	rc = forget(d, &rule, &more, err);
	if (rc == SR_OK)
		rc = sr_state_roots_trim(d->r->state, SR_DS_ROOTS, err);
	sr_state_journal_retain(d->r->state, rule.since_ms);
	if (rc == SR_OK)
		rc = sr_ds_trash_show(d, err);
	d->trimmed_epoch = rule.epoch;
	d->trimmed_seq = more ? 0 : rule.seq;
	d->trimmed_ms = now_ms;
	return rc;
}

const char *sr_ds_full(const struct sr_datastore *d)
{
	return *d->full && sr_ticks_ms() - d->full_ticks < (int64_t)d->interval * 3000 ? d->full : NULL;
}

void sr_ds_had_room(struct sr_datastore *d)
{
	pthread_mutex_lock(&d->face);
	d->full[0] = '\0';
	pthread_mutex_unlock(&d->face);
}

/* Every webserver tries again every round: it is logged once. */
void sr_ds_note_full(struct sr_datastore *d, const char *why)
{
	bool again;

	pthread_mutex_lock(&d->face);
	again = sr_ds_full(d) != NULL;
	snprintf(d->full, sizeof d->full, "%.250s", why);
	d->full_ticks = sr_ticks_ms();
	if (!again)
		d->full_ms = sr_now_ms();
	pthread_mutex_unlock(&d->face);
	if (!again)
		sr_error("what webservers send cannot be taken: %s", why);
}

/* Nobody is sent elsewhere for it: pushes are refused by name, and without its datastore a webserver would not even be told. */
static void show_read_only(struct sr_datastore *d, const char *full)
{
	char *why = full ? sr_format("it serves what was committed last, and takes no push and no direct change until there is room: %s", full) : NULL;

	pthread_mutex_lock(&d->face);
	d->read_only = full;
	pthread_mutex_unlock(&d->face);
	sr_balance_limit(d->balance, why);
	free(why);
}

enum sr_status sr_ds_room(struct sr_datastore *d, uint64_t leaves, struct sr_err *err)
{
	enum sr_status rc = sr_file_room(d->config->datastore_state_directory, STATE_ROOM + leaves * LEAF_ROOM, err);

	if (!leaves)
		show_read_only(d, rc == SR_OK ? NULL : err->text);
	if (rc != SR_OK)
		sr_ds_note_full(d, err->text);
	return rc;
}

void sr_ds_make_room(struct sr_datastore *d, const struct sr_err *full)
{
	struct sr_trash_rule rule;
	struct sr_trash before = {0}, after = {0};
	struct sr_err err = {0};
	bool more = true;
	enum sr_status rc;

	sr_ds_note_full(d, full->text);
	rc = sr_state_trash(d->r->state, &before, &err);
	if (rc != SR_OK || !before.bytes || !rule_of(d, &rule))
		return;
	if (rule.bytes > before.bytes / 2)
		rule.bytes = before.bytes / 2;
	while (rc == SR_OK && more)
		rc = forget(d, &rule, &more, &err);
	if (rc == SR_OK)
		rc = sr_state_trash(d->r->state, &after, &err);
	if (rc == SR_OK && after.bytes < before.bytes)
		sr_warn("the disk is full: forgot the older half of what was replaced or deleted, %llu of %llu bytes",
			(unsigned long long)(before.bytes - after.bytes), (unsigned long long)before.bytes);
	else if (rc != SR_OK)
		sr_warn("the disk is full, and nothing of what was replaced or deleted can be forgotten: %s", err.text);
}

enum sr_status sr_ds_trash_show(struct sr_datastore *d, struct sr_err *err)
{
	struct sr_trash t = {0};
	enum sr_status rc = sr_state_trash(d->r->state, &t, err);

	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&d->face);
	d->trash = t;
	pthread_mutex_unlock(&d->face);
	return SR_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

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
	out->mtime_ns = sr_file_ns(st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
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
