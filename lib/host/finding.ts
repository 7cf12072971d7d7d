/**
 * What a look at one thing of the host found.
 * `good`: there, and used. `fair`: mvm runs, but slower or without something. `bad`: no VM can run. `info`: a fact.
 */
export type FindingState = 'good' | 'fair' | 'bad' | 'info';

export interface Finding {
  readonly group: 'KVM' | 'Memory' | 'Devices' | 'Confinement';
  readonly name: string;
  readonly state: FindingState;
  /** What is there, in a few words. */
  readonly value: string;
  /** What that means for mvm: one sentence. */
  readonly meaning: string;
  /** What to do about it: one sentence, where there is something to do. */
  readonly advice?: string;
}

/** VMs can run where nothing is bad. */
export function canRun(findings: readonly Finding[]): boolean {
  return findings.every(({ state }) => state !== 'bad');
}
