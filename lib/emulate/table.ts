import { addBitCountOperations } from './bit-count.ts';
import { addBmiOperations } from './bmi.ts';
import { addChecksumOperations } from './crc32.ts';
import { addDescriptorOperations } from './descriptors.ts';
import { addGroupOperations } from './groups.ts';
import { addInterruptOperations } from './interrupts.ts';
import { addMoveBigEndianOperations } from './movbe.ts';
import { OperationTable } from './operation.ts';
import { addVectorArithmetic } from './sse-arithmetic.ts';
import { addVectorElements } from './sse-element.ts';
import { addVectorMoves } from './sse-move.ts';
import { addVectorShifts } from './sse-shift.ts';
import { addVectorShuffles } from './sse-shuffle.ts';
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
  addVectorMoves(table);
  addVectorArithmetic(table);
  addVectorShifts(table);
  addVectorShuffles(table);
  addVectorElements(table);
  return table;
}
