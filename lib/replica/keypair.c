/* keypair.c - see keypair.h. */
#include "lib/replica/keypair.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/certificate.h"

#define MOST (1 << 20) /* bytes of a file */

void sr_keypair_free(struct sr_keypair *pair)
{
	free(pair->certificate);
	free(pair->key);
	*pair = (struct sr_keypair){0};
}

struct sr_keypair sr_keypair_served(const struct sr_config *c, bool datastore)
{
	const char *state = datastore ? c->datastore_state_directory : c->state_directory;

	if (c->certificate_file)
		return (struct sr_keypair){.certificate = sr_strdup(c->certificate_file), .key = sr_strdup(c->key_file)};
	return (struct sr_keypair){.certificate = sr_format("%s/certificate.pem", state), .key = sr_format("%s/key.pem", state)};
}

static enum sr_status read_file(const char *path, struct sr_buf *out, struct sr_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : 1;

	while (got > 0 && out->len < MOST) {
		got = read(fd, sr_buf_room(out, 4096), 4096);
		if (got > 0)
			out->len += (size_t)got;
	}
	if (got < 0)
		sr_err_sys(err, SR_E_CONFIG, "%s", path);
	if (fd >= 0)
		close(fd);
	return got < 0 ? SR_E_CONFIG : SR_OK;
}

enum sr_status sr_keypair_check(const char *certificate, const char *key, struct sr_err *err)
{
	struct sr_buf a = {0}, b = {0};
	enum sr_status rc = SR_OK;

	if (!certificate)
		return SR_OK;
	rc = read_file(certificate, &a, err);
	if (rc == SR_OK)
		rc = read_file(key, &b, err);
	if (rc == SR_OK && sr_certificate_check(sr_buf_text(&a), sr_buf_text(&b), err) != SR_OK)
		rc = sr_err_context(err, "%s and %s", certificate, key);
	if (b.len)
		explicit_bzero(b.at, b.len);
	sr_buf_free(&a);
	sr_buf_free(&b);
	return rc;
}

enum sr_status sr_keypair_shown(const struct sr_config *c, bool datastore, struct sr_keypair *out, struct sr_err *err)
{
	enum sr_status rc = sr_keypair_check(c->client_certificate_file, c->client_key_file, err);

	if (rc != SR_OK)
		return sr_err_context(err, "Client-Certificate-File");
	if (c->client_certificate_file)
		*out = (struct sr_keypair){.certificate = sr_strdup(c->client_certificate_file), .key = sr_strdup(c->client_key_file)};
	else
		*out = sr_keypair_served(c, datastore);
	return SR_OK;
}
