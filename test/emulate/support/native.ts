import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where native.c maps the code, two writable pages with nothing behind them, and a page that can only be read. */
export const CODE = 0x1000_0000 + 0x800;
export const DATA = 0x1010_0000;
export const DATA_SIZE = 0x2000;
export const READ_ONLY = 0x1020_0000;

/** One instruction and the state in which it runs. Registers are indexed by the numbers that instructions use. */
export interface InstructionCase {
  readonly code: Uint8Array;
  readonly gpr: readonly bigint[];
  readonly rflags: number;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
  /** Bytes put at `memoryAddress` before; the same range is given back after. */
  readonly memoryAddress: number;
  readonly memory: Uint8Array;
  /** An XSAVE area in standard format, or empty: whatever state the processor is in. */
  readonly fpu: Uint8Array;
  /** In 32-bit code. */
  readonly compat: boolean;
}

export interface NativeResult {
  /** 1 (#DB) where the instruction was completed: it is single-stepped. */
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: bigint;
  readonly gpr: readonly bigint[];
  /** How far RIP moved. */
  readonly ripAdvance: number;
  readonly rflags: number;
  readonly memory: Uint8Array;
  /** Standard format. */
  readonly fpu: Uint8Array;
}

/** What this processor has. */
export interface NativeAbout {
  readonly fpuLength: number;
  /** Components that are tested: without AMX. */
  readonly xcr0: number;
  /** What XGETBV gives. */
  readonly wholeXcr0: number;
  readonly leaf1Ecx: number;
  readonly leaf7Ebx: number;
  readonly leaf7Ecx: number;
  readonly extended1Ecx: number;
  readonly xsave1Eax: number;
  readonly isIntel: boolean;
  readonly mxcsrMask: number;
  readonly components: readonly { readonly size: number; readonly offset: number; readonly flags: number }[];
}

export interface NativeRun {
  readonly about: NativeAbout;
  readonly results: readonly NativeResult[];
}

const REQUEST_SIZE = 192;
const RESPONSE_SIZE = 176;
const ABOUT_HEAD = 40;
const ABOUT_SIZE = ABOUT_HEAD + 32 * 16;
const GENU = 0x756e_6547;
const FLAGS = '-O1 -Wall -Werror -Wno-unused-parameter -ffreestanding -nostdlib -static -fno-stack-protector'.split(
  ' ',
);

let program: string | undefined;

/** Compiles native.c, once for each test file. */
function compile(): string {
  if (program !== undefined) return program;
  const directory = mkdtempSync(join(tmpdir(), 'mvm-native-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  program = join(directory, 'native');
  const source = join(import.meta.dirname, 'native.c');
  execFileSync('gcc', [...FLAGS, '-fcf-protection=none', '-mgeneral-regs-only', '-o', program, source]);
  return program;
}

/** Runs the cases on this computer's processor, and gives their results in the same order. */
export function runNatively(cases: readonly InstructionCase[]): NativeRun {
  const input = Buffer.concat(cases.map(encode));
  return parse(execFileSync(compile(), { input, maxBuffer: 2 ** 30 }), cases.length);
}

/** What this processor has. */
export function aboutProcessor(): NativeAbout {
  return runNatively([]).about;
}

function encode(one: InstructionCase): Buffer {
  const head = Buffer.alloc(REQUEST_SIZE);
  head.writeUInt32LE(one.compat ? 1 : 0, 0);
  head.writeUInt32LE(one.code.length, 4);
  head.set(one.code, 8);
  for (const [i, value] of one.gpr.entries()) head.writeBigUInt64LE(value, 24 + i * 8);
  head.writeBigUInt64LE(BigInt(one.rflags), 152);
  head.writeBigUInt64LE(one.fsBase, 160);
  head.writeBigUInt64LE(one.gsBase, 168);
  head.writeBigUInt64LE(BigInt(one.memoryAddress), 176);
  head.writeUInt32LE(one.memory.length, 184);
  head.writeUInt32LE(one.fpu.length, 188);
  return Buffer.concat([head, one.memory, one.fpu]);
}

function parse(output: Buffer, count: number): NativeRun {
  const about: NativeAbout = {
    fpuLength: output.readUInt32LE(0),
    xcr0: output.readUInt32LE(4),
    leaf1Ecx: output.readUInt32LE(8),
    leaf7Ebx: output.readUInt32LE(12),
    leaf7Ecx: output.readUInt32LE(16),
    extended1Ecx: output.readUInt32LE(20),
    wholeXcr0: output.readUInt32LE(24),
    xsave1Eax: output.readUInt32LE(28),
    isIntel: output.readUInt32LE(32) === GENU,
    mxcsrMask: output.readUInt32LE(36),
    components: Array.from({ length: 32 }, (_, i) => ({
      size: output.readUInt32LE(ABOUT_HEAD + i * 16),
      offset: output.readUInt32LE(ABOUT_HEAD + 4 + i * 16),
      flags: output.readUInt32LE(ABOUT_HEAD + 8 + i * 16),
    })),
  };
  const results: NativeResult[] = [];
  let at = ABOUT_SIZE;
  for (let i = 0; i < count; i++) {
    const memoryStart = at + RESPONSE_SIZE;
    const fpuStart = memoryStart + output.readUInt32LE(at + 168);
    const end = fpuStart + output.readUInt32LE(at + 172);
    results.push({
      vector: output.readUInt32LE(at),
      errorCode: Number(output.readBigUInt64LE(at + 8)),
      cr2: output.readBigUInt64LE(at + 16),
      gpr: Array.from({ length: 16 }, (_, number) => output.readBigUInt64LE(at + 24 + number * 8)),
      ripAdvance: Number(output.readBigInt64LE(at + 152)),
      rflags: Number(output.readBigUInt64LE(at + 160)),
      memory: output.subarray(memoryStart, fpuStart),
      fpu: output.subarray(fpuStart, end),
    });
    at = end;
  }
  return { about, results };
}
