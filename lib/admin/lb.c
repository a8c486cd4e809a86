/* lb.c - `sameroot lb`: what load balancers are told of this node and of the others, and an admin's word on it.  See admin.h. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/admin/elsewhere.h"
#include "lib/admin/status.h"
#include "lib/admin/table.h"
#include "lib/base/json.h"

/* --- overriding ------------------------------------------------------------------------------------------------------------- */

static void told(const struct sr_admin *a, const char *node, const char *word)
{
	json_t *o;

	if (!a->json) {
		fprintf(a->out, "%s: %s\n", node, strcmp(word, "auto") == 0 ? "judges for itself again" : word);
		if (!a->n_args && sr_admin_is_datastore(a))
			fputs("this is the datastore's own status: no balancer sends users there; of a webserver: `sameroot lb`, the word, and its name\n", a->notes);
		return;
	}
	o = json_pack("{ss*ss}", "webserver", a->n_args ? node : NULL, "override", word);
	sr_admin_print_json(a, o);
	json_decref(o);
}

static enum sr_status say(const struct sr_admin *a, const char *word, int *status, struct sr_err *err)
{
	const char *webserver = a->n_args ? a->args[0] : NULL;
	char *own = sr_format("/api/system/lbstatus/override/%s", word), *other = sr_format("/lbstatus/override/%s", word);
	struct sr_buf answer = {0};
	enum sr_status rc;

	if (webserver && !*webserver)
		rc = sr_err_set(err, SR_E_USAGE, "which webserver? Its name is empty");
	else
		rc = sr_elsewhere_say(a, webserver, "PUT", own, other, &answer, err);
	if (rc == SR_OK)
		told(a, webserver ? webserver : sr_admin_is_datastore(a) ? "the datastore" : "this node", word);
	sr_buf_free(&answer);
	free(own);
	free(other);
	*status = 0;
	return rc;
}

enum sr_status sr_admin_lb_alive(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return say(a, "alive", status, err);
}

enum sr_status sr_admin_lb_dead(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return say(a, "dead", status, err);
}

enum sr_status sr_admin_lb_auto(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return say(a, "auto", status, err);
}

enum sr_status sr_admin_lb_drain(const struct sr_admin *a, int *status, struct sr_err *err)
{
	return say(a, "drain", status, err);
}

/* --- who there is ------------------------------------------------------------------------------------------------------------- */

static json_t *node_json(const char *name, const json_t *balancer, const json_t *row)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(name));
	for (const char *const *f = (const char *const[]){"uuid", "external_addr", "seen", "stale", NULL}; *f; f++)
		json_object_set(o, *f, row && json_object_get(row, *f) ? json_object_get(row, *f) : json_null());
	json_object_set_new(o, "here", json_false());
	json_object_set_new(o, "balancer", balancer ? json_deep_copy(balancer) : json_null());
	return o;
}

/* This node first.  OWNED BY CALLER. */
static json_t *all_nodes(const json_t *status)
{
	const json_t *live = json_object_get(status, "balancer"), *rows = json_object_get(status, "webservers"), *row;
	const char *node = sr_json_text(status, "node", "-"), *role = sr_json_text(status, "role", "-");
	json_t *list = json_array(), *here = node_json(role, live, NULL);
	size_t i;

	json_array_append(list, here);
	for (i = 0; (row = json_array_get(rows, i)); i++) {
		if (strcmp(role, "webserver") == 0 && strcasecmp(sr_json_text(row, "uuid", ""), node) == 0) {
			json_decref(here);
			here = node_json(sr_json_text(row, "name", role), live, row);
			json_array_set(list, 0, here);
		} else {
			json_array_append_new(list, node_json(sr_json_text(row, "name", sr_json_text(row, "uuid", "-")),
							      json_object_get(json_object_get(row, "status"), "balancer"), row));
		}
	}
	json_object_set_new(here, "here", json_true());
	json_decref(here);
	return list;
}

static bool is_host(const char *external_addr, const char *wanted)
{
	size_t len = strlen(wanted);

	return len && !strncasecmp(external_addr, wanted, len) && external_addr[len] == ':' && !strchr(external_addr + len + 1, ':');
}

static bool is_called(const json_t *o, const char *wanted)
{
	size_t len = strlen(wanted);

	return is_host(sr_json_text(o, "external_addr", ""), wanted) || !strcasecmp(sr_json_text(o, "name", ""), wanted) ||
	       !strcasecmp(sr_json_text(o, "external_addr", ""), wanted) || (len >= 4 && !strncasecmp(sr_json_text(o, "uuid", ""), wanted, len));
}

/* Only those that are called so stay. */
static enum sr_status choose(json_t *list, const char *wanted, struct sr_err *err)
{
	struct sr_buf names = {0};
	enum sr_status rc = SR_OK;

	for (size_t i = json_array_size(list); i-- > 0;) {
		const json_t *o = json_array_get(list, i);

		if (is_called(o, wanted))
			continue;
		sr_buf_printf(&names, "%s%s", names.len ? ", " : "", sr_json_text(o, "name", "-"));
		json_array_remove(list, i);
	}
	if (!json_array_size(list))
		rc = sr_err_set(err, SR_E_NOTFOUND, "no node is called %.60s; known are: %.500s", wanted, names.len ? sr_buf_text(&names) : "none");
	sr_buf_free(&names);
	return rc;
}

/* --- showing -------------------------------------------------------------------------------------------------------------------- */

static void add_override(struct sr_table *t, const json_t *b)
{
	char since[SR_WHEN_TEXT];

	if (!json_string_value(json_object_get(b, "by"))) {
		sr_table_add(t, "-");
		return;
	}
	sr_when_text(since, (int64_t)json_integer_value(json_object_get(b, "since_ms")));
	sr_table_add(t, "%s, %s, %s", sr_json_text(b, "override", "-"), sr_json_text(b, "by", "-"), since);
}

static void print_nodes(const json_t *list, FILE *out)
{
	struct sr_table t;
	const json_t *o;
	size_t i;

	sr_table_start(&t, "llllll");
	for (const char *const *h = (const char *const[]){"NODE", "STATUS", "STATE", "SEEN", "OVERRIDE", "WHY", NULL}; *h; h++)
		sr_table_add(&t, "%s", *h);
	for (i = 0; (o = json_array_get(list, i)); i++) {
		const json_t *b = json_object_get(o, "balancer");
		bool here = json_is_true(json_object_get(o, "here")), stale = !here && json_is_true(json_object_get(o, "stale"));
		char *answer = sr_balancer_heard(b, stale), *state = sr_balancer_state(b, stale);

		sr_table_add(&t, "%s", sr_json_text(o, "name", "-"));
		sr_table_add(&t, "%s", answer);
		sr_table_add(&t, "%s", state);
		sr_table_add(&t, "%s", here ? "here, now" : sr_json_text(o, "seen", "-"));
		add_override(&t, b);
		sr_table_add(&t, "%s", sr_json_text(b, "why", "-"));
		free(answer);
		free(state);
	}
	sr_table_print(&t, out, "");
}

static void say_how_old(const json_t *status, FILE *notes)
{
	json_int_t age = json_integer_value(json_object_get(status, "webservers_age"));

	fprintf(notes, "the datastore does not tell of the others now: %s\n", sr_json_text(status, "webservers_why", ""));
	if (json_array_size(json_object_get(status, "webservers")))
		fprintf(notes, "what is shown of them it told %lld s ago\n", (long long)age);
}

enum sr_status sr_admin_lb_status(const struct sr_admin *a, int *exit_status, struct sr_err *err)
{
	struct sr_buf body = {0};
	struct sr_here here = {0};
	json_t *status = NULL, *list = NULL;
	enum sr_status rc = sr_here_open(&here, a, err);

	if (rc == SR_OK)
		rc = sr_here_get(&here, "/api/admin/status", here.status_most, &body, err);
	if (rc == SR_OK && !(status = json_loadb((const char *)body.at, body.len, 0, NULL)))
		rc = sr_err_set(err, SR_E_DATA, "status of the %s: not JSON", here.name);
	if (rc == SR_OK) {
		list = all_nodes(status);
		if (json_string_value(json_object_get(status, "webservers_why")))
			say_how_old(status, a->notes);
		if (a->n_args)
			rc = choose(list, a->args[0], err);
	}
	if (rc == SR_OK && a->json)
		sr_admin_print_json(a, list);
	else if (rc == SR_OK)
		print_nodes(list, a->out);
	json_decref(list);
	json_decref(status);
	sr_buf_free(&body);
	sr_here_close(&here);
	*exit_status = 0;
	return rc;
}
