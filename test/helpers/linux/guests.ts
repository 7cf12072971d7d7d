import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestCmdline, prepareGuest } from '../../../fixtures/prepare.ts';
import type { Transport } from '../../../lib/config/types.ts';
import { Mvm, type MvmResult } from '../mvm.ts';

/** A Linux guest in the executable that users get: what init does (fixtures/init/init.c), and Firecracker's sections of its devices. */
export interface LinuxOptions {
  readonly actions: readonly string[];
  readonly sections?: Record<string, unknown>;
  /** Default: mmio. */
  readonly transport?: Transport;
  /** Default: 128. */
  readonly memoryMib?: number;
  /** Further parameters of the kernel. */
  readonly parameters?: readonly string[];
  /** Boots from a drive. */
  readonly withoutInitrd?: boolean;
}

/** Linux guests of one test file, with a folder for their files. */
export class LinuxGuests {
  static readonly guest = prepareGuest();
  readonly folder = mkdtempSync(join(tmpdir(), 'mvm-linux-'));
  #count = 0;

  /** A file in the folder. */
  file(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a configuration. @returns its path */
  async configure({ actions, sections, transport = 'mmio', ...options }: LinuxOptions): Promise<string> {
    const { kernel, initrd } = await LinuxGuests.guest;
    const config = {
      'boot-source': {
        kernel_image_path: kernel,
        ...(options.withoutInitrd ? {} : { initrd_path: initrd }),
        boot_args: guestCmdline({ actions, pci: transport === 'pci', extra: options.parameters ?? [] }),
      },
      'machine-config': { vcpu_count: 1, mem_size_mib: options.memoryMib ?? 128, transport },
      ...sections,
    };
    const path = this.file(`vm-${this.#count++}.json`);
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  async start(options: LinuxOptions): Promise<Mvm> {
    return new Mvm(['run', await this.configure(options)]);
  }

  /** Boots a guest that ends by itself. */
  async run(options: LinuxOptions): Promise<MvmResult> {
    await using mvm = await this.start(options);
    mvm.process.stdin.end();
    return await mvm.end();
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** A line that the guest prints. */
export function line(text: string): RegExp {
  return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\r?$`, 'm');
}
