/* table.c - see table.h. */
#include "lib/admin/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void sr_table_start(struct sr_table *t, const char *align)
{
	assert(*align && strlen(align) <= SR_TABLE_COLUMNS);
	*t = (struct sr_table){.align = align};
}

void sr_table_add(struct sr_table *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort(); /* out of memory */
	va_end(ap);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = '?';
	sr_buf_add(&t->cells, text, strlen(text) + 1);
	t->n++;
	free(text);
}

/* Characters, not bytes: UTF-8's continuation bytes take no room. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(FILE *out, const char *text, char align, size_t room, bool last)
{
	int pad = (int)(room - width(text));

	if (align == 'r')
		fprintf(out, "%*s%s", pad, "", text);
	else
		fprintf(out, "%s%*s", text, last ? 0 : pad, "");
	fputs(last ? "\n" : "  ", out);
}

void sr_table_print(struct sr_table *t, FILE *out, const char *indent)
{
	size_t columns = strlen(t->align), widest[SR_TABLE_COLUMNS] = {0}, i = 0;
	const char *end = (const char *)t->cells.at + t->cells.len;

	for (const char *at = (const char *)t->cells.at; at && at < end; at += strlen(at) + 1, i++)
		if (width(at) > widest[i % columns])
			widest[i % columns] = width(at);
	i = 0;
	for (const char *at = (const char *)t->cells.at; at && at < end; at += strlen(at) + 1, i++) {
		if (i % columns == 0)
			fputs(indent, out);
		print_cell(out, at, t->align[i % columns], widest[i % columns], i % columns == columns - 1 || i == t->n - 1);
	}
	sr_buf_free(&t->cells);
}

void sr_when_text(char out[SR_WHEN_TEXT], int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	if (ms <= 0 || !gmtime_r(&s, &tm) || !strftime(out, SR_WHEN_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
		strcpy(out, "-");
}
