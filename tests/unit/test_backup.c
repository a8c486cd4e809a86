/* test_backup.c - backups out and in: what tar makes of them, every bit that can flip, hostile ones, and what is put on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/bundle/manifest.h"
#include "tests/unit/source.h"

#define LIT(s) sr_bytes(s, sizeof(s) - 1)
#define BLOCK  512

static char dir[] = "/tmp/test_backup.XXXXXX";

/* --- a backup in memory ----------------------------------------------------------------------------------------------- */

static enum sr_status to_buf(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_buf_add(ctx, at, n);
	return SR_OK;
}

static void add_file(struct sr_backup_writer *w, struct sr_bytes path, int64_t mtime, struct sr_bytes content, bool ok)
{
	assert_int_equal(sr_backup_begin_file(w, path, 0640, mtime, content.len, NULL), SR_OK);
	assert_int_equal(sr_backup_add_data(w, content.at, content.len, NULL), SR_OK);
	assert_int_equal(sr_backup_end_file(w, ok, NULL), SR_OK);
}

static void set_store(struct sr_backup_store *s, const char *name, uint8_t kind)
{
	*s = (struct sr_backup_store){.name = sr_strdup(name), .kind = kind, .leaves = 7, .bytes = 99, .map = {{1}}};
}

static struct sr_backup_info make_info(void)
{
	struct sr_backup_info info = {.role = sr_strdup("datastore"),
				      .version = sr_strdup("1"),
				      .node = {{1}},
				      .instance = {{2}},
				      .epoch = 3,
				      .seq = 4,
				      .root = {{5}},
				      .key_id = {{6}},
				      .taken_ms = 1700000000123,
				      .n = 2};

	info.stores = sr_alloc(2 * sizeof *info.stores);
	set_store(&info.stores[0], "users.db", SR_KIND_DATABASE);
	set_store(&info.stores[1], "resources", SR_KIND_FILES);
	sr_backup_leave_out(&info, "resources/link", "a symbolic link", false);
	return info;
}

#define MTIME 1600000000987654321
static const char odd_name[] = "resources/\\back\nslash\r\xff";

/* With a name of any bytes, a long one, an empty directory, an empty file, one that changed while it was written. */
static void make_backup(struct sr_buf *out, bool zstd)
{
	struct sr_backup_info info = make_info();
	struct sr_backup_writer *w;
	struct sr_buf longest = {0};

	sr_buf_printf(&longest, "resources/z");
	for (int i = 0; i < 30; i++)
		sr_buf_printf(&longest, "/long-long-long-name-%02d", i);
	assert_int_equal(sr_backup_writer_new(&w, zstd, NULL, to_buf, out, NULL), SR_OK);
	add_file(w, LIT("users.db"), MTIME, LIT("not a database, but so called"), true);
	assert_int_equal(sr_backup_add_dir(w, LIT("resources"), 0755, MTIME, NULL), SR_OK);
	assert_int_equal(sr_backup_add_dir(w, LIT("resources/.sameroot"), 0700, MTIME, NULL), SR_OK);
	add_file(w, LIT("resources/.sameroot/marker"), MTIME, LIT("marker"), true);
	add_file(w, LIT("resources/.hidden"), MTIME, LIT(""), true);
	add_file(w, sr_bytes(odd_name, sizeof odd_name - 1), -1500000000, LIT("odd"), true);
	assert_int_equal(sr_backup_add_dir(w, LIT("resources/a"), 0555, MTIME, NULL), SR_OK);
	add_file(w, LIT("resources/a/moving"), MTIME, LIT("first"), false);
	add_file(w, LIT("resources/a/moving"), MTIME + 1, LIT("second"), true);
	add_file(w, LIT("resources/a/torn"), MTIME + 1, LIT("never whole"), false);
	assert_int_equal(sr_backup_add_dir(w, LIT("resources/b"), 0700, MTIME, NULL), SR_OK);
	assert_int_equal(sr_backup_add_dir(w, LIT("resources/z"), 0700, MTIME, NULL), SR_OK);
	for (size_t i = 12; i < longest.len; i++)
		if (longest.at[i] == '/')
			assert_int_equal(sr_backup_add_dir(w, sr_bytes(longest.at, i), 0700, MTIME, NULL), SR_OK);
	add_file(w, sr_buf_view(&longest), MTIME, LIT("deep"), true);
	assert_int_equal(sr_backup_finish(w, &info, NULL), SR_OK);
	sr_backup_writer_free(w);
	sr_backup_info_free(&info);
	sr_buf_free(&longest);
}

struct faults {
	unsigned n;
	char text[4096];
};

static void on_fault(void *ctx, const char *path, const char *what)
{
	struct faults *f = ctx;
	size_t len = strlen(f->text);

	f->n++;
	snprintf(f->text + len, sizeof f->text - len, "%s: %s\n", path, what);
}

static enum sr_status verify(struct sr_bytes in, struct faults *faults, struct sr_backup_info *info, struct sr_err *err)
{
	struct source s = {.in = in};
	struct sr_backup_source source = {.file = "B", .read = from_source, .read_ctx = &s, .fault = faults ? on_fault : NULL, .ctx = faults};

	return sr_backup_verify(&source, info, err);
}

static enum sr_status extract(struct sr_bytes in, const char *to, sr_backup_wanted_fn *wanted, struct sr_err *err)
{
	struct source s = {.in = in};
	struct sr_backup_source source = {.file = "B", .read = from_source, .read_ctx = &s};
	struct sr_backup_info info = {0};
	enum sr_status rc = sr_backup_extract(&source, to, wanted, NULL, &info, err);

	sr_backup_info_free(&info);
	return rc;
}

/* --- there and back --------------------------------------------------------------------------------------------------- */

static void the_manifest_comes_back(void **state)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		struct sr_buf b = {0};
		struct sr_backup_info info = {0};
		struct sr_err err = {0};

		make_backup(&b, zstd);
		if (verify(sr_buf_view(&b), NULL, &info, &err) != SR_OK)
			fail_msg("%s", err.text);
		assert_string_equal(info.role, "datastore");
		assert_int_equal(info.epoch, 3);
		assert_int_equal(info.seq, 4);
		assert_int_equal(info.instance.b[0], 2);
		assert_int_equal(info.root.b[0], 5);
		assert_int_equal(info.taken_ms, 1700000000123);
		assert_int_equal(info.n, 2);
		assert_string_equal(info.stores[1].name, "resources");
		assert_int_equal(info.stores[0].kind, SR_KIND_DATABASE);
		assert_int_equal(info.stores[1].bytes, 99);
		assert_int_equal(info.left_out_n, 1);
		assert_string_equal(info.left_out[0].path, "resources/link");
		sr_backup_info_free(&info);
		sr_buf_free(&b);
	}
	(void)state;
}

static int run(const char *command)
{
	char *line = sr_format("cd %s && { %s; } >/dev/null 2>err", dir, command);
	int rc = system(line);
	if (rc) {
		char *show = sr_format("cat %s/err >&2", dir);
		(void)!system(show);
		free(show);
	}

	free(line);
	return rc;
}

static void write_file(const char *name, struct sr_bytes content)
{
	char *path = sr_format("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(content.at, 1, content.len, f), content.len);
	fclose(f);
	free(path);
}

static void plain_tar_and_sha256sum_take_it(void **state)
{
	struct sr_buf b = {0};

	make_backup(&b, false);
	write_file("b.tar", sr_buf_view(&b));
	assert_int_equal(run("mkdir plain && tar -C plain -xf b.tar"), 0);
	assert_int_equal(run("cd plain && sha256sum --strict -c SHA256SUMS"), 0);
	assert_int_equal(run("test \"$(cat plain/resources/a/moving)\" = second"), 0);
	assert_int_equal(run("test \"$(stat -c %a,%.9Y plain/users.db)\" = 640,1600000000.987654321"), 0);
	assert_int_equal(run("test \"$(stat -c %a plain/resources/a)\" = 555 && test -d plain/resources/b"), 0);
	assert_int_equal(run("python3 -m json.tool plain/manifest.json"), 0);
	sr_buf_free(&b);
	(void)state;
}

static bool only_resources(void *ctx, const char *store, uint8_t kind)
{
	(void)ctx;
	assert_int_equal(kind, strcmp(store, "resources") ? SR_KIND_DATABASE : SR_KIND_FILES);
	return !strcmp(store, "resources");
}

static void what_is_extracted_is_what_tar_makes_of_it(void **state)
{
	struct sr_buf b = {0};
	char *to = sr_format("%s/ours", dir);
	struct sr_err err = {0};

	make_backup(&b, true);
	assert_int_equal(mkdir(to, 0755), 0);
	if (extract(sr_buf_view(&b), to, only_resources, &err) != SR_OK)
		fail_msg("%s", err.text);
	assert_int_equal(run("test ! -e ours/users.db && test ! -e ours/.sameroot-extract"), 0);
	assert_int_equal(run("test ! -e ours/resources/a/torn && rm plain/resources/a/torn"), 0);
	assert_int_equal(run("diff -r plain/resources ours/resources"), 0);
	assert_int_equal(run("list() { (cd $1/resources && find . ! -path ./a -printf '%p %m %T@ %s\\n' | sort); }; list plain >1; list ours >2;"
			     "cmp 1 2 && test -s 1"),
			 0);
	/* a name that is taken */
	assert_int_equal(extract(sr_buf_view(&b), to, NULL, &err), SR_E_CONFLICT);
	assert_int_equal(run("test ! -e ours/users.db && test ! -e ours/.sameroot-extract && test -f ours/resources/a/moving"), 0);
	free(to);
	sr_buf_free(&b);
	(void)state;
}

static void a_failure_leaves_nothing(void **state)
{
	struct sr_buf b = {0};
	char *to = sr_format("%s/nothing", dir);
	struct sr_err err = {0};

	make_backup(&b, false);
	assert_int_equal(mkdir(to, 0755), 0);
	b.len -= 2 * BLOCK;
	assert_int_equal(extract(sr_buf_view(&b), to, NULL, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "truncated"));
	assert_int_equal(run("test -z \"$(ls -A nothing)\""), 0);
	free(to);
	sr_buf_free(&b);
	(void)state;
}

/* --- damage ------------------------------------------------------------------------------------------------------------- */

static void every_flipped_bit_is_found(void **state)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		struct sr_buf b = {0};
		struct sr_backup_info info = {0};

		make_backup(&b, zstd);
		for (size_t at = 0; at < b.len; at++) {
			struct sr_err err = {0};
			uint8_t bit = (uint8_t)(1 << at % 8);
			enum sr_status rc;

			b.at[at] ^= bit;
			rc = verify(sr_buf_view(&b), NULL, &info, &err);
			if (rc != SR_E_DATA && rc != SR_E_LIMIT)
				fail_msg("byte %zu of %zu%s: %d %s", at, b.len, zstd ? " (zstd)" : "", rc, err.text);
			b.at[at] ^= bit;
		}
		sr_buf_free(&b);
	}
	(void)state;
}

/* Whoever compresses it anew takes its seal off, and nothing else. */
static void another_compression_will_do(void **state)
{
	struct sr_buf b = {0};

	make_backup(&b, true);
	write_file("sealed.zst", sr_buf_view(&b));
	assert_int_equal(run("zstd -q -d sealed.zst -o unsealed && zstd -q unsealed -o again.zst && zstd -q -t sealed.zst"), 0);
	for (int i = 0; i < 2; i++) {
		char *path = sr_format("%s/%s", dir, i ? "again.zst" : "unsealed");
		struct sr_backup_source source = {.file = path};
		struct sr_backup_info info = {0};
		struct sr_err err = {0};

		if (sr_backup_verify(&source, &info, &err) != SR_OK)
			fail_msg("%s", err.text);
		sr_backup_info_free(&info);
		free(path);
	}
	sr_buf_free(&b);
	(void)state;
}

static void every_truncation_is_found(void **state)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		struct sr_buf b = {0};
		struct sr_backup_info info = {0};

		make_backup(&b, zstd);
		for (size_t n = 0; n < b.len; n += zstd ? 1 : 37)
			if (!zstd || n != b.len - SR_BACKUP_SEAL_LEN) /* without its seal it is whole */
				assert_int_not_equal(verify(sr_bytes(b.at, n), NULL, &info, NULL), SR_OK);
		sr_buf_byte(&b, 0);
		assert_int_not_equal(verify(sr_buf_view(&b), NULL, &info, NULL), SR_OK);
		sr_buf_free(&b);
	}
	(void)state;
}

static size_t find(const struct sr_buf *b, const char *what)
{
	const uint8_t *at = memmem(b->at, b->len, what, strlen(what));

	assert_non_null(at);
	return (size_t)(at - b->at);
}

static void faults_name_the_path(void **state)
{
	struct sr_buf b = {0};
	struct sr_backup_info info = {0};
	struct faults f = {0};
	struct sr_err err = {0};

	make_backup(&b, false);
	b.at[find(&b, "odd")] ^= 1;
	b.at[find(&b, "deep")] ^= 1;
	assert_int_equal(verify(sr_buf_view(&b), &f, &info, &err), SR_E_DATA);
	assert_int_equal(f.n, 2);
	assert_non_null(strstr(f.text, "resources/%5Cback%0Aslash%0D%FF: its content is not what the manifest says\n"));
	assert_non_null(strstr(f.text, "long-long-long-name-29: its content"));
	assert_non_null(strstr(err.text, "(and 1 more)"));
	sr_buf_free(&b);
	(void)state;
}

/* Members of a plain backup: where the one called so begins, and how long it is, header and padding included. */
static size_t member(const struct sr_buf *b, const char *name, size_t *len)
{
	char header[101];
	size_t at = 0, from;

	for (;;) {
		size_t size;

		from = at;
		if (b->at[at + 156] == 'x') {
			size = strtoul((char *)b->at + at + 124, NULL, 8);
			at += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
		}
		size = strtoul((char *)b->at + at + 124, NULL, 8);
		memcpy(header, b->at + at, 100);
		header[100] = '\0';
		at += BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
		assert_true(at < b->len);
		if (!strcmp(header, name))
			break;
	}
	*len = at - from;
	return from;
}

static unsigned sum_of(const uint8_t *h)
{
	unsigned sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return sum;
}

static void a_removed_and_an_added_member_are_named(void **state)
{
	struct sr_buf b = {0}, c = {0};
	struct sr_backup_info info = {0};
	struct faults f = {0};
	struct sr_err err = {0};
	size_t len, at;

	make_backup(&b, false);
	at = member(&b, "resources/b/", &len);
	sr_buf_add(&c, b.at, at);
	sr_buf_add(&c, b.at + at + len, b.len - at - len);
	assert_int_equal(verify(sr_buf_view(&c), &f, &info, &err), SR_E_DATA);
	assert_string_equal(f.text, "resources/b: the manifest has it, and it is not here\n");

	sr_buf_clear(&c);
	memset(&f, 0, sizeof f);
	sr_buf_add(&c, b.at, at + len);
	sr_buf_add(&c, b.at + at, len); /* under another name */
	c.at[at + len + len - BLOCK + 10] = 'c';
	snprintf((char *)c.at + at + len + len - BLOCK + 148, 7, "%06o", sum_of(c.at + at + len + len - BLOCK));
	if (verify(sr_buf_view(&c), &f, &info, &err) == SR_OK)
		fail();
	sr_buf_add(&c, b.at + at + len, b.len - at - len);
	memset(&f, 0, sizeof f);
	assert_int_equal(verify(sr_buf_view(&c), &f, &info, &err), SR_E_DATA);
	assert_string_equal(f.text, "resources/c: it is here, and not in the manifest\n");
	sr_buf_free(&b);
	sr_buf_free(&c);
	(void)state;
}

/* --- hostile ones ------------------------------------------------------------------------------------------------------- */

static void header(struct sr_buf *out, const char *name, char type, size_t size)
{
	uint8_t h[BLOCK] = {0};

	snprintf((char *)h, 100, "%s", name);
	memcpy(h + 100, "000644 ", 8);
	snprintf((char *)h + 124, 12, "%011zo", size);
	memcpy(h + 136, "00000000000", 12);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar\00000", 8);
	snprintf((char *)h + 148, 7, "%06o", sum_of(h));
	h[155] = ' ';
	sr_buf_add(out, h, BLOCK);
}

/* One member after others whose headers are right is refused for what is wrong with it, and nothing is put anywhere. */
static void assert_hostile(const struct sr_buf *members, const char *why, const char *name)
{
	struct sr_buf b = {0};
	char *to = sr_format("%s/hostile", dir);
	struct sr_err err = {0};

	sr_buf_bytes(&b, sr_buf_view(members));
	memset(sr_buf_room(&b, 2 * BLOCK), 0, 2 * BLOCK);
	b.len += 2 * BLOCK;
	mkdir(to, 0755);
	assert_int_equal(extract(sr_buf_view(&b), to, NULL, &err), SR_E_DATA);
	if (!strstr(err.text, why))
		fail_msg("%s: not '%s', but: %s", name, why, err.text);
	assert_int_equal(run("test -z \"$(ls -A hostile)\""), 0);
	free(to);
	sr_buf_free(&b);
}

/* Each name at its own check: what is before it has its place. */
static void hostile_members_are_refused(void **state)
{
	static const char no_store[] = "a name that no store has", no_path[] = "a path that no store has", no_top[] = "its store's directory is not before it",
			  no_kind[] = "neither a file nor a directory", no_place[] = "not in its place, or twice", no_dir[] = "its directory is not before it";
	static const struct {
		const char *before[3]; /* a directory ends in '/' */
		const char *name;
		char type;
		const char *why;
	} bad[] = {
		{{0}, "/etc/passwd", '0', no_top},
		{{0}, "../users.db", '0', no_top},
		{{0}, "..", '5', no_store},
		{{0}, ".", '5', no_store},
		{{0}, "..", '0', no_store},
		{{0}, "SHA256SUMS", '0', no_store},
		{{0}, "FAILED", '5', no_store},
		{{0}, "manifest.json", '5', no_store},
		{{0}, "users.db", '1', no_kind},
		{{0}, "users.db", '2', no_kind},
		{{0}, "users.db", '3', no_kind},
		{{0}, "users.db", '6', no_kind},
		{{0}, "users.db", 'S', no_kind},
		{{0}, "users.db", 'g', no_kind},
		{{0}, "users.db", 'L', no_kind},
		{{"resources/"}, "resources/link", '2', no_kind},
		{{"resources/"}, "resources/link", '1', no_kind},
		{{0}, "resources/x", '0', no_top},
		{{"users.db"}, "users.db/x", '0', no_top},
		{{"resources/"}, "other/x", '0', no_top},
		{{"resources/", "other/"}, "resources/x", '0', no_top},
		{{"resources/"}, "resources/..", '5', no_path},
		{{"resources/"}, "resources/../x", '0', no_path},
		{{"resources/"}, "resources/./x", '0', no_path},
		{{"resources/"}, "resources//x", '0', no_path},
		{{"resources/"}, "resources/", '0', no_path},
		{{"resources/", "resources/a/"}, "resources/a/../../users.db", '0', no_path},
		{{"resources/", "resources/a/"}, "resources/a/..", '5', no_path},
		{{"resources/"}, "resources/.sameroot/x", '0', no_path},
		{{"resources/"}, "resources/.sameroot", '0', no_path},
		{{"resources/", "resources/.sameroot/"}, "resources/.sameroot/x", '0', no_path},
		{{"resources/", "resources/.sameroot/"}, "resources/.sameroot/marker", '5', no_path},
		{{"resources/", "resources/.sameroot/", "resources/.sameroot/marker"}, "resources/.sameroot/marker", '0', no_path},
		{{"resources/", "resources/a"}, "resources/.sameroot", '5', no_path},
		{{"resources/"}, "resources/a/x", '0', no_dir},
		{{"resources/", "resources/a"}, "resources/a/x", '0', no_dir}, /* below a file */
		{{"resources/", "resources/a/", "resources/b/"}, "resources/a/x", '0', no_place},
		{{"resources/", "resources/b"}, "resources/a", '0', no_place},
		{{"resources/", "resources/a/"}, "resources/a", '5', no_place},
		{{"resources/", "resources/a/"}, "resources/a", '0', no_place},
		{{"resources/", "resources/a"}, "resources/a", '5', no_place},
		{{"resources/"}, "resources", '5', "resources: twice"},
		{{"resources/"}, "resources", '0', "resources: twice"},
		{{"users.db"}, "users.db", '5', "users.db: twice"},
		{{"users.db", "other"}, "users.db", '0', "users.db: twice"},
		{{0}, "", '0', "its name is wrong"},
		{{0}, "/", '5', "its name is wrong"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct sr_buf b = {0};

		for (size_t k = 0; k < 3 && bad[i].before[k]; k++)
			header(&b, bad[i].before[k], bad[i].before[k][strlen(bad[i].before[k]) - 1] == '/' ? '5' : '0', 0);
		assert_hostile(&b, "truncated: manifest.json is missing", bad[i].name); /* so far all is well */
		header(&b, bad[i].name, bad[i].type, 0);
		assert_hostile(&b, bad[i].why, bad[i].name);
		sr_buf_free(&b);
	}
	(void)state;
}

/* With pax records, as "NAME=VALUE" each. */
static void pax_member(struct sr_buf *out, const char *record, size_t len, const char *name, char type)
{
	struct sr_buf text = {0};
	size_t all = len + 3;

	while (snprintf(NULL, 0, "%zu", all) + len + 2 != all)
		all++;
	sr_buf_printf(&text, "%zu ", all);
	sr_buf_add(&text, record, len);
	sr_buf_byte(&text, '\n');
	header(out, "pax", 'x', text.len);
	sr_buf_bytes(out, sr_buf_view(&text));
	memset(sr_buf_room(out, BLOCK), 0, BLOCK);
	out->len += (BLOCK - text.len % BLOCK) % BLOCK;
	header(out, name, type, 0);
	sr_buf_free(&text);
}

static void hostile_names_in_pax_records_are_refused(void **state)
{
	char *deep = sr_format("path=resources/%0300d", 7), *longest = sr_alloc(70000);
	struct sr_buf b = {0};
	const struct {
		const char *record;
		size_t len;
		char type;
		const char *why;
	} bad[] = {
		{"path=resources/../x", 19, '0', "a path that no store has"},
		{"path=../../etc/passwd", 21, '0', "its store's directory is not before it"},
		{"path=resources/a\0b", 18, '0', "its name is wrong"},
		{deep, strlen(deep), '0', "a path that no store has"}, /* a component of more than 255 */
		{longest, 69999, '0', "is damaged"},
		{"linkpath=/etc/passwd", 20, '0', "its pax records are malformed"},
		{"GNU.sparse.size=1", 17, '0', "its pax records are malformed"},
		{"path=resources/l", 16, '2', "neither a file nor a directory"},
		{"size=-1", 7, '0', "its size is wrong"},
		{"mtime=x", 7, '0', "its time is wrong"},
	};

	memset(longest, 'a', 69999);
	memcpy(longest, "path=resources/", 15);
	for (size_t i = 16; i < 69999; i += 2)
		longest[i] = '/';
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		sr_buf_clear(&b);
		header(&b, "resources/", '5', 0);
		pax_member(&b, bad[i].record, bad[i].len, "resources/harmless", bad[i].type);
		assert_hostile(&b, bad[i].why, bad[i].record);
	}
	sr_buf_free(&b);
	free(deep);
	free(longest);
	(void)state;
}

static void a_bomb_of_a_pax_header_is_refused(void **state)
{
	struct sr_buf b = {0};
	struct sr_err err = {0};
	struct sr_backup_info info = {0};

	header(&b, "PaxHeader/x", 'x', (size_t)1 << 30);
	assert_int_equal(verify(sr_buf_view(&b), NULL, &info, &err), SR_E_DATA);
	assert_non_null(strstr(err.text, "its size is wrong"));
	sr_buf_free(&b);
	(void)state;
}

/* --- a writer that cannot go on ------------------------------------------------------------------------------------------ */

static void one_that_was_not_finished_says_why(void **state)
{
	struct sr_buf b = {0};
	struct sr_backup_writer *w;
	struct sr_backup_info info = {0};
	struct sr_err err = {0}, why = {.code = SR_E_FULL, .text = "webstore.db: No space left on device"};

	assert_int_equal(sr_backup_writer_new(&w, true, NULL, to_buf, &b, NULL), SR_OK);
	add_file(w, LIT("users.db"), 0, LIT("x"), true);
	sr_backup_fail(w, &why);
	sr_backup_writer_free(w);
	assert_int_equal(verify(sr_buf_view(&b), NULL, &info, &err), SR_E_FULL);
	assert_string_equal(err.text, "B: it was not finished: webstore.db: No space left on device");
	sr_buf_free(&b);
	(void)state;
}

/* A backup of n files, each with its own time and its path for content, is well. */
static void all_well(bool zstd, size_t n, int64_t (*time_of)(size_t i), int64_t dir_time)
{
	struct sr_backup_info info = {.role = sr_strdup("webserver"), .version = sr_strdup("1"), .n = 1}, read = {0};
	struct sr_buf b = {0};
	struct sr_backup_writer *w;
	struct sr_err err = {0};

	info.stores = sr_alloc(sizeof *info.stores);
	set_store(&info.stores[0], "resources", SR_KIND_FILES);
	assert_int_equal(sr_backup_writer_new(&w, zstd, NULL, to_buf, &b, NULL), SR_OK);
	assert_int_equal(sr_backup_add_dir(w, LIT("resources"), 0755, dir_time, NULL), SR_OK);
	for (size_t i = 0; i < n; i++) {
		char *path = sr_format("resources/%06zu", i);

		add_file(w, sr_bytes_of(path), time_of(i), sr_bytes_of(path), true);
		free(path);
	}
	assert_int_equal(sr_backup_finish(w, &info, NULL), SR_OK);
	sr_backup_writer_free(w);
	if (verify(sr_buf_view(&b), NULL, &read, &err) != SR_OK)
		fail_msg("%s", err.text);
	sr_backup_info_free(&read);
	sr_backup_info_free(&info);
	sr_buf_free(&b);
}

static const int64_t edges[] = {INT64_MIN, INT64_MIN + 1, -9223372036000000000, -62135596800000000, -1000000000, -1, 0, 1, 8589934592000000000,
				9223372030000000000, 9223372036000000000, INT64_MAX - 1, INT64_MAX};

static int64_t edge(size_t i)
{
	return edges[i];
}

/* An application may give its files any. */
static void times_at_the_edge(void **state)
{
	all_well(false, sizeof edges / sizeof *edges, edge, INT64_MAX);
	(void)state;
}

static int64_t one_each(size_t i)
{
	return (int64_t)i;
}

/* Its list of members goes to a file. */
static void many_members(void **state)
{
	all_well(true, 30000, one_each, 0);
	(void)state;
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY), rc = sr_remove_beneath(tmp, dir + 5);

	(void)state;
	close(tmp);
	return rc;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manifest_comes_back),
		cmocka_unit_test(plain_tar_and_sha256sum_take_it),
		cmocka_unit_test(what_is_extracted_is_what_tar_makes_of_it),
		cmocka_unit_test(a_failure_leaves_nothing),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(another_compression_will_do),
		cmocka_unit_test(every_truncation_is_found),
		cmocka_unit_test(faults_name_the_path),
		cmocka_unit_test(a_removed_and_an_added_member_are_named),
		cmocka_unit_test(hostile_members_are_refused),
		cmocka_unit_test(hostile_names_in_pax_records_are_refused),
		cmocka_unit_test(a_bomb_of_a_pax_header_is_refused),
		cmocka_unit_test(one_that_was_not_finished_says_why),
		cmocka_unit_test(times_at_the_edge),
		cmocka_unit_test(many_members),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
