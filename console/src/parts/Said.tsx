import { plain } from "../words/plain";

/** Words that came from a machine: shown as they are, with everything visible, and never as markup. */
export function Said({ words, longest }: { words: string | null | undefined; longest?: number }) {
  return <bdi className="lb-said">{plain(words ?? "", longest)}</bdi>;
}
