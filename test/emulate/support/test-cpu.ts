import { HalvesExchange } from '../../../lib/emulate/exchange.ts';
import { readPkru } from '../../../lib/emulate/protection-keys.ts';
import { RegisterFile } from '../../../lib/emulate/registers.ts';
import {
  type CpuContext,
  type DescriptorTable,
  type ExtendedState,
  IA32_TSC_AUX,
  type Segment,
  SegmentRegister,
  type XsaveLayout,
} from '../../../lib/emulate/types.ts';
import type { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import { PageWalk } from '../../../lib/memory/page-walk.ts';
import type { NativeAbout } from './native.ts';

export const CR0_LONG_MODE = 0x8005_0033;
export const CR4_LONG_MODE = 0x4_06b0;
export const EFER_LONG_MODE = 0xd01;

/** A flat segment. */
export function segment(overrides: Partial<Segment> = {}): Segment {
  return {
    base: 0n,
    limit: 0xffff_ffff,
    selector: 0x2b,
    type: 3,
    present: 1,
    dpl: 3,
    db: 1,
    s: 1,
    l: 0,
    unusable: 0,
    ...overrides,
  };
}

/** A vCPU that is nothing but its state: plain memory, and values where a real one asks KVM. */
export class TestCpu implements CpuContext {
  readonly registers = new RegisterFile(new ArrayBuffer(18 * 8));
  readonly memory: GuestMemory;
  readonly pageWalk: PageWalk;
  readonly segments: Segment[] = Array.from({ length: 6 }, () => segment());
  readonly image = new Uint8Array(16384);
  cr0 = CR0_LONG_MODE;
  cr3 = 0;
  cr4 = CR4_LONG_MODE;
  efer = EFER_LONG_MODE;
  physicalAddressBits = 46;
  cpl = 0;
  gdt: DescriptorTable = { base: 0n, limit: 0 };
  idt: DescriptorTable = { base: 0n, limit: 0 };
  ldt: Segment = segment({ present: 0, unusable: 1 });
  xsaveLayout: XsaveLayout = { supported: 3, components: [] };
  xcr0 = 3;
  tsc = 0n;
  readonly msrs = new Map<number, bigint>([[IA32_TSC_AUX, 0n]]);
  extendedStateReads = 0;
  locked = false;
  readonly #exchange: HalvesExchange;
  readonly #state: ExtendedState = { image: this.image, view: new DataView(this.image.buffer) };

  constructor(memory: GuestMemory) {
    this.memory = memory;
    this.pageWalk = new PageWalk(memory);
    this.#exchange = new HalvesExchange(memory.buffer);
    this.segments[SegmentRegister.cs] = segment({ selector: 0x10, type: 11, dpl: 0, db: 0, l: 1 });
    this.view.setUint16(0, 0x37f, true);
    this.view.setUint32(24, 0x1f80, true);
    this.view.setUint32(28, 0x2_ffff, true);
  }

  get view(): DataView {
    return this.#state.view;
  }

  get pkru(): number {
    return readPkru(this);
  }

  segment(register: number): Segment {
    return this.segments[register]!;
  }

  extendedState(): ExtendedState {
    this.extendedStateReads++;
    return this.#state;
  }

  readXcr0(): number {
    return this.xcr0;
  }

  writeXcr0(value: number): void {
    this.xcr0 = value;
  }

  readTsc(): bigint {
    return this.tsc;
  }

  readMsr(index: number): bigint {
    const value = this.msrs.get(index);
    if (value === undefined) throw new Error(`MSR ${index.toString(16)} was not expected`);
    return value;
  }

  compareExchange16(offset: number, expected: BigUint64Array, replacement: BigUint64Array, lock: boolean): boolean {
    this.locked = lock;
    return this.#exchange.exchange(offset, expected, replacement);
  }
}

/** The layout of XSAVE areas on this processor. */
export function xsaveLayoutOf(about: NativeAbout): XsaveLayout {
  return {
    supported: about.xcr0,
    components: about.components.map(({ size, offset, flags }) =>
      size === 0 ? undefined : { size, offset, aligned: (flags & 2) !== 0 },
    ),
  };
}
