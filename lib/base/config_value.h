/* config_value.h - how one value of the configuration is read, written and freed, by its type.  Only config*.c and what has a table of its own
 * (config_ini.h) include this. */
#ifndef SR_BASE_CONFIG_VALUE_H
#define SR_BASE_CONFIG_VALUE_H

#include "lib/base/config.h"

enum sr_value_type {
	SR_VALUE_NUMBER,   /* uint64_t, low to high */
	SR_VALUE_PORT,     /* uint16_t */
	SR_VALUE_BOOL,     /* bool */
	SR_VALUE_TEXT,     /* char *, not empty */
	SR_VALUE_USER,     /* char *, a user of this machine or a number */
	SR_VALUE_GROUP,    /* char *, a group of this machine or a number */
	SR_VALUE_PATH,     /* char *, absolute, no slash at its end */
	SR_VALUE_LISTEN,   /* char *; empty is NULL is all interfaces */
	SR_VALUE_URL,      /* char *, http:// or https://; empty is NULL */
	SR_VALUE_PEER,     /* struct sr_config_address, port 9405 if none is given */
	SR_VALUE_ADDRESS,  /* struct sr_config_address, port 0 if none is given */
	SR_VALUE_SECRET,   /* char *, one or two with a newline between; each line adds one */
	SR_VALUE_PIN,      /* char *, sha256//... as libcurl takes it */
	SR_VALUE_LEVEL,    /* enum sr_log_level */
	SR_VALUE_FORMAT,   /* bool: JSON */
	SR_VALUE_CAPTURE,  /* bool: triggers */
	SR_VALUE_KIND,     /* enum sr_config_kind */
	SR_VALUE_PROTOCOL, /* an enum: 0 auto, 1 http, 2 https */
	SR_VALUE_LIST,     /* struct sr_config_list; each line adds one */
	SR_VALUE_NETWORKS, /* struct sr_config_list, of addresses and networks; each line adds one or several */
	SR_VALUE_LIMIT,    /* struct sr_config_limit; each line adds NUMBER or TABLE:NUMBER */
	SR_VALUE_TYPES
};

/* Where the key's value lies in `owner`, a struct sr_config or struct sr_config_store. */
void *sr_value_at(const struct sr_config_key *key, void *owner);

/* Take `text` in place of what was there (lists, limits and secrets: in addition).  false: `why` says what it should be, nothing changed. */
SR_MUST bool sr_value_set(const struct sr_config_key *key, void *at, const char *text, struct sr_buf *why);

/* How many lines say this value (0: it is not set), and the i-th of them. */
size_t sr_value_count(const struct sr_config_key *key, const void *at);
void sr_value_text(const struct sr_config_key *key, const void *at, size_t i, struct sr_buf *out);

bool sr_value_repeats(const struct sr_config_key *key); /* may be given more than once */
bool sr_value_plain(const struct sr_config_key *key);   /* JSON needs no quotes */
void sr_value_free(const struct sr_config_key *key, void *at);

/* The configuration of an empty file.  OWNED BY CALLER (sr_config_free). */
struct sr_config *sr_config_defaults(const char *file);

/* Why a text is no Control-Auth, or NULL. */
const char *sr_secret_fault(struct sr_bytes secret);

#endif
