/* address.c - see address.h. */
#include "lib/replica/address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/file.h"

#define LONGEST 300 /* a URL of a host and a port */

/* Of "HOST:PORT"; NULL: it is none. */
static const char *
port_of(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon && colon > address && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1) ? colon + 1 : NULL;
}

static bool
all_interfaces(const char *address)
{
	return strncmp(address, "[::]:", 5) == 0 || strncmp(address, "0.0.0.0:", 8) == 0;
}

enum sr_status
sr_address_write(const char *state_dir, bool tls, const char *listening, struct sr_err *err)
{
	char *path = sr_format("%s/" SR_ADDRESS_FILE, state_dir), *line = NULL;
	const char *port = port_of(listening), *scheme = tls ? "https" : "http";
	enum sr_status rc = SR_OK;

	if (!port) {
		rc = sr_err_set(err, SR_E_INTERNAL, "%s: not HOST:PORT: %s", path, listening);
		goto out;
	}
	line = all_interfaces(listening) ? sr_format("%s://127.0.0.1:%s\n", scheme, port) : sr_format("%s://%s\n", scheme, listening);
	rc = sr_file_replace(path, sr_bytes_of(line), 0644, false, err); /* nothing is lost with it in a crash */
out:
	free(line);
	free(path);
	return rc;
}

/* Is it what sr_address_write writes? */
static bool
is_url(const char *text)
{
	const char *host = strncmp(text, "https://", 8) == 0 ? text + 8 : strncmp(text, "http://", 7) == 0 ? text + 7 : NULL;

	return host && port_of(host) && strspn(host, "[]:.-_%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(host);
}

enum sr_status
sr_address_read(const char *state_dir, char **url, struct sr_err *err)
{
	char *path = sr_format("%s/" SR_ADDRESS_FILE, state_dir), text[LONGEST + 1] = "";
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, LONGEST);
	enum sr_status rc = SR_OK;

	if (n < 0) {
		rc = sr_err_sys(err, errno == ENOENT || errno == ENOTDIR ? SR_E_NOINPUT : SR_E_IO, "read %s", path);
	} else {
		text[n - (n && text[n - 1] == '\n')] = '\0';
		if (!is_url(text))
			rc = sr_err_set(err, SR_E_DATA, "%s: not the address of a daemon", path);
	}
	if (fd >= 0)
		close(fd);
	if (rc == SR_OK)
		*url = sr_strdup(text);
	free(path);
	return rc;
}

void
sr_address_remove(const char *state_dir)
{
	char *path = sr_format("%s/" SR_ADDRESS_FILE, state_dir);

	unlink(path);
	free(path);
}
