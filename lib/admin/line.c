/* line.c - see line.h. */
#include "lib/admin/line.h"

#include <stdlib.h>
#include <string.h>

#include "http/certificate.h"

#define VERSION    "1"
#define PIN_PREFIX "sha256//"
#define PIN_DIGITS 43 /* of base64, before its '=' */
#define CHECK      8
#define LONGEST    8192

static uint32_t crc32_of(struct sr_bytes in)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < in.len; i++) {
		crc ^= in.at[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* base64 and base64url differ in two digits. */
static char other_digit(char c, const char *from, const char *to)
{
	const char *at = c ? strchr(from, c) : NULL;

	return at ? to[at - from] : c;
}

static void print_key(struct sr_buf *out, const struct sr_line *line)
{
	if (line->plain || !line->pin[0]) {
		sr_buf_printf(out, "%s", line->plain ? "plain" : "tls");
		return;
	}
	for (size_t i = 0; i < PIN_DIGITS; i++)
		sr_buf_byte(out, (uint8_t)other_digit(line->pin[sizeof PIN_PREFIX - 1 + i], "+/", "-_"));
}

void sr_line_print(struct sr_buf *out, const struct sr_line *line)
{
	size_t start = out->len;

	sr_buf_printf(out, SR_LINE_SCHEME "%s/#" VERSION ".", line->address);
	sr_base64url(out, sr_bytes_of(line->secret));
	sr_buf_byte(out, '.');
	print_key(out, line);
	sr_buf_printf(out, ".%08x", crc32_of(sr_bytes(out->at + start, out->len - start)));
}

/* --- reading ----------------------------------------------------------------------------------------------------------------- */

static enum sr_status wrong(struct sr_err *err, const char *what)
{
	return sr_err_set(err, SR_E_DATA, "the join line %s: take it anew from `sameroot join --line` on the datastore", what);
}

/* The next field, up to a dot, which is taken too.  false: there is no dot. */
static bool field(char **rest, char **out)
{
	char *dot = strchr(*rest, '.');

	*out = *rest;
	if (!dot)
		return false;
	*dot = '\0';
	*rest = dot + 1;
	return true;
}

static bool parse_key(const char *text, struct sr_line *line)
{
	if (!strcmp(text, "tls"))
		return true;
	line->plain = !strcmp(text, "plain");
	if (line->plain)
		return true;
	if (strlen(text) != PIN_DIGITS || strpbrk(text, "+/"))
		return false;
	memcpy(line->pin, PIN_PREFIX, sizeof PIN_PREFIX);
	for (size_t i = 0; i < PIN_DIGITS; i++)
		line->pin[sizeof PIN_PREFIX - 1 + i] = other_digit(text[i], "-_", "+/");
	memcpy(line->pin + sizeof PIN_PREFIX - 1 + PIN_DIGITS, "=", 2);
	return sr_pin_valid(line->pin);
}

static enum sr_status parse_fields(char *text, struct sr_line *line, struct sr_err *err)
{
	char *mark = strstr(text, "/#"), *rest, *version, *secret, *key;
	struct sr_buf raw = {0};

	if (!mark)
		return wrong(err, "is cut short");
	*mark = '\0';
	line->address = sr_strdup(text + sizeof SR_LINE_SCHEME - 1);
	rest = mark + 2;
	if (!field(&rest, &version) || strcmp(version, VERSION) != 0)
		return sr_err_set(err, SR_E_DATA, "the join line is of another version of Sameroot");
	if (!field(&rest, &secret) || !field(&rest, &key))
		return wrong(err, "is cut short");
	if (!sr_unbase64url(&raw, sr_bytes_of(secret)) || !raw.len || memchr(raw.at, '\0', raw.len) || !parse_key(key, line)) {
		sr_buf_free(&raw);
		return wrong(err, "makes no sense");
	}
	line->secret = sr_text(sr_buf_view(&raw));
	explicit_bzero(raw.at, raw.len);
	sr_buf_free(&raw);
	return SR_OK;
}

static bool check_holds(const char *text)
{
	size_t len = strlen(text);
	char check[CHECK + 2];

	if (len <= CHECK + 1)
		return false;
	snprintf(check, sizeof check, ".%08x", crc32_of(sr_bytes(text, len - CHECK - 1)));
	return strcmp(text + len - CHECK - 1, check) == 0;
}

enum sr_status sr_line_parse(const char *text, struct sr_line *out, struct sr_err *err)
{
	const char *start = strstr(text, SR_LINE_SCHEME);
	struct sr_line line = {0};
	char *copy;
	size_t len;
	enum sr_status rc;

	if (!start)
		return wrong(err, "does not begin with " SR_LINE_SCHEME);
	len = strcspn(start, " \t\r\n'\"");
	if (len > LONGEST)
		return wrong(err, "is too long");
	copy = sr_text(sr_bytes(start, len));
	rc = check_holds(copy) ? parse_fields(copy, &line, err) : wrong(err, "was changed or cut on its way");
	explicit_bzero(copy, len);
	free(copy);
	if (rc == SR_OK)
		*out = line;
	else
		sr_line_free(&line);
	return rc;
}

void sr_line_free(struct sr_line *line)
{
	if (line->secret)
		explicit_bzero(line->secret, strlen(line->secret));
	free(line->secret);
	free(line->address);
	memset(line, 0, sizeof *line);
}
