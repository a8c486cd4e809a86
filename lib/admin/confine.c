/* confine.c - see confine.h.
 *
 * Of a store its directory is allowed, not the store: it may be moved away and put back, or mounted, while the daemon runs, and is then another one. */
#include "lib/admin/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/location.h"
#include "lib/base/log.h"

#define PRIVILEGED_PORTS 1024

/* --- paths ----------------------------------------------------------------------------------------------------------------------- */

typedef void path_fn(void *ctx, const char *key, const char *path, enum sr_sandbox_right right);

/* OWNED BY CALLER.  Of what lies in the root directory it is that itself, if it is there: else the whole machine would be allowed. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (slash != path)
		return sr_text(sr_bytes(path, (size_t)(slash - path)));
	return sr_strdup(stat(path, &st) == 0 ? path : "/");
}

void sr_confine_beside(struct sr_sandbox *s, const char *path, enum sr_sandbox_right right)
{
	struct sr_location at = sr_location(path);
	char *plain = directory_of(*at.plain ? at.plain : "/"), *real = directory_of(*at.real ? at.real : "/");

	sr_sandbox_allow(s, plain, right);
	if (strcmp(plain, real) != 0)
		sr_sandbox_allow(s, real, right);
	free(plain);
	free(real);
	sr_location_free(&at);
}

static void each_certificate(const struct sr_config *c, path_fn *fn, void *ctx)
{
	struct sr_config_file all[SR_CONFIG_CERTIFICATES];

	sr_config_certificates(c, all);
	for (size_t i = 0; i < SR_CONFIG_CERTIFICATES; i++)
		if (all[i].path)
			fn(ctx, all[i].key, all[i].path, SR_SANDBOX_READ);
}

/* Those that the configuration names. */
static void each_path(const struct sr_config *c, bool datastore, path_fn *fn, void *ctx)
{
	for (size_t i = 0; i < c->store_count; i++) {
		const char *path = datastore ? c->stores[i].datastore_path : c->stores[i].path;

		if (path)
			fn(ctx, c->stores[i].name, path, SR_SANDBOX_WRITE);
	}
	fn(ctx, "the configuration", c->file, SR_SANDBOX_READ);
	if (!c->control_auth) /* a datastore makes it, where there is none */
		fn(ctx, "Control-Auth-File", c->control_auth_file,
		   datastore && access(c->control_auth_file, F_OK) != 0 && errno == ENOENT ? SR_SANDBOX_WRITE : SR_SANDBOX_READ);
	each_certificate(c, fn, ctx);
	if (!datastore && c->results_directory)
		fn(ctx, "Results-Directory", c->results_directory, SR_SANDBOX_READ);
}

static void allow_beside(void *ctx, const char *key, const char *path, enum sr_sandbox_right right)
{
	(void)key;
	sr_confine_beside(ctx, path, right);
}

void sr_confine_system(struct sr_sandbox *s)
{
	static const char *const read[] = {"/etc", "/usr", "/lib", "/lib64", "/run", "/proc", "/sys/devices/system/cpu", "/var/lib/sss", "/dev/urandom", NULL};

	for (const char *const *path = read; *path; path++)
		sr_sandbox_allow_there(s, *path, SR_SANDBOX_READ);
	sr_sandbox_allow(s, "/dev/null", SR_SANDBOX_WRITE);
}

void sr_confine_temporary(struct sr_sandbox *s, const char *state)
{
	setenv("SQLITE_TMPDIR", state, 0);
	sr_sandbox_allow(s, getenv("SQLITE_TMPDIR"), SR_SANDBOX_WRITE);
}

/* --- entering -------------------------------------------------------------------------------------------------------------------- */

static void allow_port(struct sr_sandbox *s, uint16_t port)
{
	sr_sandbox_allow_port(s, port);
	if (port && port < PRIVILEGED_PORTS)
		sr_sandbox_keep(s, CAP_NET_BIND_SERVICE);
}

void sr_confine_enter(struct sr_sandbox *s)
{
	struct sr_buf what = {0};

	if (s)
		sr_sandbox_enter(s, &what);
	sr_info("sandbox: %s", s ? sr_buf_text(&what) : "none (Sandbox=false)");
	sr_buf_free(&what);
}

static struct sr_sandbox *sandbox_for(const struct sr_config *c, bool datastore)
{
	struct sr_sandbox *s = sr_sandbox_new();
	const char *state = datastore ? c->datastore_state_directory : c->state_directory;

	sr_confine_system(s);
	each_path(c, datastore, allow_beside, s);
	sr_sandbox_allow(s, state, SR_SANDBOX_WRITE);
	allow_port(s, datastore ? c->datastore_port : c->sync_port);
	/* As the units have them: to reach what belongs to an application's user, and to leave it his. */
	sr_sandbox_keep(s, CAP_CHOWN);
	sr_sandbox_keep(s, CAP_DAC_OVERRIDE);
	sr_sandbox_keep(s, CAP_FOWNER);
	sr_confine_temporary(s, state);
	return s;
}

enum sr_status sr_confine(struct sr_confinement *out, const struct sr_config *config, bool datastore, bool hooks, struct sr_err *err)
{
	struct sr_confinement c = {.datastore = datastore};
	enum sr_status rc = SR_OK;

	if (config->sandbox && hooks && config->shutdown_hook.count)
		rc = sr_spawner_start(&c.spawner, err);
	if (rc != SR_OK)
		return rc;
	if (config->sandbox)
		c.sandbox = sandbox_for(config, datastore);
	sr_confine_enter(c.sandbox);
	*out = c;
	return SR_OK;
}

static void check_path(void *ctx, const char *key, const char *path, enum sr_sandbox_right right)
{
	const struct sr_confinement *c = ctx;

	if (!sr_sandbox_covers(c->sandbox, path, right))
		sr_error("reload: %s: %s is out of reach of this process since its start (Sandbox): restart the daemon to take it", key, path);
}

void sr_confine_check(const struct sr_confinement *c, const struct sr_config *fresh)
{
	if (c->sandbox)
		each_path(fresh, c->datastore, check_path, (void *)(uintptr_t)c);
}

void sr_confine_end(struct sr_confinement *c)
{
	sr_spawner_stop(c->spawner);
	sr_sandbox_free(c->sandbox);
	*c = (struct sr_confinement){0};
}
