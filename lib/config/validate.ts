import * as v from 'valibot';
import type { PathProblem } from './problems.ts';
import type { FileConfig } from './schema.ts';
import { CoreSchema, coreEntries } from './schema-core.ts';
import { hasKnownShape, type SchemaShape } from './schema-shape.ts';

/** A value that is valid, or everything that is wrong with it. */
export type Validation<T> =
  | { readonly value: T; readonly problems: readonly [] }
  | { readonly value?: undefined; readonly problems: readonly PathProblem[] };

/** Checks types, ranges and keys of a whole configuration. */
export async function validateConfig(input: unknown): Promise<Validation<FileConfig>> {
  if (
    typeof input === 'object' &&
    input !== null &&
    Object.keys(input).every((key) => Object.hasOwn(coreEntries, key))
  ) {
    const validation = await validate(CoreSchema, input);
    if (validation.value !== undefined) return validation;
  }
  // What only the whole schema knows is needed for the hints too.
  const { ConfigSchema } = await import('./schema.ts');
  return await validate(ConfigSchema, input);
}

/** Checks `input` against a schema; reports every problem, at most one for each place. */
export async function validate<T extends v.GenericSchema>(
  schema: T,
  input: unknown,
): Promise<Validation<v.InferOutput<T>>> {
  const shape = schema as unknown as SchemaShape;
  const { success, issues, output } = v.safeParse(schema, input);
  if (success && hasKnownShape(shape, input)) return { value: output, problems: [] };
  const { explain } = await import('./explain.ts');
  return { problems: explain(shape, input, issues ?? []) };
}
