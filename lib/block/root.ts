import type { DriveConfig } from '../config/types.ts';

/**
 * What the kernel's command line needs for the root device, as Firecracker appends it; undefined where no drive is the root.
 *
 * The root drive must be the first that the guest finds, so that it is /dev/vda: see `inGuestOrder`.
 */
export function rootParameters(drives: readonly DriveConfig[]): string | undefined {
  const root = drives.find(({ isRoot }) => isRoot);
  if (root === undefined) return undefined;
  const device = root.partuuid === undefined ? '/dev/vda' : `PARTUUID=${root.partuuid}`;
  const readOnly = root.backend.kind === 'file' && root.backend.readOnly;
  return `root=${device} ${readOnly ? 'ro' : 'rw'}`;
}

/** The order in which drives are to be attached: the root device first, others as configured. */
export function inGuestOrder<T extends { readonly isRoot: boolean }>(drives: readonly T[]): T[] {
  return [...drives.filter(({ isRoot }) => isRoot), ...drives.filter(({ isRoot }) => !isRoot)];
}
