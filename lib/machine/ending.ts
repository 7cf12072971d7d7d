import { ExitCode, GuestError } from '../errors.ts';

/** Why a machine ends. */
export type Ending =
  | { readonly kind: 'power-off' }
  | { readonly kind: 'reset' }
  /** The user asked for it: a signal, or the console's escape. */
  | { readonly kind: 'stopped' }
  | { readonly kind: 'panic' }
  | { readonly kind: 'triple-fault'; readonly rip: bigint };

/**
 * What an ending means to who started the machine.
 * @returns the exit code
 * @throws GuestError where the guest crashed
 */
export function exitCodeOf(ending: Ending): ExitCode {
  switch (ending.kind) {
    case 'power-off':
    case 'reset':
    case 'stopped':
      return ExitCode.Ok;
    case 'panic':
      throw new GuestError("the guest's kernel panicked", { hint: 'its console tells why' });
    case 'triple-fault':
      throw new GuestError(`the guest crashed with a triple fault at 0x${ending.rip.toString(16)}`);
  }
}
