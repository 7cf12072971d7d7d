import { Vector } from './control.ts';

/** Thrown by an operation that must end in a fault: nothing has been changed, RIP stays at the instruction. */
export class Fault {
  readonly vector: number;
  readonly errorCode: number | undefined;
  readonly cr2: bigint | undefined;

  constructor(vector: number, errorCode?: number, cr2?: bigint) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.cr2 = cr2;
  }
}

/** Thrown by an operation that is a trap: its handler runs with RIP behind the instruction. */
export class Trap {
  readonly vector: number;
  /** Whether it is a software interrupt (`int n`), not an exception. */
  readonly software: boolean;

  constructor(vector: number, software: boolean) {
    this.vector = vector;
    this.software = software;
  }
}

/** Thrown where mvm cannot do what the instruction asks. */
export class Unsupported {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

const UNDEFINED_OPCODE = new Fault(Vector.UD);
const DEVICE_NOT_AVAILABLE = new Fault(Vector.NM);
const GENERAL_PROTECTION = new Fault(Vector.GP, 0);

/** #UD */
export function undefinedOpcode(): never {
  throw UNDEFINED_OPCODE;
}

/** #NM */
export function deviceNotAvailable(): never {
  throw DEVICE_NOT_AVAILABLE;
}

/** #GP(0) */
export function generalProtection(): never {
  throw GENERAL_PROTECTION;
}
