import { PageAccess } from '../memory/page-walk.ts';
import { accessRights, translatePage, vectorAddress } from './access.ts';
import type { Instruction } from './instruction.ts';
import { Effect } from './operation.ts';
import { Flag, Gpr } from './registers.ts';
import type { CpuContext } from './types.ts';

const expected = new BigUint64Array(2);
const replacement = new BigUint64Array(2);

/** `cmpxchg16b m128`. Intel SDM vol. 2, CMPXCHG8B/CMPXCHG16B. */
export function compareExchange16b(insn: Instruction, cpu: CpuContext): number {
  const { registers } = cpu;
  // #GP(0) for misalignment, also in the stack segment; and a write is needed even where the comparison fails.
  const linear = vectorAddress(insn, cpu, 16, true, true);
  const offset = translatePage(cpu, linear, 16, accessRights(cpu) | PageAccess.Write);
  expected[0] = registers.get64(Gpr.rax);
  expected[1] = registers.get64(Gpr.rdx);
  replacement[0] = registers.get64(Gpr.rbx);
  replacement[1] = registers.get64(Gpr.rcx);
  if (cpu.compareExchange16(offset, expected, replacement, insn.lock)) {
    registers.flags |= Flag.ZF;
  } else {
    registers.flags &= ~Flag.ZF;
    registers.set64(Gpr.rax, expected[0]);
    registers.set64(Gpr.rdx, expected[1]);
  }
  return Effect.None;
}

/**
 * A compare-and-exchange of 16 bytes for `CpuContext.compareExchange16` in plain JavaScript: one half after the other.
 *
 * It is right among vCPUs whose instructions are all completed in this thread, and for memory that one vCPU uses alone
 * (`cmpxchg16b` without LOCK). Another thread can see the first half replaced before the second.
 */
export class HalvesExchange {
  readonly #quads: BigUint64Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer) {
    this.#quads = new BigUint64Array(buffer, 0, Math.floor(buffer.byteLength / 8));
  }

  /** @see CpuContext.compareExchange16 */
  exchange(offset: number, expected: BigUint64Array, replacement: BigUint64Array): boolean {
    const quads = this.#quads;
    const at = offset / 8;
    const [low, high] = [Atomics.load(quads, at), Atomics.load(quads, at + 1)];
    if (low === expected[0] && high === expected[1]) {
      const foundLow = Atomics.compareExchange(quads, at, low, replacement[0]!);
      if (foundLow !== low) {
        expected[0] = foundLow;
        return false;
      }
      const foundHigh = Atomics.compareExchange(quads, at + 1, high, replacement[1]!);
      if (foundHigh === high) return true;
      Atomics.compareExchange(quads, at, replacement[0]!, low);
      expected[1] = foundHigh;
      return false;
    }
    expected[0] = low;
    expected[1] = high;
    return false;
  }
}
