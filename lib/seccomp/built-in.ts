import main from '../../seccomp-profiles/main.json' with { type: 'json' };
import runtime from '../../seccomp-profiles/runtime.json' with { type: 'json' };
import vcpu from '../../seccomp-profiles/vcpu.json' with { type: 'json' };
import { type Profiles, THREAD_KINDS, type ThreadKind } from './profile.ts';
import { resolveProfile } from './resolve.ts';
import type { ProfileFile } from './schema.ts';

/** As they are in `seccomp-profiles/`, and as a file for `--seccomp-filter` has them. */
export const BUILT_IN_FILES: Readonly<Record<ThreadKind, ProfileFile>> = { vcpu, main, runtime } as Readonly<
  Record<ThreadKind, unknown>
> as Readonly<Record<ThreadKind, ProfileFile>>;

let profiles: Profiles | undefined;

/** The profiles of `seccomp-profiles/`, which are part of mvm. Resolved once, while the executable is built. */
export function builtInProfiles(): Profiles {
  profiles ??= Object.fromEntries(
    THREAD_KINDS.map((thread) => {
      const { profile, problems } = resolveProfile(BUILT_IN_FILES[thread], thread, [thread]);
      // Their tests check them in full.
      if (problems.length > 0) throw new Error(`seccomp-profiles/${thread}.json: ${problems[0]!.message}`);
      return [thread, profile];
    }),
  ) as Profiles;
  return profiles;
}
