/* webservers.h - the list of webservers to balance over: from the datastore's registry (GET /api/webservers) and the [Override] sections.
 *
 * What webservers say of themselves is anybody's text until it was looked at here: an address has to be host:port, hosts are names that resolver.h
 * is given, and nothing but addresses, numbers and names of plain letters leave for HAProxy's configuration.  What cannot be used is left out, with its reason.
 * Not thread-safe: a list has one owner.  Never logs. */
#ifndef SR_LB_WEBSERVERS_H
#define SR_LB_WEBSERVERS_H

#include "lib/lb/conf.h"

struct json_t;

#define SR_LB_ID_MOST 64

struct sr_lb_webserver {
	char id[SR_LB_ID_MOST];  /* what HAProxy calls it: of A-Z a-z 0-9 . _ -, one of a kind */
	char cookie[17];         /* hex; the same as long as the webserver's UUID (or an override's name and address) is */
	char *host, *address;    /* as it was said; the numeric address that it stands for, which may be an IPv6 one */
	uint16_t port;           /* of the application */
	bool https, verify;      /* the application speaks TLS; with a certificate that CAs vouch for */
	uint16_t sync_port;      /* of the sync daemon, which says whether it is alive; 0: nobody is asked */
	bool sync_tls;
	char *seen;              /* of the registry: when, ISO 8601; NULL: an override */
	bool stale;              /* of the registry: it has not been seen for some intervals */
};

struct sr_lb_list {
	struct sr_lb_webserver *at; /* sorted by id */
	size_t n;
	char **left; /* "NAME: why it is left out", without control characters; of very many the first, and "and others" */
	size_t left_n;
};

/* Whose addresses are needed: an object with a member of each host that is a name.  OWNED BY CALLER (json_decref). */
struct json_t *sr_lb_list_hosts(const struct sr_lb_conf *conf, const struct json_t *registry);

/* Does it name any webserver at an address? */
bool sr_lb_list_any(const struct json_t *registry);

/* registry: the answer's array, NULL: none.  addresses: an object from host to address; what is there of hosts that are in no use is taken away.  SR_E_DATA: the registry is no array.  *out is OWNED BY CALLER
 * (sr_lb_list_free). */
SR_MUST enum sr_status sr_lb_list_make(struct sr_lb_list *out, const struct sr_lb_conf *conf, const struct json_t *registry,
				       struct json_t *addresses, struct sr_err *err);
void sr_lb_list_free(struct sr_lb_list *list); /* and back to {0} */

#endif
