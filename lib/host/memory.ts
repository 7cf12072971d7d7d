import { totalmem } from 'node:os';
import { formatSize } from '../config/size.ts';
import type { MachineConfig } from '../config/types.ts';
import { HostError } from '../errors.ts';
import { MIB } from '../memory/layout.ts';

/**
 * Refuses guest memory that this host cannot ever give. Less than the host has in all is let through: it is taken page by page, as
 * the guest touches it.
 * @throws HostError
 */
export function checkMemorySize({ memorySize }: Pick<MachineConfig, 'memorySize'>): void {
  const total = totalmem();
  if (memorySize <= total) return;
  const has = formatSize(Math.floor(total / MIB) * MIB);
  throw new HostError(`guest memory of ${formatSize(memorySize)} is more than this host has (${has})`, {
    where: '/machine-config/mem_size_mib',
    hint: 'give the guest less',
  });
}
