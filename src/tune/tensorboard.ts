import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes scalars as a TensorBoard event file: TFRecords of `Event` messages.
 *
 * @see https://www.tensorflow.org/tutorials/load_data/tfrecord
 * @see https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto
 */
export class EventWriter {
  private readonly file: number;

  /** @param firstStep what older files of the folder hold from this step on is void */
  constructor(folder: string, firstStep: number) {
    mkdirSync(folder, { recursive: true });
    const stamp = Math.floor(Date.now() / 1000);
    const name = `events.out.tfevents.${String(stamp).padStart(10, '0')}.llmkit.${process.pid}.${firstStep}`;
    this.file = openSync(join(folder, name), 'a');
    this.append(0, textField(EVENT.fileVersion, 'brain.Event:2'));
    this.append(firstStep, messageField(EVENT.sessionLog, varintField(SESSION_STATUS, START)));
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const summary = Object.entries(values).map(([tag, value]) =>
      messageField(SUMMARY_VALUE, [
        ...textField(VALUE.tag, tag),
        ...floatField(VALUE.simple, value),
      ]),
    );
    this.append(step, messageField(EVENT.summary, summary.flat()));
  }

  close(): void {
    closeSync(this.file);
  }

  private append(step: number, content: readonly number[]): void {
    const wallTime = doubleField(EVENT.wallTime, Date.now() / 1000);
    writeSync(
      this.file,
      record(Uint8Array.from([...wallTime, ...varintField(EVENT.step, step), ...content])),
    );
  }
}

/** Field numbers of the messages. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 };
const SUMMARY_VALUE = 1;
const VALUE = { tag: 1, simple: 2 };
const SESSION_STATUS = 1;
/** SessionLog.START: TensorBoard drops what it read of this and later steps. */
const START = 1;

/** Protocol buffers' wire types. */
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 };

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

function varintField(field: number, value: number): number[] {
  return [(field << 3) | WIRE.varint, ...varint(value)];
}

function messageField(field: number, content: readonly number[]): number[] {
  return [(field << 3) | WIRE.bytes, ...varint(content.length), ...content];
}

function textField(field: number, text: string): number[] {
  return messageField(field, [...Buffer.from(text)]);
}

function doubleField(field: number, value: number): number[] {
  return [(field << 3) | WIRE.fixed64, ...new Uint8Array(Float64Array.of(value).buffer)];
}

function floatField(field: number, value: number): number[] {
  return [(field << 3) | WIRE.fixed32, ...new Uint8Array(Float32Array.of(value).buffer)];
}

/** A TFRecord: length, its checksum, the data, its checksum. */
function record(data: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(data.length + 16);
  bytes.writeBigUInt64LE(BigInt(data.length), 0);
  bytes.writeUInt32LE(maskedCrc32c(bytes.subarray(0, 8)), 8);
  bytes.set(data, 12);
  bytes.writeUInt32LE(maskedCrc32c(data), 12 + data.length);
  return bytes;
}

/** CRC-32C (Castagnoli), rotated and shifted as TFRecord wants it. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** @see https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4 */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 255] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
