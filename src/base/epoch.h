/*
 * Deferred freeing for data that is read without locks and replaced whole (memory maps).
 *
 * Threads attach once, then bracket their reads with epoch_enter and epoch_leave; a writer
 * publishes the new version with a release store, then retires the old one, which is freed once
 * every reader that could hold it has left. Retiring never waits, so it may be done inside a read
 * section: a vCPU that moves a BAR is itself a reader.
 *
 * The argument: a reader's slot holds the epoch at which it entered, or 0 outside. Retiring
 * advances the epoch, after the new version was published, and stamps the object with the new
 * value; the object is freed when no slot holds an older one. Entering stores the slot before it
 * loads any published pointer (a full fence stands between), so a reader whose slot is not older
 * than the stamp can't have loaded the old pointer.
 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include "base/base.h"

#define EPOCH_MAX_READERS  96 /* 32 vCPUs, I/O loops, main */
#define EPOCH_MAX_ATTACHED 4  /* epochs that one thread may be attached to */

struct epoch;

struct epoch *epoch_new(void);
void epoch_free(struct epoch *e); /* frees what is retired; no thread may be attached */
AUTO_FN(epoch_free, struct epoch *)

/* Makes the calling thread a reader; attaching twice is counted. */
void epoch_attach(struct epoch *e);
void epoch_detach(struct epoch *e);

/* A read section of the calling, attached, thread; sections nest. */
void epoch_enter(struct epoch *e);
void epoch_leave(struct epoch *e);

/* Calls free_fn(object) later, on whichever thread retires or collects next. Any thread. */
void epoch_retire(struct epoch *e, void *object, void (*free_fn)(void *));
void epoch_collect(struct epoch *e); /* frees what can be freed now; any thread */

#endif
