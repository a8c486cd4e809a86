/* file_limit.h - how many files this process may have open at a time.  The limit is the process's. */
#ifndef SR_BASE_FILE_LIMIT_H
#define SR_BASE_FILE_LIMIT_H

#include <stdint.h>

/* See to it that at least so many may be, as far as the hard limit goes; a soft limit that is higher stays.  How many may be now. */
uint64_t sr_files_allow(uint64_t wanted);

#endif
