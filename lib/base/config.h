/* config.h - one INI file for both roles, read once, checked whole.  The file: sameroot.conf(5).
 *
 * Keys and the words of section headers ignore case; keys before any header are [global]'s.  A value may be quoted ("...", with \" and \\
 * inside); a # or ; at its start or after a blank begins a comment.  Whatever is not understood is SR_E_CONFIG with "FILE:LINE: what is
 * wrong": a daemon with half a configuration is worse than none.
 *
 * A struct sr_config is never changed once made: any thread may read it.  Never logs, never exits. */
#ifndef SR_BASE_CONFIG_H
#define SR_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/log.h"

#define SR_CONFIG_DEFAULT_FILE "/etc/sameroot/sameroot.conf"
#define SR_SECRET_LEAST 32 /* characters of Control-Auth */

enum sr_config_kind { SR_CONFIG_NO_KIND, SR_CONFIG_SQLITE, SR_CONFIG_FILES };

/* All strings are OWNED by the configuration; NULL is "not given". */
struct sr_config_address {
	char *text;    /* as written: "[::1]:8080", "web1" */
	char *host;    /* a name or an address, an IPv6 address without its brackets */
	uint16_t port; /* 0: none given (External-Addr only) */
};

struct sr_config_list {
	char **at;
	size_t count;
};

struct sr_config_limit { /* read it with sr_config_limit() */
	uint64_t value;  /* for tables that are not named */
	bool own;        /* given for this store; else it is [global]'s */
	struct sr_config_table_limit {
		char *table;
		uint64_t value;
	} *tables;
	size_t count;
};

/* The fixed stores are always stores[0..2]. */
enum { SR_STORE_USERS, SR_STORE_WEBSTORE, SR_STORE_RESOURCES, SR_STORES_FIXED };

#define SR_STORE_NAME_MOST 64 /* of A-Z a-z 0-9 . _ - */

struct sr_config_store {
	char *name; /* users.db, webstore.db, resources, or that of a [store "name"] section */
	enum sr_config_kind kind;
	char *path;           /* a webserver's; NULL: webservers with this file do not hold it */
	char *datastore_path; /* the datastore's; NULL: the same for a datastore */
	char *owner, *group;  /* names or numbers; NULL: as the store's root has them */
	struct sr_config_list exclude; /* globs (files) or tables (sqlite) */
	struct sr_config_limit max_delete_percent, max_delete_count;
	int line; /* of its section; 0: it has none */
};

struct sr_config {
	char *file; /* what was read, or would have been */

	struct sr_config_address datastore; /* host NULL: this machine is no webserver */
	struct sr_config_address external;  /* External-Addr */
	uint64_t update_interval;           /* seconds */
	char *datastore_listen_address;     /* NULL: all interfaces */
	uint16_t datastore_port;            /* 0: any free one */
	char *sync_listen_address;
	uint16_t sync_port;
	uint64_t max_connections;           /* of a daemon's server */
	uint64_t client_timeout;            /* seconds */
	uint64_t max_leaves;                /* of a tree that comes from outside, and of a push */
	uint64_t max_push_bytes;            /* unpacked */
	uint64_t max_webservers;            /* that the datastore lists */

	char *control_auth; /* NULL: in control_auth_file.  Use sr_config_secret() or sr_config_secrets() */
	char *control_auth_file;
	bool datastore_insecure_disable_tls;
	bool datastore_insecure_skip_tls_verify;
	bool insecure_disable_https;
	char *certificate_file, *key_file; /* both or none; NULL: in the daemon's state directory */
	char *client_ca_file;      /* NULL: no client certificate is asked for */
	char *client_certificate_file, *client_key_file; /* both or none; NULL: certificate_file */
	char *datastore_ca_file;
	char *datastore_key_pin;

	char *state_directory, *datastore_state_directory;
	char *results_directory; /* NULL: none */
	char *health_check_url;  /* NULL: none */
	uint64_t max_lag;        /* seconds; 0: none */
	uint64_t full_scan_interval; /* seconds */
	bool change_capture;         /* by triggers */
	uint64_t verify_interval; /* days; 0: never */
	uint64_t resource_max_size;                    /* bytes */
	uint64_t max_delete_percent, max_delete_count; /* the defaults of the stores; ask those */
	uint64_t trash_days;                           /* the datastore keeps for so long what was replaced or deleted ... */
	uint64_t trash_max_bytes;                      /* ... and so much of it */
	uint64_t webserver_trim_days;                  /* a webserver that was not seen for so long is not listed any more; 0: always */
	uint64_t wal_limit;                            /* bytes; 0: never checkpoint */
	uint64_t conflict_max_bytes;                   /* of a node's conflict archive; 0: no limit */
	uint64_t lb_recognition_period;                /* seconds */
	uint64_t shutdown_timeout;                     /* seconds */
	struct sr_config_list shutdown_hook;           /* commands */
	struct sr_config_list trusted_proxies;         /* addresses or networks (network.h) */
	char *admin_query;                             /* NULL: users.db has the reference schema */
	bool sandbox;
	enum sr_log_level log_level;
	bool log_json;

	struct sr_config_store *stores;
	size_t store_count; /* at least SR_STORES_FIXED */
};

/* Read `path`.  NULL: SR_CONFIG_DEFAULT_FILE, and if that is absent, the defaults.  SR_E_CONFIG: what is wrong, or a named file that cannot be read.
 * *out is OWNED BY CALLER (sr_config_free). */
SR_MUST enum sr_status sr_config_load(struct sr_config **out, const char *path, struct sr_err *err);

/* As sr_config_load, from an open stream that `name` stands for in errors. */
SR_MUST enum sr_status sr_config_parse(struct sr_config **out, FILE *in, const char *name, struct sr_err *err);

void sr_config_free(struct sr_config *config); /* CONSUMES; NULL is a no-op; wipes the secret */

/* The effective configuration, defaults included, the secret masked: as a file that sr_config_load() takes (but for that secret), or as JSON.
 * In JSON, bytes that are not UTF-8 stand as \xNN. */
void sr_config_print(const struct sr_config *config, struct sr_buf *out, bool json);

/* Control-Auth, one or two while it is being changed: the first is sent, each is accepted. */
#define SR_SECRETS_MOST 2
struct sr_secrets {
	char *at[SR_SECRETS_MOST]; /* OWNED; NULL behind the last */
};
void sr_secrets_free(struct sr_secrets *secrets); /* wipes; back to {0} */
/* Which of them is it, -1: none.  In the time that it takes to compare all. */
int sr_secrets_find(const struct sr_secrets *secrets, struct sr_bytes secret);

/* The shared secrets: Control-Auth, else what Control-Auth-File holds, a line each.  SR_E_NOINPUT: there is no such file; SR_E_CONFIG: others than
 * its owner may touch it, or there is what is no secret (short, or not printable ASCII), or a third one.  *out is OWNED BY CALLER (sr_secrets_free). */
SR_MUST enum sr_status sr_config_secrets(const struct sr_config *config, struct sr_secrets *out, struct sr_err *err);
/* The one to send.  *out is OWNED BY CALLER (free). */
SR_MUST enum sr_status sr_config_secret(const struct sr_config *config, char **out, struct sr_err *err);

/* The limit for a table; NULL, or one that has none of its own: the store's. */
uint64_t sr_config_limit(const struct sr_config_limit *limit, const char *table);

/* The store of that name, or NULL.  BORROWED from the configuration. */
const struct sr_config_store *sr_config_store(const struct sr_config *config, const char *name);

/* The files of keys and certificates, by the keys that name them; path NULL: not given.  BORROWED from the configuration. */
struct sr_config_file {
	const char *key, *path;
};
#define SR_CONFIG_CERTIFICATES 6
void sr_config_certificates(const struct sr_config *config, struct sr_config_file out[SR_CONFIG_CERTIFICATES]);

/* May what lies at `path` (absolute) be read as the content of that store, to be spread?  SR_E_USAGE: it is, lies inside or contains something
 * else that is configured, which it names.  The webserver's own path of the store may be, and what a restore has put aside. */
SR_MUST enum sr_status sr_config_check_source(const struct sr_config *config, const char *store, const char *path, struct sr_err *err);

/* The host of "host", "host:port", "[v6]" or "[v6]:port", without brackets; OWNED BY CALLER (free).  false: it is none of these. */
SR_MUST bool sr_config_host(const char *text, char **host);

/* Every key there is: what the parser, the printer and the test of the man page go by. */
struct sr_config_key {
	const char *name;
	unsigned type;        /* how it is read and written: config.c */
	int store;            /* in a [store] section: SR_KEY_STORE; [global]: the fixed store that it is about, or SR_KEY_GLOBAL */
	size_t offset;        /* in struct sr_config or struct sr_config_store */
	const char *fallback; /* the default as it would be written; NULL: none */
	uint64_t low, high;   /* of numbers */
	const char *help;     /* one line */
};
#define SR_KEY_GLOBAL (-1)
#define SR_KEY_STORE (-2)
const struct sr_config_key *sr_config_keys(size_t *count);

#endif
