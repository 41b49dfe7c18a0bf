/** Where a run writes: tables on `out`, what goes on and what is wrong on `err`. */
export interface Streams {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}
