/** Completion for fish, in its own terms (complete(1)): with the summaries beside the words. */
import type { CompletedCommand, CompletedOption, CompletedProgram, Value } from "./model.ts";

export const fishCompletion = ({ commands, groups, options }: CompletedProgram): string => {
  const single = commands.filter(({ name }) => !name.includes(" "));
  const valued = [
    ...new Set(commands.flatMap(({ options: own }) => own.filter(({ value }) => value).flatMap(({ flags }) => flags))),
  ];
  return `# Completion of sidekey for fish, made by: sidekey completion fish

# The command so far: one word, or a group's word and its own. Options and their values do not count.
function __sidekey_command
    set -l found
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case '--*=*'
            case '-*'
                if contains -- $word ${valued.join(" ")}
                    set skip 1
                end
            case '*'
                set -a found $word
                if not contains -- $found[1] ${groups.map(({ name }) => name).join(" ")}
                    break
                end
                if test (count $found) = 2
                    break
                end
        end
    end
    string join ' ' -- $found
end

function __sidekey_is
    set -l now (__sidekey_command)
    test "$now" = "$argv"
end

# What is behind 'run' and its options is another program's command line.
function __sidekey_program
    set -l words (commandline -opc)[3..-1]
    while set -q words[1]
        switch $words[1]
            case --
                set -e words[1]
                break
            case '--*=*'
                set -e words[1]
            case '-*'
                if contains -- $words[1] ${valued.join(" ")}; and set -q words[2]
                    set -e words[1]
                end
                set -e words[1]
            case '*'
                break
        end
    end
    complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))
end

complete -c sidekey -f
${options.map((option) => optionLine("-n '__sidekey_is'", option)).join("\n")}
${[...single, ...groups].map(({ name, summary }) => wordLine("", name, summary)).join("\n")}
${groups.flatMap(({ name: group }) => leaves(group, commands)).join("\n")}
${commands.flatMap(commandLines).join("\n")}
`;
};

const leaves = (group: string, commands: readonly CompletedCommand[]): readonly string[] =>
  commands
    .filter(({ name }) => name.startsWith(`${group} `))
    .map(({ name, summary }) => wordLine(group, name.slice(group.length + 1), summary));

const wordLine = (command: string, word: string, summary: string): string =>
  `complete -c sidekey -n '__sidekey_is ${command}' -a ${word} -d ${quote(summary)}`;

const commandLines = ({ name, options, parameters, isPrefix }: CompletedCommand): readonly string[] => {
  const here = `-n '__sidekey_is ${name}'`;
  return [
    ...options.map((option) => optionLine(here, option)),
    ...(isPrefix ? [`complete -c sidekey ${here} -x -a '(__sidekey_program)'`] : []),
    ...(isPrefix
      ? []
      : [...new Set(parameters.map(valueWords))]
          .filter((words) => words !== "")
          .map((words) => `complete -c sidekey ${here} ${words}`)),
  ];
};

const optionLine = (here: string, { flags, summary, value }: CompletedOption): string => {
  const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`)).join(" ");
  const takes = value === undefined ? "" : ` ${valueWords(value) === "" ? "-x" : `-r ${valueWords(value)}`}`;
  return `complete -c sidekey ${here} ${names}${takes} -d ${quote(summary)}`;
};

const valueWords = (value: Value): string => {
  if (typeof value !== "string") return `-f -a ${quote(value.join(" "))}`;
  if (value === "file") return "-F";
  return value === "directory" ? "-f -a '(__fish_complete_directories)'" : "";
};

const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
