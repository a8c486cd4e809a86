/* directory.h - what tests with a directory of their own do to it.  Included after cmocka.h. */
#ifndef SR_TESTS_DIRECTORY_H
#define SR_TESTS_DIRECTORY_H

#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/bytes.h"

/* Remove the files in it that are called so, a pattern of glob(7).  False: there are none. */
static bool remove_all(const char *dir, const char *names)
{
	char *pattern = sr_format("%s/%s", dir, names);
	glob_t found;
	bool any = glob(pattern, 0, NULL, &found) == 0;

	if (any) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			unlink(found.gl_pathv[i]);
		globfree(&found);
	}
	free(pattern);
	return any;
}

#endif
