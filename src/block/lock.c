/*
 * Who may use a disk at once, across processes: OFD locks (fcntl(2), "Open file description locks"). See
 * block.h.
 *
 *     bytes              0 ................ LOCK_SLOTS_AT, LOCK_SLOTS bytes ...... the end
 *     reader             read lock of all
 *     writer             write lock of all
 *     one of several     read lock
 *       if it writes     read lock           write lock of a byte that is free
 *
 * So those who write together keep readers out, who would read what is half written; each of them
 * has a byte of its own.
 */
#include <fcntl.h>

#include "base/err.h"
#include "block/block.h"

#define LOCK_SLOTS_AT ((off_t)BLK_SIZE_MAX)
#define LOCK_SLOTS    256

static int lock_set(int fd, short type, off_t start, off_t bytes)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = bytes};

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int lock_explain(int r, struct err *err)
{
	if (r == -EAGAIN)
		return err_set(err, -EBUSY, "in use by another VM");
	return r < 0 ? err_errno(err, r, "cannot lock it") : 0;
}

int blk_lock_fd(int fd, bool is_readonly, struct err *err)
{
	return lock_explain(lock_set(fd, is_readonly ? F_RDLCK : F_WRLCK, 0, 0), err);
}

static int lock_take_slot(int fd)
{
	int r = -EAGAIN;

	for (off_t i = 0; i < LOCK_SLOTS && r == -EAGAIN; i++)
		r = lock_set(fd, F_WRLCK, LOCK_SLOTS_AT + i, 1);
	return r;
}

int blk_lock_fd_together(int fd, bool is_readonly, struct err *err)
{
	int r = lock_set(fd, F_RDLCK, 0, LOCK_SLOTS_AT);

	if (r == 0 && !is_readonly)
		r = lock_take_slot(fd);
	if (r < 0)
		blk_unlock_fd(fd);
	return lock_explain(r, err);
}

void blk_unlock_fd(int fd)
{
	(void)lock_set(fd, F_UNLCK, 0, 0);
}
