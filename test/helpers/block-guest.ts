import { writeFileSync } from 'node:fs';
import { buildGuest } from '../../fixtures/bare-metal/build.ts';

export type Transport = 'mmio' | 'pci';
export type Engine = 'Sync' | 'Async';

export interface BlockGuestOptions {
  /** Where the configuration is written. */
  readonly config: string;
  readonly image: string;
  readonly engine: Engine;
  readonly transport?: Transport;
  /** The guest's parameters: see fixtures/bare-metal/guests/block. */
  readonly cmdline: string;
  /** As `machine-config.huge_pages`. */
  readonly hugePages?: string;
  /** More of Firecracker's keys of a drive. */
  readonly drive?: Readonly<Record<string, unknown>>;
}

/** Writes the configuration of a machine in which the bare-metal guest `block` drives an image. @returns arguments for mvm */
export function blockGuestArguments(options: BlockGuestOptions): string[] {
  const { config, image, engine, transport = 'mmio', cmdline, hugePages = 'None', drive } = options;
  const machine = {
    'boot-source': { kernel_image_path: buildGuest('block'), boot_args: cmdline },
    'machine-config': { vcpu_count: 1, mem_size_mib: 128, huge_pages: hugePages },
    drives: [{ drive_id: 'disk', path_on_host: image, is_root_device: false, io_engine: engine, ...drive }],
  };
  writeFileSync(config, JSON.stringify(machine));
  return ['run', '--transport', transport, config];
}
