/* merge.c - one row that was changed on both sides: each column as the side has it that changed it.  See record.h. */
#include "hashtree/record.h"

#include <stdlib.h>

/* A record's columns, gone through in the order of their names; one that is absent is NULL. */
struct side {
	struct sr_column *columns;
	size_t n, at;
};

static bool open_side(struct side *s, struct sr_bytes record)
{
	*s = (struct side){0};
	return sr_record_decode(record, &s->columns, &s->n, NULL) == SR_OK;
}

static struct sr_value value_of(struct side *s, struct sr_bytes name)
{
	if (s->at < s->n && sr_bytes_eq(s->columns[s->at].name, name))
		return s->columns[s->at++].value;
	return (struct sr_value){.class = SR_NULL};
}

static bool same_value(const struct sr_value *a, const struct sr_value *b)
{
	if (a->class != b->class)
		return false;
	if (a->class == SR_INT)
		return a->i == b->i;
	if (a->class == SR_REAL)
		return a->real == b->real;
	return sr_bytes_eq(a->b, b->b);
}

/* The first name, in order, at which any of the three stands; false: all are at their end. */
static bool next_name(const struct side *sides, struct sr_bytes *out)
{
	bool found = false;

	for (size_t i = 0; i < 3; i++) {
		const struct side *s = &sides[i];

		if (s->at < s->n && (!found || sr_bytes_cmp(s->columns[s->at].name, *out) < 0)) {
			*out = s->columns[s->at].name;
			found = true;
		}
	}
	return found;
}

bool sr_record_merge(struct sr_bytes base, struct sr_bytes local, struct sr_bytes remote, struct sr_buf *out)
{
	struct side sides[3];
	struct sr_column *columns = NULL;
	struct sr_bytes name;
	size_t n = 0;
	bool merged = open_side(&sides[0], base);

	merged &= open_side(&sides[1], local);
	merged &= open_side(&sides[2], remote);
	columns = sr_alloc((sides[0].n + sides[1].n + sides[2].n + 1) * sizeof *columns);
	while (merged && next_name(sides, &name)) {
		struct sr_value b = value_of(&sides[0], name), l = value_of(&sides[1], name), r = value_of(&sides[2], name);

		columns[n].name = name;
		columns[n++].value = same_value(&l, &b) ? r : l;
		merged = same_value(&l, &r) || same_value(&l, &b) || same_value(&r, &b);
	}
	if (merged)
		sr_record_encode(out, columns, n);
	free(columns);
	for (size_t i = 0; i < 3; i++)
		free(sides[i].columns);
	return merged;
}
