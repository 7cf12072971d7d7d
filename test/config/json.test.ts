import test from 'ava';
import fc from 'fast-check';
import {
  hasDuplicateKeys,
  JsonLocator,
  JsonSyntaxError,
  parseJson,
  positionAt,
  toPointer,
} from '../../lib/config/json.ts';

const BROKEN: readonly (readonly [text: string, line: number, column: number, message: RegExp])[] = [
  ['', 1, 1, /empty/],
  [' \n\n', 3, 1, /empty/],
  ['{', 1, 2, /property name/],
  ['{"a": 1', 1, 8, /Expected|expected ','/],
  ['{"a": 1,}', 1, 9, /property name/],
  ['{\n  "a": 1,\n  b: 2\n}', 3, 3, /property name/],
  ['{\n  "a" 1\n}', 2, 7, /':'/],
  ['{"a": 01}', 1, 8, /number/],
  ['{"a": tru}', 1, 7, /unexpected "t"/],
  ['{"a": NaN}', 1, 7, /unexpected "N"/],
  ["{'a': 1}", 1, 2, /property name/],
  ['{"a": "x\ny"}', 1, 9, /control character/],
  ['{"a": "\\x"}', 1, 9, /escaped character/],
  ['{"a": 1} x', 1, 10, /after JSON/],
  ['// comment\n{}', 1, 1, /unexpected "\/"/],
  ['{"a":1\r\n,"b":2\r\n "c":3}', 3, 2, /','/],
  ['[1, 2', 1, 6, /','/],
  ['"abc', 1, 5, /unterminated/],
];

for (const [text, line, column, message] of BROKEN) {
  test(`broken JSON ${JSON.stringify(text)} is placed at ${line}:${column}`, async (t) => {
    const error = await t.throwsAsync(parseJson(text), { instanceOf: JsonSyntaxError, message });
    t.deepEqual(error.position, { line, column });
  });
}

test('whatever JSON.parse refuses is refused with a place inside the text', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.json(), fc.nat(), fc.string({ maxLength: 3 }), async (json, seed, junk) => {
      const at = seed % (json.length + 1);
      const text = json.slice(0, at) + junk + json.slice(at + 1);
      let isValid = true;
      try {
        JSON.parse(text);
      } catch {
        isValid = false;
      }
      try {
        const value = await parseJson(text);
        return isValid && JSON.stringify(value) === JSON.stringify(JSON.parse(text));
      } catch (error) {
        if (isValid || !(error instanceof JsonSyntaxError)) return false;
        const { line, column } = error.position;
        const lines = text.split(/\r\n|\n|\r/);
        return line >= 1 && line <= lines.length && column >= 1 && column <= lines[line - 1]!.length + 2;
      }
    }),
  );
  t.pass();
});

test('positions count lines that end with LF, CR LF or CR', (t) => {
  const text = 'a\nb\r\nc\rd';
  t.deepEqual(positionAt(text, 0), { line: 1, column: 1 });
  t.deepEqual(positionAt(text, 2), { line: 2, column: 1 });
  t.deepEqual(positionAt(text, 5), { line: 3, column: 1 });
  t.deepEqual(positionAt(text, 7), { line: 4, column: 1 });
  t.deepEqual(positionAt(text, 8), { line: 4, column: 2 });
});

test('pointers escape what RFC 6901 says', (t) => {
  t.is(toPointer([]), '');
  t.is(toPointer(['drives', 0, 'a/b~c']), '/drives/0/a~1b~0c');
});

test('parts of a text are found by their paths', async (t) => {
  const locator = await JsonLocator.create('{\n  "a": [1, {"b": true}],\n  "c": {}\n}');
  t.deepEqual(locator.find([]), { line: 1, column: 1 });
  t.deepEqual(locator.find(['a'], 'key'), { line: 2, column: 3 });
  t.deepEqual(locator.find(['a'], 'value'), { line: 2, column: 8 });
  t.deepEqual(locator.find(['a', 1, 'b']), { line: 2, column: 18 });
  t.deepEqual(locator.find(['a', 1, 'b'], 'key'), { line: 2, column: 13 });
  // What is missing is placed where it would be.
  t.deepEqual(locator.find(['c', 'd', 'e']), { line: 3, column: 8 });
  t.deepEqual(locator.find(['a', 7]), { line: 2, column: 8 });
});

test('repeated keys are noticed, and the last of them counts', async (t) => {
  const text = '{"a": 1, "b": {"a": "a\\":", "a": ["b\\\\", {"c": ":"}]}, "a": 2}';
  t.true(hasDuplicateKeys(text, JSON.parse(text)));
  const locator = await JsonLocator.create(text);
  t.deepEqual(
    locator.duplicateKeys().map(({ path, position }) => [toPointer(path), position.column]),
    [
      ['/b/a', text.indexOf('"a": ["b') + 1],
      ['/a', text.lastIndexOf('"a"') + 1],
    ],
  );
  t.deepEqual(locator.find(['a']), { line: 1, column: text.lastIndexOf('2') + 1 });
});

test('a text without repeated keys is not taken for one with them', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
      const text = JSON.stringify(value, undefined, indent);
      return !hasDuplicateKeys(text, JSON.parse(text));
    }),
  );
  t.pass();
});
