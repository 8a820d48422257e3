//! The hand-written sections of help and man pages: examples for each command, exit status, files,
//! security.
//!
//! Invariant: each visible command has examples (tested in `cli`).

/// What stands at the end of `secretctl --help`.
pub(crate) const SUMMARY: &str = "\
Exit status:
  0 done, 1 refused or failed, 2 usage, 69 unavailable: locked, no leader, out of reach; 130
  interrupted";

/// EXIT STATUS of every man page.
pub(crate) const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "Refused or failed; for a command on several objects: at least one of them."),
    ("2", "The command line makes no sense. Nothing was sent."),
    (
        "69",
        "Unavailable: no manager could be reached, the manager is locked, there is no leader or \
         no room. The same command may succeed later.",
    ),
    ("130", "Interrupted. What was asked for may have been done."),
];

/// FILES of every man page.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("/run/secretd/secretd.sock", "The unix socket of the manager on this machine."),
    (
        "$XDG_CONFIG_HOME/secretd/contexts/NAME/",
        "A context: identity.der (certificate and private key), ca.der (the pinned CA), \
         context.json (addresses of the managers, highest incarnation seen). Private to the user. \
         ~/.config without XDG_CONFIG_HOME.",
    ),
    ("$XDG_CONFIG_HOME/secretd/current", "The name of the context that is used unless told."),
];

/// SECURITY of every man page, a paragraph each.
pub(crate) const SECURITY: &[&str] = &[
    "A secret is read from standard input, a file or the terminal, never from an argument or the \
     environment: both are visible to other programs. It is sealed to a key of the cluster before \
     it leaves this program, after that key's signature was checked against the CA that was \
     pinned when the context was made; this program's memory is wiped, is not dumped, and cannot \
     be read by other processes of the user.",
    "There is no command that reads a secret back. Who may deploy a service with a secret can read \
     it, by deploying a program that prints it; an operator's role and a secret's --usable-by \
     decide who may. An admin's backup holds all secrets, for whoever opens it.",
    "Removing a secret, a node or an operator does not take back what they were given. Only a new \
     value helps where one is known to somebody who should not know it.",
];

/// The examples of a command, by its path: what to type, after a line that says why.
pub(crate) fn examples(path: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(command, _)| *command == path).map(|(_, text)| *text)
}

const EXAMPLES: &[(&str, &str)] = &[
    (
        "secretctl",
        "\
# Store a secret, run a program that uses it, see what it prints
printf %s \"$PASSWORD\" | secretctl create db_password -
secretctl service create --name web --secret db_password -- /usr/bin/web --password-file \\
    /run/secrets/db_password
secretctl service logs -f web",
    ),
    (
        "secretctl create",
        "\
# From a variable of the shell, without a trailing newline
printf %s \"$PASSWORD\" | secretctl create db_password -
# From a file, with a label
secretctl create tls_key ./server.key --label owner=web
# Typed at the terminal, twice, not shown
secretctl create api_token -
# From another program's output
secretctl create api_token <(pass show api)",
    ),
    (
        "secretctl rotate",
        "\
# From another program's output, without a trailing newline
pwgen -s 32 1 | tr -d '\\n' | secretctl rotate db_password -
# And wait until every service that follows it runs with the new value
secretctl rotate tls_key ./server.key --wait",
    ),
    (
        "secretctl ls",
        "\
# Those whose names begin with db
secretctl ls --filter name=db
# Ids only, of those with a label
secretctl ls -q --filter label=owner=web",
    ),
    (
        "secretctl inspect",
        "\
# Which services use it
secretctl inspect db_password
# As JSON
secretctl inspect --json db_password | jq '.[0].used_by'",
    ),
    (
        "secretctl rm",
        "\
# See first who uses it
secretctl rm --dry-run db_password
# Remove it though a service could need it to go back
secretctl rm --forget-previous db_password",
    ),
    (
        "secretctl service",
        "\
# What runs, and where
secretctl service ls
secretctl service ps web",
    ),
    ("secretctl config", "secretctl config create nginx.conf ./nginx.conf"),
    (
        "secretctl config create",
        "\
secretctl config create nginx.conf ./nginx.conf
# With a label, from a pipe
sed s/PORT/8080/ app.tmpl | secretctl config create --label app=web app-2 -",
    ),
    ("secretctl config ls", "secretctl config ls\nsecretctl config ls -q"),
    (
        "secretctl config inspect",
        "secretctl config inspect nginx.conf\nsecretctl config inspect --json nginx.conf",
    ),
    ("secretctl config rm", "secretctl config rm nginx.conf"),
    (
        "secretctl service create",
        "\
# Two tasks with one secret, on nodes with a label
secretctl service create --name web --replicas 2 --secret db_password \\
    --constraint node.labels.zone==eu -- /usr/bin/web
# A secret under another name, for another user's eyes
secretctl service create --name proxy --user proxy \\
    --secret source=tls_key,target=server.key,uid=33,mode=0400 -- /usr/bin/proxy
# One task on every node that has a label
secretctl service create --name backup --mode global \\
    --constraint node.labels.disk==ssd -- /usr/bin/backup
# A command that runs once
secretctl service create --name migrate --restart-condition none --secret db_password \\
    -- /usr/bin/migrate",
    ),
    ("secretctl service ls", "secretctl service ls\nsecretctl service ls --json"),
    (
        "secretctl service ps",
        "\
# What became of the tasks before
secretctl service ps --all web",
    ),
    (
        "secretctl service inspect",
        "\
# Its secrets, and the files they become
secretctl service inspect --json web | jq '.[0].secrets'",
    ),
    (
        "secretctl service logs",
        "\
# From the last ten minutes, and on
secretctl service logs --follow --since 10m web
# The last lines of each task, with their times
secretctl service logs --tail 20 --timestamps web",
    ),
    ("secretctl task", "secretctl task exec web.1 -- ls -l /run/secrets"),
    (
        "secretctl task exec",
        "\
# What the task sees
secretctl task exec web.1 -- ls -l /run/secrets
# A line for a shell, quoted, so that it is that shell's and not this one's
secretctl task exec web.1 -- sh -c 'cat /proc/self/mountinfo | grep secrets'
# A file into a program in the task
secretctl task exec -i db.1 -- psql -f - <dump.sql
# A shell, which has no prompt
secretctl task exec -i web.1 -- sh",
    ),
    ("secretctl service rm", "secretctl service rm web proxy"),
    (
        "secretctl service update",
        "\
# Another secret in the place of one, two tasks at a time, back if it fails
secretctl service update web --secret-rm db_password \\
    --secret-add source=db_password_2,target=db_password \\
    --update-parallelism 2 --update-failure-action rollback
# Another command
secretctl service update web -- /usr/bin/web --verbose
# Every task anew, though nothing changed
secretctl service update web --force
# Go on with an update that is paused
secretctl service update web",
    ),
    ("secretctl service rollback", "secretctl service rollback web"),
    (
        "secretctl service scale",
        "\
# Two services at once
secretctl service scale web=3 proxy=2
# Stop all tasks and keep the service
secretctl service scale web=0",
    ),
    ("secretctl stack", "secretctl stack deploy -c docker-compose.yml mydb"),
    (
        "secretctl stack deploy",
        "\
secretctl stack deploy -c docker-compose.yml mydb
# With what is particular to one place, and without services that are no longer in the files
secretctl stack deploy -c docker-compose.yml -c production.yml --prune mydb
# With the values that the files of its secrets have now
secretctl stack deploy -c docker-compose.yml --rotate-secrets --wait mydb",
    ),
    ("secretctl stack ls", "secretctl stack ls"),
    ("secretctl stack ps", "secretctl stack ps mydb\nsecretctl stack ps --all mydb"),
    ("secretctl stack services", "secretctl stack services mydb"),
    ("secretctl stack rm", "secretctl stack rm mydb"),
    ("secretctl stack config", "secretctl stack config -c docker-compose.yml -c production.yml"),
    ("secretctl node", "secretctl node ls"),
    ("secretctl node ls", "secretctl node ls\nsecretctl node ls -q"),
    ("secretctl node inspect", "secretctl node inspect n1"),
    (
        "secretctl node update",
        "\
# Move its tasks elsewhere before maintenance, and take it back after
secretctl node update n1 --availability drain
secretctl node update n1 --availability active
# For constraints
secretctl node update n1 --label-add zone=eu --label-rm old",
    ),
    ("secretctl node promote", "# Says what to type, and where\nsecretctl node promote n1"),
    ("secretctl node demote", "# Says what to type, and where\nsecretctl node demote n1"),
    (
        "secretctl node rm",
        "\
# A machine that goes
secretctl node update n1 --availability drain
secretctl node rm n1
# A machine that is not trusted any more: at once, then give new values to what is listed
secretctl node rm --force n1",
    ),
    (
        "secretctl cluster",
        "\
# The first manager, then a node
secretctl cluster init --advertise-address 10.0.0.4:7443
secretctl cluster join-token agent",
    ),
    (
        "secretctl cluster init",
        "\
secretctl cluster init --advertise-address 10.0.0.4:7443
# Locked from the start; the unlock key is shown once
secretctl cluster init --autolock",
    ),
    (
        "secretctl cluster update",
        "\
# From now on a manager that starts needs the unlock key, which is shown once
secretctl cluster update --autolock on
# And not any more
secretctl cluster update --autolock off
# The unlock key can be read back by admins; asks for it
secretctl cluster update --read-back on
# Managers that are restarted are unlocked by the others
secretctl cluster update --peers auto",
    ),
    (
        "secretctl cluster approve",
        "\
# Who waits, and from where; then consent
secretctl cluster status
secretctl cluster approve m3 --from 10.0.0.3",
    ),
    (
        "secretctl cluster alarm",
        "\
secretctl cluster alarm ls
secretctl cluster alarm clear m3",
    ),
    ("secretctl cluster alarm ls", "secretctl cluster alarm ls"),
    ("secretctl cluster alarm clear", "secretctl cluster alarm clear m3"),
    (
        "secretctl cluster unlock",
        "\
# On the manager's own machine; asks for the key
secretctl cluster unlock
# From a password manager
pass show secretd/unlock-key | secretctl cluster unlock",
    ),
    (
        "secretctl cluster unlock-slot",
        "\
# A second way in, beside the unlock key; then make sure that it works
secretctl cluster unlock-slot add passphrase --generate
secretctl cluster unlock-slot ls
secretctl cluster unlock-slot prove 5d41",
    ),
    (
        "secretctl cluster unlock-slot add",
        "secretctl cluster unlock-slot add passphrase --generate",
    ),
    (
        "secretctl cluster unlock-slot add passphrase",
        "\
# Asks twice
secretctl cluster unlock-slot add passphrase
# One of 96 random bits, shown once
secretctl cluster unlock-slot add passphrase --generate",
    ),
    (
        "secretctl cluster unlock-slot add shares",
        "\
# Any three of five people open the managers; nothing of it stays on the screen
secretctl cluster unlock-slot add shares --threshold 3 --shares 5 | lp",
    ),
    (
        "secretctl cluster unlock-slot add command",
        "\
# On a manager, where the program is; then try it on all
/usr/local/lib/secretd/seed | secretctl cluster unlock-slot add command /usr/local/lib/secretd/seed
secretctl cluster unlock-slot prove 5d41",
    ),
    ("secretctl cluster unlock-slot ls", "secretctl cluster unlock-slot ls"),
    (
        "secretctl cluster unlock-slot rm",
        "\
# Somebody who knew it left
secretctl cluster unlock-slot rm 5d41",
    ),
    (
        "secretctl cluster unlock-slot prove",
        "\
# Asks for its passphrase
secretctl cluster unlock-slot prove 5d41",
    ),
    (
        "secretctl cluster unlock-key",
        "\
# The key leaked, is lost while a manager runs, or somebody who knew it left
secretctl cluster unlock-key --rotate
# Somebody may have had a copy of a manager's disk, too
secretctl cluster unlock-key --rotate --compromised",
    ),
    (
        "secretctl cluster join",
        "\
# On the new manager, with a token that is not seen in ps
secretctl cluster join --token - --advertise-address 10.0.0.5:7443 10.0.0.4:7443 <token",
    ),
    ("secretctl cluster leave", "secretctl cluster leave"),
    (
        "secretctl cluster status",
        "\
# For a monitor: 1 if anything is wrong, 69 if nobody answers
secretctl cluster status --check",
    ),
    (
        "secretctl cluster join-token",
        "\
# For nodes; good for a day
secretctl cluster join-token
# For one manager; good for ten minutes
secretctl cluster join-token manager --expires 10m --uses 1",
    ),
    ("secretctl cluster token", "secretctl cluster token ls"),
    ("secretctl cluster token ls", "secretctl cluster token ls"),
    ("secretctl cluster token rm", "secretctl cluster token rm 1y2s3hfrqk3o8zt2c4bd9xz1a"),
    ("secretctl cluster member", "secretctl cluster member ls"),
    ("secretctl cluster member ls", "secretctl cluster member ls"),
    (
        "secretctl cluster member rm",
        "\
# By hostname, or by number
secretctl cluster member rm m3",
    ),
    (
        "secretctl cluster member set-address",
        "secretctl cluster member set-address m3 10.0.1.6:7443",
    ),
    (
        "secretctl cluster replace",
        "\
# m4 has joined; m3's machine is gone
secretctl cluster replace m3 m4",
    ),
    (
        "secretctl cluster backup",
        "\
# To two people, each of whom can open it; what age-keygen prints
secretctl cluster backup /mnt/backup/monday.age --recipient age1ql3z7… --recipient age1lggyh…
# Under a passphrase, which is asked for twice
secretctl cluster backup monday.age --passphrase
# To another machine
secretctl cluster backup - --recipient age1ql3z7… | ssh vault 'cat > monday.age'",
    ),
    (
        "secretctl cluster backup ls",
        "\
# Which files still have to be kept, or destroyed
secretctl cluster backup ls",
    ),
    (
        "secretctl cluster backup check",
        "\
# Where the identity is kept, on any machine
secretctl cluster backup check monday.age --identity key.txt",
    ),
    (
        "secretctl cluster backup forget",
        "\
# Its file and all copies of it are destroyed
secretctl cluster backup forget 8f3a",
    ),
    (
        "secretctl cluster restore",
        "\
# On a new machine with the address of an old one, where secretd runs and has no cluster
secretctl cluster restore monday.age --identity key.txt --advertise-address m1.example:7443
# Locked from the start; the passphrase is asked for
secretctl cluster restore monday.age --autolock",
    ),
    (
        "secretctl cluster audit",
        "\
# What happened since record 1200, as JSON
secretctl cluster audit --after 1200 --json",
    ),
    (
        "secretctl cluster rotate",
        "\
# New log keys on every manager; wait until the last one has finished
secretctl cluster rotate log-key",
    ),
    (
        "secretctl cluster rotate log-key",
        "\
# Begin, and look at it later
secretctl cluster rotate log-key --no-wait
secretctl cluster keys",
    ),
    (
        "secretctl cluster rotate root-key",
        "\
# A new root key; wait until everything is wrapped anew and the old key is destroyed
secretctl cluster rotate root-key",
    ),
    (
        "secretctl cluster rotate ca",
        "\
# Another CA; wait until everybody has moved and the old one is dropped
secretctl cluster rotate ca
# End it, though some nodes or operators are away
secretctl cluster rotate ca --drop-missing",
    ),
    (
        "secretctl cluster rotate certificates",
        "\
# Another key and certificate for everybody; wait until the last one uses it
secretctl cluster rotate certificates
# End it, though some nodes or operators are away
secretctl cluster rotate certificates --cut-missing",
    ),
    (
        "secretctl cluster keys",
        "\
# Which keys there are, and whether anything is under an old one
secretctl cluster keys
# Whether all of it opens, on every manager
secretctl cluster keys --verify",
    ),
    ("secretctl operator", "secretctl operator add alice --role deployer"),
    (
        "secretctl operator add",
        "\
# Alice may deploy, with the secrets of her team
secretctl operator add alice --role deployer --group payments",
    ),
    ("secretctl operator ls", "secretctl operator ls"),
    ("secretctl operator rm", "secretctl operator rm alice"),
    ("secretctl context", "secretctl context ls"),
    (
        "secretctl context add",
        "\
# With two managers, and a token that is not seen in ps
secretctl context add prod --token - --manager 10.0.0.4:7443 --manager 10.0.0.5:7443 <token",
    ),
    ("secretctl context ls", "secretctl context ls"),
    (
        "secretctl context use",
        "\
secretctl context use prod
# The unix socket of this machine again
secretctl context use -",
    ),
    ("secretctl context rm", "secretctl context rm prod"),
    ("secretctl context show", "secretctl context show prod"),
    (
        "secretctl context export-docker",
        "secretctl context export-docker ~/.docker/prod
DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=~/.docker/prod docker -H tcp://10.0.0.4:2376 secret ls",
    ),
    (
        "secretctl demo",
        "\
# With a secret that is made for it
secretctl demo
# With one of yours, which is not shown
printf %s \"$PASSWORD\" | secretctl demo
# What was seen, for programs
secretctl demo --json | jq .disk",
    ),
    (
        "secretctl dev",
        "\
# One manager and an agent; talk to them from another terminal as it says
secretctl dev
# Three managers, to see what happens when one is killed
secretctl dev --managers 3",
    ),
    (
        "secretctl completion",
        "\
# bash, for this user
secretctl completion bash >~/.local/share/bash-completion/completions/secretctl",
    ),
    (
        "secretctl man",
        "\
secretctl man | man -l -
secretctl man /usr/local/share/man/man1",
    ),
];
