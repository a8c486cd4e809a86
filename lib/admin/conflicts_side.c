/* conflicts_side.c - see conflicts.h: the archive, with and without a daemon. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/admin/conflicts.h"
#include "lib/admin/offline.h"
#include "lib/base/json.h"
#include "lib/leaf/leaf_json.h"
#include "lib/replica/conflict.h"
#include "lib/replica/report.h"

#define ARCHIVE     "archive" /* below the state directory: lib/state/archive.h */
#define RECORD_MOST ((size_t)64 << 20)
#define ENTRY_MOST  ((size_t)32 << 20) /* of one that is shown: the values of two rows, 1 MiB of each (lib/leaf/leaf_json.c), and its path */
#define LISTED_MOST ((size_t)256 << 20) /* of the descriptions in the archive here */
#define ALL_ITEMS   250000             /* the entries of all nodes */

enum sr_status sr_conflicts_open(struct sr_conflicts *c, const struct sr_admin *a, struct sr_err *err)
{
	*c = (struct sr_conflicts){.a = a};
	return sr_here_open(&c->here, a, err);
}

void sr_conflicts_close(struct sr_conflicts *c)
{
	sr_offline_close(c->replica);
	sr_here_close(&c->here);
}

static enum sr_status parse(enum sr_status rc, struct sr_buf *body, json_t **out, struct sr_err *err)
{
	if (rc == SR_OK) {
		*out = json_loadb(body->at ? (const char *)body->at : "", body->len, JSON_ALLOW_NUL, NULL);
		if (!*out)
			rc = sr_err_set(err, SR_E_DATA, "answer about conflicts: not JSON");
	}
	sr_buf_free(body);
	return rc;
}

/* No daemon answered: is there something without one? */
static bool is_absent(const struct sr_conflicts *c, enum sr_status rc)
{
	return rc == SR_E_UNAVAILABLE && c->here.absent && c->here.ever;
}

static enum sr_status need_replica(struct sr_conflicts *c, struct sr_err *err)
{
	return c->replica ? SR_OK : sr_offline_open(&c->replica, c->a, true, err);
}

/* --- the list ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status read_archive(const char *state_dir, struct sr_buf *out, struct sr_err *err)
{
	char *dir = sr_format("%s/" ARCHIVE, state_dir);
	struct sr_archive *archive = NULL;
	struct stat st;
	bool there = stat(dir, &st) == 0;
	enum sr_status rc = SR_OK;

	/* Opening would make it, and a daemon that is not root's could not write to it. */
	if (!there && errno != ENOENT)
		rc = sr_err_sys(err, SR_E_IO, "%s", dir);
	else if (!there)
		sr_buf_bytes(out, sr_bytes_of("[]"));
	else
		rc = sr_archive_open(&archive, state_dir, err);
	if (archive)
		rc = sr_report_conflicts(archive, out, err);
	sr_archive_close(archive);
	free(dir);
	return rc;
}

/* The list says of each entry less than its own .json; and some may come meanwhile. */
static size_t list_most(const char *state_dir)
{
	char *path = sr_format("%s/" ARCHIVE, state_dir);
	DIR *dir = opendir(path);
	struct dirent *e;
	struct stat st;
	uint64_t items = 0, bytes = 0;

	while (dir && (e = readdir(dir))) {
		size_t len = strlen(e->d_name);

		if (len < 5 || strcmp(e->d_name + len - 5, ".json") != 0)
			continue;
		items++;
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_size;
	}
	if (dir)
		closedir(dir);
	free(path);
	return sr_answer_of(items) + (bytes < LISTED_MOST ? (size_t)bytes : LISTED_MOST);
}

enum sr_status sr_conflicts_list(struct sr_conflicts *c, json_t **out, struct sr_err *err)
{
	struct sr_buf body = {0};
	enum sr_status rc = sr_here_get(&c->here, "/api/admin/conflicts", list_most(c->here.state_dir), &body, err);

	if (is_absent(c, rc))
		rc = read_archive(c->here.state_dir, &body, err);
	rc = parse(rc, &body, out, err);
	if (rc == SR_OK && !json_is_array(*out)) {
		json_decref(*out);
		rc = sr_err_set(err, SR_E_DATA, "list of conflicts: not a JSON array");
	}
	return rc;
}

/* --- one --------------------------------------------------------------------------------------------------------------------------- */

/* Does another node hold it?  What the datastore last heard; that it cannot be asked is no fault here. */
static enum sr_status say_where(const struct sr_admin *a, const char *given, struct sr_err *err)
{
	json_t *all = NULL, *node, *e;
	struct sr_err ignored;
	size_t i, k;

	if (sr_conflicts_everywhere(a, &all, &ignored) != SR_OK)
		return err->code;
	for (i = 0; (node = json_array_get(all, i)); i++)
		for (k = 0; (e = json_array_get(json_object_get(node, "entries"), k)); k++)
			if (strncmp(sr_json_text(e, "id", ""), given, strlen(given)) == 0) {
				sr_err_set(err, SR_E_NOTFOUND, "%.64s: this version lies on the %s %s (%.8s): run it there", given,
					   sr_json_text(node, "role", "node"), sr_json_text(node, "name", "-"),
					   sr_json_text(node, "uuid", "-"));
				goto out;
			}
out:
	json_decref(all);
	return err->code;
}

enum sr_status sr_conflicts_show(struct sr_conflicts *c, const char *given, json_t **out, struct sr_err *err)
{
	struct sr_buf body = {0}, target = {0};
	enum sr_status rc;

	if (given[0] == '.') /* "..": no path of a request */
		return sr_err_set(err, SR_E_NOTFOUND, "%.64s: no such archived version on this node", given);
	sr_buf_printf(&target, "/api/admin/conflicts/");
	sr_percent(&target, sr_bytes_of(given), "");
	rc = *given ? sr_here_get(&c->here, sr_buf_text(&target), ENTRY_MOST, &body, err) : sr_err_set(err, SR_E_USAGE, "an id is empty");
	if (is_absent(c, rc)) {
		rc = need_replica(c, err);
		if (rc == SR_OK)
			rc = sr_conflict_show(c->replica, given, &body, err);
	}
	if (rc == SR_E_NOTFOUND)
		rc = say_where(c->a, given, err);
	sr_buf_free(&target);
	return parse(rc, &body, out, err);
}

static enum sr_status write_part(void *ctx, struct sr_bytes part, struct sr_err *err)
{
	return fwrite(part.at, 1, part.len, ctx) == part.len ? SR_OK : sr_err_sys(err, SR_E_IO, "write to the standard output");
}

static enum sr_status content_here(struct sr_conflicts *c, const char *id, struct sr_err *err)
{
	uint8_t block[8192];
	ssize_t got = 0;
	int fd = -1;
	enum sr_status rc = sr_archive_data(c->replica->archive, id, &fd, err);

	while (rc == SR_OK && (got = read(fd, block, sizeof block)) > 0)
		rc = write_part(c->a->out, sr_bytes(block, (size_t)got), err);
	if (got < 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", id);
	if (fd >= 0)
		close(fd);
	return rc;
}

enum sr_status sr_conflicts_content(struct sr_conflicts *c, const char *id, struct sr_err *err)
{
	struct sr_answer answer = {0};
	char *target = sr_format("/api/admin/conflicts/%s/content", id);
	enum sr_status rc;

	if (c->replica)
		rc = content_here(c, id, err);
	else
		rc = sr_client_call(c->here.client, &(struct sr_call){.target = target, .sink = write_part, .sink_ctx = c->a->out}, &answer,
				    err);
	sr_answer_free(&answer);
	free(target);
	return rc;
}

/* --- doing ---------------------------------------------------------------------------------------------------------------------------- */

static enum sr_status do_offline(struct sr_conflicts *c, const char *what, struct sr_bytes wish, struct sr_buf *out, struct sr_err *err)
{
	enum sr_status rc = need_replica(c, err);

	if (rc != SR_OK)
		return rc;
	if (strcmp(what, "remove") == 0)
		return sr_conflict_remove(c->replica->archive, wish, out, err);
	return sr_conflict_restore(c->replica, wish, &(struct sr_conflict_editor){.edit = sr_conflict_edit, .ctx = c->replica}, out, err);
}

enum sr_status sr_conflicts_do(struct sr_conflicts *c, const char *what, const json_t *wish, json_t **out, struct sr_err *err)
{
	char *target = sr_format("/api/admin/conflicts/%s", what), *text = json_dumps(wish, JSON_COMPACT);
	struct sr_buf body = {0};
	enum sr_status rc = c->replica ? SR_E_UNAVAILABLE : sr_here_post(&c->here, target, sr_bytes_of(text), sr_answer_of(strlen(text) / SR_ARCHIVE_ID), &body, err);

	if (c->replica || is_absent(c, rc))
		rc = do_offline(c, what, sr_bytes_of(text), &body, err);
	free(target);
	free(text);
	return parse(rc, &body, out, err);
}

/* --- the datastore ------------------------------------------------------------------------------------------------------------------------ */

/* One GET of the datastore: of this machine's as its admin, of another's as a webserver. */
static enum sr_status ask(const struct sr_admin *a, const char *target, size_t most, struct sr_buf *out, struct sr_err *err)
{
	struct sr_contact *contact = NULL;
	struct sr_answer answer = {0};
	struct sr_here here = {0};
	enum sr_status rc;

	if (sr_admin_is_datastore(a)) {
		rc = sr_here_open(&here, a, err);
		if (rc == SR_OK)
			rc = sr_here_get(&here, target, most, out, err);
		sr_here_close(&here);
		return rc;
	}
	rc = sr_there_open(&contact, a->config, err);
	if (rc != SR_OK)
		return rc;
	rc = sr_client_call(sr_contact_client(contact), &(struct sr_call){.target = target, .max_answer = most}, &answer, err);
	if (rc == SR_OK)
		sr_buf_bytes(out, sr_buf_view(&answer.body));
	else
		rc = sr_contact_explain(contact, err);
	sr_answer_free(&answer);
	sr_contact_close(contact);
	return rc;
}

enum sr_status sr_conflicts_everywhere(const struct sr_admin *a, json_t **out, struct sr_err *err)
{
	struct sr_buf body = {0};
	enum sr_status rc = ask(a, "/api/conflicts", sr_answer_of(ALL_ITEMS), &body, err);

	rc = parse(rc, &body, out, err);
	if (rc == SR_OK && !json_is_array(*out)) {
		json_decref(*out);
		*out = NULL;
		rc = sr_err_set(err, SR_E_DATA, "conflicts of all nodes: not a JSON array");
	}
	return rc;
}

json_t *sr_conflicts_columns(const struct sr_admin *a, const char *hash, const char *path)
{
	struct sr_buf target = {0}, record = {0};
	struct sr_err ignored;
	json_t *columns = NULL;

	sr_buf_printf(&target, "/api/blob/%s?path=", hash);
	sr_percent(&target, sr_bytes_of(path), "/");
	if (ask(a, sr_buf_text(&target), RECORD_MOST, &record, &ignored) == SR_OK)
		columns = sr_columns_json(sr_buf_view(&record));
	sr_buf_free(&target);
	sr_buf_free(&record);
	return columns;
}
