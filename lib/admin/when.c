/* when.c - see when.h. */
#include "lib/admin/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400

static bool digits(const char **text, unsigned width, int *out)
{
	*out = 0;
	for (unsigned i = 0; i < width; i++) {
		if (**text < '0' || **text > '9')
			return false;
		*out = *out * 10 + *(*text)++ - '0';
	}
	return true;
}

static bool skip(const char **text, char c)
{
	if (**text != c)
		return false;
	++*text;
	return true;
}

static bool read_date(const char **text, struct tm *tm)
{
	int year, month, day;

	if (!digits(text, 4, &year) || !skip(text, '-') || !digits(text, 2, &month) || !skip(text, '-') || !digits(text, 2, &day))
		return false;
	tm->tm_year = year - 1900;
	tm->tm_mon = month - 1;
	tm->tm_mday = day;
	return year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* HH:MM, with seconds and their fractions or without. */
static bool read_time(const char **text, struct tm *tm, int *ms)
{
	*ms = 0;
	tm->tm_sec = 0;
	if (!digits(text, 2, &tm->tm_hour) || !skip(text, ':') || !digits(text, 2, &tm->tm_min) || tm->tm_hour > 23 || tm->tm_min > 59)
		return false;
	if (**text == ':') {
		++*text;
		if (!digits(text, 2, &tm->tm_sec) || tm->tm_sec > 60)
			return false;
	}
	if (**text == '.') {
		++*text;
		for (int scale = 100; **text >= '0' && **text <= '9'; scale /= 10)
			*ms += scale * (*(*text)++ - '0');
	}
	return true;
}

/* "Z", "+01:00"; nothing: local time. */
static bool read_zone(const char **text, bool *local, int *offset_s)
{
	int hours, minutes, sign = **text == '-' ? -1 : 1;

	*local = false;
	*offset_s = 0;
	if (**text == 'Z' || **text == 'z') {
		++*text;
		return true;
	}
	if (**text != '+' && **text != '-') {
		*local = true;
		return true;
	}
	++*text;
	if (!digits(text, 2, &hours) || !skip(text, ':') || !digits(text, 2, &minutes) || hours > 14 || minutes > 59)
		return false;
	*offset_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* A day that the month does not have comes out as another. */
static bool to_ms(struct tm *tm, bool local, int offset_s, int ms, int64_t *out)
{
	int day = tm->tm_mday;
	time_t t;

	tm->tm_isdst = -1;
	t = local ? mktime(tm) : timegm(tm);
	*out = ((int64_t)t - offset_s) * 1000 + ms;
	return tm->tm_mday == day && *out >= 0;
}

static bool calendar(const char *text, int64_t now_ms, int64_t *out)
{
	time_t now = (time_t)(now_ms / 1000);
	struct tm tm = {0}, today;
	bool local = true;
	int ms = 0, offset_s = 0;

	localtime_r(&now, &today);
	if (strlen(text) > 2 && text[2] == ':') {
		tm = today;
		return read_time(&text, &tm, &ms) && !*text && to_ms(&tm, true, 0, ms, out);
	}
	if (!read_date(&text, &tm))
		return false;
	if (*text == 'T' || *text == 't' || *text == ' ') {
		text++;
		if (!read_time(&text, &tm, &ms) || !read_zone(&text, &local, &offset_s))
			return false;
	}
	return !*text && to_ms(&tm, local, offset_s, ms, out);
}

static bool midnight(int64_t now_ms, int days_ago, int64_t *out)
{
	time_t now = (time_t)(now_ms / 1000);
	struct tm tm;

	localtime_r(&now, &tm);
	tm.tm_mday -= days_ago;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	tm.tm_isdst = -1;
	*out = (int64_t)mktime(&tm) * 1000;
	return true;
}

static bool ago(const char *text, int64_t now_ms, int64_t *out)
{
	static const struct {
		char letter;
		int64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', DAY_S}, {'w', 7 * DAY_S}};
	uint64_t n;
	int used = 0;
	char unit;

	if (*text < '0' || *text > '9' || sscanf(text, "%9" SCNu64 "%c%n", &n, &unit, &used) != 2)
		return false;
	if (text[used] && strcmp(text + used, " ago") != 0)
		return false;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (units[i].letter == unit) {
			*out = now_ms - (int64_t)n * units[i].seconds * 1000;
			return *out >= 0;
		}
	return false;
}

static bool seq(const char *text, uint64_t *out)
{
	char end;

	return *text >= '0' && *text <= '9' && strlen(text) < 19 && sscanf(text, "%" SCNu64 "%c", out, &end) == 1;
}

enum sr_status sr_when_parse(const char *text, int64_t now_ms, struct sr_when *out, struct sr_err *err)
{
	struct sr_when when = {.at_ms = now_ms};
	bool good;

	if (*text == '@') {
		when.is_seq = true;
		good = seq(text + 1, &when.seq);
	} else if (!strcmp(text, "now")) {
		good = true;
	} else if (!strcmp(text, "today") || !strcmp(text, "yesterday")) {
		good = midnight(now_ms, *text == 'y', &when.at_ms);
	} else {
		good = ago(text, now_ms, &when.at_ms) || calendar(text, now_ms, &when.at_ms);
	}
	if (!good)
		return sr_err_set(err, SR_E_USAGE,
				  "%.40s: no time that is understood; those are 2026-11-25T14:00:00Z, \"2026-11-25 14:00\" (local), 14:00, yesterday, 2h, "
				  "3d and @123 (a seq of `sameroot log`)",
				  text);
	*out = when;
	return SR_OK;
}
