#compdef secretctl

autoload -U is-at-least

_secretctl() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_secretctl_commands" \
"*::: :->secretctl" \
&& ret=0
    case $state in
    (secretctl)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'*-l+[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--label=[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--usable-by=[An operator or group whose services may use the secret; may be repeated]:NAME:_default' \
'--value=[What looks like a value\: refused]::VALUE:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The name\: 1 to 64 of a-z A-Z 0-9 - _ . , starting and ending with a letter or digit:_default' \
'::file -- The file with the value, or `-` for standard input:_files' \
'*::excess -- What looks like a value\: refused:_default' \
&& ret=0
;;
(rotate)
_arguments "${_arguments_options[@]}" : \
'--value=[What looks like a value\: refused]::VALUE:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--wait[Wait until the services that follow it run with the new value]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The secret, by name or id:_default' \
'::file -- The file with the value, or `-` for standard input:_files' \
'*::excess -- What looks like a value\: refused:_default' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'*-f+[Only secrets that match\: name=PREFIX, names=NAME, id=PREFIX, label=KEY or label=KEY=VALUE]:FILTER:_default' \
'*--filter=[Only secrets that match\: name=PREFIX, names=NAME, id=PREFIX, label=KEY or label=KEY=VALUE]:FILTER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(-f --filter)--removed[List secrets that were removed instead]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(inspect)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::secrets -- Names or ids:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--forget-previous[Remove it though a service would need it to go back to its previous spec]' \
'--shred[Have it gone from every manager'\''s disk now, and wait for that]' \
'(--no-wait)--wait[Wait until every manager gave word; so it is with \`--shred\` unless told otherwise]' \
'--no-wait[Return once \`--shred\` has been asked for]' \
'--dry-run[Only say what would happen]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::secrets -- Names or ids:_default' \
&& ret=0
;;
(secret)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__secret_commands" \
"*::: :->secret" \
&& ret=0

    case $state in
    (secret)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-secret-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'*-l+[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--label=[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--usable-by=[An operator or group whose services may use the secret; may be repeated]:NAME:_default' \
'--value=[What looks like a value\: refused]::VALUE:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The name\: 1 to 64 of a-z A-Z 0-9 - _ . , starting and ending with a letter or digit:_default' \
'::file -- The file with the value, or `-` for standard input:_files' \
'*::excess -- What looks like a value\: refused:_default' \
&& ret=0
;;
(rotate)
_arguments "${_arguments_options[@]}" : \
'--value=[What looks like a value\: refused]::VALUE:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--wait[Wait until the services that follow it run with the new value]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The secret, by name or id:_default' \
'::file -- The file with the value, or `-` for standard input:_files' \
'*::excess -- What looks like a value\: refused:_default' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'*-f+[Only secrets that match\: name=PREFIX, names=NAME, id=PREFIX, label=KEY or label=KEY=VALUE]:FILTER:_default' \
'*--filter=[Only secrets that match\: name=PREFIX, names=NAME, id=PREFIX, label=KEY or label=KEY=VALUE]:FILTER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(-f --filter)--removed[List secrets that were removed instead]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(inspect)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::secrets -- Names or ids:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--forget-previous[Remove it though a service would need it to go back to its previous spec]' \
'--shred[Have it gone from every manager'\''s disk now, and wait for that]' \
'(--no-wait)--wait[Wait until every manager gave word; so it is with \`--shred\` unless told otherwise]' \
'--no-wait[Return once \`--shred\` has been asked for]' \
'--dry-run[Only say what would happen]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::secrets -- Names or ids:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(config)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__config_commands" \
"*::: :->config" \
&& ret=0

    case $state in
    (config)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-config-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'*-l+[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--label=[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The name\: 1 to 64 of a-z A-Z 0-9 - _ . , starting and ending with a letter or digit:_default' \
':file -- The file with the value, or `-` for standard input:_files' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(inspect)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::configs -- Names or ids:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--forget-previous[Remove it though a service would need it to go back to its previous spec]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::configs -- Names or ids:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(service)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__service_commands" \
"*::: :->service" \
&& ret=0

    case $state in
    (service)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-service-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'--name=[The service'\''s name\: one DNS label, up to 63 characters]:NAME:_default' \
'*--secret=[A secret\: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0400,version=N,on-change=restart; may be repeated]:SECRET:_default' \
'*--config=[A config\: NAME, or source=NAME,target=FILE,uid=N,gid=N,mode=0444; may be repeated]:CONFIG:_default' \
'--mode=[So many tasks anywhere, or one on every node that fits]:MODE:((replicated\:"As many as \`--replicas\` says"
global\:"One on every node that fits, as nodes come and go"))' \
'*--constraint=[Where tasks may go, e.g. node.labels.zone==eu or node.hostname!=n1; may be repeated]:CONSTRAINT:_default' \
'*--placement-pref=[Spread tasks over the values of a node label\: spread=node.labels.KEY; may be repeated]:PREFERENCE:_default' \
'*-e+[An environment variable, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--env=[An environment variable, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*-l+[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--label=[A label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'--image=[Run a container of this image, on nodes with a container engine]:IMAGE:_default' \
'--replicas=[How many tasks; 1 unless given]:NUMBER:_default' \
'--replicas-max-per-node=[At most so many tasks on one node; 0 is without bound]:NUMBER:_default' \
'--reserve-cpu=[Processors to keep free for each task, such as 0.5]:NUMBER:_default' \
'--reserve-memory=[Memory to keep free for each task, such as 512m or 2g]:BYTES:_default' \
'-u+[Who runs the command\: name, uid, or user\:group]:USER:_default' \
'--user=[Who runs the command\: name, uid, or user\:group]:USER:_default' \
'-w+[The working directory]:DIR:_default' \
'--workdir=[The working directory]:DIR:_default' \
'--stop-signal=[The signal that asks a task to stop; SIGTERM unless given]:SIGNAL:_default' \
'--stop-grace-period=[How long it may take to stop; 10s unless given]:DURATION:_default' \
'--restart-condition=[When a task that ended is replaced; any unless given]:RESTART_CONDITION:((any\:"However it ended"
on-failure\:"When it failed"
none\:"Never"))' \
'--restart-delay=[How long to wait before it is; 5s unless given]:DURATION:_default' \
'--restart-max-attempts=[How often it is, within the window; 0 is without bound]:NUMBER:_default' \
'--restart-window=[The time before its end in which attempts count; 0s is for ever]:DURATION:_default' \
'--logs=[Where the tasks'\'' output is kept on their nodes; files unless given]:LOGS:((files\:"In two rotated files of 8 MiB"
memory\:"In memory"
none\:"Nowhere"))' \
'--update-parallelism=[How many tasks an update replaces at a time; 0 is all, 1 unless given]:NUMBER:_default' \
'--update-delay=[How long to wait between them]:DURATION:_default' \
'--update-order=[Which of the two tasks is alone for a moment; stop-first unless given]:ORDER:((stop-first\:"The old one stops before the new one starts"
start-first\:"The new one runs before the old one stops"))' \
'--update-monitor=[How long a new task must stay up to count; 5s unless given]:DURATION:_default' \
'--update-failure-action=[What a new task that fails does to the update; pause unless given]:ACTION:((pause\:"It stops and waits for an operator"
continue\:"It goes on"
rollback\:"It goes back to what was declared before"))' \
'--update-max-failure-ratio=[Which part of the tasks may fail, from 0 to 1]:RATIO:_default' \
'--rollback-parallelism=[How many tasks a rollback replaces at a time; 0 is all, 1 unless given]:NUMBER:_default' \
'--rollback-delay=[How long a rollback waits between them]:DURATION:_default' \
'--rollback-order=[A rollback'\''s order; stop-first unless given]:ORDER:((stop-first\:"The old one stops before the new one starts"
start-first\:"The new one runs before the old one stops"))' \
'--rollback-monitor=[How long a task must stay up after a rollback; 5s unless given]:DURATION:_default' \
'--rollback-failure-action=[What a task that fails does to a rollback; pause unless given]:ACTION:((pause\:"It stops and waits for an operator"
continue\:"It goes on"))' \
'--rollback-max-failure-ratio=[Which part of the tasks may fail in a rollback, from 0 to 1]:RATIO:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-d[Do not wait until the tasks run]' \
'--detach[Do not wait until the tasks run]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::command -- The command and its arguments; with --image, the arguments of what the image runs:_default' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(ps)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-a[Tasks that are over, too]' \
'--all[Tasks that are over, too]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::services -- Names or ids; all services unless given:_default' \
&& ret=0
;;
(inspect)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::services -- Names or ids:_default' \
&& ret=0
;;
(logs)
_arguments "${_arguments_options[@]}" : \
'--since=[Only lines since then\: a duration back from now (10m), or an instant (2026-01-31T12\:00\:00Z)]:WHEN:_default' \
'-n+[Only the last lines of each task\: a number, or \`all\`]:LINES:_default' \
'--tail=[Only the last lines of each task\: a number, or \`all\`]:LINES:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-f[Go on with what is printed from now on]' \
'--follow[Go on with what is printed from now on]' \
'-t[Begin each line with its time]' \
'--timestamps[Begin each line with its time]' \
'--no-prefix[Do not begin each line with its task]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':service -- A service, by name or id, or a task, by id:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::services -- Names or ids:_default' \
&& ret=0
;;
(scale)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-d[Do not wait until they run]' \
'--detach[Do not wait until they run]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::scales -- How many tasks of which service:_default' \
&& ret=0
;;
(update)
_arguments "${_arguments_options[@]}" : \
'*--secret-add=[Use one more secret, as \`service create --secret\` takes it; may be repeated]:SECRET:_default' \
'*--secret-rm=[Use a secret no more, by its name or id; may be repeated]:NAME:_default' \
'*--config-add=[Use one more config, as \`service create --config\` takes it; may be repeated]:CONFIG:_default' \
'*--config-rm=[Use a config no more, by its name or id; may be repeated]:NAME:_default' \
'*--env-add=[Set an environment variable, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--env-rm=[Remove an environment variable; may be repeated]:KEY:_default' \
'*--label-add=[Set a label of the service, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--label-rm=[Remove a label of the service; may be repeated]:KEY:_default' \
'*--constraint-add=[One more constraint; may be repeated]:CONSTRAINT:_default' \
'*--constraint-rm=[Remove a constraint; may be repeated]:CONSTRAINT:_default' \
'*--placement-pref-add=[One more preference, spread=node.labels.KEY; may be repeated]:PREFERENCE:_default' \
'*--placement-pref-rm=[Remove a preference; may be repeated]:PREFERENCE:_default' \
'()--args=[The arguments after the program, in one text; quotes keep words together]:TEXT:_default' \
'--image=[Run a container of this image, on nodes with a container engine]:IMAGE:_default' \
'--replicas=[How many tasks; 1 unless given]:NUMBER:_default' \
'--replicas-max-per-node=[At most so many tasks on one node; 0 is without bound]:NUMBER:_default' \
'--reserve-cpu=[Processors to keep free for each task, such as 0.5]:NUMBER:_default' \
'--reserve-memory=[Memory to keep free for each task, such as 512m or 2g]:BYTES:_default' \
'-u+[Who runs the command\: name, uid, or user\:group]:USER:_default' \
'--user=[Who runs the command\: name, uid, or user\:group]:USER:_default' \
'-w+[The working directory]:DIR:_default' \
'--workdir=[The working directory]:DIR:_default' \
'--stop-signal=[The signal that asks a task to stop; SIGTERM unless given]:SIGNAL:_default' \
'--stop-grace-period=[How long it may take to stop; 10s unless given]:DURATION:_default' \
'--restart-condition=[When a task that ended is replaced; any unless given]:RESTART_CONDITION:((any\:"However it ended"
on-failure\:"When it failed"
none\:"Never"))' \
'--restart-delay=[How long to wait before it is; 5s unless given]:DURATION:_default' \
'--restart-max-attempts=[How often it is, within the window; 0 is without bound]:NUMBER:_default' \
'--restart-window=[The time before its end in which attempts count; 0s is for ever]:DURATION:_default' \
'--logs=[Where the tasks'\'' output is kept on their nodes; files unless given]:LOGS:((files\:"In two rotated files of 8 MiB"
memory\:"In memory"
none\:"Nowhere"))' \
'--update-parallelism=[How many tasks an update replaces at a time; 0 is all, 1 unless given]:NUMBER:_default' \
'--update-delay=[How long to wait between them]:DURATION:_default' \
'--update-order=[Which of the two tasks is alone for a moment; stop-first unless given]:ORDER:((stop-first\:"The old one stops before the new one starts"
start-first\:"The new one runs before the old one stops"))' \
'--update-monitor=[How long a new task must stay up to count; 5s unless given]:DURATION:_default' \
'--update-failure-action=[What a new task that fails does to the update; pause unless given]:ACTION:((pause\:"It stops and waits for an operator"
continue\:"It goes on"
rollback\:"It goes back to what was declared before"))' \
'--update-max-failure-ratio=[Which part of the tasks may fail, from 0 to 1]:RATIO:_default' \
'--rollback-parallelism=[How many tasks a rollback replaces at a time; 0 is all, 1 unless given]:NUMBER:_default' \
'--rollback-delay=[How long a rollback waits between them]:DURATION:_default' \
'--rollback-order=[A rollback'\''s order; stop-first unless given]:ORDER:((stop-first\:"The old one stops before the new one starts"
start-first\:"The new one runs before the old one stops"))' \
'--rollback-monitor=[How long a task must stay up after a rollback; 5s unless given]:DURATION:_default' \
'--rollback-failure-action=[What a task that fails does to a rollback; pause unless given]:ACTION:((pause\:"It stops and waits for an operator"
continue\:"It goes on"))' \
'--rollback-max-failure-ratio=[Which part of the tasks may fail in a rollback, from 0 to 1]:RATIO:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--force[Replace every task though nothing changes for it]' \
'--rollback[Go back to what was declared before, as \`service rollback\` does]' \
'-d[Do not wait until the update is through]' \
'--detach[Do not wait until the update is through]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':service -- Name or id:_default' \
'*::command -- Another command and its arguments:_default' \
&& ret=0
;;
(rollback)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-d[Do not wait until the rollback is through]' \
'--detach[Do not wait until the rollback is through]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':service -- Name or id:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(task)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__task_commands" \
"*::: :->task" \
&& ret=0

    case $state in
    (task)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-task-command-$line[1]:"
        case $line[1] in
            (exec)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-i[Pass standard input to the command; without it, the command has none]' \
'--interactive[Pass standard input to the command; without it, the command has none]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':task -- A task\: its name as `service ps` has it (web.1), its id, or a unique beginning of that:_default' \
'*::command -- The command and its arguments. Nothing of it is for a shell, unless it is one:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(stack)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__stack_commands" \
"*::: :->stack" \
&& ret=0

    case $state in
    (stack)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-stack-command-$line[1]:"
        case $line[1] in
            (deploy)
_arguments "${_arguments_options[@]}" : \
'*-c+[A compose file, or \`-\` for standard input; may be repeated]:FILE:_files' \
'*--compose-file=[A compose file, or \`-\` for standard input; may be repeated]:FILE:_files' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--prune[Remove services of the stack that the files do not declare any more]' \
'--rotate-secrets[Give each secret the value of its file as a new version, though it is the same]' \
'--wait[Wait until what was changed runs]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The stack'\''s name:_default' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(ps)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-a[Tasks that are over, too]' \
'--all[Tasks that are over, too]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The stack:_default' \
&& ret=0
;;
(services)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The stack:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::names -- The stacks:_default' \
&& ret=0
;;
(config)
_arguments "${_arguments_options[@]}" : \
'*-c+[A compose file, or \`-\` for standard input; may be repeated]:FILE:_files' \
'*--compose-file=[A compose file, or \`-\` for standard input; may be repeated]:FILE:_files' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
        esac
    ;;
esac
;;
(node)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__node_commands" \
"*::: :->node" \
&& ret=0

    case $state in
    (node)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-node-command-$line[1]:"
        case $line[1] in
            (ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(inspect)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::nodes -- Hostnames or ids:_default' \
&& ret=0
;;
(update)
_arguments "${_arguments_options[@]}" : \
'*--label-add=[Set a label, KEY=VALUE; may be repeated]:KEY=VALUE:_default' \
'*--label-rm=[Remove a label; may be repeated]:KEY:_default' \
'--availability=[Whether it takes tasks]:AVAILABILITY:((active\:"It takes tasks"
pause\:"It keeps its tasks and takes no new ones"
drain\:"Its tasks move elsewhere"))' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':node -- Hostname or id:_default' \
&& ret=0
;;
(promote)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':node -- Hostname or id:_default' \
&& ret=0
;;
(demote)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':node -- Hostname or id:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-f[Evict it though it is up]' \
'--force[Evict it though it is up]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::nodes -- Hostnames or ids:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(cluster)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster_commands" \
"*::: :->cluster" \
&& ret=0

    case $state in
    (cluster)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-command-$line[1]:"
        case $line[1] in
            (init)
_arguments "${_arguments_options[@]}" : \
'--advertise-address=[Where others reach this manager; the address it listens on unless given]:HOST:PORT:_default' \
'--hostname=[This machine'\''s name in the cluster; its hostname unless given]:NAME:_default' \
'--payload-quota=[Bytes of sealed secrets the cluster may hold; 1 GiB unless given]:BYTES:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--autolock[Lock managers\: show an unlock key once, which every start of a manager needs]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(update)
_arguments "${_arguments_options[@]}" : \
'--autolock=[Whether a manager that starts waits for the unlock key]:ON|OFF:((on\:"It is done"
off\:"It is not done"))' \
'--read-back=[Whether the cluster keeps the unlock key, so that admins can read it back]:ON|OFF:((on\:"It is done"
off\:"It is not done"))' \
'--peers=[Whether a manager that was restarted is unlocked by the others]:POLICY:((off\:"They do not"
approve\:"With an operator'\''s consent each time"
auto\:"By themselves"))' \
'--wait=[How long to wait until the managers that answer have followed and have new log keys]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(unlock)
_arguments "${_arguments_options[@]}" : \
'--wait=[How long to wait until the manager serves]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'::typed -- Taken only to say that it is not taken, without repeating it:_default' \
&& ret=0
;;
(unlock-key)
_arguments "${_arguments_options[@]}" : \
'--wait=[How long to wait until the managers that answer have followed and have new log keys]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--rotate[Make a new unlock key in place of the present one]' \
'--compromised[Somebody may have had a copy of a manager'\''s disk, too\: rotate the root key with it, and list the values to replace]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(unlock-slot)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster__subcmd__unlock-slot_commands" \
"*::: :->unlock-slot" \
&& ret=0

    case $state in
    (unlock-slot)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-unlock-slot-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add_commands" \
"*::: :->add" \
&& ret=0

    case $state in
    (add)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-unlock-slot-add-command-$line[1]:"
        case $line[1] in
            (passphrase)
_arguments "${_arguments_options[@]}" : \
'--wait=[How long to wait until the managers that answer have followed]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--generate[Make a passphrase of 96 random bits and show it once]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(shares)
_arguments "${_arguments_options[@]}" : \
'--threshold=[How many shares open a manager]:K:_default' \
'--shares=[How many shares there are, at most 16]:N:_default' \
'--wait=[How long to wait until the managers that answer have followed]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(command)
_arguments "${_arguments_options[@]}" : \
'--give-up-after=[How long it may take, at most 1m]:DURATION:_default' \
'--wait=[How long to wait until the managers that answer have followed]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':path -- The program'\''s absolute path on the managers'\'' machines:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'--wait=[How long to wait until the managers that answer have followed and have new log keys]:DURATION:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':id -- The slot'\''s id, or the beginning of it:_default' \
&& ret=0
;;
(prove)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':id -- The slot'\''s id, or the beginning of it:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(approve)
_arguments "${_arguments_options[@]}" : \
'--from=[The host that may be unlocked]:HOST:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':member -- The member, by number or hostname:_default' \
&& ret=0
;;
(alarm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster__subcmd__alarm_commands" \
"*::: :->alarm" \
&& ret=0

    case $state in
    (alarm)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-alarm-command-$line[1]:"
        case $line[1] in
            (ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(clear)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':member -- The member, by number or hostname:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(join)
_arguments "${_arguments_options[@]}" : \
'--token=[The token that \`secretctl cluster join-token manager\` printed, or \`-\` to read it from standard input]:TOKEN:_default' \
'--advertise-address=[Where others reach this manager; the address it listens on unless given]:HOST:PORT:_default' \
'--hostname=[This machine'\''s name in the cluster; its hostname unless given]:NAME:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::managers -- Managers of the cluster:_default' \
&& ret=0
;;
(leave)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'-f[Leave though the others may lose their majority]' \
'--force[Leave though the others may lose their majority]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--check[Exit with 1 if anything is wrong]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(join-token)
_arguments "${_arguments_options[@]}" : \
'--expires=[How long it is good for]:DURATION:_default' \
'--uses=[How often it can be used]:NUMBER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'::role -- What it admits:((agent\:"A node that runs tasks"
manager\:"A manager"))' \
&& ret=0
;;
(token)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster__subcmd__token_commands" \
"*::: :->token" \
&& ret=0

    case $state in
    (token)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-token-command-$line[1]:"
        case $line[1] in
            (ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::tokens -- Ids of tokens:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(member)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster__subcmd__member_commands" \
"*::: :->member" \
&& ret=0

    case $state in
    (member)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-member-command-$line[1]:"
        case $line[1] in
            (ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--lost[It is gone for good; refused if it answers]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':member -- The member, by number or hostname:_default' \
&& ret=0
;;
(set-address)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':member -- The member, by number or hostname:_default' \
':address -- Its new address:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(replace)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':dead -- The dead member, by number or hostname:_default' \
':new -- The new member, by number or hostname:_default' \
&& ret=0
;;
(backup)
_arguments "${_arguments_options[@]}" : \
'*--recipient=[Who can open it\: an age recipient, as \`age-keygen\` prints it; may be repeated, and each of them opens it]:AGE1…:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--passphrase[Open it with a passphrase instead]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':file -- Where to write it, or `-` for standard output; a file that is there already is not replaced:_files' \
":: :_secretctl__subcmd__cluster__subcmd__backup_commands" \
"*::: :->backup" \
&& ret=0

    case $state in
    (backup)
        words=($line[2] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-backup-command-$line[2]:"
        case $line[2] in
            (ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(check)
_arguments "${_arguments_options[@]}" : \
'-i+[A file with an age identity of one of its recipients; without it, its passphrase is asked for]:FILE:_files' \
'--identity=[A file with an age identity of one of its recipients; without it, its passphrase is asked for]:FILE:_files' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':file -- The backup'\''s file:_files' \
&& ret=0
;;
(forget)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':id -- Its id, or the beginning of it:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(restore)
_arguments "${_arguments_options[@]}" : \
'-i+[A file with an age identity of one of its recipients; without it, its passphrase is asked for]:FILE:_files' \
'--identity=[A file with an age identity of one of its recipients; without it, its passphrase is asked for]:FILE:_files' \
'--advertise-address=[Where others reach this manager; the address it listens on unless given]:HOST:PORT:_default' \
'--hostname=[This machine'\''s name in the cluster; its hostname unless given]:NAME:_default' \
'--incarnation=[The incarnation that begins; the one after that of the backup unless given]:NUMBER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--autolock[Lock managers\: show a new unlock key once, which every start of a manager needs]' \
'--new-ca[Make a new CA\: the backup, or the CA'\''s key in it, may be in the wrong hands]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':file -- The backup'\''s file:_files' \
&& ret=0
;;
(audit)
_arguments "${_arguments_options[@]}" : \
'--after=[Only records after this index, the oldest of them\: to go on from those that were read]:INDEX:_default' \
'--limit=[At most so many records]:NUMBER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(rotate)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__cluster__subcmd__rotate_commands" \
"*::: :->rotate" \
&& ret=0

    case $state in
    (rotate)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-cluster-rotate-command-$line[1]:"
        case $line[1] in
            (log-key)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(--no-wait)--wait[Wait until every manager has finished; so it is unless told otherwise]' \
'--no-wait[Return once the rotation has begun]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(root-key)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(--no-wait)--wait[Wait until every manager has finished; so it is unless told otherwise]' \
'--no-wait[Return once the rotation has begun]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(ca)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(--no-wait)--wait[Wait until every manager has finished; so it is unless told otherwise]' \
'--no-wait[Return once the rotation has begun]' \
'--drop-missing[Do not begin one\: end the one in progress, whoever has not moved]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(certificates)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(--no-wait)--wait[Wait until every manager has finished; so it is unless told otherwise]' \
'--no-wait[Return once the rotation has begun]' \
'--cut-missing[Do not begin one\: end the one in progress, whoever has not renewed]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(certs)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'(--no-wait)--wait[Wait until every manager has finished; so it is unless told otherwise]' \
'--no-wait[Return once the rotation has begun]' \
'--cut-missing[Do not begin one\: end the one in progress, whoever has not renewed]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
        esac
    ;;
esac
;;
(keys)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--verify[Have each manager read all that is on its disk, and compare chains]' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
        esac
    ;;
esac
;;
(operator)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__operator_commands" \
"*::: :->operator" \
&& ret=0

    case $state in
    (operator)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-operator-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
'--role=[What the operator may do]:ROLE:((admin\:"Everything"
deployer\:"Deploy services, create secrets"
writer\:"Create secrets and new values of them"
auditor\:"Read everything there is to read, change nothing"))' \
'--group=[The group whose secrets its services may use; the operator'\''s own name unless given]:GROUP:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The operator'\''s name:_default' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::operators -- Names or ids:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(context)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_secretctl__subcmd__context_commands" \
"*::: :->context" \
&& ret=0

    case $state in
    (context)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:secretctl-context-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
'--token=[The token that \`secretctl operator add\` printed, or \`-\` to read it from standard input]:TOKEN:_default' \
'*--manager=[A manager'\''s address; may be repeated]:HOST:PORT:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- A name for it:_default' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(use)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- The context, or `-` for none\: the unix socket:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::names -- Names:_default' \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'::name -- The context; the current one unless given:_default' \
&& ret=0
;;
(export-docker)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':folder -- The folder; made if it is not there:_files' \
'::name -- The context; the current one unless given:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(demo)
_arguments "${_arguments_options[@]}" : \
'--managers=[How many managers; 1 starts sooner, 3 agree on every change]:NUMBER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(dev)
_arguments "${_arguments_options[@]}" : \
'--managers=[How many managers; 3 go on when one is killed]:NUMBER:_default' \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(completion)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':shell -- The shell:((bash\:"GNU Bash"
zsh\:"Z shell"
fish\:"fish"
elvish\:"Elvish"))' \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
'(--socket)--context=[The cluster to talk to, by the name of a context \[env\: SECRETD_CONTEXT\]]:NAME:_default' \
'--socket=[The unix socket of the manager on this machine \[env\: SECRETD_SOCKET\]]:PATH:_files' \
'--timeout=[How long to go on trying when no manager answers]:DURATION:_default' \
'--json[Print JSON, errors too]' \
'-q[Print ids only, and no progress]' \
'--quiet[Print ids only, and no progress]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'::dir -- The folder, which must exist:_files' \
&& ret=0
;;
        esac
    ;;
esac
}

(( $+functions[_secretctl_commands] )) ||
_secretctl_commands() {
    local commands; commands=(
'create:Create a secret from standard input or a file' \
'rotate:Give a secret a new value' \
'ls:List secrets' \
'inspect:Show what is known of secrets' \
'rm:Remove secrets' \
'secret:The same commands, as \`docker secret\` spells them' \
'config:Configs\: files of tasks that are not secret' \
'service:Run commands on nodes, with their secrets mounted' \
'task:Look into a task that runs' \
'stack:Run what compose files declare, without docker' \
'node:See and change the machines that run tasks' \
'cluster:Make a cluster, join it, see what is wrong with it' \
'operator:Say who may administer the cluster' \
'context:Keep the clusters this user talks to' \
'demo:Watch a secret travel, on a whole cluster that is made for it and removed' \
'dev:Run a whole cluster on this machine until interrupted' \
'completion:Print a completion script for a shell' \
'man:Write the man pages' \
    )
    _describe -t commands 'secretctl commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster_commands] )) ||
_secretctl__subcmd__cluster_commands() {
    local commands; commands=(
'init:Make a new cluster with the manager on this machine' \
'update:Turn locking on or off, or have managers unlock one another' \
'unlock:Open the manager on this machine, which is locked' \
'unlock-key:Replace the unlock key' \
'unlock-slot:Other ways to open locked managers\: passphrases beside the unlock key' \
'approve:Consent to the others'\'' unlocking a manager that was restarted' \
'alarm:Requests to be unlocked that no true manager makes' \
'join:Make the manager on this machine a member of a cluster' \
'leave:Take the manager on this machine out of its cluster, for good' \
'status:Show what is wrong, then who the managers are' \
'join-token:Make a token that admits a node or a manager' \
'token:See and revoke join tokens' \
'member:See and change the cluster'\''s managers' \
'replace:Put a new manager in the place of a dead one' \
'backup:Keep a copy of the whole cluster in one encrypted file' \
'restore:Make a cluster of the manager on this machine out of a backup' \
'audit:Show who changed what' \
'rotate:Replace keys while the cluster serves' \
'keys:Show which keys each manager holds, and what its disk is under' \
    )
    _describe -t commands 'secretctl cluster commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__alarm_commands] )) ||
_secretctl__subcmd__cluster__subcmd__alarm_commands() {
    local commands; commands=(
'ls:List the alarms that nobody cleared' \
'clear:Say that an alarm was seen to' \
    )
    _describe -t commands 'secretctl cluster alarm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__alarm__subcmd__clear_commands] )) ||
_secretctl__subcmd__cluster__subcmd__alarm__subcmd__clear_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster alarm clear commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__alarm__subcmd__ls_commands] )) ||
_secretctl__subcmd__cluster__subcmd__alarm__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster alarm ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__approve_commands] )) ||
_secretctl__subcmd__cluster__subcmd__approve_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster approve commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__audit_commands] )) ||
_secretctl__subcmd__cluster__subcmd__audit_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster audit commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__backup_commands] )) ||
_secretctl__subcmd__cluster__subcmd__backup_commands() {
    local commands; commands=(
'ls:List the backups that were made, oldest first' \
'check:Open a backup'\''s file and read it to its end, as restoring would' \
'forget:Say that a backup'\''s file is destroyed, so that nobody is warned of it any more' \
    )
    _describe -t commands 'secretctl cluster backup commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__backup__subcmd__check_commands] )) ||
_secretctl__subcmd__cluster__subcmd__backup__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster backup check commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__backup__subcmd__forget_commands] )) ||
_secretctl__subcmd__cluster__subcmd__backup__subcmd__forget_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster backup forget commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__backup__subcmd__ls_commands] )) ||
_secretctl__subcmd__cluster__subcmd__backup__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster backup ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__init_commands] )) ||
_secretctl__subcmd__cluster__subcmd__init_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster init commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__join_commands] )) ||
_secretctl__subcmd__cluster__subcmd__join_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster join commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__join-token_commands] )) ||
_secretctl__subcmd__cluster__subcmd__join-token_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster join-token commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__keys_commands] )) ||
_secretctl__subcmd__cluster__subcmd__keys_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster keys commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__leave_commands] )) ||
_secretctl__subcmd__cluster__subcmd__leave_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster leave commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__member_commands] )) ||
_secretctl__subcmd__cluster__subcmd__member_commands() {
    local commands; commands=(
'ls:List the cluster'\''s managers' \
'rm:Remove a manager from the cluster' \
'set-address:Tell the others where a manager is reached now' \
    )
    _describe -t commands 'secretctl cluster member commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__member__subcmd__ls_commands] )) ||
_secretctl__subcmd__cluster__subcmd__member__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster member ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__member__subcmd__rm_commands] )) ||
_secretctl__subcmd__cluster__subcmd__member__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster member rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__member__subcmd__set-address_commands] )) ||
_secretctl__subcmd__cluster__subcmd__member__subcmd__set-address_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster member set-address commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__replace_commands] )) ||
_secretctl__subcmd__cluster__subcmd__replace_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster replace commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__restore_commands] )) ||
_secretctl__subcmd__cluster__subcmd__restore_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster restore commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__rotate_commands] )) ||
_secretctl__subcmd__cluster__subcmd__rotate_commands() {
    local commands; commands=(
'log-key:Replace the key that each manager'\''s disk is encrypted under' \
'root-key:Replace the key that all data keys, the CA'\''s key and transit keys are wrapped under' \
'ca:Replace the CA, and every certificate with it' \
'certificates:Replace every manager'\''s, agent'\''s and operator'\''s certificate, and its key' \
'certs:Replace every manager'\''s, agent'\''s and operator'\''s certificate, and its key' \
    )
    _describe -t commands 'secretctl cluster rotate commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__rotate__subcmd__ca_commands] )) ||
_secretctl__subcmd__cluster__subcmd__rotate__subcmd__ca_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster rotate ca commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__rotate__subcmd__certificates_commands] )) ||
_secretctl__subcmd__cluster__subcmd__rotate__subcmd__certificates_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster rotate certificates commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__rotate__subcmd__log-key_commands] )) ||
_secretctl__subcmd__cluster__subcmd__rotate__subcmd__log-key_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster rotate log-key commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__rotate__subcmd__root-key_commands] )) ||
_secretctl__subcmd__cluster__subcmd__rotate__subcmd__root-key_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster rotate root-key commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__status_commands] )) ||
_secretctl__subcmd__cluster__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster status commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__token_commands] )) ||
_secretctl__subcmd__cluster__subcmd__token_commands() {
    local commands; commands=(
'ls:List the join tokens that can still be used' \
'rm:Revoke join tokens' \
    )
    _describe -t commands 'secretctl cluster token commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__token__subcmd__ls_commands] )) ||
_secretctl__subcmd__cluster__subcmd__token__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster token ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__token__subcmd__rm_commands] )) ||
_secretctl__subcmd__cluster__subcmd__token__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster token rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-key_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-key_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-key commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot_commands() {
    local commands; commands=(
'add:Add a slot' \
'ls:List the slots that open managers' \
'rm:Remove a slot' \
'prove:Try a slot without restarting anything, and record that it works' \
    )
    _describe -t commands 'secretctl cluster unlock-slot commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add_commands() {
    local commands; commands=(
'passphrase:A passphrase that people can remember, or type from paper' \
'shares:Shares, so many of which open the managers together' \
'command:A program on each manager'\''s machine that fetches the seed\: from a KMS, a TPM, systemd' \
    )
    _describe -t commands 'secretctl cluster unlock-slot add commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add__subcmd__command_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add__subcmd__command_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-slot add command commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add__subcmd__passphrase_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add__subcmd__passphrase_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-slot add passphrase commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add__subcmd__shares_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__add__subcmd__shares_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-slot add shares commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__ls_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-slot ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__prove_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__prove_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-slot prove commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__rm_commands] )) ||
_secretctl__subcmd__cluster__subcmd__unlock-slot__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster unlock-slot rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__cluster__subcmd__update_commands] )) ||
_secretctl__subcmd__cluster__subcmd__update_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl cluster update commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__completion_commands] )) ||
_secretctl__subcmd__completion_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl completion commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__config_commands] )) ||
_secretctl__subcmd__config_commands() {
    local commands; commands=(
'create:Create a config from standard input or a file' \
'ls:List configs' \
'inspect:Show what is known of configs' \
'rm:Remove configs' \
    )
    _describe -t commands 'secretctl config commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__config__subcmd__create_commands] )) ||
_secretctl__subcmd__config__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl config create commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__config__subcmd__inspect_commands] )) ||
_secretctl__subcmd__config__subcmd__inspect_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl config inspect commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__config__subcmd__ls_commands] )) ||
_secretctl__subcmd__config__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl config ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__config__subcmd__rm_commands] )) ||
_secretctl__subcmd__config__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl config rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context_commands] )) ||
_secretctl__subcmd__context_commands() {
    local commands; commands=(
'add:Enrol in a cluster and keep the certificate' \
'ls:List contexts' \
'use:Choose the context that commands use' \
'rm:Remove contexts' \
'show:Show a context' \
'export-docker:Write a context'\''s certificate and key for the docker client' \
    )
    _describe -t commands 'secretctl context commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context__subcmd__add_commands] )) ||
_secretctl__subcmd__context__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl context add commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context__subcmd__export-docker_commands] )) ||
_secretctl__subcmd__context__subcmd__export-docker_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl context export-docker commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context__subcmd__ls_commands] )) ||
_secretctl__subcmd__context__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl context ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context__subcmd__rm_commands] )) ||
_secretctl__subcmd__context__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl context rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context__subcmd__show_commands] )) ||
_secretctl__subcmd__context__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl context show commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__context__subcmd__use_commands] )) ||
_secretctl__subcmd__context__subcmd__use_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl context use commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__create_commands] )) ||
_secretctl__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl create commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__demo_commands] )) ||
_secretctl__subcmd__demo_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl demo commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__dev_commands] )) ||
_secretctl__subcmd__dev_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl dev commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__inspect_commands] )) ||
_secretctl__subcmd__inspect_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl inspect commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__ls_commands] )) ||
_secretctl__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__man_commands] )) ||
_secretctl__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl man commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node_commands] )) ||
_secretctl__subcmd__node_commands() {
    local commands; commands=(
'ls:List nodes' \
'inspect:Show what is known of nodes' \
'update:Change a node'\''s labels or availability' \
'promote:Say how a node becomes a manager' \
'demote:Say how a manager stops being one' \
'rm:Evict nodes' \
    )
    _describe -t commands 'secretctl node commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node__subcmd__demote_commands] )) ||
_secretctl__subcmd__node__subcmd__demote_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl node demote commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node__subcmd__inspect_commands] )) ||
_secretctl__subcmd__node__subcmd__inspect_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl node inspect commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node__subcmd__ls_commands] )) ||
_secretctl__subcmd__node__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl node ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node__subcmd__promote_commands] )) ||
_secretctl__subcmd__node__subcmd__promote_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl node promote commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node__subcmd__rm_commands] )) ||
_secretctl__subcmd__node__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl node rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__node__subcmd__update_commands] )) ||
_secretctl__subcmd__node__subcmd__update_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl node update commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__operator_commands] )) ||
_secretctl__subcmd__operator_commands() {
    local commands; commands=(
'add:Admit an operator' \
'ls:List operators' \
'rm:Remove operators' \
    )
    _describe -t commands 'secretctl operator commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__operator__subcmd__add_commands] )) ||
_secretctl__subcmd__operator__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl operator add commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__operator__subcmd__ls_commands] )) ||
_secretctl__subcmd__operator__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl operator ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__operator__subcmd__rm_commands] )) ||
_secretctl__subcmd__operator__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl operator rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__rm_commands] )) ||
_secretctl__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__rotate_commands] )) ||
_secretctl__subcmd__rotate_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl rotate commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__secret_commands] )) ||
_secretctl__subcmd__secret_commands() {
    local commands; commands=(
'create:Create a secret from standard input or a file' \
'rotate:Give a secret a new value' \
'ls:List secrets' \
'inspect:Show what is known of secrets' \
'rm:Remove secrets' \
    )
    _describe -t commands 'secretctl secret commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__secret__subcmd__create_commands] )) ||
_secretctl__subcmd__secret__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl secret create commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__secret__subcmd__inspect_commands] )) ||
_secretctl__subcmd__secret__subcmd__inspect_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl secret inspect commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__secret__subcmd__ls_commands] )) ||
_secretctl__subcmd__secret__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl secret ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__secret__subcmd__rm_commands] )) ||
_secretctl__subcmd__secret__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl secret rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__secret__subcmd__rotate_commands] )) ||
_secretctl__subcmd__secret__subcmd__rotate_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl secret rotate commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service_commands] )) ||
_secretctl__subcmd__service_commands() {
    local commands; commands=(
'create:Run a command on nodes, with secrets mounted' \
'ls:List services' \
'ps:List the tasks of services' \
'inspect:Show what is known of services' \
'logs:Show what the tasks of a service print' \
'rm:Stop and remove services' \
'scale:Change how many tasks services run' \
'update:Change a service' \
'rollback:Go back to what was declared before the last change' \
    )
    _describe -t commands 'secretctl service commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__create_commands] )) ||
_secretctl__subcmd__service__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service create commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__inspect_commands] )) ||
_secretctl__subcmd__service__subcmd__inspect_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service inspect commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__logs_commands] )) ||
_secretctl__subcmd__service__subcmd__logs_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service logs commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__ls_commands] )) ||
_secretctl__subcmd__service__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__ps_commands] )) ||
_secretctl__subcmd__service__subcmd__ps_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service ps commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__rm_commands] )) ||
_secretctl__subcmd__service__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__rollback_commands] )) ||
_secretctl__subcmd__service__subcmd__rollback_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service rollback commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__scale_commands] )) ||
_secretctl__subcmd__service__subcmd__scale_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service scale commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__service__subcmd__update_commands] )) ||
_secretctl__subcmd__service__subcmd__update_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl service update commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack_commands] )) ||
_secretctl__subcmd__stack_commands() {
    local commands; commands=(
'deploy:Create what compose files declare, or change what is there' \
'ls:List stacks' \
'ps:List the tasks of a stack' \
'services:List the services of a stack' \
'rm:Remove stacks' \
'config:Show what compose files say together' \
    )
    _describe -t commands 'secretctl stack commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack__subcmd__config_commands] )) ||
_secretctl__subcmd__stack__subcmd__config_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl stack config commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack__subcmd__deploy_commands] )) ||
_secretctl__subcmd__stack__subcmd__deploy_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl stack deploy commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack__subcmd__ls_commands] )) ||
_secretctl__subcmd__stack__subcmd__ls_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl stack ls commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack__subcmd__ps_commands] )) ||
_secretctl__subcmd__stack__subcmd__ps_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl stack ps commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack__subcmd__rm_commands] )) ||
_secretctl__subcmd__stack__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl stack rm commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__stack__subcmd__services_commands] )) ||
_secretctl__subcmd__stack__subcmd__services_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl stack services commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__task_commands] )) ||
_secretctl__subcmd__task_commands() {
    local commands; commands=(
'exec:Run a command in a task' \
    )
    _describe -t commands 'secretctl task commands' commands "$@"
}
(( $+functions[_secretctl__subcmd__task__subcmd__exec_commands] )) ||
_secretctl__subcmd__task__subcmd__exec_commands() {
    local commands; commands=()
    _describe -t commands 'secretctl task exec commands' commands "$@"
}

if [ "$funcstack[1]" = "_secretctl" ]; then
    _secretctl "$@"
else
    compdef _secretctl secretctl
fi
