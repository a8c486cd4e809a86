/* backup.c - `sameroot backup`: see sameroot(1) and sameroot-backup(5).
 *
 * A running daemon writes it, and what comes is read and checked while it is stored: a backup that was never read is a hope.  Without a daemon it is
 * made here, under its lock. */
#include "lib/admin/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/admin/here.h"
#include "lib/admin/offline.h"
#include "lib/admin/table.h"
#include "lib/replica/backup.h"

#define QUIET_S 3600 /* a database is copied before its first byte comes */
#define SHOWN   20   /* things that are left out, for people */

/* --- showing ---------------------------------------------------------------------------------------------------------- */

void sr_byte_line_start(struct sr_byte_line *b, const struct sr_admin *a, const char *what)
{
	*b = (struct sr_byte_line){.line = sr_progress_line_wanted(fileno(a->notes), a->json) ? sr_progress_line_new(fileno(a->notes)) : NULL};
	b->p.what = what;
	sr_byte_line_at(b, 0, 0);
}

void sr_byte_line_at(struct sr_byte_line *b, uint64_t done, uint64_t total)
{
	b->p.bytes_done = done;
	b->p.bytes_total = total;
	if (b->line)
		sr_progress_line_show(b->line, &b->p);
}

void sr_byte_line_end(struct sr_byte_line *b)
{
	b->p.what = NULL;
	sr_byte_line_at(b, 0, 0);
	sr_progress_line_free(b->line);
	b->line = NULL;
}

static void totals(const struct sr_backup_info *info, uint64_t *leaves, uint64_t *bytes)
{
	*leaves = *bytes = 0;
	for (size_t i = 0; i < info->n; i++) {
		*leaves += info->stores[i].leaves;
		*bytes += info->stores[i].bytes;
	}
}

void sr_backup_show(const struct sr_backup_info *info, const char *file, FILE *out, FILE *notes)
{
	char root[SR_HASH_TEXT], when[SR_WHEN_TEXT];
	uint64_t leaves, bytes;

	totals(info, &leaves, &bytes);
	sr_hash_text(root, &info->root);
	sr_when_text(when, info->taken_ms);
	fprintf(out, "%s: of this %s, taken %s, epoch %" PRIu64 ", seq %" PRIu64 ", root %s\n", file, info->role, when, info->epoch, info->seq,
		root);
	for (size_t i = 0; i < info->n; i++)
		fprintf(out, "  %s: %" PRIu64 " entries, %.1f MB\n", info->stores[i].name, info->stores[i].leaves,
			(double)info->stores[i].bytes / 1e6);
	for (size_t i = 0; i < info->left_out_n && i < SHOWN; i++)
		fprintf(notes, "%s: %s: %s\n", info->left_out[i].missing ? "MISSING" : "not in it", info->left_out[i].path, info->left_out[i].why);
	if (info->left_out_count > SHOWN)
		fprintf(notes, "not in it: %" PRIu64 " paths in all; the manifest names %zu of them\n", info->left_out_count, info->left_out_n);
}

static json_t *uuid_json(const struct sr_uuid *u)
{
	char text[SR_UUID_TEXT];

	sr_uuid_text(text, u);
	return sr_uuid_none(u) ? json_null() : json_string(text);
}

struct json_t *sr_backup_json(const struct sr_backup_info *info, const char *file)
{
	char root[SR_HASH_TEXT];
	json_t *o = json_object(), *stores = json_array(), *left_out = json_array();

	sr_hash_text(root, &info->root);
	for (size_t i = 0; i < info->n; i++)
		json_array_append_new(stores, json_pack("{s:s, s:s, s:I, s:I}", "name", info->stores[i].name, "kind",
							info->stores[i].kind == SR_KIND_FILES ? "files" : "sqlite", "leaves",
							(json_int_t)info->stores[i].leaves, "bytes", (json_int_t)info->stores[i].bytes));
	for (size_t i = 0; i < info->left_out_n; i++)
		json_array_append_new(left_out, json_pack("{s:s, s:s, s:b}", "path", info->left_out[i].path, "why", info->left_out[i].why,
							  "missing", (int)info->left_out[i].missing));
	json_object_set_new(o, "file", json_string(file));
	json_object_set_new(o, "role", json_string(info->role));
	json_object_set_new(o, "taken_ms", json_integer(info->taken_ms));
	json_object_set_new(o, "node", uuid_json(&info->node));
	json_object_set_new(o, "instance", uuid_json(&info->instance));
	json_object_set_new(o, "epoch", json_integer((json_int_t)info->epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)info->seq));
	json_object_set_new(o, "root", json_string(root));
	json_object_set_new(o, "stores", stores);
	json_object_set_new(o, "left_out", left_out);
	json_object_set_new(o, "left_out_count", json_integer((json_int_t)info->left_out_count));
	json_object_set_new(o, "missing_count", json_integer((json_int_t)info->missing_count));
	return o;
}

/* --- the file --------------------------------------------------------------------------------------------------------- */

struct target {
	const char *file; /* "-": standard output */
	char *part;       /* beside it, until it is whole */
	int fd;
	uint64_t bytes;
	struct sr_byte_line line;
	struct sr_stream *stream; /* of a running daemon */
};

/* Its place is taken by a rename, which would put a file where a directory, a pipe or /dev/null is. */
static enum sr_status check_place(const char *file, struct sr_err *err)
{
	struct stat st;

	if (stat(file, &st) || S_ISREG(st.st_mode))
		return SR_OK;
	if (S_ISDIR(st.st_mode))
		return sr_err_set(err, SR_E_USAGE, "%s: is a directory: name a file in it", file);
	return sr_err_set(err, SR_E_USAGE, "%s: is no regular file: say - for the standard output, and redirect that", file);
}

static bool is_beneath(const char *dir, const char *store)
{
	char *top = store ? realpath(store, NULL) : NULL;
	size_t len = top ? strlen(top) : 0;
	bool is = top && !strncmp(dir, top, len) && (!dir[len] || dir[len] == '/');

	free(top);
	return is;
}

/* In a store it would be synchronised itself, with all that the backup after it holds of it. */
static enum sr_status check_stores(const char *file, const struct sr_config *config, struct sr_err *err)
{
	char *name = sr_strdup(file), *dir = realpath(dirname(name), NULL);
	enum sr_status rc = SR_OK;

	for (size_t i = 0; dir && rc == SR_OK && i < config->store_count; i++) {
		const struct sr_config_store *s = &config->stores[i];

		if (s->kind == SR_CONFIG_FILES && (is_beneath(dir, s->path) || is_beneath(dir, s->datastore_path)))
			rc = sr_err_set(err, SR_E_USAGE, "%s: lies in the store %s, and would be synchronised itself", file, s->name);
	}
	free(dir);
	free(name);
	return rc;
}

static enum sr_status open_target(struct target *t, const struct sr_admin *a, struct sr_err *err)
{
	enum sr_status rc;

	t->file = a->path;
	if (!strcmp(t->file, "-")) {
		t->fd = STDOUT_FILENO;
		return isatty(t->fd) ? sr_err_set(err, SR_E_USAGE, "-: a backup is not for a terminal") : SR_OK;
	}
	rc = check_place(t->file, err);
	if (rc == SR_OK)
		rc = check_stores(t->file, a->config, err);
	if (rc != SR_OK)
		return rc;
	t->part = sr_format("%s.part", t->file);
	t->fd = open(t->part, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return sr_err_sys(err, SR_E_IO, "%s", t->part);
	if (flock(t->fd, LOCK_EX | LOCK_NB)) {
		close(t->fd);
		t->fd = -1;
		return sr_err_set(err, SR_E_BUSY, "%s: another backup is being written there", t->part);
	}
	if (fchmod(t->fd, 0600) || ftruncate(t->fd, 0))
		return sr_err_sys(err, SR_E_IO, "%s", t->part);
	return SR_OK;
}

static enum sr_status store(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct target *t = ctx;

	while (n) {
		ssize_t done = write(t->fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return sr_err_sys(err, SR_E_IO, "%s", t->part ? t->part : "standard output");
		at = (const char *)at + done;
		n -= (size_t)done;
		t->bytes += (uint64_t)done;
	}
	sr_byte_line_at(&t->line, t->bytes, 0);
	return SR_OK;
}

static enum sr_status sync_directory(const char *file, struct sr_err *err)
{
	const char *slash = strrchr(file, '/');
	char *dir = slash ? sr_format("%.*s", (int)(slash == file ? 1 : slash - file), file) : sr_strdup(".");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum sr_status rc = fd < 0 || fsync(fd) ? sr_err_sys(err, SR_E_IO, "%s", dir) : SR_OK;

	if (fd >= 0)
		close(fd);
	free(dir);
	return rc;
}

static enum sr_status keep(struct target *t, struct sr_err *err)
{
	if (!t->part)
		return SR_OK;
	if (fsync(t->fd) || rename(t->part, t->file))
		return sr_err_sys(err, SR_E_IO, "%s", t->part);
	return sync_directory(t->file, err);
}

static void close_target(struct target *t, bool drop)
{
	if (t->part && t->fd >= 0) {
		if (drop)
			unlink(t->part);
		close(t->fd);
	}
	free(t->part);
}

/* --- from a running daemon --------------------------------------------------------------------------------------------- */

static enum sr_status read_and_store(void *ctx, void *at, size_t n, size_t *got, struct sr_err *err)
{
	struct target *t = ctx;
	enum sr_status rc = sr_stream_read(t->stream, at, n, got, err);

	return rc == SR_OK && *got ? store(t, at, *got, err) : rc;
}

static bool wants_zstd(const char *file)
{
	size_t n = strlen(file);

	return n > 4 && !strcmp(file + n - 4, ".zst");
}

static enum sr_status from_daemon(struct sr_here *h, struct target *t, struct sr_backup_info *info, struct sr_err *err)
{
	struct sr_call call = {.target = wants_zstd(t->file) ? "/api/admin/backup?zstd=1" : "/api/admin/backup", .quiet_s = QUIET_S};
	struct sr_backup_source source = {.file = t->file, .read = read_and_store, .read_ctx = t};
	struct sr_answer answer = {0};
	enum sr_status rc = sr_here_stream(h, &call, &answer, &t->stream, err);

	if (rc == SR_OK)
		rc = sr_backup_verify(&source, info, err);
	sr_stream_close(t->stream);
	sr_answer_free(&answer);
	return rc;
}

/* --- without one ------------------------------------------------------------------------------------------------------- */

static enum sr_status write_pinned(struct sr_replica *r, struct target *t, struct sr_backup_info *info, struct sr_err *err)
{
	struct sr_pin pin = {0};
	struct sr_anchor at;
	struct sr_backup_job job = {.pin = &pin, .zstd = wants_zstd(t->file), .write = store, .ctx = t};
	enum sr_status rc = sr_offline_at(r, &at, err);

	if (rc != SR_OK)
		return rc;
	sr_pin_take(&pin, r, NULL, NULL);
	pin.at.instance = at.instance;
	pin.at.epoch = at.epoch;
	pin.at.seq = at.seq;
	rc = sr_backup_write(&job, info, err);
	sr_pin_release(&pin);
	return rc;
}

static enum sr_status made_here(const struct sr_admin *a, struct target *t, struct sr_backup_info *info, struct sr_err *err)
{
	struct sr_replica *r = NULL;
	int lock = -1;
	enum sr_status rc = sr_offline_open(&r, a, true, err);

	if (rc == SR_OK)
		rc = sr_backup_begin(r, &lock, err);
	if (rc == SR_OK && !sr_replica_use(r))
		rc = sr_err_set(err, SR_E_NOINPUT, "%s: no tree is known: no round went through yet", sr_admin_state_dir(a));
	if (rc == SR_OK) {
		rc = write_pinned(r, t, info, err);
		sr_replica_unuse(r);
	}
	if (lock >= 0)
		sr_backup_end(lock);
	sr_offline_close(r);
	return rc;
}

/* --- the command ------------------------------------------------------------------------------------------------------- */

static enum sr_status make(const struct sr_admin *a, struct target *t, struct sr_backup_info *info, struct sr_err *err)
{
	struct sr_here here = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc != SR_OK)
		return rc;
	rc = from_daemon(&here, t, info, err);
	if (rc == SR_E_UNAVAILABLE && here.absent)
		rc = made_here(a, t, info, err);
	sr_here_close(&here);
	return rc;
}

static void report(const struct sr_admin *a, const struct target *t, const struct sr_backup_info *info)
{
	FILE *out = t->part ? a->out : a->notes;

	if (a->json) {
		json_t *o = sr_backup_json(info, t->file);

		json_object_set_new(o, "size", json_integer((json_int_t)t->bytes));
		json_dumpf(o, out, JSON_COMPACT);
		fputc('\n', out);
		json_decref(o);
		return;
	}
	sr_backup_show(info, t->file, out, a->notes);
	fprintf(out, "  %.1f MB written\n", (double)t->bytes / 1e6);
}

enum sr_status sr_admin_backup(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct target t = {.fd = -1};
	struct sr_backup_info info = {0};
	enum sr_status rc;

	if (!a->path)
		return sr_err_set(err, SR_E_USAGE, "backup: into which FILE? - is the standard output");
	rc = open_target(&t, a, err);
	if (rc == SR_OK) {
		sr_byte_line_start(&t.line, a, "backup");
		rc = make(a, &t, &info, err);
		sr_byte_line_end(&t.line);
	}
	if (rc == SR_OK)
		rc = keep(&t, err);
	if (rc == SR_OK) {
		report(a, &t, &info);
		*status = info.missing_count ? SR_EXIT_DIFFERENT : 0;
	}
	close_target(&t, rc != SR_OK);
	sr_backup_info_free(&info);
	return rc;
}
