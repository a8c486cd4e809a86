/* confine.h - a daemon gives up what it does not need (lib/base/sandbox.h): which paths, ports and rights a configuration asks for. */
#ifndef SR_ADMIN_CONFINE_H
#define SR_ADMIN_CONFINE_H

#include "lib/base/config.h"
#include "lib/base/sandbox.h"
#include "lib/node/spawn.h"

struct sr_confinement { /* {0}; sr_confine_end */
	bool datastore;
	struct sr_sandbox *sandbox; /* NULL: Sandbox=false */
	struct sr_spawner *spawner; /* for Shutdown-Hook; NULL: there is none, or none is needed */
};

/* First of all, before there are threads.  Logs in one line what is on.  hooks: Shutdown-Hook will be run. */
SR_MUST enum sr_status sr_confine(struct sr_confinement *out, const struct sr_config *config, bool datastore, bool hooks, struct sr_err *err);
/* After a reload: an error in the log for each path of the new configuration that this process cannot get at before it is restarted. */
void sr_confine_check(const struct sr_confinement *c, const struct sr_config *fresh);
void sr_confine_end(struct sr_confinement *c);

/* Enter it, and log what that came to; NULL: Sandbox=false. */
void sr_confine_enter(struct sr_sandbox *s);
/* SQLite's temporary files, of what does not fit into memory, go into that state directory: else they would need /var/tmp. */
void sr_confine_temporary(struct sr_sandbox *s, const char *state);
/* What every daemon reads: libraries, the resolver's and the accounts' files, certificates, /proc.  For others than the two above. */
void sr_confine_system(struct sr_sandbox *s);
/* That of a file which may be replaced: its directory, and that of the file to which a link leads. */
void sr_confine_beside(struct sr_sandbox *s, const char *path, enum sr_sandbox_right right);

#endif
