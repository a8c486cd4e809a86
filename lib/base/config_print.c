/* config_print.c - writing a configuration down again, key by key. */
#include <string.h>

#include "lib/base/config_ini.h"

void sr_ini_add_comment(struct sr_buf *out, const char *text)
{
	sr_buf_printf(out, "# ");
	for (; *text; text++)
		sr_buf_byte(out, (uint8_t)*text < 0x20 ? '?' : (uint8_t)*text); /* a comment is one line, whatever the file is called */
	sr_buf_byte(out, '\n');
}

/* As a value of the file: in quotes unless it is plainly nothing but itself. */
static void add_ini_value(struct sr_buf *out, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._:+=@,%*?[]-";

	if (text[strspn(text, plain)] == '\0') {
		sr_buf_printf(out, "%s", text);
		return;
	}
	sr_buf_byte(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			sr_buf_byte(out, '\\');
		sr_buf_byte(out, (uint8_t)*text);
	}
	sr_buf_byte(out, '"');
}

void sr_ini_add_lines(struct sr_buf *out, const struct sr_config_key *key, const void *at)
{
	struct sr_buf value = {0};
	size_t lines = sr_value_count(key, at);

	if (lines == 0)
		sr_buf_printf(out, "# %s is not set\n", key->name);
	for (size_t i = 0; i < lines; i++) {
		sr_buf_clear(&value);
		sr_value_text(key, at, i, &value);
		sr_buf_printf(out, "%s=", key->name);
		add_ini_value(out, sr_buf_text(&value));
		sr_buf_byte(out, '\n');
	}
	sr_buf_free(&value);
}

void sr_ini_add_json(struct sr_buf *out, const char *text)
{
	bool utf8 = sr_utf8_valid(sr_bytes_of(text));

	sr_buf_byte(out, '"');
	for (; *text; text++) {
		uint8_t c = (uint8_t)*text;

		if (c == '"' || c == '\\')
			sr_buf_printf(out, "\\%c", c);
		else if (c < 0x20)
			sr_buf_printf(out, "\\u%04x", c);
		else if (c >= 0x80 && !utf8)
			sr_buf_printf(out, "\\\\x%02x", c);
		else
			sr_buf_byte(out, c);
	}
	sr_buf_byte(out, '"');
}

void sr_ini_add_member(struct sr_buf *out, const struct sr_config_key *key, const void *at)
{
	struct sr_buf value = {0};
	size_t lines = sr_value_count(key, at);

	sr_ini_add_json(out, key->name);
	sr_buf_printf(out, sr_value_repeats(key) ? ":[" : lines ? ":" : ":null");
	for (size_t i = 0; i < lines; i++) {
		sr_buf_clear(&value);
		sr_value_text(key, at, i, &value);
		if (i)
			sr_buf_byte(out, ',');
		if (sr_value_plain(key))
			sr_buf_bytes(out, sr_buf_view(&value));
		else
			sr_ini_add_json(out, sr_buf_text(&value));
	}
	if (sr_value_repeats(key))
		sr_buf_byte(out, ']');
	sr_buf_free(&value);
}
