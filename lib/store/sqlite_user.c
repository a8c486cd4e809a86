/* sqlite_user.c - who else has a database open?
 *
 * A process has it open when one of its descriptors is the file: /proc tells, of all processes to root, else of the caller's own.  Of others only the
 * write-ahead log's lock is seen, which everybody holds who uses the log. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/store/sqlite_internal.h"
#include "lib/store/store.h"

#define SHM_DMS 128 /* the byte of the -shm on which every user of the log holds a shared lock */

bool sr_sql_log_in_use(const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SHM_DMS, .l_len = 1};
	char *shm = sr_format("%s-shm", path);
	int fd = open(shm, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool yes = fd < 0 && errno != ENOENT;

	if (fd >= 0) {
		yes = fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
		close(fd);
	}
	free(shm);
	return yes;
}

static bool has_open(const char *fds, const struct stat *file)
{
	DIR *dir = opendir(fds);
	struct dirent *e;
	struct stat st;
	bool yes = false;

	while (dir && !yes && (e = readdir(dir)))
		yes = fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_ino == file->st_ino && st.st_dev == file->st_dev;
	if (dir)
		closedir(dir);
	return yes;
}

/* "process 123 (name)" */
static char *name_process(const char *pid)
{
	char *path = sr_format("/proc/%s/comm", pid), name[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof name - 1);

	if (fd >= 0)
		close(fd);
	free(path);
	name[n < 0 ? 0 : n] = 0;
	name[strcspn(name, "\n")] = 0;
	return *name ? sr_format("process %s (%s)", pid, name) : sr_format("process %s", pid);
}

char *sr_database_user(const char *path)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct stat file;
	char *who = NULL;

	if (stat(path, &file) == 0) {
		while (proc && !who && (e = readdir(proc))) {
			char *fds = sr_format("/proc/%s/fd", e->d_name);

			if (isdigit((unsigned char)e->d_name[0]) && atol(e->d_name) != (long)getpid() && has_open(fds, &file))
				who = name_process(e->d_name);
			free(fds);
		}
		if (!who && sr_sql_log_in_use(path))
			who = sr_strdup("another process");
	}
	if (proc)
		closedir(proc);
	return who;
}
