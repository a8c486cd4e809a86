/* files_signature.c - the stat cache of files.h: which file was seen with which stat and which content.
 *
 * Open addressing with linear probing over a table of any size: a slot is found by multiplying, not by masking, so that the table can
 * grow by a fifth instead of doubling and stays under 24 bytes a file. */
#include "lib/store/files.h"

#include <stdlib.h>

#include "lib/base/file.h"

static size_t home(uint64_t key, size_t size)
{
	return (size_t)((unsigned __int128)key * size >> 64);
}

/* 64 bits without the mark, never 0. */
static uint64_t key_of(const struct sr_tree_key *key, struct sr_bytes path)
{
	struct sr_hash h;
	uint64_t k = 0;

	sr_hash_of(&h, key, path);
	for (int i = 0; i < 8; i++)
		k = k << 8 | h.b[i];
	k &= ~(uint64_t)1;
	return k ? k : 2;
}

/* Where `key` is, or the free slot where it belongs. */
static struct sr_signature_slot *find(const struct sr_signatures *t, uint64_t key)
{
	size_t at = home(key, t->size);

	while (t->slots[at].key && (t->slots[at].key & ~(uint64_t)1) != key)
		at = at + 1 < t->size ? at + 1 : 0;
	return &t->slots[at];
}

/* Move everything, or only what carries the present mark, to a table of another size. */
static void rebuild(struct sr_signatures *t, size_t size, bool marked_only)
{
	struct sr_signatures new = *t;

	new.size = size;
	new.used = 0;
	new.slots = sr_alloc(size * sizeof(*new.slots));
	for (size_t i = 0; i < t->size; i++) {
		struct sr_signature_slot *old = &t->slots[i];

		if (!old->key || (marked_only && (old->key & 1) != t->mark))
			continue;
		*find(&new, old->key & ~(uint64_t)1) = *old;
		new.used++;
	}
	free(t->slots);
	*t = new;
}

struct sr_signature_slot *sr_signatures_find(const struct sr_signatures *t, const struct sr_tree_key *key, struct sr_bytes path)
{
	struct sr_signature_slot *slot = t->used ? find(t, key_of(key, path)) : NULL;

	return slot && slot->key ? slot : NULL;
}

uint64_t sr_signatures_get(const struct sr_signatures *t, const struct sr_tree_key *key, struct sr_bytes path)
{
	const struct sr_signature_slot *slot = sr_signatures_find(t, key, path);

	return slot ? slot->signature : 0;
}

void sr_signatures_keep(struct sr_signatures *t, struct sr_signature_slot *slot)
{
	t->marked += (slot->key & 1) != t->mark;
	slot->key = (slot->key & ~(uint64_t)1) | t->mark;
}

void sr_signatures_put(struct sr_signatures *t, const struct sr_tree_key *key, struct sr_bytes path, uint64_t signature)
{
	uint64_t k = key_of(key, path);
	struct sr_signature_slot *slot;

	if (t->used >= t->size - t->size / 7) /* 86 % full; 71 % after growing */
		rebuild(t, t->size + t->size / 5 + 64, false);
	slot = find(t, k);
	if (!slot->key)
		t->used++;
	if (!slot->key || (slot->key & 1) != t->mark)
		t->marked++;
	slot->key = k | t->mark;
	slot->signature = signature;
}

void sr_signatures_begin(struct sr_signatures *t)
{
	t->mark ^= 1;
	t->marked = 0;
}

void sr_signatures_end(struct sr_signatures *t)
{
	if (t->used > 1024 && t->used / 5 * 4 > t->marked) /* a fifth of it is about files that are no more */
		rebuild(t, t->marked + t->marked / 3 + 64, true);
}

void sr_signatures_free(struct sr_signatures *t)
{
	free(t->slots);
	*t = (struct sr_signatures){0};
}

static int64_t ns_of(const struct timespec *t)
{
	return sr_file_ns(t->tv_sec, t->tv_nsec);
}

uint64_t sr_files_signature(const struct sr_tree_key *key, const struct stat *st, const struct sr_hash *content)
{
	uint64_t facts[7] = {st->st_dev, st->st_ino, (uint64_t)st->st_size, (uint64_t)ns_of(&st->st_mtim), (uint64_t)ns_of(&st->st_ctim)};
	struct sr_hash h;
	uint64_t signature;

	__builtin_memcpy(&facts[5], content->b, sizeof(content->b));
	sr_hash_of(&h, key, sr_bytes(facts, sizeof(facts))); /* never leaves this machine: its byte order will do */
	__builtin_memcpy(&signature, h.b, sizeof(signature));
	return signature ? signature : 1;
}

/* A kernel's clock may tick only every few ms: until then a second change of the same size leaves no trace.  The inode's ctime cannot be
 * set back by an application; its mtime can be set to anything, so a far future one is no reason for doubt. */
bool sr_files_settled(const struct stat *st, int64_t now_ms)
{
	int64_t margin = (int64_t)2000 * 1000000, now = now_ms * 1000000;
	int64_t mtime = ns_of(&st->st_mtim), ctime = ns_of(&st->st_ctim);

	return ctime < now - margin && (mtime < now - margin || mtime > now + margin);
}
