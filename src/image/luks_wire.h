/*
 * LUKS's structures on disk: version 1 ("LUKS1 On-Disk Format Specification", 1.2.3) and the binary header of
 * version 2 ("LUKS2 On-Disk Format Specification", 1.1.1). Big-endian.
 */
#ifndef IMAGE_LUKS_WIRE_H
#define IMAGE_LUKS_WIRE_H

#include "base/bytes.h"

#define LUKS_MAGIC        "LUKS\xba\xbe"
#define LUKS2_SECOND      "SKUL\xba\xbe" /* of the second copy */
#define LUKS_MAGIC_BYTES  6
#define LUKS_STRIPES      4000u
#define LUKS1_SLOTS       8
#define LUKS1_DIGEST      20
#define LUKS1_SLOT_USED   0x00ac71f3u
#define LUKS1_SLOT_FREE   0x0000deadu
#define LUKS1_SLOTS_START 4096u /* of what is made here, as everybody does */

struct luks1_slot_wire {
	be32 state, iterations;
	u8 salt[32];
	be32 offset; /* of the key material, in sectors */
	be32 stripes;
};

struct luks1_wire {
	u8 magic[LUKS_MAGIC_BYTES];
	be16 version;
	char cipher[32], mode[32], hash[32];
	be32 payload_offset; /* sectors */
	be32 key_bytes;
	u8 digest[LUKS1_DIGEST], digest_salt[32];
	be32 digest_iterations;
	char uuid[40];
	struct luks1_slot_wire slots[LUKS1_SLOTS];
};
static_assert(sizeof(struct luks1_wire) == 592, "LUKS1 header");
static_assert(offsetof(struct luks1_wire, uuid) == 168, "LUKS1 header");

struct luks2_wire {
	u8 magic[LUKS_MAGIC_BYTES];
	be16 version;
	be64 bytes; /* with the JSON behind it: one copy */
	be64 sequence;
	char label[48], checksum_hash[32];
	u8 salt[64];
	char uuid[40], subsystem[48];
	be64 offset; /* of this copy */
	u8 pad[184];
	u8 checksum[64]; /* of all of the copy, with this as zeros */
	u8 pad4096[7 * 512];
};
static_assert(sizeof(struct luks2_wire) == 4096, "LUKS2 header");
static_assert(offsetof(struct luks2_wire, checksum) == 448, "LUKS2 header");

#endif
