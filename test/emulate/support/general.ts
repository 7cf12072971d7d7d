import { type Encoding, encode, instructionCase, memoryOperand, randomState } from './encode.ts';
import { CODE, DATA, DATA_SIZE, type InstructionCase, READ_ONLY } from './native.ts';
import { Random } from './random.ts';

export interface GeneralOptions {
  readonly seed: number;
  /** How many cases; default 300. */
  readonly count?: number;
  /** Bytes of the memory operand. */
  readonly memorySize: number;
  /** Make most addresses a multiple of this. */
  readonly align?: number;
  /** Which forms of ModRM.rm; default both. */
  readonly forms?: 'both' | 'register' | 'memory';
  /** Fixed ModRM.reg: an opcode extension. */
  readonly extension?: number;
  readonly mode?: 32 | 64;
  /** Changes the case's registers or memory before it is encoded, to make what matters likely. */
  readonly adjust?: (random: Random, state: { gpr: bigint[]; memory: Uint8Array; rflags: number }) => void;
  readonly immediate?: (random: Random) => readonly number[];
}

/** Where operands lie: mostly inside the writable pages, also across their border, at their end, and where they fault. */
function pickAddress(random: Random, size: number): number {
  switch (random.below(12)) {
    case 0:
      return DATA + 0x1000 - 1 - random.below(size);
    case 1:
      return DATA + DATA_SIZE - size;
    case 2:
      // The first byte, or only the last, is in the page that is not there.
      return DATA + DATA_SIZE - random.below(size);
    case 3:
      return READ_ONLY + random.below(0x800);
    default:
      return DATA + random.below(DATA_SIZE - size);
  }
}

/** Cases with random operands for an instruction with a general ModRM operand. */
export function generalCases(encoding: Encoding, options: GeneralOptions): InstructionCase[] {
  const random = new Random(options.seed);
  const mode = options.mode ?? 64;
  const registers = mode === 64 ? 16 : 8;
  return Array.from({ length: options.count ?? 300 }, () => {
    const state = { ...randomState(random, mode), memory: random.bytes(options.memorySize) };
    const isMemory = options.forms === 'memory' || (options.forms !== 'register' && random.below(2) === 0);
    const full = options.immediate ? { ...encoding, immediate: options.immediate(random) } : encoding;
    const reg = options.extension ?? random.below(registers);
    const vvvv = random.below(registers);
    if (!isMemory) {
      options.adjust?.(random, state);
      const code = encode(full, { reg, vvvv, rm: { register: random.below(registers) } }, CODE, mode);
      return instructionCase({ ...state, memory: new Uint8Array(0), code, compat: mode === 32 });
    }
    let target = pickAddress(random, options.memorySize);
    if (options.align && random.below(6) > 0) target -= target % options.align;
    options.adjust?.(random, state);
    const rm = memoryOperand(random, target, state, mode);
    const code = encode(full, { reg, vvvv, rm }, CODE, mode);
    const writable = target + options.memorySize <= DATA + DATA_SIZE;
    const inside = target >= READ_ONLY ? new Uint8Array(0) : state.memory;
    return instructionCase({
      ...state,
      code,
      compat: mode === 32,
      memoryAddress: writable ? target : DATA,
      memory: writable ? inside : new Uint8Array(0),
    });
  });
}
