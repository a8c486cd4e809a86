/* disk_model.c - see disk_model.h. */
#include "tests/sim/disk_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

static void *zeroed(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		abort();
	return p;
}

static void *grown(void *old, size_t n)
{
	void *p = realloc(old, n ? n : 1);

	if (!p)
		abort();
	return p;
}

static char *copied(const char *text)
{
	size_t n = strlen(text) + 1;

	return memcpy(grown(NULL, n), text, n);
}

/* --- files and directories ----------------------------------------------------------------------------------------- */

static struct sr_disk_node **bucket(struct sr_disk_model *m, uint64_t id)
{
	return &m->buckets[(id * 0x9e3779b97f4a7c15u >> 32) % SR_DISK_BUCKETS];
}

struct sr_disk_node *sr_disk_node_of(const struct sr_disk_model *m, uint64_t id)
{
	struct sr_disk_node *node = *bucket((struct sr_disk_model *)m, id);

	while (node && node->id != id)
		node = node->next_same;
	return node;
}

bool sr_disk_model_knows(const struct sr_disk_model *m, uint64_t id)
{
	return sr_disk_node_of(m, id) != NULL;
}

static void unbind(struct sr_disk_model *m, struct sr_disk_node *node)
{
	struct sr_disk_node **at = bucket(m, node->id);

	if (!node->known)
		return;
	while (*at != node)
		at = &(*at)->next_same;
	*at = node->next_same;
	node->known = false;
}

/* Inode numbers come again: the old one's node lives on as long as a name holds it. */
void sr_disk_node_bind(struct sr_disk_model *m, struct sr_disk_node *node, uint64_t id)
{
	struct sr_disk_node *old = sr_disk_node_of(m, id), **at = bucket(m, id);

	if (old == node)
		return;
	unbind(m, node);
	if (old)
		unbind(m, old);
	node->id = id;
	node->known = true;
	node->next_same = *at;
	*at = node;
}

static struct sr_disk_node *node_new(struct sr_disk_model *m, uint64_t id, char kind, uint32_t mode)
{
	struct sr_disk_node *node = zeroed(sizeof *node);

	node->kind = kind;
	node->mode = node->durable_mode = mode;
	node->prev = m->last;
	*(m->last ? &m->last->next : &m->first) = node;
	m->last = node;
	sr_disk_node_bind(m, node, id);
	return node;
}

static void forget_changes(struct sr_disk_node *node)
{
	for (struct sr_disk_change *c = node->first, *next; c; c = next) {
		next = c->next;
		free(c->data);
		free(c);
	}
	node->first = node->last = NULL;
}

static void names_clear(struct sr_disk_model *m, struct sr_disk_names *names);

static void unref(struct sr_disk_model *m, struct sr_disk_node *node)
{
	if (!node || --node->refs)
		return;
	unbind(m, node);
	*(node->prev ? &node->prev->next : &m->first) = node->next;
	*(node->next ? &node->next->prev : &m->last) = node->prev;
	forget_changes(node);
	names_clear(m, &node->names);
	names_clear(m, &node->durable);
	free(node->content);
	free(node->root);
	free(node);
}

static struct sr_disk_node *ref(struct sr_disk_node *node)
{
	if (node)
		node->refs++;
	return node;
}

/* --- names in a directory ------------------------------------------------------------------------------------------- */

static struct sr_disk_name *find(const struct sr_disk_names *names, const char *text)
{
	for (size_t i = 0; i < names->n; i++)
		if (!strcmp(names->at[i].text, text))
			return &names->at[i];
	return NULL;
}

struct sr_disk_node *sr_disk_names_find(const struct sr_disk_names *names, const char *text)
{
	const struct sr_disk_name *name = find(names, text);

	return name ? name->node : NULL;
}

static void names_set(struct sr_disk_model *m, struct sr_disk_names *names, const char *text, struct sr_disk_node *node)
{
	struct sr_disk_name *name = find(names, text);
	struct sr_disk_node *old = name ? name->node : NULL;

	ref(node);
	if (name && node) {
		name->node = node;
	} else if (name) {
		free(name->text);
		*name = names->at[--names->n];
	} else if (node) {
		if (names->n == names->room)
			names->at = grown(names->at, (names->room = names->room * 2 + 8) * sizeof *names->at);
		names->at[names->n++] = (struct sr_disk_name){copied(text), node};
	}
	unref(m, old);
}

static void names_clear(struct sr_disk_model *m, struct sr_disk_names *names)
{
	while (names->n)
		names_set(m, names, names->at[names->n - 1].text, NULL);
	free(names->at);
	*names = (struct sr_disk_names){0};
}

/* --- changes of names ----------------------------------------------------------------------------------------------- */

static void naming_free(struct sr_disk_model *m, struct sr_disk_naming *c)
{
	for (int i = 0; i < c->n; i++) {
		unref(m, c->swap[i].before);
		unref(m, c->swap[i].after);
		unref(m, c->swap[i].dir);
		free(c->swap[i].name);
	}
	free(c);
}

static void naming_add(struct sr_disk_model *m, const struct sr_disk_swap *swap, int n)
{
	struct sr_disk_naming *c = zeroed(sizeof *c);

	c->n = n;
	for (int i = 0; i < n; i++) {
		c->swap[i] = (struct sr_disk_swap){ref(swap[i].dir), ref(swap[i].before), ref(swap[i].after), copied(swap[i].name), false};
		names_set(m, &swap[i].dir->names, swap[i].name, swap[i].after);
	}
	if (m->n == m->room)
		m->pending = grown(m->pending, (m->room = m->room * 2 + 16) * sizeof(struct sr_disk_naming *));
	m->pending[m->n++] = c;
}

/* Can it be, on what is durable?  In directories that have a name themselves, and on top of what it was made on. */
static bool naming_fits(const struct sr_disk_naming *c)
{
	for (int i = 0; i < c->n; i++)
		if ((!c->swap[i].dir->root && !c->swap[i].dir->links) ||
		    sr_disk_names_find(&c->swap[i].dir->durable, c->swap[i].name) != c->swap[i].before)
			return false;
	return true;
}

static void naming_apply(struct sr_disk_model *m, const struct sr_disk_naming *c)
{
	for (int i = 0; i < c->n; i++) {
		if (c->swap[i].before)
			c->swap[i].before->links--;
		if (c->swap[i].after)
			c->swap[i].after->links++;
		names_set(m, &c->swap[i].dir->durable, c->swap[i].name, c->swap[i].after);
	}
}

static bool meet(const struct sr_disk_naming *a, const struct sr_disk_naming *b)
{
	for (int i = 0; i < a->n; i++)
		for (int k = 0; k < b->n; k++)
			if (a->swap[i].dir == b->swap[k].dir && !strcmp(a->swap[i].name, b->swap[k].name))
				return true;
	return false;
}

/* What is wanted becomes durable, and what it was made on. */
static void make_durable(struct sr_disk_model *m)
{
	size_t left = 0;

	for (size_t i = m->n; i-- > 0;)
		for (size_t k = i + 1; k < m->n && !m->pending[i]->wanted; k++)
			m->pending[i]->wanted = m->pending[k]->wanted && meet(m->pending[i], m->pending[k]);
	for (size_t i = 0; i < m->n; i++) {
		struct sr_disk_naming *c = m->pending[i];

		if (c->wanted && naming_fits(c)) {
			naming_apply(m, c);
			naming_free(m, c);
		} else {
			m->pending[left++] = c;
		}
	}
	m->n = left;
}

static void sync_names(struct sr_disk_model *m, const struct sr_disk_node *dir, bool failed)
{
	bool any = false;

	for (size_t i = 0; i < m->n; i++) {
		struct sr_disk_naming *c = m->pending[i];
		bool all = !c->broken;

		for (int k = 0; k < c->n; k++) {
			c->swap[k].synced |= c->swap[k].dir == dir;
			c->broken |= failed && c->swap[k].dir == dir;
			all &= c->swap[k].synced || (c->n > 1 && !c->swap[k].after); /* of a rename, the directory it went to */
		}
		c->wanted = all && !c->broken;
		any |= c->wanted;
	}
	if (any)
		make_durable(m);
}

/* --- content -------------------------------------------------------------------------------------------------------- */

static void resize(struct sr_disk_node *node, uint64_t size)
{
	if (size > node->size) {
		node->content = grown(node->content, size);
		memset(node->content + node->size, 0, size - node->size);
	}
	node->size = size;
}

static void put_bytes(struct sr_disk_node *node, uint64_t off, const uint8_t *data, uint64_t n)
{
	if (off + n > node->size)
		resize(node, off + n);
	memcpy(node->content + off, data, n);
}

static void change_add(struct sr_disk_node *node, uint64_t off, const void *data, uint64_t n)
{
	struct sr_disk_change *c = zeroed(sizeof *c);

	c->off = off;
	c->len = n;
	if (data)
		c->data = memcpy(grown(NULL, n), data, n);
	*(node->last ? &node->last->next : &node->first) = c;
	node->last = c;
}

static void change_apply(struct sr_disk_node *node, const struct sr_disk_change *c)
{
	if (c->data)
		put_bytes(node, c->off, c->data, c->len);
	else
		resize(node, c->off);
}

static void sync_content(struct sr_disk_node *node)
{
	for (const struct sr_disk_change *c = node->first; c; c = c->next) {
		node->dirty |= c->broken;
		if (!c->broken)
			change_apply(node, c);
	}
	forget_changes(node);
}

static void sync_node(struct sr_disk_model *m, struct sr_disk_node *node)
{
	node->durable_mode = node->mode;
	node->durable_time = node->time;
	if (node->kind == 'd')
		sync_names(m, node, false);
	else
		sync_content(node);
}

static void break_node(struct sr_disk_model *m, struct sr_disk_node *node)
{
	if (node->kind == 'd')
		sync_names(m, node, true);
	for (struct sr_disk_change *c = node->first; c; c = c->next)
		c->broken = true;
}

static void sync_all(struct sr_disk_model *m)
{
	for (struct sr_disk_node *node = m->first; node; node = node->next) {
		node->durable_mode = node->mode;
		node->durable_time = node->time;
		sync_content(node);
	}
	for (size_t i = 0; i < m->n; i++)
		m->pending[i]->wanted = !m->pending[i]->broken;
	make_durable(m);
}

/* --- what was done -------------------------------------------------------------------------------------------------- */

struct sr_disk_model *sr_disk_model_new(void)
{
	return zeroed(sizeof(struct sr_disk_model));
}

void sr_disk_model_free(struct sr_disk_model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++)
		naming_free(m, m->pending[i]);
	m->n = 0;
	for (struct sr_disk_node *node = m->first; node; node = node->next)
		ref(node);
	for (struct sr_disk_node *node = m->first; node; node = node->next) {
		names_clear(m, &node->names);
		names_clear(m, &node->durable);
	}
	while (m->first) {
		m->first->refs = 1;
		unref(m, m->first);
	}
	free(m->pending);
	free(m);
}

static void feed_new(struct sr_disk_model *m, struct sr_disk_node *dir, const struct sr_disk_op *op)
{
	static const char kinds[] = {[SR_DISK_OP_DIR] = 'd', [SR_DISK_OP_FILE] = 'f', [SR_DISK_OP_SYMLINK] = 'l'};
	struct sr_disk_node *node = node_new(m, op->b, kinds[op->kind], op->mode);

	if (op->kind == SR_DISK_OP_SYMLINK)
		put_bytes(node, 0, op->data, op->len);
	naming_add(m, &(struct sr_disk_swap){dir, sr_disk_names_find(&dir->names, op->name), node, (char *)op->name, false}, 1);
}

static void feed_names(struct sr_disk_model *m, struct sr_disk_node *dir, const struct sr_disk_op *op)
{
	struct sr_disk_node *one = sr_disk_names_find(&dir->names, op->name), *to, *two;

	if (op->kind == SR_DISK_OP_LINK || op->kind == SR_DISK_OP_UNLINK) {
		two = op->kind == SR_DISK_OP_LINK ? sr_disk_node_of(m, op->b) : NULL;
		if (one != two)
			naming_add(m, &(struct sr_disk_swap){dir, one, two, (char *)op->name, false}, 1);
		return;
	}
	to = sr_disk_node_of(m, op->b);
	two = to ? sr_disk_names_find(&to->names, op->name2) : NULL;
	if (to && one != two)
		naming_add(m,
			   (struct sr_disk_swap[]){{dir, one, op->kind == SR_DISK_OP_EXCHANGE ? two : NULL, (char *)op->name, false},
						   {to, two, one, (char *)op->name2, false}},
			   2);
}

void sr_disk_model_feed(struct sr_disk_model *m, const struct sr_disk_op *op)
{
	struct sr_disk_node *a = op->kind == SR_DISK_OP_ROOT ? node_new(m, op->a, 'd', op->mode) : sr_disk_node_of(m, op->a);

	if (op->kind == SR_DISK_OP_SYNCFS)
		sync_all(m);
	if (!a)
		return;
	switch (op->kind) {
	case SR_DISK_OP_ROOT:
		ref(a)->root = copied(op->name);
		break;
	case SR_DISK_OP_DIR:
	case SR_DISK_OP_FILE:
	case SR_DISK_OP_SYMLINK:
		feed_new(m, a, op);
		break;
	case SR_DISK_OP_LINK:
	case SR_DISK_OP_UNLINK:
	case SR_DISK_OP_RENAME:
	case SR_DISK_OP_EXCHANGE:
		feed_names(m, a, op);
		break;
	case SR_DISK_OP_WRITE:
		change_add(a, op->off, op->len ? op->data : "", op->len);
		break;
	case SR_DISK_OP_TRUNCATE:
		change_add(a, op->off, NULL, 0);
		break;
	case SR_DISK_OP_MODE:
		a->mode = op->mode;
		break;
	case SR_DISK_OP_TIME:
		a->time = op->off;
		break;
	case SR_DISK_OP_SYNC:
		sync_node(m, a);
		break;
	case SR_DISK_OP_DATASYNC:
		if (a->kind == 'd')
			sync_names(m, a, false);
		else
			sync_content(a);
		break;
	case SR_DISK_OP_BROKEN:
		break_node(m, a);
		break;
	default:
		break;
	}
}

/* --- the power cut -------------------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *state, uint64_t below) /* splitmix64 */
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % below;
}

static void cut_names(struct sr_disk_model *m, uint64_t *state, enum sr_disk_how how)
{
	size_t prefix = (size_t)draw(state, m->n + 1);

	for (size_t i = 0; i < m->n; i++) {
		bool heads = draw(state, 2), survives = how == SR_DISK_ALL || how == SR_DISK_NAMES || (how == SR_DISK_PREFIX && i < prefix) ||
							(how == SR_DISK_RANDOM && heads);

		if (survives && naming_fits(m->pending[i]))
			naming_apply(m, m->pending[i]);
		naming_free(m, m->pending[i]);
	}
	m->n = 0;
}

/* Some sectors of a write, by the seed. */
static void tear(struct sr_disk_node *node, const struct sr_disk_change *c, uint64_t *state)
{
	for (uint64_t at = 0, n; at < c->len; at += n) {
		n = SECTOR - (c->off + at) % SECTOR;
		n = n < c->len - at ? n : c->len - at;
		if (draw(state, 2))
			put_bytes(node, c->off + at, c->data + at, n);
	}
}

static void cut_content(struct sr_disk_node *node, uint64_t *state, enum sr_disk_how how)
{
	uint64_t manner = draw(state, 4), n = 0, prefix, i = 0;

	for (const struct sr_disk_change *c = node->first; c; c = c->next)
		n++;
	prefix = draw(state, n + 1);
	node->dirty |= n > 0;
	for (const struct sr_disk_change *c = node->first; c; c = c->next, i++) {
		bool whole = how == SR_DISK_ALL || how == SR_DISK_DATA, some = how == SR_DISK_PREFIX || how == SR_DISK_RANDOM;

		if (some && manner == 1)
			whole = true;
		if (some && manner == 2)
			whole = i < prefix;
		if (whole)
			change_apply(node, c);
		else if (some && (manner == 3 || (manner == 2 && i == prefix))) {
			if (c->data)
				tear(node, c, state);
			else if (draw(state, 2))
				change_apply(node, c);
		}
	}
	forget_changes(node);
}

static void cut_node(struct sr_disk_model *m, struct sr_disk_node *node, uint64_t *state, enum sr_disk_how how)
{
	bool mode = draw(state, 2), time = draw(state, 2);

	cut_content(node, state, how);
	node->dirty |= node->mode != node->durable_mode;
	if (how == SR_DISK_ALL || how == SR_DISK_NAMES || (mode && how >= SR_DISK_PREFIX))
		node->durable_mode = node->mode;
	if (how == SR_DISK_ALL || how == SR_DISK_NAMES || (time && how >= SR_DISK_PREFIX))
		node->durable_time = node->time;
	node->mode = node->durable_mode;
	node->time = node->durable_time;
	(void)m;
}

static void now_is_durable(struct sr_disk_model *m, struct sr_disk_node *node)
{
	names_clear(m, &node->names);
	for (size_t i = 0; i < node->durable.n; i++)
		names_set(m, &node->names, node->durable.at[i].text, node->durable.at[i].node);
}

void sr_disk_model_cut(struct sr_disk_model *m, uint64_t seed, enum sr_disk_how how)
{
	uint64_t state = seed;

	if (how == SR_DISK_ANY)
		how = (enum sr_disk_how)draw(&state, SR_DISK_ANY);
	for (struct sr_disk_node *node = m->first; node; node = node->next)
		cut_node(m, node, &state, how);
	cut_names(m, &state, how);
	for (struct sr_disk_node *node = m->first, *next; node; node = next) {
		ref(node);
		now_is_durable(m, node);
		next = node->next; /* after that: nodes that were named by this one alone are gone */
		unref(m, node);
	}
}

/* --- ops as bytes --------------------------------------------------------------------------------------------------- */

struct packed {
	uint32_t bytes, kind, mode, data, name, name2; /* lengths; names with their NUL, 0: NULL */
	uint64_t a, b, off;
};

static uint32_t text_len(const char *text)
{
	return text ? (uint32_t)strlen(text) + 1 : 0;
}

void *sr_disk_op_pack(const struct sr_disk_op *op, size_t *n)
{
	struct packed head = {0, op->kind, op->mode, (uint32_t)op->len, text_len(op->name), text_len(op->name2), op->a, op->b, op->off};
	uint8_t *out, *at;

	*n = sizeof head + head.data + head.name + head.name2;
	head.bytes = (uint32_t)*n;
	at = out = grown(NULL, *n);
	at = (uint8_t *)memcpy(at, &head, sizeof head) + sizeof head;
	if (head.name)
		at = (uint8_t *)memcpy(at, op->name, head.name) + head.name;
	if (head.name2)
		at = (uint8_t *)memcpy(at, op->name2, head.name2) + head.name2;
	if (head.data)
		memcpy(at, op->data, head.data);
	return out;
}

size_t sr_disk_op_unpack(struct sr_disk_op *op, const void *at, size_t n)
{
	struct packed head;
	const char *names = (const char *)at + sizeof head;

	if (n < sizeof head)
		return 0;
	memcpy(&head, at, sizeof head);
	if (head.bytes > n)
		return 0;
	assert(head.bytes == sizeof head + head.data + head.name + head.name2);
	*op = (struct sr_disk_op){.kind = (enum sr_disk_kind)head.kind, .a = head.a, .b = head.b, .off = head.off, .mode = head.mode, .len = head.data,
				  .name = head.name ? names : NULL, .name2 = head.name2 ? names + head.name : NULL,
				  .data = names + head.name + head.name2};
	return head.bytes;
}
