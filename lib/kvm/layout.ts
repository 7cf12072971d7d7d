/**
 * C structures, described once: sizes and offsets by the x86-64 System V ABI (section 3.1.2: each member at the next
 * multiple of its alignment, the whole padded to that of its widest member), and accessors over a DataView.
 *
 * Offsets are plain numbers, for hot code that indexes typed arrays itself:
 *
 *     const EXIT_REASON = kvm_run.offset.exit_reason;
 *     const IO_PORT = kvm_run.offset['io.port'];
 *
 * `get`, `set`, `read`, `write`, `encode` and `decode` allocate, and check nothing but the bounds of the view; they are for
 * the control path. All is little-endian. A description is laid out when it is first asked for something: start-up pays
 * only for those that it uses.
 */

/** A C type: its size and alignment in bytes, and how a value of it is read and written. */
export interface Type<Out, In = Out> {
  readonly size: number;
  readonly align: number;
  /** Where the member lies whatever precedes it, in bytes; see `at`. */
  readonly place?: number;
  read(view: DataView, offset: number): Out;
  write(view: DataView, offset: number, value: In): void;
}

export type Fields = Readonly<Record<string, Type<unknown, never>>>;

type OutOf<T> = T extends Type<infer Out, infer _In> ? Out : never;
type InOf<T> = T extends Type<infer _Out, infer In> ? In : never;

/** The members of a structure, nested ones as `outer.inner`. */
export type Path<F extends Fields> = {
  [K in keyof F & string]: F[K] extends Struct<infer G> ? K | `${K}.${Path<G>}` : K;
}[keyof F & string];

/** The type of the member at a path. */
export type TypeAt<F extends Fields, P extends string> = P extends keyof F
  ? F[P]
  : P extends `${infer Head}.${infer Rest}`
    ? Head extends keyof F
      ? F[Head] extends Struct<infer G>
        ? TypeAt<G, Rest>
        : never
      : never
    : never;

/** What `read` gives: every member; 64-bit integers as `bigint`. */
export type Value<S> = S extends Struct<infer F> ? { -readonly [K in keyof F]: OutOf<F[K]> } : never;
/** What `write` takes: the members to write, the rest is left as it is; 64-bit integers as `bigint` or as an exact `number`. */
export type Input<S> = S extends Struct<infer F> ? { readonly [K in keyof F]?: InOf<F[K]> } : never;

/** A C structure or union. Offsets are relative to its start; `base` is where it starts in the view (default 0). */
export interface Struct<F extends Fields>
  extends Type<{ -readonly [K in keyof F]: OutOf<F[K]> }, { readonly [K in keyof F]?: InOf<F[K]> }> {
  /** The C tag, or `undefined` for one that C leaves unnamed. */
  readonly name: string | undefined;
  readonly fields: F;
  /** The offset of each member in bytes, nested ones as `offset['outer.inner']`. */
  readonly offset: Readonly<Record<Path<F>, number>>;
  get<P extends Path<F>>(view: DataView, path: P, base?: number): OutOf<TypeAt<F, P>>;
  set<P extends Path<F>>(view: DataView, path: P, value: InOf<TypeAt<F, P>>, base?: number): void;
  /** Fresh bytes: `value`'s members set, all else zero. */
  encode(value: { readonly [K in keyof F]?: InOf<F[K]> }): Uint8Array<ArrayBuffer>;
  /** The whole structure at the start of `bytes`. @throws RangeError where it is too short */
  decode(bytes: Uint8Array): { -readonly [K in keyof F]: OutOf<F[K]> };
}

/** A view of exactly the bytes that `bytes` shows. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function scalar<Out, In>(
  size: number,
  read: (view: DataView, offset: number) => Out,
  write: (view: DataView, offset: number, value: In) => void,
): Type<Out, In> {
  return { size, align: size, read, write };
}

export const u8: Type<number> = scalar(
  1,
  (view, offset) => view.getUint8(offset),
  (view, offset, value: number) => view.setUint8(offset, value),
);
export const u16: Type<number> = scalar(
  2,
  (view, offset) => view.getUint16(offset, true),
  (view, offset, value: number) => view.setUint16(offset, value, true),
);
export const u32: Type<number> = scalar(
  4,
  (view, offset) => view.getUint32(offset, true),
  (view, offset, value: number) => view.setUint32(offset, value, true),
);
export const s16: Type<number> = scalar(
  2,
  (view, offset) => view.getInt16(offset, true),
  (view, offset, value: number) => view.setInt16(offset, value, true),
);
export const s32: Type<number> = scalar(
  4,
  (view, offset) => view.getInt32(offset, true),
  (view, offset, value: number) => view.setInt32(offset, value, true),
);
export const u64: Type<bigint, bigint | number> = scalar(
  8,
  (view, offset) => view.getBigUint64(offset, true),
  (view, offset, value: bigint | number) => view.setBigUint64(offset, BigInt(value), true),
);
export const s64: Type<bigint, bigint | number> = scalar(
  8,
  (view, offset) => view.getBigInt64(offset, true),
  (view, offset, value: bigint | number) => view.setBigInt64(offset, BigInt(value), true),
);
/** A pointer into this process. */
export const pointer: Type<bigint, bigint | number> = { ...u64 };

/** `u8[length]`: read as a copy; a shorter value leaves the rest as it is. */
export function bytes(length: number): Type<Uint8Array<ArrayBuffer>, ArrayLike<number>> {
  return {
    size: length,
    align: 1,
    read(view, offset) {
      return new Uint8Array(new Uint8Array(view.buffer, view.byteOffset + offset, length));
    },
    write(view, offset, value) {
      if (value.length > length) throw new RangeError(`${value.length} bytes do not fit in ${length}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, length).set(value);
    },
  };
}

/** `element[length]`; a shorter value leaves the rest as it is. */
export function array<Out, In>(element: Type<Out, In>, length: number): Type<Out[], readonly In[]> {
  return {
    size: element.size * length,
    align: element.align,
    read(view, offset) {
      return Array.from({ length }, (_, i) => element.read(view, offset + i * element.size));
    },
    write(view, offset, value) {
      if (value.length > length) throw new RangeError(`${value.length} elements do not fit in ${length}`);
      for (const [i, item] of value.entries()) element.write(view, offset + i * element.size, item);
    },
  };
}

/** `element[]`, C's flexible array member: no size of its own. It is written by `encodeList`, read by `readList`. */
export function flexible(element: { readonly align: number }): Type<undefined> {
  return { size: 0, align: element.align, read: () => undefined, write: () => undefined };
}

/** A member at an explicit offset: how anonymous unions are described, every alternative `at` the union's offset. */
export function at<T extends Type<unknown, never>>(place: number, type: T): T {
  return (type instanceof Layout ? type.at(place) : { ...type, place }) as T;
}

/** A C structure. Members lie in the order given; one that is not placed by `at` comes after the furthest before it. */
export function struct<const F extends Fields>(
  name: string | undefined,
  fields: F,
  options: { packed?: boolean } = {},
): Struct<F> {
  return new Layout(name, fields, options.packed ?? false, false) as unknown as Struct<F>;
}

/** A C union: every member at its start. */
export function union<const F extends Fields>(fields: F): Struct<F> {
  return new Layout(undefined, fields, false, true) as unknown as Struct<F>;
}

/** Implements `Struct` with the members' types forgotten; `struct` and `union` give them back. */
class Layout {
  readonly name: string | undefined;
  readonly fields: Fields;
  place?: number;
  private readonly packed: boolean;
  private readonly overlaid: boolean;
  private own: Record<string, number> | undefined;
  private all: Record<string, number> | undefined;
  private end = 0;
  private widest = 1;

  constructor(name: string | undefined, fields: Fields, packed: boolean, overlaid: boolean) {
    this.name = name;
    this.fields = fields;
    this.packed = packed;
    this.overlaid = overlaid;
  }

  /** The same structure, as a member at an explicit offset. */
  at(place: number): Layout {
    const copy = new Layout(this.name, this.fields, this.packed, this.overlaid);
    copy.place = place;
    return copy;
  }

  /** The offsets of the members themselves. */
  private placed(): Record<string, number> {
    if (this.own !== undefined) return this.own;
    const own: Record<string, number> = {};
    for (const [key, type] of Object.entries(this.fields)) {
      const align = this.packed ? 1 : type.align;
      const start = this.overlaid ? 0 : (type.place ?? alignUp(this.end, align));
      own[key] = start;
      this.end = Math.max(this.end, start + type.size);
      this.widest = Math.max(this.widest, align);
    }
    this.own = own;
    return own;
  }

  get size(): number {
    this.placed();
    return alignUp(this.end, this.widest);
  }

  get align(): number {
    this.placed();
    return this.widest;
  }

  get offset(): Record<string, number> {
    this.all ??= flatten(this.fields, this.placed());
    return this.all;
  }

  read(view: DataView, base: number): Record<string, unknown> {
    const own = this.placed();
    const value: Record<string, unknown> = {};
    for (const [key, type] of Object.entries(this.fields)) value[key] = type.read(view, base + own[key]!);
    return value;
  }

  write(view: DataView, base: number, value: Record<string, unknown>): void {
    for (const [key, item] of Object.entries(value)) {
      if (item !== undefined) this.set(view, key, item, base);
    }
  }

  get(view: DataView, path: string, base = 0): unknown {
    return memberAt(this, path).read(view, base + this.offset[path]!);
  }

  set(view: DataView, path: string, value: unknown, base = 0): void {
    memberAt(this, path).write(view, base + this.offset[path]!, value as never);
  }

  encode(value: Record<string, unknown>): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(this.size);
    this.write(viewOf(out), 0, value);
    return out;
  }

  decode(bytes: Uint8Array): Record<string, unknown> {
    if (bytes.length < this.size) throw new RangeError(`${bytes.length} bytes hold no ${this.name ?? 'structure'}`);
    return this.read(viewOf(bytes), 0);
  }
}

/** The offsets of `fields` and of everything nested in them. */
function flatten(fields: Fields, own: Record<string, number>): Record<string, number> {
  const all: Record<string, number> = {};
  for (const [key, type] of Object.entries(fields)) {
    const start = own[key]!;
    all[key] = start;
    if (isStruct(type)) {
      for (const [path, inner] of Object.entries<number>(type.offset)) all[`${key}.${path}`] = start + inner;
    }
  }
  return all;
}

function alignUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}

export function isStruct(type: Type<unknown, never>): type is Struct<Fields> {
  return type instanceof Layout;
}

/** The type of the member at `path` (`outer.inner`). @throws RangeError where there is none */
export function memberType<F extends Fields>(type: Struct<F>, path: string): Type<unknown, never> {
  return memberAt(type as unknown as Layout, path);
}

function memberAt(layout: Layout, path: string): Type<unknown, never> {
  let current: Type<unknown, never> = layout;
  for (const key of path.split('.')) {
    const next: Type<unknown, never> | undefined = isStruct(current) ? current.fields[key] : undefined;
    if (next === undefined) throw new RangeError(`${layout.name ?? 'structure'} has no member ${path}`);
    current = next;
  }
  return current;
}

/**
 * A structure that ends in a flexible array: its header, then `elements` from the offset of its member `list` on
 * (how KVM takes MSRs, CPUID entries and interrupt routes).
 */
export function encodeList<F extends Fields, In>(
  header: Struct<F>,
  list: Path<F>,
  value: Input<Struct<F>>,
  element: Type<unknown, In>,
  elements: readonly In[],
): Uint8Array<ArrayBuffer> {
  const start = header.offset[list];
  const out = new Uint8Array(Math.max(header.size, start + elements.length * element.size));
  const view = viewOf(out);
  header.write(view, 0, value as never);
  for (const [i, item] of elements.entries()) element.write(view, start + i * element.size, item);
  return out;
}

/** `count` elements of the flexible array `list` of a structure at the start of `bytes`. @throws RangeError where `bytes` is too short */
export function readList<F extends Fields, Out>(
  header: Struct<F>,
  list: Path<F>,
  element: Type<Out, never>,
  count: number,
  bytes: Uint8Array,
): Out[] {
  const view = viewOf(bytes);
  const start = header.offset[list];
  return Array.from({ length: count }, (_, i) => element.read(view, start + i * element.size));
}
