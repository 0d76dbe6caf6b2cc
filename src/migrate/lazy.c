/*
 * Memory that is loaded as it is touched: the thread that serves page faults. See load.h.
 *
 * The block's pages are missing (userfaultfd(2), UFFDIO_REGISTER_MODE_MISSING). Who touches one sleeps
 * in the kernel, and the thread finds a message; it reads the chunk, checks it, and puts it in place by
 * UFFDIO_COPY, which wakes the sleeper. When there is no message it goes on with the next chunk that
 * nobody asked for yet. At the end the descriptor is closed: what is still missing is zero from then on,
 * as memory is that nobody has written to.
 *
 * A page may be given back to the host meanwhile (gmem_discard, which first touches it, so that its
 * chunk is loaded): a fault in a loaded chunk means zeroes.
 *
 * The thread takes no lock and waits for nobody: whoever waits for a page may hold any lock.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "mem/gmem.h"
#include "migrate/load_priv.h"

/* --- preparing, before the process is confined --- */

/* By the device, or by right; else for faults of user space only, which anybody may serve. */
static int lazy_open(const struct load_options *o)
{
	int flags = O_CLOEXEC | O_NONBLOCK, fd = -1;

	if (o->faults_fd >= 0)
		fd = ioctl(o->faults_fd, USERFAULTFD_IOC_NEW, flags);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, flags);
	if (fd < 0 && !o->kernel_faults)
		fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	return fd;
}

static const char *lazy_register(int fd, const struct gmem_block *ram)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register all = {
		.range = {.start = (u64)ram->hva, .len = ram->size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	u64 needed = BIT(_UFFDIO_COPY) | BIT(_UFFDIO_ZEROPAGE);

	if (ram->backing == GMEM_MEMFD)
		api.features = UFFD_FEATURE_MISSING_SHMEM;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return "this kernel's userfaultfd is too old";
	if (ioctl(fd, UFFDIO_REGISTER, &all) < 0 || (all.ioctls & needed) != needed)
		return "this kernel's userfaultfd doesn't do such memory";
	return NULL;
}

const char *lazy_prepare(struct load *l, const struct load_options *options)
{
	AUTO_FD int fd = lazy_open(options);
	const char *why;

	if (fd < 0)
		return errno == EPERM ? "userfaultfd is not permitted (vm.unprivileged_userfaultfd)"
				      : "there is no userfaultfd";
	why = lazy_register(fd, l->ram);
	if (why)
		return why;
	l->is_loaded = alloc_try(save_chunks(l->ram->size), sizeof(l->is_loaded[0]));
	l->buffer = alloc_try(1, SAVE_CHUNK);
	if (!l->is_loaded || !l->buffer)
		return "memory is short";
	gmem_block_set_lazy(l->ram, true);
	l->faults = fd_take(fd);
	return NULL;
}

/* --- the thread --- */

static void lazy_fail(struct load *l, const struct err *err)
{
	l->ops.failed(l->ops.opaque, err->text);
	unreachable_code();
}

static u64 lazy_address(const struct load *l, u64 offset)
{
	return (u64)l->ram->hva + offset;
}

/* Zeroes where a page is missing; a page that is there meanwhile is only told to its sleeper. */
static int lazy_zero_page(struct load *l, u64 offset)
{
	struct uffdio_zeropage z = {.range = {.start = lazy_address(l, offset), .len = PAGE_SIZE}};
	int r;

	do
		r = ioctl(l->faults, UFFDIO_ZEROPAGE, &z) < 0 ? -errno : 0;
	while (r == -EAGAIN);
	if (r == -EEXIST)
		r = ioctl(l->faults, UFFDIO_WAKE, &z.range) < 0 ? -errno : 0;
	return r;
}

/* Puts size bytes of the buffer in place, but for pages that are there. */
static int lazy_copy(struct load *l, u64 offset, u32 size)
{
	for (u32 done = 0; done < size;) {
		struct uffdio_copy c = {
			.dst = lazy_address(l, offset + done),
			.src = (u64)(l->buffer + done),
			.len = size - done,
		};
		int r = ioctl(l->faults, UFFDIO_COPY, &c) < 0 ? -errno : 0;

		if (!r || (r == -EAGAIN && c.copy > 0))
			done += (u32)c.copy;
		else if (r == -EEXIST)
			done += (u32)PAGE_SIZE;
		else if (r != -EAGAIN)
			return r;
	}
	return 0;
}

/* False: it can't be had. */
static bool lazy_load_chunk(struct load *l, u64 n, struct err *err)
{
	int r = chunk_read(l->reader, n, l->buffer, err);

	if (r < 0)
		return false;
	r = lazy_copy(l, n * SAVE_CHUNK, save_chunk_bytes(l->ram->size, n));
	if (r < 0)
		err_errno(err, r, "cannot put chunk %lu of the memory in place", n);
	l->is_loaded[n] = true;
	return r == 0;
}

static void lazy_serve(struct load *l, u64 address)
{
	u64 offset = align_down(address - (u64)l->ram->hva, PAGE_SIZE), n = offset / SAVE_CHUNK;
	struct err err = ERR_INIT;
	int r;

	if (!l->is_loaded[n] && !chunk_is_zero(l->reader, n)) {
		if (!lazy_load_chunk(l, n, &err))
			lazy_fail(l, &err);
		return;
	}
	r = lazy_zero_page(l, offset);
	if (r < 0) {
		err_errno(&err, r, "cannot make a page of memory");
		lazy_fail(l, &err);
	}
}

/* All faults that wait. */
static void lazy_serve_faults(struct load *l)
{
	struct uffd_msg m;

	while (read(l->faults, &m, sizeof(m)) == sizeof(m))
		if (m.event == UFFD_EVENT_PAGEFAULT)
			lazy_serve(l, m.arg.pagefault.address);
}

static void lazy_load_rest(struct load *l)
{
	struct err err = ERR_INIT;

	for (u64 n = 0; n < save_chunks(l->ram->size); n++) {
		lazy_serve_faults(l);
		if (__atomic_load_n(&l->is_stopping, __ATOMIC_ACQUIRE))
			return;
		if (!l->is_loaded[n] && !chunk_is_zero(l->reader, n) &&
		    !lazy_load_chunk(l, n, &err))
			lazy_fail(l, &err);
	}
}

/* True: go on. */
static bool lazy_enter(struct load *l)
{
	struct err err = ERR_INIT;
	int r = l->ops.enter_thread(l->ops.opaque, &err);

	pthread_mutex_lock(&l->lock);
	l->entry_result = r;
	if (r < 0)
		*l->entry_error = err;
	l->is_entered = true;
	pthread_cond_signal(&l->changed);
	pthread_mutex_unlock(&l->lock);
	return r == 0;
}

static void *lazy_main(void *arg)
{
	struct load *l = arg;

	pthread_setname_np(pthread_self(), "load");
	if (!lazy_enter(l))
		return NULL;
	lazy_load_rest(l);
	/* What is missing now is zero. Closing wakes whoever sleeps on it. */
	fd_close(fd_take(l->faults));
	gmem_block_set_lazy(l->ram, false);
	fd_close(fd_take(l->fd));
	__atomic_store_n(&l->is_complete, true, __ATOMIC_RELEASE);
	if (l->ops.complete)
		l->ops.complete(l->ops.opaque);
	return NULL;
}

int lazy_start(struct load *l, struct err *err)
{
	int r;

	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	l->entry_error = err;
	r = pthread_create(&l->thread, NULL, lazy_main, l);
	if (r)
		return err_errno(err, -r, "cannot start a thread");
	l->has_thread = true;
	pthread_mutex_lock(&l->lock);
	while (!l->is_entered)
		pthread_cond_wait(&l->changed, &l->lock);
	r = l->entry_result;
	pthread_mutex_unlock(&l->lock);
	return r;
}

/* A guest that ends while it is loaded: its memory is of no use to anybody any more. */
void lazy_stop(struct load *l)
{
	if (l->has_thread) {
		__atomic_store_n(&l->is_stopping, true, __ATOMIC_RELEASE);
		pthread_join(l->thread, NULL);
		pthread_cond_destroy(&l->changed);
		pthread_mutex_destroy(&l->lock);
	}
	fd_close(l->faults);
}
