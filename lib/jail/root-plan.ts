import { dirname } from 'node:path';
import type { VmConfig } from '../config/types.ts';
import { KVM_DEVICE } from '../kvm/kvm.ts';

/** Where the process sees itself, and nothing else, until the guest runs. */
export const PROC = '/proc';
const TUN_DEVICE = '/dev/net/tun';

export type FileKind = 'file' | 'device' | 'directory';

/** Something of the host that is bind-mounted into the jail's root, under its own path. */
export interface BoundFile {
  readonly path: string;
  readonly kind: FileKind;
  readonly readOnly: boolean;
}

/** What the jail's root directory has. Paths are those within it. */
export interface RootPlan {
  /** Each is needed only while devices are opened, and is gone before the guest runs. */
  readonly files: readonly BoundFile[];
  /** All directories, a parent before what is in it. */
  readonly directories: readonly string[];
  /** The directory in which the virtual machine makes a socket, which belongs to its user and stays. */
  readonly socketDirectory: string | undefined;
  readonly socketPath: string | undefined;
}

/**
 * Decides what the root directory of a jail has: device nodes, and the files that the configuration names.
 * @param kindOf what is at a path of the host; undefined: nothing, which whoever wants to open it will tell
 */
export function planRoot(config: VmConfig, kindOf: (path: string) => FileKind | undefined): RootPlan {
  const { boot, drives, networkInterfaces, vsock } = config;
  const wanted = new Map<string, boolean>([[KVM_DEVICE, false]]);
  const want = (path: string | undefined, readOnly: boolean): void => {
    if (path !== undefined) wanted.set(path, readOnly && (wanted.get(path) ?? true));
  };
  if (networkInterfaces.some(({ link }) => link.kind === 'tap')) want(TUN_DEVICE, false);
  want(boot.kernelPath, true);
  want(boot.initrdPath, true);
  for (const { backend } of drives) if (backend.kind === 'file') want(backend.path, backend.readOnly);
  const files = [...wanted].flatMap(([path, readOnly]) => {
    const kind = kindOf(path);
    return kind === undefined ? [] : [{ path, kind, readOnly }];
  });
  const socketPath = vsock?.udsPath;
  const socketDirectory = socketPath === undefined ? undefined : dirname(socketPath);
  const directories = new Set([PROC]);
  for (const path of [...files.map(({ path }) => path), ...(socketPath === undefined ? [] : [socketPath])]) {
    for (const directory of ancestors(path)) directories.add(directory);
  }
  return { files, directories: [...directories].sort(), socketDirectory, socketPath };
}

/** `/a`, `/a/b` of `/a/b/c`. */
export function ancestors(path: string): string[] {
  const directory = dirname(path);
  return directory === '/' ? [] : [...ancestors(directory), directory];
}
