/* disk_copy.c - a directory copied, and emptied, with all that is in it: what a backup of a machine is.  No steps. */
#include "tests/sim/disk_step.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int copy_file(const char *from, const char *to, mode_t mode)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char piece[65536];
	ssize_t n = in < 0 || out < 0 ? -1 : 1;

	while (n > 0 && (n = read(in, piece, sizeof piece)) > 0)
		if (write(out, piece, (size_t)n) != n)
			n = -1;
	if (n == 0 && fchmod(out, mode & 07777))
		n = -1;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n ? -1 : 0;
}

static bool is_dots(const struct dirent *e)
{
	return !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
}

static int copy(const char *from, const char *to, void (*each)(const char *from, const char *to))
{
	DIR *d = opendir(from);
	char a[PATH_MAX], b[PATH_MAX];
	struct dirent *e;
	struct stat st;
	int rc = d ? 0 : -1;

	while (!rc && (e = readdir(d))) {
		if (is_dots(e))
			continue;
		snprintf(a, sizeof a, "%s/%s", from, e->d_name);
		snprintf(b, sizeof b, "%s/%s", to, e->d_name);
		rc = lstat(a, &st);
		if (!rc && S_ISREG(st.st_mode))
			rc = copy_file(a, b, st.st_mode);
		if (!rc && S_ISREG(st.st_mode))
			each(a, b);
		if (!rc && S_ISDIR(st.st_mode))
			rc = mkdir(b, st.st_mode & 07777) || copy(a, b, each) ? -1 : 0;
	}
	if (d)
		closedir(d);
	return rc;
}

static int empty(const char *dir)
{
	DIR *d = opendir(dir);
	char path[PATH_MAX];
	struct dirent *e;
	int rc = d ? 0 : -1;

	while (!rc && (e = readdir(d))) {
		if (is_dots(e))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		rc = e->d_type == DT_DIR ? empty(path) || rmdir(path) : unlink(path);
	}
	if (d)
		closedir(d);
	return rc ? -1 : 0;
}

int sr_disk_copy(const char *from, const char *to, void (*each)(const char *from, const char *to))
{
	int rc;

	sr_disk_inside = true;
	rc = copy(from, to, each);
	sr_disk_inside = false;
	return rc;
}

int sr_disk_empty(const char *dir)
{
	int rc;

	sr_disk_inside = true;
	rc = empty(dir);
	sr_disk_inside = false;
	return rc;
}
