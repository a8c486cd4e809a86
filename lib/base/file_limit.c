/* file_limit.c - see file_limit.h. */
#include "lib/base/file_limit.h"

#include <sys/resource.h>

uint64_t sr_files_allow(uint64_t wanted)
{
	struct rlimit limit, more;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return wanted;
	more = limit;
	if (more.rlim_cur < wanted)
		more.rlim_cur = more.rlim_max < wanted ? more.rlim_max : wanted;
	if (more.rlim_cur == limit.rlim_cur || setrlimit(RLIMIT_NOFILE, &more))
		return limit.rlim_cur;
	return more.rlim_cur;
}
