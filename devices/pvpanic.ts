import { PVPANIC_CRASH_LOADED, PVPANIC_PANICKED } from '../lib/memory/ports.ts';
import type { BusDevice } from './bus.ts';

/** What the guest's kernel says of its panic. */
export type PanicEvent = 'panicked' | 'crash-loaded';

/**
 * The paravirtualized panic port (QEMU, docs/specs/pvpanic): a read tells which events are understood, a write reports them.
 *
 * `panicked` is a guest that has no crash kernel: it is over. `crash-loaded` is one that goes on in its crash kernel.
 */
export class Pvpanic implements BusDevice {
  readonly #onEvent: (event: PanicEvent) => void;

  /** @param onEvent may be called more than once, by a guest that panics while it panics */
  constructor(onEvent: (event: PanicEvent) => void) {
    this.#onEvent = onEvent;
  }

  read(): number {
    return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
  }

  write(_offset: number, _size: number, value: number): void {
    if ((value & PVPANIC_PANICKED) !== 0) this.#onEvent('panicked');
    else if ((value & PVPANIC_CRASH_LOADED) !== 0) this.#onEvent('crash-loaded');
  }
}
