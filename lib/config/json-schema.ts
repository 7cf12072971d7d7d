import { toJsonSchema } from '@valibot/to-json-schema';
import { BUILT_SECTIONS } from './built.ts';
import { ConfigSchema } from './schema.ts';

/** The parts of a JSON Schema that are looked at here. */
interface JsonSchemaObject {
  [keyword: string]: unknown;
  properties?: Record<string, JsonSchemaObject>;
}

/**
 * The JSON Schema (draft 2020-12) of the configuration file, from the schema that validates it. Annotations beyond the
 * standard's: `x-unit`, and `x-unsupported` on sections that this version refuses.
 */
export function configJsonSchema(): JsonSchemaObject {
  const schema = toJsonSchema(ConfigSchema, {
    target: 'draft-2020-12',
    typeMode: 'input',
    overrideAction: ({ valibotAction, jsonSchema }) => {
      if (valibotAction.type === 'metadata') {
        const { unit, ...annotations } = (valibotAction as unknown as { metadata: Record<string, unknown> }).metadata;
        const { unit: _raw, ...others } = jsonSchema as JsonSchemaObject;
        return { ...others, ...annotations, ...(unit === undefined ? {} : { 'x-unit': unit }) };
      }
      // No NUL character: JSON Schema says it by a pattern, which must not hide another one.
      if (valibotAction.type === 'excludes') return { pattern: '^[^\\u0000]*$', ...jsonSchema };
      return undefined;
    },
  }) as JsonSchemaObject;
  for (const [name, section] of Object.entries(schema.properties ?? {})) {
    if (BUILT_SECTIONS[name as keyof typeof BUILT_SECTIONS] === false) section['x-unsupported'] = true;
  }
  const { $schema, ...rest } = schema;
  return { $schema, ...(simplify(rest) as JsonSchemaObject) };
}

/** Writes "this, or null" as a type of two names where there is one type only: editors show its title and values then. */
function simplify(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(simplify);
  if (typeof node !== 'object' || node === null) return node;
  const { anyOf, ...others } = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, simplify(value)]));
  if (!Array.isArray(anyOf)) return others;
  const [only, nothing] = anyOf as [JsonSchemaObject, JsonSchemaObject | undefined];
  if (anyOf.length !== 2 || nothing?.type !== 'null') return { ...others, anyOf };
  if (Array.isArray(only.anyOf)) return { ...only, ...others, anyOf: [...only.anyOf, nothing] };
  if (typeof only.type !== 'string') return { ...others, anyOf };
  const values = Array.isArray(only.enum) ? { enum: [...only.enum, null] } : {};
  return { ...only, ...others, type: [only.type, 'null'], ...values };
}
