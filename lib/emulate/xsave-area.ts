import { operandAddress } from './address.ts';
import { CR0_TS, CR4_OSXSAVE, XFEATURE_PKRU_NUMBER, XSAVE_EXTENDED_REGION } from './control.ts';
import { deviceNotAvailable, generalProtection, Unsupported, undefinedOpcode } from './faults.ts';
import type { Instruction } from './instruction.ts';
import { Gpr } from './registers.ts';
import { type CpuContext, type ExtendedState, IA32_XSS, type XsaveComponent } from './types.ts';

/** Components 2 to 31 are those that can be beyond the legacy region. */
const FIRST_EXTENDED = 2;
const COMPONENTS = 32;
const ALIGNMENT = 64;

/** XCOMP_BV bit 63, in the upper half: the area is compacted. Intel SDM vol. 1, §13.4.2. */
export const XCOMP_COMPACTED_HIGH = 0x8000_0000;

/** #UD and #NM of every XSAVE and XRSTOR. Intel SDM vol. 2, XSAVE. */
export function checkXsaveEnabled(insn: Instruction, cpu: CpuContext): void {
  if (!insn.isMemory || (cpu.cr4 & CR4_OSXSAVE) === 0) undefinedOpcode();
  if ((cpu.cr0 & CR0_TS) !== 0) deviceNotAvailable();
}

/** #GP(0) unless CPL is 0, and IA32_XSS must be 0: its components are not part of what KVM shows. */
export function checkSupervisor(cpu: CpuContext): void {
  if (cpu.cpl !== 0) generalProtection();
  if (cpu.readMsr(IA32_XSS) !== 0n)
    throw new Unsupported('mvm does not know the supervisor components that IA32_XSS names');
}

/** RFBM, the requested-feature bitmap: EDX:EAX and XCR0. §13.6. Bits above 31 are none that XCR0 can have. */
export function requestedFeatures(cpu: CpuContext): number {
  return cpu.registers.get32(Gpr.rax) & cpu.readXcr0();
}

/** The linear address of an XSAVE area. @throws Fault #GP(0) where it is not a multiple of 64 */
export function areaAddress(insn: Instruction, cpu: CpuContext, size: number, write: boolean): bigint {
  const linear = operandAddress(insn, cpu, size, write);
  if (linear % BigInt(ALIGNMENT) !== 0n) generalProtection();
  return linear;
}

/** Where the components of an area are, standard or compacted; iterate with `at(i)`. Reused from one instruction to the next. */
export class AreaLayout {
  /** Bytes of the area, legacy region and header included. */
  size = 0;
  readonly #offsets = new Uint32Array(COMPONENTS);

  /**
   * @param features the components in the area (compacted: XCOMP_BV)
   * @throws Unsupported for a component that is not described
   */
  lay(cpu: CpuContext, features: number, compacted: boolean): void {
    let end = XSAVE_EXTENDED_REGION;
    for (let i = FIRST_EXTENDED; i < COMPONENTS; i++) {
      if (((features >>> i) & 1) === 0) continue;
      const component = componentOf(cpu, i);
      let offset = component.offset;
      if (compacted) offset = component.aligned ? Math.ceil(end / ALIGNMENT) * ALIGNMENT : end;
      this.#offsets[i] = offset;
      end = Math.max(end, offset + component.size);
    }
    this.size = end;
  }

  /** Where component `i` begins. */
  at(i: number): number {
    return this.#offsets[i]!;
  }
}

/** Calls `visit` for each component beyond the legacy region in `features`, with its bytes in the image. */
export function forEachComponent(
  cpu: CpuContext,
  state: ExtendedState,
  features: number,
  visit: (i: number, bytes: Uint8Array) => void,
): void {
  for (let i = FIRST_EXTENDED; i < COMPONENTS; i++) {
    if (((features >>> i) & 1) === 0) continue;
    const { offset } = componentOf(cpu, i);
    // PKRU has 8 bytes of which 4 are reserved: processors leave those as they are in memory.
    const size = i === XFEATURE_PKRU_NUMBER ? 4 : componentOf(cpu, i).size;
    if (offset + size > state.image.length) throw new Unsupported(`KVM does not show state component ${i}`);
    visit(i, state.image.subarray(offset, offset + size));
  }
}

function componentOf(cpu: CpuContext, i: number): XsaveComponent {
  const component = cpu.xsaveLayout.components[i];
  if (component === undefined) throw new Unsupported(`mvm does not know state component ${i}`);
  return component;
}
