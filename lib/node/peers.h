/* peers.h - the other webservers: the registry as this node last learnt it, and a client to each of them.
 *
 * The registry is the datastore's (GET /api/webservers).  It is asked when somebody wants to know, and what it said is kept, also while the datastore
 * does not answer, and in a file beyond a restart: the day on which the datastore is gone is the day on which the others are looked for.  One asks at a
 * time; who comes meanwhile waits for that answer.
 *
 * Control-Auth goes to a peer under the key that the registry has of it; over plain HTTP only if this node's own daemons speak that, too.
 *
 * Thread-safe.  A list never changes once it was handed out. */
#ifndef SR_NODE_PEERS_H
#define SR_NODE_PEERS_H

#include "http/client.h"

struct json_t;
struct sr_peers; /* opaque */

/* --- who there is ------------------------------------------------------------------------------------------------------ */

#define SR_PEER_GONE_S 3600 /* who was not seen for so long is hardly about to come back */

struct sr_peer { /* one webserver; strings of it are OWNED by the list, and NULL where the registry has none */
	const char *uuid;
	const char *name;          /* never NULL: its name; else its External-Addr, its UUID */
	const char *external_addr;
	const char *host;          /* of external_addr, an IPv6 address without its brackets */
	unsigned sync_port;        /* 0: it did not tell */
	const char *pin;           /* of its key; NULL: plain HTTP */
	bool self;                 /* this node */
	bool stale;                /* not seen for three of its intervals, and */
	bool gone;                 /* not for SR_PEER_GONE_S, either */
	const struct json_t *row;  /* all that the registry says of it; only to be read */
};

struct sr_peer_list {
	const struct sr_peer *at;
	size_t n;
	int64_t learnt_ms; /* sr_ticks_ms() when the datastore was asked; of what a restart brought it may be below 0; 0: never, and there is nobody in it */
};

/* --- learning it ------------------------------------------------------------------------------------------------------- */

struct sr_peers_options {
	/* The registry as JSON, as GET /api/webservers answers it; within a second or so.  From any thread. */
	enum sr_status (*ask)(void *ctx, struct sr_buf *out, struct sr_err *err);
	void *ctx;
	const char *self;   /* this node's UUID; NULL: the datastore */
	const char *secret; /* Control-Auth */
	const char *certificate, *key; /* shown to those that ask for one [none] */
	bool plain;         /* Insecure-Disable-HTTPS: a secret may go over plain HTTP */
	const char *file;   /* in which it outlives a restart; one that cannot be read or written is as none [none] */
};
struct sr_peers *sr_peers_new(const struct sr_peers_options *options); /* COPIES */
void sr_peers_free(struct sr_peers *p); /* CONSUMES; NULL is a no-op.  Nobody asks any more; lists that are out stay what they are */

/* What is known, never NULL; asked for if that is older than max_age_ms.  *why (not NULL): code SR_OK, or why it is older than that (then it is not
 * asked again for a second).  sr_peer_list_free when done. */
struct sr_peer_list *sr_peers_take(struct sr_peers *p, unsigned max_age_ms, struct sr_err *why);
/* Somebody has just asked, in another way.  SR_E_DATA: that is no registry; nothing changed. */
SR_MUST enum sr_status sr_peers_learn(struct sr_peers *p, struct sr_bytes json, struct sr_err *err);
struct sr_peer_list *sr_peer_list_hold(const struct sr_peer_list *list); /* the same once more: sr_peer_list_free it, too */
void sr_peer_list_free(struct sr_peer_list *list);
/* One of them was made another than the registry says: whoever takes it next asks. */
void sr_peers_doubt(struct sr_peers *p);

/* By UUID, name (any case) or External-Addr; NULL: there is none.  VALID with the list. */
const struct sr_peer *sr_peer_find(const struct sr_peer_list *list, const char *text);

/* --- talking to one ---------------------------------------------------------------------------------------------------- */

struct sr_peer_call { /* as in struct sr_client_options, with the defaults there */
	unsigned connect_ms, stall_s, total_ms;
	const char *basic; /* "name:password", instead of Control-Auth */
};
/* A client to that peer, at the host of its External-Addr and its Sync-Port; it speaks to no one yet.  call NULL: the defaults.  Whoever gets it
 * owns it, beyond list and peers.  SR_E_UNAVAILABLE: it did not tell where it listens; SR_E_AUTH: it serves plain HTTP, and this node sends no
 * secret over that. */
SR_MUST enum sr_status sr_peer_client(struct sr_peers *p, const struct sr_peer *peer, const struct sr_peer_call *call, struct sr_client **out,
				      struct sr_err *err);
/* Clients that are made from now on carry this one.  From any thread. */
void sr_peers_set_secret(struct sr_peers *p, const char *secret);

#endif
