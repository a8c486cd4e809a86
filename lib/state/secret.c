/* secret.c - see secret.h. */
#include "lib/state/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/door.h"

#define LONGEST 4096

static void base64url(const uint8_t *in, size_t n, struct sr_buf *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | in[i];
		for (have += 8; have >= 6; have -= 6)
			sr_buf_byte(out, (uint8_t)digits[bits >> (have - 6) & 63]);
	}
	if (have)
		sr_buf_byte(out, (uint8_t)digits[bits << (6 - have) & 63]);
}

static enum sr_status make_directory(const char *path, struct sr_err *err)
{
	char *dir = sr_strdup(path);
	enum sr_status rc = SR_OK;

	for (char *at = strchr(dir + 1, '/'); at && rc == SR_OK; at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(dir, 0755) && errno != EEXIST)
			rc = sr_err_sys(err, SR_E_IO, "make %s", dir);
		*at = '/';
	}
	free(dir);
	return rc;
}

static enum sr_status sync_directory(const char *path, struct sr_err *err)
{
	char *dir = sr_strdup(path);
	char *slash = strrchr(dir, '/');
	int fd;
	enum sr_status rc = SR_OK;

	if (slash)
		slash[slash == dir] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		rc = sr_err_sys(err, SR_E_IO, "fsync %s", dir);
	if (fd >= 0)
		close(fd);
	free(dir);
	return rc;
}

static bool write_all(int fd, struct sr_bytes text)
{
	while (text.len) {
		ssize_t n = write(fd, text.at, text.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text.at += n;
		text.len -= (size_t)n;
	}
	return true;
}

/* link() does not replace: of two that make it at once, one wins and both read the same. */
static enum sr_status make(const char *path, struct sr_bytes text, bool *made, struct sr_err *err)
{
	char *draft = sr_format("%s.%016llx", path, (unsigned long long)sr_random_below(UINT64_MAX));
	int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	enum sr_status rc = SR_OK;

	if (fd < 0 || !write_all(fd, text) || fsync(fd))
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
	return rc == SR_OK ? sync_directory(path, err) : rc;
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
	rc = make_directory(path, err);
	if (rc != SR_OK)
		return rc;
	sr_random(random, sizeof(random));
	base64url(random, sizeof(random), &text);
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
