/* compare.c - `sameroot diff`: this webserver's tree and the datastore's.  See admin.h, diff.h.
 *
 * Both trees are fetched as nodes: first the one here (its daemon's; without a daemon it is scanned under the lock), then of the
 * datastore's only what is not the same.  A root that moved on meanwhile (410) is taken again. */
#include <stdlib.h>
#include <string.h>

#include "lib/admin/diff.h"
#include "lib/admin/here.h"
#include "lib/admin/offline.h"
#include "lib/replica/fetch.h"
#include "lib/store/exclude.h"

#define TRIES 5

struct compare {
	const struct sr_admin *a;
	struct sr_here local;
	struct sr_replica *replica; /* instead of a daemon */
	struct sr_contact *contact;
	struct sr_client *there; /* the contact's */
	struct sr_tree_key key;
	struct sr_nodes *nodes; /* of both; with a replica its own */
	struct sr_hash here_root, there_root;
	struct sr_tree_info info; /* of the datastore */
};

/* --- the two sides ------------------------------------------------------------------------------------------------------------ */

static enum sr_status check_key(const struct compare *c, const struct sr_tree_info *info, const char *whose, struct sr_err *err)
{
	if (sr_hash_eq(&info->key_id, &c->key.id))
		return SR_OK;
	return sr_err_set(
		err, SR_E_HELD,
		"%s has another tree key than this webserver: no hash of the one says anything about the other; see `sameroot status`",
		whose);
}

static enum sr_status take_local(struct compare *c, struct sr_err *err)
{
	static const struct sr_hash nothing;
	struct sr_tree_info info = {0};
	enum sr_status rc = sr_fetch_tree(c->local.client, &info, err);

	if (rc == SR_OK)
		rc = check_key(c, &info, "the sync daemon", err);
	if (rc == SR_OK)
		rc = sr_fetch_nodes(c->nodes, c->local.client, &info.at.root, &nothing, NULL, NULL, err);
	if (rc == SR_OK)
		c->here_root = info.at.root;
	sr_tree_info_free(&info);
	return rc == SR_OK ? rc : sr_err_context(err, "the tree here");
}

static enum sr_status take_remote(struct compare *c, struct sr_err *err)
{
	struct sr_tree_info *info = &c->info;
	enum sr_status rc;

	sr_tree_info_free(info);
	rc = sr_fetch_tree(c->there, info, err);
	if (rc == SR_OK)
		rc = check_key(c, info, "the datastore", err);
	if (rc == SR_OK)
		rc = sr_fetch_nodes(c->nodes, c->there, &info->at.root, &c->here_root, NULL, NULL, err);
	if (rc == SR_OK)
		c->there_root = info->at.root;
	for (size_t i = 0; rc == SR_OK && i < info->n; i++)
		if (info->stores[i].paused)
			fprintf(c->a->notes, "store %s is paused at the datastore: %s\n", info->stores[i].name, info->stores[i].paused);
	if (rc != SR_OK)
		rc = sr_contact_explain(c->contact, err);
	return rc == SR_OK ? rc : sr_err_context(err, "the datastore's tree");
}

static enum sr_status take_both(struct compare *c, struct sr_err *err)
{
	enum sr_status rc = SR_E_GONE;

	for (int i = 0; rc == SR_E_GONE && i < TRIES; i++) {
		rc = c->replica ? SR_OK : take_local(c, err);
		if (rc == SR_OK)
			rc = take_remote(c, err);
	}
	return rc;
}

/* What is excluded, here or by the datastore, and a store that this machine does not hold. */
static bool is_apart(void *ctx, const char *store, uint8_t kind, struct sr_bytes path)
{
	const struct compare *c = ctx;
	const struct sr_config_store *own = sr_config_store(c->a->config, store);

	if (own && (!own->path || sr_exclude_covers(kind, (const char *const *)own->exclude.at, own->exclude.count, path)))
		return true;
	for (size_t i = 0; i < c->info.n; i++)
		if (!strcmp(c->info.stores[i].name, store))
			return sr_exclude_covers(kind, (const char *const *)c->info.stores[i].exclude, c->info.stores[i].excludes, path);
	return false;
}

/* --- opening -------------------------------------------------------------------------------------------------------------------- */

static enum sr_status open_offline(struct compare *c, const struct sr_err *absent, struct sr_err *err)
{
	enum sr_status rc = sr_offline_open(&c->replica, c->a, true, err);

	if (rc == SR_E_BUSY || rc == SR_E_NOINPUT) {
		*err = *absent;
		return absent->code;
	}
	if (rc != SR_OK)
		return rc;
	fprintf(c->a->notes, "%s; its stores are read as they are now\n", absent->text);
	c->key = c->replica->key;
	c->nodes = c->replica->nodes;
	c->here_root = c->replica->root;
	return SR_OK;
}

static enum sr_status open_online(struct compare *c, struct sr_err *err)
{
	bool found = false;
	enum sr_status rc = sr_offline_key(c->local.state_dir, &c->key, &found, err);

	if (rc == SR_OK && !found)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "no round went through yet: there is nothing to compare");
	if (rc == SR_OK) {
		c->nodes = sr_nodes_new(&c->key);
		sr_nodes_limit(c->nodes, c->a->config->max_leaves);
	}
	return rc;
}

static enum sr_status open_sides(struct compare *c, struct sr_err *err)
{
	struct sr_buf ignored = {0};
	struct sr_err absent = {0};
	enum sr_status rc = sr_here_open(&c->local, c->a, err);

	if (rc == SR_OK)
		rc = sr_there_open(&c->contact, c->a->config, err);
	if (rc != SR_OK)
		return rc;
	c->there = sr_contact_client(c->contact);
	rc = sr_here_get(&c->local, "/readyz", SR_SHORT_ANSWER, &ignored, &absent); /* is there anybody? */
	sr_buf_free(&ignored);
	if (rc == SR_OK)
		return open_online(c, err);
	if (c->local.absent)
		return open_offline(c, &absent, err);
	*err = absent;
	return rc;
}

static void close_sides(struct compare *c)
{
	if (!c->replica)
		sr_nodes_free(c->nodes);
	sr_offline_close(c->replica);
	sr_here_close(&c->local);
	sr_contact_close(c->contact);
}

/* --- the command ------------------------------------------------------------------------------------------------------------------ */

enum sr_status sr_admin_diff(const struct sr_admin *given, int *status, struct sr_err *err)
{
	struct sr_admin a = *given;
	struct compare c = {.a = &a};
	struct sr_differences d = {0};
	enum sr_status rc;

	if (a.side == SR_SIDE_DATASTORE)
		return sr_err_set(err, SR_E_USAGE, "diff compares a webserver with its datastore: run it on the webserver");
	a.side = SR_SIDE_WEBSERVER;
	rc = open_sides(&c, err);
	if (rc == SR_OK)
		rc = take_both(&c, err);
	if (rc == SR_OK)
		rc = sr_differences_find(c.nodes, &c.here_root, &c.there_root, is_apart, &c, &d, err);
	if (rc == SR_OK) {
		if (a.json)
			sr_differences_json(&d, a.out);
		else
			sr_differences_show(&d, a.out);
		*status = d.n ? SR_EXIT_DIFFERENT : 0;
	}
	sr_differences_free(&d);
	sr_tree_info_free(&c.info);
	close_sides(&c);
	return rc;
}
