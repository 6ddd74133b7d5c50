/** Completion for zsh, in its own terms (zshcompsys(1)): with the summaries beside the words. */
import type { CompletedCommand, CompletedOption, CompletedProgram, Value } from "./model.ts";

export const zshCompletion = ({ commands, groups, options }: CompletedProgram): string => {
  const single = commands.filter(({ name }) => !name.includes(" "));
  const inGroup = (group: string): readonly CompletedCommand[] =>
    commands.filter(({ name }) => name.startsWith(`${group} `));
  return `#compdef sidekey
# Completion of sidekey for zsh, made by: sidekey completion zsh

_sidekey() {
  local curcontext="$curcontext" state line
  typeset -A opt_args
  _arguments -C \\
${options.flatMap(specsOf).map(indented).join("\n")}
    '1: :->command' '*:: :->rest' && return
  case $state in
    command)
      local -a words_here=(
${[...single, ...groups].map(({ name, summary }) => `        ${quote(`${name}:${summary}`)}`).join("\n")}
      )
      _describe -t commands command words_here ;;
    rest)
      case $line[1] in
${single.map((command) => `        ${command.name}) ${functionOf(command.name)} ;;`).join("\n")}
${groups.map(({ name }) => `        ${name}) ${functionOf(name)} ;;`).join("\n")}
      esac ;;
  esac
}

${groups.map(({ name }) => groupFunction(name, inGroup(name))).join("\n")}
${commands.map(commandFunction).join("\n")}
if [ "$funcstack[1]" = _sidekey ]; then _sidekey "$@"; else compdef _sidekey sidekey; fi
`;
};

const groupFunction = (group: string, commands: readonly CompletedCommand[]): string => `${functionOf(group)}() {
  local curcontext="$curcontext" state line
  _arguments -C '(- *)'{-h,--help}'[print this]' '1: :->command' '*:: :->rest' && return
  case $state in
    command)
      local -a words_here=(
${commands.map(({ name, summary }) => `        ${quote(`${name.slice(group.length + 1)}:${summary}`)}`).join("\n")}
      )
      _describe -t commands '${group} command' words_here ;;
    rest)
      case $line[1] in
${commands.map(({ name }) => `        ${name.slice(group.length + 1)}) ${functionOf(name)} ;;`).join("\n")}
      esac ;;
  esac
}
`;

const commandFunction = ({ name, options, parameters, isPrefix }: CompletedCommand): string => {
  const specs = [
    ...options.flatMap(specsOf),
    ...(isPrefix ? ["'(-)1: :_command_names -e'", "'*::arguments: _normal'"] : parameters.map(parameterSpec)),
  ];
  return `${functionOf(name)}() {
  _arguments -S -s ${specs.length === 0 ? "" : `\\\n${specs.map((spec) => `    ${spec}`).join(" \\\n")}`}
}
`;
};

const functionOf = (name: string): string => `_sidekey_${name.replaceAll(/[ -]/g, "_")}`;

const indented = (spec: string): string => `    ${spec} \\`;

const specsOf = ({ flags, summary, value, isRepeated }: CompletedOption): readonly string[] => {
  const exclusive = isRepeated ? "*" : flags.length > 1 ? `(${flags.join(" ")})` : "";
  const after = `[${summary.replaceAll(/[[\]\\]/g, "\\$&")}]${value === undefined ? "" : `:${actionOf(value)}`}`;
  return flags.map((flag) =>
    quote(`${exclusive}${flag}${flag.startsWith("--") && value !== undefined ? "=" : ""}${after}`),
  );
};

const parameterSpec = (value: Value, index: number): string => quote(`${index + 1}:${actionOf(value)}`);

const actionOf = (value: Value): string => {
  if (typeof value !== "string") return `value:(${value.join(" ")})`;
  if (value === "file") return "file:_files";
  return value === "directory" ? "directory:_files -/" : "text: ";
};

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
