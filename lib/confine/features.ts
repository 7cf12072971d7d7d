import type { VmConfig } from '../config/types.ts';
import type { Feature } from '../seccomp/profile.ts';

/**
 * The parts of a machine that its filters depend on.
 * @param hasTerminal whether the user types at the guest
 */
export function featuresOf(config: VmConfig, hasTerminal: boolean): ReadonlySet<Feature> {
  const { drives, networkInterfaces, vsock, entropy, balloon, console } = config;
  const links = networkInterfaces.map(({ link }) => link.kind);
  const parts: Readonly<Record<Feature, boolean>> = {
    drives: drives.length > 0,
    io_uring: drives.some(({ backend }) => backend.kind === 'file' && backend.ioEngine === 'Async'),
    tap: links.includes('tap'),
    passt: links.includes('passt') || links.includes('socket'),
    vsock: vsock !== undefined,
    entropy: entropy !== undefined,
    balloon: balloon !== undefined,
    console: console.kind !== 'none',
    terminal: hasTerminal,
  };
  return new Set((Object.keys(parts) as Feature[]).filter((part) => parts[part]));
}
