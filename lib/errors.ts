/** How `mvm` ends. Documented in README.md; scripts rely on these numbers. */
export const ExitCode = {
  /** The guest powered itself off, or asked for a reset (microVMs do not reboot). */
  Ok: 0,
  /** A defect of mvm itself. */
  Internal: 1,
  /** The command line was wrong. */
  Usage: 2,
  /** The configuration, or a file that it names, was wrong. */
  BadConfig: 3,
  /** This host cannot run it: no KVM, no permission, not enough memory. */
  HostUnable: 4,
  /** The guest crashed: triple fault, panic, or an exit that cannot be handled. */
  GuestCrashed: 5,
  /** An output that mvm needs failed: standard output closed early, disk full. */
  OutputFailed: 6,
  /** A seccomp filter stopped mvm (Firecracker's number). */
  BadSyscall: 148,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export interface MvmErrorOptions extends ErrorOptions {
  /** What to do about it: one sentence, imperative. */
  hint?: string;
  /** Where it is: a JSON path (`/machine-config/vcpu_count`), a file, or `file:line:column`. */
  where?: string;
}

/** An error that the user sees as one line: `where: what. hint`. */
export class MvmError extends Error {
  readonly exitCode: ExitCode;
  readonly hint: string | undefined;
  readonly where: string | undefined;

  constructor(exitCode: ExitCode, message: string, options: MvmErrorOptions = {}) {
    super(message, options);
    this.name = new.target.name;
    this.exitCode = exitCode;
    this.hint = options.hint;
    this.where = options.where;
  }

  /** The one line for the user, without a trailing newline. */
  toLine(): string {
    const where = this.where === undefined ? '' : `${this.where}: `;
    const hint = this.hint === undefined ? '' : `; ${this.hint}`;
    return `${where}${this.message}${hint}`;
  }
}

/** The configuration, or a file that it names, is wrong. */
export class ConfigError extends MvmError {
  constructor(message: string, options?: MvmErrorOptions) {
    super(ExitCode.BadConfig, message, options);
  }
}

/** This host cannot do what was asked. */
export class HostError extends MvmError {
  constructor(message: string, options?: MvmErrorOptions) {
    super(ExitCode.HostUnable, message, options);
  }
}

/** The guest did something that ends it. */
export class GuestError extends MvmError {
  constructor(message: string, options?: MvmErrorOptions) {
    super(ExitCode.GuestCrashed, message, options);
  }
}
