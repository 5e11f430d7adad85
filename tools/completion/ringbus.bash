# SPDX-License-Identifier: MIT
# bash completion for ringbus. The command itself says what a word may become, see "Completion" in
# ringbus(1).
_ringbus() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}") ;;
      :directories) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}") ;;
      *) COMPREPLY+=("$(printf %q "$line")") ;;
    esac
  done < <("${COMP_WORDS[0]}" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _ringbus ringbus
