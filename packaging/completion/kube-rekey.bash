# bash completion for kube-rekey. What can be said comes out of the program's own tables.
_kube_rekey() {
    local current=${COMP_WORDS[COMP_CWORD]} lines line
    # bash takes "=" for a word of its own: "--qps", "=", "5" is one word to us.
    local words=() i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        if [[ ${#words[@]} -gt 0 && (${COMP_WORDS[i]} == = || ${COMP_WORDS[i - 1]} == =) && ${words[-1]} == --* ]]; then
            words[-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
    done
    local asked=${words[-1]} cut=
    [[ $asked == --*=* ]] && cut=${asked%%=*}= && current=${asked#*=}
    mapfile -t lines < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    COMPREPLY=()
    for line in "${lines[@]}"; do
        case $line in
        :0) mapfile -t COMPREPLY < <(compgen -f -- "$current") && compopt -o filenames ;;
        :16) mapfile -t COMPREPLY < <(compgen -d -- "$current") && compopt -o filenames ;;
        :*) ;;
        *) line=${line%%$'\t'*} && COMPREPLY+=("${line#"$cut"}") ;;
        esac
    done
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:/=] ]] && compopt -o nospace
    return 0
}
complete -F _kube_rekey kube-rekey
