/* setup.c - see setup.h. */
#include "lib/admin/setup.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/certificate.h"
#include "lib/admin/conf.h"
#include "lib/admin/owner.h"
#include "lib/admin/unit.h"
#include "lib/base/file.h"
#include "lib/state/secret.h"
#include "lib/state/state.h"
#include "lib/store/store.h"
#include "lib/users/users.h"

static const char *state_dir(const struct sr_setup *s)
{
	return s->datastore ? s->config->datastore_state_directory : s->config->state_directory;
}

/* --- making one ------------------------------------------------------------------------------------------------------------------ */

static enum sr_status make_conf(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err)
{
	return sr_conf_write(item->path, s->conf, err);
}

static enum sr_status make_secret(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err)
{
	return s->secret ? sr_secret_put(item->path, s->secret, err) : sr_secret_ensure(item->path, NULL, err);
}

static enum sr_status make_state(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err)
{
	enum sr_status rc = sr_file_parents(item->path, err);

	(void)s;
	if (rc == SR_OK && mkdir(item->path, 0700) && errno != EEXIST)
		rc = sr_err_sys(err, SR_E_IO, "make %s", item->path);
	return rc;
}

static enum sr_status make_certificate(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err)
{
	char *key = sr_format("%s/key.pem", state_dir(s));
	enum sr_status rc = sr_certificate_ensure(item->path, key, s->datastore ? NULL : s->config->external.host, err);

	free(key);
	return rc;
}

static enum sr_status make_store(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err)
{
	static const uint8_t no_secret[SR_KEY_LEN]; /* nothing is hashed */
	const struct sr_config_store *c = item->store;
	struct sr_tree_key key;
	struct sr_store_options o = {.name = c->name,
				     .kind = c->kind == SR_CONFIG_SQLITE ? SR_KIND_DATABASE : SR_KIND_FILES,
				     .path = item->path,
				     .owner = c->owner,
				     .group = c->group,
				     .ours = s->datastore,
				     .key = &key};
	struct sr_store *store = NULL;
	enum sr_status rc;

	sr_tree_key_set(&key, no_secret);
	rc = sr_store_open(&store, &o, err);
	if (rc == SR_OK)
		rc = sr_store_create(store, err);
	sr_store_close(store);
	if (rc == SR_OK && s->schema && !s->config->admin_query)
		rc = c == &s->config->stores[SR_STORE_USERS]      ? sr_users_make(item->path, err)
		     : c == &s->config->stores[SR_STORE_WEBSTORE] ? sr_webstore_make(item->path, err)
								  : SR_OK;
	return rc == SR_OK ? rc : sr_err_context(err, "store %s", c->name);
}

static enum sr_status make_unit(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err)
{
	struct sr_buf text = {0};
	enum sr_status rc = SR_OK;

	sr_unit_text(&text, s->config, s->datastore);
	if (text.len)
		rc = sr_conf_write(item->path, sr_buf_view(&text), err);
	else if (unlink(item->path))
		rc = sr_err_sys(err, SR_E_IO, "remove %s", item->path);
	sr_buf_free(&text);
	return rc;
}

/* --- looking --------------------------------------------------------------------------------------------------------------------- */

static struct sr_setup_item *add(struct sr_setup *s, const char *what, const char *name, char *path)
{
	s->items = sr_realloc(s->items, (s->n + 1) * sizeof *s->items);
	s->items[s->n] = (struct sr_setup_item){
		.what = what, .name = name, .path = path, .is = access(path, F_OK) == 0 ? SR_SETUP_THERE : SR_SETUP_MISSING};
	return &s->items[s->n++];
}

/* Does state.db remember it? */
static enum sr_status was_ours(struct sr_state *state, const char *name, bool *yes, struct sr_err *err)
{
	struct sr_store_row row = {0};
	enum sr_status rc = state ? sr_state_store(state, name, &row, err) : SR_E_NOTFOUND;

	*yes = rc == SR_OK && !sr_uuid_none(&row.marker);
	return rc == SR_E_NOTFOUND ? SR_OK : rc;
}

static enum sr_status look_at_stores(struct sr_setup *s, struct sr_state *state, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->config->store_count; i++) {
		const struct sr_config_store *c = &s->config->stores[i];
		const char *path = s->datastore ? c->datastore_path : c->path;
		struct sr_setup_item *item;
		bool ours = false;

		if (!path)
			continue;
		item = add(s, "store", c->name, sr_strdup(path));
		item->store = c;
		item->make = make_store;
		if (item->is == SR_SETUP_MISSING)
			rc = was_ours(state, c->name, &ours, err);
		if (ours)
			item->is = SR_SETUP_LOST;
	}
	return rc;
}

static enum sr_status look_at_unit(struct sr_setup *s, struct sr_err *err)
{
	char *path = sr_unit_path(s->config->file, s->datastore);
	struct sr_buf now = {0}, want = {0};
	struct sr_setup_item *item;
	bool found;
	enum sr_status rc;

	if (!path)
		return SR_OK;
	rc = sr_conf_read(path, &now, &found, err);
	sr_unit_text(&want, s->config, s->datastore);
	if (rc == SR_OK && (found || want.len)) {
		item = add(s, "unit", sr_unit_name(s->datastore), path);
		path = NULL;
		item->make = make_unit;
		if (found && sr_bytes_cmp(sr_buf_view(&now), sr_buf_view(&want)) != 0)
			item->is = SR_SETUP_STALE;
	}
	sr_buf_free(&now);
	sr_buf_free(&want);
	free(path);
	return rc;
}

enum sr_status sr_setup_look(struct sr_setup *s, enum sr_setup_is conf_is, struct sr_err *err)
{
	const struct sr_config *c = s->config;
	struct sr_state *state = NULL;
	struct sr_setup_item *item = add(s, "configuration", NULL, sr_strdup(c->file));
	bool tls = s->datastore ? !c->datastore_insecure_disable_tls : !c->insecure_disable_https;
	enum sr_status rc;

	item->is = conf_is;
	item->make = make_conf;
	if (!c->control_auth && (s->datastore || s->secret))
		add(s, "secret", NULL, sr_strdup(c->control_auth_file))->make = make_secret;
	add(s, "state", NULL, sr_strdup(state_dir(s)))->make = make_state;
	if (tls && !c->certificate_file)
		add(s, "certificate", NULL, sr_format("%s/certificate.pem", state_dir(s)))->make = make_certificate;
	rc = sr_state_reader(&state, state_dir(s), err);
	if (rc == SR_OK || rc == SR_E_NOINPUT)
		rc = look_at_stores(s, state, err);
	if (rc == SR_OK)
		rc = look_at_unit(s, err);
	sr_state_close(state);
	return rc;
}

bool sr_setup_any(const struct sr_setup *s, enum sr_setup_is is)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].is == is)
			return true;
	return false;
}

bool sr_setup_misses(const struct sr_setup *s, size_t store)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].store == &s->config->stores[store])
			return s->items[i].is == SR_SETUP_MISSING;
	return false;
}

bool sr_setup_units_changed(const struct sr_setup *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].make == make_unit && s->items[i].is != SR_SETUP_THERE)
			return true;
	return false;
}

/* The first of the directories above it that is not there, or itself.  OWNED BY CALLER. */
static char *first_missing(const char *path)
{
	char *part = sr_strdup(path);

	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (access(part, F_OK) != 0)
			return part;
		*slash = '/';
	}
	return part;
}

/* See the head of setup.h. */
static bool is_given(const struct sr_setup *s, const struct sr_setup_item *item)
{
	return item->make == make_secret || (s->datastore && (item->make == make_state || item->make == make_certificate || item->make == make_store));
}

static enum sr_status make_item(struct sr_setup *s, struct sr_setup_item *item, struct sr_err *err)
{
	struct sr_owner owner = sr_owner_of(item->make == make_secret ? item->path : state_dir(s));
	char *top = first_missing(item->path);
	enum sr_status rc = item->make(s, item, err);

	if (is_given(s, item))
		sr_owner_give(&owner, item->make == make_certificate ? state_dir(s) : top);
	free(top);
	if (rc == SR_OK && item->is == SR_SETUP_MISSING)
		item->is = SR_SETUP_MADE;
	return rc;
}

enum sr_status sr_setup_make(struct sr_setup *s, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t i = 0; rc == SR_OK && i < s->n; i++) {
		enum sr_setup_is is = s->items[i].is;

		if (is == SR_SETUP_MISSING || is == SR_SETUP_ADDED || is == SR_SETUP_STALE)
			rc = make_item(s, &s->items[i], err);
	}
	return rc;
}

/* --- showing --------------------------------------------------------------------------------------------------------------------- */

void sr_setup_show(const struct sr_setup *s, bool made, FILE *out)
{
	static const char *const words[] = {
		[SR_SETUP_MISSING] = "missing", [SR_SETUP_THERE] = "there", [SR_SETUP_MADE] = "made", [SR_SETUP_LOST] = "lost"};

	for (size_t i = 0; i < s->n; i++) {
		const struct sr_setup_item *item = &s->items[i];
		char *what = item->name ? sr_format("%s %s", item->what, item->name) : sr_strdup(item->what);
		const char *word = item->is == SR_SETUP_ADDED	 ? (made ? "added to" : "to add to")
				   : item->is == SR_SETUP_STALE ? (made ? "updated" : "to update")
								: words[item->is];

		fprintf(out, "%-9s  %-18s  %s\n", word, what, item->path);
		free(what);
	}
	if (sr_setup_any(s, SR_SETUP_LOST))
		fputs("What is lost was here once, and is not made anew: see sameroot-recovery(7).\n", out);
	if (made && sr_setup_units_changed(s))
		fputs("systemd has to be told: `systemctl daemon-reload`, then restart the daemon if it runs.\n", out);
}

struct json_t *sr_setup_json(const struct sr_setup *s)
{
	static const char *const words[] = {[SR_SETUP_MISSING] = "missing",
					    [SR_SETUP_THERE] = "there",
					    [SR_SETUP_MADE] = "made",
					    [SR_SETUP_ADDED] = "added",
					    [SR_SETUP_STALE] = "updated",
					    [SR_SETUP_LOST] = "lost"};
	json_t *list = json_array();

	for (size_t i = 0; i < s->n; i++) {
		const struct sr_setup_item *item = &s->items[i];
		json_t *o = json_object();

		json_object_set_new(o, "what", json_string(item->what));
		if (item->name)
			json_object_set_new(o, "name", json_string(item->name));
		json_object_set_new(o, "path", json_string(item->path));
		json_object_set_new(o, "is", json_string(words[item->is]));
		json_array_append_new(list, o);
	}
	return list;
}

void sr_setup_free(struct sr_setup *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i].path);
	free(s->items);
	s->items = NULL;
	s->n = 0;
}
