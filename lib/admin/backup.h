/* backup.h - what `sameroot backup` and `sameroot verify` share.  Threads: one command at a time. */
#ifndef SR_ADMIN_BACKUP_H
#define SR_ADMIN_BACKUP_H

#include "lib/admin/admin.h"
#include "lib/admin/progress_line.h"
#include "lib/bundle/backup.h"

struct json_t;

/* A line at a terminal, of bytes; none where nobody looks.  Begun once and ended once, which frees it. */
struct sr_byte_line {
	struct sr_progress_line *line; /* NULL: nobody looks */
	struct sr_progress p;
};
void sr_byte_line_start(struct sr_byte_line *b, const struct sr_admin *a, const char *what); /* BORROWS what */
void sr_byte_line_at(struct sr_byte_line *b, uint64_t done, uint64_t total); /* total 0: not known */
void sr_byte_line_end(struct sr_byte_line *b);

/* What is in it, for people on `out`; what is not, on `notes`. */
void sr_backup_show(const struct sr_backup_info *info, const char *file, FILE *out, FILE *notes);
struct json_t *sr_backup_json(const struct sr_backup_info *info, const char *file); /* OWNED BY CALLER (json_decref) */

#endif
