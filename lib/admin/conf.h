/* conf.h - the configuration file as `init` and `join` write it: made new, or added to at its end, where no line of it changes its number.
 * The file: sameroot.conf(5).  Pure, but for sr_conf_read and sr_conf_write. */
#ifndef SR_ADMIN_CONF_H
#define SR_ADMIN_CONF_H

#include "lib/base/config.h"

/* A new one for a datastore or a webserver: each key that an operator is likely to want, with its default, commented out. */
void sr_conf_new(struct sr_buf *out, bool datastore);

/* The line on which [global] gives this key; 0: it does not. */
unsigned sr_conf_line(struct sr_bytes text, const char *key);
/* Add Key=value to [global] at the end of the text.  `about`, a line of comment, begins a block; NULL: it goes on with the one before. */
void sr_conf_add(struct sr_buf *text, const char *about, const char *key, const char *value);

/* "host", "host:port" or "[v6]:port", as External-Addr takes it; *port 0: none was given.  *host is OWNED BY CALLER (free).  SR_E_USAGE. */
SR_MUST enum sr_status sr_conf_address(const char *text, char **host, unsigned *port, struct sr_err *err);

/* `text` as a configuration that `file` stands for.  OWNED BY CALLER (sr_config_free).  SR_E_CONFIG. */
SR_MUST enum sr_status sr_conf_parse(struct sr_config **out, struct sr_bytes text, const char *file, struct sr_err *err);

/* *found false: there is no such file.  SR_E_CONFIG: it cannot be read. */
SR_MUST enum sr_status sr_conf_read(const char *file, struct sr_buf *out, bool *found, struct sr_err *err);
/* Whole or not at all, and durable; its directory is made; mode and owner are those of the file that was there, else 0644. */
SR_MUST enum sr_status sr_conf_write(const char *file, struct sr_bytes text, struct sr_err *err);

#endif
