/** Measured values as people read them. */

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Three digits are enough to compare by eye. */
function digits(value: number): string {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export function bytes(value: number): string {
  let rest = value;
  let unit = 0;
  while (Math.abs(rest) >= 1024 && unit < BINARY.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${digits(rest)} ${BINARY[unit]}`;
}

/** A value with its unit: `bytes`, `1` (a ratio), `s`, `count`, `bool`, or any other. */
export function measured(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "no value";
  switch (unit) {
    case "bytes":
      return bytes(value);
    case "1":
      return `${digits(value * 100)} %`;
    case "bool":
      return value > 0.5 ? "yes" : "no";
    case "count":
      return digits(value);
    case "s":
      return value > 0 && value < 0.1 ? `${digits(value * 1000)} ms` : `${digits(value)} s`;
    default:
      return unit ? `${digits(value)} ${unit}` : digits(value);
  }
}

/** `1 machine`, `2 machines`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
