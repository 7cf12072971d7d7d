/**
 * Milliseconds of looking for work in vain before the loop sleeps: at most as long as a parked guest thread takes to wake up on another
 * CPU (50 µs), to run its guest to the next exit (20 µs), and some more.
 */
const MAX_BUDGET_MS = 0.12;
/** Below this it is not worth the looking. */
const MIN_BUDGET_MS = 0.002;
/** Where looking found work so often since the last sleep, it pays. */
const PAYING_FINDS = 4;
/** So many times in a row it must not have paid before it is given up… */
const MISSES_BEFORE_STOP = 3;
/** …for so many sleeps. */
const SLEEPS_BEFORE_RETRY = 64;

/**
 * Decides how long the loop looks for work before it sleeps.
 *
 * Where each thread has a CPU of its own, looking finds a guest's exits much sooner than waking up does (5 µs against 50). Where a vCPU
 * and the loop share one (the machine is busy), looking only keeps the vCPU from running: then the sleep that follows is short
 * all the same, since the vCPU exits as soon as it gets the CPU. And a guest that seldom exits is not worth looking for.
 */
export class SpinPolicy {
  /** How long to look in vain, in milliseconds. */
  budget = MAX_BUDGET_MS;
  #misses = 0;
  #retryIn = 0;

  /**
   * Learns from a sleep.
   * @param wasShort it ended so soon that looking on might have saved it
   * @param finds how often looking found work since the sleep before
   */
  slept(wasShort: boolean, finds: number): void {
    if (!wasShort) {
      this.budget = this.budget > MIN_BUDGET_MS ? this.budget / 2 : 0;
      this.#misses = 0;
      this.#retryIn = 0;
    } else if (this.budget === 0) {
      if (--this.#retryIn < 0) this.budget = MAX_BUDGET_MS;
    } else if (finds >= PAYING_FINDS) {
      this.budget = MAX_BUDGET_MS;
      this.#misses = 0;
    } else if (++this.#misses === MISSES_BEFORE_STOP) {
      this.budget = 0;
      this.#misses = 0;
      this.#retryIn = SLEEPS_BEFORE_RETRY;
    }
  }
}
