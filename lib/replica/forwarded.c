/* forwarded.c - see forwarded.h. */
#include "lib/replica/forwarded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void sr_proxies_open(struct sr_proxies *out, const struct sr_config_list *names)
{
	*out = (struct sr_proxies){.at = sr_alloc((names->count + 1) * sizeof *out->at)};
	for (size_t i = 0; i < names->count; i++)
		out->n += sr_network_parse(names->at[i], &out->at[out->n]);
}

void sr_proxies_close(struct sr_proxies *p)
{
	free(p->at);
	*p = (struct sr_proxies){0};
}

static bool is_trusted(const struct sr_proxies *p, const struct sr_network *address)
{
	for (size_t i = 0; i < p->n; i++)
		if (sr_network_has(&p->at[i], address))
			return true;
	return false;
}

static bool comes_from_trusted(const struct sr_proxies *p, const struct sr_request *req, struct sr_network *peer)
{
	return sr_network_parse_peer(sr_bytes_of(sr_request_peer(req)), peer) && is_trusted(p, peer);
}

/* The last one of a list "a, b, c" that ends at *len, without blanks; *len becomes where the rest ends. */
static struct sr_bytes last_of(const char *list, size_t *len)
{
	size_t start = *len, end = *len;

	while (start > 0 && list[start - 1] != ',')
		start--;
	*len = start ? start - 1 : 0;
	while (start < end && (list[start] == ' ' || list[start] == '\t'))
		start++;
	while (end > start && (list[end - 1] == ' ' || list[end - 1] == '\t'))
		end--;
	return sr_bytes(list + start, end - start);
}

/* Each proxy adds at the end who came to it: from there on back past those that are trusted.  What is before the first other one anybody
 * may have written.  *peer: the connection's, a trusted one.  *here: it and all that are named came over this machine's own loopback; 127.0.0.1 that
 * a proxy elsewhere names is that one's.  false: it is no address. */
static bool walk_back(const struct sr_proxies *p, const char *list, struct sr_network *peer, bool *here)
{
	size_t left = strlen(list);

	*here = sr_network_is_loopback(peer);
	if (!left)
		return false;
	while (left && is_trusted(p, peer)) {
		if (!sr_network_parse_peer(last_of(list, &left), peer))
			return false;
		*here = *here && sr_network_is_loopback(peer);
	}
	return true;
}

static bool is_forwarded(const struct sr_request *req)
{
	static const char *const names[] = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (sr_request_header(req, names[i]))
			return true;
	return false;
}

/* Each proxy on the way was spoken to so. */
static bool all_https(const char *list)
{
	size_t len;

	do {
		list += strspn(list, " \t");
		len = strcspn(list, ", \t");
		if (len != strlen("https") || strncasecmp(list, "https", len) != 0)
			return false;
		list += len;
		list += strspn(list, " \t");
	} while (*list++ == ',');
	return !list[-1];
}

/* What a client has written there itself stands before what the proxy did, in the same line or in one of its own. */
static void of_trusted(const struct sr_proxies *p, const struct sr_request *req, struct sr_network *peer, struct sr_origin *out)
{
	struct sr_buf list = {0}, scheme = {0};
	bool known = true;

	out->direct = !is_forwarded(req);
	out->here = out->direct && sr_network_is_loopback(peer);
	if (sr_request_header_all(req, "X-Forwarded-Proto", &scheme)) /* else the proxy speaks as it was spoken to */
		out->tls = all_https(sr_buf_text(&scheme));
	if (sr_request_header_all(req, "X-Forwarded-For", &list))
		known = walk_back(p, sr_buf_text(&list), peer, &out->here);
	if (known)
		sr_network_text(peer, out->peer);
	else
		snprintf(out->peer, sizeof out->peer, "unknown");
	out->here = known && out->here;
	sr_buf_free(&list);
	sr_buf_free(&scheme);
}

void sr_origin_of(const struct sr_proxies *p, const struct sr_request *req, struct sr_origin *out)
{
	struct sr_network peer = {0};

	*out = (struct sr_origin){.tls = sr_request_tls(req)};
	if (comes_from_trusted(p, req, &peer)) {
		of_trusted(p, req, &peer, out);
		return;
	}
	snprintf(out->peer, sizeof out->peer, "%s", sr_request_peer(req));
	out->strange_proxy = is_forwarded(req);
	out->direct = !out->strange_proxy;
	out->here = out->direct && sr_network_is_loopback(&peer);
}

/* --- whose page it is ------------------------------------------------------------------------------------------------------- */

/* "HOST:PORT" is one of the origin "SCHEME://HOST:PORT": the port of the scheme may be left out on either side. */
static bool is_host_of(const char *origin, const char *host)
{
	const char *rest = strstr(origin, "://"), *port;
	size_t a, b;

	if (!rest || !host)
		return false;
	port = strncasecmp(origin, "https:", 6) == 0 ? ":443" : ":80";
	rest += 3;
	a = strcspn(rest, "/"); /* a Referer goes on */
	b = strlen(host);
	if (a > strlen(port) && strncmp(rest + a - strlen(port), port, strlen(port)) == 0)
		a -= strlen(port);
	if (b > strlen(port) && strcmp(host + b - strlen(port), port) == 0)
		b -= strlen(port);
	return a == b && a > 0 && strncasecmp(rest, host, a) == 0;
}

static bool is_ours(const struct sr_proxies *p, const struct sr_request *req, const char *origin)
{
	struct sr_network peer;

	return is_host_of(origin, sr_request_header(req, "Host")) ||
	       (comes_from_trusted(p, req, &peer) && is_host_of(origin, sr_request_header(req, "X-Forwarded-Host")));
}

enum sr_status sr_same_origin(const struct sr_proxies *p, const struct sr_request *req, struct sr_err *err)
{
	const char *site = sr_request_header(req, "Sec-Fetch-Site"), *origin = sr_request_header(req, "Origin");

	if (!origin)
		origin = sr_request_header(req, "Referer");
	if (!site && !origin)
		return SR_OK;
	if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return sr_err_set(err, SR_E_FORBIDDEN, "a page of another site had the browser send this (Sec-Fetch-Site: %.40s)", site);
	if (origin && !is_ours(p, req, origin))
		return sr_err_set(err, SR_E_FORBIDDEN,
				  "a page of %.200s had the browser send this, and this is another host; a proxy has to pass on the Host "
				  "that it was asked "
				  "for, or to be named in Trusted-Proxies and send it as X-Forwarded-Host",
				  origin);
	if (!sr_request_header(req, SR_PAGE_HEADER))
		return sr_err_set(err, SR_E_FORBIDDEN,
				  "a browser changes something by the status page only: " SR_PAGE_HEADER " is missing");
	return SR_OK;
}
