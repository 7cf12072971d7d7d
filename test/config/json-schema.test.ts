import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { BUILT_SECTIONS } from '../../lib/config/built.ts';
import { configJsonSchema } from '../../lib/config/json-schema.ts';

interface Node {
  readonly [keyword: string]: unknown;
  readonly properties?: Record<string, Node>;
  readonly items?: Node;
  readonly anyOf?: Node[];
  readonly type?: string | string[];
}

const schema = configJsonSchema() as Node;

test('it is draft 2020-12, with a title and a description for every key', (t) => {
  t.is(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
  let count = 0;
  const visit = (node: Node, path: string): void => {
    for (const [key, property] of Object.entries(node.properties ?? {})) {
      count++;
      t.is(typeof property.title, 'string', `title of ${path}/${key}`);
      if (key !== 'bandwidth' && key !== 'ops')
        t.is(typeof property.description, 'string', `description of ${path}/${key}`);
      visit(property, `${path}/${key}`);
    }
    if (node.properties !== undefined) t.is(node.additionalProperties, false, path);
    if (node.items !== undefined) visit(node.items, `${path}/*`);
    for (const branch of node.anyOf ?? []) visit(branch, path);
  };
  visit(schema, '');
  t.true(count > 80, `${count} keys`);
});

test('units, defaults, limits and what is not built are annotated', (t) => {
  const memory = schema.properties!['machine-config']!.properties!.mem_size_mib!;
  t.deepEqual(memory, {
    type: ['integer', 'null'],
    minimum: 1,
    maximum: 1048576,
    title: 'Memory',
    description: memory.description,
    examples: [256],
    'x-unit': 'MiB',
    default: 128,
  });
  for (const [name, isBuilt] of Object.entries(BUILT_SECTIONS)) {
    t.is(schema.properties![name]!['x-unsupported'], isBuilt ? undefined : true, name);
  }
});

test('the sample configurations name only keys of the schema', (t) => {
  const directory = join(import.meta.dirname, '../../fixtures/configs');
  for (const file of readdirSync(directory)) {
    const keys = Object.keys(JSON.parse(readFileSync(join(directory, file), 'utf8')) as object);
    t.deepEqual(
      keys.filter((key) => schema.properties![key] === undefined),
      [],
      file,
    );
  }
});
