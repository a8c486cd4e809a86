/* beneath.c - see beneath.h. */
#include "lib/base/beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int sr_open_beneath(int dir, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY)),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	for (int tries = 0; tries < 16; tries++) { /* EAGAIN: someone renamed in the whole system meanwhile */
		fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}

/* How much of a path one system call can take: all of it, or up to a separator. */
static size_t bite(struct sr_bytes path)
{
	size_t n = path.len;

	if (n < PATH_MAX)
		return n;
	for (n = PATH_MAX - 1; n > 0 && path.at[n] != '\0'; n--)
		;
	return n;
}

int sr_open_below(int root, struct sr_bytes path, int flags)
{
	char text[PATH_MAX];
	int dir = root, fd = -1;

	if (!path.len)
		return sr_open_beneath(root, ".", flags, 0);
	while (path.len) {
		size_t n = bite(path);
		bool last = n == path.len;

		if (n == 0) {
			errno = ENAMETOOLONG;
			fd = -1;
		} else {
			for (size_t i = 0; i < n; i++)
				text[i] = path.at[i] ? (char)path.at[i] : '/';
			text[n] = '\0';
			fd = sr_open_beneath(dir, text, last ? flags : O_PATH | O_DIRECTORY, 0);
		}
		if (dir != root)
			close(dir);
		if (fd < 0 || last)
			break;
		dir = fd;
		path = sr_bytes(path.at + n + 1, path.len - n - 1);
	}
	return fd;
}

/* --- removing ----------------------------------------------------------------------------------------------------- */

/* Remove what is in dir; a directory that is not empty moves up into `top`, so that depth costs neither stack nor descriptors. */
static int empty_into(int top, int dir, unsigned long *moved)
{
	DIR *list = fdopendir(dir); /* takes dir */
	struct dirent *e;
	int rc = 0;

	if (!list) {
		close(dir);
		return -1;
	}
	while (!rc && (e = readdir(list))) {
		char name[32];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(dirfd(list), e->d_name, 0) || !unlinkat(dirfd(list), e->d_name, AT_REMOVEDIR))
			continue;
		(void)!fchmodat(dirfd(list), e->d_name, 0700, 0); /* to move a directory one has to be able to write to it */
		do
			snprintf(name, sizeof name, ".removed-%lu", ++*moved);
		while ((rc = renameat2(dirfd(list), e->d_name, top, name, RENAME_NOREPLACE)) && errno == EEXIST);
	}
	closedir(list);
	return rc;
}

static int clear(int top)
{
	unsigned long moved = 0;
	int rc = 0, left = 1;

	while (!rc && left) {
		int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *list = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *e;

		left = 0;
		while (list && !rc && (e = readdir(list))) {
			int below;

			if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
				continue;
			if (!unlinkat(top, e->d_name, 0) || !unlinkat(top, e->d_name, AT_REMOVEDIR))
				continue;
			(void)!fchmodat(top, e->d_name, 0700, 0);
			below = openat(top, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			rc = below < 0 ? -1 : empty_into(top, below, &moved);
			left = 1;
		}
		if (list)
			closedir(list);
		else
			rc = -1;
	}
	return rc;
}

int sr_remove_beneath(int dir, const char *name)
{
	int top, rc;

	if (!unlinkat(dir, name, 0) || errno == ENOENT)
		return 0;
	(void)!fchmodat(dir, name, 0700, 0);
	top = sr_open_beneath(dir, name, O_RDONLY | O_DIRECTORY, 0);
	if (top < 0)
		return -1;
	rc = clear(top);
	close(top);
	return rc ? rc : unlinkat(dir, name, AT_REMOVEDIR);
}
