import { addBitCountOperations } from './bit-count.ts';
import { addBmiOperations } from './bmi.ts';
import { addChecksumOperations } from './crc32.ts';
import { addDescriptorOperations } from './descriptors.ts';
import { addGroupOperations } from './groups.ts';
import { addInterruptOperations } from './interrupts.ts';
import { addMoveBigEndianOperations } from './movbe.ts';
import { OperationTable } from './operation.ts';
import { addSystemOperations } from './system.ts';
import { addX87Operations } from './x87.ts';

/** All instructions that mvm can do. */
export function buildOperationTable(): OperationTable {
  const table = new OperationTable();
  addInterruptOperations(table);
  addGroupOperations(table);
  addBitCountOperations(table);
  addBmiOperations(table);
  addMoveBigEndianOperations(table);
  addChecksumOperations(table);
  addSystemOperations(table);
  addDescriptorOperations(table);
  addX87Operations(table);
  return table;
}
