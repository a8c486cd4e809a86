/* unit.c - see unit.h.
 *
 * Of a database it is the directory that has to be writable, for the -wal and -shm beside it. */
#include "lib/admin/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/location.h"

#define UNITS "/etc/systemd/system"
#define HERE  "/var/lib/sameroot"

const char *sr_unit_name(bool datastore)
{
	return datastore ? "sameroot-datastore.service" : "sameroot-sync.service";
}

char *sr_unit_path(const char *conf, bool datastore)
{
	size_t len = strlen(conf), end = strlen(SR_CONFIG_DEFAULT_FILE);
	int root = (int)(len - end);
	struct stat st;
	char *units, *out = NULL;

	if (conf[0] != '/' || len < end || strcmp(conf + root, SR_CONFIG_DEFAULT_FILE) != 0)
		return NULL;
	units = sr_format("%.*s" UNITS, root, conf);
	if (stat(units, &st) == 0 && S_ISDIR(st.st_mode))
		out = sr_format("%s/%s.d/stores.conf", units, sr_unit_name(datastore));
	free(units);
	return out;
}

/* --- which paths ----------------------------------------------------------------------------------------------------------------- */

struct paths {
	char **at;
	size_t n;
};

static bool inside(const char *path, const char *directory)
{
	struct sr_location in = sr_location(path), out = sr_location(directory);
	bool yes = sr_location_in(&in, &out);

	sr_location_free(&in);
	sr_location_free(&out);
	return yes;
}

/* CONSUMES path.  Of one inside another only the outer one is kept. */
static void add(struct paths *p, char *path)
{
	size_t kept = 0;

	if (inside(path, HERE)) {
		free(path);
		return;
	}
	for (size_t i = 0; i < p->n; i++)
		if (inside(path, p->at[i])) {
			free(path);
			return;
		}
	for (size_t i = 0; i < p->n; i++) {
		if (inside(p->at[i], path))
			free(p->at[i]);
		else
			p->at[kept++] = p->at[i];
	}
	p->at = sr_realloc(p->at, (kept + 1) * sizeof *p->at);
	p->at[kept++] = path;
	p->n = kept;
}

/* "/" for what lies there: the whole machine then, but it was asked for. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == path ? sr_strdup("/") : sr_format("%.*s", (int)(slash - path), path);
}

static void collect(struct paths *p, const struct sr_config *c, bool datastore)
{
	for (size_t i = 0; i < c->store_count; i++) {
		const char *path = datastore ? c->stores[i].datastore_path : c->stores[i].path;

		if (path)
			add(p, c->stores[i].kind == SR_CONFIG_SQLITE ? directory_of(path) : sr_strdup(path));
	}
	add(p, sr_strdup(datastore ? c->datastore_state_directory : c->state_directory));
	if (datastore && !c->control_auth) /* it makes it, where there is none */
		add(p, directory_of(c->control_auth_file));
}

/* --- the text -------------------------------------------------------------------------------------------------------------------- */

/* As systemd.syntax(7) quotes; one that is not there yet is no fault. */
static void add_path(struct sr_buf *out, const char *path)
{
	sr_buf_printf(out, "ReadWritePaths=\"-");
	for (; *path; path++) {
		if (*path == '"' || *path == '\\')
			sr_buf_byte(out, '\\');
		if (*path == '%')
			sr_buf_byte(out, '%');
		sr_buf_byte(out, (uint8_t)*path);
	}
	sr_buf_printf(out, "\"\n");
}

static bool any_inside(const struct paths *p, const char *const *directories)
{
	for (; *directories; directories++)
		for (size_t i = 0; i < p->n; i++)
			if (inside(p->at[i], *directories))
				return true;
	return false;
}

void sr_unit_text(struct sr_buf *out, const struct sr_config *config, bool datastore)
{
	static const char *const homes[] = {"/home", "/root", "/run/user", NULL}, *const private[] = {"/tmp", "/var/tmp", NULL};
	struct paths p = {0};

	collect(&p, config, datastore);
	if (p.n)
		sr_buf_printf(out, "# Written by `sameroot init` and `sameroot join` from sameroot.conf: what the daemon writes to outside " HERE ".\n"
				   "# Do not edit it: say it again when paths have changed, then `systemctl daemon-reload`.\n[Service]\n");
	for (size_t i = 0; i < p.n; i++)
		add_path(out, p.at[i]);
	if (any_inside(&p, homes))
		sr_buf_printf(out, "ProtectHome=read-only\n");
	if (any_inside(&p, private))
		sr_buf_printf(out, "PrivateTmp=no\n");
	for (size_t i = 0; i < p.n; i++)
		free(p.at[i]);
	free(p.at);
}
