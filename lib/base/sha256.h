/* sha256.h - SHA-256, for what has to be checked without the tree key.  The tree itself is hashed by hashtree/hash.h.
 * A struct belongs to one thread at a time.  Failure ends the process: there is none but lack of memory. */
#ifndef SR_BASE_SHA256_H
#define SR_BASE_SHA256_H

#include "lib/base/bytes.h"

#define SR_SHA256_LEN  32
#define SR_SHA256_TEXT 65 /* lower-case hex, and its NUL */

struct sr_sha256;
struct sr_sha256 *sr_sha256_new(void);
void sr_sha256_add(struct sr_sha256 *h, const void *at, size_t n);
void sr_sha256_mark(const struct sr_sha256 *h, uint8_t out[SR_SHA256_LEN]); /* of what was added so far; more may follow */
void sr_sha256_end(struct sr_sha256 *h, uint8_t out[SR_SHA256_LEN]); /* and begin anew */
void sr_sha256_free(struct sr_sha256 *h);                            /* NULL is a no-op */
void sr_sha256_text(char out[SR_SHA256_TEXT], const uint8_t digest[SR_SHA256_LEN]);

#endif
