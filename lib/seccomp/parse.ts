import { dirname, resolve } from 'node:path';
import { type Document, parseDocument } from '../config/document.ts';
import { inOrder, Places } from '../config/places.ts';
import { ConfigProblems, type PathProblem, type Problem } from '../config/problems.ts';
import { readText } from '../config/read-text.ts';
import { validate } from '../config/validate.ts';
import { type Profile, type Profiles, THREAD_KINDS, type ThreadKind } from './profile.ts';
import { resolveProfile } from './resolve.ts';
import { ProfileSchema, ProfilesSchema } from './schema.ts';

/**
 * Parses the profile of one kind of thread.
 * @param fileName how messages name the text
 * @param thread whose it is; undefined: of any, which is enough for a look at it
 * @throws ConfigProblems with everything that is wrong, each with its place
 */
export async function parseProfile(text: string, fileName: string, thread?: ThreadKind): Promise<Profile> {
  return await profileOf(await open(text, fileName), thread);
}

/**
 * Parses a file with the profiles of all threads: what `--seccomp-filter` takes.
 * @throws ConfigProblems with everything that is wrong, each with its place
 */
export async function parseProfiles(text: string, fileName: string): Promise<Profiles> {
  return await profilesOf(await open(text, fileName));
}

/** Reads and parses the file that `--seccomp-filter` names. @throws ConfigProblems, ConfigError */
export async function readProfiles(file: string, cwd = process.cwd()): Promise<Profiles> {
  return await parseProfiles(readText(resolve(cwd, file), file).text, file);
}

/**
 * Parses a file of either kind: it is of one thread where it has the keys of a profile.
 * @throws ConfigProblems, ConfigError
 */
export async function readAnyProfile(file: string, thread?: ThreadKind): Promise<Partial<Profiles>> {
  const opened = await open(readText(resolve(file), file).text, file);
  const { document } = opened;
  const isSingle = typeof document === 'object' && document !== null && 'filter' in document;
  if (!isSingle) return await profilesOf(opened);
  const profile = await profileOf(opened, thread ?? THREAD_KINDS.find((kind) => file.endsWith(`${kind}.json`)));
  return { [profile.thread]: profile };
}

async function open(text: string, fileName: string): Promise<Document> {
  const parsed = await parseDocument({ text, label: fileName, baseDirectory: dirname(fileName) });
  if ('problem' in parsed) throw new ConfigProblems([parsed.problem]);
  return parsed;
}

async function profileOf(document: Document, thread: ThreadKind | undefined): Promise<Profile> {
  const { value, problems } = await validate(ProfileSchema, document.document);
  if (value === undefined) return await refuse(document, problems);
  const resolution = resolveProfile(value, thread, []);
  await refuseAny(document, resolution.problems);
  return resolution.profile;
}

async function profilesOf(document: Document): Promise<Profiles> {
  const { value, problems } = await validate(ProfilesSchema, document.document);
  if (value === undefined) return await refuse(document, problems);
  const found: PathProblem[] = [];
  const profiles = THREAD_KINDS.map((thread) => {
    const resolution = resolveProfile(value[thread]!, thread, [thread]);
    found.push(...resolution.problems);
    return [thread, resolution.profile] as const;
  });
  await refuseAny(document, found);
  return Object.fromEntries(profiles) as Profiles;
}

async function refuseAny(document: Document, problems: readonly PathProblem[]): Promise<void> {
  if (problems.length > 0 || document.hasRepeatedKeys) await refuse(document, problems);
}

async function refuse(document: Document, problems: readonly PathProblem[]): Promise<never> {
  const places = new Places(document.source, new Map());
  const located = await places.locateAll(problems);
  if (document.hasRepeatedKeys) located.push(...(await places.repeatedKeys()));
  throw new ConfigProblems(inOrder(located) as [Problem, ...Problem[]]);
}
