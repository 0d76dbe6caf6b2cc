/*
 * Q35 host bridge, device 0 function 0: its configuration registers (Intel 3 Series Express
 * Chipset Family datasheet, 316966, section 5.1).
 */
#ifndef PCI_Q35_REGS_H
#define PCI_Q35_REGS_H

#include "base/base.h"

#define Q35_VENDOR 0x8086
#define Q35_DEVICE 0x29c0

#define Q35_PCIEXBAR           0x60 /* 8 bytes: where configuration space is mapped */
#define Q35_PCIEXBAR_ENABLE    BIT(0)
#define Q35_PCIEXBAR_LENGTH    0x6ul /* 0: 256 buses, 1: 128, 2: 64, 3: reserved */
#define Q35_PCIEXBAR_BASE      0xff0000000ul
#define Q35_PCIEXBAR_BASE_128M BIT(27)
#define Q35_PCIEXBAR_BASE_64M  BIT(26)

#define Q35_PAM0          0x90 /* high nibble: 0xf0000; then two segments each */
#define Q35_PAM_REGISTERS 7
#define Q35_PAM_READ      BIT32(0)
#define Q35_PAM_WRITE     BIT32(1)

#define Q35_SMRAM       0x9d
#define Q35_SMRAM_OPEN  BIT32(6)
#define Q35_SMRAM_CLOSE BIT32(5)
#define Q35_SMRAM_LOCK  BIT32(4)
#define Q35_SMRAM_ON    BIT32(3)
#define Q35_SMRAM_BASE  0x02u /* C_BASE_SEG: 0xa0000, fixed */

#define Q35_ESMRAMC           0x9e
#define Q35_ESMRAMC_FIXED     0x38u
#define Q35_ESMRAMC_TSEG_SIZE 0x06u /* 0: 1 MiB, 1: 2 MiB, 2: 8 MiB */
#define Q35_ESMRAMC_TSEG_ON   BIT32(0)

#define Q35_TOM    0xa0 /* 2 bytes, 64 MiB units: all memory */
#define Q35_TOUUD  0xa2 /* 2 bytes, 1 MiB units: end of memory above 4 GiB */
#define Q35_TSEGMB 0xac /* 4 bytes: base of TSEG, bits 31:20 */
#define Q35_TOLUD  0xb0 /* 2 bytes, bits 15:4 in 1 MiB units: end of memory below 4 GiB */
#define Q35_SKPD   0xdc /* 4 bytes of scratch */

#endif
