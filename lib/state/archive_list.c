/* archive_list.c - what lies in the archive: listing, reading, removing.  See archive.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/state/archive_internal.h"
#include "lib/state/archive_json.h"

#define JSON_FILE_MAX (64u << 20) /* bytes of a .json that is read back; many more than are ever written */

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

void sr_archive_ids_add(struct sr_archive_ids *ids, const char *id)
{
	if (ids->n == ids->cap) {
		ids->cap = ids->cap ? 2 * ids->cap : 64;
		ids->id = sr_realloc(ids->id, ids->cap * sizeof(ids->id[0]));
	}
	memcpy(ids->id[ids->n], id, ID_LEN);
	ids->id[ids->n++][ID_LEN] = '\0';
}

enum sr_status sr_archive_each_part(const struct sr_archive *a, sr_part_fn *fn, void *ctx, struct sr_err *err)
{
	enum sr_status status = SR_OK;
	struct dirent *d;
	DIR *dir;
	int fd = openat(a->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* an own position */

	if (fd < 0)
		return sr_archive_fault(a, ".", err);
	dir = fdopendir(fd);
	if (!dir) {
		status = sr_archive_fault(a, ".", err);
		close(fd);
		return status;
	}
	while (errno = 0, (d = readdir(dir)))
		if (strlen(d->d_name) > ID_LEN && sr_archive_is_id(d->d_name, ID_LEN))
			fn(ctx, a, d->d_name, d->d_name + ID_LEN);
	if (errno)
		status = sr_archive_fault(a, ".", err);
	closedir(dir);
	return status;
}

static void note_entry(void *ctx, const struct sr_archive *a, const char *name, const char *suffix)
{
	(void)a;
	if (strcmp(suffix, JSON) == 0)
		sr_archive_ids_add(ctx, name);
}

enum sr_status sr_archive_ids(struct sr_archive *a, struct sr_archive_ids *out, struct sr_err *err)
{
	struct sr_archive_ids ids = {0};
	enum sr_status status = sr_archive_each_part(a, note_entry, &ids, err);

	if (status != SR_OK) {
		sr_archive_ids_free(&ids);
		return status;
	}
	if (ids.n)
		qsort(ids.id, ids.n, sizeof(ids.id[0]), compare_ids);
	*out = ids;
	return SR_OK;
}

void sr_archive_ids_free(struct sr_archive_ids *ids)
{
	free(ids->id);
	*ids = (struct sr_archive_ids){0};
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

/* *gone: it is no more. */
static enum sr_status read_json(const struct sr_archive *a, const char *name, struct sr_buf *text, bool *gone, struct sr_err *err)
{
	int fd = openat(a->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	enum sr_status status = SR_OK;
	ssize_t got;

	*gone = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return *gone ? SR_OK : sr_archive_fault(a, name, err);
	sr_buf_clear(text);
	do {
		got = read(fd, sr_buf_room(text, 8192), 8192);
		if (got > 0)
			text->len += (size_t)got;
	} while ((got > 0 && text->len <= JSON_FILE_MAX) || (got < 0 && errno == EINTR));
	if (got != 0)
		status = got < 0 ? sr_archive_fault(a, name, err) : sr_err_set(err, SR_E_DATA, "%s/%s: too large", a->dir, name);
	close(fd);
	return status;
}

struct reading {
	struct sr_buf text, raw;
	bool gone;
};

static enum sr_status visit(struct sr_archive *a, const char *id, struct reading *r, sr_archived_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_archived entry = {.id = id};
	enum sr_status status;
	json_t *object;
	char name[NAME_SIZE];

	sr_archive_part(name, id, JSON);
	status = read_json(a, name, &r->text, &r->gone, err);
	if (status != SR_OK || r->gone) /* the operator has removed it since */
		return status;
	object = json_loadb((const char *)r->text.at, r->text.len, JSON_ALLOW_NUL, NULL);
	entry.text = sr_buf_view(&r->text);
	if (object && sr_archive_parse(object, &entry, &r->raw))
		status = fn(ctx, &entry, err);
	else
		status = sr_err_set(err, SR_E_DATA, "%s/%s: not what was written there", a->dir, name);
	json_decref(object);
	return status;
}

enum sr_status sr_archive_each(struct sr_archive *a, sr_archived_fn *fn, void *ctx, struct sr_err *err)
{
	struct sr_archive_ids ids = {0};
	struct reading r = {0};
	enum sr_status status = sr_archive_ids(a, &ids, err);

	for (size_t i = 0; status == SR_OK && i < ids.n; i++)
		status = visit(a, ids.id[i], &r, fn, ctx, err);
	sr_buf_free(&r.text);
	sr_buf_free(&r.raw);
	sr_archive_ids_free(&ids);
	return status;
}

static enum sr_status is_none(const char *id, struct sr_err *err)
{
	return sr_err_set(err, SR_E_NOTFOUND, "%.64s: no such archived version on this node", id);
}

enum sr_status sr_archive_one(struct sr_archive *a, const char *id, sr_archived_fn *fn, void *ctx, struct sr_err *err)
{
	struct reading r = {0};
	enum sr_status status;

	if (!sr_archive_is_id(id, strlen(id)))
		return is_none(id, err);
	status = visit(a, id, &r, fn, ctx, err);
	if (status == SR_OK && r.gone)
		status = is_none(id, err);
	sr_buf_free(&r.text);
	sr_buf_free(&r.raw);
	return status;
}

/* The beginning of it, or all of the number behind its time. */
static bool is_meant(const char *id, const char *given, size_t len)
{
	return strncmp(id, given, len) == 0 || (len == ID_NUMBER && strcmp(id + ID_LEN - ID_NUMBER, given) == 0);
}

enum sr_status sr_archive_find(struct sr_archive *a, const char *given, char id[SR_ARCHIVE_ID], struct sr_err *err)
{
	struct sr_archive_ids ids = {0};
	const char *found = NULL;
	size_t len = strlen(given);
	enum sr_status status = sr_archive_ids(a, &ids, err);

	for (size_t i = 0; status == SR_OK && i < ids.n; i++) {
		if (!len || !is_meant(ids.id[i], given, len))
			continue;
		if (found)
			status = sr_err_set(err, SR_E_USAGE, "%.64s: more than one id begins like that: %s, %s", given, found, ids.id[i]);
		found = ids.id[i];
	}
	if (status == SR_OK && !found)
		status = is_none(given, err);
	if (status == SR_OK)
		memcpy(id, found, SR_ARCHIVE_ID);
	sr_archive_ids_free(&ids);
	return status;
}

enum sr_status sr_archive_data(struct sr_archive *a, const char *id, int *fd, struct sr_err *err)
{
	char name[NAME_SIZE];
	int got;

	if (!sr_archive_is_id(id, strlen(id)))
		return is_none(id, err);
	sr_archive_part(name, id, JSON);
	if (faccessat(a->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return is_none(id, err);
	sr_archive_part(name, id, DATA);
	got = openat(a->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (got < 0 && errno == ENOENT)
		return sr_err_set(err, SR_E_NOTFOUND, "%s: it has no content", id);
	if (got < 0)
		return sr_archive_fault(a, name, err);
	*fd = got;
	return SR_OK;
}


/* --- removing ------------------------------------------------------------------------------------------------------------- */

/* ID.json first: what a crash leaves of it then is no entry, and is removed when it is an hour old. */
static enum sr_status remove_one(struct sr_archive *a, const char *id, struct sr_err *err)
{
	uint64_t bytes = sr_archive_entry_bytes(a, id);
	char name[NAME_SIZE];

	sr_archive_part(name, id, JSON);
	if (unlinkat(a->dirfd, name, 0) != 0)
		return errno == ENOENT ? SR_OK : sr_archive_fault(a, name, err);
	sr_archive_part(name, id, DATA);
	if (unlinkat(a->dirfd, name, 0) != 0 && errno != ENOENT)
		return sr_archive_fault(a, name, err);
	sr_archive_lose(a, 1, bytes);
	return SR_OK;
}

enum sr_status sr_archive_remove(struct sr_archive *a, const struct sr_archive_ids *ids, struct sr_err *err)
{
	enum sr_status status = SR_OK;

	for (size_t i = 0; status == SR_OK && i < ids->n; i++)
		status = sr_archive_is_id(ids->id[i], strlen(ids->id[i])) ? remove_one(a, ids->id[i], err) : is_none(ids->id[i], err);
	if (fsync(a->dirfd) != 0 && status == SR_OK)
		status = sr_archive_fault(a, ".", err);
	return status;
}
