export type { Exploration, ExploreOptions, StrategyName } from "./explore.js";
export { explore, replay } from "./explore.js";
export type { Failure, FailureKind } from "./failure.js";
export { ScenarioError } from "./failure.js";
export type { Flag, Scenario, Stage } from "./scenario.js";
export { scenario } from "./scenario.js";
