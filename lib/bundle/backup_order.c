/* backup_order.c - where the members of a backup may stand: see backup_read.h. */
#include <string.h>

#include "lib/bundle/backup_read.h"

#define STORES_MAX 65536 /* bytes of names */

static bool under(struct sr_bytes path, struct sr_bytes top)
{
	return path.len > top.len && path.at[top.len] == '/' && !memcmp(path.at, top.at, top.len);
}

static struct sr_bytes parent_of(struct sr_bytes path)
{
	const uint8_t *slash = path.len ? memrchr(path.at, '/', path.len) : NULL;

	return sr_bytes(path.at, slash ? (size_t)(slash - path.at) : 0);
}

struct sr_bytes sr_backup_order_store(struct sr_bytes path)
{
	const uint8_t *slash = path.len ? memchr(path.at, '/', path.len) : NULL;

	return sr_bytes(path.at, slash ? (size_t)(slash - path.at) : path.len);
}

/* As of trees: a directory directly before what is below it. */
int sr_backup_order_cmp(struct sr_bytes a, struct sr_bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < n; i++)
		if (a.at[i] != b.at[i]) {
			int x = a.at[i] == '/' ? 0 : a.at[i], y = b.at[i] == '/' ? 0 : b.at[i];

			return x < y ? -1 : 1;
		}
	return a.len < b.len ? -1 : a.len > b.len;
}

bool sr_backup_order_has(const struct sr_backup_order *o, struct sr_bytes store)
{
	for (size_t at = 0; at < o->stores.len; at += strlen((char *)o->stores.at + at) + 1)
		if (sr_bytes_eq(sr_bytes_of((char *)o->stores.at + at), store))
			return true;
	return false;
}

size_t sr_backup_order_count(const struct sr_backup_order *o)
{
	size_t n = 0;

	for (size_t at = 0; at < o->stores.len; at++)
		n += !o->stores.at[at];
	return n;
}

/* Below a store's directory: is the path one that such a store can have? */
static bool path_is_right(struct sr_bytes path, size_t from)
{
	struct sr_buf copy = {0};
	bool ok;

	sr_buf_add(&copy, path.at + from, path.len - from);
	for (size_t i = 0; i < copy.len; i++)
		copy.at[i] = copy.at[i] == '/' ? 0 : copy.at[i];
	ok = sr_leaf_path_check(SR_KIND_FILES, sr_buf_view(&copy), NULL) == SR_OK;
	sr_buf_free(&copy);
	return ok;
}

/* ".sameroot" and ".sameroot/marker" come directly after the store's own directory, and out of order. */
static bool is_marker(struct sr_backup_order *o, struct sr_bytes path, bool dir, size_t from)
{
	struct sr_bytes rest = sr_bytes(path.at + from, path.len - from);
	bool store_came = sr_bytes_eq(sr_buf_view(&o->last), sr_bytes(path.at, from - 1));

	if (store_came && o->marker == 0 && dir && sr_bytes_eq(rest, sr_bytes_of(SR_BACKUP_MARKER_DIR)))
		o->marker = 1;
	else if (store_came && o->marker == 1 && !dir && sr_bytes_eq(rest, sr_bytes_of(SR_BACKUP_MARKER_DIR "/marker")))
		o->marker = 2;
	else
		return false;
	return true;
}

static void remember(struct sr_buf *out, struct sr_bytes path)
{
	sr_buf_clear(out);
	sr_buf_bytes(out, path);
}

static const char *place_below(struct sr_backup_order *o, struct sr_bytes path, bool dir)
{
	struct sr_bytes last = sr_buf_view(&o->last), parent = parent_of(path);
	size_t from = sr_backup_order_store(path).len + 1;
	bool again; /* the same file once more */
	int cmp;

	if (!sr_bytes_eq(sr_backup_order_store(last), sr_backup_order_store(path)) || !o->dir.len)
		return "its store's directory is not before it";
	if (is_marker(o, path, dir, from))
		return NULL;
	if (!path_is_right(path, from))
		return "a path that no store has";
	cmp = sr_backup_order_cmp(last, path);
	again = cmp == 0 && !dir && !o->last_dir;
	if (cmp > 0 || (cmp == 0 && !again))
		return "not in its place, or twice";
	if (!sr_bytes_eq(parent, sr_buf_view(&o->dir)) && !under(sr_buf_view(&o->dir), parent))
		return "its directory is not before it";
	if (!again) /* parent lies in the path, not in o->dir */
		remember(&o->dir, dir ? path : parent);
	remember(&o->last, path);
	o->last_dir = dir;
	return NULL;
}

const char *sr_backup_order_next(struct sr_backup_order *o, struct sr_bytes path, bool dir)
{
	bool again = !dir && !o->last_dir && sr_bytes_eq(path, sr_buf_view(&o->last));

	if (memchr(path.at, '/', path.len))
		return place_below(o, path, dir);
	if (!sr_backup_store_name(path))
		return "a name that no store has";
	if (!again && (o->stores.len > STORES_MAX || sr_backup_order_has(o, path)))
		return "twice";
	if (!again) {
		sr_buf_bytes(&o->stores, path);
		sr_buf_byte(&o->stores, 0);
	}
	remember(&o->last, path);
	remember(&o->dir, dir ? path : sr_bytes(NULL, 0));
	o->last_dir = dir;
	o->marker = 0;
	return NULL;
}

void sr_backup_order_free(struct sr_backup_order *o)
{
	sr_buf_free(&o->last);
	sr_buf_free(&o->dir);
	sr_buf_free(&o->stores);
}
