//! Rules of the whole tree: who may import whom, what is named where, how files look.
//!
//! Each rule is a test, and a table where there is something to list. They are read from
//! `cargo metadata` and from the text of the sources, comments left out. Not here: what rustc,
//! clippy and rustdoc check by themselves.
//!
//! Invariant: a table says what is; an entry that nothing needs any more fails like one that is
//! missing, so that a listed permission is always one in use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, TargetKind};

/// Our crates: what each may import, and what its tests may beside that.
const CRATES: &[(&str, &[&str], &[&str])] = &[
    ("proto", &[], &[]),
    ("seal", &["proto"], &[]),
    ("sys", &[], &[]),
    ("state", &["proto"], &[]),
    ("link", &["proto", "seal"], &[]),
    ("store", &["state", "link", "seal", "sys", "proto"], &[]),
    ("agent", &["link", "seal", "sys", "proto"], &[]),
    ("secretctl", &["link", "seal", "sys", "proto", "store?", "agent?"], &[]),
    ("tests", ALL, ALL),
];

/// What may import everything, and is imported by nobody.
const ALL: &[&str] = &["proto", "seal", "sys", "state", "link", "store", "agent", "secretctl"];

/// Libraries that only some crates may depend on; tests may use what they like.
const FENCED: &[(&[&str], &[&str], &str)] = &[
    (
        &["argon2", "blake2", "chacha20poly1305", "hkdf", "hmac", "hpke", "subtle", "getrandom"],
        &["seal"],
        "all cryptography is in one crate, where its keys have types and its misuse has tests",
    ),
    (
        // state hashes public bytes: the audit chain, the digest of the state. No key, no cipher.
        &["sha2"],
        &["seal", "state"],
        "all cryptography is in one crate; a hash without a key is none",
    ),
    (
        &["openraft", "openraft-rt-tokio", "sled"],
        &["store"],
        "an agent and an operator's tool have no log",
    ),
    (&["age"], &["secretctl"], "a manager and an agent know no files of other programs' formats"),
    (
        &["rcgen", "rustls-webpki", "tokio-rustls", "x509-parser"],
        &["link"],
        "who is at the other end of a connection is decided in one crate",
    ),
    (
        // store only passes on what link made.
        &["rustls"],
        &["link", "store"],
        "configurations of TLS are made in one crate",
    ),
    (
        &["nix", "rustix", "libc"],
        &["sys"],
        "calls of the kernel beyond plain files are in one crate, the one with unsafe",
    ),
];

/// What state may need, by whatever way: nothing that reads a clock, a file, a socket or the
/// kernel's randomness.
const PURE: &[&str] = &[
    "block-buffer",
    "bytes",
    "cfg-if",
    "cmov",
    // Names of algorithms, constants alone: a feature of sha2 that a library of age's asks for.
    "const-oid",
    "cpufeatures",
    "crc32fast",
    "crypto-common",
    "ctutils",
    "digest",
    "hybrid-array",
    "minicbor",
    "prost",
    "proto",
    "sha2",
    "thiserror",
    "typenum",
    "zeroize",
];

/// What cpufeatures asks for the processor's instructions on ARM.
const PURE_ON_ARM: &str = "libc";

/// Sources that decide by what they are given alone, and so name nothing of the outside.
const PURE_SOURCES: &[&str] = &["proto/src/", "seal/src/", "state/src/", "agent/src/plan.rs"];

/// What a pure source must not name.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant",
    "tokio",
];

/// Names that are allowed in some places only: the name, where, and why so.
const NAMES: &[(&[&str], &[&str], &str)] = &[
    (
        &["openraft::", "use openraft", "openraft_rt_tokio::"],
        &["store/src/raft/"],
        "its alphas change their API: an update touches one folder",
    ),
    (
        &["sled::", "use sled"],
        &["store/src/disk/"],
        "what is durable, and how sled fails, is known in one folder",
    ),
    (
        &["ClientConfig::builder", "ServerConfig::builder", ".dangerous("],
        &["link/src/"],
        "TLS version, key exchange and verifiers are settled in one crate",
    ),
    (
        &["age::", "use age"],
        &["secretctl/src/age_file.rs", "tests/cluster/backup.rs", "tests/runbooks/losses.rs"],
        "who opens a backup, and what is told of it, is settled in one file",
    ),
    (
        &["unsafe"],
        &["sys/src/"],
        "memory is safe but for one crate, where each exception has its reasons beside it",
    ),
];

/// Who sees a secret, a token or a key in clear: the doors are `.expose()` and `.expose_seed()`.
const EXPOSED: &[(&str, &str)] = &[
    ("agent/src/identity.rs", "the agent's own key goes to its file"),
    ("agent/src/join.rs", "the token's secret goes to the manager that was checked"),
    ("agent/src/vault.rs", "a value goes to the task's tmpfs"),
    ("link/src/certificate.rs", "a key signs a certificate or a request"),
    ("link/src/tls.rs", "rustls takes the key of the own certificate"),
    ("proto/src/token.rs", "a token is shown to whoever made it"),
    ("seal/src/backup.rs", "a backup's root key is sealed to its call"),
    ("seal/src/boot_file.rs", "the boot key goes to its file"),
    ("seal/src/compare.rs", "a compare tag is made of a value"),
    ("seal/src/keyfile.rs", "the TLS key is sealed into the key file"),
    ("seal/src/lib.rs", "what is stored of a token is a digest"),
    ("seal/src/payload.rs", "the compare tag is made of the value"),
    ("seal/src/plaintext.rs", "the door itself"),
    ("seal/src/read_back.rs", "an unlock key that is kept is sealed, on each way"),
    ("seal/src/root.rs", "the CA's key is wrapped"),
    ("seal/src/unlock_key.rs", "the door of the unlock key"),
    ("secretctl/src/backup_file.rs", "a backup's root key goes into its encrypted file"),
    ("secretctl/src/command/cluster/locking.rs", "a new unlock key is shown once"),
    ("secretctl/src/command/cluster/typed.rs", "what was typed opens the manager, or is compared"),
    ("secretctl/src/command/demo/mod.rs", "the demonstration looks for its own secret"),
    ("secretctl/src/context.rs", "the operator's own key goes to files: the context's, docker's"),
    ("secretctl/src/enroll.rs", "the token's secret goes to the manager that was checked"),
    ("store/src/front/docker/body.rs", "its tests: what was decoded is what was sent"),
    ("store/src/front/docker/swarm.rs", "what was typed opens the manager"),
    ("store/src/manager/join.rs", "the token's secret goes to the manager that was checked"),
    ("store/src/service/compare.rs", "who may ask is given the key of a value's tag"),
    ("store/src/service/made_keys.rs", "an unlock key that was made here is shown"),
];

/// Who holds or asks the keyring, where the root keys are open.
const KEYRING: &[(&str, &str)] = &[
    ("store/src/ca/mod.rs", "the CA's key signs a certificate"),
    (
        "store/src/ca/rotation.rs",
        "the CA's key signs the one that takes its place, and transit keys",
    ),
    ("store/src/dispatcher/session.rs", "a data key is sealed to the session that may have it"),
    ("store/src/keys/keyring.rs", "the keyring itself"),
    ("store/src/keys/mod.rs", "its module"),
    ("store/src/leader/shredding.rs", "the leader renews the transit key"),
    ("store/src/manager/incarnation.rs", "the CA's key signs the certificate of a new life"),
    ("store/src/manager/names.rs", "it is handed to the CA, for the certificate of docker's port"),
    ("store/src/manager/reseal/crash_tests.rs", "its tests"),
    ("store/src/manager/serve.rs", "it is made of the opened key file"),
    ("store/src/roots.rs", "root keys come and go"),
    ("store/src/roots/crash_tests.rs", "its tests"),
    ("store/src/roots/lead.rs", "the leader wraps keys anew"),
    ("store/src/service/backups.rs", "everything in a backup is wrapped anew"),
    ("store/src/service/ca_rotation.rs", "another CA is made"),
    ("store/src/service/compare.rs", "a value that comes again is compared with the stored one"),
    ("store/src/service/enroll.rs", "a certificate is issued"),
    ("store/src/service/mod.rs", "the service holds it"),
    ("store/src/service/read_back.rs", "an unlock key is kept, and read back"),
    ("store/src/service/releases.rs", "the peers' half of a slot is sealed to its manager"),
    ("store/src/service/root_keys.rs", "a member gets the root keys that are wanted of it"),
    ("store/src/service/secrets.rs", "a client's data key is wrapped anew"),
    ("store/src/service/tokens.rs", "a token's secret is derived, so that a retry gets the same"),
];

/// Who writes to standard output or standard error.
const PRINTERS: &[(&str, &str)] = &[
    ("agent/src/failure.rs", "why secret-agent ends"),
    ("agent/src/logging.rs", "the log of secret-agent"),
    ("secretctl/src/message.rs", "all that secretctl says"),
    ("secretctl/src/throwaway/keeper.rs", "a pipe to the parent, not words for people"),
    ("store/src/lib.rs", "the log of secretd"),
    ("sys/src/require.rs", "a test that was skipped"),
];

/// What writes there.
const PRINTING: &[&str] =
    &["io::stdout", "io::stderr", "print!", "println!", "eprint!", "eprintln!", "dbg!"];

/// Longest source file, in lines.
const LINES_MAX: usize = 800;

/// Module names that say nothing.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "misc", "type", "types", "util", "utils"];

/// A file of the tree that is text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether it is only compiled into tests, or is what this test would find in itself.
    fn is_test(&self) -> bool {
        let path = Path::new(&self.path);
        path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
    }

    fn is_generated(&self) -> bool {
        self.path.contains("/src/gen/")
    }

    /// Lines with their numbers, comments cut off.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
    }

    /// The places in code where `name` stands as a whole word or path.
    fn naming(&self, name: &str) -> Vec<String> {
        let named = self.code().filter(|(_, line)| names(line, name));
        named.map(|(at, line)| format!("{}:{at}: {}", self.path, line.trim())).collect()
    }
}

/// Whether `name` stands in the line, not as a part of a longer word.
fn names(line: &str, name: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + name.len()..).and_then(|after| after.chars().next());
        let begins = !name.starts_with(of_word) || !before.is_some_and(of_word);
        begins && (!name.ends_with(of_word) || !after.is_some_and(of_word))
    })
}

fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate lies in the workspace").to_owned()
}

fn metadata() -> Metadata {
    // One platform, or what other platforms need would have to be downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--offline", "--filter-platform", &platform].map(ToOwned::to_owned);
    MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .expect("cargo describes the workspace that it just built")
}

/// Every text file of the tree, but for what is built and what git keeps.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let root = workspace();
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the tree can be read") {
            let path = entry.expect("the tree can be read").path();
            let name = path.strip_prefix(&root).expect("found below it").display().to_string();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = String::from_utf8(std::fs::read(&path).expect("a file")) {
                sources.push(Source { path: name, text });
            }
        }
    }
    assert!(sources.len() > 100, "the tree was not found at {}", root.display());
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Fails with all that was found: what, why it matters, what to do.
#[track_caller]
fn refuse(found: &[String], why: &str, remedy: &str) {
    let found = found.join("\n  ");
    assert!(found.is_empty(), "\n  {found}\nwhy: {why}\nwhat to do: {remedy}\n");
}

fn ours<'a>(
    metadata: &Metadata,
    dependencies: &'a [Dependency],
    kinds: &[DependencyKind],
) -> Vec<&'a Dependency> {
    let members: BTreeSet<_> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let of_kind = dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
    of_kind.filter(|dependency| members.contains(&dependency.name)).collect()
}

#[test]
fn crates_import_what_the_table_says() {
    let metadata = metadata();
    let mut found = Vec::new();
    let mut listed: BTreeMap<_, _> =
        CRATES.iter().map(|(name, may, tests_may)| (*name, (*may, *tests_may))).collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((may, tests_may)) = listed.remove(name) else {
            found.push(format!("the crate {name} is not in the table"));
            continue;
        };
        let normal = [DependencyKind::Normal, DependencyKind::Build];
        for dependency in ours(&metadata, &package.dependencies, &normal) {
            let other = dependency.name.as_str();
            let by_feature = dependency.optional && may.contains(&format!("{other}?").as_str());
            if !by_feature && !may.contains(&other) {
                found.push(format!("{name} imports {other}"));
            }
        }
        for dependency in ours(&metadata, &package.dependencies, &[DependencyKind::Development]) {
            let other = dependency.name.as_str();
            if !may.contains(&other) && !tests_may.contains(&other) {
                found.push(format!("{name}'s tests import {other}"));
            }
        }
        let imports = |kinds: &[DependencyKind], listed: &str| {
            let ours = ours(&metadata, &package.dependencies, kinds);
            ours.iter().any(|it| it.name == listed.trim_end_matches('?'))
        };
        let every = [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development];
        let gone = may.iter().filter(|other| may != ALL && !imports(&normal, other));
        found.extend(gone.map(|other| format!("{name} may import {other}, but does not")));
        let gone = tests_may.iter().filter(|other| !imports(&every, other));
        found.extend(gone.map(|other| format!("{name}'s tests may import {other}, but do not")));
    }
    found.extend(listed.keys().map(|name| format!("the crate {name} of the table is gone")));
    refuse(
        &found,
        "the crates are layers: proto has words, seal and sys have no network, state is pure, and \
         a slim secretctl has no manager in it",
        "move the code to where its words, keys or kernel calls are (ARCHITECTURE.md says which \
         crate that is), or pass a value in; change CRATES in tests/tidy.rs only with the design",
    );
}

#[test]
fn fenced_libraries_are_used_by_the_crates_that_may() {
    let metadata = metadata();
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let (name, is_tests) = (package.name.as_str(), package.name.as_str() == "tests");
        for dependency in &package.dependencies {
            let library = dependency.name.as_str();
            let Some((_, users, why)) =
                FENCED.iter().find(|(fenced, ..)| fenced.contains(&library))
            else {
                continue;
            };
            if is_tests || dependency.kind == DependencyKind::Development {
                continue;
            }
            match users.iter().find(|user| **user == name) {
                Some(user) => used.extend([(*user, *why), (library, *why)]),
                None => found.push(format!("{name} depends on {library}: {why}")),
            }
        }
    }
    for (fenced, users, why) in FENCED {
        let gone = fenced.iter().chain(*users).filter(|name| !used.contains(&(name, why)));
        found
            .extend(gone.map(|name| format!("{name} is listed in FENCED, but not needed ({why})")));
    }
    refuse(
        &found,
        "a library behind one crate is used in one way, and can be changed in one place",
        "add a function to the crate that has the library, and call that; or list the crate in \
         FENCED in tests/tidy.rs, with the reason",
    );
}

#[test]
fn who_depends_on_what_deny_toml_bans_is_listed_there() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("cargo resolves what it built");
    let bans = std::fs::read_to_string(workspace().join("deny.toml")).expect("deny.toml");
    // Of `{ crate = "age", wrappers = ["secretctl", "tests"] },` each second part is a name.
    let bans = bans.lines().filter(|line| line.trim().starts_with("{ crate = "));
    let bans = bans.map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>());
    let bans: BTreeMap<_, _> =
        bans.filter_map(|ban| Some((*ban.first()?, ban.get(1..)?.to_vec()))).collect();
    let mut found = Vec::new();
    for node in &resolve.nodes {
        let name = metadata[&node.id].name.as_str();
        for dependency in &node.deps {
            let banned = metadata[&dependency.pkg].name.as_str();
            if bans.get(banned).is_some_and(|wrappers| !wrappers.contains(&name)) {
                found.push(format!("{name} depends on {banned}"));
            }
        }
    }
    assert!(bans.len() >= 15, "deny.toml is not read as it is written: {bans:?}");
    refuse(
        &found,
        "`cargo deny` refuses them, which only who has that tool would find out",
        "do without; or list the crate among the `wrappers` of deny.toml, with the reason",
    );
}

#[test]
fn the_state_machine_is_pure_in_all_that_it_needs() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("cargo resolves what it built");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let members = metadata.workspace_packages();
    let state = members.iter().find(|package| package.name.as_str() == "state");
    let mut waiting = vec![(&state.expect("the crate state").id, "state".to_owned())];
    let mut ways: BTreeMap<String, String> = BTreeMap::new();
    while let Some((id, way)) = waiting.pop() {
        for dependency in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
            let package = &metadata[&dependency.pkg];
            // What a macro needs runs in the compiler.
            let is_macro = package.targets.iter().any(|t| t.kind.contains(&TargetKind::ProcMacro));
            let is_needed =
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            let name = package.name.to_string();
            if is_macro || !is_needed || ways.contains_key(&name) {
                continue;
            }
            let way = format!("{way} → {name}");
            ways.insert(name, way.clone());
            waiting.push((&dependency.pkg, way));
        }
    }
    let is_pure =
        |name: &str| PURE.contains(&name) || cfg!(target_arch = "aarch64") && name == PURE_ON_ARM;
    let unknown = ways.iter().filter(|(name, _)| !is_pure(name));
    let mut found: Vec<_> = unknown.map(|(name, way)| format!("{name} ({way})")).collect();
    let gone = PURE.iter().filter(|name| !ways.contains_key(**name));
    found.extend(gone.map(|name| format!("{name} of the table PURE is no longer needed")));
    refuse(
        &found,
        "every manager must compute the same state from the same log: no runtime, file, socket, \
         clock or randomness may be within reach",
        "do without the crate; or read its source, and if it touches nothing of the outside, list \
         it in PURE in tests/tidy.rs",
    );
}

#[test]
fn pure_sources_name_nothing_of_the_outside() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust() && !source.is_test()) {
        if PURE_SOURCES.iter().any(|pure| source.path.starts_with(pure)) {
            found.extend(OUTSIDE.iter().flat_map(|name| source.naming(name)));
        }
    }
    refuse(
        &found,
        "what decides by its arguments alone can be tested with any history, and gives the same \
         answer everywhere",
        "take the time, the bytes or the random number as an argument; the caller asks the outside",
    );
}

#[test]
fn names_stand_where_they_may() {
    let sources = sources();
    let mut found = Vec::new();
    for (forbidden, places, why) in NAMES {
        let mut used = BTreeSet::new();
        for source in sources.iter().filter(|s| s.is_rust() && s.path != "tests/tidy.rs") {
            let naming: Vec<_> = forbidden.iter().flat_map(|name| source.naming(name)).collect();
            match places.iter().find(|place| source.path.starts_with(**place)) {
                Some(place) if !naming.is_empty() => _ = used.insert(*place),
                Some(_) => {}
                None => found.extend(naming.iter().map(|line| format!("{line}\n      {why}"))),
            }
        }
        let gone = places.iter().filter(|place| !used.contains(*place));
        found.extend(gone.map(|place| format!("{place} may name {forbidden:?}, but does not")));
    }
    refuse(
        &found,
        "each of these has a home, given behind the line; elsewhere only that home is called",
        "call what the home offers, or let it offer more; NAMES in tests/tidy.rs has the homes",
    );
}

/// Checks that exactly the listed files, tests apart, name one of `words`.
fn only_listed(listed: &[(&str, &str)], words: &[&str]) -> Vec<String> {
    let sources = sources();
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.is_rust() && !s.is_test() && !is_test_module(s)) {
        let naming: Vec<_> = words.iter().flat_map(|word| source.naming(word)).collect();
        let is_listed = listed.iter().any(|(path, _)| *path == source.path);
        match (is_listed, naming.is_empty()) {
            (false, false) => found.extend(naming),
            (true, true) => found.push(format!("{} is listed, but does not", source.path)),
            _ => {}
        }
    }
    found
}

/// Whether a file belongs to a module that its parent declares for tests only.
fn is_test_module(source: &Source) -> bool {
    ["store/src/raft/suite.rs", "store/src/raft/crash/"].iter().any(|p| source.path.starts_with(p))
}

#[test]
fn secrets_in_clear_are_seen_by_listed_files_only() {
    refuse(
        &only_listed(EXPOSED, &[".expose()", ".expose_seed()"]),
        "a secret in clear can be copied, logged and kept: whoever reviews this looks at these \
         files and no others",
        "hand on the sealed form or the `Plaintext` itself; if bytes must be seen here, list the \
         file in EXPOSED in tests/tidy.rs with what it does with them",
    );
}

#[test]
fn the_keyring_is_asked_by_listed_files_only() {
    refuse(
        &only_listed(KEYRING, &["Keyring", "keyring"]),
        "whoever can ask the keyring can open every secret of the cluster",
        "let the service decide and ask; if the keyring is needed here, list the file in KEYRING \
         in tests/tidy.rs with what it asks for",
    );
}

#[test]
fn listed_files_print() {
    refuse(
        &only_listed(PRINTERS, PRINTING),
        "output is an interface: in one file it is whole, wiped of control characters and ordered",
        "return the text, log an event, or add a function to secretctl's message.rs; a new voice \
         is listed in PRINTERS in tests/tidy.rs",
    );
}

#[test]
fn every_library_but_sys_forbids_unsafe_code() {
    let metadata = metadata();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        for target in package.targets.iter().filter(|t| t.kind.contains(&TargetKind::Lib)) {
            let text = std::fs::read_to_string(&target.src_path).expect("the library's root");
            let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
            if !forbids && package.name.as_str() != "sys" {
                found.push(format!("{} does not forbid unsafe code", target.src_path));
            }
        }
    }
    refuse(
        &found,
        "`deny` of the workspace can be lifted by any item, `forbid` of a crate by none",
        "put `#![forbid(unsafe_code)]` after the crate's documentation",
    );
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let metadata = metadata();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
        if !text.contains("\n[lints]\nworkspace = true\n") {
            found.push(format!("{} takes none", package.manifest_path));
        }
    }
    refuse(
        &found,
        "a crate without this line is checked by none of the lints, and nobody is told",
        "add `[lints]` with `workspace = true`",
    );
}

#[test]
fn sources_are_not_longer_than_one_can_read() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust() && !source.is_generated()) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{} has {lines} lines, {LINES_MAX} are allowed", source.path));
        }
    }
    refuse(
        &found,
        "a file is one thing that one can hold in mind",
        "give the part with a name of its own a file of its own",
    );
}

#[test]
fn modules_have_names_that_say_something() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let path = Path::new(&source.path).with_extension("");
        let parts = path.iter().filter_map(|part| part.to_str());
        if let Some(part) = parts.into_iter().find(|part| EMPTY_NAMES.contains(part)) {
            found.push(format!("{}: `{part}`", source.path));
        }
        for name in EMPTY_NAMES {
            found.extend(source.naming(&format!("mod {name}")));
        }
    }
    refuse(
        &found,
        "a module is named after what it is about; these names collect what nobody placed",
        "name the concept, or move each item to the module it serves",
    );
}

#[test]
fn every_limit_is_enforced_somewhere() {
    let sources = sources();
    let is_limits = |source: &&Source| source.path == "proto/src/limits.rs";
    let limits = sources.iter().find(is_limits).expect("the limits");
    let mut found = Vec::new();
    for (at, line) in limits.code() {
        let Some(declared) = line.strip_prefix("pub const ") else { continue };
        let name = declared.split(':').next().unwrap_or_default();
        let mut others = sources.iter().filter(|s| s.is_rust() && !is_limits(s));
        if !others.any(|source| !source.naming(name).is_empty()) {
            found.push(format!("proto/src/limits.rs:{at}: {name} is used nowhere"));
        }
    }
    refuse(
        &found,
        "a limit that is only written down bounds nothing, and its reader believes that it does",
        "enforce it where the thing grows, with a test at the bound and one past it; or remove it",
    );
}

#[test]
fn pages_that_are_named_exist() {
    let sources = sources();
    let pages: BTreeSet<_> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut found = Vec::new();
    for source in sources {
        for (at, line) in source.text.lines().enumerate() {
            for (start, _) in line.match_indices("docs/") {
                let named = line.get(start..).unwrap_or_default();
                let of_path = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
                let end = named.find(|c| !of_path(c)).unwrap_or(named.len());
                let page = named.get(..end).unwrap_or_default().trim_end_matches('.');
                let is_page = Path::new(page).extension().is_some_and(|end| end == "md");
                if is_page && !pages.contains(page) {
                    found.push(format!("{}:{}: {page}", source.path, at + 1));
                }
            }
        }
    }
    refuse(
        &found,
        "whoever reads an error at night follows it to its page",
        "write the page, or name the one that is meant",
    );
}

#[test]
fn no_file_names_a_machine_or_puts_work_off() {
    let here = workspace().display().to_string();
    let homes = ["home", "root", "Users"].map(|home| format!("/{home}/"));
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for source in sources() {
        // It tells what is not allowed.
        let is_rule = source.path == "CONTRIBUTING.md";
        for (at, line) in source.text.lines().enumerate() {
            let path = homes.iter().any(|home| {
                line.match_indices(home.as_str()).any(|(at, _)| {
                    let before = line.get(..at).and_then(|before| before.chars().next_back());
                    !before.is_some_and(char::is_alphanumeric)
                })
            });
            let mark = !is_rule && marks.iter().any(|mark| names(line, mark));
            if path || mark || line.contains(&here) {
                found.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    refuse(
        &found,
        "a path of one machine is wrong on all others; work that is put off in a comment is never \
         found again",
        "use a path that is given; do the work, or open an issue",
    );
}

#[test]
fn names_of_files_need_no_quotes() {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let odd = sources().iter().filter(|source| !source.path.chars().all(is_plain));
    refuse(
        &odd.map(|source| format!("`{}`", source.path)).collect::<Vec<_>>(),
        "a name with blanks or signs is what a slip in a shell leaves behind",
        "remove it, or name it with letters, digits, `.`, `_` and `-`",
    );
}

#[test]
fn text_files_end_with_a_newline() {
    let mut found = Vec::new();
    for source in sources() {
        if !source.text.is_empty() && !source.text.ends_with('\n') {
            found.push(format!("{} does not end with a newline", source.path));
        }
        if source.text.contains('\r') {
            found.push(format!("{} has carriage returns", source.path));
        }
    }
    refuse(
        &found,
        "tools take lines, and a line ends with a newline; without it the next change shows two",
        "end the file with one newline, lines with nothing else",
    );
}
