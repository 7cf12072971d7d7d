import type { Instruction } from './instruction.ts';
import { OpcodeMap, Prefix } from './instruction.ts';
import type { CpuContext } from './types.ts';

/** What an operation changed beyond RIP, general registers, flags and memory: bits. */
export const Effect = {
  None: 0,
  /** The image of `extendedState()`. */
  ExtendedState: 1 << 0,
  /** Cached translations must go. */
  FlushTlb: 1 << 1,
} as const;

/**
 * Does one instruction: reads and writes the registers and memory of `cpu`, or throws `Fault`, `Trap` or `Unsupported`; it throws
 * before it has changed anything.
 * @returns `Effect` bits
 */
export type Execute = (insn: Instruction, cpu: CpuContext) => number;

export interface OperationOptions {
  /** Bytes of the immediate operand; default 0. */
  readonly immediate?: 0 | 1;
  /** No ModRM byte follows the opcode. */
  readonly noModRm?: boolean;
  /** The operation looks at the LOCK prefix itself; else LOCK is #UD. */
  readonly lockable?: boolean;
}

export interface Operation {
  readonly execute: Execute;
  readonly immediate: number;
  readonly modRm: boolean;
  readonly lockable: boolean;
}

const ALL_PREFIXES = [Prefix.None, Prefix.OperandSize, Prefix.F3, Prefix.F2] as const;

/** The instructions that mvm can do: opcode map, mandatory prefix and opcode → operation. */
export class OperationTable {
  readonly #operations = new Map<number, Operation>();

  /**
   * @param map one of `OpcodeMap`, with `OpcodeMap.Vex` added for a VEX encoding
   * @param prefix one of `Prefix`
   */
  add(map: number, prefix: number, opcode: number, execute: Execute, options: OperationOptions = {}): void {
    const key = keyOf(map, prefix, opcode);
    if (this.#operations.has(key)) throw new Error(`operation ${map}:${prefix}:${opcode.toString(16)} is there twice`);
    this.#operations.set(key, {
      execute,
      immediate: options.immediate ?? 0,
      modRm: options.noModRm !== true,
      lockable: options.lockable === true,
    });
  }

  /** For an opcode that means the same with every prefix. */
  addForAllPrefixes(map: number, opcode: number, execute: Execute, options?: OperationOptions): void {
    for (const prefix of ALL_PREFIXES) this.add(map, prefix, opcode, execute, options);
  }

  find(map: number, prefix: number, opcode: number): Operation | undefined {
    return this.#operations.get(keyOf(map, prefix, opcode));
  }
}

function keyOf(map: number, prefix: number, opcode: number): number {
  return (map << 10) | (prefix << 8) | opcode;
}

export const VEX_0F: number = OpcodeMap.Vex + OpcodeMap.TwoByte;
export const VEX_0F38: number = OpcodeMap.Vex + OpcodeMap.ThreeByte38;
export const VEX_0F3A: number = OpcodeMap.Vex + OpcodeMap.ThreeByte3A;
