/* waiting.c - see waiting.h. */
#include "lib/replica/waiting.h"
#include "lib/base/json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64 /* entries of a list: it goes over the wire */

/* --- what to do about it ---------------------------------------------------------------------------------------------------- */

#define FILL_WEBSERVER "; or, with sameroot-sync stopped, `sameroot-restore webserver --from-datastore --store %s` fills it anew. Nothing is deleted meanwhile"
#define FILL_DATASTORE                                                                                                                      \
	"; or, with sameroot-datastore stopped, `sameroot-restore datastore --from https://WEBSERVER:9406 --store %s` rebuilds it. Nothing is " \
	"deleted meanwhile"
#define OTHER_SECRET                                                                                                                        \
	"if the datastore has lost its secret, copy control-auth from a webserver there, mode 0600, and restart it; if it has a new one on "    \
	"purpose, remove control-auth on the webserver, then `sameroot join LINE` with the line that `sameroot join --line` prints on the "     \
	"datastore, and restart sameroot-sync"
#define COPY                                                                                                                                \
	"if it is this very machine, restored from an older image, nothing: it is let in within three intervals; if it is a copy that runs "    \
	"beside it, `sameroot join --new-uuid` on the copy gives it an identity of its own"
#define DELETIONS "`sameroot adopt --deletions` lets them through; or put back what is gone"
#define PUT_BACK "with sameroot-datastore stopped, `sameroot-restore datastore --from https://WEBSERVER:9406 --store %s` puts back what is gone, from a webserver that has it"
#define DIRECTLY                                                                                                                            \
	PUT_BACK "; or `sameroot adopt --deletions` lets them through, and what went then is kept nowhere: no `sameroot restore` brings it back"
#define UNMARKABLE                                                                                                                          \
	"take away what is in its way, it is not the application's: in a database DROP TABLE (or DROP VIEW, DROP INDEX) _sameroot_meta, of a "   \
	"directory the .sameroot that is no directory; it goes on by itself after that, by a union. Nothing is deleted meanwhile"
#define ARCHIVE_FULL                                                                                                                        \
	"`sameroot conflicts list` shows what lies there, `sameroot conflicts remove ID` makes room; or raise Conflict-Max-Bytes. Nothing is "  \
	"dropped meanwhile"

/* By what the reason says: the first that fits.  %s is the store. */
static const struct remedy {
	const char *says, *webserver, *datastore;
} remedies[] = {
	{"speaks protocol", "upgrade the older of both: `sameroot --version` says what is there. Nothing is changed meanwhile, and it goes on by itself",
	 "upgrade the older of both: `sameroot --version` says what is there. Nothing is changed meanwhile, and it goes on by itself"},
	{"history is", "`sameroot adopt --union` on the datastore unites both; `sameroot adopt --mirror` on the webserver takes the datastore's state as it is. Nothing is deleted meanwhile",
	 "`sameroot adopt --union` on the datastore unites both; `sameroot adopt --mirror` on that webserver takes the datastore's state as it is. Nothing is deleted meanwhile"},
	{"does not know whose it is", NULL,
	 "`sameroot adopt --union` on the datastore starts from what lies in its stores, and lets in the webservers that have asked; to start from a "
	 "webserver's state instead, with sameroot-datastore stopped, `sameroot-restore datastore --from https://WEBSERVER:9406`. Nothing is changed meanwhile"},
	{"join --new-uuid", COPY, COPY},
	{"marker has no place", UNMARKABLE, UNMARKABLE},
	{"conflict archive", ARCHIVE_FULL, ARCHIVE_FULL},
	{"corrupt", "put a good copy in its place (from a backup, from another node)" FILL_WEBSERVER,
	 "put a good copy in its place (from a backup, from another node)" FILL_DATASTORE},
	{"lies another store", "put back what belongs here, and the other store where it belongs" FILL_WEBSERVER,
	 "put back what belongs here, and the other store where it belongs" FILL_DATASTORE},
	{"lost", "put it back where it was (mount it, move it back)" FILL_WEBSERVER,
	 "put it back where it was (mount it, move it back)" FILL_DATASTORE},
	{"too many deletions", DELETIONS, DELETIONS},
	{"being deleted directly", NULL, "nothing, if they are to go: they do when no more follow, and are kept nowhere; else, and at once: " PUT_BACK},
	{"deleted directly", DELETIONS, DIRECTLY},
	{"schema was changed here",
	 "upgrade the other webservers, too: the datastore follows when all have made the same change; or take it back on the webserver", NULL},
	{"schema", "upgrade the application on the webserver: the table goes on when its schema is the datastore's; `sameroot diff` names what differs",
	 "it goes on when the schemas agree again"},
	{"does not have it yet", "upgrade the application on the webserver: it goes on when the table is there; `sameroot diff` names what differs", NULL},
	{"paused at the datastore", "`sameroot status` on the datastore says why; it goes on by itself after that", NULL},
	{"has this store", "name the store in the webserver's configuration: [store \"%s\"]", NULL},
	{"has no store of this name", "name the store in the datastore's configuration: [store \"%s\"]", NULL},
	{"Resource-Max-Size", "raise Resource-Max-Size, or make it smaller", NULL},
	{"cannot be looked at", "see to what the reason names (owner, mode, mount); it goes on by itself",
	 "see to what the reason names (owner, mode, mount); it goes on by itself"},
	{"gone at the datastore", "`sameroot adopt --union` on the datastore brings the table back there; or, if no application needs it any more, drop it on the webserver", NULL},
	{"it is gone here", "make the table again (the application does at its start), and its rows come back; or, with sameroot-sync stopped, `sameroot-restore webserver "
	 "--from-datastore --store %s` fills the store anew", NULL},
	{"another kind", "give the store the same Kind= in both configurations, see sameroot.conf(5)", NULL},
	{"does not hold it", "`sameroot status` on the datastore says what is with this store there; it goes on by itself after that", NULL},
	{"cannot be seen", "the paths that are unknown here stand above: remove what is neither a file nor a directory, or let the daemon's user read it", NULL},
	{"than a bundle carries", "a row of more than 255 MiB is not synchronised: make it smaller", NULL},
	{"its table goes first", "nothing: it goes with the next round", NULL},
	{"changes just now", "nothing: it goes once it rests", NULL},
	{"is sending the same content", "nothing: it is there once that webserver has sent it", NULL},
	{"UNIQUE value", "nothing, for it is tried again; if it stays, `sameroot diff` names the rows: give one of them another value", NULL},
	{"cannot send it now", "nothing, for it is tried again; if it stays, `sameroot verify` on the datastore names what cannot be read there", NULL},
	{"datastore refused it", "`sameroot status` on the datastore says why; it is tried again every round", NULL},
	{"did not take it", "`sameroot status` on the datastore says why; it is tried again every round", NULL},
	{"No space left", "make room on that file system; it goes on by itself", "make room on that file system; it goes on by itself"},
	{"locked", "an application holds the database in a transaction: `fuser` names it; it goes on by itself after that",
	 "an application holds the database in a transaction: `fuser` names it; it goes on by itself after that"},
	{"join --new-key", "`sameroot join --new-key --yes` here, if that was on purpose", NULL},
	{"Datastore-Key-Pin", "put the new key there, or take that line away and `sameroot join LINE` with the line of `sameroot join --line` on the datastore; then restart sameroot-sync", NULL},
	{"Control-Auth", OTHER_SECRET, NULL},
	{"no secret was sent", "`sameroot join LINE` here, with the line that `sameroot join --line` prints on the datastore", NULL},
	{"left alone", "`sameroot diff` names what differs; it is tried again every round", NULL},
};

char *sr_remedy(enum sr_role role, const char *why, const char *store)
{
	for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
		const struct remedy *r = &remedies[i];
		const char *text = role == SR_ROLE_DATASTORE ? r->datastore : r->webserver, *hole;

		if (!text || !strstr(why, r->says))
			continue;
		hole = strstr(text, "%s");
		if (!hole)
			return sr_strdup(text);
		return sr_format("%.*s%s%s", (int)(hole - text), text, store ? store : "NAME", hole + 2);
	}
	return sr_strdup("see to what the reason names; it is tried again, and goes on by itself");
}

/* --- the lists -------------------------------------------------------------------------------------------------------------------- */

struct json_t *sr_waiting_new(void)
{
	json_t *o = json_object();

	json_object_set_new(o, "held", json_array());
	json_object_set_new(o, "paused", json_array());
	return o;
}

bool sr_waiting_is_empty(const json_t *waiting)
{
	return !json_array_size(json_object_get(waiting, "held")) && !json_array_size(json_object_get(waiting, "paused"));
}

/* CONSUMES command. */
static void add(json_t *waiting, const char *list, const char *name, const char *value, const char *why, int64_t since_ms, char *command)
{
	json_t *to = json_object_get(waiting, list), *o, *text;

	if (json_array_size(to) < MOST) {
		o = json_object();
		text = json_string(why); /* NULL: bytes of a path that are no text */
		json_object_set_new(o, name, json_string(value));
		json_object_set_new(o, "why", text ? text : json_string("its reason cannot be printed; see the log"));
		json_object_set_new(o, "since_ms", json_integer(since_ms));
		json_object_set_new(o, "command", json_string(command));
		json_array_append_new(to, o);
	}
	free(command);
}

void sr_waiting_hold(json_t *waiting, enum sr_role role, const char *what, const char *why, int64_t since_ms)
{
	add(waiting, "held", "what", what, why, since_ms, sr_remedy(role, why, NULL));
}

void sr_waiting_pause(json_t *waiting, enum sr_role role, const char *store, const char *why, int64_t since_ms)
{
	add(waiting, "paused", "store", store, why, since_ms, sr_remedy(role, why, store));
}

static const char *text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

static long long number_of(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

bool sr_held_directly(const json_t *held)
{
	const char *way = text_of(held, "way");

	return way && !strcmp(way, "scan");
}

void sr_held_text(const json_t *held, struct sr_buf *out)
{
	const char *table = text_of(held, "table"), *way = text_of(held, "way");

	if (table)
		sr_buf_printf(out, "table %s: ", table);
	sr_buf_printf(out, "%lld of %lld %s", number_of(held, "deletions"), number_of(held, "leaves"), table ? "rows" : "leaves");
	if (sr_held_directly(held))
		sr_buf_printf(out, " were deleted directly");
	else if (way && !strcmp(way, "receive"))
		sr_buf_printf(out, " would be deleted by a webserver");
	else
		sr_buf_printf(out, way && !strcmp(way, "pull") ? " would be deleted here" : " would be deleted everywhere");
}

/* What was deleted on this very webserver, the datastore still has; and what was deleted in the datastore's own store, the webservers. */
static char *deletions_remedy(const json_t *held, const char *store)
{
	const char *way = text_of(held, "way");

	if (sr_held_directly(held))
		return sr_format(DIRECTLY, store);
	return way && !strcmp(way, "push")
		       ? sr_format(DELETIONS "; `sameroot adopt --mirror --store %s` takes it from the datastore", store)
		       : sr_strdup(DELETIONS);
}

void sr_waiting_deletions(json_t *waiting, const char *store, const json_t *held)
{
	for (size_t i = 0; i < json_array_size(held); i++) {
		const json_t *one = json_array_get(held, i);
		struct sr_buf text = {0};

		sr_held_text(one, &text);
		add(waiting, "held", "what", store, sr_buf_text(&text), number_of(one, "since_ms"), deletions_remedy(one, store));
		sr_buf_free(&text);
	}
}

/* --- no more than there is room for ------------------------------------------------------------------------------------------------ */

#define MORE_ROOM 256 /* for the entry that says how many there are besides */

static size_t size_of(const json_t *o)
{
	return json_dumpb(o, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* The bytes that it freed; 0: there is none, but `least`. */
static size_t drop_last(json_t *list, size_t least)
{
	size_t n = json_array_size(list), bytes = n > least ? size_of(json_array_get(list, n - 1)) : 0;

	if (bytes)
		json_array_remove(list, n - 1);
	return bytes;
}

void sr_waiting_fit(json_t *waiting, size_t most)
{
	json_t *held = json_object_get(waiting, "held"), *paused = json_object_get(waiting, "paused");
	size_t size = size_of(waiting), bytes, left = 0;
	char *why;

	if (size <= most)
		return;
	while (size + MORE_ROOM > most && ((bytes = drop_last(paused, 0)) || (bytes = drop_last(held, 1)))) {
		size -= bytes;
		left++;
	}
	why = sr_format("%zu more are held or paused there", left);
	add(waiting, "paused", "store", "others", why, 0, sr_strdup("`sameroot status` on that webserver names all"));
	free(why);
}

#define ROTTEN "`sameroot verify --repair` takes a file or row from another node, and makes indexes anew; what none has has to be restored from a backup"

/* --- all of it ---------------------------------------------------------------------------------------------------------------------- */

static void list_one(json_t *list, const char *node, const char *what, const char *why, int64_t since_ms, const char *command)
{
	json_t *o = json_object();

	json_object_set_new(o, "node", node ? json_string(node) : json_null());
	json_object_set_new(o, "what", json_string(what));
	json_object_set_new(o, "why", json_string(why));
	json_object_set_new(o, "since_ms", json_integer(since_ms));
	json_object_set_new(o, "command", json_string(command));
	json_array_append_new(list, o);
}

static void list_told(json_t *list, const char *node, const json_t *from, const char *name)
{
	const json_t *o;

	for (size_t i = 0; (o = json_array_get(from, i)); i++)
		list_one(list, node, sr_json_text(o, name, "-"), sr_json_text(o, "why", "it does not say why"), number_of(o, "since_ms"),
			 sr_json_text(o, "command", "see to what the reason names"));
}

static void list_waiting(json_t *list, const char *node, const json_t *waiting)
{
	list_told(list, node, json_object_get(waiting, "held"), "what");
	list_told(list, node, json_object_get(waiting, "paused"), "store");
}

/* CONSUMES why.  remedy_of: what it is in the table of remedies. */
static void list_seen(json_t *list, const char *node, char *why, const char *remedy_of)
{
	char *command = sr_remedy(SR_ROLE_DATASTORE, remedy_of ? remedy_of : why, NULL);

	list_one(list, node, "webserver", why, 0, command);
	free(command);
	free(why);
}

bool sr_waiting_is_history(const char *history)
{
	return history && (!strcmp(history, "ahead") || !strcmp(history, "fork") || !strcmp(history, "foreign"));
}

/* What it told last; and what is seen of it here that it could not tell yet. */
static void list_webserver(json_t *list, const json_t *w)
{
	const char *node = sr_json_text(w, "name", sr_json_text(w, "uuid", "-")), *history = text_of(w, "history"), *clone = text_of(w, "clone");
	const json_t *waiting = json_object_get(w, "status");
	const char *refused = text_of(w, "refused");

	if (refused)
		list_seen(list, node, sr_format("refused: %s", refused), "speaks protocol");
	if (sr_waiting_is_history(history) && !json_array_size(json_object_get(waiting, "held")))
		list_seen(list, node, sr_format("held: its history is %s to this datastore", history), NULL);
	if (clone)
		list_seen(list, node, sr_format("another machine runs with its identity, and is refused: %s", clone), "join --new-uuid");
	list_waiting(list, node, waiting);
}

static void list_rotten(json_t *list, const json_t *verify)
{
	const json_t *o;

	for (size_t i = 0; (o = json_array_get(json_object_get(verify, "wrong"), i)); i++)
		list_one(list, NULL, sr_json_text(o, "path", "-"), sr_json_text(o, "what", "-"), number_of(verify, "ended_ms"), ROTTEN);
}

json_t *sr_waiting_list(const json_t *status)
{
	json_t *list = json_array();
	const char *role = text_of(status, "role");
	const json_t *w, *webservers = role && !strcmp(role, "datastore") ? json_object_get(status, "webservers") : NULL;

	list_waiting(list, NULL, json_object_get(status, "status"));
	list_rotten(list, json_object_get(status, "verify"));
	for (size_t i = 0; (w = json_array_get(webservers, i)); i++)
		list_webserver(list, w);
	return list;
}
