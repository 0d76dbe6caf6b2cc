/*
 * The configuration of one guest: typed, and the same for the command line, the daemon and saved
 * state.
 *
 * Names were resolved by whoever filled it in: files, disks, taps and sockets are descriptors. Paths
 * are kept for messages only. As a message it is JSON, made from the field tables (proto/fields.h) in
 * guest_config.c: a new member is a line there.
 */
#ifndef PROTO_GUEST_CONFIG_H
#define PROTO_GUEST_CONFIG_H

#include "base/base.h"
#include "proto/fields.h"

struct err;
struct json_t;

#define GUEST_CONFIG_VERSION   1
#define GUEST_MAX_CPUS         32
#define GUEST_MAX_DISKS        16
#define GUEST_MAX_NICS         8
#define GUEST_MAX_NET_QUEUES   16
#define GUEST_MIN_MTU          68
#define GUEST_MAX_MTU          65535
#define GUEST_MAX_CHANNELS     8
#define GUEST_MAX_SLOTS        32
#define GUEST_MAX_DEVICE_NAME  31
#define GUEST_MAX_CHANNEL_NAME 63
#define GUEST_MIN_MEMORY       (32 * MIB)
#define GUEST_MAX_MEMORY       (1024 * GIB)
#define GUEST_MAX_NAME         63
#define GUEST_BALLOON_STATS    5 /* seconds, the default */
#define GUEST_MAX_STATS        86400
#define GUEST_MIN_CID          3u
#define GUEST_MAX_CID          0xfffffffeu

enum guest_accel { GUEST_ACCEL_AUTO, GUEST_ACCEL_KVM, GUEST_ACCEL_SOFT };
enum guest_engine { GUEST_ENGINE_AUTO, GUEST_ENGINE_INTERPRETER, GUEST_ENGINE_TRANSLATOR };
enum guest_clock { GUEST_CLOCK_HOST, GUEST_CLOCK_INSN };
/* What stands between a guest's write and the disk: the host's page cache or not, a write cache in the guest's eyes or not. */
enum guest_cache {
	GUEST_CACHE_WRITEBACK,
	GUEST_CACHE_NONE,         /* no page cache */
	GUEST_CACHE_WRITETHROUGH, /* no write cache: a write is done when it is on stable storage */
	GUEST_CACHE_DIRECTSYNC,   /* neither */
	GUEST_CACHE_UNSAFE,       /* both, and flushes do nothing */
};
enum guest_net { GUEST_NET_STREAM, GUEST_NET_TAP };
enum guest_console { GUEST_CONSOLE_NONE, GUEST_CONSOLE_STREAM, GUEST_CONSOLE_LISTEN };
enum guest_on_reboot { GUEST_REBOOT_RESTART, GUEST_REBOOT_STOP };
enum guest_on_crash { GUEST_CRASH_STOP, GUEST_CRASH_RESTART, GUEST_CRASH_PAUSE };

/* Of a disk, or of each direction of a network card; 0: none. */
struct guest_limits {
	u64 bytes, ops;             /* a second */
	u64 burst_bytes, burst_ops; /* at once; 0: a tenth of a second's */
};
#define GUEST_LIMIT_MAX ((u64)1 << 40)

/* Another file that a disk's image is made of: what the image calls so (image/image.h). */
enum guest_file_role { GUEST_FILE_BACKING, GUEST_FILE_DATA, GUEST_FILE_EXTENT };
struct guest_disk_file {
	unsigned
		parent; /* 0: the disk's own image needs it; else files[parent - 1], an earlier one, does */
	enum guest_file_role role;
	unsigned index; /* of an extent */
	char *format;   /* of a backing file; NULL: its bytes as they are */
	char *path;     /* for messages */
	int fd;
	bool is_writable;
	bool is_remote; /* as the disk's */
	int used_fd; /* the machine's, not in the message: the descriptor, now its image's; -1: none */
};
#define GUEST_MAX_DISK_FILES 64

/* A request that the host can't do: pause the guest if the host is full, else report it; always report; always pause. */
enum guest_on_error { GUEST_ERROR_PAUSE_IF_FULL, GUEST_ERROR_REPORT, GUEST_ERROR_PAUSE };

struct guest_disk {
	char *name;    /* "disk0"; NULL: see guest_config_name_devices */
	unsigned slot; /* 1 up; 0: the next that is free. The choice is written back */
	char *path;    /* for messages */
	int fd;
	bool is_remote; /* fd is a connector's socket (nbd/connector.h), and no file */
	char *format;   /* of the image; NULL: raw */
	struct guest_disk_file files[GUEST_MAX_DISK_FILES];
	unsigned n_files;
	/* A pipe with the keys of those of its images that are encrypted (image/helper/helper.h); -1: none are. */
	int keys_fd;
	int overlay_fd; /* an empty file that takes the writes instead; -1: none */
	/* The machine's, not in the message: that file was taken; the disk's descriptor, now its. */
	bool is_overlaid;
	int used_fd;
	bool is_readonly;
	bool is_shared; /* other guests write it, too */
	enum guest_cache cache;
	enum guest_on_error on_error;
	/* Of a saved guest: what the file was then, to know it again. 0: not told. */
	u64 saved_bytes, saved_changed_ns;
	unsigned n_queues; /* 0: as many as the guest has CPUs, up to GUEST_USUAL_DISK_QUEUES */
	bool is_packed;    /* the guest may use packed rings */
	struct guest_limits limits;
};
#define GUEST_MAX_DISK_QUEUES   16u
#define GUEST_USUAL_DISK_QUEUES 4u

struct guest_nic_fd {
	int fd;
};

struct guest_nic {
	char *name; /* "net0"; as a disk's */
	unsigned slot;
	enum guest_net kind;
	int fd; /* framed stream socket, or a tap's first queue */
	struct guest_nic_fd more_fds[GUEST_MAX_NET_QUEUES - 1]; /* the tap's other queues */
	unsigned n_more_fds;
	unsigned n_queues; /* pairs that the guest's card has, whatever is behind it */
	unsigned mtu;      /* that the guest is told; 0: none */
	bool is_packed;
	struct guest_limits limits;
	u8 mac[6];
	char *spec; /* what is behind it, as on the command line: for a saved guest */
};

/* A named virtio port: /dev/virtio-ports/NAME in the guest. */
struct guest_channel {
	char *name;
	int fd;     /* a listening socket */
	char *path; /* of that socket: for a saved guest */
};

struct guest_config {
	char *name;
	char *machine; /* "pc-1" */
	char *cpu;     /* a model of arch/x86/cpuid.h */
	enum guest_accel accel;
	enum guest_engine engine; /* of the software CPU */
	enum guest_clock
		clock;    /* insn: its time is instructions, and what it does can be repeated */
	u64 seed;         /* of such a guest's random numbers, not 0 */
	bool is_lockstep; /* such a guest's translated code is held to the interpreter */
	int perf_fd;      /* names of the software CPU's translated code go there; -1: nowhere */
	bool is_tsc_host_clock; /* the host's own clock is its TSC: told by whoever can see that */
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
	unsigned n_slots; /* for devices; 0: the board's number. Written back when it is chosen */
	struct guest_channel channels[GUEST_MAX_CHANNELS];
	unsigned n_channels;
	bool has_balloon;
	bool has_reporting;     /* the balloon's: unused memory goes back to the host */
	u64 balloon_size;       /* bytes that the guest should have at first; 0: all */
	unsigned balloon_stats; /* seconds between questions for its statistics; 0: never */
	u32 vsock_cid;          /* of the guest's sockets; 0: it has none */
	int vsock_fd;           /* to posada-vsock */
	char *vsock_path;       /* of its socket, for a saved guest; NULL: the registry's only */
	enum guest_console console;
	int control_fd; /* a listening socket for further clients; -1: none */
	int lock_fd;    /* only held: the guest's name is taken until it is closed; -1: none */
	int console_fd; /* a connected stream or pty, or a listening socket */
	enum guest_on_reboot on_reboot;
	enum guest_on_crash on_crash;
	bool has_debug_exit; /* the isa-debug-exit port that test kernels use */
	char *directory;     /* in which the paths above are meant, when the guest is saved */
	u64 tsc_hz;          /* 0: as the accelerator likes it; of a saved guest: as it was */

	/* For a guest that goes on from a file (proto/save_file.h): what not to do as usual. */
	int restore_fd; /* -1: it starts anew */
	int faults_fd;  /* /dev/userfaultfd, for memory that is loaded as it is touched; -1: none */
	bool is_eager;  /* its memory is loaded before it runs, not as it is touched */
	bool catches_up; /* its wall clock goes on from the host's, not from where it stood */
};

/* All descriptors -1, sizes as the command line's defaults. */
void guest_config_init(struct guest_config *c);
/* Frees strings and closes descriptors. */
void guest_config_fini(struct guest_config *c);

/* [A-Za-z0-9][A-Za-z0-9._-]*, at most GUEST_MAX_NAME bytes: it becomes a directory's name. */
bool guest_name_is_valid(const char *name);

/* Gives disks and nics without a name the next of disk0, disk1, ... and net0, net1, ... */
void guest_config_name_devices(struct guest_config *c);

/* The same letters, at most GUEST_MAX_DEVICE_NAME. */
bool guest_device_name_is_valid(const char *name);

static inline bool guest_cache_is_direct(enum guest_cache c)
{
	return c == GUEST_CACHE_NONE || c == GUEST_CACHE_DIRECTSYNC;
}

static inline bool guest_cache_is_writethrough(enum guest_cache c)
{
	return c == GUEST_CACHE_WRITETHROUGH || c == GUEST_CACHE_DIRECTSYNC;
}

/* Within the limits above: sentences name the option's value. Pure. */
int guest_config_check(const struct guest_config *c, struct err *err);

/*
 * The message: a JSON text (free() it) and the descriptors it refers to (borrowed from c), at most
 * GUEST_CONFIG_MAX_FDS. Members that are as guest_config_init leaves them are left out, but for those
 * that say what guest it is.
 */
#define GUEST_CONFIG_MAX_FDS                                                                       \
	(10 + (3 + GUEST_MAX_DISK_FILES) * GUEST_MAX_DISKS +                                       \
	 GUEST_MAX_NICS * GUEST_MAX_NET_QUEUES + GUEST_MAX_CHANNELS)
char *guest_config_encode(const struct guest_config *c, int *out_fds, size_t *out_n_fds);
/* Takes over every descriptor of fds, also on failure. c need not be initialized. */
int guest_config_decode(const char *text, size_t size, const int *fds, size_t n_fds,
			struct guest_config *out, struct err *err);

/* The same without descriptors: at rest. */
char *guest_config_encode_plain(const struct guest_config *c);
int guest_config_decode_plain(const char *text, size_t size, struct guest_config *out,
			      struct err *err);

/* One device, as it stands in the configuration's list. Descriptors: see proto/fields.h. */
struct json_t *guest_disk_encode(const struct guest_disk *d, struct field_fds *fds);
int guest_disk_decode(const struct json_t *from, struct field_fds *fds, struct guest_disk *out,
		      struct err *err);
void guest_disk_init(void *disk);
void guest_disk_fini(struct guest_disk *d);
/* What lies beneath its image, and what that is made of; used_fd stays its owner's. */
void guest_disk_forget_backing(struct guest_disk *d);
struct json_t *guest_nic_encode(const struct guest_nic *n, struct field_fds *fds);
int guest_nic_decode(const struct json_t *from, struct field_fds *fds, struct guest_nic *out,
		     struct err *err);
void guest_nic_init(void *nic);
void guest_nic_fini(struct guest_nic *n);
int guest_limits_check(const struct guest_limits *l, struct err *err);
int guest_disk_check(const struct guest_disk *d, struct err *err);
int guest_nic_check(const struct guest_nic *n, struct err *err);

extern const struct guest_words guest_accel_words, guest_engine_words, guest_clock_words,
	guest_cache_words, guest_net_words, guest_console_words, guest_on_reboot_words,
	guest_on_crash_words, guest_on_error_words;

#endif
