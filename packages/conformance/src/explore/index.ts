export type { Exploration, ExploreOptions, Progress, StrategyName, Verdict } from "./explore.js";
export { explore, strategies } from "./explore.js";
export type { Failure, FailureKind } from "./failure.js";
export { ScenarioError } from "./failure.js";
export type { Replay } from "./replayed.js";
export { replay } from "./replayed.js";
export type { Flag, Scenario, Stage } from "./scenario.js";
export { scenario } from "./scenario.js";
export type { Shard } from "./strategy.js";
