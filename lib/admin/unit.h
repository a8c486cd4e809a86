/* unit.h - what systemd has to be told of this machine's configuration: the drop-in by which a daemon's unit lets it write to what lies outside
 * /var/lib/sameroot.
 *
 * The units let the daemons write to nothing else (ProtectSystem=strict).  A configuration that is found as ROOT/etc/sameroot/sameroot.conf is
 * the one that the units of the machine below ROOT read - ROOT is empty but for images and tests -, and where there is a
 * ROOT/etc/systemd/system its drop-in is ROOT/etc/systemd/system/UNIT.d/stores.conf.  Any other configuration has none.  Pure, but for the
 * looking. */
#ifndef SR_ADMIN_UNIT_H
#define SR_ADMIN_UNIT_H

#include "lib/base/config.h"

const char *sr_unit_name(bool datastore); /* "sameroot-sync.service" */

/* Where the drop-in lies, or would; NULL: this configuration is no unit's, or there is no systemd.  OWNED BY CALLER (free). */
char *sr_unit_path(const char *conf, bool datastore);

/* What it is to hold; nothing (out->len 0): all that the daemon writes to lies in /var/lib/sameroot. */
void sr_unit_text(struct sr_buf *out, const struct sr_config *config, bool datastore);

#endif
