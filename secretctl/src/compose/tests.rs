//! Compose files, by example and at random.

use proptest::prelude::*;

use super::declare::IMAGE;
use super::*;

fn variable(name: &str) -> Option<String> {
    match name {
        "TAG" => Some("1.2".to_owned()),
        "REGION" => Some("eu-1".to_owned()),
        _ => None,
    }
}

fn env_file(path: &str) -> Result<Option<String>, String> {
    match path {
        "./web.env" => {
            Ok(Some("# a remark\nA=from file\nB='as it is'\n\nREGION\nUNSET\n".to_owned()))
        }
        "./bad.env" => Ok(Some("=x\n".to_owned())),
        "./large.env" => Err("it has more than 65536 bytes".to_owned()),
        _ => Ok(None),
    }
}

const OUTSIDE: Outside<'_> = Outside { variable: &variable, env_file: &env_file };

fn read_all(files: &[(&str, &str)]) -> Result<Read, String> {
    read(files, &OUTSIDE).map_err(|error| error.to_string())
}

fn read_one(text: &str) -> Result<Read, String> {
    read_all(&[("c.yml", text)])
}

/// What a file declares as stack `s`.
fn declared(text: &str) -> Vec<proto::pb::ServiceSpec> {
    let read = read_one(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let secrets = secrets("s", &read.stack).unwrap();
    declare("s", &read.stack, &secrets).unwrap()
}

/// Why a file is refused, by reading it or by declaring what it says.
fn refused(text: &str) -> String {
    match read_one(text) {
        Err(error) => error,
        Ok(read) => {
            let secrets = secrets("s", &read.stack).map_err(|error| error.to_string());
            let declared = secrets.and_then(|secrets| {
                declare("s", &read.stack, &secrets).map_err(|error| error.to_string())
            });
            declared.expect_err(text)
        }
    }
}

/// A service with these lines, four spaces in.
fn service(lines: &str) -> String {
    let indented = lines.replace('\n', "\n    ");
    format!("services:\n  web:\n    image: nginx\n    {indented}\n")
}

// The file of the course, with `file`, then external, then the long form.
const CHAPTER: &str = r#"version: "3.1"

services:
  psql:
    image: postgres
    secrets:
      - psql_user
      - psql_password
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/psql_password
      POSTGRES_USER_FILE: /run/secrets/psql_user

secrets:
  psql_user:
    file: ./psql_user.txt
  psql_password:
    file: ./psql_password.txt
"#;

#[test]
fn the_file_of_a_swarm_course_is_read_as_docker_reads_it() {
    let read = read_one(CHAPTER).unwrap();
    assert_eq!(read.warnings, [""; 0]);
    let secrets = secrets("mydb", &read.stack).unwrap();
    let user = &secrets["psql_user"];
    assert_eq!(user.name.as_str(), "mydb_psql_user");
    assert_eq!(user.from, ValueFrom::File("./psql_user.txt".into()));
    assert_eq!(user.labels, [(NAMESPACE.to_owned(), "mydb".to_owned())].into());
    let spec = declare("mydb", &read.stack, &secrets).unwrap().remove(0);
    assert_eq!(spec.name, "mydb_psql");
    let labels = [(NAMESPACE, "mydb"), (IMAGE, "postgres")];
    assert_eq!(spec.labels, labels.map(|(key, value)| (key.into(), value.into())).into());
    let task = spec.task.unwrap();
    assert_eq!((task.image.as_str(), task.runtime()), ("postgres", proto::pb::RuntimeKind::Docker));
    assert_eq!(task.env[0], "POSTGRES_PASSWORD_FILE=/run/secrets/psql_password");
    let of = |it: &proto::pb::SecretReference| {
        (it.secret_name.clone(), it.target.clone(), it.uid, it.gid, it.mode)
    };
    assert_eq!(
        of(&task.secrets[0]),
        ("mydb_psql_user".into(), "psql_user".into(), Some(0), Some(0), Some(0o444))
    );
}

#[test]
fn external_secrets_keep_their_names() {
    let text = "services: {web: {image: nginx, secrets: [mine, other, old]}}\n\
                secrets:\n  mine: {external: true}\n  other: {external: true, name: theirs}\n  \
                old: {external: {name: older}}\n";
    let spec = declared(text).remove(0);
    let names = spec.task.unwrap().secrets.into_iter().map(|it| (it.secret_name, it.target));
    let expected = [("mine", "mine"), ("theirs", "other"), ("older", "old")];
    assert_eq!(names.collect::<Vec<_>>(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn a_mode_is_octal_unless_yaml_makes_it_decimal() {
    let text = |mode: &str| {
        service(&format!("secrets: [{{source: a, uid: '103', gid: 104, mode: {mode}}}]"))
            + "secrets: {a: {environment: A}}\n"
    };
    for mode in ["0440", "0o440", "\"0440\"", "'440'", "\"0o440\"", "288"] {
        let reference = declared(&text(mode)).remove(0).task.unwrap().secrets.remove(0);
        assert_eq!(reference.mode, Some(0o440), "{mode}");
        assert_eq!((reference.uid, reference.gid), (Some(103), Some(104)));
        assert_eq!(read_one(&text(mode)).unwrap().warnings, [""; 0], "{mode}");
    }
    let read = read_one(&text("440")).unwrap();
    assert_eq!(
        read.warnings,
        ["c.yml:4:55: the mode `440` is decimal and means 0670: write `0440` for octal"]
    );
    for (mode, message) in [
        ("0480", "expected a mode such as 0440, not `0480`"),
        ("rw", "expected a mode such as 0440, not `rw`"),
        ("-1", "expected a mode such as 0440, not `-1`"),
        ("4096", "invalid mode: 0o10000 is more than 0o7777"),
    ] {
        assert!(refused(&text(mode)).ends_with(message), "{mode}: {}", refused(&text(mode)));
    }
}

#[test]
fn a_process_needs_no_image_and_keeps_its_secrets_to_itself() {
    let text = "services:\n  web:\n    x-secretd: {runtime: process}\n    command: /bin/web --port 80\n    \
                entrypoint: [/usr/bin/env]\n    secrets: [a]\nsecrets: {a: {file: a}}\n";
    let task = declared(text).remove(0).task.unwrap();
    assert_eq!(task.command, ["/usr/bin/env", "/bin/web", "--port", "80"]);
    assert_eq!((task.args.len(), task.runtime()), (0, proto::pb::RuntimeKind::Process));
    let reference = &task.secrets[0];
    assert_eq!((reference.uid, reference.gid, reference.mode), (None, None, Some(0o400)));
    for (text, why) in [
        ("{command: a}", "it has no `image`"),
        ("{x-secretd: {runtime: process}}", "a process needs a `command`"),
        ("{image: a, x-secretd: {runtime: process}, command: b}", "a process has no `image`"),
    ] {
        let why_not = refused(&format!("services: {{web: {text}}}"));
        assert!(why_not.starts_with(&format!("service `web`: {why}")), "{why_not}");
    }
}

#[test]
fn every_key_of_deploy_is_declared() {
    let text = service(
        "command: -v
user: '33:33'
working_dir: /srv
stop_signal: SIGINT
stop_grace_period: 1m30s
deploy:
  replicas: 3
  labels: [tier=front, empty]
  update_config: {parallelism: 2, delay: 10s, failure_action: rollback, monitor: 30s,
    max_failure_ratio: 0.25, order: start-first}
  rollback_config: {parallelism: 0, failure_action: continue}
  restart_policy: {condition: on-failure, delay: 500ms, max_attempts: 3, window: 120s}
  placement:
    constraints: [node.labels.zone == eu, 'node.role != manager']
    preferences: [{spread: node.labels.rack}]
    max_replicas_per_node: 1
  resources: {reservations: {cpus: '0.5', memory: 512M}}",
    );
    let spec = declared(&text).remove(0);
    assert_eq!(spec.mode, Some(proto::pb::service_spec::Mode::Replicas(3)));
    assert_eq!((spec.labels["tier"].as_str(), spec.labels["empty"].as_str()), ("front", ""));
    let checked = proto::spec::ServiceSpec::try_from(spec).unwrap();
    let update = checked.update;
    assert_eq!((update.parallelism, update.delay_ms, update.monitor_ms), (2, 10_000, 30_000));
    assert_eq!(update.failure_ratio_millionths_max, 250_000);
    assert_eq!(update.failure_action, proto::spec::FailureAction::Rollback);
    assert_eq!(update.order, proto::spec::UpdateOrder::StartFirst);
    assert_eq!((checked.rollback.parallelism, checked.rollback.monitor_ms), (0, 5_000));
    let task = checked.task;
    assert_eq!((task.args, task.command), (vec!["-v".to_owned()], vec![]));
    assert_eq!((task.user.as_str(), task.dir.as_str()), ("33:33", "/srv"));
    assert_eq!(task.stop_grace_ms, Some(90_000));
    assert_eq!((task.restart.delay_ms, task.restart.attempts_max), (500, 3));
    assert_eq!(task.placement.constraints[0].to_string(), "node.labels.zone==eu");
    assert_eq!(task.placement.spread_over, ["node.labels.rack"]);
    assert_eq!(task.placement.replicas_per_node_max, 1);
    assert_eq!(task.resources.reserved_nano_cpus, 500_000_000);
    assert_eq!(task.resources.reserved_memory_bytes, 512 << 20);
    let global = declared(&service("deploy: {mode: global}")).remove(0);
    assert_eq!(global.mode, Some(proto::pb::service_spec::Mode::Global(true)));
}

#[test]
fn an_environment_comes_from_the_file_then_from_env_files_and_from_outside() {
    let text = service(
        "env_file: [./web.env, {path: ./none.env, required: false}]\nenvironment:\n  A: own\n  C: ${TAG:-none}\n  NONE:\n  REGION:",
    );
    let env = declared(&text).remove(0).task.unwrap().env;
    assert_eq!(env, ["A=own", "B='as it is'", "C=1.2", "REGION=eu-1"]);
    let listed = declared(&service("environment: [A=1, REGION, NONE]")).remove(0);
    assert_eq!(listed.task.unwrap().env, ["A=1", "REGION=eu-1"]);
    for (file, why) in [
        ("./none.env", "there is no file `./none.env`"),
        ("./bad.env", "`./bad.env`: line 1 has no name of a variable before its `=`"),
        ("./large.env", "`./large.env` cannot be read: it has more than 65536 bytes"),
    ] {
        let message = refused(&service(&format!("env_file: {file}")));
        assert_eq!(message, format!("c.yml:4:15: {why}"));
    }
}

#[test]
fn variables_are_put_in_and_missing_ones_are_told() {
    let read = read_one("services: {web: {image: \"nginx:${TAG}${NOPE}\"}}").unwrap();
    assert_eq!(read.stack.services["web"].image.as_deref(), Some("nginx:1.2"));
    assert_eq!(read.warnings, ["the variable NOPE is not set: an empty text stands for it"]);
    assert_eq!(
        refused("services: {web: {image: \"${NOPE:?say which}\"}}"),
        "c.yml:1:25: required variable NOPE is missing a value: say which"
    );
}

#[test]
fn later_files_are_put_over_earlier_ones() {
    let base = "services:\n  web:\n    image: a\n    command: [x]\n    environment: {A: 1, B: 1}\n    \
                secrets: [one, two]\n    deploy: {replicas: 2, labels: {a: b}, placement: {constraints: \
                [node.role==worker]}}\n";
    let over = "services:\n  web:\n    image: b\n    command: [y, z]\n    environment: [B=2]\n    secrets: \
                [{source: two, target: deux}, three]\n    deploy: {labels: {c: d}, placement: {constraints: \
                [node.role==worker, node.id!=x]}, update_config: {delay: 1s}}\n  db: {image: c}\n";
    let read = read_all(&[("base.yml", base), ("over.yml", over)]).unwrap();
    let web = &read.stack.services["web"];
    assert_eq!(web.image.as_deref(), Some("b"));
    assert_eq!(web.command.as_deref(), Some(&["y".to_owned(), "z".to_owned()][..]));
    assert_eq!(web.environment, [("A", "1"), ("B", "2")].map(|(k, v)| (k.into(), v.into())).into());
    let secrets = web.secrets.iter().map(|it| (it.source.as_str(), it.target.as_deref()));
    assert_eq!(
        secrets.collect::<Vec<_>>(),
        [("one", None), ("two", Some("deux")), ("three", None)]
    );
    assert_eq!((web.deploy.replicas, web.deploy.labels.len()), (Some(2), 2));
    assert_eq!(web.deploy.placement.constraints, ["node.role==worker", "node.id!=x"]);
    assert!(read.stack.services.contains_key("db"));
    let alone = read_one(base).unwrap().stack;
    assert_eq!(read_all(&[("base.yml", base), ("empty.yml", "")]).unwrap().stack, alone);
}

#[test]
fn one_file_uses_a_secret_several_times() {
    let file = |targets: &[&str]| {
        let uses = targets.iter().map(|target| format!("{{source: tls, target: {target}}}"));
        let uses = uses.collect::<Vec<_>>().join(", ");
        service(&format!("secrets: [{uses}]")) + "secrets: {tls: {file: tls}}\n"
    };
    let targets = |read: &Read| {
        let uses = read.stack.services["web"].secrets.iter();
        uses.map(|it| it.target.clone().unwrap()).collect::<Vec<_>>()
    };
    let (base, over) = (file(&["a.pem", "b.pem"]), file(&["c.pem", "d.pem"]));
    let alone = read_one(&base).unwrap();
    assert_eq!(targets(&alone), ["a.pem", "b.pem"]);
    assert_eq!(shown_again(&alone.stack), alone.stack);
    let merged = read_all(&[("base.yml", &base), ("over.yml", &over)]).unwrap();
    assert_eq!(targets(&merged), ["c.pem", "d.pem"], "those of the later file take their place");
}

#[test]
fn what_a_manager_would_refuse_is_refused_before() {
    let secrets = "secrets: {a: {file: a}, b: {file: b}}\n";
    let many = |count: usize| "x, ".repeat(count);
    for (lines, why) in [
        ("secrets: [{source: a, target: ../up}]".to_owned(), "invalid target"),
        (
            "secrets: [{source: a, target: t}, {source: b, target: t}]".to_owned(),
            "conflicting target",
        ),
        (
            "secrets: [{source: a, target: t}, {source: b, target: t/u}]".to_owned(),
            "conflicting target",
        ),
        ("stop_signal: SIGNOT".to_owned(), "invalid stop signal"),
        ("deploy: {labels: {'': x}}".to_owned(), "invalid label"),
        ("deploy: {replicas: 10001}".to_owned(), "the number of replicas"),
        ("deploy: {restart_policy: {max_attempts: 101, window: 1s}}".to_owned(), "restarts within"),
        (
            format!("command: [{}]", many(proto::limits::ARGUMENTS_MAX + 1)),
            "the number of arguments",
        ),
        (format!("command: {}", "x".repeat(proto::limits::SPEC_BYTES_MAX)), "the text of the spec"),
    ] {
        let message = refused(&(service(&lines) + secrets));
        assert!(message.starts_with("service `web`: "), "{message}");
        assert!(message.contains(why), "{why}: {message}");
    }
    let at_the_bound = format!("command: [{}]", many(proto::limits::ARGUMENTS_MAX));
    assert_eq!(declared(&service(&at_the_bound)).len(), 1);
    let labelled = "secrets: {a: {file: a, labels: {'': x}}}";
    assert!(refused(labelled).starts_with("secret `a`: "), "{}", refused(labelled));
}

#[test]
fn what_has_one_name_in_the_cluster_is_declared_once() {
    for (text, message) in [
        (
            "secrets: {a: {file: x, name: one}, b: {file: y, name: ONE}}",
            "secret `b`: it has the name of secret `a` in the cluster",
        ),
        (
            "secrets: {KEY: {file: x}, key: {file: y}}",
            "secret `key`: it has the name of secret `KEY`",
        ),
        (
            "secrets: {a: {file: x, name: one}, b: {external: true, name: one}}",
            "secret `b`: it has the name of secret `a` in the cluster",
        ),
        (
            "services: {WEB: {image: a}, web: {image: b}}",
            "service `web`: it has the name of service `WEB` in the cluster",
        ),
    ] {
        assert!(refused(text).starts_with(message), "{text}\n{}", refused(text));
    }
    // Of another's secret there may be two names: nothing is made.
    let names = "services: {web: {image: i, secrets: [a, b]}}\n\
                 secrets: {a: {external: true, name: one}, b: {external: true, name: one}}";
    assert_eq!(declared(names)[0].task.as_ref().unwrap().secrets.len(), 2);
}

#[test]
fn what_is_not_supported_is_named_and_what_is_not_known_refused() {
    let read = read_one(
        "x-base: &base {anything: 1}\nnetworks: {front: {}}\nvolumes: {}\nservices:\n  web:\n    \
         image: a\n    ports: [80:80]\n    healthcheck: {test: [CMD, a]}\n    x-mine: [1]\n    cap_add: []\n    \
         deploy: {endpoint_mode: dnsrr, resources: {limits: {cpus: 1}}}\n",
    );
    assert_eq!(
        read.unwrap().warnings,
        [
            "c.yml:2:1: `networks` is not supported and is ignored",
            "c.yml:7:5: `ports` is not supported and is ignored",
            "c.yml:8:5: `healthcheck` is not supported and is ignored",
            "c.yml:11:14: `endpoint_mode` is not supported and is ignored",
            "c.yml:11:48: `limits` is not supported and is ignored",
        ]
    );
    for (text, message) in [
        ("servces: {}", "c.yml:1:1: unknown key `servces` at the top of a compose file"),
        ("services: {web: {imge: a}}", "c.yml:1:18: unknown key `imge` in service `web`"),
        (
            "services: {web: {deploy: {replica: 1}}}",
            "c.yml:1:27: unknown key `replica` in `deploy`",
        ),
        ("services: {web: {x-secretd: {run: a}}}", "c.yml:1:30: unknown key `run` in `x-secretd`"),
        ("services: [web]", "c.yml:1:11: expected a map, not a list"),
        ("services: {web: {image: [a]}}", "c.yml:1:25: expected a text, not a list"),
        (
            "services: {web: {deploy: {replicas: many}}}",
            "c.yml:1:37: expected a number from 0 on, not `many`",
        ),
        ("services: {web: {command: \"a 'b\"}}", "c.yml:1:27: a quote is not closed in `a 'b`"),
        (
            "services: {web: {image: a, secrets: [{target: b}]}}",
            "c.yml:1:38: a secret of a service needs its `source`",
        ),
        ("version: '2.4'", "c.yml:1:10: version `2.4` is not read: 3.1 or later, or none at all"),
        (
            "secrets: {a: {}}",
            "c.yml:1:11: secret `a` has to have one of `file`, `environment` and `external: true`",
        ),
        (
            "secrets: {a: {file: x, environment: Y}}",
            "c.yml:1:11: secret `a` has to have one of `file`, `environment` and `external: true`",
        ),
        (
            "services: {web: {image: a, secrets: [b]}}",
            "service `web`: it uses secret `b`, which the file does not declare",
        ),
        (
            "services: {web: {image: a, deploy: {mode: global, replicas: 2}}}",
            "service `web`: a global service has no replicas: it has a task on every node",
        ),
        ("secrets: {'a b': {file: x}}", "secret `a b`: invalid secret name"),
    ] {
        assert!(refused(text).starts_with(message), "{text}\n{}", refused(text));
    }
    assert!(refused("include: [other.yml]").contains("is not supported: "));
    assert!(refused(&service("extends: {service: b}")).contains("is not supported: "));
    let undeclared = "service `web`: it uses config `a`, which the file does not declare";
    assert!(refused(&service("configs: [a]")).starts_with(undeclared));
    assert!(refused("configs: {a: {file: b, content: c}}").contains(
        "config `a` has to have one of `content`, `file`, `environment` and `external: true`"
    ));
    assert!(refused("secrets: {a: {content: c}}").contains("unknown key `content`"));
    assert!(refused(&service("deploy: {mode: replicated-job}")).contains("services, not jobs"));
}

fn shown_again(stack: &Stack) -> Stack {
    let text = shown(stack).unwrap().to_string();
    read_one(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).stack
}

#[test]
fn what_is_shown_of_a_stack_is_read_as_the_same_stack() {
    let text = CHAPTER.to_owned() + "  third: {external: true, name: theirs}\n";
    let text = text.replace(
        "    environment:\n",
        "    command: [echo, $$HOME, '$${A}']\n    deploy: {replicas: 2, update_config: {delay: 90s, \
         max_failure_ratio: 0.25}, resources: {reservations: {cpus: 0.5, memory: 1g}}}\n    \
         environment:\n",
    );
    let stack = read_one(&text).unwrap().stack;
    assert_eq!(stack.services["psql"].command.as_ref().unwrap()[1..], ["$HOME", "${A}"]);
    assert_eq!(shown_again(&stack), stack);
}

/// Documents that are nearly right.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        ":", "- ", "\n", "  ", "{", "}", "[", "]", "&a ", "*a", "<<: ", "'", "\"", "${", "$$",
        "|\n", "0440", "secrets", "deploy", "null", "!!int ", "? ", "---\n", "\u{feff}", "\t", "é",
        "%",
    ]);
    prop::collection::vec((any::<prop::sample::Index>(), pieces, any::<bool>()), 0..12).prop_map(
        |changes| {
            let mut characters: Vec<char> = CHAPTER.chars().collect();
            for (at, piece, replaces) in changes {
                let at = at.index(characters.len());
                let end = if replaces { at + 1 } else { at };
                characters.splice(at..end, piece.chars());
            }
            characters.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_file_is_read_or_refused_with_its_place(text in mutated()) {
        match read_one(&text) {
            Ok(read) => {
                prop_assert_eq!(shown_again(&read.stack), read.stack.clone());
                // What is read can be declared or is refused.
                if let Ok(secrets) = secrets("s", &read.stack) {
                    drop(declare("s", &read.stack, &secrets));
                }
            }
            Err(error) => prop_assert!(error.starts_with("c.yml:"), "{}", error),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        drop(read_one(&text));
    }
}

#[path = "../../../tests/mutate.rs"]
mod mutate;

#[test]
fn a_file_of_any_bytes_is_read_or_refused() {
    let anchored =
        "x-a: &a {A: b}\nservices:\n  w:\n    image: ${I:-i}\n    environment:\n      <<: *a\n";
    let corpus = [CHAPTER.as_bytes(), anchored.as_bytes()];
    mutate::fuzz("compose", &corpus, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match read_one(&text) {
            Ok(read) => {
                if let Ok(secrets) = secrets("s", &read.stack) {
                    drop(declare("s", &read.stack, &secrets));
                }
                "taken".to_owned()
            }
            // What is wrong, without where and what it says.
            Err(error) => error.chars().filter(|it| !it.is_ascii_digit()).take(50).collect(),
        }
    });
}

#[test]
fn configs_are_files_of_containers_and_of_processes() {
    let configs = "configs:\n  a: {content: 'x=1'}\n  b: {file: ./b.conf}\n  c: {external: true}\n";
    let uses = "configs: [a, {source: b, target: /etc/b, uid: '7', gid: 8, mode: 0440}, c]";
    let read = read_one(&(service(uses) + configs)).unwrap();
    let all = super::configs("s", &read.stack).unwrap();
    let from = |key: &str| (all[key].name.as_str(), all[key].from.clone());
    assert_eq!(from("a"), ("s_a", ValueFrom::Text("x=1".into())));
    assert_eq!(from("b"), ("s_b", ValueFrom::File("./b.conf".into())));
    assert_eq!(from("c"), ("c", ValueFrom::Cluster));
    let task = declared(&(service(uses) + configs)).remove(0).task.unwrap();
    let shown = |it: &proto::pb::ConfigReference| {
        (it.config_name.clone(), it.target.clone(), it.uid, it.gid, it.mode)
    };
    let expected = [
        ("s_a".to_owned(), "a".to_owned(), Some(0), Some(0), Some(0o444)),
        ("s_b".to_owned(), "/etc/b".to_owned(), Some(7), Some(8), Some(0o440)),
        ("c".to_owned(), "c".to_owned(), Some(0), Some(0), Some(0o444)),
    ];
    assert_eq!(task.configs.iter().map(shown).collect::<Vec<_>>(), expected);
    let process = "services:\n  web:\n    x-secretd: {runtime: process}\n    command: [a]\n    \
                   configs: [a]\nconfigs: {a: {content: x}}\n";
    let task = declared(process).remove(0).task.unwrap();
    assert_eq!((task.configs[0].target.as_str(), task.configs[0].uid), ("/run/secrets/a", None));
}
