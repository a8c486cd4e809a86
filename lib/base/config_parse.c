/* config_parse.c - what the sections of sameroot.conf are, and the checks that need more than one line of it.  Its syntax is config_ini.c's. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/config.h"
#include "lib/base/config_ini.h"
#include "lib/base/location.h"

#define STORES_MOST 256

struct parse {
	struct sr_ini ini; /* the first */
	struct sr_config *config;
};

/* ---- sections ---- */

static bool store_name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len > 0 && len <= SR_STORE_NAME_MOST && name[0] != '.' && strspn(name, allowed) == len;
}

/* sr_ini.open.  Section i + 1 is stores[i]. */
static size_t open_store(struct sr_ini *ini, const char *word, const char *name)
{
	struct parse *p = (struct parse *)ini;
	struct sr_config *config = p->config;
	size_t at;

	(void)word;

	if (!store_name_valid(name)) {
		sr_ini_fault(ini, ini->line_number, "a store's name is 1 to %d of A-Z a-z 0-9 . _ - and does not start with a dot",
			     SR_STORE_NAME_MOST);
		return 0;
	}
	for (at = 0; at < config->store_count; at++) {
		const struct sr_config_store *s = &config->stores[at];

		if (strcmp(s->name, name) == 0)
			break;
		if (strcasecmp(s->name, name) == 0) {
			sr_ini_fault(ini, ini->line_number, "store \"%s\" differs from \"%s\" in case only", name, s->name);
			return 0;
		}
	}
	if (at == config->store_count) {
		size_t n = config->store_count + 1;

		if (n > STORES_MOST) {
			sr_ini_fault(ini, ini->line_number, "more than %d stores", STORES_MOST);
			return 0;
		}
		config->store_count = n;
		config->stores = sr_realloc(config->stores, n * sizeof(*config->stores));
		config->stores[n - 1] = (struct sr_config_store){.name = sr_strdup(name)};
	}
	if (!config->stores[at].line)
		config->stores[at].line = ini->line_number;
	return at + 1;
}

/* sr_ini.owner */
static void *owner(struct sr_ini *ini, const struct sr_config_key *key, size_t section)
{
	struct sr_config *config = ((struct parse *)ini)->config;

	if (section)
		return &config->stores[section - 1];
	return key->store >= 0 ? (void *)&config->stores[key->store] : config;
}

/* User-DB-Path and the Path of [store "users.db"] are one thing: the line on which the other of the two was given, or 0. */
static int twin_line(const struct sr_ini *ini, const struct sr_config_key *key, const char **name)
{
	bool in_store = ini->section > 0;
	int store = in_store ? (int)ini->section - 1 : key->store;

	if (key->type != SR_VALUE_PATH || store < 0 || store >= SR_STORES_FIXED)
		return 0;
	for (const struct sr_config_key *k = ini->keys; k < ini->keys + ini->count; k++)
		if (k->type == SR_VALUE_PATH && k->offset == key->offset && k->store == (in_store ? store : SR_KEY_STORE)) {
			*name = k->name;
			return sr_ini_line(ini, k->name, in_store ? 0 : (size_t)store + 1);
		}
	return 0;
}

/* sr_ini.set */
static void set(struct sr_ini *ini, const struct sr_config_key *key, void *at)
{
	const char *twin_name = "";
	int twin = twin_line(ini, key, &twin_name);
	char *before = twin ? sr_strdup(*(char **)at) : NULL;

	sr_ini_set(ini, key, at);
	if (twin && strcmp(before, *(char **)at) != 0)
		sr_ini_fault(ini, ini->line_number, "%s contradicts %s on line %d", key->name, twin_name, twin);
	free(before);
}

/* ---- checks over the whole ---- */

static int given_line(struct parse *p, const char *name)
{
	return sr_ini_line(&p->ini, name, 0);
}

static void check_pairs(struct parse *p)
{
	const struct sr_config *config = p->config;

	if (config->datastore.host && !config->external.host)
		sr_ini_fault(&p->ini, given_line(p, "Datastore"), "Datastore needs External-Addr too, the address that others reach this webserver at");
	else if (config->certificate_file && !config->key_file)
		sr_ini_fault(&p->ini, given_line(p, "Certificate-File"), "Certificate-File needs Key-File too");
	else if (config->key_file && !config->certificate_file)
		sr_ini_fault(&p->ini, given_line(p, "Key-File"), "Key-File needs Certificate-File too");
	else if (config->client_certificate_file && !config->client_key_file)
		sr_ini_fault(&p->ini, given_line(p, "Client-Certificate-File"), "Client-Certificate-File needs Client-Key-File too");
	else if (config->client_key_file && !config->client_certificate_file)
		sr_ini_fault(&p->ini, given_line(p, "Client-Key-File"), "Client-Key-File needs Client-Certificate-File too");
	else if (config->client_ca_file && config->datastore_insecure_disable_tls && config->insecure_disable_https)
		sr_ini_fault(&p->ini, given_line(p, "Client-CA-File"), "Client-CA-File is for TLS, which is disabled for both daemons");
	else if (config->lb_recognition_period >= config->shutdown_timeout)
		sr_ini_fault(&p->ini, given_line(p, given_line(p, "Shutdown-Timeout") ? "Shutdown-Timeout" : "Lb-Recognition-Period"),
			     "Lb-Recognition-Period (%llu seconds) leaves nothing of Shutdown-Timeout (%llu seconds)",
			     (unsigned long long)config->lb_recognition_period, (unsigned long long)config->shutdown_timeout);
	else if (config->max_lag && config->max_lag < 2 * config->update_interval)
		sr_ini_fault(&p->ini, given_line(p, "Max-Lag"), "Max-Lag must be two of Datastore-Update-Interval or more: it is known no sooner");
}

static void check_store(struct parse *p, struct sr_config_store *store)
{
	if (store->kind == SR_CONFIG_NO_KIND)
		sr_ini_fault(&p->ini, store->line, "store \"%s\" needs Kind=sqlite or Kind=files", store->name);
	else if (!store->path && !store->datastore_path)
		sr_ini_fault(&p->ini, store->line, "store \"%s\" needs Path, Datastore-Path or both", store->name);
	if (!store->max_delete_percent.own)
		store->max_delete_percent.value = p->config->max_delete_percent;
	if (!store->max_delete_count.own)
		store->max_delete_count.value = p->config->max_delete_count;
}

/* ---- no path inside another ---- */

enum role {
	ROLE_STORE, /* nothing of ours may lie in it, nor it in another */
	ROLE_STATE, /* each daemon its own */
	ROLE_APART, /* may lie anywhere but in a store, where it would be synchronised */
};

struct place {
	enum role role;
	const char *key, *store; /* store NULL: a key of [global] */
	const char *path;
	struct sr_location at;
	int line;
};

static bool lies_in(const struct place *inner, const struct place *outer)
{
	return sr_location_in(&inner->at, &outer->at);
}

static bool collide(const struct place *a, const struct place *b)
{
	if (a->role == ROLE_STORE && b->role == ROLE_STORE)
		return lies_in(a, b) || lies_in(b, a);
	if (a->role == ROLE_STORE || b->role == ROLE_STORE)
		return a->role == ROLE_STORE ? lies_in(b, a) : lies_in(a, b);
	return a->role == ROLE_STATE && b->role == ROLE_STATE && lies_in(a, b) && lies_in(b, a);
}

static void add_place(struct place *places, size_t *count, struct place place)
{
	if (!place.path)
		return;
	place.at = sr_location(place.path);
	places[(*count)++] = place;
}

static void name_place(struct sr_buf *out, const struct place *place, bool with_line)
{
	sr_buf_printf(out, "%s %s", place->key, place->path);
	if (place->store)
		sr_buf_printf(out, " of store \"%s\"", place->store);
	if (with_line && place->line)
		sr_buf_printf(out, " (line %d)", place->line);
	else if (with_line)
		sr_buf_printf(out, " (its default)");
}

static void places_fault(struct parse *p, const struct place *a, const struct place *b)
{
	struct sr_buf text = {0};

	if (a->line < b->line) { /* the later line is the offending one */
		const struct place *other = a;

		a = b;
		b = other;
	}
	name_place(&text, a, false);
	sr_buf_printf(&text, lies_in(a, b) && lies_in(b, a) ? " is the same as " : lies_in(a, b) ? " lies inside " : " contains ");
	name_place(&text, b, true);
	sr_ini_fault(&p->ini, a->line, "%s", sr_buf_text(&text));
	sr_buf_free(&text);
}

/* The line of a fixed store's path is that of its [global] key or of its section, whichever was given. */
static struct place store_place(struct parse *p, size_t store, bool datastore)
{
	static const char *const global[SR_STORES_FIXED][2] = {
		{"User-DB-Path", "Datastore-User-DB-Path"},
		{"Web-Store-Path", "Datastore-Web-Store-Path"},
		{"Webserver-Resource-Store", "Datastore-Resource-Store"},
	};
	const struct sr_config_store *s = &p->config->stores[store];
	struct place place = {.role = ROLE_STORE, .key = datastore ? "Datastore-Path" : "Path", .store = s->name};

	place.path = datastore ? s->datastore_path : s->path;
	place.line = sr_ini_line(&p->ini, place.key, store + 1);
	if (!place.line && store < SR_STORES_FIXED) {
		place.key = global[store][datastore];
		place.store = NULL;
		place.line = given_line(p, place.key);
	}
	return place;
}

static void check_places(struct parse *p)
{
	const struct sr_config *c = p->config;
	const struct place apart[] = {
		{.role = ROLE_STATE, .key = "State-Directory", .path = c->state_directory},
		{.role = ROLE_STATE, .key = "Datastore-State-Directory", .path = c->datastore_state_directory},
		{.role = ROLE_APART, .key = "Results-Directory", .path = c->results_directory},
		{.role = ROLE_APART, .key = "Control-Auth-File", .path = c->control_auth_file},
		{.role = ROLE_APART, .key = "Key-File", .path = c->key_file},
		{.role = ROLE_APART, .key = "Client-Key-File", .path = c->client_key_file},
	};
	const size_t n_apart = sizeof(apart) / sizeof(*apart);
	struct place *places = sr_alloc((2 * c->store_count + n_apart) * sizeof(*places));
	size_t count = 0;

	for (size_t i = 0; i < c->store_count; i++) {
		add_place(places, &count, store_place(p, i, false));
		add_place(places, &count, store_place(p, i, true));
	}
	for (size_t i = 0; i < n_apart; i++) {
		struct place place = apart[i];

		place.line = given_line(p, place.key);
		add_place(places, &count, place);
	}
	for (size_t i = 0; i < count && p->ini.status == SR_OK; i++)
		for (size_t j = i + 1; j < count && p->ini.status == SR_OK; j++)
			if (collide(&places[i], &places[j]))
				places_fault(p, &places[i], &places[j]);
	for (size_t i = 0; i < count; i++)
		sr_location_free(&places[i].at);
	free(places);
}

/* ---- the whole ---- */

enum sr_status sr_config_parse(struct sr_config **out, FILE *in, const char *name, struct sr_err *err)
{
	static const char *const words[] = {"store", NULL};
	struct parse p = {.ini = {.file = name, .words = words, .open = open_store, .owner = owner, .set = set, .err = err},
			  .config = sr_config_defaults(name)};
	enum sr_status status;

	p.ini.keys = sr_config_keys(&p.ini.count);
	if (sr_ini_read(&p.ini, in) == SR_OK)
		check_pairs(&p);
	for (size_t i = 0; i < p.config->store_count && p.ini.status == SR_OK; i++)
		check_store(&p, &p.config->stores[i]);
	if (p.ini.status == SR_OK)
		check_places(&p);
	status = p.ini.status;
	if (status == SR_OK)
		*out = p.config;
	else
		sr_config_free(p.config);
	sr_ini_done(&p.ini);
	return status;
}

enum sr_status sr_config_load(struct sr_config **out, const char *path, struct sr_err *err)
{
	const char *name = path ? path : SR_CONFIG_DEFAULT_FILE;
	FILE *in;
	enum sr_status status = sr_ini_open(&in, name, path != NULL, err);

	if (status != SR_OK)
		return status;
	status = sr_config_parse(out, in, name, err);
	if (in)
		fclose(in);
	return status;
}
