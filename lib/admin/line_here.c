/* line_here.c - the join line of the datastore on this machine.  See line.h. */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/certificate.h"
#include "lib/admin/conf.h"
#include "lib/admin/line.h"
#include "lib/replica/address.h"

/* With its domain, as far as the resolver knows it. */
char *sr_machine_name(void)
{
	char name[256] = "localhost";
	struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *found = NULL;
	char *out;

	if (gethostname(name, sizeof name - 1))
		strcpy(name, "localhost");
	if (getaddrinfo(name, NULL, &hints, &found) == 0 && found->ai_canonname && strchr(found->ai_canonname, '.'))
		out = sr_strdup(found->ai_canonname);
	else
		out = sr_strdup(name);
	if (found)
		freeaddrinfo(found);
	return out;
}

static bool all_interfaces(const char *address)
{
	return !address || !*address || !strcmp(address, "::") || !strcmp(address, "0.0.0.0");
}

/* As configured; 0: any free one, then the one that a running daemon tells, if any does. */
static unsigned port_here(const struct sr_config *c)
{
	char *url = NULL;
	unsigned port = c->datastore_port;
	struct sr_err err;

	if (!port && sr_address_read(c->datastore_state_directory, &url, &err) == SR_OK)
		port = (unsigned)strtoul(strrchr(url, ':') + 1, NULL, 10);
	free(url);
	return port;
}

static char *with_port(const char *host, unsigned port)
{
	return strchr(host, ':') ? sr_format("[%s]:%u", host, port) : sr_format("%s:%u", host, port);
}

enum sr_status sr_line_address(const struct sr_admin *a, const struct sr_config *config, char **out, struct sr_err *err)
{
	const char *listen = config->datastore_listen_address;
	char *text = a->address ? sr_strdup(a->address) : all_interfaces(listen) ? sr_machine_name() : with_port(listen, port_here(config));
	char *host = NULL;
	unsigned port = 0;
	enum sr_status rc;

	if (!a->address && all_interfaces(listen) && a->ask && !a->yes) {
		char *answer = a->ask(a->ctx, "The name or address by which the webservers reach this machine", text);

		free(text);
		text = answer;
	}
	rc = sr_conf_address(text, &host, &port, err);
	if (rc == SR_OK && !port)
		port = port_here(config);
	if (rc == SR_OK && !port)
		rc = sr_err_set(err, SR_E_USAGE, "Datastore-Port is 0, and no datastore runs here that tells its port: say --address HOST:PORT");
	if (rc == SR_OK)
		*out = with_port(host, port);
	free(host);
	free(text);
	return rc;
}

enum sr_status sr_line_here(const struct sr_config *config, const char *address, struct sr_buf *out, struct sr_err *err)
{
	struct sr_line line = {.address = sr_strdup(address), .plain = config->datastore_insecure_disable_tls};
	char *path = sr_format("%s/certificate.pem", config->datastore_state_directory);
	enum sr_status rc = sr_config_secret(config, &line.secret, err);

	/* A pair of the operator's own may be renewed with another key, and a CA may vouch for it. */
	if (rc == SR_OK && !line.plain && !config->certificate_file)
		rc = sr_certificate_pin(path, line.pin, err);
	if (rc == SR_OK)
		sr_line_print(out, &line);
	else if (rc == SR_E_NOINPUT)
		sr_err_context(err, "there is no datastore here yet (`sameroot init --datastore` makes what is missing)");
	free(path);
	sr_line_free(&line);
	return rc;
}
