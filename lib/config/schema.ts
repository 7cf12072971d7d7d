import * as v from 'valibot';
import { coreEntries } from './schema-core.ts';
import { CpuTemplateSchema } from './schema-cpu.ts';
import {
  balloon,
  drive,
  entropy,
  memoryHotplug,
  metrics,
  mmdsConfig,
  networkInterface,
  pmem,
  vsock,
} from './schema-devices.ts';
import { list, path } from './schema-parts.ts';

/**
 * The configuration file: Firecracker's keys and meanings (its `src/firecracker/swagger/firecracker.yaml`, 1.17, and the
 * `VmmConfig` that its `--config-file` reads), and what mvm adds. This is the one source of the validation, of the types below and of
 * the JSON Schema that `mvm schema` prints.
 *
 * As in Firecracker, `null` for a key that may be left out means that it is left out.
 */

/** The whole configuration file. */
export const ConfigSchema = v.pipe(
  v.strictObject({
    ...coreEntries,
    'cpu-config': v.nullish(
      v.pipe(
        v.union([path({ title: 'File', description: 'A file that holds a CPU template.' }), CpuTemplateSchema]),
        v.title('Custom CPU template'),
        v.description('The path of a file as in Firecracker or, mvm’s addition, the template itself.'),
      ),
    ),
    drives: v.nullish(list(drive, { title: 'Drives', description: 'virtio-blk devices.' })),
    'network-interfaces': v.nullish(
      list(networkInterface, { title: 'Network interfaces', description: 'virtio-net devices.' }),
    ),
    vsock: v.nullish(v.pipe(vsock, v.title('vsock'), v.description('A virtio-vsock device behind Unix sockets.'))),
    entropy: v.nullish(v.pipe(entropy, v.title('Entropy'), v.description('A virtio-rng device.'))),
    balloon: v.nullish(v.pipe(balloon, v.title('Balloon'), v.description('A virtio-balloon device.'))),
    metrics: v.nullish(v.pipe(metrics, v.title('Metrics'), v.description('Where counters are written.'))),
    'mmds-config': v.nullish(v.pipe(mmdsConfig, v.title('Metadata service'), v.description('MMDS for the guest.'))),
    pmem: v.nullish(list(pmem, { title: 'Persistent memory', description: 'virtio-pmem devices.' })),
    'memory-hotplug': v.nullish(
      v.pipe(memoryHotplug, v.title('Memory hotplug'), v.description('A virtio-mem device.')),
    ),
  }),
  v.title('mvm configuration'),
  v.description('Firecracker’s configuration file, as mvm reads it.'),
);

/** The file's content once it is valid: defaults filled in, names and units as in the file. */
export type FileConfig = v.InferOutput<typeof ConfigSchema>;
export type SectionName = keyof FileConfig;
