/* record.h - the canonical record codec: one row's columns, or one row's key, as bytes that are equal exactly when the
 * rows are.
 *
 * Record: varint count, then per column in byte order of its name (strictly rising): string name, value.  NULL columns are omitted.
 * Key:    varint count, then the key's values in key order; here NULL is allowed.
 * Value:  one byte storage class, then: INT be64 (two's complement); REAL be64 (IEEE-754 bits; -0.0 and NaN are not
 *         canonical and refused); TEXT and BLOB string (varint length, bytes).  Lengths and counts in shortest form.
 * Decoding refuses whatever encoding would not have produced.  Pure. */
#ifndef SR_HASHTREE_RECORD_H
#define SR_HASHTREE_RECORD_H

#include "lib/base/bytes.h"

enum sr_class { SR_NULL = 0, SR_INT = 1, SR_REAL = 2, SR_TEXT = 3, SR_BLOB = 4 };

struct sr_value {
	enum sr_class class;
	int64_t i;         /* SR_INT */
	double real;       /* SR_REAL */
	struct sr_bytes b; /* SR_TEXT (as bytes, any encoding fault kept), SR_BLOB; BORROWED */
};

struct sr_column {
	struct sr_bytes name;
	struct sr_value value;
};

#define SR_RECORD_COLUMNS 32767 /* SQLite's own limit */

/* Append the record of `columns` (any order; sorted here in place; NULLs dropped) to out.  Names must differ.  As in SQLite, -0.0 is
 * taken as 0.0 and NaN as NULL, here and in a key. */
void sr_record_encode(struct sr_buf *out, struct sr_column *columns, size_t n);

/* Columns of a record, BORROWING `in`.  *columns is OWNED BY CALLER (free), never NULL.  SR_E_DATA names the fault. */
SR_MUST enum sr_status sr_record_decode(struct sr_bytes in, struct sr_column **columns, size_t *n, struct sr_err *err);

/* Append the record that has each column as the side has it that changed it since `base`.  False, and nothing appended: both changed one,
 * and differently; or one of the three is no record. */
SR_MUST bool sr_record_merge(struct sr_bytes base, struct sr_bytes local, struct sr_bytes remote, struct sr_buf *out);

void sr_key_encode(struct sr_buf *out, const struct sr_value *values, size_t n);
/* Does it decode? */
SR_MUST enum sr_status sr_key_check(struct sr_bytes in, struct sr_err *err);
SR_MUST enum sr_status sr_key_decode(struct sr_bytes in, struct sr_value **values, size_t *n, struct sr_err *err);

/* Human text of a key: its values joined by ',', each percent-encoded (text and blob bytes; integers and reals in
 * decimal; NULL as "NULL").  Appended to out. */
SR_MUST enum sr_status sr_key_text(struct sr_buf *out, struct sr_bytes key, struct sr_err *err);

#endif
