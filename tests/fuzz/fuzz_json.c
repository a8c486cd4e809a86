/* fuzz_json.c - the JSON that others send us.  The first byte chooses who reads it: 'p' a webserver, the registry; 'l' a balancer, the registry; 'm' a backup's
 * manifest; and a datastore, what a webserver tells: 'w' of itself, 'c' of its conflict archive, 't' its token. */
#include <jansson.h>
#include <netdb.h>

#include "lib/bundle/manifest.h"
#include "lib/lb/haproxy_config.h"
#include "lib/node/peers.h"
#include "tests/fuzz/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sr_uuid webserver = {{'a', ' ', 'w', 'e', 'b', 's', 'e', 'r', 'v', 'e', 'r'}};

/* No name is looked up. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	(void)host, (void)service, (void)hints, (void)out;
	return EAI_NONAME;
}

static enum sr_status no_one(void *ctx, struct sr_buf *out, struct sr_err *err)
{
	(void)ctx, (void)out;
	return sr_err_set(err, SR_E_UNAVAILABLE, "nobody is asked");
}

static void learn(struct sr_bytes json)
{
	struct sr_peers *peers = sr_peers_new(&(struct sr_peers_options){.ask = no_one, .self = "x", .secret = "secret"});
	struct sr_err err = {0}, why;
	struct sr_peer_list *list;

	must(sr_peers_learn(peers, json, &err) == SR_OK || err.text[0]);
	list = sr_peers_take(peers, 1000, &why);
	for (size_t i = 0; i < list->n; i++) {
		struct sr_client *client = NULL;

		must(list->at[i].uuid && list->at[i].name && list->at[i].sync_port <= 65535);
		must(sr_peer_find(list, list->at[i].name));
		must(sr_peer_client(peers, &list->at[i], NULL, &client, &err) == SR_OK || err.text[0]);
		sr_client_free(client);
	}
	sr_peer_list_free(list);
	sr_peers_free(peers);
}

/* Nothing that was said becomes a line of HAProxy's configuration of its own. */
static void check_config(const struct sr_lb_conf *conf, const struct sr_lb_list *list, size_t lines_without)
{
	struct sr_buf out = {0};
	size_t lines = 0;

	sr_lb_haproxy_config(&out, conf, list, &(struct sr_lb_haproxy_options){.left_out = true});
	for (size_t i = 0; i < out.len; i++) {
		must(out.at[i] == '\n' || out.at[i] == '\t' || (out.at[i] >= ' ' && out.at[i] != 127));
		lines += out.at[i] == '\n';
	}
	if (list)
		must(lines <= lines_without + 2 * list->n + list->left_n);
	sr_buf_free(&out);
}

static size_t lines_of_empty(const struct sr_lb_conf *conf)
{
	struct sr_lb_list none = {0};
	struct sr_buf out = {0};
	size_t lines = 0;

	sr_lb_haproxy_config(&out, conf, &none, &(struct sr_lb_haproxy_options){.left_out = true});
	for (size_t i = 0; i < out.len; i++)
		lines += out.at[i] == '\n';
	sr_buf_free(&out);
	return lines;
}

static void balance(struct sr_bytes json)
{
	static char text[] = "[global]\nDatastore=127.0.0.1\nControl-Secret=0123456789abcdef0123456789abcdef\n";
	json_t *registry = json_loadb((const char *)json.at, json.len, 0, NULL), *addresses = json_object();
	FILE *in = fmemopen(text, sizeof text - 1, "r");
	struct sr_lb_conf *conf = NULL;
	struct sr_lb_list list;
	struct sr_err err = {0};

	must_ok(sr_lb_conf_parse(&conf, in, "fuzz", &err), &err);
	fclose(in);
	if (sr_lb_list_make(&list, conf, registry, addresses, &err) == SR_OK) {
		check_config(conf, &list, lines_of_empty(conf));
		sr_lb_list_free(&list);
	}
	sr_lb_conf_free(conf);
	json_decref(registry);
	json_decref(addresses);
}

static void read_manifest(struct sr_bytes json)
{
	uint8_t sum[SR_SHA256_LEN];
	struct sr_backup_info info;
	struct sr_err err = {0};
	uint64_t bytes;

	if (sr_manifest_parse(json, &info, &bytes, sum, &err) == SR_OK)
		sr_backup_info_free(&info);
	else
		must(err.text[0]);
}

/* Whatever it was, the datastore goes on, and lists its webservers. */
static void tell(char how, struct sr_bytes json, const uint8_t *data, size_t size)
{
	struct world *w = world_for(data, size);
	struct sr_err err = {0};
	uint64_t next;
	enum sr_status rc;

	if (how == 'w')
		rc = sr_ds_webserver_tell(w->d, &webserver, json, "192.0.2.7", &err);
	else if (how == 'c')
		rc = sr_ds_conflicts_tell(w->d, &webserver, json, &err);
	else
		rc = sr_ds_token_tell(w->d, &webserver, json, "192.0.2.7", &next, &err);
	must(rc == SR_OK || (rc != SR_E_INTERNAL && err.text[0]));
	must(!sr_datastore_broken(w->d, NULL));
	world_tick(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sr_bytes json = size ? sr_bytes(data + 1, size - 1) : sr_bytes(NULL, 0);

	switch (size ? data[0] : 0) {
	case 'p':
		learn(json);
		break;
	case 'l':
		balance(json);
		break;
	case 'm':
		read_manifest(json);
		break;
	case 'w':
	case 'c':
	case 't':
		tell((char)data[0], json, data, size);
		break;
	default:
		break;
	}
	return 0;
}
