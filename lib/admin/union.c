/* union.c - see union.h.  A webserver is asked at its sync port, under the key that it told the registry; never one whose key is not known. */
#include "lib/admin/union.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/admin/diff.h"
#include "lib/admin/offline.h"
#include "lib/replica/keypair.h"
#include "lib/replica/fetch.h"
#include "lib/state/secret.h"

#define CONNECT_MS 3000
#define TOTAL_MS   30000 /* of one call */

struct sides {
	const struct sr_admin *a;
	struct sr_here *h;
	struct sr_tree_key key;
	struct sr_nodes *nodes;
	struct sr_hash here;
	char *secret;
};

static const char *text(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* --- one webserver ---------------------------------------------------------------------------------------------------------- */

static enum sr_status open_client(const struct sides *s, const json_t *w, struct sr_client **out, struct sr_err *err)
{
	bool plain = s->a->config->insecure_disable_https;
	const char *peer = text(w, "peer"), *pin = text(w, "pin");
	long long port = (long long)json_integer_value(json_object_get(w, "sync_port"));
	struct sr_client_options o = {.bearer = s->secret, .pin = plain ? NULL : pin, .connect_ms = CONNECT_MS, .total_ms = TOTAL_MS};
	struct sr_keypair shown = {0};
	char *url;
	enum sr_status rc;

	if (!peer || !port)
		return sr_err_set(err, SR_E_UNAVAILABLE, "it did not tell where it listens");
	if (!plain && !pin)
		return sr_err_set(err, SR_E_AUTH, "it did not tell its key");
	url = sr_format(strchr(peer, ':') ? "%s://[%s]:%lld" : "%s://%s:%lld", plain ? "http" : "https", peer, port);
	o.url = url;
	rc = sr_keypair_shown(s->a->config, true, &shown, err);
	o.certificate = shown.certificate;
	o.key = shown.key;
	if (rc == SR_OK)
		rc = sr_client_new(out, &o, err);
	sr_keypair_free(&shown);
	free(url);
	return rc;
}

static uint64_t leaves_of(const struct sr_nodes *nodes, const struct sr_version *v)
{
	uint64_t leaves = 0, bytes;

	if (v->kind == SR_KIND_FILE || v->kind == SR_KIND_ROW)
		return 1;
	if (v->kind != SR_KIND_FILES && v->kind != SR_KIND_DATABASE) /* a directory's or a table's own leaves are named one by one */
		return 0;
	return sr_map_counts(nodes, &v->hash, &leaves, &bytes) == SR_OK ? leaves : 0;
}

static json_t *count(const struct sides *s, const struct sr_differences *d)
{
	uint64_t here = 0, there = 0, different = 0, all = 0, bytes;

	for (size_t i = 0; i < d->n; i++) {
		uint64_t mine = leaves_of(s->nodes, &d->at[i].here), theirs = leaves_of(s->nodes, &d->at[i].there);

		different += mine < theirs ? mine : theirs;
		here += mine > theirs ? mine - theirs : 0;
		there += theirs > mine ? theirs - mine : 0;
	}
	if (sr_map_counts(s->nodes, &s->here, &all, &bytes) != SR_OK || all < here + different)
		all = here + different;
	return json_pack("{sIsIsIsI}", "equal", (json_int_t)(all - here - different), "here", (json_int_t)here, "there", (json_int_t)there, "different",
			 (json_int_t)different);
}

static enum sr_status compare(struct sides *s, const json_t *w, json_t **out, struct sr_err *err)
{
	struct sr_differences d = {0};
	struct sr_client *client = NULL;
	struct sr_tree_info info = {0};
	enum sr_status rc = open_client(s, w, &client, err);

	if (rc == SR_OK)
		rc = sr_fetch_tree(client, &info, err);
	if (rc == SR_OK && !sr_hash_eq(&info.key_id, &s->key.id))
		rc = sr_err_set(err, SR_E_HELD, "it has another tree key, as one of another datastore");
	if (rc == SR_OK)
		rc = sr_fetch_nodes(s->nodes, client, &info.at.root, &s->here, NULL, NULL, err);
	if (rc == SR_OK)
		rc = sr_differences_find(s->nodes, &s->here, &info.at.root, NULL, NULL, &d, err);
	if (rc == SR_OK)
		*out = count(s, &d);
	sr_differences_free(&d);
	sr_tree_info_free(&info);
	sr_client_free(client);
	return rc;
}

/* --- the datastore, and all of them ----------------------------------------------------------------------------------------- */

static enum sr_status open_here(struct sides *s, struct sr_err *err)
{
	static const struct sr_hash nothing;
	struct sr_tree_info info = {0};
	bool found = false;
	enum sr_status rc = sr_offline_key(s->h->state_dir, &s->key, &found, err);

	if (rc == SR_OK && !found)
		rc = sr_err_set(err, SR_E_UNAVAILABLE, "the datastore has no tree yet");
	if (rc == SR_OK)
		rc = sr_config_secret(s->a->config, &s->secret, err);
	if (rc != SR_OK)
		return rc;
	s->nodes = sr_nodes_new(&s->key);
	sr_nodes_limit(s->nodes, s->a->config->max_leaves);
	rc = sr_fetch_tree(s->h->client, &info, err);
	if (rc == SR_OK)
		rc = sr_fetch_nodes(s->nodes, s->h->client, &info.at.root, &nothing, NULL, NULL, err);
	s->here = info.at.root;
	sr_tree_info_free(&info);
	return rc;
}

void sr_union_compare(const struct sr_admin *a, struct sr_here *h, json_t *webservers)
{
	struct sides s = {.a = a, .h = h};
	struct sr_err err = {0};
	enum sr_status open = json_array_size(webservers) ? open_here(&s, &err) : SR_OK;
	json_t *w;

	for (size_t i = 0; (w = json_array_get(webservers, i)); i++) {
		json_t *counts = NULL;
		bool done = open == SR_OK && compare(&s, w, &counts, &err) == SR_OK;

		json_object_set_new(w, "compared", done ? counts : json_null());
		json_object_set_new(w, "why_not", done ? json_null() : json_string(err.text));
	}
	sr_nodes_free(s.nodes);
	sr_secret_free(s.secret);
	explicit_bzero(&s.key, sizeof s.key);
}
