import type { Connection } from './connection.ts';

/** Connections that have something to say to the guest, each once, first come first served. */
export class ReadyList {
  #first: Connection | undefined;
  #last: Connection | undefined;

  get first(): Connection | undefined {
    return this.#first;
  }

  /** Puts it at the end, where it is not in the list already. */
  add(connection: Connection): void {
    if (connection.listed) return;
    connection.listed = true;
    connection.previousListed = this.#last;
    if (this.#last === undefined) this.#first = connection;
    else this.#last.nextListed = connection;
    this.#last = connection;
  }

  remove(connection: Connection): void {
    if (!connection.listed) return;
    const { previousListed: previous, nextListed: next } = connection;
    if (previous === undefined) this.#first = next;
    else previous.nextListed = next;
    if (next === undefined) this.#last = previous;
    else next.previousListed = previous;
    connection.listed = false;
    connection.previousListed = undefined;
    connection.nextListed = undefined;
  }

  clear(): void {
    while (this.#first !== undefined) this.remove(this.#first);
  }
}
