/* owner.h - the owner of a daemon's own directory, when root runs a tool on it.
 *
 * A daemon need not run as root, and sudo(8) is what an operator types on the worst day: what a tool leaves in the state directory as root, its
 * daemon could not open.  So the owner is taken before, and what is root's is given to him after.  Nothing is done when not run as root, nor
 * where that owner is root.  One thread; never logs, and what cannot be given stays root's. */
#ifndef SR_ADMIN_OWNER_H
#define SR_ADMIN_OWNER_H

#include <sys/types.h>

struct sr_owner {
	uid_t uid;
	gid_t gid;
};

/* Of the directory, or, if it is not there yet, of the nearest one above it that is. */
struct sr_owner sr_owner_of(const char *dir);
/* All that is root's at and below `path` and on its file system becomes his; no symbolic link is followed, and no file of several names given. */
void sr_owner_give(const struct sr_owner *owner, const char *path);

#endif
