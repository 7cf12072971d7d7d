import { MmioBus } from '../../../devices/mmio-bus.ts';
import { BarSpace } from '../../../devices/pci/bar-space.ts';
import { PciBus } from '../../../devices/pci/bus.ts';
import * as pci from '../../../devices/pci/constants.ts';
import type { MsiSink } from '../../../devices/pci/msix.ts';
import { PortBus } from '../../../devices/port-bus.ts';
import { VirtioCore } from '../../../devices/virtio/core.ts';
import { FaultLog } from '../../../devices/virtio/faults.ts';
import * as layout from '../../../devices/virtio/pci/layout.ts';
import { VirtioPci } from '../../../devices/virtio/pci/transport.ts';
import { GuestMemory } from '../../../lib/memory/guest-memory.ts';
import {
  IOAPIC_BASE,
  LOCAL_APIC_BASE,
  MMIO_HOLE_END,
  MMIO_HOLE_START,
  PCI_ECAM_SIZE,
  PCI_ECAM_START,
  PCI_MMIO_START,
  VIRTIO_MMIO_START,
} from '../../../lib/memory/layout.ts';
import { PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_DATA_PORT } from '../../../lib/memory/ports.ts';
import { Driver } from './driver.ts';
import { EchoDevice } from './echo-device.ts';
import { PciRegisters } from './pci-registers.ts';
import { below, onceIn, pick, type Tape } from './tape.ts';

const SIZES = [1, 2, 4, 4] as const;
/** Where BARs come and go, at addresses that overlap by halves. */
const STEP = layout.VIRTIO_PCI_BAR_SIZE / 2;
const PLACES = [
  ...Array.from({ length: 12 }, (_, i) => PCI_MMIO_START + i * STEP),
  0,
  0x10_0000,
  MMIO_HOLE_START - layout.VIRTIO_PCI_BAR_SIZE,
  PCI_ECAM_START - layout.VIRTIO_PCI_BAR_SIZE,
  PCI_ECAM_START,
  PCI_ECAM_START + PCI_ECAM_SIZE,
  VIRTIO_MMIO_START - layout.VIRTIO_PCI_BAR_SIZE,
  VIRTIO_MMIO_START,
  IOAPIC_BASE,
  LOCAL_APIC_BASE,
  MMIO_HOLE_END - layout.VIRTIO_PCI_BAR_SIZE,
  0xffff_ffff,
];
const PAGES = [layout.PAGE_COMMON, layout.PAGE_NOTIFY, layout.PAGE_MSIX_TABLE, layout.PAGE_MSIX_PENDING] as const;

/** Something that is on the memory bus, and must stay there. */
const FIXED = [
  { start: PCI_ECAM_START, size: PCI_ECAM_SIZE },
  { start: VIRTIO_MMIO_START, size: 0x1000 },
];

/** What the guest of a tape acts on. */
export interface HostileBusTarget {
  readonly memory: GuestMemory;
  readonly mmio: MmioBus;
  readonly ports: PortBus;
  /** In the order of their device numbers, from 1 on. */
  readonly devices: readonly { readonly device: EchoDevice; readonly core: VirtioCore }[];
  /** Called after each step; throws where something is not as it must be. */
  check(): void;
}

/**
 * A guest that does what a tape says to a PCI bus with virtio devices: configuration space in any order and width, by memory and by ports;
 * BARs over RAM, over each other and over everything else; garbage in MSI-X tables; structures through the window of configuration space.
 */
export class HostileBus {
  readonly target: HostileBusTarget;

  constructor(target: HostileBusTarget) {
    this.target = target;
  }

  /** Does what the tape says, up to `steps` things or its end, then proves that every device works once its bus is put in order. */
  run(tape: Tape, steps: number): void {
    for (let i = 0; i < steps && !tape.ended; i++) {
      this.#step(tape);
      this.target.check();
    }
    this.#putInOrder();
    this.target.check();
    for (const number of this.target.devices.keys()) this.#proveAlive(number);
  }

  #step(tape: Tape): void {
    const { devices } = this.target;
    const number = below(tape, devices.length + 2);
    switch (below(tape, 10)) {
      case 0:
      case 1:
        this.#write(tape, number, pci.PCI_BASE_ADDRESS_0, 4, pick(tape, PLACES));
        break;
      case 2:
        this.#write(tape, number, pci.PCI_COMMAND, 2, pick(tape, [0, 2, 4, 6, 6, 6, tape.next() & 0xffff]));
        break;
      case 3:
        this.#write(tape, number, below(tape, 260), pick(tape, SIZES), tape.next());
        break;
      case 4:
        this.#write(
          tape,
          number,
          this.#find(number, pci.PCI_CAP_ID_MSIX) + 2,
          2,
          pick(tape, [0, 0x8000, 0xc000, 0xffff]),
        );
        break;
      case 5:
        this.#useWindow(tape, number);
        break;
      case 6:
        this.#touchMemory(tape, pick(tape, PLACES) + pick(tape, PAGES) * layout.PAGE_SIZE + below(tape, 0x60));
        break;
      case 7:
        this.#touchMemory(tape, pick(tape, PLACES) + below(tape, 8) * layout.PAGE_SIZE + below(tape, 0x1000));
        break;
      case 8:
        this.#interrupt(tape);
        break;
      default:
        if (onceIn(tape, 4)) this.#bringUp(tape);
    }
  }

  /** Writes configuration space one way or the other. */
  #write(tape: Tape, number: number, offset: number, size: 1 | 2 | 4, value: number): void {
    const { mmio, ports } = this.target;
    const bits = size === 4 ? value >>> 0 : value & (2 ** (8 * size) - 1);
    if (onceIn(tape, 2) || offset > 0xff) {
      mmio.write(PCI_ECAM_START + (number << 15) + offset, size, bits);
      mmio.read(PCI_ECAM_START + (number << 15) + offset, size);
      return;
    }
    const enable = onceIn(tape, 16) ? 0 : 0x8000_0000;
    ports.write(PCI_CONFIG_ADDRESS_PORT, 4, (enable | (number << 11) | (offset & 0xfc)) >>> 0);
    ports.write(PCI_CONFIG_DATA_PORT + (offset & 3), size, bits);
    ports.read(PCI_CONFIG_DATA_PORT + (offset & 3), size);
  }

  #read(number: number, offset: number, size: 1 | 2 | 4): number {
    return this.target.mmio.read(PCI_ECAM_START + (number << 15) + offset, size);
  }

  /** The offset of a capability, 0 where there is none. @param type of virtio's vendor capabilities */
  #find(number: number, id: number, type?: number): number {
    if (number === 0 || number > this.target.devices.length) return 0;
    let at = this.#read(number, pci.PCI_CAPABILITY_LIST, 1);
    for (; at !== 0; at = this.#read(number, at + 1, 1)) {
      if (this.#read(number, at, 1) !== id) continue;
      if (type === undefined || this.#read(number, at + layout.VIRTIO_PCI_CAP_CFG_TYPE, 1) === type) break;
    }
    return at;
  }

  #useWindow(tape: Tape, number: number): void {
    const at = this.#find(number, pci.PCI_CAP_ID_VNDR, layout.VIRTIO_PCI_CAP_PCI_CFG);
    if (at === 0) return;
    const page = onceIn(tape, 8) ? tape.next() : pick(tape, PAGES) * layout.PAGE_SIZE;
    this.#write(tape, number, at + layout.VIRTIO_PCI_CAP_BAR, 1, onceIn(tape, 8) ? tape.next() : 0);
    this.#write(tape, number, at + layout.VIRTIO_PCI_CAP_OFFSET, 4, page + below(tape, 0x60));
    this.#write(tape, number, at + layout.VIRTIO_PCI_CAP_LENGTH, 4, onceIn(tape, 8) ? tape.next() : pick(tape, SIZES));
    this.#write(tape, number, at + layout.VIRTIO_PCI_NOTIFY_CAP_MULT, pick(tape, SIZES), tape.next());
  }

  #touchMemory(tape: Tape, address: number): void {
    const size = pick(tape, SIZES);
    // RAM is not on the bus.
    if (address < MMIO_HOLE_START || address + size > MMIO_HOLE_END) return;
    const value = onceIn(tape, 2) ? below(tape, 20) : tape.next();
    if (onceIn(tape, 3)) this.target.mmio.read(address, size);
    else this.target.mmio.write(address, size, value % 2 ** (8 * size));
  }

  #interrupt(tape: Tape): void {
    const { device } = pick(tape, this.target.devices);
    if (onceIn(tape, 4)) device.host?.configChanged();
    else device.host?.interrupt(below(tape, 2));
  }

  /** Drives a device honestly, where its BAR can be reached. */
  #bringUp(tape: Tape): void {
    const index = below(tape, this.target.devices.length);
    const { registers, driver } = this.#driver(index);
    if (registers.queueCount === 2) driver.start();
  }

  #driver(index: number): { driver: Driver; registers: PciRegisters } {
    const { mmio, memory, devices } = this.target;
    const ecam = {
      read: (offset: number, size: number) => mmio.read(PCI_ECAM_START + offset, size as 4),
      write: (offset: number, size: number, value: number) => mmio.write(PCI_ECAM_START + offset, size as 4, value),
    };
    const { core, device } = devices[index]!;
    const registers = new PciRegisters(mmio, ecam, index + 1);
    const driver = new Driver({ core, registers }, device, memory);
    driver.allocate(0x1_0000 * (index + 1), 0x1000);
    return { driver, registers };
  }

  /** What firmware does: each BAR in a place of its own, and enabled. */
  #putInOrder(): void {
    const set = (number: number, offset: number, size: 2 | 4, value: number) =>
      this.target.mmio.write(PCI_ECAM_START + (number << 15) + offset, size, value);
    for (const index of this.target.devices.keys()) {
      set(index + 1, pci.PCI_BASE_ADDRESS_0, 4, PCI_MMIO_START + index * layout.VIRTIO_PCI_BAR_SIZE);
    }
    for (const index of this.target.devices.keys()) {
      set(index + 1, pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
    }
  }

  #proveAlive(index: number): void {
    const { driver } = this.#driver(index);
    const { core } = this.target.devices[index]!;
    driver.memory.bytes.fill(0);
    driver.start();
    const question = driver.allocate(16);
    const answer = driver.allocate(16);
    driver.memory.write(question, new Uint8Array(16).fill(7 + index));
    driver.ring().add([
      { address: question, length: 16, writable: false },
      { address: answer, length: 16, writable: true },
    ]);
    driver.registers.notify(0);
    core.poll();
    if (driver.memory.read(answer, 16).some((byte) => byte !== 7 + index)) throw new Error('no answer');
    if (driver.ring().collect().length !== 1) throw new Error('other chains came back');
  }
}

/** Watches what messages a function sends: all of them as its table says, and none that is masked. */
class WatchedMessages implements MsiSink {
  msix: VirtioPci['msix'] | undefined;
  sent = 0;
  readonly #routes = new Map<number, string>();

  route(vector: number, addressLow: number, addressHigh: number, data: number): void {
    this.#routes.set(vector, [addressLow, addressHigh, data].join());
  }

  trigger(vector: number): void {
    const { msix } = this;
    if (msix === undefined || vector >= msix.count) throw new Error('no such vector');
    const word = (offset: number) => msix.readTable(vector * pci.PCI_MSIX_ENTRY_SIZE + offset, 4);
    const message = [pci.PCI_MSIX_ENTRY_LOWER_ADDR, pci.PCI_MSIX_ENTRY_UPPER_ADDR, pci.PCI_MSIX_ENTRY_DATA].map(word);
    if (this.#routes.get(vector) !== message.join()) throw new Error('a message that is not in the table');
    const isMasked = (word(pci.PCI_MSIX_ENTRY_VECTOR_CTRL) & pci.PCI_MSIX_ENTRY_CTRL_MASKBIT) !== 0;
    if (isMasked || !msix.enabled) throw new Error('a message that was masked');
    this.sent++;
  }
}

interface WatchedFunction {
  readonly pci: VirtioPci;
  readonly messages: WatchedMessages;
  /** As its listener was told. */
  notifyAddress: number | undefined;
}

/** A bus with `count` devices and no KVM: all that is decoded is compared with what the registers say. */
export class WatchedBus implements HostileBusTarget {
  readonly memory = GuestMemory.plain(1 << 20);
  readonly mmio = new MmioBus();
  readonly ports = new PortBus();
  readonly devices: { device: EchoDevice; core: VirtioCore }[] = [];
  /** How often a BAR was decoded, and was not because of what it lay over. */
  readonly seen = { decoded: 0, refused: 0 };
  readonly #bus = new PciBus();
  readonly #functions: WatchedFunction[] = [];

  constructor(count: number) {
    const [ecam, window] = FIXED;
    this.mmio.add(ecam!.start, ecam!.size, this.#bus.ecam);
    this.mmio.add(window!.start, window!.size, { read: () => 0x7472_6976, write: () => undefined });
    this.ports.add(PCI_CONFIG_ADDRESS_PORT, 8, this.#bus.ports);
    const space = new BarSpace(this.mmio, MMIO_HOLE_START, MMIO_HOLE_END);
    for (let i = 0; i < count; i++) {
      const device = new EchoDevice();
      device.config.view.setUint32(8, i, true);
      const core = new VirtioCore(device, this.memory, new FaultLog(`echo ${i}`, () => {}));
      const messages = new WatchedMessages();
      const function_ = new VirtioPci(core, space, PCI_MMIO_START + i * layout.VIRTIO_PCI_BAR_SIZE, messages);
      messages.msix = function_.msix;
      this.#bus.add(function_);
      const watched: WatchedFunction = { pci: function_, messages, notifyAddress: undefined };
      function_.listener = {
        notifyMoved: (address) => {
          watched.notifyAddress = address;
        },
      };
      this.devices.push({ device, core });
      this.#functions.push(watched);
    }
  }

  /** Messages that were sent. */
  get messages(): number {
    return this.#functions.reduce((sum, { messages }) => sum + messages.sent, 0);
  }

  check(): void {
    const { mmio } = this;
    if (mmio.read(PCI_ECAM_START, 2) !== 0x1b36) throw new Error('the configuration space has gone');
    if (mmio.read(VIRTIO_MMIO_START, 4) !== 0x7472_6976) throw new Error('another device has gone');
    const bars = this.#functions.map(({ pci: function_ }, i) => {
      const config = (offset: number, size: 2 | 4) => mmio.read(PCI_ECAM_START + ((i + 1) << 15) + offset, size);
      if (config(pci.PCI_VENDOR_ID, 2) !== 0x1af4) throw new Error('a function has another identity');
      const isEnabled = (config(pci.PCI_COMMAND, 2) & pci.PCI_COMMAND_MEMORY) !== 0;
      const { notifyAddress } = function_;
      const decoded = notifyAddress === undefined ? undefined : notifyAddress - layout.PAGE_NOTIFY * layout.PAGE_SIZE;
      return { start: config(pci.PCI_BASE_ADDRESS_0, 4), size: layout.VIRTIO_PCI_BAR_SIZE, isEnabled, decoded };
    });
    for (const [i, bar] of bars.entries()) {
      if (this.#functions[i]!.notifyAddress !== this.#functions[i]!.pci.notifyAddress) throw new Error('not told');
      const others = [...FIXED, ...bars.filter((other) => other !== bar && other.decoded !== undefined)];
      const isTaken = others.some(
        (other) => bar.start < other.start + other.size && other.start < bar.start + bar.size,
      );
      if (bar.decoded === undefined) {
        const isFree = bar.isEnabled && !isTaken && bar.start >= MMIO_HOLE_START;
        if (isFree) throw new Error('a BAR is not decoded, and nothing lies there');
        if (bar.isEnabled) this.seen.refused++;
        continue;
      }
      this.seen.decoded++;
      if (!bar.isEnabled || bar.decoded !== bar.start) throw new Error('a BAR is decoded elsewhere than it says');
      if (isTaken || bar.start < MMIO_HOLE_START) throw new Error('a BAR is decoded over something else');
      const name = mmio.read(bar.start + layout.PAGE_DEVICE * layout.PAGE_SIZE + 8, 4);
      if (name !== i) throw new Error('the bus leads to another device');
    }
  }
}
