/* fuzz_push.c - whatever a webserver pushes to a real datastore.  The first byte chooses: even, the rest is the stream as it comes; odd, the rest says which
 * leaves a stream has that is right to its last hash, for sums and hashes stop a fuzzer else:
 *     one byte of what the head has wrong, then leaves: store, path, expect, to, flags, as-of (see next_leaf).
 * Whatever comes: it is answered, or refused in words and nothing changed; what the stores hold afterwards is what the tree says, and nothing lies elsewhere. */
#include <dirent.h>
#include <sys/mman.h>

#include "hashtree/record.h"
#include "tests/fuzz/world.h"
#include "tests/unit/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sr_uuid webserver = {{'a', ' ', 'w', 'e', 'b', 's', 'e', 'r', 'v', 'e', 'r'}};

/* --- what there is to say about ------------------------------------------------------------------------------------------- */

#define PATH(text) {(const uint8_t *)text, sizeof(text) - 1}
static const struct sr_bytes paths[] = {
	PATH("users"),                               /* and keys of one integer */
	PATH("users\0\1\1\0\0\0\0\0\0\0\1"),
	PATH("users\0\1\1\0\0\0\0\0\0\0\2"),
	PATH("users\0\1\1\0\0\0\0\0\0\0\3"),
	PATH("groups\0\1\1\0\0\0\0\0\0\0\1"),
	PATH("groups\0\1\1\0\0\0\0\0\0\0\3"),
	PATH("groups"),
	PATH("items"),
	PATH("items\0\1\3\1a"),
	PATH("items\0\1\3\1z"),
	PATH("log"),
	PATH("fresh"),
	PATH(SR_SCHEMA_PATH),
	PATH("_sameroot_meta"),
	PATH("words_content"),
	PATH("top"),
	PATH("img"),
	PATH("img\0logo"),
	PATH("img\0new"),
	PATH("empty"),
	PATH("empty\0new"),
	PATH("..\0canary"),
};

static uint64_t number(struct sr_reader *in)
{
	return sr_read_left(in) ? sr_read_byte(in) : 0;
}

/* A byte of length and so much; less if there is less. */
static struct sr_bytes piece(struct sr_reader *in)
{
	size_t n = (size_t)number(in);

	return sr_read_bytes(in, n < sr_read_left(in) ? n : sr_read_left(in));
}

/* A record of values that fit some table of ours, or anything. */
static void make_record(struct sr_reader *in, struct sr_buf *out)
{
	static const char *const names[] = {"uid", "gid", "name", "sku", "n", "body", "line", "other"};
	struct sr_column columns[8];
	size_t n = number(in) % 8;

	for (size_t i = 0; i < n; i++) {
		struct sr_value v = {.class = 1 + number(in) % 4};

		if (v.class == SR_INT)
			v.i = (int8_t)number(in);
		else if (v.class == SR_REAL)
			v.real = (double)number(in) / 4;
		else
			v.b = piece(in);
		columns[i] = (struct sr_column){sr_bytes_of(names[i]), v};
	}
	sr_record_encode(out, columns, n);
}

/* Four strings a thing: type, name, table, sql. */
static void make_schema(struct sr_reader *in, struct sr_buf *out)
{
	for (size_t n = number(in) % 4; n; n--)
		for (int k = 0; k < 4; k++)
			sr_buf_string(out, piece(in));
}

struct made { /* a leaf, and what it borrows */
	struct sr_leaf leaf;
	struct sr_buf path, record, content;
	char *store;
	int fd; /* of its content; -1: it goes without */
};

static void make_content(struct sr_reader *in, const struct sr_tree_key *key, struct made *m)
{
	uint64_t how = number(in);

	sr_buf_bytes(&m->content, piece(in));
	m->leaf.to = (struct sr_version){.kind = SR_KIND_FILE, .mode = (uint16_t)(number(in) * 2 & 0777), .bytes = m->content.len};
	sr_hash_of(&m->leaf.to.hash, key, sr_buf_view(&m->content));
	if (how & 1) /* nothing is said of where it is to come from */
		return;
	m->fd = memfd_create("content", 0);
	must(m->fd >= 0);
	if (how & 2)
		sr_buf_byte(&m->content, 'x'); /* it changed while it was read: the writer says void */
	must(write(m->fd, m->content.at, m->content.len) == (ssize_t)m->content.len);
}

static void make_to(struct sr_reader *in, const struct sr_tree_key *key, struct made *m)
{
	struct sr_version *to = &m->leaf.to;

	switch (number(in) % 7) {
	case 0:
		break;
	case 1:
		make_content(in, key, m);
		break;
	case 2:
		*to = (struct sr_version){.kind = SR_KIND_DIR, .mode = (uint16_t)(number(in) * 2 & 0777)};
		break;
	case 3:
		make_record(in, &m->record);
		*to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = m->record.len};
		break;
	case 4:
		sr_buf_bytes(&m->record, piece(in));
		*to = (struct sr_version){.kind = SR_KIND_ROW, .bytes = m->record.len};
		break;
	case 5:
		make_schema(in, &m->record);
		*to = (struct sr_version){.kind = SR_KIND_TABLE};
		break;
	default: /* enormous */
		*to = (struct sr_version){.kind = SR_KIND_FILE, .mode = 0644, .bytes = UINT64_MAX >> number(in) % 64};
		break;
	}
	m->leaf.record = sr_buf_view(&m->record);
	if (m->record.len || to->kind == SR_KIND_ROW)
		sr_hash_of(&to->hash, key, m->leaf.record);
}

/* In a bag, so many times what the record says. */
static void into_bag(struct sr_reader *in, struct made *m)
{
	sr_buf_byte(&m->path, 0);
	sr_bag_key(&m->path, &m->leaf.to.hash);
	m->leaf.path = sr_buf_view(&m->path);
	m->leaf.to.bytes = number(in);
}

static void make_leaf(struct sr_datastore *d, struct sr_reader *in, struct made *m)
{
	uint64_t store = number(in) % 4, path = number(in) % (sizeof paths / sizeof *paths + 1), expect;

	*m = (struct made){.fd = -1};
	m->store = store < 3 ? sr_strdup(d->r->stores[store].name) : sr_text(piece(in));
	sr_buf_bytes(&m->path, path < sizeof paths / sizeof *paths ? paths[path] : piece(in));
	m->leaf.path = sr_buf_view(&m->path);
	expect = number(in);
	make_to(in, &d->r->key, m);
	m->leaf.flags = (uint32_t)(number(in) * 2 + (expect >> 7)) & SR_LEAF_FLAGS & ~(uint32_t)(SR_LEAF_VOID | SR_LEAF_MERGED);
	if (m->leaf.to.kind == SR_KIND_ROW && expect & 64)
		into_bag(in, m);
	if (store < 3 && !(expect & 1))
		(void)!sr_store_get(d->r->nodes, d->r->stores[store].kind, &d->r->stores[store].map, m->leaf.path, &m->leaf.expect, NULL);
	else if (expect & 2)
		m->leaf.expect = m->leaf.to;
	m->leaf.epoch = number(in);
	m->leaf.seq = number(in);
}

static void free_leaf(struct made *m)
{
	sr_buf_free(&m->path);
	sr_buf_free(&m->record);
	sr_buf_free(&m->content);
	free(m->store);
	if (m->fd >= 0)
		close(m->fd);
}

static enum sr_status to_buf(void *ctx, const void *at, size_t n, struct sr_err *err)
{
	(void)err;
	sr_buf_add(ctx, at, n);
	return SR_OK;
}

/* The last push that this webserver had an answer to. */
static struct sr_uuid last_push(struct sr_datastore *d)
{
	struct sr_push_result last = {0};
	bool found;
	struct sr_err err;

	must_ok(sr_state_push_result(d->r->state, &webserver, &last, &found, &err), &err);
	return last.id;
}

static void make_head(struct sr_datastore *d, uint64_t wrong, struct sr_buf *out)
{
	struct sr_push_head h = {.id = sr_uuid_random(), .prev = last_push(d), .webserver = webserver, .start = d->start, .at = d->at};

	h.try = 1 + wrong % 3;
	if (wrong & 4)
		h.id = h.prev; /* a repeat */
	if (wrong & 8)
		h.prev = h.id;
	if (wrong & 16)
		h.start = h.id;
	if (wrong & 32)
		h.at.epoch++;
	if (wrong & 64)
		h.webserver = d->r->node;
	sr_push_head_print(out, &h);
}

static void make_stream(struct sr_datastore *d, struct sr_reader *in, struct sr_buf *out)
{
	uint64_t wrong = number(in);
	struct sr_bundle_writer *w = NULL;
	struct sr_buf head = {0};
	struct sr_err err = {0};
	enum sr_status rc;

	make_head(d, wrong, &head);
	must_ok(sr_bundle_writer_new(&w, &d->r->key, sr_buf_text(&head), wrong & 128, to_buf, out, &err), &err);
	while (sr_read_left(in)) {
		struct made m;

		make_leaf(d, in, &m);
		rc = sr_bundle_add(w, m.store, &m.leaf, m.fd, NULL, &err);
		if (rc != SR_E_CHANGED) /* a row that our own writer would not send */
			must_ok(rc, &err);
		free_leaf(&m);
	}
	must_ok(sr_bundle_finish(w, &err), &err);
	sr_bundle_writer_free(w);
	sr_buf_free(&head);
}

/* --- what has to hold ------------------------------------------------------------------------------------------------------- */

/* Nothing but what belongs there lies beside the stores. */
static void check_directory(const struct world *w)
{
	static const char *const known[] = {".", "..", "inputs", "state", "resources", "users.db", "webstore.db"};
	DIR *dir = opendir(w->dir);

	must(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		bool found = strstr(e->d_name, ".db-") != NULL; /* -wal, -shm, -journal */

		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			found |= !strcmp(e->d_name, known[i]);
		must(found);
	}
	closedir(dir);
}

static void check(struct world *w, const struct sr_ds_push *p, enum sr_status rc, const struct sr_err *err, const struct sr_anchor *before)
{
	struct sr_hash root;

	must(!sr_datastore_broken(w->d, NULL));
	must(rc == SR_OK ? p->status == 200 || p->status == 409 : err->code == rc && err->text[0]);
	must(rc != SR_E_INTERNAL);
	if (rc != SR_OK || p->answer.verdict != SR_VERDICT_OK)
		must(w->d->at.seq == before->seq && sr_hash_eq(&w->d->at.root, &before->root));
	root = w->d->at.root;
	world_tick(w);
	must(sr_hash_eq(&root, &w->d->at.root)); /* a scan finds nothing that the push did not say */
	check_directory(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = world_for(data, size);
	struct sr_anchor before = w->d->at;
	struct sr_buf stream = {0};
	struct sr_reader in;
	struct source source;
	struct sr_err err = {0};
	struct sr_ds_push p;
	enum sr_status rc;

	if (!size)
		return 0;
	in = sr_reader(sr_bytes(data + 1, size - 1));
	if (data[0] & 1)
		make_stream(w->d, &in, &stream);
	else
		sr_buf_add(&stream, data + 1, size - 1);
	source = (struct source){.in = sr_buf_view(&stream)};
	sr_ds_push_init(&p, w->d);
	rc = sr_ds_push_take(&p, from_source, &source, &err);
	check(w, &p, rc, &err, &before);
	sr_ds_push_free(&p);
	sr_buf_free(&stream);
	return 0;
}
