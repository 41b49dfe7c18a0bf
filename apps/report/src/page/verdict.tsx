import type { PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";
import {
  type Account,
  type Advice,
  adviceOf,
  factsOf,
  kindOf,
  nameOf,
  verdictOf,
  type WayStep,
  wayOf,
} from "@peerbar/words";
import type { JSX } from "preact";
import { useId, useState } from "preact/hooks";
import { memberClass } from "./machine.js";

export interface PairProps {
  readonly topology: PciTopology;
  readonly provider: string | undefined;
  readonly client: string | undefined;
  readonly onChoose: (provider: string | undefined, client: string | undefined) => void;
}

/** The question: which client reaches whose BARs. */
export function Question({ topology, provider, client, onChoose }: PairProps): JSX.Element {
  return (
    <div class="question">
      <Choice
        label="Can client"
        part="C"
        topology={topology}
        value={client}
        onChange={(name) => {
          onChoose(provider, name);
        }}
      />
      <button
        type="button"
        class="swap"
        aria-label="swap provider and client"
        title="swap"
        onClick={() => {
          onChoose(client, provider);
        }}
      >
        ⇅
      </button>
      <Choice
        label="reach the BARs of provider"
        part="P"
        topology={topology}
        value={provider}
        onChange={(name) => {
          onChoose(name, client);
        }}
      />
    </div>
  );
}

const groupNames = {
  gpu: "GPUs",
  nic: "NICs",
  nvme: "NVMe",
  storage: "storage",
  other: "others",
} as const;

function Choice({
  label,
  part,
  topology,
  value,
  onChange,
}: {
  readonly label: string;
  readonly part: string;
  readonly topology: PciTopology;
  readonly value: string | undefined;
  readonly onChange: (address: string) => void;
}): JSX.Element {
  const id = useId();
  const ends = topology.endpoints();
  const missing = value !== undefined && !ends.some((fn) => fn.address === value);
  const groups = (Object.keys(groupNames) as (keyof typeof groupNames)[]).map((name) => ({
    name,
    members: ends.filter((fn) => memberClass(fn) === name),
  }));
  return (
    <div class="choice">
      <label htmlFor={id}>
        {label} <span class={`part ${part}`}>{part}</span>
      </label>
      <select
        id={id}
        value={value}
        onChange={(event) => {
          onChange(event.currentTarget.value);
        }}
      >
        {missing && <option value={value}>{value}</option>}
        {groups
          .filter((group) => group.members.length > 0)
          .map((group) => (
            <optgroup key={group.name} label={groupNames[group.name]}>
              {group.members.map((fn) => (
                <option key={fn.address} value={fn.address}>
                  {optionText(fn)}
                </option>
              ))}
            </optgroup>
          ))}
      </select>
    </div>
  );
}

function optionText(fn: PciFunctionInfo): string {
  const kind = fn.physfn >= 0 ? "VF" : (kindOf(fn) ?? "");
  return [fn.address, kind, ...fn.deviceNames, nameOf(fn)].filter((part) => part !== "").join(" ");
}

const signs = {
  "bus-addr": "✓",
  "thru-host-bridge": "✓",
  "not-supported": "✕",
  unknown: "?",
} as const;

/** The answer in large letters, its reason, and what it was before edits. */
export function Verdict({
  account,
  before,
}: {
  readonly account: Account;
  readonly before: Account | undefined;
}): JSX.Element {
  const { risk } = account.decision;
  const { like, words, reason } = verdictOf(account);
  const was = before === undefined ? undefined : verdictOf(before);
  return (
    <div class={`verdict ${like}`}>
      <h2 id="verdict-word">
        <span class="sign" aria-hidden="true">
          {signs[like]}
        </span>
        {words}
      </h2>
      <p class="reason">{reason}</p>
      {was !== undefined && (
        <p class="was">
          {was.words === words
            ? "As captured, the answer is the same."
            : `As captured: ${was.words}. ${was.reason}`}
        </p>
      )}
      {risk !== undefined && <p class="risk">Risk: {risk}.</p>}
    </div>
  );
}

const places = {
  provider: "provider",
  up: "up ↑",
  meet: "meet ●",
  host: "host ●",
  down: "down ↓",
  client: "client",
  both: "both",
} as const satisfies Record<WayStep["place"], string>;

/** The way in words: one device a row. */
export function WayTable({ account }: { readonly account: Account }): JSX.Element {
  return (
    <table class="way">
      <caption>The way, from the provider up and down to the client</caption>
      <thead class="hidden">
        <tr>
          <th scope="col">place</th>
          <th scope="col">device</th>
          <th scope="col">what it does to peer requests</th>
        </tr>
      </thead>
      <tbody>
        {wayOf(account).map((step) => (
          <tr key={`${step.place} ${step.address}`} class={step.tone}>
            <td class="place">{places[step.place]}</td>
            <th scope="row">
              <span class="address">{step.address}</span> <span class="role">{step.role}</span>
            </th>
            <td>
              {step.redirects && <span class="stop">redirects</span>}
              {step.redirects ? step.words.replace("ACS REDIRECTS: ", "") : step.words}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What follows from the decision. */
export function Facts({ account }: { readonly account: Account }): JSX.Element {
  return (
    <dl class="facts">
      {factsOf(account).map(({ label, text }) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What helps, with lines to paste, and a button that tries it here. */
export function AdviceList({
  account,
  onTry,
}: {
  readonly account: Account;
  readonly onTry: (ports: readonly string[]) => void;
}): JSX.Element | null {
  const advice = adviceOf(account);
  if (advice.length === 0) return null;
  const ports = account.fixes.find((fix) => fix.kind === "acs")?.ports;
  return (
    <section class="advice" aria-labelledby="advice-title">
      <h3 id="advice-title">What helps</h3>
      <ol>
        {advice.map((one) => (
          <li key={one.text}>
            <p>
              <b>{one.label}</b> {one.text}
            </p>
            <Lines advice={one} />
            {one.cost !== undefined && <p class="cost">Cost: {one.cost}.</p>}
            {one.risk !== undefined && <p class="risk">Risk: {one.risk}.</p>}
            {ports !== undefined &&
              account.fixes.find((fix) => one.text.startsWith(fix.what))?.kind === "acs" && (
                <button
                  type="button"
                  onClick={() => {
                    onTry(ports);
                  }}
                >
                  Try it here
                </button>
              )}
          </li>
        ))}
      </ol>
    </section>
  );
}

function Lines({ advice }: { readonly advice: Advice }): JSX.Element | null {
  if (advice.lines.length === 0) return null;
  return (
    <ul class="lines">
      {advice.lines.map((line) => (
        <li key={line.text}>
          <span class="where">{line.where}</span>
          <Copyable text={line.text} />
        </li>
      ))}
    </ul>
  );
}

function Copyable({ text }: { readonly text: string }): JSX.Element {
  const [done, setDone] = useState(false);
  return (
    <span class="copyable">
      <code>{text}</code>
      <button
        type="button"
        aria-label={`copy ${text}`}
        onClick={() => {
          void navigator.clipboard.writeText(text).then(
            () => {
              setDone(true);
            },
            () => {
              setDone(false);
            },
          );
        }}
      >
        {done ? "copied" : "copy"}
      </button>
    </span>
  );
}
