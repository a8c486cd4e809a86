/* ls.c - `sameroot ls [PATH]`: the tree, like ls -l.  See admin.h.
 *
 * Asked of the daemon (GET /api/tree/list); without one, read from the tree as state.db last knew it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/here.h"
#include "lib/admin/offline.h"
#include "lib/admin/table.h"

#define MOST 1000000 /* entries of one directory */

/* --- from the daemon ------------------------------------------------------------------------------------------------------ */

static enum sr_status ask(struct sr_here *h, const char *path, json_t **entries, bool *more, struct sr_err *err)
{
	struct sr_buf body = {0}, encoded = {0};
	json_t *o = NULL, *list;
	char *target;
	enum sr_status rc;

	sr_percent(&encoded, sr_bytes_of(path), "/");
	target = sr_format("/api/tree/list?limit=%d&path=%s", MOST, sr_buf_text(&encoded));
	rc = sr_here_get(h, target, sr_answer_of(MOST), &body, err);
	if (rc == SR_OK) {
		o = json_loadb((const char *)body.at, body.len, 0, NULL);
		list = json_object_get(o, "entries");
		if (json_is_array(list)) {
			*entries = json_incref(list);
			*more = json_is_true(json_object_get(o, "more"));
		} else {
			rc = sr_err_set(err, SR_E_DATA, "list of the %s: not what was asked for", h->name);
		}
	}
	json_decref(o);
	free(target);
	sr_buf_free(&encoded);
	sr_buf_free(&body);
	return rc;
}

/* A file or a row has no list: it stands in that of its parent. */
static enum sr_status ask_parent(struct sr_here *h, const char *path, json_t **entries, struct sr_err *err)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	json_t *all = NULL, *o;
	struct sr_err ignored;
	bool more;
	size_t i;

	if (!slash)
		return err->code;
	parent = sr_text(sr_bytes(path, (size_t)(slash - path)));
	if (ask(h, parent, &all, &more, &ignored) == SR_OK) {
		for (i = 0; (o = json_array_get(all, i)); i++) {
			const char *name = json_string_value(json_object_get(o, "path"));

			if (!*entries && name && strcmp(name, path) == 0)
				*entries = json_pack("[O]", o);
		}
	}
	json_decref(all);
	free(parent);
	return *entries ? SR_OK : err->code;
}

static enum sr_status list_online(struct sr_here *h, const char *path, json_t **entries, bool *more, struct sr_err *err)
{
	enum sr_status rc = ask(h, path, entries, more, err);

	return rc == SR_E_NOTFOUND ? ask_parent(h, path, entries, err) : rc;
}

/* --- from state.db ---------------------------------------------------------------------------------------------------------- */

struct walk { /* down the names of a path */
	const struct sr_nodes *nodes;
	struct sr_entry at;    /* where it stands; of the root only the hash */
	struct sr_bytes store; /* its name; empty: at the root */
	uint8_t store_kind;
	struct sr_buf path; /* within the store */
	json_t *entries;
};

static bool has_children(const struct walk *w)
{
	return !w->store.len || (w->at.kind != SR_KIND_FILE && w->at.kind != SR_KIND_ROW);
}

static enum sr_status step(struct walk *w, struct sr_bytes name)
{
	struct sr_entry e;

	if (!has_children(w) || sr_map_get(w->nodes, &w->at.hash, name, &e) != SR_OK)
		return SR_E_NOTFOUND;
	if (!w->store.len) {
		w->store = e.name;
		w->store_kind = e.kind;
	} else {
		if (w->path.len)
			sr_buf_byte(&w->path, 0);
		sr_buf_bytes(&w->path, name);
	}
	w->at = e;
	return SR_OK;
}

static enum sr_status go_to(struct walk *w, const char *text)
{
	struct sr_buf name = {0};
	enum sr_status rc = SR_OK;

	while (rc == SR_OK && *text) {
		size_t len = strcspn(text, "/");

		sr_buf_clear(&name);
		if (!sr_unpercent(&name, sr_bytes(text, len)))
			rc = SR_E_NOTFOUND;
		else if (name.len)
			rc = step(w, sr_buf_view(&name));
		text += len + (text[len] == '/');
	}
	sr_buf_free(&name);
	return rc;
}

static const char *kind_word(uint8_t kind)
{
	static const char *const words[] = {"none", "file", "dir", "row", "table", "files", "sqlite"};

	return words[kind];
}

static void add_entry(struct walk *w, const struct sr_entry *e, struct sr_bytes store, uint8_t store_kind, struct sr_bytes path)
{
	struct sr_buf text = {0};
	char *name = sr_text(store), hash[SR_HASH_TEXT];
	json_t *o = json_object();

	sr_leaf_path_text(&text, name, store_kind, path);
	sr_hash_text(hash, &e->hash);
	json_object_set_new(o, "path", json_string(sr_buf_text(&text)));
	json_object_set_new(o, "kind", json_string(kind_word(e->kind)));
	if (e->kind == SR_KIND_FILE || e->kind == SR_KIND_DIR)
		json_object_set_new(o, "mode", json_integer(e->mode));
	json_object_set_new(o, "hash", json_string(hash));
	json_object_set_new(o, "leaves", json_integer((json_int_t)e->leaves));
	json_object_set_new(o, "bytes", json_integer((json_int_t)e->bytes));
	json_array_append_new(w->entries, o);
	sr_buf_free(&text);
	free(name);
}

static enum sr_status add_child(void *ctx, const struct sr_entry *e)
{
	struct walk *w = ctx;
	struct sr_buf path = {0};

	if (!w->store.len) {
		add_entry(w, e, e->name, e->kind, sr_bytes(NULL, 0));
		return SR_OK;
	}
	sr_buf_bytes(&path, sr_buf_view(&w->path));
	if (path.len)
		sr_buf_byte(&path, 0);
	sr_buf_bytes(&path, e->name);
	add_entry(w, e, w->store, w->store_kind, sr_buf_view(&path));
	sr_buf_free(&path);
	return SR_OK;
}

static enum sr_status list_offline(const struct sr_admin *a, const char *path, json_t **entries, struct sr_err *err)
{
	struct sr_replica *r = NULL;
	struct walk w = {0};
	enum sr_status rc = sr_offline_open(&r, a, false, err);

	if (rc != SR_OK)
		return rc;
	w.nodes = r->nodes;
	w.at.hash = r->root;
	w.entries = json_array();
	if (go_to(&w, path) != SR_OK)
		rc = sr_err_set(err, SR_E_NOTFOUND, "no such path: it begins with the name of a store, its parts are percent-encoded");
	else if (has_children(&w))
		rc = sr_map_each(r->nodes, &w.at.hash, add_child, &w, err);
	else
		add_entry(&w, &w.at, w.store, w.store_kind, sr_buf_view(&w.path));
	sr_buf_free(&w.path);
	sr_offline_close(r);
	if (rc == SR_OK)
		*entries = w.entries;
	else
		json_decref(w.entries);
	return rc;
}

/* --- the command --------------------------------------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
	const char *x = json_string_value(json_object_get(*(json_t *const *)a, "path")),
		   *y = json_string_value(json_object_get(*(json_t *const *)b, "path"));

	return strcmp(x ? x : "", y ? y : "");
}

/* CONSUMES list. */
static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list), i;
	json_t **all = sr_alloc((n + 1) * sizeof *all), *out = json_array(), *o;

	for (i = 0; (o = json_array_get(list, i)); i++)
		all[i] = json_incref(o);
	json_decref(list);
	qsort(all, n, sizeof *all, by_path);
	for (i = 0; i < n; i++)
		json_array_append_new(out, all[i]);
	free(all);
	return out;
}

static void show(const json_t *entries, FILE *out)
{
	struct sr_table t;
	size_t i;
	json_t *o;

	sr_table_start(&t, "llrrl");
	for (i = 0; (o = json_array_get(entries, i)); i++) {
		const char *kind = json_string_value(json_object_get(o, "kind")), *path = json_string_value(json_object_get(o, "path"));
		const json_t *mode = json_object_get(o, "mode");

		sr_table_add(&t, "%s", kind ? kind : "-");
		if (mode)
			sr_table_add(&t, "%04o", (unsigned)json_integer_value(mode));
		else
			sr_table_add(&t, "-");
		sr_table_add(&t, "%lld", (long long)json_integer_value(json_object_get(o, "leaves")));
		sr_table_add(&t, "%lld", (long long)json_integer_value(json_object_get(o, "bytes")));
		sr_table_add(&t, "%s", path ? path : "-");
	}
	sr_table_print(&t, out, "");
}

/* Without slashes at its end, for ask_parent compares it. */
static char *tidy(const char *path)
{
	char *out = sr_admin_path(path ? path : "");
	size_t len = strlen(out);

	while (len && out[len - 1] == '/')
		out[--len] = '\0';
	return out;
}

static enum sr_status list(const struct sr_admin *a, const char *path, json_t **entries, bool *more, struct sr_err *err)
{
	struct sr_here here = {0};
	struct sr_err gone = {0};
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc != SR_OK)
		return rc;
	rc = list_online(&here, path, entries, more, err);
	if (rc == SR_E_UNAVAILABLE && here.absent) {
		rc = list_offline(a, path, entries, &gone);
		if (rc == SR_OK)
			fprintf(a->notes, "%s; what follows is what was last known\n", err->text);
		else if (rc == SR_E_NOTFOUND)
			*err = gone;
		else
			rc = err->code; /* that nobody answers is what matters */
	}
	sr_here_close(&here);
	return rc;
}

enum sr_status sr_admin_ls(const struct sr_admin *a, int *status, struct sr_err *err)
{
	char *path = tidy(a->path);
	json_t *entries = NULL;
	bool more = false;
	enum sr_status rc = list(a, path, &entries, &more, err);

	free(path);
	if (rc != SR_OK)
		return a->path ? sr_err_context(err, "%s", a->path) : rc;
	entries = sorted(entries);
	if (a->json)
		sr_admin_print_json(a, entries);
	else
		show(entries, a->out);
	if (more)
		fprintf(a->notes, "there are more than these %d\n", MOST);
	json_decref(entries);
	*status = 0;
	return SR_OK;
}
