/*
 * Tables by pages. See table.h.
 */
#include "image/table.h"

#include "base/alloc.h"
#include "block/io.h"
#include "image/blocks.h"

#define TABLE_COPIES_MAX 2

struct img_table_page {
	u64 dirty; /* a bit for each unit */
	u64 offsets[TABLE_COPIES_MAX];
	u8 data[];
};

int img_table_init(struct img_table *t)
{
	assert(t->page_bytes && t->page_bytes <= 64 * t->unit && t->n_copies <= TABLE_COPIES_MAX);
	t->n_pages = (t->bytes + t->page_bytes - 1) / t->page_bytes;
	t->pages = alloc_try(t->n_pages + 1, sizeof(struct img_table_page *));
	return t->pages ? 0 : -ENOMEM;
}

void img_table_fini(struct img_table *t)
{
	for (u64 i = 0; t->pages && i < t->n_pages; i++)
		free(t->pages[i]);
	free(t->pages);
	t->pages = NULL;
}

static int table_locate(const struct img_table *t, u64 page, struct img_table_page *p)
{
	int r = 0;

	for (unsigned i = 0; i < t->n_copies && r == 0; i++) {
		p->offsets[i] = t->offset + page * t->page_bytes;
		if (t->locate)
			r = t->locate(t, page, i, &p->offsets[i]);
	}
	return r;
}

static int table_load(struct img_table *t, u64 page)
{
	u64 bytes = MIN(t->page_bytes, t->bytes - page * t->page_bytes);
	AUTO(free_ptr) struct img_table_page *p = alloc_try(1, sizeof(*p) + t->page_bytes);
	int r = p ? table_locate(t, page, p) : -ENOMEM;

	if (r == 0 && p->offsets[0])
		r = blk_read(t->file, p->offsets[0], p->data, bytes);
	if (r == 0 && t->patches)
		img_batch_apply(t->patches, t->file, p->offsets[0], p->data, bytes);
	if (r == 0 && !t->pages[page]) /* nobody else did it meanwhile */
		t->pages[page] = take(p);
	return r;
}

int img_table_get(struct img_table *t, u64 at, u8 **out)
{
	u64 page = at / t->page_bytes;
	int r = 0;

	assert(at < t->bytes);
	if (!t->pages[page])
		r = table_load(t, page);
	if (r == 0)
		*out = t->pages[page]->data + at % t->page_bytes;
	return r;
}

int img_table_relocate(struct img_table *t, u64 at)
{
	u64 page = at / t->page_bytes;

	return t->pages[page] ? table_locate(t, page, t->pages[page]) : 0;
}

bool img_table_has(const struct img_table *t, u64 at)
{
	return t->pages[at / t->page_bytes];
}

void img_table_touch(struct img_table *t, u64 at)
{
	struct img_table_page *p = t->pages[at / t->page_bytes];

	if (!p->dirty)
		t->n_dirty++;
	p->dirty |= BIT(at % t->page_bytes / t->unit);
}

static int table_collect_page(struct img_table *t, struct img_table_page *p,
			      struct img_batch *batch)
{
	for (unsigned i = 0; i < t->page_bytes / t->unit; i++) {
		for (unsigned copy = 0; copy < t->n_copies && (p->dirty & BIT(i)); copy++) {
			if (p->offsets[copy] &&
			    img_batch_add(batch, t->file, p->offsets[copy] + i * t->unit,
					  p->data + i * t->unit, t->unit) < 0)
				return -ENOMEM;
		}
	}
	p->dirty = 0;
	t->n_dirty--;
	return 0;
}

int img_table_collect(struct img_table *t, struct img_batch *batch)
{
	int r = 0;

	for (u64 i = 0; i < t->n_pages && t->n_dirty && r == 0; i++) {
		if (t->pages[i] && t->pages[i]->dirty)
			r = table_collect_page(t, t->pages[i], batch);
	}
	return r;
}

/* --- bitmaps --- */

static u8 table_bit(u64 bit, bool is_msb_first)
{
	return (u8)(is_msb_first ? 0x80 >> (bit & 7) : 1 << (bit & 7));
}

int img_table_bits(struct img_table *t, u64 bit, u64 n, bool is_msb_first, bool *out_is_set,
		   u64 *out_n)
{
	u64 in_page = t->page_bytes * 8 - bit % (t->page_bytes * 8), i;
	u8 *at;
	int r = img_table_get(t, bit / 8, &at);

	if (r < 0)
		return r;
	*out_is_set = *at & table_bit(bit, is_msb_first);
	for (i = 1; i < MIN(n, in_page); i++) {
		bool is_set = at[(bit % 8 + i) / 8] & table_bit(bit + i, is_msb_first);

		if (is_set != *out_is_set)
			break;
	}
	*out_n = i;
	return 0;
}

int img_table_set_bits(struct img_table *t, u64 bit, u64 n, bool is_msb_first)
{
	for (u64 i = bit; i < bit + n; i++) {
		u8 *at;
		int r = img_table_get(t, i / 8, &at);

		if (r < 0)
			return r;
		if (*at & table_bit(i, is_msb_first))
			continue;
		*at |= table_bit(i, is_msb_first);
		img_table_touch(t, i / 8);
	}
	return 0;
}
