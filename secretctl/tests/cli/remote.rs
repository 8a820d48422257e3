//! Over TLS: enrolling, contexts, the pinned CA, renewal.

use proto::id::Incarnation;
use proto::identity::Role;
use proto::token::JoinToken;

use crate::fake::{Fake, token};
use crate::program::Place;

pub(crate) fn manager_options<'a>(addresses: &[&'a str]) -> Vec<&'a str> {
    addresses.iter().flat_map(|address| ["--manager", address]).collect()
}

/// A token for a new operator, made as an admin on the manager's machine would.
fn operator_token(fake: &Fake) -> String {
    let admin = Place::new();
    let _serving = fake.serve_unix(&admin.socket());
    let ran = admin.run(&["operator", "add", "alice", "--role", "admin"], b"");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}

/// Makes `prod`, a context for these managers; the first one is the chosen one.
pub(crate) fn enrolled(place: &Place, fake: &Fake, addresses: &[&str]) {
    let token = operator_token(fake);
    let mut args = vec!["context", "add", "prod", "--token", "-"];
    args.extend(manager_options(addresses));
    let ran = remote(place, &args, token.as_bytes());
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "prod\n"), "{}", ran.stderr);
}

/// Runs the program without the environment's socket, so that the chosen context is used.
pub(crate) fn remote(place: &Place, args: &[&str], stdin: &[u8]) -> crate::program::Ran {
    let mut command = place.command();
    command.env_remove("SECRETD_SOCKET").args(args);
    crate::program::run(command, stdin)
}

#[test]
fn an_operator_enrols_and_creates_a_secret_under_its_own_name() {
    let (place, fake) = (Place::new(), Fake::new());
    let (_serving, address) = fake.serve_tls();
    enrolled(&place, &fake, &[&address]);
    let ran = remote(&place, &["create", "db", "-"], b"hunter2");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let world = fake.world();
    assert_eq!(world.values["db"], b"hunter2");
    let creator = &world.secrets.values().next().unwrap().versions[0].created_by;
    assert!(creator.starts_with("operator/"), "{creator}");
}

#[test]
fn a_context_is_private_and_can_be_chosen_shown_and_removed() {
    let (place, fake) = (Place::new(), Fake::new());
    let (_serving, address) = fake.serve_tls();
    enrolled(&place, &fake, &[&address]);
    let folder = place.path().join("config/secretd/contexts/prod");
    for (path, mode) in [
        (folder.clone(), 0o700),
        (folder.join("identity.der"), 0o600),
        (folder.join("ca.der"), 0o600),
        (folder.join("context.json"), 0o600),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let has = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(has, mode, "{}", path.display());
    }
    let ran = remote(&place, &["context", "show"], b"");
    let shown = place.normal(&ran.stdout).replace(&address, "ADDRESS");
    let subject = shown.lines().find(|line| line.contains("operator/")).unwrap();
    assert_eq!(
        shown.replace(subject, "  SUBJECT"),
        "prod\n  current:           yes\n  SUBJECT\n  managers:          ADDRESS\n  \
         realm:             01010101010101010101010101010101\n  incarnation:       1\n  \
         certificate ends:  TIME\n  renews from:       TIME\n  \
         folder:            DIR/config/secretd/contexts/prod\n"
    );
    let ran = remote(&place, &["context", "ls", "-q"], b"");
    assert_eq!(ran.stdout, "prod\n");
    let ran = remote(&place, &["cluster", "init"], b"");
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("on its own machine only"), "{}", ran.stderr);
    assert_eq!(remote(&place, &["context", "rm", "prod"], b"").stdout, "prod\n");
    assert!(!folder.exists());
    let ran = remote(&place, &["context", "show"], b"");
    assert!(ran.stderr.contains("no context is chosen"), "{}", ran.stderr);
}

#[test]
fn a_key_that_the_pinned_ca_did_not_sign_gets_nothing() {
    let (place, fake) = (Place::new(), Fake::new());
    let (_serving, address) = fake.serve_tls();
    enrolled(&place, &fake, &[&address]);
    fake.world().foreign_ca = true;
    let ran = remote(&place, &["create", "db", "-"], b"hunter2");
    assert_eq!(ran.status, 1);
    let first = ran.stderr.lines().next().unwrap();
    let said = "secretctl: error: the manager's transit key is not signed by the cluster's CA";
    assert_eq!(first, said);
    assert!(ran.stderr.contains("secretctl: hint: nothing was sent"), "{}", ran.stderr);
    assert!(fake.world().seen.is_empty());
}

#[test]
fn a_cluster_that_went_back_in_time_is_refused() {
    let (place, fake) = (Place::new(), Fake::new());
    let (_serving, address) = fake.serve_tls();
    enrolled(&place, &fake, &[&address]);
    // The certificates stay those of the first life: only the answer tells.
    fake.world().incarnation = Incarnation(5);
    let ran = remote(&place, &["cluster", "status", "--json"], b"");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let ran = remote(&place, &["context", "show", "--json"], b"");
    assert!(ran.stdout.contains("\"incarnation\": 5"), "{}", ran.stdout);
    // From now on the first life's certificate does not do.
    let ran = remote(&place, &["ls", "--timeout", "300ms"], b"");
    assert_eq!(ran.status, 69, "{}", ran.stderr);
    assert!(ran.stderr.contains("the cluster was restored since"), "{}", ran.stderr);
}

#[test]
fn another_cluster_at_the_address_is_not_talked_to() {
    let (place, fake, other) = (Place::new(), Fake::new(), Fake::new());
    let (_serving, address) = other.serve_tls();
    let token = operator_token(&fake);
    let mut args = vec!["context", "add", "prod", "--token", &token, "--timeout", "300ms"];
    args.extend(manager_options(&[&address]));
    let ran = remote(&place, &args, b"");
    assert_eq!(ran.status, 69, "{}", ran.stderr);
    let foreign = "whoever answers is not of this context's cluster";
    assert!(ran.stderr.contains(foreign), "{}", ran.stderr);
    assert!(!place.path().join("config/secretd/contexts/prod").exists());
}

#[test]
fn a_token_of_another_kind_or_used_up_is_refused() {
    let (place, fake) = (Place::new(), Fake::new());
    let (_serving, address) = fake.serve_tls();
    let agent: JoinToken = {
        let world = fake.world();
        token(&world, proto::id::TokenId::from_entropy([5; 17]), Role::Agent)
    };
    let mut args = vec!["context", "add", "prod", "--token", "-"];
    args.extend(manager_options(&[&address]));
    let ran = remote(&place, &args, agent.reveal().as_bytes());
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("does not admit an operator"), "{}", ran.stderr);

    let used = operator_token(&fake);
    assert_eq!(remote(&place, &args, used.as_bytes()).status, 0);
    args[2] = "again";
    let ran = remote(&place, &args, used.as_bytes());
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("join token was not accepted: used up"), "{}", ran.stderr);
    args[2] = "prod";
    let ran = remote(&place, &args, used.as_bytes());
    assert!(ran.stderr.contains("context `prod` already exists"), "{}", ran.stderr);
}

#[test]
fn a_certificate_is_renewed_in_the_second_half_of_its_life() {
    let (place, fake) = (Place::new(), Fake::new());
    let (_serving, address) = fake.serve_tls();
    enrolled(&place, &fake, &[&address]);
    let folder = place.path().join("config/secretd/contexts/prod");
    let facts = std::fs::read_to_string(folder.join("context.json")).unwrap();
    let mut facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    let due = facts["renew_at"].as_u64().unwrap();
    facts["renew_at"] = 1.into();
    std::fs::write(folder.join("context.json"), facts.to_string()).unwrap();
    let before = std::fs::read(folder.join("identity.der")).unwrap();
    let ran = remote(&place, &["create", "db", "-"], b"hunter2");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_ne!(std::fs::read(folder.join("identity.der")).unwrap(), before);
    let facts = std::fs::read_to_string(folder.join("context.json")).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert!(facts["renew_at"].as_u64().unwrap().abs_diff(due) < 60_000);
    let ran = remote(&place, &["create", "other", "-"], b"hunter2");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "the new certificate works");
}
