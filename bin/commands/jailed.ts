import { firstDescriptors } from '../../lib/confine/descriptors.ts';
import { ExitCode } from '../../lib/errors.ts';
import { setBindingFd } from '../../lib/ffi/binding.ts';
import { readHandover } from '../../lib/jail/handover.ts';
import { HANDOVER_FD } from '../../lib/jail/steps.ts';
import { runConfig } from './run-config.ts';

/**
 * The half of `mvm run --jail` that is in the jail. It is started by the other half, which has read and checked everything.
 * @returns mvm's exit code
 */
export async function jailed(): Promise<number> {
  // What else is open was passed on purpose.
  const { rings } = firstDescriptors();
  const handover = readHandover(HANDOVER_FD);
  const { profiles, limits, debug } = handover;
  if (handover.bindingFd !== undefined) setBindingFd(handover.bindingFd);
  const { JailAbandoned, JailInside } = await import('../../lib/jail/inside.ts');
  try {
    return await runConfig(handover.config, {
      confinement: { profiles, limits, descriptors: { rings, inherited: [] } },
      debug,
      jail: (signals) => new JailInside(handover, signals.relayed),
    });
  } catch (error) {
    if (error instanceof JailAbandoned) return ExitCode.HostUnable;
    throw error;
  }
}
