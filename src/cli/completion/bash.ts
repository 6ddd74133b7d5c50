/** Completion for bash (3.2 and later, as macOS has it). Needs no package beside bash. */
import type { CompletedCommand, CompletedOption, CompletedProgram, Value } from "./model.ts";

export const bashCompletion = ({ commands, groups, options }: CompletedProgram): string => {
  const tops = [
    ...commands.map(({ name }) => name).filter((name) => !name.includes(" ")),
    ...groups.map(({ name }) => name),
  ];
  return `# Completion of sidekey for bash, made by: sidekey completion bash

# What the value of an option is: nothing when it takes none.
_sidekey_option_value() {
  case "$1 $2" in
${commands.flatMap(optionValues).join("\n")}
  esac
}

# What the argument of a command is, by its number from 0.
_sidekey_argument() {
  case "$1 $2" in
${commands.flatMap(({ name, parameters }) => parameters.map((value, index) => `    '${name} ${index}') echo '${valueText(value)}' ;;`)).join("\n")}
  esac
}

_sidekey_words() {
  case "$1" in
    '') echo '${tops.join(" ")}' ;;
${groups.map(({ name }) => `    '${name}') echo '${leavesOf(name, commands).join(" ")}' ;;`).join("\n")}
  esac
}

_sidekey_options() {
  case "$1" in
    '') echo '${flagsOf(options)}' ;;
${commands.map(({ name, options: own }) => `    '${name}') echo '${flagsOf(own)}' ;;`).join("\n")}
  esac
}

_sidekey_complete() {
  case "$1" in
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$2")) ;;
    directory) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$2")) ;;
    text) COMPREPLY=() ;;
    *) COMPREPLY=($(compgen -W "$1" -- "$2")) ;;
  esac
}

_sidekey() {
  local IFS=$' \\t\\n'
  local current="\${COMP_WORDS[COMP_CWORD]}" command='' arguments=0 index=1 option='' value='' word
  COMPREPLY=()
  while [ "$index" -lt "$COMP_CWORD" ]; do
    word="\${COMP_WORDS[index]}"
    option=''
    case "$word" in
      --) [ "$command" = run ] && { _sidekey_program $((index + 1)); return; } ;;
      -*)
        if [ -n "$(_sidekey_option_value "$command" "$word")" ]; then
          option="$word"
          index=$((index + 1))
          [ "\${COMP_WORDS[index]}" = '=' ] && [ "$index" -lt "$COMP_CWORD" ] && index=$((index + 1))
        fi ;;
      *)
        if [ -z "$command" ]; then command="$word"
        elif [ -n "$(_sidekey_words "$command")" ]; then command="$command $word"
        elif [ "$command" = run ]; then _sidekey_program "$index"; return
        else arguments=$((arguments + 1)); fi ;;
    esac
    index=$((index + 1))
  done
  if [ "$index" -gt "$COMP_CWORD" ] && [ -n "$option" ]; then
    [ "$current" = '=' ] && current=''
    _sidekey_complete "$(_sidekey_option_value "$command" "$option")" "$current"
    return
  fi
  if [ "$command" = run ] && [ "\${current#-}" = "$current" ]; then _sidekey_program "$COMP_CWORD"; return; fi
  value="$(_sidekey_words "$command")"
  if [ "\${current#-}" != "$current" ]; then value="$(_sidekey_options "$command")"
  elif [ -z "$value" ]; then value="$(_sidekey_argument "$command" "$arguments")"; fi
  [ -n "$value" ] && _sidekey_complete "$value" "$current"
}

# The program under run, and its own arguments: by its own completion where that can be had.
_sidekey_program() {
  if [ "$1" -eq "$COMP_CWORD" ]; then COMPREPLY=($(compgen -c -- "\${COMP_WORDS[COMP_CWORD]}"))
  elif declare -F _command_offset >/dev/null; then _command_offset "$1"
  else _sidekey_complete file "\${COMP_WORDS[COMP_CWORD]}"; fi
}

complete -F _sidekey sidekey
`;
};

const leavesOf = (group: string, commands: readonly CompletedCommand[]): readonly string[] =>
  commands.flatMap(({ name }) => (name.startsWith(`${group} `) ? [name.slice(group.length + 1)] : []));

const flagsOf = (options: readonly CompletedOption[]): string => options.flatMap(({ flags }) => flags).join(" ");

const optionValues = ({ name, options }: CompletedCommand): readonly string[] =>
  options.flatMap(({ flags, value }) => {
    if (value === undefined) return [];
    return [`    ${flags.map((flag) => `'${name} ${flag}'`).join("|")}) echo '${valueText(value)}' ;;`];
  });

const valueText = (value: Value): string => (typeof value === "string" ? value : value.join(" "));
