/* swap.c - see swap.h. */
#include "lib/state/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"

#define PLAN_FILE "restore/plan"
#define MAGIC     "sameroot-restore 1\n"
#define PLAN_MOST (1 << 20)

static const char *const parts[] = {"", "-wal", "-shm", "-journal"}; /* of a database; anything else is the first only */

static size_t parts_of(const struct sr_swap *s)
{
	return s->database ? sizeof parts / sizeof *parts : 1;
}

/* --- the plan as a file: the magic, "for REQUEST", a line a swap: "database|other PATH STAGED ASIDE", percent-encoded, "end" -------- */

static void print_plan(struct sr_buf *out, const char *request, const struct sr_swap *swaps, size_t n)
{
	sr_buf_printf(out, MAGIC "for ");
	sr_percent(out, sr_bytes_of(request), "/");
	sr_buf_byte(out, '\n');
	for (size_t i = 0; i < n; i++) {
		const char *words[] = {swaps[i].path, swaps[i].staged, swaps[i].aside};

		sr_buf_printf(out, "%s", swaps[i].database ? "database" : "other");
		for (size_t k = 0; k < 3; k++) {
			sr_buf_byte(out, ' ');
			sr_percent(out, sr_bytes_of(words[k]), "/");
		}
		sr_buf_byte(out, '\n');
	}
	sr_buf_printf(out, "end\n");
}

static enum sr_status sync_dir(const char *dir, struct sr_err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum sr_status rc = SR_OK;

	if (fd < 0 || fsync(fd) != 0)
		rc = sr_err_sys(err, SR_E_IO, "%s: fsync", dir);
	if (fd >= 0)
		close(fd);
	return rc;
}

static enum sr_status write_file(const char *path, struct sr_bytes content, struct sr_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum sr_status rc = SR_OK;

	if (fd < 0 || write(fd, content.at, content.len) != (ssize_t)content.len || fsync(fd) != 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* A database whose rows are in a log that the renames do not take. */
static enum sr_status check_whole(const struct sr_swap *s, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 1; rc == SR_OK && k < parts_of(s); k++) {
		char *part = sr_format("%s%s", s->staged, parts[k]);
		struct stat st;

		if (strcmp(parts[k], "-shm") && lstat(part, &st) == 0 && st.st_size > 0)
			rc = sr_err_set(err, SR_E_BUSY, "%s did not go into its database: somebody has that open; close what reads it, and run this again",
					part);
		free(part);
	}
	return rc;
}

enum sr_status sr_swap_plan(const char *state_dir, const char *request, const struct sr_swap *swaps, size_t n, struct sr_err *err)
{
	char *dir = sr_format("%s/restore", state_dir), *path = sr_format("%s/" PLAN_FILE, state_dir), *fresh = sr_format("%s.new", path);
	struct sr_buf text = {0};
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < n; k++)
		rc = check_whole(&swaps[k], err);
	print_plan(&text, request, swaps, n);
	if (rc == SR_OK && mkdir(dir, 0700) != 0 && errno != EEXIST)
		rc = sr_err_sys(err, SR_E_IO, "%s", dir);
	if (rc == SR_OK && sr_swap_pending(state_dir))
		rc = sr_err_set(err, SR_E_CONFLICT, "%s: there is one already", path);
	if (rc == SR_OK)
		rc = write_file(fresh, sr_buf_view(&text), err);
	if (rc == SR_OK && rename(fresh, path) != 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", path);
	if (rc == SR_OK)
		rc = sync_dir(dir, err);
	if (rc == SR_OK)
		rc = sync_dir(state_dir, err);
	sr_buf_free(&text);
	free(fresh);
	free(path);
	free(dir);
	return rc;
}

/* The next word of *in, up to a blank or the line's end; NULL: malformed.  OWNED BY CALLER (free). */
static char *next_word(struct sr_bytes *in, char end)
{
	const uint8_t *at = memchr(in->at, end, in->len);
	struct sr_buf raw = {0};
	char *text = NULL;

	if (at && sr_unpercent(&raw, sr_bytes(in->at, (size_t)(at - in->at))) && raw.len && !memchr(raw.at, 0, raw.len))
		text = sr_text(sr_buf_view(&raw));
	if (at)
		*in = sr_bytes(at + 1, in->len - (size_t)(at - in->at) - 1);
	sr_buf_free(&raw);
	return text;
}

static bool parse_swap(struct sr_bytes *in, struct sr_swap *out)
{
	char *kind = next_word(in, ' ');

	*out = (struct sr_swap){.database = kind && !strcmp(kind, "database")};
	out->path = next_word(in, ' ');
	out->staged = next_word(in, ' ');
	out->aside = next_word(in, '\n');
	free(kind);
	return out->path && out->staged && out->aside;
}

static void free_swap(struct sr_swap *s)
{
	free(s->path);
	free(s->staged);
	free(s->aside);
}

struct plan {
	char *path;
	struct sr_buf text;
	struct sr_bytes rest; /* that is not read yet */
	char *request;        /* NULL: there is no plan */
	int64_t since_ms;
};

static enum sr_status read_text(struct plan *p, bool *found, struct sr_err *err)
{
	int fd = open(p->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	ssize_t got = -1;

	*found = fd >= 0;
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? SR_OK : sr_err_sys(err, SR_E_IO, "%s", p->path);
	if (fstat(fd, &st) == 0)
		got = read(fd, sr_buf_room(&p->text, PLAN_MOST), PLAN_MOST);
	close(fd);
	if (got < 0)
		return sr_err_sys(err, SR_E_IO, "%s", p->path);
	p->text.len += (size_t)got;
	p->since_ms = (int64_t)st.st_mtim.tv_sec * 1000;
	return SR_OK;
}

static bool take_word(struct sr_bytes *in, const char *word)
{
	size_t len = strlen(word);

	if (in->len < len || memcmp(in->at, word, len) != 0)
		return false;
	*in = sr_bytes(in->at + len, in->len - len);
	return true;
}

static enum sr_status read_plan(struct plan *p, const char *state_dir, struct sr_err *err)
{
	bool found;
	enum sr_status rc;

	*p = (struct plan){.path = sr_format("%s/" PLAN_FILE, state_dir)};
	rc = read_text(p, &found, err);
	if (rc != SR_OK || !found)
		return rc;
	p->rest = sr_buf_view(&p->text);
	if (!take_word(&p->rest, MAGIC))
		return sr_err_set(err, SR_E_DATA, "%s: this is no plan of sameroot-restore, or one of a newer version", p->path);
	p->request = take_word(&p->rest, "for ") ? next_word(&p->rest, '\n') : NULL;
	return p->request ? SR_OK : sr_err_set(err, SR_E_DATA, "%s: it is damaged", p->path);
}

/* *more false: that was the last one.  free_swap *out in any case. */
static enum sr_status next_swap(struct plan *p, struct sr_swap *out, bool *more, struct sr_err *err)
{
	*out = (struct sr_swap){0};
	*more = p->request && !sr_bytes_eq(p->rest, sr_bytes_of("end\n"));
	return !*more || parse_swap(&p->rest, out) ? SR_OK : sr_err_set(err, SR_E_DATA, "%s: it is damaged", p->path);
}

static void free_plan(struct plan *p)
{
	sr_buf_free(&p->text);
	free(p->path);
	free(p->request);
}

/* --- the renames ------------------------------------------------------------------------------------------------------------------- */

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* Nothing is ever overwritten. */
static enum sr_status move(const char *from, const char *to, struct sr_err *err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return SR_OK;
	return sr_err_sys(err, SR_E_IO, "%s: rename to %s", from, to);
}

static bool has_part(const char *path, size_t k)
{
	char *part = sr_format("%s%s", path, parts[k]);
	bool yes = exists(part);

	free(part);
	return yes;
}

static char *numbered(const struct sr_swap *s, unsigned n)
{
	return n == 1 ? sr_strdup(s->aside) : sr_format("%s-%u", s->aside, n);
}

/* Can what is at the path not go there?  A whole thing goes where nothing is, logs alone go beside what they are of. */
static bool is_taken(const struct sr_swap *s, const char *aside)
{
	bool whole = exists(s->path), taken = false;

	for (size_t k = 0; k < parts_of(s); k++)
		taken |= has_part(aside, k) && (whole || has_part(s->path, k));
	return taken;
}

/* Where what is at the path goes: whoever was cut short may find the thing made again by the application.  That has logs of its own, and a
 * number for all of them; logs without a thing are of what went aside last.  OWNED BY CALLER. */
static char *free_aside(const struct sr_swap *s)
{
	char *at = numbered(s, 1), *next = numbered(s, 2);

	for (unsigned n = 3; is_taken(s, at) || (!exists(s->path) && exists(next)); n++) {
		free(at);
		at = next;
		next = numbered(s, n);
	}
	free(next);
	return at;
}

static enum sr_status put_aside(const struct sr_swap *s, struct sr_err *err)
{
	char *aside = free_aside(s);
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < parts_of(s); k++) {
		char *from = sr_format("%s%s", s->path, parts[k]), *to = sr_format("%s%s", aside, parts[k]);

		if (exists(from))
			rc = move(from, to, err);
		free(from);
		free(to);
	}
	free(aside);
	return rc;
}

/* What whoever looked at the staged thing, or was killed while it was made, has left: it is of nothing any more. */
static void clear_away(const struct sr_swap *s)
{
	for (size_t k = 1; k < parts_of(s); k++) {
		char *part = sr_format("%s%s", s->staged, parts[k]);
		struct stat st;

		if (lstat(part, &st) == 0 && (!st.st_size || !strcmp(parts[k], "-shm")))
			unlink(part);
		free(part);
	}
}

/* The staged thing goes last: as long as it is where it was staged, what lies at the path belongs to the old one. */
static enum sr_status do_swap(const struct sr_swap *s, struct sr_err *err)
{
	char *dir = sr_strdup(s->path), *slash;
	enum sr_status rc = SR_OK;

	if (exists(s->staged)) {
		rc = put_aside(s, err);
		if (rc == SR_OK)
			rc = move(s->staged, s->path, err);
	}
	if (rc == SR_OK)
		clear_away(s);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	if (rc == SR_OK)
		rc = sync_dir(dir, err);
	free(dir);
	return rc;
}

enum sr_status sr_swap_finish(const char *state_dir, size_t *done, struct sr_err *err)
{
	struct plan plan;
	size_t n = 0;
	bool more = true;
	enum sr_status rc = read_plan(&plan, state_dir, err);

	while (rc == SR_OK && more) {
		struct sr_swap swap;

		rc = next_swap(&plan, &swap, &more, err);
		if (rc == SR_OK && more)
			rc = do_swap(&swap, err);
		n += more;
		free_swap(&swap);
	}
	if (rc == SR_OK && plan.request && unlink(plan.path) != 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", plan.path);
	if (rc == SR_OK && done)
		*done = n;
	if (rc != SR_OK)
		sr_err_context(err, "what sameroot-restore has begun cannot be ended");
	free_plan(&plan);
	return rc;
}

bool sr_swap_pending(const char *state_dir)
{
	char *path = sr_format("%s/" PLAN_FILE, state_dir);
	bool yes = exists(path);

	free(path);
	return yes;
}

enum sr_status sr_swap_look(const char *state_dir, struct sr_swap_pending *out, struct sr_err *err)
{
	struct plan plan;
	struct sr_buf paths = {0};
	bool more = true;
	enum sr_status rc = read_plan(&plan, state_dir, err);

	*out = (struct sr_swap_pending){0};
	while (rc == SR_OK && more) {
		struct sr_swap swap;

		rc = next_swap(&plan, &swap, &more, err);
		if (rc == SR_OK && more)
			sr_buf_printf(&paths, "%s%s", paths.len ? ", " : "", swap.path);
		free_swap(&swap);
	}
	if (rc == SR_OK && plan.request)
		*out = (struct sr_swap_pending){
			.request = sr_strdup(plan.request), .paths = sr_text(sr_buf_view(&paths)), .since_ms = plan.since_ms};
	sr_buf_free(&paths);
	free_plan(&plan);
	return rc;
}

void sr_swap_pending_free(struct sr_swap_pending *p)
{
	free(p->request);
	free(p->paths);
	*p = (struct sr_swap_pending){0};
}
