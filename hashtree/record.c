/* record.c - see record.h, which has the format. */
#include "hashtree/record.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The fewest bytes that one value of a key or one column of a record can take: caps the count before memory is asked for. */
#define KEY_VALUE_LEAST 1
#define COLUMN_LEAST 3

static enum sr_class canonical_class(const struct sr_value *v)
{
	return v->class == SR_REAL && isnan(v->real) ? SR_NULL : v->class; /* as SQLite stores it */
}

static void value_encode(struct sr_buf *out, const struct sr_value *v)
{
	double real;
	uint64_t bits;
	enum sr_class class = canonical_class(v);

	sr_buf_byte(out, (uint8_t)class);
	switch (class) {
	case SR_NULL:
		break;
	case SR_INT:
		sr_buf_be64(out, (uint64_t)v->i);
		break;
	case SR_REAL:
		real = v->real == 0 ? 0.0 : v->real; /* -0.0, which SQLite does not keep either */
		memcpy(&bits, &real, sizeof bits);
		sr_buf_be64(out, bits);
		break;
	case SR_TEXT:
	case SR_BLOB:
		sr_buf_string(out, v->b);
		break;
	}
}

static enum sr_status value_decode(struct sr_reader *r, struct sr_value *v, struct sr_err *err)
{
	uint8_t class = sr_read_byte(r);
	uint64_t bits;

	memset(v, 0, sizeof *v);
	if (class > SR_BLOB)
		return sr_err_set(err, SR_E_DATA, "storage class %u is unknown", class);
	v->class = (enum sr_class)class;
	switch (v->class) {
	case SR_NULL:
		break;
	case SR_INT:
		v->i = (int64_t)sr_read_be64(r);
		break;
	case SR_REAL:
		bits = sr_read_be64(r);
		memcpy(&v->real, &bits, sizeof v->real);
		if (isnan(v->real) || (v->real == 0 && signbit(v->real)))
			return sr_err_set(err, SR_E_DATA, "a real is NaN or -0.0, which is not canonical");
		break;
	case SR_TEXT:
	case SR_BLOB:
		v->b = sr_read_string(r);
		break;
	}
	return r->bad ? sr_err_set(err, SR_E_DATA, "cut short, or a number not in its shortest form") : SR_OK;
}

/* The count at the front, refused when the bytes that follow cannot hold so many. */
static enum sr_status count_decode(struct sr_reader *r, size_t least, size_t *n, struct sr_err *err)
{
	uint64_t count = sr_read_varint(r);

	if (r->bad)
		return sr_err_set(err, SR_E_DATA, "the count is cut short or not in its shortest form");
	if (count > SR_RECORD_COLUMNS || count > sr_read_left(r) / least)
		return sr_err_set(err, SR_E_DATA, "a count of %" PRIu64 " is more than can be here", count);
	*n = (size_t)count;
	return SR_OK;
}

static int column_cmp(const void *a, const void *b)
{
	const struct sr_column *ca = a, *cb = b;

	return sr_bytes_cmp(ca->name, cb->name);
}

void sr_record_encode(struct sr_buf *out, struct sr_column *columns, size_t n)
{
	size_t kept = 0;

	assert(n <= SR_RECORD_COLUMNS);
	if (n)
		qsort(columns, n, sizeof *columns, column_cmp);
	for (size_t i = 0; i < n; i++)
		kept += canonical_class(&columns[i].value) != SR_NULL;
	sr_buf_varint(out, kept);
	for (size_t i = 0; i < n; i++) {
		assert(i == 0 || column_cmp(&columns[i - 1], &columns[i]) < 0);
		if (canonical_class(&columns[i].value) == SR_NULL)
			continue;
		sr_buf_string(out, columns[i].name);
		value_encode(out, &columns[i].value);
	}
}

static enum sr_status column_decode(struct sr_reader *r, const struct sr_column *before, struct sr_column *c, struct sr_err *err)
{
	enum sr_status st;

	c->name = sr_read_string(r);
	if (r->bad)
		return sr_err_set(err, SR_E_DATA, "a column's name is cut short");
	if (before && column_cmp(before, c) >= 0)
		return sr_err_set(err, SR_E_DATA, "columns are not in strictly rising order");
	st = value_decode(r, &c->value, err);
	if (st != SR_OK)
		return st;
	if (c->value.class == SR_NULL)
		return sr_err_set(err, SR_E_DATA, "a NULL column, which is to be left out");
	return SR_OK;
}

enum sr_status sr_record_decode(struct sr_bytes in, struct sr_column **columns, size_t *n, struct sr_err *err)
{
	struct sr_reader r = sr_reader(in);
	struct sr_column *c = NULL;
	size_t count;
	enum sr_status st;

	st = count_decode(&r, COLUMN_LEAST, &count, err);
	if (st != SR_OK)
		goto out;
	c = sr_alloc((count + 1) * sizeof *c);
	for (size_t i = 0; st == SR_OK && i < count; i++)
		st = column_decode(&r, i ? &c[i - 1] : NULL, &c[i], err);
	if (st == SR_OK && !sr_read_done(&r))
		st = sr_err_set(err, SR_E_DATA, "%zu bytes are left over", sr_read_left(&r));
	if (st != SR_OK)
		goto out;
	*columns = c;
	*n = count;
	return SR_OK;
out:
	free(c);
	sr_err_context(err, "record");
	return st;
}

void sr_key_encode(struct sr_buf *out, const struct sr_value *values, size_t n)
{
	assert(n <= SR_RECORD_COLUMNS);
	sr_buf_varint(out, n);
	for (size_t i = 0; i < n; i++)
		value_encode(out, &values[i]);
}

enum sr_status sr_key_check(struct sr_bytes in, struct sr_err *err)
{
	struct sr_reader r = sr_reader(in);
	size_t count;
	enum sr_status st = count_decode(&r, KEY_VALUE_LEAST, &count, err);

	for (size_t i = 0; st == SR_OK && i < count; i++) {
		struct sr_value v;

		st = value_decode(&r, &v, err);
	}
	if (st == SR_OK && !sr_read_done(&r))
		st = sr_err_set(err, SR_E_DATA, "%zu bytes are left over", sr_read_left(&r));
	if (st != SR_OK)
		sr_err_context(err, "key");
	return st;
}

enum sr_status sr_key_decode(struct sr_bytes in, struct sr_value **values, size_t *n, struct sr_err *err)
{
	struct sr_reader r = sr_reader(in);
	struct sr_value *v = NULL;
	size_t count;
	enum sr_status st;

	st = count_decode(&r, KEY_VALUE_LEAST, &count, err);
	if (st != SR_OK)
		goto out;
	v = sr_alloc((count + 1) * sizeof *v);
	for (size_t i = 0; st == SR_OK && i < count; i++)
		st = value_decode(&r, &v[i], err);
	if (st == SR_OK && !sr_read_done(&r))
		st = sr_err_set(err, SR_E_DATA, "%zu bytes are left over", sr_read_left(&r));
	if (st != SR_OK)
		goto out;
	*values = v;
	*n = count;
	return SR_OK;
out:
	free(v);
	sr_err_context(err, "key");
	return st;
}

static void value_text(struct sr_buf *out, const struct sr_value *v)
{
	switch (v->class) {
	case SR_NULL:
		sr_buf_printf(out, "NULL");
		break;
	case SR_INT:
		sr_buf_printf(out, "%" PRId64, v->i);
		break;
	case SR_REAL:
		sr_buf_printf(out, "%.17g", v->real); /* enough digits to tell any two apart */
		break;
	case SR_TEXT:
	case SR_BLOB:
		sr_percent(out, v->b, "");
		break;
	}
}

enum sr_status sr_key_text(struct sr_buf *out, struct sr_bytes key, struct sr_err *err)
{
	struct sr_value *values;
	size_t n;
	enum sr_status st = sr_key_decode(key, &values, &n, err);

	if (st != SR_OK)
		return st;
	for (size_t i = 0; i < n; i++) {
		if (i)
			sr_buf_byte(out, ',');
		value_text(out, &values[i]);
	}
	free(values);
	return SR_OK;
}
