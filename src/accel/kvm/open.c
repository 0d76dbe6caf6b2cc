/*
 * Opening /dev/kvm, with an explanation for whoever can't.
 */
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>

#include "accel/kvm/kv_priv.h"
#include "accel/kvm/kvm.h"
#include "base/err.h"
#include "base/fd.h"

#define KV_DEVICE "/dev/kvm"

int kv_ioctl(int fd, unsigned long request, void *arg)
{
	int r;

	do {
		r = ioctl(fd, request, arg);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

#define KV_OR_SOFT "or use the software CPU (--accel soft)"

static int kv_explain_access(struct err *err)
{
	struct group entry, *group = NULL;
	char buf[4096], name[64];
	struct stat st;

	if (stat(KV_DEVICE, &st) < 0)
		return err_errno(err, -errno, "cannot open " KV_DEVICE);
	if (getgrgid_r(st.st_gid, &entry, buf, sizeof(buf), &group) == 0 && group)
		snprintf(name, sizeof(name), "%s", group->gr_name);
	else
		snprintf(name, sizeof(name), "%u", (unsigned)st.st_gid);
	if (!(st.st_mode & S_IWGRP))
		return err_set(err, -EACCES,
			       "no permission to open " KV_DEVICE ": its mode (%04o) keeps out its "
			       "group '%s' too; 'chmod g+rw " KV_DEVICE "' as root and join the "
			       "group, " KV_OR_SOFT,
			       (unsigned)st.st_mode & 07777, name);
	return err_set(err, -EACCES,
		       "no permission to open " KV_DEVICE ": join group '%s' "
		       "('usermod -aG %s USER' as root, then log in anew), " KV_OR_SOFT,
		       name, name);
}

static int kv_explain_open(int code, struct err *err)
{
	switch (code) {
	case -EACCES:
	case -EPERM:
		return kv_explain_access(err);
	case -ENOENT:
		return err_set(err, -ENOENT,
			       "there is no " KV_DEVICE ": the kernel's KVM modules are not loaded "
			       "('modprobe kvm-intel' or 'kvm-amd'), or this is a virtual machine "
			       "or container without; the software CPU (--accel soft) works "
			       "everywhere");
	case -ENXIO:
	case -ENODEV:
		return err_set(err, code,
			       "the kernel has KVM, but this processor offers no hardware "
			       "virtualization (or the firmware has it off); the software CPU "
			       "(--accel soft) works everywhere");
	default:
		return err_errno(err, code, "cannot open " KV_DEVICE);
	}
}

int kv_open(int *out_fd, struct err *err)
{
	AUTO_FD int fd = open(KV_DEVICE, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return kv_explain_open(-errno, err);
	version = kv_ioctl(fd, KVM_GET_API_VERSION, NULL);
	if (version != KV_API_VERSION)
		return err_set(err, -ENOTSUP, KV_DEVICE " speaks API version %d instead of %d",
			       version, KV_API_VERSION);
	*out_fd = fd_take(fd);
	return 0;
}
