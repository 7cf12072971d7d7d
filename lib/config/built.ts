import type { JsonPath } from './json.ts';
import type { PathProblem } from './problems.ts';
import type { SectionName } from './schema.ts';

/**
 * What this version of mvm runs, section by section: the one place to switch a device on. What is not built is refused by
 * name; it is never ignored.
 */
export const BUILT_SECTIONS: Readonly<Record<SectionName, boolean>> = {
  'boot-source': true,
  'machine-config': true,
  serial: true,
  console: true,
  logger: true,
  'cpu-config': false,
  drives: true,
  'network-interfaces': true,
  vsock: true,
  entropy: true,
  balloon: true,
  metrics: true,
  'mmds-config': false,
  pmem: false,
  'memory-hotplug': false,
};

/** Keys of built sections that are not built themselves, with the value that asks for nothing. */
export const UNBUILT_KEYS: readonly { readonly path: JsonPath; readonly neutral: unknown }[] = [
  { path: ['machine-config', 'cpu_template'], neutral: 'None' },
  { path: ['machine-config', 'track_dirty_pages'], neutral: false },
];

/** Problems for everything in `document` that asks for what this version cannot do. */
export function findUnbuilt(
  document: unknown,
  sections: Readonly<Record<string, boolean>> = BUILT_SECTIONS,
  keys: typeof UNBUILT_KEYS = UNBUILT_KEYS,
): PathProblem[] {
  if (typeof document !== 'object' || document === null) return [];
  const problems: PathProblem[] = [];
  for (const [name, value] of Object.entries(document)) {
    if (!Object.hasOwn(sections, name) || sections[name] === true) continue;
    // An absent section and an empty list ask for nothing.
    if (value === null || (Array.isArray(value) && value.length === 0)) continue;
    problems.push({ path: [name], atKey: true, message: 'this version of mvm cannot do it yet', hint: 'leave it out' });
  }
  for (const { path, neutral } of keys) {
    const value = valueAt(document, path);
    if (value === undefined || value === null || value === neutral) continue;
    problems.push({
      path,
      atKey: true,
      message: 'this version of mvm cannot do it yet',
      hint: `leave it out or give ${JSON.stringify(neutral)}`,
    });
  }
  return problems;
}

/** The part of `document` at `path`, or undefined. */
export function valueAt(document: unknown, path: JsonPath): unknown {
  let value = document;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string | number, unknown>)[part];
  }
  return value;
}
