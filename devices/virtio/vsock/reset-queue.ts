/** As many as a driver's queue of packets: each packet is answered by one reset at most. */
const CAPACITY = 256;

/** Resets that are due to the guest for packets of no connection, first come first served. */
export class ResetQueue {
  readonly #hostPorts = new Uint32Array(CAPACITY);
  readonly #guestPorts = new Uint32Array(CAPACITY);
  #first = 0;
  #count = 0;

  get empty(): boolean {
    return this.#count === 0;
  }

  get full(): boolean {
    return this.#count === CAPACITY;
  }

  /** Only where it is not full. */
  add(hostPort: number, guestPort: number): void {
    const place = (this.#first + this.#count) % CAPACITY;
    this.#hostPorts[place] = hostPort;
    this.#guestPorts[place] = guestPort;
    this.#count++;
  }

  /** Of the first one. Only where there is one. */
  get hostPort(): number {
    return this.#hostPorts[this.#first]!;
  }

  get guestPort(): number {
    return this.#guestPorts[this.#first]!;
  }

  removeFirst(): void {
    this.#first = (this.#first + 1) % CAPACITY;
    this.#count--;
  }

  clear(): void {
    this.#count = 0;
  }
}
