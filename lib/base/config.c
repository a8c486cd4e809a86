/* config.c - every key of the configuration in one table, and what goes by it: making, freeing, printing.  Reading is config_parse.c. */
#include "lib/base/config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/config_ini.h"

#define HERE "/var/lib/sameroot"
#define BYTES_MOST INT64_MAX

/* clang-format off */
#define GLOBAL(name, type, field, fallback, low, high, help) \
	{name, SR_VALUE_##type, SR_KEY_GLOBAL, offsetof(struct sr_config, field), fallback, low, high, help}
#define FIXED(name, store, field, fallback, help) \
	{name, SR_VALUE_PATH, SR_STORE_##store, offsetof(struct sr_config_store, field), fallback, 0, 0, help}
#define STORE(name, type, field, low, high, help) \
	{name, SR_VALUE_##type, SR_KEY_STORE, offsetof(struct sr_config_store, field), NULL, low, high, help}

static const struct sr_config_key keys[] = {
	GLOBAL("Datastore", PEER, datastore, NULL, 0, 0, "host[:9405] of the datastore; makes this machine a webserver"),
	GLOBAL("External-Addr", ADDRESS, external, NULL, 0, 0, "host:port of this machine's application, as others reach it"),
	GLOBAL("Datastore-Update-Interval", NUMBER, update_interval, "10", 1, 3600, "seconds between check-ins"),
	GLOBAL("Datastore-Listen-Address", LISTEN, datastore_listen_address, "", 0, 0, "address of the datastore; empty: all interfaces"),
	GLOBAL("Datastore-Port", PORT, datastore_port, "9405", 0, 65535, "port of the datastore; 0: any free one"),
	GLOBAL("Sync-Listen-Address", LISTEN, sync_listen_address, "", 0, 0, "address of the sync daemon; empty: all interfaces"),
	GLOBAL("Sync-Port", PORT, sync_port, "9406", 0, 65535, "port of the sync daemon; 0: any free one"),
	GLOBAL("Max-Connections", NUMBER, max_connections, "512", 16, 16384, "connections that a daemon serves at a time"),
	GLOBAL("Client-Timeout", NUMBER, client_timeout, "30", 1, 3600, "seconds that who asks may keep a request standing still"),
	GLOBAL("Max-Leaves", NUMBER, max_leaves, "50000000", 1000, BYTES_MOST, "files, directories and rows of one tree, and of one push"),
	GLOBAL("Max-Push-Bytes", NUMBER, max_push_bytes, "274877906944", 1048576, BYTES_MOST, "bytes of one push, unpacked"),
	GLOBAL("Max-Webservers", NUMBER, max_webservers, "10000", 1, 1000000, "webservers that the datastore lists"),
	GLOBAL("Control-Auth", SECRET, control_auth, NULL, 0, 0, "the shared secret, at least 32 characters"),
	GLOBAL("Control-Auth-File", PATH, control_auth_file, HERE "/control-auth", 0, 0, "file that holds the shared secret"),
	GLOBAL("Datastore-Insecure-Disable-TLS", BOOL, datastore_insecure_disable_tls, "false", 0, 0, "the datastore speaks plain HTTP"),
	GLOBAL("Datastore-Insecure-Skip-TLS-Verify", BOOL, datastore_insecure_skip_tls_verify, "false", 0, 0,
	       "believe whatever key the datastore shows"),
	GLOBAL("Insecure-Disable-HTTPS", BOOL, insecure_disable_https, "false", 0, 0, "the sync daemon speaks plain HTTP"),
	GLOBAL("Certificate-File", PATH, certificate_file, NULL, 0, 0, "certificate chain (PEM) of this machine's daemons"),
	GLOBAL("Key-File", PATH, key_file, NULL, 0, 0, "private key (PEM) that belongs to it"),
	GLOBAL("Client-CA-File", PATH, client_ca_file, NULL, 0, 0, "certificates (PEM) that have to vouch for whoever asks this machine's daemons"),
	GLOBAL("Client-Certificate-File", PATH, client_certificate_file, NULL, 0, 0, "certificate chain (PEM) that is shown to others; default: Certificate-File"),
	GLOBAL("Client-Key-File", PATH, client_key_file, NULL, 0, 0, "private key (PEM) that belongs to it"),
	GLOBAL("Datastore-CA-File", PATH, datastore_ca_file, NULL, 0, 0, "certificates (PEM) that have to vouch for the datastore's"),
	GLOBAL("Datastore-Key-Pin", PIN, datastore_key_pin, NULL, 0, 0, "public key of the datastore, sha256//BASE64"),
	FIXED("User-DB-Path", USERS, path, HERE "/users.db", "a webserver's users database"),
	FIXED("Web-Store-Path", WEBSTORE, path, HERE "/webstore.db", "a webserver's web store database"),
	FIXED("Webserver-Resource-Store", RESOURCES, path, HERE "/resources/webserver", "a webserver's resource directory"),
	FIXED("Datastore-User-DB-Path", USERS, datastore_path, HERE "/datastore-users.db", "the datastore's users database"),
	FIXED("Datastore-Web-Store-Path", WEBSTORE, datastore_path, HERE "/datastore-webstore.db", "the datastore's web store database"),
	FIXED("Datastore-Resource-Store", RESOURCES, datastore_path, HERE "/resources/datastore", "the datastore's resource directory"),
	GLOBAL("State-Directory", PATH, state_directory, HERE "/state", 0, 0, "the sync daemon's state and conflict archive"),
	GLOBAL("Datastore-State-Directory", PATH, datastore_state_directory, HERE "/datastore-state", 0, 0, "the datastore's state and archive"),
	GLOBAL("Resource-Max-Size", NUMBER, resource_max_size, "536870912", 1, BYTES_MOST, "bytes; a larger file is not synchronised"),
	GLOBAL("Max-Delete-Percent", NUMBER, max_delete_percent, "10", 0, 100, "deletion limit, percent of the leaves an hour ago"),
	GLOBAL("Max-Delete-Count", NUMBER, max_delete_count, "100", 0, BYTES_MOST, "deletion limit, leaves an hour"),
	GLOBAL("Trash-Days", NUMBER, trash_days, "7", 0, 36500, "days for which the datastore keeps what was replaced or deleted"),
	GLOBAL("Trash-Max-Bytes", NUMBER, trash_max_bytes, "10737418240", 0, BYTES_MOST, "bytes of it at most; the oldest goes first"),
	GLOBAL("Webserver-Trim-Days", NUMBER, webserver_trim_days, "30", 0, 36500, "days after which a webserver that does not come is not listed any more"),
	GLOBAL("Results-Directory", PATH, results_directory, NULL, 0, 0, "search results of this webserver, a folder a search"),
	GLOBAL("Health-Check-URL", URL, health_check_url, NULL, 0, 0, "of this webserver's application; while it is not well, balancers are told DEAD"),
	GLOBAL("Max-Lag", NUMBER, max_lag, "0", 0, 86400, "seconds behind the datastore after which balancers are told DEAD; 0: never"),
	GLOBAL("Full-Scan-Interval", NUMBER, full_scan_interval, "3600", 1, 604800, "seconds between two scans of all, of stores that are watched"),
	GLOBAL("Change-Capture", CAPTURE, change_capture, "scan", 0, 0, "how changed rows are found: scan (of all rows) or triggers"),
	GLOBAL("Verify-Interval", NUMBER, verify_interval, "7", 0, 365, "days between two times that a daemon reads all that it has again; 0: never"),
	GLOBAL("Wal-Limit", NUMBER, wal_limit, "67108864", 0, BYTES_MOST, "bytes of a write-ahead log before we checkpoint it; 0: never"),
	GLOBAL("Conflict-Max-Bytes", NUMBER, conflict_max_bytes, "1073741824", 0, BYTES_MOST, "bytes of the conflict archive; 0: no limit"),
	GLOBAL("Trusted-Proxies", NETWORKS, trusted_proxies, NULL, 0, 0, "addresses or networks of reverse proxies that are believed; repeatable"),
	GLOBAL("Admin-Query", TEXT, admin_query, NULL, 0, 0, "SELECT of name, password hash, is-admin in an application's own users database"),
	GLOBAL("Lb-Recognition-Period", NUMBER, lb_recognition_period, "3", 0, 3600, "seconds of a shutdown in which requests are still served"),
	GLOBAL("Shutdown-Timeout", NUMBER, shutdown_timeout, "30", 1, 86400, "seconds that a graceful shutdown takes at most"),
	GLOBAL("Shutdown-Hook", LIST, shutdown_hook, NULL, 0, 0, "command of a graceful shutdown; repeatable"),
	GLOBAL("Sandbox", BOOL, sandbox, "true", 0, 0, "daemons give up the rights that they do not need"),
	GLOBAL("Log-Level", LEVEL, log_level, "info", 0, 0, "debug, info, warn or error"),
	GLOBAL("Log-Format", FORMAT, log_json, "text", 0, 0, "text or json"),

	STORE("Kind", KIND, kind, 0, 0, "sqlite or files"),
	STORE("Path", PATH, path, 0, 0, "where a webserver has it"),
	STORE("Datastore-Path", PATH, datastore_path, 0, 0, "where the datastore has it"),
	STORE("Owner", USER, owner, 0, 0, "owner of new entries; default: the owner of the store's root"),
	STORE("Group", GROUP, group, 0, 0, "group of new entries; default: the group of the store's root"),
	STORE("Exclude", LIST, exclude, 0, 0, "glob or table that is not synchronised; repeatable"),
	STORE("Max-Delete-Percent", LIMIT, max_delete_percent, 0, 100, "NUMBER, or TABLE:NUMBER; repeatable"),
	STORE("Max-Delete-Count", LIMIT, max_delete_count, 0, BYTES_MOST, "NUMBER, or TABLE:NUMBER; repeatable"),
};
/* clang-format on */

const struct sr_config_key *sr_config_keys(size_t *count)
{
	*count = sizeof(keys) / sizeof(*keys);
	return keys;
}

#define EACH_KEY(key) (const struct sr_config_key *key = keys; key < keys + sizeof(keys) / sizeof(*keys); key++)

static void *owner_of(const struct sr_config_key *key, struct sr_config *config)
{
	return key->store == SR_KEY_GLOBAL ? (void *)config : &config->stores[key->store];
}

void sr_config_free(struct sr_config *config)
{
	if (!config)
		return;
	for EACH_KEY (key) {
		if (key->store == SR_KEY_GLOBAL)
			sr_value_free(key, sr_value_at(key, config));
		for (size_t i = 0; key->store == SR_KEY_STORE && i < config->store_count; i++)
			sr_value_free(key, sr_value_at(key, &config->stores[i]));
	}
	for (size_t i = 0; i < config->store_count; i++)
		free(config->stores[i].name);
	free(config->stores);
	free(config->file);
	free(config);
}

struct sr_config *sr_config_defaults(const char *file)
{
	static const struct sr_config_store fixed[SR_STORES_FIXED] = {
		[SR_STORE_USERS] = {.name = "users.db", .kind = SR_CONFIG_SQLITE},
		[SR_STORE_WEBSTORE] = {.name = "webstore.db", .kind = SR_CONFIG_SQLITE},
		[SR_STORE_RESOURCES] = {.name = "resources", .kind = SR_CONFIG_FILES},
	};
	struct sr_config *config = sr_alloc(sizeof(*config));
	struct sr_buf why = {0};

	config->file = sr_strdup(file);
	config->stores = sr_alloc(sizeof(fixed));
	config->store_count = SR_STORES_FIXED;
	for (size_t i = 0; i < SR_STORES_FIXED; i++) {
		config->stores[i] = fixed[i];
		config->stores[i].name = sr_strdup(fixed[i].name);
	}
	for EACH_KEY (key)
		if (key->fallback && !sr_value_set(key, sr_value_at(key, owner_of(key, config)), key->fallback, &why))
			abort(); /* a default of the table above that is not valid */
	return config;
}

/* ---- printing ---- */

static void print_ini(const struct sr_config *config, struct sr_buf *out)
{
	struct sr_config *c = (struct sr_config *)config; /* sr_value_at has one form for both uses; nothing is written */

	sr_ini_add_comment(out, config->file);
	sr_buf_printf(out, "[global]\n");
	for EACH_KEY (key)
		if (key->store != SR_KEY_STORE)
			sr_ini_add_lines(out, key, sr_value_at(key, owner_of(key, c)));
	for (size_t i = 0; i < config->store_count; i++) {
		sr_buf_printf(out, "\n[store \"%s\"]\n", config->stores[i].name);
		for EACH_KEY (key)
			if (key->store == SR_KEY_STORE)
				sr_ini_add_lines(out, key, sr_value_at(key, &c->stores[i]));
	}
}

static void print_json(const struct sr_config *config, struct sr_buf *out)
{
	struct sr_config *c = (struct sr_config *)config; /* as above */
	const char *comma = "";

	sr_buf_printf(out, "{\"file\":");
	sr_ini_add_json(out, config->file);
	sr_buf_printf(out, ",\"global\":{");
	for EACH_KEY (key) {
		if (key->store == SR_KEY_STORE)
			continue;
		sr_buf_printf(out, "%s", comma);
		sr_ini_add_member(out, key, sr_value_at(key, owner_of(key, c)));
		comma = ",";
	}
	sr_buf_printf(out, "},\"stores\":[");
	for (size_t i = 0; i < config->store_count; i++) {
		sr_buf_printf(out, "%s{\"name\":\"%s\"", i ? "," : "", config->stores[i].name);
		for EACH_KEY (key)
			if (key->store == SR_KEY_STORE) {
				sr_buf_byte(out, ',');
				sr_ini_add_member(out, key, sr_value_at(key, &c->stores[i]));
			}
		sr_buf_byte(out, '}');
	}
	sr_buf_printf(out, "]}\n");
}

void sr_config_print(const struct sr_config *config, struct sr_buf *out, bool json)
{
	if (json)
		print_json(config, out);
	else
		print_ini(config, out);
}

/* ---- asking ---- */

uint64_t sr_config_limit(const struct sr_config_limit *limit, const char *table)
{
	for (size_t i = 0; table && i < limit->count; i++)
		if (strcasecmp(limit->tables[i].table, table) == 0) /* as SQLite compares them */
			return limit->tables[i].value;
	return limit->value;
}

const struct sr_config_store *sr_config_store(const struct sr_config *config, const char *name)
{
	for (size_t i = 0; i < config->store_count; i++)
		if (strcmp(config->stores[i].name, name) == 0)
			return &config->stores[i];
	return NULL;
}

void sr_config_certificates(const struct sr_config *c, struct sr_config_file out[SR_CONFIG_CERTIFICATES])
{
	const struct sr_config_file all[SR_CONFIG_CERTIFICATES] = {
		{"Certificate-File", c->certificate_file},
		{"Key-File", c->key_file},
		{"Client-CA-File", c->client_ca_file},
		{"Client-Certificate-File", c->client_certificate_file},
		{"Client-Key-File", c->client_key_file},
		{"Datastore-CA-File", c->datastore_ca_file},
	};

	memcpy(out, all, sizeof all);
}

enum sr_status sr_config_secrets(const struct sr_config *config, struct sr_secrets *out, struct sr_err *err)
{
	return sr_ini_secrets(config->control_auth, "Control-Auth-File", config->control_auth_file, out, err);
}

enum sr_status sr_config_secret(const struct sr_config *config, char **out, struct sr_err *err)
{
	struct sr_secrets all = {0};
	enum sr_status rc = sr_config_secrets(config, &all, err);

	if (rc == SR_OK) {
		*out = all.at[0];
		all.at[0] = NULL;
	}
	sr_secrets_free(&all);
	return rc;
}
