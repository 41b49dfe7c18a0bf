import { acsBits, type CpuKind, type PciTopology } from "@peerbar/p2pdma";
import { type Account, cpuKinds, roleOf } from "@peerbar/words";
import type { JSX } from "preact";
import {
  beforeAcs,
  changes,
  flipBit,
  nothingChanged,
  redirectBits,
  tidy,
  type WhatIfState,
} from "./edits.js";
import type { Effect, Machine } from "./machine.js";

export interface WhatIfProps {
  readonly topology: PciTopology;
  readonly state: WhatIfState;
  readonly machine: Machine;
  readonly account: Account | undefined;
  readonly effect: Effect | undefined;
  /** A port that was picked in the tree. */
  readonly port: string | undefined;
  readonly onChange: (state: WhatIfState) => void;
}

const modes = [
  [undefined, "as captured"],
  ["off", "off"],
  ["passthrough", "pt"],
  ["on", "on"],
] as const;

/** Switches that are turned on a copy of the machine: the page computes anew what `peerbar what-if` would say. */
export function WhatIf(props: WhatIfProps): JSX.Element {
  const { state, onChange } = props;
  return (
    <section class="what-if" aria-labelledby="what-if-title">
      <h3 id="what-if-title">
        What if
        {changes(state) && (
          <button
            type="button"
            onClick={() => {
              onChange(nothingChanged);
            }}
          >
            as captured
          </button>
        )}
      </h3>
      <fieldset class="modes">
        <legend>IOMMU</legend>
        {modes.map(([mode, label]) => (
          <label key={label}>
            <input
              type="radio"
              name="iommu"
              checked={state.iommu === mode}
              onChange={() => {
                onChange(tidy({ ...state, iommu: mode }, props.topology));
              }}
            />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      <Trust {...props} />
      <Cpu {...props} />
      <Ports {...props} />
      <EffectText {...props} />
    </section>
  );
}

function Cpu({ state, onChange, account }: WhatIfProps): JSX.Element {
  return (
    <p class="cpu">
      <label>
        CPU{" "}
        <select
          value={state.cpu ?? ""}
          onChange={(event) => {
            const cpu: CpuKind | undefined = cpuKinds.find(
              (one) => one === event.currentTarget.value,
            );
            onChange({ ...state, cpu });
          }}
        >
          <option value="">
            {state.cpu === undefined && account !== undefined
              ? `as captured (${account.subject.cpu})`
              : "as captured"}
          </option>
          {cpuKinds.map((cpu) => (
            <option key={cpu} value={cpu}>
              {cpu}
            </option>
          ))}
        </select>
      </label>
    </p>
  );
}

function Trust({ state, onChange, account }: WhatIfProps): JSX.Element {
  const bridges = account?.decision.hostBridges ?? [];
  const roots = [...new Set(bridges.map((verdict) => verdict.root))].filter((root) => root !== "?");
  const trusts = (root: string): boolean => state.trust === "all" || state.trust.includes(root);
  const toggle = (root: string): void => {
    const list = state.trust === "all" ? roots : state.trust;
    const trust = list.includes(root) ? list.filter((one) => one !== root) : [...list, root];
    onChange({ ...state, trust });
  };
  return (
    <fieldset>
      <legend>Trust a host bridge against the kernel's list</legend>
      {roots.map((root) => (
        <label key={root}>
          <input
            type="checkbox"
            checked={trusts(root)}
            onChange={() => {
              toggle(root);
            }}
          />
          <span>{root}</span>
        </label>
      ))}
      <label>
        <input
          type="checkbox"
          checked={state.trust === "all"}
          onChange={() => {
            onChange({ ...state, trust: state.trust === "all" ? [] : "all" });
          }}
        />
        <span>every host bridge</span>
      </label>
    </fieldset>
  );
}

function Ports(props: WhatIfProps): JSX.Element | null {
  const { topology, state, account, port, onChange } = props;
  const start = beforeAcs(topology, state).topology;
  const steps =
    account === undefined ? [] : [...account.decision.upPath, ...account.decision.downPath];
  const names = [
    ...new Set([...steps.map((step) => step.address), ...(port === undefined ? [] : [port])]),
  ];
  const rows = names.flatMap((name) => {
    const fn = start.get(name);
    return fn === undefined || fn.acs.state === "none" ? [] : [fn];
  });
  if (rows.length === 0)
    return <p class="none">No device on this way has ACS to switch; pick a port in the tree.</p>;
  return (
    <table class="ports">
      <caption>
        ACS redirect bits on this way
        {port === undefined ? "" : ", and of the port picked in the tree"}
      </caption>
      <thead>
        <tr>
          <th scope="col">port</th>
          {redirectBits.map((bit) => (
            <th scope="col" key={bit}>
              {bit}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((fn) => {
          const shown = fn.acs.state === "present" ? fn.acs : undefined;
          const now = state.acs[fn.address] ?? shown?.control ?? 0;
          const edited = Object.hasOwn(state.acs, fn.address);
          return (
            <tr key={fn.address} class={edited ? "edited" : ""}>
              <th scope="row">
                <span class="address">{fn.address}</span> <span class="role">{roleOf(fn)}</span>
                {shown === undefined && <span class="role"> (not shown)</span>}
              </th>
              {redirectBits.map((bit) => {
                const able =
                  shown?.capability === undefined || (shown.capability & acsBits[bit]) !== 0;
                return (
                  <td key={bit}>
                    <label class="bit">
                      <input
                        type="checkbox"
                        aria-label={`${bit} of ${fn.address}`}
                        disabled={!able}
                        checked={(now & acsBits[bit]) !== 0}
                        onChange={() => {
                          onChange(tidy(flipBit(state, fn.address, now, bit), topology));
                        }}
                      />
                    </label>
                  </td>
                );
              })}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function EffectText({ machine, effect }: WhatIfProps): JSX.Element | null {
  if (effect === undefined) return null;
  const { changes: list, risks } = machine.edited;
  return (
    <div class="effect">
      <p>
        <b>If</b> {list.join(" and ")}: {String(effect.changed)} of {String(effect.total)} pairs of
        the matrix change
        {effect.groups !== undefined && effect.groups.before + effect.groups.after > 0
          ? `; ${String(effect.groups.before)} IOMMU groups become ${String(effect.groups.after)}`
          : ""}
        .
      </p>
      {effect.sums.length > 0 && (
        <ul>
          {effect.sums.map((sum) => (
            <li key={`${sum.from} ${sum.to}`}>
              {String(sum.count)} × {sum.from} → {sum.to}
            </li>
          ))}
        </ul>
      )}
      {risks.map((risk) => (
        <p class="risk" key={risk}>
          Risk: {risk}.
        </p>
      ))}
      {effect.assumptions.map((text) => (
        <p class="assumed" key={text}>
          Assumed: {text}.
        </p>
      ))}
    </div>
  );
}
