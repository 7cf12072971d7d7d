import { ConfigError, ExitCode } from '../../lib/errors.ts';
import { writeStdout } from '../../lib/output/stdout.ts';
import { stdoutStyle } from '../../lib/output/style.ts';
import { BUILT_IN_FILES, builtInProfiles } from '../../lib/seccomp/built-in.ts';
import { compileListing } from '../../lib/seccomp/compile.ts';
import { listing } from '../../lib/seccomp/disassemble.ts';
import { readAnyProfile } from '../../lib/seccomp/parse.ts';
import { FEATURES, type Profile, type Profiles, THREAD_KINDS, type ThreadKind } from '../../lib/seccomp/profile.ts';
import { UsageError } from '../report.ts';

export interface SeccompOptions {
  /** A file to check. */
  readonly check?: string | undefined;
  /** A thread's name, for mvm's own profile, or a file. */
  readonly disassemble?: string | undefined;
  /** Mvm's own profiles, as a file. */
  readonly print?: boolean | undefined;
  readonly thread?: string | undefined;
  readonly quiet?: boolean | undefined;
}

/** `mvm seccomp`: checks profiles, shows the filters that they are compiled to, or prints mvm's own. */
export async function seccomp(options: SeccompOptions): Promise<ExitCode> {
  const { check, disassemble, print = false } = options;
  if ([check !== undefined, disassemble !== undefined, print].filter(Boolean).length !== 1) {
    throw new UsageError('one of --check FILE, --disassemble PROFILE|FILE and --print is needed', {
      hint: 'see --help',
    });
  }
  const thread = threadNamed(options.thread);
  if (print) {
    writeStdout(`${JSON.stringify(thread === undefined ? BUILT_IN_FILES : BUILT_IN_FILES[thread], undefined, 2)}\n`);
    return ExitCode.Ok;
  }
  const profiles = await profilesOf(check ?? disassemble!, thread, check === undefined);
  const listings = THREAD_KINDS.flatMap((kind) => {
    const profile = profiles[kind];
    return profile === undefined ? [] : [{ kind, profile, compiled: compileForReader(profile) }];
  });
  if (check === undefined) {
    writeStdout(listings.map(({ profile, compiled }) => `${headline(profile)}\n${listing(compiled)}`).join('\n'));
  } else if (options.quiet !== true) {
    const { green } = await stdoutStyle();
    const sizes = listings.map(({ kind, profile, compiled }) => {
      return `${kind} ${countCalls(profile)} system calls, ${compiled.instructions.length} instructions`;
    });
    writeStdout(`${check}: ${green('OK')}: ${sizes.join('; ')}\n`);
  }
  return ExitCode.Ok;
}

function threadNamed(name: string | undefined): ThreadKind | undefined {
  const thread = THREAD_KINDS.find((kind) => kind === name);
  if (name !== undefined && thread === undefined) {
    throw new UsageError(`must be ${THREAD_KINDS.join(', ')}, not ${JSON.stringify(name)}`, { where: '--thread' });
  }
  return thread;
}

async function profilesOf(
  name: string,
  thread: ThreadKind | undefined,
  maybeBuiltIn: boolean,
): Promise<Partial<Profiles>> {
  const builtIn = maybeBuiltIn ? THREAD_KINDS.find((kind) => kind === name) : undefined;
  if (builtIn !== undefined) {
    if (thread === undefined || thread === builtIn) return { [builtIn]: builtInProfiles()[builtIn] };
    throw new UsageError(`${builtIn} is the profile of another thread`, { where: '--thread' });
  }
  const profiles = await readAnyProfile(name, thread);
  if (thread === undefined) return profiles;
  const profile = profiles[thread];
  if (profile === undefined) throw new ConfigError(`has no profile of ${thread}`, { where: name });
  return { [thread]: profile };
}

/** With all parts that a machine can have; what is known only at start is 0, and the listing has its name. */
function compileForReader(profile: Profile) {
  const values = new Proxy<Record<string, number>>({}, { get: () => 0 });
  return compileListing(profile, { values, features: new Set(FEATURES) });
}

/** Calls that the filter treats otherwise than by default, but for those that only get an errno. */
function countCalls({ rules }: Profile): number {
  return new Set(rules.filter(({ action }) => action?.kind !== 'errno').map(({ number }) => number)).size;
}

function headline(profile: Profile): string {
  const { thread, rules } = profile;
  return `# ${thread}: ${countCalls(profile)} system calls in ${rules.length} rules; what is known at start is 0 here`;
}
