/* conf.c - see conf.h: the table of keys, and what needs more than one of them. */
#include "lib/lb/conf.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/config_ini.h"

#define OVERRIDES_MOST 256
#define WEB_PORT_HTTPS 443
#define WEB_PORT_HTTP  80

/* clang-format off */
#define GLOBAL(name, type, field, fallback, low, high, help) \
	{name, SR_VALUE_##type, SR_KEY_GLOBAL, offsetof(struct sr_lb_conf, field), fallback, low, high, help}
#define OVERRIDE(name, type, field, fallback, low, high, help) \
	{name, SR_VALUE_##type, SR_KEY_STORE, offsetof(struct sr_lb_override, field), fallback, low, high, help}

static const struct sr_config_key keys[] = {
	GLOBAL("Web-Port", PORT, web_port, NULL, 1, 65535, "port to listen on; default 443, or 80 with Insecure-Disable-HTTPS"),
	GLOBAL("Bind-Addr", LISTEN, bind_addr, "", 0, 0, "address to listen on; empty: every IPv4 address; ::, every address"),
	GLOBAL("Certificate-File", PATH, certificate_file, NULL, 0, 0, "certificate chain (PEM); none: one of its own, self-signed"),
	GLOBAL("Key-File", PATH, key_file, NULL, 0, 0, "private key (PEM) that belongs to it"),
	GLOBAL("Insecure-Disable-HTTPS", BOOL, disable_https, "false", 0, 0, "listen for plain HTTP"),
	GLOBAL("Update-Interval", NUMBER, update_interval, "30", 1, 3600, "seconds between looks at the datastore's list of webservers"),
	GLOBAL("Session-Timeout", NUMBER, session_timeout, "10", 1, 43200, "minutes without a request after which a user may get another webserver"),
	GLOBAL("Datastore", PEER, datastore, NULL, 0, 0, "host[:9405] of the datastore"),
	GLOBAL("Control-Secret", SECRET, control_secret, NULL, 0, 0, "the shared secret, Control-Auth of the datastore"),
	GLOBAL("Control-Secret-File", PATH, control_secret_file, "/var/lib/sameroot/control-auth", 0, 0, "file that holds the shared secret"),
	GLOBAL("Client-Certificate-File", PATH, client_certificate_file, NULL, 0, 0, "certificate chain (PEM) that is shown to the datastore"),
	GLOBAL("Client-Key-File", PATH, client_key_file, NULL, 0, 0, "private key (PEM) that belongs to it"),
	GLOBAL("Datastore-CA-File", PATH, datastore_ca_file, NULL, 0, 0, "certificates (PEM) that have to vouch for the datastore's"),
	GLOBAL("Datastore-Key-Pin", PIN, datastore_key_pin, NULL, 0, 0, "public key of the datastore, sha256//BASE64"),
	GLOBAL("Datastore-Insecure-Disable-TLS", BOOL, datastore_disable_tls, "false", 0, 0, "the datastore speaks plain HTTP"),
	GLOBAL("Datastore-Insecure-Skip-TLS-Verify", BOOL, datastore_skip_tls_verify, "false", 0, 0, "believe whatever key the datastore shows"),
	GLOBAL("Disable-Datastore", BOOL, disable_datastore, "false", 0, 0, "ask no datastore: the [Override] sections say it all"),
	GLOBAL("Webserver-Protocol", PROTOCOL, webserver_protocol, "auto", 0, 0, "http, https, or auto: https where the port is 443 or 8443"),
	GLOBAL("Insecure-Skip-TLS-Verify", BOOL, skip_tls_verify, "false", 0, 0, "believe whatever certificate a webserver's application shows"),
	GLOBAL("State-Directory", PATH, state_directory, "/var/lib/sameroot/lb", 0, 0, "the last known list, and HAProxy's configuration"),
	GLOBAL("Shutdown-Timeout", NUMBER, shutdown_timeout, "30", 0, 3600, "seconds for requests under way when it is stopped"),
	GLOBAL("HAProxy", PATH, haproxy, "/usr/sbin/haproxy", 0, 0, "the program"),
	GLOBAL("HAProxy-Socket", PATH, haproxy_socket, NULL, 0, 0, "socket of an existing HAProxy's master, which is used instead of one of its own"),
	GLOBAL("HAProxy-Config", PATH, haproxy_config, NULL, 0, 0, "the file, of those that HAProxy reads, that is written for it"),
	GLOBAL("Sandbox", BOOL, sandbox, "true", 0, 0, "it, and its HAProxy, give up the rights that they do not need"),
	GLOBAL("Log-Level", LEVEL, log_level, "info", 0, 0, "debug, info, warn or error"),
	GLOBAL("Log-Format", FORMAT, log_json, "text", 0, 0, "text or json"),

	OVERRIDE("Webserver", LIST, webserver, NULL, 0, 0, "host[:port] of an application; repeatable"),
	OVERRIDE("Webserver-Protocol", PROTOCOL, protocol, "auto", 0, 0, "http or https; auto: as in [Global]"),
	OVERRIDE("Insecure-Disable-HTTPS", BOOL, disable_https, "false", 0, 0, "the same as Webserver-Protocol=http"),
	OVERRIDE("Insecure-Skip-TLS-Verify", BOOL, skip_tls_verify, "false", 0, 0, "believe whatever certificate the application shows"),
	OVERRIDE("Sync-Port", PORT, sync_port, "9406", 0, 65535, "port of the sync daemon there; 0: its health is not asked for"),
	OVERRIDE("Sync-Insecure-Disable-HTTPS", BOOL, sync_disable_https, "false", 0, 0, "the sync daemon there speaks plain HTTP"),
};
/* clang-format on */

#define KEYS (sizeof(keys) / sizeof(*keys))
#define EACH_KEY(key) (const struct sr_config_key *key = keys; key < keys + KEYS; key++)

const struct sr_config_key *sr_lb_conf_keys(size_t *count)
{
	*count = KEYS;
	return keys;
}

static bool of_override(const struct sr_config_key *key)
{
	return key->store == SR_KEY_STORE;
}

static void fill(bool override, void *owner)
{
	struct sr_buf why = {0};

	for EACH_KEY (key)
		if (of_override(key) == override && key->fallback && !sr_value_set(key, sr_value_at(key, owner), key->fallback, &why))
			abort(); /* a default of the table above that is not valid */
}

void sr_lb_conf_free(struct sr_lb_conf *conf)
{
	if (!conf)
		return;
	for EACH_KEY (key) {
		if (!of_override(key))
			sr_value_free(key, sr_value_at(key, conf));
		for (size_t i = 0; of_override(key) && i < conf->override_count; i++)
			sr_value_free(key, sr_value_at(key, &conf->overrides[i]));
	}
	for (size_t i = 0; i < conf->override_count; i++)
		free(conf->overrides[i].name);
	free(conf->overrides);
	free(conf->file);
	free(conf);
}

/* --- reading -------------------------------------------------------------------------------------------------------------------- */

struct parse {
	struct sr_ini ini; /* the first */
	struct sr_lb_conf *conf;
};

static bool name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len > 0 && len <= SR_LB_OVERRIDE_NAME_MOST && strspn(name, allowed) == len;
}

/* sr_ini.open.  Section i + 1 is overrides[i]. */
static size_t open_override(struct sr_ini *ini, const char *word, const char *name)
{
	struct sr_lb_conf *conf = ((struct parse *)ini)->conf;
	size_t n = conf->override_count;

	(void)word;
	if (!name_valid(name)) {
		sr_ini_fault(ini, ini->line_number, "an override's name is 1 to %d of A-Z a-z 0-9 . _ -", SR_LB_OVERRIDE_NAME_MOST);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		if (strcmp(conf->overrides[i].name, name) == 0)
			return i + 1;
	if (n == OVERRIDES_MOST) {
		sr_ini_fault(ini, ini->line_number, "more than %d overrides", OVERRIDES_MOST);
		return 0;
	}
	conf->overrides = sr_realloc(conf->overrides, (n + 1) * sizeof(*conf->overrides));
	conf->overrides[n] = (struct sr_lb_override){.name = sr_strdup(name), .line = ini->line_number};
	conf->override_count = n + 1;
	fill(true, &conf->overrides[n]);
	return n + 1;
}

static void *owner(struct sr_ini *ini, const struct sr_config_key *key, size_t section)
{
	struct sr_lb_conf *conf = ((struct parse *)ini)->conf;

	(void)key;
	return section ? (void *)&conf->overrides[section - 1] : conf;
}

bool sr_lb_split(const char *text, char **host, uint16_t *port)
{
	static const struct sr_config_key key = {.name = "host", .type = SR_VALUE_ADDRESS};
	struct sr_config_address address = {0};
	struct sr_buf why = {0};
	bool good = sr_value_set(&key, &address, text, &why);

	if (good) {
		*host = address.host;
		*port = address.port;
		address.host = NULL;
	}
	free(address.text);
	free(address.host);
	sr_buf_free(&why);
	return good;
}

/* sr_ini.set: a list of addresses is looked at line by line. */
static void set(struct sr_ini *ini, const struct sr_config_key *key, void *at)
{
	char *host = NULL;
	uint16_t port;

	if (key->type == SR_VALUE_LIST && *ini->value && !sr_lb_split(ini->value, &host, &port))
		sr_ini_fault(ini, ini->line_number, "%s: must be host or host:port, port 1 to 65535, an IPv6 address in brackets", key->name);
	else
		sr_ini_set(ini, key, at);
	free(host);
}

static void check_override(struct parse *p, const struct sr_lb_override *o)
{
	if (!o->webserver.count)
		sr_ini_fault(&p->ini, o->line, "override \"%s\" needs Webserver=host:port", o->name);
	else if (o->disable_https && o->protocol == SR_LB_HTTPS)
		sr_ini_fault(&p->ini, o->line, "override \"%s\" has Webserver-Protocol=https and Insecure-Disable-HTTPS", o->name);
}

static void check(struct parse *p)
{
	const struct sr_lb_conf *c = p->conf;

	if (c->certificate_file && !c->key_file)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "Certificate-File", 0), "Certificate-File needs Key-File too");
	else if (c->key_file && !c->certificate_file)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "Key-File", 0), "Key-File needs Certificate-File too");
	else if (c->client_certificate_file && !c->client_key_file)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "Client-Certificate-File", 0), "Client-Certificate-File needs Client-Key-File too");
	else if (c->client_key_file && !c->client_certificate_file)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "Client-Key-File", 0), "Client-Key-File needs Client-Certificate-File too");
	else if (c->haproxy_socket && !c->haproxy_config)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "HAProxy-Socket", 0), "HAProxy-Socket needs HAProxy-Config too, the file to write");
	else if (c->haproxy_config && !c->haproxy_socket)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "HAProxy-Config", 0), "HAProxy-Config needs HAProxy-Socket too, the master's socket");
	else if (c->disable_datastore && !c->override_count)
		sr_ini_fault(&p->ini, sr_ini_line(&p->ini, "Disable-Datastore", 0),
			     "with Disable-Datastore there has to be [Override \"name\"] with Webserver=host:port");
	else if (!c->disable_datastore && !c->datastore.host)
		sr_ini_fault(&p->ini, 0, "Datastore=host is not given; or give Disable-Datastore=true and [Override \"name\"] sections");
	for (size_t i = 0; i < c->override_count; i++)
		check_override(p, &c->overrides[i]);
}

enum sr_status sr_lb_conf_parse(struct sr_lb_conf **out, FILE *in, const char *name, struct sr_err *err)
{
	static const char *const words[] = {"override", "overrides", NULL};
	struct parse p = {.ini = {.file = name, .keys = keys, .count = KEYS, .words = words, .open = open_override, .owner = owner, .set = set, .err = err},
			  .conf = sr_alloc(sizeof(*p.conf))};
	enum sr_status rc;

	p.conf->file = sr_strdup(name);
	fill(false, p.conf);
	if (sr_ini_read(&p.ini, in) == SR_OK)
		check(&p);
	if (!p.conf->web_port)
		p.conf->web_port = p.conf->disable_https ? WEB_PORT_HTTP : WEB_PORT_HTTPS;
	rc = p.ini.status;
	if (rc == SR_OK)
		*out = p.conf;
	else
		sr_lb_conf_free(p.conf);
	sr_ini_done(&p.ini);
	return rc;
}

enum sr_status sr_lb_conf_load(struct sr_lb_conf **out, const char *path, struct sr_err *err)
{
	const char *name = path ? path : SR_LB_DEFAULT_FILE;
	FILE *in = NULL;
	enum sr_status rc = sr_ini_open(&in, name, true, err);

	if (rc == SR_OK)
		rc = sr_lb_conf_parse(out, in, name, err);
	if (in)
		fclose(in);
	return rc;
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------ */

static void print_ini(struct sr_lb_conf *conf, struct sr_buf *out)
{
	sr_ini_add_comment(out, conf->file);
	sr_buf_printf(out, "[Global]\n");
	for EACH_KEY (key)
		if (!of_override(key))
			sr_ini_add_lines(out, key, sr_value_at(key, conf));
	for (size_t i = 0; i < conf->override_count; i++) {
		sr_buf_printf(out, "\n[Override \"%s\"]\n", conf->overrides[i].name);
		for EACH_KEY (key)
			if (of_override(key))
				sr_ini_add_lines(out, key, sr_value_at(key, &conf->overrides[i]));
	}
}

static void print_json(struct sr_lb_conf *conf, struct sr_buf *out)
{
	const char *comma = "";

	sr_buf_printf(out, "{\"file\":");
	sr_ini_add_json(out, conf->file);
	sr_buf_printf(out, ",\"global\":{");
	for EACH_KEY (key) {
		if (of_override(key))
			continue;
		sr_buf_printf(out, "%s", comma);
		sr_ini_add_member(out, key, sr_value_at(key, conf));
		comma = ",";
	}
	sr_buf_printf(out, "},\"overrides\":[");
	for (size_t i = 0; i < conf->override_count; i++) {
		sr_buf_printf(out, "%s{\"name\":\"%s\"", i ? "," : "", conf->overrides[i].name);
		for EACH_KEY (key)
			if (of_override(key)) {
				sr_buf_byte(out, ',');
				sr_ini_add_member(out, key, sr_value_at(key, &conf->overrides[i]));
			}
		sr_buf_byte(out, '}');
	}
	sr_buf_printf(out, "]}\n");
}

void sr_lb_conf_print(const struct sr_lb_conf *conf, struct sr_buf *out, bool json)
{
	struct sr_lb_conf *c = (struct sr_lb_conf *)conf; /* sr_value_at has one form for both uses; nothing is written */

	if (json)
		print_json(c, out);
	else
		print_ini(c, out);
}

bool sr_lb_conf_asks(const struct sr_lb_conf *conf)
{
	return !conf->disable_datastore;
}

enum sr_status sr_lb_conf_secret(const struct sr_lb_conf *conf, char **out, struct sr_err *err)
{
	struct sr_secrets all = {0};
	enum sr_status rc = sr_ini_secrets(conf->control_secret, "Control-Secret-File", conf->control_secret_file, &all, err);

	if (rc == SR_OK) {
		*out = all.at[0];
		all.at[0] = NULL;
	}
	sr_secrets_free(&all);
	if (rc != SR_E_NOINPUT)
		return rc;
	return sr_err_set(err, SR_E_CONFIG, "%s: no Control-Secret, and no file %s: give Control-Secret, the content of the datastore's control-auth",
			  conf->file, conf->control_secret_file);
}
