# fish completion for kube-rekey. What can be said comes out of the program's own tables.
function __kube_rekey_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] 2>/dev/null)
    switch $lines[-1]
        case :0
            __fish_complete_path (commandline -ct)
        case :16
            __fish_complete_directories (commandline -ct)
        case '*'
            string match --invert ':*' -- $lines
    end
end
complete --command kube-rekey --no-files --arguments '(__kube_rekey_complete)'
