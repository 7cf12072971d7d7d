import type { ExecutionContext } from 'ava';
import type { NativeAbout } from './native.ts';

/** How `CPUID` tells of a feature. */
type Register = 'leaf1Ecx' | 'leaf7Ebx' | 'leaf7Ecx' | 'extended1Ecx' | 'xsave1Eax';

/** The features that the tests compare with this processor's own. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E. */
const FEATURES = {
  ssse3: ['leaf1Ecx', 9],
  cmpxchg16b: ['leaf1Ecx', 13],
  'sse4.1': ['leaf1Ecx', 19],
  'sse4.2': ['leaf1Ecx', 20],
  movbe: ['leaf1Ecx', 22],
  popcnt: ['leaf1Ecx', 23],
  osxsave: ['leaf1Ecx', 27],
  bmi1: ['leaf7Ebx', 3],
  bmi2: ['leaf7Ebx', 8],
  invpcid: ['leaf7Ebx', 10],
  adx: ['leaf7Ebx', 19],
  clwb: ['leaf7Ebx', 24],
  rdpid: ['leaf7Ecx', 22],
  lzcnt: ['extended1Ecx', 5],
  xsaveopt: ['xsave1Eax', 0],
  xsavec: ['xsave1Eax', 1],
} as const satisfies Record<string, readonly [Register, number]>;

export type Feature = keyof typeof FEATURES;

export function hasFeature(about: NativeAbout, feature: Feature): boolean {
  const [register, bit] = FEATURES[feature];
  return ((about[register] >>> bit) & 1) !== 0;
}

/**
 * Whether a test has nothing to compare with, because this processor lacks the instruction. It then says so, and passes:
 * `if (lacks(t, about, 'adx')) return;`
 */
export function lacks(t: ExecutionContext, about: NativeAbout, ...features: readonly Feature[]): boolean {
  const missing = features.filter((feature) => !hasFeature(about, feature));
  if (missing.length === 0) return false;
  t.log(`this processor has no ${missing.join(', ')}`);
  t.pass();
  return true;
}
