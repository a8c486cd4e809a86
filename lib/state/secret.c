/* secret.c - see secret.h. */
#include "lib/state/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/door.h"
#include "lib/base/file.h"

#define LONGEST 4096

/* link() does not replace: of two that make it at once, one wins and both read the same. */
static enum sr_status make(const char *path, struct sr_bytes text, bool *made, struct sr_err *err)
{
	char *draft = sr_format("%s.%016llx", path, (unsigned long long)sr_random_below(UINT64_MAX));
	int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	enum sr_status rc = SR_OK;

	if (fd < 0 || !sr_file_write(fd, text) || fsync(fd))
		rc = sr_err_sys(err, SR_E_IO, "write %s", draft);
	else if (link(draft, path) == 0)
		*made = true;
	else if (errno != EEXIST)
		rc = sr_err_sys(err, SR_E_IO, "make %s", path);
	if (fd >= 0) {
		close(fd);
		unlink(draft);
	}
	free(draft);
	return rc == SR_OK ? sr_file_sync_parent(path, err) : rc;
}

enum sr_status sr_secret_ensure(const char *path, bool *made, struct sr_err *err)
{
	uint8_t random[SR_SECRET_BYTES];
	struct sr_buf text = {0};
	bool is_new = false;
	enum sr_status rc;

	if (made)
		*made = false;
	if (access(path, F_OK) == 0)
		return SR_OK;
	rc = sr_file_parents(path, err);
	if (rc != SR_OK)
		return rc;
	sr_random(random, sizeof(random));
	sr_base64url(&text, sr_bytes(random, sizeof(random)));
	sr_buf_byte(&text, '\n');
	rc = make(path, sr_buf_view(&text), &is_new, err);
	if (made)
		*made = is_new;
	explicit_bzero(random, sizeof(random));
	explicit_bzero(text.at, text.len);
	sr_buf_free(&text);
	return rc;
}

static enum sr_status read_open(int fd, const char *path, char **out, struct sr_err *err)
{
	char text[LONGEST + 1];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return sr_err_sys(err, SR_E_IO, "stat %s", path);
	if (!S_ISREG(st.st_mode) || st.st_mode & 077)
		return sr_err_set(err, SR_E_CONFIG, "%s: others than its owner may touch it (chmod 600)", path);
	n = read(fd, text, sizeof(text));
	if (n < 0)
		return sr_err_sys(err, SR_E_IO, "read %s", path);
	if (n && text[n - 1] == '\n')
		n--;
	if (n < SR_SECRET_BYTES || n > LONGEST || memchr(text, '\0', (size_t)n))
		return sr_err_set(err, SR_E_CONFIG, "%s: no secret: remove it, and a new one is made at the next start", path);
	*out = sr_text(sr_bytes(text, (size_t)n));
	explicit_bzero(text, sizeof(text));
	return SR_OK;
}

enum sr_status sr_secret_put(const char *path, const char *secret, struct sr_err *err)
{
	struct sr_buf text = {0};
	bool made = false;
	enum sr_status rc = sr_file_parents(path, err);

	sr_buf_printf(&text, "%s\n", secret);
	if (rc == SR_OK)
		rc = make(path, sr_buf_view(&text), &made, err);
	if (rc == SR_OK && !made)
		rc = sr_err_set(err, SR_E_CHANGED, "%s: it is there already", path);
	explicit_bzero(text.at, text.len);
	sr_buf_free(&text);
	return rc;
}

enum sr_status sr_secret_read(const char *path, char **out, struct sr_err *err)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	enum sr_status rc;

	if (fd < 0)
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_CONFIG, "open %s", path);
	rc = read_open(fd, path, out, err);
	close(fd);
	return rc;
}

void sr_secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}
