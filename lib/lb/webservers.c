/* webservers.c - see webservers.h. */
#include "lib/lb/webservers.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/door.h"
#include "lib/base/sha256.h"
#include "lib/lb/resolver.h"

#define MOST      1000 /* webservers */
#define LEFT_MOST 20   /* that are named of those that are left out */
#define NAME_MOST 40   /* of an id; the rest of it is a dash and eight digits */

static void free_one(struct sr_lb_webserver *w)
{
	free(w->host);
	free(w->address);
	free(w->seen);
}

void sr_lb_list_free(struct sr_lb_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free_one(&list->at[i]);
	for (size_t i = 0; i < list->left_n; i++)
		free(list->left[i]);
	free(list->at);
	free(list->left);
	*list = (struct sr_lb_list){0};
}

static void leave_out(struct sr_lb_list *list, const char *name, const char *why)
{
	char *line;

	if (list->left_n > LEFT_MOST)
		return;
	line = list->left_n < LEFT_MOST ? sr_format("%.100s: %s", name, why) : sr_strdup("and others");
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	list->left = sr_realloc(list->left, (list->left_n + 1) * sizeof *list->left);
	list->left[list->left_n++] = line;
}

/* --- what HAProxy calls it ---------------------------------------------------------------------------------------------------------- */

/* key: what it is known by, whatever it is called. */
static void name_it(struct sr_lb_webserver *w, const char *name, const char *key)
{
	struct sr_sha256 *h = sr_sha256_new();
	uint8_t digest[SR_SHA256_LEN];
	char text[SR_SHA256_TEXT];
	size_t n = strnlen(name, NAME_MOST);

	sr_sha256_add(h, "sameroot-lb 1", sizeof "sameroot-lb 1");
	sr_sha256_add(h, key, strlen(key));
	sr_sha256_end(h, digest);
	sr_sha256_free(h);
	sr_sha256_text(text, digest);
	memcpy(w->cookie, text, sizeof w->cookie - 1);
	for (size_t i = 0; i < n; i++)
		w->id[i] = isalnum((unsigned char)name[i]) || strchr(".-", name[i]) ? name[i] : '_';
	snprintf(w->id + n, sizeof w->id - n, "-%.16s", text); /* two with one id, and HAProxy would take none */
}

/* --- where it is -------------------------------------------------------------------------------------------------------------------- */

/* OWNED BY CALLER; NULL: it is not known. */
static char *address_of(const char *host, const json_t *addresses)
{
	const char *known = sr_lb_is_numeric(host) ? host : json_string_value(json_object_get(addresses, host));

	return known && sr_lb_is_numeric(known) ? sr_strdup(known) : NULL;
}

/* false: it is not host:port. */
static bool split(const char *text, char **host, uint16_t *port)
{
	return sr_lb_split(text, host, port) && !strchr(*host, '%');
}

static void add_host(json_t *hosts, const char *text)
{
	char *host = NULL;
	uint16_t port;

	if (text && split(text, &host, &port) && !sr_lb_is_numeric(host))
		json_object_set_new(hosts, host, json_null());
	free(host);
}

json_t *sr_lb_list_hosts(const struct sr_lb_conf *conf, const json_t *registry)
{
	json_t *hosts = json_object();
	const json_t *o;
	size_t i;

	for (i = 0; i < conf->override_count; i++)
		for (size_t k = 0; k < conf->overrides[i].webserver.count; k++)
			add_host(hosts, conf->overrides[i].webserver.at[k]);
	json_array_foreach(registry, i, o)
		if (json_object_size(hosts) < MOST)
			add_host(hosts, json_string_value(json_object_get(o, "external_addr")));
	return hosts;
}

bool sr_lb_list_any(const json_t *registry)
{
	const json_t *o;
	size_t i;

	json_array_foreach(registry, i, o) {
		const char *external = json_string_value(json_object_get(o, "external_addr"));
		json_int_t sync = json_integer_value(json_object_get(o, "sync_port"));
		char *host = NULL;
		uint16_t port;
		bool good = external && sync >= 1 && sync <= 65535 && split(external, &host, &port);

		free(host);
		if (good)
			return true;
	}
	return false;
}

/* --- one more -------------------------------------------------------------------------------------------------------------------------- */

/* Which of two at one address counts?  An override; one that is seen; of two that are not the one that was seen last: a machine that was set up anew has
 * a new UUID.  Of two that are, always the same one. */
static bool counts(const struct sr_lb_webserver *a, const struct sr_lb_webserver *b)
{
	if (!a->seen || !b->seen)
		return !a->seen;
	if (a->stale != b->stale)
		return b->stale;
	return a->stale && strcmp(a->seen, b->seen) != 0 ? strcmp(a->seen, b->seen) > 0 : strcmp(a->cookie, b->cookie) < 0;
}

/* CONSUMES what *w holds. */
static void add(struct sr_lb_list *list, struct sr_lb_webserver *w)
{
	for (size_t i = 0; i < list->n; i++) {
		struct sr_lb_webserver *o = &list->at[i];

		if (!strcmp(o->cookie, w->cookie)) { /* HAProxy would take neither */
			leave_out(list, w->id, "another entry has the same UUID");
			free_one(w);
			return;
		}
		if (o->port != w->port || strcmp(o->address, w->address) != 0)
			continue;
		leave_out(list, counts(w, o) ? o->id : w->id, "another webserver, or an override, has the same External-Addr");
		if (counts(w, o)) {
			struct sr_lb_webserver old = *o;

			*o = *w;
			*w = old;
		}
		free_one(w);
		return;
	}
	list->at = sr_realloc(list->at, (list->n + 1) * sizeof *list->at);
	list->at[list->n++] = *w;
}

/* host and port from `text`, and what follows from them.  NULL, or why not. */
static const char *place(struct sr_lb_webserver *w, const char *text, enum sr_lb_protocol protocol, const json_t *addresses)
{
	if (!split(text, &w->host, &w->port))
		return "its External-Addr is not host:port";
	w->https = protocol == SR_LB_HTTPS || (protocol == SR_LB_AUTO && (w->port == 443 || w->port == 8443));
	if (!w->port)
		w->port = w->https ? 443 : 80;
	w->address = address_of(w->host, addresses);
	return w->address ? NULL : "the host of its External-Addr cannot be resolved";
}

static void add_override(struct sr_lb_list *list, const struct sr_lb_conf *conf, const struct sr_lb_override *o, json_t *addresses)
{
	enum sr_lb_protocol protocol = o->disable_https ? SR_LB_HTTP : o->protocol == SR_LB_AUTO ? conf->webserver_protocol : o->protocol;

	for (size_t i = 0; i < o->webserver.count; i++) {
		struct sr_lb_webserver w = {.sync_port = o->sync_port, .sync_tls = !o->sync_disable_https,
					    .verify = !o->skip_tls_verify && !conf->skip_tls_verify};
		char *key = sr_format("override %s %s", o->name, o->webserver.at[i]);
		const char *why = place(&w, o->webserver.at[i], protocol, addresses);

		name_it(&w, o->name, key);
		if (why) {
			leave_out(list, o->webserver.at[i], why);
			free_one(&w);
		} else {
			add(list, &w);
		}
		free(key);
	}
}

static const char *text(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* Why this entry cannot be used, or NULL. */
static const char *take(struct sr_lb_webserver *w, const struct sr_lb_conf *conf, const json_t *o, json_t *addresses)
{
	const json_t *port = json_object_get(o, "sync_port");
	json_int_t sync = json_integer_value(port);
	const char *name = text(o, "name"), *uuid = text(o, "uuid"), *external = text(o, "external_addr"), *seen = text(o, "seen");
	struct sr_uuid parsed;

	if (!uuid || sr_uuid_parse(&parsed, uuid) != 0)
		return "it has no UUID";
	if (!external)
		return "it has not told its External-Addr yet";
	if (sync < 1 || sync > 65535)
		return "its sync daemon has not told a port yet";
	name_it(w, name ? name : "webserver", uuid);
	w->sync_port = (uint16_t)sync;
	w->sync_tls = json_is_string(json_object_get(o, "pin"));
	w->verify = !conf->skip_tls_verify;
	w->seen = sr_strdup(seen ? seen : "");
	w->stale = json_is_true(json_object_get(o, "stale"));
	return place(w, external, conf->webserver_protocol, addresses);
}

static void add_registered(struct sr_lb_list *list, const struct sr_lb_conf *conf, const json_t *o, json_t *addresses)
{
	struct sr_lb_webserver w = {0};
	const char *name = text(o, "name"), *uuid = text(o, "uuid"), *why = take(&w, conf, o, addresses);

	if (!why && list->n >= MOST)
		why = "there are too many webservers";
	if (why) {
		leave_out(list, name && *name ? name : uuid ? uuid : "an entry", why);
		free_one(&w);
	} else {
		add(list, &w);
	}
}

/* Hosts come and go; what nobody is at any more is not kept. */
static void prune(const struct sr_lb_list *list, json_t *addresses)
{
	const char *host;
	json_t *value;
	void *next;

	json_object_foreach_safe(addresses, next, host, value) {
		size_t i = 0;

		while (i < list->n && strcmp(list->at[i].host, host) != 0)
			i++;
		if (i == list->n)
			json_object_del(addresses, host);
	}
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct sr_lb_webserver *)a)->id, ((const struct sr_lb_webserver *)b)->id);
}

enum sr_status sr_lb_list_make(struct sr_lb_list *out, const struct sr_lb_conf *conf, const json_t *registry, json_t *addresses,
			       struct sr_err *err)
{
	struct sr_lb_list list = {0};
	const json_t *o;
	size_t i;

	if (registry && !json_is_array(registry))
		return sr_err_set(err, SR_E_DATA, "the datastore's list of webservers is no array");
	for (i = 0; i < conf->override_count; i++)
		add_override(&list, conf, &conf->overrides[i], addresses);
	json_array_foreach(registry, i, o)
		add_registered(&list, conf, o, addresses);
	prune(&list, addresses);
	if (list.n)
		qsort(list.at, list.n, sizeof *list.at, by_id);
	*out = list;
	return SR_OK;
}
