/*
 * One writer or many readers of a disk, across processes: an OFD lock over the whole file (fcntl(2),
 * "Open file description locks"). See block.h.
 */
#include <fcntl.h>

#include "base/err.h"
#include "block/block.h"

int blk_lock_fd(int fd, bool is_readonly, struct err *err)
{
	struct flock l = {
		.l_type = is_readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, -EBUSY, "in use by another VM");
	return err_errno(err, -errno, "cannot lock it");
}

void blk_unlock_fd(int fd)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(fd, F_OFD_SETLK, &l);
}
