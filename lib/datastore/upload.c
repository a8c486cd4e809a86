/* upload.c - large files come before the push that names them, each under its hash, and go on where a cut left them.
 *
 * Of a file that resembles one that is here a delta may come: steps, of which some copy from that one and the others bring what is new.
 *
 * What comes is a part in the store's staging until a push claims it, who hashes it; until then nothing vouches for it.  The writer is
 * asked for the moment in which the part is opened only. */
#include "lib/datastore/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/replica/delta.h"

#define CHUNK 65536

struct upload {
	struct sr_datastore *d;
	size_t i; /* the store */
	struct sr_version to;
	uint64_t offset;
	struct sr_stage *stage;
	uint64_t have;
	const struct sr_blob *old; /* what the steps of a delta copy from; NULL: it comes as it is */
};

static enum sr_status query_number(struct sr_request *req, const char *name, uint64_t *out, struct sr_err *err)
{
	const char *text = sr_request_query_text(req, name);
	uint64_t v = 0;

	for (const char *c = text; c && *c; c++) {
		if (*c < '0' || *c > '9' || v > (INT64_MAX - 9) / 10)
			return sr_err_set(err, SR_E_DATA, "%s is a number of bytes", name);
		v = v * 10 + (uint64_t)(*c - '0');
	}
	if (!text || !*text)
		return sr_err_set(err, SR_E_DATA, "%s=BYTES is missing", name);
	*out = v;
	return SR_OK;
}

/* Hash and store, as both requests name them. */
static enum sr_status begin(struct upload *u, struct sr_datastore *d, struct sr_request *req, struct sr_err *err)
{
	const char *store = sr_request_query_text(req, "store");
	struct sr_replica_store *s;
	char why[256];

	*u = (struct upload){.d = d, .to = {.kind = SR_KIND_FILE}};
	if (!sr_hash_parse(&u->to.hash, sr_request_arg(req, 0)) || sr_hash_none(&u->to.hash))
		return sr_err_set(err, SR_E_DATA, "not a hash: 32 hexadecimal digits are");
	if (!sr_datastore_ready(d, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	s = store ? sr_replica_find(d->r, sr_bytes_of(store), &u->i) : NULL;
	if (!s || s->kind != SR_KIND_FILES)
		return sr_err_set(err, SR_E_NOTFOUND, "upload: there is no store of that name here that holds files");
	return SR_OK;
}

static enum sr_status check_mode(const struct upload *u, struct sr_err *err)
{
	const struct sr_replica_store *s = &u->d->r->stores[u->i];

	return s->mode == SR_MODE_READY ? SR_OK : sr_err_set(err, SR_E_UNAVAILABLE, "store %s is paused: %s", s->name, s->why);
}

static void reply_have(struct sr_request *req, int status, uint64_t have)
{
	sr_ds_reply_json(req, status, json_pack("{s:I}", "have", (json_int_t)have));
}

enum sr_status sr_ds_upload_get(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct upload u;
	enum sr_status rc = begin(&u, ctx, req, err);

	if (rc != SR_OK)
		return rc;
	pthread_mutex_lock(&u.d->writer);
	rc = check_mode(&u, err);
	if (rc == SR_OK)
		u.have = sr_stage_part(u.d->r->stores[u.i].store, &u.to.hash);
	pthread_mutex_unlock(&u.d->writer);
	if (rc == SR_OK)
		reply_have(req, 200, u.have);
	return rc;
}

static enum sr_status more_than_its_size(struct sr_err *err)
{
	return sr_err_set(err, SR_E_DATA, "upload: more bytes than its size");
}

/* Everything that can be said without the body. */
static enum sr_status check_put(struct upload *u, struct sr_request *req, struct sr_err *err)
{
	uint64_t most = u->d->config->resource_max_size;
	enum sr_status rc = query_number(req, "size", &u->to.bytes, err);

	if (rc == SR_OK)
		rc = query_number(req, "offset", &u->offset, err);
	if (rc != SR_OK)
		return rc;
	if (u->to.bytes > most)
		return sr_err_set(err, SR_E_LIMIT, "upload: %" PRIu64 " bytes are more than Resource-Max-Size, %" PRIu64, u->to.bytes, most);
	if (u->to.bytes < SR_PART_MIN)
		return sr_err_set(err, SR_E_DATA, "upload: a file of less than %u bytes comes with its push", SR_PART_MIN);
	if (u->offset > u->to.bytes || (!u->old && sr_request_length(req) >= 0 && (uint64_t)sr_request_length(req) > u->to.bytes - u->offset))
		return more_than_its_size(err);
	return SR_OK;
}

static enum sr_status open_part(struct upload *u, struct sr_err *err)
{
	enum sr_status rc;

	pthread_mutex_lock(&u->d->writer);
	rc = check_mode(u, err);
	if (rc == SR_OK)
		rc = sr_stage_resume(&u->stage, u->d->r->stores[u->i].store, &u->to, &u->have, err);
	if (rc == SR_E_BUSY)
		u->have = sr_stage_part(u->d->r->stores[u->i].store, &u->to.hash);
	pthread_mutex_unlock(&u->d->writer);
	return rc;
}

static enum sr_status take_body(struct upload *u, struct sr_request *req, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;
	size_t got = 1;

	while (rc == SR_OK && got) {
		rc = sr_request_read(req, chunk, CHUNK, &got, err);
		if (rc == SR_OK && got > u->to.bytes - u->have)
			rc = more_than_its_size(err);
		else if (rc == SR_OK)
			rc = sr_stage_write(u->stage, chunk, got, err);
		if (rc == SR_OK)
			u->have += got;
	}
	free(chunk);
	return rc;
}

/* --- a delta ------------------------------------------------------------------------------------------------------------ */

/* All n bytes; *end, if it may end here: it has. */
static enum sr_status read_exactly(struct sr_request *req, uint8_t *at, size_t n, bool *end, struct sr_err *err)
{
	enum sr_status rc = SR_OK;
	size_t done = 0, got = 1;

	while (rc == SR_OK && got && done < n) {
		rc = sr_request_read(req, at + done, n - done, &got, err);
		done += rc == SR_OK ? got : 0;
	}
	if (rc == SR_OK && end)
		*end = !done;
	return rc == SR_OK && done < n && !(end && *end) ? sr_err_set(err, SR_E_DATA, "upload: a step that is cut short") : rc;
}

static enum sr_status put_some(struct upload *u, const uint8_t *at, size_t n, struct sr_err *err)
{
	enum sr_status rc = sr_stage_write(u->stage, at, n, err);

	u->have += rc == SR_OK ? n : 0;
	return rc;
}

static enum sr_status take_step(struct upload *u, struct sr_request *req, const struct sr_step *s, uint8_t *chunk, struct sr_err *err)
{
	bool fresh = s->from == SR_STEP_NEW;
	enum sr_status rc = SR_OK;

	if (!s->n || s->n > u->to.bytes - u->have)
		return more_than_its_size(err);
	if (!fresh && (s->from > u->old->bytes || s->n > u->old->bytes - s->from))
		return sr_err_set(err, SR_E_DATA, "upload: a step beyond the end of the older file");
	for (uint64_t done = 0; rc == SR_OK && done < s->n;) {
		size_t some = s->n - done < CHUNK ? (size_t)(s->n - done) : CHUNK;

		if (fresh) {
			rc = read_exactly(req, chunk, some, NULL, err);
		} else {
			ssize_t got = pread(u->old->content.fd, chunk, some, (off_t)(s->from + done));

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				return sr_err_set(err, SR_E_GONE, "upload: the older file is shorter than it was, or cannot be read");
			some = (size_t)got;
		}
		if (rc == SR_OK)
			rc = put_some(u, chunk, some, err);
		done += some;
	}
	return rc;
}

static enum sr_status take_steps(struct upload *u, struct sr_request *req, struct sr_err *err)
{
	uint8_t *chunk = sr_alloc(CHUNK);
	enum sr_status rc = SR_OK;
	bool end = false;

	while (rc == SR_OK && !end) {
		struct sr_reader in = sr_reader(sr_bytes(chunk, SR_STEP_LEN));
		struct sr_step s;

		rc = read_exactly(req, chunk, SR_STEP_LEN, &end, err);
		if (rc != SR_OK || end)
			break;
		s.from = sr_read_be64(&in);
		s.n = sr_read_be64(&in);
		rc = take_step(u, req, &s, chunk, err);
	}
	if (rc == SR_OK && u->have == u->to.bytes) /* else it is for the push to find out, and would come in the same way again */
		rc = sr_stage_check(u->stage, &u->to, err);
	free(chunk);
	return rc;
}

/* --- both --------------------------------------------------------------------------------------------------------------- */

static enum sr_status put(struct upload *u, struct sr_request *req, struct sr_err *err)
{
	enum sr_status rc = check_put(u, req, err);

	if (rc == SR_OK)
		rc = open_part(u, err);
	if (rc == SR_E_BUSY || (rc == SR_OK && u->have != u->offset)) {
		reply_have(req, 409, u->have);
		rc = SR_OK;
	} else if (rc == SR_OK) {
		rc = u->old ? take_steps(u, req, err) : take_body(u, req, err);
		if (rc == SR_OK)
			reply_have(req, 200, u->have);
	}
	sr_stage_free(u->stage);
	if (rc == SR_E_FULL) { /* it will come again */
		pthread_mutex_lock(&u->d->writer);
		sr_ds_make_room(u->d, err);
		pthread_mutex_unlock(&u->d->writer);
	}
	return rc;
}

enum sr_status sr_ds_upload_put(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct upload u;
	enum sr_status rc = begin(&u, ctx, req, err);

	return rc == SR_OK ? put(&u, req, err) : rc;
}

enum sr_status sr_ds_upload_delta(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_datastore *d = ctx;
	const char *old = sr_request_query_text(req, "old");
	struct sr_blob blob = {.content.fd = -1};
	struct sr_bytes path = {0};
	struct sr_hash hash;
	struct upload u;
	enum sr_status rc = begin(&u, d, req, err);

	if (rc == SR_OK && (!old || !sr_hash_parse(&hash, sr_bytes_of(old))))
		rc = sr_err_set(err, SR_E_DATA, "old=HASH is missing");
	(void)sr_request_query(req, "path", &path);
	if (rc == SR_OK)
		rc = sr_serve_open(&d->serve, &hash, path, &blob, err);
	if (rc == SR_OK && blob.kind != SR_KIND_FILE)
		rc = sr_err_set(err, SR_E_NOTFOUND, "no file has this content");
	u.old = &blob;
	if (rc == SR_OK)
		rc = put(&u, req, err);
	sr_blob_close(&blob);
	return rc;
}
