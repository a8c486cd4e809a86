/* config_source.c - may what lies at a path be read as the content of a store?  Not if that is another thing's, or has one in it. */
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/config.h"
#include "lib/base/location.h"

static enum sr_status check(const char *path, const char *what, const char *store, const char *named, struct sr_err *err)
{
	struct sr_location at, other;
	bool in, around;

	if (!named)
		return SR_OK;
	at = sr_location(path);
	other = sr_location(named);
	in = sr_location_in(&at, &other);
	around = sr_location_in(&other, &at);
	sr_location_free(&at);
	sr_location_free(&other);
	return in || around ? sr_err_set(err, SR_E_USAGE, "%s %s %s%s%s, %s", path,
					 in && around ? "is" : in ? "lies inside" : "contains", what, store ? " " : "", store ? store : "", named)
			    : SR_OK;
}

/* What an earlier restore of it has put aside. */
static bool is_aside(const struct sr_location *at, const char *path)
{
	static const char aside[] = ".before-restore-";
	struct sr_location of = sr_location(path);
	size_t n = strlen(of.plain), len = strlen(of.real);
	bool yes = (!strncmp(at->plain, of.plain, n) && !strncmp(at->plain + n, aside, sizeof aside - 1) && !strchr(at->plain + n, '/')) ||
		   (!strncmp(at->real, of.real, len) && !strncmp(at->real + len, aside, sizeof aside - 1) && !strchr(at->real + len, '/'));

	sr_location_free(&of);
	return yes;
}

/* A datastore may be restored from the webserver beside it. */
static bool is_own(const struct sr_config_store *c, const char *path)
{
	struct sr_location at = sr_location(path), own = sr_location(c->path ? c->path : "");
	bool yes = c->path && sr_location_in(&at, &own) && sr_location_in(&own, &at);

	yes = yes || (c->path && is_aside(&at, c->path)) || (c->datastore_path && is_aside(&at, c->datastore_path));
	sr_location_free(&at);
	sr_location_free(&own);
	return yes;
}

enum sr_status sr_config_check_source(const struct sr_config *c, const char *store, const char *path, struct sr_err *err)
{
	const struct {
		const char *what, *path;
	} places[] = {
		{"State-Directory", c->state_directory},
		{"Datastore-State-Directory", c->datastore_state_directory},
		{"Results-Directory", c->results_directory},
		{"Control-Auth-File", c->control_auth_file},
	};
	struct sr_config_file certificates[SR_CONFIG_CERTIFICATES];
	const struct sr_config_store *own = sr_config_store(c, store);
	enum sr_status rc = SR_OK;

	if (own && is_own(own, path))
		return SR_OK;
	for (size_t i = 0; rc == SR_OK && i < sizeof places / sizeof *places; i++)
		rc = check(path, places[i].what, NULL, places[i].path, err);
	sr_config_certificates(c, certificates);
	for (size_t i = 0; rc == SR_OK && i < SR_CONFIG_CERTIFICATES; i++)
		rc = check(path, certificates[i].key, NULL, certificates[i].path, err);
	if (rc == SR_OK)
		rc = check(path, "the configuration", NULL, c->file, err);
	for (size_t i = 0; rc == SR_OK && i < c->store_count; i++) {
		rc = check(path, "the datastore's store", c->stores[i].name, c->stores[i].datastore_path, err);
		if (rc == SR_OK)
			rc = check(path, "the webserver's store", c->stores[i].name, c->stores[i].path, err);
	}
	return rc;
}
