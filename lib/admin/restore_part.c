/* restore_part.c - --path: a part of a store that stays where it is.
 *
 * What is missing there comes back, what differs becomes what the source has; what is only here stays, and of equal rows without a key the greater
 * number.  What is overwritten goes to the conflict archive first.  The daemon's next scan finds an ordinary change and spreads it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/restore_internal.h"
#include "lib/replica/edit.h"

#define SHOWN 100 /* rows that are named */

struct part {
	struct sr_restore *x;
	struct sr_restore_store *st;
	struct sr_buf top;        /* the path within the store; empty: all of it */
	struct sr_leaves *wanted; /* path, expect, to */
	struct sr_leaves *ready;  /* with content */
	struct sr_store *store;   /* the one that is there, to read what is overwritten */
	struct sr_view *view;
	struct sr_replica *r;
	size_t at;                /* its store */
	int stage;
	uint64_t refused; /* rows that have no place here ... */
	struct sr_buf why; /* ... a line for each that is named */
	struct sr_err *err;
};

/* "resources/img/a%20b" within its store: img NUL "a b". */
static enum sr_status parse_path(struct part *p, struct sr_err *err)
{
	const char *text = p->x->o->path + strlen(p->st->name);
	bool ok = true;

	while (ok && *text == '/') {
		size_t len = strcspn(++text, "/");

		if (len && p->top.len)
			sr_buf_byte(&p->top, 0);
		ok = sr_unpercent(&p->top, sr_bytes(text, len));
		text += len;
	}
	if (!ok || (p->st->kind == SR_KIND_DATABASE && p->top.len && memchr(p->top.at, 0, p->top.len)))
		return sr_err_set(err, SR_E_USAGE, "--path %s: a directory or file of a store, or a table", p->x->o->path);
	return SR_OK;
}

static enum sr_status sort_out(void *ctx, struct sr_bytes path, const struct sr_version *here, const struct sr_version *there)
{
	struct part *p = ctx;
	struct sr_bytes top = sr_buf_view(&p->top);
	/* A row is archived as it is when it is replaced. */
	struct sr_leaf leaf = {.path = path, .expect = *here, .to = *there, .flags = here->kind == SR_KIND_ROW ? SR_LEAF_ARCHIVE : 0};
	bool way = here->kind == SR_KIND_NONE && there->kind == SR_KIND_DIR && sr_path_under(top, path); /* a directory that leads there */

	if (!sr_path_under(path, top) && !way)
		return SR_OK;
	if (there->kind == SR_KIND_TABLE)
		return sr_err_set(p->err, SR_E_CONFLICT, "table %.*s is not here, or of another shape: restore the whole store (--store %s)",
				  (int)path.len, (const char *)path.at, p->st->name);
	/* Of equal rows the greater number stays. */
	if (sr_path_is_bag(path) && here->kind == SR_KIND_ROW && there->kind == SR_KIND_ROW && here->bytes >= there->bytes)
		return SR_OK;
	(void)!sr_restore_count(&p->st->counts, path, here, there);
	return there->kind == SR_KIND_NONE ? SR_OK : sr_leaves_add(p->wanted, &leaf, p->err);
}

static enum sr_status compare(struct part *p, struct sr_err *err)
{
	struct sr_hash now = {0};
	struct sr_version top = {0};
	enum sr_status rc = sr_restore_merge(p->x, 0, err);

	if (rc == SR_OK && p->st->skip)
		return sr_err_set(err, SR_E_UNAVAILABLE, "store %s cannot be had: %s: %s", p->st->name, p->x->sources[0].name,
				  p->x->sources[0].stores[0].why ? p->x->sources[0].stores[0].why : "it is not there");
	if (rc == SR_OK && p->top.len)
		rc = sr_store_get(p->x->nodes, p->st->kind, &p->st->wanted, sr_buf_view(&p->top), &top, err);
	if (rc == SR_OK && p->top.len && top.kind == SR_KIND_NONE)
		return sr_err_set(err, SR_E_NOINPUT, "--path %s: no source has it", p->x->o->path);
	if (rc == SR_OK)
		rc = sr_restore_open_store(p->x, 0, p->st->path, false, &p->store, err);
	if (rc == SR_OK)
		rc = sr_restore_scan(p->x, p->store, NULL, &now, err);
	if (rc == SR_OK)
		rc = sr_store_diff(p->x->nodes, p->st->kind, &now, &p->st->wanted, sort_out, p, err);
	if (rc == SR_OK)
		rc = sr_leaves_sort(p->wanted, err);
	sr_nodes_release(p->x->nodes, &now);
	return rc;
}

/* --- files that are overwritten ------------------------------------------------------------------------------------------------------- */

static enum sr_status archive_one(struct part *p, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct sr_content content = {.fd = -1};
	struct sr_leaf copy = {.path = leaf->path, .to = leaf->expect};
	struct sr_loser loser = {.store = p->st->name,
				 .store_kind = p->st->kind,
				 .path = leaf->path,
				 .version = leaf->expect,
				 .reason = "restored-over",
				 .winner = leaf->to};
	enum sr_status rc;
	char *name;

	if (leaf->expect.kind != SR_KIND_FILE)
		return SR_OK;
	rc = sr_view_read(p->view, leaf->path, &content, err);
	if (rc != SR_OK)
		return rc;
	if (content.fd >= 0)
		close(content.fd);
	loser.mtime_ns = copy.mtime_ns = content.mtime_ns;
	rc = sr_stage_copy(p->store, leaf->path, &copy, err);
	if (rc != SR_OK)
		return rc;
	name = sr_text(copy.stage);
	rc = sr_archive_file(p->r->archive, &loser, p->stage, name, err);
	free(name);
	return rc;
}

/* Copies, before anything is changed. */
static enum sr_status archive_files(struct part *p, struct sr_err *err)
{
	char *dir = sr_format("%s/.sameroot/stage", p->st->path);
	enum sr_status rc = sr_view_open(&p->view, p->store, SR_VIEW_EXTRA, err);

	p->stage = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t k = 0; rc == SR_OK && k < sr_leaves_count(p->ready); k++) {
		struct sr_buf path = {0};
		struct sr_leaf leaf;

		rc = sr_leaves_at(p->ready, k, &leaf, err);
		if (rc == SR_OK) {
			sr_buf_bytes(&path, leaf.path);
			leaf.path = sr_buf_view(&path);
			rc = archive_one(p, &leaf, err);
		}
		sr_buf_free(&path);
	}
	sr_view_close(p->view);
	p->view = NULL;
	if (p->stage >= 0)
		close(p->stage);
	free(dir);
	return rc;
}

/* --- doing it -------------------------------------------------------------------------------------------------------------------- */

static enum sr_status on_got(void *ctx, const struct sr_leaf *leaf, struct sr_err *err)
{
	struct part *p = ctx;

	return sr_leaves_add(p->ready, leaf, err);
}

static bool mode_only(const struct sr_leaf *leaf)
{
	return leaf->to.kind == SR_KIND_FILE && sr_hash_eq(&leaf->expect.hash, &leaf->to.hash);
}

/* From each source what it has of it. */
static enum sr_status fetch(struct part *p, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k <= p->x->n_sources; k++) {
		struct sr_leaves *mine = sr_leaves_new(p->x->spool);

		for (size_t j = 0; rc == SR_OK && j < sr_leaves_count(p->wanted); j++) {
			struct sr_leaf leaf;
			bool bare;

			rc = sr_leaves_at(p->wanted, j, &leaf, err);
			if (rc != SR_OK)
				break;
			bare = !sr_leaf_has_content(&leaf) || mode_only(&leaf);
			if (bare && k == p->x->n_sources)
				rc = sr_leaves_add(p->ready, &leaf, err);
			else if (!bare && sr_restore_source_of(p->x, 0, leaf.path, &leaf.to) == k)
				rc = sr_leaves_add(mine, &leaf, err);
		}
		if (rc == SR_OK && k < p->x->n_sources && sr_leaves_count(mine))
			rc = sr_restore_fetch(p->x, k, 0, p->r->stores[p->at].store, mine, on_got, p, &p->st->missing, err);
		sr_leaves_free(mine);
	}
	return rc;
}

/* The lock is ours; it goes over to the replica. */
static enum sr_status open_replica(struct part *p, struct sr_err *err)
{
	struct sr_restore *x = p->x;
	enum sr_status rc;

	sr_archive_close(x->archive);
	x->archive = NULL;
	sr_state_close(x->state);
	x->state = NULL;
	rc = sr_replica_open(&p->r, x->o->config, x->o->role, err);
	if (rc != SR_OK)
		return rc;
	if (!p->r->keyed || !sr_hash_eq(&p->r->key.id, &x->key.id))
		return sr_err_set(err, SR_E_CONFLICT, "%s is not of the cluster of %s: restore whole stores", x->state_dir, x->sources[0].name);
	sr_replica_look(p->r);
	(void)sr_replica_find(p->r, sr_bytes_of(p->st->name), &p->at);
	return p->r->stores[p->at].mode == SR_MODE_READY
		       ? SR_OK
		       : sr_err_set(err, SR_E_UNAVAILABLE, "store %s: %s: restore the whole store (--store %s)", p->st->name,
				    p->r->stores[p->at].mode == SR_MODE_NEW ? "nothing is there" : p->r->stores[p->at].why, p->st->name);
}

static void on_left_out(void *ctx, const char *why)
{
	struct part *p = ctx;

	if (p->refused++ < SHOWN)
		sr_buf_printf(&p->why, "  %s\n", why);
}

static enum sr_status put_back(struct part *p, struct sr_err *err)
{
	enum sr_status rc = open_replica(p, err);

	if (rc != SR_OK)
		return rc;
	p->ready = sr_leaves_new(p->x->spool);
	sr_progress_begin(&p->x->progress, "fetching", sr_leaves_count(p->wanted), p->st->counts.bytes);
	rc = fetch(p, err);
	sr_progress_end(&p->x->progress);
	if (rc == SR_OK)
		rc = sr_leaves_sort(p->ready, err);
	if (rc == SR_OK && p->st->kind == SR_KIND_FILES)
		rc = archive_files(p, err);
	if (rc == SR_OK && sr_leaves_count(p->ready))
		rc = sr_replica_edit_most(p->r, p->at, p->ready, on_left_out, p, err);
	p->st->refused = p->refused;
	return rc;
}

static enum sr_status agree(const struct part *p, struct sr_err *err)
{
	const struct sr_restore_options *o = p->x->o;
	const struct sr_counts *c = &p->st->counts;

	fprintf(o->json ? o->notes : o->out,
		"%s: %" PRIu64 " entries come back, %" PRIu64 " are replaced (those go to the conflict archive of %s), %" PRIu64
		" are only here and stay; %" PRIu64 " B to fetch\n",
		o->path, c->there, c->different, p->x->state_dir, c->here, c->bytes);
	if (o->dry_run || o->yes)
		return SR_OK;
	fflush(o->out);
	return o->confirm(o->ctx, "Restore? [y/N] ") ? SR_OK : sr_err_set(err, SR_E_HELD, "nothing was changed");
}

static void say_done(struct part *p)
{
	const struct sr_restore_options *o = p->x->o;

	fprintf(o->json ? o->notes : o->out, "%s: restored%s; it spreads when the daemon runs\n", o->path,
		p->st->missing && p->refused ? ", but for what changed at the source meanwhile and what has no place here"
		: p->st->missing	     ? ", but for what changed at the source meanwhile"
		: p->refused		     ? ", but for what has no place here"
					     : "");
	if (!p->refused)
		return;
	fprintf(o->notes, "%" PRIu64 " could not be put in place:\n%s", p->refused, sr_buf_text(&p->why));
	if (p->refused > SHOWN)
		fprintf(o->notes, "  and %" PRIu64 " more\n", p->refused - SHOWN);
}

enum sr_status sr_restore_part(struct sr_restore *x, struct sr_err *err)
{
	struct part p = {.x = x, .st = &x->stores[0], .stage = -1, .err = err};
	enum sr_status rc = parse_path(&p, err);

	p.wanted = sr_leaves_new(x->spool);
	if (rc == SR_OK)
		rc = compare(&p, err);
	if (rc == SR_OK)
		rc = agree(&p, err);
	if (rc == SR_OK && !x->o->dry_run)
		rc = put_back(&p, err);
	if (rc == SR_OK && !x->o->dry_run)
		say_done(&p);
	sr_leaves_free(p.wanted);
	sr_leaves_free(p.ready);
	sr_view_close(p.view);
	sr_store_close(p.store);
	sr_replica_close(p.r);
	sr_buf_free(&p.top);
	sr_buf_free(&p.why);
	return rc;
}
