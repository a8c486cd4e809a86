/* conf.h - loadbalancer.conf(5), read once and checked whole: the balancer's own file, in the syntax of sameroot.conf and by the same reader.
 *
 * A struct sr_lb_conf is never changed once made: any thread may read it.  All strings are OWNED by it; NULL is "not given". */
#ifndef SR_LB_CONF_H
#define SR_LB_CONF_H

#include "lib/base/config.h"

#define SR_LB_DEFAULT_FILE "/etc/sameroot/loadbalancer.conf"
#define SR_LB_OVERRIDE_NAME_MOST 64

enum sr_lb_protocol { SR_LB_AUTO, SR_LB_HTTP, SR_LB_HTTPS }; /* AUTO: https where the port is 443 or 8443 */

struct sr_lb_override { /* webservers that are given, not learned */
	char *name;
	struct sr_config_list webserver;   /* HOST[:PORT] each; at least one */
	enum sr_lb_protocol protocol;      /* of the application; AUTO: as in [Global] */
	bool disable_https;                /* the application speaks plain HTTP */
	bool skip_tls_verify;
	uint16_t sync_port;                /* of the sync daemon; 0: it is not asked */
	bool sync_disable_https;           /* that one speaks plain HTTP */
	int line;
};

struct sr_lb_conf {
	char *file;

	uint16_t web_port; /* 443, or 80 without HTTPS */
	char *bind_addr;   /* NULL: every IPv4 address */
	bool disable_https;
	char *certificate_file, *key_file; /* both or none: a pair of its own in the state directory */
	uint64_t update_interval;          /* seconds */
	uint64_t session_timeout;          /* minutes */
	uint64_t shutdown_timeout;         /* seconds */

	struct sr_config_address datastore; /* host NULL: none */
	bool disable_datastore;
	bool datastore_disable_tls, datastore_skip_tls_verify;
	char *client_certificate_file, *client_key_file; /* both or none */
	char *datastore_ca_file, *datastore_key_pin;
	char *control_secret, *control_secret_file; /* as control_auth */

	enum sr_lb_protocol webserver_protocol;
	bool skip_tls_verify; /* of webservers */

	char *state_directory;
	char *haproxy;        /* the program */
	char *haproxy_socket; /* of the master of an existing one, with ... */
	char *haproxy_config; /* ... the file of its configuration that is ours */
	bool sandbox;
	enum sr_log_level log_level;
	bool log_json;

	struct sr_lb_override *overrides;
	size_t override_count;
};

/* As sr_config_load and sr_config_parse; the default file is SR_LB_DEFAULT_FILE, and has to exist: nothing can be balanced by defaults. */
SR_MUST enum sr_status sr_lb_conf_load(struct sr_lb_conf **out, const char *path, struct sr_err *err);
SR_MUST enum sr_status sr_lb_conf_parse(struct sr_lb_conf **out, FILE *in, const char *name, struct sr_err *err);
void sr_lb_conf_free(struct sr_lb_conf *conf); /* CONSUMES; NULL is a no-op; wipes the secret */

/* What holds, the secret masked: as a file, or as JSON. */
void sr_lb_conf_print(const struct sr_lb_conf *conf, struct sr_buf *out, bool json);
/* Is the datastore asked? */
bool sr_lb_conf_asks(const struct sr_lb_conf *conf);
/* The one to send, as sr_config_secret, but SR_E_CONFIG when there is none. */
SR_MUST enum sr_status sr_lb_conf_secret(const struct sr_lb_conf *conf, char **out, struct sr_err *err);
/* "HOST", "HOST:PORT", "[V6]:PORT": a host that is a name or an address, and nothing else.  *port is 0 where there is none.  *host is OWNED BY CALLER
 * (free). */
SR_MUST bool sr_lb_split(const char *text, char **host, uint16_t *port);

const struct sr_config_key *sr_lb_conf_keys(size_t *count);

#endif
