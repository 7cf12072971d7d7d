import type { NativeAbout } from './native.ts';
import type { Random } from './random.ts';

const HEADER = 512;
const PKRU = 9;
const FSW_ES_AND_B = 0x8080;

/** The parts of the legacy region that hold state: not MXCSR_MASK, nor what is left to software. */
export const LEGACY_REGION: readonly (readonly [number, number])[] = [
  [0, 28],
  [32, 416],
];

/** Where the components beyond the legacy region are, as [start, end). */
export function extendedRegions(about: NativeAbout): (readonly [number, number])[] {
  return about.components
    .filter(({ size, offset }, i) => i >= 2 && size > 0 && offset > 0 && ((about.xcr0 >>> i) & 1) !== 0)
    .map(({ size, offset }) => [offset, offset + size] as const);
}

/**
 * A random state of x87, SSE and all other components, as an XSAVE area in standard format.
 * @param present XSTATE_BV: components that are not in their initial configuration; others hold their initial values
 */
export function randomArea(random: Random, about: NativeAbout, present: number): Uint8Array {
  const area = new Uint8Array(about.fpuLength);
  const view = new DataView(area.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
  view.setUint32(28, about.mxcsrMask, true);
  if (present & 1) {
    const masked = random.below(2) === 0 ? 0x3f : random.below(0x40);
    const control = 0x40 | masked | (random.below(16) << 8);
    let status = random.below(0x10000) & 0x7f7f;
    if ((status & ~masked & 0x3f) !== 0) status |= FSW_ES_AND_B;
    view.setUint16(0, control, true);
    view.setUint16(2, status, true);
    area[4] = random.below(256);
    // Processors other than Intel's keep the last instruction's pointers only for a pending exception.
    if (about.isIntel || (status & FSW_ES_AND_B) !== 0) {
      view.setUint16(6, random.below(0x800), true);
      view.setBigUint64(8, random.uniform64() >> 17n, true);
      view.setBigUint64(16, random.uniform64() >> 17n, true);
    }
    for (let i = 0; i < 8; i++) area.set(random.bytes(10), 32 + i * 16);
  }
  if (present & 6) view.setUint32(24, (random.below(0x10000) & 0xffff) | 0x1f80, true);
  if (present & 2) area.set(random.bytes(256), 160);
  for (const [i, { size, offset }] of about.components.entries()) {
    if (i < 2 || ((present >>> i) & 1) === 0) continue;
    area.set(random.bytes(size), offset);
    // Keys 0 and 1 must stay usable, and only 32 bits are there.
    if (i === PKRU) view.setBigUint64(offset, BigInt(random.below(2 ** 32) & ~0xf) & 0xffff_fff0n, true);
  }
  view.setUint32(HEADER, present, true);
  return area;
}

/** A random set of the components that are enabled. */
export function randomFeatures(random: Random, about: NativeAbout): number {
  return about.xcr0 & Number(random.uniform64() & 0xffff_ffffn);
}

/** The same state in compacted format. @param features XCOMP_BV */
export function compact(area: Uint8Array, about: NativeAbout, features: number): Uint8Array {
  const view = new DataView(area.buffer, area.byteOffset);
  const result = new Uint8Array(8192);
  const resultView = new DataView(result.buffer);
  result.set(area.subarray(0, HEADER));
  resultView.setUint32(HEADER, view.getUint32(HEADER, true) & features, true);
  resultView.setUint32(HEADER + 8, features, true);
  resultView.setUint32(HEADER + 12, 0x8000_0000, true);
  let end = 576;
  for (const [i, { size, offset, flags }] of about.components.entries()) {
    if (i < 2 || ((features >>> i) & 1) === 0) continue;
    if ((flags & 2) !== 0) end = Math.ceil(end / 64) * 64;
    result.set(area.subarray(offset, offset + size), end);
    end += size;
  }
  return result;
}
