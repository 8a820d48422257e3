//! `--json`: field names and shapes, which others build on.

use link::Failure;
use proto::Kind;
use serde_json::Value;

use crate::fake::Fake;
use crate::program::Place;
use crate::world::Fault;

fn json(place: &Place, args: &[&str], stdin: &[u8]) -> Value {
    let mut args = args.to_vec();
    args.insert(0, "--json");
    let ran = place.run(&args, stdin);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{args:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The names of an object's fields, sorted.
fn fields(value: &Value) -> String {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn shapes_are_stable() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let created = json(&place, &["create", "db", "-", "-l", "a=b"], b"x");
    assert_eq!(fields(&created), "id version");
    assert_eq!(created["version"], 1);
    let secrets = json(&place, &["ls"], b"");
    let secret = "created_at current_version id labels name revision updated_at usable_by used_by \
                  versions";
    assert_eq!(fields(&secrets[0]), secret);
    assert_eq!(secrets[0]["labels"]["a"], "b");
    let inspected = json(&place, &["inspect", "db"], b"");
    assert_eq!(
        fields(&inspected[0]["versions"][0]),
        "created_at created_by root_key_id sealed_bytes state version"
    );

    let args = [
        "service",
        "create",
        "--name",
        "web",
        "--secret",
        "source=db,target=f,mode=440,version=1",
        "--update-monitor",
        "0s",
        "--",
        "/bin/true",
    ];
    assert_eq!(fields(&json(&place, &args, b"")), "id warnings");
    let services = json(&place, &["service", "ls"], b"");
    assert_eq!(
        fields(&services[0]),
        "args command configs constraints created_at desired_tasks dir env force_update \
         has_previous_spec id image labels logs mode name replicas replicas_per_node_max reserved_memory_bytes \
         reserved_nano_cpus restart revision rollback_config running_tasks runtime secrets \
         spec_revision spread_over stop_grace_ms stop_signal update update_config updated_at user"
    );
    assert_eq!(
        fields(&services[0]["secrets"][0]),
        "gid id mode name on_change pinned_version target uid version"
    );
    assert_eq!(services[0]["secrets"][0]["mode"], "0440");
    let tasks = json(&place, &["service", "ps", "web"], b"");
    assert_eq!(
        fields(&tasks[0]),
        "created_at desired_state exit_code id message mounted name node node_id secrets service \
         service_id slot spec_revision state state_since"
    );
    let nodes = json(&place, &["node", "ls"], b"");
    assert_eq!(
        fields(&nodes[0]),
        "agent_version availability certificate_not_after created_at has_agent hostname id labels \
         machine member message revision state updated_at"
    );
    let status = json(&place, &["cluster", "status"], b"");
    assert_eq!(
        fields(&status),
        "answered_by applied_index autolock ca_digest ca_rotation certificate_rotation created_at \
         incarnation leader level members \
         nodes payload_bytes payload_quota_bytes peers phase problems realm recipients_generation \
         root_key_id root_key_rotation secrets services slots tasks term transit_key_id unlock_key_id \
         unlock_key_readable"
    );
    assert_eq!(
        fields(&status["members"][0]),
        "address disk_free_bytes hostname id key_file_generation leader level_max matched_index \
         memory_protection node_id peers_since reachable state unlock_key_id unlock_seed_left unlocked_by \
         version"
    );
    let token = json(&place, &["cluster", "join-token"], b"");
    assert_eq!(fields(&token), "expires_at id token uses");
    let tokens = json(&place, &["cluster", "token", "ls"], b"");
    assert_eq!(fields(&tokens[0]), "created_at created_by expires_at id role uses_left");
    json(&place, &["operator", "add", "alice", "--role", "writer"], b"");
    let operators = json(&place, &["operator", "ls"], b"");
    assert_eq!(
        fields(&operators[0]),
        "certificate_not_after created_at enrolled group id name role"
    );
    let removed = json(&place, &["service", "rm", "web"], b"");
    assert_eq!(fields(&removed[0]), "id name");
}

#[test]
fn a_deploy_that_fails_half_way_says_what_was_done() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let file = b"{services: {web: {image: i, secrets: [a]}}, secrets: {a: {environment: HOME}}}";
    // The lists of secrets and services, the transit key, the secret; then the service.
    let denied = Fault::Says(Failure::new(Kind::Denied, "no services today"));
    fake.world().faults.extend(std::iter::repeat_n(Fault::None, 4).chain([denied]));
    let ran = place.run(&["--json", "stack", "deploy", "-c", "-", "s"], file);
    assert_eq!(ran.status, i32::from(Kind::Denied.exit_code()), "{}", ran.stderr);
    assert!(ran.stderr.contains("no services today"), "{}", ran.stderr);
    let done: Value = serde_json::from_str(&ran.stdout).unwrap();
    let done = done.as_array().unwrap();
    assert_eq!((done.len(), &done[0]["action"]), (1, &"create".into()));
    assert_eq!((&done[0]["kind"], &done[0]["name"]), (&"secret".into(), &"s_a".into()));
}

#[test]
fn shapes_of_a_change_of_the_locking_are_stable() {
    let (place, fake) = (Place::new(), Fake::new());
    fake.world().add_member(2, "m2", false);
    fake.world().members[1].reachable = false;
    let _serving = fake.serve_unix(&place.socket());
    let ran = place.run(&["--json", "cluster", "update", "--autolock", "on"], b"");
    let (key, came) = ran.stdout.split_once('\n').unwrap();
    assert_eq!(fields(&serde_json::from_str(key).unwrap()), "unlock_key unlock_key_id");
    let came: Value = serde_json::from_str(came).unwrap();
    assert_eq!(
        fields(&came),
        "autolock done followed log_key_rotation pending recipients_generation unlock_key_id"
    );
    let rotation = &came["log_key_rotation"];
    assert_eq!(fields(rotation), "begun complete number waits_for");
    assert_eq!(fields(&rotation["waits_for"][0]), "hostname member reason");
}

#[test]
fn shapes_of_keys_are_stable() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let keys = json(&place, &["cluster", "keys", "--verify"], b"");
    assert_eq!(
        fields(&keys),
        "ca_rotation certificate_rotation log_key_rotation members removed_without_proof root_key \
         root_key_rotation shredding transit_key"
    );
    assert_eq!(fields(&keys["log_key_rotation"]), "complete next number wanted_at");
    assert_eq!(
        fields(&keys["members"][0]),
        "address check held hostname member reachable recorded_at recorded_log_key \
         root_key_waits_for rotation waits_for"
    );
    assert_eq!(
        fields(&keys["members"][0]["held"]),
        "active_log_key active_root_key log_keys oldest_on_disk on_disk root_keys"
    );
    assert_eq!(
        fields(&keys["members"][0]["held"]["on_disk"]),
        "head oldest_record small_values snapshots"
    );
    assert_eq!(
        fields(&keys["members"][0]["check"]),
        "compared_at damaged diverged finished_at first last records running snapshot_bytes"
    );
}

#[test]
fn errors_are_json_too() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    for (args, status, kind) in [
        (&["--json", "inspect", "nothing"][..], 1, "not_found"),
        (&["--json", "create", "db"], 2, "usage"),
        (&["--json", "--nonsense"], 2, "usage"),
        (&["--json", "--socket", "/nowhere", "ls"], 69, "unavailable"),
    ] {
        let ran = place.run(args, b"");
        assert_eq!(ran.status, status, "{args:?}");
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(fields(&error), "error");
        assert_eq!(fields(&error["error"]), "because hints kind message");
        assert_eq!(error["error"]["kind"], kind, "{args:?}");
        assert!(!error["error"]["hints"].as_array().unwrap().is_empty(), "{args:?}");
    }
    let ran = place.run(&["--json", "inspect", "nothing"], b"");
    assert_eq!(ran.stdout, "[]\n", "data is whole JSON even when something is missing");
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let mut command = place.command();
    command.args(["completion", "bash"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}
