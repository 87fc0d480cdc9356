/** Words of guests and of protected machines: bytes of somebody who may be hostile. */

const LONGEST = 2000;

/**
 * The same words with everything visible: control characters and signs that turn the direction of
 * reading around cannot make a name look like another one. React escapes the rest.
 */
export function plain(words: string, longest = LONGEST): string {
  const cut = words.length > longest ? `${words.slice(0, longest)}…` : words;
  return cut.replace(INVISIBLE, visible);
}

const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]/g;

function visible(sign: string): string {
  const code = sign.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\\u{${code.toString(16)}}`;
}
