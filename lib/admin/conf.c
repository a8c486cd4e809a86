/* conf.c - see conf.h. */
#include "lib/admin/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

#define MOST (1u << 20)

/* --- a new one ------------------------------------------------------------------------------------------------------------------ */

static const char *const datastore_keys[] = {
	"Datastore-Listen-Address", "Datastore-Port", "Datastore-Update-Interval", "Control-Auth-File", "Certificate-File", "Key-File",
	"Datastore-User-DB-Path", "Datastore-Web-Store-Path", "Datastore-Resource-Store", "Datastore-State-Directory",
	"Max-Delete-Percent", "Max-Delete-Count", "Trash-Days", "Trash-Max-Bytes", "Conflict-Max-Bytes", "Resource-Max-Size", "Log-Level", NULL};
static const char *const webserver_keys[] = {
	"Datastore-Update-Interval", "Sync-Listen-Address", "Sync-Port", "Control-Auth-File", "Certificate-File", "Key-File", "User-DB-Path",
	"Web-Store-Path", "Webserver-Resource-Store", "State-Directory", "Max-Delete-Percent", "Max-Delete-Count", "Conflict-Max-Bytes",
	"Resource-Max-Size", "Log-Level", NULL};

static void add_key(struct sr_buf *out, const char *name)
{
	size_t n;
	const struct sr_config_key *keys = sr_config_keys(&n);

	for (size_t i = 0; i < n; i++)
		if (keys[i].store != SR_KEY_STORE && !strcmp(keys[i].name, name))
			sr_buf_printf(out, "\n# %s\n#%s=%s\n", keys[i].help, name, keys[i].fallback ? keys[i].fallback : "");
}

void sr_conf_new(struct sr_buf *out, bool datastore)
{
	sr_buf_printf(out, "# The configuration of a Sameroot %s.  All keys, and what they mean: sameroot.conf(5).\n"
			   "# What is commented out is the default.\n\n[global]\n", datastore ? "datastore" : "webserver");
	for (const char *const *name = datastore ? datastore_keys : webserver_keys; *name; name++)
		add_key(out, *name);
	if (!datastore)
		sr_buf_printf(out, "\n# What is made new belongs to the owner of the directory it is in.  If the application runs as another user:\n"
				   "#[store \"users.db\"]\n#Owner=www-data\n#Group=www-data\n");
	sr_buf_printf(out, "\n# One more database or directory, for any application; the same section on the datastore and on each webserver:\n"
			   "#[store \"shop.db\"]\n#Kind=sqlite\n#Path=/srv/shop/shop.db\n"
			   "#Datastore-Path=/var/lib/sameroot/datastore-shop.db\n");
}

/* --- what is there --------------------------------------------------------------------------------------------------------------- */

struct lines {
	struct sr_bytes rest, line; /* without blanks around it */
	unsigned number;
	bool global; /* the section it is in, or begins */
};

static bool blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool next_line(struct lines *l)
{
	const uint8_t *end = l->rest.len ? memchr(l->rest.at, '\n', l->rest.len) : NULL;
	size_t len = end ? (size_t)(end - l->rest.at) : l->rest.len;

	if (!l->rest.len)
		return false;
	l->line = sr_bytes(l->rest.at, len);
	l->rest = sr_bytes(l->rest.at + len + !!end, l->rest.len - len - !!end);
	if (!l->number++ && l->line.len >= 3 && !memcmp(l->line.at, "\xef\xbb\xbf", 3))
		l->line = sr_bytes(l->line.at + 3, l->line.len - 3);
	while (l->line.len && blank(l->line.at[0]))
		l->line = sr_bytes(l->line.at + 1, l->line.len - 1);
	while (l->line.len && blank(l->line.at[l->line.len - 1]))
		l->line.len--;
	if (l->line.len && l->line.at[0] == '[')
		l->global = l->line.len >= 2 && memchr(l->line.at, '"', l->line.len) == NULL; /* a store's section has a quoted name */
	return true;
}

static struct lines lines_of(struct sr_bytes text)
{
	return (struct lines){.rest = text, .global = true};
}

unsigned sr_conf_line(struct sr_bytes text, const char *key)
{
	size_t n = strlen(key);

	for (struct lines l = lines_of(text); next_line(&l);) {
		size_t end = n;

		if (!l.global || l.line.len <= n || strncasecmp((const char *)l.line.at, key, n) != 0)
			continue;
		while (end < l.line.len && blank(l.line.at[end]))
			end++;
		if (end < l.line.len && l.line.at[end] == '=')
			return l.number;
	}
	return 0;
}

void sr_conf_add(struct sr_buf *text, const char *about, const char *key, const char *value)
{
	struct lines l = lines_of(sr_buf_view(text));

	while (next_line(&l))
		;
	if (text->len && text->at[text->len - 1] != '\n')
		sr_buf_byte(text, '\n');
	if (about)
		sr_buf_printf(text, "%s# %s\n", text->len ? "\n" : "", about);
	if (about || !l.global)
		sr_buf_printf(text, "[global]\n"); /* also after one: who adds a section above must not take these keys into it */
	sr_buf_printf(text, "%s=%s\n", key, value);
}

/* --- parsing --------------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_conf_parse(struct sr_config **out, struct sr_bytes text, const char *file, struct sr_err *err)
{
	FILE *in = text.len ? fmemopen((void *)(uintptr_t)text.at, text.len, "r") : NULL;
	enum sr_status rc;

	if (text.len && !in)
		return sr_err_sys(err, SR_E_INTERNAL, "%s", file);
	rc = sr_config_parse(out, in, file, err);
	if (in)
		fclose(in);
	return rc;
}

enum sr_status sr_conf_address(const char *text, char **host, unsigned *port, struct sr_err *err)
{
	char *line = sr_format("External-Addr=%s\n", text);
	struct sr_config *config = NULL;
	bool good = text[strcspn(text, "\n\r \t#;\"")] == '\0' && sr_conf_parse(&config, sr_bytes_of(line), "address", err) == SR_OK;

	free(line);
	if (!good)
		return sr_err_set(err, SR_E_USAGE, "%s: an address is HOST, HOST:PORT or [IPv6]:PORT", text);
	*host = sr_strdup(config->external.host);
	*port = config->external.port;
	sr_config_free(config);
	return SR_OK;
}

/* --- files ----------------------------------------------------------------------------------------------------------------------- */

enum sr_status sr_conf_read(const char *file, struct sr_buf *out, bool *found, struct sr_err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;
	enum sr_status rc = SR_OK;

	*found = fd >= 0;
	if (fd < 0)
		return errno == ENOENT ? SR_OK : sr_err_sys(err, SR_E_CONFIG, "%s", file);
	while (rc == SR_OK && (n = read(fd, sr_buf_room(out, 65536), 65536)) > 0) {
		out->len += (size_t)n;
		if (out->len > MOST)
			rc = sr_err_set(err, SR_E_CONFIG, "%s: larger than a configuration can be", file);
	}
	if (n < 0)
		rc = sr_err_sys(err, SR_E_CONFIG, "%s", file);
	close(fd);
	return rc;
}

/* The draft beside it, synced, with the mode and owner that the file is to have. */
static enum sr_status write_draft(const char *draft, const char *file, struct sr_bytes text, struct sr_err *err)
{
	struct stat old = {.st_mode = 0644, .st_uid = geteuid(), .st_gid = getegid()};
	int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool there = stat(file, &old) == 0, good;

	good = fd >= 0 && sr_file_write(fd, text) && fchmod(fd, there ? old.st_mode & 07777 : 0644) == 0;
	if (good && there && (old.st_uid != geteuid() || old.st_gid != getegid()))
		good = fchown(fd, old.st_uid, old.st_gid) == 0;
	good = good && fsync(fd) == 0;
	if (!good)
		sr_err_sys(err, SR_E_IO, "write %s", draft);
	if (fd >= 0)
		close(fd);
	return good ? SR_OK : err->code;
}

enum sr_status sr_conf_write(const char *file, struct sr_bytes text, struct sr_err *err)
{
	char *real = realpath(file, NULL), *draft; /* a symbolic link stays one */
	const char *to = real ? real : file;
	enum sr_status rc = sr_file_parents(to, err);

	draft = sr_format("%s.new", to);
	if (rc == SR_OK)
		rc = write_draft(draft, to, text, err);
	if (rc == SR_OK && rename(draft, to))
		rc = sr_err_sys(err, SR_E_IO, "rename %s", draft);
	if (rc == SR_OK)
		rc = sr_file_sync_parent(to, err);
	else
		unlink(draft);
	free(draft);
	free(real);
	return rc;
}
