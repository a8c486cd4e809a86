/* offline.c - see offline.h. */
#include "lib/admin/offline.h"
#include "lib/admin/owner.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/replica/waiting.h"

/* The names under which lib/replica, lib/sync and lib/datastore keep these in state.db's meta. */
#define META_NODE     "node"
#define META_KEY      "tree-key"
#define META_ANCHOR   "anchor"
#define META_AS_OF    "as-of"
#define META_INSTANCE "instance"
#define META_EPOCH    "epoch"
#define META_SEQ      "seq"

/* --- identity --------------------------------------------------------------------------------------------------------- */

static json_t *uuid_json(const struct sr_uuid *u)
{
	char text[SR_UUID_TEXT];

	sr_uuid_text(text, u);
	return sr_uuid_none(u) ? json_null() : json_string(text);
}

static json_t *hash_json(const struct sr_hash *h)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, h);
	return sr_hash_none(h) ? json_null() : json_string(text);
}

/* A value of a known length; none, or one of another length, is all zero. */
static enum sr_status get_exactly(struct sr_state *s, const char *name, void *out, size_t len, bool *found, struct sr_err *err)
{
	struct sr_buf buf = {0};
	enum sr_status rc = sr_state_get(s, name, &buf, found, err);

	*found = rc == SR_OK && *found && buf.len == len;
	memset(out, 0, len);
	if (*found)
		memcpy(out, buf.at, len);
	sr_buf_free(&buf);
	return rc;
}

static void put_anchor(json_t *o, const struct sr_anchor *at)
{
	json_object_set_new(o, "instance", uuid_json(&at->instance));
	json_object_set_new(o, "epoch", json_integer((json_int_t)at->epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)at->seq));
	json_object_set_new(o, "root", hash_json(&at->root));
}

/* What a webserver last knew of its datastore: 16 bytes instance, be64 epoch, be64 seq, 16 bytes root. */
static enum sr_status webserver_anchor(struct sr_state *s, struct sr_anchor *at, struct sr_err *err)
{
	uint8_t raw[48];
	bool found = false;
	enum sr_status rc = get_exactly(s, META_ANCHOR, raw, sizeof raw, &found, err);
	struct sr_reader in = sr_reader(sr_bytes(raw, sizeof raw));

	memcpy(at->instance.b, sr_read_bytes(&in, 16).at, 16);
	at->epoch = sr_read_be64(&in);
	at->seq = sr_read_be64(&in);
	memcpy(at->root.b, sr_read_bytes(&in, 16).at, 16);
	return rc;
}

static enum sr_status datastore_anchor(struct sr_state *s, struct sr_anchor *at, struct sr_err *err)
{
	struct sr_root_row root;
	bool found = false;
	enum sr_status rc = get_exactly(s, META_INSTANCE, at->instance.b, sizeof at->instance.b, &found, err);

	if (rc == SR_OK)
		rc = sr_state_get_u64(s, META_EPOCH, &at->epoch, &found, err);
	if (rc == SR_OK)
		rc = sr_state_get_u64(s, META_SEQ, &at->seq, &found, err);
	if (rc == SR_OK)
		rc = sr_state_root(s, at->epoch, UINT64_MAX, &root, &found, err);
	if (rc == SR_OK && found)
		at->root = root.root;
	return rc;
}

/* --- stores --------------------------------------------------------------------------------------------------------------- */

struct count {
	uint64_t leaves, bytes;
	struct sr_buf dir; /* the last row's path, if it was a directory: a leaf if nothing follows below it */
	bool open;
};

static enum sr_status count_open(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	uint64_t *n = ctx;

	(void)row;
	(void)err;
	++*n;
	return SR_OK;
}

static void end_directory(struct count *c)
{
	c->leaves += c->open;
	c->open = false;
}

static enum sr_status count_row(void *ctx, const struct sr_leaf_row *row, struct sr_err *err)
{
	struct count *c = ctx;

	(void)err;
	if (row->local.kind == SR_KIND_NONE)
		return SR_OK;
	if (c->open && sr_path_under(row->path, sr_buf_view(&c->dir)))
		c->open = false; /* it is not empty */
	end_directory(c);
	c->leaves += row->local.kind == SR_KIND_FILE || row->local.kind == SR_KIND_ROW;
	c->bytes += row->local.bytes;
	if (row->local.kind == SR_KIND_DIR) {
		c->open = true;
		sr_buf_clear(&c->dir);
		sr_buf_bytes(&c->dir, row->path);
	}
	return SR_OK;
}

/* Deletions that waited when the node was last awake. */
static enum sr_status add_held(json_t *o, json_t *waiting, struct sr_state *s, const char *store, struct sr_err *err)
{
	struct sr_ledger *ledger = NULL;
	struct sr_buf text = {0};
	enum sr_status rc = sr_ledger_open(&ledger, s, err);

	if (rc == SR_OK) {
		sr_ledger_report(ledger, store, &text);
		json_object_set_new(o, "held", json_loadb((const char *)text.at, text.len, 0, NULL));
		sr_waiting_deletions(waiting, store, json_object_get(o, "held"));
	}
	sr_buf_free(&text);
	sr_ledger_close(ledger);
	return rc;
}

static enum sr_status add_store(json_t *stores, json_t *waiting, struct sr_state *s, const struct sr_config_store *st, bool pushes, struct sr_err *err)
{
	uint64_t unpushed = 0;
	struct sr_store_row row;
	struct count c = {0};
	json_t *o = json_object();
	enum sr_status rc = sr_state_store(s, st->name, &row, err);
	bool known = rc == SR_OK;

	if (known)
		rc = sr_state_leaves(s, &row, false, count_row, &c, err);
	if (known && rc == SR_OK && pushes)
		rc = sr_state_leaves(s, &row, true, count_open, &unpushed, err);
	else if (rc == SR_E_NOTFOUND)
		rc = SR_OK;
	end_directory(&c);
	sr_buf_free(&c.dir);
	json_object_set_new(o, "name", json_string(st->name));
	json_object_set_new(o, "kind", json_string(st->kind == SR_CONFIG_SQLITE ? "sqlite" : "files"));
	json_object_set_new(o, "state", json_string(known ? "known" : "new"));
	json_object_set_new(o, "leaves", json_integer((json_int_t)c.leaves));
	json_object_set_new(o, "bytes", json_integer((json_int_t)c.bytes));
	if (pushes)
		json_object_set_new(o, "unpushed", json_integer((json_int_t)unpushed));
	json_array_append_new(stores, o);
	return rc == SR_OK ? add_held(o, waiting, s, st->name, err) : rc;
}

static enum sr_status add_webserver(void *ctx, const struct sr_webserver_row *row, struct sr_err *err)
{
	json_t *o = json_object(), *status = row->status ? json_loads(row->status, 0, NULL) : NULL;

	(void)err;
	json_object_set_new(o, "uuid", uuid_json(&row->uuid));
	json_object_set_new(o, "name", row->name ? json_string(row->name) : json_null());
	json_object_set_new(o, "external_addr", row->external_addr ? json_string(row->external_addr) : json_null());
	json_object_set_new(o, "epoch", json_integer((json_int_t)row->epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)row->seq));
	json_object_set_new(o, "root", hash_json(&row->root));
	json_object_set_new(o, "status", status ? status : json_null());
	json_array_append_new(ctx, o);
	return SR_OK;
}

static const char *text(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* Several on one host are told apart by their whole addresses, as a running datastore does it. */
static void tell_apart(json_t *list)
{
	size_t n = json_array_size(list);
	bool *shared = sr_alloc((n + 1) * sizeof *shared);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++) {
			const char *a = text(json_array_get(list, i), "name"), *b = text(json_array_get(list, k), "name");

			shared[i] |= i != k && a && b && strcmp(a, b) == 0;
		}
	for (size_t i = 0; i < n; i++)
		if (shared[i] && text(json_array_get(list, i), "external_addr"))
			json_object_set(json_array_get(list, i), "name", json_object_get(json_array_get(list, i), "external_addr"));
	free(shared);
}

/* --- the status -------------------------------------------------------------------------------------------------------------- */

static enum sr_status fill_status(json_t *o, struct sr_state *s, const struct sr_admin *a, struct sr_err *err)
{
	bool datastore = sr_admin_is_datastore(a), found;
	json_t *stores = json_array(), *list = json_array(), *at_of = json_object(), *waiting = sr_waiting_new();
	struct sr_anchor at = {0};
	struct sr_uuid node;
	enum sr_status rc = get_exactly(s, META_NODE, node.b, sizeof node.b, &found, err);

	if (rc == SR_OK)
		rc = datastore ? datastore_anchor(s, &at, err) : webserver_anchor(s, &at, err);
	for (size_t i = 0; rc == SR_OK && i < a->config->store_count; i++) {
		const struct sr_config_store *st = &a->config->stores[i];

		if (datastore ? st->datastore_path : st->path)
			rc = add_store(stores, waiting, s, st, !datastore, err);
	}
	if (rc == SR_OK && datastore)
		rc = sr_state_webservers(s, add_webserver, list, err);
	tell_apart(list);
	json_object_set_new(o, "role", json_string(datastore ? "datastore" : "webserver"));
	json_object_set_new(o, "running", json_false());
	json_object_set_new(o, "node", uuid_json(&node));
	put_anchor(datastore ? o : at_of, &at);
	if (datastore)
		json_object_set(o, "webservers", list);
	else
		json_object_set(o, "datastore", at_of);
	json_object_set_new(o, "stores", stores);
	json_object_set_new(o, "status", waiting);
	json_decref(list);
	json_decref(at_of);
	return rc;
}

enum sr_status sr_offline_status(const struct sr_admin *a, json_t **out, struct sr_err *err)
{
	struct sr_state *s = NULL;
	json_t *o = json_object();
	enum sr_status rc = sr_state_reader(&s, sr_admin_state_dir(a), err);

	if (rc == SR_OK)
		rc = sr_state_begin(s, err); /* one moment */
	if (rc == SR_OK)
		rc = fill_status(o, s, a, err);
	sr_state_close(s);
	if (rc == SR_OK)
		*out = o;
	else
		json_decref(o);
	return rc;
}

enum sr_status sr_offline_key(const char *state_dir, struct sr_tree_key *key, bool *found, struct sr_err *err)
{
	uint8_t secret[SR_KEY_LEN];
	struct sr_state *s = NULL;
	enum sr_status rc = sr_state_reader(&s, state_dir, err);

	if (rc == SR_OK)
		rc = get_exactly(s, META_KEY, secret, sizeof secret, found, err);
	if (rc == SR_OK && *found)
		sr_tree_key_set(key, secret);
	explicit_bzero(secret, sizeof secret);
	sr_state_close(s);
	return rc;
}

/* --- the tree --------------------------------------------------------------------------------------------------------------- */

static enum sr_status scan(struct sr_replica *r, FILE *notes, struct sr_err *err)
{
	enum sr_status rc = sr_state_begin(r->state, err); /* never committed: sr_offline_close */

	sr_replica_look(r);
	for (size_t i = 0; rc == SR_OK && i < r->n; i++) {
		struct sr_replica_store *s = &r->stores[i];

		if (s->mode == SR_MODE_READY)
			rc = sr_replica_scan(r, i, false, NULL, NULL, err);
		else if (s->mode == SR_MODE_PAUSED)
			fprintf(notes, "store %s is paused, and compared as it was last seen: %s\n", s->name, s->why);
	}
	sr_replica_unview(r);
	sr_replica_reroot(r);
	return rc;
}

enum sr_status sr_offline_open(struct sr_replica **out, const struct sr_admin *a, bool look, struct sr_err *err)
{
	const char *dir = sr_admin_state_dir(a);
	struct sr_replica *r = NULL;
	struct sr_tree_key key;
	bool found = false;
	/* Looked at first without the lock, so that nothing is made where nothing was. */
	enum sr_status rc = sr_offline_key(dir, &key, &found, err);

	explicit_bzero(&key, sizeof key);
	if (rc == SR_OK && !found)
		rc = sr_err_set(err, SR_E_NOINPUT, "%s: no tree is known: no round went through yet", dir);
	if (rc == SR_OK)
		rc = sr_replica_open(&r, a->config, sr_admin_is_datastore(a) ? SR_ROLE_DATASTORE : SR_ROLE_WEBSERVER, err);
	if (rc == SR_OK && look)
		rc = scan(r, a->notes, err);
	if (rc == SR_OK)
		*out = r;
	else
		sr_offline_close(r);
	return rc;
}

enum sr_status sr_offline_at(struct sr_replica *r, struct sr_anchor *at, struct sr_err *err)
{
	uint8_t raw[16] = {0};
	bool found;
	struct sr_reader in = sr_reader(sr_bytes(raw, sizeof raw));
	enum sr_status rc;

	*at = (struct sr_anchor){0};
	if (r->role == SR_ROLE_DATASTORE)
		return datastore_anchor(r->state, at, err);
	rc = webserver_anchor(r->state, at, err);
	if (rc == SR_OK)
		rc = get_exactly(r->state, META_AS_OF, raw, sizeof raw, &found, err);
	at->epoch = sr_read_be64(&in);
	at->seq = sr_read_be64(&in);
	return rc;
}

void sr_offline_close(struct sr_replica *r)
{
	const char *dir;
	struct sr_owner owner;

	if (!r)
		return;
	dir = r->role == SR_ROLE_DATASTORE ? r->config->datastore_state_directory : r->config->state_directory;
	owner = sr_owner_of(dir);
	sr_state_rollback(r->state);
	sr_replica_close(r);
	sr_owner_give(&owner, dir);
}
