/*
 * setlabel CONTEXT FILE...: gives files an SELinux label. busybox's chcon isn't always built in.
 */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (setxattr(argv[i], "security.selinux", argv[1], strlen(argv[1]) + 1, 0) < 0) {
			perror(argv[i]);
			return 1;
		}
	}
	return argc < 3;
}
