/** An object whose numeric properties are counters that only grow. Others are ignored. */
type Source = () => object;

type Values = Record<string, number>;

interface Group {
  readonly name: string;
  /** The group that sums up this one and its like. */
  readonly kind: string | undefined;
  readonly read: Source;
  /** What was told last. */
  told: Values;
}

/**
 * All counters of a machine, in groups. A report has, as Firecracker's (its `SharedIncMetric`), what each has grown by since the report
 * before; groups of devices of a kind are also summed up in one of that kind.
 */
export class Counters {
  readonly #groups: Group[] = [];
  readonly #kinds = new Map<string, Values>();

  add(name: string, read: Source): void {
    this.#groups.push({ name, kind: undefined, read, told: {} });
  }

  /** Makes a group for the sum over devices of a kind. @param zero an object that has not counted yet, for its names */
  addKind(kind: string, zero: object): void {
    this.#kinds.set(kind, valuesOf(zero));
  }

  /** One of the devices of a kind. */
  addDevice(kind: string, id: string, read: Source): void {
    this.#groups.push({ name: `${kind}_${id}`, kind, read, told: {} });
  }

  /**
   * What has been counted since the last report that was `taken`.
   * @returns the report, and what to call once it has reached its reader: without that, the next one has all of it too
   */
  report(): { readonly groups: Record<string, Values>; readonly taken: () => void } {
    const groups: Record<string, Values> = {};
    const readings: Values[] = [];
    for (const [kind, zero] of this.#kinds) groups[kind] = { ...zero };
    for (const { name, kind, read, told } of this.#groups) {
      const now = valuesOf(read());
      const grown: Values = {};
      const sum = kind === undefined ? undefined : groups[kind];
      for (const [key, value] of Object.entries(now)) {
        grown[key] = value - (told[key] ?? 0);
        if (sum !== undefined) sum[key] = (sum[key] ?? 0) + grown[key];
      }
      groups[name] = grown;
      readings.push(now);
    }
    const taken = (): void => {
      for (const [i, group] of this.#groups.entries()) group.told = readings[i]!;
    };
    return { groups, taken };
  }
}

function valuesOf(source: object): Values {
  return Object.fromEntries(Object.entries(source).filter(([, value]) => typeof value === 'number'));
}
