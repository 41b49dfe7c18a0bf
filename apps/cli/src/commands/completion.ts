import { DmaBufError } from "@peerbar/core";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { type Shell, shells } from "../kinds.js";

/** The scripts are thin: words go to `peerbar __complete`, which knows verbs, options and the functions of -F FILE. */
const scripts: Readonly<Record<Shell, string>> = {
  bash: `# bash completion for peerbar
_peerbar() {
  local line=\${COMP_LINE:0:COMP_POINT} words answer prefix
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  local current=\${words[-1]}
  mapfile -t answer < <("\${words[0]/#\\~/$HOME}" __complete "\${words[@]:1}" 2>/dev/null)
  COMPREPLY=()
  case \${answer[0]-} in
    :files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "\${current##*=}"); return ;;
    :directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "\${current##*=}"); return ;;
  esac
  # Readline takes "=" and ":" as word breaks: only what follows the last one is replaced.
  prefix=""
  local mark before
  for mark in : =; do
    before=\${current%"\${current##*$mark}"}
    [[ $COMP_WORDBREAKS == *$mark* && \${#before} -gt \${#prefix} ]] && prefix=$before
  done
  local candidate
  for candidate in "\${answer[@]%%$'\\t'*}"; do
    [[ $candidate == "$prefix"* ]] && COMPREPLY+=("\${candidate#"$prefix"}")
  done
  [[ \${#COMPREPLY[@]} == 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -F _peerbar peerbar
`,
  zsh: `#compdef peerbar
# zsh completion for peerbar
_peerbar() {
  local -a answer candidates
  local one value meaning
  answer=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  case \${answer[1]} in
    :files) _files; return ;;
    :directories) _files -/; return ;;
  esac
  for one in $answer; do
    value=\${one%%$'\\t'*} meaning=\${one#*$'\\t'}
    [[ -n $value ]] || continue
    if [[ $value == $one ]]; then
      candidates+=("\${value//:/\\\\:}")
    else
      candidates+=("\${value//:/\\\\:}:$meaning")
    fi
  done
  _describe -t candidates candidate candidates
}
if [[ \${funcstack[1]} == _peerbar ]]; then
  _peerbar "$@"
else
  compdef _peerbar peerbar
fi
`,
  fish: `# fish completion for peerbar
function __peerbar_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l answer ($words[1] __complete $words[2..-1] 2>/dev/null)
  switch "$answer[1]"
    case :files
      __fish_complete_path (commandline -ct)
    case :directories
      __fish_complete_directories (commandline -ct)
    case '*'
      printf '%s\\n' $answer
  end
end
complete --command peerbar --no-files --arguments '(__peerbar_complete)'
`,
};

/**
 * `peerbar completion SHELL`: a script for the shell to source.
 *
 * @throws DmaBufError EINVAL for another shell
 */
export function completion(io: Io, name: string): ExitCode {
  const shell = shells.find((one) => one === name);
  if (shell === undefined) {
    throw new DmaBufError("EINVAL", "completion", `no completion for "${name}"`, {
      hint: `there is one for ${shells.join(", ")}`,
    });
  }
  io.out(scripts[shell]);
  return exit.ok;
}
