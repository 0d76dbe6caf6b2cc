/*
 * The last step of posada-vsock's set-up: from here on it connects and accepts UNIX stream sockets,
 * passes descriptors on, and can do little else.
 */
#ifndef VSOCK_HELPER_SANDBOX_H
#define VSOCK_HELPER_SANDBOX_H

struct err;

int vsock_sandbox_enter(struct err *err);

#endif
