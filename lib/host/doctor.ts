import { probeConfinement } from './confinement-probes.ts';
import { probeDevices } from './device-probes.ts';
import type { Finding } from './finding.ts';
import { HostView } from './host-view.ts';
import { probeKvmDevice } from './kvm-device.ts';
import { probeKvmKind } from './kvm-kind.ts';
import { probeMemory } from './memory-probes.ts';

/** Looks at everything of this host that mvm needs or can use. */
export function examineHost(host: HostView = new HostView()): Finding[] {
  return [probeKvmKind, probeKvmDevice, probeMemory, probeDevices, probeConfinement].flatMap((probe) => probe(host));
}
