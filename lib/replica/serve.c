/* serve.c - see serve.h. */
#include "lib/replica/serve.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/range.h"
#include "lib/base/file.h"
#include "lib/replica/pin.h"
#include "lib/replica/place.h"
#include "lib/replica/serve_internal.h"
#include "lib/replica/wire.h"

#define LIST_LIMIT 10000 /* entries, unless the request says otherwise ... */
#define LIST_MOST  1000000
#define ROWS_MOST  (1u << 20) /* bytes of a table, as text, in memory */
#define SMALL      (64u << 10) /* bytes of a bundle that is compressed, and answered in one piece */
#define LEAF_MOST  512         /* of a leaf in it, but for its path and content */

/* Ready, and the stores stay open until sr_replica_unuse. */
static enum sr_status enter(const struct sr_serve *sv, struct sr_err *err)
{
	char why[256] = "not ready";

	if (!sv->ready(sv->ctx, why))
		return sr_err_set(err, SR_E_UNAVAILABLE, "%s", why);
	if (!sr_replica_use(sv->replica))
		return sr_err_set(err, SR_E_UNAVAILABLE, "the tree key is not known yet");
	return SR_OK;
}

/* A digits-only text; what it cannot hold is the largest number. */
static bool parse_number(const char *text, uint64_t *out)
{
	uint64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		uint64_t digit = (uint64_t)(unsigned char)*text - '0';

		if (digit > 9)
			return false;
		v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
	}
	*out = v;
	return true;
}

/* --- nodes -------------------------------------------------------------------------------------------------------------- */

static enum sr_status get_node(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_serve *sv = ctx;
	struct sr_hash hash;
	struct sr_bytes node;
	struct sr_buf copy = {0};
	bool found;
	enum sr_status rc;

	if (!sr_hash_parse(&hash, sr_request_arg(req, 0)))
		return sr_err_set(err, SR_E_DATA, "not a hash: 32 hexadecimal digits are");
	rc = enter(sv, err);
	if (rc != SR_OK)
		return rc;
	sr_replica_read_lock(sv->replica);
	found = sr_nodes_get(sv->replica->nodes, &hash, &node);
	if (found)
		sr_buf_bytes(&copy, node);
	sr_replica_unlock(sv->replica);
	sr_replica_unuse(sv->replica);
	if (found) {
		sr_reply_header(req, "Cache-Control", "max-age=31536000, immutable");
		sr_reply_bytes(req, 200, "application/octet-stream", sr_buf_view(&copy));
	} else {
		rc = sr_err_set(err, SR_E_NOTFOUND, "no such node");
	}
	sr_buf_free(&copy);
	return rc;
}

static enum sr_status frame_node(void *ctx, const struct sr_hash *hash, struct sr_bytes node)
{
	struct sr_buf *out = ctx;

	sr_buf_be32(out, (uint32_t)(sizeof hash->b + node.len));
	sr_buf_add(out, hash->b, sizeof hash->b);
	sr_buf_bytes(out, node);
	return SR_OK;
}

static enum sr_status serve_pairs(struct sr_serve *sv, struct sr_reader *in, struct sr_buf *out, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && sr_read_left(in) && out->len < SR_WALK_BYTES) {
		struct sr_pair pair;

		memcpy(pair.wanted.b, sr_read_bytes(in, SR_HASH_LEN).at, SR_HASH_LEN);
		memcpy(pair.mine.b, sr_read_bytes(in, SR_HASH_LEN).at, SR_HASH_LEN);
		rc = sr_walk_serve(sv->replica->nodes, &pair.wanted, &pair.mine, SR_WALK_BYTES - out->len, frame_node, out, err);
	}
	/* What was not reached is asked for again: only the first pair has to be answered. */
	return out->len ? SR_OK : rc;
}

static enum sr_status post_nodes(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_serve *sv = ctx;
	struct sr_buf body = {0}, out = {0};
	struct sr_reader in;
	enum sr_status rc = sr_request_read_all(req, &body, SR_WALK_PAIRS * 2 * SR_HASH_LEN, err);

	if (rc == SR_OK && (body.len == 0 || body.len % (2 * SR_HASH_LEN)))
		rc = sr_err_set(err, SR_E_DATA, "not a list of pairs of hashes");
	if (rc == SR_OK)
		rc = enter(sv, err);
	if (rc == SR_OK) {
		in = sr_reader(sr_buf_view(&body));
		sr_replica_read_lock(sv->replica);
		rc = serve_pairs(sv, &in, &out, err);
		sr_replica_unlock(sv->replica);
		sr_replica_unuse(sv->replica);
		if (rc == SR_E_GONE)
			rc = sr_err_set(err, SR_E_GONE, "a node of an older root: take the root again");
	}
	if (rc == SR_OK)
		sr_reply_bytes(req, 200, "application/octet-stream", sr_buf_view(&out));
	sr_buf_free(&body);
	sr_buf_free(&out);
	return rc;
}

/* --- paths as people write them: store/dir/file, percent-encoded where needed ------------------------------------------------- */

struct place {
	struct sr_replica_store *store; /* NULL: the root */
	size_t i;
	struct sr_buf path; /* within the store; empty: the store itself */
};

static enum sr_status parse_place(struct sr_serve *sv, struct sr_bytes text, struct place *out, struct sr_err *err)
{
	memset(out, 0, sizeof *out);
	return sr_place_parse(sv->replica, text, &out->store, &out->i, &out->path, err);
}

/* --- GET /api/tree/list -------------------------------------------------------------------------------------------------------- */

static const char *kind_word(uint8_t kind)
{
	static const char *const words[] = {"none", "file", "dir", "row", "table", "files", "sqlite"};

	return words[kind];
}

struct listing {
	const struct place *place; /* whose direct children are wanted */
	json_t **entries;
	size_t n, limit;
	bool more;
};

/* The entry's place, as parse_place takes it. */
static void entry_path(const struct place *place, struct sr_bytes name, struct sr_buf *out)
{
	struct sr_buf path = {0};

	if (!place->store) {
		sr_buf_bytes(out, name);
		return;
	}
	sr_buf_bytes(&path, sr_buf_view(&place->path));
	if (path.len)
		sr_buf_byte(&path, 0);
	sr_buf_bytes(&path, name);
	sr_leaf_path_text(out, place->store->name, place->store->kind, sr_buf_view(&path));
	sr_buf_free(&path);
}

static enum sr_status list_entry(void *ctx, const struct sr_entry *e)
{
	struct listing *l = ctx;
	struct sr_buf text = {0};
	char hash[SR_HASH_TEXT];
	json_t *o;

	if (l->n == l->limit) {
		l->more = true;
		return SR_E_LIMIT; /* enough */
	}
	entry_path(l->place, e->name, &text);
	sr_hash_text(hash, &e->hash);
	o = json_object();
	json_object_set_new(o, "path", json_string(sr_buf_text(&text)));
	json_object_set_new(o, "kind", json_string(kind_word(e->kind)));
	if (e->kind == SR_KIND_FILE || e->kind == SR_KIND_DIR)
		json_object_set_new(o, "mode", json_integer(e->mode));
	json_object_set_new(o, "hash", json_string(hash));
	json_object_set_new(o, "leaves", json_integer((json_int_t)e->leaves));
	json_object_set_new(o, "bytes", json_integer((json_int_t)e->bytes));
	if ((l->n & (l->n + 1)) == 0) /* full at 0, 1, 3, 7, ... */
		l->entries = sr_realloc(l->entries, (l->n * 2 + 1) * sizeof *l->entries);
	l->entries[l->n++] = o;
	sr_buf_free(&text);
	return SR_OK;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "path")),
		      json_string_value(json_object_get(*(json_t *const *)b, "path")));
}

/* The map at a place: the store's, a directory's, a table's. */
static enum sr_status find_map(struct sr_replica *r, const struct place *p, struct sr_hash *out, struct sr_err *err)
{
	struct sr_bytes rest = sr_buf_view(&p->path);

	*out = p->store ? p->store->map : r->root;
	while (rest.len) {
		const uint8_t *nul = p->store->kind == SR_KIND_DATABASE && rest.at != p->path.at ? NULL : memchr(rest.at, 0, rest.len);
		struct sr_bytes name = {rest.at, nul ? (size_t)(nul - rest.at) : rest.len};
		struct sr_entry e;

		if (sr_map_get(r->nodes, out, name, &e) != SR_OK || (e.kind != SR_KIND_DIR && e.kind != SR_KIND_TABLE))
			return sr_err_set(err, SR_E_NOTFOUND, "no such directory or table");
		*out = e.hash;
		rest.at += name.len + (nul ? 1 : 0);
		rest.len -= name.len + (nul ? 1 : 0);
	}
	return SR_OK;
}

/* At most l->limit entries of the place, whichever come first in the map, in order of their paths. */
static enum sr_status list_place(struct sr_replica *r, struct listing *l, struct sr_err *err)
{
	struct sr_hash map;
	enum sr_status rc;

	sr_replica_read_lock(r);
	rc = find_map(r, l->place, &map, err);
	if (rc == SR_OK)
		rc = sr_map_each(r->nodes, &map, list_entry, l, err);
	sr_replica_unlock(r);
	if (l->n)
		qsort(l->entries, l->n, sizeof *l->entries, by_path);
	return l->more ? SR_OK : rc;
}

static void reply_listing(struct sr_request *req, const struct listing *l)
{
	json_t *o = json_object(), *list = json_array();
	char *dump;

	for (size_t i = 0; i < l->n; i++)
		json_array_append(list, l->entries[i]);
	json_object_set_new(o, "entries", list);
	json_object_set_new(o, "more", json_boolean(l->more));
	dump = json_dumps(o, JSON_COMPACT);
	sr_reply_bytes(req, 200, "application/json", sr_bytes_of(dump));
	free(dump);
	json_decref(o);
}

static enum sr_status get_list(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_serve *sv = ctx;
	const char *text = sr_request_query_text(req, "limit");
	uint64_t limit = LIST_LIMIT;
	struct sr_bytes path = {0};
	struct listing l = {0};
	struct place place;
	enum sr_status rc;

	if (text && !parse_number(text, &limit))
		return sr_err_set(err, SR_E_DATA, "limit is a number");
	rc = enter(sv, err);
	if (rc != SR_OK)
		return rc;
	(void)sr_request_query(req, "path", &path);
	rc = parse_place(sv, path, &place, err);
	if (rc == SR_OK) {
		l.place = &place;
		l.limit = limit < LIST_MOST ? (size_t)limit : LIST_MOST;
		rc = list_place(sv->replica, &l, err);
		sr_buf_free(&place.path);
	}
	sr_replica_unuse(sv->replica);
	if (rc == SR_OK)
		reply_listing(req, &l);
	for (size_t i = 0; i < l.n; i++)
		json_decref(l.entries[i]);
	free(l.entries);
	return rc;
}

/* --- contents ------------------------------------------------------------------------------------------------------------------- */

struct reading { /* extra views, opened when first needed */
	struct sr_serve *sv;
	struct sr_view **views;
	struct sr_buf older;
};

static void reading_start(struct reading *rd, struct sr_serve *sv)
{
	*rd = (struct reading){.sv = sv, .views = sr_alloc((sv->replica->n + 1) * sizeof(struct sr_view *))};
}

static bool is_readable(struct sr_replica *r, size_t i)
{
	bool ready;

	sr_replica_read_lock(r);
	ready = r->stores[i].mode == SR_MODE_READY;
	sr_replica_unlock(r);
	return ready;
}

static void reading_end(struct reading *rd)
{
	for (size_t i = 0; i < rd->sv->replica->n; i++)
		sr_view_close(rd->views[i]);
	free(rd->views);
	sr_buf_free(&rd->older);
}

static enum sr_status read_live(struct reading *rd, size_t i, struct sr_bytes path, const struct sr_version *want, struct sr_content *out,
				struct sr_err *err)
{
	struct sr_replica *r = rd->sv->replica;
	struct sr_hash hash;
	enum sr_status rc;

	if (want->kind == SR_KIND_FILE && !sr_replica_is_current(r, i, path, want))
		return SR_E_NOTFOUND;
	if (!rd->views[i]) {
		rc = sr_view_open(&rd->views[i], r->stores[i].store, SR_VIEW_EXTRA, err);
		if (rc != SR_OK)
			return rc;
	}
	rc = sr_view_read(rd->views[i], path, out, err);
	if (rc != SR_OK || want->kind != SR_KIND_ROW)
		return rc;
	sr_hash_of(&hash, &r->key, out->record);
	return sr_hash_eq(&hash, &want->hash) ? SR_OK : SR_E_NOTFOUND;
}

/* The content of exactly this version, from the store or from what is kept of older roots. */
static enum sr_status read_version(struct reading *rd, size_t i, struct sr_bytes path, const struct sr_version *want,
				   struct sr_content *out, struct sr_err *err)
{
	enum sr_status rc = SR_E_NOTFOUND;

	if (is_readable(rd->sv->replica, i))
		rc = read_live(rd, i, path, want, out, err);

	if (rc == SR_E_NOTFOUND && rd->sv->older && (want->kind == SR_KIND_FILE || want->kind == SR_KIND_ROW))
		rc = rd->sv->older(rd->sv->ctx, i, path, want, &rd->older, out, err);
	return rc;
}

/* --- POST /api/bundle -------------------------------------------------------------------------------------------------------------- */

struct stream {
	struct sr_request *req;
	const struct sr_replica *r;
	struct sr_buf held; /* of a bundle, until it is more than SMALL */
	bool started;
};

static enum sr_status reply_part(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct stream *s = ctx;

	if (sr_replica_awaited(s->r))
		return sr_err_set(err, SR_E_UNAVAILABLE, "the stores are opened anew");
	return sr_reply_write(s->req, at, n, err);
}

static enum sr_status hold_part(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	struct stream *s = ctx;
	enum sr_status rc = SR_OK;

	if (!s->started && s->held.len + n <= SMALL) {
		sr_buf_add(&s->held, at, n);
		return SR_OK;
	}
	if (!s->started) {
		sr_reply_start(s->req, 200, "application/x-tar", -1);
		s->started = true;
		rc = reply_part(s, s->held.at, s->held.len, err);
	}
	return rc == SR_OK ? reply_part(s, at, n, err) : rc;
}

static enum sr_status add_wanted(struct reading *rd, struct sr_bundle_writer *w, const char *store, struct sr_leaf *leaf,
				 struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	bool voided, body = leaf->to.kind == SR_KIND_FILE || leaf->to.kind == SR_KIND_ROW ||
			    (leaf->to.kind == SR_KIND_TABLE && sr_path_is_schema(SR_KIND_DATABASE, leaf->path));
	bool bare = leaf->to.kind == SR_KIND_FILE && sr_version_eq(&leaf->expect, &leaf->to);
	size_t i;
	enum sr_status rc = SR_OK;

	if (!sr_replica_find(rd->sv->replica, sr_bytes_of(store), &i))
		return sr_err_set(err, SR_E_NOTFOUND, "no store is called %s", store);
	leaf->expect = (struct sr_version){0};
	leaf->stage = leaf->record = sr_bytes(NULL, 0);
	leaf->flags = 0;
	if (body)
		rc = read_version(rd, i, leaf->path, &leaf->to, &content, err);
	if (rc == SR_E_NOTFOUND || rc == SR_E_GONE) {
		leaf->flags = SR_LEAF_GONE;
		leaf->expect = leaf->to;
		leaf->to = (struct sr_version){0};
	} else if (rc != SR_OK) {
		return rc;
	} else {
		leaf->record = content.record;
		leaf->mtime_ns = content.mtime_ns;
	}
	rc = sr_bundle_add(w, store, leaf, bare ? -1 : content.fd, &voided, err);
	if (content.fd >= 0)
		close(content.fd);
	return rc;
}

static enum sr_status write_wanted(struct reading *rd, struct sr_request *req, struct sr_bytes wanted, bool small, struct sr_err *err)
{
	struct sr_bundle_writer *w = NULL;
	struct sr_reader in = sr_reader(wanted);
	struct stream out = {.req = req, .r = rd->sv->replica};
	enum sr_status rc = sr_bundle_writer_new(&w, &rd->sv->replica->key, "{}", small, hold_part, &out, err);

	while (rc == SR_OK && sr_read_left(&in)) {
		struct sr_leaf leaf;
		char *store = NULL;

		rc = sr_wanted_next(&in, &store, &leaf, err);
		if (rc == SR_OK)
			rc = add_wanted(rd, w, store, &leaf, err);
		free(store);
	}
	if (rc == SR_OK)
		rc = sr_bundle_finish(w, err);
	sr_bundle_writer_free(w);
	if (rc == SR_OK && out.started)
		sr_reply_end(req);
	else if (rc == SR_OK)
		sr_reply_bytes(req, 200, "application/x-tar", sr_buf_view(&out.held));
	sr_buf_free(&out.held);
	return rc;
}

/* Bytes of it in a bundle, at most, by what is asked for; SMALL: it may be more. */
static uint64_t size_of(uint8_t store_kind, const struct sr_leaf *leaf)
{
	uint64_t content = leaf->to.kind == SR_KIND_FILE || leaf->to.kind == SR_KIND_ROW ? leaf->to.bytes : 0;

	return sr_path_is_schema(store_kind, leaf->path) || content > SMALL ? SMALL : LEAF_MOST + leaf->path.len + content;
}

/* Everything that can be wrong with the list is found before the answer begins.  *small: it will be a small one. */
static enum sr_status check_wanted(struct sr_serve *sv, struct sr_bytes wanted, bool *small, struct sr_err *err)
{
	struct sr_reader in = sr_reader(wanted);
	enum sr_status rc = SR_OK;
	uint64_t bytes = 0;
	size_t n = 0;

	while (rc == SR_OK && sr_read_left(&in)) {
		struct sr_replica_store *s;
		struct sr_leaf leaf;
		char *store = NULL;

		rc = sr_wanted_next(&in, &store, &leaf, err);
		if (rc == SR_OK && ++n > SR_BUNDLE_WANTED)
			rc = sr_err_set(err, SR_E_LIMIT, "more than %d leaves in one request", SR_BUNDLE_WANTED);
		if (rc == SR_OK && !(s = sr_replica_find(sv->replica, sr_bytes_of(store), NULL)))
			rc = sr_err_set(err, SR_E_NOTFOUND, "no store is called %s", store);
		else if (rc == SR_OK)
			rc = sr_leaf_path_check(s->kind, leaf.path, err);
		if (rc == SR_OK)
			bytes += size_of(s->kind, &leaf);
		free(store);
	}
	*small = bytes < SMALL;
	return rc;
}

static enum sr_status post_bundle(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_serve *sv = ctx;
	struct sr_buf body = {0};
	struct reading rd;
	bool small;
	enum sr_status rc = sr_request_read_all(req, &body, SR_BUNDLE_WANTED_BYTES, err);

	if (rc == SR_OK)
		rc = enter(sv, err);
	if (rc != SR_OK)
		goto out;
	rc = check_wanted(sv, sr_buf_view(&body), &small, err);
	if (rc == SR_OK) {
		reading_start(&rd, sv);
		rc = write_wanted(&rd, req, sr_buf_view(&body), small, err);
		reading_end(&rd);
	}
	sr_replica_unuse(sv->replica);
out:
	sr_buf_free(&body);
	return rc;
}

/* --- GET /api/bundle: a tar for people ------------------------------------------------------------------------------------------------ */

/* "resources/img/logo.png": raw bytes, as the file is called.  A table's name may hold what leads out of a directory, so that its '/' is
 * written %2F. */
static void tar_name(struct sr_buf *out, const char *store, struct sr_bytes path)
{
	sr_buf_clear(out);
	sr_buf_bytes(out, sr_bytes_of(store));
	sr_buf_byte(out, '/');
	for (size_t k = 0; k < path.len; k++)
		sr_buf_byte(out, path.at[k] ? path.at[k] : '/');
}

static void table_name(struct sr_buf *out, const char *store, struct sr_bytes table)
{
	sr_buf_clear(out);
	sr_buf_bytes(out, sr_bytes_of(store));
	sr_buf_byte(out, '/');
	for (size_t k = 0; k < table.len; k++)
		if (table.at[k] == '/')
			sr_buf_bytes(out, sr_bytes_of("%2F"));
		else
			sr_buf_byte(out, table.at[k]);
	sr_buf_bytes(out, sr_bytes_of(".jsonl"));
}

struct tarring {
	struct reading rd;
	struct sr_tar_writer *w;
	struct sr_buf name, table;
	struct sr_buf rows; /* of the table being gathered, as JSON lines: a member's size stands before it ... */
	int fd;             /* ... and here are those of before, in an unlinked file; -1: there were no more */
	uint64_t filed;
};

static enum sr_status spill(struct tarring *t, struct sr_err *err)
{
	const char *dir = sr_state_dir(t->rd.sv->replica->state);

	if (t->fd < 0)
		t->fd = sr_file_unlinked(dir);
	if (t->fd < 0 || !sr_file_write(t->fd, sr_buf_view(&t->rows)))
		return sr_err_sys(err, SR_E_IO, "%s: the rows of a table, on their way", dir);
	t->filed += t->rows.len;
	sr_buf_clear(&t->rows);
	return SR_OK;
}

static enum sr_status flush_table(struct tarring *t, const char *store, struct sr_err *err)
{
	int64_t now_ns = sr_now_ms() * 1000000;
	enum sr_status rc = t->fd < 0 ? SR_OK : spill(t, err);

	table_name(&t->name, store, sr_buf_view(&t->table));
	if (rc == SR_OK && t->fd >= 0)
		rc = sr_tar_add_file(t->w, sr_buf_view(&t->name), 0644, now_ns, t->filed, t->fd, err);
	else if (rc == SR_OK && t->table.len)
		rc = sr_tar_add_bytes(t->w, sr_buf_view(&t->name), 0644, now_ns, sr_buf_view(&t->rows), err);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	t->filed = 0;
	sr_buf_clear(&t->table);
	sr_buf_clear(&t->rows);
	return rc;
}

static enum sr_status tar_file(struct tarring *t, const struct sr_leaf *leaf, struct sr_content *c, struct sr_err *err)
{
	enum sr_status rc = sr_tar_add_file(t->w, sr_buf_view(&t->name), leaf->to.mode, c->mtime_ns, leaf->to.bytes, c->fd, err);

	close(c->fd);
	return rc == SR_E_CHANGED ? SR_OK : rc; /* for people: the member is there, its file was being written */
}

/* Equal rows of a bag are so many lines. */
static enum sr_status tar_row(struct tarring *t, const struct sr_leaf *leaf, struct sr_bytes record, struct sr_err *err)
{
	uint64_t times = sr_path_is_bag(leaf->path) ? leaf->to.bytes : 1;
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && times--) {
		rc = sr_record_json(&t->rows, record, err);
		sr_buf_byte(&t->rows, '\n');
		if (rc == SR_OK && t->rows.len > ROWS_MOST)
			rc = spill(t, err);
	}
	return rc;
}

static enum sr_status tar_item(struct tarring *t, size_t i, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_replica_store *s = &t->rd.sv->replica->stores[i];
	struct sr_content c = {.fd = -1};
	enum sr_status rc;

	switch (leaf->to.kind) {
	case SR_KIND_DIR:
		tar_name(&t->name, s->name, leaf->path);
		return sr_tar_add_dir(t->w, sr_buf_view(&t->name), leaf->to.mode, err);
	case SR_KIND_TABLE:
		rc = flush_table(t, s->name, err);
		sr_buf_bytes(&t->table, leaf->path);
		return rc;
	case SR_KIND_FILE:
	case SR_KIND_ROW:
		rc = read_version(&t->rd, i, leaf->path, &leaf->to, &c, err);
		if (rc == SR_E_NOTFOUND || rc == SR_E_GONE)
			return SR_OK;
		tar_name(&t->name, s->name, leaf->path);
		if (rc == SR_OK && leaf->to.kind == SR_KIND_FILE)
			return tar_file(t, leaf, &c, err);
		return rc == SR_OK ? tar_row(t, leaf, c.record, err) : rc;
	default:
		return SR_OK;
	}
}

static enum sr_status tar_store(struct tarring *t, size_t i, struct sr_bytes top, struct sr_err *err)
{
	struct sr_leaves *leaves = NULL;
	enum sr_status rc = sr_replica_items(t->rd.sv->replica, i, NULL, top, &leaves, err);

	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(leaves); k++) {
		struct sr_leaf leaf;
		struct sr_buf own = {0};

		rc = sr_leaves_at(leaves, k, &leaf, err);
		if (rc == SR_OK) { /* reading contents must not disturb the spool's own buffer */
			sr_buf_bytes(&own, leaf.path);
			leaf.path = sr_buf_view(&own);
			rc = tar_item(t, i, &leaf, err);
		}
		sr_buf_free(&own);
	}
	if (rc == SR_OK)
		rc = flush_table(t, t->rd.sv->replica->stores[i].name, err);
	sr_leaves_free(leaves);
	return rc;
}

/* Is there something at the place, and can all of it be read?  Found out before the answer begins: an archive that lacks a paused store
 * without a word is worse than none. */
static enum sr_status check_place(struct sr_replica *r, const struct place *place, struct sr_err *err)
{
	struct sr_version v = {.kind = SR_KIND_DIR};
	enum sr_status rc = SR_OK;

	sr_replica_read_lock(r);
	if (place->path.len)
		rc = sr_store_get(r->nodes, place->store->kind, &place->store->map, sr_buf_view(&place->path), &v, err);
	if (rc == SR_OK && v.kind == SR_KIND_NONE)
		rc = sr_err_set(err, SR_E_NOTFOUND, "nothing is there");
	for (size_t i = 0; rc == SR_OK && i < r->n; i++)
		if ((!place->store || place->i == i) && r->stores[i].mode == SR_MODE_PAUSED)
			rc = sr_err_set(err, SR_E_UNAVAILABLE, "store %s is paused: %s", r->stores[i].name, r->stores[i].why);
	sr_replica_unlock(r);
	return rc;
}

static enum sr_status write_tar(struct sr_serve *sv, struct sr_request *req, const struct place *place, struct sr_err *err)
{
	struct stream out = {.req = req, .r = sv->replica};
	struct tarring t = {.fd = -1};
	enum sr_status rc = sr_tar_writer_new(&t.w, reply_part, &out, err);

	reading_start(&t.rd, sv);
	for (size_t i = 0; rc == SR_OK && i < sv->replica->n; i++)
		if (!place->store || place->i == i)
			rc = tar_store(&t, i, sr_buf_view(&place->path), err);
	if (rc == SR_OK)
		rc = sr_tar_finish(t.w, err);
	sr_tar_writer_free(t.w);
	reading_end(&t.rd);
	sr_buf_free(&t.name);
	sr_buf_free(&t.table);
	sr_buf_free(&t.rows);
	if (t.fd >= 0)
		close(t.fd);
	return rc;
}

static enum sr_status get_bundle(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_serve *sv = ctx;
	struct place place;
	struct sr_bytes text = {0};
	enum sr_status rc = enter(sv, err);

	if (rc != SR_OK)
		return rc;
	(void)sr_request_query(req, "path", &text);
	rc = parse_place(sv, text, &place, err);
	if (rc != SR_OK)
		goto out;
	rc = check_place(sv->replica, &place, err);
	if (rc == SR_OK) {
		sr_reply_start(req, 200, "application/x-tar", -1);
		rc = write_tar(sv, req, &place, err);
		if (rc == SR_OK)
			sr_reply_end(req);
	}
	sr_buf_free(&place.path);
out:
	sr_replica_unuse(sv->replica);
	return rc;
}

/* --- GET /api/blob/H -------------------------------------------------------------------------------------------------------- */

struct find { /* which item of the current tree has this content? */
	struct sr_hash hash;
	struct sr_buf path;
	struct sr_version version;
};

static enum sr_status find_item(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	struct find *f = ctx;

	(void)a;
	if ((b->kind != SR_KIND_FILE && b->kind != SR_KIND_ROW) || !sr_hash_eq(&b->hash, &f->hash))
		return SR_OK;
	sr_buf_bytes(&f->path, path);
	f->version = *b;
	return SR_E_BUSY; /* found: stop */
}

static bool find_blob(struct sr_replica *r, struct find *f, size_t *i)
{
	struct sr_hash none = {0};
	bool found = false;

	sr_replica_read_lock(r);
	for (*i = 0; !found && *i < r->n; *i += !found)
		found = sr_store_diff(r->nodes, r->stores[*i].kind, &none, &r->stores[*i].map, find_item, f, NULL) == SR_E_BUSY;
	sr_replica_unlock(r);
	return found;
}

/* A file may be another by now: its size says so here, its hash is for the receiver to check. */
static enum sr_status check_size(const struct sr_content *c, uint64_t bytes)
{
	struct stat st;

	return c->fd >= 0 && (fstat(c->fd, &st) || (uint64_t)st.st_size != bytes) ? SR_E_NOTFOUND : SR_OK;
}

/* Where the request says that it is; else wherever it is found in the current tree. */
static enum sr_status open_current(struct reading *rd, struct find *f, const struct place *hint, struct sr_content *out, struct sr_err *err)
{
	struct sr_replica *r = rd->sv->replica;
	bool found;
	size_t i;
	enum sr_status rc;

	if (hint->path.len) {
		i = hint->i;
		sr_buf_bytes(&f->path, sr_buf_view(&hint->path));
		sr_replica_read_lock(r);
		found = sr_store_get(r->nodes, hint->store->kind, &hint->store->map, sr_buf_view(&f->path), &f->version, NULL) == SR_OK &&
			(f->version.kind == SR_KIND_FILE || f->version.kind == SR_KIND_ROW) && sr_hash_eq(&f->version.hash, &f->hash);
		sr_replica_unlock(r);
	} else {
		found = find_blob(r, f, &i);
	}
	if (!found)
		return SR_E_NOTFOUND;
	rc = read_version(rd, i, sr_buf_view(&f->path), &f->version, out, err);
	return rc == SR_OK ? check_size(out, f->version.bytes) : rc;
}

/* What only older roots have. */
static enum sr_status open_older(struct reading *rd, struct find *f, const struct place *hint, struct sr_content *out, struct sr_err *err)
{
	struct sr_replica *r = rd->sv->replica;
	enum sr_status rc = SR_E_NOTFOUND;
	struct stat st;

	for (size_t i = 0; rd->sv->older && rc == SR_E_NOTFOUND && i < r->n; i++) {
		if (hint->store && hint->i != i)
			continue;
		f->version =
			(struct sr_version){.kind = r->stores[i].kind == SR_KIND_FILES ? SR_KIND_FILE : SR_KIND_ROW, .hash = f->hash};
		rc = rd->sv->older(rd->sv->ctx, i, sr_bytes(NULL, 0), &f->version, &rd->older, out, err);
	}
	if (rc == SR_OK)
		f->version.bytes = out->fd < 0 ? out->record.len : fstat(out->fd, &st) ? 0 : (uint64_t)st.st_size;
	return rc;
}

/* Open the content that has f->hash. */
static enum sr_status open_blob(struct sr_serve *sv, struct find *f, const struct place *hint, struct sr_buf *record, struct sr_content *out,
				struct sr_err *err)
{
	struct reading rd;
	enum sr_status rc;

	reading_start(&rd, sv);
	rc = open_current(&rd, f, hint, out, err);
	if (rc == SR_E_NOTFOUND) {
		if (out->fd >= 0)
			close(out->fd);
		out->fd = -1;
		rc = open_older(&rd, f, hint, out, err);
	}
	if (rc == SR_OK && out->fd < 0) {
		sr_buf_bytes(record, out->record);
		out->record = sr_buf_view(record);
	}
	reading_end(&rd);
	return rc == SR_E_NOTFOUND ? sr_err_set(err, rc, "no file or row has this content") : rc;
}

enum sr_status sr_serve_open(struct sr_serve *sv, const struct sr_hash *hash, struct sr_bytes path, struct sr_blob *out, struct sr_err *err)
{
	struct find f = {.hash = *hash};
	struct place hint = {0};
	enum sr_status rc;

	*out = (struct sr_blob){.content.fd = -1};
	rc = enter(sv, err);
	if (rc != SR_OK)
		return rc;
	rc = parse_place(sv, path, &hint, err);
	if (rc == SR_OK)
		rc = open_blob(sv, &f, &hint, &out->record, &out->content, err);
	out->key = sv->replica->key;
	sr_replica_unuse(sv->replica); /* what is open now needs no store */
	out->kind = f.version.kind;
	out->bytes = f.version.bytes;
	sr_buf_free(&hint.path);
	sr_buf_free(&f.path);
	return rc;
}

enum sr_status sr_serve_open_asked(struct sr_serve *sv, struct sr_request *req, struct sr_blob *out, struct sr_err *err)
{
	struct sr_bytes path = {0};
	struct sr_hash hash;

	*out = (struct sr_blob){.content.fd = -1};
	if (!sr_hash_parse(&hash, sr_request_arg(req, 0)))
		return sr_err_set(err, SR_E_DATA, "not a hash: 32 hexadecimal digits are");
	(void)sr_request_query(req, "path", &path);
	return sr_serve_open(sv, &hash, path, out, err);
}

void sr_blob_close(struct sr_blob *b)
{
	if (b->content.fd >= 0)
		close(b->content.fd);
	sr_buf_free(&b->record);
}

void sr_blob_reply_mtime(struct sr_request *req, const struct sr_blob *b)
{
	char *mtime = sr_format("%" PRId64, b->content.mtime_ns);

	sr_reply_header(req, SR_HEADER_MTIME, mtime);
	free(mtime);
}

static enum sr_status reply_blob(struct sr_request *req, const struct sr_blob *b, struct sr_err *err)
{
	uint64_t total = b->bytes, from = 0, length = total;
	bool part = sr_range_parse(sr_request_header(req, "Range"), total, &from, &length);

	if (part) {
		char *range = sr_format("bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, from, from + length - 1, total);

		sr_reply_header(req, "Content-Range", range);
		free(range);
	}
	if (b->kind == SR_KIND_FILE) {
		sr_blob_reply_mtime(req, b);
		return sr_reply_file(req, part ? 206 : 200, "application/octet-stream", b->content.fd, from, length, err);
	}
	sr_reply_bytes(req, part ? 206 : 200, "application/octet-stream", sr_bytes(b->content.record.at + from, length));
	return SR_OK;
}

static enum sr_status get_blob(void *ctx, struct sr_request *req, struct sr_err *err)
{
	struct sr_blob blob;
	enum sr_status rc = sr_serve_open_asked(ctx, req, &blob, err);

	if (rc == SR_OK)
		rc = reply_blob(req, &blob, err);
	sr_blob_close(&blob);
	return rc;
}

/* --- routes ----------------------------------------------------------------------------------------------------------------- */

static const struct sr_route routes[] = {
	{"GET", "/api/tree/node/{}", get_node, 0, 0},
	{"POST", "/api/tree/nodes", post_nodes, 0, SR_WALK_PAIRS * 2 * SR_HASH_LEN},
	{"GET", "/api/tree/list", get_list, 0, 0},
	{"GET", "/api/bundle", get_bundle, 0, 0},
	{"POST", "/api/bundle", post_bundle, 0, SR_BUNDLE_WANTED_BYTES},
	{"GET", "/api/blob/{}", get_blob, 0, 0},
	{"POST", "/api/blob/{}/pieces", sr_serve_pieces, 0, SR_RANGES_MOST * SR_RANGE_LEN},
	{"POST", "/api/blob/{}/parts", sr_serve_parts, 0, SR_RANGES_MOST * SR_RANGE_LEN},
};

const struct sr_route *sr_serve_routes(size_t *n)
{
	*n = sizeof routes / sizeof *routes;
	return routes;
}
