/*
 * The bytes of a saved state: headers of sections and subsections. See state.h.
 */
#ifndef STATE_STATE_WIRE_H
#define STATE_STATE_WIRE_H

#include "base/bytes.h"

#define STATE_MAGIC_SECTION    0x43455350u /* "PSEC" */
#define STATE_MAGIC_SUBSECTION 0x42555350u /* "PSUB" */
#define STATE_MAGIC_END        0x444e4550u /* "PEND" */

struct state_section_wire {
	le32 magic;
	le16 version;
	le16 name_size;
	le32 instance;
	le64 body_size;
	le32 crc; /* of name, then body, then the header's fields before this one */
} packed;
static_assert(sizeof(struct state_section_wire) == 24, "section header");

struct state_subsection_wire {
	le32 magic;
	le16 version;
	le16 name_size;
	le64 body_size;
} packed;
static_assert(sizeof(struct state_subsection_wire) == 16, "subsection header");

#endif
