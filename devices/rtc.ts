import type { BusDevice } from './bus.ts';

/** Registers of the MC146818 by the names of Linux's include/linux/mc146818rtc.h. */
const RTC_SECONDS = 0;
const RTC_MINUTES = 2;
const RTC_HOURS = 4;
const RTC_DAY_OF_WEEK = 6;
const RTC_DAY_OF_MONTH = 7;
const RTC_MONTH = 8;
const RTC_YEAR = 9;
const RTC_REG_A = 10;
const RTC_REG_B = 11;
const RTC_REG_C = 12;
const RTC_REG_D = 13;
/** The PC's own: the century in CMOS RAM, which the FADT may name (ACPI 6.5, section 5.2.9, `CENTURY`). */
const RTC_CENTURY = 0x32;

/** Divider for a 32.768 kHz crystal, and 1024 Hz: what firmware sets. `UIP` (bit 7) is never set, so a read always fits together. */
const REG_A_DEFAULT = 0x26;
const RTC_SET = 0x80;
const RTC_DM_BINARY = 0x04;
const RTC_24H = 0x02;
const RTC_PM = 0x80;
/** Register D: the RAM and the time are valid. */
const RTC_VRT = 0x80;

const CMOS_SIZE = 128;

/** What the clock shows, in UTC; `month` from 1. */
interface ClockFields {
  seconds: number;
  minutes: number;
  hours: number;
  day: number;
  month: number;
  year: number;
}

function fieldsOf(time: number): ClockFields {
  const date = new Date(time);
  return {
    seconds: date.getUTCSeconds(),
    minutes: date.getUTCMinutes(),
    hours: date.getUTCHours(),
    day: date.getUTCDate(),
    month: date.getUTCMonth() + 1,
    year: date.getUTCFullYear(),
  };
}

/** Milliseconds since 1970. What does not exist (30 February) runs over, as it would when the clock ticks on. */
function timeOf(fields: ClockFields): number {
  const date = new Date(0);
  date.setUTCFullYear(fields.year, fields.month - 1, fields.day);
  return date.setUTCHours(fields.hours, fields.minutes, fields.seconds);
}

/**
 * The PC's real-time clock and CMOS RAM: two byte-wide ports, index and data. It keeps UTC; a guest that sets the time moves
 * its own clock only. It raises no interrupts.
 */
export class Rtc {
  /** Port 0x70: bits 6:0 choose the register (bit 7, the NMI mask, does nothing). */
  readonly index: BusDevice;
  /** Port 0x71. */
  readonly data: BusDevice;
  readonly #now: () => number;
  readonly #ram = new Uint8Array(CMOS_SIZE);
  #index = 0;
  /** How far the guest has set the clock ahead of the host's, in milliseconds. */
  #ahead = 0;
  /** What the clock shows while it is being set (`RTC_SET`) and stands. */
  #stopped: ClockFields | undefined;

  /** @param now milliseconds since 1970 */
  constructor(now: () => number = Date.now) {
    this.#now = now;
    this.#ram[RTC_REG_A] = REG_A_DEFAULT;
    this.#ram[RTC_REG_B] = RTC_24H;
    this.index = {
      read: () => 0xff,
      write: (_offset, _size, value) => {
        this.#index = value % CMOS_SIZE;
      },
    };
    this.data = { read: () => this.#read() & 0xff, write: (_offset, _size, value) => this.#write(value) };
  }

  get #fields(): ClockFields {
    return this.#stopped ?? fieldsOf(this.#now() + this.#ahead);
  }

  #read(): number {
    const register = this.#index;
    switch (register) {
      case RTC_SECONDS:
        return this.#encode(this.#fields.seconds);
      case RTC_MINUTES:
        return this.#encode(this.#fields.minutes);
      case RTC_HOURS:
        return this.#encodeHours(this.#fields.hours);
      case RTC_DAY_OF_WEEK:
        return new Date(timeOf(this.#fields)).getUTCDay() + 1;
      case RTC_DAY_OF_MONTH:
        return this.#encode(this.#fields.day);
      case RTC_MONTH:
        return this.#encode(this.#fields.month);
      case RTC_YEAR:
        return this.#encode(this.#fields.year % 100);
      case RTC_CENTURY:
        return this.#encode(Math.floor(this.#fields.year / 100));
      case RTC_REG_C:
        return 0;
      case RTC_REG_D:
        return RTC_VRT;
      default:
        return this.#ram[register]!;
    }
  }

  #write(value: number): void {
    const fields = this.#fields;
    switch (this.#index) {
      case RTC_SECONDS:
        fields.seconds = this.#decode(value);
        break;
      case RTC_MINUTES:
        fields.minutes = this.#decode(value);
        break;
      case RTC_HOURS:
        fields.hours = this.#decodeHours(value);
        break;
      case RTC_DAY_OF_MONTH:
        fields.day = this.#decode(value);
        break;
      case RTC_MONTH:
        fields.month = this.#decode(value);
        break;
      case RTC_YEAR:
        fields.year += this.#decode(value) - (fields.year % 100);
        break;
      case RTC_CENTURY:
        fields.year = this.#decode(value) * 100 + (fields.year % 100);
        break;
      case RTC_DAY_OF_WEEK: // follows from the date
      case RTC_REG_C:
      case RTC_REG_D:
        return;
      case RTC_REG_B:
        this.#control(value);
        return;
      default:
        this.#ram[this.#index] = this.#index === RTC_REG_A ? value & 0x7f : value;
        return;
    }
    if (this.#stopped === undefined) this.#ahead = timeOf(fields) - this.#now();
  }

  #control(value: number): void {
    this.#ram[RTC_REG_B] = value;
    if ((value & RTC_SET) !== 0) {
      this.#stopped ??= this.#fields;
    } else if (this.#stopped !== undefined) {
      this.#ahead = timeOf(this.#stopped) - this.#now();
      this.#stopped = undefined;
    }
  }

  #encode(value: number): number {
    if ((this.#ram[RTC_REG_B]! & RTC_DM_BINARY) !== 0) return value;
    return (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    if ((this.#ram[RTC_REG_B]! & RTC_DM_BINARY) !== 0) return value;
    return (value >> 4) * 10 + (value & 0x0f);
  }

  /** With 12 hours, bit 7 marks the afternoon, and noon and midnight are 12. */
  #encodeHours(hours: number): number {
    if ((this.#ram[RTC_REG_B]! & RTC_24H) !== 0) return this.#encode(hours);
    return this.#encode(hours % 12 === 0 ? 12 : hours % 12) | (hours % 24 >= 12 ? RTC_PM : 0);
  }

  #decodeHours(value: number): number {
    if ((this.#ram[RTC_REG_B]! & RTC_24H) !== 0) return this.#decode(value);
    return (this.#decode(value & ~RTC_PM) % 12) + ((value & RTC_PM) !== 0 ? 12 : 0);
  }
}
