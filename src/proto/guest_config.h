/*
 * The configuration of one guest: typed, and the same for the command line, the daemon and saved
 * state.
 *
 * Names were resolved by whoever filled it in: files, disks, taps and sockets are descriptors. Paths
 * are kept for messages only. As a message it is JSON, in which a descriptor is an index into the
 * descriptors that travel with it; unknown members are refused.
 */
#ifndef PROTO_GUEST_CONFIG_H
#define PROTO_GUEST_CONFIG_H

#include "base/base.h"

struct err;

#define GUEST_CONFIG_VERSION   1
#define GUEST_MAX_CPUS         32
#define GUEST_MAX_DISKS        16
#define GUEST_MAX_NICS         8
#define GUEST_MAX_CHANNELS     8
#define GUEST_MAX_CHANNEL_NAME 63
#define GUEST_MIN_MEMORY       (32 * MIB)
#define GUEST_MAX_MEMORY       (1024 * GIB)
#define GUEST_MAX_NAME         63

enum guest_accel { GUEST_ACCEL_AUTO, GUEST_ACCEL_KVM, GUEST_ACCEL_SOFT };
enum guest_cache { GUEST_CACHE_WRITEBACK, GUEST_CACHE_NONE };
enum guest_net { GUEST_NET_STREAM, GUEST_NET_TAP };
enum guest_console { GUEST_CONSOLE_NONE, GUEST_CONSOLE_STREAM, GUEST_CONSOLE_LISTEN };
enum guest_on_reboot { GUEST_REBOOT_RESTART, GUEST_REBOOT_STOP };
enum guest_on_crash { GUEST_CRASH_STOP, GUEST_CRASH_RESTART, GUEST_CRASH_PAUSE };

struct guest_disk {
	char *path; /* for messages */
	int fd;
	int overlay_fd; /* an empty file that takes the writes instead; -1: none */
	bool is_readonly;
	enum guest_cache cache;
};

struct guest_nic {
	enum guest_net kind;
	int fd; /* framed stream socket, or tap */
	u8 mac[6];
};

/* A named virtio port: /dev/virtio-ports/NAME in the guest. */
struct guest_channel {
	char *name;
	int fd; /* a listening socket */
};

struct guest_config {
	char *name;
	char *machine; /* "pc-1" */
	char *cpu;     /* a model of arch/x86/cpuid.h */
	enum guest_accel accel;
	unsigned n_cpus;
	u64 memory; /* bytes */
	int kvm_fd; /* /dev/kvm, -1: not to be had; kvm_why says why */
	char *kvm_why;
	int kernel_fd;
	int initrd_fd; /* -1: none */
	char *kernel_path, *initrd_path;
	char *append;
	struct guest_disk disks[GUEST_MAX_DISKS];
	unsigned n_disks;
	struct guest_nic nics[GUEST_MAX_NICS];
	unsigned n_nics;
	struct guest_channel channels[GUEST_MAX_CHANNELS];
	unsigned n_channels;
	enum guest_console console;
	int console_fd; /* a connected stream or pty, or a listening socket */
	enum guest_on_reboot on_reboot;
	enum guest_on_crash on_crash;
	bool has_debug_exit; /* the isa-debug-exit port that test kernels use */
};

/* All descriptors -1, sizes as the command line's defaults. */
void guest_config_init(struct guest_config *c);
/* Frees strings and closes descriptors. */
void guest_config_fini(struct guest_config *c);

/* Within the limits above: sentences name the option's value. Pure. */
int guest_config_check(const struct guest_config *c, struct err *err);

/*
 * The message: a JSON text (free() it) and the descriptors it refers to (borrowed from c), at most
 * GUEST_CONFIG_MAX_FDS.
 */
#define GUEST_CONFIG_MAX_FDS (4 + 2 * GUEST_MAX_DISKS + GUEST_MAX_NICS + GUEST_MAX_CHANNELS)
char *guest_config_encode(const struct guest_config *c, int *out_fds, size_t *out_n_fds);
/* Takes over every descriptor of fds, also on failure. c need not be initialized. */
int guest_config_decode(const char *text, size_t size, const int *fds, size_t n_fds,
			struct guest_config *out, struct err *err);

/* An enum's word and back, for command line and JSON; -1 when there is no such word. */
struct guest_words {
	const char *const *words; /* ends with NULL; the index is the value */
};
extern const struct guest_words guest_accel_words, guest_cache_words, guest_net_words,
	guest_console_words, guest_on_reboot_words, guest_on_crash_words;
int guest_word_value(const struct guest_words *w, const char *word);
const char *guest_word(const struct guest_words *w, int value);

#endif
