//! The committed protobuf code is what the `.proto` files say.
//!
//! `SECRETD_REGENERATE=1 cargo test -p tests --test generated` writes it anew. Messages go to
//! `proto` (prost only), service stubs to `link`: so neither crate needs protoc or a build.rs.

use std::path::{Path, PathBuf};

const PROTOS: &[&str] = &["types", "control", "enroll", "dispatcher", "peer", "local"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn generate(into: &Path) {
    let root = workspace().join("proto/proto");
    let files: Vec<PathBuf> =
        PROTOS.iter().map(|name| root.join(format!("secretd/v1/{name}.proto"))).collect();
    let descriptors = protox::compile(&files, [&root]).expect("the .proto files compile");

    let messages = into.join("messages");
    std::fs::create_dir(&messages).expect("a fresh folder");
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        // Written by hand: they hold secrets.
        .skip_debug([
            ".secretd.v1.UnlockRequest",
            ".secretd.v1.EnterShareRequest",
            ".secretd.v1.ExecInput",
            ".secretd.v1.ExecInput.input",
            ".secretd.v1.ExecStart",
            ".secretd.v1.ExecOutput",
            ".secretd.v1.ExecOutput.output",
            ".secretd.v1.ExecData",
        ])
        .out_dir(&messages)
        .compile_fds(descriptors.clone())
        .expect("messages are generated");

    let services = into.join("services");
    std::fs::create_dir(&services).expect("a fresh folder");
    tonic_prost_build::configure()
        .codec_path("crate::codec::Codec")
        .extern_path(".secretd.v1", "::proto::pb")
        .out_dir(&services)
        .compile_fds(descriptors)
        .expect("stubs are generated");
}

#[test]
fn committed_protobuf_code_is_current() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    match std::fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    std::fs::create_dir_all(&scratch).expect("a scratch folder");
    generate(&scratch);
    for (made, committed) in [
        ("messages/secretd.v1.rs", "proto/src/gen/secretd.v1.rs"),
        ("services/secretd.v1.rs", "link/src/gen/secretd.v1.rs"),
    ] {
        let made = std::fs::read_to_string(scratch.join(made)).expect("generated code");
        let committed = workspace().join(committed);
        if std::env::var_os("SECRETD_REGENERATE").is_some() {
            overwrite(&committed, &made);
        }
        let current = std::fs::read_to_string(&committed).unwrap_or_default();
        assert!(
            made == current,
            "{} is stale: run `SECRETD_REGENERATE=1 cargo test -p tests --test generated`",
            committed.display()
        );
    }
}

fn overwrite(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).expect("the generated file can be written");
    file.write_all(text.as_bytes()).expect("the generated file can be written");
}
