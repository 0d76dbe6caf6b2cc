/*
 * What writes leave behind: the dirty log and the code words.
 *
 * Ordering. A writer stores its bytes, then (seq_cst) looks at the page's code word; a decoder
 * marks the word (seq_cst), then reads the bytes. Whichever comes second sees the other: either the
 * writer finds the mark and makes the word stale, or the decoder reads the new bytes. The dirty
 * bit is set after the bytes and before the guest can see the completion; taking the log clears
 * bits before the pages are read, so a write in between sets its bit again.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "mem/gmem_priv.h"

/* --- code words --- */

u32 gmem_code_mark(struct gmem_block *b, u64 page, bool *is_new)
{
	u32 old;

	assert(b->code && page < b->size / PAGE_SIZE);
	old = __atomic_fetch_or(&b->code[page], GMEM_CODE_PRESENT, __ATOMIC_SEQ_CST);
	*is_new = !(old & GMEM_CODE_PRESENT);
	return old | GMEM_CODE_PRESENT;
}

bool gmem_code_written(struct gmem_block *b, u64 page)
{
	u32 word = __atomic_load_n(&b->code[page], __ATOMIC_SEQ_CST);

	/* Present bit off, count up by one: 1 is bit 0, so adding 1 to an odd word does both. */
	while (word & GMEM_CODE_PRESENT) {
		if (__atomic_compare_exchange_n(&b->code[page], &word, word + 1, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	}
	return false;
}

static void gmem_tell_code_written(struct gmem *g)
{
	struct gmem_listener *l = __atomic_load_n(&g->code_listener, __ATOMIC_ACQUIRE);

	if (l)
		l->code_written(l);
}

void gmem_code_invalidate_all(struct gmem *g)
{
	bool was_code = false;

	pthread_mutex_lock(&g->lock);
	list_for_each (node, &g->blocks) {
		struct gmem_block *b = list_entry(node, struct gmem_block, node);

		for (u64 page = 0; b->code && page < b->size / PAGE_SIZE; page++)
			was_code |= gmem_code_written(b, page);
	}
	pthread_mutex_unlock(&g->lock);
	if (was_code)
		gmem_tell_code_written(g);
}

void gmem_block_written(struct gmem_block *b, u64 offset, u64 size)
{
	u64 *dirty = __atomic_load_n(&b->dirty, __ATOMIC_ACQUIRE);
	bool was_code = false;

	if (!size || (!dirty && !b->code))
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u64 page = offset / PAGE_SIZE; page <= (offset + size - 1) / PAGE_SIZE; page++) {
		if (b->code)
			was_code |= gmem_code_written(b, page);
		if (dirty)
			__atomic_fetch_or(&dirty[page / 64], BIT(page % 64), __ATOMIC_RELEASE);
	}
	if (was_code)
		gmem_tell_code_written(b->gmem);
}

/* --- dirty log --- */

static void gmem_tell_log_changed(struct gmem *g, struct gmem_block *b, bool is_on)
{
	list_for_each (node, &g->listeners) {
		struct gmem_listener *l = list_entry(node, struct gmem_listener, node);

		if (l->log_changed)
			l->log_changed(l, b, is_on);
	}
}

int gmem_log_start(struct gmem *g, struct err *err)
{
	int r = 0;

	pthread_mutex_lock(&g->lock);
	list_for_each (node, &g->blocks) {
		struct gmem_block *b = list_entry(node, struct gmem_block, node);
		u64 *dirty = b->dirty ? b->dirty : alloc_try(gmem_block_log_words(b), sizeof(u64));

		if (!dirty) {
			r = err_set(err, -ENOMEM, "no memory for the dirty log");
			break;
		}
		/* A bitmap, once there, stays until the block goes: writers hold no lock. */
		__atomic_store_n(&b->dirty, dirty, __ATOMIC_RELEASE);
	}
	if (!r && !g->is_logging) {
		g->is_logging = true;
		list_for_each (node, &g->blocks)
			gmem_tell_log_changed(g, list_entry(node, struct gmem_block, node), true);
	}
	pthread_mutex_unlock(&g->lock);
	return r;
}

void gmem_log_stop(struct gmem *g)
{
	pthread_mutex_lock(&g->lock);
	if (g->is_logging) {
		g->is_logging = false;
		list_for_each (node, &g->blocks) {
			struct gmem_block *b = list_entry(node, struct gmem_block, node);

			gmem_tell_log_changed(g, b, false);
			memset(b->dirty, 0, gmem_block_log_words(b) * sizeof(u64));
		}
	}
	pthread_mutex_unlock(&g->lock);
}

void gmem_log_take(struct gmem *g, struct gmem_block *b, u64 *bits)
{
	pthread_mutex_lock(&g->lock);
	assert(g->is_logging);
	list_for_each (node, &g->listeners) {
		struct gmem_listener *l = list_entry(node, struct gmem_listener, node);

		if (l->log_sync)
			l->log_sync(l, b);
	}
	for (u64 i = 0; i < gmem_block_log_words(b); i++)
		bits[i] = __atomic_exchange_n(&b->dirty[i], 0, __ATOMIC_ACQ_REL);
	list_for_each (node, &g->listeners) {
		struct gmem_listener *l = list_entry(node, struct gmem_listener, node);

		if (l->log_cleared)
			l->log_cleared(l, b);
	}
	pthread_mutex_unlock(&g->lock);
}
