/*
 * Whole trees of tables: see qcow2_tree.c. For qcow2*.c only. All may wait, and want us alone.
 */
#ifndef IMAGE_QCOW2_TREE_H
#define IMAGE_QCOW2_TREE_H

#include "base/err.h"
#include "image/qcow2_priv.h"

/* Adds to the counts of everything that the L1 table leads to; what isn't used any more is freed. */
int qcow2_tree_add(struct qcow2 *q, const u64 *l1, u32 entries, int delta);
/* The flags "only ours" of the active tree: all cleared, or by the counts. */
int qcow2_tree_flags(struct qcow2 *q, bool is_clearing);
/*
 * l1 (taken over on success) becomes the active L1 table, of a disk of size bytes, in one write; the old
 * table's clusters are freed, not what it leads to.
 */
int qcow2_tree_switch(struct qcow2 *q, u64 *l1, u32 entries, u64 size);
/*
 * Around changes in which counts and flags contradict each other for a while: everything is settled, and
 * the image marked, so that it is counted anew if we don't reach the end (version 3). If result is an error, the
 * end counts anew itself; where that fails, too, it is left to qcow2_tree_mend. Returns result, or its own.
 */
int qcow2_tree_begin(struct qcow2 *q);
int qcow2_tree_end(struct qcow2 *q, int result);
/* Before the next such change, and when it is closed. */
int qcow2_tree_mend(struct qcow2 *q);

#endif
