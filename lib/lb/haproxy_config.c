/* haproxy_config.c - see haproxy_config.h.
 *
 * Why it is as it is:
 *     a reload of a master with its workers hands the listening sockets over and lets the old worker end what it has begun; idle-close-on-response
 *     keeps it from closing under a client that is just about to send its next request.  So nothing is dropped on a change.
 *     lbstatus answers 404 while a node is drained: disable-on-404 means no new users, and those with a cookie stay.
 *     DEAD is seen after two checks: within 1.5 s, half of the three for which a node that is shut down still serves (Lb-Recognition-Period).
 *     Health is looked after in a backend of its own, for the daemon's certificate is self-signed and the application's may have to be verified,
 *     and HAProxy knows only one `verify` for a server. */
#include "lib/lb/haproxy_config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A word for HAProxy, whatever is in it: within '...' nothing means anything. */
static void add_word(struct sr_buf *out, const char *word)
{
	sr_buf_byte(out, '\'');
	for (; *word; word++)
		if (*word == '\'')
			sr_buf_printf(out, "'\\''");
		else
			sr_buf_byte(out, (uint8_t)*word);
	sr_buf_byte(out, '\'');
}

static void add_global(struct sr_buf *out, const struct sr_lb_haproxy_options *o)
{
	sr_buf_printf(out, "global\n");
	if (o->user)
		sr_buf_printf(out, "    user %s\n    group %s\n", o->user, o->group);
	sr_buf_printf(out, "    ssl-default-bind-options ssl-min-ver TLSv1.2\n\n");
}

static void add_defaults(struct sr_buf *out)
{
	sr_buf_printf(out, "defaults sameroot-defaults\n"
			   "    mode http\n"
			   "    timeout connect 2s\n"
			   "    timeout client 60s\n"
			   "    timeout server 5m\n"
			   "    timeout tunnel 1h\n"
			   "    timeout http-request 10s\n"
			   "    timeout http-keep-alive 30s\n"
			   "    timeout queue 10s\n"
			   "    timeout check 2s\n"
			   "    option dontlognull\n"
			   "    # A new HAProxy takes over: idle connections end with an answer, never under a request.\n"
			   "    option idle-close-on-response\n"
			   "    # A webserver that is gone costs another try elsewhere, not an error.\n"
			   "    retries 3\n"
			   "    option redispatch 1\n"
			   "    retry-on conn-failure empty-response\n"
			   "    http-error status 503 content-type \"text/html; charset=utf-8\" string "
			   "'<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
			   "<title>Not available</title><h1>Not available</h1>"
			   "<p>No webserver can answer at the moment. Please try again in a few seconds.</p></html>'"
			   " hdr Retry-After 5 hdr Cache-Control no-store\n\n");
}

static void add_bind(struct sr_buf *out, const struct sr_lb_conf *c, const struct sr_lb_haproxy_options *o)
{
	const char *bind = c->bind_addr;

	if (o->stamp)
		sr_buf_printf(out, "    # certificate: %s\n", o->stamp);
	if (!bind)
		sr_buf_printf(out, "    bind *:%u", c->web_port);
	else
		sr_buf_printf(out, strchr(bind, ':') ? "    bind [%s]:%u" : "    bind %s:%u", bind, c->web_port);
	if (bind && !strcmp(bind, "::"))
		sr_buf_printf(out, " v4v6");
	if (o->certificate) {
		sr_buf_printf(out, " ssl crt ");
		add_word(out, o->certificate);
		sr_buf_printf(out, " alpn h2,http/1.1");
	}
	sr_buf_byte(out, '\n');
}

static void add_frontend(struct sr_buf *out, const struct sr_lb_conf *c, const struct sr_lb_haproxy_options *o)
{
	sr_buf_printf(out, "frontend " SR_LB_BACKEND " from sameroot-defaults\n");
	add_bind(out, c, o);
	sr_buf_printf(out, "    # What a client claims to have been forwarded from is not believed.\n"
			   "    http-request del-header X-Forwarded- -m beg\n"
			   "    http-request del-header Forwarded\n"
			   "    option forwardfor\n"
			   "    http-request set-header X-Forwarded-Proto %s\n"
			   "    http-request set-header X-Forwarded-Host %%[req.hdr(Host)] if { req.hdr(Host) -m found }\n"
			   "    http-request set-header X-Forwarded-Port %%[dst_port]\n"
			   "    default_backend " SR_LB_BACKEND "\n\n",
		      c->disable_https ? "http" : "https");
}

static void add_address(struct sr_buf *out, const struct sr_lb_webserver *w, uint16_t port)
{
	sr_buf_printf(out, strchr(w->address, ':') ? "[%s]:%u" : "%s:%u", w->address, port);
}

static void add_server(struct sr_buf *out, const struct sr_lb_webserver *w)
{
	sr_buf_printf(out, "    server %s ", w->id);
	add_address(out, w, w->port);
	sr_buf_printf(out, " cookie %s", w->cookie);
	if (w->https && w->verify)
		sr_buf_printf(out, " ssl verify required ca-file @system-ca verifyhost %s", w->host);
	else if (w->https)
		sr_buf_printf(out, " ssl verify none");
	if (w->https && strcmp(w->host, w->address) != 0) /* no SNI is an address */
		sr_buf_printf(out, " sni str(%s)", w->host);
	if (w->sync_port)
		sr_buf_printf(out, " track " SR_LB_HEALTH "/%s", w->id);
	sr_buf_byte(out, '\n');
}

/* The certificate of a sync daemon is self-signed and known by its key, for which HAProxy has no word: it is not verified.  Nothing secret is said,
 * and who can answer in its place could as well cut the line. */
static void add_health_server(struct sr_buf *out, const struct sr_lb_webserver *w)
{
	if (!w->sync_port)
		return;
	sr_buf_printf(out, "    server %s ", w->id);
	add_address(out, w, w->sync_port);
	sr_buf_printf(out, "%s\n", w->sync_tls ? " check-ssl verify none" : "");
}

static void add_backend(struct sr_buf *out, const struct sr_lb_conf *c, const struct sr_lb_list *list)
{
	sr_buf_printf(out, "backend " SR_LB_BACKEND " from sameroot-defaults\n"
			   "    balance roundrobin\n"
			   "    cookie SAMEROOT insert indirect nocache httponly%s maxidle %" PRIu64 "s attr SameSite=Lax\n"
			   "    # Tried again is what does nothing twice; a connection that could not be made is tried again in any case.\n"
			   "    http-request disable-l7-retry if !METH_GET\n"
			   "    option httpchk\n"
			   "    http-check disable-on-404\n",
		      c->disable_https ? "" : " secure", c->session_timeout * 60);
	for (size_t i = 0; i < list->n; i++)
		add_server(out, &list->at[i]);
}

static void add_health(struct sr_buf *out, const struct sr_lb_list *list, const struct sr_lb_haproxy_options *o)
{
	sr_buf_printf(out, "\nbackend " SR_LB_HEALTH " from sameroot-defaults\n"
			   "    option httpchk\n"
			   "    http-check send meth GET uri /api/system/lbstatus ver HTTP/1.1 hdr Host sameroot-lb hdr Connection close\n"
			   "    http-check expect status 200\n"
			   "    # 404: drained.  No new users, and those who are there stay.\n"
			   "    http-check disable-on-404\n"
			   "    default-server check inter 1s fastinter 500ms downinter 1s fall 2 rise 1\n");
	if (o->state_file) {
		sr_buf_printf(out, "    load-server-state-from-file local\n    server-state-file-name ");
		add_word(out, o->state_file);
		sr_buf_byte(out, '\n');
	}
	for (size_t i = 0; i < list->n; i++)
		add_health_server(out, &list->at[i]);
}

void sr_lb_haproxy_config(struct sr_buf *out, const struct sr_lb_conf *c, const struct sr_lb_list *list, const struct sr_lb_haproxy_options *o)
{
	sr_buf_printf(out, "# Made by sameroot-lb, of loadbalancer.conf(5) and the datastore's list of webservers.\n");
	for (size_t i = 0; o->left_out && i < list->left_n; i++)
		sr_buf_printf(out, "# left out: %s\n", list->left[i]);
	if (o->global)
		add_global(out, o);
	add_defaults(out);
	add_frontend(out, c, o);
	add_backend(out, c, list);
	add_health(out, list, o);
}

/* --- what the old one knew ------------------------------------------------------------------------------------------------------------- */

/* show servers state, version 1: be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight
 * srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id
 * srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port */
struct shown {
	char name[SR_LB_ID_MOST], address[64];
	unsigned op, status, result, health, port;
};

static bool parse_shown(const char *line, struct shown *s)
{
	return sscanf(line, "%*u " SR_LB_HEALTH " %*u %63s %63s %u %*u %*u %*u %*u %u %u %u %*u %*u %*u %*u %*s %u", s->name, s->address, &s->op,
		      &s->status, &s->result, &s->health, &s->port) == 7;
}

static bool find_shown(const char *shown, const struct sr_lb_webserver *w, struct shown *s)
{
	for (const char *line = shown; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (parse_shown(line, s) && !strcmp(s->name, w->id) && !strcmp(s->address, w->address) && s->port == w->sync_port)
			return true;
	}
	return false;
}

void sr_lb_haproxy_states(struct sr_buf *out, const struct sr_lb_list *list, const char *shown)
{
	sr_buf_printf(out, "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
			   "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
			   "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
			   "srv_agent_addr srv_agent_port\n");
	for (size_t i = 0; i < list->n; i++) {
		const struct sr_lb_webserver *w = &list->at[i];
		struct shown s;

		if (!w->sync_port)
			continue;
		if (!find_shown(shown, w, &s))
			s = (struct shown){.op = 0, .status = 6, .result = 2, .health = 0}; /* down: checked, failed, none passed */
		sr_buf_printf(out, "3 " SR_LB_HEALTH " %zu %s %s %u 0 1 1 0 %u %u %u 6 0 0 0 - %u - 0 %u - - 0\n", i + 1, w->id, w->address, s.op,
			      s.status, s.result, s.health, w->sync_port, w->sync_port);
	}
}
