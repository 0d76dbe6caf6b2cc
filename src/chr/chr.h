/*
 * Byte streams: what stands behind a serial port or a console port.
 *
 * A struct chr is the host's end of a stream: a terminal, a pty, a socket, nothing. A device
 * attaches itself as the stream's one user. Writing may be partial: what was not taken is offered
 * again when room() says so. Bytes come in by receive(), never more than can_receive() asked for;
 * once it says 0 the stream reads no further until chr_accept().
 *
 *     device                       chr                          host
 *       chr_write(bytes) ---------> write(2), may be short ----->
 *       room() <------------------- EPOLLOUT, after a short write
 *       can_receive(), receive() <- read(2) <-------------------- input
 *       chr_accept() -------------> reads again
 *       event(is_open) <----------- a client came, or went
 *
 * Without a peer (no client yet, hung up) written bytes are dropped and count as written: a guest
 * doesn't stand still because nobody reads its console.
 *
 * Threads: a stream belongs to one loop. Callbacks come on its thread with no lock of the stream
 * held, so they may lock their device (lock order: device, stream). chr_write and chr_accept may
 * be called from any thread, with the device locked, and never call back from inside. Everything
 * else is for the loop's thread, or for before it runs.
 */
#ifndef CHR_CHR_H
#define CHR_CHR_H

#include <sys/types.h>

#include "base/base.h"

struct chr;
struct err;
struct loop;

/* What a device gives. All four are there; opaque is its own. */
struct chr_user {
	size_t (*can_receive)(void *opaque); /* bytes that it takes now */
	void (*receive)(void *opaque, const u8 *data, size_t size);
	void (*room)(void *opaque);                /* a chr_write was short: try the rest */
	void (*event)(void *opaque, bool is_open); /* the peer came or went */
	void *opaque;
};

/*
 * Makes u (borrowed until detached; NULL detaches) the stream's user. Input that waited comes
 * afterwards, from the loop; no event tells of a peer that is there already: see chr_is_open.
 */
void chr_attach(struct chr *c, const struct chr_user *u);

/* Is there a peer? Any thread; it may have changed by the time you look. */
bool chr_is_open(const struct chr *c);

/*
 * Returns how many bytes were taken: all, or fewer (also none) when the host's side is full; then
 * room() follows. Any thread.
 */
size_t chr_write(struct chr *c, const void *data, size_t size) must_check;

/* can_receive() is more than 0 again. Any thread; more often than needed is harmless. */
void chr_accept(struct chr *c);

/* From now on a write that finds no room waits for it, as long as it takes: what a guest is told then
 * doesn't depend on who reads. Before it is written to. */
void chr_be_patient(struct chr *c);

/* Detaches; what was not yet written is lost. NULL is fine. */
void chr_free(struct chr *c);
AUTO_FN(chr_free, struct chr *)

/* --- makers: they take the descriptors over on success, and open nothing --- */

/*
 * Reads from in_fd and writes to out_fd: pipes, a terminal, a pty's master, a connected socket (the
 * same descriptor twice, then, which is closed once). Files and /dev/null will do as well. Either
 * may be -1. The descriptors are made non-blocking, and as they were before when freed: whoever
 * shares a terminal's open file description (a shell) sees that meanwhile.
 * A pty's master outlives its slaves' users: no hang-up for it. The program ignores SIGPIPE.
 */
int chr_fd_new(struct loop *loop, int in_fd, int out_fd, struct chr **out, struct err *err);

/* A listening UNIX (or any stream) socket: one client at a time, the next when that one has gone. */
int chr_listen_new(struct loop *loop, int listen_fd, struct chr **out, struct err *err);

/* Takes everything, says nothing, and is open. */
struct chr *chr_null_new(void);

/*
 * A stream in memory, for tests. Its other end: chr_ring_input gives bytes to the user on the
 * caller's thread (returns how many it took), chr_ring_output takes what the user wrote.
 * Room for capacity bytes of output; taking output from a stream that was full calls room().
 */
struct chr *chr_ring_new(size_t capacity);
size_t chr_ring_input(struct chr *c, const void *data, size_t size);
size_t chr_ring_output(struct chr *c, void *out, size_t size);
void chr_ring_set_open(struct chr *c, bool is_open); /* with the event */
bool chr_ring_was_accepted(struct chr *c);           /* chr_accept since the last call? */

#endif
