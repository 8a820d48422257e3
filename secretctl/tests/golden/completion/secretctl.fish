# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_secretctl_global_optspecs
    string join \n context= socket= timeout= json q/quiet h/help V/version
end

function __fish_secretctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_secretctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_secretctl_using_subcommand
    set -l cmd (__fish_secretctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c secretctl -n "__fish_secretctl_needs_command" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_needs_command" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_needs_command" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_needs_command" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_needs_command" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_needs_command" -s V -l version -d 'Print version'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "create" -d 'Create a secret from standard input or a file'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "rotate" -d 'Give a secret a new value'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "ls" -d 'List secrets'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "inspect" -d 'Show what is known of secrets'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "rm" -d 'Remove secrets'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "secret" -d 'The same commands, as `docker secret` spells them'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "config" -d 'Configs: files of tasks that are not secret'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "service" -d 'Run commands on nodes, with their secrets mounted'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "task" -d 'Look into a task that runs'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "stack" -d 'Run what compose files declare, without docker'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "node" -d 'See and change the machines that run tasks'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "cluster" -d 'Make a cluster, join it, see what is wrong with it'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "operator" -d 'Say who may administer the cluster'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "context" -d 'Keep the clusters this user talks to'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "demo" -d 'Watch a secret travel, on a whole cluster that is made for it and removed'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "dev" -d 'Run a whole cluster on this machine until interrupted'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "completion" -d 'Print a completion script for a shell'
complete -c secretctl -n "__fish_secretctl_needs_command" -f -a "man" -d 'Write the man pages'
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -s l -l label -d 'A label, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -l usable-by -d 'An operator or group whose services may use the secret; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -l value -d 'What looks like a value: refused' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -l value -d 'What looks like a value: refused' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -l wait -d 'Wait until the services that follow it run with the new value'
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand rotate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -s f -l filter -d 'Only secrets that match: name=PREFIX, names=NAME, id=PREFIX, label=KEY or label=KEY=VALUE' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -l removed -d 'List secrets that were removed instead'
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand inspect" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand inspect" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand inspect" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand inspect" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand inspect" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l forget-previous -d 'Remove it though a service would need it to go back to its previous spec'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l shred -d 'Have it gone from every manager\'s disk now, and wait for that'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l wait -d 'Wait until every manager gave word; so it is with `--shred` unless told otherwise'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l no-wait -d 'Return once `--shred` has been asked for'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l dry-run -d 'Only say what would happen'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -f -a "create" -d 'Create a secret from standard input or a file'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -f -a "rotate" -d 'Give a secret a new value'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -f -a "ls" -d 'List secrets'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -f -a "inspect" -d 'Show what is known of secrets'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and not __fish_seen_subcommand_from create rotate ls inspect rm" -f -a "rm" -d 'Remove secrets'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -s l -l label -d 'A label, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -l usable-by -d 'An operator or group whose services may use the secret; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -l value -d 'What looks like a value: refused' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -l value -d 'What looks like a value: refused' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -l wait -d 'Wait until the services that follow it run with the new value'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -s f -l filter -d 'Only secrets that match: name=PREFIX, names=NAME, id=PREFIX, label=KEY or label=KEY=VALUE' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -l removed -d 'List secrets that were removed instead'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from inspect" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from inspect" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from inspect" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from inspect" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l forget-previous -d 'Remove it though a service would need it to go back to its previous spec'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l shred -d 'Have it gone from every manager\'s disk now, and wait for that'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l wait -d 'Wait until every manager gave word; so it is with `--shred` unless told otherwise'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l no-wait -d 'Return once `--shred` has been asked for'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l dry-run -d 'Only say what would happen'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand secret; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -f -a "create" -d 'Create a config from standard input or a file'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -f -a "ls" -d 'List configs'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -f -a "inspect" -d 'Show what is known of configs'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and not __fish_seen_subcommand_from create ls inspect rm" -f -a "rm" -d 'Remove configs'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -s l -l label -d 'A label, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from inspect" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from inspect" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from inspect" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from inspect" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -l forget-previous -d 'Remove it though a service would need it to go back to its previous spec'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand config; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "create" -d 'Run a command on nodes, with secrets mounted'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "ls" -d 'List services'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "ps" -d 'List the tasks of services'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "inspect" -d 'Show what is known of services'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "logs" -d 'Show what the tasks of a service print'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "rm" -d 'Stop and remove services'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "scale" -d 'Change how many tasks services run'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "update" -d 'Change a service'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and not __fish_seen_subcommand_from create ls ps inspect logs rm scale update rollback" -f -a "rollback" -d 'Go back to what was declared before the last change'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l name -d 'The service\'s name: one DNS label, up to 63 characters' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l secret -d 'A secret: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0400,version=N,on-change=restart; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l config -d 'A config: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0444; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l mode -d 'So many tasks anywhere, or one on every node that fits' -r -f -a "replicated\t'As many as `--replicas` says'
global\t'One on every node that fits, as nodes come and go'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l constraint -d 'Where tasks may go, e.g. node.labels.zone==eu or node.hostname!=n1; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l placement-pref -d 'Spread tasks over the values of a node label: spread=node.labels.KEY; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s e -l env -d 'An environment variable, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s l -l label -d 'A label, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l image -d 'Run a container of this image, on nodes with a container engine' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l replicas -d 'How many tasks; 1 unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l replicas-max-per-node -d 'At most so many tasks on one node; 0 is without bound' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l reserve-cpu -d 'Processors to keep free for each task, such as 0.5' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l reserve-memory -d 'Memory to keep free for each task, such as 512m or 2g' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s u -l user -d 'Who runs the command: name, uid, or user:group' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s w -l workdir -d 'The working directory' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l stop-signal -d 'The signal that asks a task to stop; SIGTERM unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l stop-grace-period -d 'How long it may take to stop; 10s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l restart-condition -d 'When a task that ended is replaced; any unless given' -r -f -a "any\t'However it ended'
on-failure\t'When it failed'
none\t'Never'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l restart-delay -d 'How long to wait before it is; 5s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l restart-max-attempts -d 'How often it is, within the window; 0 is without bound' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l restart-window -d 'The time before its end in which attempts count; 0s is for ever' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l logs -d 'Where the tasks\' output is kept on their nodes; files unless given' -r -f -a "files\t'In two rotated files of 8 MiB'
memory\t'In memory'
none\t'Nowhere'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l update-parallelism -d 'How many tasks an update replaces at a time; 0 is all, 1 unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l update-delay -d 'How long to wait between them' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l update-order -d 'Which of the two tasks is alone for a moment; stop-first unless given' -r -f -a "stop-first\t'The old one stops before the new one starts'
start-first\t'The new one runs before the old one stops'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l update-monitor -d 'How long a new task must stay up to count; 5s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l update-failure-action -d 'What a new task that fails does to the update; pause unless given' -r -f -a "pause\t'It stops and waits for an operator'
continue\t'It goes on'
rollback\t'It goes back to what was declared before'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l update-max-failure-ratio -d 'Which part of the tasks may fail, from 0 to 1' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l rollback-parallelism -d 'How many tasks a rollback replaces at a time; 0 is all, 1 unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l rollback-delay -d 'How long a rollback waits between them' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l rollback-order -d 'A rollback\'s order; stop-first unless given' -r -f -a "stop-first\t'The old one stops before the new one starts'
start-first\t'The new one runs before the old one stops'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l rollback-monitor -d 'How long a task must stay up after a rollback; 5s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l rollback-failure-action -d 'What a task that fails does to a rollback; pause unless given' -r -f -a "pause\t'It stops and waits for an operator'
continue\t'It goes on'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l rollback-max-failure-ratio -d 'Which part of the tasks may fail in a rollback, from 0 to 1' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s d -l detach -d 'Do not wait until the tasks run'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -s a -l all -d 'Tasks that are over, too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from ps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from inspect" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from inspect" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from inspect" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from inspect" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -l since -d 'Only lines since then: a duration back from now (10m), or an instant (2026-01-31T12:00:00Z)' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -s n -l tail -d 'Only the last lines of each task: a number, or `all`' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -s f -l follow -d 'Go on with what is printed from now on'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -s t -l timestamps -d 'Begin each line with its time'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -l no-prefix -d 'Do not begin each line with its task'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -s d -l detach -d 'Do not wait until they run'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from scale" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l secret-add -d 'Use one more secret, as `service create --secret` takes it; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l secret-rm -d 'Use a secret no more, by its name or id; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l config-add -d 'Use one more config, as `service create --config` takes it; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l config-rm -d 'Use a config no more, by its name or id; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l env-add -d 'Set an environment variable, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l env-rm -d 'Remove an environment variable; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l label-add -d 'Set a label of the service, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l label-rm -d 'Remove a label of the service; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l constraint-add -d 'One more constraint; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l constraint-rm -d 'Remove a constraint; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l placement-pref-add -d 'One more preference, spread=node.labels.KEY; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l placement-pref-rm -d 'Remove a preference; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l args -d 'The arguments after the program, in one text; quotes keep words together' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l image -d 'Run a container of this image, on nodes with a container engine' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l replicas -d 'How many tasks; 1 unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l replicas-max-per-node -d 'At most so many tasks on one node; 0 is without bound' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l reserve-cpu -d 'Processors to keep free for each task, such as 0.5' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l reserve-memory -d 'Memory to keep free for each task, such as 512m or 2g' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -s u -l user -d 'Who runs the command: name, uid, or user:group' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -s w -l workdir -d 'The working directory' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l stop-signal -d 'The signal that asks a task to stop; SIGTERM unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l stop-grace-period -d 'How long it may take to stop; 10s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l restart-condition -d 'When a task that ended is replaced; any unless given' -r -f -a "any\t'However it ended'
on-failure\t'When it failed'
none\t'Never'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l restart-delay -d 'How long to wait before it is; 5s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l restart-max-attempts -d 'How often it is, within the window; 0 is without bound' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l restart-window -d 'The time before its end in which attempts count; 0s is for ever' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l logs -d 'Where the tasks\' output is kept on their nodes; files unless given' -r -f -a "files\t'In two rotated files of 8 MiB'
memory\t'In memory'
none\t'Nowhere'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l update-parallelism -d 'How many tasks an update replaces at a time; 0 is all, 1 unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l update-delay -d 'How long to wait between them' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l update-order -d 'Which of the two tasks is alone for a moment; stop-first unless given' -r -f -a "stop-first\t'The old one stops before the new one starts'
start-first\t'The new one runs before the old one stops'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l update-monitor -d 'How long a new task must stay up to count; 5s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l update-failure-action -d 'What a new task that fails does to the update; pause unless given' -r -f -a "pause\t'It stops and waits for an operator'
continue\t'It goes on'
rollback\t'It goes back to what was declared before'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l update-max-failure-ratio -d 'Which part of the tasks may fail, from 0 to 1' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback-parallelism -d 'How many tasks a rollback replaces at a time; 0 is all, 1 unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback-delay -d 'How long a rollback waits between them' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback-order -d 'A rollback\'s order; stop-first unless given' -r -f -a "stop-first\t'The old one stops before the new one starts'
start-first\t'The new one runs before the old one stops'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback-monitor -d 'How long a task must stay up after a rollback; 5s unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback-failure-action -d 'What a task that fails does to a rollback; pause unless given' -r -f -a "pause\t'It stops and waits for an operator'
continue\t'It goes on'"
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback-max-failure-ratio -d 'Which part of the tasks may fail in a rollback, from 0 to 1' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l force -d 'Replace every task though nothing changes for it'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l rollback -d 'Go back to what was declared before, as `service rollback` does'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -s d -l detach -d 'Do not wait until the update is through'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -s d -l detach -d 'Do not wait until the rollback is through'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand service; and __fish_seen_subcommand_from rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and not __fish_seen_subcommand_from exec" -f -a "exec" -d 'Run a command in a task'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -s i -l interactive -d 'Pass standard input to the command; without it, the command has none'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand task; and __fish_seen_subcommand_from exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -f -a "deploy" -d 'Create what compose files declare, or change what is there'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -f -a "ls" -d 'List stacks'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -f -a "ps" -d 'List the tasks of a stack'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -f -a "services" -d 'List the services of a stack'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -f -a "rm" -d 'Remove stacks'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and not __fish_seen_subcommand_from deploy ls ps services rm config" -f -a "config" -d 'Show what compose files say together'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -s c -l compose-file -d 'A compose file, or `-` for standard input; may be repeated' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l prune -d 'Remove services of the stack that the files do not declare any more'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l rotate-secrets -d 'Give each secret the value of its file as a new version, though it is the same'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l wait -d 'Wait until what was changed runs'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from deploy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -s a -l all -d 'Tasks that are over, too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from ps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from services" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from services" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from services" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from services" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from services" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from services" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -s c -l compose-file -d 'A compose file, or `-` for standard input; may be repeated' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand stack; and __fish_seen_subcommand_from config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -f -a "ls" -d 'List nodes'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -f -a "inspect" -d 'Show what is known of nodes'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -f -a "update" -d 'Change a node\'s labels or availability'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -f -a "promote" -d 'Say how a node becomes a manager'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -f -a "demote" -d 'Say how a manager stops being one'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and not __fish_seen_subcommand_from ls inspect update promote demote rm" -f -a "rm" -d 'Evict nodes'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from inspect" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from inspect" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from inspect" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from inspect" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l label-add -d 'Set a label, KEY=VALUE; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l label-rm -d 'Remove a label; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l availability -d 'Whether it takes tasks' -r -f -a "active\t'It takes tasks'
pause\t'It keeps its tasks and takes no new ones'
drain\t'Its tasks move elsewhere'"
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from promote" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from promote" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from promote" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from promote" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from promote" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from promote" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from demote" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from demote" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from demote" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from demote" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from demote" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from demote" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -s f -l force -d 'Evict it though it is up'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand node; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "init" -d 'Make a new cluster with the manager on this machine'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "update" -d 'Turn locking on or off, or have managers unlock one another'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "unlock" -d 'Open the manager on this machine, which is locked'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "unlock-key" -d 'Replace the unlock key'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "unlock-slot" -d 'Other ways to open locked managers: passphrases beside the unlock key'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "approve" -d 'Consent to the others\' unlocking a manager that was restarted'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "alarm" -d 'Requests to be unlocked that no true manager makes'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "join" -d 'Make the manager on this machine a member of a cluster'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "leave" -d 'Take the manager on this machine out of its cluster, for good'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "status" -d 'Show what is wrong, then who the managers are'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "join-token" -d 'Make a token that admits a node or a manager'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "token" -d 'See and revoke join tokens'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "member" -d 'See and change the cluster\'s managers'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "replace" -d 'Put a new manager in the place of a dead one'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "backup" -d 'Keep a copy of the whole cluster in one encrypted file'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "restore" -d 'Make a cluster of the manager on this machine out of a backup'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "audit" -d 'Show who changed what'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "rotate" -d 'Replace keys while the cluster serves'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and not __fish_seen_subcommand_from init update unlock unlock-key unlock-slot approve alarm join leave status join-token token member replace backup restore audit rotate keys" -f -a "keys" -d 'Show which keys each manager holds, and what its disk is under'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l advertise-address -d 'Where others reach this manager; the address it listens on unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l hostname -d 'This machine\'s name in the cluster; its hostname unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l payload-quota -d 'Bytes of sealed secrets the cluster may hold; 1 GiB unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l autolock -d 'Lock managers: show an unlock key once, which every start of a manager needs'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l autolock -d 'Whether a manager that starts waits for the unlock key' -r -f -a "on\t'It is done'
off\t'It is not done'"
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l read-back -d 'Whether the cluster keeps the unlock key, so that admins can read it back' -r -f -a "on\t'It is done'
off\t'It is not done'"
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l peers -d 'Whether a manager that was restarted is unlocked by the others' -r -f -a "off\t'They do not'
approve\t'With an operator\'s consent each time'
auto\t'By themselves'"
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l wait -d 'How long to wait until the managers that answer have followed and have new log keys' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -l wait -d 'How long to wait until the manager serves' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l wait -d 'How long to wait until the managers that answer have followed and have new log keys' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l rotate -d 'Make a new unlock key in place of the present one'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l compromised -d 'Somebody may have had a copy of a manager\'s disk, too: rotate the root key with it, and list the values to replace'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -f -a "add" -d 'Add a slot'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -f -a "ls" -d 'List the slots that open managers'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -f -a "rm" -d 'Remove a slot'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from unlock-slot" -f -a "prove" -d 'Try a slot without restarting anything, and record that it works'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -l from -d 'The host that may be unlocked' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from approve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -f -a "ls" -d 'List the alarms that nobody cleared'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from alarm" -f -a "clear" -d 'Say that an alarm was seen to'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l token -d 'The token that `secretctl cluster join-token manager` printed, or `-` to read it from standard input' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l advertise-address -d 'Where others reach this manager; the address it listens on unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l hostname -d 'This machine\'s name in the cluster; its hostname unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -s f -l force -d 'Leave though the others may lose their majority'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from leave" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -l check -d 'Exit with 1 if anything is wrong'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -l expires -d 'How long it is good for' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -l uses -d 'How often it can be used' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from join-token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -f -a "ls" -d 'List the join tokens that can still be used'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from token" -f -a "rm" -d 'Revoke join tokens'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -f -a "ls" -d 'List the cluster\'s managers'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -f -a "rm" -d 'Remove a manager from the cluster'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from member" -f -a "set-address" -d 'Tell the others where a manager is reached now'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from replace" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from replace" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from replace" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from replace" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from replace" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from replace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -l recipient -d 'Who can open it: an age recipient, as `age-keygen` prints it; may be repeated, and each of them opens it' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -l passphrase -d 'Open it with a passphrase instead'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -a "ls" -d 'List the backups that were made, oldest first'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -a "check" -d 'Open a backup\'s file and read it to its end, as restoring would'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from backup" -a "forget" -d 'Say that a backup\'s file is destroyed, so that nobody is warned of it any more'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -s i -l identity -d 'A file with an age identity of one of its recipients; without it, its passphrase is asked for' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l advertise-address -d 'Where others reach this manager; the address it listens on unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l hostname -d 'This machine\'s name in the cluster; its hostname unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l incarnation -d 'The incarnation that begins; the one after that of the backup unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l autolock -d 'Lock managers: show a new unlock key once, which every start of a manager needs'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l new-ca -d 'Make a new CA: the backup, or the CA\'s key in it, may be in the wrong hands'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -l after -d 'Only records after this index, the oldest of them: to go on from those that were read' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -l limit -d 'At most so many records' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from audit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -f -a "log-key" -d 'Replace the key that each manager\'s disk is encrypted under'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -f -a "root-key" -d 'Replace the key that all data keys, the CA\'s key and transit keys are wrapped under'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -f -a "ca" -d 'Replace the CA, and every certificate with it'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -f -a "certificates" -d 'Replace every manager\'s, agent\'s and operator\'s certificate, and its key'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from rotate" -f -a "certs" -d 'Replace every manager\'s, agent\'s and operator\'s certificate, and its key'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -l verify -d 'Have each manager read all that is on its disk, and compare chains'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand cluster; and __fish_seen_subcommand_from keys" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -f -a "add" -d 'Admit an operator'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -f -a "ls" -d 'List operators'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and not __fish_seen_subcommand_from add ls rm" -f -a "rm" -d 'Remove operators'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -l role -d 'What the operator may do' -r -f -a "admin\t'Everything'
deployer\t'Deploy services, create secrets'
writer\t'Create secrets and new values of them'
auditor\t'Read everything there is to read, change nothing'"
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -l group -d 'The group whose secrets its services may use; the operator\'s own name unless given' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand operator; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -f -a "add" -d 'Enrol in a cluster and keep the certificate'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -f -a "ls" -d 'List contexts'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -f -a "use" -d 'Choose the context that commands use'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -f -a "rm" -d 'Remove contexts'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -f -a "show" -d 'Show a context'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and not __fish_seen_subcommand_from add ls use rm show export-docker" -f -a "export-docker" -d 'Write a context\'s certificate and key for the docker client'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -l token -d 'The token that `secretctl operator add` printed, or `-` to read it from standard input' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -l manager -d 'A manager\'s address; may be repeated' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from ls" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from ls" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from use" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from use" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from use" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from use" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from use" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from use" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from rm" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from rm" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from rm" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from show" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from show" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from show" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from show" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from export-docker" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from export-docker" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from export-docker" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from export-docker" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from export-docker" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand context; and __fish_seen_subcommand_from export-docker" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -l managers -d 'How many managers; 1 starts sooner, 3 agree on every change' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -l managers -d 'How many managers; 3 go on when one is killed' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand dev" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand completion" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand completion" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand completion" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand completion" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand completion" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secretctl -n "__fish_secretctl_using_subcommand man" -l context -d 'The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand man" -l socket -d 'The unix socket of the manager on this machine [env: SECRETD_SOCKET]' -r -F
complete -c secretctl -n "__fish_secretctl_using_subcommand man" -l timeout -d 'How long to go on trying when no manager answers' -r
complete -c secretctl -n "__fish_secretctl_using_subcommand man" -l json -d 'Print JSON, errors too'
complete -c secretctl -n "__fish_secretctl_using_subcommand man" -s q -l quiet -d 'Print ids only, and no progress'
complete -c secretctl -n "__fish_secretctl_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
