/** What has become of one ready task at a node: not looked at, to be picked, picked already. */
export const IDLE = 0;
export const WANTED = 1;
const DONE = 2;

/** A point of the run being explored, with what is still to be tried there. */
export class SearchNode {
  /** Ready tasks. */
  readonly tasks: readonly number[];
  readonly state: Uint8Array;
  /** Index of the task that goes on. */
  picked = 0;

  constructor(tasks: readonly number[]) {
    this.tasks = tasks;
    this.state = new Uint8Array(tasks.length);
  }

  pick(index: number): void {
    this.picked = index;
    this.state[index] = DONE;
  }

  wantAll(): void {
    for (let i = 0; i < this.state.length; i++) if (this.state[i] === IDLE) this.state[i] = WANTED;
  }

  /** Next task that is to be picked and that `may` be; -1 where none is left. */
  wanted(may: (task: number) => boolean): number {
    for (let i = 0; i < this.tasks.length; i++) {
      if (this.state[i] === WANTED && may(this.tasks[i] ?? 0)) return i;
    }
    return -1;
  }
}

/** Share of the tree that a depth-first search has behind it, if every branch were of one size. */
export function shareDone(path: readonly SearchNode[]): number {
  let done = 0;
  let weight = 1;
  for (const { state } of path) {
    let before = -1;
    let all = 0;
    for (const one of state) {
      if (one === DONE) before += 1;
      if (one !== IDLE) all += 1;
    }
    if (all === 0) break;
    done += (weight * Math.max(0, before)) / all;
    weight /= all;
  }
  return done;
}
