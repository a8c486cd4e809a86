/* verify.c - `sameroot verify`: a backup against its manifest, or a node's stores against its tree. */
#include "lib/admin/backup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/here.h"
#include "lib/admin/offline.h"
#include "lib/base/beneath.h"
#include "lib/base/file.h"
#include "lib/replica/backup.h"
#include "lib/replica/verify.h"

#define QUIET_S  3600
#define LINE_MAX_BYTES (1u << 20)

/* --- a backup ---------------------------------------------------------------------------------------------------------- */

struct checking {
	const struct sr_admin *a;
	struct sr_byte_line line;
	json_t *faults; /* with --json */
	size_t named;   /* faults that were printed */
};

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct checking *c = ctx;

	sr_byte_line_at(&c->line, done, total);
}

static void on_fault(void *ctx, const char *path, const char *what)
{
	struct checking *c = ctx;

	if (c->faults) {
		json_array_append_new(c->faults, json_pack("{s:s, s:s}", "path", path, "what", what));
		return;
	}
	fprintf(c->a->out, "%s%s%s\n", path, *path ? ": " : "", what);
	c->named++;
}

/* What was named is not said again. */
static void sum_up(const struct checking *c, struct sr_err *err)
{
	enum sr_status code = err->code;

	if (c->named)
		sr_err_set(err, code, "%s: it is not sound: %zu fault%s", c->a->path, c->named, c->named == 1 ? "" : "s");
}

static bool is_database(void *ctx, const char *name, uint8_t kind)
{
	(void)ctx, (void)name;
	return kind == SR_KIND_DATABASE;
}

/* The databases are taken out, and SQLite looks at each page. */
static enum sr_status deep(const struct sr_backup_source *source, struct checking *c, struct sr_backup_info *info, struct sr_err *err)
{
	char *dir = NULL;
	enum sr_status rc = sr_file_tmp_dir(&dir, "sameroot-verify", err);
	int fd;

	if (rc != SR_OK)
		goto out;
	rc = sr_backup_extract(source, dir, is_database, NULL, info, err);
	for (size_t i = 0; rc == SR_OK && i < info->n; i++) {
		char *path = sr_format("%s/%s", dir, info->stores[i].name);

		if (info->stores[i].kind == SR_KIND_DATABASE)
			rc = sr_database_check(path, err);
		if (rc == SR_E_DATA) {
			sr_err_set(err, SR_E_DATA, "%s: %s: SQLite does not take it for sound", source->file, info->stores[i].name);
			on_fault(c, info->stores[i].name, "SQLite does not take it for sound");
		}
		free(path);
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		for (size_t i = 0; i < info->n; i++)
			sr_remove_beneath(fd, info->stores[i].name);
		close(fd);
	}
	rmdir(dir);
out:
	free(dir);
	return rc;
}

static enum sr_status verify_file(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct checking c = {.a = a, .faults = a->json ? json_array() : NULL};
	struct sr_backup_source source = {.file = a->path, .progress = on_progress, .fault = on_fault, .ctx = &c};
	struct sr_backup_info info = {0};
	enum sr_status rc;

	sr_byte_line_start(&c.line, a, "reading");
	rc = a->deep ? deep(&source, &c, &info, err) : sr_backup_verify(&source, &info, err);
	sr_byte_line_end(&c.line);
	if (a->json && rc != SR_E_NOINPUT) {
		json_t *o = rc == SR_OK ? sr_backup_json(&info, a->path) : json_pack("{s:s}", "file", a->path);

		json_object_set_new(o, "ok", json_boolean(rc == SR_OK));
		json_object_set(o, "faults", c.faults);
		json_dumpf(o, a->out, JSON_COMPACT);
		fputc('\n', a->out);
		json_decref(o);
	} else if (rc == SR_OK) {
		sr_backup_show(&info, a->path, a->out, a->notes);
		fprintf(a->out, "  every member is what the manifest says%s\n", a->deep ? ", and SQLite takes every page of its databases for sound" : "");
	}
	if (rc == SR_E_DATA)
		sum_up(&c, err);
	json_decref(c.faults);
	sr_backup_info_free(&info);
	*status = 0;
	return rc;
}

/* --- a node ------------------------------------------------------------------------------------------------------------ */

struct looking {
	const struct sr_admin *a;
	struct sr_byte_line line;
	json_t *wrong;   /* with --json, or for --repair */
	json_t *skipped; /* with --json */
	uint64_t n_wrong, n_skipped;
	struct sr_verify_counts counts;
	bool done;
};

static enum sr_status on_wrong(void *ctx, const char *path, const char *what, struct sr_err *err)
{
	struct looking *l = ctx;

	(void)err;
	l->n_wrong++;
	if (l->wrong)
		json_array_append_new(l->wrong, json_pack("{s:s, s:s}", "path", path, "what", what));
	if (!l->a->json)
		fprintf(l->a->out, "%s: %s\n", path, what);
	return SR_OK;
}

static enum sr_status on_skipped(void *ctx, const char *store, const char *why, struct sr_err *err)
{
	struct looking *l = ctx;

	(void)err;
	l->n_skipped++;
	if (l->skipped)
		json_array_append_new(l->skipped, json_pack("{s:s, s:s}", "store", store, "why", why));
	else
		fprintf(l->a->notes, "%s was not looked at: %s\n", store, why);
	return SR_OK;
}

static enum sr_status on_counts(void *ctx, const struct sr_verify_counts *c, struct sr_err *err)
{
	struct looking *l = ctx;

	(void)err;
	sr_byte_line_at(&l->line, c->bytes, c->bytes_total);
	return SR_OK;
}

/* One line of a daemon's answer. */
static enum sr_status take_line(struct looking *l, struct sr_bytes line, struct sr_err *err)
{
	json_t *o = json_loadb((const char *)line.at, line.len, 0, NULL);
	const char *path = json_string_value(json_object_get(o, "path")), *what = json_string_value(json_object_get(o, "what"));
	const char *store = json_string_value(json_object_get(o, "store")), *why = json_string_value(json_object_get(o, "why"));
	const char *error = json_string_value(json_object_get(o, "error"));
	struct sr_verify_counts c = {.leaves = (uint64_t)json_integer_value(json_object_get(o, "leaves")),
				     .bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes")),
				     .bytes_total = (uint64_t)json_integer_value(json_object_get(o, "bytes_total")),
				     .changed = (uint64_t)json_integer_value(json_object_get(o, "changed"))};
	enum sr_status rc = SR_OK;

	if (error)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "%s", error);
	else if (path && what)
		rc = on_wrong(l, path, what, err);
	else if (store && why)
		rc = on_skipped(l, store, why, err);
	else if (json_is_true(json_object_get(o, "done"))) {
		l->done = true;
		l->counts = c;
	} else if (o)
		rc = on_counts(l, &c, err);
	json_decref(o);
	return rc;
}

static enum sr_status by_daemon(struct sr_here *h, struct looking *l, struct sr_err *err)
{
	struct sr_call call = {.target = "/api/admin/verify", .quiet_s = QUIET_S};
	struct sr_answer answer = {0};
	struct sr_stream *stream = NULL;
	struct sr_buf line = {0};
	char part[4096];
	size_t got = 1;
	enum sr_status rc = sr_here_stream(h, &call, &answer, &stream, err);

	while (rc == SR_OK && got) {
		rc = sr_stream_read(stream, part, sizeof part, &got, err);
		for (size_t i = 0; rc == SR_OK && i < got; i++)
			if (part[i] != '\n') {
				if (line.len < LINE_MAX_BYTES)
					sr_buf_byte(&line, (uint8_t)part[i]);
			} else {
				rc = take_line(l, sr_buf_view(&line), err);
				sr_buf_clear(&line);
			}
	}
	if (rc == SR_OK && !l->done)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "the %s broke off", h->name);
	sr_stream_close(stream);
	sr_answer_free(&answer);
	sr_buf_free(&line);
	return rc;
}

static enum sr_status by_hand(struct looking *l, struct sr_err *err)
{
	struct sr_verify_ops ops = {.ctx = l, .wrong = on_wrong, .skipped = on_skipped, .progress = on_counts};
	struct sr_replica *r = NULL;
	struct sr_pin pin = {0};
	int lock = -1;
	enum sr_status rc = sr_offline_open(&r, l->a, true, err);

	if (rc == SR_OK)
		rc = sr_backup_begin(r, &lock, err);
	if (rc == SR_OK && !sr_replica_use(r))
		rc = sr_err_set(err, SR_E_NOINPUT, "%s: no tree is known: no round went through yet", sr_admin_state_dir(l->a));
	if (rc == SR_OK) {
		sr_pin_take(&pin, r, NULL, NULL);
		rc = sr_verify_pin(&pin, &ops, &l->counts, err);
		sr_pin_release(&pin);
		sr_replica_unuse(r);
	}
	if (lock >= 0)
		sr_backup_end(lock);
	sr_offline_close(r);
	return rc;
}

static void report(const struct looking *l)
{
	json_t *o;

	if (!l->a->json) {
		fprintf(l->a->out, "%" PRIu64 " entries, %.1f MB read again: %" PRIu64 " not what the tree says", l->counts.leaves,
			(double)l->counts.bytes / 1e6, l->n_wrong);
		if (l->counts.changed)
			fprintf(l->a->out, "; %" PRIu64 " were changed meanwhile, or just before", l->counts.changed);
		fprintf(l->a->out, "\n");
		return;
	}
	o = json_pack("{s:O, s:O, s:I, s:I, s:I}", "wrong", l->wrong, "skipped", l->skipped, "leaves", (json_int_t)l->counts.leaves, "bytes",
		      (json_int_t)l->counts.bytes, "changed", (json_int_t)l->counts.changed);
	json_dumpf(o, l->a->out, JSON_COMPACT);
	fputc('\n', l->a->out);
	json_decref(o);
}

/* --- repairing ---------------------------------------------------------------------------------------------------------- */

/* Of one; what came of it goes into it as "repaired", the node that had its content, or "left", why not. */
static void repair_one(struct sr_here *h, struct looking *l, json_t *o)
{
	const char *path = json_string_value(json_object_get(o, "path")), *from;
	json_t *wish = json_pack("{s:s}", "path", path), *said;
	char *body = json_dumps(wish, JSON_COMPACT);
	struct sr_call call = {.method = "POST", .target = "/api/admin/repair", .body = sr_bytes_of(body), .quiet_s = QUIET_S};
	struct sr_buf answer = {0};
	struct sr_err own = {0};
	enum sr_status rc = sr_here_call(h, &call, &answer, &own);

	said = rc == SR_OK ? json_loadb((const char *)answer.at, answer.len, 0, NULL) : NULL;
	from = json_string_value(json_object_get(said, "from"));
	if (rc == SR_OK) {
		l->n_wrong--;
		json_object_set_new(o, "repaired", json_string(from ? from : "itself"));
		json_object_del(o, "left");
	} else {
		json_object_set_new(o, "left", json_string(own.text));
	}
	if (!l->a->json && from)
		fprintf(l->a->out, "%s: repaired, from %s; %s\n", path, from,
			json_is_false(json_object_get(said, "archived")) ? "nothing is kept of what had rotted" : "what had rotted is in the conflict archive");
	else if (!l->a->json && rc == SR_OK)
		fprintf(l->a->out, "%s: it is what the tree says again\n", path);
	json_decref(said);
	json_decref(wish);
	free(body);
	sr_buf_free(&answer);
}

static enum sr_status repair(struct sr_here *h, struct looking *l, struct sr_err *err)
{
	char *question = sr_format("Take %s%zu from another node?", json_array_size(l->wrong) == 1 ? "this " : "these ", json_array_size(l->wrong));
	enum sr_status rc = sr_admin_agree(l->a, question, err);
	uint64_t before = l->n_wrong + 1;
	const char *left;
	size_t i;
	json_t *o;

	free(question);
	while (rc == SR_OK && l->n_wrong && l->n_wrong < before) { /* what is left may have been in the way of another */
		before = l->n_wrong;
		json_array_foreach(l->wrong, i, o)
			if (!json_object_get(o, "repaired"))
				repair_one(h, l, o);
	}
	json_array_foreach(l->wrong, i, o)
		if (!l->a->json && (left = json_string_value(json_object_get(o, "left"))))
			fprintf(l->a->out, "%s: %s\n", json_string_value(json_object_get(o, "path")), left);
	return rc;
}

static enum sr_status verify_node(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct looking l = {.a = a, .wrong = a->json || a->repair ? json_array() : NULL, .skipped = a->json ? json_array() : NULL};
	struct sr_here here = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK) {
		sr_byte_line_start(&l.line, a, "reading");
		rc = by_daemon(&here, &l, err);
		if (rc == SR_E_UNAVAILABLE && here.absent && !a->repair)
			rc = by_hand(&l, err);
		sr_byte_line_end(&l.line);
		if (rc == SR_OK && !a->json)
			report(&l);
		if (rc == SR_OK && a->repair && l.n_wrong)
			rc = repair(&here, &l, err);
		sr_here_close(&here);
	}
	if (rc == SR_OK) {
		if (a->json)
			report(&l);
		*status = l.n_wrong || l.n_skipped ? SR_EXIT_DIFFERENT : 0;
	}
	json_decref(l.wrong);
	json_decref(l.skipped);
	return rc;
}

enum sr_status sr_admin_verify(const struct sr_admin *a, int *status, struct sr_err *err)
{
	if (a->deep && !a->path)
		return sr_err_set(err, SR_E_USAGE, "--deep is for a backup: name its FILE");
	if (a->repair && a->path)
		return sr_err_set(err, SR_E_USAGE, "--repair is for a node, not for a backup");
	return a->path ? verify_file(a, status, err) : verify_node(a, status, err);
}
