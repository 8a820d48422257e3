//! Where Docker answers otherwise, and why that is intended.
//!
//! For who uses it, the same stands in `docs/design/docker.md` ("Differences from Docker").

/// Lines of the answers to some commands.
#[derive(Debug)]
#[expect(dead_code, reason = "the reason is for who reads it, here and in what a failed test says")]
pub(super) struct Difference {
    pub(super) reason: &'static str,
    pub(super) commands: &'static [&'static str],
    /// As they stand in the session.
    pub(super) ours: &'static [&'static str],
    /// What Docker has in their place.
    pub(super) dockers: &'static [&'static str],
}

const INSPECT: &str = "docker service inspect mydb_psql | sed '/\"Privileges\": {/,/}/d'";

pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "output is kept by the agent, bounded and on no disk: `docker service logs`",
        commands: &["docker container logs psql.1.$(docker service ps --quiet --no-trunc psql)"],
        ours: &[
            "! Error response from daemon: configured logging driver does not support reading",
            "= 1",
        ],
        dockers: &["> database of mypsqluser, with a password of 12 characters"],
    },
    Difference {
        reason: "the engine's defaults are not declared, and would come back as if they were; empty \
                 parts and absent ones are the same",
        commands: &[INSPECT],
        ours: &[">                     \"Secrets\": ["],
        dockers: &[
            ">                     \"StopGracePeriod\": 10000000000,",
            ">                     \"DNSConfig\": {},",
            ">                     \"Secrets\": [",
        ],
    },
    Difference {
        reason: "the same, of the mode, which a stack does not declare",
        commands: &["docker service inspect --pretty mydb_psql"],
        ours: &["> Endpoint Mode:"],
        dockers: &["> Endpoint Mode:\tvip"],
    },
    Difference {
        reason: "the same, at the end of a container and of what it may use",
        commands: &[INSPECT],
        ours: &[
            ">                     ]",
            ">                 },",
            ">                 \"Resources\": {",
            ">                     \"Reservations\": {}",
            ">                 },",
        ],
        dockers: &[
            ">                     ],",
            ">                     \"Isolation\": \"default\"",
            ">                 },",
            ">                 \"Resources\": {},",
        ],
    },
    Difference {
        reason: "addresses are an engine's, on each node; defaults, as above",
        commands: &[INSPECT],
        ours: &[
            ">                 \"Order\": \"stop-first\"",
            ">             }",
            ">         },",
            ">         \"Endpoint\": {",
            ">             \"Spec\": {}",
            ">         }",
        ],
        dockers: &[
            ">                 \"Order\": \"stop-first\"",
            ">             },",
            ">             \"EndpointSpec\": {",
            ">                 \"Mode\": \"vip\"",
            ">             }",
            ">         },",
            ">         \"Endpoint\": {",
            ">             \"Spec\": {",
            ">                 \"Mode\": \"vip\"",
            ">             },",
            ">             \"VirtualIPs\": [",
            ">                 {",
            ">                     \"NetworkID\": \"ID\",",
            ">                     \"Addr\": \"10.0.1.2/24\"",
            ">                 }",
            ">             ]",
            ">         }",
        ],
    },
    Difference {
        reason: "a network that spans nodes is an object here, so there is no gateway for it; and the \
                 test's engine has no `bridge`",
        commands: &["docker network ls"],
        ours: &["> ID   bridge   bridge   local"],
        dockers: &["> ID   docker_gwbridge   bridge   local"],
    },
    Difference {
        reason: "managers run no tasks; agents do",
        commands: &["docker node ls"],
        ours: &[
            "> ID *   m1   Ready   Active   Leader   VERSION",
            "> ID   node1   Ready   Active   VERSION",
        ],
        dockers: &["> ID *   node1   Ready   Active   Leader   VERSION"],
    },
    Difference {
        reason: "join tokens are others: they have a checksum, and end",
        commands: &["docker swarm join-token worker", "docker swarm join-token manager"],
        ours: &[">     docker swarm join --token SECTKN-1-TOKEN ADDRESS"],
        dockers: &[">     docker swarm join --token SWMTKN-1-TOKEN ADDRESS"],
    },
    Difference {
        reason: "unlock keys are others: they have a checksum",
        commands: &[
            "docker swarm update --autolock=true",
            "docker swarm unlock-key",
            "docker swarm unlock-key --rotate | sed '/^$/d'",
        ],
        ours: &[">     SECKEY-1-KEY"],
        dockers: &[">     SWMKEY-1-KEY"],
    },
];
