/* json.c - a record as JSON, for people.  See bundle.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hashtree/record.h"
#include "lib/bundle/bundle.h"

static void add_escaped(struct sr_buf *out, uint8_t c)
{
	static const char shorts[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	const char *found = c ? strchr(shorts, c) : NULL;

	if (found)
		sr_buf_printf(out, "\\%c", letters[found - shorts]);
	else if (c < 0x20 || c == 0x7f)
		sr_buf_printf(out, "\\u%04x", c);
	else
		sr_buf_byte(out, c);
}

/* text is UTF-8. */
static void add_string(struct sr_buf *out, struct sr_bytes text)
{
	sr_buf_byte(out, '"');
	for (size_t i = 0; i < text.len; i++)
		add_escaped(out, text.at[i]);
	sr_buf_byte(out, '"');
}

static void add_name(struct sr_buf *out, struct sr_bytes name)
{
	if (sr_utf8_valid(name)) {
		add_string(out, name);
		return;
	}
	sr_buf_byte(out, '"');
	sr_percent(out, name, NULL);
	sr_buf_byte(out, '"');
}

/* The shortest decimal that reads back equal, and that nobody takes for an integer. */
static void add_real(struct sr_buf *out, double v)
{
	char text[40];

	if (isinf(v)) {
		sr_buf_printf(out, "{\"real\": \"%sInfinity\"}", v < 0 ? "-" : "");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	sr_buf_printf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void add_value(struct sr_buf *out, const struct sr_value *v)
{
	switch (v->class) {
	case SR_NULL:
		sr_buf_printf(out, "null");
		return;
	case SR_INT:
		sr_buf_printf(out, "%" PRId64, v->i);
		return;
	case SR_REAL:
		add_real(out, v->real);
		return;
	case SR_TEXT:
		if (sr_utf8_valid(v->b)) {
			add_string(out, v->b);
			return;
		}
		break;
	case SR_BLOB:
		break;
	}
	sr_buf_printf(out, "{\"hex\": \"");
	sr_hex(out, v->b);
	sr_buf_printf(out, "\"}");
}

enum sr_status sr_record_json(struct sr_buf *out, struct sr_bytes record, struct sr_err *err)
{
	struct sr_column *columns = NULL;
	enum sr_status rc;
	size_t n;

	rc = sr_record_decode(record, &columns, &n, err);
	if (rc)
		return rc;
	sr_buf_byte(out, '{');
	for (size_t i = 0; i < n; i++) {
		sr_buf_printf(out, "%s", i ? ", " : "");
		add_name(out, columns[i].name);
		sr_buf_printf(out, ": ");
		add_value(out, &columns[i].value);
	}
	sr_buf_byte(out, '}');
	free(columns);
	return SR_OK;
}
