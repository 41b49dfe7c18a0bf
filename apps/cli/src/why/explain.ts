import {
  type Account,
  type Advice,
  adviceOf,
  describeFunction,
  factsOf,
  verdictOf,
} from "@peerbar/words";
import type { Glyphs } from "../glyphs.js";
import type { Io } from "../io.js";
import { colored } from "../mark.js";
import type { Style } from "../style.js";
import { paragraph, wrap } from "../wrap.js";
import { drawPath } from "./path.js";

/** `peerbar why` as text: question, verdict, the way drawn, what follows, what helps. */
export function writeExplanation(io: Io, style: Style, glyphs: Glyphs, account: Account): void {
  const { subject, decision } = account;
  const { topology } = subject;
  const provider = topology.at(decision.provider);
  const client = topology.at(decision.client);
  const write = (label: string, text: string): void => {
    writeEntry(io, style, label, text);
  };
  io.out(style.bold(paragraph(`Can ${describeFunction(client)}`, io.width)));
  io.out(style.bold(paragraph(`reach the BARs of ${describeFunction(provider)}?`, io.width)));
  io.out("\n");
  const { like, words, reason } = verdictOf(account);
  const verdict = colored(style, like, words);
  const [first = "", ...rest] = wrap(`. ${reason}`, io.width - words.length);
  io.out(`${verdict}${first}\n`);
  for (const line of wrap(rest.join(" "), io.width)) if (line !== "") io.out(`${line}\n`);
  io.out("\n");
  for (const line of drawPath(account, style, glyphs, io.width)) io.out(`${line}\n`);
  io.out("\n");
  for (const { label, text } of factsOf(account)) write(label, text);
  const advice = adviceOf(account);
  if (advice.length > 0) io.out("\n");
  for (const one of advice) writeAdvice(io, style, one);
  for (const sentence of topology.source.missing) write("not shown", sentence);
  for (const sentence of topology.source.warnings.slice(0, 8)) write("broken", sentence);
}

const LABEL = 12;

function writeEntry(io: Io, style: Style, label: string, text: string): void {
  const [first = "", ...rest] = wrap(text, Math.max(20, io.width - LABEL));
  io.out(`${style.dim(label.padEnd(LABEL))}${first}\n`);
  for (const line of rest) io.out(`${" ".repeat(LABEL)}${line}\n`);
}

function writeAdvice(io: Io, style: Style, advice: Advice): void {
  writeEntry(io, style, advice.label, advice.text);
  for (const line of advice.lines) {
    // To be pasted: never wrapped.
    io.out(`${" ".repeat(LABEL)}${style.accent(line.text)}  ${style.dim(`(${line.where})`)}\n`);
  }
  if (advice.cost !== undefined) writeEntry(io, style, "  cost", advice.cost);
  if (advice.risk !== undefined) writeEntry(io, style, "  RISK", advice.risk);
}
