import { Command, CommanderError, Option } from "commander";
import { type DemoOptions, demo } from "./commands/demo.js";
import { type MatrixOptions, matrix } from "./commands/matrix.js";
import { type ExitCode, exit } from "./exit.js";
import { reportFailure } from "./failure.js";
import type { Io } from "./io.js";
import { classNames } from "./select.js";
import { cpuKinds } from "./source.js";

export { processIo } from "./io.js";

/**
 * Runs one command line. Never throws: every failure is one line on stderr and an exit code.
 *
 * @param argv - Arguments after the program's name.
 */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  const debug = argv.includes("--debug");
  let code: ExitCode = exit.ok;
  const program = makeProgram(io, (result) => {
    code = result;
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage;
    return reportFailure(io, error, debug);
  }
}

function makeProgram(io: Io, done: (code: ExitCode) => void): Command {
  const program = new Command("peerbar")
    .description(
      "PCI peer-to-peer memory sharing on Linux: who reaches whose BAR, by which route, and if not, why.",
    )
    .option("--debug", "show the stack of an error")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        io.out(text);
      },
      writeErr: (text) => {
        io.err(text);
      },
      outputError: (text, write) => {
        const what = text
          .replace(/^error: /, "")
          .trim()
          .replaceAll("\n", " ");
        write(`peerbar: EINVAL: ${what}; see peerbar --help, or peerbar VERB --help\n`);
      },
    })
    .addHelpText(
      "after",
      "\nExit codes: 0 yes or done, 1 no, 2 usage or bad input, 3 cannot tell (privilege or data missing).",
    );
  const file = (): Option =>
    new Option(
      "-F, --file <capture>",
      "a capture instead of this machine: lspci text or hex, /sys as directory or tar, peerbar JSON",
    );
  const cpu = (): Option =>
    new Option("--cpu <kind>", `CPU where the capture does not say: ${cpuKinds.join(", ")}`);

  program
    .command("demo")
    .description(
      "the main job on a simulated machine: decide, export, import twice, move bytes, reset, fault, recover",
    )
    .addOption(file())
    .addOption(cpu())
    .option("--provider <bdf>", "the function whose BAR is shared")
    .option("--client <bdf>", "the function that reaches it")
    .option("--bar <n>", "which BAR of the provider; the largest memory BAR by default")
    .option("--range <offset+length>", "which part of it, such as 0+2M")
    .option("--json", "the timeline as one JSON object")
    .action(async (options: DemoOptions) => {
      done(await demo(io, options));
    });

  program
    .command("matrix")
    .description("the verdict of every ordered pair of endpoints")
    .addOption(file())
    .addOption(cpu())
    .option(
      "-s, --slot <selector>",
      "endpoints by address, as lspci takes it: [[domain]:bus:][slot][.function]",
    )
    .option("--class <names>", `endpoints by class: ${classNames.join(",")}`)
    .option("--json", "one JSON object with one entry a pair")
    .action(async (options: MatrixOptions) => {
      done(await matrix(io, options));
    });

  for (const command of program.commands) {
    // Subcommands do not inherit these from their parent.
    command.exitOverride().copyInheritedSettings(program);
    command.option("--debug", "show the stack of an error");
  }
  return program;
}
