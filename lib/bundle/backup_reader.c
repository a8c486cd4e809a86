/* backup_reader.c - a backup held against its own manifest.  See backup.h and backup_read.h.
 *
 * What was read is listed, and at the end the manifest's lines have to be those that the writer would have made of it; so have the sums.
 * Every byte before the manifest is under its SHA-256 of the tar, and what comes after is headers with sums, text that is compared, and zeros. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bundle/backup_read.h"

struct reader {
	const struct sr_backup_source *source;
	const struct sr_backup_sink *sink; /* or NULL */
	struct sr_backup_tar *tar;
	struct sr_backup_entry e; /* in hand */
	struct sr_members *members;
	struct sr_sha256 *sha;
	struct sr_err first; /* fault */
	uint64_t faults;

	struct sr_backup_order order;

	/* the manifest */
	struct sr_backup_info info;
	struct sr_buf head, line;
	bool parsed, tail;
	uint64_t tar_bytes;
	uint8_t tar_sha256[SR_SHA256_LEN];
	struct sr_buf voided; /* be64 each: places of members that are void */
	uint64_t next;        /* place of the member whose line comes next */
	struct sr_backup_member member; /* that one, if `have` */
	bool have;
	struct sr_buf accepted; /* path of the member whose line came last */
	struct sr_buf file;     /* the same, if it is a file */
	struct sr_buf dropped; /* path of a void member that has to come again */

	/* the sums */
	uint8_t manifest_sha256[SR_SHA256_LEN];
	struct sr_buf sum; /* what the next line has to be */
	bool sums_differ, sums_done;
};

/* --- faults --------------------------------------------------------------------------------------------------------- */

/* Something is wrong with `path`, and reading goes on if somebody listens. */
static enum sr_status wrong(struct reader *r, struct sr_bytes path, struct sr_err *err, const char *fmt, ...) SR_PRINTF(4, 5);

static enum sr_status wrong(struct reader *r, struct sr_bytes path, struct sr_err *err, const char *fmt, ...)
{
	struct sr_buf text = {0};
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	sr_percent(&text, path, "/");
	if (!r->faults++)
		sr_err_set(&r->first, SR_E_DATA, "%.400s%s%s", sr_buf_text(&text), path.len ? ": " : "", what);
	if (r->source->fault)
		r->source->fault(r->source->ctx, sr_buf_text(&text), what);
	sr_buf_free(&text);
	if (r->source->fault)
		return SR_OK;
	*err = r->first;
	return SR_E_DATA;
}

/* The tar itself is broken: there is no going on.  But what was found before is named first. */
static enum sr_status broken(struct reader *r, enum sr_status rc, struct sr_err *err)
{
	if (rc == SR_E_DATA && r->source->fault)
		r->source->fault(r->source->ctx, "", err->text);
	if (rc == SR_E_DATA && r->faults)
		*err = r->first;
	return rc;
}

/* --- members ---------------------------------------------------------------------------------------------------------- */

typedef enum sr_status take_fn(struct reader *r, const uint8_t *at, size_t n, struct sr_err *err);

static enum sr_status read_content(struct reader *r, take_fn *fn, struct sr_err *err)
{
	const uint8_t *at;
	size_t n = 1;
	enum sr_status rc = SR_OK;

	while (!rc && n) {
		rc = sr_backup_tar_read(r->tar, &at, &n, err);
		if (rc)
			return broken(r, rc, err);
		if (n) {
			sr_sha256_add(r->sha, at, n);
			rc = fn(r, at, n, err);
		}
	}
	return rc;
}

static enum sr_status take_data(struct reader *r, const uint8_t *at, size_t n, struct sr_err *err)
{
	return r->sink ? r->sink->data(r->sink->ctx, at, n, err) : SR_OK;
}

static enum sr_status take_file(struct reader *r, struct sr_err *err)
{
	struct sr_backup_member m = {
		.path = sr_buf_view(&r->e.path), .mode = r->e.mode, .mtime_ns = r->e.mtime_ns, .bytes = r->e.bytes};
	enum sr_status rc = r->sink ? r->sink->begin(r->sink->ctx, &r->e, err) : SR_OK;

	if (!rc)
		rc = read_content(r, take_data, err);
	sr_sha256_end(r->sha, m.sha256);
	if (!rc && r->sink)
		rc = r->sink->end(r->sink->ctx, &r->e, err);
	return rc ? rc : sr_members_add(r->members, &m, err);
}

static enum sr_status take_member(struct reader *r, struct sr_err *err)
{
	struct sr_backup_member m = {.path = sr_buf_view(&r->e.path), .dir = true, .mode = r->e.mode, .mtime_ns = r->e.mtime_ns};
	const char *fault = sr_backup_order_next(&r->order, sr_buf_view(&r->e.path), r->e.dir);
	enum sr_status rc;

	if (fault) { /* where it would go, nobody can say */
		rc = wrong(r, sr_buf_view(&r->e.path), err, "%s", fault);
		if (!rc)
			*err = r->first;
		return SR_E_DATA;
	}
	if (!r->e.dir)
		return take_file(r, err);
	rc = r->sink ? r->sink->dir(r->sink->ctx, &r->e, err) : SR_OK;
	return rc ? rc : sr_members_add(r->members, &m, err);
}

/* --- the manifest ------------------------------------------------------------------------------------------------------- */

static enum sr_status next_member(struct reader *r, struct sr_err *err)
{
	return sr_members_next(r->members, &r->member, &r->have, err);
}

static void remember(struct sr_buf *out, struct sr_bytes path)
{
	sr_buf_clear(out);
	sr_buf_bytes(out, path);
}

/* A void member that was the last of its path is in no store. */
static enum sr_status drop(struct reader *r, struct sr_bytes next, struct sr_err *err)
{
	struct sr_bytes path = sr_buf_view(&r->dropped);
	enum sr_status rc = SR_OK;

	if (path.len && !sr_bytes_eq(path, next) && r->sink)
		rc = r->sink->drop(r->sink->ctx, path, err);
	else if (!path.len && next.len && sr_bytes_eq(next, sr_buf_view(&r->file)))
		rc = wrong(r, next, err, "twice, and the first is not void");
	sr_buf_clear(&r->dropped);
	return rc;
}

/* The member in hand is what its line says. */
static enum sr_status accept(struct reader *r, bool voided, struct sr_err *err)
{
	enum sr_status rc = drop(r, r->member.dir ? sr_bytes(NULL, 0) : r->member.path, err);

	if (voided) {
		sr_buf_be64(&r->voided, r->next);
		remember(&r->dropped, r->member.path);
	}
	remember(&r->file, r->member.dir ? sr_bytes(NULL, 0) : r->member.path);
	remember(&r->accepted, r->member.path);
	r->next++;
	return rc ? rc : next_member(r, err);
}

static bool is_line(const struct sr_backup_member *m, struct sr_bytes line)
{
	struct sr_buf text = {0};
	bool same;

	sr_manifest_line(&text, m, true);
	same = sr_bytes_eq(sr_buf_view(&text), line);
	sr_buf_free(&text);
	return same;
}

/* The path of a manifest's line; false: it has none. */
static bool line_path(struct sr_bytes line, struct sr_buf *out)
{
	static const char start[] = "{\"path\": \"";
	const uint8_t *end;

	if (line.len < sizeof start || memcmp(line.at, start, sizeof start - 1) != 0)
		return false;
	end = memchr(line.at + sizeof start - 1, '"', line.len - (sizeof start - 1));
	return end && sr_unpercent(out, sr_bytes(line.at + sizeof start - 1, (size_t)(end - line.at) - (sizeof start - 1)));
}

/* Does the list go on before `path` of the manifest comes?  Then a member was added, else one is lacking. */
static bool is_added(struct reader *r, struct sr_bytes path)
{
	struct sr_bytes store = sr_backup_order_store(r->member.path);

	if (sr_bytes_eq(sr_backup_order_store(path), store))
		return sr_backup_order_cmp(r->member.path, path) < 0;
	return r->accepted.len && sr_bytes_eq(store, sr_backup_order_store(sr_buf_view(&r->accepted)));
}

/* Same path, other line: in what? */
static enum sr_status differs(struct reader *r, struct sr_bytes line, struct sr_err *err)
{
	char sum[SR_SHA256_TEXT];
	struct sr_buf quoted = {0};
	bool content;
	enum sr_status rc;

	sr_sha256_text(sum, r->member.sha256);
	sr_buf_printf(&quoted, "\"sha256\": \"%s\"", sum);
	content = !r->member.dir && !memmem(line.at, line.len, quoted.at, quoted.len);
	sr_buf_free(&quoted);
	rc = wrong(r, r->member.path, err, "%s", content ? "its content is not what the manifest says"
						      : "its mode, time or kind is not what the manifest says");
	return rc ? rc : accept(r, false, err);
}

static enum sr_status member_line(struct reader *r, struct sr_bytes line, struct sr_err *err)
{
	struct sr_buf path = {0};
	enum sr_status rc = SR_OK;

	while (!rc) {
		r->member.voided = false;
		if (r->have && is_line(&r->member, line)) {
			rc = accept(r, false, err);
			break;
		}
		r->member.voided = true;
		if (r->have && !r->member.dir && is_line(&r->member, line)) {
			rc = accept(r, true, err);
			break;
		}
		sr_buf_clear(&path);
		if (!line_path(line, &path)) {
			rc = wrong(r, sr_bytes_of(SR_BACKUP_MANIFEST), err, "line %" PRIu64 " of its members is malformed", r->next + 1);
			break;
		}
		if (r->have && sr_bytes_eq(sr_buf_view(&path), r->member.path)) {
			rc = differs(r, line, err);
			break;
		}
		if (!r->have || !is_added(r, sr_buf_view(&path))) {
			rc = wrong(r, sr_buf_view(&path), err, "the manifest has it, and it is not here");
			break;
		}
		rc = wrong(r, r->member.path, err, "it is here, and not in the manifest");
		if (!rc)
			rc = accept(r, false, err);
	}
	sr_buf_free(&path);
	return rc;
}

static enum sr_status check_tar(struct reader *r, struct sr_err *err)
{
	uint8_t sum[SR_SHA256_LEN];

	sr_backup_tar_sha256(r->tar, sum);
	if (r->tar_bytes == r->e.at && !memcmp(sum, r->tar_sha256, sizeof sum))
		return SR_OK;
	return r->faults ? SR_OK : wrong(r, sr_bytes(NULL, 0), err, "a header of the tar is not what was written");
}

static enum sr_status head_line(struct reader *r, struct sr_bytes line, struct sr_err *err)
{
	enum sr_status rc;

	if (r->head.len + line.len > SR_BACKUP_HEAD_MAX)
		return sr_err_set(err, SR_E_LIMIT, SR_BACKUP_MANIFEST ": more than %u bytes before its members", SR_BACKUP_HEAD_MAX);
	sr_buf_bytes(&r->head, line);
	sr_buf_byte(&r->head, '\n');
	if (!sr_bytes_eq(line, sr_bytes(SR_MANIFEST_MEMBERS, sizeof SR_MANIFEST_MEMBERS - 2)))
		return SR_OK;
	rc = sr_manifest_parse(sr_buf_view(&r->head), &r->info, &r->tar_bytes, r->tar_sha256, err);
	if (rc)
		return broken(r, rc, err);
	r->parsed = true;
	sr_members_rewind(r->members);
	return next_member(r, err);
}

static enum sr_status manifest_line(struct reader *r, struct sr_bytes line, struct sr_err *err)
{
	if (!r->parsed)
		return head_line(r, line, err);
	if (r->tail || !line.len || line.at[0] != '{') {
		r->tail = true;
		return SR_OK; /* its bytes are under the sum */
	}
	if (line.at[line.len - 1] == ',')
		line.len--;
	return member_line(r, line, err);
}

static enum sr_status take_lines(struct reader *r, const uint8_t *at, size_t n,
				 enum sr_status (*fn)(struct reader *r, struct sr_bytes line, struct sr_err *err), struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (!rc && n) {
		const uint8_t *nl = memchr(at, '\n', n);
		size_t some = nl ? (size_t)(nl - at) : n;

		if (r->line.len + some > SR_BACKUP_HEAD_MAX)
			return sr_err_set(err, SR_E_LIMIT, "a line of more than %u bytes", SR_BACKUP_HEAD_MAX);
		sr_buf_add(&r->line, at, some);
		if (!nl)
			return SR_OK;
		rc = fn(r, sr_buf_view(&r->line), err);
		sr_buf_clear(&r->line);
		at += some + 1;
		n -= some + 1;
	}
	return rc;
}

static enum sr_status take_manifest(struct reader *r, const uint8_t *at, size_t n, struct sr_err *err)
{
	return take_lines(r, at, n, manifest_line, err);
}

/* Stores that the manifest names and stores that are here. */
static enum sr_status check_stores(struct reader *r, struct sr_err *err)
{
	size_t here = sr_backup_order_count(&r->order);
	enum sr_status rc = SR_OK;

	for (size_t i = 0; !rc && i < r->info.n; i++)
		if (!sr_backup_order_has(&r->order, sr_bytes_of(r->info.stores[i].name)))
			rc = wrong(r, sr_bytes_of(r->info.stores[i].name), err, "the manifest names this store, and it is not here");
		else
			here--;
	if (!rc && here && !r->faults)
		rc = wrong(r, sr_bytes_of(SR_BACKUP_MANIFEST), err, "it does not name every store that is here");
	return rc;
}

static enum sr_status read_manifest(struct reader *r, struct sr_err *err)
{
	enum sr_status rc;
	uint8_t ignored[SR_SHA256_LEN];

	sr_backup_tar_sha256(r->tar, ignored); /* what follows is no part of it */
	rc = read_content(r, take_manifest, err);
	sr_sha256_end(r->sha, r->manifest_sha256);
	if (!rc && !r->parsed)
		rc = wrong(r, sr_bytes_of(SR_BACKUP_MANIFEST), err, "malformed");
	if (!rc && !r->parsed)
		return *err = r->first, SR_E_DATA;
	while (!rc && r->have) {
		rc = wrong(r, r->member.path, err, "it is here, and not in the manifest");
		if (!rc)
			rc = accept(r, false, err);
	}
	if (!rc)
		rc = drop(r, sr_bytes(NULL, 0), err);
	if (!rc)
		rc = check_stores(r, err);
	return rc ? rc : check_tar(r, err);
}

/* --- the sums ----------------------------------------------------------------------------------------------------------- */

static bool is_void(const struct reader *r, uint64_t place)
{
	size_t lo = 0, hi = r->voided.len / 8;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct sr_reader in = sr_reader(sr_bytes(r->voided.at + mid * 8, 8));
		uint64_t at = sr_read_be64(&in);

		if (at == place)
			return true;
		if (at < place)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* The next line into r->sum; without its newline. */
static enum sr_status expect_sum(struct reader *r, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_buf_clear(&r->sum);
	while (!rc && !r->sum.len && r->have) {
		if (!r->member.dir && !is_void(r, r->next))
			sr_sums_line(&r->sum, r->member.path, r->member.sha256);
		r->next++;
		rc = next_member(r, err);
	}
	if (!rc && !r->sum.len && !r->sums_done) {
		sr_sums_line(&r->sum, sr_bytes_of(SR_BACKUP_MANIFEST), r->manifest_sha256);
		r->sums_done = true;
	}
	if (r->sum.len)
		r->sum.len--;
	return rc;
}

static enum sr_status sum_line(struct reader *r, struct sr_bytes line, struct sr_err *err)
{
	enum sr_status rc = r->sums_differ ? SR_OK : expect_sum(r, err);

	if (rc || r->sums_differ || (r->sum.len && sr_bytes_eq(line, sr_buf_view(&r->sum))))
		return rc;
	r->sums_differ = true;
	if (r->faults) /* of which this is a consequence */
		return SR_OK;
	return r->sums_done ? wrong(r, sr_bytes_of(SR_BACKUP_MANIFEST), err, "it is not what " SR_BACKUP_SUMS " says")
			    : wrong(r, sr_bytes_of(SR_BACKUP_SUMS), err, "it does not say what the manifest says");
}

static enum sr_status take_sums(struct reader *r, const uint8_t *at, size_t n, struct sr_err *err)
{
	return take_lines(r, at, n, sum_line, err);
}

static enum sr_status read_sums(struct reader *r, struct sr_err *err)
{
	bool found;
	enum sr_status rc;

	sr_members_rewind(r->members);
	r->next = 0;
	sr_buf_clear(&r->line);
	rc = next_member(r, err);
	if (!rc)
		rc = read_content(r, take_sums, err);
	if (!rc && !r->sums_differ)
		rc = expect_sum(r, err);
	if (!rc && !r->faults && (r->sum.len || r->line.len))
		rc = wrong(r, sr_bytes_of(SR_BACKUP_SUMS), err, "it is cut short");
	if (rc)
		return rc;
	rc = sr_backup_tar_next(r->tar, &r->e, &found, err);
	if (rc)
		return broken(r, rc, err);
	return found ? wrong(r, sr_buf_view(&r->e.path), err, "a member after the last") : SR_OK;
}

/* --- all of it ---------------------------------------------------------------------------------------------------------- */

static enum sr_status take_text(struct reader *r, const uint8_t *at, size_t n, struct sr_err *err)
{
	(void)err;
	if (r->line.len < sizeof r->first.text)
		sr_buf_add(&r->line, at, n < sizeof r->first.text ? n : sizeof r->first.text);
	return SR_OK;
}

/* The one who wrote it could not finish, and says why: "status\ntext". */
static enum sr_status read_failed(struct reader *r, struct sr_err *err)
{
	enum sr_status rc = read_content(r, take_text, err), code = SR_E_DATA;
	char *text, *nl;

	if (rc)
		return rc;
	text = sr_text(sr_buf_view(&r->line));
	nl = strchr(text, '\n');
	for (int i = 1; nl && i < SR_STATUS_COUNT; i++)
		if (!strncmp(sr_status_name((enum sr_status)i), text, (size_t)(nl - text)) &&
		    strlen(sr_status_name((enum sr_status)i)) == (size_t)(nl - text))
			code = (enum sr_status)i;
	sr_err_set(err, code, "it was not finished: %s", nl ? nl + 1 : text);
	free(text);
	return broken(r, code, err);
}

static bool is_named(const struct reader *r, const char *name)
{
	return !r->e.dir && sr_bytes_eq(sr_buf_view(&r->e.path), sr_bytes_of(name));
}

static enum sr_status read_all(struct reader *r, struct sr_err *err)
{
	bool found = true;
	enum sr_status rc = SR_OK;

	for (;;) {
		rc = sr_backup_tar_next(r->tar, &r->e, &found, err);
		if (!rc && !found)
			rc = sr_err_set(err, SR_E_DATA, r->parsed ? "truncated: " SR_BACKUP_SUMS " is missing"
								  : "truncated: " SR_BACKUP_MANIFEST " is missing");
		if (rc)
			return broken(r, rc, err);
		if (r->parsed && is_named(r, SR_BACKUP_SUMS))
			return read_sums(r, err);
		if (r->parsed)
			return sr_err_set(err, SR_E_DATA, "a member after " SR_BACKUP_MANIFEST), broken(r, SR_E_DATA, err);
		if (is_named(r, SR_BACKUP_FAILED))
			return read_failed(r, err);
		rc = is_named(r, SR_BACKUP_MANIFEST) ? read_manifest(r, err) : take_member(r, err);
		if (rc)
			return rc;
	}
}

static void free_reader(struct reader *r)
{
	struct sr_buf *bufs[] = {&r->e.path, &r->head, &r->line, &r->voided, &r->accepted, &r->file, &r->dropped, &r->sum};

	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		sr_buf_free(bufs[i]);
	sr_backup_order_free(&r->order);
	sr_backup_tar_close(r->tar);
	sr_members_free(r->members);
	sr_sha256_free(r->sha);
	sr_backup_info_free(&r->info);
}

enum sr_status sr_backup_read(const struct sr_backup_source *source, const struct sr_backup_sink *sink, struct sr_backup_info *info,
			      struct sr_err *err)
{
	struct reader r = {.source = source, .sink = sink};
	struct sr_err own = {0};
	enum sr_status rc;

	r.members = sr_members_new(source->spool);
	r.sha = sr_sha256_new();
	rc = sr_backup_tar_open(&r.tar, source, &own);
	if (rc == SR_E_DATA && source->fault)
		source->fault(source->ctx, "", own.text);
	if (!rc)
		rc = read_all(&r, &own);
	if (!rc && r.faults) {
		own = r.first;
		rc = own.code;
		if (r.faults > 1)
			snprintf(own.text + strlen(own.text), sizeof own.text - strlen(own.text), " (and %" PRIu64 " more)", r.faults - 1);
	}
	if (!rc) {
		*info = r.info;
		r.info = (struct sr_backup_info){0};
	} else {
		if (own.code != SR_E_NOINPUT)
			sr_err_context(&own, "%s", source->file);
		if (err)
			*err = own;
	}
	free_reader(&r);
	return rc;
}

enum sr_status sr_backup_verify(const struct sr_backup_source *source, struct sr_backup_info *info, struct sr_err *err)
{
	return sr_backup_read(source, NULL, info, err);
}
