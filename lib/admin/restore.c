/* restore.c - see restore.h. */
#include "lib/admin/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/admin/restore_internal.h"
#include "lib/admin/table.h"
#include "lib/state/datastore_state.h"

#define META_KEY      "tree-key"
#define META_INSTANCE "instance"
#define LINKS         40            /* to be followed, as the kernel does */
#define META_FLOOR    "epoch-floor" /* lib/datastore/found.c: the next epoch is above it */

static bool is_datastore(const struct sr_restore *x)
{
	return x->o->role == SR_ROLE_DATASTORE;
}

const char *sr_restore_daemon(const struct sr_restore *x)
{
	return is_datastore(x) ? "sameroot-datastore" : "sameroot-sync";
}

/* --- which stores ----------------------------------------------------------------------------------------------------------- */

static const char *path_of(const struct sr_restore *x, const struct sr_config_store *c)
{
	return is_datastore(x) ? c->datastore_path : c->path;
}

/* --path names one store and what is below it. */
static bool is_path_of(const char *path, const char *store)
{
	size_t len = strlen(store);

	return strncmp(path, store, len) == 0 && (path[len] == '/' || !path[len]);
}

static bool is_wanted(const struct sr_restore *x, const struct sr_config_store *c)
{
	if (!path_of(x, c))
		return false;
	if (x->o->path)
		return is_path_of(x->o->path, c->name);
	for (size_t k = 0; k < x->o->stores.n; k++)
		if (strcmp(x->o->stores.at[k], c->name) == 0)
			return true;
	return !x->o->stores.n && (!x->o->from_files || sr_restore_file_of(x, c->name));
}

static char *absolute(const char *path)
{
	char *cwd, *out;

	if (path[0] == '/')
		return sr_strdup(path);
	cwd = realpath(".", NULL);
	out = sr_format("%s/%s", cwd ? cwd : ".", path);
	free(cwd);
	return out;
}

/* What a symbolic link leads to is the store, be it there or not: it is put aside and built anew where it lies.  Takes `path`. */
static char *through_links(char *path)
{
	char to[PATH_MAX];
	ssize_t n;

	for (int k = 0; k < LINKS && (n = readlink(path, to, sizeof to)) > 0; k++) {
		int dir = to[0] == '/' ? 0 : (int)(strrchr(path, '/') + 1 - path);
		char *next = sr_format("%.*s%.*s", dir, path, (int)n, to);

		free(path);
		path = next;
	}
	return path;
}

static void add_store(struct sr_restore *x, const struct sr_config_store *c, const char *time_text)
{
	struct sr_restore_store *st = &x->stores[x->n++];

	st->config = c;
	st->name = c->name;
	st->kind = c->kind == SR_CONFIG_SQLITE ? SR_KIND_DATABASE : SR_KIND_FILES;
	st->path = through_links(absolute(path_of(x, c)));
	while (strlen(st->path) > 1 && st->path[strlen(st->path) - 1] == '/')
		st->path[strlen(st->path) - 1] = 0;
	st->staged = sr_format("%s.restoring", st->path);
	st->aside = sr_format("%s.before-restore-%s", st->path, time_text);
	for (unsigned k = 2; access(st->aside, F_OK) == 0; k++) { /* within one second */
		free(st->aside);
		st->aside = sr_format("%s.before-restore-%s-%u", st->path, time_text, k);
	}
}

static bool is_file_of_any(const struct sr_restore *x, const char *file)
{
	const struct sr_config *c = x->o->config;

	for (size_t k = 0; k < c->store_count; k++)
		if (sr_restore_is_file_of(file, c->stores[k].name))
			return true;
	return false;
}

static void now_text(char out[32])
{
	time_t s = (time_t)(sr_now_ms() / 1000);
	struct tm tm;

	strftime(out, 32, "%Y%m%dT%H%M%SZ", gmtime_r(&s, &tm));
}

static enum sr_status choose_stores(struct sr_restore *x, const char *time_text, struct sr_err *err)
{
	const struct sr_config *c = x->o->config;

	for (size_t k = 0; k < x->o->stores.n; k++)
		if (!sr_config_store(c, x->o->stores.at[k]))
			return sr_err_set(err, SR_E_USAGE, "--store %s: %s knows no such store", x->o->stores.at[k], c->file);
	x->stores = sr_alloc((c->store_count + 1) * sizeof *x->stores);
	for (size_t k = 0; k < c->store_count; k++)
		if (is_wanted(x, &c->stores[k]))
			add_store(x, &c->stores[k], time_text);
	for (size_t k = 0; k < x->o->files.n; k++)
		if (!is_file_of_any(x, x->o->files.at[k]))
			return sr_err_set(err, SR_E_USAGE, "%s: %s knows no such store", x->o->files.at[k], c->file);
	if (!x->n)
		return sr_err_set(err, SR_E_USAGE, "no such store has a path here%s%s", x->o->path ? ": " : "", x->o->path ? x->o->path : "");
	return SR_OK;
}

/* What no run has left, and was not made to be emptied. */
static enum sr_status check_staged(const struct sr_restore_store *st, struct sr_err *err)
{
	bool files = st->kind == SR_KIND_FILES;
	struct stat there;

	if (lstat(st->staged, &there) != 0 || (files ? S_ISDIR(there.st_mode) : S_ISREG(there.st_mode)))
		return SR_OK;
	return sr_err_set(err, SR_E_USAGE, "store %s: %s, where it would be built, is no %s: move it away", st->name, st->staged,
			  files ? "directory" : "regular file");
}

/* A mount point cannot be renamed, and what is beside it is elsewhere. */
static enum sr_status check_place(const struct sr_restore_store *st, struct sr_err *err)
{
	char *up = sr_format("%s/..", st->path);
	struct stat here, above;
	bool mounted = st->kind == SR_KIND_FILES && stat(st->path, &here) == 0 && stat(up, &above) == 0 && here.st_dev != above.st_dev;

	free(up);
	return mounted ? sr_err_set(err, SR_E_USAGE,
				    "store %s: %s is a mount point, which cannot be put aside: set the store's path to a directory below it, or "
				    "unmount it",
				    st->name, st->path)
		       : SR_OK;
}

/* An application that has it open would go on in the file that is put aside, and what it writes there is lost.  early: before anything is done. */
static enum sr_status check_users(const struct sr_restore *x, bool early, struct sr_err *err)
{
	for (size_t i = 0; i < x->n; i++) {
		const struct sr_restore_store *st = &x->stores[i];
		char *who = st->kind == SR_KIND_DATABASE && !st->skip ? sr_database_user(st->path) : NULL;

		if (!who)
			continue;
		if (x->o->dry_run)
			fprintf(x->o->notes, "store %s: %s has %s open: it has to be stopped before it is restored\n", st->name, who, st->path);
		else
			sr_err_set(err, SR_E_UNAVAILABLE, "store %s: %s has %s open, and would write to the file that is put aside: stop it first%s", st->name, who,
				   st->path, early ? "" : "; all is as it was, and what was fetched is kept for the next attempt");
		free(who);
		if (!x->o->dry_run)
			return SR_E_UNAVAILABLE;
	}
	return SR_OK;
}

/* --- usage -------------------------------------------------------------------------------------------------------------------- */

static enum sr_status check_options(const struct sr_restore_options *o, struct sr_err *err)
{
	unsigned sources = (o->from.n > 0) + o->from_datastore + o->from_files + (o->from_backup != NULL);

	if (o->role == SR_ROLE_WEBSERVER ? !o->from_datastore || sources != 1 : o->from_datastore || sources != 1)
		return sr_err_set(err, SR_E_USAGE, "from where? %s; see --help",
				  o->role == SR_ROLE_WEBSERVER ? "sameroot-restore webserver --from-datastore"
							       : "sameroot-restore datastore with one of --from URL, --from-files and --from-backup FILE");
	if (o->from_files && !o->files.n)
		return sr_err_set(err, SR_E_USAGE, "--from-files: which? --users-db, --webstore-db, --resources or --file NAME=PATH");
	if (!o->from_files && o->files.n)
		return sr_err_set(err, SR_E_USAGE, "files are named for --from-files only");
	if (o->pins.n && o->pins.n != o->from.n)
		return sr_err_set(err, SR_E_USAGE, "--pin: one for each --from, in their order");
	if (o->path && o->stores.n)
		return sr_err_set(err, SR_E_USAGE, "--path names its store itself: no --store");
	if (!o->yes && !o->dry_run && !o->confirm)
		return sr_err_set(err, SR_E_USAGE, "there is no terminal to ask at: say --yes, after a look with --dry-run");
	return SR_OK;
}

/* What is named for a store is spread to everyone: not what lies at a path of ours by mistake. */
static enum sr_status check_sources(const struct sr_restore_options *o, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; rc == SR_OK && k < o->files.n; k++) {
		const char *given = strchr(o->files.at[k], '=');
		char *path = absolute(given ? given + 1 : ""), *store = sr_strdup(o->files.at[k]);

		store[strcspn(store, "=")] = 0;
		rc = sr_config_check_source(o->config, store, path, err);
		if (rc != SR_OK)
			sr_err_context(err, "store %s cannot be restored from there", store);
		free(store);
		free(path);
	}
	return rc;
}

/* --- the state directory ------------------------------------------------------------------------------------------------------ */

/* A plan is ended by it.  *p: what it was, if there was one. */
static enum sr_status open_state(struct sr_restore *x, struct sr_swap_pending *p, struct sr_err *err)
{
	char *file = sr_format("%s/state.db", x->state_dir);
	bool there = access(file, F_OK) == 0, fresh;
	enum sr_status rc = sr_swap_look(x->state_dir, p, err);

	free(file);
	if (rc == SR_OK && p->request && x->o->dry_run)
		return sr_restore_pending_held(x, p, err);
	if (rc == SR_OK && (there || !x->o->dry_run))
		rc = sr_state_open(&x->state, x->state_dir, &fresh, err);
	if (rc == SR_E_BUSY)
		return sr_err_context(err, "stop %s first", sr_restore_daemon(x));
	if (rc == SR_OK && x->state) {
		x->spool = x->state_dir;
		if (!x->o->dry_run)
			rc = sr_archive_open(&x->archive, x->state_dir, err);
		if (x->archive)
			sr_archive_limit(x->archive, x->o->config->conflict_max_bytes);
	}
	return rc;
}

/* Which datastore's history the sources are of: all of one. */
static enum sr_status find_instance(const struct sr_restore *x, struct sr_anchor *out, struct sr_err *err)
{
	*out = (struct sr_anchor){0};
	for (size_t k = 0; k < x->n_sources; k++) {
		const struct sr_anchor *at = &x->sources[k].info.at;

		if (sr_uuid_none(&at->instance))
			continue;
		if (!sr_uuid_none(&out->instance) && memcmp(&out->instance, &at->instance, sizeof at->instance) != 0)
			return sr_err_set(err, SR_E_CONFLICT, "%s knew another datastore than those before it: restore from those of one, the others "
							      "are united with `sameroot adopt --union`",
					  x->sources[k].name);
		out->instance = at->instance;
		if (at->epoch > out->epoch)
			out->epoch = at->epoch;
	}
	return SR_OK;
}

enum standing { STANDING_NEW, STANDING_SAME, STANDING_OTHER }; /* of state.db against the sources' instance */

static enum sr_status find_standing(const struct sr_restore *x, const struct sr_anchor *at, enum standing *out, struct sr_err *err)
{
	struct sr_buf buf = {0};
	bool found = false;
	enum sr_status rc = x->state ? sr_state_get(x->state, META_INSTANCE, &buf, &found, err) : SR_OK;

	*out = !found ? STANDING_NEW
	       : sr_uuid_none(&at->instance) || (buf.len == sizeof at->instance.b && !memcmp(buf.at, at->instance.b, buf.len)) ? STANDING_SAME
																: STANDING_OTHER;
	sr_buf_free(&buf);
	return rc;
}

static enum sr_status seed(struct sr_restore *x, struct sr_state *state, bool key, uint64_t epoch, struct sr_err *err)
{
	enum sr_status rc = key ? sr_state_put(state, META_KEY, sr_bytes(x->key.secret, SR_KEY_LEN), err) : SR_OK;

	if (rc == SR_OK && epoch)
		rc = sr_state_put_u64(state, META_FLOOR, epoch, err);
	for (size_t i = 0; rc == SR_OK && i < x->n; i++)
		if (!x->stores[i].skip)
			rc = sr_state_dated_put(state, x->stores[i].name, &x->stores[i].marker.id, x->stores[i].dated, err);
	return rc;
}

/* A state.db that knows the tree key and nothing else: the datastore's start goes on from the stores' markers. */
static enum sr_status make_state(struct sr_restore *x, uint64_t epoch, struct sr_err *err)
{
	char *dir = sr_format("%s/restore/new", x->state_dir);
	struct sr_state *state = NULL;
	bool fresh;
	enum sr_status rc;

	sr_restore_remove_tree(dir);
	rc = sr_state_open(&state, dir, &fresh, err);
	if (rc == SR_OK)
		rc = seed(x, state, true, epoch, err);
	sr_state_close(state);
	free(dir);
	return rc;
}

/* --- what will be done ---------------------------------------------------------------------------------------------------------- */

static const char *why_skipped(const struct sr_restore *x, size_t i)
{
	return x->sources[0].stores[i].why ? x->sources[0].stores[i].why : "no source has it";
}

static uint64_t unknown_at_sources(const struct sr_restore *x, size_t i)
{
	uint64_t n = 0;

	for (size_t k = 0; k < x->n_sources; k++)
		for (size_t j = 0; j < x->sources[k].info.n; j++)
			if (!strcmp(x->sources[k].info.stores[j].name, x->stores[i].name))
				n += x->sources[k].info.stores[j].unknown;
	return n;
}

static void print_preview(const struct sr_restore *x, FILE *out)
{
	struct sr_table t;

	fprintf(out, "To be restored from");
	for (size_t k = 0; k < x->n_sources; k++)
		fprintf(out, "%s %s", k ? "," : "", x->sources[k].name);
	fputs(":\n", out);
	sr_table_start(&t, "lrrrrr");
	for (const char *const *w = (const char *const[]){"store", "equal", "only here", "only there", "different", "to fetch", NULL}; *w; w++)
		sr_table_add(&t, "%s", *w);
	for (size_t i = 0; i < x->n; i++) {
		const struct sr_counts *c = &x->stores[i].counts;

		if (x->stores[i].skip)
			continue;
		sr_table_add(&t, "%s", x->stores[i].name);
		sr_table_add(&t, "%" PRIu64, c->equal);
		sr_table_add(&t, "%" PRIu64, c->here);
		sr_table_add(&t, "%" PRIu64, c->there);
		sr_table_add(&t, "%" PRIu64, c->different);
		sr_table_add(&t, "%" PRIu64 " B", c->bytes);
	}
	sr_table_print(&t, out, "  ");
	for (size_t i = 0; i < x->n; i++)
		if (x->stores[i].skip)
			fprintf(out, "store %s is left as it is: %s: %s\n", x->stores[i].name, x->sources[0].name, why_skipped(x, i));
}

/* That is what an accident there looks like. */
static enum sr_status refuse_emptied(const struct sr_restore *x, struct sr_err *err)
{
	for (size_t i = 0; i < x->n && !x->o->even_empty; i++)
		if (!x->stores[i].skip && x->stores[i].counts.emptied)
			return sr_err_set(err, SR_E_HELD, "refused: store %s is empty at %s, and not here%s; --store NAME restores another one, and --even-empty this one, too",
					  x->stores[i].name, x->sources[0].name,
					  is_datastore(x) ? "" : "; `sameroot adopt --union` on the datastore keeps what is here");
	return SR_OK;
}

/* The sources' own words about what is not in their trees. */
static void print_unseen(const struct sr_restore *x, FILE *out)
{
	for (size_t i = 0; i < x->n; i++) {
		const struct sr_restore_store *st = &x->stores[i];
		uint64_t unknown = unknown_at_sources(x, i);

		for (size_t k = 1; k < x->n_sources; k++)
			if (!st->skip && !x->sources[k].stores[i].has)
				fprintf(out, "store %s: not from %s: %s\n", st->name, x->sources[k].name, x->sources[k].stores[i].why);
		if (unknown)
			fprintf(out, "store %s: %" PRIu64 " paths at the source are not in its tree (too large, excluded, of another kind): they "
				     "are left out\n",
				st->name, unknown);
		if (st->unlike)
			fprintf(out, "store %s: %" PRIu64 " entries are in tables that have another shape at the newest source: they are left out, "
				     "and stay where they are\n",
				st->name, st->unlike);
		if (st->losers && sr_leaves_count(st->losers))
			fprintf(out, "store %s: %zu entries have an older version at another source: those go to the conflict archive of %s\n",
				st->name, sr_leaves_count(st->losers), x->state_dir);
	}
}

/* What no file was named for was not asked for. */
static void print_others(const struct sr_restore *x, FILE *out)
{
	const struct sr_config *c = x->o->config;

	for (size_t k = 0; x->o->from_files && !x->o->stores.n && k < c->store_count; k++)
		if (path_of(x, &c->stores[k]) && !is_wanted(x, &c->stores[k]))
			fprintf(out, "store %s: no file was named for it: it stays as it is\n", c->stores[k].name);
}

/* On a webserver the word `webserver` was meant, or this is the wrong machine. */
static void print_new_datastore(const struct sr_restore *x, FILE *out)
{
	const struct sr_config *c = x->o->config;

	for (size_t i = 0; i < x->n; i++)
		if (x->stores[i].counts.present)
			return;
	if (c->datastore.host)
		fprintf(out, "MIND: nothing of a datastore is on this machine, and %s names %s as its datastore: one is made here, with its state in %s.\n",
			c->file, c->datastore.host, x->state_dir);
}

static void print_standing(const struct sr_restore *x, enum standing standing, const struct sr_anchor *at, FILE *out)
{
	char text[SR_UUID_TEXT];

	sr_uuid_text(text, &at->instance);
	if (!is_datastore(x))
		return;
	if (standing == STANDING_NEW)
		print_new_datastore(x, out);
	if (standing == STANDING_OTHER)
		fprintf(out, "This datastore's state is of another history: it is put aside, and instance %s is continued above epoch %" PRIu64 ".\n",
			text, at->epoch);
	else if (standing == STANDING_NEW && !sr_uuid_none(&at->instance))
		fprintf(out, "This datastore has no state: instance %s is continued above epoch %" PRIu64 ".\n", text, at->epoch);
	else if (standing == STANDING_NEW)
		fprintf(out, "Neither this datastore nor the files know whose they are: when it is started, say `sameroot adopt --union` there.\n");
}

static json_t *store_json(const struct sr_restore *x, size_t i)
{
	const struct sr_restore_store *st = &x->stores[i];
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(st->name));
	json_object_set_new(o, "path", json_string(st->path));
	json_object_set_new(o, "skipped", st->skip ? json_string(why_skipped(x, i)) : json_null());
	json_object_set_new(o, "before", st->counts.present && !st->skip && !x->o->dry_run ? json_string(st->aside) : json_null());
	json_object_set_new(o, "equal", json_integer((json_int_t)st->counts.equal));
	json_object_set_new(o, "only_here", json_integer((json_int_t)st->counts.here));
	json_object_set_new(o, "only_there", json_integer((json_int_t)st->counts.there));
	json_object_set_new(o, "different", json_integer((json_int_t)st->counts.different));
	json_object_set_new(o, "bytes", json_integer((json_int_t)st->counts.bytes));
	json_object_set_new(o, "archived", json_integer(st->losers ? (json_int_t)sr_leaves_count(st->losers) : 0));
	json_object_set_new(o, "left_out", json_integer((json_int_t)(st->missing + st->refused + st->unlike + unknown_at_sources(x, i))));
	return o;
}

static void print_json(const struct sr_restore *x)
{
	json_t *o = json_object(), *stores = json_array();

	json_object_set_new(o, "role", json_string(is_datastore(x) ? "datastore" : "webserver"));
	json_object_set_new(o, "dry_run", json_boolean(x->o->dry_run));
	json_object_set_new(o, "left_out", json_integer((json_int_t)x->left_out));
	for (size_t i = 0; i < x->n; i++)
		json_array_append_new(stores, store_json(x, i));
	json_object_set_new(o, "stores", stores);
	json_dumpf(o, x->o->out, JSON_INDENT(2));
	fputc('\n', x->o->out);
	json_decref(o);
}

static void count_left_out(struct sr_restore *x)
{
	x->left_out = x->sources[0].left_out;
	for (size_t i = 0; i < x->n; i++)
		x->left_out += x->stores[i].skip + x->stores[i].missing + x->stores[i].refused + x->stores[i].unlike + unknown_at_sources(x, i);
}

static enum sr_status agree(const struct sr_restore *x, struct sr_err *err)
{
	if (x->o->yes)
		return SR_OK;
	fflush(x->o->out);
	return x->o->confirm(x->o->ctx, "Restore? [y/N] ") ? SR_OK : sr_err_set(err, SR_E_HELD, "nothing was changed");
}

/* --- putting in place --------------------------------------------------------------------------------------------------------------- */

static enum sr_status plan(struct sr_restore *x, bool state, const char *time_text, struct sr_err *err)
{
	struct sr_swap *swaps = sr_alloc((x->n + 1) * sizeof *swaps);
	char *dir = absolute(x->state_dir), *request = sr_restore_request(x->o);
	size_t n = 0;
	enum sr_status rc;

	if (state)
		swaps[n++] = (struct sr_swap){.path = sr_format("%s/state.db", dir),
					      .staged = sr_format("%s/restore/new/state.db", dir),
					      .aside = sr_format("%s/state.db.before-restore-%s", dir, time_text),
					      .database = true};
	for (size_t i = 0; i < x->n; i++)
		if (!x->stores[i].skip)
			swaps[n++] = (struct sr_swap){.path = sr_strdup(x->stores[i].path),
						      .staged = sr_strdup(x->stores[i].staged),
						      .aside = sr_strdup(x->stores[i].aside),
						      .database = x->stores[i].kind == SR_KIND_DATABASE};
	rc = sr_swap_plan(x->state_dir, request, swaps, n, err);
	for (size_t k = 0; k < n; k++) {
		free(swaps[k].path);
		free(swaps[k].staged);
		free(swaps[k].aside);
	}
	free(swaps);
	free(request);
	free(dir);
	return rc;
}

/* With the plan written the state is opened anew, which ends it. */
static enum sr_status put_in_place(struct sr_restore *x, enum standing standing, const struct sr_anchor *at, const char *time_text,
				   struct sr_err *err)
{
	bool fresh;
	enum sr_status rc = SR_OK;

	if (is_datastore(x))
		rc = standing == STANDING_OTHER ? make_state(x, at->epoch, err) : seed(x, x->state, standing == STANDING_NEW, at->epoch, err);
	if (rc == SR_OK)
		rc = plan(x, is_datastore(x) && standing == STANDING_OTHER, time_text, err);
	if (rc != SR_OK)
		return rc;
	sr_archive_close(x->archive);
	x->archive = NULL;
	sr_state_close(x->state);
	x->state = NULL;
	rc = sr_state_open(&x->state, x->state_dir, &fresh, err);
	if (rc != SR_OK)
		sr_err_context(err, "all is ready, and not yet in place: run this again, or start %s", sr_restore_daemon(x));
	return rc;
}

static void print_done(const struct sr_restore *x)
{
	FILE *out = x->o->json ? x->o->notes : x->o->out;

	for (size_t i = 0; i < x->n; i++) {
		const struct sr_restore_store *st = &x->stores[i];

		if (st->skip)
			continue;
		if (access(st->aside, F_OK) == 0)
			fprintf(out, "store %s: restored; what was there is %s\n", st->name, st->aside);
		else
			fprintf(out, "store %s: restored\n", st->name);
		if (st->missing)
			fprintf(out, "store %s: %" PRIu64 " entries changed at the source all the time, or could not be read: they are left out, and "
				     "come with the next round of whoever has them\n",
				st->name, st->missing);
	}
	fprintf(out, "%s\n",
		is_datastore(x) ? "Start sameroot-datastore now: it raises its epoch, and every webserver of this history unites with it by itself; those of "
				  "another are held until `sameroot adopt --union` is run on it."
				: "Start sameroot-sync now.  Local changes that had not reached the datastore are in what was put aside.");
}

/* --- all of it ------------------------------------------------------------------------------------------------------------------------ */

static enum sr_status compare(struct sr_restore *x, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	sr_progress_begin(&x->progress, "comparing", 0, 0);
	for (size_t i = 0; rc == SR_OK && i < x->n; i++) {
		rc = sr_restore_merge(x, i, err);
		if (rc == SR_OK && !x->stores[i].skip)
			rc = sr_restore_compare(x, i, err);
	}
	sr_progress_end(&x->progress);
	return rc;
}

static enum sr_status fill(struct sr_restore *x, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < x->n; i++)
		if (!x->stores[i].skip)
			rc = sr_restore_fill(x, i, err);
	if (rc == SR_E_FULL)
		sr_err_context(err, "the disk is full, and all is as it was; what was fetched waits in *.restoring for the next attempt, or can be "
				    "removed");
	return rc;
}

static enum sr_status restore_stores(struct sr_restore *x, const char *time_text, struct sr_err *err)
{
	FILE *out = x->o->json ? x->o->notes : x->o->out;
	enum standing standing = STANDING_SAME;
	struct sr_anchor at;
	size_t skipped = 0;
	enum sr_status rc = find_instance(x, &at, err);

	if (at.epoch) /* other webservers may have seen a later one than the sources have */
		at.epoch = sr_epoch_above(at.epoch) - 1;
	if (rc == SR_OK)
		rc = find_standing(x, &at, &standing, err);
	if (rc == SR_OK)
		rc = compare(x, err);
	if (rc != SR_OK)
		return rc;
	print_preview(x, out);
	print_unseen(x, out);
	print_others(x, out);
	print_standing(x, standing, &at, out);
	for (size_t i = 0; i < x->n; i++)
		skipped += x->stores[i].skip;
	if (skipped == x->n)
		return sr_err_set(err, SR_E_UNAVAILABLE, "none of the stores can be had: %s: %s", x->sources[0].name, why_skipped(x, 0));
	rc = refuse_emptied(x, err);
	if (rc != SR_OK || x->o->dry_run)
		return rc;
	rc = agree(x, err);
	if (rc == SR_OK)
		rc = fill(x, err);
	if (rc == SR_OK)
		rc = check_users(x, false, err);
	if (rc == SR_OK)
		rc = put_in_place(x, standing, &at, time_text, err);
	if (rc == SR_OK)
		print_done(x);
	return rc;
}

static void close_all(struct sr_restore *x)
{
	sr_restore_close_sources(x);
	if (x->extracted)
		sr_restore_remove_tree(x->extracted);
	free(x->extracted);
	for (size_t i = 0; x->stores && i < x->n; i++) {
		free(x->stores[i].path);
		free(x->stores[i].staged);
		free(x->stores[i].aside);
		sr_leaves_free(x->stores[i].losers);
		sr_leaves_free(x->stores[i].dated);
	}
	free(x->stores);
	sr_nodes_free(x->nodes);
	explicit_bzero(&x->key, sizeof x->key);
	sr_archive_close(x->archive);
	sr_state_close(x->state);
	if (!x->o->dry_run)
		sr_owner_give(&x->owner, x->state_dir);
}

enum sr_status sr_restore(const struct sr_restore_options *o, int *status, struct sr_err *err)
{
	struct sr_restore x = {.o = o, .progress = {.show = o->show, .ctx = o->ctx}};
	struct sr_swap_pending ended = {0};
	char time_text[32];
	enum sr_status rc = check_options(o, err);

	x.state_dir = o->role == SR_ROLE_DATASTORE ? o->config->datastore_state_directory : o->config->state_directory;
	x.owner = sr_owner_of(x.state_dir);
	now_text(time_text);
	if (rc == SR_OK)
		rc = choose_stores(&x, time_text, err);
	for (size_t i = 0; rc == SR_OK && !o->path && i < x.n; i++)
		rc = check_place(&x.stores[i], err);
	for (size_t i = 0; rc == SR_OK && !o->path && i < x.n; i++)
		rc = check_staged(&x.stores[i], err);
	if (rc == SR_OK)
		rc = check_sources(o, err);
	if (rc == SR_OK)
		rc = open_state(&x, &ended, err);
	if (rc == SR_OK && ended.request && sr_restore_pending_ended(&x, &ended)) {
		*status = 0;
		goto out;
	}
	if (rc == SR_OK && !o->path)
		rc = check_users(&x, true, err);
	if (rc == SR_OK)
		rc = sr_restore_open_sources(&x, err);
	if (rc == SR_OK)
		rc = o->path ? sr_restore_part(&x, err) : restore_stores(&x, time_text, err);
	if (rc == SR_OK) {
		count_left_out(&x);
		sr_restore_name_left(o->config, o->role, o->notes);
		if (o->json)
			print_json(&x);
		*status = x.left_out ? 1 : 0;
	}
out:
	sr_swap_pending_free(&ended);
	close_all(&x);
	return rc;
}
