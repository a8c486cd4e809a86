/* version.h - which Sameroot this is: --version, the status page, `make dist`. */
#ifndef SR_BASE_VERSION_H
#define SR_BASE_VERSION_H

#define SR_VERSION "0.1.0"

#endif
