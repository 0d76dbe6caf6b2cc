/*
 * The number that stands for "this process" in a seccomp program until it is loaded.
 */
#ifndef CONFINE_SECCOMP_SELF_H
#define CONFINE_SECCOMP_SELF_H

/* Larger than any process id (/proc/sys/kernel/pid_max is at most 2^22). */
#define SECCOMP_SELF 0x50534c46u

#endif
