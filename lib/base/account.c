/* account.c - see account.h. */
#include "lib/base/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The highest number means "leave it as it is" to chown. */
static bool number(const char *text, uint32_t *out)
{
	uint64_t v = 0;

	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 10)
		return false;
	for (; *text; text++)
		v = v * 10 + (uint64_t)(*text - '0');
	*out = (uint32_t)v;
	return v < UINT32_MAX;
}

enum sr_status sr_account_user(const char *name, uid_t *out, struct sr_err *err)
{
	struct passwd entry, *found = NULL;
	char room[4096];

	if (number(name, out))
		return SR_OK;
	errno = getpwnam_r(name, &entry, room, sizeof(room), &found);
	if (!found)
		return errno ? sr_err_sys(err, SR_E_CONFIG, "user %s", name)
		             : sr_err_set(err, SR_E_CONFIG, "there is no user called %s", name);
	*out = found->pw_uid;
	return SR_OK;
}

enum sr_status sr_account_group(const char *name, gid_t *out, struct sr_err *err)
{
	struct group entry, *found = NULL;
	char room[16384]; /* a group lists its members */

	if (number(name, out))
		return SR_OK;
	errno = getgrnam_r(name, &entry, room, sizeof(room), &found);
	if (!found)
		return errno ? sr_err_sys(err, SR_E_CONFIG, "group %s", name)
		             : sr_err_set(err, SR_E_CONFIG, "there is no group called %s", name);
	*out = found->gr_gid;
	return SR_OK;
}
