/* table.h - aligned columns for people.
 *
 * What comes from outside (paths, texts of peers) may hold anything: control bytes are shown as '?', so that no text speaks to the
 * terminal.  One owner. */
#ifndef SR_ADMIN_TABLE_H
#define SR_ADMIN_TABLE_H

#include <stdint.h>
#include <stdio.h>

#include "lib/base/bytes.h"

#define SR_TABLE_COLUMNS 12

struct sr_table {
	const char *align;   /* a letter a column: 'l' or 'r' */
	struct sr_buf cells; /* each with a NUL */
	size_t n;
};

void sr_table_start(struct sr_table *t, const char *align); /* BORROWS align */
/* The next cell, row by row. */
void sr_table_add(struct sr_table *t, const char *fmt, ...) SR_PRINTF(2, 3);
/* Print with `indent` before each row, and free.  The last row may be short. */
void sr_table_print(struct sr_table *t, FILE *out, const char *indent);

#define SR_WHEN_TEXT 24
void sr_when_text(char out[SR_WHEN_TEXT], int64_t ms); /* "2026-11-22T07:00:00Z"; "-" for 0 */

#endif
