/* config_value.c - see config_value.h: a set_, a text_ and a table that names them. */
#include "lib/base/config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/account.h"
#include "lib/base/network.h"

#define DATASTORE_PORT 9405

static bool no(struct sr_buf *why, const char *what)
{
	sr_buf_printf(why, "%s", what);
	return false;
}

static void replace(char **at, const char *text, size_t len)
{
	char *copy = text ? sr_text(sr_bytes(text, len)) : NULL;

	free(*at);
	*at = copy;
}

static void free_text(char **at, bool wipe)
{
	if (*at && wipe)
		explicit_bzero(*at, strlen(*at));
	replace(at, NULL, 0);
}

/* ---- numbers and words ---- */

static bool digits(const char *text, size_t len, uint64_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
			return false;
	*out = v;
	return len > 0;
}

static bool number(const struct sr_config_key *key, const char *text, uint64_t *out, struct sr_buf *why)
{
	uint64_t v;

	if (!digits(text, strlen(text), &v) || v < key->low || v > key->high) {
		sr_buf_printf(why, "must be a number from %" PRIu64 " to %" PRIu64, key->low, key->high);
		return false;
	}
	*out = v;
	return true;
}

static bool set_number(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	return number(key, text, at, why);
}

static void text_number(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%" PRIu64, *(const uint64_t *)at);
}

static bool set_port(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	uint64_t v;

	if (!number(key, text, &v, why))
		return false;
	*(uint16_t *)at = (uint16_t)v;
	return true;
}

static void text_port(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%u", *(const uint16_t *)at);
}

struct word {
	const char *text;
	int value; /* the first word of a value is the one that is printed */
};
static const struct word bools[] = {{"true", 1}, {"false", 0}, {"yes", 1}, {"no", 0}, {"on", 1}, {"off", 0}, {"1", 1}, {"0", 0}, {0}};
static const struct word formats[] = {{"text", 0}, {"json", 1}, {0}};
static const struct word captures[] = {{"scan", 0}, {"triggers", 1}, {0}};
static const struct word kinds[] = {{"sqlite", SR_CONFIG_SQLITE}, {"files", SR_CONFIG_FILES}, {0}};
static const struct word protocols[] = {{"auto", 0}, {"http", 1}, {"https", 2}, {0}};
static const struct word log_levels[] = {
	{"debug", SR_LOG_DEBUG}, {"info", SR_LOG_INFO}, {"warn", SR_LOG_WARN}, {"error", SR_LOG_ERROR}, {"warning", SR_LOG_WARN}, {0}};

static const char *word_of(const struct word *words, int value)
{
	while (words->text && words->value != value)
		words++;
	return words->text ? words->text : "?";
}

static bool value_of(const struct word *words, const char *text, int *out)
{
	while (words->text && strcasecmp(words->text, text) != 0)
		words++;
	*out = words->value;
	return words->text != NULL;
}

static bool set_bool(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	int v;

	(void)key;
	if (!value_of(bools, text, &v))
		return no(why, "must be true or false");
	*(bool *)at = v;
	return true;
}

static void text_bool(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%s", word_of(bools, *(const bool *)at));
}

static bool set_format(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	int v;

	(void)key;
	if (!value_of(formats, text, &v))
		return no(why, "must be text or json");
	*(bool *)at = v;
	return true;
}

static void text_format(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%s", word_of(formats, *(const bool *)at));
}

static bool set_capture(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	int v;

	(void)key;
	if (!value_of(captures, text, &v))
		return no(why, "must be scan or triggers");
	*(bool *)at = v;
	return true;
}

static void text_capture(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%s", word_of(captures, *(const bool *)at));
}

static bool set_level(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	int v;

	(void)key;
	if (!value_of(log_levels, text, &v))
		return no(why, "must be debug, info, warn or error");
	*(enum sr_log_level *)at = (enum sr_log_level)v;
	return true;
}

static void text_level(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%s", word_of(log_levels, (int)*(const enum sr_log_level *)at));
}

static bool set_kind(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	enum sr_config_kind *kind = at;
	int v;

	(void)key;
	if (!value_of(kinds, text, &v))
		return no(why, "must be sqlite or files");
	if (*kind != SR_CONFIG_NO_KIND && *kind != (enum sr_config_kind)v) {
		sr_buf_printf(why, "this store is %s and stays so", word_of(kinds, (int)*kind));
		return false;
	}
	*kind = (enum sr_config_kind)v;
	return true;
}

static void text_kind(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%s", word_of(kinds, (int)*(const enum sr_config_kind *)at));
}

static bool set_protocol(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	int v;

	(void)key;
	if (!value_of(protocols, text, &v))
		return no(why, "must be http, https or auto");
	*(unsigned *)at = (unsigned)v;
	return true;
}

static void text_protocol(const void *at, size_t i, struct sr_buf *out)
{
	(void)i;
	sr_buf_printf(out, "%s", word_of(protocols, (int)*(const unsigned *)at));
}

/* ---- texts ---- */

static void text_text(const void *at, size_t i, struct sr_buf *out)
{
	char *const *text = at;

	(void)i;
	if (*text)
		sr_buf_printf(out, "%s", *text);
}

static bool set_text(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	(void)key;
	if (!*text)
		return no(why, "must not be empty");
	replace(at, text, strlen(text));
	return true;
}

static bool set_user(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	struct sr_err err;
	uid_t id;

	return (!*text || sr_account_user(text, &id, &err) == SR_OK) ? set_text(key, at, text, why) : no(why, err.text);
}

static bool set_group(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	struct sr_err err;
	gid_t id;

	return (!*text || sr_account_group(text, &id, &err) == SR_OK) ? set_text(key, at, text, why) : no(why, err.text);
}

static bool set_path(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	size_t len = strlen(text);

	(void)key;
	if (*text != '/')
		return no(why, len ? "must be an absolute path" : "must be a path, it is empty");
	while (len > 1 && text[len - 1] == '/')
		len--;
	replace(at, text, len);
	return true;
}

const char *sr_secret_fault(struct sr_bytes secret)
{
	for (size_t i = 0; i < secret.len; i++)
		if (secret.at[i] <= ' ' || secret.at[i] > '~')
			return "must be printable ASCII without blanks"; /* it travels in an HTTP header */
	return secret.len < SR_SECRET_LEAST ? "must have at least 32 characters" : NULL;
}

static bool set_secret(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	const char *fault = sr_secret_fault(sr_bytes_of(text));
	char **all = at, *had = *all;

	(void)key;
	if (fault)
		return no(why, fault);
	if (had && strchr(had, '\n'))
		return no(why, "given more than twice: there is the secret that is sent, and one that is accepted beside it");
	*all = had ? sr_format("%s\n%s", had, text) : sr_strdup(text);
	free_text(&had, true);
	return true;
}

static void text_secret(const void *at, size_t i, struct sr_buf *out)
{
	(void)at;
	(void)i;
	sr_buf_printf(out, "********");
}

/* sha256//BASE64 of 32 bytes: 43 digits and a '='; several with ';' between, for the day on which the key changes. */
static bool set_pin(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	static const char prefix[] = "sha256//";
	const char *p = text;

	(void)key;
	for (;; p++) {
		size_t n;

		if (strncmp(p, prefix, sizeof(prefix) - 1) != 0)
			break;
		p += sizeof(prefix) - 1;
		for (n = 0; isalnum((unsigned char)*p) || *p == '+' || *p == '/'; p++)
			n++;
		if (n != 43 || *p++ != '=')
			break;
		if (!*p) {
			replace(at, text, strlen(text));
			return true;
		}
		if (*p != ';')
			break;
	}
	return no(why, "must be sha256// and 44 characters of base64");
}

/* ---- addresses ---- */

static bool is_ipv6(const char *text, size_t len)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr parsed;
	const char *zone = memchr(text, '%', len); /* fe80::1%eth0 */

	if (zone)
		len = (size_t)(zone - text);
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return inet_pton(AF_INET6, copy, &parsed) == 1;
}

static bool is_name(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
			return false;
	return len > 0 && len < 256;
}

/* The zone of an address goes into socket calls and URLs: nothing but what an interface may be called. */
static bool zone_is_name(const char *text, size_t len)
{
	const char *zone = memchr(text, '%', len);

	return !zone || is_name(zone + 1, len - (size_t)(zone + 1 - text));
}

/* Cut "host", "host:port", "[v6]" or "[v6]:port".  *port is 0 where there is none. */
static bool split_address(const char *text, const char **host, size_t *host_len, uint16_t *port)
{
	const char *rest;
	uint64_t v = 0;

	if (*text == '[') {
		rest = strchr(text, ']');
		*host = text + 1;
		*host_len = rest ? (size_t)(rest - *host) : 0;
		if (!rest || !is_ipv6(*host, *host_len) || !zone_is_name(*host, *host_len))
			return false;
		rest++;
	} else {
		*host = text;
		*host_len = strcspn(text, ":");
		rest = text + *host_len;
		if (!is_name(*host, *host_len))
			return false;
	}
	if (*rest && (*rest != ':' || !digits(rest + 1, strlen(rest + 1), &v) || v < 1 || v > 65535))
		return false;
	*port = (uint16_t)v;
	return true;
}

bool sr_config_host(const char *text, char **host)
{
	const char *at;
	size_t len;
	uint16_t port;

	if (!split_address(text, &at, &len, &port))
		return false;
	*host = sr_text(sr_bytes(at, len));
	return true;
}

static bool set_address(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	struct sr_config_address *a = at;
	const char *host;
	size_t host_len;
	uint16_t port;

	if (!split_address(text, &host, &host_len, &port)) {
		if (is_ipv6(text, strlen(text)))
			return no(why, "an IPv6 address needs brackets: [address]:port");
		return no(why, "must be host or host:port, port 1 to 65535");
	}
	replace(&a->text, text, strlen(text));
	replace(&a->host, host, host_len);
	a->port = port ? port : key->type == SR_VALUE_PEER ? DATASTORE_PORT : 0;
	return true;
}

static void text_address(const void *at, size_t i, struct sr_buf *out)
{
	const struct sr_config_address *a = at;

	(void)i;
	sr_buf_printf(out, "%s", a->text);
}

static bool set_listen(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	size_t len = strlen(text);

	(void)key;
	if (!len) {
		replace(at, NULL, 0);
		return true;
	}
	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!is_name(text, len) && !(is_ipv6(text, len) && zone_is_name(text, len)))
		return no(why, "must be an address of this machine, without a port; empty: all interfaces");
	replace(at, text, len);
	return true;
}

/* Of printable ASCII, with neither a name and password nor a fragment. */
static bool set_url(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	const char *host = strstr(text, "//");
	size_t scheme = host ? (size_t)(host - text) : 0, len;
	char *address;
	const char *cut;
	size_t cut_len;
	uint16_t port;
	bool good;

	(void)key;
	if (!*text) {
		replace(at, NULL, 0);
		return true;
	}
	good = (scheme == 5 && !strncasecmp(text, "http:", 5)) || (scheme == 6 && !strncasecmp(text, "https:", 6));
	for (const char *c = text; *c; c++)
		good &= *c > ' ' && *c < 127 && *c != '#';
	if (!good)
		return no(why, "must be http:// or https://, a host, and what follows, without blanks; empty: none");
	len = strcspn(host + 2, "/?");
	address = sr_text(sr_bytes(host + 2, len));
	good = split_address(address, &cut, &cut_len, &port);
	free(address);
	if (!good)
		return no(why, "must have a host, or host:port, behind its //");
	replace(at, text, strlen(text));
	return true;
}

/* ---- what may be repeated ---- */

static bool set_list(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	struct sr_config_list *list = at;

	(void)key;
	if (!*text)
		return no(why, "must not be empty");
	list->at = sr_realloc(list->at, (list->count + 1) * sizeof(*list->at));
	list->at[list->count++] = sr_strdup(text);
	return true;
}

static void text_list(const void *at, size_t i, struct sr_buf *out)
{
	const struct sr_config_list *list = at;

	sr_buf_printf(out, "%s", list->at[i]);
}

/* One or several, with blanks or commas between. */
static bool set_networks(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	struct sr_config_list *list = at;
	size_t had = list->count, len;

	(void)key;
	for (text += strspn(text, ", \t"); *text; text += len + strspn(text + len, ", \t")) {
		struct sr_network network;
		char *one;

		len = strcspn(text, ", \t");
		one = sr_text(sr_bytes(text, len));
		list->at = sr_realloc(list->at, (list->count + 1) * sizeof(*list->at));
		list->at[list->count++] = one;
		if (sr_network_parse(one, &network))
			continue;
		sr_buf_printf(why, "must be addresses or networks (192.0.2.7, 10.0.0.0/8, 2001:db8::/32), and %.80s is none", one);
		while (list->count > had)
			free(list->at[--list->count]);
		return false;
	}
	return list->count > had || no(why, "must not be empty");
}

static bool set_limit(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	struct sr_config_limit *limit = at;
	const char *colon = strrchr(text, ':');
	uint64_t v;
	char *table;

	if (!number(key, colon ? colon + 1 : text, &v, why))
		return false;
	if (!colon) {
		if (limit->own)
			return no(why, "given twice");
		limit->own = true;
		limit->value = v;
		return true;
	}
	if (colon == text)
		return no(why, "there is no table's name before the colon");
	table = sr_text(sr_bytes(text, (size_t)(colon - text)));
	for (size_t i = 0; i < limit->count; i++)
		if (strcasecmp(limit->tables[i].table, table) == 0) {
			free(table);
			return no(why, "given twice for this table");
		}
	limit->tables = sr_realloc(limit->tables, (limit->count + 1) * sizeof(*limit->tables));
	limit->tables[limit->count++] = (struct sr_config_table_limit){.table = table, .value = v};
	return true;
}

static void text_limit(const void *at, size_t i, struct sr_buf *out)
{
	const struct sr_config_limit *limit = at;

	if (i == 0)
		sr_buf_printf(out, "%" PRIu64, limit->value);
	else
		sr_buf_printf(out, "%s:%" PRIu64, limit->tables[i - 1].table, limit->tables[i - 1].value);
}

/* ---- the table ---- */

static const struct {
	bool (*set)(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why);
	void (*text)(const void *at, size_t i, struct sr_buf *out);
	bool plain; /* stands in JSON without quotes */
} types[SR_VALUE_TYPES] = {
	[SR_VALUE_NUMBER] = {set_number, text_number, true},
	[SR_VALUE_PORT] = {set_port, text_port, true},
	[SR_VALUE_BOOL] = {set_bool, text_bool, true},
	[SR_VALUE_TEXT] = {set_text, text_text, false},
	[SR_VALUE_USER] = {set_user, text_text, false},
	[SR_VALUE_GROUP] = {set_group, text_text, false},
	[SR_VALUE_PATH] = {set_path, text_text, false},
	[SR_VALUE_URL] = {set_url, text_text, false},
	[SR_VALUE_LISTEN] = {set_listen, text_text, false},
	[SR_VALUE_PEER] = {set_address, text_address, false},
	[SR_VALUE_ADDRESS] = {set_address, text_address, false},
	[SR_VALUE_SECRET] = {set_secret, text_secret, false},
	[SR_VALUE_PIN] = {set_pin, text_text, false},
	[SR_VALUE_LEVEL] = {set_level, text_level, false},
	[SR_VALUE_FORMAT] = {set_format, text_format, false},
	[SR_VALUE_CAPTURE] = {set_capture, text_capture, false},
	[SR_VALUE_KIND] = {set_kind, text_kind, false},
	[SR_VALUE_PROTOCOL] = {set_protocol, text_protocol, false},
	[SR_VALUE_LIST] = {set_list, text_list, false},
	[SR_VALUE_NETWORKS] = {set_networks, text_list, false},
	[SR_VALUE_LIMIT] = {set_limit, text_limit, false},
};

void *sr_value_at(const struct sr_config_key *key, void *owner)
{
	return (char *)owner + key->offset;
}

bool sr_value_set(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why)
{
	return types[key->type].set(key, at, text, why);
}

size_t sr_value_count(const struct sr_config_key *key, const void *at)
{
	switch ((enum sr_value_type)key->type) {
	case SR_VALUE_TEXT:
	case SR_VALUE_USER:
	case SR_VALUE_GROUP:
	case SR_VALUE_PATH:
	case SR_VALUE_PIN:
		return *(char *const *)at != NULL;
	case SR_VALUE_SECRET:
		return *(char *const *)at ? 1 + (strchr(*(char *const *)at, '\n') != NULL) : 0;
	case SR_VALUE_PEER:
	case SR_VALUE_ADDRESS:
		return ((const struct sr_config_address *)at)->text != NULL;
	case SR_VALUE_LIST:
	case SR_VALUE_NETWORKS:
		return ((const struct sr_config_list *)at)->count;
	case SR_VALUE_LIMIT:
		return 1 + ((const struct sr_config_limit *)at)->count;
	default:
		return 1;
	}
}

void sr_value_text(const struct sr_config_key *key, const void *at, size_t i, struct sr_buf *out)
{
	types[key->type].text(at, i, out);
}

bool sr_value_repeats(const struct sr_config_key *key)
{
	return key->type == SR_VALUE_LIST || key->type == SR_VALUE_NETWORKS || key->type == SR_VALUE_LIMIT || key->type == SR_VALUE_SECRET;
}

bool sr_value_plain(const struct sr_config_key *key)
{
	return types[key->type].plain;
}

void sr_value_free(const struct sr_config_key *key, void *at)
{
	struct sr_config_address *address = at;
	struct sr_config_list *list = at;
	struct sr_config_limit *limit = at;

	switch ((enum sr_value_type)key->type) {
	case SR_VALUE_TEXT:
	case SR_VALUE_USER:
	case SR_VALUE_GROUP:
	case SR_VALUE_PATH:
	case SR_VALUE_LISTEN:
	case SR_VALUE_URL:
	case SR_VALUE_PIN:
	case SR_VALUE_SECRET:
		free_text(at, key->type == SR_VALUE_SECRET);
		break;
	case SR_VALUE_PEER:
	case SR_VALUE_ADDRESS:
		free(address->text);
		free(address->host);
		break;
	case SR_VALUE_LIST:
	case SR_VALUE_NETWORKS:
		for (size_t i = 0; i < list->count; i++)
			free(list->at[i]);
		free(list->at);
		break;
	case SR_VALUE_LIMIT:
		for (size_t i = 0; i < limit->count; i++)
			free(limit->tables[i].table);
		free(limit->tables);
		break;
	default:
		break;
	}
}
