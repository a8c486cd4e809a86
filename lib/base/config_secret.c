/* config_secret.c - reading the secrets that a configuration gives, or names the file of: a line each. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/config_ini.h"

#define FILE_MOST 4096 /* bytes */

void sr_secrets_free(struct sr_secrets *secrets)
{
	for (size_t i = 0; i < SR_SECRETS_MOST; i++) {
		if (secrets->at[i])
			explicit_bzero(secrets->at[i], strlen(secrets->at[i]));
		free(secrets->at[i]);
	}
	*secrets = (struct sr_secrets){0};
}

int sr_secrets_find(const struct sr_secrets *secrets, struct sr_bytes secret)
{
	int found = -1;

	for (int i = SR_SECRETS_MOST - 1; i >= 0; i--)
		if (secrets->at[i] && sr_bytes_same_secret(sr_bytes_of(secrets->at[i]), secret))
			found = i;
	return found;
}

/* NULL, or what is wrong with it. */
static const char *take_line(struct sr_secrets *out, size_t n, struct sr_bytes line)
{
	const char *fault = n < SR_SECRETS_MOST ? sr_secret_fault(line) : "holds more than two secrets: there is the one that is sent, and one that is accepted beside it";

	if (!fault)
		out->at[n] = sr_text(line);
	return fault;
}

static const char *take_lines(struct sr_secrets *out, struct sr_bytes text)
{
	const char *fault = NULL;
	size_t n = 0;

	while (!fault && (text.len || !n)) {
		const uint8_t *end = text.len ? memchr(text.at, '\n', text.len) : NULL;
		size_t len = end ? (size_t)(end - text.at) : text.len;

		fault = take_line(out, n++, sr_bytes(text.at, len));
		len += end != NULL;
		text = sr_bytes(text.at + len, text.len - len);
	}
	if (fault)
		sr_secrets_free(out);
	return fault;
}

static enum sr_status read_file(int fd, const char *key, const char *path, struct sr_secrets *out, struct sr_err *err)
{
	const char *fault;
	uint8_t text[FILE_MOST];
	struct stat st;
	ssize_t len = 0;

	if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && (len = read(fd, text, sizeof(text))) < 0))
		return sr_err_sys(err, SR_E_CONFIG, "%s %s", key, path);
	fault = !S_ISREG(st.st_mode) ? "is not a file" :
		st.st_mode & 077 ? "must belong to its owner alone (chmod 600)" :
		len >= FILE_MOST - 1 ? "is too long" :
		take_lines(out, sr_bytes(text, (size_t)len));
	explicit_bzero(text, sizeof(text));
	return fault ? sr_err_set(err, SR_E_CONFIG, "%s %s: %s", key, path, fault) : SR_OK;
}

enum sr_status sr_ini_secrets(const char *given, const char *key, const char *path, struct sr_secrets *out, struct sr_err *err)
{
	struct sr_secrets all = {0};
	enum sr_status rc = SR_OK;
	int fd = -1;

	if (given) {
		take_lines(&all, sr_bytes_of(given)); /* they were looked at when they were read */
	} else {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		rc = fd < 0 ? sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_CONFIG, "%s %s", key, path) : read_file(fd, key, path, &all, err);
	}
	if (fd >= 0)
		close(fd);
	if (rc == SR_OK)
		*out = all;
	return rc;
}
