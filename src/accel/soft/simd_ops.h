/*
 * The SIMD instructions that are carried out by a host stub of the same name (simd_stubs.S).
 *
 * One list for the assembler, which makes the stubs, and for C, which declares and looks them up.
 * X(mnemonic, OP): SX_OP is the operation (isa_ops.h). How operands get into and out of a stub's
 * registers: simd_stubs.S.
 */
#ifndef ACCEL_SOFT_SIMD_OPS_H
#define ACCEL_SOFT_SIMD_OPS_H

/* Distance of the stubs of neighbouring immediates. */
#define SX_SIMD_SLOT 8
#define SX_MMX_SLOT  32

/* clang-format off */

/* Integer instructions that exist on MMX and on XMM registers. */
#define SX_SIMD_MMX_AND_XMM(X) \
	X(punpcklbw, PUNPCKLBW) X(punpcklwd, PUNPCKLWD) X(punpckldq, PUNPCKLDQ) \
	X(packsswb, PACKSSWB) X(pcmpgtb, PCMPGTB) X(pcmpgtw, PCMPGTW) X(pcmpgtd, PCMPGTD) \
	X(packuswb, PACKUSWB) X(punpckhbw, PUNPCKHBW) X(punpckhwd, PUNPCKHWD) \
	X(punpckhdq, PUNPCKHDQ) X(packssdw, PACKSSDW) X(pcmpeqb, PCMPEQB) X(pcmpeqw, PCMPEQW) \
	X(pcmpeqd, PCMPEQD) X(psrlw, PSRLW) X(psrld, PSRLD) X(psrlq, PSRLQ) X(psraw, PSRAW) \
	X(psrad, PSRAD) X(psllw, PSLLW) X(pslld, PSLLD) X(psllq, PSLLQ) X(paddb, PADDB) \
	X(paddw, PADDW) X(paddd, PADDD) X(paddq, PADDQ) X(psubb, PSUBB) X(psubw, PSUBW) \
	X(psubd, PSUBD) X(psubq, PSUBQ) X(paddusb, PADDUSB) X(paddusw, PADDUSW) \
	X(paddsb, PADDSB) X(paddsw, PADDSW) X(psubusb, PSUBUSB) X(psubusw, PSUBUSW) \
	X(psubsb, PSUBSB) X(psubsw, PSUBSW) X(pmullw, PMULLW) X(pmulhw, PMULHW) \
	X(pmulhuw, PMULHUW) X(pmuludq, PMULUDQ) X(pmaddwd, PMADDWD) X(psadbw, PSADBW) \
	X(pavgb, PAVGB) X(pavgw, PAVGW) X(pminub, PMINUB) X(pmaxub, PMAXUB) X(pminsw, PMINSW) \
	X(pmaxsw, PMAXSW) X(pand, PAND) X(pandn, PANDN) X(por, POR) X(pxor, PXOR) \
	X(pshufb, PSHUFB) X(phaddw, PHADDW) X(phaddd, PHADDD) X(phaddsw, PHADDSW) \
	X(pmaddubsw, PMADDUBSW) X(phsubw, PHSUBW) X(phsubd, PHSUBD) X(phsubsw, PHSUBSW) \
	X(psignb, PSIGNB) X(psignw, PSIGNW) X(psignd, PSIGND) X(pmulhrsw, PMULHRSW) \
	X(pabsb, PABSB) X(pabsw, PABSW) X(pabsd, PABSD)

/* Integer and bitwise instructions on XMM registers alone. */
#define SX_SIMD_XMM(X) \
	X(punpcklqdq, PUNPCKLQDQ) X(punpckhqdq, PUNPCKHQDQ) X(unpcklps, UNPCKLPS) \
	X(unpcklpd, UNPCKLPD) X(unpckhps, UNPCKHPS) X(unpckhpd, UNPCKHPD) X(andps, ANDPS) \
	X(andpd, ANDPD) X(andnps, ANDNPS) X(andnpd, ANDNPD) X(orps, ORPS) X(orpd, ORPD) \
	X(xorps, XORPS) X(xorpd, XORPD) X(movddup, MOVDDUP) X(movsldup, MOVSLDUP) \
	X(movshdup, MOVSHDUP) X(rcpps, RCPPS) X(rcpss, RCPSS) X(rsqrtps, RSQRTPS) \
	X(rsqrtss, RSQRTSS) X(pmovsxbw, PMOVSXBW) X(pmovsxbd, PMOVSXBD) X(pmovsxbq, PMOVSXBQ) \
	X(pmovsxwd, PMOVSXWD) X(pmovsxwq, PMOVSXWQ) X(pmovsxdq, PMOVSXDQ) X(pmovzxbw, PMOVZXBW) \
	X(pmovzxbd, PMOVZXBD) X(pmovzxbq, PMOVZXBQ) X(pmovzxwd, PMOVZXWD) X(pmovzxwq, PMOVZXWQ) \
	X(pmovzxdq, PMOVZXDQ) X(pmuldq, PMULDQ) X(pcmpeqq, PCMPEQQ) X(pcmpgtq, PCMPGTQ) \
	X(packusdw, PACKUSDW) X(pmulld, PMULLD) X(phminposuw, PHMINPOSUW) X(pminsb, PMINSB) \
	X(pminsd, PMINSD) X(pminuw, PMINUW) X(pminud, PMINUD) X(pmaxsb, PMAXSB) \
	X(pmaxsd, PMAXSD) X(pmaxuw, PMAXUW) X(pmaxud, PMAXUD) X(aesimc, AESIMC) \
	X(aesenc, AESENC) X(aesenclast, AESENCLAST) X(aesdec, AESDEC) X(aesdeclast, AESDECLAST) \
	X(sha1nexte, SHA1NEXTE) X(sha1msg1, SHA1MSG1) X(sha1msg2, SHA1MSG2) \
	X(sha256msg1, SHA256MSG1) X(sha256msg2, SHA256MSG2)

/* The same with XMM0 as an implied third operand. */
#define SX_SIMD_XMM0(X) \
	X(pblendvb, PBLENDVB) X(blendvps, BLENDVPS) X(blendvpd, BLENDVPD) \
	X(sha256rnds2, SHA256RNDS2)

/* With an immediate: 256 stubs each. */
#define SX_SIMD_XMM_IMM(X) \
	X(pshufd, PSHUFD) X(pshufhw, PSHUFHW) X(pshuflw, PSHUFLW) X(shufps, SHUFPS) \
	X(shufpd, SHUFPD) X(blendps, BLENDPS) X(blendpd, BLENDPD) X(pblendw, PBLENDW) \
	X(palignr, PALIGNR) X(insertps, INSERTPS) X(mpsadbw, MPSADBW) X(pclmulqdq, PCLMULQDQ) \
	X(aeskeygenassist, AESKEYGENASSIST) X(sha1rnds4, SHA1RNDS4)
/* And no source operand. */
#define SX_SIMD_XMM_IMM_ALONE(X) X(psrldq, PSRLDQ) X(pslldq, PSLLDQ)
#define SX_SIMD_MMX_IMM(X) \
	X(pshufw, PSHUFW) X(palignr, PALIGNR)

/* Computing in floating point, under MXCSR. */
#define SX_SIMD_FP(X) \
	X(addps, ADDPS) X(addpd, ADDPD) X(addss, ADDSS) X(addsd, ADDSD) X(mulps, MULPS) \
	X(mulpd, MULPD) X(mulss, MULSS) X(mulsd, MULSD) X(subps, SUBPS) X(subpd, SUBPD) \
	X(subss, SUBSS) X(subsd, SUBSD) X(divps, DIVPS) X(divpd, DIVPD) X(divss, DIVSS) \
	X(divsd, DIVSD) X(minps, MINPS) X(minpd, MINPD) X(minss, MINSS) X(minsd, MINSD) \
	X(maxps, MAXPS) X(maxpd, MAXPD) X(maxss, MAXSS) X(maxsd, MAXSD) X(sqrtps, SQRTPS) \
	X(sqrtpd, SQRTPD) X(sqrtss, SQRTSS) X(sqrtsd, SQRTSD) X(addsubps, ADDSUBPS) \
	X(addsubpd, ADDSUBPD) X(haddps, HADDPS) X(haddpd, HADDPD) X(hsubps, HSUBPS) \
	X(hsubpd, HSUBPD) X(cvtps2pd, CVTPS2PD) X(cvtpd2ps, CVTPD2PS) X(cvtss2sd, CVTSS2SD) \
	X(cvtsd2ss, CVTSD2SS) X(cvtdq2ps, CVTDQ2PS) X(cvtps2dq, CVTPS2DQ) \
	X(cvttps2dq, CVTTPS2DQ) X(cvtdq2pd, CVTDQ2PD) X(cvtpd2dq, CVTPD2DQ) \
	X(cvttpd2dq, CVTTPD2DQ)
#define SX_SIMD_FP_IMM(X) \
	X(cmpps, CMPPS) X(cmppd, CMPPD) X(cmpss, CMPSS) X(cmpsd, CMPSD) X(roundps, ROUNDPS) \
	X(roundpd, ROUNDPD) X(roundss, ROUNDSS) X(roundsd, ROUNDSD) X(dpps, DPPS) X(dppd, DPPD)

/* Between an integer in a general register and an XMM register: a form per width. */
#define SX_SIMD_FROM_GPR(X) \
	X(cvtsi2ss, CVTSI2SS) X(cvtsi2sd, CVTSI2SD)
#define SX_SIMD_TO_GPR(X) \
	X(cvtss2si, CVTSS2SI) X(cvtsd2si, CVTSD2SI) X(cvttss2si, CVTTSS2SI) \
	X(cvttsd2si, CVTTSD2SI)

/* Between MMX and XMM registers. */
#define SX_SIMD_FROM_MMX(X) \
	X(cvtpi2ps, CVTPI2PS) X(cvtpi2pd, CVTPI2PD)
#define SX_SIMD_TO_MMX(X) \
	X(cvtps2pi, CVTPS2PI) X(cvtpd2pi, CVTPD2PI) X(cvttps2pi, CVTTPS2PI) \
	X(cvttpd2pi, CVTTPD2PI)

/* Setting RFLAGS. */
#define SX_SIMD_TO_FLAGS_FP(X) \
	X(comiss, COMISS) X(comisd, COMISD) X(ucomiss, UCOMISS) X(ucomisd, UCOMISD)
#define SX_SIMD_TO_FLAGS(X) X(ptest, PTEST)

/* String comparisons: XMM operands, lengths in EAX and EDX, an immediate; ECX or XMM0, and flags. */
#define SX_SIMD_STRING(X) \
	X(pcmpestri, PCMPESTRI) X(pcmpestrm, PCMPESTRM) X(pcmpistri, PCMPISTRI) \
	X(pcmpistrm, PCMPISTRM)

/* Of those above, what compiled code is full of: with handlers of their own (simd_direct.c). */
#define SX_SIMD_DIRECT(X) \
	X(pcmpeqb, PCMPEQB) X(pcmpeqw, PCMPEQW) X(pcmpeqd, PCMPEQD) X(pcmpgtb, PCMPGTB) \
	X(pcmpgtd, PCMPGTD) X(pminub, PMINUB) X(pmaxub, PMAXUB) \
	X(pand, PAND) X(pandn, PANDN) X(por, POR) X(pxor, PXOR) \
	X(andps, ANDPS) X(andpd, ANDPD) X(andnpd, ANDNPD) X(orps, ORPS) X(orpd, ORPD) \
	X(xorps, XORPS) X(xorpd, XORPD) \
	X(paddb, PADDB) X(paddw, PADDW) X(paddd, PADDD) X(paddq, PADDQ) \
	X(psubb, PSUBB) X(psubw, PSUBW) X(psubd, PSUBD) X(psubq, PSUBQ) \
	X(pmullw, PMULLW) X(pmuludq, PMULUDQ) X(pmaddwd, PMADDWD) X(pshufb, PSHUFB) \
	X(punpcklbw, PUNPCKLBW) X(punpcklwd, PUNPCKLWD) X(punpckldq, PUNPCKLDQ) \
	X(punpcklqdq, PUNPCKLQDQ) X(punpckhbw, PUNPCKHBW) X(punpckhwd, PUNPCKHWD) \
	X(punpckhdq, PUNPCKHDQ) X(punpckhqdq, PUNPCKHQDQ) X(packuswb, PACKUSWB) \
	X(unpcklps, UNPCKLPS) X(unpcklpd, UNPCKLPD) \
	X(aesenc, AESENC) X(aesenclast, AESENCLAST) X(aesdec, AESDEC) X(aesdeclast, AESDECLAST)
#define SX_SIMD_DIRECT_PACKED(X) \
	X(addps, ADDPS) X(addpd, ADDPD) X(subps, SUBPS) X(subpd, SUBPD) \
	X(mulps, MULPS) X(mulpd, MULPD) X(divps, DIVPS) X(divpd, DIVPD)
#define SX_SIMD_DIRECT_SINGLE(X) \
	X(addss, ADDSS) X(subss, SUBSS) X(mulss, MULSS) X(divss, DIVSS) \
	X(minss, MINSS) X(maxss, MAXSS) X(sqrtss, SQRTSS) X(cvtss2sd, CVTSS2SD)
#define SX_SIMD_DIRECT_DOUBLE(X) \
	X(addsd, ADDSD) X(subsd, SUBSD) X(mulsd, MULSD) X(divsd, DIVSD) \
	X(minsd, MINSD) X(maxsd, MAXSD) X(sqrtsd, SQRTSD) X(cvtsd2ss, CVTSD2SS)

/* clang-format on */

#endif
