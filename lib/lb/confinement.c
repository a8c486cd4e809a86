/* confinement.c - see confinement.h.  Its HAProxy inherits all of it, and may do no more: so what that needs is allowed here, too. */
#include "lib/lb/confinement.h"

#include <linux/capability.h>
#include <stdlib.h>

#include "lib/admin/confine.h"
#include "lib/base/log.h"

static const struct {
	const char *key;
	size_t at; /* a char *, NULL: not given */
	enum sr_sandbox_right right;
} paths[] = {
	{"the configuration", offsetof(struct sr_lb_conf, file), SR_SANDBOX_READ},
	{"Control-Secret-File", offsetof(struct sr_lb_conf, control_secret_file), SR_SANDBOX_READ},
	{"Certificate-File", offsetof(struct sr_lb_conf, certificate_file), SR_SANDBOX_READ},
	{"Key-File", offsetof(struct sr_lb_conf, key_file), SR_SANDBOX_READ},
	{"Client-Certificate-File", offsetof(struct sr_lb_conf, client_certificate_file), SR_SANDBOX_READ},
	{"Client-Key-File", offsetof(struct sr_lb_conf, client_key_file), SR_SANDBOX_READ},
	{"Datastore-CA-File", offsetof(struct sr_lb_conf, datastore_ca_file), SR_SANDBOX_READ},
	{"HAProxy", offsetof(struct sr_lb_conf, haproxy), SR_SANDBOX_RUN},
	{"HAProxy-Config", offsetof(struct sr_lb_conf, haproxy_config), SR_SANDBOX_WRITE},
};
#define PATHS (sizeof paths / sizeof *paths)

static const char *path_of(const struct sr_lb_conf *conf, size_t i)
{
	return *(char *const *)((const char *)conf + paths[i].at);
}

static struct sr_sandbox *sandbox_for(const struct sr_lb_conf *conf)
{
	/* HAProxy binds, becomes its user, signals what runs as that, and raises its limit of open files. */
	static const int rights[] = {CAP_NET_BIND_SERVICE, CAP_SETUID, CAP_SETGID, CAP_KILL, CAP_SYS_RESOURCE, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER};
	static const char *const programs[] = {"/usr", "/lib", "/lib64"};
	struct sr_sandbox *s = sr_sandbox_new();

	sr_confine_system(s);
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
		sr_sandbox_allow_there(s, programs[i], SR_SANDBOX_RUN);
	for (size_t i = 0; i < PATHS; i++)
		if (path_of(conf, i))
			sr_confine_beside(s, path_of(conf, i), paths[i].right);
	sr_sandbox_allow(s, conf->state_directory, SR_SANDBOX_WRITE);
	sr_sandbox_allow_programs(s);
	for (size_t i = 0; i < sizeof rights / sizeof *rights; i++)
		sr_sandbox_keep(s, rights[i]);
	sr_confine_temporary(s, conf->state_directory);
	return s;
}

struct sr_sandbox *sr_lb_confine(const struct sr_lb_conf *conf)
{
	struct sr_sandbox *s = conf->sandbox ? sandbox_for(conf) : NULL;

	sr_confine_enter(s);
	return s;
}

enum sr_status sr_lb_confine_check(const struct sr_sandbox *sandbox, const struct sr_lb_conf *fresh, struct sr_err *err)
{
	for (size_t i = 0; sandbox && i < PATHS; i++)
		if (path_of(fresh, i) && !sr_sandbox_covers(sandbox, path_of(fresh, i), paths[i].right))
			return sr_err_set(err, SR_E_CONFIG, "%s: %s is out of reach of this process since its start (Sandbox): restart it to take that", paths[i].key,
					  path_of(fresh, i));
	return SR_OK;
}
