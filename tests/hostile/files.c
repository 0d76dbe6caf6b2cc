/*
 * Attempts on files: by name, by handle, by a program; on the tree itself.
 *
 * HOSTILE_DIR is a directory of the test's that is only root's, with another guest's disk `disk` in
 * it, and `garbage`, which may be run but is no program.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile.h"

static const char *files_path(const char *name)
{
	static __thread char path[512];

	snprintf(path, sizeof(path), "%s/%s", attempt_victim("DIR"), name);
	return path;
}

/* Opened is not enough: it must be the disk. */
static long files_read(long fd)
{
	char word[7] = "";
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read((int)fd, word, 6);
	close((int)fd);
	return n == 6 && !strcmp(word, "secret") ? 0 : -EIO;
}

static long files_open(void)
{
	return files_read(syscall(SYS_open, files_path("disk"), O_RDONLY));
}

static long files_openat(void)
{
	return files_read(syscall(SYS_openat, AT_FDCWD, files_path("disk"), O_RDONLY));
}

static long files_openat2(void)
{
	struct open_how {
		u64 flags, mode, resolve;
	} how = {.flags = O_RDONLY};

	return files_read(syscall(SYS_openat2, AT_FDCWD, files_path("disk"), &how, sizeof(how)));
}

/* The handle can be guessed; here it is made while we still may, or not. */
static long files_open_by_handle(void)
{
	struct {
		struct file_handle h;
		unsigned char bytes[128];
	} handle = {.h.handle_bytes = 128};
	int mount_id, dir;
	long fd;

	if (syscall(SYS_name_to_handle_at, AT_FDCWD, files_path("disk"), &handle.h, &mount_id, 0) <
	    0)
		return -errno;
	dir = open(attempt_victim("DIR"), O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return -errno;
	fd = syscall(SYS_open_by_handle_at, dir, &handle.h, O_RDONLY);
	if (fd < 0)
		fd = -errno;
	close(dir);
	errno = (int)-fd;
	return files_read(fd < 0 ? -1 : fd);
}

static long files_create(void)
{
	long r = attempt_descriptor(syscall(SYS_creat, files_path("created"), 0600));

	if (r >= 0)
		unlink(files_path("created"));
	return r;
}

static long files_mkdir(void)
{
	long r = attempt_result(syscall(SYS_mkdir, files_path("made"), 0700));

	if (r >= 0)
		rmdir(files_path("made"));
	return r;
}

static long files_stat(void)
{
	struct stat st;

	return attempt_result(fstatat(AT_FDCWD, files_path("disk"), &st, 0));
}

static long files_list(void)
{
	return attempt_descriptor(open(attempt_victim("DIR"), O_RDONLY | O_DIRECTORY));
}

static long files_truncate(void)
{
	return attempt_result(syscall(SYS_truncate, files_path("disk"), 6));
}

static long files_unlink(void)
{
	return attempt_result(syscall(SYS_unlink, files_path("nothing")));
}

static long files_chmod(void)
{
	return attempt_result(syscall(SYS_chmod, files_path("disk"), 0600));
}

static long files_device(void)
{
	return attempt_descriptor(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR));
}

static long files_proc_self(void)
{
	return attempt_descriptor(syscall(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR));
}

static long files_proc_other(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/environ", attempt_victim_pid());
	return attempt_descriptor(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY));
}

static long files_sys(void)
{
	return attempt_descriptor(syscall(SYS_openat, AT_FDCWD, "/sys/kernel", O_RDONLY));
}

static long files_execve(void)
{
	char *const none[] = {NULL};

	return attempt_result(syscall(SYS_execve, files_path("garbage"), none, none));
}

/* Of a file that has no name. */
static long files_execveat(void)
{
	char *const none[] = {NULL};
	int fd = (int)syscall(SYS_memfd_create, "hostile", 0);
	long r;

	if (fd < 0)
		return -errno;
	if (write(fd, "\1\2", 2) < 0) {
		close(fd);
		return -EIO;
	}
	r = attempt_result(syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH));
	close(fd);
	return r;
}

static long files_memfd(void)
{
	return attempt_descriptor(syscall(SYS_memfd_create, "hostile", 0));
}

static long files_chroot(void)
{
	return attempt_result(syscall(SYS_chroot, "/"));
}

static long files_mount(void)
{
	const char *dir = files_path("mount");
	long r = attempt_result(syscall(SYS_mount, "hostile", dir, "tmpfs", 0, "size=4k"));

	if (r >= 0)
		umount2(dir, MNT_DETACH);
	return r;
}

static long files_fsopen(void)
{
	return attempt_descriptor(syscall(SYS_fsopen, "tmpfs", 0));
}

static long files_open_tree(void)
{
	return attempt_descriptor(syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE));
}

static long files_umount(void)
{
	return attempt_result(syscall(SYS_umount2, files_path("mount"), 0));
}

static long files_inotify(void)
{
	return attempt_descriptor(syscall(SYS_inotify_init1, 0));
}

static long files_fanotify(void)
{
	return attempt_descriptor(syscall(SYS_fanotify_init, 0, O_RDONLY));
}

/* clang-format off */
const struct attempt attempts_on_files[] = {
	{"read another guest's disk: open", files_open, 0},
	{"read another guest's disk: openat", files_openat, 0},
	{"read another guest's disk: openat2", files_openat2, 0},
	{"read another guest's disk: by handle", files_open_by_handle, 0},
	{"stat another guest's disk", files_stat, 0},
	{"truncate another guest's disk", files_truncate, 0},
	{"chmod another guest's disk", files_chmod, 0},
	{"list a directory", files_list, 0},
	{"create a file", files_create, 0},
	{"make a directory", files_mkdir, 0},
	{"unlink a file", files_unlink, ENOENT},
	{"open a device", files_device, 0},
	{"open /proc/self/mem", files_proc_self, 0},
	{"open another process's environ", files_proc_other, 0},
	{"open /sys", files_sys, 0},
	{"execve", files_execve, ENOEXEC},
	{"execveat of a memory file", files_execveat, ENOEXEC},
	{"memfd_create", files_memfd, 0},
	{"chroot", files_chroot, 0},
	{"mount", files_mount, 0},
	{"umount", files_umount, EINVAL},
	{"fsopen", files_fsopen, 0},
	{"open_tree", files_open_tree, 0},
	{"inotify_init", files_inotify, 0},
	{"fanotify_init", files_fanotify, 0},
	{0},
};
/* clang-format on */
