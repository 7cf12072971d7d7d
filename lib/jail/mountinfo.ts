/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export interface Mount {
  readonly mountPoint: string;
  /** The type of the file system. */
  readonly type: string;
  /** Options of the file system, which for cgroups are the hierarchy's controllers. */
  readonly superOptions: readonly string[];
}

/** Reads the text of /proc/self/mountinfo. */
export function parseMountinfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before, after] = line.split(' - ');
    const mountPoint = before?.split(' ')[4];
    const [type, , options] = after?.split(' ') ?? [];
    if (mountPoint === undefined || type === undefined || options === undefined) return [];
    return [{ mountPoint: unescapePath(mountPoint), type, superOptions: options.split(',') }];
  });
}

/** Blanks and backslashes are there as `\040`. */
function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
