import { Command, CommanderError, Option } from "commander";
import { type ExitCode, exit } from "./exit.js";
import type { Io } from "./io.js";
import type { OptionValues, Verb } from "./verb.js";
import { verbs } from "./verbs.js";

export { processIo } from "./io.js";

/**
 * Runs one command line. Never throws: every failure is one line on stderr and an exit code.
 *
 * @param argv - Arguments after the program's name.
 */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  // What shells ask while a line is typed is not parsed as a command line: it is none yet.
  if (argv[0] === "__complete") return completeLine(io, argv.slice(1));
  if (argv[0] === "--version" || argv[0] === "-V") return tellVersion(io);
  // Commander answers `help VERB` for a verb that there is not with the help of all.
  if (argv[0] === "help" && argv.length > 1 && !isVerb(argv[1]))
    return unknownVerb(io, argv[1] ?? "");
  let code: ExitCode = exit.ok;
  const program = makeProgram(argv, io, (result) => {
    code = result;
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage;
    const { reportFailure } = await import("./failure.js");
    return reportFailure(io, error, argv.includes("--debug"));
  }
}

function isVerb(name: string | undefined): boolean {
  return (
    name === "help" || name?.startsWith("-") === true || verbs.some((verb) => verb.name === name)
  );
}

function unknownVerb(io: Io, name: string): ExitCode {
  io.err(
    `peerbar: EINVAL: unknown command '${name}'; see peerbar --help, or peerbar VERB --help\n`,
  );
  return exit.usage;
}

async function tellVersion(io: Io): Promise<ExitCode> {
  const { readVersion } = await import("./version.js");
  io.out(`${await readVersion()}\n`);
  return exit.ok;
}

async function completeLine(io: Io, words: readonly string[]): Promise<ExitCode> {
  const { complete } = await import("./complete.js");
  io.out(await complete(words));
  return exit.ok;
}

function makeProgram(argv: readonly string[], io: Io, done: (code: ExitCode) => void): Command {
  const program = new Command("peerbar")
    .description(
      "PCI peer-to-peer memory sharing on Linux: who reaches whose BAR, by which route, and if not, why.",
    )
    .option("-V, --version", "show the version")
    .option("--debug", "show the stack of an error")
    .exitOverride()
    .configureHelp({ helpWidth: io.width })
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
  // A command line that names its verb first needs no other: setting one up takes time too.
  const only = verbs.filter((verb) => verb.name === argv[0]);
  for (const verb of only.length > 0 ? only : verbs) addVerb(program, verb, io, done);
  return program;
}

function addVerb(program: Command, verb: Verb, io: Io, done: (code: ExitCode) => void): void {
  const command = program
    .command(verb.name)
    .description([verb.summary, ...(verb.details ?? [])].join("\n\n"))
    .summary(verb.summary);
  for (const argument of verb.arguments ?? []) {
    command.argument(argument.name, argument.description);
  }
  for (const spec of verb.options)
    command.addOption(makeOption(spec.flags, spec.description, spec.repeats));
  command.option("--debug", "show the stack of an error");
  const examples = verb.examples.map(([line, what]) => {
    const whole = line.startsWith("sudo ") ? line : `peerbar ${line}`;
    return `  ${whole}\n      ${what}`;
  });
  command.addHelpText("after", `\nExamples:\n${examples.join("\n")}`);
  // Subcommands do not inherit these from their parent.
  command.exitOverride().copyInheritedSettings(program);
  command.action(async (...given: unknown[]) => {
    // Commander hands over the arguments, then the options, then the command itself.
    const count = verb.arguments?.length ?? 0;
    const args = given
      .slice(0, count)
      .flat()
      .filter((value) => typeof value === "string");
    done(await verb.run(io, given[count] as OptionValues, args));
  });
}

function makeOption(flags: string, description: string, repeats: true | undefined): Option {
  const option = new Option(flags, description);
  if (repeats === true) {
    option.argParser((value: string, all: readonly string[] | undefined) => [
      ...(all ?? []),
      value,
    ]);
  }
  return option;
}
