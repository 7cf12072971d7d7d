/** What valibot's schema objects have in common, as far as a walk over objects and arrays needs it. */
export interface SchemaShape {
  readonly type: string;
  readonly entries?: Readonly<Record<string, SchemaShape>>;
  readonly item?: SchemaShape;
  readonly wrapped?: SchemaShape;
  readonly options?: readonly SchemaShape[];
}

/** The object (or array) schema that applies to `value`, below wrappers and unions. */
export function shapeFor(schema: SchemaShape, value: unknown): SchemaShape {
  if (schema.wrapped !== undefined) return shapeFor(schema.wrapped, value);
  if (schema.type === 'union' && schema.options !== undefined) {
    const wanted = Array.isArray(value) ? 'array' : typeof value === 'object' ? 'strict_object' : typeof value;
    for (const option of schema.options) {
      const shape = shapeFor(option, value);
      if (shape.type === wanted) return shape;
    }
  }
  return schema;
}

/** Whether an object is wanted: to valibot, an array is one as well. */
export function isObjectShape(shape: SchemaShape): boolean {
  return shape.entries !== undefined || shape.type === 'record';
}

/** Whether `value` has arrays where it should, and no key that the schema does not know: valibot lets `constructor` pass. */
export function hasKnownShape(schema: SchemaShape, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  const shape = shapeFor(schema, value);
  if (Array.isArray(value)) {
    if (isObjectShape(shape)) return false;
    return shape.item === undefined || value.every((element) => hasKnownShape(shape.item!, element));
  }
  const { entries } = shape;
  if (entries === undefined) return true;
  return Object.entries(value).every(
    ([key, part]) => Object.hasOwn(entries, key) && hasKnownShape(entries[key]!, part),
  );
}
