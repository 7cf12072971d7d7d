import { BalloonMetrics } from '../../devices/virtio/balloon/metrics.ts';
import { BlockMetrics } from '../../devices/virtio/block/metrics.ts';
import { EntropyMetrics } from '../../devices/virtio/entropy/metrics.ts';
import { NetMetrics } from '../../devices/virtio/net/metrics.ts';
import { VsockMetrics } from '../../devices/virtio/vsock/metrics.ts';
import type { MetricsConfig } from '../config/types.ts';
import type { Log } from '../log.ts';
import { Counters } from '../metrics/counters.ts';
import { MetricsReporter } from '../metrics/reporter.ts';
import type { LineSink } from '../output/line-sink.ts';
import type { Consoles } from './consoles.ts';
import type { Machine } from './machine.ts';
import type { DeviceCounters } from './virtio-devices.ts';

/** What is counted of a machine. */
export interface MetricsSources {
  readonly machine: Pick<Machine, 'counters' | 'isa' | 'virtio'>;
  readonly consoles: Pick<Consoles, 'counters'>;
  readonly log: Pick<Log, 'missed' | 'warnings'>;
}

/** Devices of which there can be several, and those of which there is one at most: as in Firecracker, what is not there is shown with zeros. */
const KINDS = [
  ['block', BlockMetrics],
  ['net', NetMetrics],
] as const;
const SINGLE = [
  ['balloon', BalloonMetrics],
  ['entropy', EntropyMetrics],
  ['vsock', VsockMetrics],
] as const;

/** Begins to write reports to `sink`. */
export function startMetrics(
  sink: LineSink,
  { properties }: MetricsConfig,
  { machine, consoles, log }: MetricsSources,
): MetricsReporter {
  const counters = new Counters();
  const devices = machine.virtio?.counters ?? [];
  for (const [kind, Metrics] of KINDS) counters.addKind(kind, { ...new Metrics(), driver_faults: 0 });
  for (const device of devices) {
    const { kind, id } = device;
    if (id === undefined) counters.add(kind, () => read(device));
    else counters.addDevice(kind, id, () => read(device));
  }
  for (const [kind, Metrics] of SINGLE) {
    if (!devices.some((device) => device.kind === kind)) {
      const zero = { ...new Metrics(), driver_faults: 0 };
      counters.add(kind, () => zero);
    }
  }
  counters.add('uart', () => {
    const serial = machine.isa.serial?.metrics;
    return {
      read_count: serial?.readCount ?? 0,
      write_count: serial?.writeCount ?? 0,
      interrupt_count: serial?.interruptCount ?? 0,
      ...consoles.counters,
    };
  });
  counters.add('i8042', () => {
    const { readCount, writeCount, resetCount } = machine.isa.i8042.metrics;
    return { read_count: readCount, write_count: writeCount, reset_count: resetCount };
  });
  counters.add('vcpu', () => machine.counters.vcpu);
  counters.add('bus', () => machine.counters.bus);
  // A violation ends mvm at once: whoever can still report has had none.
  counters.add('seccomp', () => ({ num_faults: 0 }));
  let reporter: MetricsReporter | undefined;
  counters.add('logger', () => ({
    missed_metrics_count: reporter?.missed ?? 0,
    missed_log_count: log.missed,
    warning_count: log.warnings,
  }));
  reporter = new MetricsReporter(sink, counters, properties);
  return reporter;
}

function read({ metrics, core }: DeviceCounters): object {
  return { ...metrics, driver_faults: core.faults.count };
}
