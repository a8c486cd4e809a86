/* user.c - `sameroot user`: the users in this node's own users.db.  See admin.h and lib/users/users.h.
 *
 * It writes as an application does; the daemon finds what changed and takes it to all the others. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/admin/admin.h"
#include "lib/admin/table.h"
#include "lib/state/state.h"
#include "lib/users/password.h"
#include "lib/users/users.h"

static const char *users_db(const struct sr_admin *a)
{
	const struct sr_config_store *st = &a->config->stores[SR_STORE_USERS];

	return sr_admin_is_datastore(a) ? st->datastore_path : st->path;
}

static enum sr_status open_users(const struct sr_admin *a, struct sr_users **out, struct sr_err *err)
{
	const char *path = users_db(a);
	enum sr_status rc = sr_users_open(out, path, a->config->admin_query, err);

	return rc == SR_E_NOINPUT ? sr_err_set(err, rc, "%s: there is no users database: `sameroot init` makes the first one; if one was there, see `sameroot status`", path) : rc;
}

static enum sr_status name_of(const struct sr_admin *a, const char **name, struct sr_err *err)
{
	if (!a->n_args)
		return sr_err_set(err, SR_E_USAGE, "which user? A name is missing; see --help");
	*name = a->args[0];
	return SR_OK;
}

/* --- passwords ------------------------------------------------------------------------------------------------------------------ */

void sr_admin_forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

/* The first line of the standard input, where nobody is there to be asked.  What is too long for a password is cut where that shows. */
static enum sr_status read_line(FILE *in, char **out, struct sr_err *err)
{
	char line[SR_PASSWORD_MOST + 1];
	enum sr_status rc = SR_OK;
	size_t n = 0;
	int c;

	while (n < SR_PASSWORD_MOST && (c = getc(in)) != EOF && c != '\n' && c != '\r')
		line[n++] = (char)c;
	line[n] = '\0';
	if (!n && (feof(in) || ferror(in)))
		rc = sr_err_set(err, SR_E_USAGE, "no password: it is the first line of the standard input");
	else if (strlen(line) < n)
		rc = sr_err_set(err, SR_E_USAGE, "a NUL is in the password");
	else
		*out = sr_strdup(line);
	explicit_bzero(line, sizeof line);
	return rc;
}

enum sr_status sr_admin_password(const struct sr_admin *a, const char *question, char **out, struct sr_err *err)
{
	if (!a->ask_secret)
		return read_line(a->in, out, err);
	*out = a->ask_secret(a->ctx, question);
	return *out ? SR_OK : sr_err_set(err, SR_E_USAGE, "no password was given");
}

static enum sr_status ask_password(const struct sr_admin *a, char **out, struct sr_err *err)
{
	enum sr_status rc;
	char *again;

	rc = sr_admin_password(a, "Password: ", out, err);
	if (rc != SR_OK || !a->ask_secret)
		return rc;
	again = a->ask_secret(a->ctx, "The same again: ");
	if (!again || strcmp(*out, again) != 0)
		rc = sr_err_set(err, SR_E_USAGE, "the two are not the same: nothing was changed");
	sr_admin_forget(again);
	return rc;
}

static enum sr_status new_hash(const struct sr_admin *a, char **hash, struct sr_err *err)
{
	char *password = NULL;
	enum sr_status rc = ask_password(a, &password, err);

	if (rc == SR_OK)
		rc = sr_password_hash(hash, password, err);
	sr_admin_forget(password);
	return rc;
}

/* --- changing -------------------------------------------------------------------------------------------------------------------- */

/* A datastore is founded on empty stores only: with a user in one it would not know whose that is. */
static enum sr_status was_started(const struct sr_admin *a, struct sr_err *err)
{
	struct sr_state *state = NULL;
	enum sr_status rc = sr_admin_is_datastore(a) ? sr_state_reader(&state, sr_admin_state_dir(a), err) : SR_OK;

	sr_state_close(state);
	return rc == SR_E_NOINPUT ? sr_err_set(err, SR_E_UNAVAILABLE,
					       "this datastore was never started, and its first start needs empty stores: start sameroot-datastore, then make the user")
				  : rc;
}

/* Where there are no tables at all yet, the first user makes them. */
static enum sr_status make_tables(const struct sr_admin *a, struct sr_err *err)
{
	const char *path = users_db(a);
	enum sr_status rc;

	if (a->config->admin_query || access(path, F_OK) < 0)
		return SR_OK;
	rc = was_started(a, err);
	return rc == SR_OK ? sr_users_make(path, err) : rc;
}

/* A name that is wrong, or an application's schema, is told before a password is asked for. */
static enum sr_status begin(const struct sr_admin *a, const char **name, struct sr_users **users, struct sr_err *err)
{
	enum sr_status rc = name_of(a, name, err);

	if (rc == SR_OK)
		rc = open_users(a, users, err);
	if (rc == SR_OK && !sr_users_ours(*users))
		rc = sr_err_set(err, SR_E_CONFIG, "users.db has an application's own schema: its users are made and changed by that application");
	return rc;
}

enum sr_status sr_admin_user_add(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_users *users = NULL;
	const char *name = NULL, *fault;
	char *hash = NULL;
	enum sr_status rc = name_of(a, &name, err);

	fault = rc == SR_OK ? sr_user_name_fault(name) : NULL;
	if (fault)
		rc = sr_err_set(err, SR_E_USAGE, "this cannot be a user's name: %s", fault);
	if (rc == SR_OK)
		rc = make_tables(a, err);
	if (rc == SR_OK)
		rc = begin(a, &name, &users, err);
	if (rc == SR_OK)
		rc = new_hash(a, &hash, err);
	if (rc == SR_OK)
		rc = sr_users_add(users, name, hash, a->admin, err);
	if (rc == SR_OK)
		fprintf(a->out, "%s: made%s\n", name, a->admin ? ", an admin" : "");
	sr_admin_forget(hash);
	sr_users_close(users);
	*status = 0;
	return rc;
}

enum sr_status sr_admin_user_passwd(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_users *users = NULL;
	const char *name = NULL;
	char *hash = NULL;
	enum sr_status rc = begin(a, &name, &users, err);

	if (rc == SR_OK)
		rc = new_hash(a, &hash, err);
	if (rc == SR_OK)
		rc = sr_users_set_hash(users, name, hash, err);
	if (rc == SR_OK)
		fprintf(a->out, "%s: the password is changed\n", name);
	sr_admin_forget(hash);
	sr_users_close(users);
	*status = 0;
	return rc;
}

static enum sr_status count_admin(void *ctx, const struct sr_user *user, struct sr_err *err)
{
	size_t *n = ctx;

	(void)err;
	*n += user->admin && user->enabled;
	return SR_OK;
}

/* It may be meant: the admin token is there, too. */
static void remark_last_admin(const struct sr_admin *a, struct sr_users *users)
{
	struct sr_err err;
	size_t n = 0;

	if (sr_users_each(users, count_admin, &n, &err) == SR_OK && !n)
		fputs("no admin is left who may log in: `sameroot user admin NAME` makes one\n", a->notes);
}

/* done: what is said of the user then; less: there may be no admin any more. */
static enum sr_status set(const struct sr_admin *a, enum sr_status (*fn)(struct sr_users *, const char *, bool, struct sr_err *), bool value,
			  bool less, const char *done, int *status, struct sr_err *err)
{
	struct sr_users *users = NULL;
	const char *name = NULL;
	enum sr_status rc = begin(a, &name, &users, err);

	if (rc == SR_OK)
		rc = fn(users, name, value, err);
	if (rc == SR_OK)
		fprintf(a->out, "%s: %s\n", name, done);
	if (rc == SR_OK && less)
		remark_last_admin(a, users);
	sr_users_close(users);
	*status = 0;
	return rc;
}

enum sr_status sr_admin_user_admin(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return set(a, sr_users_set_admin, !a->revoke, a->revoke, a->revoke ? "no admin any more" : "an admin", status, err);
}

enum sr_status sr_admin_user_disable(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return set(a, sr_users_set_enabled, false, true, "disabled: no login is taken", status, err);
}

enum sr_status sr_admin_user_enable(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return set(a, sr_users_set_enabled, true, false, "enabled", status, err);
}

enum sr_status sr_admin_user_delete(const struct sr_admin *a, int *status, struct sr_err *err)
{
	struct sr_users *users = NULL;
	const char *name = NULL;
	char *question = NULL;
	enum sr_status rc = begin(a, &name, &users, err);

	if (rc == SR_OK && !a->yes && !a->confirm)
		rc = sr_err_set(err, SR_E_USAGE, "there is no terminal to ask at: --yes deletes the user %s on all webservers", name);
	if (rc == SR_OK) {
		question = sr_format("Delete the user %s, on all webservers?", name);
		rc = sr_admin_agree(a, question, err);
	}
	if (rc == SR_OK)
		rc = sr_users_delete(users, name, err);
	if (rc == SR_OK)
		fprintf(a->out, "%s: deleted\n", name);
	if (rc == SR_OK)
		remark_last_admin(a, users);
	free(question);
	sr_users_close(users);
	*status = 0;
	return rc;
}

/* --- showing ---------------------------------------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
	return text && sr_utf8_valid(sr_bytes_of(text)) ? json_string(text) : json_null();
}

/* All but the hash: it helps nobody who reads this. */
static json_t *user_json(const struct sr_user *user)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", text_or_null(user->name));
	json_object_set_new(o, "id", text_or_null(user->id));
	json_object_set_new(o, "admin", json_boolean(user->admin));
	json_object_set_new(o, "enabled", json_boolean(user->enabled));
	json_object_set_new(o, "full_name", text_or_null(user->full_name));
	json_object_set_new(o, "email", text_or_null(user->email));
	json_object_set_new(o, "created", text_or_null(user->created));
	return o;
}

static enum sr_status collect(void *ctx, const struct sr_user *user, struct sr_err *err)
{
	(void)err;
	json_array_append_new(ctx, user_json(user));
	return SR_OK;
}

static const char *said(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text && *text ? text : "-";
}

static const char *kind_of(const json_t *o)
{
	bool admin = json_is_true(json_object_get(o, "admin")), enabled = json_is_true(json_object_get(o, "enabled"));

	return enabled ? (admin ? "admin" : "user") : admin ? "admin, disabled" : "disabled";
}

static void print_list(const json_t *list, FILE *out)
{
	struct sr_table t;
	json_t *o;
	size_t i;

	if (!json_array_size(list))
		return;
	sr_table_start(&t, "llll");
	for (const char *const *h = (const char *const[]){"NAME", "IS", "FULL NAME", "EMAIL", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	for (i = 0; (o = json_array_get(list, i)); i++) {
		sr_table_add(&t, "%s", said(o, "name"));
		sr_table_add(&t, "%s", kind_of(o));
		sr_table_add(&t, "%s", said(o, "full_name"));
		sr_table_add(&t, "%s", said(o, "email"));
	}
	sr_table_print(&t, out, "");
}

static enum sr_status all_users(const struct sr_admin *a, json_t **out, struct sr_err *err)
{
	struct sr_users *users = NULL;
	enum sr_status rc = open_users(a, &users, err);

	*out = json_array();
	if (rc == SR_OK)
		rc = sr_users_each(users, collect, *out, err);
	sr_users_close(users);
	return rc;
}

enum sr_status sr_admin_user_list(const struct sr_admin *a, int *status, struct sr_err *err)
{
	json_t *list;
	enum sr_status rc = all_users(a, &list, err);

	if (rc == SR_OK && a->json)
		sr_admin_print_json(a, list);
	else if (rc == SR_OK)
		print_list(list, a->out);
	json_decref(list);
	*status = 0;
	return rc;
}

static void print_user(const json_t *o, FILE *out)
{
	struct sr_table t;

	sr_table_start(&t, "ll");
	for (const char *const *h = (const char *const[]){"name", "full_name", "email", "id", "created", NULL}; *h; h++) {
		sr_table_add(&t, "%s", !strcmp(*h, "full_name") ? "full name" : *h);
		sr_table_add(&t, "%s", said(o, *h));
	}
	sr_table_add(&t, "is");
	sr_table_add(&t, "%s", kind_of(o));
	sr_table_print(&t, out, "");
}

enum sr_status sr_admin_user_show(const struct sr_admin *a, int *status, struct sr_err *err)
{
	const char *name = NULL;
	json_t *list = NULL, *o, *found = NULL;
	enum sr_status rc = name_of(a, &name, err);
	size_t i;

	if (rc == SR_OK)
		rc = all_users(a, &list, err);
	for (i = 0; rc == SR_OK && !found && (o = json_array_get(list, i)); i++)
		if (!strcasecmp(said(o, "name"), name))
			found = o;
	if (rc == SR_OK && !found)
		rc = sr_err_set(err, SR_E_NOINPUT, "no user is called %s", name);
	else if (rc == SR_OK && a->json)
		sr_admin_print_json(a, found);
	else if (rc == SR_OK)
		print_user(found, a->out);
	json_decref(list);
	*status = 0;
	return rc;
}
