/*
 * SELinux by the kernel's own interface: three files, which is all that libselinux would do for us
 * (selinuxfs, and proc(5): /proc/thread-self/attr).
 *
 * The guest process gets its descriptors open, so that its type needs no right to open a file: that
 * is the wall here, and no disk has to be relabelled (src/confine/posada.cil). The categories keep guests
 * from one another where a file, a process or a socket has a label with categories.
 */
#include "confine/selinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "confine/confine_priv.h"

#define SELINUX_CONTEXT "/sys/fs/selinux/context"
#define SELINUX_CURRENT "/proc/thread-self/attr/current"
#define SELINUX_EXEC    "/proc/thread-self/attr/exec"
#define SELINUX_TYPE    "posada_vmm_t"

static int selinux_write(const char *path, const char *text)
{
	AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

/* The user and the role of ours: "user:role". */
static int selinux_own_role(char *out, size_t size)
{
	AUTO_FD int fd = open(SELINUX_CURRENT, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
	char *colon;

	if (n < 0)
		return -errno;
	out[n] = '\0';
	colon = strchr(out, ':');
	colon = colon ? strchr(colon + 1, ':') : NULL;
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	return 0;
}

/* The pair's two categories: pairs are numbered (0,1), (0,2), (1,2), (0,3), ... */
static void selinux_categories(unsigned pair, unsigned *low, unsigned *high)
{
	unsigned h = 1;

	while (h * (h + 1) / 2 <= pair)
		h++;
	*high = h;
	*low = pair - h * (h - 1) / 2;
}

int confine_label_make(unsigned pair, char out[CONFINE_LABEL_MAX], struct err *err)
{
	char role[CONFINE_LABEL_MAX / 2];
	unsigned low, high;
	int r;

	assert(pair < CONFINE_LABEL_PAIRS);
	if (access(SELINUX_CONTEXT, F_OK) < 0)
		return err_set(err, -ENOSYS, "this host has no SELinux");
	r = selinux_own_role(role, sizeof(role));
	if (r < 0)
		return err_errno(err, r, "SELinux doesn't tell our label");
	selinux_categories(pair, &low, &high);
	snprintf(out, CONFINE_LABEL_MAX, "%s:" SELINUX_TYPE ":s0:c%u,c%u", role, low, high);
	/* Accepted when there can be such a label. */
	if (selinux_write(SELINUX_CONTEXT, out) < 0)
		return err_set(err, -EINVAL,
			       "its policy has no " SELINUX_TYPE " (semodule -i posada.cil)");
	return 0;
}

void confine_note_label(struct confine_report *r)
{
	AUTO_FD int fd = open(SELINUX_CURRENT, O_RDONLY | O_CLOEXEC);
	char label[CONFINE_LABEL_MAX] = "";

	if (access(SELINUX_CONTEXT, F_OK) < 0 || fd < 0 || read(fd, label, sizeof(label) - 1) < 0)
		return;
	if (strstr(label, ":" SELINUX_TYPE ":"))
		confine_note(r, "SELinux label %s", label);
	else
		confine_note_missing(r, "SELinux label");
}

int confine_label_next_exec(const char *label)
{
	return selinux_write(SELINUX_EXEC, label);
}
