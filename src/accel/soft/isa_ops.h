/*
 * The operations of the software CPU: one name for each thing an instruction can mean.
 *
 * X(NAME, "mnemonic") makes the enumerator SX_NAME and the disassembler's word. One operation may
 * have several encodings (forms, isa.h) that differ in where operands are and how wide: PADDB on
 * MMX and on XMM registers is one operation. Encodings that differ in meaning are two operations.
 */
#ifndef ACCEL_SOFT_ISA_OPS_H
#define ACCEL_SOFT_ISA_OPS_H

/* clang-format off */

/* Integer, no privilege. */
#define SX_OPS_INTEGER(X) \
	X(ADD, "add") X(OR, "or") X(ADC, "adc") X(SBB, "sbb") \
	X(AND, "and") X(SUB, "sub") X(XOR, "xor") X(CMP, "cmp") \
	X(TEST, "test") X(MOV, "mov") X(XCHG, "xchg") X(LEA, "lea") \
	/* 64-bit absolute address in imm; register is always rAX */ \
	X(MOVABS_LOAD, "mov") X(MOVABS_STORE, "mov") \
	X(INC, "inc") X(DEC, "dec") X(NOT, "not") X(NEG, "neg") \
	/* one operand: rDX:rAX by r/m (AX by r/m8) */ \
	X(MUL, "mul") X(IMUL1, "imul") X(DIV, "div") X(IDIV, "idiv") \
	X(IMUL, "imul") X(IMUL3, "imul") \
	X(ROL, "rol") X(ROR, "ror") X(RCL, "rcl") X(RCR, "rcr") \
	X(SHL, "shl") X(SHR, "shr") X(SAR, "sar") X(SHLD, "shld") X(SHRD, "shrd") \
	X(BT, "bt") X(BTS, "bts") X(BTR, "btr") X(BTC, "btc") \
	X(BSF, "bsf") X(BSR, "bsr") X(TZCNT, "tzcnt") X(LZCNT, "lzcnt") X(POPCNT, "popcnt") \
	X(BSWAP, "bswap") X(MOVBE, "movbe") X(CRC32, "crc32") X(ADCX, "adcx") X(ADOX, "adox") \
	X(ANDN, "andn") X(BEXTR, "bextr") X(BLSI, "blsi") X(BLSMSK, "blsmsk") X(BLSR, "blsr") \
	X(BZHI, "bzhi") X(MULX, "mulx") X(PDEP, "pdep") X(PEXT, "pext") X(RORX, "rorx") \
	X(SARX, "sarx") X(SHLX, "shlx") X(SHRX, "shrx") \
	/* size is the destination's; the name says the source's width */ \
	X(MOVZX8, "movzx") X(MOVZX16, "movzx") X(MOVSX8, "movsx") X(MOVSX16, "movsx") \
	X(MOVSXD, "movsxd") \
	X(CMOVCC, "cmov") X(SETCC, "set") \
	X(XADD, "xadd") X(CMPXCHG, "cmpxchg") X(CMPXCHG8B, "cmpxchg8b") \
	X(CMPXCHG16B, "cmpxchg16b") \
	/* by size: CBW CWDE CDQE; CWD CDQ CQO */ \
	X(CBW, "cbw") X(CWD, "cwd") \
	X(LAHF, "lahf") X(SAHF, "sahf") X(CLC, "clc") X(STC, "stc") X(CMC, "cmc") \
	X(CLD, "cld") X(STD, "std") \
	X(DAA, "daa") X(DAS, "das") X(AAA, "aaa") X(AAS, "aas") X(AAM, "aam") X(AAD, "aad") \
	X(XLAT, "xlatb") X(SALC, "salc") X(BOUND, "bound") \
	X(PUSH, "push") X(PUSH_IMM, "push") X(PUSH_SEG, "push") X(POP, "pop") X(POP_SEG, "pop") \
	X(PUSHA, "pusha") X(POPA, "popa") X(PUSHF, "pushf") X(POPF, "popf") \
	X(ENTER, "enter") X(LEAVE, "leave") \
	X(JMP, "jmp") X(JMP_RM, "jmp") X(JMP_FAR, "jmp far") X(JMP_FAR_M, "jmp far") \
	X(CALL, "call") X(CALL_RM, "call") X(CALL_FAR, "call far") X(CALL_FAR_M, "call far") \
	X(RET, "ret") X(RETF, "retf") X(JCC, "j") \
	X(JCXZ, "jcxz") X(LOOP, "loop") X(LOOPE, "loope") X(LOOPNE, "loopne") \
	X(MOVS, "movs") X(CMPS, "cmps") X(STOS, "stos") X(LODS, "lods") X(SCAS, "scas") \
	X(INS, "ins") X(OUTS, "outs") \
	X(NOP, "nop") X(PAUSE, "pause") X(PREFETCH, "prefetch") \
	X(INT, "int") X(INT3, "int3") X(INT1, "int1") X(INTO, "into") X(IRET, "iret") X(UD, "ud") \
	X(CPUID, "cpuid") X(RDTSC, "rdtsc") X(RDTSCP, "rdtscp") X(RDPID, "rdpid") \
	X(RDRAND, "rdrand") X(RDSEED, "rdseed") X(SERIALIZE, "serialize") \
	X(LFENCE, "lfence") X(MFENCE, "mfence") X(SFENCE, "sfence") \
	X(CLFLUSH, "clflush") X(CLFLUSHOPT, "clflushopt") X(CLWB, "clwb") X(MOVNTI, "movnti")

/* Segments, tables, control registers, ports, modes. */
#define SX_OPS_SYSTEM(X) \
	X(MOV_RM_SEG, "mov") X(MOV_SEG_RM, "mov") \
	X(LES, "les") X(LDS, "lds") X(LSS, "lss") X(LFS, "lfs") X(LGS, "lgs") \
	X(ARPL, "arpl") X(VERR, "verr") X(VERW, "verw") X(LAR, "lar") X(LSL, "lsl") \
	X(SLDT, "sldt") X(STR, "str") X(LLDT, "lldt") X(LTR, "ltr") \
	X(SGDT, "sgdt") X(SIDT, "sidt") X(LGDT, "lgdt") X(LIDT, "lidt") \
	X(SMSW, "smsw") X(LMSW, "lmsw") X(CLTS, "clts") \
	X(INVLPG, "invlpg") X(INVPCID, "invpcid") X(INVD, "invd") X(WBINVD, "wbinvd") \
	X(WBNOINVD, "wbnoinvd") \
	/* reg: the control or debug register; rm: the general register */ \
	X(MOV_R_CR, "mov") X(MOV_CR_R, "mov") X(MOV_R_DR, "mov") X(MOV_DR_R, "mov") \
	X(RDMSR, "rdmsr") X(WRMSR, "wrmsr") X(RDPMC, "rdpmc") \
	X(HLT, "hlt") X(CLI, "cli") X(STI, "sti") X(CLAC, "clac") X(STAC, "stac") \
	X(IN, "in") X(IN_DX, "in") X(OUT, "out") X(OUT_DX, "out") \
	X(SYSCALL, "syscall") X(SYSRET, "sysret") X(SYSENTER, "sysenter") X(SYSEXIT, "sysexit") \
	X(SWAPGS, "swapgs") X(RDFSBASE, "rdfsbase") X(RDGSBASE, "rdgsbase") \
	X(WRFSBASE, "wrfsbase") X(WRGSBASE, "wrgsbase") \
	X(MONITOR, "monitor") X(MWAIT, "mwait") X(RSM, "rsm") \
	X(VMCALL, "vmcall") X(VMMCALL, "vmmcall") \
	X(XGETBV, "xgetbv") X(XSETBV, "xsetbv") X(RDPKRU, "rdpkru") X(WRPKRU, "wrpkru") \
	X(FXSAVE, "fxsave") X(FXRSTOR, "fxrstor") \
	X(XSAVE, "xsave") X(XSAVEOPT, "xsaveopt") X(XSAVEC, "xsavec") X(XSAVES, "xsaves") \
	X(XRSTOR, "xrstor") X(XRSTORS, "xrstors") \
	X(LDMXCSR, "ldmxcsr") X(STMXCSR, "stmxcsr")

/*
 * x87 (SDM 2, appendix A.5.2). FADD is ST0 op= m32/m64/ST(i); FADD_STI is ST(i) op= ST0; FADDP is that
 * and a pop; FIADD takes a 16- or 32-bit integer. ST(i) is in rm.
 */
#define SX_OPS_X87(X) \
	X(FADD, "fadd") X(FMUL, "fmul") X(FCOM, "fcom") X(FCOMP, "fcomp") \
	X(FSUB, "fsub") X(FSUBR, "fsubr") X(FDIV, "fdiv") X(FDIVR, "fdivr") \
	X(FADD_STI, "fadd") X(FMUL_STI, "fmul") X(FSUB_STI, "fsub") X(FSUBR_STI, "fsubr") \
	X(FDIV_STI, "fdiv") X(FDIVR_STI, "fdivr") \
	X(FADDP, "faddp") X(FMULP, "fmulp") X(FSUBP, "fsubp") X(FSUBRP, "fsubrp") \
	X(FDIVP, "fdivp") X(FDIVRP, "fdivrp") \
	X(FIADD, "fiadd") X(FIMUL, "fimul") X(FICOM, "ficom") X(FICOMP, "ficomp") \
	X(FISUB, "fisub") X(FISUBR, "fisubr") X(FIDIV, "fidiv") X(FIDIVR, "fidivr") \
	X(FLD, "fld") X(FST, "fst") X(FSTP, "fstp") \
	X(FILD, "fild") X(FIST, "fist") X(FISTP, "fistp") X(FISTTP, "fisttp") \
	X(FBLD, "fbld") X(FBSTP, "fbstp") \
	X(FXCH, "fxch") X(FCMOVCC, "fcmov") \
	X(FCOMPP, "fcompp") X(FUCOM, "fucom") X(FUCOMP, "fucomp") X(FUCOMPP, "fucompp") \
	X(FCOMI, "fcomi") X(FCOMIP, "fcomip") X(FUCOMI, "fucomi") X(FUCOMIP, "fucomip") \
	X(FCHS, "fchs") X(FABS, "fabs") X(FTST, "ftst") X(FXAM, "fxam") \
	X(FLD1, "fld1") X(FLDL2T, "fldl2t") X(FLDL2E, "fldl2e") X(FLDPI, "fldpi") \
	X(FLDLG2, "fldlg2") X(FLDLN2, "fldln2") X(FLDZ, "fldz") \
	X(F2XM1, "f2xm1") X(FYL2X, "fyl2x") X(FPTAN, "fptan") X(FPATAN, "fpatan") \
	X(FXTRACT, "fxtract") X(FPREM1, "fprem1") X(FDECSTP, "fdecstp") X(FINCSTP, "fincstp") \
	X(FPREM, "fprem") X(FYL2XP1, "fyl2xp1") X(FSQRT, "fsqrt") X(FSINCOS, "fsincos") \
	X(FRNDINT, "frndint") X(FSCALE, "fscale") X(FSIN, "fsin") X(FCOS, "fcos") \
	X(FNOP, "fnop") X(FFREE, "ffree") X(FFREEP, "ffreep") \
	X(FNCLEX, "fnclex") X(FNINIT, "fninit") X(FWAIT, "fwait") \
	X(FLDCW, "fldcw") X(FNSTCW, "fnstcw") X(FNSTSW, "fnstsw") \
	X(FLDENV, "fldenv") X(FNSTENV, "fnstenv") X(FRSTOR, "frstor") X(FNSAVE, "fnsave")

/* MMX and SSE to SSE4.2, AES, PCLMUL, SHA. */
#define SX_OPS_SIMD_MOVE(X) \
	X(EMMS, "emms") X(MOVD, "movd") X(MOVQ, "movq") X(MOVQ2DQ, "movq2dq") \
	X(MOVDQ2Q, "movdq2q") \
	X(MOVUPS, "movups") X(MOVUPD, "movupd") X(MOVSS, "movss") X(MOVSD, "movsd") \
	X(MOVLPS, "movlps") X(MOVHLPS, "movhlps") X(MOVLPD, "movlpd") \
	X(MOVHPS, "movhps") X(MOVLHPS, "movlhps") X(MOVHPD, "movhpd") \
	X(MOVSLDUP, "movsldup") X(MOVSHDUP, "movshdup") X(MOVDDUP, "movddup") \
	X(MOVAPS, "movaps") X(MOVAPD, "movapd") X(MOVDQA, "movdqa") X(MOVDQU, "movdqu") \
	X(LDDQU, "lddqu") \
	X(MOVNTPS, "movntps") X(MOVNTPD, "movntpd") X(MOVNTDQ, "movntdq") X(MOVNTQ, "movntq") \
	X(MOVNTDQA, "movntdqa") X(MASKMOVQ, "maskmovq") X(MASKMOVDQU, "maskmovdqu") \
	X(MOVMSKPS, "movmskps") X(MOVMSKPD, "movmskpd") X(PMOVMSKB, "pmovmskb") \
	X(PINSRB, "pinsrb") X(PINSRW, "pinsrw") X(PINSRD, "pinsrd") \
	X(PEXTRB, "pextrb") X(PEXTRW, "pextrw") X(PEXTRD, "pextrd") \
	X(EXTRACTPS, "extractps") X(INSERTPS, "insertps")

#define SX_OPS_SIMD_FLOAT(X) \
	X(UNPCKLPS, "unpcklps") X(UNPCKLPD, "unpcklpd") X(UNPCKHPS, "unpckhps") \
	X(UNPCKHPD, "unpckhpd") X(SHUFPS, "shufps") X(SHUFPD, "shufpd") \
	X(CVTPI2PS, "cvtpi2ps") X(CVTPI2PD, "cvtpi2pd") X(CVTSI2SS, "cvtsi2ss") \
	X(CVTSI2SD, "cvtsi2sd") X(CVTTPS2PI, "cvttps2pi") X(CVTTPD2PI, "cvttpd2pi") \
	X(CVTTSS2SI, "cvttss2si") X(CVTTSD2SI, "cvttsd2si") X(CVTPS2PI, "cvtps2pi") \
	X(CVTPD2PI, "cvtpd2pi") X(CVTSS2SI, "cvtss2si") X(CVTSD2SI, "cvtsd2si") \
	X(CVTPS2PD, "cvtps2pd") X(CVTPD2PS, "cvtpd2ps") X(CVTSS2SD, "cvtss2sd") \
	X(CVTSD2SS, "cvtsd2ss") X(CVTDQ2PS, "cvtdq2ps") X(CVTPS2DQ, "cvtps2dq") \
	X(CVTTPS2DQ, "cvttps2dq") X(CVTTPD2DQ, "cvttpd2dq") X(CVTDQ2PD, "cvtdq2pd") \
	X(CVTPD2DQ, "cvtpd2dq") \
	X(UCOMISS, "ucomiss") X(UCOMISD, "ucomisd") X(COMISS, "comiss") X(COMISD, "comisd") \
	X(SQRTPS, "sqrtps") X(SQRTPD, "sqrtpd") X(SQRTSS, "sqrtss") X(SQRTSD, "sqrtsd") \
	X(RSQRTPS, "rsqrtps") X(RSQRTSS, "rsqrtss") X(RCPPS, "rcpps") X(RCPSS, "rcpss") \
	X(ANDPS, "andps") X(ANDPD, "andpd") X(ANDNPS, "andnps") X(ANDNPD, "andnpd") \
	X(ORPS, "orps") X(ORPD, "orpd") X(XORPS, "xorps") X(XORPD, "xorpd") \
	X(ADDPS, "addps") X(ADDPD, "addpd") X(ADDSS, "addss") X(ADDSD, "addsd") \
	X(MULPS, "mulps") X(MULPD, "mulpd") X(MULSS, "mulss") X(MULSD, "mulsd") \
	X(SUBPS, "subps") X(SUBPD, "subpd") X(SUBSS, "subss") X(SUBSD, "subsd") \
	X(MINPS, "minps") X(MINPD, "minpd") X(MINSS, "minss") X(MINSD, "minsd") \
	X(DIVPS, "divps") X(DIVPD, "divpd") X(DIVSS, "divss") X(DIVSD, "divsd") \
	X(MAXPS, "maxps") X(MAXPD, "maxpd") X(MAXSS, "maxss") X(MAXSD, "maxsd") \
	X(CMPPS, "cmpps") X(CMPPD, "cmppd") X(CMPSS, "cmpss") X(CMPSD, "cmpsd") \
	X(HADDPS, "haddps") X(HADDPD, "haddpd") X(HSUBPS, "hsubps") X(HSUBPD, "hsubpd") \
	X(ADDSUBPS, "addsubps") X(ADDSUBPD, "addsubpd") \
	X(ROUNDPS, "roundps") X(ROUNDPD, "roundpd") X(ROUNDSS, "roundss") X(ROUNDSD, "roundsd") \
	X(BLENDPS, "blendps") X(BLENDPD, "blendpd") X(BLENDVPS, "blendvps") \
	X(BLENDVPD, "blendvpd") X(DPPS, "dpps") X(DPPD, "dppd")

#define SX_OPS_SIMD_INTEGER(X) \
	X(PUNPCKLBW, "punpcklbw") X(PUNPCKLWD, "punpcklwd") X(PUNPCKLDQ, "punpckldq") \
	X(PUNPCKLQDQ, "punpcklqdq") X(PUNPCKHBW, "punpckhbw") X(PUNPCKHWD, "punpckhwd") \
	X(PUNPCKHDQ, "punpckhdq") X(PUNPCKHQDQ, "punpckhqdq") \
	X(PACKSSWB, "packsswb") X(PACKUSWB, "packuswb") X(PACKSSDW, "packssdw") \
	X(PACKUSDW, "packusdw") \
	X(PCMPGTB, "pcmpgtb") X(PCMPGTW, "pcmpgtw") X(PCMPGTD, "pcmpgtd") X(PCMPGTQ, "pcmpgtq") \
	X(PCMPEQB, "pcmpeqb") X(PCMPEQW, "pcmpeqw") X(PCMPEQD, "pcmpeqd") X(PCMPEQQ, "pcmpeqq") \
	X(PSHUFW, "pshufw") X(PSHUFD, "pshufd") X(PSHUFHW, "pshufhw") X(PSHUFLW, "pshuflw") \
	X(PSHUFB, "pshufb") X(PALIGNR, "palignr") X(PBLENDVB, "pblendvb") X(PBLENDW, "pblendw") \
	X(PSRLW, "psrlw") X(PSRLD, "psrld") X(PSRLQ, "psrlq") X(PSRLDQ, "psrldq") \
	X(PSRAW, "psraw") X(PSRAD, "psrad") \
	X(PSLLW, "psllw") X(PSLLD, "pslld") X(PSLLQ, "psllq") X(PSLLDQ, "pslldq") \
	X(PADDB, "paddb") X(PADDW, "paddw") X(PADDD, "paddd") X(PADDQ, "paddq") \
	X(PADDSB, "paddsb") X(PADDSW, "paddsw") X(PADDUSB, "paddusb") X(PADDUSW, "paddusw") \
	X(PSUBB, "psubb") X(PSUBW, "psubw") X(PSUBD, "psubd") X(PSUBQ, "psubq") \
	X(PSUBSB, "psubsb") X(PSUBSW, "psubsw") X(PSUBUSB, "psubusb") X(PSUBUSW, "psubusw") \
	X(PMULLW, "pmullw") X(PMULLD, "pmulld") X(PMULHW, "pmulhw") X(PMULHUW, "pmulhuw") \
	X(PMULHRSW, "pmulhrsw") X(PMULUDQ, "pmuludq") X(PMULDQ, "pmuldq") \
	X(PMADDWD, "pmaddwd") X(PMADDUBSW, "pmaddubsw") X(PSADBW, "psadbw") \
	X(MPSADBW, "mpsadbw") X(PAVGB, "pavgb") X(PAVGW, "pavgw") \
	X(PMINUB, "pminub") X(PMINUW, "pminuw") X(PMINUD, "pminud") \
	X(PMINSB, "pminsb") X(PMINSW, "pminsw") X(PMINSD, "pminsd") \
	X(PMAXUB, "pmaxub") X(PMAXUW, "pmaxuw") X(PMAXUD, "pmaxud") \
	X(PMAXSB, "pmaxsb") X(PMAXSW, "pmaxsw") X(PMAXSD, "pmaxsd") \
	X(PAND, "pand") X(PANDN, "pandn") X(POR, "por") X(PXOR, "pxor") X(PTEST, "ptest") \
	X(PABSB, "pabsb") X(PABSW, "pabsw") X(PABSD, "pabsd") \
	X(PSIGNB, "psignb") X(PSIGNW, "psignw") X(PSIGND, "psignd") \
	X(PHADDW, "phaddw") X(PHADDD, "phaddd") X(PHADDSW, "phaddsw") \
	X(PHSUBW, "phsubw") X(PHSUBD, "phsubd") X(PHSUBSW, "phsubsw") \
	X(PHMINPOSUW, "phminposuw") \
	X(PMOVSXBW, "pmovsxbw") X(PMOVSXBD, "pmovsxbd") X(PMOVSXBQ, "pmovsxbq") \
	X(PMOVSXWD, "pmovsxwd") X(PMOVSXWQ, "pmovsxwq") X(PMOVSXDQ, "pmovsxdq") \
	X(PMOVZXBW, "pmovzxbw") X(PMOVZXBD, "pmovzxbd") X(PMOVZXBQ, "pmovzxbq") \
	X(PMOVZXWD, "pmovzxwd") X(PMOVZXWQ, "pmovzxwq") X(PMOVZXDQ, "pmovzxdq") \
	X(PCMPESTRM, "pcmpestrm") X(PCMPESTRI, "pcmpestri") X(PCMPISTRM, "pcmpistrm") \
	X(PCMPISTRI, "pcmpistri") \
	X(AESIMC, "aesimc") X(AESENC, "aesenc") X(AESENCLAST, "aesenclast") \
	X(AESDEC, "aesdec") X(AESDECLAST, "aesdeclast") X(AESKEYGENASSIST, "aeskeygenassist") \
	X(PCLMULQDQ, "pclmulqdq") \
	X(SHA1RNDS4, "sha1rnds4") X(SHA1NEXTE, "sha1nexte") X(SHA1MSG1, "sha1msg1") \
	X(SHA1MSG2, "sha1msg2") X(SHA256RNDS2, "sha256rnds2") X(SHA256MSG1, "sha256msg1") \
	X(SHA256MSG2, "sha256msg2")

/*
 * With a VEX prefix alone. The others that have one are the same operation as without it, but for a third
 * operand and the upper half of the register; the disassembler puts the v in front.
 */
#define SX_OPS_SIMD_VEX(X) \
	X(ZEROUPPER, "zeroupper") X(ZEROALL, "zeroall") \
	X(PERMILPS, "permilps") X(PERMILPD, "permilpd") X(PERMPS, "permps") X(PERMPD, "permpd") \
	X(PERMD, "permd") X(PERMQ, "permq") X(PERM2F128, "perm2f128") X(PERM2I128, "perm2i128") \
	X(TESTPS, "testps") X(TESTPD, "testpd") \
	X(BROADCASTSS, "broadcastss") X(BROADCASTSD, "broadcastsd") \
	X(BROADCASTF128, "broadcastf128") X(BROADCASTI128, "broadcasti128") \
	X(PBROADCASTB, "pbroadcastb") X(PBROADCASTW, "pbroadcastw") X(PBROADCASTD, "pbroadcastd") \
	X(PBROADCASTQ, "pbroadcastq") \
	X(INSERTF128, "insertf128") X(EXTRACTF128, "extractf128") \
	X(INSERTI128, "inserti128") X(EXTRACTI128, "extracti128") \
	X(MASKMOVPS, "maskmovps") X(MASKMOVPD, "maskmovpd") X(PMASKMOVD, "pmaskmovd") \
	X(PMASKMOVQ, "pmaskmovq") \
	X(GATHERDPS, "gatherdps") X(GATHERDPD, "gatherdpd") X(GATHERQPS, "gatherqps") \
	X(GATHERQPD, "gatherqpd") X(PGATHERDD, "pgatherdd") X(PGATHERDQ, "pgatherdq") \
	X(PGATHERQD, "pgatherqd") X(PGATHERQQ, "pgatherqq") \
	X(PBLENDD, "pblendd") X(PSRLVD, "psrlvd") X(PSRLVQ, "psrlvq") X(PSRAVD, "psravd") \
	X(PSLLVD, "psllvd") X(PSLLVQ, "psllvq") \
	X(CVTPH2PS, "cvtph2ps") X(CVTPS2PH, "cvtps2ph") \
	SX_OPS_FMA(X)

#define SX_OPS_FMA1(X, NAME, name, o) \
	X(NAME##o##PS, name #o "ps") X(NAME##o##PD, name #o "pd") \
	X(NAME##o##SS, name #o "ss") X(NAME##o##SD, name #o "sd")
#define SX_OPS_FMA2(X, o) \
	X(FMADDSUB##o##PS, "fmaddsub" #o "ps") X(FMADDSUB##o##PD, "fmaddsub" #o "pd") \
	X(FMSUBADD##o##PS, "fmsubadd" #o "ps") X(FMSUBADD##o##PD, "fmsubadd" #o "pd") \
	SX_OPS_FMA1(X, FMADD, "fmadd", o) SX_OPS_FMA1(X, FMSUB, "fmsub", o) \
	SX_OPS_FMA1(X, FNMADD, "fnmadd", o) SX_OPS_FMA1(X, FNMSUB, "fnmsub", o)
#define SX_OPS_FMA(X) SX_OPS_FMA2(X, 132) SX_OPS_FMA2(X, 213) SX_OPS_FMA2(X, 231)

#define SX_OPS(X) \
	SX_OPS_INTEGER(X) SX_OPS_SYSTEM(X) SX_OPS_X87(X) \
	SX_OPS_SIMD_MOVE(X) SX_OPS_SIMD_FLOAT(X) SX_OPS_SIMD_INTEGER(X) SX_OPS_SIMD_VEX(X)

/* clang-format on */

enum sx_op {
	SX_OP_NONE,
#define X(name, text) SX_##name,
	SX_OPS(X)
#undef X
		SX_OP_COUNT,
};

#endif
