/* stage_database.c - copies of databases, made to be read: for backups and for looking at every row.  See backup.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/replica/backup.h"

#define DIRECTORY "backup"

static char *directory(const struct sr_replica *r)
{
	return sr_format("%s/" DIRECTORY, sr_state_dir(r->state));
}

/* The directory itself is the lock. */
enum sr_status sr_backup_begin(struct sr_replica *r, int *lock, struct sr_err *err)
{
	char *path = directory(r);
	int fd = -1;
	enum sr_status rc = SR_OK;

	if (mkdir(path, 0700) && errno != EEXIST)
		rc = sr_err_sys(err, SR_E_IO, "%s", path);
	if (rc == SR_OK) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			rc = sr_err_sys(err, SR_E_IO, "%s", path);
		else if (flock(fd, LOCK_EX | LOCK_NB))
			rc = sr_err_set(err, SR_E_BUSY, "a backup, or a look at everything, is under way here already");
	}
	free(path);
	if (rc == SR_OK) {
		sr_remove_beneath(fd, "copy");
		*lock = fd;
	} else if (fd >= 0) {
		close(fd);
	}
	return rc;
}

void sr_backup_end(int lock)
{
	sr_remove_beneath(lock, "copy");
	close(lock);
}

/* --- a copy --------------------------------------------------------------------------------------------------------- */

static enum sr_status open_copy(struct sr_pin *pin, size_t i, const char *path, struct sr_store **out, struct sr_err *err)
{
	struct sr_store *source = pin->r->stores[i].store;
	struct sr_store_options o = {.name = pin->stores[i].name, .kind = SR_KIND_DATABASE, .path = path, .ours = true, .key = &pin->r->key};

	o.exclude = sr_store_exclude(source, &o.excludes);
	return sr_store_open(out, &o, err);
}

static enum sr_status mark_and_scan(struct sr_pin *pin, size_t i, const char *path, const struct sr_marker *marker, struct sr_nodes *nodes,
				    struct sr_scan *scan, struct sr_err *err)
{
	struct sr_store *copy = NULL;
	struct sr_view *view = NULL;
	struct sr_hash none = {0};
	enum sr_status rc = open_copy(pin, i, path, &copy, err);

	if (rc == SR_OK && marker)
		rc = sr_store_mark(copy, marker, err);
	if (rc == SR_OK)
		rc = sr_view_open(&view, copy, SR_VIEW_MAIN, err);
	if (rc == SR_OK)
		rc = sr_view_scan(view, nodes, &none, NULL, NULL, scan, err);
	sr_view_close(view);
	if (rc == SR_OK)
		sr_nodes_hold(nodes, &scan->map);
	if (copy)
		sr_store_close(copy); /* it is the last connection: what is in its log goes into the file */
	return rc;
}

enum sr_status sr_backup_database(struct sr_pin *pin, size_t i, const struct sr_marker *marker, struct sr_nodes *nodes, struct sr_scan *scan,
				  int *fd, struct sr_err *err)
{
	struct sr_pin_store *s = &pin->stores[i];
	char *base = directory(pin->r), *dir = sr_format("%s/copy", base), *path = sr_format("%s/%zu.db", dir, i);
	enum sr_status rc = SR_OK;

	if (mkdir(dir, 0700) && errno != EEXIST)
		rc = sr_err_sys(err, SR_E_IO, "%s", dir);
	if (rc == SR_OK && s->view) /* else it was copied before */
		rc = sr_view_copy(s->view, path, err);
	sr_view_close(s->view);
	s->view = NULL;
	if (rc == SR_OK && scan)
		rc = mark_and_scan(pin, i, path, marker, nodes, scan, err);
	if (rc == SR_OK && fd) {
		*fd = open(path, O_RDONLY | O_CLOEXEC);
		if (*fd < 0)
			rc = sr_err_sys(err, SR_E_IO, "%s", path);
	}
	if (rc != SR_OK || scan)
		unlink(path);
	free(path);
	free(dir);
	free(base);
	return rc;
}

enum sr_status sr_backup_sound(struct sr_pin *pin, size_t i, sr_stop_fn *stop, void *ctx, struct sr_buf *what, struct sr_err *err)
{
	char *base = directory(pin->r), *path = sr_format("%s/copy/%zu.db", base, i);
	enum sr_status rc = sr_database_sound(path, stop, ctx, what, err);

	free(path);
	free(base);
	return rc;
}

/* --- is it what the tree says? -------------------------------------------------------------------------------------- */

struct compare {
	struct sr_pin *pin;
	size_t i;
	const struct sr_scan *scan;
	sr_backup_differs_fn *fn;
	void *ctx;
	struct sr_nodes *nodes;
	struct sr_err *err;
};

static bool is_unknown(const struct compare *c, struct sr_bytes path)
{
	for (size_t k = 0; k < c->scan->unknowns; k++)
		if (sr_path_under(path, c->scan->unknown[k].path))
			return true;
	return false;
}

static enum sr_status on_difference(void *ctx, struct sr_bytes path, const struct sr_version *a, const struct sr_version *b)
{
	struct compare *c = ctx;
	struct sr_leaf leaf = {.path = path, .expect = *a, .to = *b};
	struct sr_buf text = {0};

	if (is_unknown(c, path))
		return SR_OK;
	sr_leaf_path_text(&text, c->pin->stores[c->i].name, SR_KIND_DATABASE, path);
	c->fn(c->ctx, sr_buf_text(&text), &leaf);
	sr_buf_free(&text);
	return SR_OK;
}

static enum sr_status take_node(void *ctx, const struct sr_hash *hash, struct sr_bytes node)
{
	struct compare *c = ctx;

	return sr_nodes_put(c->nodes, hash, node, c->err);
}

enum sr_status sr_backup_compare(struct sr_pin *pin, size_t i, struct sr_nodes *nodes, const struct sr_scan *scan, sr_backup_differs_fn *fn,
				 void *ctx, struct sr_err *err)
{
	struct compare c = {.pin = pin, .i = i, .scan = scan, .fn = fn, .ctx = ctx, .nodes = nodes, .err = err};
	const struct sr_hash *map = &pin->stores[i].map;
	struct sr_hash none = {0};
	enum sr_status rc;

	if (sr_hash_eq(map, &scan->map))
		return SR_OK;
	sr_nodes_hold(nodes, map);
	sr_replica_read_lock(pin->r);
	rc = sr_walk_serve(pin->r->nodes, map, &none, SIZE_MAX, take_node, &c, err);
	sr_replica_unlock(pin->r);
	if (rc == SR_OK)
		rc = sr_store_diff(nodes, SR_KIND_DATABASE, map, &scan->map, on_difference, &c, err);
	sr_nodes_release(nodes, map);
	return rc;
}
