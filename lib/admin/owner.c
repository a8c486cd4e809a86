/* owner.c - see owner.h. */
#include "lib/admin/owner.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"

#define OPEN_DIRECTORIES 16

static struct sr_owner to; /* nftw takes no context */

struct sr_owner sr_owner_of(const char *dir)
{
	char *path = sr_strdup(dir), *slash;
	struct stat st = {0};

	while (stat(path, &st) != 0 && (slash = strrchr(path, '/')) != NULL && slash != path)
		*slash = 0;
	free(path);
	return (struct sr_owner){.uid = st.st_uid, .gid = st.st_gid};
}

/* A file with a second name elsewhere may be anybody's. */
static int give(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)where;
	if (kind != FTW_NS && st->st_uid == 0 && (S_ISDIR(st->st_mode) || st->st_nlink == 1))
		(void)!lchown(path, to.uid, to.gid);
	return 0;
}

void sr_owner_give(const struct sr_owner *owner, const char *path)
{
	if (geteuid() != 0 || owner->uid == 0)
		return;
	to = *owner;
	(void)nftw(path, give, OPEN_DIRECTORIES, FTW_PHYS | FTW_MOUNT);
}
