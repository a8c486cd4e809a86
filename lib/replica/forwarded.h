/* forwarded.h - who asks, when it may have come by a reverse proxy: what such a proxy says of a request is believed of those only that
 * Trusted-Proxies names.  And whether it was one of our own pages that had a browser ask.  No state; thread-safe. */
#ifndef SR_REPLICA_FORWARDED_H
#define SR_REPLICA_FORWARDED_H

#include "http/server.h"
#include "lib/base/config.h"
#include "lib/base/network.h"

struct sr_proxies {            /* those that are trusted */
	struct sr_network *at; /* OWNED */
	size_t n;
};
void sr_proxies_open(struct sr_proxies *out, const struct sr_config_list *names); /* names: valid ones, as the configuration has them */
void sr_proxies_close(struct sr_proxies *p);

struct sr_origin {
	char peer[SR_NETWORK_TEXT]; /* whose login it is: the connection's peer, or what the last trusted proxy says that its own was */
	bool direct;                /* no proxy has sent it, as far as it shows */
	bool here;                  /* from this machine itself, over its loopback alone, also where proxies are between */
	bool tls;                   /* all the way, as far as a trusted proxy tells */
	bool strange_proxy;         /* a proxy has sent it that is not trusted */
};
void sr_origin_of(const struct sr_proxies *p, const struct sr_request *req, struct sr_origin *out);

/* A browser sends a login that it knows with whatever any page of the web makes it ask.  So what changes something is refused
 * (SR_E_FORBIDDEN) that a browser sends - by Sec-Fetch-Site, Origin or Referer - for a page of another origin, or without the header
 * SR_PAGE_HEADER, which only a script of ours sends.  What sends none of these is no browser. */
#define SR_PAGE_HEADER "X-Sameroot-Page"
SR_MUST enum sr_status sr_same_origin(const struct sr_proxies *p, const struct sr_request *req, struct sr_err *err);

#endif
