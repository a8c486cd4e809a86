/* setup.h - what a node needs before its first start - configuration, secret, directories, key, empty stores, the drop-in of its unit - and making
 * what is missing.
 *
 * What is made by root and is a datastore's to write belongs to the owner of the state directory, or of the nearest directory above it: the
 * datastore need not run as root.  The secret belongs to the owner of its directory.
 *
 * What is there is never touched, but for the drop-in, which is ours.  A store that state.db remembers and that is not there is lost, not missing: it is not made, for an empty
 * one in its place would tell nobody.  One owner. */
#ifndef SR_ADMIN_SETUP_H
#define SR_ADMIN_SETUP_H

#include <stdio.h>

#include "lib/base/config.h"

struct json_t;

enum sr_setup_is {
	SR_SETUP_MISSING,
	SR_SETUP_THERE,
	SR_SETUP_MADE,
	SR_SETUP_ADDED, /* to a file that was there */
	SR_SETUP_STALE, /* ours, and not what it has to be: written anew, or removed */
	SR_SETUP_LOST
};

struct sr_setup {
	const struct sr_config *config; /* BORROWED */
	bool datastore;
	bool schema;           /* new databases get the tables of lib/users, unless Admin-Query= says that an application brings its own */
	struct sr_bytes conf;  /* what the configuration file is to hold; BORROWED */
	const char *secret;    /* what the secret file is to hold; BORROWED; NULL: a new one, if this is a datastore, else there is none to make */
	struct sr_setup_item {
		const char *what, *name; /* "store", "users.db" */
		char *path;              /* OWNED */
		enum sr_setup_is is;
		enum sr_status (*make)(const struct sr_setup *s, const struct sr_setup_item *item, struct sr_err *err);
		const struct sr_config_store *store;
	} *items;
	size_t n;
};

/* Look at what is there; items is filled.  conf_is: what is to be said of the configuration, which the caller has read. */
SR_MUST enum sr_status sr_setup_look(struct sr_setup *s, enum sr_setup_is conf_is, struct sr_err *err);
/* systemd has to read its units anew: to be said to whoever started this. */
bool sr_setup_units_changed(const struct sr_setup *s);
bool sr_setup_any(const struct sr_setup *s, enum sr_setup_is is);
/* Is that store (its place in config->stores) MISSING? */
bool sr_setup_misses(const struct sr_setup *s, size_t store);
/* Make what is MISSING, to be ADDED or STALE; on a failure what was made until then says so. */
SR_MUST enum sr_status sr_setup_make(struct sr_setup *s, struct sr_err *err);
/* A line an item; made: it has been done, else it is about to be. */
void sr_setup_show(const struct sr_setup *s, bool made, FILE *out);
struct json_t *sr_setup_json(const struct sr_setup *s); /* [{"what", "path", "is"}]; OWNED BY CALLER */
void sr_setup_free(struct sr_setup *s);

#endif
