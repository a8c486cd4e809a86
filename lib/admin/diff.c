/* diff.c - see diff.h. */
#include "lib/admin/diff.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/table.h"

/* --- finding --------------------------------------------------------------------------------------------------------------- */

struct find {
	const struct sr_nodes *nodes;
	const struct sr_hash *other; /* the root on the other side */
	struct sr_differences *out;
	struct sr_err *err;
	char *store; /* under way */
	uint8_t kind;
	bool here; /* the root that is gone through is the one here */
	sr_skip_fn *skip;
	void *ctx;
};

static void add(struct find *f, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct sr_differences *d = f->out;
	struct sr_buf text = {0};

	if (d->n == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 64;
		d->at = sr_realloc(d->at, d->cap * sizeof *d->at);
	}
	sr_leaf_path_text(&text, f->store, f->kind, path);
	d->at[d->n++] = (struct sr_difference){.path = sr_strdup(sr_buf_text(&text)),
					       .here = *here,
					       .there = *there,
					       .skipped = f->skip && f->skip(f->ctx, f->store, f->kind, path)};
	sr_buf_free(&text);
}

static enum sr_status add_item(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	add(ctx, path, here, there);
	return SR_OK;
}

static enum sr_status whole_store(struct find *f, const struct sr_entry *e, const struct sr_entry *other)
{
	struct sr_version mine = {.kind = e->kind, .hash = e->hash}, theirs = {0};

	if (other)
		theirs = (struct sr_version){.kind = other->kind, .hash = other->hash};
	add(f, sr_bytes(NULL, 0), f->here ? &mine : &theirs, f->here ? &theirs : &mine);
	return SR_OK;
}

/* A store of the root that is gone through.  Stores on both sides are compared from here; those only there are left to the second pass. */
static enum sr_status compare_store(struct find *f, const struct sr_entry *e)
{
	static const struct sr_hash nothing;
	struct sr_entry other;
	enum sr_status rc = sr_map_get(f->nodes, f->other, e->name, &other);
	size_t before = f->out->n;

	if (rc == SR_OK && !f->here)
		return SR_OK;
	if (rc == SR_OK && other.kind != e->kind)
		return whole_store(f, e, &other);
	if (rc == SR_OK)
		return sr_store_diff(f->nodes, e->kind, &e->hash, &other.hash, add_item, f, f->err);
	if (rc != SR_E_NOTFOUND)
		return sr_err_set(f->err, rc, "the tree is not whole");
	rc = sr_store_diff(f->nodes, e->kind, f->here ? &e->hash : &nothing, f->here ? &nothing : &e->hash, add_item, f, f->err);
	return rc == SR_OK && f->out->n == before ? whole_store(f, e, NULL) : rc;
}

static enum sr_status visit_store(void *ctx, const struct sr_entry *e)
{
	struct find *f = ctx;
	enum sr_status rc;

	f->store = sr_text(e->name);
	f->kind = e->kind;
	rc = compare_store(f, e);
	free(f->store);
	return rc;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct sr_difference *)a)->path, ((const struct sr_difference *)b)->path);
}

/* Is item i a directory on one side only, and all that differs below it skipped? */
static bool only_around_skipped(const struct sr_differences *d, size_t i)
{
	const struct sr_difference *x = &d->at[i];
	char *top = sr_format("%s/", x->path);
	size_t low = i + 1, high = d->n, below;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(d->at[middle].path, top) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (below = low; below < d->n && d->at[below].skipped && !strncmp(d->at[below].path, top, strlen(top)); below++)
		;
	high = below < d->n && !strncmp(d->at[below].path, top, strlen(top)); /* one that is not skipped */
	free(top);
	return !high && below > low && x->here.kind + x->there.kind == SR_KIND_DIR;
}

/* From the end, for what is below a directory comes behind it. */
static void drop_skipped(struct sr_differences *d)
{
	size_t n = 0;

	for (size_t i = d->n; i-- > 0;)
		d->at[i].skipped |= only_around_skipped(d, i);
	for (size_t i = 0; i < d->n; i++) {
		if (d->at[i].skipped)
			free(d->at[i].path);
		else
			d->at[n++] = d->at[i];
	}
	d->n = n;
}

enum sr_status sr_differences_find(const struct sr_nodes *nodes, const struct sr_hash *here, const struct sr_hash *there, sr_skip_fn *skip,
				   void *ctx, struct sr_differences *out, struct sr_err *err)
{
	struct sr_differences found = {0};
	struct find f = {.nodes = nodes, .other = there, .out = &found, .err = err, .here = true, .skip = skip, .ctx = ctx};
	enum sr_status rc = SR_OK;

	if (!sr_hash_eq(here, there)) {
		rc = sr_map_each(nodes, here, visit_store, &f, err);
		f.other = here;
		f.here = false;
		if (rc == SR_OK)
			rc = sr_map_each(nodes, there, visit_store, &f, err);
	}
	if (rc != SR_OK) {
		sr_differences_free(&found);
		return rc;
	}
	if (found.n)
		qsort(found.at, found.n, sizeof *found.at, by_path);
	if (skip)
		drop_skipped(&found);
	*out = found;
	return SR_OK;
}

void sr_differences_free(struct sr_differences *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->at[i].path);
	free(d->at);
	memset(d, 0, sizeof *d);
}

/* --- showing --------------------------------------------------------------------------------------------------------------------- */

static const char *kind_word(uint8_t kind)
{
	static const char *const words[] = {"none", "file", "dir", "row", "table", "files", "sqlite"};

	return words[kind];
}

static bool has_mode(uint8_t kind)
{
	return kind == SR_KIND_FILE || kind == SR_KIND_DIR;
}

static bool has_bytes(uint8_t kind)
{
	return kind == SR_KIND_FILE || kind == SR_KIND_ROW;
}

static void describe(struct sr_table *t, const struct sr_version *v)
{
	const char *word = kind_word(v->kind);

	if (v->kind == SR_KIND_NONE)
		sr_table_add(t, "-");
	else if (v->kind == SR_KIND_FILE)
		sr_table_add(t, "%s %04o, %llu bytes", word, v->mode, (unsigned long long)v->bytes);
	else if (has_mode(v->kind))
		sr_table_add(t, "%s %04o", word, v->mode);
	else if (has_bytes(v->kind))
		sr_table_add(t, "%s, %llu bytes", word, (unsigned long long)v->bytes);
	else
		sr_table_add(t, "%s", word);
}

void sr_differences_show(const struct sr_differences *d, FILE *out)
{
	struct sr_table t;

	sr_table_start(&t, "llll");
	for (size_t i = 0; i < d->n; i++) {
		const struct sr_difference *x = &d->at[i];

		sr_table_add(&t, "%s",
			     x->here.kind == SR_KIND_NONE    ? "only at the datastore"
			     : x->there.kind == SR_KIND_NONE ? "only here"
							     : "differs");
		sr_table_add(&t, "%s", x->path);
		describe(&t, &x->here);
		describe(&t, &x->there);
	}
	sr_table_print(&t, out, "");
}

static json_t *version_json(const struct sr_version *v)
{
	char hash[SR_HASH_TEXT];
	json_t *o;

	if (v->kind == SR_KIND_NONE)
		return json_null();
	o = json_object();
	json_object_set_new(o, "kind", json_string(kind_word(v->kind)));
	if (has_mode(v->kind))
		json_object_set_new(o, "mode", json_integer(v->mode));
	if (has_bytes(v->kind))
		json_object_set_new(o, "bytes", json_integer((json_int_t)v->bytes));
	if (!sr_hash_none(&v->hash)) {
		sr_hash_text(hash, &v->hash);
		json_object_set_new(o, "hash", json_string(hash));
	}
	return o;
}

void sr_differences_json(const struct sr_differences *d, FILE *out)
{
	fputc('[', out);
	for (size_t i = 0; i < d->n; i++) {
		json_t *o = json_object();
		char *text;

		json_object_set_new(o, "path", json_string(d->at[i].path));
		json_object_set_new(o, "here", version_json(&d->at[i].here));
		json_object_set_new(o, "there", version_json(&d->at[i].there));
		text = json_dumps(o, JSON_COMPACT);
		fprintf(out, "%s%s", i ? "," : "", text);
		free(text);
		json_decref(o);
	}
	fputs("]\n", out);
}
