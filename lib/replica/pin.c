/* pin.c - see pin.h. */
#include "lib/replica/pin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 5 /* to see a database between two of its commits */

/* --- items ---------------------------------------------------------------------------------------------------------- */

struct gather {
	struct sr_leaves *leaves;
	struct sr_bytes top;
	struct sr_err *err;
};

static enum sr_status gather_item(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	struct gather *g = ctx;
	struct sr_leaf leaf = {.path = path, .to = *b};

	(void)a;
	return !g->top.len || sr_path_under(path, g->top) ? sr_leaves_add(g->leaves, &leaf, g->err) : SR_OK;
}

enum sr_status sr_replica_items(struct sr_replica *r, size_t i, const struct sr_hash *map, struct sr_bytes top, struct sr_leaves **out,
				struct sr_err *err)
{
	struct gather g = {.leaves = sr_leaves_new(sr_state_dir(r->state)), .top = top, .err = err};
	struct sr_hash none = {0};
	enum sr_status rc;

	sr_replica_read_lock(r);
	rc = sr_store_diff(r->nodes, r->stores[i].kind, &none, map ? map : &r->stores[i].map, gather_item, &g, err);
	sr_replica_unlock(r);
	if (rc == SR_OK)
		rc = sr_leaves_sort(g.leaves, err);
	if (rc == SR_OK)
		*out = g.leaves;
	else
		sr_leaves_free(g.leaves);
	return rc;
}

bool sr_replica_is_current(struct sr_replica *r, size_t i, struct sr_bytes path, const struct sr_version *want)
{
	struct sr_version now;
	bool same;

	sr_replica_read_lock(r);
	same = sr_store_get(r->nodes, r->stores[i].kind, &r->stores[i].map, path, &now, NULL) == SR_OK && sr_version_eq(&now, want);
	sr_replica_unlock(r);
	return same;
}

/* --- taking --------------------------------------------------------------------------------------------------------- */

/* One scan; what it cannot do is said in s->why. */
static bool look(struct sr_pin_store *s, sr_pin_scan_fn *scan, void *ctx)
{
	struct sr_err err = {0};

	if (!scan || scan(ctx, s->i, &err) == SR_OK)
		return true;
	snprintf(s->why, sizeof s->why, "%.300s", err.text);
	return false;
}

static bool open_view(struct sr_pin *pin, struct sr_pin_store *s)
{
	struct sr_err err = {0};

	if (sr_view_open(&s->view, pin->r->stores[s->i].store, SR_VIEW_EXTRA, &err) == SR_OK)
		return true;
	s->view = NULL;
	s->readable = false;
	snprintf(s->why, sizeof s->why, "%.300s", err.text);
	return false;
}

/* A view that was opened between two scans that found the same sees what they found; but for what came and went between. */
static void pin_database(struct sr_pin *pin, struct sr_pin_store *s, sr_pin_scan_fn *scan, void *ctx)
{
	const struct sr_hash *map = &pin->r->stores[s->i].map;
	bool seen = look(s, scan, ctx);

	for (int k = 0; k < TRIES && !s->exact; k++) {
		struct sr_hash before = *map;

		sr_view_close(s->view);
		s->view = NULL;
		if (!open_view(pin, s))
			return;
		if (!seen)
			return;
		seen = look(s, scan, ctx);
		s->exact = seen && sr_hash_eq(&before, map);
		s->quiet = s->exact && (!scan || sr_scan_was_spared(&pin->r->stores[s->i].scan));
	}
	if (seen && !s->exact)
		snprintf(s->why, sizeof s->why, "it is written to all the time");
}

static void note_unknown(struct sr_pin *pin, const struct sr_replica_store *s)
{
	struct sr_buf text = {0};

	for (size_t k = 0; k < s->scan.unknowns; k++) {
		sr_buf_clear(&text);
		sr_leaf_path_text(&text, s->name, s->kind, s->scan.unknown[k].path);
		sr_backup_leave_out(&pin->unknown, sr_buf_text(&text), sr_unknown_text(s->scan.unknown[k].why), false);
	}
	sr_buf_free(&text);
}

static void pin_store(struct sr_pin *pin, size_t i, bool databases, sr_pin_scan_fn *scan, void *ctx)
{
	struct sr_replica_store *s = &pin->r->stores[i];
	struct sr_pin_store *p = &pin->stores[i];

	if ((s->kind == SR_KIND_DATABASE) != databases)
		return;
	*p = (struct sr_pin_store){.i = i, .name = s->name, .kind = s->kind, .readable = s->mode == SR_MODE_READY, .fresh = s->mode == SR_MODE_NEW};
	if (!p->readable) {
		snprintf(p->why, sizeof p->why, "%s", p->fresh ? "it is not there yet" : s->why);
	} else if (databases) {
		pin_database(pin, p, scan, ctx);
	} else {
		p->exact = look(p, scan, ctx);
		note_unknown(pin, s);
	}
}

void sr_pin_take(struct sr_pin *out, struct sr_replica *r, sr_pin_scan_fn *scan, void *ctx)
{
	*out = (struct sr_pin){.r = r, .n = r->n, .stores = sr_alloc((r->n + 1) * sizeof *out->stores)};
	/* An application writes a file first, and then the row that speaks of it: so databases are pinned before files are looked at. */
	for (size_t i = 0; i < r->n; i++)
		pin_store(out, i, true, scan, ctx);
	for (size_t i = 0; i < r->n; i++)
		pin_store(out, i, false, scan, ctx);
	if (scan)
		sr_replica_reroot(r);
	sr_replica_write_lock(r);
	out->at.root = r->root;
	sr_nodes_hold(r->nodes, &r->root);
	for (size_t i = 0; i < r->n; i++) {
		out->stores[i].map = r->stores[i].map;
		sr_nodes_hold(r->nodes, &out->stores[i].map);
	}
	sr_replica_unlock(r);
}

void sr_pin_release(struct sr_pin *pin)
{
	if (!pin->r)
		return;
	for (size_t i = 0; i < pin->n; i++)
		sr_view_close(pin->stores[i].view);
	sr_replica_write_lock(pin->r);
	for (size_t i = 0; i < pin->n; i++)
		sr_nodes_release(pin->r->nodes, &pin->stores[i].map);
	sr_nodes_release(pin->r->nodes, &pin->at.root);
	sr_replica_unlock(pin->r);
	free(pin->stores);
	sr_backup_info_free(&pin->unknown);
	*pin = (struct sr_pin){0};
}
