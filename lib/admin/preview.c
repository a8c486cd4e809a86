/* preview.c - see preview.h. */
#include "lib/admin/preview.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/admin/table.h"
#include "lib/base/door.h"
#include "lib/replica/fetch.h"
#include "lib/replica/wire.h"
#include "lib/store/exclude.h"
#include "lib/store/store.h"

#define TRIES 5 /* of a root that moves on meanwhile */

struct look {
	const struct sr_config *config;
	struct sr_client *client;
	struct sr_tree_info info; /* the datastore's */
	struct sr_tree_key key;
	struct sr_nodes *nodes; /* of both */
	struct sr_local {
		struct sr_hash map; /* zero: not scanned */
		struct sr_scan scan;
	} *locals; /* as many as stores in the configuration */
	struct sr_hash root; /* over the maps here */
	struct sr_preview *out;
};

/* --- the datastore --------------------------------------------------------------------------------------------------------------- */

static enum sr_status ask_tree(struct look *l, int *http, struct sr_err *err)
{
	static const char *const headers[] = {SR_HEADER_KEY ": want", NULL};
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(l->client, &(struct sr_call){.target = "/api/tree", .headers = headers}, &answer, err);

	sr_tree_info_free(&l->info);
	if (rc == SR_OK)
		rc = sr_tree_info_parse(sr_buf_view(&answer.body), &l->info, err);
	if (rc == SR_OK && (!l->info.has_key || sr_uuid_none(&l->info.at.instance)))
		rc = sr_err_set(err, SR_E_CONFIG, "what answers there is not a datastore");
	*http = answer.status;
	sr_answer_free(&answer);
	return rc;
}

static enum sr_status take_tree(struct look *l, unsigned wait_ms, struct sr_err *err)
{
	int64_t until = sr_ticks_ms() + wait_ms;
	int http = 0;
	enum sr_status rc = ask_tree(l, &http, err);

	while (rc == SR_E_UNAVAILABLE && http == 503 && sr_ticks_ms() < until) {
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		rc = ask_tree(l, &http, err);
	}
	return rc;
}

static const struct sr_tree_store *store_there(const struct look *l, const char *name)
{
	for (size_t k = 0; k < l->info.n; k++)
		if (!strcmp(l->info.stores[k].name, name))
			return &l->info.stores[k];
	return NULL;
}

/* --- the stores here ------------------------------------------------------------------------------------------------------------- */

static enum sr_status open_store(const struct look *l, const struct sr_config_store *c, struct sr_store **out, struct sr_err *err)
{
	const struct sr_tree_store *there = store_there(l, c->name);
	size_t own = c->exclude.count, n = own + (there ? there->excludes : 0);
	const char **globs = sr_alloc((n + 1) * sizeof *globs);
	struct sr_store_options o = {.name = c->name,
				     .kind = c->kind == SR_CONFIG_SQLITE ? SR_KIND_DATABASE : SR_KIND_FILES,
				     .path = c->path,
				     .owner = c->owner,
				     .group = c->group,
				     .exclude = globs,
				     .excludes = n,
				     .max_size = l->config->resource_max_size,
				     .key = &l->key};
	enum sr_status rc;

	for (size_t i = 0; i < n; i++)
		globs[i] = i < own ? c->exclude.at[i] : there->exclude[i - own];
	rc = sr_store_open(out, &o, err);
	free(globs);
	return rc;
}

static enum sr_status scan(struct look *l, struct sr_store *store, struct sr_local *local, struct sr_err *err)
{
	static const struct sr_hash none;
	struct sr_view *view = NULL;
	enum sr_status rc = sr_view_open(&view, store, SR_VIEW_MAIN, err);

	if (rc == SR_OK)
		rc = sr_view_scan(view, l->nodes, &none, NULL, NULL, &local->scan, err);
	if (rc == SR_OK)
		local->map = local->scan.map;
	sr_view_close(view);
	return rc;
}

static enum sr_status look_at(struct look *l, size_t i, struct sr_preview_store *out, struct sr_err *err)
{
	const struct sr_config_store *c = &l->config->stores[i];
	struct sr_store *store = NULL;
	struct sr_marker marker;
	bool content = false;
	char why[256] = "";
	enum sr_presence is;
	enum sr_status rc = open_store(l, c, &store, err);

	if (rc != SR_OK)
		return rc;
	is = sr_store_look(store, &marker, &content, why);
	if (is == SR_CORRUPT || is == SR_BLOCKED || is == SR_UNMARKABLE)
		out->note = sr_format("not compared: %s", why);
	else if (is == SR_PRESENT)
		rc = scan(l, store, &l->locals[i], err);
	if (rc == SR_OK && sr_hash_none(&l->locals[i].map))
		sr_store_empty(l->nodes, sr_store_kind(store), &l->locals[i].map);
	sr_store_close(store);
	return rc == SR_OK ? rc : sr_err_context(err, "store %s", c->name);
}

static enum sr_status look_here(struct look *l, struct sr_err *err)
{
	const struct sr_config *c = l->config;
	struct sr_entry *entries = sr_alloc((c->store_count + 1) * sizeof *entries), top;
	size_t n = 0;
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < c->store_count; i++) {
		struct sr_preview_store *s;

		if (!c->stores[i].path)
			continue;
		s = &l->out->stores[l->out->n++];
		s->name = c->stores[i].name;
		rc = look_at(l, i, s, err);
		if (rc != SR_OK)
			break;
		entries[n] = (struct sr_entry){.name = sr_bytes_of(s->name),
					       .kind = c->stores[i].kind == SR_CONFIG_SQLITE ? SR_KIND_DATABASE : SR_KIND_FILES,
					       .hash = l->locals[i].map};
		if (sr_map_counts(l->nodes, &entries[n].hash, &entries[n].leaves, &entries[n].bytes) == SR_OK)
			n++;
	}
	if (rc == SR_OK) {
		sr_map_build(l->nodes, sr_bytes(NULL, 0), entries, n, &top);
		l->root = top.hash;
	}
	free(entries);
	return rc;
}

/* --- counting -------------------------------------------------------------------------------------------------------------------- */

struct count {
	const struct look *l;
	const struct sr_config_store *config;
	const struct sr_tree_store *there;
	const struct sr_scan *scan;
	struct sr_preview_store *out;
	uint64_t all_here;
};

/* The unknown are sorted, and none is below another. */
static bool unknown_here(const struct sr_scan *scan, struct sr_bytes path)
{
	size_t low = 0, high = scan->unknowns;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sr_bytes_cmp(scan->unknown[middle].path, path) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low && (sr_bytes_eq(scan->unknown[low - 1].path, path) || sr_path_under(path, scan->unknown[low - 1].path));
}

static bool left_alone(const struct count *c, struct sr_bytes path)
{
	uint8_t kind = c->there->kind;

	return sr_exclude_covers(kind, (const char *const *)c->config->exclude.at, c->config->exclude.count, path) ||
	       sr_exclude_covers(kind, (const char *const *)c->there->exclude, c->there->excludes, path) || unknown_here(c->scan, path);
}

static struct sr_preview_table *table_named(struct sr_preview_store *s, const char *name)
{
	if (s->n && !strcmp(s->tables[s->last].name, name))
		return &s->tables[s->last];
	for (s->last = 0; s->last < s->n; s->last++)
		if (!strcmp(s->tables[s->last].name, name))
			return &s->tables[s->last];
	s->tables = sr_realloc(s->tables, (s->n + 1) * sizeof *s->tables);
	s->tables[s->n] = (struct sr_preview_table){.name = sr_strdup(name)};
	return &s->tables[s->n++];
}

static const char *side(const struct sr_version *here, const struct sr_version *there)
{
	return there->kind == SR_KIND_NONE ? "here" : here->kind == SR_KIND_NONE ? "there" : "different";
}

/* All tables come first, then the rows, table by table. */
static void count_in_table(struct sr_preview_store *s, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	const uint8_t *nul = memchr(path.at, 0, path.len);
	struct sr_preview_table *t;
	struct sr_buf name = {0};

	sr_percent(&name, sr_bytes(path.at, nul ? (size_t)(nul - path.at) : path.len), NULL);
	t = table_named(s, sr_buf_text(&name));
	sr_buf_free(&name);
	if (!nul)
		t->itself = side(here, there);
	t->here += there->kind == SR_KIND_NONE;
	t->there += here->kind == SR_KIND_NONE;
	t->different += here->kind != SR_KIND_NONE && there->kind != SR_KIND_NONE;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sr_preview_table *)a)->name, ((const struct sr_preview_table *)b)->name);
}

static enum sr_status count_difference(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct count *c = ctx;

	if (left_alone(c, path))
		return SR_OK;
	if (c->config->kind == SR_CONFIG_SQLITE)
		count_in_table(c->out, path, here, there);
	if (here->kind == SR_KIND_NONE)
		c->out->there++;
	else if (there->kind == SR_KIND_NONE)
		c->out->here++;
	else
		c->out->different++;
	return SR_OK;
}

static enum sr_status count_one(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct count *c = ctx;

	(void)path, (void)here, (void)there;
	c->all_here++;
	return SR_OK;
}

static enum sr_status compare(struct look *l, size_t i, struct sr_preview_store *out, struct sr_err *err)
{
	static const struct sr_hash nothing;
	const struct sr_local *local = &l->locals[i];
	struct count c = {.l = l, .config = &l->config->stores[i], .scan = &local->scan, .out = out};
	uint8_t kind = c.config->kind == SR_CONFIG_SQLITE ? SR_KIND_DATABASE : SR_KIND_FILES;
	struct sr_entry there = {0};
	uint64_t leaves = 0, bytes;
	enum sr_status rc;

	c.there = store_there(l, out->name);
	if (!c.there || c.there->paused || c.there->kind != kind) {
		out->note = !c.there ? sr_strdup("the datastore has no store of this name: it stays as it is")
			    : c.there->paused ? sr_format("it is paused at the datastore: %s", c.there->paused)
					      : sr_strdup("it is of another kind at the datastore: it stays as it is");
		return SR_OK;
	}
	rc = sr_map_get(l->nodes, &l->info.at.root, sr_bytes_of(out->name), &there);
	if (rc == SR_OK || rc == SR_E_NOTFOUND)
		rc = sr_store_diff(l->nodes, kind, &local->map, &there.hash, count_difference, &c, err);
	if (out->n)
		qsort(out->tables, out->n, sizeof *out->tables, by_name);
	if (rc == SR_OK)
		rc = sr_store_diff(l->nodes, kind, &local->map, &nothing, count_one, &c, err);
	if (rc == SR_OK)
		out->equal = c.all_here - out->here - out->different;
	out->emptied = rc == SR_OK && !c.there->leaves && (sr_map_counts(l->nodes, &local->map, &leaves, &bytes) != SR_OK || leaves);
	return rc;
}

static enum sr_status compare_all(struct look *l, struct sr_err *err)
{
	size_t k = 0;
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < l->config->store_count; i++) {
		if (!l->config->stores[i].path)
			continue;
		if (!l->out->stores[k].note)
			rc = compare(l, i, &l->out->stores[k], err);
		k++;
	}
	return rc;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------- */

static enum sr_status make(struct look *l, unsigned wait_ms, struct sr_err *err)
{
	enum sr_status rc = take_tree(l, wait_ms, err);

	if (rc != SR_OK)
		return rc;
	sr_tree_key_set(&l->key, l->info.key);
	l->nodes = sr_nodes_new(&l->key);
	sr_nodes_limit(l->nodes, l->config->max_leaves);
	rc = look_here(l, err);
	for (int i = 0; rc == SR_OK && i < TRIES; i++) {
		rc = sr_fetch_nodes(l->nodes, l->client, &l->info.at.root, &l->root, NULL, NULL, err);
		if (rc != SR_E_GONE)
			break;
		rc = take_tree(l, wait_ms, err);
	}
	return rc == SR_OK ? compare_all(l, err) : rc;
}

enum sr_status sr_preview_make(struct sr_preview *out, const struct sr_config *config, struct sr_client *client, unsigned wait_ms,
			       struct sr_err *err)
{
	struct sr_preview p = {.stores = sr_alloc((config->store_count + 1) * sizeof *p.stores)};
	struct look l = {.config = config, .client = client, .out = &p, .locals = sr_alloc((config->store_count + 1) * sizeof *l.locals)};
	enum sr_status rc = make(&l, wait_ms, err);

	for (size_t i = 0; i < config->store_count; i++)
		sr_scan_free(&l.locals[i].scan);
	free(l.locals);
	sr_nodes_free(l.nodes);
	sr_tree_info_free(&l.info);
	explicit_bzero(&l.key, sizeof l.key);
	if (rc == SR_OK)
		*out = p;
	else
		sr_preview_free(&p);
	return rc;
}

void sr_preview_free(struct sr_preview *p)
{
	for (size_t i = 0; i < p->n; i++) {
		for (size_t k = 0; k < p->stores[i].n; k++)
			free(p->stores[i].tables[k].name);
		free(p->stores[i].tables);
		free(p->stores[i].note);
	}
	free(p->stores);
	memset(p, 0, sizeof *p);
}

/* --- showing --------------------------------------------------------------------------------------------------------------------- */

static const char *what_differs(const struct sr_preview_table *t)
{
	if (!t->itself)
		return "rows";
	return t->here + t->there + t->different == 1 ? "the table itself" : "the table itself, and rows";
}

/* Of a store that was not compared nothing was counted. */
static void add_count(struct sr_table *t, const struct sr_preview_store *s, uint64_t n)
{
	if (s->note)
		sr_table_add(t, "-");
	else
		sr_table_add(t, "%" PRIu64, n);
}

void sr_preview_show(const struct sr_preview *p, FILE *out)
{
	struct sr_table t;

	sr_table_start(&t, "lrrrrl");
	for (const char *const *head = (const char *const[]){"store", "equal", "only here", "only at the datastore", "different", "", NULL};
	     *head; head++)
		sr_table_add(&t, "%s", *head);
	for (size_t i = 0; i < p->n; i++) {
		const struct sr_preview_store *s = &p->stores[i];

		sr_table_add(&t, "%s", s->name);
		add_count(&t, s, s->equal);
		add_count(&t, s, s->here);
		add_count(&t, s, s->there);
		add_count(&t, s, s->different);
		sr_table_add(&t, "%s", s->note ? s->note : "");
		for (size_t k = 0; k < s->n; k++) {
			const struct sr_preview_table *table = &s->tables[k];

			sr_table_add(&t, "  %s", table->name);
			sr_table_add(&t, "%s", "");
			sr_table_add(&t, "%" PRIu64, table->here);
			sr_table_add(&t, "%" PRIu64, table->there);
			sr_table_add(&t, "%" PRIu64, table->different);
			sr_table_add(&t, "%s", what_differs(table));
		}
	}
	sr_table_print(&t, out, "");
}

static json_t *tables_json(const struct sr_preview_store *s)
{
	json_t *list = json_array();

	for (size_t k = 0; k < s->n; k++)
		json_array_append_new(list, json_pack("{sssIsIsIss?}", "name", s->tables[k].name, "here", (json_int_t)s->tables[k].here, "there",
						      (json_int_t)s->tables[k].there, "different", (json_int_t)s->tables[k].different, "itself",
						      s->tables[k].itself));
	return list;
}

void sr_preview_answer(const struct sr_admin *a, const char *what, struct json_t *preview, const struct sr_buf *result)
{
	json_t *said = result && result->len ? json_loadb((const char *)result->at, result->len, 0, NULL) : NULL, *o = json_object();

	json_object_set_new(o, "what", json_string(what));
	json_object_set_new(o, "preview", preview);
	json_object_set_new(o, "result", said ? said : result ? json_object() : json_null());
	if (a->json)
		sr_admin_print_json(a, o);
	json_decref(o);
}

struct json_t *sr_preview_json(const struct sr_preview *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->n; i++) {
		const struct sr_preview_store *s = &p->stores[i];
		json_t *o = json_object();

		json_object_set_new(o, "name", json_string(s->name));
		json_object_set_new(o, "equal", json_integer((json_int_t)s->equal));
		json_object_set_new(o, "here", json_integer((json_int_t)s->here));
		json_object_set_new(o, "there", json_integer((json_int_t)s->there));
		json_object_set_new(o, "different", json_integer((json_int_t)s->different));
		json_object_set_new(o, "emptied", json_boolean(s->emptied));
		json_object_set_new(o, "tables", tables_json(s));
		json_object_set_new(o, "note", s->note ? json_string(s->note) : json_null());
		json_array_append_new(list, o);
	}
	return list;
}
