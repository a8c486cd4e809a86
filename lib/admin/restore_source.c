/* restore_source.c - where what is restored comes from: a daemon over HTTP, or files on this machine.  What comes is checked against the tree:
 * rows and files by their keyed hashes, files here by a scan of their own, a database here by SQLite as well. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/admin/here.h"
#include "lib/admin/restore_internal.h"
#include "lib/base/file.h"
#include "lib/bundle/backup.h"
#include "lib/replica/fetch.h"
#include "lib/replica/hello.h"
#include "lib/replica/keypair.h"
#include "lib/state/state.h"

#define WALKS 50 /* of a tree that moves on */

/* --- a daemon ------------------------------------------------------------------------------------------------------------- */

static enum sr_status say_hello(const char *url, const char *secret, char pin[SR_PIN_TEXT], struct sr_err *err)
{
	struct sr_client_options o = {.url = url, .insecure = true, .total_ms = 10000};
	char nonce[SR_HELLO_TEXT], *target;
	struct sr_answer answer = {0};
	struct sr_client *client = NULL;
	struct sr_call call = {.max_answer = 4096};
	enum sr_status rc = sr_client_new(&client, &o, err);

	sr_hello_nonce(nonce);
	target = sr_format("/api/hello?nonce=%s", nonce);
	call.target = target;
	if (rc == SR_OK)
		rc = sr_client_call(client, &call, &answer, err);
	if (rc == SR_OK && !sr_client_seen_pin(client, pin))
		rc = sr_err_set(err, SR_E_AUTH, "it showed no key");
	if (rc == SR_OK)
		rc = sr_hello_check(secret, nonce, pin, "webserver", sr_buf_view(&answer.body), err);
	sr_answer_free(&answer);
	sr_client_free(client);
	free(target);
	if (rc == SR_E_UNAVAILABLE || rc == SR_E_IO) /* it did not say anything */
		return sr_err_context(err, "%s", url);
	return rc == SR_OK ? rc
			   : sr_err_context(err, "%s: it does not prove that it is a webserver of this cluster (no secret was sent to it; --pin "
						 "names the key that it is to have)",
					    url);
}

/* The key is the one that was given, or one that proves Control-Auth by a hello. */
static enum sr_status open_webserver(struct sr_restore *x, struct sr_source *s, const char *url, const char *pin, struct sr_err *err)
{
	char seen[SR_PIN_TEXT];
	struct sr_client_options o = {.url = url, .pin = pin};
	struct sr_keypair shown = {0};
	char *secret = NULL;
	enum sr_status rc = sr_config_secret(x->o->config, &secret, err);

	s->name = sr_strdup(url);
	if (rc == SR_OK && !pin && strncmp(url, "https:", 6) == 0) {
		rc = say_hello(url, secret, seen, err);
		o.pin = seen;
	}
	if (rc == SR_OK)
		rc = sr_keypair_shown(x->o->config, true, &shown, err);
	o.bearer = secret;
	o.certificate = shown.certificate;
	o.key = shown.key;
	if (rc == SR_OK)
		rc = sr_client_new(&s->client, &o, err);
	sr_keypair_free(&shown);
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
	return rc;
}

static enum sr_status open_datastore(struct sr_restore *x, struct sr_source *s, struct sr_err *err)
{
	const struct sr_config *c = x->o->config;
	char *secret = NULL;
	enum sr_status rc;

	s->name = sr_strdup("the datastore");
	if (!c->datastore.host)
		return sr_err_set(err, SR_E_CONFIG, "%s: no Datastore is configured: this machine is no webserver", c->file);
	rc = sr_config_secret(c, &secret, err);
	if (rc == SR_OK)
		rc = sr_contact_open(&s->contact, c, x->state, err);
	if (rc == SR_OK) {
		sr_contact_set_secret(s->contact, secret);
		s->client = sr_contact_client(s->contact);
	}
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
	return rc;
}

static enum sr_status ask_tree(struct sr_source *s, struct sr_tree_info *out, struct sr_err *err)
{
	const char *headers[] = {SR_HEADER_KEY ": want", NULL};
	struct sr_call call = {.target = "/api/tree", .headers = headers};
	struct sr_answer answer = {0};
	enum sr_status rc = sr_client_call(s->client, &call, &answer, err);

	if (rc == SR_OK)
		rc = sr_tree_info_parse(sr_buf_view(&answer.body), out, err);
	if (answer.body.len)
		explicit_bzero(answer.body.at, answer.body.len);
	sr_answer_free(&answer);
	return rc;
}

/* Something listens there, and it speaks another language. */
static enum sr_status hint_at_tls(struct sr_err *err)
{
	struct sr_err was = *err;

	return sr_err_set(err, was.code, "%s; it was asked over plain HTTP: a sync daemon speaks https, but for one with Insecure-Disable-HTTPS", was.text);
}

/* First contact with the datastore happens on the way, as for the sync daemon. */
static enum sr_status ask(struct sr_restore *x, struct sr_source *s, struct sr_tree_info *out, struct sr_err *err)
{
	enum sr_status rc = ask_tree(s, out, err);

	if (rc != SR_OK && s->contact && x->state) {
		rc = sr_contact_retry(s->contact, x->state, err);
		if (rc == SR_OK)
			rc = ask_tree(s, out, err);
	}
	if (rc == SR_OK && !out->has_key) {
		sr_tree_info_free(out);
		rc = sr_err_set(err, SR_E_DATA, "it does not tell its tree key: it is of an older version");
	}
	if (rc == SR_E_UNAVAILABLE && !err->sys && strncmp(s->name, "http:", 5) == 0)
		rc = hint_at_tls(err);
	return rc == SR_OK || strstr(err->text, s->name) ? rc : sr_err_context(err, "%s", s->name); /* once */
}

/* All sources are of one cluster. */
static enum sr_status take_key(struct sr_restore *x, const uint8_t secret[SR_KEY_LEN], const char *name, struct sr_err *err)
{
	struct sr_tree_key key;

	sr_tree_key_set(&key, secret);
	if (x->keyed && !sr_hash_eq(&key.id, &x->key.id))
		return sr_err_set(err, SR_E_CONFLICT, "%s has another tree key than what was named before: they are not of one cluster", name);
	if (!x->keyed) {
		x->key = key;
		x->keyed = true;
		x->nodes = sr_nodes_new(&x->key);
		sr_nodes_limit(x->nodes, x->o->config->max_leaves);
	}
	return SR_OK;
}

static void adopt_maps(struct sr_restore *x, struct sr_source *s)
{
	for (size_t i = 0; i < x->n; i++) {
		struct sr_source_store *ss = &s->stores[i];
		struct sr_entry e;

		*ss = (struct sr_source_store){.why = "it has no store of this name"};
		for (size_t k = 0; k < s->info.n; k++) {
			const struct sr_tree_store *t = &s->info.stores[k];

			if (strcmp(t->name, x->stores[i].name) != 0)
				continue;
			ss->why = t->paused			? "it is paused there"
				  : t->kind != x->stores[i].kind ? "it is of another kind there"
								 : NULL;
			if (!ss->why && sr_map_get(x->nodes, &s->root, sr_bytes_of(t->name), &e) != SR_OK)
				ss->why = "its tree does not hold it";
			if (ss->why)
				break;
			ss->has = true;
			ss->map = e.hash;
			ss->node = s->info.node;
			ss->epoch = x->o->from_datastore ? s->info.at.epoch : t->epoch;
			ss->seq = x->o->from_datastore ? s->info.at.seq : t->seq;
		}
	}
}

/* *moved: its root is another one. */
static enum sr_status refresh_daemon(struct sr_restore *x, struct sr_source *s, bool *moved, struct sr_err *err)
{
	struct sr_tree_info info = {0};
	enum sr_status rc = ask(x, s, &info, err);

	if (rc == SR_OK)
		rc = take_key(x, info.key, s->name, err);
	if (rc != SR_OK)
		goto out;
	*moved |= !s->have_info || !sr_hash_eq(&info.at.root, &s->root);
	if (!s->have_info || !sr_hash_eq(&info.at.root, &s->root)) {
		sr_nodes_hold(x->nodes, &info.at.root);
		rc = sr_fetch_nodes(x->nodes, s->client, &info.at.root, &s->root, NULL, NULL, err);
		if (rc != SR_OK) {
			sr_nodes_release(x->nodes, &info.at.root);
			rc = sr_err_context(err, "%s: its tree", s->name);
			goto out;
		}
		if (s->have_info)
			sr_nodes_release(x->nodes, &s->root);
		s->root = info.at.root;
	}
	if (s->have_info)
		sr_tree_info_free(&s->info);
	s->info = info;
	s->have_info = true;
	adopt_maps(x, s);
	return SR_OK;
out:
	explicit_bzero(info.key, sizeof info.key);
	sr_tree_info_free(&info);
	return rc;
}

/* It moves on while it is walked: at first it is walked again, later the tree that was walked before will do meanwhile. */
static enum sr_status refresh(struct sr_restore *x, struct sr_source *s, bool *moved, struct sr_err *err)
{
	enum sr_status rc = refresh_daemon(x, s, moved, err);

	for (int n = 1; rc == SR_E_GONE && !s->have_info && n < WALKS; n++) {
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
		rc = refresh_daemon(x, s, moved, err);
	}
	if (rc != SR_E_GONE || !s->have_info)
		return rc;
	*moved = true;
	return SR_OK;
}

enum sr_status sr_restore_refresh(struct sr_restore *x, bool *moved, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	*moved = false;
	for (size_t k = 0; rc == SR_OK && k < x->n_sources; k++)
		if (x->sources[k].client)
			rc = refresh(x, &x->sources[k], moved, err);
	return rc;
}

/* --- files --------------------------------------------------------------------------------------------------------------------- */

bool sr_restore_is_file_of(const char *named, const char *store)
{
	size_t len = strlen(store);

	return strncmp(named, store, len) == 0 && named[len] == '=';
}

const char *sr_restore_file_of(const struct sr_restore *x, const char *store)
{
	for (size_t k = 0; k < x->o->files.n; k++)
		if (sr_restore_is_file_of(x->o->files.at[k], store))
			return x->o->files.at[k] + strlen(store) + 1;
	return NULL;
}

/* OWNED BY CALLER (free); NULL: there is none. */
static char *file_of(const struct sr_restore *x, const char *store)
{
	const char *named = sr_restore_file_of(x, store);
	char *path;

	if (named)
		return sr_strdup(named);
	if (!x->extracted)
		return NULL;
	path = sr_format("%s/%s", x->extracted, store);
	if (access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

/* The datastore's own key, or a new one. */
static enum sr_status local_key(struct sr_restore *x, struct sr_err *err)
{
	uint8_t secret[SR_KEY_LEN];
	struct sr_buf buf = {0};
	bool found = false;
	enum sr_status rc = x->state ? sr_state_get(x->state, "tree-key", &buf, &found, err) : SR_OK;

	if (rc == SR_OK && found && buf.len == SR_KEY_LEN)
		memcpy(secret, buf.at, SR_KEY_LEN);
	else
		sr_random(secret, sizeof secret);
	if (rc == SR_OK)
		rc = take_key(x, secret, "this node", err);
	if (buf.len)
		explicit_bzero(buf.at, buf.len);
	explicit_bzero(secret, sizeof secret);
	sr_buf_free(&buf);
	return rc;
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A state.db, or the directory of one. */
static bool is_state(const char *path)
{
	char *below = sr_format("%s/state.db", path);
	bool yes = sr_state_is_one(path) || sr_state_is_one(below);

	free(below);
	return yes;
}

static enum sr_status read_files(struct sr_restore *x, struct sr_source *s, size_t i, const char *path, struct sr_err *err)
{
	struct sr_source_store *ss = &s->stores[i];
	struct sr_marker marker = {0};
	bool content = false;
	char why[256] = "";
	enum sr_status rc = sr_restore_open_store(x, i, path, false, &ss->files, err);
	enum sr_presence presence;

	if (rc != SR_OK)
		return rc;
	if (same_file(path, x->stores[i].path) || same_file(path, x->stores[i].staged))
		return sr_err_set(err, SR_E_USAGE, "it is the store that is to be restored");
	if (is_state(path))
		return sr_err_set(err, SR_E_USAGE, "it is the state of a daemon, and no store");
	presence = sr_store_look(ss->files, &marker, &content, why);
	if (presence == SR_ABSENT)
		return sr_err_set(err, SR_E_NOINPUT, "nothing is there%s%s", *why ? ": " : "", why);
	if (presence != SR_PRESENT && presence != SR_UNMARKABLE) /* nothing is written to it */
		return sr_err_set(err, presence == SR_CORRUPT ? SR_E_DATA : SR_E_UNAVAILABLE, "it cannot be read: %s", why);
	if (*marker.store && strcmp(marker.store, x->stores[i].name) != 0)
		return sr_err_set(err, SR_E_USAGE, "it is a copy of the store %s, not of %s", marker.store, x->stores[i].name);
	rc = sr_store_check(ss->files, err);
	if (rc == SR_OK)
		rc = sr_restore_scan(x, ss->files, NULL, &ss->map, err);
	if (rc == SR_OK)
		rc = sr_view_open(&ss->view, ss->files, SR_VIEW_EXTRA, err);
	ss->has = rc == SR_OK;
	ss->node = marker.node;
	ss->epoch = marker.epoch;
	ss->seq = marker.seq;
	if (!sr_uuid_none(&marker.id) && !sr_uuid_none(&marker.instance)) {
		if (s->info.at.epoch <= marker.epoch)
			s->info.at.epoch = marker.epoch;
		s->info.at.instance = marker.instance;
	}
	return rc;
}

/* --- a backup: its stores are files, once they are extracted ----------------------------------------------------------------------- */

static bool is_wanted(void *ctx, const char *store, uint8_t kind)
{
	const struct sr_restore *x = ctx;

	for (size_t i = 0; i < x->n; i++)
		if (!strcmp(x->stores[i].name, store))
			return x->stores[i].kind == kind;
	return false;
}

static void show_bytes(void *ctx, uint64_t done, uint64_t total)
{
	struct sr_restore *x = ctx;

	x->progress.bytes_total = total;
	if (done > x->progress.bytes_done)
		sr_progress_add(&x->progress, 0, done - x->progress.bytes_done);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void sr_restore_remove_tree(const char *path)
{
	(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Beside the state, where a datastore has its room; a dry run leaves nothing there. */
static enum sr_status make_room(struct sr_restore *x, struct sr_err *err)
{
	char *up;
	enum sr_status rc = SR_OK;

	if (x->o->dry_run)
		return sr_file_tmp_dir(&x->extracted, "sameroot-restore", err);
	up = sr_format("%s/restore", x->state_dir);
	x->extracted = sr_format("%s/backup", up);
	sr_restore_remove_tree(x->extracted);
	if ((mkdir(up, 0700) != 0 && errno != EEXIST) || mkdir(x->extracted, 0700) != 0)
		rc = sr_err_sys(err, SR_E_IO, "%s", x->extracted);
	free(up);
	return rc;
}

static enum sr_status extract(struct sr_restore *x, struct sr_source *s, struct sr_err *err)
{
	struct sr_backup_source source = {.file = x->o->from_backup, .progress = show_bytes, .ctx = x, .spool = x->spool};
	struct sr_backup_info info = {0};
	enum sr_status rc = make_room(x, err);

	sr_progress_begin(&x->progress, "reading the backup", 0, 0);
	if (rc == SR_OK)
		rc = sr_backup_extract(&source, x->extracted, is_wanted, x, &info, err);
	sr_progress_end(&x->progress);
	if (rc != SR_OK)
		return rc;
	s->left_out = info.left_out_count;
	for (size_t k = 0; k < info.left_out_n; k++)
		fprintf(x->o->notes, "%s is not in the backup: %s\n", info.left_out[k].path, info.left_out[k].why);
	sr_backup_info_free(&info);
	return rc;
}

static enum sr_status open_files(struct sr_restore *x, struct sr_source *s, struct sr_err *err)
{
	enum sr_status rc = local_key(x, err);

	s->name = sr_strdup(x->o->from_backup ? x->o->from_backup : "the files");
	if (rc == SR_OK && x->o->from_backup)
		rc = extract(x, s, err);
	for (size_t i = 0; rc == SR_OK && i < x->n; i++) {
		char *path = file_of(x, x->stores[i].name);

		s->stores[i].why = x->o->from_backup ? "it is not in it" : "no file was named for it";
		if (!path)
			continue;
		rc = read_files(x, s, i, path, err);
		if (rc != SR_OK)
			sr_err_context(err, "%s", path);
		free(path);
	}
	return rc;
}

/* --- all of them ------------------------------------------------------------------------------------------------------------------ */

enum sr_status sr_restore_open_sources(struct sr_restore *x, struct sr_err *err)
{
	size_t n = x->o->from.n ? x->o->from.n : 1;
	bool moved;
	enum sr_status rc = SR_OK;

	x->sources = sr_alloc(n * sizeof *x->sources);
	for (size_t k = 0; rc == SR_OK && k < n; k++) {
		struct sr_source *s = &x->sources[k];

		x->n_sources = k + 1;
		s->stores = sr_alloc((x->n + 1) * sizeof *s->stores);
		if (x->o->from.n)
			rc = open_webserver(x, s, x->o->from.at[k], x->o->pins.n ? x->o->pins.at[k] : NULL, err);
		else if (x->o->from_datastore)
			rc = open_datastore(x, s, err);
		else
			rc = open_files(x, s, err);
	}
	return rc == SR_OK ? sr_restore_refresh(x, &moved, err) : rc;
}

void sr_restore_close_sources(struct sr_restore *x)
{
	for (size_t k = 0; k < x->n_sources; k++) {
		struct sr_source *s = &x->sources[k];

		for (size_t i = 0; s->stores && i < x->n; i++) {
			sr_view_close(s->stores[i].view);
			sr_store_close(s->stores[i].files);
		}
		free(s->stores);
		explicit_bzero(s->info.key, sizeof s->info.key);
		sr_tree_info_free(&s->info);
		if (s->contact)
			sr_contact_close(s->contact);
		else
			sr_client_free(s->client);
		free(s->name);
	}
	free(x->sources);
	x->sources = NULL;
	x->n_sources = 0;
}
