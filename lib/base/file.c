/* file.c - see file.h. */
#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum sr_status sr_file_parents(const char *path, struct sr_err *err)
{
	char *dir = sr_strdup(path);
	enum sr_status rc = SR_OK;

	for (char *at = *dir ? strchr(dir + 1, '/') : NULL; at && rc == SR_OK; at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(dir, 0755) && errno != EEXIST)
			rc = sr_err_sys(err, SR_E_IO, "make %s", dir);
		*at = '/';
	}
	free(dir);
	return rc;
}

enum sr_status sr_file_sync_parent(const char *path, struct sr_err *err)
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

bool sr_file_write(int fd, struct sr_bytes text)
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

enum sr_status sr_file_put(const char *path, struct sr_bytes text, unsigned mode, bool synced, struct sr_err *err)
{
	char *draft = sr_format("%s.new", path);
	int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	enum sr_status rc = SR_OK;

	if (fd < 0 || !sr_file_write(fd, text) || fchmod(fd, (mode_t)mode) != 0 || (synced && fsync(fd) != 0))
		rc = sr_err_sys(err, SR_E_IO, "write %s", draft);
	if (fd >= 0)
		close(fd);
	if (rc == SR_OK && rename(draft, path) != 0)
		rc = sr_err_sys(err, SR_E_IO, "rename %s", draft);
	if (rc != SR_OK)
		unlink(draft);
	free(draft);
	return rc;
}

enum sr_status sr_file_replace(const char *path, struct sr_bytes text, unsigned mode, bool durable, struct sr_err *err)
{
	enum sr_status rc = sr_file_put(path, text, mode, durable, err);

	return rc == SR_OK && durable ? sr_file_sync_parent(path, err) : rc;
}

/* Not every filesystem has O_TMPFILE. */
int sr_file_unlinked(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *name;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	name = sr_format("%s/sameroot.XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

int64_t sr_file_ns(int64_t seconds, int64_t ns)
{
	int64_t out;

	if (__builtin_mul_overflow(seconds, 1000000000, &out) || __builtin_add_overflow(out, ns, &out))
		return seconds < 0 ? INT64_MIN : INT64_MAX;
	return out;
}

const char *sr_file_tmp(void)
{
	const char *tmp = getenv("TMPDIR");

	return tmp && *tmp ? tmp : "/tmp";
}

enum sr_status sr_file_tmp_dir(char **out, const char *name, struct sr_err *err)
{
	char *path = sr_format("%s/%s.XXXXXX", sr_file_tmp(), name);
	enum sr_status rc;

	if (mkdtemp(path)) {
		*out = path;
		return SR_OK;
	}
	rc = sr_err_sys(err, SR_E_IO, "%s", path);
	free(path);
	return rc;
}

enum sr_status sr_file_room(const char *dir, uint64_t bytes, struct sr_err *err)
{
	struct statvfs fs;

	if (statvfs(dir, &fs) || !fs.f_blocks || (uint64_t)fs.f_bavail * fs.f_frsize >= bytes)
		return SR_OK;
	return sr_err_set(err, SR_E_FULL, "%s: %s: less than %llu KiB are free there", dir, strerror(ENOSPC), (unsigned long long)(bytes + 1023) / 1024);
}
