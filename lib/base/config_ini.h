/* config_ini.h - reading an INI file by a table of keys: its lines, sections and values, and which line said what.  What has a table of its own
 * includes this, and nobody else; the syntax is that of config.h.
 *
 * The owner embeds a struct sr_ini as the first member of what it reads into, fills in the upper half, and sr_ini_read() calls back.  One reading,
 * one thread. */
#ifndef SR_BASE_CONFIG_INI_H
#define SR_BASE_CONFIG_INI_H

#include <stdio.h>

#include "lib/base/config_value.h"

struct sr_ini {
	const char *file; /* as errors call it; BORROWED, like all of this half */
	const struct sr_config_key *keys;
	size_t count;
	const char *const *words; /* of sections with a name, NULL at the end: {"store", NULL} */
	/* `[word "name"]` begins: the number of that section, from 1; the same name may come again.  0: sr_ini_fault() was told why not. */
	size_t (*open)(struct sr_ini *ini, const char *word, const char *name);
	/* What holds the values of this key in that section (0: [global]), as sr_value_at() takes it. */
	void *(*owner)(struct sr_ini *ini, const struct sr_config_key *key, size_t section);
	/* Instead of sr_ini_set(), which it calls; NULL: nothing more is to be looked at. */
	void (*set)(struct sr_ini *ini, const struct sr_config_key *key, void *at);
	struct sr_err *err;

	enum sr_status status; /* the first fault ends the reading */
	int line_number;
	size_t section;
	char *value; /* of the line; VALID during set */
	FILE *in;
	struct sr_buf line;
	int *given; /* `count` for each section: on which line it was */
	size_t sections;
};

/* in NULL: an empty file.  Returns ini->status; sr_ini_done() follows in any case. */
SR_MUST enum sr_status sr_ini_read(struct sr_ini *ini, FILE *in);
void sr_ini_done(struct sr_ini *ini); /* wipes the last line: a secret may have been in it */

/* "FILE:LINE: what" (line 0: "FILE: what") becomes the fault.  The first one stays. */
void sr_ini_fault(struct sr_ini *ini, int line, const char *fmt, ...) SR_PRINTF(3, 4);
/* Take ini->value, or fault. */
void sr_ini_set(struct sr_ini *ini, const struct sr_config_key *key, void *at);
/* The line on which this key was given in that section; 0: it was not, or there is no such key. */
int sr_ini_line(const struct sr_ini *ini, const char *key, size_t section);

/* Open a configuration.  named false, and it is not there: SR_OK and *out NULL.  SR_E_CONFIG: it cannot be read, or is a directory. */
SR_MUST enum sr_status sr_ini_open(FILE **out, const char *path, bool named, struct sr_err *err);

/* `Key=value` for each line that it takes, or `# Key is not set`; as a member of a JSON object, without a comma; any text as a JSON string (bytes
 * that are not UTF-8 stand as \xNN); a comment. */
void sr_ini_add_lines(struct sr_buf *out, const struct sr_config_key *key, const void *at);
void sr_ini_add_member(struct sr_buf *out, const struct sr_config_key *key, const void *at);
void sr_ini_add_json(struct sr_buf *out, const char *text);
void sr_ini_add_comment(struct sr_buf *out, const char *text);

/* As sr_config_secrets: `given`, else what the file `path` holds, which the key `key` named. */
SR_MUST enum sr_status sr_ini_secrets(const char *given, const char *key, const char *path, struct sr_secrets *out, struct sr_err *err);

#endif
