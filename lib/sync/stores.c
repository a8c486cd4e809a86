/* stores.c - how the stores that are configured here and those of the datastore fit together: stores that one side does not have, and what is
 * excluded.  Design section 6: an excluded path is unknown; nothing at and below it is pushed, pulled or deleted, and its base stays. */
#include <stdlib.h>
#include <string.h>

#include "lib/sync/internal.h"

/* --- exclusions ------------------------------------------------------------------------------------------------------- */

const struct sr_tree_store *sr_sync_there(const struct sr_sync *s, size_t i)
{
	const struct sr_replica_store *st = &s->r->stores[i];

	for (size_t k = 0; s->have_info && k < s->info.n; k++)
		if (!strcmp(s->info.stores[k].name, st->name) && s->info.stores[k].kind == st->kind)
			return &s->info.stores[k];
	return NULL;
}

static bool has(const char *const *globs, size_t n, const char *glob)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(globs[i], glob))
			return true;
	return false;
}

/* Our own, and those of the datastore that are not among them. */
static size_t unite(const struct sr_config_list *own, const struct sr_tree_store *there, const char **out)
{
	size_t n = 0;

	for (size_t i = 0; own && i < own->count; i++)
		out[n++] = own->at[i];
	for (size_t i = 0; there && i < there->excludes; i++)
		if (!has(out, n, there->exclude[i]))
			out[n++] = there->exclude[i];
	return n;
}

void sr_sync_exclude(struct sr_sync *s)
{
	for (size_t i = 0; i < s->r->n; i++) {
		const struct sr_replica_store *st = &s->r->stores[i];
		const struct sr_config_store *config = sr_config_store(s->exclusions, st->name);
		const struct sr_config_list *own = config && config->kind == st->config->kind ? &config->exclude : NULL;
		const struct sr_tree_store *there = sr_sync_there(s, i);
		const char **globs = sr_alloc(((own ? own->count : 0) + (there ? there->excludes : 0)) * sizeof *globs);
		size_t n = unite(own, there, globs);

		if (sr_replica_exclude(s->r, i, globs, n))
			s->quiet = false;
		free(globs);
	}
}

void sr_sync_set_exclusions(struct sr_sync *s, const struct sr_config *config)
{
	s->exclusions = config;
}

bool sr_sync_is_excluded(struct sr_sync *s, size_t i, struct sr_bytes path)
{
	if (!sr_store_excludes(s->r->stores[i].store, path))
		return false;
	s->plans[i].excluded++;
	return true;
}

struct below {
	const struct sr_store *store;
	struct sr_buf path;
	size_t top; /* length of the directory's path, with its NUL */
	bool found;
};

static enum sr_status look_below(void *ctx, struct sr_bytes path, const struct sr_version *none, const struct sr_version *there)
{
	struct below *b = ctx;

	(void)none, (void)there;
	b->path.len = b->top;
	sr_buf_bytes(&b->path, path);
	b->found = sr_store_excludes(b->store, sr_buf_view(&b->path));
	return b->found ? SR_E_LIMIT : SR_OK; /* enough */
}

/* *map: the store's, then the directory's. */
static bool descend(const struct sr_sync *s, struct sr_hash *map, struct sr_bytes path)
{
	while (path.len) {
		const uint8_t *nul = memchr(path.at, 0, path.len);
		size_t n = nul ? (size_t)(nul - path.at) : path.len;
		struct sr_entry e;

		if (sr_map_get(s->r->nodes, map, sr_bytes(path.at, n), &e) != SR_OK || e.kind != SR_KIND_DIR)
			return false;
		*map = e.hash;
		path = nul ? sr_bytes(nul + 1, path.len - n - 1) : sr_bytes(NULL, 0);
	}
	return true;
}

bool sr_sync_excluded_below(const struct sr_sync *s, size_t i, const struct sr_hash *remote, struct sr_bytes path)
{
	static const struct sr_hash nothing;
	struct below b = {.store = s->r->stores[i].store};
	struct sr_hash map = *remote;
	struct sr_err ignored;

	if (!s->plans[i].excluded || !descend(s, &map, path))
		return false;
	sr_buf_bytes(&b.path, path);
	sr_buf_byte(&b.path, 0);
	b.top = b.path.len;
	(void)!sr_store_diff(s->r->nodes, SR_KIND_FILES, &nothing, &map, look_below, &b, &ignored);
	sr_buf_free(&b.path);
	return b.found;
}

/* --- stores that one side does not have ----------------------------------------------------------------------------------- */

const struct sr_tree_store *sr_sync_stranger(const struct sr_sync *s, size_t *k)
{
	while (s->have_info && *k < s->info.n) {
		const struct sr_tree_store *there = &s->info.stores[(*k)++];

		if (!sr_config_store(s->config, there->name))
			return there;
	}
	return NULL;
}

bool sr_sync_all_equal(const struct sr_sync *s)
{
	bool equal = true;

	for (size_t i = 0; equal && i < s->r->n; i++) {
		struct sr_hash map;
		const char *why;

		equal = sr_sync_remote_map(s, i, &map, &why) && (sr_hash_eq(&map, &s->r->stores[i].map) || s->plans[i].excluded);
	}
	return equal;
}
