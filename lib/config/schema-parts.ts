import * as v from 'valibot';

// What the schema's sections are made of.

export type Described = { title: string; description: string; unit?: string; examples?: readonly unknown[] };

/** Annotations of one key; `unit` becomes `x-unit` in the JSON Schema. */
export const about = <T>(described: Described) => {
  const { unit, examples, ...texts } = described;
  return v.metadata<T, Record<string, unknown>>({
    ...texts,
    ...(examples === undefined ? {} : { examples }),
    ...(unit === undefined ? {} : { unit }),
  });
};

export const text = (described: Described) =>
  v.pipe(v.string(), v.nonEmpty('must not be empty'), about<string>(described));
export const flag = (described: Described) => v.pipe(v.boolean(), about<boolean>(described));
export const integer = (min: number, max: number, described: Described) =>
  v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max), about<number>(described));
export const oneOf = <const T extends readonly [string, ...string[]]>(values: T, described: Described) =>
  v.pipe(v.picklist(values), about<T[number]>(described));
export const matching = (pattern: RegExp, wanted: string, described: Described) =>
  v.pipe(v.string(), v.regex(pattern, `must be ${wanted}`), about<string>(described));
export const list = <T extends v.GenericSchema>(item: T, described: Described) =>
  v.pipe(v.array(item), about<v.InferOutput<T>[]>(described));

/** A path on the host; a relative one is relative to the configuration file. */
export const path = (described: Described) =>
  v.pipe(
    v.string(),
    v.nonEmpty('must not be empty'),
    // A path with a NUL byte cannot be given to the kernel.
    v.excludes('\0', 'must not hold a NUL character'),
    about<string>(described),
  );

/** Firecracker's resource names (`checked_id`). */
export const resourceId = (described: Described) =>
  matching(/^[A-Za-z0-9_]{1,64}$/, '1 to 64 letters, digits and "_"', described);

/** A pattern for these words in upper, lower or mixed case, without a flag (JSON Schema knows none). */
export const anyCase = (words: readonly string[]) =>
  new RegExp(
    `^(?:${words.map((word) => word.replace(/[a-z]/gi, (c) => `[${c.toUpperCase()}${c.toLowerCase()}]`)).join('|')})$`,
  );

/** Bitmap with `length` characters after `0b`: 0, 1, or x for a bit that is left alone; `_` between them is ignored. */
export const bitmap = (length: number) => new RegExp(`^0b(?:_*[01x]){1,${length}}_*$`);
/** A 32-bit number as Firecracker's CPU templates write it: decimal, `0x…` or `0b…`. */
export const NUMERAL = /^(?:0x[0-9a-fA-F]{1,8}|0b[01]{1,32}|[0-9]{1,9})$/;
/** The largest integer that a JSON number carries exactly. */
export const MAX_COUNT = Number.MAX_SAFE_INTEGER;
export const MAX_U32 = 0xffff_ffff;
/** `sockaddr_un.sun_path` holds 108 bytes with its final NUL (unix(7)); checked again once the path is absolute. */
export const UNIX_PATH_HINT = 'A Unix socket’s path has at most 107 bytes.';
/** Memory sizes: up to 1 TiB, in MiB. */
export const MAX_MIB = 1024 * 1024;

export const tokenBucket = v.strictObject({
  size: integer(0, MAX_COUNT, {
    title: 'Bucket size',
    description: 'Tokens that the bucket holds: bytes or operations.',
    unit: 'tokens',
    examples: [1048576],
  }),
  refill_time: integer(0, MAX_COUNT, {
    title: 'Refill time',
    description: 'Time in which an empty bucket becomes full.',
    unit: 'ms',
    examples: [100],
  }),
  one_time_burst: v.nullish(
    integer(0, MAX_COUNT, {
      title: 'Initial burst',
      description: 'Tokens to spend first, which are not refilled.',
      unit: 'tokens',
    }),
  ),
});

export const rateLimiter = v.strictObject({
  bandwidth: v.nullish(v.pipe(tokenBucket, v.title('Limit in bytes'))),
  ops: v.nullish(v.pipe(tokenBucket, v.title('Limit in operations'))),
});
export const rateLimited = (what: string) =>
  v.nullish(v.pipe(rateLimiter, v.title('Rate limiter'), v.description(what)));
