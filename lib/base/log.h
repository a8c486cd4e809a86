/* log.h - one line an event on stderr, for a person at three in the morning.  Text or JSON (Log-Format).
 * Thread-safe.  Secrets are never given to it. */
#ifndef SR_BASE_LOG_H
#define SR_BASE_LOG_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

enum sr_log_level { SR_LOG_DEBUG, SR_LOG_INFO, SR_LOG_WARN, SR_LOG_ERROR };

/* Add `in` as one line of printable UTF-8: \n, \t and \xNN stand for what is none; inside a JSON string if asked. */
void sr_log_printable(struct sr_buf *out, struct sr_bytes in, bool json);

void sr_log_setup(const char *program, enum sr_log_level least, bool json);
void sr_log(enum sr_log_level level, const char *fmt, ...) SR_PRINTF(2, 3);
#define sr_debug(...) sr_log(SR_LOG_DEBUG, __VA_ARGS__)
#define sr_info(...) sr_log(SR_LOG_INFO, __VA_ARGS__)
#define sr_warn(...) sr_log(SR_LOG_WARN, __VA_ARGS__)
#define sr_error(...) sr_log(SR_LOG_ERROR, __VA_ARGS__)

#endif
