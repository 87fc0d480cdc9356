/** Moments and durations as people read them. */

const two = (part: number) => String(part).padStart(2, "0");

/** A moment in the reader's own time zone, always in the same order: year to second. */
export function moment(at: number): string {
  const time = new Date(at);
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${clock(at)}`;
}

/** The time of day. */
export function clock(at: number): string {
  const time = new Date(at);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** How long something takes or took, in the two greatest units. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago something was. Clocks of two machines differ: the future counts as now. */
export function ago(at: number, now: number): string {
  const passed = now - at;
  return passed < 5000 ? "just now" : `${duration(roughly(passed))} ago`;
}

/** When something is to be. */
export function ahead(at: number, now: number): string {
  const left = at - now;
  return left < 1000 ? "now" : `in ${duration(roughly(left))}`;
}

/** Whole seconds: tenths that change are noise. */
function roughly(ms: number): number {
  return ms < 10_000 ? Math.max(10_000, ms) : ms;
}

/** What Rust's `Duration` becomes in JSON. */
export interface Span {
  secs: number;
  nanos: number;
}

export const milliseconds = (span: Span) => span.secs * 1000 + span.nanos / 1e6;
