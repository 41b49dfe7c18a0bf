import type { Execution } from "./execution.js";
import type { FailureKind } from "./failure.js";
import { type Actor, nameOf } from "./stage.js";
import type { Task } from "./task.js";

/** Why nothing can go on, in words. */
export interface Stuck {
  readonly kind: FailureKind;
  readonly message: string;
  readonly detail: string | undefined;
}

/** Explains a run that came to rest with actors left: a circle of locks, a wake-up that never comes, or a wait for something outside. */
export function describeStuck(execution: Execution, actors: readonly Actor[]): Stuck {
  // By actor: equal ends have equal messages, whoever came first.
  const parked = execution.tasks
    .filter((task) => !task.over && !task.ready && task.kind !== "time")
    .sort((a, b) => a.actor - b.actor || a.order - b.order);
  const lines = parked.map((task) => lineOf(task, actors));
  const circle = findCircle(parked);
  if (circle !== undefined) {
    const text = circle.map((task) => lineOf(task, actors)).join("; ");
    return { kind: "deadlock", message: `deadlock: ${text}`, detail: lines.join("\n") };
  }
  const outside = actors.filter(
    ({ ended }, index) => !ended && !parked.some((task) => task.actor === index),
  );
  if (parked.length === 0 || (outside.length > 0 && parked.every((task) => task.kind === "lock"))) {
    const names = outside.map(({ name }) => name).join(", ");
    return {
      kind: "foreign-wait",
      message: `${names} waits for a promise that the scheduler does not know: a timer of the host, input, or one that nobody settles`,
      detail: lines.join("\n") || undefined,
    };
  }
  return {
    kind: "lost-wakeup",
    message: `nobody is left to wake: ${lines.join("; ")}`,
    detail: undefined,
  };
}

/** A circle of tasks, each in line for a lock that the next one's actor holds. */
function findCircle(parked: readonly Task[]): readonly Task[] | undefined {
  for (const start of parked) {
    const path: Task[] = [];
    for (let at: Task | undefined = start; at !== undefined; ) {
      const again = path.indexOf(at);
      if (again >= 0) return path.slice(again);
      path.push(at);
      const owner: number = at.lock?.owner ?? -1;
      at = parked.find((task) => task.actor === owner && task.lock !== undefined);
    }
  }
  return undefined;
}

function lineOf(task: Task, actors: readonly Actor[]): string {
  const who = nameOf(task.actor, actors);
  if (task.lock === undefined) return `${who} waits for ${task.kind} ${task.on}`;
  const { owner, name } = task.lock;
  return `${who} waits for lock ${name}, held by ${owner < 0 ? "nobody" : nameOf(owner, actors)}`;
}
